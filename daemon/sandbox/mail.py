"""Mail, printed documents and files. After core/doctype/communication/email.py, handler.py, utils/print_format.py."""

from __future__ import annotations

import re
import secrets
from typing import Any
from urllib.parse import quote

from daemon.sandbox import documents, rights
from daemon.sandbox.methods import method
from daemon.sandbox.replies import Answer, FrappeError, page
from daemon.sandbox.requests import decoded
from daemon.sandbox.site import Doc, FrappeSite, hash_name
from daemon.sandbox.store import table

_ADDRESS = re.compile(r"[^@\s<>,]+@[^@\s<>,]+\.[^@\s<>,]+$")


@method("frappe.core.doctype.communication.email.make")
def make_email(
    site: FrappeSite, doctype: str = "", name: str = "", content: str = "", subject: str = "", recipients: Any = None,
    cc: Any = None, send_email: Any = 0,
) -> Doc:  # fmt: skip
    """A Communication and, with send_email, one row of Email Queue and a mail in the outbox.

    Only where both doctype and name are given must one have the right to mail that document.
    """
    if doctype and name:
        rights.require(site, "email", doctype, documents.load(site, doctype, name))
    to, copied = _addresses(site, recipients), _addresses(site, cc)
    facts: Doc = {"subject": subject, "content": content, "communication_type": "Communication", "sender": site.user}
    facts |= {"communication_medium": "Email", "sent_or_received": "Sent", "recipients": ", ".join(to)}
    facts |= {"cc": ", ".join(copied), "reference_doctype": doctype or None, "reference_name": name or None}
    made = hash_name()
    content = _sanitized(site, content)
    site.store.insert("Communication", {**site.stamps(made), **facts, "content": content})
    if int(decoded(send_email) or 0):
        _queue(site, made, [one for one in (*to, *copied) if not _unsubscribed(site, one, doctype, name)], facts)
    return {"name": made, "emails_not_sent_to": ""}


def _sanitized(site: FrappeSite, content: str) -> str:
    """utils/html_utils.py:sanitize_html, as far as it shows in mails: scripts go, and on 16 styles; comments stay."""
    gone = "script|style" if site.version == "16" else "script"
    return re.sub(rf"<({gone})\b.*?</\1>", "", content, flags=re.DOTALL | re.IGNORECASE)


def _unsubscribed(site: FrappeSite, address: str, doctype: str, name: str) -> bool:
    """email_queue.py:get_unsubscribed_user_emails: from all mails, or from those about a document."""
    rows = site.store.all(f"SELECT * FROM {table('Email Unsubscribe')} WHERE email = ?", (address,))
    about = (doctype or None, name or None)
    return any(
        row["global_unsubscribe"] or (about[0] and (row["reference_doctype"], row["reference_name"]) == about)
        for row in rows
    )


def _addresses(site: FrappeSite, given: Any) -> list[str]:
    """Raises InvalidEmailAddressError for what is none; 16 names its first word only."""
    found = decoded(given) or []
    listed = found if isinstance(found, list) else [part.strip() for part in found.split(",") if part.strip()]
    for address in listed:
        if not _ADDRESS.match(address.rpartition("<")[2].rstrip("> ")):
            named = address.split()[0] if site.version == "16" else address
            raise FrappeError("InvalidEmailAddressError", f"{named} is not a valid Email Address")
    return listed


def _queue(site: FrappeSite, communication: str, to: list[str], facts: Doc) -> None:
    """Nothing where nobody is left to mail to."""
    if site.config.get("mute_emails") == "no account":
        text = "Please setup default Email Account from Settings > Email Account"
        raise FrappeError("OutgoingEmailError", text)
    if not to:
        return
    name, subject, content = hash_name(), facts["subject"], facts["content"]
    row = {"sender": site.user, "status": "Not Sent", "communication": communication, "message": content}
    site.store.insert("Email Queue", {**site.stamps(name), **row})
    for idx, address in enumerate(to, 1):
        values = {"recipient": address, "status": "Not Sent"}
        site.add_child("Email Queue Recipient", ("Email Queue", name, "recipients"), idx, values)
    site.outbox.append({"recipients": to, "subject": subject, "content": content, "communication": communication})


