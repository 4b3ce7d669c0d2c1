"""Expiry notices at work: the real client against the sandbox. Who is told of what, by which way, and never twice."""

from __future__ import annotations

import json
from datetime import date, timedelta
from zoneinfo import ZoneInfo

import pytest

from daemon import cli
from daemon.sandbox import Fault

ZONE = ZoneInfo("America/New_York")
MAKE = "*.email.make"
ANN, BOB, CAT = "ann@example.com", "bob@example.com", "cat@example.com"
LICENSE = {
    "name": "License",
    "autoname": "prompt",
    "is_submittable": 1,
    "fields": [
        {"fieldname": "title", "fieldtype": "Data"},
        {"fieldname": "valid_till", "fieldtype": "Date"},
        {"fieldname": "assigned_to", "fieldtype": "Link", "options": "User"},
        {"fieldname": "deputy", "fieldtype": "Link", "options": "User"},
        {"fieldname": "contact", "fieldtype": "Data"},
        {"fieldname": "status", "fieldtype": "Data"},
        {"fieldname": "parts", "fieldtype": "Table", "options": "License Part"},
    ],
    "permissions": [{"role": "System Manager", "read": 1, "write": 1, "create": 1, "email": 1}],
}
PART = {
    "name": "License Part",
    "istable": 1,
    "fields": [{"fieldname": "module", "fieldtype": "Data"}, {"fieldname": "ends", "fieldtype": "Date"}],
}
RULE = 'doctype = "License"\ndate_field = "valid_till"\ndays_before = [60, 30, 7]\nnotify = "assigned_to"'


def jobs(*rules: str, top: str = "") -> str:
    head = f'[jobs.job]\nkind = "expiry"\nschedule = "0 7 * * *"\n{top}\n'
    return head + "\n".join(f"[[jobs.job.rules]]\n{rule}" for rule in rules)


class World:
    """A sandbox with Licenses and people, and a daemon that is as after a restart in each run."""

    def __init__(self, sandbox, daemon_for, tmp_path):
        self.sandbox, self._daemon_for, self.folder = sandbox, daemon_for, tmp_path
        sandbox.add_doctype(PART)
        sandbox.add_doctype(LICENSE)
        for user in (ANN, BOB, CAT):
            self.user(user)
        self.daemon = self.use(jobs(RULE))

    def user(self, name, **more):
        first = name.partition("@")[0].title()
        facts = {"email": name, "first_name": first, "full_name": f"{first} Example", "enabled": 1, "language": "en"}
        self.sandbox.seed("User", [{"name": name, "user_type": "System User", **facts, **more}])

    def use(self, text, user="Administrator"):
        passed = self.daemon.clock.passed if hasattr(self, "daemon") else 0.0
        self.daemon = self._daemon_for(self.sandbox, text, user=user)
        self.daemon.clock.passed = passed
        self.sandbox.site.clock = self.daemon.clock.now
        return self.daemon

    @property
    def today(self) -> date:
        return self.daemon.clock.now().astimezone(ZONE).date()

    def license(self, name, days, **more):
        """One that expires so many days from today."""
        expires = {} if days is None else {"valid_till": str(self.today + timedelta(days=days))}
        self.sandbox.seed("License", [{"name": name, "assigned_to": ANN, "owner": CAT, **expires, **more}])

    def pass_days(self, days):
        self.daemon.clock.passed += 86400 * days

    def run(self, **order):
        self.report = self.daemon.once(**order)
        return self.report

    def mails(self):
        """(address, subject) of mails since the last call."""
        found = [(mail["recipients"][0], mail["subject"]) for mail in self.sandbox.outbox]
        self.letters = [mail["content"] for mail in self.sandbox.outbox]
        self.sandbox.outbox.clear()
        return sorted(found)

    def bells(self):
        """(user, document) of notifications on the desk since the last call."""
        found = sorted((row["for_user"], row["document_name"]) for row in self.sandbox.rows("Notification Log"))
        self.sandbox.truncate("Notification Log")
        return found

    def part(self, name):
        return next(part for part in self.report["parts"] if part["part"] == name)


@pytest.fixture
def world(sandbox, daemon_for, tmp_path):
    return World(sandbox, daemon_for, tmp_path)


def test_who_is_concerned_is_told_by_mail_and_on_the_desk(world):
    """One mail for each person with all their documents, the soonest first; a notification for each document."""
    world.license("L-1", 20, title="Crane")
    world.license("L-2", 3)
    world.license("L-3", 50, assigned_to=BOB)
    world.license("L-4", 61)
    world.license("L-5", None)
    assert world.run()["status"] == "done" and world.report["counts"] == {"done": 3}
    assert world.mails() == [(ANN, "Documents that expire soon: 2"), (BOB, "License L-3 expires in 50 days")]
    assert world.bells() == [(ANN, "L-1"), (ANN, "L-2"), (BOB, "L-3")]
    (letter,) = [letter for letter in world.letters if "Ann" in letter]
    assert letter.index("L-2") < letter.index("L-1") and "/app/license/L-1" in letter
    assert world.run()["counts"] == {"kept": 3} and world.mails() == [] and world.bells() == []


