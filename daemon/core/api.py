"""Settings of another JSON API and the records that it hands out: what is different from one API to the next is said
here, so that the plain cases need no code. Reads and writes nothing.

Paths such as "data.items" are dotted: keys of objects, or places in arrays; "" is the whole.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from ipaddress import ip_address
from typing import Annotated, Any, Literal, NamedTuple
from urllib.parse import SplitResult, urlsplit

from pydantic import (
    AfterValidator,
    Field,
    PlainSerializer,
    PlainValidator,
    ValidationInfo,
    field_validator,
    model_validator,
)

from daemon.core.settings import (
    FilePath,
    HeaderText,
    Model,
    PositiveDuration,
    RetrySettings,
    SecretText,
    TimeoutSettings,
    Zone,
    did_you_mean,
    web_address,
)

FORMATS = ("iso", "iso-z", "epoch", "epoch-ms", "date")
"""Named ways to write a moment as a query parameter; a text of strftime is another."""


@dataclass(frozen=True, slots=True)
class Record:
    """A record of the API as it was last told."""

    id: str
    """As text, also where the API counts in whole numbers."""
    body: dict[str, Any]
    """The record itself; numbers that are not whole are Decimal."""
    stamp: datetime | None
    """When it was last changed, by the API's clock; aware, in UTC. None where the API does not say."""
    etag: str | None = None
    """What If-Match takes: the ETag header as it came, or the version in the body. None where there is none."""
    deleted: bool = False
    """A tombstone: the record is gone, and `body` holds what the API still says of it."""
    whole: bool = field(default=False, compare=False)
    """It was read by itself, so that what is not in it is not there. Lists and answers may tell a part alone."""


@dataclass(frozen=True, slots=True)
class Malformed:
    """An entry of the API's list that is no record that we could work with."""

    position: int
    """In the list, from 1."""
    why: str
    excerpt: str
    """How its JSON begins."""
    id: str = ""
    """Where it has one all the same."""


class Endpoint(NamedTuple):
    """A method and a path below the API's address."""

    method: str
    path: str

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


# Values


def _address(value: str) -> str:
    parts = web_address(value, 'an address such as "https://api.example.com/v1"', "them in api.auth")
    if parts.query or parts.fragment:
        raise ValueError("ends with the path; constant parameters belong in api.list.params")
    return value.rstrip("/")


Address = Annotated[str, AfterValidator(_address)]


def encrypted(url: str) -> bool:
    """What is sent there can be read by nobody else: https, or this very machine."""
    parts = urlsplit(url)
    return parts.scheme == "https" or _is_loopback(parts)


def _is_loopback(parts: SplitResult) -> bool:
    host = parts.hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


_PLAIN_HTTP = (
    "would send secrets and records unencrypted; write https://, or set api.insecure = true where the network is"
)
_PLAIN_HTTP += " your own"


def _path(value: str) -> str:
    if not value.startswith("/") or not value.isprintable() or " " in value or "?" in value or "#" in value:
        raise ValueError('is a path below api.url, such as "/orders"; parameters have keys of their own')
    return value


ApiPath = Annotated[str, AfterValidator(_path)]


def _dotted(value: str) -> str:
    if value and not all(value.split(".")):
        raise ValueError('is a dotted path into the reply, such as "data" or "meta.next"')
    return value


def _leads_on(value: str) -> str:
    if not value:
        raise ValueError('is a dotted path into the record, such as "id" or "attributes.number"')
    return _dotted(value)


Dotted = Annotated[str, AfterValidator(_dotted)]
FieldPath = Annotated[str, AfterValidator(_leads_on)]

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_OURS = (
    "authorization",
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "cookie",
    "content-type",
    "if-match",
)


def _header_name(value: str) -> str:
    if not _TOKEN.fullmatch(value):
        raise ValueError("is no header's name")
    return value


HeaderName = Annotated[str, AfterValidator(_header_name)]


def _headers(value: dict[str, str]) -> dict[str, str]:
    for name in value:
        if name.lower() == "authorization":
            raise ValueError("Authorization is a secret; name it in api.auth")
        if name.lower() in _OURS:
            raise ValueError(f"{name} is set by the daemon itself")
    return value


Headers = Annotated[dict[HeaderName, HeaderText], AfterValidator(_headers)]


