"""What may be taken back of what a run did, and why not where somebody else came after it. Reads and writes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from daemon.core.doctype import OPTIONAL, SYSTEM, DocType
from daemon.core.rows import difference

Verb = Literal["delete", "cancel", "put back", "restore", "insert", "keep", "conflict", "lost"]
"""The first five are done; `keep`: there is nothing to do; `conflict`: somebody else came after the run; `lost`: Frappe
gives no way back."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of one document."""

    verb: Verb
    why: str
    values: Mapping[str, Any] = field(default_factory=dict)
    """Of `put back`: fields with what they held before the run."""


@dataclass(frozen=True, slots=True)
class Span:
    """From when to when a step of a run was at work, in texts of the site's clock."""

    since: str
    until: str

    def __contains__(self, stamp: object) -> bool:
        return self.since <= str(stamp) <= self.until


# What an import made and changed

AT_ONCE = timedelta(seconds=2)
"""After its creation, within which a save by the same user is taken for the site's own hook."""


def of_created(row: Mapping[str, Any] | None, span: Span, user: str, modified: str = "") -> Verdict:
    """Of a document that a run of `user` created within `span`. `row`: its standard columns as they are now; None: it
    is not there. `modified`: as the run left it, where that is known.

    Frappe stamps `creation` and `modified` alike at an insert (model/document.py:set_user_and_timestamp; seen on 15 and
    16); a hook of the site that saves it once more does so in the same request, under the same user.
    """
    if row is None:
        return Verdict("keep", "it is gone already")
    by, stamp = row.get("modified_by"), str(row.get("modified"))
    if row.get("owner") != user or row.get("creation") not in span:
        return Verdict("keep", f"what has this name now was made by {row.get('owner')} at {row.get('creation')}")
    if row.get("docstatus") == 2:
        return Verdict("keep", "it is cancelled already")
    if stamp not in (str(row.get("creation")), modified) and not (by == user and _at_once(row) and stamp in span):
        return Verdict("conflict", f"{by} changed it since, at {stamp[:19]}")
    if row.get("docstatus") == 1:
        return Verdict("cancel", "the run created and submitted it")
    return Verdict("delete", "the run created it")


def _at_once(row: Mapping[str, Any]) -> bool:
    """It was saved last as good as when it was created."""
    created, saved = (datetime.fromisoformat(str(row[key])) for key in ("creation", "modified"))
    return timedelta(0) <= saved - created <= AT_ONCE


def of_changed(
    doctype: DocType,
    was: Mapping[str, Any],
    sent: Mapping[str, Any],
    left: Mapping[str, Any],
    now: Mapping[str, Any] | None,
) -> Verdict:
    """Of a document whose fields were `was` before a run wrote `sent`. `left`: `modified` as the run left it, and in
    `kept` what the site made of fields that it keeps in other words; {} where no reply told. `now`: as it is."""
    if now is None:
        return Verdict("keep", "it was deleted since")
    was = {name: value for name, value in was.items() if not _secret(doctype, name)}
    open_ = difference(doctype, was, now)
    if not open_:
        return Verdict("keep", "its fields hold what they held before the run")
    if now.get("docstatus") == 2:
        return Verdict("conflict", "it was cancelled since")
    if not left or str(now.get("modified")) != str(left.get("modified")):
        stands = {**sent, **left.get("kept", {})}
        other = difference(doctype, {name: stands.get(name) for name in open_}, now)
        other = {name: value for name, value in other.items() if difference(doctype, {name: sent.get(name)}, now)}
        if other:
            return Verdict("conflict", f"{now.get('modified_by')} changed {', '.join(sorted(other))} since")
    return Verdict("put back", f"{', '.join(sorted(open_))} as before the run", _writable(doctype, open_, now))


def _secret(doctype: DocType, name: str) -> bool:
    """A Password is never read back, so nobody knows what it was."""
    own = doctype.field(name)
    return own is not None and own.fieldtype == "Password"


