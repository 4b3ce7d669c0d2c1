"""Digests: figures of a period, mailed to each of its readers once.

    [jobs.weekly]
    kind = "digest"
    schedule = "0 8 * * 1"
    title = "Weekly digest"
    period = "last week"
    users = [["enabled", "=", 1], ["custom_weekly_digest", "=", 1]]

    [[jobs.weekly.metrics]]
    label = "New orders"
    doctype = "Sales Order"
    filters = [["docstatus", "=", 1]]

A run is about the period that its slot ends, whenever it takes place: a slot that was missed is made up for with its
own figures, unless it is older than `max_lateness`. Figures are read once; then each reader gets a letter of their own,
in their language, and whoever cannot be mailed to is nobody else's trouble. What was sent is in a ledger by job, period
and address, so that no restart, retry or second user of an address makes it two.

Reads: the figures' DocTypes, Users, Company. Writes: mails (a Communication and a row of Email Queue each).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, PrivateAttr, model_validator

from daemon.core.duration import format_duration
from daemon.core.kind import DialectPort, Doubt, Inquiry, Need, Part, Provision, Run, SitePort
from daemon.core.letter import Letter, group_of, mark_of, subject_of
from daemon.core.periods import Period, Span
from daemon.core.plan import Action, Outcome, Result, Tally
from daemon.core.settings import Conditions, FilePath, JobSettings, PositiveDuration
from daemon.errors import (
    Invalid,
    NotFound,
    NotPermitted,
    OutputError,
    ServerBug,
    SiteError,
    TemplateProblem,
    Transient,
    UsageError,
)
from daemon.jobs._digest.figures import (
    FigureReader,
    Figures,
    Label,
    ListSettings,
    MetricSettings,
    TableSettings,
    said,
    shown,
)
from daemon.jobs._letters import language_doubts, name_of
from daemon.jobs._people import FIELDS, GUEST, People, Person
from daemon.jobs._post import Fate, Post, kept, prune
from daemon.rendering.process import Renderer

OWNER = "digest"
"""Of the ledger."""
BATCH, PAGE = 50, 200
"""Letters made and handed over together; users read together."""
LATEST = timedelta(days=3)
"""How late a digest is sent at the most, where nothing else is said."""
KEPT_LEDGER = timedelta(days=60)
"""How long the ledger knows of a period after nothing of it could be sent any more."""
HOPELESS = 10
"""Letters in a row that the template fails for, before one succeeded, after which it is taken to be at fault."""


def _span(value: str) -> str:
    Span.parse(value)
    return value


@dataclass(frozen=True, slots=True)
class Wish:
    """What the command `digest` wants of one run, and no configuration says."""

    preview: Path | None = None
    """A file for one letter, which is not sent."""
    only: str = ""
    """Whose letter that is; "": the first reader's."""
    send_to: str = ""
    """Who gets it, and nobody else, as often as it is asked for."""


