"""The life of a document. After model/document.py and model/delete_doc.py, as far as clients can tell."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable, Mapping
from typing import Any

from daemon.sandbox import checks, naming, retention, rights, selling
from daemon.sandbox.doctypes import DocType, Field
from daemon.sandbox.replies import FrappeError
from daemon.sandbox.site import Doc, FrappeSite, hash_name
from daemon.sandbox.store import quote, table

NO_FEED = {"File", "Communication", "Comment", "Deleted Document"}
"""DocTypes whose controllers say `no_feed_on_delete`: deleting them leaves no Comment."""

# Reading


def load(site: FrappeSite, doctype: str, name: Any) -> Doc:
    """The document with its child rows. Raises DoesNotExistError.

    Later 15 and 16 do not tell those who may not read whether it is there (permissions.py:handle_does_not_exist_error).
    """
    meta = site.doctype(doctype)
    row = site.store.get(doctype, doctype if meta.issingle else name)
    if row is None and meta.issingle:
        row = dict.fromkeys(("creation", "modified", "owner"), None) | {"name": doctype, "docstatus": 0}
        row |= {one.name: None for one in meta.columns}
    if row is None:
        if site.version != "14":
            rights.require(site, "read", doctype)
        raise FrappeError("DoesNotExistError", f"{doctype} {name} not found")
    doc = {"doctype": doctype, **row}
    for one in meta.tables:
        rows = site.children(one.options, row["name"], one.name)
        doc[one.name] = [{"doctype": one.options, **child} for child in rows]
    return doc


def read(site: FrappeSite, doctype: str, name: Any) -> Doc:
    """As `load`, if one may. Users may always read themselves, but not their roles, which are of permlevel 1."""
    doc = load(site, doctype, name)
    if doctype == "User" and doc["name"] == site.user and not rights.may(site, "read", doctype, doc):
        return {**doc, "roles": []}
    rights.require(site, "read", doctype, doc)
    return doc


# Writing


def insert(site: FrappeSite, doc: Mapping[str, Any], *, named: bool = False) -> Doc:
    """A new document. `named`: the client's name counts whatever the naming rule (v2)."""
    meta = site.doctype(doc.get("doctype") or "")
    if meta.istable:
        return _insert_child(site, doc)
    rights.require(site, "create", meta.name)
    doc = _prepared(site, meta, {**checks.defaults(site, meta), **_present(doc)})
    name = naming.name_of(site, meta, doc, named=named)
    values = checks.kept(meta, doc)
    checks.check(site, meta, name, values)
    _check_children(site, meta, name, doc)
    if site.store.get(meta.name, name) is not None:
        name = _taken(site, meta, name)
    row = {**site.stamps(name, int(doc.get("docstatus") or 0)), **values}
    _unique(site, meta, row, lambda: site.store.insert(meta.name, row))
    _write_children(site, meta, name, doc)
    _attach(site, meta, name, row)
    _take_up(site, meta.name, name)
    return load(site, meta.name, name)


def _present(doc: Mapping[str, Any]) -> Doc:
    return {key: value for key, value in doc.items() if value is not None}


def _taken(site: FrappeSite, meta: DocType, name: str) -> str:
    """base_document.py:db_insert takes a taken hash for a collision of its own and makes another."""
    if meta.autoname in ("", "hash"):
        return hash_name()
    if meta.autoname == "custom_field":
        raise FrappeError("ValidationError", f"A field with the name {name.rpartition('-')[2]} already exists")
    site.say(f"{meta.name} <strong>{name}</strong> already exists", "Duplicate Name")
    key = f"IntegrityError(1062, \"Duplicate entry '{name}' for key 'PRIMARY'\")"
    raise FrappeError("DuplicateEntryError", f"('{meta.name}', '{name}', {key})", thrown=False)


