"""Settings of another API: what they take, what they refuse and how they say so; records and moments."""

from __future__ import annotations

import tomllib
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from daemon.config import _validated
from daemon.core.api import ApiSettings, Endpoint, ListSettings, Malformed, RecordSettings
from daemon.core.records import BadRecord, listed, record_of, since_text, stamp_of, unit
from daemon.core.settings import Secret

PLAIN = """
url = "https://api.example.com/v1/"
auth = { bearer = { env = "TOKEN" } }
[list]
path = "/orders"
paging = { style = "page" }
[record]
"""


def load(toml: str) -> tuple[Any, list[str]]:
    """The settings, and the problems as a person sees them."""
    problems: list[str] = []
    context = {"resolve": lambda _: "a-secret-of-ours"}
    return _validated(ApiSettings, tomllib.loads(toml), "jobs.orders.api", context, problems), problems


def with_(section: str, line: str) -> str:
    """PLAIN with a line more, or another in the place of one of that key."""
    key = line.partition(" =")[0]
    heads = {"": 'url = "https', "list": "[list]", "record": "[record]"}
    lines = []
    where = ""
    for old in PLAIN.strip().split("\n"):
        where = old.strip("[]") if old.startswith("[") else where
        if not (where == section and old.startswith(f"{key} =")):
            lines.append(old)
        if old.startswith(heads[section]):
            if section:
                lines.append(line)
            else:
                lines.insert(len(lines) - 1 if lines and lines[-1] == old else len(lines), line)
    return "\n".join(lines)


def test_a_plain_api_needs_few_lines() -> None:
    """All else has defaults, and the address ends without a slash."""
    found, problems = load(PLAIN)
    assert problems == [] and found.url == "https://api.example.com/v1" and found.host == "api.example.com"
    assert found.auth.bearer == Secret("a-secret-of-ours") and "a-secret" not in repr(found)
    assert (
        found.record.idempotency_header == "Idempotency-Key"
        and found.record.if_match is None
        and not found.record.idempotent
    )
    assert found.list.paging.start == 1 and found.timeouts.read == timedelta(seconds=60) and found.concurrency == 2


