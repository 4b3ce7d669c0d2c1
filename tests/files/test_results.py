"""Result files: what is written is read back, and a crash takes nothing that was journaled."""

from __future__ import annotations

import os
import stat
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.errors import ResultFileError
from daemon.files.results import ResultFile, as_text, defused, plain
from daemon.files.table import open_table

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8) | st.text(
    "'=+-@\t\r1,.", max_size=4
)
NOON = datetime(2024, 2, 9, 12, 0, 1)  # noqa: DTZ001 (a cell has no zone)
HEADER = ("a", "b", "error")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("results")


def rows_of(path: Path) -> list[tuple[str, ...]]:
    with open_table(path, delimiter=",") as table:
        assert (table.header, table.encoding) == (HEADER, "utf-8")
        return [row.cells for row in table]  # type: ignore[misc]


@given(st.lists(st.tuples(TEXTS, TEXTS, TEXTS), max_size=10), st.booleans())
def test_what_is_written_is_read_back(folder, rows, escape):
    """Exactly; with formulas escaped, once `plain` has undone it. Rows without anything are not rows."""
    with ResultFile.open(folder / "a.csv", HEADER, escape_formulas=escape) as file:
        for row in rows:
            file.write(row)
    found = rows_of(folder / "a.csv")
    if escape:
        found = [tuple(map(plain, row)) for row in found]
    shown = defused if escape else str  # a tab alone is blank, but no more so with an apostrophe before it
    assert found == [row for row in rows if any(shown(cell).strip() for cell in row)]


@given(TEXTS)
def test_no_formula_is_left(text):
    """Nothing begins like one unless it is a number, and what was there can be had back."""
    assert plain(defused(text)) == text
    assert defused(text)[:1] not in tuple("=@\t\r")


@pytest.mark.parametrize(
    ("text", "written"),
    [("=1+1", "'=1+1"), ("-5", "-5"), ("-1,234.50", "-1,234.50"), ("+49 (0)30", "'+49 (0)30"), ("-x", "'-x"),
     ("@a", "'@a"), ("'t is", "'t is"), ("'=x", "''=x"), ("", ""), ("+5%", "+5%"), ("-5+cmd", "'-5+cmd")],
)  # fmt: skip
def test_numbers_stay_and_formulas_do_not(text, written):
    """An apostrophe of the text's own stays as it is."""
    assert defused(text) == written


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (None, ""), (True, "1"), (False, "0"), (7, "7"), (0.1, "0.1"), (1e16, "10000000000000000"), (1e-7, "0.0000001"),
        (Decimal("1.50"), "1.50"), (Decimal("1E+3"), "1000"), (Decimal("1E+9999"), "1E+9999"),
        (date(2024, 2, 9), "2024-02-09"),
        (NOON, "2024-02-09 12:00:01"), (time(1, 2), "01:02:00"),
        (timedelta(hours=30), "108000"),
        (timedelta(milliseconds=1500), "1.5"), ([{"a": Decimal("1.10")}, "é", None], '[{"a": 1.10}, "é", null]'),
    ],
)  # fmt: skip
def test_values_become_text_that_an_import_reads(cell, text):
    """Dates as ISO 8601, numbers plain, JSON as JSON."""
    assert as_text(cell) == text


@given(st.lists(st.tuples(TEXTS, TEXTS, TEXTS), min_size=1, max_size=10), st.data())
def test_a_run_that_was_cut_short_goes_on(folder, rows, data):
    """From any flushed position on, whatever was written behind it, the file is that of a run without a stop."""
    stop = data.draw(st.integers(0, len(rows)))
    path = folder / "b.csv"
    file = ResultFile.open(path, HEADER)
    for row in rows[:stop]:
        file.write(row)
    file.flush()
    at = file.tell()
    for row in rows[stop:][:2]:
        file.write(row)
    file.close()
    with path.open("ab") as torn:
        torn.write(b'"half a ro')
    with ResultFile.open(path, HEADER, at=at) as again:
        for row in rows[stop:]:
            again.write(row)
        end = again.tell()
    whole = path.read_bytes()
    with ResultFile.open(path, HEADER) as straight:
        for row in rows:
            straight.write(row)
    assert path.read_bytes() == whole and len(whole) == end


def test_only_the_daemon_reads_it(tmp_path: Path) -> None:
    """Also a file that was there with another mode."""
    (tmp_path / "a.csv").write_text("old")
    (tmp_path / "a.csv").chmod(0o644)
    ResultFile.open(tmp_path / "a.csv", HEADER).close()
    assert stat.S_IMODE((tmp_path / "a.csv").stat().st_mode) == 0o600
    assert (tmp_path / "a.csv").read_bytes() == b"\xef\xbb\xbfa,b,error\r\n"


def test_what_cannot_be_written_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Path and reason: no folder, a link elsewhere, a full disk, a file that somebody cut."""
    with pytest.raises(ResultFileError, match=r"none/a\.csv: the result file cannot be written: No such file"):
        ResultFile.open(tmp_path / "none" / "a.csv", HEADER)
    (tmp_path / "link.csv").symlink_to("/dev/null")
    with pytest.raises(ResultFileError, match="symbolic links"):
        ResultFile.open(tmp_path / "link.csv", HEADER)
    with pytest.raises(ResultFileError, match=r"the file has 14 bytes but 99 were written"):
        ResultFile.open(tmp_path / "a.csv", HEADER).close()
        ResultFile.open(tmp_path / "a.csv", HEADER, at=99)
    file = ResultFile.open(tmp_path / "a.csv", HEADER)

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", full)
        file.write(("x", "y", "z"))
        with pytest.raises(ResultFileError, match=r"a\.csv: the result file cannot be written: No space left"):
            file.flush()
    file.close()
