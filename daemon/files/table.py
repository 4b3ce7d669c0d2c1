"""A table file of any format as rows under a header, read as a stream. Writes nothing.

A file is read twice: `survey` reads all of it, says what it is and proves that every row can be read; `Table` then
gives the rows, from any of them on. What one would refuse in the middle, the other has refused before the first row.
Two headers may be equal, and a row's cells may be of the wrong type: whoever maps columns to fields judges that.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from typing import IO, Any

from daemon.files.cells import Head, Limits, Record, Row, problem
from daemon.files.delimited import Delimited
from daemon.files.jsonlines import JsonLines
from daemon.files.legacy import Legacy, refuse_other_ole
from daemon.files.sniff import bom, foreign, format_of
from daemon.files.source import Identity, Source
from daemon.files.text import Lines, Text
from daemon.files.xlsx import Package, Xlsx, kind_of

_DIVIDERS = {"\t": "tab", " ": "space", "\x1f": "0x1f"}
FORMATS = ("csv", "jsonl", "xlsx", "xls", "ods")


@dataclass(frozen=True, slots=True)
class Survey:
    """What one reading of the whole file found."""

    path: str
    identity: Identity
    sha256: str
    """Of the bytes once any gzip is undone: the same table, gzipped or not, is the same content."""
    format: str
    header: tuple[str, ...]
    records: int
    """Rows of data: those that are not blank, below the header."""
    encoding: str | None = None
    """Of text, as Python names it."""
    proof: str = ""
    """A word that speaks for `encoding`, where neither its caller nor a mark names it and it is not UTF-8."""
    delimiter: str | None = None
    quote: str | None = None
    """ "" where nothing is quoted."""
    sheet: str | None = None

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self.identity.size

    @property
    def facts(self) -> dict[str, str]:
        """How the file was read, for a report: format, and encoding and delimiter, or sheet."""
        found = {"format": self.format, "encoding": self.encoding, "delimiter": self.delimiter, "sheet": self.sheet}
        return {name: value for name, value in found.items() if value}

    @property
    def read_as(self) -> str:
        """The same as a sentence."""
        proof = f", by words such as {self.proof}" if self.proof else ""
        divided = f", cells divided by {_DIVIDERS.get(self.delimiter, self.delimiter)}" if self.delimiter else ""
        sheet = f", sheet {self.sheet}" if self.sheet else ""
        return f"read as {self.format}{f' in {self.encoding}' if self.encoding else ''}{proof}{divided}{sheet}"


@dataclass(frozen=True, slots=True)
class _Wish:
    """How to read: what was asked for, and on the second reading what the first found."""

    format: str | None = None
    encoding: str | None = None
    delimiter: str | None = None
    quote: str = '"'
    sheet: str | None = None


class Table:
    """A file that was surveyed. A context manager; each iteration starts anew, and ends by making sure that the file
    did not change meanwhile. Raises FileProblem."""

    def __init__(self, source: Source, found: Survey, wish: _Wish, limits: Limits) -> None:
        self._source = source
        self._wish = wish
        self._limits = limits
        self.survey = found
        self.header = found.header
        self.format = found.format
        self.encoding = found.encoding
        self.delimiter = found.delimiter
        self.sheet = found.sheet
        self.records = found.records

    def __enter__(self) -> Table:
        return self

    def __exit__(self, *_: object) -> None:
        self._source.close()

    def __iter__(self) -> Iterator[Row]:
        return self.rows()

    def verify(self) -> None:
        """Raises FileProblem where the file is no longer the one that was surveyed."""
        self._source.verify()

    def rows(self, skip: int = 0) -> Iterator[Row]:
        """Rows of data beyond the first `skip`, which are neither converted nor looked at."""
        with _reading(self._source, self._wish, self._limits) as reading:
            yield from reading.rows(self.header, skip)
            self._source.verify()


def open_table(
    path: str | os.PathLike[str],
    *,
    survey: Survey | None = None,
    encoding: str | None = None,
    delimiter: str | None = None,
    quote: str = '"',
    sheet: str | None = None,
    format: str | None = None,
    limits: Limits = Limits(),  # noqa: B008 (frozen)
) -> Table:
    """The table in `path`; whatever is None is found out. `quote` "": nothing is quoted.

    With the `survey` of the same file, this reads nothing yet; without, it makes one. Raises FileProblem, also where
    the file is no longer the one that was surveyed, and ValueError for a `format` that there is not.
    """
    wish = _Wish(format, encoding, delimiter, quote, sheet)
    source = _source(path, wish, limits)
    try:
        found = survey or _surveyed(source, wish, limits)
        source.refuse_other(found.identity)
    except BaseException:
        source.close()
        raise
    settled = _Wish(
        found.format, found.encoding, found.delimiter, wish.quote if found.quote is None else found.quote, found.sheet
    )
    return Table(source, found, settled, limits)


def survey(
    path: str | os.PathLike[str],
    *,
    encoding: str | None = None,
    delimiter: str | None = None,
    quote: str = '"',
    sheet: str | None = None,
    format: str | None = None,
    limits: Limits = Limits(),  # noqa: B008 (frozen)
) -> Survey:
    """Read all of `path` once. Arguments and errors are those of `open_table`."""
    wish = _Wish(format, encoding, delimiter, quote, sheet)
    source = _source(path, wish, limits)
    with closing(source):
        return _surveyed(source, wish, limits)


def _source(path: str | os.PathLike[str], wish: _Wish, limits: Limits) -> Source:
    if wish.format not in (None, *FORMATS):
        raise ValueError(f"there is no format {wish.format!r}; there are {', '.join(FORMATS)}")
    return Source(path, limits)


def _surveyed(source: Source, wish: _Wish, limits: Limits) -> Survey:
    digest = hashlib.sha256()
    stream = source.stream(digest.update)
    with _reading(source, wish, limits, stream) as reading:
        found = reading.survey(Survey(source.path, source.identity, "", "", (), 0))
    while stream.read(1 << 18):  # a workbook was read by place, so that all of it is still to come
        pass
    source.verify()
    return replace(found, sha256=digest.hexdigest())


class _Grid:
    """One pass over records whose first is the header. `shape` gives what is known of them once they are read."""

    def __init__(
        self,
        path: str,
        records: Iterator[Record],
        limits: Limits,
        empty: str | None,
        shape: Callable[[], dict[str, Any]],
    ) -> None:
        self._path = path
        self._records = records
        self._head = Head(path, next(records, None), limits, empty)
        self._shape = shape

    def survey(self, start: Survey) -> Survey:
        count = sum(1 for _ in self._head.over(self._records))
        return replace(start, header=self._head.names, records=count, **self._shape())

    def rows(self, header: tuple[str, ...], skip: int) -> Iterator[Row]:
        if self._head.names != header:
            raise problem(self._path, "the header is not the one that was surveyed", self._head.line)
        return self._head.over(islice(self._records, skip, None))


class _Objects:
    """One pass over JSON Lines, whose header is known when all are read."""

    def __init__(self, path: str, lines: JsonLines, text: Text) -> None:
        self._path = path
        self._lines = lines
        self._text = text

    def survey(self, start: Survey) -> Survey:
        names: dict[str, None] = {}
        count = 0
        for number, found in self._lines:
            count += 1
            self._lines.header(names, number, found)
        if not names:
            raise problem(self._path, "the file is empty: there is not one object with a key")
        return replace(start, format="jsonl", encoding=self._text.encoding, header=tuple(names), records=count)

    def rows(self, header: tuple[str, ...], skip: int) -> Iterator[Row]:
        return self._lines.under(header, skip)


@contextmanager
def _reading(
    source: Source, wish: _Wish, limits: Limits, stream: io.BufferedReader | None = None
) -> Iterator[_Grid | _Objects]:
    """A pass over `source`, of text through `stream`."""
    kind = wish.format or _format_of(source)
    with ExitStack() as stack:
        if kind in ("csv", "jsonl"):
            yield _text_reading(source, wish, limits, stream or source.stream(), kind)
        else:
            file = stack.enter_context(source.seekable())
            yield _book_reading(source.path, file, wish.sheet, limits, kind, stack)


def _text_reading(
    source: Source, wish: _Wish, limits: Limits, stream: io.BufferedReader, kind: str
) -> _Grid | _Objects:
    path = source.path
    encoding = wish.encoding or ("utf-8" if kind == "jsonl" and not bom(source.head) else None)
    text = Text(path, stream, encoding, source.stream)
    lines = Lines(path, text, limits)
    if kind == "jsonl":
        return _Objects(path, JsonLines(path, lines, limits), text)
    table = Delimited(path, lines, wish.delimiter, wish.quote, limits)

    def shape() -> dict[str, Any]:
        found = {"encoding": text.encoding, "proof": text.proof}
        return {"format": "csv", **found, "delimiter": table.delimiter, "quote": table.quote}

    return _Grid(path, iter(table), limits, "", shape)


def _book_reading(path: str, file: IO[bytes], sheet: str | None, limits: Limits, kind: str, stack: ExitStack) -> _Grid:
    package = Package(path, file, limits) if kind != "xls" else None
    if package:
        kind = kind_of(package, path)
    else:
        refuse_other_ole(path, file)
    book = Xlsx(path, package, sheet, limits) if package and kind == "xlsx" else Legacy(path, file, sheet, limits)
    stack.callback(book.close)
    return _Grid(path, iter(book), limits, None, lambda: {"format": kind, "sheet": book.sheet})


def _format_of(source: Source) -> str:
    if not source.head:
        raise problem(source.path, "the file is empty")
    what = foreign(source.head)
    if what:
        raise problem(source.path, f"this is {what}, not a table", action="Name a CSV, JSON Lines or workbook file.")
    return format_of(source.head, source.name)
