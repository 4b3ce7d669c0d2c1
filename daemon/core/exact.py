"""JSON whose numbers stay what they are: read as Decimal, written without a float between. Reads and writes nothing.

Stricter than json.loads: a key twice in one object, NaN and Infinity, and nesting or numbers beyond reason are errors,
since each program along the way makes something else of them (RFC 8259, sections 4, 6 and 9). Where one of many records
holds such a value, the others need not suffer for it: `marked` puts an `Odd` in its place.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

DEEPEST = 100
"""Levels of nesting that are read."""
WIDEST = 400
"""Powers of ten, up or down, that a number may have; a double ends at 308."""


@dataclass(frozen=True, slots=True)
class Odd:
    """Stands where a value was of which each program makes something else."""

    why: str
    """As the end of a sentence that begins with its path."""


def loads(content: bytes) -> Any:
    """The value of a JSON text in UTF-8, 16 or 32. Whole numbers are int, all others Decimal.

    Raises ValueError with a sentence's end that says why it is none.
    """
    value = marked(content)
    for path, odd in oddities(value):
        raise ValueError(f"{path or 'it'} {odd.why}")
    return value


def marked(content: bytes) -> Any:
    """As `loads`, with an `Odd` in each place that has no value for all. A text that no parser of ours can follow, such
    as one of thousands of levels, is still none as a whole."""
    try:
        value = json.loads(
            content, parse_int=_whole, parse_float=_decimal, parse_constant=_no_number, object_pairs_hook=_object
        )
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except UnicodeDecodeError:
        raise ValueError("it is not text in UTF-8") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"it is no JSON: {error.msg} at character {error.pos}") from None
    return _cropped(value, DEEPEST)


def oddities(value: Any, path: str = "") -> Iterator[tuple[str, Odd]]:
    """(dotted path, what stands there) of each `Odd` in `value`."""
    if isinstance(value, Odd):
        yield path, value
    elif isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            if isinstance(item, Odd | dict | list):
                yield from oddities(item, f"{path}.{key}" if path else str(key))


def _whole(text: str) -> int | Odd:
    return int(text) if len(text) <= WIDEST else Odd(f"is a number beyond reason: {text[:40]}")


def _decimal(text: str) -> Decimal | Odd:
    try:
        number = Decimal(text)
    except InvalidOperation:
        return Odd(f"is a number beyond reason: {text[:40]}")
    if number and abs(number.adjusted()) > WIDEST:
        return Odd(f"is a number beyond reason: {text[:40]}")
    return number


def _no_number(text: str) -> Odd:
    return Odd(f"is {text}, which is no number of JSON")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        found |= {key: Odd("is there twice in one object") for key in found if keys.count(key) > 1}
    return found


def _cropped(value: Any, levels: int) -> Any:
    """`value`, with an `Odd` for what is nested deeper than so many levels."""
    if not isinstance(value, dict | list):
        return value
    if not levels:
        return Odd(f"is nested more than {DEEPEST} levels deep")
    for key, item in value.items() if isinstance(value, dict) else enumerate(value):
        if isinstance(item, dict | list):
            value[key] = _cropped(item, levels - 1)
    return value


def dumps(value: Any) -> bytes:
    """`value` as JSON in UTF-8. Decimals become plain numbers with the digits that they have, dates and aware moments
    ISO text. Raises TypeError or ValueError for what has no form, such as NaN, a moment without a zone, bytes."""
    text = "".join(_pieces(value))
    try:
        return text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can say and UTF-8 cannot
        return "".join(_pieces(value, ascii_only=True)).encode()


def _pieces(value: Any, *, ascii_only: bool = False) -> Iterator[str]:
    if isinstance(value, Mapping):
        yield "{"
        for number, (key, item) in enumerate(value.items()):
            if not isinstance(key, str):
                raise TypeError(f"a key of JSON is text, not {type(key).__name__}: {key!r}")
            yield ("," if number else "") + json.dumps(key, ensure_ascii=ascii_only) + ":"
            yield from _pieces(item, ascii_only=ascii_only)
        yield "}"
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray):
        yield "["
        for number, item in enumerate(value):
            yield "," if number else ""
            yield from _pieces(item, ascii_only=ascii_only)
        yield "]"
    elif isinstance(value, Decimal):
        yield _number(value)
    else:
        yield json.dumps(_plain(value), ensure_ascii=ascii_only, allow_nan=False)


def _number(value: Decimal) -> str:
    if not value.is_finite():
        raise ValueError(f"{value} is no number of JSON")
    return format(value, "f") if abs(value.adjusted()) <= 40 else str(value)


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise TypeError(f"{value!r} names no zone, so it is no moment")
        return value.isoformat()
    if isinstance(value, date):
        return value.isoformat()
    if value is None or isinstance(value, str | int | float):
        return value
    raise TypeError(f"{type(value).__name__} has no JSON form: {value!r}")


def at(value: Any, path: str, default: Any = None) -> Any:
    """What stands at the dotted `path` ("data.0.id") in `value`, "" being the whole; `default` where nothing does."""
    for part in path.split(".") if path else ():
        if isinstance(value, Mapping):
            value = value.get(part, default)
        elif isinstance(value, list) and part.isascii() and part.isdigit():
            value = value[int(part[:9])] if int(part[:9]) < len(value) else default
        else:
            return default
    return value
