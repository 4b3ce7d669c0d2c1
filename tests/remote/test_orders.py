"""The client against the sandbox's orders API: what a sync asks for, what is lost on the way, and lies."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal

import pytest

from daemon import errors
from daemon.core.api import Malformed, Record
from daemon.sandbox import Fault

from .conftest import NOON, order


def everything(remote, since=None):
    return [entry for page in remote.changed(since) for entry in page]


def test_a_record_lives_and_dies(shop, orders):
    """Created, read, found, updated, deleted; each reply is what the API holds, with Decimal amounts."""
    remote = shop().remote
    made = remote.create(order(note="ring"), "key-1")
    assert made.id in orders.orders and made.body["order_id"] == "SO-1" and made.etag == '"1"' and not made.deleted
    assert made.body["items"][0]["rate"] == Decimal("19.5") and type(made.body["total"]) is Decimal
    assert made.stamp == datetime.fromisoformat(orders.orders[made.id]["updated_at"])
    assert remote.read(made.id) == made and remote.find("SO-1") == [made] and remote.find("SO-2") == []
    updated = remote.update(made.id, order(status="paid"), made.etag)
    assert updated and updated.body["status"] == "paid" and updated.etag == '"2"'
    remote.delete(made.id, updated.etag)
    assert orders.orders == {} and remote.read(made.id) is None and remote.find("SO-1") == []


def test_amounts_arrive_digit_by_digit(shop, orders):
    """A Decimal goes out as the number that it is, not as text."""
    remote = shop().remote
    made = remote.create(order(items=[{"sku": "Pump", "qty": Decimal("3"), "rate": Decimal("1234567.85")}]), "k")
    assert orders.orders[made.id]["items"][0] == {"sku": "Pump", "qty": 3, "rate": 1234567.85}


def test_the_list_is_read_page_by_page_and_from_a_moment_on(shop, orders):
    """Oldest first, and no page before it is wanted; of several, each but the last twice (somebody may have moved a
    record to it meanwhile). With `since` only what changed from then on."""
    ids = [orders.add(**order(number)) for number in range(7)]
    wire = shop(list={"paging": {"style": "page", "length": "per_page", "size": 3, "pages": "pages"}})
    pages = wire.remote.changed()
    first = next(pages)
    assert [record.id for record in first] == ids[:3] and wire.traffic.requests == 1
    assert [record.id for page in pages for record in page] == ids[3:] and wire.traffic.requests == 5
    assert [record.id for record in everything(wire.remote, first[2].stamp)] == ids[2:]
    assert "updated_since" not in orders.requests[0].query
    assert everything(wire.remote, NOON + timedelta(days=1)) == []


def test_tombstones_are_records_that_are_gone(shop, orders):
    """They have an id and a stamp, and say so."""
    orders.rules.tombstones = True
    kept, gone = orders.add(**order(1)), orders.add(**order(2))
    orders.remove(gone)
    found = everything(shop().remote)
    assert [(record.id, record.deleted) for record in found] == [(kept, False), (gone, True)]


# Others


def test_what_others_changed_is_not_overwritten(shop, orders):
    """If-Match carries the version that was read; the API refuses, and nothing is changed."""
    remote = shop().remote
    made = remote.create(order(), "k")
    orders.edit(made.id, note="by another")
    with pytest.raises(errors.RemoteStale, match="at version 2"):
        remote.update(made.id, order(note="ours"), made.etag)
    with pytest.raises(errors.RemoteStale):
        remote.delete(made.id, made.etag)
    assert orders.orders[made.id]["note"] == "by another"
    now = remote.read(made.id)
    assert now and remote.update(made.id, order(note="ours"), now.etag).body["note"] == "ours"


def test_the_etag_header_serves_where_no_version_is_in_the_body(shop, orders):
    """Single records have one, those of a list have none."""
    remote = shop(record={"version": None}).remote
    made = remote.create(order(), "k")
    assert made.etag == '"1"' and remote.read(made.id).etag == '"1"'
    assert [record.etag for record in everything(remote)] == [None]


def test_without_if_match_the_last_writer_wins(shop, orders):
    """Where the settings want it so."""
    remote = shop(record={"if_match": False}).remote
    made = remote.create(order(), "k")
    orders.edit(made.id, note="by another")
    assert remote.update(made.id, order(note="ours"), made.etag).body["note"] == "ours"


def test_a_condition_that_the_api_demands_is_named(shop, orders):
    """428: the settings are to be mended, not the record."""
    orders.rules.demand_if_match = True
    id = orders.add(**order())
    with pytest.raises(errors.RemoteMisused, match="428") as caught:
        shop(record={"if_match": False}).remote.update(id, order())
    assert "if_match = true" in caught.value.action and caught.value.who == "operator"


def test_patch_sends_some_fields(shop, orders):
    """The others stay; where the API has no PATCH the settings are at fault."""
    id = orders.add(**order(note="stays"))
    remote = shop(record={"update": "PATCH /orders/{id}"}).remote
    assert remote.update(id, {"status": "paid"}).body["note"] == "stays"
    orders.rules.patch = False
    with pytest.raises(errors.RemoteMisused, match="405"):
        remote.update(id, {"status": "new"})


def test_a_refusal_carries_the_api_s_words(shop, orders):
    """422 is the record's own fault; 409 to a create says that it is there."""
    remote = shop().remote
    with pytest.raises(errors.RemoteRefused, match=r"items.0.qty must be greater than 0") as caught:
        remote.create(order(items=[{"sku": "Pump", "qty": 0}]), "k")
    assert caught.value.who == "document owner" and caught.value.status == 422
    assert str(caught.value).startswith(f"{remote.host}: POST /orders: ")
    orders.rules.unique_order_id = True
    remote.create(order(), "k2")
    with pytest.raises(errors.RemoteConflict, match="SO-1 is taken"):
        remote.create(order(), "k3")


