"""The view of a daemon: what each job's state is, what is told of it, and that every drawing of it is the same."""

from __future__ import annotations

import html
import io
import json
import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from daemon.overview import Facts, length, overview, relative
from daemon.rendering.status import page
from daemon.report import trouble
from daemon.screen import Overview
from daemon.state.records import SlotMark
from tests.views import NOW, ZONE, busy, cases, day_by_day, facts, job, report, run

HOUR = timedelta(hours=1)


def drawn(view: dict, width: int) -> str:
    """What a terminal of so many columns shows."""
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(Overview(view))
    return console.file.getvalue()


def only(found: Facts) -> dict:
    (one,) = overview(found)["jobs"]
    return one


@pytest.mark.parametrize(
    ("runs", "settings", "state"),
    [
        ([], {}, "new"),
        ([run("maintenance", HOUR)], {}, "ok"),
        ([run("maintenance", HOUR, "failed")], {}, "failing"),
        ([run("maintenance", HOUR, "some failed")], {}, "failing"),
        ([run("maintenance", HOUR, "stopped"), run("maintenance", 2 * HOUR, "failed")], {}, "stopped"),
        ([run("maintenance", HOUR, "failed")], {"enabled": False}, "disabled"),
    ],
)
def test_a_job_is_as_its_last_run_was(runs, settings, state):
    """Well, failing, stopped, disabled, or new."""
    assert only(facts(job(**settings), runs={"maintenance": runs}))["state"] == state


def test_a_run_that_goes_on_comes_first():
    """Also of a job that fails: what runs now is shown, with what is known of how far it is."""
    active = run("maintenance", timedelta(minutes=5), "running")
    told = {"part": "ToDo", "done": 50, "total": 200, "since": "", "rate": 0.5, "at": NOW.isoformat()}
    known = [replace(active, report={"progress": told, "holder": {"host": "a", "pid": 1}})]
    found = facts(job(), runs={"maintenance": [active, run("maintenance", HOUR, "failed")]}, running=known)
    one = only(found)
    assert one["state"] == "running" and one["trouble"] and one["last"]["status"] == "failed"
    assert one["running"]["progress"] == {
        "part": "ToDo", "done": 50, "total": 200, "per_second": 0.5, "percent": 25.0, "seconds_left": 300,
        "said": "50 of 200", "left": "about 5 min left", "at": NOW.isoformat(),
    }  # fmt: skip
    dead = only(replace(found, dead=frozenset({active.id})))
    assert dead["running"] is None and dead["state"] == "failing"
    assert [one["status"] for one in dead["runs"]] == ["failed"], "a run that was killed goes on for nobody"


def late(by: timedelta, **settings) -> Facts:
    """A job whose slot of today was not dealt with; the next is a day later."""
    midnight = NOW.astimezone(ZONE).replace(hour=0, minute=0, second=0, microsecond=0)
    now = midnight + by
    mark = SlotMark("maintenance", midnight - timedelta(hours=1), "daily")
    return replace(facts(job(**settings), marks={"maintenance": mark}), now=now)


def test_a_slot_that_nobody_deals_with_is_late():
    """After a grace, and not before its jitter is over; the lag is that of the oldest."""
    assert only(late(timedelta(minutes=9)))["state"] == "new" and only(late(timedelta(minutes=9)))["lag_seconds"] == 540
    one = only(late(timedelta(minutes=11)))
    assert one["state"] == "late" and one["late"] == "11 min" and "late" in one["trouble"]["what"]
    assert only(late(timedelta(minutes=1), jitter=timedelta(hours=8)))["lag_seconds"] == 0
    assert only(late(timedelta(hours=3), enabled=False))["state"] == "disabled"


def test_a_job_with_patience_is_not_late_while_it_is_tried_again():
    """Its run failed, so the slot is left; the service tries again within the hour."""
    found = late(timedelta(minutes=30))
    digest = job(kind="digest")
    tried = run("maintenance", NOW - found.now + timedelta(minutes=20), "failed")
    found = replace(found, jobs=[digest], recent={"maintenance": [tried]}, reports={tried.id: report()})
    assert only(found)["state"] == "failing"
    assert only(replace(found, now=found.now + 2 * HOUR))["state"] == "late"


def test_a_service_is_alive_as_long_as_it_is_heard_of():
    """By its pulse, and where it is this machine's, by its process."""
    (known,) = facts(job()).services
    for change, alive in (({}, True), ({"gone": True}, False), ({"seen": (NOW - 2 * HOUR).isoformat()}, False)):
        view = overview(facts(job(), services=[{**known, **change}]))
        assert bool(view["services"]) == alive
        assert view["service"] == ("up 3 d 4 h" if alive else "no service seems to run")
        assert view["verdict"]["level"] == ("good" if alive else "bad")


