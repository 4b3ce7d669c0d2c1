"""When a job wants to run: schedule text → slots, across every change of the clocks. Reads no clock, writes nothing.

A *slot* is the moment that a schedule names; jitter comes on top of it and is no part of it. There are two kinds of
schedule, and they differ only where a zone moves its clocks:

- **Daily slots**: a crontab line that names hours. Every slot comes once on each local day that exists: one that falls
  into a gap comes right after it, one whose hour is repeated comes in the first pass only.
- **Real time**: `every …`, and a crontab line whose hour field is written with a star or selects all 24 hours. These
  go on through the change: nothing is made up for after a gap, and a repeated hour is used twice.

cronsim knows which wall-clock times match a line; which instants those are is decided here. cronsim 2.8 does that too,
but in the zone it returns moments before the one that it was given (within a repeated hour), wall-clock times that do
not exist (Havana's midnight, all of 30 December 2011 in Apia), a second slot on the day after a skipped one, and loses
a slot of `0 */2` after Lord Howe's half-hour shift. So it is only ever handed naive times.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

from cronsim import CronSim, CronSimError

from daemon.core.duration import format_duration, parse_duration

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

COUNTED = 1000
"""Missed slots beyond this many are not counted one by one."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)
_PROBE = timedelta(days=1)  # no zone has moved its clocks twice within a day since 1970; a test looks at all of them
_LONGEST = timedelta(days=3653)
_FORMS = '"0 8 * * 1" (minute, hour, day of month, month, weekday), "every 15m" or "daily"'

