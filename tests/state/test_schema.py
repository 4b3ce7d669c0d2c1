"""Opening the database: rights, versions, and every way in which it can be unusable."""

from __future__ import annotations

import os
import resource
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, inspect
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable

from daemon.errors import StateError
from daemon.state import Run, State, schema, sqlite

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@contextmanager
def raw(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


def tables(path: Path) -> set[str]:
    with raw(path) as connection:
        return {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def version(path: Path) -> int:
    with raw(path) as connection:
        return int(connection.execute("SELECT schema_version FROM frappe_daemon").fetchone()[0])


# --- opening ---------------------------------------------------------------------------------------------------------


def test_a_new_state_is_for_its_owner_alone(tmp_path: Path) -> None:
    """Directories are made with 0700 and the files with 0600, whatever the umask: reports can hold names of people."""
    before = os.umask(0)
    try:
        with State.open(tmp_path / "var" / "lib" / "state.db") as state, state.claim("a"):
            state.remember("a", "b", 1)
            modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in (tmp_path / "var" / "lib").rglob("*")}
    finally:
        os.umask(before)
    assert modes.pop("state.db.locks") == 0o700
    assert set(modes) >= {"state.db", "state.db-wal", "a.lock"}
    assert set(modes.values()) == {0o600}
    assert stat.S_IMODE((tmp_path / "var" / "lib").stat().st_mode) == 0o700


def test_the_database_is_in_wal_mode_and_syncs_fully(path: Path) -> None:
    """Readers do not wait for writers, and a commit that was reported survives a power cut."""
    with State.open(path) as state, state.reading() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == sqlite.BUSY_TIMEOUT * 1000


def test_processes_that_make_one_state_at_once_all_open_it(path: Path) -> None:
    """Daemon and command started together: one makes the tables, none fails."""
    program = (
        "import sys; from pathlib import Path; from daemon.state import State; State.open(Path(sys.argv[1])).close()"
    )
    started = [subprocess.Popen([sys.executable, "-c", program, str(path)]) for _ in range(4)]
    assert [process.wait() for process in started] == [0, 0, 0, 0]
    assert version(path) == schema.VERSION


# --- versions --------------------------------------------------------------------------------------------------------


def test_every_older_version_has_a_step_to_the_next() -> None:
    """A raised VERSION without its step would strand every installation."""
    assert set(schema.STEPS) == set(range(1, schema.VERSION))


def test_the_tables_of_version_3_are_what_they_were() -> None:
    """A change of the tables without a new version would meet databases that lack it: this fixture fails first."""
    assert schema.VERSION == 3, "add a fixture for the new version"
    assert {table.name: [column.name for column in table.columns] for table in schema.METADATA.sorted_tables} == {
        "frappe_daemon": ["schema_version", "daemon_version"],
        "leases": ["name", "host", "pid", "started", "token", "since", "expires"],
        "links": [
            "id",
            "sync",
            "name",
            "creation",
            "remote",
            "status",
            "todo",
            "base",
            "stamp",
            "remote_stamp",
            "etag",
            "record",
            "key",
            "asked",
            "tries",
            "due",
            "why",
            "run",
            "detail",
            "seen_site",
            "seen_remote",
        ],
        "memory": ["job", "key", "value"],
        "runs": ["id", "job", "kind", "reason", "slot", "started", "ended", "status", "dry_run", "report"],
        "sites": ["url", "facts"],
        "slots": ["job", "slot", "schedule_text"],
    }


VERSION_1 = """
CREATE TABLE frappe_daemon (schema_version INTEGER NOT NULL, daemon_version VARCHAR(40) NOT NULL);
INSERT INTO frappe_daemon VALUES (1, '0.1.0');
CREATE TABLE runs (id VARCHAR(64) NOT NULL PRIMARY KEY, job VARCHAR(200) NOT NULL, kind VARCHAR(200) NOT NULL,
    reason VARCHAR(40) NOT NULL, slot VARCHAR(32), started VARCHAR(32) NOT NULL, ended VARCHAR(32),
    status VARCHAR(40) NOT NULL, dry_run BOOLEAN NOT NULL, report TEXT NOT NULL);
INSERT INTO runs VALUES ('1', 'a', 'cleanup', 'slot', '2026-01-05T12:00:00.000000+00:00',
    '2026-01-05T12:00:00.000000+00:00', NULL, 'running', 0, '{}');
CREATE INDEX runs_by_job ON runs (job, started);
CREATE INDEX runs_by_start ON runs (started);
CREATE TABLE slots (job VARCHAR(200) NOT NULL PRIMARY KEY, slot VARCHAR(32) NOT NULL,
    schedule_text VARCHAR(400) NOT NULL);
INSERT INTO slots VALUES ('a', '2026-01-05T12:00:00.000000+00:00', 'daily');
CREATE TABLE memory (job VARCHAR(200) NOT NULL, key VARCHAR(400) NOT NULL, value TEXT NOT NULL, PRIMARY KEY (job, key));
INSERT INTO memory VALUES ('a', 'cursor', '[1,2]');
CREATE TABLE sites (url VARCHAR(400) NOT NULL PRIMARY KEY, facts TEXT NOT NULL);
INSERT INTO sites VALUES ('https://a', '{"version":"15"}');
"""
"""A database as version 1 wrote it, which every later version has to read."""


@pytest.fixture
def old(path: Path) -> Path:
    with raw(path) as connection:
        connection.executescript(VERSION_1)
    return path


def test_a_database_of_version_1_is_opened_with_all_that_it_holds(old: Path) -> None:
    """Whatever the present version is, nothing that version 1 remembered is lost."""
    with State.open(old) as state:
        assert state.runs() == [Run("1", "a", "cleanup", "slot", NOON, NOON)]
        mark = state.slot("a")
        assert mark is not None
        assert (mark.slot, mark.schedule_text) == (NOON, "daily")
        assert state.recall("a", "cursor") == [1, 2]
        assert state.site_facts("https://a") == {"version": "15"}
    assert version(old) == schema.VERSION


def test_an_upgraded_database_has_the_tables_of_a_new_one(old: Path, tmp_path: Path) -> None:
    """Column by column and index by index, whichever way it came about."""
    fresh = tmp_path / "fresh.db"
    for place in (old, fresh):
        State.open(place).close()
    assert shape(old) == shape(fresh)


def shape(path: Path) -> dict[str, Any]:
    with raw(path) as connection:
        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {
            table: (
                [tuple(row)[1:4] for row in connection.execute(f"PRAGMA table_info({table})")],
                sorted(row[1] for row in connection.execute(f"PRAGMA index_list({table})") if row[3] == "c"),
            )
            for table in tables
        }


AHEAD = schema.VERSION + 2


def add_column(connection: Connection) -> None:
    connection.exec_driver_sql("ALTER TABLE runs ADD COLUMN host VARCHAR(80)")


def add_table(connection: Connection) -> None:
    connection.exec_driver_sql("CREATE TABLE later (id INTEGER)")


def fail(connection: Connection) -> None:
    raise RuntimeError("the step fails")


def test_steps_lead_an_old_database_forward_one_version_after_the_other(old: Path) -> None:
    """Over the one in between, in order, each once."""
    with State.open(old) as state:
        for _ in range(2):
            with state.writing() as connection:
                schema.bring_up(
                    connection,
                    where="it",
                    version=AHEAD,
                    steps={schema.VERSION: add_column, schema.VERSION + 1: add_table},
                )
        with state.reading() as connection:
            assert "host" in {column["name"] for column in inspect(connection).get_columns("runs")}
    assert "later" in tables(old)
    assert version(old) == AHEAD


def test_a_step_that_fails_leaves_the_old_version_whole(old: Path) -> None:
    """All steps are one transaction: the daemon of the old version still works afterwards."""
    with State.open(old) as state:
        with pytest.raises(RuntimeError), state.writing() as connection:
            schema.bring_up(
                connection, where="it", version=AHEAD, steps={schema.VERSION: add_table, schema.VERSION + 1: fail}
            )
        assert state.recall("a", "cursor") == [1, 2]
    assert "later" not in tables(old)
    assert version(old) == schema.VERSION


def test_a_newer_schema_is_refused_and_left_as_it_is(path: Path) -> None:
    """The sentence names the version that wrote it; an older daemon would lose what it does not know of."""
    State.open(path).close()
    with raw(path) as connection:
        connection.execute("UPDATE frappe_daemon SET schema_version = 99, daemon_version = '7.5.0'")
    with pytest.raises(StateError, match=r"state\.db was written by frappe-daemon 7\.5\.0 \(schema 99\)") as refusal:
        State.open(path)
    assert "Install that version" in refusal.value.action
    assert version(path) == 99


# --- unusable --------------------------------------------------------------------------------------------------------


def test_a_database_of_another_program_is_refused_and_left_as_it_is(path: Path) -> None:
    """A slip in [state] path must not put our tables, or WAL mode, into somebody's data."""
    with raw(path) as connection:
        connection.execute("CREATE TABLE invoices (id INTEGER)")
    before = path.read_bytes()
    with pytest.raises(StateError, match=r"another program .*invoices"):
        State.open(path)
    assert path.read_bytes() == before


def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(path: Path) -> None:
    """Somebody's config.toml, for instance."""
    path.write_text("[site]\nurl = 'https://example.com'\n" * 100)
    before = path.read_bytes()
    with pytest.raises(StateError, match=r"state\.db is no SQLite database"):
        State.open(path)
    assert path.read_bytes() == before


def test_a_damaged_database_is_a_state_error(path: Path) -> None:
    """Pages overwritten with nonsense: a sentence that says how to save what can be saved."""
    with State.open(path) as state:
        for number in range(200):
            state.remember("a", str(number), "x" * 500)
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xa5" * (len(content) - 4096)
    path.write_bytes(content)
    with pytest.raises(StateError, match="is damaged") as refusal, State.open(path) as state:
        state.recall("a", "1")
    assert ".recover" in refusal.value.action


def test_a_path_below_a_file_is_a_state_error(tmp_path: Path) -> None:
    """The directory can never be made."""
    (tmp_path / "file").touch()
    with pytest.raises(StateError, match=r"state\.db cannot be used: .*file"):
        State.open(tmp_path / "file" / "state.db")


def test_a_directory_in_place_of_the_file_is_a_state_error(path: Path) -> None:
    """`path = "/var/lib/frappe-daemon"`, without the file's name."""
    path.mkdir()
    with pytest.raises(StateError, match="Is a directory"):
        State.open(path)


@contextmanager
def ordinary_user() -> Iterator[None]:
    """Root may write everywhere, so that for a test of rights it has to be somebody else."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_missing_rights_are_a_state_error_that_says_so() -> None:
    """A directory that the daemon's user may not write to, and a file that it may only read."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "state.db").touch(0o444)
        directory.chmod(0o555)
        with ordinary_user():
            for path in (directory / "state.db", directory / "new.db", directory / "below" / "state.db"):
                with pytest.raises(StateError, match=f"{path.name} cannot be used: Permission denied") as refusal:
                    State.open(path)
                assert "writable" in refusal.value.action
        directory.chmod(0o755)


def test_a_full_disk_is_a_state_error_and_leaves_what_was_written(path: Path) -> None:
    """SQLite's own limit stands in for the disk. The write is undone as a whole, and later ones work again."""
    with State.open(path) as state:
        state.remember("a", "kept", 1)
        with state.reading() as connection:
            connection.exec_driver_sql("PRAGMA max_page_count = 20")
        with pytest.raises(StateError, match=r"state\.db cannot grow: the disk is full"):
            state.remember("a", "large", "x" * 200_000)
        state.remember("a", "small", 2)
        assert [state.recall("a", key) for key in ("kept", "large", "small")] == [1, None, 2]


def test_a_disk_that_fails_is_a_state_error(path: Path) -> None:
    """A limit on the size of files makes write(2) fail, as a broken disk or a used-up quota does."""
    with State.open(path) as state:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
        try:
            with pytest.raises(StateError, match=r"state\.db cannot be read or written"):
                state.remember("a", "large", "x" * 500_000)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert state.recall("a", "large") is None


def test_a_database_that_another_process_keeps_locked_is_a_state_error(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the time-out, with the command that finds the culprit."""
    State.open(path).close()
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT", 0)
    with State.open(path) as state, raw(path) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StateError, match="locked by another process") as refusal:
            state.remember("a", "b", 1)
        assert "fuser" in refusal.value.action


def test_the_tables_can_be_made_in_postgresql_too() -> None:
    """Every type has a form there: none of SQLite's own has crept in."""
    for table in schema.METADATA.sorted_tables:
        made = str(CreateTable(table).compile(dialect=postgresql.dialect()))  # type: ignore[no-untyped-call]
        assert f"CREATE TABLE {table.name}" in made