def _prepared(site: FrappeSite, meta: DocType, doc: Doc) -> Doc:
    """What controllers do in `validate`, as far as it shows."""
    if meta.name == "Custom Field" and not doc.get("fieldname"):
        label = re.sub(r"\W+", "_", str(doc.get("label") or "").lower())
        doc = {**doc, "fieldname": f"custom_{label}"}
    if meta.name == "DocType" and not int(doc.get("custom") or 0) and not site.config.get("developer_mode"):
        text = "Not in Developer Mode! Set in site_config.json or make 'Custom' DocType."
        raise FrappeError("CannotCreateStandardDoctypeError", text)
    if meta.name == "Log Settings" and isinstance(doc.get("logs_to_clear"), list):
        doc = {**doc, "logs_to_clear": retention.settled(site, doc["logs_to_clear"])}
    if meta.name in selling.SALES and doc.get("customer"):  # erpnext/accounts/party.py:_get_party_details
        rights.require(site, "read", "Customer", site.store.get("Customer", doc["customer"]))
    if meta.name == "User":
        doc = {**doc, "user_type": _user_type(site, doc)}
    return selling.computed(site, meta.name, doc)


def _user_type(site: FrappeSite, doc: Doc) -> str:
    """core/doctype/user/user.py:set_system_user: a role with a desk makes a System User."""
    roles = [site.store.get("Role", row.get("role")) or {} for row in doc.get("roles") or ()]
    if doc.get("name") == "Administrator" or any(role.get("desk_access") for role in roles):
        return "System User"
    return "Website User"


def _take_up(site: FrappeSite, doctype: str, name: str) -> None:
    """What describes other documents takes effect at once."""
    if doctype == "DocType":
        site.add_doctype(site.stored_doctype(name))
    elif doctype == "Custom Field":
        site.add_field(site.store.get(doctype, name) or {})


def _insert_child(site: FrappeSite, doc: Mapping[str, Any]) -> Doc:
    """frappe/client.py:insert_doc appends to the parent and saves it; the parent is returned."""
    if not all(doc.get(key) for key in ("parent", "parenttype", "parentfield")):
        raise FrappeError("ValidationError", "Parenttype, Parent and Parentfield are required to insert a child record")
    parent = load(site, doc["parenttype"], doc["parent"])
    rows = [*parent[doc["parentfield"]], {key: value for key, value in doc.items() if key != "name"}]
    return update(site, doc["parenttype"], doc["parent"], {doc["parentfield"]: rows})


def update(site: FrappeSite, doctype: str, name: str, values: Mapping[str, Any], *, whole: bool = False) -> Doc:
    """Merge, check and save, as PUT does. `whole`: what is not sent becomes empty, as client.save does."""
    meta, before = site.doctype(doctype), load(site, doctype, name)
    rights.require(site, "write", doctype, before)
    _check_latest(before, values)
    if values.get("owner") not in (None, before["owner"]):
        raise FrappeError("CannotChangeConstantError", "Value cannot be changed for <strong>Created By</strong>")
    status = int(values.get("docstatus", before["docstatus"]) or 0)
    _check_docstatus(site, meta, before, status)
    sent = {**_emptied(meta), **values} if whole else values
    doc = _prepared(site, meta, {**before, **sent})
    changed = checks.kept(meta, doc)
    checks.check(site, meta, before["name"], changed)
    _check_children(site, meta, before["name"], doc)
    if before["docstatus"] == 1 and status == 1:
        checks.check_submitted(meta, before, changed)
    if before["docstatus"] == 0 and status == 1:
        changed |= selling.submitted(doctype)
    changed |= {"modified": site.now(), "modified_by": site.user, "docstatus": status}
    _write(site, meta, before["name"], changed)
    _write_children(site, meta, before["name"], {one.name: doc[one.name] for one in meta.tables if one.name in sent or
                                                 doc[one.name] is not before[one.name]})  # fmt: skip
    _attach(site, meta, before["name"], changed)
    _take_up(site, doctype, before["name"])
    return load(site, doctype, before["name"])


def _attach(site: FrappeSite, meta: DocType, name: str, row: Mapping[str, Any]) -> None:
    """core/doctype/file/utils.py:attach_files_to_document: a file that an Attach field names becomes an attachment."""
    files = table("File")
    for one in meta.columns:
        url = str(row.get(one.name) or "")
        if one.type not in ("Attach", "Attach Image") or not url.startswith(("/files/", "/private/files/")):
            continue
        facts = {"attached_to_doctype": meta.name, "attached_to_name": name, "attached_to_field": one.name}
        rows = site.store.all(f"SELECT * FROM {files} WHERE file_url = ?", (url,))
        if not rows or any(all(row[key] == value for key, value in facts.items()) for row in rows):
            continue
        if free := next((row for row in rows if not row["attached_to_name"]), None):
            site.store.update("File", free["name"], facts)
        else:
            copied = {key: rows[0][key] for key in ("file_name", "file_url", "is_private", "file_size", "folder")}
            site.store.insert("File", {**site.stamps(hash_name()), **copied, **facts})


