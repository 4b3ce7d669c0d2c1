"""Result files as files to import: what a cell meant in the file that it comes from, it means in errors.csv."""

from __future__ import annotations

import csv
import io
import json
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.core.columns import resolve
from daemon.core.doctype import DocType, Field
from daemon.core.rows import Assembler, Draft
from daemon.core.values import Reading, Share
from daemon.files.cells import CellError
from daemon.files.results import defused, plain
from daemon.jobs._import.results import Readings, _said, written
from daemon.sandbox import Sandbox
from tests.conftest import Daemon
from tests.jobs.test_import import IDLE, load, read, write

KINDS = {"text": "Data", "q": "Float", "n": "Int", "d": "Date", "dt": "Datetime", "t": "Time", "dur": "Duration",
         "p": "Percent", "c": "Check", "j": "JSON", "r": "Rating", "long": "Text"}  # fmt: skip
THING = {"name": "Thing", "autoname": "field:code", "fields": [
    {"fieldname": "code", "fieldtype": "Data", "reqd": 1},
    {"fieldname": "grp", "fieldtype": "Link", "options": "Item Group"},
    *({"fieldname": name, "fieldtype": kind} for name, kind in KINDS.items())]}  # fmt: skip
BAD, GOOD = "Nonsense", "Products"


@pytest.fixture
def site(sandbox: Sandbox, daemon_for: Any) -> Daemon:
    sandbox.seed("Item Group", [{"name": GOOD, "item_group_name": GOOD}])
    sandbox.add_doctype(THING)
    made: Daemon = daemon_for(sandbox, IDLE)
    return made


def book(path: Path, header: list[str], rows: list[list[Any]], formats: dict[Any, str] | None = None) -> Path:
    """A workbook; `formats`: number format of cells that hold a value."""
    made = openpyxl.Workbook()
    made.active.append(header)
    for row in rows:
        made.active.append(row)
    for row in made.active.iter_rows():
        for cell in row:
            if formats and cell.value in formats:
                cell.number_format = formats[cell.value]
    made.save(path)
    return path


def again(site: Daemon, path: Path, **settings: Any) -> dict[str, Any]:
    """The report of errors.csv, in which nothing but the link was mended."""
    mended = path.with_name("mended.csv")
    mended.write_text(Path(f"{path}.errors.csv").read_text("utf-8-sig").replace(BAD, GOOD), "utf-8-sig")
    return load(site, mended, "Thing", **settings)


def stored(sandbox: Sandbox, field: str) -> dict[str, Any]:
    return {row["code"]: row[field] for row in sandbox.rows("Thing", fields=["code", field])}


# What a person meets


def test_a_number_of_a_workbook_is_not_read_by_the_decimal_mark_of_texts(site, sandbox, tmp_path):
    """1.234 in a cell stays that, whatever is stated, or proved by texts beside it."""
    path = book(tmp_path / "w.xlsx", ["code", "grp", "q"], [["ok", GOOD, 1.234], ["bad", BAD, 1.234]])
    load(site, path, "Thing", decimal=",")
    assert again(site, path, decimal=",")["counts"] == {"done": 1} and set(stored(sandbox, "q").values()) == {1.234}


def test_texts_that_prove_a_mark_do_not_prove_it_for_numbers(site, sandbox, tmp_path):
    """Nothing is stated here."""
    rows = [["ok", GOOD, 12.345], ["bad1", BAD, 12.345], ["bad2", BAD, "2,5"]]
    path = book(tmp_path / "w.xlsx", ["code", "grp", "q"], rows)
    load(site, path, "Thing")
    assert again(site, path)["counts"] == {"done": 2}
    assert stored(sandbox, "q") == {"ok": 12.345, "bad1": 12.345, "bad2": 2.5}


def test_what_rows_far_above_proved_holds_for_the_bad_ones(site, sandbox, tmp_path):
    """Though none of them is in errors.csv, and another bad row there proves the contrary."""
    rows = [(f"a{n}", GOOD, "13/02/2026", "1,5") for n in range(1000)]
    rows += [("b", BAD, "01/02/2026", "1.234"), ("c", GOOD, "02/13/2026", "2.5"), ("ok", GOOD, "01/02/2026", "1.234")]
    path = write(tmp_path / "d.csv", ("code", "grp", "d", "q"), rows)
    load(site, path, "Thing")
    assert again(site, path)["counts"] == {"done": 1, "failed": 1}
    assert stored(sandbox, "d")["b"] == stored(sandbox, "d")["ok"] == "2026-02-01"
    assert stored(sandbox, "q")["b"] == stored(sandbox, "q")["ok"] == 1234


def test_cells_stand_in_errors_csv_as_they_stood_in_the_file(site, tmp_path):
    """A person mends them in the file's own manner, and the column beside them says which that is."""
    path = write(tmp_path / "d.csv", ("code", "grp", "d", "q"), [("a", BAD, "13/02/2026", "1.234,5")])
    load(site, path, "Thing")
    (row,) = read(Path(f"{path}.errors.csv"))
    assert (row["d"], row["q"]) == ("13/02/2026", "1.234,5")
    assert json.loads(row["import_reading"]) == {"read": {"d": {"proved": ["dd/mm/yyyy"]}, "q": {"decimal": ","}}}


