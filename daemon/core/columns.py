"""The header row of a table → columns of a DocType, with everything that is wrong about it. Reads and writes nothing.

Headers are those of Frappe's own exports (frappe/core/doctype/data_import/importer.py:
build_fields_dict_for_column_matching): a field's name or label, `table.field` or `Label (Table)` for a field of a child
table, ID for a document's name. Frappe skips a column that it does not know, takes the first of two fields with one
label and drops a header that comes twice; this says so and leaves the choice to whoever runs the import.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from daemon.core.doctype import CHILD, STANDARD, DocType, Field
from daemon.core.settings import did_you_mean
from daemon.core.values import Reading, ValueProblem, converter, shown


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the table, and the field that its cells are for."""

    index: int
    """Position of the cell in a row, from 0."""
    header: str
    field: Field
    table: str = ""
    """The table field where `field` is one of a child table's; "" where it is the document's own."""

    @property
    def key(self) -> str:
        """How configuration names the field: "field" or "table.field"."""
        return f"{self.table}.{self.field.fieldname}" if self.table else self.field.fieldname

    def __str__(self) -> str:
        return place(self.index, self.header)


@dataclass(frozen=True, slots=True)
class ColumnProblem:
    """What is wrong with one column, or with the table as a whole."""

    kind: str
    """doctype, unknown, ambiguous, duplicate, refused, mapping, constant, mandatory, or empty."""
    message: str
    index: int | None = None
    header: str = ""

    def __str__(self) -> str:
        return self.message if self.index is None else f"{place(self.index, self.header)}: {self.message}"


