"""One file at work: claimed, surveyed, its rows made into drafts, these into batches, and what became of them written.

Rows are sent in batches by `insert_many` (daemon.jobs._import.load). Which of them are dealt with, and how far the
result files are, stands in the journal under the digest of the file's content.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from daemon.core.batches import Ranges
from daemon.core.columns import Layout, resolve
from daemon.core.doctype import DocType
from daemon.core.kind import JournalPort, Part, Run
from daemon.core.plan import Action, Census, Guard, Outcome, Result
from daemon.errors import DaemonError, FileProblem, Invalid, NotConfigured, NotFound, NotPermitted, Stopped
from daemon.files.inbox import WORKING, Gone, Inbox, held, printable, write_beside
from daemon.files.results import delimiter_of_ours
from daemon.files.table import Survey, Table, open_table, survey
from daemon.jobs._import.batch import Batch, Fate, Key, Target, Wish
from daemon.jobs._import.known import KEYS
from daemon.jobs._import.load import Loader
from daemon.jobs._import.results import ERROR, OURS, TOLD, Results
from daemon.jobs._import.rows import HEAVY, Reader, weight
from daemon.jobs._import.settings import Settings
from daemon.jobs._import.trail import CLOSE, Trail, stamp

KEY_FIELD = "custom_daemon_import_key"
"""A hidden unique field that `setup` can give to DocTypes that have no key of their own."""
JOURNAL = "import"
"""Owner of what is written down: files are the same for all jobs."""


class FilePart(Part):
    """One file at work."""

    guard = Guard(max_percent=100.0)
    again = "Import its errors file, mended, where there is one; all anew by --again, or again = true."
    """What to do about a content that was imported before."""
    goes_away = False
    """The file is moved or removed once it is dealt with, so that one which was imported was left by a crash."""

    def __init__(self, run: Run, settings: Settings, path: Path, inbox: Inbox | None) -> None:
        super().__init__(printable(path.name))
        self._run, self._settings, self._path, self._inbox = run, settings, path, inbox
        self._held = ExitStack()
        self._journal: JournalPort = run.journal(JOURNAL)
        self._head: dict[str, Any] = {}
        self._survey: Survey | None = None
        self._results: Results | None = None
        self._passed = 0
        """Rows that were dealt with."""
        self._bad = False
        """Something in the file needs a person."""
        self._worked = False
        """This run had a part in the import."""

    # Before the first write

    def census(self) -> Census | None:
        settings = self._settings
        if self._inbox and not self._run.dry_run:
            claimed = self._inbox.claim(self._path)
            if claimed is None:
                return None
            self._path = claimed
        self._tell_file()
        if not self._run.dry_run:
            try:
                self._held.enter_context(held(self._path))
            except Gone:
                if self._inbox:
                    return None
        self._survey = found = self._file(self._surveyed)
        self.tally.facts |= found.facts
        self.tally.note(found.read_as)
        self._held.enter_context(self._run.claim(f"import {found.sha256[:32]} {settings.doctype}"))
        self._doctype = self._described()
        self._may()
        if settings.submit and not self._doctype.is_submittable:
            why = f"documents of {self._doctype.name} cannot be submitted"
            raise NotConfigured(why, action="Take submit out: rows become documents without it.")
        self._layout = self._file(self._resolved)
        self._key = self._file(self._chosen_key)
        self._head = self._begun()
        return Census(found.records, found.records, found.records)

    def _described(self) -> DocType:
        try:
            return self._run.site.meta(self._settings.doctype)
        except NotFound as error:
            error.who, error.action = "operator", "Correct the name of the DocType."
            raise

    def _file(self, act: Callable[[], Any]) -> Any:
        """What a person must mend in the file, and nobody on the site, puts it into failed/."""
        try:
            return act()
        except (FileProblem, Invalid):
            self._bad = True
            raise

    def _tell_file(self) -> None:
        self.tally.facts["file"] = printable(str(self._path))

    def _surveyed(self) -> Survey:
        settings = self._settings
        if delimiter := delimiter_of_ours(self._path, ERROR):
            return survey(self._path, delimiter=delimiter)
        return survey(self._path, encoding=settings.encoding, delimiter=settings.delimiter, sheet=settings.sheet)

    def _may(self) -> None:
        """Raises NotPermitted before the first row rather than for each of them."""
        site, doctype = self._run.site, self._doctype
        self._user = user = site.user()
        if user == "Administrator":
            return
        roles = site.roles(user)
        for right in self._settings.rights:
            if not doctype.grants(right, roles):
                raise NotPermitted(f"{user} lacks the right to {right} {doctype.name}")

    def _resolved(self) -> Layout:
        assert self._survey
        settings, header = self._settings, self._survey.header
        if set(TOLD) <= set(header):
            why = "this says what became of the rows of an import"
            raise FileProblem(f"{self._path}: {why}", path=str(self._path), action="Import the file itself.")
        ours = dict.fromkeys(set(OURS) & set(header), "")
        layout = resolve(
            self._doctype,
            header,
            mapping=ours | settings.columns,
            constants=settings.constants,
            defaults=settings.defaults,
            ignore_unknown=settings.ignore_unknown,
            allow_read_only=settings.allow_read_only,
            updating=settings.update_existing,
            mandatory=settings.mandatory,
            creating=True,
        )
        if layout.problems:
            said = "; ".join(map(str, layout.problems[:20]))
            raise FileProblem(f"{self._path}: {said}", path=str(self._path), line=1)
        return layout

    def _chosen_key(self) -> Key | None:
        """As configured; else the name, the field that names are made of, a unique field, or the field made for it."""
        own = {column.field.fieldname: column.field for column in self._layout.columns if not column.table}
        doctype, wanted = self._doctype, self._settings.key
        unique = [name for name, field in own.items() if field.unique]
        if wanted and wanted not in own:
            raise FileProblem(f"{self._path}: no column is for {wanted}, the key", path=str(self._path), line=1)
        for name in [wanted] if wanted else ["name", doctype.named_after, *unique]:
            if name == "name" and name in own:
                return Key(name, True, creates=doctype.prompts)
            if name in own:
                if own[name].fieldtype not in KEYS:
                    why = f"{name} is a {own[name].fieldtype}, which the site may change; a key is found again as it is"
                    raise FileProblem(f"{self._path}: {why}", path=str(self._path), line=1)
                return Key(name, name in (doctype.named_after, *unique))
        if self._settings.update_existing:
            why = f"no column says which {doctype.name} a row is; name one as the key"
            raise FileProblem(f"{self._path}: {why}", path=str(self._path), line=1)
        if doctype.field(KEY_FIELD):
            return Key(KEY_FIELD, True, made=True)
        self.tally.note(
            "no key: a row whose reply is lost cannot be looked up and becomes uncertain; a unique field helps"
        )
        return None

    def _begun(self) -> dict[str, Any]:
        """What is known of this content: new, unfinished, or imported before. Raises FileProblem where it may not."""
        settings, name = self._settings, self._place("head")
        head: dict[str, Any] = self._journal.read(name).get(name) or {}
        if head.get("status") == "done":
            same = head.get("file") == self._identity if self._inbox else head.get("source") == str(self._path)
            if same and (self._inbox or self.goes_away):
                return head  # a crash came between the last row and putting the file away
            if not settings.again and not self._came_to_nothing(head):
                self._refuse_again(head)
                return head
            head = self._anew()
        elif head and head["options"] != settings.fingerprint:
            if not settings.again:
                raise FileProblem(
                    f"{self._path}: an import of this content under other settings is not finished",
                    path=str(self._path),
                    action="Put the settings back and let it finish, or begin anew by --again, or again = true.",
                )
            head = self._anew()
        if head:
            self.tally.note(f"goes on with what run {head['run']} began")
        return head or {
            "status": "running",
            "source": str(self._path),
            "file": self._identity,
            "options": settings.fingerprint,
            "run": self._run.id,
            "mark": f"{self._run.id}-{uuid4().hex[:8]}",  # a run may import many files
            "started": self._run.now().isoformat(timespec="seconds"),
            "since": stamp(self._run.site, self._run.now(), -CLOSE),
            "counts": {},
            "done": [],
            "at": {},
        }

    @property
    def _scheduled(self) -> bool:
        """The file is looked at on a schedule, so that it being there means nothing."""
        return self._settings.file is not None and not self._run.job.startswith("import ")

    def _came_to_nothing(self, head: Mapping[str, Any]) -> bool:
        """No row of the earlier import was, or may have been, taken: trying once more is what a person means by it."""
        taken = any(head["counts"].get(result) for result in ("created", "updated", "skipped", "uncertain"))
        return not taken and not (self._scheduled and head["options"] == self._settings.fingerprint)

    def _refuse_again(self, head: Mapping[str, Any]) -> None:
        """Raises FileProblem, unless nobody has just put the file there."""
        ended = self._run.site.text(datetime.fromisoformat(head["ended"]))[:16]
        if not self._scheduled:
            self._bad = True
            undone = f" and taken back by run {head['undone']}" if head.get("undone") else ""
            why = f"this content was imported before, at {ended} (time of the site) from {head['source']}{undone}"
            raise FileProblem(f"{self._path}: {why}", path=str(self._path), action=self.again)
        self.tally.note(f"imported before: {ended} (time of the site) by run {head['run']} from {head['source']}")

    def _anew(self) -> dict[str, Any]:
        """Forget what is known of this content."""
        self._journal.write(dict.fromkeys(self._journal.read(self._place(""))))
        return {}

    @property
    def _identity(self) -> list[int]:
        """What tells this file from another of the same content, dropped into the inbox later."""
        assert self._survey
        return list(self._survey.identity)

    def _place(self, key: str) -> str:
        """`key` in the journal of this content and DocType."""
        assert self._survey
        return f"{self._survey.sha256}/{self._settings.doctype}/{key}"

    # What to do

    def plan(self) -> Iterator[list[Action]]:
        if self._head.get("status") == "done":
            self._tell_counts()
            self._worked = self.goes_away or self._inbox is not None
        if self._survey and self._head.get("status") == "running":
            why = f"rows of {self._path.name}"
            yield [Action("import", self._settings.doctype, self._path.name, why, self._survey.records)]

    def foresee(self, actions: list[Action]) -> Iterable[Outcome]:  # noqa: ARG002 (the one of `plan`)
        loader = self._loader()
        with self._table() as table:
            reader = self._reader(table)
            for batch, fates in self._each(loader, self._batches(reader, loader)):
                yield from map(self._outcome, fates)
                self._tell_progress(batch)
            self._tell_idle(reader)
        self._tell_counts()

    def apply(self, actions: list[Action]) -> Iterable[Outcome]:  # noqa: ARG002 (the one of `plan`)
        try:
            yield from self._imported()
        except FileProblem as error:
            self._bad = True  # somebody changed the file: what it says now is another matter
            if done := sum(self._head["counts"].get(result, 0) for result in ("created", "updated", "uncertain")):
                what = f"{done:,} of its rows were imported before that, as {self._path.name}.success.csv tells"
                error.action = f"{what}: take these out of the file before the rest of it is imported."
            raise

    def _imported(self) -> Iterator[Outcome]:
        loader, stopped = self._loader(), list[Stopped]()
        self._worked = True
        if not self._head["done"]:
            self._journal.write({self._place("head"): self._head})
        self._done = Ranges(self._head["done"])
        with self._table() as table:
            reader = self._reader(table)
            self._results = Results(self._path, table, self._head["at"], self._settings, reader.manners, self._opened)
            self._held.enter_context(self._results)
            batches = self._until_stopped(self._batches(reader, loader), stopped)
            for batch, fates in self._each(loader, batches):
                self._settled(batch, fates)
                yield from map(self._outcome, fates)
                self._tell_progress(batch)
            self._tell_idle(reader)
        self._tell_counts()
        if stopped:
            raise stopped[0]
        self._finish()

    def _opened(self, at: dict[str, tuple[int, int]]) -> None:
        """A result file is known from its first byte on, so that a later run knows it for its own."""
        self._keep_head(at=at)

    def _each(self, loader: Loader, batches: Iterable[Batch]) -> Iterator[tuple[Batch, list[Fate]]]:
        """Several at once, but one after the other where rows may link to rows above them, as in a tree."""
        itself = self._doctype.name
        linked = any(column.field.options == itself and not column.table for column in self._layout.columns)
        return map(loader.settle, batches) if linked else self._run.each(loader.settle, batches)

    def _until_stopped(self, batches: Iterator[Batch], stopped: list[Stopped]) -> Iterator[Batch]:
        """No new batch once the run should end; those under way are waited for and written down."""
        for batch in batches:
            try:
                self._run.check()
            except Stopped as stop:
                stopped.append(stop)
                return
            yield batch

    def _loader(self) -> Loader:
        settings = self._settings
        wish = Wish(settings.update_existing, settings.on_conflict, settings.blank, settings.submit)
        journal = _Within(self._journal, self._place(""))
        begun = any(self._head["counts"].get(result) for result in ("created", "updated"))
        target = Target(self._run.site, self._user, self._doctype, self._layout, self._key)
        facts = {"place": self._place(""), "source": self._head["source"], "since": self._head.get("since", "")}
        trail = Trail(self._run, self.tally.part, target, facts)
        trail.begin()
        return Loader(self._run, target, wish, journal, self._head["mark"], trail, begun=begun)

    def _table(self) -> Table:
        return open_table(self._path, survey=self._survey)

    def _batches(self, reader: Reader, loader: Loader) -> Iterator[Batch]:
        """Drafts that are not dealt with, in the batches of an earlier attempt where it wrote some down."""
        place = self._place("batch:")
        entries = {int(key.rpartition(":")[2]): entry for key, entry in self._journal.read(place).items()}
        done = Ranges(self._head["done"])
        batch: Batch | None = None
        size = held = 0
        for number, draft in enumerate(reader.drafts()):
            if batch and (len(batch.drafts) >= size or held > HEAVY or number in entries or number in done):
                reader.table.verify()
                yield batch
                batch = None
            if number in done:
                continue
            if batch is None:
                entry = entries.get(number)
                batch = Batch(number, [], entry)
                size = entry["last"] - number + 1 if entry else loader.pace.rows
                held = 0
            batch.drafts.append(draft)
            if not batch.entry:
                held += sum(map(weight, draft.cells))
        if batch:
            reader.table.verify()
            yield batch

    def _reader(self, table: Table) -> Reader:
        return Reader(table, self._layout, self._key, self._settings)

    # What became of it

    def _settled(self, batch: Batch, fates: list[Fate]) -> None:
        """Result rows first, then the journal: a crash in between writes them once more, over the same bytes."""
        assert self._results
        self._done.add(batch.first, batch.last)
        counts = Counter(self._head["counts"])
        for fate in fates:
            self._results.add(fate)
            rows = len(fate.draft.lines)
            counts[fate.result] += rows
            counts["not submitted"] += rows if fate.result == "created" and fate.reason else 0
        self._head |= {"at": self._results.flush(), "done": self._done.pairs, "counts": dict(+counts)}
        self._journal.write({self._place("head"): self._head, self._place(batch.place): None})

    def _outcome(self, fate: Fate) -> Outcome:
        verb, rows = {"created": "create", "updated": "update"}.get(fate.result, "import"), len(fate.draft.lines)
        line = f"line {fate.draft.line}"
        reason = fate.reason if fate.name else fate.reason.removeprefix(line).lstrip(":, ")
        action = Action(verb, self._settings.doctype, fate.name or line, reason)
        result = _RESULTS[fate.result]
        if self._run.dry_run and result is Result.DONE:
            result = Result.PLANNED
        if fate.result == "created" and fate.reason and not self._run.dry_run:
            return Outcome(action, Result.FAILED, reason, "NotSubmitted", "document owner", rows)
        return Outcome(action, result, reason, fate.error, fate.who, rows)

    def _tell_progress(self, batch: Batch) -> None:
        assert self._survey
        self._passed += sum(len(draft.lines) for draft in batch.drafts)
        self._run.progress(self.tally.part, min(self._passed, self._survey.records), self._survey.records)

    def _tell_idle(self, reader: Reader) -> None:
        if reader.idle:
            self.tally.note(f"{reader.idle:,} rows hold nothing but columns that are left out, and became nothing")

    def _tell_counts(self) -> None:
        counts = self._head["counts"]
        self.tally.facts.update({f"rows {name}": counts[name] for name in _RESULTS if counts.get(name)})
        if counts:
            self.tally.note(", ".join(f"{counts[name]:,} {name}" for name in _RESULTS if counts.get(name)))
        self._bad = self._bad or any(counts.get(bad) for bad in ("failed", "uncertain", "not submitted"))

    def _tell_whole(self) -> None:
        """The rows of the file over all attempts, and where the reasons of those are that this run does not tell."""
        if self._run.dry_run or not self._worked:
            return
        counts = Counter(self._head["counts"])
        drafts = counts["not submitted"]
        whole = Counter({Result.DONE.value: -drafts, Result.FAILED.value: drafts})
        for name, result in _RESULTS.items():
            whole[result.value] += counts[name]
        self.tally.whole = +whole
        for became, words, ending in (("failed", "failed", "errors"), ("uncertain", "stayed open", "uncertain")):
            if (earlier := whole[became] - self.tally.counts[became]) > 0:
                why = f"{self._path.name}.{ending}.csv says why"
                self.tally.note(f"in an earlier run {earlier:,} rows {words}: {why}")

    def _finish(self) -> None:
        """All is dealt with: keep what a later file of this content must be told, and nothing more."""
        ended = self._run.now().isoformat(timespec="seconds")
        self._keep_head(status="done", ended=ended, run=self._run.id, done=[], at={})

    def close(self) -> None:
        """Put the file away where it was dealt with, or will never be; only then may somebody else have it."""
        try:
            if self._results:
                self._results.close()
            self._tell_whole()
            beside = self._path
            finished = self._head.get("status") == "done"
            claimed = self._inbox and not self._run.dry_run and self._path.parent.name == WORKING
            if self._inbox and claimed and (finished or self._bad):
                beside = self._put_away(self._inbox)
                self.tally.note(f"the file is now {beside}")
            if self._results:
                endings = ", ".join(path.name.removeprefix(self._path.name) for path in self._results.paths)
                self.tally.note(f"what became of its rows: {beside} with {endings}")
        except DaemonError as error:
            self.tally.note(str(error))
            raise
        finally:
            self._held.close()

    def _put_away(self, inbox: Inbox) -> Path:
        """Where to is written down first, so that after a kill the rest goes to the same place; and that it is there,
        so that a person who moves the file back is told that it was imported before."""
        place = Path(self._head.get("put") or inbox.place_for(self._path, well=not self._bad))
        if self._head:
            self._keep_head(put=str(place))
        if self.tally.error:
            write_beside(self._path, f"{self.tally.error}\n{getattr(self.tally.error, 'action', '')}\n")
        inbox.put_away(self._path, place)
        if self._head:
            self._keep_head(put="", file=[])
        return place

    def _keep_head(self, **more: Any) -> None:
        self._head |= more
        self._journal.write({self._place("head"): self._head})


_RESULTS = {
    "created": Result.DONE,
    "updated": Result.DONE,
    "skipped": Result.KEPT,
    "failed": Result.FAILED,
    "uncertain": Result.UNCERTAIN,
}


class _Within:
    """A journal under a prefix of its own."""

    def __init__(self, journal: JournalPort, prefix: str) -> None:
        self._journal, self._prefix = journal, prefix

    def read(self, prefix: str = "") -> dict[str, Any]:
        found = self._journal.read(self._prefix + prefix)
        return {key.removeprefix(self._prefix): value for key, value in found.items()}

    def write(self, changes: Mapping[str, Any]) -> None:
        self._journal.write({self._prefix + key: value for key, value in changes.items()})
