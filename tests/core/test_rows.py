"""Rows → documents: Frappe's layout of child tables, what is missing, what differs, and keys that come twice."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.core.columns import Layout, resolve
from daemon.core.doctype import DocType, Field
from daemon.core.rows import Assembler, Draft, Duplicates, difference, for_insert, for_update, key_digest, unknown_rows
from daemon.core.values import Reading

Doc = dict[str, Any]
ROW = DocType(
    "Order Row",
    (
        Field("item", "Item", "Link", "Item", reqd=True),
        Field("qty", "Qty", "Float"),
        Field("kind", "Kind", "Link", "DocType"),
        Field("of", "Of", "Dynamic Link", "kind"),
    ),
    istable=True,
)
TAX = DocType("Tax", (Field("account", "Account"), Field("rate", "Rate", "Percent")), istable=True)
TAG = DocType("Tag", (Field("tag", "Tag", "Link", "Label"),), istable=True)
ORDER = DocType(
    "Order",
    (
        Field("customer", "Customer", "Link", "Customer", reqd=True),
        Field("day", "Day", "Date"),
        Field("total", "Total", "Float"),
        Field("paid", "Paid", "Check"),
        Field("note", "Note", "Text"),
        Field("party_type", "Party Type", "Link", "DocType"),
        Field("party", "Party", "Dynamic Link", "party_type"),
        Field("at", "At", "Datetime"),
        Field("clock", "Clock", "Time"),
        Field("long", "Long", "Duration"),
        Field("facts", "Facts", "JSON"),
        Field("status", "Status", "Select", "\nOpen"),
        Field("secret", "Secret", "Password"),
        Field("items", "Items", "Table", "Order Row"),
        Field("taxes", "Taxes", "Table", "Tax"),
        Field("tags", "Tags", "Table MultiSelect", "Tag"),
    ),
    {"items": ROW, "taxes": TAX, "tags": TAG},
)


def layout(*headers: str, **more: Any) -> Layout:
    found = resolve(ORDER, headers, **{"mandatory": False, **more})
    assert [str(problem) for problem in found.problems] == []
    return found


def drafts(of: Layout, *rows: Sequence[Any], **more: Any) -> list[Draft]:
    """Lines count from 2, as below a header."""
    return list(Assembler(of, **more).assemble(enumerate(rows, 2)))


def docs(of: Layout, *rows: Sequence[Any], **more: Any) -> list[Doc]:
    found = drafts(of, *rows, **more)
    assert [str(problem) for draft in found for problem in draft.problems] == []
    return [draft.doc for draft in found]


def test_a_row_is_a_document() -> None:
    """With the values of its cells; a blank cell is no value; rows of blanks alone are nothing."""
    rows = [["A", "2024-01-31", "1.5"], ["B", "", None], [None, " ", ""], ["C"]]
    found = drafts(layout("Customer", "Day", "Total"), *rows)
    assert [draft.doc for draft in found] == [
        {"customer": "A", "day": "2024-01-31", "total": 1.5}, {"customer": "B"}, {"customer": "C"},
    ]  # fmt: skip
    assert [draft.line for draft in found] == [2, 3, 5] and found[0].cells == (rows[0],)
    assert [column.key for column in found[1].blanks] == ["day", "total"]


def test_rows_go_on_with_the_document_above() -> None:
    """Several child tables side by side, each row of theirs where it has any value, as Frappe exports them."""
    found = drafts(
        layout("ID", "Customer", "Item (Items)", "Qty (Items)", "Account (Taxes)"),
        ["O1", "A", "I1", "1", "VAT"],
        ["", "", "I2", "", ""],
        [None, None, "", None, ""],
        ["", "", "", "", "Duty"],
        ["O2", "", "", "", ""],
    )
    assert [draft.doc for draft in found] == [
        {
            "name": "O1", "customer": "A",
            "items": [{"item": "I1", "qty": 1.0}, {"item": "I2"}], "taxes": [{"account": "VAT"}, {"account": "Duty"}],
        },
        {"name": "O2"},
    ]  # fmt: skip
    assert [draft.lines for draft in found] == [(2, 3, 5), (6,)] and len(found[0].cells) == 3


def test_a_row_that_goes_on_with_nothing_is_a_problem() -> None:
    """Each of them, until a document begins."""
    found = drafts(layout("ID", "items.item"), ["", "I1"], ["", "I2"], ["O1", "I3"])
    assert [len(draft.problems) for draft in found] == [1, 1, 0]
    assert "line 2" in str(found[0].problems[0]) and "none is above it" in str(found[0].problems[0])


def test_each_wrong_cell_is_named() -> None:
    """With its line, its column, what was expected and what is there; the other cells of the row are still read."""
    (draft,) = drafts(layout("ID", "Day", "Total", "items.qty"), ["O1", "soon", "1", "1"], ["", "", "", "much"])
    assert draft.doc == {"name": "O1", "total": 1.0, "items": [{"qty": 1.0}, {}]}
    first, second = map(str, draft.problems)
    assert first.startswith("line 2, column 2 (B) 'Day': expected a date") and first.endswith("not 'soon'")
    assert second.startswith("line 3, column 4 (D) 'items.qty': expected a number")


def test_constants_and_defaults() -> None:
    """A constant is in each document and row; a default where the cell of a new document, or of any row, is blank."""
    of = layout(
        "ID", "Note", "items.item",
        constants={"customer": "C", "items.qty": 2}, defaults={"note": "n", "total": 5, "items.kind": "X"},
    )  # fmt: skip
    first, second = docs(of, ["O1", "", ""], ["O2", "own", "I"])
    assert first == {"name": "O1", "customer": "C", "note": "n", "total": 5.0}
    row = {"item": "I", "qty": 2.0, "kind": "X"}
    assert second == {"name": "O2", "customer": "C", "note": "own", "total": 5.0, "items": [row]}
    assert docs(of, ["O1", "", ""], purpose="update") == [{"name": "O1", "customer": "C"}]
    assert Assembler(of).fixed_links == [("Customer", "C", "customer"), ("DocType", "X", "items.kind")]


def test_mandatory_fields_must_not_be_blank() -> None:
    """In a new document and in each child row; for a document that is there, only clearing is refused."""
    of = layout("ID", "Customer", "items.item", "items.qty", mandatory=True)
    (draft,) = drafts(of, ["O1", "", "", "1"])
    assert [str(problem).partition(":")[0] for problem in draft.problems] == [
        "line 2, column 3 (C) 'items.item'", "line 2, column 2 (B) 'Customer'",
    ]  # fmt: skip
    assert drafts(of, ["O1", ""], purpose="update")[0].problems == ()
    assert "cannot be cleared" in str(drafts(of, ["O1", ""], purpose="update", blank="clear")[0].problems[0])


def test_blank_cells_keep_or_clear() -> None:
    """None empties any field; a table is emptied by no rows. A blank name clears nothing."""
    of = layout("ID", "Day", "Total", "Tags", "items.item")
    assert docs(of, ["O1", "", "", "", ""], purpose="update") == [{"name": "O1"}]
    cleared = {"name": "O1", "day": None, "total": None, "tags": [], "items": []}
    assert docs(of, ["O1", "", "", "", ""], purpose="update", blank="clear") == [cleared]


def test_what_is_new_is_decided_later() -> None:
    """A draft of an upsert becomes an insert or an update when the caller knows which."""
    of = layout("ID", "Customer", "Day", mandatory=True, defaults={"day": "2024-01-01"})
    (draft,) = drafts(of, ["O1", "", ""], purpose="upsert")
    assert draft.doc == {"name": "O1"} and not draft.problems
    new = for_insert(of, draft)
    assert new.doc == {"name": "O1", "day": "2024-01-01"} and len(new.problems) == 1
    assert for_update(of, draft).doc == {"name": "O1"}
    assert for_update(of, draft, "clear").doc == {"name": "O1", "customer": None, "day": None}
    assert draft.doc == {"name": "O1"}


def test_links_say_what_must_exist() -> None:
    """Links, Dynamic Links by their row's DocType, and those in rows and choices, each with its column."""
    of = layout("Customer", "Party Type", "Party", "Tags", "items.item", "items.kind", "items.of")
    (draft,) = drafts(of, ["C", "Supplier", "S", "a, b", "I1", "Item", "I9"], ["", "", "", "", "I2", "", "x"])
    assert [(doctype, name, column.key) for doctype, name, column in draft.links] == [
        ("Customer", "C", "customer"), ("DocType", "Supplier", "party_type"), ("Label", "a", "tags"),
        ("Label", "b", "tags"), ("Supplier", "S", "party"), ("Item", "I1", "items.item"),
        ("DocType", "Item", "items.kind"), ("Item", "I9", "items.of"), ("Item", "I2", "items.item"),
    ]  # fmt: skip


