"""Figures of digests: what the site adds up is what its rows add up to, in the dialect of its version."""

from __future__ import annotations

from decimal import Decimal
from types import SimpleNamespace

import pytest

from daemon.core.plan import Tally
from daemon.jobs._digest.figures import FigureReader, ListSettings, MetricSettings, TableSettings
from daemon.site.dialect import Dialect

from .conftest import CLERK, MANAGER

AMOUNTS = ("0.1", "0.2", "19.95", "100000.33", "0")


@pytest.fixture
def payments(site, mark):
    """A DocType of one's own, called as the mark, with five documents."""
    rights = [{"role": "System Manager", "read": 1, "write": 1, "create": 1, "delete": 1}]
    fields = [
        {"fieldname": "of", "label": "Of", "fieldtype": "Data"},
        {"fieldname": "amount", "label": "Amount", "fieldtype": "Currency"},
    ]
    facts = {"module": "Custom", "custom": 1, "naming_rule": "Random", "autoname": "hash"}
    site.make("DocType", name=mark, fields=fields, permissions=rights, **facts)
    for number, amount in enumerate(AMOUNTS):
        site.make(mark, of=f"{mark} {number % 2}", amount=float(amount))
    return mark


def reader(client) -> FigureReader:
    run = SimpleNamespace(site=client, check=lambda: None)
    return FigureReader(run.site, run.check, Tally("x"), lambda text: None, compare=False)


def metric(function: str, doctype: str, filters=()):
    asked = {"label": function, "doctype": doctype, "function": function, "filters": list(filters), "period": "any"}
    return MetricSettings(**(asked | ({"field": "amount"} if function != "count" else {})))


def test_figures_are_what_the_rows_add_up_to(client, payments, monkeypatch):
    """Count, sum, average, least and most: the same whether the site or we do it."""
    wanted = [metric(function, payments) for function in ("count", "sum", "average", "min", "max")]
    amounts = list(map(Decimal, AMOUNTS))
    for _ in range(2):
        found = [figure.value for figure in reader(client).all(wanted, [], [], "last week").metrics]
        assert found[:2] == [5, sum(amounts)] and found[3:] == [min(amounts), max(amounts)]
        assert abs(found[2] - sum(amounts) / 5) < Decimal("0.000001")
        monkeypatch.setattr(Dialect, "aggregate", lambda self, function, field, alias: f"nonsense({field}) as {alias}")


def test_nothing_adds_up_to_nothing(client, payments):
    """A sum of no rows is 0, as COALESCE makes it; the average, least and most of none are none."""
    none = [["of", "=", "nobody"]]
    wanted = [metric(function, payments, none) for function in ("count", "sum", "average", "max")]
    found = reader(client).all(wanted, [], [], "last week").metrics
    assert [figure.value for figure in found] == [0, 0, None, None] and not any(figure.problem for figure in found)


def test_groups_of_documents(client, payments, monkeypatch):
    """Largest first, shown by another field, and whether there are more; also where we add up."""
    amount = {"label": "Amount", "field": "amount"}
    asked = {"label": "x", "doctype": payments, "group_by": "of", "show": "of"}
    table = TableSettings(**asked, measures=[amount, {**amount, "function": "average"}], limit=1, period="any")
    for _ in range(2):
        (found,) = reader(client).all([], [table], [], "last week").tables
        assert [(name, numbers[0]) for name, numbers, _ in found.rows] == [(f"{payments} 1", Decimal("100000.53"))]
        assert found.more and not found.problem and found.columns[0].money
        monkeypatch.setattr(Dialect, "aggregate", lambda self, function, field, alias: f"nonsense({field}) as {alias}")


def test_groups_of_child_rows(client, monkeypatch):
    """By a column of the child table, from the side of its documents, whose fields filter; also where we add up."""
    asked = {"label": "x", "doctype": "User", "child": "Has Role", "group_by": "role", "period": "any", "limit": 200}
    people = [["name", "in", [MANAGER, CLERK]]]
    table = TableSettings(**asked, measures=[{"label": "n", "field": "idx"}], filters=people)
    rows = client.get_list("Has Role", ["role", "idx"], [["parent", "in", [MANAGER, CLERK]]], parent="User")
    sums: dict[str, int] = {}
    for row in rows:
        sums[row["role"]] = sums.get(row["role"], 0) + row["idx"]
    assert len(sums) > 2
    for _ in range(2):
        (found,) = reader(client).all([], [table], [], "last week").tables
        assert not found.problem and not found.more
        assert {name: int(numbers[0]) for name, numbers, _ in found.rows} == sums
        assert [numbers[0] for _, numbers, _ in found.rows] == sorted(sums.values(), reverse=True)
        monkeypatch.setattr(Dialect, "aggregate", lambda self, function, field, alias: f"nonsense({field}) as {alias}")


def test_a_list_of_documents(client, payments):
    """In order, with its links, and how many there are in all."""
    asked = {"label": "x", "doctype": payments, "fields": ["name", "amount", "creation"]}
    (found,) = reader(client).all([], [], [ListSettings(**asked, limit=2, order_by="amount desc")], "last week").lists
    assert [cells[1] for _, cells, _ in found.rows] == [Decimal("100000.33"), Decimal("19.95")]
    assert (found.total, [kind for _, kind in found.columns]) == (5, ["text", "money", "datetime"])
    assert found.rows[0][0] == f"{client.url}{client.dialect.desk}/{payments}/{found.rows[0][1][0]}"
