"""Rows of a table → documents of a DocType, and what about a document differs from the one that is there.

Reads and writes nothing: rows come in, drafts come out one after the other, and no more than one document is held.
The layout of child tables is Frappe's own (frappe/core/doctype/data_import/importer.py:parse_next_row_for_import): a
row whose cells of the document itself are all blank goes on with the document above it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import html
import json
import math
import re
import unicodedata
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from daemon.core.columns import Column, Layout
from daemon.core.doctype import SYSTEM, DocType, Field
from daemon.core.moments import iso_moment, read_clock, read_iso
from daemon.core.values import Convert, Reading, ValueProblem, converter, is_blank, link_of, read_by, shown

Purpose = Literal["insert", "update", "upsert"]
Blank = Literal["keep", "clear"]
Row = tuple[int, Sequence[Any]]
"""(number of the first physical line, cells)."""
Link = tuple[str, str, Column]
"""(DocType, name, column): a document that must exist."""

MOST_CHILDREN = 100_000
"""Child rows that one document may have here; a file whose first column went blank would be one endless document."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a row cannot become (part of) a document."""

    line: int
    column: Column | None
    value: Any
    expected: str
    """Completes "expected …"; a whole clause of its own where `column` is None."""

    def __str__(self) -> str:
        if self.column is None:
            return f"line {self.line}: {self.expected}"
        found = "" if self.value is None else f", not {shown(self.value)}"
        return f"line {self.line}, {self.column}: expected {self.expected}{found}"


@dataclass(frozen=True, slots=True)
class Draft:
    """A document as its rows say it, ready for JSON where `problems` is empty."""

    line: int
    """The first physical line."""
    lines: tuple[int, ...]
    doc: dict[str, Any]
    links: tuple[Link, ...] = ()
    problems: tuple[Problem, ...] = ()
    cells: tuple[Sequence[Any], ...] = ()
    """The rows as they came, one for each of `lines`, for files of results."""
    blanks: tuple[Column, ...] = ()
    """Columns of the document itself whose cells are blank."""


@dataclass(slots=True)
class _Open:
    """The document that further rows may go on with."""

    doc: dict[str, Any]
    lines: list[int]
    cells: list[Sequence[Any]]
    links: list[Link]
    problems: list[Problem]
    blanks: list[Column]
    children: int = 0


@dataclass(frozen=True, slots=True)
class Manner:
    """How a column is read: by `reading` alone, and by no other evidence."""

    column: Column
    reading: Reading
    convert: Convert


_Nested = tuple[tuple[str, str], ...]
"""(field, DocType) of the links in the rows of a table that comes as one cell."""
_Step = tuple[int, str, Convert, Column, str | _Nested | None]


