"""The composition root: the one place that builds things from the configuration and reads the clock."""

from __future__ import annotations

import secrets
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from pydantic import BaseModel

from daemon import log
from daemon.config import Config, Job
from daemon.core.clock import Clock
from daemon.core.settings import Secret, did_you_mean
from daemon.errors import UsageError
from daemon.runner import RunClock, Runner
from daemon.site.client import Site
from daemon.site.limiter import Limiter
from daemon.site.transport import Retry, Timeouts, Transport
from daemon.state import State
from daemon.state.journal import Journal
from daemon.state.links import Links
from daemon.wire import tls_context

if TYPE_CHECKING:
    from daemon.core.api import ApiSettings
    from daemon.remote.client import Remote

IMPATIENT = Retry(attempts=2, total=15, first_wait=0.5, longest_rest=15)
"""For a person who waits at a terminal for the first answer."""


KEPT_RUNS = 20
"""Runs of each job that are kept however old they are."""


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

    def links(self, sync: str) -> Links:
        return Links(self.state, sync)

    def now(self) -> datetime:
        return self.clock.now()

    def journal(self, owner: str) -> Journal:
        return Journal(self.state, owner)

    def recall(self, key: str) -> Any:
        return self.state.recall(self.job, key)


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
        self.stop = threading.Event()
        self.clock: Clock = clock or SystemClock(self.stop)
        self.redact = log.Redactor(_secrets(config))
        log.configure(log_level or config.log.level, log_format or config.log.format, self.redact)
        self.log = log.logger()

    @cached_property
    def state(self) -> State:
        return State.open(self.config.state.path)

    @cached_property
    def limiter(self) -> Limiter:
        return Limiter(self.config.site.concurrency, self.clock.monotonic)

    @cached_property
    def _tls(self) -> Any:
        site = self.config.site
        return tls_context(verify=site.verify, ca_file=site.ca_file) if site.url.startswith("https:") else False

    def close(self) -> None:
        if "state" in self.__dict__:
            self.state.close()

    def open_site(self, clock: Clock, logger: Any, retry: Retry | None = None) -> Site:
        """The site, for one run or one command."""
        site = self.config.site
        patience = Retry(attempts=site.retry.attempts, total=site.retry.total.total_seconds())
        if retry:
            patience = replace(retry, attempts=min(retry.attempts, patience.attempts))
        limits = {name: getattr(site.timeouts, name).total_seconds() for name in ("connect", "read", "write", "pool")}
        transport = Transport(
            site.url,
            key=site.api_key.reveal(),
            secret=site.api_secret.reveal(),
            limiter=self.limiter,
            tls=self._tls,
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
        return Asked(job.name, job.section, site, self.clock, self.state)

    @cached_property
    def runner(self) -> Runner:
        named = self.config.schedule.time_zone
        return Runner(
            self.state, self.clock, self.stop, self.open_site, self.open_remote, self.config.site.concurrency, self.log,
            self.redact, ZoneInfo(named) if named else None,
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
        """Forget runs that are older than the configuration wants."""
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


def _secrets(config: Config) -> Iterator[str]:
    """Every secret of the configuration, and the form in which the site's key travels."""
    key, secret = config.site.api_key.reveal(), config.site.api_secret.reveal()
    yield b64encode(f"{key}:{secret}".encode()).decode()
    yield secret
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
