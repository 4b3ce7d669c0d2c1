"""Two-way sync: documents of a DocType and records of another JSON API, each the twin of the other.

    [jobs.orders]
    kind = "sync"
    schedule = { pull = "hourly", push = "*/15 * * * *" }

    [jobs.orders.site]
    doctype = "Sales Order"
    filters = [["docstatus", "=", 1]]
    id_field = "custom_external_id"

    [jobs.orders.api]
    url = "https://api.example.com/v1"
    …

    [[jobs.orders.fields]]
    site = "customer"
    remote = "customer"

What lists show to have changed is written down as links first (daemon.jobs._sync.gather), so that a cursor moves over
nothing that could be lost; then pair after pair is settled (daemon.jobs._sync.settle): both sides are compared with
what they held when they last agreed, and each is told what the other changed. Deletions come last, once counted.

Reads: lists, documents and records that changed. Writes: documents with their `modified`, records with their ETag where
there is one, the fields for the external id, the pending flag and the stamp. Never: a twin twice, a change that nobody
here has seen, a document or record that is not in the sync.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import Field, model_validator

from daemon.core.agreed import Base, Side
from daemon.core.api import ApiSettings
from daemon.core.kind import DialectPort, Inquiry, JournalPort, Need, Part, Provision, RemotePort, Run, SitePort, Source
from daemon.core.links import PULL, PUSH, LinksPort, Status
from daemon.core.mapping import FieldMap, Fields, compiled, meanings
from daemon.core.plan import Action, Census, Guard, Outcome
from daemon.core.reconcile import Policy, still_agreed
from daemon.core.settings import Conditions, Duration, FieldName, JobSettings, Model, PositiveDuration
from daemon.errors import AlreadyRunning, SyncStopped, UsageError
from daemon.jobs._sync.books import Books
from daemon.jobs._sync.gather import Gatherer
from daemon.jobs._sync.pairs import Pairs
from daemon.jobs._sync.parting import Parting
from daemon.jobs._sync.settle import Settler

DIRECTIONS = ("pull", "push")
"""Each may have a schedule of its own: schedule = { pull = "…", push = "…" }."""
FEW = 20
"""Pairs below which "everything changed" and "too many deleted" mean nothing."""
LONGEST_WAIT = 15.0
"""Seconds between looks whether the run of the other direction has ended."""
WINDOW = timedelta(days=1)
"""In which deletions are added up."""


class SiteSide(Model):
    """Documents."""

    doctype: str
    """Whose documents."""
    filters: Conditions = Field(default_factory=list)
    """Which documents are pushed, new ones and changes. A twin takes what its record changes in any case, and one that
    was cancelled is still pushed, for what its cancelling changes."""
    id_field: FieldName
    """A unique field for the record's id: by it a document is found again."""
    pending_field: FieldName | Literal[""] = ""
    """A Check: a document gets a twin only while it is set. Cleared once that is done."""
    synced_field: FieldName | Literal[""] = ""
    """A Datetime: when both sides last agreed."""
    submit: bool = False
    """Submit documents that were made for a record."""
    cancelled: Literal["keep", "propagate"] = "keep"
    """`propagate`: a document that is cancelled, and not amended, counts as deleted."""


class Deleted(Model):
    """What it means for the twin that a document (`site`) or a record (`remote`) was deleted."""

    site: Literal["propagate", "unlink", "ignore"] = "unlink"
    """`unlink`: the record lives on by itself; `propagate`: it is deleted; `ignore`: the document is made anew."""
    remote: Literal["propagate", "unlink", "ignore"] = "unlink"
    """`unlink`: the document lives on by itself; `propagate`: a draft is deleted, a submitted document cancelled;
    `ignore`: the record is made anew."""


class Canary(Model):
    """A pair that must be there, or something is wrong with one of the sides as a whole."""

    site: str
    """The name of a document."""
    remote: str
    """The id of its record."""


class Schedules(Model):
    """One for each direction."""

    pull: str
    """When the site is told."""
    push: str
    """When the API is told."""


