"""Edits of the configuration while the service runs: what changes, what does not, and what is told."""

from __future__ import annotations

import json
import signal
import time
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from daemon import config
from daemon.core.changes import Change, differences
from daemon.core.settings import NamedFunction, Secret
from daemon.jobs import cleanup
from daemon.service import SETTLE, Service
from tests.conftest import days_ago
from tests.live import Live

ZONE = ZoneInfo("America/New_York")


def job(name: str, *lines: str, schedule: str = "daily", age: str = "30d") -> str:
    head = f'[jobs.{name}]\nkind = "cleanup"\nschedule = "{schedule}"\n' + "".join(f"{line}\n" for line in lines)
    rule = f'doctype = "Error Log"\nolder_than = "{age}"\nstrategy = "rows"\nguard = {{ max_percent = 100 }}'
    return f"{head}[[jobs.{name}.rules]]\n{rule}\n"


@pytest.fixture
def running(sandbox, daemon_for, monkeypatch, capsys):
    """A service whose clock shows noon in New York and that keeps the schedule of two jobs; nothing is due."""
    site = daemon_for(sandbox, job("a") + job("b"))
    monkeypatch.setattr(config.load, "__defaults__", (site.environ,))
    site.clock.moment = datetime.now(ZONE).replace(hour=12, minute=0, second=0, microsecond=0).astimezone(UTC)
    site.app.state.remember_site(sandbox.url, {"time_zone": ZONE.key})
    service = Service(site.app)
    service.follow(site.app.config.jobs.values(), ZONE)
    service._scheduler.start(paused=True)
    capsys.readouterr()
    yield site, service
    service._scheduler.shutdown()


def edit(site, text: str, top: str = "") -> None:
    """In place of the jobs, as an editor saves it."""
    head = site.file.read_text().partition("\n[jobs.")[0].partition("\n[service]")[0]
    draft = site.file.with_name("draft")
    draft.write_text(f"{head}\n{top}\n{text}")
    draft.replace(site.file)


def missed(site, name: str) -> None:
    """A slot of this daily job."""
    site.app.state.reset_slot(name)
    site.app.state.settle_slot(name, site.clock.now() - timedelta(days=2), "daily")


def reloaded(service: Service, capsys) -> list[dict]:
    """What is logged."""
    service._reload()
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def wakes(service: Service) -> dict[str, datetime]:
    return {wake.id: wake.next_run_time for wake in service._scheduler.get_jobs()}


def test_jobs_are_added_removed_and_rescheduled_and_the_others_left_alone(running, capsys):
    """Key by key in the log; a job that is as it was keeps its very wake-up."""
    site, service = running
    before = service._scheduler.get_job("a")
    edit(site, job("a") + job("c", schedule="hourly"))
    said = reloaded(service, capsys)
    assert [(event["event"], event.get("job")) for event in said] == [
        ("job.removed", "b"), ("job.added", "c"), ("config.reloaded", None), ("job.scheduled", "c"),
    ]  # fmt: skip
    assert wakes(service).keys() == {"a", "c"} and service._scheduler.get_job("a").trigger is before.trigger
    edit(site, job("a", 'timeout = "2h"', schedule="0 5 * * *") + job("c", schedule="hourly"))
    (changed, *_) = reloaded(service, capsys)
    assert changed["event"] == "job.changed" and changed["job"] == "a"
    assert changed["changes"] == ['schedule: "daily" → "0 5 * * *"', 'timeout: "1h" → "2h"']
    assert wakes(service)["a"].astimezone(ZONE).hour == 5


def test_a_bad_edit_changes_nothing_and_every_problem_is_told(running, capsys):
    """In the log all of them, in the status the first and how many; a good one makes it forgotten."""
    site, service = running
    before, wanted = wakes(service), service.app.config
    edit(site, job("a", "tmeout = 1") + job("b", schedule="dayly"))
    (said,) = reloaded(service, capsys)
    assert said["event"] == "config.refused" and said["level"] == "error" and len(said["problems"]) == 2
    (trouble,) = service.standing().trouble
    assert trouble.startswith("config not reloaded: 2 problems, first: ") and "tmeout" in trouble
    assert wakes(service) == before and service.app.config is wanted
    edit(site, job("a") + job("b"))
    assert [event["event"] for event in reloaded(service, capsys)] == ["config.unchanged"]
    assert service.standing().trouble == []


def test_a_file_that_is_gone_changes_nothing(running, capsys):
    """It is said why, and the next reload is another chance."""
    site, service = running
    site.file.unlink()
    (said,) = reloaded(service, capsys)
    assert "cannot be read" in said["error"] and set(wakes(service)) == {"a", "b"}


