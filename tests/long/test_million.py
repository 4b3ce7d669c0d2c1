"""A million rows: nothing is held in memory, nothing is missed, nothing else is touched."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from bench.served import VERSIONS_OF_EACH, Served, config, once

pytestmark = pytest.mark.long

MILLION, YOUNG = 1_000_000, 5_000
LIMIT = 150e6
"""Bytes of resident memory, at the most."""
KEEP = 5


@pytest.fixture
def errors(tmp_path: Path) -> Iterator[Served]:
    """A million rows of Error Log that a rule of 30 days takes, and some that it leaves."""
    with Served({"Error Log": (MILLION, YOUNG), "Version": (0, YOUNG)}, file=tmp_path / "site.db") as site:
        yield site


def index_groups(file: Path) -> None:
    """What a real site's table has, so that the database does not sort a million rows for each page."""
    with closing(sqlite3.connect(file)) as db:
        db.execute('CREATE INDEX "by document" ON "tabVersion" (docname, creation DESC, name DESC)')
        db.execute("""CREATE INDEX "of document" ON "tabVersion" (ifnull("docname", ''))""")


@pytest.mark.parametrize("strategy", ["rows", "log_settings"])
def test_a_million_rows_go_in_constant_memory(strategy, errors, tmp_path):
    """Every matching row is gone, and every other is still there, whichever way they go."""
    file = config(errors.url, tmp_path, f'doctype = "Error Log"\nolder_than = "30d"\nstrategy = "{strategy}"')
    found, peak = once(file, errors.environ())
    assert (found["status"], found["counts"]) == ("done", {"done": MILLION})
    assert errors.count("Error Log") == errors.count("Error Log", [["name", "like", "1-%"]]) == YOUNG
    assert errors.count("Version") == YOUNG
    assert peak < LIMIT
    print(f"{strategy}: {found['seconds']:.0f} s, peak {peak / 1e6:.0f} MB, {found['requests']:,} requests")


def test_a_dry_run_looks_at_a_million_rows_in_constant_memory(tmp_path):
    """With keep_latest each row must be looked at, and its group remembered no longer than it lasts."""
    rule = f'doctype = "Version"\nolder_than = "30d"\nkeep_latest = {KEEP}\ngroup_by = ["docname"]'
    with Served({"Version": (MILLION, 0)}, file=tmp_path / "site.db") as site:
        index_groups(tmp_path / "site.db")
        found, peak = once(config(site.url, tmp_path, rule), site.environ(), "--dry-run")
        kept = MILLION // VERSIONS_OF_EACH * KEEP
        assert (found["status"], found["counts"]) == ("done", {"planned": MILLION - kept, "kept": kept})
        assert site.count("Version") == MILLION
    assert peak < LIMIT
    print(f"dry run: {found['seconds']:.0f} s, peak {peak / 1e6:.0f} MB, {found['requests']:,} requests")
