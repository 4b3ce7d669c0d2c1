"""Deleting: what it leaves behind, who may, and how many at once."""

import json

import pytest

from .conftest import ADMINISTRATOR, MANAGER, wait_until
from .test_documents import custom_doctype

DELETE_ITEMS = "frappe.desk.reportview.delete_items"


def logs(site, mark, number):
    """Names of Scheduled Job Logs: a log that is kept by InnoDB (Error Log is MyISAM and knows no rollback)."""
    job = site.list("Scheduled Job Type", limit_page_length=1).value[0]["name"]
    docs = [
        {"doctype": "Scheduled Job Log", "scheduled_job_type": job, "status": "Complete", "details": mark}
        for _ in range(number)
    ]
    names = site.call("frappe.client.insert_many", docs=docs).value
    site.made += [("Scheduled Job Log", name) for name in names]
    return names


def there(site, names):
    asked = {"filters": [["name", "in", names]], "limit_page_length": 0}
    return {row["name"] for row in site.list("Scheduled Job Log", **asked).value}


def residue(site, doctype, **where):
    rows = site.list(doctype, fields=["*"], filters=where, limit_page_length=0, user=ADMINISTRATOR).value
    for row in rows:
        site.delete(doctype, row["name"], user=ADMINISTRATOR)
    return rows


def test_delete_answers_202_and_then_404(site, mark):
    """`{"data": "ok"}`; 14 says `message`."""
    (name,) = logs(site, mark, 1)
    reply = site.delete("Scheduled Job Log", name)
    assert (reply.status, reply.body) == (202, {"message" if site.major == 14 else "data": "ok"})
    assert site.delete("Scheduled Job Log", name).status == 404
    residue(site, "Deleted Document", deleted_name=name)


def test_a_deleted_document_leaves_two_rows(site, mark):
    """model/delete_doc.py: a Deleted Document with all of it as JSON, and a Comment of type Deleted."""
    (name,) = logs(site, mark, 1)
    latest = site.list("Comment", order_by="creation desc", limit_page_length=1, user=ADMINISTRATOR).value
    site.delete("Scheduled Job Log", name)
    (kept,) = residue(site, "Deleted Document", deleted_name=name)
    assert (kept["deleted_doctype"], kept["restored"], kept["owner"]) == ("Scheduled Job Log", 0, MANAGER)
    assert json.loads(kept["data"])["details"] == mark
    comments = residue(site, "Comment", comment_type="Deleted", reference_doctype="Scheduled Job Log",
        subject=["like", f"%{name}%"],
    )  # fmt: skip
    assert len(comments) == 1 and comments[0]["name"] not in [row["name"] for row in latest]


def test_a_deleted_document_of_itself_leaves_none(site, mark):
    """Deleting a Deleted Document is the end of it."""
    (name,) = logs(site, mark, 1)
    site.delete("Scheduled Job Log", name)
    (kept,) = site.list("Deleted Document", filters={"deleted_name": name}).value
    assert site.delete("Deleted Document", kept["name"]).status == 202
    assert residue(site, "Deleted Document", deleted_name=kept["name"]) == []


def test_ten_items_are_deleted_before_the_answer(site, mark):
    """reportview.py:delete_items takes a JSON text; the answer says nothing; names that are gone are passed over."""
    names = logs(site, mark, 9)
    reply = site.call(DELETE_ITEMS, doctype="Scheduled Job Log", items=json.dumps([*names, "no-such-name"]))
    assert reply.status == 200 and reply.value is None
    assert there(site, names) == set()
    for name in names:
        residue(site, "Deleted Document", deleted_name=name)


def test_items_as_a_list_are_an_error(site, mark):
    """json.loads of a list is a TypeError: 500, and nothing is deleted."""
    names = logs(site, mark, 1)
    assert site.call(DELETE_ITEMS, doctype="Scheduled Job Log", items=names).status == 500
    assert there(site, names) == set(names)


def test_an_item_that_fails_leaves_the_others_deleted(site, mark):
    """One transaction each; 200 all the same."""
    names = [site.make("Role", role_name=f"{mark} {letter}")["name"] for letter in "abc"]
    doctype = {
        "name": mark, "module": "Custom", "custom": 1, "fields": [{"fieldname": "title", "fieldtype": "Data"}],
        "permissions": [{"role": names[1], "read": 1}],
    }  # fmt: skip
    site.make("DocType", **doctype)
    assert site.call(DELETE_ITEMS, doctype="Role", items=json.dumps(names)).status == 200
    assert [site.exists("Role", name) for name in names] == [False, True, False]