class Settings(JobSettings):
    """A digest."""

    title: Label = "Digest"
    """In the subject and at the top; a table has one for each language, such as { en = "Weekly digest", de =
    "Wochenbericht" }."""
    period: Annotated[str, AfterValidator(_span)] = "last week"
    """What it is about: "last week", "last day", "last month", or a number of days such as "last 14 days"."""
    week_starts: Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"] = "monday"
    """The first day of a week."""
    compare: bool = True
    """Figures are told with those of the period before."""
    metrics: list[MetricSettings] = Field(default_factory=list)
    """Single figures, in a row at the top."""
    tables: list[TableSettings] = Field(default_factory=list)
    """The largest groups."""
    lists: list[ListSettings] = Field(default_factory=list)
    """Documents."""
    users: Conditions | None = None
    """Users of the site that match all of these."""
    to: list[str] = Field(default_factory=list)
    """Users or addresses."""
    language: str = "en"
    """For readers whose user says none."""
    currency: Annotated[str, Field(pattern=r"^([A-Z]{3})?$")] = ""
    """Of all money; "": that of `company`, or of the only one there is."""
    company: str = ""
    """Whose currency is shown, where the site has several."""
    empty: Literal["send", "skip"] = "send"
    """What becomes of a digest without anything in it."""
    max_lateness: PositiveDuration | None = None
    """How late a missed slot is made up for, each of several with its own digest. Unless stated, the latest one
    alone, and not after three days."""
    per_minute: Annotated[float, Field(gt=0)] = 300
    """Mails, at the most."""
    template: Annotated[str, Field(pattern=r"^[\w./-]+\.html$")] = "digest.html"
    """Of the letter."""
    templates: FilePath | None = None
    """A folder whose templates go before those that ship."""
    _wish: Wish = PrivateAttr(default_factory=lambda: Wish())

    @model_validator(mode="after")
    def _says_something_to_somebody(self) -> Self:
        if not (self.metrics or self.tables or self.lists):
            raise ValueError("a digest needs [[metrics]], [[tables]] or [[lists]]")
        if self.users == []:
            raise ValueError('users = [] would be every user; write which, such as [["enabled", "=", 1]]')
        if not all(name.strip() for name in self.to):
            raise ValueError('to = ["", …]: an empty text is nobody')
        if self.users is None and not self.to:
            raise ValueError('a digest needs readers: users = [["enabled", "=", 1], …] or to = ["ann@example.com"]')
        return self

    @property
    def patience(self) -> timedelta:
        return self.max_lateness or LATEST

    @property
    def wish(self) -> Wish:
        return self._wish

    def wishing(self, wish: Wish) -> Settings:
        """The same job for one run of the command."""
        found = self.model_copy()
        found._wish = wish
        return found


def needs(settings: Settings, dialect: DialectPort) -> Iterable[Need]:  # noqa: ARG001 (the shape of a kind)
    """What `check` looks at: the DocTypes with their fields, the users' filters, and that mail can be sent."""
    for metric in settings.metrics:
        fields = [metric.field] if metric.field else []
        yield _need(metric, metric.period or settings.period, fields)
    for table in settings.tables:
        shown_as = [table.show] if table.show else []
        fields = [table.group_by, *shown_as, *(one.field for one in table.measures)]
        yield _need(table, table.period or settings.period, [] if table.child else fields)
        if table.child:
            yield Need(table.child, tuple(fields), rights=(), rows=False)
    for listing in settings.lists:
        yield _need(listing, listing.period, listing.fields)
    chosen_by = _filtered(settings.users or (), "User")
    yield Need(
        "User",
        (*chosen_by, *FIELDS),
        rights=("read", "email"),
        why="to find its readers and send them their letters",
        made=tuple(name for name in chosen_by if name.startswith("custom_")),
        lacking="" if settings.users else "letters go out as to strangers, in the digest's own language",
    )
    if not settings.currency and (settings.tables or any(metric.field for metric in settings.metrics)):
        lacking, why = "money is shown without a currency", "to know the currency"
        yield Need("Company", ("default_currency",), lacking=lacking, why=why)
    yield Need("Communication", mail=True)


def _need(part: Any, period: str, fields: Sequence[str]) -> Need:
    dates = () if period == "any" else (part.date_field,)
    wanted = (*fields, *dates, *_filtered(part.filters, part.doctype))
    return Need(part.doctype, tuple(dict.fromkeys(wanted)), dates, why=f"to tell {said(part.label, 'en')!r}")


def _filtered(filters: Sequence[Sequence[Any]], doctype: str) -> list[str]:
    return [condition[-3] for condition in filters if len(condition) == 3 or condition[0] == doctype]


def provisions(settings: Settings, site: SitePort) -> Iterator[Provision]:  # noqa: ARG001 (the shape of a kind)
    """A checkbox on User for each custom field by which readers are chosen."""
    for name in dict.fromkeys(_filtered(settings.users or (), "User")):
        if name.startswith("custom_"):
            label = name.removeprefix("custom_").replace("_", " ").capitalize()
            place = {"insert_after": "language", "default": "0"}
            said_of = {"label": label, "description": f"Sends {said(settings.title, 'en')!r} to this user."}
            values = {"dt": "User", "fieldname": name, "fieldtype": "Check", **said_of, **place}
            yield Provision("Custom Field", f"User-{name}", values, "by which readers of a digest are chosen")


