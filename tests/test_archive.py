"""Rows in a file before they are deleted."""

from __future__ import annotations

import gzip
import json
import stat
import threading
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon import archive
from daemon.archive import Archive
from daemon.errors import ArchiveError

Doc = dict[str, Any]


def rows_in(path: Path) -> list[Doc]:
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]


def rows_before_the_break(content: bytes) -> list[Doc]:
    """As a person would save what can be saved."""
    decoder, text = zlib.decompressobj(31), b""
    while content:
        text += decoder.decompress(content)
        if not decoder.eof:
            break
        content, decoder = decoder.unused_data, zlib.decompressobj(31)
    return [json.loads(line) for line in text.splitlines() if line.endswith(b"}")]


VALUES = st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.text(), max_size=2)
DOCS = st.lists(st.dictionaries(st.text(max_size=4), VALUES, max_size=3), max_size=4)


@settings(deadline=None)
@given(st.lists(DOCS, max_size=5))
def test_what_was_written_is_on_the_disk(tmp_path_factory: pytest.TempPathFactory, batches: list[list[Doc]]) -> None:
    """Every row of every batch, in order, and the numbers say so; line ends within values split nothing."""
    kept = Archive(tmp_path_factory.mktemp("x"), "Error Log", "run")
    assert [kept.write(batch) for batch in batches] == [len(batch) for batch in batches]
    written = [doc for batch in batches for doc in batch]
    assert kept.rows == len(written)
    assert (rows_in(kept.path) if batches else []) == written


def test_a_file_cut_short_still_holds_every_batch_before(tmp_path: Path) -> None:
    """Wherever a crash cut it: all rows of the batches that were whole."""
    kept, ends = Archive(tmp_path, "X", "run"), [0]
    for batch in range(4):
        kept.write({"name": f"{batch}-{number}"} for number in range(10))
        ends.append(kept.path.stat().st_size)
    whole, content = rows_in(kept.path), kept.path.read_bytes()
    for cut in range(len(content)):
        complete = sum(end <= cut for end in ends[1:])
        assert rows_before_the_break(content[:cut])[: 10 * complete] == whole[: 10 * complete]


def test_only_the_daemon_s_user_reads_it(tmp_path: Path) -> None:
    """0600 in a directory of 0700, which is made where it is not there."""
    kept = Archive(tmp_path / "a" / "b", "X", "run")
    kept.write([{}])
    assert stat.S_IMODE(kept.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(kept.path.parent.stat().st_mode) == 0o700


def test_no_file_is_made_before_there_are_rows(tmp_path: Path) -> None:
    """A run that deletes nothing leaves nothing behind."""
    kept = Archive(tmp_path / "a", "X", "run")
    assert kept.rows == 0 and not kept.path.parent.exists()


def test_a_directory_that_cannot_be_made_refuses_the_delete(tmp_path: Path) -> None:
    """The error names the file and the reason, and who must act; no row counts as written."""
    (tmp_path / "file").write_text("in the way")
    kept = Archive(tmp_path / "file" / "sub", "X", "run")
    with pytest.raises(ArchiveError, match=r"x-run\.jsonl\.gz: the archive cannot be written: .+") as caught:
        kept.write([{}])
    assert caught.value.who == "operator" and kept.rows == 0


THREE = gzip.compress(b"{}\n{}\n{}\n", mtime=0)  # the names of tests are made of it, in each process of pytest-xdist


@pytest.mark.parametrize("read_back", [b"", b"no gzip", THREE[:-4], THREE[:10] + bytes(30)])
def test_what_cannot_be_read_back_was_not_written(
    read_back: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that lies: the batch is read again, and its rows may not be deleted."""
    monkeypatch.setattr(archive, "_tail", lambda *_: read_back)
    kept = Archive(tmp_path, "X", "run")
    with pytest.raises(ArchiveError):
        kept.write([{}, {}, {}])
    assert kept.rows == 0


def test_too_few_rows_read_back_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With both numbers."""
    monkeypatch.setattr(archive, "_tail", lambda *_: gzip.compress(b"{}\n", mtime=0))
    with pytest.raises(ArchiveError, match="2 rows were written but 1 can be read back"):
        Archive(tmp_path, "X", "run").write([{}, {}])


def test_threads_write_whole_batches(tmp_path: Path) -> None:
    """Each batch stands together, none is lost, and every thread is told its own number."""
    kept, told = Archive(tmp_path, "X", "run"), []

    def work(thread: int) -> None:
        told.extend(kept.write([{"of": f"{thread}.{batch}"}] * (batch + 1)) for batch in range(5))

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    rows = [doc["of"] for doc in rows_in(kept.path)]
    assert kept.rows == len(rows) == sum(told) == 8 * 15
    runs = [name for name, before in zip(rows, [None, *rows], strict=False) if name != before]
    assert len(runs) == len(set(runs)) == 40


@pytest.mark.parametrize(
    ("doctype", "name"),
    [
        ("Error Log", "error-log-run.jsonl.gz"),
        ("../../etc/passwd", "etc-passwd-run.jsonl.gz"),
        ("A/B & C", "a-b-c-run.jsonl.gz"),
        ("客户", "客户-run.jsonl.gz"),
    ],
)
def test_a_file_is_named_after_its_doctype(doctype: str, name: str, tmp_path: Path) -> None:
    """It stays in its directory, whatever the name; two DocTypes in another script do not share one."""
    assert Archive(tmp_path, doctype, "run").path == tmp_path / name


def test_values_that_json_lacks_are_kept_as_text(tmp_path: Path) -> None:
    """Rather a row with a text than no row."""
    kept = Archive(tmp_path, "X", "run")
    kept.write([{"path": Path("/x")}])
    assert rows_in(kept.path) == [{"path": "/x"}]


def test_a_write_that_failed_leaves_no_torn_member(tmp_path, monkeypatch):
    """What is written after a full disk has room again can be read to its end."""
    import gzip
    import os

    from daemon.archive import Archive
    from daemon.errors import ArchiveError

    archive = Archive(tmp_path, "ToDo", "r")
    archive.write([{"name": 1}])

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(ArchiveError, match="No space left"):
            archive.write([{"name": 2}])
    archive.write([{"name": 3}])
    assert gzip.decompress(archive.path.read_bytes()) == b'{"name":1}\n{"name":3}\n'
