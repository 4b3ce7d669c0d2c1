"""One run of one job: what ends a part, what ends a run, what is kept of it."""

from __future__ import annotations

import json
import shutil
import threading
from datetime import timedelta

import pytest

from daemon.errors import AlreadyRunning, StateError
from daemon.sandbox import Fault, Sandbox
from daemon.state import State
from tests.conftest import days_ago, rules

OLD = 'older_than = "30d"\nstrategy = "rows"'
ERRORS = f'doctype = "Error Log"\n{OLD}'


def seed(sandbox: Sandbox, number: int = 5) -> None:
    sandbox.seed("Error Log", ({"creation": days_ago(50), "method": "x"} for _ in range(number)))
    sandbox.seed("Error Log", [{"creation": days_ago(1), "method": "young"}])


def test_a_part_that_fails_leaves_the_others_alone(sandbox, daemon_for):
    """A DocType that does not exist, and a field that does not: each fails by itself, with who must act."""
    seed(sandbox)
    wrong_field = f'doctype = "ToDo"\n{OLD}\ndate_field = "no_such_field"'
    report = daemon_for(sandbox, rules(f'doctype = "Nonsense"\n{OLD}', wrong_field, ERRORS)).once()
    first, second, third = report["parts"]
    assert "Nonsense" in first["error"]["message"] and "no_such_field" in second["error"]["message"]
    assert third["counts"] == {"done": 5} and third["error"] is None
    assert report["status"] == "some failed" and report["exit_code"] == 1


@pytest.mark.parametrize(
    ("fault", "kind", "code"),
    [
        (Fault("cut"), "Unreachable", 75),
        (Fault("status", code=502), "Transient", 75),
        (Fault("status", code=503, retry_after=5), "Throttled", 75),
        (Fault("status", code=404), "NotFrappe", 75),
        (Fault("status", code=301), "NotFrappe", 75),
        (Fault("status", code=401), "NotPermitted", 1),
    ],
)
def test_a_site_that_is_not_there_ends_the_run_early(fault, kind, code, sandbox, daemon_for):
    """The reason is told once, with the exit code that systemd is told; the site is not hammered."""
    sandbox.faults.add(fault)
    report = daemon_for(sandbox, rules(ERRORS, ERRORS.replace("Error Log", "Version"))).once()
    assert report["error"]["kind"] == kind and report["exit_code"] == code and report["status"] == "failed"
    assert len(sandbox.requests) <= 8


def test_a_site_that_goes_down_halfway_ends_the_run_with_what_was_done(sandbox, daemon_for):
    """The breaker: once one request has spent its patience the rest is not sent, and done work is reported as done."""
    seed(sandbox, 2500)
    sandbox.faults.add(Fault("cut", after=20))
    report = daemon_for(sandbox, rules(ERRORS)).once()
    assert report["status"] == "failed" and report["exit_code"] == 75
    assert report["counts"]["done"] == 1000 and sandbox.count("Error Log") <= 1501
    assert len(sandbox.requests) < 20 + 4 * 8 + 1


def test_a_refused_key_says_so(sandbox, daemon_for):
    """Exit code 77, once asked, and what to do."""
    report = daemon_for(sandbox, rules(ERRORS), user="nobody").once()
    assert report["error"]["kind"] == "AuthenticationError" and report["exit_code"] == 77
    assert "api_key" in report["error"]["action"] and len(sandbox.requests) == 1


def test_clocks_that_disagree_stop_a_run_before_it_counts_ages(sandbox, daemon_for):
    """A machine that is years ahead would find every row old enough."""
    seed(sandbox)
    site = daemon_for(sandbox, rules(ERRORS))
    site.clock.moment += timedelta(days=400)
    report = site.once()
    assert report["error"]["kind"] == "ClockSkew" and "400d" in report["error"]["message"]
    assert sandbox.count("Error Log") == 6


def test_a_deadline_stops_the_run_at_its_next_step(sandbox, daemon_for):
    """What was done by then stays done and is reported; the rest waits."""
    seed(sandbox, 1500)
    site = daemon_for(sandbox, rules(ERRORS, job='timeout = "10m"'))
    truly = site.clock.monotonic
    site.clock.monotonic = lambda: truly() + 60 * len(sandbox.requests)
    report = site.once()
    assert report["status"] == "stopped" and "timeout of 10m" in report["error"]["message"]
    assert report["counts"].get("done", 0) < 1500


def test_a_stop_is_obeyed_between_two_steps(sandbox, daemon_for):
    """SIGTERM sets the event; no new batch is begun."""
    seed(sandbox, 1500)
    site = daemon_for(sandbox, rules(ERRORS))
    seen: list[object] = []
    report = site.once(explain=lambda outcome: (seen.append(outcome), site.app.stop.set()))
    assert report["status"] == "stopped" and len(seen) == 1000 and sandbox.count("Error Log") == 501


def test_a_job_runs_once_at_a_time(sandbox, daemon_for):
    """A second run of the job is refused while the first has not ended; nothing is written for it."""
    seed(sandbox)
    site = daemon_for(sandbox, rules(ERRORS))
    with site.app.state.claim("job"), pytest.raises(AlreadyRunning):
        site.once()
    assert site.app.state.runs() == [] and not sandbox.requests


