"""What an API says of an error, in the shapes that are common, and which error each status is."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon import errors
from daemon.remote.replies import LONGEST_MESSAGE, Asked, Reply, fault_of, message_of

READ = Asked("api.example.com", "GET /orders/1", True)
WRITE = Asked("api.example.com", "PUT /orders/1", False)
CREATE = Asked("api.example.com", "POST /orders", False, creating=True)


def said(body: Any) -> str:
    return message_of(Reply(422, body if isinstance(body, bytes) else json.dumps(body).encode()))


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"message": "qty is too small"}, "qty is too small"),
        ({"error": "qty is too small"}, "qty is too small"),
        ({"error": {"code": 12, "message": "qty is too small"}}, "qty is too small"),
        ({"error": "invalid_client", "error_description": "unknown client"}, "unknown client; invalid_client"),
        ({"errors": ["a", "b"]}, "a; b"),
        ({"errors": [{"title": "Invalid", "detail": "qty is too small"}]}, "qty is too small; Invalid"),
        ({"errors": [{"field": "qty", "message": "is too small"}]}, "qty: is too small"),
        ({"errors": {"qty": ["is too small", "is odd"]}}, "qty: is too small; qty: is odd"),
        ({"qty": ["is too small"]}, "qty: is too small"),
        ({"message": "Not valid", "errors": {"qty": ["is too small"]}}, "Not valid; qty: is too small"),
        ({"type": "about:blank", "title": "Not valid", "detail": "qty", "status": 422}, "qty; Not valid"),
        ({"detail": [{"loc": ["body", "qty"], "msg": "field required", "type": "missing"}]}, "field required"),
        ([{"message": "a"}, {"message": "b"}], "a; b"),
        ("plainly wrong", "plainly wrong"),
        (b"plainly wrong", "plainly wrong"),
        (b"<html><body>Oops</body></html>", ""),
        (b"", ""),
        ({}, ""),
        ({"code": 7}, ""),
        ({"message": None, "errors": []}, ""),
    ],
)
def test_the_message_is_found_where_apis_put_it(body: Any, text: str) -> None:
    """RFC 9457, RFC 6749, JSON:API, Laravel, Rails, Django REST, FastAPI and what most others do."""
    assert said(body) == text


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["message", "errors", "error", "x"]), inner),
    )
)
def test_no_body_breaks_it_and_none_is_shown_at_length(body: Any) -> None:
    """Whatever an API sends, an error is one line of bounded length without what would move a terminal's cursor."""
    reply = Reply(422, json.dumps(body).encode())
    error = fault_of(reply, WRITE, lambda text: text)
    assert error and len(str(error)) < LONGEST_MESSAGE + 100 and str(error).encode()
    assert "\n" not in str(error) and "\x1b" not in str(error)


def test_a_long_message_is_cut_after_secrets_are_struck_out() -> None:
    """Else half of one could stay."""
    reply = Reply(422, json.dumps({"message": "x" * (LONGEST_MESSAGE - 5) + " the-secret"}).encode())
    error = fault_of(reply, WRITE, lambda text: text.replace("the-secret", "********"))
    assert "the-" not in str(error) and "…" in str(error)


@pytest.mark.parametrize(
    ("status", "asked", "kind"),
    [
        (400, WRITE, errors.RemoteRefused),
        (401, WRITE, errors.RemoteCredentialsRefused),
        (403, WRITE, errors.RemoteNotPermitted),
        (404, READ, errors.RemoteNotFound),
        (405, WRITE, errors.RemoteMisused),
        (406, READ, errors.RemoteMisused),
        (408, WRITE, errors.RemoteTransient),
        (409, CREATE, errors.RemoteConflict),
        (409, WRITE, errors.RemoteStale),
        (410, READ, errors.RemoteNotFound),
        (412, WRITE, errors.RemoteStale),
        (413, WRITE, errors.RemoteRefused),
        (415, WRITE, errors.RemoteMisused),
        (418, WRITE, errors.RemoteRefused),
        (422, CREATE, errors.RemoteRefused),
        (425, WRITE, errors.RemoteTransient),
        (428, WRITE, errors.RemoteMisused),
        (429, READ, errors.RemoteThrottled),
        (500, READ, errors.RemoteFailed),
        (501, WRITE, errors.RemoteMisused),
        (502, READ, errors.RemoteFailed),
        (503, READ, errors.RemoteThrottled),
        (504, READ, errors.RemoteFailed),
        (304, READ, errors.RemoteMisused),
        (303, WRITE, errors.RemoteOutcomeUnknown),
        (303, READ, errors.RemoteMisused),
    ],
)
def test_each_status_is_the_error_of_whoever_must_act(
    status: int, asked: Asked, kind: type[errors.RemoteError]
) -> None:
    """RFC 9110, section 15; the message names the API, the request and what it said."""
    error = fault_of(Reply(status, b'{"message": "no"}', retry_after=3), asked, lambda text: text)
    assert type(error) is kind and error.status == status and error.request == asked.request
    assert str(error).startswith(f"api.example.com: {asked.request}: ") and str(status) in str(error)
    assert getattr(error, "retry_after", 3) in (3, None)


@pytest.mark.parametrize(
    ("body", "fails"),
    [
        ({"error": {"message": "locked"}}, True),
        ({"error": "locked"}, True),
        ({"error": True}, True),
        ({"error": None}, False),
        ({"error": ""}, False),
        ({"error": []}, False),
        ({"error": {}}, False),
        ({"error": False}, False),
        ({"data": []}, False),
        ([], False),
        (None, False),
    ],
)
def test_a_2xx_fails_where_its_error_says_something(body: Any, fails: bool) -> None:
    """Many APIs always have the key, with nothing in it."""
    asked = Asked("api.example.com", "POST /orders", False, error_at="error")
    error = fault_of(Reply(200, body=body), asked, lambda text: text)
    assert (error is not None) is fails
    if error:
        assert type(error) is errors.RemoteRefused and "HTTP 200 with an error in it" in str(error)
    assert fault_of(Reply(200, body=body), CREATE, lambda text: text) is None
