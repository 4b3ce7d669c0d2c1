"""One batch of drafts → the site, and what became of each. Knows nothing of files, results or progress.

A batch is looked up by key, written down, sent, and looked up again wherever a reply was lost, in this process or in
one that was killed. `insert_many` is all or nothing, so a batch that the site refuses is asked for again in pieces,
until the rows that it will not have stand alone with the site's own words. An error that ends the import leaves behind
what is known by then, so that the next run neither doubts nor repeats it.

Threads may share a `Loader`; each batch is settled by one. What they share beyond it are an estimate and a memory of
names, where one that overtakes another does no harm.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Any

from daemon.core.batches import Pace, suspects
from daemon.core.kind import NotesPort, Run
from daemon.core.rows import Draft, difference, for_insert, for_update, merged, unknown_rows
from daemon.errors import (
    AlreadyExists,
    DaemonError,
    Invalid,
    NotConfigured,
    NotFound,
    NothingCreated,
    NotPermitted,
    OutcomeUnknown,
    ServerBug,
    StaleDocument,
    StateError,
    UsageError,
)
from daemon.jobs._import.batch import Batch, Fate, Target, Wish, Work
from daemon.jobs._import.checks import Checks
from daemon.jobs._import.known import Finder
from daemon.jobs._import.trail import Trail

SETTLES = 130.0
"""Seconds after which a request whose reply was lost is over: the site's server ends it at 120 (gunicorn `-t`)."""
ALIKE, ENOUGH = 3, 10
"""Rows refused for one reason, and none created, after which the others of the batch are asked for singly; and how many
a batch must hold to stand for the whole file."""
ROUNDS = 5
"""How often what is not there is sent again after replies that were lost one after the other."""
REFUSALS = (Invalid, AlreadyExists, StaleDocument, NotFound, NotPermitted, NotConfigured, ServerBug, UsageError)
"""What the site, or the client for its sake, says of rows; anything else is about the site and ends the import."""
COMMITTING = frozenset({"DocType", "Custom Field", "Property Setter", "Workflow", "Accounting Dimension",
                        "Inventory Dimension"})  # fmt: skip
"""DocTypes that change tables, by which MariaDB commits what came before: insert_many of them undoes nothing."""


