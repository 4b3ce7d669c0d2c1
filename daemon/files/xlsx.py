"""Rows of one sheet of an .xlsx workbook, in memory that does not grow with it. Writes a temporary file for its texts.

openpyxl's read-only mode keeps an element for every row and every text and needs four times as long; calamine holds the
sheet as a dense rectangle, which a file of 5 kB can make larger than any machine. So the sheet's XML is read here, as a
stream; both were measured. ECMA-376 part 1, chapter 18 says what it means.
"""

from __future__ import annotations

import os
import re
import tempfile
import zipfile
import zlib
from array import array
from collections.abc import Callable, Iterator
from datetime import datetime, time, timedelta
from typing import IO
from xml.parsers import expat

from daemon.core.columns import letters
from daemon.core.values import Share
from daemon.errors import FileProblem
from daemon.files.cells import Cell, CellError, Limits, Record, blank, problem
from daemon.files.source import refuse_bomb

_CHUNK = 1 << 16
_MEMBERS = 10_000
_WIDEST = 16_384
_TAG = 1 << 22
"""Bytes of one tag with its attributes."""
_PART = 1 << 26
"""Bytes of the parts that are held in memory: the list of sheets and the styles."""

Start = Callable[[str, dict[str, str]], None]


class Package:
    """The zip archive of a workbook. Raises FileProblem where it is damaged, or would grow beyond `limits`.

    The directory's sizes may lie, but zipfile never gives out more than they say, and compares the checksum.
    """

    def __init__(self, path: str, file: IO[bytes], limits: Limits) -> None:
        self._path = path
        try:
            self._zip = zipfile.ZipFile(file)
            members = self._zip.infolist()
        except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError, EOFError) as error:
            raise problem(path, f"the zip archive is damaged: {error}") from None
        if len(members) > _MEMBERS:
            raise problem(path, f"it has more than {_MEMBERS:,} parts, as no workbook does")
        self.names = {member.filename for member in members}
        refuse_bomb(path, sum(m.file_size for m in members), sum(m.compress_size for m in members), limits)

    def parts(self, name: str) -> Iterator[bytes]:
        """The member's bytes, piece by piece."""
        try:
            with self._zip.open(name) as member:
                while chunk := member.read(_CHUNK):
                    yield chunk
        except KeyError:
            raise problem(self._path, f"the workbook is damaged: its part {name} is missing") from None
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError) as error:
            raise problem(self._path, f"the workbook is damaged: {name}: {error}") from None
        except RuntimeError:
            raise encrypted(self._path) from None
        except NotImplementedError as error:
            raise problem(self._path, f"the workbook is packed in a way that is not supported: {error}") from None

    def start(self, name: str, size: int) -> bytes:
        """Up to `size` of the member's first bytes."""
        return next(self.parts(name), b"")[:size]

    def parse(self, name: str, start: Start) -> None:
        """Call `start` for each element of a small part."""
        xml = _Xml(self._path, name)
        xml.parser.StartElementHandler = start
        size = 0
        for chunk in self.parts(name):
            size += len(chunk)
            if size > _PART:
                raise problem(self._path, f"the workbook's part {name} is larger than any list of sheets or styles")
            xml.feed(chunk)
        xml.feed(b"", True)


def encrypted(path: str) -> FileProblem:
    """The error of a workbook that asks for a password."""
    return problem(path, "the workbook is encrypted", action="Save it without a password, then run the job again.")


