"""A daemon as a process of its own, with somebody who listens as systemd does: for tests of the running service."""

from __future__ import annotations

import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Self

RULE = 'doctype = "Error Log"\nolder_than = "30d"\nstrategy = "rows"\nguard = { max_percent = 100 }'
BOTH = "\n".join(
    f'[jobs.{name}]\nkind = "cleanup"\nschedule = "daily"\n[[jobs.{name}.rules]]\n{RULE}' for name in ("hangs", "other")
)
"""Two jobs, of which one may be made to hang."""
HANG = """
import re, threading
from daemon import app, runner
from daemon.jobs import cleanup
parts = cleanup.parts
def hanging(run, settings):
    if run.job == "hangs":
        HOW
    return parts(run, settings)
cleanup.parts = hanging
runner.SILENCE = 0.2
app._longest_request = lambda timeouts: 0.0
"""
"""`patch` for Live: how the job `hangs` does so stands in the place of HOW, and silence is soon unlawful."""
PATIENCE = 30.0
"""Seconds after which what did not come is taken for never coming; a loaded machine may be slow."""


class Manager:
    """What systemd hears from its service (sd_notify(3))."""

    def __init__(self, address: str = "") -> None:
        self.address = address or f"@frappe-daemon-{uuid.uuid4()}"
        self.heard: list[dict[str, str]] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + self.address[1:] if self.address.startswith("@") else self.address)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._socket.close()

    def hear(self, seconds: float = PATIENCE) -> dict[str, str]:
        """The next message. Raises TimeoutError."""
        self._socket.settimeout(seconds)
        lines = self._socket.recv(65536).decode().splitlines()
        self.heard.append(dict(line.split("=", 1) for line in lines))
        return self.heard[-1]

    def until(self, key: str, holds: Callable[[str], bool] = lambda _: True) -> dict[str, str]:
        """The first message from now on with a `key` for which `holds`."""
        while True:
            found = self.hear()
            if key in found and holds(found[key]):
                return found


class Live:
    """`frappe-daemon run`; its log as it comes. Killed at the end of the block if it still lives."""

    def __init__(self, site: Any, manager: Manager | None = None, watchdog: float = 0.0, patch: str = "") -> None:
        """`patch`: Python that is run before the command, in its process."""
        environ = os.environ | site.environ
        environ.pop("NOTIFY_SOCKET", None)
        if manager:
            environ["NOTIFY_SOCKET"] = manager.address
        if watchdog:
            environ["WATCHDOG_USEC"] = str(int(watchdog * 1e6))
        code = f"{patch}\nimport sys\nfrom daemon.cli import main\nmain(sys.argv[1:])"
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, "run", "--config", str(site.file)],
            stderr=subprocess.PIPE, text=True, env=environ,
        )  # fmt: skip
        self.events: list[dict[str, Any]] = []
        self.other: list[str] = []
        """Lines that are no log."""
        self._lines: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stderr or ():
            try:
                self._lines.put(json.loads(line))
            except ValueError:
                self.other.append(line)
        self._lines.put(None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._reader.join()
        if self.process.stderr:
            self.process.stderr.close()

    def until(self, event: str, **facts: Any) -> dict[str, Any]:
        """The next line of the log that is this event with these facts. Raises AssertionError where it ends before."""
        while True:
            try:
                found = self._lines.get(timeout=PATIENCE)
            except queue.Empty:
                raise AssertionError(f"no {event} {facts} in {PATIENCE} s after {self.events[-5:]}") from None
            assert found is not None, (event, facts, self.events[-5:], self.other)
            self.events.append(found)
            if found["event"] == event and all(found.get(key) == value for key, value in facts.items()):
                return found

    def so_far(self) -> list[dict[str, Any]]:
        """The log as far as it has come."""
        while not self._lines.empty() and (found := self._lines.get()):
            self.events.append(found)
        return self.events

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self) -> int:
        """The exit code, once the process has ended by itself; the rest of the log is read."""
        code = self.process.wait(PATIENCE)
        while (found := self._lines.get(timeout=PATIENCE)) is not None:
            self.events.append(found)
        return code

    def stop(self) -> int:
        self.send(signal.SIGTERM)
        return self.end()


def owed(site, *jobs: str) -> None:
    """A slot of each job was missed."""
    for job in jobs:
        site.app.state.settle_slot(job, datetime.now(UTC) - timedelta(days=2), site.app.job(job).schedule.text)
