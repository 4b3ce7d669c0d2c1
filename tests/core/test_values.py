"""Cells → values for Frappe: examples as tables, and laws over everything else."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.core.doctype import DocType, Field
from daemon.core.moments import COMMON, ISO, detect, iso_date, stated
from daemon.core.numbers import evidence
from daemon.core.values import FALSE, TRUE, Reading, ValueProblem, converter, is_blank, shown

TAG = DocType("Tag", (Field("note"), Field("role", "Role", "Link", "Role")), istable=True)
LINES = DocType("Line", (Field("a"), Field("n", "N", "Float"), Field("d", "D", "Date")), istable=True)
BAD = object()
MIDNIGHT = datetime(2024, 1, 31)  # noqa: DTZ001 (as a workbook has it)


def read(field: Field | str, cell: Any, sample: Any = None, child: DocType | None = None, **how: Any) -> Any:
    """The value, or BAD."""
    field = Field("x", "X", field) if isinstance(field, str) else field
    try:
        return converter(field, Reading(**how), [cell] if sample is None else sample, child)(cell)
    except ValueProblem:
        return BAD


def why(field: Field | str, cell: Any, sample: Any = None, **how: Any) -> str:
    field = Field("x", "X", field) if isinstance(field, str) else field
    with pytest.raises(ValueProblem) as raised:
        converter(field, Reading(**how), [cell] if sample is None else sample)(cell)
    return str(raised.value)


@pytest.mark.parametrize(
    ("kind", "cell", "value"),
    [
        ("Data", " a b ", "a b"),
        ("Data", 5, "5"),
        ("Data", 5.0, "5"),
        ("Data", 0.1, "0.1"),
        ("Data", 1e22, "10000000000000000000000"),
        ("Data", Decimal("1E+3"), "1000"),
        ("Data", Decimal("5.10"), "5.1"),
        ("Data", -0.0, "0"),
        ("Data", True, "TRUE"),
        ("Data", date(2024, 1, 31), "2024-01-31"),
        ("Data", MIDNIGHT, "2024-01-31"),
        ("Data", MIDNIGHT.replace(hour=5), "2024-01-31 05:00:00"),
        ("Data", math.nan, BAD),
        ("Data", Decimal("1E+999999"), BAD),
        ("Data", [1], BAD),
        ("Data", "\ud800", BAD),
        ("Data", "x" * 140, "x" * 140),
        ("Data", "😀" * 140, "😀" * 140),
        ("Data", "x" * 141, BAD),
        (Field("x", length=3), "abcd", BAD),
        (Field("x", length=200), "x" * 200, "x" * 200),
        ("Text", " a\r\nb ", " a\r\nb "),
        ("Small Text", "x" * 65_535, "x" * 65_535),
        ("Small Text", "x" * 65_536, BAD),
        ("Text", "é" * 32_768, BAD),
        ("Long Text", "é" * 40_000, "é" * 40_000),
        ("Text Editor", "<p>x</p>", "<p>x</p>"),
        ("Something New", "x", "x"),
        ("Link", " ITEM-1 ", "ITEM-1"),
        ("Link", 1001.0, "1001"),
        ("Attach", "/files/a.png", "/files/a.png"),
        ("Password", " s3cret ", " s3cret "),
        ("Color", "#FF0000", "#FF0000"),
        ("Color", "1f7", "#11ff77"),
        ("Color", "red", BAD),
        ("Phone", "+49-1701234567", "+49-1701234567"),
        ("Phone", "0170 1234567", BAD),
        ("JSON", ' {"a": [1, 2]} ', '{"a": [1, 2]}'),
        ("JSON", '{"a": 0.12345678901234567890123}', '{"a": 0.12345678901234567890123}'),
        ("JSON", {"a": Decimal("0.12345678901234567890123")}, '{"a":0.12345678901234567890123}'),
        ("JSON", '{"a": 1e400}', BAD),
        ("JSON", {"a": Decimal("1e400")}, BAD),
        ("JSON", '{"a": 1, "a": 2}', BAD),
        ("JSON", [1, 2], "[1,2]"),
        ("JSON", {"a": "ü"}, '{"a":"ü"}'),
        ("JSON", "{bad", BAD),
        ("JSON", "NaN", BAD),
        ("JSON", {"a": math.nan}, BAD),
        ("Geolocation", '{"type": "FeatureCollection"}', '{"type": "FeatureCollection"}'),
        ("Geolocation", "[1]", BAD),
    ],
)
def test_texts(kind: Field | str, cell: Any, value: Any) -> None:
    """As they are, within what the site's columns hold; a workbook's numbers without an idle ".0"."""
    assert read(kind, cell) == value


@pytest.mark.parametrize(
    ("cell", "how", "value"),
    [
        ("12.5", "", 12.5),
        ("12,5", "", 12.5),
        ("1,234.5", "", 1234.5),
        ("1.234,5", "", 1234.5),
        ("1,234,567", "", 1234567.0),
        ("12,34,567", "", 1234567.0),
        ("12,34,567.8", "", 1234567.8),
        ("0,123", "", 0.123),
        ("1234,567", "", 1234.567),
        ("1 234,56", "", 1234.56),
        ("1\u00a0234\u202f567,5", "", 1234567.5),
        ("1'234.50", "", 1234.5),
        ("1,234", "", BAD),
        ("1.234", "", BAD),
        ("1,234", ".", 1234.0),
        ("1,234", ",", 1.234),
        ("1.234", ",", 1234.0),
        ("1.234", ".", 1.234),
        ("12.5", ",", BAD),
        ("1,2,3", "", BAD),
        ("12,34.5", ".", BAD),
        ("1.2.3", "", BAD),
        ("(5.50)", "", -5.5),
        ("-5.5", "", -5.5),
        ("5.5-", "", -5.5),
        ("\u22125.5", "", -5.5),
        ("(-5.5)", "", BAD),
        ("--5", "", BAD),
        ("-5-", "", BAD),
        ("€ 5.50", "", 5.5),
        ("5,50 €", "", 5.5),
        ("-$5.50", "", -5.5),
        ("$-5.50", "", -5.5),
        ("₹ 1,23,456.00", "", 123456.0),
        ("EUR 5.5", "", 5.5),
        ("5.5 EUR", "", 5.5),
        ("Rs. 5.5", "", 5.5),
        ("1e3", "", 1000.0),
        ("+5", "", 5.0),
        (".5", "", 0.5),
        ("-0", "", 0.0),
        ("abc", "", BAD),
        ("NaN", "", BAD),
        ("inf", "", BAD),
        ("1e400", "", BAD),
        ("0x10", "", BAD),
        ("1_000", "", BAD),
        ("٣", "", BAD),
        ("999999999999", "", 999999999999.0),
        ("1000000000000", "", BAD),
        ("123456789012.123456789", ".", BAD),
        ("0.12345678901234567890", ".", 0.1234567890123456789),
        (5, "", 5.0),
        (0.1, "", 0.1),
        (Decimal("0.10"), "", 0.1),
        (Decimal("123456789012.123456789"), "", BAD),
        (math.nan, "", BAD),
        (Decimal("sNaN"), "", BAD),
        (10**400, "", BAD),
        (True, "", BAD),
        (date(2024, 1, 1), "", BAD),
    ],
)
def test_numbers_with_decimals(cell: Any, how: str, value: Any) -> None:
    """As people of several countries write them; what can be read in two ways, or is not kept exactly, is refused."""
    found = read("Currency", cell, decimal=how)
    assert found is value or (found == value and isinstance(found, float))


def test_a_column_proves_its_decimal_mark() -> None:
    """One value that can be read in one way only decides for the others; two that contradict each other do not."""
    assert read("Float", "1,234", ["1,234", "0,5", "7", "n/a,x"]) == 1.234
    assert read("Float", "1,234", ["1,234", "12.5"]) == 1234.0
    assert read("Float", "1,234", ["1,5", "1.5"]) is BAD and read("Float", "1,5", ["1,5", "1.5"]) == 1.5
    assert 'state decimal = "." or decimal = ","' in why("Float", "1,234")
    assert read("Float", "12.5", ["0,5"]) is BAD
    assert read("Percent", "12,5 %") == 12.5 and read("Float", "12,5 %") is BAD
    assert read("Float", "EUR 5") is BAD


@pytest.mark.parametrize(
    ("field", "cell", "value"),
    [
        ("Int", "5", 5),
        ("Int", " -5 ", -5),
        ("Int", "5.0", 5),
        ("Int", 5.0, 5),
        ("Int", Decimal("5.00"), 5),
        ("Int", "5.7", BAD),
        ("Int", 5.7, BAD),
        ("Int", "1,000", BAD),
        ("Int", "1,000,000", 1_000_000),
        ("Int", "1 000", 1000),
        ("Int", "1e3", 1000),
        ("Int", "2147483647", 2_147_483_647),
        ("Int", "2147483648", BAD),
        ("Int", -2_147_483_648, BAD),
        (Field("x", fieldtype="Int", length=12), 2**63 - 1, 2**63 - 1),
        ("Long Int", "9223372036854775807", 2**63 - 1),
        ("Long Int", 2**63, BAD),
        ("Int", True, BAD),
        ("Int", math.inf, BAD),
        (Field("x", fieldtype="Int", non_negative=True), -1, BAD),
        (Field("x", fieldtype="Float", non_negative=True), -1, BAD),
        (Field("x", fieldtype="Percent", non_negative=True), -1, -1.0),
        ("Check", "Yes", 1),
        ("Check", "NEIN", 0),
        ("Check", 1.0, 1),
        ("Check", False, 0),
        ("Check", 2, BAD),
        ("Check", "maybe", BAD),
        ("Rating", 0.6, 0.6),
        ("Rating", "4", 0.8),
        (Field("x", fieldtype="Rating", options="10"), 4, 0.4),
        ("Rating", 6, BAD),
        ("Rating", -1, BAD),
        ("Rating", 1, BAD),
        ("Duration", 3600, 3600),
        ("Duration", "1d 2h 3m 4s", 93784),
        ("Duration", "90m", 5400),
        ("Duration", "1.5", 1.5),
        ("Duration", "26:03:04", 93784),
        ("Duration", "1:30", BAD),
        ("Duration", timedelta(hours=1, milliseconds=500), 3600.5),
        ("Duration", time(1, 30), 5400),
        ("Duration", -5, BAD),
        ("Duration", math.nan, BAD),
        ("Duration", "soon", BAD),
    ],
)
def test_whole_numbers_checks_ratings_and_lengths_of_time(field: Field | str, cell: Any, value: Any) -> None:
    """Where Frappe would cut, clamp or take 0, the cell is refused."""
    found = read(field, cell)
    assert found is value or (found == value and type(found) is type(value))


def test_a_column_of_ratings_proves_what_it_counts() -> None:
    """Stars where one is above 1, fractions where one is below; a column of ones proves neither."""
    assert read("Rating", 1, [1, 5]) == 0.2 and read("Rating", 1, [1, 0.5]) == 1
    assert read("Rating", 1, rating="stars") == 0.2 and read("Rating", 1, rating="fraction") == 1
    assert "state rating" in why("Rating", 1)


def test_words_for_yes_are_none_for_no() -> None:
    """And each is read as what it says, in any case."""
    assert not TRUE & FALSE
    assert all(read("Check", word.upper()) == (word in TRUE) for word in TRUE | FALSE)


STATUS = Field("status", "Status", "Select", "\nOpen\nIn Progress\n open-ended \nOPEN-ENDED\n10")


@pytest.mark.parametrize(
    ("cell", "value"),
    [("Open", "Open"), (" open ", "Open"), ("IN PROGRESS", "In Progress"), ("OPEN-ENDED", "OPEN-ENDED"),
     ("open-ended", "open-ended"), ("Open-Ended", BAD), (10.0, "10"), ("Shut", BAD), ([], BAD)],
)  # fmt: skip
def test_options_are_taken_in_their_own_spelling(cell: Any, value: Any) -> None:
    """Exactly, or in another case where that means one option only."""
    assert read(STATUS, cell) == value


def test_a_wrong_option_is_told_what_there_is() -> None:
    """Ten of them, and how many more; a Select without options takes any text."""
    assert why(STATUS, "Shut").startswith("one of 'Open', 'In Progress'")
    assert "or 5 others" in why(Field("x", fieldtype="Select", options="\n".join(map(str, range(15)))), "x")
    assert read("Select", "anything") == "anything"


@pytest.mark.parametrize(
    ("kind", "cell", "how", "value"),
    [
        ("Date", "2024-01-31", {}, "2024-01-31"),
        ("Date", " 2024-1-5 ", {}, "2024-01-05"),
        ("Date", "2024-02-30", {}, BAD),
        ("Date", "2024-01-31 00:00:00", {}, "2024-01-31"),
        ("Date", "2024-01-31 10:00:00", {}, BAD),
        ("Date", "31/01/2024", {}, "2024-01-31"),
        ("Date", "01/31/2024", {}, "2024-01-31"),
        ("Date", "31-01-2024", {}, "2024-01-31"),
        ("Date", "31.1.2024", {}, "2024-01-31"),
        ("Date", "1.2.2024", {}, "2024-02-01"),
        ("Date", "2024/01/31", {}, "2024-01-31"),
        ("Date", "31-Jan-2024", {}, "2024-01-31"),
        ("Date", "31 january 2024", {}, "2024-01-31"),
        ("Date", "Jan 31, 2024", {}, "2024-01-31"),
        ("Date", "31-Foo-2024", {}, BAD),
        ("Date", "05/05/2024", {}, "2024-05-05"),
        ("Date", "01/02/2024", {}, BAD),
        ("Date", "01/02/2024", {"dates": ("dd/mm/yyyy",)}, "2024-02-01"),
        ("Date", "01/02/2024", {"dates": ("%m/%d/%Y",)}, "2024-01-02"),
        ("Date", "01/02/2024", {"dates": ("%m/%d/%Y", "%d/%m/%Y")}, BAD),
        ("Date", "2024-02-01", {"dates": ("dd/mm/yyyy",)}, "2024-02-01"),
        ("Date", "31.01.24", {}, BAD),
        ("Date", "31.01.24", {"dates": ("dd.mm.yy",)}, "2024-01-31"),
        ("Date", "31.01.69", {"dates": ("dd.mm.yy",)}, "1969-01-31"),
        ("Date", "20240131", {"dates": ("yyyymmdd",)}, "2024-01-31"),
        ("Date", "0024-01-31", {}, BAD),
        ("Date", "10000-01-01", {}, BAD),
        ("Date", date(2024, 1, 31), {}, "2024-01-31"),
        ("Date", MIDNIGHT, {}, "2024-01-31"),
        ("Date", 45322, {}, BAD),
        ("Date", 45322, {"serials": "1900"}, "2024-01-31"),
        ("Date", 43860.0, {"serials": "1904"}, "2024-01-31"),
        ("Date", 59, {"serials": "1900"}, "1900-02-28"),
        ("Date", 60, {"serials": "1900"}, BAD),
        ("Date", 61, {"serials": "1900"}, "1900-03-01"),
        ("Date", math.nan, {"serials": "1900"}, BAD),
        ("Date", True, {"serials": "1900"}, BAD),
        ("Datetime", "2024-01-31", {}, "2024-01-31 00:00:00"),
        ("Datetime", "2024-01-31T10:00:00.5", {}, "2024-01-31 10:00:00.500000"),
        ("Datetime", "31.01.2024 10:05", {}, "2024-01-31 10:05:00"),
        ("Datetime", "01/31/2024 2:05 PM", {}, "2024-01-31 14:05:00"),
        ("Datetime", "31.01.2024 24:00", {}, BAD),
        ("Datetime", "31.01.2024 13:00 pm", {}, BAD),
        ("Datetime", "2024-01-31T10:00:00Z", {}, BAD),
        ("Datetime", "2024-01-31 10.30", {"dates": ("yyyy-mm-dd hh.mm",)}, "2024-01-31 10:30:00"),
        ("Datetime", 45322.5, {"serials": "1900"}, "2024-01-31 12:00:00"),
        ("Time", "9:05", {}, "09:05:00"),
        ("Time", "09:05:30.25", {}, "09:05:30.250000"),
        ("Time", "9:05 pm", {}, "21:05:00"),
        ("Time", "24:00", {}, BAD),
        ("Time", "25:00:00", {}, BAD),
        ("Time", "10.30", {"dates": ("hh.mm",)}, "10:30:00"),
        ("Time", time(9, 5), {}, "09:05:00"),
        ("Time", timedelta(hours=9, minutes=5), {}, "09:05:00"),
        ("Time", timedelta(days=1), {}, BAD),
        ("Time", 0.5, {"serials": "1900"}, "12:00:00"),
        ("Time", 0.5, {}, BAD),
    ],
)
def test_dates_and_times(kind: str, cell: Any, how: dict[str, Any], value: Any) -> None:
    """ISO always, what is stated, and of the common ways what can mean one day only."""
    assert read(kind, cell, **how) == value


def test_a_column_proves_its_date_format() -> None:
    """A day above 12 decides for the others; two that contradict each other do not; what is no date proves nothing."""
    assert read("Date", "01/02/2024", ["01/02/2024", "31/01/2024", "n/a"]) == "2024-02-01"
    assert read("Date", "01/02/2024", ["01/02/2024", "01/31/2024"]) == "2024-01-02"
    assert read("Date", "01/02/2024", ["01/31/2024", "31/01/2024"]) is BAD
    assert read("Date", "01/31/2024", ["31/01/2024"]) is BAD
    assert read("Date", "01/02/2024", ["31-01-2024"]) is BAD


def test_a_date_that_is_refused_says_what_to_do() -> None:
    """Both readings of an ambiguous one, the format that was stated, and the way out for years of two digits."""
    both = why("Date", "01/02/2024")
    assert "dd/mm/yyyy (2024-02-01)" in both and "mm/dd/yyyy (2024-01-02)" in both
    assert "as yyyy-mm-dd or dd.mm.yyyy" in why("Date", "x", dates=("dd.mm.yyyy",))
    assert 'state dates = ["dd.mm.yy"]' in why("Date", "5.6.26")
    assert "four digits" in why("Date", "01/02/24") and "that exists" in why("Date", "2023-02-29")
    assert "state serials" in why("Date", 45322)


def test_moments_with_a_zone_become_the_sites_time() -> None:
    """By a function that is handed in; one that fails is no bug of the file's reader."""

    def two_hours_ahead(moment: datetime) -> datetime:
        return moment.astimezone(timezone(timedelta(hours=2)))

    for cell in ("2024-01-31T10:00:00Z", "2024-01-31 05:30:00-04:30", datetime(2024, 1, 31, 10, tzinfo=UTC)):
        assert read("Datetime", cell, to_site=two_hours_ahead) == "2024-01-31 12:00:00"
    assert read("Date", "2024-01-31T22:00:00Z", to_site=two_hours_ahead) == "2024-02-01"
    far = datetime.max.replace(tzinfo=UTC)
    assert read("Datetime", far, to_site=two_hours_ahead) is BAD


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("A, B,A,", [{"role": "A"}, {"role": "B"}]),
        ("Smith, John\nDoe, Jane", [{"role": "Smith, John"}, {"role": "Doe, Jane"}]),
        (["A", 5], [{"role": "A"}, {"role": "5"}]),
        ('["A"]', [{"role": "A"}]),
        ([{"role": "A", "idx": 1}], [{"role": "A"}]),
        ([], []),
        ([["A"]], BAD),
        ("x" * 141, BAD),
    ],
)
def test_choices(cell: Any, value: Any) -> None:
    """Table MultiSelect: names become rows of the one Link field."""
    assert read("Table MultiSelect", cell, child=TAG) == value


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ('[{"a": 5, "n": "1.5", "d": "2024-1-5"}]', [{"a": "5", "n": 1.5, "d": "2024-01-05"}]),
        ([{"a": "", "name": "r1", "idx": 3, "parent": "p"}], [{"a": None, "name": "r1"}]),
        ([], []),
        ([{"n": "much"}], BAD),
        ([{"zz": 1}], BAD),
        ([5], BAD),
        ({"a": 1}, BAD),
        ("[", BAD),
    ],
)
def test_tables_in_one_cell(cell: Any, value: Any) -> None:
    """JSON rows, each value read as its field's; what Frappe keeps in each row is left to it."""
    assert read("Table", cell, child=LINES) == value


