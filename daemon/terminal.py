"""What commands share: options, the application that they open, a run by hand, signals, tables, progress."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from daemon.errors import DaemonError
from daemon.places import VARIABLE

if TYPE_CHECKING:
    from daemon.app import App
    from daemon.config import Config, Job

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        envvar=VARIABLE,
        show_envvar=False,
        help="Else $FRAPPE_DAEMON_CONFIG, ./config.toml, /etc/frappe-daemon/config.toml.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON on standard output instead of a table.")]
RowsOption = Annotated[
    Path | None,
    typer.Option("--rows", help="Write every row with what becomes of it and why, as JSON Lines, to this file."),
]
FormatOption = Annotated[
    Literal["auto", "console", "json"] | None,
    typer.Option(
        "--log-format", help="How the log on standard error looks; auto: for people at a terminal, else JSON."
    ),
]


def run_once(
    job: str | Job | Callable[[App], Job],
    config: Path | None,
    dry_run: bool,
    rows: Path | None,
    as_json: bool,
    log_format: Any,
    wish: Mapping[str, Any] | None = None,
    reason: str = "by hand",
) -> None:
    """One run by hand, of a job of the configuration or of one that the command line describes, and its report."""
    from daemon.runner import Order

    people = not as_json and bool(sys.stderr) and sys.stderr.isatty() and log_format in (None, "auto")
    # The table says what the log would say; at a terminal only what goes wrong on the way is worth a line beside it.
    with (
        opened(config, log_format, level="warning" if people else None, jobs=isinstance(job, str)) as app,
        stopping(app),
        rows_file(rows, app.redact) as explain,
    ):
        wanted = app.job(job) if isinstance(job, str) else job(app) if callable(job) else job
        with bar() if people else nullcontext() as watch:
            order = Order(
                wanted, app.new_run_id(), reason, dry_run=dry_run, explain=explain, watch=watch, wish=wish or {}
            )
            found = app.runner.run(order)
        app.prune()
        if dry_run:
            found |= {"problems": _foreseen(app, wanted)}
    show(found, as_json, "of_report")
    raise typer.Exit(found["exit_code"] or int(bool(found.get("problems"))))


def _foreseen(app: App, job: Job) -> list[dict[str, Any]]:
    """What `check` says against the job: a dry run reads, and so does not meet what only writing is refused."""
    from daemon import check as checks
    from daemon.app import IMPATIENT

    try:
        with app.site(IMPATIENT) as site:
            found = list(checks.of_site(site, [job]))
    except DaemonError:
        return []  # the run itself has said so
    return [app.redact(f.as_json()) for f in found if f.subject == job.section and f.level == checks.PROBLEM]


def load(config: Path | None, *, secrets: bool = True, jobs: bool = True) -> Config:
    from daemon.config import find, load

    return load(find(config), secrets=secrets, jobs=jobs)


@contextmanager
def opened(
    config: Path | None, log_format: Any, *, secrets: bool = True, level: str | None = None, jobs: bool = True,
    setup: bool = False,
) -> Iterator[App]:  # fmt: skip
    """`level`: unless the configuration wants more or less of the log than usual. `jobs`: it must have some. `setup`:
    by the key that the environment names for setup alone, where it does."""
    from daemon.app import App
    from daemon.config import by_key, setup_key

    other = setup_key() if setup else None
    loaded = load(config, secrets=secrets and not other, jobs=jobs)
    loaded = by_key(loaded, *other) if other else loaded
    app = App(loaded, log_format=log_format, log_level=level if loaded.log.level == "info" else None)
    try:
        yield app
    except DaemonError as error:
        error.args = (app.redact(str(error)),)  # a site may send back what it was sent
        raise
    finally:
        app.close()


@contextmanager
def stopping(app: App) -> Iterator[None]:
    """Ctrl-C and SIGTERM end the run at its next step; a second one ends the process."""
    import signal

    before = {number: signal.signal(number, on_signal(app)) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def on_signal(app: App) -> Callable[[int, Any], None]:
    """The first signal asks for a stop, one that comes later than a second after it ends the process: timeout(1) and
    terminals send the same signal to a process and to its group."""
    asked: list[float] = []

    def stop(_number: int, _frame: Any) -> None:
        asked.append(app.clock.monotonic())
        app.stop.set()
        if asked[-1] - asked[0] > 1:
            raise KeyboardInterrupt
        if len(asked) == 1 and sys.stderr and sys.stderr.isatty():
            with suppress(OSError):
                typer.echo("stopping at the next step; again to end at once", err=True)

    return stop


@contextmanager
def rows_file(path: Path | None, redact: Any) -> Iterator[Any]:
    """A function that writes an outcome to `path`, or None where no file is wanted. Raises OutputError."""
    from daemon.errors import OutputError, UsageError

    if path is None:
        yield None
        return
    try:
        file = path.open("w", encoding="utf-8", errors="backslashreplace", buffering=1)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror}") from None

    def write(outcome: Any) -> None:
        action = outcome.action
        which = {"name": action.name} if action.count == 1 else {"rows": outcome.documents, "which": action.name}
        row = {"doctype": action.doctype, **which, "result": outcome.result.value}
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


@contextmanager
def bar() -> Iterator[Any]:
    """A function that shows on standard error how far a run is; nothing until it is first called."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"),
               TimeElapsedColumn(), TextColumn("left:"), TimeRemainingColumn())  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        tasks: dict[str, Any] = {}

        def watch(part: str, done: int, total: int) -> None:
            if part not in tasks:
                tasks[part] = progress.add_task(part, total=total, rate="", completed=done)
            task = progress.tasks[tasks[part]]
            progress.update(tasks[part], completed=done, rate=f"{task.speed:,.0f}/s" if task.speed else "")

        yield watch


def show(
    found: Any,
    as_json: bool,
    table: str,
    *more: Any,
    each: bool = False,
    module: Literal["tables", "screen"] = "tables",
) -> None:
    """`table`: the function of daemon.tables or daemon.screen that draws it."""
    if as_json:
        return print_json(found)
    from importlib import import_module

    draw = getattr(import_module(f"daemon.{module}"), table)
    return print_view(*(draw(item, *more) for item in (found if each else [found])))


def print_json(found: Any) -> None:
    with _written_out():
        typer.echo(json.dumps(found, ensure_ascii=False, indent=2))


def print_view(*views: Any) -> None:
    """Things that Rich prints."""
    from daemon import tables

    with _written_out():
        console = tables.console()
        for view in views:
            tables.show(console, view)


@contextmanager
def _written_out() -> Iterator[None]:
    try:
        yield
        if sys.stdout:
            sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter's last flush fails again
        if not isinstance(error, BrokenPipeError):  # whoever reads a pipe may close it, as head(1) does
            from daemon.errors import OutputError

            raise OutputError(f"standard output cannot be written: {error.strerror}") from None
