"""The law of syncs, whatever two people and a bad network do: once it is quiet, both sides agree or the pair waits for
a person; nothing is doubled, no update is lost, and a run after that writes nothing."""

from __future__ import annotations

import os
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
from tests.jobs.shop import FIELDS, FIND, HEAD, LIST, RECORD, SITE, Shop


class Killed(BaseException):
    """Ends a run as SIGKILL would: nothing in the daemon handles it."""


TOP = 'deleted = { site = "propagate", remote = "propagate" }\nmax_change = 100\nmax_delete = 100\n'
SKEWS = [timedelta(0), timedelta(hours=3), timedelta(hours=-3)]
CUSTOMERS = st.sampled_from(["Acme", "Beta", "Gamma"])
QTY = st.integers(1, 4)
FAULTS = st.sampled_from([
    ("api", "lose_reply", "POST"), ("api", "cut", "POST"), ("api", "lose_reply", "PATCH"), ("api", "cut", "PATCH"),
    ("api", "lose_reply", "DELETE"), ("api", "status", "*"), ("site", "lose_reply", "POST"),
    ("site", "cut", "POST"), ("site", "lose_reply", "PUT"), ("site", "cut", "PUT"), ("site", "deadlock", "*"),
    ("site", "status", "*"), ("site", "lose_reply", "DELETE"),
])  # fmt: skip


class Syncing(RuleBasedStateMachine):
    """Two sides, edited at random, and a daemon between them."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.folder = Path(tempfile.mkdtemp())
        self.edits = 0
        self.notes: dict[str, tuple[int, str]] = {}
        """Document (the first of its amendments) or order → (number of the edit, note) that a person wrote last."""

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
        return Daemon(sandbox, self.folder, self.jobs, environ={"TOKEN": api.token}, concurrency=1)

    # What people do

    def documents(self, **where: Any) -> list[str]:
        return sorted(row["name"] for row in self.shop.sandbox.rows("Sales Order", where, ["name"]))

    def some(self, names: list[str], number: int) -> str:
        return names[number % len(names)]

    def note(self) -> str:
        """A note that nobody ever wrote: what goes back to what it was is no change that anybody could see."""
        self.edits += 1
        return f"note {self.edits}"

    def wrote(self, key: str, note: str) -> None:
        self.notes[key] = self.edits, note

    def root(self, name: str) -> str:
        """The first document of a chain of amendments."""
        while before := self.shop.sandbox.rows("Sales Order", {"name": name}, ["amended_from"])[0]["amended_from"]:
            name = before
        return name

    @rule(customer=CUSTOMERS, qty=QTY, submit=st.booleans())
    def order_here(self, customer: str, qty: int, submit: bool) -> None:
        items, note = [{"item_code": "A", "qty": qty, "rate": 5}], self.note()
        self.wrote(self.shop.order(customer=customer, submit=submit, items=items, po_no=note), note)

    @rule(customer=CUSTOMERS, qty=QTY)
    def order_there(self, customer: str, qty: int) -> None:
        self.shop.placed(customer=customer, items=[{"sku": "B", "qty": qty, "rate": 3}])

    @precondition(lambda self: self.documents(docstatus=1))
    @rule(number=st.integers(0))
    def edit_here(self, number: int) -> None:
        name, note = self.some(self.documents(docstatus=1), number), self.note()
        self.shop.edit(name, po_no=note)
        self.wrote(self.root(name), note)

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
            items, note = [{"item_code": "C", "qty": qty, "rate": 2}], self.note()
            self.shop.order(amended_from=name, customer=customer, items=items, po_no=note)
            self.wrote(self.root(name), note)

    @precondition(lambda self: self.shop.api.orders)
    @rule(number=st.integers(0), status=st.sampled_from(["new", "paid", "shipped"]))
    def edit_there(self, number: int, status: str) -> None:
        id_, note = self.some(sorted(self.shop.api.orders), number), self.note()
        self.shop.api.edit(id_, note=note, status=status)
        self.wrote(id_, note)

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

    @rule(direction=st.sampled_from(["pull", "push", "both"]), after=st.integers(0, 8), writes=st.booleans())
    def run_and_be_killed(self, direction: str, after: int, writes: bool) -> None:
        """Before or after any request; half of the time any that writes."""
        left = [after]

        def count(writing: bool) -> None:
            left[0] -= writing or not writes
            if left[0] < 0:
                raise Killed

        with suppress(Killed):
            self.shop.watched(direction, count)
        self.shop.daemon.app.close()
        self.shop.daemon = self.started(self.shop.sandbox, self.shop.api)

    @precondition(lambda self: self.documents(docstatus=1))
    @rule(direction=st.sampled_from(["pull", "push", "both"]), after=st.integers(0, 4), number=st.integers(0),
          here=st.booleans())  # fmt: skip
    def edit_during_a_run(self, direction: str, after: int, number: int, here: bool) -> None:
        """Just before or after the daemon writes something."""
        left = [after]

        def count(writing: bool) -> None:
            left[0] -= writing
            if left[0] < 0:
                left[0] = 10**9
                if here:
                    self.edit_here(number)
                elif self.shop.api.orders:
                    self.edit_there(number, "paid")

        self.shop.watched(direction, count)

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
        roots = [self.root(order["order_id"]) for order in shop.api.orders.values() if order["order_id"]]
        assert len(set(roots)) == len(roots), "an amendment got a record of its own"
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
                last = max(self.notes.get(self.root(link.name), (0, "")), self.notes.get(link.remote, (0, "")))
                if doc["docstatus"] != 2:
                    assert (doc.get("po_no") or "") == last[1], "an edit was lost"


EXAMPLES = int(os.environ.get("SYNC_LAW_EXAMPLES", "6"))
"""More in the long proofs."""

TestSyncing = Syncing.TestCase
TestSyncing.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=18,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate, Phase.shrink],
)
