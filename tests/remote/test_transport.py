"""The wire to an API: what is repeated and what never, how long we wait, where we go and how much we take."""

from __future__ import annotations

import gzip
import socket
import threading
from email.utils import format_datetime
from itertools import pairwise
from typing import Any

import httpx
import pytest
import respx
from hypothesis import given
from hypothesis import strategies as st

from daemon import errors
from daemon.remote import transport as module
from daemon.remote.pace import LONGEST_HOLD, Pace
from daemon.remote.replies import Asked
from daemon.remote.transport import Call, same_origin, with_query

from .conftest import NOON, URL, FakeClock, Wire

OK = httpx.Response(200, json={"id": 1})


def call(
    method: str = "GET", *, repeatable: bool | None = None, path: str = "/orders/1", creating: bool = False
) -> Call:
    reading = method == "GET"
    asked = Asked("api.example.com", f"{method} {path}", reading, creating)
    content = None if reading else b"{}"
    return Call(method, URL + path, asked, content, repeatable=reading if repeatable is None else repeatable)


CALLS = {"read": ("GET", True), "repeatable": ("PUT", True), "once": ("POST", False)}


# What is repeated

LOST_BEFORE = [httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout]
NOT_DONE = [httpx.Response(status) for status in (408, 425, 429, 503)]
LOST_AFTER = [httpx.ReadError, httpx.ReadTimeout, httpx.WriteError, httpx.WriteTimeout, httpx.RemoteProtocolError]
OPEN = [httpx.Response(status) for status in (500, 502, 504, 599)]
FINAL = [httpx.Response(status) for status in (301, 400, 401, 403, 404, 405, 409, 410, 412, 415, 418, 422, 428, 501)]


@pytest.mark.parametrize("how", CALLS)
@pytest.mark.parametrize(
    ("faults", "repeated", "in_doubt"),
    [
        (LOST_BEFORE, ("read", "repeatable", "once"), ()),
        (NOT_DONE, ("read", "repeatable", "once"), ()),
        (LOST_AFTER, ("read", "repeatable"), ("once",)),
        (OPEN, ("read", "repeatable"), ("once",)),
        (FINAL, (), ()),
    ],
    ids=["lost before", "not done", "lost after", "left open", "final"],
)
def test_what_is_repeated(
    faults: list[Any], repeated: tuple[str, ...], in_doubt: tuple[str, ...], how: str, wire: Any, api: Any
) -> None:
    """What cannot have been done, always; what may have been, where twice is as good as once; all else never."""
    for fault in faults:
        api.mock(side_effect=[fault, OK])
        before, one = api.call_count, wire()
        if how in repeated:
            assert one.transport.send(call(*CALLS[how][:1], repeatable=CALLS[how][1])).body == {"id": 1}
            assert api.call_count == before + 2 and one.clock.waits
        else:
            with pytest.raises(errors.RemoteError) as caught:
                one.transport.send(call(CALLS[how][0], repeatable=CALLS[how][1]))
            assert api.call_count == before + 1 and not one.clock.waits
            assert isinstance(caught.value, errors.RemoteOutcomeUnknown) == (how in in_doubt)


@pytest.mark.parametrize("lost", [httpx.ReadTimeout, httpx.Response(500)])
@pytest.mark.parametrize("then", [httpx.ConnectError, httpx.Response(429), *FINAL[1:]], ids=str)
def test_a_write_that_was_lost_once_stays_in_doubt(lost: Any, then: Any, wire: Any, api: Any) -> None:
    """Whatever the second copy meets, the first may have been done: no refusal of it is the whole truth."""
    api.mock(side_effect=[lost, *([then] * 20)])
    with pytest.raises(errors.RemoteOutcomeUnknown, match="a try of it may have been done"):
        wire().transport.send(call("PUT", repeatable=True))


def test_a_stop_between_two_copies_leaves_it_in_doubt(wire: Any, api: Any) -> None:
    """The run is asked to stop while it waits; what it was about to repeat may have been done."""
    api.mock(side_effect=httpx.ReadError)
    one = wire()

    def stop() -> None:
        raise errors.Stopped("the daemon was asked to stop")

    one.clock.on_pause = stop
    with pytest.raises(errors.RemoteOutcomeUnknown, match="the daemon was asked to stop before it was sent again"):
        one.transport.send(call("PUT", repeatable=True))
    with pytest.raises(errors.Stopped):
        one.transport.send(call())


