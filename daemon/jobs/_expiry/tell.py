"""Notices → people: a mail and a notification on the desk, each once. The second half of an expiry run.

Each group, the notices of one mail, is written down before anything is sent, and after each step what came of it: the
mail first, then the bells, then our ledger, then the site's. A run that ends in between leaves groups on their way, and
the next run finds out what became of their mails, by their marks, before it decides anything. A mail that the site does
not have is not sent as it was: its notices are decided anew, by then perhaps about another threshold.
"""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from daemon.core.kind import Part, Run, SitePort
from daemon.core.letter import Letter, mark_of, subject_of
from daemon.core.plan import Action, Outcome, Result, Tally
from daemon.core.thresholds import left
from daemon.errors import (
    AlreadyExists,
    Invalid,
    NotConfigured,
    NotFound,
    NotPermitted,
    OutcomeUnknown,
    ServerBug,
    SiteError,
    TemplateProblem,
)
from daemon.jobs import _bell
from daemon.jobs._expiry.ledger import Group, Ledger, Notice, document
from daemon.jobs._letters import name_of
from daemon.jobs._people import Person
from daemon.jobs._post import ROUNDS, SETTLES, Fate, Post, look_for, prune
from daemon.rendering.process import Rendered, Renderer

if TYPE_CHECKING:
    from daemon.jobs.expiry import Settings

LETTERS = "expiry letters"
"""Owner of the mails' own ledger."""
LISTED = 500
"""Documents in one mail; who has more gets several."""
GROUPS, NOTICES = 20, 1000
"""Handed over together: so many mails, or a little more than so many notices."""
BELLS = 100
"""Notifications in one request, each perhaps with a document of the ledger (frappe/client.py:insert_many takes 200)."""
RUNG = {"ringing": "rung", "proving": "proven"}
"""What is said of a bell on its way, and once it is rung; the latter with a document of the site's ledger."""
RINGING = RUNG.keys()
REFUSALS = (Invalid, NotFound, NotPermitted, ServerBug, AlreadyExists)
KEPT_LETTERS = timedelta(days=60)
"""How long the mails' own ledger remembers a run, whose id begins with its day. Nothing of it is on its way by then."""
HOPELESS = 3
"""Letters that a template of one's own fails for, after which it is not tried again in the run."""
SHIPS = {"expiry.html", "bell.html"}


@dataclass(slots=True)
class Office:
    """What the parts of one run share."""

    run: Run
    settings: Settings
    ledger: Ledger
    today: date
    """The site's."""
    rings: bool | None = None
    """Whether this user may tell others on their desk; None: not asked yet."""
    no_mail: NotConfigured | None = None
    """The site said that it can send none."""
    by_one_way: Counter[str] = field(default_factory=Counter)
    """Why notices went by one way alone, with how many."""
    failures: dict[str, int] = field(default_factory=dict)
    """Template → letters that it failed for."""
    rules: dict[str, Tally] = field(default_factory=dict)
    """Name of a rule's part → its tally, in which what became of its notices is told too."""

    def credit(self, notice: Notice, result: Result) -> None:
        tally = self.rules.get(notice.rule)
        if tally is not None and not tally.error:
            tally.whole = tally.whole if tally.whole is not None else Counter(tally.counts)
            tally.whole[result.value] += 1

    def may_ring(self) -> bool:
        if self.rings is None:
            self.rings = _bell.may_ring(self.run.site)
        return self.rings

    def mails(self, person: Person) -> bool:
        """A mail is wanted for them, and there is an address for it."""
        return bool(person.address) and ("mail" in self.settings.ways or not self._reachable(person))

    def bells(self, person: Person, mail: str) -> bool:
        """A notification is wanted for them, and can be had. `mail`: what became of their mail."""
        wanted = "desk" in self.settings.ways or mail not in ("sent", "unknown")
        return wanted and self._reachable(person)

    def _reachable(self, person: Person) -> bool:
        return person.desk and self.may_ring()


def about(site: SitePort, settings: Settings, person: Person, today: date, site_name: str) -> dict[str, Any]:
    """What a template is told of a person, but for their notices."""
    language = person.language or settings.language
    return {
        "language": language,
        "currency": "",
        "recipient": {
            "name": person.key, "email": person.address, "full_name": person.full_name, "language": language
        },
        "today": today,
        "site_name": site_name,
        "desk_url": f"{site.url}{site.dialect.desk}",
    }  # fmt: skip


