"""Server-side retention: the site deletes old log rows itself, in one statement, if Log Settings has a row for them.

Row by row, each delete leaves a Deleted Document and a Comment and enqueues a job (frappe/model/delete_doc.py); the
site's own clean-up (core/doctype/log_settings/log_settings.py:run_log_clean_up) leaves nothing. It is not whitelisted,
but the Scheduled Job Type that runs it daily may be executed by a System Manager. The job also clears what the other
rows of Log Settings name, as it does every day.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from daemon import errors
from daemon.site.transport import Safety, encode

if TYPE_CHECKING:
    from daemon.site.client import Site

METHOD = "frappe.core.doctype.log_settings.log_settings.run_log_clean_up"


@dataclass(frozen=True, slots=True)
class CleanUpJob:
    """The site's Scheduled Job Type that clears logs."""

    name: str
    stopped: bool
    """Somebody took it out of the site's schedule."""


@dataclass(frozen=True, slots=True)
class Retention:
    """What Log Settings holds for one DocType, and for the others."""

    days: int | None
    """None: no row of this DocType."""
    others: tuple[tuple[str, int], ...]


class LogSettings:
    """The Log Settings of one site."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def job(self) -> CleanUpJob | None:
        """The clean-up job, or None where this user cannot see it or the site has none."""
        rows = self._site.get_list("Scheduled Job Type", ["name", "stopped"], {"method": METHOD}, 0, 1)
        return CleanUpJob(rows[0]["name"], bool(rows[0].get("stopped"))) if rows else None

    def retention(self, doctype: str) -> Retention:
        """What is set now."""
        return _retention(self._site.get_doc("Log Settings", "Log Settings"), doctype)

    def set_days(self, doctype: str, days: int, at_least: Mapping[str, int]) -> Retention:
        """Make `days` the retention of `doctype` and leave the other rows as they are; returns what was set before.

        `at_least`: other DocTypes that this configuration speaks for, too. A row of theirs that is shorter is
        lengthened to what is stated there, since the clean-up that follows goes by all rows.

        Sends `modified`, so a concurrent edit raises StaleDocument instead of being undone. Raises NotConfigured where
        the site drops the row, since its DocType cannot be cleared this way.
        """
        doc = self._site.get_doc("Log Settings", "Log Settings")
        before = _retention(doc, doctype)
        if before.days == days and all(other >= at_least.get(name, 0) for name, other in before.others):
            return before
        rows: list[dict[str, Any]] = []
        for row in doc.get("logs_to_clear") or ():
            floor = at_least.get(row["ref_doctype"], 0)
            rows.append({**row, "days": days if row["ref_doctype"] == doctype else max(row["days"], floor)})
        if before.days is None:
            rows.append({"ref_doctype": doctype, "days": days})
        update = {"doctype": "Log Settings", "name": "Log Settings", "logs_to_clear": rows}
        if doc.get("modified"):
            update["modified"] = doc["modified"]
        saved = _retention(self._site.update(update), doctype)
        if saved.days != days:
            raise errors.NotConfigured(
                f"Log Settings did not take {doctype}: this site cannot clear it by itself",
                action=f'Use strategy = "rows" for {doctype}.',
            )
        return before

    def run(self, job: CleanUpJob, *, pause: Callable[[float], None], polls: int) -> str:
        """Have the site's worker run `job` now and wait for its end: "Complete", "Failed: …" or "" where no end came.

        Asking twice is harmless: a job that waits in the queue is not queued again. Pauses grow from 0.2 s to 5 s.
        """
        before = {row["name"] for row in self._logs(job)}
        call = {"doc": encode({"name": job.name}).decode()}
        method = "frappe.core.doctype.scheduled_job_type.scheduled_job_type.execute_event"
        self._site.post_api(method, call, safety=Safety.REPEATABLE)
        wait = 0.2
        for _ in range(polls):
            pause(wait)
            wait = min(5.0, wait * 1.5)
            for row in self._logs(job):
                if row["name"] not in before and row["status"] in ("Complete", "Failed"):
                    details = str(row.get("details") or "").strip().splitlines()
                    return "Complete" if row["status"] == "Complete" else f"Failed: {details[-1] if details else ''}"
        return ""

    def _logs(self, job: CleanUpJob) -> list[dict[str, Any]]:
        return self._site.get_list(
            "Scheduled Job Log",
            ["name", "status", "details"],
            {"scheduled_job_type": job.name},
            0,
            5,
            "creation desc, name desc",
        )


def _retention(doc: dict[str, Any], doctype: str) -> Retention:
    rows = [(str(row.get("ref_doctype")), int(row.get("days") or 0)) for row in doc.get("logs_to_clear") or ()]
    mine = [days for ref, days in rows if ref == doctype]
    return Retention(mine[0] if mine else None, tuple(row for row in rows if row[0] != doctype))
