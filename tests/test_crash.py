"""kill -9 at any moment of a clean-up: the next run converges, and nothing is lost or taken twice."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import zlib
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from daemon.sandbox import Sandbox
from tests.conftest import days_ago, rules


def archived(folder: Path) -> list[str]:
    """Names in the archives, of whole members only: what a kill cut short is not read."""
    found = []
    for file in sorted(folder.glob("*.gz")):
        data = file.read_bytes()
        while data:
            member = zlib.decompressobj(wbits=31)
            try:
                text = member.decompress(data)
            except zlib.error:
                break
            if not member.eof:
                break
            found += [json.loads(line)["name"] for line in text.splitlines()]
            data = member.unused_data
    return found


class KillAt:
    """Kills a process as the sandbox takes its `number`th request that matches."""

    def __init__(self, sandbox: Sandbox, number: int, path: str) -> None:
        self.sandbox, self.number, self.path = sandbox, number, path
        self.process: subprocess.Popen | None = None
        self._hit = sandbox.faults.hit
        sandbox.wire.faults = self

    def hit(self, method: str, path: str) -> list:
        if self.path in path and self.process and self.process.poll() is None:
            self.number -= 1
            if self.number == 0:
                self.process.send_signal(signal.SIGKILL)
                self.process.wait()
        return self._hit(method, path)


@pytest.mark.parametrize(("number", "path"), [(1, "delete_items"), (7, "delete_items"), (11, "delete_items"),
                                              (1, "get_list"), (2, "get_list"), (3, "resource/Error")])  # fmt: skip
def test_a_killed_clean_up_is_finished_by_the_next_one(number, path, sandbox, daemon_for, tmp_path):
    """Whatever it was doing: the matching rows go, the others stay, and each row that went is in an archive."""
    sandbox.seed("Error Log", ({"creation": days_ago(50 + n / 1e4), "method": "old"} for n in range(1200)))
    sandbox.seed("Error Log", ({"creation": days_ago(1), "method": "young"} for _ in range(3)))
    old = {row["name"] for row in sandbox.rows("Error Log", {"method": "old"}, ["name"])}
    rule = 'doctype = "Error Log"\nolder_than = "30d"\nstrategy = "rows"\narchive = "archive"\nlimit = 1100'
    site = daemon_for(sandbox, rules(rule))
    killer = KillAt(sandbox, number, path)
    command = [sys.executable, "-m", "daemon", "once", "job", "--config", str(site.file)]
    with subprocess.Popen(
        command, env=os.environ | site.environ, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as killer.process:
        pass
    assert killer.process.returncode == -signal.SIGKILL
    gone = old - {row["name"] for row in sandbox.rows("Error Log", {"method": "old"}, ["name"])}
    assert gone <= set(archived(tmp_path / "archive"))
    (run,) = site.app.state.interrupt_unfinished(site.clock.now())
    assert run.status == "interrupted"
    assert site.once()["status"] == site.once()["status"] == "done"
    assert sandbox.rows("Error Log", fields=["method"]) == [{"method": "young"}] * 3
    assert set(archived(tmp_path / "archive")) == old
    assert sandbox.count("Deleted Document", {"deleted_doctype": "Error Log"}) == 1200


@pytest.mark.parametrize(("number", "path"), [(1, "delete_items"), (6, "delete_items"), (2, "resource/Error")])
def test_a_service_killed_in_a_clean_up_makes_up_for_its_slot_after_the_restart(
    number, path, sandbox, daemon_for, tmp_path
):
    """The slot that was being worked on is not lost: the next start runs it to its end, once, and settles it."""
    sandbox.seed("Error Log", ({"creation": days_ago(50 + n / 1e4), "method": "old"} for n in range(1200)))
    sandbox.seed("Error Log", [{"creation": days_ago(1), "method": "young"}])
    site = daemon_for(sandbox, rules('doctype = "Error Log"\nolder_than = "30d"\nstrategy = "rows"'))
    yesterday = site.clock.now() - timedelta(days=1)
    site.app.state.settle_slot("job", yesterday, site.app.job("job").schedule.text)
    killer = KillAt(sandbox, number, path)
    command = [sys.executable, "-m", "daemon", "run", "--config", str(site.file)]
    with subprocess.Popen(
        command, env=os.environ | site.environ, cwd=tmp_path, stderr=subprocess.DEVNULL
    ) as killer.process:
        killer.process.wait(60)
    assert killer.process.returncode == -signal.SIGKILL
    assert sandbox.count("Error Log") > 1 and site.app.state.slot("job").slot == yesterday
    with subprocess.Popen(command, env=os.environ | site.environ, cwd=tmp_path, stderr=subprocess.PIPE) as service:
        events = [json.loads(line) for line in _until(service, b"run.finished")]
        service.send_signal(signal.SIGTERM)
    assert service.returncode == 0 and sandbox.count("Error Log") == 1
    assert {"run.interrupted", "slot.missed"} <= {event["event"] for event in events}
    finished, killed = site.app.state.runs("job")
    assert (killed.status, finished.status, finished.reason) == ("interrupted", "done", "catch-up")
    assert killed.slot == finished.slot == site.app.state.slot("job").slot


def _until(process: subprocess.Popen, event: bytes) -> Iterator[bytes]:
    """Lines of the log up to the one that holds `event`."""
    for line in process.stderr:
        yield line
        if event in line:
            return


def test_archives_of_a_killed_run_can_be_read_by_gzip_up_to_the_cut(tmp_path):
    """Members follow one another, so zcat shows every whole batch before it complains about the last."""
    file = tmp_path / "a.gz"
    file.write_bytes(gzip.compress(b'{"name": 1}\n') + gzip.compress(b'{"name": 2}\n') + gzip.compress(b"x" * 500)[:20])
    assert archived(tmp_path) == [1, 2]
