"""A service under load that is killed and stopped at random moments, again and again."""

from __future__ import annotations

import random
import signal
import threading
from datetime import UTC, datetime, timedelta

import pytest

from daemon.sandbox import Sandbox
from daemon.site import provision
from daemon.state import State
from tests.conftest import days_ago
from tests.live import RULE, Live

LOAD = f"""
[jobs.calls]
kind = "import"
schedule = "every 1m"
inbox = "inbox"
doctype = "ToDo"
columns = {{ Description = "description" }}
[jobs.tidy]
kind = "cleanup"
schedule = "every 1m"
[[jobs.tidy.rules]]
{RULE}
archive = "archive"
[jobs.quiet]
kind = "cleanup"
schedule = "every 1m"
[[jobs.quiet.rules]]
{RULE.replace("Error Log", "Activity Log")}
"""
JOBS = {"calls", "tidy", "quiet"}
ROWS, LOGS = 60, 60
LATER = """
import datetime as d
from apscheduler.schedulers import base
from daemon import app, runner
later = d.timedelta(minutes={minutes})
app.SystemClock.now = lambda self: d.datetime.now(d.timezone.utc) + later
base.datetime = type("Later", (d.datetime,), {{"now": classmethod(lambda cls, zone: d.datetime.now(zone) + later)}})
runner.LARGEST_SKEW = d.timedelta(days=99)
"""
"""Each life begins some minutes after the last one, so that each job has a slot to make up for."""


class Blow:
    """Sends a signal to a process as the sandbox takes its `number`th request from now on."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._hit = sandbox.faults.hit
        self._lock = threading.Lock()
        self.number, self.live, self.signal = 0, None, signal.SIGKILL
        self.fell = threading.Event()
        sandbox.wire.faults = self

    def strike(self) -> None:
        self.fell.set()
        if self.live:
            self.live.send(self.signal)

    def hit(self, method: str, path: str) -> list:
        with self._lock:
            self.number -= 1
            if self.number == 0 and self.live:
                self.strike()
        return self._hit(method, path)


def life_and_death(sandbox: Sandbox, site, tmp_path, times: int, rng: random.Random) -> None:
    """The daemon lives `times` times, and once more to its end."""
    (tmp_path / "inbox").mkdir()
    blow, path, marks, wanted = Blow(sandbox), tmp_path / "state.db", {}, set()
    for number in range(times + 1):
        rows = [f"call {number}-{row}" for row in range(ROWS if number < times else 1)]
        wanted.update(rows)
        file = tmp_path / "inbox" / f"{number}.csv"
        file.write_text("Description\n" + "\n".join(rows) + "\n")
        sandbox.seed("Error Log", ({"creation": days_ago(50), "method": f"old {number}"} for _ in range(LOGS)))
        last = number == times
        blow.fell.clear()
        blow.number = 0 if last else rng.randrange(1, 24)
        blow.signal = rng.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM])
        # The inbox takes what has not been written to for a while, which the later clock of each life makes true.
        with Live(site, patch=LATER.format(minutes=2 * (number + 1))) as blow.live:
            if last:
                for job in ("tidy", "calls"):
                    while not any(e["event"] == "run.finished" and e["job"] == job for e in blow.live.events):
                        blow.live.until("run.finished")
                assert blow.live.stop() == 0
            else:
                while not blow.fell.wait(0.02):  # in a life that asked less than that often it comes when all is done
                    if {event["job"] for event in blow.live.so_far() if event["event"] == "run.finished"} == JOBS:
                        blow.strike()
                blow.live.process.wait(60)
                assert blow.live.process.returncode in (-signal.SIGKILL, 0), blow.live.other
        blow.live = None
        with State.open(path) as state:
            for job, mark in state.slots().items():
                assert mark.slot >= marks.get(job, mark.slot)
                marks[job] = mark.slot
    with State.open(path) as state:
        runs = state.runs(limit=100_000)
        done = [(run.job, run.slot) for run in runs if run.status == "done"]
        odd = [run.report for run in runs if run.status not in ("done", "stopped", "interrupted")]
        assert len(done) == len(set(done)) and odd == []
        assert {job for job, _ in done} >= {"calls", "tidy"} and len(marks) == 3
    found = sorted(row["description"] for row in sandbox.rows("ToDo", fields=["description"]))
    assert found == sorted(wanted)
    assert sandbox.count("Error Log") == 0
    assert sandbox.count("Deleted Document", {"deleted_doctype": "Error Log"}) == LOGS * (times + 1)


@pytest.fixture
def site(sandbox, daemon_for):
    made = daemon_for(sandbox, LOAD)
    calls = made.app.job("calls")
    with made.app.site() as client:  # a row without a key whose reply is lost is uncertain, which is no loss but no row
        list(provision.apply(client, provision.to_make(client, calls.kind.provisions(calls.settings, client))))
    made.app.state.remember_site(sandbox.url, {"time_zone": "America/New_York"})
    for job in made.app.config.jobs.values():
        made.app.state.settle_slot(job.name, datetime.now(UTC) - timedelta(minutes=2), job.schedule.text)
    made.app.close()
    return made


def test_kills_and_stops_at_random_moments_lose_and_double_nothing(sandbox, site, tmp_path):
    """After each the state opens and no schedule has gone back; in the end each row is on the site once, each log is
    gone and archived on the site once, and no slot was done twice. Two hundred times: `make test-long`."""
    life_and_death(sandbox, site, tmp_path, 6, random.Random(3))


@pytest.mark.long
def test_two_hundred_kills_and_stops_lose_and_double_nothing(sandbox, site, tmp_path):
    """As above."""
    life_and_death(sandbox, site, tmp_path, 200, random.Random(4))
