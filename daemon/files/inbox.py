"""Files that are dropped into a directory: found when they are complete, claimed by renaming, put away when done.

    inbox/          what others drop; names that begin with "." or end in ~, .part or .tmp are not complete yet
    inbox/working/  what an import has claimed; a crash leaves it there, and the next run goes on with it
    inbox/done/     imported, with result files
    inbox/failed/   with rows that a person must look at, or not readable at all

A rename within a file system is atomic (rename(2)), so that of two daemons one gets a file. Nothing is overwritten.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from daemon.errors import AlreadyRunning, FileProblem

WORKING, DONE, FAILED = "working", "done", "failed"
_UNFINISHED = ("~", ".part", ".tmp", ".crdownload", ".filepart")
LONGEST = 220
"""Bytes of a name; 255 is what file systems take."""
RESULTS = (".success.csv", ".errors.csv", ".uncertain.csv", ".report.json")
"""Endings of what is written beside a file."""


class Inbox:
    """One such directory. Methods raise FileProblem where it cannot be used."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def waiting(self, now: float, quiet: float) -> list[Path]:
        """Files that were claimed before, and those that nobody has written to for `quiet` seconds at `now`, the oldest
        first. Seconds since the epoch, by the clock that stamps files. Symbolic links are not followed."""
        with _worded(self.directory):
            for name in (WORKING, DONE, FAILED):
                (self.directory / name).mkdir(mode=0o700, parents=True, exist_ok=True)
            claimed = [entry.path for entry in _files(self.directory / WORKING) if not entry.name.endswith(RESULTS)]
            fresh = [
                (entry.stat(follow_symlinks=False).st_mtime, entry.path)
                for entry in _files(self.directory)
                if not entry.name.startswith(".") and not entry.name.endswith(_UNFINISHED)
            ]
        ripe = [path for changed, path in sorted(fresh) if now - changed >= quiet]
        return [Path(path) for path in (*sorted(claimed), *ripe)]

    def claim(self, path: Path) -> Path | None:
        """`path` in working/; None where another daemon was quicker."""
        if path.parent.name == WORKING:
            return path
        with _worded(path):
            try:
                return _moved(path, self.directory / WORKING)
            except FileNotFoundError:
                return None

    def put_away(self, path: Path, *, well: bool) -> Path:
        """Move a claimed file to done/ or failed/, its result files before it, and return where it is then."""
        target = self.directory / (DONE if well else FAILED)
        with _worded(path):
            name = _free(target, path.name)
            for ending in RESULTS:
                beside = path.with_name(path.name + ending)
                if beside.exists():
                    beside.replace(target / (name + ending))
            path.replace(target / name)
            return target / name


@contextmanager
def held(path: Path) -> Iterator[None]:
    """The only import of this very file on this machine, whatever state it is remembered in. The lock is the kernel's
    (flock(2)) and ends with the process. Raises AlreadyRunning."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:  # whoever reads it says why
        yield
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise AlreadyRunning(f"{path} is being imported by another process") from None
        yield
    finally:
        os.close(descriptor)


def _files(directory: Path) -> Iterator[os.DirEntry[str]]:
    with os.scandir(directory) as entries:
        yield from (entry for entry in entries if stat.S_ISREG(entry.stat(follow_symlinks=False).st_mode))


def _moved(path: Path, directory: Path) -> Path:
    """Under a name that leaves room for the endings of result files, and has none of them itself."""
    name = path.name
    for ending in RESULTS:
        if name.endswith(ending):
            name = f"{name.removesuffix(ending)}{ending.replace('.csv', '.again.csv').replace('.json', '.again.json')}"
    stem, dot, ending = name.rpartition(".")
    while len(name.encode()) > LONGEST and stem:
        stem = stem[:-1]
        name = f"{stem}{dot}{ending}"
    target = directory / _free(directory, name)
    path.rename(target)
    return target


def _free(directory: Path, name: str) -> str:
    """`name`, or with a number before its ending where there is one like it, or results of one like it."""
    stem, dot, ending = name.partition(".")
    for number in range(1, 10_000):
        free = name if number == 1 else f"{stem}-{number}{dot}{ending}"
        if not any((directory / (free + more)).exists() for more in ("", *RESULTS)):
            return free
    raise FileExistsError(17, "there are ten thousand files of this name", str(directory / name))


@contextmanager
def _worded(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        where = error.filename or path
        action = "Look at the owner, the mode and the free space of the inbox; all its folders must be on one disk."
        raise FileProblem(f"{where}: {error.strerror or error}", path=str(path), action=action) from None
