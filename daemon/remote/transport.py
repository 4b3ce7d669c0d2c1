"""The wire to another API: one pooled httpx session for a run, retried by class of error. httpx and tenacity live here.

What is sent again after its reply was lost (RFC 9110, 9.2.2: what is idempotent, or what the client knows to be):
reads; writes with If-Match, whose second copy finds the record changed by the first and does nothing; PUT and DELETE
without; a create whose key the API is known to heed. Anything else raises RemoteOutcomeUnknown, as does a write that
was sent again and then refused or lost: the first copy may be what the second stumbled over. A refusal that says that
nothing was done (429, 503, 408, 425) and a connection that was never made are tried again whatever was asked. Redirects
are followed for reads and to the same origin alone; cookies are refused.
"""

from __future__ import annotations

import random
import ssl
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from http.cookiejar import DefaultCookiePolicy
from typing import Any
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit

import httpx
from tenacity import RetryCallState, Retrying, retry_if_exception

from daemon import errors
from daemon.core.api import ApiSettings
from daemon.core.clock import Clock
from daemon.remote.auth import ClientCredentials, Fixed, Pass, secrets_of
from daemon.remote.pace import Pace
from daemon.remote.replies import Asked, Reply, fault_of, read
from daemon.wire import SHORTEST_SECRET, Traffic, retry_after

FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0
"""Seconds of the first step between two tries, and of the longest."""
LARGEST_REPLY = 32 << 20
"""Bytes, unpacked: a page of records, which is held in memory whole."""
PROMPT = 1.0
"""Seconds after which a reply that is still coming is left where the run was asked to stop."""
HOPS = 5
"""Redirects of one read that are followed."""


@dataclass(slots=True)
class Call:
    """One request as the caller meant it."""

    method: str
    url: str
    """Without what says who we are."""
    asked: Asked
    content: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    repeatable: bool = False
    """Sending it twice does no more than sending it once."""
    signed: bool = True
    """It says who we are. Not where it asks for a token."""
    begun: float = 0.0
    """Monotonic seconds."""
    in_doubt: bool = False
    """A try of this write may have been done."""

    def __str__(self) -> str:
        return self.asked.request


