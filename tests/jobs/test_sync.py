"""Syncs: what each side is told, that nothing is made twice, lost or overwritten unseen, and what stops a sync."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from daemon.core.links import PULL, PUSH, Status
from daemon.errors import ConfigError
from daemon.remote.client import Remote
from daemon.sandbox import Fault
from daemon.site.client import Site
from tests.jobs.shop import FIELDS, FIND, RECORD, SITE, Shop

# Plain work


def test_records_become_documents_and_are_kept_up_with(shop) -> None:
    """With the id, the status and the stamp; and a run without changes writes nothing."""
    id_ = shop.placed(status="paid")
    report = shop.run("pull")
    assert report["status"] == "done" and report["counts"] == {"done": 1}
    doc = shop.by_id(id_)
    assert (doc["customer"], doc["custom_external_status"], doc["custom_external_sync_pending"]) == ("Acme", "paid", 0)
    assert doc["items"][0]["qty"] == 2 and doc["docstatus"] == 0 and doc["custom_last_synced"]
    shop.writes()
    shop.run()
    assert shop.writes() == []
    shop.api.edit(id_, status="shipped")
    assert shop.run("pull")["counts"] == {"done": 1} and shop.by_id(id_)["custom_external_status"] == "shipped"


def test_submitted_pending_documents_become_records(shop) -> None:
    """Drafts and documents that are not pending do not. What is written back is no change."""
    shop.order(submit=False)
    name, other = shop.order(), shop.order(custom_external_sync_pending=0)
    assert shop.run("push")["counts"] == {"done": 1}
    (order,) = shop.api.orders.values()
    assert (order["order_id"], order["total"], order["items"]) == (name, 5, [{"sku": "A", "qty": 1, "rate": 5}])
    doc = shop.doc(name)
    assert (
        doc["custom_external_id"] == order["id"]
        and not doc["custom_external_sync_pending"]
        and doc["custom_last_synced"]
    )
    assert shop.run("pull")["counts"] == {"done": 1} and shop.doc(name)["custom_external_status"] == "new"
    shop.writes()
    assert shop.run()["counts"] == {} and shop.writes() == []
    shop.edit(other, custom_external_sync_pending=1)
    assert shop.run("push")["counts"] == {"done": 1} and len(shop.api.orders) == 2


def test_changes_of_different_fields_on_both_sides_merge(shop) -> None:
    """Neither side loses its own."""
    name = shop.order()
    shop.run()
    id_ = shop.doc(name)["custom_external_id"]
    shop.edit(name, po_no="PO-7")
    shop.api.edit(id_, status="shipped")
    shop.run()
    assert shop.api.orders[id_]["note"] == "PO-7" and shop.doc(name)["custom_external_status"] == "shipped"
    assert shop.link(name).status == Status.LINKED


def test_a_conflict_is_held_until_somebody_decides(shop) -> None:
    """Nothing of the pair is written meanwhile; the decision is carried out by the next run."""
    for keep, note in (("site", "ours"), ("remote", "theirs")):
        name = shop.order()
        shop.run()
        id_ = shop.doc(name)["custom_external_id"]
        shop.edit(name, po_no="ours")
        shop.api.edit(id_, note="theirs", status="paid")
        report = shop.run()
        assert report["counts"]["failed"] == 1 and report["errors"] == {"Conflict": 1}
        link = shop.link(name)
        assert link.status == Status.CONFLICT and link.detail["paths"] == {"po_no": ["ours", "theirs"]}
        assert shop.doc(name).get("custom_external_status") == "new"
        assert "1 in conflict" in shop.run()["parts"][0]["notes"][0]
        link.detail["keep"], link.todo = keep, PULL | PUSH
        shop.links.save([link])
        shop.run()
        assert shop.doc(name)["po_no"] == shop.api.orders[id_]["note"] == note
        assert shop.doc(name)["custom_external_status"] == "paid" and shop.link(name).status == Status.LINKED


@pytest.mark.parametrize(("policy", "note"), [("site", "ours"), ("remote", "theirs"), ("newest", "theirs")])
def test_a_policy_decides_conflicts(policy, note, shop_for) -> None:
    """`newest` by the stamps of both sides."""
    shop = shop_for(top=f'on_conflict = "{policy}"\n')
    name = shop.order()
    shop.run()
    id_ = shop.doc(name)["custom_external_id"]
    shop.edit(name, po_no="ours")
    shop.api.edit(id_, note="theirs")
    shop.run()
    assert shop.doc(name)["po_no"] == shop.api.orders[id_]["note"] == note


def test_equal_changes_are_no_conflict(shop) -> None:
    """Whoever made them."""
    name = shop.order()
    shop.run()
    shop.edit(name, po_no="same")
    shop.api.edit(shop.doc(name)["custom_external_id"], note="same")
    assert shop.run()["errors"] == {} and shop.link(name).status == Status.LINKED


def test_rows_are_changed_one_by_one(shop) -> None:
    """A draft's rows keep their names, and what the mapping does not know stays in them."""
    id_ = shop.placed()
    shop.run()
    doc = shop.by_id(id_)
    shop.api.edit(id_, items=[{"sku": "A", "qty": 3, "rate": 10}, {"sku": "B", "qty": 1, "rate": 4}])
    shop.run()
    rows = shop.by_id(id_)["items"]
    assert [(row["item_code"], row["qty"]) for row in rows] == [("A", 3), ("B", 1)] and rows[0]["name"] == doc["items"][
        0
    ]["name"]
    shop.api.edit(id_, items=[{"sku": "B", "qty": 1, "rate": 4}])
    shop.run()
    assert [row["item_code"] for row in shop.by_id(id_)["items"]] == ["B"]


