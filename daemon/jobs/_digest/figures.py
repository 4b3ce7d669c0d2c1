"""Figures, tables and lists of a digest, read from the site. Knows nothing of mails and recipients.

The site aggregates, in the dialect of its version; where that or a permission is refused, rows are read page by page
and summed here, in Decimal. What cannot be had at all is a `problem` of that figure alone.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal, Self
from urllib.parse import quote

from pydantic import AfterValidator, Field, model_validator

from daemon.core.doctype import DocType
from daemon.core.kind import SitePort
from daemon.core.metrics import NUMBERS, SQL, Function, Groups, Sum, change, decimal_of, mood, shares
from daemon.core.periods import Period, Span
from daemon.core.plan import Tally
from daemon.core.settings import Conditions, FieldName, Model, did_you_mean
from daemon.errors import Invalid, NotFound, NotPermitted, ServerBug, SiteError, Transient

PAGE, PARENTS = 1000, 200
"""Rows, and documents with child rows, that are read together where the site does not aggregate."""
REFUSALS = (Invalid, ServerBug, NotPermitted, NotFound)
"""What a site says that will not aggregate as it was asked to."""
MORE_ROWS = 200
"""Groups that a table shows at the most, and documents that a list does."""

Word = Annotated[str, Field(min_length=1)]
Label = Annotated[str | dict[str, Word], Field(min_length=1)]
"""A text, or one for each language: { en = "Revenue", de = "Umsatz" }."""


def said(label: str | dict[str, str], language: str) -> str:
    """The label in a language of the site, else in English, else in the first that it has."""
    if isinstance(label, str):
        return label
    base = language.partition("-")[0]
    return label.get(language) or label.get(base) or label.get("en") or next(iter(label.values()))


def _span(value: str) -> str:
    if value != "any":
        Span.parse(value)
    return value


PeriodText = Annotated[str, AfterValidator(_span)]


class MetricSettings(Model):
    """One figure."""

    label: Label
    """What it is called; a table has one for each language."""
    doctype: Annotated[str, Field(min_length=1)]
    """Of what."""
    function: Function = "count"
    """What is made of the documents."""
    field: FieldName | None = None
    """Of which; a count needs none."""
    filters: Conditions = Field(default_factory=list)
    """Only documents that match all of these."""
    date_field: FieldName = "creation"
    """By which a document belongs to the period."""
    period: PeriodText | None = None
    """Unless stated, the job's; "any": whatever its date."""
    better: Literal["more", "less", "neither"] = "more"
    """What is good news, for the colour of the change."""

    @model_validator(mode="after")
    def _has_a_field(self) -> Self:
        if (self.function != "count") != (self.field is not None):
            raise ValueError(f'function = "{self.function}" {"needs a" if self.field is None else "takes no"} field')
        return self


class MeasureSettings(Model):
    """One column of a table."""

    label: Label
    """What it is called; a table has one for each language."""
    field: FieldName
    """Of which."""
    function: Literal["sum", "average"] = "sum"
    """What is made of a group."""


class TableSettings(Model):
    """The largest groups of documents, or of their child rows."""

    label: Label
    """What it is called; a table has one for each language."""
    doctype: Annotated[str, Field(min_length=1)]
    """Of what."""
    child: str = ""
    """The child DocType whose rows are grouped, such as "Sales Invoice Item"."""
    group_by: FieldName
    """Whose values make the groups."""
    group_label: Label | None = None
    """What the column of groups is called."""
    show: FieldName | None = None
    """What a group is shown as, where its value is a mere code."""
    measures: Annotated[list[MeasureSettings], Field(min_length=1, max_length=2)]
    """The first makes the order and the bars."""
    limit: Annotated[int, Field(ge=1, le=MORE_ROWS)] = 5
    """Groups that are shown; the reader is told of more."""
    filters: Conditions = Field(default_factory=list)
    """Only documents that match all of these."""
    date_field: FieldName = "creation"
    """By which a document belongs to the period."""
    period: PeriodText | None = None
    """Unless stated, the job's; "any": whatever the date."""


