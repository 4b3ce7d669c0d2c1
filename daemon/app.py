"""The composition root: the one place that builds things from the configuration and reads the clock."""

from __future__ import annotations

import secrets
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from pydantic import BaseModel

from daemon import log
from daemon.config import Config, Job, SiteSettings
from daemon.core.clock import Clock
from daemon.core.settings import Secret, TimeoutSettings, did_you_mean
from daemon.errors import UsageError
from daemon.runner import RunClock, Runner, Running
from daemon.site.client import Site
from daemon.site.limiter import Limiter
from daemon.site.transport import Retry, Timeouts, Transport
from daemon.state import Server, State
from daemon.state.journal import Journal
from daemon.state.links import Links
from daemon.trail import Past, Trails, archived
from daemon.wire import tls_context

if TYPE_CHECKING:
    from daemon.core.api import ApiSettings
    from daemon.remote.client import Remote

IMPATIENT = Retry(attempts=2, total=15, first_wait=0.5, longest_rest=15)
"""For a person who waits at a terminal for the first answer."""


UNDONE = "undo"
"""Owner of what is known of runs that were undone."""
KEPT_RUNS = 20
"""Runs of each job that are kept however old they are."""


def seconds_since_boot() -> float:
    """Goes on while the machine sleeps, where the kernel knows such a clock."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class SystemClock:
    """The machine's clock. `pause` ends early, without an error, when `stop` is set."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    def pause(self, seconds: float) -> None:
        self._stop.wait(seconds)


@dataclass(frozen=True, slots=True)
class Asked:
    """daemon.core.kind.Inquiry, with the real things behind it."""

    job: str
    section: str
    site: Site
    clock: Clock
    state: State
    trails: Trails

    def links(self, sync: str) -> Links:
        return Links(self.state, sync)

    def now(self) -> datetime:
        return self.clock.now()

    def journal(self, owner: str) -> Journal:
        return Journal(self.state, owner)

    def recall(self, key: str) -> Any:
        return self.state.recall(self.job, key)

    def past(self, run: str) -> Past | None:
        return self.trails.past(run)

    def pasts(self, job: str = "", since: str = "") -> Iterator[tuple[str, Past]]:
        return self.trails.pasts(job, since)

    def archived(self, path: Path, offset: int) -> list[dict[str, Any]]:
        return archived(path, offset)


