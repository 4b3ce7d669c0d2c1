"""Whether the documents are there that links lead to. Reads their names, a request for each batch and DocType."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from daemon.core.kind import SitePort
from daemon.core.rows import key_digest
from daemon.errors import NotFound, NotPermitted

HIDDEN = frozenset({"Administrator", "Guest"})
"""Users that a list shows to nobody else (core/doctype/user/user.py:get_permission_query_conditions)."""
KEPT = 100_000
"""Names that are remembered."""


class Targets:
    """Threads may share one: what it remembers is true."""

    def __init__(self, site: SitePort) -> None:
        self._site = site
        self._known: dict[tuple[str, int], bool] = {}
        self._unseen: set[str] = set()
        """DocTypes whose documents this user may not list; the site judges links to them."""

    def learn(self, links: Iterable[tuple[str, Any]]) -> None:
        """Look these (DocType, name) up, as far as they are not known yet."""
        wanted: dict[str, dict[int, Any]] = {}
        for doctype, name in links:
            digest = key_digest([name])
            if doctype not in self._unseen and name not in HIDDEN and (doctype, digest) not in self._known:
                wanted.setdefault(doctype, {})[digest] = name
        for doctype, names in wanted.items():
            self._look_up(doctype, names)

    def lacks(self, doctype: str, name: Any) -> bool:
        """It was looked up, and is not there."""
        return self._known.get((doctype, key_digest([name]))) is False

    def _look_up(self, doctype: str, names: dict[int, Any]) -> None:
        try:
            rows = self._site.get_list(doctype, ["name"], [["name", "in", list(names.values())]])
        except (NotPermitted, NotFound):
            self._unseen.add(doctype)
            return
        there = {key_digest([row["name"]]) for row in rows}
        if len(self._known) > KEPT:
            self._known.clear()
        self._known.update({(doctype, digest): digest in there for digest in names})
