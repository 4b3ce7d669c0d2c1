"""Several daemons on one state: each slot is run by exactly one of them, whatever happens to one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from daemon.sandbox import Fault, Sandbox
from daemon.state import State
from tests.conftest import days_ago, rules
from tests.postgresql import PASSWORD, Cluster, Proxy

RULE = 'doctype = "Error Log"\nolder_than = "30d"\nstrategy = "rows"\nfilters = [["method", "=", "{}"]]'
ROWS = 600
"""Of each job: two pages and a rest, so that a run has steps."""

DAEMON = """
import sys
from datetime import timedelta
from functools import partial
from daemon import app, runner, service
from daemon.cli import main
from dataclasses import replace
from tests.postgresql import QUICK
app.Server = partial(app.Server, terms=replace(QUICK, lease=float(sys.argv[2])))
service.RETRY_RUNNING, service.RETRY_STATE, runner.STATE_WAIT = 0.2, 0.3, timedelta(seconds=0.3)
main(["run", "--config", sys.argv[1]])
"""
"""The command, with leases of another length."""


class Daemon:
    """A process of its own, with a way of its own to the database; `events` grows by what it logs."""

    def __init__(self, file: Path, environ: dict[str, str], proxy: Proxy | None = None, lease: float = 60) -> None:
        self.proxy = proxy
        self.events: list[dict] = []
        self.heard = threading.Condition()
        self.process = subprocess.Popen(
            [sys.executable, "-c", DAEMON, str(file), str(lease)],
            stderr=subprocess.PIPE, text=True, env=os.environ | environ,
        )  # fmt: skip
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stderr:
            with self.heard:
                self.events.append(json.loads(line))
                self.heard.notify_all()

    def until(self, event: str, text: str = "") -> None:
        """Wait for such a line of its log."""
        with self.heard:
            found = self.heard.wait_for(
                lambda: any(one["event"] == event and text in json.dumps(one) for one in self.events), 30
            )
            if not found:
                pytest.fail("\n".join([f"no {event} {text} in", *map(json.dumps, self.events)]))

    def end(self) -> int:
        """SIGTERM, and the exit code."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(30)
        self._reader.join()
        return code

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._reader.join()
        self.process.stderr.close()


class Shared:
    """Three daemons' configurations, each with a proxy before the one database; every job missed a slot."""

    def __init__(self, sandbox: Sandbox, cluster: Cluster, folder: Path, jobs: int, daemon_for: Callable) -> None:
        self.database = cluster.database()
        self.proxies = [Proxy(cluster.port) for _ in range(3)]
        self.jobs = [f"job{number}" for number in range(jobs)]
        toml = "\n".join(rules(RULE.format(job)).replace("jobs.job", f"jobs.{job}") for job in self.jobs)
        self.files = []
        for number, proxy in enumerate(self.proxies):
            place = folder / str(number)
            place.mkdir()
            state = f'url = "{cluster.url(self.database, proxy.port)}"\npassword = {{ env = "DATABASE" }}'
            made = daemon_for(sandbox, toml, folder=place, state=state, environ={"DATABASE": cluster.password})
            self.files.append(made.file)
        self.environ = made.environ
        self.state = State.open(cluster.server(self.database))
        self.missed = datetime.now(UTC) - timedelta(days=3)
        for job in self.jobs:
            self.state.settle_slot(job, self.missed, "daily")
            sandbox.seed("Error Log", ({"creation": days_ago(50 + n / 1e4), "method": job} for n in range(ROWS)))
        sandbox.seed("Error Log", [{"method": "young"}])

    @contextmanager
    def daemons(self, count: int, lease: float = 60) -> Iterator[list[Daemon]]:
        with ExitStack() as ends:
            started = []
            for file, proxy in zip(self.files[:count], self.proxies, strict=False):
                started.append(Daemon(file, self.environ, proxy, lease))
                ends.callback(started[-1].close)
            yield started

    def until_settled(self, *daemons: Daemon) -> None:
        """Each job's slot is dealt with, which the daemons are waited for to say."""
        for job in self.jobs:
            while (mark := self.state.slot(job)) is None or mark.slot <= self.missed:
                assert any(one.process.poll() is None for one in daemons)
                threading.Event().wait(0.05)

    def close(self) -> None:
        self.state.close()
        for proxy in self.proxies:
            proxy.close()


@pytest.fixture
def shared(sandbox, postgresql, tmp_path, daemon_for) -> Iterator[Callable[[int], Shared]]:
    made: list[Shared] = []

    def make(jobs: int) -> Shared:
        made.append(Shared(sandbox, postgresql, tmp_path, jobs, daemon_for))
        return made[-1]

    yield make
    for one in made:
        one.close()
        postgresql.drop(one.database)


def finished(shared: Shared) -> Counter:
    return Counter(run.job for run in shared.state.runs(limit=99) if run.status == "done")


def test_of_three_daemons_exactly_one_runs_each_slot(sandbox, shared):
    """Started at once, all find every job's slot missed: one run of each, by one of them, and no other trace."""
    both = shared(6)
    with both.daemons(3) as daemons:
        both.until_settled(*daemons)
        assert [one.end() for one in daemons] == [0, 0, 0]
        assert all(one.events and PASSWORD not in json.dumps(one.events) for one in daemons)
    runs = both.state.runs(limit=99)
    assert {(run.status, run.reason) for run in runs} == {("done", "catch-up")}
    assert finished(both) == dict.fromkeys(both.jobs, 1) and len(runs) == 6
    assert sandbox.count("Error Log") == 1 and sandbox.count("Deleted Document") == 6 * ROWS
    assert both.state.holders() == {}  # all were given back


