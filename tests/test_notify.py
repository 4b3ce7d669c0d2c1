"""What systemd hears, from a real process by a real socket: readiness, reloads, status, signs of life, the end."""

from __future__ import annotations

import re
import signal
import socket
import time
from datetime import UTC, datetime, timedelta

import pytest

from daemon.config import service_manager
from daemon.core.statusline import Standing, about, status_line
from daemon.notify import Notifier
from daemon.sandbox import Fault
from daemon.service import TICK, Service
from tests.conftest import rules
from tests.live import BOTH, HANG, RULE, Live, Manager, owed

NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)


@pytest.fixture
def manager():
    with Manager() as one:
        yield one


def test_ready_status_and_the_end_are_told(sandbox, daemon_for, manager):
    """Ready once the schedule is kept; the status is one line for people; a stop asks for the time that it may take."""
    site = daemon_for(sandbox, rules(RULE), top='[service]\nstop_timeout = "5m"')
    with Live(site, manager) as live:
        manager.until("READY")
        live.until("job.scheduled")
        assert re.fullmatch(r"1 job, next job (\w+ )?at 00:00", manager.until("STATUS")["STATUS"])
        live.send(signal.SIGTERM)
        assert manager.until("STOPPING")["EXTEND_TIMEOUT_USEC"] == "310000000"
        assert live.end() == 0


def test_a_site_that_is_away_at_the_first_start_keeps_nobody_waiting(sandbox, daemon_for, manager):
    """Ready, with a status that says what is waited for; the log says who must act; the jobs begin when it is back."""
    site = daemon_for(sandbox, rules(RULE))
    sandbox.faults.add(Fault("status", code=502))
    with Live(site, manager, patch="import daemon.service\ndaemon.service.FIRST_WAIT = 0.01") as live:
        manager.until("READY")
        manager.until("STATUS", lambda text: text.startswith("no job runs yet: GET ") and text.endswith("; 1 job"))
        assert live.until("site.awaited")["action"]
        sandbox.faults.clear()
        live.until("job.scheduled")
        assert live.stop() == 0


def test_a_site_that_takes_a_request_and_never_answers_keeps_nobody_waiting(sandbox, daemon_for):
    """Its reply may take longer than systemd waits for the start."""
    with Manager() as manager:
        site = daemon_for(sandbox, rules(RULE))
        service = Service(site.app, Notifier(manager.address))
        service._look_round()
        with pytest.raises(TimeoutError):
            while "READY" not in manager.hear(0.05):
                pass
        site.clock.passed += TICK
        service._look_round()
        manager.until("READY")
        manager.until("STATUS", lambda text: text == "no job runs yet: the site does not answer; 1 job")


def test_a_reload_is_told_as_notify_reload_wants_it(sandbox, daemon_for, manager):
    """RELOADING=1 with a moment of CLOCK_MONOTONIC that is not before the signal, without which systemd 257 waits for
    ever; then READY=1, also where the file cannot be used, which the status says."""
    site = daemon_for(sandbox, rules(RULE))
    with Live(site, manager) as live:
        manager.until("READY")
        for text in (site.file.read_text(), "[site"):
            site.file.write_text(text)
            before = time.monotonic()
            live.send(signal.SIGHUP)
            said = manager.until("RELOADING")
            assert before * 1e6 - 1 <= int(said["MONOTONIC_USEC"]) <= time.monotonic() * 1e6
            manager.until("READY")
        live.until("config.unchanged")
        live.until("config.refused")
        status = [message["STATUS"] for message in manager.heard if "STATUS" in message][-1]
        assert status.startswith("config not reloaded: 1 problem, first: ") and "1 job" in status
        assert live.stop() == 0


def test_the_watchdog_is_fed_while_all_is_well(sandbox, daemon_for, manager):
    """Several times within the time that the unit grants."""
    with Live(daemon_for(sandbox, rules(RULE)), manager, watchdog=0.4) as live:
        manager.until("READY")
        for _ in range(5):
            manager.until("WATCHDOG")
        assert live.stop() == 0


