"""Trails: what was written can be read after any kill, by little memory, and is added to."""

from __future__ import annotations

import tracemalloc
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from daemon.errors import OutputError
from daemon.trail import Past, Trails


def trails(folder: Path, kept: timedelta = timedelta(days=1)) -> Trails:
    return Trails(folder / "undo", kept, "https://erp.example.com")


def step(number: int, **facts: object) -> dict[str, object]:
    return {"of": "a", "step": number, **facts}


def test_lines_of_one_step_are_read_as_one(tmp_path):
    """Lists and tables put together, texts as they were written last; in order or from the last on."""
    writer = trails(tmp_path).writer("r1", "job", "import")
    writer.write({"of": "a", "doctype": "Item"}, step(0, since="1", made=[1]))
    writer.write(step(200, since="2"))
    writer.write(step(0, until="3", made=[2], left={"0": 1}), step(0, left={"1": 2}))
    past = trails(tmp_path).past("r1")
    assert past and past.head["site"] == "https://erp.example.com" and past.heads["a"]["doctype"] == "Item"
    first, second = past.steps("a")
    assert first == step(0, since="1", until="3", made=[1, 2], left={"0": 1, "1": 2})
    assert list(past.steps("a", backwards=True)) == [second, first]


def test_a_torn_end_is_cut_off(tmp_path):
    """Wherever a kill cut the file: whole members are read, and what is added behind them is read, too."""
    writer = trails(tmp_path).writer("r1", "job", "import")
    for number in range(3):
        writer.write(step(number, names=["x"]))
    path = tmp_path / "undo/r1.jsonl.gz"
    data = path.read_bytes()
    known = [step(number, names=["x"]) for number in range(3)]
    for cut in range(len(data) + 1):
        path.write_bytes(data[:cut])
        past = Past(path)
        found = list(past.steps("a"))
        assert found == known[: len(found)]
        if cut == len(data):
            assert found == known
        if past.head:
            past.add(step(9, done=["x"]))
            assert list(Past(path).steps("a")) == list(past.steps("a")) == [*found, step(9, done=["x"])]


def test_memory_does_not_grow_with_rows(tmp_path):
    """Four times the rows in as many steps: the same peak; only steps are remembered, some bytes each."""

    def peak(run: str, rows: int) -> int:
        writer = trails(tmp_path).writer(run, "job", "import")
        for number in range(40):
            writer.write(step(number, made=[[f"IT-{number}-{n}", n, 1, ""] for n in range(rows)]))
        tracemalloc.start()
        past = trails(tmp_path).past(run)
        assert past and sum(len(one["made"]) for one in past.steps("a")) == 40 * rows
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    few, many = peak("few", 200), peak("many", 800)
    assert many < 5 * few and many < 2_000_000


def test_it_belongs_to_the_daemons_user_alone(tmp_path):
    """It holds names and values of the site."""
    trails(tmp_path).writer("r1", "job", "import").write(step(1))
    assert (tmp_path / "undo").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "undo/r1.jsonl.gz").stat().st_mode & 0o777 == 0o600


def test_what_is_no_trail_is_told(tmp_path):
    """Bytes that gzip takes and JSON does not."""
    import gzip

    (tmp_path / "undo").mkdir()
    (tmp_path / "undo/r1.jsonl.gz").write_bytes(gzip.compress(b"no json\n"))
    with pytest.raises(OutputError, match="cannot be read"):
        trails(tmp_path).past("r1")
    assert trails(tmp_path).head("r1") == {} and trails(tmp_path).past("r2") is None


def test_what_is_old_goes(tmp_path):
    """By when it was last written to, so that an undo keeps it longer."""
    trails(tmp_path).writer("r1", "job", "import").write(step(1))
    assert trails(tmp_path).prune(datetime.now(UTC)) == []
    assert trails(tmp_path).prune(datetime.now(UTC) + timedelta(days=2)) == ["r1"]
    assert trails(tmp_path).past("r1") is None
