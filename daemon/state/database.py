"""What the state asks of a database: SQLite and PostgreSQL have it in common, or each in a way of its own."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol

from sqlalchemy import Connection, Engine

from daemon.state.records import Holder


class Held(Exception):
    """Somebody else has it."""

    def __init__(self, holder: Holder) -> None:
        super().__init__(holder)
        self.holder = holder


class Hold(Protocol):
    """What makes us the only one under a name."""

    def verify(self) -> None:
        """Raises StateError, or what the database's `told` makes one of, where it was lost, as far as is known without
        asking."""
        ...

    def fence(self, connection: Connection) -> None:
        """The same, and certain; it cannot be lost then before the transaction of `connection` ends."""
        ...


class Database(Protocol):
    """One state's database."""

    engine: Engine
    where: str
    """Its name in errors."""

    @property
    def insert(self) -> Callable[..., Any]:
        """The dialect's INSERT, which knows what to do ON CONFLICT."""
        ...

    def told(self) -> AbstractContextManager[None]:
        """Turns what goes wrong within the block into StateErrors."""
        ...

    def reading(self) -> AbstractContextManager[Connection]: ...
    def writing(self) -> AbstractContextManager[Connection]:
        """A transaction that may write, on the disk at its end."""
        ...

    def hold(self, name: str) -> AbstractContextManager[Hold]:
        """Be the only one under `name`. Raises Held at once."""
        ...

    def holders(self) -> list[Holder]:
        """Who holds what."""
        ...

    def serving(self) -> AbstractContextManager[object]:
        """Be one of the services that it serves. Raises Held where that is one alone."""
        ...

    def close(self) -> None: ...
