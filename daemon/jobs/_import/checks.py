"""What can be found wrong about a batch before it is sent: links to nothing, and unique values that are taken.

Reads names and unique fields, a request for each batch and field."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from daemon.core.rows import key_digest
from daemon.errors import NotFound, NotPermitted
from daemon.jobs._import.batch import Target, Work

HIDDEN = frozenset({"Administrator", "Guest"})
"""Users that a list shows to nobody else (core/doctype/user/user.py:get_permission_query_conditions)."""
LINKS_KEPT = 100_000
"""Names of linked documents that are remembered."""


class Checks:
    """Takes rows that the site would refuse out of a batch. Threads may share one: what it remembers is true."""

    def __init__(self, target: Target) -> None:
        self._site, self._doctype = target.site, target.doctype.name
        own = [column.field for column in target.layout.columns if not column.table]
        self._unique = [
            one.fieldname for one in own if one.unique and not (target.key and one.fieldname == target.key.field)
        ]
        self._links: dict[tuple[str, int], bool] = {}
        self._unseen: set[str] = set()
        """DocTypes whose documents this user may not list; the site judges links to them."""

    def check(self, work: Work) -> None:
        self._check_links(work)
        self._check_unique(work)

    def _check_links(self, work: Work) -> None:
        places = [*work.docs, *work.changes]
        wanted: dict[str, dict[int, Any]] = {}
        for place in places:
            for doctype, value, _ in work.batch.drafts[place].links:
                digest = key_digest([value])
                if (
                    doctype not in self._unseen
                    and value not in HIDDEN
                    and doctype != self._doctype
                    and (doctype, digest) not in self._links
                ):
                    wanted.setdefault(doctype, {})[digest] = value
        for doctype, values in wanted.items():
            self._learn_links(doctype, values)
        for place in places:
            for doctype, value, column in work.batch.drafts[place].links:
                if self._links.get((doctype, key_digest([value]))) is False:
                    why = f"line {work.batch.drafts[place].line}, {column}: there is no {doctype} {value!r}"
                    _take_out(work, place, why, "MissingLink")
                    break

    def _learn_links(self, doctype: str, values: Mapping[int, Any]) -> None:
        try:
            rows = self._site.get_list(doctype, ["name"], [["name", "in", list(values.values())]])
        except (NotPermitted, NotFound):
            self._unseen.add(doctype)
            return
        there = {key_digest([row["name"]]) for row in rows}
        if len(self._links) > LINKS_KEPT:
            self._links.clear()
        self._links.update({(doctype, digest): digest in there for digest in values})

    def _check_unique(self, work: Work) -> None:
        sent = dict(work.docs)
        sent |= {place: {**diff, "name": existing["name"]} for place, (existing, diff) in work.changes.items()}
        for unique in self._unique:
            values = {place: doc[unique] for place, doc in sent.items() if doc.get(unique) not in (None, "")}
            if not values:
                continue
            rows = self._site.get_list(self._doctype, ["name", unique], [[unique, "in", list(values.values())]])
            holders = {key_digest([row[unique]]): row["name"] for row in rows}
            for place, value in values.items():
                holder = holders.get(key_digest([value]))
                if holder is not None and holder != sent[place].get("name"):
                    line = work.batch.drafts[place].line
                    why = f"line {line}: {unique} must be unique, and {holder} has {value}"
                    _take_out(work, place, why, "AlreadyExists")


def _take_out(work: Work, place: int, why: str, error: str) -> None:
    work.docs.pop(place, None)
    work.changes.pop(place, None)
    work.fail(place, why, error)
