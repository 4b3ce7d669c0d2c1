"""A batch of drafts, how it is meant, and what became of it. Reads and writes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from daemon.core.columns import Layout
from daemon.core.doctype import DocType
from daemon.core.kind import SitePort
from daemon.core.rows import Blank, Draft
from daemon.errors import DaemonError

OnConflict = Literal["error", "skip", "update"]
Became = Literal["created", "updated", "skipped", "failed", "uncertain"]


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
    """What an earlier attempt wrote down (`Work.note`)."""

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
    result: Became
    name: str | int = ""
    reason: str = ""
    error: str = ""
    who: str = ""
    modified: str = ""
    """As our submitting left it."""
    left: Mapping[str, Any] = field(default_factory=dict)
    """`modified` as our update left it, and fields that the site keeps in other words than were sent."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where drafts go."""

    site: SitePort
    user: str
    """Whom the site takes us for."""
    doctype: DocType
    layout: Layout
    key: Key | None


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
    """Documents that hold a row's key."""
    open: set[int] = field(default_factory=set)
    """Rows that an earlier attempt sent, and of which it did not write down what became of them."""
    refusals: dict[int, str] = field(default_factory=dict)
    """Rows that the site refused alone, with its reason but for their own values."""
    cause: DaemonError | None = None
    """The last of these refusals."""
    facts: dict[str, Any] = field(default_factory=dict)
    """What the site had before the first attempt: see `begin`."""
    asked: list[int] | None = None
    """Rows of the request that was last written down; None: any that has no fate."""
    silences: int = 0
    """Replies that were lost since the last that came."""
    unsure: bool = False
    """A request was sent whose reply never came."""

    def __post_init__(self) -> None:
        """Take up what an earlier attempt knew."""
        entry, drafts = self.batch.entry, self.batch.drafts
        if entry is not None:
            self.facts = {key: entry[key] for key in ("last", "existing", "updates")}
            self.fates = {
                int(place): Fate(drafts[int(place)], *facts) for place, facts in entry.get("fates", {}).items()
            }
            asked = range(len(drafts)) if entry.get("asked") is None else entry["asked"]
            self.open = set(asked) - self.fates.keys()

    def begin(self) -> None:
        """Which rows have a document before anything is sent, and as of when those are that shall be changed."""
        if not self.facts:
            updates = {str(place): existing["modified"] for place, (existing, _) in self.changes.items()}
            self.facts = {"last": self.batch.last, "existing": sorted(self.known), "updates": updates}

    def note(self, sent: str, asked: list[int] | None) -> dict[str, Any]:
        """The entry of the journal: `sent` is when rows were last sent, `asked` which. What was refused is left out,
        since the site may think better of it."""
        self.asked = asked
        kept = {
            str(place): [fate.result, fate.name, fate.reason, fate.error, fate.who]
            for place, fate in self.fates.items()
            if fate.result in ("created", "updated", "uncertain")
        }
        return {**self.facts, "sent": sent, "asked": asked, "fates": kept}

    def fail(self, place: int, reason: str, error: str = "Row", who: str = "document owner") -> None:
        self.fates[place] = Fate(self.batch.drafts[place], "failed", "", reason, error, who)

    def doubt(self, place: int, reason: str, error: str = "OutcomeUnknown") -> None:
        self.fates[place] = Fate(self.batch.drafts[place], "uncertain", "", reason, error, "document owner")

    def blame(self, place: int, error: DaemonError) -> None:
        """The site refused this row alone."""
        text = str(error)
        for value in sorted(map(str, self.docs.get(place, {}).values()), key=len, reverse=True):
            text = text.replace(value, "…") if len(value) > 1 else text
        self.refusals[place], self.cause = text, error
        self.fail(place, error.said, error.kind, error.who)