def test_a_file_that_is_being_written_to_is_waited_for(running, capsys):
    """Half a file may well be a whole configuration, of fewer jobs: what was written to a moment ago is looked at
    again."""
    site, service = running
    whole, half = job("a") + job("b") + job("c"), job("a")
    edit(site, half)
    changed = config.signature(site.file).changed
    site.clock.moment = changed - timedelta(seconds=site.clock.passed)
    site.clock._on_pause = lambda: edit(site, whole) if len(site.clock.pauses) == 1 else None
    assert "job.removed" not in {event["event"] for event in reloaded(service, capsys)}
    assert wakes(service).keys() == {"a", "b", "c"} and site.clock.pauses


def test_a_file_that_is_written_to_without_end_is_refused(running, capsys):
    """A reload must come to an end, or systemd would give it up."""
    site, service = running

    def write() -> None:
        site.file.write_text(site.file.read_text() + "#")
        site.clock.moment = config.signature(site.file).changed - timedelta(seconds=site.clock.passed)

    site.clock._on_pause = write
    write()
    (said,) = reloaded(service, capsys)
    assert "still being written to" in said["error"] and set(wakes(service)) == {"a", "b"}


def test_a_running_job_ends_as_it_began_and_its_new_schedule_begins_anew(running, capsys, sandbox, monkeypatch):
    """Its settings are those of its start; that it settles its old schedule's slot says nothing of the new one's."""
    site, service = running
    sandbox.seed("Error Log", [{"creation": days_ago(40), "method": "x"}, {"creation": days_ago(20), "method": "x"}])
    missed(site, "a")
    parts = cleanup.parts

    def edited_meanwhile(run, settings):
        edit(site, job("a", schedule="hourly", age="10d") + job("b"))
        service._reload()
        return parts(run, settings)

    monkeypatch.setattr(cleanup, "parts", edited_meanwhile)
    monkeypatch.setattr("daemon.runner.LARGEST_SKEW", timedelta(days=4000))
    service._work_off("a")
    (run,) = site.app.state.runs("a")
    assert run.status == "done" and sandbox.count("Error Log") == 1  # thirty days, as it began
    mark = site.app.state.slot("a")
    assert mark.schedule_text == "hourly" and abs(mark.slot - site.clock.now()) < timedelta(minutes=1)


def test_a_job_that_is_removed_while_it_runs_runs_to_its_end(running, capsys, sandbox, monkeypatch):
    """And is not started again."""
    site, service = running
    missed(site, "a")
    parts = cleanup.parts

    def removed_meanwhile(run, settings):
        edit(site, job("b"))
        service._reload()
        return parts(run, settings)

    monkeypatch.setattr(cleanup, "parts", removed_meanwhile)
    monkeypatch.setattr("daemon.runner.LARGEST_SKEW", timedelta(days=4000))
    service._work_off("a")
    assert [run.status for run in site.app.state.runs("a")] == ["done"]
    said = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert {"event": "job.removed", "running": "its run goes on to its end"}.items() <= next(
        event for event in said if event["event"] == "job.removed"
    ).items()
    service._work_off("a")
    assert len(site.app.state.runs("a")) == 1 and wakes(service).keys() == {"b"}


def test_secrets_level_and_pace_are_taken_over_and_never_shown(running, capsys):
    """The old secret is struck out too: what is under way still has it."""
    site, service = running
    old, new = site.environ["SECRET"], "a-secret-that-was-made-anew"
    site.environ["SECRET"] = new
    text = site.file.read_text().replace("concurrency = 4", "concurrency = 2")
    site.file.write_text(text + '[log]\nlevel = "debug"\n[state]\n'.replace("[state]\n", ""))
    said = reloaded(service, capsys)
    keys = {event["key"]: (event["was"], event["now"]) for event in said if event["event"] == "config.changed"}
    assert keys == {
        "site.api_secret": ("a secret", "a secret"), "site.concurrency": ("4", "2"), "log.level": ('"info"', '"debug"'),
    }  # fmt: skip
    service.app.log.debug("x", text=f"{old} {new}")
    shown = capsys.readouterr().err
    assert "********" in shown and old not in shown + str(said) and new not in shown + str(said)
    assert service.app.limiter.ceiling == 2 == service.app.runner.concurrency
    with service.app.site() as opened:
        assert opened.transport.http.headers["authorization"] != ""


def test_what_cannot_change_in_flight_is_said(running, capsys):
    """Another state would be another memory."""
    site, service = running
    site.file.write_text(site.file.read_text().replace('"state.db"', '"other.db"'))
    (changed, *_) = reloaded(service, capsys)
    assert changed["key"] == "state.path" and changed["effect"] == "takes effect at the next start"


def test_a_certificate_that_cannot_be_used_is_a_bad_edit(running, capsys):
    """It is found before anything is taken over."""
    site, service = running
    site.file.write_text(site.file.read_text().replace('url = "http:', 'ca_file = "nothing.pem"\nurl = "https:'))
    (said,) = reloaded(service, capsys)
    assert said["event"] == "config.refused" and "ca_file" in said["error"] and set(wakes(service)) == {"a", "b"}


