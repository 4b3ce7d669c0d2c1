"""What jobs need on the site, made and taken away again: DocTypes, Custom Fields, and rights by a Role of our own.

What is made carries a mark in its description, a Role in its name. Nothing without the mark is changed or removed, so
that what somebody else made, by hand or by an app, stays as it is. Making something runs DDL, which MariaDB does not
undo, so this is for a person at the command line and never for a run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from daemon import errors
from daemon.core.kind import Provision
from daemon.site import grants

if TYPE_CHECKING:
    from daemon.site.client import Site

MARK = "made by frappe-daemon setup"
"""Ends the description of what was made, and of nothing else; of a Role its name."""
MARKED = ("Role", "Custom Field", "DocType")
"""Where to look for the mark, in the order in which things can go."""
ATTEMPTS = 3
MISSING, OURS, THEIRS = "missing", "ours", "not ours"


@dataclass(frozen=True, slots=True)
class Step:
    """One line of the plan, or of what became of it."""

    what: str
    state: str
    """exists, would be made, made, would be given, would be removed, removed, left, refused …"""
    note: str = ""
    who: str = ""
    action: str = ""
    provision: Provision | None = None
    """What there is to do."""
    act: Callable[[], str] | None = None
    """What else there is to do; it answers what became of it."""

    def as_json(self) -> dict[str, str]:
        return {key: getattr(self, key) for key in ("what", "state", "note", "who", "action")}


def seen(site: Site, wanted: Provision) -> str:
    """MISSING, OURS or THEIRS. A Role is missing until all of its rights are given, and what is not finished, too."""
    if wanted.doctype == "Role":
        return OURS if grants.given(site, wanted) else MISSING
    if not (known := _known(site, wanted)):
        return MISSING
    if not str(known.get("description") or "").endswith(MARK):
        return THEIRS
    return OURS if all(known.get(key) == value for key, value in wanted.later.items()) else MISSING


def _known(site: Site, wanted: Provision) -> dict[str, Any]:
    """What there is of it on the site; empty where it is missing."""
    fields = ["name", "description", *wanted.later]
    rows = site.get_list(wanted.doctype, fields, [["name", "=", wanted.name]])
    return rows[0] if rows else {}


def make(site: Site, wanted: Provision) -> None:
    """Insert it with the mark. After a lost reply it is looked up, and sent again: two cannot have one name."""
    if wanted.doctype == "Role":
        return grants.give(site, wanted)
    said = str(wanted.values.get("description") or f"{wanted.why[:1].upper()}{wanted.why[1:]};")
    doc = {**wanted.values, "doctype": wanted.doctype, "description": f"{said} {MARK}".strip()}
    for attempt in range(ATTEMPTS):
        try:
            if not _known(site, wanted):
                site.insert(doc)
            if wanted.later:
                site.update({"doctype": wanted.doctype, "name": wanted.name, **wanted.later})
        except (errors.OutcomeUnknown, errors.AlreadyExists, errors.Invalid) as error:
            if seen(site, wanted) == OURS:
                return None
            if attempt == ATTEMPTS - 1 or not isinstance(error, errors.OutcomeUnknown):
                raise
        else:
            return None
    return None


def remove(site: Site, made: Provision) -> None:
    """Delete it, if it carries the mark. A lost reply is looked up."""
    if made.doctype == "Role":
        return grants.take(site, made.name)
    if seen(site, made) != OURS:
        return None
    try:
        site.delete(made.doctype, made.name)
    except (errors.OutcomeUnknown, errors.NotFound):
        if seen(site, made) == OURS:
            raise
    return None


def to_make(site: Site, wanted: Iterable[Provision]) -> Iterator[Step]:
    """The plan for what is needed: each thing once."""
    known: set[tuple[str, str]] = set()
    for thing in wanted:
        if (thing.doctype, thing.name) in known:
            continue
        known.add((thing.doctype, thing.name))
        what = f"{thing.doctype} {thing.name}, {thing.why}"
        try:
            found = seen(site, thing)
        except errors.NotPermitted as error:
            yield refused(Step(what, "refused"), error)
            continue
        if found == MISSING:
            yield Step(what, "would be made", provision=thing)
        else:
            note = "" if found == OURS else "made by somebody else, and left as it is"
            yield Step(what, "exists", note)


def to_remove(site: Site) -> Iterator[Step]:
    """The plan for taking away whatever carries the mark, whichever configuration it was made for, each with what it is
    for: other daemons of the site may need it still."""
    for doctype in MARKED:
        marked = "name" if doctype == "Role" else "description"
        for row in site.get_list(doctype, list(dict.fromkeys(["name", marked])), [[marked, "like", f"%{MARK}"]]):
            thing = Provision(doctype, row["name"], {}, "")
            made_for = str(row.get("description") or "").removesuffix(MARK).rstrip(" ;.")
            note = "; ".join(filter(None, (made_for, _documents(site, thing))))
            yield Step(f"{doctype} {thing.name}", "would be removed", note, provision=thing)


def _documents(site: Site, thing: Provision) -> str:
    if thing.doctype != "DocType":
        return ""
    try:
        number = site.count(thing.name)
    except errors.SiteError:
        return ""
    return f"with what it has: {number:,} document{'s' * (number > 1)}" if number else ""


def apply(site: Site, steps: Iterable[Step]) -> Iterator[Step]:
    """Do what the steps say; those with nothing to do stay as they are. Raises what would fail for all: Transient …"""
    ways: dict[str, tuple[Callable[[Site, Provision], None], str]] = {
        "would be made": (make, "made"),
        "would be removed": (remove, "removed"),
    }
    for step in steps:
        done = step.state
        try:
            if step.act is not None:
                done = step.act()
            elif step.provision is not None:
                act, done = ways[step.state]
                act(site, step.provision)
        except (errors.Transient, errors.OutcomeUnknown):
            raise
        except errors.SiteError as error:
            yield refused(step, error)
        else:
            yield replace(step, state=done, provision=None, act=None)


def refused(step: Step, error: errors.SiteError) -> Step:
    """`step`, with who must act."""
    action = error.action
    if isinstance(error, errors.NotPermitted):
        action = "Run setup with the API key of a System Manager, or of Administrator where Administrator made it."
    return replace(step, state="refused", note=str(error), who=error.who, action=action, provision=None, act=None)
