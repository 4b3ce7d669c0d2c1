"""What a reply of another API means: its JSON, or the error that names who must act. Reads and writes nothing.

By the status first (RFC 9110, section 15), then by what was asked: a 409 to a create is a record that is there already,
to an update one that somebody else changed. A 2xx is believed only where it is JSON, or nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from daemon import errors
from daemon.core.exact import Odd, at, loads, marked
from daemon.wire import plain

LONGEST_MESSAGE = 300
"""Characters of an API's message that are shown."""
NOT_DONE = frozenset({408, 425, 429, 503})
"""The server did not work on the request (RFC 9110, 15.5.9 and 15.6.4; RFC 8470, 5.2; RFC 6585, 4)."""
GONE = frozenset({404, 410})


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back, apart from the library that fetched it."""

    status: int
    content: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Names in small letters."""
    url: str = ""
    """Where it came from in the end, with its query."""
    next: str = ""
    """The target of the Link header's rel=next (RFC 8288), as it stands there."""
    retry_after: float | None = None
    """Seconds, from the Retry-After header."""
    body: Any = None
    """Its JSON; None where it is empty."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a reply answers, as far as its meaning depends on it."""

    host: str
    request: str
    """Method and path."""
    reading: bool
    creating: bool = False
    error_at: str = ""
    """Dotted path in a 2xx body whose presence means failure."""

    def says(self, text: str) -> str:
        return f"{self.host}: {self.request}: {text}"


def fault_of(reply: Reply, asked: Asked, hide: Callable[[str], str]) -> errors.RemoteError | None:
    """The error that `reply` is, or None where it is a success. `hide` strikes secrets out of what the API says."""
    facts: dict[str, Any] = {"status": reply.status, "request": asked.request}
    if 200 <= reply.status < 300:
        found = at(reply.body, asked.error_at) if asked.error_at else None
        if found in (None, "", False, [], {}):
            return None
        told = _told(found) or _told(reply.body) or "no message"
        return errors.RemoteRefused(
            asked.says(f"{_cut(told, hide)} (HTTP {reply.status} with an error in it)"), **facts
        )
    if 300 <= reply.status < 400:
        return _redirected(reply, asked, facts)
    said = _cut(message_of(reply), hide)
    sentence = asked.says(f"{said or 'no message'} (HTTP {reply.status})")
    if reply.status in NOT_DONE:
        kind = errors.RemoteThrottled if reply.status in (429, 503) else errors.RemoteTransient
        return kind(sentence, retry_after=reply.retry_after, **facts)
    if reply.status >= 500 and reply.status not in (501, 505):
        return errors.RemoteFailed(sentence, **facts)
    if reply.status in GONE and asked.creating:
        return errors.RemoteMisused(sentence, **facts)
    if reply.status == 409:
        return (errors.RemoteConflict if asked.creating else errors.RemoteStale)(sentence, **facts)
    if reply.status == 428:
        return errors.RemoteMisused(
            sentence, action="Set api.record.if_match = true, and api.record.version or read.", **facts
        )
    return _BY_STATUS.get(reply.status, errors.RemoteRefused)(sentence, **facts)


_BY_STATUS: dict[int, type[errors.RemoteError]] = {
    401: errors.RemoteCredentialsRefused,
    403: errors.RemoteNotPermitted,
    404: errors.RemoteNotFound,
    405: errors.RemoteMisused,
    406: errors.RemoteMisused,
    407: errors.RemoteMisused,
    410: errors.RemoteNotFound,
    412: errors.RemoteStale,
    415: errors.RemoteMisused,
    501: errors.RemoteMisused,
    505: errors.RemoteMisused,
}


def _redirected(reply: Reply, asked: Asked, facts: dict[str, Any]) -> errors.RemoteError:
    target = plain(reply.headers.get("location", "")).partition("?")[0] or "another address"
    if reply.status == 303 and not asked.reading:  # "see what came of it": it was worked on
        return errors.RemoteOutcomeUnknown(asked.says(f"answered by a redirect to {target} (HTTP 303)"), **facts)
    return errors.RemoteMisused(
        asked.says(f"redirected to {target} (HTTP {reply.status}), which is not followed"),
        action="Put the address that it redirects to into the job's api settings.",
        **facts,
    )


def read(reply: Reply, asked: Asked) -> Any:
    """The JSON of a 2xx reply, None where it is empty. A value that JSON has not is an `Odd` (daemon.core.exact), for
    whoever needs it to refuse. Raises NotTheApi."""
    if not reply.content.strip():
        return None
    try:
        body = marked(reply.content)
        if not isinstance(body, Odd):
            return body
        why = f": it {body.why}"
    except ValueError as error:
        why = "" if reply.content.lstrip()[:1] == b"<" else f": {error}"
    media = reply.headers.get("content-type", "").partition(";")[0] or "a reply without a type"
    said = asked.says(f"got {plain(media)} with HTTP {reply.status} where JSON was expected{why}")
    raise errors.NotTheApi(said, status=reply.status, request=asked.request)


def message_of(reply: Reply) -> str:
    """What the API says of an error, in one of the shapes that are common, or ""."""
    try:
        return _told(loads(reply.content))
    except ValueError:
        return (
            "" if reply.content.lstrip()[:1] == b"<" else reply.content[: 4 * LONGEST_MESSAGE].decode(errors="replace")
        )


def _cut(text: str, hide: Callable[[str], str]) -> str:
    whole = hide(text).encode(errors="backslashreplace").decode()  # half of a surrogate pair can be kept nowhere
    return plain(whole, LONGEST_MESSAGE)


_WORDS = ("message", "error_description", "detail", "error", "errors", "title", "description", "reason", "msg")
"""Keys under which people are told what is wrong: RFC 9457 (detail, title), RFC 6749 (error_description), JSON:API
(errors), and what most others do."""


def _told(value: Any, depth: int = 4) -> str:
    """Texts for people within an error's body, joined."""
    return "; ".join(dict.fromkeys(text for text in _texts(value, depth) if text))


def _texts(value: Any, depth: int) -> Iterator[str]:
    if isinstance(value, str):
        yield value.strip()
    elif isinstance(value, list) and depth:
        for item in value[:5]:
            yield from _texts(item, depth - 1)
    elif isinstance(value, dict) and depth:
        yield from _of_object(value, depth - 1)


def _of_object(value: dict[str, Any], depth: int) -> Iterator[str]:
    """The message, and the fields that are at fault where they are listed beside it."""
    told = False
    for key in _WORDS:
        for text in _texts(value[key], depth) if value.get(key) else ():
            yield _placed(text, value)
            told = True
    if told:
        return
    for key, item in list(value.items())[:5]:  # {"qty": ["must be positive"]}
        if isinstance(item, list | dict):
            yield from (f"{key}: {text}" for text in _texts(item, depth) if text)


def _placed(text: str, value: dict[str, Any]) -> str:
    """With the field that it speaks of, where the same object names it."""
    field_name = next((value[key] for key in ("field", "path", "param", "loc") if isinstance(value.get(key), str)), "")
    return f"{field_name}: {text}" if field_name and field_name not in text else text