@dataclass(frozen=True, slots=True)
class Layout:
    """What the columns of a table are for. To be used only where `problems` is empty."""

    doctype: DocType
    columns: tuple[Column, ...] = ()
    ignored: tuple[tuple[int, str], ...] = ()
    """(index, header) of columns that are left out because that was asked for."""
    untitled: tuple[int, ...] = ()
    """Columns without a header; a row that has a value there has a problem."""
    width: int = 0
    """Cells of the header row."""
    constants: Mapping[str, Any] = field(default_factory=dict)
    """"field" or "table.field" → the value, ready for Frappe, that every document or row is given."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """The same, for where a new document's or row's cell is blank or has no column."""
    mandatory: bool = True
    """A blank cell of a mandatory field is a problem of its row, as far as the site fills in nothing by itself."""
    problems: tuple[ColumnProblem, ...] = ()
    lacking: tuple[str, ...] = ()
    """Why a row cannot become a new document, though it may change one that is there."""


def letters(index: int) -> str:
    """Position from 0 → what a spreadsheet calls the column: A, Z, AA."""
    name, number = "", index + 1
    while number:
        number, rest = divmod(number - 1, 26)
        name = chr(65 + rest) + name
    return name


def place(index: int, header: str) -> str:
    return f"column {index + 1} ({letters(index)}) {shown(header)}"


def resolve(
    doctype: DocType,
    headers: Sequence[Any],
    *,
    mapping: Mapping[str, str] | None = None,
    constants: Mapping[str, Any] | None = None,
    defaults: Mapping[str, Any] | None = None,
    creating: bool = True,
    ignore_unknown: bool = False,
    allow_read_only: bool = False,
    mandatory: bool = True,
    updating: bool = False,
) -> Layout:
    """The layout of a table with these headers; all that is wrong is in its `problems`, and nothing is raised.

    `mapping`: header → "field", "table.field", or "" to leave the column out. `constants` and `defaults`: "field" or
    "table.field" → value. `creating`: documents may be new, so that mandatory fields need a source. `allow_read_only`:
    fields that only forms protect may be written, which the API allows. `mandatory = False` leaves it to the site to
    say what is missing, as for DocTypes whose own code fills in mandatory fields. `updating`: all rows may be
    of documents that are there, so that what is missing is a problem of those that are not.
    """
    if refusal := _refused(doctype):
        return Layout(doctype, problems=(ColumnProblem("doctype", refusal),))
    finder = _Finder(doctype, allow_read_only)
    texts = ["" if header is None else str(header).strip() for header in headers]
    columns, problems, ignored = [], [], []
    targets, mapping_problems = _mapped(texts, mapping or {})
    for index, header in enumerate(texts):
        if targets.get(index) == "" and index in targets:
            ignored.append((index, header))
        elif header:
            found = finder.named(targets[index]) if index in targets else finder.find(header)
            if isinstance(found, ColumnProblem):
                if found.kind == "unknown" and ignore_unknown and index not in targets:
                    ignored.append((index, header))
                else:
                    problems.append(ColumnProblem(found.kind, found.message, index, header))
            else:
                columns.append(Column(index, header, found[1], found[0]))
    if creating:
        columns = [*_named(doctype, columns, constants or {})]
    fixed, fixed_problems = _values(finder, "constants", constants or {})
    filled, filled_problems = _values(finder, "defaults", defaults or {})
    problems += [*mapping_problems, *_repeated(columns), *fixed_problems, *filled_problems]
    problems += _overruled(columns, fixed)
    if not any(not column.table for column in columns) and not problems:
        problems.append(ColumnProblem("empty", f"no column belongs to {doctype.name} itself, so no row begins one"))
    missing = _missing(doctype, columns, {*fixed, *filled}) if creating and mandatory else []
    lacking = tuple(problem.message for problem in missing if updating)
    problems += [] if updating else missing
    untitled = tuple(index for index, header in enumerate(texts) if not header and index not in targets)
    return Layout(
        doctype,
        tuple(columns),
        tuple(ignored),
        untitled,
        len(texts),
        fixed,
        filled,
        mandatory,
        tuple(problems),
        lacking,
    )


def _refused(doctype: DocType) -> str:
    if doctype.istable:
        return f"{doctype.name} is the DocType of a child table; import the documents that its rows belong to"
    if doctype.issingle:
        return f"{doctype.name} is a Single, of which there is one document and no table"
    return f"{doctype.name} is virtual: the site keeps no rows of it" if doctype.is_virtual else ""


Found = tuple[str, Field]
"""(table field or "", field)."""


class _Finder:
    """Finds the field that a header means: by exact field name, by exact label, by either with case, blanks and
    punctuation aside; and at each step the document's own fields before those of its child tables."""

    def __init__(self, doctype: DocType, allow_read_only: bool) -> None:
        self.doctype, self._allow_read_only = doctype, allow_read_only
        self._exact: dict[str, list[Found]] = {}
        self._labels: dict[str, list[Found]] = {}
        self._loose: dict[str, list[Found]] = {}
        self._child_labels: dict[str, list[Found]] = {}
        self._child_loose: dict[str, list[Found]] = {}
        for own in (*STANDARD.values(), *doctype.fields):
            self._add_own(own)
        for table, child in doctype.children.items():
            label = next((own.label for own in doctype.fields if own.fieldname == table), "")
            for own in (*STANDARD.values(), *CHILD.values(), *child.fields):
                self._add_child(table, label, own)
        self.keys = [key for key, found in self._exact.items() if not _unusable(found[0], True)]

    def _add_own(self, own: Field) -> None:
        found = ("", own)
        _put(self._exact, own.fieldname, found)
        _put(self._labels, own.label, found)
        _put(self._labels, f"{own.label} ({own.fieldname})", found)
        for name in (own.fieldname, own.label, f"{own.label} ({own.fieldname})"):
            _put(self._loose, _folded(name), found)

    def _add_child(self, table: str, label: str, own: Field) -> None:
        found = (table, own)
        _put(self._exact, f"{table}.{own.fieldname}", found)
        for name in dict.fromkeys((own.fieldname, own.label)):
            for owner in dict.fromkeys((table, label)):
                if name and owner:
                    _put(self._child_labels, f"{name} ({owner})", found)
                    _put(self._child_loose, _folded(f"{name} ({owner})"), found)
                    _put(self._child_loose, _folded(f"{owner}.{name}"), found)

    def find(self, header: str) -> Found | ColumnProblem:
        """The field that a header means, or why there is none."""
        tiers = ((self._exact, header), (self._labels, header), (self._child_labels, header),
                 (self._loose, _folded(header)), (self._child_loose, _folded(header)))  # fmt: skip
        for names, name in tiers:
            if found := _best(names.get(name, [])):
                return self._one(header, found)
        hint = did_you_mean(header, self._words())
        ways = f'map the header to a field or to "", or set ignore_unknown{hint}'
        return ColumnProblem("unknown", f"{self.doctype.name} has no such field; {ways}")

    def named(self, key: str) -> Found | ColumnProblem:
        """The field that configuration names by "field" or "table.field", or why there is none."""
        if key in self._exact:
            return self._one(key, _best(self._exact[key]))
        hint = did_you_mean(key, self.keys)
        return ColumnProblem("unknown", f"{self.doctype.name} has no field {shown(key)}{hint}")

    def _one(self, header: str, found: list[Found]) -> Found | ColumnProblem:
        if len(found) > 1:
            names = " or ".join(key_of(one) for one in found)
            return ColumnProblem("ambiguous", f"{shown(header)} can mean {names}; map the header to one of them")
        if why := _unusable(found[0], self._allow_read_only):
            return ColumnProblem("refused", f"{key_of(found[0])} {why}")
        return found[0]

    def _words(self) -> list[str]:
        """Headers worth suggesting."""
        names = (*self._exact.items(), *self._labels.items(), *self._child_labels.items())
        return [name for name, found in names if not _unusable(found[0], self._allow_read_only)]


