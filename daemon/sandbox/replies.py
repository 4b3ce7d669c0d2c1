"""Errors as Frappe raises them, and the bodies that each version sends for them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

STATUS = {
    "AuthenticationError": 401, "InvalidAuthorizationToken": 400, "PermissionError": 403, "DoesNotExistError": 404,
    "DuplicateEntryError": 409, "NameError": 409, "TooManyRequestsError": 429, "SessionStopped": 503,
    "QueueOverloaded": 503, "OutgoingEmailError": 501, "QueryDeadlockError": 500, "TypeError": 500, "KeyError": 500,
    "RuntimeError": 500, "OperationalError": 500, "JSONDecodeError": 500, "ProgrammingError": 500,
    "ValueError": 500, "AttributeError": 500, "OSError": 500,
}  # fmt: skip
"""frappe/exceptions.py `http_status_code`; whatever is not here is a ValidationError: 417."""

_MODULES = {
    **dict.fromkeys(("TypeError", "KeyError", "RuntimeError", "ValueError", "AttributeError", "OSError"), ""),
    **dict.fromkeys(("OperationalError", "ProgrammingError"), "pymysql.err."),
    "JSONDecodeError": "json.decoder.",
}


class FrappeError(Exception):
    """An exception on the site. `thrown`: by frappe.throw, which leaves a message for people."""

    def __init__(
        self, exc_type: str, message: str = "", *, title: str = "Message", thrown: bool = True, about: str = ""
    ) -> None:
        super().__init__(message)
        self.exc_type, self.message, self.title, self.thrown = exc_type, message, title, thrown
        self.about = about
        """What goes out as `_error_message` (frappe.flags.error_message)."""

    @property
    def status(self) -> int:
        return STATUS.get(self.exc_type, 417)

    @property
    def last_line(self) -> str:
        """Of its traceback."""
        name = _MODULES.get(self.exc_type, "frappe.exceptions.") + self.exc_type
        return f"{name}: {self.message}" if self.message else name

    def notice(self) -> dict[str, Any]:
        """What frappe.throw leaves in the message log."""
        return {"message": self.message, "title": self.title, "indicator": "red", "raise_exception": 1}


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


def noted(answer: Answer, notices: Sequence[dict[str, Any]], *, v2: bool) -> Answer:
    """`answer` with what the request had to say to people: a JSON text of JSON texts, on v2 a list."""
    if notices and isinstance(answer.body, dict):
        answer.body |= {"messages": notices} if v2 else {"_server_messages": json.dumps([*map(json.dumps, notices)])}
    return answer


def refusal(
    error: FrappeError, version: str, notices: Sequence[dict[str, Any]], *, v2: bool, system_user: bool, shown: bool
) -> Answer:
    """The reply for `error` (frappe/utils/response.py:report_error).

    `notices`: messages from before it. `shown`: System Settings allow_error_traceback. 14 tells exc_type only of what
    was thrown; 16 shows tracebacks to system users alone; a 404 never has one.
    """
    shown = shown and error.status != 404 and (version != "16" or system_user)
    trace = f"Traceback (most recent call last):\n  …\n{error.last_line}\n"
    if v2:
        entry: dict[str, Any] = {"type": error.exc_type}
        entry |= {"exception": trace} if shown else {}
        said = error.notice() if error.thrown else notices[-1] if notices else {}
        return Answer(
            {"errors": [entry | {key: one for key, one in said.items() if key != "raise_exception"}]}, error.status
        )
    body: dict[str, Any] = {"exception": error.last_line, "exc": json.dumps([trace])} if shown else {}
    if version != "14" or error.thrown:
        body["exc_type"] = error.exc_type
    if error.about:
        body["_error_message"] = error.about
    return noted(Answer(body, error.status), [*notices, *([error.notice()] if error.thrown else [])], v2=False)
