"""Imports that are asked for on the site: what a request becomes, who may make one, and that none is done twice."""

from __future__ import annotations

import csv
import io
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from daemon.config import load
from daemon.errors import ConfigError
from daemon.jobs._import.form import PROVISION
from daemon.sandbox import Fault, Sandbox
from daemon.site.client import Site
from tests.conftest import Daemon
from tests.jobs.test_import import ITEM, Before, Killer, items
from tests.jobs.test_import_load import Killed

JOB = '[jobs.job]\nkind = "import"\nschedule = "every 1m"\nrequests = true\ndirectory = "work"\n'
MANAGER, CLERK = "manager@example.com", "clerk@example.com"


def content(header: Any, rows: Any) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows([header, *rows])
    return text.getvalue().encode()


class People:
    """What people do on the site: over HTTP, with their own keys."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox

    def call(self, user: str, method: str, path: str, **more: Any) -> Any:
        key, secret = self.sandbox.keys[user]
        headers = {"Authorization": f"token {key}:{secret}", "Accept": "application/json"}
        reply = httpx.request(method, self.sandbox.url + path, headers=headers, **more)
        assert reply.status_code == 200, reply.text
        found = reply.json()
        return found.get("data", found.get("message"))

    def upload(self, user: str, data: bytes, name: str = "items.csv", private: int = 1) -> str:
        files = {"file": (name, data, "text/csv")}
        made = self.call(user, "POST", "/api/method/upload_file", files=files, data={"is_private": str(private)})
        return str(made["file_url"])

    def ask(self, data: bytes | str, doctype: str = "Item", user: str = MANAGER, **more: Any) -> str:
        url = data if isinstance(data, str) else self.upload(user, data)
        doc = {"reference_doctype": doctype, "import_file": url, **more}
        return str(self.call(user, "POST", "/api/resource/Daemon Import", json=doc)["name"])

    def request(self, name: str) -> dict[str, Any]:
        (row,) = self.sandbox.rows("Daemon Import", {"name": name})
        return row

    def attached(self, name: str) -> dict[str, bytes]:
        """Ending of the result file → what is in it."""
        rows = self.sandbox.rows("File", {"attached_to_name": name, "is_private": 1})
        found = {}
        for row in rows:
            ending = next((end for end in ("success", "errors", "uncertain") if f".{end}" in row["file_name"]), "")
            if ending:
                assert ending not in found, "attached twice"
                found[ending] = self.sandbox.site.store.value(
                    "SELECT content FROM contents WHERE url = ?", (row["file_url"],)
                )
        return found


@pytest.fixture
def people(sandbox: Sandbox) -> Iterator[People]:
    values = dict(PROVISION.values)
    clerk = {"role": "Sales User", "read": 1, "write": 1, "create": 1}
    sandbox.add_doctype({**values, "permissions": [*values["permissions"], clerk]})
    sandbox.seed("Item Group", [{"name": "Products", "item_group_name": "Products"}])
    return People(sandbox)


@pytest.fixture
def site(people: People, sandbox: Sandbox, daemon_for: Callable[..., Daemon]) -> Daemon:
    return daemon_for(sandbox, JOB)


def results(data: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"))))


def test_a_request_is_imported_and_told(site, people, sandbox, tmp_path):
    """Documents, counts, status, result files as private attachments, one notification; nothing stays here."""
    name = people.ask(content(ITEM, items(450)))
    report = site.once()
    assert report["status"] == "done" and report["counts"] == {"done": 450}, report
    row = people.request(name)
    assert (row["status"], row["progress"], row["rows_total"], row["created"], row["failed"]) == (
        "Success", 100, 450, 450, 0,
    )  # fmt: skip
    assert row["run"] == report["run"] and sandbox.count("Item") == 450
    attached = people.attached(name)
    assert set(attached) == {"success"} and len(results(attached["success"])) == 450
    (told,) = sandbox.rows("Notification Log")
    assert (told["for_user"], told["subject"]) == (MANAGER, "Import of Item: Success")
    assert told["document_name"] == name and not list((tmp_path / "work").iterdir())
    assert site.once()["parts"] == []


def test_bad_rows_are_told_in_the_request_and_in_a_file(site, people, sandbox):
    """The first hundred as text, all of them in the attachment."""
    bad = [(f"X{n}", "x", "Nonsense") for n in range(150)]
    name = people.ask(content(ITEM, [*items(20), *bad]))
    assert site.once()["status"] == "some failed"
    row = people.request(name)
    assert (row["status"], row["created"], row["failed"]) == ("Completed with Errors", 20, 150)
    lines = row["first_errors"].split("\n")
    assert len(lines) == 100 and "there is no Item Group 'Nonsense'" in lines[0]
    assert len(results(people.attached(name)["errors"])) == 150


def test_the_oldest_request_comes_first_and_each_says_what_it_wants(site, people, sandbox):
    """Update or not is the request's own word."""
    first = people.ask(content(ITEM, items(3)))
    sandbox.set("Daemon Import", first, creation="2020-01-01 00:00:00")
    second = people.ask(content(ITEM, [("IT-00001", "New", "Products")]), update_existing=1)
    report = site.once()
    assert [part["part"] for part in report["parts"]] == [first, second]
    assert people.request(second)["updated"] == 1
    assert sandbox.rows("Item", {"name": "IT-00001"}, ["item_name"]) == [{"item_name": "New"}]


