"""The clean-up kind, run for real against the sandbox."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from datetime import date, timedelta
from pathlib import Path

import pytest

from daemon.sandbox import Fault, Sandbox
from daemon.site.client import Site
from tests.conftest import days_ago, rules

MODES = [("14", False), ("15", False), ("16", False), ("16", True)]
EXAMPLE = Path(__file__).parents[2] / "config.toml"
WRITES = ("delete", "bulk", "execute_event", "Log%20Settings")


def names(sandbox: Sandbox, doctype: str) -> set[str]:
    return {row["name"] for row in sandbox.rows(doctype, fields=["name"])}


def errors(sandbox: Sandbox, old: int, young: int = 3) -> None:
    """Error Logs: `old` of them 40 days old, `young` one day."""
    sandbox.seed("Error Log", ({"creation": days_ago(40 + n / 1e4), "method": f"old {n}"} for n in range(old)))
    sandbox.seed("Error Log", ({"creation": days_ago(1), "method": "young"} for _ in range(young)))


def part(report: dict, name: str = "Error Log") -> dict:
    return next(found for found in report["parts"] if found["part"] == name)


BY_ROWS = 'doctype = "Error Log"\nolder_than = "30d"\nstrategy = "rows"'
BY_SITE = 'doctype = "Error Log"\nolder_than = "30d"'


@pytest.mark.parametrize(("version", "bulk"), MODES)
def test_the_shipped_rules_remove_exactly_what_they_say(version, bulk, daemon_for):
    """Example 1 of the mission, in every dialect: what went is what an independent reading of the rules names."""
    jobs = EXAMPLE.read_text().split("# Daily database maintenance", 1)[1].partition("\n")[2]
    with Sandbox(version, bulk=bulk, data="demo") as sandbox:
        before = {doctype: sandbox.rows(doctype) for doctype in ("Error Log", "Activity Log", "Email Queue", "Version")}
        report = daemon_for(sandbox, jobs).once("maintenance")
        kept = {doctype: names(sandbox, doctype) for doctype in before}
    assert report["status"] == "done"
    old = {doctype: days_ago(age) for doctype, age in zip(before, (30, 90, 7, 180), strict=True)}
    rank: Counter = Counter()
    for row in sorted(before["Version"], key=lambda row: (row["creation"], row["name"]), reverse=True):
        rank[row["docname"]] += 1
        stays = rank[row["docname"]] <= 5 or row["creation"] >= old["Version"]
        assert (row["name"] in kept["Version"]) == stays
    for row in before["Email Queue"]:
        goes = row["creation"] < old["Email Queue"] and row["status"] in ("Sent", "Error", "Expired")
        if row["creation"] >= days_ago(29):  # beyond, the site's own default retention of 30 days takes all
            assert (row["name"] in kept["Email Queue"]) != goes
    for doctype in ("Error Log", "Activity Log"):
        # The site's own clean-up counts by its database's clock, hours off the site's (UTC here): within a day of the
        # cut-off either is right.
        for row in before[doctype]:
            if row["creation"] < days_ago({"Error Log": 31, "Activity Log": 91}[doctype]):
                assert row["name"] not in kept[doctype]
            if row["creation"] >= days_ago({"Error Log": 29, "Activity Log": 89}[doctype]):
                assert row["name"] in kept[doctype]
    for found in (part(report, doctype) for doctype in ("Error Log", "Activity Log", "Version")):
        assert found["counts"]["done"] == len(before[found["part"]]) - len(kept[found["part"]])


def test_the_site_clears_by_itself_and_leaves_nothing_behind(sandbox, daemon_for):
    """An age alone, on a DocType of Log Settings, costs one clean-up of the site's and no delete of ours."""
    errors(sandbox, 50)
    report = daemon_for(sandbox, rules(BY_SITE)).once()
    assert part(report)["counts"] == {"done": 50} and part(report)["facts"]["strategy"] == "log_settings"
    assert sandbox.count("Error Log") == 3
    assert sandbox.count("Deleted Document") == sandbox.count("Comment") == 0
    paths = Counter(path.rpartition("/")[2] for method, path, _ in sandbox.requests if method != "GET")
    assert paths["frappe.core.doctype.scheduled_job_type.scheduled_job_type.execute_event"] == 1
    assert "frappe.desk.reportview.delete_items" not in paths


