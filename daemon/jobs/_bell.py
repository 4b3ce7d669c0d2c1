"""Telling users on their desk: Notification Logs, behind the bell there. Writes these, and builds links to documents.

No role may create them unless it was given the right (desk/doctype/notification_log/notification_log.json), which
`frappe-daemon setup` can give. Type Alert is shown, and never mailed by the site itself. The desk shows the subject as
HTML, so whatever a document says in it is escaped here.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from daemon.core.kind import Provision, SitePort

NOTIFICATION = "Notification Log"
ROLE = "Desk Notifier, made by frappe-daemon setup"
LONGEST = 140
"""Characters of a subject."""

RIGHT = Provision(
    "Role",
    ROLE,
    {"role_name": ROLE, "desk_access": 1},
    "by which the daemon's user may create Notification Logs",
    rights={NOTIFICATION: ("create",)},
)


def may_ring(site: SitePort) -> bool:
    """Whether this user may tell others on their desk."""
    user = site.user()
    return user == "Administrator" or site.meta(NOTIFICATION).grants("create", site.roles(user))


def bell(user: str, subject: str, about: tuple[str, str], content: str) -> dict[str, Any]:
    """A Notification Log for `user` about a document. `subject` is text, `content` HTML."""
    document = {"document_type": about[0], "document_name": about[1]}
    shown = html.escape(subject if len(subject) <= LONGEST else subject[: LONGEST - 1] + "…", quote=False)
    doc = {"doctype": NOTIFICATION, "type": "Alert", "for_user": user, "subject": shown}
    return {**doc, **document, "email_content": content}


def rung(site: SitePort, mark: str, names: Sequence[str]) -> set[tuple[str, str, str]] | None:
    """(user, DocType, name) of the notifications about documents of these names whose content holds `mark`.

    None where it cannot be known: only Administrator sees those of others (notification_log.py:
    get_permission_query_conditions).
    """
    if site.user() != "Administrator":
        return None
    where: list[list[Any]] = [["email_content", "like", f"%{mark}%"], ["document_name", "in", list(names)]]
    rows = site.get_list(NOTIFICATION, ["for_user", "document_type", "document_name"], where)
    return {(str(row["for_user"]), str(row["document_type"]), str(row["document_name"])) for row in rows}


def address(site: SitePort, doctype: str, name: str) -> str:
    """Where the desk shows the document (router.js: DocTypes in lower case, with hyphens)."""
    return f"{site.url}{site.dialect.desk}/{quote(doctype.lower().replace(' ', '-'))}/{quote(name, safe='')}"
