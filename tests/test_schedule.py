"""Schedules: what a text means, and that every slot comes exactly once whatever a zone does to its clocks.

The oracle counts minutes: it walks through real time minute by minute, notes what the wall clock shows, and knows
nothing of fold, offsets or cronsim.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from itertools import pairwise
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from daemon.schedule import COUNTED, WORDS, Missed, Schedule, jitter_of

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
BERLIN = ZoneInfo("Europe/Berlin")
UTC_ZONE = ZoneInfo("UTC")
ODD = (
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",  # half an hour
    "Asia/Beirut",  # at midnight
    "America/Sao_Paulo",  # at midnight, until 2019
    "America/Havana",  # at midnight, back from one o'clock
    "America/Nuuk",  # across midnight, since 2024
    "America/Scoresbysund",
    "Antarctica/Troll",  # two hours
    "Africa/Casablanca",  # four times a year around Ramadan
    "Pacific/Apia",  # 30 December 2011 does not exist
    "Pacific/Kwajalein",  # nor 21 August 1993 here
    "Asia/Kathmandu",
    "Asia/Pyongyang",
)


def next_slots(text: str, start: datetime, count: int, zone: ZoneInfo) -> list[datetime]:
    slots = [Schedule.parse(text).after(start, zone)]
    while len(slots) < count:
        slots.append(Schedule.parse(text).after(slots[-1], zone))
    return slots


def slots_between(schedule: Schedule, start: datetime, end: datetime, zone: ZoneInfo) -> list[datetime]:
    """All slots in (start, end], in UTC."""
    slots = []
    slot = schedule.after(start, zone).astimezone(UTC)
    while slot <= end:
        slots.append(slot)
        slot = schedule.after(slot, zone).astimezone(UTC)
    return slots


@cache
def changes_of(key: str, first_year: int = 2020, last_year: int = 2030) -> tuple[datetime, ...]:
    """The instants (UTC, to the minute) at which the zone moves its clocks."""
    zone = ZoneInfo(key)
    moment, end = datetime(first_year, 1, 1, tzinfo=UTC), datetime(last_year + 1, 1, 1, tzinfo=UTC)
    found = []
    while moment < end:
        if offset(moment, zone) != offset(moment + HOUR, zone):
            found.append(next(m for m in minutes(moment, moment + HOUR) if offset(m, zone) != offset(moment, zone)))
        moment += HOUR
    return tuple(found)


def offset(moment: datetime, zone: ZoneInfo) -> timedelta | None:
    return moment.astimezone(zone).utcoffset()


def minutes(start: datetime, end: datetime) -> Iterator[datetime]:
    while start <= end:
        yield start
        start += MINUTE


@dataclass(frozen=True)
class Line:
    """A crontab line and, apart from it, what it selects."""

    text: str
    minute: frozenset[int]
    hour: frozenset[int]
    days: frozenset[int] | None = None
    weekdays: frozenset[int] | None = None
    """0 is Monday, as `date.weekday` counts."""
    months: frozenset[int] = frozenset(range(1, 13))
    real_time: bool = False

    def matches(self, wall: datetime) -> bool:
        return wall.minute in self.minute and wall.hour in self.hour and self.matches_day(wall.date())

    def matches_day(self, day: date) -> bool:
        by_day = None if self.days is None else day.day in self.days
        by_weekday = None if self.weekdays is None else day.weekday() in self.weekdays
        restricted = [test for test in (by_day, by_weekday) if test is not None]
        return day.month in self.months and (any(restricted) or not restricted)

    def oracle(self, start: datetime, end: datetime, zone: ZoneInfo) -> list[datetime]:
        """The slots in (start, end], found by looking at a wall clock in every minute since two days before."""
        shown = [(m, m.astimezone(zone).replace(tzinfo=None, fold=0)) for m in minutes(start - 2 * DAY, end)]
        if self.real_time:
            return [m for m, wall in shown if m > start and self.matches(wall)]
        first_shown: dict[datetime, datetime] = {}
        for moment, wall in shown:
            first_shown.setdefault(wall, moment)
        days = {wall.date() for wall in first_shown}
        slots, latest = set(), shown[0][0]
        for wall in naive_minutes(shown[0][1], max(first_shown)):
            latest = max(latest, first_shown.get(wall, latest))
            if wall in first_shown and self.matches(wall):
                slots.add(first_shown[wall])
            elif wall.date() in days and self.matches(wall):
                slots.add(latest + MINUTE)  # in a gap: the minute after the last that was shown
        return sorted(slot for slot in slots if start < slot <= end)


def naive_minutes(start: datetime, end: datetime) -> Iterator[datetime]:
    while start <= end:
        yield start
        start += MINUTE


ALL_MINUTES, ALL_HOURS = frozenset(range(60)), frozenset(range(24))
MINUTE_FIELDS = [("0", {0}), ("30", {30}), ("17", {17}), ("0,30", {0, 30}), ("*/20", {0, 20, 40}), ("5-7", {5, 6, 7})]
HOUR_FIELDS = [
    ("*", set(ALL_HOURS), True),
    ("0-23", set(ALL_HOURS), True),
    ("*/2", set(range(0, 24, 2)), True),
    ("*/24", {0}, False),
    ("0", {0}, False),
    ("2", {2}, False),
    ("1-3", {1, 2, 3}, False),
    ("23", {23}, False),
    ("22-23", {22, 23}, False),
]
DAY_FIELDS = [("*", None), ("1", {1}), ("13,27-31", {13, 27, 28, 29, 30, 31}), ("1-31/2", set(range(1, 32, 2)))]
WEEKDAY_FIELDS = [("*", None), ("0", {6}), ("7", {6}), ("mon", {0}), ("5-7", {4, 5, 6}), ("fri-sun", {4, 5, 6})]
MONTH_FIELDS = [("*", set(range(1, 13))), ("mar,oct-nov", {3, 10, 11}), ("4,9-10", {4, 9, 10})]


@st.composite
def lines(draw: st.DrawFn) -> Line:
    minute, minute_set = draw(st.sampled_from(MINUTE_FIELDS))
    hour, hour_set, real_time = draw(st.sampled_from(HOUR_FIELDS))
    day, day_set = draw(st.sampled_from(DAY_FIELDS))
    month, month_set = draw(st.sampled_from(MONTH_FIELDS))
    weekday, weekday_set = draw(st.sampled_from(WEEKDAY_FIELDS))
    return Line(
        f"{minute} {hour} {day} {month} {weekday}",
        frozenset(minute_set),
        frozenset(hour_set),
        None if day_set is None else frozenset(day_set),
        None if weekday_set is None else frozenset(weekday_set),
        frozenset(month_set),
        real_time,
    )


def instants() -> st.SearchStrategy[datetime]:
    return st.integers(0, 3_000_000_000).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))


@st.composite
def troubled_moments(draw: st.DrawFn, keys: tuple[str, ...] = ODD) -> tuple[datetime, ZoneInfo]:
    """A moment within a day of a change of the clocks, mostly, and its zone."""
    key = draw(st.sampled_from(keys))
    early = {"Pacific/Apia": (2009, 2012), "Pacific/Kwajalein": (1993, 1993), "America/Sao_Paulo": (2014, 2019)}
    changes = changes_of(key, *early.get(key, (2020, 2030))) or (datetime(2025, 5, 5, tzinfo=UTC),)
    around = draw(st.one_of(st.integers(-150, 150), st.integers(-1500, 1500))) * MINUTE
    seconds = draw(st.sampled_from([timedelta(0), timedelta(seconds=1), timedelta(seconds=59, microseconds=999_999)]))
    return draw(st.sampled_from(changes)) + around + seconds, ZoneInfo(key)


# --- what a text means -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "slot"),
    [
        ("0 8 * * 1", "2026-01-05T08:00"),
        ("0 8 * * mon", "2026-01-05T08:00"),
        ("0 8 * * 0", "2026-01-04T08:00"),
        ("0 8 * * 7", "2026-01-04T08:00"),
        ("0 8 * * SUN", "2026-01-04T08:00"),
        ("0 8 * * sat-sun", "2026-01-03T08:00"),
        ("30 6 1 feb *", "2026-02-01T06:30"),
        ("0 0 L * *", "2026-01-31T00:00"),
        ("0 9 * * mon#2", "2026-01-12T09:00"),
        ("0 9 * * 5L", "2026-01-30T09:00"),
        ("  5   4 *  * * ", "2026-01-02T04:05"),
        ("0 0 29 2 *", "2028-02-29T00:00"),
        ("0 0 29 2 */7", "2032-02-29T00:00"),
    ],
)
def test_a_crontab_line_has_its_standard_meaning(text: str, slot: str) -> None:
    """Monday is 1, Sunday 0 and 7, months and weekdays have names, and `*/7` joins with AND as in Debian's cron."""
    start = datetime(2026, 1, 1, 12, tzinfo=UTC)  # a Thursday
    assert Schedule.parse(text).after(start, UTC_ZONE) == datetime.fromisoformat(slot + "+00:00")


