"""Workbooks: openpyxl and xlwt write them, ours reads the same values under the sheet's own row numbers."""

from __future__ import annotations

import gzip
import re
import shutil
import zipfile
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import openpyxl
import pytest
import xlwt
from openpyxl.styles.numbers import is_date_format
from openpyxl.utils.datetime import CALENDAR_MAC_1904, from_excel

from daemon.errors import FileProblem
from daemon.files.cells import CellError, Limits, Row
from daemon.files.table import open_table, survey
from daemon.files.xlsx import format_kind, moment

NOON = datetime(2024, 2, 29, 12, 30, 15)  # noqa: DTZ001 (a cell has no zone)
VALUES = [
    "text ",
    7,
    -0.25,
    True,
    date(2024, 2, 29),
    NOON,
    time(23, 59, 1),
    timedelta(hours=30, seconds=1),
    None,
    "é\n<&",
]
HEADER = tuple("abcdefghij")


INLINE = re.compile(rb't="inlineStr"><is>(.*?)</is>')


def share(path: Path) -> Path:
    """Move the texts of `path` out of its cells, as Excel has them, once each."""
    shutil.copy(path, path.with_suffix(".old"))
    texts: dict[bytes, int] = {}

    def moved(found: re.Match[bytes]) -> bytes:
        return b't="s"><v>%d</v>' % texts.setdefault(found[1], len(texts))

    with zipfile.ZipFile(path.with_suffix(".old")) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, INLINE.sub(moved, old.read(name)))
        items = b"".join(b"<si>%s</si>" % text for text in texts)
        new.writestr("xl/sharedStrings.xml", b'<sst xmlns="%s">%s</sst>' % (SPACE, items))
    return path


SPACE = b"http://schemas.openxmlformats.org/spreadsheetml/2006/main"


def xlsx(path: Path, **how: Any) -> Path:
    book = openpyxl.Workbook()
    if how.get("mac"):
        book.epoch = CALENDAR_MAC_1904
    hidden = book.active
    hidden.title, hidden.sheet_state = "Hidden", "hidden"
    hidden["A1"] = "no"
    book.create_sheet("Empty")
    sheet = book.create_sheet("Data")
    for column, (name, value) in enumerate(zip(HEADER, VALUES, strict=True), 2):
        sheet.cell(3, column, name)
        sheet.cell(5, column, value)
    sheet["B7"], sheet["C7"], sheet["D7"] = "#N/A", "=1+1", "'x"
    sheet["B9"] = "  "
    book.save(path)
    return path if how.get("inline") else share(path)


@pytest.mark.parametrize("mac", [False, True])
@pytest.mark.parametrize("inline", [False, True])
@pytest.mark.parametrize("zipped", [False, True])
def test_an_xlsx_gives_what_is_in_its_cells(tmp_path: Path, mac: bool, inline: bool, zipped: bool) -> None:
    """Typed, by either epoch, under the row's own number, from the first visible sheet that is not empty. Its name
    may end in .csv, and it may be gzipped."""
    path = xlsx(tmp_path / "a.csv", mac=mac, inline=inline)
    if zipped:
        path.write_bytes(gzip.compress(path.read_bytes()))
    with open_table(path) as table:
        assert (table.format, table.sheet, table.header, table.records) == ("xlsx", "Data", HEADER, 2)
        first, second = table
        assert first == Row(5, tuple(VALUES))
        assert second.line == 7 and second.cells[2] == "'x"
        assert list(map(type, first.cells)) == list(map(type, VALUES))
        assert [type(cell) for cell in second.cells[:2]] == [CellError, CellError]
        assert second.cells[0] == "#N/A" and "formula" in second.cells[1]
        assert list(table.rows(skip=1)) == [second]


def test_an_xls_gives_what_is_in_its_cells(tmp_path: Path) -> None:
    """Like an .xlsx, merged cells in the first of them."""
    book = xlwt.Workbook()
    book.add_sheet("Hidden").write(0, 0, "no")
    book.get_sheet("Hidden").visibility = 1
    book.add_sheet("Empty")
    sheet = book.add_sheet("Data")
    formats = {date: "yyyy-mm-dd", datetime: "yyyy-mm-dd hh:mm:ss", time: "hh:mm:ss", timedelta: "[h]:mm:ss"}
    for column, (name, value) in enumerate(zip(HEADER, VALUES, strict=True), 1):
        sheet.write(2, column, name)
        style = xlwt.easyxf(num_format_str=formats.get(type(value), "General"))
        sheet.write(4, column, value.total_seconds() / 86400 if isinstance(value, timedelta) else value, style)
    sheet.write_merge(5, 6, 1, 2, "merged")
    book.save(str(tmp_path / "a.xls"))
    with open_table(tmp_path / "a.xls") as table:
        assert (table.format, table.sheet, table.header) == ("xls", "Data", HEADER)
        assert list(table) == [Row(5, tuple(VALUES)), Row(6, ("merged", *[None] * 9))]
    with pytest.raises(FileProblem, match="there is no sheet 'X'") as caught:
        survey(tmp_path / "a.xls", sheet="X")
    assert "'Hidden', 'Empty', 'Data'" in caught.value.action


