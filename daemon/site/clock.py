"""The edge between moments and the site's datetimes, which are naive and in its own zone. Reads and writes nothing.

Frappe stamps `creation` and `modified` with frappe/utils/data.py:now_datetime, in System Settings.time_zone, with six
digits of fraction unless it is exactly zero. Nowhere else in this daemon is a datetime naive.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

REPEATED = 180
"""Minutes within which a clock that was set back has caught up; the longest in use is two hours."""


class SiteClock:
    """Converts between aware moments and the text that the site keeps."""

    def __init__(self, zone: ZoneInfo) -> None:
        self.zone = zone

    def text(self, moment: datetime) -> str:
        """`moment` (aware) as the site would have stamped it, with six digits of fraction."""
        if moment.tzinfo is None:
            raise ValueError(f"{moment!r} is naive: nobody can say which moment it is")
        return moment.astimezone(self.zone).replace(tzinfo=None).isoformat(" ", "microseconds")

    def bound(self, moment: datetime) -> str:
        """The earliest text that the site has stamped since `moment`: `text`, or where the zone repeats an hour just
        after it, the first minute of the repetition. What is stamped later never compares as less."""
        minutes = (self.text(moment + timedelta(minutes=number))[:17] for number in range(1, REPEATED + 1))
        return min(self.text(moment), *(f"{minute}00.000000" for minute in minutes))

    def moment(self, text: str) -> datetime:
        """The aware moment of a site's datetime or date. In the hour that a zone repeats, the first of the two."""
        return datetime.fromisoformat(text).replace(tzinfo=self.zone, fold=0)
