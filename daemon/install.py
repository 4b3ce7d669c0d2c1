"""`frappe-daemon install-service`: units of systemd, a configuration to begin with, and files for the key.

Writes these, and never over what somebody else wrote.

A unit carries a checksum of itself in its first line, so that a newer version can take the place of one that nobody
edited. Configuration and key files are made where there are none, and belong to their owner from then on.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from daemon.errors import OutputError, UsageError
from daemon.shipped import EXAMPLE, UNITS

UNIT_DIRECTORY, ETC, STATE = Path("/etc/systemd/system"), Path("/etc/frappe-daemon"), "/var/lib/frappe-daemon"
OLDEST, NOTIFY_RELOAD = 249, 253
"""Versions of systemd: the oldest that our units are for, and the first that knows Type=notify-reload."""
HIDDEN = ("/home/", "/root/", "/run/user/")
"""What ProtectHome=yes hides from the service."""
_INSTANCE = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
_MARK = re.compile(r"# sha256 ([0-9a-f]{64}): .*\n")
KEYS = ("api_key", "api_secret")


@dataclass(frozen=True, slots=True)
class Item:
    """A file of an installation."""

    path: Path
    content: str
    mode: int = 0o644

    @property
    def is_unit(self) -> bool:
        return self.path.is_relative_to(UNIT_DIRECTORY)


@dataclass(frozen=True, slots=True)
class Service:
    """What is installed: one service, or one instance of the template."""

    instance: str = ""

    @property
    def unit(self) -> str:
        """As systemctl is told it."""
        return f"frappe-daemon@{self.instance}" if self.instance else "frappe-daemon"

    @property
    def file(self) -> str:
        return "frappe-daemon@.service" if self.instance else "frappe-daemon.service"

    @property
    def etc(self) -> Path:
        return ETC / self.instance

    @property
    def state(self) -> str:
        return f"{STATE}-{self.instance}" if self.instance else STATE


def service(instance: str) -> Service:
    """Raises UsageError for a name that no unit, user and directory can have."""
    if instance and not _INSTANCE.fullmatch(instance):
        raise UsageError(f"--instance {instance!r}: use up to 40 small letters, digits, dashes and underscores")
    return Service(instance)


def items(wanted: Service, systemd: int, program: Path | None) -> list[Item]:
    """The files of an installation under systemd of this version (0: unknown) of the daemon in this directory."""
    unit = (UNITS / wanted.file).read_text(encoding="utf-8")
    if program is not None and str(program) not in _path_of(unit):
        unit = unit.replace("Environment=PATH=", f"Environment=PATH={program}:", 1)
    found = [Item(UNIT_DIRECTORY / wanted.file, _marked(unit))]
    if systemd >= NOTIFY_RELOAD:
        drop_in = (UNITS / "notify-reload.conf").read_text(encoding="utf-8")
        found.append(Item(UNIT_DIRECTORY / f"{wanted.file}.d" / "10-notify-reload.conf", _marked(drop_in)))
    found.append(Item(wanted.etc / "config.toml", _configuration(wanted)))
    return found + [Item(wanted.etc / key, "", 0o600) for key in KEYS]


def _path_of(unit: str) -> list[str]:
    found = re.search(r"^Environment=PATH=(.*)$", unit, re.MULTILINE)
    return found[1].split(":") if found else []


def _configuration(wanted: Service) -> str:
    """The annotated example, with the key where the unit hands it over and the state where it may write."""
    text = EXAMPLE.read_text(encoding="utf-8")
    for key in KEYS:
        text = re.sub(rf"^{key} = .*$", f'{key} = {{ credential = "{key}" }}', text, count=1, flags=re.MULTILINE)
    return text.replace(f"{STATE}/", f"{wanted.state}/")


def _marked(text: str) -> str:
    checksum = sha256(text.encode()).hexdigest()
    return f"# sha256 {checksum}: of what follows; install-service replaces it as long as nobody edits it.\n{text}"


def _is_untouched(text: str) -> bool:
    mark = _MARK.match(text)
    return bool(mark) and sha256(text[mark.end() :].encode()).hexdigest() == mark[1] if mark else False


def write(found: Iterable[Item], root: Path) -> Iterator[tuple[Path, str]]:
    """(file, what became of it) for each. Raises OutputError."""
    for item in found:
        path = root / item.path.relative_to("/")
        with _told(path):
            what = _write(item, path)
        yield path, what


def _write(item: Item, path: Path) -> str:
    there = _content(path)
    if there == item.content:
        return "is there already"
    if there is not None and not (item.is_unit and _is_untouched(there)):
        if item.path.name in KEYS:
            return "kept: it holds a key"
        return "kept: somebody edited it; --print shows what it would be" if item.is_unit else "kept: it is yours"
    for directory in [*reversed(path.parents), path.parent]:
        if not directory.exists():
            directory.mkdir()
            directory.chmod(0o755)  # whatever the umask: the service's user must get through
    draft = path.with_name(f".{path.name}.new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(item.content)
        os.fchmod(file.fileno(), item.mode)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    return "written" if there is None else "brought up to date"


def remove(found: Iterable[Item], root: Path) -> Iterator[tuple[Path, str]]:
    """Take away what nobody edited: units, a configuration as it was written, empty key files. Raises OutputError."""
    for item in reversed(list(found)):
        path = root / item.path.relative_to("/")
        with _told(path):
            there = _content(path)
            if there is None:
                continue
            if there == item.content or (item.is_unit and _is_untouched(there)):
                path.unlink()
                with suppress(OSError):  # others have files there
                    if path.parent not in (root / UNIT_DIRECTORY.relative_to("/"), root / "etc"):
                        path.parent.rmdir()
                yield path, "removed"
            else:
                yield path, "kept: it is yours"


def _content(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError:
        return "\0"  # nothing of ours


class _told:
    """Turns what the file system raises into an OutputError about `path`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError):
            where = error.filename or self._path
            action = "Run it as root; --print shows what would be written, --root DIR writes somewhere else."
            raise OutputError(f"{where}: {error.strerror or error}", action=action) from None


def systemd_version() -> int:
    """Of this machine; 0 where there is none."""
    try:
        said = subprocess.run(["systemctl", "--version"], capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return 0
    found = re.match(r"systemd (\d+)", said)
    return int(found[1]) if found else 0


def program() -> Path | None:
    """The directory of the command `frappe-daemon` of this installation."""
    directory = Path(sys.executable).parent
    return directory if (directory / "frappe-daemon").exists() else None


def concerns(systemd: int, program: Path | None) -> Iterator[str]:
    """What may keep the service from working on this machine."""
    if systemd == 0:
        yield "there is no systemctl here, so the version of systemd is unknown; the units are for 249 and newer"
    elif systemd < OLDEST:
        yield f"this is systemd {systemd}; the units are for {OLDEST} and newer"
    if program is None:
        yield "the command frappe-daemon is not beside this Python; put its directory into PATH= of the unit"
    elif f"{program}/".startswith(HIDDEN):
        yield f"{program} is hidden from the service by ProtectHome=yes; install frappe-daemon under /opt"


def next_steps(wanted: Service) -> list[str]:
    """What a person does after writing."""
    etc = wanted.etc
    return [
        f"Put key and secret of the site's user into {etc}/api_key and {etc}/api_secret; root alone reads them.",
        f"Edit {etc}/config.toml: at least site.url and the jobs.",
        f"sudo env CREDENTIALS_DIRECTORY={etc} frappe-daemon check --config {etc}/config.toml",
        "sudo systemctl daemon-reload",
        f"sudo systemctl enable --now {wanted.unit}",
    ]
