"""Lists: what a client asks for, as SQL. Pure; raises FrappeError for what the played version refuses.

After frappe/client.py:get_list, desk/reportview.py:validate_args, model/db_query.py (14, 15), database/query.py (16).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from daemon.sandbox.doctypes import DocType
from daemon.sandbox.replies import FrappeError
from daemon.sandbox.store import CHILD, STANDARD, quote, table

_FUNCTION = re.compile(r"(\w+)\((distinct )?[`\w. ]*?`?(\*|\w+)`?\)(?: as (\w+))?$", re.IGNORECASE)
_COLUMN = re.compile(r"(?:`?tab[\w ]+`?\.)?`?(\w+)`?(?: as (\w+))?$")
_ORDER = re.compile(r"(?:`?tab[\w ]+`?\.)?`?(\w+)`?(?: (asc|desc))?$", re.IGNORECASE)
_FUNCTIONS = {"14": {"count", "sum", "avg"}, "15": {"count", "sum", "avg", "max", "min"}}
_COMPARISONS = {"=", "!=", "<", ">", "<=", ">="}


@dataclass(slots=True)
class Listing:
    """What a client asked for."""

    doctype: DocType
    version: str
    children: Mapping[str, DocType]
    """Child DocTypes by name, for conditions of four elements."""
    fields: Any = None
    filters: Any = None
    or_filters: Any = None
    order_by: str | None = None
    group_by: str | None = None
    start: int = 0
    limit: int = 20
    """0: all."""
    values: list[Any] = field(default_factory=list)

    def sql(self) -> str:
        """The statement, whose parameters are in `values` afterwards."""
        parts = [f"SELECT {', '.join(self._selected())} FROM {table(self.doctype.name)}", self._where()]
        if self.group_by:
            parts.append("GROUP BY " + ", ".join(map(self._column, re.split(r"\s*,\s*", self.group_by))))
        # Without an order MariaDB promises none; newest first shows whoever forgot to ask for one.
        parts.append("ORDER BY " + (self._ordered() if self.order_by else "rowid desc" if not self.group_by else "1"))
        if self.limit:
            parts.append(f"LIMIT {int(self.limit)} OFFSET {int(self.start)}")
        return " ".join(filter(None, parts))

    def count_sql(self) -> str:
        return f"SELECT COUNT(*) FROM {table(self.doctype.name)} {self._where()}"

    # Fields

    def _selected(self) -> list[str]:
        fields = self.fields or ["name"]
        if isinstance(fields, str):
            fields = [part.strip() for part in fields.split(",")]
        return [self._select(one) for one in fields]

    def _select(self, one: Any) -> str:
        if isinstance(one, Mapping):
            return self._select_function(one)
        if one == "*":
            return "*"
        function = _FUNCTION.match(one)
        if function:
            return self._select_text_function(*function.groups())
        match = _COLUMN.match(one)
        if not match:
            raise FrappeError("DataError", f"Field not permitted in query: {one}")
        return f"{self._column(match[1])} AS {quote(match[2] or match[1])}"

    def _select_text_function(self, name: str, distinct: str | None, column: str, alias: str | None) -> str:
        if self.version == "16":
            raise FrappeError("ValidationError", "SQL functions are not allowed as strings in SELECT")
        if column == "*" or name.lower() not in _FUNCTIONS[self.version]:
            raise FrappeError("DataError", f"Use of function {name} in field is restricted")
        return f"{name.upper()}({distinct or ''}{self._column(column)}) AS {quote(alias or f'{name}({column})')}"

    def _select_function(self, one: Mapping[str, Any]) -> str:
        if self.version != "16":
            raise FrappeError("AttributeError", "'dict' object has no attribute 'lower'", thrown=False)
        (name,) = (key for key in one if key != "as")
        column = "*" if one[name] == "*" else self._column(one[name])
        return f"{name}({column}) AS {quote(one.get('as', name))}"

    def _column(self, name: str) -> str:
        name = name.rpartition(".")[2].strip("` ")
        known = {*STANDARD, *CHILD, *self.doctype.fields, "_user_tags", "_comments", "_assign", "_liked_by"}
        if name not in known:
            raise FrappeError("DataError", f"Field not permitted in query: {name}")
        return quote(name)

    def _ordered(self) -> str:
        terms = []
        for part in (self.order_by or "").split(","):
            match = _ORDER.match(part.strip())
            if not match:
                raise FrappeError("ValidationError", f"Invalid order: {part}")
            aliases = re.findall(r" as (\w+)", str(self.fields)) + re.findall(r"'as': '(\w+)'", str(self.fields))
            column = quote(match[1]) if match[1] in aliases else self._column(match[1])
            terms.append(f"{column} {match[2] or 'asc'}")
        return ", ".join(terms)

    # Conditions

    def _where(self) -> str:
        both = [" AND ".join(self._conditions(self.filters)), " OR ".join(self._conditions(self.or_filters))]
        joined = " AND ".join(f"({part})" for part in both if part)
        return f"WHERE {joined}" if joined else ""

    def _conditions(self, filters: Any) -> list[str]:
        if isinstance(filters, Mapping):
            filters = [
                [key, *value] if isinstance(value, list) else [key, "=", value] for key, value in filters.items()
            ]
        return [self._condition(list(one)) for one in filters or ()]

    def _condition(self, one: list[Any]) -> str:
        if len(one) == 4 and one[0] != self.doctype.name:
            child = self.children.get(one[0])
            if child is None:
                raise FrappeError("DataError", f"Field not permitted in query: {one[1]}")
            inner = Listing(child, self.version, {}, values=self.values)
            return f"name IN (SELECT parent FROM {table(child.name)} WHERE {inner._condition(one[1:])})"
        if len(one) not in (3, 4):
            raise FrappeError("ValidationError", f"Filter must have 3 or 4 values: {one}")
        name, operator, value = one[-3:]
        return self._compare(self._column(name), str(operator).lower().strip(), value)

    def _compare(self, column: str, operator: str, value: Any) -> str:
        if operator in _COMPARISONS:
            self.values.append("" if value is None else value)
            numeric = isinstance(value, int | float)
            return f"ifnull({column}, {0 if numeric else chr(39) * 2}) {operator} ?" if operator in ("=", "!=") else (
                f"{column} {operator} ?"
            )  # fmt: skip
        if operator in ("like", "not like"):
            self.values.append(value)
            return f"ifnull({column}, '') {operator} ?"
        if operator in ("in", "not in"):
            listed = [part.strip() for part in value.split(",")] if isinstance(value, str) else list(value)
            self.values.extend("" if item is None else item for item in listed)
            return f"ifnull({column}, '') {operator} ({', '.join('?' * len(listed))})"
        if operator == "is":
            return f"ifnull({column}, '') {'!=' if str(value).lower() == 'set' else '='} ''"
        if operator == "between":
            first, last = value
            self.values.extend((first, f"{last} 23:59:59.999999" if len(str(last)) == 10 else last))
            return f"{column} BETWEEN ? AND ?"
        raise FrappeError("ValidationError", f"Operator must be one of … ({operator})")


def page_of(params: Mapping[str, Any], keys: Sequence[str], default: int) -> int:
    """The first of `keys` in `params` as a whole number."""
    for key in keys:
        if params.get(key) not in (None, ""):
            return int(params[key])
    return default
