"""Types that sections of the configuration are made of. Reads and writes nothing: secrets are resolved by the caller.

Every message raised here ends up before the person who edits config.toml, so it says what right looks like.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import SplitResult, urlsplit
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    ValidationInfo,
)

from daemon.core.alerts import AFTER, Rule
from daemon.core.duration import parse_duration
from daemon.core.letter import is_address
from daemon.core.plan import Guard


class Model(BaseModel):
    """A section: an unknown key is an error, a wrong type too, and nothing changes after loading."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """ "; did you mean …?" for the nearest of `known`, or "" where none is near."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""


def _duration(value: Any) -> Any:
    if isinstance(value, timedelta):
        return value
    if not isinstance(value, str):
        raise ValueError('is a length of time in quotes, such as "90s", "15m", "6h", "30d"')  # noqa: TRY004 (pydantic)
    return parse_duration(value)


Duration = Annotated[timedelta, BeforeValidator(_duration)]


def _positive(value: timedelta) -> timedelta:
    if value <= timedelta(0):
        raise ValueError("must be longer than zero")
    return value


PositiveDuration = Annotated[Duration, AfterValidator(_positive)]


def _path(value: Any, info: ValidationInfo) -> Any:
    """Relative paths are beside the configuration, not wherever the process was started."""
    if isinstance(value, Path):
        return value
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError('is a path in quotes, such as "/var/lib/frappe-daemon"')
    try:
        return (info.context or {}).get("beside", Path()) / Path(value).expanduser()
    except RuntimeError:
        raise ValueError(f"{value.split('/')[0]} is no user of this machine") from None


FilePath = Annotated[Path, BeforeValidator(_path)]


class Directory:
    """Marks a path as one of a directory that the daemon makes and writes into; `check` looks at it."""


DirectoryPath = Annotated[FilePath, Directory()]


def web_address(value: str, what: str, secrets: str) -> SplitResult:
    """The parts of an http address. Raises ValueError where it is not `what`, or holds what belongs into `secrets`."""
    parts = urlsplit(value)
    if not value.isprintable() or " " in value or parts.port == 0:  # `port` itself raises ValueError beyond 65535
        raise ValueError("holds a character or a port that no address has")
    (parts.hostname or "").encode("idna")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"is {what}")
    if parts.username or parts.password:
        raise ValueError(f"must not hold a user or password; name {secrets}")
    return parts


def _header(value: str) -> str:
    if not (value.isascii() and value.isprintable()):
        raise ValueError("is sent as a header, so it holds printable ASCII characters alone")
    return value


HeaderText = Annotated[str, AfterValidator(_header)]


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (LookupError, ValueError, OSError):
        raise ValueError('is no time zone of the IANA database, such as "Europe/Berlin"') from None
    return value


Zone = Annotated[str, AfterValidator(_zone)]


class TimeoutSettings(Model):
    """How long one request may take, by phase."""

    connect: PositiveDuration = timedelta(seconds=10)
    """For the connection."""
    read: PositiveDuration = timedelta(seconds=130)
    """Between two pieces of a reply, the first included."""
    write: PositiveDuration = timedelta(seconds=60)
    """Between two pieces of what is sent."""
    pool: PositiveDuration = timedelta(seconds=60)
    """For one of our own connections to be free."""


class RetrySettings(Model):
    """How patient one request is while the site cannot answer."""

    attempts: Annotated[int, Field(ge=1, le=100)] = 8
    """Tries of one request, the first included."""
    total: PositiveDuration = timedelta(minutes=2)
    """From the first try to the start of the last."""


class Secret:
    """A value that shows itself to nobody who does not ask for it by `reveal`."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "Secret('********')"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)


_FORMS = '{ env = "NAME" }, { file = "/path" } or { credential = "name" }'


def _resolve(value: Any, info: ValidationInfo) -> Secret:
    """By the context's `resolve`: a reference of one key (env, file, credential) → the secret, or ValueError."""
    if isinstance(value, Secret):
        return value
    if not isinstance(value, dict) or not all(isinstance(part, str) for part in value.values()):
        raise ValueError(f"is a secret, so it is named and not written here: {_FORMS}")
    if len(value) != 1:
        raise ValueError(f"names its secret in one way: {_FORMS}")
    (key,) = value
    if key not in ("env", "file", "credential"):
        hint = did_you_mean(key, ("env", "file", "credential"))
        raise ValueError(f"a secret is named as {_FORMS}, not by {key!r}{hint}")
    return Secret((info.context or {})["resolve"](value))


