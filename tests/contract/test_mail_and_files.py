"""Mail, notifications and files."""

import pytest

from daemon import errors

from .conftest import ADMINISTRATOR, CLERK, MANAGER, client_of

MAKE = "frappe.core.doctype.communication.email.make"


def test_a_mail_is_a_communication_and_a_row_in_the_queue(site, mark):
    """communication/email.py:make: one row for up to a hundred recipients, "Not Sent" until the queue is flushed."""
    reply = site.call(MAKE, recipients="a@example.com, b@example.com", subject=mark, content="<p>x</p>", send_email=1)
    name = reply.value["name"]
    site.made.append(("Communication", name))
    (queued,) = site.list("Email Queue", fields=["name", "status"], filters={"communication": name}).value
    site.made.append(("Email Queue", queued["name"]))
    assert queued["status"] == "Not Sent"
    row = site.read("Email Queue", queued["name"]).value
    assert sorted(one["recipient"] for one in row["recipients"]) == ["a@example.com", "b@example.com"]
    made = site.read("Communication", name).value
    assert (made["subject"], made["sent_or_received"], made["communication_medium"]) == (mark, "Sent", "Email")
    if site.sandbox:
        (mail,) = [one for one in site.sandbox.outbox if one["communication"] == name]
        assert (mail["recipients"], mail["subject"]) == (["a@example.com", "b@example.com"], mark)


def test_without_send_email_it_is_only_noted(site, mark):
    """A Communication, and nothing in the queue."""
    name = site.call(MAKE, recipients="a@example.com", subject=mark, content="x").value["name"]
    site.made.append(("Communication", name))
    assert site.list("Email Queue", filters={"communication": name}).value == []


def test_an_address_that_is_none_is_refused(site, mark):
    """417 InvalidEmailAddressError."""
    reply = site.call(MAKE, recipients="not an address", subject=mark, content="x", send_email=1)
    assert reply.status == 417


def test_a_mail_about_a_document_needs_the_right_to_mail_it(site, mark):
    """Only where both doctype and name are given."""
    log = site.make("Error Log", method=mark)["name"]
    about = {"doctype": "Error Log", "name": log}
    asked = {"recipients": "a@example.com", "subject": mark, "content": "x", "send_email": 0}
    assert site.call(MAKE, user=CLERK, **asked, **about).status == 403
    made = site.call(MAKE, **asked, **about).value["name"]
    site.made.append(("Communication", made))
    assert site.read("Communication", made).value["reference_name"] == log


def test_without_an_account_nothing_is_sent(site, mark):
    """501 OutgoingEmailError, and no Communication either."""
    sandbox = site.only_sandbox("its account would have to go")
    sandbox.site_config["mute_emails"] = "no account"
    try:
        reply = site.call(MAKE, recipients="a@example.com", subject=mark, content="x", send_email=1)
    finally:
        sandbox.site_config.pop("mute_emails")
    assert (reply.status, reply.kind) == (501, "OutgoingEmailError")
    assert sandbox.count("Communication", {"subject": mark}) == 0


def test_nobody_but_administrator_makes_notifications(site, mark):
    """Notification Log gives no role the right to create; its list shows everybody their own."""
    doc = {"subject": mark, "for_user": MANAGER, "type": "Alert"}
    assert site.insert("Notification Log", **doc).status == 403
    made = site.insert("Notification Log", user=ADMINISTRATOR, **doc)
    assert made.status == 200
    asked = {"filters": {"subject": mark}}
    assert len(site.list("Notification Log", **asked).value) == 1
    assert site.list("Notification Log", user=CLERK, **asked).value == []


def upload(site, mark, content=b"a,b\n1,2\n", private=1, **more):
    reply = site.ask(
        "POST", "/api/method/upload_file", files={"file": (f"{mark}.csv", content, "text/csv")},
        data={"is_private": str(private), **more},
    )  # fmt: skip
    assert reply.status == 200, reply.response.text
    site.made.append(("File", reply.value["name"]))
    return reply.value


