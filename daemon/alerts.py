"""Telling somebody that a job fails, and that it works again. Writes the ledger, mails, Notification Logs, webhooks.

daemon.core.alerts decides; here is what it costs to tell once and not twice, whatever happens in between: each message
is written down before it is sent and again after. What a kill or a lost reply leaves open is not sent again where
nobody can look (a webhook, a notification); a mail can be looked for, by its mark. What could not be sent waits:
webhooks for their server, the others for the site. Nothing of this raises, and no run waits for it.
"""

from __future__ import annotations

import hashlib
import html
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast
from urllib.parse import urlsplit

from daemon import errors
from daemon.core import alerts as core
from daemon.core.alerts import Episode, Rule, Standing, Telling
from daemon.core.kind import JournalPort
from daemon.core.letter import Letter, mark_of, subject_of
from daemon.core.plan import Result

if TYPE_CHECKING:
    from daemon.app import App
    from daemon.core.settings import AlertSettings
    from daemon.runner import RunClock
    from daemon.site.client import Site

OWNER = "the alerts"
"""Of the ledger; a job's name has no blank. Also the claim: of all daemons on one state one at a time tells."""
LETTERS = "the alerts' letters"
"""Owner of the mails' own ledger."""
EPISODE, FIRST = "episode|", "first|"
KEPT_LETTERS = timedelta(days=60)

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Later(Exception):
    """Nothing was sent. Another time it may be; `doubt`: perhaps it was, and that can be looked up then."""

    def __init__(self, why: str, doubt: bool = False) -> None:
        super().__init__(why)
        self.doubt = doubt


class Hopeless(Exception):
    """Nothing was sent, and trying again would end the same way."""


class Doubtful(Exception):
    """It was sent, and whether it arrived nobody can find out."""


@dataclass(frozen=True, slots=True)
class Message:
    """What one channel is told."""

    id: str
    """The same for the same message, so that whoever gets it twice can tell."""
    kind: str
    """alert, recovered, past or test."""
    subject: str
    rows: Sequence[tuple[str, str]]
    facts: Mapping[str, Any]
    day: str
    """On which it was about to be sent first (ISO)."""

    @property
    def titled(self) -> str:
        """The subject where nothing else says who speaks."""
        return f"frappe-daemon: {self.subject}"

    @property
    def text(self) -> str:
        return core.text_of(self.subject, self.rows)


class Channels(Protocol):
    """The ways out. `send` returns once it is sent, and raises Later, Hopeless or Doubtful."""

    def send(self, channel: str, settings: AlertSettings, message: Message) -> None: ...


@dataclass(frozen=True, slots=True)
class Watched:
    """A job that is looked at."""

    name: str
    settings: AlertSettings
    standing: Standing

    @property
    def rule(self) -> Rule:
        return self.settings.rule