def test_links_in_a_table_that_is_one_cell() -> None:
    """Are collected, too."""
    (draft,) = drafts(layout("ID", "Items"), ["O1", '[{"item": "I1"}, {"qty": 2}]'])
    assert draft.doc["items"] == [{"item": "I1"}, {"qty": 2.0}]
    assert [link[:2] for link in draft.links] == [("Item", "I1")]


def test_a_value_where_no_header_is_stops_the_row() -> None:
    """The row is perhaps shifted by one cell; blank rims of a spreadsheet are nothing."""
    of = layout("ID", "", "Note")
    found = drafts(of, ["O1", "x", "n"], ["O2", "", "n", "y"], ["O3", " ", "n", "", None])
    assert ["column 2" in str(found[0].problems[0]), "column 4" in str(found[1].problems[0])] == [True, True]
    assert found[2].problems == ()


def test_a_document_without_end_is_bounded() -> None:
    """Beyond the bound each row is a problem of its own, so that none is held and none is lost."""
    *beyond, draft = drafts(layout("ID", "items.item"), ["O1", "I"], *[["", "I"]] * 50, max_children=10)
    assert len(draft.doc["items"]) == 10 and len(draft.lines) == len(draft.cells) == 11
    assert [str(problem) for problem in draft.problems] == [
        "line 12: the document that begins in line 2 has more than 10 child rows"
    ]
    assert [one.line for one in beyond] == list(range(13, 53))
    assert str(beyond[0].problems[0]).endswith("line 2, which has more than 10 child rows")


