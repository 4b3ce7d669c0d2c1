"""Digests against the sandbox: right figures, one mail each, whatever is wrong with one reader, in every dialect."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from html import unescape
from zoneinfo import ZoneInfo

import pytest

from daemon import check, config
from daemon.app import App
from daemon.cli import main
from daemon.core.kind import Need
from daemon.errors import ConfigError
from daemon.jobs._people import People
from daemon.runner import Order
from daemon.sandbox import Fault, Sandbox
from daemon.service import Service
from daemon.site import provision
from tests.conftest import rules
from tests.test_crash import KillAt

MONDAY = datetime(2026, 11, 23, 14, 0, tzinfo=UTC)
"""Nine in the morning in New York; the week before is 16 to 22 November."""
MAKE = "*.email.make"
METRICS = """
[[jobs.job.metrics]]
label = "New orders"
doctype = "Sales Order"
filters = [["docstatus", "=", 1]]

[[jobs.job.metrics]]
label = "Revenue"
doctype = "Sales Invoice"
function = "sum"
field = "base_grand_total"
filters = [["docstatus", "=", 1]]
date_field = "posting_date"
"""
TABLE = """
[[jobs.job.tables]]
label = "Top items"
doctype = "Sales Invoice"
child = "Sales Invoice Item"
group_by = "item_code"
show = "item_name"
measures = [{ label = "Amount", field = "base_amount" }, { label = "Quantity", field = "qty" }]
limit = 2
filters = [["docstatus", "=", 1]]
date_field = "posting_date"
"""


def job(*more: str, parts: str = METRICS + TABLE, readers: str = 'users = [["name", "like", "reader%"]]') -> str:
    head = '[jobs.job]\nkind = "digest"\nschedule = "0 8 * * 1"\ntitle = "Weekly digest"'
    return "\n".join((head, readers, *more, parts))


def readers(number: int, **more) -> Iterator[dict]:
    for n in range(1, number + 1):
        name = f"reader{n}@example.com"
        yield {"name": name, "email": name, "full_name": f"Reader {n}", "enabled": 1, "language": "en", **more}


def business(site: Sandbox) -> None:
    """Two weeks: 2 orders and 210.30 in three invoices last week; 1 order and 100 the week before. One invoice is a
    draft, one of today."""
    site.seed("Currency", [{"name": "USD", "currency_name": "USD"}])
    site.seed("Company", [{"name": "Acme", "company_name": "Acme", "default_currency": "USD"}])
    days = ("2026-11-16 00:00:00", "2026-11-22 23:59:59.999999", "2026-11-15 23:59:59", "2026-11-23 00:00:00")
    site.seed("Sales Order", [{"name": f"SO-{n}", "creation": day, "docstatus": 1} for n, day in enumerate(days)])
    rows = [
        ("2026-11-16", 1, [("A", "Ale", 2, 100.1), ("B", "Beer", 1, 10)]), ("2026-11-22", 1, [("B", "Beer", 5, 50.1)]),
        ("2026-11-20", 1, [("C", "Cider", 9, 50.1)]), ("2026-11-20", 0, [("A", "Ale", 99, 9999)]),
        ("2026-11-15", 1, [("A", "Ale", 1, 100)]), ("2026-11-23", 1, [("A", "Ale", 1, 777)]),
    ]  # fmt: skip
    for number, (day, docstatus, items) in enumerate(rows):
        lines = [
            {"item_code": code, "item_name": name, "qty": qty, "base_amount": amount, "amount": amount}
            for code, name, qty, amount in items
        ]
        total = sum(line["base_amount"] for line in lines)
        facts = {"name": f"SI-{number}", "posting_date": day, "docstatus": docstatus, "items": lines}
        site.seed("Sales Invoice", [{**facts, "grand_total": total, "base_grand_total": total}])


@pytest.fixture(params=["14", "15", "16"])
def version(request) -> str:
    return request.param


@pytest.fixture
def site(version, monkeypatch) -> Iterator[Sandbox]:
    """On Monday morning, with three readers and some business."""
    monkeypatch.setattr("daemon.runner.LARGEST_SKEW", timedelta(days=9999))
    yield from _site(version)


@pytest.fixture
def site15(monkeypatch) -> Iterator[Sandbox]:
    monkeypatch.setattr("daemon.runner.LARGEST_SKEW", timedelta(days=9999))
    yield from _site("15")


def _site(version: str) -> Iterator[Sandbox]:
    with Sandbox(version, clock=lambda: MONDAY) as site:
        site.seed("User", readers(3))
        business(site)
        yield site


@pytest.fixture
def daemon(daemon_for):
    """Makes a daemon on Monday morning."""

    def make(site: Sandbox, text: str, **more):
        made = daemon_for(site, text, user=more.pop("user", "manager@example.com"), **more)
        made.clock.moment = MONDAY
        return made

    return make


def received(site: Sandbox) -> dict[str, str]:
    """Address → HTML; nobody has two."""
    found = {mail["recipients"][0]: mail["content"] for mail in site.outbox}
    assert len(found) == len(site.outbox) and all(len(mail["recipients"]) == 1 for mail in site.outbox)
    return found


def text_of(html: str) -> str:
    return " ".join(unescape(re.sub(r"<!--.*?-->|<[^>]+>", " ", html)).split())


def test_the_figures_of_the_last_week_reach_each_reader_once(site, daemon):
    """Those of the days from Monday to Sunday, of submitted documents; against the week before; in one mail each. Twice
    the run, once the mail."""
    one = daemon(site, job())
    report = one.once()
    assert (report["status"], report["counts"]) == ("done", {"done": 3})
    mails = received(site)
    assert set(mails) == {f"reader{n}@example.com" for n in (1, 2, 3)}
    text = text_of(mails["reader1@example.com"])
    assert "New orders 2 ▲ 100% from 1" in text
    assert "Revenue $210.30 ▲ 110% from $100.00" in text
    assert "Ale 2 $100.10 Beer 6 $60.10" in text and "Cider" not in text and "The first 2; there are more." in text
    assert "Hello Reader 1," in text and "Nov 16 – 22, 2026" in text and "Reader 2" not in text
    assert "Sent by Frappe to reader1@example.com." in text  # as the site calls itself: its address is no name
    assert one.once()["counts"] == {"kept": 3} and len(site.outbox) == 3


def test_each_in_their_language(site15, daemon):
    """Numbers, dates, words and labels; the links lead to the desk of the version."""
    site15.set("User", "reader1@example.com", language="de")
    site15.set("User", "reader2@example.com", language="ar")
    label = '[[jobs.job.metrics]]\nlabel = { en = "Revenue", de = "Umsatz" }'
    daemon(site15, job(parts=METRICS.replace('[[jobs.job.metrics]]\nlabel = "Revenue"', label))).once()
    mails = received(site15)
    german = text_of(mails["reader1@example.com"])
    assert "Umsatz 210,30 $ ▲ 110 % von 100,00 $" in german.replace("\u00a0", " ") and "16.–22. Nov. 2026" in german
    assert 'dir="rtl"' in mails["reader2@example.com"] and "المؤشر" in mails["reader2@example.com"]
    assert f'href="{site15.url}/app"' in mails["reader3@example.com"]
    subjects = {mail["recipients"][0]: mail["subject"] for mail in site15.outbox}
    assert subjects["reader1@example.com"] == "Weekly digest: 16.–22. Nov. 2026"


def test_what_the_site_will_not_add_up_is_added_up_here(site, daemon, monkeypatch):
    """The same figures, row by row: of a site that takes no functions, as where a permission or a version refuses."""
    one = daemon(site, job())
    report, figures = daemon_report(one, site)
    assert not report["parts"][0]["notes"]
    nonsense = lambda self, function, field, alias: f"nonsense({field}) as {alias}"  # noqa: E731
    monkeypatch.setattr("daemon.site.dialect.Dialect.aggregate", nonsense)
    report, summed = daemon_report(one, site)
    assert summed == figures and len(figures) == 3
    notes = [note.partition(":")[0] for note in report["parts"][0]["notes"]]
    assert notes == ["Revenue", "Top items"] and "summed row by row" in report["parts"][0]["notes"][0]


def test_a_filter_on_child_rows_repeats_no_document(site, daemon):
    """SI-0 has two rows that match: it is counted, added up, grouped and listed once, by the site or here."""
    child = 'filters = [["docstatus", "=", 1], ["Sales Invoice Item", "qty", ">", 0]]\nperiod = "any"\n'
    sums = (
        '[[jobs.job.metrics]]\nlabel = "Sum"\ndoctype = "Sales Invoice"\nfunction = "sum"\nfield = "base_grand_total"\n'
    )
    count = '[[jobs.job.metrics]]\nlabel = "Number"\ndoctype = "Sales Invoice"\n'
    table = '[[jobs.job.tables]]\nlabel = "Days"\ndoctype = "Sales Invoice"\ngroup_by = "posting_date"\nmeasures = '
    table += '[{ label = "Total", field = "base_grand_total" }]\nlimit = 9\n'
    listed = '[[jobs.job.lists]]\nlabel = "Invoices"\ndoctype = "Sales Invoice"\nfields = ["name"]\norder_by = "name"\n'
    report = daemon(site, job(parts="".join(part + child for part in (sums, count, table, listed)))).once()
    text = text_of(received(site)["reader1@example.com"])
    assert (
        report["status"] == "done"
        and "Sum all dates $1,087.30" in text
        and "Number all dates 5" in text
        and "2026-11-16 $110.10" in text
    )
    assert "Invoices ID SI-0 SI-1 SI-2 SI-4 SI-5" in text


def test_nothing_is_no_number(site, daemon, monkeypatch):
    """A field that holds nothing is no part of an average, and no least, whoever adds up."""
    site.set("Sales Invoice", "SI-1", base_grand_total=None)
    parts = "".join(
        f'[[jobs.job.metrics]]\nlabel = "{function}"\ndoctype = "Sales Invoice"\nfunction = "{function}"\n'
        'field = "base_grand_total"\nfilters = [["docstatus", "=", 1]]\nperiod = "any"\n'
        for function in ("sum", "average", "min")
    )
    one = daemon(site, job(parts=parts))
    _, figures = daemon_report(one, site)
    assert "sum all dates $1,037.20 average all dates $259.30 min all dates $50.10" in figures[0]
    monkeypatch.setattr("daemon.site.dialect.Dialect.aggregate", lambda *_: "nonsense(name) as x")
    assert daemon_report(one, site)[1] == figures


def test_documents_without_rows_are_no_group(site, daemon):
    """Of child rows; a row without a value is one, and is called so."""
    site.seed("Sales Invoice", [{"name": "SI-none", "posting_date": "2026-11-17", "docstatus": 1}])
    items = [{"item_code": "", "item_name": "", "base_amount": 900, "qty": 1}]
    daemon(site, job(parts=TABLE)).once()
    assert "Ale 2 $100.10 Beer 6 $60.10 The first 2" in text_of(received(site)["reader1@example.com"])
    site.seed("Sales Invoice", [{"name": "SI-blank", "posting_date": "2026-11-17", "docstatus": 1, "items": items}])
    _, texts = daemon_report(daemon(site, job(parts=TABLE)), site)
    assert "(none) 1 $900.00 Ale 2 $100.10 The first 2" in texts[0]


def test_a_date_that_is_none_costs_its_cell_alone(site15, daemon):
    """MariaDB's 0000-00-00, as old imports leave it."""
    site15.set("Sales Invoice", "SI-0", posting_date="0000-00-00")
    listed = '[[jobs.job.lists]]\nlabel = "L"\ndoctype = "Sales Invoice"\nfields = ["name", "posting_date"]\n'
    report = daemon(site15, job(parts=listed + 'order_by = "name"\nlimit = 2\n')).once()
    assert report["counts"] == {"done": 3}
    assert "SI-0 SI-1 Nov 22, 2026" in text_of(received(site15)["reader1@example.com"])