def kind_of(package: Package, path: str) -> str:
    """ "xlsx" or "ods". Raises FileProblem that says what else it is."""
    names = package.names
    if "mimetype" in names:
        mime = package.start("mimetype", 80).decode("ascii", "replace").strip()
        if mime.startswith("application/vnd.oasis.opendocument.spreadsheet"):
            if b"encryption-data" in package.start("META-INF/manifest.xml", 1 << 16):
                raise encrypted(path)
            return "ods"
        raise problem(path, f"this is a document of type {mime}, not a table")
    if "xl/workbook.bin" in names:
        raise problem(path, "this is a binary workbook (.xlsb)", action="Save it as .xlsx.")
    if "xl/workbook.xml" in names or any(name.startswith("xl/worksheets/") for name in names):
        return "xlsx"
    what = "a Word document" if "word/document.xml" in names else "a zip archive, but no workbook"
    raise problem(path, f"this is {what}", action="Name the table file itself.")


class _Xml:
    """expat, fed piece by piece, which gives out a tag only when it has all of it."""

    def __init__(self, path: str, part: str) -> None:
        self._path = path
        self._part = part
        self._fed = 0
        self.parser = expat.ParserCreate(namespace_separator=" ")
        self.parser.buffer_text = True
        self.parser.StartDoctypeDeclHandler = self._refuse_entities

    def feed(self, chunk: bytes, final: bool = False) -> None:
        """One more piece. Raises FileProblem where it is not well-formed, or a handler cannot make sense of it."""
        try:
            self.parser.Parse(chunk, final)
        except expat.ExpatError as error:
            raise self._damaged(str(error)) from None
        except (ValueError, LookupError, OverflowError) as error:
            raise self._damaged(f"it holds what it may not: {error}") from None
        self._fed += len(chunk)
        if self._fed - self.parser.CurrentByteIndex > _TAG:
            raise self._damaged("a tag is longer than any program writes")

    def _refuse_entities(self, *_: object) -> None:
        raise self._damaged("it declares entities, as no program writes")

    def _damaged(self, why: str) -> FileProblem:
        return problem(self._path, f"the workbook is damaged: {self._part}: {why}")


def _local(tag: str) -> str:
    """Without the namespace: strict and transitional workbooks differ in nothing else that matters here."""
    return tag.rpartition(" ")[2]


class Xlsx:
    """One sheet: the one called `sheet`, else the first visible one that is not empty. Raises FileProblem.

    Iterating gives (row number, cells) of each row that is not blank.
    """

    def __init__(self, path: str, package: Package, sheet: str | None, limits: Limits) -> None:
        self._path = path
        self._package = package
        self._limits = limits
        self._epoch_1904 = False
        targets, self._texts_part, styles = self._relations()
        self._sheets: list[tuple[str, str, bool]] = []
        self._package.parse("xl/workbook.xml", lambda tag, attributes: self._in_workbook(tag, attributes, targets))
        self._kinds = _styles(package, styles) if styles in package.names else []
        self._texts: _Texts | None = None
        try:
            self.sheet, self._part = self._choose(sheet)
        except BaseException:
            self.close()
            raise

    def _relations(self) -> tuple[dict[str, str], str, str]:
        """Part of each relation's id, and those of the texts and the styles."""
        targets: dict[str, str] = {}
        texts, styles = "xl/sharedStrings.xml", "xl/styles.xml"

        def start(tag: str, attributes: dict[str, str]) -> None:
            nonlocal texts, styles
            if _local(tag) != "Relationship":
                return
            kind, target = attributes.get("Type", ""), attributes.get("Target", "")
            target = target[1:] if target.startswith("/") else os.path.normpath(f"xl/{target}")
            if kind.endswith("/worksheet"):
                targets[attributes.get("Id", "")] = target
            elif kind.endswith("/sharedStrings"):
                texts = target
            elif kind.endswith("/styles"):
                styles = target

        self._package.parse("xl/_rels/workbook.xml.rels", start)
        return targets, texts, styles

    def _in_workbook(self, tag: str, attributes: dict[str, str], targets: dict[str, str]) -> None:
        name = _local(tag)
        if name == "workbookPr":
            self._epoch_1904 = attributes.get("date1904", "0") in ("1", "true", "on")
        elif name == "sheet":
            relation = next((value for key, value in attributes.items() if key.endswith(" id")), "")
            if relation in targets:  # a chart has a sheet, too, but no worksheet
                visible = attributes.get("state", "visible") == "visible"
                self._sheets.append((attributes.get("name", ""), targets[relation], visible))

    def _choose(self, sheet: str | None) -> tuple[str, str]:
        if sheet is not None:
            for name, part, _ in self._sheets:
                if name == sheet:
                    return name, part
            raise no_such_sheet(self._path, sheet, [name for name, _, _ in self._sheets])
        for name, part, visible in self._sheets:
            if visible and next(self._rows(part), None):
                return name, part
        raise problem(self._path, "the workbook is empty: no visible sheet holds anything")

    def __iter__(self) -> Iterator[Record]:
        return self._rows(self._part)

    def _rows(self, part: str) -> Iterator[Record]:
        if self._texts is None:
            self._texts = _Texts(self._path, self._package, self._texts_part, self._limits)
        sheet = _Sheet(self._path, self._texts, self._kinds, self._epoch_1904, self._limits)
        xml = _Xml(self._path, part)
        xml.parser.StartElementHandler, xml.parser.EndElementHandler = sheet.start, sheet.end
        xml.parser.CharacterDataHandler = sheet.text
        for chunk in self._package.parts(part):
            xml.feed(chunk)
            yield from sheet.rows
            sheet.rows.clear()
            if sheet.ended:
                return
        xml.feed(b"", True)
        yield from sheet.rows

    def close(self) -> None:
        """Give the temporary file back."""
        if self._texts:
            self._texts.close()


