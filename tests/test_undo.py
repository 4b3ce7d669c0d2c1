"""`undo`: what comes back of a run, what stays since somebody came after it, and what Frappe gives no way back for."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from daemon import cli_undo
from daemon.errors import Invalid, UsageError
from daemon.runner import Order
from daemon.sandbox import Fault, Sandbox
from daemon.site.client import Site
from tests.conftest import Daemon, days_ago, rules
from tests.jobs.test_import import IDLE, ITEM, Killer, items, load, write

OLD = 'doctype = "Error Log"\nolder_than = "30d"\nstrategy = "rows"'
TODOS = 'doctype = "ToDo"\nolder_than = "30d"\nstrategy = "rows"'
BULK = "deleted_document.bulk_restore"


def undo(site: Daemon, run: str, *, apply: bool = True, explain: Any = None) -> dict[str, Any]:
    """The report of one undo, as the command makes it."""
    job = cli_undo._job(site.app, run)
    return site.app.runner.run(Order(job, site.app.new_run_id(), "undo", dry_run=not apply, explain=explain))


def only(report: dict[str, Any]) -> dict[str, Any]:
    (part,) = report["parts"]
    return dict(part)


def errors(sandbox: Sandbox, number: int) -> None:
    sandbox.seed("Error Log", ({"creation": days_ago(40 + n / 1e4), "method": f"old {n}"} for n in range(number)))
    sandbox.seed("Error Log", [{"creation": days_ago(1), "method": "young"}])


def methods(sandbox: Sandbox) -> Counter[str]:
    return Counter(row["method"] for row in sandbox.rows("Error Log", fields=["method"]))


def edit(site: Daemon, sandbox: Sandbox, name: str, **values: Any) -> None:
    """By somebody else."""
    key, secret = sandbox.keys["manager@example.com"]
    reply = httpx.put(
        f"{sandbox.url}/api/resource/Item/{name}", json=values, headers={"Authorization": f"token {key}:{secret}"}
    )
    assert reply.status_code == 200


@pytest.fixture
def goods(sandbox: Sandbox, daemon_for: Callable[..., Daemon]) -> Daemon:
    sandbox.seed("Item Group", [{"name": name, "item_group_name": name} for name in ("Products", "Parts")])
    return daemon_for(sandbox, IDLE)


# Clean-ups


@pytest.mark.parametrize("version", ["14", "15", "16"])
def test_deleted_rows_come_back_once(version, daemon_for):
    """All that the run deleted and nothing else, by the site's own restore; a second undo restores nothing."""
    with Sandbox(version) as sandbox:
        errors(sandbox, 120)
        before = methods(sandbox)
        site = daemon_for(sandbox, rules(OLD))
        done = site.once()
        assert methods(sandbox) == {"young": 1}
        plan = undo(site, done["run"], apply=False)
        assert only(plan)["counts"] == {"planned": 120} and methods(sandbox) == {"young": 1}
        report = undo(site, done["run"])
        assert report["status"] == "done" and report["reason"] == "undo" and only(report)["counts"] == {"done": 120}
        assert methods(sandbox) == before
        again = undo(site, done["run"])
        assert again["status"] == "done" and only(again)["counts"] == {"kept": 120}
        assert methods(sandbox) == before
        assert any("creation, modified and owner are those of the undo" in note for note in only(report)["notes"])


def test_new_names_are_told(sandbox, daemon_for):
    """A document whose name the site makes comes back under another; one named after a field under its own."""
    sandbox.seed("ToDo", [{"creation": days_ago(50), "description": "x"}])
    sandbox.seed("Item Group", [{"name": "Old", "item_group_name": "Old", "creation": days_ago(50)}])
    named = 'doctype = "Item Group"\nolder_than = "30d"\nstrategy = "rows"\nguard = { max_percent = 100 }'
    site = daemon_for(sandbox, rules(f"{TODOS}\nguard = {{ max_percent = 100 }}", named))
    (old,) = sandbox.rows("ToDo", fields=["name"])
    told: list[Any] = []
    undo(site, site.once()["run"], explain=told.append)
    (new,) = sandbox.rows("ToDo", fields=["name"])
    assert new != old and sandbox.rows("Item Group", fields=["name"]) == [{"name": "Old"}]
    reasons = {outcome.action.name: outcome.reason for outcome in told}
    assert reasons == {old["name"]: f"as {new['name']}", "Old": ""}


