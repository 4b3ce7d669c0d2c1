"""Which field of a document is which field of a record of another API, and how the values of either are written.

Both sides are brought into one form, a `Flat`: path → text, or None where there is nothing. Numbers lose their trailing
zeros, moments are in UTC, a value map speaks the site's language; so what means the same compares as the same. A row of
a child table is the path `items[KEY]`, its cells are `items[KEY].qty`, where KEY is the row's own identity; its place
in the table means nothing. Reads and writes nothing.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from functools import partial
from hashlib import blake2b
from itertools import count
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import Field, model_validator

from daemon.core import doctype as meta
from daemon.core.agreed import ABSENT, Base, Side, digest, held_by
from daemon.core.api import Dotted
from daemon.core.doctype import DocType
from daemon.core.exact import at
from daemon.core.settings import FieldName, FunctionName, Model, Zone
from daemon.errors import DaemonError

Flow = Literal["both", "pull", "push"]
Flat = dict[str, str | None]
Function = Callable[[Any, Mapping[str, Any]], Any]
"""(value, whole document or record) → value."""

_NOWHERE = object()
THERE = "+"
"""The value of a row's own path."""
PRECISION = 6
"""Decimals that are compared where the field says nothing; the site keeps nine (frappe/database: decimal(21,9))."""


class BadValue(DaemonError):
    """A value that the other side could not hold: names the field, what stands there, and what was expected."""

    who = "document owner"
    action = "Correct the value on the side that holds it, or the mapping of this field."


class FieldMap(Model):
    """One field on both sides; with `rows`, a child table and an array. With `constant`, a field of one side alone."""

    site: FieldName | Literal[""] = ""
    """The document's field."""
    remote: Dotted = ""
    """Where the record has it."""
    flow: Flow = "both"
    """Which side is told."""
    values: dict[str, str | int | float | bool] = Field(default_factory=dict)
    """The remote's value → the site's. A value that is not listed is an error."""
    constant: str | int | float | bool | None = None
    """Given to every record that is created on that side, and by a PUT to every one that is changed."""
    on_create: bool = False
    """Given to the twin when it is made, and never looked at again."""
    format: str = ""
    """How the remote writes a date or time: "" ISO 8601, "epoch", "epoch-ms", or as in strftime(3)."""
    zone: Zone = "UTC"
    """Of times that the remote writes without one."""
    precision: Annotated[int, Field(ge=0, le=9)] | None = None
    """Decimals that are compared."""
    pull: FunctionName | None = None
    """For what a mapping cannot say: the remote's value → the site's, called with the whole record too."""
    push: FunctionName | None = None
    """Python functions for what a mapping cannot say, "module:function": the remote's value → the site's, called with
    the whole record; and back, called with the whole document. Both sides are compared as the site has it."""
    rows: list[FieldMap] = Field(default_factory=list)
    key: str = ""
    """The site's field by which the rows of one table are told apart."""

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.constant is not None:
            if bool(self.site) == bool(self.remote):
                raise ValueError("a constant is for one side: name its field in site or in remote")
            return self
        if not (self.site and self.remote):
            raise ValueError("names a field of the site and a field of the remote, or one of them and a constant")
        if self.flow == "both" and bool(self.pull) != bool(self.push):
            raise ValueError("a field that goes both ways has a function for each way, or none")
        if self.rows:
            self._check_rows()
        elif self.key:
            raise ValueError("key is for a child table: it needs rows")
        if self.flow != "push" and self.site in ("name", "docstatus", "modified", "creation", "owner"):
            raise ValueError(f'{self.site} is the site\'s own: flow = "push"')
        return self

    def _check_rows(self) -> None:
        named = [row.site for row in self.rows if row.constant is None]
        if self.key not in named:
            raise ValueError(f"key names one of the rows' fields ({', '.join(named)}), by which rows are told apart")
        if any(row.rows for row in self.rows):
            raise ValueError("a child table has no child tables")
        if any(row.on_create for row in self.rows):
            raise ValueError("on_create is for a whole field or table: rows come and go")
        if any(row.site == self.key and row.flow != self.flow for row in self.rows if row.constant is None):
            raise ValueError(f"rows are known by {self.key}, so it goes the way of the table")
        if self.values or self.format or self.pull or self.push:
            raise ValueError("values, format and functions are for the fields in rows")