NAMES = ["office:1.0", "table:1.0", "text:1.0"]
SPACES = " ".join(f'xmlns:{n[:-4]}="urn:oasis:names:tc:opendocument:xmlns:{n}"' for n in NAMES)


def cell(kind: str, value: str, text: str = "x") -> str:
    attribute = "" if kind == "string" else f' office:{"value" if kind == "float" else f"{kind}-value"}="{value}"'
    return f'<table:table-cell office:value-type="{kind}"{attribute}><text:p>{text}</text:p></table:table-cell>'


def ods(path: Path, rows: str, manifest: str = "<m/>") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet", zipfile.ZIP_STORED)
        archive.writestr("META-INF/manifest.xml", manifest)
        sheet = f'<table:table table:name="S">{rows}</table:table>'
        body = f"<office:body><office:spreadsheet>{sheet}</office:spreadsheet></office:body>"
        archive.writestr("content.xml", f"<office:document-content {SPACES}>{body}</office:document-content>")
    return path


def row(*cells: str, repeated: int = 1) -> str:
    return f'<table:table-row table:number-rows-repeated="{repeated}">{"".join(cells)}</table:table-row>'


def test_an_ods_gives_what_is_in_its_cells(tmp_path: Path) -> None:
    """Whole numbers whole, times as times, below blank rows that are told by their number alone."""
    header = row(*(cell("string", "", name) for name in "abcde"))
    values = row(
        cell("float", "1"),
        cell("float", "1.5"),
        cell("date", "2024-02-29"),
        cell("time", "PT30H00M01S"),
        cell("time", "PT12H30M15S"),
    )
    path = ods(tmp_path / "a.ods", row("<table:table-cell/>", repeated=2) + header + values)
    with open_table(path) as table:
        assert (table.format, table.sheet, table.header) == ("ods", "S", tuple("abcde"))
        assert list(table) == [Row(4, (1, 1.5, date(2024, 2, 29), timedelta(hours=30, seconds=1), time(12, 30, 15)))]


def test_a_small_file_that_asks_for_all_memory_is_refused(tmp_path: Path) -> None:
    """The process that reads it ends; ours goes on."""
    wide = cell("string", "").replace("<table:table-cell", '<table:table-cell table:number-columns-repeated="50"')
    with pytest.raises(FileProblem, match="needs more than 256 MB"):
        survey(ods(tmp_path / "a.ods", row(wide, repeated=900_000)), limits=Limits(memory=256 << 20))


def test_an_encrypted_ods_is_told(tmp_path: Path) -> None:
    """By its manifest."""
    with pytest.raises(FileProblem, match="the workbook is encrypted"):
        survey(ods(tmp_path / "a.ods", "", "<m><encryption-data/></m>"))


def rewritten(source: Path, target: Path, member: str, change: Any) -> Path:
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            data = old.read(name)
            new.writestr(name, change(data) if name == member else data)
    return target


DATA = "xl/worksheets/sheet3.xml"


@pytest.mark.parametrize(
    ("member", "change", "message"),
    [
        (DATA, lambda data: data[:600], "damaged"),
        (DATA, lambda data: data.replace(b'r="B7"', b'r="ZZZZZ7"'), "there is a column"),
        (DATA, lambda data: data.replace(b'r="B7"', b'r="L7"'), "line 7, column L .* no header"),
        (DATA, lambda data: data.replace(b"<v>12</v>", b"<v>999</v>"), "there is no text 999"),
        (DATA, lambda data: b"<!DOCTYPE a [<!ENTITY b 'c'>]>" + data, "declares entities"),
        (DATA, lambda data: b"<worksheet a='" + b" " * 5_000_000 + b"'/>", "a tag is longer than any"),
        (DATA, lambda data: data.replace(b"<v>#N/A", b"<v>" + b"x" * 70_000), "line 7, column B: a cell is longer"),
        ("xl/workbook.xml", lambda data: b"<workbook/>", "no visible sheet holds anything"),
        ("xl/sharedStrings.xml", lambda data: b"<sst>", "damaged|no text"),
        (DATA, lambda data: data.replace(b"</sheetData>", b" " * 10**7 + b"</sheetData>"), "200 times its size"),
    ],
)
def test_a_damaged_xlsx_says_so(tmp_path: Path, member: str, change: Any, message: str) -> None:
    """And which row where it is known."""
    path = rewritten(xlsx(tmp_path / "a.xlsx"), tmp_path / "b.xlsx", member, change)
    with pytest.raises(FileProblem, match=message):
        survey(path, limits=Limits(trusted=6 * 10**6, cell=1 << 16))


