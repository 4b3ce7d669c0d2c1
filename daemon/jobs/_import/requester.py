"""Tells whoever asked for an import what became of it: by a notification, else by mail, else in the report; once."""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import Any

from daemon.core.kind import Run
from daemon.core.letter import Letter, subject_of
from daemon.core.plan import Tally
from daemon.errors import Invalid, OutcomeUnknown, SiteError, Transient
from daemon.jobs._bell import NOTIFICATION, address, bell, may_ring, rung
from daemon.jobs._import.form import COUNTED, REQUESTS
from daemon.jobs._import.request import Request

FIRST = 10
"""Errors that are told."""
MAIL = "Communication"


class Telling:
    """What there is to tell is in the request's entry, as is how far the telling is."""

    def __init__(self, run: Run, request: Request, tally: Tally) -> None:
        self._site, self._request, self.tally = run.site, request, tally

    def tell(self) -> None:
        """Once: by a notification, else by mail, else in the report."""
        owner, why = self._request.entry["owner"], list[str]()
        ways: list[tuple[str, Callable[[], Any]]] = [(NOTIFICATION, self._ring), (MAIL, self._mail)]
        if self._request.entry.get("telling") == MAIL or not may_ring(self._site):
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

    def _heard(self, name: str) -> bool | None:
        """None where it cannot be known."""
        run = self._request.entry["run"]
        if name == NOTIFICATION:
            heard = rung(self._site, run, [self._request.name])
            return None if heard is None else bool(heard)
        where: list[list[Any]] = [["content", "like", f"%{run}%"], ["reference_name", "=", self._request.name]]
        return bool(self._site.get_list(name, ["name"], where))

    def _ring(self) -> None:
        about = (REQUESTS, self._request.name)
        self._site.insert(bell(self._request.entry["owner"], self._subject, about, self._message))

    def _mail(self) -> None:
        owner = self._request.entry["owner"]
        rows = self._site.get_list("User", ["email"], [["name", "=", owner]])
        to = str((rows[0].get("email") if rows else "") or owner)
        if "@" not in to:
            raise Invalid(f"{owner} has no e-mail address")
        mark = self._request.entry["run"]
        self._site.mail.send(Letter(to, self._subject, self._message, mark, (REQUESTS, self._request.name)))

    @property
    def _subject(self) -> str:
        asked, status = self._request.entry["asked"], self._request.entry["final"]["status"]
        what = "Dry run of the import" if asked["dry_run"] else "Import"
        return subject_of(f"{what} of {asked['doctype']}: {status}")

    @property
    def _message(self) -> str:
        final, rows = self._request.entry["final"], self._request.entry["final"]["rows_total"]
        would = "would be " * self._request.entry["asked"]["dry_run"]
        counts = ", ".join(f"{final[key]:,} {would}{key}" for key in COUNTED if final[key]) or "nothing was written"
        link = html.escape(address(self._site, REQUESTS, self._request.name))
        about = f"{rows:,} row{'s' * (rows != 1)}: {counts}."
        errors = list(map(html.escape, final["first_errors"].split("\n")[:FIRST]))
        place = f'<a href="{link}">{self._request.name}</a> (run {self._request.entry["run"]})'
        lines = (html.escape(final["error_message"]), about, "<br>".join(filter(None, errors)), place)
        return "".join(f"<p>{line}</p>" for line in lines if line)
