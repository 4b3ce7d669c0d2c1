"""JSON Lines: values as they are, the header from all objects, errors with line and column."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from daemon.errors import FileProblem
from daemon.files.cells import Limits, Row
from daemon.files.table import open_table, survey


def test_objects_become_rows_under_all_their_keys(tmp_path: Path) -> None:
    """In the order in which the keys are first seen; fractions lose no digit, lists stay lists."""
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"a": 0.10, "b": null}\r\n\n{"c": [{"d": 1}], "a": true}\n')
    with open_table(path) as table:
        assert (table.format, table.header, table.records) == ("jsonl", ("a", "b", "c"), 2)
        assert list(table) == [Row(1, (Decimal("0.10"), None, None)), Row(3, (True, None, [{"d": 1}]))]
        assert [row.line for row in table.rows(skip=1)] == [3]
        assert str(next(iter(table)).cells[0]) == "0.10"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a":1}\n{"a":}\n', r"line 2, column 6: Expecting value"),
        ('{"a":1}\n[1]\n', r"line 2: the line is no JSON object"),
        ('[{"a":1}]\n', r"line 1: this is one JSON array, not JSON Lines"),
        ('[\n{"a":1}\n]\n', r"line 1: this is one JSON array, not JSON Lines"),
        ('{"a":1,"a":2}\n', r"line 1: the key 'a' is there twice"),
        ('{"a":NaN}\n', r"line 1: NaN is no value of JSON"),
        ('{"a":' + "9" * 5000 + "}\n", r"line 1: "),
        ('{"a":' + "[" * 100_000 + "\n", r"line 1: it is nested too deeply"),
        ('{"a":"\\ud800"}\n', r"line 1: half of a surrogate pair"),
        ('{"a":1e99999999999999999999}\n', r"line 1: "),
        ('{"":1}\n', r"line 1: a key is empty"),
        ('{"a":1,"b":2,"c":3}\n{"d":4}\n', r"line 2: there are more than 3 different keys"),
        ("{}\n", r"the file is empty"),
    ],
)
def test_a_bad_line_says_where(tmp_path: Path, text: str, message: str) -> None:
    """Line and column, and what is wrong there."""
    path = tmp_path / "a.jsonl"
    path.write_text(text)
    with pytest.raises(FileProblem, match=message):
        survey(path, limits=Limits(columns=3))


def test_other_encodings_need_their_mark(tmp_path: Path) -> None:
    """JSON Lines are UTF-8; nothing is guessed."""
    path = tmp_path / "a.jsonl"
    path.write_bytes('{"a":"é"}\n'.encode("latin-1"))
    with pytest.raises(FileProblem, match="line 1: byte 0xe9 is not utf-8"):
        survey(path)
