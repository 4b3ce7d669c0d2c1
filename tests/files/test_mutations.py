"""Whatever bytes a file holds, only FileProblem comes out of it."""

from __future__ import annotations

import contextlib
import gzip
from pathlib import Path

import openpyxl
import pytest
import xlwt
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.errors import FileProblem
from daemon.files.cells import Limits
from daemon.files.table import FORMATS, open_table

SMALL = Limits(memory=512 << 20, seconds=20)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mutations")


@pytest.fixture(scope="module")
def books(folder: Path) -> dict[str, bytes]:
    new, old = openpyxl.Workbook(), xlwt.Workbook()
    sheet = old.add_sheet("S")
    for row, cells in enumerate([("a", "b"), ("x", 1), ("y", 2.5)]):
        new.active.append(cells)
        for column, cell in enumerate(cells):
            sheet.write(row, column, cell)
    new.save(folder / "a.xlsx")
    old.save(str(folder / "a.xls"))
    return {kind: (folder / f"a.{kind}").read_bytes() for kind in ("xlsx", "xls")}


def try_to_read(path: Path, data: bytes, **how: str) -> None:
    path.write_bytes(data)
    with contextlib.suppress(FileProblem), open_table(path, limits=SMALL, **how) as table:  # type: ignore[arg-type]
        assert len(list(table)) == table.records
        assert list(table.rows(skip=1)) == list(table)[1:]


@given(st.binary(max_size=300), st.sampled_from(["a.csv", "a.jsonl", "a"]), st.booleans())
def test_any_bytes(folder, data, name, zipped):
    """Under any name, gzipped or not; and what can be surveyed can be read."""
    try_to_read(folder / name, gzip.compress(data) if zipped else data)


@given(st.text('a1,;\t"\r\n \ufeffé=|', max_size=60), st.sampled_from(["utf-8", "utf-16", "cp1252"]))
def test_any_csv(folder, text, encoding):
    """Made of what gives CSV its shape."""
    try_to_read(folder / "b.csv", text.encode(encoding, "ignore"))


@given(st.text('{}[]":,0.eE-nultr\\u\n', max_size=40))
def test_any_json(folder, text):
    """Made of what gives JSON its shape."""
    try_to_read(folder / "b.jsonl", b'{"a":1}\n' + text.encode())


MUTATIONS = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=20)


def mutated(data: bytes, changes: list[tuple[float, int]]) -> bytes:
    found = bytearray(data)
    for place, byte in changes:
        found[int(place * len(found))] = byte
    return bytes(found)


@given(MUTATIONS)
def test_a_mutated_xlsx(folder, books, changes):
    """Bytes of the archive."""
    try_to_read(folder / "c.xlsx", mutated(books["xlsx"], changes))


@settings(max_examples=15)
@given(MUTATIONS)
def test_a_mutated_xls(folder, books, changes):
    """Also where calamine panics."""
    try_to_read(folder / "c.xls", mutated(books["xls"], changes))


@settings(max_examples=100)
@given(
    MUTATIONS, st.sampled_from(["xl/worksheets/sheet1.xml", "xl/workbook.xml", "xl/styles.xml", "xl/sharedStrings.xml"])
)
def test_mutated_xml_in_an_xlsx(folder, books, changes, member):
    """Behind a checksum that is right."""
    import io
    import zipfile

    new = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(books["xlsx"])) as old, zipfile.ZipFile(new, "w") as archive:
        for name in old.namelist():
            data = old.read(name)
            if name == member:
                data = mutated(data, [(place, b'0123456789<>/"rst x-e'[byte % 21]) for place, byte in changes[:3]])
            archive.writestr(name, data)
    try_to_read(folder / "d.xlsx", new.getvalue())


@settings(max_examples=30)
@given(st.binary(max_size=50), st.sampled_from([kind for kind in FORMATS if kind != "xls"]))
def test_a_format_that_is_forced(folder, data, kind):
    """Upon bytes that are something else."""
    try_to_read(folder / "e", data, format=kind)
