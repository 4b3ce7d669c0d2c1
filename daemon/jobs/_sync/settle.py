"""One pair after the other: what each side must be told, told, and looked at again wherever a reply was lost.

A pair is decided from what both sides hold now; whatever is written carries what was read (`modified`, an ETag), and a
mismatch or a lost reply leads back to reading. So a kill between any two writes costs nothing: what is done already
looks, the next time, like what both sides agree upon.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from daemon.core import exact
from daemon.core.agreed import Side
from daemon.core.api import Record
from daemon.core.doctype import DocType
from daemon.core.kind import RemotePort, Run
from daemon.core.links import OWED, PULL, PUSH, Link, LinksPort, Status
from daemon.core.mapping import BadValue, Fields, Flat
from daemon.core.plan import Action, Outcome, Result
from daemon.core.reconcile import Changes, Merge, agreed, applied, base_made, base_of, decided, reconcile
from daemon.errors import (
    AlreadyExists,
    DaemonError,
    Invalid,
    NotFound,
    RemoteError,
    RemoteNotFound,
    RemoteOutcomeUnknown,
    RemoteRefused,
    Stopped,
)
from daemon.jobs._sync.books import Books, Held
from daemon.jobs._sync.pairs import Pair, Pairs, Visit
from daemon.jobs._targets import Targets

if TYPE_CHECKING:
    from daemon.jobs.sync import Settings


class Settler:
    """Settles the pairs of one run; threads may share it."""

    def __init__(
        self,
        run: Run,
        settings: Settings,
        pairs: Pairs,
        books: Books,
        links: LinksPort,
        remote: RemotePort,
        fields: Fields,
        doctype: DocType,
        ways: int,
        *,
        forgetful: bool,
    ) -> None:
        """`forgetful`: this state has pushed nothing yet; another may have, that was lost."""
        self._run, self._site, self._settings, self._links = run, run.site, settings, links
        self._forgetful = forgetful
        self._pairs, self._books, self._remote, self._fields = pairs, books, remote, fields
        self._doctype, self._ways = doctype, ways
        self._side, self._api = settings.site, settings.api
        self._targets = Targets(run.site)

    def settle(self, actions: Iterable[Action]) -> Iterable[Outcome]:
        pairs = [action.pair for action in actions if isinstance(action, Visit) and action.pair]
        if self._run.dry_run:
            self._targets.learn(self._ahead(pairs))
        return self._run.each(lambda pair: self._books.guarded(pair, self._decide, self._pairs.reread), pairs)

    def _ahead(self, pairs: Iterable[Pair]) -> Iterator[tuple[str, Any]]:
        """(DocType, name) of what documents lead to that would be made for these pairs' records."""
        for pair in pairs:
            if pair.link.name is None and pair.adopted is None and pair.record:
                with suppress(BadValue):
                    links = self._doctype.links(self._fields.new_document(pair.record.body))
                    yield from ((of, name) for _, of, name in links)

    def _missing(self, doc: Mapping[str, Any]) -> str:
        """What `doc` leads to, and is known not to be there."""
        links = self._doctype.links(doc)
        return ", ".join(
            f"{path}: there is no {of} {name!r}" for path, of, name in links if self._targets.lacks(of, name)
        )

    def _decide(self, pair: Pair) -> Outcome:
        link = pair.link
        if pair.doc is None and pair.adopted is not None:
            self._pairs.adopt(pair, pair.adopted)
        if link.name is None:
            return self._make_document(pair)
        if pair.doc is None and not self._pairs.look_for(pair):
            return self._lost_document(pair)
        if link.remote is None:
            return self._make_record(pair)
        if link.detail.get("tombstone") or (self._must_read(pair) and not self._pairs.read(pair)):
            return self._gone(pair, "remote")
        assert pair.doc
        if self._pairs.is_void(pair):
            return self._gone(pair, "site")
        self._submit(pair)
        return self._merge(pair)

    # What must be known

    @property
    def _replaces(self) -> bool:
        """An update is sent whole, since it takes the place of what was there (RFC 9110, 9.3.4)."""
        return self._api.record.update is not None and self._api.record.update.method == "PUT"

    def _must_read(self, pair: Pair) -> bool:
        """The record is not known well enough: not from a list of this moment, nor guarded by its ETag."""
        link = pair.link
        if self._api.record.read is None:
            return False
        if pair.record is not None:
            return link.base is None and bool(self._pairs.untold(pair))
        guarded = link.base is not None and link.etag and self._api.record.if_match is True and not self._replaces
        return not (guarded and link.status == Status.LINKED and link.todo & (PULL | PULL << OWED) == 0)

    def _is_guarded(self, pair: Pair, changes: Changes) -> bool:
        """The API would refuse a change of a record that is not as we know it, and we know enough of it: what is sent
        whole, an array or by a PUT all of it, goes with what the mapping does not know."""
        known = pair.record.whole if pair.record else False
        sent_whole = self._replaces or any("[" in path for path in changes.paths)
        etag = pair.record.etag if pair.record else pair.link.etag
        return bool((known or not sent_whole) and etag and self._api.record.if_match is True)

    # Agreeing

    def _merge(self, pair: Pair) -> Outcome:
        link, doc, books = pair.link, pair.doc, self._books
        assert doc
        site, remote = self._pairs.of_site(pair), self._pairs.of_remote(pair) if pair.record else None
        merge = reconcile(site, remote, link.base, self._fields.flow, self._pairs.untold(pair))
        if merge.clashes and remote is not None:
            seen = {clash.path: [clash.site, clash.remote] for clash in merge.clashes}
            winner = self._winner(pair, seen)
            if winner is None:
                return self._conflict(pair, merge, seen)
            merge = decided(merge, site, remote, winner, self._fields.flow)
        to_site = merge.to_site if self._ways & PULL else Changes()
        to_remote = merge.to_remote if self._ways & PUSH and pair.member else Changes()
        if to_remote and self._api.record.read and not pair.fresh and not self._is_guarded(pair, to_remote):
            return self._merge(pair) if self._pairs.read(pair) else self._gone(pair, "remote")
        if self._run.dry_run:
            return self._foresee(pair, to_site, site, to_remote, remote)
        what = _worded(to_site, to_remote)
        pair.expected = base_of(applied(site, to_site), applied(remote or site, to_remote))
        if to_site:
            self._write_site(pair, to_site, site)
        if to_remote:
            self._write_remote(pair, to_remote, remote)
        self._agree(pair, [*to_site.paths, *to_remote.paths])
        if what:
            return books.agreed(pair, "update", what, self._owed(pair))
        left = ", ".join(sorted([*merge.to_site.paths, *merge.to_remote.paths]))
        why = f"not told yet: {left}" if left else "both hold the same"
        if left and pair.member is False:
            why += "; left out by the filters"
        return books.agreed(pair, "keep", why, self._owed(pair))

    def _foresee(self, pair: Pair, to_site: Changes, site: Flat, to_remote: Changes, remote: Flat | None) -> Outcome:
        """What would be told. Raises Held where it would not be taken."""
        if to_site:
            self._for_site(pair, to_site)
        if to_remote:
            self._for_remote(pair, to_remote)
        sides = [side for side, changes in (("site", to_site), ("remote", to_remote)) if changes]
        if not sides:
            return self._books.planned(pair, "keep", "nothing to tell")
        shown = _foreseen(to_site, site, to_remote, remote)
        return self._books.planned(pair, "update", shown, f"to update: {' and '.join(sides)}")

    def _owed(self, pair: Pair) -> int:
        """What there is still to tell: for a run of the other direction, or since a side's answer brought news."""
        if pair.record is None or pair.doc is None:
            return 0
        now = self._pairs.of_site(pair), self._pairs.of_remote(pair)
        merge = reconcile(*now, pair.link.base, self._fields.flow, self._pairs.untold(pair))
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
        pair.link.detail = {"paths": dict(seen)}
        said = "; ".join(f"{c.path} is {c.site!r} on the site, {c.remote!r} at the remote" for c in merge.clashes[:3])
        more = f" and {len(merge.clashes) - 3} more" if len(merge.clashes) > 3 else ""
        return self._books.clash(pair, "update", f"both sides changed: {said}{more}")

    def _agree(self, pair: Pair, told: Sequence[str]) -> None:
        """Remember what both hold, and what was `told`."""
        link = pair.link
        if self._marks(pair):
            self._tell_site(pair, {})
        assert pair.doc
        link.stamp = str(pair.doc["modified"])
        if pair.record is None:
            return  # nothing was told, and the record is as it was
        link.etag = pair.record.etag or ""
        link.remote_stamp = pair.record.stamp.isoformat() if pair.record.stamp else ""
        site, remote = self._pairs.of_site(pair), self._pairs.of_remote(pair)
        link.base = agreed(link.base, site, remote, told, self._pairs.untold(pair))

    # Telling the site

    def _write_site(self, pair: Pair, changes: Changes, before: Flat) -> None:
        """Send them with `modified`. Raises Held, and what the site says."""
        assert pair.doc
        sent = self._for_site(pair, changes)
        if any(isinstance(value, list) for value in sent.values()):
            sent = {**self._days(pair.doc), **sent}
        self._tell_site(pair, sent)
        _refuse_ignored(changes, before, self._pairs.of_site(pair), "site")

    def _for_site(self, pair: Pair, changes: Changes) -> dict[str, Any]:
        """The fields to send. Raises Held where Frappe would not take them."""
        assert pair.doc
        sent = self._fields.document_changes(changes.values, changes.gone, pair.doc, pair.link.base)
        self._refuse_closed(pair.doc, sent)
        return sent

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

    def _marks(self, pair: Pair) -> dict[str, Any]:
        """The record's id, and the pending flag cleared, where the document has them not so yet."""
        doc, link, side = pair.doc, pair.link, self._side
        assert doc
        sent: dict[str, Any] = {}
        if str(doc.get(side.id_field) or "") != link.remote and not doc.get("amended_from"):
            sent[side.id_field] = link.remote
        if side.pending_field and doc.get(side.pending_field):
            sent[side.pending_field] = 0
        return sent if doc.get("docstatus") != 2 else {}

    @property
    def _stamp(self) -> dict[str, Any]:
        return {self._side.synced_field: self._site.text(self._run.now())} if self._side.synced_field else {}

    def _tell_site(self, pair: Pair, sent: Mapping[str, Any]) -> None:
        """With `modified`, so that nobody's edit since our reading is overwritten, and with the marks."""
        doc = pair.doc
        assert doc
        known = {"doctype": self._doctype.name, "name": doc["name"], "modified": doc["modified"]}
        pair.doc = self._site.update({**known, **sent, **self._marks(pair), **self._stamp})

    def _submit(self, pair: Pair) -> None:
        """A document that was made for a record is submitted, whatever came between."""
        assert pair.doc
        if pair.link.detail.get("submit") and pair.doc.get("docstatus") == 0 and not self._run.dry_run:
            self._tell_site(pair, {"docstatus": 1})

    # Telling the remote

    def _write_remote(self, pair: Pair, changes: Changes, before: Flat | None) -> None:
        link, known = pair.link, pair.record
        payload, body = self._for_remote(pair, changes), known.body if known else None
        answer = self._remote.update(str(link.remote), payload, (known and known.etag) or link.etag or None)
        if answer is None and self._api.record.read is None:  # nobody can say more of it than what it was told
            answer = Record(str(link.remote), {**(body or {}), **payload}, None)
        elif answer is None:
            answer = self._remote.read(str(link.remote))
        if answer is None:
            raise RemoteNotFound(f"record {link.remote} was deleted meanwhile")
        pair.record, pair.fresh = answer, True
        if before is not None:
            _refuse_ignored(changes, before, self._pairs.of_remote(pair), "remote")

    def _for_remote(self, pair: Pair, changes: Changes) -> dict[str, Any]:
        """The payload. Raises Held where the API takes no updates."""
        assert pair.doc
        if self._api.record.update is None:
            raise Held(f"{self._api.host} takes no updates, but the document's {', '.join(changes.paths)} changed")
        body, base = pair.record.body if pair.record else None, pair.link.base
        return self._fields.record_changes(changes.values, changes.gone, body, pair.doc, base, whole=self._replaces)

    # Making a twin

    def _make_document(self, pair: Pair) -> Outcome:
        """A document for a record. The unique id field keeps a second one from being made."""
        link, books = pair.link, self._books
        if pair.record is None and not self._pairs.read(pair):
            return books.ended(pair, "the record was deleted before it got a document")
        if self._pairs.untold(pair) and self._api.record.read and not self._pairs.read(pair):
            return books.ended(pair, "the record was deleted before it got a document")
        record = pair.record
        assert record
        if "site" not in self._settings.create or not self._ways & PULL:
            return books.kept(pair, "has no document, and none is to be made", Status.NEW)
        told = self._fields.new_document(record.body)
        doc = {**told, self._side.id_field: link.remote, **self._stamp}
        if self._side.pending_field:
            doc[self._side.pending_field] = 0
        if self._run.dry_run:
            if missing := self._missing(told):
                raise Invalid(missing)
            shown = _cut(f"on the site, for record {link.remote}: {_listed(told)}")
            return books.planned(pair, "create", shown, "to create on the site")
        if self._side.submit:
            link.detail = {**link.detail, "submit": True}
        link.base = base_of(said := self._pairs.of_remote(pair), said)
        self._links.save([link])  # whatever becomes of this run, that much both will have agreed upon
        try:
            made = self._site.insert({"doctype": self._doctype.name, **doc})
        except (AlreadyExists, Invalid, NotFound) as error:
            pair.adopted = self._pairs.twin(str(link.remote))  # an earlier request of ours that was heard late
            if pair.adopted is not None:
                return self._decide(pair)
            link.base = None
            self._targets.learn((of, name) for _, of, name in self._doctype.links(told))
            if missing := self._missing(told):
                raise Invalid(f"{missing} ({error})") from None
            raise
        self._pairs.holder(link, made)
        self._pairs.name(pair, made)
        link.base = base_made(self._pairs.of_remote(pair), self._pairs.of_site(pair), self._fields.flow)
        self._links.save([link])
        self._submit(pair)
        return self._made(pair, f"on the site, for record {link.remote}")

    def _made(self, pair: Pair, why: str) -> Outcome:
        """The twin is there. What it holds beyond what it was told, such as a status or a number of its own, counts as
        a change of its side since both agreed upon what it was told."""
        outcome = self._merge(pair)
        if outcome.result not in (Result.DONE, Result.KEPT):
            return outcome
        pair.link.why = why
        self._links.save([pair.link])
        return replace(outcome, action=replace(outcome.action, verb="create", why=why), result=Result.DONE)

    def _make_record(self, pair: Pair) -> Outcome:
        """A record for a document. What is asked for is written down first; after a lost reply it is looked up, or
        asked for once more in the very same words."""
        link, doc, books = pair.link, pair.doc, self._books
        assert doc
        if "remote" not in self._settings.create or not self._ways & PUSH:
            return books.kept(pair, "has no record, and none is to be made", "" if link.key else Status.NEW)
        if link.key:
            return self._ask_again(pair)
        if doc.get("docstatus") == 2:
            return books.ended(pair, "cancelled before it got a record")
        if pair.member is False:
            return books.kept(pair, "left out by the filters", Status.NEW)
        payload = self._fields.new_record(doc)
        if self._run.dry_run:
            shown = _cut(f"at {self._api.host}: {_listed(payload)}")
            return books.planned(pair, "create", shown, f"to create at {self._api.host}")
        if self._forgetful and (twin := self._asked_for(pair)):
            return self._made_record(pair, twin, "was there")
        link.key, link.status, link.asked = self._key(link), Status.CREATING, self._run.now()
        link.base = base_of(said := self._pairs.of_site(pair), said)
        link.record, link.detail = exact.dumps(payload).decode(), {**link.detail, "asked": link.name}
        self._links.save([link])
        return self._ask(pair, payload, (RemoteError, Stopped))

    def _key(self, link: Link) -> str:
        """The same for the same document, also where our memory was lost; another for a record that is made anew."""
        api, anew = self._api, str(link.detail.get("anew", ""))
        parts = (api.url, str(api.record.create), self._doctype.name, str(link.name), link.creation, anew)
        return hashlib.blake2b("\0".join(parts).encode(), digest_size=16).hexdigest()

    def _ask(self, pair: Pair, payload: Mapping[str, Any], nothing_made: tuple[type[DaemonError], ...]) -> Outcome:
        """`nothing_made`: errors that prove that there is no record, unless they say that nobody knows."""
        link = pair.link
        try:
            made = self._remote.create(payload, link.key)
        except RemoteOutcomeUnknown:
            raise
        except nothing_made:
            link.key, link.asked, link.base, link.record, link.status = "", None, None, None, Status.NEW
            self._links.save([link])
            raise
        return self._made_record(pair, made, f"at {self._api.host}")

    def _ask_again(self, pair: Pair) -> Outcome:
        link = pair.link
        if self._run.dry_run:
            return self._books.planned(pair, "create", f"at {self._api.host}, if it is not there yet")
        if twin := self._asked_for(pair):
            return self._made_record(pair, twin, "found after a lost reply")
        if not self._api.record.find and not self._api.record.idempotent:
            when = f"{link.asked:%Y-%m-%d %H:%M} UTC" if link.asked else "before"
            raise Held(f"asked for at {when}, and no reply came: look at {self._api.host} whether it is there")
        return self._ask(pair, exact.loads(str(link.record).encode()), (RemoteRefused,))

    def _asked_for(self, pair: Pair) -> Record | None:
        """The record that was asked for, under the name that the document had then or has now. Raises Held."""
        if not self._api.record.find:
            return None
        names = dict.fromkeys([str(pair.link.detail.get("asked") or pair.link.name), str(pair.link.name)])
        found = {record.id: record for name in names for record in self._remote.find(name)}
        if len(found) > 1:
            ids = ", ".join(list(found)[:5])
            raise Held(f"{len(found)} records at {self._api.host} are for {' and '.join(names)}: {ids}")
        return next(iter(found.values()), None)

    def _made_record(self, pair: Pair, record: Record, why: str) -> Outcome:
        self._pairs.take_record(pair, record)
        self._links.save([pair.link])
        return self._made(pair, f"record {record.id} {why}")

    # One side gone

    def _lost_document(self, pair: Pair) -> Outcome:
        """A document that was deleted; its record may have been asked for."""
        link = pair.link
        if link.remote is None and link.key:
            if not self._api.record.find:
                raise Held(f"deleted, and nobody knows whether its record was made: look at {self._api.host}")
            if twin := self._asked_for(pair):
                self._pairs.take_record(pair, twin)
        if link.remote is None:
            return self._books.ended(pair, "deleted before it got a record")
        return self._gone(pair, "site")

    def _gone(self, pair: Pair, side: Side) -> Outcome:
        """Written down; what it means for the other side is decided once all that is gone is known."""
        link = pair.link
        if link.status == Status.ABSENT and link.detail.get("gone") == side:
            return self._books.kept(pair, link.why)
        link.detail = {"gone": side, **({"keep": link.detail["keep"]} if "keep" in link.detail else {})}
        return self._books.kept(pair, f"the {'document' if side == 'site' else 'record'} was deleted", Status.GONE)


