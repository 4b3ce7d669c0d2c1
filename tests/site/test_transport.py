"""The wire: what is repeated and what never, how long we wait, what a dead site costs, and what nobody gets to see."""

from __future__ import annotations

import gzip
import json
import random
import shutil
import socket
import ssl
import subprocess
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import respx
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon import errors
from daemon.site.client import Site
from daemon.site.limiter import LONGEST_HOLD, Limiter
from daemon.site.transport import (
    LARGEST_REPLY,
    Retry,
    Safety,
    Timeouts,
    Transport,
    as_text,
    encode,
    quoted,
)
from daemon.wire import tls_context

KEY, SECRET = "the-api-key", "the-api-secret"
AUTHORIZATION = "Basic dGhlLWFwaS1rZXk6dGhlLWFwaS1zZWNyZXQ="  # printf the-api-key:the-api-secret | base64
URL = "https://erp.example.com"
NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
PATH = "/api/resource/ToDo"
OK = httpx.Response(200, json={"data": []})


class FakeClock:
    """Waiting takes no time and is written down."""

    def __init__(self) -> None:
        self.passed = 0.0
        self.waits: list[float] = []

    def now(self) -> datetime:
        return NOON + timedelta(seconds=self.passed)

    def monotonic(self) -> float:
        return self.passed

    def pause(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.passed += seconds


class Wire:
    """A transport with what it noted and how it waited."""

    def __init__(self, url: str = URL, ceiling: int = 4, **options: Any) -> None:
        self.clock = FakeClock()
        self.notes: list[dict[str, Any]] = []
        self.limiter = Limiter(ceiling, self.clock.monotonic)
        self.transport = Transport(
            url,
            key=KEY,
            secret=SECRET,
            limiter=self.limiter,
            clock=self.clock,
            note=lambda event, **facts: self.notes.append({"event": event, **facts}),
            **{"tls": PLAIN, "rng": random.Random(1), **options},
        )

    def send(self, safety: Safety = Safety.READ, method: str | None = None, path: str = PATH, **more: Any) -> Any:
        return self.transport.send(method or ("GET" if safety is Safety.READ else "POST"), path, safety=safety, **more)

    def error(self, safety: Safety = Safety.READ, **more: Any) -> errors.SiteError:
        with pytest.raises(errors.SiteError) as caught:
            self.send(safety, **more)
        return caught.value


PLAIN = ssl.create_default_context()  # made once: loading the authorities takes longer than most of these tests


@pytest.fixture
def site() -> Iterator[respx.Route]:
    """Whatever is asked of it, it answers as it was told to."""
    with respx.mock(base_url=URL) as router:
        yield router.route()


def failing(status: int = 500, exc_type: str = "", **headers: str) -> httpx.Response:
    return httpx.Response(status, json={"exc_type": exc_type} if exc_type else {}, headers=headers)


# What is repeated

LOST_BEFORE = [httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout]
LOST_AFTER = [httpx.ReadError, httpx.ReadTimeout, httpx.WriteError, httpx.WriteTimeout, httpx.RemoteProtocolError]
NOT_DONE = [failing(exc_type="QueryDeadlockError"), failing(417, "DocumentLockedError"), failing(503), failing(429)]
OPEN = [
    httpx.Response(502),
    httpx.Response(504, text="<html>"),
    httpx.Response(500),
    failing(exc_type="OperationalError"),
]
FINAL = [failing(status) for status in (301, 400, 401, 403, 404, 409, 413, 417, 500, 501)]
ANY = list(Safety)


@pytest.mark.parametrize(
    ("faults", "repeated"),
    [
        (LOST_BEFORE, ANY),
        (LOST_AFTER, [Safety.READ, Safety.REPEATABLE]),
        (NOT_DONE, ANY),
        (OPEN, [Safety.READ, Safety.REPEATABLE]),
        (FINAL, []),
    ],
    ids=["lost before", "lost after", "not done", "left open", "final"],
)
@pytest.mark.parametrize("safety", ANY)
def test_what_is_repeated(faults: list[Any], repeated: list[Safety], safety: Safety, site: respx.Route) -> None:
    """What cannot have been done, always; what may have been, where twice is as good as once; all else never."""
    for fault in faults:
        before = site.call_count
        site.side_effect = [fault, OK]
        wire = Wire()
        if safety in repeated:
            assert wire.send(safety).status == 200
            assert site.call_count == before + 2 and wire.clock.waits
        else:
            error = wire.error(safety)
            assert site.call_count == before + 1 and not wire.clock.waits
            assert isinstance(error, errors.OutcomeUnknown) == (faults is not FINAL)


def test_get_is_a_read_and_anything_else_must_not_happen_twice(site: respx.Route) -> None:
    """Unless its caller says otherwise."""
    site.side_effect = httpx.ReadTimeout
    for method in ("POST", "PUT", "DELETE"):
        with pytest.raises(errors.OutcomeUnknown):
            Wire().transport.send(method, PATH)
    assert site.call_count == 3
    with pytest.raises(errors.Transient):
        Wire().transport.send("GET", PATH)
    assert site.call_count == 3 + Retry().attempts


@pytest.mark.parametrize(
    ("fault", "kind", "site_wide"),
    [
        (httpx.ConnectError("refused"), errors.Unreachable, True),
        (httpx.ReadError("reset"), errors.Unreachable, True),
        (httpx.RemoteProtocolError("closed"), errors.Unreachable, True),
        (httpx.ReadTimeout("slow"), errors.Transient, False),
        (httpx.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED] self-signed"), errors.UntrustedCertificate, None),
        (httpx.ConnectError("[SSL: WRONG_VERSION_NUMBER]"), errors.UntrustedCertificate, None),
        (httpx.UnsupportedProtocol("ftp"), errors.NotFrappe, None),
    ],
)
def test_a_read_without_a_reply_says_what_is_wrong(
    fault: Exception, kind: type[errors.SiteError], site_wide: bool | None, site: respx.Route
) -> None:
    """A dead site, a slow query, a certificate and an address are told apart; the last two are not repeated."""
    site.side_effect = fault
    error = Wire().error()
    assert type(error) is kind and error.status == 0 and error.request == f"GET {PATH}" and str(fault) in str(error)
    assert getattr(error, "site_wide", None) is site_wide
    assert (site.call_count > 1) == isinstance(error, errors.Transient)


# How long


def test_attempts_have_a_bound(site: respx.Route) -> None:
    """The last error is raised as it is, each retry is noted, and counted as traffic."""
    site.side_effect = httpx.ConnectError("refused")
    wire = Wire(retry=Retry(attempts=5))
    assert isinstance(wire.error(), errors.Unreachable)
    assert site.call_count == 5 and len(wire.clock.waits) == 4
    assert [note["event"] for note in wire.notes] == ["request.retried"] * 4
    assert wire.notes[0]["request"] == f"GET {PATH}" and "refused" in wire.notes[0]["error"]
    assert (wire.transport.traffic.requests, wire.transport.traffic.retries) == (5, 4)
    assert wire.transport.traffic.statuses == {"ConnectError": 5}


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.floats(1, 300))
def test_the_time_for_all_tries_has_a_bound(seed: int, total: float) -> None:
    """By the clock that it was given: no wait is begun that would end beyond it."""
    with respx.mock(base_url=URL) as router:
        route = router.route(method="GET").mock(side_effect=httpx.ConnectError("refused"))
        wire = Wire(retry=Retry(attempts=100, total=total), rng=random.Random(seed))
        wire.error()
        assert wire.clock.passed < total and route.call_count >= 1
        assert wire.clock.passed + 30 >= total or wire.transport.traffic.budget_spent


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32))
def test_waits_are_between_half_a_step_and_a_step(seed: int) -> None:
    """Equal jitter over steps that double: never nearly nothing, and never beyond the longest."""
    with respx.mock(base_url=URL) as router:
        router.route().mock(side_effect=httpx.ConnectError("refused"))
        wire = Wire(retry=Retry(attempts=10, total=1000, first_wait=0.5, longest_wait=30), rng=random.Random(seed))
        wire.error()
    steps = [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    assert len(wire.clock.waits) == len(steps)
    assert all(step / 2 <= wait <= step for step, wait in zip(steps, wire.clock.waits, strict=True))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([429, 503]), st.integers(1, 100), st.booleans())
