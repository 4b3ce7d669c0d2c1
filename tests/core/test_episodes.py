"""When somebody is told: episodes by themselves, and the ledger under every order of runs, replies and restarts."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime, timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from daemon.alerts import Alerts, Doubtful, Hopeless, Later, Watched
from daemon.core.alerts import ALERT, PAST, RECOVERED, Episode, Rule, Standing, begin, end, words
from daemon.core.settings import AlertSettings

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
CHANNELS = ["webhook", "user ann", "email ops@example.com"]


def test_a_rule_is_broken_by_number_or_by_age():
    """So many in a row, or so long without a success; a job that never succeeded is as old as it is known."""
    seen = NOW - timedelta(days=2)
    assert Rule(3).broken(Standing(2), seen, NOW) == "" and Rule(3).broken(Standing(3), seen, NOW) == "failures"
    daily = Rule(3, timedelta(hours=26))
    assert daily.broken(Standing(good="x", good_at=NOW - timedelta(hours=25)), seen, NOW) == ""
    assert daily.broken(Standing(good="x", good_at=NOW - timedelta(hours=27)), seen, NOW) == "age"
    assert daily.broken(Standing(), seen, NOW) == "age" and daily.broken(Standing(), NOW, NOW) == ""


def test_who_was_not_told_in_time_is_told_of_both_in_one():
    """The site was down: the mail of the alert becomes one of what was; the webhook, told already, gets the rest."""
    episode = begin("job", Standing(3, NOW, "r3"), "failures", {}, ["webhook", "email a@b.de"], NOW)
    episode.told["webhook"][0].state = "sent"
    end(episode, Standing(good="r4", good_at=NOW + timedelta(hours=5)), NOW + timedelta(hours=6))
    assert [one.kind for one in episode.told["webhook"]] == [ALERT, RECOVERED]
    assert [one.kind for one in episode.told["email a@b.de"]] == [PAST]
    subject, rows = words(episode, PAST, "erp.example.com")
    assert "works again" in subject
    assert dict(rows)["Since"] == "2026-11-24 12:00 UTC" and dict(rows)["Until"] == "2026-11-24 17:00 UTC"


def test_a_message_says_what_since_when_how_often_who_what_to_do_and_where():
    """All that somebody needs who is woken up by it."""
    facts = {"status": "failed", "message": "the site refuses the key", "who": "operator", "action": "Make a new one."}
    episode = begin("weekly", Standing(4, NOW, "r4"), "failures", facts, ["webhook"], NOW)
    subject, rows = words(episode, ALERT, "erp.example.com")
    assert subject == "weekly has failed 4 times in a row (erp.example.com)"
    assert rows == [
        ("What", "failed: the site refuses the key"), ("Since", "2026-11-24 12:00 UTC"),
        ("How often", "4 times in a row, when this was noticed"), ("Who must act", "operator"),
        ("What to do", "Make a new one."), ("Where to look", "frappe-daemon history weekly"),
    ]  # fmt: skip


class Killed(BaseException):
    """The process ended."""


class Notes:
    """A journal that outlives the process, as JSON."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}

    def read(self, prefix=""):
        return {key: json.loads(value) for key, value in self.kept.items() if key.startswith(prefix)}

    def write(self, changes):
        for key, value in changes.items():
            self.kept.pop(key, None)
            if value is not None:
                self.kept[key] = json.dumps(value)


class World:
    """The other end of the channels: what arrives, and what becomes of what is sent."""

    def __init__(self) -> None:
        self.arrived: list[tuple[str, str, str]] = []
        """(channel, kind, message id)."""
        self.weather: dict[str, str] = {}
        """Channel → ok, down, lost (arrives, and no reply comes), refused, killed before or killed after."""

    def send(self, channel, settings, message):
        weather = self.weather.get(channel, "ok")
        known = any(one[0] == channel and one[2] == message.id for one in self.arrived)
        mail = channel.startswith("email")
        if weather == "killed before":
            raise Killed
        if weather == "down":
            raise Later("down")
        if weather == "refused" and not (mail and known):
            raise Hopeless("no")
        if not (mail and known):  # a mail's own ledger and mark tell that it is there
            self.arrived.append((channel, message.kind, message.id))
        if weather == "killed after":
            raise Killed
        if weather == "lost":
            raise Later("lost", doubt=True) if mail else Doubtful("lost")


