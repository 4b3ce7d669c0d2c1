"""How a request says who we are: headers and parameters with a secret in them, and tokens that are fetched for it."""

from __future__ import annotations

import threading
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, quote_plus, urlencode

from daemon import errors
from daemon.core.api import AuthSettings, OAuth2
from daemon.core.clock import Clock
from daemon.core.exact import at

EARLY = 60.0
"""Seconds before its end at which a token is replaced, or a tenth of its life where that is sooner."""


@dataclass(frozen=True, slots=True)
class Pass:
    """What one request carries."""

    headers: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)


class Fixed:
    """The same for every request."""

    def __init__(self, settings: AuthSettings | None) -> None:
        self._pass = _fixed(settings) if settings else Pass()

    def current(self) -> Pass:
        return self._pass

    def renewed(self, _refused: Pass) -> bool:
        """There is another one than the one that was refused."""
        return False


def _fixed(settings: AuthSettings) -> Pass:
    if settings.bearer:
        return Pass({"Authorization": f"Bearer {settings.bearer.reveal()}"})
    if settings.basic:
        return Pass({"Authorization": f"Basic {_basic(settings.basic.user, settings.basic.password.reveal())}"})
    if settings.header:
        return Pass({settings.header.name: settings.header.prefix + settings.header.secret.reveal()})
    assert settings.query
    return Pass(query={settings.query.name: settings.query.secret.reveal()})


def _basic(user: str, password: str) -> str:
    return b64encode(f"{user}:{password}".encode()).decode()


class ClientCredentials:
    """Tokens of OAuth 2.0 by client credentials (RFC 6749, 4.4), each used until shortly before its end.

    `fetch` posts a form with headers and returns the JSON of the reply; `learnt` is told of each token, so that it is
    struck out of what is shown.
    """

    def __init__(
        self,
        settings: OAuth2,
        fetch: Callable[[bytes, Mapping[str, str]], Any],
        learnt: Callable[[str], None],
        clock: Clock,
    ) -> None:
        self._settings, self._fetch, self._learnt, self._clock = settings, fetch, learnt, clock
        self._lock = threading.Lock()
        self._pass: Pass | None = None
        self._until: float | None = None

    def current(self) -> Pass:
        """Raises RemoteError where no token is to be had."""
        with self._lock:
            if self._pass is None or (self._until is not None and self._clock.monotonic() >= self._until):
                self._renew()
            assert self._pass
            return self._pass

    def renewed(self, refused: Pass) -> bool:
        """There is another one than the one that was refused; fetched now, unless another thread did so before."""
        with self._lock:
            if self._pass is refused:
                self._renew()
            return True

    def _renew(self) -> None:
        begun = self._clock.monotonic()
        body = self._fetch(self._form(), self._headers())
        token = at(body, "access_token")
        if not isinstance(token, str) or not token.isascii() or not token.isprintable() or not token:
            host = self._settings.token_url.partition("//")[2].partition("/")[0]
            raise errors.NotTheApi(f"{host}: the token server's reply holds no access_token")
        self._learnt(token)
        lasts = at(body, "expires_in")
        life = float(lasts) if isinstance(lasts, int) or (isinstance(lasts, str) and lasts.isdigit()) else None
        self._until = None if life is None else begun + max(life - min(EARLY, life / 10), 1.0)
        self._pass = Pass({"Authorization": f"Bearer {token}"})

    def _form(self) -> bytes:
        asked = {"grant_type": "client_credentials", "scope": self._settings.scope, "audience": self._settings.audience}
        if self._settings.send == "body":
            asked |= {"client_id": self._settings.client_id, "client_secret": self._settings.client_secret.reveal()}
        return urlencode({key: value for key, value in asked.items() if value}).encode()

    def _headers(self) -> dict[str, str]:
        found = {"Content-Type": "application/x-www-form-urlencoded"}
        if self._settings.send == "basic":  # form-encoded before base64: RFC 6749, 2.3.1
            user, secret = quote_plus(self._settings.client_id), quote_plus(self._settings.client_secret.reveal())
            found["Authorization"] = f"Basic {_basic(user, secret)}"
        return found


def secrets_of(settings: AuthSettings | None) -> Iterator[str]:
    """All forms in which a secret of ours travels, for striking them out."""
    if settings is None:
        return
    if settings.basic:
        yield _basic(settings.basic.user, settings.basic.password.reveal())
    if settings.oauth2:
        user, secret = settings.oauth2.client_id, settings.oauth2.client_secret.reveal()
        yield _basic(quote_plus(user), quote_plus(secret))
    for named in (
        settings.bearer,
        settings.basic and settings.basic.password,
        settings.header and settings.header.secret,
        settings.query and settings.query.secret,
        settings.oauth2 and settings.oauth2.client_secret,
    ):
        if named:
            plain = named.reveal()
            yield from {plain, quote(plain, safe=""), quote_plus(plain)}