def test_another_site_is_asked_for_its_zone(running, capsys):
    """Until it has told it nothing is woken up."""
    site, service = running
    site.file.write_text(site.file.read_text().replace("127.0.0.1", "localhost"))
    reloaded(service, capsys)
    message = service._inbox.get(timeout=20)
    assert message[0] == "zone" and wakes(service) == {}
    service._take(*message)
    assert set(wakes(service)) == {"a", "b"}


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {"b": True}, [Change("k.a", "1", "not set"), Change("k.b", "not set", "true")]),
        ([1, 2], [1, 3], [Change("k[1]", "2", "3")]),
        ([1, 2], [1], [Change("k", "[1, 2]", "[1]")]),
        (Secret("x"), Secret("y"), [Change("k", "a secret", "a secret")]),
        ({"h": Secret("x")}, {"h": "plain"}, [Change("k.h", "a secret", '"plain"')]),
        (timedelta(hours=1), None, [Change("k", '"1h"', "not set")]),
        ("x" * 200, 1, [Change("k", '"' + "x" * 78 + "…", "1")]),
        (NamedFunction("f", lambda x: x + 1), NamedFunction("f", lambda x: x + 1), []),
        (NamedFunction("f", lambda x: x + 1), NamedFunction("f", lambda x: x + 2), [Change("k", '"f"', '"f"')]),
    ],
)
def test_differences_are_told_by_key_and_show_no_secret(old, new, found):
    """Functions are the same where their code is."""
    assert list(differences(old, new, "k")) == found


def test_a_storm_of_edits_loses_doubles_and_half_reads_nothing(sandbox, daemon_for):
    """A hundred edits, half of them bad, each torn in two with a reload in between and one after it: in the end the
    jobs are those of the last good file, and none ever was of half a file or ran twice for a slot."""
    site = daemon_for(sandbox, job("steady") + job("n0"))
    site.app.state.settle_slot("steady", datetime.now(UTC) - timedelta(days=2), "daily")
    head, stalled = site.file.read_text().partition("\n[jobs.")[0], False
    with Live(site) as live:
        live.until("run.finished", job="steady")
        for number in range(1, 101):
            # Cut between two jobs, where half a file is a whole configuration without the steady job.
            halves = f"{head}\n{job(f'n{number}')}", job("steady") if number % 2 == 0 else "[jobs.steady"
            with site.file.open("w") as file:
                file.write(halves[0])
                file.flush()
                torn = time.monotonic()
                live.send(signal.SIGHUP)
                file.write(halves[1])
            stalled = stalled or time.monotonic() - torn > SETTLE.total_seconds() / 2
            live.send(signal.SIGHUP)
            if number % 20 == 0:
                live.until("job.scheduled", job=f"n{number}")
        assert live.stop() == 0
    if stalled:
        pytest.skip("this machine stood still between two halves of a file, for longer than is waited for")
    assert not any(event["event"] == "job.removed" and event["job"] == "steady" for event in live.events)
    added = [event["job"] for event in live.events if event["event"] == "job.added"]
    removed = [event["job"] for event in live.events if event["event"] == "job.removed"]
    assert len(set(added)) == len(added) and ["n0", *added[:-1]] == removed
    assert all(int(name[1:]) % 2 == 0 for name in added)
    assert len(site.app.state.runs("steady")) == 1
    assert not [line for line in live.other if "Traceback" in line]


def test_a_saved_file_is_taken_over_where_that_is_wanted(sandbox, daemon_for):
    """By a rename, as editors do it; by a symbolic link that is turned, as tools do it; a bad one is told once."""
    site = daemon_for(sandbox, job("a"), top="[service]\nreload_on_save = true")
    target = site.file.with_name("v1.toml")
    site.file.rename(target)
    site.file.symlink_to(target)
    with Live(site, patch="import daemon.service\ndaemon.service.QUICK_TICK = 0.05") as live:
        live.until("job.scheduled", job="a")
        for number in (2, 3):
            version = site.file.with_name(f"v{number}.toml")
            version.write_text(target.read_text() + job(f"b{number}"))
            link = site.file.with_name("link")
            link.symlink_to(version)
            link.replace(site.file)
            live.until("job.scheduled", job=f"b{number}")
        edit(site, "[jobs.a")
        live.until("config.refused")
        edit(site, job("c"), top="[service]\nreload_on_save = false")
        live.until("job.scheduled", job="c")
        assert live.stop() == 0
    assert sum(event["event"] == "config.refused" for event in live.events) == 1


def test_a_run_that_begins_while_the_configuration_changes_is_whole(running):
    """Its job and its site come from one configuration: the runner is made for it and never changed."""
    site, service = running
    runner = site.app.runner
    site.file.write_text(site.file.read_text().replace("concurrency = 4", "concurrency = 1"))
    service._reload()
    assert runner.concurrency == 4 and site.app.runner.concurrency == 1 and site.app.runner.running is runner.running
