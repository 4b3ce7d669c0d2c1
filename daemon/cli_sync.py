"""The commands about pairs of a sync: run it with a wish, list those that wait for a person, and let them go on."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from daemon import completion
from daemon.errors import AlreadyRunning, UsageError
from daemon.terminal import ConfigOption, FormatOption, JsonOption, RowsOption, opened, run_once, show

if TYPE_CHECKING:
    from daemon.app import App
    from daemon.config import Job
    from daemon.core.links import Link
    from daemon.state.links import Links

commands = typer.Typer()

EARLIEST, LATEST = 1970, 9000
"""Years of moments that lists are asked for."""
JobArgument = Annotated[
    str, typer.Argument(help="A sync's section in the configuration.", autocompletion=completion.of_kind("sync"))
]


@commands.command()
def sync(
    job: JobArgument,
    config: ConfigOption = None,
    full: Annotated[bool, typer.Option("--full", help="Compare everything, not what changed lately alone.")] = False,
    since: Annotated[
        str | None, typer.Option(help="Read what changed since this moment: 2026-01-31T08:00+01:00.")
    ] = None,
    resync: Annotated[bool, typer.Option("--resync", help="The configuration was changed on purpose.")] = False,
    release: Annotated[
        bool, typer.Option("--release", help="What stopped the job was looked at, and is all right.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done, and do nothing.")] = False,
    rows: RowsOption = None,
    as_json: JsonOption = False,
    log_format: FormatOption = None,
) -> None:
    """Run a sync now, in both directions, and report."""
    wish: dict[str, Any] = {"full": full, "resync": resync, "release": release, "since": _moment(since)}
    wanted = {key: value for key, value in wish.items() if value}
    run_once(lambda app: _of(app, job), config, dry_run, rows, as_json, log_format, wanted)


def _moment(text: str | None) -> str | None:
    from datetime import UTC, datetime

    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"--since {text}: is no moment; write it as 2026-01-31T08:00+01:00") from None
    if moment.tzinfo is None:
        raise UsageError(f"--since {text}: names no zone; write it as 2026-01-31T08:00+01:00, or with Z for UTC")
    if not EARLIEST < moment.replace(tzinfo=UTC).year < LATEST:
        raise UsageError(f"--since {text}: no list goes back, or on, to that year")
    return moment.isoformat()


def _of(app: App, section: str) -> Job:
    """The sync of this section. Raises UsageError."""
    job = app.job(section)
    if job.settings.kind != "sync":
        raise UsageError(f"{section} is a job of the kind {job.settings.kind}, no sync")
    return job


def _links(app: App, section: str) -> Links:
    from daemon.state.links import Links

    return Links(app.state, _owner(app, section))


def _owner(app: App, section: str) -> str:
    return f"sync {_of(app, section).section}"


@contextmanager
def _between_runs(app: App, section: str) -> Iterator[Links]:
    """Its links, which no run works on meanwhile: that would write what it read before over what a person decides.
    Raises AlreadyRunning."""
    try:
        with app.state.claim(_owner(app, section)):
            yield _links(app, section)
    except AlreadyRunning:
        said = f"a run of {section} is going on, and would not see what is decided meanwhile"
        raise AlreadyRunning(said, action="Repeat the command once it has ended; `frappe-daemon history`.") from None


def _one(found: Sequence[Link], name: str) -> Link:
    """What `name` means. Raises UsageError where it is the document of one pair and the record of another."""
    if len(found) > 1:
        pairs = " and ".join(f"{link.name or 'no document'} ↔ {link.remote or 'no record'}" for link in found)
        raise UsageError(f"{name} names {len(found)} pairs: {pairs}", action="Name the pair by its other side.")
    return found[0]


@commands.command()
def conflicts(
    job: Annotated[
        str | None,
        typer.Argument(help="A sync's section; else all of them.", autocompletion=completion.of_kind("sync")),
    ] = None,
    name: Annotated[str | None, typer.Argument(help="The name of a document, or the id of a record.")] = None,
    keep: Annotated[
        Literal["site", "remote"] | None, typer.Option(help="Decide for this side; the next run carries it out.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="With --keep: all conflicts of the job.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="With --all: do not ask.")] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the pairs that wait for a person or for their next try, or decide one of them, or all conflicts of a job."""
    with opened(config, None, secrets=False, level="warning") as app:
        if keep is None:
            if everything or yes:
                raise UsageError("--all and --yes belong to --keep")
            sections = {j.section for j in app.config.jobs.values() if j.settings.kind == "sync"}
            found = list(_waiting(app, [job] if job else sorted(sections), name))
            if name is not None and not found:
                raise UsageError(f"{name} is neither in conflict nor held, nor has it failed")
            show([_told(section, link) for section, link in found], as_json, "of_conflicts")
        elif job is None or (name is None) != everything:
            raise UsageError("--keep decides one pair: name the job and the document or record; or the job and --all")
        elif name is None:
            show(_keep_all(app, job, keep, yes=yes), as_json, "of_word")
        else:
            show(_keep_one(app, job, name, keep), as_json, "of_word")