class ListSettings(Model):
    """Documents, one a row."""

    label: Label
    """What it is called; a table has one for each language."""
    doctype: Annotated[str, Field(min_length=1)]
    """Of what."""
    fields: Annotated[list[FieldName], Field(min_length=1, max_length=4)]
    """Columns, four at the most."""
    filters: Conditions = Field(default_factory=list)
    """Only documents that match all of these."""
    date_field: FieldName = "creation"
    """By which a document belongs to the period."""
    period: PeriodText = "any"
    """"any": whatever the date."""
    order_by: Annotated[str, Field(pattern=r"^\w+( (asc|desc))?$")] = "creation desc"
    """A field, and asc or desc."""
    limit: Annotated[int, Field(ge=1, le=MORE_ROWS)] = 10
    """Documents that are shown; the reader is told of more."""


@dataclass(slots=True)
class Figure:
    """A number with what it was before."""

    label: str | dict[str, str]
    kind: str
    money: bool = False
    better: str = "more"
    value: Decimal | None = None
    before: Decimal | None = None
    problem: bool = False
    unit: str = ""
    """percent and duration (in seconds) are written in a manner of their own."""
    currency: str | None = None
    """Of its money; None: the digest's."""
    period: Period | None = None
    """None: whatever the date."""


@dataclass(slots=True)
class Table:
    """The first groups; `more`: there are others."""

    settings: TableSettings
    group_label: str
    columns: list[Figure]
    rows: list[tuple[str, list[Decimal], float]] = field(default_factory=list)
    """(what it is shown as, a number for each column, length of its bar)."""
    more: bool = False
    problem: bool = False
    period: Period | None = None
    """None: whatever the date."""


@dataclass(slots=True)
class Listing:
    """The first documents of `total`."""

    settings: ListSettings
    columns: list[tuple[str, str]] = field(default_factory=list)
    """(label, kind: text, number, money, percent, duration, date, datetime)."""
    rows: list[tuple[str, list[Any], list[str | None]]] = field(default_factory=list)
    """(address of the document, cells, of each the currency; None: the digest's)."""
    url: str = ""
    total: int = 0
    problem: bool = False
    period: Period | None = None
    """None: whatever the date."""


@dataclass(slots=True)
class Figures:
    """All that a digest tells of one period."""

    metrics: list[Figure] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    lists: list[Listing] = field(default_factory=list)

    @property
    def empty(self) -> bool:
        """Nothing but zeros and empty tables; what could not be had may be anything."""
        problems = [part.problem for part in self.metrics]
        problems += [part.problem for part in self.tables] + [part.problem for part in self.lists]
        filled = [bool(figure.value) for figure in self.metrics]
        filled += [bool(table.rows) for table in self.tables] + [bool(listing.rows) for listing in self.lists]
        return not any(problems + filled)

    def with_samples(self) -> Figures:
        """The same, with something in each part, so that a template goes through all that it has."""
        one = Decimal(1)
        for figure in self.metrics:
            figure.value, figure.before = figure.value or one, figure.before or one / 2
        for table in self.tables:
            table.rows = table.rows or [("…", [one] * len(table.columns), 1.0)]
        for listing in self.lists:
            size = len(listing.settings.fields)
            listing.rows = listing.rows or [(listing.url, [None] * size, [None] * size)]
        return self