class Loader:
    """Settles batches of one import."""

    def __init__(
        self, run: Run, target: Target, wish: Wish, journal: NotesPort, mark: str, trail: Trail, *, begun: bool = False
    ) -> None:
        """`mark` begins the keys that are made up. `begun`: an earlier run created or updated something."""
        self._run, self._journal, self._wish, self._mark, self._begun = run, journal, wish, mark, begun
        self._trail = trail
        self._site, self._doctype, self._layout, self._key = target.site, target.doctype, target.layout, target.key
        self._finder, self._checks = Finder(target, updates=wish.update_existing), Checks(target)
        self._singly = target.doctype.name in COMMITTING or not target.doctype.transactional
        self._hopeless: NothingCreated | None = None
        self.pace = Pace()

    def settle(self, batch: Batch) -> tuple[Batch, list[Fate]]:
        """Do all that the batch asks for; in a dry run, look what would be done. Raises what ends the whole import."""
        work = Work(batch)
        self._look_up(work)
        self._sort(work)
        self._checks.check(work)
        if self._run.dry_run:
            self._foresee(work)
        else:
            self._send(work)
            self._trail.settled(work)
        return batch, [work.fates[place] for place in range(len(batch.drafts))]

    def _foresee(self, work: Work) -> None:
        drafts = work.batch.drafts
        for place in work.docs:
            submitted = " and submitted" * self._wish.submit
            work.fates[place] = Fate(drafts[place], "created", reason=f"would be created{submitted}")
        for place, (existing, diff) in work.changes.items():
            why = f"would be updated: {', '.join(diff)}"
            work.fates[place] = Fate(drafts[place], "updated", existing["name"], why)

    def _send(self, work: Work) -> None:
        try:
            if work.docs or work.changes:
                work.begin()
                self._write_down(work, sorted(work.docs))
            if work.docs:
                self._trail.creating(work)
                self._create_all(work)
            self._submit(work)
            self._update(work)
            self._give_up_where_all_failed(work)
        except DaemonError as error:
            self._keep_what_is_known(work, error)
            with suppress(DaemonError):  # the first error is what counts
                self._trail.settled(work)
            raise

    def _write_down(self, work: Work, asked: list[int] | None) -> None:
        """Before anything is sent: what is known, and which rows are `asked` for now; None: all that are not known."""
        sent = self._run.now().isoformat(timespec="seconds")
        self._journal.write({work.batch.place: work.note(sent, asked)})

    def _keep_what_is_known(self, work: Work, error: DaemonError) -> None:
        """The import ends here. Where nothing was done and nothing is open, there is nothing to look up later."""
        if isinstance(error, StateError):
            return
        certain = not isinstance(error, OutcomeUnknown) and not work.unsure
        known = any(fate.result in ("created", "updated", "uncertain") for fate in work.fates.values())
        if certain and not known and work.batch.entry is None:
            self._journal.write({work.batch.place: None})
        elif work.facts:
            self._write_down(work, [] if certain else None)

    # What each row asks for

    def _look_up(self, work: Work) -> None:
        """Find the documents that the drafts of a batch name by key; a made up key is looked up after a crash alone."""
        key, drafts = self._key, work.batch.drafts
        for place, draft in enumerate(drafts):
            if place in work.fates:
                continue
            if draft.problems:
                work.fail(place, "; ".join(map(str, draft.problems)))
            elif key and key.made:
                draft.doc[key.field] = f"{self._mark}-{work.batch.first + place}"
            elif key and (why := self._finder.refusal(draft)):
                work.fail(place, f"line {draft.line}: {why}")
        if key and (not key.made or work.batch.entry is not None):
            places = [place for place in range(len(drafts)) if place not in work.fates]
            work.known = self._finder.find(work, places, whole=work.batch.entry is not None)

    def _sort(self, work: Work) -> None:
        before, read = set(work.facts.get("existing", ())), work.facts.get("updates", {})
        for place, draft in enumerate(work.batch.drafts):
            if place in work.fates:
                continue
            docs, new = work.known.get(place), work.batch.entry is not None and place not in before
            if not docs:
                self._sort_new(work, place, draft)
                continue
            fate = self._finder.created(work, place, docs) if new else None
            if fate and (fate.result == "created" or place in work.open):
                work.fates[place] = fate
            else:
                self._sort_known(work, place, docs, read.get(str(place)), appeared=new and place in work.open)

    def _sort_new(self, work: Work, place: int, draft: Draft) -> None:
        if place in work.open and self._key is None:
            sent = work.batch.entry and work.batch.entry.get("sent")
            why = f"sent at {sent} without a reply, and there is no key to look it up by"
            return work.doubt(place, f"line {draft.line}: {why}")
        if self._key and not self._key.creates:
            value = draft.doc[self._key.field]
            return work.fail(place, f"line {draft.line}: there is no {self._doctype.name} {value}", "NotFound")
        if self._wish.update_existing:
            judged = for_insert(self._layout, draft)
            if judged.problems:
                return work.fail(place, "; ".join(map(str, judged.problems)))
            draft = judged
        work.docs[place] = {"doctype": self._doctype.name, **draft.doc}
        return None

    def _sort_known(
        self, work: Work, place: int, docs: Sequence[dict[str, Any]], read: str | None, *, appeared: bool
    ) -> None:
        """`read`: an earlier attempt would change the document, which was last modified then. `appeared`: it came into
        being after this row was sent."""
        draft, existing = work.batch.drafts[place], docs[0]
        if not self._wish.update_existing:
            meanwhile = f", which {existing.get('owner')} made meanwhile" if appeared else ""
            return work.fail(
                place, f"line {draft.line}: exists already as {existing['name']}{meanwhile}", "AlreadyExists"
            )
        if len(docs) > 1:
            names = ", ".join(str(doc["name"]) for doc in docs[:3])
            return work.fail(place, f"line {draft.line}: {len(docs)} documents have this key: {names}")
        draft = for_update(self._layout, draft, self._wish.blank)
        if draft.problems:
            return work.fail(place, "; ".join(map(str, draft.problems)))
        if lost := unknown_rows(self._doctype, draft.doc, existing):
            table, name = lost[0]
            return work.fail(place, f"line {draft.line}: {existing['name']} has no row {name!r} in {table}")
        diff = merged(self._doctype, difference(self._doctype, draft.doc, existing), existing)
        changed = appeared or read not in (None, existing.get("modified"))
        if diff and changed and self._wish.on_conflict != "update":
            self._conflict(work, place, existing["name"])
        elif diff:
            work.changes[place] = existing, diff
        elif read is not None:
            work.fates[place] = Fate(draft, "updated", existing["name"])
        else:
            work.fates[place] = Fate(draft, "skipped", existing["name"], "unchanged")
        return None

    # Creating

    def _create_all(self, work: Work) -> None:
        begun, number = self._run.now(), len(work.docs)
        places, doubtful = sorted(work.docs), not work.open.isdisjoint(work.docs)
        if doubtful and work.batch.entry and self._key and not self._key.unique:
            left = self._outlast(work, places, datetime.fromisoformat(work.batch.entry["sent"]))
            places = [place for place in places if place in left]
        for group in [[place] for place in places] if self._singly else [places]:
            self._create(work, group, doubtful)
        self.pace.took(number, (self._run.now() - begun).total_seconds(), len(work.refusals))

    def _create(self, work: Work, places: Sequence[int], doubtful: bool) -> None:
        """Insert these, and blame those that the site will not have, each with the site's own words.

        `doubtful`: a document of theirs may be there yet: an earlier request turns out to have been heard, or one that
        was refused was not undone.
        """
        while places and (error := self._insert(work, places, doubtful)):
            doubtful = True
            if len(places) == 1:
                return work.blame(places[0], error)
            if self._looks_hopeless(work, error):
                places = self._one_by_one(work, places)
                continue
            named = {places[number] for number in suspects(str(error), [work.docs[place] for place in places])}
            if not named:
                places = self._isolate(work, places)
                continue
            self._create(work, [place for place in places if place not in named], True)
            for place in sorted(named):
                self._create(work, [place], True)
            return None
        return None

    def _isolate(self, work: Work, places: Sequence[int]) -> list[int]:
        """Find the first that is refused by halving, and return those behind it: what is before it is created on the
        way, so that a bad row of n costs log2(n) requests."""
        behind: list[int] = []
        while len(places) > 1:
            half = len(places) // 2
            if self._insert(work, places[:half], True):
                places, behind = places[:half], [*places[half:], *behind]
            else:
                places = places[half:]
        self._create(work, places, True)  # alone, for words that are surely about it
        return behind

    def _insert(self, work: Work, places: Sequence[int], doubtful: bool) -> DaemonError | None:
        """One request, which creates all of `places` or returns why it created none."""
        if self._hopeless:
            raise self._hopeless
        if not (self._key and self._key.unique) and (self._key or list(places) != work.asked):
            self._write_down(work, list(places))  # whoever goes on after a kill must know which, and outlast them
        try:
            names = self._site.insert_many([work.docs[place] for place in places])
        except OutcomeUnknown as error:
            self._after_silence(work, places, error)
            return None
        except REFUSALS as error:
            left = self._left_after(work, places, error, doubtful)
            if len(left) == len(places):
                return error
            self._create(work, left, doubtful)
            return None
        self._begun, work.silences = True, 0
        for place, name in zip(places, names, strict=True):
            work.fates[place] = Fate(work.batch.drafts[place], "created", name)
        return None

    def _left_after(self, work: Work, places: Sequence[int], error: DaemonError, doubtful: bool) -> Sequence[int]:
        """Those of `places` that a refused request left undone: all, in a database that undoes what was refused. Where
        it did not, a unique key tells when the row is sent once more; for another it must be looked up at once."""
        if self._key and (not self._key.unique or (doubtful and isinstance(error, AlreadyExists))):
            return self._found_after_all(work, places)
        return places

    # Where nothing can be created

    def _looks_hopeless(self, work: Work, error: DaemonError) -> bool:
        """The first rows were all refused alike, for a reason that no owner of a document can mend."""
        return (
            not self._begun
            and error.who != "document owner"
            and len(work.refusals) >= ALIKE
            and len(set(work.refusals.values())) == 1
        )

    def _one_by_one(self, work: Work, places: Sequence[int]) -> Sequence[int]:
        """Ask for each alone, until one is created by any thread; return those that are left then."""
        for number, place in enumerate(places):
            if self._begun:
                return places[number:]
            self._create(work, [place], True)
        return ()

    def _give_up_where_all_failed(self, work: Work) -> None:
        """Raises NothingCreated where the site refused each row of a whole batch for one and the same reason, which is
        none of theirs, and where nothing of the import was ever created or updated."""
        alike = len(set(work.refusals.values())) == 1 and len(work.refusals) >= ENOUGH
        if self._begun or not alike or len(work.refusals) < len(work.batch.drafts):
            return
        fate = work.fates[min(work.refusals)]
        if fate.who != "document owner":
            self._hopeless = NothingCreated(
                f"none of the first {len(work.refusals):,} rows could be created, all for one reason: {fate.reason}",
                work.cause,
            )
            raise self._hopeless

    # After a lost reply

    def _after_silence(self, work: Work, places: Sequence[int], error: OutcomeUnknown) -> None:
        """No reply came: look which of them are there, and send the others again only where that can do no harm."""
        if self._key is None:
            why = f"sent at {self._run.now():%Y-%m-%d %H:%M:%S} UTC: {error}; no key to look it up by"
            for place in places:
                work.doubt(place, f"line {work.batch.drafts[place].line}: {why}", error.kind)
            return
        work.silences, work.unsure = work.silences + 1, True
        left = self._outlast(work, places, self._run.now())
        if left and work.silences > ROUNDS:
            raise error
        self._create(work, left, True)

    def _outlast(self, work: Work, places: Sequence[int], since: datetime) -> list[int]:
        """Those of `places` that are not there, nor will be: where the site would let a second document have the same
        key, only once the request that was sent at `since` must be over."""
        left = self._found_after_all(work, places)
        while left and self._key and not self._key.unique and (self._run.now() - since).total_seconds() < SETTLES:
            self._run.pause(10.0)
            left = self._found_after_all(work, left)
        return left

    def _found_after_all(self, work: Work, places: Sequence[int]) -> list[int]:
        """Those of `places` whose documents are not there. The others are ours, or somebody was quicker."""
        found = self._finder.find(work, places, whole=True)
        for place, docs in found.items():
            if fate := self._finder.created(work, place, docs):
                self._begun, work.fates[place] = True, fate
            else:
                self._sort_known(work, place, docs, None, appeared=True)
        return [place for place in places if place not in found]

    # Submitting

    def _submit(self, work: Work) -> None:
        """As two steps, since a document that is inserted as submitted keeps the status of a draft in ERPNext. One list
        tells which are submitted already; where a reply was lost, it is asked for again."""
        if not self._wish.submit:
            return
        waiting = {fate.name: fate for fate in work.fates.values() if fate.result == "created"}
        if waiting and work.facts:
            self._write_down(work, [])
        for _ in range(ROUNDS):
            if not waiting:
                return
            rows = self._site.get_list(self._doctype.name, ["name", "docstatus"], [["name", "in", list(waiting)]])
            done = {row.get("name") for row in rows if row.get("docstatus") == 1}
            asked = {name: fate for name, fate in waiting.items() if name not in done}
            waiting = {name: fate for name, fate in asked.items() if not self._submitted(fate)}
            if waiting:
                self._run.check()
        for fate in waiting.values():
            fate.reason = "created as a draft, but not submitted: no reply came"

    def _submitted(self, fate: Fate) -> bool:
        """The site has answered: it is submitted, or there is a reason why not."""
        try:
            doc = self._site.update({"doctype": self._doctype.name, "name": fate.name, "docstatus": 1})
        except OutcomeUnknown:
            return False
        except REFUSALS as error:
            fate.reason = f"created as a draft, but not submitted: {error}"
        else:
            status = doc.get("docstatus")
            fate.modified = str(doc.get("modified") or "")
            fate.reason = "" if status == 1 else f"created, but not submitted: its docstatus is {status}"
        return True

    # Updating

    def _update(self, work: Work) -> None:
        self._trail.changing(work)
        for place, (existing, diff) in work.changes.items():
            try:
                self._until_heard(partial(self._update_one, work, place, existing, diff))
            except OutcomeUnknown as error:
                self._look_once_more(work, place, error)
            except REFUSALS as error:
                work.blame(place, error)

    def _conflict(self, work: Work, place: int, name: str | int) -> None:
        draft = work.batch.drafts[place]
        if self._wish.on_conflict == "skip":
            work.fates[place] = Fate(draft, "skipped", name, "somebody changed it meanwhile")
        else:
            why = f"line {draft.line}: somebody changed {name} meanwhile"
            work.fates[place] = Fate(draft, "failed", name, why, "StaleDocument", "document owner")

    def _look_once_more(self, work: Work, place: int, error: OutcomeUnknown) -> None:
        """No reply to an update ever came: what the document holds tells whether it was heard."""
        draft = work.batch.drafts[place]
        now = self._finder.find(work, [place]).get(place, [])
        if now and not difference(self._doctype, for_update(self._layout, draft, self._wish.blank).doc, now[0]):
            work.fates[place] = Fate(draft, "updated", now[0]["name"])
        else:
            work.doubt(place, f"line {draft.line}: sent, and no reply came: {error}", error.kind)

    def _until_heard(self, act: Callable[[], None]) -> None:
        """`act` looks before it writes, so that it may be done again after a lost reply."""
        for attempt in range(ROUNDS):
            try:
                return act()
            except OutcomeUnknown:
                if attempt == ROUNDS - 1:
                    raise
                self._run.check()
        return None

    def _update_one(self, work: Work, place: int, existing: Mapping[str, Any], diff: Mapping[str, Any]) -> None:
        """Send what differs, with `modified`, so that nobody's edit since our reading is overwritten unseen."""
        draft, name, sent = work.batch.drafts[place], existing["name"], diff
        after: Mapping[str, Any] = {}
        try:
            after = self._site.update(
                {"doctype": self._doctype.name, "name": name, "modified": existing["modified"], **diff}
            )
        except StaleDocument:
            now = self._finder.find(work, [place]).get(place, [])
            wanted = for_update(self._layout, draft, self._wish.blank).doc
            rest = merged(self._doctype, difference(self._doctype, wanted, now[0]), now[0]) if now else {}
            if not now:
                return work.fail(place, f"line {draft.line}: {name} was deleted meanwhile", "NotFound")
            if rest and self._wish.on_conflict != "update":
                return self._conflict(work, place, name)
            if rest:
                work.changes[place], sent = (now[0], rest), rest
                self._trail.changing_again(work, place)
                after = self._site.update(
                    {"doctype": self._doctype.name, "name": name, "modified": now[0]["modified"], **rest}
                )
            # else: an earlier request of ours whose reply was lost, or somebody else with the same idea
        self._begun = True
        kept = {key: after.get(key) for key in difference(self._doctype, sent, after)} if after else {}
        left = {"modified": after.get("modified"), **({"kept": kept} if kept else {})} if after else {}
        work.fates[place] = Fate(draft, "updated", name, left=left)
        return None
