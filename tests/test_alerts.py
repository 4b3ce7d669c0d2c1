"""Alerts at the wire: real mails, notifications and webhooks, with a site that is away, lost replies and restarts."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from daemon import cli
from daemon.core.alerts import FAILED
from daemon.facts import ALERTS
from daemon.runner import Order
from daemon.sandbox import Fault
from daemon.seeing import Seeing
from daemon.state import Run
from tests.conftest import days_ago, rules
from tests.hooks import hooks

GOOD = 'doctype = "Error Log"\nolder_than = "30d"\nstrategy = "rows"'
MAKE = "*.email.make"


@pytest.fixture
def hook():
    with hooks() as served:
        yield served


class World:
    """A daemon whose job fails where its DocType is not there, and somebody to tell."""

    def __init__(self, sandbox, daemon_for, hook, alerts="", job="", user="Administrator"):
        self.sandbox, self.hook = sandbox, hook
        top = f"""
[alerts]
email = ["ops@example.com"]
users = ["manager@example.com"]
webhook = {{ url = {{ env = "HOOK" }}, headers = {{ Authorization = {{ env = "TOKEN" }} }} }}
{alerts}"""
        environ = {"HOOK": hook.url, "TOKEN": "Bearer a-very-long-token"}
        self.daemon = daemon_for(sandbox, rules(GOOD, job=job), top=top, user=user, environ=environ)
        self.app = self.daemon.app
        self.number = 0

    def ran(self, status, reason="slot", dry_run=False, report=None):
        """Write a run down that ended so."""
        self.number += 1
        self.daemon.clock.passed += 60
        run = Run(f"r{self.number:03}", "job", "cleanup", reason, None, self.app.clock.now(), dry_run=dry_run)
        self.app.state.begin_run(run)
        error = {"kind": "X", "message": "it is broken", "who": "operator", "action": "Mend it."}
        told = report or {"error": error if status == "failed" else None, "parts": []}
        self.app.state.end_run(run.id, status, self.app.clock.now(), told)

    def look(self, hours=0.0, **more):
        """A look of a process that was just started."""
        self.daemon.clock.passed += hours * 3600
        return Seeing(self.app, lambda: "")._look(None, **more)

    @property
    def mails(self):
        return [_short(mail["subject"]) for mail in self.sandbox.outbox]

    @property
    def bells(self):
        rows = sorted(self.sandbox.rows("Notification Log"), key=lambda row: row["creation"])
        return [_short(row["subject"]) for row in rows]


def _short(subject):
    assert subject.startswith("frappe-daemon: ")
    return subject.removeprefix("frappe-daemon: ").partition(" (")[0]


@pytest.fixture
def world(sandbox, daemon_for, hook):
    return World(sandbox, daemon_for, hook)


def test_three_failures_tell_everybody_once_and_a_success_once_more(world):
    """By mail, on the desk and by the webhook; further failures and looks say nothing more."""
    for _ in range(2):
        world.ran("failed")
        world.look()
    assert (world.mails, world.bells, world.hook.events) == ([], [], [])
    for _ in range(3):
        world.ran("failed")
        world.look()
        world.look(5)
    said = "job has failed 3 times in a row"
    assert (world.mails, world.bells, world.hook.events) == ([said], [said], [("alert", "job")])
    world.ran("done")
    world.look()
    world.look(5)
    assert world.mails == [said, "job works again"] == world.bells and len(world.hook.received) == 2
    assert world.app.state.recall_all(ALERTS, "episode|") == {}


def test_a_webhook_says_all_that_is_to_be_said(world):
    """As fields for programs and as `text` for a chat; with the headers that were asked for."""
    for _ in range(3):
        world.ran("failed")
    world.look()
    headers, said = world.hook.received[0]
    assert headers["Authorization"] == "Bearer a-very-long-token" and headers["Content-Type"] == "application/json"
    assert (said["event"], said["job"], said["kind"], said["failures"]) == ("alert", "job", "cleanup", 3)
    assert (said["message"], said["who"], said["action"]) == ("it is broken", "operator", "Mend it.")
    assert said["see"] == "frappe-daemon history job" and said["site"] == world.sandbox.url
    for part in ("job has failed 3 times in a row", "it is broken", "operator", "Mend it.", "history job", "Since"):
        assert part in said["text"]
    (mail,) = world.sandbox.outbox
    assert "Mend it." in mail["content"] and "it is broken" in mail["content"]


def test_runs_by_hand_and_dry_runs_are_nobodys_alarm(world):
    """Somebody sees them; those of slots and catch-ups count, and a stop is neither good nor bad."""
    for _ in range(3):
        world.ran("failed", reason="by hand")
        world.ran("failed", dry_run=True)
        world.ran("stopped")
    world.look()
    assert world.hook.events == []
    for reason, status in (("slot", "refused"), ("catch-up", "some failed"), ("slot", "interrupted")):
        world.ran(status, reason=reason)
    world.ran("done", reason="by hand")
    world.look()
    assert world.hook.events == [("alert", "job")]


def test_a_site_that_is_down_is_told_of_by_the_webhook_and_by_mail_when_it_is_back(world):
    """The mail waits, and then says since when; where all is well again by then it says both in one."""
    for _ in range(3):
        world.ran("failed")
    world.sandbox.faults.add(Fault("cut"))
    assert world.look() is True
    assert world.hook.events == [("alert", "job")] and world.mails == []
    world.sandbox.faults.clear()
    world.ran("done")
    world.look(site_answers=True)
    assert world.mails == ["job failed for a while and works again"] == world.bells
    assert [event for event, _ in world.hook.events] == ["alert", "recovered"]
    assert "Since" in world.sandbox.outbox[0]["content"] and "Until" in world.sandbox.outbox[0]["content"]


def test_a_site_that_answers_again_ends_the_wait(world):
    """A run that got replies tells that the mail can go now, however long the next try was put off."""
    for _ in range(3):
        world.ran("failed")
    world.sandbox.faults.add(Fault("cut"))
    world.look()
    world.sandbox.faults.clear()
    world.look()
    assert world.mails == [], "not before its time"
    world.look(site_answers=True)
    assert len(world.mails) == 1 == len(world.bells)


def test_a_mail_that_may_have_arrived_is_no_mail_that_did_not(world):
    """Its reply was lost, then the site was away until all was well: its reader has the alert and gets the end."""
    for _ in range(3):
        world.ran("failed")
    world.sandbox.faults.add(Fault("lose_reply", path=MAKE, times=1))
    world.sandbox.faults.add(Fault("cut", path="*Communication*"))
    world.look()
    world.ran("done")
    world.look(3)
    world.sandbox.faults.clear()
    world.look(3)
    world.look(3)
    assert world.mails == ["job has failed 3 times in a row", "job works again"]


def test_a_lost_reply_makes_no_second_mail(world):
    """The site has it: its mark tells, and what follows is one recovery."""
    for _ in range(3):
        world.ran("failed")
    world.sandbox.faults.add(Fault("lose_reply", path=MAKE, times=1))
    world.look()
    world.look(3)
    world.ran("done")
    world.look(3)
    assert world.mails == ["job has failed 3 times in a row", "job works again"]


@pytest.mark.parametrize(("answer", "calls"), [(500, 2), (429, 2), (0, 1), (404, 1)])
def test_a_webhook_that_did_not_take_it_is_asked_again_and_one_that_may_have_is_not(answer, calls, world):
    """429 and 5xx say that nothing was done. A lost reply says nothing, so once must do; a refusal stays one."""
    for _ in range(3):
        world.ran("failed")
    world.hook.answer = answer
    world.look()
    world.hook.answer = 200
    world.look(3)
    world.look(3)
    assert len(world.hook.received) == calls
    assert len({said["id"] for _, said in world.hook.received}) == 1


def test_a_process_killed_while_it_tells_tells_nobody_twice(world, monkeypatch):
    """What was written down as being sent: a mail is looked for, a webhook is left as it is."""
    from daemon import alerts

    for _ in range(3):
        world.ran("failed")
    send = alerts.Real.send

    def killed(self, channel, settings, message):
        send(self, channel, settings, message)
        raise SystemExit

    for _ in range(3):  # once for each channel
        with monkeypatch.context() as patch, pytest.raises(SystemExit):
            patch.setattr(alerts.Real, "send", killed)
            world.look()
    world.look(3)
    assert len(world.hook.received) == len(world.mails) == len(world.bells) == 1


def test_a_job_that_has_not_succeeded_for_too_long_is_told_of(sandbox, daemon_for, hook):
    """Also where it never failed, since it never ran."""
    world = World(sandbox, daemon_for, hook, 'max_age = "26h"')
    world.look()
    world.look(25)
    assert hook.events == []
    world.look(2)
    assert hook.events == [("alert", "job")] and "has not succeeded since" in world.mails[0]
    world.ran("done")
    world.look()
    assert [event for event, _ in hook.events] == ["alert", "recovered"]


def test_a_job_has_its_own_rule(sandbox, daemon_for, hook):
    """Its own words go before those of [alerts], the rest is as there."""
    world = World(sandbox, daemon_for, hook, job='alerts = { after = 1, email = ["boss@example.com"], users = [] }')
    world.ran("failed")
    world.look()
    assert [mail["recipients"] for mail in sandbox.outbox] == [["boss@example.com"]]
    assert hook.events == [("alert", "job")] and world.bells == []


def test_alerts_can_be_off_for_a_job(sandbox, daemon_for, hook):
    """Its failures are its own business."""
    world = World(sandbox, daemon_for, hook, job="alerts = { enabled = false }")
    for _ in range(5):
        world.ran("failed")
    assert world.look() is False and hook.events == []


def test_an_alert_that_cannot_be_sent_harms_nobody(sandbox, daemon_for, hook, capsys):
    """A user without the right to notify: told in the log, the others are told all the same, and it is not repeated."""
    world = World(sandbox, daemon_for, hook, user="manager@example.com")
    for _ in range(3):
        world.ran("failed")
    world.look()
    assert hook.events == [("alert", "job")] and len(world.mails) == 1 and world.bells == []
    assert "alert.not_sent" in capsys.readouterr().err
    (entry,) = world.app.state.recall_all(ALERTS, "episode|").values()
    assert entry["told"]["user manager@example.com"][0]["state"] == FAILED
    world.look(3)
    assert "alert.not_sent" not in capsys.readouterr().err


def test_secrets_are_in_nothing_that_is_kept_or_said(world, capsys):
    """Not the webhook's address, nor its token: not in the state, the log, or the message of a broken connection."""
    world.hook.answer = 500
    for _ in range(3):
        world.ran("failed")
    world.look()
    kept = json.dumps(world.app.state.recall_all(ALERTS)) + capsys.readouterr().err
    assert "127.0.0.1" in kept and "very-secret" not in kept and "a-very-long-token" not in kept


