"""The commands. Each imports what it needs when it runs, so that none pays for the others."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from daemon import cli_init, cli_setup, cli_status, cli_sync, cli_undo, completion
from daemon.errors import DaemonError, Exit
from daemon.terminal import ConfigOption, FormatOption, JsonOption, RowsOption, load, opened, run_once, show

if TYPE_CHECKING:
    from daemon.app import App
    from daemon.config import Config

cli = typer.Typer(
    name="frappe-daemon",
    help="Scheduled work against a Frappe/ERPNext site, through its REST API alone.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
cli.add_typer(cli_sync.commands)
cli.add_typer(cli_status.commands)
cli.add_typer(cli_undo.commands)
cli.add_typer(cli_setup.commands)
cli.add_typer(cli_init.commands)


def _tell_version(wanted: bool) -> None:
    if wanted:
        from daemon import __version__

        typer.echo(f"frappe-daemon {__version__}")
        raise typer.Exit


@cli.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Say which version this is.", callback=_tell_version, is_eager=True)
    ] = False,
) -> None:
    """Before any command."""


@cli.command()
def run(config: ConfigOption = None, log_format: FormatOption = None) -> None:
    """Run the jobs on their schedules until told to stop."""
    from daemon.config import service_manager
    from daemon.notify import Notifier
    from daemon.service import Service

    with opened(config, log_format) as app, app.state.serving():
        service = Service(app, Notifier(*service_manager()))
        service.heed_signals()
        if not service.run():
            os._exit(Exit.SOME_FAILED)  # a request that does not end would keep its thread, and so the process, alive


@cli.command()
def once(
    job: Annotated[str, typer.Argument(help="A job's name, as in [jobs.<name>].", autocompletion=completion.jobs)],
    config: ConfigOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done, and do nothing.")] = False,
    rows: RowsOption = None,
    as_json: JsonOption = False,
    log_format: FormatOption = None,
) -> None:
    """Run one job now, and report."""
    run_once(job, config, dry_run, rows, as_json, log_format)


@cli.command(name="import")
def import_(
    file: Annotated[Path, typer.Argument(help="CSV, TSV, JSON Lines, XLSX, XLS or ODS; gzip of these.")],
    doctype: Annotated[str, typer.Option("--doctype", "-d", help="What its rows become.")],
    config: ConfigOption = None,
    key: Annotated[str, typer.Option(help="The field by which a row finds its document again.")] = "",
    update_existing: Annotated[bool, typer.Option("--update-existing", help="Rows may change what is there.")] = False,
    on_conflict: Annotated[
        Literal["error", "skip", "update"], typer.Option(help="Where somebody changed a document meanwhile.")
    ] = "error",
    blank: Annotated[
        Literal["keep", "clear"], typer.Option(help="What an empty cell means for a document that is there.")
    ] = "keep",
    submit: Annotated[bool, typer.Option("--submit", help="Submit what was created.")] = False,
    column: Annotated[
        list[str] | None, typer.Option("--column", help='"Header=field", "Header=table.field", "Header=" to leave out.')
    ] = None,
    constant: Annotated[list[str] | None, typer.Option("--set", help='"field=value" for every document.')] = None,
    default: Annotated[list[str] | None, typer.Option("--default", help='"field=value" where a cell is empty.')] = None,
    ignore_unknown: Annotated[
        bool, typer.Option("--ignore-unknown", help="Leave columns out that no field is for.")
    ] = False,
    no_mandatory: Annotated[
        bool, typer.Option("--no-mandatory", help="Let the site say which mandatory fields are missing.")
    ] = False,
    decimal: Annotated[
        Literal["", ".", ","], typer.Option(help="The decimal mark, where the file does not prove it.")
    ] = "",
    date: Annotated[list[str] | None, typer.Option("--date", help='Format of dates, such as "dd.mm.yyyy".')] = None,
    serials: Annotated[
        Literal["", "1900", "1904"], typer.Option(help="Numbers where a date is wanted are a workbook's days.")
    ] = "",
    rating: Annotated[Literal["", "stars", "fraction"], typer.Option(help="What ratings count.")] = "",
    allow_read_only: Annotated[
        bool, typer.Option("--allow-read-only", help="Write fields that only forms protect.")
    ] = False,
    encoding: Annotated[str | None, typer.Option(help="Of text, where it is not found out.")] = None,
    delimiter: Annotated[str | None, typer.Option(help="Between cells, where it is not found out.")] = None,
    sheet: Annotated[str | None, typer.Option(help="Of a workbook; else its first that holds anything.")] = None,
    again: Annotated[bool, typer.Option("--again", help="Although this content was imported before.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be wrong, as far as reading tells.")
    ] = False,
    rows: RowsOption = None,
    as_json: JsonOption = False,
    log_format: FormatOption = None,
) -> None:
    """Make documents of the rows of a table file. What became of them is put beside it."""
    from daemon.config import one_job

    settings = {
        "doctype": doctype, "file": str(file.absolute()), "key": key, "update_existing": update_existing,
        "on_conflict": on_conflict, "blank": blank, "submit": submit, "columns": _pairs("--column", column),
        "constants": _pairs("--set", constant), "defaults": _pairs("--default", default),
        "ignore_unknown": ignore_unknown, "mandatory": not no_mandatory, "decimal": decimal, "dates": date or [],
        "serials": serials, "rating": rating, "allow_read_only": allow_read_only,
        "encoding": encoding, "delimiter": "\t" if delimiter in ("\\t", "tab") else delimiter, "sheet": sheet,
        "again": again, "timeout": "30d",
    }  # fmt: skip
    job = one_job(f"import {doctype}", "import", settings)
    run_once(job, config, dry_run, rows, as_json, log_format)


def _pairs(option: str, texts: list[str] | None) -> dict[str, str]:
    from daemon.errors import UsageError

    pairs = [text.partition("=") for text in texts or ()]
    if wrong := [text for text, (_, sign, _) in zip(texts or (), pairs, strict=True) if not sign]:
        raise UsageError(f"{option} {wrong[0]!r}: write it as name=value")
    return {name.strip(): value.strip() for name, _, value in pairs}


@cli.command()
def digest(
    job: Annotated[str, typer.Argument(help="A job of the kind digest.", autocompletion=completion.of_kind("digest"))],
    config: ConfigOption = None,
    preview: Annotated[
        Path | None, typer.Option(help="Write one letter to this file, as HTML, and send nothing.")
    ] = None,
    for_user: Annotated[str, typer.Option("--for", help="Whose letter; else the first reader's.")] = "",
    send_to: Annotated[
        str, typer.Option("--send-to", help="Send the digest to this user or address, and to nobody else.")
    ] = "",
    as_json: JsonOption = False,
    log_format: FormatOption = None,
) -> None:
    """Look at a digest before its readers do: as a file, or as a mail to yourself."""
    from dataclasses import replace

    from daemon.errors import UsageError
    from daemon.jobs.digest import Settings, Wish

    with opened(config, log_format) as app:
        found = app.job(job)
    if not isinstance(found.settings, Settings):
        raise UsageError(f"{job} is a job of the kind {found.settings.kind}, not a digest")
    if bool(preview) == bool(send_to) or (send_to and for_user):
        raise UsageError("say --preview FILE [--for USER], or --send-to USER; `once` sends the digest to its readers")
    settings = found.settings.wishing(Wish(preview and preview.absolute(), for_user, send_to))
    run_once(replace(found, settings=settings), config, preview is not None, None, as_json, log_format)


@cli.command()
def explain(
    job: Annotated[str, typer.Argument(help="A job's name, as in [jobs.<name>].", autocompletion=completion.jobs)],
    words: Annotated[
        list[str],
        typer.Argument(
            help="Clean-up, expiry: a DocType and a name. Sync: the name or id of one side. Import: a document's name, "
            "or a file and a line. Digest: a user or an address."
        ),
    ],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say why something was done, or was not; it changes nothing."""
    from daemon.app import IMPATIENT
    from daemon.errors import UsageError

    with opened(config, None, level="warning") as app:
        found = app.job(job)
        answer = getattr(found.kind, "explain", None)
        if answer is None:
            raise UsageError(f"{job} is a job of the kind {found.settings.kind}, which has nothing to explain")
        with app.inquiry(found, IMPATIENT) as inquiry:
            rows = app.redact(answer(inquiry, found.settings, words))
    show(rows, as_json, "of_answers")


