"""A sync of a hundred thousand pairs of which one in a hundred changed; minutes, so `make test-long` alone runs it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from daemon.core.links import Link, Status
from daemon.core.reconcile import base_of
from daemon.sandbox import Sandbox
from daemon.sandbox.orders import Orders, stamp
from daemon.state import State
from daemon.state.links import Links

pytestmark = pytest.mark.long

PAIRS, EVERY = 100_000, 100
CONFIG = """
[site]
url = "{site}"
api_key = {{ env = "KEY" }}
api_secret = {{ env = "SECRET" }}
[state]
path = "state.db"
[jobs.orders]
kind = "sync"
schedule = "hourly"
[jobs.orders.site]
doctype = "Ticket"
id_field = "remote_id"
[jobs.orders.api]
url = "{api}"
auth = {{ bearer = {{ env = "TOKEN" }} }}
[jobs.orders.api.list]
path = "/orders"
records = "data"
since = "updated_since"
paging = {{ style = "page", length = "per_page", pages = "pages", by_stamp = true }}
[jobs.orders.api.record]
stamp = "updated_at"
version = "version"
if_match = true
read = "GET /orders/{{id}}"
create = "POST /orders"
update = "PATCH /orders/{{id}}"
[[jobs.orders.fields]]
site = "customer"
remote = "customer"
[[jobs.orders.fields]]
site = "note"
remote = "note"
"""
TICKET = {"name": "Ticket", "autoname": "hash", "permissions": [], "fields": [
    {"fieldname": "customer", "fieldtype": "Data"}, {"fieldname": "note", "fieldtype": "Data"},
    {"fieldname": "remote_id", "fieldtype": "Data", "unique": 1}]}  # fmt: skip


def test_what_changed_is_read_and_nothing_else(tmp_path):
    """1,000 records and 1,000 documents of 100,000 pairs: a perfect client's requests and at most a third more, and
    no more memory than a few pages take."""
    old = datetime.now(UTC) - timedelta(days=2)
    with Sandbox("15", path=tmp_path / "site.db") as site, Orders() as api:
        site.add_doctype(TICKET)
        when = stamp(old)
        names = [f"t{number:06d}" for number in range(PAIRS)]
        for number in range(PAIRS):
            order: dict[str, Any] = {"order_id": None, "customer": customer(number), "status": "new", "total": 1}
            order |= {"note": "x", "items": [{"sku": "A", "qty": 1, "rate": 1}]}
            api.orders[f"o{number}"] = {**order, "id": f"o{number}", "updated_at": when, "version": 1}
        naive = site.site.now()[:19].replace(site.site.now()[:10], str(old.date()))
        site.seed("Ticket", ({"name": name, "creation": naive, "modified": naive, "customer": customer(n), "note": "x",
                              "remote_id": f"o{n}"} for n, name in enumerate(names)))  # fmt: skip
        (row,) = site.rows("Ticket", {"name": names[0]}, ["creation", "modified"])
        with State.open(tmp_path / "state.db") as state:
            links = Links(state, "sync orders")
            links.save(_link(n, name, row, old.isoformat()) for n, name in enumerate(names))
            now, hour = datetime.now(UTC), timedelta(hours=1)
            local = (now - hour).astimezone(site.site.zone).strftime("%Y-%m-%d %H:%M:%S")
            known = {"cursor remote": (now - hour).isoformat(), "cursor site": local}
            known |= {"full remote": now.isoformat(), "full site": now.isoformat()}
            state.remember_all("sync orders", known)
        for number in range(0, PAIRS, EVERY):
            api.edit(f"o{number}", note="theirs")
            site.set("Ticket", names[number + 50], note="ours", modified=site.site.now())
        (tmp_path / "config.toml").write_text(CONFIG.format(site=site.url, api=api.url))
        key, secret = site.keys["Administrator"]
        environ = {**os.environ, "KEY": key, "SECRET": secret, "TOKEN": api.token}
        api.requests.clear()
        program = "import atexit, sys; from daemon.cli import main; from pathlib import Path; "
        program += "atexit.register(lambda: print(Path('/proc/self/status').read_text(), file=sys.stderr)); main()"
        command = [sys.executable, "-c", program, "sync", "orders", "--config", str(tmp_path / "config.toml"), "--json"]
        done = subprocess.run(command, env=environ, check=False, capture_output=True, text=True)
        found = json.loads(done.stdout)
        memory = int(re.findall(r"VmHWM:\s+(\d+) kB", done.stderr)[-1]) // 1024
        changed = PAIRS // EVERY
        assert found["status"] == "done" and found["counts"] == {"done": 2 * changed}, found
        assert all(api.orders[f"o{n + 50}"]["note"] == "ours" for n in range(0, PAIRS, EVERY))
        assert site.count("Ticket", {"note": "theirs"}) == changed
        perfect = 2 * changed + changed // 100 + changed // 500 + 2 * changed // 200
        sent = found["requests"] + found["remote_requests"]
        print(f"{sent} requests, a perfect client {perfect}; {memory} MB; {found['seconds']} s")
        assert sent <= 1.3 * perfect and memory < 150


def customer(number: int) -> str:
    return f"C{number % 97}"


def _link(number: int, name: str, row: dict[str, str], when: str) -> Link:
    flat = {"customer": customer(number), "note": "x"}
    stamps = {"creation": row["creation"], "stamp": row["modified"], "remote_stamp": when}
    return Link(name=name, remote=f"o{number}", status=Status.LINKED, base=base_of(flat, flat), etag='"1"', **stamps)