class Assembler:
    """Makes documents of rows. One serves one pass over one table.

    `sample`: some rows of the table, the evidence for date formats and decimal marks that `reading`, or `readings` by a
    column's key or header, leave open. `purpose`: for "insert" defaults fill what is blank and mandatory fields must
    not be; for "update" `blank` says whether a blank cell keeps what is there or clears it; for "upsert" neither is
    done, until the caller knows and asks `for_insert` or `for_update`. Raises ValueError where `layout` has problems or
    `readings` names a column that it has not.
    """

    def __init__(
        self,
        layout: Layout,
        *,
        reading: Reading | None = None,
        readings: Mapping[str, Reading] | None = None,
        sample: Sequence[Sequence[Any]] = (),
        purpose: Purpose = "insert",
        blank: Blank = "keep",
        max_children: int = MOST_CHILDREN,
    ) -> None:
        if layout.problems:
            raise ValueError(f"a table with {len(layout.problems)} problems in its header cannot be read")
        self._layout, self._purpose, self._blank, self._max = layout, purpose, blank, max_children
        self._readings, self._reading = dict(readings or {}), reading
        self.manners: dict[int, Manner] = {}
        """By the column's position."""
        self.idle = 0
        """Rows that say something in columns alone which are left out."""
        known = {name for column in layout.columns for name in (column.key, column.header)}
        if unknown := sorted(set(self._readings) - known):
            raise ValueError(f"the table has no column {unknown[0]!r} to be read in a way of its own")
        self._own = [self._step(column, sample) for column in layout.columns if not column.table]
        tables = dict.fromkeys(column.table for column in layout.columns if column.table)
        self._tables = {
            table: [self._step(column, sample) for column in layout.columns if column.table == table]
            for table in tables
        }
        self._fixed = {key: value for key, value in layout.constants.items() if "." not in key}
        self._row_fixed = {table: _of_table(layout.constants, table) for table in tables}
        self._row_defaults = {table: _of_table(layout.defaults, table) for table in tables}
        self._row_required = {
            table: {id(column) for *_, column, _ in steps if layout.mandatory and _required(column)}
            for table, steps in self._tables.items()
        }
        self._dynamic = [column for *_, column, _ in self._own if column.field.fieldtype == "Dynamic Link"]
        self._row_dynamic = {
            table: [column for *_, column, _ in steps if column.field.fieldtype == "Dynamic Link"]
            for table, steps in self._tables.items()
        }

    def _step(self, column: Column, sample: Sequence[Sequence[Any]]) -> _Step:
        reading = self._readings.get(column.key) or self._readings.get(column.header) or self._reading
        cells = [row[column.index] for row in sample if column.index < len(row)]
        field, child = column.field, None
        if field.is_table:
            child = self._layout.doctype.children.get(field.fieldname)
        manner = Manner(column, found := read_by(field, reading, cells), converter(field, found, (), child))
        self.manners[column.index] = manner
        return column.index, field.fieldname, manner.convert, column, _targets(field, child)

    @property
    def fixed_links(self) -> list[tuple[str, str, str]]:
        """(DocType, name, key) of documents that constants and defaults need: the same for each draft, and in none."""
        doctype, found = self._layout.doctype, []
        for key, value in [*self._layout.constants.items(), *self._layout.defaults.items()]:
            table, _, name = key.rpartition(".")
            field = (doctype.children[table] if table else doctype).field(name)
            if field is not None and field.fieldtype == "Link" and value:
                found.append((field.options, value, key))
        return found

    def assemble(self, rows: Iterable[Row]) -> Iterator[Draft]:
        """The documents of `rows`, in order, each as soon as the next begins. Rows of blanks alone are passed over."""
        opened: _Open | None = None
        for line, cells in rows:
            if self._begins(cells):
                if opened is not None:
                    yield self._closed(opened)
                opened = self._begun(line, cells)
            elif any(not is_blank(cell) for cell in cells):
                if opened is None or opened.children > self._max:
                    yield self._orphan(line, cells, opened)
                else:
                    self._go_on(opened, line, cells)
        if opened is not None:
            yield self._closed(opened)

    def _begins(self, cells: Sequence[Any]) -> bool:
        width = len(cells)
        return any(step[0] < width and not is_blank(cells[step[0]]) for step in self._own)

    def _orphan(self, line: int, cells: Sequence[Any], opened: _Open | None) -> Draft:
        """A row without a document. One that has too many rows is not held any longer than to say so."""
        text = "goes on with a document, since all cells of the document itself are blank, but none is above it"
        if opened:
            text = f"goes on with the document of line {opened.lines[0]}, which has more than {self._max:,} child rows"
        return Draft(line, (line,), {}, problems=(Problem(line, None, None, text),), cells=(cells,))

    def _begun(self, line: int, cells: Sequence[Any]) -> _Open:
        opened = _Open(dict(self._fixed), [line], [cells], [], [], [])
        self._read(self._own, line, cells, opened.doc, opened, opened.blanks)
        if self._dynamic:
            _add_dynamic(opened.links, self._dynamic, opened.doc)
        self._read_tables(opened, line, cells)
        return opened

    def _go_on(self, opened: _Open, line: int, cells: Sequence[Any]) -> None:
        opened.lines.append(line)
        opened.cells.append(cells)
        before = opened.children, len(opened.problems)
        self._read_tables(opened, line, cells)
        self.idle += before == (opened.children, len(opened.problems))

    def _read_tables(self, opened: _Open, line: int, cells: Sequence[Any]) -> None:
        for table, steps in self._tables.items():
            width = len(cells)
            if any(step[0] < width and not is_blank(cells[step[0]]) for step in steps):
                opened.children += 1
                if opened.children <= self._max:
                    opened.doc.setdefault(table, []).append(self._child(opened, table, steps, line, cells))
                elif opened.children == self._max + 1:
                    text = f"the document that begins in line {opened.lines[0]} has more than {self._max:,} child rows"
                    opened.problems.append(Problem(line, None, None, text))
        if self._layout.untitled or len(cells) > self._layout.width:
            self._check_untitled(opened, line, cells)

    def _check_untitled(self, opened: _Open, line: int, cells: Sequence[Any]) -> None:
        places = (*self._layout.untitled, *range(self._layout.width, len(cells)))
        lost = [place for place in places if place < len(cells) and not is_blank(cells[place])]
        if lost and opened.children <= self._max:
            value = shown(cells[lost[0]])
            text = f"has {value} in column {lost[0] + 1}, which has no header; the row may be shifted"
            opened.problems.append(Problem(line, None, None, text))

    def _child(
        self, opened: _Open, table: str, steps: Sequence[_Step], line: int, cells: Sequence[Any]
    ) -> dict[str, Any]:
        row, blanks = dict(self._row_fixed[table]), list[Column]()
        self._read(steps, line, cells, row, opened, blanks)
        for name, value in self._row_defaults[table].items():
            row.setdefault(name, value)
        _leave_empty(row, blanks)
        if required := self._row_required[table]:
            missing = (column for column in blanks if id(column) in required and column.field.fieldname not in row)
            opened.problems += [Problem(line, column, None, "a value, since it is mandatory") for column in missing]
        if dynamic := self._row_dynamic[table]:
            _add_dynamic(opened.links, dynamic, row)
        return row

    @staticmethod
    def _read(
        steps: Sequence[_Step],
        line: int,
        cells: Sequence[Any],
        into: dict[str, Any],
        opened: _Open,
        blanks: list[Column],
    ) -> None:
        """The cells of one row that belong together. The innermost loop: no calls but the converter's."""
        width = len(cells)
        for index, name, convert, column, target in steps:
            cell = cells[index] if index < width else None
            if cell is None or (isinstance(cell, str) and (not cell or cell.isspace())):
                blanks.append(column)
                continue
            try:
                value = convert(cell)
            except ValueProblem as problem:
                opened.problems.append(Problem(line, column, cell, str(problem)))
                continue
            into[name] = value
            if target is not None:
                if isinstance(target, str):
                    opened.links.append((target, value, column))
                else:
                    opened.links += [(of, row[key], column) for key, of in target for row in value if row.get(key)]

    def _closed(self, opened: _Open) -> Draft:
        problems = opened.problems
        if self._purpose == "insert":
            problems = [*problems, *_fill(self._layout, opened.doc, opened.blanks, opened.lines[0])]
        elif self._purpose == "update" and self._blank == "clear":
            problems = [*problems, *_clear(self._layout, opened.doc, opened.blanks, opened.lines[0])]
        return Draft(
            opened.lines[0],
            tuple(opened.lines),
            opened.doc,
            tuple(opened.links),
            tuple(problems),
            tuple(opened.cells),
            tuple(opened.blanks),
        )