def test_a_dry_run_that_is_asked_for_writes_nothing_but_the_report(site, people, sandbox):
    """Counts and errors as they would be."""
    name = people.ask(content(ITEM, [*items(3), ("X", "x", "Nonsense")]), dry_run=1)
    site.once()
    row = people.request(name)
    assert (row["status"], row["created"], row["failed"]) == ("Completed with Errors", 3, 1)
    assert "Nonsense" in row["first_errors"] and "nothing was written" in row["error_message"]
    assert sandbox.count("Item") == 0 and people.attached(name) == {}
    real = people.ask(content(ITEM, [*items(3), ("X", "x", "Nonsense")]))
    site.once()
    assert people.request(real)["created"] == 3, "a dry run is no import of this content"


def test_a_dry_run_by_hand_leaves_the_request_alone(site, people, sandbox, tmp_path):
    """It stays queued, and nothing of it stays here."""
    name = people.ask(content(ITEM, items(3)))
    assert site.once(dry_run=True)["counts"] == {"planned": 3}
    assert people.request(name)["status"] == "Queued" and sandbox.count("Item") == 0
    assert not list((tmp_path / "work").iterdir())


def test_the_same_content_is_refused_with_a_message_of_its_own(site, people, sandbox):
    """Once, under whatever request; no path of this machine is shown."""
    first = people.ask(content(ITEM, items(3)))
    site.once()
    second = people.ask(content(ITEM, items(3)))
    site.once()
    row = people.request(second)
    assert row["status"] == "Error" and "was imported before" in row["error_message"] and first in row["error_message"]
    assert "/work/" not in row["error_message"] and sandbox.count("Item") == 3


@pytest.mark.parametrize(
    ("data", "more", "says"),
    [
        (b"%PDF-1.7", {}, "PDF"),
        (b"item_code,colour\nA,B\n", {}, "colour"),
        (content(ITEM, items(1)), {"doctype": "System Settings"}, "right to create"),
        (content(ITEM, items(1)), {"key_field": "brand"}, "brand"),
        ("https://example.com/items.csv", {}, "attach a file of this site"),
        ("/private/files/none.csv", {}, "no file"),
    ],
)
def test_what_cannot_be_imported_ends_as_an_error(data, more, says, site, people, sandbox):
    """Its message says what to do, the owner is told, and it is not tried again."""
    name = people.ask(data, **more)
    assert site.once()["exit_code"] == 1
    row = people.request(name)
    assert row["status"] == "Error" and says in row["error_message"], row["error_message"]
    assert sandbox.count("Notification Log") == 1 and site.once()["parts"] == []


def test_a_file_beyond_the_bound_is_refused(people, sandbox, daemon_for, tmp_path):
    """While it comes in, not after."""
    site = daemon_for(sandbox, JOB + "max_size = 1000\n")
    name = people.ask(content(ITEM, items(450)))
    site.once()
    row = people.request(name)
    assert row["status"] == "Error" and "larger than 1,000 bytes" in row["error_message"]
    assert not list((tmp_path / "work").iterdir())


# Who may ask


def test_nobody_imports_what_he_could_not_create_himself(site, people, sandbox):
    """The daemon may; the one who asks may not."""
    name = people.ask(content(ITEM, items(3)), user=CLERK)
    site.once()
    row = people.request(name)
    assert row["status"] == "Error" and f"{CLERK} lacks the right to create Item" in row["error_message"]
    assert sandbox.count("Item") == 0


