"""The one line that tells a person how the service is, as `systemctl status` shows it. Reads and writes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class Standing:
    """How the service is at one moment."""

    jobs: int
    upcoming: tuple[str, datetime] | None = None
    """The next job, and when in the zone of the schedules."""
    running: Sequence[tuple[str, timedelta]] = ()
    """Jobs that run, and for how long."""
    trouble: Sequence[str] = ()
    """What somebody should know first."""
    stopping: bool = False


SHOWN = 4
"""Running jobs that are named."""


def status_line(standing: Standing, now: datetime) -> str:
    """`now` is in the zone in which times are told."""
    said = [*standing.trouble, "stopping" if standing.stopping else _jobs(standing, now)]
    if standing.running:
        named = [f"{job} ({about(since)})" for job, since in standing.running[:SHOWN]]
        more = len(standing.running) - SHOWN
        said.append("running: " + ", ".join(named) + (f" and {more} more" if more > 0 else ""))
    return "; ".join(said)


def _jobs(standing: Standing, now: datetime) -> str:
    count = "1 job" if standing.jobs == 1 else f"{standing.jobs:,} jobs"
    if standing.upcoming is None:
        return count
    job, at = standing.upcoming
    return f"{count}, next {job} {_when(at, now)}"


def _when(at: datetime, now: datetime) -> str:
    days = (at.date() - now.date()).days
    return (
        f"at {at:%H:%M}" if days <= 0 else f"{at:%a} at {at:%H:%M}" if days < 7 else f"on {at:%Y-%m-%d} at {at:%H:%M}"
    )


def about(length: timedelta) -> str:
    """A length of time in one unit: `40 s`, `3 min`, `26 h`, `4 d`."""
    seconds = max(0, int(length.total_seconds()))
    for unit, size, until in (("s", 1, 100), ("min", 60, 100), ("h", 3600, 48)):
        if seconds < size * until:
            return f"{seconds // size} {unit}"
    return f"{seconds // 86400} d"
