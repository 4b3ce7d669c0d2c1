"""What an import writes down so that it can be undone: before a request what it will create and change, with what
changed fields held before; after it, what came of each row. Writes the run's trail.

Steps are batches, `of` is the file. Of documents that were created the name is kept; until it is known, the key by
which it would be found. Of documents that were changed, the fields that were sent with their values before and since.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from daemon.core.kind import Run, SitePort
from daemon.jobs._import.batch import Target, Work

CLOSE = timedelta(seconds=2)
"""By how much our idea of the site's clock may be off: an HTTP date is of whole seconds."""
LONGEST = 300
"""Characters of a reason that are kept."""


class Trail:
    """Of one file. Threads may share it."""

    def __init__(self, run: Run, of: str, target: Target, facts: Mapping[str, Any]) -> None:
        """`facts`: what undo and `explain` shall know of the file."""
        self._run, self._of, self._target, self._wanted = run, of, target, run.trail.wanted and not run.dry_run
        self._head = {**facts, "of": of, "user": target.user, "doctype": target.doctype.name,
                      "key": target.key.field if target.key else ""}  # fmt: skip

    def begin(self) -> None:
        if self._wanted:
            self._run.trail.write(self._head)

    def creating(self, work: Work) -> None:
        """Before documents are created."""
        key, drafts = self._head["key"], work.batch.drafts
        new = [drafts[place].doc[key] for place in sorted(work.docs)] if key else []
        self._write(work, since=self._stamp(-CLOSE), new=new, creates=len(work.docs))

    def changing(self, work: Work) -> None:
        """Before documents are changed."""
        if work.changes:
            was = {str(place): _change(*change) for place, change in work.changes.items()}
            self._write(work, since=self._stamp(-CLOSE), was=was)

    def changing_again(self, work: Work, place: int) -> None:
        """Before a document is changed that somebody else changed since it was read."""
        self._write(work, was={str(place): _change(*work.changes[place])})

    def settled(self, work: Work) -> None:
        """What became of a batch, as far as it is known."""
        made, others = [], []
        for fate in work.fates.values():
            if fate.result == "created":
                made.append([fate.name, fate.draft.line, len(fate.draft.lines), fate.modified])
            else:
                others.append([fate.draft.line, fate.result, fate.name, fate.reason[:LONGEST]])
        # Rows of a batch that was begun before may have been created by that request.
        since = {"since": self._head["since"]} if work.batch.entry is not None else {}
        left = {str(place): fate.left for place, fate in work.fates.items() if fate.left}
        self._write(work, until=self._stamp(CLOSE), made=made, others=others, left=left, **since)

    def _write(self, work: Work, **facts: Any) -> None:
        if self._wanted:
            self._run.trail.write({"of": self._of, "step": work.batch.first, **facts})

    def _stamp(self, more: timedelta) -> str:
        return stamp(self._target.site, self._run.now(), more)


def stamp(site: SitePort, now: datetime, more: timedelta) -> str:
    """The moment of now by the site's own clock, and `more`."""
    return site.text(now + site.ahead + more)


def _change(existing: Mapping[str, Any], diff: Mapping[str, Any]) -> list[Any]:
    """[name, fields as they were, fields as they are sent, `modified` as it was]."""
    return [existing["name"], {name: existing.get(name) for name in diff}, dict(diff), existing.get("modified")]