WORDS = {
    "all": "*/4 * * * *",
    "hourly": "0 * * * *",
    "hourly_long": "0 * * * *",
    "hourly_maintenance": "0 * * * *",
    "daily": "0 0 * * *",
    "daily_long": "0 0 * * *",
    "daily_maintenance": "0 0 * * *",
    "weekly": "0 0 * * 0",
    "weekly_long": "0 0 * * 0",
    "monthly": "0 0 1 * *",
    "monthly_long": "0 0 1 * *",
    "yearly": "0 0 1 1 *",
    "yearly_long": "0 0 1 1 *",
    "annual": "0 0 1 1 *",
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
"""Frappe's words as `ScheduledJobType.get_next_execution` reads them (`all` is every four minutes unless a site sets
`scheduler_interval`; for `_maintenance` it computes an offset and throws it away), and cron's own from crontab(5).
"""


@dataclass(frozen=True)
class Missed:
    """Slots that passed without a run."""

    count: int
    """How many, up to `COUNTED`."""
    first: datetime | None
    latest: datetime | None
    more: bool = False
    """True where there are more than `count`."""

    def __str__(self) -> str:
        return f"more than {self.count:,}" if self.more else f"{self.count:,}"


@dataclass(frozen=True)
class Schedule:
    """A parsed schedule. Two are equal when their texts are."""

    text: str
    """What was written, in lower case with single blanks."""
    line: str = field(default="", compare=False, repr=False)
    """The crontab line behind `text`; "" for an interval."""
    every: timedelta | None = field(default=None, compare=False, repr=False)
    real_time: bool = field(default=True, compare=False, repr=False)
    """False for a line of daily slots; see the module's docstring."""

    @classmethod
    def parse(cls, text: str) -> Schedule:
        """Read a crontab line of five fields, `every <length>`, or one of `WORDS`.

        Raises ValueError with a sentence that says what is wrong and shows the right form, also for a line that would
        never fire.
        """
        plain = " ".join(text.split()).lower()
        if not plain or len(plain) > 200:
            raise ValueError(f"a schedule is {_FORMS}, not {'an empty text' if not plain else 'so long a text'}")
        if plain == "every" or plain.startswith("every "):
            return cls(plain, every=_parse_every(plain))
        line = WORDS.get(re.sub("[ -]", "_", plain)) or _checked_line(plain)
        return cls(plain, line=line, real_time=_runs_in_real_time(line))

    def after(self, moment: datetime, zone: ZoneInfo) -> datetime:
        """The next slot strictly after the aware `moment`, as clocks in `zone` show it.

        Slots carry the zone's offset, not the zone: Python compares and subtracts moments of one ZoneInfo by their wall
        clock, and finds those in a repeated hour unequal to any moment of another zone.
        """
        return _shown(self._after(moment.astimezone(UTC), zone), zone)

    def latest(self, since: datetime, until: datetime, zone: ZoneInfo) -> datetime | None:
        """The last slot in (since, until], or None. Costs some thirty searches however long that is."""
        early, end = since.astimezone(UTC), until.astimezone(UTC)
        slot, late = self._after(early, zone), end
        if slot > end:
            return None
        while late - slot > _SECOND:  # `slot` is one, and none lies in (late, until]
            middle = slot + (late - slot) / 2
            found = self._after(middle, zone)
            slot, late = (found, late) if found <= end else (slot, middle)
        return _shown(slot, zone)

    def missed(self, last: datetime, now: datetime, zone: ZoneInfo) -> Missed:
        """The slots in (last, now]. Cheap however long ago `last` is: beyond `COUNTED` they are not counted."""
        end = now.astimezone(UTC)
        count, slot = 0, self._after(last.astimezone(UTC), zone)
        first = slot
        while slot <= end and count < COUNTED:
            count, slot = count + 1, self._after(slot, zone)
        if not count:
            return Missed(0, None, None)
        return Missed(count, _shown(first, zone), self.latest(last, now, zone), more=slot <= end)

    def describe(self) -> str:
        """The schedule in a few English words, for a table."""
        if self.every is not None:
            return f"Every {format_duration(self.every)}"
        return CronSim(self.line, _EPOCH).explain()

    def _after(self, moment: datetime, zone: ZoneInfo) -> datetime:
        """`after` with a moment in UTC and a slot in UTC."""
        if self.every is not None:
            return _EPOCH + ((moment - _EPOCH) // self.every + 1) * self.every
        if self.real_time:
            return _next_in_real_time(self.line, moment.replace(microsecond=0), zone)
        return _next_daily(self.line, moment, zone)


def jitter_of(job: str, slot: datetime, jitter: timedelta) -> timedelta:
    """How long after `slot` this job starts: uniform in [0, jitter), and the same each time that it is asked.

    Drawn from the job's name and the slot, not from chance, so that a restart between slot and start neither repeats
    nor loses the run, and two jobs of one slot start apart.
    """
    drawn = sha256(f"{job}\n{slot.astimezone(UTC).isoformat()}".encode()).digest()[:8]
    microseconds = jitter // timedelta(microseconds=1)
    return timedelta(microseconds=int.from_bytes(drawn, "big") * microseconds >> 64)


# --- which instants ------------------------------------------------------------------------------------------------


def _next_daily(line: str, moment: datetime, zone: ZoneInfo) -> datetime:
    """The first instant after `moment` (both UTC) that belongs to a wall-clock time matching `line`."""
    for wall in CronSim(line, _wall(moment, zone)):
        slot = _instant(wall, zone)
        # Where `moment` is in the second pass of a repeated hour, the next matching times have been and gone in the
        # first; where several fall into one gap, they share the instant after it.
        if slot is not None and slot > moment:
            return slot
    raise OverflowError(f"{line!r} has no slot in the fifty years after {moment}")


def _next_in_real_time(line: str, moment: datetime, zone: ZoneInfo) -> datetime:
    """The first instant after `moment` (both UTC, whole seconds) at which the wall clock matches `line`."""
    start, wall = moment, _wall(moment, zone)
    while True:
        slot = (next(CronSim(line, wall)) - _offset(start, zone)).replace(tzinfo=UTC)
        change = _offset_change(start, slot, zone)
        if change is None:
            return slot
        # The clocks move first: go on from there, and let the very first second after the change be a slot.
        start, wall = change, _wall(change, zone) - _SECOND


def _instant(wall: datetime, zone: ZoneInfo) -> datetime | None:
    """When (UTC) clocks first show `wall`; right after the gap that skips it; None where its whole day is skipped."""
    # PEP 495: of a repeated time fold=0 is the first pass; of a skipped one fold=0 lies after the gap, fold=1 before.
    instant = wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if _wall(instant, zone) == wall:
        return instant
    end = _offset_change(wall.replace(tzinfo=zone, fold=1).astimezone(UTC), instant, zone) or instant
    day_before, day_after = _wall(end - _SECOND, zone).date(), _wall(end, zone).date()
    return None if day_before < wall.date() < day_after else end


def _offset_change(start: datetime, end: datetime, zone: ZoneInfo) -> datetime | None:
    """The first whole second in (start, end] with another UTC offset than `start` has, or None."""
    offset, low = _offset(start, zone), start
    high = min(low + _PROBE, end)
    while _offset(high, zone) == offset:
        if high >= end:
            return None
        low, high = high, min(high + _PROBE, end)
    while high - low > _SECOND:
        middle = low + ((high - low) // 2 // _SECOND) * _SECOND
        low, high = (middle, high) if _offset(middle, zone) == offset else (low, middle)
    return high


def _offset(instant: datetime, zone: ZoneInfo) -> timedelta:
    return instant.astimezone(zone).utcoffset() or timedelta(0)


def _shown(instant: datetime, zone: ZoneInfo) -> datetime:
    """`instant` with the offset and the abbreviation that `zone` has then."""
    local = instant.astimezone(zone)
    return local.astimezone(timezone(_offset(instant, zone), local.tzname() or ""))


def _wall(instant: datetime, zone: ZoneInfo) -> datetime:
    """What clocks in `zone` show at `instant`, as a naive time."""
    return instant.astimezone(zone).replace(tzinfo=None, fold=0)


def _runs_in_real_time(line: str) -> bool:
    """Whether the hour field means "at any hour" rather than certain hours of the day. `*/24` names one: midnight."""
    hours = len(CronSim(line, _EPOCH).hours)
    return hours == 24 or (line.split()[1].startswith("*") and hours > 1)


# --- what a person wrote -------------------------------------------------------------------------------------------


class _Field(NamedTuple):
    name: str
    low: int
    high: int
    right: str
    names: tuple[str, ...] = ()


_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_FIELDS = (
    _Field("minute", 0, 59, '0 to 59, "*" or "*/15"'),
    _Field("hour", 0, 23, '0 to 23, "*" or "8-17"'),
    _Field("day of month", 1, 31, '1 to 31, "*" or "L" for the last'),
    _Field("month", 1, 12, '1 to 12, "*" or jan to dec', _MONTHS),
    _Field("weekday", 0, 7, '0 to 7 where 0 and 7 are Sunday, "*" or mon to sun', _WEEKDAYS),
)
_SPELLED = re.compile(r"(?:every )?(\d+) ?(minute|hour|day|week|min|hr|[mhdw])s?")
_SINGLE = {
    "every minute": "every 1m",
    "every hour": "hourly",
    "every day": "daily",
    "every week": "weekly",
    "every month": "monthly",
    "every year": "yearly",
}


def _parse_every(plain: str) -> timedelta:
    """The length in `every <length>`. Raises ValueError."""
    hint = _did_you_mean(_spelled_interval(plain))
    try:
        every = parse_duration(plain.removeprefix("every"))
    except ValueError:
        raise ValueError(f'{plain!r} is no interval; write "every 15m", "every 6h" or "every 1d"{hint}') from None
    if every < timedelta(minutes=1):
        raise ValueError(f'{plain!r} is too often; the shortest interval is "every 1m"')
    if every > _LONGEST:
        raise ValueError(f'{plain!r} is longer than ten years; write "yearly" for once a year')
    return every


def _spelled_interval(plain: str) -> str:
    """`every 15 minutes` in the form that is read: `every 15m`; "" where `plain` is nothing like it."""
    spelled = _SPELLED.fullmatch(plain)
    return f"every {spelled[1]}{spelled[2][0]}" if spelled else _SINGLE.get(plain, "")


def _checked_line(plain: str) -> str:
    """`plain` as a crontab line that cronsim reads and that fires. Raises ValueError."""
    fields = plain.split()
    if len(fields) != 5:
        raise ValueError(_wrong_count(plain, len(fields)))
    fields[4] = re.sub(r"(?<=-)sun\b", "7", fields[4])  # fri-sun: at the end of a range Sunday is the 7
    problems = [_field_problem(place, written) for place, written in enumerate(fields)]
    if any(problems):
        raise ValueError(f"{plain!r}: " + "; ".join(filter(None, problems)))
    line = " ".join(fields)
    try:
        next(CronSim(line, datetime(2000, 1, 1)))  # noqa: DTZ001 - wall-clock time of no zone
    except (CronSimError, StopIteration):
        raise ValueError(
            f"{plain!r} never fires: there is no such date; "
            'the last day of every month is "0 0 L * *", of February "0 0 L 2 *"'
        ) from None
    return line


def _wrong_count(plain: str, count: int) -> str:
    """What is wrong with a text that has not five fields."""
    if plain == "@reboot":
        return (
            '"@reboot" is no schedule here: what was missed while the daemon was off is caught up at its start anyway'
        )
    if count == 6:
        return f"{plain!r} has six fields; seconds and years cannot be given, write five: {_FORMS}"
    if count > 1 and plain[0] in "*0123456789":
        return f"{plain!r} has {count} fields where a crontab line has five: minute, hour, day of month, month, weekday"
    hint = _spelled_interval(plain) or _closest(plain, tuple(WORDS))
    return f"{plain!r} is no schedule; write {_FORMS}{_did_you_mean(hint)}"


def _field_problem(place: int, written: str) -> str:
    """What is wrong with the crontab field at `place` (0 is the minute), or ""."""
    facts = _FIELDS[place]
    for step in re.findall(r"/(\d+)", written):
        if int(step) > facts.high - facts.low + 1:
            return _too_long_a_step(facts, written, int(step), place)
    probe = ["*"] * 5
    probe[place] = written
    try:
        CronSim(" ".join(probe), _EPOCH)
    except CronSimError:
        hint = _did_you_mean(_better_field(facts, written))
        return f"{written!r} is no {facts.name}; it is {facts.right}{hint}"
    return ""


def _too_long_a_step(facts: _Field, written: str, step: int, place: int) -> str:
    """cron would take it, and fire once in each hour, day or month instead of what was meant."""
    hint = _did_you_mean(f"every {step}{'mhd'[place]}" if place < 3 else "")
    return f"{written!r} steps farther than the {facts.name} goes ({facts.low} to {facts.high}){hint}"


def _better_field(facts: _Field, written: str) -> str:
    """What may have been meant by a field that cannot be read, or ""."""
    if written == "?":
        return "*"
    if (facts.name, written) in {("hour", "24"), ("minute", "60")}:
        return "0"
    backwards = re.fullmatch(r"(\w+)-(\w+)", written)
    if backwards:
        return _split_range(facts, backwards[1], backwards[2])
    return written[:3] if written[:3] in facts.names else _closest(written, facts.names)


def _split_range(facts: _Field, first: str, last: str) -> str:
    """`22-6` as `22-23,0-6`: cron's ranges do not run over the end. "" where that is not what is wrong."""
    numbers = [_number(facts, first), _number(facts, last)]
    if None in numbers or numbers[0] <= numbers[1]:  # type: ignore[operator]
        return ""
    high = 6 if facts.name == "weekday" else facts.high
    return f"{numbers[0]}-{high},{facts.low}-{numbers[1]}"


def _number(facts: _Field, written: str) -> int | None:
    if written in facts.names:
        return facts.names.index(written) + (facts.low if facts.name == "month" else 0)
    return int(written) if written.isdecimal() and facts.low <= int(written) <= facts.high else None


def _closest(written: str, known: tuple[str, ...]) -> str:
    from difflib import get_close_matches

    return next(iter(get_close_matches(written, known, 1, 0.6)), "")


def _did_you_mean(hint: str) -> str:
    return f'; did you mean "{hint}"?' if hint else ""
