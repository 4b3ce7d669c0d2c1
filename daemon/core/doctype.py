"""What a DocType is made of: its fields in order, its child tables, how its documents get their names.

Built from the reply of frappe.desk.form.load.getdoctype, the only one in which every version merges Custom Fields and
Property Setters. Reads and writes nothing, and judges no value: that is daemon.core.values.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from daemon.errors import NotFound, NotFrappe

TABLES = frozenset({"Table", "Table MultiSelect"})
NO_VALUE = frozenset({"Section Break", "Column Break", "Tab Break", "HTML", "Button", "Heading", "Fold", "Image"})
"""Field types that only lay out a form (frappe/model/__init__.py:display_fieldtypes)."""


@dataclass(frozen=True, slots=True)
class Field:
    """One DocField or Custom Field, as the site's merged meta has it."""

    fieldname: str
    label: str = ""
    fieldtype: str = "Data"
    options: str = ""
    """Link: the DocType; Dynamic Link: the field that names it; Select: one option a line; Table: the child DocType."""
    reqd: bool = False
    unique: bool = False
    length: int = 0
    """Characters of a varchar, digits of an Int; 0: what the type has by itself."""
    precision: int | None = None
    default: str = ""
    read_only: bool = False
    set_only_once: bool = False
    non_negative: bool = False
    is_virtual: bool = False
    hidden: bool = False
    allow_on_submit: bool = False
    permlevel: int = 0
    fetch_from: str = ""

    @property
    def is_table(self) -> bool:
        return self.fieldtype in TABLES

    @property
    def has_value(self) -> bool:
        """A document can hold something here: in a column of its own, or as the rows of a child table."""
        return self.fieldtype not in NO_VALUE

    @property
    def filled_by_site(self) -> bool:
        """Frappe puts something in where a new document brings nothing: a default, the first option of a Select
        (frappe/model/create_new.py:get_static_default_value), 0 for a Check, or what a linked document has."""
        first = self.options.partition("\n")[0].strip() if self.fieldtype == "Select" else ""
        return bool(self.default or first or self.fetch_from or self.read_only or self.fieldtype == "Check")

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Field:
        """From one row of `fields`; what is missing or of another type counts as not set."""
        return cls(
            fieldname=_text(row.get("fieldname")),
            label=_text(row.get("label")).strip(),
            fieldtype=_text(row.get("fieldtype")) or "Data",
            options=_text(row.get("options")),
            length=_whole(row.get("length")) or 0,
            precision=_whole(row.get("precision")),
            default=_text(row.get("default")),
            permlevel=_whole(row.get("permlevel")) or 0,
            fetch_from=_text(row.get("fetch_from")),
            **{flag: bool(_whole(row.get(flag))) for flag in _FLAGS},
        )


_FLAGS = ("reqd", "unique", "read_only", "set_only_once", "non_negative", "is_virtual", "hidden", "allow_on_submit")

STANDARD: Mapping[str, Field] = {
    known.fieldname: known
    for known in (
        Field("name", "ID"),
        Field("owner", "Created By", "Link", "User"),
        Field("creation", "Created On", "Datetime"),
        Field("modified", "Last Updated On", "Datetime"),
        Field("modified_by", "Last Updated By", "Link", "User"),
        Field("docstatus", "Document Status", "Int"),
        Field("idx", "Index", "Int"),
    )
}
"""Columns of every DocType (frappe/model/__init__.py:default_fields), labelled as Frappe's lists label them."""
CHILD: Mapping[str, Field] = {
    known.fieldname: known
    for known in (Field("parent", "Parent"), Field("parentfield", "Parent Field"), Field("parenttype", "Parent Type"))
}
"""Further columns of every child DocType (frappe/model/__init__.py:child_table_fields)."""
OPTIONAL = ("_user_tags", "_comments", "_assign", "_liked_by", "_seen")
SYSTEM = frozenset({"doctype", *STANDARD, *CHILD, *OPTIONAL})
"""Keys of a document that are no fields of its DocType."""


