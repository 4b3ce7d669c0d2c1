"""Who we say we are, in each way that APIs want it, and that nobody else gets to see it."""

from __future__ import annotations

import threading
from base64 import b64encode

import httpx
import pytest

from daemon import errors
from daemon.remote.auth import EARLY
from daemon.sandbox import Fault

from .conftest import SECRET, URL, order

REF = {"env": "S"}
WAYS = {
    "bearer": ({"bearer": REF}, "authorization", f"Bearer {SECRET}"),
    "basic": (
        {"basic": {"user": "u", "password": REF}},
        "authorization",
        f"Basic {b64encode(f'u:{SECRET}'.encode()).decode()}",
    ),
    "header": ({"header": {"name": "X-Api-Key", "secret": REF}}, "x-api-key", SECRET),
    "prefix": (
        {"header": {"name": "Authorization", "secret": REF, "prefix": "Token "}},
        "authorization",
        f"Token {SECRET}",
    ),
}
LIST = httpx.Response(200, json={"data": [], "pages": 1})


@pytest.mark.parametrize("way", WAYS)
def test_each_way_is_sent_as_the_api_wants_it(way, wire, api):
    """Bearer, Basic, a header of its own, with or without a word before the secret."""
    auth, header, value = WAYS[way]
    api.mock(return_value=LIST)
    assert list(wire(auth=auth).remote.changed()) == []
    assert api.calls.last.request.headers[header] == value


def test_without_auth_nothing_is_said(wire, api):
    """There are APIs within a network that ask nobody."""
    api.mock(return_value=LIST)
    list(wire(auth=None).remote.changed())
    assert "authorization" not in api.calls.last.request.headers


def test_a_secret_in_the_query_is_in_no_message(wire, api):
    """It is added to each address, also to that of a next page, and no error, note or record of a request shows it."""
    following = f"{URL}/orders?page=2&api_key=old&cursor=a%2Bb"
    refused = httpx.ConnectError("to ?" + SECRET)
    api.mock(side_effect=[httpx.Response(200, json={"data": [], "next": following}), refused, refused])
    paging = {"style": "next", "next": "next"}
    one = wire(auth={"query": {"name": "api_key", "secret": REF}}, list={"paging": paging}, retry={"attempts": 2})
    with pytest.raises(errors.RemoteUnreachable) as caught:
        list(one.remote.changed())
    first, second = (call.request.url for call in list(api.calls)[:2])
    assert dict(first.params) == {"api_key": SECRET}
    assert dict(second.params) == {"page": "2", "cursor": "a+b", "api_key": SECRET}
    assert SECRET not in f"{caught.value!r} {caught.value.request} {one.notes}" and "********" in str(caught.value)


@pytest.mark.parametrize("way", [*WAYS, "query"])
def test_no_error_shows_what_the_api_sends_back(way, wire, api):
    """It may quote the header or the address, as it came or quoted."""
    auth, _, value = WAYS.get(way, ({"query": {"name": "k", "secret": REF}}, "", SECRET))
    api.mock(return_value=httpx.Response(422, json={"message": f"cannot read {value} / {value.rpartition(' ')[2]}"}))
    with pytest.raises(errors.RemoteRefused) as caught:
        wire(auth=auth).remote.create({}, "k")
    assert SECRET not in str(caught.value) and value not in str(caught.value) and "********" in str(caught.value)


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_of_us_says_who_must_act(status, wire, api):
    """401 wants new credentials, and no more requests are sent; 403 wants more rights, and is no more than that."""
    api.mock(return_value=httpx.Response(status, json={"message": "no"}))
    one = wire()
    with pytest.raises(errors.RemoteError) as caught:
        one.remote.read("1")
    with pytest.raises(errors.RemoteError) as again:
        one.remote.read("2")
    if status == 401:
        assert type(caught.value) is errors.RemoteCredentialsRefused and caught.value.who == "operator"
        assert type(again.value) is errors.RemoteDown and again.value.action == caught.value.action
        assert again.value.exit_code == caught.value.exit_code == 77 and api.call_count == 1
    else:
        assert type(caught.value) is type(again.value) is errors.RemoteNotPermitted and api.call_count == 2
        assert caught.value.who == "remote administrator"


# OAuth 2.0


@pytest.fixture
def oauth(wire, orders):
    def make(send="basic", secret=None, **more):
        settings = {
            "token_url": f"{orders.url}/oauth/token", "client_id": orders.client_id, "client_secret": REF, "send": send,
        }  # fmt: skip
        return wire(url=orders.url, secret=secret or orders.client_secret, auth={"oauth2": {**settings, **more}})

    return make


