"""The trigger: APScheduler fires each slot once, whatever its clock does, and a job knows which slot it runs for."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import time_machine
from apscheduler.executors.debug import DebugExecutor
from apscheduler.schedulers.base import BaseScheduler
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.schedule import Schedule
from daemon.trigger import SlotTrigger

BERLIN = ZoneInfo("Europe/Berlin")
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
SPRING, AUTUMN = datetime(2026, 3, 29, 1, tzinfo=UTC), datetime(2026, 10, 25, 1, tzinfo=UTC)
TEXTS = ["30 2 * * *", "0,30 1-3 * * *", "*/20 * * * *", "every 7m", "hourly", "0 9 * * mon"]


def trigger_of(text: str, since: datetime, jitter: timedelta = timedelta(0), zone: ZoneInfo = BERLIN) -> SlotTrigger:
    return SlotTrigger(Schedule.parse(text), zone, job="job", since=since, jitter=jitter)


def moments() -> st.SearchStrategy[datetime]:
    """Within four days of a change of Berlin's clocks."""
    minutes = st.integers(-4 * 1440, 4 * 1440)
    return st.builds(lambda change, n: change + n * MINUTE, st.sampled_from([SPRING, AUTUMN]), minutes)


@given(
    st.sampled_from(TEXTS), moments(), st.sampled_from([timedelta(0), 90 * MINUTE / 7, 5 * HOUR]), st.lists(moments())
)
@settings(deadline=None, max_examples=60)
def test_every_slot_is_produced_once_and_in_order_whatever_now_is(
    text: str, since: datetime, jitter: timedelta, nows: list[datetime]
) -> None:
    """Walking from fire time to fire time gives the schedule's slots one by one, each before the next slot begins."""
    trigger, schedule = trigger_of(text, since, jitter), Schedule.parse(text)
    slot, fire = since, None
    for n in range(20):
        now = nows[n % len(nows)] if nows else since
        fire = trigger.get_next_fire_time(fire, now)
        slot = schedule.after(slot, BERLIN)
        assert slot <= fire < schedule.after(slot, BERLIN)
        assert fire - slot < max(jitter, timedelta(microseconds=1))
        assert trigger.slot_of(fire) == slot
        assert trigger.get_next_fire_time(None, now) == fire  # asked again without having fired


def test_a_restart_repeats_the_fire_time_of_a_slot_that_has_not_run() -> None:
    """Another trigger with the same mark draws the same jitter, so that a restart within it loses nothing."""
    first = trigger_of("daily", SPRING, HOUR).get_next_fire_time(None, SPRING)
    assert trigger_of("daily", SPRING, HOUR).get_next_fire_time(None, SPRING + DAY) == first
    assert first != trigger_of("daily", SPRING).get_next_fire_time(None, SPRING)


def test_a_moment_at_which_nothing_fires_belongs_to_no_slot() -> None:
    """`slot_of` says so instead of naming a slot of another day."""
    with pytest.raises(ValueError, match=r"no fire time of 'job' \(daily\)"):
        trigger_of("daily", SPRING, HOUR).slot_of(SPRING + 12 * HOUR)


# --- in APScheduler itself -------------------------------------------------------------------------------------------


class HandScheduler(BaseScheduler):  # type: ignore[misc]
    """APScheduler, woken up by the test instead of by a thread of its own."""

    def wakeup(self) -> None:
        """The test does it."""

    def shutdown(self, wait: bool = True) -> None:
        super().shutdown(wait)

    def look(self) -> None:
        self._process_jobs()


class Clock:
    """The system's clock, standing still until it is set."""

    def __init__(self, travel: Any) -> None:
        self.set = travel.move_to


@pytest.fixture
def clock() -> Iterator[Clock]:
    with time_machine.travel(AUTUMN, tick=False) as travel:
        yield Clock(travel)


def scheduled(trigger: SlotTrigger) -> tuple[HandScheduler, list[datetime | None]]:
    """A scheduler as the service sets it up, and the list of the slots that the job's function found it runs for."""
    ran: list[datetime | None] = []
    scheduler = HandScheduler(
        executors={"default": DebugExecutor()},
        job_defaults={"coalesce": True, "misfire_grace_time": None, "max_instances": 1},
        timezone=BERLIN,
    )
    scheduler.start()
    scheduler.add_job(lambda: ran.append(trigger.fired), trigger, id="job")
    return scheduler, ran


def test_a_repeated_hour_runs_a_daily_job_once_and_an_hourly_one_in_both_passes(clock: Clock) -> None:
    """Looked at every minute through Berlin's night of 25 October 2026; where 3.11.3's own cron fires 02:30 twice."""
    daily, hourly = trigger_of("30 2 * * *", AUTUMN - 4 * HOUR), trigger_of("30 * * * *", AUTUMN - 4 * HOUR)
    clock.set(AUTUMN - 4 * HOUR)
    schedulers = [scheduled(daily), scheduled(hourly)]
    for n in range(8 * 60):
        clock.set(AUTUMN - 4 * HOUR + n * MINUTE)
        for scheduler, _ in schedulers:
            scheduler.look()
    assert schedulers[0][1] == [AUTUMN - 30 * MINUTE]
    assert schedulers[1][1] == [AUTUMN + n * HOUR + 30 * MINUTE for n in range(-4, 4)]


def test_a_late_wake_up_runs_once_for_the_latest_slot(clock: Clock) -> None:
    """After a suspended night the job is told the latest of the slots that passed, and goes on with the next."""
    start = datetime(2026, 1, 5, 12, tzinfo=UTC)
    clock.set(start)
    scheduler, ran = scheduled(trigger_of("hourly", start))
    clock.set(start + 10 * HOUR + 5 * MINUTE)
    scheduler.look()
    clock.set(start + 11 * HOUR)
    scheduler.look()
    assert ran == [start + 10 * HOUR, start + 11 * HOUR]


def test_a_clock_set_back_runs_nothing_again(clock: Clock) -> None:
    """Two hours back: silence until the first slot that has not run yet."""
    start = datetime(2026, 1, 5, 12, tzinfo=UTC)
    clock.set(start)
    scheduler, ran = scheduled(trigger_of("hourly", start))
    for minutes in (60, 120, 0, 60, 120, 179, 180):
        clock.set(start + minutes * MINUTE)
        scheduler.look()
    assert ran == [start + HOUR, start + 2 * HOUR, start + 3 * HOUR]


def test_a_paused_job_goes_on_after_the_last_slot_that_fired(clock: Clock) -> None:
    """What fired before the pause does not come again; what passed within it comes once."""
    start = datetime(2026, 1, 5, 12, tzinfo=UTC)
    clock.set(start)
    scheduler, ran = scheduled(trigger_of("hourly", start))
    clock.set(start + HOUR)
    scheduler.look()
    scheduler.pause_job("job")
    clock.set(start + 4 * HOUR)
    scheduler.look()
    scheduler.resume_job("job")
    scheduler.look()
    assert ran == [start + HOUR, start + 4 * HOUR]


def test_a_slot_that_passed_before_the_job_was_added_still_runs(clock: Clock) -> None:
    """Between counting what was missed and adding the job a slot may come; `since` keeps it."""
    start = datetime(2026, 1, 5, 12, tzinfo=UTC)
    clock.set(start + HOUR + timedelta(seconds=5))
    scheduler, ran = scheduled(trigger_of("hourly", start))
    scheduler.look()
    assert ran == [start + HOUR]
