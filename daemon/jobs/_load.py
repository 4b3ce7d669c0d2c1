"""One batch of drafts → the site, and what became of each. Knows nothing of files, results or progress.

A batch is looked up by key, written down, sent, and looked up again wherever a reply was lost, in this process or in
one that was killed. `insert_many` is all or nothing, so a batch that the site refuses is asked for again in pieces,
until the rows that it will not have stand alone with the site's own words.

Threads may share a `Loader`; each batch is settled by one. What they share beyond it are an estimate and a memory of
names, where one that overtakes another does no harm.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Literal

from daemon.core.batches import Pace, suspects
from daemon.core.columns import Layout
from daemon.core.doctype import DocType
from daemon.core.kind import JournalPort, Run
from daemon.core.rows import Draft, difference, for_insert, for_update, key_digest, unknown_rows
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
    Stopped,
    Transient,
    UsageError,
)
from daemon.jobs._batch import Batch, Fate, Key, Wish, Work

SETTLES = 130.0
"""Seconds after which a request whose reply was lost is over: the site's server ends it at 120 (gunicorn `-t`)."""
ALIKE = 10
"""Rows refused for one reason, and none created, after which an import gives up."""
ROUNDS = 5
"""How often what is not there is sent again after replies that were lost one after the other."""
REFUSALS = (Invalid, AlreadyExists, StaleDocument, NotFound, NotPermitted, NotConfigured, ServerBug, UsageError)
"""What the site, or the client for its sake, says of rows; anything else is about the site and ends the import."""
KEYS = frozenset({"Data", "Link", "Dynamic Link", "Select", "Int", "Long Int", "Date", "Datetime", "Barcode", "Phone",
                  "Read Only"})  # fmt: skip
"""Field types whose values the site keeps as they are sent, so that a document is found by them again."""
HIDDEN = frozenset({"Administrator", "Guest"})
"""Users that a list shows to nobody else (core/doctype/user/user.py:get_permission_query_conditions)."""
LINKS_KEPT = 100_000
"""Names of linked documents that are remembered."""


