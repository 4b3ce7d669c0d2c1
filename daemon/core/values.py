"""Cells of a table → the JSON values that Frappe takes, by field. Reads and writes nothing and asks no site.

A converter is made once for a column and called for each of its cells; it returns the value or raises `ValueProblem`,
nothing else. It is stricter than Frappe over REST, which makes 0 of a number or a Check that it cannot read, cuts 5.7
down to 5 for an Int, takes 3 for a full Rating, and answers what the database refuses with a bare 500 (seen on version
15). Blank cells are not for converters: see `is_blank` and daemon.core.rows.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from itertools import islice
from typing import Any

from daemon.core import numbers
from daemon.core.doctype import SYSTEM, DocType, Field
from daemon.core.moments import (
    COMMON,
    Format,
    ToSite,
    detect,
    fast_iso,
    from_serial,
    iso_date,
    iso_moment,
    proved,
    read_clock,
    read_iso,
    read_length,
    readings,
    short_year,
    stated,
    without_twins,
)
from daemon.core.numbers import NotANumber

Cell = str | int | float | Decimal | bool | date | datetime | time | timedelta | list[Any] | dict[str, Any] | None
Convert = Callable[[Any], Any]
"""One cell that is not blank → a value for JSON. Raises ValueProblem."""


class ValueProblem(Exception):
    """A cell that cannot become a value of its field. `str()` completes "expected …"."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How the cells of a column are written, as far as it is stated; what is not, is detected or refused."""

    decimal: str = ""
    """"." or ","; "": what the column's own values prove."""
    dates: tuple[str, ...] = ()
    """Formats of dates and moments, dd.mm.yyyy or %d.%m.%Y; ISO is always read. (): what the values prove."""
    proved: tuple[str, ...] = ()
    """Of the formats that can mean the same text, dd/mm/yyyy and mm/dd/yyyy, the one that the values prove."""
    serials: str = ""
    """"1900" or "1904": numbers are a workbook's days; "": a number is no date."""
    rating: str = ""
    """"stars" or "fraction" (0 to 1, as Frappe stores it); "": what the column's own values prove."""
    to_site: ToSite | None = None
    """Turns an aware moment into the site's naive time; None: a moment with a zone is refused."""
    strip: bool = True
    """Blanks around the text of a one-line field go. Texts of several lines stay as they are."""

    def __post_init__(self) -> None:
        """Raises ValueError, with the sentence for whoever stated it."""
        if self.decimal not in ("", ".", ","):
            raise ValueError(f'decimal is "." or ",", not {self.decimal!r}')
        if self.serials not in ("", "1900", "1904"):
            raise ValueError(f'serials is "1900" or "1904", not {self.serials!r}')
        if self.rating not in ("", "stars", "fraction"):
            raise ValueError(f'rating is "stars" or "fraction", not {self.rating!r}')
        for text in (*self.dates, *self.proved):
            stated(text)


def read_by(field: Field, reading: Reading | None = None, sample: Sequence[Any] = ()) -> Reading:
    """`reading` with what `sample` proves of a column of `field`: `converter` needs no sample beside it."""
    reading, seen = reading or Reading(), [cell for cell in sample if not is_blank(cell)]
    kind = field.fieldtype
    if kind in ("Float", "Currency", "Percent", "Int", "Long Int", "Rating"):
        decimal = _decimal(reading, seen, kind == "Currency", kind == "Percent")
        reading = replace(reading, decimal="" if decimal == numbers.UNDECIDED else decimal)
    if kind == "Rating" and not reading.rating:
        reading = replace(reading, rating=_rating_kind(_float(Field(field.fieldname), reading, ()), seen))
    if kind in ("Date", "Datetime") and not reading.dates:
        reading = replace(reading, proved=proved(_formats(reading, seen)))
    return reading


def is_blank(cell: Any) -> bool:
    """The cell says nothing: None, or text of blanks alone. 0, False and an empty list say something."""
    return cell is None or (isinstance(cell, str) and (not cell or cell.isspace()))


def converter(
    field: Field, reading: Reading | None = None, sample: Sequence[Any] = (), child: DocType | None = None
) -> Convert:
    """The converter of a column of `field`. `sample`: cells of the column, the evidence for what is not stated.
    `child`: the DocType of the rows, for a table field. A field type that is not known here is taken as text."""
    reading, seen = reading or Reading(), [cell for cell in sample if not is_blank(cell)]
    make = _MAKERS.get(field.fieldtype, _long_text)
    if field.fieldtype in ("Table", "Table MultiSelect"):
        return (_table if field.fieldtype == "Table" else _choices)(child or DocType(field.options))
    return make(field, reading, seen)


