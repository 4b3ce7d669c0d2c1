"""What a kind of job is: one file in daemon/jobs/ with `Settings`, `needs` and `parts`. Reads and writes nothing.

The runner asks a kind for its parts and takes each through the same steps: `census` counts, the guard judges, `plan`
yields batches of actions, `apply` does one batch and yields what became of it, `close` ends. A dry run stops before
`apply`. Whatever a kind may touch it gets from its `Run`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from zoneinfo import ZoneInfo

from daemon.core.doctype import DocType
from daemon.core.letter import Letter
from daemon.core.links import LinksPort
from daemon.core.plan import Action, Census, Guard, Outcome, Result, Tally
from daemon.errors import SiteError

if TYPE_CHECKING:  # its models take time to build, and most configurations have no job that needs them
    from daemon.core.api import ApiSettings, Malformed, Record

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
    why: str = ""
    """What it is for, as "to …"."""
    only_administrator: str = ""
    """Why nobody but Administrator may do it, where the DocType's own code says so."""
    only_system_manager: str = ""
    """Why no role but System Manager will do, where a method of the site asks for that very role."""
    otherwise: Need | None = None
    """A second way, taken where the rights for this one are missing."""
    by_setup: bool = False
    """`frappe-daemon setup` makes the DocType, or gives the rights."""
    made: tuple[str, ...] = ()
    """Those of the fields that `frappe-daemon setup` makes; `check` tells of these by what setup would do."""
    lacking: str = ""
    """What the job does where the rights, or the DocType, are missing: that is then a warning, and no problem."""
    mail: bool = False
    """Mail is sent: the site must have an account for it, and show us afterwards what it sent. Says nothing of a
    DocType beyond that."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """Something about a job that `check` tells beyond its needs, because a run would stumble over it."""

    what: str
    """As a sentence."""
    action: str
    grave: bool = True
    """The run fails by it; else it does something that is perhaps not meant."""


@dataclass(frozen=True, slots=True)
class Source:
    """Another API that a job works with, for `check` to look at before the first run."""

    api: ApiSettings
    fields: tuple[str, ...] = ()
    """Paths at which some record should hold something."""


@dataclass(frozen=True, slots=True)
class Provision:
    """A document that `frappe-daemon setup` makes on the site for a job; daemon.site.provision makes it."""

    doctype: str
    """DocType or Custom Field: both have a description, by which setup knows again what it made. Or Role, which has
    none and carries the mark in its name."""
    name: str
    """The name that the document has once it is made."""
    values: Mapping[str, Any]
    why: str
    """What it is for, as the end of a sentence."""
    later: Mapping[str, Any] = field(default_factory=dict)
    """What is set once it is made: a default that stands in a new field from the first becomes the value of every
    document that is there."""
    rights: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Of a Role: DocType → permission types that it gives, to the user of the key by which setup runs."""


class DialectPort(Protocol):
    """What kinds ask of the site's version; daemon.site.dialect says more."""

    @property
    def desk(self) -> str: ...
    def aggregate(self, function: str, field: str, alias: str) -> str | dict[str, str]: ...
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


class MailPort(Protocol):
    """Mail through the site's own account; daemon.site.mail says more. Send letters by daemon.jobs._post alone."""

    def send(self, letter: Letter) -> str: ...
    def find(self, mark: str, since: datetime) -> str | None: ...
    def of_group(self, group: str, since: datetime) -> Iterator[list[tuple[str, str]]]: ...
    def standing(self, names: Sequence[str]) -> dict[str, str] | None: ...


class SitePort(Protocol):
    """What kinds may ask of the site; daemon.site.client says more."""

    @property
    def dialect(self) -> DialectPort: ...
    @property
    def log_settings(self) -> LogSettingsPort: ...
    @property
    def mail(self) -> MailPort: ...
    @property
    def zone(self) -> ZoneInfo: ...

    @property
    def ahead(self) -> timedelta: ...

    url: str

    def user(self) -> str: ...
    def roles(self, user: str) -> frozenset[str]: ...
    def meta(self, doctype: str) -> DocType: ...
    def insert_many(self, docs: Sequence[Mapping[str, Any]]) -> list[str]: ...
    def update(self, doc: Mapping[str, Any]) -> dict[str, Any]: ...
    def delete(self, doctype: str, name: str | int) -> None: ...
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
        *,
        group_by: str | None = None,
        parent: str | None = None,
    ) -> list[dict[str, Any]]: ...
    def download(self, file_url: str, path: Path, *, largest: int) -> None: ...
    def attach(self, path: Path, doctype: str, name: str, *, file_name: str) -> str: ...
    def text(self, moment: datetime) -> str: ...
    def moment(self, text: str) -> datetime: ...
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


class RemotePort(Protocol):
    """Another API; daemon.remote.client says more. Each raises RemoteError."""

    host: str
    """Its name in messages."""

    def changed(self, since: datetime | None = None) -> Iterator[list[Record | Malformed]]: ...
    def read(self, id: str) -> Record | None: ...
    def find(self, key: str) -> list[Record]: ...
    def create(self, payload: Mapping[str, Any], idempotency_key: str) -> Record: ...
    def update(self, id: str, payload: Mapping[str, Any], etag: str | None = None) -> Record | None: ...
    def delete(self, id: str, etag: str | None = None) -> None: ...


