"""The rows of a table → drafts, the same each time that they are read. Writes nothing.

A file that is one of our own result files is read as the file that its rows come from was.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any

from daemon.core.columns import Layout
from daemon.core.rows import Assembler, Draft, Duplicates, Manner, Problem, key_digest
from daemon.errors import FileProblem
from daemon.files.cells import CellError, Row
from daemon.files.results import plain
from daemon.files.table import Table
from daemon.jobs._import.batch import Key
from daemon.jobs._import.results import ERROR, READING, Readings
from daemon.jobs._import.settings import Settings

SAMPLE = 1000
"""Rows that are looked at for how dates and numbers are written."""
HEAVY = 1 << 20
"""About as many bytes of cells as one batch holds: several batches are in memory at once."""


class Reader:
    """Reads the drafts of one table. Raises FileProblem."""

    def __init__(self, table: Table, layout: Layout, key: Key | None, settings: Settings) -> None:
        self.table, self._settings = table, settings
        self._key = key.field if key and not key.made else ""
        self._columns = layout.columns
        self._escaped = ERROR in table.header and settings.escape_formulas
        self._reading = table.header.index(READING) if READING in table.header else None
        self._ours = self._readings()
        self._assembler = Assembler(
            layout,
            reading=settings.reading,
            readings=self._ours.of(settings.reading, [column.key for column in layout.columns]) if self._ours else {},
            sample=() if self._ours else list(_light(self._cells(row) for row in islice(table.rows(), SAMPLE))),
            purpose="upsert" if settings.update_existing else "insert",
            blank=settings.blank,
        )

    @property
    def manners(self) -> Mapping[int, Manner]:
        return self._assembler.manners

    @property
    def idle(self) -> int:
        """Rows that say something in columns alone which are left out."""
        return self._assembler.idle

    def drafts(self) -> Iterator[Draft]:
        """The documents of the file, all of them each time, so that a key that comes twice is always found."""
        seen, found = Duplicates(), dict[int, list[Problem]]()
        for draft in self._assembler.assemble(self._rows(found)):
            problems = [problem for line in draft.lines for problem in found.pop(line, ())]
            value = draft.doc.get(self._key) if self._key else None
            first = seen.first(key_digest([value]), draft.line) if value not in (None, "") else None
            if first is not None:
                text = f"has the same {self._key} as line {first}: {value}"
                problems.append(Problem(draft.line, None, None, text))
            yield replace(draft, problems=(*draft.problems, *problems)) if problems else draft

    def _rows(self, found: dict[int, list[Problem]]) -> Iterator[tuple[int, tuple[Any, ...]]]:
        """Each row; what is wrong with it as it stands in the file goes into `found`, under its line."""
        for row in self.table.rows():
            cells = self._cells(row)
            if problems := [*self._unread(row.line, cells), *self._refused(row.line, cells)]:
                found[row.line] = problems
            yield row.line, cells

    def _cells(self, row: Row) -> tuple[Any, ...]:
        if not self._escaped:
            return row.cells
        return tuple(plain(cell) if isinstance(cell, str) else cell for cell in row.cells)

    def _unread(self, line: int, cells: tuple[Any, ...]) -> Iterator[Problem]:
        """Cells that say nothing because the workbook had an error, or that still bear the apostrophe that result files
        put before formulas, in a file that no longer says that it is one."""
        if not any(cell.__class__ is CellError or (cell.__class__ is str and cell[:1] == "'") for cell in cells):
            return
        bare = not self._escaped and self._settings.escape_formulas
        for column in self._columns:
            cell = cells[column.index] if column.index < len(cells) else None
            if isinstance(cell, CellError):
                yield Problem(line, column, cell, "a value, where the workbook has an error")
            elif bare and isinstance(cell, str) and plain(cell) != cell:
                yield Problem(line, column, cell, "no apostrophe before =, +, - or @, as result files put it there")

    def _refused(self, line: int, cells: tuple[Any, ...]) -> Iterator[Problem]:
        """Cells of a result file that were refused, that nobody mended, and that would pass as text."""
        if self._ours is None or self._reading is None or not (text := _text(cells, self._reading)):
            return
        try:
            refused = self._ours.refused(text)
        except ValueError as error:
            yield Problem(line, None, None, _sentence(error))
            return
        for column in self._columns:
            if column.header in refused and refused[column.header] == _text(cells, column.index):
                yield Problem(line, column, refused[column.header], "another value: this one was refused before")

    def _readings(self) -> Readings | None:
        """How the file that the rows come from was read; None for a file that is nobody's result."""
        if self._reading is None:
            return None
        first = next((text for row in self.table.rows() if (text := _text(row.cells, self._reading))), "")
        try:
            return Readings(first)
        except (ValueError, AttributeError, TypeError):
            path = self.table.survey.path
            why = f"the column {READING}, which says how the file was read, was changed"
            raise FileProblem(
                f"{path}: {why}", path=path, action="Put it back, or take all import_ columns away."
            ) from None


def _sentence(error: ValueError) -> str:
    text = str(error)
    return text if text.startswith("the row") else f"{READING} cannot be read: it was changed"


def _text(cells: tuple[Any, ...], place: int) -> str:
    cell = cells[place] if place < len(cells) else None
    return cell if isinstance(cell, str) else ""


def _light(rows: Iterable[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
    """The first of `rows`, about as much of them as one batch holds."""
    held = 0
    for row in rows:
        yield row
        held += weight(row)
        if held > HEAVY:
            return


def weight(cells: Iterable[Any]) -> int:
    """About the bytes that a row takes in memory."""
    return sum(len(cell) + 50 if isinstance(cell, str) else 50 for cell in cells)