def test_text_that_the_site_cleans_is_no_difference() -> None:
    """What it keeps of a text with a tag is what it would keep of it again (seen on version 15)."""
    thing = DocType("Thing", (Field("text"),))
    sent, kept = "Schraube M5 <A2> & Mutter", "Schraube M5 &lt;A2&gt; &amp; Mutter"
    assert difference(thing, {"text": sent}, {"text": kept}) == {}
    assert difference(thing, {"text": "a & b"}, {"text": "a &amp; b"}) and difference(
        thing, {"text": "<b>"}, {"text": ""}
    )


def test_a_blank_time_stays_empty() -> None:
    """Of a new document's Time the site makes the current one where nothing is said."""
    columns = resolve(DocType("Thing", (Field("code"), Field("t", "", "Time"))), ["code", "t"])
    (draft,) = Assembler(columns).assemble([(2, ["a", ""])])
    assert draft.doc == {"code": "a", "t": ""}


def test_documents_come_while_rows_go_in() -> None:
    """Each as soon as the next one begins: no more than one is held."""
    fed = 0

    def rows() -> Any:
        nonlocal fed
        for fed in range(1, 1000):
            yield fed, [f"O{fed}"]

    for number, draft in enumerate(Assembler(layout("ID")).assemble(rows()), 1):
        assert draft.line == number and fed <= number + 1


def test_a_column_may_be_read_in_its_own_way() -> None:
    """By its key or its header; a name that no column has is refused, as is a layout with problems."""
    of = layout("ID", "Day", "Total")
    by = {"day": Reading(dates=("dd.mm.yy",)), "Total": Reading(decimal=",")}
    assert docs(of, ["O1", "01.02.24", "1.234"], readings=by) == [{"name": "O1", "day": "2024-02-01", "total": 1234.0}]
    assert docs(of, ["O1", "01/02/2024", ""], sample=[["O1", "31/01/2024"]])[0]["day"] == "2024-02-01"
    with pytest.raises(ValueError, match="no column 'dya'"):
        Assembler(of, readings={"dya": Reading()})
    with pytest.raises(ValueError, match="1 problems"):
        Assembler(resolve(ORDER, ["Nix", "ID"], creating=False))


