"""One request on the site and what is written down of it: taken, found again, told how it ended. Reads and writes
documents of Daemon Import.

While a daemon works on a request, its field `run` says which run that is, with a mark. By it the request is found again
under another name, and known for one that somebody queued again meanwhile, which no daemon takes until this one ends.
"""

from __future__ import annotations

from typing import Any

from daemon.core.kind import JournalPort, SitePort
from daemon.errors import NotFound, OutcomeUnknown, StaleDocument
from daemon.jobs._import.form import QUEUED, REQUESTS, RUNNING
from daemon.jobs._import.load import ROUNDS

AT_WORK = " (at work)"


class Request:
    """A request by the name under which it was found."""

    def __init__(self, site: SitePort, notes: JournalPort, key: str) -> None:
        self._site, self._notes, self.key = site, notes, key
        self.entry: dict[str, Any] = notes.read(key).get(key) or {}
        """What is written down: what was asked for, by whom, the run that took it, and how far its end is."""

    @property
    def name(self) -> str:
        return str(self.entry.get("name") or self.key)

    @property
    def mark(self) -> str:
        return f"{self.entry.get('run')}{AT_WORK}"

    def note(self, **more: Any) -> None:
        self.entry |= more
        self._notes.write({self.key: self.entry})

    def forget(self) -> None:
        self._notes.write({self.key: None})
        self.entry = {}

    def read(self) -> dict[str, Any] | None:
        """The document, whatever it is called by now; None where it is gone."""
        doc = self._get(self.name)
        if not self.entry.get("run") or (doc and doc.get("run") in (self.mark, self.entry["run"])):
            return doc
        rows = self._site.get_list(REQUESTS, ["name"], [["run", "=", self.mark]])
        if len(rows) != 1:
            return doc
        self.note(name=rows[0]["name"])
        return self._get(self.name)

    def _get(self, name: str) -> dict[str, Any] | None:
        try:
            return self._site.get_doc(REQUESTS, name)
        except NotFound:
            return None

    def is_ours(self, doc: dict[str, Any]) -> bool:
        return bool(doc.get("status") == RUNNING and doc.get("run") == self.mark)

    def was_told(self, doc: dict[str, Any]) -> bool:
        """It bears the end that we gave it."""
        final = self.entry.get("final") or {}
        return bool(final and doc.get("run") == self.entry["run"] and doc.get("status") == final["status"])

    def take_back(self, doc: dict[str, Any]) -> bool:
        """Make a request ours again that is running, but by nobody: somebody emptied the field."""
        return doc.get("status") == RUNNING and not doc.get("run") and self.set_running(doc, {})

    def set_running(self, doc: dict[str, Any], values: dict[str, Any]) -> bool:
        """Take it with the `modified` that was read. False where somebody changed it. Raises SiteError."""
        wanted = {"status": RUNNING, "run": self.mark, "modified": doc["modified"], **values}
        try:
            self._site.update({"doctype": REQUESTS, "name": doc["name"], **wanted})
        except (StaleDocument, NotFound):
            return False
        except OutcomeUnknown:
            if (self._get(str(doc["name"])) or {}).get("run") != self.mark:
                raise
        return True

    def say(self, final: dict[str, Any]) -> bool:
        """Set how it ended, which may be done again after a lost reply. False where it is not ours to say any more: a
        request that was queued again is let go, so that a next run takes it as it is now."""
        for attempt in range(ROUNDS):
            doc = self.read()
            if doc is None or self.was_told(doc):
                return doc is not None
            values = {**final, "run": self.entry["run"]} if self.is_ours(doc) else {"run": ""}
            if not self.is_ours(doc) and not (doc.get("status") == QUEUED and doc.get("run") == self.mark):
                return False
            try:
                self._site.update({"doctype": REQUESTS, "name": self.name, "modified": doc["modified"], **values})
            except (StaleDocument, OutcomeUnknown):
                if attempt == ROUNDS - 1:
                    raise
            except NotFound:
                continue
        return False