def test_the_report_is_kept_as_it_was_returned(sandbox, daemon_for):
    """`history` shows what `once` showed."""
    seed(sandbox)
    site = daemon_for(sandbox, rules(ERRORS))
    report = site.once()
    (kept,) = site.app.state.runs("job")
    assert kept.report == report and kept.status == "done" and kept.ended is not None
    assert report["counts"] == {"done": 5} and report["requests"] == len(sandbox.requests)
    assert sum(report["replies"].values()) == report["requests"]


def test_no_secret_is_in_report_state_or_log(sandbox, daemon_for, tmp_path, capsys):
    """Not even where the site itself sends it back."""
    site = daemon_for(sandbox, rules(f'doctype = "secret-of-administrator"\n{OLD}', ERRORS))
    sandbox.site.keys["Administrator"] = (sandbox.site.keys["Administrator"][0], "secret-of-administrator")
    report = site.once()
    log = capsys.readouterr().err
    state = b"".join(path.read_bytes() for path in tmp_path.rglob("state.db*") if path.is_file())
    for text in (json.dumps(report), log, repr(site.app.config.site), state.decode("latin-1")):
        assert "secret-of-administrator" not in text
    assert "********" in log


def test_errors_are_written_to_the_sites_error_log_where_wanted(sandbox, daemon_for):
    """As jobs on the site do; once a run, and never for a run that went well."""
    seed(sandbox)
    bad = f'doctype = "Nonsense"\n{OLD}'
    daemon_for(sandbox, rules(bad, job="report_errors_to_site = true")).once()
    (row,) = sandbox.rows("Error Log", {"method": ["like", "frappe-daemon%"]})
    assert row["method"] == "frappe-daemon: job failed" and "Nonsense" in row["error"]
    daemon_for(sandbox, rules(ERRORS, job="report_errors_to_site = true")).once()
    assert sandbox.count("Error Log", {"method": ["like", "frappe-daemon%"]}) == 1


def test_a_bug_in_a_kind_is_a_failed_run_and_nothing_worse(sandbox, daemon_for, monkeypatch):
    """The other jobs go on; the report calls it what it is, and the log has the traceback."""
    site = daemon_for(sandbox, rules(ERRORS))
    monkeypatch.setattr(site.app.job("job").kind, "parts", lambda run, settings: 1 / 0)
    report = site.once()
    assert report["status"] == "failed" and report["error"]["who"] == "programmer"
    assert "ZeroDivisionError" in report["error"]["message"]


def test_work_of_one_run_is_spread_and_bounded(sandbox, daemon_for):
    """`each` works on several items at once, takes no more than twice as many as it works on, and ends on an error."""
    from concurrent.futures import ThreadPoolExecutor

    from daemon.runner import LiveRun

    site = daemon_for(sandbox, rules(ERRORS))
    taken, gate = [], threading.Barrier(2, timeout=10)
    with ThreadPoolExecutor(2) as pool:
        run = LiveRun(
            id="r", job="job", section="job", direction="", wish={}, started=site.clock.now(), dry_run=False,
            explain=False, site=None, clock=None, state=site.app.state, pool=pool, at_once=2,
            watch=print, remotes=None, held=None,
        )  # fmt: skip

        def endless():
            for number in range(10**9):
                taken.append(number)
                yield number

        answers = run.each(lambda number: (gate.wait(), number)[1], endless())
        assert {next(answers), next(answers)} <= set(taken) and len(taken) <= 6
        gate.abort()
        with pytest.raises(threading.BrokenBarrierError):
            list(answers)
        assert len(taken) < 20


def test_a_killed_run_is_called_interrupted_by_the_next(sandbox, daemon_for):
    """Also where no service ever starts, as with `once` by cron."""
    from daemon.state import Run

    site = daemon_for(sandbox, rules(ERRORS))
    site.app.state.begin_run(Run("0-killed", "job", "cleanup", "by hand", None, site.clock.now() - timedelta(days=1)))
    site.once()
    assert {run.status for run in site.app.state.runs("job")} == {"interrupted", "done"}


def test_a_run_whose_claim_was_removed_ends_at_its_next_step(sandbox, daemon_for, tmp_path):
    """Without its lock file and database nothing would keep a second run away, so the first one stops, and says why."""
    seed(sandbox, 2500)
    daemon = daemon_for(sandbox, rules(ERRORS))

    def remove(outcome):
        shutil.rmtree(tmp_path / "state.db.locks", ignore_errors=True)

    report = daemon.once(explain=remove)
    assert report["status"] == "failed" and "state.db.locks" in report["error"]["message"]
    assert report["counts"]["done"] == 1000


def test_a_run_whose_state_was_replaced_ends_with_a_sentence(sandbox, daemon_for, tmp_path):
    """A database that does not know the run any more is told, as is one that is gone."""
    seed(sandbox)
    daemon = daemon_for(sandbox, rules(ERRORS))

    def replace(outcome):
        for file in tmp_path.glob("state.db*"):
            shutil.rmtree(file) if file.is_dir() else file.unlink()
        State.open(tmp_path / "state.db").close()
        daemon.app.state._database.engine.dispose()

    with pytest.raises(StateError, match="does not know run"):
        daemon.once(explain=replace)
