"""Letters reach the site once: the real client against the sandbox, with lost replies, refusals and kills."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from types import SimpleNamespace

import pytest

from daemon import errors
from daemon.core.letter import Letter, mark_of
from daemon.core.plan import Result
from daemon.jobs._post import SETTLES, Post, prune
from daemon.runner import LiveRun, RunClock
from daemon.sandbox import Fault
from tests.conftest import rules

MAKE = "*.email.make"
SHELF = "job|2026-11-22|"


class World:
    """One daemon; each `run` is as after a restart."""

    def __init__(self, sandbox, daemon_for, user="manager@example.com", **top):
        lines = "\n".join(f"{key} = {value}" for key, value in top.items())
        self.sandbox = sandbox
        self.daemon = daemon_for(sandbox, rules('doctype = "ToDo"\nolder_than = "1d"'), user=user, top=lines)
        self.app = self.daemon.app

    def run(self, letters, per_minute=None, stop_after=None):
        """Recipient → result, of one run that sends these letters."""
        app = self.app
        clock = RunClock(app.clock, app.stop, timedelta(hours=5))
        with app.state.claim("job") as state, app.open_site(clock, app.log) as site, ThreadPoolExecutor(4) as pool:
            run = LiveRun(
                id="run", job="job", section="job", direction="", wish={}, started=app.clock.now(), dry_run=False,
                explain=False, site=site, clock=clock, state=state, pool=pool, at_once=4,
                watch=print, remotes=None, held=None,
            )  # fmt: skip
            post = Post(run, "digest", SHELF, per_minute)
            found = {}
            for fate in [*post.deliver(letters), *post.settle()]:
                assert fate.letter.recipient not in found
                found[fate.letter.recipient] = fate.result
            return found

    @property
    def received(self):
        return sorted(mail["recipients"][0] for mail in self.sandbox.outbox)


@pytest.fixture
def world(sandbox, daemon_for):
    return World(sandbox, daemon_for)


def letters(*names):
    return [
        Letter(f"{name}@example.com", "Hello", "<p>Hello</p>", mark_of("site", "job", "2026-11-22", name))
        for name in names
    ]


def addresses(*names):
    return [f"{name}@example.com" for name in names]


def test_a_letter_is_sent_once(world):
    """However often it is handed over; each has one recipient."""
    names = [f"p{n:02d}" for n in range(30)]
    assert set(world.run(letters(*names)).values()) == {Result.DONE}
    assert set(world.run(letters(*names, "new")).values()) == {Result.KEPT, Result.DONE}
    assert world.received == addresses("new", *names)
    assert all(len(mail["recipients"]) == 1 for mail in world.sandbox.outbox)


@pytest.mark.parametrize("fault", ["lose_reply", "cut"])
def test_a_lost_reply_is_settled_before_anything_is_sent_again(world, fault):
    """Whether the site had done it or not: it is looked for when the request must be over; one mail each."""
    world.sandbox.faults.add(Fault(fault, "POST", MAKE, times=2))
    assert world.run(letters("a", "b", "c")) == dict.fromkeys(addresses("a", "b", "c"), Result.DONE)
    assert world.received == addresses("a", "b", "c")
    assert (world.daemon.clock.passed >= SETTLES.total_seconds()) == (fault == "cut")


def test_a_request_that_goes_on_after_its_reply_was_lost_is_outlasted(world):
    """The mail appears while it is waited for: it is not sent again."""
    world.sandbox.faults.add(Fault("cut", "POST", MAKE, times=1))
    (late,) = letters("a")
    made = {"creation": world.sandbox.site.now(), "content": late.content, "communication_medium": "Email"}
    waited = []

    def appears():
        waited.append(1)
        if len(waited) == 3:
            world.sandbox.seed("Communication", [{"name": "late", "subject": "x", **made}])
            world.sandbox.seed("Email Queue", [{"name": "q", "communication": "late", "status": "Sent"}])

    world.daemon.clock._on_pause = appears
    assert world.run([late]) == {"a@example.com": Result.DONE}
    assert world.received == [] and world.daemon.clock.passed < SETTLES.total_seconds()


def test_what_is_never_answered_is_uncertain_and_looked_for_by_the_next_run(world):
    """Three requests at the most; once the site answers again, one mail comes of it."""
    world.sandbox.faults.add(Fault("cut", "POST", MAKE, times=3))
    assert world.run(letters("a")) == {"a@example.com": Result.UNCERTAIN}
    assert world.run(letters("a")) == {"a@example.com": Result.DONE}
    assert world.received == addresses("a")


def test_a_kill_between_the_request_and_its_note_sends_nothing_twice(world):
    """The ledger says that it was being sent: the next run finds the mail by its mark."""
    world.run(letters("a", "b"))
    ledger = world.app.state.recall_all("digest")
    for key, entry in ledger.items():
        world.app.state.remember("digest", key, {"state": "sending", "at": entry["at"]})
    assert world.run(letters("a", "b")) == dict.fromkeys(addresses("a", "b"), Result.DONE)
    assert world.received == addresses("a", "b")
    assert set(world.run(letters("a", "b")).values()) == {Result.KEPT}


def test_one_that_the_site_refuses_leaves_the_others_alone(world):
    """No address, an error of the site's: that recipient fails, and is tried again by the next run."""
    bad = Letter("no address", "Hello", "<p>x</p>", "fd-bad")
    assert world.run([*letters("a"), bad, *letters("b")]) == {
        "a@example.com": Result.DONE, "no address": Result.FAILED, "b@example.com": Result.DONE
    }  # fmt: skip
    world.sandbox.faults.add(Fault("status", "POST", MAKE, times=1, code=500, html=False))
    assert world.run(letters("c")) == {"c@example.com": Result.DONE}
    world.sandbox.faults.add(Fault("status", "POST", MAKE, times=9, code=500, html=False))
    assert world.run(letters("d")) == {"d@example.com": Result.FAILED}
    world.sandbox.faults.clear()
    assert world.run(letters("d")) == {"d@example.com": Result.DONE}
    assert world.received == addresses("a", "b", "c", "d")