def test_only_its_own_row_of_log_settings_changes(sandbox, daemon_for):
    """The other retentions stay as somebody set them; ours is set once, and not again when it is right."""
    errors(sandbox, 5)
    site = daemon_for(sandbox, rules(BY_SITE))
    with site.app.site() as client:
        rows = [{"ref_doctype": "Error Log", "days": 3}, {"ref_doctype": "Email Queue", "days": 11}]
        client.update({"doctype": "Log Settings", "name": "Log Settings", "logs_to_clear": rows})
    before = {row["ref_doctype"]: row["days"] for row in sandbox.rows("Logs To Clear")}
    site.once()
    after = {row["ref_doctype"]: row["days"] for row in sandbox.rows("Logs To Clear")}
    assert after == before | {"Error Log": 30}
    errors(sandbox, 5)
    sandbox.requests.clear()
    site.once()
    assert not [path for method, path, _ in sandbox.requests if method == "PUT"]


def test_a_rule_of_the_same_job_is_never_undercut_by_the_sites_clean_up(sandbox, daemon_for):
    """The clean-up goes by all rows of Log Settings: one that is shorter than this job's rule is lengthened first."""
    errors(sandbox, 5)
    sandbox.seed(
        "Activity Log", [{"creation": days_ago(50), "subject": "x"}, {"creation": days_ago(100), "subject": "y"}]
    )
    site = daemon_for(sandbox, rules(BY_SITE, 'doctype = "Activity Log"\nolder_than = "90d"'))
    with site.app.site() as client:
        rows = [{"ref_doctype": "Activity Log", "days": 30}]
        client.update({"doctype": "Log Settings", "name": "Log Settings", "logs_to_clear": rows})
    report = site.once()
    assert sandbox.rows("Activity Log", fields=["subject"]) == [{"subject": "x"}]
    assert part(report, "Activity Log")["counts"] == {"done": 1}


def test_a_refused_rule_keeps_the_site_from_clearing_its_rows(sandbox, daemon_for):
    """The guard of each rule is asked before the one clean-up that serves all."""
    errors(sandbox, 5)
    sandbox.seed("Activity Log", ({"creation": days_ago(60), "subject": "x"} for _ in range(20)))
    rule = 'doctype = "Activity Log"\nolder_than = "50d"\nguard = { max_rows = 10 }'
    report = daemon_for(sandbox, rules(BY_SITE, rule)).once()
    assert report["status"] == "refused" and report["exit_code"] == 1
    assert "max_rows = 10" in part(report, "Activity Log")["refused"]
    assert sandbox.count("Activity Log") == 20 and sandbox.count("Error Log") == 3


def test_a_failed_clean_up_of_the_site_is_finished_row_by_row(sandbox, daemon_for):
    """frappe/frappe#16971: on a huge table the site's own DELETE times out every night and nothing goes."""
    errors(sandbox, 25)
    sandbox.site_config["clean_up_fails"] = "JobTimeoutException: Task exceeded maximum timeout value (300 seconds)"
    report = daemon_for(sandbox, rules(BY_SITE)).once()
    assert sandbox.count("Error Log") == 3
    assert part(report)["counts"] == {"done": 25} and part(report)["facts"]["strategy"] == "log_settings, then rows"
    assert any("exceeded maximum timeout" in note for note in part(report)["notes"])


def test_a_site_without_a_worker_is_reported_as_uncertain(sandbox, daemon_for):
    """The job is queued and may still run, so nothing is claimed and nothing is deleted on top of it."""
    errors(sandbox, 5)
    site = daemon_for(sandbox, rules(BY_SITE))
    site.clock._on_pause = lambda: None
    sandbox.site_config["worker_paused"] = True
    report = site.once()
    assert part(report)["counts"] == {"done": 0, "uncertain": 5} and report["exit_code"] == 1
    assert sandbox.count("Error Log") == 8


@pytest.mark.parametrize("why", ["stopped", "forbidden"])
def test_without_the_sites_clean_up_it_goes_row_by_row_and_says_why(why, sandbox, daemon_for):
    """A job that somebody stopped, or a user who may not run it: the rule is followed all the same."""
    errors(sandbox, 12)
    user = "Administrator"
    if why == "stopped":
        sandbox.set("Scheduled Job Type", "log_settings.run_log_clean_up", stopped=1)
    else:
        user = "clerk@example.com"
        sandbox.seed("Custom DocPerm", [{"parent": "Error Log", "role": "Sales User", "read": 1, "delete": 1}])
    report = daemon_for(sandbox, rules(BY_SITE), user=user).once()
    assert part(report)["counts"]["done"] == 12 and part(report)["facts"]["strategy"] == "rows"
    assert any("row by row, since" in note for note in part(report)["notes"])