@pytest.mark.parametrize(
    ("word", "line"),
    [
        ("all", "*/4 * * * *"),
        ("hourly", "0 * * * *"),
        ("daily", "0 0 * * *"),
        ("weekly", "0 0 * * 0"),
        ("monthly", "0 0 1 * *"),
        ("yearly", "0 0 1 1 *"),
        ("daily_long", "0 0 * * *"),
        ("Hourly Maintenance", "0 * * * *"),
        ("@weekly", "0 0 * * 0"),
        ("@midnight", "0 0 * * *"),
    ],
)
def test_frappe_s_words_mean_what_frappe_s_scheduler_makes_of_them(word: str, line: str) -> None:
    """Each word has the slots of the line in Frappe's CRON_MAP, also as the Scheduled Job Type spells it."""
    start = datetime(2026, 1, 1, 12, 1, tzinfo=UTC)
    assert next_slots(word, start, 5, BERLIN) == next_slots(line, start, 5, BERLIN)


def test_every_known_word_can_be_parsed_and_described() -> None:
    """No word of the table is dead, and each has an English sentence."""
    for word in WORDS:
        assert Schedule.parse(word).describe()


def test_an_interval_is_anchored_to_fixed_instants() -> None:
    """`every 15m` fires at multiples since the epoch, so that the moment of a restart has no influence."""
    schedule = Schedule.parse("every 15m")
    for second in (1, 400, 899):
        start = datetime(2026, 1, 1, 12, tzinfo=UTC) + timedelta(seconds=second)
        assert schedule.after(start, BERLIN) == datetime(2026, 1, 1, 12, 15, tzinfo=UTC)


