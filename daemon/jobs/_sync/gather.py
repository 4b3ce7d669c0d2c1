"""What lists of either side show to have changed → links with something to do. Writes the links alone.

A list is read from a little before the newest change that was seen the last time, and now and then from the beginning.
A row that shows what is known already is an echo of our own writing, or of the overlap, and changes nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from daemon.core import exact
from daemon.core.agreed import ABSENT, held_by
from daemon.core.api import Malformed, Record
from daemon.core.links import PULL, PUSH, Link, Status, give_up_name
from daemon.core.mapping import BadValue
from daemon.core.plan import Action, Outcome, Result, Tally
from daemon.core.reconcile import changed
from daemon.errors import NotFound, NotPermitted

if TYPE_CHECKING:
    from daemon.jobs.sync import Sync

PAGE = 500
CHAIN = 20
"""Amendments of amendments that are followed."""


class Gatherer:
    """Reads the lists of one run."""

    def __init__(self, sync: Sync, tally: Tally) -> None:
        self._sync, self._tally = sync, tally
        self._run, self._links, self._memory = sync.run, sync.links, sync.memory
        self._side = sync.settings.site
        self._doctype = self._side.doctype
        wish = sync.run.wish
        self.resync = bool(wish.get("resync"))
        self._whole = self.resync or bool(wish.get("full"))
        self._since = datetime.fromisoformat(wish["since"]) if wish.get("since") else None
        self.full: dict[str, int] = {}
        """Side → how many a full listing of it has shown."""
        self.new: Counter[str] = Counter()
        """Side → how many it has shown that nobody knew."""
        self.known_before = [side for side in ("remote", "site") if self._memory.get(f"full {side}") is not None]
        """Sides that were listed in full before this run."""

    def gather(self) -> None:
        """Both sides, as far as this run may. A cursor moves once all of its list is written down."""
        if self.resync:
            self._links.want(PULL | PUSH, [Status.LINKED], self._sync.still_agreed)
        if self._sync.ways & PULL:
            self._gather_remote()
        if self._sync.ways & PUSH:
            self._gather_site()

    def _is_due(self, side: str) -> bool:
        """A full listing is wanted."""
        if self._whole or self._since:
            return self._whole
        last, every = self._memory.get(f"full {side}"), self._sync.settings.full_every
        old = bool(every and (last is None or self._run.now() - datetime.fromisoformat(last) >= every))
        return old or self._memory.get(f"cursor {side}") is None

    def _covers(self, cursor: Any) -> bool:
        """What was read goes back to the cursor, so that it may move: not where a person asked for what is newer."""
        return self._since is None or (cursor is not None and self._since <= cursor)

    # The remote

    def _gather_remote(self) -> None:
        full, began = self._is_due("remote") or not self._sync.settings.api.list.since, self._run.now()
        cursor = self._memory.get("cursor remote")
        since = None
        if not full:
            since = self._since or (datetime.fromisoformat(cursor) - self._sync.settings.lag if cursor else None)
        newest, number = cursor, 0
        for page in self._sync.remote.changed(since):
            self._run.check()
            records = [record for record in page if isinstance(record, Record)]
            for bad in page:
                if isinstance(bad, Malformed):
                    self._tell_malformed(bad)
            newest = max([newest or "", *(min(r.stamp, began).isoformat() for r in records if r.stamp)])
            number += len(records)
            self._note_records(records, self._run.id if full else "")
        if newest and self._covers(cursor and datetime.fromisoformat(cursor)):
            self._memory.put(**{"cursor remote": newest})
        if full:
            self.full["remote"] = number
            self._memory.put(**{"full remote": began.isoformat()})
            self._miss("remote", PULL)

    def _tell_malformed(self, bad: Malformed) -> None:
        action = Action("read", f"record of {self._sync.settings.api.host}", bad.id or bad.position, bad.why)
        self._tally.add(Outcome(action, Result.FAILED, f"{bad.why}: {bad.excerpt}", "Malformed", "remote"))

    def _note_records(self, records: Sequence[Record], mark: str) -> None:
        known = self._links.of_remotes([record.id for record in records])
        touched: list[Link] = []
        for record in records:
            link = known.get(record.id)
            if link is None:
                if record.deleted:
                    continue
                link = known[record.id] = Link(remote=record.id)
                self.new["remote"] += 1
            elif link.status == Status.ENDED or self._is_known(link, record, full=bool(mark)):
                continue
            self._take(link, record)
            self._touch(link, PULL)
            touched.append(link)
        self._links.save({id(link): link for link in touched}.values())
        if mark:
            self._links.mark([link for link in known.values() if link.id], "remote", mark)

    def _take(self, link: Link, record: Record) -> None:
        """What the list says is remembered, unless it is too old or too little to be worked with: then the record is
        read by itself, where it can be."""
        doubted = self._is_old(link, record) or self._lacks(link, record)
        unread = record.deleted or (doubted and self._sync.settings.api.record.read is not None)
        link.record = None if unread else exact.dumps(record.body).decode()
        link.detail = {key: value for key, value in link.detail.items() if key != "tombstone"}
        if record.deleted:
            link.detail["tombstone"] = True

    def _is_known(self, link: Link, record: Record, *, full: bool) -> bool:
        """It is waiting to be worked on, or holds what it held when both sides last agreed."""
        if link.status in (Status.GONE, Status.ABSENT) or record.deleted or link.detail.get("tombstone"):
            return False
        if link.record is not None:
            return bool(link.record == exact.dumps(record.body).decode())
        if link.base is None:
            return False
        fields, body = self._sync.fields, record.body
        try:
            flat = fields.of_remote(body, link.base, whole=False)
        except BadValue:
            return False
        if changed(flat, link.base, "remote", fields.untold(body)):
            return False
        if self._lacks(link, record):  # what it does not tell may have changed, and its stamp would show that
            return record.stamp.isoformat() == link.remote_stamp if record.stamp else not full
        return True

    def _is_old(self, link: Link, record: Record) -> bool:
        """By its stamp it is from before both sides last agreed: a list may lag behind, or a clock was set back."""
        return bool(record.stamp and link.remote_stamp and record.stamp.isoformat() < link.remote_stamp)

    def _lacks(self, link: Link, record: Record) -> bool:
        """It does not tell a field that the site is told, and that held something when both sides last agreed."""
        then = {
            path.partition("[")[0]
            for path, entry in (link.base or {}).items()
            if held_by("remote", entry) not in ("", ABSENT)
        }
        fields = self._sync.fields
        return any(name in then and fields.flow(name) != "push" for name in fields.untold(record.body))

    # The site

    def _gather_site(self) -> None:
        full, began, site = self._is_due("site"), self._run.now(), self._run.site
        cursor = self._memory.get("cursor site")
        newest, number, latest = cursor or "", 0, site.text(began)
        pages: Iterator[tuple[list[dict[str, Any]], bool]]
        if full:
            pages = self._all_documents()
        else:
            moment = self._since or (site.moment(cursor) - self._sync.settings.lag)
            pages = self._changed_documents(site.bound(moment))
        for rows, belong in pages:
            self._run.check()
            newest = max([newest, *(min(str(row["modified"]), latest) for row in rows)])
            number += len(rows)
            self._note_documents(rows, self._run.id if full else "", belong=belong)
        if not full:
            self._note_deleted(cursor or "")
        if newest and self._covers(cursor and site.moment(cursor)):
            self._memory.put(**{"cursor site": newest})
        if full:
            self.full["site"] = number
            self._memory.put(**{"full site": began.isoformat()})
            self._miss("site", PUSH)

    @property
    def _columns(self) -> list[str]:
        own = ["name", "creation", "modified", "docstatus", self._side.id_field]
        submittable = self._run.site.meta(self._doctype).is_submittable
        return [*own, *(["amended_from"] if submittable else []), *filter(None, [self._side.pending_field])]

    def _pages(self, where: Sequence[Sequence[Any]], key: Sequence[str]) -> Iterator[list[dict[str, Any]]]:
        return self._run.site.paginate(self._doctype, self._columns, where, key=key, page_length=PAGE)

    def _all_documents(self) -> Iterator[tuple[list[dict[str, Any]], bool]]:
        """(rows, whether all of them belong to the sync): what the filters choose, and whatever has a twin."""
        for rows in self._pages(self._side.filters, ("name",)):
            yield rows, True
        if self._side.filters:
            for rows in self._pages([[self._side.id_field, "is", "set"]], ("name",)):
                yield rows, False

    def _changed_documents(self, bound: str) -> Iterator[tuple[list[dict[str, Any]], bool]]:
        for rows in self._pages([["modified", ">=", bound]], ("modified", "name")):
            yield rows, not self._side.filters
        if self._side.pending_field:  # may have been set without a new stamp
            for rows in self._pages([*self._side.filters, [self._side.pending_field, "=", 1]], ("name",)):
                yield rows, True

    def _note_documents(self, rows: Sequence[Mapping[str, Any]], mark: str, *, belong: bool) -> None:
        links = self._links
        known = self._same(links.of_names([str(row["name"]) for row in rows]), rows)
        strange = [row for row in rows if str(row["name"]) not in known]
        edited = self._edited(known) if mark and belong else frozenset[str]()
        ids = [str(row[self._side.id_field]) for row in strange if row.get(self._side.id_field)]
        twins = links.of_remotes(ids)
        members = {str(row["name"]) for row in strange} if belong else self._members(strange)
        touched: list[Link] = []
        for row in rows:
            name = str(row["name"])
            link = known.get(name)
            if link is None:
                link = self._stranger(row, twins, members)
                if link is None:
                    continue
                known[name] = link
                self.new["site"] += not link.id
            elif name not in edited and not self._is_changed(link, row):
                continue
            link.creation, link.stamp = str(row["creation"]), str(row["modified"])
            self._touch(link, PUSH)
            touched.append(link)
        links.save({id(link): link for link in touched}.values())
        if mark:
            links.mark([link for link in known.values() if link.id], "site", mark)

    def _same(self, known: dict[str, Link], rows: Sequence[Mapping[str, Any]]) -> dict[str, Link]:
        """Those that are of these very documents. A link of an earlier document of a name gives the name up."""
        former = [
            link
            for row in rows
            if (link := known.get(str(row["name"]))) and link.creation and link.creation != str(row["creation"])
        ]
        for link in former:
            del known[str(link.name)]
            give_up_name(link)
        self._links.save(former)
        return known

    def _edited(self, known: Mapping[str, Link]) -> frozenset[str]:
        """Names of documents to be pushed that hold something else than when both sides agreed, whatever their stamps
        say: hooks may write without one (frappe/database/database.py:set_value, update_modified)."""
        agreed = [name for name, link in known.items() if link.status == Status.LINKED and link.base is not None]
        docs = self._run.site.whole(self._doctype, agreed) if agreed else []
        return frozenset(str(doc["name"]) for doc in docs if self._holds_news(known[str(doc["name"])], doc))

    def _holds_news(self, link: Link, doc: Mapping[str, Any]) -> bool:
        fields = self._sync.fields
        try:
            return any(
                fields.flow(path) != "pull" for path in changed(fields.of_site(doc, link.base), link.base, "site")
            )
        except BadValue:
            return True

    def _is_changed(self, link: Link, row: Mapping[str, Any]) -> bool:
        if link.status in (Status.ENDED, Status.GONE, Status.ABSENT):
            return link.status != Status.ENDED
        return str(row["modified"]) != link.stamp or (link.status == Status.LINKED and self._is_pending(row))

    def _touch(self, link: Link, todo: int) -> None:
        """It changed: look at it in this run, however often it failed before."""
        link.todo |= todo
        link.tries = 0
        if link.status == Status.FAILED:
            link.due = self._run.now()

    def _is_pending(self, row: Mapping[str, Any]) -> bool:
        return bool(self._side.pending_field and row.get(self._side.pending_field))

    def _members(self, rows: Sequence[Mapping[str, Any]]) -> set[Any]:
        """Names of those that the filters choose."""
        if not rows:
            return set()
        where = [["name", "in", [row["name"] for row in rows]], *self._side.filters]
        return {str(row["name"]) for row in self._run.site.get_list(self._doctype, ["name"], where)}

    def _stranger(self, row: Mapping[str, Any], twins: Mapping[str, Link], members: set[Any]) -> Link | None:
        """The link for a document whose name is not known: renamed, amended, known before our memory was lost, or new;
        None where it is no business of ours."""
        name, twin = str(row["name"]), str(row.get(self._side.id_field) or "")
        if twin:
            link = twins.get(twin)
            if link is None:
                return Link(name=name, remote=twin)
            if link.name and link.name != name and self._run.site.present(self._doctype, [link.name], []):
                return None  # two documents for one record: the id field cannot be unique; nothing is moved
            link.name = name
            return link
        if name not in members:
            return None
        if row.get("amended_from") and (link := self._amended(str(row["amended_from"]))):
            link.name = name
            link.todo |= PULL  # what only records say, such as their status, no amendment copies
            flow = self._sync.fields.flow
            link.base = link.base and {path: held for path, held in link.base.items() if flow(path) != "pull"}
            return link
        if self._side.pending_field and not self._is_pending(row):
            return None
        return Link(name=name) if "remote" in self._sync.settings.create else None

    def _amended(self, name: str) -> Link | None:
        """The link of the document that `name` is, or was amended from; known by a record's id if by nothing else."""
        own = self._side.id_field
        for _ in range(CHAIN):
            if link := self._links.of_names([name]).get(name):
                return link if link.status != Status.ENDED else None
            rows = self._run.site.get_list(self._doctype, ["name", "amended_from", own], [["name", "=", name]])
            if rows and rows[0].get(own):
                twin = str(rows[0][own])
                return self._links.of_remotes([twin]).get(twin) or Link(remote=twin)
            if not rows or not rows[0].get("amended_from"):
                return None
            name = str(rows[0]["amended_from"])
        return None

    def _note_deleted(self, cursor: str) -> None:
        """Those that Deleted Document tells of. What it does not tell a full listing finds out."""
        site = self._run.site
        where = [["deleted_doctype", "=", self._doctype]]
        if cursor:
            where.append(["creation", ">=", site.bound(site.moment(cursor) - self._sync.settings.lag)])
        fields = ["name", "creation", "deleted_name"]
        try:
            for rows in site.paginate("Deleted Document", fields, where, key=("creation", "name"), page_length=PAGE):
                links = self._links.of_names([str(row["deleted_name"]) for row in rows]).values()
                self._want(link for link in links if link.status in (Status.LINKED, Status.CONFLICT, Status.HELD))
        except (NotPermitted, NotFound):
            self._tally.note("this user may not list Deleted Document, so deletions wait for the next full comparison")

    def _want(self, links: Iterator[Link]) -> None:
        found = list(links)
        for link in found:
            link.todo |= PUSH
        self._links.save(found)

    # Either

    def _miss(self, side: str, todo: int) -> None:
        """Pairs that a full listing has not shown are looked at one by one."""
        for page in self._links.unseen(side, self._run.id):
            for link in page:
                link.todo |= todo
            self._links.save(page)
