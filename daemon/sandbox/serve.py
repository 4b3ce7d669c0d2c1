"""A sandbox in the foreground, for `frappe-daemon sandbox` and for tests that kill it. Drivable over HTTP."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from daemon.errors import UsageError
from daemon.sandbox.faults import Fault
from daemon.sandbox.orders import Orders
from daemon.sandbox.server import Sandbox


def serve(
    *,
    port: int,
    version: str,
    bulk: bool = False,
    data: str = "demo",
    path: Path | None = None,
    time_zone: str = "America/New_York",
    control: bool = True,
    on_ready: Callable[[str, dict[str, tuple[str, str]]], None],
) -> None:
    """Serve until SIGINT or SIGTERM. `control`: faults, counts and the outbox can be had under /_sandbox/.

    Raises UsageError where the port is taken.
    """
    done = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: done.set())
    holder: list[Sandbox] = []
    routes = _routes(holder) if control else []
    try:
        sandbox = Sandbox(version, bulk=bulk, data=data, path=path, time_zone=time_zone, port=port, routes=routes)
    except OSError as error:
        raise UsageError(f"127.0.0.1:{port} cannot be served: {error.strerror}") from None
    holder.append(sandbox)
    with sandbox:
        on_ready(sandbox.url, sandbox.keys)
        done.wait()


def orders(port: int, data: str) -> Orders:
    """An orders API beside it, to be served by its `with`. Raises UsageError where the port is taken."""
    if port > 65535:
        raise UsageError("--orders takes the port after that of the site, and there is none")
    try:
        return Orders(port=port, data=data)
    except OSError as error:
        raise UsageError(f"127.0.0.1:{port} cannot be served: {error.strerror}") from None


def _routes(holder: list[Sandbox]) -> list[Route]:
    """What a test in another process may ask for."""

    async def faults(request: Request) -> JSONResponse:
        if request.method == "DELETE":
            holder[0].faults.clear()
        else:
            holder[0].faults.add(Fault(**await request.json()))
        return JSONResponse({})

    async def count(request: Request) -> JSONResponse:
        asked = await request.json()
        return JSONResponse(holder[0].count(asked["doctype"], asked.get("filters")))

    async def config(request: Request) -> JSONResponse:
        holder[0].site_config.update(await request.json())
        return JSONResponse(holder[0].site_config)

    async def outbox(_: Request) -> JSONResponse:
        return JSONResponse(holder[0].outbox)

    async def requests(_: Request) -> JSONResponse:
        found: list[Any] = list(holder[0].requests)
        return JSONResponse(found)

    return [
        Route("/_sandbox/faults", faults, methods=["POST", "DELETE"]),
        Route("/_sandbox/count", count, methods=["POST"]),
        Route("/_sandbox/config", config, methods=["POST"]),
        Route("/_sandbox/outbox", outbox),
        Route("/_sandbox/requests", requests),
    ]