def test_one_daemon_at_a_time_tells(world):
    """Another one that looks at the same state meanwhile leaves it at that."""
    for _ in range(3):
        world.ran("failed")
    with world.app.state.claim(ALERTS):
        assert world.look() is True
    assert world.hook.events == []


def test_the_end_of_a_run_is_looked_at_at_once(sandbox, daemon_for, hook):
    """In a service: a job that fails for real, told of by the thread that looks after alerts."""
    world = World(sandbox, daemon_for, hook, "after = 1")
    sandbox.seed("Error Log", [{"creation": days_ago(60), "method": "x"}])
    sandbox.faults.add(Fault("status", code=404))
    with Seeing(world.app, lambda: "") as seeing:
        job = world.app.job("job")
        world.app.runner.run(Order(job, world.app.new_run_id(), "slot"))
        for _ in range(3000):
            if hook.received:
                break
            seeing._over.wait(0.01)
    assert hook.events == [("alert", "job")]
    assert hook.received[0][1]["status"] == "failed" and hook.received[0][1]["who"] == "operator"


def test_the_command_tests_every_channel(world, capsys, monkeypatch):
    """One message each, and what became of it; exit code 1 where one did not go."""
    for name, value in world.daemon.environ.items():
        monkeypatch.setenv(name, value)
    for answer, code in ((200, 0), (410, 1)):
        world.hook.answer = answer
        with pytest.raises(SystemExit) as ended:
            cli.main(["alerts", "--test", "--json", "-c", str(world.daemon.file)])
        found = json.loads(capsys.readouterr().out)
        assert int(ended.value.code or 0) == code
        assert [one["state"] for one in found] == ["sent" if answer == 200 else "not sent", "sent", "sent"]
    assert world.mails == ["a test of alerts"] * 2 and "very-secret" not in json.dumps(found)