def _emptied(meta: DocType) -> Doc:
    return {one.name: [] if one in meta.tables else None for one in meta.fields.values()}


def _write(site: FrappeSite, meta: DocType, name: str, row: Doc) -> None:
    if meta.issingle and site.store.get(meta.name, name) is None:
        site.store.insert(meta.name, site.stamps(name))
    _unique(site, meta, row, lambda: site.store.update(meta.name, name, row))


def _check_latest(before: Doc, values: Mapping[str, Any]) -> None:
    """document.py:check_if_latest, where the client says which state it read."""
    if values.get("modified") and str(values["modified"]) != str(before["modified"]):
        text = "Document has been modified after you have opened it"
        detail = f"({values['modified']}, {before['modified']}). Please refresh to get the latest document."
        raise FrappeError("TimestampMismatchError", f"Error: {text} {detail}")


def _check_docstatus(site: FrappeSite, meta: DocType, before: Doc, status: int) -> None:
    """document.py:check_docstatus_transition."""
    now = before["docstatus"]
    if now == 2:
        raise FrappeError("ValidationError", "Cannot edit cancelled document")
    if now == status:
        return
    if (now, status) not in ((0, 1), (1, 2)) or not meta.is_submittable:
        raise FrappeError("DocstatusTransitionError", f"Cannot change docstatus from {now} to {status}")
    rights.require(site, "submit" if status == 1 else "cancel", meta.name, before)


def _unique(site: FrappeSite, meta: DocType, row: Mapping[str, Any], write: Callable[[], Any]) -> None:
    """base_document.py:show_unique_validation_message; it is not thrown, so 14 hides the class."""
    try:
        write()
    except sqlite3.IntegrityError as error:
        label = next((one.label for one in meta.columns if f".{one.name}" in str(error)), "Name")
        site.say(f"{label} must be unique")
        text = f"('{meta.name}', '{row.get('name')}', IntegrityError(1062, 'Duplicate entry'))"
        raise FrappeError("UniqueValidationError", text, thrown=False) from None


# Child rows


def _check_children(site: FrappeSite, meta: DocType, name: str, doc: Mapping[str, Any]) -> None:
    for one in meta.tables:
        rows = doc.get(one.name)
        if one.flags.get("reqd") and not rows:
            site.say(f"Error: Data missing in table: {one.label}")
            raise FrappeError("MandatoryError", f"[{meta.name}, {name}]: {one.name}", thrown=False)
        child = site.doctype(one.options)
        for idx, row in enumerate(rows if isinstance(rows, list) else (), 1):
            values = {**checks.defaults(site, child), **checks.kept(child, row)}
            checks.check(site, child, name, values, f"Row #{idx}: ")


def _write_children(site: FrappeSite, meta: DocType, name: str, doc: Mapping[str, Any]) -> None:
    """A table that is sent replaces the one that is there; rows with a wrong name are lost (db_update)."""
    for one in meta.tables:
        if not isinstance(doc.get(one.name), list):
            continue
        child = site.doctype(one.options)
        there = {row["name"] for row in site.children(child.name, name, one.name)}
        for idx, row in enumerate(doc[one.name], 1):
            values = checks.kept(child, row)
            if row.get("name"):
                there.discard(row["name"])
                site.store.update(child.name, row["name"], {**values, "idx": idx})
            else:
                values = {**checks.defaults(site, child), **values}
                site.add_child(child.name, (meta.name, name, one.name), idx, values)
        for gone in there:
            site.store.run(f"DELETE FROM {table(child.name)} WHERE name = ?", (gone,))


# Deleting


def delete(site: FrappeSite, doctype: str, name: str) -> None:
    """One document with all that it leaves behind: a Deleted Document, mostly a Comment, and a job."""
    meta = site.doctype(doctype)
    row = site.store.get(doctype, name)
    if row is None:
        raise FrappeError("DoesNotExistError", thrown=False)
    _check_deletable(site, meta, row)
    doc = load(site, doctype, name)
    site.store.delete(doctype, str(row["name"]))
    for child in meta.tables:
        site.store.run(f"DELETE FROM {table(child.options)} WHERE parent = ? AND parenttype = ?", (name, doctype))
    _delete_attachments(site, doctype, name)
    _leave_traces(site, doctype, str(row["name"]), doc)
    _deleted(site, doctype, row)
    site.enqueue(lambda: None)  # delete_dynamic_links


