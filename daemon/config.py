"""config.toml, typed: every problem at once, with the file, the key's path, the value and a suggestion.

Reads the file, the environment and the secrets that it names; nothing else in this package reads the environment.
"""

from __future__ import annotations

import os
import re
import stat
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from dataclasses import replace as dataclass_replace
from datetime import UTC, datetime, timedelta
from functools import partial
from hashlib import sha256
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from ipaddress import ip_address
from keyword import iskeyword
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType
from typing import Annotated, Any, Literal, Self, get_args
from urllib.parse import parse_qs, urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from daemon.core.settings import (
    AlertSettings,
    Duration,
    FilePath,
    HeaderText,
    JobSettings,
    Model,
    PositiveDuration,
    RetrySettings,
    Secret,
    SecretText,
    TimeoutSettings,
    Zone,
    did_you_mean,
    web_address,
)
from daemon.errors import ConfigError, UsageError
from daemon.places import PLACES, VARIABLE
from daemon.schedule import Schedule

LARGEST = 10 << 20
"""Bytes of a configuration that are read."""
SETUP_VARIABLES = ("FRAPPE_DAEMON_SETUP_KEY", "FRAPPE_DAEMON_SETUP_SECRET")


def _site_url(value: str) -> str:
    what = 'the site\'s address, such as "https://erp.example.com"'
    parts = web_address(value, what, "the key in site.api_key and site.api_secret")
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError(f'ends after the host; write "{parts.scheme}://{parts.netloc}"')
    return f"{parts.scheme}://{parts.netloc}"


class SiteSettings(Model):
    """The Frappe site."""

    url: Annotated[str, AfterValidator(_site_url)]
    """Its address, without a path, such as "https://erp.example.com"."""
    api_key: SecretText
    """Of a user of the site; `frappe-daemon check` says what that user may not do."""
    api_secret: SecretText
    """Of the same key."""
    site_name: HeaderText = ""
    """Sent as X-Frappe-Site-Name, where the address alone does not tell which site of a bench is meant."""
    verify: bool = True
    """Check the site's certificate. Off, anybody between here and the site can read the key."""
    ca_file: FilePath | None = None
    """Certificates in PEM of an authority that is trusted besides the machine's own."""
    concurrency: Annotated[int, Field(ge=1, le=32)] = 4
    """Requests under way at once, at the most."""
    timeouts: TimeoutSettings = TimeoutSettings()
    retry: RetrySettings = RetrySettings()


DATABASE = "postgresql+psycopg://frappe_daemon@db.example.com/frappe_daemon"
OF_DATABASES = ("host", "sslmode", "sslrootcert", "sslcert", "sslkey", "channel_binding", "gssencmode")
"""What may stand behind the ? of a database's address: libpq's parameters of how it is reached."""


def _database_url(value: str) -> str:
    parts = urlsplit(value)
    if not value.isprintable() or " " in value or parts.port == 0:
        raise ValueError("holds a character or a port that no address has")
    if parts.scheme not in ("postgresql", "postgresql+psycopg") or not parts.path.strip("/") or parts.fragment:
        raise ValueError(f'is the address of a database on PostgreSQL, such as "{DATABASE}"; a file is named by path')
    query = parse_qs(parts.query, keep_blank_values=True)
    if parts.password is not None or "password" in query:
        raise ValueError('must not hold a password; name it beside the url: password = { env = "NAME" }')
    for key in query:
        if key not in OF_DATABASES:
            hint = did_you_mean(key, OF_DATABASES) or f"; there are: {', '.join(OF_DATABASES)}"
            raise ValueError(f"knows no {key!r}{hint}")
    return f"postgresql+psycopg://{value.partition('://')[2]}"


class StateSettings(Model):
    """What the daemon remembers: in a file, or in a database that several daemons share."""

    path: FilePath = Path("/var/lib/frappe-daemon/state.db")
    """The SQLite file, on a disk of this machine; made where it is not there."""
    url: Annotated[str, AfterValidator(_database_url)] | None = None
    """Of a PostgreSQL database in its place, which several daemons may share: "postgresql://daemon@db/frappe_daemon"."""
    password: SecretText | None = None
    """Of the user in `url`."""
    keep_runs: PositiveDuration = timedelta(days=180)
    """For how long runs are remembered; the latest of each job are kept however old they are."""
    keep_undo: Duration = timedelta(days=30)
    """For how long runs can be undone: what that needs lies in a directory beside the state, such as `state.db.undo`,
    compressed, with the values that fields had before. "0s": no run can be."""

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if self.url and "path" in self.model_fields_set:
            raise ValueError("names both path and url; the state is in one place")
        if self.password and not self.url:
            raise ValueError("names a password, and no url of a database that wants it")
        return self


