"""What a service shows of itself while it runs: its pulse in the state, the status pages, the counters, the alerts.

Two threads beside the scheduler's. The pulse writes down every `PULSE` seconds that this service lives, which is also
how it knows that the state can be written, and sees to it that the pages are served where the configuration wants them.
The other looks after alerts. Neither can harm a run: what goes wrong here is logged, and tried again.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Self

from daemon import __version__
from daemon.alerts import EPISODE, Alerts, Real, Watched
from daemon.alerts import OWNER as ALERTS
from daemon.config import StatusSettings, split_address
from daemon.core.totals import Totals, absorb, of_jobs
from daemon.errors import AlreadyRunning, StateError
from daemon.facts import SERVICES, view
from daemon.health import judged
from daemon.overview import answered
from daemon.progress import holder
from daemon.report import trouble
from daemon.state import Run, glance
from daemon.state.journal import Journal

if TYPE_CHECKING:
    from daemon.app import App
    from daemon.served import Answer, Pages

PULSE = 30.0
"""Seconds. Whoever looks takes a service for dead after three times as long: overview.ALIVE."""
LOOK = 60.0
"""Seconds between looks at what is too old, or waits to be sent; a run that ends is looked at then."""
METRICS = "the metrics"
"""Owner of the counters."""
KEPT = timedelta(days=30)
"""Counters of a machine that was not heard of for longer are forgotten."""


class Seeing:
    """Entered by a service before its first run, left after its last."""

    def __init__(self, app: App, ailing: Callable[[], str]) -> None:
        """`ailing`: what is the matter with the scheduler, "" where nothing is."""
        self._app, self._ailing = app, ailing
        self._me = holder()
        self._key = f"{self._me['host']}:{self._me['pid']}"
        self._since = app.clock.now()
        self._over = threading.Event()
        self._wake = threading.Event()
        self._lock = threading.Lock()
        self._ended: set[str] = set()
        """Jobs of which a run has ended since the last look."""
        self._answered = False
        self._totals: Totals = {}
        self._state_ails = ""
        self._pages: Pages | None = None
        self._served: StatusSettings | None = None
        self._told = ""
        """What was said of the pages last, so that it is said once."""
        self._threads = [
            threading.Thread(target=target, name=name, daemon=True)
            for name, target in (("pulse", self._pulse), ("alerts", self._look_after_alerts))
        ]

    def __enter__(self) -> Self:
        app = self._app
        self._totals = self._kept_totals()
        self._serve()
        self._beat()
        app.ended = self.ended
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._over.set()
        self._wake.set()
        for thread in self._threads:
            thread.join(2)  # one that waits for the site is left to end with the process
        self._close_pages()
        try:
            self._app.state.forget(SERVICES, self._key)
        except StateError as error:
            self._app.log.warning("pulse.not_written", error=str(error))

    # Counters

    def ended(self, report: Mapping[str, Any]) -> None:
        """A run has ended: counted, first on the disk and then for whoever asks, so that no counter ever goes back."""
        with self._lock:
            totals = absorb(of_jobs(self._totals, self._app.config.jobs), report)
            try:
                entry = {"at": self._app.clock.now().isoformat(), "totals": totals}
                self._app.state.remember(METRICS, self._me["host"], entry)
                self._totals = totals
            except StateError as error:
                self._app.log.warning("metrics.not_kept", error=str(error))
            self._ended.add(str(report["job"]))
            self._answered = self._answered or answered(report.get("replies") or {})
        self._wake.set()

    def interrupted(self, run: Run) -> None:
        """A run of an earlier process was killed."""
        self.ended({"job": run.job, "status": run.status, "dry_run": run.dry_run})

    def _kept_totals(self) -> Totals:
        app = self._app
        found, now = app.state.recall_all(METRICS), app.clock.now()
        old = [host for host, entry in found.items() if now - datetime.fromisoformat(entry["at"]) > KEPT]
        if old:
            app.state.remember_all(METRICS, dict.fromkeys(old))
        entry = found.get(self._me["host"])
        return entry["totals"] if entry and self._me["host"] not in old else {}

    # Pulse

    def _pulse(self) -> None:
        while not self._over.wait(PULSE):
            self._beat()
            self._serve()

    def _beat(self) -> None:
        app, now = self._app, self._app.clock.now()
        listen = self._address() if self._pages else ""
        entry = {**self._me, "since": self._since.isoformat(), "seen": now.isoformat(), "version": __version__}
        try:
            app.state.remember(SERVICES, self._key, {**entry, "listen": listen})
            for key, other in app.state.recall_all(SERVICES).items():
                if now - datetime.fromisoformat(other["seen"]) > KEPT:
                    app.state.forget(SERVICES, key)
            self._state_ails = ""
        except StateError as error:
            if not self._state_ails:
                app.log.error("pulse.not_written", error=str(error), who=error.who, action=error.action)
            self._state_ails = str(error)

    # Pages

    def _serve(self) -> None:
        """Where the configuration says so now; an address that cannot be had is tried for again, and stops no job."""
        wanted = self._app.config.status
        if wanted == self._served and (self._pages or not wanted.listen):
            return
        self._close_pages()
        self._served = wanted
        if not wanted.listen:
            return
        from daemon.served import Pages

        host, port = split_address(wanted.listen)
        paths = {"/": self._page, "/healthz": self._health, "/metrics": self._metrics}
        try:
            self._pages = Pages(
                ("127.0.0.1" if host == "localhost" else host, int(port)), paths,
                hosts=[*wanted.hosts, socket.gethostname()], clock=self._app.clock.monotonic, failed=self._page_failed,
            )  # fmt: skip
        except OSError as error:
            why = f"status.listen = {wanted.listen} cannot be had: {error.strerror or error}"
            action = "Find out who has it (`ss -ltnp`), or name another port; the jobs go on meanwhile."
            if self._told != why:
                self._app.log.error("status.not_served", error=why, who="operator", action=action)
            self._told = why
        else:
            self._told = ""
            self._app.log.info("status.served", url=f"http://{self._address()}/")

    def _address(self) -> str:
        assert self._pages
        host = f"[{self._pages.server_name}]" if ":" in self._pages.server_name else self._pages.server_name
        return f"{host}:{self._pages.server_port}"

    def _close_pages(self) -> None:
        if self._pages:
            self._pages.close()
            self._pages = None

    def _page_failed(self, error: Exception) -> None:
        self._app.log.error("status.failed", error=self._app.redact(str(error)), exc_info=error)

    def _page(self, query: Mapping[str, str]) -> Answer:
        from daemon.rendering.status import page
        from daemon.served import Answer

        body, policy = page(view(self._app), query.get("refresh", ""))
        return Answer(200, "text/html; charset=utf-8", body, {"Content-Security-Policy": policy})

    def _health(self, _query: Mapping[str, str]) -> Answer:
        from daemon.served import Answer

        found, ails = None, self._state_ails
        try:
            found = view(self._app)
        except StateError as error:
            ails = str(error)
        status, said = judged(found, scheduler=self._ailing(), state=ails)
        return Answer(status, "application/json", json.dumps(said, ensure_ascii=False, indent=2).encode() + b"\n")

    def _metrics(self, _query: Mapping[str, str]) -> Answer:
        from daemon.exposition import TYPE, written
        from daemon.served import Answer

        limiter = self._app.limiter
        with self._lock:
            totals = self._totals
        body = written(view(self._app), totals, (limiter.limit, limiter.ceiling), self._since)
        return Answer(200, TYPE, body)

    # Alerts

    def _look_after_alerts(self) -> None:
        """At the start, after each run, and every minute where something may have grown too old or waits."""
        waits = self._look(None)
        while not self._over.is_set():
            timely = not self._wake.wait(LOOK)
            self._wake.clear()
            if self._over.is_set() or self._app.stop.is_set():
                return
            with self._lock:
                ended, self._ended = self._ended, set()
                answers, self._answered = self._answered, False
            ages = any(self._app.config.alerts_of(job).max_age for job in self._app.config.jobs.values())
            if ended or waits or ages:
                waits = self._look(None if timely else ended, site_answers=answers)

    def _look(self, names: set[str] | None, *, site_answers: bool = False) -> bool:
        """At these jobs; None: at all. True where something waits to be sent, or to be looked at again."""
        app = self._app
        jobs = {job.name: app.config.alerts_of(job) for job in app.config.jobs.values() if job.settings.enabled}
        try:
            known = app.state.recall_all(ALERTS)
            # An episode goes on to its end although nobody is to be told any more.
            begun = {entry["job"] for key, entry in known.items() if key.startswith(EPISODE)}
            watched = [name for name in jobs if jobs[name].channels or name in begun]
            told = [name for name in watched if names is None or name in names]
            if not told and not known:
                return False
            with app.state.claim(ALERTS):
                standings = glance.standings(app.state, told)
                alerts = Alerts(
                    Journal(app.state, ALERTS), Real(app), site=app.config.site.url, now=app.clock.now,
                    facts=self._facts, log=app.log,
                )  # fmt: skip
                changed = [Watched(name, jobs[name], standings[name]) for name in told]
                return alerts.look(jobs, changed, site_answers=site_answers)
        except AlreadyRunning:  # another daemon on this state looks
            return True
        except StateError as error:
            app.log.warning("alerts.not_looked", error=str(error))
            return True
        except Exception:  # a bug of ours must not keep the next look from happening
            app.log.exception("alerts.crashed")
            return True

    def _facts(self, run: str) -> dict[str, Any]:
        """What a message says of a run."""
        found = next((one for one in glance.some(self._app.state, [run])), None)
        if found is None:
            return {}
        told = trouble(found.status, found.report)
        facts = {"status": found.status, "message": told["what"], "who": told["who"], "action": told["action"]}
        return {**facts, "kind": found.kind, "run": run}
