"""What a reply means: each row of Frappe's table of errors, in the forms of versions 14, 15, 16 and API v2."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from daemon import errors
from daemon.errors import SiteError
from daemon.site.replies import CONNECTION_LOST, Reply, exc_type_of, fault_of, message_of, plain, value_of

JSON = "application/json"


def reply(status: int, body: Any = None, content_type: str = JSON, **more: Any) -> Reply:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Reply(status, content_type, content, **more)


def v14(exc_type: str) -> dict[str, Any]:
    """Raised, not thrown: no exc_type, the class stands in `exception` alone."""
    return {"exception": f"frappe.exceptions.{exc_type}: what happened", "exc": '["Traceback (most recent…"]'}


def v15(exc_type: str) -> dict[str, Any]:
    message = json.dumps({"message": "what happened", "title": "Message"})
    return v14(exc_type) | {"exc_type": exc_type, "_server_messages": json.dumps([message])}


def v16(exc_type: str) -> dict[str, Any]:
    """For anybody but a System User: no traceback."""
    return {"exc_type": exc_type}


def v2(exc_type: str) -> dict[str, Any]:
    return {"errors": [{"type": exc_type, "message": "what happened", "title": "Message"}]}


FORMS = [v14, v15, v16, v2]

TABLE = [
    ("AuthenticationError", 401, errors.CredentialsRefused, "operator"),
    ("SessionExpired", 401, errors.CredentialsRefused, "operator"),
    ("InvalidAuthorizationToken", 400, errors.CredentialsRefused, "operator"),
    ("InvalidAuthorizationHeader", 400, errors.CredentialsRefused, "operator"),
    ("CSRFTokenError", 400, errors.Invalid, "document owner"),
    ("PermissionError", 403, errors.NotPermitted, "site administrator"),
    ("DoesNotExistError", 404, errors.NotFound, "document owner"),
    ("NameError", 409, errors.AlreadyExists, "document owner"),
    ("DuplicateEntryError", 409, errors.AlreadyExists, "document owner"),
    ("UniqueValidationError", 417, errors.AlreadyExists, "document owner"),
    *(
        (exc_type, 417, errors.Invalid, "document owner")
        for exc_type in (
            "ValidationError", "MandatoryError", "LinkValidationError", "UpdateAfterSubmitError", "DataError",
            "CharacterLengthExceededError", "AppNotInstalledError", "FrappeTypeError",
        )
    ),
    ("LinkExistsError", 417, errors.InUse, "document owner"),
    ("TimestampMismatchError", 417, errors.StaleDocument, "nobody"),
    ("DocumentLockedError", 417, errors.Transient, "nobody"),
    ("LinkExpired", 410, errors.Invalid, "document owner"),
    ("RequestEntityTooLarge", 413, errors.TooLarge, "site administrator"),
    ("UnsupportedMediaType", 415, errors.Invalid, "document owner"),
    ("TooManyRequestsError", 429, errors.Throttled, "nobody"),
    ("RateLimitExceededError", 429, errors.Throttled, "nobody"),
    ("SessionStopped", 503, errors.Throttled, "nobody"),
    ("InReadOnlyMode", 503, errors.Throttled, "nobody"),
    ("QueueOverloaded", 503, errors.Throttled, "nobody"),
    ("OutgoingEmailError", 501, errors.NotConfigured, "site administrator"),
    ("QueryDeadlockError", 500, errors.Transient, "nobody"),
    ("QueryTimeoutError", 500, errors.Transient, "nobody"),
    ("TooManyWritesError", 500, errors.ServerBug, "programmer"),
    ("SecurityException", 500, errors.ServerBug, "programmer"),
    ("TypeError", 500, errors.ServerBug, "programmer"),
    ("SomethingOfAnApp", 500, errors.ServerBug, "programmer"),
    ("SomethingOfAnApp", 417, errors.Invalid, "document owner"),
]  # fmt: skip


@pytest.mark.parametrize("reading", [True, False])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("exc_type", "status", "kind", "who"), TABLE)
def test_every_exception_of_frappe_has_its_class(
    exc_type: str, status: int, kind: type[SiteError], who: str, form: Any, reading: bool
) -> None:
    """The same in all four forms, for reads and writes; it says who must act, what was asked and what the site said."""
    error = fault_of(reply(status, form(exc_type)), "PUT /api/x", reading=reading)
    assert type(error) is kind and error.who == who
    assert (error.status, error.exc_type, error.request, error.kind) == (status, exc_type, "PUT /api/x", exc_type)
    assert str(error).startswith("PUT /api/x: ") and str(error).endswith(f"({status} {exc_type})")
    assert "what happened" in str(error) or form is v16
    assert "Traceback" not in str(error)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("exc_type", sorted(CONNECTION_LOST))
def test_a_database_lost_leaves_a_write_open(exc_type: str, form: Any) -> None:
    """Nobody knows whether it was committed; a read is merely repeated."""
    lost = reply(500, form(exc_type))
    assert type(fault_of(lost, "GET /api/x", reading=True)) is errors.Transient
    assert type(fault_of(lost, "POST /api/x", reading=False)) is errors.OutcomeUnknown


@pytest.mark.parametrize(
    "exception", ["pymysql.err.OperationalError: (2006, 'gone away')", "redis.exceptions.ConnectionError: Error 111"]
)
def test_the_class_is_read_from_where_v14_has_it(exception: str) -> None:
    """Also one of a library, with a dotted path of any length."""
    assert exc_type_of({"exception": exception}) in CONNECTION_LOST


@pytest.mark.parametrize(
    ("status", "body", "reads", "writes"),
    [
        (500, b"<h1>Internal Server Error</h1>", errors.Transient, errors.OutcomeUnknown),
        (502, b"<html>Bad Gateway</html>", errors.Transient, errors.OutcomeUnknown),
        (504, b"<html>Gateway Time-out</html>", errors.Transient, errors.OutcomeUnknown),
        (502, b"", errors.Transient, errors.OutcomeUnknown),
        (502, b"{}", errors.Transient, errors.OutcomeUnknown),
        (500, b"", errors.Transient, errors.OutcomeUnknown),
        (500, b"[1]", errors.Transient, errors.OutcomeUnknown),
        (503, b"<html>", errors.Throttled, errors.Throttled),
        (429, b"Too Many Requests", errors.Throttled, errors.Throttled),
        (413, b"<html>", errors.TooLarge, errors.TooLarge),
        (401, b"<html>", errors.NotPermitted, errors.NotPermitted),
        (403, b"<html>", errors.NotPermitted, errors.NotPermitted),
        (404, b"<!DOCTYPE html>", errors.NotFrappe, errors.NotFrappe),
        (405, b"<!DOCTYPE html>", errors.NotFrappe, errors.NotFrappe),
        (200, b"<!DOCTYPE html>", errors.NotFrappe, errors.NotFrappe),
        (200, b"Welcome to nginx", errors.NotFrappe, errors.NotFrappe),
        (204, b"x", errors.NotFrappe, errors.NotFrappe),
        (301, b"", errors.NotFrappe, errors.NotFrappe),
        (302, b'{"message": "moved"}', errors.NotFrappe, errors.NotFrappe),
        (304, b"", errors.NotFrappe, errors.NotFrappe),
        (404, b"{}", errors.NotFound, errors.NotFound),
        (417, b"{}", errors.Invalid, errors.Invalid),
        (500, b"{}", errors.ServerBug, errors.ServerBug),
        (418, b'{"message": "a teapot"}', errors.Invalid, errors.Invalid),
    ],
)
def test_what_frappe_did_not_say_is_judged_by_status(
    status: int, body: bytes, reads: type[SiteError], writes: type[SiteError]
) -> None:
    """A gateway's page or a server that failed without JSON leaves a write's outcome open, and nothing else does."""
    got = reply(status, body, "text/html; charset=utf-8")
    assert type(fault_of(got, "GET /api/x", reading=True)) is reads
    assert type(fault_of(got, "POST /api/x", reading=False)) is writes


def test_a_traceback_is_no_error_and_none_no_success() -> None:
    """The status decides: `exc` in a 200 is a warning, and an error without `exc` is an error."""
    assert fault_of(reply(200, {"message": 1, "exc": '["Traceback…"]'}), "GET /", reading=True) is None
    assert fault_of(reply(404, {"message": 1}), "GET /", reading=True) is not None


def test_a_redirect_says_where_to() -> None:
    """So that the address can be corrected; following it would turn writes into reads."""
    error = fault_of(reply(301, b"", location="https://erp.example.com/api/x"), "POST /api/x", reading=False)
    assert error and "https://erp.example.com/api/x" in str(error) and "site.url" in error.action


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("body", [b"<html>", b'{"exc_type": "TooManyRequestsError"}'])
def test_the_time_that_the_site_asks_for_is_kept(status: int, body: bytes) -> None:
    """From Frappe and from a proxy alike."""
    error = fault_of(reply(status, body, retry_after=17.0), "GET /", reading=True)
    assert isinstance(error, errors.Throttled) and error.retry_after == 17.0


@pytest.mark.parametrize(
    ("body", "value"),
    [
        ({"message": {"a": 1}}, {"a": 1}),
        ({"data": []}, []),
        ({"message": None, "data": 1}, None),
        ({"docs": [1], "docinfo": {}}, {"docs": [1], "docinfo": {}}),
        ([1], [1]),
        (b"", None),
    ],
)
def test_a_success_is_its_message_data_or_all_of_it(body: Any, value: Any) -> None:
    """Also null, which is an answer; `docs` replies come back whole."""
    assert fault_of(reply(200, body), "GET /", reading=True) is None
    assert value_of(reply(200, body)) == value


def test_a_pdf_is_a_success() -> None:
    """The one reply wanted that is no JSON."""
    assert fault_of(reply(200, b"%PDF-1.7 ...", "application/pdf"), "GET /", reading=True) is None


@pytest.mark.parametrize(
    ("messages", "text"),
    [
        ([{"message": "Value for <b>Item</b> &amp; <i>UOM</i>"}], "Value for Item & UOM"),
        ([{"message": "one<br>two<br/>three"}], "one two three"),
        ([{"message": "<ul><li>a</li><li>b</li></ul>"}], "a b"),
        ([{"message": "Row 1", "title": "Missing Fields"}], "Missing Fields: Row 1"),
        ([{"message": "Row 1", "title": "Message"}], "Row 1"),
        ([{"message": "a"}, {"message": "a"}, {"message": "b"}], "a; b"),
        (["plain text"], "plain text"),
        ([{"message": None}], ""),
        ([], ""),
    ],
)
@pytest.mark.parametrize("twice", [True, False])
def test_server_messages_become_one_line_of_text(messages: list[Any], text: str, twice: bool) -> None:
    """JSON in JSON with HTML inside, or JSON once; each sentence once, and titles where they say more."""
    inner = [json.dumps(item) if twice and isinstance(item, dict) else item for item in messages]
    assert message_of({"_server_messages": json.dumps(inner)}) == text


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"exception": "frappe.exceptions.ValidationError: Too late"}, "Too late"),
        ({"_error_message": "No permission for <strong>X</strong>", "exception": "a.B: c"}, "No permission for X"),
        ({"message": "Not found"}, "Not found"),
        ({"errors": [{"type": "X", "exception": "a.X: bad"}]}, "a.X: bad"),
        ({"errors": [{"type": "X", "message": "bad"}, {"type": "Y", "message": "worse"}]}, "bad; worse"),
        ({"_server_messages": "no json", "exception": "a.B: c"}, "c"),
        ({"_server_messages": 5}, ""),
        ({}, ""),
    ],
)
def test_the_message_is_found_wherever_it_is(body: dict[str, Any], text: str) -> None:
    """The most readable first."""
    assert message_of(body) == text


def test_a_long_message_is_cut() -> None:
    """A page of HTML does not fill the log."""
    assert len(plain("<p>word</p>" * 1000)) == 500


def test_an_error_without_a_message_says_so() -> None:
    """Version 16 tells most users nothing more."""
    error = fault_of(reply(417, {"exc_type": "MandatoryError"}), "PUT /api/x", reading=False)
    assert str(error) == "PUT /api/x: no message (417 MandatoryError)"


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
NEAR_FRAPPE = st.dictionaries(
    st.sampled_from(["exc_type", "exception", "_server_messages", "errors", "_error_message", "message", "data"]),
    VALUES | st.lists(st.fixed_dictionaries({"type": VALUES, "message": VALUES})) | VALUES.map(json.dumps),
).map(lambda body: json.dumps(body).encode())


@given(
    st.integers(100, 599),
    st.binary(max_size=30) | NEAR_FRAPPE | st.binary(max_size=9).map(lambda tail: b'{"a' + tail),
    st.sampled_from([JSON, "text/html", "", ";"]) | st.text(max_size=9),
    st.booleans(),
)
@example(500, b"[" * 100_000, JSON, True)
@example(200, b"[" * 100_000, JSON, True)
@example(200, b'{"message": "cut sho', JSON, False)
@example(200, b"\xff\xfe{", JSON, False)
def test_no_reply_whatever_raises_anything_but_a_site_error(
    status: int, content: bytes, content_type: str, reading: bool
) -> None:
    """A fault is a SiteError with its status; where there is none the reply has a value, or says that it is no JSON."""
    got = Reply(status, content_type, content)
    fault = fault_of(got, "GET /api/x", reading=reading)
    if fault is not None:
        assert isinstance(fault, SiteError) and fault.status == status and str(fault)
        return
    assert 200 <= status < 300
    try:
        value_of(got)
    except SiteError as error:
        assert isinstance(error, errors.NotFrappe)


def test_a_refused_key_is_told_where_the_site_says_nothing() -> None:
    """Version 16 answers 401 with the class alone."""
    error = fault_of(reply(401, {"exc_type": "AuthenticationError"}), "GET /api/x", reading=True)
    assert "the API key or secret is not accepted" in str(error)


@pytest.mark.parametrize(
    "said", ["(1054, \"Unknown column 'x' in 'where clause'\")", "(1064, 'syntax')", "(1146, 'x')"]
)
def test_a_statement_that_the_database_refuses_is_no_lost_connection(said: str) -> None:
    """MariaDB sends both under one class; what it will never take is not to be tried again."""
    body = json.dumps({"exc_type": "OperationalError", "exception": f"OperationalError: {said}"}).encode()
    assert type(fault_of(Reply(500, "application/json", body), "GET /api/x", reading=True)) is errors.ServerBug


@pytest.mark.parametrize("code", [4025, 1366, 1264, 1292])
def test_a_value_that_the_database_refuses_is_the_row_s_fault(code: int) -> None:
    """The same class again, but nothing was lost, and whoever owns the value must act (seen on 15: a CHECK on JSON)."""
    said = f"OperationalError: ({code}, 'CONSTRAINT `tabThing.j` failed for `site`.`tabThing`')"
    body = json.dumps({"exc_type": "OperationalError", "exception": said}).encode()
    error = fault_of(Reply(500, "application/json", body), "POST /api/x", reading=False)
    assert type(error) is errors.Invalid and "refuses a value" in str(error) and error.who == "document owner"


@pytest.mark.parametrize("code", [1053, 1205, 2006, 2013])
def test_a_lost_connection_stays_one(code: int) -> None:
    """Nobody knows whether a write was heard."""
    body = json.dumps({"exc_type": "OperationalError", "exception": f"OperationalError: ({code}, 'x')"}).encode()
    assert type(fault_of(Reply(500, "application/json", body), "POST /x", reading=False)) is errors.OutcomeUnknown


def test_what_would_move_a_cursor_is_not_shown() -> None:
    """Escape sequences and overrides of direction in a site's message stay off the terminal."""
    assert plain("a\x1b[31mred\x9b0m\u202eb") == "a [31mred 0m b"