class Alerts:
    """The ledger, and what is done by it. Used by one thread."""

    def __init__(
        self,
        ledger: JournalPort,
        channels: Channels,
        *,
        site: str,
        now: Callable[[], datetime],
        facts: Callable[[str], Mapping[str, Any]],
        log: Any,
    ) -> None:
        """`facts`: what is to be said of a run, by its id."""
        self._ledger, self._channels, self._site = ledger, channels, site
        self._now, self._facts, self._log = now, facts, log

    def look(
        self, jobs: Mapping[str, AlertSettings], changed: Sequence[Watched], *, site_answers: bool = False
    ) -> bool:
        """Begin and end episodes of those that `changed`, send what is owed, and forget what is of no job of `jobs`.
        True: something waits to be sent. `site_answers`: what waits for the site need wait no longer."""
        now, known = self._now(), self._episodes()
        seen = self._first_seen(changed, now)
        for job in changed:
            self._judge(job, known.setdefault(job.name, []), seen, now)
        gone = [episode.id for name, episodes in known.items() if name not in jobs for episode in episodes]
        if gone:
            self._ledger.write({EPISODE + one: None for one in gone})
        episodes = [episode for name in jobs for episode in known.get(name, ())]
        owed = [(episode, *one) for episode in episodes for one in episode.owed(now, site_answers)]
        # Webhooks first: the site may be what is down, and asking it takes its time.
        for episode, channel, telling in sorted(owed, key=lambda one: (one[1] != "webhook", one[0].opened)):
            self._tell(episode, channel, telling, jobs[episode.job])
        settled = [episode for episode in episodes if episode.settled]
        if settled:
            self._ledger.write({EPISODE + episode.id: None for episode in settled})
        return any(episode.waits for episode in episodes)

    def _episodes(self) -> dict[str, list[Episode]]:
        found: dict[str, list[Episode]] = {}
        for entry in self._ledger.read(EPISODE).values():
            episode = Episode.of(entry)
            found.setdefault(episode.job, []).append(episode)
        return found

    def _first_seen(self, jobs: Sequence[Watched], now: datetime) -> dict[str, datetime]:
        """When jobs were first heard of that an age is asked of and that have not succeeded yet."""
        wanted = [job.name for job in jobs if job.rule.max_age and not job.standing.good]
        known = self._ledger.read(FIRST)
        fresh = {FIRST + name: now.isoformat() for name in wanted if FIRST + name not in known}
        if fresh:
            self._ledger.write(fresh)
        return {name: datetime.fromisoformat({**known, **fresh}[FIRST + name]) for name in wanted}

    def _judge(self, job: Watched, episodes: list[Episode], seen: Mapping[str, datetime], now: datetime) -> None:
        current = next((episode for episode in episodes if not episode.recovered), None)
        if current and core.is_over(current, job.standing):
            core.end(current, job.standing, now)
            self._keep(current)
            self._log.info("alert.recovered", job=job.name)
            current = None
        if current is None and job.settings.channels:
            why = job.rule.broken(job.standing, seen.get(job.name, now), now)
            if why:
                facts = self._facts(job.standing.bad) if job.standing.bad else {}
                episode = core.begin(job.name, job.standing, why, facts, job.settings.channels, now)
                episodes.append(episode)
                self._keep(episode)
                self._log.warning("alert.begun", job=job.name, why=why, failures=job.standing.failures)

    def _tell(self, episode: Episode, channel: str, telling: Telling, settings: AlertSettings) -> None:
        if channel not in settings.channels:  # taken out of the configuration meanwhile
            telling.state, telling.why = core.FAILED, "it is not in the configuration any more"
            return self._keep(episode)
        was_open = telling.state == core.SENDING
        if was_open and not channel.startswith("email "):
            telling.state = core.UNKNOWN
            return self._keep(episode)
        telling.state = core.SENDING
        self._keep(episode)
        try:
            self._channels.send(channel, settings, self._message(episode, telling))
        except Later as error:
            core.later(telling, str(error), episode.opened, self._now(), doubt=was_open or error.doubt)
        except Hopeless as error:
            telling.state, telling.why = core.FAILED, str(error)
        except Doubtful as error:
            telling.state, telling.why = core.UNKNOWN, str(error)
        else:
            telling.state, telling.why = core.SENT, ""
        self._keep(episode)
        self._say(episode, channel, telling)
        return None

    def _say(self, episode: Episode, channel: str, telling: Telling) -> None:
        if telling.state == core.SENT:
            self._log.info("alert.sent", job=episode.job, channel=channel, kind=telling.kind)
        elif telling.state == core.OWED and telling.tries > 1:
            self._log.debug("alert.delayed", job=episode.job, channel=channel, why=telling.why, again=telling.due)
        else:
            self._log.warning("alert.not_sent", job=episode.job, channel=channel, why=telling.why, state=telling.state)

    def _message(self, episode: Episode, telling: Telling) -> Message:
        subject, rows = core.words(episode, telling.kind, urlsplit(self._site).netloc)
        facts = {
            "job": episode.job, "site": self._site, "since": episode.since, "opened": episode.opened,
            "recovered": episode.recovered or None, "failures": episode.failures, "why": episode.why, **episode.facts,
        }  # fmt: skip
        # One that tells of both is the same message as the one that it stands for.
        step = "end" if telling.kind == core.RECOVERED else "begin"
        return Message(f"{_short(episode.id)}-{step}", telling.kind, subject, rows, facts, episode.opened[:10])

    def _keep(self, episode: Episode) -> None:
        self._ledger.write({EPISODE + episode.id: episode.as_json()})


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:20]


# --- the real ways out -----------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Errand:
    """What daemon.jobs._post asks of a run, where there is none."""

    site: Site
    started: datetime
    clock: RunClock
    app: App

    def now(self) -> datetime:
        return self.clock.now()

    def pause(self, seconds: float) -> None:
        self.clock.pause(seconds)

    def check(self) -> None:
        self.clock.check()

    def journal(self, owner: str) -> JournalPort:
        from daemon.state.journal import Journal

        return Journal(self.app.state, owner)

    def each(self, function: Callable[[Item], Answer], items: Iterable[Item]) -> Iterator[Answer]:
        return map(function, items)


_PASSING = (
    errors.Transient,
    errors.Stopped,
    errors.NotConfigured,
    errors.CredentialsRefused,
    errors.UntrustedCertificate,
    errors.NotFrappe,
    errors.StateError,
)
"""Nothing was sent, and once somebody has mended something it may be."""


