"""Objects of a JSON Lines file, one by one: UTF-8, an object on each line. Writes nothing."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from daemon.errors import FileProblem
from daemon.files.cells import Limits, Row, problem
from daemon.files.text import Lines

_NO_OBJECT = "the line is no JSON object"


class JsonLines:
    """Iterating gives (line, object) of each line that is not blank. Raises FileProblem."""

    def __init__(self, path: str, lines: Lines, limits: Limits) -> None:
        self._path = path
        self._lines = lines
        self._limits = limits

    def texts(self, skip: int = 0) -> Iterator[tuple[int, str]]:
        """Lines that are not blank, beyond the first `skip`, as they stand in the file."""
        for line in self._lines:
            self._lines.clear()
            if line.isspace():
                continue
            if skip:
                skip -= 1
                continue
            yield self._lines.number, line

    def __iter__(self) -> Iterator[tuple[int, dict[str, Any]]]:
        return ((number, self._parsed(number, line)) for number, line in self.texts())

    def under(self, header: tuple[str, ...], skip: int) -> Iterator[Row]:
        """Rows with a cell for each name of `header`: None where an object lacks it."""
        for number, line in self.texts(skip):
            found = self._parsed(number, line)
            yield Row(number, tuple([found.get(name) for name in header]))

    def header(self, names: dict[str, None], number: int, found: dict[str, Any]) -> None:
        """Put the keys of `found` that are new into `names`."""
        if not found.keys() <= names.keys():
            names.update(dict.fromkeys(found))
            if len(names) > self._limits.columns:
                why = f"there are more than {self._limits.columns:,} different keys; that many are read"
                raise problem(self._path, why, number)
            if "" in names:
                raise problem(self._path, "a key is empty", number)

    def _parsed(self, number: int, line: str) -> dict[str, Any]:
        try:
            found = _DECODER.decode(line.strip())
            if "\\ud" in line or "\\uD" in line:
                json.dumps(found, ensure_ascii=False, default=str).encode()
        except json.JSONDecodeError as error:
            if number == 1 and line.lstrip().startswith("["):
                raise self._array() from None
            raise problem(self._path, f"{error.msg}", number, f"{error.colno}") from None
        except UnicodeEncodeError:
            raise problem(self._path, "half of a surrogate pair stands alone", number) from None
        except (ValueError, ArithmeticError, RecursionError) as error:
            why = (
                "it is nested too deeply" if isinstance(error, RecursionError) else str(error) or "a number is too big"
            )
            raise problem(self._path, why, number) from None
        if not isinstance(found, dict):
            raise self._array() if isinstance(found, list) and number == 1 else problem(self._path, _NO_OBJECT, number)
        return found

    def _array(self) -> FileProblem:
        return problem(
            self._path, "this is one JSON array, not JSON Lines", 1, action="Write each object on a line of its own."
        )


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        ((twice, _),) = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"the key {twice!r} is there twice")
    return found


def _constant(text: str) -> None:
    raise ValueError(f"{text} is no value of JSON")


_DECODER = json.JSONDecoder(parse_float=Decimal, parse_constant=_constant, object_pairs_hook=_object)