def test_the_site_s_own_time_is_never_undercut(seed: int, status: int, seconds: int, as_date: bool) -> None:
    """Retry-After in seconds or as a date: the next try comes after it, and soon after."""
    text = format_datetime(NOON + timedelta(seconds=seconds), usegmt=True) if as_date else str(seconds)
    sent: list[float] = []
    wire = Wire(rng=random.Random(seed))

    def answer(_request: httpx.Request) -> httpx.Response:
        sent.append(wire.clock.passed)
        return OK if len(sent) == 2 else failing(status, **{"retry-after": text})

    with respx.mock(base_url=URL) as router:
        router.route().mock(side_effect=answer)
        wire.send()
    assert seconds < sent[1] - sent[0] <= seconds + 0.5


@pytest.mark.parametrize("retry_after", ["121", "1e400", "Mon, 05 Jan 2026 13:00:00 GMT"])
def test_a_time_beyond_our_patience_is_not_waited_for(retry_after: str, site: respx.Route) -> None:
    """The error is raised at once, for a job that is stuck tells nobody anything."""
    site.side_effect = [failing(429, **{"retry-after": retry_after}), OK]
    wire = Wire()
    assert isinstance(wire.error(), errors.Throttled)
    assert wire.clock.waits == [] and site.call_count == 1


