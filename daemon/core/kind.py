"""What a kind of job is: one file in daemon/jobs/ with `Settings`, `needs` and `parts`. Reads and writes nothing.

The runner asks a kind for its parts and takes each through the same steps: `census` counts, the guard judges, `plan`
yields batches of actions, `apply` does one batch and yields what became of it, `close` ends. A dry run stops before
`apply`. Whatever a kind may touch it gets from its `Run`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol, TypeVar

from daemon.core.doctype import DocType
from daemon.core.plan import Action, Census, Guard, Outcome, Result, Tally
from daemon.errors import SiteError

Item = TypeVar("Item")
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Need:
    """Something that a job needs on the site, for `check` to look at before the first run."""

    doctype: str
    fields: tuple[str, ...] = ()
    dates: tuple[str, ...] = ()
    """Those of the fields that must be dates."""
    rights: tuple[str, ...] = ("read",)
    """Permission types of DocPerm: read, write, create, delete, submit, cancel, email."""
    rows: bool = True
    """The DocType must have rows of its own: it is no Single, no child table, and the database knows it."""
    only_administrator: str = ""
    """Why nobody but Administrator may do it, where the DocType's own code says so."""
    otherwise: Need | None = None
    """A second way, taken where the rights for this one are missing."""
    by_setup: bool = False
    """`frappe-daemon setup` makes the DocType."""


@dataclass(frozen=True, slots=True)
class Provision:
    """A document that `frappe-daemon setup` makes on the site for a job; daemon.site.provision makes it."""

    doctype: str
    """DocType or Custom Field: both have a description, by which setup knows again what it made."""
    name: str
    """The name that the document has once it is made."""
    values: Mapping[str, Any]
    why: str
    """What it is for, as the end of a sentence."""


class DialectPort(Protocol):
    """What kinds ask of the site's version; daemon.site.dialect says more."""

    @property
    def desk(self) -> str: ...
    @property
    def log_settings_field(self) -> str: ...
    @property
    def log_settings_doctypes(self) -> frozenset[str]: ...


class LogSettingsPort(Protocol):
    """Server-side retention; daemon.site.logs says more."""

    def job(self) -> Any: ...
    def preview(self, wanted: Mapping[str, int], at_least: Mapping[str, int]) -> Any: ...
    def apply(self, wanted: Mapping[str, int], at_least: Mapping[str, int]) -> Any: ...
    def run(self, job: Any, *, pause: Callable[[float], None], polls: int) -> str: ...


class SitePort(Protocol):
    """What kinds may ask of the site; daemon.site.client says more."""

    @property
    def dialect(self) -> DialectPort: ...
    @property
    def log_settings(self) -> LogSettingsPort: ...

    url: str

    def user(self) -> str: ...
    def roles(self, user: str) -> frozenset[str]: ...
    def meta(self, doctype: str) -> DocType: ...
    def insert_many(self, docs: Sequence[Mapping[str, Any]]) -> list[str]: ...
    def update(self, doc: Mapping[str, Any]) -> dict[str, Any]: ...
    def insert(self, doc: Mapping[str, Any]) -> dict[str, Any]: ...
    def post_api(self, method: str, params: Mapping[str, Any] | None = None) -> Any: ...
    def get_doc(self, doctype: str, name: str | int = "") -> dict[str, Any]: ...
    def get_list(
        self,
        doctype: str,
        fields: Sequence[Any] = ...,
        filters: Any = None,
        limit_start: int = 0,
        limit_page_length: int = 0,
        order_by: str | None = None,
    ) -> list[dict[str, Any]]: ...
    def download(self, file_url: str, path: Path, *, largest: int) -> None: ...
    def attach(self, path: Path, doctype: str, name: str, *, file_name: str) -> str: ...
    def text(self, moment: datetime) -> str: ...
    def bound(self, moment: datetime) -> str: ...
    def no_dates(self, doctype: str, fields: Iterable[str]) -> list[str]: ...
    def count(self, doctype: str, filters: Any = None) -> int: ...
    def paginate(
        self,
        doctype: str,
        fields: Sequence[str] = (),
        filters: Any = None,
        *,
        key: Sequence[str] = ...,
        after: Mapping[str, Any] | None = None,
        page_length: int = 500,
    ) -> Iterator[list[dict[str, Any]]]: ...
    def present(self, doctype: str, names: Sequence[str | int], where: Sequence[Sequence[Any]]) -> list[str | int]: ...
    def whole(self, doctype: str, names: Sequence[str | int]) -> list[dict[str, Any]]: ...
    def remove(
        self, doctype: str, names: Sequence[str | int], where: Sequence[Sequence[Any]], each: Any
    ) -> Mapping[str | int, SiteError]: ...


