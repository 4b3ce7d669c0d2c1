"""What may be taken back, decided from what is there: nobody's later edit is lost, nobody else's document goes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.core.doctype import DocType, Field
from daemon.core.undo import Span, nearest, of_changed, of_created, of_deleted, paired, payload

ROWS = DocType("Row", (Field("item"), Field("qty", fieldtype="Float")), istable=True)
THING = DocType(
    "Thing",
    (Field("a"), Field("b"), Field("secret", fieldtype="Password"), Field("rows", fieldtype="Table", options="Row")),
    {"rows": ROWS},
)
SPAN = Span("2026-01-05 08:00:00.000000", "2026-01-05 08:00:10.000000")
MADE = {"owner": "me", "modified_by": "me", "docstatus": 0, "creation": "2026-01-05 08:00:05.000000",
        "modified": "2026-01-05 08:00:05.000000"}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "verb"),
    [
        ({}, "delete"),
        ({"docstatus": 1}, "cancel"),
        ({"docstatus": 2}, "keep"),
        ({"modified": "2026-01-05 08:00:06.000000"}, "delete"),  # a hook of the site, within the request
        ({"modified": "2026-01-05 08:00:06.000000", "modified_by": "you"}, "conflict"),
        ({"modified": "2026-01-05 08:00:09.000000"}, "conflict"),  # later than a hook would be
        ({"modified": "2026-01-06 08:00:00.000000"}, "conflict"),
        ({"modified": "2026-01-05 08:00:09.500000"}, "delete"),  # as our own submitting left it
        ({"owner": "you"}, "keep"),
        ({"creation": "2026-01-07 08:00:00.000000"}, "keep"),  # the name was given again
    ],
)
def test_a_created_document(change: dict[str, Any], verb: str) -> None:
    """It goes only where it is the run's own and as the run left it."""
    assert of_created({**MADE, **change}, SPAN, "me", "2026-01-05 08:00:09.500000").verb == verb
    assert of_created(None, SPAN, "me").verb == "keep"


texts = st.sampled_from(["", "x", "y", "z"])


@given(was=texts, sent=texts, now=texts, same=st.booleans(), other=texts)
def test_a_changed_field(was: str, sent: str, now: str, same: bool, other: str) -> None:
    """Put back only what the run wrote, or what the site says nobody saved since; never over somebody's own value."""
    left = {"modified": "m1"} if same else {}
    row = {"a": now, "b": other, "modified": "m1" if same else "m2", "modified_by": "you", "docstatus": 0}
    found = of_changed(THING, {"a": was}, {"a": sent}, left, row)
    if now == was:
        assert found.verb == "keep"
    elif same or now == sent:
        assert (found.verb, dict(found.values)) == ("put back", {"a": was})
    else:
        assert found.verb == "conflict" and "a" in found.why


def test_what_the_site_keeps_in_other_words_is_known_again() -> None:
    """Such as HTML that it cleaned: its reply to our update told."""
    row = {"a": "<p>x</p>", "modified": "m2", "docstatus": 0}
    left = {"modified": "m1", "kept": {"a": "<p>x</p>"}}
    assert of_changed(THING, {"a": "old"}, {"a": "<p onclick=1>x</p>"}, left, row).verb == "put back"


def test_a_password_is_never_put_back() -> None:
    """Nobody knows what it was; an empty one would lock people out."""
    row = {"a": "new", "secret": "***", "modified": "m1", "docstatus": 0}
    found = of_changed(THING, {"a": "old", "secret": None}, {"a": "new", "secret": "x"}, {"modified": "m1"}, row)
    assert dict(found.values) == {"a": "old"}


def test_rows_that_are_gone_are_made_anew() -> None:
    """Under their old names they would be lost; those that are there keep theirs."""
    was = {"rows": [{"name": "r1", "item": "A", "qty": 1, "parent": "T"}, {"name": "r2", "item": "B", "qty": 2}]}
    row = {"rows": [{"name": "r2", "item": "C", "qty": 2}], "modified": "m1", "docstatus": 0}
    found = of_changed(THING, was, {"rows": []}, {"modified": "m1"}, row)
    assert found.values["rows"] == [{"item": "A", "qty": 1}, {"name": "r2", "item": "B", "qty": 2}]


@pytest.mark.parametrize(
    ("row", "there", "back", "archived", "verb"),
    [
        ({"restored": 0}, False, "", False, "restore"),
        ({"restored": 0}, False, "", True, "restore"),
        ({"restored": 1, "new_name": "n"}, False, "", True, "keep"),
        ({"restored": 0}, True, "", False, "conflict"),
        (None, True, "", True, "keep"),
        (None, False, "", True, "insert"),
        (None, False, "n", True, "keep"),
        (None, False, "?", True, "conflict"),
        (None, False, "", False, "lost"),
    ],
)
def test_a_deleted_row(row: Any, there: bool, back: str, archived: bool, verb: str) -> None:
    """The site's own record first, then the archive; never twice, never over another."""
    assert of_deleted(row, there=there, came_back=back, archived=archived, why="gone").verb == verb


def test_of_several_deleted_documents_the_nearest_counts() -> None:
    """A name that was given and deleted again, before or after the run."""
    from datetime import datetime

    rows = [{"name": n, "deleted_name": "x", "creation": f"2026-01-05 0{h}:00:05"} for n, h in (("a", 7), ("b", 8))]
    assert nearest(rows, SPAN, datetime.fromisoformat)["x"]["name"] == "b"


def test_an_archived_document_is_sent_without_what_the_site_makes() -> None:
    """Stamps, names and Passwords; child rows bare. A document that came of it is known again."""
    doc = {"name": "T", "creation": "c", "owner": "o", "a": "x", "b": None, "secret": "***", "_user_tags": "t",
           "rows": [{"name": "r", "parent": "T", "item": "A", "qty": 1}]}  # fmt: skip
    sent = payload(THING, doc)
    assert sent == {"doctype": "Thing", "a": "x", "rows": [{"item": "A", "qty": 1}]}
    new = {"name": "N", "a": "x", "rows": [{"name": "q", "item": "A", "qty": 1}]}
    assert paired(THING, [doc], [{**new, "name": "M", "a": "y"}, new]) == ({"T": "N"}, 1)