@pytest.mark.parametrize(
    ("fault", "kind", "wide"),
    [
        (httpx.ConnectError("refused"), errors.RemoteUnreachable, True),
        (httpx.ReadError("reset"), errors.RemoteUnreachable, True),
        (httpx.ReadTimeout("slow"), errors.RemoteTransient, False),
        (httpx.Response(429), errors.RemoteThrottled, False),
        (httpx.Response(503), errors.RemoteThrottled, True),
        (httpx.Response(500), errors.RemoteFailed, False),
        (httpx.Response(502), errors.RemoteFailed, True),
        (httpx.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED] self-signed"), errors.RemoteUntrusted, None),
        (httpx.ConnectError("[SSL: WRONG_VERSION_NUMBER]"), errors.RemoteUntrusted, None),
        (httpx.UnsupportedProtocol("ftp"), errors.NotTheApi, None),
    ],
)
def test_a_read_that_fails_says_what_is_wrong(
    fault: Any, kind: type[errors.RemoteError], wide: bool | None, wire: Any, api: Any
) -> None:
    """The last error is raised as it is, after all tries where trying is of use; what any request meets ends the run's
    remote part, what one meets does not."""
    api.mock(side_effect=[fault] * 8 + [OK])
    one = wire()
    with pytest.raises(errors.RemoteError) as caught:
        one.transport.send(call())
    assert type(caught.value) is kind and str(caught.value).startswith("api.example.com: GET /orders/1: ")
    assert getattr(caught.value, "remote_wide", None) is wide
    assert api.call_count == one.traffic.requests == (8 if wide is not None else 1)
    assert [note["event"] for note in one.notes if note["event"] != "request.held"] == [
        "request.retried"
    ] * one.traffic.retries
    if wide:
        with pytest.raises(errors.RemoteDown):
            one.transport.send(call())
    else:
        api.mock(side_effect=[OK])
        one.clock.passed += 1000
        assert one.transport.send(call()).status == 200


def test_one_answer_shows_that_the_api_lives(wire: Any, api: Any) -> None:
    """The circuit stays closed where another request of the run was answered meanwhile."""
    one = wire(retry={"attempts": 2})
    inner = []

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/1") and not inner:
            inner.append(one.transport.send(call(path="/orders/2")))
        return httpx.Response(502) if request.url.path.endswith("/1") else OK

    api.mock(side_effect=answer)
    with pytest.raises(errors.RemoteFailed):
        one.transport.send(call())
    assert one.transport.send(call(path="/orders/2")).status == 200


def test_retries_have_a_budget(wire: Any, api: Any) -> None:
    """A tenth of all requests and ten for a start: an API that fails gets less load, not more."""
    api.mock(return_value=httpx.Response(500))
    one = wire()
    for _ in range(30):
        with pytest.raises(errors.RemoteFailed):
            one.transport.send(call())
    assert one.traffic.retries <= 10 + one.traffic.requests / 10 + 1 and one.traffic.requests < 50


# How long


@given(st.integers(0, 2**32), st.sampled_from([429, 503]), st.integers(1, 100), st.booleans())
def test_the_api_s_own_time_is_never_undercut(seed: int, status: int, seconds: int, as_date: bool) -> None:
    """Retry-After in seconds or as a date: the next try comes after it, and soon after."""
    from datetime import timedelta

    text = format_datetime(NOON + timedelta(seconds=seconds), usegmt=True) if as_date else str(seconds)
    one, sent = Wire(), list[float]()
    one.transport._rng.seed(seed)

    def answer(_request: httpx.Request) -> httpx.Response:
        sent.append(one.clock.passed)
        return OK if len(sent) == 2 else httpx.Response(status, headers={"retry-after": text})

    with respx.mock(base_url="https://api.example.com") as router:
        router.route().mock(side_effect=answer)
        one.transport.send(call("POST"))
    one.transport.close()
    assert seconds < sent[1] - sent[0] <= seconds + 0.5


@pytest.mark.parametrize("retry_after", ["121", "1e400", "Mon, 05 Jan 2026 13:00:00 GMT"])
def test_a_time_beyond_our_patience_is_not_waited_for(retry_after: str, wire: Any, api: Any) -> None:
    """The error is raised at once, and by others until then without a request."""
    api.mock(side_effect=[httpx.Response(429, headers={"retry-after": retry_after}), OK])
    one = wire()
    for _ in range(2):
        with pytest.raises(errors.RemoteThrottled):
            one.transport.send(call())
    assert one.clock.waits == [] and api.call_count == 1
    one.clock.passed += LONGEST_HOLD  # an API whose clock is wrong stops nobody for good
    assert one.transport.send(call()).status == 200