@pytest.mark.parametrize("retry_after", ["1e400", "Mon, 05 Jan 2099 13:00:00 GMT"])
def test_no_header_stops_the_daemon_for_good(retry_after: str, site: respx.Route) -> None:
    """A site whose clock is years ahead is asked again after the longest hold."""
    site.side_effect = [failing(429, **{"retry-after": retry_after}), OK]
    wire = Wire()
    wire.error()
    wire.send()
    assert wire.clock.waits == [LONGEST_HOLD]


@pytest.mark.parametrize(
    "text", ["", "soon", "-5", "nan", "Mon, 05 Jan 2026 11:00:00 GMT", "Mon, 99 Foo", "Mon, 05 Jan 99999 13:00:00 GMT"]
)
def test_a_time_that_means_nothing_is_no_time(text: str, site: respx.Route) -> None:
    """Garbage, the past and zero: we wait as if none was named."""
    site.side_effect = [failing(429, **{"retry-after": text}), OK]
    wire = Wire()
    assert wire.send().status == 200
    assert 0.25 <= wire.clock.passed <= 0.5


@pytest.mark.parametrize("zone", ["GMT", "-0000", ""])
def test_dates_without_a_zone_are_in_utc(zone: str, site: respx.Route) -> None:
    """In Retry-After and in Date; neither can break a request."""
    stamp = f"Mon, 05 Jan 2026 12:00:20 {zone}".strip()
    site.side_effect = [failing(503, **{"retry-after": stamp}), httpx.Response(200, json={}, headers={"date": stamp})]
    wire = Wire()
    wire.send()
    assert 20 < wire.clock.passed < 21
    assert wire.transport.date_offset == timedelta(seconds=20 - wire.clock.passed)


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126)))
def test_no_date_whatever_breaks_a_request(stamp: str) -> None:
    """A proxy may write anything there."""
    with respx.mock(base_url=URL) as router:
        router.route().mock(return_value=httpx.Response(200, json={}, headers={"date": stamp, "retry-after": stamp}))
        wire = Wire()
        wire.send()
        assert wire.transport.date_offset is None or isinstance(wire.transport.date_offset, timedelta)


def test_retries_have_a_budget(site: respx.Route) -> None:
    """A tenth of all requests and ten for a start: many requests that fail do not multiply the load."""
    site.side_effect = httpx.ReadTimeout
    wire = Wire()
    for _ in range(40):
        wire.error()
    traffic = wire.transport.traffic
    assert traffic.requests == site.call_count == 40 + traffic.retries
    assert 10 <= traffic.retries <= 10 + traffic.requests // 10


def test_retries_that_the_site_asked_for_cost_no_budget(site: respx.Route) -> None:
    """They are paced by the limiter."""
    site.side_effect = [failing(429, **{"retry-after": "1"}), OK] * 40
    wire = Wire()
    for _ in range(40):
        wire.send()
    assert (wire.transport.traffic.retries, wire.transport.traffic.waits) == (40, 40)
    assert not wire.transport.traffic.budget_spent


class Dripping(httpx.SyncByteStream):
    """A body of one byte every ten seconds, which never ends."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock

    def __iter__(self) -> Iterator[bytes]:
        yield b"{"
        while True:
            self.clock.passed += 10
            yield b" "


@pytest.mark.parametrize(("safety", "told"), [(Safety.READ, errors.Transient), (Safety.ONCE, errors.OutcomeUnknown)])
def test_a_reply_that_drips_has_an_end(safety: Safety, told: type[Exception], site: respx.Route) -> None:
    """The time-outs between bytes are never met, so the whole reply has a bound too; a write's fate is then unknown."""
    wire = Wire(retry=Retry(attempts=2))
    site.mock(side_effect=lambda _: httpx.Response(200, stream=Dripping(wire.clock)))
    error = wire.error(safety)
    assert isinstance(error, told)
    assert "not complete after 190 s" in str(error)


