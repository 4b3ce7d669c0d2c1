"""Expiry notices at work: the real client against the sandbox. Who is told of what, by which way, and never twice."""

from __future__ import annotations

import json
import re
from datetime import date, timedelta
from functools import partial
from zoneinfo import ZoneInfo

import pytest

from daemon import check, cli, tables
from daemon.jobs._expiry import tell
from daemon.rendering.process import Renderer

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
        {"fieldname": "amended_from", "fieldtype": "Link", "options": "License"},
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


def user(name, **more):
    first = name.partition("@")[0].title()
    facts = {"email": name, "first_name": first, "full_name": f"{first} Example", "enabled": 1, "language": "en"}
    return {"name": name, "user_type": "System User", **facts, **more}


class World:
    """A sandbox with Licenses and people, and a daemon that is as after a restart in each run."""

    def __init__(self, sandbox, daemon_for, tmp_path):
        self.sandbox, self._daemon_for, self.folder = sandbox, daemon_for, tmp_path
        self.people(sandbox)
        self.daemon = self.use(jobs(RULE))

    @staticmethod
    def people(sandbox):
        """The DocType License, and those who are concerned."""
        sandbox.add_doctype(PART)
        sandbox.add_doctype(LICENSE)
        sandbox.seed("User", map(user, (ANN, BOB, CAT)))

    def user(self, name, **more):
        self.sandbox.seed("User", [user(name, **more)])

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


def test_one_mail_each_where_that_is_wanted(world):
    """About its document, so that the site shows it there."""
    world.use(jobs(RULE, top="grouped = false"))
    world.license("L-1", 5)
    world.license("L-2", 6)
    world.run()
    assert world.mails() == [(ANN, "License L-1 expires in 5 days"), (ANN, "License L-2 expires in 6 days")]
    assert {row["reference_name"] for row in world.sandbox.rows("Communication")} == {"L-1", "L-2"}


def test_very_many_documents_of_one_person_come_in_several_mails(world):
    """Each says which part it is; none is left out, and nobody else gets a part."""
    world.sandbox.seed(
        "License",
        ({"name": f"L-{n:04d}", "assigned_to": ANN, "valid_till": str(world.today + timedelta(days=n % 50))}
         for n in range(1100)),
    )  # fmt: skip
    world.license("L-B", 3, assigned_to=BOB)
    assert world.run()["counts"] == {"done": 1101}
    subjects = [f"Documents that expire soon: {count} ({part})" for part, count in enumerate((500, 500, 100), 1)]
    assert world.mails() == sorted([*((ANN, subject) for subject in subjects), (BOB, "License L-B expires in 3 days")])
    text = "".join(world.letters)
    assert all(f"L-{n:04d}</span></a>" in text for n in range(1100)) and len(world.bells()) == 1101


def test_ways_are_those_of_the_configuration_and_the_other_one_in_need(world):
    """Mail alone, desk alone; who cannot be told that way is told the other."""
    world.user("website@example.com", user_type="Website User")
    world.license("L-1", 5)
    world.license("L-2", 5, assigned_to="website@example.com")
    world.use(jobs(RULE, top='ways = ["desk"]'))
    world.run()
    assert world.bells() == [(ANN, "L-1")] and [to for to, _ in world.mails()] == ["website@example.com"]
    assert world.part("notices")["notes"] == ["1 notice by mail alone: they have no desk"]
    world.license("L-3", 5)
    world.use(jobs(RULE, top='ways = ["mail"]'))
    world.run()
    assert world.bells() == [] and [to for to, _ in world.mails()] == [ANN]


