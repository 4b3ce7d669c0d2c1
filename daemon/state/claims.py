"""One run of a job at a time, over threads and processes. Writes a small file for each job; never removes one.

The claim is the kernel's lock (flock(2)) on that file, so that it ends with its holder, however that ends. The file
stays: a lock on a file that somebody has meanwhile unlinked would exclude nobody.
"""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote, unquote

from sqlalchemy import Connection

from daemon.state.database import Held
from daemon.state.records import Holder

LOOKS = 5
"""So often a lock is asked for that is taken: whoever lists the holders has it, or shares it, for a moment."""


def give_to_owner(path: Path) -> None:
    """What root makes by hand belongs to whom the directory belongs to, or a service's user could not use it."""
    if os.geteuid() == 0:
        owner = path.parent.stat()
        os.chown(path, owner.st_uid, owner.st_gid)


class Lock:
    """daemon.state.database.Hold, as a locked file."""

    def __init__(self, file: int, path: Path) -> None:
        self._file, self._path = file, path

    def verify(self) -> None:
        """Raises FileNotFoundError once somebody has removed the file: the lock excludes nobody who makes a file of the
        same name anew."""
        if not os.path.samestat(os.fstat(self._file), self._path.stat()):
            raise FileNotFoundError(errno.ENOENT, "it was removed and made anew", str(self._path))

    def fence(self, connection: Connection) -> None:
        """Nothing: no other process takes a lock over while this one lives."""


class Claims:
    """The claims of the jobs of one state; `directory` lies beside its database."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    @contextmanager
    def hold(self, job: str) -> Iterator[Lock]:
        """The claim on `job` within the block. Raises Held at once where it is taken, and OSError."""
        self._make()
        # Python makes it close-on-exec: a child started within the block does not keep the claim of a killed daemon.
        path = self._directory / f"{quote(job, safe='')}.lock"
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            give_to_owner(path)
            _lock(file, job)
            os.ftruncate(file, 0)
            os.pwrite(file, str(os.getpid()).encode(), 0)
            yield Lock(file, path)
        finally:
            # Not left to close(2): a child that has not come to its exec(2) yet has the file open too.
            fcntl.flock(file, fcntl.LOCK_UN)
            os.close(file)

    def holders(self) -> Iterator[Holder]:
        """Of all claims. Raises OSError."""
        for path in sorted(self._directory.glob("*.lock")):
            with suppress(FileNotFoundError), path.open("rb") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    yield _holder(file.fileno(), unquote(path.stem))

    @contextmanager
    def opening(self) -> Iterator[None]:
        """One process at a time opens the database: SQLite waits for nobody who turns write-ahead logging on."""
        self._make()
        directory = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(directory, fcntl.LOCK_EX)
            yield
        finally:
            fcntl.flock(directory, fcntl.LOCK_UN)
            os.close(directory)

    def _make(self) -> None:
        if not self._directory.is_dir():
            self._directory.mkdir(mode=0o700, exist_ok=True)
            give_to_owner(self._directory)


def _lock(file: int, job: str) -> None:
    for look in range(LOOKS):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if look + 1 == LOOKS:
                raise Held(_holder(file, job)) from None
            threading.Event().wait(0.004)
        else:
            return


def _holder(file: int, job: str) -> Holder:
    """What the holder wrote, and when it did: the kernel noted that as the time of the file."""
    pid = os.pread(file, 20, 0)
    since = datetime.fromtimestamp(os.fstat(file).st_mtime, UTC)
    return Holder(job, os.uname().nodename, int(pid) if pid.isdigit() else 0, since)
