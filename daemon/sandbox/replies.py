"""Errors as Frappe raises them, and the bodies that each version sends for them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

STATUS = {
    "AuthenticationError": 401, "InvalidAuthorizationToken": 400, "PermissionError": 403, "DoesNotExistError": 404,
    "DuplicateEntryError": 409, "NameError": 409, "TooManyRequestsError": 429, "SessionStopped": 503,
    "QueueOverloaded": 503, "OutgoingEmailError": 501, "QueryDeadlockError": 500, "TypeError": 500, "KeyError": 500,
    "RuntimeError": 500, "OperationalError": 500, "JSONDecodeError": 500,
}  # fmt: skip
"""frappe/exceptions.py `http_status_code`; whatever is not here is a ValidationError: 417."""

_BUILTIN = {"TypeError", "KeyError", "RuntimeError"}


class FrappeError(Exception):
    """An exception on the site. `thrown`: by frappe.throw, which leaves a message for people."""

    def __init__(self, exc_type: str, message: str, *, title: str = "Message", thrown: bool = True) -> None:
        super().__init__(message)
        self.exc_type, self.message, self.title, self.thrown = exc_type, message, title, thrown

    @property
    def status(self) -> int:
        return STATUS.get(self.exc_type, 417)

    def server_message(self) -> str:
        facts = {"message": self.message, "title": self.title, "indicator": "red", "raise_exception": 1}
        return json.dumps(facts)


@dataclass(slots=True)
class Answer:
    """A reply before it goes out."""

    body: Any
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    media: str = "application/json"

    def encoded(self) -> bytes:
        if isinstance(self.body, bytes):
            return self.body
        return json.dumps(self.body, ensure_ascii=False, separators=(",", ":"), default=str).encode()


def page(status: int, title: str) -> Answer:
    """An HTML page, as werkzeug, nginx or a proxy sends it."""
    text = f"<!doctype html><html lang=en><title>{status} {title}</title><h1>{title}</h1></html>"
    return Answer(text.encode(), status, media="text/html; charset=utf-8")


def refusal(error: FrappeError, version: str, *, v2: bool, system_user: bool, tracebacks: bool) -> Answer:
    """The reply for `error` (frappe/utils/response.py:report_error).

    14 tells exc_type only of what was thrown; 16 shows tracebacks to system users alone; a 404 never has one.
    """
    prefix = "" if error.exc_type in _BUILTIN else "frappe.exceptions."
    last_line = f"{prefix}{error.exc_type}: {error.message}"
    shown = tracebacks and error.status != 404 and (version != "16" or system_user)
    if v2:
        entry: dict[str, Any] = {"type": error.exc_type}
        if error.thrown:
            entry |= {"message": error.message, "title": error.title}
        if shown:
            entry["exception"] = last_line
        return Answer({"errors": [entry]}, error.status)
    body: dict[str, Any] = {}
    if shown:
        body["exception"] = last_line
        body["exc"] = json.dumps([f"Traceback (most recent call last):\n  …\n{last_line}\n"])
    if version != "14" or error.thrown:
        body["exc_type"] = error.exc_type
    if error.thrown:
        body["_server_messages"] = json.dumps([error.server_message()])
    return Answer(body, error.status)
