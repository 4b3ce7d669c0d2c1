"""One run of a job at a time, over threads and processes. Writes a small file for each job; never removes one.

The claim is the kernel's lock (flock(2)) on that file, so that it ends with its holder, however that ends. The file
stays: a lock on a file that somebody has meanwhile unlinked would exclude nobody.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from urllib.parse import quote


class Held(Exception):
    """Somebody has the claim; `pid` is the process, or 0 where it has not written its number yet."""

    def __init__(self, pid: int) -> None:
        super().__init__(pid)
        self.pid = pid


def give_to_owner(path: Path) -> None:
    """What root makes by hand belongs to whom the directory belongs to, or a service's user could not use it."""
    if os.geteuid() == 0:
        owner = path.parent.stat()
        os.chown(path, owner.st_uid, owner.st_gid)


class Claims:
    """The claims of the jobs of one state; `directory` lies beside its database."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    @contextmanager
    def hold(self, job: str) -> Iterator[Callable[[], None]]:
        """The claim on `job` within the block. Raises Held at once where it is taken, and OSError.

        Yields a function that raises FileNotFoundError once somebody has removed the file, and so the claim.
        """
        self._make()
        # Python makes it close-on-exec: a child started within the block does not keep the claim of a killed daemon.
        path = self._directory / f"{quote(job, safe='')}.lock"
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            give_to_owner(path)
            _lock(file)
            os.ftruncate(file, 0)
            os.pwrite(file, str(os.getpid()).encode(), 0)
            yield partial(_verify, file, path)
        finally:
            # Not left to close(2): a child that has not come to its exec(2) yet has the file open too.
            fcntl.flock(file, fcntl.LOCK_UN)
            os.close(file)

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


def _verify(file: int, path: Path) -> None:
    """The lock excludes nobody who makes a file of the same name anew."""
    if not os.path.samestat(os.fstat(file), path.stat()):
        raise FileNotFoundError(errno.ENOENT, "it was removed and made anew", str(path))


def _lock(file: int) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = os.pread(file, 20, 0)
        raise Held(int(pid) if pid.isdigit() else 0) from None
