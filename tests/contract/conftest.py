"""The ground that the contract stands on: one small client, and the sites that it is pointed at.

Every case runs against the sandbox in each of its modes and, where FRAPPE_URL, FRAPPE_API_KEY and FRAPPE_API_SECRET are
set, against that site. The key must be a System Manager's who may also sell (Sales Manager, Item Manager). With
FRAPPE_ADMIN_API_KEY/_SECRET and FRAPPE_CLERK_API_KEY/_SECRET (role Sales User) more cases run. Whatever a case creates
carries a random mark and is deleted again.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from daemon.app import SystemClock
from daemon.sandbox import Sandbox
from daemon.site import client as daemon_site
from daemon.site.limiter import Limiter
from daemon.site.transport import Retry, Transport

MANAGER, ADMINISTRATOR, CLERK, GUEST = "manager@example.com", "Administrator", "clerk@example.com", "Guest"
MODES = {"14": {}, "15": {}, "16": {}, "16-bulk": {"bulk": True}}


@dataclass(frozen=True)
class Reply:
    """What came back."""

    response: httpx.Response

    @property
    def status(self) -> int:
        return self.response.status_code

    @property
    def body(self) -> Any:
        return self.response.json()

    @property
    def value(self) -> Any:
        """What the envelope holds: `data` of documents and v2, `message` of methods."""
        return self.body["data"] if "data" in self.body else self.body.get("message")

    @property
    def kind(self) -> str:
        """The exception's class, wherever this version and API tell it; 14 tells none of a 404 that was not thrown."""
        if "errors" in self.body:
            return str(self.body["errors"][0]["type"])
        return str(self.body.get("exc_type") or self.body.get("exception", "").partition(":")[0].rpartition(".")[2])

    @property
    def messages(self) -> str:
        """What people would be shown, HTML and all: a JSON list of JSON objects."""
        return " | ".join(json.loads(one)["message"] for one in json.loads(self.body.get("_server_messages", "[]")))

    @property
    def is_html(self) -> bool:
        return self.response.headers["content-type"].startswith("text/html")


@dataclass
class Site:
    """One site under contract, as several users."""

    url: str
    keys: dict[str, tuple[str, str]]
    sandbox: Sandbox | None
    http: httpx.Client
    major: int = 0
    bulk: bool = False
    made: list[tuple[str, str]] = field(default_factory=list)

    def ask(self, method: str, path: str, *, user: str = MANAGER, headers: Any = None, **more: Any) -> Reply:
        sent = dict(headers or {})
        if user != GUEST:
            if user not in self.keys:
                pytest.skip(f"needs the API key of {user}")
            sent.setdefault("Authorization", f"token {':'.join(self.keys[user])}")
        return Reply(self.http.request(method, self.url + path, headers=sent, **more))

    def get(self, path: str, **more: Any) -> Reply:
        return self.ask("GET", path, **more)

    def post(self, path: str, payload: Any = None, **more: Any) -> Reply:
        return self.ask("POST", path, json=payload if payload is not None else {}, **more)

    def call(self, method: str, /, *, user: str = MANAGER, **arguments: Any) -> Reply:
        """A whitelisted method, its arguments as JSON."""
        return self.post(f"/api/method/{method}", arguments, user=user)

    def list(self, doctype: str, /, *, user: str = MANAGER, **params: Any) -> Reply:
        texts = {key: one if isinstance(one, str) else json.dumps(one) for key, one in params.items()}
        return self.get(f"/api/resource/{quote(doctype)}", params=texts, user=user)

    def read(self, doctype: str, name: str, **more: Any) -> Reply:
        return self.get(document(doctype, name), **more)

    def put(self, doctype: str, name: str, /, *, user: str = MANAGER, **values: Any) -> Reply:
        return self.ask("PUT", document(doctype, name), json=values, user=user)

    def insert(self, doctype: str, /, *, user: str = MANAGER, **values: Any) -> Reply:
        """POST; what it made is deleted after the test."""
        reply = self.post(f"/api/resource/{quote(doctype)}", {"data": values}, user=user)
        if reply.status == 200:
            self.made.append((doctype, reply.value["name"]))
        return reply

    def make(self, doctype: str, /, **values: Any) -> Any:
        """The inserted document."""
        reply = self.insert(doctype, **values)
        assert reply.status == 200, reply.response.text
        return reply.value

    def delete(self, doctype: str, name: str, **more: Any) -> Reply:
        return self.ask("DELETE", document(doctype, name), **more)

    def exists(self, doctype: str, name: str) -> bool:
        return self.read(doctype, name, user=self.mightiest).status == 200

    @property
    def mightiest(self) -> str:
        return ADMINISTRATOR if ADMINISTRATOR in self.keys else MANAGER

    def clean(self) -> None:
        """Delete what the test made, cancelling first what was submitted."""
        for doctype, name in reversed(self.made):
            found = self.read(doctype, name, user=self.mightiest)
            if found.status == 200 and found.value.get("docstatus") == 1:
                self.call("frappe.client.cancel", doctype=doctype, name=name, user=self.mightiest)
            if found.status == 200:
                self.delete(doctype, name, user=self.mightiest)
        if self.made and self.sandbox is None and ADMINISTRATOR in self.keys:
            self._clean_versions([name for _, name in self.made])
        self.made.clear()

    def _clean_versions(self, names: list[str]) -> None:
        """What a real site has noted of changes to them."""
        asked = {"filters": [["docname", "in", names]], "limit_page_length": 0}
        for row in self.list("Version", user=ADMINISTRATOR, **asked).value:
            self.delete("Version", row["name"], user=ADMINISTRATOR)

    def only_sandbox(self, why: str) -> Sandbox:
        if self.sandbox is None:
            pytest.skip(f"not on a real site: {why}")
        return self.sandbox

    def since(self, major: int) -> None:
        if self.major < major:
            pytest.skip(f"from version {major} on")


