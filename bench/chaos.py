"""`make chaos`: all five kinds at once while replies are lost, connections cut, answers late and out of order, and
transactions rolled back; the service and runs by hand beside it are killed with SIGKILL every few seconds. Then it is
quiet, and the books must balance: every document, mail, link and row is accounted for, once.

Ends with 1 where a book does not balance. The seed decides what happens; when it happens, the machine.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console
from rich.table import Table

from daemon.sandbox import Fault, Sandbox, demo, documents
from daemon.sandbox.orders import Orders
from daemon.sandbox.site import FrappeSite

CONFIG = """
[site]
url = "{site}"
api_key = {{ env = "KEY" }}
api_secret = {{ env = "SECRET" }}
retry = {{ attempts = 3, total = "10s" }}
[state]
path = "state.db"

[jobs.logs]
kind = "cleanup"
schedule = "every 1m"
[[jobs.logs.rules]]
doctype = "Error Log"
older_than = "30d"
strategy = "rows"
archive = "archive"

[jobs.files]
kind = "import"
schedule = "every 1m"
inbox = "inbox"
quiet = "0s"
doctype = "ToDo"

[jobs.readers]
kind = "digest"
schedule = "every 1m"
period = "last day"
users = [["enabled", "=", 1], ["name", "like", "reader%"]]
[[jobs.readers.metrics]]
label = "Tasks"
doctype = "ToDo"

[jobs.licenses]
kind = "expiry"
schedule = "every 1m"
[[jobs.licenses.rules]]
doctype = "License"
date_field = "valid_till"
days_before = [30, 7]
notify = "assigned_to"

