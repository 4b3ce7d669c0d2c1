"""Imports: ours against bare httpx at its best and against a frappe-client loop, on the sandbox and on a real site."""

from __future__ import annotations

import csv
import os
import secrets
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx

from bench.baseline import Mended
from bench.figures import Figure
from bench.real import NotReady
from bench.served import Served, config, open_site
from daemon.app import App
from daemon.config import load, one_job
from daemon.runner import Order

FIELDS = ("item_code", "item_name", "item_group", "stock_uom")
WAYS = ((200, 1), (200, 2), (200, 4), (50, 4))
"""Rows of a request, and requests at once, of which bare httpx is given the best."""
IDLE = 'doctype = "Error Log"\nolder_than = "30d"'


def figures(rows: int) -> Iterator[Figure]:
    part = "import, sandbox"
    with Served({"Item Group": (0, 0)}) as site:
        httpx.post(
            f"{site.url}/api/resource/Item Group", json={"item_group_name": "Products"}, headers=_headers(site.key)
        )
        bare = max(_bare(site.url, site.key, _items(rows), *way) for way in WAYS)
        ours, cpu = _ours(site.url, site.key, _items(rows))
        yield Figure(part, f"{rows:,} Items", ours, "rows/s", bare, "bare httpx, insert_many")
        few = _items(rows // 10)
        yield Figure(part, f"{rows:,} Items", ours, "rows/s", _loop(site.url, site.key, few), "frappe-client loop")
        yield Figure(part, "own cost of a row", cpu, "ms CPU", wanted="at most 0.25")
        bad, _ = _ours(site.url, site.key, _items(rows, bad=100), failed=rows // 100)
        yield Figure(part, "1 % bad rows", bad, "rows/s", ours, "none", wanted="ratio at least 0.7")


def real(rows: int, rounds: int, environ: Mapping[str, str] = os.environ) -> Iterator[Figure]:
    """Makes Items of the group Products and deletes them again. Raises NotReady."""
    try:
        url, key = environ["FRAPPE_URL"], (environ["FRAPPE_API_KEY"], environ["FRAPPE_API_SECRET"])
    except KeyError as missing:
        raise NotReady(f"real site: left out, since {missing.args[0]} is not set") from None
    if not rows:
        raise NotReady("imports on the real site: left out; --real-items 2000 makes so many Items and deletes them")
    with open_site(url, *key) as site:
        part, made = f"import, Frappe {site.dialect.version}", []
        best: dict[str, list[float]] = {"ours": [], "bare": []}
        for _ in range(rounds):
            for name in best:
                made.append(items := _items(rows))
                rate = _ours(url, key, items)[0] if name == "ours" else _bare(url, key, items, 200, 2)
                best[name].append(rate)
                print(f"  {name}: {rate:.1f} rows/s", file=sys.stderr, flush=True)
        ours, bare = (sum(rates) / rounds for rates in best.values())
        yield Figure(part, f"{rows:,} Items, mean of {rounds}", ours, "rows/s", bare, "bare httpx, 200 x 2")
        for items in made:
            names = [item["item_code"] for item in items]
            for start in range(0, len(names), 500):
                site.remove("Item", names[start : start + 500], [], lambda function, batch: map(function, batch))


def _items(number: int, bad: int = 0) -> list[dict[str, str]]:
    """`bad`: each that many-th row belongs to a group that is not there."""
    mark = secrets.token_hex(4)
    groups = ["Nonsense" if bad and n % bad == 0 else "Products" for n in range(number)]
    return [
        dict(zip(FIELDS, (f"{mark}-{n:06d}", f"Widget {n}", group, "Nos"), strict=True))
        for n, group in enumerate(groups)
    ]


def _headers(key: tuple[str, str]) -> dict[str, str]:
    return {"Authorization": f"token {key[0]}:{key[1]}"}


def _bare(url: str, key: tuple[str, str], items: Sequence[Mapping[str, str]], size: int, at_once: int) -> float:
    with httpx.Client(base_url=url, headers=_headers(key), timeout=300) as client, ThreadPoolExecutor(at_once) as pool:

        def post(start: int) -> None:
            docs = [{"doctype": "Item", **item} for item in items[start : start + size]]
            client.post("/api/method/frappe.client.insert_many", json={"docs": docs}).raise_for_status()

        begun = time.perf_counter()
        list(pool.map(post, range(0, len(items), size)))
        return len(items) / (time.perf_counter() - begun)


def _loop(url: str, key: tuple[str, str], items: Sequence[Mapping[str, str]]) -> float:
    with Mended(url, *key) as client:
        begun = time.perf_counter()
        for item in items:
            client.session.post(f"{url}/api/resource/Item", json=dict(item), headers=client.headers).raise_for_status()
        return len(items) / (time.perf_counter() - begun)


def _ours(url: str, key: tuple[str, str], items: Sequence[Mapping[str, str]], failed: int = 0) -> tuple[float, float]:
    """(rows a second, CPU milliseconds a row) of one import in this process, reading and result files included."""
    with tempfile.TemporaryDirectory(prefix="frappe-daemon-bench-") as folder:
        file = Path(folder, "items.csv")
        with file.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, FIELDS)
            writer.writeheader()
            writer.writerows(items)
        environ = {"FRAPPE_API_KEY": key[0], "FRAPPE_API_SECRET": key[1]}
        app = App(load(config(url, Path(folder), IDLE), environ), log_level="error")
        job = one_job("import Item", "import", {"doctype": "Item", "file": str(file), "timeout": "1d"})
        try:
            begun, used = time.perf_counter(), time.process_time()
            found: dict[str, Any] = app.runner.run(Order(job, app.new_run_id(), "by hand"))
            seconds, cpu = time.perf_counter() - begun, time.process_time() - used
        finally:
            app.close()
        if found["counts"].get("done") != len(items) - failed:
            raise RuntimeError(f"the import did not do what it should: {found}")
        return len(items) / seconds, 1000 * cpu / len(items)
