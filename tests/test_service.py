"""The long-running process: which slots are due, what is caught up, what a stop leaves for the next start."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from daemon.runner import Runner
from daemon.schedule import Schedule
from daemon.service import GIVE_UP, OURS, RETRY_RUNNING, Service, due
from daemon.state import Run
from daemon.trigger import SlotTrigger
from tests.conftest import days_ago, rules

ZONE = ZoneInfo("America/New_York")
RULE = 'doctype = "Error Log"\nolder_than = "30d"\nstrategy = "rows"'


def service_at(site, moment: datetime, last: datetime) -> Service:
    """A service whose clock shows `moment` and whose job was dealt with up to `last`; nothing is woken up."""
    site.clock.moment = moment
    job = site.app.job("job")
    site.app.state.settle_slot("job", last, job.schedule.text)
    service = Service(site.app)
    service.follow([job], ZONE)
    return service


def now_at(hour: int) -> datetime:
    return datetime.now(ZONE).replace(hour=hour, minute=0, second=5, microsecond=0).astimezone(UTC)


@pytest.fixture
def daily(capsys, sandbox, daemon_for):
    """A daemon with one job, daily at midnight, and five old rows for it. No clock check: the tests turn the clock."""
    sandbox.seed("Error Log", ({"creation": days_ago(60), "method": "x"} for _ in range(5)))
    sandbox.seed("Error Log", [{"method": "young"}])
    return daemon_for(sandbox, rules(RULE))


@pytest.fixture(autouse=True)
def any_clock(monkeypatch):
    monkeypatch.setattr("daemon.runner.LARGEST_SKEW", timedelta(days=4000))


def test_a_slot_is_run_once_and_dealt_with(daily):
    """At its time it runs; woken up again for the same slot, nothing runs."""
    midnight = now_at(0)
    service = service_at(daily, midnight, midnight - timedelta(hours=3))
    service._work_off("job")
    service._work_off("job")
    (run,) = daily.app.state.runs("job")
    assert (run.reason, run.status) == ("slot", "done")
    assert run.slot == midnight.replace(second=0) == daily.app.state.slot("job").slot


def test_missed_slots_are_caught_up_by_one_run_and_reported(capsys, daily):
    """Down for a week: one run, for the latest slot, that says how many it stands for."""
    service = service_at(daily, now_at(15), now_at(15) - timedelta(days=7))
    service._work_off("job")
    (run,) = daily.app.state.runs("job")
    assert run.reason == "catch-up" and run.report["missed"] == 7
    missed = [json.loads(line) for line in capsys.readouterr().err.splitlines() if "slot.missed" in line]
    assert missed[0]["missed"] == "7"


def test_without_catch_up_missed_slots_are_passed_over_and_said(capsys, sandbox, daemon_for):
    """`catch_up = false`: nothing runs late, and the log says what was passed over."""
    site = daemon_for(sandbox, rules(RULE, job="catch_up = false"))
    service = service_at(site, now_at(15), now_at(15) - timedelta(days=2))
    service._work_off("job")
    assert site.app.state.runs("job") == [] and "slot.passed_over" in capsys.readouterr().err
    assert site.app.state.slot("job").slot == now_at(0).replace(second=0)


def test_a_clock_that_goes_back_repeats_nothing(daily):
    """The slot was dealt with; showing its hour again makes it no less so."""
    service = service_at(daily, now_at(0), now_at(0) - timedelta(hours=3))
    service._work_off("job")
    daily.clock.moment -= timedelta(hours=5)
    service._work_off("job")
    assert len(daily.app.state.runs("job")) == 1


def test_a_stopped_run_is_caught_up_at_the_next_start(daily, monkeypatch):
    """The slot counts as dealt with only when its run was not cut short by the daemon's own stop."""
    service = service_at(daily, now_at(0), now_at(0) - timedelta(hours=3))
    run = Runner.run

    def stopped_as_it_begins(self, order):
        daily.app.stop.set()
        return run(self, order)

    with monkeypatch.context() as patch:
        patch.setattr(Runner, "run", stopped_as_it_begins)
        service._work_off("job")
    assert [run.status for run in daily.app.state.runs("job")] == ["stopped"]
    daily.app.stop.clear()
    service._work_off("job")
    assert sorted(run.status for run in daily.app.state.runs("job")) == ["done", "stopped"]


def test_a_job_that_somebody_runs_by_hand_is_waited_for(daily):
    """The slot is not lost: it is run as soon as the other run has ended."""
    service = service_at(daily, now_at(0), now_at(0) - timedelta(hours=3))
    claim = daily.app.state.claim("job")
    claim.__enter__()
    service._work_off("job")
    assert daily.app.state.runs("job") == []
    again = service._scheduler.get_job("job again")
    assert again.trigger.run_date == daily.clock.now() + timedelta(seconds=RETRY_RUNNING)
    claim.__exit__(None, None, None)
    service._work_off(*again.args)
    assert [run.status for run in daily.app.state.runs("job")] == ["done"]


def test_a_site_that_moves_to_another_zone_is_followed(daily, capsys):
    """The run learns it, and the slots after it are those of the new zone."""
    service = service_at(daily, now_at(0), now_at(0) - timedelta(hours=3))
    daily.app.state.remember_site(daily.app.config.site.url, {"time_zone": "Asia/Kolkata"})
    service._heed_zone()
    service._take(*service._inbox.get_nowait())
    (job,) = service._scheduler.get_jobs()
    assert job.trigger._zone.key == "Asia/Kolkata" and "schedule.zone_changed" in capsys.readouterr().err
    service._scheduler.shutdown()


