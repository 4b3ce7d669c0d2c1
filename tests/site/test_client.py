"""`Site` keeps the vocabulary of frappe-client and has none of its faults: one test for each, over real HTTP."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import date
from decimal import Decimal

import httpx
import pytest
import respx
from frappeclient.frappeclient import FrappeClient

from daemon import errors
from daemon.runner import RunClock
from daemon.sandbox import Fault, Sandbox
from daemon.site.client import Site
from daemon.site.limiter import Limiter
from daemon.site.transport import Retry, Transport
from tests.conftest import FakeClock


def site_of(sandbox: Sandbox, user: str = "manager@example.com", **more) -> Site:
    key, secret = sandbox.keys.get(user, ("a-wrong-key", "a-wrong-secret"))
    return site_at(sandbox.url, key=key, secret=secret, **more)


def site_at(url: str, key: str = "key", secret: str = "secret", **more) -> Site:
    clock = FakeClock()
    limiter = Limiter(4, clock.monotonic)
    more = {"retry": Retry(3, 60), "note": lambda *_, **__: None} | more
    return Site(Transport(url, key=key, secret=secret, limiter=limiter, clock=clock, **more))


@pytest.fixture
def site(sandbox: Sandbox) -> Iterator[Site]:
    with site_of(sandbox) as client:
        yield client


def todo(text: str = "x", **more) -> dict:
    return {"doctype": "ToDo", "description": text} | more


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault("status", code=417, html=False), errors.Invalid),
        (Fault("status", code=429, html=False), errors.Throttled),
        (Fault("status", code=404), errors.NotFrappe),
        (Fault("status", code=500), errors.Transient),
        (Fault("deadlock"), errors.Transient),
    ],
)
def test_1_no_failure_passes_as_success(fault, error, sandbox, site):
    """The status decides: a body without `exc` is an error all the same, never None."""
    sandbox.faults.add(fault)
    with pytest.raises(error):
        site.get_list("ToDo")


def test_2_every_request_has_time_outs_and_is_retried_within_bounds(sandbox, site):
    """Connect, read, write and pool; a failure that passes is not seen by the caller."""
    timeout = site.transport.http.timeout
    assert None not in (timeout.connect, timeout.read, timeout.write, timeout.pool)
    sandbox.faults.add(Fault("status", code=502, times=2))
    assert site.get_list("ToDo") == [] and site.transport.traffic.retries == 2


def test_3_nothing_is_called_at_the_sites_root(sandbox, site):
    """What the package posts to `/` with `cmd=` goes to /api, so errors are JSON and version 17 takes it."""
    doc = site.insert(todo())
    site.bulk_update([{"doctype": "ToDo", "docname": doc["name"], "priority": "High"}])
    site.set_value("ToDo", doc["name"], "priority", "Low")
    assert site.get_value("ToDo", "priority", {"name": doc["name"]}) == {"priority": "Low"}
    assert site.get_request({"cmd": "frappe.auth.get_logged_user"}) == "manager@example.com"
    assert site.post_request({"cmd": "frappe.client.get_count", "doctype": "ToDo"}) == 1
    with pytest.raises(errors.NotPermitted):
        site.delete("ToDo", doc["name"])
    assert all(path.startswith("/api/") for _, path, _ in sandbox.requests)


def test_4_insert_many_works(site):
    """It names what it inserted; one bad document undoes all."""
    names = site.insert_many([todo(str(number)) for number in range(200)])
    assert len(set(names)) == 200
    with pytest.raises(errors.Invalid):
        site.insert_many([todo("good"), todo("")])
    with pytest.raises(errors.Invalid):
        site.insert_many([todo()] * 201)
    assert site.count("ToDo") == 200


def test_5_submit_and_cancel_work(sandbox, site):
    """`doc` is what the server wants; the document must be as it was read."""
    sandbox.seed("Customer", [{"name": "C", "customer_name": "C"}])
    sandbox.seed("Item Group", [{"name": "G", "item_group_name": "G"}])
    sandbox.seed("Item", [{"name": "I", "item_code": "I", "item_group": "G"}])
    order = site.insert({"doctype": "Sales Order", "customer": "C", "delivery_date": "2030-01-01",
                         "items": [{"item_code": "I", "qty": 1, "rate": 5}]})  # fmt: skip
    order = site.get_doc("Sales Order", order["name"])
    assert site.submit(order)["docstatus"] == 1
    with pytest.raises(errors.StaleDocument):
        site.submit(order | {"modified": "2020-01-01 00:00:00.000000"})
    assert site.cancel("Sales Order", order["name"])["docstatus"] == 2


def test_6_a_list_is_whole_ordered_and_can_be_narrowed(site):
    """Not twenty rows, not in any order, and with or_filters, group_by and parent."""
    site.insert_many([todo(str(number), priority="High" if number % 2 else "Low") for number in range(50)])
    rows = site.get_list("ToDo", ["name"])
    assert len(rows) == 50 and [row["name"] for row in rows] == sorted(row["name"] for row in rows)
    assert len(site.get_list("ToDo", ["name"], limit_start=45, limit_page_length=20)) == 5
    either = [["description", "=", "1"], ["description", "=", "2"]]
    assert len(site.get_list("ToDo", ["name"], or_filters=either)) == 2
    assert len(site.get_list("ToDo", ["priority"], group_by="priority")) == 2
    assert site.get_list("Has Role", ["role"], {"parent": "clerk@example.com"}, parent="User") == [
        {"role": "Sales User"}
    ]


@pytest.mark.parametrize("name", ["a/b", "a?b", "a#b", "100 %", "a&b=c", "ä 'ö'", "x/y/z?#%"])
def test_7_names_are_quoted(name, sandbox, site):
    """Whatever is in a name, the document of that name is meant."""
    sandbox.seed("Role", [{"name": name, "role_name": name}])
    assert site.get_doc("Role", name)["name"] == name
    assert site.update({"doctype": "Role", "name": name, "desk_access": 1})["desk_access"] == 1
    site.delete("Role", name)
    with pytest.raises(errors.NotFound):
        site.get_doc("Role", name)


@pytest.mark.parametrize("name", ["", None])
def test_7_an_empty_name_is_no_list(name, site):
    """The package's address for it is the list's; here it is a mistake of the caller's."""
    with pytest.raises(errors.UsageError):
        site.get_doc("Role", name)
    with pytest.raises(errors.UsageError):
        site.update({"doctype": "Role", "name": name or ""})


