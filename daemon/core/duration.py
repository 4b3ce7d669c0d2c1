"""Lengths of time as people write them: `30d`, `90m`, `1h30m`. Reads and writes nothing."""

from __future__ import annotations

import re
from datetime import timedelta

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_LONGEST = 36525 * 86400
"""Beyond it lies a mistake, and sooner or later the end of the calendar."""
_PART = re.compile(r"(\d+)\s*([smhdw])", re.IGNORECASE | re.ASCII)
_WHOLE = re.compile(r"\s*(?:\d+\s*[smhdw]\s*)+", re.IGNORECASE | re.ASCII)


def parse_duration(text: str) -> timedelta:
    """`text` as a timedelta: one or more of whole number and unit s, m, h, d, w, added up.

    Raises ValueError with a sentence that shows the right form.
    """
    if not _WHOLE.fullmatch(text):
        raise ValueError(f'{text!r} is no length of time; write a number and a unit: "90s", "15m", "6h", "30d", "2w"')
    parts = [(number.lstrip("0")[:12] or "0", _SECONDS[unit.lower()]) for number, unit in _PART.findall(text)]
    seconds = sum(int(number) * unit for number, unit in parts)
    if seconds > _LONGEST:
        raise ValueError(f"{text[:40]!r} is longer than a hundred years")
    return timedelta(seconds=seconds)


def format_duration(length: timedelta) -> str:
    """The shortest text that `parse_duration` reads back to `length`, at whole seconds."""
    rest = round(length.total_seconds())
    parts = []
    for unit in "dhms":
        number, rest = divmod(rest, _SECONDS[unit])
        if number:
            parts.append(f"{number}{unit}")
    return "".join(parts) or "0s"
