"""The wire to the site: one pooled httpx session, retried by class of error. httpx and tenacity live here.

Every request goes under `/api/`, carries JSON both ways, has time-outs and follows no redirect (301 and 302 turn a
POST into a GET: RFC 9110, 15.4.2). Cookies are refused, since a session cookie beats the API key (frappe/auth.py:
validate_api_key_secret). A read is repeated after any passing failure. A write is repeated only while the site says
that nothing was done; once its fate is open it raises OutcomeUnknown, unless repeating was declared to be harmless.
"""

from __future__ import annotations

import json
import os
import random
import ssl
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

import httpx
from tenacity import RetryCallState, Retrying, retry_if_exception

from daemon import errors
from daemon.core.clock import Clock
from daemon.site.limiter import LONGEST_HOLD, Limiter
from daemon.site.replies import Reply, fault_of
from daemon.wire import SHORTEST_SECRET, Traffic, http_date, retry_after


class Safety(Enum):
    """What repeating a request would do, when the reply to it was lost."""

    READ = "reads only"
    REPEATABLE = "has the same effect twice as once"
    ONCE = "must not happen twice"


@dataclass(frozen=True, slots=True)
class Retry:
    """Bounds of patience for one request. Seconds."""

    attempts: int = 8
    total: float = 120.0
    first_wait: float = 0.5
    longest_wait: float = 30.0
    longest_rest: float = LONGEST_HOLD
    """How long a rest that the site asked for by its rate limit is waited for."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds. `read` covers the longest request that the site's own workers allow (gunicorn `-t 120`)."""

    connect: float = 10.0
    read: float = 130.0
    write: float = 60.0
    pool: float = 60.0

    @property
    def reply(self) -> float:
        """From the first byte sent to the last one received: a reply that drips meets no time-out between bytes."""
        return self.read + self.write


LOAD = 4096
"""Bytes of a body from which on a request takes as long as it is large."""
PROMPT = 1.0
"""Seconds after which a reply that is still coming is left where the run was asked to stop."""
LARGEST_REPLY = 128 << 20
"""Bytes, unpacked. The largest honest reply is a page of whole documents, or a printed one."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request as the caller meant it."""

    method: str
    path: str
    params: Mapping[str, str] | None = None
    content: bytes | None = None
    files: Mapping[str, Any] | None = None
    safety: Safety = Safety.READ
    begun: float = 0.0
    """Monotonic seconds."""
    into: Path | None = None
    """Where the reply is put instead of into memory, if it is a file (Frappe says so by Content-Disposition)."""
    largest: int = LARGEST_REPLY
    """Bytes of that file, at the most."""

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def route(self) -> str:
        """The kind of request, whose durations are comparable: the path without a document's name."""
        kind = " ".join((self.method, *self.path.split("/")[:4]))
        return f"{kind} large" if self.loads > 1 else kind

    @property
    def loads(self) -> float:
        """What a large request is worth in small ones: a site takes as long as it has work to do."""
        return max(1.0, len(self.content or b"") / LOAD)


