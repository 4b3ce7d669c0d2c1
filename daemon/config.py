"""config.toml, typed: every problem at once, with the file, the key's path, the value and a suggestion.

Reads the file, the environment and the secrets that it names; nothing else in this package reads the environment.
"""

from __future__ import annotations

import os
import re
import stat
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from importlib import import_module
from keyword import iskeyword
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType
from typing import Annotated, Any, Literal, get_args
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from daemon.core.settings import FilePath, JobSettings, Model, PositiveDuration, SecretText, did_you_mean
from daemon.errors import ConfigError, UsageError
from daemon.schedule import Schedule

LARGEST = 10 << 20
"""Bytes of a configuration that are read."""
VARIABLE = "FRAPPE_DAEMON_CONFIG"
PLACES = (Path("config.toml"), Path("/etc/frappe-daemon/config.toml"))


def _site_url(value: str) -> str:
    parts = urlsplit(value)
    if not value.isprintable() or " " in value or parts.port == 0:  # `port` itself raises ValueError beyond 65535
        raise ValueError("holds a character or a port that no address has")
    (parts.hostname or "").encode("idna")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError('is the site\'s address, such as "https://erp.example.com"')
    if parts.username or parts.password:
        raise ValueError("must not hold a user or password; name the key in site.api_key and site.api_secret")
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError(f'ends after the host; write "{parts.scheme}://{parts.netloc}"')
    return f"{parts.scheme}://{parts.netloc}"


def _header(value: str) -> str:
    if not (value.isascii() and value.isprintable()):
        raise ValueError("is sent as a header, so it holds printable ASCII characters alone")
    return value


class TimeoutSettings(Model):
    """How long one request may take, by phase."""

    connect: PositiveDuration = timedelta(seconds=10)
    read: PositiveDuration = timedelta(seconds=130)
    write: PositiveDuration = timedelta(seconds=60)
    pool: PositiveDuration = timedelta(seconds=60)


class RetrySettings(Model):
    """How patient one request is while the site cannot answer."""

    attempts: Annotated[int, Field(ge=1, le=100)] = 8
    total: PositiveDuration = timedelta(minutes=2)


class SiteSettings(Model):
    """The Frappe site."""

    url: Annotated[str, AfterValidator(_site_url)]
    api_key: SecretText
    api_secret: SecretText
    site_name: Annotated[str, AfterValidator(_header)] = ""
    """Sent as X-Frappe-Site-Name, where the address alone does not tell which site of a bench is meant."""
    verify: bool = True
    ca_file: FilePath | None = None
    concurrency: Annotated[int, Field(ge=1, le=32)] = 4
    """Requests under way at once, at the most."""
    timeouts: TimeoutSettings = TimeoutSettings()
    retry: RetrySettings = RetrySettings()


class StateSettings(Model):
    """What the daemon remembers."""

    path: FilePath = Path("/var/lib/frappe-daemon/state.db")
    keep_runs: PositiveDuration = timedelta(days=180)


class LogSettings(Model):
    """The daemon's own log, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "console", "json"] = "auto"


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (LookupError, ValueError, OSError):
        raise ValueError('is no time zone of the IANA database, such as "Europe/Berlin"') from None
    return value


class ScheduleSettings(Model):
    """How schedules are read."""

    time_zone: Annotated[str, AfterValidator(_zone)] | None = None
    """None: the site's."""


class Sections(Model):
    """The file without its jobs."""

    site: SiteSettings
    state: StateSettings = StateSettings()
    log: LogSettings = LogSettings()
    schedule: ScheduleSettings = ScheduleSettings()


@dataclass(frozen=True, slots=True)
class Job:
    """One [jobs.<name>] section, with the module that is its kind."""

    name: str
    kind: ModuleType
    settings: Any
    schedule: Schedule


@dataclass(frozen=True, slots=True)
class Config:
    """A configuration without problems."""

    path: Path
    site: SiteSettings
    state: StateSettings
    log: LogSettings
    schedule: ScheduleSettings
    jobs: Mapping[str, Job] = field(default_factory=dict)


def find(named: Path | None, environ: Mapping[str, str] = os.environ) -> Path:
    """The file to load: as named on the command line, else by the environment, else the first that exists.

    Raises ConfigError where there is none.
    """
    if named is not None:
        return named
    if environ.get(VARIABLE):
        return Path(environ[VARIABLE])
    for place in PLACES:
        if place.exists():
            return place
    raise ConfigError(
        f"no configuration: neither --config nor ${VARIABLE} names one, nor is there {' or '.join(map(str, PLACES))}",
        action="Copy the example config.toml to one of these places and edit it.",
    )


