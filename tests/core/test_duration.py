"""Lengths of time as people write them."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from daemon.core.duration import format_duration, parse_duration


@given(st.integers(0, 36525 * 86400))
def test_what_is_written_is_read_back(seconds: int) -> None:
    """parse ∘ format is the identity on whole seconds."""
    length = timedelta(seconds=seconds)
    assert parse_duration(format_duration(length)) == length


@given(
    st.lists(
        st.tuples(st.integers(0, 1000), st.sampled_from("smhdw"), st.sampled_from(["", " "])), min_size=1, max_size=5
    )
)
def test_parts_add_up(parts: list[tuple[int, str, str]]) -> None:
    """In any order, upper or lower case, with or without blanks."""
    text = "".join(f"{number}{space}{unit}{space}" for number, unit, space in parts)
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
    total = timedelta(seconds=sum(number * units[unit] for number, unit, _ in parts))
    assert parse_duration(text) == parse_duration(text.upper()) == total


@given(st.text() | st.from_regex(r"(\d+\s*[smhdw]?\s*)*"))
@example("30ſ")  # which is an s to a regular expression that ignores case
@example("9" * 30 + "w")
def test_nothing_but_a_length_is_accepted(text: str) -> None:
    """Any text is a length or a ValueError."""
    with suppress(ValueError):
        assert parse_duration(text) >= timedelta(0)


@pytest.mark.parametrize("text", ["", "30", "d", "-1d", "1.5h", "1 month", "30 d x", "999999999999w", "30ſ"])
def test_what_is_wrong_is_shown(text: str) -> None:
    """The sentence repeats what was written; where the form is wrong it shows the right one."""
    with pytest.raises(ValueError, match=r'no length of time; write .*"90s"|longer than a hundred years') as refusal:
        parse_duration(text)
    assert repr(text) in str(refusal.value)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (90, "1m30s"), (3600, "1h"), (86400 * 30, "30d"), (90061, "1d1h1m1s")]
)
def test_the_text_is_the_shortest(seconds: int, text: str) -> None:
    """Units that are zero are left out; days are the longest."""
    assert format_duration(timedelta(seconds=seconds)) == text
