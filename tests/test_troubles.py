"""Nights that go wrong: clocks, disks, files. Each is told with what to do, and nothing is lost by it."""

from __future__ import annotations

import errno
import json
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import event

from daemon.errors import ClockSkew, Exit, StateError
from daemon.sandbox import Fault
from daemon.service import JUMP, RETRY_STATE, Service
from daemon.state import Run
from daemon.state.faults import of_sqlite, told
from daemon.state.store import State
from tests.conftest import days_ago, rules
from tests.live import RULE, Live
from tests.test_service import ZONE, now_at

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@pytest.fixture
def daily(capsys, sandbox, daemon_for, monkeypatch):
    """A daemon with one job, daily at midnight, that was dealt with yesterday."""
    monkeypatch.setattr("daemon.runner.LARGEST_SKEW", timedelta(days=40000))
    sandbox.seed("Error Log", [{"creation": days_ago(60), "method": "x"}])
    site = daemon_for(sandbox, rules(RULE))
    site.app.state.remember_site(sandbox.url, {"time_zone": ZONE.key})
    return site


def started(site) -> Service:
    service = Service(site.app)
    service._start_over()
    return service


def events(capsys) -> list[dict]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


@pytest.mark.parametrize("has_run", [True, False])
def test_a_clock_at_1970_keeps_all_jobs_waiting_until_it_is_right(has_run, daily, sandbox, capsys):
    """It is behind the last run, or was never set: it is told, nothing runs and nothing is settled; once it is right
    the schedule goes on where it was."""
    daily.once() if has_run else None
    sandbox.faults.add(Fault("cut"))  # nobody there to ask
    right = daily.clock.moment
    daily.clock.moment = EPOCH
    seen = []

    def later() -> None:
        seen.append(daily.clock.pauses[-1])
        if len(seen) == 3:
            daily.clock.moment = right

    daily.clock._on_pause = later
    service = started(daily)
    for _ in range(3):
        message = service._inbox.get(timeout=30)
        assert message[0] == "awaited" and isinstance(message[2], ClockSkew) and "NTP" in message[2].action
        service._take(*message)
    (trouble,) = service.standing().trouble
    assert "no job runs yet: this machine's clock shows 1970-01-01T00:00" in trouble
    assert service._scheduler.get_jobs() == [] and daily.app.state.slots() == {}
    service._take(*service._inbox.get(timeout=30))
    assert service.standing().trouble == [] and daily.app.state.slot("job").slot >= right
    service._scheduler.shutdown()


def test_a_clock_that_was_ahead_once_is_believed_again_where_the_site_agrees(daily, capsys, monkeypatch):
    """Else a single run of a wrong year would stop all jobs until that year."""
    monkeypatch.setattr("daemon.runner.LARGEST_SKEW", timedelta(days=40000))
    daily.clock.moment += timedelta(days=3650)
    daily.once()
    daily.clock.moment -= timedelta(days=3650)
    service = started(daily)
    assert service._inbox.get(timeout=30)[0] == "zone"
    assert [event["event"] for event in events(capsys)].count("clock.confirmed") == 1


@pytest.mark.parametrize("days", [-0.2, 3])
def test_a_clock_that_jumps_makes_all_wake_ups_anew(days, daily, capsys):
    """Also where the machine slept, for then the time of day jumps while no time passed: back repeats nothing, forward
    is caught up once."""
    daily.clock.moment = now_at(6)
    daily.app.state.settle_slot("job", now_at(0), "daily")
    service = started(daily)
    service._take(*service._inbox.get(timeout=30))
    service._scheduler.pause()
    service._heed_clock()
    daily.clock.moment += timedelta(days=days)
    service._heed_clock()
    assert "clock.jumped" in {event["event"] for event in events(capsys)}
    service._take(*service._inbox.get(timeout=30))
    for _ in range(2):
        service._work_off("job")
    runs = daily.app.state.runs("job")
    assert [(run.reason, run.report["missed"]) for run in runs] == ([("catch-up", 3)] if days > 0 else [])
    service._scheduler.shutdown()


def test_a_clock_that_is_only_corrected_changes_nothing(daily):
    """NTP moves it by little at a time."""
    service = Service(daily.app)
    daily.clock.moment += timedelta(seconds=JUMP - 1)
    service._heed_clock()
    assert service._search == 0


