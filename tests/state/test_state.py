"""The state: runs, slots, memory and site facts, as they survive threads, restarts and a kill."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import event

from daemon.errors import StateError
from daemon.state import Run, Server, State
from tests.state.conftest import PLACE, expire, words

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def run_of(job: str, number: int = 0, **facts: Any) -> Run:
    """The run that starts `number` hours after noon."""
    started = NOON + number * HOUR
    return replace(Run(f"{job}-{number:03}", job, "cleanup", "slot", NOON, started), **facts)


def keep(state: State, run: Run, status: str = "done") -> None:
    state.begin_run(run)
    state.end_run(run.id, status, run.started + timedelta(minutes=1), {"rows": 3})


# --- runs ------------------------------------------------------------------------------------------------------------


def test_a_run_is_running_until_it_is_ended(state: State) -> None:
    """begin_run writes it down before any work; end_run adds status, end and report."""
    run = run_of("a")
    state.begin_run(replace(run, status="done", ended=NOON))  # what it claims to be already does not count
    assert state.last_run("a") == run
    state.end_run(run.id, "some failed", NOON + HOUR, {"part": ["x", 1, None, {"ü": 1.5}]})
    ended = replace(run, status="some failed", ended=NOON + HOUR, report={"part": ["x", 1, None, {"ü": 1.5}]})
    assert state.runs("a") == [ended]


def test_moments_come_back_aware_and_in_utc_whatever_zone_they_were_given_in(state: State) -> None:
    """A repeated hour of a zone keeps its instant: both passes come back as different moments."""
    berlin = ZoneInfo("Europe/Berlin")
    first = datetime(2026, 10, 25, 2, 30, tzinfo=berlin)
    second = datetime(2026, 10, 25, 2, 30, tzinfo=berlin, fold=1)
    state.begin_run(run_of("a", slot=first, started=second))
    (run,) = state.runs()
    assert (run.slot, run.started) == (
        datetime(2026, 10, 25, 0, 30, tzinfo=UTC),
        datetime(2026, 10, 25, 1, 30, tzinfo=UTC),
    )
    assert run.started.utcoffset() == timedelta(0)


def test_runs_survive_closing_and_opening(place: Path | Server) -> None:
    """What was written before the close is there after the next open."""
    with State.open(place) as state:
        keep(state, run_of("a"))
        before = state.runs()
    with State.open(place) as state:
        assert state.runs() == before


def test_runs_are_listed_newest_first_and_limited(state: State) -> None:
    """By start, over all jobs or of one, dry runs included."""
    for number in (2, 0, 1):
        keep(state, run_of("a", number, dry_run=number == 1))
    keep(state, run_of("b", 3))
    assert [run.id for run in state.runs()] == ["b-003", "a-002", "a-001", "a-000"]
    assert [run.id for run in state.runs("a", limit=2)] == ["a-002", "a-001"]
    assert state.runs("unknown") == []


def test_a_dry_run_does_not_hide_the_last_real_one(state: State) -> None:
    """last_run and last_runs show what last touched the site, also where a dry run came later or is all there is."""
    keep(state, run_of("a", 0))
    keep(state, run_of("a", 1, dry_run=True))
    keep(state, run_of("b", 0, dry_run=True))
    keep(state, run_of("c", 0))
    state.begin_run(run_of("c", 1))
    last = state.last_runs()
    assert {job: run.id for job, run in last.items()} == {"a": "a-000", "c": "c-001"}
    assert (state.last_run("a"), state.last_run("b"), state.last_run("c")) == (last["a"], None, last["c"])


def test_the_last_runs_of_all_jobs_cost_one_query(state: State) -> None:
    """However many jobs and runs there are."""
    for number in range(30):
        keep(state, run_of(f"job{number % 10}", number))
    statements: list[str] = []
    event.listen(state._database.engine, "before_cursor_execute", lambda *facts: statements.append(facts[2]))
    assert len(state.last_runs()) == 10
    assert [text.split()[0] for text in statements if not text.startswith("BEGIN")] == ["SELECT"]


@pytest.mark.parametrize("status", ["running", "ok", ""])
def test_a_run_ends_only_with_a_known_status(state: State, status: str) -> None:
    """An unknown word would never be shown or counted; the run stays as it was."""
    state.begin_run(run_of("a"))
    with pytest.raises(ValueError, match="a run ends as one of"):
        state.end_run("a-000", status, NOON, {})
    assert state.runs()[0].status == "running"


def test_ending_an_unknown_run_is_an_error(state: State) -> None:
    """A report that belongs to no run would be lost silently."""
    with pytest.raises(StateError, match="nothing"):
        state.end_run("nothing", "done", NOON, {})


def test_a_naive_moment_is_refused(state: State) -> None:
    """It would mean another instant on another machine; nothing is written."""
    with pytest.raises(Exception, match="has no time zone"):
        state.begin_run(run_of("a", started=NOON.replace(tzinfo=None)))
    assert state.runs() == []


def test_a_report_with_values_that_json_lacks_is_kept_as_text(state: State) -> None:
    """A date in a report must not lose the end of a run."""
    state.begin_run(run_of("a"))
    state.end_run("a-000", "done", NOON, {"cutoff": NOON, "odd": "\ud800"})
    assert state.runs()[0].report == {"cutoff": str(NOON), "odd": "\ud800"}


def test_pruning_keeps_what_is_young_running_or_among_the_newest_of_its_job(state: State) -> None:
    """The newest real runs stay even where later dry runs outnumber them."""
    for number in range(4):
        keep(state, run_of("a", number))
    for number in range(4, 8):
        keep(state, run_of("a", number, dry_run=True))
    state.begin_run(run_of("b", 0))
    keep(state, run_of("b", 1))
    keep(state, run_of("c", 20))
    keep(state, run_of("c", 21))
    assert state.prune_runs(NOON + 10 * HOUR, 1) == 6
    assert {run.id for run in state.runs()} == {"a-003", "a-007", "b-000", "b-001", "c-020", "c-021"}
    assert state.prune_runs(NOON + 10 * HOUR, 1) == 0


# --- what a kill leaves ----------------------------------------------------------------------------------------------

WORKER = """
from datetime import datetime, UTC
from daemon.state import Run
state = State.open(place)
with state.claim("a"):
    state.begin_run(Run("killed", "a", "cleanup", "slot", None, datetime(2026, 1, 5, 12, tzinfo=UTC)))
    state.remember("a", "cursor", [1, 2])
    print("working", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def worker(place: Path | Server) -> Iterator[subprocess.Popen[str]]:
    """Another process that claimed job a, began a run and is at work until it is killed or its input ends."""
    with subprocess.Popen(
        [sys.executable, "-c", PLACE + WORKER, *words(place)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "working\n"
        yield process
        process.kill()


def test_a_killed_run_is_found_and_called_interrupted(place: Path | Server, worker: subprocess.Popen[str]) -> None:
    """kill -9 between begin and end: all that was written is there, and the next start closes the run."""
    worker.kill()
    worker.wait()
    with State.open(place) as state:
        expire(state)
        assert state.runs()[0].status == "running"
        (dead,) = state.interrupt_unfinished(NOON + HOUR)
        assert (dead.id, dead.status, dead.ended) == ("killed", "interrupted", NOON + HOUR)
        assert state.runs() == [dead]
        assert state.recall("a", "cursor") == [1, 2]
        assert state.interrupt_unfinished(NOON + 2 * HOUR) == []


def test_a_run_that_another_process_is_at_is_left_alone(place: Path | Server, worker: subprocess.Popen[str]) -> None:
    """A second daemon, or a command by hand, does not declare the living dead; nor what `alive` vouches for."""
    with State.open(place) as state:
        state.begin_run(run_of("b"))
        assert state.interrupt_unfinished(NOON, alive=lambda job: job == "b") == []
        assert [run.id for run in state.interrupt_unfinished(NOON)] == ["b-000"]
        assert {run.id: run.status for run in state.runs()} == {"killed": "running", "b-000": "interrupted"}


# --- slots -----------------------------------------------------------------------------------------------------------


def test_a_settled_slot_is_remembered_over_a_restart(place: Path | Server) -> None:
    """Else every restart would run the last slot again."""
    with State.open(place) as state:
        assert state.slot("a") is None
        state.settle_slot("a", NOON, "daily")
    with State.open(place) as state:
        mark = state.slot("a")
        assert mark is not None
        assert (mark.job, mark.slot, mark.schedule_text) == ("a", NOON, "daily")


@given(st.lists(st.integers(-10_000, 10_000), min_size=1))
def test_under_one_schedule_the_mark_never_moves_back(minutes: list[int]) -> None:
    """Whatever order slots are settled in, as after a clock set back: the mark is the latest so far, at each step."""
    with _SHARED.state() as state:
        state.settle_slot("law", NOON, "anew")  # another text: starts anew
        for count, minute in enumerate(minutes, 1):
            state.settle_slot("law", NOON + minute * timedelta(minutes=1), "daily")
            mark = state.slot("law")
            assert mark is not None
            assert mark.slot == NOON + max(minutes[:count]) * timedelta(minutes=1)


def test_a_changed_schedule_starts_anew(state: State) -> None:
    """An edit counts from the moment that is given, also where the old mark lies later; other jobs keep theirs."""
    state.settle_slot("a", NOON + 1000 * HOUR, "weekly")
    state.settle_slot("b", NOON, "weekly")
    state.settle_slot("a", NOON, "every 15m")
    marks = [state.slot("a"), state.slot("b")]
    assert [mark and (mark.slot, mark.schedule_text) for mark in marks] == [(NOON, "every 15m"), (NOON, "weekly")]


class _Shared:
    """One database for all examples of a law: opening one for each would take longer than the law."""

    def __init__(self) -> None:
        self.directory: Path | None = None

    def state(self) -> State:
        assert self.directory is not None
        return State.open(self.directory / "law.db")


_SHARED = _Shared()


@pytest.fixture(scope="module", autouse=True)
def _shared_directory(tmp_path_factory: pytest.TempPathFactory) -> None:
    _SHARED.directory = tmp_path_factory.mktemp("law")


# --- memory and sites ------------------------------------------------------------------------------------------------


def test_a_job_remembers_json_under_its_own_keys(state: State) -> None:
    """Values are replaced and forgotten by job and key, and keep their shape."""
    state.remember("a", "cursor", {"name": "ü", "n": [1, None, 2.5, True]})
    state.remember("b", "cursor", 1)
    state.remember("a", "other", False)
    state.remember("a", "cursor", {"name": "z"})
    assert [state.recall("a", "cursor"), state.recall("b", "cursor"), state.recall("a", "other")] == [
        {"name": "z"},
        1,
        False,
    ]
    state.forget("a", "cursor")
    state.forget("a", "never was")
    assert [state.recall("a", "cursor"), state.recall("b", "cursor")] == [None, 1]


def test_site_facts_are_kept_by_url(state: State) -> None:
    """The last ones count; an unknown site has none."""
    state.remember_site("https://a", {"version": "14"})
    state.remember_site("https://a", {"version": "15", "time_zone": "Asia/Kolkata"})
    assert state.site_facts("https://a") == {"version": "15", "time_zone": "Asia/Kolkata"}
    assert state.site_facts("https://b") is None


# --- threads ---------------------------------------------------------------------------------------------------------


def test_many_threads_write_at_once_and_nothing_is_lost(state: State) -> None:
    """Eight threads over one engine: every run, value and slot is there in the end."""
    start = threading.Barrier(8)

    def work(thread: int) -> None:
        start.wait()
        for number in range(25):
            keep(state, run_of(f"job{thread}", number))
            state.remember("shared", f"{thread}-{number}", number)
            state.settle_slot("shared", NOON + number * HOUR, "hourly")
            state.last_runs()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert len(state.runs(limit=1000)) == 200
    assert (
        sum(state.recall("shared", f"{thread}-{number}") == number for thread in range(8) for number in range(25))
        == 200
    )
    mark = state.slot("shared")
    assert mark is not None
    assert mark.slot == NOON + 24 * HOUR


def test_naming_a_run_does_not_import_sqlalchemy() -> None:
    """Commands that need no state start without it; asking for State brings it in."""
    program = (
        "import sys; from daemon.state import Run; print('sqlalchemy' in sys.modules);"
        "from daemon.state import State; print('sqlalchemy' in sys.modules, 'sqlalchemy.orm' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True", "False"]


def test_a_ledger_is_asked_for_keys_and_forgets_a_range(place):
    """Those very keys, of one owner; a range of keys goes at once, and its ends are what they say."""
    with State.open(place) as state:
        state.remember_all("ledger", {f"job|2026-0{month}|a": month for month in range(1, 7)})
        state.remember_all("other", {"job|2026-01|a": 0})
        assert state.recall_some("ledger", ["job|2026-02|a", "job|2026-06|a", "none"]) == {
            "job|2026-02|a": 2, "job|2026-06|a": 6
        }  # fmt: skip
        assert state.recall_some("ledger", []) == {}
        assert state.forget_between("ledger", "job|", "job|2026-04") == 3
        assert list(state.recall_all("ledger")) == ["job|2026-04|a", "job|2026-05|a", "job|2026-06|a"]
        assert state.recall_all("other") == {"job|2026-01|a": 0}


def test_memory_is_read_a_page_at_a_time(place):
    """In the order of the keys, of one owner and prefix, behind the last one read."""
    with State.open(place) as state:
        state.remember_all("job", {f"a|{n}": n for n in range(5)} | {"b|0": 9})
        state.remember("other", "a|1", 8)
        assert state.recall_page("job", "a|", "", 2) == {"a|0": 0, "a|1": 1}
        assert state.recall_page("job", "a|", "a|1", 9) == {"a|2": 2, "a|3": 3, "a|4": 4}
        assert state.recall_page("job", "a|", "a|4", 9) == {}
