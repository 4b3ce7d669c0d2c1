"""The daemon's log: structlog, one event a line, dotted names in the past tense with facts as keys, secrets struck out.

JSON lines by default; for people when standard error is a terminal. Writes standard error and nothing else.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Mapping, MutableMapping
from contextlib import suppress
from typing import Any, Literal, TextIO, cast

import structlog

Format = Literal["auto", "console", "json"]
MASK = "********"
SHORTEST = 6
"""Characters of a secret that is struck out. Frappe's have 15; a shorter one than this is a piece of innocent words."""
_SECRET_KEYS = frozenset({"authorization", "api_secret", "secret", "password", "token"})


class Redactor:
    """Strikes known secrets out of whatever is about to be shown or kept, wherever in it they stand."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._secrets: list[str] = []
        self.learn(secrets)

    def learn(self, secrets: Iterable[str]) -> None:
        """Strike these out too; those that were known may still be on their way."""
        found = {secret for secret in secrets if len(secret) >= SHORTEST}
        self._secrets = sorted(found.union(self._secrets), key=len, reverse=True)

    def __call__(self, value: Any) -> Any:
        """`value` without secrets; containers are copied, and what is no JSON value becomes its text."""
        if isinstance(value, str):
            for secret in self._secrets:
                if secret in value:
                    value = value.replace(secret, MASK)
            return value
        if isinstance(value, Mapping):
            return {
                self(key): MASK if str(key).lower() in _SECRET_KEYS and item else self(item)
                for key, item in value.items()
            }
        if isinstance(value, list | tuple):
            return [self(item) for item in value]
        return value if value is None or isinstance(value, int | float) else self(str(value))

    def process(self, _logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """As a processor of structlog; the last before rendering."""
        clean: dict[str, Any] = self(event)
        first = {key: clean.pop(key) for key in ("timestamp", "level", "event") if key in clean}
        return first | clean


def configure(level: str, form: Format, redact: Redactor, stream: TextIO | None = None) -> None:
    """Send the log to `stream`, standard error by default. What libraries log as warnings goes there too."""
    now: TextIO | None = stream or sys.stderr  # None where the process was started without
    tty = now is not None and now.isatty()
    people = form == "console" or (form == "auto" and tty)
    processors: list[Any] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S" if people else "iso", utc=not people),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        redact.process,
    ]
    if people:
        plain = structlog.dev.plain_traceback
        colours = now is not None and tty and _wants_colours(now)
        processors.append(structlog.dev.ConsoleRenderer(colors=colours, exception_formatter=plain, pad_event_to=24))
    else:
        processors.append(structlog.processors.JSONRenderer(ensure_ascii=False))
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: structlog.WriteLogger(cast(TextIO, _Patient(stream or sys.stderr))),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(handlers=[_Libraries()], level=logging.WARNING, force=True)


def _wants_colours(stream: TextIO) -> bool:
    """By NO_COLOR and TERM, as Rich reads them."""
    from rich.console import Console

    console = Console(file=stream)
    return console.color_system is not None and not console.no_color


class _Patient:
    """A stream that may be closed, full or without a reader: then lines are lost, and the work goes on."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with suppress(OSError, ValueError):
            if self._stream is not None:
                self._stream.write(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            if self._stream is not None:
                self._stream.flush()


class _Libraries(logging.Handler):
    """Passes what libraries log to structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        level = min(record.levelno // 10 * 10, logging.CRITICAL)  # structlog knows no levels between the named ones
        try:
            structlog.get_logger().log(
                level, "library.logged", library=record.name, message=record.getMessage(), exc_info=record.exc_info
            )
        except Exception:
            self.handleError(record)


def logger() -> Any:
    """The logger that everything is given; bind facts to it."""
    return structlog.get_logger()
