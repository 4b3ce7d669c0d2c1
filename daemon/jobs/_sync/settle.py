"""One pair after the other: what each side must be told, told, and looked at again wherever a reply was lost.

A pair is decided from what both sides hold now; whatever is written carries what was read (`modified`, an ETag), and a
mismatch or a lost reply leads back to reading. So a kill between any two writes costs nothing: what is done already
looks, the next time, like what both sides agree upon.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from daemon.core import exact
from daemon.core.api import Record
from daemon.core.doctype import DocType
from daemon.core.kind import RemotePort, Run
from daemon.core.links import OWED, PULL, PUSH, Link, LinksPort, Status, give_up_name
from daemon.core.mapping import BadValue, Fields, Flat
from daemon.core.plan import Action, Outcome, Result
from daemon.core.reconcile import Base, Changes, Merge, Side, base_of, decided, digest, reconcile
from daemon.core.records import record_of
from daemon.errors import (
    AlreadyExists,
    DaemonError,
    InUse,
    Invalid,
    NotConfigured,
    NotFound,
    NotPermitted,
    OutcomeUnknown,
    RemoteConflict,
    RemoteMalformed,
    RemoteMisused,
    RemoteNotFound,
    RemoteNotPermitted,
    RemoteOutcomeUnknown,
    RemoteRefused,
    RemoteStale,
    ServerBug,
    StaleDocument,
)

if TYPE_CHECKING:
    from daemon.jobs.sync import Settings

ROUNDS = 5
"""How often a pair is read and decided anew in one run."""
AGAIN = (StaleDocument, RemoteStale, OutcomeUnknown, RemoteOutcomeUnknown)
"""What is mended by reading both sides anew."""
OWN_FAULT = (Invalid, AlreadyExists, NotFound, NotPermitted, InUse, ServerBug, NotConfigured, BadValue, RemoteRefused,
             RemoteConflict, RemoteNotFound, RemoteNotPermitted, RemoteMisused, RemoteMalformed)  # fmt: skip
"""What fails this pair and says nothing of the next."""
FIRST_WAIT, LONGEST_WAIT = timedelta(minutes=5), timedelta(days=1)
"""Before a failed pair is tried again; doubled with each failure."""


class Held(DaemonError):
    """This pair needs a person; repeating would change nothing."""

    who = "document owner"
    action = "See `frappe-daemon conflicts`; mend its cause, then `frappe-daemon retry`."


@dataclass(slots=True)
class Pair:
    """A link at work, with what is known of both sides."""

    link: Link
    doc: dict[str, Any] | None = None
    record: Record | None = None
    """None: not read."""
    fresh: bool = False
    """The record was read by itself just now, not from a list a while ago."""
    member: bool | None = None
    """The filters choose the document, or it was cancelled: it is to be pushed. None: the next push finds out."""
    adopted: dict[str, Any] | None = None
    """For a record without a document: one that turns out to be its twin."""


@dataclass(frozen=True, slots=True)
class Visit(Action):
    """A pair that is due."""

    pair: Pair | None = None


class Settler:
    """Settles the pairs of one run; threads may share it."""

    def __init__(self, run: Run, settings: Settings, links: LinksPort, remote: RemotePort, fields: Fields,
                 doctype: DocType, ways: int) -> None:  # fmt: skip
        self._run, self._site, self._settings, self._links = run, run.site, settings, links
        self._remote, self._fields, self._doctype, self._ways = remote, fields, doctype, ways
        self._side, self._api = settings.site, settings.api

    # A page of pairs

    def taken(self, links: Sequence[Link]) -> list[Action]:
        """These links with their documents as they are now: a few requests for all of them."""
        docs = self._whole([link.name for link in links if link.name])
        lost = [str(link.remote) for link in links if link.remote and _very(link, docs) is None]
        found = self._by_ids(lost)
        pairs = [Pair(link, _very(link, docs)) for link in links]
        for pair in pairs:
            if pair.doc is None:
                pair.adopted = found.get(str(pair.link.remote))
            if pair.link.record is not None:
                pair.record = record_of(exact.loads(pair.link.record.encode()), self._api.record)
        self._recognise(pairs)
        pairs = self._without_doubles(pairs)
        self._choose(pairs)
        name = self._doctype.name
        return [Visit("sync", name, p.link.name or f"record {p.link.remote}", p.link.why, pair=p) for p in pairs]

    def _whole(self, names: Sequence[str]) -> dict[str, dict[str, Any]]:
        return {str(doc["name"]): doc for doc in self._site.whole(self._doctype.name, names)} if names else {}

    def _by_ids(self, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Record's id → its document; where that was cancelled and amended, the amendment."""
        if not ids:
            return {}
        own, doctype = self._side.id_field, self._doctype.name
        rows = self._site.get_list(doctype, ["name", "docstatus", own], [[own, "in", list(ids)]])
        heads = {str(row[own]): str(row["name"]) for row in rows}
        cancelled = {str(row["name"]): str(row[own]) for row in rows if row["docstatus"] == 2}
        while cancelled:
            where = [["amended_from", "in", list(cancelled)]]
            rows = self._site.get_list(doctype, ["name", "docstatus", "amended_from"], where)
            heads.update({cancelled[str(row["amended_from"])]: str(row["name"]) for row in rows})
            cancelled = {str(r["name"]): cancelled[str(r["amended_from"])] for r in rows if r["docstatus"] == 2}
        docs = self._whole(list(heads.values()))
        return {id_: docs[name] for id_, name in heads.items() if name in docs}

    def _recognise(self, pairs: Sequence[Pair]) -> None:
        """Records that carry the name of a document of ours are its twin, whose id never came back to us."""
        named = {
            name: pair
            for pair in pairs
            if pair.doc is None and pair.adopted is None and pair.link.name is None and pair.record
            if (name := self._fields.own_name(pair.record.body))
        }
        for name, doc in self._whole(list(named)).items():
            if str(doc.get(self._side.id_field) or "") in ("", named[name].link.remote):
                named[name].adopted = doc

    def _without_doubles(self, pairs: Sequence[Pair]) -> list[Pair]:
        """Two links of one pair, one from each side's list, become one before either is worked on."""
        void: set[int] = set()
        for pair in pairs:
            if pair.adopted is not None and (other := self._holder(pair.link, pair.adopted)) and other.remote is None:
                self._links.drop(other)
                void.add(other.id)
        return [pair for pair in pairs if pair.link.id not in void]

    def _choose(self, pairs: Sequence[Pair]) -> None:
        """What the filters do not choose, such as drafts, takes from the record and gives nothing."""
        docs = {str(doc["name"]): doc for pair in pairs if (doc := pair.doc or pair.adopted)}
        if not self._side.filters or not docs or not self._ways & PUSH:
            for pair in pairs:
                pair.member = True if not self._side.filters else None
            return
        where = [["name", "in", list(docs)], *self._side.filters]
        chosen = {str(row["name"]) for row in self._site.get_list(self._doctype.name, ["name"], where)}
        for pair in pairs:
            doc = pair.doc or pair.adopted or {}
            if doc:
                pair.member = doc.get("docstatus") == 2 or str(doc["name"]) in chosen

    def settle(self, actions: Iterable[Action]) -> Iterable[Outcome]:
        return self._run.each(self._settled, [a.pair for a in actions if isinstance(a, Visit) and a.pair])

    def part(self, actions: Iterable[Action]) -> Iterable[Outcome]:
        return self._run.each(self._parted, [a.pair for a in actions if isinstance(a, Visit) and a.pair])

    # One pair

    def _settled(self, pair: Pair) -> Outcome:
        """What became of it; failures that are its own are written down with it. Raises what ends a run."""
        return self._guarded(pair, self._decide)

    def _parted(self, pair: Pair) -> Outcome:
        return self._guarded(pair, self._part_ways)

    def _guarded(self, pair: Pair, act: Any) -> Outcome:
        try:
            for _ in range(ROUNDS):
                try:
                    return act(pair)  # type: ignore[no-any-return]
                except AGAIN as error:
                    self._run.check()
                    last = error
                    self._reread(pair)
            raise Invalid(f"changed or unanswered again and again: {last}")
        except Held as error:
            return self._held(pair, error)
        except OWN_FAULT as error:
            return self._failed(pair, error)

    def _reread(self, pair: Pair) -> None:
        link = pair.link
        pair.record, pair.fresh, pair.doc, pair.adopted, link.etag = None, False, None, None, ""
        if link.name:
            pair.doc = _very(link, self._whole([link.name]))
        elif link.remote:
            pair.adopted = self._by_ids([link.remote]).get(link.remote)

    def _decide(self, pair: Pair) -> Outcome:
        link = pair.link
        if pair.doc is None and pair.adopted is not None:
            self._adopt(pair, pair.adopted)
        if link.name is None:
            return self._make_document(pair)
        if pair.doc is None and not self._look_for(pair):
            return self._gone(pair, "site")
        assert pair.doc
        if link.remote is None:
            return self._make_record(pair)
        if link.detail.get("tombstone") or (self._must_read(pair) and not self._read(pair)):
            return self._gone(pair, "remote")
        if self._side.cancelled == "propagate" and pair.doc.get("docstatus") == 2:
            return self._gone(pair, "site")
        return self._merge(pair)

    def _is_guarded(self, pair: Pair, changes: Changes) -> bool:
        """The API would refuse a change of a record that is not as we know it, and we know enough of it: an array is
        sent whole, with what the mapping does not know of its rows."""
        known = pair.record is not None or not any("[" in path for path in changes.paths)
        etag = pair.record.etag if pair.record else pair.link.etag
        return bool(known and etag and self._api.record.if_match)

    def _must_read(self, pair: Pair) -> bool:
        """The record is not known well enough: not from a list of this moment, nor guarded by its ETag."""
        link = pair.link
        if pair.record is not None:
            return False
        if self._api.record.read is None:
            return False
        guarded = link.base is not None and link.etag and self._api.record.if_match and not self._replaces
        return not (guarded and link.status == Status.LINKED and link.todo & (PULL | PULL << OWED) == 0)

    @property
    def _replaces(self) -> bool:
        """An update is sent whole, since it takes the place of what was there (RFC 9110, 9.3.4)."""
        return self._api.record.update is not None and self._api.record.update.method == "PUT"

    def _look_for(self, pair: Pair) -> bool:
        """A document that no list shows, asked for by its name: it may be hidden from this user. Raises Held."""
        name = str(pair.link.name)
        try:
            found = self._site.get_doc(self._doctype.name, name)
        except NotFound:
            return False
        except NotPermitted as error:
            raise Held(f"{name} is there, but hidden from the daemon's user: {error}") from None
        pair.doc = _very(pair.link, {name: found})
        return pair.doc is not None

    def _read(self, pair: Pair) -> bool:
        """Read the record; False where it is not there."""
        pair.record = self._remote.read(str(pair.link.remote))
        pair.fresh = True
        return pair.record is not None and not pair.record.deleted

    def _adopt(self, pair: Pair, doc: dict[str, Any]) -> None:
        """`doc` is this record's document. A link that waits for the same document's record becomes one with it."""
        link = pair.link
        other = self._holder(link, doc)
        if other is not None:
            if other.remote not in (None, link.remote):
                raise Held(f"{doc['name']} is the twin of record {other.remote} already, so not of {link.remote}")
            self._links.drop(other)
        self._name(pair, doc)

    def _name(self, pair: Pair, doc: dict[str, Any]) -> None:
        """`doc` is this link's document from now on."""
        pair.doc, pair.link.name, pair.link.creation = doc, str(doc["name"]), str(doc["creation"])

    def _holder(self, link: Link, doc: Mapping[str, Any]) -> Link | None:
        """Another link of this document. One of an earlier document of its name gives the name up."""
        other = self._links.of_names([str(doc["name"])]).get(str(doc["name"]))
        if other is None or other.id == link.id:
            return None
        if other.creation in ("", str(doc["creation"])):
            return other
        give_up_name(other)
        self._links.save([other])
        return None

    # Agreeing

    def _merge(self, pair: Pair) -> Outcome:
        link, doc = pair.link, pair.doc
        assert doc
        site = self._fields.of_site(doc)
        remote = self._fields.of_remote(pair.record.body) if pair.record else None
        merge = reconcile(site, remote, link.base, self._fields.flow)
        if merge.clashes and remote is not None:
            seen = {clash.path: [clash.site, clash.remote] for clash in merge.clashes}
            winner = self._winner(pair, seen)
            if winner is None:
                return self._conflict(pair, merge, seen)
            merge = decided(merge, site, remote, winner)
        to_site = merge.to_site if self._ways & PULL else Changes()
        to_remote = merge.to_remote if self._ways & PUSH and pair.member else Changes()
        if to_remote and self._api.record.read and not pair.fresh and not self._is_guarded(pair, to_remote):
            if not self._read(pair):
                return self._gone(pair, "remote")
            return self._merge(pair)
        what = _worded(to_site, to_remote)
        if self._run.dry_run:
            return self._planned(pair, "update" if what else "keep", what or "nothing to tell")
        if to_site:
            self._write_site(pair, to_site)
        if to_remote:
            self._write_remote(pair, to_remote)
        left = [*(merge.to_site.paths if not to_site else ()), *(merge.to_remote.paths if not to_remote else ())]
        self._agree(pair, [*to_site.paths, *to_remote.paths])
        owed = self._owed(pair)
        if not what and left:
            what_left = f"not told yet: {', '.join(sorted(left))}"
            return self._done(
                pair, "keep", what_left if pair.member is not False else f"{what_left}; left out by the filters", owed
            )
        return self._done(pair, "update" if what else "keep", what or "both hold the same", owed)

    def _owed(self, pair: Pair) -> int:
        """What there is still to tell: for a run of the other direction, or since a side's answer brought news."""
        if pair.record is None or pair.doc is None:
            return 0
        now = self._fields.of_site(pair.doc), self._fields.of_remote(pair.record.body)
        merge = reconcile(*now, pair.link.base, self._fields.flow)
        owed = PULL if merge.to_site or merge.clashes else 0
        return owed | (PUSH if (merge.to_remote or merge.clashes) and pair.member is not False else 0)

    def _winner(self, pair: Pair, seen: Mapping[str, Any]) -> Side | None:
        """`seen`: the conflict as it is now. A decision about other values is none about these."""
        detail = pair.link.detail
        if detail.get("keep") in ("site", "remote") and detail.get("paths", seen) == seen:
            return "site" if detail["keep"] == "site" else "remote"
        match self._settings.on_conflict:
            case "site" | "remote" as side:
                return side
            case "newest" if pair.record and pair.record.stamp and pair.doc:
                return "site" if self._site.moment(str(pair.doc["modified"])) > pair.record.stamp else "remote"
        return None

    def _conflict(self, pair: Pair, merge: Merge, seen: Mapping[str, Any]) -> Outcome:
        link = pair.link
        link.detail = {"paths": dict(seen)}
        link.status = Status.CONFLICT
        said = "; ".join(f"{c.path} is {c.site!r} on the site, {c.remote!r} at the remote" for c in merge.clashes[:3])
        more = f" and {len(merge.clashes) - 3} more" if len(merge.clashes) > 3 else ""
        return self._noted(pair, "update", Result.FAILED, f"both sides changed: {said}{more}", "Conflict")

    def _write_site(self, pair: Pair, changes: Changes) -> None:
        """Send them with `modified`. Raises Held where Frappe would not take them, and what the site says."""
        doc = pair.doc
        assert doc
        sent = self._fields.document_changes(changes.values, changes.gone, doc)
        self._refuse_closed(doc, sent)
        before = self._fields.of_site(doc)
        if any(isinstance(value, list) for value in sent.values()):
            sent = {**self._days(doc), **sent}
        self._tell_site(pair, sent)
        assert pair.doc
        _refuse_ignored(changes, before, self._fields.of_site(pair.doc), "site")

    def _days(self, doc: Mapping[str, Any]) -> dict[str, Any]:
        """The document's own dates as they are. With a table they are sent, too: the site compares them with those of
        the rows, and cannot compare its own dates with text (erpnext, sales_order.py:validate_delivery_date)."""
        kinds = ("Date", "Datetime", "Time")
        own = [field.fieldname for field in self._doctype.fields if field.fieldtype in kinds]
        return {name: doc[name] for name in own if doc.get(name)}

    def _refuse_closed(self, doc: Mapping[str, Any], sent: Mapping[str, Any]) -> None:
        if doc.get("docstatus") == 2:
            raise Held(f"{doc['name']} is cancelled, so nothing can be changed in it: {', '.join(sent)}")
        fields = {name: self._doctype.field(name) for name in sent}
        closed = [name for name, own in fields.items() if own and not own.allow_on_submit]
        if doc.get("docstatus") == 1 and closed:
            raise Held(f"{doc['name']} is submitted, and Frappe does not change {', '.join(closed)} after that")

    def _write_remote(self, pair: Pair, changes: Changes) -> None:
        link, doc = pair.link, pair.doc
        assert doc
        known = pair.record
        body = known.body if known else None
        if self._api.record.update is None:
            raise Held(f"{self._api.host} takes no updates, but the document's {', '.join(changes.paths)} changed")
        whole = self._replaces
        payload = self._fields.record_changes(changes.values, changes.gone, body, doc, whole=whole)
        etag = (known.etag if known and known.etag else link.etag) or None
        before = self._fields.of_remote(body) if body is not None else None
        answer = self._remote.update(str(link.remote), payload, etag)
        if answer is None:  # it answers without the record
            answer = self._remote.read(str(link.remote))
        if answer is None:
            raise RemoteNotFound(f"record {link.remote} was deleted meanwhile")
        pair.record, pair.fresh = answer, True
        if before is not None:
            _refuse_ignored(changes, before, self._fields.of_remote(answer.body), "remote")

    def _agree(self, pair: Pair, told: Sequence[str]) -> None:
        """Remember what both hold: what is the same, and what was `told`, in whatever form the other side keeps it.
        What differs otherwise, since it waits for another run or came about as we wrote, is not agreed upon."""
        link, doc = pair.link, pair.doc
        assert doc
        if self._marks(pair):
            self._tell_site(pair, {})
        doc = pair.doc or doc
        link.stamp = str(doc["modified"])
        site = self._fields.of_site(doc)
        old: Base = link.base or {}
        if pair.record is not None:
            base = base_of(site, self._fields.of_remote(pair.record.body))
            link.etag = pair.record.etag or ""
            link.remote_stamp = pair.record.stamp.isoformat() if pair.record.stamp else ""
        else:
            base = dict(old)  # nothing has changed at all
        for path in [path for path, held in base.items() if " " in held and not _within(path, told)]:
            if path in old:
                base[path] = old[path]
            else:
                del base[path]
        base |= {path: held for path, held in old.items() if path not in base and not _within(path, told)}
        link.base = base

    def _marks(self, pair: Pair) -> dict[str, Any]:
        """The record's id, the pending flag cleared and the stamp, where the document has them not so yet."""
        doc, link, side = pair.doc, pair.link, self._side
        assert doc
        sent: dict[str, Any] = {}
        if str(doc.get(side.id_field) or "") != link.remote and not doc.get("amended_from"):
            sent[side.id_field] = link.remote
        if side.pending_field and doc.get(side.pending_field):
            sent[side.pending_field] = 0
        return sent if doc.get("docstatus") != 2 else {}

    def _tell_site(self, pair: Pair, sent: Mapping[str, Any]) -> None:
        """With `modified`, so that nobody's edit since our reading is overwritten, and with the marks."""
        doc = pair.doc
        assert doc
        stamp = {self._side.synced_field: self._site.text(self._run.now())} if self._side.synced_field else {}
        known = {"doctype": self._doctype.name, "name": doc["name"], "modified": doc["modified"]}
        pair.doc = self._site.update({**known, **sent, **self._marks(pair), **stamp})

    # Making a twin

    def _make_document(self, pair: Pair) -> Outcome:
        """A document for a record. The unique id field keeps a second one from being made."""
        link = pair.link
        if pair.record is None and not self._read(pair):
            return self._ended(pair, "the record was deleted before it got a document")
        record = pair.record
        assert record
        if "site" not in self._settings.create or not self._ways & PULL:
            return self._noted(pair, "keep", Result.KEPT, "has no document, and none is to be made", status=Status.NEW)
        doc = {**self._fields.new_document(record.body), self._side.id_field: link.remote}
        if self._run.dry_run:
            return self._planned(pair, "create", f"on the site, for record {link.remote}")
        if self._side.pending_field:
            doc[self._side.pending_field] = 0
        if self._side.synced_field:
            doc[self._side.synced_field] = self._site.text(self._run.now())
        try:
            made = self._site.insert({"doctype": self._doctype.name, **doc})
        except (AlreadyExists, Invalid):
            twin = self._by_ids([str(link.remote)]).get(str(link.remote))
            if twin is None:
                raise
            pair.adopted = twin  # an earlier request of ours that was heard late
            return self._decide(pair)
        self._holder(link, made)
        self._name(pair, made)
        link.base = base_of(agreed := self._fields.of_remote(record.body), agreed)
        self._links.save([link])
        if self._side.submit and made.get("docstatus") == 0:
            self._tell_site(pair, {"docstatus": 1})
        return self._made(pair, f"on the site, for record {link.remote}")

    def _made(self, pair: Pair, why: str) -> Outcome:
        """The twin is there. What it holds beyond what it was told, such as a status or a number of its own, counts as
        a change of its side since both agreed upon what it was told."""
        outcome = self._merge(pair)
        if outcome.result in (Result.DONE, Result.KEPT):
            pair.link.why = why
            self._links.save([pair.link])
            return replace(outcome, action=replace(outcome.action, verb="create", why=why), result=Result.DONE)
        return outcome

    def _make_record(self, pair: Pair) -> Outcome:
        """A record for a document. What is asked for is written down first; after a lost reply it is looked up."""
        link, doc = pair.link, pair.doc
        assert doc
        name = str(link.name)
        if "remote" not in self._settings.create or not self._ways & PUSH:
            return self._noted(pair, "keep", Result.KEPT, "has no record, and none is to be made", status=Status.NEW)
        if doc.get("docstatus") == 2 and link.status != Status.CREATING:
            return self._ended(pair, "cancelled before it got a record")
        if pair.member is False and link.status != Status.CREATING:
            return self._noted(pair, "keep", Result.KEPT, "left out by the filters", status=Status.NEW)
        payload = self._fields.new_record(doc)
        if self._run.dry_run:
            return self._planned(pair, "create", f"at {self._api.host}")
        if link.key:
            if twin := self._asked_before(name):
                return self._made_record(pair, twin, "found after a lost reply")
            if not self._api.record.find and not self._api.record.idempotent:
                when = f"{link.asked:%Y-%m-%d %H:%M} UTC" if link.asked else "before"
                raise Held(f"asked for at {when}, and no reply came: look at {self._api.host} whether it is there")
        else:
            link.key = f"{self._run.id}-{link.id}"
        link.status, link.asked = Status.CREATING, self._run.now()
        self._links.save([link])
        try:
            made = self._remote.create(payload, f"{link.key}-{digest(repr(payload))}")
        except RemoteRefused:
            link.key, link.asked = "", None  # it was heard, and nothing was made
            raise
        return self._made_record(pair, made, f"at {self._api.host}")

    def _asked_before(self, name: str) -> Record | None:
        found = self._remote.find(name) if self._api.record.find else []
        if len(found) > 1:
            ids = ", ".join(record.id for record in found[:5])
            raise Held(f"{len(found)} records at {self._api.host} are for {name}: {ids}")
        return found[0] if found else None

    def _made_record(self, pair: Pair, record: Record, why: str) -> Outcome:
        link = pair.link
        other = self._links.of_remotes([record.id]).get(record.id)
        if other is not None and other.id != link.id:
            if other.name not in (None, link.name):
                raise Held(f"record {record.id} is the twin of {other.name} already, so not of {link.name}")
            self._links.drop(other)  # a list showed it before its reply came
        link.remote, pair.record, pair.fresh = record.id, record, True
        assert pair.doc
        link.base = base_of(agreed := self._fields.of_site(pair.doc), agreed)
        self._links.save([link])
        return self._made(pair, f"record {record.id} {why}")

    # One side gone

    def _gone(self, pair: Pair, side: Side) -> Outcome:
        """Written down; what it means for the other side is decided once all that is gone is known."""
        link = pair.link
        if link.status == Status.ABSENT and link.detail.get("gone") == side:
            return self._noted(pair, "keep", Result.KEPT, link.why, status=Status.ABSENT)
        link.detail = {"gone": side, **({"keep": link.detail["keep"]} if "keep" in link.detail else {})}
        what = "document" if side == "site" else "record"
        return self._noted(pair, "keep", Result.KEPT, f"the {what} was deleted", status=Status.GONE)

    def _part_ways(self, pair: Pair) -> Outcome:
        link = pair.link
        gone: Side = "site" if link.detail.get("gone") == "site" else "remote"
        policy = self._settings.deleted.site if gone == "site" else self._settings.deleted.remote
        what = "document" if gone == "site" else "record"
        if self._is_back(pair, gone):
            link.detail, link.record = {}, None
            return self._noted(pair, "keep", Result.KEPT, f"the {what} is back", status=Status.LINKED, again=True)
        if link.detail.get("keep") not in (None, gone):
            return self._begin_anew(pair, gone)
        if policy == "ignore":
            return self._noted(
                pair, "keep", Result.KEPT, f"the {what} was deleted, which is ignored", status=Status.ABSENT
            )
        if policy == "unlink":
            return self._ended(pair, f"the {what} was deleted, so its twin lives on its own")
        return self._delete_record(pair) if gone == "site" else self._delete_document(pair)

    def _is_back(self, pair: Pair, gone: Side) -> bool:
        if gone == "site":
            return pair.doc is not None or (pair.link.name is not None and self._look_for(pair))
        return self._api.record.read is not None and self._read(pair)

    def _begin_anew(self, pair: Pair, gone: Side) -> Outcome:
        """A person wants what is left to have a twin again."""
        link = pair.link
        link.base, link.detail, link.record, link.etag, link.key = None, {}, None, "", ""
        if gone == "site":
            link.name, link.creation = None, ""
        else:
            link.remote = None
        return self._noted(pair, "keep", Result.KEPT, "gets a twin again", status=Status.NEW, again=True)

    def _delete_record(self, pair: Pair) -> Outcome:
        link = pair.link
        if not self._ways & PUSH:
            return self._noted(
                pair, "keep", Result.KEPT, "the document was deleted; the next push tells", status=Status.GONE
            )
        if not link.remote or not self._read(pair):
            return self._ended(pair, "both were deleted")
        assert pair.record
        remote = self._fields.of_remote(pair.record.body)
        held = {path: text.split(" ")[-1] for path, text in (link.base or {}).items()}
        if self._edited(remote, held) and link.detail.get("keep") != "site":
            return self._survivor(pair, "the document was deleted, but the record was changed since")
        if self._run.dry_run:
            return self._planned(pair, "delete", f"record {link.remote}, since its document was deleted")
        self._remote.delete(link.remote, pair.record.etag)
        return self._ended(pair, f"record {link.remote} deleted, since its document was deleted", verb="delete")

    def _delete_document(self, pair: Pair) -> Outcome:
        link, doc = pair.link, pair.doc
        if not self._ways & PULL:
            return self._noted(
                pair, "keep", Result.KEPT, "the record was deleted; the next pull tells", status=Status.GONE
            )
        if doc is None or doc.get("docstatus") == 2:
            return self._ended(pair, "both were deleted, or cancelled")
        held = {path: text.split(" ")[0] for path, text in (link.base or {}).items()}
        if self._edited(self._fields.of_site(doc), held) and link.detail.get("keep") != "remote":
            return self._survivor(pair, "the record was deleted, but the document was changed since")
        verb = "cancel" if doc.get("docstatus") == 1 else "delete"
        if self._run.dry_run:
            return self._planned(pair, verb, f"since record {link.remote} was deleted")
        if verb == "cancel":
            self._site.update(
                {"doctype": self._doctype.name, "name": doc["name"], "modified": doc["modified"], "docstatus": 2}
            )
        else:
            self._site.delete(self._doctype.name, str(doc["name"]))
        return self._ended(
            pair, f"{verb}led since record {link.remote} was deleted".replace("deleteled", "deleted"), verb=verb
        )

    def _edited(self, flat: Flat, held: Mapping[str, str]) -> bool:
        """Somebody changed what goes both ways since both sides agreed."""
        flow = self._fields.flow
        return any(digest(text) != held.get(path) for path, text in flat.items() if flow(path) == "both")

    def _survivor(self, pair: Pair, why: str) -> Outcome:
        return self._noted(pair, "delete", Result.FAILED, why, "Conflict", status=Status.CONFLICT)

    # Writing down what became of it

    def _planned(self, pair: Pair, verb: str, why: str) -> Outcome:
        result = Result.KEPT if verb == "keep" else Result.PLANNED
        return self._noted(pair, verb, result, why)

    def _done(self, pair: Pair, verb: str, why: str, owed: int = 0) -> Outcome:
        link = pair.link
        link.detail, link.tries, link.due = {}, 0, None
        result = Result.KEPT if verb == "keep" else Result.DONE
        return self._noted(pair, verb, result, why, status=Status.LINKED, owed=owed)

    def _ended(self, pair: Pair, why: str, verb: str = "keep") -> Outcome:
        result = Result.KEPT if verb == "keep" else Result.DONE
        return self._noted(pair, verb, result, why, status=Status.ENDED)

    def _failed(self, pair: Pair, error: DaemonError) -> Outcome:
        """To be tried again, later each time; after give_up times a person must look."""
        link = pair.link
        link.tries += 1
        again = link.tries < self._settings.give_up
        link.due = self._run.now() + min(LONGEST_WAIT, FIRST_WAIT * 2 ** min(link.tries - 1, 20))
        why = f"{link.name or 'no document'}, record {link.remote or 'none'}: {error}"
        status = Status.FAILED if again else Status.HELD
        verb = "update" if link.name and link.remote else "create"
        return self._noted(pair, verb, Result.FAILED, why, error.kind, error.who, status=status)

    def _held(self, pair: Pair, error: DaemonError) -> Outcome:
        return self._noted(pair, "update", Result.FAILED, str(error), error.kind, error.who, status=Status.HELD)

    def _noted(self, pair: Pair, verb: str, result: Result, why: str, error: str = "", who: str = "", *,
               status: str = "", owed: int = 0, again: bool = False) -> Outcome:  # fmt: skip
        """`owed`: directions that have something to do yet; `again`: it is to be looked at anew, whatever changed."""
        link = pair.link
        link.status = status or link.status
        link.todo, link.why, link.run = (PULL | PUSH if again else owed << OWED), why, self._run.id
        if link.status in (Status.LINKED, Status.ENDED):
            link.record = None
        self._links.save([link])
        action = Action(verb, self._doctype.name, link.name or f"record {link.remote}", why)
        return Outcome(action, result, why, error, who or ("document owner" if error else ""))


def _very(link: Link, docs: Mapping[str, dict[str, Any]]) -> dict[str, Any] | None:
    """The link's document, unless another one has its name now."""
    doc = docs.get(str(link.name))
    return doc if doc and link.creation in ("", str(doc["creation"])) else None


def _within(path: str, paths: Sequence[str]) -> bool:
    """It is one of them, or a cell of a row that is."""
    return any(path == one or path.startswith(f"{one}.") for one in paths)


def _worded(to_site: Changes, to_remote: Changes) -> str:
    said = [
        (f"{side}: " + ", ".join(sorted(changes.paths)))
        for side, changes in (("site", to_site), ("remote", to_remote))
        if changes
    ]
    text = "; ".join(said)
    return text if len(text) <= 300 else f"{text[:299]}…"


def _refuse_ignored(changes: Changes, before: Flat, after: Flat, side: Side) -> None:
    """A side that answers 200 and keeps its own value has not been told. Raises Held."""
    kept = [p for p, text in changes.values.items() if p in before and after.get(p) == before[p] and before[p] != text]
    kept += [p for p in changes.gone if p in after]
    if kept:
        raise Held(f"the {side} answered well, but kept its own {', '.join(sorted(kept))}")
