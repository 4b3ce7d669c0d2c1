"""Which days a digest is about: the last full ones before its slot. Reads and writes nothing, no clock.

A period is whole days of the site's calendar, first and last included, so that no change of clocks makes it shorter or
longer: the site dates its documents by its own wall clock, and so days are compared as text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

DAY = timedelta(days=1)
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
FORMS = '"last day", "last week", "last month", or a number of days such as "last 30 days"'
LONGEST = 3660
"""Days of a period."""


@dataclass(frozen=True, slots=True)
class Period:
    """Days from `first` to `last`, both within."""

    first: date
    last: date

    @property
    def key(self) -> str:
        """Sorts by the last day; two periods of the same days have the same."""
        return f"{self.last.isoformat()}~{self.first.isoformat()}"

    def conditions(self, field: str, *, with_time: bool) -> list[list[str]]:
        """Filters for what is dated within; `with_time`: by a Datetime, else by a Date."""
        if with_time:
            beyond = self.last + DAY
            return [[field, ">=", f"{self.first.isoformat()} 00:00:00"], [field, "<", f"{beyond.isoformat()} 00:00:00"]]
        return [[field, ">=", self.first.isoformat()], [field, "<=", self.last.isoformat()]]


@dataclass(frozen=True, slots=True)
class Span:
    """A kind of period: "day", "week", "month", or "days" of a number."""

    unit: str
    days: int = 1

    @classmethod
    def parse(cls, text: str) -> Span:
        """Raises ValueError with a sentence that shows the right form."""
        plain = " ".join(text.lower().split())
        if plain in ("last day", "last week", "last month"):
            return cls(plain.removeprefix("last "))
        match = re.fullmatch(r"last (\d{1,4}) days?", plain)
        if match is None or not 1 <= int(match[1]) <= LONGEST:
            raise ValueError(f"is a period: {FORMS}")
        return cls("days", int(match[1]))

    def before(self, day: date, week_starts: str = "monday") -> Period:
        """The last full period whose days all lie before `day`."""
        if self.unit == "week":
            start = day - DAY * ((day.weekday() - WEEKDAYS.index(week_starts)) % 7)
            return Period(start - 7 * DAY, start - DAY)
        if self.unit == "month":
            last = day.replace(day=1) - DAY
            return Period(last.replace(day=1), last)
        return Period(day - DAY * self.days, day - DAY)

    def due(self, slot: datetime, zone: ZoneInfo, week_starts: str = "monday") -> Period:
        """What a run for `slot` (aware) is about, by the site's own calendar."""
        return self.before(slot.astimezone(zone).date(), week_starts)

    def previous(self, period: Period, week_starts: str = "monday") -> Period:
        """The one of the same kind right before it."""
        return self.before(period.first, week_starts)