@given(st.integers(0, 2**32))
def test_waits_are_between_half_a_step_and_a_step(seed: int) -> None:
    """Equal jitter over steps that double: never nearly nothing, and never beyond the longest."""
    one = Wire(retry={"attempts": 10, "total": "1000s"})
    one.transport._rng.seed(seed)
    with respx.mock(base_url="https://api.example.com") as router:
        router.route().mock(side_effect=httpx.ConnectError("refused"))
        with pytest.raises(errors.RemoteUnreachable):
            one.transport.send(call())
    one.transport.close()
    steps = [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    assert all(step / 2 <= wait <= step for step, wait in zip(steps, one.clock.waits, strict=True))


@given(st.floats(0.1, 50), st.integers(2, 30))
def test_no_more_requests_in_a_second_than_the_settings_say(per_second: float, requests: int) -> None:
    """They are spaced evenly, so that no window of the API's own is overrun."""
    clock = FakeClock()
    pace, times = Pace(2, per_second, clock.monotonic), list[float]()
    for _ in range(requests):
        with pace.slot(clock.pause):
            times.append(clock.passed)
    assert all(later - earlier >= 1 / per_second * 0.999 for earlier, later in pairwise(times))
    assert times[-1] <= (requests - 1) / per_second * 1.001


def test_so_many_at_once_and_no_more() -> None:
    """A third waits until one of two has ended."""
    clock, begun, gate = FakeClock(), list[int](), threading.Event()
    pace, both = Pace(2, None, clock.monotonic), threading.Barrier(3, timeout=10)

    def work(number: int, meet: bool) -> None:
        with pace.slot(clock.pause):
            begun.append(number)
            if meet:
                both.wait()
                gate.wait(10)

    first = [threading.Thread(target=work, args=(number, True)) for number in (1, 2)]
    third = threading.Thread(target=work, args=(3, False))
    for thread in first:
        thread.start()
    both.wait()
    third.start()
    assert sorted(begun) == [1, 2]
    gate.set()
    for thread in (*first, third):
        thread.join(10)
    assert sorted(begun) == [1, 2, 3]


# Where


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_read_follows_redirects_within_the_api(status: int, wire: Any, api: Any) -> None:
    """Same scheme, host and port: the secret goes there anyway."""
    api.mock(side_effect=[httpx.Response(status, headers={"location": "/v2/orders/1"}), OK])
    assert wire().transport.send(call()).status == 200
    assert str(api.calls.last.request.url) == "https://api.example.com/v2/orders/1"
    assert api.calls.last.request.headers["authorization"]


@pytest.mark.parametrize(
    "location",
    ["https://evil.example.com/", "http://api.example.com/", "//evil.example.com/x", "https://api.example.com:8443/",
     "https://api.example.com@evil.example.com/", "https://u:p@api.example.com/", "http://[", ""],
)  # fmt: skip
def test_and_none_that_leads_elsewhere(location: str, wire: Any, api: Any) -> None:
    """Else the secret would go there."""
    api.mock(return_value=httpx.Response(302, headers={"location": location}))
    with pytest.raises(errors.RemoteMisused, match="redirected to") as caught:
        wire().transport.send(call())
    assert api.call_count == 1 and "api settings" in caught.value.action


def test_a_redirect_that_goes_round_ends(wire: Any, api: Any) -> None:
    """After a few hops it is called what it is."""
    api.mock(side_effect=lambda request: httpx.Response(302, headers={"location": f"{request.url.path}x"}))
    with pytest.raises(errors.RemoteMisused, match="redirected"):
        wire().transport.send(call())
    assert api.call_count == module.HOPS


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_write_follows_none(status: int, wire: Any, api: Any) -> None:
    """301 and 302 would turn it into a read (RFC 9110, 15.4.2); the message names the address for the settings."""
    api.mock(return_value=httpx.Response(status, headers={"location": f"{URL}/orders/"}))
    with pytest.raises(errors.RemoteMisused, match=f"redirected to {URL}/orders/"):
        wire().transport.send(call("POST"))
    assert api.call_count == 1


def test_see_other_means_that_it_was_worked_on(wire: Any, api: Any) -> None:
    """303 to a write (RFC 9110, 15.4.4): done or not, it is not to be repeated."""
    api.mock(return_value=httpx.Response(303, headers={"location": "/orders/7"}))
    with pytest.raises(errors.RemoteOutcomeUnknown):
        wire().transport.send(call("POST"))


@pytest.mark.parametrize(
    ("url", "same"),
    [
        ("https://a.example/x", True),
        ("https://A.EXAMPLE:443/x?y#z", True),
        ("https://a.example.:443/", True),
        ("http://a.example/x", False),
        ("https://a.example:444/", False),
        ("https://b.a.example/", False),
        ("https://a.example.evil/", False),
        ("https://a.example@evil/", False),
        ("https://a.example:x/", False),
        ("javascript:alert(1)", False),
        ("/orders", False),
    ],
)
def test_an_origin_is_scheme_host_and_port(url: str, same: bool) -> None:
    """RFC 6454; spelt in another way it is still the same."""
    assert same_origin(url, "https://a.example/v1") is same


@given(st.dictionaries(st.text(min_size=1), st.text(), max_size=4), st.text(min_size=1), st.text())
def test_a_parameter_is_added_whatever_it_holds(before: dict[str, str], name: str, value: str) -> None:
    """Those of other names stay as they are."""
    from urllib.parse import parse_qsl, urlencode, urlsplit

    try:
        urlencode(before), urlencode({name: value})
    except UnicodeEncodeError:  # half of a surrogate pair is in no address
        return
    found = dict(
        parse_qsl(urlsplit(with_query(f"{URL}?{urlencode(before)}", {name: value})).query, keep_blank_values=True)
    )
    assert found == before | {name: value}


def test_cookies_are_refused(wire: Any, api: Any) -> None:
    """A session that the API opens must not take the place of the secret."""
    api.mock(return_value=httpx.Response(200, json={}, headers={"set-cookie": "session=1"}))
    one = wire()
    for _ in range(2):
        one.transport.send(call())
    assert "cookie" not in api.calls.last.request.headers


# What comes back


def test_a_reply_beyond_reason_is_not_taken(wire: Any, api: Any, monkeypatch: Any) -> None:
    """By its unpacked size: a read fails and is not repeated, a write is in doubt."""
    monkeypatch.setattr(module, "LARGEST_REPLY", 1 << 20)
    bomb = gzip.compress(b"[" + b" " * (2 << 20) + b"]")
    api.mock(side_effect=lambda _: httpx.Response(200, content=bomb, headers={"content-encoding": "gzip"}))
    with pytest.raises(errors.NotTheApi, match="larger than 1 MB"):
        wire().transport.send(call())
    with pytest.raises(errors.RemoteOutcomeUnknown):
        wire().transport.send(call("POST"))
    assert api.call_count == 2


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"[" * 100_000, "nested"),
        (b'{"a": 1', "no JSON"),
        (b'{"a": "\xff"}', "UTF-8"),
        (b"<html>", "application/json with HTTP 200 where JSON was expected"),
        (b"1" * 5000, "number beyond reason"),
    ],
)
def test_what_is_no_json_is_called_so(content: bytes, why: str, wire: Any, api: Any) -> None:
    """For a read an error that is not repeated, for a write an open outcome: it may well have been done."""
    api.mock(side_effect=lambda _: httpx.Response(200, content=content, headers={"content-type": "application/json"}))
    with pytest.raises(errors.NotTheApi, match=why):
        wire().transport.send(call())
    with pytest.raises(errors.RemoteOutcomeUnknown, match=why):
        wire().transport.send(call("PUT", repeatable=True))
    assert api.call_count == 2