def test_a_dry_run_says_what_would_be_done_and_does_nothing(shop) -> None:
    """For each side, with the fields that differ and what a new twin would hold; and what it gathers is forgotten."""
    id_, name = shop.placed(), shop.order()
    shop.run()
    shop.writes()
    shop.api.edit(id_, status="paid")
    shop.edit(name, po_no="x")
    shop.placed(customer="Beta")
    shop.writes()
    report = shop.run(dry_run=True)
    said = {sample["reason"] for sample in report["parts"][0]["samples"]}
    assert {"site custom_external_status: 'new' → 'paid'", "remote po_no: None → 'x'"} < said and shop.writes() == []
    assert any("on the site, for record" in one and one.endswith("items: 1 row") for one in said)
    assert report["counts"] == {"planned": 3} and shop.links.counts() == {"linked": 2}
    assert shop.run()["counts"] == {"done": 3}


def test_a_dry_run_finds_what_a_new_document_would_lead_to(shop) -> None:
    """One request for each DocType, however many records; what is not there fails its record alone, by the field."""
    shop.placed(customer="Beta")
    shop.placed(customer="Nobody")
    bad = shop.placed(items=[{"sku": "A", "qty": 1, "rate": 1}, {"sku": "Z", "qty": 1, "rate": 1}])
    report = shop.run("pull", dry_run=True)
    assert report["counts"] == {"planned": 1, "failed": 2}
    reasons = [one["reason"] for one in report["parts"][0]["samples"] if one["result"] == "failed"]
    assert any(f"record {bad}: items[2].item_code: there is no Item 'Z'" in reason for reason in reasons)
    asked = [
        path for _, path, _ in shop.sandbox.requests if path.endswith(("/Customer", "/Item")) or "get_list" in path
    ]
    assert len(asked) <= 6


# Once, and not lost


@pytest.mark.parametrize("kind", ["lose_reply", "cut"])
@pytest.mark.parametrize("with_find", [True, False])
def test_a_lost_reply_to_a_create_makes_no_second_record(kind, with_find, shop_for) -> None:
    """It is looked up by the document's name, or sent again under its key where the API heeds that."""
    shop = shop_for(record=RECORD + (FIND if with_find else "idempotent = true\n"))
    shop.api.faults.add(Fault(kind, method="POST", path="/orders", times=2))
    name = shop.order()
    for _ in range(2):
        shop.run()
    (order,) = shop.api.orders.values()
    assert order["order_id"] == name and shop.doc(name)["custom_external_id"] == order["id"]


def test_a_create_whose_fate_nobody_can_tell_is_held(shop_for) -> None:
    """Neither a look-up nor a key that is heeded: a person must look, and nothing is sent again."""
    shop = shop_for(record=RECORD)
    shop.api.faults.add(Fault("cut", method="POST", path="/orders", times=1))
    name = shop.order()
    shop.run("push")
    shop.run("push")
    link = shop.link(name)
    assert link.status == Status.HELD and "no reply came" in link.why and not shop.api.orders


def test_a_record_of_ours_that_a_list_shows_first_gets_no_document(shop) -> None:
    """The reply to its creation was lost; it carries the name of its document."""
    shop.run("push")
    shop.api.faults.add(Fault("lose_reply", method="POST", path="/orders", times=9))
    shop.api.faults.add(Fault("status", method="GET", path="/orders*", times=40, code=404))
    name = shop.order()
    shop.run("push")
    shop.api.faults.clear()
    shop.run("pull")
    assert len(shop.api.orders) == 1 and shop.sandbox.count("Sales Order") == 1
    shop.run()
    assert shop.link(name).status == Status.LINKED and shop.doc(name)["custom_external_id"] in shop.api.orders


@pytest.mark.parametrize("kind", ["lose_reply", "cut"])
def test_lost_replies_of_the_site_make_nothing_double(kind, shop) -> None:
    """Neither a document for a record, nor a change."""
    ids = [shop.placed() for _ in range(3)]
    name = shop.order()
    shop.sandbox.faults.add(Fault(kind, method="POST", path="/api/resource/Sales%20Order", times=2))
    shop.sandbox.faults.add(Fault(kind, method="PUT", path="/api/resource/Sales%20Order/*", times=2))
    for _ in range(3):
        shop.run()
    assert shop.sandbox.count("Sales Order") == 4 and len(shop.api.orders) == 4
    assert {shop.by_id(id_)["custom_external_id"] for id_ in ids} == set(ids)
    assert shop.doc(name)["custom_external_id"] in shop.api.orders


def test_losing_the_state_doubles_nothing(shop, daemon_for) -> None:
    """Documents know the ids of their records, also through an amendment."""
    shop.placed()
    name = shop.order()
    shop.run()
    shop.edit(name, docstatus=2)
    amended = shop.order(amended_from=name, po_no="again")
    shop.run()
    shop.daemon.app.close()
    (shop.daemon.file.parent / "state.db").unlink()
    again = Shop(
        shop.sandbox,
        shop.api,
        daemon_for(
            shop.sandbox,
            shop.daemon.file.read_text().partition("\n[jobs")[2].join(("[jobs", "")),
            environ={"TOKEN": shop.api.token},
        ),
    )
    again.run()
    again.run()
    assert len(shop.api.orders) == 2 and shop.sandbox.count("Sales Order") == 3
    assert again.link(amended).status == Status.LINKED