def test_8_headers_are_those_of_the_session(sandbox, site):
    """Every call carries the key and asks for JSON; TLS is decided once, for all of them."""
    headers = site.transport.http.headers
    assert headers["accept"] == "application/json" and headers["authorization"].startswith("Basic ")


def test_9_arguments_of_a_post_travel_in_its_body(sandbox, site):
    """Not in the query, where length is limited and logs keep them; lists and dicts arrive as they are."""
    long = [f"name-{number}" for number in range(5000)]
    payload = {"doctype": "ToDo", "filters": [["name", "in", long]]}
    assert site.post_api("frappe.client.get_count", payload) == 0
    assert site.get_list("ToDo", ["name"], [["name", "in", long]]) == []
    assert inspect.signature(Site.post_api).parameters["params"].default is None


def test_10_values_keep_their_types(site):
    """None stays nothing, True is 1, a date and a decimal are written as Frappe writes them."""
    doc = site.insert(todo(date=date(2026, 1, 2), reference_name=None))
    found = site.get_doc("ToDo", doc["name"])
    assert found["date"] == "2026-01-02" and found["reference_name"] is None
    assert site.set_value("ToDo", doc["name"], "date", None)
    assert not site.get_doc("ToDo", doc["name"])["date"]
    currency = site.insert({"doctype": "Currency", "currency_name": "X", "enabled": True})
    assert site.get_doc("Currency", currency["name"])["enabled"] == 1 and Decimal("1.5")