class FigureReader:
    """Reads figures. `due` gives the period of a text such as "last week", and the one before it."""

    def __init__(
        self,
        site: SitePort,
        check: Callable[[], None],
        tally: Tally,
        due: Callable[[str], tuple[Period, Period]],
        *,
        compare: bool,
        glance: bool = False,
    ) -> None:
        """`check`: called for every page. `glance`: of what is added up here the first page will do."""
        self._site, self._check, self._tally = site, check, tally
        self._due, self._compare, self._glance = due, compare, glance
        self.failed: list[tuple[str, str, SiteError]] = []
        """(DocType, label, error) of what could not be had."""

    def all(
        self,
        metrics: Sequence[MetricSettings],
        tables: Sequence[TableSettings],
        lists: Sequence[ListSettings],
        period: str,
    ) -> Figures:
        """Raises Transient and what else says that there is no site to ask."""
        found = Figures()
        for metric in metrics:
            found.metrics.append(self._figure(metric, metric.period or period))
        for table in tables:
            found.tables.append(self._table(table, table.period or period))
        for listing in lists:
            found.lists.append(self._list(listing))
        return found

    # Which rows

    def _where(self, doctype: DocType, settings: Any, period: Period | None) -> list[list[Any]]:
        conditions = [list(condition) for condition in settings.filters]
        if period:
            kind = _field_type(doctype, settings.date_field)
            if kind not in ("Date", "Datetime"):
                raise Invalid(f"{doctype.name}.{settings.date_field} is no date")
            conditions += period.conditions(settings.date_field, with_time=kind == "Datetime")
        return conditions

    def _periods(self, text: str) -> tuple[Period | None, Period | None]:
        if text == "any":
            return None, None
        period, before = self._due(text)
        return period, before if self._compare else None

    # Figures

    def _figure(self, metric: MetricSettings, text: str) -> Figure:
        period, before = self._periods(text)
        figure = Figure(metric.label, metric.function, better=metric.better, period=period)
        try:
            doctype = self._site.meta(metric.doctype)
            figure.value = self._value(doctype, metric, period)
            figure.before = self._value(doctype, metric, before) if before else None
            wheres = [self._where(doctype, metric, one) for one in ((period, before) if before else (period,))]
            self._measured_in(figure, doctype, doctype, metric.field, wheres)
        except REFUSALS as error:
            figure.problem = self._problem(metric.doctype, metric.label, error)
        return figure

    def _value(self, doctype: DocType, metric: MetricSettings, period: Period | None) -> Decimal | None:
        where = self._where(doctype, metric, period)
        if metric.field is None:
            return self._aggregated(metric, lambda: Decimal(self._site.count(doctype.name, where)), where)
        if _field_type(doctype, metric.field) not in NUMBERS:
            raise Invalid(f"{doctype.name}.{metric.field} is no number, so it has no {metric.function}")
        if _repeats(where, doctype.name):
            return self._added_up(metric, where)
        return self._aggregated(metric, lambda: self._asked(metric, where), where)

    def _asked(self, metric: MetricSettings, where: list[list[Any]]) -> Decimal | None:
        wanted = self._site.dialect.aggregate(SQL[metric.function], metric.field or "name", "figure")
        rows = self._site.get_list(metric.doctype, [wanted], where, 0, 1, order_by="figure asc")
        value = rows[0].get("figure") if rows else None
        if value is None:
            return Decimal(0) if metric.function == "sum" else None
        return decimal_of(value)

    def _aggregated(
        self, metric: MetricSettings, ask: Callable[[], Decimal | None], where: list[list[Any]]
    ) -> Decimal | None:
        try:
            return ask()
        except REFUSALS as error:
            found = self._added_up(metric, where)
            self._by_rows(metric.label, error)
            return found

    def _added_up(self, metric: MetricSettings, where: list[list[Any]]) -> Decimal | None:
        total = Sum()
        for row in self._documents(metric.doctype, [metric.field] if metric.field else [], where):
            total.add(row.get(metric.field) if metric.field else 1)
        return total.result(metric.function)

    def _documents(self, doctype: str, fields: Sequence[str], where: list[list[Any]]) -> Iterator[dict[str, Any]]:
        """Each once: a condition on child rows repeats a document for each of them, side by side."""
        last = None
        for page in self._site.paginate(doctype, fields, where, page_length=PAGE):
            self._check()
            for row in page:
                if row["name"] != last:
                    yield row
                last = row["name"]
            if self._glance:
                return

    def _by_rows(self, label: str | dict[str, str], error: SiteError) -> None:
        self._tally.note(f"{said(label, 'en')}: summed row by row, since the site would not: {error}")

    def _problem(self, doctype: str, label: str | dict[str, str], error: SiteError) -> bool:
        if isinstance(error, Transient):
            raise error
        self.failed.append((doctype, said(label, "en"), error))
        return True

    def _measured_in(
        self, figure: Figure, doctype: DocType, rows: DocType, name: str | None, wheres: Sequence[list[list[Any]]]
    ) -> None:
        """What the numbers in the field `name` of `rows`, documents or child rows of `doctype`, are: money of which
        currency, percents, lengths of time.

        grand_total, for one, is in each document's own currency: the one that all of these have, where it is one, else
        none is named.
        """
        found = rows.field(name) if name else None
        figure.unit = _UNITS.get(found.fieldtype, "") if found else ""
        figure.money = found is not None and found.fieldtype == "Currency"
        own = _own_currency(doctype, rows, name)
        if not figure.money or not own:
            return
        try:
            found_there = [
                row.get("currency_of") or None
                for where in wheres
                for row in self._site.get_list(doctype.name, [f"{own} as currency_of"], where, 0, 2, group_by=own)
            ]
            known, why = dict.fromkeys(found_there), "there are several"
        except REFUSALS as error:
            known, why = {}, f"the site does not say which ({error})"
            figure.currency = ""
        if len(known) == 1:
            (figure.currency,) = known
        elif known or figure.currency == "":
            figure.currency, base = "", f"base_{name}"
            better = f"; {base} is in the company's" if rows.field(base) is not None else ""
            what = f"{rows.name}.{name} is in each document's own currency"
            self._tally.note(f"{said(figure.label, 'en')}: {what}, and {why}, so none is shown{better}")

    # Tables

    def _table(self, settings: TableSettings, text: str) -> Table:
        period, _ = self._periods(text)
        table = Table(settings, "", [Figure(one.label, one.function) for one in settings.measures], period=period)
        try:
            doctype = self._site.meta(settings.doctype)
            rows = self._rows_of(doctype, settings)
            table.group_label = _label(rows, settings.group_by)
            _known(rows, settings.group_by, *([settings.show] if settings.show else []))
            where = self._where(doctype, settings, period)
            for column, measure in zip(table.columns, settings.measures, strict=True):
                if _field_type(rows, measure.field) not in NUMBERS:
                    raise Invalid(f"{rows.name}.{measure.field} is no number")
                self._measured_in(column, doctype, rows, measure.field, [where])
            self._fill(table, self._groups(settings, where))
        except REFUSALS as error:
            table.problem = self._problem(settings.doctype, settings.label, error)
        return table

    def _rows_of(self, doctype: DocType, settings: TableSettings) -> DocType:
        if not settings.child:
            return doctype
        children = {child.name: child for child in doctype.children.values()}
        if settings.child not in children:
            hint = did_you_mean(settings.child, children)
            raise Invalid(f"{doctype.name} has no child table of {settings.child!r}{hint}")
        return children[settings.child]

    def _groups(self, settings: TableSettings, where: list[list[Any]]) -> list[tuple[str, list[Decimal]]]:
        """(shown, a number for each measure) of the largest groups, and of one more."""
        if _repeats(where, settings.doctype, settings.child):
            return self._summed_groups(settings, where)
        try:
            return self._asked_groups(settings, where)
        except REFUSALS as error:
            found = self._summed_groups(settings, where)
            self._by_rows(settings.label, error)
            return found

    def _asked_groups(self, settings: TableSettings, where: list[list[Any]]) -> list[tuple[str, list[Decimal]]]:
        """With a plain column of the child table, without which the site does not join it (db_query.py:
        extract_tables)."""

        def column(name: str) -> str:
            return f"`tab{settings.child}`.`{name}`" if settings.child else name

        measures = [
            self._site.dialect.aggregate(SQL[one.function], column(one.field), f"measure_{number}")
            for number, one in enumerate(settings.measures)
        ]
        fields = [f"{column(settings.group_by)} as group_key", *measures]
        if settings.show:
            fields.insert(1, f"{column(settings.show)} as group_shown")
        order = "measure_0 desc, group_key asc"
        with_rows = [[settings.child, "name", "is", "set"]] if settings.child else []  # it is a left join
        rows = self._site.get_list(
            settings.doctype,
            fields,
            [*where, *with_rows],
            0,
            settings.limit + 1,
            order,
            group_by=column(settings.group_by),
        )
        return [
            (
                str(row.get("group_shown") or row.get("group_key") or ""),
                [decimal_of(row.get(f"measure_{number}")) for number in range(len(measures))],
            )
            for row in rows
        ]

    def _summed_groups(self, settings: TableSettings, where: list[list[Any]]) -> list[tuple[str, list[Decimal]]]:
        names = {f"measure_{number}": one for number, one in enumerate(settings.measures)}
        functions: dict[str, Function] = {name: one.function for name, one in names.items()}
        groups = Groups(tuple(names))
        for row in self._rows(settings, where):
            values = {name: row.get(one.field) for name, one in names.items()}
            groups.add(row.get(settings.group_by), row.get(settings.show or settings.group_by), values)
        return [
            (group.shown, [group.sums[name].result(functions[name]) or Decimal(0) for name in names])
            for _, group in groups.top(settings.limit + 1, "measure_0", functions)
        ]

    def _rows(self, settings: TableSettings, where: list[list[Any]]) -> Iterator[dict[str, Any]]:
        """Rows to be grouped. Child rows are found by their parents, whose fields their own list cannot filter by."""
        measured = [one.field for one in settings.measures]
        fields = list(dict.fromkeys([settings.group_by, *([settings.show] if settings.show else []), *measured]))
        if not settings.child:
            yield from self._documents(settings.doctype, fields, where)
            return
        of_child = [condition[1:] for condition in where if len(condition) == 4 and condition[0] == settings.child]
        of_parent = [condition for condition in where if len(condition) == 3 or condition[0] != settings.child]
        for page in self._site.paginate(settings.doctype, [], of_parent, page_length=PARENTS):
            self._check()
            theirs = [["parent", "in", [row["name"] for row in page]], ["parenttype", "=", settings.doctype], *of_child]
            yield from self._site.get_list(settings.child, fields, theirs, parent=settings.doctype)
            if self._glance:
                return

    def _fill(self, table: Table, groups: list[tuple[str, list[Decimal]]]) -> None:
        table.more = len(groups) > table.settings.limit
        groups = groups[: table.settings.limit]
        bars = shares(numbers[0] for _, numbers in groups)
        table.rows = [(shown, numbers, bar) for (shown, numbers), bar in zip(groups, bars, strict=True)]

    # Lists

    def _list(self, settings: ListSettings) -> Listing:
        period, _ = self._periods(settings.period)
        listing = Listing(settings, period=period)
        try:
            doctype = self._site.meta(settings.doctype)
            _known(doctype, *settings.fields, settings.order_by.partition(" ")[0])
            where = self._where(doctype, settings, period)
            kinds = [_kind(doctype, name) for name in settings.fields]
            listing.columns = [(_label(doctype, name), kind) for name, kind in zip(settings.fields, kinds, strict=True)]
            currencies = [
                _own_currency(doctype, doctype, name).rpartition(".")[2].strip("`") for name in settings.fields
            ]
            fields = list(dict.fromkeys(["name", *settings.fields, *filter(None, currencies)]))
            table, order, once = f"`tab{doctype.name}`", settings.order_by, None
            if _repeats(where, doctype.name):  # by qualified names, since child rows have the same standard columns
                by, _, direction = order.partition(" ")
                order, once = f"{table}.`{by}` {direction or 'asc'}", f"{table}.`name`"
            rows = self._site.get_list(doctype.name, fields, where, 0, settings.limit, order, group_by=once)
            listing.total = self._site.count(doctype.name, where) if len(rows) == settings.limit else len(rows)
            listing.url = f"{self._site.url}{self._site.dialect.desk}/{doctype.name.lower().replace(' ', '-')}"
            listing.rows = [
                (
                    f"{listing.url}/{quote(str(row['name']), safe='')}",
                    [_cell(row.get(name), kind) for name, kind in zip(settings.fields, kinds, strict=True)],
                    [str(row.get(name) or "") or None if name else None for name in currencies],
                )
                for row in rows
            ]
        except REFUSALS as error:
            listing.problem = self._problem(settings.doctype, settings.label, error)
        return listing