def asked(orders):
    return [(seen.method, seen.path, seen.status) for seen in orders.requests]


@pytest.mark.parametrize("send", ["basic", "body"])
def test_a_token_is_fetched_once(send, oauth, orders):
    """By client credentials (RFC 6749, 4.4), in the header or the body, and used for all that follows."""
    one = oauth(send, scope="orders:write", audience="shop")
    one.remote.read("ord-1")
    one.remote.create(order(), "k")
    assert asked(orders) == [("POST", "/oauth/token", 200), ("GET", "/orders/ord-1", 404), ("POST", "/orders", 201)]
    assert ("authorization" in orders.requests[0].headers) == (send == "basic")


def test_a_token_is_replaced_shortly_before_its_end(oauth, orders):
    """By the life that the server gave it, counted from when it was asked for."""
    one = oauth()
    one.remote.read("ord-1")
    one.clock.passed = 3600 - EARLY - 1
    one.remote.read("ord-1")
    assert orders.tokens_made == 1
    one.clock.passed = 3600 - EARLY
    one.remote.read("ord-1")
    assert orders.tokens_made == 2


def test_a_token_that_ends_in_mid_run_is_replaced_once(oauth, orders):
    """401: the request was not worked on, so a create is sent again too, under a new token."""
    one = oauth()
    one.remote.read("ord-1")
    orders.expire()
    one.remote.create(order(), "k")
    assert asked(orders)[2:] == [("POST", "/orders", 401), ("POST", "/oauth/token", 200), ("POST", "/orders", 201)]
    assert [note["event"] for note in one.notes] == ["token.renewed"] and len(orders.orders) == 1


def test_a_new_token_that_is_refused_too_is_the_end(oauth, orders):
    """One repeat and no more: such a client would go on for ever."""
    one = oauth()
    orders.faults.add(Fault("expire", path="/orders/*"))
    with pytest.raises(errors.RemoteCredentialsRefused):
        one.remote.read("ord-1")
    with pytest.raises(errors.RemoteDown):
        one.remote.read("ord-1")
    assert orders.tokens_made == 2


def test_a_client_that_is_unknown_is_refused_by_name(oauth, orders):
    """The token server's word, its address, and what to do; the secret in none of it."""
    with pytest.raises(errors.RemoteCredentialsRefused, match="unknown client or wrong secret") as caught:
        oauth(secret="a-wrong-secret").remote.read("ord-1")
    assert "POST /oauth/token" in str(caught.value) and "a-wrong-secret" not in str(caught.value)
    assert asked(orders) == [("POST", "/oauth/token", 401)]


def test_a_token_server_that_is_busy_is_waited_for(oauth, orders):
    """As any other."""
    orders.faults.add(Fault("status", path="/oauth/token", code=503, times=2))
    one = oauth()
    assert one.remote.read("ord-1") is None and one.traffic.retries == 2


@pytest.mark.parametrize("reply", [{}, {"access_token": 5}, {"access_token": "a\nb"}, {"access_token": ""}, []])
def test_a_reply_without_a_token_is_none_of_a_token_server(reply, wire, api):
    """What no header could carry is refused too."""
    api.mock(return_value=httpx.Response(200, json=reply))
    auth = {"oauth2": {"token_url": "https://api.example.com/t", "client_id": "c", "client_secret": REF}}
    with pytest.raises(errors.NotTheApi, match="no access_token"):
        wire(auth=auth).remote.read("1")


def test_a_fetched_token_is_struck_out(wire, api):
    """It is as secret as what it was fetched with."""
    token = httpx.Response(200, json={"access_token": "a-fetched-token"})
    api.mock(side_effect=[token, httpx.Response(422, json={"message": "bad header: Bearer a-fetched-token"})])
    auth = {"oauth2": {"token_url": "https://api.example.com/t", "client_id": "c", "client_secret": REF}}
    with pytest.raises(errors.RemoteRefused) as caught:
        wire(auth=auth).remote.create({}, "k")
    assert "a-fetched-token" not in str(caught.value)


def test_threads_that_meet_an_ended_token_fetch_one(oauth, orders):
    """Whoever comes second finds the first one's."""
    one = oauth()
    one.remote.read("ord-1")
    orders.expire()
    gate = threading.Barrier(2, timeout=10)
    orders.faults.add(Fault("latency", "GET", "/orders/*", times=2, seconds=0.2))

    def read():
        gate.wait()
        one.remote.read("ord-1")

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert orders.tokens_made == 2