def test_a_name_that_was_given_again_is_a_conflict(sandbox, daemon_for):
    """What is there now stays as it is, and the rest comes back."""
    sandbox.seed("Item Group", [{"name": n, "item_group_name": n, "creation": days_ago(50)} for n in ("A", "B")])
    rule = 'doctype = "Item Group"\nolder_than = "30d"\nstrategy = "rows"\nguard = { max_percent = 100 }'
    site = daemon_for(sandbox, rules(rule))
    done = site.once()
    sandbox.seed("Item Group", [{"name": "A", "item_group_name": "A", "parent_item_group": "mine"}])
    plan, report = undo(site, done["run"], apply=False), undo(site, done["run"])
    for found in (plan, report):
        assert only(found)["errors"] == {"Conflict": 1} and found["exit_code"] == 1
    rows = {row["name"]: row["parent_item_group"] for row in sandbox.rows("Item Group")}
    assert rows == {"A": "mine", "B": None}


def test_what_the_site_cleared_by_itself_cannot_come_back(sandbox, daemon_for):
    """Log Settings deletes without a trace: undo says so, of how many rows, and does nothing."""
    errors(sandbox, 20)
    site = daemon_for(sandbox, rules('doctype = "Error Log"\nolder_than = "30d"'))
    report = undo(site, site.once()["run"])
    assert only(report)["errors"] == {"NoWayBack": 20} and methods(sandbox) == {"young": 1}
    assert "Log Settings" in only(report)["samples"][0]["reason"]


def test_without_deleted_documents_rows_come_back_from_the_archive(sandbox, daemon_for, tmp_path):
    """purge_residue leaves the archive alone: each row is inserted anew with its values, and once."""
    errors(sandbox, 120)
    before = methods(sandbox)
    site = daemon_for(sandbox, rules(f'{OLD}\npurge_residue = true\narchive = "archive"'))
    done = site.once()
    assert sandbox.count("Deleted Document") == 0
    report = undo(site, done["run"])
    assert only(report)["counts"] == {"done": 120} and methods(sandbox) == before
    assert only(undo(site, done["run"]))["counts"] == {"kept": 120} and methods(sandbox) == before


def test_without_both_nothing_comes_back(sandbox, daemon_for):
    """And it is said of each row why."""
    errors(sandbox, 12)
    site = daemon_for(sandbox, rules(f"{OLD}\npurge_residue = true"))
    report = undo(site, site.once()["run"], apply=False)
    assert only(report)["errors"] == {"NoWayBack": 12}
    assert "purge_residue removed its Deleted Document" in only(report)["samples"][0]["reason"]


@pytest.mark.parametrize("kind", ["lose_reply", "cut"])
@pytest.mark.parametrize(
    ("more", "path"), [("", f"*{BULK}"), ('\npurge_residue = true\narchive = "a"', "*insert_many")]
)
def test_a_lost_reply_brings_nothing_back_twice(kind, more, path, sandbox, daemon_for):
    """Whether the site had done it is looked up once the request must be over; an undo more does the rest."""
    errors(sandbox, 120)
    before = methods(sandbox)
    site = daemon_for(sandbox, rules(OLD + more))
    done = site.once()
    sandbox.faults.add(Fault(kind, path=path, times=1))
    undo(site, done["run"])
    undo(site, done["run"])
    assert methods(sandbox) == before