def test_whoever_saved_the_request_last_counts_too(site, people, sandbox):
    """Else one could put one's own file into the request of somebody mightier."""
    name = people.ask(content(ITEM, items(3)))
    other = people.upload(CLERK, content(ITEM, items(5)), "other.csv", private=0)
    people.call(CLERK, "PUT", f"/api/resource/Daemon Import/{name}", json={"import_file": other})
    site.once()
    assert f"{CLERK} lacks the right to create Item" in people.request(name)["error_message"]


def test_a_private_file_of_somebody_else_is_not_read(site, people, sandbox):
    """The daemon could read it, and the site attaches it to the request of whoever names it; public ones are fine."""
    secret = people.upload(MANAGER, content(("description",), [("secret",)]), "secret.csv")
    name = people.ask(secret, "Customer", user=CLERK)
    site.once()
    assert f"a private file that {CLERK} did not upload" in people.request(name)["error_message"]
    public = people.upload(MANAGER, content(("customer_name",), [("Acme",)]), "public.csv", private=0)
    name = people.ask(public, "Customer", user=CLERK)
    site.once()
    assert people.request(name)["status"] == "Success" and sandbox.count("Customer") == 1


def test_a_field_of_a_higher_level_needs_the_right_to_that_level(site, people, sandbox):
    """Frappe drops such values silently for the user himself; here nothing is imported."""
    rights = {"role": "Sales User", "permlevel": 0, "read": 1, "write": 1, "create": 1}
    fields = [{"fieldname": "code", "fieldtype": "Data", "reqd": 1},
              {"fieldname": "pay", "fieldtype": "Currency", "permlevel": 1}]  # fmt: skip
    sandbox.add_doctype({"name": "Wage", "autoname": "field:code", "fields": fields, "permissions": [rights]})
    name = people.ask(content(("code", "pay"), [("a", 1)]), "Wage", user=CLERK)
    site.once()
    assert "permission level 1" in people.request(name)["error_message"] and sandbox.count("Wage") == 0
    name = people.ask(content(("code",), [("a",)]), "Wage", user=CLERK)
    site.once()
    assert people.request(name)["status"] == "Success"


# Taking


def test_an_edit_between_reading_and_taking_wins(site, people, sandbox):
    """The request is left for the next run, as it then is."""
    name = people.ask(content(ITEM, items(3)))

    def edit(method, path):
        if method == "PUT":
            before.on = False
            sandbox.set("Daemon Import", name, dry_run=1, modified="2099-01-01 00:00:00.000001")

    before = Before(sandbox, edit)
    site.once()
    assert people.request(name)["status"] == "Queued" and sandbox.count("Item") == 0
    site.once()
    assert people.request(name)["status"] == "Success" and sandbox.count("Item") == 0


def test_what_another_daemon_has_taken_is_left_alone(site, people, sandbox):
    """Running, and not by us."""
    name = people.ask(content(ITEM, items(3)))
    sandbox.set("Daemon Import", name, status="Running", run="another")
    assert site.once()["parts"] == [] and people.request(name)["status"] == "Running"


def test_a_request_that_is_queued_again_is_told_that_its_file_was_imported(site, people, sandbox):
    """Nothing comes twice."""
    name = people.ask(content(ITEM, items(3)))
    site.once()
    people.call(MANAGER, "PUT", f"/api/resource/Daemon Import/{name}", json={"status": "Queued"})
    site.once()
    assert people.request(name)["status"] == "Error" and sandbox.count("Item") == 3


def test_a_request_goes_on_with_what_another_of_the_same_content_left(site, people, sandbox):
    """An error on the way ends the request; whoever asks again gets the rest, and nothing twice."""
    first = people.ask(content(ITEM, items(2000)))
    sandbox.faults.add(Fault("status", code=417, html=False, path="*client.get_list", after=4))
    site.once()
    sandbox.faults.clear()
    assert people.request(first)["status"] == "Error" and 0 < sandbox.count("Item") < 2000
    second = people.ask(content(ITEM, items(2000)))
    assert site.once()["status"] == "done"
    assert people.request(second)["status"] == "Success" and sandbox.count("Item") == 2000
    both = [results(people.attached(name)["success"]) for name in (first, second)]
    assert len({row["item_code"] for rows in both for row in rows}) == sum(map(len, both)) == 2000


