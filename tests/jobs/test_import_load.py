"""Batches of an import: what an error or a kill in their midst leaves behind, and whose a document is that is there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from daemon.core.doctype import DocType
from daemon.sandbox import Fault
from daemon.site.client import Site
from tests.jobs.test_import import IDLE, ITEM, Before, items, load, read, write

SLIP = {"name": "Slip", "autoname": "field:code", "is_submittable": 1,
        "fields": [{"fieldname": "code", "fieldtype": "Data", "reqd": 1}]}  # fmt: skip
MEMO = {"name": "Memo", "is_submittable": 1,
        "fields": [{"fieldname": "text", "fieldtype": "Data"},
                   {"fieldname": "must", "fieldtype": "Data", "reqd": 1}]}  # fmt: skip
CUSTOMER = "Acme"


class Killed(BaseException):
    """Nothing of ours catches it, as nothing catches SIGKILL."""


@pytest.fixture
def site(sandbox, daemon_for):
    sandbox.seed("Item Group", [{"name": "Products", "item_group_name": "Products"}])
    return daemon_for(sandbox, IDLE)


@pytest.fixture
def kill(monkeypatch) -> Callable[..., None]:
    """Runs an import that is killed at its first insert_many, before or after the site has done it."""

    def run(act: Callable[[], Any], *, before: bool = False) -> None:
        real = Site.insert_many

        def die(self: Site, docs: Any) -> Any:
            if not before:
                real(self, docs)
            raise Killed

        with monkeypatch.context() as patch:
            patch.setattr(Site, "insert_many", die)
            with pytest.raises(Killed):
                act()

    return run


def results(path: Path, kind: str) -> list[dict[str, str]]:
    found = Path(f"{path}.{kind}.csv")
    return read(found) if found.exists() else []


def todos(path: Path, number: int) -> Path:
    return write(path / "todo.csv", ("description",), [(f"Call {n}",) for n in range(number)])


# An error in the midst


@pytest.mark.parametrize("code", [401, 302])
def test_an_error_of_one_batch_loses_no_answer_of_the_others(code, site, sandbox, tmp_path):
    """Replies that came while the import was ending are written down, and what was refused outright is simply sent."""
    path = todos(tmp_path, 2000)
    sandbox.faults.add(Fault("latency", path="*insert_many", seconds=0.1))
    sandbox.faults.add(Fault("status", path="*insert_many", code=code, html=False, after=3, times=1))
    first = load(site, path, "ToDo")
    assert first["exit_code"] and len(results(path, "success")) == sandbox.count("ToDo") == first["counts"]["done"]
    sandbox.faults.clear()
    second = load(site, path, "ToDo")
    assert second["status"] == "done" and sandbox.count("ToDo") == len(results(path, "success")) == 2000
    assert not results(path, "uncertain")


def test_rows_that_were_created_before_a_file_changed_are_told(site, sandbox, tmp_path):
    """Each of them in the result file, and the message says what to do with the rest."""
    path = todos(tmp_path, 5000)  # more than is under way at once, so that some is read after the change
    writer = path.open("a")

    def append(method, url):
        if "insert_many" in url:
            before.on = False
            writer.write("Call last\n")
            writer.flush()

    before = Before(sandbox, append)
    report = load(site, path, "ToDo")
    writer.close()
    assert report["counts"]["done"] == len(results(path, "success")) == sandbox.count("ToDo") > 0
    error = report["parts"][0]["error"]
    assert "changed" in error["message"] and f"{sandbox.count('ToDo'):,} of its rows were imported" in error["action"]


def test_an_outage_while_a_bad_row_is_sought_leaves_nothing_open(site, sandbox, tmp_path):
    """What was created on the way is known, and what was not sent is sent by the next run, key or no key."""
    sandbox.add_doctype(MEMO)
    path = write(tmp_path / "m.csv", ("text", "must"), [(f"Call {n}", "" if n == 150 else "x") for n in range(200)])
    sandbox.faults.add(Fault("status", path="*insert_many", code=503, html=False, after=3))
    load(site, path, "Memo", mandatory=False)
    assert 0 < sandbox.count("Memo") < 199
    sandbox.faults.clear()
    assert load(site, path, "Memo", mandatory=False)["counts"] == {"done": 199, "failed": 1}
    assert sandbox.count("Memo") == 199 and not results(path, "uncertain")


@pytest.mark.parametrize("doctype", ["Memo", "Slip"])
def test_an_outage_while_documents_are_submitted_is_made_up_for(doctype, site, sandbox, tmp_path):
    """None is taken for uncertain, and none stays a draft."""
    sandbox.add_doctype(MEMO)
    sandbox.add_doctype(SLIP)
    header, row = {"Memo": (("text", "must"), ("a", "b")), "Slip": (("code",), ())}[doctype]
    rows = [row or (f"S{n}",) for n in range(30)]
    path = write(tmp_path / "s.csv", header, rows)
    sandbox.faults.add(Fault("status", method="PUT", code=503, html=False, after=5))
    load(site, path, doctype, submit=True)
    sandbox.faults.clear()
    assert load(site, path, doctype, submit=True)["counts"] == {"done": 30}
    assert sandbox.count(doctype, {"docstatus": 1}) == sandbox.count(doctype) == 30


def test_a_kill_while_documents_are_submitted_leaves_no_draft(site, sandbox, tmp_path, monkeypatch):
    """What was created is written down before the first is submitted, so that a key is not even needed."""
    sandbox.add_doctype(MEMO)
    path = write(tmp_path / "m.csv", ("text", "must"), [(f"Call {n}", "x") for n in range(20)])
    with monkeypatch.context() as patch:
        patch.setattr(Site, "update", lambda self, doc: (_ for _ in ()).throw(Killed()))
        with pytest.raises(Killed):
            load(site, path, "Memo", submit=True)
    assert load(site, path, "Memo", submit=True)["counts"] == {"done": 20}
    assert sandbox.count("Memo", {"docstatus": 1}) == sandbox.count("Memo") == 20


def test_documents_that_no_list_shows_are_submitted_all_the_same(site, sandbox, tmp_path, monkeypatch):
    """Who may not list drafts may submit them; nothing counts as submitted because it was not seen."""
    sandbox.add_doctype(SLIP)
    path = write(tmp_path / "s.csv", ("code",), [(f"S{n}",) for n in range(3)])
    real = Site.get_list
    monkeypatch.setattr(Site, "get_list", lambda self, doctype, *a, **k: [] if doctype == "Slip" else
                        real(self, doctype, *a, **k))  # fmt: skip
    assert load(site, path, "Slip", submit=True)["counts"] == {"done": 3}
    assert sandbox.count("Slip", {"docstatus": 1}) == 3


# Whose a document is


@pytest.mark.parametrize("update", [True, False])
def test_what_a_kill_left_as_drafts_is_submitted(update, kill, site, sandbox, tmp_path):
    """Whether or not rows may change documents: these were created by this import, and submitted."""
    sandbox.add_doctype(SLIP)
    path = write(tmp_path / "s.csv", ("code",), [(f"S{n}",) for n in range(20)])
    kill(lambda: load(site, path, "Slip", submit=True, update_existing=update))
    assert load(site, path, "Slip", submit=True, update_existing=update)["counts"] == {"done": 20}
    assert sandbox.count("Slip", {"docstatus": 1}) == 20
    assert {row["import_result"] for row in results(path, "success")} == {"submitted"}


@pytest.mark.parametrize(("policy", "name", "result"), [("error", "Theirs", "failed"), ("skip", "Theirs", "kept"),
                                                        ("update", "Widget 0", "done")])  # fmt: skip
def test_an_edit_of_what_was_created_before_a_kill_follows_on_conflict(
    policy, name, result, kill, site, sandbox, tmp_path
):
    """It is an edit between our writing and our next reading like any other."""
    path = write(tmp_path / "i.csv", ITEM, items(1))
    kill(lambda: load(site, path, update_existing=True, on_conflict=policy))
    sandbox.set("Item", "IT-00000", item_name="Theirs", modified="2099-01-01 00:00:00.000001")
    assert load(site, path, update_existing=True, on_conflict=policy)["counts"] == {result: 1}
    assert sandbox.rows("Item", {"name": "IT-00000"}, ["item_name"]) == [{"item_name": name}]


@pytest.mark.parametrize(
    ("owner", "name", "kind", "says"),
    [
        ("clerk@example.com", "other", "errors", "exists already as IT-00001, which clerk@example.com made meanwhile"),
        ("clerk@example.com", "Widget 1", "errors", "exists already"),
        ("Administrator", "other", "uncertain", "holds another item_name"),
        ("Administrator", "Widget 1", "success", ""),
        ("Administrator", "Cleaned <b></b>", "success", ""),
    ],
)
def test_a_document_that_was_entered_by_hand_after_a_kill_is_not_taken_for_ours(
    owner, name, kind, says, kill, site, sandbox, tmp_path
):
    """By its owner, and where that is our own user, by what it holds; so the file's values do not vanish unseen."""
    path = write(tmp_path / "i.csv", ITEM, items(3))
    if "<b>" in name:
        path.write_text(path.read_text().replace("Widget 1", "Cleaned <b>"))
    kill(lambda: load(site, path), before=True)
    facts = {"name": "IT-00001", "item_code": "IT-00001", "item_name": name, "item_group": "Products", "owner": owner}
    sandbox.seed("Item", [facts])
    load(site, path)
    assert sandbox.rows("Item", {"name": "IT-00001"}, ["item_name"]) == [{"item_name": name}]
    (row,) = [row for row in results(path, kind) if row["item_code"] == "IT-00001"]
    assert says in (row.get("import_error") or "") and len(results(path, "success")) == 2 + (kind == "success")


