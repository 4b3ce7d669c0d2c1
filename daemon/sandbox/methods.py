"""Whitelisted methods: what is reached under /api/method. Each takes the site and the arguments as they came."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from typing import Any

from daemon.sandbox.query import Listing, page_of
from daemon.sandbox.replies import FrappeError
from daemon.sandbox.site import CLEAR_METHOD, VERSIONS, Doc, FrappeSite
from daemon.sandbox.store import table

Arguments = Mapping[str, Any]
Method = Callable[[FrappeSite, Arguments], Any]

METHODS: dict[str, Method] = {}
GUESTS = {"ping", "frappe.ping", "frappe.client.get_time_zone"}
"""Methods for those who are not logged in."""


class Whole(dict[str, Any]):
    """A body that goes out as it is, without `message` around it."""


def method(*names: str) -> Callable[[Method], Method]:
    def register(function: Method) -> Method:
        METHODS.update(dict.fromkeys(names, function))
        return function

    return register


def call(site: FrappeSite, name: str, arguments: Arguments) -> Any:
    """What the method returns. Raises FrappeError."""
    found = METHODS.get(name)
    if found is None:
        text = f"Failed to get method for command {name} with {name.rpartition('.')[0]} has no such attribute"
        raise FrappeError("ValidationError", text)
    if site.user == "Guest" and name not in GUESTS:
        raise FrappeError("PermissionError", f"Function {name} is not whitelisted.")
    return found(site, arguments)


def decoded(value: Any) -> Any:
    """frappe.parse_json: text that is JSON becomes what it says."""
    if isinstance(value, str):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def needed(arguments: Arguments, *names: str) -> list[Any]:
    """Raises TypeError as Python does for a missing argument: 500."""
    missing = [name for name in names if name not in arguments]
    if missing:
        raise FrappeError("TypeError", f"missing required argument: {missing[0]!r}", thrown=False)
    return [arguments[name] for name in names]


@method("ping", "frappe.ping")
def ping(site: FrappeSite, arguments: Arguments) -> str:
    return "pong"


@method("frappe.auth.get_logged_user")
def get_logged_user(site: FrappeSite, arguments: Arguments) -> str:
    return site.user


@method("logout", "frappe.auth.logout")
def logout(site: FrappeSite, arguments: Arguments) -> None:
    site.store.insert(
        "Activity Log", {**site.stamps(secrets.token_hex(5)), "subject": "Logged out", "operation": "Logout"}
    )


@method("frappe.utils.change_log.get_versions")
def get_versions(site: FrappeSite, arguments: Arguments) -> Doc:
    erpnext = {"14": "14.92.1", "15": "15.71.1", "16": "16.7.3"}[site.version]
    return {
        "frappe": {"title": "Frappe Framework", "version": VERSIONS[site.version]},
        "erpnext": {"title": "ERPNext", "version": erpnext},
    }


@method("frappe.client.get_time_zone")
def get_time_zone(site: FrappeSite, arguments: Arguments) -> Doc:
    return {"time_zone": site.zone.key}


# Reading


def listing(site: FrappeSite, doctype: str, arguments: Arguments) -> Listing:
    """Checks the right to read, then what is asked for."""
    meta = site.doctype(doctype)
    parent = arguments.get("parent")
    if meta.istable:
        if not parent and site.user != "Administrator":
            raise FrappeError("PermissionError", f"Parent DocType is needed to read {doctype}")
        if parent and doctype not in [one.options for one in site.doctype(parent).tables]:
            raise FrappeError("PermissionError", f"{parent} does not hold {doctype}")
        site.require("read", parent or doctype)
    else:
        site.require("read", doctype)
    children = {one.options: site.doctypes[one.options] for one in meta.tables}
    fields = decoded(arguments.get("fields"))
    filters, or_filters = decoded(arguments.get("filters")), decoded(arguments.get("or_filters"))
    if isinstance(filters, str):
        filters = {"name": filters}
    return Listing(
        meta, site.version, children, fields, filters, or_filters,
        arguments.get("order_by"), arguments.get("group_by"),
        page_of(arguments, ("limit_start", "start"), 0), page_of(arguments, ("limit_page_length", "limit"), 20),
    )  # fmt: skip


def rows(site: FrappeSite, doctype: str, arguments: Arguments) -> list[Doc]:
    """A list. Notification Log shows everybody their own rows only."""
    asked = listing(site, doctype, arguments)
    if doctype == "Notification Log" and site.user != "Administrator":
        asked.filters = [*as_list(asked.filters), ["for_user", "=", site.user]]
    return site.store.all(asked.sql(), asked.values)


def as_list(filters: Any) -> list[Any]:
    if isinstance(filters, Mapping):
        return [[key, *value] if isinstance(value, list) else [key, "=", value] for key, value in filters.items()]
    return list(filters or ())


@method("frappe.client.get_list")
def client_get_list(site: FrappeSite, arguments: Arguments) -> list[Doc]:
    (doctype,) = needed(arguments, "doctype")
    return rows(site, doctype, {key: value for key, value in arguments.items() if key != "limit"})


@method("frappe.desk.reportview.get_list", "frappe.desk.reportview.get")
def reportview_get_list(site: FrappeSite, arguments: Arguments) -> Any:
    """With group_by and aggregate_function a column `_aggregate_column`, in whatever dialect the site has."""
    (doctype,) = needed(arguments, "doctype")
    asked = dict(arguments)
    function = asked.pop("aggregate_function", None)
    if asked.get("group_by") and function:
        column = asked.pop("aggregate_on_field", None) or "name"
        sixteen = {str(function).upper(): column, "as": "_aggregate_column"}
        added = sixteen if site.version == "16" else f"{function}({column}) as _aggregate_column"
        asked["fields"] = [*(decoded(asked.get("fields")) or []), added]
    return rows(site, doctype, asked)


@method("frappe.desk.reportview.get_count")
def reportview_get_count(site: FrappeSite, arguments: Arguments) -> int:
    """14 and 15 take a DocType whose name holds a word of SQL for a sub-query (db_query.py:sanitize_fields)."""
    (doctype,) = needed(arguments, "doctype")
    words = ("select", "create", "insert", "delete", "drop", "update", "case", "show")
    if site.version != "16" and any(word in doctype.lower() for word in words):
        raise FrappeError("DataError", "Use of sub-query or function is restricted")
    return count(site, arguments)


def count(site: FrappeSite, arguments: Arguments) -> int:
    asked = listing(site, arguments["doctype"], arguments)
    sql = asked.count_sql()
    return int(site.store.value(sql, asked.values))


@method("frappe.client.get_count")
def client_get_count(site: FrappeSite, arguments: Arguments) -> int:
    """Checks no permission on 14 and 15."""
    user = site.user
    try:
        if site.version != "16":
            site.user = "Administrator"
        return count(site, arguments)
    finally:
        site.user = user


@method("frappe.client.get")
def client_get(site: FrappeSite, arguments: Arguments) -> Doc:
    (doctype,) = needed(arguments, "doctype")
    name = arguments.get("name") or first(site, doctype, arguments.get("filters"))
    doc = site.load(doctype, name)
    if not (doctype == "User" and doc["name"] == site.user):
        site.require("read", doctype, doc["name"])
    return doc


def first(site: FrappeSite, doctype: str, filters: Any) -> Any:
    if site.doctype(doctype).issingle:
        return doctype
    found = rows(site, doctype, {"filters": filters, "limit_page_length": 1})
    if not found:
        raise FrappeError("DoesNotExistError", f"{doctype} not found", title="Not Found")
    return found[0]["name"]


@method("frappe.client.get_value")
def client_get_value(site: FrappeSite, arguments: Arguments) -> Doc:
    doctype, fieldname = needed(arguments, "doctype", "fieldname")
    fields = decoded(fieldname)
    fields = [fields] if isinstance(fields, str) else fields
    asked = {"fields": fields, "filters": arguments.get("filters"), "parent": arguments.get("parent")}
    found = rows(site, doctype, {**asked, "limit_page_length": 1})
    return found[0] if found else {}


@method("frappe.client.get_single_value")
def client_get_single_value(site: FrappeSite, arguments: Arguments) -> Any:
    doctype, fieldname = needed(arguments, "doctype", "field")
    site.require("read", doctype)
    return site.load(doctype, doctype).get(fieldname)


@method("frappe.client.has_permission")
def client_has_permission(site: FrappeSite, arguments: Arguments) -> Doc:
    doctype, name = needed(arguments, "doctype", "docname")
    site.load(doctype, name)
    return {"has_permission": site.may(arguments.get("perm_type", "read"), doctype)}


@method("frappe.desk.form.load.getdoctype")
def getdoctype(site: FrappeSite, arguments: Arguments) -> Whole:
    (doctype,) = needed(arguments, "doctype")
    meta = site.doctype(doctype)
    docs = [meta, *(site.doctypes[one.options] for one in meta.tables)]
    found = [{**one.as_json(), "permissions": site.permissions(one.name)} for one in docs]
    return Whole(docs=found, user_settings="{}")


# Writing


@method("frappe.client.insert")
def client_insert(site: FrappeSite, arguments: Arguments) -> Doc:
    return site.insert(decoded(needed(arguments, "doc")[0]))


@method("frappe.client.insert_many")
def client_insert_many(site: FrappeSite, arguments: Arguments) -> list[str]:
    docs = decoded(needed(arguments, "docs")[0])
    if len(docs) > 200:
        raise FrappeError("ValidationError", "Only 200 inserts allowed in one request")
    return [site.insert(doc)["name"] for doc in docs]


@method("frappe.client.save")
def client_save(site: FrappeSite, arguments: Arguments) -> Doc:
    doc = decoded(needed(arguments, "doc")[0])
    return site.update(doc["doctype"], doc["name"], {"modified": "missing", **doc})


@method("frappe.client.submit")
def client_submit(site: FrappeSite, arguments: Arguments) -> Doc:
    doc = decoded(needed(arguments, "doc")[0])
    return site.update(doc["doctype"], doc["name"], {"modified": "missing", **doc, "docstatus": 1})


@method("frappe.client.cancel")
def client_cancel(site: FrappeSite, arguments: Arguments) -> Doc:
    doctype, name = needed(arguments, "doctype", "name")
    return site.update(doctype, name, {"docstatus": 2})


@method("frappe.client.delete")
def client_delete(site: FrappeSite, arguments: Arguments) -> None:
    doctype, name = needed(arguments, "doctype", "name")
    site.delete(doctype, str(name))


@method("frappe.client.set_value")
def client_set_value(site: FrappeSite, arguments: Arguments) -> Doc:
    doctype, name, fieldname = needed(arguments, "doctype", "name", "fieldname")
    values = decoded(fieldname)
    if not isinstance(values, dict):
        values = {fieldname: arguments.get("value")}
    return site.update(doctype, name, {key: value or "" for key, value in values.items()})


@method("frappe.client.bulk_update")
def client_bulk_update(site: FrappeSite, arguments: Arguments) -> Doc:
    docs = needed(arguments, "docs")[0]
    if not isinstance(docs, str):
        kind = "FrappeTypeError" if site.version == "16" else "TypeError"
        raise FrappeError(
            kind, "the JSON object must be str, bytes or bytearray, not list", thrown=site.version == "16"
        )
    failed = []
    for doc in json.loads(docs):
        values = {key: value for key, value in doc.items() if key not in ("doctype", "docname")}
        try:
            site.update(doc["doctype"], doc["docname"], values)
        except FrappeError as error:
            failed.append({"doc": doc, "exc": f"frappe.exceptions.{error.exc_type}: {error.message}"})
    return {"failed_docs": failed}


@method("frappe.desk.reportview.delete_items")
def delete_items(site: FrappeSite, arguments: Arguments) -> None:
    """Up to ten now, each committed or undone by itself; more in the background. What failed shows in messages only."""
    items, doctype = needed(arguments, "items", "doctype")
    if not isinstance(items, str):
        raise FrappeError("TypeError", "the JSON object must be str, bytes or bytearray, not list", thrown=False)
    names = sorted(json.loads(items), reverse=True)
    if len(names) <= 10:
        delete_bulk(site, doctype, names)
        return
    user = site.user

    def job() -> None:
        site.user = user
        delete_bulk(site, doctype, names)

    site.enqueue(job)


def delete_bulk(site: FrappeSite, doctype: str, items: list[Any]) -> None:
    """Each item is a name or, as frappe.delete_doc takes it, a list of names; it goes whole or not at all."""
    failed = [item for item in items if not delete_item(site, doctype, item)]
    if len(failed) == len(items) and any(isinstance(item, list) for item in failed):
        raise FrappeError("TypeError", "sequence item 0: expected str instance, list found", thrown=False)


def delete_item(site: FrappeSite, doctype: str, item: Any) -> bool:
    """False where it was undone. A missing document ends a list without an error."""
    for name in item if isinstance(item, list) else [item]:
        try:
            site.delete(doctype, str(name))
        except FrappeError as error:
            if error.exc_type == "DoesNotExistError":
                break
            site.store.rollback()
            site.messages.append(error.message)
            return False
    site.store.commit()
    return True


@method("frappe.desk.doctype.bulk_update.bulk_update.submit_cancel_or_update_docs")
def submit_cancel_or_update_docs(site: FrappeSite, arguments: Arguments) -> list[str] | None:
    doctype, docnames, action = needed(arguments, "doctype", "docnames", "action")
    names = decoded(docnames)
    if len(names) > 500:
        raise FrappeError(
            "ValidationError", "Bulk operations only support up to 500 documents.", title="Too Many Documents"
        )
    values = (
        {"submit": {"docstatus": 1}, "cancel": {"docstatus": 2}}.get(action) or decoded(arguments.get("data")) or {}
    )

    def work() -> list[str]:
        failed = []
        for name in names:
            try:
                site.update(doctype, name, values)
                site.store.commit()
            except FrappeError:
                site.store.rollback()
                failed.append(name)
        return failed

    if len(names) < 20:
        return work()
    site.enqueue(lambda: void(work()))
    return None


def void(_: Any) -> None:
    """Jobs return nothing."""


# Logs


@method("frappe.core.doctype.scheduled_job_type.scheduled_job_type.execute_event")
def execute_event(site: FrappeSite, arguments: Arguments) -> None:
    """Enqueue the job now, unless it is queued already; its log tells how it ended."""
    site.require("write", "Scheduled Job Type")
    doc = decoded(needed(arguments, "doc")[0])
    job = site.load("Scheduled Job Type", doc["name"])
    if job["method"] == CLEAR_METHOD and not site.config.get("clean_up_queued"):
        site.config["clean_up_queued"] = True
        site.enqueue(lambda: run_scheduled(site, job["name"]))


def run_scheduled(site: FrappeSite, name: str) -> None:
    site.config["clean_up_queued"] = False
    error = site.config.get("clean_up_fails")
    if not error:
        site.clear_logs()
    facts = {"scheduled_job_type": name, "status": "Failed" if error else "Complete", "details": error or ""}
    site.store.insert("Scheduled Job Log", {**site.stamps(secrets.token_hex(5)), **facts})


@method("frappe.core.doctype.error_log.error_log.clear_error_logs")
def clear_error_logs(site: FrappeSite, arguments: Arguments) -> None:
    if "System Manager" not in site.roles():
        raise FrappeError("PermissionError", "Not permitted")
    site.store.run(f"DELETE FROM {table('Error Log')}")


@method("frappe.core.doctype.deleted_document.deleted_document.restore")
def restore(site: FrappeSite, arguments: Arguments) -> None:
    """A hash-named document comes back under a new name, which the Deleted Document then tells."""
    (name,) = needed(arguments, "name")
    deleted = site.load("Deleted Document", name)
    if deleted["restored"]:
        raise FrappeError("ValidationError", f"Document {deleted['deleted_name']} Already Restored")
    restored = site.insert({**json.loads(deleted["data"]), "docstatus": 0}, named=True)
    site.store.update("Deleted Document", name, {"restored": 1, "new_name": restored["name"]})


# Permissions


@method("frappe.core.page.permission_manager.permission_manager.add")
def permission_add(site: FrappeSite, arguments: Arguments) -> None:
    """The first change of a DocType copies its standard permissions to Custom DocPerm."""
    parent, role = needed(arguments, "parent", "role")
    site.require("write", "Custom DocPerm")
    standard = site.doctype(parent).permissions
    if site.permissions(parent) is standard:
        for row in standard:
            insert_permission(site, parent, row)
    insert_permission(site, parent, {"role": role, "read": 1})


def insert_permission(site: FrappeSite, parent: str, row: Mapping[str, Any]) -> None:
    columns = site.store.columns("Custom DocPerm")
    values = {key: value for key, value in row.items() if key in columns and key != "name"}
    site.store.insert("Custom DocPerm", {**site.stamps(secrets.token_hex(5)), **values, "parent": parent})


@method("frappe.core.page.permission_manager.permission_manager.update")
def permission_update(site: FrappeSite, arguments: Arguments) -> str:
    doctype, role, ptype = needed(arguments, "doctype", "role", "ptype")
    site.require("write", "Custom DocPerm")
    for row in site.permissions(doctype):
        if row["role"] == role and row.get("name"):
            site.store.update("Custom DocPerm", row["name"], {ptype: int(arguments.get("value") or 0)})
    return "refresh"


# Mail


@method("frappe.core.doctype.communication.email.make")
def make_email(site: FrappeSite, arguments: Arguments) -> Doc:
    """A Communication and, with send_email, a row of Email Queue and a mail in the outbox."""
    recipients = decoded(arguments.get("recipients")) or []
    listed = recipients if isinstance(recipients, list) else [part.strip() for part in recipients.split(",")]
    subject, content = arguments.get("subject"), arguments.get("content") or ""
    facts = {
        "subject": subject,
        "content": content,
        "communication_type": "Communication",
        "communication_medium": "Email",
    }
    whose = {"recipients": ", ".join(listed), "sender": site.user, "sent_or_received": "Sent"}
    name = secrets.token_hex(5)
    site.store.insert("Communication", {**site.stamps(name), **facts, **whose})
    if int(decoded(arguments.get("send_email")) or 0):
        if site.config.get("mute_emails") == "no account":
            raise FrappeError("OutgoingEmailError", "Please setup default outgoing Email Account")
        queued = secrets.token_hex(5)
        row = {"sender": site.user, "status": "Not Sent", "communication": name, "message": content}
        site.store.insert("Email Queue", {**site.stamps(queued), **row})
        for idx, address in enumerate(listed, 1):
            parent = {"parent": queued, "parenttype": "Email Queue", "parentfield": "recipients", "idx": idx}
            one = {**site.stamps(secrets.token_hex(5)), **parent, "recipient": address, "status": "Not Sent"}
            site.store.insert("Email Queue Recipient", one)
        site.outbox.append({"recipients": listed, "subject": subject, "content": content, "communication": name})
    return {"name": name, "emails_not_sent_to": ""}