def _repeats(where: Sequence[Sequence[Any]], *doctypes: str) -> bool:
    """A condition is about rows of another table than these: the site joins it, and has a document once for each row
    that matches."""
    return any(one[-3].count(".") or (len(one) == 4 and one[0] not in doctypes) for one in where)


def _field_type(doctype: DocType, name: str) -> str:
    """Raises Invalid for a field that is not there."""
    _known(doctype, name)
    found = doctype.field(name)
    return found.fieldtype if found else "Data"


def _known(doctype: DocType, *names: str) -> None:
    for name in names:
        if name not in doctype.columns:
            raise Invalid(f"{doctype.name} has no field {name!r}{did_you_mean(name, doctype.columns)}")


def _label(doctype: DocType, name: str) -> str:
    found = doctype.field(name)
    return (found.label if found else "") or name


def _own_currency(doctype: DocType, rows: DocType, name: str | None) -> str:
    """The column, in full, of the currency that the field `name` of `rows` (documents, or child rows of `doctype`) is
    in: named in its options, of the rows themselves or of their document; "" where it is the company's."""
    found = rows.field(name) if name else None
    if found is None or found.fieldtype != "Currency" or ":" in found.options:
        return ""
    owner = next((one for one in (rows, doctype) if found.options and found.options in one.columns), None)
    return f"`tab{owner.name}`.`{found.options}`" if owner else ""