def document(doctype: str, name: str) -> str:
    return f"/api/resource/{quote(doctype, safe='')}/{quote(name, safe='')}"


def of_environment() -> dict[str, tuple[str, str]]:
    prefixes = {MANAGER: "FRAPPE_", ADMINISTRATOR: "FRAPPE_ADMIN_", CLERK: "FRAPPE_CLERK_"}
    return {
        user: (os.environ[prefix + "API_KEY"], os.environ[prefix + "API_SECRET"])
        for user, prefix in prefixes.items()
        if os.environ.get(prefix + "API_KEY")
    }


@contextlib.contextmanager
def served(mode: str) -> Iterator[Site]:
    with httpx.Client(timeout=60, headers={"Accept": "application/json"}) as http:
        if mode == "site":
            site = Site(os.environ["FRAPPE_URL"].rstrip("/"), of_environment(), None, http)
            versions = site.get("/api/method/frappe.utils.change_log.get_versions").value
            site.major = int(versions["frappe"]["version"].partition(".")[0])
            yield site
            return
        with Sandbox(version=mode[:2], **MODES[mode]) as sandbox:
            sandbox.seed("Currency", [{"name": "USD", "currency_name": "USD"}])
            sandbox.seed("Company", [{"name": "Bench Co", "company_name": "Bench Co", "default_currency": "USD"}])
            sandbox.seed("Item Group", [{"name": "Products", "item_group_name": "Products", "is_group": 0}])
            yield Site(sandbox.url, sandbox.keys, sandbox, http, int(mode[:2]), bulk=mode == "16-bulk")


@pytest.fixture(scope="session", params=[*MODES, *(["site"] if os.environ.get("FRAPPE_URL") else [])])
def shared(request: pytest.FixtureRequest) -> Iterator[Site]:
    """One site for all cases of a mode."""
    with served(request.param) as site:
        yield site


@pytest.fixture
def site(shared: Site) -> Iterator[Site]:
    """The site, which is as it was after the test."""
    yield shared
    shared.clean()
    if shared.sandbox is not None:
        shared.sandbox.faults.clear()


@pytest.fixture
def mark() -> str:
    """A name that nobody else uses."""
    return f"fd-contract-{secrets.token_hex(5)}"


def wait_until(so: Callable[[], bool], seconds: float = 120.0) -> bool:
    """Whether `so` came true in time: for what a site's background worker does."""
    end = time.monotonic() + seconds
    while not (found := so()) and time.monotonic() < end:
        time.sleep(0.05)
    return found


@contextlib.contextmanager
def client_of(site: Site, user: str, pair: tuple[str, str] | None = None) -> Iterator[daemon_site.Site]:
    """The daemon's own client, built as daemon.app builds it, with the key of `user` or another."""
    if user not in site.keys:
        pytest.skip(f"needs the API key of {user}")
    clock = SystemClock(threading.Event())
    key, secret = pair or site.keys[user]
    transport = Transport(
        site.url, key=key, secret=secret, limiter=Limiter(4, clock.monotonic), tls=False,  # type: ignore[arg-type]
        retry=Retry(attempts=3, total=60), clock=clock, note=lambda *_, **__: None,
    )  # fmt: skip
    with daemon_site.Site(transport) as client:
        yield client


@pytest.fixture
def client(site: Site) -> Iterator[daemon_site.Site]:
    """As the System Manager."""
    with client_of(site, MANAGER) as client:
        yield client


@pytest.fixture
def admin(site: Site) -> Iterator[daemon_site.Site]:
    """As Administrator."""
    with client_of(site, ADMINISTRATOR) as client:
        yield client
