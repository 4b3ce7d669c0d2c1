"""What goes wrong with a database, in sentences for the person who can mend it. Reads and writes nothing."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from daemon.errors import Exit, StateError

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
_PASSING = ("SQLITE_FULL", "SQLITE_BUSY")
"""What may have passed when the service is started again."""


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Turn what the database or the file system raise within the block into a StateError about `path`."""
    try:
        yield
    except OSError as error:
        fault = StateError(f"the state database {path} cannot be used: {_os_reason(error)}", action=_os_action(error))
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            fault.exit_code = Exit.SITE_UNAVAILABLE
        raise fault from error
    except DBAPIError as error:
        raise _fault(path, error) from error
    except ValueError as error:
        raise StateError(f"the state database {path} holds what no frappe-daemon wrote: {error}") from error
    except SQLAlchemyError as error:
        raise StateError(f"the state database {path} cannot be used: {error}") from error


def _fault(path: Path, error: DBAPIError) -> StateError:
    code = getattr(error.orig, "sqlite_errorname", "")
    for plain, (what, action) in _SENTENCES.items():
        if code == plain or code.startswith(plain + "_"):
            fault = StateError(f"the state database {path} {what}", action=action)
            if plain in _PASSING:
                fault.exit_code = Exit.SITE_UNAVAILABLE
            return fault
    return StateError(f"the state database {path} cannot be used: {error.orig}")


def _os_reason(error: OSError) -> str:
    where = f" ({error.filename})" if error.filename else ""
    return f"{error.strerror or error}{where}"


def _os_action(error: OSError) -> str:
    if isinstance(error, PermissionError):
        return "Make the directory writable for the daemon's user, or name another one in [state] path."
    return "Check [state] path, its directory and the free space of its disk."