def for_insert(layout: Layout, draft: Draft) -> Draft:
    """A draft of an "upsert" whose document is to be created: defaults fill in, mandatory fields must not be blank."""
    doc = dict(draft.doc)
    lacking = [Problem(draft.line, None, None, f"would be new, but {why}") for why in layout.lacking]
    return _judged(draft, doc, [*lacking, *_fill(layout, doc, draft.blanks, draft.line)])


def for_update(layout: Layout, draft: Draft, blank: Blank = "keep") -> Draft:
    """A draft of an "upsert" whose document is there: with "clear" blank cells empty its fields."""
    doc = dict(draft.doc)
    return _judged(draft, doc, _clear(layout, doc, draft.blanks, draft.line) if blank == "clear" else [])


def _judged(draft: Draft, doc: dict[str, Any], problems: list[Problem]) -> Draft:
    return dataclasses.replace(draft, doc=doc, problems=(*draft.problems, *problems))


def _fill(layout: Layout, doc: dict[str, Any], blanks: Sequence[Column], line: int) -> list[Problem]:
    for key, value in layout.defaults.items():
        if "." not in key:
            doc.setdefault(key, value)
    _leave_empty(doc, blanks)
    if not layout.mandatory:
        return []
    missing = (column for column in blanks if _required(column) and column.field.fieldname not in doc)
    return [Problem(line, column, None, "a value, since it is mandatory") for column in missing]