def _params(value: dict[str, Any]) -> dict[str, Any]:
    for name, item in value.items():
        if not isinstance(item, str | int):
            raise ValueError(f"{name} = {item!r} is no text, whole number, true or false")  # noqa: TRY004 (pydantic)
    return value


Params = Annotated[dict[str, Any], AfterValidator(_params)]
"""Constant query parameters; true and false are sent as these words."""


def _endpoint(value: Any, info: ValidationInfo) -> Endpoint:
    """ "METHOD /path/{id}" → Endpoint, by what the field is for."""
    if isinstance(value, Endpoint):
        return value
    methods, with_id = _ENDPOINTS[info.field_name or ""]
    example = f"{methods[0]} /orders{'/{id}' if with_id else ''}"
    if not isinstance(value, str) or len(value.split()) != 2:
        raise ValueError(f'is a method and a path, such as "{example}"')
    method, path = value.split()
    if method.upper() not in methods:
        raise ValueError(f"has the method {method}; {' or '.join(methods)} can do that")
    left = _path(path).replace("{id}", "")
    if "{" in left or "}" in left or (with_id and left == path) or (not with_id and left != path):
        raise ValueError(f'{"names the record by {id}" if with_id else "has no {id}: the API makes one"}: "{example}"')
    return Endpoint(method.upper(), path)


_ENDPOINTS = {
    "read": (("GET",), True),
    "create": (("POST", "PUT"), False),
    "update": (("PUT", "PATCH", "POST"), True),
    "delete": (("DELETE", "POST"), True),
}
EndpointText = Annotated[Endpoint, PlainValidator(_endpoint), PlainSerializer(str)]


def _mark(value: Any) -> Any:
    if not isinstance(value, str | int | None):
        raise ValueError("is a text, a whole number, true or false")  # noqa: TRY004 (pydantic)
    return value


# Sections


class BasicAuth(Model):
    """HTTP Basic."""

    user: str
    """As RFC 7617 says."""
    password: SecretText
    """Of that user."""


class HeaderAuth(Model):
    """A secret in a header of its own, such as X-Api-Key."""

    name: HeaderName
    """Of the header."""
    secret: SecretText
    """Its value."""
    prefix: HeaderText = ""
    """What stands before the secret, such as "Token "."""


class QueryAuth(Model):
    """A secret in the query, where the API knows no better."""

    name: Annotated[str, Field(min_length=1)]
    """Of the parameter."""
    secret: SecretText
    """Its value."""


class OAuth2(Model):
    """Client credentials (RFC 6749, 4.4)."""

    token_url: Address
    """Where a token is asked for."""
    client_id: Annotated[str, Field(min_length=1)]
    """Who we are there."""
    client_secret: SecretText
    """What proves it."""
    scope: str = ""
    """What is asked for, where the server wants to know."""
    audience: str = ""
    """For whom, where the server wants to know."""
    send: Literal["basic", "body"] = "basic"
    """How the server takes the client's secret (RFC 6749, 2.3.1): every one should take Basic."""


class AuthSettings(Model):
    """How we say who we are: in one of these ways."""

    bearer: SecretText | None = None
    """A token in the Authorization header (RFC 6750)."""
    basic: BasicAuth | None = None
    header: HeaderAuth | None = None
    query: QueryAuth | None = None
    oauth2: OAuth2 | None = None

    @model_validator(mode="after")
    def _one_way(self) -> AuthSettings:
        if sum(getattr(self, way) is not None for way in AuthSettings.model_fields) != 1:
            raise ValueError(f"names one way to log in, of: {', '.join(AuthSettings.model_fields)}")
        sent = self.bearer or (self.header and self.header.secret)
        if sent and not sent.reveal().isascii():
            raise ValueError("has a secret that no header can hold: it is not of ASCII characters alone")
        return self


STYLES = {
    "page": frozenset({"page", "first", "length", "size", "pages", "total", "more", "short_ends", "by_stamp"}),
    "offset": frozenset({"offset", "first", "length", "size", "total", "more", "short_ends", "by_stamp"}),
    "cursor": frozenset({"cursor", "next", "last_id", "length", "size", "more"}),
    "next": frozenset({"next", "length", "size"}),
    "link": frozenset({"length", "size"}),
    "none": frozenset[str](),
}
"""Style of paging → the keys that say something in it."""