def test_a_stop_does_not_wait_for_a_reply_that_drips(site: respx.Route) -> None:
    """A read is left as soon as the run is asked to stop."""
    wire = Wire()
    site.mock(side_effect=lambda _: httpx.Response(200, stream=Dripping(wire.clock)))

    def stop(seconds: float) -> None:
        raise errors.Stopped("the daemon was asked to stop")

    wire.clock.pause = stop  # type: ignore[method-assign]
    with pytest.raises(errors.Stopped):
        wire.send()


@pytest.mark.parametrize(("safety", "told"), [(Safety.READ, errors.NotFrappe), (Safety.ONCE, errors.OutcomeUnknown)])
def test_a_reply_that_unpacks_to_no_end_is_left(safety: Safety, told: type[Exception], site: respx.Route) -> None:
    """A reply is bounded by what it unpacks to, not by what crosses the wire."""
    packed = gzip.compress(b" " * (LARGEST_REPLY + 1), 1)
    pieces = [packed[start : start + 65536] for start in range(0, len(packed), 65536)]
    site.mock(side_effect=lambda _: httpx.Response(200, content=iter(pieces), headers={"content-encoding": "gzip"}))
    error = Wire().error(safety)
    assert isinstance(error, told)
    assert "larger than 128 MB" in str(error)


def test_a_stop_ends_the_waiting(site: respx.Route) -> None:
    """What the clock raises while pausing comes through; the place is given back."""
    site.side_effect = [httpx.ConnectError, OK]
    wire = Wire(ceiling=1)

    def stop(_seconds: float) -> None:
        raise errors.Stopped("asked to")

    wire.clock.pause = stop  # type: ignore[method-assign]
    transport = Transport(
        URL, key=KEY, secret=SECRET, limiter=wire.limiter, tls=PLAIN, clock=wire.clock, note=lambda *_, **__: None
    )
    with pytest.raises(errors.Stopped):
        transport.send("GET", PATH)
    assert transport.send("GET", PATH).status == 200


# A dead site


@pytest.mark.parametrize("fault", [httpx.ConnectError, failing(503), httpx.Response(502), httpx.Response(504)])
def test_after_one_request_has_spent_its_patience_no_other_is_sent(fault: Any, site: respx.Route) -> None:
    """The breaker: the rest of the run costs the dead site nothing, and says why."""
    site.side_effect = fault if isinstance(fault, type) else None
    site.return_value = None if isinstance(fault, type) else fault
    wire = Wire(retry=Retry(attempts=3))
    first = wire.error()
    for safety in ANY:
        error = wire.error(safety)
        assert isinstance(error, errors.SiteDown) and str(first) in str(error) and error.exit_code == 75
    assert site.call_count == 3


@pytest.mark.parametrize("fault", [httpx.ReadTimeout, failing(exc_type="QueryTimeoutError"), failing(429)])
def test_a_slow_query_or_a_lock_is_not_a_dead_site(fault: Any, site: respx.Route) -> None:
    """Others are still sent."""
    site.side_effect = [fault] * 3 + [OK]
    wire = Wire(retry=Retry(attempts=3))
    assert not isinstance(wire.error(), errors.SiteDown)
    assert wire.send().status == 200


def test_a_site_that_answers_others_is_not_dead(site: respx.Route) -> None:
    """A reply to any request in the meantime, also an error of Frappe's, proves it alive."""
    wire = Wire(retry=Retry(attempts=3))
    inner = iter([OK, failing(404), OK])

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == PATH:
            if (reply := next(inner, None)) is not None:
                site.side_effect = lambda _: reply
                with suppress(errors.NotFound):
                    wire.send(path="/api/method/ping")
                site.side_effect = answer
            raise httpx.ConnectError("refused")
        raise AssertionError(request.url)

    site.side_effect = answer
    assert isinstance(wire.error(), errors.Unreachable)
    site.side_effect = [OK]
    assert wire.send().status == 200


# What is on the wire


def sent(site: respx.Route) -> httpx.Request:
    request: httpx.Request = site.calls.last.request
    return request


