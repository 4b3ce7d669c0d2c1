"""Lists: what a client asks for, as SQL. Pure; raises FrappeError for what the played version refuses.

After frappe/client.py:get_list, desk/reportview.py:validate_args, model/db_query.py (14, 15), database/query.py (16).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from daemon.sandbox.doctypes import NUMBERS, TABLES, DocType, stamp
from daemon.sandbox.replies import FrappeError
from daemon.sandbox.store import CHILD, OPTIONAL, STANDARD, quote, table

_ALIAS = re.compile(r"(.+?)(?:\s+as\s+`?(\w+)`?)?$", re.IGNORECASE | re.DOTALL)
_FUNCTION = re.compile(r"(\w+)\((distinct )?(.*)\)$", re.IGNORECASE | re.DOTALL)
_TABLE_COLUMN = re.compile(r"`?tab([^`.]+)`?\.`?(\w+)`?$")
_FUNCTIONS = {
    "14": {"count", "sum", "avg"},
    "15": {"count", "sum", "avg", "max", "min"},
    "16": {"COUNT", "SUM", "AVG", "MAX", "MIN", "ABS"},
}
_COMPARISONS = ("=", "!=", "<", ">", "<=", ">=")
_OPERATORS = (*_COMPARISONS, "in", "not in", "like", "not like", "is", "between")
_TIMES = {"Date": "'0001-01-01'", "Datetime": "'0001-01-01 00:00:00'"}
_STANDARD_TYPES = {"creation": "Datetime", "modified": "Datetime", "docstatus": "Int", "idx": "Int"}


@dataclass(slots=True)
class Listing:
    """What a client asked for."""

    doctype: DocType
    version: str
    doctypes: Mapping[str, DocType]
    fields: Any = None
    filters: Any = None
    or_filters: Any = None
    order_by: str | None = None
    group_by: str | None = None
    start: int = 0
    limit: int = 20
    """0: all."""
    bare_order: str = "asc"
    """Which way an order goes that does not say."""
    only: tuple[str, Sequence[Any]] = ("", ())
    """A condition in SQL, with its values, that confines it to rows which the user may see."""
    values: list[Any] = field(default_factory=list)
    _joins: dict[str, str] = field(default_factory=dict)
    _aliases: list[str] = field(default_factory=list)

    def sql(self) -> str:
        """The statement, whose parameters are in `values` afterwards."""
        selected, where = ", ".join(self._selected()), self._where()
        group = ", ".join(self._term(part) for part in (self.group_by or "").split(",") if part.strip())
        # Without an order MariaDB promises none; newest first shows whoever forgot to ask for one.
        newest = "1" if group else f"{table(self.doctype.name)}.rowid desc"
        order = ", ".join(map(self._order, self.order_by.split(","))) if self.order_by else newest
        parts = [f"SELECT {selected} FROM {table(self.doctype.name)}", *self._joins.values(), where]
        parts += [f"GROUP BY {group}" if group else "", f"ORDER BY {order}"]
        parts.append(self._page())
        return " ".join(filter(None, parts))

    def _page(self) -> str:
        """Without a limit 14 and 15 forget where to start, and 16 makes an OFFSET that MariaDB does not take."""
        if self.limit:
            return f"LIMIT {int(self.limit)} OFFSET {int(self.start)}"
        if self.start and self.version == "16":
            text = "(1064, 'You have an error in your SQL syntax')"
            raise FrappeError("ProgrammingError", text, thrown=False)
        return ""

    def count_sql(self, *, distinct: bool = False) -> str:
        where, source = self._where(), table(self.doctype.name)
        what = f"DISTINCT {source}.name" if distinct else "*"
        return " ".join((f"SELECT COUNT({what}) FROM {source}", *self._joins.values(), where))

    # Fields

    def _selected(self) -> list[str]:
        fields = self.fields or ["name"]
        if isinstance(fields, str):
            fields = [part.strip() for part in fields.split(",")]
        return [self._select(one) for one in fields]

    def _select(self, one: Any) -> str:
        if isinstance(one, Mapping):
            return self._named(*self._dict_function(one))
        if one in ("*", f"`tab{self.doctype.name}`.*"):
            return f"{table(self.doctype.name)}.*"
        match = _ALIAS.match(str(one).strip())
        text, alias = (match[1], match[2]) if match else (str(one), None)
        if "(" in text:
            return self._named(self._text_function(text), alias or text)
        return self._named(self._column(text)[0], alias or re.split(r"[.]", text)[-1].strip("` "))

    def _named(self, sql: str, alias: str) -> str:
        self._aliases.append(alias)
        return f"{sql} AS {quote(alias)}"

    def _text_function(self, text: str) -> str:
        """14 and 15 take a few functions as text, 16 none (database/query.py)."""
        if self.version == "16":
            hint = "Use dict syntax like {'COUNT': '*'} instead."
            raise FrappeError("ValidationError", f"SQL functions are not allowed as strings in SELECT: {text}. {hint}")
        match = _FUNCTION.match(text)
        if match is None or match[1].lower() not in _FUNCTIONS[self.version]:
            raise FrappeError("DataError", f"Use of function {text.partition('(')[0]} in field is restricted")
        return f"{match[1].upper()}({match[2] or ''}{self._column(match[3])[0]})"

    def _dict_function(self, one: Mapping[str, Any]) -> tuple[str, str]:
        """(SQL, alias) of {"SUM": "field", "as": "alias"}, which only 16 understands."""
        if self.version != "16":
            raise FrappeError("TypeError", "unhashable type: 'dict'", thrown=False)
        (name,) = (key for key in one if key != "as")
        if name not in _FUNCTIONS["16"]:
            raise FrappeError("ValidationError", f"Unsupported function or operator: {name}")
        column = "*" if one[name] == "*" else self._column(one[name])[0]
        return f"{name}({column})", str(one.get("as") or name)

    def _column(self, text: str, *, filtering: bool = False) -> tuple[str, str]:
        """(SQL, field type) of a column of this DocType, or of one that is joined for it."""
        text = text.strip()
        if match := _TABLE_COLUMN.match(text):
            return self._of_table(match[1], match[2])
        head, dot, last = text.strip("`").partition(".")
        if dot and filtering and self.version != "16":
            raise FrappeError("OperationalError", f"(1054, \"Unknown column '{text}' in 'WHERE'\")", thrown=False)
        own = self.doctype.fields.get(head) if dot else None
        if own is not None and own.type in TABLES:
            return self._of_table(own.options, last.strip("`"))
        if own is not None and own.type == "Link" and own.options in self.doctypes:
            alias = quote(f"linked {own.name}")
            on = f"{alias}.name = {table(self.doctype.name)}.{quote(own.name)}"
            self._joins.setdefault(alias, f"LEFT JOIN {table(own.options)} AS {alias} ON {on}")
            return self._known(self.doctypes[own.options], last.strip("`"), alias)
        return self._known(self.doctype, text.strip("`"), table(self.doctype.name))

    def _of_table(self, doctype: str, column: str) -> tuple[str, str]:
        """A column of this DocType or of one of its child tables, which is joined: a row for each child row."""
        if doctype == self.doctype.name:
            return self._known(self.doctype, column, table(doctype))
        if doctype not in self.doctypes:
            raise FrappeError("DoesNotExistError", f"DocType {doctype} not found")
        if doctype not in [one.options for one in self.doctype.tables]:
            raise FrappeError("DataError", f"Field not permitted in query: {column}")
        mine, other = table(self.doctype.name), table(doctype)
        on = f"{other}.parent = {mine}.name AND {other}.parenttype = '{self.doctype.name}'"
        self._joins.setdefault(other, f"LEFT JOIN {other} ON {on}")
        return self._known(self.doctypes[doctype], column, other)

    def _known(self, doctype: DocType, name: str, source: str) -> tuple[str, str]:
        own = doctype.fields.get(name)
        extra = CHILD if doctype.istable else OPTIONAL
        if (own is None or own.type in TABLES) and name not in (*STANDARD, *extra):
            raise FrappeError("DataError", f"Field not permitted in query: {name}")
        return f"{source}.{quote(name)}", own.type if own else _STANDARD_TYPES.get(name, "Data")

    # Order and groups

    def _term(self, text: str) -> str:
        """A column or an alias. 14 and 15 leave an unknown one to the database, 16 asks for the right to see it."""
        name = text.strip()
        if name.strip("`") in self._aliases:
            return quote(name.strip("`"))
        try:
            return self._column(name)[0]
        except FrappeError as error:
            if error.exc_type != "DataError":
                raise
        if self.version == "16":
            where = f"<strong>{self.doctype.name}.{name}</strong>"
            raise FrappeError("PermissionError", f"You do not have permission to access field: {where}")
        raise FrappeError("OperationalError", f"(1054, \"Unknown column '{name}' in 'ORDER BY'\")", thrown=False)

    def _order(self, part: str) -> str:
        head, _, direction = part.strip().rpartition(" ")
        if direction.lower() in ("asc", "desc"):
            return f"{self._term(head)} {direction}"
        return f"{self._term(part)} {self.bare_order}"

    # Conditions

    def _where(self) -> str:
        parts = [" AND ".join(self._conditions(self.filters)), " OR ".join(self._conditions(self.or_filters))]
        if self.only[0]:
            parts.append(self.only[0])
            self.values.extend(self.only[1])
        joined = " AND ".join(f"({part})" for part in parts if part)
        return f"WHERE {joined}" if joined else ""

    def _conditions(self, filters: Any) -> list[str]:
        return [self._condition(list(one)) for one in as_list(filters)]

    def _condition(self, one: list[Any]) -> str:
        if len(one) == 2:  # the first is taken for a DocType (utils/data.py:get_filter)
            raise FrappeError("DoesNotExistError", f"DocType {one[0]} not found")
        if len(one) not in (3, 4):
            text = f"Filter must have 4 values (doctype, fieldname, operator, value): {one}"
            raise FrappeError("ValidationError", text)
        name, operator, value = one[-3:]
        kind = self._of_table(one[0], str(name)) if len(one) == 4 else self._column(str(name), filtering=True)
        return self._compare(*kind, str(operator).lower().strip(), value)

    def _compare(self, column: str, kind: str, operator: str, value: Any) -> str:
        """An empty column counts as "" or as the year 1 (db_query.py:prepare_filter_condition): `<` finds it."""
        if operator not in _OPERATORS:
            self._unknown(operator)
        number, never_empty = kind in NUMBERS, column.rpartition(".")[2].strip('"') in STANDARD
        empty = _TIMES.get(kind, "''")
        filled = column if number or never_empty else f"ifnull({column}, {empty}) COLLATE NOCASE"
        if operator == "is":
            set_ = str(value).lower() == "set"
            return f"ifnull({column}, '') {'!=' if set_ else '='} ''"
        if operator in ("in", "not in"):
            return self._listed(column, filled, number, operator, value)
        if operator == "between":
            return self._between(filled, kind, value)
        if operator in ("like", "not like"):
            self.values.append("" if value is None else str(value))
            return f"{filled} {operator} ? ESCAPE '\\'"
        self.values.append(_number(value) if number else stamp(value, kind))
        return f"{column if operator == '=' and value else filled} {operator} ?"

    def _unknown(self, operator: str) -> None:
        if self.version == "16":
            raise FrappeError("KeyError", repr(operator), thrown=False)
        raise FrappeError("ValidationError", f"Operator must be one of {', '.join(_OPERATORS)}")

    def _listed(self, column: str, filled: str, number: bool, operator: str, value: Any) -> str:
        listed = value.split(",") if isinstance(value, str) else list(value or ()) or [""]
        texts = ["" if one is None else str(one).strip() for one in listed]
        self.values.extend(map(_number, texts) if number else texts)
        source = column if operator == "in" and "" not in texts else filled
        return f"{source} {operator} ({', '.join('?' * len(texts))})"

    def _between(self, filled: str, kind: str, value: Any) -> str:
        """Of two days, the second is meant to its end (db_query.py:get_between_date_filter)."""
        first, last = (str(one) for one in value)
        ends = f"{last} 23:59:59.999999" if kind == "Datetime" and len(last) == 10 else stamp(last, kind)
        self.values.extend((stamp(first, kind), ends))
        return f"{filled} BETWEEN ? AND ?"


def _number(value: Any) -> float:
    """frappe.utils.flt: what is no number is 0."""
    try:
        return float(value or 0)
    except (TypeError, ValueError):
        return 0.0


def as_list(filters: Any) -> list[Any]:
    """Of a dict, conditions; of a list, itself."""
    if isinstance(filters, Mapping):
        return [[key, *value] if isinstance(value, list) else [key, "=", value] for key, value in filters.items()]
    return list(filters or ())


def page_of(params: Mapping[str, Any], keys: Sequence[str], default: int) -> int:
    """The first of `keys` in `params` as a whole number."""
    for key in keys:
        if params.get(key) not in (None, ""):
            return int(params[key])
    return default
