"""Faults on demand: what a network, a proxy, a database and an out-of-memory killer do to requests."""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Literal

Kind = Literal[
    "latency", "status", "deadlock", "cut", "lose_reply", "kill",
    "html", "error_200", "expire", "repeat_page", "endless", "malformed", "drift",
]  # fmt: skip


@dataclass(slots=True)
class Fault:
    """One fault: for the next `times` matching requests, or for a share `chance` of all of them.

    `latency` waits `seconds` first; `status` answers `code` (with HTML or JSON, and Retry-After) instead of working;
    `deadlock` answers 500 as InnoDB's victim does; `cut` closes the connection before the request is worked on,
    `lose_reply` after its effects are committed; `kill` ends the process as SIGKILL does, after the commit.

    The lies are for the orders API alone: `html` answers 200 with a page and `error_200` with an error in JSON, neither
    worked on; `expire` ends the token that the request carries. Of lists: `repeat_page` gives the page before the one
    that was asked for; `endless` one more page each time, the last one again or, by `form` "new", of records that are
    not there; `malformed` a first record that is spoilt as `form` says ("no id", "id", "stamp", "no object"); `drift`
    has somebody edit the oldest record just before, so that it moves to the end.
    """

    kind: Kind
    method: str = "*"
    path: str = "*"
    """A pattern as of fnmatch, with names as they are in the address."""
    times: int | None = None
    chance: float | None = None
    seconds: float = 0.0
    code: int = 503
    retry_after: float | None = None
    html: bool = True
    form: str = ""
    """Which of several forms that a kind has."""
    after: int = 0
    """Matching requests that pass before the first that is hit."""

    def matches(self, method: str, path: str) -> bool:
        return fnmatchcase(method, self.method) and fnmatchcase(path, self.path)


@dataclass(slots=True)
class Faults:
    """The faults of one sandbox."""

    rng: random.Random = field(default_factory=lambda: random.Random(7))
    _active: list[Fault] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, fault: Fault) -> None:
        with self._lock:
            self._active.append(fault)

    def clear(self) -> None:
        with self._lock:
            self._active.clear()

    def hit(self, method: str, path: str) -> list[Fault]:
        """The faults that this request meets; each is used up by one."""
        if not self._active:
            return []
        with self._lock:
            return [fault for fault in self._active if fault.matches(method, path) and self._fires(fault)]

    def _fires(self, fault: Fault) -> bool:
        if fault.after > 0:
            fault.after -= 1
            return False
        if fault.times is not None:
            fault.times -= 1
            return fault.times >= 0
        return fault.chance is None or self.rng.random() < fault.chance
