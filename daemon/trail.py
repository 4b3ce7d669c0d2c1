"""What a run wrote down so that it can be undone: gzipped JSON Lines, one file for each run, beside the state.

Each line is on the disk before, or with, the act that it tells of, so that the trail of a run that was killed is as
good as its last act. Lines are parts of steps: those of one step have `of` (a file of an import, a rule of a clean-up)
and `step` (a number) in common and are read as one. The first line says which run it was, of which site. What an undo
has done is added to the same file.

Reads and writes `<state>.undo/`; memory grows with the number of steps, some hundreds of rows each, never with rows.
"""

from __future__ import annotations

import json
import threading
import zlib
from array import array
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from daemon.archive import Archive
from daemon.errors import ArchiveError, OutputError
from daemon.state.claims import give_to_owner

ACTION = 'Check [state] path, its directory and the free space; keep_undo = "0s" there does without undo.'
CHUNK = 1 << 16


class Trails:
    """The trails of all runs. `kept`: how long; zero: none are written."""

    def __init__(self, directory: Path, kept: timedelta, site: str) -> None:
        self._directory, self._kept, self._site = directory, kept, site

    @property
    def wanted(self) -> bool:
        return self._kept > timedelta(0)

    def writer(self, run: str, job: str, kind: str) -> Writer:
        """Made on the disk when its first line comes."""
        head = {"run": run, "job": job, "kind": kind, "site": self._site}
        return Writer(self._path(run), head if self.wanted else None)

    def past(self, run: str) -> Past | None:
        """The trail of a run, or None where there is none."""
        path = self._path(run)
        return Past(path) if path.exists() else None

    def head(self, run: str) -> dict[str, Any]:
        """Its first line alone; {} where there is none."""
        return _first(self._path(run))

    def pasts(self, job: str = "", since: str = "") -> Iterator[tuple[str, Past]]:
        """(run, trail) of each run on this site, of `job` or of all, that began in the second of the run `since` or
        later; the newest first."""
        names = (path.name.removesuffix(ENDING) for path in self._directory.glob(f"*{ENDING}"))
        for name in sorted((name for name in names if name[:SECOND] >= since[:SECOND]), reverse=True):
            head = self.head(name)
            ours = head.get("site") == self._site and (not job or head.get("job") == job)
            if ours and (past := self.past(name)):
                yield name, past

    def prune(self, now: datetime) -> list[str]:
        """Remove what nobody wrote to for longer than it is kept; return whose it was."""
        gone = []
        for path in self._directory.glob(f"*{ENDING}"):
            try:
                if path.stat().st_mtime < (now - self._kept).timestamp():
                    path.unlink()
                    gone.append(path.name.removesuffix(ENDING))
            except OSError:
                continue  # another daemon was quicker
        return gone

    def _path(self, run: str) -> Path:
        return self._directory / f"{run}{ENDING}"


ENDING = ".jsonl.gz"
SECOND = len("20260105T080000")
"""What the id of a run begins with."""
NOWHERE = Trails(Path(), timedelta(0), "")
"""For those who do without undo."""


class Writer:
    """Adds lines to one trail; threads may share it."""

    def __init__(self, path: Path, head: Mapping[str, Any] | None) -> None:
        self._archive = Archive.at(path)
        self._head, self._begun = head, False
        self._lock = threading.Lock()

    @property
    def wanted(self) -> bool:
        return self._head is not None

    def write(self, *lines: Mapping[str, Any]) -> None:
        """All of `lines` on the disk when this returns. Raises OutputError: then nothing may be done."""
        if self._head is None:
            return
        try:
            self._begin()
            self._archive.write(lines)
        except (ArchiveError, OSError) as error:
            raise OutputError(f"what undo needs cannot be written down: {error}", action=ACTION) from None

    def _begin(self) -> None:
        path = self._archive.path
        with self._lock:
            if self._head and not self._begun and not path.exists():
                fresh = not path.parent.exists()
                self._archive.write([self._head])
                for made in [path.parent, path] if fresh else [path]:
                    give_to_owner(made)  # a run by hand as root must not lock the service out
            self._begun = True


