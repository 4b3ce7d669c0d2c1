"""An orders API on 127.0.0.1, for syncs to work against: what web shops and warehouses have, with faults on demand.

    GET    /orders?updated_since=&page=&per_page=&order_id=   {"data": […], "page", "pages", "total"}, the oldest first
    POST   /orders                  201; with Idempotency-Key the same body again is the same 201 again
    GET    /orders/{id}             with an ETag
    PUT    /orders/{id}             the whole order; PATCH: the fields that are sent. If-Match is heeded
    DELETE /orders/{id}             204, then 404
    POST   /oauth/token             client credentials → a token that ends

An order: id, order_id (the other side's number), customer, status, total, items [{sku, qty, rate}], note, updated_at,
version. Ids, stamps and versions are the server's own; what a client sends for them is ignored.
"""

from __future__ import annotations

import json
import threading
from base64 import b64decode
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, Self
from urllib.parse import parse_qsl, unquote, unquote_plus

from starlette.types import Receive, Scope, Send

from daemon.sandbox.faults import Fault, Faults
from daemon.sandbox.listener import Listener, answered, path_of
from daemon.sandbox.replies import Answer, page

Order = dict[str, Any]
SERVERS_OWN = ("id", "updated_at", "version")
BLANK: Order = {"order_id": None, "customer": "", "status": "new", "total": 0, "items": [], "note": ""}


class Seen(NamedTuple):
    """A request that came."""

    method: str
    path: str
    status: int
    """0 where no reply went out."""
    query: dict[str, str]
    headers: dict[str, str]
    """Names in small letters."""
    body: Any
    """Its JSON, None where it has none."""


class Refused(Exception):
    """An answer that is no success."""

    def __init__(self, status: int, message: str, errors: list[dict[str, str]] | None = None) -> None:
        super().__init__(message)
        self.status, self.errors = status, errors

    def answer(self) -> Answer:
        return Answer({"message": str(self), **({"errors": self.errors} if self.errors else {})}, self.status)


