"""The error tree: every error says what happened, and its class says who must act.

Reads and writes nothing. A command ends with the `exit_code` of the error that stopped it, or of the worst outcome that
a run met. The numbers 75, 77 and 78 are EX_TEMPFAIL, EX_NOPERM and EX_CONFIG of sysexits.h(3head), which systemd's
`RestartPreventExitStatus=` can name.
"""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """What the process tells its caller."""

    DONE = 0
    SOME_FAILED = 1
    USAGE = 2
    SITE_UNAVAILABLE = 75
    CREDENTIALS_REFUSED = 77
    CONFIGURATION = 78


class DaemonError(Exception):
    """A condition that is not a bug of ours. `str()` is one whole sentence for the person named by `who`."""

    who = "operator"
    exit_code: Exit = Exit.SOME_FAILED
    action = "Read the message, mend its cause and run the job again."
    lasting = False
    """Trying again by itself would end the same way: somebody must mend something first."""

    def __init__(self, message: str, *, action: str | None = None) -> None:
        super().__init__(message)
        if action is not None:
            self.action = action

    @property
    def kind(self) -> str:
        """The name under which reports count errors of this class."""
        return type(self).__name__

    @property
    def said(self) -> str:
        """The sentence for those who know documents and no requests."""
        return str(self)


class UsageError(DaemonError):
    """The command line asks for something that does not exist, such as an unknown job."""

    exit_code = Exit.USAGE
    action = "Correct the command; `frappe-daemon --help` lists what there is."


class ConfigError(DaemonError):
    """The configuration cannot be used; `problems` holds every one found, worded for a person."""

    exit_code = Exit.CONFIGURATION
    action = "Edit the configuration file; `frappe-daemon check --offline` reads it again."

    def __init__(self, message: str, problems: tuple[str, ...] = (), *, action: str | None = None) -> None:
        super().__init__(message, action=action)
        self.problems = problems


class StateError(DaemonError):
    """What the daemon remembers cannot be opened, read or written."""

    exit_code = Exit.CONFIGURATION
    action = "Check path, owner and free space of the state database named by [state] path."


class StateInUse(StateError):
    """Another service works with this state, which is for one."""

    action = "Stop the other one, or give this one a state of its own; only a state on PostgreSQL serves several."


class StateUnavailable(StateError):
    """The database of the state is away for now, or gave what we held to somebody else meanwhile."""

    exit_code = Exit.SITE_UNAVAILABLE
    action = "Nothing, if it passes; otherwise look at the database server that state.url names, and the way there."


class ArchiveError(DaemonError):
    """Rows could not be put into their archive, so none of them was deleted."""

    action = "Check the archive directory: owner, free space."


class OutputError(DaemonError):
    """A file or stream that somebody asked for cannot be written. What was done until then is done and reported."""

    action = "Check the file, its owner and the free space of its disk, and run the command again."


class TemplateProblem(DaemonError):
    """A template of a mail cannot be used, or does not end; nothing was sent of it."""

    lasting = True
    action = "Mend the template; `frappe-daemon digest JOB --preview out.html` shows what it makes."


class FileProblem(DaemonError):
    """A table file cannot be read as it is. `line` is the file's own line or row, 0 where the whole file is meant;
    `column` is a header or a column letter, "" where the whole line is."""

    action = "Mend the file, or have whoever made it write it anew, and run the job again."

    def __init__(
        self, message: str, *, path: str = "", line: int = 0, column: str = "", action: str | None = None
    ) -> None:
        super().__init__(message, action=action)
        self.path = path
        self.line = line
        self.column = column


class ResultFileError(DaemonError):
    """The outcome of rows could not be written beside the file that they came from."""

    action = "Check the folder of the result file: owner, free space."


class ClockSkew(DaemonError):
    """This machine's clock and the site's differ so much that no age can be trusted. Nothing was changed."""

    action = "Set the clock of this machine, or of the site's server, right (NTP)."


class NothingRemovable(DaemonError):
    """Of a whole page of rows none could be deleted, all for one reason, `cause`; trying the rest would be the same."""

    def __init__(self, message: str, cause: SiteError | None = None) -> None:
        super().__init__(message, action=cause.action if cause else None)
        self.cause = cause
        if cause:
            self.who = cause.who


class NothingCreated(DaemonError):
    """Each of the first rows of an import was refused, all for one reason; trying the rest would be the same."""

    def __init__(self, message: str, cause: DaemonError | None = None) -> None:
        super().__init__(message, action=cause.action if cause else None)
        self.cause = cause
        if cause:
            self.who = cause.who


class SyncStopped(DaemonError):
    """A sync looks as if one side, or the configuration, were not what it was. Nothing was changed."""


class Stopped(DaemonError):
    """The run was asked to stop, or passed its deadline; what it did is done, the rest waits for the next slot."""

    who = "nobody"
    action = "Nothing: the next run goes on from here."


class TimedOut(Stopped):
    """The run passed its `timeout`."""

    who = "operator"
    action = "Nothing, if it is once: the next run goes on from here. Raise `timeout` if it happens every time."


