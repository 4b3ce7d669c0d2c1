"""What time it is and how to wait, as handed to whatever needs it. Only daemon.app has a real one."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """A view of time: the process's, or one run's."""

    def now(self) -> datetime:
        """The moment, aware, in UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds since some moment; never goes back."""
        ...

    def pause(self, seconds: float) -> None:
        """Wait, no longer than until the process is asked to stop. A run's clock raises Stopped then, and at once where
        its deadline comes sooner.
        """
        ...