@dataclass(slots=True)
class Request:
    """One request, taken apart."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    content: bytes

    @classmethod
    def of(cls, scope: Scope, content: bytes) -> Request:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        query = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
        return cls(scope["method"], path_of(scope), query, headers, content)

    def json(self) -> Any:
        try:
            return json.loads(self.content)
        except ValueError:
            return None

    def order(self) -> Order:
        """Its body. Raises Refused."""
        body = self.json()
        if not isinstance(body, dict):
            raise Refused(400, "the body is no JSON object")
        return body


@dataclass(slots=True)
class Rules:
    """What this API is like."""

    per_page: int
    most_per_page: int
    tombstones: bool
    patch: bool
    demand_if_match: bool
    unique_order_id: bool
    item_ids: bool


@dataclass(slots=True)
class Shop:
    """The orders themselves. Callers hold `lock`."""

    rules: Rules
    clock: Callable[[], datetime]
    orders: dict[str, Order] = field(default_factory=dict)
    gone: dict[str, str] = field(default_factory=dict)
    """id → when it was deleted."""
    made: dict[str, tuple[str, Order]] = field(default_factory=dict)
    """Idempotency-Key → what was sent, what was answered."""
    lock: threading.RLock = field(default_factory=threading.RLock)
    count: int = 0
    lines: int = 0

    def now(self) -> str:
        return stamp(self.clock())

    def create(self, values: Mapping[str, Any]) -> Order:
        """Raises Refused."""
        self.count += 1
        order = self.checked({**BLANK, **values})
        order |= {"id": f"ord-{self.count:06d}", "updated_at": self.now(), "version": 1}
        self.orders[order["id"]] = order
        return order

    def write(self, id: str, values: Mapping[str, Any]) -> Order:
        """The order with `values` in the place of all its fields. Raises Refused."""
        old = self.orders[id]
        order = self.checked({**BLANK, **values}, id)
        order |= {"id": id, "updated_at": self.now(), "version": old["version"] + 1}
        self.orders[id] = order
        return order

    def change(self, id: str, changes: Mapping[str, Any]) -> Order:
        """The order with `changes`; its total follows its items. Raises Refused."""
        old = {key: value for key, value in self.orders[id].items() if key != "total" or "items" not in changes}
        return self.write(id, {**old, **changes})

    def delete(self, id: str) -> None:
        del self.orders[id]
        self.gone[id] = self.now()

    def checked(self, values: Mapping[str, Any], id: str = "") -> Order:
        """What may be set of an order, its total filled in. Raises Refused 422, or 409 for a number that is taken."""
        order = deepcopy({key: values[key] for key in BLANK})
        problems = [{"field": where, "message": what} for where, what in _problems(order)]
        if problems:
            said = "; ".join(f"{one['field']} {one['message']}" for one in problems)
            raise Refused(422, f"the order is not valid: {said}", problems)
        if self.rules.unique_order_id and order["order_id"] is not None:
            taken = [one["id"] for one in self.orders.values() if one["order_id"] == order["order_id"]]
            if set(taken) - {id}:
                raise Refused(409, f"order_id {order['order_id']} is taken by {taken[0]}")
        for item in order["items"]:
            if self.rules.item_ids and not item.get("id"):
                self.lines += 1
                item["id"] = f"line-{self.lines:06d}"
        if values.get("total") in (None, 0):
            order["total"] = round(sum(item["qty"] * item.get("rate", 0) for item in order["items"]), 2)
        return order

    def listed(self, query: Mapping[str, str]) -> list[Order]:
        """Raises Refused."""
        found = list(self.orders.values())
        if self.rules.tombstones:
            found += [{"id": id, "deleted": True, "updated_at": when} for id, when in self.gone.items()]
        if since := query.get("updated_since"):
            try:
                moment = datetime.fromisoformat(since)
            except ValueError:
                raise Refused(400, f"updated_since {since!r} is no ISO time") from None
            least = stamp(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
            found = [one for one in found if one["updated_at"] >= least]
        if (order_id := query.get("order_id")) is not None:
            found = [one for one in found if one.get("order_id") == order_id]
        return sorted(found, key=lambda one: (one["updated_at"], one["id"]))


def _problems(order: Order) -> Iterator[tuple[str, str]]:
    if not isinstance(order["customer"], str) or not order["customer"].strip():
        yield "customer", "is needed"
    if not isinstance(order["status"], str) or not order["status"]:
        yield "status", "is needed"
    if not isinstance(order["items"], list) or not order["items"]:
        yield "items", "are needed"
        return
    for number, item in enumerate(order["items"]):
        if not isinstance(item, dict) or not item.get("sku"):
            yield f"items.{number}.sku", "is needed"
        elif not _is_number(item.get("qty")) or item["qty"] <= 0:
            yield f"items.{number}.qty", "must be greater than 0"
        elif not _is_number(item.get("rate", 0)) or item.get("rate", 0) < 0:
            yield f"items.{number}.rate", "must not be negative"
    if order["total"] is not None and not _is_number(order["total"]):
        yield "total", "is no number"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def stamp(moment: datetime) -> str:
    """2026-01-31T12:00:00.000000Z: texts that sort as the moments do."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