class Transport:
    """Sends requests to one site on behalf of one run.

    The limiter may be shared by the runs of a process; traffic, retry budget and circuit breaker are this run's own.
    `note` is told of each retry.
    """

    def __init__(
        self,
        url: str,
        *,
        key: str,
        secret: str,
        limiter: Limiter,
        tls: ssl.SSLContext | None = None,
        timeouts: Timeouts = Timeouts(),
        retry: Retry = Retry(),
        site_name: str = "",
        clock: Clock,
        note: Callable[..., object],
        rng: random.Random | None = None,
    ) -> None:
        headers = {
            "Authorization": f"Basic {b64encode(f'{key}:{secret}'.encode()).decode()}",
            "Accept": "application/json",
            "User-Agent": "frappe-daemon",
        }
        if site_name:
            headers["X-Frappe-Site-Name"] = site_name
        self.traffic = Traffic()
        self.date_offset: timedelta | None = None
        """The site's clock less ours, from the Date header of the last reply; whole seconds are all that it gives."""
        self.http = httpx.Client(
            base_url=url.rstrip("/"),
            headers=headers,
            verify=tls if tls is not None else True,
            timeout=httpx.Timeout(timeouts.read, connect=timeouts.connect, write=timeouts.write, pool=timeouts.pool),
            # Shorter than nginx's 65 s, so that a connection is not used in the moment in which the server closes it.
            limits=httpx.Limits(max_connections=limiter.ceiling, keepalive_expiry=15),
            follow_redirects=False,
        )
        self.http.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self._limiter, self._clock, self._note = limiter, clock, note
        self._rng = rng or random.Random()
        basic = headers["Authorization"].removeprefix("Basic ")
        self._secrets = [text.encode() for text in (secret, basic) if len(text) >= SHORTEST_SECRET]
        self._patience = retry
        self._longest_reply = timeouts.reply
        self._counting = threading.Lock()
        self._answered = 0
        self._down: str = ""
        self._retrying = Retrying(
            retry=retry_if_exception(_may_repeat),
            stop=self._enough,
            wait=self._wait,
            sleep=clock.pause,
            before_sleep=self._retried,
            reraise=True,
        )

    def close(self) -> None:
        self.http.close()

    def send(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        payload: Any = None,
        files: Mapping[str, Any] | None = None,
        safety: Safety | None = None,
        into: Path | None = None,
        largest: int = LARGEST_REPLY,
    ) -> Reply:
        """The site's successful reply to `method` on `path` ("/api/…").

        `params` are sent in the query (lists and dicts as JSON), `payload` as the JSON body. `safety` is READ for GET
        and ONCE for anything else, unless stated. `into`: a file that the reply is streamed into, made anew by each
        try, of at most `largest` bytes (else FileProblem), readable by the daemon's user alone. Raises SiteError as
        daemon.site.replies decides, OutcomeUnknown for a write whose reply was lost, SiteDown once a request of this
        run has spent all its patience on a dead site.
        """
        call = Call(
            method,
            path,
            params and {key: as_text(value) for key, value in params.items() if value is not None},
            None if payload is None else encode(payload),
            files,
            safety or (Safety.READ if method == "GET" else Safety.ONCE),
            self._clock.monotonic(),
            into,
            largest,
        )
        before = self._answered
        try:
            return self._retrying(self._attempt, call)
        except errors.Transient as error:
            if error.site_wide and self._answered == before:
                self._down = self._down or str(error)
            raise

    def _attempt(self, call: Call) -> Reply:
        """Send once and judge the reply. Raises as `send` does."""
        if self._down:
            raise errors.SiteDown(f"{call}: not sent, since the site is down: {self._down}", request=str(call))
        if (rest := self._limiter.rest) > self._patience.longest_rest:
            said = f"{call}: not sent, since the site's rate limit is used up for the next {rest:.0f} s"
            raise errors.Throttled(said, request=str(call), retry_after=rest)
        if rest > PROMPT:
            self._note("request.held", request=str(call), wait=round(rest, 1))
        with self._limiter.slot(self._clock.pause):
            started = self._clock.monotonic()
            with self._counting:
                self.traffic.requests += 1
            try:
                reply, headers = self._exchange(call, started)
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                with self._counting:
                    self.traffic.statuses[type(error).__name__] += 1
                raise _lost(call, error) from None
            fault = fault_of(reply, str(call), reading=call.safety is Safety.READ)
            # Within the slot: whoever waits for it should find the limit as this answer left it.
            if fault is None:
                self._limiter.answered(call.route, self._clock.monotonic() - started, headers, call.loads)
            elif isinstance(fault, errors.Throttled):
                self._limiter.refused(fault.retry_after)
        with self._counting:
            self.traffic.statuses[str(reply.status)] += 1
            self._answered += reply.status not in (429, 502, 503, 504)
        if fault is None:
            self._see_date(headers)
            return reply
        if isinstance(fault, errors.NotFrappe) and call.safety is Safety.ONCE and 200 <= reply.status < 300:
            fault = errors.OutcomeUnknown(str(fault), status=reply.status, request=fault.request)
        # The parameter tells the retry policy; a lost reply to a harmless write may be asked for again.
        if isinstance(fault, errors.OutcomeUnknown) and call.safety is Safety.REPEATABLE:
            raise errors.Transient(str(fault), status=fault.status, exc_type=fault.exc_type, request=fault.request)
        raise fault

    def _exchange(self, call: Call, started: float) -> tuple[Reply, httpx.Headers]:
        """The reply, read within its bounds of time and size."""
        with self.http.stream(
            call.method,
            call.path,
            params=call.params,
            content=call.content,
            files=call.files,
            headers=_JSON if call.content is not None else None,
        ) as response:
            content, size = bytearray(), 0
            with _opened(call, response) as file:
                for piece in response.iter_bytes():
                    size += len(piece)
                    if file and size > call.largest:
                        raise _too_large(call)
                    if not file and size > LARGEST_REPLY:
                        raise httpx.DecodingError(f"the reply is larger than {LARGEST_REPLY >> 20} MB")
                    if file:
                        file.write(piece)
                    else:
                        content += piece
                    passed = self._clock.monotonic() - started
                    if passed > self._longest_reply:
                        raise httpx.ReadTimeout(f"the reply was not complete after {self._longest_reply:g} s")
                    if passed > PROMPT and call.safety is Safety.READ:
                        self._clock.pause(0)  # a stop need not wait for what changes nothing
            headers = response.headers
            if not response.is_success:  # an error may echo what it was sent, and is cut short before it is shown
                for secret in self._secrets:
                    content = content.replace(secret, b"********")
            return Reply(
                response.status_code,
                headers.get("content-type", ""),
                bytes(content),
                headers.get("location", ""),
                retry_after(headers.get("retry-after"), self._clock.now()),
            ), headers

    def _see_date(self, headers: httpx.Headers) -> None:
        if self.date_offset is None and (stamp := headers.get("date")):
            moment = http_date(stamp)
            self.date_offset = moment - self._clock.now() if moment else timedelta(0)

    def _enough(self, state: RetryCallState) -> bool:
        """The next try would be one too many, or come too late. Tenacity's own bounds read the machine's clock."""
        late = self._clock.monotonic() - state.args[0].begun + state.upcoming_sleep >= self._patience.total
        many = state.attempt_number >= self._patience.attempts
        return late or many or self.traffic.budget_spent or bool(self._down)

    def _wait(self, state: RetryCallState) -> float:
        """Seconds until the next try: what the site asked for and a little more, else equal jitter.

        Equal jitter keeps at least half of the exponential step; full jitter may draw a wait of nearly nothing, which
        is useless against a limit that counts in windows.
        """
        error = state.outcome.exception() if state.outcome else None
        asked = getattr(error, "retry_after", None)
        if asked:
            return float(asked) + self._rng.uniform(0.05, 0.5)
        step = min(self._patience.longest_wait, self._patience.first_wait * 2.0 ** (state.attempt_number - 1))
        return step / 2 + self._rng.uniform(0, step / 2)

    def _retried(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        with self._counting:
            self.traffic.retries += 1
            self.traffic.waits += isinstance(error, errors.Throttled)
        self._note("request.retried", request=str(state.args[0]), error=str(error), wait=round(state.upcoming_sleep, 2))


@contextmanager
def _opened(call: Call, response: httpx.Response) -> Iterator[IO[bytes] | None]:
    """The file that the reply is for, on the disk when the block ends; None where the reply is kept in memory: it is no
    file, but an error or a page of something in front of the site. Raises OutputError."""
    if call.into is None or not response.is_success or "content-disposition" not in response.headers:
        yield None
        return
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        with os.fdopen(os.open(call.into, flags, 0o600), "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise errors.OutputError(f"{call.into}: cannot be written: {error.strerror or error}") from None


def _too_large(call: Call) -> errors.FileProblem:
    action = "Split the file, or let the job take larger ones."
    said = f"the file is larger than {call.largest:,} bytes, which is more than is taken"
    return errors.FileProblem(said, path=str(call.into), action=action)


def _may_repeat(error: BaseException) -> bool:
    return isinstance(error, errors.Transient) and not isinstance(error, errors.SiteDown)


_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)


def _lost(call: Call, error: httpx.HTTPError | httpx.InvalidURL) -> errors.SiteError:
    """The error for a request that got no reply: whether it can have reached the site decides."""
    said = str(error) or type(error).__name__
    if isinstance(error, httpx.InvalidURL | httpx.UnsupportedProtocol):
        return errors.NotFrappe(f"{call}: site.url is no address that can be asked: {said}", request=str(call))
    if "CERTIFICATE_VERIFY_FAILED" in said:
        return errors.UntrustedCertificate(f"{call}: the site's certificate is not trusted: {said}", request=str(call))
    if "[SSL" in said:
        sentence = f"{call}: no TLS with the server (is it plain http?): {said}"
        return errors.UntrustedCertificate(sentence, request=str(call), action="Check the scheme and port of site.url.")
    if isinstance(error, _NOT_SENT):
        return errors.Unreachable(f"{call}: no connection to the site: {said}", request=str(call))
    sentence = f"{call}: no reply came ({type(error).__name__}: {said})"
    if call.safety is Safety.ONCE:
        return errors.OutcomeUnknown(sentence, request=str(call))
    if isinstance(error, httpx.DecodingError):  # asking again would bring the same
        return errors.NotFrappe(sentence, request=str(call))
    if isinstance(error, httpx.ReadTimeout):  # one slow query, not a dead site
        return errors.Transient(sentence, request=str(call))
    return errors.Unreachable(sentence, request=str(call))


_JSON = {"Content-Type": "application/json"}


def encode(payload: Any) -> bytes:
    """`payload` as JSON; dates, times and decimals as Frappe writes them. Raises TypeError for what has no form."""
    text = json.dumps(payload, ensure_ascii=False, separators=(",", ":"), default=_frappe_text)
    try:
        return text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can say and UTF-8 cannot
        return json.dumps(payload, separators=(",", ":"), default=_frappe_text).encode()


def _frappe_text(value: Any) -> str:
    if isinstance(value, datetime):
        if value.tzinfo is not None:
            raise TypeError(f"{value!r}: the site keeps naive times of its own zone (daemon.site.clock converts)")
        return value.isoformat(" ")
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no JSON form: {value!r}")


def as_text(value: Any) -> str:
    """`value` as a query parameter: text as it is, True as 1, anything with structure as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(int(value))
    return encode(value).decode()


def quoted(name: str | int) -> str:
    """`name` as one segment of a path: slashes, percent signs, question marks and hashes included."""
    return quote(str(name), safe="")