def key_of(found: Found) -> str:
    table, own = found
    return f"{table}.{own.fieldname}" if table else own.fieldname


def _put(names: dict[str, list[Found]], name: str, found: Found) -> None:
    if name and found not in (known := names.setdefault(name, [])):
        known.append(found)


def _best(found: list[Found]) -> list[Found]:
    """Without headings that share a field's label, and with "ID" for the name before any field so labelled (Frappe)."""
    named = [one for one in found if not one[0] and one[1] is STANDARD["name"]]
    return named or [one for one in found if one[1].has_value and not one[1].is_virtual] or found


_DROPPED = re.compile(r"[\W_]+")


def _folded(text: str) -> str:
    """Letters and digits alone, in one case: "Item Code", "item_code" and "ITEM-CODE " are the same."""
    return _DROPPED.sub("", unicodedata.normalize("NFKC", text).casefold())


def _unusable(found: Found, allow_read_only: bool) -> str:
    """Why nothing can be written to a field, or ""."""
    table, own = found
    if own.fieldname == "name":
        return ""
    if own is STANDARD.get(own.fieldname) or own is CHILD.get(own.fieldname):
        return 'is kept by the site itself; map the header to "" to leave it out'
    if not own.has_value:
        return f"is a {own.fieldtype}, which holds no value"
    if own.is_virtual:
        return "is virtual: the site computes it"
    if own.is_table and table:
        return "is a table within a table, which Frappe does not have"
    if (own.read_only or own.fieldtype == "Read Only") and not allow_read_only:
        return 'is read-only; map the header to "" to leave it out, or set allow_read_only'
    return ""


