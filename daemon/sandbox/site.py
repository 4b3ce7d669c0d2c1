"""The site itself: who may do what, and the life of a document. Knows nothing of HTTP.

After frappe/model/document.py, model/naming.py, model/delete_doc.py and permissions.py, as far as clients can tell.
"""

from __future__ import annotations

import json
import re
import secrets
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from daemon.sandbox.doctypes import DocType, Field, standard
from daemon.sandbox.replies import FrappeError
from daemon.sandbox.store import CHILD, STANDARD, Store, quote, table

Doc = dict[str, Any]

VERSIONS = {"14": "14.93.2", "15": "15.75.0", "16": "16.10.7"}
CLEAR_METHOD = "frappe.core.doctype.log_settings.log_settings.run_log_clean_up"
NO_FEED = {"File", "Communication", "Comment", "Deleted Document"}
"""DocTypes whose controllers say `no_feed_on_delete`: deleting them leaves no Comment."""
CLEARABLE = {
    "Error Log", "Activity Log", "Email Queue", "Scheduled Job Log", "Route History", "Notification Log",
    "Prepared Report", "Webhook Request Log", "Integration Request", "Deleted Document", "Access Log", "View Log",
}  # fmt: skip
"""Those with `clear_old_logs`."""


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
    jobs_enqueued: int = 0
    wake_worker: Callable[[], None] = lambda: None
    user: str = "Guest"
    messages: list[str] = field(default_factory=list)
    """frappe.local.message_log of the request under way."""

    @classmethod
    def open(
        cls, version: str, bulk: bool, path: Path | None, time_zone: str, clock: Callable[[], datetime] | None
    ) -> FrappeSite:
        site = cls(version, bulk and version == "16", Store(path), ZoneInfo(time_zone), clock or _now)
        for doctype in standard(version):
            site.doctypes[doctype.name] = doctype
            site.store.create(doctype)
        for row in site.store.all(f"SELECT * FROM {table('Custom Field')}"):
            if row["dt"] in site.doctypes:
                site.add_field(row)
        site.store.run(f"CREATE TABLE IF NOT EXISTS {quote('series')} (name TEXT PRIMARY KEY, current INTEGER)")
        for row in site.store.all(f"SELECT * FROM {table('DocType')} WHERE custom = 1"):
            site.add_doctype(DocType.of_json(json.loads(row["_comments"])))
        if not site.store.get("User", "Administrator"):
            site._found()
        return site

    def _found(self) -> None:
        """What is there from the first day."""
        self.user = "Administrator"
        settings = {"time_zone": self.zone.key, "allow_error_traceback": 1, "country": "United States"}
        self.store.insert("System Settings", {**self.stamps("System Settings"), **settings})
        self.store.insert("Log Settings", self.stamps("Log Settings"))
        for role in ("Administrator", "System Manager", "Sales User", "Sales Manager", "Item Manager", "Desk User"):
            self.store.insert("Role", {**self.stamps(role), "role_name": role, "desk_access": 1})
        people = {
            "Administrator": ("System Manager",),
            "manager@example.com": ("System Manager", "Sales User", "Sales Manager", "Item Manager"),
            "clerk@example.com": ("Sales User",),
        }
        for user, roles in people.items():
            name = user.partition("@")[0].title()
            facts = {"email": user, "first_name": name, "full_name": name, "enabled": 1, "user_type": "System User"}
            self.store.insert(
                "User", {**self.stamps(user), **facts, "api_key": f"key-{name.lower()}", "language": "en"}
            )
            for number, role in enumerate(roles, 1):
                parent = {"parent": user, "parenttype": "User", "parentfield": "roles", "idx": number}
                self.store.insert("Has Role", {**self.stamps(secrets.token_hex(5)), **parent, "role": role})
        name = secrets.token_hex(5) if self.version == "16" else "log_settings.run_log_clean_up"
        job = {"method": CLEAR_METHOD, "stopped": 0, "create_log": 1, "frequency": "Daily"}
        self.store.insert("Scheduled Job Type", {**self.stamps(name), **job})

    # Time

    def now(self) -> str:
        """frappe.utils.now(): naive, in the site's zone."""
        return self.clock().astimezone(self.zone).replace(tzinfo=None).isoformat(" ", "microseconds")

    def database_now(self) -> datetime:
        """MariaDB's NOW(), on a server that runs in UTC."""
        return self.clock().astimezone(UTC).replace(tzinfo=None)

    def stamps(self, name: str, docstatus: int = 0) -> Doc:
        now = self.now()
        whose = {"owner": self.user, "modified_by": self.user}
        return {"name": name, "creation": now, "modified": now, **whose, "docstatus": docstatus, "idx": 0}

    # DocTypes

    def add_doctype(self, doctype: DocType) -> None:
        self.doctypes[doctype.name] = doctype
        self.store.create(doctype)
        for row in self.store.all(f"SELECT * FROM {table('Custom Field')} WHERE dt = ?", (doctype.name,)):
            self.add_field(row)

    def add_field(self, row: Mapping[str, Any]) -> None:
        """A Custom Field, merged into its DocType."""
        doctype = self.doctype(row["dt"])
        flags = {key: row.get(key) for key in ("reqd", "unique", "no_copy", "default", "label") if row.get(key)}
        name = row["fieldname"]
        doctype.fields[name] = Field(name, row.get("fieldtype") or "Data", row.get("options") or "", flags)
        self.store.create(doctype)

    def doctype(self, name: str) -> DocType:
        if name not in self.doctypes:
            raise FrappeError("DoesNotExistError", f"DocType {name} not found", thrown=self.version != "14")
        return self.doctypes[name]

    # Permissions

    def roles(self, user: str | None = None) -> set[str]:
        user = user or self.user
        if user == "Guest":
            return {"Guest"}
        rows = self.store.all(f"SELECT role FROM {table('Has Role')} WHERE parent = ?", (user,))
        return {row["role"] for row in rows} | {"All", "Guest", "Desk User"}

    def permissions(self, doctype: str) -> list[Doc]:
        """DocPerm rows, or the Custom DocPerm rows that replace them."""
        custom = self.store.all(f"SELECT * FROM {table('Custom DocPerm')} WHERE parent = ?", (doctype,))
        return custom or self.doctype(doctype).permissions

    def may(self, right: str, doctype: str) -> bool:
        if self.user == "Administrator":
            return True
        mine = self.roles()
        return any(row.get("role") in mine and row.get(right) for row in self.permissions(doctype))

    def require(self, right: str, doctype: str, name: str | None = None) -> None:
        """Raises PermissionError, after the message that Frappe leaves for people."""
        if self.may(right, doctype):
            return
        target = f": {name}" if name else ""
        raise FrappeError("PermissionError", f"User not allowed to {right} {doctype}{target}")

    # Reading

    def load(self, doctype: str, name: Any) -> Doc:
        """The document with its child rows. Raises DoesNotExistError."""
        meta = self.doctype(doctype)
        row = self.store.get(doctype, doctype if meta.issingle else name)
        if row is None:
            if self.version == "16" and not self.may("read", doctype):
                raise FrappeError("PermissionError", f"User not allowed to read {doctype}")
            raise FrappeError("DoesNotExistError", f"{doctype} {name} not found", title="Not Found")
        doc = {"doctype": doctype, **row}
        for field_ in meta.tables:
            sql = f"SELECT * FROM {table(field_.options)} WHERE parent = ? AND parentfield = ? ORDER BY idx"
            rows = self.store.all(sql, (row["name"], field_.name))
            doc[field_.name] = [{"doctype": field_.options, **child} for child in rows]
        return doc

    # Writing

    def insert(self, doc: Mapping[str, Any], *, named: bool = False) -> Doc:
        """A new document. `named`: the client's name counts whatever the naming rule (v2 of late versions)."""
        meta = self.doctype(doc.get("doctype") or "")
        self.require("create", meta.name)
        values = self._values(meta, doc)
        if meta.istable:
            raise FrappeError("ValidationError", f"{meta.name} is a child table")
        status = int(doc.get("docstatus") or 0)
        name = self._name(meta, {**values, **doc}, named)
        if self.store.get(meta.name, name) is not None:
            if meta.autoname != "hash":
                raise FrappeError("DuplicateEntryError", f"{meta.name} {name} already exists", title="Duplicate Name")
            name = secrets.token_hex(5)  # base_document.db_insert takes it for a collision of its own
        self._validate(meta, values)
        row = {**self.stamps(name, status), **values}
        self._write_unique(meta, lambda: self.store.insert(meta.name, row))
        self._write_children(meta, name, doc)
        self._after_insert(meta.name, name, doc)
        return self.load(meta.name, name)

    def _after_insert(self, doctype: str, name: str, doc: Mapping[str, Any]) -> None:
        if doctype == "DocType":
            created = DocType.of_json({**doc, "name": name})
            self.store.update(
                "DocType", name, {"_comments": json.dumps({**doc, "name": name}, default=str), "custom": 1}
            )
            self.add_doctype(created)
        elif doctype == "Custom Field":
            self.add_field(self.store.get("Custom Field", name) or {})

    def update(self, doctype: str, name: str, values: Mapping[str, Any]) -> Doc:
        """Merge, check and save, as PUT does."""
        meta, before = self.doctype(doctype), self.load(doctype, name)
        self.require("write", doctype, name)
        self._check_latest(before, values)
        status = int(values.get("docstatus", before["docstatus"]) or 0)
        self._check_docstatus(meta, before, status)
        changed = self._values(meta, values)
        self._validate(meta, {**before, **changed})
        if doctype == "Log Settings" and "logs_to_clear" in values:
            values = {**values, "logs_to_clear": self._retentions(values["logs_to_clear"])}
        if meta.is_submittable and before["docstatus"] == 0 and status == 1 and "status" in meta.fields:
            changed["status"] = "To Deliver and Bill" if doctype == "Sales Order" else "Unpaid"
        stamps = {"modified": self.now(), "modified_by": self.user, "docstatus": status}
        row = {**changed, **stamps}
        self._write_unique(meta, lambda: self.store.update(doctype, before["name"], row))
        self._write_children(meta, before["name"], values)
        return self.load(doctype, before["name"])

    def _check_latest(self, before: Doc, values: Mapping[str, Any]) -> None:
        """document.py:check_if_latest, where the client says which state it read."""
        if values.get("modified") and str(values["modified"]) != str(before["modified"]):
            text = "Document has been modified after you have opened it. Please refresh to get the latest document."
            raise FrappeError("TimestampMismatchError", f"Error: {text}")

    def _check_docstatus(self, meta: DocType, before: Doc, status: int) -> None:
        now = before["docstatus"]
        if now == status:
            if now == 2:
                raise FrappeError("ValidationError", "Cannot edit cancelled document")
            return
        if (now, status) not in ((0, 1), (1, 2)) or not meta.is_submittable:
            raise FrappeError("DocstatusTransitionError", f"Cannot change docstatus from {now} to {status}")
        self.require("submit" if status == 1 else "cancel", meta.name, before["name"])

    def delete(self, doctype: str, name: str) -> None:
        """One document with all that it leaves behind: a Deleted Document, mostly a Comment, and a job."""
        meta = self.doctype(doctype)
        row = self.store.get(doctype, name)
        if row is None:
            raise FrappeError("DoesNotExistError", f"{doctype} {name} not found", title="Not Found")
        self._may_delete(meta, row)
        limit = self.config.get("max_queued_jobs")
        if limit is not None and len(self.jobs) >= limit:
            text = f"Too many queued background jobs ({len(self.jobs)}). Please retry after some time."
            raise FrappeError("QueueOverloaded", text, title="Queue Overloaded")
        doc = self.load(doctype, name)
        self.store.run(f"DELETE FROM {table(doctype)} WHERE name = ?", (name,))
        for child in meta.tables:
            self.store.run(f"DELETE FROM {table(child.options)} WHERE parent = ?", (name,))
        if doctype != "Deleted Document":
            data = json.dumps(doc, default=str)
            facts = {"deleted_name": name, "deleted_doctype": doctype, "data": data, "restored": 0}
            self.store.insert("Deleted Document", {**self.stamps(secrets.token_hex(5)), **facts})
        if doctype not in NO_FEED:
            facts = {"comment_type": "Deleted", "reference_doctype": doctype, "content": f"{doctype} {name}"}
            self.store.insert("Comment", {**self.stamps(secrets.token_hex(5)), **facts})
        self.enqueue(lambda: None)

    def _may_delete(self, meta: DocType, row: Mapping[str, Any]) -> None:
        name = row["name"]
        if meta.name == "ToDo" and self.user not in ("Administrator", row.get("allocated_to")):
            raise FrappeError("PermissionError", f"User not allowed to delete ToDo: {name}")
        if not self.may("delete", meta.name):
            self.messages.append(f"User {self.user} does not have access to this document: {meta.name} - {name}")
        self.require("delete", meta.name, name)
        if meta.name == "Email Queue" and self.user != "Administrator":
            raise FrappeError("ValidationError", "Only Administrator can delete Email Queue")
        if row["docstatus"] == 1:
            text = f"{meta.name} {name}: Submitted Record cannot be deleted. You must Cancel it first."
            raise FrappeError("ValidationError", text)
        for other in self.doctypes.values():
            for link in other.links():
                if link.options == meta.name:
                    self._check_not_linked(meta.name, str(name), other, link)

    def _check_not_linked(self, doctype: str, name: str, other: DocType, link: Field) -> None:
        column = "parent" if other.istable else "name"
        sql = f"SELECT {column} FROM {table(other.name)} WHERE {quote(link.name)} = ? LIMIT 1"
        found = self.store.value(sql, (name,))
        if found and not (other.name == doctype and found == name):
            text = f"Cannot delete or cancel because {doctype} <a>{name}</a> is linked with {other.name} <a>{found}</a>"
            raise FrappeError("LinkExistsError", text)

    # Parts of writing

    def _values(self, meta: DocType, doc: Mapping[str, Any]) -> Doc:
        """What goes into columns of its own."""
        values: Doc = {}
        for one in meta.columns:
            if one.name in doc:
                value = doc[one.name]
                if one.type in ("Check", "Int") and value is not None:
                    value = int(value or 0)
                elif one.flags.get("unique") and value == "":
                    value = None
                values[one.name] = json.dumps(value) if isinstance(value, dict | list) else value
        return values

    def _validate(self, meta: DocType, values: Mapping[str, Any]) -> None:
        for one in meta.columns:
            value = values.get(one.name)
            if one.flags.get("reqd") and value in (None, ""):
                raise FrappeError("MandatoryError", f"[{meta.name}]: {one.name}", title="Missing Values Required")
            if value in (None, ""):
                continue
            if one.type == "Link" and one.options in self.doctypes and self.store.get(one.options, value) is None:
                if one.options == "DocType" and value in self.doctypes:
                    continue
                raise FrappeError("LinkValidationError", f"Could not find {one.name}: {value}")
            if one.type == "Select" and one.options and str(value) not in one.options.split("\n"):
                raise FrappeError(
                    "ValidationError", f'{one.name} cannot be "{value}". It should be one of "{one.options}"'
                )
            if one.type == "Data" and len(str(value)) > 140:
                text = f"'{one.name}' will get truncated, as max characters allowed is 140"
                raise FrappeError("CharacterLengthExceededError", text)

    def _write_unique(self, meta: DocType, write: Callable[[], Any]) -> None:
        import sqlite3

        try:
            write()
        except sqlite3.IntegrityError as error:
            raise FrappeError("UniqueValidationError", f"{meta.name}: {error} must be unique") from None

    def _write_children(self, meta: DocType, name: str, doc: Mapping[str, Any]) -> None:
        """A table that is sent replaces the one that is there; rows with a wrong name are lost (db_update)."""
        for field_ in meta.tables:
            if not isinstance(doc.get(field_.name), list):
                continue
            child, parent = self.doctype(field_.options), (name, field_.name)
            sql = f"SELECT name FROM {table(child.name)} WHERE parent = ? AND parentfield = ?"
            there = {row["name"] for row in self.store.all(sql, parent)}
            kept = set()
            for idx, row in enumerate(doc[field_.name], 1):
                values = self._values(child, row)
                self._validate(child, values)
                if row.get("name"):
                    kept.add(row["name"])
                    self.store.update(child.name, row["name"], {**values, "idx": idx})
                else:
                    whose = {"parent": name, "parenttype": meta.name, "parentfield": field_.name, "idx": idx}
                    self.store.insert(child.name, {**self.stamps(secrets.token_hex(5)), **whose, **values})
            for gone in there - kept:
                self.store.run(f"DELETE FROM {table(child.name)} WHERE name = ?", (gone,))

    def _name(self, meta: DocType, doc: Mapping[str, Any], named: bool) -> str:
        """model/naming.py:set_new_name."""
        wanted = doc.get("name") or doc.get("__newname")
        if named and wanted and meta.autoname != "hash":
            return str(wanted)
        if meta.issingle:
            return meta.name
        if self.version == "14" and doc.get("__newname"):
            return str(doc["__newname"])
        if meta.autoname == "prompt":
            if not wanted:
                raise FrappeError("ValidationError", "Please set the document name")
            return str(wanted)
        if meta.autoname.startswith("field:"):
            return str(doc.get(meta.autoname.removeprefix("field:")) or "")
        if meta.autoname == "custom_field":
            return f"{doc['dt']}-{doc.get('fieldname')}"
        if meta.autoname == "customer":
            return self._customer(str(doc["customer_name"]))
        if meta.autoname.startswith("naming_series"):
            return self.series(str(doc.get("naming_series") or _initials(meta.name)))
        return secrets.token_hex(5)

    def _customer(self, name: str) -> str:
        """A taken name gets a number, so a repeated POST makes a second customer (erpnext customer.py:autoname)."""
        count = 0
        while self.store.get("Customer", name if not count else f"{name} - {count}"):
            count += 1
        return name if not count else f"{name} - {count}"

    def series(self, text: str) -> str:
        prefix = re.sub(r"\.?#+$", "", text).replace(".YYYY.", self.now()[:4]).replace(".", "")
        sql = f"INSERT INTO {quote('series')} VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET current = current + 1"
        self.store.run(sql, (prefix,))
        current = self.store.value(f"SELECT current FROM {quote('series')} WHERE name = ?", (prefix,))
        return f"{prefix}{current:05d}"

    def _retentions(self, rows: list[Doc]) -> list[Doc]:
        """log_settings.py:validate: what cannot be cleared goes, the defaults come back."""
        kept = {row["ref_doctype"]: row for row in rows if row.get("ref_doctype") in CLEARABLE}
        defaults = {"Error Log": 14, "Scheduled Job Log": 7, "Prepared Report": 14, "Email Queue": 30}
        defaults |= {"Webhook Request Log": 30, "Integration Request": 90, "Activity Log": 90, "Route History": 90}
        added = [{"ref_doctype": name, "days": days} for name, days in defaults.items() if name not in kept]
        return [*kept.values(), *added]

    # Background jobs

    def enqueue(self, job: Callable[[], None]) -> None:
        self.jobs.append(job)
        self.jobs_enqueued += 1
        self.wake_worker()

    def clear_logs(self) -> None:
        """run_log_clean_up: one DELETE for each row of Log Settings, by the database's clock."""
        column = "creation" if self.version == "16" else "modified"
        for row in self.store.all(f"SELECT ref_doctype, days FROM {table('Logs To Clear')}"):
            meta = self.doctypes.get(row["ref_doctype"])
            if meta is None:
                continue
            sql = "SELECT datetime(?, ?)"
            cutoff = self.store.value(sql, (self.database_now().isoformat(" "), f"-{row['days']} days"))
            for child in meta.tables:
                inner = f"SELECT name FROM {table(meta.name)} WHERE {column} < ?"
                self.store.run(f"DELETE FROM {table(child.options)} WHERE parent IN ({inner})", (cutoff,))
            self.store.run(f"DELETE FROM {table(meta.name)} WHERE {column} < ?", (cutoff,))


def standard_columns(meta: DocType) -> list[str]:
    return [*STANDARD, *(CHILD if meta.istable else ()), *(one.name for one in meta.columns)]


def _initials(doctype: str) -> str:
    return "".join(word[0] for word in doctype.split()).upper() + "-.YYYY.-.#####"


def _now() -> datetime:
    return datetime.now(UTC)