def _waiting(app: App, sections: Sequence[str], name: str | None) -> Iterator[tuple[str, Link]]:
    from daemon.core.links import FOR_A_PERSON, Status

    statuses = (*FOR_A_PERSON, Status.FAILED)
    for section in sections:
        links = _links(app, section)
        for page in [links.find(name)] if name else links.in_status(*statuses):
            yield from ((section, link) for link in page if link.status in statuses)


def _keep_one(app: App, job: str, name: str, keep: str) -> dict[str, Any]:
    from daemon.core.links import FOR_A_PERSON, Status

    with _between_runs(app, job) as links:
        found = [link for link in links.find(name) if link.status in FOR_A_PERSON]
        if not found:
            raise UsageError(f"{name} is neither in conflict nor held")
        in_conflict = [link for link in found if link.status == Status.CONFLICT]
        link = _one(in_conflict or found, name)
        if not in_conflict:
            raise UsageError(f"{name} is held, not in conflict: {link.why}", action=_way_out(job, link))
        _decide([link], keep)
        links.save([link])
    return {**_told(job, link), "keep": keep, "said": f"{name}: the next run of {job} keeps what the {keep} has"}


def _way_out(job: str, link: Link) -> str:
    if not link.awaits_record:
        return f"Mend the cause, then `frappe-daemon retry {job} {link.name or link.remote}`."
    return (
        f"Look for a record of {link.name}. If none is there, `frappe-daemon retry {job} {link.name} --again`"
        " asks for one anew; if there is, delete it there before that, unless a list shows it with the document's name,"
        " by which it is found."
    )


def _keep_all(app: App, job: str, keep: str, *, yes: bool) -> dict[str, Any]:
    from daemon.core.links import Status

    with _between_runs(app, job) as links:
        number = links.counts().get(Status.CONFLICT, 0)
        if number and not yes:
            asked = f"{number:,} {'pair' if number == 1 else 'pairs'} of {job} in conflict: keep what the {keep} has?"
            if not sys.stdin.isatty():
                raise UsageError(asked, action="Say --yes, or ask at a terminal.")
            typer.confirm(asked, abort=True)
        for page in links.in_status(Status.CONFLICT):
            _decide(page, keep)
            links.save(page)
    said = f"{number:,} {'pair' if number == 1 else 'pairs'}: the next run of {job} keeps what the {keep} has"
    return {"job": job, "kept": number, "keep": keep, "said": said}


def _decide(conflicting: Iterable[Link], keep: str) -> None:
    from daemon.core.links import PULL, PUSH

    for link in conflicting:
        link.detail, link.todo = {**link.detail, "keep": keep}, PULL | PUSH


@commands.command()
def retry(
    job: JobArgument,
    name: Annotated[str | None, typer.Argument(help="The name of a document, or the id of a record.")] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Its record was asked for, no reply came, and you saw that it is not there.")
    ] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let pairs that failed, or are held, be tried again by the next run."""
    from daemon.core.links import Status, tried_again

    if again and name is None:
        raise UsageError("--again is for one pair, of which you know that its record is not there: name its document")
    with opened(config, None, secrets=False, level="warning") as app, _between_runs(app, job) as links:
        number, waits = 0, (Status.FAILED, Status.HELD)
        for page in [links.find(name)] if name else links.in_status(*waits):
            waiting = [link for link in page if link.status in waits]
            if name and waiting:
                link = _one(waiting, name)
                if again and not link.awaits_record:
                    raise UsageError(f"{name}: no record was asked for whose reply is missing", action="`retry` it.")
            for link in waiting:
                tried_again(link, anew=again)
            links.save(waiting)
            number += len(waiting)
        if name and not number:
            raise UsageError(f"{name} has neither failed nor is it held")
    said = "one pair is" if number == 1 else f"{number} pairs are"
    show({"job": job, "retried": number, "said": f"{said} tried again by the next run"}, as_json, "of_word")


@commands.command()
def relink(
    job: JobArgument,
    name: Annotated[str, typer.Argument(help="The name of a document, or the id of a record.")],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Pair a document and a record again that were parted; where one of them is gone, it is made anew."""
    from daemon.core.links import Status, paired_again

    with opened(config, None, secrets=False, level="warning") as app, _between_runs(app, job) as links:
        found = links.find(name)
        ended = [link for link in found if link.status in (Status.ENDED, Status.ABSENT)]
        if not ended:
            stands = f"is {found[0].status}" if found else "is not known"
            raise UsageError(f"{name} {stands}, so there is nothing to pair again")
        link = _one(ended, name)
        paired_again(link)
        links.save([link])
    show({**_told(job, link), "said": f"{name}: the next run of {job} pairs it again"}, as_json, "of_word")


def _told(section: str, link: Link) -> dict[str, Any]:
    return {
        "job": section,
        "document": link.name,
        "record": link.remote,
        "status": link.status,
        "waiting": bool(link.todo),
        "why": link.why,
        "run": link.run,
        "fields": link.detail.get("paths", {}),
        "tries": link.tries,
        "next_try": link.due and link.due.isoformat(),
    }
