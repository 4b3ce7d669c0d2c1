"""A batch of drafts, how it is meant, and what became of it. Reads and writes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from daemon.core.rows import Blank, Draft
from daemon.errors import DaemonError

OnConflict = Literal["error", "skip", "update"]


@dataclass(frozen=True, slots=True)
class Key:
    """How a row finds its document again."""

    field: str
    unique: bool
    """The site itself lets no second document have the value."""
    made: bool = False
    """The daemon makes the value up, in a field that serves nothing else."""
    creates: bool = True
    """A new document would get this value; not so a name where the site makes names itself."""


@dataclass(slots=True)
class Batch:
    """Drafts that follow one another in a file. `first`: the ordinal of the first of them."""

    first: int
    drafts: list[Draft]
    entry: Mapping[str, Any] | None = None
    """What an earlier attempt wrote down before it sent this batch."""

    @property
    def last(self) -> int:
        return self.first + len(self.drafts) - 1

    @property
    def place(self) -> str:
        """Its key in the journal; sorts by `first`."""
        return f"batch:{self.first:012d}"


@dataclass(slots=True)
class Fate:
    """What became of one draft, or in a dry run would."""

    draft: Draft
    result: Literal["created", "updated", "skipped", "failed", "uncertain"]
    name: str | int = ""
    reason: str = ""
    error: str = ""
    who: str = ""


@dataclass(frozen=True, slots=True)
class Wish:
    """How an import is meant."""

    update_existing: bool = False
    on_conflict: OnConflict = "error"
    blank: Blank = "keep"
    submit: bool = False


@dataclass(slots=True)
class Work:
    """One batch under way. Places are those of drafts in the batch."""

    batch: Batch
    fates: dict[int, Fate] = field(default_factory=dict)
    docs: dict[int, dict[str, Any]] = field(default_factory=dict)
    """Documents to create."""
    changes: dict[int, tuple[dict[str, Any], dict[str, Any]]] = field(default_factory=dict)
    """(document that is there, fields that differ)."""
    known: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    refused: int = 0
    entry: Mapping[str, Any] = field(default_factory=dict)
    silences: int = 0
    """Replies that were lost since the last that came."""
    unsure: bool = False
    """A request was sent whose reply never came."""

    def fail(self, place: int, reason: str, error: str = "Row", who: str = "document owner") -> None:
        self.fates[place] = Fate(self.batch.drafts[place], "failed", "", reason, error, who)

    def blame(self, place: int, error: DaemonError) -> None:
        self.refused += 1
        self.fail(place, str(error), error.kind, error.who)
