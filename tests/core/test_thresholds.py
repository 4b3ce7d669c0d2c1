"""Which notice is due: by any sequence of looks, each threshold once at the most, and the tightest that was crossed."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.core.thresholds import crossed, day_of, judge, said, window

TODAY = date(2026, 3, 1)
THRESHOLDS = st.lists(st.integers(-60, 120), min_size=1, max_size=6, unique=True)


def after(days: int) -> date:
    return TODAY + timedelta(days=days)


@pytest.mark.parametrize(
    ("days", "threshold"), [(31, None), (30, 30), (8, 30), (7, 7), (2, 7), (1, 1), (0, 0), (-1, 0), (-6, 0), (-7, -7)]
)
def test_the_tightest_threshold_that_was_crossed(days, threshold):
    """0 is the day itself, negative ones come after it; behind the last one it stays the last."""
    assert crossed(days, [30, 7, 1, 0, -7]) == threshold
    assert judge(TODAY, after(days), [30, 7, 1, 0, -7], {}).threshold == threshold


@given(THRESHOLDS, st.lists(st.integers(0, 40), min_size=1, max_size=60), st.integers(-80, 400))
def test_any_looks_tell_each_threshold_once_and_the_tightest(thresholds, gaps, away):
    """A year of looks with any down-time between: nothing twice, always tighter than before, and none is missed whose
    width no down-time was as long as."""
    expires, today, told, looked = after(away), TODAY, {}, []
    for gap in gaps:
        today += timedelta(days=gap)
        looked.append((expires - today).days)
        due = judge(today, expires, thresholds, told).threshold
        if due is not None:
            assert due not in told and all(due < known for known in told)
            told[due] = "on a day"
        assert judge(today, expires, thresholds, told).threshold is None
    for threshold in thresholds:
        tighter = max((one for one in thresholds if one < threshold), default=None)
        within = [days for days in looked if days <= threshold and (tighter is None or days > tighter)]
        assert (threshold in told) == bool(within)


@given(THRESHOLDS, THRESHOLDS, st.integers(-80, 150))
def test_edited_thresholds_tell_nothing_wider_than_what_was_told(before, now, away):
    """Who was told 7 days before is not told 14 days before because somebody added that."""
    told = dict.fromkeys(before, "on a day")
    due = judge(TODAY, after(away), now, told).threshold
    assert due is None or all(due < one for one in before)


@given(THRESHOLDS, st.integers(0, 90), st.integers(-300, 300), st.integers(0, 200))
def test_the_window_holds_whatever_may_be_due(thresholds, back, away, down):
    """Nothing that crosses a threshold after the last look, or was not over long before it, lies outside."""
    since, today = TODAY - timedelta(days=down), TODAY
    first, last = window(today, since, thresholds, timedelta(days=back))
    expires = after(away)
    crossing = expires - timedelta(days=min(thresholds))
    if crossed(away, thresholds) is not None and crossing > since:
        assert first <= expires <= last
    if expires > last:
        assert crossed(away, thresholds) is None


@pytest.mark.parametrize(
    ("days", "told", "why"),
    [
        (45, {}, "2026-04-15 is 45 days ahead; the next notice comes 30 days before, on 2026-03-16"),
        (5, {}, "2026-03-06 is 5 days ahead, which is within 7 days before"),
        (5, {7: "on 2026-02-27 by mail"},
         "told 7 days before on 2026-02-27 by mail; the next notice comes 1 day before, on 2026-03-05"),
        (-1, {1: "on 2026-02-27 by mail"},
         "told 1 day before on 2026-02-27 by mail; no further notice comes for this date"),
        (0, {}, "2026-03-01 is today, which is within 1 day before"),
        (-2, {}, "2026-02-27 was 2 days ago, which is within 1 day before"),
    ],
)  # fmt: skip
def test_it_says_why(days, told, why):
    """And when the next notice comes."""
    assert judge(TODAY, after(days), [30, 7, 1], told).why == why


def test_words_and_days():
    """Of thresholds and of the site's values."""
    assert [said(days) for days in (7, 1, 0, -1, -30)] == [
        "7 days before", "1 day before", "on the day", "1 day after", "30 days after"
    ]  # fmt: skip
    assert day_of("2026-03-01 23:59:59.5") == day_of("2026-03-01") == TODAY
    assert day_of(None) is day_of("") is day_of("soon") is None
