"""Dates, times and lengths of time as tables write them → as Frappe takes them. Reads and writes nothing, no clock.

Frappe hands these values to the database as they come, and MariaDB takes ISO alone: "31/01/2024", "2024-02-30" and any
zone fail with a 500 (seen on version 15), "25:00:00" is stored and then breaks the form. So everything leaves here as
`YYYY-MM-DD`, `YYYY-MM-DD HH:MM:SS[.ffffff]` in the site's own time, and `HH:MM:SS[.ffffff]`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_LONG = ("january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november",
         "december")  # fmt: skip
_MONTH = {name: number for names in (MONTHS, _LONG) for number, name in enumerate(names, 1)} | {"sept": 9}

_DIRECTIVES = {
    "Y": r"(?P<Y>\d{4})", "y": r"(?P<y>\d{2})", "m": r"(?P<m>\d{1,2})", "d": r"(?P<d>\d{1,2})",
    "b": r"(?P<b>[A-Za-z]{3,9})\.?", "B": r"(?P<b>[A-Za-z]{3,9})\.?",
    "H": r"(?P<H>\d{1,2})", "I": r"(?P<I>\d{1,2})", "M": r"(?P<M>\d{1,2})", "S": r"(?P<S>\d{1,2})",
    "f": r"(?P<f>\d{1,6})", "p": r"(?P<p>[AaPp])\.?[Mm]\.?", "%": "%",
}  # fmt: skip
_NAMED = {"yyyy": "%Y", "yy": "%y", "mmmm": "%B", "mmm": "%b", "mm": "%m", "m": "%m", "dd": "%d", "d": "%d",
          "hh": "%H", "h": "%H", "ss": "%S", "s": "%S", "am/pm": "%p"}  # fmt: skip
_TOKEN = re.compile(r"yyyy|yy|m{1,4}|dd?|hh?|ss?|am/pm", re.IGNORECASE)
_CLOCK = r"(?P<H>\d{1,2}):(?P<M>\d{2})(?::(?P<S>\d{2})(?:[.,](?P<f>\d{1,6}))?)?(?:\s*(?P<p>[AaPp])\.?[Mm]\.?)?"
_ONLY_CLOCK = re.compile(_CLOCK, re.ASCII)


@dataclass(frozen=True, slots=True)
class Format:
    """A way to write a date, a moment or a time of day."""

    text: str
    """As a person would state it: "dd.mm.yyyy"."""
    pattern: re.Pattern[str]
    clock: bool
    """The time of day is part of the format."""

    def read(self, text: str) -> datetime | None:
        """What `text` says in this format, or None where it is not of it or no such day exists.

        A format without a time of day lets one follow, as "14:05", "14:05:30.5" or "2:05 PM". One without a date
        reads into 1900-01-01, as strptime does. Two digits of a year mean 1969 to 2068 (POSIX, strptime).
        """
        match = self.pattern.fullmatch(text)
        return _moment(match.groupdict()) if match else None


def stated(text: str) -> Format:
    """`text` as a format: strftime directives (%d.%m.%Y) or names (dd.mm.yyyy, d-MMM-yyyy hh:mm:ss).

    Names of months are English, long or short, whatever their case. Raises ValueError where a directive is unknown,
    used twice, or day, month and year are not all there.
    """
    directives = text if "%" in text else _directives(text)
    parts = re.split(r"%(.)", directives)
    unknown = [letter for letter in parts[1::2] if letter not in _DIRECTIVES]
    if unknown:
        raise ValueError(f"the date format {text!r} has %{unknown[0]}, which is not understood here")
    pattern = "".join(_DIRECTIVES[part] if at % 2 else _literal(part) for at, part in enumerate(parts))
    letters = {"m" if letter in "bB" else "y" if letter == "Y" else letter for letter in parts[1::2]}
    clock = bool(letters & {"H", "I"})
    if not (letters >= {"d", "m", "y"} or (clock and not letters & {"d", "m", "y"})):
        raise ValueError(f"the date format {text!r} does not name day, month and year; write it like dd.mm.yyyy")
    try:
        compiled = re.compile(pattern if clock else rf"{pattern}(?:[ T]+{_CLOCK})?", re.ASCII)
    except re.error:
        raise ValueError(f"the date format {text!r} names a part twice") from None
    return Format(text, compiled, clock)


def _directives(text: str) -> str:
    """Names as directives; "mm" means minutes after hours, months elsewhere."""
    found, hours = [], False
    for part in re.split(f"({_TOKEN.pattern})", text, flags=re.IGNORECASE):
        name = part.lower()
        if name in ("mm", "m") and hours:
            found.append("%M")
        else:
            found.append(_NAMED.get(name, part))
        hours = hours or name in ("hh", "h")
    joined = "".join(found)
    return joined.replace("%H", "%I") if "%p" in joined else joined


def _literal(text: str) -> str:
    return re.sub(r"(?:\\ )+", r"\\s+", re.escape(text))


def _moment(parts: dict[str, str | None]) -> datetime | None:
    """A match as a datetime; None for an impossible one."""
    get = parts.get
    year = int(get("Y") or 0) or _century(get("y"))
    name = get("b")
    month = _MONTH.get(name.lower(), 0) if name else int(get("m") or 1)
    hour, half = int(get("H") or get("I") or 0), get("p")
    if half:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if half in "pP" else 0)
    micro = int((get("f") or "0").ljust(6, "0"))
    try:
        day = int(get("d") or 1)
        return datetime(year, month, day, hour, int(get("M") or 0), int(get("S") or 0), micro)  # noqa: DTZ001
    except ValueError:
        return None


def _century(two: str | None) -> int:
    return 1900 if two is None else int(two) + (1900 if int(two) >= 69 else 2000)


COMMON = tuple(
    map(stated, ("dd/mm/yyyy", "mm/dd/yyyy", "dd-mm-yyyy", "mm-dd-yyyy", "dd.mm.yyyy", "yyyy/mm/dd", "yyyy.mm.dd",
                 "dd-mmm-yyyy", "dd mmm yyyy", "dd/mmm/yyyy", "dd. mmm yyyy", "mmm dd, yyyy", "mmm dd yyyy"))
)  # fmt: skip
"""Formats that are recognised without being stated: those that Frappe's System Settings offer, and what spreadsheets
write. Only with "/" and "-" two of them can mean the same text; ISO is always read and is none of them."""
TWINS = ((COMMON[0], COMMON[1]), (COMMON[2], COMMON[3]))
"""Those two, for each way of separating day, month and year."""
ISO = stated("yyyy-mm-dd")
_ISO_FAST = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_ISO_ZONE = re.compile(r"\d{4}-\d\d?-\d\d?[ T]+[\d:.,]+ *(Z|[+-]\d\d:?(?:\d\d)?)", re.ASCII | re.IGNORECASE)
_SHORT_YEAR = re.compile(r"\d{1,2}([./ -])(?:\d{1,2}|[A-Za-z]{3,9})\1\d{2}(?:[ T].*)?", re.ASCII)


def read_iso(text: str) -> datetime | None:
    """An ISO date or moment, naive or aware; None where `text` is neither. The date alone is midnight."""
    match = _ISO_ZONE.fullmatch(text)
    if match is None:
        return ISO.read(text)
    zone = match.group(1).upper()
    plain = ISO.read(text[: match.start(1)].rstrip())
    try:
        return plain and datetime.fromisoformat(plain.isoformat() + (f"{zone}:00" if len(zone) == 3 else zone))
    except ValueError:
        return None


def detect(texts: Iterable[str]) -> tuple[Format, ...]:
    """Those of the `COMMON` formats in which the texts of one column may be read.

    For each way of separating day, month and year, a format stays that fits every text that any format of that way
    fits; where the texts refute both of two, both stay, so that each text is judged alone.
    """
    kept = {id(one) for one in COMMON}
    for text in texts:
        for first, second in TWINS:
            fits = (first.read(text) is not None, second.read(text) is not None)
            if fits == (True, False):
                kept.discard(id(second))
            elif fits == (False, True):
                kept.discard(id(first))
    refuted = {id(one) for pair in TWINS if not any(id(one) in kept for one in pair) for one in pair}
    return tuple(one for one in COMMON if id(one) in kept | refuted)


def proved(formats: Sequence[Format]) -> tuple[str, ...]:
    """Of `TWINS`, those that `detect` kept without the other."""
    return tuple(
        one.text for pair in TWINS for one, other in (pair, pair[::-1]) if one in formats and other not in formats
    )


def without_twins(texts: Iterable[str]) -> tuple[Format, ...]:
    """What `detect` kept where it `proved` these."""
    wanted = set(texts)
    gone = {other.text for pair in TWINS for one, other in (pair, pair[::-1]) if one.text in wanted}
    return tuple(one for one in COMMON if one.text not in gone)


def readings(text: str, formats: Iterable[Format]) -> list[tuple[Format, datetime]]:
    """In which of `formats` the text can be read, and as what."""
    return [(one, moment) for one in formats if (moment := one.read(text)) is not None]


def fast_iso(text: str) -> bool:
    """`text` looks like nothing but YYYY-MM-DD."""
    return _ISO_FAST.fullmatch(text) is not None


def short_year(text: str) -> str:
    """A format by which `text` can be stated where it looks like a date whose year has two digits; else ""."""
    match = _SHORT_YEAR.fullmatch(text)
    if not match:
        return ""
    month = "mmm" if re.search("[A-Za-z]{3}", text.partition(" ")[0] if match[1] != " " else text) else "mm"
    return match[1].join(("dd", month, "yy"))


def read_clock(text: str) -> time | None:
    """A time of day, "9:05", "09:05:30.25" or "9:05 pm"; None where `text` is none."""
    match = _ONLY_CLOCK.fullmatch(text)
    moment = _moment(match.groupdict()) if match else None
    return moment.time() if moment else None


def from_serial(serial: float, system: str) -> datetime | None:
    """A workbook's number of days as a moment, to the millisecond; None outside of the years 1900 to 9999.

    `system` is "1900" or "1904", as the workbook says. In the first, day 60 is 29 February 1900, which never was, so
    that it is refused and earlier days count from one day later (ECMA-376, part 1, 18.17.4.1).
    """
    if not 0 <= serial < 2958466 or (system == "1900" and (serial < 1 or 60 <= serial < 61)):
        return None
    epoch = datetime(1904, 1, 1) if system == "1904" else datetime(1899, 12, 31 if serial < 60 else 30)  # noqa: DTZ001
    try:
        return epoch + timedelta(milliseconds=round(serial * 86_400_000))
    except OverflowError:
        return None


_LENGTH = re.compile(r"(?:(\d{1,9})\s*d)?\s*(?:(\d{1,9})\s*h)?\s*(?:(\d{1,9})\s*m)?\s*(?:(\d{1,9})\s*s)?", re.I | re.A)
_CLOCK_LENGTH = re.compile(r"(\d{1,6}):([0-5]\d):([0-5]\d)", re.ASCII)
_SECONDS = re.compile(r"\d{1,11}(?:\.\d{1,9})?", re.ASCII)


def read_length(text: str) -> float | None:
    """Seconds of "1d 2h 3m 4s", of "26:03:04", or of a bare number of seconds; None where `text` is none of them."""
    if match := _LENGTH.fullmatch(text):
        weights = (86400, 3600, 60, 1)
        return sum(int(part or 0) * weight for part, weight in zip(match.groups(), weights, strict=True))
    if match := _CLOCK_LENGTH.fullmatch(text):
        return int(match[1]) * 3600 + int(match[2]) * 60 + int(match[3])
    return float(text) if _SECONDS.fullmatch(text) else None


def iso_date(day: date) -> str:
    return f"{day.year:04}-{day.month:02}-{day.day:02}"


def iso_moment(moment: datetime) -> str:
    """As the site writes it: a blank in the middle, no fraction where it is zero."""
    return moment.isoformat(" ")


ToSite = Callable[[datetime], datetime]
"""An aware moment → the site's own naive time."""
