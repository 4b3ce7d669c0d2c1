"""The state database. Reads and writes one SQLite file and the lock files beside it; looks at no clock.

Every method is one transaction and may be called from any thread. What goes wrong with the database is a StateError.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sqlalchemy import (
    URL,
    Connection,
    Engine,
    Select,
    and_,
    create_engine,
    delete,
    event,
    func,
    insert,
    or_,
    select,
    update,
)

from daemon.errors import AlreadyRunning, StateError
from daemon.state import schema
from daemon.state.claims import Claims, Held, give_to_owner
from daemon.state.faults import told
from daemon.state.records import FINISHED, INTERRUPTED, RUNNING, Run, SlotMark
from daemon.state.schema import memory, runs, sites, slots

BUSY_TIMEOUT = 30.0
"""Seconds to wait while another process writes."""


class State:
    """What the daemon remembers. Made by `State.open`; closed by `close` or at the end of a `with` block."""

    def __init__(self, engine: Engine, path: Path) -> None:
        self._engine = engine
        self._path = path
        self._claims = _claims(path)

    @classmethod
    def open(cls, path: Path) -> Self:
        """The state in the file `path`, made where it is not there, and led to the present schema.

        Missing directories are made for the owner alone, and so is the file. Raises StateError.
        """
        path = path.absolute()
        with told(path):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            fresh = not path.exists()
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            if fresh:
                give_to_owner(path)
            engine = _sqlite(path)
        with told(path), _claims(path).opening():
            try:
                with _writing(engine) as connection:
                    schema.bring_up(connection, where=f"the state database {path}")
                # Only now, so that a database that is not ours stays as it is. A file remains in WAL mode once set.
                with engine.connect().execution_options(begin="") as connection:
                    connection.exec_driver_sql("PRAGMA journal_mode=WAL")
            except BaseException:
                engine.dispose()
                raise
        return cls(engine, path)

    def close(self) -> None:
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that reads. Raises StateError."""
        with told(self._path), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that may write, on the disk at its end. Raises StateError."""
        with told(self._path), _writing(self._engine) as connection:
            yield connection

    # --- claims ------------------------------------------------------------------------------------------------------

    @contextmanager
    def claim(self, job: str) -> Iterator[Callable[[], None]]:
        """Be the only one to run `job`, over all threads and processes that use this state, within the block.

        Yields a function that raises StateError where the claim was lost, since somebody removed its file. Raises
        AlreadyRunning where somebody else runs the job. Ends with the process, however that ends.
        """
        with ExitStack() as held:
            try:
                with told(self._path):
                    verify = held.enter_context(self._claims.hold(job))
            except Held as other:
                raise AlreadyRunning(self._who_runs(job, other.pid)) from None

            def still_held() -> None:
                with told(self._path):
                    verify()

            yield still_held

    def _who_runs(self, job: str, pid: int) -> str:
        running = [run for run in self.runs(job, limit=5) if run.status == RUNNING]
        since = f" since {running[0].started:%Y-%m-%d %H:%M:%S} UTC" if running else ""
        return f"{job} is running{since}{f' in process {pid}' if pid else ''}"

    # --- runs --------------------------------------------------------------------------------------------------------

    def begin_run(self, run: Run) -> None:
        """Write `run` down as running; to be done before any of its work."""
        values = {column.name: getattr(run, column.name) for column in runs.columns}
        with self.writing() as connection:
            connection.execute(insert(runs).values(values | {"status": RUNNING, "ended": None}))

    def end_run(
        self, run_id: str, status: str, ended: datetime, report: dict[str, Any], settles: SlotMark | None = None
    ) -> None:
        """Write down how a run ended and, in one, that it has dealt with a slot.

        Raises StateError for an unknown run, ValueError for an unknown status.
        """
        if status not in FINISHED:
            raise ValueError(f"a run ends as one of {FINISHED}, not as {status!r}")
        with self.writing() as connection:
            change = update(runs).where(runs.c.id == run_id).values(status=status, ended=ended, report=report)
            if not connection.execute(change).rowcount:
                what = f"the state database {self._path} does not know run {run_id}: it was replaced while that went on"
                raise StateError(what)
            if settles:
                _settle(connection, settles, same_schedule=True)

    def forget_run(self, run_id: str) -> None:
        """Forget one run."""
        with self.writing() as connection:
            connection.execute(delete(runs).where(runs.c.id == run_id))

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
                dead += self._interrupt(job, now)
        return dead

    def _interrupt(self, job: str, now: datetime) -> list[Run]:
        """With the claim in our hands nobody runs `job`, and none can begin."""
        try:
            with self.claim(job):
                dead = self._found(_unfinished().where(runs.c.job == job))
                with self.writing() as connection:
                    change = update(runs).where(runs.c.id.in_([run.id for run in dead]))
                    connection.execute(change.values(status=INTERRUPTED, ended=now))
                return [replace(run, status=INTERRUPTED, ended=now) for run in dead]
        except AlreadyRunning:
            return []

    def prune_runs(self, before: datetime, keep_per_job: int) -> int:
        """Forget runs that started before `before`, and return how many.

        What is running stays, and so do the newest `keep_per_job` of each job, counting dry runs apart.
        """
        ranked = _ranked().subquery()
        kept = select(ranked.c.id).where(ranked.c.place <= keep_per_job)
        with self.writing() as connection:
            old = and_(runs.c.started < before, runs.c.status != RUNNING, runs.c.id.not_in(kept))
            return connection.execute(delete(runs).where(old)).rowcount

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
        with self.writing() as connection:
            for mark in marks:
                _settle(connection, mark)

    def settle_slot(self, job: str, slot: datetime, schedule_text: str) -> None:
        """Write down that the slots of `job` up to `slot` have been dealt with. Under one schedule it never moves back.

        Under another text it starts anew, wherever the old one was: give the present moment then, so that an edit does
        not miss years of slots.
        """
        with self.writing() as connection:
            _settle(connection, SlotMark(job, slot, schedule_text))

    def reset_slot(self, job: str) -> None:
        """Forget how far the schedule of `job` has been dealt with."""
        with self.writing() as connection:
            connection.execute(delete(slots).where(slots.c.job == job))

    # --- memory ------------------------------------------------------------------------------------------------------

    def recall(self, job: str, key: str) -> Any:
        """What `job` remembered under `key`, or None."""
        query = select(memory.c.value).where(memory.c.job == job, memory.c.key == key)
        with self.reading() as connection:
            return connection.scalar(query)

    def remember(self, job: str, key: str, value: Any) -> None:
        """Keep a JSON value for `job` under `key`, in place of what was there."""
        with self.writing() as connection:
            change = update(memory).where(memory.c.job == job, memory.c.key == key)
            if not connection.execute(change.values(value=value)).rowcount:
                connection.execute(insert(memory).values(job=job, key=key, value=value))

    def forget(self, job: str, key: str) -> None:
        with self.writing() as connection:
            connection.execute(delete(memory).where(memory.c.job == job, memory.c.key == key))

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
        with self.writing() as connection:
            return connection.execute(delete(memory).where(keys)).rowcount

    def remember_all(self, job: str, changes: Mapping[str, Any]) -> None:
        """Keep these values under their keys, and forget those that are None: all of it or, after a crash, nothing."""
        kept = [{"job": job, "key": key, "value": value} for key, value in changes.items() if value is not None]
        with self.writing() as connection:
            connection.execute(delete(memory).where(memory.c.job == job, memory.c.key.in_(list(changes))))
            if kept:
                connection.execute(insert(memory), kept)

    # --- sites -------------------------------------------------------------------------------------------------------

    def site_facts(self, url: str) -> dict[str, Any] | None:
        """What was last known of the site, such as its version and time zone, or None."""
        with self.reading() as connection:
            facts: dict[str, Any] | None = connection.scalar(select(sites.c.facts).where(sites.c.url == url))
        return facts

    def remember_site(self, url: str, facts: dict[str, Any]) -> None:
        with self.writing() as connection:
            if not connection.execute(update(sites).where(sites.c.url == url).values(facts=facts)).rowcount:
                connection.execute(insert(sites).values(url=url, facts=facts))


def _settle(connection: Connection, mark: SlotMark, *, same_schedule: bool = False) -> None:
    """`same_schedule`: leave the mark of another schedule alone. A run may end after its schedule was edited."""
    change = update(slots).where(slots.c.job == mark.job).values(slot=mark.slot, schedule_text=mark.schedule_text)
    other = slots.c.schedule_text != mark.schedule_text
    ahead = and_(slots.c.slot < mark.slot, ~other) if same_schedule else or_(slots.c.slot < mark.slot, other)
    if connection.scalar(select(slots.c.job).where(slots.c.job == mark.job)):
        connection.execute(change.where(ahead))
    else:
        connection.execute(insert(slots).values(job=mark.job, slot=mark.slot, schedule_text=mark.schedule_text))


def _unfinished() -> Select[Any]:
    return select(runs).where(runs.c.status == RUNNING)


def _ranked() -> Select[Any]:
    """Every run's id and its `place` among its job's: 1 is the newest. Dry runs are counted apart."""
    newest = func.row_number().over(
        partition_by=(runs.c.job, runs.c.dry_run), order_by=(runs.c.started.desc(), runs.c.id.desc())
    )
    return select(runs.c.id, newest.label("place"))


def _claims(path: Path) -> Claims:
    return Claims(path.with_name(path.name + ".locks"))


def _sqlite(path: Path) -> Engine:
    """An engine for the file. The pool has no upper bound: each thread of a job holds a connection only briefly."""
    engine = create_engine(
        URL.create("sqlite", database=str(path)), connect_args={"timeout": BUSY_TIMEOUT}, max_overflow=-1
    )
    event.listen(engine, "connect", _on_connect)
    event.listen(engine, "begin", _on_begin)
    return engine


def _on_connect(connection: Any, record: Any) -> None:  # noqa: ARG001
    """Let us begin transactions ourselves (sqlite3 would do it late, and not for reads), and lose none that ended."""
    connection.isolation_level = None
    connection.execute("PRAGMA synchronous=FULL")


def _on_begin(connection: Connection) -> None:
    begin = connection.get_execution_options().get("begin", "BEGIN")
    if begin:
        connection.exec_driver_sql(begin)


@contextmanager
def _writing(engine: Engine) -> Iterator[Connection]:
    """A transaction that may write from its first statement: one that began by reading could not wait for another."""
    with engine.connect().execution_options(begin="BEGIN IMMEDIATE") as connection, connection.begin():
        yield connection
