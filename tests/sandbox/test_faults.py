"""Faults: what reaches the site, what reaches the client, and how often."""

import time

import httpx
import pytest

from daemon.sandbox import Fault

PATH = "/api/resource/Error Log"


def post(http, method="x"):
    return http.post(PATH, json={"method": method, "error": "y"})


def test_a_lost_reply_has_done_its_work(sandbox, http):
    """The connection ends without a byte of an answer, after the commit."""
    sandbox.faults.add(Fault("lose_reply", method="POST", path="/api/resource/*", times=1))
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        post(http)
    assert sandbox.count("Error Log") == 1
    assert sandbox.requests[-1] == ("POST", PATH.replace(" ", "%20"), 0)


def test_a_cut_request_has_done_nothing(sandbox, http):
    sandbox.faults.add(Fault("cut", times=1))
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        post(http)
    assert sandbox.count("Error Log") == 0
    assert post(http).status_code == 200


@pytest.mark.parametrize("kind", ["cut", "lose_reply"])
def test_a_broken_connection_is_this_ones_alone(sandbox, http, kind):
    """Other connections, and this client's next one, work on."""
    with httpx.Client(base_url=sandbox.url, headers=http.headers) as other:
        assert other.get(PATH).status_code == 200
        sandbox.faults.add(Fault(kind, method="POST", times=3))
        for _ in range(3):
            with pytest.raises(httpx.TransportError):
                post(http)
        assert other.get(PATH).status_code == post(http).status_code == 200


@pytest.mark.parametrize("html", [True, False])
def test_a_status_comes_from_before_the_site(sandbox, http, html):
    """As a proxy sends it, HTML or JSON, with Retry-After where wanted; nothing is done."""
    sandbox.faults.add(Fault("status", method="POST", code=503, retry_after=7, html=html, times=1))
    reply = post(http)
    assert (reply.status_code, reply.headers["retry-after"]) == (503, "7")
    assert reply.headers["content-type"].startswith("text/html" if html else "application/json")
    assert sandbox.count("Error Log") == 0


def test_a_deadlock_is_undone(sandbox, http):
    """500 QueryDeadlockError, which no http_status_code of its own has (frappe/exceptions.py)."""
    sandbox.faults.add(Fault("deadlock", method="POST", times=1))
    reply = post(http)
    assert (reply.status_code, reply.json()["exc_type"]) == (500, "QueryDeadlockError")
    assert "Deadlock found" in reply.json()["exception"] and sandbox.count("Error Log") == 0


def test_latency_delays_only_those_it_meets(sandbox, http):
    sandbox.faults.add(Fault("latency", method="POST", seconds=0.15))
    began = time.perf_counter()
    http.get(PATH)
    quick = time.perf_counter() - began
    post(http)
    assert time.perf_counter() - began - quick >= 0.15


def test_times_and_after_count_matching_requests(sandbox, http):
    """`after` pass, then `times` are hit, then none."""
    sandbox.faults.add(Fault("status", method="GET", path="*Error*", code=502, after=1, times=2))
    http.get("/api/method/ping")
    assert [http.get(PATH).status_code for _ in range(5)] == [200, 502, 502, 200, 200]


def test_chance_is_a_share_of_requests_and_the_same_every_time(sandbox, http):
    sandbox.faults.add(Fault("status", code=502, chance=0.3))
    first = [http.get("/api/method/ping").status_code for _ in range(200)]
    assert 30 < first.count(502) < 90
    sandbox.faults.clear()
    assert http.get("/api/method/ping").status_code == 200


def test_several_faults_meet_one_request(sandbox, http):
    """Late, and then lost."""
    sandbox.faults.add(Fault("latency", seconds=0.1, times=1))
    sandbox.faults.add(Fault("lose_reply", times=1))
    began = time.perf_counter()
    with pytest.raises(httpx.TransportError):
        post(http)
    assert time.perf_counter() - began >= 0.1 and sandbox.count("Error Log") == 1
