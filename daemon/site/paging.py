"""Keyset paging: each row that stays throughout is read exactly once, whatever is inserted and deleted meanwhile.

Offset paging has no such promise (frappe/erpnext#49037: rows doubled and missing), and Frappe orders nothing by itself.
A page asks for the rows beyond the last one read, in the order of a key whose last column is unique. Decides what to
ask; asking is handed in as `read`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from daemon.errors import NotFrappe

Filters = Mapping[str, Any] | Sequence[Sequence[Any]]
Condition = list[Any]
Row = dict[str, Any]
Read = Callable[[list[Condition], list[Condition], str], list[Row]]
"""(filters, or_filters, order_by) → at most one page of rows."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a key."""

    field: str
    descending: bool = False

    @classmethod
    def of(cls, text: str) -> Column:
        """Of "creation" or "creation desc"."""
        field, _, direction = text.partition(" ")
        return cls(field, direction == "desc")

    @property
    def order(self) -> str:
        return f"{self.field} {'desc' if self.descending else 'asc'}"

    def beyond(self, value: Any, *, or_equal: bool = False) -> Condition:
        return [self.field, ("<" if self.descending else ">") + ("=" if or_equal else ""), value]


def columns_of(key: Sequence[str]) -> tuple[Column, ...]:
    """The columns of `key`. Raises ValueError where its last one is not `name`, the only column that is unique."""
    columns = tuple(map(Column.of, key))
    if not columns or columns[-1].field != "name":
        raise ValueError(f"a key ends with name, which is unique: {key}")
    return columns


def conditions(filters: Filters | None) -> list[Condition]:
    """`filters` as a list of conditions: of the form {field: value}, {field: [operator, value]} or already a list."""
    if not isinstance(filters, Mapping):
        return [list(condition) for condition in filters or ()]
    return [
        [field, *value] if isinstance(value, list | tuple) else [field, "=", value] for field, value in filters.items()
    ]


def stages(columns: Sequence[Column], last: Mapping[str, Any]) -> list[tuple[list[Condition], list[Condition]]]:
    """(filters, or_filters) whose rows, one stage after the other, are those beyond `last` in the order of `columns`.

    Frappe's filters cannot say (a, b) > (A, B) in general. For the last two columns they can: `a >= A`, and one of
    `a > A`, `b > B`. Each column before those costs one stage more: all before it equal, itself beyond.
    """
    if len(columns) == 1:
        return [([columns[0].beyond(last[columns[0].field])], [])]
    *outer, first, second = columns
    a, b = last[first.field], last[second.field]
    result = [
        (
            [[column.field, "=", last[column.field]] for column in outer] + [first.beyond(a, or_equal=True)],
            [first.beyond(a), second.beyond(b)],
        )
    ]
    for depth in range(len(outer) - 1, -1, -1):
        equal = [[column.field, "=", last[column.field]] for column in outer[:depth]]
        result.append(([*equal, outer[depth].beyond(last[outer[depth].field])], []))
    return result


def pages(
    read: Read, where: list[Condition], columns: Sequence[Column], after: Mapping[str, Any] | None, page_length: int
) -> Iterator[list[Row]]:
    """Pages of rows that match `where`, beyond `after` (a row's key columns) where it is given.

    Rows whose key columns are empty have no place in the order: `where` must leave them out. Raises NotFrappe where a
    page is none: too long, without its key, or ending where the one before it ended, which would never end.
    """
    order_by = ", ".join(column.order for column in columns)
    waiting: list[tuple[list[Condition], list[Condition]]] = stages(columns, after) if after else [([], [])]
    while waiting:
        beyond, or_beyond = waiting.pop(0)
        rows = read(where + beyond, or_beyond, order_by)
        if not rows:
            continue
        reached = _key_of(rows, columns, page_length)
        if reached == after:
            raise NotFrappe(f"the site sends the rows up to {reached} again when it is asked for those behind them")
        yield rows
        after = reached
        if len(rows) >= page_length:
            waiting = stages(columns, reached)


def _key_of(rows: Sequence[Row], columns: Sequence[Column], page_length: int) -> Row:
    """The key of the last one. Raises NotFrappe where `rows` are no page."""
    if len(rows) > page_length:
        raise NotFrappe(f"the site sends {len(rows):,} rows where {page_length:,} at the most were asked for")
    if not all(isinstance(row.get("name"), str | int) for row in rows):
        raise NotFrappe("the site sends rows without a name")
    try:
        return {column.field: rows[-1][column.field] for column in columns}
    except KeyError as missing:
        raise NotFrappe(f"the site sends rows without the field {missing}, which was asked for") from None
