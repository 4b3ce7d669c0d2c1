"""The sandbox as tests use it: data from within, many at once, limits, its worker and its clock."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from daemon.sandbox import Sandbox

from .conftest import client

PATH = "/api/resource/Error Log"


def test_seeded_rows_are_seen_over_http(sandbox, http):
    """Whatever is not given is filled in: names, stamps, owner, numbers. A whole second is sent without a fraction."""
    sandbox.seed("Error Log", [{"method": "a"}, {"method": "b", "creation": "2020-01-01 00:00:00.000000", "name": "b"}])
    row = http.get(f"{PATH}/b").json()["data"]
    assert (row["creation"], row["owner"]) == ("2020-01-01 00:00:00", "Administrator")
    assert row["modified"] == row["creation"] and row["docstatus"] == row["seen"] == 0
    assert sandbox.count("Error Log", {"creation": ["<", "2021-01-01"]}) == 1
    assert sandbox.rows("Error Log", {"method": "a"}, ["method"]) == [{"method": "a"}]


def test_child_rows_are_seeded_with_their_parents(sandbox, http):
    recipients = [{"recipient": "a@example.com"}, {"recipient": "b@example.com"}]
    sandbox.seed("Email Queue", [{"name": "q", "status": "Sent", "recipients": recipients}])
    found = http.get("/api/resource/Email Queue/q").json()["data"]["recipients"]
    assert [(row["idx"], row["recipient"]) for row in found] == [(1, "a@example.com"), (2, "b@example.com")]


def test_a_doctype_may_be_added(sandbox, http):
    """And has its documents over REST at once."""
    fields = [{"fieldname": "title", "fieldtype": "Data"}]
    rights = [{"role": "System Manager", "read": 1, "create": 1}]
    sandbox.add_doctype({"name": "Licence", "fields": fields, "permissions": rights, "custom": 1})
    assert http.post("/api/resource/Licence", json={"title": "x"}).status_code == 200
    assert sandbox.count("Licence", {"title": "x"}) == 1


@pytest.mark.parametrize("version", ["14", "15", "16"])
def test_the_demo_is_the_same_for_the_same_moment(version):
    """And holds what the shipped jobs are about."""
    noon = datetime(2026, 6, 1, 16, tzinfo=UTC)
    seen = []
    for _ in range(2):
        with Sandbox(version, data="demo", clock=lambda: noon) as demo:
            seen.append([demo.rows("Email Queue", None, ["name", "creation", "status"]), demo.rows("Sales Order")])
            logs = {name: demo.count(name) for name in ("Error Log", "Activity Log", "Version", "Scheduled Job Log")}
            oldest = min(row["creation"] for row in demo.rows("Error Log", None, ["creation"]))
            assert all(count >= 500 for count in logs.values()) and oldest < "2025-06-01"
            assert demo.count("Sales Order Item") > demo.count("Sales Order") > 0
            documents = [row["docname"] for row in demo.rows("Version", None, ["docname"])]
            assert max(documents.count(name) for name in set(documents)) > 5
    assert seen[0] == seen[1]


def test_many_at_once(sandbox, http):
    """Requests of many threads are each done once and whole."""

    def work(number):
        with client(sandbox.url, sandbox.key, sandbox.secret) as mine:
            for step in range(10):
                made = mine.post(PATH, json={"method": f"{number} {step}"}).json()["data"]["name"]
                assert mine.put(f"{PATH}/{made}", json={"seen": 1}).status_code == 200
                assert len(mine.get(PATH, params={"filters": f'{{"method":"{number} {step}"}}'}).json()["data"]) == 1

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert sandbox.count("Error Log", {"seen": 1}) == 80
    assert [status for *_, status in sandbox.requests] == [200] * 240


def test_seeding_while_serving(sandbox, http):
    """One thread fills the store while another asks for it."""
    with ThreadPoolExecutor(1) as pool:
        seeding = pool.submit(sandbox.seed, "Error Log", ({"method": "m"} for _ in range(20_000)))
        counts = [len(http.get(PATH, params={"limit": 1}).json()["data"]) for _ in range(20)]
        seeding.result()
    assert set(counts) <= {0, 1} and sandbox.count("Error Log") == 20_000


def test_two_sandboxes_know_nothing_of_each_other(sandbox):
    with Sandbox("16") as other:
        sandbox.seed("Error Log", [{"method": "x"}])
        assert (sandbox.count("Error Log"), other.count("Error Log")) == (1, 0) and sandbox.url != other.url


def test_the_clock_may_be_another():
    """Documents are stamped by it, in the site's zone."""
    noon = datetime(2026, 1, 1, 12, 0, 0, 123456, tzinfo=UTC)
    with (
        Sandbox("15", clock=lambda: noon, time_zone="Asia/Kolkata") as sandbox,
        client(sandbox.url, sandbox.key, sandbox.secret) as mine,
    ):
        assert mine.post(PATH, json={"method": "x"}).json()["data"]["creation"] == "2026-01-01 17:30:00.123456"
        zone = mine.get("/api/method/frappe.client.get_time_zone").json()["message"]
        assert zone == {"time_zone": "Asia/Kolkata"}


