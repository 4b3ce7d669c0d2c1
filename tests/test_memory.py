"""Memory does not grow with the rows that a clean-up goes through; tests/long does it with a million."""

from __future__ import annotations

from bench.served import Served, config, once

FEW, MANY = 2_000, 20_000


def peak(rows: int, folder) -> int:
    """Bytes of resident memory that cleaning up so many rows took, at the most."""
    folder.mkdir()
    with Served({"Error Log": (rows, 10)}) as site:
        file = config(site.url, folder, 'doctype = "Error Log"\nolder_than = "30d"\nstrategy = "rows"')
        found, used = once(file, site.environ())
        assert found["counts"] == {"done": rows}
        assert site.count("Error Log") == 10
    return used


def test_ten_times_the_rows_take_the_same_memory(tmp_path):
    """Pages come and go; nothing of them is kept."""
    assert peak(MANY, tmp_path / "many") / peak(FEW, tmp_path / "few") < 1.2