def test_11_leaving_sends_no_logout(sandbox):
    """No request, and so no Activity Log row for each run."""
    with site_of(sandbox) as client:
        client.user()
        client.logout()
    assert [path for _, path, _ in sandbox.requests] == ["/api/method/frappe.auth.get_logged_user"]


def test_12_a_redirect_is_told_and_not_followed(sandbox, site):
    """A POST would become a GET; the address to write into the configuration is told instead."""
    sandbox.faults.add(Fault("status", code=301))
    with pytest.raises(errors.NotFrappe) as caught:
        site.insert(todo())
    assert "site.url" in caught.value.action and len(sandbox.requests) == 1


def test_13_an_error_carries_what_the_site_said(site, capsys):
    """Status, class and message as fields; nothing is printed."""
    with pytest.raises(errors.Invalid) as caught:
        site.insert(todo(""))
    error = caught.value
    assert (error.status, error.exc_type) == (417, "MandatoryError") and "Description" in str(error)
    assert capsys.readouterr() == ("", "")


def test_14_a_reply_without_message_or_data_comes_whole(site):
    """`docs` of getdoctype, for one."""
    assert "docs" in site.get_api("frappe.desk.form.load.getdoctype", {"doctype": "ToDo"})
    assert site.meta("Sales Order").tables and "delivery_date" in site.meta("Sales Order").columns


def test_15_files_are_bytes(sandbox, site, monkeypatch):
    """What is not text arrives unharmed."""
    from daemon.site.replies import Reply

    monkeypatch.setattr(site.transport, "send", lambda *_, **__: Reply(200, "application/pdf", b"%PDF\xff\x00"))
    assert site.get_pdf("ToDo", "x").read() == b"%PDF\xff\x00"


def test_16_sessions_are_refused(site):
    """A session's cookie would outrank the key (frappe/auth.py)."""
    with pytest.raises(errors.UsageError):
        site.login("somebody", "password")
    with pytest.raises(errors.UsageError):
        site.authenticate("key", "secret")


def test_17_what_is_handed_over_is_not_changed(site):
    """Documents and filters of the caller stay as they were; failures of a bulk update are returned."""
    doc, filters = todo(tags=["a"]), {"description": ["like", "%x%"]}
    before = (dict(doc), dict(filters))
    site.insert(doc)
    site.get_list("ToDo", ["name"], filters)
    assert (doc, filters) == before
    failed = site.bulk_update([{"doctype": "ToDo", "docname": "nonsense", "priority": "Low"}])["failed_docs"]
    assert len(failed) == 1


def test_18_what_is_gone_from_frappe_says_so(site):
    """Upload templates; a sentence instead of an IndexError."""
    with pytest.raises(errors.UsageError, match="Data Import"):
        site.get_upload_template("ToDo")


def test_19_the_whole_vocabulary_is_answered_here():
    """No public method of the package's is reached through `Site`: each would bring its faults along."""
    public = {name for name, value in vars(FrappeClient).items() if inspect.isfunction(value) and name[0] != "_"}
    plumbing = {"preprocess", "post_process", "post_process_file_stream"}
    assert public - plumbing <= set(vars(Site)) and issubclass(Site, FrappeClient)


def test_importing_the_site_imports_no_ipython():
    """frappe-client asks for it to be installed; nothing loads it."""
    import subprocess
    import sys

    code = "import sys, daemon.site.client, daemon.service; sys.exit('IPython' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_written_modified_guards_against_overwriting(site):
    """With `modified` as it was read, somebody else's save in between is an error and not a loss."""
    doc = site.insert(todo("one"))
    site.update({"doctype": "ToDo", "name": doc["name"], "description": "two", "modified": doc["modified"]})
    with pytest.raises(errors.StaleDocument):
        site.update({"doctype": "ToDo", "name": doc["name"], "description": "three", "modified": doc["modified"]})
    assert site.get_doc("ToDo", doc["name"])["description"] == "two"


