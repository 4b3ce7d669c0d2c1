"""What a reply of the site means: its value, or the error that names who must act. Reads and writes nothing.

A reply is judged by its HTTP status and then by `exc_type`, never by `exc`: tracebacks are absent where System Settings
`allow_error_traceback` is off, for most users of version 16, and for every 404 (frappe/utils/response.py:report_error).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from daemon import errors
from daemon.wire import plain

_BY_EXC_TYPE: dict[str, type[errors.SiteError]] = {
    "AuthenticationError": errors.CredentialsRefused,
    "SessionExpired": errors.CredentialsRefused,
    "InvalidAuthorizationToken": errors.CredentialsRefused,
    "InvalidAuthorizationHeader": errors.CredentialsRefused,
    "PermissionError": errors.NotPermitted,
    "DoesNotExistError": errors.NotFound,
    "DuplicateEntryError": errors.AlreadyExists,
    "UniqueValidationError": errors.AlreadyExists,
    "TimestampMismatchError": errors.StaleDocument,
    "LinkExistsError": errors.InUse,
    "DocumentLockedError": errors.Transient,
    "QueryDeadlockError": errors.Transient,
    "QueryTimeoutError": errors.Transient,
    "TooManyRequestsError": errors.Throttled,
    "RateLimitExceededError": errors.Throttled,
    "QueueOverloaded": errors.Throttled,
    "SessionStopped": errors.Throttled,
    "InReadOnlyMode": errors.Throttled,
    "OutgoingEmailError": errors.NotConfigured,
}
"""frappe/exceptions.py, by class name. A deadlock or lock time-out has rolled its whole transaction back."""

_BY_STATUS: dict[int, type[errors.SiteError]] = {
    400: errors.Invalid,
    401: errors.CredentialsRefused,
    403: errors.NotPermitted,
    404: errors.NotFound,
    409: errors.AlreadyExists,
    413: errors.TooLarge,
    417: errors.Invalid,
    429: errors.Throttled,
    501: errors.NotConfigured,
    503: errors.Throttled,
}

CONNECTION_LOST = frozenset({"OperationalError", "InternalError", "InterfaceError", "ConnectionError"})
"""The site lost its database or Redis while it worked: a write may or may not have been committed before."""

_BAD_SQL = re.compile(r"\((?:10(?:52|54|64)|1146|1305)\b|Unknown column|no such (?:column|table)")
"""What MariaDB says of a statement that it will never take, under the same class as a connection that was lost."""

_BAD_VALUE = re.compile(r"\((?:1048|1118|1264|1265|1292|1364|1366|1406|1411|1452|1690|3140|3819|40(?:25|3[78]))\b")
"""What it says of values that a column or its check will not have, such as JSON nested too deep (4025), again under
that class: the statement was undone, and the same one is refused for ever."""

_GATEWAY = frozenset({502, 504})
"""A proxy gave up on the site's worker, which may still commit (nginx read time-out, gunicorn `-t`)."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back, apart from the library that fetched it."""

    status: int
    content_type: str
    content: bytes
    location: str = ""
    retry_after: float | None = None
    """Seconds, from the Retry-After header."""


def value_of(reply: Reply) -> Any:
    """What the caller asked for: `message` of an RPC, `data` of a document route, else the whole body.

    Bodies such as that of `getdoctype` carry neither and come back whole (frappe/utils/response.py:as_json). Raises
    NotFrappe where the body is cut short or no JSON at all.
    """
    try:
        body = json.loads(reply.content) if reply.content else None
    except (ValueError, RecursionError):
        raise errors.NotFrappe(f"the reply is not the JSON that it begins as (HTTP {reply.status})") from None
    if isinstance(body, dict):
        for key in ("message", "data"):
            if key in body:
                return body[key]
    return body


def fault_of(reply: Reply, request: str, *, reading: bool) -> errors.SiteError | None:
    """The error that `reply` to `request` ("GET /api/…") is, or None where it is a success in JSON, or a PDF.

    `reading`: the request changes nothing, so that a reply which leaves its outcome open is merely transient.
    """
    status = reply.status
    if 200 <= status < 300 and reply.content[:1] in (b"{", b"[", b"", b"%"):
        return None
    if 300 <= status < 400:
        return errors.NotFrappe(
            f"{request}: redirected to {reply.location or 'another address'}, which would turn writes into reads",
            status=status,
            request=request,
            action="Put the address that it redirects to into site.url.",
        )
    body = _json_object(reply)
    if body is None:
        return _foreign(reply, request, reading=reading)
    exc_type = exc_type_of(body)
    said = message_of(body) or ("the API key or secret is not accepted" if status == 401 else "no message")
    facts: dict[str, Any] = {"status": status, "exc_type": exc_type, "request": request}
    database = exc_type in CONNECTION_LOST
    if database and _BAD_VALUE.search(said):
        return errors.Invalid(f"{request}: the database refuses a value: {said}", **facts)
    if (database and not _BAD_SQL.search(said)) or (status in _GATEWAY and exc_type not in _BY_EXC_TYPE):
        return _open(f"{request}: the site lost its database or queue: {said}", reading=reading, **facts)
    fallback = errors.ServerBug if status >= 500 else errors.Invalid
    kind = _BY_EXC_TYPE.get(exc_type) or _BY_STATUS.get(status) or fallback
    sentence = f"{request}: {said} ({status}{f' {exc_type}' if exc_type else ''})"
    if issubclass(kind, errors.Transient):
        return kind(sentence, retry_after=reply.retry_after, **facts)
    return kind(sentence, **facts)


