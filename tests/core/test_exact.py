"""JSON whose numbers stay what they are."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.core.exact import DEEPEST, Odd, at, dumps, loads, marked, oddities

NUMBERS = st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**20), max_value=10**20)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.text() | NUMBERS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(VALUES)
def test_what_is_written_is_read_back(value: Any) -> None:
    """Each number to its last digit; text of any kind, halves of surrogate pairs too."""
    assert loads(dumps(value)) == value


@given(NUMBERS.filter(lambda number: number.as_tuple().exponent < 0))
def test_digits_of_a_decimal_stay_as_they_are(number: Decimal) -> None:
    """19.50 is 19.50 and not 19.5: no float is made of it."""
    back = loads(dumps([number]))[0]
    assert type(back) is Decimal and back.as_tuple() == number.as_tuple()
    assert b'"' not in dumps(number)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_are_written_as_python_writes_them(number: float) -> None:
    """The shortest text that is this float."""
    assert float(loads(dumps([number]))[0]) == number


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_it_is_the_json_that_others_read_and_write(value: Any) -> None:
    """Python's own module stands for them."""
    assert json.loads(dumps(value)) == value
    assert loads(json.dumps(value).encode()) == json.loads(json.dumps(value), parse_float=Decimal)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"a": 1, "b": 2, "a": 3}', "a is there twice"),
        ("[NaN]", "NaN"),
        ("[Infinity]", "Infinity"),
        ("[-Infinity]", "-Infinity"),
        ("[1e401]", "beyond reason"),
        ("[1.5e-999999999]", "beyond reason"),
        ("[1e99999999999999999999]", "beyond reason"),
        ("[" + "1" * 5000 + "]", "beyond reason"),
        ("[" * (DEEPEST + 1) + "]" * (DEEPEST + 1), "levels deep"),
        ("[" * 100_000, "nested"),
        ('{"a": ', "no JSON"),
        ("[1,]", "no JSON"),
        ("", "no JSON"),
        ("[1] [2]", "no JSON"),
    ],
)
def test_what_programs_read_in_different_ways_is_refused(text: str, why: str) -> None:
    """RFC 8259 leaves to each what to make of it; we make nothing of it."""
    with pytest.raises(ValueError, match=why):
        loads(text.encode())


@pytest.mark.parametrize("odd", ["NaN", "1e999", "1" * 5000, '{"k": 1, "k": 2}', "[" * 500 + "]" * 500])
def test_one_odd_value_leaves_the_others_readable(odd: str) -> None:
    """It is marked where it stands, with its path."""
    value = marked(f'[{{"id": 1, "a": {{"b": {odd}}}}}, {{"id": 2}}]'.encode())
    ((path, found),) = oddities(value)
    assert path.startswith("0.a.b") and isinstance(found, Odd) and found.why
    assert value[0]["id"] == 1 and value[1] == {"id": 2}


@given(st.binary(max_size=200))
def test_any_bytes_are_json_or_a_sentence(content: bytes) -> None:
    """ValueError and nothing else."""
    try:
        loads(content)
    except ValueError as error:
        assert str(error)


def test_text_of_other_encodings_is_read() -> None:
    """UTF-8 with or without a mark, UTF-16 and 32 (RFC 4627, 3)."""
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-32"):
        assert loads('{"ä": 1}'.encode(encoding)) == {"ä": 1}
    with pytest.raises(ValueError, match="UTF-8"):
        loads('"ä"'.encode("latin-1"))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Decimal("1E+3"), b"1000"),
        (Decimal("1E-7"), b"0.0000001"),
        (Decimal("1E+60"), b"1E+60"),
        (Decimal("-0.00"), b"-0.00"),
        (date(2026, 1, 5), b'"2026-01-05"'),
        (datetime(2026, 1, 5, 12, tzinfo=UTC), b'"2026-01-05T12:00:00+00:00"'),
        ((1, "a"), b'[1,"a"]'),
        ({}, b"{}"),
        ([], b"[]"),
        (True, b"true"),
    ],
)
def test_how_values_are_written(value: Any, text: bytes) -> None:
    """Plain numbers, ISO times, no blanks."""
    assert dumps(value) == text


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        float("inf"),
        Decimal("NaN"),
        Decimal("Infinity"),
        datetime(2026, 1, 5),  # noqa: DTZ001
        b"x",
        {1: 2},
        {"a": object()},
        {1, 2},
    ],
)
def test_what_has_no_form_is_refused(value: Any) -> None:
    """Rather than written as something that it is not."""
    with pytest.raises((TypeError, ValueError)):
        dumps(value)


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("", {"data": {"items": [{"id": 5}, None]}, "0": "zero", "n": None}),
        ("data.items.0.id", 5),
        ("data.items.1", None),
        ("data.items.1.id", None),
        ("data.items.2", None),
        ("data.items.-1", None),
        ("data.items.x", None),
        ("data.none.x", None),
        ("0", "zero"),
        ("n", None),
        ("0.0", None),
        ("data.items.99999999999999999999", None),
    ],
)
def test_a_path_leads_to_a_value_or_nowhere(path: str, found: Any) -> None:
    """Through keys and places; what is not there is None, never an error."""
    assert at({"data": {"items": [{"id": 5}, None]}, "0": "zero", "n": None}, path) == found