def _mapped(headers: Sequence[str], mapping: Mapping[str, str]) -> tuple[dict[int, str], list[ColumnProblem]]:
    """Index of a column → what the mapping says it is for."""
    targets: dict[int, str] = {}
    problems = []
    for header, target in mapping.items():
        exact = [index for index, own in enumerate(headers) if own == header.strip()]
        folded = _folded(header)
        hits = exact or [index for index, own in enumerate(headers) if folded and _folded(own) == folded]
        if not hits:
            hint = did_you_mean(header, [own for own in headers if own])
            problems.append(ColumnProblem("mapping", f"mapping: the table has no column {shown(header)}{hint}"))
        elif len(hits) > 1 and target:
            which = ", ".join(letters(index) for index in hits)
            problems.append(ColumnProblem("mapping", f"mapping: {shown(header)} stands above the columns {which}"))
        targets |= dict.fromkeys(hits, target.strip())
    return targets, problems


def _named(doctype: DocType, columns: Iterable[Column], constants: Mapping[str, Any]) -> Iterator[Column]:
    """Where a field names new documents (autoname "field:…") and has no column, "ID" is that field, as in Frappe's own
    import: over REST a name for such a document is overruled by the field."""
    columns = list(columns)
    after = doctype.field(doctype.named_after) if doctype.named_after else None
    own = after is not None and any(column.key == after.fieldname for column in columns)
    for column in columns:
        stands_in = after is not None and not own and after.fieldname not in constants and column.key == "name"
        yield Column(column.index, column.header, after) if after and stands_in else column


def _repeated(columns: Sequence[Column]) -> list[ColumnProblem]:
    """Two columns for one field; and a table both as JSON and as columns of its own."""
    seen: dict[str, Column] = {}
    problems = []
    for column in columns:
        if (first := seen.setdefault(column.key, column)) is not column:
            text = f'is for {column.key}, as is {first} already; map one of them to ""'
            problems.append(ColumnProblem("duplicate", text, column.index, column.header))
    for column in columns:
        if column.table and (whole := seen.get(column.table)):
            text = f"is a part of {column.table}, which {whole} holds as a whole"
            problems.append(ColumnProblem("duplicate", text, column.index, column.header))
    return problems


def _values(finder: _Finder, section: str, values: Mapping[str, Any]) -> tuple[dict[str, Any], list[ColumnProblem]]:
    """Constants or defaults as Frappe takes them. Numbers with a point and ISO dates are what configuration writes."""
    ready: dict[str, Any] = {}
    problems = []
    for key, value in values.items():
        found = finder.named(key)
        if isinstance(found, ColumnProblem):
            problems.append(ColumnProblem("constant", f"{section}: {found.message}"))
            continue
        try:
            child = finder.doctype.children.get(key)
            ready[key] = converter(found[1], Reading(decimal=".", rating="fraction"), child=child)(value)
        except ValueProblem as problem:
            text = f"{section}: {key} = {shown(value)} is not what its field takes; expected {problem}"
            problems.append(ColumnProblem("constant", text))
    return ready, problems


def _overruled(columns: Sequence[Column], constants: Mapping[str, Any]) -> list[ColumnProblem]:
    return [
        ColumnProblem("duplicate", f"{column.key} has a constant, too, which would overrule it", column.index,
                      column.header)
        for column in columns
        if column.key in constants
    ]  # fmt: skip


def _missing(doctype: DocType, columns: Sequence[Column], given: set[str]) -> list[ColumnProblem]:
    """Mandatory fields that nothing fills: of the document, and of each child table that has any column."""
    keys = {column.key for column in columns} | given
    tables = {key.partition(".")[0] for key in keys if "." in key}
    ways = "give it a column, a constant or a default, or set mandatory = false where the site fills it in"
    owners = [("", doctype), *((table, child) for table, child in doctype.children.items() if table in tables)]
    missing = [
        (table, own)
        for table, owner in owners
        for own in owner.fields
        if own.reqd and own.has_value and not own.is_virtual and not own.filled_by_site
        if key_of((table, own)) not in keys and (table or own.fieldname not in tables)
    ]
    return [ColumnProblem("mandatory", f"{key_of(one)} ({one[1].label}) is mandatory; {ways}") for one in missing]
