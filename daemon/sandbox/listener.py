"""An application served on 127.0.0.1 by uvicorn in a thread, and what every request to one meets: faults, and a log."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
from collections.abc import Callable
from contextlib import suppress

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from daemon.sandbox.faults import Fault, Faults
from daemon.sandbox.replies import Answer


def _with_abort(app: ASGIApp) -> ASGIApp:
    """`app`, able to cut its connection: what no ASGI message can ask for, the server's own transport does."""

    async def abortable(scope: Scope, receive: Receive, send: Send) -> None:
        scope["sandbox.abort"] = lambda: send.__self__.transport.abort()  # type: ignore[attr-defined]
        await app(scope, receive, send)

    return abortable


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


class Listener:
    """A port of 127.0.0.1, taken when this is made, served from `start` to `stop`. Raises OSError where it is taken."""

    def __init__(self, port: int) -> None:
        # Bound here and not by uvicorn, so that the address is known, and taken, before anything runs.
        # asyncio sends without delay (TCP_NODELAY) only where the socket says that it is TCP.
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._socket.bind(("127.0.0.1", port))
            self._socket.listen(128)
        except OSError:
            self._socket.close()
            raise
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def start(self, app: ASGIApp, *, date_header: bool = True) -> None:
        config = uvicorn.Config(
            _with_abort(app), http="h11", ws="none", lifespan="off", log_config=None, access_log=False,
            proxy_headers=False, date_header=date_header, timeout_graceful_shutdown=1,
        )  # fmt: skip
        self._server = _Server(config)
        self._thread = threading.Thread(target=self._serve, name="sandbox", daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        asyncio.run(self._server.serve(sockets=[self._socket]))

    def stop(self) -> None:
        self._server.end()
        self._thread.join()
        self._socket.close()


Work = Callable[[Scope, bytes, list[Fault]], Answer]
"""Answers a request: its scope, its body, and the faults that it meets."""


async def answered(
    scope: Scope, receive: Receive, send: Send, faults: Faults, work: Work, log: Callable[[Scope, int], None]
) -> None:
    """One request, through the faults that the wire can have. `log` is told its status, 0 where no reply went out."""
    body = await _body(receive)
    hit = faults.hit(scope["method"], path_of(scope))
    for fault in hit:
        if fault.kind == "latency":
            await asyncio.sleep(fault.seconds)
    answer = work(scope, body, hit)
    lost = any(fault.kind in ("cut", "lose_reply") for fault in hit)
    log(scope, 0 if lost else answer.status)
    if any(fault.kind == "kill" for fault in hit):
        os.kill(os.getpid(), signal.SIGKILL)
    if lost:
        scope["sandbox.abort"]()
        await receive()
        return
    await _reply(send, answer)


def path_of(scope: Scope) -> str:
    """As it is in the address, without the query."""
    return str(scope["raw_path"].decode("latin-1").partition("?")[0])


async def _body(receive: Receive) -> bytes:
    chunks = []
    more = True
    while more:
        message: Message = await receive()
        chunks.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(chunks)


async def _reply(send: Send, answer: Answer) -> None:
    content = answer.encoded()
    headers = {"Content-Type": answer.media, "Content-Length": str(len(content)), **answer.headers}
    encoded = [(key.lower().encode(), value.encode()) for key, value in headers.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": encoded})
    await send({"type": "http.response.body", "body": content})