def test_numbers_and_booleans_in_text_fields_stay_what_they_were(site, sandbox, tmp_path):
    """TRUE, 7 and a time, not 1, 7.0 and seconds."""
    cells = [True, timedelta(hours=30), 7.0, time(14, 5), datetime(2026, 1, 2, 3, 4, 5)]  # noqa: DTZ001
    rows = [[f"{kind}{n}", grp, cell] for kind, grp in (("ok", GOOD), ("no", BAD)) for n, cell in enumerate(cells)]
    path = book(tmp_path / "w.xlsx", ["code", "grp", "text"], rows)
    load(site, path, "Thing")
    assert again(site, path)["counts"] == {"done": 5}
    found = stored(sandbox, "text")
    assert [found[f"ok{n}"] for n in range(5)] == [found[f"no{n}"] for n in range(5)]
    assert {found[f"ok{n}"] for n in range(5)} == {"TRUE", "1 day, 6:00:00", "7", "14:05:00", "2026-01-02 03:04:05"}


def test_an_error_of_a_workbook_stays_one_until_it_is_mended(site, sandbox, tmp_path):
    """#N/A is nobody's text; the message names its column."""
    path = book(tmp_path / "w.xlsx", ["code", "grp", "text"], [["a", GOOD, "#N/A"], ["b", GOOD, "fine"]])
    assert load(site, path, "Thing")["counts"] == {"done": 1, "failed": 1}
    assert "column 3 (C) 'text'" in read(Path(f"{path}.errors.csv"))[0]["import_error"]
    assert again(site, path)["counts"] == {"failed": 1}
    mended = tmp_path / "mended2.csv"
    mended.write_text(Path(f"{path}.errors.csv").read_text("utf-8-sig").replace("#N/A,", "42,", 1), "utf-8-sig")
    assert load(site, mended, "Thing")["counts"] == {"done": 1}


@pytest.mark.parametrize("change", [lambda text: "\ufeff" + text.replace(",", ";"), lambda text: text])
def test_errors_csv_may_be_saved_as_spreadsheet_programs_do(change, site, tmp_path):
    """With semicolons, or without its byte order mark."""
    path = write(tmp_path / "d.csv", ("code", "grp"), [("b", BAD)])
    load(site, path, "Thing")
    text = Path(f"{path}.errors.csv").read_text("utf-8-sig").replace(BAD, GOOD)
    (tmp_path / "mended.csv").write_text(change(text))
    assert load(site, tmp_path / "mended.csv", "Thing")["counts"] == {"done": 1}


def test_result_files_have_the_delimiter_of_their_file(site, tmp_path):
    """Whoever opens the one opens the other."""
    (tmp_path / "d.csv").write_text(f"code;grp\na;{GOOD}\nb;{BAD}\n")
    load(site, tmp_path / "d.csv", "Thing")
    assert (tmp_path / "d.csv.errors.csv").read_text("utf-8-sig").startswith("code;grp;import_line;import_error")
    assert (tmp_path / "d.csv.success.csv").read_text("utf-8-sig").startswith("code;grp;import_document")
    assert again(site, tmp_path / "d.csv")["counts"] == {"done": 1}


@pytest.mark.parametrize("gone", [("import_line", "import_error", "import_reading"), ("import_error",)])
def test_an_apostrophe_that_was_ours_does_not_become_data(gone, site, sandbox, tmp_path):
    """Where somebody took the columns away by which the file is known, the cell is refused."""
    path = write(tmp_path / "d.csv", ("code", "grp", "text"), [("a", BAD, "=SUM(A1)"), ("b", BAD, "o'clock")])
    load(site, path, "Thing")
    rows = read(Path(f"{path}.errors.csv"))
    header = [name for name in rows[0] if name not in gone]
    bare = [[row[name].replace(BAD, GOOD) for name in header] for row in rows]
    report = load(site, write(tmp_path / "mended.csv", header, bare), "Thing", columns={})
    assert report["counts"] == {"done": 1, "failed": 1} and stored(sandbox, "text") == {"b": "o'clock"}


def test_rows_of_two_files_do_not_mix(site, sandbox, tmp_path):
    """One column cannot be read in two ways."""
    one = write(tmp_path / "one.csv", ("code", "grp", "q"), [("a", BAD, "1.234,5")])
    two = write(tmp_path / "two.csv", ("code", "grp", "q"), [("b", BAD, "1,234.5")])
    for path in (one, two):
        load(site, path, "Thing")
    first, second = (Path(f"{path}.errors.csv").read_text("utf-8-sig").replace(BAD, GOOD) for path in (one, two))
    (tmp_path / "both.csv").write_text(first + second.partition("\n")[2])
    report = load(site, tmp_path / "both.csv", "Thing")
    assert report["counts"] == {"done": 1, "failed": 1} and stored(sandbox, "q") == {"a": 1234.5}


