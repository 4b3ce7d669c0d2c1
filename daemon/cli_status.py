"""The commands that look: how the daemon does, and who is told when it does not."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from daemon.errors import Exit, UsageError
from daemon.terminal import ConfigOption, JsonOption, opened, print_json, print_view, show

if TYPE_CHECKING:
    from daemon.app import App

commands = typer.Typer()
EVERY = 2.0
"""Seconds between two looks of --watch."""


@commands.command()
def status(
    config: ConfigOption = None,
    as_json: JsonOption = False,
    watch: Annotated[bool, typer.Option("--watch", help="Look again every two seconds, until Ctrl-C.")] = False,
) -> None:
    """Show how the jobs do: what runs now and how far, what comes next, what failed and who must act."""
    from daemon.facts import view

    if watch and (as_json or not (sys.stdout and sys.stdout.isatty())):
        raise UsageError("--watch is for a terminal")
    with opened(config, None, secrets=False) as app:
        if watch:
            return _watch(app)
        found = view(app)
    if as_json:
        return print_json(found)
    from daemon.screen import Overview

    return print_view(Overview(found))


def _watch(app: App) -> None:
    from rich.live import Live

    from daemon.facts import view
    from daemon.screen import Overview
    from daemon.tables import console

    try:
        with Live(Overview(view(app)), console=console(), screen=True, auto_refresh=False) as live:
            while True:
                app.clock.pause(EVERY)
                live.update(Overview(view(app)), refresh=True)
    except KeyboardInterrupt:
        return


@commands.command()
def alerts(
    config: ConfigOption = None,
    test: Annotated[bool, typer.Option("--test", help="Send one message to each channel.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show who is told of which job and what they have been told."""
    if test:
        from daemon.alerts import test_of

        with opened(config, None, level="error") as app:
            answers = test_of(app)
        show(answers, as_json, "of_tests", module="screen")
        raise typer.Exit(Exit.SOME_FAILED if any(one["state"] != "sent" for one in answers) else Exit.DONE)
    with opened(config, None, secrets=False) as app:
        found: dict[str, Any] = app.redact(_told(app))
    show(found, as_json, "of_alerts", module="screen")


def _told(app: App) -> dict[str, Any]:
    from daemon.core.duration import format_duration
    from daemon.facts import ALERTS

    jobs = []
    for job in app.config.jobs.values():
        settings = app.config.alerts_of(job)
        if job.settings.enabled:
            age = settings.max_age and format_duration(settings.max_age)
            rule = {"after": settings.rule.after, "max_age": age}
            jobs.append({"job": job.name, **rule, "channels": settings.channels})
    return {"jobs": jobs, "episodes": list(app.state.recall_all(ALERTS, "episode|").values())}