def test_the_site_is_as_the_last_run_met_it():
    """A reply of its own is a contact, and one of a proxy before it none."""
    good, bad = run("a", 2 * HOUR), run("b", HOUR, "failed")
    down = report(
        error={"message": "no connection", "who": "operator", "action": "x"}, replies={"502": 3, "ConnectError": 1}
    )
    found = facts(job("a"), job("b"), runs={"a": [good], "b": [bad]}, reports={bad.id: down})
    site = overview(found)["site"]
    assert (site["up"], site["relative"], site["why"]) == (False, "2 h ago", "no connection")
    assert overview(facts(job()))["site"]["word"] == "not asked yet"


def test_the_verdict_is_the_one_thing_to_know():
    """Whom it concerns, in a sentence."""
    said = {name: " ".join((view["verdict"]["lead"], view["verdict"]["rest"])).strip()
            for name, view in ((name, overview(found)) for name, found in cases().items())}  # fmt: skip
    assert said["busy"] == "2 of 7 jobs need somebody." and said["well"] == "All is well. 1 job."
    assert said["no jobs"] == "There are no jobs." and said["late"] == "1 of 1 job needs somebody."
    assert said["new"] == "No service seems to run, so nothing runs on its schedule."


@pytest.mark.parametrize("case", cases())
def test_page_json_and_terminal_draw_the_same(case):
    """Every job, its state's trouble and what to do, on all three; the view is JSON throughout, and pure."""
    found = cases()[case]
    view = overview(found)
    assert json.loads(json.dumps(view)) == view == overview(found)
    shown = html.unescape(re.sub(r"<[^>]+>", "", page(view)[0].decode()))
    text = drawn(view, 4000)
    for one in view["jobs"]:
        assert one["name"] in text and one["name"] in shown
        if one["name"] in view["attention"]:
            for part in (one["trouble"]["what"], one["trouble"]["action"]):
                assert part in text and part.replace("`", "") in shown
    assert view["verdict"]["lead"] in text and view["verdict"]["lead"] in shown


@pytest.mark.parametrize("width", [40, 80, 120])
@pytest.mark.parametrize("case", cases())
def test_a_terminal_of_any_width_has_room(case, width):
    """No line is longer than it is wide."""
    assert all(len(line) <= width for line in drawn(overview(cases()[case]), width).splitlines())


def test_a_strip_has_the_last_thirty_and_heights_by_length():
    """The latest on the right; the longest is full, and none is nothing."""
    runs = day_by_day("maintenance", *["done"] * 45)
    strip = only(facts(job(), runs={"maintenance": runs}))["runs"]
    assert len(strip) == 30 and strip[-1]["run"] == runs[0].id
    assert max(one["height"] for one in strip) == 1.0 and min(one["height"] for one in strip) >= 0.12
    assert sorted(strip, key=lambda one: one["seconds"]) == sorted(
        strip, key=lambda one: (one["height"], one["seconds"])
    )


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s"), (0.44, "0.4 s"), (4, "4 s"), (59.7, "1 min"), (61, "1 min 1 s"), (3600, "1 h"), (3725, "1 h 2 min"),
     (90061, "1 d 1 h"), (-5, "0 s")],
)  # fmt: skip
def test_lengths_are_two_units_at_the_most(seconds, said):
    """Nobody wants to know more."""
    assert length(seconds) == said


@given(st.integers(-(10**9), 10**9))
def test_moments_are_told_from_now(seconds):
    """Before or after, and never an empty text."""
    said = relative(NOW + timedelta(seconds=seconds), NOW)
    assert said in ("now", "just now") or said.startswith("in ") != said.endswith(" ago")
    assert "  " not in said and len(said) < 30


@pytest.mark.parametrize(
    ("status", "told", "what", "who"),
    [
        ("interrupted", {}, "killed", "nobody"),
        ("failed", report(error={"message": "m", "who": "programmer", "action": "a"}), "m", "programmer"),
        ("refused", report(parts=[{"part": "ToDo", "error": None, "refused": "many"}]), "ToDo: many", "operator"),
        ("failed", report(parts=[{"part": "A", "error": {"message": "x", "who": "site administrator", "action": "y"}},
                                 {"part": "B", "error": {"message": "z", "who": "nobody", "action": "y"}}]),
         "A: x, and 1 more parts", "site administrator"),
        ("some failed", report({"failed": 1}, parts=[{"samples": []}]), "1 failed", "operator"),
    ],
)  # fmt: skip
def test_trouble_is_told_with_who_must_act(status, told, what, who):
    """The run's own error before its parts', a guard's refusal, and rows with the first of their reasons."""
    found = trouble(status, told)
    assert what in found["what"] and found["who"] == who and found["action"]


def test_overview_reads_nothing():
    """No clock, no file, no state: it is given all of it."""
    text = Path("daemon/overview.py").read_text(encoding="utf-8")
    assert "open(" not in text and ".now()" not in text and "daemon.app" not in text and busy()
