"""Expiry notices when things go wrong between a step and the next: nothing is told twice, nothing is left untold."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from daemon.sandbox import Fault, Sandbox
from tests.conftest import Daemon
from tests.jobs.test_expiry import ANN, BOB, MAKE, RULE, World, jobs
from tests.test_crash import KillAt

INSERT_MANY = "*.insert_many"


@pytest.fixture
def world(sandbox, daemon_for, tmp_path):
    return World(sandbox, daemon_for, tmp_path)


def with_ledger(world, user="manager@example.com"):
    """The site has the DocType of the ledger, and the user may tell people on their desk."""
    from daemon.jobs.expiry import provisions
    from daemon.site import provision

    daemon = world.use(jobs(RULE), user=user)
    with daemon.app.site() as site:
        wanted = provisions(daemon.app.job("job").settings, site)
        for step in provision.apply(site, provision.to_make(site, wanted)):
            assert step.state == "made"
    world.sandbox.requests.clear()


@pytest.mark.parametrize("fault", ["lose_reply", "cut"])
@pytest.mark.parametrize("path", [MAKE, INSERT_MANY])
@pytest.mark.parametrize("user", ["Administrator", "manager@example.com"])
def test_lost_replies_are_settled(fault, path, user, world):
    """Of mails, of notifications and of the site's ledger: one mail each, and what was sent stands in both ledgers."""
    with_ledger(world, user)
    for n in range(4):
        world.license(f"L-{n}", 5, assigned_to=ANN if n % 2 else BOB)
    world.sandbox.faults.add(Fault(fault, "POST", path, times=2))
    world.run()
    world.run()
    assert sorted(to for to, _ in world.mails()) == [ANN, BOB]
    assert len(world.bells()) <= 4 and world.sandbox.count("Expiry Notification Log") == 4
    world.sandbox.requests.clear()
    assert world.run()["counts"] == {"kept": 4} and not any(
        path.endswith("make") for _, path, _ in world.sandbox.requests
    )


def test_who_lost_the_state_tells_nobody_again(world):
    """The site's ledger is read before anything is sent, in one request for each page of documents."""
    with_ledger(world)
    for n in range(250):
        world.license(f"L-{n:03d}", 5, assigned_to=ANN if n % 2 else BOB)
    assert world.run()["counts"] == {"done": 250} and len(world.mails()) == 2
    world.daemon.app.close()
    for file in world.folder.glob("state.db*"):
        if file.is_file():
            file.unlink()
    world.use(jobs(RULE), user="manager@example.com")
    assert world.run()["counts"] == {"kept": 250} and world.mails() == []
    asked = [path for _, path, _ in world.sandbox.requests if "Expiry%20Notification%20Log" in path]
    assert len(asked) <= 4
    world.sandbox.requests.clear()
    assert world.run()["counts"] == {"kept": 250}  # and now it is known here
    assert not any("Expiry%20Notification%20Log" in path for _, path, _ in world.sandbox.requests)


def test_a_ledger_of_somebody_elses_is_left_alone(world):
    """The example's own, with fewer fields: the report says so, and notices go out."""
    fields = [{"fieldname": "reference_doctype", "fieldtype": "Data"}, {"fieldname": "sent_on", "fieldtype": "Date"}]
    world.sandbox.add_doctype({"name": "Expiry Notification Log", "fields": fields})
    world.license("L-1", 5)
    assert world.run()["status"] == "done" and len(world.mails()) == 1
    assert "made by somebody else" in json.dumps(world.part("notices")["notes"])
    assert world.sandbox.count("Expiry Notification Log") == 0


@pytest.mark.parametrize(("number", "path"), [(3, "email.make"), (1, "insert_many"), (2, "insert_many")])
def test_kill_9_at_any_step(number, path, world, tmp_path):
    """The next run ends what the killed one began: one mail each, one document of the ledger for each notice."""
    kill_and_go_on(number, path, world, tmp_path)


