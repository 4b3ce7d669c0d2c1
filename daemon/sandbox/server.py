"""A sandbox that is served: uvicorn in a thread, the site's background worker in another."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from starlette.applications import Starlette
from starlette.routing import BaseRoute, Route

from daemon.sandbox import demo, methods
from daemon.sandbox.app import Wire
from daemon.sandbox.doctypes import DocType
from daemon.sandbox.faults import Faults
from daemon.sandbox.listener import Listener
from daemon.sandbox.replies import FrappeError
from daemon.sandbox.site import Doc, FrappeSite, standard_columns
from daemon.sandbox.store import table

METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]


class Worker:
    """The site's one RQ worker: does what was enqueued, in order, after the request's commit."""

    def __init__(self, site: FrappeSite, delay: float) -> None:
        self._site, self._delay = site, delay
        self._wake = threading.Event()
        self._stopped = threading.Event()
        self.idle = threading.Event()
        self.idle.set()
        site.wake_worker = self._enqueued
        self._thread = threading.Thread(target=self._work, name="sandbox-worker", daemon=True)
        self._thread.start()

    def _enqueued(self) -> None:
        self.idle.clear()
        self._wake.set()

    def drain(self) -> None:
        """Wait until nothing is left to do, also after a pause. While it is paused that would be forever: not then."""
        if not self._site.config.get("worker_paused"):
            self._wake.set()
            self.idle.wait()

    def stop(self) -> None:
        self._stopped.set()
        self._wake.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._stopped.is_set():
            self._wake.wait()
            self._wake.clear()
            self._stopped.wait(self._delay)
            while self._site.jobs and not self._stopped.is_set() and not self._site.config.get("worker_paused"):
                with self._site.store.lock:
                    self._one()
            if not self._site.jobs:
                self.idle.set()

    def _one(self) -> None:
        """One job, as Administrator unless it says otherwise; one that fails is undone and forgotten, as RQ's are."""
        site = self._site
        user, notices, site.user, site.notices = site.user, site.notices, "Administrator", []
        try:
            with site.store.transaction():
                site.jobs.popleft()()
        except FrappeError:
            pass
        finally:
            site.user, site.notices = user, notices


class Sandbox:
    """A Frappe-shaped site on 127.0.0.1, for as long as the `with` lasts.

    `version`: "14", "15" or "16"; `bulk`: with the v2 bulk endpoints of late 16; `data`: "empty" or "demo"; `path`: a
    SQLite file that outlives it; `clock`: what it takes for the time; `port` 0: a free one.
    """

    def __init__(
        self,
        version: str = "15",
        *,
        bulk: bool = False,
        data: str = "empty",
        path: Path | None = None,
        time_zone: str = "America/New_York",
        clock: Callable[[], datetime] | None = None,
        port: int = 0,
        worker_delay: float = 0.01,
        routes: Iterable[BaseRoute] = (),
    ) -> None:
        self.site = FrappeSite.open(version, bulk, path, time_zone, clock)
        self.wire = Wire(self.site)
        self.site.keys = {
            user: (f"key-{user.partition('@')[0].lower()}", f"secret-of-{user.partition('@')[0].lower()}")
            for user in ("Administrator", "manager@example.com", "clerk@example.com")
        }
        self.key, self.secret = self.keys["manager@example.com"]
        if data == "demo" and not self.count("Error Log"):
            demo.fill(self)
        try:
            self._listener = Listener(port)
        except OSError:
            self.site.store.close()
            raise
        self.url = self._listener.url
        self._routes = [*routes, Route("/{path:path}", self.wire, methods=METHODS)]
        self._worker_delay = worker_delay
        self._worker: Worker | None = None

    @property
    def keys(self) -> dict[str, tuple[str, str]]:
        """User → (API key, API secret)."""
        return self.site.keys

    @property
    def faults(self) -> Faults:
        return self.wire.faults

    @property
    def requests(self) -> deque[tuple[str, str, int]]:
        """(method, path, status) of each request; status 0 where no reply went out."""
        return self.wire.requests

    @property
    def outbox(self) -> list[Doc]:
        return self.site.outbox

    @property
    def site_config(self) -> dict[str, Any]:
        """site_config.json, as far as it matters: rate_limit, maintenance_mode, max_queued_jobs …"""
        return self.site.config

    @property
    def jobs_enqueued(self) -> int:
        return self.site.jobs_enqueued

    # Its data, past HTTP and permissions

    def add_doctype(self, doc: Mapping[str, Any]) -> None:
        with self.site.store.lock:
            added = DocType.of_json(doc)
            added.custom = True
            with self.site.store.transaction():
                self.site.describe(added)
            self.site.add_doctype(added)

    def seed(self, doctype: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """Rows as they are; a missing name, stamp or owner is filled in. Child rows are lists, as in documents."""
        with self.site.store.lock:
            self.site.user = "Administrator"
            meta = self.site.doctype(doctype)
            demo.seed(self.site, meta, rows, standard_columns(meta))

    def count(self, doctype: str, filters: Any = None) -> int:
        with self.site.store.lock:
            self.site.user = "Administrator"
            return methods.count(self.site, {"doctype": doctype, "filters": filters})

    def rows(self, doctype: str, filters: Any = None, fields: Iterable[str] = ("*",)) -> list[Doc]:
        with self.site.store.lock:
            self.site.user = "Administrator"
            asked = {"fields": list(fields), "filters": filters, "limit": 0, "order_by": "name asc"}
            return methods.rows(self.site, doctype, asked)

    def set(self, doctype: str, name: str, **values: Any) -> None:
        """Change columns as SQL does: nothing is checked, `modified` stays."""
        with self.site.store.lock:
            self.site.store.update(doctype, name, values)

    def truncate(self, doctype: str) -> None:
        with self.site.store.lock:
            self.site.store.run(f"DELETE FROM {table(doctype)}")

    def drain(self) -> None:
        """Wait until the background worker has nothing to do."""
        if self._worker:
            self._worker.drain()

    # Its life

    def __enter__(self) -> Self:
        self._worker = Worker(self.site, self._worker_delay)
        self._listener.start(Starlette(routes=self._routes), date_header=False)  # the site has a clock of its own
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._listener.stop()
        if self._worker:
            self._worker.stop()
        self.site.store.close()
