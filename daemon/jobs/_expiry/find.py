"""What a rule of an expiry job says of documents: which are near their date, who is concerned, what is due to whom.

Reads documents, child rows, Users and the ledgers, each a page at a time. Writes nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from daemon.core.doctype import DocType
from daemon.core.kind import Inquiry
from daemon.core.metrics import NUMBERS
from daemon.core.plan import Action
from daemon.core.settings import Conditions, Duration, FieldName, Model, did_you_mean
from daemon.core.thresholds import Verdict, day_of, judge, window
from daemon.errors import Invalid
from daemon.jobs._expiry.ledger import Ledger, Notice, Subject, Told
from daemon.jobs._people import Absent, Empty, People, Person, names_in

AMENDED = "amended_from"
"""The field that names the document which was cancelled for this one."""
NOBODY = NUMBERS | {"Date", "Datetime", "Time"}
"""Types of fields that name no people."""
FARTHEST = 3650
"""Days of a threshold."""


def _as_people(value: Any) -> Any:
    """A field, several fields, or a table."""
    return {"fields": [value] if isinstance(value, str) else value} if isinstance(value, str | list) else value


class PeopleSettings(Model):
    """Who is told: users that a document names, and others."""

    fields: list[FieldName] = Field(default_factory=list)
    """Of the document: links to User, `owner`, `_assign`, or e-mail addresses."""
    users: list[str] = Field(default_factory=list)
    """Users of the site."""
    roles: list[str] = Field(default_factory=list)
    """Everybody who has the role."""
    addresses: list[str] = Field(default_factory=list)
    """Of people who are no users of the site."""

    @property
    def nobody(self) -> bool:
        return not (self.fields or self.users or self.roles or self.addresses)


PeopleText = Annotated[PeopleSettings, BeforeValidator(_as_people)]


def _thresholds(value: list[int]) -> list[int]:
    if len(set(value)) != len(value):
        raise ValueError("names a number of days twice")
    if any(abs(days) > FARTHEST for days in value):
        raise ValueError(f"goes further than {FARTHEST:,} days")
    return sorted(value, reverse=True)


def _whole_days(value: timedelta) -> timedelta:
    if value < timedelta(0) or value % timedelta(days=1) or value > timedelta(days=FARTHEST):
        raise ValueError('is a number of whole days, such as "30d"')
    return value


class RuleSettings(Model):
    """One rule."""

    doctype: Annotated[str, Field(min_length=1)]
    """Of which documents."""
    date_field: Annotated[str, Field(pattern=r"^\w+(\.\w+)?$")]
    """A Date or Datetime; of a child table "table.field"."""
    days_before: Annotated[list[int], Field(min_length=1, max_length=50), AfterValidator(_thresholds)]
    """0 is the day itself, negative numbers are days after it."""
    filters: Conditions = Field(default_factory=list)
    """Only documents that match all of these. Cancelled ones are left out unless a filter is about docstatus."""
    notify: PeopleText
    """Who is told; a field, such as "owner", or a list of them will do."""
    fallback: PeopleText = PeopleSettings(fields=["owner"])
    """Who is told where `notify` leads to nobody: an empty field, a disabled user."""
    look_back: Annotated[Duration, AfterValidator(_whole_days)] = timedelta(days=30)
    """A date that was over for longer than this when the rule last ran through (or first ran) is left alone."""

    @model_validator(mode="after")
    def _tells_somebody(self) -> Self:
        if self.notify.nobody:
            raise ValueError('a rule needs somebody to tell: notify = "owner"')
        return self

    @property
    def table(self) -> str:
        """The child table that holds the date, or ""."""
        return self.date_field.rpartition(".")[0]

    @property
    def date_column(self) -> str:
        return self.date_field.rpartition(".")[2]

    @property
    def name(self) -> str:
        return f"{self.doctype}.{self.date_field}"

    @property
    def people_fields(self) -> list[str]:
        return list(dict.fromkeys((*self.notify.fields, *self.fallback.fields)))

    @property
    def where(self) -> list[list[Any]]:
        """Filters of the documents, whatever their date."""
        cancelled = [] if any(one[-3] == "docstatus" for one in self.filters) else [["docstatus", "!=", 2]]
        return [*self.filters, *cancelled]


@dataclass(frozen=True, slots=True)
class NoticeAction(Action):
    """A decision about one subject and, where there is somebody, one person."""

    notice: Notice | None = None
    """What is to be told."""
    problem: str = ""
    """Why nobody can be told."""


class Replaced(str):
    """Says why somebody else was told."""

    __slots__ = ()


class Finder:
    """What a rule says of documents. Asks the site, and changes nothing."""

    def __init__(self, run: Inquiry, rule: RuleSettings, ledger: Ledger, people: People, today: date) -> None:
        self.rule, self.ledger, self.people, self.today = rule, ledger, people, today
        self._run, self._site = run, run.site
        self.news: dict[str, Told] = {}
        """What ours did not know of the last page: what the site's ledger has, and what was told of predecessors."""
        self.replaced: Counter[str] = Counter()
        """Why people were told in the place of those that documents name, with of how many documents."""

    @property
    def memory(self) -> str:
        return f"since:{self.rule.name}"

    def since(self) -> date:
        """The day on which all was last done; today for a rule that never ran."""
        return day_of(self._run.recall(self.memory)) or self.today

    def window(self) -> tuple[date, date]:
        return window(self.today, self.since(), self.rule.days_before, self.rule.look_back)

    def meta(self) -> DocType:
        """Raises Invalid where the site lacks what the rule names, NotFound where it has no such DocType."""
        rule = self.rule
        meta = self._site.meta(rule.doctype)
        for field in (rule.date_field, *rule.people_fields):
            if meta.column(field) is None:
                raise Invalid(f"{rule.doctype} has no field {field!r}{did_you_mean(field, meta.paths)}")
        for field in rule.people_fields:
            if (kind := meta.column(field)) in NOBODY:
                raise Invalid(f"{rule.doctype}.{field} is a field of the type {kind}, which names nobody")
        if wrong := meta.no_dates([rule.date_field]):
            raise Invalid(f"{rule.doctype}.{wrong[0]} is no date, so that nothing can expire by it")
        return meta

    def dated(self, *, all_dates: bool = False) -> list[list[Any]]:
        """Conditions on the date: what is near, or whatever has one."""
        rule = self.rule
        where = [rule.date_column] if not rule.table else [self.meta().children[rule.table].name, rule.date_column]
        if all_dates:
            return [[*where, "is", "set"]]
        first, last = self.window()
        return [[*where, ">=", str(first)], [*where, "<", str(last + timedelta(days=1))]]

    @property
    def fields(self) -> list[str]:
        meta, rule = self.meta(), self.rule
        more = [name for name in (meta.title_field, AMENDED) if meta.column(name) is not None]
        return list(dict.fromkeys(("name", *([] if rule.table else [rule.date_column]), *rule.people_fields, *more)))

    def subjects(
        self, rows: Sequence[Mapping[str, Any]], dated: list[list[Any]]
    ) -> list[tuple[Subject, Mapping[str, Any]]]:
        """(subject, document) of a page of documents; child rows are read in one request."""
        docs = {str(row["name"]): row for row in rows}
        if not self.rule.table:
            return [(one, row) for row in docs.values() if (one := self._subject(row, row.get(self.rule.date_column)))]
        children = self._children(list(docs), dated)
        found = []
        for child in children:
            doc = docs[str(child["parent"])]
            one = self._subject(doc, child.get(self.rule.date_column))
            if one:
                found.append((replace(one, row=str(child["name"]), place=int(child.get("idx") or 0)), doc))
        return found

    def _children(self, names: list[str], dated: list[list[Any]]) -> list[dict[str, Any]]:
        rule = self.rule
        where = [["parent", "in", names], ["parenttype", "=", rule.doctype], ["parentfield", "=", rule.table]]
        fields = ["name", "idx", "parent", rule.date_column]
        child = self.meta().children[rule.table].name
        plain = [condition[-3:] for condition in dated]
        return self._site.get_list(child, fields, [*where, *plain], 0, 0, "parent asc, idx asc", parent=rule.doctype)

    def _subject(self, row: Mapping[str, Any], value: Any) -> Subject | None:
        expires = day_of(value)
        if expires is None:
            return None
        title = str(row.get(self.meta().title_field) or "").strip() or str(row["name"])
        return Subject(self.rule.doctype, self.rule.date_field, str(row["name"]), expires, title, self._label())

    def _label(self) -> str:
        rule, meta = self.rule, self.meta()
        found = (meta.children[rule.table] if rule.table else meta).field(rule.date_column)
        return found.label if found else ""

    # Who is told

    def learn(self, docs: Iterable[Mapping[str, Any]]) -> None:
        """Ask for all users that these documents name, in one request."""
        rule = self.rule
        named = [name for doc in docs for field in rule.people_fields for name in names_in(doc.get(field))]
        fixed = [name for who in (rule.notify, rule.fallback) for name in (*who.users, *who.addresses)]
        self.people.learn([*named, *fixed])

    def recipients(self, doc: Mapping[str, Any]) -> tuple[list[Person], list[str]]:
        """(people, why others whom the rule names are not among them)."""
        found, why = self._people(self.rule.notify, doc)
        if found:
            return found, why
        instead, more = self._people(self.rule.fallback, doc)
        if instead:
            return instead, [*map(Replaced, why), *more]
        return [], [*why, *(text for text in more if text not in why)]

    def _people(self, wanted: PeopleSettings, doc: Mapping[str, Any]) -> tuple[list[Person], list[str]]:
        found: dict[str, Person] = {}
        why: list[str] = []
        for one in self._named(wanted, doc):
            if isinstance(one, str):
                why.append(one)
            else:  # two users may have one address, and a user may be named by it, too
                found.setdefault(one.address.lower() or one.key, one)
        return list(found.values()), why

    def _named(self, wanted: PeopleSettings, doc: Mapping[str, Any]) -> Iterator[Person | str]:
        for field in wanted.fields:
            names = names_in(doc.get(field))
            if not names:
                yield Empty(f"{field} is empty")
            for name in names:
                one = self.people.user(name)
                yield self.people.at(name) if isinstance(one, Absent) and not self._links(field) else one
        yield from (self.people.user(name) for name in wanted.users)
        for role in wanted.roles:
            people = self.people.of_role(role)
            yield from people
            if not people:
                yield self.people.why_nobody(role)
        yield from map(self.people.at, wanted.addresses)

    def _links(self, field: str) -> bool:
        """The field holds users and nothing else."""
        found = self.meta().field(field)
        return field == "_assign" or (found is not None and found.fieldtype == "Link")

    # What is due

    def decide(self, pairs: Sequence[tuple[Subject, Mapping[str, Any]]]) -> list[NoticeAction]:
        """One action for each subject and person. The site's ledger is asked about those that ours does not know."""
        self.learn([doc for _, doc in pairs])
        asked = [(subject, *self.recipients(doc)) for subject, doc in pairs]
        before = {subject.key: old for subject, doc in pairs if (old := _predecessor(subject, doc))}
        told = self.ledger.told(
            (one, person)
            for subject, people, _ in asked
            for one in filter(None, (subject, before.get(subject.key)))
            for person in people
        )
        inherited = _inherit(asked, before, told)
        due = [
            subject
            for subject, people, _ in asked
            if any(self.judged(subject, one, told).threshold is not None for one in people)
        ]
        there = self.ledger.told_on_site([*due, *(before[one.key] for one in due if one.key in before)])
        self.news = {key: more for key, more in there.items() if more.keys() - told.get(key, {}).keys()}
        told |= {key: {**more, **told.get(key, {})} for key, more in self.news.items()}
        self.news |= inherited | _inherit(asked, before, told)
        return [action for subject, people, why in asked for action in self._actions(subject, people, why, told)]

    def judged(self, subject: Subject, person: Person | None, told: Mapping[str, Told]) -> Verdict:
        known = told.get(subject.key + person.key, {}) if person else {}
        return judge(self.today, subject.expires, self.rule.days_before, known)

    def _actions(
        self, subject: Subject, people: Sequence[Person], why: Sequence[str], told: Mapping[str, Told]
    ) -> Iterator[NoticeAction]:
        about, field = (subject.doctype, subject.name), self.rule.date_field
        if not people:
            verdict = self.judged(subject, None, told)
            if verdict.threshold is None:
                yield NoticeAction("keep", *about, f"{field} {verdict.why}")
            else:
                problem = f"nobody to tell: {'; '.join(why)}"
                yield NoticeAction("notify", *about, f"{field} {verdict.why}", problem=problem)
        due = False
        for person in people:
            verdict = self.judged(subject, person, told)
            if verdict.threshold is None:
                yield NoticeAction("keep", *about, f"{person.key}: {field} {verdict.why}")
            else:
                due, notice = True, Notice(subject, verdict.threshold, person, f"{field} {verdict.why}")
                yield NoticeAction("notify", *about, f"{person.key}: {notice.why}", notice=notice)
        if due:
            yield from self._passed_over(about, why)

    def _passed_over(self, about: tuple[str, str], why: Sequence[str]) -> Iterator[NoticeAction]:
        """People that the rule names and that were not told though others were, or others were in their place."""
        for text in why:
            if isinstance(text, Empty):
                continue
            if isinstance(text, Replaced):
                self.replaced[text] += 1
            else:
                yield NoticeAction("notify", *about, text, problem=text)


def _predecessor(subject: Subject, doc: Mapping[str, Any]) -> Subject | None:
    """The same date of the document that this one amends. Child rows have other names there."""
    name = str(doc.get(AMENDED) or "")
    return replace(subject, name=name) if name and not subject.row else None


def _inherit(
    asked: Iterable[tuple[Subject, Sequence[Person], Any]], before: Mapping[str, Subject], told: dict[str, Told]
) -> dict[str, Told]:
    """Key → what was told of a predecessor counts for the document too, in `told` as well."""
    found: dict[str, Told] = {}
    for subject, people, _ in asked:
        for person in people if subject.key in before else ():
            key, old = subject.key + person.key, told.get(before[subject.key].key + person.key, {})
            if old.keys() - told.get(key, {}).keys():
                found[key] = {**old, **told.get(key, {})}
    told |= found
    return found