class LogSettings(Model):
    """The daemon's own log, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least that is worth a line."""
    format: Literal["auto", "console", "json"] = "auto"
    """JSON lines, or text for people; `auto`: text at a terminal, else JSON."""


class ScheduleSettings(Model):
    """How schedules are read."""

    time_zone: Zone | None = None
    """Unless stated, the site's."""


class ServiceSettings(Model):
    """The long-running process."""

    stop_timeout: PositiveDuration = timedelta(seconds=80)
    """How long a stop waits for running jobs to come to their next step."""
    reload_on_save: bool = False
    """Edits of this file take effect by themselves; else by `systemctl reload`, which is SIGHUP."""
    at_once: Annotated[int, Field(ge=1, le=200)] = 20
    """Jobs that run at the same time, at the most. Each has files and connections open."""


def _listen(value: str) -> str:
    host, port = split_address(value)
    if host != "localhost":
        ip_address(host)
    if not 0 <= int(port) <= 65535:
        raise ValueError
    return value


def _listen_told(value: str) -> str:
    try:
        return _listen(value) if value else value
    except ValueError:
        raise ValueError('is an address of this machine and a port, such as "127.0.0.1:9464"') from None


def split_address(value: str) -> tuple[str, str]:
    """ "127.0.0.1:9464" and "[::1]:9464" as (host, port)."""
    host, _, port = value.rpartition(":")
    return host.removeprefix("[").removesuffix("]"), port


class StatusSettings(Model):
    """Where the service shows how it does."""

    listen: Annotated[str, AfterValidator(_listen_told)] = ""
    """ "": nowhere."""
    public: bool = False
    """`listen` may be an address that others reach."""
    hosts: list[str] = Field(default_factory=list)
    """Names, beside addresses and localhost, under which a browser may ask."""

    @model_validator(mode="after")
    def _is_for_this_machine(self) -> Self:
        host, _ = split_address(self.listen)
        if self.listen and not self.public and host != "localhost" and not ip_address(host).is_loopback:
            raise ValueError(
                f'listen = "{self.listen}" is no loopback address, so others could read it without a password; '
                'write "127.0.0.1:9464", or public = true if that is meant'
            )
        return self


class Sections(Model):
    """The file without its jobs."""

    site: SiteSettings
    state: StateSettings = StateSettings()
    log: LogSettings = LogSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    service: ServiceSettings = ServiceSettings()
    status: StatusSettings = StatusSettings()
    alerts: AlertSettings = AlertSettings()


@dataclass(frozen=True, slots=True)
class Job:
    """One [jobs.<name>] section, with the module that is its kind."""

    name: str
    kind: ModuleType
    settings: Any
    schedule: Schedule
    section: str = ""
    """The section of the configuration; a job of one direction alone has a name of its own."""
    direction: str = ""
    """Where a section has a schedule for each direction: which one this is."""


@dataclass(frozen=True, slots=True)
class Config:
    """A configuration without problems."""

    path: Path
    site: SiteSettings
    state: StateSettings
    log: LogSettings
    schedule: ScheduleSettings
    jobs: Mapping[str, Job] = field(default_factory=dict)
    service: ServiceSettings = field(default_factory=ServiceSettings)
    status: StatusSettings = field(default_factory=lambda: StatusSettings())
    alerts: AlertSettings = field(default_factory=lambda: AlertSettings())

    def alerts_of(self, job: Job) -> AlertSettings:
        """Those that hold for `job`."""
        own: AlertSettings = job.settings.alerts
        return own.over(self.alerts)


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


def service_manager(environ: Mapping[str, str] = os.environ) -> tuple[str, float]:
    """The socket on which systemd listens to this process, and the seconds within which it wants a sign of life
    (sd_notify(3), sd_watchdog_enabled(3)); "" and 0 where it does not."""
    microseconds = environ.get("WATCHDOG_USEC", "")
    ours = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    return environ.get("NOTIFY_SOCKET", ""), int(microseconds) / 1e6 if ours and microseconds.isdecimal() else 0.0