@pytest.mark.parametrize("edited", ["site", "remote", "another field"])
def test_an_edit_between_reading_and_writing_is_not_overwritten(edited, shop) -> None:
    """The site's by `modified`, the record's by its ETag: both are read again, and it is a conflict; an edit of another
    field merges."""
    name = shop.order()
    shop.run()
    id_ = shop.doc(name)["custom_external_id"]
    if edited == "site":
        shop.api.edit(id_, note="first")
    else:
        shop.edit(name, po_no="first")
    once = iter([True])

    def meanwhile(writing: bool) -> None:
        if writing and next(once, False):
            match edited:
                case "site":
                    shop.edit(name, po_no="second")
                case "remote":
                    shop.api.edit(id_, note="second")
                case _:
                    shop.api.edit(id_, status="shipped")

    shop.watched("both", meanwhile)
    site, remote = shop.doc(name), shop.api.orders[id_]
    if edited == "another field":
        assert (site["po_no"], remote["note"], remote["status"]) == ("first", "first", "shipped")
    else:
        assert {site["po_no"], remote["note"]} == {"first", "second"}
        assert shop.link(name).status == Status.CONFLICT


# What is not told


def test_what_an_answer_or_a_list_does_not_tell_is_not_emptied(shop) -> None:
    """Answers of an API may be summaries: only a record that was read by itself says that a field is empty."""
    name = shop.order(po_no="kept")
    change, create = type(shop.api.shop).change, type(shop.api.shop).create
    with pytest.MonkeyPatch.context() as patch:
        for label, method in (("change", change), ("create", create)):
            patch.setattr(
                type(shop.api.shop),
                label,
                lambda *args, method=method: {
                    k: v for k, v in method(*args).items() if k in ("id", "updated_at", "version")
                },
            )
        shop.run()
        shop.run()
        assert shop.doc(name)["po_no"] == "kept"
        shop.edit(name, po_no="later")
        shop.run()
        shop.run()
    id_ = shop.doc(name)["custom_external_id"]
    assert (shop.doc(name)["po_no"], shop.api.orders[id_]["note"]) == ("later", "later")
    shop.api.edit(id_, note=None)
    shop.run()
    assert not shop.doc(name)["po_no"]


def test_a_list_of_summaries_shows_by_stamps_what_is_to_be_read(shop) -> None:
    """Without the note, which is read from each record that has changed, and from no other."""
    listed = type(shop.api.shop).listed
    ids = [shop.placed(note="first") for _ in range(3)]
    with pytest.MonkeyPatch.context() as patch:
        summary = lambda *args: [{k: v for k, v in one.items() if k != "note"} for one in listed(*args)]  # noqa: E731
        patch.setattr(type(shop.api.shop), "listed", summary)
        shop.run("pull")
        assert {shop.by_id(id_)["po_no"] for id_ in ids} == {"first"}
        shop.api.edit(ids[0], note="second")
        shop.api.requests.clear()
        shop.run("pull")
        assert [shop.by_id(id_)["po_no"] for id_ in ids] == ["second", "first", "first"]
        assert sum(seen.path.startswith("/orders/") for seen in shop.api.requests) == 1


def test_a_stamp_that_goes_back_hides_no_change(shop) -> None:
    """An API that was restored, or a clock that was set back: what differs is looked at, by reading the record."""
    id_ = shop.placed(note="first")
    shop.run()
    shop.api.edit(id_, note="second")
    shop.api.orders[id_]["updated_at"] = "2020-01-01T00:00:00.000000Z"
    shop.run(wish={"full": True})
    assert shop.by_id(id_)["po_no"] == "second"


def test_an_etag_alone_is_no_promise_that_if_match_is_heeded(shop_for) -> None:
    """Unless the configuration says so, a record is read before it is changed; so a conflict is seen."""
    shop = shop_for(record=RECORD + 'version = "version"\n' + FIND)
    name = shop.order()
    shop.run()
    id_ = shop.doc(name)["custom_external_id"]
    shop.api.edit(id_, note="theirs")
    shop.edit(name, po_no="ours")
    heed = type(shop.api)._heed_condition
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(shop.api), "_heed_condition", lambda *_: None)
        shop.run("push")
    assert heed and shop.api.orders[id_]["note"] == "theirs" and shop.link(name).status == Status.CONFLICT


# Rows of one key


def rows_of(shop: Shop, id_: str) -> list[float]:
    return [row["qty"] for row in shop.by_id(id_)["items"]]


def test_rows_of_one_key_keep_their_identity(shop_for) -> None:
    """One goes there while another is edited here: what is left is the edited one, and no row takes another's place."""
    shop = shop_for(site=SITE.replace('filters = [["docstatus", "=", 1]]\n', ""))
    one, two = ({"sku": "A", "qty": qty, "rate": 5} for qty in (1, 2))
    id_ = shop.placed(items=[one, two])
    shop.run()
    doc = shop.by_id(id_)
    shop.edit(doc["name"], items=[doc["items"][0], {**doc["items"][1], "qty": 3}])
    shop.api.edit(id_, items=[two])
    shop.run()
    assert [row["qty"] for row in shop.api.orders[id_]["items"]] == rows_of(shop, id_) == [3]