def kill_and_go_on(number, path, world, tmp_path):
    with_ledger(world)
    people = [f"p{n}@example.com" for n in range(6)]
    for person in people:
        world.user(person)
    for n in range(12):
        world.license(f"L-{n:02d}", 5, assigned_to=people[n % 6])
    killer = KillAt(world.sandbox, number, path)
    command = [sys.executable, "-m", "daemon", "once", "job", "--config", str(world.daemon.file)]
    with subprocess.Popen(
        command,
        env=os.environ | world.daemon.environ,
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as killer.process:
        pass
    assert killer.process.returncode == -signal.SIGKILL
    world.run()
    world.run()
    assert sorted(to for to, _ in world.mails()) == people
    assert max(Counter(world.bells()).values()) == 1 and world.sandbox.count("Expiry Notification Log") == 12
    assert world.run()["counts"] == {"kept": 12}


def test_what_is_left_is_settled_before_anything_is_decided(world):
    """While it cannot be, nobody is told of anything: it might be the second time."""
    world.license("L-1", 5)
    world.sandbox.faults.add(Fault("cut", "POST", MAKE, times=3))
    assert world.run()["counts"] == {"uncertain": 1}
    world.license("L-2", 5, assigned_to=BOB)
    world.sandbox.faults.add(Fault("status", "GET", "*Communication*", code=500, html=False, times=1))
    world.run()
    assert world.part("left from before")["error"] and len(world.report["parts"]) == 1 and world.mails() == []
    assert world.run()["counts"] == {"done": 2} and [to for to, _ in world.mails()] == [ANN, BOB]


class Killed(BaseException):
    """What SIGKILL is within one process: no `except Exception` sees it."""


class Year:
    """A year in which everything happens that can: a daemon that is up now and then, killed, restarted, unheard.

    The clock is everybody's. `told` holds for each mail that the site accepted the documents that it lists.
    """

    THRESHOLDS = (30, 7, 1, 0, -7)

    def __init__(self, sandbox, folder, rng, zone):
        self.sandbox, self.rng = sandbox, rng
        self.moment = datetime(2026, 2, 1, 12, tzinfo=UTC)
        self.zone = zone
        sandbox.site.clock = lambda: self.moment
        rule = RULE.replace("[60, 30, 7]", str(list(self.THRESHOLDS)))
        self.daemon = Daemon(sandbox, folder, jobs(rule, top='ways = ["mail"]\ngrouped = false'))
        self.daemon.clock.now = lambda: self.moment
        self.daemon.clock.pause = self._pause
        self.told: Counter[tuple[str, str, int]] = Counter()
        self.days: list = []
        self.dates: dict[str, list] = {}
        self._writes = 0
        self._kill_at = 0
        self._write = self.daemon.app.state.remember_all
        self.daemon.app.state.remember_all = self._remember

    def _pause(self, seconds):
        self.moment += timedelta(seconds=seconds)
        self.daemon.clock.passed += seconds

    @property
    def today(self):
        return self.moment.astimezone(self.zone).date()

    def _remember(self, *arguments):
        """The state, which a kill may end before or after it was written."""
        self._writes += 1
        if self._writes == self._kill_at:
            raise Killed
        self._write(*arguments)
        if self._writes == -self._kill_at:
            raise Killed

    def documents(self, number):
        for n in range(number):
            expires = self.today + timedelta(days=self.rng.randint(5, 330))
            self.dates[f"L-{n}"] = [(self.today, expires)]
            row = {"name": f"L-{n}", "assigned_to": ANN, "valid_till": str(expires)}
            self.sandbox.seed("License", [row])

    def renew(self):
        name = self.rng.choice(sorted(self.dates))
        expires = self.today + timedelta(days=self.rng.randint(40, 200))
        self.dates[name].append((self.today, expires))
        self.sandbox.set("License", name, valid_till=str(expires))

    def live(self, events):
        for gap, event in events:
            self.moment += timedelta(hours=gap)
            self._kill_at = self._writes + self.rng.randint(1, 12) if event == "kill" else 0
            if event == "killed after":
                self._kill_at = -(self._writes + self.rng.randint(1, 12))
            if event in ("lose_reply", "cut"):
                self.sandbox.faults.add(Fault(event, "POST", MAKE, times=self.rng.randint(1, 3)))
            if event == "renew":
                self.renew()
            self.until_done()
            self.days.append(self.today)

    def until_done(self):
        """A run, and after a kill the restart, or after replies that were lost for good the next try."""
        begun = self.today
        try:
            again = self.daemon.once()["counts"].get("uncertain")
        except Killed:
            again = True
        self.sandbox.faults.clear()
        self._kill_at = 0
        if again:
            assert not self.daemon.once()["counts"].get("uncertain")
        if self.today != begun:  # it waited past midnight
            self.daemon.once()
        self.collect()

    def collect(self):
        for mail in self.sandbox.outbox:
            name = mail["subject"].split()[1]
            expires = self.dates[name][-1][1]
            left = (expires - self.today).days
            self.told[name, str(expires), min(t for t in self.THRESHOLDS if left <= t)] += 1
        self.sandbox.outbox.clear()

    def law(self):
        """Nothing twice; and whatever threshold the daemon was up for while it was the tightest, was told."""
        assert len({name for name, _, _ in self.told}) == len(self.dates) and max(self.told.values()) == 1
        for name, dates in self.dates.items():
            ends = [begun for begun, _ in dates[1:]] + [None]
            for (begun, expires), end in zip(dates, ends, strict=True):
                days = [day for day in self.days if begun < day and (end is None or day < end)]
                due = {min(t for t in self.THRESHOLDS if (expires - day).days <= t)
                       for day in days if (expires - day).days <= 30}  # fmt: skip
                assert due <= {threshold for one, at, threshold in self.told if (one, at) == (name, str(expires))}


EVENTS = st.lists(
    st.tuples(
        st.one_of(st.integers(20, 28), st.integers(1, 24 * 21)),
        st.sampled_from(["", "", "", "kill", "killed after", "lose_reply", "cut", "renew"]),
    ),
    min_size=12,
    max_size=24,
)


def law(zone, folders, examples):
    """`Year.law` of so many years."""

    @settings(
        max_examples=examples, derandomize=True, phases=[Phase.generate], database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(EVENTS, st.randoms(use_true_random=False))
    def holds(events, rng):
        with Sandbox("15", time_zone=zone) as sandbox:
            World.people(sandbox)
            year = Year(sandbox, folders.mktemp("year"), rng, ZoneInfo(zone))
            year.documents(8)
            year.live([(0, ""), *events, *[(24 * 45, "")] * 8])
            year.daemon.app.close()
            year.law()

    holds()


@pytest.mark.parametrize("zone", ["America/New_York", "Australia/Lord_Howe"])
def test_a_year_of_down_time_kills_and_lost_replies(zone, tmp_path_factory):
    """The law: for each document, date, threshold and person one accepted mail at the most, and one for each threshold
    that was the tightest while the daemon was up, whatever happened. A year holds both changes of the clocks."""
    law(zone, tmp_path_factory, 1)