@pytest.mark.parametrize(("version", "bulk"), MODES)
def test_rows_go_in_bulk_and_are_confirmed(version, bulk, daemon_for):
    """No request per row: a hundred to a request that answers when it is done, then one look."""
    with Sandbox(version, bulk=bulk) as sandbox:
        errors(sandbox, 100)
        report = daemon_for(sandbox, rules(BY_ROWS)).once()
        deletes = [path for _, path, _ in sandbox.requests if "delete" in path and "count" not in path]
        assert part(report)["counts"]["done"] == 100 and sandbox.count("Error Log") == 3
        probe = 1 if version == "16" else 0
        assert len(deletes) - probe == 1
        assert len(sandbox.requests) < 20


def test_a_dry_run_writes_nothing_and_names_what_a_run_removes(sandbox, daemon_for, tmp_path):
    """The same path without the act: planned rows are the rows that go, each with its reason, kept ones too."""
    errors(sandbox, 30)
    site, seen = daemon_for(sandbox, rules(BY_ROWS)), []
    report = site.once(dry_run=True, explain=seen.append)
    assert report["counts"] == {"planned": 30, "kept": 3}
    assert sandbox.count("Error Log") == 33
    assert not [path for method, path, _ in sandbox.requests if any(word in path for word in WRITES)]
    before = names(sandbox, "Error Log")
    site.once()
    planned = {outcome.action.name for outcome in seen if outcome.result.value == "planned"}
    assert planned == before - names(sandbox, "Error Log")
    assert {outcome.reason for outcome in seen} == {"older than 30d", "kept: not older than 30d"}


def test_a_limit_takes_the_oldest_and_the_next_run_goes_on(sandbox, daemon_for):
    """A run takes at most that many; what is left is said, and is the next run's."""
    errors(sandbox, 25)
    oldest = {row["name"] for row in sandbox.rows("Error Log") if row["creation"] < days_ago(40.00145)}
    site = daemon_for(sandbox, rules(BY_ROWS + "\nlimit = 10"))
    report = site.once()
    assert part(report)["counts"]["done"] == 10 and any("limit of 10" in note for note in part(report)["notes"])
    assert len(oldest) == 10 and not oldest & names(sandbox, "Error Log")
    assert [part(site.once())["counts"].get("done", 0) for _ in range(3)] == [10, 5, 0]
    assert sandbox.count("Error Log") == 3


def test_a_time_box_ends_the_rule_and_the_next_run_goes_on(sandbox, daemon_for):
    """When its time is used up the rule ends after the page under way, and the next run begins behind it."""
    errors(sandbox, 2100)
    site = daemon_for(sandbox, rules(BY_ROWS + '\ntime_box = "10m"'))
    truly = site.clock.now
    site.clock.now = lambda: (setattr(site.clock, "passed", site.clock.passed + 250), truly())[1]
    report = site.once()
    assert 0 < part(report)["counts"]["done"] < 2100 and any(
        "time box of 10m" in note for note in part(report)["notes"]
    )
    site.clock.now, site.clock.passed = truly, 0.0
    site.once()
    assert sandbox.count("Error Log") == 3


def test_rows_that_may_not_go_are_reported_with_reasons_and_tried_no_more(sandbox, daemon_for):
    """A linked document stays; Frappe's own words say why; it met one bulk request and one of its own."""
    sandbox.seed(
        "Customer", ({"name": f"C{n:02d}", "customer_name": f"C{n:02d}", "creation": days_ago(50)} for n in range(20))
    )
    sandbox.seed("Issue", [{"name": "I1", "subject": "x", "customer": "C07"}])
    rule = 'doctype = "Customer"\nolder_than = "30d"\nguard = { max_percent = 100 }'
    report = daemon_for(sandbox, rules(rule)).once()
    found = part(report, "Customer")
    assert found["counts"] == {"done": 19, "failed": 1} and found["errors"] == {"LinkExistsError": 1}
    (sample,) = [sample for sample in found["samples"] if sample["result"] == "failed"]
    assert sample["name"] == "C07" and "linked with Issue I1" in sample["reason"] and sample["who"] == "document owner"
    assert names(sandbox, "Customer") == {"C07"} and report["status"] == "some failed"
    assert len([path for method, path, _ in sandbox.requests if method == "DELETE"]) == 1


