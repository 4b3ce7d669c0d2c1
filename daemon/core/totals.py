"""What runs add up to since a service was first started: the counters behind /metrics. Reads and writes nothing.

JSON values, so that they can be kept in the state and go on after a restart: a counter that went back a little would be
taken for one that began anew, and counted twice (Prometheus' `rate` and `increase`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

STATUSES = ("done", "some failed", "failed", "refused", "stopped", "interrupted")
OUTCOMES = ("done", "kept", "failed", "refused", "uncertain")
BOUNDS = (1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0)
"""Upper bounds of the buckets of durations, in seconds; above them is one more."""

Totals = dict[str, dict[str, Any]]


def absorb(totals: Totals, report: Mapping[str, Any]) -> Totals:
    """`totals` with one more run: a new value. Dry runs count as nothing done, and so not at all."""
    if report.get("dry_run"):
        return totals
    job = str(report["job"])
    found = {name: dict(values) for name, values in totals.items()}
    _add(found, "runs", f"{job}|{report['status']}", 1)
    for outcome, number in (report.get("counts") or {}).items():
        if outcome in OUTCOMES:
            _add(found, "items", f"{job}|{outcome}", number)
    for side, prefix in (("site", ""), ("remote", "remote_")):
        for status, number in (report.get(f"{prefix}replies") or {}).items():
            _add(found, "requests", f"{side}|{_status(status)}", number)
        _add(found, "retries", side, report.get(f"{prefix}retries") or 0)
    if "seconds" not in report:  # nobody knows how long a run took that was killed
        return found
    seconds = float(report["seconds"])
    known = found.setdefault("seconds", {}).get(job) or {"counts": [0] * (len(BOUNDS) + 1), "sum": 0.0}
    place = next((place for place, bound in enumerate(BOUNDS) if seconds <= bound), len(BOUNDS))
    counts = [number + (place == number_of) for number_of, number in enumerate(known["counts"])]
    found["seconds"][job] = {"counts": counts, "sum": known["sum"] + max(0.0, seconds)}
    return found


def _add(totals: Totals, name: str, key: str, number: int) -> None:
    values = totals.setdefault(name, {})
    values[key] = values.get(key, 0) + number


def _status(said: str) -> str:
    """An HTTP status as it is; whatever else became of a request is one word, so that labels stay few."""
    return said if len(said) == 3 and said.isdigit() else "no_reply"


def of_jobs(totals: Totals, jobs: Any) -> Totals:
    """Those of jobs that there are: series of others would stay for ever."""
    known = set(jobs)
    return {
        name: values
        if name in ("requests", "retries")
        else {k: v for k, v in values.items() if k.split("|")[0] in known}
        for name, values in totals.items()
    }