def test_without_the_right_people_are_told_by_mail_and_setup_gives_it(world, monkeypatch, capsys):
    """A System Manager may create no Notification Log; `setup --apply` gives the right, `--remove` takes it away."""
    manager = world.use(jobs(RULE), user="manager@example.com")
    world.license("L-1", 5)
    assert world.run()["status"] == "done" and world.bells() == [] and len(world.mails()) == 1
    (note,) = world.part("notices")["notes"]
    assert "may not create Notification Logs" in note and "setup --apply" in note
    standard = world.sandbox.rows("Custom DocPerm")
    roles = {row["role"] for row in world.sandbox.rows("Has Role", {"parent": "manager@example.com"})}

    def command(*words):
        for name, value in manager.environ.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit) as ended:
            cli.main([*words, "--config", str(manager.file)])
        return int(ended.value.code or 0), capsys.readouterr().out

    code, out = command("check")
    assert code == 0 and "lacks the right to create Notification Log: people are told by mail alone" in out
    assert command("setup", "--apply")[0] == 0
    assert "lacks" not in command("check")[1]
    assert command("setup", "--apply")[1].count("exists") == 2
    world.license("L-2", 5)
    world.run()
    assert world.bells() == [(ANN, "L-2")] and world.sandbox.count("Expiry Notification Log") == 1
    assert command("setup", "--remove", "--apply")[1].count("removed") == 2
    assert world.sandbox.rows("Custom DocPerm") == standard == []
    assert {row["role"] for row in world.sandbox.rows("Has Role", {"parent": "manager@example.com"})} == roles
    assert world.sandbox.count("Role", {"name": ["like", "%frappe-daemon%"]}) == 0


def test_rights_that_somebody_else_gave_stay(world, monkeypatch, capsys):
    """setup --remove takes away its own role alone."""
    world.use(jobs(RULE), user="manager@example.com")
    for name, value in world.daemon.environ.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit):
        cli.main(["setup", "--apply", "--config", str(world.daemon.file)])
    with world.daemon.app.site() as site:
        manager = "frappe.core.page.permission_manager.permission_manager"
        site.post_api(f"{manager}.add", {"parent": "Notification Log", "role": "Sales User", "permlevel": 0})
    with pytest.raises(SystemExit):
        cli.main(["setup", "--remove", "--apply", "--config", str(world.daemon.file)])
    assert {row["role"] for row in world.sandbox.rows("Custom DocPerm")} == {"All", "Sales User"}


def test_what_the_site_lacks_fails_that_rule_alone(world, monkeypatch, capsys):
    """A DocType, a field, a date that is none: the others go on; `check` says so beforehand."""
    bad = [
        RULE.replace('"License"', '"Licence"'),
        RULE.replace('"assigned_to"', '"asigned_to"'),
        RULE.replace('"valid_till"', '"status"'),
        RULE.replace('"valid_till"', '"parts.end"'),
    ]
    world.use(jobs(*bad, RULE))
    world.license("L-1", 5)
    assert world.run()["status"] == "some failed" and len(world.mails()) == 1
    errors = [part["error"] for part in world.report["parts"] if part["error"]]
    assert [error["who"] for error in errors] == ["operator"] * 4
    said = [error["message"] for error in errors]
    assert "did you mean 'assigned_to'?" in said[1] and "status is no date" in said[2] and "'parts.ends'" in said[3]
    for name, value in world.daemon.environ.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit):
        cli.main(["check", "--json", "--config", str(world.daemon.file)])
    found = [one["what"] for one in json.loads(capsys.readouterr().out) if one["level"] == "problem"]
    assert len(found) == 4 and "no DocType 'Licence'" in found[0] and "'parts.ends'" in found[3]


def test_a_template_that_fails_stops_no_notice(world, monkeypatch):
    """A syntax error, a loop without end, an unknown name: the shipped one is used, and the report says why."""
    monkeypatch.setattr(tell, "Renderer", partial(Renderer, seconds=0.3))
    (world.folder / "mine").mkdir()
    for number, text in enumerate(
        ["{% if %}", "{{ nothing }}", "{% for x in range(99999) %}" * 4 + "{% endfor %}" * 4]
    ):
        (world.folder / "mine" / "expiry.html").write_text(text)
        world.use(jobs(RULE, top='templates = "mine"'))
        world.license(f"L-{number}", 5)
        assert world.run()["status"] == "some failed"
        assert world.report["counts"]["done"] == 1 and world.report["errors"] == {"TemplateProblem": 1}
        assert world.mails() == [(ANN, f"License L-{number} expires in 5 days")]
    (world.folder / "mine" / "expiry.html").write_text("<title>Mine: {{ notices[0].name }}</title><body>x</body>")
    world.license("L-9", 5)
    assert world.run()["status"] == "done" and world.mails() == [(ANN, "Mine: L-9")]