def test_upload_and_download(site, mark):
    """A File document; private ones need the right to read it, and refusals are HTML."""
    made = upload(site, mark)
    assert made["file_url"] == f"/private/files/{mark}.csv" and made["is_private"] == 1
    assert site.get(made["file_url"]).response.content == b"a,b\n1,2\n"
    refused = site.get(made["file_url"], user=CLERK)
    assert refused.status == 403 and refused.is_html
    missing = site.get("/private/files/no-such-file.csv")
    assert missing.status == 403 and missing.is_html
    again = site.get("/api/method/frappe.handler.download_file", params={"file_url": made["file_url"]})
    assert again.response.content == b"a,b\n1,2\n"


def test_an_attachment(site, mark):
    """The File names what it is attached to, and its size."""
    log = site.make("Error Log", method=mark)["name"]
    made = upload(site, mark, doctype="Error Log", docname=log)
    row = site.read("File", made["name"]).value
    assert (row["attached_to_doctype"], row["attached_to_name"]) == ("Error Log", log)
    assert row["file_size"] == 8


def test_the_client_uploads_and_downloads(site, mark, client, tmp_path):
    """By streams, private and public; what is attached already is not sent again; a missing file is 404."""
    log = site.make("Error Log", method=mark)["name"]
    path, back = tmp_path / "out.csv", tmp_path / "back.csv"
    path.write_bytes(b"a,b\n1,ue\n" * 5000)
    url = client.attach(path, "Error Log", log, file_name=f"{mark}.csv")
    assert url.startswith("/private/files/") and client.attach(path, "Error Log", log, file_name=f"{mark}.csv") == url
    assert len(site.list("File", filters={"attached_to_name": log}).value) == 1
    client.download(url, back, largest=10**6)
    assert back.read_bytes() == path.read_bytes() and back.stat().st_mode & 0o777 == 0o600
    with pytest.raises(errors.FileProblem):
        client.download(url, back, largest=1000)
    public = upload(site, mark, content=b"public", private=0)
    client.download(public["file_url"], back, largest=1000)
    assert back.read_bytes() == b"public"
    with pytest.raises(errors.NotFound if site.major < 16 else errors.SiteError):
        client.download("/private/files/no-such-file.csv", back, largest=1000)


def test_a_second_file_of_one_name_gets_another(site, mark):
    """In its URL and in its file_name; an empty one is refused by a bug."""
    first, second = upload(site, mark), upload(site, mark, content=b"other")
    assert first["file_url"] != second["file_url"] and first["file_name"] != second["file_name"]
    reply = site.ask("POST", "/api/method/upload_file", files={"file": (f"{mark}-e.csv", b"", "text/csv")})
    assert reply.status == 500


def test_a_document_takes_the_file_that_its_attach_field_names(site, mark):
    """Whoever uploaded it (core/doctype/file/utils.py:attach_files_to_document); its owner stays who that was."""
    rights = [{"role": role, "read": 1, "write": 1, "create": 1} for role in ("System Manager", "Sales User")]
    fields = [{"fieldname": "sheet", "label": "Sheet", "fieldtype": "Attach"}]
    site.make("DocType", name=mark, module="Custom", custom=1, autoname="hash", fields=fields, permissions=rights)
    made = upload(site, mark)
    assert site.get(made["file_url"], user=CLERK).status == 403
    doc = site.insert(mark, user=CLERK, sheet=made["file_url"])
    assert doc.status == 200
    row = site.read("File", made["name"]).value
    assert (row["attached_to_name"], row["owner"]) == (doc.value["name"], MANAGER)
    assert site.get(made["file_url"], user=CLERK).status == 200


def test_an_owner_stays(site, mark):
    """417 CannotChangeConstantError."""
    name = site.make("Error Log", method=mark)["name"]
    reply = site.put("Error Log", name, owner="Administrator")
    assert (reply.status, reply.kind) == (417, "CannotChangeConstantError")


