"""The sandbox at the wire: requests, errors, limits and faults, in front of the site.

After frappe/app.py and rate_limiter.py.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import UTC
from email.utils import format_datetime

from starlette.types import Receive, Scope, Send

from daemon.sandbox import routes
from daemon.sandbox.faults import Fault, Faults
from daemon.sandbox.listener import answered, path_of
from daemon.sandbox.replies import Answer, FrappeError, noted, page, refusal
from daemon.sandbox.requests import Request
from daemon.sandbox.site import FrappeSite


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
        await answered(scope, receive, send, self.faults, self._work, self._log)

    def _work(self, scope: Scope, body: bytes, hit: list[Fault]) -> Answer:
        answer = self._faulty(hit) or self._limited() or self._answered(scope, body)
        answer.headers.setdefault("Date", format_datetime(self.site.clock().astimezone(UTC), usegmt=True))
        return answer

    def _log(self, scope: Scope, status: int) -> None:
        self.requests.append((scope["method"], path_of(scope), status))

    def _faulty(self, hit: list[Fault]) -> Answer | None:
        """The reply of a request that is not worked on."""
        for fault in hit:
            if fault.kind == "cut":
                return page(0, "cut")
            if fault.kind == "deadlock":
                text = "Deadlock found when trying to get lock; try restarting transaction"
                error = FrappeError("QueryDeadlockError", f"(1213, '{text}')", thrown=False)
                return refusal(error, self.site.version, [], v2=False, system_user=True, shown=True)
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

    def _answered(self, scope: Scope, body: bytes) -> Answer:
        """Work on the request, in one transaction."""
        began = time.perf_counter()
        with self.site.store.lock:
            answer = self._worked(Request.of(scope), scope, body)
        if limit := self.site.config.get("rate_limit"):
            cost = self.site.config.get("rate_limit_cost", time.perf_counter() - began)
            self._window = (self._window[0], self._window[1] + cost)
            answer.headers |= self._budget(limit)
        return answer

    def _worked(self, request: Request, scope: Scope, body: bytes) -> Answer:
        site, v2 = self.site, request.path.startswith("/api/v2/")
        site.user, site.notices = "Guest", []
        try:
            request.read(scope, body, site.version)
            self._maintained(request)
            site.user = site.admitted(request.user(site.keys))
            with site.store.transaction() if request.writes else nullcontext():
                return noted(routes.dispatch(site, request), site.notices, v2=v2)
        except FrappeError as error:
            return self._refused(error, request, v2=v2)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            # Input over which Frappe's own code stumbles, too: any exception is an answer in JSON, mostly a 500.
            return self._refused(FrappeError(type(error).__name__, str(error), thrown=False), request, v2=v2)

    def _refused(self, error: FrappeError, request: Request, *, v2: bool) -> Answer:
        if request.wants_page:
            return page(error.status, error.exc_type)
        site = self.site
        shown = bool(site.config.get("allow_error_traceback", True))
        return refusal(error, site.version, site.notices, v2=v2, system_user=site.user != "Guest", shown=shown)

    def _maintained(self, request: Request) -> None:
        if self.site.config.get("maintenance_mode") and not (
            request.method == "GET" and self.site.config.get("allow_reads_during_maintenance")
        ):
            raise FrappeError("SessionStopped", "Session Stopped: the site is being updated")