def parts(run: Run, settings: Settings) -> Iterator[Part]:
    """One part for each slot that is due, which is mostly one."""
    slots = run.slots(settings.patience)
    if settings.max_lateness is None:
        slots = slots[-1:]
    if not slots:
        yield TooLate(settings)
    latest = {Span.parse(settings.period).due(slot, run.site.zone, settings.week_starts).key: slot for slot in slots}
    for slot in latest.values():
        yield DigestPart(run, settings, slot)


class TooLate(Part):
    """A slot that was missed for so long that nobody wants its digest any more."""

    def __init__(self, settings: Settings) -> None:
        super().__init__("digest")
        self.tally.note(f"the slot is longer ago than {format_duration(settings.patience)} (max_lateness): not sent")

    def plan(self) -> Iterator[list[Action]]:
        yield from ()


Reader = tuple[str, Person | str]
"""(name, who that is, or why nobody)."""


def _reader(one: Person | str) -> Person | str:
    return one if isinstance(one, str) or one.address else one.no_mail


def _unreachable(action: Action, why: str) -> Outcome:
    return Outcome(action, Result.FAILED, why, "Recipient", "site administrator")


def _spans(text: str, slot: datetime, site: SitePort, settings: Settings) -> tuple[Period, Period]:
    """What a digest of the slot is about, and the one before it."""
    span = Span.parse(text)
    period = span.due(slot, site.zone, settings.week_starts)
    return period, span.previous(period, settings.week_starts)


def _told_of(
    site: SitePort,
    settings: Settings,
    spans: tuple[Period, Period],
    figures: Figures,
    currency: str,
    language: str,
) -> dict[str, Any]:
    """What a template is told, but for the recipient and whether it is late."""
    period, before = spans
    return {
        "language": language,
        "currency": currency,
        "title": said(settings.title, language),
        "first": period.first,
        "last": period.last,
        "before_first": before.first,
        "before_last": before.last,
        "compared": any(one.before is not None and one.period == period for one in figures.metrics),
        "site_name": name_of(site),
        "desk_url": f"{site.url}{site.dialect.desk}",
        **shown(figures, language, currency),
    }


def doubts(inquiry: Inquiry, settings: Settings) -> Iterator[Doubt]:
    """What `check` looks at beyond the needs: each figure is asked for, and a letter made of them; who reads it."""
    site, tally, slot = inquiry.site, Tally("check"), inquiry.now()
    due = partial(_spans, slot=slot, site=site, settings=settings)
    reader = FigureReader(site, lambda: None, tally, due, compare=settings.compare, glance=True)
    figures = reader.all(settings.metrics, settings.tables, settings.lists, settings.period)
    for _, label, error in reader.failed:
        yield Doubt(f"{label!r}: {error}", "Correct this part of the digest.")
    if settings.company and not site.get_list("Company", ["name"], [["name", "=", settings.company]], 0, 1):
        yield Doubt(f"company: the site shows no company {settings.company!r}", "Correct the name.")
    if settings.currency and not site.get_list("Currency", ["name"], [["name", "=", settings.currency]], 0, 1):
        yield Doubt(f"currency: the site has no currency {settings.currency!r}", "Correct the code.")
    yield from language_doubts(settings.language, settings.templates)
    yield from _reader_doubts(site, settings)
    known = _told_of(site, settings, due(settings.period), figures.with_samples(), settings.currency, settings.language)
    whose = {"name": "ann", "email": "ann@example.com", "full_name": "Ann", "language": settings.language}
    day = slot.astimezone(site.zone).date()
    with Renderer(settings.templates) as renderer:
        try:
            renderer.render(settings.template, {**known, "recipient": whose, "due": day, "late": False})
        except TemplateProblem as error:
            yield Doubt(str(error), error.action)