def test_of_two_daemons_one_gets_the_request(people, sandbox, daemon_for, tmp_path):
    """Each with a state of its own, at the same time."""
    site = daemon_for(sandbox, JOB)
    names = [people.ask(content(ITEM, items(20, 100 * n))) for n in range(5)]
    other = site.file.with_name("other.toml")
    other.write_text(site.file.read_text().replace("state.db", "other.db").replace('"work"', '"work2"'))
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "daemon", "once", "job", "--config", str(file)],
            env=os.environ | site.environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )
        for file in (site.file, other)
    ]  # fmt: skip
    outs = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outs
    assert {people.request(name)["status"] for name in names} == {"Success"} and sandbox.count("Item") == 100
    assert sandbox.count("Notification Log") == 5


# Telling


def test_where_notifications_are_refused_a_mail_is_sent(people, sandbox, daemon_for):
    """With a link to the request."""
    site = daemon_for(sandbox, JOB, user=MANAGER)
    name = people.ask(content(("description",), [("one",)]), "ToDo")
    assert site.once()["status"] == "done"
    (mail,) = sandbox.outbox
    assert mail["recipients"] == [MANAGER] and f"/app/daemon-import/{name}" in mail["content"]
    assert sandbox.count("Notification Log") == 0


def test_where_neither_works_the_report_says_so(people, sandbox, daemon_for):
    """The request itself is done all the same."""
    site = daemon_for(sandbox, JOB, user=MANAGER)
    sandbox.site_config["mute_emails"] = "no account"
    name = people.ask(content(("description",), [("one",)]), "ToDo")
    report = site.once()
    assert report["status"] == "done" and "could not be told" in " ".join(report["parts"][0]["notes"])
    assert people.request(name)["status"] == "Success" and site.once()["parts"] == []


@pytest.mark.parametrize("user", ["Administrator", MANAGER])
@pytest.mark.parametrize("kind", ["lose_reply", "cut"])
def test_a_lost_reply_of_the_telling_is_looked_up(kind, user, people, sandbox, daemon_for):
    """Told once, whichever way."""
    site = daemon_for(sandbox, JOB, user=user)
    people.ask(content(("description",), [("one",)]), "ToDo")
    for path in ("*Notification*", "*email.make"):
        sandbox.faults.add(Fault(kind, method="POST", path=path, times=1))
    site.once()
    assert sandbox.count("Notification Log") + len(sandbox.outbox) == 1


@pytest.mark.parametrize("path", ["*upload_file", "*Daemon%20Import*"])
@pytest.mark.parametrize("kind", ["lose_reply", "cut"])
def test_other_lost_replies_do_no_harm(kind, path, site, people, sandbox):
    """One attachment, a final status."""
    name = people.ask(content(ITEM, items(10)))
    sandbox.faults.add(Fault(kind, path=path, chance=0.4))
    for _ in range(12):
        if site.once()["parts"] == []:
            break
    sandbox.faults.clear()
    site.once()
    assert people.request(name)["status"] == "Success" and sandbox.count("Item") == 10
    assert set(people.attached(name)) == {"success"} and sandbox.count("Notification Log") == 1


def test_a_file_that_the_site_will_not_take_stays_here(site, people, sandbox, tmp_path):
    """And the report says where."""
    name = people.ask(content(ITEM, items(3)))
    sandbox.faults.add(Fault("status", code=413, path="*upload_file"))
    report = site.once()
    assert people.request(name)["status"] == "Success"
    assert "could not be attached" in " ".join(report["parts"][0]["notes"])
    assert len(list((tmp_path / "work").glob("*/*.success.csv"))) == 1


def test_a_failed_telling_of_progress_is_no_failure(site, people, sandbox):
    """Whoever looks sees old numbers until the end."""
    name = people.ask(content(ITEM, items(450)))
    puts = []

    def count(method, path):
        if method == "PUT" and "Daemon" in path:
            puts.append(path)

    sandbox.faults.add(Fault("status", code=417, html=False, method="PUT", path="*Daemon%20Import*", after=1, times=1))
    Before(sandbox, count)
    report = site.once()
    assert report["status"] == "done" and people.request(name)["status"] == "Success" and len(puts) == 3
    assert "could not be told how far" in " ".join(report["parts"][0]["notes"])


