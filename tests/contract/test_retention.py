"""Log Settings: what the site clears by itself, and how it is asked to do so now."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from .conftest import CLERK

SETTINGS = ("Log Settings", "Log Settings")
CLEAN_UP = "frappe.core.doctype.log_settings.log_settings.run_log_clean_up"
EXECUTE = "frappe.core.doctype.scheduled_job_type.scheduled_job_type.execute_event"


@pytest.fixture
def settings(site):
    """The rows of Log Settings, put back afterwards."""
    before = site.read(*SETTINGS).value.get("logs_to_clear", [])
    rows = [{"ref_doctype": row["ref_doctype"], "days": row["days"]} for row in before]
    yield {row["ref_doctype"]: row["days"] for row in rows}
    site.put(*SETTINGS, logs_to_clear=rows)


def save(site, rows):
    reply = site.put(*SETTINGS, logs_to_clear=rows)
    assert reply.status == 200, reply.response.text
    return {row["ref_doctype"]: row["days"] for row in reply.value["logs_to_clear"]}, reply


def test_saving_adds_the_defaults(site, settings):
    """log_settings.py:add_default_logtypes, from the hooks of Frappe."""
    rows, _ = save(site, [{"ref_doctype": "Error Log", "days": 77}])
    assert rows["Error Log"] == 77
    assert {"Scheduled Job Log", "Activity Log", "Email Queue"} <= set(rows)
    if site.major >= 15:
        assert (rows["Email Queue"], rows["Activity Log"], rows["Scheduled Job Log"]) == (30, 90, 7)


def test_what_cannot_be_cleared_is_taken_out(site, settings):
    """Version has no clear_old_logs: 200, a message, and the row is gone. Doubles go, too."""
    rows, reply = save(site, [{"ref_doctype": "Version", "days": 5}, {"ref_doctype": "Error Log", "days": 78},
                              {"ref_doctype": "Error Log", "days": 79},
                              {"ref_doctype": "Deleted Document", "days": 180}])  # fmt: skip
    assert "Version" not in rows and (rows["Error Log"], rows["Deleted Document"]) == (78, 180)
    assert "does not support automated log clearing" in reply.messages


def test_access_and_view_logs_are_clearable_from_15_on(site, settings):
    """14 has no clear_old_logs for them."""
    rows, _ = save(site, [{"ref_doctype": "Access Log", "days": 90}, {"ref_doctype": "View Log", "days": 90}])
    assert ("Access Log" in rows, "View Log" in rows) == ((False, False) if site.major == 14 else (True, True))


def test_the_job_is_found_by_its_method(site):
    """Its name is a hash on 16."""
    (job,) = site.list("Scheduled Job Type", filters={"method": CLEAN_UP}).value
    assert (job["name"] == "log_settings.run_log_clean_up") == (site.major <= 15)


def test_executing_it_needs_a_system_manager(site):
    """frappe.only_for: 403."""
    assert site.call(EXECUTE, doc='{"name":"x"}', user=CLERK).status == 403
    assert site.call(EXECUTE, doc='{"name":"x"}').status == 404


def test_the_clean_up(site, settings):
    """One DELETE for each type, of rows older than NOW() by `modified`, on 16 by `creation`; nothing is left behind.

    NOW() is the database server's, which runs in UTC here, and rows are stamped in the site's zone: rows go early.
    """
    sandbox = site.only_sandbox("it would delete others' logs")
    now = datetime.now(UTC)

    def ago(**span):
        return (now - timedelta(**span)).astimezone(ZoneInfo("America/New_York")).replace(tzinfo=None).isoformat(" ")

    sandbox.seed("Error Log", [
        {"name": "old", "creation": ago(days=31), "modified": ago(days=31)},
        {"name": "old, touched", "creation": ago(days=31), "modified": ago(days=1)},
        {"name": "nearly old", "creation": ago(days=29, hours=22)},
        {"name": "young", "creation": ago(days=29, hours=12)},
    ])  # fmt: skip
    before = sandbox.count("Deleted Document"), sandbox.count("Comment"), sandbox.count("Scheduled Job Log")
    save(site, [{"ref_doctype": "Error Log", "days": 30}])
    (job,) = site.list("Scheduled Job Type", filters={"method": CLEAN_UP}).value
    assert site.call(EXECUTE, doc=f'{{"name":"{job["name"]}"}}').status == 200
    sandbox.drain()
    left = {
        row["name"]
        for row in sandbox.rows("Error Log", {"name": ["in", ["old", "old, touched", "nearly old", "young"]]})
    }
    assert left == ({"young"} if site.major >= 16 else {"young", "old, touched"})
    assert (sandbox.count("Deleted Document"), sandbox.count("Comment")) == before[:2]
    (log,) = site.list(
        "Scheduled Job Log", fields=["status", "scheduled_job_type"], order_by="creation desc", limit=1
    ).value
    assert log == {"status": "Complete", "scheduled_job_type": job["name"]}
    for name in left:
        site.delete("Error Log", name)


def test_clear_error_logs_empties_the_table(site, mark):
    """error_log.py:clear_error_logs truncates: no Deleted Document."""
    sandbox = site.only_sandbox("it would delete others' logs")
    sandbox.seed("Error Log", ({"method": mark} for _ in range(5)))
    before = sandbox.count("Deleted Document")
    assert site.call("frappe.core.doctype.error_log.error_log.clear_error_logs", user=CLERK).status == 403
    assert site.call("frappe.core.doctype.error_log.error_log.clear_error_logs").status == 200
    assert (sandbox.count("Error Log"), sandbox.count("Deleted Document")) == (0, before)


# Through the daemon's client


def test_a_retention_is_applied(client, settings):
    """What is wanted is there afterwards, what cannot be cleared is missing, what must not be shorter is longer."""
    wanted = {"Error Log": 71, "Deleted Document": 181, "Version": 5}
    change = client.log_settings.apply(wanted, {"Scheduled Job Log": 60})
    assert change.before == settings
    assert (change.after["Error Log"], change.after["Deleted Document"]) == (71, 181) and "Version" not in change.after
    assert change.after["Scheduled Job Log"] >= 60
    assert client.log_settings.apply({"Error Log": 71}, {}).after == change.after, "and nothing else was touched"


def test_every_doctype_that_the_dialect_names_can_be_cleared(client, settings):
    """log_settings.py:_supports_log_clearing, of those that are there."""
    there = client.get_list("DocType", ["name"], [["name", "in", sorted(client.dialect.log_settings_doctypes)]])
    wanted = {row["name"]: 999 for row in there}
    assert set(wanted) - set(client.log_settings.apply(wanted, {}).after) == set()


def test_the_job_is_found_and_run(site, client, mark, settings):
    """Its end is in a Scheduled Job Log; rows beyond the retention are gone then."""
    sandbox = site.only_sandbox("it would delete others' logs")
    job = client.log_settings.job()
    assert job is not None and not job.stopped
    sandbox.seed("Error Log", [{"method": mark, "creation": "2001-01-01 00:00:00"}, {"method": mark}])
    client.log_settings.apply({"Error Log": 30}, {})
    assert client.log_settings.run(job, pause=lambda _: sandbox.drain(), polls=5) == "Complete"
    (left,) = sandbox.rows("Error Log", {"method": mark})
    assert left["creation"] > "2002"
    sandbox.site_config["clean_up_fails"] = "JobTimeoutException: too long"
    try:
        assert client.log_settings.run(job, pause=lambda _: sandbox.drain(), polls=5).startswith("Failed: JobTimeout")
    finally:
        del sandbox.site_config["clean_up_fails"]
