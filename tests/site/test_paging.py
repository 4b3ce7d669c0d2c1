"""Keyset paging over a table that changes between any two pages."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.errors import NotFrappe
from daemon.site.paging import Condition, Row, columns_of, conditions, pages, stages

KEYS = [
    ("name",),
    ("creation", "name"),
    ("creation desc", "name desc"),
    ("a", "creation", "name"),
    ("a", "b", "creation desc", "name desc"),
    ("a desc", "b", "creation", "name desc"),
]


def holds(row: Row, condition: Condition) -> bool:
    field, operator, value = condition
    own = row[field]
    answers = {"=": own == value, "<": own < value, "<=": own <= value, ">": own > value, ">=": own >= value}
    return bool(answers[operator])


class Table:
    """Rows, and what the site would answer: filters all, or_filters any, in the order asked for, one page at most.

    Before each answer it may change: rows that are not `steady` go, and others come.
    """

    def __init__(self, rows: list[Row], page_length: int, chance: random.Random | None = None) -> None:
        self.rows, self.page_length, self._chance = list(rows), page_length, chance
        self.steady = {row["name"] for row in rows if not chance or chance.random() < 0.7}
        self.deleted: set[str] = set()
        self.reads: list[tuple[list[Condition], list[Condition], str]] = []

    def read(self, where: list[Condition], one_of: list[Condition], order_by: str) -> list[Row]:
        if self._chance:
            self._change(self._chance)
        self.reads.append((where, one_of, order_by))
        found = [row for row in self.rows if all(holds(row, condition) for condition in where)]
        found = [row for row in found if not one_of or any(holds(row, condition) for condition in one_of)]
        for column in reversed(order_by.split(", ")):
            field, direction = column.split(" ")
            found.sort(key=lambda row: row[field], reverse=direction == "desc")
        return found[: self.page_length]

    def _change(self, chance: random.Random) -> None:
        for row in list(self.rows):
            if row["name"] not in self.steady and chance.random() < 0.3:
                self.rows.remove(row)
                self.deleted.add(row["name"])
        for _ in range(chance.randrange(4)):
            taken = {row["name"] for row in self.rows} | self.deleted
            name = f"{chance.randrange(1000):03}"
            if name not in taken:
                self.rows.append({"name": name, **{field: chance.randrange(3) for field in ("a", "b", "creation")}})


@st.composite
def rows(draw: st.DrawFn) -> list[Row]:
    value = st.integers(0, 2)
    names = draw(st.lists(st.integers(0, 999), unique=True, max_size=20))
    return [{"name": f"{name:03}", "a": draw(value), "b": draw(value), "creation": draw(value)} for name in names]


def names_of(found: Any) -> list[str]:
    return [row["name"] for page in found for row in page]


LENGTHS = st.integers(1, 5)


@given(rows(), st.sampled_from(KEYS), LENGTHS, st.randoms(use_true_random=False))
def test_each_row_that_stays_is_read_exactly_once(
    table: list[Row], key: tuple[str, ...], page_length: int, chance: random.Random
) -> None:
    """Whatever is inserted and deleted between the pages; and no row at all is read twice."""
    changing = Table(table, page_length, chance)
    read = names_of(pages(changing.read, [], columns_of(key), None, page_length))
    assert len(read) == len(set(read))
    assert changing.steady <= set(read)


@given(rows(), st.sampled_from(KEYS), LENGTHS)
def test_rows_come_in_the_order_of_the_key(table: list[Row], key: tuple[str, ...], page_length: int) -> None:
    """On a table at rest the pages together are the table, sorted."""
    still = Table(table, page_length)
    whole = Table(table, 10**6).read([], [], ", ".join(column.order for column in columns_of(key)))
    got = list(pages(still.read, [], columns_of(key), None, page_length))
    assert names_of(got) == [row["name"] for row in whole]
    assert all(0 < len(page) <= page_length for page in got)


@given(rows().filter(bool), st.sampled_from(KEYS), LENGTHS, st.data())
def test_reading_goes_on_behind_any_row(
    table: list[Row], key: tuple[str, ...], page_length: int, data: st.DataObject
) -> None:
    """`after` a row, its key columns alone, also when that row is no longer there."""
    columns = columns_of(key)
    whole = names_of(pages(Table(table, page_length).read, [], columns, None, page_length))
    last = data.draw(st.sampled_from(table))
    left = [row for row in table if row is not last or data.draw(st.booleans())]
    after = {column.field: last[column.field] for column in columns}
    rest = names_of(pages(Table(left, page_length).read, [], columns, after, page_length))
    assert rest == whole[whole.index(last["name"]) + 1 :]


@given(rows(), st.sampled_from(KEYS), LENGTHS, st.integers(0, 2))
def test_the_caller_s_filters_hold_on_every_page(
    table: list[Row], key: tuple[str, ...], page_length: int, value: int
) -> None:
    """They stand before the key's own conditions in each request."""
    asked = Table(table, page_length)
    read = names_of(pages(asked.read, [["a", "=", value]], columns_of(key), None, page_length))
    assert sorted(read) == sorted(row["name"] for row in table if row["a"] == value)
    assert all(where[0] == ["a", "=", value] for where, _, _ in asked.reads)