@cli.command()
def check(
    config: ConfigOption = None,
    offline: Annotated[bool, typer.Option("--offline", help="Look at the configuration alone.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Look whether everything is there that the jobs need, and say who must do what."""
    from daemon import check as checks

    loaded = load(config)
    findings = list(checks.of_config(loaded))
    code: int = Exit.DONE if offline else _check_site(loaded, findings)
    if code == Exit.DONE and any(found.level == checks.PROBLEM for found in findings):
        code = Exit.SOME_FAILED
    show(checks.as_json(findings), as_json, "of_findings")
    raise typer.Exit(code)


def _check_site(loaded: Config, findings: list[Any]) -> int:
    from daemon import check as checks
    from daemon.app import IMPATIENT, App

    app = App(loaded)
    try:
        findings.extend(checks.of_remotes(app, loaded.jobs.values()))
        with app.site(IMPATIENT) as site:
            app.state.site_facts(loaded.site.url)
            findings.extend(checks.of_site(site, loaded.jobs.values(), app.asked))
            findings.extend(checks.of_told(site, loaded))
    except DaemonError as error:
        findings.append(checks.of_error(error))
        return int(error.exit_code)
    finally:
        findings[:] = [checks.Finding(**app.redact(found.as_json())) for found in findings]
        app.close()
    return Exit.DONE


@cli.command()
def reference(
    section: Annotated[
        str,
        typer.Argument(
            help="site, state, …; jobs for what all have; or a kind of job.", autocompletion=completion.sections
        ),
    ] = "",
) -> None:
    """Print what each key of the configuration means, as Markdown."""
    from daemon import reference as pages

    typer.echo(pages.reference(section))


@cli.command(name="install-service")
def install_service(
    instance: Annotated[
        str, typer.Option("--instance", help="One of several services of this machine, each with a site of its own.")
    ] = "",
    root: Annotated[Path, typer.Option("--root", help="Write beneath this directory, such as of an image.")] = Path(
        "/"
    ),
    show_only: Annotated[bool, typer.Option("--print", help="Show the files, and write none.")] = False,
    remove: Annotated[bool, typer.Option("--remove", help="Take away what it wrote and nobody edited.")] = False,
) -> None:
    """Write the units of systemd, a configuration to begin with, and files for the key."""
    from daemon import install

    wanted, systemd, program = install.service(instance), install.systemd_version(), install.program()
    found = install.items(wanted, systemd, program)
    if show_only:
        for item in found:
            typer.echo(f"# --- {item.path} (mode {item.mode:04o})\n{item.content}")
        return
    for path, what in install.remove(found, root) if remove else install.write(found, root):
        typer.echo(f"{path}: {what}")
    if remove:
        typer.echo(f"What jobs remember is still in {wanted.state}. Next: sudo systemctl daemon-reload")
        return
    for concern in install.concerns(systemd, program):
        typer.echo(f"warning: {concern}", err=True)
    typer.echo("\nNext:")
    for number, step in enumerate(install.next_steps(wanted), 1):
        typer.echo(f"  {number}. {step}")


@cli.command()
def jobs(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """List the jobs with their schedules, next five runs and last results, and what runs now."""
    from daemon.app import IMPATIENT
    from daemon.facts import running

    with opened(config, None, secrets=False) as app:
        zone, last, now = app.remembered_zone(), app.state.last_runs(), app.clock.now()
        holders = app.state.holders()
        if zone is None:
            with opened(config, None) as online:
                zone = online.zone(IMPATIENT)
        now_running = running(app)
        listed = []
        for job in app.config.jobs.values():
            moments: list[str] = []
            at = now
            while job.settings.enabled and len(moments) < 5:
                at = job.schedule.after(at, zone)
                moments.append(at.isoformat())
            run = _telling(app, last.get(job.name))
            listed.append(
                {
                    "name": job.name,
                    "kind": job.settings.kind,
                    "schedule": job.schedule.text,
                    "enabled": job.settings.enabled,
                    "next": moments,
                    "last": run and _run_row(run),
                    "running": now_running.get(job.name),
                    "looked": last[job.name].started.isoformat() if job.name in last else None,
                    "held": _holder_row(holders.get(job.name)),
                }
            )
    show(listed, as_json, "of_jobs", zone)


@cli.command()
def history(
    job: Annotated[str | None, typer.Argument(help="Only this job's runs.", autocompletion=completion.jobs)] = None,
    config: ConfigOption = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=100_000, help="Runs, at the most.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """List past runs, the newest first."""
    with opened(config, None, secrets=False) as app:
        if job is not None and not (job.isprintable() and app.state.last_run(job)):
            app.job(job)
        runs = app.state.runs(job, limit=limit)
        undo = {run: found.as_json() for run, found in cli_undo.standings(app, runs).items()}
    listed = [_run_row(run) | {"undo": undo[run.id]} for run in runs]
    more = [{"report": run.report} if as_json else {} for run in runs]
    show([row | report for row, report in zip(listed, more, strict=True)], as_json, "of_history")


@cli.command()
def sandbox(
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: a free one.")] = 8000,
    version: Annotated[Literal["14", "15", "16"], typer.Option(help="The Frappe that it plays.")] = "15",
    bulk: Annotated[bool, typer.Option("--bulk", help="With the v2 bulk endpoints of late version 16.")] = False,
    data: Annotated[Literal["empty", "demo"], typer.Option(help="What is in it.")] = "demo",
    path: Annotated[Path | None, typer.Option(help="Keep its data in this file.")] = None,
    time_zone: Annotated[str, typer.Option(help="The site's.")] = "America/New_York",
    orders: Annotated[
        bool, typer.Option("--orders", help="An orders API too, on the port after it, for syncs.")
    ] = False,
) -> None:
    """A Frappe-shaped site on 127.0.0.1, to try the daemon on."""
    from zoneinfo import ZoneInfo

    from daemon.errors import UsageError
    from daemon.sandbox import serve as served

    try:
        ZoneInfo(time_zone)
    except (LookupError, ValueError, OSError):
        raise UsageError(f"--time-zone {time_zone!r} is no time zone of the IANA database") from None

    def ready(url: str, keys: dict[str, tuple[str, str]]) -> None:
        typer.echo(f"{url} plays Frappe {version}; stop it with Ctrl-C. API keys:")
        for user, (key, secret) in keys.items():
            typer.echo(f"  {user}: {key}:{secret}")
        if api:
            typer.echo(f"{api.url} is an orders API; its bearer token: {api.token}")
        sys.stdout.flush()

    with served.orders(port and port + 1, data) if orders else nullcontext() as api:
        served.serve(
            port=port, version=version, bulk=bulk, data=data, path=path, time_zone=time_zone, on_ready=ready,
        )  # fmt: skip


@cli.command()
def demo(
    version: Annotated[Literal["14", "15", "16"], typer.Option(help="The Frappe that the sandbox plays.")] = "15",
    as_json: JsonOption = False,
) -> None:
    """Run every job of the shipped configuration once, against a sandbox full of data."""
    from daemon.demo import reports

    if not as_json:
        typer.echo(f"A sandbox plays Frappe {version} with a year of data; the shipped config.toml works on it.\n")
    found = list(reports(version))
    show(found, as_json, "of_report", each=True)


def _telling(app: App, last: Any) -> Any:
    """The latest run that found something to do, else `last`."""
    from daemon.report import is_idle

    if not (last and is_idle(last.report)):
        return last
    return next((run for run in app.state.runs(last.job, limit=9) if not (run.dry_run or is_idle(run.report))), last)


def _holder_row(holder: Any) -> dict[str, Any] | None:
    """Which process runs a job."""
    return holder and {"host": holder.host, "pid": holder.pid, "since": holder.since.isoformat()}


def _run_row(run: Any) -> dict[str, Any]:
    report = run.report or {}
    return {
        "run": run.id,
        "job": run.job,
        "reason": run.reason,
        "started": run.started.isoformat(),
        "ended": run.ended and run.ended.isoformat(),
        "seconds": report.get("seconds"),
        "status": run.status,
        "dry_run": run.dry_run,
        "counts": report.get("counts", {}),
        "error": report.get("error"),
        "refused": [part["refused"] for part in report.get("parts", ()) if part["refused"]],
        "failed": [f"{part['part']}: {part['error']['message']}" for part in report.get("parts", ()) if part["error"]],
    }


def main(arguments: Iterable[str] | None = None) -> None:
    """Entry point: words each error once, on standard error, and ends with its exit code."""
    if sys.stdout:
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr] # as standard error is
    try:
        cli(args=list(arguments) if arguments is not None else None)
    except DaemonError as error:
        _complain(error)
        sys.exit(int(error.exit_code))


def _complain(error: DaemonError) -> None:
    lines = [str(error), *getattr(error, "problems", ())]
    typer.echo("error: " + "\n  ".join(lines), err=True)
    who = "" if error.who == "nobody" or error.exit_code == Exit.USAGE else f" ({error.who})"
    typer.echo(f"  → {error.action}{who}", err=True)
