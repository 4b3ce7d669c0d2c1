"""Figures: sums, groups and changes."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.core.metrics import Groups, Sum, change, decimal_of, mood, shares

amounts = st.lists(st.decimals(-(10**9), 10**9, places=9), max_size=30)


@given(amounts)
def test_sums_are_exact(values):
    """In Decimal, whatever the number of rows, as the database adds them up."""
    total = Sum()
    for value in values:
        total.add(str(value))
    assert total.result("sum") == sum(values, Decimal(0))
    assert total.result("count") == len(values)
    assert total.result("min") == min(values, default=None) and total.result("max") == max(values, default=None)
    if values:
        assert abs(total.result("average") * len(values) - sum(values)) < Decimal("1e-9")


def test_floats_of_replies_are_what_they_say():
    """0.1 three times is 0.3; nothing is not counted, as the site's database has it."""
    total = Sum()
    for value in (0.1, 0.1, 0.1, None):
        total.add(value)
    assert total.result("sum") == Decimal("0.3") and total.result("count") == 3
    assert Sum().result("average") is Sum().result("min") is None
    with pytest.raises(ValueError, match="'abc' is no number"):
        decimal_of("abc")


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(-99, 99)), max_size=40), st.integers(1, 7))
def test_the_largest_groups(rows, number):
    """By their sums, the largest first; of equal ones by name, so that two runs agree."""
    groups, sums = Groups(("qty",)), {}
    for key, value in rows:
        groups.add(key, key.upper(), {"qty": value})
        sums[key] = sums.get(key, 0) + value
    wanted = sorted(sums.items(), key=lambda item: (-item[1], item[0]))[:number]
    found = [(key, group.sums["qty"].result("sum")) for key, group in groups.top(number, "qty", {"qty": "sum"})]
    assert found == wanted
    assert all(group.shown == key.upper() for key, group in groups.groups.items())


@pytest.mark.parametrize(
    ("value", "before", "share"),
    [(18, 15, "0.2"), (12, 15, "0.2"), (0, 5, "1"), (5, 0, None), (5, None, None), (None, 5, None), (-5, 5, None),
     (5, -5, None)],
)  # fmt: skip
def test_changes(value, before, share):
    """By what share; from nothing, or across zero, there is none."""
    value, before = (None if one is None else Decimal(one) for one in (value, before))
    assert change(value, before) == (None if share is None else Decimal(share))


def test_moods():
    """More orders are good news, more open issues are not."""
    assert mood(Decimal(2), Decimal(1), "more") == mood(Decimal(1), Decimal(2), "less") == "up"
    assert mood(Decimal(2), Decimal(1), "less") == mood(Decimal(1), Decimal(2), "more") == "down"
    assert mood(Decimal(1), Decimal(1), "more") == ""


@given(amounts)
def test_bars(values):
    """Between nothing and the whole, the largest whole; what is negative has none."""
    found = shares(values)
    assert all(0 <= share <= 1 for share in found)
    assert not any(value > 0 for value in values) or max(found) == 1