def test_who_unsubscribed_gets_none_and_is_told_of(world):
    """The site answers 200 and queues nothing; that is no success, and not asked for again."""
    world.sandbox.seed("Email Unsubscribe", [{"email": "a@example.com", "global_unsubscribe": 1}])
    assert world.run(letters("a", "b")) == {"a@example.com": Result.FAILED, "b@example.com": Result.DONE}
    assert set(world.run(letters("a", "b")).values()) == {Result.KEPT}
    assert world.sandbox.count("Communication") == 2


def test_without_an_account_the_part_ends(world):
    """NotConfigured: the same for every letter, and nothing is noted as sent."""
    world.sandbox.site_config["mute_emails"] = "no account"
    with pytest.raises(errors.NotConfigured):
        world.run(letters("a", "b"))
    world.sandbox.site_config.clear()
    assert set(world.run(letters("a", "b")).values()) == {Result.DONE}
    assert world.received == addresses("a", "b")


def test_who_cannot_look_sends_nothing_twice(sandbox, daemon_for):
    """A user whose lists hide its own mails: a lost reply stays uncertain, in this run and the next."""
    world = World(sandbox, daemon_for, user="clerk@example.com")
    world.sandbox.faults.add(Fault("lose_reply", "POST", MAKE, times=1))
    for _ in range(2):
        assert world.run(letters("a", "b")).get("a@example.com", Result.UNCERTAIN) is not None
    assert world.received == addresses("a", "b")


def test_no_more_a_minute_than_wanted(world):
    """Ten letters at 60 a minute take nine seconds at least."""
    begun = world.daemon.clock.passed
    world.run(letters(*"abcdefghij"), per_minute=60)
    assert 9 <= world.daemon.clock.passed - begun < 12


def test_old_periods_are_forgotten_and_no_others(world):
    """By the shelf's date, of one job."""
    for key in ("job|2026-01-01|a", "job|2026-11-22|b", "jobs|2026-01-01|c"):
        world.app.state.remember("digest", key, {"state": "sent"})
    run = SimpleNamespace(
        journal=lambda owner: __import__("daemon.state.journal").state.journal.Journal(world.app.state, owner)
    )
    assert prune(run, "digest", "job", "2026-11-01") == 1
    assert set(world.app.state.recall_all("digest")) == {"job|2026-11-22|b", "jobs|2026-01-01|c"}