def _leave_empty(row: dict[str, Any], blanks: Iterable[Column]) -> None:
    """The site puts the current time into a Time field of which nothing is said (model/create_new.py:
    set_dynamic_default_values); "" leaves it empty (seen on version 15)."""
    for column in blanks:
        if column.field.fieldtype == "Time" and not column.field.default:
            row.setdefault(column.field.fieldname, "")


def _clear(layout: Layout, doc: dict[str, Any], blanks: Sequence[Column], line: int) -> list[Problem]:
    """None empties any field over REST: numbers and Checks become 0 (seen on version 15), where "" fails with a 500 for
    a Duration and for JSON. A table without rows is an empty list."""
    problems = []
    for column in blanks:
        if column.field.fieldname == "name":
            continue
        if column.field.reqd and layout.mandatory and column.field.fieldtype != "Check":
            problems.append(Problem(line, column, None, "a value, since it is mandatory and cannot be cleared"))
        doc[column.field.fieldname] = [] if column.field.is_table else None
    for column in layout.columns:
        if column.table:
            doc.setdefault(column.table, [])
    return problems


def _required(column: Column) -> bool:
    return column.field.reqd and not column.field.filled_by_site


def _of_table(values: Mapping[str, Any], table: str) -> dict[str, Any]:
    return {key[len(table) + 1 :]: value for key, value in values.items() if key.startswith(f"{table}.")}


def _targets(field: Field, child: DocType | None) -> str | _Nested | None:
    """The DocType that a Link's values are names of; for a table in one cell, that of each link in its rows."""
    if field.fieldtype == "Link":
        return field.options or None
    if field.fieldtype == "Table MultiSelect" and child is not None and (link := link_of(child)):
        return ((link.fieldname, link.options),)
    if field.fieldtype == "Table" and child is not None:
        return tuple((own.fieldname, own.options) for own in child.fields if own.fieldtype == "Link")
    return None


def _add_dynamic(links: list[Link], columns: Sequence[Column], row: Mapping[str, Any]) -> None:
    """A Dynamic Link's DocType is in the field that its options name; where the row has none, the site must judge."""
    for column in columns:
        target, name = row.get(column.field.options), row.get(column.field.fieldname)
        if isinstance(target, str) and target and name:
            links.append((target, name, column))


# ---- what differs


def difference(doctype: DocType, doc: Mapping[str, Any], existing: Mapping[str, Any]) -> dict[str, Any]:
    """Those fields of `doc` that are not what `existing`, the document as the site gives it, holds in Frappe's terms.

    Absent, None and "" are the same, and for numbers 0 is, too (their columns are NOT NULL DEFAULT 0); numbers are
    compared at the 9 decimals that their columns keep, dates and times by what they mean, texts with any kind of line
    break, Links in any case (the site corrects it, base_document.py:get_invalid_links). A child table is compared row
    by row in order, in the fields that `doc` gives; if any row differs, or their number does, the whole table is the
    difference, since a table that is sent replaces the one that is there. A Password cannot be read back, so a new one
    always differs. HTML from which the site took tags (base_document.py:_sanitize_content) differs from what was sent.
    """
    return {
        name: value
        for name, value in doc.items()
        if name not in ("name", "doctype") and not _same(doctype, name, value, existing.get(name))
    }