# How values of one type are written on each side


@dataclass(frozen=True, slots=True)
class Codec:
    """Between one type's canonical text and its JSON on each side. The first two raise ValueError with what was
    expected."""

    of_site: Callable[[Any], str | None]
    of_remote: Callable[[Any], str | None]
    to_site: Callable[[str], Any]
    to_remote: Callable[[str], Any]


def _of_text(value: Any) -> str | None:
    if type(value) is str:
        if not value.isascii() and _HALF.search(value):
            raise ValueError("text without half of a surrogate pair, which neither side can keep")
        return value or None
    if value is None:
        return None
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, int | float | Decimal):
        return _of_number(9, value)
    raise ValueError("text")


def _of_whole(value: Any) -> str:
    found = _of_number(9, value)
    if "." in found:
        raise ValueError("a whole number")
    return found


def _of_number(precision: int, value: Any) -> str:
    if type(value) is int:
        return str(value)
    if value is None or value == "":
        return "0"  # as the site's own columns have it
    if isinstance(value, str):
        try:
            value = Decimal(value.strip())
        except InvalidOperation:
            raise ValueError("a number") from None
    if not isinstance(value, int | float | Decimal):
        raise ValueError("a number")  # noqa: TRY004 (a value of the wrong form, whatever its type)
    exact = Decimal(value)
    if not exact.is_finite() or exact.adjusted() > LARGEST:
        raise ValueError("a number")
    text = f"{value:.{precision}f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


_HALF = re.compile("[\ud800-\udfff]")
_CONVERSION = (ValueError, TypeError, ArithmeticError)
LARGEST = 30
"""Digits before the point of a number."""
_YES, _NO = ("true", "yes", "on", "1"), ("false", "no", "off", "0", "")


def _of_check(value: Any) -> str:
    if value is True or value is False:
        return "1" if value else "0"
    text = "" if value is None else str(value).strip().lower()
    if text in _YES:
        return "1"
    if text in _NO:
        return "0"
    raise ValueError("true or false")


def _to_number(text: str) -> int | Decimal:
    return Decimal(text) if "." in text else int(text)


def _moment(text: datetime) -> str:
    return f"{text.astimezone(UTC).replace(tzinfo=None).isoformat()}Z"


@dataclass(frozen=True, slots=True)
class _Times:
    """Dates, times of day and moments of one field."""

    format: str
    zone: ZoneInfo
    """Of what the remote writes without one."""
    site_zone: ZoneInfo

    def parsed(self, value: Any) -> datetime | None:
        """An aware moment of the remote."""
        if value is None or value == "":
            return None
        try:
            if self.format in ("epoch", "epoch-ms"):
                seconds = Decimal(str(value)) / (1000 if self.format == "epoch-ms" else 1)
                return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(seconds * 1_000_000))
            found = datetime.strptime(value, self.format) if self.format else datetime.fromisoformat(value)  # noqa: DTZ007
        except (ValueError, TypeError, ArithmeticError):
            raise ValueError(f"a time as {self.format or '2026-01-31T08:00:00Z'}") from None
        return found if found.tzinfo else found.replace(tzinfo=self.zone)

    def written(self, moment: datetime) -> Any:
        if self.format == "epoch":
            return int(moment.timestamp())
        if self.format == "epoch-ms":
            return int(moment.timestamp() * 1000)
        if self.format:
            return moment.astimezone(self.zone).strftime(self.format)
        text = moment.astimezone(self.zone).isoformat()
        return text.replace("+00:00", "Z")

    # Moments

    def datetime_of_site(self, value: Any) -> str | None:
        return _moment(datetime.fromisoformat(value).replace(tzinfo=self.site_zone)) if value else None

    def datetime_of_remote(self, value: Any) -> str | None:
        found = self.parsed(value)
        return _moment(found) if found else None

    def datetime_to_site(self, text: str) -> str:
        return datetime.fromisoformat(text).astimezone(self.site_zone).replace(tzinfo=None).isoformat(" ")

    def datetime_to_remote(self, text: str) -> Any:
        return self.written(datetime.fromisoformat(text))

    # Days: of a moment, the day that it is at the site

    def date_of_site(self, value: Any) -> str | None:
        return str(value)[:10] if value else None

    def date_of_remote(self, value: Any) -> str | None:
        if isinstance(value, str) and len(value) == 10 and not self.format:
            try:
                return date.fromisoformat(value).isoformat()
            except ValueError:
                raise ValueError("a date as 2026-01-31") from None
        found = self.parsed(value)
        dated = not self.format or "%H" in self.format or self.format.startswith("epoch")
        return (found.astimezone(self.site_zone) if dated else found).date().isoformat() if found else None

    def date_to_remote(self, text: str) -> Any:
        if not self.format:
            return text
        return self.written(datetime.combine(date.fromisoformat(text), time(), self.zone))

    # Times of day

    def time_of(self, value: Any) -> str | None:
        if value in (None, ""):
            return None
        try:
            hours, minutes, *seconds = str(value).split(":")
            whole = Decimal(seconds[0]) if seconds else Decimal(0)
            return f"{int(hours):02d}:{int(minutes):02d}:{whole:09.6f}".rstrip("0").rstrip(".")
        except (ValueError, ArithmeticError):
            raise ValueError("a time of day as 08:30:00") from None