def _check_deletable(site: FrappeSite, meta: DocType, row: Mapping[str, Any]) -> None:
    if site.version != "16" and not rights.may(site, "delete", meta.name, row):
        target = f"{meta.name} - {row['name']}"
        site.say(f"User <strong>{site.user}</strong> does not have access to this document: {target}")
        raise FrappeError("PermissionError", f"User not allowed to delete {meta.name}: {row['name']}")
    rights.require(site, "delete", meta.name, row)
    name = str(row["name"])
    if row["docstatus"] == 1:
        text = f"{meta.name} {name}: Submitted Record cannot be deleted. You must Cancel it first."
        raise FrappeError("ValidationError", text)
    if meta.name == "Email Queue" and site.user != "Administrator":  # email_queue.py:on_trash
        raise FrappeError("ValidationError", "Only Administrator can delete Email Queue")
    for other in site.doctypes.values():
        for link in other.links():
            if link.options == meta.name:
                _check_not_linked(site, meta, name, other, link)


def _check_not_linked(site: FrappeSite, meta: DocType, name: str, other: DocType, link: Field) -> None:
    """delete_doc.py:check_if_doc_is_linked; of a child row, its parent is named."""
    who = "parent AS name, parenttype" if other.istable else "name"
    rows = site.store.all(f"SELECT {who} FROM {table(other.name)} WHERE {quote(link.name)} = ? LIMIT 1", (name,))
    if not rows or (other.name == meta.name and rows[0]["name"] == name):
        return
    holder = f"{rows[0].get('parenttype') or other.name} <a>{rows[0]['name']}</a>"
    text = f"Cannot delete or cancel because {meta.name} <a>{name}</a> is linked with {holder}"
    raise FrappeError("LinkExistsError", text)


def _delete_attachments(site: FrappeSite, doctype: str, name: str) -> None:
    """delete_doc.py:remove_all; each File leaves a Deleted Document of its own."""
    sql = f"SELECT name FROM {table('File')} WHERE attached_to_doctype = ? AND attached_to_name = ?"
    for row in site.store.all(sql, (doctype, name)):
        delete(site, "File", row["name"])


def _leave_traces(site: FrappeSite, doctype: str, name: str, doc: Doc) -> None:
    if doctype != "Deleted Document":
        facts = {"deleted_name": name, "deleted_doctype": doctype, "data": json.dumps(doc, default=str), "restored": 0}
        site.store.insert("Deleted Document", {**site.stamps(hash_name()), **facts})
    if doctype not in NO_FEED:
        facts = {"comment_type": "Deleted", "reference_doctype": doctype, "subject": f"{doctype} {name}"}
        facts |= {"comment_email": site.user}
        site.store.insert("Comment", {**site.stamps(hash_name()), **facts})


def _deleted(site: FrappeSite, doctype: str, row: Mapping[str, Any]) -> None:
    if doctype == "DocType":
        site.doctypes.pop(row["name"], None)
        site.store.drop(row["name"])
    elif doctype == "Custom Field" and row["dt"] in site.doctypes:
        site.doctypes[row["dt"]].fields.pop(row["fieldname"], None)


def rename(site: FrappeSite, doctype: str, old: str, new: str) -> str:
    """model/rename_doc.py: links follow, `modified` of those who hold them does not move."""
    meta = site.doctype(doctype)
    rights.require(site, "write", doctype, load(site, doctype, old))
    if site.store.get(doctype, new) is not None:
        raise FrappeError("ValidationError", f"Another {doctype} with name {new} exists, select another name")
    site.store.update(doctype, old, {"name": new})
    for child in meta.tables:
        sql = f"UPDATE {table(child.options)} SET parent = ? WHERE parent = ? AND parenttype = ?"
        site.store.run(sql, (new, old, doctype))
    for other in site.doctypes.values():
        for link in other.links():
            if link.options == doctype:
                sql = f"UPDATE {table(other.name)} SET {quote(link.name)} = ? WHERE {quote(link.name)} = ?"
                site.store.run(sql, (new, old))
    return new