def fill(state: State) -> None:
    """Until the database does not grow any more: its disk is full."""

    def bound(connection, record) -> None:
        connection.execute("PRAGMA max_page_count=1")

    event.listen(state._database.engine, "connect", bound)
    state._database.engine.dispose()
    for size in (100_000, 1000, 10):
        with pytest.raises(StateError):
            for number in range(10_000):
                filler = {"x": "x" * size}
                state.begin_run(Run(f"{size} {number}", "filler", "cleanup", "by hand", None, EPOCH, report=filler))
    state.make_room = lambda: event.remove(state._database.engine, "connect", bound) or state._database.engine.dispose()


def test_a_full_disk_loses_no_slot_and_stops_no_service(daily, capsys):
    """A run that cannot be written down is not begun; it is told, and tried again until there is room."""
    service = Service(daily.app)
    service.follow(daily.app.config.jobs.values(), ZONE)
    daily.app.state.reset_slot("job")
    daily.app.state.settle_slot("job", daily.clock.now() - timedelta(days=1), "daily")
    fill(daily.app.state)
    service._tell_interrupted()
    service._work_off("job")
    failed = next(event for event in events(capsys) if event["event"] == "job.failed")
    assert "the disk is full" in failed["error"] and "Free some space" in failed["action"]
    again = service._scheduler.get_job("job again")
    assert again.trigger.run_date == daily.clock.now() + timedelta(seconds=RETRY_STATE)
    daily.app.state.make_room()
    service._work_off(*again.args)
    (run,) = daily.app.state.runs("job")
    assert run.status == "done" and daily.app.state.slot("job").slot == run.slot


def test_a_full_disk_ends_a_start_with_a_code_that_systemd_tries_again():
    """What a restart may find mended is told apart from what it will not."""
    for number, code in ((errno.ENOSPC, Exit.SITE_UNAVAILABLE), (errno.EROFS, Exit.CONFIGURATION)):
        with pytest.raises(StateError) as found, told("state.db", of_sqlite):
            raise OSError(number, "said", "state.db")
        assert found.value.exit_code == code


def no_database(site) -> None:
    site.file.with_name("state.db").write_bytes(b"no database at all" * 500)


def damaged(site) -> None:
    site.app.close()
    file = site.file.with_name("state.db")
    for beside in ("-wal", "-shm"):
        file.with_name(f"state.db{beside}").unlink(missing_ok=True)
    content = bytearray(file.read_bytes())
    content[100:] = b"\xff" * (len(content) - 100)
    file.write_bytes(content)


def in_no_directory(site) -> None:
    """As a directory that cannot be written, also for root."""
    site.file.write_text(site.file.read_text().replace('"state.db"', '"file/state.db"'))
    site.file.with_name("file").write_text("")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [(no_database, "is no SQLite database"), (damaged, "is damaged"), (in_no_directory, "cannot be used: ")],
)
def test_a_state_that_cannot_be_used_ends_the_start_with_a_sentence(spoil, said, sandbox, daemon_for):
    """What, why and what to do, on standard error; the code says that a restart will not help; the file stays."""
    site = daemon_for(sandbox, rules(RULE))
    site.app.state.settle_slot("job", datetime.now(UTC), "daily") if spoil is damaged else None
    spoil(site)
    file = site.file.with_name("state.db")
    before = file.read_bytes() if file.exists() else None
    with Live(site) as live:
        assert live.end() == Exit.CONFIGURATION
    text = "".join(live.other)
    assert said in text and "→" in text and "Traceback" not in text
    assert (file.read_bytes() if file.exists() else None) == before


def test_an_inbox_that_cannot_be_used_is_told_and_stops_no_other_job(sandbox, daemon_for, tmp_path):
    """Who must do what; a file stands where the directory should be, which hinders root too."""
    inbox = '[jobs.calls]\nkind = "import"\nschedule = "daily"\ninbox = "inbox"\ndoctype = "ToDo"\n'
    site = daemon_for(sandbox, rules(RULE) + "\n" + inbox)
    (tmp_path / "inbox").write_text("")
    found = site.once("calls")
    text = json.dumps(found)
    assert found["status"] == "failed" and "inbox" in text and "bug of frappe-daemon" not in text
    errors = [found["error"], *(part["error"] for part in found["parts"])]
    assert all(error["who"] == "operator" and error["action"] for error in errors if error)
    assert site.once()["status"] == "done"
