"""Imports that people ask for on the site: documents of the DocType Daemon Import, which `frappe-daemon setup` makes.

    [jobs.asked]
    kind = "import"
    schedule = "every 1m"
    requests = true
    directory = "/var/lib/frappe-daemon/requests"

A request names a DocType and carries a file. It is taken by setting it to Running with the `modified` that was read,
so that of two daemons one gets it; what it asked for is written down before, so that a later edit changes nothing. Its
file is imported as one from an inbox would be. Then the result files are attached, the status is set and whoever asked
is told, each of them looked up before it is done again. What a kill leaves behind the next run of this daemon ends.

An import runs with the daemon's rights, so a request is refused unless those who made and last saved it could do all
of it themselves: create (write, submit) the DocType, and write each field at its permission level. A private file must
be one that they uploaded.

Reads: requests, their files, metas, roles. Writes: what an import writes, requests, attachments, notifications.
"""

from __future__ import annotations

import csv
import html
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, cast

from daemon.core.columns import Layout
from daemon.core.kind import JournalPort, Part, Run
from daemon.core.plan import Action, Census, Outcome
from daemon.errors import (
    AlreadyRunning,
    ClockSkew,
    CredentialsRefused,
    DaemonError,
    Invalid,
    NotFound,
    NotFrappe,
    NotPermitted,
    OutcomeUnknown,
    OutputError,
    ResultFileError,
    SiteError,
    StaleDocument,
    StateError,
    Stopped,
    Transient,
    UntrustedCertificate,
)
from daemon.files.inbox import RESULTS
from daemon.jobs._batch import Batch, Fate
from daemon.jobs._file import FilePart
from daemon.jobs._form import COUNTED, QUEUED, REQUESTS, RUNNING
from daemon.jobs._load import ROUNDS
from daemon.jobs._settings import Settings

OWNER = "import requests"
"""Owner of what is written down of requests under way, each under its name."""
EVERY = 5.0
"""Seconds between two tellings of how far a request is."""
TOLD, LONGEST = 100, 300
"""Errors that a request shows, and characters of each."""
PASSING = (
    Stopped, Transient, OutcomeUnknown, StateError, OutputError, ResultFileError, ClockSkew, AlreadyRunning, NotFrappe,
    UntrustedCertificate, CredentialsRefused,
)  # fmt: skip
"""What is no fault of the request: it stays Running, and the next run goes on with it."""
DRY = "Dry run: nothing was written; the numbers say what would have been."
NOTIFICATION, MAIL = "Notification Log", "Communication"


def parts(run: Run, settings: Settings) -> Iterator[Part]:
    """One part for each request: first those that a crash left, then those that wait, the oldest first."""
    left = list(run.journal(OWNER).read())
    try:
        rows = run.site.get_list(REQUESTS, ["name"], [["status", "=", QUEUED]], order_by="creation asc, name asc")
    except NotFound as error:
        error.who, error.action = "operator", "Run `frappe-daemon setup --apply`."
        raise
    for name in dict.fromkeys((*left, *(row["name"] for row in rows))):
        yield RequestPart(run, settings, name)


