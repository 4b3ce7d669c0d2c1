"""The daemon's own client against every site: its whole vocabulary, in the client's terms and errors."""

from datetime import UTC, datetime, timedelta

import pytest

from daemon import errors

from .conftest import ADMINISTRATOR, CLERK, MANAGER, client_of
from .test_deletion import logs
from .test_documents import custom_doctype, order


def log(site, client, mark, **more):
    """An Error Log, inserted by the client."""
    doc = client.insert({"doctype": "Error Log", "method": mark, **more})
    site.made.append(("Error Log", doc["name"]))
    return doc


# What the site is


def test_the_dialect_is_what_the_site_says(site, client):
    """Version from get_versions, the bulk endpoints by asking them to delete nothing."""
    dialect = client.dialect
    assert (dialect.major, dialect.v2_bulk) == (site.major, site.bulk)
    assert client.versions["frappe"] == dialect.version and "erpnext" in client.versions


def test_a_document_made_now_is_of_now(site, client, mark):
    """The site's naive stamp, by its zone, is this moment."""
    doc = log(site, client, mark)
    assert abs(client.clock.moment(doc["creation"]) - datetime.now(UTC)) < timedelta(seconds=15)
    assert client.text(client.clock.moment(doc["creation"])).rstrip("0") == doc["creation"].rstrip("0")


def test_who_one_is(site, client):
    """The key's user with its roles, and those that all have."""
    assert client.user() == MANAGER
    assert {"System Manager", "All", "Guest", "Desk User"} <= client.roles(MANAGER)
    with client_of(site, CLERK) as clerk:
        assert "Sales User" in clerk.roles(CLERK), "though the document does not say so"
        assert "roles" not in clerk.get_doc("User", CLERK) or not clerk.get_doc("User", CLERK)["roles"]


def test_the_meta_of_a_doctype(site, client, mark):
    """Columns, tables and rights, with custom fields; what does not exist is NotFound."""
    meta = client.meta("Email Queue")
    columns = meta.columns
    assert columns["status"] == "Select" and columns["creation"] == "Data" and "recipients" not in columns
    assert meta.tables == (("recipients", "Email Queue Recipient"),) and not meta.issingle and not meta.istable
    assert client.meta("Log Settings").issingle and client.meta("Logs To Clear").istable
    assert meta.grants("delete", ["System Manager"]) and not client.meta("Version").grants("delete", ["System Manager"])
    site.make("DocType", **custom_doctype(mark))
    site.make("Custom Field", dt=mark, label="Extra", fieldname="custom_extra", fieldtype="Date")
    assert client.meta(mark).columns["custom_extra"] == "Date"
    with pytest.raises(errors.NotFound):
        client.meta(f"{mark} that is not there")


# Reading


def test_lists(site, client, mark):
    """All rows unless told otherwise, ordered by name; long conditions go by POST."""
    names = sorted(log(site, client, mark)["name"] for _ in range(22))
    rows = client.get_list("Error Log", ["name", "method"], {"method": mark})
    assert [row["name"] for row in rows] == names and rows[0]["method"] == mark
    assert [row["name"] for row in client.get_list("Error Log", ["name"], {"method": mark}, 20)] == names[20:]
    page = client.get_list("Error Log", "name", [["method", "=", mark]], 2, 3, "name desc")
    assert [row["name"] for row in page] == names[::-1][2:5]
    many = [*names, *(f"{mark}-{number}" for number in range(500))]
    assert len(client.get_list("Error Log", ["name"], [["name", "in", many]])) == 22
    some = client.get_list("Error Log", ["name"], {"method": mark}, or_filters=[["name", "in", names[:2]]])
    assert [row["name"] for row in some] == names[:2]


def test_child_rows_are_listed_by_their_parents_doctype(client):
    """And refused without it."""
    where = [["parent", "=", MANAGER]]
    rows = client.get_list("Has Role", ["role"], where, parent="User")
    assert "System Manager" in {row["role"] for row in rows}
    with pytest.raises(errors.NotPermitted):
        client.get_list("Has Role", ["role"], where)


def test_documents_and_values(site, client, mark):
    """By name or filters, empty fields included; `{}` where no value matches."""
    name = log(site, client, mark)["name"]
    doc = client.get_doc("Error Log", name)
    assert doc["method"] == mark and doc["reference_name"] is None
    assert client.get_doc("Error Log", filters={"method": mark}, fields=["name", "seen"]) == {"name": name, "seen": 0}
    assert client.get_doc("Log Settings", "Log Settings")["name"] == "Log Settings"
    assert client.get_value("Error Log", "method", name) == {"method": mark}
    assert client.get_value("Error Log", ["name", "seen"], {"method": mark}) == {"name": name, "seen": 0}
    assert client.get_value("Error Log", "method", {"name": f"{mark}-none"}) == {}