def shown(site: SitePort, notice: Notice, today: date) -> dict[str, Any]:
    """What a template is told of a notice."""
    subject = notice.subject
    return {
        "doctype": subject.doctype,
        "name": subject.name,
        "title": html.unescape(subject.title or subject.name),  # the site escapes what it cleans
        "label": subject.label,
        "place": subject.place,
        "date": subject.expires,
        "days": left(today, subject.expires),
        "threshold": notice.threshold,
        "url": _bell.address(site, subject.doctype, subject.name),
    }


class Telling(Part):
    """Groups on their way, led to their end."""

    def __init__(self, office: Office, name: str) -> None:
        super().__init__(name)
        self._office, self._run, self._site = office, office.run, office.run.site
        self._ledger = office.ledger
        self._settings = office.settings
        self._site_name = ""
        self._renderer = Renderer(office.settings.templates)
        self._shipped = Renderer()
        self._held = ExitStack()

    def _finish(self, groups: Sequence[Group], fates: Mapping[str, Fate]) -> Iterator[Outcome]:
        """Of groups whose mails are settled: bells, ledgers, outcomes. `fates`: of their mails, by mark."""
        if not groups:
            return
        self._ring(groups)
        self._ledger.settle(groups)
        for group in groups:
            yield from self._outcomes(group, fates.get(group.mark))
        self._ledger.tell_site(groups)

    def _outcomes(self, group: Group, fate: Fate | None) -> Iterator[Outcome]:
        for notice, outcome in zip(group.notices, self._each(group, fate), strict=True):
            self._office.credit(notice, outcome.result)
            yield outcome

    def _each(self, group: Group, fate: Fate | None) -> Iterator[Outcome]:
        for number, notice in enumerate(group.notices):
            action, bell = _action(notice), group.bells[number]
            ways = group.ways(number)
            if ways and group.mail != "sent" and bell not in RUNG.values():
                why = "its reply was lost, and this user cannot find out whether it was told; it is not told again"
                yield Outcome(action, Result.UNCERTAIN, why, "OutcomeUnknown", "site administrator")
            elif ways:
                self._count_way(group, bell, ways)
                yield Outcome(action, Result.DONE)
            else:
                why = "; ".join(filter(None, (_UNQUEUED if group.mail == "not queued" else group.mail, bell)))
                kind, who = (fate.error, fate.who) if fate else ("Recipient", "site administrator")
                yield Outcome(action, Result.FAILED, f"{group.person.key}: {why}", kind, who)

    def _count_way(self, group: Group, bell: str, ways: Sequence[str]) -> None:
        """Both were wanted, and only one could be had."""
        if len(ways) == 2 or set(self._settings.ways) == set(ways):
            return
        if ways == ["mail"]:
            person = group.person
            why = bell or (_NO_RIGHT if person.desk else "they have no desk")
            self._office.by_one_way[f"by mail alone: {why}"] += 1
        else:
            self._office.by_one_way[f"on the desk alone: {group.mail or group.person.no_mail}"] += 1

    # What earlier runs left

    def _settle_left(self, groups: Sequence[Group]) -> Iterator[Outcome]:
        for group in groups:
            if group.told:
                self._ledger.tell_site([group])
                continue
            group.mail = group.mail or self._fate(group)
            if group.mail:
                self._ledger.open([group])
                yield from self._finish([group], {})
            else:
                self._ledger.close([group])  # nothing was sent: decided anew

    def _fate(self, group: Group) -> str:
        """What became of its mail; "" where none was sent."""
        post = Post(self._run, LETTERS, group.shelf)
        entry = post.known([group.mark]).get(group.mark)
        if entry is None:
            return ""
        if entry["state"] != "sending":
            return str(entry["state"])
        try:
            since = datetime.fromisoformat(group.at)
            return "sent" if look_for(self._run, group.mark, since, self._run.started + SETTLES) else ""
        except NotPermitted:
            return "unknown"

    # Bells

    def _ring(self, groups: Sequence[Group]) -> None:
        """Those that are wanted and not rung yet. Raises what would be the same for all: Transient, Stopped …"""
        self._settle_bells(groups, self._run.started + SETTLES)
        waiting = [
            (group, number)
            for group in groups
            if self._office.bells(group.person, group.mail)
            for number, bell in enumerate(group.bells)
            if not bell
        ]
        for start in range(0, len(waiting), BELLS):
            some = waiting[start : start + BELLS]
            for _ in range(ROUNDS):
                if some:
                    self._ring_some(some)
                some = [(group, number) for group, number in some if not group.bells[number]]
            for group, number in some:
                group.bells[number] = "its replies were lost, and it is not on the desk"
            self._ledger.open(_groups_of(some))

    def _settle_bells(self, groups: Sequence[Group], over: datetime) -> None:
        """A run ended, or a reply was lost, while they rang: looked for until the request must be `over`, and not rung
        where they are not there. Who cannot look leaves them so: once is better than twice."""
        groups = [group for group in groups if RINGING & set(group.bells)]
        for group in groups:
            while missing := self._not_there(group):
                left = (over - self._run.now()).total_seconds()
                if left <= 0:
                    for number in missing:
                        group.bells[number] = ""
                    break
                self._run.pause(min(left + 1, 15.0))
        self._ledger.open(groups)

    def _not_there(self, group: Group) -> list[int]:
        """Those that ring and cannot be seen yet. Those that are there, or that nobody can see, ring no more."""
        ringing = [number for number, bell in enumerate(group.bells) if bell in RINGING]
        names = [group.notices[number].subject.name for number in ringing]
        seen = _bell.rung(self._site, group.mark, names) if "ringing" in group.bells else None
        proofs = self._ledger.there(group.notices) if "proving" in group.bells else None
        for number in ringing:
            notice = group.notices[number]
            if group.bells[number] == "proving":
                there = proofs if proofs is None else notice.digest in proofs
            else:
                about = (group.person.key, notice.subject.doctype, notice.subject.name)
                there = seen if seen is None else about in seen
            if there is None:
                self.tally.note("some notifications may or may not be on the desk: a reply was lost")
                group.bells[number] = "perhaps"
            elif there:
                group.bells[number] = RUNG[group.bells[number]]
        return [number for number in ringing if group.bells[number] in RINGING]

    def _ring_some(self, waiting: Sequence[tuple[Group, int]]) -> None:
        """In one request, each with its document of the site's ledger where there is one: that shows afterwards whether
        it was rung, to whoever may not look at other people's notifications."""
        begun = "proving" if self._ledger.proves else "ringing"
        docs = [self._docs(group, number) for group, number in waiting]
        for group, number in waiting:
            group.bells[number] = begun
        self._ledger.open(_groups_of(waiting))
        try:
            self._site.insert_many([doc for some in docs for doc in some])
        except OutcomeUnknown:
            self._settle_bells(_groups_of(waiting), self._run.now() + SETTLES)
            return
        except REFUSALS as error:
            self._ring_singly(waiting, docs, error)
        else:
            for group, number in waiting:
                group.bells[number] = RUNG[begun]
        self._ledger.open(_groups_of(waiting))

    def _ring_singly(
        self, waiting: Sequence[tuple[Group, int]], docs: Sequence[list[dict[str, Any]]], error: SiteError
    ) -> None:
        """One that the site refuses undid all of them: find it."""
        hopeless = isinstance(error, NotPermitted)
        if hopeless:
            self._office.rings = False
        begun = [group.bells[number] for group, number in waiting]
        for group, number in waiting:
            group.bells[number] = str(error) if hopeless else ""
        for (group, number), some, state in zip(waiting, docs, begun, strict=True):
            if not hopeless:
                group.bells[number] = state
                self._ledger.open([group])
                group.bells[number] = self._rung(some, state)
        self._settle_bells(_groups_of(waiting), self._run.now() + SETTLES)

    def _rung(self, docs: Sequence[dict[str, Any]], state: str) -> str:
        try:
            self._site.insert_many(docs)
        except OutcomeUnknown:
            return state
        except AlreadyExists:  # the site's ledger has it: another daemon was faster
            return RUNG[state]
        except REFUSALS as error:
            return str(error)
        return RUNG[state]

    def _docs(self, group: Group, number: int) -> list[dict[str, Any]]:
        notice = group.notices[number]
        ways = [*group.ways(number), "desk"]
        proof = [document(notice, ways, group.on)] if self._ledger.proves else []
        return [self._bell(group, notice), *proof]

    def _bell(self, group: Group, notice: Notice) -> dict[str, Any]:
        made = self._rendered(self._settings.bell, {**self._about(group.person), "notice": self._shown(notice)})
        letter = Letter("", made.subject, made.html, group.mark)
        subject = notice.subject
        return _bell.bell(group.person.key, made.subject, (subject.doctype, subject.name), letter.content)

    # Letters

    def _letter(self, group: Group, part: int, last: bool) -> Letter:
        """Raises TemplateProblem where even the shipped template cannot be used."""
        shown = [self._shown(notice) for notice in group.notices]
        known = {**self._about(group.person), "notices": shown, "part": part, "whole": part == 1 and last}
        made = self._rendered(self._settings.template, known)
        subject = group.notices[0].subject
        about = (subject.doctype, subject.name) if self._may_mail(subject.doctype) else None
        reference = about if not self._settings.grouped else None
        return Letter(group.person.address, subject_of(made.subject), made.html, group.mark, reference)

    def _may_mail(self, doctype: str) -> bool:
        user = self._site.user()
        return user == "Administrator" or self._site.meta(doctype).grants("email", self._site.roles(user))

    def _rendered(self, template: str, known: dict[str, Any]) -> Rendered:
        """By a template of one's own, or by the shipped one where that fails: a notice does not wait for a template."""
        failures = self._office.failures
        if failures.get(template, 0) < HOPELESS:
            try:
                return self._renderer.render(template, known)
            except TemplateProblem as error:
                failures[template] = failures.get(template, 0) + 1
                self._complain(template, error)
        return self._shipped.render("bell.html" if "notice" in known else "expiry.html", known)

    def _complain(self, template: str, error: TemplateProblem) -> None:
        """Once for a template; its letters went by the shipped one."""
        if self._office.failures.get(template, 1) == 1:
            action = Action("render", "template", template, "a template of your own")
            self.tally.add(Outcome(action, Result.FAILED, f"{error}; the shipped one is used", error.kind, error.who))

    def _about(self, person: Person) -> dict[str, Any]:
        self._site_name = self._site_name or name_of(self._site)
        return about(self._site, self._settings, person, self._office.today, self._site_name)

    def _shown(self, notice: Notice) -> dict[str, Any]:
        return shown(self._site, notice, self._office.today)

    def close(self) -> None:
        self._renderer.close()
        self._shipped.close()
        self._held.close()
        for note in self._ledger.notes:
            self.tally.note(note)
        for why, number in self._office.by_one_way.items():
            self.tally.note(f"{number:,} {'notice' if number == 1 else 'notices'} {why}")
        self._office.by_one_way.clear()


