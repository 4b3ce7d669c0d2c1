"""The values that the state keeps and returns. Reads and writes nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

RUNNING = "running"
INTERRUPTED = "interrupted"
FINISHED = ("done", "some failed", "failed", "refused", "stopped", INTERRUPTED)
"""How a run may have ended; `interrupted` is what a later start calls a run that was killed."""


@dataclass(frozen=True)
class Run:
    """One execution of a job. All moments are aware; as read from the state they are in UTC."""

    id: str
    """Ids of one job sort by time."""
    job: str
    kind: str
    reason: str
    """`slot`, `catch-up`, `by hand` or `undo`."""
    slot: datetime | None
    """The slot that it runs for; None for a run by hand."""
    started: datetime
    ended: datetime | None = None
    status: str = RUNNING
    """`running`, or one of `FINISHED`."""
    dry_run: bool = False
    report: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class SlotMark:
    """How far a job's schedule has been dealt with."""

    job: str
    slot: datetime
    """The last slot that was dealt with, or the moment from which slots count. In UTC."""
    schedule_text: str
    """The schedule that it belongs to; under another text it means nothing."""


@dataclass(frozen=True)
class Holder:
    """Who is the only one to do what has this name, such as to run a job."""

    name: str
    host: str
    pid: int
    """0: not told yet."""
    since: datetime

    def __str__(self) -> str:
        process = f" in process {self.pid}" if self.pid else ""
        return f"since {self.since:%Y-%m-%d %H:%M:%S} UTC{process} on {self.host}"


@dataclass(frozen=True)
class Terms:
    """How long what several daemons agree upon holds. In seconds."""

    lease: float = 60.0
    """A claim of a daemon that does not renew it, since it died, hangs or is cut off."""
    renew: float = 15.0
    """Between renewals."""
    answer: float = 30.0
    """What one statement may take; with no word for a third longer, the connection is given up."""


@dataclass(frozen=True)
class Server:
    """A database on PostgreSQL."""

    url: str
    """`postgresql+psycopg://user@host/database`, without a password."""
    seconds: Callable[[], float]
    """A clock that never goes back and stands still for no sleep of the machine."""
    password: str = field(default="", repr=False)
    terms: Terms = Terms()
