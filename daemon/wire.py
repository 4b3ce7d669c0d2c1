"""What the wires to the site and to other APIs share: traffic, TLS, dates of HTTP, text for people. Sends nothing."""

from __future__ import annotations

import html
import re
import ssl
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

from daemon import errors

SHORTEST_SECRET = 6
"""Characters of a secret that is struck out of errors; a shorter one is a piece of innocent words."""


@dataclass(slots=True)
class Traffic:
    """What a run has sent so far."""

    requests: int = 0
    retries: int = 0
    waits: int = 0
    """Those of the retries that the site asked for by 429 or 503."""
    statuses: Counter[str] = field(default_factory=Counter)

    @property
    def budget_spent(self) -> bool:
        """Retries may be a tenth of all requests, with ten for a start: a failing site gets less load, not more.

        Those that the site asked for are paced by the limiter instead.
        """
        return self.retries - self.waits >= 10 + self.requests // 10


def tls_context(*, verify: bool, ca_file: Path | None, key: str = "site.ca_file") -> ssl.SSLContext:
    """The machine's certificate authorities and, where named, one more. Raises ConfigError, which calls the file `key`,
    where it is unusable."""
    context = ssl.create_default_context()
    if ca_file is not None:
        if ca_file.exists() and not ca_file.is_file():  # a pipe could be waited for for ever
            raise errors.ConfigError(f'{key} = "{ca_file}" cannot be used: it is no file')
        try:
            context.load_verify_locations(cafile=str(ca_file))
        except (OSError, ssl.SSLError) as error:
            why = error.strerror or error
            raise errors.ConfigError(f'{key} = "{ca_file}" cannot be used: {why}') from None
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def retry_after(text: str | None, now: datetime) -> float | None:
    """Retry-After as seconds (RFC 9110, 10.2.3: a number, or a date)."""
    if text is None:
        return None
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    moment = http_date(text)
    return max(0.0, (moment - now).total_seconds()) if moment else None


def http_date(text: str) -> datetime | None:
    """A date of HTTP (RFC 9110, 5.6.7), which is in UTC also where it names no zone."""
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


_BREAK = re.compile(r"<\s*(?:br|/p|/li|/div|/tr|/h\d)\b[^>]*>", re.IGNORECASE)
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""What would move a terminal's cursor or turn its text around."""
_TAG = re.compile(r"<[^>]*>")


def plain(text: str, longest: int = 500) -> str:
    """HTML as one line of text, at most `longest` characters."""
    line = " ".join(_CONTROL.sub(" ", html.unescape(_TAG.sub("", _BREAK.sub(" ", text)))).split())
    return line if len(line) <= longest else line[: longest - 1] + "…"