def test_a_row_that_goes_takes_no_other_with_it(shop) -> None:
    """The first of two rows of one item is removed there: here the second stays, with its own name."""
    one, two = ({"sku": "A", "qty": qty, "rate": 5} for qty in (1, 2))
    id_ = shop.placed(items=[one, two])
    shop.run()
    kept = shop.by_id(id_)["items"][1]["name"]
    shop.api.edit(id_, items=[two])
    shop.run()
    (row,) = shop.by_id(id_)["items"]
    assert (row["name"], row["qty"]) == (kept, 2)
    shop.writes()
    shop.api.edit(id_, items=[two, one])
    shop.run()
    assert sorted(rows_of(shop, id_)) == [1, 2]
    shop.writes()
    shop.api.edit(id_, items=[one, two])
    shop.run()
    assert not any(write.startswith("PUT") for write in shop.writes())


# Documents that live


def test_an_amended_order_keeps_its_record(shop) -> None:
    """Cancelled and amended under a new name: the record is told, and no second one is made."""
    name = shop.order()
    shop.run()
    id_ = shop.doc(name)["custom_external_id"]
    shop.edit(name, docstatus=2)
    amended = shop.order(amended_from=name, items=[{"item_code": "B", "qty": 4, "rate": 5}])
    shop.run()
    assert list(shop.api.orders) == [id_] and shop.api.orders[id_]["order_id"] == amended
    assert [item["sku"] for item in shop.api.orders[id_]["items"]] == ["B"]
    shop.api.edit(id_, status="shipped")
    shop.run()
    assert shop.doc(amended)["custom_external_status"] == "shipped"


def test_what_frappe_does_not_change_after_submit_is_held_and_not_tried_for_ever(shop) -> None:
    """Until one of the sides changes again."""
    name = shop.order()
    shop.run()
    id_ = shop.doc(name)["custom_external_id"]
    shop.api.edit(id_, items=[{"sku": "A", "qty": 9, "rate": 5}])
    shop.run()
    link = shop.link(name)
    assert link.status == Status.HELD and "submitted, and Frappe does not change items" in link.why
    shop.writes()
    shop.run()
    assert shop.writes() == []
    shop.api.edit(id_, items=[{"sku": "A", "qty": 1, "rate": 5}])
    shop.run()
    assert shop.link(name).status == Status.LINKED


def test_a_renamed_document_stays_the_twin(shop) -> None:
    """A rename leaves no stamp; the id field tells."""
    id_ = shop.placed()
    shop.run()
    shop.site(lambda site: site.rename_doc("Sales Order", shop.by_id(id_)["name"], "SO-NEW"))
    shop.api.edit(id_, status="paid")
    shop.run()
    assert shop.doc("SO-NEW")["custom_external_status"] == "paid" and shop.link("SO-NEW").remote == id_
    assert shop.sandbox.count("Sales Order") == 1 and len(shop.api.orders) == 1


@pytest.mark.parametrize("policy", ["propagate", "unlink", "ignore"])
def test_a_deleted_document(policy, shop_for) -> None:
    """What it means for its record is said by the configuration; it is never made anew."""
    shop = shop_for(top=f'deleted = {{ site = "{policy}" }}\n')
    id_, other = shop.placed(), shop.placed()
    shop.run()
    name = shop.by_id(id_)["name"]
    shop.site(lambda site: site.delete("Sales Order", name))
    shop.run()
    shop.api.edit(other, status="paid")
    if policy != "propagate":
        shop.api.edit(id_, status="paid")
    shop.run()
    assert (id_ in shop.api.orders) == (policy != "propagate")
    assert shop.sandbox.count("Sales Order") == 1 and shop.by_id(other)["custom_external_status"] == "paid"
    assert shop.link(id_).status == {"propagate": "ended", "unlink": "ended", "ignore": "absent"}[policy]


@pytest.mark.parametrize("policy", ["propagate", "unlink", "ignore"])
@pytest.mark.parametrize("submitted", [True, False])
def test_a_deleted_record(policy, submitted, shop_for) -> None:
    """A draft is deleted, a submitted document cancelled; found by the next full comparison."""
    shop = shop_for(top=f'deleted = {{ remote = "{policy}" }}\n')
    if submitted:
        name = shop.order()
        shop.run()
        id_ = shop.doc(name)["custom_external_id"]
    else:
        id_ = shop.placed()
        shop.run()
        name = shop.by_id(id_)["name"]
    shop.placed()
    shop.api.remove(id_)
    shop.run(wish={"full": True})
    shop.run()
    rows = shop.sandbox.rows("Sales Order", {"name": name}, ["docstatus"])
    expected = [{"docstatus": 2}] if submitted else []
    assert rows == (expected if policy == "propagate" else [{"docstatus": int(submitted)}])
    assert id_ not in shop.api.orders and len(shop.api.orders) == 1


def test_what_was_deleted_here_and_changed_there_is_a_conflict(shop_for) -> None:
    """The edit survives until somebody decides."""
    shop = shop_for(top='deleted = { site = "propagate" }\n')
    id_ = shop.placed()
    shop.run()
    shop.site(lambda site: site.delete("Sales Order", shop.by_id(id_)["name"]))
    shop.api.edit(id_, note="still wanted")
    shop.run()
    assert id_ in shop.api.orders and shop.link(id_).status == Status.CONFLICT


# Failures


