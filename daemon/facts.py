"""Reads what the overview is made of: the state, and whether processes of this machine are alive. Writes nothing."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from daemon import __version__
from daemon.core.alerts import Episode
from daemon.overview import STRIP, Facts, overview, under_way, wanted
from daemon.state import glance

if TYPE_CHECKING:
    from daemon.app import App

SERVICES = "the services"
"""Owner of what services write down of themselves; a job's name has no blank."""
ALERTS = "the alerts"
"""Owner of the alerts' ledger."""


def view(app: App) -> dict[str, Any]:
    """The overview of this moment, without secrets. Raises StateError."""
    found: dict[str, Any] = app.redact(overview(gather(app)))
    return found


def gather(app: App) -> Facts:
    """Raises StateError."""
    state, jobs = app.state, list(app.config.jobs.values())
    names = [job.name for job in jobs]
    recent = glance.recent(state, names, STRIP)
    running = glance.unfinished(state)
    return Facts(
        app.clock.now(),
        app.remembered_zone(),
        __version__,
        jobs,
        app.config.site.url,
        state.site_facts(app.config.site.url),
        recent,
        glance.reports(state, wanted(recent)),
        running,
        frozenset(run.id for run in running if is_gone(run.report.get("holder"))),
        glance.marks(state),
        glance.standings(state, names),
        [{**one, "gone": is_gone(one)} for one in state.recall_all(SERVICES).values()],
        [Episode.of(found) for found in state.recall_all(ALERTS, "episode|").values()],
    )


def running(app: App) -> dict[str, dict[str, Any]]:
    """Job → what runs of it now, since when, and how far it is. Raises StateError."""
    now, found = app.clock.now(), glance.unfinished(app.state)
    alive = [run for run in found if not is_gone(run.report.get("holder"))]
    return {run.job: app.redact(under_way(run, now)) for run in alive}


def is_gone(holder: Mapping[str, Any] | None) -> bool:
    """Whether its process, one of this machine, has ended. Of another machine's nobody knows."""
    if not holder or holder.get("host") != socket.gethostname():
        return False
    try:
        os.kill(int(holder["pid"]), 0)
    except ProcessLookupError:
        return True
    except (OSError, ValueError, KeyError):  # another user's, and so alive
        return False
    return False