def test_public_files_are_for_all(site, mark):
    """Under /files, without a key."""
    made = upload(site, mark, private=0)
    assert made["file_url"] == f"/files/{mark}.csv"
    if site.sandbox is None:
        pytest.skip("a real site's public files are served by nginx")
    assert site.get(made["file_url"], user="Guest").response.content == b"a,b\n1,2\n"


def test_uploads_are_not_for_get_in_16(site):
    """16 takes POST only: 403; 14 and 15 miss the file: 417."""
    assert site.get("/api/method/upload_file").status == (403 if site.major >= 16 else 417)


CONTENT = """<style>@media print {{ .x {{ color: red }} }}</style><meta name="color-scheme" content="light dark">
<!-- {mark} --><div dir="rtl" lang="ar" style="background-color: Canvas; color: CanvasText"><table><tbody><tr><td
bgcolor="#ff0000" align="right">12</td></tr></tbody></table><span style="unicode-bidi:isolate">x</span></div>"""


def letter_of(mark, recipient="a@example.com", **more):
    from daemon.core.letter import Letter

    return Letter(recipient, mark, CONTENT.format(mark=""), mark, **more)


def forget(site, communication):
    """Delete the mail and its row in the queue after the test."""
    site.made.append(("Communication", communication))
    asked = {"fields": ["name"], "filters": {"communication": communication}}
    site.made.extend(("Email Queue", row["name"]) for row in site.list("Email Queue", **asked).value)


def test_what_a_mail_keeps_of_its_html(site, mark):
    """utils/html_utils.py:sanitize_html: comments, <meta>, directions and system colours; on 16 no <style>."""
    name = site.call(MAKE, recipients="a@example.com", subject=mark, content=CONTENT.format(mark=mark)).value["name"]
    site.made.append(("Communication", name))
    kept = site.read("Communication", name).value["content"]
    for part in (
        f"<!-- {mark} -->",
        '<meta name="color-scheme" content="light dark">',
        'dir="rtl"',
        'bgcolor="#ff0000"',
    ):
        assert part in kept
    assert "background-color:canvas;color:canvastext" in kept.lower().replace(" ", "")
    assert "unicode-bidi:isolate" in kept and ("<style>" in kept) == (site.major < 16)


def test_a_letter_is_found_again_by_its_mark(site, mark, client):
    """Sent once, it is found, and stands in the queue; another mark is not there, nor one that was made later."""
    from datetime import UTC, datetime, timedelta

    begun = datetime.now(UTC)
    name = client.mail.send(letter_of(mark, reference=("User", MANAGER)))
    forget(site, name)
    assert client.mail.find(mark, begun) == name
    assert client.mail.find(f"{mark}x", begun) is None
    assert client.mail.find(mark, begun + timedelta(hours=2)) is None
    assert client.mail.standing([name, "no-such-mail"]) == {name: "Not Sent"}
    assert client.mail.standing([]) == {}


def test_who_is_no_system_manager_sees_no_mail(site, mark):
    """Not even those that he sent (communication.py:get_permission_query_conditions_for_communication), nor the queue.
    So that nobody takes that for proof, it is NotPermitted."""
    from datetime import UTC, datetime

    begun = datetime.now(UTC)
    with client_of(site, CLERK) as clerk, client_of(site, MANAGER) as manager:
        name = clerk.mail.send(letter_of(mark))
        forget(site, name)
        assert manager.mail.find(mark, begun) == name
        with pytest.raises(errors.NotPermitted):
            clerk.mail.find(mark, begun)
        assert clerk.mail.standing([name]) is None


def test_nothing_is_queued_for_who_unsubscribed(site, mark, client):
    """200 and a Communication all the same: the queue alone tells."""
    address = f"{mark}@example.com"
    site.make("Email Unsubscribe", email=address, global_unsubscribe=1)
    name = client.mail.send(letter_of(mark, address))
    forget(site, name)
    assert client.mail.standing([name]) == {}


def test_a_letter_to_no_address_is_refused(client, mark):
    """Invalid, of the document's owner."""
    with pytest.raises(errors.Invalid):
        client.mail.send(letter_of(mark, "not an address"))
