"""The sandbox at the wire: requests, envelopes, errors, limits and faults, in front of the site.

After frappe/app.py, auth.py, rate_limiter.py, api/v1.py and api/v2.py.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import os
import signal
import time
from collections import deque
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from typing import Any
from urllib.parse import parse_qsl, unquote

from starlette.types import Message, Receive, Scope, Send

from daemon.sandbox import methods
from daemon.sandbox.faults import Fault, Faults
from daemon.sandbox.replies import Answer, FrappeError, page, refusal
from daemon.sandbox.site import Doc, FrappeSite

BULK_NOW = 20
"""Documents that the v2 bulk endpoints deal with before they answer (`bulk_operation_async_threshold`)."""


@dataclass(slots=True)
class Request:
    """One request, parsed."""

    method: str
    path: str
    """Still quoted."""
    headers: Mapping[str, str]
    body: bytes
    params: dict[str, Any]
    """frappe.form_dict: a JSON body replaces the query."""

    @property
    def writes(self) -> bool:
        return self.method in ("POST", "PUT", "PATCH", "DELETE")

    @property
    def payload(self) -> dict[str, Any]:
        """api/v1.py:get_request_form_data: `data` is the whole payload where there is one."""
        data = methods.decoded(self.params["data"]) if "data" in self.params else self.params
        return dict(data) if isinstance(data, Mapping) else {}


@dataclass(slots=True)
class Wire:
    """The ASGI application."""

    site: FrappeSite
    faults: Faults = field(default_factory=Faults)
    requests: deque[tuple[str, str, int]] = field(default_factory=lambda: deque(maxlen=100_000))
    """(method, path, status) of requests; status 0 where no reply went out."""
    _window: tuple[float, float] = (0.0, 0.0)
    """Start of the rate limit's window, seconds of work used in it."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        raw = scope["raw_path"].decode("latin-1").partition("?")[0]
        body = await _body(receive)
        for fault in (hit := self.faults.hit(scope["method"], raw)):
            if fault.kind == "latency":
                await asyncio.sleep(fault.seconds)
        answer = self._faulty(hit) or self._limited() or self._answered(scope, raw, body)
        lost = any(fault.kind in ("cut", "lose_reply") for fault in hit)
        self.requests.append((scope["method"], raw, 0 if lost else answer.status))
        if any(fault.kind == "kill" for fault in hit):
            os.kill(os.getpid(), signal.SIGKILL)
        if lost:
            scope["sandbox.abort"]()
            await receive()
            return
        await _reply(send, answer)

    def _faulty(self, hit: list[Fault]) -> Answer | None:
        """The reply of a request that is not worked on."""
        for fault in hit:
            if fault.kind == "cut":
                return page(0, "cut")
            if fault.kind == "deadlock":
                text = "Deadlock found when trying to get lock; try restarting transaction"
                error = FrappeError("QueryDeadlockError", f"(1213, '{text}')", thrown=False)
                return refusal(error, self.site.version, v2=False, system_user=True, tracebacks=True)
            if fault.kind == "status":
                return self._status(fault)
        return None

    def _status(self, fault: Fault) -> Answer:
        answer = page(fault.code, "Unavailable")
        if not fault.html:
            kind = {429: "TooManyRequestsError", 503: "SessionStopped"}.get(fault.code, "ValidationError")
            answer = Answer({"exc_type": kind}, fault.code)
        if fault.retry_after is not None:
            answer.headers["Retry-After"] = f"{fault.retry_after:g}"
        return answer

    def _limited(self) -> Answer | None:
        """rate_limiter.py: a budget of seconds of work in each window, checked before anything else."""
        limit = self.site.config.get("rate_limit")
        if not limit:
            return None
        now = time.monotonic()
        start, _ = self._window
        if now - start >= limit["window"]:
            self._window = (now, 0.0)
        if self._window[1] <= limit["limit"]:
            return None
        answer = Answer({"exc_type": "TooManyRequestsError"}, 429)
        answer.headers |= {"Retry-After": str(int(limit["window"] - (now - start)) + 1), **self._budget(limit)}
        return answer

    def _budget(self, limit: Mapping[str, float]) -> dict[str, str]:
        start, used = self._window
        left = max(0.0, limit["limit"] - used)
        return {
            "X-RateLimit-Limit": str(int(limit["limit"] * 1e6)),
            "X-RateLimit-Remaining": str(int(left * 1e6)),
            "X-RateLimit-Reset": str(max(0, int(limit["window"] - (time.monotonic() - start)))),
        }

    def _answered(self, scope: Scope, raw: str, body: bytes) -> Answer:
        """Work on the request, in one transaction."""
        began, site = time.perf_counter(), self.site
        v2 = raw.startswith("/api/v2/")
        request: Request | None = None
        with site.store.lock:
            site.user, site.messages = "Guest", []
            try:
                request = self._parsed(scope, raw, body)
                self._maintained(request)
                site.user = self._authenticated(request.headers.get("authorization"))
                with site.store.transaction() if request.writes else nullcontext():
                    answer = self._dispatched(request)
            except FrappeError as error:
                answer = self._refused(error, v2)
            if site.messages and isinstance(answer.body, dict) and answer.status == 200:
                answer.body["_server_messages"] = json.dumps([json.dumps({"message": text}) for text in site.messages])
        if limit := site.config.get("rate_limit"):
            cost = site.config.get("rate_limit_cost", time.perf_counter() - began)
            self._window = (self._window[0], self._window[1] + cost)
            answer.headers |= self._budget(limit)
        return answer

    def _refused(self, error: FrappeError, v2: bool) -> Answer:
        tracebacks = bool(self.site.config.get("allow_error_traceback", True))
        return refusal(error, self.site.version, v2=v2, system_user=self.site.user != "Guest", tracebacks=tracebacks)

    def _maintained(self, request: Request) -> None:
        if self.site.config.get("maintenance_mode") and not (
            request.method == "GET" and self.site.config.get("allow_reads_during_maintenance")
        ):
            raise FrappeError("SessionStopped", "Session Stopped: the site is being updated")

    def _parsed(self, scope: Scope, raw: str, body: bytes) -> Request:
        """app.py:make_form_dict. Raises what bad JSON is in this version."""
        headers = {key.decode("latin-1").lower(): value.decode("latin-1") for key, value in scope["headers"]}
        params: dict[str, Any] = dict(parse_qsl(scope["query_string"].decode(), keep_blank_values=True))
        kind = headers.get("content-type", "")
        if body and kind.startswith("application/json"):
            try:
                sent = json.loads(body)
            except ValueError as error:
                sixteen = self.site.version == "16"
                raise FrappeError("DataError" if sixteen else "JSONDecodeError", str(error), thrown=sixteen) from None
            params = sent if isinstance(sent, dict) else {"data": sent}
        elif body and kind.startswith("application/x-www-form-urlencoded"):
            params |= dict(parse_qsl(body.decode(), keep_blank_values=True))
        elif body and kind.startswith("multipart/"):
            params |= _multipart(kind, body)
        for dropped in ("_", "sid", "csrf_token", "ignore_permissions", "flags"):
            params.pop(dropped, None)
        return Request(scope["method"], raw, headers, body, params)

    def _authenticated(self, header: str | None) -> str:
        """auth.py:validate_auth. Two words or it is nobody's; a wrong key is refused."""
        words = (header or "").split(" ")
        if len(words) != 2 or words[0].lower() not in ("token", "basic"):
            return "Guest"
        text = words[1]
        if words[0].lower() == "basic":
            try:
                text = base64.b64decode(text, validate=True).decode()
            except (binascii.Error, UnicodeDecodeError):
                raise FrappeError("InvalidAuthorizationToken", "Failed to decode token") from None
        key, _, secret = text.partition(":")
        for user, pair in self.site.keys.items():
            if pair == (key, secret):
                return user
        raise FrappeError("AuthenticationError", "", thrown=False)

    # Routes

    def _dispatched(self, request: Request) -> Answer:
        parts = request.path.strip("/").split("/")
        if parts[:1] == ["api"] and request.params.get("cmd"):
            return self._called(str(request.params.pop("cmd")), request, "message")
        if self.site.version != "14" and parts[:2] == ["api", "v1"]:
            parts = ["api", *parts[2:]]
        match parts:
            case ["api", "method", *rest] if rest:
                return self._called(unquote("/".join(rest)).strip("/"), request, "message")
            case ["api", "resource", doctype]:
                return self._collection(unquote(doctype), request)
            case ["api", "resource", doctype, *name]:
                return self._document(unquote(doctype), unquote("/".join(name)), request, "")
            case ["api", "v2", *rest] if self.site.version != "14":
                return self._v2(rest, request)
            case ["private", "files", *_] | ["files", *_]:
                return self._file(request)
        return page(404, "Not Found")

    def _called(self, name: str, request: Request, envelope: str) -> Answer:
        if name == "upload_file":
            return Answer({envelope: self._uploaded(request)})
        found = methods.call(self.site, name, request.params)
        if isinstance(found, methods.Whole):
            return Answer(dict(found))
        return Answer({} if found is None else {envelope: found})

    def _collection(self, doctype: str, request: Request) -> Answer:
        if request.method == "GET":
            return Answer({"data": methods.rows(self.site, doctype, request.params)})
        if request.method == "POST":
            return Answer({"data": _without_nulls(self.site.insert({**request.payload, "doctype": doctype}))})
        return page(405, "Method Not Allowed")

    def _document(self, doctype: str, name: str, request: Request, envelope: str) -> Answer:
        site = self.site
        match request.method:
            case "GET":
                doc = site.load(doctype, name)
                site.require("read", doctype, name)
                return Answer({"data": doc if envelope == "v2" and site.version == "16" else _without_nulls(doc)})
            case "PUT" | "PATCH":
                return Answer({"data": _without_nulls(site.update(doctype, name, request.payload))})
            case "DELETE":
                site.delete(doctype, name)
                return Answer({"message" if site.version == "14" else "data": "ok"}, 202)
            case "POST":
                return Answer({"data": self._run_method(doctype, name, str(request.params.get("run_method")))})
        return page(405, "Method Not Allowed")

    def _run_method(self, doctype: str, name: str, method: str) -> Doc:
        status = {"submit": 1, "cancel": 2}.get(method)
        if status is None:
            raise FrappeError("PermissionError", f"Method {method} is not whitelisted")
        return self.site.update(doctype, name, {"docstatus": status})

    def _v2(self, parts: list[str], request: Request) -> Answer:
        site = self.site
        match parts:
            case ["document", doctype]:
                return self._v2_collection(unquote(doctype), request)
            case ["document", doctype, "bulk_delete" | "bulk_update" as action] if (
                site.bulk and request.method == "POST"
            ):
                return self._bulk(unquote(doctype), action, request)
            case ["document", _, "bulk_delete" | "bulk_update"] if request.method == "POST":
                raise FrappeError("DoesNotExistError", "Not Found", thrown=False)
            case ["document", doctype, *name]:
                return self._document(unquote(doctype), unquote("/".join(name)).strip("/"), request, "v2")
            case ["method", *rest]:
                return self._called(unquote("/".join(rest)).strip("/"), request, "data")
            case ["doctype", doctype, "meta"]:
                meta = site.doctype(unquote(doctype))
                return Answer({"data": {**meta.as_json(), "permissions": site.permissions(meta.name)}})
            case ["doctype", doctype, "count"]:
                return Answer({"data": methods.count(site, {**request.params, "doctype": unquote(doctype)})})
        return page(404, "Not Found")

    def _v2_collection(self, doctype: str, request: Request) -> Answer:
        """A list (16: `limit=0` is nothing at all, and it tells whether there is more), or an insert."""
        sixteen = self.site.version == "16"
        if request.method == "POST":
            return Answer({"data": self.site.insert({**request.payload, "doctype": doctype}, named=True)})
        if sixteen and str(request.params.get("limit")) == "0":
            return Answer({"data": [], "has_next_page": False})
        found = methods.rows(self.site, doctype, request.params)
        return Answer({"data": found, **({"has_next_page": False} if sixteen else {})})

    def _bulk(self, doctype: str, action: str, request: Request) -> Answer:
        """Each document in a savepoint of its own; above the threshold in the background."""
        site = self.site
        items = request.payload.get("names" if action == "bulk_delete" else "docs") or []
        if len(items) > BULK_NOW:
            user = site.user

            def job() -> None:
                site.user = user
                self._each(doctype, action, items)

            site.enqueue(job)
            return Answer({"data": {"job_id": f"job-{site.jobs_enqueued}"}}, 202)
        done, failed = self._each(doctype, action, items)
        counts = {"total": len(items), "success_count": len(done), "failure_count": len(failed)}
        return Answer({"data": {"deleted" if action == "bulk_delete" else "updated": done, "failed": failed, **counts}})

    def _each(self, doctype: str, action: str, items: list[Any]) -> tuple[list[str], list[Doc]]:
        done: list[str] = []
        failed: list[Doc] = []
        for item in items:
            name = item if isinstance(item, str) else str(item.get("name"))
            try:
                with self.site.store.savepoint():
                    if action == "bulk_delete":
                        self.site.delete(doctype, name)
                    else:
                        self.site.update(doctype, name, item)
                done.append(name)
            except FrappeError as error:
                failed.append({"name": name, "error": error.message})
        return done, failed

    # Files

    def _uploaded(self, request: Request) -> Doc:
        if self.site.version == "16" and request.method != "POST":
            raise FrappeError("PermissionError", "Not permitted")
        given = request.params
        name, content = str(given.get("file_name") or given.get("filename") or "file"), given.get("file") or b""
        folder = "/private/files" if int(given.get("is_private") or 0) else "/files"
        facts = {"file_name": name, "file_url": f"{folder}/{name}", "is_private": int(given.get("is_private") or 0)}
        doc = self.site.insert({"doctype": "File", **facts, "attached_to_doctype": given.get("doctype"),
                                "attached_to_name": given.get("docname"), "file_size": len(content)})  # fmt: skip
        encoded = base64.b64encode(content).decode()
        self.site.store.update("File", doc["name"], {"_comments": encoded})
        return doc

    def _file(self, request: Request) -> Answer:
        url = unquote(request.path)
        rows = self.site.store.all('SELECT * FROM "tabFile" WHERE file_url = ?', (url,))
        if not rows:
            return page(404, "Not Found")
        if rows[0]["is_private"] and self.site.user == "Guest":
            return page(403, "Forbidden")
        return Answer(base64.b64decode(rows[0]["_comments"] or ""), media="application/octet-stream")


def _without_nulls(doc: Doc) -> Doc:
    """v1 leaves empty fields out, in child rows too (utils/response.py:json_handler)."""
    return {
        key: [_without_nulls(row) for row in value] if isinstance(value, list) else value
        for key, value in doc.items()
        if value is not None
    }


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


async def _body(receive: Receive) -> bytes:
    chunks = []
    more = True
    while more:
        message: Message = await receive()
        chunks.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(chunks)


async def _reply(send: Send, answer: Answer) -> None:
    content = answer.encoded()
    headers = {"Content-Type": answer.media, "Content-Length": str(len(content)), **answer.headers}
    encoded = [(key.lower().encode(), value.encode()) for key, value in headers.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": encoded})
    await send({"type": "http.response.body", "body": content})