def test_a_record_that_the_site_refuses_fails_alone(shop) -> None:
    """It is told with both ids and the field, tried again later each time, and in the end held for a person."""
    bad, good = shop.placed(customer="Nobody"), shop.placed()
    report = shop.run()
    assert report["counts"] == {"done": 1, "failed": 1} and shop.by_id(good)
    (sample,) = [s for s in report["parts"][0]["samples"] if s["result"] == "failed"]
    assert f"no document, record {bad}: customer: there is no Customer 'Nobody' (POST" in sample["reason"]
    seen = []
    while shop.link(bad).status == Status.FAILED:
        link = shop.link(bad)
        seen.append((link.due - shop.daemon.clock.now()).total_seconds())
        assert "failed" not in shop.run()["counts"]
        link.due = shop.daemon.clock.now()
        shop.links.save([link])
        shop.run()
    assert shop.link(bad).status == Status.HELD and len(seen) == 7 and seen == sorted(seen)
    shop.api.edit(bad, customer="Beta")
    shop.run()
    assert shop.by_id(bad)["customer"] == "Beta" and shop.link(bad).status == Status.LINKED


@pytest.mark.parametrize("form", ["no id", "id", "stamp", "no object"])
def test_a_malformed_record_fails_and_the_others_do_not(form, shop) -> None:
    """Wherever it stands in the list."""
    for _ in range(3):
        shop.placed()
    shop.api.faults.add(Fault("malformed", path="/orders", form=form, times=1))
    report = shop.run("pull")
    assert report["counts"] == {"done": 2, "failed": 1} and report["errors"] == {"Malformed": 1}
    shop.run("pull", wish={"full": True})
    assert shop.sandbox.count("Sales Order") == 3


LIES = ("endless", "repeat_page", "html", "error_200", "status")


@pytest.mark.parametrize("fault", [Fault(kind, path="/orders", code=500) for kind in LIES])
def test_a_list_that_lies_ends_the_pull_and_moves_no_cursor(fault, shop) -> None:
    """Nothing is lost: the next run reads it again."""
    for _ in range(250):
        shop.placed()
    shop.api.faults.add(fault)
    assert shop.run("pull")["status"] in ("failed", "some failed")
    shop.api.faults.clear()
    shop.run("pull")
    assert shop.sandbox.count("Sales Order") == 250


# Safety


def pairs(shop: Shop, number: int = 25) -> list[str]:
    ids = [shop.placed() for _ in range(number)]
    shop.run()
    return ids


def error_of(report: dict[str, Any]) -> str:
    return " ".join(str(part["error"] and part["error"]["message"]) + part["refused"] for part in report["parts"])


def test_a_side_that_is_suddenly_empty_stops_the_sync_until_it_is_released(shop_for) -> None:
    """Also when it is full again."""
    shop = shop_for(top='deleted = { remote = "propagate" }\n')
    ids = pairs(shop)
    kept, shop.api.shop.orders = shop.api.shop.orders, {}
    assert "remote is suddenly empty" in error_of(shop.run(wish={"full": True}))
    shop.api.shop.orders = kept
    assert "stopped since" in error_of(shop.run()) and shop.sandbox.count("Sales Order") == 25
    assert shop.run(wish={"release": True})["status"] == "done"
    shop.api.edit(ids[0], status="paid")
    assert shop.run()["counts"] == {"done": 1}


def test_too_many_deletions_are_refused(shop_for) -> None:
    """By their share of all pairs; a release lets them through."""
    shop = shop_for(top='deleted = { remote = "propagate" }\nmax_delete = 10\n')
    for id_ in pairs(shop)[:5]:
        shop.api.remove(id_)
    report = shop.run(wish={"full": True})
    assert "5 of 25 pairs lost the remote's half: 20 %, more than max_delete = 10" in error_of(report)
    assert "stopped since" in error_of(shop.run()) and shop.sandbox.count("Sales Order") == 25
    shop.run(wish={"release": True})
    assert shop.sandbox.count("Sales Order") == 20


def test_small_deletions_of_a_day_add_up(shop_for) -> None:
    """Each below the bound, and together above it."""
    shop = shop_for(top='deleted = { remote = "propagate" }\n')
    ids = pairs(shop)
    for id_ in ids[:5]:
        shop.api.remove(id_)
    assert error_of(shop.run(wish={"full": True})).strip("None ") == "" and shop.sandbox.count("Sales Order") == 20
    for id_ in ids[5:10]:
        shop.api.remove(id_)
    report = shop.run(wish={"full": True})
    assert "10 of 25 pairs lost the remote's half, 5 of them within a day before: 40 %" in error_of(report)
    assert shop.sandbox.count("Sales Order") == 20


def test_what_came_since_makes_no_deletion_safer(shop_for) -> None:
    """Another shop behind the same address: its orders come in by small steps, and then ours are missing."""
    shop = shop_for(top='deleted = { remote = "propagate" }\n')
    ours = pairs(shop)
    for id_ in ours:
        shop.api.remove(id_)
    for _ in range(2):
        for _ in range(45):
            shop.placed(customer="Beta")
        shop.run("pull")
    report = shop.run(wish={"full": True})
    assert "25 of 25 pairs lost the remote's half: 100 %" in error_of(report)
    assert shop.sandbox.count("Sales Order", {"customer": "Acme"}) == 25


@pytest.mark.parametrize("side", ["site", "remote"])
def test_more_new_ones_at_once_than_is_likely_stop_the_sync(side, shop) -> None:
    """More than twice the pairs that are known: it may be another shop, or another site. Nothing is made."""
    pairs(shop)
    for _ in range(51):
        if side == "remote":
            shop.placed(customer="Beta")
        else:
            shop.order(customer="Beta")
    assert f"the {side} has 51 at once that are new, but 25 pairs are known" in error_of(shop.run())
    assert len(shop.api.orders) == (76 if side == "remote" else 25)
    assert shop.run(wish={"release": True})["counts"]["done"] == 51