class Past:
    """One trail, read. Made by one pass over the file, which also cuts off what a kill left torn at its end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.head: dict[str, Any] = {}
        self.heads: dict[str, dict[str, Any]] = {}
        """Lines without a step: `of` → what is true of all its steps."""
        self._steps: dict[tuple[str, int], array[int]] = {}
        """(of, step) → where its lines lie."""
        self._end = 0
        for offset, end, lines in _members(path):
            self._end = end
            for line in lines:
                self._take(offset, line)

    def _take(self, offset: int, line: dict[str, Any]) -> None:
        if not self.head:
            self.head = line
        elif "step" not in line:
            self.heads.setdefault(line["of"], {}).update(line)
        else:
            places = self._steps.setdefault((line["of"], line["step"]), array("Q"))
            if not places or places[-1] != offset:
                places.append(offset)

    def count(self, of: str) -> int:
        """Steps of it."""
        return sum(key[0] == of for key in self._steps)

    def steps(self, of: str, *, backwards: bool = False) -> Iterator[dict[str, Any]]:
        """Each step as one: texts and numbers as they were written last, lists and tables put together."""
        keys = [key for key in self._steps if key[0] == of]
        for key in reversed(keys) if backwards else keys:
            whole: dict[str, Any] = {}
            for offset in self._steps[key]:
                for line in _member_at(self.path, offset):
                    if (line.get("of"), line.get("step")) == key:
                        _merge(whole, line)
            yield whole

    def add(self, *lines: Mapping[str, Any]) -> None:
        """What an undo has done, on the disk when this returns. Raises OutputError."""
        try:
            if self.path.stat().st_size > self._end:  # behind a torn member no later one could be read
                with self.path.open("r+b") as file:
                    file.truncate(self._end)
            archive = Archive.at(self.path)
            archive.write(lines)
            for line in lines:
                self._take(archive.last, dict(line))
            self._end = self.path.stat().st_size
        except (OSError, ArchiveError) as error:
            raise OutputError(f"{self.path}: cannot be written: {error}", action=ACTION) from None


def _merge(whole: dict[str, Any], line: Mapping[str, Any]) -> None:
    for key, value in line.items():
        if isinstance(value, list) and isinstance(whole.get(key), list):
            whole[key] = [*whole[key], *value]
        elif isinstance(value, dict) and isinstance(whole.get(key), dict):
            whole[key] = {**whole[key], **value}
        else:
            whole[key] = value


def _members(path: Path) -> Iterator[tuple[int, int, list[dict[str, Any]]]]:
    """(where it begins, where it ends, its lines) of each whole member. Raises OutputError."""
    start, rest = 0, b""
    try:
        with path.open("rb") as file:
            while rest or (rest := file.read(CHUNK)):
                unpacker, text, size = zlib.decompressobj(wbits=31), [], 0
                while True:
                    try:
                        text.append(unpacker.decompress(rest))
                    except zlib.error:
                        return
                    size += len(rest) - len(unpacker.unused_data)
                    if unpacker.eof:
                        break
                    if not (rest := file.read(CHUNK)):
                        return
                rest = unpacker.unused_data
                yield start, start + size, [json.loads(line) for line in b"".join(text).splitlines()]
                start += size
    except (OSError, ValueError) as error:
        raise OutputError(f"{path}: cannot be read: {error}", action="Restore the file, or do without undo.") from None


def _member_at(path: Path, offset: int) -> list[dict[str, Any]]:
    with path.open("rb") as file:
        file.seek(offset)
        return _unpacked(file)


def _unpacked(file: Any) -> list[dict[str, Any]]:
    unpacker, text = zlib.decompressobj(wbits=31), []
    while not unpacker.eof and (data := file.read(CHUNK)):
        text.append(unpacker.decompress(data))
    return [json.loads(line) for line in b"".join(text).splitlines()]


def _first(path: Path) -> dict[str, Any]:
    try:
        lines = _member_at(path, 0)
    except (OSError, ValueError, zlib.error):
        return {}
    return lines[0] if lines and isinstance(lines[0], dict) else {}


def archived(path: Path, offset: int) -> list[dict[str, Any]]:
    """The documents that were put into an archive together. Raises OutputError."""
    try:
        return _member_at(path, offset)
    except (OSError, ValueError, zlib.error) as error:
        why = getattr(error, "strerror", None) or error
        raise OutputError(f"{path}: cannot be read: {why}", action="Put the archive back where it was.") from None