def shown(value: Any, width: int = 60) -> str:
    """`value` for a message: quoted where it is text, cut at `width` characters, never a failure."""
    try:
        text = repr(value) if isinstance(value, str) else str(value)
    except Exception:  # whatever a cell's own __str__ raises, such as ValueError of an int beyond 4300 digits
        text = f"a {type(value).__name__}"
    return text if len(text) <= width else f"{text[: width - 1]}…"


# ---- text


VARCHAR = 140
"""Characters of a varchar where `length` says nothing (database/mariadb/database.py:VARCHAR_LEN)."""
TEXT_BYTES = 65_535
"""What MariaDB's `text` holds, in bytes of UTF-8; beyond it the site answers 500."""


class Share(float):
    """A workbook's number that it shows as a percentage: 0.125 for 12.5 %."""

    __slots__ = ()


def text_of(cell: Any) -> str:
    """A cell as text: numbers without an idle ".0" or exponent, dates as ISO, booleans as a workbook shows them.

    Raises ValueProblem for lists, objects, numbers that are none and text that is not Unicode.
    """
    if isinstance(cell, str):
        text = cell
    elif isinstance(cell, bool):
        text = "TRUE" if cell else "FALSE"
    elif isinstance(cell, int | float | Decimal):
        text = _digits(cell)
    elif isinstance(cell, datetime):
        naive_midnight = cell.time() == time(0) and cell.tzinfo is None
        text = iso_date(cell) if naive_midnight else iso_moment(cell)  # a workbook has no dates without a time
    elif isinstance(cell, date):
        text = iso_date(cell)
    elif isinstance(cell, time):
        text = cell.isoformat()
    elif isinstance(cell, timedelta):
        text = str(cell)
    else:
        raise ValueProblem("text")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ValueProblem("text without half characters (lone surrogates)") from None
    return text


def _digits(cell: int | float | Decimal) -> str:
    try:
        number = Decimal(repr(cell)) if isinstance(cell, float) else Decimal(cell)
    except (InvalidOperation, ValueError):
        raise ValueProblem("text, or a number of reasonable size") from None
    if not number.is_finite() or not -40 < number.adjusted() < 40:
        raise ValueProblem("text, or a number of reasonable size")
    plain = format(number, "f")
    if "." in plain:
        plain = plain.rstrip("0").rstrip(".")
    return "0" if plain == "-0" else plain


def _line(field: Field, reading: Reading, _seen: Sequence[Any]) -> Convert:
    """One line in a varchar. Frappe counts characters (base_document.py:_validate_length), not bytes."""
    limit, strip = field.length or VARCHAR, reading.strip

    def convert(cell: Any) -> str:
        text = text_of(cell)
        if strip:
            text = text.strip()
        if len(text) > limit:
            raise ValueProblem(f"at most {limit} characters, not {len(text):,}")
        return text

    return convert


def _text(_field: Field, _reading: Reading, _seen: Sequence[Any]) -> Convert:
    def convert(cell: Any) -> str:
        text = text_of(cell)
        if len(text) * 4 > TEXT_BYTES and (size := len(text.encode())) > TEXT_BYTES:
            raise ValueProblem(f"at most {TEXT_BYTES:,} bytes of text, not {size:,}")
        return text

    return convert


def _long_text(_field: Field, _reading: Reading, _seen: Sequence[Any]) -> Convert:
    return text_of


def _select(field: Field, reading: Reading, seen: Sequence[Any]) -> Convert:
    """An option, in its own spelling: Frappe strips and then compares exactly (base_document.py:_validate_selects). A
    Select without options takes any text. A naming series that is no option would start a series of its own."""
    options = [option.strip() for option in field.options.split("\n") if option.strip()]
    if not options:
        return _line(field, reading, seen)
    exact, loose = dict(zip(options, options, strict=True)), _unique({option: option.casefold() for option in options})
    listed = ", ".join(map(repr, options[:10])) + (f" or {len(options) - 10} others" if len(options) > 10 else "")

    def convert(cell: Any) -> str:
        text = text_of(cell)
        found = exact.get(text)
        if found is None:
            text = text.strip()
            found = exact.get(text) or loose.get(text.casefold())
        if found is None:
            raise ValueProblem(f"one of {listed}")
        return found

    return convert


