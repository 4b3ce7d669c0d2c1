"""Which rights a user of the daemon's own needs for the jobs, and what no role gives. Decides from `Need`s; no I/O.

A role of ours gets exactly what the enabled jobs need. What everybody has is left out: the first row that is added to a
DocType's permissions puts copies in the place of its standard ones (permissions.py:setup_custom_perms), which updates
of the app then no longer change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from daemon.core.doctype import DocType
from daemon.core.kind import Need

RIGHTS = ("select", "read", "write", "create", "delete", "submit", "cancel", "amend", "report", "export", "import",
          "share", "print", "email")  # fmt: skip
"""Permission types of DocPerm, each behind those that it rests on."""
EVERYBODY = ("All", "Guest", "Desk User")
"""Roles that every user with a desk has (permissions.py:AUTOMATIC_ROLES)."""
OWN_ROLE_WANTED = frozenset({"ToDo"})
"""Their code counts rights by other roles than everybody's alone (desk/doctype/todo/todo.py:has_permission)."""
SEES_MAILS = "Super Email User"
"""The role to which Frappe shows the mails that were sent, as it does to System Managers and to nobody else
(communication.py:get_permission_query_conditions_for_communication). It has no rights, and need not be there."""
MANAGER = "System Manager"

PARTIES = frozenset({"Customer", "Supplier"})
"""ERPNext's transactions look up their party when they are saved, and refuse who may not read it
(erpnext/accounts/party.py:_get_party_details, seen on 15 and 16)."""

_RESTS_ON = {
    **dict.fromkeys(("write", "create", "delete", "email"), ("read",)),
    "submit": ("read", "write"),
    "cancel": ("read", "write", "submit"),
}
"""Submitting and cancelling save the document, too; and what one may not read one cannot find."""


@dataclass(frozen=True, slots=True)
class Beyond:
    """What a job needs and no role gives."""

    job: str
    doctype: str
    why: str
    action: str


@dataclass(slots=True)
class Rights:
    """What all jobs together need."""

    given: dict[str, dict[str, None]] = field(default_factory=dict)
    """DocType → permission types, in the order of `RIGHTS`."""
    whys: dict[str, list[str]] = field(default_factory=dict)
    """DocType → which job needs which for what."""
    missing: dict[str, str] = field(default_factory=dict)
    """DocType that is not there → the job that names it."""
    beyond: list[Beyond] = field(default_factory=list)
    mailing: list[str] = field(default_factory=list)
    """Jobs that look for the mails which they sent."""


def rights_of(wanted: Iterable[tuple[str, Need]], meta: Callable[[str], DocType | None]) -> Rights:
    """From (job, need) of all enabled jobs. `meta`: None where the site has no such DocType."""
    found = Rights()
    for job, need in wanted:
        for one in _ways(found, job, need):
            doctype = meta(one.doctype)
            _take(found, job, one, doctype)
            for party in parties(one, doctype) if doctype else ():
                _take(found, job, party, meta(party.doctype))
    for name, kinds in found.given.items():
        found.given[name] = {right: None for right in RIGHTS if right in kinds}
    return found


def _ways(found: Rights, job: str, need: Need) -> Iterator[Need]:
    """What a role can give of `need`; what it cannot is noted."""
    if need.mail:
        if job not in found.mailing:
            found.mailing.append(job)
        yield Need("Communication", why="to find a mail whose reply was lost")
        yield Need("Email Queue", why="to see whether its mails were queued")
    elif need.only_administrator:
        action = "Use Administrator's API key for this job, or take the rule out."
        _note(found, Beyond(job, need.doctype, need.only_administrator, action))
    elif need.only_system_manager:
        action = f"Give the user the role {MANAGER} for this, or change what needs it."
        if need.otherwise:
            action = f"Nothing: {need.otherwise.doctype} goes row by row. With the role {MANAGER} it is far cheaper."
        _note(found, Beyond(job, need.doctype, need.only_system_manager, action))
        if need.otherwise:
            yield from _ways(found, job, need.otherwise)
    else:
        yield need


def _note(found: Rights, beyond: Beyond) -> None:
    if beyond not in found.beyond:
        found.beyond.append(beyond)


def _take(found: Rights, job: str, need: Need, doctype: DocType | None) -> None:
    asked = [right for right in need.rights if doctype is None or applies(doctype, right)]
    wanted = {right for one in asked for right in (one, *_RESTS_ON.get(one, ()))}
    if doctype is None and not need.by_setup:
        if need.rights and not need.lacking:
            found.missing.setdefault(need.doctype, job)
        return
    if doctype is not None and need.doctype not in OWN_ROLE_WANTED:
        wanted = {right for right in wanted if not doctype.grants(right, EVERYBODY)}
    if wanted:
        listed = [right for right in RIGHTS if right in wanted]
        found.given.setdefault(need.doctype, {}).update(dict.fromkeys(listed))
        why = f"{job} ({', '.join(listed)}){': ' if need.why else ''}{need.why}"
        if why not in found.whys.setdefault(need.doctype, []):
            found.whys[need.doctype].append(why)


def parties(need: Need, doctype: DocType) -> Iterator[Need]:
    """What else must be read where documents of `doctype` are written."""
    if doctype.is_submittable and {"create", "write"} & set(need.rights):
        for own in doctype.fields:
            if own.fieldtype == "Link" and own.options in PARTIES:
                yield Need(own.options, why=f"which {doctype.name} looks up when it is saved", lacking=need.lacking)


def applies(doctype: DocType, right: str) -> bool:
    """Documents of `doctype` can be treated so at all."""
    return doctype.is_submittable or right not in ("submit", "cancel", "amend")
