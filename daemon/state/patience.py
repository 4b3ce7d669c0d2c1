"""A connection to PostgreSQL that gives up a server, or a way there, of which no word comes.

The server's own time-outs end what takes too long there, but no time-out of it reaches us over a way that swallows
everything, and TCP's keepalives are answered by whatever stands between. Imported where PostgreSQL is wanted.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from psycopg import Connection, OperationalError

TICK = 0.1
"""Seconds after which psycopg tells that nothing has come (psycopg/waiting.py:wait)."""


class Patient(Connection[Any]):
    """Waits for `patience` seconds of silence at the most."""

    patience = 40.0

    def wait(self, gen: Any, *args: Any, **more: Any) -> Any:
        """As psycopg/connection.py:Connection.wait, for whatever the connection is asked to do."""
        try:
            return super().wait(_impatient(gen, round(self.patience / TICK)), *args, **more)
        except _Silence:
            self.pgconn.finish()
            raise OperationalError(f"no word came from the server for {self.patience:g} seconds") from None


class _Silence(Exception):
    pass


def _impatient(gen: Generator[Any, Any, Any], ticks: int) -> Generator[Any, Any, Any]:
    """`gen`, until it was told for the `ticks`-th time in a row that nothing has come."""
    silent = 0
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            silent = 0 if ready else silent + 1
            if silent >= ticks:
                raise _Silence
            wanted = gen.send(ready)
    except StopIteration as end:
        return end.value
