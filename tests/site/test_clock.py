"""Moments and the site's naive datetimes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.site.clock import SiteClock

ZONES = [ZoneInfo(name) for name in ("America/New_York", "Asia/Kolkata", "Europe/Berlin", "Australia/Lord_Howe", "UTC")]
MOMENTS = st.datetimes(datetime(2000, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


@given(MOMENTS, st.sampled_from(ZONES))
def test_a_moment_is_read_back(moment: datetime, zone: ZoneInfo) -> None:
    """Except in the hour that a zone repeats, where the first of the two is taken: never later than it was."""
    clock = SiteClock(zone)
    off = moment - clock.moment(clock.text(moment))  # not by ==, which is False in an hour that is repeated (PEP 495)
    assert off == timedelta(0) or (moment.astimezone(zone).fold == 1 and timedelta(0) < off <= timedelta(hours=1))


@given(MOMENTS, st.sampled_from(ZONES))
def test_the_text_is_the_site_s_wall_clock(moment: datetime, zone: ZoneInfo) -> None:
    """With six digits of fraction and no zone, as the site compares it."""
    text = SiteClock(zone).text(moment)
    assert len(text) == len("2026-01-05 12:00:00.000000")
    assert text == moment.astimezone(zone).strftime("%Y-%m-%d %H:%M:%S.%f")


def test_both_forms_of_the_site_and_dates_are_read() -> None:
    """A whole second has no fraction; a date is its midnight there."""
    clock = SiteClock(ZoneInfo("America/New_York"))
    noon = datetime(2026, 1, 5, 17, tzinfo=UTC)
    assert clock.moment("2026-01-05 12:00:00") == clock.moment("2026-01-05 12:00:00.000000") == noon
    assert clock.moment("2026-01-05") == noon - timedelta(hours=12)


def test_a_naive_moment_is_refused() -> None:
    """Nobody can say which moment it is."""
    with pytest.raises(ValueError, match="is naive"):
        SiteClock(ZoneInfo("UTC")).text(datetime(2026, 1, 5))  # noqa: DTZ001


@given(MOMENTS, st.sampled_from(ZONES), st.timedeltas(timedelta(0), timedelta(days=400)))
def test_nothing_that_is_stamped_later_lies_before_a_bound(moment: datetime, zone: ZoneInfo, later: timedelta) -> None:
    """Also in an hour that the zone repeats, and never further back than that hour and its minute."""
    clock = SiteClock(zone)
    bound = clock.bound(moment)
    assert clock.text(moment + later) >= bound
    assert clock.text(moment - timedelta(hours=1, minutes=1)) <= bound or bound == clock.text(moment)


def test_the_bound_of_a_repeated_hour_is_its_first_minute() -> None:
    """01:50 in the first pass of New York's repeated hour: at 01:00 of the second pass the clock shows less."""
    clock = SiteClock(ZoneInfo("America/New_York"))
    assert clock.bound(datetime(2026, 11, 1, 5, 50, tzinfo=UTC)) == "2026-11-01 01:00:00.000000"
    assert clock.bound(datetime(2026, 11, 1, 6, 50, tzinfo=UTC)) == "2026-11-01 01:50:00.000000"
