"""A pair of twins, and what is remembered of it. Reads and writes nothing.

A `Link` ties a document of the site to a record of another API from the moment in which one of them is seen first. What
a list shows of it is written down before it is worked on, so that a cursor may move on, and what is to be done
outlives a crash.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:  # its models take time to build
    from daemon.core.agreed import Base

PULL, PUSH = 1, 2
"""Bits of `Link.todo`: changed at the remote, changed on the site, since it was last settled."""


OWED = 2
"""By so many places further left the bits mean: left for a run of that direction, and not changed since."""


class Status(StrEnum):
    """How a pair stands."""

    NEW = "new"
    """Seen on one side; the twin is not there yet, or not known."""
    CREATING = "creating"
    """A record was asked for; whether it was made is not known yet."""
    LINKED = "linked"
    FAILED = "failed"
    """Tried again once it is `due`."""
    HELD = "held"
    """Waits for a person: too many failures, or one that no repetition mends."""
    CONFLICT = "conflict"
    """Both sides changed the same; waits for a person."""
    GONE = "gone"
    """One side was deleted, and what this means for the other is yet to be done."""
    ABSENT = "absent"
    """One side was deleted, and by configuration this is ignored unless it comes back."""
    ENDED = "ended"
    """Each lives on its own, or both are gone. Made anew where a person asks for it alone."""


OPEN = (Status.NEW, Status.CREATING, Status.LINKED, Status.FAILED, Status.ABSENT)
"""Those that a run works on by itself."""
FOR_A_PERSON = (Status.CONFLICT, Status.HELD)


@dataclass(slots=True)
class Link:
    """One pair. `id` 0: not kept yet."""

    id: int = 0
    name: str | None = None
    """Of the site's document."""
    creation: str = ""
    """When that was made: a name alone may come again, since Frappe takes the last number of a series back when its
    document is deleted (frappe/model/naming.py:revert_series_if_last)."""
    remote: str | None = None
    """Id of the record."""
    status: str = Status.NEW
    todo: int = 0
    base: Base | None = None
    """What both held when they last agreed: daemon.core.reconcile.Base."""
    stamp: str = ""
    """The document's `modified` as it was last seen: settled, or with something to do since."""
    remote_stamp: str = ""
    """The record's, as ISO 8601 in UTC."""
    etag: str = ""
    record: Any = None
    """The record as a list showed it, until it is settled."""
    key: str = ""
    """Idempotency key of the request that creates the record."""
    asked: datetime | None = None
    """When that was sent."""
    tries: int = 0
    due: datetime | None = None
    why: str = ""
    """What became of it the last time, in a sentence."""
    run: str = ""
    """Which run that was."""
    detail: dict[str, Any] = field(default_factory=dict)
    """Conflict: path → [site's, remote's]; keep: which side a person chose, or "both" where one that is gone is to be
    made anew; gone: which side; anew: what makes the key of a
    create another than that of the first."""
    seen_site: str = ""
    seen_remote: str = ""
    """The full listing of either side that saw it last."""

    @property
    def awaits_record(self) -> bool:
        """Its record was asked for, and nobody knows whether it was made."""
        return bool(self.key and self.remote is None)


def tried_again(link: Link, *, anew: bool = False) -> None:
    """A pair that failed, or is held, is worked on by the next run. `anew`: a person has seen that the record which was
    asked for is not there, so that it is asked for once more, under a key of its own."""
    if anew:
        link.detail = {"anew": link.key}
        link.key, link.asked, link.base, link.record = "", None, None, None
    link.status = Status.LINKED if link.name and link.remote else Status.CREATING if link.key else Status.NEW
    link.todo, link.tries, link.due = PULL | PUSH, 0, None


def paired_again(link: Link) -> None:
    """A pair that ended is worked on by the next run, from what both held when they last agreed; where one side is gone
    it gets a twin anew."""
    tried_again(link)
    link.etag, link.record, link.detail = "", None, {"keep": "both"}


def give_up_name(link: Link) -> None:
    """Its document is gone, and another has the name."""
    link.name, link.creation = None, ""
    if link.status in OPEN or link.status in FOR_A_PERSON:
        link.status, link.detail = (Status.GONE, {"gone": "site"}) if link.remote else (Status.ENDED, {})


class LinksPort(Protocol):
    """The links of one sync; daemon.state.links says more. Each call is one transaction, on the disk at its return."""

    def save(self, links: Iterable[Link]) -> None:
        """Keep these as they are now; one that is new gets its id."""
        ...

    def drop(self, link: Link) -> None:
        """Forget it: it has become one with another."""
        ...

    def of_names(self, names: Sequence[str]) -> dict[str, Link]: ...
    def of_remotes(self, ids: Sequence[str]) -> dict[str, Link]: ...
    def find(self, text: str) -> list[Link]:
        """By the name of the document or the id of the record."""
        ...

    def waiting(self, todo: int, now: datetime) -> Iterator[list[Link]]:
        """Pages of links that a run works on: a bit of `todo` is set, or a failure is due."""
        ...

    def count_waiting(self, todo: int, now: datetime) -> int: ...
    def count_changed(self) -> int:
        """Linked pairs of which a list shows a change in a direction in which they were settled before."""
        ...

    def count_known(self, side: str) -> int:
        """Pairs that a full listing of `side` has seen, and that were not parted since."""
        ...

    def in_status(self, *statuses: str) -> Iterator[list[Link]]: ...
    def counts(self) -> dict[str, int]:
        """Status → number."""
        ...

    def mark(self, links: Sequence[Link], side: str, mark: str) -> None:
        """A full listing `mark` of `side` has seen these."""
        ...

    def unseen(self, side: str, mark: str) -> Iterator[list[Link]]:
        """Linked, and not seen by the full listing `mark` of `side`."""
        ...

    def want(self, todo: int, statuses: Sequence[str], agreed: Callable[[Base | None], Base | None]) -> None:
        """Set the bits for all links in these statuses, whose records are to be read. `agreed`: what both sides agreed
        upon → what of it still holds."""
        ...