def test_texts_that_differ_in_blanks_and_capitals_are_one_schedule() -> None:
    """An edit that changes nothing does not count as a changed schedule."""
    assert Schedule.parse(" 0  8 * * MON ") == Schedule.parse("0 8 * * mon")
    assert Schedule.parse("0 8 * * mon") != Schedule.parse("0 8 * * 1")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ["empty"]),
        ("dayly", ['"0 8 * * 1"', 'did you mean "daily"?']),
        ("@weekley", ['did you mean "@weekly"?']),
        ("@reboot", ["caught up"]),
        ("15m", ['did you mean "every 15m"?']),
        ("every", ['"every 15m"']),
        ("every 15 minutes", ['did you mean "every 15m"?']),
        ("every day", ['did you mean "daily"?']),
        ("every 30s", ['"every 1m"']),
        ("every 5000w", ["ten years"]),
        ("every " + "9" * 100 + "w", ["'every 999"]),
        ("0 8 * *", ["4 fields"]),
        ("0 0 8 * * 1", ["six fields", "seconds"]),
        ("60 * * * *", ["'60' is no minute", "0 to 59"]),
        ("0 24 * * *", ["'24' is no hour", 'did you mean "0"?']),
        ("0 0 ? * *", ['did you mean "*"?']),
        ("0 0 * * monday", ['did you mean "mon"?']),
        ("0 0 * febr *", ['did you mean "feb"?']),
        ("0 0 * * fir", ['did you mean "fri"?']),
        ("0 22-6 * * *", ['did you mean "22-23,0-6"?']),
        ("0 0 * nov-feb *", ['did you mean "11-12,1-2"?']),
        ("*/90 * * * *", ['did you mean "every 90m"?']),
        ("61 25 * * *", ["'61' is no minute", "'25' is no hour"]),
        ("0 0 31 2 *", ["never fires", '"0 0 L 2 *"']),
        ("0 0 31 4,6,9,11 *", ["never fires"]),
        ("0 0 */31 * 1#3", ["never fires"]),
        ("0 0 * * *" + " " * 9 + "," * 300, ["so long"]),
    ],
)
def test_a_wrong_schedule_is_answered_with_what_is_right(text: str, parts: list[str]) -> None:
    """The sentence names what is wrong, shows the right form and suggests what may have been meant."""
    with pytest.raises(ValueError, match=r"\w") as refusal:
        Schedule.parse(text)
    for part in parts:
        assert part in str(refusal.value)