def daemon_report(one, site) -> tuple[dict, list]:
    """A fresh run's report, and what its mails say."""
    site.outbox.clear()
    one.app.state.forget_between("digest", "", "~")
    site.truncate("Communication")
    report = one.once()
    return report, sorted(text_of(mail["content"]) for mail in site.outbox)


def test_whatever_is_wrong_with_one_reader_is_nobody_elses_trouble(site15, daemon):
    """Disabled, without an address, with a malformed one, or with two; unknown; unsubscribed. The others get theirs,
    and each failure says what is wrong with whom."""
    site15.seed("User", [
        {"name": "reader-off", "email": "off@example.com", "enabled": 0},
        {"name": "reader-none", "email": "", "enabled": 1},
        {"name": "reader-bad", "email": "not an address", "enabled": 1},
        {"name": "reader-two", "email": "x@example.com, y@example.com", "enabled": 1},
        {"name": "reader-gone", "email": "gone@example.com", "enabled": 1},
        {"name": "readertwin", "email": "READER1@example.com", "enabled": 1},
    ])  # fmt: skip
    site15.seed("Email Unsubscribe", [{"email": "gone@example.com", "global_unsubscribe": 1}])
    one = daemon(site15, job('to = ["nobody", "stranger@example.org", "reader2@example.com"]'))
    report = one.once()
    assert sorted(received(site15)) == [*(f"reader{n}@example.com" for n in (1, 2, 3)), "stranger@example.org"]
    reasons = {sample["name"]: sample["reason"] for sample in report["parts"][0]["samples"]}
    assert reasons["reader-off"] == "the user reader-off is disabled"
    assert reasons["reader-none"] == "the user reader-none has no e-mail address"
    assert "is none: 'not an address'" in reasons["reader-bad"] and "is none" in reasons["reader-two"]
    assert "neither a user" in reasons["nobody"] and "unsubscribed" in reasons["reader-gone"]
    assert report["counts"] == {"done": 4, "failed": 6, "kept": 2} and report["status"] == "some failed"
    again = one.once()
    assert again["counts"] == {"failed": 5, "kept": 7} and len(site15.outbox) == 4


