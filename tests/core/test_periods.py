"""Which days a digest is about."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.core.periods import WEEKDAYS, Period, Span

ZONES = [ZoneInfo(name) for name in ("America/New_York", "Australia/Lord_Howe", "Pacific/Apia", "UTC")]
TEXTS = ["last day", "last week", "last month", "last 1 day", "last 30 days", "last 3660 days"]
SPANS = st.sampled_from(TEXTS).map(Span.parse)
MOMENTS = st.datetimes(datetime(2000, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


@pytest.mark.parametrize(
    ("text", "day", "first", "last", "before"),
    [
        ("last week", "2026-11-23", "2026-11-16", "2026-11-22", "2026-11-09"),  # a Monday
        ("last week", "2026-11-22", "2026-11-09", "2026-11-15", "2026-11-02"),  # the Sunday is not over
        ("last day", "2026-03-01", "2026-02-28", "2026-02-28", "2026-02-27"),
        ("last month", "2024-03-31", "2024-02-01", "2024-02-29", "2024-01-01"),
        ("last month", "2026-01-01", "2025-12-01", "2025-12-31", "2025-11-01"),
        ("last 30 days", "2026-11-23", "2026-10-24", "2026-11-22", "2026-09-24"),
    ],
)
def test_the_last_full_one(text, day, first, last, before):
    """Before the day of the slot, which is not over yet; and the one right before that."""
    span = Span.parse(text)
    period = span.before(date.fromisoformat(day))
    assert period == Period(date.fromisoformat(first), date.fromisoformat(last))
    assert span.previous(period).first == date.fromisoformat(before)


@given(SPANS, MOMENTS, st.sampled_from(ZONES), st.sampled_from(WEEKDAYS))
def test_periods_follow_one_another_whatever_the_clocks_do(span, slot, zone, starts):
    """Each ends before the slot's own day by the site's calendar, and right where the next one begins; weeks have seven
    days that begin on the day that is said."""
    period = span.due(slot, zone, starts)
    previous = span.previous(period, starts)
    assert period.first <= period.last < slot.astimezone(zone).date()
    assert previous.last + timedelta(days=1) == period.first
    if span.unit == "week":
        assert period.last - period.first == timedelta(days=6) and WEEKDAYS[period.first.weekday()] == starts
    assert sorted([period.key, previous.key]) == [previous.key, period.key]


def test_a_slot_in_the_evening_is_of_its_own_day_on_the_site():
    """01:30 UTC on Tuesday is still Monday in New York."""
    slot = datetime(2026, 11, 24, 1, 30, tzinfo=UTC)
    assert Span.parse("last day").due(slot, ZONES[0]).last == date(2026, 11, 22)
    assert Span.parse("last day").due(slot, ZoneInfo("UTC")).last == date(2026, 11, 23)


def test_conditions():
    """Days to their end: of a Datetime up to the next midnight, of a Date including the last."""
    period = Period(date(2026, 10, 25), date(2026, 11, 1))
    assert period.conditions("creation", with_time=True) == [
        ["creation", ">=", "2026-10-25 00:00:00"], ["creation", "<", "2026-11-02 00:00:00"]
    ]  # fmt: skip
    assert period.conditions("posting_date", with_time=False)[1] == ["posting_date", "<=", "2026-11-01"]


@pytest.mark.parametrize("text", ["", "week", "last 0 days", "last 4000 days", "last fortnight", "next week", "7d"])
def test_what_is_no_period(text):
    """Said with the right form."""
    with pytest.raises(ValueError, match="last week"):
        Span.parse(text)