def test_where_a_refused_request_is_not_undone_nothing_comes_back_twice(sandbox, daemon_for, monkeypatch):
    """Error Log is of MyISAM: rows before the refused one stay, and are known again."""
    errors(sandbox, 60)
    before = methods(sandbox)
    site = daemon_for(sandbox, rules(f'{OLD}\npurge_residue = true\narchive = "archive"'))
    done = site.once()
    monkeypatch.setattr("daemon.core.doctype.DocType.transactional", False)
    insert_many = Site.insert_many
    refused: list[int] = []

    def halfway(client: Site, docs: Any) -> Any:
        if len(docs) > 1 and not refused:
            refused.append(insert_many(client, docs[:7]) and 1)
            raise Invalid("the eighth is refused")
        return insert_many(client, docs)

    monkeypatch.setattr(Site, "insert_many", halfway)
    assert only(undo(site, done["run"]))["counts"] == {"done": 60}
    assert refused and methods(sandbox) == before


# Imports


def test_what_an_import_created_is_deleted_unless_somebody_changed_it(goods, sandbox, tmp_path):
    """A document that was saved since stays and is told; then the rest of the file may be imported again."""
    path = write(tmp_path / "items.csv", ITEM, items(450))
    done = load(goods, path)
    edit(goods, sandbox, "IT-00007", brand="mine")
    plan = undo(goods, done["run"], apply=False)
    assert only(plan)["counts"] == {"planned": 449, "failed": 1} and sandbox.count("Item") == 450
    report = undo(goods, done["run"])
    assert only(report)["counts"] == {"done": 449, "failed": 1} and only(report)["errors"] == {"Conflict": 1}
    assert [row["name"] for row in sandbox.rows("Item")] == ["IT-00007"]
    assert "changed it since" in only(report)["samples"][0]["reason"]
    again = undo(goods, done["run"])
    assert only(again)["counts"] == {"kept": 449, "failed": 1}


def test_a_file_that_was_taken_back_whole_may_be_imported_again(goods, sandbox, tmp_path):
    """Nothing of it is left, so nothing is there twice; and undo of the first run leaves what the second made."""
    path = write(tmp_path / "items.csv", ITEM, items(20))
    first = load(goods, path)
    undo(goods, first["run"])
    assert sandbox.count("Item") == 0
    assert load(goods, path)["counts"] == {"done": 20}
    assert only(undo(goods, first["run"]))["counts"] == {"kept": 20}
    assert sandbox.count("Item") == 20


def test_what_an_import_changed_is_put_back_where_nobody_came_after(goods, sandbox, tmp_path):
    """Fields get what they held; a field that somebody changed since makes a conflict of its document, another not."""
    load(goods, write(tmp_path / "a.csv", ITEM, items(5)))
    header = ("item_code", "item_name", "item_group", "standard_rate")
    rows = [(f"IT-{n:05d}", f"New {n}", "Parts", "7.5") for n in range(5)]
    done = load(goods, write(tmp_path / "b.csv", header, rows), update_existing=True)
    assert done["counts"] == {"done": 5}
    edit(goods, sandbox, "IT-00001", item_name="Theirs")
    edit(goods, sandbox, "IT-00002", brand="Theirs")
    report = undo(goods, done["run"])
    assert only(report)["counts"] == {"done": 4, "failed": 1}
    assert "changed item_name since" in only(report)["samples"][0]["reason"]
    found = {row["name"]: row for row in sandbox.rows("Item")}
    names = {name: (row["item_name"], row["item_group"], row["standard_rate"]) for name, row in found.items()}
    put_back = {f"IT-{n:05d}": (f"Widget {n}", "Products", 0) for n in range(5) if n != 1}
    assert names == put_back | {"IT-00001": ("Theirs", "Parts", 7.5)} and found["IT-00002"]["brand"] == "Theirs"
    assert only(undo(goods, done["run"]))["counts"] == {"kept": 4, "failed": 1}


def test_runs_are_undone_one_after_the_other(goods, sandbox, tmp_path):
    """The last first: what its undo put back is no edit of somebody's to the undo of the run before it."""
    first = load(goods, write(tmp_path / "a.csv", ITEM, items(3)))
    later = [
        load(goods, write(tmp_path / f"{n}.csv", ITEM[:2], [("IT-00001", f"New {n}")]), update_existing=True)
        for n in range(3)
    ]
    for report in reversed(later):
        assert only(undo(goods, report["run"]))["counts"] == {"done": 1}
    assert {row["item_name"] for row in sandbox.rows("Item")} == {"Widget 0", "Widget 1", "Widget 2"}
    assert only(undo(goods, first["run"]))["counts"] == {"done": 3} and sandbox.count("Item") == 0