def test_guest_reads_nothing(site15, daemon):
    """Enabled, with an address, and nobody: Administrator's key sees it."""
    site15.seed("User", [{"name": "Guest", "email": "guest@example.com", "enabled": 1, "user_type": "Website User"}])
    daemon(
        site15, job(readers='users = [["name", "in", ["Guest", "reader1@example.com"]]]'), user="Administrator"
    ).once()
    assert list(received(site15)) == ["reader1@example.com"]


def test_a_figure_that_cannot_be_had_is_left_out_and_said(site15, daemon):
    """An unknown field, one that is no number, a DocType that may not be read or is not there: the digest goes out with
    the others."""
    bad = [
        'label = "a"\ndoctype = "Sales Order"\nfunction = "sum"\nfield = "grand_totl"',
        'label = "b"\ndoctype = "Sales Order"\nfunction = "max"\nfield = "customer"',
        'label = "c"\ndoctype = "No Such Thing"',
        'label = "d"\ndoctype = "Sales Order"\ndate_field = "customer"',
    ]
    parts = METRICS + "".join(f"[[jobs.job.metrics]]\n{one}\n" for one in bad)
    one = daemon(site15, job(parts=parts + TABLE.replace("Invoice Item", "Invoice Itm")))
    report = one.once()
    assert report["counts"] == {"failed": 5, "done": 3}
    reasons = {sample["name"]: sample["reason"] for sample in report["parts"][0]["samples"]}
    assert "has no field 'grand_totl'; did you mean 'grand_total'?" in reasons["a"]
    assert "is no number" in reasons["b"] and "No Such Thing" in reasons["c"] and "is no date" in reasons["d"]
    assert "did you mean 'Sales Invoice Item'" in reasons["Top items"]
    text = text_of(received(site15)["reader1@example.com"])
    assert "a This figure could not be had." in text and "$210.30" in text and "This table could not be had." in text


