"""Figures: what may be asked of a field, sums made row by row, and changes against a period before. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, localcontext
from typing import Any, Literal

Function = Literal["count", "sum", "average", "min", "max"]
NUMBERS = frozenset({"Currency", "Float", "Int", "Long Int", "Percent", "Check", "Duration", "Rating"})
"""Field types whose values can be added up."""
SQL = {"count": "count", "sum": "sum", "average": "avg", "min": "min", "max": "max"}
"""Function → its name in the site's dialect."""


def decimal_of(value: Any) -> Decimal:
    """A number of a reply, which is text to begin with: 0.1 is 0.1. Raises ValueError for what is none."""
    try:
        found = Decimal(str(value if value is not None else 0))
    except ArithmeticError:
        found = Decimal("NaN")
    if not found.is_finite():
        raise ValueError(f"{str(value)[:40]!r} is no number")
    return found


@dataclass(slots=True)
class Sum:
    """What rows add up to, in Decimal, one by one."""

    count: int = 0
    total: Decimal = Decimal(0)
    least: Decimal | None = None
    most: Decimal | None = None

    def add(self, value: Any) -> None:
        """None is nothing, as it is to the site's database: no part of an average, no least."""
        if value is None:
            return
        number = decimal_of(value)
        with localcontext(prec=60):
            self.total += number
        self.count += 1
        self.least = number if self.least is None else min(self.least, number)
        self.most = number if self.most is None else max(self.most, number)

    def result(self, function: Function) -> Decimal | None:
        """None: the least, most or average of nothing."""
        if function == "count":
            return Decimal(self.count)
        if function == "sum":
            return self.total
        if function == "average":
            return self.total / self.count if self.count else None
        return self.least if function == "min" else self.most


@dataclass(slots=True)
class Group:
    """Rows with the same value of a field: what they are shown as, and their sums."""

    shown: str = ""
    sums: dict[str, Sum] = field(default_factory=dict)


@dataclass(slots=True)
class Groups:
    """Sums by group, of rows that come one by one."""

    fields: tuple[str, ...]
    groups: dict[str, Group] = field(default_factory=dict)

    def add(self, key: Any, shown: Any, values: Mapping[str, Any]) -> None:
        group = self.groups.setdefault("" if key is None else str(key), Group())
        group.shown = group.shown or str(shown or "")
        for name in self.fields:
            group.sums.setdefault(name, Sum()).add(values.get(name))

    def top(self, number: int, by: str, functions: Mapping[str, Function]) -> Iterable[tuple[str, Group]]:
        """The `number` groups with the largest `by`; of equal ones, by name."""

        def rank(item: tuple[str, Group]) -> tuple[Decimal, str]:
            return -(item[1].sums[by].result(functions[by]) or Decimal(0)), item[0]

        return sorted(self.groups.items(), key=rank)[:number]


def change(value: Decimal | None, before: Decimal | None) -> Decimal | None:
    """By what share `value` is more than `before`: 0.25 for a quarter more; None where there is no such share."""
    if value is None or before is None or before <= 0 or value < 0:
        return None
    with localcontext(prec=30):
        return abs(value - before) / abs(before)


def mood(value: Decimal | None, before: Decimal | None, better: str) -> str:
    """ "up" for a change to the better, "down" to the worse, "" for none, or where nobody says which is which."""
    if value is None or before is None or value == before or better == "neither":
        return ""
    return "up" if (value > before) == (better == "more") else "down"


def shares(values: Iterable[Decimal]) -> list[float]:
    """Lengths of bars, 0 to 1: of the largest. What is negative has none."""
    found = [max(value, Decimal(0)) for value in values]
    most = max(found, default=Decimal(0))
    return [float(value / most) if most else 0.0 for value in found]