def _itself(text: str) -> str:
    return text


def _codec(kind: str, spec: FieldMap, site_zone: ZoneInfo, precision: int | None) -> Codec:
    if kind in ("Int", "Long Int"):
        return Codec(_of_whole, _of_whole, int, int)
    if kind == "Check":
        return Codec(_of_check, _of_check, int, lambda text: text == "1")
    if kind in ("Float", "Currency", "Percent", "Rating", "Duration"):
        chosen = next(p for p in (spec.precision, precision, PRECISION) if p is not None)
        number = partial(_of_number, chosen)
        return Codec(number, number, _to_number, _to_number)
    times = _Times(spec.format, ZoneInfo(spec.zone), site_zone)
    if kind == "Datetime":
        return Codec(times.datetime_of_site, times.datetime_of_remote, times.datetime_to_site, times.datetime_to_remote)
    if kind == "Date":
        return Codec(times.date_of_site, times.date_of_remote, _itself, times.date_to_remote)
    if kind == "Time":
        return Codec(times.time_of, times.time_of, _itself, _itself)
    return Codec(_of_text, _of_text, _itself, _itself)


# One field, compiled


@dataclass(frozen=True, slots=True)
class Cell:
    """One field that both sides have."""

    site: str
    remote: str
    flow: Flow
    codec: Codec
    on_create: bool
    values: Mapping[str, str | None]
    """The remote's text → the site's canonical text."""
    back: Mapping[str | None, str]
    """The site's canonical text → the remote's text."""
    pull: Function | None
    push: Function | None

    def of_site(self, doc: Mapping[str, Any]) -> str | None:
        value = doc.get(self.site)
        try:
            return self.codec.of_site(value)
        except _CONVERSION as error:
            raise BadValue(f"{self.site} is {_shown(value)} on the site, expected {error}") from None

    def of_remote(self, record: Mapping[str, Any]) -> str | None:
        value = at(record, self.remote)
        if self.pull:
            try:
                value = self.pull(value, record)
            except Exception as error:  # whatever the user's own function raises
                raise BadValue(
                    f"{self.remote} is {_shown(value)} at the remote: {self.pull!r} raised {error!r}"
                ) from None
        try:
            return self._translated(value) if self.values else self.codec.of_remote(value)
        except _CONVERSION as error:
            raise BadValue(f"{self.remote} is {_shown(value)} at the remote, expected {error}") from None

    def is_told(self, record: Mapping[str, Any]) -> bool:
        return at(record, self.remote, _NOWHERE) is not _NOWHERE

    def _translated(self, value: Any) -> str | None:
        text = _of_text(value)
        if text is None:
            return None
        if text not in self.values:
            raise ValueError(f"one of {', '.join(self.values)}, which values lists")
        return self.values[text]

    def to_site(self, text: str | None) -> Any:
        return None if text is None else self.codec.to_site(text)

    def to_remote(self, text: str | None, whole: Mapping[str, Any]) -> Any:
        """`whole`: what the site's document, or row, holds, for a function."""
        if self.push:
            try:
                return self.push(self.to_site(text), whole)
            except Exception as error:  # whatever the user's own function raises
                raise BadValue(f"{self.site} is {_shown(text)} on the site: {self.push!r} raised {error!r}") from None
        if self.values and (text is not None or None in self.back):
            if text not in self.back:
                known = ", ".join(map(_shown, self.back))
                raise BadValue(
                    f"{self.site} is {_shown(text)} on the site, expected one of {known}, which values lists"
                )
            return self.back[text]
        return None if text is None else self.codec.to_remote(text)


