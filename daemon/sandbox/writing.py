"""Whitelisted methods that write documents, singly and in numbers. After frappe/client.py and desk/reportview.py."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from daemon.sandbox import documents
from daemon.sandbox.methods import WRITING, method
from daemon.sandbox.replies import FrappeError
from daemon.sandbox.requests import decoded
from daemon.sandbox.site import Doc, FrappeSite

STANDARD_FIELDS = ("name", "owner", "creation", "modified", "modified_by", "docstatus", "idx", "parent", "parentfield")


@method("frappe.client.insert", verbs=WRITING)
def client_insert(site: FrappeSite, doc: Any = None) -> Doc:
    return documents.insert(site, decoded(doc))


@method("frappe.client.insert_many", verbs=WRITING)
def client_insert_many(site: FrappeSite, docs: Any = None) -> list[str]:
    """All or none; of child rows it is the parent's name that is told."""
    listed = decoded(docs)
    if len(listed) > 200:
        raise FrappeError("ValidationError", "Only 200 inserts allowed in one request")
    return [documents.insert(site, doc)["name"] for doc in listed]


@method("frappe.client.save", verbs=WRITING)
def client_save(site: FrappeSite, doc: Any) -> Doc:
    return _save(site, decoded(doc))


@method("frappe.client.submit", verbs=WRITING)
def client_submit(site: FrappeSite, doc: Any) -> Doc:
    return _save(site, {**decoded(doc), "docstatus": 1})


def _save(site: FrappeSite, doc: Mapping[str, Any]) -> Doc:
    """The document as sent, whole. A missing `modified` never matches."""
    return documents.update(site, doc["doctype"], doc["name"], {"modified": "None", **doc}, whole=True)


@method("frappe.client.cancel", verbs=WRITING)
def client_cancel(site: FrappeSite, doctype: str, name: str) -> Doc:
    return documents.update(site, doctype, name, {"docstatus": 2})


@method("frappe.client.delete", verbs=("DELETE", "POST"))
def client_delete(site: FrappeSite, doctype: str, name: Any) -> None:
    documents.delete(site, doctype, str(name))


@method("frappe.client.set_value", verbs=WRITING)
def client_set_value(site: FrappeSite, doctype: str, name: str, fieldname: Any, value: Any = None) -> Doc:
    """One field, or a dict of them. What is empty becomes ""."""
    if fieldname in STANDARD_FIELDS:
        raise FrappeError("ValidationError", "Cannot edit standard fields")
    values = decoded(fieldname)
    values = values if isinstance(values, dict) else {fieldname: value}
    return documents.update(site, doctype, name, {key: one or "" for key, one in values.items()})


@method("frappe.client.rename_doc", verbs=WRITING)
def client_rename_doc(site: FrappeSite, doctype: str, old_name: str, new_name: str) -> str:
    return documents.rename(site, doctype, old_name, new_name)


@method("frappe.client.bulk_update", verbs=WRITING)
def client_bulk_update(site: FrappeSite, docs: Any) -> Doc:
    """200 whatever failed. No savepoints: what an item did before it failed stays, here nothing."""
    failed = []
    for doc in listed_in_text(docs):
        values = {key: value for key, value in doc.items() if key not in ("doctype", "docname")}
        try:
            documents.update(site, doc["doctype"], doc["docname"], values)
        except FrappeError as error:
            failed.append({"doc": doc, "exc": f"Traceback (most recent call last):\n  …\n{error.last_line}\n"})
    return {"failed_docs": failed}


def listed_in_text(items: Any) -> list[Any]:
    """json.loads of an argument: a list in a JSON body is a TypeError."""
    if not isinstance(items, str):
        raise FrappeError("TypeError", "the JSON object must be str, bytes or bytearray, not list", thrown=False)
    return list(json.loads(items))


# Many at once