def _reader_doubts(site: SitePort, settings: Settings) -> Iterator[Doubt]:
    people = People(site)
    people.learn(settings.to)
    for name in settings.to:
        one = _reader(people.named(name))
        if isinstance(one, str):
            yield Doubt(f"to: {one}", "Correct the name or address, or the user.")
    if settings.users is not None:
        try:
            matching = site.get_list("User", ["name"], settings.users, 0, 1)
        except (Invalid, NotFound, ServerBug) as error:
            yield Doubt(
                f"users: {error}", 'Correct the filters; those of child rows are ["Has Role", "role", "=", "…"].'
            )
        else:
            if not matching:
                yield Doubt("users: no user matches", "Nothing, if nobody shall read it yet.", grave=False)


class DigestPart(Part):
    """The digest of one slot."""

    def __init__(self, run: Run, settings: Settings, slot: datetime) -> None:
        self._run, self._site, self._settings, self._slot = run, run.site, settings, slot
        self._period, self._before = self._due(settings.period)
        super().__init__(f"{self._period.first} to {self._period.last}")
        self._renderer = Renderer(settings.templates)
        test = f"test {run.id}|" if settings.wish.send_to else ""
        self._post = Post(run, OWNER, f"{run.job}|{self._period.key}|{test}", settings.per_minute)
        self._test = test
        self._users = People(run.site)
        self._people: dict[str, Person | str] = {}
        """Of the batch under way, by name; a sentence where there is no mail for them."""
        self._under_way: dict[str, Action] = {}
        """Mark → action, of letters whose fate is not known yet."""
        self._figures = Figures()
        self._currency = ""
        self._known: dict[str, dict[str, Any]] = {}
        """Language → what the template is told, but for the recipient."""
        self._previewed = False
        self._failures: int | None = 0
        """Letters that the template failed for; None once one succeeded."""

    def _due(self, text: str) -> tuple[Period, Period]:
        return _spans(text, self._slot, self._site, self._settings)

    # What it tells

    def plan(self) -> Iterator[list[Action]]:
        settings = self._settings
        self._renderer.check(settings.template)
        self._read()
        if self._figures.empty and settings.empty == "skip" and not settings.wish.preview:
            return self.tally.note("there is nothing to tell, so nothing is sent (empty = skip)")
        self._recover()
        for people in self._batches():
            if self._previewed:
                return None
            self._people = {name: _reader(one) for name, one in people}
            why = f"{said(settings.title, 'en')}, {self._period.first} to {self._period.last}"
            yield [Action("send", "User", name, why) for name, _ in people]
        self._people = {}
        yield []  # what is open yet is settled
        return None

    def _read(self) -> None:
        settings = self._settings
        reader = FigureReader(self._site, self._run.check, self.tally, self._due, compare=settings.compare)
        self._figures = reader.all(settings.metrics, settings.tables, settings.lists, settings.period)
        self._currency = self._currency_of()
        for doctype, label, error in reader.failed:
            action = Action("compute", doctype, label, "a figure of the digest")
            who = error.who if isinstance(error, NotPermitted) else "operator"
            self.tally.add(Outcome(action, Result.FAILED, f"left out: {error}", error.kind, who))

    def _currency_of(self) -> str:
        settings = self._settings
        columns = [column for table in self._figures.tables for column in table.columns]
        listed = any(kind == "money" for listing in self._figures.lists for _, kind in listing.columns)
        if settings.currency or not (listed or any(one.money for one in (*self._figures.metrics, *columns))):
            return settings.currency
        where = [["name", "=", settings.company]] if settings.company else []
        try:
            rows = self._site.get_list("Company", ["default_currency"], where, 0, 50)
        except Transient:
            raise
        except SiteError as error:
            self.tally.note(f"money is shown without a currency: {error}")
            return ""
        found = {str(row.get("default_currency") or "") for row in rows}
        if len(found) == 1 and "" not in found:
            return found.pop()
        why = "companies have several" if len(found) > 1 else "no company has one"
        self.tally.note(f"money is shown without a currency, since {why}: set company or currency")
        return ""

    # Who reads it

    def _batches(self) -> Iterator[list[Reader]]:
        batch: list[Reader] = []
        for page in self._pages():
            batch += page
            while len(batch) >= BATCH:
                yield batch[:BATCH]
                del batch[:BATCH]
        if batch:
            yield batch

    def _pages(self) -> Iterator[list[Reader]]:
        """Each as often as the configuration names them; the ledger makes it one mail."""
        settings = self._settings
        if settings.wish.send_to or settings.wish.only:
            yield self._named([settings.wish.send_to or settings.wish.only])
            return
        if settings.users is not None:
            where = [*settings.users, ["name", "!=", GUEST]]
            for page in self._site.paginate("User", FIELDS, where, page_length=PAGE):
                yield self._users.of_rows(page)
        for start in range(0, len(settings.to), PAGE):
            yield self._named(settings.to[start : start + PAGE])

    def _named(self, names: Sequence[str]) -> list[Reader]:
        self._users.learn(names)
        return [(name, self._users.named(name)) for name in dict.fromkeys(names)]

    # Sending

    def apply(self, actions: list[Action]) -> Iterable[Outcome]:
        if self._settings.wish.preview:
            yield from self._preview(actions)
            return
        letters: list[Letter] = []
        known = self._known_letters()
        for action in actions:
            person = self._people[str(action.name)]
            if isinstance(person, str):
                yield _unreachable(action, person)
                continue
            mark = self._mark(person)
            if mark in self._under_way:
                yield Outcome(action, Result.KEPT, f"another reader has the address {person.address}, too")
            elif known.get(mark, {}).get("state") in ("sent", "not queued"):
                yield self._outcome(kept(Letter(person.address, "", "", mark), known[mark]), action)
            else:
                try:
                    letters.append(self._letter(person))
                except TemplateProblem as error:
                    yield Outcome(action, Result.FAILED, str(error), error.kind, error.who)
                    self._count_failure(error)
                else:
                    self._under_way[mark] = action
        for fate in self._post.deliver(letters) if actions else self._post.settle():
            yield self._outcome(fate, self._under_way.pop(fate.letter.mark))

    def _count_failure(self, error: TemplateProblem) -> None:
        """Raises the error where it is nobody's alone."""
        if self._failures is not None:
            self._failures += 1
            if self._failures >= HOPELESS:
                raise error

    def _outcome(self, fate: Fate, action: Action) -> Outcome:
        self.tally.again = self.tally.again or fate.passing
        if self._test and fate.result is Result.DONE:
            self.tally.note(f"sent to {fate.letter.recipient}, and to nobody else")
        return Outcome(action, fate.result, fate.reason, fate.error, fate.who)

    def foresee(self, actions: list[Action]) -> Iterable[Outcome]:
        if self._settings.wish.preview:
            yield from self._preview(actions)
            return
        known = self._known_letters()
        for action in actions:
            person = self._people[str(action.name)]
            if isinstance(person, str):
                yield _unreachable(action, person)
            elif known.get(self._mark(person), {}).get("state") in ("sent", "not queued"):
                yield Outcome(action, Result.KEPT, "sent before")
            else:
                yield Outcome(action, Result.PLANNED, action.why)

    def _known_letters(self) -> dict[str, dict[str, Any]]:
        return self._post.known([self._mark(one) for one in self._people.values() if isinstance(one, Person)])

    def _mark(self, person: Person) -> str:
        return self._mark_at(person.address)

    def _mark_at(self, address: str) -> str:
        return mark_of(self._run.job, self._period.key, self._test, address.casefold())

    def _recover(self) -> None:
        """What another daemon sent for this period, or this one before it lost its state."""
        if self._test or self._settings.wish.preview or self._post.looked:
            return
        if self._run.dry_run:
            self.tally.note("a run would first ask the site what another daemon sent for this period")
        else:
            self._post.recover(group_of(self._run.job, self._period.key, self._test), self._slot, self._mark_at)

    def _letter(self, person: Person) -> Letter:
        """Raises TemplateProblem."""
        made = self._renderer.render(self._settings.template, self._told(person))
        self._failures = None
        reference = ("User", person.key) if person.user else None
        return Letter(person.address, subject_of(made.subject), made.html, self._mark(person), reference)

    def _told(self, person: Person) -> dict[str, Any]:
        language = person.language or self._settings.language
        if language not in self._known:
            self._known[language] = self._common(language)
        whose = {"name": person.key, "email": person.address, "full_name": person.full_name, "language": language}
        return {**self._known[language], "recipient": whose}

    def _common(self, language: str) -> dict[str, Any]:
        zone, settings = self._site.zone, self._settings
        due = self._slot.astimezone(zone).date()
        late = not (settings.wish.preview or self._test) and self._run.started.astimezone(zone).date() > due
        spans = self._period, self._before
        return {
            **_told_of(self._site, settings, spans, self._figures, self._currency, language),
            "due": due,
            "late": late,
        }

    def _preview(self, actions: list[Action]) -> Iterator[Outcome]:
        """The letter of the first reader there is a letter for, as a file."""
        path = self._settings.wish.preview
        for action in actions:
            person = self._people[str(action.name)]
            if isinstance(person, str):
                yield _unreachable(action, person)
            elif path is None or self._previewed:
                continue
            else:
                made = self._renderer.render(self._settings.template, self._told(person))
                try:
                    path.write_text(made.html, encoding="utf-8")
                except OSError as error:
                    raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from None
                self._previewed = True
                self.tally.note(f"{path}: {made.subject!r}, as {person.address} would get it; nothing was sent")
                yield Outcome(action, Result.PLANNED, "letter written to a file")

    def close(self) -> None:
        self._renderer.close()
        if not self._run.dry_run:
            old = self._slot - 2 * self._settings.patience - KEPT_LEDGER
            prune(self._run, OWNER, self._run.job, old.date().isoformat())


