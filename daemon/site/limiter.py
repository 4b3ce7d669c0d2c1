"""How many requests may be under way at once: additive increase, multiplicative decrease, shared by all threads.

It sees only durations, statuses and headers; it sends nothing. A site answers in gunicorn workers that its users need
too, so the limit follows what the site shows: it rises by one for each round of requests that were answered as fast as
on a quiet site, and falls when answers take three times as long, when the site says 429 or 503, or when the rate-limit
headers (frappe/rate_limiter.py: microseconds of work left in this window) say that the budget nears its end.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

SLOW = 3.0
"""An answer this many times slower than on the quiet site is one that waited in the site's queue."""
CROWDED, NOISE = 1.15, 0.02
"""Where answers take this many times as long, and so many seconds, one request more only makes the others wait: the
site's cores are busy. A limit that keeps them just busy gets as much done with fewer of the site's workers."""
SLACK = 0.05
"""Seconds by which an answer may always be slower: below it, noise rules."""
FIRST_REST, LONGEST_REST = 0.5, 30.0
"""Seconds without requests after a refusal that names no time."""
FEW = 2.0
"""Requests at once to begin with, and again where a long kind of request is new: how long it takes on a quiet site is
learnt by asking for few."""
NEW = 0.1
"""Seconds from which on a request counts as long."""
GAIN = 0.5
"""The part of what one request more at once could add to the throughput that it must add to be worth a worker more."""
HOLD = 30
"""Long answers until the next try at one more, after one that gained too little."""
LEAD = 20
"""Answers after a long one during which short ones change nothing: they say little of what the long ones wait for."""
LOW_BUDGET = 0.15
"""The part of the site's rate-limit budget below which we go one at a time."""
LOOK = 5.0
"""Seconds for which a place is waited for without a look at anything else."""
LONGEST_HOLD = 900.0
"""Seconds for which a header can stop all requests: a site whose clock is wrong must not stop us for good."""


