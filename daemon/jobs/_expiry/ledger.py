"""What is known of notices: whom each document's date was told to, what is to be told in this run, and what is on its
way. Writes the state, and documents of "Expiry Notification Log" where the site has that DocType.

A notice on its way is written down whole, so that the next run finds out what became of it before anything is decided
anew. The site's ledger says the same as ours: who loses the state asks it, in one request for each page of documents.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from hashlib import sha256
from typing import Any
from urllib.parse import quote

from daemon.core.kind import Inquiry, Provision
from daemon.core.thresholds import day_of
from daemon.errors import AlreadyExists, NotFound, NotPermitted, OutcomeUnknown, SiteError, Transient
from daemon.jobs._people import Person

OWNER = "expiry"
"""Of all that is written here."""
LOG = "Expiry Notification Log"
BATCH = 200
"""Documents that the site takes in one request (frappe/client.py:insert_many)."""
TRIES = 3
KEPT = timedelta(days=400)
"""How long the ledger knows what was told of a date after no rule looks at it any more, and of a rule that is gone."""
LAST = chr(0x10FFFF)
"""Sorts behind every key."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A date of a document, or of one of its child rows."""

    doctype: str
    field: str
    """The date's, of a child table as "table.field"."""
    name: str
    expires: date
    title: str = ""
    """What people call it; its name where it has none."""
    label: str = ""
    """What people call the date."""
    row: str = ""
    """Name of the child row."""
    place: int = 0
    """Its number in its table."""

    @property
    def key(self) -> str:
        """What the ledger knows it by, but for whom it was told to. A changed date is another subject."""
        return f"ledger|{self.doctype}|{self.field}|{self.expires}|{json.dumps([self.name, self.row])}|"

    def as_json(self) -> dict[str, Any]:
        return {"doctype": self.doctype, "field": self.field, "name": self.name, "expires": str(self.expires),
                "title": self.title, "label": self.label, "row": self.row, "place": self.place}  # fmt: skip

    @classmethod
    def of_json(cls, found: Mapping[str, Any]) -> Subject:
        return cls(**{**found, "expires": date.fromisoformat(found["expires"])})


@dataclass(frozen=True, slots=True)
class Notice:
    """That a threshold of a subject was crossed, for one person."""

    subject: Subject
    threshold: int
    person: Person
    why: str = ""
    rule: str = ""
    """Name of the part that found it."""

    @property
    def key(self) -> str:
        return self.subject.key + self.person.key

    @property
    def digest(self) -> str:
        """The name of its document on the site, so that no second one can be made."""
        subject = self.subject
        parts = (subject.doctype, subject.field, subject.name, subject.row, str(subject.expires))
        return sha256("\0".join((*parts, str(self.threshold), self.person.key)).encode()).hexdigest()[:32]


Told = dict[int, str]
"""Threshold → how and when it was told."""


@dataclass(slots=True)
class Group:
    """Notices for one person that go together, on their way."""

    mark: str
    shelf: str
    """Of the mail's place in its own ledger."""
    at: str
    """When it was begun, as an aware ISO 8601 moment."""
    on: str
    """The site's day of that."""
    person: Person
    notices: list[Notice]
    mail: str = ""
    """What became of the mail: "" not known, "sent", "not queued", "unknown", else why there is none."""
    bells: list[str] = field(default_factory=list)
    """Of each notice: "" not rung, "ringing", "rung", with a document of the site's ledger "proving" and "proven",
    "perhaps" where it cannot be found out, else why it could not be rung."""
    told: bool = False
    """Our ledger has it; the site's may lack it."""

    def __post_init__(self) -> None:
        self.bells = self.bells or [""] * len(self.notices)

    def as_json(self) -> dict[str, Any]:
        notices = [
            {"subject": one.subject.as_json(), "threshold": one.threshold, "why": one.why} for one in self.notices
        ]
        facts = {"mark": self.mark, "shelf": self.shelf, "at": self.at, "on": self.on, "mail": self.mail}
        return {**facts, "bells": self.bells, "told": self.told, "person": self.person.as_json(), "notices": notices}

    @classmethod
    def of_json(cls, found: Mapping[str, Any]) -> Group:
        person = Person(**found["person"])
        notices = [
            Notice(Subject.of_json(one["subject"]), one["threshold"], person, one["why"]) for one in found["notices"]
        ]
        return cls(**{**found, "person": person, "notices": notices})

    def ways(self, number: int) -> list[str]:
        """How the notice of this number was told."""
        return ["mail"] * (self.mail in ("sent", "unknown")) + ["desk"] * (
            self.bells[number] in ("rung", "proven", "perhaps")
        )