def test_a_directory_that_lies_about_sizes_gains_nothing(tmp_path: Path) -> None:
    """No more is expanded than it admits to."""
    path = rewritten(xlsx(tmp_path / "a.xlsx"), tmp_path / "b.xlsx", DATA, lambda data: data + b" " * 10**7)
    with zipfile.ZipFile(path) as archive:
        size = archive.getinfo(DATA).file_size
    path.write_bytes(path.read_bytes().replace(size.to_bytes(4, "little"), (5000).to_bytes(4, "little")))
    with pytest.raises(FileProblem, match=r"the workbook is damaged: .*Bad CRC-32"):
        survey(path, sheet="Data", limits=Limits(trusted=10**6))


def test_an_unknown_sheet_lists_those_that_are_there(tmp_path: Path) -> None:
    """The hidden ones, too: they can be named."""
    path = xlsx(tmp_path / "a.xlsx")
    with pytest.raises(FileProblem, match="there is no sheet 'data'") as caught:
        survey(path, sheet="data")
    assert caught.value.action == "Name one of these: 'Hidden', 'Empty', 'Data'."
    assert survey(path, sheet="Hidden").header == ("no",)


@pytest.mark.parametrize("serial", [0, 0.5, 1, 59, 61, 45351.521006944, 2957003.25])
@pytest.mark.parametrize("mac", [False, True])
def test_serial_numbers_are_dates_as_openpyxl_has_them(serial: float, mac: bool) -> None:
    """Also before the day in 1900 that never was."""
    known = from_excel(serial, CALENDAR_MAC_1904) if mac else from_excel(serial)
    assert moment(serial, "time" if serial < 1 else "datetime", mac) == known


def test_a_day_that_never_was_is_an_error() -> None:
    """As are those before and after the calendar."""
    assert all(isinstance(moment(serial, "date", False), CellError) for serial in (60, -1, 3e9, float("inf")))


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("General", ""), ("0.00E+00", ""), ('#,##0 "days"', ""), ("[Red]0", ""), ("yyyy-mm-dd", "date"),
        ("mmm", "date"),
        ("[$-407]d. mmmm yyyy;@", "date"), ("h:mm AM/PM", "time"), ("mm:ss.0", "time"), ("[h]:mm:ss", "elapsed"),
        ("[mm]:ss", "elapsed"), ("d/m/yy h:mm", "datetime"), ("\\d0", ""), ("@", ""),
        ("0%", "share"), ("0.0 %", "share"), ('0"%"', ""),
    ],
)  # fmt: skip
def test_formats_tell_dates_from_numbers(code: str, kind: str) -> None:
    """As openpyxl does, and besides what part of a moment they show."""
    assert format_kind(code) == kind
    assert (kind not in ("", "share")) == is_date_format(code)


def test_what_libreoffice_calls_general_in_german_is_a_number() -> None:
    """Its letters are no parts of a moment."""
    assert format_kind("Standard") == ""


def test_a_strict_workbook_is_read(tmp_path: Path) -> None:
    """Its namespaces are others, its cells the same; texts hold escapes and readings that are no text."""
    shutil.copy(xlsx(tmp_path / "a.xlsx"), tmp_path / "b.xlsx")
    for member in ("xl/workbook.xml", DATA, "xl/sharedStrings.xml"):
        shutil.copy(tmp_path / "b.xlsx", tmp_path / "a.xlsx")
        rewritten(tmp_path / "a.xlsx", tmp_path / "b.xlsx", member, lambda data: data.replace(SPACE, b"urn:strict"))
    shutil.copy(tmp_path / "b.xlsx", tmp_path / "a.xlsx")
    text, both = b"<t>a</t>", b"<r><t>a_x000D_</t></r><rPh><t>no</t></rPh><r><t>_x005F_x</t></r>"
    rewritten(tmp_path / "a.xlsx", tmp_path / "b.xlsx", "xl/sharedStrings.xml", lambda data: data.replace(text, both))
    assert survey(tmp_path / "b.xlsx").header == ("a\r_x", *HEADER[1:])
