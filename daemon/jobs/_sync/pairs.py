"""A page of pairs with what both sides hold, and who is whose twin. Reads both sides; writes links alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from daemon.core import exact
from daemon.core.agreed import Base
from daemon.core.api import Record
from daemon.core.doctype import DocType
from daemon.core.kind import RemotePort, Run
from daemon.core.links import PUSH, Link, LinksPort, give_up_name
from daemon.core.mapping import Fields, Flat
from daemon.core.plan import Action
from daemon.core.records import record_of
from daemon.errors import NotFound, NotPermitted
from daemon.jobs._sync.books import Held

if TYPE_CHECKING:
    from daemon.jobs.sync import Settings


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
    expected: Base | None = None
    """What both hold once they were told: by it rows of one key are told apart from then on."""


@dataclass(frozen=True, slots=True)
class Visit(Action):
    """A pair that is due."""

    pair: Pair | None = None


class Pairs:
    """What both sides hold of the pairs of one run; threads may share it."""

    def __init__(
        self,
        run: Run,
        settings: Settings,
        links: LinksPort,
        remote: RemotePort,
        fields: Fields,
        doctype: DocType,
        ways: int,
    ) -> None:
        self._site, self._links, self._remote, self._fields = run.site, links, remote, fields
        self._side, self._api, self._doctype, self._ways = settings.site, settings.api, doctype.name, ways

    def page(self, links: Sequence[Link]) -> list[Action]:
        """These links with their documents as they are now: a few requests for all of them."""
        docs = self._whole([link.name for link in links if link.name])
        pairs = [Pair(link, _very(link, docs)) for link in links]
        found = self._by_ids([str(pair.link.remote) for pair in pairs if pair.link.remote and pair.doc is None])
        for pair in pairs:
            if pair.doc is None:
                pair.adopted = found.get(str(pair.link.remote))
            if pair.link.remote is not None and pair.link.record is not None:
                pair.record = record_of(exact.loads(pair.link.record.encode()), self._api.record)
        pairs = self._recognise(pairs)
        self._choose(pairs)
        named = [(pair, pair.link.name or f"record {pair.link.remote}") for pair in pairs]
        return [Visit("sync", self._doctype, name, pair.link.why, pair=pair) for pair, name in named]

    def _whole(self, names: Sequence[str]) -> dict[str, dict[str, Any]]:
        return {str(doc["name"]): doc for doc in self._site.whole(self._doctype, names)} if names else {}

    def _by_ids(self, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Record's id → its document; where that was cancelled and amended, the amendment."""
        if not ids:
            return {}
        own = self._side.id_field
        rows = self._site.get_list(self._doctype, ["name", "docstatus", own], [[own, "in", list(ids)]])
        heads = {str(row[own]): str(row["name"]) for row in rows}
        cancelled = {str(row["name"]): str(row[own]) for row in rows if row["docstatus"] == 2}
        while cancelled:
            where = [["amended_from", "in", list(cancelled)]]
            rows = self._site.get_list(self._doctype, ["name", "docstatus", "amended_from"], where)
            heads.update({cancelled[str(row["amended_from"])]: str(row["name"]) for row in rows})
            cancelled = {str(r["name"]): cancelled[str(r["amended_from"])] for r in rows if r["docstatus"] == 2}
        docs = self._whole(list(heads.values()))
        return {id_: docs[name] for id_, name in heads.items() if name in docs}

    def _recognise(self, pairs: Sequence[Pair]) -> list[Pair]:
        """`pairs`, in which two links of one pair, one from each side's list, have become one before either is worked
        on. Records that carry the name of a document of ours are its twin, whose id never came back to us."""
        named = {
            name: pair
            for pair in pairs
            if pair.doc is None and pair.adopted is None and pair.link.name is None and pair.record
            if (name := self._fields.own_name(pair.record.body))
        }
        for name, doc in self._whole(list(named)).items():
            if str(doc.get(self._side.id_field) or "") in ("", named[name].link.remote):
                named[name].adopted = doc
        halves = [(pair, self.holder(pair.link, pair.adopted)) for pair in pairs if pair.adopted is not None]
        lost = self._links.of_names([name for name, pair in named.items() if pair.adopted is None])
        halves += [(named[name], other) for name, other in lost.items() if other.key]  # asked for, then deleted
        void: set[int] = set()
        for pair, other in halves:
            if other is not None and other.remote is None:
                self._unite(pair.link, other)
                void.add(other.id)
        return [pair for pair in pairs if pair.link.id not in void]

    def _unite(self, link: Link, other: Link) -> None:
        """`other` is the document's half of `link`, and knows what its record was asked for as."""
        self._links.drop(other)
        link.name, link.creation, link.stamp = other.name, other.creation, other.stamp
        link.base = link.base or other.base
        self._links.save([link])

    def _choose(self, pairs: Sequence[Pair]) -> None:
        """What the filters do not choose, such as drafts, takes from the record and gives nothing."""
        docs = {str(doc["name"]): doc for pair in pairs if (doc := pair.doc or pair.adopted)}
        if not self._side.filters or not docs or not self._ways & PUSH:
            for pair in pairs:
                pair.member = None if self._side.filters else True
            return
        where = [["name", "in", list(docs)], *self._side.filters]
        chosen = {str(row["name"]) for row in self._site.get_list(self._doctype, ["name"], where)}
        for pair in pairs:
            if doc := pair.doc or pair.adopted:
                pair.member = doc.get("docstatus") == 2 or str(doc["name"]) in chosen

    # One pair

    def is_void(self, pair: Pair) -> bool:
        """Its document was cancelled, which counts as deleted here."""
        return self._side.cancelled == "propagate" and pair.doc is not None and pair.doc.get("docstatus") == 2

    def of_site(self, pair: Pair) -> Flat:
        """What the document holds."""
        assert pair.doc
        return self._fields.of_site(pair.doc, pair.expected or pair.link.base)

    def of_remote(self, pair: Pair) -> Flat:
        """What the record tells."""
        assert pair.record
        return self._fields.of_remote(pair.record.body, pair.expected or pair.link.base, whole=pair.record.whole)

    def untold(self, pair: Pair) -> list[str]:
        """Fields and tables of which the record says nothing."""
        return [] if pair.record is None or pair.record.whole else self._fields.untold(pair.record.body)

    def reread(self, pair: Pair) -> None:
        """Whatever is known of it may be wrong."""
        link = pair.link
        pair.record, pair.fresh, pair.doc, pair.adopted, link.etag = None, False, None, None, ""
        pair.expected = None
        if link.name:
            pair.doc = _very(link, self._whole([link.name]))
        elif link.remote:
            pair.adopted = self.twin(link.remote)

    def twin(self, id_: str) -> dict[str, Any] | None:
        """The document of the record `id_`."""
        return self._by_ids([id_]).get(id_)

    def look_for(self, pair: Pair) -> bool:
        """A document that no list shows, asked for by its name: it may be hidden from this user. Raises Held."""
        name = str(pair.link.name)
        try:
            found = self._site.get_doc(self._doctype, name)
        except NotFound:
            return False
        except NotPermitted as error:
            raise Held(f"{name} is there, but hidden from the daemon's user: {error}") from None
        pair.doc = _very(pair.link, {name: found})
        return pair.doc is not None

    def read(self, pair: Pair) -> bool:
        """Read the record; False where it is not there."""
        pair.record = self._remote.read(str(pair.link.remote))
        pair.fresh = True
        return pair.record is not None and not pair.record.deleted

    def adopt(self, pair: Pair, doc: dict[str, Any]) -> None:
        """`doc` is this record's document. A link that waits for the same document's record becomes one with it. Raises
        Held where another record has it."""
        if other := self.holder(pair.link, doc):
            if other.remote not in (None, pair.link.remote):
                said = f"{doc['name']} is the twin of record {other.remote} already, so not of {pair.link.remote}"
                raise Held(said)
            self._unite(pair.link, other)
        self.name(pair, doc)

    def name(self, pair: Pair, doc: dict[str, Any]) -> None:
        """`doc` is this link's document from now on."""
        pair.doc, pair.link.name, pair.link.creation = doc, str(doc["name"]), str(doc["creation"])

    def holder(self, link: Link, doc: Mapping[str, Any]) -> Link | None:
        """Another link of this document. One of an earlier document of its name gives the name up."""
        other = self._links.of_names([str(doc["name"])]).get(str(doc["name"]))
        if other is None or other.id == link.id:
            return None
        if other.creation in ("", str(doc["creation"])):
            return other
        give_up_name(other)
        self._links.save([other])
        return None

    def take_record(self, pair: Pair, record: Record) -> None:
        """`record` is this document's from now on. Raises Held where another document has it."""
        other = self._links.of_remotes([record.id]).get(record.id)
        if other is not None and other.id != pair.link.id:
            if other.name not in (None, pair.link.name):
                raise Held(f"record {record.id} is the twin of {other.name} already, so not of {pair.link.name}")
            self._links.drop(other)  # a list showed it before its reply came
        pair.link.remote, pair.record, pair.fresh = record.id, record, True
        pair.link.record = None  # it held what was asked for


def _very(link: Link, docs: Mapping[str, dict[str, Any]]) -> dict[str, Any] | None:
    """The link's document, unless another one has its name now."""
    doc = docs.get(str(link.name))
    return doc if doc and link.creation in ("", str(doc["creation"])) else None