@given(
    st.one_of(
        st.text(max_size=30),
        st.text("0123456789*/-,L#W?@ monsunjaevry", max_size=30),
        st.lists(st.text("0123456789*/-,lw#sunmo", min_size=1, max_size=6), min_size=5, max_size=5).map(" ".join),
    )
)
def test_any_text_is_either_a_schedule_that_fires_or_a_value_error(text: str) -> None:
    """Nothing that a person can type escapes as another exception, hangs, or is taken and then never fires."""
    try:
        schedule = Schedule.parse(text)
    except ValueError:
        return
    start = datetime(2026, 1, 1, tzinfo=UTC)
    assert schedule.after(start, BERLIN) > start
    assert schedule.describe()


# --- which instants --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "zone", "start", "slots"),
    [
        # a gap: right after it, once
        ("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00Z", ["2026-03-29T01:00Z", "2026-03-30T00:30Z"]),
        ("0,30 2 * * *", "Europe/Berlin", "2026-03-28T12:00Z", ["2026-03-29T01:00Z", "2026-03-30T00:00Z"]),
        ("*/30 2 * * *", "Europe/Berlin", "2026-03-28T12:00Z", ["2026-03-29T01:00Z", "2026-03-30T00:00Z"]),
        ("30 0 * * *", "Asia/Beirut", "2026-03-28T12:00Z", ["2026-03-28T22:00Z", "2026-03-29T21:30Z"]),
        ("15 2 * * *", "Australia/Lord_Howe", "2026-10-03T12:00Z", ["2026-10-03T15:30Z", "2026-10-04T15:15Z"]),
        # a gap that ends on the next day: Saturday's slot and Sunday's both come
        ("30 23 * * *", "America/Nuuk", "2026-03-28T12:00Z", ["2026-03-29T01:00Z", "2026-03-30T00:30Z"]),
        # a repeated hour: in its first pass, also when asked within the second
        ("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00Z", ["2026-10-25T00:30Z", "2026-10-26T01:30Z"]),
        ("30 2 * * *", "Europe/Berlin", "2026-10-25T01:15Z", ["2026-10-26T01:30Z"]),
        ("30 23 * * *", "America/Nuuk", "2026-10-24T12:00Z", ["2026-10-25T00:30Z", "2026-10-26T01:30Z"]),
        # a day that does not exist has no slot, and the day after it only its own
        ("0 8 * * *", "Pacific/Apia", "2011-12-29T19:00Z", ["2011-12-30T18:00Z", "2011-12-31T18:00Z"]),
        ("0 8 * * fri", "Pacific/Apia", "2011-12-29T19:00Z", ["2012-01-05T18:00Z"]),
        ("0 * * * fri", "Pacific/Apia", "2011-12-29T19:00Z", ["2012-01-05T10:00Z", "2012-01-05T11:00Z"]),
        # real time: a gap is not made up for, a repeated hour is used twice
        ("30 * * * *", "Europe/Berlin", "2026-10-24T23:59Z", ["2026-10-25T00:30Z", "2026-10-25T01:30Z"]),
        ("0 */2 * * *", "Europe/Berlin", "2026-03-28T23:00Z", ["2026-03-29T02:00Z", "2026-03-29T04:00Z"]),
        ("0 */2 * * *", "Australia/Lord_Howe", "2026-04-04T15:15Z", ["2026-04-04T15:30Z", "2026-04-04T17:30Z"]),
        ("0 * * * 0", "America/Havana", "2026-03-08T04:00Z", ["2026-03-08T05:00Z", "2026-03-08T06:00Z"]),
        ("every 40m", "Europe/Berlin", "2026-10-25T00:30Z", ["2026-10-25T00:40Z", "2026-10-25T01:20Z"]),
        # midnight's star, which is a daily slot
        ("0 */24 * * *", "Asia/Beirut", "2026-03-28T12:00Z", ["2026-03-28T22:00Z", "2026-03-29T21:00Z"]),
    ],
)
def test_known_changes_of_the_clocks(text: str, zone: str, start: str, slots: list[str]) -> None:
    """Gaps, repeated hours, half-hour shifts, midnight changes and the day that Samoa skipped, by hand."""
    found = next_slots(text, datetime.fromisoformat(start), len(slots), ZoneInfo(zone))
    assert [f"{slot.astimezone(UTC):%Y-%m-%dT%H:%MZ}" for slot in found] == slots