SecretText = Annotated[Secret, PlainValidator(_resolve)]


def _web_address(value: Any, info: ValidationInfo) -> Secret:
    """An address, written or named; kept as a secret, since whoever knows a webhook's may use it."""
    found = value if isinstance(value, Secret) else Secret(value) if isinstance(value, str) else _resolve(value, info)
    parts = urlsplit(found.reveal())
    if found.reveal() and (parts.scheme not in ("http", "https") or not parts.hostname):
        raise ValueError('is an address, such as "https://hooks.example.com/…", or names one as secrets are named')
    return found


def _headers(value: Any, info: ValidationInfo) -> dict[str, Secret]:
    """Header → value, written or named."""
    if not isinstance(value, dict):
        raise ValueError('is a table, such as { Authorization = { env = "HOOK_TOKEN" } }')  # noqa: TRY004 (pydantic)
    found = {}
    for name, said in value.items():
        if not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", name):
            raise ValueError(f"{name!r} is no header's name")
        known = isinstance(said, str | Secret)
        found[name] = said if isinstance(said, Secret) else Secret(_header(said)) if known else _resolve(said, info)
    return found


class Webhook(Model):
    """Where alerts are POSTed as JSON."""

    url: Annotated[Secret, PlainValidator(_web_address)]
    """Where JSON is posted; it may be a secret, and is treated as one."""
    headers: Annotated[dict[str, Secret], PlainValidator(_headers)] = {}
    """Sent along, such as a token; each a secret."""

    @property
    def host(self) -> str:
        return urlsplit(self.url.reveal()).hostname or ""


def _addresses(value: list[str]) -> list[str]:
    for text in value:
        if not is_address(text):
            raise ValueError(f"{text!r} is no e-mail address")
    return value


class AlertSettings(Model):
    """Who is told of a job that fails, and when. A job's own go before those of [alerts]."""

    enabled: bool | None = None
    """Off, nobody is told."""
    after: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Failures in a row."""
    max_age: PositiveDuration | None = None
    """Since the last success."""
    email: Annotated[list[str], AfterValidator(_addresses)] | None = None
    """Addresses, mailed to through the site."""
    users: list[str] | None = None
    """Users of the site, told on their desk."""
    webhook: Webhook | None = None

    def over(self, outer: AlertSettings) -> AlertSettings:
        """These where they say something, else `outer`."""
        own = {name: value for name in type(self).model_fields if (value := getattr(self, name)) is not None}
        return outer.model_copy(update=own)

    @property
    def rule(self) -> Rule:
        return Rule(self.after or AFTER, self.max_age)

    @property
    def channels(self) -> list[str]:
        """By which the daemon's ledger knows them; none where alerts are off."""
        if self.enabled is False:
            return []
        hook = ["webhook"] if self.webhook else []
        return [*hook, *(f"user {user}" for user in self.users or ()), *(f"email {at}" for at in self.email or ())]


class NamedFunction:
    """A Python function that the configuration names; shows itself by that name."""

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        self.name, self._function = name, function

    def __call__(self, *values: Any) -> Any:
        return self._function(*values)

    @property
    def code(self) -> Any:
        """Equal for functions that do the same; the function itself where Python shows no code of it."""
        code = getattr(self._function, "__code__", None)
        return (code.co_code, code.co_consts, code.co_names) if code else self._function

    def __repr__(self) -> str:
        return self.name


def _function(value: Any, info: ValidationInfo) -> NamedFunction:
    """By the context's `load`: "module:function" or "file.py:function" → the function, or ValueError."""
    if isinstance(value, NamedFunction):
        return value
    place, _, name = value.rpartition(":") if isinstance(value, str) else ("", "", "")
    if not (place and name.isidentifier()):
        raise ValueError('is a Python function as "module:function" or "file.py:function"')
    return NamedFunction(value, (info.context or {})["load"](place, name))


FunctionName = Annotated[NamedFunction, PlainValidator(_function), PlainSerializer(repr)]

OPERATORS = (
    "=", "!=", "<", ">", "<=", ">=", "like", "not like", "in", "not in", "is", "between", "timespan",
    "descendants of", "not descendants of", "ancestors of", "not ancestors of",
)  # fmt: skip
"""Operators of filters that versions 14 to 16 share (frappe/model/db_query.py)."""


TIMESPANS = (
    "today", "yesterday", "tomorrow",
    "last week", "last month", "last quarter", "last 6 months", "last year",
    "this week", "this month", "this quarter", "this year",
    "next week", "next month", "next quarter", "next 6 months", "next year",
)  # fmt: skip
"""Those of frappe/utils/data.py:get_timespan_date_range that versions 14 to 16 share; another one matches every row."""


