"""What a client sends, made out as Frappe makes it out: arguments, names, keys. Sends nothing.

After frappe/app.py:make_form_dict and auth.py:validate_auth.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from email import message_from_bytes, policy
from typing import Any
from urllib.parse import parse_qsl

from starlette.types import Scope

from daemon.sandbox.replies import FrappeError

_DROPPED = ("_", "sid", "csrf_token", "ignore_permissions", "flags")
"""Keys that never reach what is called."""


@dataclass(slots=True)
class Request:
    """One request, parsed."""

    method: str
    path: str
    """Still quoted."""
    headers: Mapping[str, str]
    params: dict[str, Any]
    """frappe.form_dict."""

    @property
    def writes(self) -> bool:
        return self.method in ("POST", "PUT", "PATCH", "DELETE")

    @property
    def payload(self) -> dict[str, Any]:
        """api/v1.py:get_request_form_data: `data` is the whole payload where there is one."""
        data = decoded(self.params["data"]) if "data" in self.params else self.params
        return dict(data) if isinstance(data, Mapping) else {}

    @property
    def wants_page(self) -> bool:
        """app.py:handle_exception: errors are HTML unless JSON is accepted, or the path is the API's."""
        accept = self.headers.get("accept", "")
        if "application/json" in accept or "x-requested-with" in self.headers:
            return False
        return accept.startswith("text") or not self.path.startswith("/api/")

    @classmethod
    def of(cls, scope: Scope) -> Request:
        """Without its arguments, which may be refused."""
        headers = {key.decode("latin-1").lower(): value.decode("latin-1") for key, value in scope["headers"]}
        return cls(scope["method"], scope["raw_path"].decode("latin-1").partition("?")[0], headers, {})

    def read(self, scope: Scope, body: bytes, version: str) -> None:
        """Fill in `params`. A JSON body replaces the query. Raises what bad JSON is in this version."""
        params: dict[str, Any] = dict(parse_qsl(scope["query_string"].decode(), keep_blank_values=True))
        kind = self.headers.get("content-type", "")
        if body and kind.startswith("application/json"):
            params = _of_json(body, version)
        elif body and kind.startswith("application/x-www-form-urlencoded"):
            params |= dict(parse_qsl(body.decode(), keep_blank_values=True))
        elif body and kind.startswith("multipart/"):
            params |= _multipart(kind, body)
        self.params = {key: value for key, value in params.items() if key not in _DROPPED}

    def user(self, keys: Mapping[str, tuple[str, str]]) -> str:
        """Whose key it carries. A header of other than two words is ignored; a wrong key is refused."""
        scheme, _, text = self.headers.get("authorization", "").partition(" ")
        if not text or " " in text or scheme.lower() not in ("token", "basic"):
            return "Guest"
        if scheme.lower() == "basic":
            try:
                text = base64.b64decode(text).decode()
            except (binascii.Error, UnicodeDecodeError):
                raise FrappeError("InvalidAuthorizationToken", "Failed to decode token, please provide a valid "
                                  "base64-encoded token.") from None  # fmt: skip
        key, _, secret = text.partition(":")
        for user, pair in keys.items():
            if pair == (key, secret):
                return user
        raise FrappeError("AuthenticationError", thrown=False)


def decoded(value: Any) -> Any:
    """frappe.parse_json: text that is JSON becomes what it says."""
    if isinstance(value, str):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def _of_json(body: bytes, version: str) -> dict[str, Any]:
    try:
        sent = json.loads(body)
    except ValueError as error:
        if version == "16":
            raise FrappeError("DataError", "Invalid request body") from None
        raise FrappeError("JSONDecodeError", str(error), thrown=False) from None
    return sent if isinstance(sent, dict) else {"data": sent}


def _multipart(kind: str, body: bytes) -> dict[str, Any]:
    """multipart/form-data by the library's MIME parser (RFC 7578)."""
    head = f"Content-Type: {kind}\r\n\r\n".encode()
    found: dict[str, Any] = {}
    for part in message_from_bytes(head + body, policy=policy.HTTP).iter_parts():
        disposition = part["content-disposition"].params
        content: Any = part.get_payload(decode=True)
        if "filename" in disposition:
            found |= {"file": content, "filename": disposition["filename"]}
        else:
            found[disposition["name"]] = content.decode()
    return found
