"""Rows of one sheet of an .xls or .ods workbook, by calamine, in a process of its own. Writes nothing.

calamine holds every sheet as a dense rectangle: a few bytes of file can ask for more memory than there is, and then it
ends its process. So it gets one that may, within `Limits.memory` and `Limits.seconds`. Run as a module, this is that
process: it reads the workbook from standard input and writes a line of JSON for each row.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from typing import IO, Any

from daemon.files.cells import Cell, Limits, Record, blank, problem
from daemon.files.xlsx import encrypted, no_such_sheet


class Legacy:
    """One sheet, chosen as in Xlsx. Iterating gives (row number, cells) of each row that is not blank, once.

    Merged cells hold their value in the first alone. Of an .xls, cells that show an error come as empty.
    """

    def __init__(self, path: str, file: IO[bytes], sheet: str | None, limits: Limits) -> None:
        self._path = path
        self._limits = limits
        os.lseek(file.fileno(), 0, os.SEEK_SET)  # the process shares the descriptor's place, not our buffer's
        arguments = [json.dumps(sheet), str(limits.memory), str(limits.seconds), str(limits.cell)]
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, json.dumps(sys.path), *arguments],
            stdin=file,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        try:
            self.sheet = str(self._next()["sheet"])
        except BaseException:
            self.close()
            raise

    def __iter__(self) -> Iterator[Record]:
        while "end" not in (found := self._next()):
            yield found["row"], [None if cell == "" else cell for cell in found["cells"]]

    def close(self) -> None:
        """End the process, if it has not."""
        self._process.kill()
        self._process.wait()
        if self._process.stdout:
            self._process.stdout.close()

    def _next(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line.endswith(b"\n"):
            self._process.wait()
            megabytes = self._limits.memory >> 20
            raise problem(
                self._path,
                f"the workbook is damaged, or needs more than {megabytes:,} MB or {self._limits.seconds:,} s to read",
                action="Save it as .xlsx or .csv, which are read row by row.",
            )
        found: dict[str, Any] = json.loads(line, object_hook=_typed)
        if "password" in found:
            raise encrypted(self._path)
        if "sheets" in found:
            raise no_such_sheet(self._path, found["missing"], found["sheets"])
        if "empty" in found:
            raise problem(self._path, "the workbook is empty: no visible sheet holds anything")
        if "wrong" in found:
            raise problem(self._path, f"the workbook cannot be read: {found['wrong']}", found.get("line", 0))
        return found


_STREAMS = (("EncryptedPackage", None), ("WordDocument", "a Word document"), ("PowerPoint Document", "a presentation"))


def refuse_other_ole(path: str, file: IO[bytes]) -> None:
    """Raises FileProblem where an OLE file is no workbook, or one of Office's encrypted ones, which are wrapped so."""
    file.seek(0)
    before = b""
    while chunk := file.read(1 << 20):
        for name, what in _STREAMS:
            if name.encode("utf-16-le") in before + chunk:
                raise problem(path, f"this is {what}, not a table") if what else encrypted(path)
        before = chunk[-64:]


_PROGRAM = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from daemon.files.legacy import main; main()"


def _typed(found: dict[str, Any]) -> Any:
    """The other side of `_plain`."""
    if len(found) != 1:
        return found
    (kind, value), *_ = found.items()
    if kind == "datetime":
        return datetime.fromisoformat(value)
    if kind == "date":
        return date.fromisoformat(value)
    if kind == "time":
        return time.fromisoformat(value)
    if kind == "seconds":
        return timedelta(seconds=value)
    return found


def _plain(cell: Any) -> dict[str, Any]:
    if isinstance(cell, datetime):  # which is a date, too
        return {"datetime": cell.isoformat()}
    if isinstance(cell, date):
        return {"date": cell.isoformat()}
    if isinstance(cell, time):
        return {"time": cell.isoformat()}
    if isinstance(cell, timedelta):
        return {"seconds": cell.total_seconds()}
    raise TypeError(f"a cell is of type {type(cell).__name__}")


def main() -> None:
    """The process's work: arguments are sheet, bytes, seconds and characters of a cell."""
    import io
    import resource

    sheet, memory, seconds, longest = (json.loads(text) for text in sys.argv[2:6])
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    out = io.TextIOWrapper(sys.stdout.buffer, "utf-8", errors="surrogatepass", newline="\n")
    try:
        for found in _answers(sheet, longest):
            json.dump(found, out, default=_plain, separators=(",", ":"))
            out.write("\n")
        out.flush()
    except BrokenPipeError:
        sys.exit(1)


def _answers(sheet: str | None, longest: int) -> Iterator[dict[str, Any]]:
    from python_calamine import CalamineWorkbook, PasswordError

    try:
        book = CalamineWorkbook.from_filelike(sys.stdin.buffer)
        yield from _rows(book, sheet, longest)
    except PasswordError:
        yield {"password": True}
    except BaseException as error:  # a panic of calamine is no Exception
        # It tries one format after the other, and says this of a file that fits none, however near it comes to one.
        vague = str(error) == "Cannot detect file format"
        yield {"wrong": "it is damaged" if vague else f"{error}"[:300] or type(error).__name__}


def _rows(book: Any, name: str | None, longest: int) -> Iterator[dict[str, Any]]:
    if name is not None and name not in book.sheet_names:
        yield {"sheets": book.sheet_names, "missing": name}
        return
    shown = [one.name for one in book.sheets_metadata if str(one.visible).endswith(".Visible")]
    for candidate in [name] if name is not None else shown:
        found = book.get_sheet_by_name(candidate)
        if name is not None or found.start is not None:
            yield {"sheet": candidate}
            left = [""] * (found.start or (0, 0))[1]
            for number, cells in enumerate(found.iter_rows(), 1):
                if not all(map(blank, cells)):
                    if any(isinstance(cell, str) and len(cell) > longest for cell in cells):
                        yield {"wrong": f"a cell is longer than {longest:,} characters", "line": number}
                        return
                    yield {"row": number, "cells": [*left, *map(_plainer, cells)]}
            yield {"end": True}
            return
    yield {"empty": True}


def _plainer(cell: Cell) -> Any:
    """ODS: a time comes as an ISO 8601 duration, and a whole number as a float, which .xlsx tells apart."""
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < 1 << 53:
        return int(cell)
    if not (isinstance(cell, str) and cell.startswith("PT") and cell.endswith("S")):
        return cell
    import re

    found = re.fullmatch(r"PT(\d+)H(\d+)M(\d+(?:[.,]\d+)?)S", cell)
    if not found:
        return cell
    hours, minutes, seconds = int(found[1]), int(found[2]), float(found[3].replace(",", "."))
    length = timedelta(hours=hours, minutes=minutes, seconds=seconds)
    if length >= timedelta(days=1):
        return length
    return (datetime(1900, 1, 1) + length).time()  # noqa: DTZ001