@pytest.mark.parametrize(("doctype", "field"), [("Version", "docname"), ("Email Queue", "sender")])
def test_a_forbidden_doctype_ends_its_rule_early_and_says_who_must_act(doctype, field, sandbox, daemon_for):
    """A System Manager may delete neither: a page tells that, not ten thousand requests, and the next rule works."""
    sandbox.seed(doctype, ({"creation": days_ago(50), field: "x", "ref_doctype": "ToDo"} if doctype == "Version"
                           else {"creation": days_ago(50), field: "x"} for _ in range(1200)))  # fmt: skip
    errors(sandbox, 5)
    rule = f'doctype = "{doctype}"\nolder_than = "30d"\nstrategy = "rows"\nguard = {{ max_percent = 100 }}'
    report = daemon_for(sandbox, rules(rule, BY_ROWS), user="manager@example.com").once()
    assert part(report, doctype)["error"]["kind"] == "NothingRemovable" and part(report, doctype)["error"]["action"]
    assert part(report)["counts"]["done"] == 5 and sandbox.count(doctype) == 1200
    assert len(sandbox.requests) < 120


def test_every_row_is_in_the_archive_before_it_goes(sandbox, daemon_for, tmp_path):
    """Whole documents with their child rows, in a file that anybody can read."""
    mail = {"creation": days_ago(9), "status": "Sent", "message": "grüße"}
    sandbox.seed(
        "Email Queue", ({**mail, "recipients": [{"recipient": "a@x"}, {"recipient": "b@x"}]} for _ in range(7))
    )
    before = names(sandbox, "Email Queue")
    rule = 'doctype = "Email Queue"\nolder_than = "7d"\narchive = "' + str(tmp_path / "archive") + '"'
    report = daemon_for(sandbox, rules(rule + "\nguard = { max_percent = 100 }")).once()
    (file,) = (tmp_path / "archive").iterdir()
    docs = [json.loads(line) for line in gzip.decompress(file.read_bytes()).decode().splitlines()]
    assert {doc["name"] for doc in docs} == before and part(report, "Email Queue")["counts"]["done"] == 7
    assert [row["recipient"] for row in docs[0]["recipients"]] == ["a@x", "b@x"] and docs[0]["message"] == "grüße"


def test_without_an_archive_nothing_is_deleted(sandbox, daemon_for, tmp_path):
    """Where the archive cannot be written, not one row goes."""
    errors(sandbox, 5)
    (tmp_path / "file").write_text("in the way")
    report = daemon_for(sandbox, rules(BY_ROWS + f'\narchive = "{tmp_path / "file" / "archive"}"')).once()
    assert part(report)["error"]["kind"] == "ArchiveError" and sandbox.count("Error Log") == 8


@pytest.mark.parametrize(("version", "bulk"), MODES)
@pytest.mark.parametrize("kind", ["lose_reply", "cut", "status", "deadlock"])
def test_what_happens_to_replies_changes_no_outcome(kind, version, bulk, daemon_for):
    """Replies lost after the commit, cut connections, 502 pages and deadlocks: the right rows go, counted once."""
    with Sandbox(version, bulk=bulk) as sandbox:
        errors(sandbox, 120)
        sandbox.faults.add(Fault(kind, method="*", path="*delete*", chance=0.3, code=502))
        sandbox.faults.add(Fault(kind, method="POST", path="*get_list*", chance=0.3, code=502))
        report = daemon_for(sandbox, rules(BY_ROWS)).once()
        assert sandbox.count("Error Log") == 3
        assert part(report)["counts"] == {"done": 120}, report["errors"]
        assert sandbox.count("Deleted Document", {"deleted_doctype": "Error Log"}) == 120


