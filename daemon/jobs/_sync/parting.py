"""Pairs that lost one side: what this means for the other. Deletes documents and records, where it is propagated."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from daemon.core.agreed import Base, Side
from daemon.core.kind import RemotePort, Run
from daemon.core.links import PULL, PUSH, Status
from daemon.core.mapping import Fields, Flat
from daemon.core.plan import Action, Outcome
from daemon.core.reconcile import changed
from daemon.errors import StaleDocument
from daemon.jobs._sync.books import Books
from daemon.jobs._sync.pairs import Pair, Pairs, Visit

if TYPE_CHECKING:
    from daemon.jobs.sync import Settings


class Parting:
    """Settles the pairs that lost a side, once all of them are counted."""

    def __init__(
        self, run: Run, settings: Settings, pairs: Pairs, books: Books, remote: RemotePort, fields: Fields, ways: int
    ) -> None:
        self._run, self._site, self._settings, self._remote = run, run.site, settings, remote
        self._pairs, self._books, self._fields, self._ways = pairs, books, fields, ways
        self._doctype = settings.site.doctype

    def settle(self, actions: Iterable[Action]) -> Iterable[Outcome]:
        return self._run.each(
            lambda pair: self._books.guarded(pair, self._part, self._pairs.reread),
            [action.pair for action in actions if isinstance(action, Visit) and action.pair],
        )

    def _part(self, pair: Pair) -> Outcome:
        link, books = pair.link, self._books
        gone: Side = "site" if link.detail.get("gone") == "site" else "remote"
        what = "document" if gone == "site" else "record"
        if self._is_back(pair, gone):
            link.detail, link.record = {}, None
            return books.kept(pair, f"the {what} is back", Status.LINKED, again=True)
        if link.detail.get("keep") not in (None, gone):
            return self._begin_anew(pair, gone)
        match self._settings.deleted.site if gone == "site" else self._settings.deleted.remote:
            case "ignore":
                return books.kept(pair, f"the {what} was deleted, which is ignored", Status.ABSENT)
            case "unlink":
                return books.ended(pair, f"the {what} was deleted, so its twin lives on its own")
        return self._delete_record(pair) if gone == "site" else self._delete_document(pair)

    def _is_back(self, pair: Pair, gone: Side) -> bool:
        if gone == "site":
            there = pair.doc is not None or (pair.link.name is not None and self._pairs.look_for(pair))
            return there and not self._pairs.is_void(pair)
        return self._settings.api.record.read is not None and self._pairs.read(pair)

    def _begin_anew(self, pair: Pair, gone: Side) -> Outcome:
        """A person wants what is left to have a twin again."""
        link = pair.link
        link.base, link.detail, link.record, link.etag, link.key = None, {"anew": self._run.id}, None, "", ""
        if gone == "site":
            link.name, link.creation = None, ""
        else:
            link.remote = None
        return self._books.kept(pair, "gets a twin again", Status.NEW, again=True)

    def _delete_record(self, pair: Pair) -> Outcome:
        link, books = pair.link, self._books
        if not self._ways & PUSH:
            return books.kept(pair, "the document was deleted; the next push tells", Status.GONE)
        if not link.remote or not self._pairs.read(pair):
            return books.ended(pair, "both were deleted")
        assert pair.record
        if (
            self._edited(self._fields.of_remote(pair.record.body, link.base), link.base, "remote")
            and link.detail.get("keep") is None
        ):
            return books.clash(pair, "delete", "the document was deleted, but the record was changed since")
        why = f"record {link.remote}, since its document was deleted"
        if self._run.dry_run:
            return books.planned(pair, "delete", why)
        self._remote.delete(link.remote, pair.record.etag)
        return books.ended(pair, why, verb="delete")

    def _delete_document(self, pair: Pair) -> Outcome:
        link, books = pair.link, self._books
        if not self._ways & PULL:
            return books.kept(pair, "the record was deleted; the next pull tells", Status.GONE)
        seen = pair.doc
        if seen is None or not self._pairs.look_for(pair) or pair.doc is None or pair.doc.get("docstatus") == 2:
            return books.ended(pair, "both were deleted, or cancelled")
        doc = pair.doc
        if doc["modified"] != seen["modified"]:
            raise StaleDocument(f"{doc['name']} was changed meanwhile")
        if self._edited(self._fields.of_site(doc, link.base), link.base, "site") and link.detail.get("keep") is None:
            return books.clash(pair, "delete", "the record was deleted, but the document was changed since")
        verb, why = "cancel" if doc.get("docstatus") == 1 else "delete", f"since record {link.remote} was deleted"
        if self._run.dry_run:
            return books.planned(pair, verb, why)
        if verb == "cancel":
            known = {"doctype": self._doctype, "name": doc["name"], "modified": doc["modified"]}
            self._site.update({**known, "docstatus": 2})
        else:
            self._site.delete(self._doctype, str(doc["name"]))
        return books.ended(pair, why, verb=verb)

    def _edited(self, flat: Flat, base: Base | None, side: Side) -> bool:
        """Somebody changed there what the other side would have been told. A document's fields that only go to the
        record, such as its name, are the site's own doing."""
        barred = ("pull", "push") if side == "site" else ("push",)
        return any(self._fields.flow(path) not in barred for path in changed(flat, base, side))
