"""The tables, their version, and how an older version becomes the present one.

Portable SQL: moments are ISO texts in UTC of one width, so that their order is that of time in every database; what is
nested is JSON text. Texts are compared by their code points everywhere, and their lengths are a hint: PostgreSQL, which
would hold us to them, is given none. A change of the tables raises `VERSION` and adds one step to `STEPS`; a step that
was released is never edited again, and names what it changes in full instead of using the tables below, which belong to
`VERSION`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    DateTime,
    Index,
    Integer,
    MetaData,
    Sequence,
    String,
    Table,
    Text,
    TypeDecorator,
    insert,
    inspect,
    select,
    update,
)
from sqlalchemy.engine import Dialect

from daemon import __version__
from daemon.errors import StateError

VERSION = 3

Step = Callable[[Connection], None]


def _with_links(connection: Connection) -> None:
    connection.exec_driver_sql(
        "CREATE TABLE links (id INTEGER NOT NULL PRIMARY KEY, sync VARCHAR(200) NOT NULL, name VARCHAR(400), "
        "creation VARCHAR(32) NOT NULL, remote VARCHAR(400), status VARCHAR(20) NOT NULL, todo INTEGER NOT NULL, "
        "base TEXT, stamp VARCHAR(32) NOT NULL, remote_stamp VARCHAR(40) NOT NULL, etag VARCHAR(400) NOT NULL, "
        "record TEXT, key VARCHAR(64) NOT NULL, asked VARCHAR(32), tries INTEGER NOT NULL, due VARCHAR(32), "
        "why TEXT NOT NULL, run VARCHAR(64) NOT NULL, detail TEXT NOT NULL, seen_site VARCHAR(64) NOT NULL, "
        "seen_remote VARCHAR(64) NOT NULL)"
    )
    connection.exec_driver_sql("CREATE UNIQUE INDEX links_by_name ON links (sync, name)")
    connection.exec_driver_sql("CREATE UNIQUE INDEX links_by_remote ON links (sync, remote)")
    connection.exec_driver_sql("CREATE INDEX links_by_status ON links (sync, status, todo)")


def _with_leases(connection: Connection) -> None:
    connection.exec_driver_sql(
        "CREATE TABLE leases (name VARCHAR(400) NOT NULL PRIMARY KEY, host VARCHAR(255) NOT NULL, "
        "pid INTEGER NOT NULL, started DATETIME NOT NULL, token BIGINT NOT NULL, since DATETIME NOT NULL, "
        "expires DATETIME NOT NULL)"
    )


STEPS: Mapping[int, Step] = {1: _with_links, 2: _with_leases}
"""From version n, the key, to n + 1."""


class _AnyText(TypeDecorator[str]):
    """A text on PostgreSQL, which knows no character 0: that is written as two others, in which nothing else begins."""

    impl = Text(collation="C")
    cache_ok = True
    MARK = "\ufdd0"
    """A noncharacter (Unicode, section 23.7): no text that is meant for others has it."""

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        if value and ("\0" in value or self.MARK in value):
            return value.replace(self.MARK, f"{self.MARK}1").replace("\0", f"{self.MARK}0")
        return value

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        if value and self.MARK in value:
            return value.replace(f"{self.MARK}0", "\0").replace(f"{self.MARK}1", self.MARK)
        return value


def _text(length: int = 0) -> Any:
    return (String(length) if length else Text()).with_variant(_AnyText(), "postgresql")


class Moment(TypeDecorator[datetime]):
    """An aware datetime as `2026-01-05T08:00:00.000000+00:00`."""

    impl = String(32).with_variant(Text(collation="C"), "postgresql")
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        if value is None:
            return None
        if value.tzinfo is None:
            raise TypeError(f"{value!r} has no time zone")
        return value.astimezone(UTC).isoformat(timespec="microseconds")

    def process_result_value(self, value: str | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        return None if value is None else datetime.fromisoformat(value)


class Json(TypeDecorator[Any]):
    """A value as JSON text. What JSON has no form for, such as a date, is kept as its `str`."""

    impl = Text
    cache_ok = True

    def __init__(self, *, none_as_null: bool = False) -> None:
        super().__init__()
        self.none_as_null = none_as_null

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:  # noqa: ARG002
        if value is None and self.none_as_null:
            return None
        return json.dumps(value, separators=(",", ":"), default=str)

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:  # noqa: ARG002
        return None if value is None else json.loads(value)


METADATA = MetaData()

written = Table(
    "frappe_daemon",
    METADATA,
    Column("schema_version", Integer, nullable=False),
    Column("daemon_version", _text(40), nullable=False),
)
"""One row: which schema this is, and which daemon brought it there. Its name tells our databases from others."""

runs = Table(
    "runs",
    METADATA,
    Column("id", _text(64), primary_key=True),
    Column("job", _text(200), nullable=False),
    Column("kind", _text(200), nullable=False),
    Column("reason", _text(40), nullable=False),
    Column("slot", Moment),
    Column("started", Moment, nullable=False),
    Column("ended", Moment),
    Column("status", _text(40), nullable=False),
    Column("dry_run", Boolean, nullable=False),
    Column("report", Json, nullable=False),
    Index("runs_by_job", "job", "started"),
    Index("runs_by_start", "started"),
)

slots = Table(
    "slots",
    METADATA,
    Column("job", _text(200), primary_key=True),
    Column("slot", Moment, nullable=False),
    Column("schedule_text", _text(400), nullable=False),
)

memory = Table(
    "memory",
    METADATA,
    Column("job", _text(200), primary_key=True),
    Column("key", _text(400), primary_key=True),
    Column("value", Json, nullable=False),
)

sites = Table(
    "sites",
    METADATA,
    Column("url", _text(400), primary_key=True),
    Column("facts", Json, nullable=False),
)

links = Table(
    "links",
    METADATA,
    Column("id", Integer().with_variant(BigInteger(), "postgresql"), primary_key=True),
    Column("sync", _text(200), nullable=False),
    Column("name", _text(400)),
    Column("creation", _text(32), nullable=False),
    Column("remote", _text(400)),
    Column("status", _text(20), nullable=False),
    Column("todo", Integer, nullable=False),
    Column("base", Json(none_as_null=True)),
    Column("stamp", _text(32), nullable=False),
    Column("remote_stamp", _text(40), nullable=False),
    Column("etag", _text(400), nullable=False),
    Column("record", _text()),
    Column("key", _text(64), nullable=False),
    Column("asked", Moment),
    Column("tries", Integer, nullable=False),
    Column("due", Moment),
    Column("why", _text(), nullable=False),
    Column("run", _text(64), nullable=False),
    Column("detail", Json, nullable=False),
    Column("seen_site", _text(64), nullable=False),
    Column("seen_remote", _text(64), nullable=False),
    Index("links_by_name", "sync", "name", unique=True),
    Index("links_by_remote", "sync", "remote", unique=True),
    Index("links_by_status", "sync", "status", "todo"),
)
"""Pairs of a sync: daemon.core.links.Link."""

leases = Table(
    "leases",
    METADATA,
    Column("name", _text(400), primary_key=True),
    Column("host", _text(255), nullable=False),
    Column("pid", Integer, nullable=False),
    Column("started", DateTime(timezone=True), nullable=False),
    Column("token", BigInteger, Sequence("lease_tokens", metadata=METADATA), nullable=False),
    Column("since", DateTime(timezone=True), nullable=False),
    Column("expires", DateTime(timezone=True), nullable=False),
)
"""Who is the only one to do what has this name, until when by the clock of the database. `token` grows with every lease
that is given; `started` tells processes of one number apart. Used on PostgreSQL alone: beside an SQLite file lie locks.
"""


def bring_up(connection: Connection, *, where: str, version: int = VERSION, steps: Mapping[int, Step] = STEPS) -> None:
    """Create the tables, or lead those of an older daemon to `version`; `where` names the database in errors.

    To be called within a transaction that only one process can hold. Raises StateError for a database of a newer
    daemon or of another program.
    """
    found = _version_of(connection, where)
    if found is None:
        METADATA.create_all(connection)
        connection.execute(insert(written).values(schema_version=version, daemon_version=__version__))
        return
    if found > version:
        raise StateError(_newer(connection, where, found, version), action=_NEWER_ACTION)
    if found < version:
        for number in range(found, version):
            steps[number](connection)
        connection.execute(update(written).values(schema_version=version, daemon_version=__version__))


_NEWER_ACTION = "Install that version of frappe-daemon or a later one, or name another state in [state]."


def _version_of(connection: Connection, where: str) -> int | None:
    """The schema's version; None for an empty database."""
    tables = inspect(connection).get_table_names()
    if not tables:
        return None
    found = connection.scalar(select(written.c.schema_version)) if written.name in tables else None
    if found is None:
        others = ", ".join(sorted(tables)[:3])
        raise StateError(
            f"{where} is a database of another program (it has the tables {others})",
            action="Name a file, or a database, of the daemon's own in [state]; a file is made if it is not there.",
        )
    return int(found)


def _newer(connection: Connection, where: str, found: int, known: int) -> str:
    writer = connection.scalar(select(written.c.daemon_version))
    return (
        f"{where} was written by frappe-daemon {writer} (schema {found}); "
        f"this is frappe-daemon {__version__}, which knows schemas up to {known}"
    )