def test_what_waits_to_be_deleted_is_not_while_the_sync_is_stopped(shop_for) -> None:
    """Deletions are not carried out by a run that was stopped before it looked at anything."""
    shop = shop_for(top='deleted = { remote = "propagate" }\ncanary = { site = "none", remote = "none" }\n')
    assert "the canary is missing" in error_of(shop.run())
    shop.run(wish={"release": True})
    id_ = shop.placed()
    shop.run(wish={"release": True})
    link = shop.link(id_)
    link.status, link.detail = Status.GONE, {"gone": "remote"}
    shop.links.save([link])
    shop.api.remove(id_)
    assert "the canary is missing" in error_of(shop.run()) and shop.sandbox.count("Sales Order") == 1


def test_first_runs_of_each_direction_do_not_stop_themselves(shop_for) -> None:
    """What the first push has to tell of pairs that a pull made is no change of everything at once."""
    shop = shop_for(site=SITE.replace('filters = [["docstatus", "=", 1]]\n', ""))
    for _ in range(25):
        shop.placed()
    assert shop.run("pull")["counts"] == {"done": 25}
    assert shop.run("push")["counts"] == {"done": 25}
    assert all(order["order_id"] for order in shop.api.orders.values())


def test_everything_changed_at_once_stops_the_sync(shop) -> None:
    """As after a shift of clocks or a botched migration."""
    for id_ in pairs(shop):
        shop.api.edit(id_, note="garbage")
    assert "25 of 25 pairs changed at once" in error_of(shop.run())
    assert not shop.sandbox.count("Sales Order", {"po_no": "garbage"})
    shop.run(wish={"release": True})
    assert shop.sandbox.count("Sales Order", {"po_no": "garbage"}) == 25


def test_a_changed_mapping_needs_a_resync(shop, daemon_for) -> None:
    """What both sides agreed upon may mean something else now; so nothing is taken for a change of either."""
    id_ = shop.placed(note="theirs")
    shop.run()
    shop.daemon.app.close()
    text = shop.daemon.file.read_text()
    jobs = "[jobs" + text.partition("[jobs")[2].replace('remote = "note"', 'remote = "memo"')
    shop.daemon = daemon_for(shop.sandbox, jobs, environ={"TOKEN": shop.api.token})
    assert "the mapping, a filter or an address was changed" in error_of(shop.run())
    shop.run(wish={"resync": True})
    assert shop.by_id(id_)["po_no"] == "theirs" and shop.link(id_).status == Status.CONFLICT
    assert "was changed" not in error_of(shop.run())


def test_a_missing_canary_stops_the_sync(shop_for) -> None:
    """Something is wrong with one of the sides as a whole."""
    shop = shop_for(top='canary = { site = "SO-CANARY", remote = "ord-1" }\n')
    shop.placed()
    assert "the canary is missing: Sales Order SO-CANARY" in error_of(shop.run())
    assert shop.sandbox.count("Sales Order") == 0


def test_both_directions_share_one_lock(shop) -> None:
    """One waits for the other, until its own time is up."""
    with shop.daemon.app.state.claim("sync orders"):
        report = shop.run("push")
    assert report["status"] == "stopped" and shop.daemon.clock.passed > 3000


def test_a_late_commit_is_seen_by_the_overlap(shop) -> None:
    """A change whose stamp is older than the newest that was seen."""
    shop.placed()
    shop.run()
    id_ = shop.placed()
    order = shop.api.orders[id_]
    order["updated_at"] = (shop.api.shop.clock() - timedelta(minutes=20)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    shop.run()
    assert shop.by_id(id_)


# What looks like something else


def test_a_document_that_is_hidden_is_not_taken_for_deleted(shop_for) -> None:
    """A list that leaves it out proves nothing: it is asked for by name."""
    shop = shop_for(top='deleted = { site = "propagate" }\n')
    id_ = shop.placed()
    shop.run()
    name = shop.by_id(id_)["name"]
    shop.api.edit(id_, note="new")
    whole = Site.whole
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            Site, "whole", lambda self, doctype, names: [d for d in whole(self, doctype, names) if d["name"] != name]
        )
        shop.run()
    assert id_ in shop.api.orders and shop.doc(name)["po_no"] == "new"


def test_what_comes_back_is_not_deleted(shop_for) -> None:
    """Also where a refusal of deletions was released only then."""
    shop = shop_for(top='deleted = { remote = "propagate" }\nmax_delete = 10\n')
    ids = pairs(shop)
    gone = {id_: shop.api.shop.orders.pop(id_) for id_ in ids[:5]}
    assert "max_delete" in error_of(shop.run(wish={"full": True}))
    shop.api.shop.orders.update(gone)
    shop.run(wish={"release": True})
    assert shop.sandbox.count("Sales Order") == 25 and shop.links.counts() == {"linked": 25}


def test_a_record_of_ours_that_is_listed_beside_its_document_is_not_made_again(shop) -> None:
    """Both sides' lists show one half each, and the state knows neither."""
    name = shop.order()
    shop.placed(order_id=name, customer="Acme", items=[{"sku": "A", "qty": 1, "rate": 5}])
    shop.run()
    assert len(shop.api.orders) == 1 and shop.link(name).status == Status.LINKED


def test_a_stamp_of_the_future_stops_no_cursor(shop) -> None:
    """What changes afterwards has a stamp before it."""
    id_ = shop.placed()
    shop.api.orders[id_]["updated_at"] = "2099-01-01T00:00:00.000000Z"
    shop.run()
    later = shop.placed()
    shop.run()
    assert shop.by_id(later)