@method("frappe.desk.reportview.delete_items")
def delete_items(site: FrappeSite, items: Any, doctype: str) -> None:
    """Up to ten now, each committed or undone by itself; more in the background. What failed shows in messages only."""
    names = sorted(listed_in_text(items), reverse=True)
    if len(names) <= 10:
        delete_bulk(site, doctype, names)
    else:
        site.enqueue_as_me(lambda: delete_bulk(site, doctype, names))


def delete_bulk(site: FrappeSite, doctype: str, items: Sequence[Any]) -> None:
    """Each item is a name or, as frappe.delete_doc takes it, a list of names; it goes whole or not at all.

    What failed is tried again for as long as something goes, and then worded with names: of a list a TypeError. 14
    does neither.
    """
    failed = each(site, items, lambda item: _delete_item(site, doctype, item))
    if site.version == "14" or not failed:
        return
    if len(failed) < len(items):
        site.notices.clear()
        delete_bulk(site, doctype, failed)
    elif any(isinstance(item, list) for item in failed):
        raise FrappeError("TypeError", "sequence item 0: expected str instance, list found", thrown=False)


def _delete_item(site: FrappeSite, doctype: str, item: Any) -> None:
    """A missing document ends a list without an error (model/delete_doc.py)."""
    try:
        for name in item if isinstance(item, list) else [item]:
            documents.delete(site, doctype, str(name))
    except FrappeError as error:
        if error.exc_type != "DoesNotExistError":
            raise


def each(site: FrappeSite, items: Iterable[Any], work: Callable[[Any], object]) -> list[Any]:
    """`work` on each, in a transaction of its own; those that failed. Why shows in messages."""
    failed = []
    for item in items:
        try:
            work(item)
        except FrappeError as error:
            site.store.rollback()
            failed.append(item)
            if error.thrown:
                site.notices.append(error.notice())
        else:
            site.store.commit()
    return failed


@method("frappe.desk.doctype.bulk_update.bulk_update.submit_cancel_or_update_docs")
def submit_cancel_or_update_docs(
    site: FrappeSite, doctype: str, docnames: Any, action: str = "submit", data: Any = None
) -> Sequence[str] | None:
    """Names that failed, of fewer than twenty; more are dealt with in the background, and more than 500 not at all."""
    names = decoded(docnames)
    if len(names) > 500:
        text = "Bulk operations only support up to 500 documents."
        raise FrappeError("ValidationError", text, title="Too Many Documents")
    values = {"submit": {"docstatus": 1}, "cancel": {"docstatus": 2}}.get(action) or decoded(data) or {}

    def work() -> list[str]:
        return each(site, names, lambda name: documents.update(site, doctype, name, values))

    if len(names) < 20:
        return work()
    site.enqueue_as_me(lambda: _ignored(work()))
    return None


def _ignored(_: object) -> None:
    """Jobs return nothing."""


# The v2 bulk endpoints of late 16 (api/v2.py: bulk_delete, bulk_update)

BULK_NOW = 20
"""Documents that they deal with before they answer (`bulk_operation_async_threshold`)."""


def bulk(site: FrappeSite, action: str, items: Sequence[Doc]) -> Doc | str:
    """`items` carry doctype and name. The counts, or the id of the job where there are too many."""
    if len(items) > BULK_NOW:
        site.enqueue_as_me(lambda: _ignored(_bulk_now(site, action, items)))
        return f"job-{site.jobs_enqueued}"
    return _bulk_now(site, action, items)


def _bulk_now(site: FrappeSite, action: str, items: Sequence[Doc]) -> Doc:
    """Each in a savepoint of its own."""
    done: list[str] = []
    failed: list[Doc] = []
    for item in items:
        name = str(item["name"])
        try:
            with site.store.savepoint():
                if action == "bulk_delete":
                    documents.delete(site, item["doctype"], name)
                else:
                    documents.update(site, item["doctype"], name, item)
            done.append(name)
        except FrappeError as error:
            failed.append({"name": name, "error": error.message})
    counts = {"total": len(items), "success_count": len(done), "failure_count": len(failed)}
    return {"deleted" if action == "bulk_delete" else "updated": done, "failed": failed, **counts}
