"""Expiry notices: whoever is concerned is told of a date before it comes, once for each threshold.

    [jobs.expiry]
    kind = "expiry"
    schedule = "0 7 * * *"

    [[jobs.expiry.rules]]
    doctype = "Contract"
    date_field = "end_date"
    days_before = [30, 7, 1]
    notify = "contract_owner"

A run goes through the documents whose dates are near, and finds the tightest threshold that each has crossed: not those
that are due on this very day, so that down-time of any length costs nobody a notice. What a ledger does not know to be
told is told, by one mail for each person and by a notification on the desk for each document. A date that was changed
is another date, and starts anew. Days are the site's.

Reads: documents of the rules' DocTypes, Users, the site's ledger. Writes: mails, Notification Logs, the site's ledger
where there is one. Never: a document that it tells of.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta
from typing import Annotated, Any, Literal

from pydantic import Field

from daemon.core.duration import format_duration
from daemon.core.kind import DialectPort, Doubt, Inquiry, Need, Part, Provision, Run, SitePort
from daemon.core.plan import Action, Census, Outcome, Result
from daemon.core.settings import FilePath, JobSettings
from daemon.core.thresholds import said
from daemon.errors import Invalid, NotFound, ServerBug, TemplateProblem, UsageError
from daemon.jobs import _bell
from daemon.jobs._expiry.find import Finder, NoticeAction, RuleSettings
from daemon.jobs._expiry.ledger import LOG, PROVISION, Ledger, Notice, Subject
from daemon.jobs._expiry.tell import LeftPart, Office, TellPart, about, shown
from daemon.jobs._letters import language_doubts, name_of
from daemon.jobs._people import FIELDS as USER_FIELDS
from daemon.jobs._people import Empty, People, Person
from daemon.rendering.process import Renderer

PAGE = 200
"""Documents read and decided together."""
REASONS = 20
"""Sentences in a report about people in whose place others were told."""


class Settings(JobSettings):
    """An expiry job."""

    rules: Annotated[list[RuleSettings], Field(min_length=1)]
    ways: Annotated[list[Literal["desk", "mail"]], Field(min_length=1, default_factory=lambda: ["desk", "mail"])]
    """Who cannot be told one way is told the other."""
    grouped: bool = True
    """One mail for each person and run; false: one for each document."""
    language: str = "en"
    """For people whose user says none."""
    per_minute: Annotated[float, Field(gt=0)] = 300
    """Mails, at the most."""
    template: Annotated[str, Field(pattern=r"^[\w./-]+\.html$")] = "expiry.html"
    """Of the mail."""
    bell: Annotated[str, Field(pattern=r"^[\w./-]+\.html$")] = "bell.html"
    """The template of a notification on the desk."""
    templates: FilePath | None = None
    """A folder whose templates go before those that ship."""

    @property
    def patience(self) -> timedelta:
        return timedelta(hours=12)


def needs(settings: Settings, dialect: DialectPort) -> Iterable[Need]:  # noqa: ARG001 (the shape of a kind)
    """What `check` looks at: each rule's DocType and fields, Users, mail, and the right to tell people on the desk."""
    for rule in settings.rules:
        filtered = [one[-3] for one in rule.filters if len(one) == 3 or one[0] == rule.doctype]
        fields, why = (rule.date_field, *rule.people_fields, *filtered), "to find what expires, and send its notices"
        yield Need(rule.doctype, fields, (rule.date_field,), why=why)
        if not settings.grouped and "mail" in settings.ways:
            lacking, why = "its mails are shown beside no document", "to show mails beside their documents"
            yield Need(rule.doctype, rights=("email",), lacking=lacking, why=why)
    yield Need("User", USER_FIELDS, why="to find whom to tell")
    lacking = "whom it told is written down in the daemon's own state alone"
    why = "to write down whom it told"
    yield Need(LOG, (), (), ("read", "create"), by_setup=True, lacking=lacking, why=why)
    yield Need("Communication", mail=True)
    lacking = "who loses the daemon's state tells everybody again"
    yield Need(LOG, (), (), ("read", "create"), by_setup=True, lacking=lacking)
    if "desk" in settings.ways:
        lacking, why = "people are told by mail alone", "to tell people on their desk"
        yield Need(_bell.NOTIFICATION, (), (), ("create",), by_setup=True, lacking=lacking, why=why)


def provisions(settings: Settings, site: SitePort) -> Iterator[Provision]:
    """The site's ledger; the right to tell people on their desk, where the user lacks it."""
    yield PROVISION
    if "desk" in settings.ways and site.user() != "Administrator":
        yield _bell.RIGHT