def _open(sentence: str, *, reading: bool, **facts: Any) -> errors.SiteError:
    """An outcome left open: for a read merely transient, for a write unknown."""
    return errors.Transient(sentence, **facts) if reading else errors.OutcomeUnknown(sentence, **facts)


def _foreign(reply: Reply, request: str, *, reading: bool) -> errors.SiteError:
    """The error of a reply that no JSON of Frappe: a proxy's page, a framework's page, or another server's."""
    status = reply.status
    facts: dict[str, Any] = {"status": status, "request": request}
    if status == 429 or status == 503:
        sentence = f"{request}: the server in front of the site is not letting requests through (HTTP {status})"
        return errors.Throttled(sentence, retry_after=reply.retry_after, **facts)
    if status in _GATEWAY:
        return _open(f"{request}: the proxy got no answer from the site (HTTP {status})", reading=reading, **facts)
    if status in (401, 403):
        sentence = f"{request}: something in front of the site refused the request (HTTP {status}, not by Frappe)"
        return errors.NotPermitted(sentence, action="Let firewall, proxy or login page pass requests to /api.", **facts)
    if status == 413:
        return errors.TooLarge(f"{request}: the request is larger than the site or its proxy takes (HTTP 413)", **facts)
    if status >= 500:
        return _open(
            f"{request}: the server failed, without a word of Frappe's (HTTP {status})", reading=reading, **facts
        )
    what = reply.content_type.partition(";")[0] or "nothing"
    return errors.NotFrappe(f"{request}: got {what} with HTTP {status} where JSON of Frappe was expected", **facts)


def _json_object(reply: Reply) -> dict[str, Any] | None:
    try:
        body = json.loads(reply.content)
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) else None


_CLASS = re.compile(r"(?:[A-Za-z_]\w*\.)*([A-Z]\w*)(?::|\s*$)")


def exc_type_of(body: Mapping[str, Any]) -> str:
    """The exception's class name, wherever this version puts it, or "".

    `exc_type` (versions 15 and 16, and 14 where it was thrown), the first of v2's `errors`, or the class at the head of
    `exception` (version 14: frappe/utils/response.py:report_error).
    """
    if isinstance(body.get("exc_type"), str):
        return str(body["exc_type"])
    listed = body.get("errors")
    if isinstance(listed, list) and listed and isinstance(listed[0], dict):
        return str(listed[0].get("type") or "")
    match = _CLASS.match(str(body.get("exception") or ""))
    return match[1] if match else ""


def message_of(body: Mapping[str, Any]) -> str:
    """What the site wants a person to read, as plain text on one line, or ""."""
    listed = body.get("errors")
    entries = [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
    said = _server_messages(body.get("_server_messages"))
    said += [entry.get("message") or entry.get("exception") or "" for entry in entries]
    if not any(said):
        exception = str(body.get("exception") or "")
        if _CLASS.fullmatch(exception):  # nothing but the class
            exception = ""
        said = [body.get("_error_message") or exception.partition(": ")[2] or exception or body.get("message") or ""]
    texts = list(dict.fromkeys(text for text in map(plain, map(str, said)) if text))
    return "; ".join(texts)


def _server_messages(encoded: Any) -> list[str]:
    """The messages of `_server_messages`: JSON of a list of JSON objects (frappe/__init__.py:msgprint)."""
    try:
        return [_one_message(item) for item in json.loads(encoded or "[]")]
    except (TypeError, ValueError):
        return []


def _one_message(item: Any) -> str:
    try:
        message = json.loads(item) if isinstance(item, str) else item
    except ValueError:
        message = item
    if not isinstance(message, dict):
        return str(message)
    title, text = plain(str(message.get("title") or "")), str(message.get("message") or "")
    return f"{title}: {text}" if title and title not in ("Message", "Error") and title not in plain(text) else text
