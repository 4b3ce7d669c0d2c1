"""DocTypes and fields over REST."""

import pytest

from .conftest import CLERK

FIELDS = [
    {"fieldname": "ext_key", "label": "Key", "fieldtype": "Data", "reqd": 1, "unique": 1},
    {"fieldname": "amount", "label": "Amount", "fieldtype": "Currency"},
    {"fieldname": "due", "label": "Due", "fieldtype": "Datetime"},
    {"fieldname": "done", "label": "Done", "fieldtype": "Check"},
]
RIGHTS = [{"role": "System Manager", "read": 1, "write": 1, "create": 1, "delete": 1}]


def doctype(site, mark, **more):
    return site.make(
        "DocType", **{"name": mark, "module": "Custom", "custom": 1, "fields": FIELDS, "permissions": RIGHTS, **more}
    )


def test_a_custom_doctype_is_used_at_once(site, mark):
    """No developer mode is needed for `custom: 1`. Its documents live by its rules."""
    assert doctype(site, mark, autoname="field:ext_key", naming_rule="By fieldname")["custom"] == 1
    doc = site.make(mark, ext_key="k1", amount=1.5, due="2031-01-02 03:04:05")
    assert (doc["name"], doc["amount"], doc["done"], doc["due"]) == ("k1", 1.5, 0, "2031-01-02 03:04:05")
    assert site.insert(mark, ext_key="k1").status == 409
    reply = site.insert(mark, amount=1)
    assert reply.status == 417
    assert site.list(mark, filters={"ext_key": "k1"}).value == [{"name": "k1"}]
    assert site.list(mark, user=CLERK).status == 403


def test_a_standard_doctype_cannot_be_made(site, mark):
    """`custom: 0` needs developer mode: 417."""
    reply = site.insert("DocType", name=mark, module="Custom", custom=0, fields=FIELDS, permissions=RIGHTS)
    if reply.status == 200:
        pytest.skip("this site is in developer mode")
    assert (reply.status, reply.kind) == (417, "CannotCreateStandardDoctypeError")


def test_roles_of_a_doctype_must_exist(site, mark):
    """They are links: 417."""
    reply = site.insert(
        "DocType",
        name=mark,
        module="Custom",
        custom=1,
        fields=FIELDS,
        permissions=[{"role": "No Such Role", "read": 1}],
    )
    assert (reply.status, reply.kind) == (417, "LinkValidationError")


def test_a_unique_field(site, mark):
    """417 UniqueValidationError, whose class 14 hides; an empty one is NULL and collides with none."""
    doctype(site, mark, autoname="hash", fields=[{**FIELDS[0], "reqd": 0}, *FIELDS[1:]])
    site.make(mark, ext_key="one")
    reply = site.insert(mark, ext_key="one")
    assert (reply.status, reply.kind) == (417, "UniqueValidationError")
    assert "exc_type" not in reply.body if site.major == 14 else reply.body["exc_type"]
    assert site.make(mark, ext_key="")["name"] != site.make(mark, ext_key="")["name"]


def test_a_custom_field(site, mark):
    """Named `<dt>-<fieldname>`; a second one of that name is 417; it is stored, listed and unique from then on."""
    doctype(site, mark, autoname="hash", fields=[{**FIELDS[0], "reqd": 0, "unique": 0}])
    field = {
        "dt": mark,
        "label": "Ext ID",
        "fieldname": "custom_ext_id",
        "fieldtype": "Data",
        "unique": 1,
        "no_copy": 1,
    }
    assert site.make("Custom Field", **field)["name"] == f"{mark}-custom_ext_id"
    assert site.insert("Custom Field", **field).status == 417
    name = site.make(mark, custom_ext_id="x")["name"]
    assert site.list(mark, fields=["custom_ext_id"], filters={"custom_ext_id": "x"}).value == [{"custom_ext_id": "x"}]
    assert site.insert(mark, custom_ext_id="x").status == 417
    meta = site.get("/api/method/frappe.desk.form.load.getdoctype", params={"doctype": mark}).body["docs"][0]
    assert "custom_ext_id" in [one["fieldname"] for one in meta["fields"]]
    stored = site.read("DocType", mark).value
    assert "custom_ext_id" not in [one["fieldname"] for one in stored["fields"]]
    site.delete(mark, name)


