"""What a table file is made of: cells, rows and the limits put on them. Reads and writes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from itertools import compress
from typing import Any, NamedTuple

from daemon.core.columns import letters
from daemon.errors import FileProblem

Cell = str | int | float | Decimal | bool | date | datetime | time | timedelta | list[Any] | dict[str, Any] | None
"""CSV gives str alone. Workbooks give what the cell holds, None where it is empty. JSON Lines gives JSON's values, with
fractions as Decimal, and lists and objects as they are."""


class CellError(str):
    """What a workbook shows where a formula has no value, such as `#N/A`: a text that is nobody's data."""

    __slots__ = ()


class Row(NamedTuple):
    """One record. `line` is the physical line on which it begins, from 1, or the sheet's own row number."""

    line: int
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of a file is taken in. All are there against files that would fill memory, disk or days."""

    cell: int = 1 << 20
    """Characters of one cell."""
    record: int = 1 << 24
    """Characters of one line, and of one record that runs over several."""
    columns: int = 1_000
    expanded: int = 20 << 30
    """Bytes of a compressed file, or of all parts of a workbook, once expanded."""
    ratio: int = 200
    """Expanded bytes for each compressed one, beyond the first `trusted`. A million rows that differ in no more than a
    number compress 10 to 100 times."""
    trusted: int = 1 << 30
    memory: int = 1 << 30
    """Bytes of address space of the process that reads .xls and .ods, which are held in memory whole."""
    seconds: int = 1_800
    """Processor seconds of that process."""


def problem(path: str, why: str, line: int = 0, column: str = "", action: str | None = None) -> FileProblem:
    """The error whose message says where: file, line and column as far as they are given."""
    where = path + (f", line {line}" if line else "") + (f", column {column}" if column else "")
    return FileProblem(f"{where}: {why}", path=path, line=line, column=column, action=action)


Record = tuple[int, Sequence[Cell]]
"""Line and cells as they stand in the file: neither padded nor cut."""


class Head:
    """The first row that is not blank, and what every later one must be like to stand under it.

    `names` are the headers that are not empty, stripped. Two may be equal: whoever maps them to fields judges that.
    Raises FileProblem where there are none or too many.
    """

    def __init__(self, path: str, first: Record | None, limits: Limits, empty: Cell) -> None:
        if first is None:
            raise problem(path, "the file is empty: there is not even a header")
        self._path = path
        self._empty = empty
        self.line, cells = first
        texts = ["" if cell is None else str(cell).strip() for cell in cells]
        while texts and not texts[-1]:
            texts.pop()
        if len(texts) > limits.columns:
            raise problem(path, f"there are {len(texts):,} columns; up to {limits.columns:,} are read", self.line)
        self._named = [bool(text) for text in texts]
        self.names = tuple(text for text in texts if text)
        if not self.names:
            raise problem(path, "no header: the first line that is not blank names no column", self.line)

    def over(self, records: Iterable[Record]) -> Iterator[Row]:
        """`records` with as many cells as there are names. Raises FileProblem where a cell has no header."""
        width, empty, whole = len(self._named), self._empty, all(self._named)
        for line, cells in records:
            count = len(cells)
            if count == width and whole:
                yield Row(line, tuple(cells))
                continue
            self._refuse_headless(line, cells)
            padded = (*cells[:width], *(empty,) * (width - count))
            yield Row(line, padded if whole else tuple(compress(padded, self._named)))

    def _refuse_headless(self, line: int, cells: Sequence[Cell]) -> None:
        width = len(self._named)
        for index, cell in enumerate(cells):
            if (index >= width or not self._named[index]) and not blank(cell):
                beyond = f"; the header on line {self.line} names {len(self.names)}" if index >= width else ""
                name = f"{letters(index)} (number {index + 1})"
                why = f"there is data ({str(cell)[:40]!r}) but the column has no header{beyond}"
                raise problem(self._path, why, line, name)


def blank(cell: Cell) -> bool:
    """Nothing a person could see."""
    return cell is None or (isinstance(cell, str) and not cell.strip())