class Ledger:
    """Of one job's run, or of somebody who asks."""

    def __init__(self, run: Inquiry) -> None:
        self._run, self._site = run, run.site
        self._journal = run.journal(OWNER)
        self._on_site: bool | None = None
        self._may_write: bool | None = None
        self.notes: list[str] = []
        """Why the site's ledger is not used, where it could be."""

    # Whom what was told to

    def told(self, pairs: Iterable[tuple[Subject, Person]]) -> dict[str, Told]:
        """Key → what our own ledger has."""
        keys = [subject.key + person.key for subject, person in pairs]
        found: dict[str, Told] = {}
        for start in range(0, len(keys), 500):
            entries = self._journal.pick(keys[start : start + 500])
            found |= {key: _told(entry) for key, entry in entries.items()}
        return found

    def told_on_site(self, subjects: Iterable[Subject]) -> dict[str, Told]:
        """Key → what the site's ledger has of these subjects, in one request for each two hundred documents."""
        found: dict[str, Told] = defaultdict(dict)
        if not self.on_site:
            return found
        alike: dict[tuple[str, str], list[Subject]] = defaultdict(list)
        for subject in subjects:
            alike[subject.doctype, subject.field].append(subject)
        try:
            for group in alike.values():
                for start in range(0, len(group), BATCH):
                    for row in self._rows(group[start : start + BATCH]):
                        key, threshold, how = _of_row(row, group[0])
                        found[key][threshold] = how
        except NotPermitted as error:
            self._on_site = False
            self.notes.append(f"the site's {LOG} could not be read, so that what is known here alone counts: {error}")
        return found

    def _rows(self, subjects: Sequence[Subject]) -> list[dict[str, Any]]:
        names = sorted({subject.name for subject in subjects})
        where: list[list[Any]] = [
            ["reference_doctype", "=", subjects[0].doctype],
            ["date_field", "=", subjects[0].field],
            ["reference_name", "in", names],
            ["expiry_date", "in", sorted({str(subject.expires) for subject in subjects})],
        ]
        fields = ["reference_name", "row_name", "expiry_date", "days_before", "recipient", "sent_on", "sent_by"]
        return self._site.get_list(LOG, fields, where)

    def learn(self, found: Mapping[str, Told]) -> None:
        """Write down here what only the site knew."""
        there = self._journal.pick(list(found)) if found else {}
        merged = {
            key: {**{str(t): how for t, how in told.items()}, **there.get(key, {})} for key, told in found.items()
        }
        if merged:
            self._journal.write(merged)

    @property
    def on_site(self) -> bool:
        """The site has the DocType, with our fields."""
        if self._on_site is None:
            try:
                meta = self._site.meta(LOG)
            except NotFound:
                self._on_site = False
            else:
                lacking = [one["fieldname"] for one in _FIELDS if meta.field(one["fieldname"]) is None]
                self._on_site = not lacking
                if lacking:
                    what = f"the site's {LOG} was made by somebody else and lacks {', '.join(lacking)}"
                    self.notes.append(f"{what}; what was sent is written down here alone")
        return self._on_site

    @property
    def proves(self) -> bool:
        """This user may write it, so that a document of it can go with what is told."""
        if self._may_write is None:
            user = self._site.user()
            self._may_write = self.on_site and (
                user == "Administrator" or self._site.meta(LOG).grants("create", self._site.roles(user))
            )
        return self._may_write and self.on_site

    def there(self, notices: Sequence[Notice]) -> set[str] | None:
        """Digests of those that the site's ledger has; None: this user may not see it."""
        names, found = [one.digest for one in notices], set[str]()
        try:
            for start in range(0, len(names), BATCH):
                where = [["name", "in", names[start : start + BATCH]]]
                found |= {str(row["name"]) for row in self._site.get_list(LOG, ["name"], where)}
        except NotPermitted:
            return None
        return found

    # What this run is to tell

    def clear_queue(self) -> None:
        self._journal.forget(f"queue|{self._run.job}|", LAST)

    def queue(self, notices: Sequence[Notice]) -> None:
        """To be told at the end of this run, sorted by person and date. Where two rules find the same due, the tighter
        threshold counts."""
        entries: dict[str, dict[str, Any]] = {}
        for one in notices:
            subject = one.subject
            about = json.dumps([subject.doctype, subject.field, subject.name, subject.row])
            key = f"queue|{self._run.job}|{quote(one.person.key, safe='')}|{subject.expires}|{about}"
            entries[key] = {
                "subject": subject.as_json(), "threshold": one.threshold, "why": one.why, "rule": one.rule,
                "person": one.person.as_json(),
            }  # fmt: skip
        there = self._journal.pick(list(entries)) if entries else {}
        tighter = {key: one for key, one in there.items() if one["threshold"] < entries[key]["threshold"]}
        if entries:
            self._journal.write(entries | tighter)

    def queued(self) -> Iterator[Notice]:
        """Person by person, the soonest date first."""
        after = ""
        while page := self._journal.page(f"queue|{self._run.job}|", after, 500):
            after = list(page)[-1]
            for one in page.values():
                person = Person(**one["person"])
                yield Notice(Subject.of_json(one["subject"]), one["threshold"], person, one["why"], one.get("rule", ""))

    # What is on its way

    def open(self, groups: Sequence[Group]) -> None:
        """Write down how far these are."""
        if groups:
            self._journal.write({self._open_key(one): one.as_json() for one in groups})

    def left(self, *, of_all: bool = False) -> Iterator[list[Group]]:
        """What earlier runs of this job left on its way, some at a time; `of_all`: of any job, whatever it is called
        by now. That is for who holds the claim: then nobody else is at work on these."""
        after = ""
        while page := self._journal.page("open|" if of_all else f"open|{self._run.job}|", after, 20):
            after = list(page)[-1]
            yield [Group.of_json(entry) for entry in page.values()]

    def settle(self, groups: Sequence[Group]) -> None:
        """In one step: what was told is in our ledger, and these groups say so. What nobody was told is forgotten."""
        for group in groups:
            group.told = True
        entries: dict[str, Any] = {self._open_key(group): group.as_json() for group in groups}
        fresh = {one.key: {str(one.threshold): _how(on, ways)} for one, ways, on in _told_in(groups)}
        there: dict[str, Any] = {}
        keys = list(fresh)
        for start in range(0, len(keys), 500):
            there |= self._journal.pick(keys[start : start + 500])
        entries |= {key: {**there.get(key, {}), **entry} for key, entry in fresh.items()}
        self._journal.write(entries)

    def tell_site(self, groups: Sequence[Group]) -> None:
        """The same in the site's ledger, as far as it can be; then these groups are no longer on their way.

        Raises Transient, OutcomeUnknown, after which the next run does it.
        """
        if self.on_site:
            docs = [document(*told) for told in _told_in(groups, proven=False)]
            for start in range(0, len(docs), BATCH):
                try:
                    self._insert(docs[start : start + BATCH])
                except (Transient, OutcomeUnknown):
                    raise
                except SiteError as error:
                    self._on_site = False
                    self.notes.append(f"the site's {LOG} could not be written: {error}")
                    break
        self.close(groups)

    def close(self, groups: Sequence[Group]) -> None:
        self._journal.write({self._open_key(group): None for group in groups})

    def _insert(self, docs: list[dict[str, Any]]) -> None:
        """All of them, unless they are there: their names are made of what they say."""
        for attempt in range(TRIES):
            try:
                self._site.insert_many(docs)
            except (AlreadyExists, OutcomeUnknown):
                if attempt == TRIES - 1:
                    raise
                names = [doc["notice_key"] for doc in docs]
                there = {row["name"] for row in self._site.get_list(LOG, ["name"], [["name", "in", names]])}
                docs = [doc for doc in docs if doc["notice_key"] not in there]
            else:
                return

    def _open_key(self, group: Group) -> str:
        return f"open|{group.shelf.partition('|')[0]}|{group.mark}"

    # What nobody looks at any more

    def look_from(self, rule: tuple[str, str, str], first: date, today: date) -> None:
        """A rule (DocType, date field, its name) has run through that looks at dates from `first` on."""
        doctype, field, rest = rule
        entry = {"first": str(first), "on": str(today)}
        self._journal.write({f"first|{doctype}|{field}|{self._run.job}|{rest}": entry})

    def prune(self, doctype: str, field: str, today: date) -> int:
        """Forget what was told of dates that no rule of any job has looked at for `KEPT`."""
        rules = self._journal.read(f"first|{doctype}|{field}|").values()
        seen = [day_of(one["first"]) or today for one in rules if (day_of(one["on"]) or today) > today - KEPT]
        return (
            self._journal.forget(f"ledger|{doctype}|{field}|", str(min(seen, default=date.min) - KEPT)) if seen else 0
        )


