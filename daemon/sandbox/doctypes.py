"""The DocTypes that a sandbox starts with, and what a DocType is made of there.

Names of DocTypes, fields and roles are Frappe's and ERPNext's (the *.json beside each controller); only fields that the
daemon's jobs touch, or that its tests show to matter, are kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

RIGHTS = (
    "read",
    "write",
    "create",
    "delete",
    "submit",
    "cancel",
    "amend",
    "report",
    "export",
    "share",
    "print",
    "email",
)
TABLES = ("Table", "Table MultiSelect")
LAYOUT = ("Section Break", "Column Break", "Tab Break", "HTML", "Button", "Heading")
NUMBERS = {"Int": "INTEGER", "Check": "INTEGER", "Float": "REAL", "Currency": "REAL", "Percent": "REAL"}


@dataclass(frozen=True, slots=True)
class Field:
    """One field; `flags` holds what Frappe calls properties: reqd, unique, default …"""

    name: str
    type: str
    options: str = ""
    flags: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        facts = {"fieldname": self.name, "fieldtype": self.type, "options": self.options or None, "label": self.label}
        return {**facts, **{key: value for key, value in self.flags.items() if key != "label"}}

    @property
    def label(self) -> str:
        return str(self.flags.get("label") or self.name.replace("_", " ").title())


@dataclass(slots=True)
class DocType:
    """One DocType. `permissions` are rows of DocPerm."""

    name: str
    module: str = "Custom"
    fields: dict[str, Field] = field(default_factory=dict)
    permissions: list[dict[str, Any]] = field(default_factory=list)
    autoname: str = "hash"
    istable: bool = False
    issingle: bool = False
    is_submittable: bool = False
    custom: bool = False
    myisam: bool = False
    """Its table knows no transactions."""

    @property
    def columns(self) -> list[Field]:
        return [one for one in self.fields.values() if one.type not in TABLES + LAYOUT]

    @property
    def tables(self) -> list[Field]:
        return [one for one in self.fields.values() if one.type in TABLES]

    def links(self) -> Iterator[Field]:
        return (one for one in self.fields.values() if one.type == "Link")

    def as_json(self) -> dict[str, Any]:
        """As getdoctype sends it, without the desk's scripts."""
        flags = ("istable", "issingle", "is_submittable", "custom")
        return {
            "doctype": "DocType",
            "name": self.name,
            "module": self.module,
            "autoname": self.autoname,
            **{flag: int(getattr(self, flag)) for flag in flags},
            "fields": [one.as_json() for one in self.fields.values()],
            "permissions": self.permissions,
        }

    @classmethod
    def of_json(cls, doc: Mapping[str, Any]) -> DocType:
        """From what POST /api/resource/DocType takes."""
        skipped = ("fieldname", "fieldtype", "options")
        fields = {
            row["fieldname"]: Field(
                row["fieldname"],
                row.get("fieldtype", "Data"),
                row.get("options") or "",
                {key: value for key, value in row.items() if key not in skipped},
            )
            for row in doc.get("fields") or ()
            if row.get("fieldname")
        }
        return cls(
            doc["name"],
            doc.get("module") or "Custom",
            fields,
            [dict(row) for row in doc.get("permissions") or ()],
            doc.get("autoname") or "hash",
            *(bool(doc.get(flag)) for flag in ("istable", "issingle", "is_submittable", "custom")),
        )


_FIELD = re.compile(r"(\w+):(\w[\w ]*?)(?:\[([^\]]*)\])?(?:=([\w.# -]+?))?((?: !\w+)*)$")


def parse(text: str) -> Iterator[DocType]:
    """DocTypes in the notation below.

    A head line `Name | Module | flag …`, then indented lines: `+ Role: right …` a permission (`all` is all rights), and
    fields as `name:Type[option/option]=default !reqd`, separated by semicolons.
    """
    doctype: DocType | None = None
    for line in filter(str.strip, text.splitlines()):
        if not line.startswith(" "):
            if doctype:
                yield doctype
            doctype = _head(line)
        elif doctype and line.strip().startswith("+"):
            role, _, rights = line.strip()[1:].partition(":")
            granted = RIGHTS if rights.strip() == "all" else rights.split()
            doctype.permissions.append({"role": role.strip(), "permlevel": 0, **dict.fromkeys(granted, 1)})
        elif doctype:
            doctype.fields.update({one.name: one for one in _fields(line)})
    if doctype:
        yield doctype