_UNQUEUED = "the site queues no mail to this address; it may be unsubscribed (Email Unsubscribe)"
_NO_RIGHT = "the daemon's user may not create Notification Logs; `frappe-daemon setup --apply` gives it the right"


def _groups_of(waiting: Iterable[tuple[Group, int]]) -> list[Group]:
    return list({id(group): group for group, _ in waiting}.values())


def _action(notice: Notice) -> Action:
    return Action("notify", notice.subject.doctype, notice.subject.name, f"{notice.person.key}: {notice.why}")


class LeftPart(Telling):
    """What earlier runs left on its way."""

    def __init__(self, office: Office) -> None:
        super().__init__(office, "left from before")
        self._groups: list[Group] = []

    def plan(self) -> Iterator[list[Action]]:
        if self._run.dry_run:
            return self.tally.note(
                "notices are on their way from a run that was interrupted; the next one settles them"
            )
        self._held.enter_context(self._run.claim(CLAIM))
        for groups in self._ledger.left():
            self._groups = groups
            yield [_action(notice) for group in groups for notice in group.notices]
        return None

    def apply(self, actions: list[Action]) -> Iterable[Outcome]:  # noqa: ARG002 (the groups say more)
        yield from self._settle_left(self._groups)


CLAIM = "expiry notices"
"""Whoever tells has it: two jobs may have the same document to tell of."""