def test_a_slot_whose_run_keeps_being_killed_is_given_up(capsys, daily):
    """A job that takes the process down with it must not do so for ever: a failure in its history, and the next slot
    is tried again."""
    slot = now_at(0).replace(second=0)
    service = service_at(daily, now_at(0), now_at(0) - timedelta(hours=3))
    for number in range(GIVE_UP):
        daily.app.state.begin_run(Run(f"1{number}", "job", "cleanup", "slot", slot, now_at(0)))
        daily.app.state.interrupt_unfinished(now_at(0))
    service._work_off("job")
    given_up, *died = daily.app.state.runs("job")
    assert (given_up.status, given_up.slot, len(died)) == ("failed", slot, GIVE_UP)
    assert given_up.report["error"]["kind"] == "KeptCrashing" and "interrupted 3 times" in capsys.readouterr().err
    assert daily.app.state.slot("job").slot == slot
    daily.clock.moment += timedelta(days=1)
    service._work_off("job")
    assert daily.app.state.runs("job")[0].status == "done"


def test_a_run_that_a_stop_cut_off_is_no_crash(daily):
    """Who restarts the service three times in one run gets the run all the same."""
    slot = now_at(0).replace(second=0)
    service = service_at(daily, now_at(0), now_at(0) - timedelta(hours=3))
    for number in range(GIVE_UP):
        daily.app.state.begin_run(Run(f"1{number}", "job", "cleanup", "slot", slot, now_at(0)))
        daily.app.state.remember(OURS, "stopping", [f"1{number}"])
        service._tell_interrupted()
    service._work_off("job")
    assert [run.status for run in daily.app.state.runs("job")] == ["done", *["interrupted"] * GIVE_UP]


def test_a_jittered_slot_is_due_only_after_its_jitter():
    """Until then what is due is what was due before it."""
    schedule, day = Schedule.parse("daily"), datetime(2026, 6, 1, 4, tzinfo=UTC)
    trigger = SlotTrigger(schedule, ZONE, job="j", since=day - timedelta(days=3), jitter=timedelta(hours=1))
    start = trigger.fire_time(day)
    assert start > day
    before, after = start - timedelta(seconds=1), start
    assert due(schedule, trigger, day - timedelta(days=3), before, ZONE).latest == day - timedelta(days=1)
    assert due(schedule, trigger, day - timedelta(days=3), after, ZONE).latest == day


def lines_until(process: subprocess.Popen, event: str) -> list[dict]:
    """The log up to the first line of `event`."""
    seen = []
    for line in process.stderr:
        seen.append(json.loads(line))
        if seen[-1]["event"] == event:
            return seen
    raise AssertionError(f"no {event} in {seen}")


def test_the_process_catches_up_stops_and_says_so(sandbox, daemon_for):
    """Started after down-time it runs the job once; SIGTERM ends it with exit code 0; the log is JSON throughout."""
    sandbox.seed("Error Log", ({"creation": days_ago(60), "method": "x"} for _ in range(5)))
    sandbox.seed("Error Log", [{"method": "young"}])
    site = daemon_for(sandbox, rules(RULE))
    site.app.state.settle_slot("job", datetime.now(UTC) - timedelta(days=3), "daily")
    command = [sys.executable, "-m", "daemon", "run", "--config", str(site.file)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ | site.environ) as process:
        events = lines_until(process, "run.finished")
        assert events[-1]["status"] == "done" and events[-1]["done"] == 5
        process.send_signal(signal.SIGTERM)
        events += lines_until(process, "daemon.stopped")
        assert process.wait(10) == 0
    assert {"daemon.started", "job.scheduled", "slot.missed", "daemon.stopping"} <= {event["event"] for event in events}
    (run,) = site.app.state.runs("job")
    assert run.reason == "catch-up" and sandbox.count("Error Log") == 1


def test_a_clock_that_was_once_ahead_stops_no_job(daily, capsys):
    """A slot that was dealt with in 2096 is forgotten, with a warning, once the clock is right again."""
    daily.clock.moment = now_at(0)
    job = daily.app.job("job")
    daily.app.state.settle_slot("job", now_at(0) + timedelta(days=25000), job.schedule.text)
    Service(daily.app).follow([job], ZONE)
    assert daily.app.state.slot("job").slot <= daily.clock.now()
    assert "slot.reset" in capsys.readouterr().err


def test_clocks_that_disagree_leave_the_slot_for_later(daily, monkeypatch):
    """Nobody knows then whether its time has come."""
    monkeypatch.setattr("daemon.runner.LARGEST_SKEW", timedelta(hours=1))
    service = service_at(daily, now_at(0) + timedelta(days=900), now_at(0) + timedelta(days=899))
    service._work_off("job")
    assert daily.app.state.slot("job").slot == now_at(0) + timedelta(days=899)


def test_a_slot_that_another_daemon_dealt_with_is_not_run_again(daily):
    """Between seeing it due and getting the claim, somebody else may have run it to its end."""
    service = service_at(daily, now_at(0), now_at(0) - timedelta(hours=3))
    slot = now_at(0).replace(second=0)
    claim = daily.app.state.claim

    def late(name):
        daily.app.state.settle_slot("job", slot, "daily")
        return claim(name)

    daily.app.state.claim = late
    service._work_off("job")
    assert daily.app.state.runs("job") == []


def test_the_end_of_a_run_and_its_slot_are_written_in_one(daily, monkeypatch):
    """A kill right after it leaves nothing to be made up for."""
    service = service_at(daily, now_at(0), now_at(0) - timedelta(hours=3))
    monkeypatch.setattr(service, "_heed_end", lambda *_: (_ for _ in ()).throw(SystemExit("killed")))
    with pytest.raises(SystemExit):
        service._work_off("job")
    assert daily.app.state.slot("job").slot == now_at(0).replace(second=0)