def test_child_rows_are_put_back(goods, sandbox, tmp_path):
    """A table is put back whole: rows that the run dropped come back, rows that it added go."""
    sandbox.seed("Customer", [{"name": "Acme", "customer_name": "Acme"}])
    sandbox.seed("Item", [{"name": code, "item_code": code, "item_group": "Products"} for code in "ABC"])
    with goods.app.site() as client:
        lines = [{"item_code": "A", "qty": 1, "rate": 2}, {"item_code": "B", "qty": 3, "rate": 4}]
        order = client.insert({"doctype": "Sales Order", "customer": "Acme", "items": lines})["name"]
    header = ("ID", "items.item_code", "items.qty", "items.rate")
    path = write(tmp_path / "orders.csv", header, [(order, "C", 9, 9)])
    done = load(goods, path, "Sales Order", update_existing=True)
    assert done["counts"] == {"done": 1}
    assert [row["item_code"] for row in sandbox.rows("Sales Order Item")] == ["C"]
    assert only(undo(goods, done["run"]))["counts"] == {"done": 1}
    kept = sorted((row["item_code"], row["qty"], row["rate"]) for row in sandbox.rows("Sales Order Item"))
    assert kept == [("A", 1, 2), ("B", 3, 4)]


def test_submitted_documents_are_cancelled(goods, sandbox, tmp_path):
    """They cannot be deleted; cancelled they stay, and a second undo does nothing."""
    sandbox.seed("Customer", [{"name": "Acme", "customer_name": "Acme"}])
    sandbox.seed("Item", [{"name": "A", "item_code": "A", "item_group": "Products"}])
    header = ("customer", "items.item_code", "items.qty", "items.rate")
    path = write(tmp_path / "orders.csv", header, [("Acme", "A", n, 1) for n in range(1, 4)])
    done = load(goods, path, "Sales Order", submit=True)
    report = undo(goods, done["run"])
    assert only(report)["counts"] == {"done": 3}
    assert [row["docstatus"] for row in sandbox.rows("Sales Order")] == [2, 2, 2]
    assert only(undo(goods, done["run"]))["counts"] == {"kept": 3}


def test_a_document_that_others_link_to_stays(goods, sandbox, tmp_path):
    """The site's own word is the reason; the others go."""
    done = load(goods, write(tmp_path / "items.csv", ITEM, items(3)))
    sandbox.seed("Sales Order", [{"name": "SO-1", "customer": "x"}])
    with goods.app.site() as client:
        client.insert({"doctype": "Customer", "customer_name": "Acme"})
        client.insert({"doctype": "Sales Order", "customer": "Acme", "items": [{"item_code": "IT-00001", "qty": 1}]})
    report = undo(goods, done["run"])
    assert only(report)["counts"] == {"done": 2, "failed": 1} and only(report)["errors"] == {"LinkExistsError": 1}
    assert [row["name"] for row in sandbox.rows("Item")] == ["IT-00001"]


@pytest.mark.parametrize("after", [12, 13])
def test_an_unfinished_import_ends_with_its_undo(after, goods, sandbox, tmp_path):
    """A run that was killed on its way: what it created goes, found by key where no reply came, and nothing goes on."""
    path = write(tmp_path / "items.csv", ITEM, items(900))
    command = [sys.executable, "-m", "daemon", "import", str(path), "-d", "Item", "-c", str(goods.file)]
    killer = Killer(sandbox, command, goods.environ)
    code, _ = killer.run(after)
    killer.on = False
    assert code == -9 and 0 < sandbox.count("Item") < 900
    goods.app.state.interrupt_unfinished(goods.clock.now())
    (run,) = goods.app.state.runs()
    report = undo(goods, run.id)
    assert report["status"] == "done" and sandbox.count("Item") == 0
    assert any("it ends here" in note for note in only(report)["notes"])
    assert only(undo(goods, run.id))["counts"].keys() <= {"kept"}