def unknown_rows(doctype: DocType, doc: Mapping[str, Any], existing: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(table, name) of child rows that `doc` names and `existing` has not: an update would lose them without a word
    (base_document.py:db_update)."""
    return [
        (table, name)
        for table, _ in doctype.tables
        for name in _row_names(doc, table)
        if name not in set(_row_names(existing, table))
    ]


def _row_names(doc: Mapping[str, Any], table: str) -> list[str]:
    rows = doc.get(table) or ()
    return [str(row["name"]) for row in rows if isinstance(row, Mapping) and row.get("name")]


def merged(doctype: DocType, diff: Mapping[str, Any], existing: Mapping[str, Any]) -> dict[str, Any]:
    """`diff`, whose child rows keep what the document holds of them and the file does not say: what is sent of a row is
    all that stays of it (base_document.py:db_update).

    A row that bears a name is the row of that name. Another is the one that links to the same documents, where both the
    file and the document have one such row; else it is new, and replaces what is there, as in Frappe's own Data Import.
    """
    found = dict(diff)
    for table, _ in doctype.tables:
        if table in diff:
            found[table] = _merged_rows(doctype.children.get(table), diff[table] or [], existing.get(table) or [])
    return found


def _merged_rows(child: DocType | None, rows: list[Any], there: list[Any]) -> list[Any]:
    names = {row.get("name"): row for row in there}
    nameless = [row for row in rows if isinstance(row, Mapping) and not row.get("name")]
    links = [own.fieldname for own in child.fields if own.fieldtype == "Link"] if child else []
    links = [link for link in links if any(link in row for row in nameless)]
    said, held = (_by_links(links, some) for some in (nameless, there))
    merged_rows = []
    for row in rows:
        before = names.get(row.get("name")) if row.get("name") else None
        if before is None and not row.get("name"):
            links_of = _links_of(links, row)
            if len(said.get(links_of, ())) == len(held.get(links_of, ())) == 1:
                before = held[links_of][0]
        merged_rows.append({**(before or {}), **row})
    return merged_rows


def _links_of(links: Sequence[str], row: Mapping[str, Any]) -> tuple[str, ...]:
    """() where the row links to nothing by which it could be known."""
    found = tuple(_link(row.get(link)) for link in links)
    return found if any(found) else ()


def _by_links(
    links: Sequence[str], rows: Iterable[Mapping[str, Any]]
) -> dict[tuple[str, ...], list[Mapping[str, Any]]]:
    found: dict[tuple[str, ...], list[Mapping[str, Any]]] = {(): []}
    for row in rows:
        if key := _links_of(links, row):
            found.setdefault(key, []).append(row)
    return found


def _same(doctype: DocType, name: str, new: Any, old: Any) -> bool:
    if new == old and type(new) is type(old):
        return True
    field = doctype.field(name)
    if field is None:
        return False
    if field.is_table:
        return _same_rows(doctype.children.get(name) or DocType(field.options), new or [], old or [])
    if field.fieldtype in _NUMBERS:
        return _same_number(_number(new), _number(old))
    meaning = _MEANINGS.get(field.fieldtype, _text)
    return meaning(new) == meaning(old) or _same_cleaned(new, old)


def _same_cleaned(new: Any, old: Any) -> bool:
    """The site keeps text in which it sees a tag with entities in the place of what it will not have as one
    (base_document.py:_sanitize_content); the same text would end so again."""
    if not isinstance(new, str) or not isinstance(old, str) or "<" not in new or "&" not in old:
        return False
    return html.unescape(_text(old)) == html.unescape(_text(new))


def _same_rows(child: DocType, new: Any, old: Any) -> bool:
    if not isinstance(old, list) or not isinstance(new, list) or len(new) != len(old):
        return False
    return all(
        isinstance(after, Mapping)
        and isinstance(before, Mapping)
        and (not after.get("name") or str(after["name"]) == str(before.get("name")))
        and all(key in SYSTEM or _same(child, key, value, before.get(key)) for key, value in after.items())
        for after, before in zip(new, old, strict=True)
    )


_NUMBERS = frozenset({"Int", "Long Int", "Float", "Currency", "Percent", "Check", "Rating"})


def _number(value: Any) -> float:
    """As Frappe would make one of it (utils/data.py:flt)."""
    if isinstance(value, int | float):
        return value
    try:
        return float(str(value).replace(",", ""))
    except ValueError:
        return 0.0


def _same_number(new: float, old: float) -> bool:
    if isinstance(new, int) and isinstance(old, int):
        return new == old
    return abs(new - old) < 5e-10 or math.isclose(new, old, rel_tol=1e-15)


def _text(value: Any) -> str:
    return "" if value is None else str(value).replace("\r\n", "\n").replace("\r", "\n")


def _word(value: Any) -> str:
    return _text(value).strip()


def _link(value: Any) -> str:
    return _text(value).rstrip().casefold()


def _day(value: Any) -> str:
    return _text(value)[:10]


def _moment(value: Any) -> str:
    found = read_iso(_word(value))
    return iso_moment(found) if found is not None else _word(value)


def _clock(value: Any) -> str:
    """The site writes 9:05:00, and 10:00:0.5 for half a second (utils/data.py:format_timedelta)."""
    text = _word(value)
    hours, _, rest = text.partition(":")
    minutes, _, seconds = rest.partition(":")
    whole, _, part = seconds.partition(".")
    found = read_clock(f"{hours}:{minutes}:{whole.zfill(2)}" + (f".{part}" if part else "")) if seconds else None
    found = found or read_clock(text)
    return found.isoformat() if found is not None else text


def _length(value: Any) -> str:
    """A Duration of none and one of 0 seconds are not the same: its column can be NULL."""
    return "" if value in (None, "") else f"{_number(value):.9f}"


def _held(value: Any) -> str:
    """JSON by what it holds, however it is spaced or ordered."""
    try:
        held = json.loads(value) if isinstance(value, str) else value
        return "" if held is None else json.dumps(held, sort_keys=True)
    except (ValueError, TypeError, RecursionError):
        return _text(value)


_MEANINGS: Mapping[str, Callable[[Any], str]] = {
    "Date": _day,
    "Datetime": _moment,
    "Time": _clock,
    "Duration": _length,
    "JSON": _held,
    "Geolocation": _held,
    "Select": _word,
    "Link": _link,
    "Dynamic Link": _link,
}


# ---- the same key twice


def key_digest(values: Iterable[Any], *, exact: bool = False) -> int:
    """64 bits that stand for a key of one or more values, such as a name or a unique field.

    Spellings that MariaDB's collation (utf8mb4_unicode_ci, padded) holds equal count as one: case, accents and blanks
    at the end are dropped, as a unique field drops them ("A1", "a1" and "á1 " collide on version 15). `exact`, for
    PostgreSQL, compares letter by letter. Two keys of a million share a digest by chance in one file of 30 million.
    """
    parts = "".join(f"{len(part)}:{part}" for part in (_keyed(value, exact) for value in values))
    return int.from_bytes(hashlib.blake2b(parts.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


_ACCENT = re.compile("([A-Za-z])[\u0300-\u036f]+")
"""Marks on Latin letters. Elsewhere they make another letter, as in й, or are letters themselves, as in Thai."""


def _keyed(value: Any, exact: bool) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = str(value)
    if exact:
        return text
    if not text.isascii():
        text = _ACCENT.sub(r"\1", unicodedata.normalize("NFKD", text))
    return text.casefold().rstrip(" ")


class Duplicates:
    """Finds the second line of a key, at 12 bytes a slot: 25 MB for a million keys, 38 MB for a moment as it grows.

    An open table of digests and lines in two arrays, at most two thirds full. A line is kept in 32 bits.
    """

    def __init__(self) -> None:
        self._size, self._used = 1024, 0
        self._digests, self._lines = array("Q", bytes(8 * 1024)), array("I", bytes(4 * 1024))

    def first(self, digest: int, line: int) -> int | None:
        """The line at which `digest` was seen before; None where this is the first time, which is remembered."""
        if self._used * 3 >= self._size * 2:
            self._grow()
        place = self._place(digest)
        if self._lines[place]:
            return self._lines[place]
        self._digests[place], self._lines[place] = digest, max(1, min(line, 2**32 - 1))
        self._used += 1
        return None

    def __len__(self) -> int:
        return self._used

    @property
    def size(self) -> int:
        """Bytes of the table."""
        return 12 * self._size

    def _place(self, digest: int) -> int:
        """The slot of `digest`, or the empty one where it belongs. No line is 0, so 0 marks an empty slot."""
        digests, lines, mask = self._digests, self._lines, self._size - 1
        place = digest & mask
        while lines[place] and digests[place] != digest:
            place = (place + 1) & mask
        return place

    def _grow(self) -> None:
        digests, lines = self._digests, self._lines
        self._size *= 2
        self._digests, self._lines = array("Q", bytes(8 * self._size)), array("I", bytes(4 * self._size))
        for digest, line in zip(digests, lines, strict=True):
            if line:
                place = self._place(digest)
                self._digests[place], self._lines[place] = digest, line
