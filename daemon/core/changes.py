"""What differs between two configurations, key by key and as a person reads it. Reads and writes nothing.

Secrets are compared and never shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from pydantic import BaseModel

from daemon.core.duration import format_duration
from daemon.core.settings import NamedFunction, Secret

LONGEST = 80
"""Characters of a value that are shown."""
_NOTHING = object()


@dataclass(frozen=True, slots=True)
class Change:
    """One key whose value is another one now."""

    key: str
    was: str
    now: str

    def __str__(self) -> str:
        return f"{self.key}: {self.was} → {self.now}"


def differences(old: Any, new: Any, key: str = "") -> Iterator[Change]:
    """The keys beneath `key` whose values differ; a default counts as if it had been written."""
    if isinstance(old, BaseModel) and isinstance(new, BaseModel) and type(old) is type(new):
        fields = type(old).model_fields
        yield from _within({name: getattr(old, name) for name in fields}, {n: getattr(new, n) for n in fields}, key)
    elif isinstance(old, Mapping) and isinstance(new, Mapping):
        yield from _within(old, new, key)
    elif isinstance(old, list | tuple) and isinstance(new, list | tuple) and len(old) == len(new):
        for place, (one, other) in enumerate(zip(old, new, strict=True)):
            yield from differences(one, other, f"{key}[{place}]")
    elif not _same(old, new):
        yield Change(key, _shown(old), _shown(new))


def _within(old: Mapping[Any, Any], new: Mapping[Any, Any], key: str) -> Iterator[Change]:
    for name in dict.fromkeys([*old, *new]):
        yield from differences(old.get(name, _NOTHING), new.get(name, _NOTHING), f"{key}.{name}" if key else str(name))


def _same(old: Any, new: Any) -> bool:
    """A function is made anew by each loading; what it does is its code."""
    if isinstance(old, NamedFunction) and isinstance(new, NamedFunction):
        return old.name == new.name and old.code == new.code
    return bool(old == new)


def _shown(value: Any) -> str:
    text = _text(value)
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _text(value: Any) -> str:
    if value is None or value is _NOTHING:
        return "not set"
    if isinstance(value, Secret):
        return "a secret"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, timedelta):
        return f'"{format_duration(value)}"'
    if isinstance(value, BaseModel):
        return "{ " + ", ".join(f"{name} = {_text(item)}" for name, item in value) + " }"
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{name} = {_text(item)}" for name, item in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_text, value)) + "]"
    if isinstance(value, int | float):
        return str(value)
    return f'"{value}"'
