"""Imports at full size, and killed two hundred times; minutes each, so `make test-long` alone runs them."""

from __future__ import annotations

import csv
import json
import os
import random
import resource
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from daemon.sandbox import Fault, Sandbox
from tests.jobs.test_import import IDLE, ITEM, Killer, items, read, write

pytestmark = pytest.mark.long


def test_a_million_rows_in_constant_memory(tmp_path, daemon_for):
    """Peak RSS below 150 MB and at most 0.25 ms of CPU a row; every row is on the site and in the result file."""
    number = 1_000_000
    with (tmp_path / "items.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(ITEM)
        writer.writerows((f"IT-{n:07d}", f"Widget {n}", "Products") for n in range(number))
    with Sandbox("15", path=tmp_path / "site.db") as sandbox:
        sandbox.seed("Item Group", [{"name": "Products", "item_group_name": "Products"}])
        site = daemon_for(sandbox, IDLE)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [sys.executable, "-m", "daemon", "import", str(tmp_path / "items.csv"), "-d", "Item", "--json"]
        done = subprocess.run(
            [*command, "--config", str(site.file)], env=os.environ | site.environ, stdout=subprocess.PIPE, check=True
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        print(
            f"{1000 * cpu / number:.3f} ms CPU a row, {after.ru_maxrss // 1024} MB", json.loads(done.stdout)["seconds"]
        )
        assert json.loads(done.stdout)["counts"] == {"done": number} and sandbox.count("Item") == number
    assert after.ru_maxrss < 150 * 1024 and cpu / number <= 0.25e-3


def test_two_hundred_kills_leave_each_row_once(sandbox, daemon_for, tmp_path):
    """An import of 20,000 rows, SIGKILLed at random 200 times, with lost replies, 429, 503 and deadlocks."""
    sandbox.seed("Item Group", [{"name": "Products", "item_group_name": "Products"}])
    site = daemon_for(sandbox, IDLE)
    path = write(tmp_path / "items.csv", ITEM, items(20_000))
    chance, kills, code = random.Random(1), 0, 1
    for kind, more in (("lose_reply", {"path": "*insert_many"}), ("deadlock", {}),
                       ("status", {"code": 429, "html": False, "retry_after": 0.01}),
                       ("status", {"code": 503, "html": False, "retry_after": 0.01})):  # fmt: skip
        sandbox.faults.add(Fault(kind, chance=0.05, **more))
    command = [sys.executable, "-m", "daemon", "import", str(path), "-d", "Item", "--config", str(site.file)]
    killer = Killer(sandbox, command, site.environ)
    while code:
        code, out = killer.run(chance.randrange(1, 9) if kills < 200 else 0)
        kills += code == -signal.SIGKILL
        assert code in (0, -signal.SIGKILL, 75, 1), out
    results = Counter(row["item_code"] for row in read(Path(f"{path}.success.csv")))
    assert sandbox.count("Item") == len(results) == 20_000 and set(results.values()) == {1}
    print(f"{kills} kills")
    assert kills >= 100