_UNITS = {"Percent": "percent", "Duration": "duration"}
_KINDS = {"Currency": "money", "Date": "date", "Datetime": "datetime", **_UNITS}
_NUMBERS = frozenset({"money", "number", *_UNITS.values()})
_MARKED_UP = frozenset({"Text Editor", "HTML Editor"})
"""Field types that hold HTML."""


def _kind(doctype: DocType, name: str) -> str:
    found = _field_type(doctype, name)
    return _KINDS.get(found, "number" if found in NUMBERS else "html" if found in _MARKED_UP else "text")


def _cell(value: Any, kind: str) -> Any:
    """As a template takes it; None where it is not as the field's type says, as MariaDB's 0000-00-00 is no date."""
    if value in (None, ""):
        return None
    try:
        if kind in _NUMBERS:
            return decimal_of(value)
        if kind == "date":
            return date.fromisoformat(str(value)[:10])
        if kind == "datetime":
            return datetime.fromisoformat(str(value))
    except ValueError:
        return None
    text = re.sub(r"<[^>]*>", " ", str(value)) if kind == "html" else str(value)
    return " ".join(html.unescape(text).split()) or None


def shown(figures: Figures, language: str, currency: str) -> dict[str, Any]:
    """What a template is given of them, in one language."""

    def days(one: Figure | Table | Listing) -> dict[str, Any]:
        return {"first": one.period.first, "last": one.period.last} if one.period else {"first": None, "last": None}

    def metric(one: Figure) -> dict[str, Any]:
        return {
            **days(one),
            "label": said(one.label, language),
            "kind": one.kind,
            "money": one.money,
            "unit": one.unit,
            "currency": currency if one.currency is None else one.currency,
            "value": one.value,
            "before": one.before,
            "change": change(one.value, one.before),
            "mood": mood(one.value, one.before, one.better),
            "problem": one.problem,
        }

    def table(one: Table) -> dict[str, Any]:
        columns = [metric(column) for column in one.columns]
        label = one.settings.group_label
        return {
            **days(one),
            "label": said(one.settings.label, language),
            "group_label": said(label, language) if label else one.group_label,
            "columns": columns,
            "rows": [
                {
                    "label": name,
                    "values": numbers,
                    "share": share,
                    "currencies": [found["currency"] for found in columns],
                }
                for name, numbers, share in one.rows
            ],
            "more": one.more,
            "problem": one.problem,
        }

    def listing(one: Listing) -> dict[str, Any]:
        columns = [
            {
                "label": label, "kind": "text" if kind == "html" else kind, "number": kind in _NUMBERS,
                "money": kind == "money", "unit": kind if kind in _UNITS.values() else "", "currency": currency,
            }
            for label, kind in one.columns
        ]  # fmt: skip
        rows = [
            {"url": url, "cells": cells, "currencies": [currency if own is None else own for own in owns]}
            for url, cells, owns in one.rows
        ]
        found = {"columns": columns, "rows": rows, "total": one.total, "url": one.url, "problem": one.problem}
        return {"label": said(one.settings.label, language), **days(one), **found}

    return {
        "metrics": [metric(one) for one in figures.metrics],
        "tables": [table(one) for one in figures.tables],
        "lists": [listing(one) for one in figures.lists],
        "empty": figures.empty,
    }
