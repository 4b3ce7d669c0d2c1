"""Expiry notices, proven at length: many years of mishaps, a kill at every step, 200,000 documents."""

from __future__ import annotations

import pytest

from bench.served import PEOPLE, Served, once
from tests.jobs.test_expiry import World
from tests.jobs.test_expiry_crash import kill_and_go_on, law

pytestmark = pytest.mark.long


@pytest.mark.parametrize("zone", ["America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Apia"])
def test_many_years(zone, tmp_path_factory):
    """Nothing twice, nothing left out: see tests/jobs/test_expiry_crash.py."""
    law(zone, tmp_path_factory, 15)


STEPS = [("License", 1), ("User", 1), ("email.make", 6), ("Email%20Queue", 1), ("insert_many", 1)]


@pytest.mark.parametrize(("path", "number"), [(path, n) for path, last in STEPS for n in range(1, last + 1)])
def test_kill_9_at_every_step(path, number, sandbox, daemon_for, tmp_path):
    """One mail each, one document of the ledger for each notice."""
    kill_and_go_on(number, path, World(sandbox, daemon_for, tmp_path), tmp_path)


def config(url, folder):
    keys = 'api_key = { env = "FRAPPE_API_KEY" }\napi_secret = { env = "FRAPPE_API_SECRET" }'
    rule = 'doctype = "Contract"\ndate_field = "end_date"\ndays_before = [30, 7, 1]\nnotify = "owner"'
    job = '[jobs.job]\nkind = "expiry"\nschedule = "daily"\ntimeout = "3h"\nper_minute = 60000\n'
    file = folder / "config.toml"
    head = f'[site]\nurl = "{url}"\n{keys}\n[state]\npath = "state.db"\n[log]\nlevel = "warning"\n'
    file.write_text(f"{head}{job}[[jobs.job.rules]]\n{rule}\n")
    return file


def told(documents, folder):
    """(peak of memory, requests) of telling people of so many documents."""
    folder.mkdir()
    with Served({"User": (PEOPLE, 0), "Contract": (documents, 0)}, file=folder / "site.db") as site:
        file = config(site.url, folder)
        found, peak = once(file, site.environ())
        assert (found["status"], found["counts"]) == ("done", {"done": documents})
        assert site.count("Notification Log") == documents
        again, _ = once(file, site.environ())
        assert (again["counts"], site.count("Notification Log")) == ({"kept": documents}, documents)
    numbers = f"{found['seconds']:.0f} s, {found['requests']:,} requests; again: {again['seconds']:.0f} s"
    print(f"{documents:,} documents: peak {peak / 1e6:.0f} MB, {numbers}, {again['requests']:,} requests")
    return peak, found["requests"]


def test_two_hundred_thousand_documents_in_constant_memory(tmp_path):
    """Ten times the documents take the same memory, and requests by the page: 200 documents or notices in each."""
    few, _ = told(20_000, tmp_path / "few")
    many, requests = told(200_000, tmp_path / "many")
    assert many / few < 1.2
    assert requests < 200_000 / 200 * 3 + 2000