def test_a_request_that_is_deleted_meanwhile_ends_too(site, people, sandbox, tmp_path):
    """Its documents are there; nobody is told, and nothing stays here."""
    name = people.ask(content(ITEM, items(3)))

    def drop(method, path):
        if path.endswith("insert_many"):
            before.on = False
            with sandbox.site.store.lock:
                sandbox.site.store.run('DELETE FROM "tabDaemon Import"')

    before = Before(sandbox, drop)
    site.once()
    assert sandbox.count("Item") == 3 and people.attached(name) == {} and not list((tmp_path / "work").iterdir())
    assert site.once()["parts"] == []


@pytest.mark.parametrize("seed", range(4))
def test_killed_at_any_moment_each_request_ends_once(seed, site, people, sandbox, tmp_path):
    """SIGKILL again and again: each row once, each result file once, one notification, a final status."""
    names = [people.ask(content(ITEM, items(400, 1000 * n)), user=MANAGER) for n in range(2)]
    chance = random.Random(seed)
    sandbox.faults.add(Fault("lose_reply", path="*insert_many", chance=0.1))
    command = [sys.executable, "-m", "daemon", "once", "job", "--config", str(site.file)]
    ends: Counter[int] = Counter()
    killer = Killer(sandbox, command, site.environ)
    while not ends[0]:
        code, out = killer.run(chance.randrange(6, 24) if sum(ends.values()) < 6 else 0)
        ends[code] += 1
        assert code in (0, -signal.SIGKILL, 75), out
    assert sandbox.count("Item") == 800 and ends[-signal.SIGKILL] >= 1
    for name in names:
        row = people.request(name)
        assert (row["status"], row["created"], row["rows_total"]) == ("Success", 400, 400)
        codes = Counter(line["item_code"] for line in results(people.attached(name)["success"]))
        assert len(codes) == 400 and set(codes.values()) == {1}
        assert sandbox.count("Notification Log", {"document_name": name}) == 1
    assert not list((tmp_path / "work").iterdir())


# Out of our hands


def test_a_request_that_is_renamed_meanwhile_is_found_again(site, people, sandbox, tmp_path):
    """By the mark that it bears while it is worked on: told, with its files, under its new name."""
    name = people.ask(content(ITEM, [*items(20), ("X", "x", "Nonsense")]))

    def rename(method, path):
        if path.endswith("insert_many"):
            before.on = False
            with sandbox.site.store.lock:
                sandbox.site.store.run('UPDATE "tabDaemon Import" SET name = ? WHERE name = ?', ("Renamed", name))

    before = Before(sandbox, rename)
    site.once()
    row = people.request("Renamed")
    assert (row["status"], row["created"], row["failed"]) == ("Completed with Errors", 20, 1)
    assert set(people.attached("Renamed")) == {"success", "errors"} and not list((tmp_path / "work").iterdir())


def test_a_request_that_is_queued_again_meanwhile_is_taken_as_it_then_is(site, people, sandbox):
    """What was imported is attached and told, the new wish is not overwritten, and the next run does it."""
    name = people.ask(content(("description",), [("a",), ("b",)]), "ToDo")
    other = people.upload(MANAGER, content(("description",), [("c",)]), "other.csv")

    def queue(method, path):
        if path.endswith("insert_many"):
            before.on = False
            sandbox.set("Daemon Import", name, status="Queued", import_file=other, modified="2099-01-01 00:00:00")

    before = Before(sandbox, queue)
    report = site.once()
    assert people.request(name)["status"] == "Queued" and "queued the request again" in str(report["parts"][0]["notes"])
    assert set(people.attached(name)) == {"success"}
    site.once()
    assert people.request(name)["status"] == "Success" and sandbox.count("ToDo") == 3
    assert sandbox.count("Notification Log") == 2


def test_two_daemons_do_not_take_a_request_that_is_queued_again(site, people, sandbox, tmp_path, monkeypatch):
    """While one is at it; else rows without a key would come twice."""
    (tmp_path / "two").mkdir()
    two = Daemon(sandbox, tmp_path / "two", JOB)
    name = people.ask(content(("description",), [("a",), ("b",)]), "ToDo")
    real = Site.insert_many

    def slow(self, docs):
        monkeypatch.undo()
        sandbox.set("Daemon Import", name, status="Queued")
        assert "another daemon" in str(two.once()["parts"][0]["notes"])
        return real(self, docs)

    monkeypatch.setattr(Site, "insert_many", slow)
    site.once()
    two.app.close()
    assert sandbox.count("ToDo") == 2 and people.request(name)["status"] == "Queued"


