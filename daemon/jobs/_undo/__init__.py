"""Takes back what an earlier run did, as a run of the same job: no kind for a configuration, `frappe-daemon undo` makes
its one job.

A clean-up's rows come back from Deleted Document, or from the rule's archive; an import's documents are deleted (or
cancelled, where submitted), and what it changed is put back. Whatever somebody changed since stays as it is and is told
as a conflict. What Frappe gives no way back for is told, too.

Reads: the run's trail, Deleted Document, documents, archives. Writes: restores, documents, the trail. Never: a document
that was changed since the run, twice the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Any

from daemon.core.duration import format_duration
from daemon.core.kind import DialectPort, Need, Part, Run
from daemon.core.settings import JobSettings
from daemon.errors import UsageError
from daemon.jobs._undo.deleted import RestorePart
from daemon.jobs._undo.imported import TakeBackPart

OWNER = "undo"
"""Of what is known of runs that were undone, each under its id."""


class Settings(JobSettings):
    """Which run is taken back."""

    kind: str = "undo"
    schedule: str = "yearly"
    timeout: timedelta = timedelta(days=30)
    run: str
    of_kind: str


def needs(settings: Settings, dialect: DialectPort) -> Iterable[Need]:  # noqa: ARG001 (every kind is asked so)
    """Nothing beforehand: each document says for itself what may be done about it."""
    return ()


def parts(run: Run, settings: Settings) -> Iterator[Part]:
    """One for each rule of a clean-up, or file of an import, the last first."""
    past = run.past(settings.run)
    if past is None:
        raise UsageError(f"nothing is kept of what run {settings.run} did")
    make = RestorePart if settings.of_kind == "cleanup" else TakeBackPart
    made: list[Part] = []
    for of in reversed(list(past.heads)):
        made.append(make(run, settings.run, past, of))
        yield made[-1]
    if not run.dry_run:
        left = sum(part.tally.bad for part in made) + sum(part.tally.error is not None for part in made)
        at = run.now().isoformat(timespec="seconds")
        run.journal(OWNER).write({settings.run: {"by": run.id, "at": at, "left": left}})


REFUSALS = {
    "sync": "a sync cannot be undone: both sides go on, and what was put back here the next run would carry over again."
    " Put the values right on the side that is to win, and let the sync carry them; `frappe-daemon conflicts` and"
    " `explain` tell what each side holds.",
    "digest": "mails cannot be unsent: they are in their readers' mailboxes. Mend the job, and send a correction by"
    " `frappe-daemon digest JOB --send-to USER`.",
    "expiry": "notices cannot be unsent: people have read them. Mend the rule, or tell them yourself.",
    "undo": "it was an undo itself: run the job again to do anew what it took back.",
}
"""Kind → why its runs are not undone."""


def refusal(kind: str, head: dict[str, Any], kept: timedelta, done: int) -> str:
    """Why a run of this kind cannot be undone whose trail begins with `head`, or "". `done`: what its report counts."""
    if kind in REFUSALS:
        return REFUSALS[kind]
    if kind not in ("cleanup", "import"):
        return f"a run of the kind {kind} cannot be undone"
    if head:
        return ""
    if not done:
        return "it changed nothing, so there is nothing to take back"
    if not kept:
        return 'nothing was written down for that, since [state] keep_undo is "0s"'
    return (
        f"what that needs is not here: it is kept for {format_duration(kept)} ([state] keep_undo), beside the state,"
        " and versions before 1.0 wrote nothing down"
    )