def parts(run: Run, settings: Settings) -> Iterator[Part]:
    """What earlier runs left, one part for each rule, and one that tells what all of them found."""
    today = _today(run)
    office = Office(run, settings, Ledger(run), today)
    if next(office.ledger.left(), None):
        before = LeftPart(office)
        yield before
        if before.tally.error:
            return  # whoever was told by what is on its way would be told again
    if not run.dry_run:
        office.ledger.clear_queue()
    people = People(run.site)
    made: list[RulePart] = []
    for rule in settings.rules:
        twins = sum(part.rule.doctype == rule.doctype for part in made)
        name = f"{rule.doctype} ({twins + 1})" if twins else rule.doctype
        made.append(RulePart(run, rule, office, people, name))
        office.rules[name] = made[-1].tally
    yield from made
    telling = TellPart(office)
    yield telling
    if not run.dry_run and not telling.tally.error and not telling.tally.counts[Result.UNCERTAIN]:
        _conclude(
            office, [part for part in made if all(one.through for one in made if one.rule.name == part.rule.name)]
        )


def _conclude(office: Office, parts: Sequence[RulePart]) -> None:
    """All that was due is told: what is over now need not be looked at again, but for `look_back`. Rules about one date
    share that memory, so one that failed holds it for all of them."""
    for part in parts:
        part.conclude()
    for doctype, field in dict.fromkeys((part.rule.doctype, part.rule.date_field) for part in parts):
        office.ledger.prune(doctype, field, office.today)


def _today(run: Inquiry) -> date:
    return run.now().astimezone(run.site.zone).date()


class RulePart(Part):
    """One rule at work: finds what is due, and puts it into the queue."""

    def __init__(self, run: Run, rule: RuleSettings, office: Office, people: People, name: str) -> None:
        super().__init__(name)
        self.rule = rule
        self._run, self._site, self._office = run, run.site, office
        self._finder = Finder(run, rule, office.ledger, people, office.today)
        self._due: Counter[int] = Counter()
        self._complete = False

    def census(self) -> Census:
        try:
            self._finder.meta()
            near = [*self.rule.where, *self._finder.dated()]
            found = Census(self._site.count(self.rule.doctype), self._site.count(self.rule.doctype, near), 0)
        except (Invalid, NotFound, ServerBug) as error:
            error.who, error.action = "operator", "Correct DocType and fields of the rule; `frappe-daemon check` helps."
            raise
        if not self._run.dry_run and not self._run.recall(self._finder.memory):
            self._run.remember(self._finder.memory, str(self._office.today))
        return found

    def plan(self) -> Iterator[list[Action]]:
        finder = self._finder
        dated = finder.dated(all_dates=self._run.explain)
        where = [*self.rule.where, *dated]
        last = ""
        for page in self._site.paginate(self.rule.doctype, finder.fields, where, page_length=PAGE):
            # a condition on child rows repeats a document for each of them, side by side, also across pages
            docs = [doc for doc in page if str(doc["name"]) != last]
            last = str(page[-1]["name"])
            yield list(finder.decide(finder.subjects(docs, dated)))
        self._complete = True

    def apply(self, actions: list[Action]) -> Iterable[Outcome]:
        decided = [one for one in actions if isinstance(one, NoticeAction)]
        notices = [replace(one.notice, rule=self.tally.part) for one in decided if one.notice]
        self._office.ledger.learn(self._finder.news)
        self._finder.news = {}
        self._office.ledger.queue(notices)
        self._due.update(notice.threshold for notice in notices)
        return [_undue(one) for one in decided if not one.notice]

    def foresee(self, actions: list[Action]) -> Iterable[Outcome]:
        decided = [one for one in actions if isinstance(one, NoticeAction)]
        self._due.update(one.notice.threshold for one in decided if one.notice)
        return [_planned(one, one.notice) if one.notice else _undue(one) for one in decided]

    def close(self) -> None:
        if self._due:
            number = self._due.total()
            listed = ", ".join(f"{count:,} {said(days)}" for days, count in sorted(self._due.items(), reverse=True))
            self.tally.facts["due"] = number
            self.tally.note(f"{number:,} {'notice is' if number == 1 else 'notices are'} due: {listed}")

        for why, number in self._finder.replaced.most_common(REASONS):
            self.tally.note(f"{number:,} {'time' if number == 1 else 'times'} told to the fallback: {why}")

    @property
    def through(self) -> bool:
        """It has found all that is due."""
        return self._complete and not self.tally.error

    def conclude(self) -> None:
        rule, today = self.rule, self._office.today
        self._run.remember(self._finder.memory, str(today))
        self._office.ledger.look_from((rule.doctype, rule.date_field, self.tally.part), self._finder.window()[0], today)


def _undue(action: NoticeAction) -> Outcome:
    if action.problem:
        return Outcome(action, Result.FAILED, action.problem, "Recipient", "site administrator")
    return Outcome(action, Result.KEPT, action.why, summary="kept: told before, or not near yet")


def _planned(action: NoticeAction, notice: Notice) -> Outcome:
    return Outcome(action, Result.PLANNED, action.why, summary=f"due {said(notice.threshold)}")


# Looking beforehand