class Real:
    """Channels of this app."""

    def __init__(self, app: App) -> None:
        self._app = app

    def send(self, channel: str, settings: AlertSettings, message: Message) -> None:
        way, _, whom = channel.partition(" ")
        try:
            if way == "webhook":
                self._post(settings, message)
            elif way == "user":
                self._ring(whom, message)
            else:
                self._mail(whom, message)
        except errors.OutcomeUnknown as error:
            raise Doubtful(str(error)) from None
        except _PASSING as error:
            raise Later(str(error)) from None
        except errors.DaemonError as error:
            raise Hopeless(str(error)) from None

    def _post(self, settings: AlertSettings, message: Message) -> None:
        from daemon import hooks

        if settings.webhook is None:
            raise Hopeless("there is no webhook")
        known = {"id": message.id, "event": message.kind, "text": message.text, "subject": message.subject}
        about = {"see": f"frappe-daemon history {message.facts['job']}"} if "job" in message.facts else {}
        payload = self._app.redact({**known, **message.facts, **about, "host": socket.gethostname()})
        try:
            hooks.post(settings.webhook, payload)
        except hooks.NotTaken as error:
            raise Later(str(error)) from None
        except hooks.Refused as error:
            raise Hopeless(str(error)) from None
        except hooks.Lost as error:
            raise Doubtful(str(error)) from None

    def _ring(self, user: str, message: Message) -> None:
        from daemon.jobs import _bell

        rows = "".join(f"<p><b>{html.escape(label)}</b>: {html.escape(text)}</p>" for label, text in message.rows)
        with _errand(self._app) as errand:
            errand.site.insert(_bell.bell(user, message.titled, ("User", user), rows))

    def _mail(self, address: str, message: Message) -> None:
        from daemon.jobs._post import Post, prune
        from daemon.rendering.process import Renderer

        site = urlsplit(self._app.config.site.url).hostname or ""
        known = {
            "language": "en", "currency": "", "subject": message.subject, "rows": [list(row) for row in message.rows],
            "host": socket.gethostname(), "site_name": site, "recipient": {"email": address}, "desk_url": "",
        }  # fmt: skip
        with _errand(self._app) as errand, Renderer() as renderer:
            made = renderer.render("alert.html", self._app.redact(known))
            mark = mark_of(self._app.config.site.url, OWNER, message.id, address.casefold())
            run = cast(Any, errand)
            post = Post(run, LETTERS, f"{OWNER}|{message.day}|")
            letter = Letter(address, subject_of(message.titled), made.html, mark)
            try:
                fates = [*post.deliver([letter]), *post.settle()]
            except errors.DaemonError as error:
                if post.known([mark]).get(mark, {}).get("state") == "sending":
                    raise Later(str(error), doubt=True) from None
                raise
            prune(run, LETTERS, OWNER, (errand.now() - KEPT_LETTERS).date().isoformat())
        for fate in fates:
            if fate.result is Result.UNCERTAIN:
                raise Later(fate.reason, doubt=True) if fate.passing else Doubtful(fate.reason)
            if fate.result is Result.FAILED:
                raise Later(fate.reason) if fate.passing else Hopeless(fate.reason)


@contextmanager
def _errand(app: App) -> Iterator[Errand]:
    from daemon.app import IMPATIENT
    from daemon.runner import RunClock

    clock = RunClock(app.clock, app.stop, timedelta(minutes=10))
    with app.open_site(clock, app.log, IMPATIENT) as site:
        site.user()  # a site that is down is found out by what can do no harm, so that nothing sent stays in doubt
        yield Errand(site, clock.now(), clock, app)


def test_of(app: App) -> list[dict[str, str]]:
    """Send one message to each channel that the configuration names; what became of each."""
    found: dict[tuple[str, str], AlertSettings] = {}
    for settings in (app.config.alerts, *(app.config.alerts_of(job) for job in app.config.jobs.values())):
        for channel in settings.channels:
            address = settings.webhook.url.reveal() if settings.webhook and channel == "webhook" else ""
            found.setdefault((channel, address), settings)
    now, rows = app.clock.now(), [("What", "This is a test. Nothing failed.")]
    answers = []
    for (channel, _), settings in found.items():
        message = Message(
            app.new_run_id(), "test", "a test of alerts", rows, {"site": app.config.site.url}, f"{now.date()}"
        )
        shown = f"webhook {settings.webhook.host}" if settings.webhook and channel == "webhook" else channel
        try:
            Real(app).send(channel, settings, message)
        except (Later, Hopeless, Doubtful) as error:
            answers.append({"channel": shown, "state": "not sent", "why": app.redact(str(error))})
        else:
            answers.append({"channel": shown, "state": "sent", "why": ""})
    return answers