def test_a_run_that_hangs_is_told_once_and_starves_the_watchdog(sandbox, daemon_for, manager):
    """Its job is not started again, the other goes on, the status names it, and no more signs of life are given: it is
    for systemd to end the process, since nobody can end a thread."""
    site = daemon_for(sandbox, BOTH, top='[service]\nstop_timeout = "1s"')
    owed(site, "hangs", "other")
    with Live(site, manager, watchdog=0.4, patch=HANG.replace("HOW", "threading.Event().wait()")) as live:
        stuck = live.until("run.stuck")
        assert stuck["job"] == "hangs" and stuck["who"] == "operator"
        if not any(event["event"] == "run.finished" for event in live.events):
            live.until("run.finished", job="other")
        manager.until("STATUS", lambda text: text.startswith("stuck: hangs (no sign of life); 2 jobs"))
        with pytest.raises(TimeoutError):
            while "WATCHDOG" not in manager.hear(1.0):
                assert manager.heard[-1].keys() == {"STATUS"}
        assert live.stop() == 1
    assert sum(event["event"] == "run.started" and event["job"] == "hangs" for event in live.events) == 1
    assert sum(event["event"] == "run.stuck" for event in live.events) == 1
    (run,) = site.app.state.runs("hangs")
    assert run.status == "stopped" and "did not come to its next step within 1 s" in run.report["error"]["message"]


def test_a_regular_expression_that_does_not_end_starves_the_watchdog(sandbox, daemon_for, manager):
    """It holds Python's lock, so that nothing of ours runs any more; that nothing is heard is what ends it."""
    site = daemon_for(sandbox, BOTH)
    owed(site, "hangs")
    bomb = 're.match("(a+)+$", "a" * 60 + "b")'
    with Live(site, manager, watchdog=0.4, patch=HANG.replace("HOW", bomb)) as live:
        manager.until("READY")
        live.until("run.started", job="hangs")
        with pytest.raises(TimeoutError):
            while True:
                manager.hear(1.0)


def test_messages_go_to_a_path_and_to_an_abstract_address(tmp_path):
    """Both are what NOTIFY_SOCKET may hold."""
    for address in (str(tmp_path / "n"), ""):
        with Manager(address) as manager:
            Notifier(manager.address).status("a\nb")
            assert manager.hear() == {"STATUS": "a b"}


def test_a_manager_that_is_not_there_or_does_not_listen_stops_nobody(tmp_path):
    """Telling is a service to people, and no work."""
    Notifier(str(tmp_path / "nobody")).ready()
    Notifier().ready()
    with Manager() as manager, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.setblocking(False)
        with pytest.raises(BlockingIOError):
            while True:
                other.sendto(b"x" * 1000, "\0" + manager.address[1:])
        Notifier(manager.address).ready()


def test_the_same_status_is_told_once():
    """systemd would write each into its journal's metadata."""
    with Manager() as manager:
        notifier = Notifier(manager.address)
        for text in ("a", "a", "b"):
            notifier.status(text)
        assert [manager.hear()["STATUS"] for _ in range(2)] == ["a", "b"]


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [({}, 0.0), ({"WATCHDOG_USEC": "3000000"}, 3.0), ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}, 0.0),
     ({"WATCHDOG_USEC": "no"}, 0.0)],
)  # fmt: skip
def test_the_watchdog_is_ours_only_where_it_names_us(environ, seconds):
    """sd_watchdog_enabled(3): a child inherits the variables."""
    assert service_manager(environ) == ("", seconds)
    assert service_manager({"NOTIFY_SOCKET": "@x"})[0] == "@x"


@pytest.mark.parametrize(
    ("standing", "line"),
    [
        (Standing(1), "1 job"),
        (Standing(12, ("cleanup", NOON + timedelta(hours=3))), "12 jobs, next cleanup at 15:00"),
        (Standing(2, ("a", NOON + timedelta(days=2))), "2 jobs, next a Fri at 12:00"),
        (Standing(2, ("a", NOON + timedelta(days=30))), "2 jobs, next a on 2026-04-03 at 12:00"),
        (Standing(1, None, [("import", timedelta(minutes=3))]), "1 job; running: import (3 min)"),
        (Standing(9, None, [(f"j{n}", timedelta(0)) for n in range(6)]),
         "9 jobs; running: j0 (0 s), j1 (0 s), j2 (0 s), j3 (0 s) and 2 more"),
        (Standing(3, None, [], ["the site does not answer"]), "the site does not answer; 3 jobs"),
        (Standing(3, None, [("a", timedelta(seconds=5))], [], True), "stopping; running: a (5 s)"),
    ],
)  # fmt: skip
def test_the_status_is_what_a_person_wants_to_know(standing, line):
    """What is wrong first, then how many, what is next and what runs."""
    assert status_line(standing, NOON) == line


@pytest.mark.parametrize(("seconds", "text"), [(-1, "0 s"), (99, "99 s"), (100, "1 min"), (7200, "2 h"), (2e5, "2 d")])
def test_lengths_are_told_in_one_unit(seconds, text):
    """About as exactly as a person asks."""
    assert about(timedelta(seconds=seconds)) == text