def doubts(inquiry: Inquiry, settings: Settings) -> Iterator[Doubt]:
    """What `check` looks at beyond the needs: each rule's filters and people, and the templates."""
    ledger, people, today = Ledger(inquiry), People(inquiry.site), _today(inquiry)
    for rule in settings.rules:
        for one in _of_rule(Finder(inquiry, rule, ledger, people, today), inquiry):
            yield replace(one, what=f"{rule.name}: {one.what}")
    yield from language_doubts(settings.language, settings.templates)
    subject = Subject("ToDo", "date", "TODO-1", today, "A title", "Due Date", "row", 1)
    person = Person("ann@example.com", "ann@example.com", "Ann")
    notice = shown(inquiry.site, Notice(subject, 0, person), today)
    known = about(inquiry.site, settings, person, today, name_of(inquiry.site))
    with Renderer(settings.templates) as renderer:
        letters: list[tuple[str, dict[str, Any]]] = [
            (settings.template, {"notices": [notice], "part": 1, "whole": True}),
            (settings.bell, {"notice": notice}),
        ]
        for template, more in letters:
            try:
                renderer.render(template, {**known, **more})
            except TemplateProblem as error:
                yield Doubt(f"{error}; the shipped one would be used", error.action)


def _of_rule(finder: Finder, inquiry: Inquiry) -> Iterator[Doubt]:
    rule, people = finder.rule, finder.people
    try:
        finder.meta()
        inquiry.site.get_list(rule.doctype, finder.fields, [*rule.where, *finder.dated()], 0, 1)
    except (Invalid, NotFound, ServerBug) as error:
        yield Doubt(str(error), "Correct DocType, fields and filters of the rule.")
        return
    for who in (rule.notify, rule.fallback):
        named = [*map(people.user, who.users), *map(people.at, who.addresses)]
        named += [people.why_nobody(role) for role in who.roles if not people.of_role(role)]
        for one in named:
            if isinstance(one, str):
                yield Doubt(one, "Correct the name, or take it out.", grave=not isinstance(one, Empty))


# Answering why


def explain(inquiry: Inquiry, settings: Settings, words: Sequence[str]) -> list[dict[str, str]]:
    """Of one document (`words`: DocType and name), for each rule about it, its dates and people: "told", "due", "not
    due" or "left out", with the reason. Raises UsageError where no rule is about that DocType."""
    if len(words) != 2:
        raise UsageError("an expiry job is asked about one document: name its DocType and its name")
    doctype, name = words
    rules = [rule for rule in settings.rules if rule.doctype.casefold() == doctype.casefold()]
    if not rules:
        known = ", ".join(dict.fromkeys(rule.doctype for rule in settings.rules))
        raise UsageError(f"no rule of {inquiry.job} is about {doctype!r} (there are rules for: {known})")
    ledger, people, today = Ledger(inquiry), People(inquiry.site), _today(inquiry)
    return [row for rule in rules for row in _explained(Finder(inquiry, rule, ledger, people, today), inquiry, name)]


def _explained(finder: Finder, inquiry: Inquiry, name: str) -> Iterator[dict[str, str]]:
    rule = finder.rule

    def row(about: str, state: str, why: str) -> dict[str, str]:
        return {"about": f"{rule.name} of {name}{about}", "state": state, "why": why}

    try:
        finder.meta()
    except (Invalid, NotFound) as error:
        yield row("", "left out", str(error))
        return
    found = inquiry.site.get_list(rule.doctype, finder.fields, [["name", "=", name]], 0, 1)
    if not found:
        yield row("", "left out", f"the site shows this user no {rule.doctype} {name!r}")
        return
    unlike = [
        one for one in rule.where if not inquiry.site.get_list(rule.doctype, ["name"], [["name", "=", name], one])
    ]
    if unlike:
        yield row("", "left out", f"it does not match {' and '.join(map(_condition, unlike))}")
        return
    subjects = finder.subjects(found, [])
    if not subjects:
        yield row("", "left out", f"{rule.date_field} holds no date")
    for subject, doc in subjects:
        place = f" (row {subject.place})" if subject.row else ""
        yield from (row(f"{place}{about}", state, why) for about, state, why in _of_subject(finder, subject, doc))


def _condition(condition: Sequence[Any]) -> str:
    if list(condition) == ["docstatus", "!=", 2]:
        return "the rule that cancelled documents are left out"
    return f"the filter {list(condition)}"


def _of_subject(finder: Finder, subject: Subject, doc: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """(for whom, state, why)."""
    first, last = finder.window()
    if subject.expires < first:
        since, back = finder.since(), format_duration(finder.rule.look_back)
        over = f"{subject.expires} was over for longer than look_back ({back}) when the rule had last run through"
        yield "", "left out", f"{over}, on {since}"
        return
    for action in finder.decide([(subject, doc)]):
        person, _, rest = action.why.rpartition(f": {finder.rule.date_field} ")
        clause = rest.removeprefix(f"{finder.rule.date_field} ")
        if action.problem:
            yield "", "nobody", action.problem
        elif action.notice:
            yield f" for {person}", "due", f"{clause}; the next run tells them"
        elif clause.startswith("told "):
            yield f" for {person}", "told", clause.removeprefix("told ")
        else:
            yield f" for {person}" if person else "", "not due", clause
    if subject.expires > last:
        return
    for why in finder.replaced:
        yield "", "note", f"told to the fallback, since {why}"
