"""What differs between Frappe 14, 15 and 16 at the wire, in one place. Reads and writes nothing.

Nobody else asks for a version number: they ask the dialect, which was chosen by what the site says of itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from daemon import errors

OLDEST, NEWEST = 14, 16

_SQL_WORDS = ("select", "create", "insert", "delete", "drop", "update", "case", "show")

_LOG_SETTINGS = frozenset(
    {
        "Error Log",
        "Activity Log",
        "Email Queue",
        "Scheduled Job Log",
        "Route History",
        "Notification Log",
        "Prepared Report",
        "Webhook Request Log",
        "Integration Request",
        "Deleted Document",
    }
)


@dataclass(frozen=True, slots=True)
class Dialect:
    """How to speak to a site of this version."""

    version: str
    """As the site says it, such as "15.75.0"."""
    major: int
    v2_bulk: bool = False
    """The v2 bulk endpoints answer; some 16.10 releases have them and some do not, so they are probed for."""

    @classmethod
    def of(cls, version: str) -> Dialect:
        """The dialect of a site that calls itself `version`. A newer major is spoken to as the newest known.

        Raises NotConfigured for a version that this daemon does not know how to speak to.
        """
        match = re.match(r"v?(\d{1,4})", version)
        major = int(match[1]) if match else 0
        if major < OLDEST:
            raise errors.NotConfigured(
                f"the site runs Frappe {version or '(unknown)'}, but versions {OLDEST} to {NEWEST} are supported",
                action=f"Upgrade the site to Frappe {OLDEST} or later.",
            )
        return cls(version, min(major, NEWEST))

    def aggregate(self, function: str, field: str, alias: str) -> str | dict[str, str]:
        """An entry of `fields` that computes `function` (count, sum, avg, min, max) of `field` as `alias`.

        Version 16 refuses functions as text (database/query.py), 14 and 15 know no other way (desk/reportview.py), and
        `count(*)` is refused by both.
        """
        if self.major >= 16:
            return {function.upper(): field, "as": alias}
        return f"{function.lower()}({field}) as {alias}"

    @property
    def email_queue_statuses(self) -> tuple[str, ...]:
        """Select options of Email Queue.status (email/doctype/email_queue/email_queue.json)."""
        common = ("Not Sent", "Sending", "Sent", "Partially Sent", "Error")
        return (*common, "Expired") if self.major == 14 else common

    @property
    def bulk_delete_size(self) -> int:
        """Documents that one request deletes before it answers.

        10 for delete_items (desk/reportview.py), 20 for v2 bulk_delete; above, the work is queued and never reported.
        """
        return 20 if self.v2_bulk else 10

    @property
    def log_settings_field(self) -> str:
        """The date by which Log Settings clears: `clear_old_logs` of each DocType's controller."""
        return "creation" if self.major >= 16 else "modified"

    @property
    def log_settings_doctypes(self) -> frozenset[str]:
        """DocTypes with `clear_old_logs` (core/doctype/log_settings/log_settings.py)."""
        known = set(_LOG_SETTINGS)
        known.update(("Error Snapshot",) if self.major == 14 else ("Access Log", "View Log", "Submission Queue"))
        if self.major >= 16:
            known.update(("OAuth Bearer Token", "API Request Log"))
        return frozenset(known)

    def counts(self, doctype: str) -> bool:
        """desk/reportview.py:get_count answers for `doctype`.

        14 and 15 refuse it where a word of SQL is in the DocType's name, as in Deleted Document
        (model/db_query.py:sanitize_fields). client.py:get_count is no way out: it takes empty fields for no match where
        a list takes them for less than anything.
        """
        return self.major >= 16 or not any(word in doctype.lower() for word in _SQL_WORDS)

    @property
    def desk(self) -> str:
        """Where the desk is: links in mails and messages start here."""
        return "/desk" if self.major >= 16 else "/app"
