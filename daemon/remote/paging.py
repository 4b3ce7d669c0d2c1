"""The pages of an API's list, in each style that APIs have, one in memory at a time. Sends through what it is given.

A list is believed to end; what shows that it will not (a page, cursor or address that comes again, pages without end)
raises RemoteListBroken, for a run that goes on for ever, or takes one page for another, is worse than one that fails.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import blake2b
from itertools import pairwise
from typing import Any
from urllib.parse import urlencode

from daemon import errors
from daemon.core.api import ApiSettings, ListSettings, Malformed, PagingSettings, Record
from daemon.core.exact import at, dumps, oddities
from daemon.core.records import listed, since_text, unit
from daemon.remote.replies import Reply
from daemon.remote.transport import joined, same_origin
from daemon.wire import plain

Entry = Record | Malformed
PAGES_BACK = 4
"""Pages of a list by number that are known, and may be read once more."""
COARSE = timedelta(days=1)
"""How much older than what was asked for a record may be: some APIs read no more than the day."""


@dataclass(frozen=True, slots=True)
class Listing:
    """One way to list: where, with what, and where in the reply the records are."""

    path: str
    params: dict[str, str]
    records: str


class Known:
    """What a list has led to so far, so that coming round shows; a hundred bytes a page."""

    def __init__(self) -> None:
        self._digests: set[int] = set()

    def again(self, value: str | bytes) -> bool:
        content = value if isinstance(value, bytes) else value.encode(errors="surrogatepass")
        digest = int.from_bytes(blake2b(content, digest_size=8).digest())
        if digest in self._digests:
            return True
        self._digests.add(digest)
        return False


@dataclass(slots=True)
class Pages:
    """Reads the pages of one list. `fetch` gets an address and returns the reply."""

    settings: ApiSettings
    fetch: Callable[[str], Reply]
    _position: int = 0
    _read: int = 0

    def first(self, listing: Listing, *, one: bool = False) -> list[Entry]:
        """The first page alone. `one`: the address is that of one record: it may not be there, and may come alone."""
        return self._page(listing, beyond=one, one=one)[0]

    def of(self, listing: Listing, since: datetime | None = None, *, by_stamp: bool = True) -> Iterator[list[Entry]]:
        """Every page that is not empty. `since`: only what changed since then, where the API can be asked so.
        `by_stamp` False: the list is of another order than the settings say."""
        listed_by = self.settings.list
        if since is not None and listed_by.since:
            listing = _with(listing, {listed_by.since: since_text(since, listed_by)})
        paging = listed_by.paging
        if paging.by_stamp and by_stamp:
            return self._by_stamp(listing, since)
        if paging.style in ("page", "offset"):
            return self._counted(listing, again=by_stamp)
        return self._by_cursor(listing) if paging.style == "cursor" else self._by_link(listing)

    # Styles

    def _counted(self, listing: Listing, *, again: bool) -> Iterator[list[Entry]]:
        """By number of page or record, until the body, a short page or an empty one says that it is over.

        Records that others move from a page that is yet to come to one that was read would be missed. So, with `again`,
        the page before each is read once more, and those before that for as long as something new is on them.
        """
        paging, known, number, seen = self._paging, Known(), self._paging.start, _Lately()
        while True:
            page, reply = self._page(_with(listing, self._place(number)), beyond=number > paging.start)
            if page and known.again(_shape(page)):
                raise self._broken(listing, "a page came again, so the list does not go by the parameter that is sent")
            if fresh := seen.fresh(number, page) if again else page:
                yield fresh
            for earlier in seen.before(number) if again else ():
                once_more = self._address(_with(listing, self._place(earlier)))
                moved = seen.fresh(earlier, self._page_at(once_more, listing, beyond=True, again=True)[0])
                if not moved:
                    break
                yield moved
            count = len(page)
            if self._is_last(reply, number, count):
                return
            number += 1 if paging.style == "page" else count

    def _by_cursor(self, listing: Listing) -> Iterator[list[Entry]]:
        paging, known, cursor = self._paging, Known(), ""
        while True:
            page, reply = self._page(_with(listing, {paging.cursor: cursor} if cursor else {}))
            if page:
                yield page
            cursor = self._next_cursor(listing, page, reply)
            if not cursor:
                return
            if known.again(cursor):
                raise self._broken(listing, "a cursor came again, so the list would go round for ever")

    def _next_cursor(self, listing: Listing, page: Sequence[Entry], reply: Reply) -> str:
        """ "" after the last page."""
        paging = self._paging
        if paging.more and not self._more(reply):
            return ""
        if paging.last_id:
            if page and not page[-1].id:
                raise self._broken(listing, "the last record of a page has no id to go on from")
            return page[-1].id if page else ""
        found = at(reply.body, paging.next)
        if found is None or found is False:
            return ""
        if not isinstance(found, str | int):
            raise self._broken(listing, f"{paging.next} is no cursor but {type(found).__name__}")
        return str(found)

    def _by_link(self, listing: Listing) -> Iterator[list[Entry]]:
        """By the address of the next page, in the body or the Link header; or one page alone."""
        known, url = Known(), self._address(listing)
        while True:
            page, reply = self._page_at(url, listing)
            if page:
                yield page
            following = self._following(listing, reply)
            if not following:
                return
            url = following
            if known.again(url):
                raise self._broken(
                    listing, "the address of a next page came again, so the list would go round for ever"
                )

    def _following(self, listing: Listing, reply: Reply) -> str:
        """ "" after the last page. Raises where it leads away from the API, for our secret would go there."""
        found = reply.next if self._paging.style == "link" else at(reply.body, self._paging.next)
        if self._paging.style == "none" or found in (None, "", False):
            return ""
        if not isinstance(found, str):
            raise self._broken(listing, f"{self._paging.next} is no address but {type(found).__name__}")
        url, base = joined(reply.url, found), self.settings.url
        if base.startswith("https:") and url.startswith("http:"):  # a server behind a proxy that speaks TLS for it
            url = "https:" + url.removeprefix("http:")
        if not same_origin(url, base) or not url.isprintable():
            where = plain(url.partition("//")[2].partition("/")[0].rpartition("@")[2] or "no address", 100)
            raise self._broken(listing, f"the next page is said to be at {where}, and our secret goes to the API alone")
        return url

    def _by_stamp(self, listing: Listing, since: datetime | None) -> Iterator[list[Entry]]:
        """Each page from just before the stamp that the one before ended with.

        Whoever changes a record moves it to the end, and all behind it up by one place: page 3 would begin one record
        too late. So pages are counted only within one stamp. What comes again, since it has that stamp, is left out.
        """
        lists, seen, known = self.settings.list, _Seen(), Known()
        asked, number = since, self._paging.start
        while True:
            moment = {lists.since: since_text(asked, lists)} if asked is not None else {}
            page, reply = self._page(
                _with(listing, {**moment, **self._place(number)}), beyond=number > self._paging.start
            )
            if page and known.again(_shape(page)):
                raise self._broken(listing, "a page came again, so the list does not go by the parameter that is sent")
            if fresh := seen.fresh(page):
                yield fresh
            if self._is_last(reply, number, len(page)):
                return
            last = self._last_stamp(listing, page, asked)
            before = last - unit(lists) if last else None
            if before and (asked is None or (before > asked and since_text(before, lists) != since_text(asked, lists))):
                asked, number, known = before, self._paging.start, Known()
                seen.forget_before(before - unit(lists))
            else:
                number += 1 if self._paging.style == "page" else len(page)

    def _last_stamp(self, listing: Listing, page: Sequence[Entry], asked: datetime | None) -> datetime | None:
        """Raises where the page shows that the list cannot be read by stamp."""
        stamps = [entry.stamp for entry in page if isinstance(entry, Record) and entry.stamp]
        by = self.settings.record.stamp
        if any(one > other for one, other in pairwise(stamps)):
            why = f"it is not ordered by {by}, which by_stamp needs"
            raise self._broken(listing, why, "Ask for that order by api.list.order, or leave by_stamp out.")
        if stamps and asked and stamps[0] < asked - unit(self.settings.list) - COARSE:
            why = f"asked for what changed since {asked.isoformat()}, it begins with {stamps[0].isoformat()}"
            raise self._broken(listing, why, "Check api.list.since and since_format, or leave by_stamp out.")
        return stamps[-1] if stamps else None

    # Pages

    @property
    def _paging(self) -> PagingSettings:
        return self.settings.list.paging

    def _place(self, number: int) -> dict[str, str]:
        paging = self._paging
        return {paging.page if paging.style == "page" else paging.offset: str(number)}

    def _is_last(self, reply: Reply, number: int, count: int) -> bool:
        """By what the body says where it says it, else by the page itself."""
        paging, body = self._paging, reply.body
        if paging.more:
            return not self._more(reply)
        if paging.pages and (pages := _count(at(body, paging.pages))) is not None:
            return number >= pages - 1 + paging.start
        if not count:
            return True
        if paging.total and (total := _count(at(body, paging.total))) is not None:
            before = (number - paging.start) * (paging.size if paging.style == "page" else 1)
            if paging.style == "offset" or count == paging.size:
                return before + count >= total
        return paging.short_ends and count < paging.size

    def _more(self, reply: Reply) -> bool:
        """Raises where even the first page does not say so: then nobody knows whether the list is whole."""
        found = at(reply.body, self._paging.more)
        if found is None and self._read == 1:
            raise errors.NotTheApi(
                f"{self.settings.host}: the list does not say at {self._paging.more!r} whether there is more",
                action="Correct api.list.paging.more.",
            )
        return bool(found)

    def _page(self, listing: Listing, *, beyond: bool = False, one: bool = False) -> tuple[list[Entry], Reply]:
        return self._page_at(self._address(listing), listing, beyond=beyond, one=one)

    def _page_at(
        self, url: str, listing: Listing, *, beyond: bool = False, one: bool = False, again: bool = False
    ) -> tuple[list[Entry], Reply]:
        """`beyond`: a page that need not be there, so that 404 means an empty one; `one`: a record may come alone;
        `again`: a page that was read before, and counts once."""
        self._read += not again
        if self._read > self._paging.most_pages:
            why = f"it did not end after {self._paging.most_pages:,} pages"
            raise self._broken(listing, why, "Raise api.list.paging.most_pages if it is as long as that.")
        try:
            reply = self.fetch(url)
        except errors.RemoteNotFound as error:
            if beyond:
                return [], Reply(404)
            raise errors.RemoteMisused(str(error), status=error.status, request=error.request) from None
        found = at(reply.body, listing.records)
        if one and isinstance(found, dict):
            found = [found]
        if not isinstance(found, list):
            where = f"at {listing.records!r}" if listing.records else "as its body"
            raise errors.NotTheApi(
                f"{self.settings.host}: GET {listing.path}: the reply has no array of records {where}",
                status=reply.status,
                request=f"GET {listing.path}",
                action="Say by api.list.records where in the reply the records are.",
            )
        self._refuse_odd(listing, reply)
        page = [listed(body, self.settings.record, self._position + place) for place, body in enumerate(found, 1)]
        self._position += 0 if again else len(page)
        return page, reply

    def _refuse_odd(self, listing: Listing, reply: Reply) -> None:
        """What is odd within a record is told of that record; elsewhere it may hide how the list goes on."""
        within = f"{listing.records}." if listing.records else ""
        for path, odd in oddities(reply.body):
            if not (path.startswith(within) and path.removeprefix(within).partition(".")[0].isdigit()):
                request = f"GET {listing.path}"
                said = f"{self.settings.host}: {request}: JSON was expected, but {path} {odd.why}"
                raise errors.NotTheApi(said, status=reply.status, request=request)

    def _address(self, listing: Listing) -> str:
        try:
            query = urlencode(listing.params)
        except UnicodeEncodeError:
            raise self._broken(listing, "a parameter holds half of a surrogate pair, which no address can") from None
        return f"{self.settings.url}{listing.path}{'?' if query else ''}{query}"

    def _broken(self, listing: Listing, why: str, action: str | None = None) -> errors.RemoteListBroken:
        said = f"{self.settings.host}: GET {listing.path}: the list cannot be trusted: {why}"
        return errors.RemoteListBroken(said, request=f"GET {listing.path}", action=action)


class _Lately:
    """The pages that were read last of a list that is asked for by number: tells what was on none of them."""

    def __init__(self) -> None:
        self._pages: dict[int, set[bytes]] = {}
        """Number → what was on it, in the order in which they were read."""

    def fresh(self, number: int, page: list[Entry]) -> list[Entry]:
        keys: dict[bytes, Entry] = {}
        for entry in page:
            key = _shape([entry])
            while key in keys and isinstance(entry, Malformed):  # of which there may be several alike
                key += b"+"
            keys[key] = entry
        held = set[bytes]().union(*self._pages.values())
        self._pages[number] = self._pages.get(number, set()) | keys.keys()
        if len(self._pages) > PAGES_BACK:
            del self._pages[next(iter(self._pages))]
        return [entry for key, entry in keys.items() if key not in held]

    def before(self, number: int) -> list[int]:
        return sorted((one for one in self._pages if one < number), reverse=True)


@dataclass(slots=True)
class _Seen:
    """The records that were handed out and may come again, for a list that is asked for by stamp."""

    _kept: set[tuple[str, datetime | None]] = field(default_factory=set)
    _latest: datetime | None = None
    """Stamp of the last record that had one; what has none comes behind it again."""

    def fresh(self, page: list[Entry]) -> list[Entry]:
        found: list[Entry] = []
        for entry in page:
            if isinstance(entry, Record) and entry.stamp:
                self._latest = entry.stamp
            key = (entry.id if isinstance(entry, Record) else f"{entry.why}: {entry.excerpt}", self._latest)
            if key not in self._kept:
                self._kept.add(key)
                found.append(entry)
        return found

    def forget_before(self, moment: datetime) -> None:
        """What is older cannot come again."""
        self._kept = {key for key in self._kept if key[1] is not None and key[1] >= moment}


def _with(listing: Listing, params: dict[str, str]) -> Listing:
    return Listing(listing.path, {**listing.params, **params}, listing.records)


def listing_of(settings: ListSettings) -> Listing:
    """The list of all records."""
    params = as_params(settings.params) | as_params(settings.order)
    if settings.paging.length:
        params[settings.paging.length] = str(settings.paging.size)
    return Listing(settings.path, params, settings.records)


def as_params(values: dict[str, Any]) -> dict[str, str]:
    return {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in values.items()}


def _count(value: Any) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    return int(value) if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 12 else None


def _shape(page: Sequence[Entry]) -> bytes:
    """What tells one page from another."""
    return dumps([[e.id, e.stamp, e.etag] if isinstance(e, Record) else [e.id, e.why, e.excerpt] for e in page])
