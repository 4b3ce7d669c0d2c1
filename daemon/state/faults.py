"""What goes wrong with a database, in sentences for the person who can mend it. Reads and writes nothing."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as NoConnectionFree

from daemon.errors import Exit, StateError, StateUnavailable

_ANOTHER_FILE = "Move the file away or name another one in [state] path; the daemon then starts with an empty memory."

_SENTENCES: dict[str, tuple[str, str]] = {
    "SQLITE_NOTADB": ("is no SQLite database", _ANOTHER_FILE),
    "SQLITE_CORRUPT": (
        "is damaged",
        "Restore it from a backup, or let `sqlite3 <file> .recover` save what can be read; or move it away.",
    ),
    "SQLITE_FULL": ("cannot grow: the disk is full", "Free some space on the disk that holds it."),
    "SQLITE_READONLY": ("cannot be written", "Make the file and its directory writable for the daemon's user."),
    "SQLITE_CANTOPEN": ("cannot be opened", "Make the file and its directory writable for the daemon's user."),
    "SQLITE_PERM": ("may not be opened", "Make the file and its directory writable for the daemon's user."),
    "SQLITE_BUSY": (
        "has been locked by another process for too long",
        "Find out who holds it (`fuser <file>`): a backup, an open sqlite3 shell, another daemon.",
    ),
    "SQLITE_IOERR": ("cannot be read or written: the disk reports an error", "Look at the disk and its free space."),
}
"""By SQLite's result code; an extended code, such as SQLITE_IOERR_WRITE, counts as the one that it begins with."""
_EMPTIED = ("SQLITE_FULL", "SQLITE_BUSY")
"""What may have passed when the service is started again."""

_RIGHTS = (
    "Make the daemon's user the owner of its database (ALTER DATABASE … OWNER TO …), or let it make tables in the "
    "schema (GRANT USAGE, CREATE ON SCHEMA public TO …)."
)
_WHO = "Check the user in state.url, the secret that state.password names, and pg_hba.conf on the server."
_CREATE = "Name the right one in state.url, or have it made: createdb --owner=USER --encoding=UTF8 DATABASE."
_TLS = "Set sslmode and sslrootcert in state.url, or mend the server's certificate."

_REFUSED: dict[str, tuple[str, str]] = {
    "28": ("refuses our user or password", _WHO),
    "3D000": ("is not there", _CREATE),
    "3F000": ("has no schema that we could work in", _RIGHTS),
    "42501": ("does not permit it", _RIGHTS),
    "42P01": ("has lost a table of ours", "Restore it from a backup, or let the daemon start with an empty one."),
    "42703": ("has lost a column of ours", "Restore it from a backup, or let the daemon start with an empty one."),
    "53100": ("cannot grow: the disk of its server is full", "Free some space on the disk of the server."),
    "54000": ("cannot hold a key that long", "Shorten the name or id that the run's last lines are about."),
    "XX001": ("is damaged", "Restore it from a backup."),
    "XX002": ("is damaged", "Restore it from a backup."),
}
"""By SQLSTATE (PostgreSQL, appendix A) or its class: what somebody must mend."""

_PASSING: dict[str, str] = {
    "08": "has lost its connection",
    "25006": "can only be read: the server is a standby",
    "25P03": "ended what we had begun: this process stood still",
    "53": "is out of means",
    "55P03": "is locked by somebody else for too long",
    "57014": "took too long",
    "57": "is being shut down, or started",
    "58": "meets an error of its server's system",
}
"""Likewise: what may pass."""

_WORDS: tuple[tuple[str, str], ...] = (
    ("password", "28"),
    ("pg_hba.conf", "28"),
    ("authentication failed", "28"),
    ('role "', "28"),
    ('database "', "3D000"),
    ("permission denied", "42501"),
    ("SSL", "TLS"),
    ("certificate", "TLS"),
    ("hot standby mode is disabled", "57"),
    ("read-only", "25006"),
)
"""libpq keeps the SQLSTATE of a refused connection to itself, so that its English words have to tell; in another
language the sentence is the server's own."""


class Collided(StateUnavailable):
    """Two wrote at once, and the database undid what we did: the same may be done again."""


Fault = Callable[[str, DBAPIError], StateError]
"""(where, error) → what it means."""


@contextmanager
def told(where: str, fault: Fault) -> Iterator[None]:
    """Turn what the database or the file system raise within the block into a StateError about `where`."""
    try:
        yield
    except OSError as error:
        fault_ = StateError(f"{where} cannot be used: {_os_reason(error)}", action=_os_action(error))
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            fault_.exit_code = Exit.SITE_UNAVAILABLE
        raise fault_ from error
    except DBAPIError as error:
        raise fault(where, error) from error
    except NoConnectionFree as error:
        raise StateUnavailable(f"{where} is too slow: no connection became free") from error
    except ValueError as error:
        raise StateError(f"{where} holds what no frappe-daemon wrote: {error}") from error
    except SQLAlchemyError as error:
        raise StateError(f"{where} cannot be used: {error}") from error


def of_sqlite(where: str, error: DBAPIError) -> StateError:
    code = getattr(error.orig, "sqlite_errorname", "")
    for plain, (what, action) in _SENTENCES.items():
        if code == plain or code.startswith(plain + "_"):
            found = StateError(f"{where} {what}", action=action)
            if plain in _EMPTIED:
                found.exit_code = Exit.SITE_UNAVAILABLE
            return found
    return StateError(f"{where} cannot be used: {error.orig}")


def of_postgresql(where: str, error: DBAPIError) -> StateError:
    said = " ".join(str(error.orig).split())
    code = getattr(error.orig, "sqlstate", None) or _code_in(said)
    if code in ("40001", "40P01"):
        return Collided(f"{where} undid what was written, since others wrote at the same time")
    if code == "TLS":
        return StateError(f"{where} cannot be reached safely: {said}", action=_TLS)
    for known in (code, code[:2]):
        if known in _REFUSED:
            what, action = _REFUSED[known]
            return StateError(f"{where} {what}: {said}", action=action)
        if known in _PASSING:
            return StateUnavailable(f"{where} {_PASSING[known]}: {said}")
    if not code or error.connection_invalidated:
        return StateUnavailable(f"{where} cannot be reached: {said}")
    return StateError(f"{where} cannot be used: {said} (SQLSTATE {code})")


def _code_in(said: str) -> str:
    return next((code for words, code in _WORDS if words in said), "")


def _os_reason(error: OSError) -> str:
    where = f" ({error.filename})" if error.filename else ""
    return f"{error.strerror or error}{where}"


def _os_action(error: OSError) -> str:
    if isinstance(error, PermissionError):
        return "Make the directory writable for the daemon's user, or name another one in [state] path."
    return "Check [state] path, its directory and the free space of its disk."
