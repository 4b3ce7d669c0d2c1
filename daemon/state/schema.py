"""The tables, their version, and how an older version becomes the present one.

Portable SQL: moments are ISO texts in UTC of one width, so that their order is that of time in every database; what is
nested is JSON text. A change of the tables raises `VERSION` and adds one step to `STEPS`; a step that was released is
never edited again, and names what it changes in full instead of using the tables below, which belong to `VERSION`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    Index,
    Integer,
    MetaData,
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

VERSION = 2

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


STEPS: Mapping[int, Step] = {1: _with_links}
"""From version n, the key, to n + 1."""


class Moment(TypeDecorator[datetime]):
    """An aware datetime as `2026-01-05T08:00:00.000000+00:00`."""

    impl = String(32)
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
    Column("daemon_version", String(40), nullable=False),
)
"""One row: which schema this is, and which daemon brought it there. Its name tells our databases from others."""

runs = Table(
    "runs",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("job", String(200), nullable=False),
    Column("kind", String(200), nullable=False),
    Column("reason", String(40), nullable=False),
    Column("slot", Moment),
    Column("started", Moment, nullable=False),
    Column("ended", Moment),
    Column("status", String(40), nullable=False),
    Column("dry_run", Boolean, nullable=False),
    Column("report", Json, nullable=False),
    Index("runs_by_job", "job", "started"),
    Index("runs_by_start", "started"),
)

slots = Table(
    "slots",
    METADATA,
    Column("job", String(200), primary_key=True),
    Column("slot", Moment, nullable=False),
    Column("schedule_text", String(400), nullable=False),
)

memory = Table(
    "memory",
    METADATA,
    Column("job", String(200), primary_key=True),
    Column("key", String(400), primary_key=True),
    Column("value", Json, nullable=False),
)

sites = Table(
    "sites",
    METADATA,
    Column("url", String(400), primary_key=True),
    Column("facts", Json, nullable=False),
)

links = Table(
    "links",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("sync", String(200), nullable=False),
    Column("name", String(400)),
    Column("creation", String(32), nullable=False),
    Column("remote", String(400)),
    Column("status", String(20), nullable=False),
    Column("todo", Integer, nullable=False),
    Column("base", Json(none_as_null=True)),
    Column("stamp", String(32), nullable=False),
    Column("remote_stamp", String(40), nullable=False),
    Column("etag", String(400), nullable=False),
    Column("record", Text),
    Column("key", String(64), nullable=False),
    Column("asked", Moment),
    Column("tries", Integer, nullable=False),
    Column("due", Moment),
    Column("why", Text, nullable=False),
    Column("run", String(64), nullable=False),
    Column("detail", Json, nullable=False),
    Column("seen_site", String(64), nullable=False),
    Column("seen_remote", String(64), nullable=False),
    Index("links_by_name", "sync", "name", unique=True),
    Index("links_by_remote", "sync", "remote", unique=True),
    Index("links_by_status", "sync", "status", "todo"),
)
"""Pairs of a sync: daemon.core.links.Link."""


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


_NEWER_ACTION = "Install that version of frappe-daemon or a later one, or name another file in [state] path."


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
            action="Name a file of the daemon's own in [state] path; it is made if it is not there.",
        )
    return int(found)


def _newer(connection: Connection, where: str, found: int, known: int) -> str:
    writer = connection.scalar(select(written.c.daemon_version))
    return (
        f"{where} was written by frappe-daemon {writer} (schema {found}); "
        f"this is frappe-daemon {__version__}, which knows schemas up to {known}"
    )