@pytest.mark.parametrize("doctype", ["Error Log", "Deleted Document", "Version"])
def test_counts(client, doctype):
    """By the method that this version does not refuse: reportview.get_count balks at words of SQL on 14 and 15."""
    listed = client.get_list(doctype, ["name"], [["name", "like", "0%"]])
    assert client.count(doctype, [["name", "like", "0%"]]) == len(listed)


def test_reportview_get_count_balks_at_words_of_sql(site):
    """db_query.py:sanitize_fields of 14 and 15 takes "Deleted Document" for a sub-query: 417."""
    reply = site.call("frappe.desk.reportview.get_count", doctype="Deleted Document", filters={"name": "none"})
    assert (reply.status, reply.value) == ((200, 0) if site.major >= 16 else (417, None))


# Writing


def test_insert_update_and_delete(site, client, mark):
    """The life of a document, and the lock by what was read."""
    doc = log(site, client, mark)
    seen = client.update({"doctype": "Error Log", "name": doc["name"], "seen": 1, "modified": doc["modified"]})
    assert seen["seen"] == 1
    with pytest.raises(errors.StaleDocument):
        client.update({"doctype": "Error Log", "name": doc["name"], "seen": 0, "modified": doc["modified"]})
    assert client.set_value("Error Log", doc["name"], "seen", 0)["seen"] == 0
    assert client.set_value("Error Log", doc["name"], {"seen": 1, "reference_name": "r"})["reference_name"] == "r"
    client.delete("Error Log", doc["name"])
    with pytest.raises(errors.NotFound):
        client.delete("Error Log", doc["name"])


def test_fields_with_reserved_names(site, client, mark):
    """app.py takes `cmd`, `sid` and `data` at the top of a body for its own; wrapped they are fields."""
    fields = [{"fieldname": name, "label": name.title(), "fieldtype": "Data"} for name in ("data", "cmd", "sid")]
    site.make("DocType", **custom_doctype(mark, fields=fields))
    doc = client.insert({"doctype": mark, "data": "d", "cmd": "c", "sid": "s"})
    assert (doc["data"], doc["cmd"], doc["sid"]) == ("d", "c", "s")
    changed = client.update({"doctype": mark, "name": doc["name"], "data": "e", "cmd": "f"})
    assert (changed["data"], changed["cmd"], changed["sid"]) == ("e", "f", "s")
    client.delete(mark, doc["name"])


def test_many_at_once(site, client, mark):
    """insert_many tells names; bulk_update tells what failed, and the rest is done."""
    names = client.insert_many([{"doctype": "Error Log", "method": mark} for _ in range(3)])
    site.made += [("Error Log", name) for name in names]
    docs = [{"doctype": "Error Log", "docname": name, "seen": 1} for name in [*names, f"{mark}-none"]]
    failed = client.bulk_update(docs)["failed_docs"]
    assert [one["doc"]["docname"] for one in failed] == [f"{mark}-none"]
    assert client.count("Error Log", {"method": mark, "seen": 1}) == 3
    with pytest.raises(errors.Invalid):
        client.insert_many([{"doctype": "Role", "role_name": mark}, {"doctype": "ToDo"}])
    assert client.count("Role", {"name": mark}) == 0, "all or none"


def test_submit_and_cancel(site, client, mark):
    """`submit` sends the whole document as it was read; a submitted one is not deleted."""
    name = client.insert({"doctype": "Sales Order", **order(site, mark)})["name"]
    site.made.append(("Sales Order", name))
    assert client.submit(client.get_doc("Sales Order", name))["docstatus"] == 1
    with pytest.raises(errors.Invalid, match="Submitted Record cannot be deleted"):
        client.delete("Sales Order", name)
    assert client.cancel("Sales Order", name)["docstatus"] == 2


def test_rename(site, client, mark):
    """Answers the new name, under which the document is then found."""
    site.make("Email Template", name=mark, subject="s", response="r")
    site.made.append(("Email Template", f"{mark}-new"))
    assert client.rename_doc("Email Template", mark, f"{mark}-new") == f"{mark}-new"
    assert client.get_doc("Email Template", f"{mark}-new")["subject"] == "s"
    with pytest.raises(errors.NotFound):
        client.get_doc("Email Template", mark)


def test_calls(client):
    """Methods by GET and POST, also named by `cmd` as the package does."""
    zone = client.get_api("frappe.client.get_time_zone")
    assert zone == client.post_api("frappe.client.get_time_zone") == {"time_zone": client.clock.zone.key}
    assert client.get_request({"cmd": "frappe.auth.get_logged_user"}) == MANAGER
    assert client.post_request({"cmd": "frappe.auth.get_logged_user"}) == MANAGER