def _conditions(value: Any) -> Any:
    """Filters as a list of [field, operator, value] or [DocType, field, operator, value]."""
    if isinstance(value, dict):
        value = [[field, *(v if isinstance(v, list) else ["=", v])] for field, v in value.items()]
    if not isinstance(value, list):
        raise ValueError('is a list of conditions: [["status", "in", ["Sent", "Error"]]]')  # noqa: TRY004 (pydantic)
    return [_condition(condition) for condition in value]


def _condition(condition: Any) -> list[Any]:
    if not isinstance(condition, list) or len(condition) not in (3, 4) or not all(map(_is_text, condition[:-1])):
        raise ValueError(f"{condition!r} is no condition; write [field, operator, value]")
    operator = condition[-2].lower()
    if operator not in OPERATORS:
        known = did_you_mean(operator, OPERATORS) or f"; there are: {', '.join(OPERATORS)}"
        raise ValueError(f"{condition[-2]!r} is no operator{known}")
    _check_value(operator, condition[-1])
    return [*condition[:-2], operator, _plain(condition[-1])]


def _check_value(operator: str, value: Any) -> None:
    """What Frappe would turn into SQL of another meaning is refused here."""
    if operator == "between" and not (isinstance(value, list) and len(value) == 2):
        raise ValueError(f'"between" takes two dates, such as ["2026-01-01", "2026-01-31"], not {value!r}')
    if operator == "is" and value not in ("set", "not set"):
        raise ValueError(f'"is" takes "set" or "not set", not {value!r}')
    if operator == "timespan" and value not in TIMESPANS:
        hint = did_you_mean(str(value), TIMESPANS) or f"; there are: {', '.join(TIMESPANS)}"
        raise ValueError(f"{value!r} is no span of time{hint}")
    if operator in ("in", "not in") and not (isinstance(value, list | str) and value):
        raise ValueError(f'"{operator}" takes a list of values, not {value!r}')


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _plain(value: Any) -> Any:
    """TOML's dates as the text that the site compares with."""
    if isinstance(value, datetime):
        if value.tzinfo is not None:
            raise ValueError(f"{value} names a zone, but the site compares with times of its own; write it without")
        return value.isoformat(" ")
    if isinstance(value, date | time):
        return value.isoformat()
    return [_plain(item) for item in value] if isinstance(value, list) else value


def _field_name(value: str) -> str:
    if not value.isidentifier():
        raise ValueError(f"{value!r} is no field's name")
    return value


FieldName = Annotated[str, AfterValidator(_field_name)]

Conditions = Annotated[list[list[Any]], BeforeValidator(_conditions)]


class GuardSettings(Model):
    """Bounds on what one run may take away. Without `max_percent`, removing every row of a DocType is refused."""

    max_rows: Annotated[int, Field(ge=1)] | None = None
    """More rows than this are refused, all of them."""
    max_percent: Annotated[float, Field(gt=0, le=100)] | None = None
    """Of all rows of the DocType; more are refused, all of them."""

    def over(self, outer: GuardSettings) -> Guard:
        """The guard where this section says more than `outer`, the job's."""
        return Guard(
            self.max_rows if self.max_rows is not None else outer.max_rows,
            self.max_percent if self.max_percent is not None else outer.max_percent,
        )


class JobSettings(Model):
    """What every job has, whatever its kind."""

    kind: str
    """What it does: cleanup, digest, expiry, import or sync; or "name.py", a file of your own beside this one."""
    schedule: str
    """A crontab line, "every 15m", or Frappe's own words such as daily_long."""
    enabled: bool = True
    """Off, it runs by `once` alone, and needs no secrets."""
    timeout: PositiveDuration = timedelta(hours=1)
    """A run that lasts longer is stopped at its next step."""
    jitter: Duration = timedelta(0)
    """Each slot is put off by up to this much, the same for the same slot."""
    catch_up: bool = True
    """Slots missed while the daemon was down are made up for by one run."""
    report_errors_to_site: bool = False
    """Write the errors of a run to the site's Error Log too."""
    alerts: AlertSettings = AlertSettings()
    """What differs from [alerts] for this job."""

    @property
    def alone_in(self) -> list[Path]:
        """Directories that no other job may work in."""
        return []

    @property
    def patience(self) -> timedelta:
        """For how long after its slot a run that failed is tried again; else the next slot is the next try."""
        return timedelta(0)