@given(lines(), troubled_moments())
@settings(max_examples=80, deadline=None)
def test_slots_around_a_change_are_those_that_counting_minutes_finds(
    line: Line, where: tuple[datetime, ZoneInfo]
) -> None:
    """Over three days around any change in the odd zones, every slot of every line agrees with the oracle."""
    moment, zone = where
    whole = moment.replace(second=0, microsecond=0)
    end = whole + 3 * DAY
    assert slots_between(Schedule.parse(line.text), whole, end, zone) == line.oracle(whole, end, zone)


@given(lines(), instants(), st.sampled_from(["UTC", "Asia/Kathmandu"]))
@settings(max_examples=100, deadline=None)
def test_where_clocks_never_move_the_next_slot_is_the_next_matching_minute(
    line: Line, moment: datetime, key: str
) -> None:
    """`after` against the plainest oracle there is: look at each following minute (for the days around the slot)."""
    zone = ZoneInfo(key)
    slot = Schedule.parse(line.text).after(moment, zone)
    assert line.matches(slot.replace(tzinfo=None))
    day = moment.astimezone(zone).date() + DAY
    while day < slot.date():
        assert not line.matches_day(day)
        day += DAY
    for minute in minutes(max(moment.replace(second=0, microsecond=0) + MINUTE, slot - DAY), slot - MINUTE):
        assert not line.matches(minute.astimezone(zone).replace(tzinfo=None))


@given(
    st.sampled_from(DAY_FIELDS[1:]), st.sampled_from(WEEKDAY_FIELDS[1:]), st.dates(date(2020, 1, 1), date(2030, 1, 1))
)
def test_day_of_month_or_weekday_when_both_are_restricted(
    day: tuple[str, set[int]], weekday: tuple[str, set[int]], when: date
) -> None:
    """POSIX crontab: a line that restricts both fires on the days of either."""
    start = datetime(when.year, when.month, when.day, tzinfo=UTC)

    def first(text: str) -> datetime:
        return Schedule.parse(text).after(start, UTC_ZONE)

    assert first(f"7 7 {day[0]} * {weekday[0]}") == min(first(f"7 7 {day[0]} * *"), first(f"7 7 * * {weekday[0]}"))


@given(lines().map(lambda line: line.text) | st.sampled_from(["every 7m", "every 1d"]), troubled_moments())
@settings(max_examples=200, deadline=None)
def test_a_slot_is_later_than_the_moment_asked_about_and_none_lies_between(
    text: str, where: tuple[datetime, ZoneInfo]
) -> None:
    """after(m) > m, it is a time that clocks in the zone do show, and just before a slot the same slot is the next."""
    moment, zone = where
    schedule = Schedule.parse(text)
    slot = schedule.after(moment, zone)
    assert slot > moment
    assert slot.isoformat() == slot.astimezone(zone).isoformat()
    assert schedule.after(slot - timedelta(microseconds=1), zone) == slot
    assert schedule.after(moment + (slot - moment) / 2, zone) == slot


def test_slots_can_be_compared_and_subtracted_across_a_change() -> None:
    """A second before the slot after a gap is before the gap, and a slot of a repeated hour equals itself in UTC."""
    spring, autumn = datetime(2026, 3, 29, tzinfo=UTC), datetime(2026, 10, 25, tzinfo=UTC)
    daily = Schedule.parse("30 2 * * *")
    assert daily.after(spring, BERLIN) - timedelta(seconds=1) == datetime(2026, 3, 29, 0, 59, 59, tzinfo=UTC)
    assert daily.after(autumn, BERLIN) == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    assert f"{daily.after(autumn, BERLIN):%H:%M %Z %z}" == "02:30 CEST +0200"


