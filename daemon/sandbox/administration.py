"""Whitelisted methods of those who run a site: logs, scheduled jobs, deleted documents, permissions."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from typing import Any

from daemon.sandbox import documents, retention, rights
from daemon.sandbox.methods import method
from daemon.sandbox.replies import FrappeError
from daemon.sandbox.requests import decoded
from daemon.sandbox.site import Doc, FrappeSite, hash_name
from daemon.sandbox.store import table


@method("logout", "frappe.auth.logout", guests=True)
def logout(site: FrappeSite) -> None:
    """Leaves an Activity Log, with an API key, too (sessions.py:delete_session)."""
    facts = {"subject": f"{site.user} logged out", "operation": "Logout", "status": "Success", "user": site.user}
    site.store.insert("Activity Log", {**site.stamps(hash_name()), **facts})


@method("frappe.core.doctype.scheduled_job_type.scheduled_job_type.execute_event")
def execute_event(site: FrappeSite, doc: Any) -> Doc:
    """Enqueue the job now, unless it waits already; its log tells how it ended. `doc`: a JSON text."""
    rights.only_system_manager(site)
    asked = json.loads(doc)
    retention.execute(site, documents.load(site, "Scheduled Job Type", asked["name"]))
    return dict(asked)


@method("frappe.core.doctype.error_log.error_log.clear_error_logs")
def clear_error_logs(site: FrappeSite) -> None:
    """TRUNCATE."""
    rights.only_system_manager(site)
    site.store.run(f"DELETE FROM {table('Error Log')}")


@method("frappe.core.doctype.deleted_document.deleted_document.restore")
def restore(site: FrappeSite, name: str, alert: Any = True) -> None:
    """A new document of what was kept, with stamps of its own, and a cancelled one as a draft; what a new document
    would be called it is called, which the Deleted Document then tells. Asks for the right to create, and no other."""
    deleted = documents.load(site, "Deleted Document", name)
    if deleted["restored"]:
        raise FrappeError("DocumentAlreadyRestored", f"Document {name} Already Restored")
    kept = json.loads(deleted["data"])
    for rows in (value for value in kept.values() if isinstance(value, list)):
        for row in rows:
            row.pop("name", None)
    restored = documents.insert(site, {**kept, "docstatus": 0})
    text = f"restored {deleted['deleted_name']} as {restored['name']}"
    facts = {"comment_type": "Edit", "reference_doctype": kept["doctype"], "reference_name": restored["name"]}
    if kept["doctype"] != "Comment":
        site.store.insert("Comment", {**site.stamps(hash_name()), **facts, "content": text})
    site.store.update("Deleted Document", name, {"restored": 1, "new_name": restored["name"]})
    if alert:
        site.say("Document Restored")


@method("frappe.core.doctype.deleted_document.deleted_document.bulk_restore")
def bulk_restore(site: FrappeSite, docnames: Any) -> Doc:
    """Each committed or undone by itself; 200 whatever failed."""
    found: Doc = {"restored": [], "invalid": [], "failed": []}
    for name in decoded(docnames):
        try:
            restore(site, name, alert=False)
        except FrappeError as error:
            site.store.rollback()
            found["invalid" if error.exc_type == "DocumentAlreadyRestored" else "failed"].append(name)
        else:
            site.store.commit()
            found["restored"].append(name)
    return found


@method("frappe.core.doctype.user.user.generate_keys")
def generate_keys(site: FrappeSite, user: str) -> Doc:
    """A new secret; the key stays, where there is one. 16 tells that too."""
    rights.only_system_manager(site)
    row = documents.load(site, "User", user)
    key, secret = row["api_key"] or secrets.token_hex(8)[:15], secrets.token_hex(8)[:15]
    documents.update(site, "User", user, {"api_key": key})
    site.keys[row["name"]] = (key, secret)
    return {"api_key": key, "api_secret": secret} if site.version == "16" else {"api_secret": secret}


# Permissions: core/page/permission_manager/permission_manager.py


@method("frappe.core.page.permission_manager.permission_manager.add")
def permission_add(site: FrappeSite, parent: str, role: str, permlevel: Any = 0) -> None:
    """The first change of a DocType copies its standard permissions to Custom DocPerm."""
    rights.only_system_manager(site)
    standard = site.doctype(parent).permissions
    if rights.granted(site, parent) is standard:
        for row in standard:
            _insert_permission(site, parent, row)
    level = int(permlevel or 0)
    if any(row["role"] == role and int(row.get("permlevel") or 0) == level for row in rights.granted(site, parent)):
        return site.say("Rule for this doctype, role, permlevel and if-owner combination already exists.")
    # Custom DocPerm reads and exports by default (core/doctype/custom_docperm/custom_docperm.json)
    return _insert_permission(site, parent, {"role": role, "read": 1, "export": 1, "permlevel": level})


def _insert_permission(site: FrappeSite, parent: str, row: Mapping[str, Any]) -> None:
    columns = {one.name for one in site.doctype("Custom DocPerm").columns}
    values = {key: value for key, value in row.items() if key in columns}
    site.store.insert("Custom DocPerm", {**site.stamps(hash_name()), **values, "parent": parent})


@method("frappe.core.page.permission_manager.permission_manager.update")
def permission_update(
    site: FrappeSite, doctype: str, role: str, permlevel: Any, ptype: str, value: Any = None
) -> str | None:
    """ "refresh" is for the page."""
    rights.only_system_manager(site)
    for row in rights.granted(site, doctype):
        if row["role"] == role and int(row.get("permlevel") or 0) == int(permlevel) and row.get("name"):
            site.store.update("Custom DocPerm", row["name"], {ptype: int(decoded(value) or 0)})
    return "refresh"


@method("frappe.core.page.permission_manager.permission_manager.remove")
def permission_remove(site: FrappeSite, doctype: str, role: str, permlevel: Any) -> None:
    """One role's rows; the last row of all cannot go."""
    rights.only_system_manager(site)
    kept = f"DELETE FROM {table('Custom DocPerm')} WHERE parent = ? AND role = ? AND permlevel = ?"
    site.store.run(kept, (doctype, role, int(permlevel)))
    if not site.store.all(f"SELECT name FROM {table('Custom DocPerm')} WHERE parent = ?", (doctype,)):
        raise FrappeError("ValidationError", "There must be atleast one permission rule.", title="Cannot Remove")


@method("frappe.core.page.permission_manager.permission_manager.reset")
def permission_reset(site: FrappeSite, doctype: str) -> None:
    """The standard permissions count again."""
    rights.only_system_manager(site)
    site.store.run(f"DELETE FROM {table('Custom DocPerm')} WHERE parent = ?", (doctype,))


@method("frappe.core.page.permission_manager.permission_manager.get_standard_permissions")
def standard_permissions(site: FrappeSite, doctype: str) -> list[Doc]:
    rights.only_system_manager(site)
    return [dict(row) for row in site.doctype(doctype).permissions]
