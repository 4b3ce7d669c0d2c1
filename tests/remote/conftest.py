"""An orders API, settings for it, and a client whose waiting takes no time."""

from __future__ import annotations

import random
import ssl
import tomllib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import respx

from daemon.core.api import ApiSettings
from daemon.remote.client import Remote
from daemon.remote.transport import Transport
from daemon.sandbox import Orders

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
URL = "https://api.example.com/v1"
SECRET = "the-token-of-the-api"

ORDERS = """
auth = { bearer = { env = "TOKEN" } }

[list]
path = "/orders"
records = "data"
since = "updated_since"
paging = { style = "page", length = "per_page", pages = "pages" }

[record]
stamp = "updated_at"
version = "version"
deleted = "deleted"
read = "GET /orders/{id}"
create = "POST /orders"
update = "PUT /orders/{id}"
delete = "DELETE /orders/{id}"
error = "error"
idempotent = true
find = { key = "order_id", params = { order_id = "{key}" } }
"""


class FakeClock:
    """Waiting takes no time and is written down."""

    def __init__(self) -> None:
        self.passed = 0.0
        self.waits: list[float] = []
        self.on_pause: Callable[[], None] = lambda: None

    def now(self) -> datetime:
        return NOON + timedelta(seconds=self.passed)

    def monotonic(self) -> float:
        return self.passed

    def pause(self, seconds: float) -> None:
        if seconds:
            self.waits.append(seconds)
        self.passed += seconds
        self.on_pause()


def merged(table: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """`more` over `table`, section by section; None takes a key away."""
    found = dict(table)
    for key, value in more.items():
        if value is None:
            found.pop(key, None)
        elif isinstance(value, dict) and isinstance(found.get(key), dict) and key not in ("auth", "paging", "find"):
            found[key] = merged(found[key], value)
        else:
            found[key] = value
    return found


def settings_of(url: str = URL, secret: str = SECRET, toml: str = ORDERS, **more: Any) -> ApiSettings:
    """Those of the orders API, with `more` in the place of what they say."""
    table = merged({"url": url, **tomllib.loads(toml)}, more)
    return ApiSettings.model_validate(table, context={"resolve": lambda _: secret})


TLS = ssl.create_default_context()  # made once: loading the authorities takes longer than most of these tests


class Wire:
    """A client with what it noted and how it waited."""

    def __init__(self, settings: ApiSettings | None = None, **more: Any) -> None:
        self.settings = settings or settings_of(**more)
        self.clock = FakeClock()
        self.notes: list[dict[str, Any]] = []
        self.transport = Transport(
            self.settings,
            tls=TLS,
            clock=self.clock,
            note=lambda event, **facts: self.notes.append({"event": event, **facts}),
            rng=random.Random(1),
        )
        self.remote = Remote(self.settings, self.transport)

    @property
    def traffic(self) -> Any:
        return self.transport.traffic


@pytest.fixture
def wire() -> Iterator[Callable[..., Wire]]:
    """Makes clients and closes them."""
    made: list[Wire] = []

    def make(*args: Any, **more: Any) -> Wire:
        made.append(Wire(*args, **more))
        return made[-1]

    yield make
    for one in made:
        one.transport.close()


@pytest.fixture
def api() -> Iterator[respx.Route]:
    """Whatever is asked of it, it answers as it was told to."""
    with respx.mock(base_url="https://api.example.com", assert_all_called=False) as router:
        yield router.route()


class Moving:
    """A clock for the orders API that goes on by a second with each look."""

    def __init__(self) -> None:
        self.moment = NOON

    def __call__(self) -> datetime:
        self.moment += timedelta(seconds=1)
        return self.moment


@pytest.fixture
def orders() -> Iterator[Orders]:
    """The sandbox's orders API, empty."""
    with Orders(clock=Moving()) as served:
        yield served


@pytest.fixture
def shop(orders: Orders, wire: Callable[..., Wire]) -> Callable[..., Wire]:
    """Clients for it."""
    return lambda **more: wire(url=orders.url, secret=orders.token, **more)


def order(number: int = 1, **more: Any) -> dict[str, Any]:
    """What a client sends."""
    lines = [{"sku": "Pump", "qty": 2, "rate": 19.5}]
    return {"order_id": f"SO-{number}", "customer": "Birch Supply", "items": lines, **more}
