"""Who is asking, and what the site says of itself."""

from base64 import b64encode

import pytest

from .conftest import CLERK, GUEST, MANAGER

WHO = "/api/method/frappe.auth.get_logged_user"


def test_token_and_basic_are_the_same_check(site):
    """auth.py:validate_auth takes `token key:secret` and `Basic base64(key:secret)`."""
    pair = ":".join(site.keys[MANAGER])
    for header in (f"token {pair}", f"Basic {b64encode(pair.encode()).decode()}"):
        reply = site.get(WHO, user=GUEST, headers={"Authorization": header})
        assert (reply.status, reply.body) == (200, {"message": MANAGER})


def test_a_wrong_secret_is_401(site):
    """401 AuthenticationError; 14 names the class in `exception` only, 16 shows strangers no traceback."""
    key, _ = site.keys[MANAGER]
    reply = site.get(WHO, user=GUEST, headers={"Authorization": f"token {key}:wrong"})
    assert (reply.status, reply.kind) == (401, "AuthenticationError")
    assert ("exc_type" in reply.body) == (site.major >= 15)
    assert ("exception" in reply.body) == (site.major <= 15)


def test_an_unknown_key_is_401(site):
    """As a wrong secret."""
    reply = site.get(WHO, user=GUEST, headers={"Authorization": "token nobody:nothing"})
    assert (reply.status, reply.kind) == (401, "AuthenticationError")


def test_bad_base64_is_400(site):
    """Wrong padding, that is: letters that base64 does not know are skipped by Python's decoder."""
    reply = site.get(WHO, user=GUEST, headers={"Authorization": "Basic abc"})
    assert (reply.status, reply.kind) == (400, "InvalidAuthorizationToken")


@pytest.mark.parametrize("header", ["token a b", "token", "nonsense"])
def test_a_header_of_other_than_two_words_is_ignored(site, header):
    """The request runs as Guest, so the refusal is 403 and not 401."""
    reply = site.get(WHO, user=GUEST, headers={"Authorization": header})
    assert (reply.status, reply.kind) == (403, "PermissionError")


def test_without_a_header_one_is_guest(site):
    """403 for a document, a list and a method; `ping` and the time zone are for all."""
    assert site.get("/api/resource/ToDo", user=GUEST).status == 403
    assert site.get("/api/resource/ToDo/x", user=GUEST).status == (404 if site.major == 14 else 403)
    assert site.get(WHO, user=GUEST).status == 403
    assert site.get("/api/method/ping", user=GUEST).body == {"message": "pong"}
    assert site.get("/api/method/frappe.client.get_time_zone", user=GUEST).status == 200


def test_versions_tell_frappe_and_its_apps(site):
    """change_log.get_versions is open to every user: what dialect to speak is known from it."""
    found = site.get("/api/method/frappe.utils.change_log.get_versions", user=CLERK).value
    assert found["frappe"]["version"].startswith(f"{site.major}.") and found["erpnext"]["version"]


def test_time_zone(site):
    """The name of the zone in which the site stamps."""
    found = site.get("/api/method/frappe.client.get_time_zone").value
    assert found == {"time_zone": "America/New_York"}


@pytest.mark.parametrize("path", ["/api/nonsense", "/api/resource", "/api/resource/ToDo//x"])
def test_an_unknown_path_under_api_is_404_in_json(site, path):
    """api/__init__.py:handle raises DoesNotExistError for what matches no route; 14 then has nothing to tell."""
    reply = site.get(path)
    assert (reply.status, reply.kind) == (404, "" if site.major == 14 else "DoesNotExistError")


def test_an_unknown_doctype_is_404(site):
    """DoesNotExistError."""
    reply = site.get("/api/resource/No Such DocType")
    assert (reply.status, reply.kind) == (404, "DoesNotExistError")


def test_an_unknown_method_is_417(site):
    """handler.py throws a ValidationError for a name that cannot be imported."""
    reply = site.call("frappe.client.no_such_method")
    assert (reply.status, reply.kind) == (417, "ValidationError")
    assert "Failed to get method" in reply.messages