def no_such_sheet(path: str, sheet: str, names: list[str]) -> FileProblem:
    """The error that lists the sheets that there are."""
    return problem(path, f"there is no sheet {sheet!r}", action=f"Name one of these: {', '.join(map(repr, names))}.")


_UNCALCULATED = CellError("a formula without a stored result")


class _Sheet:
    """The XML of a worksheet as expat comes by it; `rows` are those that are complete and not blank."""

    def __init__(self, path: str, texts: _Texts, kinds: list[str], epoch_1904: bool, limits: Limits) -> None:
        self.rows: list[Record] = []
        self.ended = False
        self._path = path
        self._texts = texts
        self._kinds = kinds
        self._epoch_1904 = epoch_1904
        self._limit = limits.cell
        self._record = limits.record
        self._size = 0
        self._row = self._column = 0
        self._type = self._style = ""
        self._value: list[str] | None = None
        self._length = 0
        self._texting = self._formula = self._inside = False
        self._cells: list[Cell] = []
        self._names: dict[str, str] = {}

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        name = self._names.get(tag) or self._names.setdefault(tag, _local(tag))
        if name == "c":
            reference = attributes.get("r")
            self._column = _column(reference) if reference else self._column + 1
            self._type, self._style = attributes.get("t", "n"), attributes.get("s", "0")
            self._value, self._formula, self._length = None, False, 0
        elif name in ("v", "t"):
            self._texting = not self._inside
            if self._texting and self._value is None:
                self._value = []
        elif name == "row":
            number = attributes.get("r")
            self._row = int(number) if number else self._row + 1
            self._column, self._cells, self._size = 0, [], 0
        elif name == "f":
            self._formula = True
        elif name == "rPh":
            self._inside = True

    def text(self, data: str) -> None:
        if self._texting and self._value is not None:
            self._value.append(data)
            self._length += len(data)
            if self._length > self._limit:
                why = f"a cell is longer than {self._limit:,} characters"
                raise problem(self._path, why, self._row, letters(max(self._column - 1, 0)))
            self._size += len(data)
            if self._size > self._record:
                raise problem(self._path, f"a row is longer than {self._record:,} characters", self._row)

    def end(self, tag: str) -> None:
        name = self._names[tag]
        if name == "c":
            self._close_cell()
        elif name in ("v", "t"):
            self._texting = False
        elif name == "row":
            if not all(map(blank, self._cells)):
                self.rows.append((self._row, self._cells))
            self._cells = []
        elif name == "rPh":
            self._inside = False
        elif name == "sheetData":
            self.ended = True

    def _close_cell(self) -> None:
        if self._value is None:
            if self._formula:
                self._put(_UNCALCULATED)
            return
        text = "".join(self._value)
        self._value = None
        if text:
            self._put(self._cell(text))
        elif self._formula and self._type != "str":  # a formula may well give the empty text, but no empty number
            self._put(_UNCALCULATED)

    def _put(self, cell: Cell) -> None:
        if cell is None:
            return
        if not 0 < self._column <= _WIDEST:
            raise problem(self._path, f"the workbook is damaged: there is a column {self._column}", self._row)
        missing = self._column - len(self._cells) - 1
        if missing >= 0:
            self._cells.extend([None] * missing)
            self._cells.append(cell)
        else:
            self._cells[self._column - 1] = cell

    def _cell(self, text: str) -> Cell:
        kind = self._type
        if kind == "s":
            return self._texts[int(text)] or None
        if kind == "n":
            return self._number(text)
        if kind == "b":
            return text in ("1", "true")
        if kind == "e":
            return CellError(text)
        if kind == "d":
            return _iso(text)
        return unescaped(text)

    def _number(self, text: str) -> Cell:
        index = int(self._style)
        kind = self._kinds[index] if index < len(self._kinds) else ""
        if kind == "share":
            return Share(text)
        if kind:
            return moment(float(text), kind, self._epoch_1904)
        try:
            return int(text)
        except ValueError:
            return float(text)


