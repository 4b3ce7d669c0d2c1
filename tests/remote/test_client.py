"""The client against an API that answers as it is told to: shapes of replies, look-ups by key, what is not there."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import httpx
import pytest

from daemon import errors

from .conftest import URL

ONE = {"id": 7, "order_id": "SO-1", "version": 3, "updated_at": "2026-01-05T12:00:00Z"}


def reply(body: Any = None, status: int = 200, **headers: str) -> httpx.Response:
    return (
        httpx.Response(status, json=body, headers=headers)
        if body is not None
        else httpx.Response(status, headers=headers)
    )


def sent(api: Any) -> Any:
    return json.loads(api.calls.last.request.content)


def test_a_payload_is_wrapped_and_a_reply_unwrapped(wire, api):
    """As {"order": {…}} both ways, in APIs that want it so."""
    api.mock(return_value=reply({"order": ONE}))
    remote = wire(record={"wrap": "order", "unwrap": "order"}).remote
    assert remote.create({"total": Decimal("19.50")}, "k").id == "7" and sent(api) == {"order": {"total": 19.5}}
    assert api.calls.last.request.content == b'{"order":{"total":19.50}}'
    assert remote.read("7").body == ONE and remote.update("7", {}).id == "7"


def test_an_id_is_one_segment_of_the_address(wire, api):
    """Whatever is in it."""
    api.mock(return_value=reply(ONE | {"id": "a/b c?d#e%"}))
    assert wire().remote.read("a/b c?d#e%").id == "a/b c?d#e%"
    assert api.calls.last.request.url.raw_path == b"/v1/orders/a%2Fb%20c%3Fd%23e%25"


@pytest.mark.parametrize("status", [404, 410])
def test_what_is_gone_reads_as_none(status, wire, api):
    """Never there, or deleted: there is nothing to work on."""
    api.mock(return_value=reply({}, status))
    assert wire().remote.read("7") is None


@pytest.mark.parametrize(
    ("body", "unwrap", "kind", "says"),
    [
        (None, "", errors.NotTheApi, "holds no record"),
        ({"data": ONE}, "order", errors.NotTheApi, "no record at 'order'"),
        ({"data": ONE}, "", errors.RemoteMalformed, "it has no 'id'"),
        (ONE | {"id": 8}, "", errors.NotTheApi, "another record, 8"),
        ([ONE], "", errors.RemoteMalformed, "no object but an array"),
        (ONE | {"id": True}, "", errors.RemoteMalformed, "true or false"),
    ],
)
def test_a_reply_to_a_read_holds_the_record_that_was_asked_for(body, unwrap, kind, says, wire, api):
    """200 is not success."""
    api.mock(return_value=reply(body))
    with pytest.raises(kind, match=says):
        wire(record={"unwrap": unwrap}).remote.read("7")


def test_a_time_that_cannot_be_read_is_only_missed_in_a_single_reply(wire, api):
    """The record is known by its id; a create that was done must not fail for the sake of a time."""
    api.mock(return_value=reply({"id": 7, "updated_at": "soon"}, 201))
    assert wire().remote.create({}, "k").stamp is None


@pytest.mark.parametrize("body", [None, {}, {"ok": True}, [], {"id": None}])
def test_a_create_without_a_record_in_its_reply_is_in_doubt(body, wire, api):
    """It was done, by all appearance; which record it made must be looked up."""
    api.mock(return_value=reply(body, 201))
    with pytest.raises(errors.RemoteOutcomeUnknown, match="does not say which record was made"):
        wire().remote.create({}, "k")


@pytest.mark.parametrize("location", ["/v1/orders/7", f"{URL}/orders/7", "orders/7"])
def test_a_location_names_what_was_made(location, wire, api):
    """201 without a body (RFC 9110, 15.3.2): the record is read from there."""
    api.mock(side_effect=[reply(None, 201, location=location), reply(ONE)])
    assert wire().remote.create({}, "k").id == "7"
    assert str(api.calls.last.request.url) == f"{URL}/orders/7"


@pytest.mark.parametrize(
    "location",
    ["", "/v1/orders/7/lines", "/v1/other/7", "https://evil.example.com/v1/orders/7", "http://[", "/v1/orders/"],
)
def test_and_one_that_leads_elsewhere_does_not(location, wire, api):
    """It is not gone to."""
    api.mock(return_value=reply(None, 201, location=location))
    with pytest.raises(errors.RemoteOutcomeUnknown):
        wire().remote.create({}, "k")
    assert api.call_count == 1


@pytest.mark.parametrize("second", [reply({}, 404), httpx.Response(200), httpx.Response(500)])
def test_a_create_stays_in_doubt_where_what_it_made_cannot_be_read(second, wire, api):
    """An error of the read must not look like one of the create."""
    api.mock(side_effect=[reply(None, 201, location="/v1/orders/7"), *[second] * 9])
    with pytest.raises(errors.RemoteOutcomeUnknown):
        wire().remote.create({}, "k")


def test_an_update_need_not_tell_what_became_of_the_record(wire, api):
    """204, or a word of praise: None."""
    api.mock(side_effect=[reply(None, 204), reply({"ok": True}), reply(ONE | {"id": 8})])
    remote = wire().remote
    assert remote.update("7", {}) is None and remote.update("7", {}) is None
    with pytest.raises(errors.RemoteOutcomeUnknown, match="another record, 8"):
        remote.update("7", {})


@pytest.mark.parametrize("status", [200, 202, 204])
def test_a_deletion_is_done_where_it_says_so(status, wire, api):
    """With or without a body."""
    api.mock(return_value=reply(None, status))
    wire().remote.delete("7", '"3"')
    assert api.calls.last.request.headers["if-match"] == '"3"' and api.calls.last.request.content == b""


def test_a_key_goes_with_each_create(wire, api):
    """Under the name that the API knows."""
    api.mock(return_value=reply(ONE, 201))
    wire(record={"idempotency_header": "X-Request-Id"}).remote.create({}, "the-key")
    assert api.calls.last.request.headers["x-request-id"] == "the-key"
    wire(record={"idempotency_header": ""}).remote.create({}, "the-key")
    assert "the-key" not in str(api.calls.last.request.headers)


@pytest.mark.parametrize(
    ("name", "args"),
    [("read", ("1",)), ("create", ({}, "k")), ("update", ("1", {})), ("delete", ("1",)), ("find", ("k",))],
)
def test_what_the_settings_name_no_way_for_is_not_done(name, args, wire, api):
    """And the message says which key to add."""
    with pytest.raises(errors.RemoteMisused, match=f"no way to {name} a record") as caught:
        getattr(wire(record={name: None}).remote, name)(*args)
    assert f"api.record.{name}" in caught.value.action and api.call_count == 0


# By our key


def found(*keys: Any) -> httpx.Response:
    return reply({"data": [ONE | {"id": number, "order_id": key} for number, key in enumerate(keys, 1)], "pages": 1})


def test_a_key_is_looked_up_where_the_settings_say(wire, api):
    """As parameter, with those that the list always has, or within the path."""
    api.mock(return_value=found("SO 1&x"))
    assert [one.id for one in wire().remote.find("SO 1&x")] == ["1"]
    assert dict(api.calls.last.request.url.params) == {"order_id": "SO 1&x", "per_page": "100"}
    finding = {"key": "order_id", "path": "/orders/by-number/{key}", "records": "data"}
    assert len(wire(record={"find": finding}).remote.find("SO 1&x")) == 1
    assert api.calls.last.request.url.raw_path == b"/v1/orders/by-number/SO%201%26x"


def test_a_path_of_the_key_is_that_of_one_record(wire, api):
    """It comes alone or in an array, and 404 means that it is not there."""
    api.mock(side_effect=[reply(ONE), reply([ONE]), reply([]), reply({}, 404)])
    remote = wire(record={"find": {"key": "order_id", "path": "/orders/by-number/{key}", "records": ""}}).remote
    assert [[one.id for one in remote.find("SO-1")] for _ in range(4)] == [["7"], ["7"], [], []]


@pytest.mark.parametrize("ask", ["create", "find", "changed"])
def test_an_address_that_is_not_there_is_no_record_that_is_gone(ask, wire, api):
    """404 to a create or a list: the settings name a wrong path."""
    api.mock(return_value=reply({"message": "no route"}, 404))
    remote = wire().remote
    asked = {"create": lambda: remote.create({}, "k"), "find": lambda: remote.find("k")}
    with pytest.raises(errors.RemoteMisused, match="no route"):
        asked.get(ask, lambda: list(remote.changed()))()


@pytest.mark.parametrize("version", [True, 1.5, "a b", 'a"b', "a\nb", "ä", [], ""])
def test_a_version_that_no_header_takes_is_called_that(version, wire, api):
    """Rather than left out: then changes of others would be overwritten."""
    api.mock(return_value=reply(ONE | {"version": version}))
    with pytest.raises(errors.RemoteMalformed, match="no version that If-Match could take"):
        wire().remote.read("7")


def test_an_etag_of_any_letters_comes_back_as_it_is(wire, api):
    """Servers put what they like into it."""
    api.mock(side_effect=[httpx.Response(200, json={"id": 7}, headers={"etag": '"ä"'.encode()}), reply(None, 204)])
    remote = wire(record={"version": None}).remote
    remote.delete("7", remote.read("7").etag)
    assert dict(api.calls.last.request.headers.raw)[b"If-Match"] == '"ä"'.encode()


@pytest.mark.parametrize(
    ("keys", "ids"), [((), []), (("SO-1",), ["1"]), (("SO-1", "SO-1"), ["1", "2"]), (("SO-1", "SO-10", None), ["1"])]
)
def test_only_records_of_the_key_are_hits(keys, ids, wire, api):
    """None, one, or more than there should be; others among them are left out."""
    api.mock(return_value=found(*keys))
    assert [one.id for one in wire().remote.find("SO-1")] == ids


def test_a_whole_number_is_a_key_too(wire, api):
    """As the API counts; true and lists are none."""
    api.mock(return_value=found(15, "15", True, [15]))
    assert [one.id for one in wire().remote.find("15")] == ["1", "2"]


def test_a_filter_that_is_ignored_is_found_out(wire, api):
    """The API gives its first page, whatever was asked: the record may be on another, and a create would make a second
    one."""
    api.mock(return_value=found("SO-5", "SO-6"))
    with pytest.raises(errors.RemoteListBroken, match="gave 2 others") as caught:
        wire().remote.find("SO-1")
    assert "record.find" in caught.value.action


def test_a_search_is_read_to_its_end(wire, api):
    """Its hits need not fit, and the one that does may stand on a later page."""
    pages = [found("SO-10", "SO-11"), found("SO-1")]
    for number, page in enumerate(pages):
        pages[number] = reply(page.json() | {"pages": 2})
    api.mock(side_effect=pages)
    finding = {"key": "order_id", "params": {"q": "{key}"}, "exact": False}
    assert [one.id for one in wire(record={"find": finding}).remote.find("SO-1")] == ["1"]
    assert [call.request.url.params["page"] for call in api.calls] == ["1", "2"]


def test_a_hit_that_cannot_be_told_is_no_miss(wire, api):
    """It may be ours."""
    api.mock(return_value=reply({"data": [{"order_id": "SO-1"}]}))
    with pytest.raises(errors.RemoteMalformed, match="a hit cannot be told: it has no 'id'"):
        wire().remote.find("SO-1")


def test_secrets_are_in_no_message_of_a_record(wire, api):
    """An API may hand its token out in one."""
    from .conftest import SECRET

    api.mock(return_value=reply({"token": SECRET}))
    with pytest.raises(errors.RemoteMalformed) as caught:
        wire().remote.read("7")
    assert SECRET not in str(caught.value) and "********" in str(caught.value)