def test_a_success_file_is_not_imported(site, sandbox, tmp_path):
    """Not even where unknown columns are left out."""
    path = write(tmp_path / "d.csv", ("code",), [("a",)])
    load(site, path, "Thing")
    report = load(site, Path(f"{path}.success.csv"), "Thing", ignore_unknown=True)
    assert "what became of the rows" in report["parts"][0]["error"]["message"]


def test_percentages_of_a_workbook_are_what_it_shows(site, sandbox, tmp_path):
    """50 % in a Percent field is 50, as in a CSV; in a Float it is the number."""
    rows = [["a", 0.5, 0.5], ["b", 0.075, 2], ["c", "19%", 1]]
    path = book(tmp_path / "w.xlsx", ["code", "p", "q"], rows, {0.5: "0%", 0.075: "0.0 %"})
    assert load(site, path, "Thing")["counts"] == {"done": 3}
    assert stored(sandbox, "p") == {"a": 50, "b": 7.5, "c": 19} and stored(sandbox, "q")["a"] == 0.5


# The law

MANY = 150


FIELDS = tuple(Field(name, kind, kind) for name, kind in [("code", "Data"), *KINDS.items()])
DOCTYPE = DocType("Thing", FIELDS)
LAYOUT = resolve(DOCTYPE, [field.fieldname for field in FIELDS])
numbers = st.sampled_from(
    ["1.234", "1,234", "1.234,5", "1,234.5", "12,5", "7", "-0,001", "1 000", "0.5", "3", "4,5", "x"]
)
dates = st.sampled_from(
    ["01/02/2026", "13/02/2026", "02/13/2026", "2026-02-01", "1.2.2026", "01-02-2026", "45000", "x"]
)
texts = st.text(st.characters(codec="utf-8", exclude_characters="\r\0"), max_size=6) | st.sampled_from(
    ["=1", "'=1", "-x", "TRUE", "#N/A", "[1]", "1.50", "30h", '{"a": 1}', "\\ud800", "yes", "6:00", "1:30:00"]
)
typed = st.one_of(
    st.booleans(),
    st.integers(-(10**6), 10**6),
    st.sampled_from([1.234, 12.345, 0.5, 7.0, 1e-10, 123456.789, 1e20, -0.001, 4.0, 3, 1, 20260102, 0]),
    st.sampled_from([Decimal("1.50"), Decimal("1.234"), Decimal("5.0"), Share(0.5), Share(0.1234)]),
    st.sampled_from([date(2026, 2, 1), datetime(2026, 2, 1, 3, 4, 5, 600), datetime(2026, 2, 1)]),  # noqa: DTZ001
    st.sampled_from([time(14, 5), time(1, 30, 0, 500000), timedelta(hours=6), timedelta(hours=30, microseconds=1)]),
    st.sampled_from([[1, 2], {"a": Decimal("1.10")}, ["x"], None, CellError("#N/A"), "\ud800", "a\0b"]),
)
cells = st.one_of(numbers, dates, texts, typed)
rows_of_cells = st.lists(st.tuples(*(cells for _ in KINDS)), min_size=1, max_size=5)
ways = st.builds(
    Reading, decimal=st.sampled_from(["", ".", ","]), dates=st.sampled_from([(), ("dd/mm/yyyy",), ("mm-dd-yyyy",)])
)


def drafts(assembler: Assembler, rows: list[tuple[Any, ...]]) -> list[Draft]:
    return list(assembler.assemble(enumerate(((f"c{n}", *row) for n, row in enumerate(rows)), 2)))


@settings(max_examples=MANY)
@given(rows_of_cells, rows_of_cells, ways, ways)
def test_a_cell_means_in_a_result_file_what_it_meant_or_is_an_error(bad, good, way, other):
    """Whatever the rows beside it proved, whatever is stated when it is imported again, and never another value."""
    sample = [("c", *row) for row in (*bad, *good)]
    before = Assembler(LAYOUT, reading=way, sample=sample)
    wanted = drafts(before, bad)
    text = io.StringIO(newline="")
    known = [[written(cell, before.manners[place]) for place, cell in enumerate(("c", *row))] for row in bad]
    csv.writer(text).writerows([[defused(cell) for cell, _ in row] for row in known])
    text.seek(0)
    back = [tuple(map(plain, row))[1:] for row in csv.reader(text)]
    said = Readings(json.dumps({"read": _said(before.manners)})).of(other, [field.fieldname for field in FIELDS])
    found = drafts(Assembler(LAYOUT, reading=other, readings=said), back)
    for number, (old, new) in enumerate(zip(wanted, found, strict=True)):
        failed = {problem.column.field.fieldname for problem in old.problems if problem.column}
        for place, field in enumerate(FIELDS):
            name, sure = field.fieldname, known[number][place][1]
            if name in failed or not sure:
                assert name not in new.doc or not sure, (name, bad[number][place - 1], new.doc[name])
            else:
                assert new.doc.get(name) == old.doc.get(name), (name, bad[number][place - 1])
