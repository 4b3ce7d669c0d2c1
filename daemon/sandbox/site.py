"""The site itself: its data, clock, DocTypes and queue. Knows nothing of HTTP; its rules are in the modules beside.

documents: the life of a document; rights: who may do what; naming, checks and selling: what each document must obey;
retention: logs and scheduled jobs.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from string import ascii_lowercase, digits
from typing import Any
from zoneinfo import ZoneInfo

from daemon.sandbox.doctypes import DocType, Field, stamp, standard
from daemon.sandbox.replies import FrappeError
from daemon.sandbox.store import CHILD, STANDARD, Store, table

Doc = dict[str, Any]

VERSIONS = {"14": "14.93.2", "15": "15.75.0", "16": "16.10.7"}
ROLES = (
    "Administrator", "System Manager", "All", "Guest", "Desk User", "Website Manager", "Sales User", "Sales Manager",
    "Sales Master Manager", "Item Manager", "Accounts Manager", "Support Team",
)  # fmt: skip
PEOPLE = {
    "Administrator": ("System Manager",),
    "manager@example.com": ("System Manager", "Sales User", "Sales Manager", "Item Manager"),
    "clerk@example.com": ("Sales User",),
}
SCHEDULED = {
    "log_settings.run_log_clean_up": "frappe.core.doctype.log_settings.log_settings.run_log_clean_up",
    "queue.flush": "frappe.email.queue.flush",
}
"""Scheduled Job Type → method. On 16 names are random (scheduled_job_type.json)."""


def hash_name() -> str:
    """A name of naming rule `hash`: ten digits of base 32 (model/naming.py:_generate_random_string)."""
    return "".join(secrets.choice(_LETTERS) for _ in range(10))


_LETTERS = digits + ascii_lowercase[:22]


@dataclass(slots=True)
class FrappeSite:
    """One site. Callers hold `store.lock` while they use it."""

    version: str
    bulk: bool
    store: Store
    zone: ZoneInfo
    clock: Callable[[], datetime]
    config: dict[str, Any] = field(default_factory=dict)
    doctypes: dict[str, DocType] = field(default_factory=dict)
    keys: dict[str, tuple[str, str]] = field(default_factory=dict)
    outbox: list[Doc] = field(default_factory=list)
    jobs: deque[Callable[[], None]] = field(default_factory=deque)
    """What waits for the background worker."""
    queued: set[str] = field(default_factory=set)
    """Scheduled Job Types among them."""
    jobs_enqueued: int = 0
    wake_worker: Callable[[], None] = lambda: None
    user: str = "Guest"
    notices: list[Doc] = field(default_factory=list)
    """frappe.local.message_log of the request under way."""

    @classmethod
    def open(
        cls, version: str, bulk: bool, path: Path | None, time_zone: str, clock: Callable[[], datetime] | None
    ) -> FrappeSite:
        """As it was left in `path`, or new."""
        site = cls(version, bulk and version == "16", Store(path), ZoneInfo(time_zone), clock or _now)
        for doctype in standard(version):
            site.doctypes[doctype.name] = doctype
            site.store.create(doctype)
        for row in site.store.all(f"SELECT name FROM {table('DocType')} WHERE custom = 1"):
            site.add_doctype(site.stored_doctype(row["name"]))
        for row in site.store.all(f"SELECT * FROM {table('Custom Field')}"):
            if row["dt"] in site.doctypes:
                site.add_field(row)
        if not site.store.get("User", "Administrator"):
            with site.store.transaction():
                site._found()
        return site

    def _found(self) -> None:
        """What is there from the first day."""
        self.user = "Administrator"
        settings = {"time_zone": self.zone.key, "allow_error_traceback": 1, "country": "United States"}
        settings["app_name"] = "Frappe"
        self.store.insert("System Settings", {**self.stamps("System Settings"), **settings})
        self.store.insert("Log Settings", self.stamps("Log Settings"))
        for role in ROLES:
            self.store.insert("Role", {**self.stamps(role), "role_name": role, "desk_access": 1})
        for user, roles in PEOPLE.items():
            name = user.partition("@")[0].title()
            facts = {"email": user, "first_name": name, "full_name": name, "enabled": 1, "user_type": "System User"}
            facts |= {"api_key": f"key-{name.lower()}", "language": "en"}
            self.store.insert("User", {**self.stamps(user), **facts})
            for number, role in enumerate(roles, 1):
                self.add_child("Has Role", ("User", user, "roles"), number, {"role": role})
        account = {"email_account_name": "Outgoing", "email_id": "erp@example.com", "enable_outgoing": 1}
        self.store.insert("Email Account", {**self.stamps("Outgoing"), **account, "default_outgoing": 1})
        for name, method in SCHEDULED.items():
            job = {"method": method, "stopped": 0, "create_log": 1, "frequency": "Daily"}
            key = hash_name() if self.version == "16" else name
            self.store.insert("Scheduled Job Type", {**self.stamps(key), **job})
        for doctype in self.doctypes.values():
            self.describe(doctype)

    def admitted(self, user: str) -> str:
        """`user`, unless gone, or disabled: 14 does not look at that (auth.py:validate_api_key_secret)."""
        row = None if user == "Guest" else self.store.get("User", user)
        if user != "Guest" and (row is None or not (row["enabled"] or self.version == "14")):
            raise FrappeError("AuthenticationError", thrown=False)
        return user

    # Time

    def now(self) -> str:
        """frappe.utils.now(): naive, in the site's zone."""
        moment = self.clock().astimezone(self.zone).replace(tzinfo=None)
        return str(stamp(moment.isoformat(" ", "microseconds"), "Datetime"))

    def database_now(self) -> datetime:
        """MariaDB's NOW(), on a server that runs in UTC."""
        return self.clock().astimezone(UTC).replace(tzinfo=None)

    def stamps(self, name: str, docstatus: int = 0) -> Doc:
        now = self.now()
        whose = {"owner": self.user, "modified_by": self.user}
        return {"name": name, "creation": now, "modified": now, **whose, "docstatus": docstatus, "idx": 0}

    def say(self, text: str, title: str = "Message") -> None:
        """frappe.msgprint."""
        self.notices.append({"message": text, "title": title})

    # DocTypes

    def doctype(self, name: str) -> DocType:
        """Raises DoesNotExistError."""
        if name not in self.doctypes:
            raise FrappeError("DoesNotExistError", f"DocType {name} not found")
        return self.doctypes[name]

    def add_doctype(self, doctype: DocType) -> None:
        self.doctypes[doctype.name] = doctype
        self.store.create(doctype)
        for row in self.store.all(f"SELECT * FROM {table('Custom Field')} WHERE dt = ?", (doctype.name,)):
            self.add_field(row)

    def add_field(self, row: Mapping[str, Any]) -> None:
        """A Custom Field, merged into its DocType."""
        doctype = self.doctype(row["dt"])
        flags = {key: row.get(key) for key in _FLAGS if row.get(key)}
        name = row["fieldname"]
        doctype.fields[name] = Field(name, row.get("fieldtype") or "Data", row.get("options") or "", flags)
        self.store.create(doctype)

    def describe(self, doctype: DocType) -> None:
        """The document that describes `doctype`, without custom fields."""
        facts = doctype.as_json()
        columns = {one.name for one in self.doctypes["DocType"].columns}
        row = {key: value for key, value in facts.items() if key in columns}
        self.store.insert("DocType", {**self.stamps(doctype.name), **row})
        for child, table_field in (("DocField", "fields"), ("DocPerm", "permissions")):
            known = {one.name for one in self.doctypes[child].columns}
            for idx, values in enumerate(facts[table_field], 1):
                kept = {key: value for key, value in values.items() if key in known}
                self.add_child(child, ("DocType", doctype.name, table_field), idx, kept)

    def stored_doctype(self, name: str) -> DocType:
        """From the document that describes it."""
        row = self.store.get("DocType", name) or {}
        return DocType.of_json(
            {**row, "fields": self.children("DocField", name, "fields"),
             "permissions": self.children("DocPerm", name, "permissions")}
        )  # fmt: skip

    # Rows

    def children(self, doctype: str, parent: str, parentfield: str) -> list[Doc]:
        sql = f"SELECT * FROM {table(doctype)} WHERE parent = ? AND parentfield = ? ORDER BY idx"
        return self.store.all(sql, (parent, parentfield))

    def add_child(self, doctype: str, of: tuple[str, str, str], idx: int, values: Mapping[str, Any]) -> None:
        """`of`: DocType, name and table field of the parent."""
        whose = {"parenttype": of[0], "parent": of[1], "parentfield": of[2], "idx": idx}
        self.store.insert(doctype, {**self.stamps(hash_name()), **whose, **values})

    # Background jobs

    def enqueue(self, job: Callable[[], None]) -> None:
        """utils/background_jobs.py:enqueue. Raises QueueOverloaded (15 and 16) where `max_queued_jobs` wait."""
        limit = self.config.get("max_queued_jobs")
        if limit is not None and len(self.jobs) >= limit and self.version != "14":
            text = f"Too many queued background jobs ({len(self.jobs)}). Please retry after some time."
            raise FrappeError("QueueOverloaded", text, title="Queue Overloaded")
        self.jobs.append(job)
        self.jobs_enqueued += 1
        self.wake_worker()

    def enqueue_as_me(self, job: Callable[[], None]) -> None:
        """A job that runs as who asked for it."""
        user = self.user

        def run() -> None:
            self.user = user
            job()

        self.enqueue(run)


_FLAGS = ("reqd", "unique", "no_copy", "default", "label", "read_only", "hidden", "allow_on_submit", "precision")


def standard_columns(meta: DocType) -> list[str]:
    return [*STANDARD, *(CHILD if meta.istable else ()), *(one.name for one in meta.columns)]


def _now() -> datetime:
    return datetime.now(UTC)
