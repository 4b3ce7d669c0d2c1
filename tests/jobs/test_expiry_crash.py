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

from daemon import check
from daemon.jobs._expiry.ledger import PROVISION
from daemon.sandbox import Fault, Sandbox
from daemon.site.mail import Mail
from tests.conftest import Daemon
from tests.jobs.test_expiry import ANN, BOB, MAKE, RULE, World, jobs
from tests.test_crash import KillAt

INSERT_MANY = "*.insert_many"
MAILS = 'ways = ["mail"]'


@pytest.fixture
def world(sandbox, daemon_for, tmp_path):
    return World(sandbox, daemon_for, tmp_path)


def with_ledger(world, user="manager@example.com", top=""):
    """The site has the DocType of the ledger, and the user may tell people on their desk."""
    from daemon.jobs.expiry import provisions
    from daemon.site import provision

    daemon = world.use(jobs(RULE), user=user)
    with daemon.app.site() as site:
        wanted = provisions(daemon.app.job("job").settings, site)
        for step in provision.apply(site, provision.to_make(site, wanted)):
            assert step.state == "made"
    world.use(jobs(RULE, top=top), user=user)
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


@pytest.mark.parametrize("ways", ["", 'ways = ["desk"]'])
@pytest.mark.parametrize("fault", ["lose_reply", "cut"])
@pytest.mark.parametrize("user", ["Administrator", "manager@example.com"])
def test_notifications_whose_replies_are_lost_ring_once(user, fault, ways, world):
    """Whether they rang, Administrator sees; to others a document of the site's ledger shows it, made in the same
    request. What did not ring is rung again."""
    with_ledger(world, user, top=ways)
    for n in range(4):
        world.license(f"L-{n}", 5, assigned_to=ANN if n % 2 else BOB)
    world.sandbox.faults.add(Fault(fault, "POST", INSERT_MANY, times=2))
    assert (world.run()["status"], world.report["counts"]) == ("done", {"done": 4})
    assert world.bells() == [(ANN, "L-1"), (ANN, "L-3"), (BOB, "L-0"), (BOB, "L-2")]
    assert world.sandbox.count("Expiry Notification Log") == 4 and world.run()["counts"] == {"kept": 4}


def test_a_notification_that_nobody_can_prove_is_uncertain(world):
    """Without the site's ledger, where it is the only way: never again, and the report says so."""
    with_ledger(world)
    with world.daemon.app.site() as site:
        site.delete("DocType", "Expiry Notification Log")
    world.use(jobs(RULE, top='ways = ["desk"]'), user="manager@example.com")
    world.license("L-1", 5)
    world.sandbox.faults.add(Fault("lose_reply", "POST", INSERT_MANY))
    assert (world.run()["status"], world.report["counts"]) == ("some failed", {"uncertain": 1})
    assert world.run()["counts"] == {"kept": 1} and world.bells() == [(ANN, "L-1")]


def test_a_ledger_that_may_not_be_read_keeps_no_notice_back(world):
    """Its right was taken away: what is known here counts, and the report says so; check says so beforehand."""
    values = {**PROVISION.values, "permissions": [{"role": "Auditor", "read": 1, "create": 1}]}
    world.sandbox.add_doctype(values)
    daemon = world.use(jobs(RULE), user="manager@example.com")
    world.license("L-1", 5)
    assert world.run()["counts"] == {"done": 1} and len(world.mails()) == 1
    assert "Expiry Notification Log could not be read" in json.dumps(world.part("notices")["notes"])
    assert world.run()["counts"] == {"kept": 1} and world.mails() == []
    with daemon.app.site() as site:
        found = [one.what for one in check.of_site(site, [daemon.app.job("job")]) if one.level == check.WARNING]
    assert any("lacks the right to read and create Expiry Notification Log" in what for what in found)


NEAR = RULE.replace("[60, 30, 7]", "[30]")


@pytest.mark.parametrize("far", ['[0]\nlook_back = "900d"', '[0, -500]\nlook_back = "0d"'])
@pytest.mark.parametrize("apart", [False, True])
def test_a_rule_forgets_nothing_that_another_one_looks_at(far, apart, world):
    """Two rules, or two jobs, about one date, one of which looks back further: one mail."""
    rule = RULE.replace("[60, 30, 7]", far)
    text = jobs(NEAR) + "\n" + jobs(rule).replace("jobs.job", "jobs.other") if apart else jobs(NEAR, rule)
    world.use(text)
    world.license("L-1", -480)
    told = []
    for _ in range(4):
        if apart:
            world.daemon.once("other")
        world.run()
        told.append(len(world.mails()))
        world.pass_days(1)
    assert told == [1, 0, 0, 0]


def test_a_rule_that_fails_loses_nothing_while_another_about_its_date_goes_on(world):
    """Its dates pass meanwhile; once it is mended they are told of."""
    rules = [f'{NEAR.replace("[30]", "[0]")}\nlook_back = "0d"\nfilters = [["status", "=", "{one}"]]' for one in "AB"]
    world.use(jobs(*rules))
    world.run()
    world.license("L-B", 3, status="B")
    world.use(jobs(rules[0], rules[1].replace('"assigned_to"', '"no_field"')))
    for _ in range(5):
        world.pass_days(1)
        assert world.run()["status"] == "some failed"
    world.use(jobs(*rules))
    world.run()
    assert world.mails() == [(ANN, "License L-B expired 2 days ago")]


def test_a_job_that_was_renamed_tells_nobody_again(world, monkeypatch):
    """Killed between a mail and the ledger: the mail is found by whatever job comes next."""
    send = Mail.send

    def killed(self, letter):
        send(self, letter)
        raise Killed

    world.license("L-1", 5)
    monkeypatch.setattr(Mail, "send", killed)
    with pytest.raises(Killed):
        world.run()
    monkeypatch.setattr(Mail, "send", send)
    world.use(jobs(RULE).replace("jobs.job", "jobs.other"))
    world.daemon.once("other")
    assert len(world.mails()) == 1 and len(world.bells()) == 1
    assert world.daemon.app.state.recall_all("expiry", "open|") == {}


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


@pytest.mark.parametrize(
    ("number", "path", "top"),
    [(3, "email.make", ""), (1, "insert_many", ""), (1, "insert_many", 'ways = ["desk"]'), (1, "insert_many", MAILS)],
)
def test_kill_9_at_any_step(number, path, top, world, tmp_path):
    """The next run ends what the killed one began: one mail each, one document of the ledger for each notice."""
    kill_and_go_on(number, path, world, tmp_path, top)


def kill_and_go_on(number, path, world, tmp_path, top=""):
    with_ledger(world, top=top)
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
    told = Counter(world.bells())
    assert sorted(to for to, _ in world.mails()) == ([] if "desk" in top else people)
    assert (
        set(told.values()) <= {1}
        and len(told) == (0 if top == MAILS else 12)
        and world.sandbox.count("Expiry Notification Log") == 12
    )
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
