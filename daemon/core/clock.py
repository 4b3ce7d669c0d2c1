"""What time it is and how to wait, as handed to whatever needs it. Only daemon.app has a real one."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """One run's view of time."""

    def now(self) -> datetime:
        """The moment, aware, in UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds since some moment; never goes back."""
        ...

    def pause(self, seconds: float) -> None:
        """Wait. Raises Stopped as soon as the run is asked to stop, or at once where its deadline comes sooner."""
        ...
