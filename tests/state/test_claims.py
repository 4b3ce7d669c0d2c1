"""Claims: one run of a job at a time, over threads and processes, and never a claim that outlives its holder."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from daemon.errors import AlreadyRunning, StateError
from daemon.state import Server, State
from tests.state.conftest import PLACE, expire, words

HOLDER = """
with State.open(place) as state, state.claim("a"):
    print("claimed", flush=True)
    sys.stdin.read()
"""

CONTENDER = """
from daemon.errors import AlreadyRunning
with State.open(place) as state:
    print("ready", flush=True)
    sys.stdin.readline()
    try:
        with state.claim("a"):
            print("claimed", flush=True)
            sys.stdin.readline()
    except AlreadyRunning:
        print("refused", flush=True)
"""


@pytest.fixture
def locks(tmp_path: Path) -> Path:
    return tmp_path / "state.db.locks"


@pytest.fixture
def on_sqlite(tmp_path: Path) -> Iterator[State]:
    """For what only its locks can, or can be disturbed by."""
    with State.open(tmp_path / "state.db") as opened:
        yield opened


@contextmanager
def process(program: str, place: Path | Server) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", PLACE + program, *words(place)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as started:
        yield started
        started.kill()


def says(other: subprocess.Popen[str]) -> str:
    assert other.stdout is not None
    return other.stdout.readline().strip()


def tell(other: subprocess.Popen[str]) -> None:
    assert other.stdin is not None
    other.stdin.write("\n")
    other.stdin.flush()


def test_a_claim_held_by_another_process_is_refused_and_says_who_and_since_when(
    state: State, place: Path | Server
) -> None:
    """The sentence names the job, the process and its machine; `holders` tells the same."""
    with process(HOLDER, place) as holder:
        assert says(holder) == "claimed"
        with pytest.raises(AlreadyRunning) as refusal, state.claim("a"):
            pytest.fail("two hold the claim")
        (known,) = state.holders().values()
        assert (known.name, known.host, known.pid) == ("a", os.uname().nodename, holder.pid)
        assert abs(known.since - datetime.now(UTC)) < timedelta(minutes=1)
        since = f"{known.since:%Y-%m-%d %H:%M:%S} UTC"
        assert str(refusal.value) == f"a is running since {since} in process {holder.pid} on {known.host}"
        with state.claim("b"):
            assert sorted(state.holders()) == ["a", "b"]  # another job is free


def test_the_claim_of_a_killed_process_is_free_at_once(on_sqlite: State, tmp_path: Path) -> None:
    """kill -9 leaves the file but no lock, so nothing has to be cleaned up by hand."""
    with process(HOLDER, tmp_path / "state.db") as holder:
        assert says(holder) == "claimed"
        holder.kill()
        holder.wait()
        assert on_sqlite.holders() == {}
        with on_sqlite.claim("a"):
            pass


def test_of_processes_that_claim_at_once_exactly_one_gets_it(place: Path | Server) -> None:
    """Round after round, whoever it is."""
    with State.open(place) as state:
        for _ in range(3):
            expire(state)
            with (
                process(CONTENDER, place) as first,
                process(CONTENDER, place) as second,
            ):
                assert [says(first), says(second)] == ["ready", "ready"]
                tell(first)
                tell(second)
                assert sorted([says(first), says(second)]) == ["claimed", "refused"]


def test_threads_of_one_process_exclude_each_other_too(state: State) -> None:
    """The lock belongs to the opened file, not to the process: a thread cannot slip in beside another."""
    refused = []

    def contend() -> None:
        try:
            with state.claim("a"):
                pass
        except AlreadyRunning as refusal:
            refused.append(refusal)

    with state.claim("a"):
        thread = threading.Thread(target=contend)
        thread.start()
        thread.join()
    assert len(refused) == 1


def test_a_claim_ends_with_its_block_however_that_ends(state: State) -> None:
    """An error of the job frees it, and comes out as it was: also an OSError, which is no fault of the state."""
    with pytest.raises(FileNotFoundError, match="the job's own"), state.claim("a"):
        raise FileNotFoundError("the job's own")
    with state.claim("a"):
        pass


def test_a_child_process_that_has_the_file_open_does_not_prolong_a_claim(on_sqlite: State, locks: Path) -> None:
    """A mailer that a run leaves behind, and that inherited the lock file, must not keep the job from running again."""
    with on_sqlite.claim("a"):
        os.set_inheritable(descriptor_of(locks / "a.lock"), True)
        child = subprocess.Popen(
            [sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE, close_fds=False
        )
    with child:
        assert child.poll() is None
        with on_sqlite.claim("a"):
            pass
        child.kill()


def descriptor_of(path: Path) -> int:
    """The number under which this process has `path` open."""
    wanted = path.stat()
    for number in range(1024):
        with suppress(OSError):
            if os.path.samestat(os.fstat(number), wanted):
                return number
    raise FileNotFoundError(path)


def test_what_an_earlier_holder_wrote_is_not_mixed_up_with_the_present_one(on_sqlite: State, locks: Path) -> None:
    """A longer process number, left behind by a kill, is gone as a whole."""
    with on_sqlite.claim("a"):
        pass
    (locks / "a.lock").write_text("9" * 15)
    with (
        on_sqlite.claim("a"),
        pytest.raises(AlreadyRunning, match=rf"a is running since .* in process {os.getpid()} on "),
        on_sqlite.claim("a"),
    ):
        pytest.fail("two hold the claim")


@pytest.mark.parametrize("job", ["a/b", "..", "ü ñ", "a\nb", "A:b*?"])
def test_any_name_of_a_job_can_be_claimed_and_names_no_other_file(state: State, locks: Path, job: str) -> None:
    """The lock file stays in its directory, whatever a TOML key may hold."""
    with state.claim(job), pytest.raises(AlreadyRunning), state.claim(job):
        pytest.fail("two hold the claim")
    assert not locks.exists() or len(list(locks.iterdir())) == 1


def test_a_directory_for_locks_that_cannot_be_made_is_a_state_error(on_sqlite: State, locks: Path) -> None:
    """No traceback of the operating system: a sentence with the path."""
    locks.rmdir()
    locks.write_text("in the way")
    with pytest.raises(StateError, match=r"state\.db cannot be used: .*locks"), on_sqlite.claim("a"):
        pytest.fail("claimed without a lock")