@dataclass(frozen=True)
class Days:
    """The local days around a change of the clocks, each with its first instant."""

    zone: ZoneInfo
    starts: dict[date, datetime]

    @classmethod
    def around(cls, change: datetime, zone: ZoneInfo) -> Days:
        starts: dict[date, datetime] = {}
        moment = change.replace(minute=0) - 3 * DAY
        while moment < change + 4 * DAY:
            starts.setdefault(moment.astimezone(zone).date(), moment)
            moment += 15 * MINUTE
        return cls(zone, dict(list(starts.items())[1:]))  # the first day was not seen from its beginning

    def check(self, schedule: Schedule) -> None:
        """Each whole day has exactly one slot: not before it begins, at the latest when the next begins."""
        begins = list(self.starts.values())
        slots = slots_between(schedule, begins[0] - timedelta(seconds=1), begins[-1] - timedelta(seconds=1), self.zone)
        # A slot at the very end of the last day belongs to a gap there; the window is chosen so that none is.
        assert len(slots) == len(begins) - 1, (schedule.text, self.zone, slots)
        for slot, (begin, end) in zip(slots, pairwise(begins), strict=True):
            assert begin <= slot <= end, (schedule.text, self.zone, slot)

    def check_weekly(self, minute: int, weekday: int) -> None:
        """A weekly schedule has those slots of the daily one that belong to its weekday (0 is Sunday)."""
        begins = list(self.starts.values())
        first, last = begins[0] - timedelta(seconds=1), begins[-1] - timedelta(seconds=1)
        time = f"{minute % 60} {minute // 60}"
        daily = slots_between(Schedule.parse(f"{time} * * *"), first, last, self.zone)
        weekly = slots_between(Schedule.parse(f"{time} * * {weekday}"), first, last, self.zone)
        days = zip(daily, self.starts, strict=False)  # the last day has begun only
        assert weekly == [slot for slot, day in days if day.isoweekday() % 7 == weekday], (time, weekday, self.zone)


@given(troubled_moments(), st.integers(0, 1439))
@settings(max_examples=80, deadline=None)
def test_a_daily_schedule_fires_once_for_each_local_day_that_exists(
    where: tuple[datetime, ZoneInfo], minute: int
) -> None:
    """In the odd zones, around every change of ten years, at any minute of the day."""
    moment, zone = where
    Days.around(moment.replace(second=0, microsecond=0), zone).check(
        Schedule.parse(f"{minute % 60} {minute // 60} * * *")
    )


@given(troubled_moments(), st.integers(0, 1439), st.integers(0, 6))
@settings(max_examples=100, deadline=None)
def test_a_weekly_schedule_fires_once_for_each_of_its_days_that_exist(
    where: tuple[datetime, ZoneInfo], minute: int, weekday: int
) -> None:
    """As the law of the daily ones, on each weekday."""
    moment, zone = where
    Days.around(moment.replace(second=0, microsecond=0), zone).check_weekly(minute, weekday)


def troubled_zones(first_year: int, last_year: int) -> list[str]:
    """One zone for each list of changes: most of the six hundred names differ in name alone."""
    start = datetime(first_year, 1, 1, tzinfo=UTC)
    zones = {}
    for key in sorted(available_timezones() - {"localtime", "Factory"}):
        changes = changes_of(key, first_year, last_year)
        if changes:
            zones[changes, offset(start, ZoneInfo(key))] = key
    return list(zones.values())


@pytest.mark.long
@pytest.mark.parametrize(("first_year", "last_year"), [(2020, 2030), (1993, 1994), (2011, 2011)])
def test_the_daily_and_weekly_laws_hold_in_every_zone_around_every_change(first_year: int, last_year: int) -> None:
    """All IANA zones, all changes of ten years and of the years in which whole days were skipped: the minutes around
    the change one by one, the rest of the day in steps."""
    for key in troubled_zones(first_year, last_year):
        zone = ZoneInfo(key)
        for change in changes_of(key, first_year, last_year):
            days = Days.around(change, zone)
            before, after = ((change + shift).astimezone(zone) for shift in (-MINUTE, timedelta(0)))
            near = {(m.hour * 60 + m.minute + step) % 1440 for m in (before, after) for step in range(-32, 33, 2)}
            for minute in sorted(near | set(range(7, 1440, 47))):
                days.check(Schedule.parse(f"{minute % 60} {minute // 60} * * *"))
            for day in days.starts:
                days.check_weekly((before.hour * 60 + before.minute - 29) % 1440, day.isoweekday() % 7)


@pytest.mark.long
def test_no_zone_moves_its_clocks_twice_within_a_day() -> None:
    """The probe for a change looks once a day; two changes closer than that could cancel out unseen."""
    start, probes = datetime(1971, 1, 1, tzinfo=UTC), 67 * 365 * 4
    for key in available_timezones() - {"localtime", "Factory"}:
        zone = ZoneInfo(key)
        offsets = [offset(start + n * 6 * HOUR, zone) for n in range(probes)]
        changes = [n for n, (one, other) in enumerate(pairwise(offsets)) if one != other]
        assert all(later - earlier > 4 for earlier, later in pairwise(changes)), key