def _unique(folded: Mapping[str, str]) -> dict[str, str]:
    """Folded spelling → the only option that has it."""
    counted = list(folded.values())
    return {fold: option for option, fold in folded.items() if counted.count(fold) == 1}


def _color(_field: Field, _reading: Reading, _seen: Sequence[Any]) -> Convert:
    """#rrggbb, the only thing that the form's colour picker takes; over REST Frappe stores any text."""

    def convert(cell: Any) -> str:
        digits = text_of(cell).strip().removeprefix("#")
        if len(digits) not in (3, 6) or not set(digits) <= set("0123456789abcdefABCDEF"):
            raise ValueProblem("a colour such as #1f77b4")
        return "#" + (digits if len(digits) == 6 else "".join(digit * 2 for digit in digits))

    return convert


def _phone(field: Field, reading: Reading, seen: Sequence[Any]) -> Convert:
    """A number with its country code; whether it exists is for the site (utils/__init__.py:
    validate_phone_number_with_country_code), which refuses any without "+"."""
    line = _line(field, reading, seen)

    def convert(cell: Any) -> str:
        text: str = line(cell)
        text = text.strip()
        digits = sum(letter.isdigit() for letter in text)
        if not text.startswith("+") or not 5 <= digits <= 17 or not set(text[1:]) <= set("0123456789 -()./"):
            raise ValueProblem("a telephone number with its country code, such as +49-1701234567")
        return text

    return convert


# ---- numbers


MOST = 10.0**12
"""Float, Currency and Percent are decimal(21,9), so that 12 digits fit before the point; more answers 500."""
_HALF_UNIT = Decimal("5e-10")


def _number_text(cell: Any, decimal: str, money: bool, percent: bool) -> str:
    """Text of a number in canonical form. Raises ValueProblem."""
    text = cell.strip()
    if decimal == "." and numbers.PLAIN.fullmatch(text):
        return str(text)
    if len(text) > 60:
        raise ValueProblem("a number")
    try:
        return numbers.canonical(numbers.bare(text, money=money, percent=percent), decimal)
    except NotANumber as problem:
        raise ValueProblem(str(problem)) from None


def _decimal(reading: Reading, seen: Sequence[Any], money: bool, percent: bool) -> str:
    if reading.decimal:
        return reading.decimal
    texts = []
    for text in (cell for cell in seen if isinstance(cell, str) and len(cell) <= 60):
        try:
            texts.append(numbers.bare(text, money=money, percent=percent))
        except NotANumber:
            continue
    # what is no number at all proves nothing about the numbers beside it
    return numbers.decimal_of(text for text in texts if _readable(text))


def _readable(text: str) -> bool:
    for decimal in ".,":
        try:
            numbers.canonical(text, decimal)
        except NotANumber:
            continue
        return True
    return False


def _float(field: Field, reading: Reading, seen: Sequence[Any]) -> Convert:
    """Float, Currency, Percent → float, since Frappe makes one of whatever comes (frappe/utils/data.py:flt): text would
    be kept no more exactly. Digits that a float loses, within the 9 decimals of the column, are refused; those beyond
    the ninth are the database's to round, and a field's precision is the site's."""
    money, percent = field.fieldtype == "Currency", field.fieldtype == "Percent"
    decimal, minimum = _decimal(reading, seen, money, percent), 0.0 if field.non_negative and not percent else -MOST

    def convert(cell: Any) -> float:
        if isinstance(cell, str):
            text = _number_text(cell, decimal, money, percent)
            number = float(text)
            exact = len(text) <= 16 or _keeps(text, number)
        elif isinstance(cell, bool) or not isinstance(cell, int | float | Decimal):
            raise ValueProblem("a number")
        else:
            number, exact = _as_float(_percents(cell) if percent and isinstance(cell, Share) else cell)
        if not -MOST < number < MOST:  # NaN, too
            raise ValueProblem("a number of at most 12 digits before the decimals")
        if not exact:
            raise ValueProblem("a number of at most 15 digits, more Frappe does not keep")
        if number < minimum:
            raise ValueProblem("a number that is not negative")
        return number or 0.0  # no -0.0

    return convert


