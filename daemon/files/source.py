"""The bytes of one regular file, read once or twice, expanded where they are gzipped. Writes nothing but a temporary
file for a gzipped workbook.

Each reading keeps its own place in the file, so that readings do not disturb one another.
"""

from __future__ import annotations

import gzip
import io
import os
import stat
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, NamedTuple

from daemon.errors import FileProblem
from daemon.files.cells import Limits, problem

GZIP = b"\x1f\x8b"
_CHUNK = 1 << 18

Update = Callable[[bytes], Any]


class Identity(NamedTuple):
    """What changes when a file is written to or replaced."""

    size: int
    mtime_ns: int
    inode: int


class Source:
    """An open file. Raises FileProblem where it is missing, unreadable or no regular file."""

    def __init__(self, path: str | os.PathLike[str], limits: Limits) -> None:
        self.path = str(path)
        self.limits = limits
        self._descriptor = _opened(self.path)
        try:
            self.identity = self._now()
            self.gzipped = os.pread(self._descriptor, 2, 0) == GZIP
            self.head = self.stream().read(1 << 12)
        except FileProblem:
            self.close()
            raise
        except OSError as error:
            self.close()
            raise _unreadable(self.path, error) from None

    @property
    def name(self) -> str:
        """The file's name in lower case, without .gz: what its extension promises to be inside."""
        return Path(self.path).name.lower().removesuffix(".gz")

    def stream(self, update: Update | None = None) -> io.BufferedReader:
        """The expanded bytes from the beginning; `update` is shown them as they are read."""
        if self.gzipped:
            raw = _Span(self.path, self._descriptor, None)
            return io.BufferedReader(_Expanded(self.path, raw, self.limits, update), _CHUNK)
        return io.BufferedReader(_Span(self.path, self._descriptor, update), _CHUNK)

    def seekable(self) -> IO[bytes]:
        """The expanded bytes as a real file of its own, which a workbook needs. The caller closes it."""
        if not self.gzipped:
            return os.fdopen(os.open(f"/dev/fd/{self._descriptor}", os.O_RDONLY | os.O_CLOEXEC), "rb")
        spool = tempfile.TemporaryFile()  # noqa: SIM115 (the caller's)
        try:
            stream = self.stream()
            while chunk := stream.read(_CHUNK):
                spool.write(chunk)
            spool.seek(0)
        except OSError as error:
            spool.close()
            raise problem(self.path, f"it cannot be expanded into a temporary file: {error.strerror}") from None
        except BaseException:
            spool.close()
            raise
        return spool

    def verify(self) -> None:
        """Raises FileProblem where the file was written to since it was opened."""
        if self._now() != self.identity:
            raise problem(
                self.path, "the file changed while it was read", action="Wait until it is written, then run again."
            )

    def refuse_other(self, identity: Identity) -> None:
        """Raises FileProblem where the file is not the one of `identity`, or was written to since."""
        if identity != self.identity:
            raise problem(self.path, "the file changed since it was surveyed", action="Run the job again.")

    def close(self) -> None:
        """Readings that go on fail."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _now(self) -> Identity:
        found = os.fstat(self._descriptor)
        return Identity(found.st_size, found.st_mtime_ns, found.st_ino)


_KINDS = {stat.S_IFDIR: "a directory", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}


def _opened(path: str) -> int:
    """O_NONBLOCK so that a pipe without a writer does not hold us up; for a regular file it means nothing."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError as error:
        raise _unreadable(path, error) from None
    except ValueError:
        raise problem(repr(path), "no file can have this name") from None
    kind = stat.S_IFMT(os.fstat(descriptor).st_mode)
    if kind != stat.S_IFREG:
        os.close(descriptor)
        raise problem(path, f"this is {_KINDS.get(kind, 'a device')}, not a file", action="Name a file.")
    return descriptor


def _unreadable(path: str, error: OSError) -> FileProblem:
    action = "Check the file's name, its owner and its mode."
    if isinstance(error, FileNotFoundError):
        return problem(path, "there is no such file", action=action)
    return problem(path, f"the file cannot be read: {error.strerror or error}", action=action)


class _Span(io.RawIOBase):
    """The file's own bytes, by place, so that its descriptor's offset plays no part."""

    def __init__(self, path: str, descriptor: int, update: Update | None) -> None:
        self._path = path
        self._descriptor = descriptor
        self._update = update
        self.place = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = os.pread(self._descriptor, len(buffer), self.place)
        except OSError as error:
            raise _unreadable(self._path, error) from None
        buffer[: len(data)] = data
        self.place += len(data)
        if self._update:
            self._update(data)
        return len(data)


class _Expanded(io.RawIOBase):
    """What is inside a gzip file, of one member or several, as far as `limits` let it grow."""

    def __init__(self, path: str, raw: _Span, limits: Limits, update: Update | None) -> None:
        self._path = path
        self._update = update
        self._raw = raw
        self._limits = limits
        self._gzip = gzip.GzipFile(fileobj=io.BufferedReader(raw, _CHUNK))
        self._size = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._gzip.read1(len(buffer))
        except EOFError:
            raise problem(self._path, "the gzip file is cut short: its end is missing") from None
        except (gzip.BadGzipFile, zlib.error) as error:
            raise problem(self._path, f"the gzip file is damaged: {error}") from None
        self._size += len(data)
        refuse_bomb(self._path, self._size, self._raw.place, self._limits)
        if self._update:
            self._update(data)
        buffer[: len(data)] = data
        return len(data)


def refuse_bomb(path: str, expanded: int, compressed: int, limits: Limits) -> None:
    """Raises FileProblem where `expanded` bytes are more than `limits` allow for so many `compressed` ones."""
    if expanded > limits.expanded:
        raise problem(path, f"it expands to more than {limits.expanded:,} bytes, which is more than is read")
    if expanded > limits.trusted and expanded > limits.ratio * compressed:
        raise problem(path, f"it expands to more than {limits.ratio} times its size, as no table of data does")
