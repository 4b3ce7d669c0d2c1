"""A request whose reply may be lost, and that must not be sent again before it is over. Writes the state."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from daemon.core.kind import Run

SETTLES = timedelta(seconds=130)
"""After this long a request whose reply was lost is over: the site's server ends it at 120 s (gunicorn `-t`)."""

CLOSE = timedelta(seconds=2)
"""By how much our idea of the site's clock may be off: an HTTP date is of whole seconds."""


class Fence:
    """Of one part of a run that is being undone; what it remembers outlives a kill."""

    def __init__(self, run: Run, undone: str, of: str) -> None:
        self._run, self._journal, self._key = run, run.journal("undo requests"), f"{undone}/{of}"[:400]

    @property
    def is_up(self) -> bool:
        """A request's fate is open."""
        return bool(self._journal.pick([self._key]))

    def raise_(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Before a request is sent; what is remembered. Of both clocks, since a run on another machine may read it."""
        now, site = self._run.now(), self._run.site
        sent = {"sent": now.isoformat(timespec="seconds"), "at": site.text(now + site.ahead - CLOSE)}
        self._journal.write({self._key: {**facts, **sent}})
        return {**facts, **sent}

    def lower(self) -> None:
        """What became of it is known."""
        self._journal.write({self._key: None})

    def left(self) -> dict[str, Any]:
        """What is known of a request whose fate is open, once it must be over; {} where there is none."""
        facts: dict[str, Any] = self._journal.pick([self._key]).get(self._key) or {}
        if facts:
            over = datetime.fromisoformat(facts["sent"]) + SETTLES
            while (rest := (over - self._run.now()).total_seconds()) > 0:
                self._run.pause(min(10.0, rest))
        return facts
