"""States on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.state import Server, State
from tests.postgresql import Cluster


@pytest.fixture
def server(postgresql: Cluster) -> Iterator[Server]:
    """An empty database, and leases that end soon."""
    name = postgresql.database()
    yield postgresql.server(name)
    postgresql.drop(name)


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path | Server:
    """Where an empty state may be made."""
    return tmp_path / "state.db" if request.param == "sqlite" else request.getfixturevalue("server")


@pytest.fixture
def state(place: Path | Server) -> Iterator[State]:
    with State.open(place) as opened:
        yield opened


def expire(state: State) -> None:
    """As if all leases had ended; claims on SQLite end by themselves."""
    with state.writing() as connection:
        connection.exec_driver_sql("UPDATE leases SET expires = since")


def words(place: Path | Server) -> list[str]:
    """`place` as arguments of a program that has PLACE in it."""
    return [place.url, place.password] if isinstance(place, Server) else [str(place)]


PLACE = """
import sys
import time
from pathlib import Path
from daemon.state import Server, State
from tests.postgresql import QUICK
place = Path(sys.argv[1]) if len(sys.argv) == 2 else Server(sys.argv[1], time.monotonic, sys.argv[2], QUICK)
"""
