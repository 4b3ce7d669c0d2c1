"""Values that a side cannot hold, and forms of its own in which a side keeps what it was told: matters of one pair."""

from __future__ import annotations

from typing import Any

import pytest

from daemon.core.links import Status
from daemon.sandbox.replies import Answer
from tests.jobs.shop import SITE

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
