"""Values that a side cannot hold, and forms of its own in which a side keeps what it was told: matters of one pair."""

from __future__ import annotations

from typing import Any

import pytest

from daemon.core.links import Status
from daemon.sandbox import documents, orders
from daemon.sandbox.replies import Answer
from tests.jobs.shop import FIELDS, SITE

DRAFTS = SITE.replace('filters = [["docstatus", "=", 1]]\n', "")


@pytest.fixture
def raw(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Text → what the wire carries in its place, such as what no JSON library writes."""
    swaps: dict[str, str] = {}
    encoded = Answer.encoded

    def swapped(answer: Any) -> bytes:
        content: bytes = encoded(answer)
        for text, other in swaps.items():
            content = content.replace(f'"{text}"'.encode(), other.encode())
        return content

    monkeypatch.setattr(Answer, "encoded", swapped)
    return swaps


@pytest.mark.parametrize(
    ("value", "kind", "said"),
    [
        ('"x\\ud800y"', "BadValue", "note is 'x\\ud800y' at the remote"),
        ("NaN", "Malformed", "its note is NaN"),
        ("1e999", "Malformed", "its note is a number beyond reason"),
        ("1" * 5000, "Malformed", "its note is a number beyond reason"),
        ('{"a": 1, "a": 2}', "Malformed", "its note.a is there twice"),
        ("[" * 150 + "]" * 150, "Malformed", "is nested more than 100 levels deep"),
    ],
)
def test_a_value_that_is_none_fails_its_own_record_alone(value, kind, said, raw, shop_for) -> None:
    """By id and field, whether the record is new or known; the others go on, and so does this one once it is mended."""
    shop = shop_for(site=DRAFTS)
    ids = [shop.placed() for _ in range(3)]
    shop.run()
    raw["odd"] = value
    new = shop.placed(note="odd")
    shop.api.edit(ids[1], note="odd")
    for id_ in ids:
        shop.api.edit(id_, status="paid")
    report = shop.run("pull")
    assert report["errors"] == {kind: 2} and report["counts"] == {"done": 2, "failed": 2}
    told = [f"{s['name']} {s['reason']}" for s in report["parts"][0]["samples"] if s["result"] == "failed"]
    assert all(any(id_ in one and said in one for one in told) for id_ in (new, ids[1])), told
    assert [shop.by_id(id_)["custom_external_status"] for id_ in ids] == ["paid", "new", "paid"]
    raw.clear()
    for id_ in (new, ids[1]):
        shop.api.edit(id_, note="mended")
    assert shop.run("pull")["counts"] == {"done": 2}
    assert shop.by_id(new)["po_no"] == shop.by_id(ids[1])["po_no"] == "mended"


def test_such_a_value_of_the_site_fails_its_own_document_alone(raw, shop_for) -> None:
    """No database of a site should hold one; if it does, nothing of it goes out."""
    shop = shop_for(site=DRAFTS)
    odd, _ = shop.order(po_no="odd"), shop.order(po_no="plain")
    raw["odd"] = '"x\\ud800y"'
    report = shop.run("push")
    assert report["errors"] == {"BadValue": 1} and "po_no is 'x" in shop.link(odd).why
    assert shop.link(odd).status == Status.FAILED and len(shop.api.orders) == 1


def test_a_form_that_the_site_gives_to_what_it_is_told_is_not_sent_back(shop_for, monkeypatch) -> None:
    """Such as text without its scripts: the record keeps its own, and neither side is told anything more."""
    shop = shop_for(site=DRAFTS)
    prepared = documents._prepared

    def cleaned(*args: Any) -> Any:
        doc = prepared(*args)
        return {**doc, "po_no": doc["po_no"].replace("<script>x</script>", "")} if doc.get("po_no") else doc

    monkeypatch.setattr(documents, "_prepared", cleaned)
    id_ = shop.placed(note="<b>html</b> <script>x</script>")
    shop.run()
    shop.run()
    assert shop.by_id(id_)["po_no"].strip() == "<b>html</b>"
    shop.writes()
    shop.run(wish={"full": True})
    assert shop.writes() == [] and shop.api.orders[id_]["note"] == "<b>html</b> <script>x</script>"
    shop.edit(shop.by_id(id_)["name"], po_no="edited")
    shop.run()
    assert shop.api.orders[id_]["note"] == "edited"


def test_what_the_site_fills_in_by_itself_is_still_told(shop_for, monkeypatch) -> None:
    """A record that said nothing learns what the document got."""
    shop = shop_for(site=DRAFTS)
    prepared = documents._prepared
    monkeypatch.setattr(documents, "_prepared", lambda *args: {**prepared(*args), "po_no": "PO-1"})
    id_ = shop.placed()
    shop.run()
    shop.run()
    assert shop.api.orders[id_]["note"] == "PO-1"


def test_a_weak_etag_is_no_condition(shop, monkeypatch) -> None:
    """If-Match compares strongly, so that none would ever fit (RFC 9110, 13.1.1): the record is read before instead."""
    etag = orders.etag
    monkeypatch.setattr(orders, "etag", lambda order: f"W/{etag(order)}")
    name = shop.order()
    shop.run()
    shop.edit(name, po_no="x")
    assert shop.run("push")["counts"] == {"done": 1}
    (patch,) = [seen for seen in shop.api.requests if seen.method == "PATCH"]
    assert patch.status == 200 and "if-match" not in patch.headers
    assert shop.api.orders[shop.link(name).remote]["note"] == "x"


def test_a_function_of_a_row_is_given_the_whole_row(shop_for, tmp_path) -> None:
    """As the site holds it, when a record is made and when one cell of it changes."""
    file = tmp_path / "sums.py"
    file.write_text(
        "def total(rate, row):\n    return float(rate) * float(row['qty'])\n"
        "def rate(total, row):\n    return float(total) / float(row['qty'])\n"
    )
    ways = f'pull = "{file}:rate", push = "{file}:total" }}'
    shop = shop_for(site=DRAFTS, fields=FIELDS.replace('remote = "rate" }', f'remote = "rate", {ways}'))
    name = shop.order(submit=False, items=[{"item_code": "A", "qty": 3, "rate": 5}])
    shop.run()
    id_ = str(shop.doc(name)["custom_external_id"])
    assert shop.api.orders[id_]["items"] == [{"sku": "A", "qty": 3, "rate": 15.0}]
    (row,) = shop.doc(name)["items"]
    shop.edit(name, items=[{**row, "rate": 6}])
    assert not shop.run()["errors"]
    assert shop.api.orders[id_]["items"] == [{"sku": "A", "qty": 3, "rate": 18.0}]