def test_a_reason_is_told_in_passing(site, mark):
    """200, and `_server_messages` says what stayed and why, where Frappe threw it."""
    site.make("Role", role_name=mark)
    site.make("DocType", **custom_doctype(f"{mark} type", permissions=[{"role": mark, "read": 1}]))
    reply = site.call(DELETE_ITEMS, doctype="Role", items=json.dumps([mark]))
    assert reply.status == 200 and "Cannot delete or cancel because Role" in reply.messages
    assert f"{mark} type" in reply.messages and site.exists("Role", mark)


def test_more_than_ten_items_are_a_job(site, mark):
    """200 `{}` at once, whatever will come of it."""
    names = logs(site, mark, 11)
    if site.sandbox:
        site.sandbox.site_config["worker_paused"] = True
    assert site.call(DELETE_ITEMS, doctype="Scheduled Job Log", items=json.dumps(names)).body == {}
    if site.sandbox:
        assert there(site, names) == set(names)
        site.sandbox.site_config["worker_paused"] = False
    assert wait_until(lambda: there(site, names) == set())


def test_ten_groups_may_be_a_hundred_documents(site, mark):
    """What delete_items takes for a name goes to frappe.delete_doc, which takes a list (model/delete_doc.py)."""
    names = logs(site, mark, 30)
    groups = [names[start : start + 3] for start in range(0, 30, 3)]
    assert site.call(DELETE_ITEMS, doctype="Scheduled Job Log", items=json.dumps(groups)).status == 200
    assert there(site, names) == set()


def test_a_group_goes_whole_or_not_at_all(site, mark):
    """One that is linked keeps its group, the others go; of a group that stays Frappe cannot speak: 500 (not in 14)."""
    names = [site.make("Role", role_name=f"{mark} {letter}")["name"] for letter in "abcd"]
    site.make("DocType", **custom_doctype(mark, permissions=[{"role": names[1], "read": 1}]))
    reply = site.call(DELETE_ITEMS, doctype="Role", items=json.dumps([names[:2], names[2:]]))
    assert reply.status == (200 if site.major == 14 else 500)
    assert [site.exists("Role", name) for name in names] == [True, True, False, False]


@pytest.mark.parametrize("doctype", ["Activity Log", "Version", "Route History", "View Log"])
def test_what_a_system_manager_may_not_delete(site, doctype):
    """Their DocPerms give no role but Administrator the right: 403."""
    rows = site.list(doctype, limit_page_length=1, user=ADMINISTRATOR).value
    if not rows:
        values = {"Activity Log": {"subject": "contract"}, "Version": {"ref_doctype": "ToDo", "docname": "contract"}}
        rows = [site.insert(doctype, user=ADMINISTRATOR, **values.get(doctype, {})).value]
    reply = site.delete(doctype, rows[0]["name"])
    assert (reply.status, reply.kind) == (403, "PermissionError")


def test_only_administrator_deletes_mails(site, mark):
    """email_queue.py:on_trash throws for everybody else, System Managers with the right included: 417."""
    made = site.call(
        "frappe.core.doctype.communication.email.make", recipients="a@example.com", subject=mark, content="x",
        send_email=1,
    ).value["name"]  # fmt: skip
    site.made.append(("Communication", made))
    (row,) = site.list("Email Queue", filters={"communication": made}).value
    site.made.append(("Email Queue", row["name"]))
    reply = site.delete("Email Queue", row["name"])
    assert (reply.status, reply.kind) == (417, "ValidationError")
    assert "Only Administrator can delete Email Queue" in reply.messages
    assert site.delete("Email Queue", row["name"], user=ADMINISTRATOR).status == 202


def test_the_todo_of_others_stays(site, mark):
    """todo.py:has_permission: who neither gave nor got it may not delete it, though the list shows it."""
    assigned = site.make("ToDo", description=mark, allocated_to="clerk@example.com", assigned_by=ADMINISTRATOR)
    reply = site.delete("ToDo", assigned["name"])
    assert (reply.status, reply.kind) == (403, "PermissionError")


