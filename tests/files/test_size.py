"""Memory does not grow with the rows that are read."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import openpyxl
import pytest

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux says what was used")

# getrusage would count what the test's own process held before it became the other.
LIMIT = 150e6
PROGRAM = """
import json, re, sys
from pathlib import Path
from daemon.files.table import open_table
with open_table(sys.argv[1]) as table:
    rows = sum(1 for _ in table)
peak = re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())
print(json.dumps([rows, int(peak[1]) * 1024]))
"""


def written(path: Path, rows: int) -> Path:
    if path.suffix == ".xlsx":
        book = openpyxl.Workbook(write_only=True)
        sheet = book.create_sheet()
        sheet.append(["name", "item", "qty"])
        for number in range(rows):
            sheet.append([f"ROW-{number}", f"Item {number % 500}", number])
        book.save(path)
        return path
    line = '{{"name": "ROW-{0}", "qty": {0}}}\n' if path.suffix == ".jsonl" else 'ROW-{0},Item,{0},"a note"\n'
    with path.open("w") as file:
        file.write("" if path.suffix == ".jsonl" else "name,item,qty,note\n")
        file.writelines(line.format(number) for number in range(rows))
    return path


def read(path: Path) -> list[int]:
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(path)], capture_output=True, check=True)
    found: list[int] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_ten_times_the_rows_take_the_same_memory(tmp_path: Path, suffix: str) -> None:
    """Rows come and go; nothing of them is kept."""
    few, many = (read(written(tmp_path / f"{rows}.{suffix}", rows)) for rows in (5_000, 50_000))
    assert (few[0], many[0]) == (5_000, 50_000)
    assert many[1] / few[1] < 1.2


@pytest.mark.long
@pytest.mark.parametrize("suffix", ["csv", "jsonl", "xlsx"])
def test_a_million_rows_are_read_in_constant_memory(tmp_path: Path, suffix: str) -> None:
    """Of text and of .xlsx alike."""
    rows, peak = read(written(tmp_path / f"a.{suffix}", 1_000_000))
    assert rows == 1_000_000 and peak < LIMIT
    print(f"{suffix}: peak {peak / 1e6:.0f} MB")