# ---- laws

WORDS = st.text(st.characters(exclude_categories=["Cs", "Z", "C"]), min_size=1, max_size=8)
NUMBERS = st.integers(-(10**8), 10**8).map(lambda cents: cents / 100)


def rows_of(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Doc]]:
    """Child rows, none of them empty: an empty one has no place in a table."""
    return st.lists(st.fixed_dictionaries({}, optional=fields).filter(bool), min_size=1, max_size=4)


DOCS = st.fixed_dictionaries(
    {"name": WORDS},
    optional={
        "customer": WORDS,
        "day": st.dates().filter(lambda day: day.year >= 1000).map(str),
        "total": NUMBERS,
        "paid": st.integers(0, 1),
        "items": rows_of(item=WORDS, qty=NUMBERS),
        "taxes": rows_of(account=WORDS, rate=NUMBERS),
    },
)
HEADERS = ("ID", "Customer", "day", "Total", "paid", "items.item", "Qty (Items)", "Account (Taxes)", "rate (taxes)")


def printed(doc: Doc) -> list[list[Any]]:
    """A document in Frappe's layout: its own cells in the first row alone, the tables side by side below each other."""
    own = [doc.get(key, "") for key in ("name", "customer", "day", "total", "paid")]
    lines = []
    for at, (item, tax) in enumerate(zip_longest(doc.get("items", [{}]), doc.get("taxes", []), fillvalue=None)):
        item, tax = item or {}, tax or {}
        children = [item.get("item", ""), item.get("qty", ""), tax.get("account", ""), tax.get("rate", "")]
        lines.append([*(own if at == 0 else [""] * 5), *children])
    return lines


@given(st.lists(DOCS, max_size=5), st.booleans())
def test_a_printed_document_assembles_to_itself(wanted: list[Doc], as_text: bool) -> None:
    """Whatever tables it has, from a workbook's cells or from text."""
    rows = [row for doc in wanted for row in printed(doc)]
    if as_text:
        rows = [[str(cell) for cell in row] for row in rows]
    assert docs(layout(*HEADERS), *rows, reading=Reading(decimal=".")) == wanted


@given(DOCS)
def test_a_document_does_not_differ_from_itself(doc: Doc) -> None:
    """Nor from what the site makes of it: system fields in it and in each row, nulls left out, floats for numbers."""
    assert difference(ORDER, doc, doc) == {}
    kept = doc | {"owner": "x", "modified": "y", "idx": 0, "docstatus": 0}
    for table in ("items", "taxes"):
        kept[table] = [row | {"name": f"r{at}", "idx": at} for at, row in enumerate(doc.get(table, []))]
    assert difference(ORDER, doc, kept) == {}


@given(DOCS, DOCS)
def test_a_difference_makes_the_documents_equal(new: Doc, old: Doc) -> None:
    """After it is applied nothing differs; and it holds nothing that `new` does not say."""
    found = difference(ORDER, new, old)
    assert difference(ORDER, new, old | found) == {}
    assert all(new[key] is value for key, value in found.items())