def _percents(cell: Share) -> Decimal | float:
    return Decimal(repr(cell)) * 100 if math.isfinite(cell) else cell


def _as_float(cell: int | float | Decimal) -> tuple[float, bool]:
    """The number, and whether it is what was meant."""
    try:
        number = float(cell)
    except (OverflowError, ValueError):  # ValueError: a signalling NaN
        return math.inf, False
    return number, isinstance(cell, float) or not abs(number) < MOST or _keeps(cell, number)


def _keeps(exact: str | int | Decimal, number: float) -> bool:
    return not abs(number) < MOST or abs(Decimal(exact) - Decimal(repr(number))) < _HALF_UNIT


def _int(field: Field, reading: Reading, seen: Sequence[Any]) -> Convert:
    """Int → 32 bits, 64 where `length` is above 11 (database/schema.py:get_definition), the smallest of them refused
    (base_document.py:_validate_length). A fraction is refused: Frappe would cut it off."""
    wide = field.fieldtype == "Long Int" or field.length > 11
    most, decimal = 2 ** (63 if wide else 31) - 1, _decimal(reading, seen, False, False)

    def convert(cell: Any) -> int:
        if isinstance(cell, str):
            text = cell.strip()
            # without a mark there is nothing that a decimal sign could change
            number = int(text) if len(text) < 20 and text.isascii() and text.isdigit() else _whole(text, decimal)
        elif isinstance(cell, bool) or not isinstance(cell, int | float | Decimal):
            raise ValueProblem("a whole number")
        else:
            number = _integral(cell)
        if not -most <= number <= most:
            raise ValueProblem(f"a whole number from {-most:,} to {most:,}")
        if number < 0 and field.non_negative:
            raise ValueProblem("a whole number that is not negative")
        return number

    return convert


def _whole(text: str, decimal: str) -> int:
    if decimal == numbers.UNDECIDED and numbers.evidence(text) == numbers.UNDECIDED:
        raise ValueProblem('a whole number: state decimal = "." or decimal = "," to tell thousands from decimals')
    return _integral(Decimal(_number_text(text, decimal, False, False)))


def _integral(cell: int | float | Decimal) -> int:
    if isinstance(cell, int):
        return cell
    number = Decimal(cell)
    if not number.is_finite() or number.adjusted() > 30 or number != number.to_integral_value():
        raise ValueProblem("a whole number")
    return int(number)


TRUE = frozenset({"1", "1.0", "yes", "y", "true", "t", "on", "x", "✓", "✔", "☑", "ja", "j", "wahr", "oui", "vrai", "si",
                  "sí", "sì", "verdadero", "vero", "sim", "verdadeiro"})  # fmt: skip
FALSE = frozenset({"0", "0.0", "no", "n", "false", "f", "off", "-", "✗", "✘", "☐", "nein", "falsch", "non", "faux",
                   "falso", "não", "nao"})  # fmt: skip
"""Words for set and not set, in any case. Frappe itself knows numbers alone: over REST "yes" is 0 (utils/data.py:cint),
and its own import knows t, true, y, yes (data_import/importer.py:parse_value)."""


def _check(_field: Field, _reading: Reading, _seen: Sequence[Any]) -> Convert:
    def convert(cell: Any) -> int:
        if isinstance(cell, str):
            word = cell.strip().casefold()
            if word in TRUE:
                return 1
            if word in FALSE:
                return 0
        elif isinstance(cell, int | float | Decimal) and not _nan(cell) and cell in (0, 1):
            return int(cell)
        raise ValueProblem("yes or no, 1 or 0, true or false, x for yes")

    return convert


def _nan(cell: int | float | Decimal) -> bool:
    """A signalling NaN raises even when it is compared."""
    return isinstance(cell, Decimal) and cell.is_nan()


def _rating(field: Field, reading: Reading, seen: Sequence[Any]) -> Convert:
    """Frappe stores 0 to 1 and cuts what is above (document.py:_fix_rating_value); people count stars, of which
    `options` says how many there are (5). A column shows which of them it holds, else a bare 1 is refused."""
    number = _float(Field(field.fieldname), reading, seen)
    stars = int(field.options) if field.options.isascii() and field.options.isdigit() and int(field.options) else 5
    kind = reading.rating or _rating_kind(number, seen)

    def convert(cell: Any) -> float:
        value = float(number(cell))
        counted = kind == "stars" or (not kind and value > 1)
        if not kind and value == 1:
            raise ValueProblem('a rating that can be read in one way: state rating = "stars" or rating = "fraction"')
        if not 0 <= value <= (stars if counted else 1):
            raise ValueProblem(f"0 to {stars} stars" if counted else "a rating from 0 to 1")
        return value / stars if counted else value

    return convert