def test_somebody_who_is_quicker_while_a_reply_is_lost_is_not_us(site, sandbox, tmp_path):
    """The same without a kill."""
    path = write(tmp_path / "i.csv", ITEM, items(3))

    def enter(method, url):
        if "insert_many" in url:
            before.on = False
            facts = {"name": "IT-00001", "item_code": "IT-00001", "item_name": "theirs", "owner": "clerk@example.com"}
            sandbox.seed("Item", [facts])

    sandbox.faults.add(Fault("cut", path="*insert_many", times=1))
    before = Before(sandbox, enter)
    assert load(site, path)["counts"] == {"done": 2, "failed": 1}
    assert [row["item_code"] for row in results(path, "errors")] == ["IT-00001"]


def test_a_list_whose_rows_have_no_name_is_no_answer(site, sandbox, tmp_path, monkeypatch):
    """An error of the site, not a bug of ours."""
    real = Site.get_list
    monkeypatch.setattr(Site, "get_list", lambda self, doctype, *a, **k: [{"item_code": "IT-00000"}]
                        if doctype == "Item" else real(self, doctype, *a, **k))  # fmt: skip
    report = load(site, write(tmp_path / "i.csv", ITEM, items(3)))
    assert "rows without a name" in report["error"]["message"] and report["exit_code"] == 75