def test_it_is_the_tightest_threshold_that_counts_not_the_day(world):
    """After any down-time one notice, of the threshold that is now due; the next one comes at the next threshold."""
    world.license("L-1", 58)
    told = []
    for days in (0, 2, 40, 20, 1, 1, 90):
        world.pass_days(days)
        world.run()
        told.append([subject for _, subject in world.mails()])
    first = ["License L-1 expires in 58 days"]
    assert told == [first, [], ["License L-1 expires in 16 days"], ["License L-1 expired 4 days ago"], [], [], []]


def test_a_date_that_was_changed_starts_anew(world):
    """Also when it is changed back: that one has been told."""
    world.license("L-1", 5)
    world.run()
    before = world.sandbox.rows("License")[0]["valid_till"]
    world.sandbox.set("License", "L-1", valid_till=str(world.today + timedelta(days=6)))
    world.run()
    assert len(world.mails()) == 2
    world.sandbox.set("License", "L-1", valid_till=before)
    world.run()
    assert world.mails() == []


def test_cancelled_and_filtered_documents_are_left_out(world):
    """docstatus 2 unless a filter is about it."""
    world.license("L-1", 5, docstatus=2)
    world.license("L-2", 5, status="On Hold")
    world.license("L-3", 5, status="Active")
    world.use(jobs(RULE + '\nfilters = [["status", "!=", "On Hold"]]'))
    world.run()
    assert world.mails() == [(ANN, "License L-3 expires in 5 days")]
    world.use(jobs(RULE + '\nfilters = [["docstatus", "=", 2]]'))
    world.run()
    assert world.mails() == [(ANN, "License L-1 expires in 5 days")]


def test_dates_of_child_rows_are_told_of_one_by_one(world):
    """Each row is a subject of its own; the letter says which."""
    near, far = str(world.today + timedelta(days=5)), str(world.today + timedelta(days=300))
    parts = [{"module": "A", "ends": near}, {"module": "B", "ends": far}, {"module": "C", "ends": near}]
    world.sandbox.seed("License", [{"name": "L-1", "assigned_to": ANN, "parts": parts}])
    world.sandbox.seed("License", [{"name": "L-2", "assigned_to": ANN, "parts": parts, "docstatus": 2}])
    world.use(jobs(RULE.replace('"valid_till"', '"parts.ends"')))
    assert world.run()["counts"] == {"done": 2}
    assert world.mails() == [(ANN, "Documents that expire soon: 2")] and len(world.bells()) == 2
    assert "row 1" in world.letters[0] and "row 3" in world.letters[0] and "row 2" not in world.letters[0]
    assert world.run()["counts"] == {"kept": 2}


def test_many_may_be_told_and_each_once(world):
    """Several fields, a role, users and addresses; who is named twice is told once."""
    world.sandbox.site.add_child("Has Role", ("User", BOB, "roles"), 1, {"role": "Sales User"})
    who = f'fields = ["assigned_to", "deputy", "contact"], roles = ["Sales User"], users = ["{ANN}"]'
    rule = RULE.replace('"assigned_to"', f'{{ {who}, addresses = ["Out@Example.org", "{BOB.upper()}"] }}')
    world.license("L-1", 5, deputy=ANN, contact="outside@example.net")
    world.use(jobs(rule))
    world.run()
    told = {"outside@example.net", "Out@Example.org", "clerk@example.com", "manager@example.com", ANN, BOB}
    assert {address for address, _ in world.mails()} == told and len(world.letters) == len(told)
    assert ("outside@example.net", "L-1") not in world.bells()


@pytest.mark.parametrize(("assigned", "why"), [("", "assigned_to is empty"), (BOB, "bob@example.com is disabled"),
                                               ("gone@example.com", "no user 'gone@example.com'")])  # fmt: skip
def test_the_fallback_is_told_where_nobody_is(assigned, why, world):
    """An empty field, a disabled user, one that is gone; the report says so."""
    world.sandbox.set("User", BOB, enabled=0)
    world.license("L-1", 5, assigned_to=assigned)
    assert world.run()["status"] == "done" and world.mails() == [(CAT, "License L-1 expires in 5 days")]
    assert any(why in note for note in world.part("License")["notes"])


def test_what_is_wrong_with_one_is_nobody_elses_trouble(world):
    """No address, a malformed one, a disabled user, nobody at all: each with a sentence; the others are told."""
    world.sandbox.set("User", BOB, email="bob at example")
    world.sandbox.set("User", CAT, enabled=0)
    world.user("website@example.com", email="", user_type="Website User")
    world.license("L-1", 5)
    world.license("L-2", 5, assigned_to=BOB)
    world.license("L-3", 5, assigned_to="website@example.com")
    world.license("L-4", 5, assigned_to=CAT)
    rule = RULE.replace('"assigned_to"', '{ fields = ["assigned_to"], addresses = ["nonsense"] }')
    world.use(jobs(RULE, top=""))
    assert world.run()["status"] == "some failed" and world.report["counts"] == {"done": 2, "failed": 2}
    assert world.mails() == [(ANN, "License L-1 expires in 5 days")]
    assert world.bells() == [(ANN, "L-1"), (BOB, "L-2")]
    said = json.dumps(world.report)
    assert "the user cat@example.com is disabled" in said and "website@example.com has no e-mail address" in said
    assert "'bob at example'" in said
    world.pass_days(0)
    world.license("L-5", 4, assigned_to=ANN)
    world.use(jobs(rule))
    world.run()
    assert "'nonsense' is no e-mail address" in json.dumps(world.report)
    assert world.mails() == [(ANN, "License L-5 expires in 4 days")]
