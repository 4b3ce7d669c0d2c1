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

from daemon.errors import NotFrappe
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
class Change:
    """Days by DocType, before and after."""

    before: Mapping[str, int]
    after: Mapping[str, int]


class LogSettings:
    """The Log Settings of one site."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def job(self) -> CleanUpJob | None:
        """The clean-up job, or None where this user cannot see it or the site has none."""
        rows = self._site.get_list("Scheduled Job Type", ["name", "stopped"], {"method": METHOD}, 0, 1)
        return CleanUpJob(str(rows[0].get("name")), bool(rows[0].get("stopped"))) if rows else None

    def preview(self, wanted: Mapping[str, int], at_least: Mapping[str, int]) -> Change:
        """What `apply` would change, without the defaults that a first saving adds."""
        before = _days(self._site.get_doc("Log Settings", "Log Settings"))
        return Change(before, _target(before, wanted, at_least))

    def apply(self, wanted: Mapping[str, int], at_least: Mapping[str, int]) -> Change:
        """Make `wanted` the retention, in days, of those DocTypes, and leave the others as they are.

        `at_least`: DocTypes of which nothing younger than these days may go. A row of theirs that is shorter is
        lengthened, since the clean-up goes by all rows; saving may add such rows (add_default_logtypes). A DocType that
        the site cannot clear by itself is missing from `after`.

        Sends `modified`, so a concurrent edit raises StaleDocument instead of being undone.
        """
        doc = self._site.get_doc("Log Settings", "Log Settings")
        before = after = _days(doc)
        while (target := _target(after, wanted, at_least)) != after:
            rows = [{**row, "days": target[row["ref_doctype"]]} for row in doc.get("logs_to_clear") or ()]
            rows += [{"ref_doctype": name, "days": days} for name, days in target.items() if name not in after]
            update = {"doctype": "Log Settings", "name": "Log Settings", "logs_to_clear": rows}
            doc = self._site.update(update | ({"modified": doc["modified"]} if doc.get("modified") else {}))
            after, refused = _days(doc), target.keys() - _days(doc).keys()
            wanted = {name: days for name, days in wanted.items() if name not in refused}
        return Change(before, after)

    def run(self, job: CleanUpJob, *, pause: Callable[[float], None], polls: int) -> str:
        """Have the site's worker run `job` now and wait for its end: "Complete", "Failed: …" or "" where no end came.

        Asking twice is harmless: a job that waits in the queue is not queued again. Pauses grow from 0.2 s to 5 s.
        """
        before = {row.get("name") for row in self._logs(job)}
        call = {"doc": encode({"name": job.name}).decode()}
        method = "frappe.core.doctype.scheduled_job_type.scheduled_job_type.execute_event"
        self._site.post_api(method, call, safety=Safety.REPEATABLE)
        wait = 0.2
        for _ in range(polls):
            pause(wait)
            wait = min(5.0, wait * 1.5)
            for row in self._logs(job):
                if row.get("name") not in before and row.get("status") in ("Complete", "Failed"):
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


def _days(doc: Mapping[str, Any]) -> dict[str, int]:
    try:
        return {str(row["ref_doctype"]): int(row.get("days") or 0) for row in doc.get("logs_to_clear") or ()}
    except (AttributeError, KeyError, TypeError, ValueError):
        raise NotFrappe("the site's Log Settings have another shape than Frappe's") from None


def _target(now: Mapping[str, int], wanted: Mapping[str, int], at_least: Mapping[str, int]) -> dict[str, int]:
    """What Log Settings should hold where it holds `now`."""
    return {name: max(days, at_least.get(name, 0)) for name, days in now.items()} | dict(wanted)