def _head(line: str) -> DocType:
    name, module, *flags = (part.strip() for part in line.split("|"))
    doctype = DocType(name, module)
    for flag in flags:
        if flag.startswith("autoname="):
            doctype.autoname = flag.partition("=")[2]
        else:
            setattr(doctype, flag, True)
    return doctype


def _fields(line: str) -> Iterable[Field]:
    for part in filter(None, (part.strip() for part in line.split(";"))):
        match = _FIELD.match(part)
        if not match:
            raise ValueError(f"no field: {part!r}")
        flags: dict[str, Any] = {flag.removeprefix("!"): 1 for flag in match[5].split()}
        flags |= {"default": match[4]} if match[4] else {}
        yield Field(match[1], match[2], (match[3] or "").replace("/", "\n"), flags)


def stamp(value: Any, kind: str) -> Any:
    """A value as a column of type `kind` keeps it; times without a fraction that is zero, and six digits else."""
    text = "" if value is None else str(value)
    if kind == "Date":
        return text[:10]
    if kind == "Datetime" and text:
        day, _, time = text.replace("T", " ").partition(" ")
        seconds, _, fraction = (time or "00:00:00").partition(".")
        return f"{day} {seconds}.{fraction:0<6}" if fraction.strip("0") else f"{day} {seconds}"
    return text if value is None else value


def standard(version: str) -> list[DocType]:
    """The DocTypes of `version` ("14", "15", "16"), ERPNext's included."""
    found = {doctype.name: doctype for doctype in parse(_FRAPPE + _ERPNEXT)}
    statuses = "Not Sent/Sending/Sent/Partially Sent/Error" + ("/Expired" if version == "14" else "")
    queue = found["Email Queue"].fields
    gone = set() if version == "16" else {"OAuth Bearer Token", "API Request Log"}
    gone |= {"Submission Queue", "Unhandled Email", "Reminder"} if version == "14" else set()
    queue["status"] = Field("status", "Select", statuses.replace("/", "\n"), {"default": "Not Sent"})
    return [doctype for name, doctype in found.items() if name not in gone]