class ArchivePort(Protocol):
    """A file of documents; daemon.archive says more."""

    path: Path
    rows: int
    """Written and on the disk so far."""

    def write(self, docs: Iterable[Mapping[str, Any]]) -> int: ...


class JournalPort(Protocol):
    """What outlives a crash, under keys of one owner; daemon.state says more."""

    def read(self, prefix: str = "") -> dict[str, Any]:
        """All values under keys that begin with `prefix`."""
        ...

    def write(self, changes: Mapping[str, Any]) -> None:
        """JSON values under their keys, None to forget: on the disk, all or nothing, when this returns."""
        ...


class Run(Protocol):
    """One run, as a kind sees it."""

    id: str
    job: str
    started: datetime
    dry_run: bool
    explain: bool
    """Every row that is kept wants its reason, too."""

    @property
    def site(self) -> SitePort: ...

    def now(self) -> datetime:
        """The moment, aware."""
        ...

    def pause(self, seconds: float) -> None:
        """Wait. Raises Stopped."""
        ...

    def check(self) -> None:
        """Raises Stopped where the run should end here."""
        ...

    def each(self, function: Callable[[Item], Answer], items: Iterable[Item]) -> Iterator[Answer]:
        """`function` of each item, several at once, in no particular order. Raises the first error met, once the
        answers of all that had begun by then are given out."""
        ...

    def archive(self, directory: Path, part: str) -> ArchivePort:
        """A file in `directory` for documents that this part of the run is about to delete."""
        ...

    def journal(self, owner: str) -> JournalPort:
        """What runs of any job wrote down for `owner`, such as what is known of files that were imported."""
        ...

    def claim(self, name: str) -> AbstractContextManager[object]:
        """Be the only run of any job that has `name` within the block. Raises AlreadyRunning."""
        ...

    def progress(self, part: str, done: int, total: int) -> None:
        """Tell whoever watches how far a part is; may be called for every row."""
        ...

    def recall(self, key: str) -> Any:
        """What an earlier run of this job remembered under `key`, or None."""
        ...

    def remember(self, key: str, value: Any) -> None:
        """Keep a small JSON value for later runs of this job; None forgets it."""
        ...


class Part:
    """One part of a run that is planned, guarded and reported on its own, such as one rule of a clean-up."""

    guard = Guard()

    def __init__(self, name: str) -> None:
        self.tally = Tally(name)

    def census(self) -> Census | None:
        """Counts before the first write; None where there is nothing that a guard could judge."""
        return None

    def plan(self) -> Iterator[list[Action]]:
        """Batches of actions, each made when the one before it was applied."""
        raise NotImplementedError

    def apply(self, actions: list[Action]) -> Iterable[Outcome]:
        """Do one batch; an outcome for each action."""
        raise NotImplementedError

    def foresee(self, actions: list[Action]) -> Iterable[Outcome]:
        """In a dry run, in the place of `apply`: what would become of each."""
        return [Outcome(a, Result.KEPT if a.verb == "keep" else Result.PLANNED, a.why) for a in actions]

    def close(self) -> None:
        """After the last batch, also after one that failed."""


class Kind(Protocol):
    """A module of daemon/jobs/. It may also have `provisions(settings, site)`, which yields each Provision that a job
    of these settings needs on the site."""

    Settings: type[Any]

    def needs(self, settings: Any, dialect: Any) -> Iterable[Need]: ...
    def parts(self, run: Run, settings: Any) -> Iterable[Part]: ...