# Rows that are refused


@pytest.mark.parametrize("number", [10, 99])
def test_bad_rows_at_the_head_do_not_block_the_others(number, site, sandbox, tmp_path):
    """However many the site refuses for one reason: an owner of documents can mend that, so they are errors."""
    rows = [(f"IT-{n:03d}", "n", "" if n < number else "Products") for n in range(100)]
    report = load(site, write(tmp_path / "i.csv", ITEM, rows), mandatory=False)
    assert report["counts"] == {"done": 100 - number, "failed": number} and sandbox.count("Item") == 100 - number


def test_bad_new_rows_do_not_hold_back_updates(site, sandbox, tmp_path):
    """They are counted, and the rest is changed."""
    load(site, write(tmp_path / "first.csv", ITEM, items(300)))
    rows = [*((f"NEW-{n}", "n", "") for n in range(10)), *((code, "changed", group) for code, _, group in items(300))]
    report = load(site, write(tmp_path / "second.csv", ITEM, rows), mandatory=False, update_existing=True)
    assert report["counts"] == {"done": 300, "failed": 10} and sandbox.count("Item", {"item_name": "changed"}) == 300


def test_an_import_that_created_something_never_gives_up(site, sandbox, tmp_path):
    """Not even in a later run, all of whose rows the site refuses."""
    path = todos(tmp_path, 400)
    sandbox.faults.add(Fault("status", path="*insert_many", code=401, html=False, after=1, times=1))
    load(site, path, "ToDo")
    done = sandbox.count("ToDo")
    sandbox.faults.clear()
    sandbox.faults.add(Fault("status", path="*insert_many", code=403, html=False))
    assert 0 < done < 400 and load(site, path, "ToDo")["counts"] == {"failed": 400 - done}


def without_undoing(monkeypatch: pytest.MonkeyPatch) -> None:
    """insert_many as a MyISAM table has it: what came before the refused row stays."""
    real = Site.insert_many
    monkeypatch.setattr(Site, "insert_many", lambda self, docs: [real(self, [doc])[0] for doc in docs])