def test_a_wrong_way_of_reading_is_refused_when_it_is_stated() -> None:
    """With a sentence for whoever wrote it."""
    for how in ({"decimal": ";"}, {"serials": "1901"}, {"rating": "points"}, {"dates": ("%Q",)}, {"dates": ("dd.mm",)},
                {"dates": ("%d.%d.%Y",)}):  # fmt: skip
        with pytest.raises(ValueError, match=r"decimal|serials|rating|format"):
            Reading(**how)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["Data", "Int", "Float", "Date", "Duration", "JSON", "Check", "Rating"])
def test_monsters_are_refused(kind: str) -> None:
    """Numbers that Python does not print, and JSON deeper than it reads, end in a problem like any other."""
    monsters = [10**5000, Decimal("1E+999999"), "9" * 5000 + "x", "[" * 100_000]
    assert [cell for cell in monsters if read(kind, cell) is not BAD] == []
    assert all(len(shown(cell)) <= 60 for cell in monsters)


def test_what_is_blank() -> None:
    """Nothing, and blanks; 0, False and an empty list say something."""
    assert all(map(is_blank, (None, "", "  ", "\u00a0\n")))
    assert not any(map(is_blank, (0, False, [], "0", 0.0)))


KINDS = ["Data", "Text", "Long Text", "Select", "Color", "Phone", "Int", "Long Int", "Float", "Currency", "Percent",
         "Check", "Rating", "Date", "Datetime", "Time", "Duration", "JSON", "Geolocation", "Link", "Barcode",
         "Password", "Table", "Table MultiSelect"]  # fmt: skip
