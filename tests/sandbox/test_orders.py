"""The orders API: what it promises to its clients, and the lies that it can be asked to tell them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import httpx
import pytest

from daemon.sandbox import Fault, Orders, Sandbox

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
LINE = {"sku": "Pump", "qty": 2, "rate": 19.5}
ORDER = {"order_id": "SO-1", "customer": "Birch Supply", "items": [LINE]}


class Clock:
    """Goes on by a second with each look."""

    def __init__(self):
        self.moment = NOON

    def __call__(self):
        self.moment += timedelta(seconds=1)
        return self.moment


@pytest.fixture
def api():
    with Orders(clock=Clock()) as served:
        yield served


@pytest.fixture
def http(api):
    with httpx.Client(base_url=api.url, headers={"Authorization": f"Bearer {api.token}"}) as client:
        yield client


def test_nobody_is_served_without_a_token(api):
    """401 to none and to a wrong one, whatever the address."""
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {api.token}"}):
        for path in ("/orders", "/orders/1", "/x"):
            assert httpx.get(api.url + path, headers=headers).status_code == 401


def test_an_order_has_an_id_a_stamp_and_a_version_of_the_server_s(api, http):
    """What a client sends for them is ignored; the total is filled in where it is not sent."""
    made = http.post("/orders", json={**ORDER, "id": "mine", "updated_at": "1999", "version": 9})
    assert made.status_code == 201 and made.headers["etag"] == '"1"'
    assert made.json() == {
        **ORDER, "id": "ord-000001", "status": "new", "note": "", "total": 39.0, "version": 1,
        "updated_at": "2026-01-05T12:00:01.000000Z",
    }  # fmt: skip
    assert made.headers["location"] == "/orders/ord-000001"
    assert http.get("/orders/ord-000001").json() == made.json() == api.orders["ord-000001"]


def test_put_replaces_and_patch_changes(api, http):
    """Each makes a new version, at a new moment; a total follows its items."""
    id = api.add(**ORDER, note="ring")
    patched = http.patch(f"/orders/{id}", json={"status": "paid"}).json()
    assert (patched["note"], patched["status"], patched["version"]) == ("ring", "paid", 2)
    assert patched["updated_at"] > "2026-01-05T12:00:01"
    assert http.patch(f"/orders/{id}", json={"items": [{**LINE, "qty": 4}]}).json()["total"] == 78.0
    put = http.put(f"/orders/{id}", json=ORDER).json()
    assert (put["note"], put["status"], put["total"], put["version"]) == ("", "new", 39.0, 4)
    api.rules.patch = False
    assert http.patch(f"/orders/{id}", json={}).status_code == 405


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"customer": ""}, "customer"),
        ({"customer": None}, "customer"),
        ({"items": []}, "items"),
        ({"items": "x"}, "items"),
        ({"items": [{"qty": 1}]}, "items.0.sku"),
        ({"items": [LINE, {**LINE, "qty": 0}]}, "items.1.qty"),
        ({"items": [{**LINE, "qty": "2"}]}, "items.0.qty"),
        ({"items": [{**LINE, "rate": -1}]}, "items.0.rate"),
        ({"status": ""}, "status"),
        ({"total": "9"}, "total"),
    ],
)
def test_what_is_not_valid_is_refused(change, field, api, http):
    """422, with the field; nothing is made, nothing changed."""
    id = api.add(**ORDER)
    for answer in (http.post("/orders", json={**ORDER, **change}), http.put(f"/orders/{id}", json={**ORDER, **change})):
        assert answer.status_code == 422 and answer.json()["errors"][0]["field"] == field
        assert field in answer.json()["message"]
    assert len(api.orders) == 1 and api.orders[id]["version"] == 1
    assert http.post("/orders", content=b"[]").status_code == http.post("/orders", content=b"{").status_code == 400


def test_a_key_makes_one_order(api, http):
    """The same body is the same 201, also after the order was changed; another body is refused."""
    first = http.post("/orders", json=ORDER, headers={"Idempotency-Key": "k"})
    api.edit("ord-000001", note="changed")
    again = http.post("/orders", json=ORDER, headers={"Idempotency-Key": "k"})
    assert (again.status_code, again.json()) == (201, first.json()) and len(api.orders) == 1
    assert http.post("/orders", json={**ORDER, "note": "x"}, headers={"Idempotency-Key": "k"}).status_code == 422
    assert http.post("/orders", json=ORDER).json()["id"] != first.json()["id"]


def test_a_key_counts_also_where_the_reply_was_lost(api, http):
    """Which is what it is for."""
    api.faults.add(Fault("lose_reply", "POST", times=1))
    with pytest.raises(httpx.TransportError):
        http.post("/orders", json=ORDER, headers={"Idempotency-Key": "k"})
    assert (
        http.post("/orders", json=ORDER, headers={"Idempotency-Key": "k"}).status_code == 201 and len(api.orders) == 1
    )


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
def test_a_condition_is_heeded(method, api, http):
    """412 where the order has another version; 428 to a write without, where the API demands one."""
    id = api.add(**ORDER)
    api.edit(id, note="x")
    ask = lambda **headers: http.request(method, f"/orders/{id}", json=ORDER, headers=headers).status_code  # noqa: E731
    assert ask(**{"If-Match": '"1"'}) == 412
    api.rules.demand_if_match = True
    assert ask() == 428
    assert ask(**{"If-Match": '"2"'}) in (200, 204)


def test_the_list_is_of_what_changed_the_oldest_first(api, http):
    """From a moment on, that moment too, in any zone; by number; in pages of a bounded length."""
    ids = [api.add(**{**ORDER, "order_id": f"SO-{n}"}) for n in range(5)]
    api.edit(ids[0], note="x")
    asked = lambda **query: [one["id"] for one in http.get("/orders", params=query).json()["data"]]  # noqa: E731
    assert asked() == [*ids[1:], ids[0]]
    since = api.orders[ids[3]]["updated_at"]
    assert asked(updated_since=since) == [ids[3], ids[4], ids[0]]
    assert asked(updated_since="2026-01-05T13:00:04+01:00") == [ids[3], ids[4], ids[0]]
    assert asked(order_id="SO-2") == [ids[2]] and asked(order_id="SO-9") == []
    assert asked(page=2, per_page=2) == [ids[3], ids[4]] and asked(page=9) == []
    page = http.get("/orders", params={"per_page": 2}).json()
    assert (page["page"], page["pages"], page["total"]) == (1, 3, 5)
    api.rules.most_per_page = 3
    assert len(asked(per_page=1000)) == 3
    for query in ({"page": 0}, {"per_page": "x"}, {"updated_since": "soon"}):
        assert http.get("/orders", params=query).status_code == 400


def test_what_is_deleted_is_gone(api, http):
    """404, and in the list nothing, or a tombstone where the API has them."""
    id = api.add(**ORDER)
    assert http.delete(f"/orders/{id}").status_code == 204
    for method in ("GET", "PUT", "DELETE"):
        assert http.request(method, f"/orders/{id}", json=ORDER).status_code == 404
    assert http.get("/orders").json()["data"] == []
    api.rules.tombstones = True
    assert http.get("/orders").json()["data"] == [
        {"id": id, "deleted": True, "updated_at": "2026-01-05T12:00:02.000000Z"}
    ]


def test_a_number_is_unique_where_the_api_says_so(api, http):
    """409, to others than the order itself; none is no number."""
    api.rules.unique_order_id = True
    id = api.add(**ORDER)
    assert http.post("/orders", json=ORDER).status_code == 409
    assert http.put(f"/orders/{id}", json=ORDER).status_code == 200
    assert [http.post("/orders", json={**ORDER, "order_id": None}).status_code for _ in range(2)] == [201, 201]


def test_lines_have_ids_where_the_api_gives_them(api, http):
    """A line that comes with its id keeps it, a new one gets one of its own."""
    api.rules.item_ids = True
    items = http.post("/orders", json=ORDER).json()["items"]
    more = http.patch("/orders/ord-000001", json={"items": [*items, LINE]}).json()["items"]
    assert more[0] == items[0] and more[1]["id"] not in ("", items[0]["id"])


def test_its_clock_may_be_wrong():
    """By as much as a test wants."""
    with Orders(clock=lambda: NOON, skew=timedelta(minutes=-7)) as api:
        assert api.orders[api.add(**ORDER)]["updated_at"] == "2026-01-05T11:53:00.000000Z"


def test_tokens_are_given_to_who_knows_the_secret(api):
    """By client credentials; they end when they are told to."""
    form = {"grant_type": "client_credentials"}
    ask = lambda user, secret: httpx.post(f"{api.url}/oauth/token", data=form, auth=(user, secret))  # noqa: E731
    assert ask(api.client_id, "wrong").status_code == 401
    given = ask(api.client_id, api.client_secret).json()
    assert given["token_type"] == "Bearer" and given["expires_in"] == 3600
    read = lambda: httpx.get(f"{api.url}/orders", headers={"Authorization": f"Bearer {given['access_token']}"})  # noqa: E731
    assert read().status_code == 200
    api.expire()
    assert read().status_code == 401
    assert httpx.post(f"{api.url}/oauth/token", data={"grant_type": "password"}).status_code == 400


def test_requests_are_kept_with_what_came(api, http):
    """Method, path, status, query, headers and body; 0 where no reply went out."""
    api.faults.add(Fault("cut", "GET", times=1))
    with pytest.raises(httpx.TransportError):
        http.get("/orders", params={"page": 2})
    http.post("/orders", json=ORDER)
    first, second = api.requests
    assert first[:4] == ("GET", "/orders", 0, {"page": "2"}) and first.body is None
    assert second[:3] == ("POST", "/orders", 201) and second.body == ORDER
    assert second.headers["authorization"] == f"Bearer {api.token}"


# Lies


def lied_to(api, http, kind, page=1, **more):
    api.faults.add(Fault(kind, "GET", "/orders", times=1, **more))
    return http.get("/orders", params={"page": page, "per_page": 2})


@pytest.fixture
def ids(api):
    return [api.add(**ORDER) for _ in range(5)]


def test_each_lie_is_told_as_it_is_described(api, http, ids):
    """Once, where it was asked for, and never otherwise."""
    listed = lambda answer: [one["id"] if isinstance(one, dict) else one for one in answer.json()["data"]]  # noqa: E731
    assert lied_to(api, http, "html").headers["content-type"].startswith("text/html")
    lie = lied_to(api, http, "error_200")
    assert lie.status_code == 200 and lie.json()["error"]["message"]
    assert listed(lied_to(api, http, "repeat_page", 3)) == ids[2:4]
    endless = lied_to(api, http, "endless", 9)
    assert endless.json()["pages"] == 10 and listed(endless) == ids[4:]
    assert listed(lied_to(api, http, "endless", 9, form="new")) == [f"{ids[4]}-9"]
    assert "id" not in lied_to(api, http, "malformed").json()["data"][0]
    assert lied_to(api, http, "malformed", form="id").json()["data"][0]["id"] == {"value": ids[0]}
    assert lied_to(api, http, "malformed", form="stamp").json()["data"][0]["updated_at"] == "yesterday"
    assert lied_to(api, http, "malformed", form="no object").json()["data"][0] == ids[0]
    assert listed(http.get("/orders")) == ids
    assert listed(lied_to(api, http, "drift", 2)) == ids[3:5] and api.orders[ids[0]]["version"] == 2
    assert lied_to(api, http, "expire").status_code == 401 == http.get("/orders").status_code


# Demo


def test_the_demo_is_of_the_sandbox_site_s_own_customers_and_items():
    """Sixty orders of the last month, the oldest first, which that site can take as they are."""
    with Orders(data="demo", clock=lambda: NOON) as api:
        found = list(api.orders.values())
        stamps = [order["updated_at"] for order in found]
        assert (
            len(found) == 60 and stamps == sorted(stamps) and stamps[-1] < "2026-01-05T12" and stamps[0] > "2025-12-06"
        )
    with Sandbox("15", data="demo") as site:
        customers, items = ({row["name"] for row in site.rows(doctype)} for doctype in ("Customer", "Item"))
    assert {order["customer"] for order in found} <= customers
    assert {line["sku"] for order in found for line in order["items"]} <= items
    for order in found:
        assert order["total"] == round(sum(line["qty"] * line["rate"] for line in order["items"]), 2) > 0