class Loader:
    """Settles batches of one import."""

    def __init__(
        self, run: Run, doctype: DocType, layout: Layout, key: Key | None, wish: Wish, journal: JournalPort, mark: str
    ) -> None:
        self._run, self._site, self._journal = run, run.site, journal
        self._doctype, self._layout, self._key, self._wish = doctype, layout, key, wish
        self._mark = mark
        """Begins the keys that are made up."""
        own = [column.field for column in layout.columns if not column.table]
        self._unique = [field.fieldname for field in own if field.unique and field.fieldname != (key and key.field)]
        self._created, self._refusal, self._refusals = False, "", 0
        self.pace = Pace()
        self._links: dict[tuple[str, int], bool] = {}
        self._unseen: set[str] = set()
        """DocTypes whose documents this user may not list; the site judges links to them."""

    def settle(self, batch: Batch) -> tuple[Batch, list[Fate]]:
        """Do all that the batch asks for; in a dry run, look what would be done. Raises what ends the whole import."""
        work = Work(batch)
        self._look_up(work)
        self._sort(work)
        self._check_links(work)
        self._check_unique(work)
        if self._run.dry_run:
            self._foresee(work)
        else:
            self._send(work)
        return batch, [work.fates[place] for place in range(len(batch.drafts))]

    def _foresee(self, work: Work) -> None:
        drafts = work.batch.drafts
        for place in work.docs:
            work.fates[place] = Fate(drafts[place], "created", reason="would be created")
        for place, (existing, diff) in work.changes.items():
            why = f"would be updated: {', '.join(diff)}"
            work.fates[place] = Fate(drafts[place], "updated", existing["name"], why)

    def _send(self, work: Work) -> None:
        earlier = work.batch.entry
        work.entry = {key: value for key, value in (earlier or {}).items() if key != "sent"}
        if earlier is None and (work.docs or work.changes):
            self._write_down(work)
        if work.docs:
            try:
                self._create_all(work, earlier)
            except (Transient, Stopped, NothingCreated):
                # Nothing was done for what is left; where nothing was done at all, there is nothing to look up later.
                if earlier is None and not work.unsure and not any(f.result == "created" for f in work.fates.values()):
                    self._journal.write({work.batch.place: None})
                raise
        self._submit(work)
        self._update(work)

    def _create_all(self, work: Work, earlier: Mapping[str, Any] | None) -> None:
        begun, number = self._run.now(), len(work.docs)
        places = sorted(work.docs)
        if earlier is not None:
            places = self._outlast(work, places, datetime.fromisoformat(earlier["sent"]))
        self._create(work, places, earlier is not None)
        self.pace.took(number, (self._run.now() - begun).total_seconds(), work.refused)

    # What is there

    def _look_up(self, work: Work) -> None:
        """Find the documents that the drafts of a batch name by key; a made up key is looked up after a crash alone."""
        key, drafts = self._key, work.batch.drafts
        for place, draft in enumerate(drafts):
            if draft.problems:
                work.fail(place, "; ".join(map(str, draft.problems)))
            elif key and key.made:
                draft.doc[key.field] = f"{self._mark}-{work.batch.first + place}"
            elif key and draft.doc.get(key.field) in (None, ""):
                work.fail(place, f"line {draft.line}: {key.field} is blank, but rows are known by it")
            elif key and "<" in str(draft.doc[key.field]):
                work.fail(place, f"line {draft.line}: {key.field} holds a <, which the site may change in a key")
        if key and (not key.made or work.batch.entry is not None):
            work.known = self._find(work, [place for place in range(len(drafts)) if place not in work.fates])

    def _find(self, work: Work, places: Sequence[int]) -> dict[int, list[dict[str, Any]]]:
        """Place → the documents that hold its key; places without one are left out."""
        key, drafts = self._key, work.batch.drafts
        if not key or not places:
            return {}
        values = {place: drafts[place].doc[key.field] for place in places}
        fields = list(dict.fromkeys(["name", key.field, "modified", "docstatus", *self._compared]))
        found = self._site.get_list(self._doctype.name, fields, [[key.field, "in", list(values.values())]])
        if self._wish.update_existing and self._has_tables and found:
            whole = {doc["name"]: doc for doc in self._site.whole(self._doctype.name, [doc["name"] for doc in found])}
            found = [whole.get(doc["name"], doc) for doc in found]
        by_key: dict[int, list[dict[str, Any]]] = {}
        for doc in found:
            by_key.setdefault(key_digest([doc.get(key.field)]), []).append(doc)
        return {place: docs for place, value in values.items() if (docs := by_key.get(key_digest([value])))}

    @property
    def _has_tables(self) -> bool:
        return any(column.table or column.field.is_table for column in self._layout.columns)

    @property
    def _compared(self) -> list[str]:
        """Fields that an update compares, as far as a list can show them."""
        if not self._wish.update_existing:
            return []
        own = [
            column.field.fieldname for column in self._layout.columns if not column.table and not column.field.is_table
        ]
        constants = [key for key in self._layout.constants if "." not in key]
        return [
            name
            for name in (*own, *constants)
            if (field := self._doctype.field(name)) and field.fieldtype != "Password"
        ]

    # What each row asks for

    def _sort(self, work: Work) -> None:
        entry = work.batch.entry or {}
        before, updating = set(entry.get("existing", ())), entry.get("updates", {})
        for place, draft in enumerate(work.batch.drafts):
            if place in work.fates:
                continue
            docs = work.known.get(place, [])
            if not docs:
                self._sort_new(work, place, draft)
            elif work.batch.entry is not None and place not in before and not self._wish.update_existing:
                work.fates[place] = Fate(draft, "created", docs[0]["name"])
            elif not self._wish.update_existing:
                work.fail(place, f"line {draft.line}: exists already as {docs[0]['name']}", "AlreadyExists")
            elif len(docs) > 1:
                names = ", ".join(str(doc["name"]) for doc in docs[:3])
                work.fail(place, f"line {draft.line}: {len(docs)} documents have this key: {names}")
            else:
                sent = work.batch.entry is not None and (place not in before or str(place) in updating)
                self._sort_known(work, place, docs[0], sent, updating.get(str(place)))

    def _sort_new(self, work: Work, place: int, draft: Draft) -> None:
        if work.batch.entry is not None and self._key is None:
            sent = work.batch.entry.get("sent")
            why = f"line {draft.line}: sent at {sent} without a reply, and there is no key to look it up by"
            work.fates[place] = Fate(draft, "uncertain", reason=why, error="OutcomeUnknown", who="document owner")
            return None
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

    def _sort_known(self, work: Work, place: int, existing: dict[str, Any], updating: bool, read: str | None) -> None:
        """`updating`: an earlier attempt sent this row, having `read` the document as it was modified then."""
        draft = for_update(self._layout, work.batch.drafts[place], self._wish.blank)
        if draft.problems:
            return work.fail(place, "; ".join(map(str, draft.problems)))
        if lost := unknown_rows(self._doctype, draft.doc, existing):
            table, name = lost[0]
            return work.fail(place, f"line {draft.line}: {existing['name']} has no row {name!r} in {table}")
        diff = self._merged(difference(self._doctype, draft.doc, existing), existing)
        if diff and read not in (None, existing.get("modified")) and self._wish.on_conflict != "update":
            self._conflict(work, place, existing["name"])
        elif diff:
            work.changes[place] = existing, diff
        else:
            result: Literal["updated", "skipped"] = "updated" if updating else "skipped"
            work.fates[place] = Fate(draft, result, existing["name"], "" if updating else "unchanged")
        return None

    def _merged(self, diff: dict[str, Any], existing: Mapping[str, Any]) -> dict[str, Any]:
        """`diff` with the rows of child tables as they are there, changed where the file says so: what is sent of a row
        is all that stays of it (model/base_document.py:db_update). Rows are told apart by name, else by position."""
        for table, _ in self._doctype.tables:
            if table in diff:
                there = existing.get(table) or []
                named = {row.get("name"): row for row in there}
                diff[table] = [
                    {**(named.get(row.get("name")) or (there[place] if place < len(there) else {})), **row}
                    for place, row in enumerate(diff[table] or [])
                ]
        return diff

    def _check_links(self, work: Work) -> None:
        """Rows that link to what does not exist fail here, a request for each DocType instead of one for each row."""
        places = [*work.docs, *work.changes]
        wanted: dict[str, dict[int, Any]] = {}
        for place in places:
            for doctype, value, _ in work.batch.drafts[place].links:
                digest = key_digest([value])
                if (
                    doctype not in self._unseen
                    and value not in HIDDEN
                    and doctype != self._doctype.name
                    and (doctype, digest) not in self._links
                ):
                    wanted.setdefault(doctype, {})[digest] = value
        for doctype, values in wanted.items():
            self._learn_links(doctype, values)
        for place in places:
            for doctype, value, column in work.batch.drafts[place].links:
                if self._links.get((doctype, key_digest([value]))) is False:
                    work.docs.pop(place, None)
                    work.changes.pop(place, None)
                    why = f"line {work.batch.drafts[place].line}, {column}: there is no {doctype} {value!r}"
                    work.fail(place, why, "MissingLink")
                    break

    def _check_unique(self, work: Work) -> None:
        """A value that must be unique and stands in another document: one request for each such field of the file."""
        sent = dict(work.docs)
        sent |= {place: {**diff, "name": existing["name"]} for place, (existing, diff) in work.changes.items()}
        for unique in self._unique:
            values = {place: doc[unique] for place, doc in sent.items() if doc.get(unique) not in (None, "")}
            if not values:
                continue
            rows = self._site.get_list(self._doctype.name, ["name", unique], [[unique, "in", list(values.values())]])
            holders = {key_digest([row[unique]]): row["name"] for row in rows}
            for place, value in values.items():
                holder = holders.get(key_digest([value]))
                if holder is not None and holder != sent[place].get("name"):
                    work.docs.pop(place, None)
                    work.changes.pop(place, None)
                    line = work.batch.drafts[place].line
                    work.fail(place, f"line {line}: {unique} must be unique, and {holder} has {value}", "AlreadyExists")

    def _learn_links(self, doctype: str, values: Mapping[int, Any]) -> None:
        try:
            rows = self._site.get_list(doctype, ["name"], [["name", "in", list(values.values())]])
        except (NotPermitted, NotFound):
            self._unseen.add(doctype)
            return
        there = {key_digest([row["name"]]) for row in rows}
        if len(self._links) > LINKS_KEPT:
            self._links.clear()
        self._links.update({(doctype, digest): digest in there for digest in values})

    # Sending

    def _write_down(self, work: Work) -> None:
        """Before anything is sent: which rows had a document by then, and which of these are to be changed."""
        work.entry = {
            "last": work.batch.last,
            "existing": sorted(work.known),
            "updates": {str(p): existing["modified"] for p, (existing, _) in work.changes.items()},
        }
        self._renew(work)

    def _renew(self, work: Work) -> None:
        """Write down when rows of this batch were last sent."""
        sent = self._run.now().isoformat(timespec="seconds")
        self._journal.write({work.batch.place: {**work.entry, "sent": sent}})

    def _create(self, work: Work, places: Sequence[int], doubtful: bool) -> None:
        """Insert these, and blame those that the site will not have, each with the site's own words.

        `doubtful`: an earlier request for these may yet turn out to have been heard.
        """
        while places and (error := self._insert(work, places, doubtful)):
            if len(places) == 1:
                self._give_up_where_all_fail(work.docs[places[0]], error)
                return work.blame(places[0], error)
            named = {places[number] for number in suspects(str(error), [work.docs[place] for place in places])}
            if not named:
                places = self._isolate(work, places, doubtful)
                continue
            self._create(work, [place for place in places if place not in named], doubtful)
            for place in sorted(named):
                self._create(work, [place], doubtful)
            return None
        return None

    def _give_up_where_all_fail(self, doc: Mapping[str, Any], error: DaemonError) -> None:
        """Raises NothingCreated once the first rows were all refused alike, but for their own values."""
        text = str(error)
        for value in sorted(map(str, doc.values()), key=len, reverse=True):
            text = text.replace(value, "…") if len(value) > 1 else text
        self._refusals = self._refusals + 1 if text == self._refusal else 1
        self._refusal = text
        if self._refusals >= ALIKE and not self._created:
            raise NothingCreated(f"none of the first rows could be created, all for one reason: {error}", error)

    def _isolate(self, work: Work, places: Sequence[int], doubtful: bool) -> list[int]:
        """Find the first that is refused by halving, and return those behind it: what is before it is created on the
        way, so that a bad row of n costs log2(n) requests."""
        behind: list[int] = []
        while len(places) > 1:
            half = len(places) // 2
            if self._insert(work, places[:half], doubtful):
                places, behind = places[:half], [*places[half:], *behind]
            else:
                places = places[half:]
        self._create(work, places, doubtful)  # alone, for words that are surely about it
        return behind

    def _insert(self, work: Work, places: Sequence[int], doubtful: bool) -> DaemonError | None:
        """One request, which creates all of `places` or returns why it created none."""
        if self._key and not self._key.unique:
            self._renew(work)  # whoever goes on after a kill must outlast this request
        try:
            names = self._site.insert_many([work.docs[place] for place in places])
        except OutcomeUnknown as error:
            self._after_silence(work, places, error)
            return None
        except REFUSALS as error:
            left = self._found_after_all(work, places) if doubtful and isinstance(error, AlreadyExists) else places
            if len(left) == len(places):
                return error
            self._create(work, left, doubtful)
            return None
        self._created, work.silences = True, 0
        for place, name in zip(places, names, strict=True):
            work.fates[place] = Fate(work.batch.drafts[place], "created", name)
        return None

    def _after_silence(self, work: Work, places: Sequence[int], error: OutcomeUnknown) -> None:
        """No reply came: look which of them are there, and send the others again only where that can do no harm."""
        if self._key is None:
            why = f"sent at {self._run.now():%Y-%m-%d %H:%M:%S} UTC: {error}; no key to look it up by"
            for place in places:
                draft = work.batch.drafts[place]
                work.fates[place] = Fate(
                    draft, "uncertain", "", f"line {draft.line}: {why}", error.kind, "document owner"
                )
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
        """Those of `places` whose documents are not there; the others are created."""
        found = self._find(work, places)
        for place, docs in found.items():
            work.fates[place] = Fate(work.batch.drafts[place], "created", docs[0]["name"])
        return [place for place in places if place not in found]

    def _submit(self, work: Work) -> None:
        """As two steps, since a document that is inserted as submitted keeps the status of a draft in ERPNext. One list
        tells which are drafts still; where a reply was lost, it is asked for again."""
        waiting = {fate.name: fate for fate in work.fates.values() if fate.result == "created" and self._wish.submit}
        for _ in range(ROUNDS):
            if not waiting:
                return
            drafts = [["name", "in", list(waiting)], ["docstatus", "=", 0]]
            names = {row["name"] for row in self._site.get_list(self._doctype.name, ["name"], drafts)}
            asked = {name: fate for name, fate in waiting.items() if name in names}
            waiting = {name: fate for name, fate in asked.items() if not self._submitted(work, fate)}
            if waiting:
                self._run.check()
        for fate in waiting.values():
            fate.reason = "created as a draft, but not submitted: no reply came"

    def _submitted(self, work: Work, fate: Fate) -> bool:
        """The site has answered: it is submitted, or there is a reason why not."""
        try:
            self._site.update({"doctype": self._doctype.name, "name": fate.name, "docstatus": 1})
        except OutcomeUnknown:
            return False
        except REFUSALS as error:
            work.refused += 1
            fate.reason = f"created as a draft, but not submitted: {error}"
        return True

    def _update(self, work: Work) -> None:
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
        now = self._find(work, [place]).get(place, [])
        if now and not difference(self._doctype, for_update(self._layout, draft, self._wish.blank).doc, now[0]):
            work.fates[place] = Fate(draft, "updated", now[0]["name"])
        else:
            why = f"line {draft.line}: sent, and no reply came: {error}"
            work.fates[place] = Fate(draft, "uncertain", "", why, error.kind, "document owner")

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

    def _update_one(self, work: Work, place: int, existing: dict[str, Any], diff: dict[str, Any]) -> None:
        """Send what differs, with `modified`, so that nobody's edit since our reading is overwritten unseen."""
        draft, name = work.batch.drafts[place], existing["name"]
        try:
            self._site.update({"doctype": self._doctype.name, "name": name, "modified": existing["modified"], **diff})
        except StaleDocument:
            now = self._find(work, [place]).get(place, [])
            wanted = for_update(self._layout, draft, self._wish.blank).doc
            left = self._merged(difference(self._doctype, wanted, now[0]), now[0]) if now else {}
            if not now:
                work.fail(place, f"line {draft.line}: {name} was deleted meanwhile", "NotFound")
            elif not left:  # an earlier request of ours whose reply was lost, or somebody else with the same idea
                work.fates[place] = Fate(draft, "updated", name)
            elif self._wish.on_conflict == "update":
                work.changes[place] = now[0], left
                self._site.update({"doctype": self._doctype.name, "name": name, "modified": now[0]["modified"], **left})
                work.fates[place] = Fate(draft, "updated", name)
            else:
                self._conflict(work, place, name)
        else:
            work.fates[place] = Fate(draft, "updated", name)
