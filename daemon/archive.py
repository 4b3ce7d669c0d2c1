"""Rows kept in a file before they are deleted: gzipped JSON Lines, on the disk and counted before the first delete.

Each batch is a gzip member of its own (RFC 1952, 2.2: members follow one another), so a file that a crash cut short
loses at most the batch that was being written, whose rows are still on the site.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import threading
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from daemon.errors import ArchiveError


class Archive:
    """One file for one part of one run, made when its first batch comes."""

    def __init__(self, directory: Path, part: str, run: str) -> None:
        words = re.sub(r"[\W_]+", "-", part).strip("-").lower()
        self._open(directory / f"{words}-{run}.jsonl.gz")

    @classmethod
    def at(cls, path: Path) -> Self:
        """The file at `path`."""
        made = cls.__new__(cls)
        made._open(path)
        return made

    def _open(self, path: Path) -> None:
        self.path = path
        self.rows = 0
        self.last = 0
        """Where the batch begins that was written last."""
        self._lock = threading.Lock()

    def write(self, docs: Iterable[Mapping[str, Any]]) -> int:
        """Append `docs` and return how many are on the disk. Raises ArchiveError; then nothing may be deleted."""
        lines = [json.dumps(doc, ensure_ascii=False, separators=(",", ":"), default=str) for doc in docs]
        member = gzip.compress("".join(f"{line}\n" for line in lines).encode("utf-8", "surrogatepass"))
        with self._lock:
            try:
                self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                fresh = not self.path.exists()
                self.last = _append(self.path, member)
                if fresh:
                    _sync_directory(self.path.parent)
                written = gzip.decompress(_tail(self.path, len(member))).count(b"\n")
            except (OSError, EOFError, zlib.error) as error:
                why = getattr(error, "strerror", None) or error
                raise ArchiveError(f"{self.path}: the archive cannot be written: {why}") from None
            if written != len(lines):
                raise ArchiveError(f"{self.path}: {len(lines)} rows were written but {written} can be read back")
            self.rows += written
        return written


def _append(path: Path, member: bytes) -> int:
    """Whole or not at all: behind a torn member no later one could be read. Where it begins."""
    with open(path, "ab", buffering=0, opener=_private) as file:
        size = file.seek(0, os.SEEK_END)
        try:
            rest = memoryview(member)
            while rest:
                rest = rest[file.write(rest) :]
            os.fsync(file.fileno())
        except OSError:
            file.truncate(size)
            raise
    return size


def _private(path: str, flags: int) -> int:
    """Rows may hold anything that the site holds, so only the daemon's user reads them."""
    return os.open(path, flags, 0o600)


def _tail(path: Path, size: int) -> bytes:
    with path.open("rb") as file:
        file.seek(-size, os.SEEK_END)
        return file.read()


def _sync_directory(path: Path) -> None:
    """A new file's name is on the disk only when its directory is (fsync(2))."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