class Transport:
    """Sends requests to one API on behalf of one run. `note` is told of each retry."""

    def __init__(
        self,
        settings: ApiSettings,
        *,
        tls: ssl.SSLContext | None,
        clock: Clock,
        note: Callable[..., object],
        rng: random.Random | None = None,
    ) -> None:
        self.host, self.base = settings.host, settings.url
        self.traffic = Traffic()
        times = settings.timeouts
        read, write = times.read.total_seconds(), times.write.total_seconds()
        self.http = httpx.Client(
            headers={"Accept": "application/json", "User-Agent": "frappe-daemon", **settings.headers},
            verify=tls if tls is not None else True,
            timeout=httpx.Timeout(
                read, connect=times.connect.total_seconds(), write=write, pool=times.pool.total_seconds()
            ),
            limits=httpx.Limits(max_connections=settings.concurrency, keepalive_expiry=15),
            follow_redirects=False,
        )
        self.http.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self._longest_reply = read + write
        self._attempts, self._total = settings.retry.attempts, settings.retry.total.total_seconds()
        self._clock, self._note, self._rng = clock, note, rng or random.Random()
        self._pace = Pace(settings.concurrency, settings.per_second, clock.monotonic)
        self._secrets: set[str] = set()
        for secret in secrets_of(settings.auth):
            self._learn(secret)
        self._oauth = settings.auth.oauth2 if settings.auth else None
        self._auth: Fixed | ClientCredentials = (
            ClientCredentials(self._oauth, self._token, self._learn, clock) if self._oauth else Fixed(settings.auth)
        )
        self._counting = threading.Lock()
        self._answered = 0
        self._down: errors.RemoteError | None = None
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

    def send(self, call: Call) -> Reply:
        """The API's successful reply, with its JSON. Raises RemoteError: what the reply means (daemon.remote.replies),
        RemoteOutcomeUnknown for a write whose fate is open, RemoteDown once a request of this run has spent all its
        patience on a dead API or had its credentials refused."""
        call.begun, before = self._clock.monotonic(), self._answered
        try:
            return self._patiently(call)
        except errors.RemoteError as error:
            dead = isinstance(error, errors.RemoteTransient) and error.remote_wide and self._answered == before
            if dead or isinstance(error, errors.RemoteCredentialsRefused):
                self._down = self._down or error
            if call.in_doubt and not isinstance(error, errors.RemoteOutcomeUnknown):
                said = f"{error}; a try of it may have been done"
                raise errors.RemoteOutcomeUnknown(said, status=error.status, request=error.request) from None
            raise
        except errors.Stopped as stop:
            if call.in_doubt:
                said = call.asked.says(f"no reply came, and {stop} before it was sent again")
                raise errors.RemoteOutcomeUnknown(said, request=str(call)) from None
            raise

    def hide(self, text: str) -> str:
        """`text` without secrets of ours."""
        for secret in sorted(self._secrets, key=len, reverse=True):
            text = text.replace(secret, "********")
        return text

    def _learn(self, secret: str) -> None:
        if len(secret) >= SHORTEST_SECRET:
            self._secrets = self._secrets | {secret}

    def _patiently(self, call: Call) -> Reply:
        """With all tries that it may have; one more with a new token where the one at hand was refused."""
        if not call.signed:
            return self._retrying(self._attempt, call, Pass())
        shown = self._auth.current()
        try:
            return self._retrying(self._attempt, call, shown)
        except errors.RemoteCredentialsRefused:
            if not self._auth.renewed(shown):
                raise
        with self._counting:
            self.traffic.retries += 1
        self._note("token.renewed", host=self.host, request=str(call))
        return self._retrying(self._attempt, call, self._auth.current())

    def _token(self, form: bytes, headers: Mapping[str, str]) -> Any:
        """The JSON of the token server's reply."""
        assert self._oauth
        parts = urlsplit(self._oauth.token_url)
        asked = Asked(parts.netloc, f"POST {parts.path}", reading=True)
        call = Call("POST", self._oauth.token_url, asked, form, headers, repeatable=True, signed=False)
        call.begun = self._clock.monotonic()
        try:
            return self._retrying(self._attempt, call, Pass()).body
        except (
            errors.RemoteRefused,
            errors.RemoteNotPermitted,
        ) as error:  # invalid_client is a 400, too: RFC 6749, 5.2
            raise errors.RemoteCredentialsRefused(str(error), status=error.status, request=error.request) from None

    def _attempt(self, call: Call, shown: Pass) -> Reply:
        """Send once and judge the reply."""
        self._refuse_to_send(call)
        with self._pace.slot(self._clock.pause):
            self._refuse_to_send(call)
            with self._counting:
                self.traffic.requests += 1
            try:
                reply = self._followed(call, shown)
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                with self._counting:
                    self.traffic.statuses[type(error).__name__] += 1
                raise self._lost(call, error) from None
            # Within the slot: whoever waits for it should find the pace as this answer left it.
            if reply.status in (429, 503):
                self._pace.refused(reply.retry_after)
            else:
                self._pace.answered()
        with self._counting:
            self.traffic.statuses[str(reply.status)] += 1
            self._answered += reply.status not in (429, 502, 503, 504)
        return self._judged(call, reply)

    def _refuse_to_send(self, call: Call) -> None:
        if self._down:
            said = call.asked.says(f"not sent, since the API failed before: {self._down}")
            down = errors.RemoteDown(said, request=str(call), action=self._down.action)
            down.who, down.exit_code = self._down.who, self._down.exit_code
            raise down
        if (rest := self._pace.rest) > self._total:
            said = call.asked.says(f"not sent, since the API takes no requests for the next {rest:.0f} s")
            raise errors.RemoteThrottled(said, request=str(call), retry_after=rest)
        if rest > PROMPT:
            self._note("request.held", host=self.host, request=str(call), wait=round(rest, 1))

    def _judged(self, call: Call, reply: Reply) -> Reply:
        """The reply with its JSON. Raises RemoteError."""
        try:
            body = read(reply, call.asked) if 200 <= reply.status < 300 else None
        except errors.NotTheApi as error:
            if call.asked.reading:
                raise errors.NotTheApi(self.hide(str(error)), status=reply.status, request=str(call)) from None
            raise errors.RemoteOutcomeUnknown(self.hide(str(error)), status=reply.status, request=str(call)) from None
        judged = replace(reply, body=body)
        fault = fault_of(judged, call.asked, self.hide)
        if fault is None:
            return judged
        raise self._in_doubt(call, fault) if isinstance(fault, errors.RemoteFailed) else fault

    def _in_doubt(self, call: Call, error: errors.RemoteTransient) -> errors.RemoteError:
        """`error` where the request may be sent again, else that its fate is unknown."""
        if call.asked.reading:
            return error
        call.in_doubt = True
        if call.repeatable:
            return error
        return errors.RemoteOutcomeUnknown(str(error), status=error.status, request=error.request)

    def _lost(self, call: Call, error: httpx.HTTPError | httpx.InvalidURL) -> errors.RemoteError:
        """The error for a request that got no reply: whether it can have reached the API decides."""
        said, request = self.hide(str(error) or type(error).__name__), str(call)
        if isinstance(error, httpx.InvalidURL | httpx.UnsupportedProtocol):
            return errors.NotTheApi(call.asked.says(f"the address cannot be asked: {said}"), request=request)
        if "CERTIFICATE_VERIFY_FAILED" in said:
            return errors.RemoteUntrusted(call.asked.says(f"the certificate is not trusted: {said}"), request=request)
        if "[SSL" in said:
            action = "Check the scheme and port of the job's api.url."
            sentence = call.asked.says(f"no TLS with the server (is it plain http?): {said}")
            return errors.RemoteUntrusted(sentence, request=request, action=action)
        if isinstance(error, _NOT_SENT):
            return errors.RemoteUnreachable(call.asked.says(f"no connection: {said}"), request=request)
        sentence = call.asked.says(f"no reply came ({type(error).__name__}: {said})")
        if isinstance(error, httpx.DecodingError) and call.asked.reading:  # asking again would bring the same
            return errors.NotTheApi(sentence, request=request)
        if isinstance(error, httpx.ReadTimeout):  # one slow request, not a dead API
            return self._in_doubt(call, errors.RemoteTransient(sentence, request=request))
        return self._in_doubt(call, errors.RemoteUnreachable(sentence, request=request))

    def _followed(self, call: Call, shown: Pass) -> Reply:
        """The reply to a request or, to a read, the one at the end of its redirects within the API."""
        started, url = self._clock.monotonic(), call.url
        for _ in range(HOPS):
            reply = self._exchange(call, url, shown, started)
            target = joined(url, reply.headers.get("location", ""))
            moved = reply.status in (301, 302, 303, 307, 308) and target != url
            if not (moved and call.method == "GET" and same_origin(target, self.base)):
                return reply
            url = target
        return reply

    def _exchange(self, call: Call, url: str, shown: Pass, started: float) -> Reply:
        """The reply, read within its bounds of time and size."""
        headers = {**(_JSON if call.content is not None else {}), **call.headers, **shown.headers}
        with self.http.stream(
            call.method,
            with_query(url, shown.query),
            content=call.content,
            headers={name.encode(): value.encode() for name, value in headers.items()},
        ) as response:
            content = bytearray()
            for piece in response.iter_bytes():
                content += piece
                if len(content) > LARGEST_REPLY:
                    raise httpx.DecodingError(f"the reply is larger than {LARGEST_REPLY >> 20} MB")
                passed = self._clock.monotonic() - started
                if passed > self._longest_reply:
                    raise httpx.ReadTimeout(f"the reply was not complete after {self._longest_reply:g} s")
                if passed > PROMPT and call.asked.reading:
                    self._clock.pause(0)  # a stop need not wait for what changes nothing
            return Reply(
                response.status_code,
                bytes(content),
                {name.lower(): value for name, value in response.headers.items()},
                url,
                str(response.links.get("next", {}).get("url", "")),
                retry_after(response.headers.get("retry-after"), self._clock.now()),
            )

    def _enough(self, state: RetryCallState) -> bool:
        """The next try would be one too many, or come too late. Tenacity's own bounds read the machine's clock."""
        late = self._clock.monotonic() - state.args[0].begun + state.upcoming_sleep >= self._total
        return late or state.attempt_number >= self._attempts or self.traffic.budget_spent or self._down is not None

    def _wait(self, state: RetryCallState) -> float:
        """Seconds until the next try: what the API asked for and a little more, else equal jitter."""
        error = state.outcome.exception() if state.outcome else None
        if asked := getattr(error, "retry_after", None):
            return float(asked) + self._rng.uniform(0.05, 0.5)
        step = min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** (state.attempt_number - 1))
        return step / 2 + self._rng.uniform(0, step / 2)

    def _retried(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        with self._counting:
            self.traffic.retries += 1
            self.traffic.waits += isinstance(error, errors.RemoteThrottled)
        self._note(
            "request.retried",
            host=self.host,
            request=str(state.args[0]),
            error=str(error),
            wait=round(state.upcoming_sleep, 2),
        )


_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)
_JSON = {"Content-Type": "application/json"}


