"""A state in an SQLite file, with lock files beside it: for the processes of one machine, one service among them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.dialects.sqlite import insert

from daemon.state import schema
from daemon.state.claims import Claims, Lock, give_to_owner
from daemon.state.faults import of_sqlite, told
from daemon.state.records import Holder

BUSY_TIMEOUT = 30.0
"""Seconds to wait while another process writes."""
SERVICE = "(service)"
"""What the one service holds; no job has such a name."""


class SQLite:
    """daemon.state.database.Database."""

    insert = staticmethod(insert)

    def __init__(self, path: Path) -> None:
        """The file `path`, made where it is not there, and led to the present schema.

        Missing directories are made for the owner alone, and so is the file. Raises StateError.
        """
        path = path.absolute()
        self.where = f"the state database {path}"
        self.told = partial(told, self.where, of_sqlite)
        self._claims = Claims(path.with_name(path.name + ".locks"))
        with self.told():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            fresh = not path.exists()
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            if fresh:
                give_to_owner(path)
            self.engine = _engine(path)
        with self.told(), self._claims.opening():
            try:
                with self.writing() as connection:
                    schema.bring_up(connection, where=self.where)
                # Only now, so that a database that is not ours stays as it is. A file remains in WAL mode once set.
                with self.engine.connect().execution_options(begin="") as connection:
                    connection.exec_driver_sql("PRAGMA journal_mode=WAL")
            except BaseException:
                self.engine.dispose()
                raise

    def reading(self) -> AbstractContextManager[Connection]:
        return self.engine.connect()

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """It may write from its first statement: one that began by reading could not wait for another."""
        with self.engine.connect().execution_options(begin="BEGIN IMMEDIATE") as connection, connection.begin():
            yield connection

    def hold(self, name: str) -> AbstractContextManager[Lock]:
        return self._claims.hold(name)

    def holders(self) -> list[Holder]:
        return list(self._claims.holders())

    def serving(self) -> AbstractContextManager[object]:
        return self._claims.hold(SERVICE)

    def close(self) -> None:
        self.engine.dispose()


def _engine(path: Path) -> Engine:
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
