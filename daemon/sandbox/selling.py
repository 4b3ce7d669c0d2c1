"""What ERPNext's controllers compute, as far as the daemon's jobs can tell. Reads the site, writes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from daemon.sandbox.site import Doc, FrappeSite

SALES = {"Sales Order": "To Deliver and Bill", "Sales Invoice": "Unpaid"}
"""DocType → `status` once it is submitted (erpnext controllers/status_updater.py)."""


def computed(site: FrappeSite, doctype: str, doc: Doc) -> Doc:
    """`doc` with what its controller's `validate` fills in. An order born submitted stays a "Draft" by status."""
    if doctype == "Item":
        return {**doc, "item_name": doc.get("item_name") or doc.get("item_code")}
    if doctype not in SALES:
        return doc
    rows = [_row(site, row) for row in doc.get("items") or ()]
    total = round(sum(row["amount"] for row in rows), 2)
    sums = {
        "total": total,
        "grand_total": total,
        "base_grand_total": total,
        "total_qty": sum(row["qty"] for row in rows),
    }
    customer = site.store.get("Customer", doc.get("customer")) or {}
    name = doc.get("customer_name") or customer.get("customer_name")
    return {**doc, **sums, "items": rows, "customer_name": name}


def _row(site: FrappeSite, row: Mapping[str, Any]) -> Doc:
    quantity, rate = float(row.get("qty") or 0), float(row.get("rate") or 0)
    item = site.store.get("Item", row.get("item_code")) or {}
    name = row.get("item_name") or item.get("item_name")
    amount = round(quantity * rate, 2)
    return {**row, "qty": quantity, "rate": rate, "amount": amount, "base_amount": amount, "item_name": name}


def submitted(doctype: str) -> Doc:
    """Values that submitting sets."""
    return {"status": SALES[doctype]} if doctype in SALES else {}