@method("frappe.utils.print_format.download_pdf")
def download_pdf(site: FrappeSite, doctype: str, name: str) -> Answer:
    doc = documents.read(site, doctype, name)
    text = f"%PDF-1.4\n% {doctype} {doc['name']}\n%%EOF\n"
    return Answer(text.encode(), media="application/pdf")


@method("frappe.www.printview.get_html_and_style")
def get_html_and_style(site: FrappeSite, doc: str, name: str | None = None) -> Doc:
    found = documents.read(site, doc, name)
    return {"html": f"<div class=print-format>{doc} {found['name']}</div>", "style": ""}


# Files


@method("upload_file")
def upload_file(
    site: FrappeSite, file: bytes | None = None, filename: str = "", file_name: str = "", is_private: Any = 0,
    doctype: str | None = None, docname: str | None = None, folder: str = "Home", fieldname: str | None = None,
) -> Doc:  # fmt: skip
    """A File document; what is in it is kept beside. It gets another name where the name is another file's."""
    if doctype and docname:
        rights.require(site, "write", doctype, documents.load(site, doctype, docname))
    name = file_name or filename
    if file is None or not name:
        raise FrappeError("MandatoryError", "Fields `file_name` or `file_url` must be set for File")
    if not file:
        raise FrappeError("OSError", "File  does not exist", thrown=False)
    private = int(decoded(is_private) or 0)
    url = f"{'/private' if private else ''}/files/{name}"
    if site.store.value("SELECT 1 FROM contents WHERE url = ? AND content != ?", (url, file)):
        stem, dot, ending = url.rpartition(".")
        url = f"{stem}{secrets.token_hex(3)}{dot}{ending}"
        name = url.rpartition("/")[2]
    facts = {"file_name": name, "file_url": url, "is_private": private, "file_size": len(file), "folder": folder}
    attached = {"attached_to_doctype": doctype, "attached_to_name": docname, "attached_to_field": fieldname}
    doc = documents.insert(site, {"doctype": "File", **facts, **attached})
    site.store.run("INSERT OR REPLACE INTO contents VALUES (?, ?)", (url, file))
    return doc


def download(site: FrappeSite, url: str) -> Answer:
    """utils/response.py:download_private_file: a page for who may not, or where there is none of that name."""
    content, allowed = _content(site, url)
    if url.startswith("/private/") and not allowed:
        return page(403, "Forbidden")
    return page(404, "Not Found") if content is None else Answer(content, media="application/octet-stream")


@method("frappe.handler.download_file", guests=True)
def download_file(site: FrappeSite, file_url: str) -> Answer:
    content, allowed = _content(site, file_url)
    if content is None and site.version != "16":
        raise FrappeError("DoesNotExistError", f"File {{'file_url': '{file_url}'}} not found")
    if content is None or not allowed:
        raise FrappeError("PermissionError", thrown=False)
    answer = Answer(content, media="application/octet-stream")
    answer.headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(file_url.rpartition('/')[2])}"
    return answer


def _content(site: FrappeSite, url: str) -> tuple[bytes | None, bool]:
    """What is in the file, and whether one may have it: all may where it is public, else by its owner or document."""
    rows = site.store.all(f"SELECT * FROM {table('File')} WHERE file_url = ?", (url,))
    content = site.store.value("SELECT content FROM contents WHERE url = ?", (url,)) if rows else None
    return content, any(_may_have(site, row) for row in rows)


def _may_have(site: FrappeSite, row: Doc) -> bool:
    if not row["is_private"] or site.user in ("Administrator", row["owner"]):
        return True
    about = row["attached_to_doctype"]
    target = site.store.get(about, row["attached_to_name"]) if about in site.doctypes else None
    return target is not None and rights.may(site, "read", about, target)
