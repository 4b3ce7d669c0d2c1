"""Another JSON API as a sync sees it: what changed, one record, and writes whose fate is known or said not to be.

What differs between APIs is in `ApiSettings`; how requests are sent, repeated and judged is in daemon.remote.transport.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from itertools import chain
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, unquote, urlsplit

from daemon import errors
from daemon.core.api import ApiSettings, Endpoint, FindSettings, Malformed, Record
from daemon.core.exact import at, dumps
from daemon.core.records import BadRecord, excerpt, record_of
from daemon.remote.paging import Listing, Pages, as_params, listing_of
from daemon.remote.replies import GONE, Asked, Reply
from daemon.remote.transport import Call, Transport, joined, same_origin


class Remote:
    """daemon.core.kind.RemotePort, for one run. Closed by leaving its `with`."""

    def __init__(self, settings: ApiSettings, transport: Transport) -> None:
        self.settings = settings
        self.transport = transport
        self.host = settings.host

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.transport.close()

    # Reads

    def changed(self, since: datetime | None = None) -> Iterator[list[Record | Malformed]]:
        """The list, page by page: all of it, or what changed since an aware moment where the API can be asked so.

        A record may come twice where others change it meanwhile. Raises RemoteListBroken where the list cannot be
        trusted; what was handed out until then is as it was told.
        """
        return self._pages().of(listing_of(self.settings.list), since)

    def look(self) -> list[Record | Malformed]:
        """The first page of the list, for a look whether the API is what the settings say."""
        return self._pages().first(listing_of(self.settings.list))

    def read(self, id: str) -> Record | None:
        """The record as it is now, whole; None where there is none (404, 410)."""
        endpoint = self._endpoint("read")
        try:
            reply = self._send(endpoint, id)
        except errors.RemoteNotFound:
            return None
        return replace(self._due(reply, endpoint, id), whole=True)

    def find(self, key: str) -> list[Record]:
        """The records that hold our `key`: none, one or more.

        Raises RemoteListBroken where the API gave none but others: it does not heed the filter, so a record that is not
        among them may be there all the same. Raises RemoteMalformed where a hit cannot be told.
        """
        finding = self.settings.record.find
        if finding is None:
            raise self._cannot("find")
        listing = self._search(finding, key)
        hits = (
            self._pages().first(listing, one="{key}" in (finding.path or ""))
            if finding.exact
            else chain.from_iterable(self._pages().of(listing, by_stamp=False))
        )
        ours, others = [], 0
        for hit in hits:
            if isinstance(hit, Malformed):
                said = f"{self.host}: GET {listing.path}: a hit cannot be told: {hit.why}: {hit.excerpt}"
                raise errors.RemoteMalformed(self.transport.hide(said), request=f"GET {listing.path}")
            if _holds(hit.body, finding.key, key):
                ours.append(hit)
            else:
                others += 1
        if finding.exact and others and not ours:
            raise errors.RemoteListBroken(
                f"{self.host}: GET {listing.path}: asked for {finding.key} = {key!r}, it gave {others} others,"
                " so whether that record is there cannot be told",
                request=f"GET {listing.path}",
                action="Correct api.record.find.params; or set exact = false there if it is a search.",
            )
        return ours

    def _search(self, finding: FindSettings, key: str) -> Listing:
        lists = self.settings.list
        params = {name: text.replace("{key}", key) for name, text in as_params(finding.params).items()}
        if finding.path is None or not finding.exact:
            params = listing_of(lists).params | params
        path = (finding.path or lists.path).replace("{key}", quote(key, safe=""))
        return Listing(path, params, lists.records if finding.records is None else finding.records)

    # Writes

    def create(self, payload: Mapping[str, Any], idempotency_key: str) -> Record:
        """The record that was made. Raises RemoteOutcomeUnknown also where the reply does not say which it is."""
        endpoint, settings = self._endpoint("create"), self.settings.record
        headers = {settings.idempotency_header: idempotency_key} if settings.idempotency_header else {}
        repeatable = settings.idempotent and bool(headers)
        reply = self._send(endpoint, "", payload, headers, repeatable=repeatable, creating=True)
        record = self._told(reply) or self._located(reply)
        if record is None:
            said = f"{self.host}: {endpoint}: the reply (HTTP {reply.status}) does not say which record was made"
            said += f" (api.record.unwrap is {settings.unwrap!r})"
            raise errors.RemoteOutcomeUnknown(said, status=reply.status, request=str(endpoint))
        return record

    def update(self, id: str, payload: Mapping[str, Any], etag: str | None = None) -> Record | None:
        """The record as it became, None where the reply does not tell. Raises RemoteStale where it is not as `etag`
        says any more."""
        endpoint = self._endpoint("update")
        headers = self._condition(etag)
        repeatable = endpoint.method == "PUT" or bool(headers)
        reply = self._send(endpoint, id, payload, headers, repeatable=repeatable)
        record = self._told(reply)
        if record is not None and record.id != id:
            said = f"{self.host}: {_shown(endpoint, id)}: the reply holds another record, {record.id}"
            raise errors.RemoteOutcomeUnknown(said, status=reply.status, request=_shown(endpoint, id))
        return record

    def delete(self, id: str, etag: str | None = None) -> None:
        """Raises RemoteNotFound where it was gone before, RemoteStale where it is not as `etag` says any more."""
        endpoint = self._endpoint("delete")
        headers = self._condition(etag)
        try:
            self._send(endpoint, id, None, headers, repeatable=endpoint.method == "DELETE" or bool(headers))
        except errors.RemoteOutcomeUnknown as error:
            if error.status not in GONE:  # of two tries, the first one's reply was lost, and it did it
                raise

    def _located(self, reply: Reply) -> Record | None:
        """The record that a reply without a body names by its Location header (RFC 9110, 10.2.2)."""
        endpoint, where = self.settings.record.read, joined(reply.url, reply.headers.get("location", ""))
        if reply.body is not None or endpoint is None or not same_origin(where, self.settings.url):
            return None
        id = _place_of(urlsplit(self.settings.url).path + endpoint.path, urlsplit(where).path)
        try:
            return self.read(id) if id else None
        except errors.RemoteError as error:
            raise errors.RemoteOutcomeUnknown(
                f"{error}; it was read after it was made", request=error.request
            ) from None

    def _condition(self, etag: str | None) -> dict[str, str]:
        return {"If-Match": etag} if etag and self.settings.record.if_match is not False else {}

    # Requests

    def _pages(self) -> Pages:
        return Pages(self.settings, self._fetch)

    def _fetch(self, url: str) -> Reply:
        shown = f"GET {url.partition('?')[0].removeprefix(self.settings.url) or '/'}"
        asked = Asked(self.host, shown, reading=True, error_at=self.settings.record.error)
        return self.transport.send(Call("GET", url, asked, repeatable=True))

    def _send(
        self,
        endpoint: Endpoint,
        id: str,
        payload: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        repeatable: bool = True,
        creating: bool = False,
    ) -> Reply:
        reading = endpoint.method == "GET"
        asked = Asked(self.host, _shown(endpoint, id), reading, creating, self.settings.record.error)
        content = None
        if payload is not None:
            content = dumps({self.settings.record.wrap: payload} if self.settings.record.wrap else payload)
        url = f"{self.settings.url}{endpoint.path.replace('{id}', quote(id, safe=''))}"
        return self.transport.send(Call(endpoint.method, url, asked, content, headers or {}, repeatable))

    def _endpoint(self, name: str) -> Endpoint:
        endpoint: Endpoint | None = getattr(self.settings.record, name)
        if endpoint is None:
            raise self._cannot(name)
        return endpoint

    def _cannot(self, name: str) -> errors.RemoteMisused:
        action = f"Say how by api.record.{name}, or have the job do without."
        return errors.RemoteMisused(f"{self.host}: the settings name no way to {name} a record", action=action)

    # Records

    def _due(self, reply: Reply, endpoint: Endpoint, id: str) -> Record:
        """The record of a reply that must hold it. Raises NotTheApi and RemoteMalformed."""
        shown = _shown(endpoint, id)
        body = at(reply.body, self.settings.record.unwrap)
        if body is None:
            where = f" at {self.settings.record.unwrap!r}" if self.settings.record.unwrap else ""
            said = f"{self.host}: {shown}: the reply holds no record{where} (HTTP {reply.status})"
            action = "Say by api.record.unwrap where in the reply the record is."
            raise errors.NotTheApi(said, status=reply.status, request=shown, action=action)
        record = self._record(body, shown, reply.headers.get("etag"))
        if record.id != id:
            said = f"{self.host}: {shown}: the reply holds another record, {record.id}"
            raise errors.NotTheApi(said, status=reply.status, request=shown)
        return record

    def _record(self, body: Any, shown: str, etag: str | None = None) -> Record:
        try:
            return record_of(body, self.settings.record, etag, single=True)
        except BadRecord as error:
            said = f"{self.host}: {shown}: a record cannot be told: {error}: {excerpt(body)}"
            raise errors.RemoteMalformed(self.transport.hide(said), request=shown) from None

    def _told(self, reply: Reply) -> Record | None:
        """The record that the reply to a write holds, if any."""
        body = at(reply.body, self.settings.record.unwrap)
        try:
            return record_of(body, self.settings.record, reply.headers.get("etag"), single=True)
        except BadRecord:
            return None


def _place_of(id_in: str, path: str) -> str:
    """The id that stands in `path` where `id_in` has {id}, or ""."""
    before, _, after = id_in.partition("{id}")
    found = path.removeprefix(before).removesuffix(after)
    fits = path == before + found + after and "/" not in found
    return unquote(found) if fits else ""


def _shown(endpoint: Endpoint, id: str) -> str:
    return f"{endpoint.method} {endpoint.path.replace('{id}', id)}"


def _holds(body: Any, path: str, key: str) -> bool:
    value = at(body, path)
    return value is not None and not isinstance(value, bool | dict | list) and str(value) == key
