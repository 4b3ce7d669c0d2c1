"""How far a run is, while it runs, told to other processes by way of the state."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from daemon import cli
from daemon.core.plan import Census, Tally
from daemon.errors import StateError
from daemon.progress import Told, holder
from daemon.runner import Order
from daemon.state import Run
from daemon.state.glance import note_progress
from daemon.state.store import State
from tests.conftest import FakeClock, days_ago, rules

RULE = 'doctype = "Error Log"\nolder_than = "30d"\nstrategy = "rows"'


@pytest.fixture
def state(tmp_path):
    with State.open(tmp_path / "state.db") as opened:
        yield opened


def begun(state, clock) -> Told:
    state.begin_run(Run("r1", "job", "cleanup", "slot", None, clock.now(), report={"holder": holder()}))
    return Told(state, "r1", clock, lambda part, done, total: None)


def kept(state):
    return state.runs("job")[0].report.get("progress")


def test_it_is_written_every_two_seconds_at_the_most(state, monkeypatch):
    """However often a kind tells; a run that is shorter writes nothing."""
    clock, writes = FakeClock(), []
    told = begun(state, clock)
    monkeypatch.setattr("daemon.progress.note_progress", lambda *args: writes.append(args) or note_progress(*args))
    told("ToDo", 0, 1000)
    for done in range(1, 1001):
        clock.passed += 1 / 64  # exact
        told("ToDo", done, 1000)
    assert len(writes) == 7 and kept(state)["done"] == 896
    assert kept(state)["rate"] == 64


def test_a_kind_that_tells_nothing_is_told_of_by_its_batches(state):
    """Done of planned; where nobody knows the number, what was done."""
    clock = FakeClock()
    told = begun(state, clock)
    tally = Tally("ToDo")
    told.batch(tally)
    tally.census = Census(900, 500, 400)
    tally.counts["done"] = 100
    clock.passed += 5
    told.batch(tally)
    assert (kept(state)["done"], kept(state)["total"], kept(state)["rate"]) == (100, 400, 20.0)
    other = Tally("mails")
    other.counts["done"] = 7
    clock.passed += 5
    told.batch(other)
    assert (kept(state)["part"], kept(state)["done"], kept(state)["total"]) == ("mails", 7, None)


def test_a_kind_that_tells_by_itself_is_not_talked_over(state):
    """It knows better than its batches."""
    clock = FakeClock()
    told = begun(state, clock)
    clock.passed += 3
    told("file.csv", 10, 20)
    clock.passed += 3
    told.batch(Tally("file.csv"))
    assert kept(state)["done"] == 10


def test_a_state_that_cannot_be_written_ends_no_run(state, monkeypatch):
    """What is only to be looked at harms nobody."""
    clock = FakeClock()
    told = begun(state, clock)

    def broken(*_):
        raise StateError("the disk is full")

    monkeypatch.setattr("daemon.progress.note_progress", broken)
    clock.passed += 3
    told("ToDo", 1, 2)


def test_a_run_that_has_ended_keeps_its_report(state):
    """A thread that is late with its word changes nothing."""
    clock = FakeClock()
    told = begun(state, clock)
    state.end_run("r1", "done", clock.now(), {"counts": {"done": 3}})
    clock.passed += 3
    told("ToDo", 1, 2)
    assert state.runs("job")[0].report == {"counts": {"done": 3}}


def test_jobs_shows_what_runs_now_since_when_and_how_far(sandbox, daemon_for, capsys):
    """From another process's view, in the midst of a run; afterwards it is gone."""
    sandbox.seed("Error Log", ({"creation": days_ago(60), "method": "x"} for _ in range(2500)))
    sandbox.seed("Error Log", [{"method": "young"}])
    site, seen = daemon_for(sandbox, rules(RULE)), {}

    def asked(*arguments):
        capsys.readouterr()
        with pytest.raises(SystemExit):
            cli.main([*arguments, "-c", str(site.file)])
        return capsys.readouterr().out

    def watch(part, done, total):
        site.clock.passed += 3
        if done >= 2000 and not seen:
            seen["json"], seen["text"] = json.loads(asked("jobs", "--json"))[0], asked("jobs")
            seen["status"], seen["view"] = asked("status"), json.loads(asked("status", "--json"))

    report = site.app.runner.run(Order(site.app.job("job"), site.app.new_run_id(), "slot", watch=watch))
    assert report["counts"] == {"done": 2500}
    running = seen["json"]["running"]
    assert running["run"] == report["run"] and running["holder"] == holder() and running["reason"] == "slot"
    assert (running["progress"]["part"], running["progress"]["total"]) == ("Error Log", 2500)
    assert 0 < running["progress"]["done"] <= 2000 and running["progress"]["per_second"] > 0
    assert "running for" in seen["text"] and "of 2,500" in seen["text"] and f"process {holder()['pid']}" in seen["text"]
    assert "of 2,500" in seen["status"] and "▶ running" in seen["status"]
    assert seen["view"]["jobs"][0]["state"] == "running" and "no service seems to run" in seen["status"]
    assert json.loads(asked("jobs", "--json"))[0]["running"] is None
    assert "✓ well" in asked("status")


def test_a_run_whose_process_is_gone_does_not_run(sandbox, daemon_for, capsys):
    """Killed, and no service has said so yet: `jobs` and `status` know by its process."""
    import subprocess

    gone = subprocess.Popen(["true"])
    gone.wait()
    site = daemon_for(sandbox, rules(RULE))
    site.app.zone()
    known = {"holder": {**holder(), "pid": gone.pid}}
    site.app.state.begin_run(
        Run("r1", "job", "cleanup", "slot", None, site.app.clock.now() - timedelta(hours=1), report=known)
    )
    with pytest.raises(SystemExit):
        cli.main(["status", "--json", "-c", str(site.file)])
    (job,) = json.loads(capsys.readouterr().out)["jobs"]
    assert job["running"] is None and job["state"] == "new"


def test_status_needs_no_key_no_site_and_no_service(sandbox, daemon_for, capsys, monkeypatch):
    """What the state tells is shown, and that nobody works by it; a secret that is not there is none that is asked."""
    site = daemon_for(sandbox, rules(RULE))
    for name in site.environ:
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(SystemExit) as ended:
        cli.main(["status", "-c", str(site.file)])
    out = capsys.readouterr().out
    assert not ended.value.code and "no service seems to run" in out and "job" in out and "\x1b" not in out
    assert len(sandbox.requests) == 0


def test_watching_is_for_a_terminal(sandbox, daemon_for, capsys):
    """A pipe would get a heap of screens."""
    site = daemon_for(sandbox, rules(RULE))
    with pytest.raises(SystemExit) as ended:
        cli.main(["status", "--watch", "-c", str(site.file)])
    assert ended.value.code == 2 and "terminal" in capsys.readouterr().err
