"""Header rows: which field each header means, and all that is wrong with them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.core.columns import Layout, letters, resolve
from daemon.core.doctype import DocType, Field

ROW = DocType(
    "Order Row",
    (
        Field("item_code", "Item Code", "Link", "Item", reqd=True),
        Field("qty", "Quantity", "Float", reqd=True),
        Field("rate", "Rate (INR)", "Currency"),
    ),
    istable=True,
)
TAX = DocType("Tax", (Field("rate", "Rate", "Percent"), Field("account", "Account", "Link", "Account")), istable=True)
ORDER = DocType(
    "Order",
    (
        Field("head", "Items", "Section Break"),
        Field("customer", "Customer", "Link", "Customer", reqd=True),
        Field("order_date", "Order Date", "Date", reqd=True, default="Today"),
        Field("note", "Note", "Small Text"),
        Field("ship_note", "Remark"),
        Field("bill_note", "Remark"),
        Field("weight", "Weight (kg)", "Float"),
        Field("total", "Total", "Currency", read_only=True),
        Field("age", "Age", "Int", is_virtual=True),
        Field("items", "Items", "Table", "Order Row", reqd=True),
        Field("taxes", "Taxes and Charges", "Table", "Tax"),
        Field("customer_1", "customer", "Data"),
    ),
    {"items": ROW, "taxes": TAX},
)


def keys(layout: Layout) -> list[str]:
    assert [str(problem) for problem in layout.problems] == []
    return [column.key for column in layout.columns]


def find(*headers: Any, **more: Any) -> Layout:
    return resolve(ORDER, headers, creating=False, **more)


@pytest.mark.parametrize(
    ("header", "key"),
    [
        ("customer", "customer"),  # the label of customer_1, too
        ("Customer", "customer"),
        ("order_date", "order_date"),
        ("Order Date", "order_date"),
        ("ORDER-DATE ", "order_date"),
        ("order  date", "order_date"),
        ("OrderDate", "order_date"),
        ("Order Date (order_date)", "order_date"),
        ("Remark (bill_note)", "bill_note"),
        ("Weight (kg)", "weight"),
        ("weight kg", "weight"),
        ("ID", "name"),
        ("name", "name"),
        ("id", "name"),
        ("Items", "items"),
        ("items", "items"),
        ("Item Code (Items)", "items.item_code"),
        ("item_code (items)", "items.item_code"),
        ("item code (ITEMS)", "items.item_code"),
        ("items.item_code", "items.item_code"),
        ("Items.Item Code", "items.item_code"),
        ("Rate (INR) (Items)", "items.rate"),
        ("Rate (Taxes and Charges)", "taxes.rate"),
        ("rate (taxes)", "taxes.rate"),
        ("ID (Items)", "items.name"),
        ("items.name", "items.name"),
    ],
)
def test_a_header_means_a_field(header: str, key: str) -> None:
    """By name, label or either of them in another spelling, and in each of Frappe's layouts of child tables."""
    headers = [header] if "." not in key else ["ID", header]
    assert keys(find(*headers))[-1] == key


@pytest.mark.parametrize(
    ("header", "kind", "says"),
    [
        ("Custmer", "unknown", "did you mean 'Customer'?"),
        ("Remark", "ambiguous", "can mean ship_note or bill_note"),
        ("Total", "refused", "is read-only"),
        ("Age", "refused", "is virtual"),
        ("head", "refused", "is a Section Break, which holds no value"),
        ("owner", "refused", "is kept by the site itself"),
        ("Document Status", "refused", "is kept by the site itself"),
        ("Item Code", "unknown", "no such field"),
        ("Parent (Items)", "refused", "is kept by the site itself"),
    ],
)
def test_a_header_that_cannot_be_used_says_why(header: str, kind: str, says: str) -> None:
    """And where it stands, as numbers and spreadsheets count."""
    (problem,) = find("ID", header).problems
    assert problem.kind == kind and says in str(problem)
    assert str(problem).startswith(f"column 2 (B) {header!r}: ")


def test_all_problems_come_at_once() -> None:
    """Each with its column, so that the file is mended in one go."""
    layout = find("ID", "Nope", "Remark", "id", "Total", mapping={"Gone": ""}, constants={"nix": 1, "weight": "much"})
    assert sorted(problem.kind for problem in layout.problems) == [
        "ambiguous", "constant", "constant", "duplicate", "mapping", "refused", "unknown",
    ]  # fmt: skip
    assert [problem.index for problem in layout.problems if problem.kind == "duplicate"] == [3]


def test_a_mapping_overrules_what_a_header_says() -> None:
    """To another field, to a field of a child table, or to nothing."""
    mapping = {"Remark": "ship_note", "kode": "items.item_code", "Junk": "", "total": ""}
    layout = find("ID", "Remark", "Kode", "Junk", "Total", mapping=mapping)
    assert keys(layout) == ["name", "ship_note", "items.item_code"]
    assert layout.ignored == ((3, "Junk"), (4, "Total"))


def test_a_mapping_to_nothing_known_is_a_problem() -> None:
    """With the name that was perhaps meant; the same for a header that the table has not."""
    (wrong,) = find("ID", "X", mapping={"X": "custmer"}).problems
    assert "no field 'custmer'; did you mean 'customer'?" in str(wrong) and wrong.index == 1
    (gone,) = find("ID", "Customer", mapping={"Custom": "note"}).problems
    assert "has no column 'Custom'; did you mean 'Customer'?" in str(gone)