def _writable(doctype: DocType, values: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """As they can be sent. A child row that is gone is made anew: under its name it would be lost
    (base_document.py:db_update)."""
    found = dict(values)
    for table, _ in doctype.tables:
        if table in found:
            there = {row.get("name") for row in now.get(table) or ()}
            found[table] = [_child(row, keep_name=row.get("name") in there) for row in found[table] or ()]
    return found


def _child(row: Mapping[str, Any], *, keep_name: bool) -> dict[str, Any]:
    own = {key: value for key, value in row.items() if key not in SYSTEM}
    return {"name": row["name"], **own} if keep_name else own


# What a clean-up deleted


def nearest(deleted: Iterable[Mapping[str, Any]], span: Span, moment: Any) -> dict[str, Mapping[str, Any]]:
    """Name → its Deleted Document: of several, the one that came into being nearest to `span`, since a name may be
    given and deleted again. `moment`: text of the site → datetime."""
    found: dict[str, tuple[float, Mapping[str, Any]]] = {}
    begun, ended = moment(span.since), moment(span.until)
    for row in deleted:
        name, at = str(row["deleted_name"]), moment(str(row["creation"]))
        far = _distance(at, begun, ended)
        if name not in found or far < found[name][0]:
            found[name] = far, row
    return {name: row for name, (_, row) in found.items()}


def _distance(at: datetime, begun: datetime, ended: datetime) -> float:
    return max(0.0, (begun - at).total_seconds(), (at - ended).total_seconds())


UNSURE = "?"
"""In the place of a name: an earlier undo may have brought the document back."""


def of_deleted(row: Mapping[str, Any] | None, *, there: bool, came_back: str, archived: bool, why: str) -> Verdict:
    """Of a document that a run deleted, or was about to. `row`: its Deleted Document; `why` there may be none. `there`:
    a document of this name is. `came_back`: an earlier undo brought it back as this."""
    if came_back == UNSURE:
        return Verdict("conflict", "an earlier undo may have brought it back: its request got no reply; look for it")
    if came_back:
        return Verdict("keep", f"it is back already, as {came_back}")
    if row and int(row.get("restored") or 0):
        return Verdict("keep", f"it is back already, as {row.get('new_name')}")
    if there and row:
        return Verdict("conflict", "another document has its name now")
    if there:
        return Verdict("keep", "it was never deleted")
    if row:
        return Verdict("restore", "the site keeps it as a Deleted Document")
    if archived:
        return Verdict("insert", f"from the archive, since {why}")
    return Verdict("lost", f"{why}, and it is in no archive")


def payload(doctype: DocType, doc: Mapping[str, Any]) -> dict[str, Any]:
    """A document of an archive as it can be inserted. The site gives it its own stamps; child rows get new names; a
    cancelled one becomes a draft; Passwords, tags and assignments are not in it."""
    own = {"doctype": doctype.name, **_values(doctype, doc)}
    for table, _ in doctype.tables:
        child = doctype.children.get(table)
        rows: Sequence[Any] = doc.get(table) or ()
        if rows and child:
            own[table] = [_values(child, row) for row in rows]
    if doctype.prompts:
        own["name"] = doc["name"]
    return own


def _values(doctype: DocType, doc: Mapping[str, Any]) -> dict[str, Any]:
    left_out = SYSTEM | set(OPTIONAL) | {table for table, _ in doctype.tables}
    return {
        name: value
        for name, value in doc.items()
        if name not in left_out and value is not None and doctype.field(name) and not _secret(doctype, name)
    }


def paired(
    doctype: DocType, docs: Sequence[Mapping[str, Any]], found: Sequence[Mapping[str, Any]]
) -> tuple[dict[str, Any], int]:
    """(name in the archive → name of the document in `found` that holds the same, how many of `found` are no twin)."""
    left, twins = list(found), dict[str, Any]()
    for doc in docs:
        wanted = payload(doctype, doc)
        twin = next((row for row in left if not difference(doctype, wanted, row)), None)
        if twin is not None:
            left.remove(twin)
            twins[str(doc["name"])] = twin["name"]
    return twins, len(left)
