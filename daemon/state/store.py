"""The state: what every part of the daemon remembers, in a database of SQLite or PostgreSQL. Looks at no clock.

Every method is one transaction and may be called from any thread. What goes wrong with the database is a StateError.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from sqlalchemy import Connection, Select, Table, and_, delete, func, insert, or_, select, update

from daemon.errors import AlreadyRunning, StateError, StateInUse
from daemon.state.database import Database, Held, Hold
from daemon.state.faults import Collided
from daemon.state.records import FINISHED, INTERRUPTED, RUNNING, Holder, Run, Server, SlotMark
from daemon.state.schema import memory, runs, sites, slots

Answer = TypeVar("Answer")

COLLISIONS = 5
"""So often in a row a write may be undone since others wrote at the same time."""


class State:
    """What the daemon remembers. Made by `State.open`; closed by `close` or at the end of a `with` block."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @classmethod
    def open(cls, place: Path | Server) -> Self:
        """The state in an SQLite file, made where it is not there, or in a database of PostgreSQL; led to the present
        schema. Raises StateError, and ConfigError where what PostgreSQL needs is not installed."""
        if isinstance(place, Server):
            from daemon.state.postgresql import PostgreSQL

            return cls(PostgreSQL(place))
        from daemon.state.sqlite import SQLite

        return cls(SQLite(place))

    def close(self) -> None:
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """For one query. Raises StateError."""
        with self._database.told(), self._database.reading() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that may write, on the disk at its end. Raises StateError."""
        with self._database.told(), self._database.writing() as connection:
            self._fence(connection)
            yield connection

    def write(self, work: Callable[[Connection], Answer]) -> Answer:
        """`work` in a transaction, on the disk when this returns; anew where the database undid it, since others wrote
        at the same time. Raises StateError."""
        for _ in range(COLLISIONS):
            try:
                with self.writing() as connection:
                    return work(connection)
            except Collided as error:
                collided = error
        raise collided

    def _fence(self, connection: Connection) -> None:
        """Whoever claimed nothing may write."""

    # --- claims ------------------------------------------------------------------------------------------------------

    @contextmanager
    def claim(self, name: str) -> Iterator[Claimed]:
        """Be the only one to do what has this name, such as to run the job, over all threads, processes and machines
        that use this state, within the block. Raises AlreadyRunning where somebody else does.

        Yields the state for whatever shall be written by the holder alone. On SQLite a claim ends with the process,
        however that ends; on PostgreSQL a minute later.
        """
        with ExitStack() as held:
            try:
                with self._database.told():
                    hold = held.enter_context(self._database.hold(name))
            except Held as other:
                raise AlreadyRunning(f"{name} is running {other.holder}") from None
            yield held.enter_context(self._with(hold))

    @contextmanager
    def _with(self, hold: Hold) -> Iterator[Claimed]:
        yield Claimed(self._database, hold)

    def holders(self) -> dict[str, Holder]:
        """Who holds which claim now."""
        with self._database.told():
            return {holder.name: holder for holder in self._database.holders()}

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Be a service on this state within the block. Raises StateInUse where another is that wants no company."""
        with ExitStack() as held:
            try:
                with self._database.told():
                    held.enter_context(self._database.serving())
            except Held as other:
                what = f"another frappe-daemon service works with {self._database.where}, {other.holder}"
                raise StateInUse(what) from None
            yield

    # --- runs --------------------------------------------------------------------------------------------------------

    def begin_run(self, run: Run) -> None:
        """Write `run` down as running; to be done before any of its work."""
        values = {column.name: getattr(run, column.name) for column in runs.columns}
        begun = insert(runs).values(values | {"status": RUNNING, "ended": None})
        self.write(lambda connection: connection.execute(begun))

    def end_run(
        self, run_id: str, status: str, ended: datetime, report: dict[str, Any], settles: SlotMark | None = None
    ) -> None:
        """Write down how a run ended and, in one, that it has dealt with a slot.

        Raises StateError for an unknown run, ValueError for an unknown status.
        """
        if status not in FINISHED:
            raise ValueError(f"a run ends as one of {FINISHED}, not as {status!r}")
        change = update(runs).where(runs.c.id == run_id).values(status=status, ended=ended, report=report)

        def end(connection: Connection) -> None:
            if not connection.execute(change).rowcount:
                what = f"{self._database.where} does not know run {run_id}: it was replaced while that went on"
                raise StateError(what)
            if settles:
                self._settle(connection, settles, same_schedule=True)

        self.write(end)

    def forget_run(self, run_id: str) -> None:
        """Forget one run."""
        self.write(lambda connection: connection.execute(delete(runs).where(runs.c.id == run_id)))

    def runs(self, job: str | None = None, limit: int = 50) -> list[Run]:
        """The latest runs, dry ones too, the newest first."""
        query = select(runs).order_by(runs.c.started.desc(), runs.c.id.desc()).limit(limit)
        return self._found(query if job is None else query.where(runs.c.job == job))

    def runs_like(self, prefix: str, limit: int = 5) -> list[Run]:
        """Runs whose id begins with `prefix`, the newest first."""
        query = select(runs).where(runs.c.id.startswith(prefix, autoescape=True))
        return self._found(query.order_by(runs.c.started.desc(), runs.c.id.desc()).limit(limit))

    def last_run(self, job: str) -> Run | None:
        """The latest run of `job` that was no dry run and no undo, running or ended."""
        query = select(runs).where(runs.c.job == job, runs.c.dry_run.is_(False), runs.c.reason != "undo")
        found = self._found(query.order_by(runs.c.started.desc(), runs.c.id.desc()).limit(1))
        return found[0] if found else None

    def last_runs(self) -> dict[str, Run]:
        """`last_run` of every job that has one, in one query."""
        ranked = _ranked().where(runs.c.dry_run.is_(False), runs.c.reason != "undo").subquery()
        query = select(runs).join(ranked, ranked.c.id == runs.c.id).where(ranked.c.place == 1)
        return {run.job: run for run in self._found(query)}

    def interrupt_unfinished(self, now: datetime, alive: Callable[[str], bool] | None = None) -> list[Run]:
        """Call the runs interrupted that are written down as running and whose job nobody claims; return them.

        `alive`, given a job's name, says of more jobs that their runs are going on.
        """
        dead: list[Run] = []
        for job in sorted({run.job for run in self._found(_unfinished())}):
            if alive is None or not alive(job):
                with suppress(AlreadyRunning), self.claim(job) as claimed:
                    dead += claimed.interrupt(job, now)
        return dead

    def prune_runs(self, before: datetime, keep_per_job: int) -> int:
        """Forget runs that started before `before`, and return how many.

        What is running stays, and so do the newest `keep_per_job` of each job, counting dry runs apart.
        """
        ranked = _ranked().subquery()
        kept = select(ranked.c.id).where(ranked.c.place <= keep_per_job)
        old = and_(runs.c.started < before, runs.c.status != RUNNING, runs.c.id.not_in(kept))
        return self.write(lambda connection: connection.execute(delete(runs).where(old)).rowcount)

    def _found(self, query: Select[Any]) -> list[Run]:
        with self.reading() as connection:
            return [Run(**row._mapping) for row in connection.execute(query)]

    # --- slots -------------------------------------------------------------------------------------------------------

    def slot(self, job: str) -> SlotMark | None:
        """How far the schedule of `job` has been dealt with; None for a job that was never scheduled."""
        with self.reading() as connection:
            row = connection.execute(select(slots).where(slots.c.job == job)).first()
        return None if row is None else SlotMark(**row._mapping)

    def slots(self) -> dict[str, SlotMark]:
        """`slot` of every job, in one query."""
        with self.reading() as connection:
            return {row.job: SlotMark(**row._mapping) for row in connection.execute(select(slots))}

    def settle_slots(self, marks: Sequence[SlotMark]) -> None:
        """`settle_slot` for several, in one transaction."""

        def settle(connection: Connection) -> None:
            for mark in marks:
                self._settle(connection, mark)

        self.write(settle)

    def settle_slot(self, job: str, slot: datetime, schedule_text: str) -> None:
        """Write down that the slots of `job` up to `slot` have been dealt with. Under one schedule it never moves back.

        Under another text it starts anew, wherever the old one was: give the present moment then, so that an edit does
        not miss years of slots.
        """
        mark = SlotMark(job, slot, schedule_text)
        self.write(lambda connection: self._settle(connection, mark))

    def reset_slot(self, job: str) -> None:
        """Forget how far the schedule of `job` has been dealt with."""
        self.write(lambda connection: connection.execute(delete(slots).where(slots.c.job == job)))

    def _settle(self, connection: Connection, mark: SlotMark, *, same_schedule: bool = False) -> None:
        """`same_schedule`: leave the mark of another schedule alone. A run may end after its schedule was edited."""
        earlier, other = slots.c.slot < mark.slot, slots.c.schedule_text != mark.schedule_text
        ahead = and_(earlier, ~other) if same_schedule else or_(earlier, other)
        values = {"job": mark.job, "slot": mark.slot, "schedule_text": mark.schedule_text}
        self._put(connection, slots, [values], where=ahead)

    # --- memory ------------------------------------------------------------------------------------------------------

    def recall(self, job: str, key: str) -> Any:
        """What `job` remembered under `key`, or None."""
        query = select(memory.c.value).where(memory.c.job == job, memory.c.key == key)
        with self.reading() as connection:
            return connection.scalar(query)

    def remember(self, job: str, key: str, value: Any) -> None:
        """Keep a JSON value for `job` under `key`, in place of what was there."""
        values = {"job": job, "key": key, "value": value}
        self.write(lambda connection: self._put(connection, memory, [values]))

    def forget(self, job: str, key: str) -> None:
        gone = delete(memory).where(memory.c.job == job, memory.c.key == key)
        self.write(lambda connection: connection.execute(gone))

    def recall_all(self, job: str, prefix: str = "") -> dict[str, Any]:
        """All that `job` remembered under keys that begin with `prefix`, in the order of the keys."""
        beyond = prefix + chr(0x10FFFF)
        query = select(memory.c.key, memory.c.value).where(memory.c.job == job, memory.c.key.between(prefix, beyond))
        with self.reading() as connection:
            return {row.key: row.value for row in connection.execute(query.order_by(memory.c.key))}

    def recall_page(self, job: str, prefix: str, after: str, limit: int) -> dict[str, Any]:
        """The first `limit` of what `job` remembered under keys that begin with `prefix` and sort behind `after`."""
        keys = and_(memory.c.key > after, memory.c.key.between(prefix, prefix + chr(0x10FFFF)))
        query = select(memory.c.key, memory.c.value).where(memory.c.job == job, keys)
        with self.reading() as connection:
            rows = connection.execute(query.order_by(memory.c.key).limit(limit))
            return {row.key: row.value for row in rows}

    def recall_some(self, job: str, keys: Sequence[str]) -> dict[str, Any]:
        """What `job` remembered under these keys."""
        query = select(memory.c.key, memory.c.value).where(memory.c.job == job, memory.c.key.in_(list(keys)))
        with self.reading() as connection:
            return {row.key: row.value for row in connection.execute(query)}

    def forget_between(self, job: str, first: str, beyond: str) -> int:
        """Forget all that `job` remembered under keys from `first` to before `beyond`; how many it was."""
        keys = and_(memory.c.job == job, memory.c.key >= first, memory.c.key < beyond)
        return self.write(lambda connection: connection.execute(delete(memory).where(keys)).rowcount)

    def remember_all(self, job: str, changes: Mapping[str, Any]) -> None:
        """Keep these values under their keys, and forget those that are None: all of it or, after a crash, nothing."""
        # In one order, so that no two wait for each other.
        changed = sorted(changes.items())
        kept = [{"job": job, "key": key, "value": value} for key, value in changed if value is not None]
        gone = [key for key, value in changed if value is None]

        def change(connection: Connection) -> None:
            if gone:
                connection.execute(delete(memory).where(memory.c.job == job, memory.c.key.in_(gone)))
            if kept:
                self._put(connection, memory, kept)

        self.write(change)

    # --- sites -------------------------------------------------------------------------------------------------------

    def site_facts(self, url: str) -> dict[str, Any] | None:
        """What was last known of the site, such as its version and time zone, or None."""
        with self.reading() as connection:
            facts: dict[str, Any] | None = connection.scalar(select(sites.c.facts).where(sites.c.url == url))
        return facts

    def remember_site(self, url: str, facts: dict[str, Any]) -> None:
        self.write(lambda connection: self._put(connection, sites, [{"url": url, "facts": facts}]))

    def _put(self, connection: Connection, table: Table, rows: list[dict[str, Any]], where: Any = None) -> None:
        """Insert `rows`, each in the place of the one of its primary key, if any; of that only `where` it says so."""
        wanted = self._database.insert(table)
        others = {c.name: wanted.excluded[c.name] for c in table.c if not c.primary_key}
        keys = list(table.primary_key.columns)
        connection.execute(wanted.on_conflict_do_update(index_elements=keys, set_=others, where=where), rows)


