"""Tells whoever asked for an import what became of it: by a notification, else by mail, else in the report; once."""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import Any

from daemon.core.kind import Run
from daemon.core.plan import Tally
from daemon.errors import Invalid, OutcomeUnknown, SiteError, Transient
from daemon.jobs._form import COUNTED, REQUESTS
from daemon.jobs._request import Request

FIRST = 10
"""Errors that are told."""
NOTIFICATION, MAIL = "Notification Log", "Communication"


class Telling:
    """What there is to tell is in the request's entry, as is how far the telling is."""

    def __init__(self, run: Run, request: Request, tally: Tally) -> None:
        self._site, self._request, self.tally = run.site, request, tally

    def tell(self) -> None:
        """Once: by a notification, else by mail, else in the report."""
        owner, why = self._request.entry["owner"], list[str]()
        ways: list[tuple[str, Callable[[], Any]]] = [(NOTIFICATION, self._ring), (MAIL, self._mail)]
        if self._request.entry.get("telling") == MAIL or not self._may_ring():
            del ways[0]
        for name, tell in ways:
            try:
                return self._tell_once(name, tell)
            except (Transient, OutcomeUnknown):
                raise
            except SiteError as error:
                why.append(str(error))
        return self.tally.note(f"{owner} could not be told: {'; '.join(why)}")

    def _tell_once(self, name: str, tell: Callable[[], Any]) -> None:
        """`tell`, unless an attempt before was heard. Where nobody can know that, it was: once is better than twice."""
        for _ in range(2):
            if self._request.entry.get("telling") == name:
                heard = self._heard(name)
                if heard is None:
                    self.tally.note(f"{self._request.entry['owner']} may or may not have been told: a reply was lost")
                if heard is not False:
                    return
            self._request.note(telling=name)
            try:
                tell()
            except OutcomeUnknown:
                continue
            except Transient:
                self._request.note(telling="")
                raise
            return
        raise OutcomeUnknown(f"{self._request.entry['owner']}: replies to a {name} were lost")

    def _may_ring(self) -> bool:
        """No role may create notifications unless it was given the right (desk/doctype/notification_log.json)."""
        user = self._site.user()
        return user == "Administrator" or self._site.meta(NOTIFICATION).grants("create", self._site.roles(user))

    def _heard(self, name: str) -> bool | None:
        """None where it cannot be known: only Administrator sees notifications of others (notification_log.py:
        get_permission_query_conditions)."""
        if name == NOTIFICATION and self._site.user() != "Administrator":
            return None
        field, about = ("email_content", "document") if name == NOTIFICATION else ("content", "reference")
        where: list[list[Any]] = [
            [field, "like", f"%{self._request.entry['run']}%"],
            [f"{about}_name", "=", self._request.name],
        ]
        return bool(self._site.get_list(name, ["name"], where))

    def _ring(self) -> None:
        doc = {
            "doctype": NOTIFICATION,
            "type": "Alert",
            "for_user": self._request.entry["owner"],
            "subject": self._subject,
        }
        about = {"document_type": REQUESTS, "document_name": self._request.name, "email_content": self._message}
        self._site.insert({**doc, **about})

    def _mail(self) -> None:
        owner = self._request.entry["owner"]
        rows = self._site.get_list("User", ["email"], [["name", "=", owner]])
        address = str((rows[0].get("email") if rows else "") or owner)
        if "@" not in address:
            raise Invalid(f"{owner} has no e-mail address")
        facts = {"recipients": address, "subject": self._subject, "content": self._message, "send_email": 1}
        self._site.post_api(
            "frappe.core.doctype.communication.email.make", {**facts, "doctype": REQUESTS, "name": self._request.name}
        )

    @property
    def _subject(self) -> str:
        asked, status = self._request.entry["asked"], self._request.entry["final"]["status"]
        return f"{'Dry run of the import' if asked['dry_run'] else 'Import'} of {asked['doctype']}: {status}"[:140]

    @property
    def _message(self) -> str:
        final, rows = self._request.entry["final"], self._request.entry["final"]["rows_total"]
        would = "would be " * self._request.entry["asked"]["dry_run"]
        counts = ", ".join(f"{final[key]:,} {would}{key}" for key in COUNTED if final[key]) or "nothing was written"
        where = f"{self._site.dialect.desk}/{REQUESTS.lower().replace(' ', '-')}/{self._request.name}"
        link = html.escape(f"{self._site.url}{where}")
        about = f"{rows:,} row{'s' * (rows != 1)}: {counts}."
        errors = list(map(html.escape, final["first_errors"].split("\n")[:FIRST]))
        place = f'<a href="{link}">{self._request.name}</a> (run {self._request.entry["run"]})'
        lines = (html.escape(final["error_message"]), about, "<br>".join(filter(None, errors)), place)
        return "".join(f"<p>{line}</p>" for line in lines if line)
