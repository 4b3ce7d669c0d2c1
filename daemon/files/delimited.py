"""Records of a CSV or TSV file (RFC 4180, with any delimiter and line ends), one by one. Writes nothing."""

from __future__ import annotations

import csv
from collections.abc import Iterator

from daemon.errors import FileProblem
from daemon.files.cells import Limits, Record, problem
from daemon.files.sniff import SEPARATOR, delimiter_of, dialect
from daemon.files.text import Lines

_SAMPLE = 1 << 16


class Delimited:
    """Iterating gives (line, cells) of each record that is not blank: an empty line, white space or delimiters alone.

    `delimiter` None: what the line `sep=` says, else what divides the first 64 KiB best. Raises FileProblem.
    """

    def __init__(self, path: str, lines: Lines, delimiter: str | None, quote: str, limits: Limits) -> None:
        self._path = path
        self._lines = lines
        self._limits = limits
        self.quote = quote
        sample, complete = lines.sample(_SAMPLE)
        separator = SEPARATOR.fullmatch(sample[0]) if sample else None
        if separator:
            next(iter(lines))
            lines.clear()
        named = separator[1] if separator else None
        self.delimiter = delimiter or named or delimiter_of(sample, quote, complete)

    def __iter__(self) -> Iterator[Record]:
        lines, cell = self._lines, self._limits.cell
        # One number for the whole process: raised where need be, never lowered under a reading that goes on.
        csv.field_size_limit(max(csv.field_size_limit(), cell))
        last = lines.number
        try:
            reader = csv.reader(lines, **dialect(self.delimiter, self.quote), strict=True)
            for cells in reader:
                line, last = last + 1, lines.number
                if lines.size > cell and max(map(len, cells), default=0) > cell:
                    raise self._too_long(line)
                lines.clear()
                if cells and ((cells[0] and not cells[0].isspace()) or any(map(str.strip, cells))):
                    yield line, cells
        except csv.Error as error:
            raise self._wrong(str(error), last + 1) from None
        except (TypeError, ValueError) as error:
            raise problem(
                self._path, f"{self.delimiter!r} and {self.quote!r} cannot be delimiter and quote: {error}"
            ) from None

    def _wrong(self, error: str, first: int) -> FileProblem:
        if "field limit" in error:
            return self._too_long(first)
        if "unexpected end" in error:
            why = "a quote is opened here and never closed"
            return problem(self._path, why, first + self._open_quote(), action="Close it, or double it if it is text.")
        if "expected after" in error:
            why = f"there is text behind a closing {self.quote}: {self._lines.record[-1].strip()[:60]!r}"
            return problem(self._path, why, self._lines.number, action="Double each quote that is text.")
        return problem(self._path, f"this is no CSV: {error}", first)

    def _too_long(self, first: int) -> FileProblem:
        why = f"a cell that begins here is longer than {self._limits.cell:,} characters, or its quote is never closed"
        return problem(self._path, why, first + self._open_quote())

    def _open_quote(self) -> int:
        """How many lines after the record's first the last quote was opened: only asked when the record is wrong."""
        began, quoted, fresh, closing = 0, False, True, False
        for number, line in enumerate(self._lines.record):
            for character in line:
                if quoted:
                    quoted = character != self.quote
                    closing = not quoted
                elif character == self.quote and (fresh or closing):
                    began = number if fresh else began
                    quoted, fresh, closing = True, False, False
                else:
                    fresh, closing = character == self.delimiter, False
        return began