def test_a_reply_that_drips_comes_to_an_end(wire: Any) -> None:
    """Each byte comes in time, the whole does not."""
    listening = socket.create_server(("127.0.0.1", 0))
    one = wire(url=f"http://127.0.0.1:{listening.getsockname()[1]}", retry={"attempts": 1})

    def drip() -> None:
        connection, _ = listening.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n[")
            for _ in range(200):
                one.clock.passed += 10
                try:
                    connection.sendall(b" ")
                except OSError:
                    return

    thread = threading.Thread(target=drip)
    thread.start()
    with pytest.raises(errors.RemoteTransient, match="not complete after 120 s"):
        asked = Asked(one.settings.host, "GET /x", reading=True)
        one.transport.send(Call("GET", f"{one.settings.url}/x", asked, repeatable=True))
    one.transport.close()
    thread.join(10)
    listening.close()


def test_constant_headers_are_sent_and_ours_win(wire: Any, api: Any) -> None:
    """Such as a version of the API; the JSON of a payload is called JSON."""
    api.mock(return_value=OK)
    wire(headers={"X-Api-Version": "2026-01"}).transport.send(call("POST"))
    sent = api.calls.last.request.headers
    assert sent["x-api-version"] == "2026-01" and sent["content-type"] == "application/json"
    assert sent["user-agent"] == "frappe-daemon" and sent["accept"] == "application/json"