@pytest.mark.parametrize(
    ("section", "line", "says"),
    [
        ("", 'url = "http://api.example.com"', "would send secrets and records unencrypted"),
        ("", 'url = "https://u:p@api.example.com"', "must not hold a user or password; name them in api.auth"),
        ("", 'url = "https://api.example.com/v1?key=1"', "ends with the path"),
        ("", 'url = "api.example.com"', 'is an address such as "https://api.example.com/v1"'),
        ("", 'url = "https://api.example.com:0"', "no address has"),
        ("", 'headers = { Authorization = "Bearer x" }', "Authorization is a secret; name it in api.auth"),
        ("", 'headers = { Cookie = "a=b" }', "Cookie is set by the daemon itself"),
        ("", 'headers = { "X Y" = "a" }', "is no header's name"),
        ("", "auth = {}", "names one way to log in, of: bearer, basic, header, query, oauth2"),
        ("", 'auth = { bearer = { env = "T" }, query = { name = "k", secret = { env = "T" } } }', "one way to log in"),
        ("", 'auth = { bearer = "plain" }', "auth.bearer: is a secret, so it is named and not written here"),
        ("", 'auth = "plain"', "auth: should be a table"),
        ("", 'auth = { query = "plain" }', "auth.query: should be a table"),
        ("", 'auth = { beerer = { env = "T" } }', "unknown key; did you mean 'bearer'?"),
        ("", 'auth = { oauth2 = { token_url = "http://id.example", client_id = "c", client_secret = { env = "S" } } }',
         'auth.oauth2.token_url = "http://id.example" would send secrets'),
        ("", "per_second = 0", "greater than 0"),
        ("", "concurrency = 0", "greater than or equal to 1"),
        ("list", 'path = "orders"', "is a path below api.url, such as \"/orders\""),
        ("list", 'path = "/orders?x=1"', "parameters have keys of their own"),
        ("list", 'records = "data..items"', "is a dotted path into the reply"),
        ("list", 'paging = { style = "pages" }', "must be one of 'page', 'offset', 'cursor'"),
        ("list", 'paging = { style = "link", page = "p" }', "page says nothing where style = \"link\" (its"),
        ("list", 'paging = { style = "next" }', 'style = "next" needs `next`'),
        ("list", 'paging = { style = "cursor" }', "needs either `next`, the path to"),
        ("list", 'paging = { style = "cursor", next = "n", last_id = true }', "needs either `next`"),
        ("list", 'paging = { style = "page", by_stamp = true }', "by_stamp needs list.since, record.stamp"),
        ("list", "paging = { style = 'page', size = 0 }", "greater than or equal to 1"),
        ("list", 'since_format = "ISO"', "is no format of a moment; did you mean 'iso'?"),
        ("list", 'since_format = "yyyy-mm-dd"', "there are: iso, iso-z, epoch, epoch-ms, date, or a strftime text"),
        ("list", 'since_zone = "Mars/Olympus"', "is no time zone"),
        ("list", "params = { a = [1] }", "a = [1] is no text, whole number, true or false"),
        ("list", "params = { a = 1.5 }", "is no text, whole number, true or false"),
        ("record", 'read = "/orders/{id}"', 'is a method and a path, such as "GET /orders/{id}"'),
        ("record", 'read = "POST /orders/{id}"', "has the method POST; GET can do that"),
        ("record", 'update = "PUT /orders"', 'names the record by {id}: "PUT /orders/{id}"'),
        ("record", 'create = "POST /orders/{id}"', 'has no {id}: the API makes one: "POST /orders"'),
        ("record", 'delete = "DELETE /orders/{name}"', "names the record by {id}"),
        ("record", 'delete = "DELETE orders/{id}"', "is a path below api.url"),
        ("record", 'id = ""', "is a dotted path into the record"),
        ("record", 'stamp_format = "unix"', "must be one of"),
        ("record", "deleted_value = 1.5", "is a text, a whole number, true or false"),
        ("record", 'idempotency_header = "Idempotency Key"', "is no header's name"),
        ("record", 'find = { key = "order_id" }', 'must ask for the key: params = { order_id = "{key}" }'),
        ("record", "if_mach = true", "unknown key; did you mean 'if_match'?"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_what_right_looks_like(section: str, line: str, says: str) -> None:
    """With the path of its key, as `check` prints it; a secret is in none."""
    found, problems = load(with_(section, line))
    assert found is None and len(problems) == 1, problems
    assert says in problems[0] and problems[0].startswith("jobs.orders.api")
    assert "u:p" not in problems[0] and "plain" not in problems[0]


def test_a_list_must_say_how_it_is_paged() -> None:
    """One that is cut off after its first page looks just like a short one."""
    _, problems = load(PLAIN.replace('paging = { style = "page" }', ""))
    assert problems == ["jobs.orders.api.list.paging: this section is missing; add [jobs.orders.api.list.paging]"]


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000", "http://localhost/x", "http://[::1]:80", "http://127.9.9.9"])
def test_this_very_machine_needs_no_encryption(url: str) -> None:
    """Nor does a network that somebody calls his own."""
    assert load(with_("", f'url = "{url}"'))[1] == []
    assert load("insecure = true\n" + with_("", 'url = "http://api.internal"'))[1] == []


def test_endpoints_are_a_method_and_a_path() -> None:
    """Whatever the method's case."""
    found, _ = load(with_("record", 'update = "patch /orders/{id}"'))
    assert found.record.update == Endpoint("PATCH", "/orders/{id}") and str(found.record.update) == "PATCH /orders/{id}"


# Records


def record(**more: Any) -> RecordSettings:
    return RecordSettings.model_validate({"stamp": "at", **more})


@pytest.mark.parametrize(
    ("value", "form", "zone", "moment"),
    [
        ("2026-01-05T12:00:00Z", "iso", "UTC", "2026-01-05T12:00:00"),
        ("2026-01-05T12:00:00+02:00", "iso", "UTC", "2026-01-05T10:00:00"),
        ("2026-01-05 12:00:00 +0200", "iso", "UTC", "2026-01-05T10:00:00"),
        ("2026-01-05T12:00:00.123456789Z", "iso", "UTC", "2026-01-05T12:00:00.123456"),
        ("2026-01-05T12:00:00", "iso", "Europe/Berlin", "2026-01-05T11:00:00"),
        ("2026-01-05", "iso", "Europe/Berlin", "2026-01-04T23:00:00"),
        ("2026-01-05T12:00:00Z", "iso", "Europe/Berlin", "2026-01-05T12:00:00"),
        (1767614400, "epoch", "UTC", "2026-01-05T12:00:00"),
        ("1767614400", "epoch", "UTC", "2026-01-05T12:00:00"),
        (Decimal("1767614400.25"), "epoch", "UTC", "2026-01-05T12:00:00.250000"),
        (1767614400123, "epoch-ms", "UTC", "2026-01-05T12:00:00.123000"),
    ],
)
def test_a_stamp_is_read_as_the_settings_say(value: Any, form: str, zone: str, moment: str) -> None:
    """Aware and in UTC, whatever the API writes."""
    found = stamp_of(value, record(stamp_format=form, zone=zone))
    assert found == datetime.fromisoformat(moment + "+00:00") and found.tzinfo is UTC


@pytest.mark.parametrize("form", ["iso", "epoch", "epoch-ms"])
@pytest.mark.parametrize(
    "value", [None, "", "soon", True, [], {}, 10**400, "NaN", "0001-01-01T00:00:00+14:00", "-", "1e999999"]
)
def test_a_stamp_that_cannot_be_read_is_a_bad_record(value: Any, form: str) -> None:
    """Never another error, however odd it is."""
    with pytest.raises(BadRecord, match="at"):
        stamp_of(value, record(stamp_format=form))


def test_a_number_is_no_iso_time() -> None:
    """Seconds or milliseconds? The settings must say."""
    with pytest.raises(BadRecord, match="no time of the form iso"):
        stamp_of(1767614400, record())


@pytest.mark.parametrize(
    ("deleted", "value", "gone"),
    [
        (None, None, False), (False, None, False), (0, None, False), ("", None, False), ("false", None, False),
        ("0", None, False), (True, None, True), (1, None, True), ("2026-01-05", None, True),
        ("cancelled", "cancelled", True), ("open", "cancelled", False), (True, True, True), (1, True, False),
        (None, "cancelled", False), (2, 2, True), ("2", 2, False),
    ],
)  # fmt: skip
def test_a_tombstone_is_what_the_settings_call_one(deleted: Any, value: Any, gone: bool) -> None:
    """Anything true, or one value."""
    body = {"id": 1, "at": "2026-01-05", "state": deleted}
    assert record_of(body, record(deleted="state", deleted_value=value)).deleted is gone


def test_a_version_in_the_body_is_what_if_match_takes() -> None:
    """In quotes, as an ETag is (RFC 9110, 8.8.3); it goes before the header's."""
    body = {"id": 1, "at": "2026-01-05", "meta": {"v": 3}}
    assert record_of(body, record(version="meta.v"), 'W/"x"').etag == '"3"'
    assert record_of(body, record(version="meta.w"), '"x"').etag == '"x"' and record_of(body, record()).etag is None


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text() | st.decimals(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["id", "at", "x"]), inner),
    )
)
def test_any_json_is_a_record_or_malformed(body: Any) -> None:
    """An entry of a list ends nothing."""
    found = listed(body, record(deleted="x", version="x"), 7)
    if isinstance(found, Malformed):
        assert found.position == 7 and found.why and len(found.excerpt) <= 200 and found.excerpt.isprintable()
        assert found.why.isprintable()
    else:
        assert found.id and found.stamp is not None


