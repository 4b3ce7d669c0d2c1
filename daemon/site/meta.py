"""What a DocType is made of, as far as jobs need to know. Reads and writes nothing.

From frappe.desk.form.load.getdoctype, which every version has and which merges Custom Fields and Property Setters
(`/api/resource/DocType/X` does not). Its reply holds the child DocTypes' metas too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from daemon.errors import NotFound, NotFrappe

STANDARD = ("name", "owner", "creation", "modified", "modified_by", "docstatus", "idx")
"""Columns of every DocType (frappe/model/__init__.py:default_fields)."""
CHILD = ("parent", "parentfield", "parenttype")
OPTIONAL = ("_user_tags", "_comments", "_assign", "_liked_by", "_seen")
TABLES = ("Table", "Table MultiSelect")
NO_COLUMN = {*TABLES, "Section Break", "Column Break", "Tab Break", "HTML", "Button", "Heading", "Fold", "Image"}
"""Field types without a column of their own (frappe/model/__init__.py:no_value_fields, table_fields)."""


@dataclass(frozen=True, slots=True)
class Meta:
    """One DocType."""

    doctype: str
    fields: Mapping[str, str]
    """Field name → field type, of the fields that can be listed and filtered by."""
    tables: tuple[tuple[str, str], ...]
    """(field name, child DocType) of each child table."""
    permissions: tuple[Mapping[str, Any], ...]
    """DocPerm rows, custom ones where there are any."""
    single: bool
    child: bool

    @classmethod
    def of(cls, doctype: str, body: Any) -> Meta:
        """From the reply of getdoctype. Raises NotFound where it lacks `doctype`, NotFrappe where it is none."""
        docs = body.get("docs") if isinstance(body, dict) else None
        try:
            for doc in docs or ():
                if doc.get("name") == doctype:
                    return cls._of_doc(doc)
        except (AttributeError, KeyError, TypeError):
            raise NotFrappe(f"the site's description of {doctype} has another shape than Frappe's") from None
        raise NotFound(f"the site has no DocType {doctype!r}", status=404)

    @classmethod
    def _of_doc(cls, doc: Mapping[str, Any]) -> Meta:
        child, rows = bool(doc.get("istable")), doc.get("fields") or ()
        names = dict.fromkeys((*STANDARD, *(CHILD if child else OPTIONAL)), "Data")
        own = {row["fieldname"]: str(row["fieldtype"]) for row in rows if row["fieldtype"] not in NO_COLUMN}
        tables = tuple((row["fieldname"], row["options"]) for row in rows if row["fieldtype"] in TABLES)
        permissions = tuple(doc.get("permissions") or ())
        return cls(str(doc["name"]), names | own, tables, permissions, bool(doc.get("issingle")), child)

    def no_dates(self, fields: Iterable[str]) -> list[str]:
        """Those of `fields` that are there and hold no dates."""
        stamps = ("creation", "modified")
        types = {field: self.fields.get(field) for field in fields if field not in stamps}
        return [field for field, kind in types.items() if kind is not None and kind not in ("Date", "Datetime")]

    def grants(self, right: str, roles: Iterable[str]) -> bool:
        """A role among `roles` has `right` (a permission type of DocPerm) at level 0, on more than what it owns."""
        mine = set(roles)
        return any(
            row.get("role") in mine and row.get(right) and not row.get("permlevel") and not row.get("if_owner")
            for row in self.permissions
        )