def test_an_overloaded_queue_is_waited_for(daemon_for):
    """Version 16 refuses deletes while too many jobs wait; it is given time instead of more requests."""
    with Sandbox("16") as sandbox:
        errors(sandbox, 60)
        sandbox.site_config.update(max_queued_jobs=25, worker_paused=True)
        site = daemon_for(sandbox, rules(BY_ROWS))

        def worker_catches_up() -> None:
            with sandbox.site.store.lock:
                sandbox.site.jobs.clear()

        site.clock._on_pause = worker_catches_up
        report = site.once()
        assert part(report)["counts"] == {"done": 60} and sandbox.count("Error Log") == 3


def test_residue_is_counted_and_purged_where_wanted(sandbox, daemon_for):
    """Row-wise deletes leave more than they take; it is said, and `purge_residue` takes it away, ours alone."""
    errors(sandbox, 20)
    sandbox.seed(
        "Deleted Document", [{"deleted_doctype": "Error Log", "deleted_name": "somebody's", "creation": days_ago(1)}]
    )
    report = daemon_for(sandbox, rules(BY_ROWS)).once()
    assert part(report)["facts"]["left Deleted Document"] == part(report)["facts"]["left Comment"] == 20
    assert any("left 20 Deleted Document and 20 Comment rows" in note for note in part(report)["notes"])
    errors(sandbox, 20)
    report = daemon_for(sandbox, rules(BY_ROWS + "\npurge_residue = true")).once()
    assert part(report)["facts"]["left Deleted Document"] == part(report)["facts"]["left Comment"] == 0
    assert sandbox.count("Deleted Document") == 21 and sandbox.count("Comment") == 20


def test_keep_latest_is_judged_by_what_really_goes(sandbox, daemon_for):
    """The guard's percentage counts rows that would go, not all old ones: 40 % here, though every row is old."""
    sandbox.seed("Version", ({"creation": days_ago(200 + n), "ref_doctype": "ToDo", "docname": "a"} for n in range(5)))
    rule = 'doctype = "Version"\nolder_than = "180d"\nkeep_latest = 3\ngroup_by = ["ref_doctype", "docname"]'
    report = daemon_for(sandbox, rules(rule + "\nguard = { max_percent = 50 }")).once()
    assert part(report, "Version")["counts"] == {"done": 2, "kept": 3}
    assert part(report, "Version")["found"] == 2 and part(report, "Version")["exact"]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('doctype = "Error Log"', "an empty rule would remove everything"),
        ('doctype = "Error Log"\nolder_than = "0d"', "an age below a minute would remove everything"),
        ('doctype = "Error Log"\ngroup_by = ["method"]\nolder_than = "1d"', "keep_latest"),
        ('doctype = "Error Log"\nolder_than = "36h"\nstrategy = "log_settings"', "whole days"),
        ('doctype = "Error Log"\nolder_than = "1d"\nlimit = 0', "greater than or equal to 1"),
    ],
)
def test_a_rule_that_means_nothing_or_everything_is_refused(line, says, sandbox, daemon_for):
    """What would remove everything, or cannot be meant, is an error of the configuration."""
    from daemon.errors import ConfigError

    with pytest.raises(ConfigError) as caught:
        daemon_for(sandbox, rules(line))
    assert says in "\n".join(caught.value.problems)


def test_a_rule_that_matches_every_row_is_refused(sandbox, daemon_for):
    """Nothing goes, and the message says what would allow it."""
    errors(sandbox, 10, young=0)
    report = daemon_for(sandbox, rules(BY_ROWS)).once()
    assert "would remove every row there is" in part(report)["refused"] and sandbox.count("Error Log") == 10
    assert "max_percent = 100" in part(report)["refused"]


@pytest.mark.parametrize("version", ["14", "15", "16"])
def test_what_was_modified_lately_stays_in_every_version(version, daemon_for):
    """A rule by `modified` never becomes a retention by `creation`, which Log Settings of 16 would make of it."""
    with Sandbox(version) as sandbox:
        lately = {"creation": days_ago(60), "modified": days_ago(1), "method": "stays"}
        sandbox.seed("Error Log", (lately for _ in range(5)))
        sandbox.seed("Error Log", ({"creation": days_ago(60), "method": "goes"} for _ in range(3)))
        report = daemon_for(sandbox, rules(BY_SITE + '\ndate_field = "modified"')).once()
        assert sandbox.rows("Error Log", fields=["method"]) == [{"method": "stays"}] * 5
        assert part(report)["counts"] == {"done": 3}
        assert part(report)["facts"]["strategy"] == ("rows" if version == "16" else "log_settings")