def test_every_request_carries_the_key_and_asks_for_json(site: respx.Route) -> None:
    """Basic with key and secret, which all versions take; the site's name only where it was given."""
    site.return_value = OK
    Wire().send()
    assert sent(site).headers["authorization"] == AUTHORIZATION
    assert sent(site).headers["accept"] == "application/json"
    assert "x-frappe-site-name" not in sent(site).headers
    Wire(site_name="site1.local").send()
    assert sent(site).headers["x-frappe-site-name"] == "site1.local"


def test_cookies_are_not_kept(site: respx.Route) -> None:
    """A session's cookie would outrank the key."""
    site.return_value = httpx.Response(200, json={}, headers=[("set-cookie", "sid=abc; Path=/"), ("set-cookie", "x=y")])
    wire = Wire()
    wire.send()
    wire.send()
    assert "cookie" not in sent(site).headers and not wire.transport.http.cookies


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(status: int, site: respx.Route) -> None:
    """They turn a POST into a GET, or carry the key elsewhere; the address is told instead."""
    site.return_value = httpx.Response(status, headers={"location": "https://elsewhere.example.com/api"})
    error = Wire().error(Safety.ONCE, payload={})
    assert site.call_count == 1 and isinstance(error, errors.NotFrappe) and "elsewhere.example.com" in str(error)


FAULTS = [
    httpx.ConnectError("no"), httpx.ReadTimeout("no"), httpx.UnsupportedProtocol("no"), httpx.InvalidURL("no"),
    *NOT_DONE, *OPEN, *FINAL, httpx.Response(200, text="<html>"),
]  # fmt: skip


@pytest.mark.parametrize("safety", ANY)
def test_key_and_secret_are_in_no_error(safety: Safety, site: respx.Route) -> None:
    """Nor in notes, reprs or tracebacks, whatever went wrong; neither are a query and a body."""
    hidden = [KEY, SECRET, AUTHORIZATION.split()[1], "in-the-query", "in-the-body"]
    for fault in FAULTS:
        site.side_effect = fault if isinstance(fault, Exception) else None
        site.return_value = None if isinstance(fault, Exception) else fault
        wire = Wire(retry=Retry(attempts=2))
        error = wire.error(safety, params={"q": "in-the-query"}, payload={"b": "in-the-body"})
        seen = "".join(traceback.format_exception(error))
        seen += f"{error!r} {vars(error)} {wire.notes} {wire.transport!r} {wire.transport.http.headers!r}"
        assert [text for text in hidden if text in seen] == [], fault


NASTY = ["a/b", "a?b", "a#b", "100%", "a%2Fb", "a b", "ä", "a&b=c", "+", "..a", "'\"", 7]


@pytest.mark.parametrize("name", NASTY)
def test_any_name_is_one_segment_of_the_path(name: str | int, site: respx.Route) -> None:
    """It arrives as it is: what the server decodes is the name, and neither query nor fragment appear."""
    site.return_value = OK
    Wire().send(path=f"{PATH}/{quoted(name)}")
    raw = sent(site).url.raw_path.decode()
    assert raw.count("/") == 4 and "?" not in raw and "#" not in raw
    assert sent(site).url.path == f"{PATH}/{name}"


def test_parameters_are_text_and_json(site: respx.Route) -> None:
    """None is left out, True is 1, structures are JSON; the body is JSON and says so."""
    site.return_value = OK
    params = {
        "fields": ["name"],
        "n": 5,
        "on": True,
        "off": False,
        "text": "a&b=c",
        "none": None,
        "f": [["a", "=", None]],
    }
    Wire().send(Safety.ONCE, params=params, payload={"ä": 1})
    assert dict(sent(site).url.params) == {
        "fields": '["name"]', "n": "5", "on": "1", "off": "0", "text": "a&b=c", "f": '[["a","=",null]]',
    }  # fmt: skip
    assert sent(site).headers["content-type"] == "application/json" and sent(site).content == '{"ä":1}'.encode()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (date(2026, 1, 5), "2026-01-05"),
        (time(10, 20, 30), "10:20:30"),
        (datetime(2026, 1, 5, 10, 20, 30), "2026-01-05 10:20:30"),  # noqa: DTZ001
        (datetime(2026, 1, 5, 10, 20, 30, 5), "2026-01-05 10:20:30.000005"),  # noqa: DTZ001
        (Decimal("10.50"), "10.50"),
        (Decimal("1E+3"), "1E+3"),
        ("ä", "ä"),
    ],
)
def test_values_are_written_as_frappe_writes_them(value: Any, text: str) -> None:
    """Naive datetimes with a blank, decimals as text that loses no digit, at any depth."""
    assert json.loads(encode({"a": [value]})) == {"a": [text]}
    assert as_text(value) in (text, f'"{text}"')


