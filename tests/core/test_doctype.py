"""DocTypes out of the replies of a site."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.core.doctype import DocType, Field
from daemon.errors import NotFound, NotFrappe

ORDER = {
    "name": "Order",
    "autoname": "field:order_no",
    "is_submittable": 1,
    "permissions": [{"role": "Clerk", "read": 1}, {"role": "Guest", "read": 1, "if_owner": 1}],
    "fields": [
        {"fieldname": "head", "fieldtype": "Section Break", "label": "Items"},
        {"fieldname": "order_no", "fieldtype": "Data", "label": " Order No ", "reqd": 1, "unique": 1, "length": "30"},
        {"fieldname": "rate", "fieldtype": "Currency", "precision": "2", "non_negative": 1, "default": None},
        {"fieldname": "day", "fieldtype": "Date"},
        {"fieldname": "items", "fieldtype": "Table", "options": "Order Row", "label": "Items"},
        {"fieldname": "lost", "fieldtype": "Table", "options": "Not Sent"},
    ],
}
ROW = {"name": "Order Row", "istable": 1, "fields": [{"fieldname": "qty", "fieldtype": "Float", "label": "Qty"}]}


def test_what_an_import_needs_is_taken_over() -> None:
    """Flags as booleans, lengths and precisions as numbers, whatever the site sent them as; child tables resolved."""
    order = DocType.of("Order", [ORDER, ROW])
    number = order.field("order_no")
    assert number == Field("order_no", "Order No", "Data", reqd=True, unique=True, length=30)
    assert order.field("rate") == Field("rate", "", "Currency", precision=2, non_negative=True)
    assert (order.named_after, order.is_submittable, order.issingle) == ("order_no", True, False)
    assert list(order.children) == ["items"] and order.children["items"].istable
    assert order.tables == (("items", "Order Row"), ("lost", "Not Sent"))


def test_every_doctype_has_the_standard_columns() -> None:
    """The name is a field like others, and child rows have their parents besides."""
    order = DocType.of("Order", [ORDER, ROW])
    assert order.field("name") == Field("name", "ID")
    assert order.field("parent") is None and order.children["items"].field("parent") is not None
    assert order.field("nothing") is None


def test_columns_are_those_that_can_be_listed() -> None:
    """The document's own and the standard ones, not what has no column; a child table has its parent's."""
    order = DocType.of("Order", [ORDER, ROW])
    assert {"name", "creation", "modified", "owner", "idx", "_user_tags", "order_no"} <= order.columns.keys()
    assert not {"items", "parent"} & order.columns.keys()
    assert {"parent", "parenttype", "parentfield"} <= order.children["items"].columns.keys()


@pytest.mark.parametrize(
    ("autoname", "after", "prompts"),
    [("field:code", "code", False), ("Prompt", "", True), ("naming_series:", "", False), ("", "", False)],
)
def test_how_documents_get_their_names(autoname: str, after: str, prompts: bool) -> None:
    """By a field, by whoever creates them, or by the site."""
    doctype = DocType("X", autoname=autoname)
    assert (doctype.named_after, doctype.prompts) == (after, prompts)


@pytest.mark.parametrize(
    ("field", "filled"),
    [
        (Field("a", default="Today"), True),
        (Field("a", fieldtype="Select", options="Open\nClosed"), True),
        (Field("a", fieldtype="Select", options="\nOpen"), False),
        (Field("a", fieldtype="Check"), True),
        (Field("a", fetch_from="customer.title"), True),
        (Field("a"), False),
    ],
)
def test_what_the_site_fills_in_by_itself(field: Field, filled: bool) -> None:
    """Defaults, a Select's first option, fetched values: these need no column although they are mandatory."""
    assert field.filled_by_site is filled


def test_a_reply_without_the_doctype_is_named() -> None:
    """The site does not have it, or is no Frappe."""
    with pytest.raises(NotFound, match="no DocType 'Other'"):
        DocType.of("Other", [ORDER])
    for docs in (None, "text", {"name": "Order"}, [1], [[]]):
        with pytest.raises(NotFrappe):
            DocType.of("Order", docs)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=3,
)
KEYS = st.sampled_from(["name", "fields", "fieldname", "fieldtype", "options", "length", "reqd", "permissions", "x"])


@given(
    st.lists(
        st.dictionaries(KEYS, JSON | st.lists(st.dictionaries(KEYS, JSON, max_size=3), max_size=2), max_size=5),
        max_size=2,
    )
)
def test_no_reply_is_too_odd(docs: list[dict[str, Any]]) -> None:
    """Whatever the metas hold, the DocType is read or is not there."""
    doctype = DocType.of("X", [{"fields": [{"fieldname": "a"}], **doc, "name": "X"} for doc in docs] or [{"name": "X"}])
    assert doctype.name == "X" and all(field.fieldname for field in doctype.fields)


ORDER_WITH_RIGHTS = {
    "name": "Order",
    "permissions": [
        {"role": "Clerk", "read": 1, "write": 1, "if_owner": 1},
        {"role": "Clerk", "delete": 1, "permlevel": 1},
        {"role": "Manager", "read": 1, "delete": 1, "permlevel": 0},
    ],
}


@pytest.mark.parametrize(
    ("right", "roles", "granted"),
    [
        ("read", ["Manager"], True),
        ("read", ["Guest", "Manager"], True),
        ("read", ["Clerk"], False),
        ("delete", ["Clerk"], False),
        ("delete", ["Manager"], True),
        ("write", ["Manager"], False),
        ("read", [], False),
        ("no such right", ["Manager"], False),
    ],
)
def test_a_right_counts_on_all_documents_alone(right: str, roles: list[str], granted: bool) -> None:
    """Not one for what the user owns, nor one for fields of a higher level."""
    assert DocType.of("Order", [ORDER_WITH_RIGHTS]).grants(right, roles) is granted


def test_columns_of_child_tables_are_named_by_their_table():
    """ "table.field"; what is no date there is told as such."""
    child = {"name": "Part", "istable": 1, "fields": [{"fieldname": "ends", "fieldtype": "Date"}]}
    table = {"fieldname": "parts", "fieldtype": "Table", "options": "Part"}
    meta = DocType.of("License", [{"name": "License", "fields": [table]}, child])
    assert meta.column("parts.ends") == "Date" and meta.column("parts.end") is meta.column("gone.ends") is None
    assert meta.column("parts") is None and "parts.ends" in meta.paths
    assert meta.no_dates(["parts.ends", "parts.idx", "creation"]) == ["parts.idx"]
