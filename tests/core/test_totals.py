"""Counters of a service: they add up, only ever grow, and go on after a restart."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from daemon.core.totals import BOUNDS, OUTCOMES, STATUSES, absorb, of_jobs

REPORTS = st.builds(
    lambda job, status, seconds, counts, replies, dry: {
        "job": job, "status": status, "seconds": seconds, "counts": counts, "replies": replies, "retries": 1,
        "remote_replies": replies, "dry_run": dry,
    },
    st.sampled_from(["a", "b"]), st.sampled_from(STATUSES), st.floats(0, 20000),
    st.dictionaries(st.sampled_from(OUTCOMES), st.integers(0, 99)),
    st.dictionaries(st.sampled_from(["200", "503", "ConnectError", "ReadTimeout"]), st.integers(0, 9)), st.booleans(),
)  # fmt: skip


def numbers(value) -> list[float]:
    """All that is counted, in a fixed order."""
    if isinstance(value, dict):
        return [number for key in sorted(value) for number in numbers(value[key])]
    return [number for item in value for number in numbers(item)] if isinstance(value, list) else [value]


@given(st.lists(REPORTS))
def test_counters_add_up_and_never_fall(reports):
    """Whatever runs there are: each counts once, a dry run not at all; keeping them as JSON changes nothing."""
    totals = {}
    for report in reports:
        before = totals
        totals = json.loads(json.dumps(absorb(totals, report)))
        for name, values in before.items():
            for key, value in values.items():
                assert all(a <= b for a, b in zip(numbers(value), numbers(totals[name][key]), strict=True))
    real = [report for report in reports if not report["dry_run"]]
    assert sum(totals.get("runs", {}).values()) == len(real)
    assert sum(sum(one["counts"]) for one in totals.get("seconds", {}).values()) == len(real)
    assert sum(totals.get("items", {}).values()) == sum(sum(report["counts"].values()) for report in real)
    assert set(totals.get("requests", {})) <= {
        f"{side}|{s}" for side in ("site", "remote") for s in ("200", "503", "no_reply")
    }


def test_a_run_that_was_killed_counts_and_has_no_length():
    """Nobody knows how long it took."""
    totals = absorb({}, {"job": "a", "status": "interrupted"})
    assert totals["runs"] == {"a|interrupted": 1} and "seconds" not in totals


def test_a_bound_belongs_to_its_bucket():
    """Prometheus' `le` is "less or equal"."""
    totals = absorb({}, {"job": "a", "status": "done", "seconds": BOUNDS[1]})
    assert totals["seconds"]["a"]["counts"] == [0, 1, *[0] * (len(BOUNDS) - 1)]


def test_jobs_that_are_gone_leave_no_series():
    """The series of requests are nobody's; those of a removed job end."""
    totals = absorb(absorb({}, {"job": "a", "status": "done", "seconds": 1, "replies": {"200": 1}}),
                    {"job": "b", "status": "done", "seconds": 1})  # fmt: skip
    found = of_jobs(totals, ["b"])
    assert set(found["runs"]) == {"b|done"} and set(found["seconds"]) == {"b"} and found["requests"] == {"site|200": 1}