def _may_repeat(error: BaseException) -> bool:
    return isinstance(error, errors.RemoteTransient) and not isinstance(error, errors.RemoteDown)


def joined(url: str, reference: str) -> str:
    """What `reference` means where it stands in a reply from `url` (RFC 3986, 5.2); "" where it is no address."""
    try:
        return urljoin(url, reference)
    except ValueError:
        return ""


def same_origin(url: str, base: str) -> bool:
    """Both are of one scheme, host and port (RFC 6454), and `url` names no user."""
    try:
        return _origin(url) == _origin(base) and "@" not in urlsplit(url).netloc
    except ValueError:
        return False


def _origin(url: str) -> tuple[str, str, int]:
    parts = urlsplit(url)
    port = parts.port if parts.port is not None else {"https": 443, "http": 80}.get(parts.scheme, 0)
    return parts.scheme, (parts.hostname or "").rstrip("."), port


def with_query(url: str, params: Mapping[str, str] | Iterable[tuple[str, str]]) -> str:
    """`url` with these parameters, in the place of those of the same names that it has."""
    wanted = dict(params)
    if not wanted:
        return url
    parts = urlsplit(url)
    kept = [(name, value) for name, value in parse_qsl(parts.query, keep_blank_values=True) if name not in wanted]
    return parts._replace(query=urlencode([*kept, *wanted.items()])).geturl()
