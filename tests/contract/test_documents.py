"""The life of a document: insert, read, update, submit, cancel, and what stands in the way."""

import re

from .conftest import ADMINISTRATOR, CLERK, MANAGER

STAMP = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d{6})?$")


def error_log(site, mark, **more):
    return site.make("Error Log", method=mark, error="x", **more)


def test_insert_returns_the_document(site, mark):
    """With stamps that are naive and the site's own; what the client says of them is overwritten."""
    doc = error_log(site, mark, owner="somebody", creation="2000-01-01 00:00:00", modified_by="somebody")
    assert (doc["doctype"], doc["method"], doc["docstatus"], doc["owner"]) == ("Error Log", mark, 0, MANAGER)
    assert STAMP.match(doc["creation"]) and doc["creation"] > "2001" and doc["modified_by"] == MANAGER


def test_empty_fields_are_left_out_when_read_over_v1(site, mark):
    """utils/response.py:json_handler takes no_nulls; frappe.client.get sends them; v2 does from 16 on."""
    name = error_log(site, mark)["name"]
    doc = site.read("Error Log", name).value
    assert doc["method"] == mark and "reference_name" not in doc
    whole = site.call("frappe.client.get", doctype="Error Log", name=name).value
    assert whole["reference_name"] is None
    if site.major >= 15:
        v2 = site.get(f"/api/v2/document/Error Log/{name}").value
        assert ("reference_name" in v2) == (site.major >= 16)


def test_client_get_by_filters(site, mark):
    """The first that matches, or 404."""
    name = error_log(site, mark)["name"]
    asked = {"doctype": "Error Log", "filters": {"method": mark}}
    assert site.call("frappe.client.get", **asked).value["name"] == name
    assert site.call("frappe.client.get", doctype="Error Log", filters={"method": "none"}).status == 404


def test_a_document_that_is_not_there_is_404(site):
    """Without a traceback in any version."""
    reply = site.read("Error Log", "no-such-name")
    assert (reply.status, reply.kind) == (404, "DoesNotExistError") and "exc" not in reply.body
    assert site.put("Error Log", "no-such-name", seen=1).status == 404
    assert site.delete("Error Log", "no-such-name").status == 404


def test_whether_it_is_there_is_not_told_to_those_who_may_not_read(site):
    """permissions.py:handle_does_not_exist_error of later 15 and 16: 403 instead of 404."""
    reply = site.read("Error Log", "no-such-name", user=CLERK)
    assert reply.status == (404 if site.major == 14 else 403)


def test_create_without_the_right_is_403(site, mark):
    """PermissionError."""
    reply = site.insert("Error Log", method=mark, user=CLERK)
    assert (reply.status, reply.kind) == (403, "PermissionError")


def test_update_merges_and_always_moves_modified(site, mark):
    """Fields that are not sent stay; saving without a change moves `modified`, too."""
    doc = error_log(site, mark)
    changed = site.put("Error Log", doc["name"], seen=1).value
    assert (changed["seen"], changed["method"]) == (1, mark) and changed["modified"] > doc["modified"]
    again = site.put("Error Log", doc["name"], seen=1).value
    assert again["modified"] > changed["modified"]


def test_update_with_what_was_read_is_an_optimistic_lock(site, mark):
    """document.py:check_if_latest: 417 TimestampMismatchError, not 409 or 412."""
    doc = error_log(site, mark)
    first = site.put("Error Log", doc["name"], seen=1, modified=doc["modified"])
    assert first.status == 200
    second = site.put("Error Log", doc["name"], seen=0, modified=doc["modified"])
    assert (second.status, second.kind) == (417, "TimestampMismatchError")
    assert site.put("Error Log", doc["name"], seen=0).status == 200, "without it the last writer wins"


def test_null_and_empty(site, mark):
    """Of Data, null is NULL and "" is ""."""
    doc = error_log(site, mark, reference_name="x")
    assert site.put("Error Log", doc["name"], reference_name=None).value.get("reference_name") is None
    assert site.put("Error Log", doc["name"], reference_name="").value["reference_name"] == ""