ANYTHING = st.recursive(
    st.text()
    | st.from_regex(r"\A[0-9.,/:()€%eE +'-]{0,14}\Z")
    | st.integers()
    | st.floats()
    | st.decimals()
    | st.booleans()
    | st.dates()
    | st.datetimes(timezones=st.none() | st.just(UTC))
    | st.times()
    | st.timedeltas(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


@given(
    st.sampled_from(KINDS),
    ANYTHING,
    st.lists(ANYTHING, max_size=2),
    st.sampled_from([Reading(), Reading(decimal=",", dates=("dd.mm.yy", "hh.mm"), serials="1900")]),
)
def test_any_cell_is_read_or_refused(kind: str, cell: Any, sample: list[Any], reading: Reading) -> None:
    """No cell of any type makes a converter fail in another way, and what comes out is JSON of bounded length."""
    field = Field("x", fieldtype=kind, options="A\nB" if kind == "Select" else "")
    try:
        value = converter(field, reading, sample, TAG)(cell)
    except ValueProblem as problem:
        assert str(problem) and len(str(problem)) < 500
    else:
        json.dumps(value, allow_nan=False)
    assert len(shown(cell)) <= 60


def swapped(text: str, group: str, decimal: str) -> str:
    return text.replace(",", "\0").replace(".", decimal).replace("\0", group)


@given(
    st.decimals(min_value=-(10**9), max_value=10**9, places=2),
    st.sampled_from([(",", "."), (".", ","), (" ", ","), ("\u00a0", "."), ("'", "."), ("", ","), ("", ".")]),
    st.sampled_from(["{}", "{} €", "$ {}", "EUR {}"]),
)
def test_printed_numbers_are_read_back(number: Decimal, marks: tuple[str, str], frame: str) -> None:
    """However a country groups and points them, also where the mark is not stated, as two decimals prove it."""
    text = frame.format(swapped(f"{number:,.2f}", *marks))
    assert read("Currency", text, decimal=marks[1]) == read("Currency", text) == float(number)


PRINTED: list[tuple[str, Callable[[date], str]]] = [
    ("dd/mm/yyyy", lambda day: f"{day.day:02}/{day.month:02}/{day.year}"),
    ("mm/dd/yyyy", lambda day: f"{day.month}/{day.day}/{day.year}"),
    ("dd.mm.yyyy", lambda day: f"{day.day:02}.{day.month:02}.{day.year}"),
    ("dd-mm-yyyy", lambda day: f"{day.day:02}-{day.month:02}-{day.year}"),
    ("yyyy/mm/dd", lambda day: f"{day.year}/{day.month:02}/{day.day:02}"),
    ("dd-mmm-yyyy", lambda day: day.strftime("%d-%b-") + str(day.year)),
    ("mmm dd, yyyy", lambda day: day.strftime("%B %d, ") + str(day.year)),
]
DAYS = st.dates(min_value=date(1000, 1, 1))


@given(DAYS, st.sampled_from(PRINTED))
def test_printed_dates_are_read_back(day: date, way: tuple[str, Callable[[date], str]]) -> None:
    """In the format that is stated; and unstated ones are never read as another day in silence."""
    name, text = way[0], way[1](day)
    assert read("Date", text, dates=(name,)) == iso_date(day)
    assert read("Date", text) in (iso_date(day), BAD) or day.day > 12 or name in ("dd/mm/yyyy", "dd-mm-yyyy")


@given(st.lists(DAYS, min_size=1, max_size=6), st.sampled_from(PRINTED[:4]))
def test_a_column_is_read_as_one_or_not_at_all(days: list[date], way: tuple[str, Callable[[date], str]]) -> None:
    """A column printed in one way: each date comes back, or is refused because the column can mean another, too."""
    texts = list(map(way[1], days))
    for day, text in zip(days, texts, strict=True):
        assert read("Date", text, texts) in (iso_date(day), BAD)
    if any(day.day > 12 for day in days):
        assert [read("Date", text, texts) for text in texts] == list(map(iso_date, days))


@given(st.datetimes(min_value=MIDNIGHT.replace(year=1000)))
def test_moments_are_read_back(moment: datetime) -> None:
    """As the site writes them, to the microsecond; and so are times of day."""
    assert read("Datetime", str(moment)) == read("Datetime", moment) == str(moment)
    assert read("Time", str(moment.time())) == read("Time", moment.time()) == str(moment.time())


@given(st.integers(0, 10**9))
def test_lengths_of_time_are_read_back(seconds: int) -> None:
    """As Frappe's form writes them, and as clocks do."""
    (hours, minutes), rest = divmod(seconds // 60, 60), seconds % 60
    days, left = divmod(hours, 24)
    for text in (f"{days}d {left}h {minutes}m {rest}s", f"{hours}:{minutes:02}:{rest:02}", str(seconds)):
        assert read("Duration", text) == seconds


@given(st.sampled_from(KINDS), ANYTHING)
def test_a_value_is_read_as_itself(kind: str, cell: Any) -> None:
    """What a converter made is taken by it once more and stays the same: files of results can be imported again."""
    field = Field("x", fieldtype=kind)
    value = read(field, cell, child=TAG, rating="fraction", decimal=".")
    if value is not BAD and not is_blank(value):
        assert read(field, value, child=TAG, rating="fraction", decimal=".") == value


def test_evidence_and_formats_on_their_own() -> None:
    """What one number proves, and that ISO is not among what is guessed."""
    assert [evidence(text) for text in ("5", "1,234", "1,23", "1.234,5", "1,234,567")] == ["", "?", ",", ",", "."]
    assert ISO not in COMMON and detect([]) == COMMON
    assert stated("hh:mm").clock and not stated("dd.mm.yyyy").clock
