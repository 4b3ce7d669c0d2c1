"""What became of rows, in CSV files beside the one that they came from. Appends only; never reads what it wrote.

RFC 4180 in UTF-8 with a byte order mark, by which spreadsheet programs know the encoding. `open_table` with
the delimiter that `delimiter_of_ours` says reads such a file back.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
import stat
from collections.abc import Sequence
from contextlib import contextmanager
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from daemon.errors import ResultFileError
from daemon.files.cells import Cell

if TYPE_CHECKING:
    from collections.abc import Iterator

_BUFFER = 1 << 18


class ResultFile:
    """An open result file. What was written is on the disk after `flush`, and only what is before `tell()` counts.

    All methods raise ResultFileError where the file cannot be written.
    """

    def __init__(self, path: Path, descriptor: int, place: int, escape_formulas: bool, delimiter: str) -> None:
        self.path = path
        self._descriptor = descriptor
        self._place = place
        self._escape = escape_formulas
        self._text = io.StringIO(newline="")
        self._writer = csv.writer(self._text, lineterminator="\r\n", delimiter=delimiter)

    @classmethod
    def open(
        cls, path: Path, header: Sequence[str], *, at: int = 0, escape_formulas: bool = True, delimiter: str = ","
    ) -> ResultFile:
        """`path`, cut off behind byte `at`, which a `tell()` gave; 0: a new file that begins with `header`, whatever
        was there before. Only the daemon's user can read it.

        `escape_formulas`: see `defused`.
        """
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        with _worded(path):
            descriptor = os.open(path, flags, 0o600)
        try:
            found = cls(path, descriptor, at, escape_formulas, delimiter)
            found._begin(header)
        except BaseException:
            os.close(descriptor)
            raise
        return found

    def write(self, cells: Sequence[Cell]) -> None:
        """One row, as text that an import reads as the same values (`as_text`)."""
        texts = map(as_text, cells)
        self._writer.writerow([defused(text) for text in texts] if self._escape else list(texts))
        if self._text.tell() > _BUFFER:
            self._push()

    @property
    def inode(self) -> int:
        return os.fstat(self._descriptor).st_ino

    def flush(self) -> None:
        """Put all rows on the disk."""
        self._push()
        with _worded(self.path):
            os.fsync(self._descriptor)

    def tell(self) -> int:
        """The byte position behind the last row written, to be journaled after `flush`."""
        self._push()
        return self._place

    def close(self) -> None:
        """Flush and close."""
        if self._descriptor < 0:
            return
        try:
            self.flush()
        finally:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> ResultFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _begin(self, header: Sequence[str]) -> None:
        with _worded(self.path):
            size = os.fstat(self._descriptor).st_size
            if size < self._place:
                raise ResultFileError(
                    f"{self.path}: the file has {size:,} bytes but {self._place:,} were written: somebody changed it",
                    action="Put the file back, or start the import anew.",
                )
            os.fchmod(self._descriptor, 0o600)
            os.ftruncate(self._descriptor, self._place)
        if not self._place:
            self._text.write("\ufeff")
            self.write(header)
            self.flush()
            _sync_folder(self.path)

    def _push(self) -> None:
        data = memoryview(self._text.getvalue().encode("utf-8", "backslashreplace"))
        with _worded(self.path):
            while data:
                written = os.pwrite(self._descriptor, data, self._place)
                self._place += written
                data = data[written:]
        self._text.seek(0)
        self._text.truncate()


def set_aside(path: Path, journaled: int, inode: int) -> None:
    """Make room for a result file of which `journaled` bytes are to stay: one that holds less, is another, or whose
    rows nobody journaled, is another import's or somebody changed it, and becomes `path~`, or `path.2~` where that is
    taken. Raises ResultFileError."""
    with _worded(path):
        if not path.exists():
            return
        found = path.stat()
        if not journaled or found.st_size < journaled or found.st_ino != inode:
            names = (f"{path.name}{'' if number == 1 else f'.{number}'}~" for number in count(1))
            path.replace(next(free for name in names if not (free := path.with_name(name)).exists()))


def delimiter_of_ours(path: Path, column: str) -> str:
    """The delimiter of a result file, which has `column` in its first line; "" where it is none of ours. A spreadsheet
    program that saved it may have taken another delimiter, and the byte order mark away."""
    head = _head(path).removeprefix(b"\xef\xbb\xbf").splitlines()[:1]
    line = head[0].decode("utf-8", "replace") if head else ""
    cells = {delimiter: [cell.strip().strip('"') for cell in line.split(delimiter)] for delimiter in DELIMITERS}
    return next((delimiter for delimiter, found in cells.items() if column in found), "")


DELIMITERS = ",;\t"


def _head(path: Path) -> bytes:
    """The beginning of a regular file, or nothing."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe would keep us waiting
    except OSError:
        return b""
    try:
        return os.read(descriptor, 1 << 16) if stat.S_ISREG(os.fstat(descriptor).st_mode) else b""
    except OSError:
        return b""
    finally:
        os.close(descriptor)