def test_set_value(site, mark):
    """One field or a dict of them; standard fields are refused."""
    name = error_log(site, mark)["name"]
    asked = {"doctype": "Error Log", "name": name}
    assert site.call("frappe.client.set_value", fieldname="seen", value=1, **asked).value["seen"] == 1
    reply = site.call("frappe.client.set_value", fieldname={"seen": 0, "reference_name": "r"}, **asked)
    assert (reply.value["seen"], reply.value["reference_name"]) == (0, "r")
    assert site.call("frappe.client.set_value", fieldname="owner", value="x", **asked).status == 417


def test_client_save_replaces_the_whole_document(site, mark):
    """What is not sent becomes empty, and `modified` must be what is stored."""
    doc = error_log(site, mark, reference_name="x")
    whole = site.call("frappe.client.get", doctype="Error Log", name=doc["name"]).value
    kept = {key: whole[key] for key in ("doctype", "name", "modified", "method", "creation", "owner")}
    assert site.call("frappe.client.save", doc={**kept, "modified": "2001-01-01 00:00:00"}).status == 417
    saved = site.call("frappe.client.save", doc=kept)
    assert saved.status == 200 and saved.value["reference_name"] is None


def test_mandatory_fields(site):
    """417 MandatoryError, whose exception text names the fields; of a field that gives the name a ValidationError."""
    reply = site.insert("Role", desk_access=1)
    assert (reply.status, reply.kind) == (417, "ValidationError") and "Role Name is required" in reply.messages
    reply = site.insert("Email Template", __newname="contract-x", subject="")
    assert (reply.status, reply.kind) == (417, "MandatoryError")
    assert "Value missing for" in reply.messages and "Subject" in reply.messages


def test_links_must_lead_somewhere(site, mark):
    """417 LinkValidationError "Could not find …"."""
    reply = site.insert("ToDo", description=mark, allocated_to="nobody@nowhere.example")
    assert (reply.status, reply.kind) == (417, "LinkValidationError")
    assert "Could not find" in reply.messages


def test_a_select_takes_its_options_only(site, mark):
    """417, with the options in the message."""
    reply = site.insert("ToDo", description=mark, priority="Whatever")
    assert (reply.status, reply.kind) == (417, "ValidationError") and "It should be one of" in reply.messages


def test_a_name_longer_than_its_column_is_refused(site, mark):
    """140 characters of Data: 417 CharacterLengthExceededError."""
    reply = site.insert("Role", role_name=mark + "x" * 140)
    assert (reply.status, reply.kind) == (417, "CharacterLengthExceededError")


def test_a_field_called_data_needs_the_wrapping(site, mark):
    """api/v1.py:get_request_form_data takes `data` for the whole payload."""
    doc = {"ref_doctype": "ToDo", "docname": mark, "data": '{"a":1}'}
    reply = site.insert("Version", user=ADMINISTRATOR, **doc)
    assert (reply.status, reply.value["data"]) == (200, '{"a":1}')
    bare = site.post("/api/resource/Version", doc, user=ADMINISTRATOR)
    assert bare.status == 417, "the payload is {a: 1}, which names neither DocType nor document"


def test_child_rows_are_replaced_as_a_whole(site, mark):
    """Rows with a name are kept, rows without are added, rows left out are deleted."""
    doc = site.make("DocType", **custom_doctype(mark))
    assert doc["name"]
    first = site.put("DocType", doc["name"], permissions=[
        {"role": "System Manager", "read": 1, "write": 1}, {"role": "Sales User", "read": 1},
    ]).value["permissions"]  # fmt: skip
    assert [row["role"] for row in first] == ["System Manager", "Sales User"]
    kept = site.put(
        "DocType", doc["name"], permissions=[{**first[1], "write": 1}, {"role": "Sales Manager", "read": 1}]
    )
    rows = kept.value["permissions"]
    assert [(row["role"], row["name"] == first[1]["name"]) for row in rows] == [
        ("Sales User", True),
        ("Sales Manager", False),
    ]


