"""The end of a service: by a signal, by a second one, by a run that does not come to its next step."""

from __future__ import annotations

import signal
import subprocess

import pytest

from tests.conftest import days_ago, rules
from tests.live import BOTH, HANG, PATIENCE, RULE, Live, owed

WAITS = HANG.replace("HOW", "threading.Event().wait()")
STEPS = HANG.replace("HOW", "[run.pause(0.01) for _ in iter(int, 1)]")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_waits_for_the_next_step_and_the_next_start_goes_on(number, sandbox, daemon_for):
    """The run is told to end at its next step; its slot is made up for after the restart, and is late by what the
    report says."""
    sandbox.seed("Error Log", [{"creation": days_ago(60), "method": "x"}])
    site = daemon_for(sandbox, BOTH)
    owed(site, "hangs")
    with Live(site, patch=STEPS) as live:
        live.until("run.started", job="hangs")
        live.send(number)
        assert live.until("daemon.stopping")["running"] == ["hangs"]
        assert live.until("run.finished", job="hangs")["status"] == "stopped"
        assert live.end() == 0
    assert live.events[-1]["event"] == "daemon.stopped" and live.events[-1]["unfinished"] is False
    with Live(site) as live:
        late = live.until("slot.missed", job="hangs")["late_seconds"]
        assert live.until("run.started", job="hangs")["late_seconds"] >= late
        live.until("run.finished", job="hangs")
        assert live.stop() == 0
    done, stopped = site.app.state.runs("hangs")
    assert (done.status, stopped.status, done.slot) == ("done", "stopped", stopped.slot)
    assert done.report["late_seconds"] == int((done.started - done.slot).total_seconds())


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_second_signal_ends_at_once(number, code, sandbox, daemon_for):
    """With the code that shells know; the next start calls the run interrupted, and counts it as no crash."""
    site = daemon_for(sandbox, BOTH)
    owed(site, "hangs")
    with Live(site, patch=WAITS + "import daemon.service\ndaemon.service.ECHO = 0.1") as live:
        live.until("run.started", job="hangs")
        live.send(signal.SIGTERM)
        live.until("daemon.stopping")
        for _ in range(int(PATIENCE / 0.1)):  # an echo of the first is no second one
            live.send(number)
            try:
                live.process.wait(0.1)
                break
            except subprocess.TimeoutExpired:
                continue
        assert live.process.returncode == code
    with Live(site) as live:
        assert live.until("run.interrupted", job="hangs")["in_a_stop"] is True
        live.until("run.finished", job="hangs")
        assert live.stop() == 0
    done, cut = site.app.state.runs("hangs")
    assert (done.status, cut.status) == ("done", "interrupted") and cut.report["stopping"] is True


def test_a_run_that_does_not_come_to_its_next_step_is_left_and_written_down(sandbox, daemon_for):
    """After stop_timeout: in the log, in its record, by the exit code; its slot is made up for after the restart."""
    site = daemon_for(sandbox, BOTH, top='[service]\nstop_timeout = "1s"')
    owed(site, "hangs")
    with Live(site, patch=WAITS) as live:
        live.until("run.started", job="hangs")
        assert live.stop() == 1
    assert next(event for event in live.events if event["event"] == "run.unfinished")["job"] == "hangs"
    (run,) = site.app.state.runs("hangs")
    assert run.status == "stopped" and run.report["error"]["who"] == "nobody"
    assert site.app.state.slot("hangs").slot < run.slot


def test_no_new_work_is_taken_once_a_stop_is_asked_for(sandbox, daemon_for):
    """A job whose turn comes while another ends is left for the next start."""
    site = daemon_for(sandbox, BOTH, top="[service]\nat_once = 1")
    owed(site, "hangs", "other")
    order = "from apscheduler.jobstores.memory import MemoryJobStore as M\nold = M.get_due_jobs\n"
    order += "M.get_due_jobs = lambda self, now: sorted(old(self, now), key=lambda job: job.id)\n"
    with Live(site, patch=order + STEPS) as live:
        live.until("run.started", job="hangs")
        assert live.stop() == 0
    assert site.app.state.runs("other") == []


def test_a_run_beyond_its_timeout_is_stopped_and_its_slot_told_of(sandbox, daemon_for):
    """At its next step, as what it is; the log says when the job's next chance is."""
    site = daemon_for(sandbox, rules(RULE, job='timeout = "1s"').replace("jobs.job", "jobs.hangs"))
    owed(site, "hangs")
    with Live(site, patch=STEPS) as live:
        cut = live.until("slot.cut_short", job="hangs")
        assert "passed its timeout of 1s" in cut["why"] and cut["next"] > cut["slot"]
        assert live.stop() == 0
    (run,) = site.app.state.runs("hangs")
    assert (run.status, run.report["error"]["kind"], run.report["error"]["who"]) == ("stopped", "TimedOut", "operator")