class Limiter:
    """Slots for requests, between 1 and `ceiling`.

    `clock` gives seconds that never go back.
    """

    def __init__(self, ceiling: int, clock: Callable[[], float]) -> None:
        self.ceiling = ceiling
        self._limit = min(FEW, float(ceiling))
        self._clock = clock
        self._free = threading.Condition()
        self._in_flight = 0
        self._quiet: dict[str, float] = {}
        self._recent: dict[str, float] = {}
        self._patience = 0
        self._since = -math.inf
        """When the limit was last set for a comparison."""
        self._led = 0
        self._levels: dict[str, dict[int, tuple[float, int]]] = {}
        """Route → limit → (mean seconds, answers) of long requests while that many were under way."""
        self._probing = 0
        """Long answers until one more is tried; 0 or less: now."""
        self._held_until = 0.0
        self._rest = 0.0

    def allow(self, ceiling: int) -> None:
        """From now on this many at once, at the most; what was learnt of the site stays."""
        with self._free:
            self.ceiling = ceiling
            self._limit = min(self._limit, float(ceiling))
            self._free.notify_all()

    @property
    def limit(self) -> int:
        """Requests that may be under way now."""
        return max(1, int(self._limit))

    @property
    def rest(self) -> float:
        """Seconds for which the site wants no request."""
        return max(0.0, self._held_until - self._clock())

    @contextmanager
    def slot(self, pause: Callable[[float], None]) -> Iterator[None]:
        """Wait for a place, and by `pause`, which may raise, for the end of a rest that the site asked for."""
        while not self._entered():
            pause(max(0.0, self._held_until - self._clock()))
        try:
            yield
        finally:
            with self._free:
                self._in_flight -= 1
                self._free.notify_all()

    def _entered(self) -> bool:
        """A place was taken; False where by then the site has asked for a rest."""
        with self._free:
            while self._in_flight >= self.limit:
                if not self._free.wait(LOOK):
                    return False  # a run that waits for others is told of a stop, and shows that it lives
            resting = self._held_until > self._clock()
            self._in_flight += not resting
            return not resting

    def answered(self, route: str, seconds: float, headers: Mapping[str, str], loads: float = 1.0) -> None:
        """A request of this `route` (its kind, not its address) was answered in `seconds`; it asked for `loads` times
        the work of a small one."""
        with self._free:
            low = "x-ratelimit-remaining" in headers and self._budget_is_low(headers, seconds)
            if self._clock() - seconds < self._since - 0.001 and not low:  # sent under another limit
                return
            seconds /= loads
            if route not in self._quiet and route not in self._levels and seconds > NEW and self._limit > FEW:
                self._levels[route], self._led = {}, LEAD
                self._limit, self._since = FEW, self._clock()
                return
            quiet = self._quiet.get(route, seconds)
            quiet = seconds if seconds < quiet else quiet + 0.01 * (seconds - quiet)
            recent = self._recent.get(route, seconds)
            recent += 0.3 * (seconds - recent)
            self._quiet[route], self._recent[route] = quiet, recent
            self._patience -= 1
            self._led = LEAD if seconds * loads >= NEW else max(0, self._led - 1)
            self._rest = 0.0
            if low:
                self._limit = 1.0
            elif recent > SLOW * quiet + SLACK:
                self._fall(0.75)
            elif seconds * loads >= NEW:
                self._compare(route, seconds)
            elif self._led:
                pass
            elif recent > CROWDED * quiet + NOISE:
                self._limit = max(1.0, self._limit - 1 / self._limit)
            elif self._in_flight >= self.limit:
                self._limit = min(float(self.ceiling), self._limit + 1 / self._limit)

    def _compare(self, route: str, seconds: float) -> None:
        """One more at once after a round of long requests; back again where that gained too little: the site's cores
        were busy before, and one more only made the others wait."""
        level = self.limit
        if self._in_flight < level:
            return
        known = self._levels.setdefault(route, {})
        mean, number = known.get(level, (seconds, 0))
        known[level] = mean + (seconds - mean) / min(number + 1, 2 * level), number + 1
        self._probing -= 1
        if number + 1 < 2 * level:
            return
        mean, below = known[level][0], known.get(level - 1, (0.0, 0))[0]
        if below and level / mean < (level - 1) / below * (1 + GAIN / (level - 1)):
            self._to_level(level - 1, known)
            self._probing = HOLD
        elif self._probing <= 0 and level < self.ceiling:
            self._to_level(level + 1, known)

    def _to_level(self, level: int, known: dict[int, tuple[float, int]]) -> None:
        """What was known of it is measured anew; answers to what is under way tell nothing of it."""
        self._limit, self._since = float(level), self._clock()
        known.pop(level, None)

    def refused(self, retry_after: float | None) -> None:
        """The site answered 429 or 503: fewer at once, and none for `retry_after` seconds.

        Where the site names no time (QueueOverloaded does not) all wait, twice as long with each refusal in a row: a
        queue drains by itself if nobody adds to it.
        """
        with self._free:
            self._fall(0.5)
            self._rest = min(LONGEST_REST, 2 * self._rest or FIRST_REST)
            self._hold(retry_after or self._rest)

    def _fall(self, factor: float) -> None:
        """Once for each round of requests, since all of one round report the same congestion."""
        if self._patience <= 0:
            self._limit = max(1.0, self._limit * factor)
            self._patience = self.limit

    def _budget_is_low(self, headers: Mapping[str, str], seconds: float) -> bool:
        """Slow down before the site has to say 429; with less left than one request costs, wait for the next window."""
        try:
            left = float(headers["x-ratelimit-remaining"]) / 1e6
            whole = float(headers.get("x-ratelimit-limit", 0)) / 1e6
            reset = float(headers.get("x-ratelimit-reset", 0))
        except ValueError:
            return False
        if left < 2 * seconds:
            self._hold(reset)
        return left < LOW_BUDGET * whole

    def _hold(self, seconds: float) -> None:
        self._held_until = max(self._held_until, self._clock() + min(seconds, LONGEST_HOLD))
