"""How a run's end becomes a word, an exit code and JSON."""

from __future__ import annotations

import json

import pytest

from daemon import errors, report
from daemon.core.plan import SAMPLES, Action, Census, Outcome, Result, Tally
from daemon.errors import DaemonError

ACTION = Action("delete", "Error Log", "E1", "older than 30d")


def tally(*results: Result, **facts: object) -> Tally:
    made = Tally("a part", **facts)  # type: ignore[arg-type]
    for result in results:
        made.add(Outcome(ACTION, result, "why", "InUse", "document owner"))
    return made


@pytest.mark.parametrize(
    ("tallies", "error", "status"),
    [
        ([], None, "done"),
        ([tally(Result.DONE, Result.KEPT, Result.PLANNED)], None, "done"),
        ([tally(Result.FAILED)], None, "some failed"),
        ([tally(Result.REFUSED)], None, "some failed"),
        ([tally(Result.UNCERTAIN)], None, "some failed"),
        ([tally(error=errors.NotFound("x"))], None, "failed"),
        ([tally(error=errors.NotFound("x")), tally(Result.DONE)], None, "some failed"),
        ([tally(refused="too many")], None, "refused"),
        ([tally(Result.DONE), tally(refused="too many")], None, "refused"),
        ([tally(Result.FAILED), tally(refused="too many")], None, "some failed"),
        ([tally(Result.DONE)], errors.Stopped("x"), "stopped"),
        ([tally(Result.FAILED)], errors.Stopped("x"), "stopped"),
        ([tally(Result.DONE)], errors.SiteDown("x"), "failed"),
        ([], ValueError("x"), "failed"),
    ],
)
def test_a_run_is_called_by_the_worst_that_it_met(tallies: list[Tally], error: Exception | None, status: str) -> None:
    """What ended it counts before what failed in it, and that before what the guard refused."""
    assert report.status_of(tallies, error) == status


@pytest.mark.parametrize(
    ("status", "error", "code"),
    [
        ("done", None, 0),
        ("some failed", None, 1),
        ("refused", None, 1),
        ("stopped", errors.Stopped("x"), 1),
        ("failed", errors.SiteDown("x"), 75),
        ("failed", errors.CredentialsRefused("x"), 77),
        ("failed", errors.StateError("x"), 78),
        ("failed", ValueError("x"), 1),
    ],
)
def test_the_exit_code_is_that_of_the_error_that_ended_it(status: str, error: Exception | None, code: int) -> None:
    """0 is for a run without blemish alone; a bug of ours is 1."""
    assert report.exit_code(status, error) == code


def test_a_part_says_what_was_counted_done_and_why() -> None:
    """Everything is a JSON value; a sample carries who must act and the reason, or why it was planned."""
    made = tally(Result.FAILED, census=Census(9, 5, 4), error=errors.InUse("linked", exc_type="LinkExistsError"))
    made.add(Outcome(ACTION, Result.PLANNED))
    made.note("a note")
    made.note("a note")
    part = json.loads(json.dumps(report.part_report(made)))
    assert (part["total"], part["found"], part["exact"]) == (9, 5, True)
    assert part["counts"] == {"failed": 1, "planned": 1} and part["errors"] == {"InUse": 1}
    assert part["notes"] == ["a note"] and part["reasons"] == {"older than 30d": 1}
    failed, planned = part["samples"]
    assert (failed["reason"], failed["who"], failed["result"]) == ("why", "document owner", "failed")
    assert planned["reason"] == "older than 30d" and "who" not in planned
    assert part["error"] == {
        "kind": "LinkExistsError",
        "message": "linked",
        "who": "document owner",
        "action": errors.InUse.action,
    }


def test_without_a_census_nothing_is_said_of_counts() -> None:
    """`found` would be a guess."""
    assert not {"total", "found", "exact"} & report.part_report(tally()).keys()


def test_an_unexpected_exception_is_reported_as_ours() -> None:
    """Anything but a DaemonError is a bug, and the programmer's."""
    told = report.error_report(KeyError("k"))
    assert told["who"] == "programmer" and "bug of frappe-daemon: KeyError: 'k'" in told["message"]
    assert not isinstance(KeyError("k"), DaemonError)


def test_totals_add_up_over_parts() -> None:
    """Counts and errors of all parts together, also where a part has none."""
    parts = [report.part_report(one) for one in (tally(Result.FAILED, Result.DONE), tally(), tally(Result.DONE))]
    assert report.totals(parts, "counts") == {"failed": 1, "done": 2}
    assert report.totals(parts, "errors") == {"InUse": 1} and report.totals([], "counts") == {}


def test_a_report_has_a_bounded_size() -> None:
    """A hundred samples, however many failed; the counts are whole."""
    part = report.part_report(tally(*[Result.FAILED] * 1000))
    assert len(part["samples"]) == SAMPLES and part["counts"] == {"failed": 1000}
