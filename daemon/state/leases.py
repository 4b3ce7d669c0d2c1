"""One run of a job at a time, over any number of machines: leases in a table of PostgreSQL. Runs one thread.

A lease ends by the clock of the database, unless its holder renews it; then another may take it, and gets a token that
nobody had before. Whoever writes shows the token in the same transaction, which keeps the lease from being taken until
that ends: what a holder writes that was frozen, cut off or thought dead is refused. By a clock of its own it knows
too when the lease may have ended, and then begins nothing new.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import UTC, datetime, timedelta

from sqlalchemy import ColumnElement, Connection, Engine, and_, delete, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from daemon.errors import StateError, StateUnavailable
from daemon.state.database import Held
from daemon.state.records import Holder, Terms
from daemon.state.schema import leases

NOW = func.clock_timestamp()
"""The time itself, and not that of the transaction's start."""


class Lease:
    """daemon.state.database.Hold, as a row of the table."""

    def __init__(self, name: str, seconds: Callable[[], float]) -> None:
        self.name = name
        self.token, self.until, self.taken, self.trouble = 0, 0.0, False, ""
        self._seconds = seconds

    @property
    def ours(self) -> ColumnElement[bool]:
        return and_(leases.c.name == self.name, leases.c.token == self.token)

    def verify(self) -> None:
        if self.taken:
            raise self._lost("another daemon has it")
        if self._seconds() >= self.until:
            raise self._lost(self.trouble or "this process stood still, so that it was not renewed in time")

    def fence(self, connection: Connection) -> None:
        if connection.scalar(select(leases.c.token).where(self.ours).with_for_update(read=True)) is None:
            self.taken = True
            self.verify()

    def _lost(self, why: str) -> StateUnavailable:
        what = f"the lease on {self.name} was lost: {why}"
        return StateUnavailable(what, action="Nothing: whoever has the lease goes on from here, or the next try.")


class Leases:
    """Those that this process holds. `seconds`: a clock that no sleep of the machine stops."""

    def __init__(
        self,
        engine: Engine,
        told: Callable[[], AbstractContextManager[None]],
        seconds: Callable[[], float],
        terms: Terms,
        started: datetime,
    ) -> None:
        self._engine, self._told, self._seconds, self._terms = engine, told, seconds, terms
        self._host, self._pid, self._started = os.uname().nodename, os.getpid(), started
        self._length = timedelta(seconds=terms.lease)
        self._held: dict[str, Lease] = {}
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._renewer: threading.Thread | None = None

    @contextmanager
    def hold(self, name: str) -> Iterator[Lease]:
        """The lease on `name` within the block. Raises Held at once where somebody has it, and StateError."""
        lease = self._take(name)
        try:
            yield lease
        finally:
            self._give_back(lease)

    def holders(self) -> list[Holder]:
        columns = (leases.c.name, leases.c.host, leases.c.pid, leases.c.since)
        query = select(*columns).where(leases.c.expires > NOW).order_by(leases.c.name)
        with self._told(), self._connected() as connection:
            return [Holder(row.name, row.host, row.pid, row.since.astimezone(UTC)) for row in connection.execute(query)]

    def close(self) -> None:
        self._closing.set()

    def _take(self, name: str) -> Lease:
        lease = Lease(name, self._seconds)
        with self._lock:
            if self._held.setdefault(name, lease) is not lease:
                raise Held(Holder(name, self._host, self._pid, self._started))
        try:
            self._ask_for(lease)
        except BaseException:
            with self._lock:
                del self._held[name]
            raise
        self._keep_renewing()
        return lease

    def _ask_for(self, lease: Lease) -> None:
        """In one statement, and so by one only. Raises Held."""
        asked = self._seconds()
        me = {"host": self._host, "pid": self._pid, "started": self._started}
        wanted = insert(leases).values(name=lease.name, since=NOW, expires=NOW + self._length, **me)
        # Ours, though we do not hold it: the database was away when it was to be given back.
        left_over = and_(*(leases.c[name] == value for name, value in me.items()))
        wanted = wanted.on_conflict_do_update(
            index_elements=[leases.c.name],
            set_={column.name: wanted.excluded[column.name] for column in leases.c if column.name != "name"},
            where=or_(leases.c.expires <= NOW, left_over),
        )
        with self._told(), self._connected() as connection:
            token = connection.scalar(wanted.returning(leases.c.token))
        if token is None:
            raise Held(self._holder_of(lease.name))
        lease.token, lease.until = token, asked + self._terms.lease

    def _holder_of(self, name: str) -> Holder:
        """Whoever has it; nobody in particular where it was given back this moment."""
        found = [holder for holder in self.holders() if holder.name == name]
        return found[0] if found else Holder(name, "another machine", 0, self._started)

    def _keep_renewing(self) -> None:
        with self._lock:
            if self._renewer is None:
                self._renewer = threading.Thread(target=self._renew_all, name="leases", daemon=True)
                self._renewer.start()

    def _renew_all(self) -> None:
        """Each by itself, so that none waits for another's writer; until none is held."""
        wait = self._terms.renew
        while not self._closing.wait(wait):
            with self._lock:
                held = [lease for lease in self._held.values() if lease.token]
                if not self._held:
                    self._renewer = None
                    return
            failed = [lease for lease in held if not self._renew(lease)]
            wait = self._terms.renew / 5 if failed else self._terms.renew

    def _renew(self, lease: Lease) -> bool:
        """False where it shall be tried again soon."""
        asked = self._seconds()
        try:
            with self._told(), self._connected() as connection:
                change = update(leases).where(lease.ours).values(expires=NOW + self._length)
                if connection.execute(change).rowcount:
                    lease.until, lease.trouble = asked + self._terms.lease, ""
                else:
                    lease.taken = True
        except StateError as error:
            lease.trouble = f"it could not be renewed, since {error}"
            return False
        return True

    def _give_back(self, lease: Lease) -> None:
        """As far as the database can be reached; else the lease ends by itself."""
        try:
            if not lease.trouble and not lease.taken:
                with suppress(StateError), self._told(), self._connected() as connection:
                    connection.execute(delete(leases).where(lease.ours))
        finally:
            with self._lock:
                del self._held[lease.name]

    def _connected(self) -> Connection:
        """Each statement is a transaction of its own."""
        return self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