# --- what was missed -------------------------------------------------------------------------------------------------


def test_nothing_is_missed_between_two_slots() -> None:
    """From just after a slot to just before the next there is none; a slot at `now` counts, one at `last` does not."""
    schedule = Schedule.parse("0 8 * * *")
    slot = datetime(2026, 1, 5, 8, tzinfo=UTC)
    assert schedule.missed(slot, slot + DAY - timedelta(seconds=1), UTC_ZONE) == Missed(0, None, None)
    assert schedule.missed(slot, slot + DAY, UTC_ZONE) == Missed(1, slot + DAY, slot + DAY)
    assert schedule.missed(slot, slot + 3 * DAY, UTC_ZONE) == Missed(3, slot + DAY, slot + 3 * DAY)
    assert schedule.missed(slot + DAY, slot, UTC_ZONE) == Missed(0, None, None)  # the clock went back


@given(lines().map(lambda line: line.text) | st.just("every 3h"), troubled_moments(), st.integers(0, 6000))
@settings(max_examples=80, deadline=None)
def test_missed_tells_the_first_the_latest_and_how_many(
    text: str, where: tuple[datetime, ZoneInfo], length: int
) -> None:
    """`missed` agrees with walking from slot to slot."""
    last, zone = where
    now = last + length * MINUTE
    slots = slots_between(Schedule.parse(text), last, now, zone)
    missed = Schedule.parse(text).missed(last, now, zone)
    assume(len(slots) <= COUNTED)
    assert (missed.count, missed.more) == (len(slots), False)
    if slots:
        assert (missed.first, missed.latest) == (slots[0], slots[-1])


def test_years_of_missed_slots_are_counted_up_to_a_bound() -> None:
    """Ten years of minutes: the count stops and says so, and the latest is still exact."""
    last, now = datetime(2016, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, 0, 0, 30, tzinfo=UTC)
    missed = Schedule.parse("* * * * *").missed(last, now, BERLIN)
    assert missed == Missed(COUNTED, last + MINUTE, now.replace(second=0), more=True)
    assert str(missed) == "more than 1,000"


# --- jitter, cost ----------------------------------------------------------------------------------------------------


def test_jitter_is_the_same_after_a_restart_and_in_every_zone() -> None:
    """It depends on the job's name and the instant of the slot, and on nothing of this process."""
    slot = datetime(2026, 1, 5, 8, tzinfo=BERLIN)
    program = (
        "from datetime import *; from daemon.schedule import jitter_of;"
        "drawn = jitter_of('digest', datetime(2026, 1, 5, 7, tzinfo=UTC), timedelta(minutes=5));"
        "print(drawn // timedelta(microseconds=1))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert jitter_of("digest", slot, 5 * MINUTE) == timedelta(microseconds=int(done.stdout))


def test_jitter_is_spread_evenly() -> None:
    """Over many slots every tenth of the range gets its share, and two jobs of one slot differ."""
    slots = [datetime(2026, 1, 1, tzinfo=UTC) + n * HOUR for n in range(2000)]
    drawn = [jitter_of("a", slot, 10 * MINUTE) for slot in slots]
    for tenth in range(10):
        assert 120 < sum(tenth * MINUTE <= length < (tenth + 1) * MINUTE for length in drawn) < 280
    assert drawn != [jitter_of("b", slot, 10 * MINUTE) for slot in slots]


@given(st.text(max_size=10), instants(), st.integers(0, 10**9))
def test_jitter_stays_below_its_bound(job: str, slot: datetime, seconds: int) -> None:
    """In [0, jitter), and nothing where jitter is nothing."""
    jitter = timedelta(seconds=seconds)
    drawn = jitter_of(job, slot, jitter)
    assert timedelta(0) <= drawn
    assert drawn < jitter or jitter == drawn == timedelta(0)


def test_reading_a_schedule_does_not_import_the_scheduler() -> None:
    """A check of the configuration starts fast: APScheduler and difflib are left out until they are needed."""
    program = (
        "import sys; from daemon.schedule import Schedule; Schedule.parse('0 8 * * 1');"
        "print(sorted({'apscheduler', 'difflib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
