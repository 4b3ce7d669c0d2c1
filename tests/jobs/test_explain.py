"""`explain` of clean-ups, imports and digests: an answer from what is there and from what was written down."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from daemon.errors import UsageError
from daemon.sandbox import Sandbox
from tests.conftest import Daemon, days_ago, rules
from tests.jobs.test_digest import METRICS, job, readers
from tests.jobs.test_import import IDLE, ITEM, items, load, write
from tests.test_undo import undo


def explained(site: Daemon, *words: str, job: str = "job") -> list[tuple[str, str]]:
    found = site.app.job(job)
    with site.app.inquiry(found) as inquiry:
        return [(row["state"], row["why"]) for row in found.kind.explain(inquiry, found.settings, words)]


OLD = 'doctype = "Error Log"\nolder_than = "30d"\nstrategy = "rows"'


def test_a_row_that_is_there_is_judged_as_the_run_would(sandbox, daemon_for):
    """What `explain` says of each row is what the dry run says of it, by age, filter and rank."""
    sandbox.seed("Error Log", ({"creation": days_ago(20 + n), "method": f"m{n % 2}"} for n in range(20)))
    sandbox.seed(
        "Version", ({"creation": days_ago(n), "docname": f"D{n % 3}", "ref_doctype": "Item"} for n in range(30))
    )
    newest = 'doctype = "Version"\nolder_than = "10d"\nkeep_latest = 5\ngroup_by = ["docname"]'
    site = daemon_for(sandbox, rules(f'{OLD}\nfilters = [["method", "=", "m1"]]', newest))
    seen: dict[tuple[str, str], str] = {}
    site.once(dry_run=True, explain=lambda o: seen.update({(o.action.doctype, o.action.name): o.result.value}))
    for doctype in ("Error Log", "Version"):
        for row in sandbox.rows(doctype, fields=["name"]):
            ((state, why),) = explained(site, doctype, row["name"])
            assert (state == "goes") == (seen.get((doctype, row["name"]), "kept") == "planned"), why
    (young,) = (
        row["name"] for row in sandbox.rows("Error Log") if row["method"] == "m1" and row["creation"] > days_ago(22)
    )
    assert "not older than 30d" in explained(site, "Error Log", young)[0][1]


def test_a_row_that_went_is_told_of_by_the_run_that_took_it(sandbox, daemon_for):
    """When, by which rule, and whether it came back; of others what the site itself remembers."""
    sandbox.seed("Error Log", ({"creation": days_ago(50), "method": "x"} for _ in range(4)))
    first, second, *_ = (row["name"] for row in sandbox.rows("Error Log", fields=["name"]))
    site = daemon_for(sandbox, rules(f"{OLD}\nguard = {{ max_percent = 100 }}"))
    with site.app.site() as client:
        client.delete("Error Log", first)
    done = site.once()
    ((state, why),) = explained(site, "Error Log", first)
    assert state == "deleted" and "by Administrator" in why and "in no run of this job" in why
    ((state, why),) = explained(site, "Error Log", second)
    assert state == "deleted" and f"by run {done['run']}" in why and "older than 30d" in why
    undo(site, done["run"])
    assert "an undo brought it back as" in explained(site, "Error Log", second)[0][1]
    assert explained(site, "Error Log", "never-was")[0][0] == "unknown"
    with pytest.raises(UsageError, match="no rule of job is about 'Item'"):
        explained(site, "Item", "x")


def test_an_import_tells_file_and_line(sandbox: Sandbox, daemon_for: Callable[..., Daemon], tmp_path: Any):
    """Of a document every run that made or changed it; of a row why it became nothing."""
    sandbox.seed("Item Group", [{"name": "Products", "item_group_name": "Products"}])
    inbox = f'[jobs.job]\nkind = "import"\nschedule = "yearly"\ninbox = "{tmp_path / "in"}"\ndoctype = "Item"\n'
    site = daemon_for(sandbox, IDLE + inbox)
    made = load(site, write(tmp_path / "a.csv", ITEM, [*items(3), ("IT-9", "x", "Nonsense")]))
    site.clock.passed += 1  # runs are told apart by the second
    changed = load(site, write(tmp_path / "b.csv", ITEM[:2], [("IT-00001", "New")]), update_existing=True)
    (last, whys), (state, why) = explained(site, "IT-00001")
    assert (last, state) == ("updated", "created")
    assert f"by run {changed['run']} from line 2 of" in whys and "item_name" in whys
    assert f"by run {made['run']} from line 3 of {tmp_path / 'a.csv'}" in why
    ((state, why),) = explained(site, "a.csv", "5")
    assert state == "failed" and "Nonsense" in why
    assert explained(site, "a.csv", "3") == [("created", f"Item IT-00001, by run {made['run']}")]
    undo(site, made["run"])
    assert "took" in explained(site, "a.csv", "2")[0][1]
    assert explained(site, "nosuch")[0][0] == "unknown"


def test_a_digest_tells_what_went_to_a_reader(sandbox, daemon_for):
    """The mail of each period by its Communication; and why somebody gets none."""
    sandbox.seed("User", readers(2))
    sandbox.seed("User", [{"name": "other@example.com", "email": "other@example.com", "enabled": 1}])
    site = daemon_for(sandbox, job(parts=METRICS))
    assert site.once()["counts"]["done"] == 2
    (is_reader, _), (state, why) = explained(site, "reader1@example.com")
    (name,) = (row["name"] for row in sandbox.rows("Communication") if "reader1@" in row["recipients"])
    assert (is_reader, state) == ("reader", "sent") and name in why
    (left_out, why), (state, _) = explained(site, "other@example.com")
    assert (left_out, state) == ("left out", "not sent") and "reader%" in why
    assert explained(site, "nobody")[0][0] == "left out"