def load(
    path: Path,
    environ: Mapping[str, str] = os.environ,
    *,
    replace: Mapping[str, Any] | None = None,
    secrets: bool = True,
    jobs: bool = True,
) -> Config:
    """The configuration in `path`. `replace` puts other tables in the place of whole sections (the demo's own site).

    `secrets` False: those that are not there are left empty, for a command that shows what is known and asks nobody.
    A systemd credential, for one, is there for the service alone. `jobs` False: there need be none, for a command that
    brings its own.

    Raises ConfigError with every problem found.
    """
    raw = _read(path)
    raw.update(replace or {})
    context = {"resolve": _Secrets(environ, path.parent, secrets), "beside": path.parent}
    problems: list[str] = []
    sections_of_jobs = raw.pop("jobs", {})
    sections = _validated(Sections, raw, "", context, problems)
    found = list(_jobs(sections_of_jobs, context, problems)) if jobs or sections_of_jobs else []
    if problems or sections is None:
        count = "one problem" if len(problems) == 1 else f"{len(problems)} problems"
        raise ConfigError(f"{path}: {count}", tuple(f"{path}: {problem}" for problem in problems))
    by_name = {job.name: job for job in found}
    return Config(path, sections.site, sections.state, sections.log, sections.schedule, by_name)


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            text = file.read(LARGEST).decode()
    except OSError as error:
        action = "Name another file, or copy the example config.toml there and edit it."
        raise ConfigError(f"{path}: cannot be read: {error.strerror}", action=action) from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text (byte {error.start})") from None
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: is not TOML: {error}") from None
    except RecursionError:
        raise ConfigError(f"{path}: is nested too deeply") from None


_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def _jobs(raw: Any, context: Mapping[str, Any], problems: list[str]) -> Iterator[Job]:
    if not isinstance(raw, dict) or not raw:
        problems.append("jobs: there is no job; add a section such as [jobs.maintenance]")
        return
    for name, table in raw.items():
        path = f"jobs.{name}"
        if not _NAME.fullmatch(name):
            problems.append(f"{path}: a job's name is made of letters, digits, dots, dashes and underscores")
        if not isinstance(table, dict):
            problems.append(f"{path} = {table!r}: a job is a section: [{path}]")
            continue
        kind = _kind(table.get("kind"), path, problems)
        settings = _validated(kind.Settings if kind else _AnyJob, table, path, context, problems)
        schedule = _schedule(table.get("schedule"), path, problems)
        if kind and settings and schedule:
            yield Job(name, kind, settings, schedule)


def one_job(name: str, kind: str, settings: Mapping[str, Any]) -> Job:
    """A job that the command line describes. Raises UsageError with all that is wrong."""
    module, problems = module_of(kind), list[str]()
    table = {"kind": kind, "schedule": "yearly", **settings}
    found = _validated(module.Settings, table, "", {}, problems)
    if problems:
        raise UsageError("; ".join(problems))
    return Job(name, module, found, Schedule.parse("yearly"))


class _AnyJob(JobSettings):
    """Checks what all jobs have, where the kind is unknown."""

    model_config = ConfigDict(extra="ignore")


def kinds() -> list[str]:
    """Names of all kinds: the modules of daemon/jobs/."""
    jobs = import_module("daemon.jobs")
    names = (module.name for module in iter_modules(jobs.__path__) if not module.name.startswith("_"))
    return sorted(name.rstrip("_") for name in names)  # import_.py: Python keeps the word itself


def module_of(kind: str) -> ModuleType:
    """The module that is `kind`."""
    return import_module(f"daemon.jobs.{kind}{'_' if iskeyword(kind) else ''}")


def _kind(name: Any, path: str, problems: list[str]) -> ModuleType | None:
    if not isinstance(name, str):
        return None  # pydantic says so
    if name not in kinds():
        known = kinds()
        hint = f"{did_you_mean(name, known)} (there are: {', '.join(known)})"
        problems.append(f'{path}.kind = "{name}": there is no such kind{hint}')
        return None
    return module_of(name)


def _schedule(text: Any, path: str, problems: list[str]) -> Schedule | None:
    if not isinstance(text, str):
        return None
    try:
        return Schedule.parse(text)
    except ValueError as error:
        problems.append(f'{path}.schedule = "{text}": {error}')
        return None


def _validated(
    model: type[Any], table: Mapping[str, Any], path: str, context: Mapping[str, Any], problems: list[str]
) -> Any:
    try:
        return model.model_validate(table, context=context)
    except ValidationError as error:
        problems.extend(_problem(model, detail, path) for detail in error.errors(include_url=False))
        return None