def _told(entry: Mapping[str, str]) -> Told:
    return {int(threshold): how for threshold, how in entry.items()}


def _told_in(groups: Iterable[Group], *, proven: bool = True) -> Iterator[tuple[Notice, list[str], str]]:
    """Notices that were told, or are not to be tried again, with how and when; `proven` False: without those that the
    site's ledger has."""
    for group in groups:
        for number, notice in enumerate(group.notices):
            if group.bells[number] == "proven" and not proven:
                continue
            ways = group.ways(number)
            if ways or group.mail == "not queued":
                yield notice, ways, group.on


def _how(on: Any, ways: Sequence[str]) -> str:
    return f"on {on} by {' and '.join(ways)}" if ways else f"on {on}, but the site mails nothing to this address"


def _of_row(row: Mapping[str, Any], like: Subject) -> tuple[str, int, str]:
    """(key, threshold, how) of a document of the site's ledger."""
    expires = day_of(row.get("expiry_date")) or date.min
    subject = Subject(like.doctype, like.field, str(row["reference_name"]), expires, row=str(row.get("row_name") or ""))
    how = _how(row.get("sent_on"), str(row.get("sent_by") or "mail").split(", "))
    return subject.key + str(row.get("recipient") or ""), int(row.get("days_before") or 0), how