def custom_doctype(mark, **more):
    """The JSON of a DocType that a test makes."""
    return {
        "name": mark, "module": "Custom", "custom": 1, "autoname": "hash",
        "fields": [{"fieldname": "title", "label": "Title", "fieldtype": "Data"}],
        "permissions": [{"role": "System Manager", "read": 1, "write": 1, "create": 1, "delete": 1}], **more,
    }  # fmt: skip


def test_insert_many_is_all_or_nothing(site, mark):
    """417 for more than 200; the first failure undoes the others."""
    docs = [{"doctype": "ToDo", "description": f"{mark} {number}"} for number in range(3)]
    names = site.call("frappe.client.insert_many", docs=docs).value
    site.made += [("ToDo", name) for name in names]
    assert len(names) == 3
    bad = [*docs, {"doctype": "ToDo", "description": mark, "allocated_to": "nobody@nowhere.example"}]
    assert site.call("frappe.client.insert_many", docs=bad).status == 417
    assert site.call("frappe.client.insert_many", docs=docs * 70).status == 417
    like = {"filters": [["description", "like", f"{mark}%"]], "user": ADMINISTRATOR}
    assert len(site.list("ToDo", **like).value) == 3


def test_error_log_knows_no_rollback(site, mark):
    """error_log.json: its engine is MyISAM, so what a refused request did to it stays done."""
    docs = [{"doctype": "Error Log", "method": mark}, {"doctype": "ToDo"}]
    assert site.call("frappe.client.insert_many", docs=docs).status == 417
    (row,) = site.list("Error Log", filters={"method": mark}).value
    site.made.append(("Error Log", row["name"]))


def test_bulk_update_wants_text_and_answers_200_whatever_failed(site, mark):
    """client.py:bulk_update: failures are in failed_docs; a JSON list is a TypeError."""
    import json

    name = error_log(site, mark)["name"]
    docs = [
        {"doctype": "Error Log", "docname": name, "seen": 1},
        {"doctype": "Error Log", "docname": "no-such", "seen": 1},
    ]
    reply = site.call("frappe.client.bulk_update", docs=json.dumps(docs))
    assert reply.status == 200 and [one["doc"]["docname"] for one in reply.value["failed_docs"]] == ["no-such"]
    assert site.read("Error Log", name).value["seen"] == 1
    assert site.call("frappe.client.bulk_update", docs=docs).status == (500)


def test_permission_questions(site, mark):
    """has_permission of a document that is not there: 404."""
    name = error_log(site, mark)["name"]
    asked = {"doctype": "Error Log", "docname": name}
    assert site.call("frappe.client.has_permission", perm_type="write", **asked).value == {"has_permission": True}
    assert site.call("frappe.client.has_permission", user=CLERK, **asked).value == {"has_permission": False}
    missing = site.call("frappe.client.has_permission", doctype="Error Log", docname="no-such", perm_type="write")
    assert missing.status == 404
    rights = site.call("frappe.client.get_doc_permissions", **asked).value["permissions"]
    assert rights["delete"] == 1 and not rights.get("submit")


def test_unknown_arguments_are_dropped_and_missing_ones_are_500(site, mark):
    """__init__.py:get_newargs."""
    name = error_log(site, mark)["name"]
    assert site.call("frappe.client.get", doctype="Error Log", name=name, nonsense=1).status == 200
    reply = site.call("frappe.client.set_value", doctype="Error Log")
    assert (reply.status, reply.kind) == (500, "TypeError")


def test_rpc_writes_are_not_for_get(site, mark):
    """@whitelist(methods=["POST", "PUT"]): 403."""
    assert site.get("/api/method/frappe.client.insert", params={"doc": "{}"}).status == 403


def test_names_with_slashes(site, mark):
    """Both `A/B` and `A%2FB` lead to the document."""
    name = f"{mark}/a b"
    assert site.insert("Role", role_name=name).status == 200
    assert site.read("Role", name).value["name"] == name
    assert site.get(f"/api/resource/Role/{mark}/a b").value["name"] == name