def test_restored_under_a_new_name(site, mark):
    """deleted_document.py:restore gives a hash-named document another name; `new_name` tells which."""
    (name,) = logs(site, mark, 1)
    site.delete("Scheduled Job Log", name)
    (kept,) = site.list("Deleted Document", filters={"deleted_name": name}).value
    reply = site.call("frappe.core.doctype.deleted_document.deleted_document.restore", name=kept["name"])
    assert reply.status == 200
    after = site.read("Deleted Document", kept["name"]).value
    site.made += [("Deleted Document", kept["name"]), ("Scheduled Job Log", after["new_name"])]
    assert after["restored"] == 1 and after["new_name"] != name
    assert site.read("Scheduled Job Log", after["new_name"]).value["details"] == mark
    again = site.call("frappe.core.doctype.deleted_document.deleted_document.restore", name=kept["name"])
    assert again.status == 417


def test_a_right_that_is_granted_counts(site, mark):
    """permission_manager copies the standard rights to Custom DocPerm, then adds; what was there goes on."""
    manager = "frappe.core.page.permission_manager.permission_manager"
    site.make("DocType", **custom_doctype(mark, permissions=[{"role": "System Manager", "delete": 0}]))
    name = site.insert(mark, title="x").value["name"]
    assert site.delete(mark, name).status == 403
    assert site.call(f"{manager}.add", parent=mark, role="Sales User", permlevel=0).status == 200
    right = {"doctype": mark, "role": "Sales User", "permlevel": 0, "ptype": "delete", "value": 1}
    assert site.call(f"{manager}.update", **right).status == 200
    rows = site.list("Custom DocPerm", fields=["name", "role"], filters={"parent": mark}, user=ADMINISTRATOR).value
    site.made += [("Custom DocPerm", row["name"]) for row in rows]
    assert sorted(row["role"] for row in rows) == ["Sales User", "System Manager"]
    meta = site.get("/api/method/frappe.desk.form.load.getdoctype", params={"doctype": mark}).body["docs"][0]
    assert {row["role"]: row.get("delete") for row in meta["permissions"]}["Sales User"] == 1
    assert site.list(mark).value == [{"name": name}], "the standard right to read"
    assert site.delete(mark, name).status == 202


def test_v2_bulk_endpoints(site, mark):
    """Where they are, each item has a savepoint of its own; elsewhere they are 404 (16.10.7 has none)."""
    site.since(15)
    names = logs(site, mark, 3)
    reply = site.post("/api/v2/document/Scheduled Job Log/bulk_delete", {"names": [*names, "no-such-name"]})
    if not site.bulk:
        assert (reply.status, reply.kind) == (404, "DoesNotExistError")
        return
    assert reply.value["deleted"] == names and [one["name"] for one in reply.value["failed"]] == ["no-such-name"]
    assert (reply.value["total"], reply.value["success_count"], reply.value["failure_count"]) == (4, 3, 1)
    more = logs(site, mark, 21)
    reply = site.post("/api/v2/method/bulk_update", {"docs": [
        {"doctype": "Scheduled Job Log", "name": name, "details": "changed"} for name in more[:2]]})  # fmt: skip
    assert reply.value["updated"] and site.read("Scheduled Job Log", more[0]).value["details"] == "changed"
    reply = site.post("/api/v2/document/Scheduled Job Log/bulk_delete", {"names": more})
    assert reply.status == 202 and set(reply.value) == {"job_id"}
    site.only_sandbox("its worker may be slow").drain()
    assert there(site, more) == set()


def test_a_full_queue_refuses_deletes(site, mark):
    """delete_doc enqueues a job each: 503 QueueOverloaded on 15, 16; Error Log's row goes all the same (MyISAM)."""
    sandbox = site.only_sandbox("it would fill the queue")
    if site.major == 14:
        pytest.skip("14 bounds no queue")
    names = logs(site, mark, 1)
    error = site.make("Error Log", method=mark)["name"]
    sandbox.site_config["max_queued_jobs"] = 0
    try:
        reply = site.delete("Scheduled Job Log", names[0])
        assert (reply.status, reply.kind) == (503, "QueueOverloaded")
        assert site.delete("Error Log", error).status == 503
        reply = site.call(DELETE_ITEMS, doctype="Scheduled Job Log", items=json.dumps(names))
        assert reply.status == 200 and reply.messages
    finally:
        sandbox.site_config["max_queued_jobs"] = None
    assert there(site, names) == set(names)
    assert site.read("Error Log", error).status == 404


def test_each_delete_enqueues_a_job(site, mark):
    """delete_doc.py: delete_dynamic_links, for each document."""
    sandbox = site.only_sandbox("its queue cannot be seen")
    names = logs(site, mark, 2)
    before = sandbox.jobs_enqueued
    for name in names:
        site.delete("Scheduled Job Log", name)
    assert sandbox.jobs_enqueued == before + 2
