"""What a service shows over HTTP: real requests to its pages, whoever asks, and what they say."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import socket
import subprocess
import sys
import threading
from base64 import b64encode
from contextlib import contextmanager
from datetime import timedelta
from hashlib import sha256

import pytest
from prometheus_client.parser import text_string_to_metric_families

from daemon import served
from daemon.errors import StateError
from daemon.runner import Order
from daemon.sandbox import Fault
from daemon.seeing import METRICS, Seeing
from daemon.service import Service
from daemon.state import Run
from daemon.state.store import State
from tests.conftest import days_ago, rules
from tests.test_service import lines_until

RULE = 'doctype = "Error Log"\nolder_than = "30d"\nstrategy = "rows"'
LISTEN = '[status]\nlisten = "127.0.0.1:0"'


@pytest.fixture
def site(sandbox, daemon_for):
    """A daemon with seven old rows to remove, that shows itself."""
    sandbox.seed("Error Log", ({"creation": days_ago(60), "method": "x"} for _ in range(7)))
    sandbox.seed("Error Log", [{"method": "young"}])
    return daemon_for(sandbox, rules(RULE), top=LISTEN)


@contextmanager
def pages(site, ailing=lambda: ""):
    """(port, seeing) of a service that serves."""
    with Seeing(site.app, ailing) as seeing:
        yield seeing._pages.server_port, seeing


def ask(port, path="/", method="GET", **headers):
    """(status, headers, body) of one request."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        reply = connection.getresponse()
        return reply.status, dict(reply.headers), reply.read().decode()
    finally:
        connection.close()


def once(site, reason="slot"):
    return site.app.runner.run(Order(site.app.job("job"), site.app.new_run_id(), reason))


def samples(text):
    """(name, labels) → value."""
    found = [one for family in text_string_to_metric_families(text) for one in family.samples]
    return {(one.name, *sorted(one.labels.items())): one.value for one in found}


# --- who may ask, and how ------------------------------------------------------------------------------------------


def test_pages_are_only_read(site):
    """GET and HEAD; anything else is refused, and so is what is not there."""
    with pages(site) as (port, _):
        assert ask(port)[0] == 200 and ask(port, "/nothing")[0] == 404
        status, headers, body = ask(port, method="HEAD")
        assert (status, body) == (200, "") and int(headers["Content-Length"]) > 1000
        for method in ("POST", "PUT", "DELETE", "OPTIONS", "BREW"):
            status, headers, _ = ask(port, method=method)
            assert status == 405 and headers["Allow"] == "GET, HEAD"


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200), ("LOCALHOST:9464", 200), ("127.0.0.1", 200), ("[::1]:9464", 200), ("jobs.localhost", 200),
        ("status.example.com", 200), ("evil.example.com", 421), ("127.0.0.1.evil.example.com", 421),
        ("localhost.evil.example.com", 421), ("", 421), ("[", 421),
    ],
)  # fmt: skip
def test_a_name_of_somebody_elses_is_refused(host, status, sandbox, daemon_for):
    """DNS rebinding: a page elsewhere may point its own name at this machine; an address is nobody's name."""
    site = daemon_for(sandbox, rules(RULE), top=f'{LISTEN}\nhosts = ["status.example.com"]')
    with pages(site) as (port, _):
        for path in ("/", "/healthz", "/metrics"):
            assert ask(port, path, Host=host)[0] == status


