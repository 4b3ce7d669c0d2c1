"""Clean-ups against the sandbox: row by row, by frappe-client, and by the site itself."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.baseline import Mended, delete_rows
from bench.figures import Figure
from bench.served import RULE_DAYS, Served, config
from daemon.app import App
from daemon.config import load
from daemon.runner import Order

DOCTYPE, YOUNG, PAGE = "Error Log", 500, 1000
"""PAGE: the length of ours, for the baseline too."""
PART = "clean-up, sandbox"


def figures(rows: int) -> Iterator[Figure]:
    by_rows = _ours(rows, "rows")
    baseline = _baseline(rows)
    yield Figure(PART, f"{rows:,} rows, row by row", by_rows, "rows/s", baseline, "frappe-client loop")
    server_side = _ours(rows, "log_settings")
    yield Figure(PART, f"{rows:,} rows, by the site itself", server_side, "rows/s", by_rows, "row by row")


def _ours(rows: int, strategy: str) -> float:
    with Served({DOCTYPE: (rows, YOUNG)}) as site:
        key, secret = site.key
        rule = f'doctype = "{DOCTYPE}"\nolder_than = "{RULE_DAYS}d"\nstrategy = "{strategy}"'
        found, seconds = run(site.url, key, secret, rule)
        if found["counts"].get("done") != rows or site.count(DOCTYPE) != YOUNG:
            raise RuntimeError(f"the clean-up did not do what it should: {found}")
        return rows / seconds


def run(url: str, key: str, secret: str, rule: str) -> tuple[dict[str, Any], float]:
    """(report, seconds) of one clean-up in this process."""
    with tempfile.TemporaryDirectory(prefix="frappe-daemon-bench-") as folder:
        environ = {"FRAPPE_API_KEY": key, "FRAPPE_API_SECRET": secret}
        app = App(load(config(url, Path(folder), rule), environ), log_level="error")
        try:
            begun = time.perf_counter()
            found = app.runner.run(Order(app.job("job"), app.new_run_id(), "by hand"))
            return found, time.perf_counter() - begun
        finally:
            app.close()


def _baseline(rows: int) -> float:
    with Served({DOCTYPE: (rows, YOUNG)}) as site, Mended(site.url, *site.key) as client:
        with site.site() as ours:
            oldest = ours.get_list(DOCTYPE, ["creation"], None, rows, 1, "creation asc")[0]["creation"]
        begun = time.perf_counter()
        done = delete_rows(client, DOCTYPE, [["creation", "<", oldest]], rows, PAGE)
        seconds = time.perf_counter() - begun
        if done != rows or site.count(DOCTYPE) != YOUNG:
            raise RuntimeError(f"the loop did not do what it should: {done} of {rows}")
        return rows / seconds
