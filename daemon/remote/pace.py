"""How fast one run asks an API: so many requests at once, so many in a second, none while it wants a rest."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LONGEST_HOLD = 900.0
"""Seconds for which a header can stop all requests: an API whose clock is wrong must not stop us for good."""
FIRST_REST, LONGEST_REST = 1.0, 30.0
"""Seconds without requests after a refusal that names no time; twice as long with each in a row."""


class Pace:
    """Slots for requests. `clock` gives seconds that never go back."""

    def __init__(self, concurrency: int, per_second: float | None, clock: Callable[[], float]) -> None:
        self._slots = threading.BoundedSemaphore(concurrency)
        self._gap = 1 / per_second if per_second else 0.0
        self._clock = clock
        self._lock = threading.Lock()
        self._next = 0.0
        self._held_until = 0.0
        self._rest = 0.0

    @property
    def rest(self) -> float:
        """Seconds for which the API wants no request."""
        return max(0.0, self._held_until - self._clock())

    @contextmanager
    def slot(self, pause: Callable[[float], None]) -> Iterator[None]:
        """Wait for a place and, by `pause`, which may raise, for our turn and the end of a rest."""
        with self._slots:
            while (wait := self._turn()) > 0:
                pause(wait)
            yield

    def _turn(self) -> float:
        """Seconds to wait; 0 where our turn has come, and is taken."""
        with self._lock:
            now = self._clock()
            wait = max(self._next, self._held_until) - now
            if wait > 0:
                return wait
            self._next = now + self._gap
            return 0.0

    def answered(self) -> None:
        with self._lock:
            self._rest = 0.0

    def refused(self, retry_after: float | None) -> None:
        """429 or 503: none for `retry_after` seconds or, where no time was named, for longer each time."""
        with self._lock:
            self._rest = min(LONGEST_REST, 2 * self._rest or FIRST_REST)
            wait = min(retry_after or self._rest, LONGEST_HOLD)
            self._held_until = max(self._held_until, self._clock() + wait)