def _shown(value: Any) -> str:
    text = "not there" if value is None else repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 80 else f"{text[:79]}…"


def put(record: dict[str, Any], path: str, value: Any) -> None:
    """Set what stands at the dotted `path`; objects on the way are made."""
    *steps, last = path.split(".")
    for step in steps:
        inner = record.get(step)
        if not isinstance(inner, dict):
            inner = record[step] = {}
        record = inner
    record[last] = value


@dataclass(frozen=True, slots=True)
class Grid:
    """One child table and its array."""

    site: str
    remote: str
    flow: Flow
    cells: tuple[Cell, ...]
    key: Cell
    on_create: bool
    site_constants: Mapping[str, Any]
    remote_constants: Mapping[str, Any]

    def keyed(
        self, rows: Any, text: Callable[[Cell, Any], str | None], base: Base | None = None, side: Side = "site"
    ) -> Iterator[tuple[str, Any]]:
        """(key, row) of each. Rows of one key are numbered; one that is as `side` held it in `base` keeps its number,
        so that no row takes the place of another that goes, comes or moves."""
        if rows is None:
            return
        if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
            raise BadValue(f"{self.remote} is {_shown(rows)}, expected a list of rows")
        keys = [_ODD.sub(lambda sign: f"%{ord(sign[0]):02X}", text(self.key, row) or "") for row in rows]
        several = {key for key, number in Counter(keys).items() if number > 1}
        several |= {split(path)[1].partition("#")[0] for path in base or () if "#" in path}
        numbers = {
            key: self._numbers([row for row, own in zip(rows, keys, strict=True) if own == key], key, text, base, side)
            for key in several
        }
        for key, row in zip(keys, rows, strict=True):
            number = next(numbers[key]) if key in several else 1
            yield (key if number == 1 else f"{key}#{number}"), row

    def _numbers(
        self, rows: list[Any], key: str, text: Callable[[Cell, Any], str | None], base: Base | None, side: Side
    ) -> Iterator[int]:
        """Of rows that have one key, in their order."""
        told = [cell for cell in self.cells if not cell.on_create]
        then: dict[int, list[str]] = {}
        for path, entry in (base or {}).items():
            table, known, cell = split(path)
            plain, _, place_of = known.partition("#")
            if table == self.site and plain == key and not cell and held_by(side, entry) != ABSENT:
                then[int(place_of or 1)] = [held_by(side, (base or {}).get(f"{path}.{one.site}")) for one in told]
        found: dict[int, int] = {}
        for place, row in enumerate(rows):
            now = [digest(text(cell, row)) for cell in told]
            if (same := next((number for number in sorted(then) if then[number] == now), None)) is not None:
                del then[same]
                found[place] = same
        edited, free = iter(sorted(then)), (n for n in count(1) if n not in then and n not in found.values())
        for place in range(len(rows)):
            if place not in found:
                number = next(edited, 0)
                found[place] = number or next(free)
        return iter([found[place] for place in range(len(rows))])


_ODD = re.compile(r"[\[\]#%]")
"""Signs that a key may not have in a path, where they mean something."""
_KEY = re.compile(r"(\w+)\[(.*)\](?:\.(\w+))?", re.DOTALL)


