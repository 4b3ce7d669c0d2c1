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
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, cast

from daemon.core.columns import Layout
from daemon.core.kind import Part, Run
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
    StateError,
    Stopped,
    Transient,
    UntrustedCertificate,
)
from daemon.files.inbox import RESULTS
from daemon.files.results import delimiter_of_ours
from daemon.jobs._import.batch import Batch, Fate
from daemon.jobs._import.file import FilePart
from daemon.jobs._import.form import COUNTED, QUEUED, REQUESTS
from daemon.jobs._import.request import AT_WORK, Request
from daemon.jobs._import.requester import Telling
from daemon.jobs._import.settings import Settings

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
    again = "Nothing: ask for the rows of its errors file, once mended. To import all anew, change the file's content."

    def __init__(self, run: Run, settings: Settings, name: str) -> None:
        assert settings.directory
        super().__init__(run, settings, settings.directory, None)
        self.tally.part = name
        self._job = settings
        self._site = run.site
        self._request = Request(run.site, run.journal(OWNER), name)
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
        request = self._request
        try:
            self._held.enter_context(self._run.claim(f"import request {request.key}"))
        except AlreadyRunning:
            return False
        if request.entry and self._run.dry_run:
            self.tally.note("a run that was interrupted has begun this request; the next one ends it")
            return False
        doc, mark = request.read(), request.mark
        if "refused" in request.entry:
            if doc and doc.get("modified") == request.entry["refused"]:
                self.tally.note("the site does not let it be taken, which was told to whoever asked")
                return False
            request.forget()
        elif request.entry and doc and (request.is_ours(doc) or request.was_told(doc) or request.take_back(doc)):
            self._taken = True
            self.tally.note(f"goes on with what run {request.entry['run']} began")
            return True
        elif request.entry:
            self._let_go(doc)
        if not doc or doc.get("status") != QUEUED:
            return False
        if str(doc.get("run") or "").endswith(AT_WORK) and doc["run"] != mark:
            self.tally.note(f"was queued again while another daemon works on it: {doc['run']}")
            return False
        request.entry = self._asked(doc)
        return self._run.dry_run or self._set_running(doc)

    def _asked(self, doc: dict[str, Any]) -> dict[str, Any]:
        flags = {"update": "update_existing", "submit": "submit_after_import", "dry_run": "dry_run"}
        texts = {"doctype": "reference_doctype", "file": "import_file", "key": "key_field"}
        asked = {key: bool(int(doc.get(name) or 0)) for key, name in flags.items()}
        return {
            "run": self._run.id,
            "name": doc["name"],
            "folder": f"{re.sub(r'[^A-Za-z0-9]', '_', str(doc['name']))[:60]}-{self._run.id}",
            "asked": asked | {key: str(doc.get(name) or "").strip() for key, name in texts.items()},
            "owner": str(doc["owner"]),
            "people": sorted({str(doc["owner"]), str(doc["modified_by"])}),
        }

    def _set_running(self, doc: dict[str, Any]) -> bool:
        self._request.note()
        fresh = {**dict.fromkeys(("progress", "rows_total", *COUNTED), 0), "error_message": "", "first_errors": ""}
        try:
            taken = self._request.set_running(doc, fresh)
        except PASSING:
            raise
        except SiteError as error:
            self._refused(doc, error)
            raise
        if not taken:
            self._forget()
            self.tally.note("somebody changed the request meanwhile; the next run looks at it again")
        self._taken = taken
        return taken

    def _refused(self, doc: dict[str, Any], error: SiteError) -> None:
        """The site does not let the request be saved, such as where a field of it was emptied: whoever asked is told
        once, for it says so itself nowhere."""
        numbers = dict.fromkeys(("rows_total", *COUNTED), 0)
        final = {"status": "Error", "error_message": self._public(error), "first_errors": "", **numbers}
        self._request.note(final=final)
        Telling(self._run, self._request, self.tally).tell()
        self._request.note(refused=doc["modified"])

    def _let_go(self, doc: dict[str, Any] | None) -> None:
        """Somebody took the request out of our hands: it was deleted, queued again, or its status was set by hand. What
        became of rows until then is attached to it all the same."""
        if doc and (file := self._request.entry.get("file")):
            self._attach(file)
        self._forget()

    def _fetch(self) -> None:
        """The attached file in a folder of its own. One that is there whole is kept: rows of it may be imported."""
        asked = self._entry["asked"]
        if not asked["doctype"]:
            raise Invalid("the request names no DocType")
        if self._job.doctypes and asked["doctype"] not in self._job.doctypes:
            raise NotPermitted(f"imports of {asked['doctype']} may not be asked for here", action=_RIGHT)
        self._refuse_file(asked["file"])
        folder = self._folder
        self._path = folder / _local(asked["file"])
        self._request.note(file=self._path.name)
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not self._path.exists():
                half = folder / "half"
                self._site.download(asked["file"], half, largest=self._job.max_size)
                self._refuse_file(asked["file"])  # what came is what the address meant in between
                half.replace(self._path)
        except OSError as error:
            raise OutputError(f"{self._path}: cannot be written: {error.strerror or error}") from None

    @property
    def _folder(self) -> Path:
        """Of this taking: a request that is queued again gets another, so that its file counts as new."""
        assert self._job.directory
        return self._job.directory / str(self._entry["folder"])

    @property
    def _entry(self) -> dict[str, Any]:
        return self._request.entry

    # Who may ask for it

    def _refuse_file(self, url: str) -> None:
        """A private file must have been uploaded by those who ask, whatever it is attached to: saving a document whose
        Attach field names somebody else's file attaches that file to it, unasked (core/doctype/file/utils.py:
        attach_files_to_document, seen on 15 and 16), and our own saving does so, too. Of several rows for one file the
        first is the upload. The site compares addresses as its collation does, without case (frappe/handler.py:
        download_file, too), so that two of them may be one to it. Raises Invalid, NotFound, NotPermitted."""
        if not url.startswith(("/files/", "/private/files/")):
            raise Invalid(f"{url or 'nothing'} is attached; attach a file of this site", action=_OWN)
        rows = self._site.get_list("File", ["owner", "file_url"], [["file_url", "=", url]], order_by="creation asc")
        if not any(row.get("file_url") == url for row in rows):
            raise NotFound(f"the site has no file {url}", action=_OWN)
        if other := next((row["file_url"] for row in rows if row.get("file_url") != url), None):
            why = f"the site takes {url} and {other} for one address, and would give out either"
            raise NotPermitted(why, action="Upload the file under another name, and make a new request.")
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
            self._rehearsed[fate.result] = self._rehearsed.get(fate.result, 0) + len(fate.draft.lines)
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
        percent = min(99.0, 100.0 * self._passed / max(1, self._survey.records))
        values = {"progress": round(percent, 1), **self._numbers()}
        try:
            self._site.update({"doctype": REQUESTS, "name": self._request.name, **values})
        except NotFound:
            self._request.read()  # it may have been renamed
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
            self._tell_whole()
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
            self._request.note(final=self._final())
        doc = self._request.read()
        attached = doc is None or "file" not in self._entry or self._attach(self._entry["file"])
        if doc is None:
            self.tally.note("the request was deleted while it was worked on")
        else:
            if not self._request.say(self._entry["final"]):
                self.tally.note("somebody queued the request again, or set its status, meanwhile: it stays as it is")
            Telling(self._run, self._request, self.tally).tell()
        self._forget(clear=attached)

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
        said = f"{text}. {getattr(error, 'action', '')}".removesuffix(" ")
        for theirs, ours in _WORDS.items():
            said = said.replace(theirs, ours)
        return said

    def _forget(self, *, clear: bool = True) -> None:
        if clear and "folder" in self._entry:
            _clear(self._folder)
        self._request.forget()

    def _attach(self, file: str) -> bool:
        """The result files, private. False where the site does not take one, which then stays on this machine."""
        well = True
        for ending in RESULTS:
            path = self._folder / (file + ending)
            if path.exists():
                name = f"{Path(file).stem[:60]}.{self._entry['run']}{ending}"
                try:
                    self._site.attach(path, REQUESTS, self._request.name, file_name=name)
                except (Transient, OutcomeUnknown):
                    raise
                except SiteError as error:
                    well = False
                    self.tally.note(f"{path} could not be attached: {error}")
        return well


_OWN = "Upload the file to a new request."
_RIGHT = "Ask an administrator of the site for that right, or somebody who has it to make the request."


_WORDS = {
    "and run the job again": "and make a new request",
    "Run the job again": "Make a new request",
    "or set mandatory = false where": "or ask whoever runs the daemon for mandatory = false where",
    "or set allow_read_only": "or ask whoever runs the daemon for allow_read_only",
    "or set ignore_unknown": "or ask whoever runs the daemon for ignore_unknown",
}
"""What is said to whoever runs the daemon → to somebody who has but a request."""


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
            delimiter = delimiter_of_ours(beside, column or "import_result") or ","
            for row in csv.DictReader(file, delimiter=delimiter):
                said = row.get(column) if column else row["import_result"] == "created" and row["import_note"]
                if said:
                    number += 1
                    yield _line(str(said))
                if number >= TOLD:
                    return


def _line(text: str) -> str:
    return " ".join(text.split())[:LONGEST]