@contextmanager
def _worded(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ResultFileError(f"{path}: the result file cannot be written: {error.strerror or error}") from None


def _sync_folder(path: Path) -> None:
    """A new file's name is on the disk only when its directory is (fsync(2))."""
    with _worded(path):
        descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def as_text(cell: Cell) -> str:
    """`cell` as it would stand in a CSV: dates and times as ISO 8601, numbers without an exponent, True and False as 1
    and 0 like a Check field, lengths of time as seconds, lists and objects as JSON, None as nothing."""
    if isinstance(cell, str):
        return cell
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "1" if cell else "0"
    if isinstance(cell, int):
        return str(Decimal(cell)) if abs(cell) < 10**4000 else hex(cell)  # int itself refuses longer ones
    if isinstance(cell, float):
        return _number(Decimal(repr(cell)))
    if isinstance(cell, Decimal):
        return _number(cell)
    if isinstance(cell, datetime):  # a workbook has no days, only their midnights
        return cell.date().isoformat() if cell.time() == time() and cell.tzinfo is None else cell.isoformat(" ")
    if isinstance(cell, date | time):
        return cell.isoformat()
    if isinstance(cell, timedelta):
        return _number(Decimal(cell // timedelta(microseconds=1)).scaleb(-6).normalize())
    try:
        return _json(cell)
    except RecursionError:
        return json.dumps(cell, ensure_ascii=False, default=str)


def _json(value: Any) -> str:
    """json would write a Decimal as a float or as text; this keeps its digits."""
    if isinstance(value, dict):
        return (
            "{" + ", ".join([f"{json.dumps(key, ensure_ascii=False)}: {_json(of)}" for key, of in value.items()]) + "}"
        )
    if isinstance(value, list):
        return "[" + ", ".join([_json(one) for one in value]) + "]"
    return str(value) if isinstance(value, Decimal) else json.dumps(value, ensure_ascii=False)


def _number(value: Decimal) -> str:
    """Plain, unless that would fill lines with zeros."""
    exponent = value.as_tuple().exponent
    return f"{value:f}" if isinstance(exponent, int) and abs(exponent) < 400 else str(value)


_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_HARMLESS = re.compile(r"[+-]?[\d.,]*\d[\d.,]*%?")


def defused(text: str) -> str:
    """`text` with an apostrophe before it where a spreadsheet program would run it as a formula: after =, +, -, @, tab
    or carriage return, numbers excepted. Where apostrophes stand before such a character already, too, so that
    `plain` knows ours: plain(defused(text)) == text for any text."""
    if not text or text[0] not in "'=+-@\t\r":
        return text
    return f"'{text}" if _FORMULA.match(text) and not _HARMLESS.fullmatch(text) else text


def plain(text: str) -> str:
    """What `text` was before `defused`. A reader must be told to ask: elsewhere an apostrophe is an apostrophe."""
    return text[1:] if text[:1] == "'" and _FORMULA.match(text) else text