class Orders:
    """The API, for as long as the `with` lasts.

    `data`: "empty", or "demo" for sixty orders of the customers and items of the sandbox site's demo; `clock`: what it
    takes for the time, `skew` later; `tombstones`: the list shows what was deleted; `patch` False: 405;
    `demand_if_match`: 428 to a write without; `unique_order_id`: 409 to a second order of a number; `item_ids`: lines
    get ids of the server's; `token_lasts`: seconds that a token of /oauth/token is good for.
    """

    def __init__(
        self,
        *,
        data: str = "empty",
        clock: Callable[[], datetime] | None = None,
        skew: timedelta = timedelta(0),
        per_page: int = 20,
        most_per_page: int = 100,
        tombstones: bool = False,
        patch: bool = True,
        demand_if_match: bool = False,
        unique_order_id: bool = False,
        item_ids: bool = False,
        token_lasts: int = 3600,
        port: int = 0,
    ) -> None:
        rules = Rules(per_page, most_per_page, tombstones, patch, demand_if_match, unique_order_id, item_ids)
        read = clock or _now
        self.skew = skew
        self.shop = Shop(rules, lambda: read() + self.skew)
        self.token = "orders-api-token-1"
        self.client_id, self.client_secret = "orders-client", "orders-client-secret"
        self.tokens = {self.token}
        """Those that are good."""
        self.tokens_made = 0
        self._token_lasts = token_lasts
        self.faults = Faults()
        self.requests: deque[Seen] = deque(maxlen=100_000)
        if data == "demo":
            fill(self)
        self._listener = Listener(port)
        self.url = self._listener.url

    @property
    def rules(self) -> Rules:
        """May be changed at any time."""
        return self.shop.rules

    # Its data, past HTTP

    @property
    def orders(self) -> dict[str, Order]:
        """id → order: the data itself."""
        return self.shop.orders

    def add(self, **values: Any) -> str:
        """Make an order, as another client would; its id. Raises Refused."""
        with self.shop.lock:
            return str(self.shop.create(values)["id"])

    def edit(self, id: str, **changes: Any) -> Order:
        """Change an order, as another client would. Raises Refused."""
        with self.shop.lock:
            return self.shop.change(id, changes)

    def remove(self, id: str) -> None:
        """Delete an order, as another client would."""
        with self.shop.lock:
            self.shop.delete(id)

    def expire(self) -> None:
        """All tokens end; only /oauth/token gives new ones."""
        with self.shop.lock:
            self.tokens.clear()

    # Its life

    def __enter__(self) -> Self:
        self._listener.start(self._app)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._listener.stop()

    # The wire

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        taken: list[Request] = []

        def work(scope: Scope, body: bytes, hit: list[Fault]) -> Answer:
            taken.append(Request.of(scope, body))
            with self.shop.lock:
                return self._faulty(taken[0], hit) or self._answer(taken[0], hit)

        def log(_scope: Scope, status: int) -> None:
            request = taken[0]
            self.requests.append(
                Seen(request.method, request.path, status, request.query, request.headers, request.json())
            )

        await answered(scope, receive, send, self.faults, work, log)

    def _faulty(self, request: Request, hit: list[Fault]) -> Answer | None:
        """The reply of a request that is not worked on."""
        for fault in hit:
            if fault.kind == "cut":
                return page(0, "cut")
            if fault.kind == "html":
                return page(200, "Welcome")
            if fault.kind == "error_200":
                return Answer({"error": {"code": "internal", "message": "the order book is locked"}})
            if fault.kind == "expire":
                self.tokens.discard(_bearer(request))
            if fault.kind == "deadlock":
                return Answer({"message": "deadlock detected"}, 500)
            if fault.kind == "status":
                answer = page(fault.code, "Unavailable") if fault.html else Answer({"message": "not now"}, fault.code)
                if fault.retry_after is not None:
                    answer.headers["Retry-After"] = f"{fault.retry_after:g}"
                return answer
        return None

    def _answer(self, request: Request, hit: list[Fault]) -> Answer:
        try:
            if request.path == "/oauth/token":
                return self._give_token(request)
            if _bearer(request) not in self.tokens:
                answer = Refused(401, "the token is not valid").answer()
                answer.headers["WWW-Authenticate"] = 'Bearer realm="orders", error="invalid_token"'
                return answer
            if request.path == "/orders":
                return self._of_all(request, {fault.kind: fault for fault in hit})
            return self._of_one(request, _id_in(request.path))
        except Refused as refused:
            return refused.answer()

    def _give_token(self, request: Request) -> Answer:
        """RFC 6749, 4.4 and 5."""
        form = dict(parse_qsl(request.content.decode("latin-1")))
        given = _basic(request) or (form.get("client_id"), form.get("client_secret"))
        if request.method != "POST" or form.get("grant_type") != "client_credentials":
            return Answer({"error": "unsupported_grant_type"}, 400)
        if given != (self.client_id, self.client_secret):
            return Answer({"error": "invalid_client", "error_description": "unknown client or wrong secret"}, 401)
        self.tokens_made += 1
        token = f"orders-fetched-token-{self.tokens_made}"
        self.tokens.add(token)
        return Answer({"access_token": token, "token_type": "Bearer", "expires_in": self._token_lasts})

    def _of_all(self, request: Request, lies: Mapping[str, Fault]) -> Answer:
        if request.method == "GET":
            return self._list(request, lies)
        if request.method == "POST":
            return self._create(request)
        raise Refused(405, f"{request.method} is not for /orders")

    def _list(self, request: Request, lies: Mapping[str, Fault]) -> Answer:
        number, length = _whole(request, "page", 1), _whole(request, "per_page", self.rules.per_page)
        length = min(length, self.rules.most_per_page)
        if "drift" in lies and self.orders:
            oldest = min(self.orders.values(), key=lambda one: (one["updated_at"], one["id"]))
            self.edit(oldest["id"], note=f"edited before page {number} was read")
        found = self.shop.listed(request.query)
        pages = -(-len(found) // length)
        wanted = number - 1 if "repeat_page" in lies and number > 1 else number
        if endless := lies.get("endless"):
            wanted = min(wanted, max(pages, 1))
            pages = number + 1
        data = deepcopy(found[(wanted - 1) * length : wanted * length])
        if endless and endless.form == "new" and number > wanted:
            data = [{**one, "id": f"{one['id']}-{number}"} for one in data]
        if (lie := lies.get("malformed")) and data:
            data[0] = _spoilt(data[0], lie.form)
        return Answer({"data": data, "page": number, "pages": pages, "total": len(found)})

    def _create(self, request: Request) -> Answer:
        order, key = request.order(), request.headers.get("idempotency-key", "")
        body = json.dumps(order, sort_keys=True)
        if key in self.shop.made:
            before, made = self.shop.made[key]
            if before != body:
                raise Refused(422, "this Idempotency-Key was used for another order")
            return _one(made, 201)
        made = self.shop.create(order)
        if key:
            self.shop.made[key] = (body, deepcopy(made))
        answer = _one(made, 201)
        answer.headers["Location"] = f"/orders/{made['id']}"
        return answer

    def _of_one(self, request: Request, id: str) -> Answer:
        if id not in self.orders:
            raise Refused(404, f"there is no order {id}")
        if request.method == "GET":
            return _one(self.orders[id])
        if request.method not in ("PUT", "PATCH", "DELETE") or (request.method == "PATCH" and not self.rules.patch):
            raise Refused(405, f"{request.method} is not for an order")
        self._heed_condition(request, self.orders[id])
        if request.method == "DELETE":
            self.shop.delete(id)
            return Answer(b"", 204)
        sent = request.order()
        return _one((self.shop.change if request.method == "PATCH" else self.shop.write)(id, sent))

    def _heed_condition(self, request: Request, order: Order) -> None:
        condition = request.headers.get("if-match")
        if condition is None and self.rules.demand_if_match:
            raise Refused(428, "a change needs If-Match")
        if condition not in (None, "*", etag(order)):
            raise Refused(412, f"the order was changed; it is at version {order['version']}")


def _id_in(path: str) -> str:
    _, place, id, *rest = [*path.split("/"), ""]
    if place != "orders" or rest not in ([], [""]):
        raise Refused(404, "there is no such address")
    return unquote(id)


def etag(order: Order) -> str:
    return f'"{order["version"]}"'


def _one(order: Order, status: int = 200) -> Answer:
    headers = {"ETag": etag(order)} if "version" in order else {}
    return Answer(deepcopy(order), status, headers)


def _bearer(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token if scheme.lower() == "bearer" else ""


def _basic(request: Request) -> tuple[str, str] | None:
    scheme, _, code = request.headers.get("authorization", "").partition(" ")
    try:
        user, _, secret = b64decode(code, validate=True).decode().partition(":")
    except ValueError:
        return None
    return (unquote_plus(user), unquote_plus(secret)) if scheme.lower() == "basic" else None


def _whole(request: Request, name: str, default: int) -> int:
    text = request.query.get(name, "")
    if not text:
        return default
    if not text.isascii() or not text.isdigit() or int(text[:9]) < 1:
        raise Refused(400, f"{name} is a number from 1")
    return int(text[:9])


def _spoilt(order: Order, form: str) -> Any:
    match form:
        case "no object":
            return order["id"]
        case "id":
            return {**order, "id": {"value": order["id"]}}
        case "stamp":
            return {**order, "updated_at": "yesterday"}
        case _:
            return {key: value for key, value in order.items() if key != "id"}


def _now() -> datetime:
    return datetime.now(UTC)


# Demo

NOTES = (
    "",
    "",
    "",
    "Ring before delivery",
    "Gift wrap",
    "Second attempt after a failed payment",
    "Collect at the counter",
)


def fill(api: Orders) -> None:
    """Sixty orders of the last month, of customers and items that the sandbox site's demo knows."""
    import random

    from daemon.sandbox.demo import CUSTOMERS, ITEMS

    rng, now = random.Random(60), api.shop.clock()
    moments = sorted(now - timedelta(seconds=rng.uniform(3600, 30 * 86400)) for _ in range(60))
    for moment in moments:
        lines = [
            {"sku": sku, "qty": rng.randint(1, 12), "rate": rng.randint(200, 9000) / 100}
            for sku in rng.sample(ITEMS, rng.randint(1, 4))
        ]
        days = (now - moment).days
        status = rng.choice(("shipped", "shipped", "cancelled") if days > 7 else ("new", "paid", "paid"))
        id = api.add(customer=rng.choice(CUSTOMERS), status=status, items=lines, note=rng.choice(NOTES))
        api.orders[id]["updated_at"] = stamp(moment)
