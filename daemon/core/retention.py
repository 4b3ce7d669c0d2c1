"""Which rows of a DocType may go, and why each stays or goes. Reads and writes nothing.

A row goes when it matches the rule's filters, is older than the rule's age and is not among the newest of its group.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from daemon.core.duration import format_duration

Condition = Sequence[Any]


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule, with its age turned into the site's own time."""

    doctype: str
    date_field: str = "creation"
    older_than: timedelta | None = None
    cutoff: str = ""
    """The moment `older_than` ago, as the site's naive datetime; "" where the rule has no age."""
    filters: tuple[Condition, ...] = ()
    keep_latest: int = 0
    """Newest rows of each group that stay, whatever their age. 0: none."""
    group_by: tuple[str, ...] = ()

    @property
    def age_only(self) -> bool:
        return self.older_than is not None and not self.filters and not self.keep_latest

    @property
    def candidates(self) -> list[Condition]:
        """Filters that match every row that may go; with `keep_latest` some of them stay."""
        aged = [*self.dated, [self.date_field, "<", self.cutoff]] if self.cutoff else []
        return [*self.filters, *self.grouped, *aged]

    @property
    def dated(self) -> list[Condition]:
        """Frappe takes an empty field for less than anything (model/db_query.py), but no date is no age."""
        return [] if self.date_field in ("creation", "modified") else [[self.date_field, "is", "set"]]

    def within(self, slack: str) -> list[Condition]:
        """Filters that match every row older than `slack`, another moment of the site."""
        return [*self.filters, [self.date_field, "<", slack]]

    @property
    def dates(self) -> tuple[str, ...]:
        """Fields of the DocType that must be dates: Frappe compares others as text, and writes `between` and
        `timespan` on them into SQL that swallows the next condition (seen on version 15)."""
        ranged = [
            condition[-3]
            for condition in self.filters
            if condition[-2] in ("between", "timespan") and (len(condition) == 3 or condition[0] == self.doctype)
        ]
        counted = bool(self.cutoff or self.older_than or self.keep_latest)
        return tuple(dict.fromkeys((*([self.date_field] if counted else []), *ranged)))

    @property
    def joins(self) -> bool:
        """A filter is about child rows, so that lists and counts repeat a document for each of them."""
        return any(len(condition) == 4 and condition[0] != self.doctype for condition in self.filters)

    @property
    def grouped(self) -> list[Condition]:
        """A row that belongs to no group cannot be told to be old news of it, so it stays."""
        return [[field, "is", "set"] for field in self.group_by]

    @property
    def scanned(self) -> list[Condition]:
        """Filters of the rows that must be looked at: with `keep_latest` the young ones are counted, too."""
        return [*self.filters, *self.grouped, [self.date_field, "is", "set"]] if self.keep_latest else self.candidates

    @property
    def key(self) -> tuple[str, ...]:
        """The order in which rows are read: oldest first, or group by group with the newest first."""
        if self.keep_latest:
            return (*self.group_by, f"{self.date_field} desc", "name desc")
        return ("name",) if self.date_field == "name" else (self.date_field, "name")

    @property
    def why(self) -> str:
        """Why a row goes."""
        reasons = []
        if self.older_than is not None:
            reasons.append(f"older than {format_duration(self.older_than)}")
        if self.keep_latest:
            reasons.append(f"not among the newest {self.keep_latest}{self._of_group}")
        return " and ".join(reasons) or "matches the filters"

    @property
    def _of_group(self) -> str:
        return f" of its {', '.join(self.group_by)}" if self.group_by else ""

    def server_days(self) -> int | None:
        """The whole days of Log Settings that mean the same as this rule, or None where they cannot."""
        if not self.age_only or self.older_than is None or self.date_field not in ("creation", "modified"):
            return None
        days, rest = divmod(self.older_than, timedelta(days=1))
        return days if days >= 1 and not rest else None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of one row."""

    goes: bool
    why: str


class Sieve:
    """Judges rows that come in the order of `rule.key`, remembering no more than where it is in the current group."""

    def __init__(self, rule: Rule) -> None:
        self._rule = rule
        self._cutoff = rule.cutoff.removesuffix(".000000")  # as the site writes a whole second, so that text compares
        self._group: tuple[Any, ...] | None = None
        self._rank = 0
        self._last: Any = None

    def repeats(self, row: Mapping[str, Any]) -> bool:
        """`row` is the one before it once more: a condition on child rows repeats a document for each of them, side by
        side, since every key ends in its name. To be asked before `verdict`, once for each row."""
        last, self._last = self._last, row["name"]
        return bool(last == row["name"])

    def verdict(self, row: Mapping[str, Any]) -> Verdict:
        """Whether `row` goes. Two spellings of a group that the site's collation holds equal count as two groups, which
        keeps more than asked, never less."""
        rule = self._rule
        if rule.keep_latest:
            group = tuple(row[field] for field in rule.group_by)
            self._rank = self._rank + 1 if group == self._group else 1
            self._group = group
            if self._rank <= rule.keep_latest:
                return Verdict(False, f"kept: among the newest {rule.keep_latest}{rule._of_group}")
        if self._cutoff and not (row.get(rule.date_field) and str(row[rule.date_field]) < self._cutoff):
            return Verdict(False, f"kept: not older than {format_duration(rule.older_than or timedelta(0))}")
        return Verdict(True, rule.why)


def resume_key(rule: Rule, row: Mapping[str, Any]) -> dict[str, Any]:
    """Where the next run goes on after `row`: the row itself, or with `keep_latest` the beginning of its group."""
    if not rule.keep_latest:
        return {field: row[field] for field in rule.key}
    start = {field: row[field] for field in rule.group_by}
    return start | {rule.date_field: "9999-12-31 23:59:59", "name": ""}