class ArchivePort(Protocol):
    """A file of documents; daemon.archive says more."""

    path: Path
    rows: int
    """Written and on the disk so far."""
    last: int
    """Where the batch begins that was written last."""

    def write(self, docs: Iterable[Mapping[str, Any]]) -> int: ...


class TrailPort(Protocol):
    """What a run writes down so that it can be undone; daemon.trail says more."""

    @property
    def wanted(self) -> bool:
        """False where the configuration does without undo: then nothing is kept of what is written."""
        ...

    def write(self, *lines: Mapping[str, Any]) -> None:
        """On the disk when this returns: to be done before, or with, the act that the lines tell of."""
        ...


class PastPort(Protocol):
    """The trail of an earlier run; daemon.trail says more."""

    @property
    def heads(self) -> Mapping[str, Mapping[str, Any]]: ...
    def count(self, of: str) -> int: ...
    def steps(self, of: str, *, backwards: bool = False) -> Iterator[dict[str, Any]]: ...
    def add(self, *lines: Mapping[str, Any]) -> None: ...


class NotesPort(Protocol):
    """What outlives a crash, under keys of one owner; daemon.state says more."""

    def read(self, prefix: str = "") -> dict[str, Any]:
        """All values under keys that begin with `prefix`."""
        ...

    def write(self, changes: Mapping[str, Any]) -> None:
        """JSON values under their keys, None to forget: on the disk, all or nothing, when this returns."""
        ...


class JournalPort(NotesPort, Protocol):
    """The whole of it."""

    def page(self, prefix: str, after: str, limit: int) -> dict[str, Any]:
        """The first `limit` values under keys that begin with `prefix` and sort behind `after`, in their order."""
        ...

    def pick(self, keys: Sequence[str]) -> dict[str, Any]:
        """The values under these very keys, some hundreds at the most, as far as there are any."""
        ...

    def forget(self, prefix: str, before: str) -> int:
        """Forget what is under keys that begin with `prefix` and sort before `prefix` + `before`; how many it was."""
        ...


class Inquiry(Protocol):
    """What a kind needs that answers a question and does nothing."""

    job: str
    section: str
    """The job's section in the configuration, which jobs of one direction share."""

    @property
    def site(self) -> SitePort: ...

    def now(self) -> datetime:
        """The moment, aware."""
        ...

    def journal(self, owner: str) -> JournalPort:
        """What runs of any job wrote down for `owner`, such as what is known of files that were imported."""
        ...

    def links(self, sync: str) -> LinksPort:
        """The pairs of this sync; in a dry run, a copy to scribble upon."""
        ...

    def past(self, run: str) -> PastPort | None:
        """What a run wrote down so that it can be undone; None where that is not kept, or no longer."""
        ...

    def pasts(self, job: str = "", since: str = "") -> Iterator[tuple[str, PastPort]]:
        """(run, what it wrote down) of each run of which something is kept, the newest first: of `job` alone, unless
        that is "", and those that began no earlier than the run `since`."""
        ...

    def archived(self, path: Path, offset: int) -> list[dict[str, Any]]:
        """The documents of an archive's batch that begins there. Raises OutputError."""
        ...

    def recall(self, key: str) -> Any:
        """What an earlier run of this job remembered under `key`, or None."""
        ...


class Run(Inquiry, Protocol):
    """One run, as a kind sees it."""

    id: str
    direction: str
    """pull or push for a run of one direction alone, else ""."""
    wish: Mapping[str, Any]
    """What the command line asks of this run alone."""
    started: datetime
    dry_run: bool
    explain: bool
    """Every row that is kept wants its reason, too."""

    @property
    def trail(self) -> TrailPort:
        """What this run does is written down here, for undo."""
        ...

    def slots(self, within: timedelta) -> list[datetime]:
        """The slots that this run stands for, the latest last, without those that are longer ago than `within`. Several
        where some were missed. A run by hand stands for the latest slot that has been, however long ago."""
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

    def remote(self, settings: ApiSettings) -> RemotePort:
        """The API of these settings; the same one each time, closed with the run."""
        ...

    def archive(self, directory: Path, part: str) -> ArchivePort:
        """A file in `directory` for documents that this part of the run is about to delete."""
        ...

    def hold(self, context: AbstractContextManager[Answer]) -> Answer:
        """Enter `context`, and leave it when the run ends."""
        ...

    def claim(self, name: str) -> AbstractContextManager[object]:
        """Be the only run of any job that has `name` within the block. Raises AlreadyRunning."""
        ...

    def progress(self, part: str, done: int, total: int) -> None:
        """Tell whoever watches how far a part is; may be called for every row."""
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
    of these settings needs on the site, `doubts(inquiry, settings)`, which yields each Doubt that a look at the site
    raises where it has all the needs, and `explain(inquiry, settings, words)`, which answers why something was done
    or not, as rows of "about", "state" and "why"."""

    Settings: type[Any]

    def needs(self, settings: Any, dialect: Any) -> Iterable[Need]: ...
    def parts(self, run: Run, settings: Any) -> Iterable[Part]: ...