def test_a_dry_run_sends_nothing_and_says_what_would_be(world):
    """Nor does it change what is known; `--rows` tells each document's reason."""
    world.license("L-1", 5)
    world.license("L-2", 90)
    seen = []
    report = world.run(dry_run=True, explain=seen.append)
    assert report["counts"] == {"planned": 1, "kept": 1} and world.mails() == [] and world.bells() == []
    assert world.part("License")["reasons"] == {"due 7 days before": 1, "kept: told before, or not near yet": 1}
    assert [one.action.why.partition(" is ")[2] for one in seen] == [
        "5 days ahead, which is within 7 days before",
        f"90 days ahead; the next notice comes 60 days before, on {world.today + timedelta(days=30)}",
    ]
    world.run()
    assert len(world.mails()) == 1


def test_two_rules_or_jobs_tell_of_the_same_once(world):
    """The ledger knows documents, dates and people, and no rules; the tighter threshold counts."""
    world.license("L-1", 5)
    second = jobs(RULE).replace("[jobs.job]", "[jobs.other]").replace("jobs.job.", "jobs.other.")
    world.use(jobs(RULE, RULE.replace("[60, 30, 7]", "[14]")) + "\n" + second)
    assert world.run()["counts"] == {"done": 1} and len(world.mails()) == 1
    assert world.run()["counts"] == {"kept": 2} and world.daemon.once("other")["counts"] == {"kept": 1}
    assert world.mails() == []


def test_reads_do_not_grow_with_the_documents(world):
    """Users are asked for by the page; so is the site's ledger. A person costs a mail."""

    def requests(number):
        world.sandbox.truncate("License")
        people = [f"p{n}@example.com" for n in range(5)]
        rows = ({"name": f"{number}-{n:05d}", "assigned_to": people[n % 5], "valid_till": str(world.today)}
                for n in range(number))  # fmt: skip
        world.sandbox.seed("License", rows)
        before = len(world.sandbox.requests)
        assert world.run()["counts"] == {"done": number}
        return len(world.sandbox.requests) - before

    for n in range(5):
        world.user(f"p{n}@example.com")
    assert requests(1000) - requests(100) <= 23  # 5 pages and 10 hundreds of bells in the place of one of each


def test_documents_over_long_ago_are_left_alone_and_those_of_a_down_time_are_not(world):
    """At first those that were over for look_back; later whatever was over since all was last done."""
    world.license("L-1", -31)
    world.license("L-2", -29)
    world.license("L-3", 100)
    world.run()
    assert [subject for _, subject in world.mails()] == ["License L-2 expired 29 days ago"]
    world.pass_days(500)
    world.run()
    assert [subject for _, subject in world.mails()] == ["License L-3 expired 400 days ago"]


def test_without_a_mail_account_people_are_told_on_the_desk(world):
    """And where they cannot be, the part fails and says who must act; nothing counts as told."""
    world.sandbox.site_config["mute_emails"] = "no account"
    world.license("L-1", 5)
    assert world.run()["counts"] == {"done": 1} and world.bells() == [(ANN, "L-1")]
    world.license("L-2", 5)
    world.use(jobs(RULE), user="manager@example.com")
    world.run()
    assert world.part("notices")["error"]["kind"] == "OutgoingEmailError" and world.bells() == []
    world.sandbox.site_config.clear()
    assert world.run()["counts"] == {"done": 1, "kept": 1} and len(world.mails()) == 1