_FRAPPE = """
Error Log | Core | myisam
  + System Manager: read write create delete report print email
  seen:Check; method:Data; error:Code; reference_doctype:Link[DocType]; reference_name:Data; trace_id:Data
Activity Log | Core
  + System Manager: read report share email
  subject:Small Text !reqd; content:Text Editor; communication_date:Datetime; operation:Data; status:Data
  user:Link[User]; reference_doctype:Data; reference_name:Data; full_name:Data; ip_address:Data
Email Queue | Email
  + System Manager: read delete report print email
  sender:Data; recipients:Table[Email Queue Recipient]; message:Code; status:Select; error:Code; message_id:Small Text
  reference_doctype:Data; reference_name:Data; communication:Link[Communication]; send_after:Datetime; retry:Int
Email Queue Recipient | Email | istable
  recipient:Data; status:Select[/Not Sent/Sent]; error:Code
Version | Core
  + System Manager: read report export
  + Administrator: read delete
  ref_doctype:Data !reqd; docname:Data !reqd; data:Code
Scheduled Job Type | Core
  + System Manager: all
  method:Data; stopped:Check; create_log:Check; last_execution:Datetime; cron_format:Data; frequency:Data
Scheduled Job Log | Core
  + System Manager: all
  status:Select[Scheduled/Complete/Failed]; details:Code; scheduled_job_type:Link[Scheduled Job Type]
Log Settings | Core | issingle
  + System Manager: read write create delete share print email
  logs_to_clear:Table[Logs To Clear]
Logs To Clear | Core | istable
  ref_doctype:Link[DocType] !reqd; days:Int
Deleted Document | Core
  + System Manager: read delete report print email
  deleted_name:Data; deleted_doctype:Data; restored:Check; new_name:Data; data:Code
Comment | Core
  + System Manager: all
  + Website Manager: all
  comment_type:Data; comment_email:Data; subject:Data; content:Text Editor; reference_doctype:Data; reference_name:Data
Access Log | Core
  + System Manager: read create delete report
  export_from:Data; user:Data; reference_document:Data; timestamp:Datetime
Route History | Desk
  + System Manager: read
  route:Data; user:Data
View Log | Core
  + System Manager: read
  viewed_by:Data; reference_doctype:Data; reference_name:Data
Webhook Request Log | Integrations
  + System Manager: read delete report
  webhook:Data; url:Data; headers:Code; response:Code; error:Code
Integration Request | Integrations
  + System Manager: all
  integration_request_service:Data; status:Data; data:Code; output:Code; error:Code
Submission Queue | Core
  + System Manager: read
  status:Data
Unhandled Email | Core
  + System Manager: read delete
  email_account:Data
Reminder | Automation
  + All: read write create delete
  description:Small Text
OAuth Bearer Token | Integrations
  + System Manager: read delete
  user:Data
API Request Log | Core
  + System Manager: read delete
  user:Data; path:Data; method:Data
Prepared Report | Core
  + System Manager: all
  report_name:Data; status:Data
Email Unsubscribe | Email
  + System Manager: all
  email:Data !reqd; reference_doctype:Link[DocType]; reference_name:Data; global_unsubscribe:Check
Email Account | Email | autoname=field:email_account_name
  + System Manager: all
  email_account_name:Data; email_id:Data; enable_outgoing:Check; default_outgoing:Check; enable_incoming:Check
Notification Log | Desk
  + All: read
  subject:Text; for_user:Link[User]; type:Data; email_content:Text Editor; document_type:Data; document_name:Data
  from_user:Data; read:Check
Email Template | Email | autoname=prompt
  + Desk User: read
  + System Manager: all
  subject:Data !reqd; response:Text Editor; use_html:Check; response_html:Code
User | Core | autoname=field:email
  + System Manager: all
  email:Data !reqd; username:Data; first_name:Data !reqd; full_name:Data; enabled:Check; language:Data; time_zone:Data
  user_type:Data; api_key:Data; roles:Table[Has Role]; thread_notify:Check; bio:Small Text
Has Role | Core | istable
  role:Link[Role]
Role | Core | autoname=field:role_name
  + System Manager: all
  role_name:Data !reqd; desk_access:Check; disabled:Check
DocType | Core | autoname=prompt
  + System Manager: read write create delete report print email
  module:Data !reqd; custom:Check; istable:Check; issingle:Check; is_submittable:Check; autoname:Data; naming_rule:Data
  track_changes:Check; description:Small Text; fields:Table[DocField]; permissions:Table[DocPerm]
DocField | Core | istable
  fieldname:Data; label:Data; fieldtype:Data=Data; options:Small Text; reqd:Check; unique:Check; default:Small Text
  read_only:Check; no_copy:Check; hidden:Check; in_list_view:Check; allow_on_submit:Check; length:Int; precision:Data
DocPerm | Core | istable
  role:Link[Role] !reqd; permlevel:Int; if_owner:Check; read:Check=1; write:Check=1; create:Check=1; delete:Check=1
  submit:Check; cancel:Check; amend:Check; report:Check=1; export:Check=1; share:Check=1; print:Check=1; email:Check=1
Custom Field | Custom | autoname=custom_field
  + System Manager: all
  dt:Link[DocType] !reqd; fieldname:Data; label:Data; fieldtype:Data; options:Small Text; insert_after:Data; reqd:Check
  unique:Check; no_copy:Check; read_only:Check; default:Text; length:Int; description:Text; hidden:Check
  print_hide:Check; allow_on_submit:Check; precision:Data
Custom DocPerm | Core
  + System Manager: all
  parent:Data; role:Link[Role]; permlevel:Int; if_owner:Check; select:Check; read:Check=1; write:Check; create:Check
  delete:Check; submit:Check; cancel:Check; amend:Check; report:Check; export:Check=1; import:Check; share:Check
  print:Check; email:Check
System Settings | Core | issingle
  + System Manager: read write
  time_zone:Data; country:Data; language:Data; allow_error_traceback:Check; app_name:Data
File | Core
  + All: read write create delete
  + System Manager: all
  file_name:Data; file_url:Code; is_private:Check; attached_to_doctype:Data; attached_to_name:Data; content_hash:Data
  file_size:Int; folder:Data; attached_to_field:Data
ToDo | Desk
  + All: read write create delete print email
  + System Manager: read write create report print email
  status:Select[Open/Closed/Cancelled]=Open; priority:Select[High/Medium/Low]=Medium; description:Text Editor !reqd
  allocated_to:Link[User]; date:Date; color:Color; reference_type:Data; reference_name:Data; assigned_by:Link[User]
Communication | Core
  + System Manager: read write create delete report email
  + All: read delete email if_owner
  subject:Small Text !reqd; content:Text Editor; communication_medium:Data; communication_type:Data
  sent_or_received:Data; recipients:Code; cc:Code; bcc:Code; sender:Data; status:Data; reference_doctype:Data
  reference_name:Data; delivery_status:Data
"""

