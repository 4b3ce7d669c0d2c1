"""Ten years of a service in every time zone, simulated: each slot exactly once, whatever the clocks do."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest

from daemon.schedule import Schedule
from daemon.service import due
from daemon.trigger import SlotTrigger
from tests.test_schedule import changes_of

DAY = timedelta(days=1)
SCHEDULES = {"30 2 * * *": lambda day: True, "0 0 * * 0": lambda day: day.isoweekday() == 7, "5 1 31,1 * *": lambda day:
             day.day in (1, 31)}  # fmt: skip
"""Daily, weekly and monthly, where clocks change; and the days on which they have a slot."""
ODD = ["Europe/Berlin", "America/Havana", "Australia/Lord_Howe", "Africa/Casablanca", "Asia/Beirut", "Pacific/Apia"]


def slots_of(text: str, zone: ZoneInfo, first: date, last: date) -> Iterator[datetime]:
    """Found without the schedule: the first moment of each of its days at which clocks show its time, or where clocks
    leave it out the moment after the gap; none on a day that there is not."""
    minute, hour = (int(part) for part in text.split()[:2])
    changes = changes_of(zone.key, first.year - 1, last.year + 1)
    day = first
    while day <= last:
        if SCHEDULES[text](day):
            wall = datetime(day.year, day.month, day.day, hour, minute)  # noqa: DTZ001 (what clocks show)
            shown = [wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)]
            right = [moment for moment in shown if moment.astimezone(zone).replace(tzinfo=None) == wall]
            if right:
                yield min(right)
            else:
                (gap,) = (change for change in changes if min(shown) - DAY < change < max(shown) + DAY)
                if gap.astimezone(zone).date() == day or (gap - timedelta(seconds=1)).astimezone(zone).date() == day:
                    yield gap
        day += timedelta(days=1)


def live_through(text: str, zone: ZoneInfo, first: date, last: date, rng: random.Random) -> None:
    """A service that is woken up at each slot, late, in vain, with its clock set back, or after weeks of down-time;
    restarted at any time. It deals with each slot once, in order, those it missed by one run."""
    expected = list(slots_of(text, zone, first, last + timedelta(days=100)))
    schedule, dealt = Schedule.parse(text), 0
    mark = now = expected[0] - timedelta(seconds=1)
    trigger = SlotTrigger(schedule, zone, job="job", since=mark, jitter=rng.choice([timedelta(0), timedelta(hours=1)]))
    while mark.astimezone(zone).date() < last:
        now = max(now, trigger.fire_time(schedule.after(mark, zone)))
        chance = rng.random()
        if chance < 0.02:
            now += timedelta(days=rng.uniform(0, 60))
        elif chance < 0.1:
            now += timedelta(minutes=rng.uniform(0, 90))
        missed = due(schedule, trigger, mark, now, zone)
        due_now = expected[dealt : dealt + missed.count]
        assert missed.count >= 1 and [missed.first, missed.latest] == [due_now[0], due_now[-1]], (text, zone.key, now)
        mark, dealt = missed.latest, dealt + missed.count
        assert trigger.fire_time(expected[dealt]) > now, (text, zone.key, now, "a slot was left out")
        back = now - timedelta(hours=rng.uniform(0, 5) if chance > 0.9 else 0)
        assert due(schedule, trigger, mark, back, zone).count == 0, (text, zone.key, now, "a slot was dealt with twice")


@pytest.mark.parametrize("text", SCHEDULES)
@pytest.mark.parametrize("key", ODD)
def test_each_slot_comes_exactly_once_in_the_odd_zones(text: str, key: str) -> None:
    """A year and a half of each; all zones and ten years in `make test-long`."""
    live_through(text, ZoneInfo(key), date(2024, 1, 1), date(2025, 6, 30), random.Random(key + text))


def test_a_day_that_there_is_not_has_no_slot() -> None:
    """30 December 2011 in Apia."""
    for text in ("30 2 * * *", "5 1 31,1 * *"):
        live_through(text, ZoneInfo("Pacific/Apia"), date(2011, 12, 1), date(2012, 2, 1), random.Random(1))


@pytest.mark.long
@pytest.mark.parametrize("text", SCHEDULES)
def test_each_slot_comes_exactly_once_in_ten_years_in_every_zone(text: str) -> None:
    """Zones that have the same offsets all the while are one zone under several names."""
    first, last = date(2021, 1, 1), date(2030, 12, 31)
    noons = [datetime(2020, 12, 30, 12, tzinfo=UTC) + DAY * number for number in range(3670)]
    zones = {}
    for key in sorted(available_timezones() - {"localtime", "Factory"}):
        zone = ZoneInfo(key)
        zones[tuple(noon.astimezone(zone).utcoffset() for noon in noons)] = key
    for key in zones.values():
        live_through(text, ZoneInfo(key), first, last, random.Random(key + text))