def test_browsers_are_told_to_load_and_run_nothing(site):
    """The policy names the hash of the styles that are there, and allows nothing else."""
    with pages(site) as (port, _):
        _, headers, body = ask(port)
    style = re.search(r"<style>(.*?)</style>", body, re.DOTALL)[1]
    digest = b64encode(sha256(style.encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'sha256-{digest}'" in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff" and headers["Cache-Control"] == "no-store"
    assert not re.search(r"<script|style=|\son\w+=|src=|https?://(?!\w)", body.replace(style, ""))


@pytest.mark.parametrize(
    "said",
    [b"", b"GET", b"GET /\r\n\r\n", b"\x16\x03\x01\x02\x00", b"GET / HTTP/9.9\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n",
     b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", b"GET /" + b"x" * 60000, b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 5000,
     b"GET //[/ HTTP/1.1\r\nHost: localhost\r\n\r\n", b"GET /?" + b"a&" * 99 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"],
)  # fmt: skip
def test_nonsense_is_refused_or_dropped(said, site, capsys):
    """Whatever comes, the next one is served, and nothing is written into the log."""
    with pages(site) as (port, _):
        capsys.readouterr()
        with socket.create_connection(("127.0.0.1", port), 10) as connection:
            try:
                connection.sendall(said)
                connection.shutdown(socket.SHUT_WR)
                answer = connection.recv(1000)
            except OSError:  # ENOTCONN is none of the ConnectionErrors
                answer = b""
        assert answer == b"" or b" 200 " not in answer.split(b"\r\n")[0]
        assert ask(port)[0] == 200
        assert capsys.readouterr().err == ""


def test_who_says_nothing_cannot_keep_others_out(site):
    """So many at once and no more; the next is told so at once, and after the time for asking all is well again."""
    with pages(site) as (port, seeing):
        silent = [socket.create_connection(("127.0.0.1", port), 10) for _ in range(served.CONNECTIONS)]
        for connection in silent:
            connection.sendall(b"GET / HTTP/1.1\r\n")
        over = socket.create_connection(("127.0.0.1", port), 10)
        assert b"503" in over.recv(100)
        site.clock.passed += served.SECONDS
        for connection in silent:
            connection.sendall(b"A")  # one byte now and then is of no use
        assert all(connection.recv(10) == b"" for connection in silent), "dropped when their time is over"
        for connection in (*silent, over):
            connection.close()
        free = seeing._pages._free
        assert all(free.acquire(timeout=10) for _ in range(served.CONNECTIONS)), "each place is free again"
        free.release(served.CONNECTIONS)
        assert ask(port)[0] == 200


def test_a_port_in_use_is_told_and_stops_no_job(sandbox, daemon_for, capsys):
    """With what to do; the page is there as soon as the port is free."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        site = daemon_for(sandbox, rules(RULE), top=f'[status]\nlisten = "127.0.0.1:{port}"')
        seeing = Seeing(site.app, lambda: "")
        seeing._serve()
        seeing._serve()
        (told,) = [json.loads(line) for line in capsys.readouterr().err.splitlines() if "status.not_served" in line]
        assert str(port) in told["error"] and told["who"] == "operator" and "ss -ltnp" in told["action"]
    seeing._serve()
    assert ask(port, "/healthz")[0] == 200
    seeing._close_pages()


def test_nothing_is_served_unless_asked_for(sandbox, daemon_for):
    """No port, and no library for it in memory."""
    site = daemon_for(sandbox, rules(RULE))
    with Seeing(site.app, lambda: "") as seeing:
        assert seeing._pages is None


# --- what is said --------------------------------------------------------------------------------------------------


def test_health_is_that_of_the_daemon(site, monkeypatch):
    """503 for a dead scheduler, a state that cannot be written or read, and slots nobody works on; not for the site."""
    ailing = [""]
    with pages(site, lambda: ailing[0]) as (port, seeing):
        assert ask(port, "/healthz")[0] == 200
        ailing[0] = "it is dead"
        status, _, body = ask(port, "/healthz")
        assert status == 503 and json.loads(body)["checks"]["scheduler"] == {"ok": False, "why": "it is dead"}
        ailing[0] = ""

        once(site)
        site.app.state.settle_slot("job", site.app.clock.now() - timedelta(days=3), "daily")
        status, _, body = ask(port, "/healthz")
        (late,) = json.loads(body)["checks"]["jobs"]["overdue"]
        assert status == 503 and late["job"] == "job" and late["seconds"] > 86400
        site.app.state.settle_slot("job", site.app.clock.now(), "daily")
        assert ask(port, "/healthz")[0] == 200

        def broken(*_):
            raise StateError("the disk is full")

        with monkeypatch.context() as patch:
            patch.setattr(State, "remember", broken)
            seeing._beat()
        status, _, body = ask(port, "/healthz")
        assert status == 503 and json.loads(body)["checks"]["state"]["why"] == "the disk is full"
        seeing._beat()
        with monkeypatch.context() as patch:
            patch.setattr(State, "reading", broken)
            status, _, body = ask(port, "/healthz")
            assert status == 503 and json.loads(body)["checks"]["state"]["why"] == "the disk is full"
            assert ask(port)[0] == 500


def test_a_site_that_is_away_is_no_illness_of_the_daemon(sandbox, site):
    """It is told, with when it last answered; a restart of the daemon would bring it back no sooner."""
    with pages(site) as (port, _):
        once(site)
        told = json.loads(ask(port, "/healthz")[2])["checks"]["site"]
        assert told["ok"] is True and told["last_contact"]
        sandbox.faults.add(Fault("status", code=502))
        site.clock.passed += 60
        once(site)
        status, _, body = ask(port, "/healthz")
        told = json.loads(body)["checks"]["site"]
        assert status == 200 and told["ok"] is False and "502" in told["why"]
        assert samples(ask(port, "/metrics")[2])[("frappe_daemon_site_up",)] == 0


def test_metrics_count_what_runs_did(site):
    """Runs, rows, requests, durations; zeros are there from the first scrape on, and the last run is told of."""
    with pages(site) as (port, _):
        before = samples(ask(port, "/metrics")[2])
        assert before[("frappe_daemon_runs_total", ("job", "job"), ("status", "done"))] == 0
        report = once(site)
        status, headers, body = ask(port, "/metrics")
        after = samples(body)
    assert status == 200 and headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert after[("frappe_daemon_runs_total", ("job", "job"), ("status", "done"))] == 1
    assert after[("frappe_daemon_items_total", ("job", "job"), ("outcome", "done"))] == 7
    assert after[("frappe_daemon_requests_total", ("side", "site"), ("status", "200"))] == report["requests"]
    assert after[("frappe_daemon_run_duration_seconds_count", ("job", "job"))] == 1
    assert after[("frappe_daemon_site_up",)] == 1 and after[("frappe_daemon_job_running", ("job", "job"))] == 0
    assert after[("frappe_daemon_job_lag_seconds", ("job", "job"))] == 0
    assert after[("frappe_daemon_job_last_success_timestamp_seconds", ("job", "job"))] > 1.7e9
    assert after[("frappe_daemon_concurrency_limit_max",)] == 4
    assert {name for name, *_ in after if name.startswith("process_")} >= {"process_resident_memory_bytes"}


def test_counters_go_on_after_a_restart(site):
    """They are on the disk before anybody is told of them, so that none goes back; gauges come from the state."""
    with pages(site):
        once(site)
    with pages(site) as (port, _):
        once(site)
        found = samples(ask(port, "/metrics")[2])
    assert found[("frappe_daemon_runs_total", ("job", "job"), ("status", "done"))] == 2
    (kept,) = site.app.state.recall_all(METRICS).values()
    assert kept["totals"]["runs"] == {"job|done": 2}


def test_metrics_are_as_prometheus_wants_them(site):
    """Names, units and help: by promtool where there is one, and by the conventions in any case."""
    with pages(site) as (port, _):
        once(site)
        text = ask(port, "/metrics")[2]
    for family in text_string_to_metric_families(text):
        assert family.documentation and re.fullmatch(r"(frappe_daemon|process)_[a-z_]+", family.name)
        assert not re.search(r"_(ms|minutes|hours|count|millis)$", family.name)
        assert all(len(one.labels) <= 3 for one in family.samples)
    promtool = shutil.which("promtool")
    if promtool:
        checked = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True, timeout=20)
        assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_the_page_shows_what_runs_now(sandbox, site):
    """From within a run that is under way: its progress, and whose it is."""
    seen = []
    with pages(site) as (port, _):

        def watch(part, done, total):
            site.clock.passed += 3
            if total and not seen:
                seen.append(ask(port))

        sandbox.seed("Error Log", ({"creation": days_ago(60), "method": "x"} for _ in range(900)))
        job = site.app.job("job")
        site.app.runner.run(Order(job, site.app.new_run_id(), "slot", watch=watch))
        site_after = ask(port)[2]
    assert "running" in seen[0][2] and "<progress" in seen[0][2] and "process " in seen[0][2]
    assert "<progress" not in site_after and "All is well." in site_after


def test_a_page_refreshes_itself_where_asked(site):
    """By the address, within bounds, and by nothing else."""
    with pages(site) as (port, _):
        for query, found in (("", None), ("?refresh=10", "10"), ("?refresh=0", "2"), ("?refresh=99999", "3600"),
                             ("?refresh=<b>", None), ("?refresh=%D9%A3", None)):  # fmt: skip
            told = re.search(r'http-equiv="refresh" content="(\d+)"', ask(port, f"/{query}")[2])
            assert (told and told[1]) == found


def test_no_secret_is_shown(sandbox, site):
    """A message that holds the key, as a site may send it back, is struck out on every page."""
    secret = site.environ["SECRET"]
    error = {"kind": "X", "message": f"you said {secret}", "who": "operator", "action": f"not {secret}"}
    run = Run("r1", "job", "cleanup", "slot", None, site.app.clock.now())
    site.app.state.begin_run(run)
    site.app.state.end_run("r1", "failed", site.app.clock.now(), {"error": error, "parts": [], "replies": {}})
    with pages(site) as (port, _):
        for path in ("/", "/healthz", "/metrics"):
            assert secret not in ask(port, path)[2]
        assert "you said ********" in ask(port)[2]


# --- the service ---------------------------------------------------------------------------------------------------


def test_a_service_serves_and_says_where(sandbox, site, tmp_path):
    """The process itself: served while it runs, its pulse in the state, gone with it, and stopped without delay."""
    import os
    import signal

    command = [sys.executable, "-m", "daemon", "run", "--config", str(site.file)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ | site.environ) as process:
        events = lines_until(process, "job.scheduled")
        (url,) = [event["url"] for event in events if event["event"] == "status.served"]
        port = int(url.rstrip("/").rpartition(":")[2])
        assert json.loads(ask(port, "/healthz")[2])["status"] == "ok"
        assert f"process {process.pid}" in ask(port)[2]
        process.send_signal(signal.SIGTERM)
        lines_until(process, "daemon.stopped")
        assert process.wait(10) == 0
    assert site.app.state.recall_all("the services") == {}


def test_a_scheduler_whose_thread_ended_is_ill(site):
    """Nothing would be woken up any more."""
    service = Service(site.app)
    assert service._ailing() == ""
    service._scheduler.start(paused=True)
    assert service._ailing() == ""
    thread, service._scheduler._thread = service._scheduler._thread, threading.Thread()
    assert "thread has ended" in service._ailing()
    service._scheduler._thread = thread
    service._scheduler.shutdown()


def test_the_address_follows_the_configuration(site):
    """What is served is what the configuration says now, whoever changed it."""
    from dataclasses import replace

    from daemon.config import StatusSettings

    with pages(site) as (port, seeing):
        site.app.config = replace(site.app.config, status=StatusSettings())
        seeing._serve()
        assert seeing._pages is None
        with pytest.raises(ConnectionError):
            ask(port)