def split(path: str) -> tuple[str, str, str]:
    """(table, key, field) of a path; (field, "", "") outside of tables; field "" for the row itself."""
    match = _KEY.fullmatch(path)
    return (match[1], match[2], match[3] or "") if match else (path, "", "")


def named(path: str) -> str:
    """The field, table, or "table.field" of a row's cell that `path` belongs to."""
    table, _, rest = path.partition("[")
    cell = rest.partition("].")[2]
    return f"{table}.{cell}" if cell else table


@dataclass(frozen=True, slots=True)
class Fields:
    """All fields of one sync, compiled for the DocType that they belong to."""

    cells: tuple[Cell, ...]
    grids: tuple[Grid, ...]
    site_constants: Mapping[str, Any]
    remote_constants: Mapping[str, Any]
    flows: Mapping[str, Flow] = field(default_factory=dict)
    """Field, table, or "table.field" of a row's cell → which way it goes."""

    def flow(self, path: str) -> Flow:
        """Of a field, a row, or a cell of one."""
        return self.flows[named(path)]

    def own_name(self, record: Mapping[str, Any]) -> str:
        """The name of the document that `record` was made for, where the mapping sends names; else ""."""
        for cell in self.cells:
            if cell.site == "name":
                return str(at(record, cell.remote) or "")
        return ""

    # Either side → one form. Both raise BadValue.

    def of_site(self, doc: Mapping[str, Any], base: Base | None = None) -> Flat:
        """`base`: what both held when they last agreed, which tells rows of one key apart."""
        flat = {cell.site: cell.of_site(doc) for cell in self.cells if not cell.on_create}
        for grid in self.grids:
            if not grid.on_create:
                rows = grid.keyed(doc.get(grid.site), Cell.of_site, base, "site")
                _flatten(flat, grid, rows, lambda cell, row: {cell.site: cell.of_site(row)})
        return flat

    def of_remote(self, record: Mapping[str, Any], base: Base | None = None, *, whole: bool = True) -> Flat:
        """`whole`: what is not in `record` is empty; else it is not told, and no path of the answer."""

        def told(cell: Cell, body: Mapping[str, Any]) -> Flat:
            return {cell.site: cell.of_remote(body)} if whole or cell.is_told(body) else {}

        flat: Flat = {}
        for cell in self.cells:
            if not cell.on_create:
                flat |= told(cell, record)
        for grid in self.grids:
            if not grid.on_create:
                rows = grid.keyed(at(record, grid.remote), Cell.of_remote, base, "remote")
                _flatten(flat, grid, rows, told)
        return flat

    def untold(self, record: Mapping[str, Any]) -> list[str]:
        """Fields and tables of the site of which `record` says nothing."""
        parts: list[Cell | Grid] = [*self.cells, *self.grids]
        return [part.site for part in parts if not part.on_create and at(record, part.remote, _NOWHERE) is _NOWHERE]

    # One form → what is sent

    def new_document(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """The fields of a document for `record`. Raises BadValue."""
        doc = dict(self.site_constants)
        for cell in self.cells:
            if cell.flow != "push" and (text := cell.of_remote(record)) is not None:
                doc[cell.site] = cell.to_site(text)
        for grid in self.grids:
            if grid.flow != "push":
                doc[grid.site] = [
                    {
                        **grid.site_constants,
                        **{c.site: c.to_site(c.of_remote(row)) for c in grid.cells if c.flow != "push"},
                    }
                    for _, row in grid.keyed(at(record, grid.remote), Cell.of_remote)
                ]
        return doc

    def new_record(self, doc: Mapping[str, Any]) -> dict[str, Any]:
        """The payload that creates the remote twin of `doc`. Raises BadValue."""
        record = _built(self.cells, self.remote_constants, doc)
        for grid in self.grids:
            if grid.flow != "pull":
                put(record, grid.remote, _rows(grid, doc))
        return record

    def document_changes(
        self, changes: Mapping[str, str | None], gone: Iterable[str], doc: Mapping[str, Any], base: Base | None = None
    ) -> dict[str, Any]:
        """Fields to send for `changes` (path → text) and rows that are `gone` (paths). A table is sent whole, with all
        that its rows hold, since what is left out of a row is emptied (frappe/model/base_document.py:db_update)."""
        sent: dict[str, Any] = {}
        rows = _by_table(changes, gone)
        for cell in self.cells:
            if cell.site in changes:
                sent[cell.site] = cell.to_site(changes[cell.site])
        for grid in self.grids:
            if grid.site not in rows:
                continue
            changed, removed = rows[grid.site]
            table = []
            for key, row in grid.keyed(doc.get(grid.site), Cell.of_site, base, "site"):
                if key not in removed:
                    new = changed.pop(key, {})
                    table.append({**row, **{c.site: c.to_site(new[c.site]) for c in grid.cells if c.site in new}})
            table += [
                {**grid.site_constants, **{c.site: c.to_site(new[c.site]) for c in grid.cells if c.site in new}}
                for new in changed.values()
            ]
            sent[grid.site] = table
        return sent

    def record_changes(self, changes: Mapping[str, str | None], gone: Iterable[str], record: Mapping[str, Any] | None,
                       site: Mapping[str, Any], base: Base | None = None, *, whole: bool,
                       ) -> dict[str, Any]:  # fmt: skip
        """The payload that brings `changes` to the remote. `whole`: all of `record` as it is there, overlaid, for an
        API whose PUT replaces; else what differs alone. An array is sent whole: from the rows of `record` where it is
        known, else from those of the document `site`. Raises BadValue."""
        sent: dict[str, Any] = deepcopy(dict(record)) if whole and record is not None else {}
        for cell in self.cells:
            if cell.site in changes:
                put(sent, cell.remote, cell.to_remote(changes[cell.site], site))
        for path, value in self.remote_constants.items() if whole else ():
            put(sent, path, value)
        rows = _by_table(changes, gone)
        for grid in self.grids:
            if grid.site in rows:
                changed, removed = rows[grid.site]
                put(sent, grid.remote, _array(grid, changed, removed, record, site, base))
        return sent


def _built(cells: Iterable[Cell], constants: Mapping[str, Any], doc: Mapping[str, Any]) -> dict[str, Any]:
    """A record, or one row of it, as `doc` says."""
    built = _with(constants)
    for cell in cells:
        if cell.flow != "pull":
            put(built, cell.remote, cell.to_remote(cell.of_site(doc), doc))
    return built


def _with(constants: Mapping[str, Any]) -> dict[str, Any]:
    record: dict[str, Any] = {}
    for path, value in constants.items():
        put(record, path, value)
    return record


def _rows(grid: Grid, doc: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows = grid.keyed(doc.get(grid.site), Cell.of_site)
    return [_built(grid.cells, grid.remote_constants, row) for _, row in rows]


def _array(grid: Grid, changed: dict[str, Flat], removed: set[str], record: Mapping[str, Any] | None,
           site: Mapping[str, Any], base: Base | None) -> list[dict[str, Any]]:  # fmt: skip
    if record is None:
        return _rows(grid, site)
    there = grid.keyed(at(record, grid.remote), Cell.of_remote, base, "remote")
    held = dict(grid.keyed(site.get(grid.site), Cell.of_site, base, "site"))
    array = [
        _overlaid(grid, deepcopy(row), changed.pop(key, {}), held.get(key, {}))
        for key, row in there
        if key not in removed
    ]
    return array + [
        _overlaid(grid, _with(grid.remote_constants), new, held.get(key, {})) for key, new in changed.items()
    ]


def _overlaid(grid: Grid, row: dict[str, Any], new: Flat, held: Mapping[str, Any]) -> dict[str, Any]:
    """`row` of the remote with its cells that change. `held`: the site's row, for functions."""
    for cell in grid.cells:
        if cell.site in new:
            put(row, cell.remote, cell.to_remote(new[cell.site], held))
    return row


def _flatten(flat: Flat, grid: Grid, rows: Iterable[tuple[str, Any]], told: Callable[[Cell, Any], Flat]) -> None:
    for key, row in rows:
        place = f"{grid.site}[{key}]"
        flat[place] = THERE
        for cell in grid.cells:
            if not cell.on_create:
                flat.update({f"{place}.{name}": text for name, text in told(cell, row).items()})


def _by_table(changes: Mapping[str, str | None], gone: Iterable[str]) -> dict[str, tuple[dict[str, Flat], set[str]]]:
    """Table → (key → its cells that change, keys of rows that go)."""
    found: dict[str, tuple[dict[str, Flat], set[str]]] = {}
    for path, text in changes.items():
        table, key, cell = split(path)
        if table != path:
            row = found.setdefault(table, ({}, set()))[0].setdefault(key, {})
            if cell:
                row[cell] = text
    for path in gone:
        table, key, cell = split(path)
        if not cell:
            found.setdefault(table, ({}, set()))[1].add(key)
    return found


# Compiling


def compiled(maps: Sequence[FieldMap], doctype: DocType, zone: ZoneInfo) -> Fields:
    """`maps` for the fields that `doctype` has; `zone` is the site's. Raises BadValue with every field that is
    missing."""
    missing: list[str] = []
    cells, grids = [], []
    for spec in maps:
        if spec.constant is not None:
            if spec.site and doctype.field(spec.site) is None:
                missing.append(spec.site)
        elif spec.rows:
            child = doctype.children.get(spec.site)
            if child is None:
                missing.append(f"{spec.site} (a child table)")
                continue
            inner = [_cell(row, child, zone, missing) for row in spec.rows if row.constant is None]
            key = next(cell for cell in inner if cell.site == spec.key)
            site, remote = _constants(spec.rows)
            grids.append(Grid(spec.site, spec.remote, spec.flow, tuple(inner), key, spec.on_create, site, remote))
        else:
            cells.append(_cell(spec, doctype, zone, missing))
    if missing:
        raise BadValue(f"{doctype.name} has no field {', '.join(missing)}, which the mapping names")
    site, remote = _constants(maps)
    parts: list[Cell | Grid] = [*cells, *grids]
    flows = {part.site: part.flow for part in parts}
    for grid in grids:  # a table that goes one way takes its cells along
        flows |= {f"{grid.site}.{c.site}": c.flow if grid.flow == "both" else grid.flow for c in grid.cells}
    return Fields(tuple(cells), tuple(grids), site, remote, flows)


def meanings(maps: Iterable[FieldMap]) -> dict[str, str]:
    """Field, table, or "table.field" of a row's cell → digest of all that decides how its values are compared. The way
    that they go is no part of that."""
    found: dict[str, str] = {}
    for spec in maps:
        if spec.constant is None:
            said: Any = spec.model_dump(mode="json", exclude={"flow", "on_create", "rows"})
            if spec.rows:
                cells = meanings(spec.rows)
                said = [said, cells[spec.key]]
                found |= {f"{spec.site}.{cell}": digest for cell, digest in cells.items()}
            found[spec.site] = blake2b(json.dumps(said, sort_keys=True).encode(), digest_size=6).hexdigest()
    return found


def _constants(maps: Iterable[FieldMap]) -> tuple[dict[str, Any], dict[str, Any]]:
    given = [spec for spec in maps if spec.constant is not None]
    site = {spec.site: spec.constant for spec in given if spec.site}
    return site, {spec.remote: spec.constant for spec in given if spec.remote}


def _cell(spec: FieldMap, doctype: DocType, zone: ZoneInfo, missing: list[str]) -> Cell:
    own = doctype.field(str(spec.site))
    if own is None or own.is_table:
        missing.append(f"{doctype.name}.{spec.site}" if doctype.istable else str(spec.site))
        own = meta.Field(str(spec.site))
    codec = _codec(own.fieldtype, spec, zone, own.precision)
    values = {remote: codec.of_site(site) for remote, site in spec.values.items()}
    back: dict[str | None, str] = {}
    for remote, text in values.items():
        back.setdefault(text, remote)
    return Cell(own.fieldname, spec.remote, spec.flow, codec, spec.on_create, values, back,
                spec.pull, spec.push)  # fmt: skip
