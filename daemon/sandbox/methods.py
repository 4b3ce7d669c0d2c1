"""Whitelisted methods under /api/method, and those that read. Others are in writing, administration and mail.

A method is a function of the site and of its arguments by name. As in frappe/__init__.py:call, arguments that it does
not name are dropped, and a missing one is a TypeError: 500.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from daemon.sandbox import documents, rights
from daemon.sandbox.query import Listing, as_list, page_of
from daemon.sandbox.replies import FrappeError
from daemon.sandbox.requests import decoded
from daemon.sandbox.site import VERSIONS, Doc, FrappeSite

ALL = ("GET", "POST", "PUT", "DELETE")
WRITING = ("POST", "PUT")
NOT_WHITELISTED = {
    "frappe.utils.now": "frappe.utils.data.now",
    "frappe.core.doctype.log_settings.log_settings.run_log_clean_up": "",
    "frappe.model.delete_doc.delete_doc": "",
    "frappe.get_all": "frappe.get_all",
}
"""Functions that are there and may not be called: name as called → as Frappe calls it, where that differs."""


class Whole(dict[str, Any]):
    """A body that goes out as it is, without `message` around it."""


@dataclass(frozen=True, slots=True)
class Method:
    """One whitelisted function."""

    function: Callable[..., Any]
    verbs: Sequence[str]
    guests: bool
    known: frozenset[str]
    needed: tuple[str, ...]
    takes_all: bool

    def answer(self, site: FrappeSite, arguments: Mapping[str, Any]) -> Any:
        missing = [repr(name) for name in self.needed if name not in arguments]
        if missing:
            text = f"missing {len(missing)} required positional arguments: {' and '.join(missing)}"
            raise FrappeError("TypeError", f"{self.function.__name__}() {text}", thrown=False)
        if self.takes_all:
            return self.function(site, **arguments)
        return self.function(site, **{key: value for key, value in arguments.items() if key in self.known})


METHODS: dict[str, Method] = {}


def method(
    *names: str, verbs: Sequence[str] = ALL, guests: bool = False
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        _, *parameters = inspect.signature(function).parameters.values()
        takes_all = any(one.kind is one.VAR_KEYWORD for one in parameters)
        named = [one for one in parameters if one.kind is not one.VAR_KEYWORD]
        needed = tuple(one.name for one in named if one.default is one.empty)
        found = Method(function, verbs, guests, frozenset(one.name for one in named), needed, takes_all)
        METHODS.update(dict.fromkeys(names, found))
        return function

    return register


def call(site: FrappeSite, name: str, arguments: Mapping[str, Any], verb: str) -> Any:
    """What the method returns. Raises FrappeError as handler.py:execute_cmd and is_whitelisted do."""
    found = METHODS.get(name)
    if found is None and name not in NOT_WHITELISTED:
        module, _, last = name.rpartition(".")
        why = f"module '{module}' has no attribute '{last}'" if module else repr(name)
        raise FrappeError("ValidationError", f"Failed to get method for command {name} with {why}")
    if found is None or (site.user == "Guest" and not found.guests):
        text = "You are not permitted to access this resource. Login to access"
        function = f"Function <strong>{NOT_WHITELISTED.get(name) or name}</strong> is not whitelisted."
        raise FrappeError("PermissionError", f"<details><summary>{text}</summary>{function}</details>")
    if verb not in found.verbs:
        raise FrappeError("PermissionError", "Not permitted")
    return found.answer(site, arguments)


# What the site is


@method("ping", "frappe.ping", guests=True)
def ping(_: FrappeSite) -> str:
    return "pong"


@method("frappe.auth.get_logged_user")
def get_logged_user(site: FrappeSite) -> str:
    return site.user


@method("frappe.core.doctype.user.user.get_roles")
def get_roles(site: FrappeSite, uid: str | None = None) -> list[str]:
    """Of anybody, for anybody. 16 takes who asks where nobody is named."""
    if uid is None and site.version != "16":
        raise FrappeError("KeyError", "'uid'", thrown=False)
    return sorted(rights.roles(site, uid))


@method("frappe.utils.change_log.get_versions")
def get_versions(site: FrappeSite) -> Doc:
    erpnext = {"14": "14.92.1", "15": "15.71.1", "16": "16.7.3"}[site.version]
    return {
        "frappe": {"title": "Frappe Framework", "version": VERSIONS[site.version]},
        "erpnext": {"title": "ERPNext", "version": erpnext},
    }


@method("frappe.client.get_time_zone", guests=True)
def get_time_zone(site: FrappeSite) -> Doc:
    return {"time_zone": site.zone.key}


@method("frappe.desk.form.load.getdoctype")
def getdoctype(site: FrappeSite, doctype: str) -> Whole:
    """The DocType and those of its child tables, custom fields and permissions merged in."""
    meta = site.doctype(doctype)
    docs = [meta, *(site.doctypes[one.options] for one in meta.tables)]
    found = [{**one.as_json(), "permissions": rights.granted(site, one.name)} for one in docs]
    return Whole(docs=found, user_settings="{}")


# Lists


def listing(site: FrappeSite, doctype: str, asked: Mapping[str, Any]) -> Listing:
    """Checks the right to read, then what is asked for."""
    meta = site.doctype(doctype)
    _check_list(site, doctype, asked.get("parent"))
    filters, or_filters = decoded(asked.get("filters")), decoded(asked.get("or_filters"))
    return Listing(
        meta, site.version, site.doctypes, decoded(asked.get("fields")),
        {"name": filters} if isinstance(filters, str) else filters, or_filters,
        asked.get("order_by"), asked.get("group_by"),
        page_of(asked, ("limit_start", "start"), 0), page_of(asked, ("limit_page_length", "limit"), 20),
        only=rights.visible(site, doctype),
    )  # fmt: skip


def _check_list(site: FrappeSite, doctype: str, parent: str | None) -> None:
    """client.py:check_parent_permission: child rows are read by the right to read what holds them."""
    needed, holds = doctype, True
    if site.doctype(doctype).istable and (parent or site.user != "Administrator"):
        needed = parent or doctype
        holds = doctype in [one.options for one in site.doctype(needed).tables]
    if site.version == "16" and not (holds and rights.may(site, "read", needed)):
        raise FrappeError("PermissionError", f"Insufficient Permission for <strong>{doctype}</strong>")
    if not holds:
        raise FrappeError("PermissionError", thrown=False)
    rights.require(site, "read", needed)


def rows(site: FrappeSite, doctype: str, asked: Mapping[str, Any]) -> list[Any]:
    """Dicts, or lists where `as_dict` is 0."""
    wanted = listing(site, doctype, asked)
    found = site.store.all(wanted.sql(), wanted.values)
    return found if decoded(asked.get("as_dict", 1)) else [list(row.values()) for row in found]


def count(site: FrappeSite, asked: Mapping[str, Any]) -> int:
    wanted = listing(site, asked["doctype"], asked)
    sql = wanted.count_sql(distinct=asked.get("distinct") in (True, "true"))
    return int(site.store.value(sql, wanted.values))


@method("frappe.client.get_list")
def client_get_list(
    site: FrappeSite, doctype: str, fields: Any = None, filters: Any = None, group_by: Any = None, order_by: Any = None,
    limit_start: Any = None, limit_page_length: Any = 20, parent: Any = None, as_dict: Any = 1, or_filters: Any = None,
) -> list[Any]:  # fmt: skip
    """Knows `limit_page_length` and not `limit`."""
    return rows(site, doctype, {
        "fields": fields, "filters": filters, "group_by": group_by, "order_by": order_by, "limit_start": limit_start,
        "limit_page_length": limit_page_length, "parent": parent, "as_dict": as_dict, "or_filters": or_filters,
    })  # fmt: skip


_REPORTVIEW = {
    "doctype", "fields", "filters", "or_filters", "group_by", "order_by", "limit_start", "limit_page_length", "start",
    "page_length", "aggregate_function", "aggregate_on_doctype", "aggregate_on_field", "distinct", "with_comment_count",
    "view", "save_user_settings", "parent", "as_dict", "limit",
}  # fmt: skip


@method("frappe.desk.reportview.get_list")
def reportview_get_list(site: FrappeSite, doctype: str, **asked: Any) -> list[Any]:
    """With group_by and aggregate_function a column `_aggregate_column`, in whatever dialect the site has.

    Every parameter is handed to the query (reportview.py:execute): one that it does not know is a TypeError.
    """
    for name in asked.keys() - _REPORTVIEW:
        text = f"DatabaseQuery.execute() got an unexpected keyword argument '{name}'"
        raise FrappeError("TypeError", text, thrown=False)
    function = asked.pop("aggregate_function", None)
    if asked.get("group_by") and function:
        column = asked.pop("aggregate_on_field", None) or "name"
        sixteen = {str(function).upper(): column, "as": "_aggregate_column"}
        added = sixteen if site.version == "16" else f"{function}({column}) as _aggregate_column"
        asked["fields"] = [*(decoded(asked.get("fields")) or []), added]
    if "page_length" in asked:
        asked["limit_page_length"] = asked.pop("page_length")
    return rows(site, doctype, asked)


@method("frappe.desk.reportview.get")
def reportview_get(site: FrappeSite, doctype: str, **asked: Any) -> Doc | list[Any]:
    """`{"keys", "values"}`, or `[]` where nothing is found (reportview.py:compress)."""
    found = reportview_get_list(site, doctype, **asked)
    if not found:
        return []
    return {"keys": list(found[0]), "values": [list(row.values()) for row in found], "user_info": {}}


@method("frappe.desk.reportview.get_count")
def reportview_get_count(
    site: FrappeSite, doctype: str, filters: Any = None, or_filters: Any = None, distinct: Any = None
) -> int:
    """14 and 15 take a DocType whose name holds a word of SQL for a sub-query (db_query.py:sanitize_fields)."""
    words = ("select", "create", "insert", "delete", "drop", "update", "case", "show")
    if site.version != "16" and any(word in doctype.lower() for word in words):
        raise FrappeError("DataError", "Use of sub-query or function is restricted")
    return count(site, {"doctype": doctype, "filters": filters, "or_filters": or_filters, "distinct": distinct})


@method("frappe.client.get_count")
def client_get_count(site: FrappeSite, doctype: str, filters: Any = None) -> int:
    """Checks no permission on 14 and 15."""
    user = site.user
    try:
        if site.version != "16":
            site.user = "Administrator"
        return count(site, {"doctype": doctype, "filters": filters})
    finally:
        site.user = user


# Documents


@method("frappe.client.get")
def client_get(site: FrappeSite, doctype: str, name: Any = None, filters: Any = None) -> Doc:
    return documents.read(site, doctype, name or _first(site, doctype, filters))


def _first(site: FrappeSite, doctype: str, filters: Any) -> Any:
    if site.doctype(doctype).issingle:
        return doctype
    found = rows(site, doctype, {"filters": filters, "limit_page_length": 1})
    if not found:
        raise FrappeError("DoesNotExistError", f"{doctype} not found")
    return found[0]["name"]


@method("frappe.client.get_value")
def client_get_value(site: FrappeSite, doctype: str, fieldname: Any, filters: Any = None, parent: Any = None) -> Doc:
    fields = decoded(fieldname)
    fields = [fields] if isinstance(fields, str) else fields
    rights.require(site, "read", parent or doctype)
    if site.doctype(doctype).issingle:
        doc = documents.load(site, doctype, doctype)
        return {one: doc.get(one) for one in fields}
    if isinstance(decoded(filters), int | float):  # a name that looks like a number (client.py:get_safe_filters)
        filters = {"name": filters}
    asked = {"fields": fields, "filters": filters, "parent": parent, "limit_page_length": 1}
    found = rows(site, doctype, asked)
    return found[0] if found else {}


@method("frappe.client.get_single_value")
def client_get_single_value(site: FrappeSite, doctype: str, field: str) -> Any:
    rights.require(site, "read", doctype)
    return documents.load(site, doctype, doctype).get(field)


@method("frappe.client.has_permission")
def client_has_permission(site: FrappeSite, doctype: str, docname: str, perm_type: str = "read") -> Doc:
    """Of a document that is not there: 404."""
    row = site.store.get(doctype, docname)
    if row is None:
        raise FrappeError("DoesNotExistError", f"{doctype} {docname} not found")
    return {"has_permission": rights.may(site, perm_type, doctype, row)}


@method("frappe.client.get_doc_permissions")
def client_get_doc_permissions(site: FrappeSite, doctype: str, docname: str) -> Doc:
    row = site.store.get(doctype, docname)
    kinds = ("read", "write", "create", "delete", "submit", "cancel", "amend", "print", "email", "report", "share")
    return {"permissions": {kind: int(rights.may(site, kind, doctype, row)) for kind in kinds}}


__all__ = ["METHODS", "Whole", "as_list", "call", "count", "method", "rows"]
