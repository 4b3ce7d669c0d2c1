"""The commands. Each imports what it needs when it runs, so that none pays for the others."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from daemon.errors import DaemonError, Exit

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

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="Else $FRAPPE_DAEMON_CONFIG, ./config.toml, /etc/frappe-daemon/config.toml."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON on standard output instead of a table.")]
FormatOption = Annotated[
    Literal["auto", "console", "json"] | None,
    typer.Option(
        "--log-format", help="How the log on standard error looks; auto: for people at a terminal, else JSON."
    ),
]


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
    import signal

    from daemon.service import Service

    with _app(config, log_format) as app:
        asked = 0

        def stop(_number: int, _frame: Any) -> None:
            nonlocal asked
            asked += 1
            app.stop.set()
            if asked > 1:
                raise KeyboardInterrupt

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        if not Service(app).run():
            os._exit(Exit.SOME_FAILED)  # a request that does not end would keep its thread, and so the process, alive


@cli.command()
def once(
    job: Annotated[str, typer.Argument(help="A job's name, as in [jobs.<name>].")],
    config: ConfigOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done, and do nothing.")] = False,
    rows: Annotated[
        Path | None,
        typer.Option("--rows", help="Write every row with what becomes of it and why, as JSON Lines, to this file."),
    ] = None,
    as_json: JsonOption = False,
    log_format: FormatOption = None,
) -> None:
    """Run one job now, and report."""
    from daemon.runner import Order

    people = not as_json and bool(sys.stderr) and sys.stderr.isatty() and log_format in (None, "auto")
    # The table says what the log would say; at a terminal only what goes wrong on the way is worth a line beside it.
    with (
        _app(config, log_format, level="warning" if people else None) as app,
        _stopping(app),
        _rows_file(rows, app.redact) as explain,
    ):
        wanted = app.job(job)
        order = Order(wanted, app.new_run_id(), "by hand", dry_run=dry_run, explain=explain)
        found = app.runner.run(order)
        app.prune()
    _show(found, as_json, "of_report")
    raise typer.Exit(found["exit_code"])


@cli.command()
def check(
    config: ConfigOption = None,
    offline: Annotated[bool, typer.Option("--offline", help="Look at the configuration alone.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Look whether everything is there that the jobs need, and say who must do what."""
    from daemon import check as checks

    loaded = _load(config)
    findings = list(checks.of_config(loaded))
    code: int = Exit.DONE if offline else _check_site(loaded, findings)
    if code == Exit.DONE and any(found.level == checks.PROBLEM for found in findings):
        code = Exit.SOME_FAILED
    _show(checks.as_json(findings), as_json, "of_findings")
    raise typer.Exit(code)


def _check_site(loaded: Config, findings: list[Any]) -> int:
    from daemon import check as checks
    from daemon.app import IMPATIENT, App

    app = App(loaded)
    try:
        with app.site(IMPATIENT) as site:
            app.state.site_facts(loaded.site.url)
            findings.extend(checks.of_site(site, loaded.jobs.values()))
    except DaemonError as error:
        findings.append(checks.of_error(error))
        return int(error.exit_code)
    finally:
        findings[:] = [checks.Finding(**app.redact(found.as_json())) for found in findings]
        app.close()
    return Exit.DONE