def test_unknown_headers_are_left_out_where_that_was_asked_for() -> None:
    """Unknown ones alone: an ambiguous header is still a question."""
    layout = find("ID", "Nope", ignore_unknown=True)
    assert keys(layout) == ["name"] and layout.ignored == ((1, "Nope"),)
    assert [problem.kind for problem in find("ID", "Remark", ignore_unknown=True).problems] == ["ambiguous"]


def test_read_only_fields_are_written_where_that_was_asked_for() -> None:
    """Only forms protect them; virtual ones have no column to write to."""
    assert keys(find("Total", allow_read_only=True)) == ["total"]
    assert [problem.kind for problem in find("Note", "Age", allow_read_only=True).problems] == ["refused"]


def test_one_field_has_one_source() -> None:
    """Two columns, a column and a constant, or a table as JSON beside columns of its rows, contradict each other."""
    assert "already" in str(find("Note", "note").problems[0])
    assert "constant" in str(find("ID", "Note", constants={"note": "x"}).problems[0])
    assert "as a whole" in str(find("ID", "Items", "items.qty").problems[0])


def test_constants_and_defaults_become_values_for_frappe() -> None:
    """Once, when the header is read; a wrong one is a problem of the configuration."""
    layout = find("ID", "items.qty", constants={"order_date": "2026-01-31", "items.rate": 5}, defaults={"weight": "2"})
    assert keys(layout) and layout.constants == {"order_date": "2026-01-31", "items.rate": 5.0}
    assert layout.defaults == {"weight": 2.0}


def test_new_documents_need_their_mandatory_fields() -> None:
    """From a column, a constant, a default, or the site; those of a child table only where the file has that table."""
    missing = [str(problem) for problem in resolve(ORDER, ["Note"]).problems]
    assert [text.partition(" ")[0] for text in missing] == ["customer", "items"]
    missing = [str(problem) for problem in resolve(ORDER, ["Note", "items.rate"]).problems]
    assert [text.partition(" ")[0] for text in missing] == ["customer", "items.item_code", "items.qty"]
    layout = resolve(ORDER, ["Note", "items.qty"], constants={"customer": "C"}, defaults={"items.item_code": "I"})
    assert layout.problems == () and resolve(ORDER, ["Note"], mandatory=False).problems == ()
    assert resolve(ORDER, ["Note"], creating=False).problems == ()


def test_id_is_the_field_that_names_new_documents() -> None:
    """Where a field names documents and has no column of its own; of one that is there, ID is the name."""
    item = DocType("Item", (Field("code", "Code", reqd=True), Field("note", "Note")), autoname="field:code")
    assert keys(resolve(item, ["ID", "Note"])) == ["code", "note"]
    assert keys(resolve(item, ["ID", "Note"], creating=False)) == ["name", "note"]
    assert keys(resolve(item, ["ID", "Code"])) == ["name", "code"]


@pytest.mark.parametrize("trait", ["istable", "issingle", "is_virtual"])
def test_some_doctypes_have_no_rows_to_import(trait: str) -> None:
    """Child tables, Singles and virtual DocTypes are refused before anything else is said."""
    (problem,) = resolve(DocType("X", (Field("a", "A"),), **{trait: True}), ["A"]).problems  # type: ignore[arg-type]
    assert problem.kind == "doctype"


def test_a_table_must_begin_documents() -> None:
    """Columns of child tables alone never do."""
    assert [problem.kind for problem in find("items.qty").problems] == ["empty"]
    assert [problem.kind for problem in find().problems] == ["empty"]


def test_a_column_without_a_header_is_remembered() -> None:
    """It may be the blank rim of a spreadsheet; rows that have a value there are the problem."""
    layout = find("ID", None, "  ", "Note")
    assert keys(layout) == ["name", "note"] and layout.untitled == (1, 2)


def test_columns_are_lettered_as_spreadsheets_do() -> None:
    """A to Z, then AA."""
    assert [letters(index) for index in (0, 25, 26, 51, 52, 701, 702)] == ["A", "Z", "AA", "AZ", "BA", "ZZ", "AAA"]


@given(st.lists(st.text(max_size=8) | st.sampled_from(["ID", "Items", "a.b", "(", "Remark (", "()"]) | st.none()))
def test_no_header_is_too_odd(headers: list[str | None]) -> None:
    """Each is a column, ignored, untitled, or a problem of its own."""
    layout = find(*headers, ignore_unknown=True)
    told = {problem.index for problem in layout.problems if problem.index is not None}
    known = {column.index for column in layout.columns} | {index for index, _ in layout.ignored} | set(layout.untitled)
    assert known | told == set(range(len(headers)))


@given(st.data())
def test_spelling_does_not_matter(data: st.DataObject) -> None:
    """Case, blanks and punctuation of a field's name may change, and it is still that field."""
    field = data.draw(st.sampled_from(["order_date", "ship_note", "bill_note", "customer_1"]))
    mark = data.draw(st.sampled_from(["_", " ", "-", ".", "  ", " / "]))
    case = data.draw(st.sampled_from([str.upper, str.lower, str.title]))
    assert keys(find(case(field.replace("_", mark)))) == [field]
