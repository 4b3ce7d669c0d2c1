"""Fields of both sides in one form, and what is sent of them."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from daemon.core.doctype import DocType, Field
from daemon.core.mapping import BadValue, FieldMap, Fields, compiled, split
from daemon.core.settings import NamedFunction

ITEM = DocType("Order Item", istable=True, fields=(
    Field(fieldname="item_code", fieldtype="Link"), Field(fieldname="qty", fieldtype="Float"),
    Field(fieldname="rate", fieldtype="Currency"), Field(fieldname="warehouse")))  # fmt: skip
ORDER = DocType("Order", children={"items": ITEM}, fields=(
    Field(fieldname="customer", fieldtype="Link"), Field(fieldname="total", fieldtype="Currency"),
    Field(fieldname="count", fieldtype="Int"), Field(fieldname="paid", fieldtype="Check"),
    Field(fieldname="due", fieldtype="Date"), Field(fieldname="sent", fieldtype="Datetime"),
    Field(fieldname="at", fieldtype="Time"), Field(fieldname="state"),
    Field(fieldname="items", fieldtype="Table", options="Order Item")))  # fmt: skip
BERLIN = ZoneInfo("Europe/Berlin")


def fields(*maps: dict[str, Any]) -> Fields:
    return compiled([FieldMap.model_validate(each) for each in maps], ORDER, BERLIN)


ROWS = {"site": "items", "remote": "lines", "key": "item_code", "rows": [
    {"site": "item_code", "remote": "sku"}, {"site": "qty", "remote": "qty"},
    {"site": "rate", "remote": "price.net"}]}  # fmt: skip


@pytest.mark.parametrize(("field", "spec", "site", "remote"), [
    ("total", {}, 12.5, Decimal("12.50")), ("total", {}, 0.0, None), ("total", {}, 0.1 + 0.2, Decimal("0.3")),
    ("total", {"precision": 2}, 1.005001, "1.01"), ("count", {}, 3, "3"), ("paid", {}, 1, True), ("paid", {}, 0, "no"),
    ("due", {}, "2026-01-31", "2026-01-31"), ("due", {}, "2026-02-01", "2026-01-31T23:30:00Z"),
    ("due", {"format": "%d.%m.%Y"}, "2026-01-31", "31.01.2026"),
    ("sent", {}, "2026-07-01 12:00:00", "2026-07-01T10:00:00Z"),
    ("sent", {"format": "epoch"}, "1970-01-01 01:00:00", 0),
    ("sent", {"format": "epoch-ms"}, "1970-01-01 01:00:01.500000", 1500),
    ("sent", {"zone": "Asia/Tokyo"}, "2026-01-01 00:00:00", "2026-01-01T08:00:00"),
    ("at", {}, "8:05:00", "08:05"), ("state", {}, "", None), ("state", {}, "7", 7),
    ("state", {"values": {"open": "To Deliver"}}, "To Deliver", "open"),
])  # fmt: skip
def test_what_means_the_same_compares_as_the_same(field, spec, site, remote) -> None:
    """However either side writes it."""
    found = fields({"site": field, "remote": "x", **spec})
    assert found.of_site({field: site}) == found.of_remote({"x": remote})


@pytest.mark.parametrize(("field", "spec", "value", "said"), [
    ("total", {}, "a lot", "x is 'a lot' at the remote, expected a number"),
    ("total", {}, float("nan"), "expected a number"),
    ("total", {}, [1], "expected a number"), ("count", {}, 1.5, "a whole number"),
    ("paid", {}, "maybe", "true or false"),
    ("due", {}, "31.1.2026", "a time as"), ("sent", {"format": "epoch"}, "soon", "a time as epoch"),
    ("due", {}, "2026-02-30", "a date as"), ("at", {}, "noon", "a time of day"),
    ("state", {}, {"a": 1}, "expected text"),
    ("state", {"values": {"open": "To Deliver"}}, "closed", "one of open, which values lists"),
])  # fmt: skip
def test_a_value_that_the_site_could_not_hold_is_named(field, spec, value, said) -> None:
    """With its field and what was expected."""
    with pytest.raises(BadValue, match=said):
        fields({"site": field, "remote": "x", **spec}).of_remote({"x": value})


@given(st.decimals(min_value=-(10**9), max_value=10**9, places=6), st.integers(-(10**12), 10**12),
       st.datetimes(datetime.fromisoformat("1971-01-01"), datetime.fromisoformat("2099-01-01")))  # fmt: skip
def test_what_is_sent_reads_as_what_was_meant(total, count, sent) -> None:
    """A canonical text, written for either side, is read as the same text; but for the hour that a zone repeats."""
    found = fields({"site": "total", "remote": "t"}, {"site": "count", "remote": "c"},
                   {"site": "sent", "remote": "s", "zone": "America/New_York"})  # fmt: skip
    flat = found.of_remote({"t": total, "c": count, "s": sent.isoformat()})
    record = found.record_changes(flat, [], None, {}, whole=False)
    assert found.of_remote(record) == flat
    doc = found.document_changes(flat, [], {})
    back = found.of_site(doc)
    assert {**back, "sent": ""} == {**flat, "sent": ""}
    assert back["sent"] == flat["sent"] or doc["sent"][5:7] in ("09", "10")


def test_rows_are_told_apart_by_their_key_and_not_by_their_place() -> None:
    """Two rows of one item stay two."""
    found = fields(ROWS)
    rows = [
        {"item_code": "A", "qty": 1.0, "rate": 2},
        {"item_code": "B", "qty": 1.0, "rate": 2},
        {"item_code": "A", "qty": 5.0, "rate": 2},
    ]
    flat = found.of_site({"items": rows})
    assert flat["items[A].qty"] == "1" and flat["items[A#2].qty"] == "5" and flat["items[B]"] == "+"
    lines = [
        {"sku": "B", "qty": 1, "price": {"net": 2}},
        {"sku": "A", "qty": 1, "price": {"net": 2}},
        {"sku": "A", "qty": "5", "price": {"net": 2}},
    ]
    assert found.of_remote({"lines": lines}) == flat


def test_a_table_is_sent_with_all_that_its_rows_hold() -> None:
    """What the mapping does not know stays in each row, and a row that stays keeps its name."""
    doc = {
        "items": [
            {"name": "r1", "item_code": "A", "qty": 1.0, "rate": 2.0, "warehouse": "W"},
            {"name": "r2", "item_code": "B", "qty": 1.0, "rate": 2.0},
        ]
    }
    sent = fields(ROWS).document_changes(
        {"items[A].qty": "3", "items[C]": "+", "items[C].item_code": "C", "items[C].qty": "1"}, ["items[B]"], doc
    )
    assert sent == {
        "items": [
            {"name": "r1", "item_code": "A", "qty": 3, "rate": 2.0, "warehouse": "W"},
            {"item_code": "C", "qty": 1},
        ]
    }


def test_a_put_keeps_what_the_mapping_does_not_know() -> None:
    """An API whose PUT replaces is sent the whole record as it was read, overlaid."""
    record = {"id": 7, "note": "x", "lines": [{"sku": "A", "qty": 1, "tax": 19}]}
    found = fields(ROWS, {"site": "customer", "remote": "customer.id"})
    sent = found.record_changes({"items[A].qty": "2.5", "customer": "Acme"}, [], record, {}, whole=True)
    assert sent == {
        "id": 7,
        "note": "x",
        "customer": {"id": "Acme"},
        "lines": [{"sku": "A", "qty": Decimal("2.5"), "tax": 19}],
    }
    assert record["lines"][0]["qty"] == 1


def test_a_twin_is_made_with_constants_and_with_what_is_given_once() -> None:
    """A field that is given on creation alone is not compared afterwards."""
    found = fields(ROWS, {"site": "customer", "remote": "customer"}, {"site": "state", "constant": "New"},
                   {"remote": "shop", "constant": "erp"},
                   {"site": "due", "remote": "made", "on_create": True})  # fmt: skip
    record = {
        "customer": "Acme",
        "made": "2026-01-31",
        "lines": [{"sku": "A", "qty": 1, "price": {"net": Decimal("2.50")}}],
    }
    doc = found.new_document(record)
    assert doc == {
        "state": "New",
        "customer": "Acme",
        "due": "2026-01-31",
        "items": [{"item_code": "A", "qty": 1, "rate": Decimal("2.5")}],
    }
    assert found.new_record(doc) == {
        "shop": "erp",
        "customer": "Acme",
        "made": "2026-01-31",
        "lines": [{"sku": "A", "qty": 1, "price": {"net": Decimal("2.5")}}],
    }
    assert "due" not in found.of_site(doc)


def test_functions_say_what_a_mapping_cannot() -> None:
    """With the value and all that is around it; both sides are compared as the site has it, rows too."""
    there = NamedFunction("m:there", lambda value, _: str(value).removeprefix("N-"))
    back = NamedFunction("m:back", lambda value, record: f"N-{value}" if record else value)
    found = fields({"site": "state", "remote": "a", "pull": back, "push": there})
    assert found.of_remote({"a": "x"}) == found.of_site({"state": "N-x"}) == {"state": "N-x"}
    assert found.record_changes({"state": "N-y"}, [], None, {}, whole=False) == {"a": "y"}
    with pytest.raises(BadValue, match="m:bad raised"):
        fields(
            {"site": "state", "remote": "a", "flow": "pull", "pull": NamedFunction("m:bad", lambda *_: 1 / 0)}
        ).of_remote({"a": 1})


@pytest.mark.parametrize("key", ["a].b", "a[b", "x#2", "50%", "a b/c"])
def test_any_text_may_be_a_key(key) -> None:
    """Rows of odd keys are told apart and found again."""
    found = fields(ROWS)
    flat = found.of_site(
        {"items": [{"item_code": key, "qty": 1}, {"item_code": "x", "qty": 2}, {"item_code": "x", "qty": 3}]}
    )
    sent = found.record_changes(flat, [], {"lines": []}, {}, whole=False)
    assert [line["sku"] for line in sent["lines"]] == [key, "x", "x"] and len({split(path)[1] for path in flat}) == 3


@pytest.mark.parametrize(("spec", "said"), [
    ({"site": "state"}, "a field of the remote"), ({"site": "state", "remote": "a", "constant": 1}, "one side"),
    ({"site": "items", "remote": "l", "rows": [{"site": "qty", "remote": "q"}]}, "key names one of"),
    ({"site": "name", "remote": "n"}, "site's own"), ({"site": "state", "remote": "a..b"}, "dotted path"),
    ({"site": "state", "remote": "a", "zone": "Mars"}, "no time zone"),
    ({"site": "state", "remote": "a", "key": "b"}, "needs rows"),
])  # fmt: skip
def test_a_mapping_that_means_nothing_is_refused(spec, said) -> None:
    """Before the daemon starts."""
    with pytest.raises(ValidationError, match=said):
        FieldMap.model_validate(spec)


def test_fields_that_the_doctype_lacks_are_all_named() -> None:
    """In one sentence."""
    with pytest.raises(BadValue, match=r"Order has no field colour, tax_table \(a child table\), Order Item\.weight"):
        fields({"site": "colour", "remote": "c"}, {**ROWS, "site": "tax_table"},
               {**ROWS, "rows": [*ROWS["rows"], {"site": "weight", "remote": "w"}]})  # fmt: skip