# Moments in a query

MOMENTS = st.datetimes(datetime(1980, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe"]


def lists(form: str, zone: str = "UTC") -> ListSettings:
    table = {"path": "/x", "paging": {"style": "none"}, "since": "since", "since_format": form, "since_zone": zone}
    return ListSettings.model_validate(table)


@pytest.mark.parametrize(
    ("form", "zone", "text"),
    [
        ("iso", "UTC", "2026-07-05T12:00:00.123+00:00"),
        ("iso", "Europe/Berlin", "2026-07-05T14:00:00.123+02:00"),
        ("iso-z", "Europe/Berlin", "2026-07-05T12:00:00.123Z"),
        ("epoch", "UTC", "1783252800"),
        ("epoch-ms", "UTC", "1783252800123"),
        ("date", "Asia/Tokyo", "2026-07-05"),
        ("%d.%m.%Y %H:%M", "Europe/Berlin", "05.07.2026 14:00"),
    ],
)
def test_a_moment_is_written_as_the_settings_say(form: str, zone: str, text: str) -> None:
    """And cut off, never rounded up."""
    assert since_text(datetime(2026, 7, 5, 12, 0, 0, 123999, tzinfo=UTC), lists(form, zone)) == text


@given(MOMENTS, st.sampled_from(ZONES), st.sampled_from(["iso", "iso-z", "epoch", "epoch-ms"]))
def test_what_is_asked_for_is_never_later_than_what_is_meant(moment: datetime, zone: str, form: str) -> None:
    """Nor earlier than by the unit of its form: nothing is missed, and little comes twice."""
    text = since_text(moment, lists(form, zone))
    if form.startswith("iso"):
        asked = datetime.fromisoformat(text)
    else:
        asked = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=int(text) * (1000 if form == "epoch" else 1))
    assert timedelta(0) <= moment - asked < unit(lists(form))


@given(
    MOMENTS, st.sampled_from(ZONES), st.sampled_from(["%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%d"]), st.booleans()
)
def test_a_local_time_is_never_later_however_it_is_read(moment: datetime, zone: str, form: str, second: bool) -> None:
    """An hour that comes twice may be taken for the first or the second one."""
    text = since_text(moment, lists(form, zone))
    local = datetime.strptime(text, form).replace(tzinfo=ZoneInfo(zone), fold=int(second))
    assert local.astimezone(UTC) <= moment
    assert moment - local.astimezone(UTC) <= unit(lists(form, zone)) + timedelta(hours=2)


def test_settings_do_not_change() -> None:
    """Like every section."""
    with pytest.raises(ValidationError):
        record().id = "x"  # type: ignore[misc]
