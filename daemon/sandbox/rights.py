"""Who may do what. After permissions.py, and `has_permission` and `permission_query_conditions` of some controllers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from daemon.sandbox.replies import FrappeError
from daemon.sandbox.site import Doc, FrappeSite
from daemon.sandbox.store import table

AUTOMATIC = {"All", "Guest", "Desk User", "Administrator"}
"""Roles that nobody is given by hand (permissions.py:AUTOMATIC_ROLES)."""


def roles(site: FrappeSite, user: str | None = None) -> set[str]:
    """permissions.py:get_roles, of who is asking unless it is said of whom. Administrator has all."""
    user = user or site.user
    if user == "Guest":
        return {"Guest"}
    if user == "Administrator":
        return {row["name"] for row in site.store.all(f"SELECT name FROM {table('Role')}")}
    rows = site.store.all(f"SELECT role FROM {table('Has Role')} WHERE parent = ?", (user,))
    return {row["role"] for row in rows} | {"All", "Guest", "Desk User"}


def granted(site: FrappeSite, doctype: str) -> list[Doc]:
    """DocPerm rows, or the Custom DocPerm rows that replace them."""
    custom = site.store.all(f"SELECT * FROM {table('Custom DocPerm')} WHERE parent = ?", (doctype,))
    return custom or site.doctype(doctype).permissions


def may(site: FrappeSite, right: str, doctype: str, row: Mapping[str, Any] | None = None) -> bool:
    """`row`: the document, where it is about one."""
    if site.user == "Administrator":
        return True
    mine = roles(site)
    giving = {
        one.get("role")
        for one in granted(site, doctype)
        if one.get("role") in mine and one.get(right) and not one.get("permlevel") and _owns(site, one, row)
    }
    if doctype == "ToDo" and row is not None and not giving - AUTOMATIC:
        # desk/doctype/todo/todo.py:has_permission: by a role of one's own, or whose ToDo it is
        return bool(giving) and site.user in (row.get("allocated_to"), row.get("assigned_by"))
    return bool(giving)


def _owns(site: FrappeSite, permission: Mapping[str, Any], row: Mapping[str, Any] | None) -> bool:
    return not permission.get("if_owner") or row is None or row.get("owner") == site.user


def require(site: FrappeSite, right: str, doctype: str, row: Mapping[str, Any] | None = None) -> None:
    """Raises PermissionError, after the message that Frappe leaves for people (permissions.py:push_perm_check_log)."""
    if may(site, right, doctype, row):
        return
    text = f"User <strong>{site.user}</strong> does not have doctype access via role permission for document"
    site.say(f"{text} <strong>{doctype}</strong>")
    raise FrappeError("PermissionError", thrown=False, about=f"No permission for {doctype}")


def only_system_manager(site: FrappeSite) -> None:
    """frappe.only_for("System Manager")."""
    if site.user != "Administrator" and "System Manager" not in roles(site):
        raise FrappeError("PermissionError", "This action is only allowed for System Manager")


def visible(site: FrappeSite, doctype: str) -> tuple[str, Sequence[Any]]:
    """A condition in SQL, with its values, that confines a list to rows that one may see.

    notification_log.py, todo.py, user.py and communication.py: get_permission_query_conditions.
    """
    if site.user == "Administrator":
        return "", ()
    if doctype == "User":
        return f"{table(doctype)}.name NOT IN (?, ?)", ("Administrator", "Guest")
    if doctype == "Communication" and not roles(site) & {"System Manager", "Super Email User"}:
        return f"{table(doctype)}.communication_medium != 'Email'", ()
    if doctype == "Notification Log":
        return f"{table(doctype)}.for_user = ?", (site.user,)
    readers = {one.get("role") for one in granted(site, doctype)} - AUTOMATIC
    if doctype == "ToDo" and not readers & roles(site):
        return f"{table(doctype)}.allocated_to = ? OR {table(doctype)}.assigned_by = ?", (site.user, site.user)
    mine = roles(site)
    reading = [one for one in granted(site, doctype) if one.get("role") in mine and one.get("read")]
    if reading and all(one.get("if_owner") for one in reading):
        return f"{table(doctype)}.owner = ?", (site.user,)
    return "", ()