@pytest.mark.parametrize(
    ("field", "new", "old", "same"),
    [
        ("total", "5", 5.0, True),
        ("total", 0.30000000000000004, 0.3, True),
        ("total", 1.0000000001, 1.0, True),
        ("total", 1.00000001, 1.0, False),
        ("total", 123456789012.12346, 123456789012.12347, True),
        ("total", None, 0.0, True),
        ("paid", 0, "", True),
        ("paid", 1, 0, False),
        ("paid", 0, None, True),
        ("note", "a\r\nb\r", "a\nb\n", True),
        ("note", None, "", True),
        ("note", "a", "a ", False),
        ("note", "5", 5, True),
        ("day", "2024-01-31", "2024-01-31 00:00:00", True),
        ("day", None, "2024-01-31", False),
        ("at", "2024-01-31 10:00:00", "2024-01-31 10:00:00.000000", True),
        ("at", "2024-01-31 10:00:00.5", "2024-01-31 10:00:00.500000", True),
        ("at", "2024-01-31 10:00:00", "2024-01-31 10:00:01", False),
        ("clock", "09:05:00", "9:05:00", True),
        ("clock", "10:00:00.500000", "10:00:0.5", True),
        ("clock", "09:05:00", "9:06:00", False),
        ("long", 60, 60.0, True),
        ("long", None, None, True),
        ("long", 0, None, False),
        ("facts", '{"a":1,"b":2}', '{"b": 2, "a": 1}', True),
        ("facts", '{"a":1}', '{"a":2}', False),
        ("facts", None, "", True),
        ("status", "Open", " Open ", True),
        ("status", "Open", "open", False),
        ("customer", "acme", "ACME", True),
        ("customer", "acme", "acmf", False),
        ("secret", "s3cret", "******", False),
        ("unknown", "a", "b", False),
        ("items", [{"item": "I", "qty": "1"}], [{"item": "i", "qty": 1.0, "name": "r", "idx": 1}], True),
        ("items", [{"item": "I", "name": "r"}], [{"item": "I", "name": "r"}], True),
        ("items", [{"item": "I", "name": "r"}], [{"item": "I", "name": "s"}], False),
        ("items", [{"item": "I"}], [{"item": "I"}, {"item": "J"}], False),
        ("items", [{"item": "I"}, {"item": "J"}], [{"item": "J"}, {"item": "I"}], False),
        ("items", [], None, True),
        ("items", [], [{"item": "I"}], False),
        ("tags", [{"tag": "a"}], [{"tag": "A", "parent": "x"}], True),
    ],
)
def test_what_differs_in_frappes_terms(field: str, new: Any, old: Any, same: bool) -> None:
    """Values that the site would store alike are the same, whichever way they are written."""
    assert difference(ORDER, {"name": "x", field: new}, {"name": "y", field: old}) == ({} if same else {field: new})
    if old is None:
        assert difference(ORDER, {field: new}, {}) == ({} if same else {field: new})


def test_rows_that_an_update_would_lose_are_named() -> None:
    """A child row with a name that the document has not is not inserted but lost."""
    doc = {"items": [{"name": "r1"}, {"name": "r9"}, {"item": "I"}], "taxes": [{"name": "r1"}]}
    assert unknown_rows(ORDER, doc, {"items": [{"name": "r1"}]}) == [("items", "r9"), ("taxes", "r1")]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (("A1",), ("a1 ",), True),
        (("á1",), ("A1",), True),
        (("Straße",), ("STRASSE",), True),
        ((5.0,), (5,), True),
        ((" A1",), ("A1",), False),
        (("ab", "c"), ("a", "bc"), False),
        (("A1", ""), ("A1",), False),
    ],
)
def test_keys_are_the_same_where_the_sites_collation_says_so(one: Any, other: Any, same: bool) -> None:
    """Case, accents and blanks at the end do not tell keys apart; the parts of a key stay parts."""
    assert (key_digest(one) == key_digest(other)) is same
    assert key_digest(one, exact=True) != key_digest(other, exact=True) or one == (5.0,)


@given(st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 30), max_size=200))
def test_the_second_of_a_key_is_told_the_first(digests: list[int]) -> None:
    """The line of the first, at any number of keys: the same as a dictionary would say."""
    seen, known = Duplicates(), dict[int, int]()
    for line, digest in enumerate(digests, 1):
        assert seen.first(digest, line) == known.get(digest)
        known.setdefault(digest, line)
    assert len(seen) == len(known)


def test_many_keys_stay_small() -> None:
    """50,000 keys take 12 bytes a slot, and each is found again after the table has grown."""
    draw, seen = random.Random(5), Duplicates()
    digests = [draw.getrandbits(64) for _ in range(50_000)]
    assert all(seen.first(digest, line) is None for line, digest in enumerate(digests, 1))
    assert all(seen.first(digest, 9) == line for line, digest in enumerate(digests, 1))
    assert seen.size == 12 * 131_072
