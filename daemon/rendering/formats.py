"""Money, numbers and dates as people of a language write them. Reads and writes nothing; Babel knows how (CLDR).

Languages are named as Frappe names them ("en", "pt-BR", "zh-TW"); one that nobody knows is taken for English.
"""

from __future__ import annotations

import math
import re
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any

from babel import Locale, UnknownLocaleError, dates, numbers, units

FALLBACK = "en"
EXACT = 15
"""Digits before the point up to which a number is written out; a longer one, which nobody reads, is rounded to
its power of ten."""


@lru_cache(maxsize=64)
def locale_of(language: str) -> Locale:
    """The locale of a language of the site, or of as much of its name as is known."""
    parts = (language or FALLBACK).replace("-", "_").split("_")
    for length in range(len(parts), 0, -1):
        try:
            return Locale.parse("_".join(parts[:length]))
        except (UnknownLocaleError, ValueError, TypeError):
            continue
    return Locale.parse(FALLBACK)


def direction(locale: Locale) -> str:
    """ "ltr" or "rtl"."""
    return str(locale.text_direction)


def exact(value: Any) -> Decimal:
    """A number of a reply as what it says. Raises ValueError for what is none, NaN and infinities included."""
    try:
        found = value if isinstance(value, Decimal) else Decimal(str(0 if value is None else value))
    except ArithmeticError:
        found = Decimal("NaN")
    if not found.is_finite():
        raise ValueError(f"{str(value)[:40]!r} is no number")
    return found


def money(value: Any, currency: str, locale: Locale) -> str:
    """In `currency` (ISO 4217), with as many decimals as that has; where none is named, a number with two."""
    amount = exact(value)
    if not currency:
        return number(amount, locale, 2)
    if amount.adjusted() >= EXACT:
        return f"{currency} {_scientific(amount, locale)}"
    shown = str(numbers.format_currency(amount, currency, locale=locale))
    return re.sub(
        r"(?<=[^\W\d_])(?=\d)|(?<=\d)(?=[^\W\d_])", "\u00a0", shown
    )  # CLDR's currencySpacing, which Babel lacks


def number(value: Any, locale: Locale, digits: int | None = None) -> str:
    """With `digits` decimals; None: as many as there are, three at the most."""
    amount = exact(value)
    if amount.adjusted() >= EXACT:
        return _scientific(amount, locale)
    decimals = "." + "0" * digits if digits else "" if digits == 0 else ".###"
    return str(numbers.format_decimal(amount, f"#,##0{decimals}", locale=locale))


def _scientific(amount: Decimal, locale: Locale) -> str:
    return str(numbers.format_scientific(amount, "0.###E0", locale=locale))


def percent(value: Any, locale: Locale, digits: int | None = None) -> str:
    """0.25 as 25 %: with up to `digits` decimals; None: whole from ten on, one decimal below."""
    amount = exact(value)
    if amount.adjusted() >= EXACT:
        return f"{_scientific(amount * 100, locale)} %"
    pattern = numbers.parse_pattern(locale.percent_formats[None].pattern)
    few = 0 if abs(amount) >= Decimal("0.1") else 1
    pattern.frac_prec = (0, few if digits is None else digits)
    return str(pattern.apply(amount, locale))


_LENGTHS = (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1))


def duration(value: Any, locale: Locale) -> str:
    """So many seconds, as days, hours, minutes and seconds: "1 hr 30 min"."""
    amount = exact(value)
    if amount.adjusted() >= EXACT:
        return f"{_scientific(amount, locale)} s"
    left, parts = abs(round(amount)), list[str]()
    for unit, length in _LENGTHS:
        number, left = divmod(left, length)
        if number or (unit == "second" and not parts):
            parts.append(units.format_unit(number, f"duration-{unit}", "short", locale=locale))
    return ("-" if amount < 0 else "") + " ".join(parts)


def day(value: date, locale: Locale, style: str = "medium") -> str:
    """`style`: short, medium, long, full, or a skeleton of CLDR such as "MMMd"."""
    if style in ("short", "medium", "long", "full"):
        return str(dates.format_date(value, style, locale=locale))
    return str(dates.format_skeleton(style, value, locale=locale))


def moment(value: datetime, locale: Locale, style: str = "medium") -> str:
    """Date and time of day of a naive datetime, in the site's own time."""
    return str(dates.format_datetime(value, style, locale=locale))


def when(days: int, locale: Locale) -> str:
    """So many days from now, or ago: "in 7 days", "3 days ago"; of today it says nothing that people would."""
    length = timedelta(days=days)
    return str(dates.format_timedelta(length, granularity="day", threshold=math.inf, add_direction=True, locale=locale))


def span(first: date, last: date, locale: Locale) -> str:
    """From the first day to the last, both within: "Nov 16 – 22, 2026"; one day where they are the same."""
    if first == last:
        return day(first, locale)
    return str(dates.format_interval(first, last, "yMMMd", locale=locale))
