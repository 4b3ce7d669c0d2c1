"""What a DocType is made of."""

from __future__ import annotations

from typing import Any

import pytest

from daemon.errors import NotFound
from daemon.site.meta import Meta

ORDER: dict[str, Any] = {
    "name": "Order",
    "fields": [
        {"fieldname": "customer", "fieldtype": "Link", "options": "Customer"},
        {"fieldname": "section", "fieldtype": "Section Break"},
        {"fieldname": "items", "fieldtype": "Table", "options": "Order Item"},
        {"fieldname": "tags", "fieldtype": "Table MultiSelect", "options": "Order Tag"},
        {"fieldname": "help", "fieldtype": "HTML"},
        {"fieldname": "docstatus", "fieldtype": "Int"},
    ],
    "permissions": [
        {"role": "Clerk", "read": 1, "write": 1, "if_owner": 1},
        {"role": "Clerk", "delete": 1, "permlevel": 1},
        {"role": "Manager", "read": 1, "delete": 1, "permlevel": 0},
    ],
}
ITEM = {"name": "Order Item", "istable": 1, "fields": [{"fieldname": "qty", "fieldtype": "Float"}]}
BODY = {"docs": [ORDER, ITEM]}


def test_fields_are_those_that_can_be_listed() -> None:
    """The document's own and the standard ones; what has no column is none of them."""
    meta = Meta.of("Order", BODY)
    assert meta.fields["customer"] == "Link" and meta.fields["docstatus"] == "Int"
    assert {"name", "creation", "modified", "owner", "idx", "_user_tags"} <= meta.fields.keys()
    assert not {"section", "items", "tags", "help", "parent"} & meta.fields.keys()
    assert not meta.child and not meta.single


def test_child_tables_are_named_with_their_doctype() -> None:
    """In the order of the form."""
    assert Meta.of("Order", BODY).tables == (("items", "Order Item"), ("tags", "Order Tag"))


def test_a_child_doctype_has_its_parent_s_columns() -> None:
    """It comes in the same reply."""
    meta = Meta.of("Order Item", BODY)
    assert meta.child and {"parent", "parenttype", "parentfield", "qty"} <= meta.fields.keys()
    assert "_user_tags" not in meta.fields


def test_a_single_is_told() -> None:
    """Its name is that of the DocType."""
    assert Meta.of("X", {"docs": [{"name": "X", "issingle": 1}]}).single


@pytest.mark.parametrize("body", [None, [], {}, {"docs": []}, {"docs": [ITEM]}, "text"])
def test_a_reply_without_the_doctype_is_not_found(body: Any) -> None:
    """Whatever it holds instead."""
    with pytest.raises(NotFound, match="'Order'"):
        Meta.of("Order", body)


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
    assert Meta.of("Order", BODY).grants(right, roles) is granted