@pytest.mark.parametrize("run", ["", None])
def test_a_request_whose_run_was_emptied_after_a_kill_is_ended(run, site, people, sandbox, monkeypatch):
    """It is running, and nobody else has it."""
    name = people.ask(content(ITEM, [*items(20), ("X", "x", "Nonsense")]))
    real = Site.insert_many

    def die(self, docs):
        real(self, docs)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Site, "insert_many", die)
        with pytest.raises(Killed):
            site.once()
    sandbox.set("Daemon Import", name, run=run)
    site.once()
    row = people.request(name)
    assert (row["status"], row["created"], row["failed"]) == ("Completed with Errors", 20, 1)
    assert set(people.attached(name)) == {"success", "errors"}


def test_a_request_that_cannot_be_saved_is_told_to_whoever_asked_once(site, people, sandbox):
    """A mandatory field of it was emptied behind the form's back."""
    name = people.ask(content(ITEM, items(2)))
    sandbox.set("Daemon Import", name, reference_doctype="")
    assert site.once()["exit_code"] == 1
    site.once()
    (told,) = sandbox.rows("Notification Log")
    assert told["for_user"] == MANAGER and people.request(name)["status"] == "Queued" and not sandbox.count("Item")
    sandbox.set("Daemon Import", name, reference_doctype="Item", modified="2099-01-01 00:00:00")
    site.once()
    assert people.request(name)["status"] == "Success"


def test_an_address_that_the_site_takes_for_another_s_is_refused(site, people, sandbox, monkeypatch):
    """Its collation knows no case, so that it would give out whichever comes first (seen on 15)."""
    mine = people.upload(MANAGER, content(ITEM, items(1)), "Payroll.csv")
    other = {"owner": CLERK, "file_url": mine.replace("Payroll", "payroll")}
    real = Site.get_list
    monkeypatch.setattr(Site, "get_list", lambda self, doctype, *a, **k: [*real(self, doctype, *a, **k), other]
                        if doctype == "File" else real(self, doctype, *a, **k))  # fmt: skip
    name = people.ask(mine)
    site.once()
    assert "for one address" in people.request(name)["error_message"] and sandbox.count("Item") == 0


def test_only_doctypes_of_the_list_may_be_asked_for(people, sandbox, daemon_for):
    """Where the job has one."""
    site = daemon_for(sandbox, JOB + 'doctypes = ["ToDo"]\n')
    name, other = people.ask(content(ITEM, items(1))), people.ask(content(("description",), [("a",)]), "ToDo")
    site.once()
    assert "may not be asked for" in people.request(name)["error_message"] and people.request(other)["created"] == 1


# Setting it up


def test_check_says_how_the_doctype_is_made(sandbox, daemon_for):
    """And a run, too."""
    from daemon import check

    site = daemon_for(sandbox, JOB)
    with site.app.site() as client:
        found = [one for one in check.of_site(client, site.app.config.jobs.values()) if one.level == check.PROBLEM]
    assert "no DocType 'Daemon Import'" in found[0].what and "setup --apply" in found[0].action
    assert "setup --apply" in site.once()["error"]["action"]


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ("requests = true", "needs a directory"),
        ('requests = true\ndirectory = "w"\ndoctype = "Item"', "each request says doctype itself"),
        ('requests = true\ndirectory = "w"\nupdate_existing = true', "update_existing"),
        ('requests = true\ndirectory = "w"\ninbox = "i"', "an inbox (a directory), a file, or requests = true"),
        ('inbox = "i"', "doctype is missing"),
        ('inbox = "i"\ndoctype = "Item"\ndirectory = "w"', "requests = true alone"),
    ],
)
def test_settings_that_make_no_sense_are_refused(lines, says, tmp_path: Path):
    """In a sentence."""
    file = tmp_path / "config.toml"
    key = '[site]\nurl = "http://localhost"\napi_key = { env = "K" }\napi_secret = { env = "S" }\n'
    file.write_text(f'{key}[jobs.job]\nkind = "import"\nschedule = "daily"\n{lines}\n')
    with pytest.raises(ConfigError) as error:
        load(file, {"K": "k", "S": "secret"})
    assert says in " ".join(error.value.problems)
