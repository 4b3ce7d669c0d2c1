"""A digest to twenty thousand readers: constant memory, no request for each beside their mail, one mail each."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.served import Served, once

pytestmark = pytest.mark.long

FEW, MANY = 2_000, 20_000
JOB = """
[jobs.job]
kind = "digest"
schedule = "0 8 * * 1"
title = "Weekly digest"
timeout = "6h"
per_minute = 1000000
users = [["name", "like", "1-%"]]
[[jobs.job.metrics]]
label = "Users"
doctype = "User"
period = "any"
[[jobs.job.lists]]
label = "Users"
doctype = "User"
fields = ["name", "full_name"]
"""


def config(site: Served, folder: Path) -> Path:
    keys = 'api_key = { env = "FRAPPE_API_KEY" }\napi_secret = { env = "FRAPPE_API_SECRET" }'
    head = f'[site]\nurl = "{site.url}"\n{keys}'
    file = folder / "config.toml"
    file.write_text(f'{head}\n[state]\npath = "state.db"\n[log]\nlevel = "warning"\n{JOB}')
    return file


def sent(readers: int, folder: Path) -> int:
    """Peak of memory, in bytes, of a run that sends to so many."""
    folder.mkdir()
    with Served({"User": (0, readers)}, file=folder / "site.db") as site:
        file = config(site, folder)
        found, peak = once(file, site.environ())
        assert (found["status"], found["counts"]) == ("done", {"done": readers})
        assert found["requests"] < readers * 1.03 + 20  # a page of 200 users, a look at the queue for 50 mails
        assert site.count("Communication") == site.count("Email Queue") == readers
        again, _ = once(file, site.environ())
        assert again["counts"] == {"kept": readers} and again["requests"] < readers / 200 + 20
        assert site.count("Email Queue") == readers
    print(f"{readers:,} readers: {found['seconds']:.0f} s, peak {peak / 1e6:.0f} MB, {found['requests']:,} requests")
    return peak


def test_twenty_thousand_readers_take_the_memory_of_two_thousand(tmp_path):
    """Pages of users come and go; the ledger is on the disk."""
    few = sent(FEW, tmp_path / "few")
    assert sent(MANY, tmp_path / "many") < few * 1.2
