"""Every error says who must act and ends a command with a code that systemd can name."""

from __future__ import annotations

import re

import pytest

from daemon import errors
from daemon.errors import DaemonError, Exit, SiteError, Transient

WHO = {"nobody", "operator", "document owner", "site administrator", "remote administrator", "programmer"}


def descendants(kind: type[DaemonError]) -> list[type[DaemonError]]:
    return [kind, *(found for child in kind.__subclasses__() for found in descendants(child))]


ALL = [kind for kind in descendants(DaemonError) if kind.__module__ == errors.__name__]


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_every_error_names_who_must_act_and_what_to_do(kind: type[DaemonError]) -> None:
    """`who` is one of six, `action` is a sentence, and `str` is the message that it was given."""
    error = kind("what happened")
    assert error.who in WHO
    assert re.fullmatch(r"[A-Z`].*\.", error.action)
    assert str(error) == "what happened" and error.kind == kind.__name__
    assert isinstance(error.exit_code, Exit)


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.UsageError, 2),
        (errors.ConfigError, 78),
        (errors.StateError, 78),
        (errors.CredentialsRefused, 77),
        (errors.Unreachable, 75),
        (errors.SiteDown, 75),
        (errors.Throttled, 75),
        (errors.UntrustedCertificate, 75),
        (errors.NotFrappe, 75),
        (errors.NotPermitted, 1),
        (errors.ServerBug, 1),
        (errors.OutcomeUnknown, 1),
        (errors.ArchiveError, 1),
        (errors.Stopped, 1),
        (errors.RemoteUnreachable, 75),
        (errors.RemoteDown, 75),
        (errors.RemoteThrottled, 75),
        (errors.RemoteUntrusted, 75),
        (errors.NotTheApi, 75),
        (errors.RemoteCredentialsRefused, 77),
        (errors.RemoteNotPermitted, 1),
        (errors.RemoteRefused, 1),
        (errors.RemoteOutcomeUnknown, 1),
    ],
)
def test_exit_codes_are_those_of_sysexits(kind: type[DaemonError], code: int) -> None:
    """75 is a site or an API that cannot be used now, 77 its refusal of our key, 78 what only an edit mends."""
    assert kind("x").exit_code == code


def test_an_action_can_be_worded_where_the_facts_are() -> None:
    """It replaces the class's own for that error alone."""
    assert errors.NotPermitted("x", action="Open the firewall.").action == "Open the firewall."
    assert errors.NotPermitted("x").action == errors.NotPermitted.action != "Open the firewall."


def test_reports_count_site_errors_by_the_site_s_own_word() -> None:
    """`kind` is Frappe's exception class where one was sent, else ours."""
    assert SiteError("x", exc_type="MandatoryError").kind == "MandatoryError"
    assert errors.Invalid("x").kind == "Invalid"


@pytest.mark.parametrize(
    ("error", "site_wide"),
    [
        *((Transient("x", status=status), True) for status in (502, 503, 504)),
        *((Transient("x", status=status), False) for status in (0, 417, 429, 500)),
        (errors.Throttled("x", status=429), False),
        (errors.Throttled("x", status=503), True),
        (errors.Unreachable("x"), True),
    ],
)
def test_what_any_other_request_would_have_met_too_is_site_wide(error: Transient, site_wide: bool) -> None:
    """A gateway's error or no connection says something of the site; a lock or a slow query of one request only."""
    assert error.site_wide is site_wide
