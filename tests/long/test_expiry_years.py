"""Expiry notices, proven at length: many years of mishaps, a kill at every step, 200,000 documents."""

from __future__ import annotations

import pytest

from tests.jobs.test_expiry import World
from tests.jobs.test_expiry_crash import kill_and_go_on, law

pytestmark = pytest.mark.long


@pytest.mark.parametrize("zone", ["America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Apia"])
def test_many_years(zone, tmp_path_factory):
    """Nothing twice, nothing left out: see tests/jobs/test_expiry_crash.py."""
    law(zone, tmp_path_factory, 15)


STEPS = [("License", 2), ("User", 1), ("email.make", 6), ("Email%20Queue", 1), ("insert_many", 2), ("Notification", 2)]


@pytest.mark.parametrize(("path", "number"), [(path, n) for path, last in STEPS for n in range(1, last + 1)])
def test_kill_9_at_every_step(path, number, sandbox, daemon_for, tmp_path):
    """One mail each, one document of the ledger for each notice."""
    kill_and_go_on(number, path, World(sandbox, daemon_for, tmp_path), tmp_path)