class App:
    """Everything that one process needs, built when it is first asked for."""

    def __init__(
        self,
        config: Config,
        *,
        clock: Clock | None = None,
        log_format: log.Format | None = None,
        log_level: str | None = None,
    ) -> None:
        self.config = config
        self._log_format, self._log_level = log_format, log_level
        self.stop = threading.Event()
        self.clock: Clock = clock or SystemClock(self.stop)
        self.redact = log.Redactor(_secrets(config))
        self.running: dict[str, Running] = {}
        """By run, what runs now in this process."""
        self.ended: Callable[[Mapping[str, Any]], None] = lambda _: None
        """Is told of each run's report once it is kept; raises nothing."""
        self._configure_log(config)
        self.log = log.logger()

    def _configure_log(self, config: Config) -> None:
        log.configure(self._log_level or config.log.level, self._log_format or config.log.format, self.redact)

    def reconfigure(self, config: Config) -> None:
        """Let what begins from now on go by `config`; what is under way goes on as it began. The state stays the one
        that is open. Raises ConfigError, and changes nothing then."""
        tls = _tls_of(config)
        self.redact.learn(_secrets(config))
        if config.site.url != self.config.site.url:
            self.__dict__.pop("limiter", None)  # it has learnt of another site
        else:
            self.limiter.allow(config.site.concurrency)
        self.config = config
        self.__dict__["_tls"] = tls
        self.__dict__.pop("runner", None)
        self._configure_log(config)

    @cached_property
    def state(self) -> State:
        settings = self.config.state
        if settings.url is None:
            return State.open(settings.path)
        password = settings.password.reveal() if settings.password else ""
        return State.open(Server(settings.url, seconds_since_boot, password))

    @cached_property
    def trails(self) -> Trails:
        """What runs wrote down so that they can be undone."""
        settings = self.config.state
        folder = settings.path.with_name(f"{settings.path.name}.undo")
        return Trails(folder, settings.keep_undo, self.config.site.url)

    @cached_property
    def limiter(self) -> Limiter:
        return Limiter(self.config.site.concurrency, self.clock.monotonic)

    @cached_property
    def _tls(self) -> Any:
        return _tls_of(self.config)

    def close(self) -> None:
        if "state" in self.__dict__:
            self.state.close()

    def open_site(self, clock: Clock, logger: Any, retry: Retry | None = None) -> Site:
        """The site, for one run or one command."""
        return self._open_site(self.config.site, self.limiter, self._tls, clock, logger, retry)

    @staticmethod
    def _open_site(
        site: SiteSettings, limiter: Limiter, tls: Any, clock: Clock, logger: Any, retry: Retry | None = None
    ) -> Site:
        patience = Retry(attempts=site.retry.attempts, total=site.retry.total.total_seconds())
        if retry:
            patience = replace(retry, attempts=min(retry.attempts, patience.attempts))
        limits = {name: getattr(site.timeouts, name).total_seconds() for name in ("connect", "read", "write", "pool")}
        transport = Transport(
            site.url,
            key=site.api_key.reveal(),
            secret=site.api_secret.reveal(),
            limiter=limiter,
            tls=tls,
            timeouts=Timeouts(**limits),
            retry=patience,
            site_name=site.site_name,
            clock=clock,
            note=logger.warning,
        )
        return Site(transport)

    def open_remote(self, settings: ApiSettings, clock: Clock, logger: Any) -> Remote:
        """Another API, for one run."""
        from daemon.remote.client import Remote
        from daemon.remote.transport import Transport

        addresses = [
            settings.url,
            *([settings.auth.oauth2.token_url] if settings.auth and settings.auth.oauth2 else []),
        ]
        tls: Any = False
        if any(address.startswith("https:") for address in addresses):
            tls = tls_context(verify=settings.verify, ca_file=settings.ca_file, key="api.ca_file")
        return Remote(settings, Transport(settings, tls=tls, clock=clock, note=logger.warning))

    @contextmanager
    def site(self, retry: Retry | None = None) -> Iterator[Site]:
        """The site, outside of any run."""
        with self.open_site(RunClock(self.clock, self.stop, timedelta(hours=1)), self.log, retry) as site:
            yield site

    def remote(self, settings: ApiSettings) -> Remote:
        """Another API, outside of any run; closed by its `with`."""
        return self.open_remote(settings, RunClock(self.clock, self.stop, timedelta(hours=1)), self.log)

    @contextmanager
    def inquiry(self, job: Job, retry: Retry | None = None) -> Iterator[Asked]:
        """What a kind answers questions about `job` with."""
        with self.site(retry) as site:
            yield self.asked(job, site)

    def asked(self, job: Job, site: Site) -> Asked:
        """The same, with a site that is open."""
        return Asked(job.name, job.section, site, self.clock, self.state, self.trails)

    @cached_property
    def runner(self) -> Runner:
        named, site = self.config.schedule.time_zone, self.config.site
        return Runner(
            self.state, self.clock, self.stop, partial(self._open_site, site, self.limiter, self._tls),
            self.open_remote, site.concurrency, self.log, self.redact, self.trails, ZoneInfo(named) if named else None,
            self.running, _longest_request(site.timeouts), lambda report: self.ended(report),
        )  # fmt: skip

    def job(self, name: str) -> Job:
        """Of this name, or of this section: then in all directions. Raises UsageError where there is no such job."""
        try:
            return self.config.jobs[name]
        except KeyError:
            for job in self.config.jobs.values():
                if job.section == name:
                    return replace(job, name=name, direction="")
            names = dict.fromkeys(known for job in self.config.jobs.values() for known in (job.section, job.name))
            known, hint = ", ".join(names), did_you_mean(name, names)
            raise UsageError(f"{self.config.path} has no job {name!r}{hint} (there are: {known})") from None

    def prune(self) -> None:
        """Forget runs that are older than the configuration wants, and what undo needs of those that are too old."""
        self.state.remember_all(UNDONE, dict.fromkeys(self.trails.prune(self.clock.now())))
        self.state.prune_runs(self.clock.now() - self.config.state.keep_runs, KEPT_RUNS)

    def new_run_id(self) -> str:
        """Sorts by time; unique enough for one daemon's runs."""
        return f"{self.clock.now():%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"

    def remembered_zone(self) -> ZoneInfo | None:
        """The zone of the schedules where no site needs to be asked: named in the configuration, or seen before."""
        if self.config.schedule.time_zone:
            return ZoneInfo(self.config.schedule.time_zone)
        facts = self.state.site_facts(self.config.site.url) or {}
        try:
            return ZoneInfo(str(facts["time_zone"]))
        except (LookupError, ValueError, OSError):  # never told, or by a machine that knows more zones
            return None

    def zone(self, retry: Retry | None = None) -> ZoneInfo:
        """The zone of the schedules; asks the site where need be. Raises SiteError."""
        zone = self.remembered_zone()
        if zone is None:
            with self.site(retry) as site:
                zone = site.clock.zone
                facts = {"version": site.dialect.version, "time_zone": zone.key, "apps": site.versions}
                self.state.remember_site(site.url, facts)
        return zone


def _tls_of(config: Config) -> Any:
    """Raises ConfigError."""
    site = config.site
    return tls_context(verify=site.verify, ca_file=site.ca_file) if site.url.startswith("https:") else False


def _longest_request(timeouts: TimeoutSettings) -> float:
    """Seconds."""
    return sum((getattr(timeouts, name) for name in type(timeouts).model_fields), timedelta(0)).total_seconds()


def _secrets(config: Config) -> Iterator[str]:
    """Every secret of the configuration, and the form in which the site's key travels."""
    key, secret = config.site.api_key.reveal(), config.site.api_secret.reveal()
    yield b64encode(f"{key}:{secret}".encode()).decode()
    yield secret
    yield from _secrets_in(config.alerts)
    yield from _secrets_in(config.state)
    for job in config.jobs.values():
        yield from _secrets_in(job.settings)


def _secrets_in(value: Any) -> Iterator[str]:
    if isinstance(value, Secret):
        yield value.reveal()
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _secrets_in(getattr(value, name))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _secrets_in(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _secrets_in(item)