[jobs.orders]
kind = "sync"
schedule = {{ pull = "every 1m", push = "every 1m" }}
max_change = 100
give_up = 100
[jobs.orders.site]
doctype = "Sales Order"
filters = [["docstatus", "=", 1]]
id_field = "custom_external_id"
pending_field = "custom_external_sync_pending"
[jobs.orders.api]
url = "{api}"
auth = {{ bearer = {{ env = "TOKEN" }} }}
retry = {{ attempts = 2, total = "10s" }}
[jobs.orders.api.list]
path = "/orders"
records = "data"
since = "updated_since"
paging = {{ style = "page", length = "per_page", pages = "pages", by_stamp = true }}
[jobs.orders.api.record]
stamp = "updated_at"
version = "version"
read = "GET /orders/{{id}}"
create = "POST /orders"
update = "PATCH /orders/{{id}}"
delete = "DELETE /orders/{{id}}"
find = {{ key = "order_id", params = {{ order_id = "{{key}}" }} }}
idempotent = true
[[jobs.orders.fields]]
site = "name"
remote = "order_id"
flow = "push"
[[jobs.orders.fields]]
site = "customer"
remote = "customer"
[[jobs.orders.fields]]
site = "po_no"
remote = "note"
[[jobs.orders.fields]]
site = "items"
remote = "items"
key = "item_code"
rows = [
    {{ site = "item_code", remote = "sku" }}, {{ site = "qty", remote = "qty" }}, {{ site = "rate", remote = "rate" }}
]
"""
JOBS = ("logs", "files", "readers", "licenses", "orders.pull", "orders.push")
PEOPLE = ("owner1@example.com", "owner2@example.com", "owner3@example.com")
ROWS = 25
"""Of each file."""
ROUNDS = 12
"""Runs of each job, at the most, that may pass until nothing is left to do once it is quiet."""


@dataclass(frozen=True, slots=True)
class Book:
    """One account: what there should be, and what there is."""

    what: str
    wanted: int
    found: int
    missing: int = 0
    twice: int = 0
    note: str = ""

    @property
    def balances(self) -> bool:
        return self.wanted == self.found and not self.missing and not self.twice

    @classmethod
    def of(cls, what: str, wanted: Iterable[Any], found: Iterable[Any], note: str = "") -> Book:
        expected, there = Counter(list(wanted)), Counter(list(found))
        missing, twice = (expected - there).total(), (there - expected).total()
        return cls(what, expected.total(), there.total(), missing, twice, note)


class World:
    """Both sites, and the people who work with them."""

    def __init__(self, site: Sandbox, api: Orders, folder: Path, rng: random.Random) -> None:
        self.site, self.api, self.folder, self.rng = site, api, folder, rng
        self.number = 0
        self.old, self.young = 0, 0
        self.rows: list[str] = []
        self.readers: list[str] = []
        self.licenses: list[tuple[str, str]] = []
        site.add_doctype(demo.LICENSE)
        site.seed("User", [self._user(name) for name in PEOPLE])
        site.seed("Customer", [{"name": name, "customer_name": name} for name in ("Acme", "Beta")])
        site.seed("Item", [{"name": code, "item_code": code} for code in "ABC"])
        (folder / "inbox").mkdir()

    @staticmethod
    def _user(name: str) -> dict[str, Any]:
        return {"name": name, "email": name, "full_name": name.partition("@")[0], "enabled": 1, "language": "en",
                "user_type": "System User", "time_zone": "America/New_York"}  # fmt: skip

    def work(self) -> None:
        """Somebody does something."""
        self.number += 1
        acts: tuple[Callable[[], None], ...] = (
            self._errors, self._file, self._reader, self._license, self._order_here, self._order_there,
            self._edit_here, self._edit_there,
        )  # fmt: skip
        self.rng.choice(acts)()

    def _errors(self) -> None:
        now = datetime.fromisoformat(self.site.site.now())
        ages = [self.rng.choice((1, 40)) for _ in range(self.rng.randint(1, 60))]
        self.site.seed(
            "Error Log", ({"creation": str(now - timedelta(days=age)), "method": f"{age} days"} for age in ages)
        )
        self.old, self.young = self.old + ages.count(40), self.young + ages.count(1)

    def _file(self) -> None:
        rows = [f"task {self.number}-{row}" for row in range(ROWS)]
        path = self.folder / "inbox" / f"tasks-{self.number}.csv"
        with path.with_suffix(".part").open("w", newline="") as file:
            csv.writer(file).writerows([["description"], *([row] for row in rows)])
        path.with_suffix(".part").rename(path)
        self.rows += rows

    def _reader(self) -> None:
        name = f"reader{self.number}@example.com"
        self.site.seed("User", [self._user(name)])
        self.readers.append(name)

    def _license(self) -> None:
        day = datetime.fromisoformat(self.site.site.now()).date() + timedelta(days=self.rng.choice((3, 20, 90)))
        name, owner = f"License {self.number}", self.rng.choice(PEOPLE)
        self.site.seed("License", [{"name": name, "valid_till": str(day), "assigned_to": owner}])
        if (day - datetime.fromisoformat(self.site.site.now()).date()).days <= 30:
            self.licenses.append((name, owner))

    def _order_here(self) -> None:
        items = [{"item_code": "A", "qty": 1, "rate": 5}]
        order = {"doctype": "Sales Order", "customer": "Acme", "po_no": f"PO {self.number}", "items": items}
        with self._desk() as site:
            made = documents.insert(site, {**order, "custom_external_sync_pending": 1})
            documents.update(site, "Sales Order", made["name"], {"docstatus": 1})

    @contextmanager
    def _desk(self) -> Iterator[FrappeSite]:
        """The site as a person has it, whom no fault meets."""
        site = self.site.site
        with site.store.lock, site.store.transaction():
            site.user = "Administrator"
            yield site

    def _order_there(self) -> None:
        self.api.add(customer="Beta", note=f"note {self.number}", items=[{"sku": "B", "qty": 2, "rate": 3}])

    def _edit_here(self) -> None:
        if names := [row["name"] for row in self.site.rows("Sales Order", {"docstatus": 1}, ["name"])]:
            with self._desk() as site:
                documents.update(site, "Sales Order", self.rng.choice(names), {"po_no": f"PO {self.number}"})

    def _edit_there(self) -> None:
        if ids := list(self.api.orders):
            self.api.edit(self.rng.choice(ids), note=f"note {self.number}")

    # The network

    def disturb(self) -> None:
        """The next requests of some sort meet something."""
        faults = self.rng.choice((self.site.faults, self.api.faults))
        method = self.rng.choice(("*", "GET", "POST", "PUT", "PATCH"))
        kind = self.rng.choice(("lose_reply", "cut", "latency", "deadlock", "status"))
        faults.add(
            Fault(kind, method, times=self.rng.randint(1, 3), seconds=self.rng.uniform(0.05, 1.0), retry_after=1)
        )

    def quiet(self) -> None:
        self.site.faults.clear()
        self.api.faults.clear()

    # The books

    def books(self, state: Mapping[str, Any]) -> Iterator[Book]:
        logs = Counter(row["method"] for row in self.site.rows("Error Log", None, ["method"]))
        yield Book("Error Logs of 40 days, still there", 0, logs["40 days"], note=f"{self.old:,} were made")
        yield Book("Error Logs of one day", self.young, logs["1 days"])
        archived = self.site.count("Deleted Document", {"deleted_doctype": "Error Log"})
        yield Book("Deleted Documents of Error Logs", self.old, archived)
        tasks = self.site.rows("ToDo", None, ["description"])
        yield Book.of("rows of files, as documents", self.rows, (row["description"] for row in tasks))
        left = [path for path in (self.folder / "inbox").iterdir() if path.is_file()]
        left += list((self.folder / "inbox" / "working").glob("*"))
        yield Book("files that are left in the inbox", 0, len(left))
        digests = [mail for mail in self.site.outbox if mail["recipients"][0].startswith("reader")]
        yield Book.of("digests, by reader", self.readers, (mail["recipients"][0] for mail in digests))
        yield Book.of("notices by mail, by document and person", self.licenses, self._noticed())
        bells = self.site.rows("Notification Log", None, ["document_name", "for_user"])
        yield Book.of("notices on the desk", self.licenses, ((row["document_name"], row["for_user"]) for row in bells))
        yield from self._pairs(state)

    def _noticed(self) -> Iterator[tuple[str, str]]:
        for mail in self.site.outbox:
            to = mail["recipients"][0]
            if to in PEOPLE:
                text = mail["content"] + " "
                yield from (
                    (name, to) for name, _ in self.licenses if f">{name}<" in text.replace("\n", "").replace("  ", "")
                )

    def _pairs(self, state: Mapping[str, Any]) -> Iterator[Book]:
        docs = self.site.rows("Sales Order", None, ["name", "po_no", "custom_external_id"])
        by_id = {row["custom_external_id"]: row for row in docs if row["custom_external_id"]}
        yield Book("orders here without a twin", 0, len(docs) - len(by_id), note=f"{len(docs)} orders")
        yield Book.of("orders there, as documents", self.api.orders, by_id)
        named = [order["order_id"] for order in self.api.orders.values() if order["order_id"]]
        yield Book.of("names of documents there", set(named), named)
        listed = {pair["document"] for pair in state["conflicts"]}
        differing = {
            row["name"]
            for id_, row in by_id.items()
            if id_ in self.api.orders and row["po_no"] != self.api.orders[id_]["note"]
        }
        yield Book(
            "pairs that differ and wait for nobody", 0, len(differing - listed), note=f"{len(listed)} conflicts listed"
        )


class Service:
    """The daemon as systemd would run it, and what kills it."""

    def __init__(self, folder: Path, environ: Mapping[str, str]) -> None:
        self.command = [sys.executable, "-m", "daemon"]
        self.options = ["--config", str(folder / "config.toml")]
        self.environ, self.folder = {**os.environ, **environ}, folder
        self.log = (folder / "log").open("ab")
        self.kills = 0
        self.process = self.start("run")
        self.runs: list[subprocess.Popen[bytes]] = []
        """By hand, beside the service."""

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*self.command, *words, *self.options], env=self.environ, cwd=self.folder, stdout=self.log, stderr=self.log
        )

    def once(self, job: str) -> None:
        self.runs = [run for run in self.runs if run.poll() is None]
        if len(self.runs) < 2:
            self.runs.append(self.start("once", job))

    def kill(self, rng: random.Random) -> None:
        """One of them; what killed the service starts it again, as systemd would."""
        victim = rng.choice([self.process, *(run for run in self.runs if run.poll() is None)])
        victim.kill()
        victim.wait()
        self.kills += 1
        if victim is self.process:
            self.process = self.start("run")

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        for run in self.runs:
            run.wait(120)
        return self.process.wait(120)

    def said(self, *words: str) -> Any:
        """The JSON that a command prints."""
        done = subprocess.run(
            [*self.command, *words, *self.options, "--json"], env=self.environ, cwd=self.folder, stdout=subprocess.PIPE,
            stderr=self.log, check=False,
        )  # fmt: skip
        return json.loads(done.stdout or b"null")


def chaos(seconds: float, seed: int) -> tuple[list[Book], str]:
    """The books once it is quiet again, and what happened."""
    rng = random.Random(seed)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="chaos-")))
        site = stack.enter_context(Sandbox("15", path=folder / "site.db"))
        api = stack.enter_context(Orders())
        world = World(site, api, folder, rng)
        (folder / "config.toml").write_text(CONFIG.format(site=site.url, api=api.url))
        key, secret = site.keys["Administrator"]
        environ = {"KEY": key, "SECRET": secret, "TOKEN": api.token}
        subprocess.run(
            [sys.executable, "-m", "daemon", "setup", "--apply", "--config", str(folder / "config.toml")],
            env={**os.environ, **environ}, check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        service = Service(folder, environ)
        until, next_kill = time.monotonic() + seconds, time.monotonic() + 5
        while time.monotonic() < until:
            world.work()
            if rng.random() < 0.3:
                world.disturb()
            if rng.random() < 0.15:
                service.once(rng.choice(JOBS))
            if time.monotonic() > next_kill:
                service.kill(rng)
                next_kill = time.monotonic() + rng.uniform(0.5, 6)
            time.sleep(rng.uniform(0.05, 0.4))
        world.quiet()
        code = service.stop()
        rounds = _settle(service)
        state = {"conflicts": service.said("conflicts")}
        books = list(world.books(state))
        log = (folder / "log").read_text(errors="replace")
        books.append(Book("tracebacks in the log", 0, log.count("Traceback")))
        requests = len(site.requests) + len(api.requests)
        story = (
            f"{world.number:,} acts of people, {service.kills} kills, {requests:,} requests at least, exit code {code}"
        )
        return books, f"{story}, quiet after {rounds} rounds"


def _settle(service: Service) -> int:
    """Run every job until none finds anything to do; the number of rounds."""
    for number in range(1, ROUNDS + 1):
        service.said("retry", "orders")
        reports = [service.said("once", job) for job in ("logs", "files", "readers", "licenses")]
        reports.append(service.said("sync", "orders", "--full"))
        busy = [
            one
            for one in reports
            if any(one["counts"].get(key) for key in ("done", "failed", "uncertain")) or one["error"]
        ]
        print(
            *(f"{one['job']}: {one['status']} {one['counts']}" for one in busy), sep="; ", file=sys.stderr, flush=True
        )
        if not busy:
            return number
        time.sleep(5)
    return ROUNDS


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    asked = parser.parse_args()
    books, story = chaos(asked.seconds, asked.seed)
    table = Table(
        "Book", "Should be", "Is", "Missing", "Twice", "", title=f"seed {asked.seed}: {story}", title_justify="left"
    )
    for book in books:
        style = "" if book.balances else "bold red"
        table.add_row(
            book.what, f"{book.wanted:,}", f"{book.found:,}", str(book.missing), str(book.twice), book.note, style=style
        )
    Console().print(table)
    sys.exit(not all(book.balances for book in books))


if __name__ == "__main__":
    main()