def document(notice: Notice, ways: Sequence[str], on: str) -> dict[str, Any]:
    subject = notice.subject
    about = {"reference_doctype": subject.doctype, "reference_name": subject.name, "row_name": subject.row}
    dated = {"date_field": subject.field, "expiry_date": str(subject.expires), "days_before": notice.threshold}
    sent = {"recipient": notice.person.key, "sent_on": on, "sent_by": ", ".join(ways) or "nothing"}
    return {"doctype": LOG, "notice_key": notice.digest, **about, **dated, **sent}


def _field(name: str, kind: str, **more: Any) -> dict[str, Any]:
    return {"fieldname": name, "fieldtype": kind, "label": name.replace("_", " ").capitalize(), "read_only": 1, **more}


_FIELDS = [
    _field("reference_doctype", "Data", in_list_view=1, in_standard_filter=1),
    # no Link: what links to a document keeps people from deleting it
    _field("reference_name", "Data", in_list_view=1, in_standard_filter=1, search_index=1),
    _field("row_name", "Data"),
    _field("days_before", "Int", in_list_view=1),
    _field("recipient", "Data", in_list_view=1, in_standard_filter=1),
    _field("date_field", "Data"),
    _field("expiry_date", "Date"),
    _field("sent_on", "Date"),
    _field("sent_by", "Data"),
    _field("notice_key", "Data", unique=1, hidden=1),
]

PROVISION = Provision(
    "DocType",
    LOG,
    {
        "name": LOG,
        "module": "Custom",
        "custom": 1,
        "naming_rule": "By fieldname",
        "autoname": "field:notice_key",
        "track_changes": 0,
        "description": "Whom frappe-daemon has told of which date; what is here is not told again.",
        "fields": _FIELDS,
        "permissions": [
            {"role": "System Manager", **dict.fromkeys(("read", "create", "delete", "report", "export"), 1)}
        ],
    },
    "by which nobody is told twice where the daemon's own state was lost",
)
