"""What became of the rows of a file: FILE.success.csv, FILE.errors.csv, FILE.uncertain.csv beside it. Writes these."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

from daemon.files.results import ResultFile, set_aside
from daemon.files.table import Table
from daemon.jobs._batch import Fate
from daemon.jobs._settings import Settings

At = tuple[int, int]
"""(position behind the last row that counts, inode)."""
OURS = {"import_line": "", "import_error": ""}
"""Columns of our own in FILE.errors.csv, which is itself a file to import once it is mended."""


class Results:
    """FILE.success.csv, FILE.errors.csv and FILE.uncertain.csv, each made when its first row comes."""

    def __init__(
        self,
        path: Path,
        table: Table,
        at: Mapping[str, Sequence[int]],
        settings: Settings,
        opened: Callable[[dict[str, At]], None],
    ) -> None:
        """`at`: where each file was when it was last journaled. `opened` journals it for a file that is new."""
        self._path, self._settings, self._opened = path, settings, opened
        self._at = {kind: (place, inode) for kind, (place, inode) in at.items()}
        self._keep = [place for place, name in enumerate(table.header) if name not in OURS]
        self._header = [table.header[place] for place in self._keep]
        self._files: dict[str, ResultFile] = {}

    def __enter__(self) -> Self:
        """Raises ResultFileError before a row is sent where there is no place for what becomes of it."""
        for kind in ("success", "errors", "uncertain"):
            path = self._path.with_name(f"{self._path.name}.{kind}.csv")
            set_aside(path, *self._at.get(kind, (0, 0)))
            if not path.exists():
                self._at.pop(kind, None)
        for kind in {"success", *self._at}:
            self._open(kind)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for file in self._files.values():
            file.close()

    @property
    def paths(self) -> list[Path]:
        return [file.path for file in self._files.values()]

    def add(self, fate: Fate) -> None:
        """All rows of the draft; what became of it stands in the first of them."""
        kind = {"failed": "errors", "uncertain": "uncertain"}.get(fate.result, "success")
        more = (fate.name, fate.result, fate.reason) if kind == "success" else (fate.draft.line, fate.reason)
        file = self._files.get(kind) or self._open(kind)
        for number, cells in enumerate(fate.draft.cells):
            kept = [cells[place] if place < len(cells) else None for place in self._keep]
            file.write([*kept, *(more if number == 0 else ("",) * len(more))])

    def flush(self) -> dict[str, At]:
        """Where each file is, of which all is on the disk now."""
        for kind, file in self._files.items():
            if (file.tell(), file.inode) != self._at.get(kind):
                file.flush()
                self._at[kind] = file.tell(), file.inode
        return dict(self._at)

    def _open(self, kind: str) -> ResultFile:
        more = ["import_document", "import_result", "import_note"] if kind == "success" else list(OURS)
        path = self._path.with_name(f"{self._path.name}.{kind}.csv")
        escape, place = self._settings.escape_formulas, self._at.get(kind, (0, 0))[0]
        self._files[kind] = file = ResultFile.open(path, [*self._header, *more], at=place, escape_formulas=escape)
        if not place:
            self._at[kind] = file.tell(), file.inode
            self._opened(dict(self._at))
        return file