def test_printed(site, client, mark):
    """A document as HTML; as a PDF where the site can make one (the real ones here lack wkhtmltopdf)."""
    name = log(site, client, mark)["name"]
    assert mark in client.get_html("Error Log", name) or name in client.get_html("Error Log", name)
    if site.sandbox:
        assert client.get_pdf("Error Log", name).read(4) == b"%PDF"


def test_sessions_are_refused(client):
    """An API key needs none; logging out does nothing."""
    with pytest.raises(errors.UsageError):
        client.login("x", "y")
    with pytest.raises(errors.UsageError):
        client.authenticate("x", "y")
    client.logout()
    assert client.user() == MANAGER


# Errors


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda client: client.get_doc("Error Log", "no-such-name"), errors.NotFound),
        (lambda client: client.get_list("No Such DocType"), errors.NotFound),
        (lambda client: client.get_list("ToDo", ["no_such_field"]), errors.Invalid),
        (lambda client: client.get_api("frappe.client.no_such_method"), errors.Invalid),
        (lambda client: client.get_api("frappe.utils.now"), errors.NotPermitted),
        (lambda client: client.insert({"doctype": "Role", "role_name": "System Manager"}), errors.AlreadyExists),
        (lambda client: client.insert({"doctype": "ToDo"}), errors.Invalid),
        (lambda client: client.insert({"doctype": "Version", "docname": "x"}), errors.NotPermitted),
        (lambda client: client.delete("Role", "System Manager"), errors.InUse),
        (lambda client: client.post_api("frappe.client.bulk_update", {"docs": []}), errors.ServerBug),
    ],
)  # fmt: skip
def test_a_refusal_is_the_error_of_who_must_act(client, call, error):
    """By status and class, in every version's own body; never None."""
    with pytest.raises(error) as caught:
        call(client)
    assert type(caught.value) is error


def test_unique_values_exist_already(site, client, mark):
    """417 UniqueValidationError, whose class 14 hides in `exception`, is the same to us as 409."""
    fields = [{"fieldname": "ext_key", "label": "Key", "fieldtype": "Data", "unique": 1}]
    site.make("DocType", **custom_doctype(mark, fields=fields))
    client.insert({"doctype": mark, "ext_key": "k"})
    with pytest.raises(errors.AlreadyExists):
        client.insert({"doctype": mark, "ext_key": "k"})


def test_a_wrong_key_is_refused(site):
    """401, whatever the body says; a key that does not arrive at all is 403."""
    key, secret = site.keys[MANAGER]
    for pair in ((key, "wrong"), ("nobody", secret)):
        with client_of(site, MANAGER, pair) as stranger, pytest.raises(errors.CredentialsRefused):
            stranger.user()
    with client_of(site, MANAGER) as stranger, pytest.raises(errors.NotPermitted):
        stranger.transport.http.headers.pop("Authorization")
        stranger.user()


# Together


def test_whole_documents(client):
    """With their child rows, in the order of idx, as get_doc has them."""
    names = [CLERK, MANAGER]
    docs = {doc["name"]: doc for doc in client.whole("User", [*names, "nobody@example.com"])}
    assert sorted(docs) == names
    for name in names:
        expected = [row["role"] for row in client.get_doc("User", name)["roles"]]
        assert [row["role"] for row in docs[name]["roles"]] == expected


def test_remove(site, client, mark):
    """What may go goes; what stays says why in the site's own words; what is gone already is no matter."""
    names = logs(site, mark, 23)
    assert client.remove("Scheduled Job Log", [*names, f"{mark}-none"], [["details", "=", mark]], map) == {}
    assert client.count("Scheduled Job Log", {"details": mark}) == 0
    roles = [site.make("Role", role_name=f"{mark} {letter}")["name"] for letter in "abc"]
    site.make("DocType", **custom_doctype(mark, permissions=[{"role": roles[1], "read": 1}]))
    stayed = client.remove("Role", roles, [["name", "in", roles]], map)
    assert list(stayed) == [roles[1]] and "linked with DocType" in str(stayed[roles[1]])
    assert type(stayed[roles[1]]) is (errors.Invalid if site.bulk else errors.InUse), "bulk gives words and no class"


def test_remove_gives_up_where_nothing_may_go(site, client, mark):
    """All stay for one reason: the next hundred would, too."""
    docs = [{"doctype": "Version", "ref_doctype": "ToDo", "docname": mark, "data": "{}"} for _ in range(3)]
    names = [site.insert("Version", user=ADMINISTRATOR, **doc).value["name"] for doc in docs]
    with pytest.raises(errors.NothingRemovable):
        client.remove("Version", names, [["docname", "=", mark]], map)
    assert client.count("Version", {"docname": mark}) == 3
