"""A sandbox in a process of its own: it is killed and comes back, and another process drives it."""

import signal

import httpx
import pytest

PATH = "/api/resource/Error Log"


def test_what_was_committed_survives_a_kill(served):
    """`kill` ends the process after the commit: the next one on the same file has it all."""
    first = served()
    made = first.http.post(PATH, json={"method": "kept"}).json()["data"]["name"]
    first.control("faults", {"kind": "kill", "method": "POST", "times": 1, "after": 1, "path": "/api/resource/*"})
    first.http.post(PATH, json={"method": "kept, too"})
    with pytest.raises(httpx.TransportError):
        first.http.post(PATH, json={"method": "the last"})
    assert first.process.wait(10) == -signal.SIGKILL
    second = served()
    assert second.http.get(f"{PATH}/{made}").status_code == 200
    assert second.control("count", {"doctype": "Error Log"}) == 3


def test_a_schema_of_ones_own_survives_too(served):
    """Custom DocTypes, Custom Fields and their documents, and Custom DocPerm."""
    first = served()
    doctype = {
        "name": "Sync Map", "module": "Custom", "custom": 1, "autoname": "field:ext_key",
        "fields": [{"fieldname": "ext_key", "label": "Key", "fieldtype": "Data", "reqd": 1}],
        "permissions": [{"role": "System Manager", "read": 1, "write": 1, "create": 1, "delete": 1}],
    }  # fmt: skip
    assert first.http.post("/api/resource/DocType", json=doctype).status_code == 200
    field = {"dt": "Sync Map", "fieldname": "custom_more", "label": "More", "fieldtype": "Int"}
    assert first.http.post("/api/resource/Custom Field", json=field).status_code == 200
    assert first.http.post("/api/resource/Sync Map", json={"ext_key": "a", "custom_more": 5}).status_code == 200
    first.process.kill()
    first.process.wait()
    second = served()
    assert second.http.get("/api/resource/Sync Map/a").json()["data"]["custom_more"] == 5
    assert second.http.post("/api/resource/Sync Map", json={"ext_key": "a"}).status_code == 409


def test_series_go_on_where_they_were(served):
    """After the names that the demo has, and after a kill: none is given twice."""
    first = served(data="demo")
    company = first.http.get("/api/resource/Company").json()["data"][0]["name"]
    row = {"item_code": "Pump", "qty": 1, "rate": 2, "delivery_date": "2032-01-31"}
    order = {"customer": "Birch Supply", "company": company, "delivery_date": "2032-01-31", "items": [row]}
    made = first.http.post("/api/resource/Sales Order", json=order)
    assert made.status_code == 200, made.text
    first.process.kill()
    first.process.wait()
    again = served(data="demo").http.post("/api/resource/Sales Order", json=order)
    assert again.status_code == 200 and again.json()["data"]["name"] > made.json()["data"]["name"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_when_told(served, number):
    """Exit code 0, and the port is free."""
    one = served()
    one.process.send_signal(number)
    assert one.process.wait(10) == 0
    with pytest.raises(httpx.ConnectError):
        one.http.get("/api/method/ping")


def test_it_is_driven_over_http(served):
    """Faults, counts, configuration, mails and requests, for a test in another process."""
    one = served()
    one.control("faults", {"kind": "status", "code": 502})
    assert one.http.get("/api/method/ping").status_code == 502
    one.http.delete("/_sandbox/faults")
    assert one.http.get("/api/method/ping").status_code == 200
    assert one.control("requests") == [["GET", "/api/method/ping", 502], ["GET", "/api/method/ping", 200]]
    mail = {"recipients": "a@example.com", "subject": "s", "content": "c", "send_email": 1}
    one.http.post("/api/method/frappe.core.doctype.communication.email.make", json=mail)
    assert [found["subject"] for found in one.control("outbox")] == ["s"]
    assert one.control("count", {"doctype": "Email Queue", "filters": {"status": "Not Sent"}}) == 1
    assert one.control("config", {"maintenance_mode": 1})["maintenance_mode"] == 1
    assert one.http.get("/api/method/ping").status_code == 503


def test_without_control_it_cannot_be_driven(sandbox, http):
    """A sandbox within a test has no such addresses."""
    assert http.get("/_sandbox/requests").status_code == 404