def test_since_moves_no_cursor_past_what_it_left_out(shop) -> None:
    """A person who looks at today only loses nothing of yesterday."""
    shop.placed()
    shop.run()
    late = shop.placed()
    shop.run(wish={"since": (shop.daemon.clock.now() + timedelta(minutes=50)).isoformat()})
    shop.run()
    assert shop.by_id(late)


def test_a_decision_is_about_the_values_that_were_seen(shop) -> None:
    """What came after it is asked about again."""
    name = shop.order()
    shop.run()
    id_ = shop.doc(name)["custom_external_id"]
    shop.edit(name, po_no="ours")
    shop.api.edit(id_, note="theirs")
    shop.run()
    link = shop.link(name)
    link.detail["keep"], link.todo = "site", PULL | PUSH
    shop.links.save([link])
    shop.api.edit(id_, note="later")
    shop.run()
    assert shop.api.orders[id_]["note"] == "later" and shop.link(name).status == Status.CONFLICT


def test_what_an_answer_brings_is_told_and_not_agreed_upon(shop) -> None:
    """The other side changed something of its own meanwhile."""
    name = shop.order()
    shop.run()
    id_ = shop.doc(name)["custom_external_id"]
    change = type(shop.api.shop).change
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(shop.api.shop), "change", lambda one, id, made: change(one, id, {**made, "status": "seen"}))
        shop.edit(name, po_no="x")
        shop.run()
    shop.run()
    assert shop.doc(name)["custom_external_status"] == "seen" and shop.api.orders[id_]["note"] == "x"


def test_what_was_never_sent_needs_nobody_to_look(shop_for) -> None:
    """Neither a look-up nor a key: an API that is away, or takes nothing, has made no record, and is asked again."""
    shop = shop_for(record=RECORD)
    names = [shop.order() for _ in range(2)]
    shop.api.faults.add(Fault("status", method="POST", path="/orders", code=429, html=False, retry_after=9999))
    shop.run("push")
    shop.api.faults.clear()
    shop.run("push")
    assert len(shop.api.orders) == 2
    assert {shop.link(name).status for name in names} == {Status.LINKED}


@pytest.mark.parametrize("safeguard", [FIND, "idempotent = true\n"])
def test_a_lost_state_doubles_no_record_whose_id_never_came_back(safeguard, shop_for, daemon_for) -> None:
    """Killed after the create, then the state is lost: it is looked up, or asked for by the same key."""
    shop = shop_for(record=RECORD + safeguard)
    asked_and_killed(shop)
    shop.daemon.app.close()
    (shop.daemon.file.parent / "state.db").unlink()
    text = "[jobs" + shop.daemon.file.read_text().partition("[jobs")[2]
    shop.daemon = daemon_for(shop.sandbox, text, environ={"TOKEN": shop.api.token})
    shop.run()
    assert len(shop.api.orders) == 1


def test_a_cancelled_document_counts_as_deleted_where_wished(shop_for) -> None:
    """`cancelled = "propagate"`: its record is deleted, once."""
    shop = shop_for(top='deleted = { site = "propagate" }\n', site=SITE + 'cancelled = "propagate"\n')
    name = shop.order()
    shop.run()
    shop.edit(name, docstatus=2)
    shop.run()
    assert not shop.api.orders and shop.link(name).status == Status.ENDED


def test_a_refused_create_may_be_tried_again(shop_for) -> None:
    """An answer came, so that nobody needs to look."""
    shop = shop_for(record=RECORD)
    shop.api.faults.add(Fault("status", method="POST", path="/orders", code=422, html=False, times=1))
    name = shop.order()
    shop.run("push")
    link = shop.link(name)
    assert link.status == Status.FAILED
    link.due = shop.daemon.clock.now()
    shop.links.save([link])
    shop.run("push")
    assert len(shop.api.orders) == 1 and shop.link(name).status == Status.LINKED


class Killed(BaseException):
    """Ends a run as SIGKILL would, once the API has made the record."""


def asked_and_killed(shop: Shop, **values: Any) -> str:
    """An order whose record was made by a request whose reply nobody lived to see."""
    name = shop.order(**values)
    app = shop.daemon.app
    opened = app.runner.open_remote

    def deadly(*args: Any) -> Any:
        remote = opened(*args)
        create = remote.create

        def killed(*asked: Any) -> Any:
            create(*asked)
            raise Killed

        remote.create = killed
        return remote

    app.runner.open_remote = deadly
    with pytest.raises(Killed):
        shop.run("push")
    app.runner.open_remote = opened
    return name


@pytest.mark.parametrize("with_find", [True, False])
def test_a_document_that_was_edited_after_a_kill_gets_one_record(with_find, shop_for) -> None:
    """The same request again, or the record found; the edit is told after it."""
    shop = shop_for(record=RECORD + (FIND if with_find else "idempotent = true\n"))
    name = asked_and_killed(shop)
    shop.edit(name, po_no="later")
    for _ in range(2):
        shop.run()
    (order,) = shop.api.orders.values()
    assert order["note"] == "later" and shop.doc(name)["custom_external_id"] == order["id"]
    assert shop.doc(name)["custom_external_status"] == "new"


def test_a_document_that_was_amended_after_a_kill_gets_one_record(shop) -> None:
    """It is looked up under the name that it had."""
    name = asked_and_killed(shop)
    shop.edit(name, docstatus=2)
    amended = shop.order(amended_from=name)
    for _ in range(2):
        shop.run("push")
    (order,) = shop.api.orders.values()
    assert order["order_id"] == amended and shop.sandbox.count("Sales Order") == 2