@dataclass(frozen=True, slots=True)
class Signature:
    """Tells whether a file is still the same, without reading it."""

    device: int
    inode: int
    size: int
    modified: int
    """Nanoseconds, as a program may set it."""
    changed: datetime
    """When anything about it was changed last, a rename too; nobody can set it."""


def signature(path: Path) -> Signature | None:
    """Of the file that `path` leads to; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    changed = datetime.fromtimestamp(found.st_ctime_ns / 1e9, UTC)
    return Signature(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, changed)


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
    resolve = _Secrets(environ, path.parent, secrets)
    context = {"resolve": resolve, "beside": path.parent, "load": partial(_function, path.parent)}
    problems: list[str] = []
    sections_of_jobs = raw.pop("jobs", {})
    sections = _validated(Sections, raw, "", context, problems)
    found = list(_jobs(sections_of_jobs, context, problems)) if jobs or sections_of_jobs else []
    problems += _shared(found)
    if problems or sections is None:
        count = "one problem" if len(problems) == 1 else f"{len(problems)} problems"
        raise ConfigError(f"{path}: {count}", tuple(f"{path}: {problem}" for problem in problems))
    by_name = {job.name: job for job in found}
    settings = {name: getattr(sections, name) for name in Sections.model_fields}
    return Config(path, jobs=by_name, **settings)


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
        kind = _kind(table.get("kind"), path, context["beside"], problems)
        known = context
        if table.get("enabled") is False:  # what does not run needs no secrets
            known = {**context, "resolve": context["resolve"].unneeded}
        settings = _validated(kind.Settings if kind else _AnyJob, table, path, known, problems)
        for direction, schedule in _schedules(table.get("schedule"), path, problems):
            if kind and settings:
                yield Job(f"{name}.{direction}" if direction else name, kind, settings, schedule, name, direction)


def _shared(jobs: Iterable[Job]) -> Iterator[str]:
    """Directories that two jobs would work in: each file would go to whichever came first."""
    owners: dict[Path, str] = {}
    for job in jobs:
        for path in job.settings.alone_in:
            other = owners.setdefault(path.resolve(), job.section)
            if other != job.section:
                yield f"jobs.{job.section}: works in {path}, and so does jobs.{other}; give each a directory of its own"


def one_job(name: str, kind: str, settings: Mapping[str, Any]) -> Job:
    """A job that the command line describes. Raises UsageError with all that is wrong."""
    module, problems = module_of(kind), list[str]()
    table = {"kind": kind, "schedule": "yearly", **settings}
    found = _validated(module.Settings, table, "", {}, problems)
    if problems:
        raise UsageError("; ".join(problems))
    return Job(name, module, found, Schedule.parse("yearly"), name)


def setup_key(environ: Mapping[str, str] = os.environ) -> tuple[str, str] | None:
    """API key and secret of whoever runs setup, where it is not the daemon's own user. Raises ConfigError."""
    key, secret = (environ.get(name, "").strip() for name in SETUP_VARIABLES)
    if bool(key) != bool(secret):
        raise ConfigError(f"{' and '.join(SETUP_VARIABLES)} go together, and one of them is not set")
    return (key, secret) if key else None


def environment(name: str) -> str:
    """A variable's value; "" where it is not set."""
    return os.environ.get(name, "").strip()


def secret_in(path: Path) -> str:
    """What is in a file with one secret. Raises UsageError."""
    try:
        return _Secrets({}, Path(), True)({"file": str(path)})
    except ValueError as error:
        raise UsageError(str(error)) from None


def provisional(url: str, key: str, secret: str, ca_file: Path | None, site_name: str) -> Config:
    """A configuration of a site alone, before there is a file. Raises UsageError."""
    table: dict[str, Any] = {"url": url, "api_key": {"env": key}, "api_secret": {"env": secret}, "site_name": site_name}
    problems: list[str] = []
    context = {"resolve": lambda reference: reference["env"], "beside": Path()}
    if ca_file:
        table["ca_file"] = ca_file
    site = _validated(SiteSettings, table, "", context, problems)
    if problems:
        raise UsageError("; ".join(problems), action="Correct it, and run the command again.")
    return Config(Path("config.toml"), site, StateSettings(), LogSettings(), ScheduleSettings())


def by_key(config: Config, key: str, secret: str) -> Config:
    """The same, with another API key."""
    site = config.site.model_copy(update={"api_key": Secret(key), "api_secret": Secret(secret)})
    return dataclass_replace(config, site=site)


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