def test_figures_of_all_kinds(site, daemon):
    """Averages, least and most of a field, whatever their date; a list of documents with its links and its length."""
    parts = "".join(
        f'[[jobs.job.metrics]]\nlabel = "{function}"\ndoctype = "Sales Invoice"\nfunction = "{function}"\n'
        'field = "base_grand_total"\nfilters = [["docstatus", "=", 1]]\nperiod = "any"\n'
        for function in ("sum", "average", "min", "max")
    )
    parts += '[[jobs.job.lists]]\nlabel = "Invoices"\ndoctype = "Sales Invoice"\nfields = ["name", "posting_date", '
    parts += '"base_grand_total"]\nfilters = [["docstatus", "=", 1]]\norder_by = "name desc"\nlimit = 2\n'
    daemon(site, job(parts=parts)).once()
    mail = received(site)["reader1@example.com"]
    text = text_of(mail)
    assert "sum all dates $1,087.30 average all dates $217.46 min all dates $50.10 max all dates $777.00" in text
    assert "SI-5 Nov 23, 2026 $777.00 SI-4 Nov 15, 2026 $100.00 The first 2 of 5." in text
    desk = "/desk" if site.wire.site.version == "16" else "/app"
    assert f'href="{site.url}{desk}/sales-invoice/SI-5"' in mail


def test_an_empty_digest_is_sent_or_skipped(site15, daemon):
    """As configured; an empty one says so."""
    site15.truncate("Sales Order")
    site15.truncate("Sales Invoice")
    one = daemon(site15, job('empty = "skip"'))
    report = one.once()
    assert report["counts"] == {} and "nothing to tell" in report["parts"][0]["notes"][0] and site15.outbox == []
    daemon(site15, job('empty = "send"')).once()
    text = text_of(received(site15)["reader1@example.com"])
    assert "Nothing happened in this period." in text and "New orders" not in text and "Top items" not in text


@pytest.mark.parametrize(
    ("companies", "more", "shown", "note"),
    [
        (["USD"], "", "$210.30", ""),
        (["EUR"], "", "€210.30", ""),
        (["USD", "EUR"], "", "Revenue 210.30", "companies have several"),
        (["USD", "EUR"], 'company = "Company 1"', "€210.30", ""),
        (["USD", "EUR"], 'currency = "JPY"', "¥210", ""),
        ([], "", "Revenue 210.30", "no company has one"),
        ([""], "", "Revenue 210.30", "no company has one"),
    ],
)
def test_the_currency(companies, more, shown, note, site15, daemon):
    """The company's, as named or as the only one; else numbers without one, and the report says why."""
    site15.truncate("Company")
    site15.seed("Company", [{"name": f"Company {n}", "default_currency": one} for n, one in enumerate(companies)])
    report = daemon(site15, job(more)).once()
    assert shown in text_of(received(site15)["reader1@example.com"])
    notes = report["parts"][0]["notes"]
    assert note in notes[0] if note else notes == []


@pytest.mark.parametrize(("currencies", "total", "noted"), [("EUR EUR", "€210.30", 0), ("EUR USD", "210.30", 2)])
def test_money_is_labelled_with_the_currency_that_it_is_in(currencies, total, noted, site, daemon):
    """grand_total is in the currency of each document, the amounts of its rows too: a sum over several has none, and
    the report says so; a list shows each with its own."""
    for number, currency in enumerate([*currencies.split(), "EUR"]):
        site.set("Sales Invoice", f"SI-{number}", currency=currency)
    listed = '[[jobs.job.lists]]\nlabel = "L"\ndoctype = "Sales Invoice"\nfields = ["name", "grand_total"]\nlimit = 2\n'
    parts = METRICS.replace('"base_grand_total"', '"grand_total"') + TABLE.replace('"base_amount"', '"amount"')
    report = daemon(site, job("compare = false", parts=parts + listed + 'order_by = "name"\n')).once()
    text = text_of(received(site)["reader1@example.com"])
    assert f"Revenue {total} Top" in text and f"Ale 2 {total[:-6]}100.10" in text
    assert "SI-0 €110.10 SI-1 " + ("€50.10" if noted == 0 else "$50.10") in text
    notes = report["parts"][0]["notes"]
    assert len(notes) == noted and all("there are several" in note and "company's" in note for note in notes)