class Claimed(State):
    """The state as the holder of a claim sees it: once the claim was lost it writes nothing more.

    A claim that is made through it counts with the first as long as it is held: losing either ends the writing.
    """

    def __init__(self, database: Database, hold: Hold) -> None:
        super().__init__(database)
        self._holds = [hold]

    def verify(self) -> None:
        """Raises StateError where somebody else may hold the claim now, so that nothing new should be begun."""
        with self._database.told():
            for hold in tuple(self._holds):
                hold.verify()

    def interrupt(self, job: str, now: datetime) -> list[Run]:
        """Call the runs of `job` interrupted that are written down as running, and return them: with the claim in our
        hands nobody runs it, and none can begin."""
        dead = self._found(_unfinished().where(runs.c.job == job))
        if dead:
            change = update(runs).where(runs.c.id.in_([run.id for run in dead]))
            change = change.values(status=INTERRUPTED, ended=now)
            self.write(lambda connection: connection.execute(change))
        return [replace(run, status=INTERRUPTED, ended=now) for run in dead]

    def _fence(self, connection: Connection) -> None:
        for hold in tuple(self._holds):
            hold.fence(connection)

    @contextmanager
    def _with(self, hold: Hold) -> Iterator[Claimed]:
        self._holds.append(hold)
        try:
            yield self
        finally:
            self._holds.remove(hold)


def _unfinished() -> Select[Any]:
    return select(runs).where(runs.c.status == RUNNING)


def _ranked() -> Select[Any]:
    """Every run's id and its `place` among its job's: 1 is the newest. Dry runs are counted apart."""
    newest = func.row_number().over(
        partition_by=(runs.c.job, runs.c.dry_run), order_by=(runs.c.started.desc(), runs.c.id.desc())
    )
    return select(runs.c.id, newest.label("place"))