def test_pages_hold_each_row_once_while_rows_come_and_go(sandbox, site):
    """Rows that stay throughout are read exactly once, though others are inserted and deleted between the pages."""
    site.insert_many([todo(f"stays {number}") for number in range(100)])
    doomed = site.insert_many([todo("goes") for _ in range(50)])
    seen: list[str] = []
    for key in (("name",), ("creation", "name"), ("modified", "name"), ("priority", "creation desc", "name desc")):
        seen.clear()
        for number, page in enumerate(site.paginate("ToDo", ["description"], key=key, page_length=7)):
            seen += [row["name"] for row in page if row["description"].startswith("stays")]
            site.insert(todo("new"))
            if number < len(doomed):
                sandbox.site.store.run('DELETE FROM "tabToDo" WHERE name = ?', (doomed[number],))
        assert len(seen) == len(set(seen)) == 100


def test_a_run_that_is_stopped_waits_no_longer(sandbox):
    """A retry's wait ends with the run, not with its time."""
    from datetime import timedelta

    stop = threading.Event()
    fake = FakeClock(on_pause=stop.set)
    clock = RunClock(fake, stop, timedelta(hours=1))
    key, secret = sandbox.keys["manager@example.com"]
    transport = Transport(
        sandbox.url, key=key, secret=secret, limiter=Limiter(1, fake.monotonic), clock=clock, note=lambda *_, **__: None
    )
    sandbox.faults.add(Fault("cut"))
    with Site(transport) as client, pytest.raises(errors.Stopped):
        client.user()
    assert len(sandbox.requests) == 1


@pytest.mark.parametrize("name", ["7111027445", "12e3456789"])
def test_a_name_that_looks_like_a_number_is_a_name(name, sandbox, site):
    """Hash names may be all digits, or digits around an e."""
    sandbox.seed("ToDo", [{"name": name, "description": "x"}])
    assert site.get_value("ToDo", "description", name) == {"description": "x"}


SHAPES = [None, 7, "text", [1], {"a": 1}, [["x"]], {"frappe": "15"}, {"frappe": {"version": None}}, [{"name": "a"}]]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "ask",
    [
        lambda site: site.get_list("ToDo"),
        lambda site: list(site.paginate("ToDo", key=("creation", "name"))),
        lambda site: site.get_doc("ToDo", "x"),
        lambda site: site.insert(todo()),
        lambda site: site.insert_many([todo(), todo()]),
        lambda site: site.user(),
        lambda site: site.roles("x"),
        lambda site: site.clock,
        lambda site: site.dialect,
        lambda site: site.meta("ToDo"),
        lambda site: site.count("Error Log"),
    ],
)
@respx.mock
def test_a_success_of_another_shape_is_no_bug_of_ours(shape, ask):
    """Whatever JSON comes with a 200, it is what was asked for or a SiteError."""
    respx.route().mock(return_value=httpx.Response(200, json={"message": shape, "data": shape, "docs": shape}))
    with suppress(errors.SiteError), site_at("http://erp.example.com") as site:
        ask(site)


@pytest.mark.parametrize("zone", ["America", "X" * 5000, "../../etc/passwd", "\0", 7, ["UTC"], ""])
@respx.mock
def test_a_time_zone_that_is_none_is_told(zone):
    """Names that the zone database answers with an OSError are unknown ones; an empty one is Frappe's own default."""
    respx.route().mock(return_value=httpx.Response(200, json={"message": {"time_zone": zone}}))
    with site_at("http://erp.example.com") as site:
        if zone == "":
            assert site.clock.zone.key == "Asia/Kolkata"
        else:
            with pytest.raises(errors.NotConfigured):
                _ = site.clock