# Answering why

PERIODS = 12
"""Latest periods that are told of."""
LAST = chr(0x10FFFF)
"""Sorts behind every key."""
_STATES = {
    "sent": ("sent", "by Communication {name}, at {at}"),
    "not queued": ("failed", "the site took the mail at {at}, as Communication {name}, and then did not queue it"),
    "sending": ("uncertain", "the request of {at} got no reply; the next run finds out what became of it"),
}


def explain(inquiry: Inquiry, settings: Settings, words: Sequence[str]) -> list[dict[str, str]]:
    """Of one reader (`words`: a user or an address): whether they are one, and which digests went to them, by which
    mail. Raises UsageError."""
    if len(words) != 1:
        raise UsageError("a digest is asked about one reader: name the user, or the address")
    one = _reader(People(inquiry.site).named(words[0]))
    why = one if isinstance(one, str) else _why_not(inquiry, settings, one)
    state = "left out" if why else "reader"
    told = [{"about": words[0], "state": state, "why": why or "the next digest goes to them"}]
    address = words[0] if isinstance(one, str) else one.address
    journal = inquiry.journal(OWNER)
    for period in _periods(journal, inquiry.job):
        mark = mark_of(inquiry.job, period, "", address.casefold())
        key = f"{inquiry.job}|{period}|{mark}"
        entry = journal.pick([key]).get(key)
        about = f"{said(settings.title, settings.language)} of {period}"
        if entry is None:
            why = "no mail is in the ledger: they were no reader then, or it failed, which the report of that run tells"
            told.append({"about": about, "state": "not sent", "why": why})
        else:
            state, text = _STATES[entry["state"]]
            told.append(
                {"about": about, "state": state, "why": text.format(name=entry.get("name", ""), at=entry["at"])}
            )
    return told


def _why_not(inquiry: Inquiry, settings: Settings, person: Person) -> str:
    """Why the next digest does not go to them, or ""."""
    if {person.key.casefold(), person.address.casefold()} & {name.casefold() for name in settings.to}:
        return ""
    if settings.users is None:
        return "`to` does not name them"
    for condition in settings.users:
        if not inquiry.site.get_list("User", ["name"], [["name", "=", person.key], condition], 0, 1):
            return f"they do not match the filter {list(condition)} of `users`"
    return ""


def _periods(journal: Any, job: str) -> Iterator[str]:
    """Periods that the ledger knows, the latest first; one look for each."""
    found, after = list[str](), f"{job}|"
    while page := journal.page(f"{job}|", after, 1):
        period = next(iter(page)).removeprefix(f"{job}|").partition("|")[0]
        found.append(period)
        after = f"{job}|{period}|{LAST}"
    yield from reversed(found[-PERIODS:])
