"""Clean-ups on a real site, where FRAPPE_URL, FRAPPE_API_KEY and FRAPPE_API_SECRET are set.

Takes only rows that match the rule named on the command line (DocType and age), and as many as were named, oldest
first; the clean-up by the site itself then takes all that are left of them, and with them what the site's other
retentions name, as every night.
"""

from __future__ import annotations

import os
import re
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta

from bench.baseline import Mended, delete_rows
from bench.cleanups import PAGE, run
from bench.figures import Figure
from bench.served import open_site
from daemon import errors
from daemon.site.client import Site

WORKER_PATIENCE = 900
"""Seconds for the site's worker to work off what the deletes before left in its queue."""


class NotReady(Exception):
    """What is missing for this part, as a sentence."""


def figures(
    doctype: str, days: int, rows: int, rounds: int, environ: Mapping[str, str] = os.environ
) -> Iterator[Figure]:
    """Raises NotReady."""
    try:
        url, key, secret = (environ[f"FRAPPE_{name}"] for name in ("URL", "API_KEY", "API_SECRET"))
    except KeyError as missing:
        raise NotReady(f"real site: left out, since {missing.args[0]} is not set") from None
    with open_site(url, key, secret) as site, Mended(url.rstrip("/"), key, secret) as client:
        part = f"clean-up, Frappe {site.dialect.version}"
        old = [["creation", "<", site.text(datetime.now(UTC) - timedelta(days=days))]]
        rule = f'doctype = "{doctype}"\nolder_than = "{days}d"\n'
        some = max(1, rows // 4)
        inprocess = environ.get("FRAPPE_INPROCESS", "")
        _look(site, doctype, old, days, rounds * (rows + some) + rows, inprocess)

        def by_client() -> float:
            begun = time.perf_counter()
            return delete_rows(client, doctype, old, some, PAGE) / (time.perf_counter() - begun)

        def by_rows() -> float:
            found, seconds = run(url, key, secret, f'{rule}limit = {rows}\nstrategy = "rows"')
            return _done(found) / seconds

        ways = {"client": by_client, "rows": by_rows}
        if inprocess:
            ways["server"] = lambda: _in_process(inprocess)
        rates = _in_turns(site, ways, rounds)
        what = f"{rows:,} rows, row by row, median of {rounds}"
        yield Figure(part, what, rates["rows"], "rows/s", rates["client"], "frappe-client loop")
        if inprocess:
            yield Figure(part, what, rates["rows"], "rows/s", rates["server"], "loop on the server")
        _settle(site)
        found, seconds = run(url, key, secret, f'{rule}strategy = "log_settings"')
        by_site, what = _done(found) / seconds, f"{_done(found):,} rows, by the site itself"
        yield Figure(part, what, by_site, "rows/s", rates["rows"], "row by row")
        if inprocess:
            yield Figure(part, what, by_site, "rows/s", rates["server"], "loop on the server")


def _in_turns(site: Site, ways: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """Medians. In turns, so that what else the machine does falls on all alike."""
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, measure in ways.items():
            _settle(site)
            rates[name].append(measure())
            print(f"  {name}: {rates[name][-1]:.1f} rows/s", file=sys.stderr, flush=True)
    return {name: statistics.median(found) for name, found in rates.items()}


def _done(found: dict) -> int:
    if found["status"] != "done":
        raise NotReady(f"real site: a clean-up ended with {found['status']}: {found['error'] or found['parts']}")
    return int(found["counts"].get("done", 0))


def _look(site: Site, doctype: str, old: list, days: int, needed: int, inprocess: str) -> None:
    there = site.count(doctype, old)
    if there < needed:
        more = " besides those that FRAPPE_INPROCESS deletes" if inprocess else ""
        raise NotReady(
            f"real site: left out, since {site.url} holds {there:,} rows of {doctype} older than {days} days and "
            f"{needed:,} are needed{more}; seed them first, or name others by --real-doctype, --real-days, --real-rows"
        )


def _in_process(command: str) -> float:
    """Rows a second, which the command prints as "… = 123 rows/s"."""
    said = subprocess.run(shlex.split(command), stdout=subprocess.PIPE, text=True, check=True).stdout
    match = re.search(r"([\d.]+) rows/s", said)
    if not match or re.search(r"errors [1-9]", said):
        raise NotReady(f'real site: FRAPPE_INPROCESS should print "123 rows/s" and no errors, but printed {said!r}')
    return float(match[1])


def _settle(site: Site) -> None:
    """Wait until the site's worker has done the jobs that each delete leaves: they are a load, and fill the queue."""
    end = time.monotonic() + WORKER_PATIENCE
    while time.monotonic() < end and _waiting(site):
        time.sleep(2)


def _waiting(site: Site) -> bool:
    """RQ Job rows cannot be counted on version 15, nor listed by pages on 16 (both end in an error there)."""
    asked = {"doctype": "RQ Job", "fields": ["name"], "filters": [["RQ Job", "status", "=", "queued"]]}
    try:
        return bool(site.get_api("frappe.client.get_list", {**asked, "order_by": "creation desc"}))
    except errors.SiteError:
        return False
