"""Sums and counts: a dialect for each version, and the one way that all understand."""

import secrets

import pytest

from .conftest import ADMINISTRATOR


@pytest.fixture(scope="module")
def mark(shared):
    mark = f"fd-contract-{secrets.token_hex(4)}"
    docs = [{"doctype": "ToDo", "description": f"{mark} {n}", "priority": "Low" if n < 3 else "High"} for n in range(5)]
    names = shared.call("frappe.client.insert_many", docs=docs, user=ADMINISTRATOR).value
    yield mark
    for name in names:
        shared.delete("ToDo", name, user=ADMINISTRATOR)


def grouped(site, mark, fields, **more):
    filters = [["description", "like", f"{mark}%"]]
    asked = {"fields": fields, "filters": filters, "group_by": "priority", "order_by": "priority asc"}
    return site.list("ToDo", user=ADMINISTRATOR, **{**asked, **more})


def test_count_as_text(site, mark):
    """14 and 15 know `count(name) as n`; 16 refuses every function in text."""
    reply = grouped(site, mark, ["priority", "count(name) as n"])
    if site.major >= 16:
        assert reply.status == 417
    else:
        assert reply.value == [{"priority": "High", "n": 2}, {"priority": "Low", "n": 3}]


def test_count_of_a_star_as_text_is_refused_everywhere(site, mark):
    """417, also where `count(name)` is taken."""
    assert grouped(site, mark, ["priority", "count(*) as n"]).status == 417


@pytest.mark.parametrize("function", ["max", "min"])
def test_max_and_min_as_text_are_for_15(site, mark, function):
    """14's reportview.extract_fieldname knows count, sum and avg only."""
    reply = grouped(site, mark, ["priority", f"{function}(idx) as n"])
    assert reply.status == (200 if site.major == 15 else 417)


def test_count_as_a_dict(site, mark):
    """16 only; 14 and 15 take it for a programming error."""
    for field in ({"COUNT": "name", "as": "n"}, {"COUNT": "*", "as": "n"}):
        reply = grouped(site, mark, ["priority", field], order_by="n desc")
        if site.major >= 16:
            assert reply.value == [{"priority": "Low", "n": 3}, {"priority": "High", "n": 2}]
        else:
            assert reply.status == 500


def test_reportview_speaks_the_dialect_itself(site, mark):
    """aggregate_function and aggregate_on_field: alike on all versions, as `_aggregate_column`."""
    reply = site.call(
        "frappe.desk.reportview.get_list", doctype="ToDo", fields=["priority"], group_by="priority",
        filters=[["description", "like", f"{mark}%"]], order_by="priority asc", aggregate_function="count",
        aggregate_on_doctype="ToDo", aggregate_on_field="name", user=ADMINISTRATOR,
    )  # fmt: skip
    assert reply.value == [{"priority": "High", "_aggregate_column": 2}, {"priority": "Low", "_aggregate_column": 3}]


def test_reportview_get_has_keys_and_values(site, mark):
    """reportview.py:compress."""
    reply = site.call(
        "frappe.desk.reportview.get", doctype="ToDo", fields=["description", "priority"], order_by="description asc",
        filters=[["description", "like", f"{mark}%"]], user=ADMINISTRATOR,
    )  # fmt: skip
    assert reply.value["keys"] == ["description", "priority"]
    assert reply.value["values"][0] == [f"{mark} 0", "Low"]


def test_a_function_without_group_by_is_one_row(site, mark):
    """Over all rows that match."""
    field = {"COUNT": "name", "as": "n"} if site.major >= 16 else "count(name) as n"
    reply = site.list("ToDo", fields=[field], filters=[["description", "like", f"{mark}%"]], user=ADMINISTRATOR)
    assert reply.value == [{"n": 5}]


@pytest.mark.parametrize("field", ["concat(name, owner) as x", "ifnull(name, 1)"])
def test_other_functions_are_refused(site, mark, field):
    """concat, ifnull and others: 417."""
    assert site.list("ToDo", fields=[field]).status == 417
