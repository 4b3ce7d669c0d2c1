"""Rights that a job's user lacks, given by a Role of our own and taken away again. Writes Role, User, Custom DocPerm.

The first change of a DocType's permissions copies its standard ones to Custom DocPerm, which then count in their place
(permissions.py:setup_custom_perms). So the last thing that is taken away is that copy, where nothing but it is left:
whatever somebody else granted meanwhile stays. Each step looks first, and may be done again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from daemon import errors
from daemon.core.kind import Provision
from daemon.core.rights import RIGHTS

if TYPE_CHECKING:
    from daemon.site.client import Site

MANAGER = "frappe.core.page.permission_manager.permission_manager"
ATTEMPTS = 3


def given(site: Site, wanted: Provision) -> bool:
    """The user of this key has the role, and the role its rights."""
    if wanted.name not in site.roles(site.user()):
        return False
    return all(_has(site, wanted.name, doctype, rights) for doctype, rights in wanted.rights.items())


def _has(site: Site, role: str, doctype: str, rights: tuple[str, ...]) -> bool:
    rows = site.get_list("Custom DocPerm", list(rights), [["parent", "=", doctype], ["role", "=", role]])
    return any(all(int(row.get(right) or 0) for right in rights) for row in rows)


def give(site: Site, wanted: Provision) -> None:
    """The role, its rights, and the role to the user of this key. Raises SiteError; then it may be done again."""
    role = wanted.name
    if not site.get_list("Role", ["name"], [["name", "=", role]]):
        again(lambda: site.insert({**wanted.values, "doctype": "Role"}), well=errors.AlreadyExists)
    for doctype, rights in wanted.rights.items():
        if not site.get_list("Custom DocPerm", ["name"], [["parent", "=", doctype], ["role", "=", role]]):
            again(lambda doctype=doctype: _manage(site, "add", parent=doctype, role=role, permlevel=0))  # type: ignore[misc]
        for right in rights:
            facts = {"doctype": doctype, "role": role, "permlevel": 0, "ptype": right, "value": 1}
            again(lambda facts=facts: _manage(site, "update", **facts))  # type: ignore[misc]
    set_roles(site, site.user(), lambda rows: [*(row for row in rows if row["role"] != role), {"role": role}])


def take(site: Site, role: str) -> None:
    """The role from whoever has it, its rights, and itself."""
    for row in site.get_list("User", ["name"], [["Has Role", "role", "=", role]]):
        set_roles(site, str(row["name"]), lambda rows: [row for row in rows if row["role"] != role])
    for row in site.get_list("Custom DocPerm", ["parent"], [["role", "=", role]]):
        _revoke(site, str(row["parent"]), role)
    again(lambda: site.delete("Role", role), well=errors.NotFound)


def held(site: Site, role: str) -> dict[str, list[str]]:
    """DocType → permission types that `role` has by Custom DocPerm."""
    rows = site.get_list("Custom DocPerm", ["*"], [["role", "=", role]])
    return {str(row["parent"]): [right for right in RIGHTS if int(row.get(right) or 0)] for row in rows}


def settle(site: Site, role: str, doctype: str, wanted: Sequence[str]) -> None:
    """The role has exactly these rights on `doctype`. May be done again. A new row reads and exports to begin with."""
    if not wanted:
        return _revoke(site, doctype, role)
    if doctype not in held(site, role):
        again(lambda: _manage(site, "add", parent=doctype, role=role, permlevel=0))
    has = held(site, role).get(doctype, [])
    changed = [(right, 0) for right in reversed(RIGHTS) if right in has and right not in wanted]
    changed += [(right, 1) for right in RIGHTS if right in wanted and right not in has]
    for right, value in changed:
        facts = {"doctype": doctype, "role": role, "permlevel": 0, "ptype": right, "value": value}
        again(lambda facts=facts: _manage(site, "update", **facts))  # type: ignore[misc]
    return None


def _revoke(site: Site, doctype: str, role: str) -> None:
    again(lambda: _manage(site, "remove", doctype=doctype, role=role, permlevel=0))
    standard = _manage(site, "get_standard_permissions", doctype=doctype)
    custom = site.get_list("Custom DocPerm", ["*"], [["parent", "=", doctype]])
    if sorted(map(_rights, custom)) == sorted(map(_rights, standard or [])):
        again(lambda: _manage(site, "reset", doctype=doctype))


_COUNTED = ("role", "permlevel", "if_owner", "read", "write", "create", "delete", "submit", "cancel", "amend", "report",
            "export", "import", "share", "print", "email", "select")  # fmt: skip


def _rights(row: Mapping[str, Any]) -> list[str]:
    """What a row of permissions says, however it was written."""
    return [str(row.get(key) or 0) for key in _COUNTED]


def _manage(site: Site, function: str, **arguments: Any) -> Any:
    return site.post_api(f"{MANAGER}.{function}", arguments)


def again(act: Callable[[], Any], well: tuple[type[Exception], ...] | type[Exception] = ()) -> None:
    """`act`, which may be done twice: it is, after a lost reply. `well`: says that it was done before."""
    for attempt in range(ATTEMPTS):
        try:
            act()
        except well:
            return
        except errors.OutcomeUnknown:
            if attempt == ATTEMPTS - 1:
                raise
        else:
            return


def set_roles(site: Site, user: str, change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> None:
    """The user's roles after `change`, unless they are so already. Raises StaleDocument where somebody saves the user
    at the same time, over and over."""
    for attempt in range(ATTEMPTS):
        doc = site.get_doc("User", user)
        rows = [{"name": row["name"], "role": row["role"]} for row in doc.get("roles") or ()]
        wanted = change(rows)
        if {row["role"] for row in wanted} == {row["role"] for row in rows}:
            return
        try:
            site.update({"doctype": "User", "name": user, "modified": doc["modified"], "roles": wanted})
        except (errors.OutcomeUnknown, errors.StaleDocument):
            if attempt == ATTEMPTS - 1:
                raise