def _problem(model: type[BaseModel], detail: Mapping[str, Any], path: str) -> str:
    """One sentence of pydantic's, as a person who never heard of pydantic wants it."""
    location = [part for part in detail["loc"] if not (isinstance(part, str) and part.startswith("function-"))]
    key = _key_path(path, location)
    value = detail["input"]
    match detail["type"]:
        case "extra_forbidden":
            return f"{key}: unknown key{did_you_mean(str(location[-1]), _keys(model, location[:-1]))}"
        case "missing" if _is_section(model, location):
            return f"{key}: this section is missing; add [{key}]"
        case "missing":
            return f"{key}: is missing"
        case "value_error":
            text = str(detail["ctx"]["error"])
        case "literal_error":
            allowed = detail["ctx"]["expected"]
            text = f"must be one of {allowed}" + did_you_mean(str(value), re.findall(r"'([^']*)'", allowed))
        case _:
            text = re.sub("valid dictionary( or instance of .*)?", "table", detail["msg"])
            text = (text[:1].lower() + text[1:]).replace("input should", "should")
    shown = "" if _is_secret(model, location) or isinstance(value, dict) else f" = {_toml(value)}"
    return f"{key}{shown}: {text}"


def _toml(value: Any) -> str:
    """`value` about as it stands in the file, cut short, and without the user and password of an address."""
    if isinstance(value, str):
        value = re.sub(r"//.*@", "//…@", value)
    text = f'"{value}"' if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 80 else text[:79] + "…"


def _key_path(path: str, location: Sequence[Any]) -> str:
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    return path


def _field_type(model: Any, location: Sequence[Any]) -> Any:
    """The annotation that stands at `location` below `model`, or None."""
    for part in location:
        if isinstance(part, int):
            model = next(iter(get_args(model)), None)
        else:
            fields = getattr(_model_in(model), "model_fields", {})
            model = fields[part].annotation if part in fields else None
        if model is None:
            return None
    return model


def _model_in(annotation: Any) -> Any:
    """The model in an annotation such as `Model`, `Model | None` or `list[Model]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _model_in(part)) is not None), None)


def _keys(model: type[BaseModel], location: Sequence[Any]) -> list[str]:
    found = _model_in(_field_type(model, location))
    keys = list(found.model_fields) if found else []
    return [*keys, "jobs"] if found is Sections else keys


def _is_section(model: type[BaseModel], location: Sequence[Any]) -> bool:
    annotation = _field_type(model, location)
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _is_secret(model: type[BaseModel], location: Sequence[Any]) -> bool:
    from daemon.core.settings import Secret

    annotation = _field_type(model, location)
    return annotation is Secret or Secret in get_args(annotation)


class _Secrets:
    """Reads a secret from where its reference says (systemd.exec(5), LoadCredential=, for the last)."""

    def __init__(self, environ: Mapping[str, str], beside: Path, needed: bool) -> None:
        self._environ, self._beside, self._needed = environ, beside, needed

    def __call__(self, reference: Mapping[str, str]) -> str:
        try:
            return self._read(reference)
        except ValueError:
            if self._needed:
                raise
            return ""

    def _read(self, reference: Mapping[str, str]) -> str:
        ((key, name),) = reference.items()
        value = self._environ.get(name, "") if key == "env" else self._from_file(key, name)
        if not value.strip():
            where = f"environment variable {name}" if key == "env" else f"{key} {name}"
            raise ValueError(f"the secret is not there: {where} is {'not set or ' if key == 'env' else ''}empty")
        if not value.strip().isprintable():
            raise ValueError(f"{key} {name} holds more than one line, so it is no key or secret")
        return value.strip()

    def _from_file(self, key: str, name: str) -> str:
        try:
            path = self._beside / Path(name).expanduser()
        except RuntimeError:
            raise ValueError(f"{name.split('/')[0]} is no user of this machine") from None
        if key == "credential":
            directory = self._environ.get("CREDENTIALS_DIRECTORY")
            if not directory:
                unit = f"a unit with LoadCredential={name}:/path"
                raise ValueError(f"credential {name}: only systemd sets $CREDENTIALS_DIRECTORY, for {unit}")
            path = Path(directory) / name
        try:
            if not stat.S_ISREG(path.stat().st_mode):  # reading a pipe could wait for ever
                raise ValueError(f"the secret cannot be read: {path} is no file")
            return path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "not text"
            raise ValueError(f"the secret cannot be read: {path}: {why}") from None