class Settings(JobSettings):
    """A sync job."""

    schedule: str | Schedules  # type: ignore[assignment] # wider than that of other kinds; frozen, so that it is safe
    site: SiteSide
    api: ApiSettings
    fields: Annotated[list[FieldMap], Field(min_length=1)]
    direction: Literal["both", "pull", "push"] = "both"
    """Which side is told of the other's changes."""
    create: list[Side] = Field(default=["site", "remote"])
    """Sides on which a twin that is missing is made."""
    on_conflict: Policy = "hold"
    """Whose value is kept where both changed the same field; `hold`: nothing is written until a person decides;
    `newest`: by the stamps of both."""
    deleted: Deleted = Deleted()
    lag: PositiveDuration = timedelta(minutes=30)
    """How far behind the newest change lists are read again: a change is visible only once its transaction ends."""
    full_every: Duration = timedelta(days=7)
    """How often everything is compared, for what no stamp shows. "0s": never."""
    max_delete: Annotated[float, Field(gt=0, le=100)] = 25.0
    """Percent of the pairs that an earlier full comparison knew; more deletions within a day stop the job."""
    max_change: Annotated[float, Field(gt=0, le=100)] = 50.0
    """Percent of all pairs; more changes at once stop the job, and so do new twins in more than twice the number of
    pairs."""
    canary: Canary | None = None
    give_up: Annotated[int, Field(ge=1, le=100)] = 8
    """Failures after which a pair waits for a person."""

    @model_validator(mode="after")
    def _can_do_it(self) -> Self:
        self._refuse_doubles()
        flows = {spec.flow for spec in self.fields if spec.constant is None}
        for way in DIRECTIONS:
            if self.direction == way and flows and flows == {"push" if way == "pull" else "pull"}:
                raise ValueError(f'direction = "{way}", but no field goes that way')
        record = self.api.record
        if record.update and record.update.method == "PUT" and record.read is None:
            raise ValueError("api.record.update is a PUT, which replaces what is there, so api.record.read is needed")
        if isinstance(self.schedule, Schedules) and self.direction != "both":
            raise ValueError(f'direction = "{self.direction}" has one schedule')
        return self

    def _refuse_doubles(self) -> None:
        own = [self.site.id_field, self.site.pending_field, self.site.synced_field]
        for side, paths in (
            ("site", [*filter(None, own), *(spec.site for spec in self.fields if spec.site)]),
            ("remote", [self.api.record.id, *(spec.remote for spec in self.fields if spec.remote)]),
        ):
            if twice := next((path for path in paths if paths.count(path) > 1), None):
                raise ValueError(f"two fields are mapped to {twice} of the {side}, and one would undo the other")

    @property
    def fingerprint(self) -> str:
        """Of all that decides what is paired and compared."""
        names: Any = {"site": {"doctype", "filters", "id_field"}, "api": {"url", "list", "record"}, "fields": True}
        dumped = self.model_dump(mode="json", include=names)
        return hashlib.sha256(json.dumps(dumped, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def meanings(self) -> dict[str, str]:
        """Of each field, and under "" of what makes all of them those of other pairs."""
        return {"": f"{self.site.doctype} {self.api.url} {self.api.record.id}", **meanings(self.fields)}


def needs(settings: Settings, dialect: DialectPort) -> Iterable[Need]:  # noqa: ARG001 (every kind is asked so)
    """The DocType, the fields that the sync writes for itself, and the rights."""
    site, ways = settings.site, settings.direction
    own = [name for name in (site.id_field, site.pending_field, site.synced_field) if name]
    mapped = [spec.site for spec in settings.fields if spec.site]
    rights = ["read", "write"]
    if ways != "push" and "site" in settings.create:
        rights += ["create", *(["submit"] if site.submit else [])]
    if settings.deleted.remote == "propagate":
        rights += ["delete", "cancel"]
    pulled = [spec.site for spec in settings.fields if spec.site.startswith("custom_") and spec.flow == "pull"]
    why = "to tell documents what their records say, and the other way round"
    yield Need(site.doctype, (*own, *mapped), (), tuple(rights), made=(*own, *pulled), why=why)
    lacking = "deletions wait for the next full comparison"
    fields = ("deleted_doctype", "deleted_name")
    yield Need("Deleted Document", fields, why="to hear of deletions at once", lacking=lacking)


def sources(settings: Settings) -> Iterable[Source]:
    """The API, and what its records tell the site."""
    yield Source(settings.api, tuple(spec.remote for spec in settings.fields if spec.remote and spec.flow != "push"))


def provisions(settings: Settings, site: SitePort) -> Iterable[Provision]:  # noqa: ARG001 (every kind is asked so)
    """The fields that the sync writes for itself. They may change after submit, and no amendment copies them."""
    side = settings.site
    common = {"dt": side.doctype, "no_copy": 1, "allow_on_submit": 1, "read_only": 1}
    wanted: list[tuple[str, dict[str, Any], str]] = [
        (side.id_field, {"fieldtype": "Data", "unique": 1}, "for the id of the record that is a document's twin"),
        (side.pending_field, {"fieldtype": "Check", "read_only": 0}, "set where a document is to be sent"),
        (side.synced_field, {"fieldtype": "Datetime"}, "for when a document and its twin last agreed"),
    ]
    wanted += [
        (spec.site, {"fieldtype": "Data"}, f"for {spec.remote} of the record")
        for spec in settings.fields
        if spec.site.startswith("custom_") and spec.flow == "pull"
    ]
    for name, facts, why in wanted:
        if name:
            label = name.removeprefix("custom_").replace("_", " ").title()
            values = {**common, "fieldname": name, "label": label, **facts}
            later = {"default": "1"} if name == side.pending_field else {}  # of new documents, and not of old ones
            yield Provision("Custom Field", f"{side.doctype}-{name}", values, why, later)


def parts(run: Run, settings: Settings) -> Iterable[Part]:
    """What changed; and, once that is known, what was deleted."""
    sync = Sync(run, settings)
    changes = Changes(sync)
    yield changes
    if changes.tally.error is None and sync.links.counts().get(Status.GONE):
        yield Deletions(sync)


def explain(inquiry: Inquiry, settings: Settings, words: Sequence[str]) -> list[dict[str, str]]:  # noqa: ARG001 (as needs)
    """Of one pair (`words`: the name of the document or the id of the record): how it stands, and what became of it the
    last time. Raises UsageError where nothing is known of it."""
    if len(words) != 1:
        raise UsageError("a sync is asked about one pair: the name of its document, or the id of its record")
    found = inquiry.links(f"sync {inquiry.section}").find(words[0])
    if not found:
        raise UsageError(
            f"{inquiry.section} knows no document or record {words[0]}: no list showed it, or the filters leave it out",
            action=f"`frappe-daemon sync {inquiry.section} --full --dry-run` looks at everything.",
        )
    return [
        {
            "about": f"{link.name or 'no document'} ↔ {link.remote or 'no record'}",
            "state": f"{link.status}{', waits for the next run' if link.todo else ''}",
            "why": (f"{link.why} (run {link.run})" if link.run else "not worked on yet")
            + f"; `frappe-daemon relink {inquiry.section} {words[0]}` pairs it again" * (link.status == Status.ENDED),
        }
        for link in found
    ]


class Memory:
    """What a sync remembers beside its links; a dry run forgets what it learns."""

    def __init__(self, journal: JournalPort, dry_run: bool) -> None:
        self._journal, self._dry_run = journal, dry_run
        self._own: dict[str, Any] = {}

    def get(self, key: str) -> Any:
        return self._own[key] if key in self._own else self._journal.read(key).get(key)

    def put(self, **values: Any) -> None:
        self._own.update(values)
        if not self._dry_run:
            self._journal.write(values)


class Sync:
    """What both parts of a run work with."""

    def __init__(self, run: Run, settings: Settings) -> None:
        self.run, self.settings = run, settings
        self.name = f"sync {run.section}"
        self.memory = Memory(run.journal(self.name), run.dry_run)
        ways = run.direction or settings.direction
        self.ways = PULL | PUSH if ways == "both" else PULL if ways == "pull" else PUSH
        self.links: LinksPort
        self.known: dict[str, int] = {}
        """Side → pairs that an earlier full listing of it has seen."""
        self.remote: RemotePort
        self.fields: Fields
        self.pairs: Pairs
        self.settler: Settler | None = None
        self.parting: Parting

    @property
    def fingerprint(self) -> str:
        """Of what both sides are, and what is compared."""
        return f"{self.settings.fingerprint} {self.run.site.url}"

    @property
    def release(self) -> str:
        return f"Look at both sides; if all is right, `frappe-daemon sync {self.run.section} --release` goes on."

    def lock(self, why: str) -> None:
        """Raises SyncStopped, now and in each run until it is released."""
        self.memory.put(lock={"at": self.run.now().isoformat(), "why": why})
        raise SyncStopped(why, action=self.release)

    def begin(self) -> None:
        """Be the only run of either direction, and know what fields there are. Raises Stopped."""
        wait = 1.0
        while True:
            try:
                self.run.hold(self.run.claim(self.name))
                break
            except AlreadyRunning:
                self.run.pause(wait)
                wait = min(2 * wait, LONGEST_WAIT)
        self.links = self.run.links(self.name)
        self.known = {side: self.links.count_known(side) for side in get_args(Side)}
        self.remote = self.run.remote(self.settings.api)
        site, side = self.run.site, self.settings.site
        doctype = site.meta(side.doctype)
        self.fields = compiled(self.settings.fields, doctype, site.zone)
        own = doctype.field(side.id_field)
        if own is None or not own.unique:
            what = "has no field" if own is None else "does not keep unique the field"
            message = f"{doctype.name} {what} {side.id_field}, by which a record's document is found again"
            raise SyncStopped(message, action="Run `frappe-daemon setup --apply`, or make the field unique.")
        run, settings, links, remote, fields, ways = (
            self.run, self.settings, self.links, self.remote, self.fields, self.ways,
        )  # fmt: skip
        books = Books(run, links, doctype.name, settings.give_up)
        self.pairs = pairs = Pairs(run, settings, links, remote, fields, doctype, ways)
        forgetful = self.memory.get("full site") is None
        self.settler = Settler(run, settings, pairs, books, links, remote, fields, doctype, ways, forgetful=forgetful)
        self.parting = Parting(run, settings, pairs, books, remote, fields, ways)

    def still_agreed(self, base: Base | None) -> Base | None:
        """What of `base` means the same by the mapping of today."""
        before, now = self.memory.get("meanings") or {}, self.settings.meanings
        return still_agreed(base, before, now) if before.get("") == now[""] else None


class Changes(Part):
    """Gathers, then settles pair after pair."""

    guard = Guard(max_percent=100.0)
    """What would be unsafe stops the job before this is asked."""

    def __init__(self, sync: Sync) -> None:
        super().__init__(sync.run.section)
        self._sync = sync

    def census(self) -> Census:
        sync = self._sync
        sync.begin()
        self._may_go_on()
        gatherer = Gatherer(sync, self.tally)
        gatherer.gather()
        self._looks_sane(gatherer)
        waiting = sync.links.count_waiting(sync.ways, sync.run.now())
        total = sum(sync.links.counts().values())
        sync.memory.put(lock=None, fingerprint=sync.fingerprint, meanings=sync.settings.meanings)
        self._remind()
        return Census(total, waiting, waiting)

    def _may_go_on(self) -> None:
        """Raises SyncStopped where a person must look first."""
        memory, settings = self._sync.memory, self._sync.settings
        wish = self._sync.run.wish
        known = memory.get("fingerprint")
        if known not in (None, self._sync.fingerprint) and not wish.get("resync"):
            raise SyncStopped(
                "the mapping, a filter or an address was changed since the last run, so that what both sides agreed "
                "upon may mean something else now",
                action=f"If it was meant: `frappe-daemon sync {self._sync.run.section} --resync` compares everything.",
            )
        lock = memory.get("lock")
        if lock and not wish.get("release"):
            raise SyncStopped(f"stopped since {lock['at'][:16]}: {lock['why']}", action=self._sync.release)
        if settings.canary and not wish.get("release"):
            self._check_canary(settings.canary)

    def _check_canary(self, canary: Canary) -> None:
        sync = self._sync
        if not sync.run.site.present(sync.settings.site.doctype, [canary.site], []):
            sync.lock(f"the canary is missing: {sync.settings.site.doctype} {canary.site}")
        if sync.remote.read(canary.remote) is None:
            sync.lock(f"the canary is missing: record {canary.remote} of {sync.settings.api.host}")

    def _looks_sane(self, gatherer: Gatherer) -> None:
        """Raises SyncStopped where what the lists show looks like another site, another API, or an accident."""
        sync = self._sync
        if sync.run.wish.get("release"):
            return
        linked = sync.links.counts().get(Status.LINKED, 0)
        for side, number in gatherer.full.items():
            if number == 0 and linked > 1:
                sync.lock(f"the {side} is suddenly empty, but {linked:,} pairs are known")
        changed = sync.links.count_changed()
        if linked >= FEW and changed * 100 > linked * sync.settings.max_change and not gatherer.resync:
            bound = f"max_change = {sync.settings.max_change:g} %"
            sync.lock(f"{changed:,} of {linked:,} pairs changed at once, more than {bound}")
        for side, new in gatherer.new.items():
            if linked >= FEW and new > 2 * linked and side in gatherer.known_before:
                sync.lock(f"the {side} has {new:,} at once that are new, but {linked:,} pairs are known")

    def _remind(self) -> None:
        """Pairs that wait for a person are told in each report."""
        counts = self._sync.links.counts()
        listed = f"`frappe-daemon conflicts {self._sync.run.section}` lists them"
        for status, what in (
            (Status.CONFLICT, f"in conflict; {listed}"),
            (Status.HELD, f"held after failures; {listed}"),
            (Status.FAILED, "failed before and wait to be tried again"),
        ):
            if counts.get(status):
                self.tally.note(f"{counts[status]:,} {what}")

    def plan(self) -> Iterator[list[Action]]:
        for page in self._sync.links.waiting(self._sync.ways, self._sync.run.now()):
            yield self._sync.pairs.page(page)

    def apply(self, actions: list[Action]) -> Iterable[Outcome]:
        assert self._sync.settler
        return self._sync.settler.settle(actions)

    foresee = apply
    """A pair is decided where it would be told, and a dry run ends there."""


class Deletions(Part):
    """What was deleted on one side, and what this means for the other."""

    guard = Guard(max_percent=100.0)

    def __init__(self, sync: Sync) -> None:
        super().__init__(f"{sync.run.section}: deleted")
        self._sync = sync

    def census(self) -> Census:
        """Each side by itself, and by what an earlier full comparison of it knew: pairs that came since, perhaps from
        elsewhere, make nothing safer. What went within a day counts together, so that small steps are one large one."""
        sync, allowed, lately = self._sync, self._sync.settings.max_delete, self._lately()
        gone = Counter(link.detail.get("gone") for page in sync.links.in_status(Status.GONE) for link in page)
        for side, number in gone.items():
            lost, known = number + lately, sync.known.get(str(side), 0) + lately
            if known >= FEW and lost * 100 > known * allowed and not sync.run.wish.get("release"):
                before = f", {lately:,} of them within a day before" if lately else ""
                bound = f"{100 * lost / known:.0f} %, more than max_delete = {allowed:g}"
                sync.lock(f"{lost:,} of {known:,} pairs lost the {side}'s half{before}: {bound}")
        return Census(max(sum(sync.known.values()), gone.total()), gone.total(), gone.total())

    def _lately(self) -> int:
        """Deletions that were propagated within a day."""
        since = (self._sync.run.now() - WINDOW).isoformat()
        return sum(number for at, number in self._sync.memory.get("deleted") or () if at > since)

    def close(self) -> None:
        sync, done = self._sync, self.tally.counts["done"]
        if done:
            since = (sync.run.now() - WINDOW).isoformat()
            kept = [entry for entry in sync.memory.get("deleted") or () if entry[0] > since]
            sync.memory.put(deleted=[*kept, [sync.run.now().isoformat(), done]])

    def plan(self) -> Iterator[list[Action]]:
        for page in self._sync.links.in_status(Status.GONE):
            yield self._sync.pairs.page(page)

    def apply(self, actions: list[Action]) -> Iterable[Outcome]:
        return self._sync.parting.settle(actions)

    foresee = apply