# Kills


@pytest.mark.parametrize("after", [6, 9, 12])
@pytest.mark.parametrize("more", ["", '\npurge_residue = true\narchive = "archive"'])
def test_a_killed_undo_of_a_clean_up_is_finished_by_the_next(after, more, sandbox, daemon_for):
    """SIGKILL at any request: undo again does the rest, and nothing is there twice."""
    errors(sandbox, 230)
    before = methods(sandbox)
    site = daemon_for(sandbox, rules(OLD + more))
    done = site.once()
    command = [sys.executable, "-m", "daemon", "undo", done["run"], "--apply", "-c", str(site.file)]
    killer = Killer(sandbox, command, site.environ)
    code, out = killer.run(after)
    killer.on = False
    assert code == -9, out
    assert undo(site, done["run"])["status"] == "done" and methods(sandbox) == before
    assert only(undo(site, done["run"]))["counts"] == {"kept": 230} and methods(sandbox) == before


@pytest.mark.parametrize("after", [8, 11, 16])
def test_a_killed_undo_of_an_import_is_finished_by_the_next(after, goods, sandbox, tmp_path):
    """SIGKILL at any request: what the run changed is put back and what it created is gone in the end."""
    load(goods, write(tmp_path / "a.csv", ITEM, items(5)))
    rows = [(f"IT-{n:05d}", f"New {n}", "Parts") for n in range(400)]
    done = load(goods, write(tmp_path / "b.csv", ITEM, rows), update_existing=True)
    assert done["counts"] == {"done": 400}
    command = [sys.executable, "-m", "daemon", "undo", done["run"], "--apply", "-c", str(goods.file)]
    killer = Killer(sandbox, command, goods.environ)
    code, out = killer.run(after)
    killer.on = False
    assert code == -9, out
    undo(goods, done["run"])
    found = {row["name"]: (row["item_name"], row["item_group"]) for row in sandbox.rows("Item")}
    assert found == {f"IT-{n:05d}": (f"Widget {n}", "Products") for n in range(5)}


# The command


def test_the_command_shows_the_plan_and_does_it_where_asked(sandbox, daemon_for, run):
    """A prefix of the id is enough; `history` tells before and after whether it can be undone."""
    errors(sandbox, 7)
    site = daemon_for(sandbox, rules(OLD))
    done = site.once()
    start = done["run"][:-2]
    code, out, _ = run("undo", start, "--config", site.file, environ=site.environ)
    assert code == 0 and "dry run: nothing was changed" in out and methods(sandbox) == {"young": 1}
    code, out, _ = run("history", "--json", "--config", site.file)
    assert [row["undo"]["state"] for row in json.loads(out)] == ["no", "yes"]
    code, out, _ = run("undo", start, "--apply", "--json", "--config", site.file, environ=site.environ)
    assert code == 0 and json.loads(out)["counts"] == {"done": 7}
    code, out, _ = run("history", "--json", "--config", site.file)
    states = [row["undo"]["state"] for row in json.loads(out)]
    assert states == ["no", "no", "undone"]


@pytest.mark.parametrize(
    ("text", "said"),
    [("nosuch", "there is no run 'nosuch'"), ("", "there is no run"), ("2", "several runs begin with '2'")],
)
def test_a_run_that_is_not_there_or_not_one(text, said, sandbox, daemon_for, run):
    """A sentence, and the exit code of a wrong command."""
    errors(sandbox, 2)
    site = daemon_for(sandbox, rules(OLD))
    site.once(), site.once()
    code, _, err = run("undo", text, "--config", site.file, environ=site.environ)
    assert code == 2 and said in err