def test_what_is_gone_is_none_to_a_reader_and_an_error_to_a_writer(shop):
    """404 to an update or a deletion means that somebody was there before."""
    remote = shop().remote
    assert remote.read("ord-404") is None
    for write in (lambda: remote.update("ord-404", order()), lambda: remote.delete("ord-404")):
        with pytest.raises(errors.RemoteNotFound):
            write()


# Lost replies


def test_a_create_whose_reply_was_lost_is_sent_again_under_its_key(shop, orders):
    """Where the settings say that the API heeds the key: one order, and its id is known."""
    orders.faults.add(Fault("lose_reply", "POST", "/orders", times=1))
    made = shop().remote.create(order(), "the-key")
    assert list(orders.orders) == [made.id]
    assert [seen.headers["idempotency-key"] for seen in orders.requests] == ["the-key"] * 2


@pytest.mark.parametrize("record", [{"idempotent": False}, {"idempotency_header": ""}])
def test_else_it_is_never_sent_again(record, shop, orders):
    """Most APIs ignore the key: its fate is unknown, and can be looked up."""
    orders.faults.add(Fault("lose_reply", "POST", "/orders"))
    remote = shop(record=record).remote
    with pytest.raises(errors.RemoteOutcomeUnknown):
        remote.create(order(), "the-key")
    assert len(orders.requests) == 1 and len(remote.find("SO-1")) == 1


def test_a_conditional_write_that_met_itself_is_in_doubt(shop, orders):
    """The second copy gets 412, since the first one was done: that is no conflict with others, nor called one."""
    remote = shop().remote
    made = remote.create(order(), "k")
    orders.faults.add(Fault("lose_reply", "PUT", "*", times=1))
    with pytest.raises(errors.RemoteOutcomeUnknown, match="may have been done"):
        remote.update(made.id, order(note="ours"), made.etag)
    assert remote.read(made.id).body["note"] == "ours" and orders.orders[made.id]["version"] == 2


def test_a_put_without_a_condition_is_repeated(shop, orders):
    """PUT is idempotent (RFC 9110, 9.2.2)."""
    id = orders.add(**order())
    orders.faults.add(Fault("lose_reply", "PUT", "*", times=2))
    assert shop().remote.update(id, order(note="ours")).body["note"] == "ours"


def test_a_patch_without_a_condition_is_not(shop, orders):
    """PATCH is not idempotent (RFC 5789, 2)."""
    id = orders.add(**order())
    orders.faults.add(Fault("lose_reply", "PATCH", "*", times=1))
    with pytest.raises(errors.RemoteOutcomeUnknown):
        shop(record={"update": "PATCH /orders/{id}"}).remote.update(id, {"note": "ours"})
    assert orders.orders[id]["version"] == 2


def test_a_deletion_whose_reply_was_lost_is_done(shop, orders):
    """The second copy finds nothing, which is what was wanted."""
    id = orders.add(**order())
    orders.faults.add(Fault("lose_reply", "DELETE", "*", times=1))
    shop().remote.delete(id)
    assert orders.orders == {} and [seen.status for seen in orders.requests] == [0, 404]


@pytest.mark.parametrize("fault", [Fault("cut", times=2), Fault("status", code=503, times=2, retry_after=2)])
def test_what_was_not_done_is_done_in_the_end(fault, shop, orders):
    """Reads and writes alike get through a connection that is cut and a server that is busy for a while."""
    id = orders.add(**order())
    orders.faults.add(fault)
    wire = shop()
    assert wire.remote.read(id) and wire.traffic.retries == 2


def test_a_busy_api_gets_the_rest_that_it_asks_for(shop, orders):
    """Retry-After is waited for; the create that 429 refused is sent again, whatever the settings say of it."""
    orders.faults.add(Fault("status", code=429, times=1, retry_after=7))
    wire = shop(record={"idempotent": False})
    assert wire.remote.create(order(), "k").id in orders.orders
    assert 7 <= wire.clock.passed < 8


