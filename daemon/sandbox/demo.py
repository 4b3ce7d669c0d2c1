"""A believable site: a trading company with four hundred days behind it. The same for the same day."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from daemon.sandbox.doctypes import NUMBERS, DocType, stamp
from daemon.sandbox.site import Doc, FrappeSite
from daemon.sandbox.store import table as table_of

if TYPE_CHECKING:
    from daemon.sandbox.server import Sandbox

DAYS = 400
CUSTOMERS = ("Alder & Sons", "Birch Supply", "Cedar Works", "Dogwood Trading", "Elm Street Foods", "Fir Logistics",
             "Gorse Textiles", "Hazel Labs", "Ivy Home", "Juniper Tools", "Kauri Timber", "Larch Optics")  # fmt: skip
ITEMS = ("Bolt M8", "Bracket", "Cable 5 m", "Drill Bit", "Filter", "Gasket", "Hinge", "LED Panel", "Pump", "Valve")
ERRORS = (
    "Email Account: connection to smtp.example.com timed out",
    "Stock Reposting: negative stock error for item Valve",
    "Webhook: 502 Bad Gateway from https://hooks.example.com/orders",
    "PDF generation failed: wkhtmltopdf exited with code 1",
    "Failed to run report Accounts Receivable: lock wait timeout exceeded",
)


def seed(site: FrappeSite, meta: DocType, rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Rows straight into the store; child rows into theirs, in one pass each."""
    rng = random.Random(f"{meta.name} {site.store.value('SELECT total_changes()')}")
    children: dict[str, list[Doc]] = {table.options: [] for table in meta.tables}

    numbers = {one.name: 0 for one in meta.columns if one.type in NUMBERS}

    def filled() -> Iterator[Doc]:
        now, user = site.now(), site.user
        for row in rows:
            name = row.get("name") or f"{rng.getrandbits(64):016x}"
            creation = row.get("creation") or now
            modified = stamp(row.get("modified") or creation, "Datetime")
            stamps = {"creation": stamp(creation, "Datetime"), "modified": modified, "owner": row.get("owner") or user}
            full = {"name": name, "docstatus": 0, "idx": 0, "modified_by": user, **numbers, **row, **stamps}
            full["name"] = name
            for table in meta.tables:
                for idx, child in enumerate(row.get(table.name) or (), 1):
                    whose = {"parent": name, "parenttype": meta.name, "parentfield": table.name, "idx": idx}
                    children[table.options].append({"name": f"{rng.getrandbits(64):016x}", **stamps, **whose, **child})
            yield full

    site.store.insert_all(meta.name, filled(), columns)
    for doctype, found in children.items():
        child = site.doctype(doctype)
        wanted = ("name", "creation", "modified", "owner", "parent", "parenttype", "parentfield", "idx")
        site.store.insert_all(doctype, found, [*wanted, *(one.name for one in child.columns)])
    if meta.autoname.startswith("naming_series") or "#" in meta.autoname:
        _count_on(site, meta)


def _count_on(site: FrappeSite, meta: DocType) -> None:
    """Series go on after the names that were seeded."""
    last = f"SELECT max(name) AS name FROM {table_of(meta.name)} GROUP BY substr(name, 1, length(name) - 5)"
    for row in site.store.all(last):
        prefix, number = row["name"][:-5], row["name"][-5:]
        if number.isdigit():
            site.store.reached(prefix, int(number))