def test_cells_are_written_as_their_fields_mean(site15, daemon):
    """Percents, lengths of time, text with marks of HTML, and what the site escaped when it was saved."""
    fields = [("title", "Data"), ("share", "Percent"), ("took", "Duration"), ("text", "Text Editor")]
    columns = [{"fieldname": one, "fieldtype": kind} for one, kind in fields]
    site15.add_doctype({"name": "Deal", "fields": columns, "permissions": [{"role": "System Manager", "read": 1}]})
    facts = {"title": "Fish &amp; <b>", "share": 12.5, "took": 5400, "text": "<p>Hello <b>you</b> &amp; me</p>"}
    site15.seed("Deal", [{"name": "D-1", **facts}])
    listed = '[[jobs.job.lists]]\nlabel = "L"\ndoctype = "Deal"\nfields = ["title", "share", "took", "text"]\n'
    listed += (
        '[[jobs.job.metrics]]\nlabel = "Took"\ndoctype = "Deal"\nfunction = "sum"\nfield = "took"\nperiod = "any"\n'
    )
    daemon(site15, job(parts=listed)).once()
    text = text_of(received(site15)["reader1@example.com"]).replace("\u00a0", " ")
    assert "Fish & <b> 12.5% 1 hr 30 min Hello you & me" in text and "Took all dates 1 hr 30 min" in text


def test_what_has_a_period_of_its_own_says_which(site15, daemon):
    """The heading is about the digest's; a figure of another one stands under it."""
    own = METRICS + 'period = "last 30 days"\n' + TABLE + 'period = "any"\n'
    daemon(site15, job(parts=own)).once()
    text = text_of(received(site15)["reader1@example.com"])
    assert "New orders 2" in text and "Revenue Oct 24 – Nov 22, 2026 $310.30" in text
    assert "Top items all dates Item Code" in text


def test_a_template_of_ones_own(site15, daemon, tmp_path):
    """Before the shipped ones; what it does wrong for one reader costs that one their digest alone."""
    (tmp_path / "mine").mkdir()
    text = "<title>T</title><body>{% if '2' in recipient.full_name %}{{ 1 / 0 }}{% endif %}</body>"
    (tmp_path / "mine" / "digest.html").write_text(text, encoding="utf-8")
    one = daemon(site15, job('templates = "mine"'))
    report = one.once()
    assert report["counts"] == {"done": 2, "failed": 1}
    (sample,) = report["parts"][0]["samples"]
    assert sample["name"] == "reader2@example.com" and "line 1 of digest.html: ZeroDivisionError" in sample["reason"]
    (tmp_path / "mine" / "digest.html").write_text("{% if %}", encoding="utf-8")
    report = one.once()
    assert report["status"] == "failed" and "digest.html: line 1" in report["parts"][0]["error"]["message"]


def test_a_template_that_fails_everybody_ends_the_part(site15, daemon, tmp_path):
    """After ten of them; nobody waits for the other thousands."""
    site15.seed("User", [{"name": f"reader-{n}", "email": f"r{n}@example.com", "enabled": 1} for n in range(30)])
    (tmp_path / "digest.html").write_text("{{ nothing }}", encoding="utf-8")
    report = daemon(site15, job('templates = "."')).once()
    assert report["counts"] == {"failed": 10} and "'nothing' is undefined" in report["parts"][0]["error"]["message"]


def test_a_dry_run_sends_nothing_and_tells_who_would_get_it(site15, daemon):
    """And who would not, and why; after the run, that all was sent."""
    site15.seed("User", [{"name": "reader-off", "email": "off@example.com", "enabled": 0}])
    one = daemon(site15, job())
    dry = one.once(dry_run=True)
    assert dry["counts"] == {"planned": 3, "failed": 1} and site15.outbox == [] and not site15.count("Communication")
    one.once()
    assert one.once(dry_run=True)["counts"] == {"kept": 3, "failed": 1}


def test_mails_wait_for_an_account(site15, daemon):
    """501: the part fails, nothing is noted as sent, and the slot is left for another try."""
    site15.site_config["mute_emails"] = "no account"
    one = daemon(site15, job())
    slot = MONDAY - timedelta(hours=1)
    report = one.once(slot=slot)
    assert report["parts"][0]["error"]["kind"] == "OutgoingEmailError" and report["again"] == 300
    assert one.app.state.slot("job") is None
    site15.site_config.clear()
    assert one.once(slot=slot)["counts"] == {"done": 3} and one.app.state.slot("job").slot == slot


def test_a_site_that_goes_away_in_between_is_come_back_to(site15, daemon):
    """The slot stays open, with longer and longer waits, until it is done or too late; nobody gets two."""
    one = daemon(site15, job())
    slot = MONDAY - timedelta(hours=1)
    waits = []
    for number in range(3):
        site15.faults.add(Fault("status", "*", MAKE, after=int(number == 0)))
        waits.append(one.once(slot=slot)["again"])
        site15.faults.clear()
    assert waits == [300, 600, 1200]
    assert one.once(slot=slot)["status"] == "done" and len(received(site15)) == 3
    one.clock.moment = MONDAY + timedelta(days=7)
    site15.faults.add(Fault("status", "*", MAKE))
    assert "again" not in one.once(slot=slot + timedelta(days=1))


def test_a_slot_that_is_too_long_ago_is_let_go(site15, daemon):
    """After three days, or what max_lateness says."""
    one = daemon(site15, job())
    one.clock.moment = MONDAY + timedelta(days=3)
    report = one.once(slot=MONDAY - timedelta(hours=1))
    assert report["status"] == "done" and "longer ago than 3d" in report["parts"][0]["notes"][0] and not site15.outbox
    assert one.app.state.slot("job").slot == MONDAY - timedelta(hours=1)


