"""What became of the rows of a file: FILE.success.csv, FILE.errors.csv, FILE.uncertain.csv beside it. Writes these.

The last two are themselves files to import. Cells that are text stand in them as they stood in the file, and the column
import_reading says how the file was read, since what proved that may be in other rows: so they mean what they meant.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any, Self

from daemon.core.rows import Manner
from daemon.core.values import Reading, Share, ValueProblem, is_blank
from daemon.files.cells import Cell, CellError
from daemon.files.results import DELIMITERS, ResultFile, as_text, set_aside
from daemon.files.table import Table
from daemon.jobs._import.batch import Fate
from daemon.jobs._import.settings import Settings

At = tuple[int, int]
"""(position behind the last row that counts, inode)."""
ERROR, READING = "import_error", "import_reading"
OURS = {"import_line": "", ERROR: "", READING: ""}
"""Columns of our own in FILE.errors.csv."""
TOLD = ("import_document", "import_result", "import_note")
"""Those in FILE.success.csv."""


class Results:
    """The result files of one import, each made when its first row comes."""

    def __init__(
        self,
        path: Path,
        table: Table,
        at: Mapping[str, Sequence[int]],
        settings: Settings,
        manners: Mapping[int, Manner],
        opened: Callable[[dict[str, At]], None],
    ) -> None:
        """`at`: where each file was when it was last journaled. `opened` journals it for a file that is new."""
        self._path, self._settings, self._manners, self._opened = path, settings, manners, opened
        self._submits = settings.submit
        self._at = {kind: (place, inode) for kind, (place, inode) in at.items()}
        self._keep = [place for place, name in enumerate(table.header) if name not in OURS]
        self._header = [table.header[place] for place in self._keep]
        self._delimiter = table.delimiter if table.delimiter and table.delimiter in DELIMITERS else ","
        self._reading = {"read": said} if (said := _said(manners)) else {}
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
        file = self._files.get(kind) or self._open(kind)
        for number, cells in enumerate(fate.draft.cells):
            kept = [cells[place] if place < len(cells) else None for place in self._keep]
            if kind == "success":
                result = "submitted" if fate.result == "created" and self._submits and not fate.reason else fate.result
                file.write([*kept, *((fate.name, result, fate.reason) if number == 0 else ("",) * len(TOLD))])
            else:
                texts, reading = self._again(kept)
                file.write([*texts, *((fate.draft.line, fate.reason) if number == 0 else ("", "")), reading])

    def _again(self, cells: Sequence[Cell]) -> tuple[list[str], str]:
        """Cells as texts that read as the same values, and what has to be known to read them so."""
        texts, refused = [], {}
        for place, cell in zip(self._keep, cells, strict=True):
            text, again = written(cell, self._manners.get(place))
            texts.append(text)
            if not again:
                refused[self._manners[place].column.header] = text
        reading = {**self._reading, **({"refused": refused} if refused else {})}
        return texts, json.dumps(reading, ensure_ascii=False) if reading else ""

    def flush(self) -> dict[str, At]:
        """Where each file is, of which all is on the disk now."""
        for kind, file in self._files.items():
            if (file.tell(), file.inode) != self._at.get(kind):
                file.flush()
                self._at[kind] = file.tell(), file.inode
        return dict(self._at)

    def _open(self, kind: str) -> ResultFile:
        header = [*self._header, *(TOLD if kind == "success" else OURS)]
        path = self._path.with_name(f"{self._path.name}.{kind}.csv")
        escape, place = self._settings.escape_formulas, self._at.get(kind, (0, 0))[0]
        self._files[kind] = file = ResultFile.open(
            path, header, at=place, escape_formulas=escape, delimiter=self._delimiter
        )
        if not place:
            self._at[kind] = file.tell(), file.inode
            self._opened(dict(self._at))
        return file


# How a file is read, in its result files


_SAID = ("decimal", "dates", "proved", "rating")


def _said(manners: Mapping[int, Manner]) -> dict[str, dict[str, Any]]:
    """Field → what its column was found or stated to be like, as far as there is anything to say."""
    found = {
        how.column.key: {name: value for name in _SAID if (value := getattr(how.reading, name))}
        for how in manners.values()
    }
    return {key: said for key, said in found.items() if said}


class Readings:
    """What the column import_reading of a file says. Raises ValueError where its first text is none of ours."""

    def __init__(self, first: str) -> None:
        self._said = json.loads(first).get("read", {}) if first else {}
        self._known: dict[str, dict[str, str]] = {}

    def of(self, base: Reading, keys: Sequence[str]) -> dict[str, Reading]:
        """Field → how its column is read, for each of `keys`."""
        empty = replace(base, decimal="", dates=(), proved=(), rating="")
        return {key: replace(empty, **_tuples(self._said.get(key, {}))) for key in keys}

    def refused(self, text: str) -> dict[str, str]:
        """Header → the text of a cell that was refused, and is refused until somebody changes it. Raises ValueError
        where the row comes from a file that was read in another way."""
        if not text:
            return {}
        held = json.loads(text)
        if held.get("read", {}) != self._said:
            raise ValueError("the row comes from a file that was read in another way; import its file by itself")
        return dict(held.get("refused", {}))


def _tuples(said: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in said.items()}


def written(cell: Cell, how: Manner | None) -> tuple[str, bool]:
    """(text, False where it must not be read again): `cell` as a text that means the same under `how`, which is None
    for columns that are left out. Text stays as it is; a number, date or the like is written as its field takes it."""
    if how is None or is_blank(cell):
        return as_text(cell), True
    if isinstance(cell, CellError):
        return str(cell), False
    if isinstance(cell, str):
        safe = cell.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")
        return safe, safe == cell
    try:
        value = how.convert(cell)
    except ValueProblem:
        return as_text(cell), False
    text = _canonical(cell, value, how)
    return text, _means(text, value, how)


def _means(text: str, value: Any, how: Manner) -> bool:
    try:
        return bool(how.convert(text) == value)
    except ValueProblem:
        return False


def _canonical(cell: Cell, value: Any, how: Manner) -> str:
    kind = how.column.field.fieldtype
    if kind == "Rating" and isinstance(cell, int | float | Decimal):
        return _number(cell, how.reading.decimal)
    if kind in ("Float", "Currency", "Percent"):
        return _number(value, how.reading.decimal)
    return as_text(cell) if isinstance(cell, list | dict) else as_text(value)


def _number(value: float | Decimal, decimal: str) -> str:
    """Plain digits under the column's decimal mark; where that was never found, so that they prove it themselves."""
    text = f"{Decimal(repr(float(value)) if isinstance(value, float | Share) else value):f}"
    whole, mark, rest = text.partition(".")
    if decimal == "" and len(rest) == 3:
        rest += "0"
    return f"{whole}{decimal or mark}{rest}" if mark else whole