def test_a_document_that_was_deleted_after_a_kill_is_not_made_anew(shop_for) -> None:
    """Its record is known for its twin."""
    shop = shop_for(site=SITE.replace('filters = [["docstatus", "=", 1]]\n', ""))
    name = asked_and_killed(shop, submit=False)
    shop.site(lambda site: site.delete("Sales Order", name))
    for _ in range(2):
        shop.run()
    assert shop.sandbox.count("Sales Order") == 0 and len(shop.api.orders) == 1


@pytest.mark.parametrize("kind", ["lose_reply", "cut"])
@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_what_is_to_be_submitted_is_submitted(kind, method, shop_for) -> None:
    """Whichever reply was lost on the way."""
    shop = shop_for(site=SITE + "submit = true\n")
    shop.sandbox.faults.add(Fault(kind, method=method, path="/api/resource/Sales%20Order*", times=1))
    id_ = shop.placed()
    for _ in range(2):
        shop.run()
    assert shop.by_id(id_)["docstatus"] == 1 and shop.sandbox.count("Sales Order") == 1


def test_a_full_comparison_finds_what_no_stamp_shows(shop) -> None:
    """A hook of the site wrote past `modified`."""
    name = shop.order()
    shop.run()
    shop.sandbox.set("Sales Order", name, po_no="quietly")
    shop.run()
    shop.run(wish={"full": True})
    assert shop.api.orders[shop.doc(name)["custom_external_id"]]["note"] == "quietly"


def test_cells_of_rows_go_their_own_way(shop_for) -> None:
    """A rate that only the site decides is not overwritten by the record's."""
    rate = '{ site = "rate", remote = "rate", flow = "push" }'
    shop = shop_for(fields=FIELDS.replace('{ site = "rate", remote = "rate" }', rate))
    id_ = shop.placed()
    shop.run()
    name = shop.by_id(id_)["name"]
    shop.edit(name, items=[{**shop.by_id(id_)["items"][0], "rate": 7}])
    shop.api.edit(id_, items=[{"sku": "A", "qty": 5, "rate": 99}])
    shop.run()
    (row,) = shop.doc(name)["items"]
    assert (row["qty"], row["rate"]) == (5, 7)


def test_a_draft_that_is_edited_as_its_record_is_seen_to_be_gone_stays(shop_for) -> None:
    """What was deleted there and changed here waits for a person, who may want it to have a twin again."""
    shop = shop_for(top='deleted = { remote = "propagate" }\n')
    id_ = shop.placed()
    shop.placed()
    shop.run()
    name = shop.by_id(id_)["name"]
    shop.api.remove(id_)
    shop.edit(name, po_no="still wanted")
    shop.run(wish={"full": True})
    link = shop.link(name)
    assert link.status == Status.CONFLICT and shop.doc(name)
    link.detail["keep"], link.todo = "site", PULL | PUSH
    shop.links.save([link])
    shop.edit(name, docstatus=1)
    for _ in range(3):
        shop.run()
    assert shop.api.orders[shop.link(name).remote]["note"] == "still wanted"


def test_an_api_that_trims_what_it_is_told_has_been_told(shop) -> None:
    """And is not told again."""
    name = shop.order()
    shop.run()
    change = type(shop.api.shop).change
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(shop.api.shop), "change", lambda one, id, made: change(one, id, _trimmed(made)))
        shop.edit(name, po_no="x")
        shop.run()
        shop.edit(name, po_no="x ")
        shop.run()
        shop.writes()
        shop.run()
        shop.run(wish={"full": True})
    assert shop.link(name).status == Status.LINKED and shop.writes() == []


def _trimmed(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value.strip() if isinstance(value, str) else value for key, value in values.items()}


def test_an_api_that_answers_an_update_with_nothing(shop_for) -> None:
    """And cannot be asked: it holds what it was told."""
    shop = shop_for(record=RECORD.replace('read = "GET /orders/{id}"\n', "") + FIND)
    name = shop.order()
    shop.run()
    shop.edit(name, po_no="x")
    with pytest.MonkeyPatch.context() as patch:
        update = Remote.update
        patch.setattr(Remote, "update", lambda self, *told: update(self, *told) and None)
        assert shop.run()["counts"] == {"done": 1}
    shop.writes()
    shop.run()
    assert shop.writes() == [] and shop.api.orders[shop.link(name).remote]["note"] == "x"


def test_what_failed_before_is_told_in_each_report(shop) -> None:
    """A run that has nothing to try does not say that all is well."""
    shop.placed(customer="Nobody")
    shop.run()
    assert "1 failed before and wait to be tried again" in shop.run()["parts"][0]["notes"]


@pytest.mark.parametrize(("extra", "said"), [
    ('[[jobs.orders.fields]]\nsite = "po_no"\nremote = "memo"\n', "mapped to po_no of the site"),
    ('[[jobs.orders.fields]]\nsite = "remarks"\nremote = "note"\n', "mapped to note of the remote"),
    ('[[jobs.orders.fields]]\nsite = "custom_external_id"\nremote = "x"\n', "mapped to custom_external_id"),
])  # fmt: skip
def test_one_field_is_mapped_once(extra, said, shop_for) -> None:
    """Two would undo each other for ever."""
    with pytest.raises(ConfigError) as caught:
        shop_for(fields=FIELDS + extra)
    assert said in " ".join(caught.value.problems)