@pytest.mark.parametrize(("lateness", "weeks"), [("", 1), ('max_lateness = "15d"', 3), ('max_lateness = "8d"', 2)])
def test_several_missed_slots(lateness, weeks, site15, daemon):
    """The latest one alone; with max_lateness each that is not too old, its own figures in a mail of its own."""
    one = daemon(site15, job(lateness, 'to = ["reader1@example.com"]', readers=""))
    slot = MONDAY - timedelta(hours=1)
    one.app.state.settle_slot("job", slot - timedelta(days=28), "0 8 * * 1")
    report = one.once(slot=slot, missed=4)
    assert [part["part"] for part in report["parts"]][-1] == "2026-11-16 to 2026-11-22"
    assert len(site15.outbox) == len(report["parts"]) == weeks
    texts = [text_of(mail["content"]) for mail in site15.outbox]
    said = ["Nothing happened in this period.", "New orders 1", "New orders 2"][3 - weeks :]
    assert all(orders in text for orders, text in zip(said, texts, strict=True))


def test_a_late_one_says_so(site15, daemon):
    """When it was due."""
    one = daemon(site15, job())
    one.clock.moment = MONDAY + timedelta(days=1)
    one.once(slot=MONDAY - timedelta(hours=1))
    assert "This digest was due on Nov 23, 2026 and is sent late." in text_of(received(site15)["reader1@example.com"])


def test_it_is_not_late_that_it_is_looked_at_later_or_takes_until_midnight(
    command, site15, daemon, monkeypatch, tmp_path
):
    """A preview shows what readers get on its day; a run that began then is in time."""
    monkeypatch.setattr("daemon.app.SystemClock.now", lambda self: MONDAY + timedelta(days=2))
    command("--preview", str(tmp_path / "out.html"))
    assert "is sent late" not in (tmp_path / "out.html").read_text(encoding="utf-8")
    one, read = daemon(site15, job()), People.of_rows

    def slowly(self, rows):
        one.clock.moment += timedelta(days=1)
        return read(self, rows)

    monkeypatch.setattr(People, "of_rows", slowly)
    assert one.once(slot=MONDAY - timedelta(hours=1))["counts"] == {"done": 3}
    assert not any("is sent late" in html for html in received(site15).values())


def test_what_the_site_has_is_not_sent_again(site, daemon, tmp_path):
    """By a daemon that lost its state, or another one; nor after the site got another address."""
    one = daemon(site, job('to = ["stranger@example.org"]'))
    assert one.once()["counts"] == {"done": 4}
    moved = one.file.read_text(encoding="utf-8").replace("127.0.0.1", "localhost")
    one.file.write_text(moved, encoding="utf-8")
    again = App(config.load(one.file, one.environ), clock=one.clock, log_format="json")
    assert again.runner.run(Order(again.job("job"), again.new_run_id(), "by hand"))["counts"] == {"kept": 4}
    again.close()
    one.app.close()
    for file in tmp_path.glob("state.db*"):
        file.unlink() if file.is_file() else None
    other = daemon(site, job('to = ["stranger@example.org", "new@example.org"]'))
    assert "first ask the site" in other.once(dry_run=True)["parts"][0]["notes"][0]
    assert other.once()["counts"] == {"kept": 4, "done": 1} and len(received(site)) == 5
    site.requests.clear()
    other.once()
    assert not any("Communication" in path for _, path, _ in site.requests)


def metric(more: str) -> str:
    return f'[[jobs.job.metrics]]\nlabel = "x"\ndoctype = "Sales Order"\n{more}\n'


LISTED = '[[jobs.job.lists]]\nlabel = "x"\ndoctype = "Sales Order"\nfields = ["name"]\n'


