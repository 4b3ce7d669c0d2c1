"""The values that the state keeps and returns. Reads and writes nothing."""

from __future__ import annotations

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
