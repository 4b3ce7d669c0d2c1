"""The overview and the totals as Prometheus wants them (text format 0.0.4). Reads and writes nothing.

Labels are jobs of the configuration, outcomes, statuses and the two sides, all few; nothing of documents or addresses.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)

from daemon.core.totals import BOUNDS, OUTCOMES, STATUSES, Totals

PREFIX = "frappe_daemon"
TYPE = "text/plain; version=0.0.4; charset=utf-8"


def written(view: Mapping[str, Any], totals: Totals, concurrency: tuple[int, int], started: datetime) -> bytes:
    """The whole page. `concurrency`: how many requests may be under way now, and at the most."""
    registry = CollectorRegistry()
    registry.register(_Families([*_of_service(view, concurrency, started), *_of_jobs(view), *_counted(view, totals)]))
    ProcessCollector(registry=registry)
    return generate_latest(registry)


class _Families:
    def __init__(self, found: list[Metric]) -> None:
        self._found = found

    def collect(self) -> Iterable[Metric]:
        return self._found


def _gauge(name: str, said: str, values: Iterable[tuple[Mapping[str, str], float]]) -> GaugeMetricFamily:
    """Label values are those of the first row; a family without rows is one without samples."""
    rows = list(values)
    family = GaugeMetricFamily(f"{PREFIX}_{name}", said, labels=list(rows[0][0]) if rows else ["job"])
    for labels, value in rows:
        family.add_metric(list(labels.values()), value)
    return family


def _of_service(view: Mapping[str, Any], concurrency: tuple[int, int], started: datetime) -> Iterator[Metric]:
    site = view["site"]
    info = InfoMetricFamily(f"{PREFIX}_build", "Which daemon this is.")
    info.add_metric([], {"version": view["version"], "python": platform.python_version()})
    yield info
    yield _gauge("start_time_seconds", "When this service was started.", [({}, started.timestamp())])
    if site["up"] is not None:
        yield _gauge("site_up", "Whether the site answered the last run that asked it.", [({}, float(site["up"]))])
    if site["contact"]:
        said = "When the site last answered a run."
        yield _gauge("site_last_contact_timestamp_seconds", said, [({}, _stamp(site["contact"]))])
    limit, ceiling = concurrency
    yield _gauge("concurrency_limit", "Requests that may be under way at the site now.", [({}, limit)])
    yield _gauge("concurrency_limit_max", "Requests that may be under way at the most.", [({}, ceiling)])


def _of_jobs(view: Mapping[str, Any]) -> Iterator[Metric]:
    jobs = view["jobs"]
    each = [({"job": job["name"]}, job) for job in jobs]
    facts: dict[str, tuple[str, Callable[[Any], Any]]] = {
        "job_running": ("Whether a run is under way.", lambda job: bool(job["running"])),
        "job_lag_seconds": ("How late the oldest slot is that was not dealt with.", lambda job: job["lag_seconds"]),
        "job_consecutive_failures": ("Runs that failed since the last success.", lambda job: job["failures"]),
        "job_alerting": ("Whether somebody has been told of a failure.", lambda job: bool(job["alert"])),
    }
    for name, (said, value) in facts.items():
        yield _gauge(name, said, [(labels, float(value(job))) for labels, job in each])
    moments: dict[str, tuple[str, Callable[[Any], Any]]] = {
        "job_last_success_timestamp_seconds": ("When the last success ended.", lambda job: job["last_success"]),
        "job_last_run_timestamp_seconds": ("When the last run ended.", lambda job: (job["last"] or {}).get("ended")),
        "job_next_run_timestamp_seconds": ("The next slot.", lambda job: (job["next"] or {}).get("at")),
    }
    for name, (said, value) in moments.items():
        yield _gauge(name, said, [(labels, _stamp(value(job))) for labels, job in each if value(job)])


def _counted(view: Mapping[str, Any], totals: Totals) -> Iterator[Metric]:
    """Every series from the first scrape on, zeros too: an increase from nothing is none."""
    names = [job["name"] for job in view["jobs"]]
    yield _counter("runs", "Runs, by how they ended.", ("job", "status"), _all(totals, "runs", names, STATUSES))
    said = "Documents, rows, mails and the like, by what became of them."
    yield _counter("items", said, ("job", "outcome"), _all(totals, "items", names, OUTCOMES))
    requests = {"site|200": 0, **totals.get("requests", {})}
    yield _counter("requests", "Requests, by the side asked and HTTP status.", ("side", "status"), requests)
    retries = {"site": 0, **totals.get("retries", {})}
    yield _counter("request_retries", "Requests that were sent again.", ("side",), retries)
    family = HistogramMetricFamily(f"{PREFIX}_run_duration_seconds", "How long runs took.", labels=["job"])
    for name in names:
        known = totals.get("seconds", {}).get(name) or {"counts": [0] * (len(BOUNDS) + 1), "sum": 0.0}
        buckets, below = [], 0
        for bound, number in zip((*map(str, BOUNDS), "+Inf"), known["counts"], strict=True):
            below += number
            buckets.append((bound, below))
        family.add_metric([name], buckets, known["sum"])
    yield family


def _all(totals: Totals, name: str, jobs: Iterable[str], words: Iterable[str]) -> dict[str, int]:
    return {f"{job}|{word}": totals.get(name, {}).get(f"{job}|{word}", 0) for job in jobs for word in words}


def _counter(name: str, said: str, labels: tuple[str, ...], values: Mapping[str, int]) -> CounterMetricFamily:
    family = CounterMetricFamily(f"{PREFIX}_{name}", said, labels=labels)
    for key, number in sorted(values.items()):
        family.add_metric([part.replace(" ", "_") for part in key.split("|")], number)
    return family


def _stamp(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()