@pytest.mark.parametrize(
    ("top", "parts", "said"),
    [
        ("", metric('function = "sum"\nfield = "customer"'), "Sales Order.customer is no number"),
        ("", metric('filters = [["No Such", "x", "=", 1]]'), "No Such"),
        ("", metric('filters = [["Sales Order Item", "nope", "=", 1]]'), "nope"),
        ("", TABLE.replace('"qty"', '"item_name"'), "Sales Invoice Item.item_name is no number"),
        ("", LISTED + 'order_by = "nope desc"', "no field 'nope'"),
        ('company = "Nope"', METRICS, "no company 'Nope'"),
        ('currency = "XQZ"', METRICS, "no currency 'XQZ'"),
        ('to = ["x"]', METRICS, "'x' is neither a user of the site nor an e-mail address"),
        ('template = "nope.html"', METRICS, "there is no template nope.html"),
        ('templates = "nowhere"', METRICS, "there is no folder"),
        ('templates = "mine"', METRICS, "line 1 of digest.html: ZeroDivisionError"),
        ("", METRICS + TABLE + LISTED, ""),
    ],
)
def test_check_finds_beforehand_what_a_run_would_stumble_over(top, parts, said, site15, daemon, tmp_path):
    """By asking for each figure and making a letter of them; each is the operator's. What is right has no finding."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "digest.html").write_text("<title>{{ 1 / 0 }}</title>", encoding="utf-8")
    one = daemon(site15, job(top, parts=parts))
    with one.app.site() as site:
        found = [one for one in check.of_site(site, [one.app.job("job")], one.app.asked) if one.subject == "job"]
    bad = [finding for finding in found if finding.level == check.PROBLEM]
    assert [finding.who for finding in bad] == ["operator"] * bool(said) and said in "".join(one.what for one in bad)


def test_check_doubts_a_language_without_words(site15, daemon):
    """And filters that no user matches: warnings, since a run goes well."""
    one = daemon(site15, job('language = "klingon"', readers='users = [["name", "=", "nobody"]]'))
    with one.app.site() as site:
        found = [one for one in check.of_site(site, [one.app.job("job")], one.app.asked) if one.subject == "job"]
    assert [finding.level for finding in found] == [check.WARNING] * 2
    assert "no words of 'klingon'" in found[0].what and "no user matches" in found[1].what


def test_a_letter_is_in_one_language(site15, daemon, tmp_path):
    """English where nobody translated its words, dates and direction too; a folder may have words of its own."""
    site15.set("User", "reader1@example.com", language="he")
    daemon(site15, job()).once()
    html = received(site15)["reader1@example.com"]
    assert 'dir="ltr"' in html and "Nov 16 – 22, 2026" in text_of(html) and "Hello Reader 1," in html
    (tmp_path / "words").mkdir()
    (tmp_path / "words" / "he.json").write_text('{"Hello {name},": "שלום {name},"}', encoding="utf-8")
    _, texts = daemon_report(daemon(site15, job('templates = "."')), site15)
    assert any("שלום Reader 1," in text for text in texts)


def test_setup_and_check(site15, daemon):
    """The checkbox that chooses readers is made by setup; check tells of it, of fields, and of mail beforehand."""
    text = job(readers='users = [["enabled", "=", 1], ["custom_weekly_digest", "=", 1]]')
    one = daemon(site15, text)
    wanted = one.app.job("job")
    with one.app.site() as site:
        found = [finding.what for finding in check.of_site(site, [wanted]) if finding.level == check.PROBLEM]
        assert found == [
            "the site has no Custom Field User-custom_weekly_digest, by which readers of a digest are chosen"
        ]
        steps = list(provision.apply(site, provision.to_make(site, wanted.kind.provisions(wanted.settings, site))))
        assert [step.state for step in steps] == ["made"]
    with one.app.site() as site:
        assert [one.level for one in check.of_site(site, [wanted]) if one.subject == "job"] == [check.OK]
    site15.set("User", "reader2@example.com", custom_weekly_digest=1)
    one.once()
    assert list(received(site15)) == ["reader2@example.com"]


@pytest.mark.parametrize(
    ("user", "accounts", "level", "what"),
    [
        ("manager@example.com", [], "problem", "there is no Email Account that sends"),
        ("manager@example.com", [{"name": "x", "enable_outgoing": 1}], "warning", "that sends by default"),
        ("clerk@example.com", [], "problem", "does not see the mails that it sends"),
    ],
)
def test_check_finds_out_about_mail_beforehand(user, accounts, level, what, site15, daemon):
    """No account, none by default, or a user who could not settle a lost reply."""
    site15.truncate("Email Account")
    site15.seed("Email Account", accounts)
    one = daemon(site15, job(), user=user)
    with one.app.site() as site:
        roles = site.roles(user)
        found = check._of_need(site, Need("Communication", mail=True), user, roles)
    assert found[0].level == level and what in found[0].what and found[0].who == "site administrator"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (job(parts=""), "needs [[metrics]], [[tables]] or [[lists]]"),
        (job(readers=""), "needs readers"),
        (job(readers="users = []"), "would be every user"),
        (job(readers='to = [""]'), "is nobody"),
        (job(parts=METRICS.replace('"New orders"', '{ de = "" }')), "at least 1 character"),
        (job('period = "last fortnight"'), 'is a period: "last day"'),
        (job(parts='[[jobs.job.metrics]]\nlabel = "x"\ndoctype = "X"\nfunction = "sum"'), "needs a field"),
        (job(parts='[[jobs.job.metrics]]\nlabel = "x"\ndoctype = "X"\nfield = "y"'), "takes no field"),
        (job('currency = "dollars"'), "currency"),
        (job("per_minute = 0"), "per_minute"),
        (job('template = "../../etc/passwd"'), "template"),
    ],
)
def test_a_configuration_that_makes_no_sense(text, said, tmp_path):
    """Is told before anything runs."""
    head = '[site]\nurl = "http://127.0.0.1:1"\napi_key = { env = "K" }\napi_secret = { env = "K" }\n'
    (tmp_path / "c.toml").write_text(head + text)
    with pytest.raises(ConfigError) as caught:
        config.load(tmp_path / "c.toml", {"K": "k"})
    assert said in str(caught.value.problems)


def test_no_request_for_each_reader_but_their_mail(site15, daemon):
    """Users are read two hundred at once, and the queue is looked at for fifty mails together."""
    site15.seed("User", [{"name": f"reader-{n:03d}", "email": f"r{n}@example.com", "enabled": 1} for n in range(67)])
    one = daemon(site15, job("per_minute = 1000000"))
    one.once()
    one.app.state.forget_between("digest", "", "~")
    site15.truncate("Communication")
    site15.requests.clear()
    report = one.once()
    assert report["counts"] == {"done": 70}
    queue = sum("Email%20Queue" in path or "Email Queue" in path for _, path, _ in site15.requests)
    users = sum(path.endswith("/User") for _, path, _ in site15.requests)
    assert (queue, users) == (2, 1) and report["requests"] <= 70 + 16


@pytest.mark.parametrize(("number", "path"), [(1, "email.make"), (3, "email.make"), (1, "Email"), (1, "User")])
def test_kill_9_sends_nothing_twice_and_loses_nothing(number, path, site15, daemon, tmp_path):
    """As a request is under way, which the site still ends: the next run looks for what was being sent."""
    one = daemon(site15, job("per_minute = 100000"))
    killer = KillAt(site15, number, path)
    command = [sys.executable, "-c", AT_MONDAY, "once", "job", "--config", str(one.file)]
    with subprocess.Popen(
        command, env=os.environ | one.environ, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as killer.process:
        pass
    assert killer.process.returncode == -signal.SIGKILL
    before = len(site15.outbox)
    assert one.once()["status"] == "done" and len(received(site15)) == 3
    assert before < 3 or path == "Email"


AT_MONDAY = f"""
import datetime, sys
from daemon import app, runner
class Clock(app.SystemClock):
    def now(self):
        return datetime.datetime.fromisoformat({MONDAY.isoformat()!r})
