"""What an API's JSON says of a record, and how a moment is put into a query. Reads and writes nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from daemon.core.api import ListSettings, Malformed, Record, RecordSettings
from daemon.core.exact import Odd, at, oddities
from daemon.core.moments import read_iso

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LONGEST_ID = 500
_OPAQUE = re.compile(r"[!#-~]+")
EXCERPT = 200
"""Characters of a malformed record that are shown."""


class BadRecord(Exception):
    """`str()` says what is wrong with a record, as the end of a sentence."""


def record_of(body: Any, settings: RecordSettings, etag: str | None = None, *, single: bool = False) -> Record:
    """The record that `body` is. `etag`: the ETag header of a reply that holds it alone. A weak one is none: If-Match
    compares strongly, so that none would ever fit (RFC 9110, 13.1.1).

    Raises BadRecord where it has no id, holds a value that JSON has not or, in a list, no time that can be read though
    `stamp` says where it stands. `single`: the reply to one request, whose record is known; a time is only missed
    there, not needed.
    """
    if not isinstance(body, dict):
        raise BadRecord(f"it is no object but {_name(body)}")
    for path, odd in oddities(body):
        raise BadRecord(f"its {path if len(path) <= 60 else f'{path[:59]}…'} {odd.why}")
    identity = id_of(body, settings)
    deleted = is_deleted(body, settings)
    try:
        stamp = stamp_of(at(body, settings.stamp), settings) if settings.stamp else None
    except BadRecord:
        if not single:
            raise
        stamp = None
    if settings.version and (version := at(body, settings.version)) is not None:
        etag = f'"{_version(version, settings)}"'
    elif etag and etag.startswith("W/"):
        etag = None
    return Record(identity, body, stamp, etag, deleted)


def _version(value: Any, settings: RecordSettings) -> str | int:
    """What may stand between the quotes of an ETag (RFC 9110, 8.8.3). Raises BadRecord."""
    text = str(value)
    if isinstance(value, bool) or not isinstance(value, str | int) or not _OPAQUE.fullmatch(text):
        raise BadRecord(f"its {settings.version} {text[:40]!r} is no version that If-Match could take")
    return value


def listed(body: Any, settings: RecordSettings, position: int) -> Record | Malformed:
    """One entry of a list."""
    try:
        return record_of(body, settings)
    except BadRecord as error:
        try:
            known = id_of(body, settings) if isinstance(body, dict) else ""
        except BadRecord:
            known = ""
        return Malformed(position, str(error), excerpt(body), known)


def id_of(body: Mapping[str, Any], settings: RecordSettings) -> str:
    """Raises BadRecord."""
    found = at(body, settings.id)
    if found is None:
        raise BadRecord(f"it has no {settings.id!r}")
    if isinstance(found, bool) or not isinstance(found, str | int):
        raise BadRecord(f"its {settings.id} is no text or whole number but {_name(found)}")
    text = str(found)
    if not text.strip() or text in (".", "..") or len(text) > LONGEST_ID or not text.isprintable():
        raise BadRecord(f"its {settings.id} {text[:40]!r} cannot be an id")
    return text


def is_deleted(body: Mapping[str, Any], settings: RecordSettings) -> bool:
    """The record is a tombstone."""
    if not settings.deleted:
        return False
    found = at(body, settings.deleted)
    if settings.deleted_value is not None:
        return type(found) is type(settings.deleted_value) and bool(found == settings.deleted_value)
    return found.strip().lower() not in ("", "0", "false", "no") if isinstance(found, str) else bool(found)


def stamp_of(value: Any, settings: RecordSettings) -> datetime:
    """A moment as the API writes it, in UTC. Raises BadRecord."""
    path = settings.stamp
    if value is None:
        raise BadRecord(f"it has no {path!r}")
    try:
        if settings.stamp_format == "iso":
            return _iso(value, settings.zone)
        return EPOCH + timedelta(
            microseconds=int(_number(value) * (10**6 if settings.stamp_format == "epoch" else 10**3))
        )
    except (ValueError, OverflowError, ArithmeticError):
        raise BadRecord(f"its {path} {str(value)[:40]!r} is no time of the form {settings.stamp_format}") from None


def _iso(value: Any, zone: str) -> datetime:
    if not isinstance(value, str):
        raise ValueError("no text")  # noqa: TRY004 (one error for all that cannot be read)
    try:
        moment = datetime.fromisoformat(value.strip())
    except ValueError:
        read = read_iso(value.strip())
        if read is None:
            raise
        moment = read
    return (moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(zone))).astimezone(UTC)


def _number(value: Any) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | Decimal | str):
        raise ValueError("no number")  # noqa: TRY004 (as above)
    number = Decimal(value)
    if not -(10**15) < number < 10**15:
        raise ValueError("no moment")
    return number


def _name(value: Any) -> str:
    names = {dict: "an object", list: "an array", str: "text", bool: "true or false", type(None): "null"}
    return value.why.removeprefix("is ") if isinstance(value, Odd) else names.get(type(value), "a number")


def _told(value: Any) -> str:
    return f"({value.why})" if isinstance(value, Odd) else str(value)


def excerpt(body: Any) -> str:
    """How the JSON of `body` begins, without what no terminal should see and no database can keep."""
    text = "".join(
        c if c.isprintable() else "·" for c in json.dumps(body, ensure_ascii=False, default=_told)[: 2 * EXCERPT]
    )
    return text if len(text) <= EXCERPT else text[: EXCERPT - 1] + "…"


# Moments in a query

_UNITS = {
    "iso": timedelta(milliseconds=1),
    "iso-z": timedelta(milliseconds=1),
    "epoch": timedelta(seconds=1),
    "epoch-ms": timedelta(milliseconds=1),
    "date": timedelta(days=1),
}
_PARTS = (
    ("%f", timedelta(microseconds=1)),
    ("%S", timedelta(seconds=1)),
    ("%M", timedelta(minutes=1)),
    ("%H", timedelta(hours=1)),
)


def unit(settings: ListSettings) -> timedelta:
    """How much a moment loses, at the most, when it is put into the query."""
    if settings.since_format in _UNITS:
        return _UNITS[settings.since_format]
    return next((unit for part, unit in _PARTS if part in settings.since_format), timedelta(days=1))


def since_text(moment: datetime, settings: ListSettings) -> str:
    """An aware moment as the query takes it: never a later one, so that nothing is missed."""
    form = settings.since_format
    if form in ("epoch", "epoch-ms"):
        return str((moment - EPOCH) // _UNITS[form])
    local = moment.astimezone(ZoneInfo(settings.since_zone))
    if form in ("iso", "iso-z"):
        text = (moment.astimezone(UTC) if form == "iso-z" else local).isoformat(
            timespec="milliseconds" if moment.microsecond else "seconds"
        )
        return text.replace("+00:00", "Z") if form == "iso-z" else text
    if local.utcoffset() != local.replace(fold=1 - local.fold).utcoffset() and not local.fold:
        local -= timedelta(hours=1)  # an hour that comes twice: whoever reads it may take it for the second
    return local.strftime("%Y-%m-%d" if form == "date" else form)