class KeptCrashing(DaemonError):
    """The process died in each of the last runs for this slot, so it was given up: the next slot is tried again."""

    action = "Read the log before each `run.interrupted`, and the kernel's (out of memory?); then run the job by hand."


class SiteError(DaemonError):
    """A reply of the site that is not success. Carries what the site said.

    `status` is the HTTP status (0 when no reply came), `exc_type` Frappe's exception class where it was sent,
    `request` the method and path, never a query, a body or a header.
    """

    action = "Read the site's message; its Error Log may say more."

    def __init__(
        self, message: str, *, status: int = 0, exc_type: str = "", request: str = "", action: str | None = None
    ) -> None:
        super().__init__(message, action=action)
        self.status = status
        self.exc_type = exc_type
        self.request = request

    @property
    def kind(self) -> str:
        return self.exc_type or type(self).__name__

    @property
    def said(self) -> str:
        return str(self).removeprefix(f"{self.request}: ") if self.request else str(self)


class AlreadyRunning(DaemonError):
    """Another run of this job, in this or another process, has not ended."""

    who = "nobody"
    exit_code = Exit.SITE_UNAVAILABLE
    action = "Nothing: wait until it ends; `frappe-daemon history` shows it."


class SlotSettled(DaemonError):
    """The slot that a run was for has been dealt with by another run."""

    who = "nobody"
    action = "Nothing."


class Transient(SiteError):
    """The site could not do it now and says that nothing was done: the same request may be sent again."""

    who = "nobody"
    exit_code = Exit.SITE_UNAVAILABLE
    action = "Nothing, if it passes; otherwise look at the site's workers and its database."

    def __init__(
        self,
        message: str,
        *,
        status: int = 0,
        exc_type: str = "",
        request: str = "",
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, status=status, exc_type=exc_type, request=request)
        self.retry_after = retry_after
        """Seconds that the site asked us to wait, or None."""

    @property
    def site_wide(self) -> bool:
        """Any other request would have met this too."""
        return self.status in (502, 503, 504)


class Throttled(Transient):
    """429: the site's rate limit is used up, or 503: its queues are full."""

    action = "Nothing: we slow down. Lower site.concurrency or raise the site's rate limit if it lasts."


class Unreachable(Transient):
    """No connection, or none that lasted: wrong address, DNS, a firewall, a stopped or restarting server."""

    @property
    def site_wide(self) -> bool:
        return True

    who = "operator"
    action = "Check site.url, DNS, firewall and that the site's web server runs."


class UntrustedCertificate(SiteError):
    """TLS verification failed; sending the key would have been unsafe, so nothing was sent."""

    exit_code = Exit.SITE_UNAVAILABLE
    action = "Name the authority's certificate in site.ca_file, or mend the site's certificate."


class SiteDown(Transient):
    """The circuit breaker is open: the site failed so often in a row that the run ends early."""

    action = "Look at the site first; the next slot tries again."


class OutcomeUnknown(SiteError):
    """A write was sent and no reply came, so the site may or may not have done it. Never re-sent blindly."""

    who = "nobody"
    action = "Nothing: the job looks up what happened before it writes again."


class NotFrappe(SiteError):
    """The reply is no Frappe answer: HTML or another API where JSON of Frappe was expected."""

    exit_code = Exit.SITE_UNAVAILABLE
    action = "Check site.url (and site.site_name): the address of the Frappe site itself, without /app or /api."


class CredentialsRefused(SiteError):
    """401: the key or secret is wrong, expired, or its user disabled."""

    exit_code = Exit.CREDENTIALS_REFUSED
    action = "Generate new API keys for the user on the site and put them where site.api_key and site.api_secret point."


class NotPermitted(SiteError):
    """403: this user may not do this (or no credentials reached Frappe at all)."""

    who = "site administrator"
    action = "Give the daemon's user a role that may do this, or use the key of a user who may."


class NotFound(SiteError):
    """404: there is no such document, DocType or method."""

    lasting = True
    who = "document owner"
    action = "Check the DocType and the name; the document may have been deleted or renamed."


class AlreadyExists(SiteError):
    """409, or 417 UniqueValidationError: a document with this name or unique value is there."""

    who = "document owner"
    action = "Use another name or unique value, or update the document that is there."


class StaleDocument(SiteError):
    """417 TimestampMismatchError: somebody saved the document after we read it. Nothing was changed."""

    who = "nobody"
    action = "Nothing: it is read again and decided anew."


class InUse(SiteError):
    """417 LinkExistsError: other documents link to this one, so it cannot be deleted or cancelled."""

    who = "document owner"
    action = "Delete or unlink what refers to it first, or leave it."


class Invalid(SiteError):
    """Frappe's validation refused the document or the arguments (417 and its relatives)."""

    lasting = True
    who = "document owner"
    action = "Correct the values that the message names."


class TooLarge(Invalid):
    """413: the request is larger than the site or its proxy takes."""

    who = "site administrator"
    action = "Raise max_file_size and the proxy's body limit, or make the job's batches smaller."