app.SystemClock = Clock
runner.LARGEST_SKEW = datetime.timedelta(days=9999)
from daemon.cli import main
main(sys.argv[1:])
"""
"""The command, on Monday morning."""


def test_a_failed_slot_is_woken_up_for_again(site15, daemon, capsys):
    """By the service, as long as the digest would not be too late; a job without patience waits for its next slot."""
    site15.site_config["mute_emails"] = "no account"
    one = daemon(site15, job())
    slot = MONDAY - timedelta(hours=1)
    wanted, zone = one.app.job("job"), ZoneInfo("America/New_York")
    one.app.state.settle_slot("job", slot - timedelta(days=1), wanted.schedule.text)
    service = Service(one.app)
    service.follow([wanted], zone)
    service._work_off("job")
    again = service._scheduler.get_job("job again")
    assert again.trigger.run_date == one.clock.now() + timedelta(minutes=5)
    assert '"event": "slot.left"' in capsys.readouterr().err and one.app.state.slot("job").slot < slot
    site15.site_config.clear()
    service._work_off(*again.args)
    assert one.app.state.slot("job").slot == slot and len(received(site15)) == 3


@pytest.fixture
def command(site15, daemon, monkeypatch, capsys):
    """The command `digest`, on Monday morning: (exit code, standard output and error)."""
    one = daemon(site15, job())
    for key, value in one.environ.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setattr("daemon.app.SystemClock.now", lambda self: MONDAY)

    def run(*arguments: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:
            main(["digest", "job", "--config", str(one.file), *arguments])
        said = capsys.readouterr()
        return ended.value.code or 0, said.out + said.err

    return run


def test_a_preview_is_a_file_and_nothing_is_sent(command, site15, tmp_path):
    """Of the first reader, or of whom one names; and again after all was sent."""
    site15.set("User", "reader2@example.com", language="de")
    file = tmp_path / "out.html"
    code, said = command("--preview", str(file))
    assert code == 0 and "as reader1@example.com would get it; nothing was sent" in said
    page = file.read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>") and "$210.30" in page and "Hello Reader 1," in page
    command("--preview", str(file), "--for", "reader2@example.com")
    assert "Guten Tag Reader 2," in file.read_text(encoding="utf-8")
    code, said = command("--preview", str(file), "--for", "nobody")
    assert code == 1 and "neither a user" in said
    assert site15.outbox == [] and site15.count("Communication") == 0


def test_a_test_mail_goes_to_one_and_spoils_nothing(command, site15, daemon):
    """As often as it is asked for; the readers still get theirs."""
    for number in (1, 2):
        code, said = command("--send-to", "reader1@example.com")
        assert code == 0 and "sent to reader1@example.com, and to nobody else" in said
        assert [mail["recipients"] for mail in site15.outbox] == [["reader1@example.com"]] * number
    assert daemon(site15, job()).once()["counts"] == {"done": 3}


@pytest.mark.parametrize("arguments", [(), ("--preview", "x", "--send-to", "y"), ("--send-to", "y", "--for", "z")])
def test_one_thing_at_a_time(command, arguments):
    """Else the command says how to use it."""
    code, said = command(*arguments)
    assert code == 2 and "--preview FILE [--for USER], or --send-to USER" in said


def test_an_unknown_job_is_told_first(command, capsys, site15, daemon):
    """Before how the command is used."""
    with pytest.raises(SystemExit):
        main(["digest", "nope", "--config", str(daemon(site15, job()).file)])
    assert "has no job 'nope'" in capsys.readouterr().err


def test_only_digests_can_be_looked_at(site15, daemon_for, monkeypatch, capsys):
    """Another kind is refused by name."""
    one = daemon_for(site15, rules('doctype = "ToDo"\nolder_than = "1d"'))
    for key, value in one.environ.items():
        monkeypatch.setenv(key, value)
    with pytest.raises(SystemExit) as ended:
        main(["digest", "job", "--config", str(one.file), "--send-to", "a@example.com"])
    assert ended.value.code == 2 and "of the kind cleanup, not a digest" in capsys.readouterr().err
