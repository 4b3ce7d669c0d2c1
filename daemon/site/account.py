"""A user of the daemon's own: the role with exactly the rights that the enabled jobs need, and a user with an API key.

The role carries setup's mark in its name, a user in its `bio`, the role that sees mails in a Comment beside it; nothing
without the mark is removed, and of rights the role's own alone are changed. Writes Role, User, Custom DocPerm, Comment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from daemon import errors
from daemon.core.kind import Provision
from daemon.core.rights import MANAGER, SEES_MAILS, Rights
from daemon.site import grants
from daemon.site.provision import MARK, Step, refused

if TYPE_CHECKING:
    from daemon.site.client import Site

NAME = "Integration Daemon"
ROLE = f"{NAME}, {MARK}"
KEYS = "frappe.core.doctype.user.user.generate_keys"
_STRAY = f"Lets {NAME} see the mails that it sent; {MARK}"


@dataclass(slots=True)
class Key:
    """A key as it was made; the site tells its secret this once."""

    user: str
    api_key: str = ""
    api_secret: str = ""


def holders(site: Site) -> list[str]:
    """Users with the role: those whom setup keeps in step with the jobs. Raises SiteError."""
    if not site.get_list("Role", ["name"], [["name", "=", ROLE]]):
        return []
    return [str(row["name"]) for row in site.get_list("User", ["name"], [["Has Role", "role", "=", ROLE]])]


def to_make(site: Site, users: Sequence[str], rights: Rights, key: Key | None = None) -> Iterator[Step]:
    """The plan: the role, its rights, the users, the key of `key.user` where it has none or a new one is wanted.

    Raises SiteError where the site does not even tell.
    """
    yield _of_role(site)
    yield from _of_rights(site, rights)
    if rights.mailing:
        yield _of_mails(site, rights.mailing)
    for beyond in rights.beyond:
        yield Step(f"{beyond.doctype} for {beyond.job}", "beyond any role", beyond.why, "operator", beyond.action)
    for user in users:
        yield _of_user(site, user, [ROLE, *([SEES_MAILS] if rights.mailing else [])])
    if key:
        yield _of_key(site, key)


# The role and its rights


def _of_role(site: Site) -> Step:
    if site.get_list("Role", ["name"], [["name", "=", ROLE]]):
        return Step(f"Role {ROLE}", "exists")
    return Step(f"Role {ROLE}", "would be made", act=partial(_make_role, site))


def _make_role(site: Site) -> str:
    doc = {"doctype": "Role", "role_name": ROLE, "desk_access": 1}
    if not site.get_list("Role", ["name"], [["name", "=", ROLE]]):
        grants.again(lambda: site.insert(doc), well=errors.AlreadyExists)
    return "made"


def _of_rights(site: Site, rights: Rights) -> Iterator[Step]:
    held = grants.held(site, ROLE)
    for doctype, job in rights.missing.items():
        action = "Correct the name, or disable what needs it; then run setup again."
        yield Step(f"Rights on {doctype}", "left", f"{job} names it, and the site has none", "operator", action)
    for doctype in sorted({*rights.given, *held}):
        wanted, has = list(rights.given.get(doctype, ())), held.get(doctype, [])
        act = partial(_settle, site, doctype, wanted)
        lost = [right for right in has if right not in wanted]
        if wanted:
            same = not lost and set(wanted) == set(has)
            state = "exists" if same else "would be given"
            note = "; ".join(rights.whys.get(doctype, ()))
            yield Step(f"Right to {_listed(wanted)} {doctype}", state, note, act=None if same else act)
        if lost:
            note = "no enabled job of this configuration needs it"
            act = partial(act, "taken back")
            yield Step(f"Right to {_listed(lost)} {doctype}", "would be taken back", note, act=act)


def _settle(site: Site, doctype: str, wanted: Sequence[str], done: str = "given") -> str:
    grants.settle(site, ROLE, doctype, wanted)
    return done


def _listed(words: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


# Seeing mails


def _of_mails(site: Site, jobs: Sequence[str]) -> Step:
    note = f"{', '.join(jobs)}: Frappe shows mails that were sent to this role and to System Managers alone"
    there = bool(site.get_list("Role", ["name"], [["name", "=", SEES_MAILS]]))
    state = "exists" if there else "would be made"
    return Step(f"Role {SEES_MAILS}", state, note, act=None if there else partial(_make_reader, site))


def _make_reader(site: Site) -> str:
    doc = {"doctype": "Role", "role_name": SEES_MAILS, "desk_access": 1}
    grants.again(lambda: site.insert(doc), well=errors.AlreadyExists)
    about = {"comment_type": "Info", "reference_doctype": "Role", "reference_name": SEES_MAILS}
    if not _marked(site):
        site.insert({"doctype": "Comment", **about, "content": _STRAY})
    return "made"


def _marked(site: Site) -> bool:
    """The Role was made by setup: a Comment beside it says so. One whose Comment was lost stays when all else goes."""
    where = [["reference_doctype", "=", "Role"], ["reference_name", "=", SEES_MAILS], ["content", "like", f"%{MARK}%"]]
    return bool(site.get_list("Comment", ["name"], where, 0, 1))


# The user


def _known(site: Site, user: str) -> dict[str, Any]:
    rows = site.get_list("User", ["name", "enabled", "api_key", "bio"], [["name", "=", user]])
    return rows[0] if rows else {}


def _ours(row: dict[str, Any]) -> bool:
    return str(row.get("bio") or "").endswith(MARK)


def _of_user(site: Site, user: str, roles: Sequence[str]) -> Step:
    row = _known(site, user)
    act = partial(_settle_user, site, user, roles)
    said = ", ".join(role.removesuffix(f", {MARK}") for role in roles)
    if not row:
        return Step(f"User {user}", "would be made", f"with the roles {said}; no mail is sent to it", act=act)
    doc = site.get_doc("User", user)
    has = {str(one["role"]) for one in doc.get("roles") or ()}
    off = not int(row.get("enabled") or 0)
    whose = "" if _ours(row) else "made by somebody else; its other roles stay as they are"
    if MANAGER in has:
        whose += f"{'; ' if whose else ''}it is a {MANAGER}, and so may do more than the jobs need"
    lost = [SEES_MAILS] if _ours(row) and SEES_MAILS in has and SEES_MAILS not in roles else []
    if not off and not lost and set(roles) <= has:
        return Step(f"User {user}", "exists", whose)
    what = [*(["it is enabled"] if off else ()), *(f"gets the role {role}" for role in roles if role not in has)]
    what += [f"loses the role {role}" for role in lost]
    return Step(f"User {user}", "would be changed", "; ".join(filter(None, [*what, whose])), act=act)


def _settle_user(site: Site, user: str, roles: Sequence[str]) -> str:
    """Made, enabled, with these roles. Once roles with a desk are there, the site makes it a System User by itself."""
    row = _known(site, user)
    if not row:
        doc = {
            "doctype": "User", "email": user, "first_name": NAME, "enabled": 1, "user_type": "System User",
            "send_welcome_email": 0, "bio": f"Works for frappe-daemon; {MARK}", "roles": [{"role": r} for r in roles],
        }  # fmt: skip
        grants.again(lambda: site.insert(doc), well=errors.AlreadyExists)
    elif not int(row.get("enabled") or 0):
        site.update({"doctype": "User", "name": user, "enabled": 1})
    gone = {SEES_MAILS} - set(roles) if _ours(row) else set()

    def change(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        kept = [one for one in rows if one["role"] not in gone]
        there = {one["role"] for one in kept}
        return [*kept, *({"role": role} for role in roles if role not in there)]

    grants.set_roles(site, user, change)
    return "changed" if row else "made"


# The key


def _of_key(site: Site, key: Key, *, anew: bool = False) -> Step:
    there = _known(site, key.user).get("api_key")
    what = f"API key of {key.user}"
    if there and not anew:
        return Step(what, "exists", "its secret is told by nobody; --new-key makes another")
    note = "the one that it has ends" if there else ""
    return Step(what, "would be made", note, act=partial(_make_key, site, key))


def new_key(site: Site, key: Key) -> Step:
    """As in the plan, also where there is one."""
    return _of_key(site, key, anew=True)


def _make_key(site: Site, key: Key) -> str:
    """15 answers the secret alone. One whose reply is lost is made again: nobody has seen it."""
    answer: dict[str, Any] = {}
    grants.again(lambda: answer.update(site.post_api(KEYS, {"user": key.user}) or {}))
    key.api_secret = str(answer.get("api_secret") or "")
    key.api_key = str(answer.get("api_key") or _known(site, key.user).get("api_key") or "")
    if not (key.api_key and key.api_secret):
        raise errors.NotFrappe(f"{KEYS}: no key came back")
    return "made"


# Taking it away


def to_remove(site: Site) -> Iterator[Step]:
    """The plan for users and the role that sees mails; the other role goes with all else that carries the mark."""
    for row in site.get_list("User", ["name", "bio", "enabled"], [["bio", "like", f"%{MARK}"]]):
        if not _ours(row):
            continue
        user = str(row["name"])
        note = "" if int(row.get("enabled") or 0) else "it is disabled"
        yield Step(f"User {user}", "would be removed", note, act=partial(_remove_user, site, user))
    if _marked(site) and site.get_list("Role", ["name"], [["name", "=", SEES_MAILS]]):
        act = partial(_remove_reader, site)
        yield Step(f"Role {SEES_MAILS}", "would be removed", act=act)


def _remove_user(site: Site, user: str) -> str:
    """Deleted; where documents refer to it, disabled, which ends its key on 15 and 16."""
    try:
        grants.again(lambda: site.delete("User", user), well=errors.NotFound)
    except (errors.InUse, errors.Invalid):
        grants.set_roles(site, user, lambda rows: [row for row in rows if row["role"] not in (ROLE, SEES_MAILS)])
        site.update({"doctype": "User", "name": user, "enabled": 0})
        return "disabled, since documents refer to it"
    return "removed"


def _remove_reader(site: Site) -> str:
    left = site.get_list("User", ["name"], [["Has Role", "role", "=", SEES_MAILS]])
    if left:
        return f"left, since {left[0]['name']} has it"
    grants.again(lambda: site.delete("Role", SEES_MAILS), well=errors.NotFound)
    return "removed"


def without_roles(wanted: Iterable[Provision]) -> list[Provision]:
    """What jobs need beside the role of setup's own, which gives all rights."""
    return [one for one in wanted if one.doctype != "Role"]


def planned(plan: Callable[[], Iterable[Step]]) -> Iterator[Step]:
    """`plan`, or the step that says who must run it."""
    try:
        yield from plan()
    except errors.NotPermitted as error:
        yield refused(Step(f"The role {NAME} and its user", "refused"), error)