def _worded(to_site: Changes, to_remote: Changes) -> str:
    sides = (("site", to_site), ("remote", to_remote))
    return _cut("; ".join(f"{side}: {', '.join(sorted(changes.paths))}" for side, changes in sides if changes))


def _foreseen(to_site: Changes, site: Flat, to_remote: Changes, remote: Flat | None) -> str:
    """What each side would be told, with what it holds now."""
    parts = []
    for side, changes, now in (("site", to_site, site), ("remote", to_remote, remote)):
        told = [
            f"{path}: {f'{now[path]!r} → ' if now and path in now else ''}{text!r}"
            for path, text in sorted(changes.values.items())
        ]
        told += [f"{path} goes" for path in sorted(changes.gone)]
        parts += [f"{side} {', '.join(told)}"] if told else []
    return _cut("; ".join(parts))


def _listed(values: Mapping[str, Any]) -> str:
    """Fields with what they would hold; of a table the number of rows."""
    return ", ".join(f"{name}: {_shown(value)}" for name, value in values.items() if value not in (None, ""))


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return "1 row" if len(value) == 1 else f"{len(value)} rows"
    return repr(str(value))


def _cut(text: str) -> str:
    return text if len(text) <= 300 else f"{text[:299]}…"


def _refuse_ignored(changes: Changes, before: Flat, after: Flat, side: Side) -> None:
    """A side that answers 200 and keeps its own value has not been told; one that trims it has. Raises Held."""
    told = {path: text for path, text in changes.values.items() if path in before and before[path] != text}
    kept = [p for p, t in told.items() if p in after and after[p] == before[p] and _trimmed(t) != _trimmed(before[p])]
    kept += [path for path in changes.gone if path in after]
    if kept:
        raise Held(f"the {side} answered well, but kept its own {', '.join(sorted(kept))}")


def _trimmed(text: str | None) -> str:
    return " ".join((text or "").split())
