"""Addresses: which part of the site a request is for. After api/__init__.py, api/v1.py and api/v2.py."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

from daemon.sandbox import administration, documents, mail, methods, rights, writing
from daemon.sandbox.replies import Answer, FrappeError, page
from daemon.sandbox.requests import Request
from daemon.sandbox.site import Doc, FrappeSite

assert administration  # it registers methods

_BULK = ("bulk_delete", "bulk_update")


def dispatch(site: FrappeSite, request: Request) -> Answer:
    """The answer, or FrappeError."""
    parts = request.path.strip("/").split("/")
    if parts[0] == "api" and request.params.get("cmd"):
        return _called(site, str(request.params.pop("cmd")), request, "message")
    if site.version != "14" and parts[:2] == ["api", "v1"]:
        parts = ["api", *parts[2:]]
    if parts[0] == "api" and "" in parts[:-1]:
        raise _nowhere()
    match parts:
        case ["api", "method", *rest] if rest:
            return _called(site, unquote("/".join(rest)), request, "message")
        case ["api", "resource", doctype]:
            return _collection(site, unquote(doctype), request)
        case ["api", "resource", doctype, *name]:
            return _document(site, unquote(doctype), unquote("/".join(name)), request, v2=False)
        case ["api", "v2", *rest] if site.version != "14":
            return _v2(site, rest, request)
        case ["private", "files", *_] | ["files", *_]:
            return mail.download(site, unquote(request.path))
        case ["api", *_]:
            raise _nowhere()
    return page(404, "Not Found")


def _nowhere() -> FrappeError:
    return FrappeError("DoesNotExistError", thrown=False)


def _called(site: FrappeSite, name: str, request: Request, envelope: str) -> Answer:
    if site.version == "16" and name in ("logout", "upload_file", "frappe.desk.reportview.delete_items"):
        _only_post(request)
    found = methods.call(site, name, request.params, request.method)
    if isinstance(found, Answer):
        return found
    if isinstance(found, methods.Whole):
        return Answer(dict(found))
    return Answer({} if found is None else {envelope: found})


def _only_post(request: Request) -> None:
    if request.method not in ("POST", "DELETE"):
        raise FrappeError("PermissionError", "Not permitted")


def _collection(site: FrappeSite, doctype: str, request: Request) -> Answer:
    if request.method == "GET":
        return Answer({"data": methods.rows(site, doctype, request.params)})
    if request.method == "POST":
        return Answer({"data": without_nulls(documents.insert(site, {**request.payload, "doctype": doctype}))})
    return page(405, "Method Not Allowed")


def _document(site: FrappeSite, doctype: str, name: str, request: Request, *, v2: bool) -> Answer:
    match request.method:
        case "GET":
            doc = documents.read(site, doctype, name)
            return Answer({"data": doc if v2 and site.version == "16" else without_nulls(doc)})
        case "PUT":
            return _updated(site, doctype, name, request)
        case "PATCH" if v2:
            return _updated(site, doctype, name, request)
        case "DELETE":
            documents.delete(site, doctype, name)
            return Answer({"message" if site.version == "14" else "data": "ok"}, 202)
        case "POST" if not v2:
            return Answer({"data": without_nulls(_run_method(site, doctype, name, request.params))})
        case "PATCH":
            raise _nowhere()
    return page(405, "Method Not Allowed")


def _updated(site: FrappeSite, doctype: str, name: str, request: Request) -> Answer:
    return Answer({"data": without_nulls(documents.update(site, doctype, name, request.payload))})


def _run_method(site: FrappeSite, doctype: str, name: str, params: dict[str, Any]) -> Doc:
    """api/v1.py:execute_doc_method, of which `submit` and `cancel` are played."""
    if "run_method" not in params:
        raise FrappeError("TypeError", "attribute name must be string, not 'NoneType'", thrown=False)
    status = {"submit": 1, "cancel": 2}.get(str(params["run_method"]))
    documents.load(site, doctype, name)
    if status is None:
        raise FrappeError("PermissionError", f"Function {params['run_method']} is not whitelisted.")
    return documents.update(site, doctype, name, {"docstatus": status})


def _v2(site: FrappeSite, parts: list[str], request: Request) -> Answer:
    match parts:
        case ["document", doctype]:
            return _v2_collection(site, unquote(doctype), request)
        case ["document", doctype, ("bulk_delete" | "bulk_update") as action] if request.method == "POST":
            found = request.payload.get("names" if action == "bulk_delete" else "docs") or []
            items = [{"name": one} if action == "bulk_delete" else dict(one) for one in found]
            return _bulk(site, action, [{**item, "doctype": unquote(doctype)} for item in items])
        case ["document", doctype, *name]:
            return _document(site, unquote(doctype), unquote("/".join(name)).strip("/"), request, v2=True)
        case ["method", ("bulk_delete" | "bulk_update") as action]:
            return _bulk(site, action, list(request.payload.get("docs") or []))
        case ["method", *rest] if rest:
            return _called(site, unquote("/".join(rest)).strip("/"), request, "data")
        case ["doctype", doctype, "meta"]:
            meta = site.doctype(unquote(doctype))
            return Answer({"data": {**meta.as_json(), "permissions": rights.granted(site, meta.name)}})
        case ["doctype", doctype, "count"]:
            return Answer({"data": methods.count(site, {**request.params, "doctype": unquote(doctype)})})
    raise _nowhere()


def _v2_collection(site: FrappeSite, doctype: str, request: Request) -> Answer:
    """A list (16: `limit=0` is nothing, a bare order goes down, and it tells whether there is more), or an insert."""
    if request.method == "POST":
        doc = documents.insert(site, {**request.payload, "doctype": doctype}, named=True)
        return Answer({"data": doc if site.version == "16" else without_nulls(doc)})
    if request.method != "GET":
        return page(405, "Method Not Allowed")
    if site.version != "16":
        return Answer({"data": methods.rows(site, doctype, request.params)})
    wanted = methods.listing(site, doctype, {**request.params, "or_filters": None, "parent": None})
    wanted.bare_order = "desc"
    if str(request.params.get("limit")) == "0":
        return Answer({"data": [], "has_next_page": False})
    asked, wanted.limit = wanted.limit, wanted.limit + 1
    found = site.store.all(wanted.sql(), wanted.values)
    return Answer({"data": found[:asked], "has_next_page": len(found) > asked})


def _bulk(site: FrappeSite, action: str, items: list[Doc]) -> Answer:
    """Where this site has them: 16.10.7 does not, though it is late."""
    if not site.bulk:
        raise _nowhere()
    found = writing.bulk(site, action, items)
    return Answer({"data": {"job_id": found}}, 202) if isinstance(found, str) else Answer({"data": found})


def without_nulls(doc: Doc) -> Doc:
    """v1 leaves empty fields out, in child rows too (utils/response.py:json_handler)."""
    return {
        key: [without_nulls(row) for row in value] if isinstance(value, list) else value
        for key, value in doc.items()
        if value is not None
    }