def test_who_unsubscribed_is_not_asked_for_every_day(world):
    """The site queues no mail; without a desk that is a failure, told once for each threshold."""
    world.sandbox.seed("Email Unsubscribe", [{"email": "out@example.org", "global_unsubscribe": 1}])
    world.license("L-1", 20, contact="out@example.org", assigned_to="")
    world.use(jobs(RULE.replace('"assigned_to"', '"contact"')))
    assert world.run()["counts"] == {"failed": 1} and "unsubscribed" in json.dumps(world.report)
    world.pass_days(1)
    assert world.run()["counts"] == {"kept": 1}
    world.pass_days(14)
    assert world.run()["counts"] == {"failed": 1} and world.mails() == []


def explained(world, *words):
    from daemon.jobs import expiry

    with world.daemon.app.inquiry(world.daemon.app.job("job")) as inquiry:
        rows = expiry.explain(inquiry, world.daemon.app.job("job").settings, words)
    return [(row["state"], row["why"]) for row in rows]


def test_explain_says_why_a_document_was_or_was_not_told_of(world):
    """Told, due, not due, left out by what, over too long, nobody to tell; and whom the fallback stands for."""
    world.use(jobs(RULE + '\nfilters = [["status", "!=", "On Hold"]]'))
    world.license("L-1", 5)
    (row,) = explained(world, "License", "L-1")
    assert row[0] == "due" and "5 days ahead, which is within 7 days before" in row[1]
    world.run()
    (row,) = explained(world, "license", "L-1")
    assert row == (
        "told",
        f"7 days before on {world.today} by mail and desk; no further notice comes for this date",
    )
    world.license("L-2", 90)
    assert explained(world, "License", "L-2")[0][0] == "not due"
    world.license("L-3", 5, docstatus=2, status="On Hold")
    (row,) = explained(world, "License", "L-3")
    assert row[0] == "left out" and "cancelled" in row[1] and "'On Hold'" in row[1]
    world.license("L-4", -50)
    assert "look_back (30d)" in explained(world, "License", "L-4")[0][1]
    world.license("L-5", 5, assigned_to="", owner="gone@example.com")
    assert explained(world, "License", "L-5") == [
        ("nobody", "nobody to tell: assigned_to is empty; the site shows no user 'gone@example.com'")
    ]
    world.license("L-6", None)
    assert explained(world, "License", "L-6") == [("left out", "valid_till holds no date")]
    assert "no License 'L-7'" in explained(world, "License", "L-7")[0][1]
    world.license("L-8", 5, assigned_to="")
    assert [state for state, _ in explained(world, "License", "L-8")] == ["due", "note"]


def test_explain_is_a_command(world, monkeypatch, capsys):
    """For a job whose kind can answer; it changes nothing."""
    world.license("L-1", 5)
    for name, value in world.daemon.environ.items():
        monkeypatch.setenv(name, value)

    def command(*words):
        with pytest.raises(SystemExit) as ended:
            cli.main(["explain", *words, "--config", str(world.daemon.file)])
        return int(ended.value.code or 0), "".join(capsys.readouterr())

    code, out = command("job", "License", "L-1")
    assert code == 0 and "License.valid_till of L-1 for ann@example.com: due" in out
    assert command("job", "License", "L-1", "--json")[1].startswith("[")
    assert command("job", "Licence", "L-1")[0] == command("job", "License")[0] == 2
    assert world.mails() == [] and not any(method == "POST" for method, path, _ in world.sandbox.requests)


def test_the_row_of_a_rule_counts_what_became_of_its_notices(world, capsys):
    """Beside the documents that it kept; the run's counts hold each once."""
    world.license("L-1", 5)
    world.license("L-2", 5, assigned_to=BOB)
    world.license("L-3", 90)
    world.use(jobs(RULE, RULE.replace('"assigned_to"', '"deputy"').replace("[60, 30, 7]", "[5]")))
    assert world.run()["counts"] == {"done": 4}
    assert [world.part(name)["whole"] for name in ("License", "License (2)")] == [{"done": 2}, {"done": 2}]
    tables.show(tables.console(), tables.of_report(world.report))
    row = re.search(r"License +(\d+) +(\d+) +(\d+) +(\d+) ", capsys.readouterr().out)
    assert row and row.groups() == ("3", "2", "2", "1")  # in all, found, done, kept