def test_naming_by_a_field_makes_the_name_unique(site, mark):
    """`field:` takes the name from the field; once more is 409 DuplicateEntryError."""
    assert site.make("Role", role_name=mark)["name"] == mark
    again = site.insert("Role", role_name=mark)
    assert (again.status, again.kind) == (409, "DuplicateEntryError")
    assert "already exists" in again.messages
    assert site.insert("Role", role_name=mark.upper()).status == 409, "names differ by more than case"


def test_naming_by_prompt(site, mark):
    """`name` or `__newname` is needed, and 409 where it is taken."""
    doc = {"subject": "s", "response": "r"}
    assert site.make("Email Template", name=mark, **doc)["name"] == mark
    assert site.insert("Email Template", __newname=mark, **doc).status == 409
    assert site.insert("Email Template", **doc).status == 417


def test_a_hash_name_is_not_the_clients_to_choose(site, mark):
    """v1 ignores `name`; 14 takes `__newname` anywhere."""
    doc = error_log(site, mark, name=f"{mark}-name")
    assert doc["name"] != f"{mark}-name"


def test_v2_takes_the_clients_name(site, mark):
    """v2 create_doc sets flags.name_set; where the name exists on a hash-named DocType a second one appears."""
    site.since(15)
    reply = site.post("/api/v2/document/ToDo", {"name": mark, "description": mark})
    site.made.append(("ToDo", reply.value["name"]))
    assert reply.value["name"] == mark
    again = site.post("/api/v2/document/ToDo", {"name": mark, "description": mark})
    assert again.status == 200 and again.value["name"] != mark
    site.made.append(("ToDo", again.value["name"]))


def test_v2_update_and_delete(site, mark):
    """PATCH and PUT; DELETE is 202."""
    site.since(15)
    name = error_log(site, mark)["name"]
    path = f"/api/v2/document/Error Log/{name}"
    assert site.ask("PATCH", path, json={"seen": 1}).value["seen"] == 1
    assert site.ask("PUT", path, json={"seen": 0}).value["seen"] == 0
    assert (site.ask("DELETE", path).status, site.get(path).status) == (202, 404)
    body = site.get(path).body
    assert body["errors"][0]["type"] == "DoesNotExistError"


# Selling, where ERPNext's own rules count


def customer(site, mark):
    return site.make("Customer", customer_name=mark, customer_type="Company")


def order(site, mark, **more):
    """A draft of a Sales Order with one row."""
    group = site.list("Item Group", filters={"is_group": 0}, limit_page_length=1).value[0]["name"]
    item = site.make("Item", item_code=f"{mark}-item", item_group=group, stock_uom="Nos", is_stock_item=0)
    company = site.list("Company", limit_page_length=1, order_by="creation asc").value[0]["name"]
    row = {"item_code": item["name"], "qty": 2, "rate": 7.5, "delivery_date": "2032-01-31"}
    return {
        "customer": customer(site, mark)["name"], "company": company, "delivery_date": "2032-01-31",
        "transaction_date": "2032-01-01", "items": [row], **more,
    }  # fmt: skip


def test_a_taken_customer_name_gets_a_number(site, mark):
    """erpnext customer.py:get_customer_name: 200 and a second customer, so a repeated POST duplicates."""
    assert customer(site, mark)["name"] == mark
    assert customer(site, mark)["name"] == f"{mark} - 1"


def test_the_fields_of_an_order_are_computed(site, mark):
    """Amounts, totals, the customer's name, status, and child rows' parent."""
    doc = site.make("Sales Order", **order(site, mark))
    assert re.match(r"SAL-ORD-\d{4}-\d{5}$", doc["name"])
    assert (doc["status"], doc["docstatus"], doc["customer_name"]) == ("Draft", 0, mark)
    assert (doc["total"], doc["grand_total"], doc["total_qty"], doc["items"][0]["amount"]) == (15.0, 15.0, 2.0, 15.0)
    assert (doc["items"][0]["parent"], doc["items"][0]["idx"]) == (doc["name"], 1)


