"""The commands about pairs of a sync: run it with a wish, list those that wait for a person, and let them go on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from daemon import completion
from daemon.errors import UsageError
from daemon.terminal import ConfigOption, FormatOption, JsonOption, RowsOption, opened, run_once, show

if TYPE_CHECKING:
    from daemon.app import App
    from daemon.config import Job
    from daemon.core.links import Link
    from daemon.state.links import Links

commands = typer.Typer()

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
    from datetime import datetime

    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"--since {text}: is no moment; write it as 2026-01-31T08:00+01:00") from None
    if moment.tzinfo is None:
        raise UsageError(f"--since {text}: names no zone; write it as 2026-01-31T08:00+01:00, or with Z for UTC")
    return moment.isoformat()


def _of(app: App, section: str) -> Job:
    """The sync of this section. Raises UsageError."""
    job = app.job(section)
    if job.settings.kind != "sync":
        raise UsageError(f"{section} is a job of the kind {job.settings.kind}, no sync")
    return job


def _links(app: App, section: str) -> Links:
    from daemon.state.links import Links

    return Links(app.state, f"sync {_of(app, section).section}")


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
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the pairs that wait for a person, or decide one of them."""
    from daemon.core.links import FOR_A_PERSON, PULL, PUSH, Status

    with opened(config, None, secrets=False, level="warning") as app:
        sections = [job] if job else sorted({j.section for j in app.config.jobs.values() if j.settings.kind == "sync"})
        kept = [(section, _links(app, section)) for section in sections]
        pages = [(s, [links.find(name)] if name else links.in_status(*FOR_A_PERSON)) for s, links in kept]
        found = [(s, link) for s, some in pages for page in some for link in page if link.status in FOR_A_PERSON]
        if name is not None and not found:
            raise UsageError(f"{name} is neither in conflict nor held")
        if keep is None:
            show([_told(section, link) for section, link in found], as_json, "of_conflicts")
            return
        if name is None or job is None:
            raise UsageError("--keep decides one pair: name the job and the document or record")
        ((section, link),) = found
        if link.status != Status.CONFLICT:
            raise UsageError(f"{name} is held, not in conflict: {link.why}", action="Mend the cause, then `retry`.")
        link.detail = {**link.detail, "keep": keep}
        link.todo = PULL | PUSH
        _links(app, section).save([link])
        said = f"{name}: the next run of {section} keeps what the {keep} has"
        show({**_told(section, link), "keep": keep, "said": said}, as_json, "of_word")


@commands.command()
def retry(
    job: JobArgument,
    name: Annotated[str | None, typer.Argument()] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let pairs that failed, or are held, be tried again by the next run."""
    from daemon.core.links import PULL, PUSH, Status

    with opened(config, None, secrets=False, level="warning") as app:
        links, number = _links(app, job), 0
        pages = [links.find(name)] if name else links.in_status(Status.FAILED, Status.HELD)
        for page in pages:
            waiting = [link for link in page if link.status in (Status.FAILED, Status.HELD)]
            for link in waiting:
                link.status = (
                    Status.LINKED if link.name and link.remote else Status.CREATING if link.key else Status.NEW
                )
                link.todo, link.tries, link.due = PULL | PUSH, 0, None
            links.save(waiting)
            number += len(waiting)
        if name and not number:
            raise UsageError(f"{name} has neither failed nor is it held")
        said = "one pair is" if number == 1 else f"{number} pairs are"
        show({"job": job, "retried": number, "said": f"{said} tried again by the next run"}, as_json, "of_word")


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