def test_a_custom_field_without_a_name(site, mark):
    """Named by its label, with `custom_` before."""
    doctype(site, mark, autoname="hash")
    made = site.make("Custom Field", dt=mark, label="Some Label", fieldtype="Data")
    assert made["fieldname"] == "custom_some_label"


def test_meta(site):
    """getdoctype has no envelope and brings the child tables' meta; v2 has one and does not."""
    reply = site.get("/api/method/frappe.desk.form.load.getdoctype", params={"doctype": "Email Queue"})
    assert "message" not in reply.body
    docs = {doc["name"]: doc for doc in reply.body["docs"]}
    fields = {one["fieldname"]: one for one in docs["Email Queue"]["fields"]}
    assert (fields["recipients"]["fieldtype"], fields["recipients"]["options"]) == ("Table", "Email Queue Recipient")
    assert fields["status"]["options"].split("\n")[0] == "Not Sent"
    assert ("Expired" in fields["status"]["options"]) == (site.major == 14)
    assert "recipient" in [one["fieldname"] for one in docs["Email Queue Recipient"]["fields"]]
    if site.major >= 15:
        meta = site.get("/api/v2/doctype/Email Queue/meta").body["data"]
        assert meta["name"] == "Email Queue" and "recipients" in [one["fieldname"] for one in meta["fields"]]


def test_the_doctype_list_knows_standard_and_custom_ones(site, mark):
    """DocTypes are documents."""
    doctype(site, mark)
    rows = site.list("DocType", fields=["name", "custom"], filters=[["name", "in", [mark, "Error Log"]]]).value
    assert sorted((row["name"], row["custom"]) for row in rows) == [("Error Log", 0), (mark, 1)]
    assert site.read("DocType", "Error Log").value["module"] == "Core"


@pytest.mark.parametrize("field", ["custom_x", "no_such_field"])
def test_what_a_document_is_sent_beyond_its_fields_is_dropped(site, mark, field):
    """Silently."""
    doc = site.make("Error Log", method=mark, **{field: "x"})
    assert field not in site.read("Error Log", doc["name"]).value


def test_a_child_table_of_ones_own(site, mark):
    """Rows carry their parent and place; an unknown row name is an UPDATE of nothing."""
    child = site.make("DocType", name=f"{mark} row", module="Custom", custom=1, istable=1, fields=FIELDS[1:3])["name"]
    doctype(
        site,
        mark,
        autoname="hash",
        fields=[{"fieldname": "rows_of", "label": "Rows", "fieldtype": "Table", "options": child}],
    )
    doc = site.make(mark, rows_of=[{"amount": 1}, {"amount": 2}])
    first, second = doc["rows_of"]
    assert (first["parent"], first["parenttype"], first["parentfield"], first["idx"]) == (
        doc["name"],
        mark,
        "rows_of",
        1,
    )
    changed = site.put(mark, doc["name"], rows_of=[{"name": second["name"], "amount": 5}, {"amount": 3}]).value[
        "rows_of"
    ]
    assert [(row["amount"], row["name"] == second["name"]) for row in changed] == [(5.0, True), (3.0, False)]
    lost = site.put(mark, doc["name"], rows_of=[{"name": "wrong", "amount": 9}])
    assert lost.status == 200 and site.read(mark, doc["name"]).value.get("rows_of", []) == [], "an UPDATE of no row"
    site.delete(mark, doc["name"])


def test_a_single_of_ones_own(site, mark):
    """There without an insert; saved by PUT and read by its own name."""
    doctype(site, mark, issingle=1)
    saved = site.put(mark, mark, ext_key="k", amount=2)
    assert saved.status == 200
    assert site.read(mark, mark).value["ext_key"] == "k"
    assert site.call("frappe.client.get_single_value", doctype=mark, field="ext_key").value == "k"


def test_rights_that_are_not_named_are_given(site, mark):
    """docperm.json: all but submit, cancel, amend and import default to 1, so a right to withhold must be sent as 0."""
    made = doctype(site, mark, permissions=[{"role": "Sales User", "read": 1}, {"role": "Sales Manager", "delete": 0}])
    first, second = made["permissions"]
    assert (first["write"], first["create"], first["delete"], first["submit"]) == (1, 1, 1, 0)
    assert (second["read"], second["delete"]) == (1, 0)