class HarmAt:
    """Does something to the daemon that sends the first deletion, before the site works on it, somewhat late."""

    def __init__(self, sandbox: Sandbox, shared: Shared, harm: Callable[[Daemon], None]) -> None:
        self.daemons: list[Daemon] = []
        self.victim: Daemon | None = None
        self.done = threading.Event()
        self._shared, self._harm = shared, harm
        self._hit = sandbox.faults.hit
        sandbox.wire.faults = self

    def hit(self, method: str, path: str) -> list[Fault]:
        if self.victim or "delete_items" not in path:
            return self._hit(method, path)
        holder = self._shared.state.holders()["job0"]
        (self.victim,) = (one for one in self.daemons if one.process.pid == holder.pid)
        self._harm(self.victim)
        self.done.set()
        return [Fault("latency", seconds=0.5)]


HARMS = {
    "killed": lambda daemon: daemon.process.send_signal(signal.SIGKILL),
    "frozen": lambda daemon: daemon.process.send_signal(signal.SIGSTOP),
    "cut off": lambda daemon: daemon.proxy.stop(),
}


@pytest.mark.parametrize("harm", HARMS)
def test_when_the_one_that_runs_a_slot_fails_another_takes_it_over(harm, sandbox, shared):
    """Its lease ends; the other one runs the slot to its end, and what the first one says later is refused. What
    was frozen or cut off goes on as a service afterwards."""
    both = shared(1)
    harmed = HarmAt(sandbox, both, HARMS[harm])
    with both.daemons(2, lease=1.5) as daemons:
        harmed.daemons += daemons
        assert harmed.done.wait(30)
        both.until_settled(*daemons)
        assert finished(both) == {"job0": 1}
        victim = harmed.victim
        if harm == "killed":
            assert victim.process.wait() == -signal.SIGKILL
        else:
            victim.process.send_signal(signal.SIGCONT)
            victim.until("job.failed", "the lease on job0 was lost")
            victim.proxy.go()
            assert victim.end() == 0
        assert all(one.end() == 0 for one in daemons if one is not victim)
    *_, first = runs = both.state.runs("job0")
    assert first.status == "interrupted" and [run.status for run in runs].count("done") == 1
    assert {run.slot for run in runs} == {both.state.slot("job0").slot}
    assert sandbox.count("Error Log") == 1 and sandbox.count("Deleted Document") == ROWS


def test_a_daemon_survives_a_restart_of_its_database(sandbox, shared):
    """In the midst of a run: that ends, the daemon lives, and when the database is back it makes up for the slot."""
    alone = shared(1)
    harmed = HarmAt(sandbox, alone, lambda daemon: daemon.proxy.cut())
    with alone.daemons(1, lease=1.5) as (daemon,):
        harmed.daemons.append(daemon)
        daemon.until("job.failed", "job0")
        daemon.proxy.mend()
        alone.until_settled(daemon)
        assert daemon.end() == 0
    assert finished(alone) == {"job0": 1} and sandbox.count("Error Log") == 1
    assert sandbox.count("Deleted Document") == ROWS


def test_a_second_service_on_one_file_is_refused_and_commands_are_not(sandbox, daemon_for, tmp_path):
    """Exit code 78 and a sentence that names the process and since when; runs by hand go on beside a service, and its
    end makes room for another."""
    site = daemon_for(sandbox, rules(RULE.format("x")))
    first = Daemon(site.file, site.environ)
    try:
        first.until("job.scheduled")
        command = [sys.executable, "-m", "daemon", "run", "--config", str(site.file)]
        second = subprocess.run(command, env=os.environ | site.environ, capture_output=True, text=True, timeout=60)
        assert second.returncode == 78
        told = f"another frappe-daemon service works with the state database {tmp_path}/state.db, since "
        assert told in second.stderr and f"in process {first.process.pid} on {os.uname().nodename}" in second.stderr
        assert site.once()["status"] == "done" and site.app.state.holders().keys() == {"(service)"}
        assert first.end() == 0
        with site.app.state.serving():
            pass
    finally:
        first.close()


def test_jobs_shows_who_runs_what(sandbox, daemon_for, capsys):
    """Host, process and since when, for people and for programs; nobody where nothing runs."""
    from daemon.cli import cli

    site = daemon_for(sandbox, rules(RULE.format("x")))

    def jobs(*more: str) -> str:
        cli(["jobs", "--config", str(site.file), *more], standalone_mode=False)
        return capsys.readouterr().out

    site.once()
    capsys.readouterr()
    with site.app.state.claim("job"):
        (row,) = json.loads(jobs("--json"))
        held = row["held"]
        assert (held["host"], held["pid"]) == (os.uname().nodename, os.getpid())
        assert abs(datetime.fromisoformat(held["since"]) - datetime.now(UTC)) < timedelta(minutes=1)
        assert f"held by {os.uname().nodename}:{os.getpid()} since" in " ".join(jobs().split())
    assert json.loads(jobs("--json"))[0]["held"] is None