def test_a_dead_api_ends_the_remote_part_early(shop, orders):
    """The first request spends its patience, all others fail at once and say why."""
    orders.faults.add(Fault("status", code=502))
    wire = shop()
    with pytest.raises(errors.RemoteFailed):
        wire.remote.read("ord-1")
    sent = wire.traffic.requests
    for ask in (
        lambda: wire.remote.read("ord-2"),
        lambda: wire.remote.create(order(), "k"),
        lambda: everything(wire.remote),
    ):
        with pytest.raises(errors.RemoteDown, match="not sent, since the API failed before"):
            ask()
    assert wire.traffic.requests == sent == 8


# Lies


def test_a_page_that_comes_again_ends_the_list(shop, orders):
    """Else what stands on the page that was not given would be lost, and nobody told."""
    for number in range(9):
        orders.add(**order(number))
    orders.faults.add(Fault("repeat_page", "GET", "/orders", after=1, times=1))
    wire = shop(list={"paging": {"style": "page", "length": "per_page", "size": 3, "pages": "pages"}})
    with pytest.raises(errors.RemoteListBroken, match="came again"):
        everything(wire.remote)
    assert wire.traffic.requests == 2


@pytest.mark.parametrize(("form", "says"), [("", "came again"), ("new", "did not end after 9 pages")])
def test_a_list_without_end_ends(form, says, shop, orders):
    """Whether it repeats itself or makes records up."""
    orders.add(**order())
    orders.faults.add(Fault("endless", "GET", "/orders", form=form))
    paging = {"style": "page", "length": "per_page", "pages": "pages", "most_pages": 9}
    wire = shop(list={"paging": paging})
    with pytest.raises(errors.RemoteListBroken, match=says) as caught:
        everything(wire.remote)
    assert caught.value.who == "operator" and wire.traffic.requests <= 2 * 9


@pytest.mark.parametrize(
    ("form", "why", "known"),
    [
        ("no id", "it has no 'id'", False),
        ("id", "its id is no text or whole number but an object", False),
        ("stamp", "its updated_at 'yesterday' is no time", True),
        ("no object", "it is no object but text", False),
    ],
)
def test_a_malformed_record_spoils_itself_alone(form, why, known, shop, orders):
    """It is handed out as what it is, with its place, and the list goes on. Where its page is read once more and it is
    whole by then, it is a record as all others."""
    ids = [orders.add(**order(number)) for number in range(5)]
    orders.faults.add(Fault("malformed", "GET", "/orders", form=form, after=1, times=1))
    paging = {"style": "page", "length": "per_page", "size": 2, "pages": "pages"}
    found = everything(shop(list={"paging": paging}).remote)
    assert [entry.id for entry in found if isinstance(entry, Record)] == [*ids[:2], *ids[3:], ids[2]]
    (bad,) = (entry for entry in found if isinstance(entry, Malformed))
    assert bad.position == 3 and why in bad.why and ("SO-2" in bad.excerpt or form == "no object")
    assert bad.id == (ids[2] if known else "")


def test_an_error_in_a_200_is_an_error(shop, orders):
    """Where the settings say how one looks; to a list, a read and a write."""
    id = orders.add(**order())
    orders.faults.add(Fault("error_200"))
    remote = shop().remote
    for ask in (lambda: everything(remote), lambda: remote.read(id), lambda: remote.create(order(2), "k")):
        with pytest.raises(errors.RemoteRefused, match="the order book is locked"):
            ask()
    assert len(orders.orders) == 1


def test_html_in_the_place_of_json_is_said_to_be_that(shop, orders):
    """A login page or a proxy's: for a read a plain error, for a write an open outcome."""
    orders.faults.add(Fault("html"))
    remote = shop().remote
    for ask in (lambda: everything(remote), lambda: remote.read("ord-1"), lambda: remote.find("SO-1")):
        with pytest.raises(errors.NotTheApi, match="got text/html with HTTP 200 where JSON was expected"):
            ask()
    with pytest.raises(errors.RemoteOutcomeUnknown, match="text/html"):
        remote.create(order(), "k")


@pytest.mark.parametrize("by_stamp", [True, False])
@pytest.mark.parametrize("moves", [1, 2, 5])
def test_a_list_that_moves_loses_nobody(by_stamp, moves, shop, orders):
    """Somebody edits the oldest orders before each page, so that all behind them move up, and the first of each next
    page would be missed. By number of page, the pages before are read once more."""
    ids = [orders.add(**order(number)) for number in range(24)]
    for _ in range(moves):
        orders.faults.add(Fault("drift", "GET", "/orders", times=9))
    paging = {"style": "page", "length": "per_page", "size": 6, "pages": "pages", "by_stamp": by_stamp}
    assert {record.id for record in everything(shop(list={"paging": paging}).remote)} == set(ids)