@pytest.mark.parametrize("key", ["item_code", "item_name"])
def test_what_a_refusal_did_not_undo_is_found_by_its_key(key, site, sandbox, tmp_path, monkeypatch):
    """No row twice, and none is an error because of itself, whether or not the site guards the key."""
    without_undoing(monkeypatch)
    fields = [{"fieldname": name, "fieldtype": "Data", "reqd": int(name == "item_group")} for name in ITEM]
    sandbox.add_doctype({"name": "Ware", "autoname": "field:item_code", "fields": fields})
    rows = [(f"IT-{n}", f"Widget {n}", "" if n in (12, 13) else "Products") for n in range(16)]
    report = load(site, write(tmp_path / "i.csv", ITEM, rows), "Ware", mandatory=False, key=key)
    assert report["counts"] == {"done": 14, "failed": 2} and sandbox.count("Ware") == 14


def test_where_nothing_is_undone_and_no_key_tells_rows_go_singly(site, sandbox, tmp_path, monkeypatch):
    """As into Error Log, whose table knows no transactions, and DocTypes that change tables."""
    sandbox.add_doctype(MEMO)
    without_undoing(monkeypatch)
    monkeypatch.setattr(DocType, "transactional", property(lambda self: self.name != "Memo"))
    path = write(tmp_path / "m.csv", ("text", "must"), [(f"Call {n}", "" if n == 12 else "x") for n in range(16)])
    assert load(site, path, "Memo", mandatory=False)["counts"] == {"done": 15, "failed": 1}
    assert sandbox.count("Memo") == 15


@pytest.mark.parametrize("key", ["A\u200bB", "A\u00adB", "\u2060AB"])
def test_an_invisible_letter_in_a_key_is_named(key, site, sandbox, tmp_path):
    """The site passes it over, so that it would find another document."""
    report = load(site, write(tmp_path / "i.csv", ITEM, [(key, "x", "Products"), ("AB", "x", "Products")]))
    assert report["counts"] == {"done": 1, "failed": 1}
    reason = report["parts"][0]["samples"][0]["reason"]
    assert f"item_code holds an invisible letter (U+{next(ord(c) for c in key if c not in 'AB'):04X})" in reason


@pytest.mark.parametrize("key", ["می\u200cخواهم", "क्\u200dष"])
def test_joiners_of_a_script_are_letters(key, site, tmp_path):
    """Persian and Indic words are written with them."""
    assert load(site, write(tmp_path / "i.csv", ITEM, [(key, "x", "Products")]))["counts"] == {"done": 1}


def test_a_blank_around_a_key_is_told(site, sandbox, tmp_path):
    """The site strips what it looks up, so a Barcode with one would never be found again, and come twice."""
    sandbox.add_doctype({"name": "Tagged", "fields": [{"fieldname": "code", "fieldtype": "Barcode"}]})
    path = write(tmp_path / "t.csv", ("code",), [(" 4711",), ("4712",)])
    report = load(site, path, "Tagged", key="code")
    assert report["counts"] == {"done": 1, "failed": 1} and "with a blank" in results(path, "errors")[0]["import_error"]


# Child rows


@pytest.mark.parametrize(
    ("rows", "left"),
    [
        ([("P1", "B", 3)], {("B", 3, 7)}),
        ([("P1", "B", 3), ("", "A", 2)], {("B", 3, 7), ("A", 2, 5)}),
        ([("P1", "C", 3)], {("C", 3, 0)}),
        ([("P1", "B", 3), ("", "B", 4)], {("B", 3, 0), ("B", 4, 0)}),
    ],
)
def test_a_child_row_inherits_from_no_other(rows, left, site, sandbox, tmp_path):
    """What the file does not say stays where one row of each side links to the same documents; else rows are new."""
    sandbox.seed("Customer", [{"name": CUSTOMER, "customer_name": CUSTOMER}])
    sandbox.seed("Item", [{"name": code, "item_code": code} for code in ("A", "B", "C")])
    header = ("po_no", "customer", "items.item_code", "items.qty", "items.rate")
    first = write(tmp_path / "orders.csv", header, [("P1", CUSTOMER, "A", 1, 5), ("", "", "B", 2, 7)])
    load(site, first, "Sales Order", mandatory=False, key="po_no")
    change = write(tmp_path / "more.csv", ("po_no", "items.item_code", "items.qty"), rows)
    report = load(site, change, "Sales Order", mandatory=False, key="po_no", update_existing=True)
    assert report["counts"] == {"done": len(rows)}
    found = sandbox.rows("Sales Order Item", fields=["item_code", "qty", "rate"])
    assert {(row["item_code"], row["qty"], row["rate"] or 0) for row in found} == left
