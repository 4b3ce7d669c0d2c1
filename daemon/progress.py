"""How far a run is, written down while it runs, so that other processes can show it. Writes the state, sparingly."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from typing import Any

from daemon.core.clock import Clock
from daemon.core.plan import Tally
from daemon.errors import StateError
from daemon.state.glance import note_progress
from daemon.state.store import State

Watch = Callable[[str, int, int], None]
"""(part, done, total): told how far a run is."""


def holder() -> dict[str, Any]:
    """This process, as others find it."""
    return {"host": socket.gethostname(), "pid": os.getpid()}


class Told:
    """Passes on to `watch` how far a run is, and writes it down at most every `EVERY` seconds. Any thread may call.

    A run shorter than that writes nothing. Some kinds tell of each row; for the others what is known is a batch's end.
    """

    EVERY = 2.0

    def __init__(self, state: State, run_id: str, clock: Clock, watch: Watch) -> None:
        self._state, self._run, self._clock, self._watch = state, run_id, clock, watch
        self._lock = threading.Lock()
        self._written = clock.monotonic()
        self._begun: dict[str, tuple[str, float, int]] = {}
        """Part → when it began, on both clocks, and how much was done by then."""
        self._by_themselves: set[str] = set()

    def __call__(self, part: str, done: int, total: int) -> None:
        """As daemon.core.kind.Run.progress."""
        self._by_themselves.add(part)
        self._watch(part, done, total)
        self._note(part, done, total)

    def batch(self, tally: Tally) -> None:
        """A part begins, or a batch of it is over."""
        if tally.part in self._by_themselves:
            return
        planned = tally.census.planned if tally.census else 0
        done = sum(tally.counts.values())
        if planned and done:
            self._watch(tally.part, min(done, planned), planned)
        self._note(tally.part, done, planned or None)

    def _note(self, part: str, done: int, total: int | None) -> None:
        now = self._clock.monotonic()
        with self._lock:
            since, begun, first = self._begun.setdefault(part, (self._clock.now().isoformat(), now, done))
            if now - self._written < self.EVERY:
                return
            self._written = now
        rate = (done - first) / (now - begun) if now > begun else 0.0
        found = {"part": part, "done": done, "total": total, "since": since, "rate": round(rate, 3)}
        found["at"] = self._clock.now().isoformat()
        try:
            note_progress(self._state, self._run, {"holder": holder(), "progress": found})
        except StateError:  # what is only to be looked at ends no run; the run's own next write says what is wrong
            return