class Ledger(RuleBasedStateMachine):
    """One job, three channels, any order of runs, looks, weather, kills and time."""

    @initialize(after=st.integers(1, 3), age=st.sampled_from([None, timedelta(hours=26)]))
    def start(self, after, age):
        self.settings = AlertSettings(
            after=after, max_age=age, users=["ann"], email=["ops@example.com"],
            webhook={"url": "https://hooks.example.com/x"},
        )  # fmt: skip
        self.now, self.number = NOW, 0
        self.standing = Standing()
        self.notes, self.world = Notes(), World()
        self.begun: dict[str, set[str]] = {}
        self.spoilt: set[tuple[str, str]] = set()
        """(channel, step of an episode) that was refused, or whose process was killed while it was sent."""

    def alerts(self) -> Alerts:
        return Alerts(
            self.notes, self.world, site="https://erp.example.com", now=lambda: self.now, facts=lambda run: {},
            log=Silent(),
        )  # fmt: skip

    @rule(good=st.booleans(), look=st.booleans())
    def a_run_ends(self, good, look):
        self.number += 1
        self.now += timedelta(minutes=30)
        name = f"r{self.number}"
        if good:
            self.standing = Standing(good=name, good_at=self.now)
        else:
            old = self.standing
            self.standing = Standing(old.failures + 1, old.since or self.now, name, old.good, old.good_at)
        if look:
            self.look()

    @rule(hours=st.integers(1, 30))
    def time_goes_by(self, hours):
        self.now += timedelta(hours=hours)
        self.look()

    @rule(channel=st.sampled_from(CHANNELS),
          weather=st.sampled_from(["ok", "down", "lost", "refused", "killed before", "killed after"]))  # fmt: skip
    def the_weather_changes(self, channel, weather):
        self.world.weather[channel] = weather

    @rule()
    def look(self):
        """Each look is that of a new process: nothing but the ledger is remembered."""
        try:
            self.alerts().look({"job": self.settings}, [Watched("job", self.settings, self.standing)])
        except Killed:
            self.spoilt |= {(channel, "any") for channel, weather in self.world.weather.items() if "killed" in weather}
        self.spoilt |= {(channel, "any") for channel, weather in self.world.weather.items() if weather == "refused"}
        for entry in self.notes.read("episode|").values():
            self.begun.setdefault(entry["id"], set()).add("recovered" if entry["recovered"] else "open")

    @invariant()
    def nobody_is_told_twice(self):
        """One message of a beginning and one of an end for each episode and channel, by the ids that they carry."""
        if hasattr(self, "world"):
            assert all(number == 1 for number in Counter((c, i) for c, _, i in self.world.arrived).values())

    @invariant()
    def good_news_follows_bad_news(self):
        """Nobody hears that a job works again who might not have heard that it did not."""
        if hasattr(self, "world"):
            for channel, kind, message in self.world.arrived:
                if kind == RECOVERED and (channel, "any") not in self.spoilt:
                    assert any(one == (channel, ALERT, message.replace("-end", "-begin")) for one in self.world.arrived)

    @invariant()
    def one_episode_is_open_at_a_time(self):
        if hasattr(self, "notes"):
            assert sum(not entry["recovered"] for entry in self.notes.read("episode|").values()) <= 1

    def teardown(self):
        """Once the weather is good, everybody who can be told has been told of everything that began, and the end."""
        if not hasattr(self, "world"):
            return
        self.world.weather.clear()
        for _ in range(3):
            self.now += timedelta(hours=2)
            self.look()
        self.a_run_ends(True, True)
        for _ in range(3):
            self.now += timedelta(hours=2)
            self.look()
        assert not self.notes.read("episode|")
        for channel in CHANNELS:
            told = Counter(kind for one, kind, _ in self.world.arrived if one == channel)
            if (channel, "any") not in self.spoilt:
                assert told[ALERT] + told[PAST] == len(self.begun) and told[RECOVERED] == told[ALERT]


def test_a_mail_whose_fate_is_open_stays_so_while_the_site_is_down():
    """It may have arrived, so its reader is owed the end of it, too."""
    world, notes, now = World(), Notes(), [NOW]
    told = AlertSettings(after=1, email=["ops@example.com"])
    (channel,) = told.channels

    def look(standing):
        alerts = Alerts(notes, world, site="https://x", now=lambda: now[0], facts=lambda run: {}, log=Silent())
        alerts.look({"job": told}, [Watched("job", told, standing)])
        now[0] += timedelta(hours=3)

    for weather in ("lost", "down"):
        world.weather[channel] = weather
        look(Standing(1, NOW, "r1"))
    look(Standing(good="r2", good_at=now[0]))
    world.weather.clear()
    look(Standing(good="r2", good_at=now[0]))
    look(Standing(good="r2", good_at=now[0]))
    assert [kind for _, kind, _ in world.arrived] == [ALERT, RECOVERED] and not notes.kept


class Silent:
    """A log."""

    def __getattr__(self, _name):
        return lambda *_, **__: None


Ledger.TestCase.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
test_the_ledger = Ledger.TestCase


def test_an_episode_survives_being_kept():
    """As JSON and back."""
    episode = begin("job", Standing(3, NOW, "r3"), "failures", {"message": "x"}, CHANNELS, NOW)
    assert Episode.of(json.loads(json.dumps(episode.as_json()))) == episode
