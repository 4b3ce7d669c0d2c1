"""A state in a database of PostgreSQL: for daemons on any number of machines. Needs the extra `postgresql`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url, select, text
from sqlalchemy.dialects.postgresql import insert

from daemon.errors import ConfigError, StateError
from daemon.state import schema
from daemon.state.faults import of_postgresql, told
from daemon.state.leases import NOW, Lease, Leases
from daemon.state.records import Holder, Server

LOCAL = ("", "localhost", "127.0.0.1", "::1")
MAKING = 0x66726170706564
"""The advisory lock of whoever makes or changes the tables: "frapped"."""


class PostgreSQL:
    """daemon.state.database.Database."""

    insert = staticmethod(insert)

    def __init__(self, server: Server) -> None:
        """The database of `server`, its tables made or led to the present schema. Raises StateError, and ConfigError
        where psycopg is missing."""
        url = make_url(server.url)
        self.where = f"the state database {url.database} on {url.query.get('host') or url.host or 'this machine'}"
        self.told = partial(told, self.where, of_postgresql)
        self.engine = _engine(server)
        try:
            with self.told(), self.writing() as connection:
                self._refuse_encoding(connection)
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MAKING})
                schema.bring_up(connection, where=self.where)
                started = connection.scalars(select(NOW)).one()
        except BaseException:
            self.engine.dispose()
            raise
        self._leases = Leases(self.engine, self.told, server.seconds, server.terms, started)

    def reading(self) -> AbstractContextManager[Connection]:
        """Each statement is a transaction of its own."""
        return self.engine.connect().execution_options(isolation_level="AUTOCOMMIT")

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        with self.engine.begin() as connection:
            yield connection

    def hold(self, name: str) -> AbstractContextManager[Lease]:
        return self._leases.hold(name)

    def holders(self) -> list[Holder]:
        return self._leases.holders()

    def serving(self) -> AbstractContextManager[object]:
        return nullcontext()

    def close(self) -> None:
        self._leases.close()
        self.engine.dispose()

    def _refuse_encoding(self, connection: Connection) -> None:
        encoding = connection.scalar(text("SHOW server_encoding"))
        if encoding != "UTF8":
            action = "Name another database in state.url; createdb --encoding=UTF8 --template=template0 makes one."
            raise StateError(
                f"{self.where} holds texts as {encoding}, which is not enough for all names", action=action
            )


def _engine(server: Server) -> Engine:
    try:
        from daemon.state.patience import Patient
    except ImportError as error:
        what = f"state.url needs psycopg, which is not there: {error}"
        raise ConfigError(what, action="pip install 'frappe-daemon[postgresql]'") from None
    terms = server.terms
    url = make_url(server.url).set(drivername="postgresql+psycopg", password=server.password or None)
    local = (url.query.get("host") or url.host or "") in LOCAL or str(url.query.get("host", "")).startswith("/")
    limits = {
        "statement_timeout": terms.answer,
        "lock_timeout": terms.answer / 2,
        # Of a process that stands still in the midst of a write, which keeps what it holds from being taken over.
        "idle_in_transaction_session_timeout": terms.answer / 3,
    }
    engine = create_engine(
        url,
        pool_pre_ping=True,
        pool_size=5,
        max_overflow=15,
        pool_timeout=terms.answer,
        connect_args={
            "connect_timeout": max(2, round(terms.answer / 3)),  # less, libpq does not take
            "options": " ".join(f"-c {name}={round(seconds * 1000)}" for name, seconds in limits.items()),
            "application_name": "frappe-daemon",
            "client_encoding": "utf8",
            "target_session_attrs": "read-write",
            # The network between two machines is not trusted; what else is meant, state.url says.
            **({} if local or "sslmode" in url.query else {"sslmode": "require"}),
        },
    )

    @event.listens_for(engine, "do_connect")
    def connect(_dialect: Any, _record: Any, arguments: Any, named: Any) -> Patient:
        made = Patient.connect(*arguments, **named)
        made.patience = terms.answer * 4 / 3
        return made

    return engine