class NotConfigured(SiteError):
    """501: the site lacks a setting that the request needs, such as an outgoing Email Account."""

    who = "site administrator"
    action = "Set up what the message names on the site."


class ServerBug(SiteError):
    """500 and not known to be transient: an exception on the site that a retry will not mend."""

    who = "programmer"
    action = "Look into the site's Error Log; a customisation or an app on the site raised it."


class RemoteError(DaemonError):
    """A reply of another API, the remote side of a sync, that is not success. The message names the API by its host.

    `status` is the HTTP status (0 when no reply came), `request` the method and path, never a query, a body, a header.
    """

    who = "remote administrator"
    action = "Read the message; whoever runs the API may know more."

    def __init__(self, message: str, *, status: int = 0, request: str = "", action: str | None = None) -> None:
        super().__init__(message, action=action)
        self.status = status
        self.request = request


class RemoteTransient(RemoteError):
    """The API could not do it now and nothing was done: the same request may be sent again."""

    who = "nobody"
    exit_code = Exit.SITE_UNAVAILABLE
    action = "Nothing, if it passes; otherwise ask whoever runs the API."

    def __init__(
        self,
        message: str,
        *,
        status: int = 0,
        request: str = "",
        action: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, status=status, request=request, action=action)
        self.retry_after = retry_after
        """Seconds that the API asked us to wait, or None."""

    @property
    def remote_wide(self) -> bool:
        """Any other request would have met this too."""
        return self.status in (502, 503, 504)


class RemoteThrottled(RemoteTransient):
    """429: the API's rate limit is used up, or 503: it takes no requests now."""

    action = "Nothing: we slow down. Set the job's api.per_second to what the API allows if it lasts."


class RemoteFailed(RemoteTransient):
    """A 5xx of the API or of a proxy before it; whether a write was done before, nobody knows."""

    who = "remote administrator"
    action = "Show the message to whoever runs the API, unless it passes."


class RemoteUnreachable(RemoteTransient):
    """No connection to the API, or none that lasted."""

    who = "operator"
    action = "Check the job's api.url, DNS and firewall, and that the API is up."

    @property
    def remote_wide(self) -> bool:
        return True


class RemoteDown(RemoteTransient):
    """The API failed or refused us in a way that any request would meet, so this run asks it no more."""

    action = "Look at the API first; the next slot tries again."


class RemoteUntrusted(RemoteError):
    """TLS verification failed; sending the secret would have been unsafe, so nothing was sent."""

    who = "operator"
    exit_code = Exit.SITE_UNAVAILABLE
    action = "Name the authority's certificate in the job's api.ca_file, or have the API's certificate mended."


class RemoteOutcomeUnknown(RemoteError):
    """A write was sent and its fate is open: the API may or may not have done it. Never re-sent blindly."""

    who = "nobody"
    action = "Nothing: the job looks up what happened before it writes again."


class RemoteRefused(RemoteError):
    """400, 422 and their relatives, or a 2xx that says it failed: the API does not take this record."""

    who = "document owner"
    action = "Correct the values that the message names."


class RemoteNotFound(RemoteError):
    """404 or 410: the API has no such record (or no such address)."""

    who = "document owner"
    action = "Nothing, if the record was deleted there; otherwise check the paths in the job's api settings."


class RemoteConflict(RemoteError):
    """409 to a create: the API holds a record of this key already."""

    who = "document owner"
    action = "Find the record that is there; it may need to be linked, or be given another key."


class RemoteStale(RemoteError):
    """412, or 409 to an update or deletion: somebody changed the record after we read it. Nothing was changed."""

    who = "nobody"
    action = "Nothing: it is read again and decided anew."


class RemoteCredentialsRefused(RemoteError):
    """401: the secret is wrong, expired or revoked."""

    who = "operator"
    exit_code = Exit.CREDENTIALS_REFUSED
    action = "Have the API issue new credentials and put them where the job's api.auth points."


class RemoteNotPermitted(RemoteError):
    """403: our user of the API may not do this."""

    action = "Have whoever runs the API allow it to the user whose secret api.auth names."


class RemoteMisused(RemoteError):
    """The request is not one that the API takes: a wrong method, address or format, or a condition that it demands."""

    who = "operator"
    action = "Compare the job's api settings with the API's documentation."


class RemoteMalformed(RemoteError):
    """A record of the API cannot be told: no id, an id of a wrong type, or a time that cannot be read."""

    action = "Check api.record in the job's settings; if they are right, show the record to whoever runs the API."


class RemoteListBroken(RemoteError):
    """The API's list does not end, comes round to a page that was read, or leads elsewhere: it cannot be trusted."""

    who = "operator"
    action = "Compare the job's api.list with the API's documentation, its paging first."


class NotTheApi(RemoteError):
    """The reply is not what the API answers with: HTML, broken JSON, or JSON of another shape."""

    who = "operator"
    exit_code = Exit.SITE_UNAVAILABLE
    action = "Check the job's api.url and the paths in its api settings."