class TellPart(Telling):
    """What the rules of this run found due."""

    def __init__(self, office: Office) -> None:
        super().__init__(office, "notices")
        self._shelf = f"{self._run.job}|{self._run.id}|"
        self._post = Post(self._run, LETTERS, self._shelf, self._settings.per_minute)
        self._batch: list[tuple[Group, int, bool]] = []
        """Groups with their number among those of their person, and whether they are the last of these."""
        self._made = 0
        self._under_way: dict[str, Group] = {}

    def plan(self) -> Iterator[list[Action]]:
        self._check_templates()
        if self._run.dry_run:
            return
        self._held.enter_context(self._run.claim(CLAIM))
        for groups in self._ledger.left(of_all=True):  # of jobs that have another name by now, or are gone
            for outcome in self._settle_left(groups):
                self.tally.add(outcome)
        for batch in self._batches():
            self._batch = batch
            yield [_action(notice) for group, _, _ in batch for notice in group.notices]
        self._batch = []
        yield []  # what is open yet is settled

    def _check_templates(self) -> None:
        """Those of one's own, also where nothing is due."""
        settings = self._settings
        own = {settings.template, settings.bell} if settings.templates else {settings.template, settings.bell} - SHIPS
        for template in own:
            try:
                self._renderer.check(template)
            except TemplateProblem as error:
                self._complain(template, error)
                self._office.failures[template] = HOPELESS

    def _batches(self) -> Iterator[list[tuple[Group, int, bool]]]:
        batch: list[tuple[Group, int, bool]] = []
        for one in self._groups():
            batch.append(one)
            if len(batch) >= GROUPS or sum(len(group.notices) for group, _, _ in batch) >= NOTICES:
                yield batch
                batch = []
        if batch:
            yield batch

    def _groups(self) -> Iterator[tuple[Group, int, bool]]:
        """One for each person, or for each notice; several where there are very many."""
        most = LISTED if self._settings.grouped else 1
        notices: list[Notice] = []
        part = 1
        for notice in self._ledger.queued():
            another = bool(notices) and notices[0].person.key != notice.person.key
            if another or len(notices) == most:
                yield self._group(notices), part, another or most == 1
                part = 1 if another or most == 1 else part + 1
                notices = []
            notices.append(notice)
        if notices:
            yield self._group(notices), part, True

    def _group(self, notices: list[Notice]) -> Group:
        self._made += 1
        person = notices[0].person
        mark = mark_of(self._site.url, self._run.job, self._run.id, f"{person.key}|{self._made}")
        on = str(self._office.today)
        return Group(mark, self._shelf, self._run.now().isoformat(), on, person, notices)

    # At work

    def apply(self, actions: list[Action]) -> Iterable[Outcome]:
        if not actions:
            yield from self._fates(self._post.settle())
            return
        yield from self._drop_told()
        letters, quiet = list[Letter](), list[Group]()
        for group, part, last in self._batch:
            if self._office.no_mail or not self._office.mails(group.person):
                group.mail = str(self._office.no_mail or "") or group.person.no_mail or "no mail is wanted"
                quiet.append(group)
                continue
            letters.append(self._letter(group, part, last))
            self._under_way[group.mark] = group
        self._ledger.open([group for group, _, _ in self._batch])
        try:
            yield from self._fates(self._post.deliver(letters))
        except NotConfigured as error:
            quiet += self._without_mail(error)
        yield from self._finish(quiet, {})

    def _drop_told(self) -> Iterator[Outcome]:
        """Another rule, or another job meanwhile, may have told them of the same."""
        pairs = [(one.subject, one.person) for group, _, _ in self._batch for one in group.notices]
        told = self._ledger.told(pairs)
        kept = []
        for group, part, last in self._batch:
            fresh = [one for one in group.notices if not _knows(told.get(one.key, {}), one.threshold)]
            dropped = [one for one in group.notices if one not in fresh]
            yield from (Outcome(_action(one), Result.KEPT, "told meanwhile") for one in dropped)
            if fresh:
                group.notices, group.bells = fresh, [""] * len(fresh)
                kept.append((group, part, last))
        self._batch = kept

    def _without_mail(self, error: NotConfigured) -> list[Group]:
        """The site sends no mail to anybody: who has a desk is told there. Raises `error` where that will not do."""
        if not self._office.may_ring():
            raise error
        self._office.no_mail = error
        self.tally.note(f"no mail was sent: {error}")
        begun = self._post.known(list(self._under_way))  # by a request whose reply was lost
        groups = [self._under_way.pop(mark) for mark in list(self._under_way) if mark not in begun]
        for group in groups:
            group.mail = str(error)
        return groups

    def _fates(self, fates: Iterable[Fate]) -> Iterator[Outcome]:
        done: list[Group] = []
        settled: dict[str, Fate] = {}
        for fate in fates:
            group = self._under_way.pop(fate.letter.mark)
            if fate.passing and fate.result is Result.UNCERTAIN:
                self.tally.again = True
                for notice in group.notices:
                    self._office.credit(notice, fate.result)
                    yield Outcome(_action(notice), fate.result, fate.reason, fate.error, fate.who)
                continue
            self.tally.again = self.tally.again or fate.passing
            group.mail = _mail_of(fate)
            settled[group.mark] = fate
            done.append(group)
            if len(done) >= GROUPS:
                yield from self._finish(done, settled)
                done = []
        yield from self._finish(done, settled)

    def close(self) -> None:
        super().close()
        if not self._run.dry_run:
            self._ledger.clear_queue()
            prune(self._run, LETTERS, self._run.job, f"{self._office.today - KEPT_LETTERS:%Y%m%d}")


def _knows(told: Iterable[int], threshold: int) -> bool:
    return any(known <= threshold for known in told)


def _mail_of(fate: Fate) -> str:
    """For the group: "sent", "not queued", "unknown", or why there is none."""
    if fate.result in (Result.DONE, Result.KEPT):
        return "sent"
    if fate.result is Result.UNCERTAIN:
        return "unknown"
    return "not queued" if fate.error == "NotQueued" else fate.reason or "refused"
