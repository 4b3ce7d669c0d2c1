"""Files that are dropped into a directory: found when they are complete, claimed by renaming, put away when done.

    inbox/          what others drop; names that begin with "." or end in ~, .part or .tmp are not complete yet, and
                    what file managers and office programs leave is nobody's data
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
from contextlib import contextmanager, suppress
from pathlib import Path

from daemon.errors import AlreadyRunning, FileProblem

WORKING, DONE, FAILED = "working", "done", "failed"
FOLDERS = (WORKING, DONE, FAILED)
_LEFT_BEHIND = ("~$", ".")
"""What the names of lock files begin with, and those of files that somebody hides."""
_NOBODYS = ("thumbs.db", "desktop.ini")
_UNFINISHED = ("~", ".part", ".tmp", ".crdownload", ".filepart")
LONGEST = 220
"""Bytes of a name; 255 is what file systems take."""
ERROR = ".error.txt"
"""Ending of the file that says why another was not imported, or not to its end."""
RESULTS = (".success.csv", ".errors.csv", ".uncertain.csv", ERROR)
"""Endings of what is written beside a file."""
ASIDE = "~"
"""Behind these: a result file that was set aside."""


class Inbox:
    """One such directory. Methods raise FileProblem where it cannot be used."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def waiting(self, now: float, quiet: float) -> list[Path]:
        """Files that were claimed before, and those that nobody has written to for `quiet` seconds at `now`, the oldest
        first. Seconds since the epoch, by the clock that stamps files. Symbolic links are not followed."""
        with _worded(self.directory):
            (self.directory / WORKING).mkdir(mode=0o700, parents=True, exist_ok=True)
            for name in (DONE, FAILED):
                _made_like(self.directory, self.directory / name)
            claimed = [path for path, _ in _files(self.directory / WORKING) if not path.endswith((*RESULTS, ASIDE))]
            fresh = [(changed, path) for path, changed in _files(self.directory) if _is_data(Path(path).name)]
        ripe = [path for changed, path in sorted(fresh) if now - changed >= quiet]
        return [Path(path) for path in (*sorted(claimed), *ripe)]

    def strays(self) -> list[str]:
        """What lies there and is never imported: "a directory sub", "a symbolic link x.csv"."""
        found = []
        with _worded(self.directory), os.scandir(self.directory) as entries:
            for entry in entries:
                kind = stat.S_IFMT(entry.stat(follow_symlinks=False).st_mode)
                if kind != stat.S_IFREG and entry.name not in FOLDERS and not entry.name.startswith("."):
                    found.append(f"{_KINDS.get(kind, 'no file:')} {printable(entry.name)}")
        return sorted(found)

    def claim(self, path: Path) -> Path | None:
        """`path` in working/; None where another daemon was quicker."""
        if path.parent.name == WORKING:
            return path
        with _worded(path):
            try:
                return _moved(path, self.directory / WORKING)
            except FileNotFoundError:
                return None

    def place_for(self, path: Path, *, well: bool) -> Path:
        """Where `path` would be put: in done/ or failed/, under a name that nothing there has."""
        target = self.directory / (DONE if well else FAILED)
        with _worded(path):
            return target / _free(target, path.name)

    def put_away(self, path: Path, place: Path) -> None:
        """Move a claimed file to `place`, its result files before it, which whoever may read it may read, too. May be
        done again where it was cut short."""
        with _worded(path):
            for beside in _beside(path):
                _shared_like(path, beside)
                beside.replace(place.with_name(place.name + beside.name.removeprefix(path.name)))
            path.replace(place)


def write_beside(path: Path, text: str) -> None:
    """Say beside `path` why it was not imported, as far as there is a place for it."""
    with suppress(OSError):
        path.with_name(path.name + ERROR).write_text(text, "utf-8", "replace")


_KINDS = {stat.S_IFDIR: "a directory", stat.S_IFLNK: "a symbolic link", stat.S_IFIFO: "a pipe",
          stat.S_IFSOCK: "a socket"}  # fmt: skip


def _is_data(name: str) -> bool:
    return not (name.startswith(_LEFT_BEHIND) or name.endswith(_UNFINISHED) or name.lower() in _NOBODYS)


def _made_like(above: Path, folder: Path) -> None:
    """A new folder for those who may look into the one above it."""
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
        folder.chmod(stat.S_IMODE(above.stat().st_mode))


def _shared_like(path: Path, beside: Path) -> None:
    """Who may read `path` may read `beside`, too, as far as its owner may say so."""
    found = path.stat()
    with suppress(PermissionError):
        os.chown(beside, -1, found.st_gid)
    beside.chmod(stat.S_IMODE(found.st_mode) & 0o666 | 0o600)


def _beside(path: Path) -> list[Path]:
    """The result files of `path`, also those that were set aside."""
    ends = tuple(path.name + ending for ending in RESULTS)
    found = [other for other in path.parent.iterdir() if other.name.startswith(ends)]
    return sorted(other for other in found if other.name in ends or other.name.endswith(ASIDE))


class Gone(Exception):
    """Somebody else has dealt with the file and put it away meanwhile."""


@contextmanager
def held(path: Path) -> Iterator[None]:
    """The only import of this very file on this machine, whatever state it is remembered in. The lock is the kernel's
    (flock(2)) and ends with the process. Raises AlreadyRunning, and Gone where nothing is at `path` any more."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise Gone from None
    except OSError:  # whoever reads it says why
        yield
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise AlreadyRunning(f"{path} is being imported by another process") from None
        if not _is(descriptor, path):
            raise Gone
        yield
    finally:
        os.close(descriptor)


def _is(descriptor: int, path: Path) -> bool:
    """The file that was opened is still the one at `path`: it may have been moved before it could be locked."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _files(directory: Path) -> Iterator[tuple[str, float]]:
    """(path, moment of the last change) of each regular file; what vanishes meanwhile is passed over."""
    with os.scandir(directory) as entries:
        for entry in entries:
            try:
                found = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            if stat.S_ISREG(found.st_mode):
                yield entry.path, found.st_mtime


def printable(name: str) -> str:
    """`name` without what no terminal, log or CSV could show: bytes that are not UTF-8, control characters."""
    text = os.fsencode(name).decode("utf-8", "replace").replace("\ufffd", "_")
    return "".join(letter if letter.isprintable() else "_" for letter in text)


def _moved(path: Path, directory: Path) -> Path:
    """Under a printable name that leaves room for the endings of result files, and has none of them itself."""
    name = printable(path.name)
    for ending in RESULTS:
        if name.endswith(ending):
            name = f"{name.removesuffix(ending)}{ending.replace('.csv', '.again.csv').replace('.txt', '.again.txt')}"
    target = directory / _free(directory, _shortened(name))
    path.rename(target)
    return target


def _shortened(name: str) -> str:
    """`name` within `LONGEST` bytes, with its extension where that is one."""
    stem, dot, ending = name.rpartition(".")
    if not stem or len(ending.encode()) > 20:
        stem, dot, ending = name, "", ""
    room = LONGEST - len(f"{dot}{ending}".encode())
    return stem.encode()[:room].decode("utf-8", "ignore") + dot + ending


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
