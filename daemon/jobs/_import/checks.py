"""What can be found wrong about a batch before it is sent: links to nothing, and unique values that are taken.

Reads names and unique fields, a request for each batch and field."""

from __future__ import annotations

from daemon.core.rows import key_digest
from daemon.jobs._import.batch import Target, Work
from daemon.jobs._targets import Targets


class Checks:
    """Takes rows that the site would refuse out of a batch. Threads may share one: what it remembers is true."""

    def __init__(self, target: Target) -> None:
        self._site, self._doctype = target.site, target.doctype.name
        own = [column.field for column in target.layout.columns if not column.table]
        self._unique = [
            one.fieldname for one in own if one.unique and not (target.key and one.fieldname == target.key.field)
        ]
        self._targets = Targets(target.site)

    def check(self, work: Work) -> None:
        self._check_links(work)
        self._check_unique(work)

    def _check_links(self, work: Work) -> None:
        """Links among the rows of one file are left to the site: what they lead to may come with it."""
        links = [
            (place, link)
            for place in (*work.docs, *work.changes)
            for link in work.batch.drafts[place].links
            if link[0] != self._doctype
        ]
        self._targets.learn((doctype, value) for _, (doctype, value, _) in links)
        for place, (doctype, value, column) in links:
            if place not in work.fates and self._targets.lacks(doctype, value):
                why = f"line {work.batch.drafts[place].line}, {column}: there is no {doctype} {value!r}"
                _take_out(work, place, why, "MissingLink")

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
