"""Which rows go: the sieve against an oracle that sees the whole table at once."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.core.retention import Rule, Sieve, resume_key
from daemon.site.paging import columns_of, pages

Row = dict[str, Any]
NOW = datetime(2026, 6, 1, 12)  # noqa: DTZ001 (the site's own time)
OLD = timedelta(days=30)
MOMENTS = [NOW + timedelta(days=days, microseconds=us) for days in (-400, -31, -30, -29, 0, 9) for us in (0, 1, 500000)]


def text(moment: datetime) -> str:
    """As the site writes it: no fraction where it is zero."""
    return moment.isoformat(" ")


@st.composite
def tables(draw: st.DrawFn) -> list[Row]:
    columns = st.tuples(st.sampled_from(MOMENTS), st.sampled_from("ab"), st.sampled_from("xy"))
    rows = draw(st.lists(columns, max_size=25))
    names = draw(st.permutations(range(len(rows))))
    return [
        {"name": f"N{name:02}", "creation": text(moment), "kind": kind, "of": of}
        for name, (moment, kind, of) in zip(names, rows, strict=True)
    ]


@st.composite
def rules(draw: st.DrawFn) -> Rule:
    keep = draw(st.integers(0, 4))
    age = draw(st.just(OLD) | st.none()) if keep else OLD
    cutoff = (NOW - OLD).isoformat(" ", "microseconds") if age else ""
    group_by = draw(st.sampled_from([(), ("kind",), ("kind", "of")])) if keep else ()
    return Rule("X", "creation", age, cutoff, (), keep, group_by)


def in_order(rule: Rule, table: Iterable[Row]) -> list[Row]:
    rows = list(table)
    for column in reversed(columns_of(rule.key)):
        rows.sort(key=lambda row: row[column.field], reverse=column.descending)
    return rows


def gone(rule: Rule, table: Iterable[Row]) -> set[str]:
    sieve = Sieve(rule)
    return {row["name"] for row in in_order(rule, table) if sieve.verdict(row).goes}


def oracle(rule: Rule, table: list[Row]) -> set[str]:
    """Names of the rows that are older than the age and have enough newer ones in their group."""

    def newer(row: Row) -> int:
        group = [other for other in table if all(other[field] == row[field] for field in rule.group_by)]
        return sum((other["creation"], other["name"]) > (row["creation"], row["name"]) for other in group)

    return {
        row["name"]
        for row in table
        if (not rule.cutoff or datetime.fromisoformat(row["creation"]) < datetime.fromisoformat(rule.cutoff))
        and newer(row) >= rule.keep_latest
    }


@given(rules(), tables())
def test_exactly_the_old_surplus_rows_go(rule: Rule, table: list[Row]) -> None:
    """Older than the cutoff to the microsecond, and not among the newest of their group; each other row stays."""
    assert gone(rule, table) == oracle(rule, table)


@given(rules(), tables())
def test_the_newest_and_the_future_stay(rule: Rule, table: list[Row]) -> None:
    """Whatever else, the newest N of each group are left, and with an age no row that is dated ahead goes."""
    left = [row for row in table if row["name"] not in gone(rule, table)]
    for group in {tuple(row[field] for field in rule.group_by) for row in table}:
        own = [row for row in table if tuple(row[field] for field in rule.group_by) == group]
        newest = sorted(own, key=lambda row: (row["creation"], row["name"]), reverse=True)[: rule.keep_latest]
        assert all(row in left for row in newest)
    if rule.cutoff:
        assert all(row in left for row in table if row["creation"] > text(NOW))


@given(rules(), tables())
def test_a_second_run_finds_nothing(rule: Rule, table: list[Row]) -> None:
    """What is left is what the rule leaves."""
    assert gone(rule, [row for row in table if row["name"] not in gone(rule, table)]) == set()


@given(rules(), tables(), st.integers(0, 25))
def test_a_run_that_was_cut_short_is_continued(rule: Rule, table: list[Row], stop: int) -> None:
    """Rows deleted before the stop and those found from `resume_key` on are together exactly the oracle's."""
    rows, sieve = in_order(rule, table)[:stop], Sieve(rule)
    first = {row["name"] for row in rows if sieve.verdict(row).goes}
    left = [row for row in table if row["name"] not in first]
    second = gone(rule, beyond(rule, left, rows[-1]) if rows else left)
    assert first | second == oracle(rule, table) and not first & second


def beyond(rule: Rule, table: list[Row], last: Row) -> list[Row]:
    """What paging reads from where the run before ended."""

    def holds(row: Row, condition: list[Any]) -> bool:
        field, operator, value = condition
        own = row[field]
        return {"=": own == value, "<": own < value, "<=": own <= value, ">": own > value, ">=": own >= value}[operator]

    def read(where: list[Any], one_of: list[Any], _order: str) -> list[Row]:
        found = [row for row in table if all(holds(row, condition) for condition in where)]
        return in_order(rule, (row for row in found if not one_of or any(holds(row, one) for one in one_of)))

    return [row for page in pages(read, [], columns_of(rule.key), resume_key(rule, last), 10**6) for row in page]


@pytest.mark.parametrize("value", [None, ""])
def test_a_row_without_a_date_is_not_old(value: str | None) -> None:
    """Nobody can say how old it is."""
    verdict = Sieve(Rule("X", older_than=OLD, cutoff=text(NOW))).verdict({"name": "N", "creation": value})
    assert not verdict.goes and verdict.why == "kept: not older than 30d"


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        (Rule("X", older_than=OLD, cutoff="c"), "older than 30d"),
        (Rule("X", filters=(("a", "=", 1),)), "matches the filters"),
        (Rule("X", keep_latest=5), "not among the newest 5"),
        (
            Rule("X", older_than=OLD, cutoff="c", keep_latest=5, group_by=("a", "b")),
            "older than 30d and not among the newest 5 of its a, b",
        ),
    ],
)
def test_a_rule_says_why_a_row_goes(rule: Rule, why: str) -> None:
    """In the words of the configuration."""
    assert rule.why == why


def test_what_is_read_is_narrowed_as_far_as_the_rule_allows() -> None:
    """The young are looked at only where they count towards the newest; rows without a group are never candidates."""
    status = ("status", "=", "Sent")
    plain = Rule("X", older_than=OLD, cutoff="2026", filters=(status,))
    assert plain.scanned == plain.candidates == [status, ["creation", "<", "2026"]]
    kept = Rule("X", older_than=OLD, cutoff="2026", filters=(status,), keep_latest=2, group_by=("a",))
    assert kept.scanned == [status, ["a", "is", "set"], ["creation", "is", "set"]]
    assert kept.candidates == [status, ["a", "is", "set"], ["creation", "<", "2026"]]
    assert plain.within("2027") == [status, ["creation", "<", "2027"]]


@pytest.mark.parametrize(
    ("rule", "days"),
    [
        (Rule("X", older_than=timedelta(days=30)), 30),
        (Rule("X", "modified", timedelta(weeks=2)), 14),
        (Rule("X", older_than=timedelta(hours=36)), None),
        (Rule("X", older_than=timedelta(hours=6)), None),
        (Rule("X", "posting_date", OLD), None),
        (Rule("X", older_than=OLD, keep_latest=1), None),
        (Rule("X", older_than=OLD, filters=(("a", "=", 1),)), None),
        (Rule("X", keep_latest=1), None),
    ],
)
def test_log_settings_can_say_only_whole_days(rule: Rule, days: int | None) -> None:
    """A rule that it would say differently is not given to it."""
    assert rule.server_days() == days