def test_two_ages_for_one_doctype_are_an_error(sandbox, daemon_for):
    """Log Settings has one row for a DocType, so one of the two would mean nothing."""
    from daemon.errors import ConfigError

    with pytest.raises(ConfigError) as caught:
        daemon_for(sandbox, rules(BY_SITE, BY_SITE.replace("30d", "90d")))
    assert "keep the shorter age" in caught.value.problems[0]


def test_a_row_without_a_date_has_no_age(sandbox, daemon_for):
    """Frappe takes an empty field for less than any date; such rows are neither counted nor removed."""
    sandbox.seed("ToDo", ({"description": "no date"} for _ in range(5)))
    sandbox.seed("ToDo", ({"description": "old", "date": "2020-01-01"} for _ in range(3)))
    report = daemon_for(sandbox, rules('doctype = "ToDo"\nolder_than = "30d"\ndate_field = "date"')).once()
    assert sandbox.rows("ToDo", fields=["description"]) == [{"description": "no date"}] * 5
    assert part(report, "ToDo")["found"] == 3 and part(report, "ToDo")["counts"] == {"done": 3}


def orders(sandbox: Sandbox, number: int, **more) -> None:
    """Sales Orders with three rows each, the first the newest."""
    rows = [{"item_code": "Z", "qty": 1.0} for _ in range(3)]
    sandbox.seed("Sales Order", ({"name": f"SO-{n}", "creation": days_ago(50 + n), "items": rows, **more}
                                 for n in range(number)))  # fmt: skip


OF_Z = 'filters = [["Sales Order Item", "item_code", "=", "Z"]]\nguard = { max_percent = 100 }'


def test_a_document_that_a_child_filter_repeats_is_one_document(sandbox, daemon_for):
    """Frappe joins child rows, so a document comes once for each; it is ranked once, and the newest stay."""
    orders(sandbox, 5)
    report = daemon_for(sandbox, rules(f'doctype = "Sales Order"\nkeep_latest = 2\n{OF_Z}')).once()
    assert names(sandbox, "Sales Order") == {"SO-0", "SO-1"}
    assert part(report, "Sales Order")["counts"] == {"done": 3, "kept": 2}


def test_what_stayed_is_seen_though_a_child_filter_repeats_it(sandbox, daemon_for):
    """Submitted documents cannot be deleted; each one is reported as failed, none as done."""
    orders(sandbox, 6, docstatus=1)
    report = daemon_for(sandbox, rules(f'doctype = "Sales Order"\nolder_than = "30d"\n{OF_Z}')).once()
    found = part(report, "Sales Order")
    assert sandbox.count("Sales Order") == 6 and "done" not in found["counts"]
    assert found["error"] or found["counts"]["failed"] == 6


def test_a_site_that_only_says_it_deleted_is_not_believed(sandbox, daemon_for, monkeypatch):
    """Every delete is answered by success and does nothing: nothing is reported as done."""
    errors(sandbox, 5)
    for name in ("delete", "delete_batch", "delete_groups"):
        monkeypatch.setattr(Site, name, lambda *_: {})
    report = daemon_for(sandbox, rules(BY_ROWS)).once()
    assert part(report)["counts"] == {"failed": 5} and sandbox.count("Error Log") == 8


def test_only_names_that_were_planned_are_ever_sent():
    """A list that answers with other names makes nobody delete those."""
    from daemon.site.bulk import remove

    class Liar:
        dialect = type("D", (), {"bulk_delete_size": 10})
        sent: list = []  # noqa: RUF012

        def get_list(self, *_):
            return [{"name": "FOREIGN"}]

        def delete_groups(self, _, groups):
            self.sent += [name for group in groups for name in group]

        def delete_batch(self, _, names):
            self.sent += names
            return {}

        def delete(self, _, name):
            self.sent.append(name)

    liar = Liar()
    assert remove(liar, "ToDo", ["a", "b"], [], map) == {} and set(liar.sent) == {"a", "b"}


@pytest.mark.parametrize("line", ['older_than = "30d"\ndate_field = "description"',
                                  'keep_latest = 1\nfilters = [["description", "between", ["a", "b"]]]'])  # fmt: skip
