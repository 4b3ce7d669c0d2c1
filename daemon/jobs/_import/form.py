"""The DocType Daemon Import, whose documents ask for imports, as `frappe-daemon setup` makes it."""

from __future__ import annotations

from typing import Any

from daemon.core.kind import Provision

REQUESTS = "Daemon Import"
QUEUED, RUNNING = "Queued", "Running"
COUNTED = ("created", "updated", "skipped", "failed", "uncertain")
"""Fields that hold how many rows became what."""


def _field(name: str, kind: str, label: str = "", options: str = "", **more: Any) -> dict[str, Any]:
    shown = label or name.replace("_", " ").capitalize()
    return {"fieldname": name, "fieldtype": kind, "label": shown, "options": options, **more}


def _shown(name: str, kind: str, options: str = "") -> dict[str, Any]:
    """A field that the daemon fills in."""
    return _field(name, kind, "", options, read_only=1, no_copy=1)


_FIELDS = [
    _field("reference_doctype", "Link", "DocType", "DocType", reqd=1, in_list_view=1),
    _field("import_file", "Attach", "File", reqd=1),
    _field("key_field", "Data", description="The field by which a row finds its document again; empty: the usual one."),
    {"fieldname": "wishes", "fieldtype": "Column Break"},
    _field("update_existing", "Check", description="Rows may change documents that are there."),
    _field("submit_after_import", "Check"),
    _field("dry_run", "Check", description="Say all that would be wrong, and write nothing."),
    {"fieldname": "outcome", "fieldtype": "Section Break", "label": "Outcome"},
    _shown("status", "Select", "\n".join((QUEUED, RUNNING, "Success", "Completed with Errors", "Error")))
    | {"default": QUEUED, "in_list_view": 1, "in_standard_filter": 1},
    _shown("progress", "Percent") | {"in_list_view": 1},
    _shown("error_message", "Small Text"),
    {"fieldname": "numbers", "fieldtype": "Column Break"},
    *(_shown(name, "Int") for name in ("rows_total", *COUNTED)),
    {"fieldname": "details", "fieldtype": "Section Break", "label": "Errors"},
    _shown("first_errors", "Code"),
    _shown("run", "Data"),
]
_RIGHTS = ("read", "write", "create", "delete", "report", "export", "share", "print", "email")

PROVISION = Provision(
    "DocType",
    REQUESTS,
    {
        "name": REQUESTS,
        "module": "Custom",
        "custom": 1,
        "naming_rule": "Random",
        "autoname": "hash",
        "track_changes": 0,
        "description": "Asks frappe-daemon to import a file.",
        "fields": _FIELDS,
        "permissions": [{"role": "System Manager", **dict.fromkeys(_RIGHTS, 1)}],
    },
    "by which imports are asked for on the site",
)