_LETTERS: dict[str, int] = {}


def _column(reference: str) -> int:
    """Of "AB12": 28."""
    name = reference.rstrip("0123456789")
    found = _LETTERS.get(name)
    if found is None:
        found = 0
        for letter in name[:4].upper():
            found = found * 26 + ord(letter) - 64
        if 0 < found <= _WIDEST:
            _LETTERS[name] = found
    return found


def _iso(text: str) -> Cell:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return time.fromisoformat(text)
    return found.date() if "T" not in text else found.replace(tzinfo=None)


_ESCAPE = re.compile("_x([0-9A-Fa-f]{4})_")


def unescaped(text: str) -> str:
    """Texts hold characters that XML cannot as _xHHHH_ (part 1, 22.9.2.19)."""
    if "_x" not in text:
        return text
    return _ESCAPE.sub(_character, text)


def _character(found: re.Match[str]) -> str:
    code = int(found[1], 16)
    return found[0] if code == 0 or 0xD800 <= code < 0xE000 else chr(code)


_DAY_MS = 86_400_000


def moment(serial: float, kind: str, epoch_1904: bool) -> Cell:
    """What a number means under a date format of `kind`; CellError where the calendar has no such day."""
    try:
        if kind == "elapsed":
            return timedelta(milliseconds=round(serial * _DAY_MS))
        days, ms = divmod(round(serial * _DAY_MS), _DAY_MS)
        if kind == "time" and not days:
            return (datetime(1900, 1, 1) + timedelta(milliseconds=ms)).time()  # noqa: DTZ001
        if serial < 0 or (60 <= serial < 61 and not epoch_1904):
            return CellError(f"{serial} as a date")
        # 1900 was no leap year, but Lotus 1-2-3 thought so: below 60 its days are one off.
        start = datetime(1904, 1, 1) if epoch_1904 else datetime(1899, 12, 30 + (serial < 60))  # noqa: DTZ001
        found = start + timedelta(days=days, milliseconds=ms)
    except (OverflowError, ValueError):
        return CellError(f"{serial} as a date")
    return found.date() if kind == "date" and not ms else found