def fill(sandbox: Sandbox) -> None:
    """Masters, a year of business, and all the logs that nobody ever cleared."""
    rng = random.Random(20)
    now = datetime.fromisoformat(sandbox.site.now())
    sandbox.seed("Currency", [{"name": "USD", "currency_name": "USD", "symbol": "$", "enabled": 1}])
    sandbox.seed(
        "Company", [{"name": "Bench & Co", "company_name": "Bench & Co", "abbr": "BC", "default_currency": "USD"}]
    )
    sandbox.seed("Item Group", [{"name": "Products", "item_group_name": "Products", "is_group": 0}])
    sandbox.seed(
        "Item", [{"name": item, "item_code": item, "item_name": item, "item_group": "Products"} for item in ITEMS]
    )
    sandbox.seed("Customer", [{"name": name, "customer_name": name, "customer_type": "Company"} for name in CUSTOMERS])
    orders = list(_orders(rng, now))
    sandbox.seed("Sales Order", orders)
    sandbox.seed("Issue", _issues(rng, now))
    sandbox.seed("Error Log", _errors(rng, now))
    sandbox.seed("Activity Log", _logins(rng, now))
    sandbox.seed("Email Queue", _mails(rng, now))
    sandbox.seed("Version", _versions(rng, now, orders))
    sandbox.seed("Scheduled Job Log", _job_logs(sandbox, rng, now))
    rng = random.Random(21)
    sandbox.seed("Sales Invoice", list(_invoices(rng, now)))
    for number, name in enumerate(CUSTOMERS):
        sandbox.set("Customer", name, creation=(now - timedelta(days=2.5 + 4 * number)).isoformat(" ", "microseconds"))
    _fill_expiring(sandbox, random.Random(22), now)


LICENSE = {
    "name": "License",
    "autoname": "prompt",
    "fields": [
        {"fieldname": "valid_till", "fieldtype": "Date"},
        {"fieldname": "assigned_to", "fieldtype": "Link", "options": "User"},
    ],
    "permissions": [{"role": "System Manager", "read": 1, "write": 1, "create": 1, "email": 1}],
}
POLICY = {
    "name": "Insurance Policy",
    "autoname": "prompt",
    "fields": [{"fieldname": "insurer", "fieldtype": "Data"}, {"fieldname": "expiry_date", "fieldtype": "Date"}],
    "permissions": LICENSE["permissions"],
}
OWNER = {"dt": "Contract", "fieldname": "contract_owner", "label": "Contract Owner", "fieldtype": "Link"}
"""What this company has added to Contract: a custom field."""


def _fill_expiring(sandbox: Sandbox, rng: random.Random, now: datetime) -> None:
    """Contracts, and two DocTypes of the company's own; some near their date, most not, one cancelled."""
    people = ("manager@example.com", "clerk@example.com", "Administrator")
    sandbox.seed("Custom Field", [{"name": "Contract-contract_owner", "options": "User", **OWNER}])
    with sandbox.site.store.lock:
        sandbox.site.add_field({"options": "User", **OWNER})
    sandbox.add_doctype(LICENSE)
    sandbox.add_doctype(POLICY)

    def expires(number: int) -> str:
        days = (-9, 1, 5, 23, 40)[number] if number < 5 else rng.randint(62, 700)
        return str((now + timedelta(days=days)).date())

    contracts = [
        {"name": f"CON-{now.year}-{n + 1:05d}", "party_type": "Customer", "party_name": CUSTOMERS[n % len(CUSTOMERS)],
         "end_date": expires(n), "contract_owner": people[n % 2] if n % 5 else "", "docstatus": 2 if n == 4 else 1}
        for n in range(30)
    ]  # fmt: skip
    sandbox.seed("Contract", contracts)
    titles = ("CAD", "Mail Server", "Payroll", "Backup", "Forklift Control", "Firewall")
    licenses = [
        {"name": title, "valid_till": expires(n), "assigned_to": people[n % 3]} for n, title in enumerate(titles)
    ]
    sandbox.seed("License", licenses)
    kinds = ("Fire", "Liability", "Transport", "Machinery", "Cyber")
    policies = [{"name": f"{kind} {now.year}", "insurer": "Aldermere Mutual", "expiry_date": expires(n),
                 "owner": people[n % 2]} for n, kind in enumerate(kinds)]  # fmt: skip
    sandbox.seed("Insurance Policy", policies)


def _ago(rng: random.Random, now: datetime, days: float = DAYS) -> str:
    return (now - timedelta(seconds=rng.uniform(60, days * 86400))).isoformat(" ", "microseconds")