class RequestPart(FilePart):
    """One request at work."""

    goes_away = True

    def __init__(self, run: Run, settings: Settings, name: str) -> None:
        assert settings.directory
        super().__init__(run, settings, settings.directory, None)
        self.tally.part = self._name = name
        self._job = settings
        self._site = run.site
        self._notes: JournalPort = run.journal(OWNER)
        self._entry: dict[str, Any] = {}
        """What is written down of this request: what it asked for, of whom, by which run, and how far its end is."""
        self._taken = False
        self._foreseen = False
        self._rehearsed: dict[str, int] = {}
        """Counts of a dry run."""
        self._errors: list[str] = []
        self._told_at: datetime | None = None

    # Taking

    def census(self) -> Census | None:
        if not self._take() or "final" in self._entry:
            return None
        asked = self._entry["asked"]
        if asked["dry_run"]:
            self._run = cast("Run", _Rehearsal(self._run))
        self._settings = self._job.model_copy(
            update={
                "requests": False,
                "doctype": asked["doctype"],
                "key": asked["key"] or self._job.key,
                "update_existing": asked["update"],
                "submit": asked["submit"],
            }
        )
        self._fetch()
        return super().census()

    def _take(self) -> bool:
        """Whether the request is ours to deal with. Raises SiteError where that cannot be found out."""
        try:
            self._held.enter_context(self._run.claim(f"import request {self._name}"))
        except AlreadyRunning:
            return False
        entry, doc = self._notes.read(self._name).get(self._name), self._read()
        if entry and self._run.dry_run:
            self.tally.note("a run that was interrupted has begun this request; the next one ends it")
            return False
        if entry and doc and doc.get("run") == entry["run"]:
            self._entry, self._taken = entry, True
            self.tally.note(f"goes on with what run {entry['run']} began")
            return True
        if entry:
            self._forget(entry)  # never taken after all, or deleted, or another daemon's by now
        if not doc or doc.get("status") != QUEUED:
            return False
        self._entry = self._asked(doc)
        return self._run.dry_run or self._set_running(doc)

    def _read(self) -> dict[str, Any] | None:
        try:
            return self._site.get_doc(REQUESTS, self._name)
        except NotFound:
            return None

    def _asked(self, doc: dict[str, Any]) -> dict[str, Any]:
        flags = {"update": "update_existing", "submit": "submit_after_import", "dry_run": "dry_run"}
        texts = {"doctype": "reference_doctype", "file": "import_file", "key": "key_field"}
        asked = {key: bool(int(doc.get(name) or 0)) for key, name in flags.items()}
        return {
            "run": self._run.id,
            "asked": asked | {key: str(doc.get(name) or "").strip() for key, name in texts.items()},
            "owner": str(doc["owner"]),
            "people": sorted({str(doc["owner"]), str(doc["modified_by"])}),
        }

    def _set_running(self, doc: dict[str, Any]) -> bool:
        self._notes.write({self._name: self._entry})
        fresh = {**dict.fromkeys(("progress", "rows_total", *COUNTED), 0), "error_message": "", "first_errors": ""}
        wanted = {"status": RUNNING, "run": self._run.id, "modified": doc["modified"], **fresh}
        try:
            self._site.update({"doctype": REQUESTS, "name": self._name, **wanted})
        except (StaleDocument, NotFound):
            self._forget(self._entry)
            self.tally.note("somebody changed the request meanwhile; the next run looks at it again")
            return False
        except OutcomeUnknown:
            if (self._read() or {}).get("run") != self._run.id:
                raise
        self._taken = True
        return True

    def _fetch(self) -> None:
        """The attached file in a folder of its own. One that is there whole is kept: rows of it may be imported."""
        asked = self._entry["asked"]
        if not asked["doctype"]:
            raise Invalid("the request names no DocType")
        self._refuse_file(asked["file"])
        folder = self._folder
        self._path = folder / _local(asked["file"])
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not self._path.exists():
                half = folder / "half"
                self._site.download(asked["file"], half, largest=self._job.max_size)
                half.replace(self._path)
        except OSError as error:
            raise OutputError(f"{self._path}: cannot be written: {error.strerror or error}") from None

    @property
    def _folder(self) -> Path:
        """Of this taking: a request that is queued again gets another, so that its file counts as new."""
        assert self._job.directory
        return self._job.directory / f"{re.sub(r'[^A-Za-z0-9]', '_', self._name)[:60]}-{self._entry['run']}"

    # Who may ask for it

    def _refuse_file(self, url: str) -> None:
        """A private file must have been uploaded by those who ask, whatever it is attached to: saving a document whose
        Attach field names somebody else's file attaches that file to it, unasked (core/doctype/file/utils.py:
        attach_files_to_document, seen on 15 and 16), and our own saving does so, too. Of several rows for one file the
        first is the upload. Raises Invalid, NotFound, NotPermitted."""
        if not url.startswith(("/files/", "/private/files/")):
            raise Invalid(f"{url or 'nothing'} is attached; attach a file of this site", action=_OWN)
        rows = self._site.get_list("File", ["owner"], [["file_url", "=", url]], 0, 1, "creation asc")
        if not rows:
            raise NotFound(f"the site has no file {url}", action=_OWN)
        for person in self._people:
            if url.startswith("/private/") and rows[0].get("owner") != person:
                raise NotPermitted(f"{url} is a private file that {person} did not upload", action=_OWN)

    @property
    def _people(self) -> list[str]:
        """Those whose rights count: who made the request, and who saved it last before it was taken."""
        return [person for person in self._entry["people"] if person != "Administrator"]

    def _may(self) -> None:
        super()._may()
        wanted = ["read", "create", "write" * self._settings.update_existing, "submit" * self._settings.submit]
        for person in self._people:
            roles = self._site.roles(person)
            for right in filter(None, wanted):
                if not self._doctype.grants(right, roles):
                    raise NotPermitted(f"{person} lacks the right to {right} {self._doctype.name}", action=_RIGHT)

    def _resolved(self) -> Layout:
        """Raises NotPermitted for a column whose permission level the requester may not write."""
        layout = super()._resolved()
        for column in layout.columns:
            table = self._doctype.field(column.table) if column.table else None
            for level in {column.field.permlevel, table.permlevel if table else 0} - {0}:
                for person in self._people:
                    if not self._writes(level, self._site.roles(person)):
                        said = f"{person} lacks the right to write {column.key} of {self._doctype.name}"
                        raise NotPermitted(f"{said} (permission level {level})", action=_RIGHT)
        return layout

    def _writes(self, level: int, roles: Iterable[str]) -> bool:
        mine = set(roles)
        rows = self._doctype.permissions
        return any(row.get("role") in mine and row.get("write") and row.get("permlevel") == level for row in rows)

    def _begun(self) -> dict[str, Any]:
        """As of any file; where an earlier request of this content ended in an error on its way, its result files went
        with it, and ours hold the rest."""
        head = super()._begun()
        if head["status"] == "running":
            beside = {kind: self._path.with_name(f"{self._path.name}.{kind}.csv") for kind in head["at"]}
            kept = {kind: at for kind, at in head["at"].items() if beside[kind].exists()}
            head = {**head, "source": str(self._path), "at": kept}
        return head

    # At work

    def apply(self, actions: list[Action]) -> Iterable[Outcome]:
        if self._entry["asked"]["dry_run"]:
            return self.foresee(actions)
        return super().apply(actions)

    def foresee(self, actions: list[Action]) -> Iterable[Outcome]:
        yield from super().foresee(actions)
        self._foreseen = True

    def _outcome(self, fate: Fate) -> Outcome:
        if self._run.dry_run:
            self._rehearsed[fate.result] = self._rehearsed.get(fate.result, 0) + 1
            if fate.result == "failed" and len(self._errors) < TOLD:
                self._errors.append(_line(fate.reason))
        return super()._outcome(fate)

    def _tell_progress(self, batch: Batch) -> None:
        """To the log, and every few seconds to the request; whatever becomes of that, the import goes on."""
        super()._tell_progress(batch)
        assert self._survey
        now = self._run.now()
        if not self._taken or (self._told_at and (now - self._told_at).total_seconds() < EVERY):
            return
        self._told_at = now
        percent = min(99.0, 100.0 * batch.drafts[-1].lines[-1] / max(1, self._survey.records))
        values = {"progress": round(percent, 1), **self._numbers()}
        try:
            self._site.update({"doctype": REQUESTS, "name": self._name, **values})
        except DaemonError as error:
            self.tally.note(f"the request could not be told how far it is: {error}")

    def _numbers(self) -> dict[str, int]:
        found = self._rehearsed or self._head.get("counts", {})
        return {
            "rows_total": self._survey.records if self._survey else 0,
            **{key: found.get(key, 0) for key in COUNTED},
        }

    # Its end

    def close(self) -> None:
        """Tell the request what became of it, unless the next run is to go on."""
        try:
            if self._results:
                self._results.close()  # its last rows are read below
            if self._taken and self._over:
                self._conclude()
            elif self._run.dry_run and self._entry and not self._taken:
                _clear(self._folder)
        finally:
            self._held.close()

    @property
    def _over(self) -> bool:
        if "final" in self._entry or self._head.get("status") == "done" or self._foreseen:
            return True
        return isinstance(self.tally.error, DaemonError) and not isinstance(self.tally.error, PASSING)

    def _conclude(self) -> None:
        """Each step does nothing where it was done before. Raises what keeps it from its end; the next run goes on."""
        if "final" not in self._entry:
            self._note(final=self._final(), file=self._path.name)
        attached = self._read() is None or self._attach()
        if self._say(self._entry["final"]):
            self._tell_owner()
        else:
            self.tally.note("the request was deleted while it was worked on")
        self._forget(self._entry, clear=attached)

    def _final(self) -> dict[str, Any]:
        error, numbers = self.tally.error, self._numbers()
        over = self._head.get("status") == "done" or self._foreseen
        if not self._errors and self._survey:
            self._errors = list(_errors_in(self._path))
        if error and not over:
            status = "Error"
        else:
            status = "Completed with Errors" if self._errors or numbers["failed"] else "Success"
        said = self._public(error) if error and not over else DRY * self._foreseen
        return {
            "status": status,
            **({"progress": 100} if over else {}),
            **numbers,
            "error_message": said,
            "first_errors": "\n".join(self._errors),
        }

    def _public(self, error: Exception) -> str:
        """The error without paths of this machine."""
        text = str(error).replace(f"{self._folder}/", "").replace(f"{self._job.directory}/", "")
        action = getattr(error, "action", "")
        return f"{text}. {action}" if action else text

    def _note(self, **more: Any) -> None:
        self._entry |= more
        self._notes.write({self._name: self._entry})

    def _forget(self, entry: dict[str, Any], *, clear: bool = True) -> None:
        self._entry = entry
        if clear:
            _clear(self._folder)
        self._notes.write({self._name: None})

    def _say(self, values: dict[str, Any]) -> bool:
        """Set fields of the request, which may be done again after a lost reply. False where it is gone."""
        for attempt in range(ROUNDS):
            try:
                self._site.update({"doctype": REQUESTS, "name": self._name, **values})
            except OutcomeUnknown:
                if attempt == ROUNDS - 1:
                    raise
            except NotFound:
                return False
            else:
                return True
        return False

    def _attach(self) -> bool:
        """The result files, private. False where the site does not take one, which then stays on this machine."""
        well = True
        for ending in RESULTS:
            path = self._folder / (self._entry["file"] + ending)
            if path.exists():
                name = f"{Path(self._entry['file']).stem[:60]}.{self._entry['run']}{ending}"
                try:
                    self._site.attach(path, REQUESTS, self._name, file_name=name)
                except (Transient, OutcomeUnknown):
                    raise
                except SiteError as error:
                    well = False
                    self.tally.note(f"{path} could not be attached: {error}")
        return well

    # Telling whoever asked

    def _tell_owner(self) -> None:
        """Once: by a notification, else by mail, else in the report."""
        owner, why = self._entry["owner"], list[str]()
        ways: list[tuple[str, Callable[[], Any]]] = [(NOTIFICATION, self._ring), (MAIL, self._mail)]
        if self._entry.get("telling") == MAIL or not self._may_ring():
            del ways[0]
        for name, tell in ways:
            try:
                return self._tell_once(name, tell)
            except (Transient, OutcomeUnknown):
                raise
            except SiteError as error:
                why.append(str(error))
        return self.tally.note(f"{owner} could not be told: {'; '.join(why)}")

    def _tell_once(self, name: str, tell: Callable[[], Any]) -> None:
        """`tell`, unless an attempt before was heard. Where nobody can know that, it was: once is better than twice."""
        for _ in range(2):
            if self._entry.get("telling") == name:
                heard = self._heard(name)
                if heard is None:
                    self.tally.note(f"{self._entry['owner']} may or may not have been told: a reply was lost")
                if heard is not False:
                    return
            self._note(telling=name)
            try:
                tell()
            except OutcomeUnknown:
                continue
            except Transient:
                self._note(telling="")
                raise
            return
        raise OutcomeUnknown(f"{self._entry['owner']}: replies to a {name} were lost")

    def _may_ring(self) -> bool:
        """No role may create notifications unless it was given the right (desk/doctype/notification_log.json)."""
        user = self._site.user()
        return user == "Administrator" or self._site.meta(NOTIFICATION).grants("create", self._site.roles(user))

    def _heard(self, name: str) -> bool | None:
        """None where it cannot be known: only Administrator sees notifications of others (notification_log.py:
        get_permission_query_conditions)."""
        if name == NOTIFICATION and self._site.user() != "Administrator":
            return None
        field, about = ("email_content", "document") if name == NOTIFICATION else ("content", "reference")
        where: list[list[Any]] = [[field, "like", f"%{self._entry['run']}%"], [f"{about}_name", "=", self._name]]
        return bool(self._site.get_list(name, ["name"], where))

    def _ring(self) -> None:
        doc = {"doctype": NOTIFICATION, "type": "Alert", "for_user": self._entry["owner"], "subject": self._subject}
        about = {"document_type": REQUESTS, "document_name": self._name, "email_content": self._message}
        self._site.insert({**doc, **about})

    def _mail(self) -> None:
        owner = self._entry["owner"]
        rows = self._site.get_list("User", ["email"], [["name", "=", owner]])
        address = str((rows[0].get("email") if rows else "") or owner)
        if "@" not in address:
            raise Invalid(f"{owner} has no e-mail address")
        facts = {"recipients": address, "subject": self._subject, "content": self._message, "send_email": 1}
        self._site.post_api(
            "frappe.core.doctype.communication.email.make", {**facts, "doctype": REQUESTS, "name": self._name}
        )

    @property
    def _subject(self) -> str:
        return f"Import of {self._entry['asked']['doctype']}: {self._entry['final']['status']}"[:140]

    @property
    def _message(self) -> str:
        final = self._entry["final"]
        counts = ", ".join(f"{final[key]:,} {key}" for key in COUNTED if final[key]) or "nothing was written"
        link = f"{self._site.url}{self._site.dialect.desk}/{REQUESTS.lower().replace(' ', '-')}/{self._name}"
        said = html.escape(final["error_message"])
        about = f"{final['rows_total']:,} rows: {counts}."
        where = f'<a href="{html.escape(link)}">{self._name}</a> (run {self._entry["run"]})'
        return "".join(f"<p>{line}</p>" for line in (said, about, where) if line)


