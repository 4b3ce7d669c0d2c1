"""Which file, row and run made or changed a document, and what became of one row. Reads trails, and one document."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from daemon.core.kind import Inquiry
from daemon.errors import SiteError, Transient, UsageError
from daemon.jobs._import.settings import Settings

Answer = dict[str, str]


def explain(inquiry: Inquiry, settings: Settings, words: Sequence[str]) -> list[Answer]:
    """Of a document (`words`: its name), or of a row (its file and line): what became of it, by every run that is
    remembered, the newest first, those by hand too. Raises UsageError."""
    if len(words) == 1:
        found = list(_of_document(inquiry, settings.doctype, words[0]))
        return found or [_unknown(inquiry, settings.doctype, words[0])]
    if len(words) != 2 or not words[1].isdigit():
        raise UsageError("an import is asked about a document, by its name, or about a row: FILE LINE")
    file, line = words[0], int(words[1])
    found = list(_of_row(inquiry, settings.doctype, file, line))
    if not found:
        raise UsageError(
            f"no run that is remembered dealt with line {line} of {file}",
            action="Name the file as it is called, without its folder, and the first line of the document's rows.",
        )
    return found


def _steps(inquiry: Inquiry, doctype: str) -> Iterator[tuple[str, str, Mapping[str, Any], Mapping[str, Any]]]:
    """(run, file, what is true of all its steps, step) of all imports of the DocType, "": of any."""
    for run, past in inquiry.pasts():
        for of, head in past.heads.items():
            if "place" in head and (not doctype or head["doctype"] == doctype):
                for step in past.steps(of):
                    yield run, of, head, step


def _of_document(inquiry: Inquiry, doctype: str, name: str) -> Iterator[Answer]:
    for run, file, head, step in _steps(inquiry, doctype):
        gone = " (an undo took that back)" if name in map(str, step.get("done", ())) else ""
        about = f"{head['doctype']} {name}"
        for made, line, *_ in step.get("made", ()):
            if str(made) == name:
                why = f"by run {run} from line {line} of {_source(head, file)}{gone}"
                yield {"about": about, "state": "created", "why": why}
        changed = {str(change[0]): change for change in step.get("was", {}).values()}
        for line, result, held, reason in step.get("others", ()):
            if str(held) != name:
                continue
            fields = f" ({', '.join(changed[name][2])})" if result == "updated" and name in changed else ""
            said = f": {reason}" if reason else ""
            why = f"by run {run} from line {line} of {_source(head, file)}{fields}{said}{gone}"
            yield {"about": about, "state": str(result), "why": why}


def _of_row(inquiry: Inquiry, doctype: str, file: str, line: int) -> Iterator[Answer]:
    for run, of, head, step in _steps(inquiry, doctype):
        if file not in (of, head.get("source"), str(head.get("source", "")).rpartition("/")[2]):
            continue
        about = f"line {line} of {of}"
        for name, first, rows, _ in step.get("made", ()):
            if first <= line < first + max(1, rows):
                gone = "; an undo took it back" if str(name) in map(str, step.get("done", ())) else ""
                yield {"about": about, "state": "created", "why": f"{head['doctype']} {name}, by run {run}{gone}"}
        for first, result, name, reason in step.get("others", ()):
            if first == line:
                what = f"{head['doctype']} {name}, " if name else ""
                yield {"about": about, "state": str(result), "why": f"{what}by run {run}{f': {reason}' * bool(reason)}"}


def _source(head: Mapping[str, Any], file: str) -> str:
    return str(head.get("source") or file)


def _unknown(inquiry: Inquiry, doctype: str, name: str) -> Answer:
    why = "no run that is remembered made or changed it"
    try:
        rows = inquiry.site.get_list(doctype, ["owner", "creation"], [["name", "=", name]], 0, 1) if doctype else []
    except Transient:
        raise
    except SiteError:
        rows = []
    if rows:
        why = f"{why}; {rows[0]['owner']} made it at {str(rows[0]['creation'])[:16]} (time of the site)"
    elif doctype:
        why = f"{why}, and the site shows this user no {doctype} of this name"
    return {"about": f"{doctype} {name}".strip(), "state": "unknown", "why": why}