def _kind(name: Any, path: str, beside: Path, problems: list[str]) -> ModuleType | None:
    """The module of this kind, or the file beside the configuration that is one of the user's own."""
    if not isinstance(name, str):
        return None  # pydantic says so
    if name.endswith(".py"):
        try:
            return _own_kind(beside / name)
        except ValueError as error:
            problems.append(f'{path}.kind = "{name}": {error}')
            return None
    if name not in kinds():
        known = kinds()
        hint = f'{did_you_mean(name, known)} (there are: {", ".join(known)}), nor a file of your own, "name.py"'
        problems.append(f'{path}.kind = "{name}": there is no such kind{hint}')
        return None
    return module_of(name)


def _own_kind(path: Path) -> ModuleType:
    """A kind in a file: docs/sixth-job.md. Raises ValueError with what is wrong about it."""
    name = f"daemon_kind_{sha256(str(path.absolute()).encode()).hexdigest()[:12]}"
    try:
        module = _module_in(path, name)
    except Exception as error:  # whatever the user's own code raises
        where = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
        raise ValueError(f"it cannot be loaded: {type(error).__name__}: {error}{where}") from None
    settings = getattr(module, "Settings", None)
    lacking = [word for word in ("needs", "parts") if not callable(getattr(module, word, None))]
    if not (isinstance(settings, type) and issubclass(settings, JobSettings)):
        lacking.insert(0, "Settings, a class made from daemon.core.settings.JobSettings")
    if lacking:
        raise ValueError(f"it is no kind of job: it lacks {' and '.join(lacking)}")
    return module


def _schedules(said: Any, path: str, problems: list[str]) -> Iterator[tuple[str, Schedule]]:
    """(direction, schedule) of each; "" where there is one for all. What is neither text nor table pydantic tells."""
    texts = {f"schedule.{key}": text for key, text in said.items()} if isinstance(said, dict) else {"schedule": said}
    for key, text in texts.items():
        if isinstance(text, str):
            try:
                yield key.removeprefix("schedule").lstrip("."), Schedule.parse(text)
            except ValueError as error:
                problems.append(f'{path}.{key} = "{text}": {error}')


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
    shown = "" if _is_secret(model, location, value) or isinstance(value, dict) else f" = {_toml(value)}"
    return f"{key}{shown}: {text}"


def _toml(value: Any) -> str:
    """`value` about as it stands in the file, cut short, and without the user and passwords of an address."""
    if isinstance(value, str):
        value = re.sub(r"password=[^&]*", "password=…", re.sub(r"//.*@", "//…@", value))
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


def _is_secret(model: type[BaseModel], location: Sequence[Any], value: Any) -> bool:
    """A secret, or a text in the place of a section that has one in it: where it should not be, it is there all the
    same."""
    annotation = _field_type(model, location)
    return _holds_secret(annotation) and (isinstance(value, str) or _model_in(annotation) is None)


def _holds_secret(annotation: Any, within: frozenset[Any] = frozenset()) -> bool:
    """`within`: models that it is a part of; some hold others of their own kind, such as rows of a mapped field."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        inner = within | {annotation}
        parts = [field.annotation for field in annotation.model_fields.values()]
        return annotation not in within and any(_holds_secret(part, inner) for part in parts)
    return annotation is Secret or any(_holds_secret(part, within) for part in get_args(annotation))


def _function(beside: Path, place: str, name: str) -> Any:
    """A function of a module, or of a file beside the configuration. Raises ValueError."""
    try:
        module = _module_in(beside / place) if place.endswith(".py") else import_module(place)
        function = getattr(module, name)
    except Exception as error:  # whatever the user's own code raises
        raise ValueError(f"{place}:{name} cannot be had: {type(error).__name__}: {error}") from None
    if not callable(function):
        raise ValueError(f"{place}:{name} is no function")  # noqa: TRY004 (pydantic)
    return function


def _module_in(path: Path, name: str = "") -> ModuleType:
    """The module in a file; under `name`, where its classes must be able to look each other up."""
    spec = spec_from_file_location(name or path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = module_from_spec(spec)
    if name:
        sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


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

    @property
    def unneeded(self) -> _Secrets:
        """The same, but one that is not there is left empty."""
        return _Secrets(self._environ, self._beside, False)

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