def test_what_is_no_date_has_no_age(line, sandbox, daemon_for):
    """Frappe would compare text, or swallow the next condition: the rule fails before anything is counted."""
    sandbox.seed("ToDo", ({"description": "1 fresh"} for _ in range(5)))
    report = daemon_for(sandbox, rules(f'doctype = "ToDo"\n{line}')).once()
    assert "ToDo.description is no date" in part(report, "ToDo")["error"]["message"] and sandbox.count("ToDo") == 5


def test_a_dry_run_foretells_what_log_settings_will_do(sandbox, daemon_for):
    """Which retention changes, and how many rows go though no rule names them; the run then tells the same."""
    errors(sandbox, 5)
    sandbox.seed("Email Queue", ({"creation": days_ago(40), "status": "Not Sent"} for _ in range(4)))
    site = daemon_for(sandbox, rules(BY_SITE))
    with site.app.site() as client:
        rows = [{"ref_doctype": "Error Log", "days": 35}, {"ref_doctype": "Email Queue", "days": 30}]
        client.update({"doctype": "Log Settings", "name": "Log Settings", "logs_to_clear": rows})
    before = sandbox.rows("Logs To Clear")
    told = "\n".join(part(site.once(dry_run=True))["notes"])
    assert "Error Log would be set to 30 days (before: 35 days)" in told
    assert "would also take: 4 rows of Email Queue older than 30 days" in told
    assert sandbox.rows("Logs To Clear") == before and sandbox.count("Email Queue") == 4
    told = "\n".join(part(site.once())["notes"])
    assert "Error Log was set to 30 days (before: 35 days)" in told and "also took: 4 rows of Email Queue" in told
    assert sandbox.count("Email Queue") == 0


def test_a_wrong_doctype_fails_its_own_rule_alone(sandbox, daemon_for):
    """Also where the site's one clean-up serves several rules of the job."""
    errors(sandbox, 5)
    sandbox.seed(
        "Activity Log", [{"creation": days_ago(50), "subject": "x"}, {"creation": days_ago(1), "subject": "y"}]
    )
    nonsense = 'doctype = "Nonsense"\nolder_than = "30d"\nstrategy = "log_settings"'
    report = daemon_for(sandbox, rules(BY_SITE, nonsense, 'doctype = "Activity Log"\nolder_than = "2d"')).once()
    assert part(report)["counts"] == {"done": 5} and part(report, "Activity Log")["counts"] == {"done": 1}
    assert "Nonsense" in part(report, "Nonsense")["error"]["message"]


def test_a_retention_that_is_lengthened_for_an_idle_rule_is_told(sandbox, daemon_for):
    """No setting of the site changes without a word."""
    errors(sandbox, 5)
    site = daemon_for(sandbox, rules(BY_SITE, 'doctype = "Email Queue"\nolder_than = "3650d"'))
    with site.app.site() as client:
        rows = [{"ref_doctype": "Email Queue", "days": 30}]
        client.update({"doctype": "Log Settings", "name": "Log Settings", "logs_to_clear": rows})
    notes = part(site.once())["notes"]
    assert "Log Settings of the site: Email Queue was set to 3650 days (before: 30 days)" in notes


def test_rows_that_all_stayed_are_counted_as_failed(sandbox, daemon_for):
    """And who must act is whom the site's own refusal names."""
    sandbox.seed("Version", ({"creation": days_ago(50), "ref_doctype": "ToDo", "docname": "x"} for _ in range(30)))
    rule = 'doctype = "Version"\nolder_than = "30d"\nguard = { max_percent = 100 }'
    found = part(daemon_for(sandbox, rules(rule), user="manager@example.com").once(), "Version")
    assert found["counts"] == {"failed": 30} and found["error"]["who"] == "site administrator"


def test_two_rules_for_one_doctype_have_an_archive_each(sandbox, daemon_for, tmp_path):
    """One file for each rule and run, also where the rules share DocType and directory."""
    for status in ("Open", "Closed"):
        sandbox.seed("ToDo", ({"creation": days_ago(50), "description": "x", "status": status} for _ in range(2)))
    sandbox.seed("ToDo", [{"description": "young"}])
    lines = [f'doctype = "ToDo"\nolder_than = "30d"\nfilters = {{ status = "{status}" }}\narchive = "{tmp_path}/a"'
             for status in ("Open", "Closed")]  # fmt: skip
    report = daemon_for(sandbox, rules(*lines)).once()
    assert report["counts"] == {"done": 4} and len(list((tmp_path / "a").iterdir())) == 2