def test_an_amendment_inherits_what_its_predecessor_was_told(world):
    """Of the same date, and so does the next one; another date starts anew."""
    world.license("L-1", 5, docstatus=1)
    world.run()
    assert len(world.mails()) == 1
    for old, new in (("L-1", "L-1-1"), ("L-1-1", "L-1-2")):
        world.sandbox.set("License", old, docstatus=2)
        world.license(new, 5, docstatus=1, amended_from=old)
        assert world.run()["counts"] == {"kept": 1} and world.mails() == []
    world.license("L-1-3", 6, docstatus=1, amended_from="L-1-2")
    world.run()
    assert world.mails() == [(ANN, "License L-1-3 expires in 6 days")]


def test_a_user_is_one_person_by_name_and_by_address(world):
    """Whichever way, and rule, names them: one mail, and the bells of a user."""
    world.user("boss", email="boss@example.com")
    who = ['{ users = ["boss"] }', '{ addresses = ["Boss@example.com"] }', '"contact"']
    world.use(jobs(*(RULE.replace('"assigned_to"', one) for one in who)))
    world.license("L-1", 5, contact="boss@example.com")
    world.run()
    assert [to for to, _ in world.mails()] == ["boss@example.com"] and world.bells() == [("boss", "L-1")]


@pytest.mark.parametrize("contact", ["Ärger@example.com", "ann@bücher.example", "am..i@example.com"])
def test_an_address_that_the_site_would_refuse_leads_to_the_fallback(contact, world):
    """As nobody's does; the report says why."""
    world.use(jobs(RULE.replace('"assigned_to"', '"contact"')))
    world.license("L-1", 5, contact=contact)
    assert world.run()["status"] == "done" and world.mails() == [(CAT, "License L-1 expires in 5 days")]
    assert any("is no e-mail address" in note for note in world.part("License")["notes"])


@pytest.mark.parametrize(
    ("rule", "top", "level", "said"),
    [
        (RULE.replace('"assigned_to"', '{ roles = ["Sytem Manager"] }'), "", "problem", "no role 'Sytem Manager'"),
        (RULE.replace('"assigned_to"', '{ users = ["x"] }'), "", "problem", "no user 'x'"),
        (RULE.replace('"assigned_to"', '{ addresses = ["not an address"] }'), "", "problem", "is no e-mail address"),
        (RULE.replace('"assigned_to"', '"valid_till"'), "", "problem", "which names nobody"),
        (RULE + '\nfilters = [["No Such", "x", "=", 1]]', "", "problem", "No Such"),
        (RULE, 'templates = "nowhere"', "problem", "there is no folder"),
        (RULE, 'bell = "x.html"', "problem", "there is no template x.html"),
        (RULE, 'language = "klingon"', "warning", "no words of 'klingon'"),
        (RULE, "", "", ""),
    ],
)
def test_check_finds_beforehand_what_a_run_would_stumble_over(rule, top, level, said, world):
    """Filters are asked for, people looked up, both templates tried; each is the operator's."""
    app = world.use(jobs(rule, top=top)).app
    with app.site() as site:
        found = [one for one in check.of_site(site, [app.job("job")], app.asked) if one.subject == "job"]
    found = [one for one in found if one.level != check.OK and "Expiry Notification Log" not in one.what]
    assert {one.level for one in found} == {level} - {""} and said in " ".join(one.what for one in found)


def test_a_role_that_is_not_there_is_told_though_others_are_told(world):
    """Beside a user: nobody would ever notice."""
    who = '{ fields = ["assigned_to"], roles = ["Sytem Manager"] }'
    world.use(jobs(RULE.replace('"assigned_to"', who)))
    world.license("L-1", 5)
    assert world.run()["counts"] == {"done": 1, "failed": 1} and "no role 'Sytem Manager'" in json.dumps(world.report)
    assert [to for to, _ in world.mails()] == [ANN]
