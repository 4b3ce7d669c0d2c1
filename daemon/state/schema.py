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

VERSION = 1

Step = Callable[[Connection], None]
STEPS: Mapping[int, Step] = {}
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

    def process_bind_param(self, value: Any, dialect: Dialect) -> str:  # noqa: ARG002
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
