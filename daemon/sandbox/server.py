"""A sandbox that is served: uvicorn in a thread, the site's background worker in another."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Self

import uvicorn
from starlette.applications import Starlette
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from daemon.sandbox import demo, methods
from daemon.sandbox.app import Wire
from daemon.sandbox.doctypes import DocType
from daemon.sandbox.faults import Faults
from daemon.sandbox.replies import FrappeError
from daemon.sandbox.site import Doc, FrappeSite, standard_columns
from daemon.sandbox.store import table

METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]


def _with_abort(app: ASGIApp) -> ASGIApp:
    """`app`, able to cut its connection: what no ASGI message can ask for, the server's own transport does."""

    async def abortable(scope: Scope, receive: Receive, send: Send) -> None:
        scope["sandbox.abort"] = lambda: send.__self__.transport.abort()  # type: ignore[attr-defined]
        await app(scope, receive, send)

    return abortable


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


class _Server(uvicorn.Server):
    """uvicorn looks ten times a second whether it should end, and waits for clients; this one is told, and ends."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._over = asyncio.Event()
        self._running = threading.Event()

    async def main_loop(self) -> None:
        """Keeps the Date header fresh, until the end."""
        self._loop = asyncio.get_running_loop()
        self._running.set()
        while not self._over.is_set():
            await self.on_tick(0)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._over.wait(), 1.0)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Whoever still waits for an answer will not get one."""
        for listening in (*self.servers, *(sockets or ())):
            listening.close()
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        tasks = list(self.server_state.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def end(self) -> None:
        """Called from another thread."""
        self._running.wait()
        assert self._loop
        self._loop.call_soon_threadsafe(self._over.set)


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
        # Bound here and not by uvicorn, so that the address is known, and taken, before anything runs.
        # asyncio sends without delay (TCP_NODELAY) only where the socket says that it is TCP.
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._socket.bind(("127.0.0.1", port))
            self._socket.listen(128)
        except OSError:
            self._socket.close()
            self.site.store.close()
            raise
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
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
        config = uvicorn.Config(
            _with_abort(Starlette(routes=self._routes)), http="h11", ws="none", lifespan="off", log_config=None,
            access_log=False,
            proxy_headers=False,
            date_header=False,  # the site has a clock of its own
            timeout_graceful_shutdown=1,
        )  # fmt: skip
        self._server = _Server(config)
        self._worker = Worker(self.site, self._worker_delay)
        self._thread = threading.Thread(target=self._serve, name="sandbox", daemon=True)
        self._thread.start()
        return self

    def _serve(self) -> None:
        asyncio.run(self._server.serve(sockets=[self._socket]))

    def __exit__(self, *exc_info: object) -> None:
        self._server.end()
        self._thread.join()
        if self._worker:
            self._worker.stop()
        self._socket.close()
        self.site.store.close()