def test_requests_are_written_down(sandbox, http):
    http.get("/api/method/ping")
    http.get(f"{PATH}/nothing")
    assert list(sandbox.requests) == [
        ("GET", "/api/method/ping", 200),
        ("GET", "/api/resource/Error%20Log/nothing", 404),
    ]
    sandbox.requests.clear()
    assert not sandbox.requests


def test_a_request_that_fails_leaves_nothing(sandbox, http):
    """The second document of the request is refused, so the first is undone."""
    docs = [{"doctype": "ToDo", "description": "a"}, {"doctype": "ToDo", "description": ""}]
    assert http.post("/api/method/frappe.client.insert_many", json={"docs": docs}).status_code == 417
    assert sandbox.count("ToDo") == 0


@pytest.mark.parametrize(
    "ask",
    [
        {"url": PATH, "params": {"limit": "many"}},
        {"url": PATH, "params": {"fields": "[1"}},
        {"url": PATH, "params": {"filters": "5"}},
        {"url": "/api/method/frappe.client.get_list", "params": {"doctype": "Error Log", "fields": "{"}},
    ],
    ids=str,
)
def test_nonsense_is_answered_as_an_error_in_json(http, ask):
    """Never with a server's own page, and the next request is fine."""
    reply = http.get(**ask)
    assert reply.status_code >= 400 and reply.headers["content-type"] == "application/json"
    assert http.get("/api/method/ping").status_code == 200


def test_the_rate_limit_is_a_budget_of_time(sandbox, http):
    """rate_limiter.py: headers on every reply, in microseconds; then 429 with Retry-After, for everybody."""
    sandbox.site_config["rate_limit"] = {"limit": 0.001, "window": 3600}
    first = http.get(PATH)
    assert (first.status_code, first.headers["x-ratelimit-limit"]) == (200, "1000")
    assert {"x-ratelimit-remaining", "x-ratelimit-reset"} <= set(first.headers)
    refused = next(reply for reply in iter(lambda: http.get(PATH), None) if reply.status_code != 200)
    assert (refused.status_code, refused.json()["exc_type"]) == (429, "TooManyRequestsError")
    assert 0 < int(refused.headers["retry-after"]) <= 3600
    assert http.get("/api/method/ping", headers={"Authorization": ""}).status_code == 429
    del sandbox.site_config["rate_limit"]
    assert "x-ratelimit-limit" not in http.get(PATH).headers


def test_maintenance(sandbox, http):
    """503 SessionStopped; with allow_reads_during_maintenance for writes alone."""
    sandbox.site_config["maintenance_mode"] = 1
    reply = http.get(PATH)
    assert (reply.status_code, reply.json()["exc_type"]) == (503, "SessionStopped")
    sandbox.site_config["allow_reads_during_maintenance"] = 1
    assert http.get(PATH).status_code == 200
    assert http.post(PATH, json={"method": "x"}).status_code == 503
    assert sandbox.count("Error Log") == 0


def test_a_paused_worker_goes_on_where_it_was(sandbox, http):
    """Jobs wait while `worker_paused` is set; drain waits for them afterwards."""
    sandbox.seed("Error Log", ({"name": f"e{number}"} for number in range(12)))
    names = "[" + ",".join(f'"e{number}"' for number in range(12)) + "]"
    sandbox.site_config["worker_paused"] = True
    asked = {"doctype": "Error Log", "items": names}
    assert http.post("/api/method/frappe.desk.reportview.delete_items", json=asked).status_code == 200
    assert sandbox.count("Error Log") == 12
    sandbox.site_config["worker_paused"] = False
    sandbox.drain()
    assert sandbox.count("Error Log") == 0


def test_the_outbox(sandbox, http):
    """What was mailed, to whom, and under which Communication."""
    mail = {"recipients": "a@example.com", "subject": "s", "content": "<p>c</p>", "send_email": 1}
    reply = http.post("/api/method/frappe.core.doctype.communication.email.make", json=mail)
    (sent,) = sandbox.outbox
    assert (sent["recipients"], sent["subject"], sent["content"]) == (["a@example.com"], "s", "<p>c</p>")
    assert sent["communication"] == reply.json()["message"]["name"]


def test_without_an_order_rows_come_in_none_that_one_could_rely_on(sandbox, http):
    """So that a client that forgets order_by is seen to."""
    sandbox.seed("Error Log", ({"name": f"e{number:03d}"} for number in range(50)))
    names = [row["name"] for row in http.get(PATH, params={"limit": 0}).json()["data"]]
    assert names != sorted(names) and len(names) == 50


@pytest.mark.long
def test_a_million_rows(sandbox):
    """Seeded and counted."""
    sandbox.seed("Error Log", ({"method": "m"} for _ in range(1_000_000)))
    assert sandbox.count("Error Log") == 1_000_000