_ERPNEXT = """
Company | Setup | autoname=field:company_name
  + System Manager: all
  + Sales User: read
  company_name:Data !reqd; abbr:Data; default_currency:Link[Currency]; country:Data
Currency | Geo | autoname=field:currency_name
  + System Manager: all
  + Sales User: read
  currency_name:Data !reqd; symbol:Data; enabled:Check
Customer | Selling | autoname=customer
  + Sales User: read write create
  + Sales Manager: read
  + Sales Master Manager: all
  naming_series:Data; customer_name:Data !reqd; customer_type:Select[Company/Individual/Partnership]=Company
  customer_group:Data; territory:Data; tax_id:Data; email_id:Data; mobile_no:Data; disabled:Check
Supplier | Buying | autoname=field:supplier_name
  + System Manager: all
  supplier_name:Data !reqd; supplier_group:Data; tax_id:Data; disabled:Check
Item Group | Setup | autoname=field:item_group_name
  + System Manager: all
  + Sales User: read
  item_group_name:Data !reqd; parent_item_group:Link[Item Group]; is_group:Check
Item | Stock | autoname=field:item_code
  + Item Manager: all
  + Sales User: read
  + System Manager: read write create delete report
  item_code:Data !reqd !unique; item_name:Data; item_group:Link[Item Group] !reqd; stock_uom:Data; disabled:Check
  is_stock_item:Check; standard_rate:Currency; description:Text Editor; brand:Data
Sales Order | Selling | autoname=naming_series: | is_submittable
  + Sales User: all
  + Sales Manager: all
  + System Manager: read report
  naming_series:Data=SAL-ORD-.YYYY.-; customer:Link[Customer] !reqd; customer_name:Data; transaction_date:Date
  delivery_date:Date !allow_on_submit; order_type:Select[/Sales/Maintenance/Shopping Cart]=Sales
  company:Link[Company]; currency:Link[Currency]; items:Table[Sales Order Item] !reqd; total_qty:Float; total:Currency
  grand_total:Currency[currency]; base_grand_total:Currency[Company:company:default_currency]
  status:Data=Draft !allow_on_submit; po_no:Data !allow_on_submit; amended_from:Link[Sales Order]
Sales Order Item | Selling | istable
  item_code:Link[Item]; item_name:Data; qty:Float; rate:Currency; amount:Currency[currency]
  base_amount:Currency[Company:company:default_currency]; delivery_date:Date; warehouse:Data
Sales Invoice | Accounts | autoname=naming_series: | is_submittable
  + Sales User: all
  + Accounts Manager: all
  + System Manager: read report
  naming_series:Data=ACC-SINV-.YYYY.-; customer:Link[Customer] !reqd; customer_name:Data; posting_date:Date
  due_date:Date
  company:Link[Company]; currency:Link[Currency]; items:Table[Sales Invoice Item] !reqd; total_qty:Float; total:Currency
  grand_total:Currency[currency]; base_grand_total:Currency[Company:company:default_currency]
  outstanding_amount:Currency !allow_on_submit; status:Data=Draft !allow_on_submit
  amended_from:Link[Sales Invoice]
Sales Invoice Item | Accounts | istable
  item_code:Link[Item]; item_name:Data; qty:Float; rate:Currency; amount:Currency[currency]
  base_amount:Currency[Company:company:default_currency]; sales_order:Link[Sales Order]
Issue | Support | autoname=naming_series:
  + System Manager: all
  + Support Team: all
  naming_series:Data=ISS-.YYYY.-; subject:Data !reqd; customer:Link[Customer]; status:Data=Open
  priority:Data; opening_date:Date
Contract | CRM | autoname=CON-.YYYY.-.##### | is_submittable
  + System Manager: all
  naming_series:Data; party_type:Data; party_name:Data; status:Data; start_date:Date; end_date:Date; contract_terms:Text
"""