@cli.command()
def jobs(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """List the jobs with their schedules, next five runs and last results."""
    from daemon.app import IMPATIENT

    with _app(config, None, secrets=False) as app:
        zone, last, now = app.remembered_zone(), app.state.last_runs(), app.clock.now()
        if zone is None:
            with _app(config, None) as online:
                zone = online.zone(IMPATIENT)
        listed = []
        for job in app.config.jobs.values():
            moments: list[str] = []
            at = now
            while job.settings.enabled and len(moments) < 5:
                at = job.schedule.after(at, zone)
                moments.append(at.isoformat())
            run = last.get(job.name)
            listed.append(
                {
                    "name": job.name,
                    "kind": job.settings.kind,
                    "schedule": job.settings.schedule,
                    "enabled": job.settings.enabled,
                    "next": moments,
                    "last": run and _run_row(run),
                }
            )
    _show(listed, as_json, "of_jobs", zone)


@cli.command()
def history(
    job: Annotated[str | None, typer.Argument(help="Only this job's runs.")] = None,
    config: ConfigOption = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="Runs, at the most.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """List past runs, the newest first."""
    with _app(config, None, secrets=False) as app:
        if job is not None and not app.state.last_run(job):
            app.job(job)
        runs = app.state.runs(job, limit=limit)
    _show([_run_row(run) | ({"report": run.report} if as_json else {}) for run in runs], as_json, "of_history")


@cli.command()
def sandbox(
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: a free one.")] = 8000,
    version: Annotated[Literal["14", "15", "16"], typer.Option(help="The Frappe that it plays.")] = "15",
    bulk: Annotated[bool, typer.Option("--bulk", help="With the v2 bulk endpoints of late version 16.")] = False,
    data: Annotated[Literal["empty", "demo"], typer.Option(help="What is in it.")] = "demo",
    path: Annotated[Path | None, typer.Option(help="Keep its data in this file.")] = None,
    time_zone: Annotated[str, typer.Option(help="The site's.")] = "America/New_York",
) -> None:
    """A Frappe-shaped site on 127.0.0.1, to try the daemon on."""
    from zoneinfo import ZoneInfo

    from daemon.errors import UsageError
    from daemon.sandbox.serve import serve

    try:
        ZoneInfo(time_zone)
    except (LookupError, ValueError, OSError):
        raise UsageError(f"--time-zone {time_zone!r} is no time zone of the IANA database") from None

    def ready(url: str, keys: dict[str, tuple[str, str]]) -> None:
        typer.echo(f"{url} plays Frappe {version}; stop it with Ctrl-C. API keys:")
        for user, (key, secret) in keys.items():
            typer.echo(f"  {user}: {key}:{secret}")
        sys.stdout.flush()

    serve(
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
    _show(found, as_json, "of_report", each=True)


def _load(config: Path | None, *, secrets: bool = True) -> Config:
    from daemon.config import find, load

    return load(find(config), secrets=secrets)


@contextmanager
def _app(config: Path | None, log_format: Any, *, secrets: bool = True, level: str | None = None) -> Iterator[App]:
    """`level`: unless the configuration wants more or less of the log than usual."""
    from daemon.app import App

    loaded = _load(config, secrets=secrets)
    app = App(loaded, log_format=log_format, log_level=level if loaded.log.level == "info" else None)
    try:
        yield app
    except DaemonError as error:
        error.args = (app.redact(str(error)),)  # a site may send back what it was sent
        raise
    finally:
        app.close()


@contextmanager
def _stopping(app: App) -> Iterator[None]:
    """Ctrl-C and SIGTERM end the run at its next step; a second one ends the process."""
    import signal

    def stop(_number: int, _frame: Any) -> None:
        if app.stop.is_set():
            raise KeyboardInterrupt
        app.stop.set()
        with suppress(OSError):
            typer.echo("stopping at the next step; again to end at once", err=True)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _rows_file(path: Path | None, redact: Any) -> Iterator[Any]:
    """A function that writes an outcome to `path`, or None where no file is wanted. Raises OutputError."""
    from daemon.errors import OutputError, UsageError

    if path is None:
        yield None
        return
    try:
        file = path.open("w", encoding="utf-8", buffering=1)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror}") from None

    def write(outcome: Any) -> None:
        action = outcome.action
        row = {"doctype": action.doctype, "name": action.name, "result": outcome.result.value}
        line = json.dumps(redact(row | {"why": outcome.reason or action.why}), ensure_ascii=False)
        try:
            file.write(line + "\n")
        except OSError as error:
            raise OutputError(f"{path}: cannot be written: {error.strerror}") from None

    try:
        yield write
    finally:
        with suppress(OSError):  # each line was written at once, and told where it could not be
            file.close()


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
    }


def _show(found: Any, as_json: bool, table: str, *more: Any, each: bool = False) -> None:
    try:
        if as_json:
            typer.echo(json.dumps(found, ensure_ascii=False, indent=2))
        else:
            from daemon import tables

            console = tables.console()
            for item in found if each else [found]:
                console.print(getattr(tables, table)(item, *more))
        if sys.stdout:
            sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter's last flush fails again
        if not isinstance(error, BrokenPipeError):  # whoever reads a pipe may close it, as head(1) does
            from daemon.errors import OutputError

            raise OutputError(f"standard output cannot be written: {error.strerror}") from None


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