def _orders(rng: random.Random, now: datetime) -> Iterator[Doc]:
    for number in range(1, 241):
        creation, customer = _ago(rng, now), rng.choice(CUSTOMERS)
        items = [_row(rng, item) for item in rng.sample(ITEMS, rng.randint(1, 4))]
        total = round(sum(row["amount"] for row in items), 2)
        yield {
            "name": f"SAL-ORD-{creation[:4]}-{number:05d}", "creation": creation, "docstatus": 1, "customer": customer,
            "customer_name": customer, "transaction_date": creation[:10], "company": "Bench & Co", "currency": "USD",
            "items": items, "total_qty": float(sum(row["qty"] for row in items)),
            "total": total, "grand_total": total, "base_grand_total": total,
            "status": "To Deliver and Bill",
        }  # fmt: skip


def _invoices(rng: random.Random, now: datetime) -> Iterator[Doc]:
    """Two in three working days; the good sellers sell better."""
    weights = [len(ITEMS) - number for number in range(len(ITEMS))]
    for number in range(1, 401):
        creation, customer = _ago(rng, now), rng.choice(CUSTOMERS)
        items = [_row(rng, item) for item in dict.fromkeys(rng.choices(ITEMS, weights, k=rng.randint(1, 4)))]
        total = round(sum(row["amount"] for row in items), 2)
        yield {
            "name": f"ACC-SINV-{creation[:4]}-{number:05d}", "creation": creation, "docstatus": 1, "items": items,
            "customer": customer, "customer_name": customer, "posting_date": creation[:10], "company": "Bench & Co",
            "currency": "USD", "total": total, "grand_total": total, "base_grand_total": total, "status": "Unpaid",
        }  # fmt: skip


def _row(rng: random.Random, item: str) -> Doc:
    quantity, rate = rng.randint(1, 20), rng.randint(200, 9000) / 100
    facts = {"item_code": item, "item_name": item, "qty": float(quantity), "rate": rate}
    amount = round(quantity * rate, 2)
    return facts | {"amount": amount, "base_amount": amount}


def _issues(rng: random.Random, now: datetime) -> Iterator[Doc]:
    for number in range(1, 61):
        creation = _ago(rng, now, 120)
        status = rng.choice(("Open", "Closed", "Closed", "Replied"))
        yield {"name": f"ISS-{number:05d}", "creation": creation, "subject": rng.choice(ERRORS), "status": status}


def _errors(rng: random.Random, now: datetime) -> Iterator[Doc]:
    for _ in range(6000):
        error = rng.choice(ERRORS)
        trace = f"Traceback (most recent call last):\n  …\n{error}"
        yield {"creation": _ago(rng, now), "method": error.partition(":")[0], "error": trace, "seen": rng.randint(0, 1)}


def _logins(rng: random.Random, now: datetime) -> Iterator[Doc]:
    for _ in range(3000):
        facts = {
            "subject": "Manager logged in",
            "operation": "Login",
            "status": "Success",
            "user": "manager@example.com",
        }
        yield {"creation": _ago(rng, now), **facts}


def _mails(rng: random.Random, now: datetime) -> Iterator[Doc]:
    for _ in range(1500):
        status = rng.choices(("Sent", "Error", "Not Sent"), (90, 7, 3))[0]
        address = f"{rng.choice(CUSTOMERS).split()[0].lower()}@example.com"
        recipients = [{"recipient": address, "status": "Sent" if status == "Sent" else "Not Sent"}]
        yield {
            "creation": _ago(rng, now, 90),
            "sender": "sales@example.com",
            "status": status,
            "recipients": recipients,
        }


def _versions(rng: random.Random, now: datetime, orders: Sequence[Doc]) -> Iterator[Doc]:
    """A few documents that are edited all the time, many that hardly are."""
    for number, order in enumerate(orders):
        for _ in range(rng.randint(15, 40) if number % 6 == 0 else rng.randint(0, 6)):
            data = '{"changed":[["status","Draft","To Deliver and Bill"]]}'
            yield {"creation": _ago(rng, now), "ref_doctype": "Sales Order", "docname": order["name"], "data": data}


def _job_logs(sandbox: Sandbox, rng: random.Random, now: datetime) -> Iterator[Doc]:
    job = sandbox.rows("Scheduled Job Type")[0]["name"]
    for _ in range(800):
        yield {"creation": _ago(rng, now, 60), "scheduled_job_type": job, "status": "Complete"}