@pytest.mark.parametrize("value", [NOON, NOON.astimezone(timezone(timedelta(hours=2))), {1, 2}, object(), b"x"])
def test_what_has_no_form_is_refused(value: Any) -> None:
    """An aware datetime above all: the site keeps its own zone's, and would take the text for one."""
    with pytest.raises(TypeError):
        encode({"a": value})


CALLS: list[Callable[[Site], object]] = [
    lambda site: site.get_list("ToDo"),
    lambda site: site.get_list("ToDo", filters=[["name", "in", ["x" * 99] * 99]]),
    lambda site: list(site.paginate("A/B?")),
    lambda site: site.get_doc("ToDo", "x"),
    lambda site: site.get_value("ToDo", "x"),
    lambda site: site.get_api("ping"),
    lambda site: site.post_api("ping"),
    lambda site: site.get_request({"cmd": "ping"}),
    lambda site: site.post_request({"cmd": "ping", "a": 1}),
    lambda site: site.insert({"doctype": "ToDo"}),
    lambda site: site.insert_many([{"doctype": "ToDo"}]),
    lambda site: site.update({"doctype": "ToDo", "name": "../../x"}),
    lambda site: site.bulk_update([]),
    lambda site: site.set_value("ToDo", "x", "a", None),
    lambda site: site.submit({"doctype": "ToDo"}),
    lambda site: site.cancel("ToDo", "x"),
    lambda site: site.delete("ToDo", "//x"),
    lambda site: site.rename_doc("ToDo", "x", "y"),
    lambda site: site.get_pdf("ToDo", "x"),
    lambda site: site.get_html("ToDo", "x"),
    lambda site: site.meta("ToDo"),
    lambda site: site.user(),
]


def test_every_path_is_under_api(site: respx.Route) -> None:
    """Errors are JSON nowhere else, and the site's root takes no calls from version 17 on. The whole vocabulary."""
    answer: dict[str, Any] = {"docs": [{"name": "ToDo"}], "html": "", "versions": {}}
    site.side_effect = lambda request: httpx.Response(
        200, json={"data": []} if "resource" in str(request.url) else answer
    )
    for call in CALLS:
        before = site.call_count
        with suppress(errors.SiteError, TypeError, ValueError, AttributeError):  # the answers are made of straw
            call(Site(Wire().transport))
        assert site.call_count > before
    assert [str(one.request.url) for one in site.calls if not one.request.url.raw_path.startswith(b"/api/")] == []
    assert not any("cmd" in one.request.url.params for one in site.calls)


# Real sockets