def test_runs_that_cannot_be_undone(sandbox, daemon_for, tmp_path):
    """Dry runs, runs that did nothing, undos, runs that go on, of another site: each has its sentence."""
    errors(sandbox, 2)
    site = daemon_for(sandbox, rules(OLD))
    dry, done, idle = site.once(dry_run=True), site.once(), site.once()
    undone = undo(site, done["run"])
    for report, said in ((dry, "dry run"), (idle, "changed nothing"), (undone, "an undo itself")):
        with pytest.raises(UsageError, match=said):
            undo(site, report["run"])
    with site.app.state.claim("job"):
        site.app.state.begin_run(cli_record("20990101T000000-000000"))
        with pytest.raises(UsageError, match="still going on"):
            undo(site, "2099")
    with Sandbox("15") as other:
        errors(other, 2)
        moved = daemon_for(other, rules(OLD))
        with pytest.raises(UsageError, match=f"worked on {sandbox.url}, and site.url is {other.url} now"):
            undo(moved, done["run"])


def cli_record(name: str) -> Any:
    from datetime import UTC, datetime

    from daemon.state import Run

    return Run(name, "job", "cleanup", "by hand", None, datetime.now(UTC))


@pytest.mark.parametrize(("kind", "said"), [("sync", "cannot be undone: a sync cannot be undone"), ("digest", "unsent"),
                                            ("expiry", "unsent")])  # fmt: skip
def test_mails_and_syncs_are_not_undone(kind, said, sandbox, daemon_for):
    """What to do instead is said."""
    from dataclasses import replace

    site = daemon_for(sandbox, rules(OLD))
    record = replace(cli_record("20260101T000000-000000"), kind=kind)
    site.app.state.begin_run(record)
    site.app.state.end_run(record.id, "done", site.clock.now(), {"counts": {"done": 3}})
    with pytest.raises(UsageError, match=said.replace("cannot be undone: ", "")):
        undo(site, record.id)


def test_nothing_is_kept_where_nobody_wants_to_undo(sandbox, daemon_for, tmp_path):
    """keep_undo = "0s": no file is written, and undo says why it cannot."""
    errors(sandbox, 2)
    site = daemon_for(sandbox, rules(OLD), top='keep_undo = "0s"')
    done = site.once()
    assert not (tmp_path / "state.db.undo").exists()
    with pytest.raises(UsageError, match="keep_undo"):
        undo(site, done["run"])


def test_where_it_cannot_be_written_down_nothing_is_deleted(sandbox, daemon_for, tmp_path):
    """A full or forbidden disk ends the run before its first delete."""
    errors(sandbox, 2)
    site = daemon_for(sandbox, rules(OLD))
    (tmp_path / "state.db.undo").write_text("in the way")
    report = site.once()
    assert report["error"]["kind"] == "OutputError" and "keep_undo" in report["error"]["action"]
    assert sandbox.count("Error Log") == 3


def test_trails_are_forgotten_in_time(sandbox, daemon_for, tmp_path):
    """With what is known of their undo."""
    errors(sandbox, 2)
    site = daemon_for(sandbox, rules(OLD))
    done = site.once()
    undo(site, done["run"])
    assert len(list((tmp_path / "state.db.undo").iterdir())) == 1
    site.clock.passed += 31 * 86400
    site.app.prune()
    assert list((tmp_path / "state.db.undo").iterdir()) == [] and site.app.state.recall_all("undo") == {}


def test_a_trail_costs_little(goods, sandbox, tmp_path):
    """Some bytes a row, on the disk; no request more than without it."""
    done = load(goods, write(tmp_path / "a.csv", ITEM, items(1000)))
    (trail,) = (tmp_path / "state.db.undo").iterdir()
    assert trail.stat().st_size < 40 * 1000 and trail.stat().st_mode & 0o777 == 0o600
    assert done["run"] in trail.name


def test_the_job_of_an_undo_need_not_be_in_the_configuration(goods, sandbox, tmp_path, run):
    """An import by hand has no section; what it made is taken back all the same."""
    path = write(tmp_path / "a.csv", ITEM, items(3))
    code, out, _ = run("import", path, "-d", "Item", "--json", "-c", goods.file, environ=goods.environ)
    assert code == 0
    code, out, _ = run("undo", json.loads(out)["run"], "--apply", "--json", "-c", goods.file, environ=goods.environ)
    assert code == 0 and json.loads(out)["counts"] == {"done": 3} and sandbox.count("Item") == 0
