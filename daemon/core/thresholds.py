"""Which notice about a date is due, and why or why not. Reads and writes nothing.

Thresholds are days before a date; 0 is the day itself, negative ones are days after it. A date that is so many days
away has crossed every threshold that is no smaller, and a notice is about the tightest of these. So whoever looked at
it last, and however long ago, one notice comes of it; the thresholds that were passed meanwhile are passed over.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to be said of one date to one recipient."""

    threshold: int | None
    """The threshold that a notice is due for; None: none is."""
    why: str
    """As a clause: of a notice why it is sent, else why not, and when the next one comes."""


def left(today: date, expires: date) -> int:
    """Days from `today` to the date; negative once it is past."""
    return (expires - today).days


def crossed(days: int, thresholds: Iterable[int]) -> int | None:
    """The tightest threshold that a date `days` away has crossed; None before the first."""
    return min((threshold for threshold in thresholds if days <= threshold), default=None)


def judge(today: date, expires: date, thresholds: Sequence[int], told: Mapping[int, str]) -> Verdict:
    """`told`: thresholds that the recipient has been told of, for this very date, with how and when.

    A tighter one among them ends it, too: thresholds may be edited, and a clock may be set back.
    """
    tightest = crossed(left(today, expires), thresholds)
    if tightest is None:
        return Verdict(None, f"{_away(today, expires)}; {_next(expires, thresholds, None)}")
    known = min((threshold for threshold in told if threshold <= tightest), default=None)
    if known is None:
        return Verdict(tightest, f"{_away(today, expires)}, which is within {said(tightest)}")
    return Verdict(None, f"told {said(known)} {told[known]}; {_next(expires, thresholds, min(tightest, known))}")


def window(today: date, since: date, thresholds: Sequence[int], look_back: timedelta) -> tuple[date, date]:
    """The first and the last date of documents to look at, where all was done on `since`.

    Later dates have crossed nothing. Of earlier ones the last threshold was crossed before `since`, and they had been
    looked at, or were over `look_back` before anybody looked.
    """
    first = since - look_back + timedelta(days=min(0, *thresholds))
    return first, today + timedelta(days=max(thresholds))


def said(threshold: int) -> str:
    """ "7 days before", "on the day", "1 day after"."""
    if threshold == 0:
        return "on the day"
    return f"{_days(abs(threshold))} {'before' if threshold > 0 else 'after'}"


def _days(number: int) -> str:
    return f"{number:,} day{'' if number == 1 else 's'}"


def _away(today: date, expires: date) -> str:
    days = left(today, expires)
    if days == 0:
        return f"{expires} is today"
    return f"{expires} is {_days(days)} ahead" if days > 0 else f"{expires} was {_days(-days)} ago"


def _next(expires: date, thresholds: Sequence[int], after: int | None) -> str:
    """When the next notice comes, behind the threshold `after`."""
    following = max((threshold for threshold in thresholds if after is None or threshold < after), default=None)
    if following is None:
        return "no further notice comes for this date"
    return f"the next notice comes {said(following)}, on {expires - timedelta(days=following)}"


def day_of(value: Any) -> date | None:
    """The date of a Date or Datetime as the site writes it, which is the site's own; None where it holds none."""
    try:
        return date.fromisoformat(str(value or "")[:10])
    except ValueError:
        return None
