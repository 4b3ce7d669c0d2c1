"""A run's report: what was found, done, refused and why, as JSON values. Reads and writes nothing.

Every count is a confirmed one. Samples are kept to a hundred a part, so that a report has a bounded size.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from daemon.core.plan import Outcome, Tally
from daemon.errors import DaemonError, Exit, SiteDown, Stopped, Transient

DONE, SOME_FAILED, REFUSED, FAILED, STOPPED = "done", "some failed", "refused", "failed", "stopped"


def part_report(tally: Tally) -> dict[str, Any]:
    """One part of the report."""
    census = tally.census
    return {
        "part": tally.part,
        **({"total": census.total, "found": census.matching, "exact": census.exact} if census else {}),
        "counts": dict(tally.counts),
        **({"whole": dict(tally.whole)} if tally.whole is not None else {}),
        "errors": dict(tally.errors),
        "reasons": dict(tally.reasons),
        "facts": dict(tally.facts),
        "notes": list(tally.notes),
        "refused": tally.refused,
        "error": tally.error and error_report(tally.error),
        "again": tally.again or (tally.error is not None and not getattr(tally.error, "lasting", False)),
        "samples": [_sample(outcome) for outcome in tally.samples],
    }


def _sample(outcome: Outcome) -> dict[str, Any]:
    action = outcome.action
    return {
        "verb": action.verb,
        "doctype": action.doctype,
        "name": action.name,
        "result": outcome.result.value,
        "reason": outcome.reason or action.why,
        **({"summary": outcome.summary} if outcome.summary else {}),
        **({"who": outcome.who} if outcome.who else {}),
    }


def error_report(error: BaseException) -> dict[str, str]:
    """An error that ended a part or a run; anything but a DaemonError is a bug of ours."""
    if isinstance(error, DaemonError):
        return {"kind": error.kind, "message": str(error), "who": error.who, "action": error.action}
    return {
        "kind": type(error).__name__,
        "message": f"a bug of frappe-daemon: {type(error).__name__}: {error}",
        "who": "programmer",
        "action": "Report it with the log of this run.",
    }


def bare(facts: Mapping[str, Any], error: DaemonError, status: str = FAILED) -> dict[str, Any]:
    """The report of a run that did nothing, or of whose doings nothing is known; `facts` say which run it was."""
    return {
        **facts,
        "status": status,
        "exit_code": int(exit_code(status, error)),
        "counts": {},
        "errors": {},
        "requests": 0,
        "retries": 0,
        "replies": {},
        "error": error_report(error),
        "away": False,
        "parts": [],
    }


def is_away(error: BaseException | None) -> bool:
    """Not the job failed but the site, and any other job would have met the same."""
    return isinstance(error, SiteDown) or (isinstance(error, Transient) and error.site_wide)


def totals(parts: list[dict[str, Any]], key: str) -> dict[str, int]:
    """`counts` or `errors` of all parts together."""
    total: Counter[str] = Counter()
    for part in parts:
        total.update(part[key])
    return dict(total)


def status_of(tallies: list[Tally], error: BaseException | None) -> str:
    """How a run ended."""
    if isinstance(error, Stopped):
        return STOPPED
    if error is not None:
        return FAILED
    if tallies and all(tally.error for tally in tallies):
        return FAILED
    if any(tally.bad or tally.error for tally in tallies):
        return SOME_FAILED
    return REFUSED if any(tally.refused for tally in tallies) else DONE


def trouble(status: str, report: Mapping[str, Any]) -> dict[str, str]:
    """What a person should know of a run that did not end well: what happened, who must act, and what to do."""
    if status == "interrupted":
        what = "the run was killed, or the machine went down in its midst"
        return {"what": what, "who": "nobody", "action": "Nothing: the next run goes on from there."}
    parts = report.get("parts") or []
    failed = [part for part in parts if part.get("error")]
    more = f", and {len(failed) - 1:,} more parts" if len(failed) > 1 else ""
    if error := report.get("error"):
        return {"what": error["message"], "who": error["who"], "action": error["action"]}
    if failed:
        error = failed[0]["error"]
        what = f"{failed[0]['part']}: {error['message']}{more}"
        return {"what": what, "who": error["who"], "action": error["action"]}
    if refused := [part for part in parts if part.get("refused")]:
        action = f"Look with `frappe-daemon once {report.get('job', 'JOB')} --dry-run`; raise the guard if it is right."
        return {"what": f"{refused[0]['part']}: {refused[0]['refused']}", "who": "operator", "action": action}
    return _of_rows(report, parts)


def _of_rows(report: Mapping[str, Any], parts: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Of a run whose parts came to their end, while some rows did not."""
    counts = report.get("counts") or {}
    number = sum(counts.get(result, 0) for result in ("failed", "refused", "uncertain"))
    bad = [one for part in parts for one in part["samples"] if one["result"] in ("failed", "refused", "uncertain")]
    action = f"`frappe-daemon history {report.get('job', 'JOB')} --json` holds the first hundred with their reasons."
    if not bad:
        return {"what": f"{number:,} failed" if number else "", "who": "operator", "action": action}
    of_all = f"{number:,} failed; the first: " if number > 1 else ""
    first = bad[0]
    what = f"{of_all}{first['doctype']} {first['name']}: {first['reason']}"
    return {"what": what, "who": first.get("who") or "operator", "action": action}


def is_idle(report: Mapping[str, Any]) -> bool:
    """It ended well without even a part: there was nothing to look at, such as no file in an inbox."""
    return report.get("status") == DONE and not report.get("parts")


def exit_code(status: str, error: BaseException | None) -> Exit:
    """What a command that ran it tells its caller."""
    if status == DONE:
        return Exit.DONE
    return error.exit_code if isinstance(error, DaemonError) else Exit.SOME_FAILED
