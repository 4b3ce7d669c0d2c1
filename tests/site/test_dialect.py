"""What differs between versions 14, 15 and 16."""

from __future__ import annotations

import pytest

from daemon.errors import NotConfigured
from daemon.site.dialect import Dialect

V14, V15, V16 = (Dialect.of(f"{major}.1.0") for major in (14, 15, 16))


@pytest.mark.parametrize(
    ("version", "major"),
    [
        ("14.93.2", 14),
        ("15.75.0", 15),
        ("v16.10.4", 16),
        ("16.0.0-beta.1", 16),
        ("17.0.0-dev", 16),
        ("15.x.x-develop", 15),
    ],
)
def test_the_site_s_own_version_chooses(version: str, major: int) -> None:
    """A newer major is spoken to as the newest known one; the site's word for itself is kept."""
    dialect = Dialect.of(version)
    assert (dialect.major, dialect.version) == (major, version)


@pytest.mark.parametrize("version", ["13.58.0", "", "develop", "0.1"])
def test_a_version_that_nobody_speaks_is_refused(version: str) -> None:
    """With what to do, before anything is asked of it."""
    with pytest.raises(NotConfigured, match="versions 14 to 16 are supported") as refusal:
        Dialect.of(version)
    assert "Upgrade the site" in refusal.value.action


def test_aggregates_are_text_before_16_and_an_object_since() -> None:
    """Each refuses the other's form."""
    assert V14.aggregate("COUNT", "name", "n") == V15.aggregate("count", "name", "n") == "count(name) as n"
    assert V16.aggregate("count", "name", "n") == {"COUNT": "name", "as": "n"}


def test_expired_mails_exist_on_14_alone() -> None:
    """The option left Email Queue.status in 15."""
    assert "Expired" in V14.email_queue_statuses
    assert "Expired" not in V15.email_queue_statuses + V16.email_queue_statuses
    assert all("Sent" in dialect.email_queue_statuses for dialect in (V14, V15, V16))


def test_only_what_is_answered_when_done_is_asked_for_at_once() -> None:
    """Ten by reportview, twenty by the v2 endpoint; more would be queued and never reported."""
    assert V16.bulk_delete_size == 10 and Dialect("16.10.4", 16, v2_bulk=True).bulk_delete_size == 20


def test_log_settings_clears_what_each_version_can_clear() -> None:
    """By `modified` before 16, by `creation` since; the DocTypes come and go."""
    assert (V14.log_settings_field, V15.log_settings_field, V16.log_settings_field) == (
        "modified",
        "modified",
        "creation",
    )
    assert "Error Snapshot" in V14.log_settings_doctypes - V15.log_settings_doctypes
    assert "Submission Queue" in V15.log_settings_doctypes - V14.log_settings_doctypes
    assert "API Request Log" in V16.log_settings_doctypes - V15.log_settings_doctypes
    assert "Version" not in V14.log_settings_doctypes | V15.log_settings_doctypes | V16.log_settings_doctypes


@pytest.mark.parametrize(
    ("dialect", "doctype", "counts"),
    [
        (V15, "Error Log", True),
        (V14, "Deleted Document", False),
        (V15, "Case Update", False),
        (V16, "Deleted Document", True),
    ],
)
def test_a_word_of_sql_in_a_name_is_counted_another_way(dialect: Dialect, doctype: str, counts: bool) -> None:
    """14 and 15 take it for an injection."""
    assert dialect.counts(doctype) is counts


def test_the_desk_moved_in_16() -> None:
    """Links in mails start there."""
    assert (V14.desk, V15.desk, V16.desk) == ("/app", "/app", "/desk")