def _rating_kind(number: Convert, seen: Sequence[Any]) -> str:
    """What the values of a column prove; "" where they prove nothing, or both."""
    proved = set()
    for cell in seen:
        try:
            value = number(cell)
        except ValueProblem:
            continue
        proved |= {"stars"} if value > 1 else {"fraction"} if 0 < value < 1 else set()
    return proved.pop() if len(proved) == 1 else ""


# ---- dates


def _formats(reading: Reading, seen: Sequence[Any]) -> tuple[Format, ...]:
    if reading.dates:
        return tuple(map(stated, reading.dates))
    if reading.proved:
        return without_twins(reading.proved)
    return detect(text for cell in seen if isinstance(cell, str) and len(text := cell.strip()) <= 60)


def _moment(reading: Reading, formats: tuple[Format, ...], wanted: str) -> Callable[[Any], datetime]:
    """Any cell → a naive moment of the site. `wanted` completes "expected …"."""
    to_site, serials, known = reading.to_site, reading.serials, bool(reading.dates)
    names = " or ".join(one.text for one in formats) if known else "dd.mm.yyyy"

    def of_text(text: str) -> datetime:
        found = read_iso(text) if len(text) <= 60 else None
        if found is not None:
            return found
        fitting = readings(text, formats) if len(text) <= 60 else []
        if len({moment for _, moment in fitting}) == 1:
            return fitting[0][1]
        if fitting:
            both = " or ".join(f"{one.text} ({iso_date(moment)})" for one, moment in fitting)
            raise ValueProblem(f"{wanted} that can be read in one way, but it is {both}: state dates")
        raise ValueProblem(_why_no_date(text, wanted, known, names))

    def convert(cell: Any) -> datetime:
        if isinstance(cell, str):
            moment = of_text(cell.strip())
        elif isinstance(cell, datetime):
            moment = cell
        elif isinstance(cell, date):
            moment = datetime(cell.year, cell.month, cell.day)  # noqa: DTZ001 (the site's own time)
        elif isinstance(cell, int | float | Decimal) and not isinstance(cell, bool):
            moment = _serial(cell, serials, wanted)
        else:
            raise ValueProblem(wanted)
        if moment.tzinfo is not None:
            moment = _site_time(moment, to_site)
        if moment.year < 1000:
            raise ValueProblem(f"{wanted} from the year 1000 on")
        return moment

    return convert


def _why_no_date(text: str, wanted: str, known: bool, names: str) -> str:
    if known:
        return f"{wanted} as yyyy-mm-dd or {names}"
    if len(text) <= 60 and (short := short_year(text)):
        return f'{wanted} with four digits of the year; state dates = ["{short}"] where two are right'
    if len(text) <= 60 and readings(text, COMMON):
        return f"{wanted} written like the others of its column"
    return f"{wanted} that exists, as yyyy-mm-dd; state dates where it is written in another way, such as {names}"


def _serial(cell: int | float | Decimal, serials: str, wanted: str) -> datetime:
    if not serials:
        raise ValueProblem(f'{wanted}, not a number; state serials = "1900" where a workbook counts days')
    moment = from_serial(_as_float(cell)[0], serials)
    if moment is None:
        raise ValueProblem(f"{wanted}, as a workbook's number of days")
    return moment


def _site_time(moment: datetime, to_site: ToSite | None) -> datetime:
    if to_site is None:
        raise ValueProblem("a moment without a zone, since that of the site is not known here")
    try:
        found = to_site(moment)
    except (OverflowError, ValueError):
        raise ValueProblem("a moment that the site's zone has") from None
    return found.replace(tzinfo=None)


def _date(_field: Field, reading: Reading, seen: Sequence[Any]) -> Convert:
    """YYYY-MM-DD. A time of day other than midnight is refused: MariaDB would cut it off."""
    moment = _moment(reading, _formats(reading, seen), "a date")

    def convert(cell: Any) -> str:
        if isinstance(cell, str) and fast_iso(cell) and cell >= "1000":
            try:
                date.fromisoformat(cell)
            except ValueError:
                raise ValueProblem("a date that exists") from None
            return cell
        found = moment(cell)
        if found.hour or found.minute or found.second or found.microsecond:
            raise ValueProblem("a date without a time of day")
        return iso_date(found)

    return convert


