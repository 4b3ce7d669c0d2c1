"""The sandbox's data: a SQLite table for each DocType. Everything goes through one connection behind one lock."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from daemon.sandbox.doctypes import NUMBERS, DocType

STANDARD = ("name", "creation", "modified", "modified_by", "owner", "docstatus", "idx")
CHILD = ("parent", "parentfield", "parenttype")
OPTIONAL = ("_user_tags", "_comments", "_assign", "_liked_by")


def quote(name: str) -> str:
    return '"' + name.replace('"', "") + '"'


def table(doctype: str) -> str:
    return quote(f"tab{doctype}")


class Store:
    """Rows. `path` None: in memory; else a file that survives the process, however it ends."""

    def __init__(self, path: Path | None) -> None:
        self.lock = threading.RLock()
        self._db = sqlite3.connect(str(path or ":memory:"), check_same_thread=False, isolation_level=None)
        self._db.row_factory = sqlite3.Row
        if path is not None:
            self._db.execute("PRAGMA journal_mode=WAL")
            # A killed process loses nothing that it has written; only a power cut would.
            self._db.execute("PRAGMA synchronous=OFF")
        self._db.execute("PRAGMA case_sensitive_like=OFF")
        self._db.execute("CREATE TABLE IF NOT EXISTS series (name TEXT PRIMARY KEY, current INTEGER)")
        self._db.execute("CREATE TABLE IF NOT EXISTS contents (url TEXT PRIMARY KEY, content BLOB)")
        self._lasting: set[str] = set()
        """DocTypes whose tables know no transactions (MyISAM)."""
        self._stays: list[tuple[str, Sequence[Any]]] = []
        """What the transaction under way has done to them."""

    def close(self) -> None:
        with self.lock:
            self._db.close()

    def create(self, doctype: DocType) -> None:
        """The table, or the columns that it lacks. Text is compared without case, as utf8mb4_unicode_ci does."""
        name = table(doctype.name)
        if doctype.myisam:
            self._lasting.add(doctype.name)
        with self.lock:
            listed = ", ".join(f"{quote(column)} {kind}" for column, kind in _columns(doctype))
            self._db.execute(f"CREATE TABLE IF NOT EXISTS {name} ({listed})")
            there = self.columns(doctype.name)
            for column, kind in _columns(doctype):
                if column not in there:
                    self._db.execute(f"ALTER TABLE {name} ADD COLUMN {quote(column)} {kind}")
            for field in doctype.columns:
                if field.flags.get("unique"):
                    index = quote(f"unique {doctype.name} {field.name}")
                    self._db.execute(f"CREATE UNIQUE INDEX IF NOT EXISTS {index} ON {name} ({quote(field.name)})")
            for columns in ("parent",) if doctype.istable else ("creation, name", "modified, name"):
                index = quote(f"{columns.partition(',')[0]} {doctype.name}")
                self._db.execute(f"CREATE INDEX IF NOT EXISTS {index} ON {name} ({columns})")

    def drop(self, doctype: str) -> None:
        self.run(f"DROP TABLE IF EXISTS {table(doctype)}")

    def columns(self, doctype: str) -> set[str]:
        return {row["name"] for row in self._db.execute(f"PRAGMA table_info({table(doctype)})")}

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """One request: all or nothing."""
        with self.lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._undo("ROLLBACK")
                raise
            self._end("COMMIT")

    def commit(self) -> None:
        """What is done so far stays, within a transaction (frappe.db.commit)."""
        self._end("COMMIT")
        self._db.execute("BEGIN IMMEDIATE")

    def rollback(self) -> None:
        self._undo("ROLLBACK")
        self._db.execute("BEGIN IMMEDIATE")

    def _end(self, how: str) -> None:
        self._stays.clear()
        if self._db.in_transaction:
            self._db.execute(how)

    def _undo(self, how: str, since: int = 0) -> None:
        """Roll back, all but what was done to tables without transactions."""
        stays = self._stays[since:]
        if self._db.in_transaction:
            self._db.execute(how)
        for sql, values in stays:
            self._db.execute(sql, values)
        if not self._db.in_transaction:
            self._stays.clear()

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        self._db.execute("SAVEPOINT one")
        since = len(self._stays)
        try:
            yield
        except BaseException:
            self._undo("ROLLBACK TO one", since)
            raise
        finally:
            self._db.execute("RELEASE one")

    def _change(self, doctype: str, sql: str, values: Sequence[Any]) -> None:
        if doctype in self._lasting:
            self._stays.append((sql, values))
        self.run(sql, values)

    def all(self, sql: str, values: Sequence[Any] = ()) -> list[dict[str, Any]]:
        with self.lock:
            return [dict(row) for row in self._db.execute(sql, values)]

    def value(self, sql: str, values: Sequence[Any] = ()) -> Any:
        with self.lock:
            row = self._db.execute(sql, values).fetchone()
        return row[0] if row else None

    def run(self, sql: str, values: Sequence[Any] = ()) -> int:
        """Rows that the statement changed."""
        with self.lock:
            return self._db.execute(sql, values).rowcount

    def get(self, doctype: str, name: Any) -> dict[str, Any] | None:
        rows = self.all(f"SELECT * FROM {table(doctype)} WHERE name = ?", (str(name),))
        return rows[0] if rows else None

    def insert(self, doctype: str, row: Mapping[str, Any]) -> None:
        names = ", ".join(map(quote, row))
        marks = ", ".join("?" * len(row))
        self._change(doctype, f"INSERT INTO {table(doctype)} ({names}) VALUES ({marks})", list(row.values()))

    def insert_all(self, doctype: str, rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> None:
        """Many rows with the same columns, in one transaction."""
        names, marks = ", ".join(map(quote, columns)), ", ".join("?" * len(columns))
        values = ([row.get(column) for column in columns] for row in rows)
        with self.transaction():
            self._db.executemany(f"INSERT INTO {table(doctype)} ({names}) VALUES ({marks})", values)

    def update(self, doctype: str, name: str, values: Mapping[str, Any]) -> None:
        sets = ", ".join(f"{quote(column)} = ?" for column in values)
        self._change(doctype, f"UPDATE {table(doctype)} SET {sets} WHERE name = ?", [*values.values(), name])

    def delete(self, doctype: str, name: str) -> None:
        self._change(doctype, f"DELETE FROM {table(doctype)} WHERE name = ?", [name])

    def next_of(self, series: str) -> int:
        """The next number of a naming series (model/naming.py:getseries)."""
        self.run("INSERT INTO series VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET current = current + 1", (series,))
        return int(self.value("SELECT current FROM series WHERE name = ?", (series,)))

    def reached(self, series: str, number: int) -> None:
        """Names up to this number are taken."""
        higher = "ON CONFLICT (name) DO UPDATE SET current = max(current, excluded.current)"
        self.run(f"INSERT INTO series VALUES (?, ?) {higher}", (series, number))


def _columns(doctype: DocType) -> list[tuple[str, str]]:
    """(name, SQL type) of each column. Numbers are never empty."""
    standard = [*STANDARD, *(CHILD if doctype.istable else OPTIONAL)]
    kinds = {"docstatus": "INTEGER DEFAULT 0", "idx": "INTEGER DEFAULT 0", "name": "TEXT COLLATE NOCASE PRIMARY KEY"}
    own = [(one.name, f"{NUMBERS[one.type]} DEFAULT 0" if one.type in NUMBERS else _TEXT) for one in doctype.columns]
    named = {name for name, _ in own}
    return [(name, kinds.get(name, _TEXT)) for name in standard if name not in named] + own


_TEXT = "TEXT COLLATE NOCASE"