def test_a_method_that_is_not_whitelisted_is_403(site):
    """It exists, and may not be called."""
    reply = site.call("frappe.utils.now")
    assert (reply.status, reply.kind) == (403, "PermissionError")


def test_a_wrong_verb_is_405_in_html(site):
    """werkzeug's own errors are HTML whatever is accepted."""
    for verb in ("PUT", "DELETE"):
        reply = site.ask(verb, "/api/resource/ToDo")
        assert reply.status == 405 and reply.is_html


def test_patch_of_a_document_is_for_v2(site):
    """v1 has no rule for it: 404."""
    assert site.ask("PATCH", "/api/resource/ToDo/x").status == 404


def test_v1_is_an_alias_from_15_on(site):
    """/api/v1 and /api/v2; 14 has neither."""
    assert site.get("/api/v1/method/ping").status == (404 if site.major == 14 else 200)
    assert site.get("/api/v2/method/ping").status == (404 if site.major == 14 else 200)
    if site.major >= 15:
        assert site.get("/api/v2/method/ping").body == {"data": "pong"}


def test_html_is_for_browsers(site):
    """app.py:handle_exception: JSON under /api unless Accept starts with `text`."""
    reply = site.get("/api/resource/ToDo", user=GUEST, headers={"Accept": "text/html"})
    assert reply.status == 403 and reply.is_html
    assert not site.get("/api/resource/ToDo", user=GUEST, headers={"Accept": "*/*"}).is_html


def test_bad_json_is_an_error_of_its_version(site):
    """500 on 14 and 15 (JSONDecodeError), 417 on 16 (DataError)."""
    reply = site.ask("POST", "/api/resource/ToDo", content=b"{bad", headers={"Content-Type": "application/json"})
    assert reply.status == (417 if site.major >= 16 else 500)


def test_an_unknown_page_is_404_in_html(site):
    """Outside of /api nothing is JSON unless it is asked for."""
    reply = site.get("/no-such-page", headers={"Accept": "*/*"})
    assert reply.status == 404 and reply.is_html


MESSAGES, WHOLE = {"_server_messages"}, {"exception", "exc", "_server_messages"}


@pytest.mark.parametrize(
    ("method", "path", "arguments", "status", "kind", "keys"),
    [
        ("GET", "/api/resource/Error Log/none", None, 404, "DoesNotExistError", MESSAGES),
        ("GET", "/api/resource/No Such DocType", None, 404, "DoesNotExistError", MESSAGES),
        ("GET", "/api/resource/ToDo?fields=[%22none%22]", None, 417, "DataError", WHOLE),
        ("POST", "/api/resource/ToDo", {"description": "x", "priority": "x"}, 417, "ValidationError", WHOLE),
        ("POST", "/api/resource/ToDo", {}, 417, "MandatoryError", WHOLE),
        ("POST", "/api/resource/Role", {"role_name": "All"}, 409, "DuplicateEntryError", WHOLE),
        ("POST", "/api/method/frappe.client.set_value", {"doctype": "x"}, 500, "TypeError", {"exception", "exc"}),
        ("POST", "/api/method/frappe.client.no_such", {}, 417, "ValidationError", WHOLE),
        ("DELETE", "/api/resource/ToDo/none", None, 404, "DoesNotExistError", set()),
    ],
)
def test_what_an_error_tells(site, method, path, arguments, status, kind, keys):
    """response.py:report_error: no traceback for 404; a message where one was meant for people; 14 names the class of
    what was thrown only."""
    reply = site.ask(method, path, json=arguments)
    told = reply.body.keys() & {"exception", "exc", "_server_messages"}
    assert (reply.status, told) == (status, keys)
    assert reply.kind == kind or (site.major == 14 and not keys)


def test_what_an_error_tells_over_v2(site):
    """A list of errors, each with its type and message, whatever it was."""
    site.since(15)
    reply = site.get("/api/v2/document/Error Log/none")
    (error,) = reply.body["errors"]
    assert (reply.status, error["type"], error["message"]) == (404, "DoesNotExistError", "Error Log none not found")
    refused = site.post("/api/v2/document/ToDo", {"description": "x", "priority": "x"}).body["errors"][0]
    assert refused["type"] == "ValidationError" and "It should be one of" in refused["message"]