_OWN = "Upload the file to the request."
_RIGHT = "Ask an administrator of the site for that right, or somebody who has it to make the request."


class _Rehearsal:
    """A run that writes nothing, whatever the command said."""

    dry_run = True

    def __init__(self, run: Run) -> None:
        self._run = run

    def __getattr__(self, name: str) -> Any:
        return getattr(self._run, name)


def _local(url: str) -> str:
    """A name for the file on this machine, whose end tells its format; never that of our own files."""
    name = re.sub(r"[\x00-\x1f\x7f]", "_", url.rpartition("/")[2])[-50:].lstrip(".")
    return f"file-{name}" if name in ("", "half") or name.endswith(RESULTS) else name


def _clear(folder: Path) -> None:
    """Remove a folder of files, as far as it is there and ours to remove."""
    try:
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
    except OSError:
        return


def _errors_in(path: Path) -> Iterator[str]:
    """The first errors in the result files of `path`, those of documents that stayed drafts too."""
    number = 0
    for ending, column in ((".errors.csv", "import_error"), (".uncertain.csv", "import_error"), (".success.csv", "")):
        beside = path.with_name(path.name + ending)
        if not beside.exists():
            continue
        with beside.open(newline="", encoding="utf-8-sig") as file, suppress(csv.Error):  # a cell of more than 128 KB
            for row in csv.DictReader(file):
                said = row.get(column) if column else row["import_result"] == "created" and row["import_note"]
                if said:
                    number += 1
                    yield _line(str(said))
                if number >= TOLD:
                    return


def _line(text: str) -> str:
    return " ".join(text.split())[:LONGEST]