def test_a_request_is_made_only_when_its_page_is_wanted() -> None:
    """Work on a batch is done before the next one is read: memory is one page."""
    table = Table([{"name": f"{number:03}"} for number in range(10)], 3)
    reading = pages(table.read, [], columns_of(("name",)), None, 3)
    next(reading)
    assert len(table.reads) == 1
    next(reading)
    assert len(table.reads) == 2 and table.reads[1] == ([["name", ">", "002"]], [], "name asc")


def test_a_short_page_is_the_last_one() -> None:
    """With one or two columns no further request is made to find nothing."""
    table = Table([{"name": f"{number:03}", "creation": 0} for number in range(5)], 3)
    assert len(list(pages(table.read, [], columns_of(("creation", "name")), None, 3))) == len(table.reads) == 2


def test_two_columns_are_one_condition_that_any_version_takes() -> None:
    """a ≥ A, and one of a > A, b > B: Frappe has no row comparison and v1 no nested filters."""
    last = {"creation": "2026-01-01", "name": "X"}
    assert stages(columns_of(("creation", "name")), last) == [
        ([["creation", ">=", "2026-01-01"]], [["creation", ">", "2026-01-01"], ["name", ">", "X"]])
    ]


@pytest.mark.parametrize("key", [(), ("creation",), ("name", "creation"), ("creation", "owner desc")])
def test_a_key_that_is_not_unique_is_refused(key: tuple[str, ...]) -> None:
    """Rows that share it would be lost at the edge of a page."""
    with pytest.raises(ValueError, match="ends with name"):
        columns_of(key)


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (None, []),
        ({}, []),
        ({"a": 1, "b": [">", 2], "c": ("in", [3])}, [["a", "=", 1], ["b", ">", 2], ["c", "in", [3]]]),
        ([("a", "=", 1), ["X", "b", "<", 2]], [["a", "=", 1], ["X", "b", "<", 2]]),
    ],
)
def test_filters_of_every_form_become_conditions(filters: Any, expected: list[Condition]) -> None:
    """As frappe-client's callers write them."""
    assert conditions(filters) == expected


@pytest.mark.parametrize(
    ("replies", "says"),
    [
        ([[{"name": "a"}, {"name": "b"}]] * 2, "again"),
        ([[{"name": "a"}, {"name": "b"}, {"name": "c"}]], "at the most"),
        ([[{"name": "a"}, {"title": "b"}]], "without a name"),
    ],
)
def test_a_list_that_would_never_end_is_told(replies: list[list[Row]], says: str) -> None:
    """A server that ignores filters, limits or fields is no Frappe, and no endless loop."""
    answers = iter(replies)
    with pytest.raises(NotFrappe, match=says):
        for _ in pages(lambda *_: next(answers), [], columns_of(["name"]), None, 2):
            pass
