"""Log Settings and scheduled jobs. After core/doctype/log_settings and core/doctype/scheduled_job_type."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from daemon.sandbox.site import SCHEDULED, Doc, FrappeSite
from daemon.sandbox.store import table

CLEAR, FLUSH = SCHEDULED["log_settings.run_log_clean_up"], SCHEDULED["queue.flush"]
_DEFAULTS = {
    "Error Log": 14, "Activity Log": 90, "Email Queue": 30, "Scheduled Job Log": 7, "Submission Queue": 7,
    "Prepared Report": 14, "Webhook Request Log": 30, "Unhandled Email": 30, "Reminder": 30, "Integration Request": 90,
    "Route History": 90, "OAuth Bearer Token": 30, "API Request Log": 90,
}  # fmt: skip
"""hooks.py:default_log_clearing_doctypes. A version without a DocType has no default for it."""
_DEFAULTS_14 = {"Error Log": 30, "Scheduled Job Log": 90, "Activity Log": 90, "Email Queue": 30, "Route History": 90}


def clearable(site: FrappeSite) -> set[str]:
    """DocTypes with `clear_old_logs`."""
    more = {"Notification Log", "Deleted Document"} | ({"Access Log", "View Log"} if site.version != "14" else set())
    return {*_DEFAULTS, *more} & site.doctypes.keys()


def settled(site: FrappeSite, rows: Sequence[Mapping[str, Any]]) -> list[Doc]:
    """log_settings.py:validate: what cannot be cleared goes, of doubles the first stays, the defaults come back."""
    kept: dict[str, Doc] = {}
    refused = []
    for row in rows:
        if row["ref_doctype"] not in clearable(site):
            refused.append(row["ref_doctype"])
        else:
            kept.setdefault(row["ref_doctype"], dict(row))
    for doctype in refused:
        site.say(f"{doctype} does not support automated log clearing.", "DocType not supported by Log Settings.")
    defaults = _DEFAULTS_14 if site.version == "14" else _DEFAULTS
    added = [
        {"ref_doctype": name, "days": days}
        for name, days in defaults.items()
        if name in site.doctypes and name not in kept
    ]
    return [*kept.values(), *added]


def clear_logs(site: FrappeSite) -> None:
    """log_settings.py:run_log_clean_up: one DELETE for each row of Log Settings, by the database's clock."""
    column = "creation" if site.version == "16" else "modified"
    for row in site.store.all(f"SELECT ref_doctype, days FROM {table('Logs To Clear')}"):
        meta = site.doctypes.get(row["ref_doctype"])
        if meta is None:
            continue
        age = (site.database_now().isoformat(" "), f"-{row['days']} days")
        cutoff = (site.store.value("SELECT datetime(?, ?)", age),)
        for child in meta.tables:
            inner = f"SELECT name FROM {table(meta.name)} WHERE {column} < ?"
            site.store.run(f"DELETE FROM {table(child.options)} WHERE parent IN ({inner})", cutoff)
        site.store.run(f"DELETE FROM {table(meta.name)} WHERE {column} < ?", cutoff)


def flush_mails(site: FrappeSite) -> None:
    """email/queue.py:flush."""
    for name in ("Email Queue", "Email Queue Recipient"):
        site.store.run(f"UPDATE {table(name)} SET status = 'Sent' WHERE status = 'Not Sent'")


def execute(site: FrappeSite, job: Mapping[str, Any]) -> None:
    """scheduled_job_type.py:enqueue: not twice while it waits."""
    if job["name"] not in site.queued:
        site.enqueue(lambda: _run(site, job))
        site.queued.add(job["name"])


def _run(site: FrappeSite, job: Mapping[str, Any]) -> None:
    """The job, and a Scheduled Job Log that tells how it ended."""
    site.queued.discard(job["name"])
    error = site.config.get("clean_up_fails") if job["method"] == CLEAR else None
    if not error and job["method"] in (CLEAR, FLUSH):
        (clear_logs if job["method"] == CLEAR else flush_mails)(site)
    facts = {"scheduled_job_type": job["name"], "status": "Failed" if error else "Complete", "details": error or ""}
    site.store.insert("Scheduled Job Log", {**site.stamps(secrets.token_hex(5)), **facts})