def test_submit_and_cancel_by_docstatus(site, mark):
    """0 to 1 to 2 and never back; a submitted document is fixed and stays, a cancelled one is over."""
    doc = site.make("Sales Order", **order(site, mark))
    submitted = site.put("Sales Order", doc["name"], docstatus=1)
    assert (submitted.status, submitted.value["docstatus"]) == (200, 1)
    assert site.read("Sales Order", doc["name"]).value["status"] == "To Deliver and Bill"
    refused = site.delete("Sales Order", doc["name"])
    assert refused.status == 417 and "Submitted Record cannot be deleted" in refused.messages
    back = site.put("Sales Order", doc["name"], docstatus=0)
    assert (back.status, back.kind) == (417, "DocstatusTransitionError")
    fixed = site.put("Sales Order", doc["name"], customer_name="other", order_type="Shopping Cart")
    assert (fixed.status, fixed.kind) == (417, "UpdateAfterSubmitError")
    cancelled = site.put("Sales Order", doc["name"], docstatus=2)
    assert (cancelled.status, cancelled.value["docstatus"]) == (200, 2)
    assert site.put("Sales Order", doc["name"], po_no="x").status == 417


def test_submit_and_cancel_by_method(site, mark):
    """client.submit wants the whole document as read; run_method does not."""
    doc = site.make("Sales Order", **order(site, mark))
    whole = site.call("frappe.client.get", doctype="Sales Order", name=doc["name"]).value
    assert site.call("frappe.client.submit", doc=whole).value["docstatus"] == 1
    assert site.call("frappe.client.submit", doc=whole).status == 417
    assert site.call("frappe.client.cancel", doctype="Sales Order", name=doc["name"]).value["docstatus"] == 2


def test_run_method(site, mark):
    """POST on the document with `run_method`: submit and cancel; others are 403, none is 500."""
    doc = site.make("Sales Order", **order(site, mark))
    path = f"/api/resource/Sales Order/{doc['name']}"
    assert site.post(path, {"run_method": "submit"}).status == 200
    assert site.read("Sales Order", doc["name"]).value["docstatus"] == 1
    assert site.post(path, {"run_method": "on_trash"}).status == 403
    assert site.post(path, {"run_method": "cancel"}).status == 200
    assert site.post(path, {}).status == 500


def test_submitted_at_birth(site, mark):
    """200 and submitted, but `status` was set while it was a draft."""
    doc = site.make("Sales Order", **order(site, mark, docstatus=1))
    assert doc["docstatus"] == 1
    assert site.read("Sales Order", doc["name"]).value["status"] == "Draft"


def test_what_is_linked_stays(site, mark):
    """417 LinkExistsError; DocTypes with a `disabled` field get the advice to use it."""
    doc = site.make("Sales Order", **order(site, mark))
    reply = site.delete("Customer", doc["customer"], user=ADMINISTRATOR)
    assert (reply.status, reply.kind) == (417, "LinkExistsError")
    assert doc["name"] in reply.messages


def test_aggregates_over_child_rows_start_at_the_parent(site, mark):
    """A plain column of the child table makes the join (db_query.py:extract_tables)."""
    doc = site.make("Sales Order", **order(site, mark))
    column = "`tabSales Order Item`.`item_code`"
    total = (
        {"SUM": "`tabSales Order Item`.`amount`", "as": "total"}
        if site.major >= 16
        else "sum(`tabSales Order Item`.amount) as total"
    )
    rows = site.list("Sales Order", fields=[column, total], group_by=column, filters=[["name", "=", doc["name"]]])
    assert rows.value == [{"item_code": f"{mark}-item", "total": 15.0}]


def test_bulk_submit(site, mark):
    """submit_cancel_or_update_docs answers the names that failed, each on its own transaction."""
    import json

    name = site.make("Sales Order", **order(site, mark))["name"]
    method = "frappe.desk.doctype.bulk_update.bulk_update.submit_cancel_or_update_docs"
    asked = {"doctype": "Sales Order", "docnames": json.dumps([name])}
    assert site.call(method, action="submit", **asked).value == []
    assert site.read("Sales Order", name).value["docstatus"] == 1
    assert site.call(method, action="cancel", **asked).value == []
    assert site.call(method, doctype="Sales Order", docnames=json.dumps(["x"] * 501), action="submit").status == 417