_BUILT_IN = {
    **dict.fromkeys((14, 15, 16, 17, *range(27, 32), 36, *range(50, 59)), "date"),
    **dict.fromkeys((18, 19, 20, 21, 32, 33, 34, 35, 45, 47), "time"),
    22: "datetime",
    46: "elapsed",
    **dict.fromkeys((9, 10), "share"),
}


def format_kind(code: str) -> str:
    """ "date", "time", "datetime", "elapsed", "share" for percentages, or "" where a number is shown as one."""
    bare = re.sub(r'"[^"]*"|\\.|_.|\*.', "", code.partition(";")[0]).lower()
    if re.search(r"\[(h+|m+|s+)\]", bare):
        return "elapsed"
    bare = re.sub(r"\[[^\]]*\]|general|standard|am/pm|a/p", "", bare)
    if "%" in bare:
        return "share"
    clock = bool(re.search("[hs]", bare))
    day = bool(re.search("[yd]", bare)) or ("m" in bare and not clock)
    return "datetime" if day and clock else "date" if day else "time" if clock else ""


def _styles(package: Package, part: str) -> list[str]:
    """The kind of each cell style, by its index."""
    codes: dict[str, str] = {}
    kinds: list[str] = []
    inside = False

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal inside
        name = _local(tag)
        if name == "numFmt":
            codes[attributes.get("numFmtId", "")] = format_kind(attributes.get("formatCode", ""))
        elif name in ("cellXfs", "cellStyleXfs", "cellStyles", "dxfs"):
            inside = name == "cellXfs"
        elif name == "xf" and inside:
            number = attributes.get("numFmtId", "0")
            kinds.append(codes[number] if number in codes else _BUILT_IN.get(int(number), ""))

    package.parse(part, start)
    return kinds


class _Texts:
    """The texts that cells share, in a temporary file: eight bytes of memory for each."""

    def __init__(self, path: str, package: Package, part: str, limits: Limits) -> None:
        self._path = path
        self._limit = limits.cell
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 (closed by close)
        self._ends = array("Q", [0])
        self._pieces: list[str] = []
        self._waiting: list[bytes] = []
        self._length = 0
        self._texting = self._phonetic = False
        if part in package.names:
            try:
                self._read(package, part)
            except OSError as error:
                self.close()
                raise problem(path, f"its texts cannot be put into a temporary file: {error.strerror}") from None
            except BaseException:
                self.close()
                raise

    def __getitem__(self, index: int) -> str:
        if not 0 <= index < len(self._ends) - 1:
            raise ValueError(f"there is no text {index}")
        start, end = self._ends[index], self._ends[index + 1]
        return os.pread(self._file.fileno(), end - start, start).decode()

    def close(self) -> None:
        self._file.close()

    def _read(self, package: Package, part: str) -> None:
        xml = _Xml(self._path, part)
        xml.parser.StartElementHandler, xml.parser.EndElementHandler = self._start, self._end
        xml.parser.CharacterDataHandler = self._text
        for chunk in package.parts(part):
            xml.feed(chunk)
            self._file.write(b"".join(self._waiting))
            self._waiting.clear()
        xml.feed(b"", True)
        self._file.write(b"".join(self._waiting))
        self._file.flush()

    def _start(self, tag: str, _: dict[str, str]) -> None:
        name = _local(tag)
        if name == "t":
            self._texting = not self._phonetic
        elif name == "si":
            self._pieces, self._length = [], 0
        elif name == "rPh":
            self._phonetic = True

    def _text(self, data: str) -> None:
        if self._texting:
            self._pieces.append(data)
            self._length += len(data)
            if self._length > self._limit:
                raise problem(self._path, f"a cell's text is longer than {self._limit:,} characters")

    def _end(self, tag: str) -> None:
        name = _local(tag)
        if name == "t":
            self._texting = False
        elif name == "rPh":
            self._phonetic = False
        elif name == "si":
            text = unescaped("".join(self._pieces)).encode()
            self._waiting.append(text)
            self._ends.append(self._ends[-1] + len(text))
