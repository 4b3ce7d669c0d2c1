"""The law of syncs, whatever two people and a bad network do: once it is quiet, both sides agree or the pair waits for
a person; nothing is doubled, no update is lost, and a run after that writes nothing."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import ExitStack, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from daemon.core.links import FOR_A_PERSON, Status
from daemon.sandbox import Fault, Sandbox
from daemon.sandbox.orders import Orders
from tests.conftest import Daemon
from tests.jobs.test_sync import FIELDS, FIND, HEAD, LIST, RECORD, SITE, Shop


class Killed(BaseException):
    """Ends a run as SIGKILL would: nothing in the daemon handles it."""


TOP = 'deleted = { site = "propagate", remote = "propagate" }\nmax_change = 100\nmax_delete = 100\n'
SKEWS = [timedelta(0), timedelta(hours=3), timedelta(hours=-3)]
CUSTOMERS = st.sampled_from(["Acme", "Beta", "Gamma"])
NOTES = st.sampled_from(["", "one", "two", "three"])
QTY = st.integers(1, 4)
FAULTS = st.sampled_from([
    ("api", "lose_reply", "POST"), ("api", "cut", "POST"), ("api", "lose_reply", "PATCH"), ("api", "cut", "PATCH"),
    ("api", "lose_reply", "DELETE"), ("api", "status", "*"), ("api", "drift", "GET"), ("site", "lose_reply", "POST"),
    ("site", "cut", "POST"), ("site", "lose_reply", "PUT"), ("site", "cut", "PUT"), ("site", "deadlock", "*"),
    ("site", "status", "*"), ("site", "lose_reply", "DELETE"),
])  # fmt: skip


class Syncing(RuleBasedStateMachine):
    """Two sides, edited at random, and a daemon between them."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.folder = Path(tempfile.mkdtemp())
        self.numbers = 0

    @initialize(skew=st.sampled_from(SKEWS), tombstones=st.booleans(), put=st.booleans())
    def begin(self, skew: timedelta, tombstones: bool, put: bool) -> None:
        sandbox = self.stack.enter_context(Sandbox("15"))
        api = self.stack.enter_context(Orders(skew=skew, tombstones=tombstones))
        sandbox.seed("Customer", [{"name": name, "customer_name": name} for name in ("Acme", "Beta", "Gamma")])
        sandbox.seed("Item", [{"name": code, "item_code": code} for code in "ABC"])
        remote = f'[jobs.orders.api]\nurl = "{api.url}"\nauth = {{ bearer = {{ env = "TOKEN" }} }}\n'
        remote += "retry = { attempts = 2 }\n"
        record = RECORD.replace("PATCH", "PUT") if put else RECORD
        record += 'deleted = "deleted"\n' if tombstones else ""
        self.jobs = HEAD + TOP + SITE + remote + LIST + record + FIND + FIELDS
        self.shop = Shop(sandbox, api, self.started(sandbox, api))

    def started(self, sandbox: Sandbox, api: Orders) -> Daemon:
        return Daemon(sandbox, self.folder, self.jobs, environ={"TOKEN": api.token})

    # What people do

    def documents(self, **where: Any) -> list[str]:
        return sorted(row["name"] for row in self.shop.sandbox.rows("Sales Order", where, ["name"]))

    def some(self, names: list[str], number: int) -> str:
        return names[number % len(names)]

    @rule(customer=CUSTOMERS, qty=QTY, submit=st.booleans())
    def order_here(self, customer: str, qty: int, submit: bool) -> None:
        self.shop.order(customer=customer, submit=submit, items=[{"item_code": "A", "qty": qty, "rate": 5}])

    @rule(customer=CUSTOMERS, qty=QTY)
    def order_there(self, customer: str, qty: int) -> None:
        self.shop.placed(customer=customer, items=[{"sku": "B", "qty": qty, "rate": 3}])

    @precondition(lambda self: self.documents(docstatus=1))
    @rule(number=st.integers(0), note=NOTES)
    def edit_here(self, number: int, note: str) -> None:
        self.shop.edit(self.some(self.documents(docstatus=1), number), po_no=note)

    @precondition(lambda self: self.documents(docstatus=0))
    @rule(number=st.integers(0), qty=QTY, code=st.sampled_from("ABC"))
    def edit_draft(self, number: int, qty: int, code: str) -> None:
        self.shop.edit(
            self.some(self.documents(docstatus=0), number), items=[{"item_code": code, "qty": qty, "rate": 5}]
        )

    @precondition(lambda self: self.documents(docstatus=0))
    @rule(number=st.integers(0))
    def submit(self, number: int) -> None:
        self.shop.edit(self.some(self.documents(docstatus=0), number), docstatus=1)

    @precondition(lambda self: self.documents(docstatus=0))
    @rule(number=st.integers(0))
    def delete_here(self, number: int) -> None:
        name = self.some(self.documents(docstatus=0), number)
        self.shop.site(lambda site: site.delete("Sales Order", name))

    @precondition(lambda self: self.documents(docstatus=1))
    @rule(number=st.integers(0), amend=st.booleans(), qty=QTY)
    def cancel(self, number: int, amend: bool, qty: int) -> None:
        name = self.some(self.documents(docstatus=1), number)
        customer = self.shop.doc(name)["customer"]
        self.shop.edit(name, docstatus=2)
        if amend:
            self.shop.order(amended_from=name, customer=customer, items=[{"item_code": "C", "qty": qty, "rate": 2}])

    @precondition(lambda self: self.shop.api.orders)
    @rule(number=st.integers(0), note=NOTES, status=st.sampled_from(["new", "paid", "shipped"]))
    def edit_there(self, number: int, note: str, status: str) -> None:
        self.shop.api.edit(self.some(sorted(self.shop.api.orders), number), note=note, status=status)

    @precondition(lambda self: self.shop.api.orders)
    @rule(number=st.integers(0), qty=QTY)
    def change_items_there(self, number: int, qty: int) -> None:
        id_ = self.some(sorted(self.shop.api.orders), number)
        self.shop.api.edit(id_, items=[{"sku": "B", "qty": qty, "rate": 3}])

    @precondition(lambda self: self.shop.api.orders)
    @rule(number=st.integers(0))
    def delete_there(self, number: int) -> None:
        self.shop.api.remove(self.some(sorted(self.shop.api.orders), number))

    # What the world does

    @rule(fault=FAULTS, times=st.integers(1, 3))
    def break_something(self, fault: tuple[str, str, str], times: int) -> None:
        side, kind, method = fault
        faults = self.shop.api.faults if side == "api" else self.shop.sandbox.faults
        faults.add(Fault(kind, method=method, times=times, retry_after=1))  # type: ignore[arg-type]

    @rule(direction=st.sampled_from(["pull", "push", "both"]))
    def run(self, direction: str) -> None:
        self.shop.run(direction)

    @rule(direction=st.sampled_from(["pull", "push", "both"]), after=st.integers(0, 25))
    def run_and_be_killed(self, direction: str, after: int) -> None:
        """Between any two effects: at any request, and at any write of the state."""
        left = [after]

        def count(*_: Any) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise Killed

        app = self.shop.daemon.app
        open_site, open_remote = app.runner.open_site, app.runner.open_remote
        app.runner.open_site = lambda *a: _counting(open_site(*a), count)
        app.runner.open_remote = lambda *a: _counting(open_remote(*a), count)
        with suppress(Killed):
            self.shop.run(direction)
        app.close()
        self.shop.daemon = self.started(self.shop.sandbox, self.shop.api)

    # The law

    def teardown(self) -> None:
        try:
            if hasattr(self, "shop"):
                self.settle()
        finally:
            self.stack.close()
            shutil.rmtree(self.folder)

    def settle(self) -> None:
        shop = self.shop
        shop.api.faults.clear()
        shop.sandbox.faults.clear()
        for _ in range(4):
            for page in shop.links.in_status(Status.FAILED):
                for link in page:
                    link.due = shop.daemon.clock.now()
                shop.links.save(page)
            report = shop.run(wish={"full": True, "release": True})
            assert report["error"] is None, report["error"]
        self.nothing_is_doubled()
        self.both_agree()
        shop.writes()
        shop.run()
        shop.run(wish={"full": True})
        assert shop.writes() == []

    def nothing_is_doubled(self) -> None:
        """One document for a record, but for those that it was amended from; one record for a document."""
        shop = self.shop
        links = [link for page in shop.links.in_status(*Status) for link in page]
        names, ids = [one.name for one in links if one.name], [one.remote for one in links if one.remote]
        assert len(set(names)) == len(names) and len(set(ids)) == len(ids)
        numbers = [order["order_id"] for order in shop.api.orders.values() if order["order_id"]]
        assert len(set(numbers)) == len(numbers)
        known = {one.remote for one in links}
        for id_ in shop.api.orders:
            assert id_ in known, f"{id_} is no pair's"
        for row in shop.sandbox.rows("Sales Order", {"docstatus": 1}, ["name"]):
            assert row["name"] in names, f"{row['name']} is no pair's"

    def both_agree(self) -> None:
        """In all fields that go both ways, unless the pair waits for a person or has ended."""
        shop = self.shop
        fields = shop.settings_fields()
        for page in shop.links.in_status(*Status):
            for link in page:
                if link.status in FOR_A_PERSON or link.status == Status.ENDED:
                    continue
                assert link.status == Status.LINKED, (link.status, link.why)
                doc, order = shop.doc(link.name), shop.api.orders[link.remote]
                site, remote = fields.of_site(doc), fields.of_remote(order)
                assert site.get("custom_external_status") == remote.get("custom_external_status")
                if doc["docstatus"] == 1:
                    assert site == remote, (link, site, remote)


def _counting(port: Any, count: Any) -> Any:
    """`port`, whose every request may be its last."""
    transport = port.transport
    send = transport.send

    def counted(*args: Any, **more: Any) -> Any:
        count()
        answer = send(*args, **more)
        count()
        return answer

    transport.send = counted
    return port


TestSyncing = Syncing.TestCase
TestSyncing.settings = settings(
    max_examples=int(__import__("os").environ.get("N", "3")),
    stateful_step_count=int(__import__("os").environ.get("STEPS", "15")),
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate],
)