def test_no_more_rows_go_than_were_counted_and_judged(sandbox, daemon_for, monkeypatch):
    """Whatever a list holds beyond the count that the guard saw waits until a later run has counted and judged it."""
    errors(sandbox, 250)
    monkeypatch.setattr(Site, "count", lambda self, doctype, filters=None: 5 if filters else 253)
    report = daemon_for(sandbox, rules(BY_ROWS + "\nguard = { max_rows = 10 }")).once()
    assert report["counts"]["done"] == 5 and sandbox.count("Error Log") == 248
    assert "more rows match than were counted" in part(report)["notes"][0]


def test_days_are_compared_as_days(sandbox, daemon_for):
    """By a field that is a Date the site cuts the age down to a day: a dry run, with and without every row shown, and
    the run agree."""
    today = date.fromisoformat(days_ago(0)[:10])
    sandbox.seed("ToDo", ({"date": str(today - timedelta(days=n)), "description": str(n)} for n in range(25, 36)))
    site = daemon_for(sandbox, rules('doctype = "ToDo"\ndate_field = "date"\nolder_than = "30d"'))
    seen: Counter = Counter()
    assert site.once(dry_run=True)["counts"] == {"planned": 5}
    assert (
        site.once(dry_run=True, explain=lambda outcome: seen.update([outcome.result.value]))["counts"]["planned"] == 5
    )
    assert seen == {"planned": 5, "kept": 6}
    assert site.once(explain=lambda outcome: None)["counts"]["done"] == 5
    assert min(row["date"] for row in sandbox.rows("ToDo")) == str(today - timedelta(days=30))


@pytest.mark.parametrize("field", ["description", "status", "name"])
def test_the_newest_are_found_by_a_date_alone(field, sandbox, daemon_for):
    """By the alphabet nothing is new, so the rule is refused before a row goes."""
    sandbox.seed("ToDo", ({"description": str(n), "status": "Open"} for n in range(9)))
    report = daemon_for(sandbox, rules(f'doctype = "ToDo"\nkeep_latest = 5\ndate_field = "{field}"')).once()
    assert "is no date" in part(report, "ToDo")["error"]["message"] and sandbox.count("ToDo") == 9


@pytest.mark.parametrize("status", [401, 403, 302, 413])
def test_what_went_before_an_error_is_counted(status, sandbox, daemon_for):
    """A page that ends in an error is looked at once more, so that the report holds every row that is gone."""
    errors(sandbox, 900)
    sandbox.faults.add(Fault("status", path="*delete_items", code=status, html=False, after=3))
    report = daemon_for(sandbox, rules(BY_ROWS)).once()
    assert report["exit_code"] and report["counts"]["done"] == 903 - sandbox.count("Error Log") > 0


def test_what_became_of_a_page_that_nobody_can_look_at_is_uncertain(sandbox, daemon_for):
    """Where the site does not answer any more, rows that were asked for are neither gone nor there."""
    errors(sandbox, 900)
    sandbox.faults.add(Fault("cut", after=7))
    report = daemon_for(sandbox, rules(BY_ROWS)).once()
    assert report["counts"] == {"uncertain": 900} and report["exit_code"] == 75


def test_a_dry_run_says_that_the_database_may_take_more(sandbox, daemon_for):
    """Its clock is unknown until it acts: rows younger by a day at the most are counted and named."""
    errors(sandbox, 4)
    sandbox.seed("Error Log", ({"creation": days_ago(29.9), "method": "nearly"} for _ in range(3)))
    notes = part(daemon_for(sandbox, rules(BY_SITE)).once(dry_run=True))["notes"]
    assert any(note.startswith("up to 3 rows that are younger") for note in notes)


def test_the_time_box_bounds_the_purge_too(sandbox, daemon_for):
    """What is left of the residue is counted, and a later run's own purge or a rule of its own may take it."""
    errors(sandbox, 30)
    site = daemon_for(sandbox, rules(BY_ROWS + '\npurge_residue = true\ntime_box = "1m"'))

    def later(outcome):
        site.clock.passed += 3

    report = site.once(explain=later)
    assert report["counts"]["done"] == 30 and sandbox.count("Deleted Document") >= 30
    assert any("left 30 Deleted Document" in note for note in part(report)["notes"])
