"""A schedule as APScheduler asks for it. Reads no clock, writes nothing.

Apart from `daemon.schedule` because APScheduler costs some 30 ms to import, which `frappe-daemon check` need not pay.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from apscheduler.triggers.base import BaseTrigger

from daemon.schedule import jitter_of

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from daemon.schedule import Schedule


class SlotTrigger(BaseTrigger):  # type: ignore[misc]
    """Fires once for every slot after `since`, each at slot plus jitter, in order and whatever the clock does.

    APScheduler hands `now` over, and it is not looked at: after a late wake-up every slot in between is still produced
    (`coalesce=True` runs them as one), and a clock that goes back produces none again. The job needs
    `misfire_grace_time=None`, or APScheduler drops what is late by more than a second.

    Jitter never reaches the next slot, so that a moment belongs to exactly one slot and `slot_of` needs no memory.

    APScheduler does not tell a job's function which fire time it runs for. It does ask the trigger, before it submits
    the function, for the fire time after each one that is due: so `fired` is the slot to run for, read when the
    function starts. Where a fire time is at hand (events, a job's `next_run_time`), `slot_of` gives the slot.
    """

    def __init__(
        self, schedule: Schedule, zone: ZoneInfo, *, job: str, since: datetime, jitter: timedelta = timedelta(0)
    ) -> None:
        """`since`: the aware moment up to which slots have been dealt with, such as the `now` given to `missed`."""
        self._schedule = schedule
        self._zone = zone
        self._job = job
        self._jitter = jitter
        self._since = since
        self.fired: datetime | None = None
        """The slot that fired last; None before the first."""

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:  # noqa: ARG002
        """The fire time (UTC) of the slot after that of `previous_fire_time`.

        Asked without one, as when a paused job goes on, the slot after the last that fired.
        """
        if previous_fire_time is not None:
            self.fired = self.slot_of(previous_fire_time)
        return self.fire_time(self._schedule.after(self.fired or self._since, self._zone))

    def fire_time(self, slot: datetime) -> datetime:
        """When (UTC) the run of `slot` starts: within the jitter, and before the next slot."""
        start = slot.astimezone(UTC)
        room = self._schedule.after(start, self._zone).astimezone(UTC) - start
        return start + jitter_of(self._job, start, min(self._jitter, room))

    def slot_of(self, fire_time: datetime) -> datetime:
        """The slot that fires at `fire_time`, a moment that this trigger returned."""
        earliest = fire_time - self._jitter - timedelta(microseconds=1)
        slot = self._schedule.latest(earliest, fire_time, self._zone)
        if slot is None:
            raise ValueError(f"{fire_time} is no fire time of {self._job!r} ({self._schedule.text})")
        return slot

    def __str__(self) -> str:
        return f"slots[{self._schedule.text}]"