class PagingSettings(Model):
    """How a list goes on after its first page."""

    style: Literal["page", "offset", "cursor", "next", "link", "none"]
    """page: numbered; offset: from the record of a number; cursor: from a mark in the page before; next: by an address
    in the body; link: by an address in the Link header (RFC 8288); none: the list is one page."""
    size: Annotated[int, Field(ge=1, le=10_000)] = 100
    """Records that a page is asked to hold."""
    length: str = ""
    """Parameter that asks for `size`; "" where the API has none."""
    page: Annotated[str, Field(min_length=1)] = "page"
    """Parameter that asks for a page by its number."""
    offset: Annotated[str, Field(min_length=1)] = "offset"
    """Parameter that asks for the records from a number on."""
    cursor: Annotated[str, Field(min_length=1)] = "cursor"
    """Names of the parameters that ask for a page."""
    first: Annotated[int, Field(ge=0)] | None = None
    """The first page's number (1 unless stated), or the first offset (0)."""
    next: Dotted = ""
    """Path in the body to the next cursor or address; null, "" or absent on the last page."""
    last_id: bool = False
    """The next cursor is the id of the page's last record."""
    more: Dotted = ""
    """Path in the body to true while there are more pages."""
    pages: Dotted = ""
    """Path in the body to the number of pages."""
    total: Dotted = ""
    """Path in the body to the number of records in the list."""
    short_ends: bool = False
    """A page of fewer than `size` records is the last. Off, since many APIs give fewer than they were asked for: then
    the list goes on until an empty page."""
    by_stamp: bool = False
    """The list is ordered by `record.stamp`, the oldest first. Then each page is asked for by the stamp that the one
    before ended with, and no record is missed because others move meanwhile."""
    most_pages: Annotated[int, Field(ge=1)] = 100_000
    """Pages after which a list is taken for endless."""

    @model_validator(mode="after")
    def _keys_of_the_style(self) -> PagingSettings:
        fits = STYLES[self.style] | {"style", "most_pages"}
        for key in sorted(self.model_fields_set - fits):
            known = ", ".join(sorted(STYLES[self.style])) or "none"
            raise ValueError(f'{key} says nothing where style = "{self.style}" (its keys: {known})')
        if self.style == "next" and not self.next:
            raise ValueError('style = "next" needs `next`, the path to the next page\'s address, such as "links.next"')
        if self.style == "cursor" and bool(self.next) == self.last_id:
            raise ValueError('style = "cursor" needs either `next`, the path to the next cursor, or last_id = true')
        return self

    @property
    def start(self) -> int:
        return self.first if self.first is not None else int(self.style == "page")


def _since_format(value: str) -> str:
    if value in FORMATS:
        return value
    if "%" not in value or not datetime(2026, 1, 31, 23, 59, 58).strftime(value):  # noqa: DTZ001
        known = did_you_mean(value.lower(), FORMATS) or f"; there are: {', '.join(FORMATS)}, or a strftime text"
        raise ValueError(f"is no format of a moment{known}")
    return value


class ListSettings(Model):
    """How all records, or those changed since a moment, are listed."""

    path: ApiPath
    """Of the list, below the address."""
    paging: PagingSettings
    """Without a default: a list that is cut off after its first page looks just like a short one."""
    records: Dotted = ""
    """Path in the body to the array of records."""
    params: Params = Field(default_factory=dict)
    """Constant parameters."""
    since: str = ""
    """Parameter that asks for what changed since a moment; "" where the API cannot be asked so."""
    since_format: Annotated[str, AfterValidator(_since_format)] = "iso"
    """iso: 2026-01-31T12:00:00+00:00; iso-z: 2026-01-31T12:00:00Z; epoch and epoch-ms: seconds and milliseconds since
    1970; date: 2026-01-31; or a text of strftime."""
    since_zone: Zone = "UTC"
    """In which iso, date and strftime texts are written."""
    order: Params = Field(default_factory=dict)
    """Parameters that ask for an order, such as { sort = "updated_at" }."""


class FindSettings(Model):
    """How a record is looked up by our key, such as the document's name."""

    key: FieldPath
    """Path within a record to what must equal the key: many APIs ignore a filter that they do not know."""
    path: ApiPath | None = None
    """Unless stated, that of the list."""
    params: Params = Field(default_factory=dict)
    """ "{key}" in a value, or in `path`, stands for the key."""
    records: Dotted | None = None
    """Unless stated, as in the list."""
    exact: bool = True
    """The API returns records of this key alone, so that others are an error. Off: it is a search whose hits need not
    fit, and all pages are read, by the list's paging."""

    @model_validator(mode="after")
    def _asks_for_the_key(self) -> FindSettings:
        if not any("{key}" in str(text) for text in (self.path, *self.params.values())):
            raise ValueError('must ask for the key: params = { order_id = "{key}" }, or path = "/orders/by-key/{key}"')
        return self


