"""When somebody is told that a job fails, and that it works again: each once. Reads and writes nothing.

An *episode* begins when a job has failed too often in a row, or has not succeeded for too long, and ends with its next
success. Each channel is told of its beginning once, and of its end once; who could not be told of the beginning before
the end is told of both in one. What is here decides; the ledger that outlives a restart, and the sending, are
daemon.alerts'.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any

from daemon.core.duration import format_duration

GOOD = ("done",)
BAD = ("failed", "some failed", "refused", "interrupted")
"""How runs end that a person should look at. A run that was stopped is neither: the next one goes on from there."""

ALERT, RECOVERED, PAST = "alert", "recovered", "past"
"""What a channel is told: that an episode has begun, has ended, or was."""
OWED, SENDING, SENT, FAILED, UNKNOWN = "owed", "sending", "sent", "failed", "unknown"
"""How far that is. SENDING found after a restart is UNKNOWN, where nobody can look whether it arrived."""

WEBHOOK = "webhook"
"""The one channel that does not go through the site."""
AFTER = 3
"""Failures in a row that are too many, unless the configuration says otherwise."""
FIRST_WAIT, LONGEST_WAIT = timedelta(minutes=1), timedelta(hours=1)
"""Before a channel that could not be reached is tried again: twice as long each time."""
PATIENCE = timedelta(days=7)
"""After which nobody wants to be told any more."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How the runs of a job that its schedule wanted have ended."""

    failures: int = 0
    """Since the last success."""
    since: datetime | None = None
    """When the first of them began."""
    bad: str = ""
    """The latest of them."""
    good: str = ""
    """The last success; "" where there is none."""
    good_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """What is too often, and too long."""

    after: int = AFTER
    max_age: timedelta | None = None

    def broken(self, standing: Standing, first_seen: datetime, now: datetime) -> str:
        """ "failures", "age", or "" where all is well. `first_seen`: when the job was first heard of, which an age is
        counted from where there was no success yet."""
        if standing.failures >= self.after:
            return "failures"
        age = now - (standing.good_at or first_seen)
        return "age" if self.max_age is not None and age > self.max_age else ""


@dataclass(slots=True)
class Telling:
    """One message to one channel."""

    kind: str
    state: str = OWED
    tries: int = 0
    due: str = ""
    """Not before this moment (ISO, UTC)."""
    why: str = ""
    """Of a failure."""


@dataclass(slots=True)
class Episode:
    """One time that a job was in trouble. Moments are ISO texts in UTC."""

    id: str
    job: str
    why: str
    """failures or age."""
    opened: str
    since: str
    """When the first failure began, or the last success was."""
    failures: int
    good: str
    """The last success before it; "" where there was none."""
    facts: dict[str, Any] = field(default_factory=dict)
    """What the message says of the run that failed last: status, message, who, action."""
    recovered: str = ""
    told: dict[str, list[Telling]] = field(default_factory=dict)
    """Channel → what it is told, in order: one alert and one recovery, or one of both."""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> Episode:
        told = {channel: [Telling(**one) for one in tellings] for channel, tellings in found["told"].items()}
        return cls(**{**found, "told": told})

    def owed(self, now: datetime, site_answers: bool = False) -> list[tuple[str, Telling]]:
        """(channel, message) of what should be sent now; of each channel the first that is not settled."""
        found = []
        for channel, tellings in self.told.items():
            first = next((one for one in tellings if one.state in (OWED, SENDING)), None)
            if first and (first.due <= now.isoformat() or (site_answers and channel != WEBHOOK)):
                found.append((channel, first))
        return found

    @property
    def waits(self) -> bool:
        """Somebody is to be told something yet."""
        return any(one.state in (OWED, SENDING) for tellings in self.told.values() for one in tellings)

    @property
    def settled(self) -> bool:
        """It is over, and everybody who should know does, or cannot."""
        return bool(self.recovered) and not self.waits


def begin(
    job: str, standing: Standing, why: str, facts: Mapping[str, Any], channels: Iterable[str], now: datetime
) -> Episode:
    """An episode that everybody is owed the news of. Its id follows from what happened, so that it is the same where a
    crash lets it begin again."""
    since = standing.since if why == "failures" else standing.good_at or standing.since
    return Episode(
        f"{job}|{standing.good or 'never'}|{standing.bad if why == 'failures' else 'age'}",
        job, why, now.isoformat(), (since or now).isoformat(), standing.failures, standing.good, dict(facts),
        told={channel: [Telling(ALERT)] for channel in channels},
    )  # fmt: skip


def end(episode: Episode, standing: Standing, now: datetime) -> None:
    """The job has succeeded. Whoever was told is owed the good news; who was not, both in one."""
    episode.recovered = (standing.good_at or now).isoformat()
    for tellings in episode.told.values():
        last = tellings[-1]
        if last.state == OWED:
            last.kind = PAST
        elif last.state != FAILED:
            tellings.append(Telling(RECOVERED))


def is_over(episode: Episode, standing: Standing) -> bool:
    """It has succeeded since; by runs and not by clocks, which may go back."""
    return not episode.recovered and standing.good not in ("", episode.good)


def later(telling: Telling, why: str, opened: str, now: datetime, *, doubt: bool = False) -> None:
    """It is tried again, though not for ever: nothing was sent, or (`doubt`) whether it arrived can be looked up."""
    if now - datetime.fromisoformat(opened) > PATIENCE:
        telling.state = UNKNOWN if doubt else FAILED
        telling.why = f"given up after {format_duration(PATIENCE)}: {why}"
        return
    wait = min(FIRST_WAIT * 2 ** min(telling.tries, 10), LONGEST_WAIT)
    telling.state, telling.why, telling.tries = SENDING if doubt else OWED, why, telling.tries + 1
    telling.due = (now + wait).isoformat()


def words(episode: Episode, kind: str, site: str) -> tuple[str, list[tuple[str, str]]]:
    """(subject, rows of label and text) of a message."""
    job, since, until = episode.job, _minute(episode.since), _minute(episode.recovered)
    rows: list[tuple[str, str]] = []
    if kind == RECOVERED:
        subject = f"{job} works again ({site})"
    elif kind == PAST:
        subject = f"{job} failed for a while and works again ({site})"
    elif episode.why == "age":
        subject = f"{job} has not succeeded since {since} ({site})"
    else:
        subject = f"{job} has failed {times(episode.failures)} ({site})"
    facts = episode.facts
    if facts.get("message"):
        rows.append(("What", f"{facts['status']}: {facts['message']}"))
    rows.append(("Since", since))
    if episode.recovered:
        rows.append(("Until", until))
    if episode.failures:
        rows.append(("How often", f"{times(episode.failures)}, when this was noticed"))
    if kind == ALERT:
        if facts.get("who"):
            rows.append(("Who must act", str(facts["who"])))
        if facts.get("action"):
            rows.append(("What to do", str(facts["action"])))
    rows.append(("Where to look", f"frappe-daemon history {job}"))
    return subject, rows


def times(number: int) -> str:
    return "once" if number == 1 else f"{number:,} times in a row"


def _minute(moment: str) -> str:
    return f"{moment[:16].replace('T', ' ')} UTC" if moment else ""


def text_of(subject: str, rows: Sequence[tuple[str, str]]) -> str:
    """As plain text, such as a chat shows."""
    return "\n".join([f"frappe-daemon: {subject}", *(f"{label}: {text}" for label, text in rows)])