@dataclass(frozen=True, slots=True)
class DocType:
    """One DocType with its child tables."""

    name: str
    fields: tuple[Field, ...] = ()
    children: Mapping[str, DocType] = dataclasses.field(default_factory=dict)
    """Name of a table field → its child DocType; without those that the reply left out."""
    autoname: str = ""
    naming_rule: str = ""
    issingle: bool = False
    istable: bool = False
    is_submittable: bool = False
    is_virtual: bool = False
    is_tree: bool = False
    allow_rename: bool = False
    title_field: str = ""
    engine: str = ""
    """Of the table in MariaDB; "": InnoDB."""
    permissions: tuple[Mapping[str, Any], ...] = ()
    """DocPerm rows, custom ones where there are any."""
    _index: dict[str, Field] = dataclasses.field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._index.update({own.fieldname: own for own in self.fields})

    @classmethod
    def of(cls, name: str, docs: Any) -> DocType:
        """From the `docs` of getdoctype's reply: the DocType first, the metas of its child tables after it.

        Raises NotFrappe where `docs` is no list of objects, NotFound where none of them is `name`.
        """
        if not isinstance(docs, list | tuple) or not all(isinstance(doc, Mapping) for doc in docs):
            raise NotFrappe(f"the reply about the DocType {name!r} is no list of metas")
        metas = {_text(doc.get("name")): doc for doc in reversed(docs)}
        if name not in metas:
            raise NotFound(f"the site has no DocType {name!r}", status=404)
        return cls._of_doc(metas[name], metas)

    @classmethod
    def _of_doc(cls, doc: Mapping[str, Any], metas: Mapping[str, Mapping[str, Any]]) -> DocType:
        fields = tuple(Field.of(row) for row in _rows(doc.get("fields")) if _text(row.get("fieldname")))
        # a child table has no child tables of its own, so the metas are not handed further down
        children = {
            own.fieldname: cls._of_doc(metas[own.options], {})
            for own in fields
            if own.is_table and own.options in metas
        }
        return cls(
            name=_text(doc.get("name")),
            fields=fields,
            children=children,
            autoname=_text(doc.get("autoname")),
            naming_rule=_text(doc.get("naming_rule")),
            title_field=_text(doc.get("title_field")),
            engine=_text(doc.get("engine")),
            permissions=tuple(_rows(doc.get("permissions"))),
            issingle=bool(_whole(doc.get("issingle"))),
            istable=bool(_whole(doc.get("istable"))),
            is_submittable=bool(_whole(doc.get("is_submittable"))),
            is_virtual=bool(_whole(doc.get("is_virtual"))),
            is_tree=bool(_whole(doc.get("is_tree"))),
            allow_rename=bool(_whole(doc.get("allow_rename"))),
        )

    def field(self, fieldname: str) -> Field | None:
        """A field of this DocType, or a column that every DocType has; None where there is no such thing."""
        own = self._index.get(fieldname) or STANDARD.get(fieldname)
        return own or (CHILD.get(fieldname) if self.istable else None)

    @property
    def named_after(self) -> str:
        """The field whose value becomes the name of a document (autoname "field:…"), or ""."""
        return self.autoname.removeprefix("field:") if self.autoname.startswith("field:") else ""

    @property
    def prompts(self) -> bool:
        """Whoever creates a document names it (autoname "prompt", frappe/model/naming.py:set_new_name)."""
        return self.autoname.lower() == "prompt"

    @property
    def transactional(self) -> bool:
        """What the site refuses is undone: not so in tables of MyISAM, which a DocType may choose (Error Log does)."""
        return self.engine in ("", "InnoDB")

    @property
    def tables(self) -> tuple[tuple[str, str], ...]:
        """(field name, child DocType) of each child table."""
        return tuple((own.fieldname, own.options) for own in self.fields if own.is_table)

    @property
    def columns(self) -> dict[str, str]:
        """Field name → field type, of all that can be listed and filtered by. Standard columns count as Data."""
        names = dict.fromkeys((*STANDARD, *(CHILD if self.istable else OPTIONAL)), "Data")
        return names | {own.fieldname: own.fieldtype for own in self.fields if own.has_value and not own.is_table}

    def column(self, path: str) -> str | None:
        """The field type of a column, or of one of a child table's as "table.field"; None where there is none."""
        table, dot, name = path.partition(".")
        if not dot:
            return self.columns.get(path)
        child = self.children.get(table)
        return child.columns.get(name) if child else None

    @property
    def paths(self) -> list[str]:
        """Every column, those of child tables as "table.field"."""
        return [*self.columns, *(f"{table}.{name}" for table, child in self.children.items() for name in child.columns)]

    def no_dates(self, fields: Iterable[str]) -> list[str]:
        """Those of `fields` that are there and hold no dates; "table.field" is one of a child table's."""
        types = {name: self.column(name) for name in fields if name not in ("creation", "modified")}
        return [name for name, kind in types.items() if kind is not None and kind not in ("Date", "Datetime")]

    def links(self, doc: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
        """(path, DocType, name) of what `doc` and its rows lead to, such as ("items[1].item_code", "Item", "A")."""
        for fieldname, value in doc.items():
            own, child = self.field(fieldname), self.children.get(fieldname)
            if own and own.fieldtype == "Link" and value not in (None, ""):
                yield fieldname, own.options, value
            elif child and isinstance(value, list):
                for number, row in enumerate(value, 1):
                    yield from ((f"{fieldname}[{number}].{path}", of, name) for path, of, name in child.links(row))

    def grants(self, right: str, roles: Iterable[str]) -> bool:
        """A role among `roles` has `right` (a permission type of DocPerm) at level 0, on more than what it owns."""
        mine = set(roles)
        return any(
            row.get("role") in mine and row.get(right) and not row.get("permlevel") and not row.get("if_owner")
            for row in self.permissions
        )


def _rows(value: Any) -> list[Mapping[str, Any]]:
    return [row for row in value if isinstance(row, Mapping)] if isinstance(value, list | tuple) else []


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None or isinstance(value, dict | list) else str(value)


def _whole(value: Any) -> int | None:
    """Frappe sends flags and lengths as numbers, a precision as text, and either as "" where it is not set."""
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        return None
