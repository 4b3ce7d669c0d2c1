"""The pairs of a sync, kept in the state: one row for each, found by either side. Writes the state."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Connection, Select, and_, delete, func, insert, or_, select, update

from daemon.core.links import OPEN, OWED, PULL, PUSH, Link, Status
from daemon.state.schema import links
from daemon.state.store import State

if TYPE_CHECKING:
    from daemon.core.agreed import Base

PAGE = 200
"""Links that are in memory at once."""
_COLUMNS = [column for column in links.c if column.name != "sync"]


class Links:
    """daemon.core.links.LinksPort for the sync of this name."""

    def __init__(self, state: State, sync: str) -> None:
        self._state, self._sync = state, sync

    def save(self, pairs: Iterable[Link]) -> None:
        pairs = list(pairs)
        for pair, number in zip(pairs, self._state.write(partial(self._save, pairs)), strict=True):
            pair.id = number

    def _save(self, pairs: Sequence[Link], connection: Connection) -> list[int]:
        """Their ids; the pairs stay as they are, since it may have to be done once more."""
        numbers = []
        for pair in pairs:
            values = asdict(pair)
            number = values.pop("id")
            if number:
                connection.execute(update(links).where(links.c.id == number).values(values))
            else:
                made = connection.execute(insert(links).values(sync=self._sync, **values))
                number = made.inserted_primary_key[0]  # type: ignore[index]
            numbers.append(number)
        return numbers

    def drop(self, pair: Link) -> None:
        self._state.write(lambda connection: connection.execute(delete(links).where(links.c.id == pair.id)))

    def of_names(self, names: Sequence[str]) -> dict[str, Link]:
        return {str(pair.name): pair for pair in self._found(links.c.name.in_(names))} if names else {}

    def of_remotes(self, ids: Sequence[str]) -> dict[str, Link]:
        return {str(pair.remote): pair for pair in self._found(links.c.remote.in_(ids))} if ids else {}

    def find(self, text: str) -> list[Link]:
        return self._found(or_(links.c.name == text, links.c.remote == text))

    def waiting(self, todo: int, now: datetime) -> Iterator[list[Link]]:
        return self._pages(_waiting(todo, now))

    def count_waiting(self, todo: int, now: datetime) -> int:
        return self._count(_waiting(todo, now))

    def count_changed(self) -> int:
        news = [
            and_(links.c.todo.bitwise_and(way) != 0, links.c.todo.bitwise_and(way << OWED) == 0) for way in (PULL, PUSH)
        ]
        return self._count(and_(links.c.status == Status.LINKED, or_(*news)))

    def count_known(self, side: str) -> int:
        return self._count(
            and_(links.c[f"seen_{side}"] != "", links.c.status.not_in([Status.NEW, Status.CREATING, Status.ENDED]))
        )

    def in_status(self, *statuses: str) -> Iterator[list[Link]]:
        return self._pages(links.c.status.in_(statuses))

    def counts(self) -> dict[str, int]:
        query = select(links.c.status, func.count()).where(links.c.sync == self._sync).group_by(links.c.status)
        with self._state.reading() as connection:
            return {row[0]: row[1] for row in connection.execute(query)}

    def mark(self, pairs: Sequence[Link], side: str, mark: str) -> None:
        if pairs:
            change = update(links).where(links.c.id.in_([pair.id for pair in pairs])).values({f"seen_{side}": mark})
            self._state.write(lambda connection: connection.execute(change))

    def unseen(self, side: str, mark: str) -> Iterator[list[Link]]:
        return self._pages(and_(links.c.status == Status.LINKED, links.c[f"seen_{side}"] != mark))

    def want(self, todo: int, statuses: Sequence[str], agreed: Callable[[Base | None], Base | None]) -> None:
        for page in self.in_status(*statuses):
            for pair in page:
                pair.todo, pair.base, pair.etag = pair.todo | todo, agreed(pair.base), ""
            self.save(page)

    @contextmanager
    def scratch(self) -> Iterator[Links]:
        """A copy in a database of its own, for a dry run to scribble upon; gone at the end."""
        with TemporaryDirectory(prefix="frappe-daemon-") as folder, State.open(Path(folder, "dry-run.db")) as state:
            copy = Links(state, self._sync)
            for page in self._pages(links.c.id > 0):
                rows = [{**asdict(pair), "sync": self._sync} for pair in page]
                with state.writing() as connection:
                    connection.execute(insert(links), rows)
            yield copy

    def _found(self, where: ColumnElement[bool]) -> list[Link]:
        return self._read(select(*_COLUMNS).where(links.c.sync == self._sync, where))

    def _pages(self, where: ColumnElement[bool]) -> Iterator[list[Link]]:
        """In the order of their ids; a link that changes meanwhile is met once at the most."""
        after = 0
        query = select(*_COLUMNS).where(links.c.sync == self._sync, where).order_by(links.c.id).limit(PAGE)
        while page := self._read(query.where(links.c.id > after)):
            yield page
            after = page[-1].id

    def _read(self, query: Select[Any]) -> list[Link]:
        with self._state.reading() as connection:
            return [Link(**row._mapping) for row in connection.execute(query)]

    def _count(self, where: ColumnElement[bool]) -> int:
        query = select(func.count()).select_from(links).where(links.c.sync == self._sync, where)
        with self._state.reading() as connection:
            return int(connection.scalar(query) or 0)


def _waiting(todo: int, now: datetime) -> ColumnElement[bool]:
    asked = and_(
        links.c.todo.bitwise_and(todo | todo << OWED) != 0, links.c.status.in_([*OPEN, Status.CONFLICT, Status.HELD])
    )
    return or_(and_(asked, links.c.status != Status.FAILED), and_(links.c.status == Status.FAILED, links.c.due <= now))