def test_the_command_says_who_is_told_of_what(world, capsys):
    """Without keys, and without a site."""
    for _ in range(3):
        world.ran("failed")
    world.look()
    with pytest.raises(SystemExit):
        cli.main(["alerts", "-c", str(world.daemon.file)])
    out = capsys.readouterr().out
    assert "after 3 failures in a row" in out and "email ops@example.com: alert sent" in out


@pytest.mark.parametrize("length", [timedelta(days=8)])
def test_nobody_is_told_after_a_week(world, length):
    """A webhook that was down for so long is given up, and so is its episode once the job works."""
    for _ in range(3):
        world.ran("failed")
    world.hook.answer = 503
    world.look()
    world.look(length.total_seconds() / 3600)
    world.hook.answer = 200
    world.look(3)
    assert len(world.hook.received) == 2


def test_check_says_what_would_keep_alerts_from_going(sandbox, daemon_for, hook, capsys, monkeypatch):
    """A rule without anybody to tell, and a key that may not tell on the desk."""
    world = World(sandbox, daemon_for, hook, user="manager@example.com")
    for name, value in world.daemon.environ.items():
        monkeypatch.setenv(name, value)

    def told():
        with pytest.raises(SystemExit):
            cli.main(["check", "--json", "-c", str(world.daemon.file)])
        return [one for one in json.loads(capsys.readouterr().out) if "alerts" in one["subject"] + one["what"]]

    assert [one["level"] for one in told()] == ["warning"] and "Notification Logs" in str(told())
    text = world.daemon.file.read_text()
    world.daemon.file.write_text(text[: text.index("[alerts]")] + "[alerts]\nafter = 2\n" + rules(GOOD))
    (one,) = told()
    assert one["level"] == "warning" and "nobody is named" in one["what"]


def test_an_episode_ends_although_nobody_is_told_any_more(world):
    """Alerts were taken out of the configuration meanwhile: the job is not shown as in trouble for ever."""
    from dataclasses import replace

    from daemon.core.settings import AlertSettings

    for _ in range(3):
        world.ran("failed")
    world.look()
    world.app.config = replace(world.app.config, alerts=AlertSettings())
    world.ran("done")
    world.look()
    assert world.app.state.recall_all(ALERTS, "episode|") == {} and len(world.hook.received) == 1