def _datetime(_field: Field, reading: Reading, seen: Sequence[Any]) -> Convert:
    moment = _moment(reading, _formats(reading, seen), "a date with its time of day")
    return lambda cell: iso_moment(moment(cell))


_MIDNIGHT = datetime(2000, 1, 1)  # noqa: DTZ001 (of any day)


def _time(_field: Field, reading: Reading, _seen: Sequence[Any]) -> Convert:
    """HH:MM:SS[.ffffff], below 24 hours: the database takes more, Frappe's forms do not."""
    formats, serials = tuple(one for one in map(stated, reading.dates) if one.clock), reading.serials

    def convert(cell: Any) -> str:
        found: time | None = None
        if isinstance(cell, str) and len(text := cell.strip()) <= 60:
            found = read_clock(text) or next((moment.time() for _, moment in readings(text, formats)), None)
        elif isinstance(cell, time) and cell.tzinfo is None:
            found = cell
        elif isinstance(cell, timedelta) and timedelta(0) <= cell < timedelta(days=1):
            found = (_MIDNIGHT + cell).time()
        elif serials and isinstance(cell, int | float | Decimal) and 0 <= (days := _as_float(cell)[0]) < 1:
            found = (_MIDNIGHT + timedelta(milliseconds=min(round(days * 86_400_000), 86_399_999))).time()
        if found is None:
            raise ValueProblem("a time of day such as 14:05 or 14:05:30")
        return found.isoformat()

    return convert


def _duration(_field: Field, _reading: Reading, _seen: Sequence[Any]) -> Convert:
    """Seconds: the column is a decimal(21,9), and "1h" fails in it with a 500. "1:30" is refused, as it says either."""

    def convert(cell: Any) -> float:
        seconds: float | None = None
        if isinstance(cell, str) and len(text := cell.strip()) <= 60:
            seconds = read_length(text) if text else None
        elif isinstance(cell, timedelta):
            seconds = cell.total_seconds()
        elif isinstance(cell, time):
            seconds = cell.hour * 3600 + cell.minute * 60 + cell.second + cell.microsecond / 1e6
        elif isinstance(cell, int | float | Decimal) and not isinstance(cell, bool):
            seconds = _as_float(cell)[0]
        if seconds is None or not 0 <= seconds < MOST:
            raise ValueProblem("a length of time such as 1d 2h 3m 4s, 26:03:04 or a number of seconds")
        return int(seconds) if seconds == int(seconds) else seconds

    return convert


# ---- JSON and tables


def _parsed(cell: Any, wanted: str) -> Any:
    """JSON text, a list or an object → what it holds. Raises ValueProblem."""
    try:
        if isinstance(cell, str):
            return json.loads(cell, parse_constant=_no_constant, parse_float=_finite, object_pairs_hook=_once)
        if isinstance(cell, list | dict):
            # round trip: what JSON cannot hold, or holds otherwise, does not leave here
            return json.loads(json.dumps(cell, allow_nan=False, default=_fraction))
    except (ValueError, TypeError, RecursionError):
        pass
    raise ValueProblem(wanted)


def _fraction(value: Any) -> float:
    """JSON Lines are read with their fractions as Decimal. Raises ValueError beyond what a float holds."""
    if isinstance(value, Decimal):
        return _finite(str(value))
    raise TypeError


def _finite(text: str) -> float:
    """1e400 would become Infinity, which is no JSON."""
    if math.isinf(number := float(text)):
        raise ValueError(text)
    return number


def _no_constant(name: str) -> None:
    raise ValueError(name)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Python would keep the last of two values under one key without a word."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is there twice")
    return found


def json_text(value: Any) -> str:
    """`value` as compact JSON, each Decimal with all its digits. Raises TypeError, ValueError, RecursionError."""
    if isinstance(value, dict):
        return (
            "{"
            + ",".join([f"{json.dumps(key, ensure_ascii=False)}:{json_text(of)}" for key, of in value.items()])
            + "}"
        )
    if isinstance(value, list):
        return "[" + ",".join(map(json_text, value)) + "]"
    return str(value) if isinstance(value, Decimal) else json.dumps(value, ensure_ascii=False, allow_nan=False)


