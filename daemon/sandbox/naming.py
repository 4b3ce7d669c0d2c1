"""Names of new documents. After model/naming.py:set_new_name and the controllers' `autoname`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from daemon.sandbox.doctypes import DocType
from daemon.sandbox.replies import FrappeError
from daemon.sandbox.site import FrappeSite, hash_name


def name_of(site: FrappeSite, meta: DocType, doc: Mapping[str, Any], *, named: bool) -> str:
    """`named`: the client's name counts whatever the rule (v2 sets flags.name_set).

    v1 drops the name for every rule but `prompt`; 14 takes `__newname` for any.
    """
    wanted = doc.get("name") or doc.get("__newname")
    rule, value = meta.autoname.partition(":")[::2]
    if meta.issingle:
        return meta.name
    if named and wanted:
        return str(wanted)
    if site.version == "14" and doc.get("__newname") and rule != "hash":
        return str(doc["__newname"])
    if rule.lower() == "prompt":
        if not wanted:
            raise FrappeError("ValidationError", "Please set the document name")
        return str(wanted)
    if rule == "field":
        return _by_field(meta, doc, value)
    if rule == "custom_field":
        return f"{doc.get('dt')}-{doc.get('fieldname')}"
    if rule == "customer":
        return _customer(site, str(doc.get("customer_name")))
    if rule == "naming_series":
        return series(site, str(doc.get("naming_series") or _initials(meta.name)))
    return series(site, meta.autoname) if "#" in meta.autoname else hash_name()


def _by_field(meta: DocType, doc: Mapping[str, Any], field: str) -> str:
    if doc.get(field) in (None, ""):
        label = meta.fields[field].label if field in meta.fields else field
        raise FrappeError("ValidationError", f"{label} is required")
    return str(doc[field]).strip()


def _customer(site: FrappeSite, name: str) -> str:
    """A taken name gets a number: a repeated POST makes a second customer (erpnext customer.py:get_customer_name)."""
    count = 0
    while site.store.get("Customer", name if not count else f"{name} - {count}"):
        count += 1
    return name if not count else f"{name} - {count}"


def series(site: FrappeSite, text: str) -> str:
    """The next name of a series such as "SAL-ORD-.YYYY.-.#####"."""
    prefix = re.sub(r"\.?#+$", "", text).replace(".YYYY.", site.now()[:4]).replace(".", "")
    return f"{prefix}{site.store.next_of(prefix):05d}"


def _initials(doctype: str) -> str:
    return "".join(word[0] for word in doctype.split()).upper() + "-.YYYY.-.#####"