class RecordSettings(Model):
    """What a record looks like, and what may be done with one. What is not stated here the API cannot do."""

    id: FieldPath = "id"
    """Path to the record's id."""
    stamp: Dotted = ""
    """Path to when it was last changed; "" where it does not say."""
    stamp_format: Literal["iso", "epoch", "epoch-ms"] = "iso"
    """How the stamp is written."""
    zone: Zone = "UTC"
    """Of times that name none."""
    version: Dotted = ""
    """Path to a version that If-Match takes; "": the ETag header, which lists do not have."""
    deleted: Dotted = ""
    """Path to what marks a tombstone: anything true or, where stated, `deleted_value`."""
    deleted_value: Annotated[Any, AfterValidator(_mark)] = None
    """What stands at `deleted` in a tombstone."""
    read: EndpointText | None = None
    """How one record is read: "GET /orders/{id}"."""
    create: EndpointText | None = None
    """How one is made: "POST /orders"."""
    update: EndpointText | None = None
    """How one is changed: "PATCH /orders/{id}"; a PUT replaces what is there."""
    delete: EndpointText | None = None
    """How one is deleted: "DELETE /orders/{id}"."""
    wrap: str = ""
    """Key that a payload is put under, as in {"order": {…}}."""
    unwrap: Dotted = ""
    """Path in a reply to a single record."""
    error: Dotted = ""
    """Path in a 2xx body whose presence means that it failed."""
    find: FindSettings | None = None
    idempotency_header: Annotated[str, AfterValidator(lambda value: _header_name(value) if value else value)] = (
        "Idempotency-Key"
    )
    """Sent with each create; "" for none."""
    idempotent: bool = False
    """The API promises that a create of the same key has one effect, so that one whose reply was lost may be sent
    again. Many APIs take the header and ignore it."""
    if_match: bool | None = None
    """Updates and deletions carry If-Match where an ETag or a version is known. Many APIs send ETags and ignore that:
    unless this is true, a record is read before it is changed all the same. False: it is not sent."""


class ApiTimeouts(TimeoutSettings):
    """How long one request may take, by phase."""

    read: PositiveDuration = timedelta(seconds=60)


class ApiSettings(Model):
    """A JSON API: where it is, who we are there, how it lists, and what its records are."""

    insecure: bool = False
    """Plain http to another machine is wanted."""
    url: Address
    """With the prefix that all paths have, such as /v1."""
    headers: Headers = Field(default_factory=dict)
    """Sent with each request."""
    verify: bool = True
    """Check the certificate."""
    ca_file: FilePath | None = None
    """Certificates in PEM of an authority that is trusted besides the machine's own."""
    timeouts: ApiTimeouts = ApiTimeouts()
    retry: RetrySettings = RetrySettings()
    per_second: Annotated[float, Field(gt=0, le=1000)] | None = None
    """Requests in a second, at the most, by each run."""
    concurrency: Annotated[int, Field(ge=1, le=32)] = 2
    """Requests under way at once, at the most."""
    auth: AuthSettings | None = None
    list: ListSettings
    record: RecordSettings

    @field_validator("url")
    @classmethod
    def _is_private(cls, value: str, info: ValidationInfo) -> str:
        if not (info.data.get("insecure") or encrypted(value)):
            raise ValueError(_PLAIN_HTTP)
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> ApiSettings:
        token_url = self.auth.oauth2.token_url if self.auth and self.auth.oauth2 else ""
        if token_url and not self.insecure and not encrypted(token_url):
            raise ValueError(f'auth.oauth2.token_url = "{token_url}" {_PLAIN_HTTP}')
        if self.list.paging.by_stamp and not (self.list.since and self.record.stamp and self.list.paging.size > 1):
            raise ValueError("list.paging.by_stamp needs list.since, record.stamp and a size of 2 at the least")
        return self

    @property
    def host(self) -> str:
        """The API's name in messages."""
        return urlsplit(self.url).netloc
