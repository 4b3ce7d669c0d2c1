"""A run with a remote side: opened when it is asked for, closed with the run, its traffic in the report."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from daemon import errors
from daemon.core.kind import Part
from daemon.core.plan import Action, Outcome, Result
from daemon.sandbox import Fault
from tests.conftest import rules

from .conftest import order, settings_of


class Pull(Part):
    """Takes what the API has."""

    def __init__(self, run, settings):
        super().__init__("pull")
        self.run, self.settings = run, settings

    def plan(self):
        for page in self.run.remote(self.settings).changed():
            yield [Action("keep", "Sales Order", record.id, "it is there") for record in page]

    def apply(self, actions):
        return [Outcome(action, Result.KEPT) for action in actions]


@pytest.fixture
def pulling(sandbox, daemon_for, monkeypatch):
    """A daemon whose only job takes what an API has, and what its runs were given."""

    def make(settings):
        daemon, runs = daemon_for(sandbox, rules('doctype = "Error Log"\nolder_than = "30d"')), []

        def parts(run, _settings):
            runs.append(run)
            return [Pull(run, settings), Pull(run, settings)]

        kind = daemon.app.job("job").kind
        monkeypatch.setattr(kind, "parts", parts)
        return SimpleNamespace(once=daemon.once, runs=runs, app=daemon.app)

    return make


def test_a_run_opens_an_api_once_and_closes_it(pulling, orders):
    """Two parts that name the same settings share a client; what was sent is in the report, beside the site's."""
    orders.add(**order())
    daemon = pulling(settings_of(orders.url, orders.token))
    report = daemon.once()
    assert report["counts"] == {"kept": 2} and report["status"] == "done"
    assert (report["remote_requests"], report["remote_retries"], report["remote_replies"]) == (2, 0, {"200": 2})
    assert len(orders.requests) == 2
    (run,) = daemon.runs
    assert run.remotes.of(settings_of(orders.url, orders.token)).transport.http.is_closed


def test_a_run_without_one_says_nothing_of_it(sandbox, daemon_for):
    """Most jobs have no remote side."""
    report = daemon_for(sandbox, rules('doctype = "Error Log"\nolder_than = "30d"')).once()
    assert not any(key.startswith("remote") for key in report)


def test_an_api_that_is_down_fails_parts_and_not_the_daemon(pulling, orders):
    """The first part spends its patience, the second sends nothing; both say who must act."""
    orders.faults.add(Fault("status", code=502))
    report = pulling(settings_of(orders.url, orders.token)).once()
    first, second = (part["error"] for part in report["parts"])
    assert (first["kind"], second["kind"]) == ("RemoteFailed", "RemoteDown")
    assert first["who"] == second["who"] == "remote administrator"
    assert report["remote_requests"] == report["remote_retries"] + 1 == 8
    assert report["status"] == "failed" and report["exit_code"] == 1


def test_an_authority_that_cannot_be_read_is_a_sentence(pulling, tmp_path):
    """The file is named, under its key."""
    report = pulling(settings_of(ca_file=str(tmp_path / "none.pem"))).once()
    assert report["status"] == "failed" and "none.pem" in str(report["parts"][0]["error"])
    assert "api.ca_file" in str(report["parts"][0]["error"])


def test_remote_errors_are_daemon_errors():
    """Whatever catches these catches them."""
    assert issubclass(errors.RemoteError, errors.DaemonError) and not issubclass(errors.RemoteError, errors.SiteError)
