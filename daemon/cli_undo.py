"""The command that takes back what a run did, and what `history` says of that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from daemon.errors import UsageError
from daemon.terminal import ConfigOption, FormatOption, JsonOption, RowsOption, run_once

if TYPE_CHECKING:
    from daemon.app import App
    from daemon.config import Job
    from daemon.state import Run

commands = typer.Typer()

LONGEST_LIST = 5
"""Runs that are named where several may be meant."""


@commands.command()
def undo(
    run: Annotated[str, typer.Argument(help="Its id, as `history` tells it, or how that begins.")],
    config: ConfigOption = None,
    apply: Annotated[bool, typer.Option("--apply", help="Do it; without, the plan is shown and nothing done.")] = False,
    rows: RowsOption = None,
    as_json: JsonOption = False,
    log_format: FormatOption = None,
) -> None:
    """Take back what a run did, as far as Frappe gives a way back and nobody came after it."""
    run_once(lambda app: _job(app, run), config, not apply, rows, as_json, log_format, reason="undo")


def _job(app: App, text: str) -> Job:
    """The job that takes the run back. Raises UsageError where that cannot be."""
    from daemon.config import Job
    from daemon.jobs import _undo
    from daemon.schedule import Schedule

    found = _run(app, text)
    known = app.config.jobs.get(found.job)
    if why := _refusal(app, found):
        raise UsageError(f"run {found.id} of {found.job} cannot be undone: {why}", action=_LOOK)
    settings = _undo.Settings(run=found.id, of_kind=found.kind)
    section, direction = (known.section, known.direction) if known else (found.job, "")
    return Job(found.job, _undo, settings, Schedule.parse("yearly"), section, direction)


_LOOK = "`frappe-daemon history` tells of each run whether it can be undone."


def _run(app: App, text: str) -> Run:
    """The run that `text` names or begins. Raises UsageError."""
    app.state.interrupt_unfinished(app.clock.now())  # one that was killed is not going on
    found = app.state.runs_like(text, LONGEST_LIST + 1) if text else []
    exact = [run for run in found if run.id == text]
    if not found:
        raise UsageError(f"there is no run {text!r}", action="`frappe-daemon history --limit 100` lists the runs.")
    if len(found) > 1 and not exact:
        names = ", ".join(run.id for run in found[:LONGEST_LIST])
        more = " and more" if len(found) > LONGEST_LIST else ""
        raise UsageError(f"several runs begin with {text!r}: {names}{more}", action="Write more of its id.")
    return (exact or found)[0]


def _refusal(app: App, run: Run) -> str:
    """Why it cannot be undone, as a clause, or ""."""
    from daemon.jobs._undo import refusal

    if run.status == "running":
        return "it is still going on; stop it, or wait until it ends"
    if run.dry_run:
        return "it was a dry run, which changed nothing"
    head = app.trails.head(run.id)
    here = app.config.site.url
    if head and head.get("site") != here:
        return f"it worked on {head.get('site')}, and site.url is {here} now"
    done = sum(int(number) for key, number in (run.report.get("counts") or {}).items() if key != "kept")
    return refusal(run.kind, head, app.config.state.keep_undo, done or int(run.status == "interrupted"))


@dataclass(frozen=True, slots=True)
class Standing:
    """Whether a run can be undone."""

    word: str
    """yes, no, undone or in part."""
    why: str

    def as_json(self) -> dict[str, str]:
        return {"state": self.word, "why": self.why}


def standings(app: App, runs: Sequence[Run]) -> dict[str, Standing]:
    """Of each run, by its id; the site is not asked."""
    from daemon.app import UNDONE

    known = app.state.recall_some(UNDONE, [run.id for run in runs])
    return {run.id: _standing(app, run, known.get(run.id)) for run in runs}


def _standing(app: App, run: Run, undone: dict[str, Any] | None) -> Standing:
    if undone and not undone["left"]:
        return Standing("undone", f"by run {undone['by']}")
    if why := _refusal(app, run):
        return Standing("no", why)
    if undone:
        left = f"{undone['left']:,} could not be" if undone["left"] > 1 else "one could not be"
        return Standing("in part", f"by run {undone['by']}; {left}")
    return Standing("yes", f"`frappe-daemon undo {run.id}` shows the plan")
