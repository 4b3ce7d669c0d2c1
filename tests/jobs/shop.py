"""A site, an orders API and a daemon that keeps them in step, for tests of syncs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from daemon.core.links import Link
from daemon.core.mapping import Fields, compiled
from daemon.runner import Order
from daemon.sandbox import Sandbox
from daemon.sandbox.orders import Orders
from daemon.site import provision
from daemon.state.links import Links
from tests.conftest import Daemon

HEAD = """
[jobs.orders]
kind = "sync"
schedule = { pull = "hourly", push = "*/15 * * * *" }
"""
SITE = """
[jobs.orders.site]
doctype = "Sales Order"
filters = [["docstatus", "=", 1]]
id_field = "custom_external_id"
pending_field = "custom_external_sync_pending"
synced_field = "custom_last_synced"
"""
RECORD = """
[jobs.orders.api.record]
stamp = "updated_at"
read = "GET /orders/{id}"
create = "POST /orders"
update = "PATCH /orders/{id}"
delete = "DELETE /orders/{id}"
"""
FIND = 'find = { key = "order_id", params = { order_id = "{key}" } }\n'
LIST = """
[jobs.orders.api.list]
path = "/orders"
records = "data"
since = "updated_since"
paging = { style = "page", length = "per_page", pages = "pages" }
"""
FIELDS = """
[[jobs.orders.fields]]
site = "name"
remote = "order_id"
flow = "push"
[[jobs.orders.fields]]
site = "customer"
remote = "customer"
[[jobs.orders.fields]]
site = "po_no"
remote = "note"
[[jobs.orders.fields]]
site = "grand_total"
remote = "total"
flow = "push"
[[jobs.orders.fields]]
site = "custom_external_status"
remote = "status"
flow = "pull"
[[jobs.orders.fields]]
site = "items"
remote = "items"
key = "item_code"
rows = [{ site = "item_code", remote = "sku" }, { site = "qty", remote = "qty" }, { site = "rate", remote = "rate" }]
"""


class Shop:
    """A site, an orders API and the daemon between them."""

    def __init__(self, sandbox: Sandbox, api: Orders, daemon: Daemon) -> None:
        self.sandbox, self.api, self.daemon = sandbox, api, daemon
        self.job = daemon.app.job("orders.pull")
        with daemon.app.site() as site:
            list(provision.apply(site, provision.to_make(site, self.job.kind.provisions(self.job.settings, site))))

    def run(self, direction: str = "both", **order: Any) -> dict[str, Any]:
        app = self.daemon.app
        job = app.job("orders" if direction == "both" else f"orders.{direction}")
        wish = order.pop("wish", {})
        return app.runner.run(Order(job, app.new_run_id(), "by hand", wish=wish, **order))

    def watched(self, direction: str, watch: Callable[[bool], None]) -> dict[str, Any]:
        """A run, each of whose requests is told before it is sent and once it is answered: whether it writes."""
        app = self.daemon.app
        open_site, open_remote = app.runner.open_site, app.runner.open_remote
        app.runner.open_site = lambda *a: _watched(open_site(*a), watch)
        app.runner.open_remote = lambda *a: _watched(open_remote(*a), watch)
        try:
            return self.run(direction)
        finally:
            app.runner.open_site, app.runner.open_remote = open_site, open_remote

    @property
    def links(self) -> Links:
        return Links(self.daemon.app.state, "sync orders")

    def link(self, name: str) -> Link:
        (found,) = self.links.find(name)
        return found

    def site(self, act: Callable[[Any], Any]) -> Any:
        """As a person would at the desk, whom no fault meets."""
        faults = self.sandbox.faults
        active = list(faults._active)
        faults.clear()
        try:
            with self.daemon.app.site() as site:
                return act(site)
        finally:
            for fault in active:
                faults.add(fault)

    def order(self, *, submit: bool = True, **values: Any) -> str:
        doc = {
            "doctype": "Sales Order",
            "customer": "Acme",
            "items": [{"item_code": "A", "qty": 1, "rate": 5}],
            **values,
        }
        made = self.site(lambda site: site.insert(doc))
        if submit:
            self.edit(made["name"], docstatus=1)
        return str(made["name"])

    def edit(self, name: str, **values: Any) -> None:
        self.site(lambda site: site.update({"doctype": "Sales Order", "name": name, **values}))

    def doc(self, name: str) -> dict[str, Any]:
        return dict(self.site(lambda site: site.get_doc("Sales Order", name)))

    def by_id(self, id_: str) -> dict[str, Any]:
        (row,) = self.sandbox.rows("Sales Order", {"custom_external_id": id_}, ["name"])
        return self.doc(row["name"])

    def placed(self, **values: Any) -> str:
        return self.api.add(**{"customer": "Acme", "items": [{"sku": "A", "qty": 2, "rate": 10}], **values})

    def settings_fields(self) -> Fields:
        settings, zone = self.job.settings, self.sandbox.site.zone
        return compiled(settings.fields, self.site(lambda site: site.meta("Sales Order")), zone)

    def writes(self) -> list[str]:
        """What was written on either side since the last call."""
        found = [f"{seen.method} {seen.path}" for seen in self.api.requests if seen.method != "GET"]
        found += [
            f"{m} {p}"
            for m, p, _ in self.sandbox.requests
            if m in ("PUT", "DELETE") or (m == "POST" and "/resource/" in p)
        ]
        self.api.requests.clear()
        self.sandbox.requests.clear()
        return found


def _watched(port: Any, watch: Callable[[bool], None]) -> Any:
    """`port`, each of whose requests is told."""
    send = port.transport.send

    def told(first: Any, *args: Any, **more: Any) -> Any:
        writing = getattr(first, "method", first) != "GET" and "get_list" not in str(args)
        watch(writing)
        answer = send(first, *args, **more)
        watch(writing)
        return answer

    port.transport.send = told
    return port
