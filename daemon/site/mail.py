"""Mail through the site's own outgoing account, and what became of it. Writes Communications, which queue the mails.

core/doctype/communication/email.py:make does both in one transaction: a Communication that holds the content, and a row
of Email Queue that names it; a worker of the site sends that later. Each call has one recipient, since the addresses of
a mail are shown to all of its readers (mixins.py:sendmail_input_dict, expose_recipients).

Nothing tells two equal calls apart, so each letter carries a mark in a comment of its HTML. Versions 14 to 16 keep
comments (utils/html_utils.py:sanitize_html), so that a mail whose reply was lost is found again. Subjects, headers and
message ids will not do: the first is shown, the others `make` takes from nobody.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from daemon import errors
from daemon.core.letter import Letter

if TYPE_CHECKING:
    from daemon.site.client import Site

MAKE = "frappe.core.doctype.communication.email.make"
SLACK = timedelta(hours=1)
"""By how much this machine's clock may be ahead of the site's: a run does not begin with more (ClockSkew)."""


READERS = frozenset({"System Manager", "Super Email User"})
"""Roles whose lists of Communication hold mails that they sent (communication.py:
get_permission_query_conditions_for_communication). Others see none, not even their own."""


class Mail:
    """The mail of one site."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._reads: bool | None = None

    def _sees_mails(self) -> bool:
        if self._reads is None:
            user = self._site.user()
            self._reads = user == "Administrator" or bool(READERS & self._site.roles(user))
        return self._reads

    def send(self, letter: Letter) -> str:
        """Name of the Communication that was made for the letter. `standing` tells whether a mail was queued for it.

        Raises Invalid (no address), NotPermitted (may not e-mail the reference), NotConfigured (the site has no
        outgoing account), and OutcomeUnknown, after which `find` tells.
        """
        facts: dict[str, Any] = {
            "recipients": letter.recipient,
            "subject": letter.subject,
            "content": letter.content,
            "send_email": 1,
        }
        if letter.reference:
            facts["doctype"], facts["name"] = letter.reference
        made = self._site.post_api(MAKE, facts)
        name = made.get("name") if isinstance(made, dict) else None
        if not isinstance(name, str) or not name:
            raise errors.OutcomeUnknown(f"{MAKE}: no name of a Communication came back")
        return name

    def find(self, mark: str, since: datetime) -> str | None:
        """Name of the Communication with the letter of `mark`, made at `since` (aware) or later; None: there is none.

        What was sent is not there before its transaction is over, which may be up to the site's time limit of a
        request (gunicorn `-t`, 120 s) after it was sent. Raises NotPermitted where this user would not see it.
        """
        where = [["creation", ">=", self._site.bound(since - SLACK)], ["content", "like", f"%{mark}%"]]
        found = self._site.get_list("Communication", ["name"], where, 0, 1, "creation asc")
        if not found and not self._sees_mails():
            raise errors.NotPermitted(
                "this user's lists leave out the mails that it sent, so whether one was sent cannot be found out",
                action="Give the daemon's user the role System Manager.",
            )
        return str(found[0]["name"]) if found else None

    def of_group(self, group: str, since: datetime) -> Iterator[list[tuple[str, str]]]:
        """Pages of (recipient, name of the Communication) of letters whose marks begin with `group`, made at `since` or
        later, as far as this user sees them."""
        where = [["creation", ">=", self._site.bound(since - SLACK)], ["content", "like", f"%{group}-%"]]
        for page in self._site.paginate("Communication", ["recipients"], where):
            yield [(str(row.get("recipients") or "").strip(), str(row["name"])) for row in page]

    def standing(self, names: Sequence[str]) -> dict[str, str] | None:
        """Communication → status of its row in Email Queue (Not Sent, Sending, Sent, Error …), in one request.

        One that is left out has no row: the site took it, and mails nothing, as to somebody who unsubscribed. Rows are
        cleared after some weeks, so that this is for mails just made. None: this user may not see the queue.
        """
        if not names:
            return {}
        try:
            rows = self._site.get_list(
                "Email Queue", ["communication", "status"], [["communication", "in", list(names)]]
            )
        except errors.NotPermitted:
            return None
        return {str(row["communication"]): str(row.get("status") or "") for row in rows}