def _json(field: Field, _reading: Reading, _seen: Sequence[Any]) -> Convert:
    """JSON text, as it stands in the file: Frappe refuses a list here ("cannot be a list"), and for Geolocation an
    object, too. How deep it may be nested is for the database to say (32 levels in MariaDB)."""
    place = field.fieldtype == "Geolocation"
    wanted = "a GeoJSON object" if place else "JSON, with no key twice and no number beyond a float"

    def convert(cell: Any) -> str:
        held = _parsed(cell, wanted)
        if place and not (isinstance(held, dict) and "type" in held):
            raise ValueProblem(wanted)
        try:
            return text_of(cell.strip() if isinstance(cell, str) else json_text(cell))
        except (ValueError, TypeError, RecursionError):
            raise ValueProblem(wanted) from None

    return convert


def _table(child: DocType) -> Convert:
    """Rows as JSON objects, each value read as a cell of its field. `name` stays; what else Frappe keeps in each row,
    such as idx or parent, goes."""
    made: dict[str, Convert] = {}
    wanted = f"a JSON list of objects, the rows of {child.name}"

    def value(key: str, cell: Any) -> Any:
        field = child.field(key)
        if field is None or not field.has_value or field.is_virtual:
            raise ValueProblem(f"rows of {child.name}, which has no field {shown(key)}")
        if key not in made:
            made[key] = converter(field, Reading(decimal="."))
        try:
            return None if is_blank(cell) else made[key](cell)
        except ValueProblem as problem:
            raise ValueProblem(f"for {key} in each row {problem}, not {shown(cell)}") from None

    def convert(cell: Any) -> list[dict[str, Any]]:
        rows = _parsed(cell, wanted)
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise ValueProblem(wanted)
        return [
            {key: value(key, own) for key, own in row.items() if key == "name" or key not in SYSTEM} for row in rows
        ]

    return convert


def link_of(child: DocType) -> Field | None:
    """The field of a Table MultiSelect's rows that holds the choice: the first Link, as the form takes it."""
    return next((field for field in child.fields if field.fieldtype == "Link"), None)


def _choices(child: DocType) -> Convert:
    """Names → rows of the child DocType. They are parted by lines where there are several, by commas otherwise, and
    each is taken once. A list holds names or whole rows."""
    link, rows = link_of(child), _table(child)
    wanted = f"names, with commas or line breaks between them, for the rows of {child.name}"

    def parts(cell: Any) -> list[str]:
        if isinstance(cell, list):
            return [text_of(part) for part in cell]
        text = text_of(cell)
        return text.splitlines() if len(text.split("\n")) > 1 else text.split(",")

    def convert(cell: Any) -> list[dict[str, Any]]:
        if isinstance(cell, str) and cell.lstrip().startswith("["):
            cell = _parsed(cell, wanted)
        if isinstance(cell, list) and cell and all(isinstance(part, dict) for part in islice(cell, 1000)):
            found: list[dict[str, Any]] = rows(cell)
            return found
        if link is None:
            raise ValueProblem(f"nothing, since {child.name} has no Link field")
        names = dict.fromkeys(name for part in parts(cell) if (name := part.strip()))
        if too_long := [name for name in names if len(name) > VARCHAR]:
            raise ValueProblem(f"names of at most {VARCHAR} characters, not {len(too_long[0]):,}")
        return [{link.fieldname: name} for name in names]

    return convert


_MAKERS: Mapping[str, Callable[[Field, Reading, Sequence[Any]], Convert]] = {
    **dict.fromkeys(("Data", "Link", "Dynamic Link", "Read Only", "Icon", "Autocomplete"), _line),
    **dict.fromkeys(("Text", "Small Text", "Password", "Attach", "Attach Image"), _text),
    **dict.fromkeys(("Float", "Currency", "Percent"), _float),
    **dict.fromkeys(("Int", "Long Int"), _int),
    **dict.fromkeys(("JSON", "Geolocation"), _json),
    "Select": _select,
    "Color": _color,
    "Phone": _phone,
    "Check": _check,
    "Rating": _rating,
    "Date": _date,
    "Datetime": _datetime,
    "Time": _time,
    "Duration": _duration,
}
"""How each field type is read. What is not here has a longtext: Long Text, Code, Text Editor, Markdown Editor, HTML
Editor, Barcode, Signature (database/mariadb/database.py:setup_type_map)."""
