"""PostgreSQL for tests: the server that FRAPPE_DAEMON_TEST_POSTGRESQL names, else one of our own that ends with us."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from daemon.state import Server, Terms

VARIABLE = "FRAPPE_DAEMON_TEST_POSTGRESQL"
PASSWORD = "a-password-of-tests"
QUICK = Terms(lease=2.5, renew=0.4, answer=4.5)


class Cluster:
    """A running server, on which every test gets a database of its own."""

    def __init__(self, host: str, port: int, user: str, password: str) -> None:
        self.host, self.port, self.user, self.password = host, port, user, password
        self._numbers = count()
        self.folder: Path | None = None

    def run(self, statement: str, database: str = "postgres") -> list[tuple]:
        """As the superuser."""
        import psycopg

        known = {"host": self.host, "port": self.port, "user": self.user, "password": self.password}
        with psycopg.connect(**known, dbname=database, autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def database(self, options: str = "") -> str:
        name = f"frappe_daemon_test_{os.getpid()}_{next(self._numbers)}"
        self.run(f"CREATE DATABASE {name} TEMPLATE template0 {options}")
        return name

    def drop(self, name: str) -> None:
        self.run(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def url(self, database: str, port: int = 0) -> str:
        return f"postgresql+psycopg://{self.user}@{self.host}:{port or self.port}/{database}"

    def server(self, database: str, terms: Terms = QUICK, port: int = 0) -> Server:
        return Server(self.url(database, port), time.monotonic, self.password, terms)


def binary(name: str) -> str | None:
    """A program of Debian's package, which puts most of them beside the PATH."""
    versions = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: float(path.parts[4]))
    return str(versions[-1]) if versions else shutil.which(name)


@contextmanager
def running() -> Iterator[Cluster]:
    """Skips the test where there is no PostgreSQL."""
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    if os.environ.get(VARIABLE):
        parts = urlsplit(os.environ[VARIABLE])
        yield Cluster(parts.hostname or "", parts.port or 5432, parts.username or "", unquote(parts.password or ""))
        return
    initdb, postgres = binary("initdb"), binary("postgres")
    if not (initdb and postgres):
        pytest.skip(f"no PostgreSQL: neither is ${VARIABLE} set, nor is there an initdb (Debian's package postgresql)")
    yield from _our_own(initdb, postgres)


def _our_own(initdb: str, postgres: str) -> Iterator[Cluster]:
    """In /tmp: PostgreSQL refuses to be root, and the directories of pytest are closed to others."""
    folder = Path(tempfile.mkdtemp(prefix="frappe-daemon-postgresql-"))
    user: dict[str, str] = {"user": "postgres", "group": "postgres"} if os.geteuid() == 0 else {}
    try:
        (folder / "password").write_text(PASSWORD)
        if user:
            shutil.chown(folder, **user)
        subprocess.run(
            [initdb, "-D", folder / "data", "-U", "tester", "-A", "scram-sha-256", f"--pwfile={folder / 'password'}",
             "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"],
            check=True, stdout=subprocess.DEVNULL, cwd=folder, extra_groups=[] if user else None, **user,
        )  # fmt: skip
        cluster = Cluster("127.0.0.1", free_port(), "tester", PASSWORD)
        cluster.folder = folder
        with server_process(cluster, postgres, user):
            yield cluster
    finally:
        shutil.rmtree(folder)


@contextmanager
def server_process(cluster: Cluster, postgres: str, user: dict[str, str]) -> Iterator[None]:
    """Its data need not outlive the machine, so that it waits for no disk."""
    settings = ["fsync=off", "shared_buffers=16MB", "listen_addresses=127.0.0.1", f"port={cluster.port}",
                "unix_socket_directories=", "logging_collector=off",
                "max_connections=100", "deadlock_timeout=50ms"]  # fmt: skip
    command = [postgres, "-D", str(cluster.folder / "data"), *(word for one in settings for word in ("-c", one))]
    log = (cluster.folder / "log").open("ab")
    with log, subprocess.Popen(
        command, stdout=log, stderr=log, cwd=cluster.folder, extra_groups=[] if user else None, **user
    ) as process:  # fmt: skip
        try:
            until_ready(cluster, process)
            yield
        finally:
            process.send_signal(signal.SIGQUIT)  # at once, and for nothing: its data goes with it


def until_ready(cluster: Cluster, process: subprocess.Popen) -> None:
    import psycopg

    for _ in range(600):
        if process.poll() is not None:
            raise AssertionError((cluster.folder / "log").read_text())
        try:
            cluster.run("SELECT 1")
        except psycopg.OperationalError:
            time.sleep(0.02)
        else:
            return
    raise AssertionError("PostgreSQL does not start")


class Proxy:
    """A way to a server that can stop to carry anything, with all its connections left open."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._open = threading.Event()
        self._open.set()
        self._cut = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._ends = [self._listener]
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self) -> None:
        self._open.clear()

    def go(self) -> None:
        self._open.set()

    def cut(self) -> None:
        """End all connections, and every new one at once, as a server that is being started does."""
        self._cut = True
        self._end(self._ends[1:])

    def mend(self) -> None:
        self._cut = False

    def close(self) -> None:
        self.go()
        self._end(self._ends)

    def _end(self, ends: list[socket.socket]) -> None:
        for one in ends:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client = self._listener.accept()[0]
                if self._cut:
                    client.close()
                    continue
                server = socket.create_connection(("127.0.0.1", self._to))
                self._ends += [client, server]
                for pair in ((client, server), (server, client)):
                    threading.Thread(target=self._carry, args=pair, daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                self._open.wait()
                sink.sendall(data)
        self._open.wait()
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