class RawServer:
    """Plain sockets on the loopback: `answer` is given each request's bytes and returns the reply's, or None to cut."""

    def __init__(self, answer: Callable[[bytes], bytes | None], *, keep: bool = False, hang_up: bool = False) -> None:
        self.requests: list[bytes] = []
        self.connections = 0
        self._answer, self._keep, self._hang_up = answer, keep, hang_up
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._workers: list[threading.Thread] = []
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def settle(self) -> None:
        """Wait until every connection was left."""
        for worker in self._workers:
            worker.join(5)

    def close(self) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(5)
        self.settle()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                self.connections += 1
                self._workers.append(threading.Thread(target=self._talk, args=(connection,)))
                self._workers[-1].start()

    def _talk(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            while not self._hang_up and (request := self._read(connection)):
                self.requests.append(request)
                reply = self._answer(request)
                if reply is None:
                    return
                connection.sendall(reply)
                if not self._keep:
                    return

    @staticmethod
    def _read(connection: socket.socket) -> bytes:
        """One request, or the first record of a TLS handshake, which an http server answers with 400."""
        data = b""
        while b"\r\n\r\n" not in data and data[:1] != b"\x16" and (more := connection.recv(65536)):
            data += more
        head, _, body = data.partition(b"\r\n\r\n")
        length = next(
            (int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
        )
        while data and len(body) < length and (more := connection.recv(65536)):
            body += more
        return head + b"\r\n\r\n" + body if data else b""


def http(body: bytes = b'{"data":[]}', head: str = "200 OK", connection: str = "close") -> bytes:
    return f"HTTP/1.1 {head}\r\nContent-Length: {len(body)}\r\nConnection: {connection}\r\n\r\n".encode() + body


@contextmanager
def serving(answer: Callable[[bytes], bytes | None], **options: Any) -> Iterator[RawServer]:
    server = RawServer(answer, **options)
    try:
        yield server
    finally:
        server.close()


@contextmanager
def to(server: RawServer, **options: Any) -> Iterator[Wire]:
    wire = Wire(server.url, **{"timeouts": Timeouts(2, 2, 2, 2), **options})
    try:
        yield wire
    finally:
        wire.transport.close()


def test_a_write_whose_reply_is_cut_is_on_the_wire_once() -> None:
    """The server read it whole and hung up: nobody knows, so it is not sent again."""
    with serving(lambda _: None) as server, to(server) as wire:
        error = wire.error(Safety.ONCE, payload={"a": 1})
        assert type(error) is errors.OutcomeUnknown and not wire.clock.waits
        assert len(server.requests) == 1 and server.requests[0].endswith(b'{"a":1}')


def test_a_write_whose_reply_is_cut_halfway_is_unknown_too() -> None:
    """Status and half of the body came; the rest did not."""
    with serving(lambda _: http()[:-3]) as server, to(server) as wire:
        assert type(wire.error(Safety.ONCE, payload={})) is errors.OutcomeUnknown
        assert len(server.requests) == 1


@pytest.mark.parametrize("safety", [Safety.READ, Safety.REPEATABLE])
def test_what_may_be_repeated_is_until_a_reply_comes(safety: Safety) -> None:
    """Cut twice, answered the third time."""
    replies = iter([None, http()[:-3], http()])
    with serving(lambda _: next(replies)) as server, to(server) as wire:
        assert wire.send(safety).status == 200
        assert len(server.requests) == 3 and len(wire.clock.waits) == 2


def test_a_server_that_hangs_up_before_reading_is_not_trusted_to_have_done_nothing() -> None:
    """From here it looks the same as a lost reply."""
    with serving(lambda _: None, hang_up=True) as server, to(server) as wire:
        assert type(wire.error(Safety.ONCE, payload={})) is errors.OutcomeUnknown
        assert server.connections == 1 and server.requests == []


def test_nobody_listening_is_unreachable_and_tried_again() -> None:
    """Also for a write: nothing can have been sent."""
    with serving(lambda _: http()) as server:
        pass
    with to(server, retry=Retry(attempts=3)) as wire:
        error = wire.error(Safety.ONCE, payload={})
        assert type(error) is errors.Unreachable and error.who == "operator" and "site.url" in error.action
        assert wire.transport.traffic.statuses == {"ConnectError": 3}


def test_a_connection_is_used_again_while_it_lives() -> None:
    """Twenty requests in a row open one connection."""
    with serving(lambda _: http(connection="keep-alive"), keep=True) as server, to(server) as wire:
        for _ in range(20):
            wire.send()
        assert len(server.requests) == 20 and server.connections == 1


def test_a_connection_that_the_server_closed_costs_no_write() -> None:
    """gunicorn recycles its workers: the next request goes over a new connection, once."""
    with serving(lambda _: http(connection="keep-alive")) as server, to(server) as wire:
        for _ in range(5):
            wire.send(Safety.ONCE, payload={})
            server.settle()
        assert len(server.requests) == server.connections == 5 and not wire.clock.waits


def test_a_slow_reply_ends_with_the_read_time_out() -> None:
    """A write then has an unknown outcome; the request was sent once."""
    release = threading.Event()
    with serving(lambda _: release.wait(5) and None) as server:
        with to(server, timeouts=Timeouts(2, 0.05, 2, 2)) as wire:
            error = wire.error(Safety.ONCE, payload={})
            assert type(error) is errors.OutcomeUnknown and "ReadTimeout" in str(error)
            assert len(server.requests) == 1
        release.set()


def test_concurrency_grows_on_a_quiet_site_and_stays_below_the_ceiling() -> None:
    """Through the whole transport: with more threads than places the limit reaches the ceiling and not more."""
    under_way, most, counting = 0, 0, threading.Lock()

    def answer(_request: bytes) -> bytes:
        nonlocal under_way, most
        with counting:
            under_way += 1
            most = max(most, under_way)
        with counting:
            under_way -= 1
        return http(connection="keep-alive")

    with serving(answer, keep=True) as server, to(server, ceiling=4) as wire:
        threads = [threading.Thread(target=lambda: [wire.send() for _ in range(20)]) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert wire.limiter.limit == 4 and most <= 4 and server.connections <= 4
        assert len(server.requests) == 160


# TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that signed itself, with its key in the same file."""
    if not shutil.which("openssl"):
        pytest.skip("needs the openssl command")
    file = tmp_path_factory.mktemp("tls") / "both.pem"
    name = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    command = ["openssl", "req", "-x509", *curve, "-nodes", "-days", "2", *name, "-keyout", file, "-out", file]
    made = subprocess.run([*command[:-2], "-out", file.with_suffix(".crt")], check=True, capture_output=True)
    assert made.returncode == 0
    file.write_bytes(file.read_bytes() + file.with_suffix(".crt").read_bytes())
    return file


@contextmanager
def tls_server(certificate: Path) -> Iterator[RawServer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    class Secured(RawServer):
        def _talk(self, connection: socket.socket) -> None:
            with suppress(OSError):
                super()._talk(context.wrap_socket(connection, server_side=True))
            connection.close()

    server = Secured(lambda _: http())
    server.url = server.url.replace("http:", "https:")
    try:
        yield server
    finally:
        server.close()


def test_a_certificate_that_nobody_vouches_for_is_refused(certificate: Path) -> None:
    """Before the key is sent; said once, with what to do, and not tried again."""
    with tls_server(certificate) as server, to(server, tls=tls_context(verify=True, ca_file=None)) as wire:
        error = wire.error()
        assert type(error) is errors.UntrustedCertificate and error.exit_code == 75
        assert "site.ca_file" in error.action and "certificate is not trusted" in str(error)
        assert server.requests == [] and not wire.clock.waits


@pytest.mark.parametrize("options", [{"verify": True, "named": True}, {"verify": False, "named": False}])
def test_a_named_authority_or_no_verification_lets_it_pass(certificate: Path, options: dict[str, bool]) -> None:
    """Only as the configuration says."""
    context = tls_context(verify=options["verify"], ca_file=certificate if options["named"] else None)
    with tls_server(certificate) as server, to(server, tls=context) as wire:
        assert wire.send().status == 200 and len(server.requests) == 1


def test_plain_http_behind_an_https_address_is_told() -> None:
    """Scheme or port of the address is wrong; the key was not sent."""
    with serving(lambda _: http(b"", "400 Bad Request")) as server:
        server.url = server.url.replace("http:", "https:")
        with to(server) as wire:
            error = wire.error()
            assert type(error) is errors.UntrustedCertificate and "plain http" in str(error)
            assert "scheme and port of site.url" in error.action and not wire.clock.waits


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
def test_a_ca_file_that_is_none_is_a_mistake_of_configuration(tmp_path: Path, content: bytes | None) -> None:
    """Missing, empty or something else: the key and the file are named."""
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(errors.ConfigError, match=r'site\.ca_file = ".*ca\.pem" cannot be used: .+'):
        tls_context(verify=True, ca_file=file)


def test_a_secret_that_an_error_echoes_is_struck_out_before_the_error_is_cut(site: respx.Route) -> None:
    """Half a secret would be recognised by nobody later on."""
    echo = "x" * 488 + SECRET + " " + AUTHORIZATION
    site.mock(return_value=httpx.Response(417, json={"exc_type": "ValidationError", "exception": f"V: {echo}"}))
    assert SECRET[:6] not in str(Wire().error()) and AUTHORIZATION[6:14] not in str(Wire().error())


def test_a_rest_that_is_longer_than_our_patience_is_told_and_a_shorter_one_logged(site: respx.Route) -> None:
    """A command does not wait a quarter of an hour in silence."""
    spent = {"x-ratelimit-remaining": "-1", "x-ratelimit-limit": "1000000", "x-ratelimit-reset": "600"}
    site.mock(return_value=httpx.Response(200, json={"data": []}, headers=spent))
    hasty, patient = Wire(retry=Retry(longest_rest=15)), Wire()
    hasty.send()
    assert "used up for the next 600 s" in str(hasty.error()) and hasty.clock.waits == []
    patient.send()
    patient.send()
    assert patient.clock.waits == [600] and patient.notes[0]["event"] == "request.held"
