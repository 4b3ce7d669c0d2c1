"""Imports: what rows become, what is told of those that become nothing, and that nothing comes twice or gets lost."""

from __future__ import annotations

import csv
import gzip
import io
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from daemon import tables
from daemon.config import one_job
from daemon.files.inbox import held
from daemon.jobs._import.load import ROUNDS
from daemon.runner import Order
from daemon.sandbox import Fault, Sandbox
from daemon.site.client import Site
from tests.conftest import Daemon

IDLE = '[jobs.idle]\nkind = "cleanup"\nschedule = "yearly"\n[[jobs.idle.rules]]\ndoctype = "ToDo"\nolder_than = "9d"\n'


def write(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


def items(number: int, start: int = 0) -> list[tuple[str, str, str]]:
    return [(f"IT-{n:05d}", f"Widget {n}", "Products") for n in range(start, start + number)]


class Before:
    """Calls `act` with method and path before the sandbox looks at each request."""

    def __init__(self, sandbox: Sandbox, act: Callable[[str, str], None]) -> None:
        self._hit, self._act, self.on = sandbox.faults.hit, act, True
        sandbox.wire.faults = self

    def hit(self, method: str, path: str) -> list[Fault]:
        if self.on:
            self._act(method, path)
        return self._hit(method, path)


class Killer(Before):
    """Runs a command and kills it as the sandbox takes its `after`th request; 0: never."""

    def __init__(self, sandbox: Sandbox, command: Sequence[str], environ: dict[str, str]) -> None:
        super().__init__(sandbox, self._count)
        self._command, self._environ, self._left = command, os.environ | environ, 0
        self._process: subprocess.Popen[bytes] | None = None

    def _count(self, method: str, path: str) -> None:
        self._left -= 1
        if self._left == 0 and self._process:
            self._process.send_signal(signal.SIGKILL)

    def run(self, after: int) -> tuple[int, bytes]:
        """(exit code, all that it printed)."""
        self._left = after
        self._process = subprocess.Popen(
            self._command, env=self._environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        out, _ = self._process.communicate(timeout=120)
        return self._process.returncode, out


ITEM = ("item_code", "item_name", "item_group")


@pytest.fixture
def site(sandbox: Sandbox, daemon_for: Callable[..., Daemon]) -> Daemon:
    sandbox.seed("Item Group", [{"name": "Products", "item_group_name": "Products"}])
    return daemon_for(sandbox, IDLE)


def load(site: Daemon, path: Path, doctype: str = "Item", *, dry_run: bool = False, **settings: Any) -> dict[str, Any]:
    """The report of one import by the command."""
    job = one_job(f"import {doctype}", "import", {"doctype": doctype, "file": str(path), "timeout": "30d", **settings})
    return site.app.runner.run(Order(job, site.app.new_run_id(), "by hand", dry_run=dry_run))


def test_rows_become_documents_and_the_result_file_names_them(site, sandbox, tmp_path):
    """Every row once, with its document's name beside its own columns; the numbers add up."""
    report = load(site, write(tmp_path / "items.csv", ITEM, items(450)))
    assert report["status"] == "done" and report["counts"] == {"done": 450}
    assert sandbox.count("Item") == 450
    results = read(tmp_path / "items.csv.success.csv")
    assert [(r["item_code"], r["import_document"], r["import_result"]) for r in results] and len(results) == 450
    assert {r["import_document"] for r in results} == {row["name"] for row in sandbox.rows("Item", fields=["name"])}
    assert not (tmp_path / "items.csv.errors.csv").exists()
    assert sum("insert_many" in path for _, path, _ in sandbox.requests) == 3


def test_a_dry_run_writes_nothing_and_says_what_would_be(site, sandbox, tmp_path):
    """Created, exists already, wrong, linked to nothing: each foretold, and no file is made."""
    sandbox.seed("Item", [{"name": "IT-00000", "item_code": "IT-00000"}])
    rows = [*items(3), ("IT-9", "", "Nonsense"), ("IT-00001", "twice", "Products")]
    report = load(site, write(tmp_path / "items.csv", ITEM, rows), dry_run=True)
    assert report["counts"] == {"planned": 2, "failed": 3} and sandbox.count("Item") == 1
    reasons = " | ".join(f"{sample['name']}: {sample['reason']}" for sample in report["parts"][0]["samples"])
    assert "line 2: exists already as IT-00000" in reasons
    assert "there is no Item Group 'Nonsense'" in reasons and "has the same item_code as line 3" in reasons
    assert [path.name for path in tmp_path.glob("items*")] == ["items.csv"]
    assert not any(method in ("PUT", "DELETE") or "insert" in path for method, path, _ in sandbox.requests)


def test_existing_documents_are_updated_where_asked_and_left_where_equal(site, sandbox, tmp_path):
    """One request finds them, only what differs is sent, and an equal row costs no write at all."""
    load(site, write(tmp_path / "first.csv", ITEM, items(300)))
    rows = [*items(298), ("IT-00298", "New name", "Products"), ("IT-00299", "", "Products"), *items(5, 300)]
    sandbox.requests.clear()
    report = load(site, write(tmp_path / "second.csv", ITEM, rows), update_existing=True)
    assert report["counts"] == {"done": 6, "kept": 299} and report["parts"][0]["facts"]["rows skipped"] == 299
    assert sum(method == "PUT" for method, _, _ in sandbox.requests) == 1
    assert sandbox.rows("Item", {"name": "IT-00298"}, ["item_name"]) == [{"item_name": "New name"}]
    assert sandbox.rows("Item", {"name": "IT-00299"}, ["item_name"]) == [{"item_name": "Widget 299"}]


def test_the_report_says_how_the_file_was_read_and_an_open_encoding_is_refused(site, sandbox, tmp_path):
    """Encoding and delimiter in facts and notes; where the words do not prove it, no row is sent."""
    path = tmp_path / "items.csv"
    path.write_bytes("item_code;item_name;item_group\nA;Müller;Products\n".encode("cp1252"))
    (part,) = load(site, path)["parts"]
    assert (part["facts"]["encoding"], part["facts"]["delimiter"]) == ("cp1252", ";")
    assert "read as csv in cp1252, by words such as Müller, cells divided by ;" in part["notes"]
    path.write_bytes("item_code;item_name;item_group\nB;Dvořák;Products\n".encode("cp1250"))
    (part,) = load(site, path)["parts"]
    assert "as cp1250 it reads Dvořák" in part["error"]["message"] and "--encoding" in part["error"]["action"]
    assert sandbox.count("Item") == 1
    assert load(site, path, encoding="cp1250")["counts"] == {"done": 1}
    assert sandbox.rows("Item", {"name": "B"}, ["item_name"]) == [{"item_name": "Dvořák"}]


def test_without_being_asked_nothing_that_is_there_is_changed(site, sandbox, tmp_path):
    """A row whose document exists is an error that says so; the others are created."""
    load(site, write(tmp_path / "first.csv", ITEM, items(3)))
    report = load(site, write(tmp_path / "second.csv", ITEM, [("IT-00001", "Other", "Products"), *items(2, 3)]))
    assert report["counts"] == {"done": 2, "failed": 1} and report["exit_code"] == 1
    (error,) = read(tmp_path / "second.csv.errors.csv")
    assert error["import_error"] == "line 2: exists already as IT-00001" and error["item_code"] == "IT-00001"
    assert sandbox.rows("Item", {"name": "IT-00001"}, ["item_name"]) == [{"item_name": "Widget 1"}]


@pytest.mark.parametrize(("policy", "name", "result"), [("error", "Theirs", "failed"), ("skip", "Theirs", "kept"),
                                                        ("update", "Ours", "done")])  # fmt: skip
def test_somebody_s_edit_is_not_overwritten_unseen(policy, name, result, site, sandbox, tmp_path):
    """A document that is saved between our reading and our writing follows `on_conflict`."""
    load(site, write(tmp_path / "first.csv", ITEM, items(1)))

    def edit(method, path):
        if method == "PUT":
            before.on = False
            sandbox.set("Item", "IT-00000", item_name="Theirs", modified="2099-01-01 00:00:00.000001")

    before = Before(sandbox, edit)
    path = write(tmp_path / "second.csv", ITEM, [("IT-00000", "Ours", "Products")])
    report = load(site, path, update_existing=True, on_conflict=policy)
    assert report["counts"] == {result: 1}
    assert sandbox.rows("Item", {"name": "IT-00000"}, ["item_name"]) == [{"item_name": name}]


def test_a_bad_row_costs_itself_alone_and_gets_the_site_s_own_words(site, sandbox, tmp_path):
    """The batch is asked for again in pieces; the errors file, mended, imports by itself."""
    sandbox.add_doctype({"name": "Part", "autoname": "field:code", "fields": [
        {"fieldname": "code", "fieldtype": "Data", "reqd": 1},
        {"fieldname": "serial", "fieldtype": "Data", "unique": 1},
        {"fieldname": "amount", "fieldtype": "Data"}]})  # fmt: skip
    sandbox.seed("Part", [{"name": "old", "code": "old", "serial": f"S{n}"} for n in (7,)])
    path = write(tmp_path / "parts.csv", ("code", "serial", "amount"), [(f"P{n}", f"S{n}", "=1+1") for n in range(200)])
    report = load(site, path, "Part")
    assert report["counts"] == {"done": 199, "failed": 1} and sandbox.count("Part") == 200
    (error,) = read(tmp_path / "parts.csv.errors.csv")
    assert error["code"] == "P7" and "must be unique" in error["import_error"] and error["import_line"] == "9"
    mended = (tmp_path / "parts.csv.errors.csv").read_text("utf-8-sig").replace("S7", "S7000")
    (tmp_path / "mended.csv").write_text(mended)
    assert load(site, tmp_path / "mended.csv", "Part")["counts"] == {"done": 1}
    assert sandbox.rows("Part", {"code": "P7"}, ["amount"]) == [{"amount": "=1+1"}]


@pytest.mark.parametrize("bad", [{5}, {0, 199}, {17, 18, 19, 20}, set(range(0, 200, 9)), set(range(30, 200))])
def test_what_only_the_site_can_refuse_is_found_among_the_others(bad, site, sandbox, tmp_path):
    """Wherever the bad rows are, each is told in the site's words, without a word of the API, and all others are
    created."""
    header = ("item_group_name", "parent_item_group")  # links to its own DocType are for the site to judge
    rows = [(f"Group {n}", "Nowhere" if n in bad else "Products") for n in range(200)]
    report = load(site, write(tmp_path / "groups.csv", header, rows), "Item Group")
    assert report["counts"].get("failed", 0) == len(bad) and report["counts"].get("done", 0) == 200 - len(bad)
    errors = {row["item_group_name"]: row["import_error"] for row in read(tmp_path / "groups.csv.errors.csv")}
    assert set(errors) == {f"Group {n}" for n in bad} and all("Nowhere" in error for error in errors.values())
    assert not any("/api/" in error for error in errors.values())
    assert sandbox.count("Item Group") == 201 - len(bad)


def test_a_refusal_that_names_a_row_is_followed(site, sandbox, tmp_path):
    """Its message saves the search: the batch, the row that it names, and the rest."""
    rows = [(f"IT-{n}", "n", "" if n == 77 else "Products") for n in range(200)]
    report = load(site, write(tmp_path / "items.csv", ITEM, rows), mandatory=False)
    assert report["counts"] == {"done": 199, "failed": 1}
    assert sum("insert_many" in path for _, path, _ in sandbox.requests) <= 12


def test_the_same_content_is_imported_once_unless_asked(site, sandbox, tmp_path):
    """Under any name; the message says when, from where, and how to insist."""
    path = write(tmp_path / "todo.csv", ("description",), [("one",), ("two",)])
    load(site, path, "ToDo")
    again = load(site, path.rename(tmp_path / "copy.csv"), "ToDo")
    assert again["exit_code"] == 1 and "was imported before" in again["parts"][0]["error"]["message"]
    assert sandbox.count("ToDo") == 2
    assert load(site, tmp_path / "copy.csv", "ToDo", again=True)["counts"] == {"done": 2}


@pytest.mark.parametrize("fault", [Fault("lose_reply", path="*insert_many", chance=0.4), Fault("deadlock", times=6),
                                   Fault("cut", path="*insert_many", times=ROUNDS)])  # fmt: skip
def test_lost_replies_make_nothing_double(fault, site, sandbox, tmp_path):
    """Whether the site had done it or not is found out by key before anything is sent again."""
    sandbox.faults.add(fault)
    report = load(site, write(tmp_path / "items.csv", ITEM, items(1500)))
    assert report["status"] == "done" and report["counts"] == {"done": 1500}
    assert sandbox.count("Item") == 1500 and len(read(tmp_path / "items.csv.success.csv")) == 1500


def test_rows_without_a_key_whose_reply_was_lost_are_uncertain_and_never_sent_again(site, sandbox, tmp_path):
    """They go into a file of their own with the evidence; the others are imported."""
    sandbox.faults.add(Fault("lose_reply", path="*insert_many", times=1))
    path = write(tmp_path / "todo.csv", ("description",), [(f"Call {n}",) for n in range(600)])
    report = load(site, path, "ToDo")
    assert report["counts"] == {"done": 400, "uncertain": 200} and sandbox.count("ToDo") == 600
    uncertain = read(tmp_path / "todo.csv.uncertain.csv")
    assert len(uncertain) == 200 and "no key to look it up by" in uncertain[0]["import_error"]


def test_a_key_that_the_site_does_not_guard_is_waited_for(site, sandbox, tmp_path):
    """Where a second document could get the same key, nothing is sent again before the first request must be over."""
    sandbox.faults.add(Fault("cut", path="*insert_many", times=1))
    path = write(tmp_path / "todo.csv", ("description", "reference_name"), [(f"Call {n}", f"R{n}") for n in range(50)])
    report = load(site, path, "ToDo", key="reference_name")
    assert report["counts"] == {"done": 50} and sandbox.count("ToDo") == 50
    assert site.clock.passed >= 130


def test_created_documents_are_submitted_where_asked(site, sandbox, tmp_path):
    """In two steps, looked at after a lost reply; what the site will not submit stays a draft and is told."""
    sandbox.add_doctype({"name": "Slip", "autoname": "field:code", "is_submittable": 1,
                         "fields": [{"fieldname": "code", "fieldtype": "Data", "reqd": 1}]})  # fmt: skip
    sandbox.faults.add(Fault("lose_reply", method="PUT", chance=0.3))
    path = write(tmp_path / "slips.csv", ("code",), [(f"S{n}",) for n in range(30)])
    report = load(site, path, "Slip", submit=True)
    assert report["counts"] == {"done": 30} and sandbox.count("Slip", {"docstatus": 1}) == 30


def test_child_rows_follow_their_document_as_in_frappe_s_own_exports(site, sandbox, tmp_path):
    """Blank cells of the document continue the one above."""
    sandbox.seed("Customer", [{"name": "Acme", "customer_name": "Acme"}])
    sandbox.seed("Item", [{"name": code, "item_code": code} for code in ("A", "B")])
    header = ("customer", "delivery_date", "items.item_code", "items.qty", "items.rate")
    rows = [("Acme", "2026-12-01", "A", 1, 5), ("", "", "B", 2, 7), ("Acme", "2026-12-02", "B", 3, 7)]
    report = load(site, write(tmp_path / "orders.csv", header, rows), "Sales Order", mandatory=False)
    assert report["counts"] == {"done": 3}, report["parts"][0]["samples"]
    assert sandbox.count("Sales Order") == 2 and sandbox.count("Sales Order Item") == 3


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b"item_code,item_code\nA,B\n", "item_code"),
        (b"item_code,colour\nA,B\n", "colour"),
        (b"item_code,item_name\nA,B,C\n", "line 2"),
        (b"item_code\n\"A\n", "line 2"),
        (b"%PDF-1.7 x", "PDF"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_table_of_the_doctype_is_refused_whole(content, says, site, sandbox, tmp_path):
    """One clear sentence, the file kept, nothing written."""
    (tmp_path / "bad.csv").write_bytes(content)
    report = load(site, tmp_path / "bad.csv")
    assert report["exit_code"] == 1 and says in report["parts"][0]["error"]["message"], report["parts"][0]["error"]
    assert sandbox.count("Item") == 0 and (tmp_path / "bad.csv").read_bytes() == content


@pytest.mark.parametrize(("doctype", "says"), [("Nonsense", "not found"), ("Sales Order Item", "child table"),
                                               ("System Settings", "single")])  # fmt: skip
def test_a_doctype_that_cannot_be_imported_into_is_refused(doctype, says, site, tmp_path):
    """Missing, a child table, a Single: before any row is looked at."""
    report = load(site, write(tmp_path / "x.csv", ("name",), [("a",)]), doctype)
    error = report["parts"][0]["error"]
    assert says in error["message"].lower() and error["who"] == "operator"


def test_a_header_alone_is_nothing_to_do(site, tmp_path):
    """No rows, no documents, no error."""
    assert load(site, write(tmp_path / "x.csv", ITEM, []))["status"] == "done"


def test_a_user_who_may_not_create_is_told_before_the_first_row(sandbox, daemon_for, tmp_path):
    """With who must act."""
    site = daemon_for(sandbox, IDLE, user="clerk@example.com")
    report = load(site, write(tmp_path / "x.csv", ("item_code",), [("a",)]))
    assert report["parts"][0]["error"]["who"] == "site administrator" and "create Item" in str(report["parts"])


INBOX = """
[jobs.items]
kind = "import"
schedule = "every 5m"
inbox = "inbox"
doctype = "Item"
quiet = "30s"
"""


def test_files_in_the_inbox_are_claimed_imported_and_put_away(sandbox, daemon_for, tmp_path):
    """Complete ones alone; good ones to done/, those that need a person to failed/, with what became of their rows."""
    sandbox.seed("Item Group", [{"name": "Products", "item_group_name": "Products"}])
    site = daemon_for(sandbox, INBOX)
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    write(inbox / "good.csv", ITEM, items(3))
    write(inbox / "bad.csv", ITEM, [("X", "Y", "Nonsense")])
    (inbox / "noise.csv").write_bytes(b"%PDF-1.7")
    write(inbox / "half.csv.part", ITEM, items(1, 50))
    site.clock.passed = 60
    write(inbox / "fresh.csv", ITEM, items(1, 60))
    later = site.clock.now().timestamp()
    os.utime(inbox / "fresh.csv", (later, later))
    report = site.once("items")
    assert report["counts"] == {"done": 3, "failed": 1} and sandbox.count("Item") == 3
    found = {str(path.relative_to(inbox)) for path in inbox.rglob("*") if path.is_file()}
    assert found == {"done/good.csv", "done/good.csv.success.csv", "failed/bad.csv", "failed/bad.csv.errors.csv",
                     "failed/bad.csv.success.csv",
                     "failed/noise.csv", "failed/noise.csv.error.txt", "half.csv.part", "fresh.csv"}  # fmt: skip
    assert "PDF" in (inbox / "failed/noise.csv.error.txt").read_text()
    assert site.once("items")["counts"] == {}


def test_a_site_that_goes_away_leaves_the_file_claimed_and_the_next_run_goes_on(sandbox, daemon_for, tmp_path):
    """Nothing is put away, nothing is lost, and the journal says where to go on."""
    sandbox.seed("Item Group", [{"name": "Products", "item_group_name": "Products"}])
    site = daemon_for(sandbox, INBOX)
    (tmp_path / "inbox").mkdir()
    write(tmp_path / "inbox" / "many.csv", ITEM, items(3000))
    site.clock.passed = 60
    sandbox.faults.add(Fault("cut", after=14))
    first = site.once("items")
    assert first["exit_code"] == 75 and (tmp_path / "inbox/working/many.csv").exists()
    sandbox.faults.clear()
    assert site.once("items")["status"] == "done" and sandbox.count("Item") == 3000
    assert len(read(tmp_path / "inbox/done/many.csv.success.csv")) == 3000


@pytest.mark.parametrize("seed", range(4))
def test_killed_at_any_moment_it_ends_with_exactly_the_file_s_rows(seed, sandbox, daemon_for, tmp_path):
    """SIGKILL again and again, with replies lost, deadlocks, 429, 503: each row once, on the site and in the files."""
    sandbox.seed("Item Group", [{"name": "Products", "item_group_name": "Products"}])
    site = daemon_for(sandbox, IDLE)
    path = write(tmp_path / "items.csv", ITEM, items(2000))
    chance = random.Random(seed)
    for fault in (Fault("lose_reply", path="*insert_many", chance=0.1), Fault("deadlock", chance=0.05),
                  Fault("status", code=429, html=False, retry_after=0.01, chance=0.05),
                  Fault("status", code=503, html=False, retry_after=0.01, chance=0.05)):  # fmt: skip
        sandbox.faults.add(fault)
    command = [sys.executable, "-m", "daemon", "import", str(path), "-d", "Item", "--config", str(site.file)]
    ends: Counter[int] = Counter()
    killer = Killer(sandbox, command, site.environ)
    while not ends[0]:
        code, out = killer.run(chance.randrange(5, 25) if sum(ends.values()) < 5 else 0)
        ends[code] += 1
        assert code in (0, -signal.SIGKILL, 75), out
        assert sum(ends.values()) < 20
    assert sandbox.count("Item") == 2000 and ends[-signal.SIGKILL] >= 1
    results = Counter(row["item_code"] for row in read(tmp_path / "items.csv.success.csv"))
    assert len(results) == 2000 and set(results.values()) == {1}


def test_a_reply_that_nobody_can_read_leaves_the_rows_open_and_is_looked_up(site, sandbox, tmp_path):
    """HTML or cut JSON with a 200 came after the work was done: neither failed rows nor a second time."""
    sandbox.faults.add(Fault("status", path="*insert_many", code=200, times=1))
    report = load(site, write(tmp_path / "items.csv", ITEM, items(400)))
    assert report["counts"] == {"done": 400} and sandbox.count("Item") == 400
    sandbox.faults.add(Fault("status", path="*insert_many", code=200, times=1))
    path = write(tmp_path / "todo.csv", ("description",), [(f"Call {n}",) for n in range(50)])
    assert load(site, path, "ToDo")["counts"] == {"uncertain": 50}


@pytest.mark.parametrize(
    "fault", [Fault("status", path="*insert_many", code=503), Fault("deadlock", path="*insert_many")]
)
def test_what_the_site_says_it_did_not_do_is_not_uncertain(fault, site, sandbox, tmp_path):
    """Rows without a key that were refused for now are simply sent by the next run."""
    path = write(tmp_path / "todo.csv", ("description",), [(f"Call {n}",) for n in range(300)])
    sandbox.faults.add(fault)
    assert load(site, path, "ToDo")["exit_code"] != 0
    sandbox.faults.clear()
    assert load(site, path, "ToDo")["counts"] == {"done": 300} and sandbox.count("ToDo") == 300


def test_a_key_that_is_refused_in_mid_run_ends_it(site, sandbox, tmp_path):
    """401 is about the daemon, not about rows: none fails for it, and the next run goes on."""
    path = write(tmp_path / "items.csv", ITEM, items(2000))
    fault = Fault("status", path="*insert_many", code=401, html=False, after=3)
    sandbox.faults.add(fault)
    report = load(site, path)
    assert report["exit_code"] in (1, 77) and not report["counts"].get("failed")
    sandbox.faults.clear()
    assert load(site, path)["status"] == "done" and sandbox.count("Item") == 2000


def test_fields_of_child_rows_that_a_file_does_not_name_stay(site, sandbox, tmp_path):
    """A table that is sent replaces the one that is there, so rows go with all that they held."""
    sandbox.seed("Customer", [{"name": "Acme", "customer_name": "Acme"}])
    sandbox.seed("Item", [{"name": code, "item_code": code} for code in ("A", "B")])
    header = ("po_no", "customer", "items.item_code", "items.qty", "items.rate")
    rows = [("P1", "Acme", "A", 1, 5), ("", "", "B", 2, 7)]
    load(site, write(tmp_path / "orders.csv", header, rows), "Sales Order", mandatory=False, key="po_no")
    change = write(tmp_path / "more.csv", ("po_no", "items.item_code", "items.qty"), [("P1", "A", 3), ("", "B", 2)])
    report = load(site, change, "Sales Order", mandatory=False, key="po_no", update_existing=True)
    assert report["counts"] == {"done": 2}
    found = sandbox.rows("Sales Order Item", fields=["item_code", "qty", "rate"])
    assert {(row["item_code"], row["qty"], row["rate"]) for row in found} == {("A", 3, 5), ("B", 2, 7)}


@pytest.mark.parametrize("codes", [("Мой", "Мои"), ("กา", "กี"), ("क", "कि")])
def test_letters_that_only_look_alike_are_two_keys(codes, site, sandbox, tmp_path):
    """Marks make another letter outside the Latin script."""
    rows = [(code, "x", "Products") for code in codes]
    assert load(site, write(tmp_path / "items.csv", ITEM, rows))["counts"] == {"done": 2}


def test_a_tree_is_imported_from_its_root_on(site, sandbox, tmp_path):
    """Rows may link to rows far above them, in batches before their own."""
    rows = [(f"Group {n}", f"Group {n - 1}" if n else "Products") for n in range(700)]
    report = load(site, write(tmp_path / "groups.csv", ("item_group_name", "parent_item_group"), rows), "Item Group")
    assert report["counts"] == {"done": 700}


def test_a_file_that_changes_while_it_is_imported_ends_the_import(site, sandbox, tmp_path):
    """Nothing of the new content is sent under the old one's name."""
    path = write(tmp_path / "items.csv", ITEM, items(3000))

    def change(method, url):
        if "insert_many" in url:
            before.on = False
            write(path, ITEM, items(3000, 50_000))

    before = Before(sandbox, change)
    report = load(site, path)
    assert "changed" in report["parts"][0]["error"]["message"]
    assert not sandbox.count("Item", {"name": [">=", "IT-50000"]})


def test_a_content_that_is_dropped_again_is_refused_and_an_errors_file_is_a_file(sandbox, daemon_for, tmp_path):
    """The inbox tells a file that a crash left from one of the same content that came later; x.errors.csv, mended and
    dropped, is imported like any other, whatever the settings say of delimiters."""
    sandbox.seed("Item Group", [{"name": "Products", "item_group_name": "Products"}])
    site = daemon_for(sandbox, INBOX + 'delimiter = ";"\nencoding = "cp1252"\n')
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    text = "item_code;item_group\nA;Products\nB;Nonsense\n"
    (inbox / "x.csv").write_text(text)
    site.clock.passed = 60
    assert site.once("items")["counts"] == {"done": 1, "failed": 1}
    (inbox / "x.csv").write_text(text)
    assert "was imported before" in site.once("items")["parts"][0]["error"]["message"]
    assert (inbox / "failed/x-2.csv").exists()
    errors = (inbox / "failed/x.csv.errors.csv").read_text("utf-8-sig")
    (inbox / "x.csv.errors.csv").write_text(errors.replace("Nonsense", "Products"), "utf-8-sig")
    assert site.once("items")["counts"] == {"done": 1} and sandbox.count("Item") == 2
    assert (inbox / "done/x.csv.errors.again.csv").exists()


def test_one_file_is_imported_by_one_process(site, tmp_path):
    """Also where two daemons with two states share an inbox: the lock is on the file."""
    path = write(tmp_path / "items.csv", ITEM, items(3))
    with held(path):
        assert "another process" in load(site, path)["parts"][0]["error"]["message"]


def test_a_place_that_takes_no_results_is_told_before_a_row_is_sent(site, sandbox, tmp_path):
    """Rows on the site without a record of them would be worse than none."""
    path = write(tmp_path / f"{'x' * 240}.csv", ITEM, items(3))  # with an ending more it is no name
    report = load(site, path)
    assert report["parts"][0]["error"]["kind"] == "ResultFileError" and sandbox.count("Item") == 0


def test_a_long_text_is_no_key(site, tmp_path):
    """The site cleans it, so that nothing would be found again by it."""
    path = write(tmp_path / "todo.csv", ("description",), [("one",)])
    assert "which the site may change" in load(site, path, "ToDo", key="description")["parts"][0]["error"]["message"]


def test_an_edit_between_a_kill_and_the_next_run_is_not_overwritten(site, sandbox, tmp_path, monkeypatch):
    """What was written down says how the document was when it was read for the first time."""
    load(site, write(tmp_path / "first.csv", ITEM, items(2)))
    path = write(tmp_path / "second.csv", ITEM, [("IT-00000", "Ours", "Products"), ("IT-00001", "Ours", "Products")])
    monkeypatch.setattr(Site, "update", lambda self, doc: (_ for _ in ()).throw(SystemExit("killed")))
    with pytest.raises(SystemExit):
        load(site, path, update_existing=True)
    monkeypatch.undo()
    sandbox.set("Item", "IT-00000", item_name="Theirs", modified="2099-01-01 00:00:00.000001")
    report = load(site, path, update_existing=True)
    assert report["counts"] == {"done": 1, "failed": 1}
    assert sandbox.rows("Item", {"name": "IT-00000"}, ["item_name"]) == [{"item_name": "Theirs"}]


def test_result_files_of_another_content_are_set_aside(site, sandbox, tmp_path):
    """Two contents under one name in turns, the first unfinished: each result file holds the rows of its own."""
    path = write(tmp_path / "items.csv", ITEM, items(2000))
    sandbox.faults.add(Fault("cut", after=14))
    assert load(site, path)["exit_code"]
    sandbox.faults.clear()
    write(path, ITEM, items(300, 50_000))
    assert load(site, path)["counts"] == {"done": 300}
    assert {row["item_code"] for row in read(Path(f"{path}.success.csv"))} == {code for code, *_ in items(300, 50_000)}
    write(path, ITEM, items(2000))
    assert load(site, path)["status"] == "done" and sandbox.count("Item") == 2300
    assert all(row["item_code"] < "IT-02000" for row in read(Path(f"{path}.success.csv")))


def test_fractions_in_the_rows_of_json_lines_are_numbers(site, sandbox, tmp_path):
    """Exact in the file, as Frappe takes them on the wire."""
    sandbox.seed("Customer", [{"name": "Acme", "customer_name": "Acme"}])
    sandbox.seed("Item", [{"name": "A", "item_code": "A"}])
    line = '{"customer": "Acme", "items": [{"item_code": "A", "qty": 1.5}]}\n'
    (tmp_path / "orders.jsonl").write_text(line)
    assert load(site, tmp_path / "orders.jsonl", "Sales Order", mandatory=False)["counts"] == {"done": 1}
    assert sandbox.rows("Sales Order Item", fields=["qty"]) == [{"qty": 1.5}]


def test_wide_rows_make_small_batches(site, sandbox, tmp_path):
    """What is held in memory is bounded by bytes, not by rows alone."""
    rows = [(f"Call {n}" + "x" * 60_000,) for n in range(100)]
    assert load(site, write(tmp_path / "todo.csv", ("description",), rows), "ToDo")["counts"] == {"done": 100}
    assert sum("insert_many" in path for _, path, _ in sandbox.requests) >= 5


def test_an_import_that_the_site_refuses_altogether_gives_up_early(site, sandbox, tmp_path):
    """Such as for a right on another DocType that its own code needs: one error, after a few batches, nothing open."""
    sandbox.faults.add(Fault("status", path="*insert_many", code=403, html=False))
    path = write(tmp_path / "todo.csv", ("description",), [(f"Call {n}",) for n in range(2000)])
    report = load(site, path, "ToDo")
    assert report["parts"][0]["error"]["kind"] == "NothingCreated" and len(sandbox.requests) < 1000
    sandbox.faults.clear()
    assert load(site, path, "ToDo")["counts"] == {"done": 2000}


def test_submitting_asks_for_the_drafts_of_a_batch_at_once(site, sandbox, tmp_path):
    """One list and one PUT a document, not a look at each."""
    sandbox.add_doctype({"name": "Slip", "autoname": "field:code", "is_submittable": 1,
                         "fields": [{"fieldname": "code", "fieldtype": "Data", "reqd": 1}]})  # fmt: skip
    path = write(tmp_path / "slips.csv", ("code",), [(f"S{n}",) for n in range(30)])
    load(site, path, "Slip", submit=True)
    assert sandbox.count("Slip", {"docstatus": 1}) == 30
    assert sum(method == "PUT" for method, _, _ in sandbox.requests) == 30 and len(sandbox.requests) <= 42


def test_an_update_needs_no_mandatory_column(site, sandbox, tmp_path):
    """Rows of documents that are there change them; a row that would be new says what it lacks."""
    load(site, write(tmp_path / "first.csv", ITEM, items(2)))
    path = write(tmp_path / "second.csv", ("item_code", "item_name"), [("IT-00001", "New"), ("NEW", "x")])
    report = load(site, path, update_existing=True)
    assert report["counts"] == {"done": 1, "failed": 1}
    assert sandbox.rows("Item", {"name": "IT-00001"}, ["item_name"]) == [{"item_name": "New"}]
    assert "would be new, but item_group" in read(Path(f"{path}.errors.csv"))[0]["import_error"]


def test_what_cannot_be_submitted_is_told_before_the_first_row(site, sandbox, tmp_path):
    """Not silently left as it is."""
    report = load(site, write(tmp_path / "t.csv", ("description",), [("a",)]), "ToDo", submit=True)
    assert "cannot be submitted" in report["parts"][0]["error"]["message"] and sandbox.count("ToDo") == 0


def test_a_content_of_which_nothing_was_taken_is_tried_again(site, sandbox, tmp_path):
    """With the settings that it lacked; there is nothing that could come twice."""
    sandbox.add_doctype({"name": "Part", "autoname": "field:code", "fields": [
        {"fieldname": "code", "fieldtype": "Data", "reqd": 1}, {"fieldname": "q", "fieldtype": "Float"}]})  # fmt: skip
    path = write(tmp_path / "p.csv", ("code", "q"), [("a", "1,234")])
    assert load(site, path, "Part")["counts"] == {"failed": 1}
    assert load(site, path, "Part", decimal=",")["counts"] == {"done": 1}
    assert "imported before" in load(site, path, "Part", decimal=",")["parts"][0]["error"]["message"]


def test_the_same_content_is_the_same_gzipped_or_not(site, sandbox, tmp_path):
    """Its identity is what is in it."""
    path = write(tmp_path / "t.csv", ("description",), [("a",)])
    load(site, path, "ToDo")
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(path.read_bytes()))
    assert "imported before" in load(site, tmp_path / "t.csv.gz", "ToDo")["parts"][0]["error"]["message"]


def test_rows_that_hold_nothing_of_use_are_told(site, sandbox, tmp_path):
    """A row that was meant for a document is missed; it counts with the one above it, where success.csv has it."""
    rows = [("A", "a", "Products", ""), ("", "", "", "lost"), ("C", "c", "Products", "")]
    report = load(site, write(tmp_path / "i.csv", (*ITEM, "remark"), rows), ignore_unknown=True)
    assert report["counts"] == {"done": 3} and "1 rows hold nothing" in " ".join(report["parts"][0]["notes"])
    assert "3 3 3 0 0 0 done" in shown(report)


def test_days_of_a_workbook_are_read_where_that_is_stated(site, sandbox, tmp_path):
    """What messages advise can be set."""
    sandbox.add_doctype({"name": "Part", "autoname": "field:code", "fields": [
        {"fieldname": "code", "fieldtype": "Data", "reqd": 1}, {"fieldname": "d", "fieldtype": "Date"},
        {"fieldname": "r", "fieldtype": "Rating"},
        {"fieldname": "fixed", "fieldtype": "Data", "read_only": 1}]})  # fmt: skip
    path = tmp_path / "p.jsonl"
    path.write_text('{"code": "a", "d": 45000, "r": 1, "fixed": "x"}\n')
    assert load(site, path, "Part", serials="1900", rating="stars", allow_read_only=True)["counts"] == {"done": 1}
    assert sandbox.rows("Part", fields=["d", "r", "fixed"]) == [{"d": "2023-03-15", "r": "0.2", "fixed": "x"}]


def test_a_refusal_is_told_without_the_request_that_met_it(site, sandbox, tmp_path):
    """Owners of documents know no POST."""
    rows = [("Group 1", "Nowhere")]
    path = write(tmp_path / "g.csv", ("item_group_name", "parent_item_group"), rows)
    load(site, path, "Item Group")
    assert "POST" not in read(Path(f"{path}.errors.csv"))[0]["import_error"]


def test_progress_never_goes_back(site, tmp_path):
    """Batches end in any order."""
    told: list[int] = []
    job = one_job("import Item", "import", {"doctype": "Item", "file": str(tmp_path / "i.csv"), "timeout": "30d"})
    write(tmp_path / "i.csv", ITEM, items(2000))
    order = Order(job, site.app.new_run_id(), "by hand", watch=lambda part, done, total: told.append(done))
    site.app.runner.run(order)
    assert told == sorted(told) and told[-1] == 2000


def shown(report: dict[str, Any]) -> str:
    """The report as a person sees it."""
    console = Console(width=300, record=True, file=io.StringIO())
    console.print(tables.of_report(report))
    return " ".join(console.export_text().split())


def test_a_resumed_import_tells_all_rows_of_the_file_and_the_failures_of_before(site, sandbox, tmp_path):
    """Table, status and exit code are of the file over all attempts; the report's own counts stay this run's."""
    rows = [("IT-BAD1", "", "Nonsense"), ("IT-BAD2", "", "Nonsense"), *items(1998)]
    path = write(tmp_path / "items.csv", ITEM, rows)
    site.app.runner.concurrency = 1  # the bad rows are dealt with before what is cut comes
    sandbox.faults.add(Fault("cut", after=14))
    first = load(site, path)
    (part,) = first["parts"]
    dealt = sum(part["whole"].values())
    assert first["exit_code"] and part["whole"]["failed"] == 2 and 0 < dealt < 2000
    assert f"{2000 - dealt:,} rows are not dealt with yet" in shown(first)
    sandbox.faults.clear()
    second = load(site, path)
    (part,) = second["parts"]
    assert part["whole"] == {"done": 1998, "failed": 2} and "failed" not in part["counts"]
    assert (second["status"], second["exit_code"]) == ("some failed", 1)
    assert "2,000 2,000 1,998 0 2 0 some failed" in shown(second)
    assert "in an earlier run 2 rows failed: items.csv.errors.csv says why" in part["notes"]
    assert len(read(Path(f"{path}.errors.csv"))) == 2


def test_rows_of_child_tables_are_counted_like_all_rows(site, sandbox, tmp_path):
    """Three rows that fail as one document are three failed rows, and none is kept."""
    sandbox.seed("Customer", [{"name": "Acme", "customer_name": "Acme"}])
    sandbox.seed("Item", [{"name": "A", "item_code": "A"}])
    rows = [("Acme", "A", 1), ("", "A", 2), ("Nobody", "A", 1), ("", "A", 2), ("", "A", 3)]
    path = write(tmp_path / "orders.csv", ("customer", "items.item_code", "items.qty"), rows)
    report = load(site, path, "Sales Order", mandatory=False)
    assert report["counts"] == {"done": 2, "failed": 3} and "5 5 2 0 3 0 some failed" in shown(report)
    dry = load(site, write(tmp_path / "more.csv", ("customer", "items.item_code", "items.qty"), rows[:2]),
               "Sales Order", mandatory=False, dry_run=True)  # fmt: skip
    assert "2 2 2 0 0 0 done" in shown(dry)
