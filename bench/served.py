"""A sandbox in a process of its own, with as many rows as wanted, and the daemon's commands in processes of their own.

The client under measurement must not share an interpreter with the site that answers it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Self

import httpx

from daemon.app import SystemClock
from daemon.site.client import Site
from daemon.site.limiter import Limiter
from daemon.site.transport import Transport

OLD, YOUNG = 40, 1
"""Days of age: rows that a rule of 30 days takes, and rows that it leaves."""
RULE_DAYS = 30
VERSIONS_OF_EACH = 20
"""Version rows of each document."""

PEOPLE = 200
"""Owners of Contracts."""


def person(number: int) -> str:
    return f"p{number:04}@example.com"


class Served:
    """A sandbox process for as long as the `with` lasts, with `rows` = {DocType: (old ones, young ones)}."""

    def __init__(
        self, rows: Mapping[str, tuple[int, int]], *, version: str = "15", bulk: bool = False, file: Path | None = None
    ) -> None:
        command = [sys.executable, "-m", "bench.served", "--version", version, "--rows", json.dumps(rows)]
        command += ["--bulk"] * bulk + (["--file", str(file)] if file else [])
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the sandbox did not start (exit code {self._process.wait()})")
        ready = json.loads(line)
        self.url: str = ready["url"]
        self.keys: dict[str, tuple[str, str]] = {user: (key, secret) for user, (key, secret) in ready["keys"].items()}
        self.seeding: float = ready["seconds"]
        self.pid = self._process.pid

    @property
    def key(self) -> tuple[str, str]:
        return self.keys["Administrator"]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._process.terminate()
        with self._process:  # waits, and closes the pipe
            pass

    def count(self, doctype: str, filters: Any = None) -> int:
        asked = {"doctype": doctype, "filters": filters}
        return int(httpx.post(f"{self.url}/_sandbox/count", json=asked, timeout=120).json())

    def requests(self) -> int:
        return len(httpx.get(f"{self.url}/_sandbox/requests", timeout=120).json())

    def site(self, concurrency: int = 4) -> Site:
        """Our client, as a run has it."""
        return open_site(self.url, *self.key, concurrency)

    def environ(self) -> dict[str, str]:
        key, secret = self.key
        return {**os.environ, "FRAPPE_API_KEY": key, "FRAPPE_API_SECRET": secret}


ROOT = Path(__file__).resolve().parent.parent


def open_site(url: str, key: str, secret: str, concurrency: int = 4) -> Site:
    import threading
    import time

    clock = SystemClock(threading.Event())
    limiter = Limiter(concurrency, time.monotonic)
    noted = lambda *_args, **_facts: None  # noqa: E731
    return Site(Transport(url, key=key, secret=secret, limiter=limiter, clock=clock, note=noted, tls=None))


def config(url: str, folder: Path, *rules: str, timeout: str = "3h") -> Path:
    """A file with one clean-up job, `job`, of these rules, each a piece of TOML."""
    file = folder / "config.toml"
    keys = 'api_key = { env = "FRAPPE_API_KEY" }\napi_secret = { env = "FRAPPE_API_SECRET" }'
    head = f'[site]\nurl = "{url}"\n{keys}\n[state]\npath = "state.db"\n[log]\nlevel = "warning"\n'
    job = f'[jobs.job]\nkind = "cleanup"\nschedule = "daily"\ntimeout = "{timeout}"\nguard = {{ max_percent = 100 }}\n'
    job += "report_errors_to_site = false\n"
    file.write_text(head + job + "".join(f"[[jobs.job.rules]]\n{rule}\n" for rule in rules))
    return file


def once(file: Path, environ: Mapping[str, str], *arguments: str) -> tuple[dict[str, Any], int]:
    """(report, peak of resident memory in bytes) of `frappe-daemon once job` in a process of its own."""
    with tempfile.NamedTemporaryFile(prefix="frappe-daemon-peak-") as peak:
        command = [sys.executable, "-c", _WITH_PEAK, peak.name, "once", "job", "-c", str(file), "--json", *arguments]
        ended = subprocess.run(command, env=dict(environ), cwd=ROOT, stdout=subprocess.PIPE, text=True)
        if not ended.stdout:
            raise RuntimeError(f"no report (exit code {ended.returncode})")
        return json.loads(ended.stdout), int(Path(peak.name).read_text())


_WITH_PEAK = """
import sys
from pathlib import Path
from daemon.cli import main

def peak():
    # ru_maxrss would do, but Linux hands the parent's peak on through exec (fs/exec.c:exec_mmap).
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    except OSError:
        import resource
        found = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return found if sys.platform == "darwin" else found * 1024

try:
    main(sys.argv[2:])
finally:
    Path(sys.argv[1]).write_text(str(peak()))
"""


# Within the child


def _serve() -> None:
    import time

    from daemon.sandbox import Sandbox
    from daemon.sandbox.serve import serve

    parser = argparse.ArgumentParser()
    parser.add_argument("--version", default="15")
    parser.add_argument("--bulk", action="store_true")
    parser.add_argument("--rows", type=json.loads, default={})
    parser.add_argument("--file", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="frappe-daemon-bench-") as folder:
        file = asked.file or Path(folder) / "site.db"
        begun = time.perf_counter()
        with Sandbox(asked.version, path=file) as sandbox:
            now = datetime.fromisoformat(sandbox.site.now())
            for doctype, (old, young) in asked.rows.items():
                sandbox.seed(doctype, _rows(doctype, old, young, now))
        seconds = time.perf_counter() - begun

        def ready(url: str, keys: dict[str, tuple[str, str]]) -> None:
            print(json.dumps({"url": url, "keys": keys, "seconds": seconds}), flush=True)

        serve(port=0, version=asked.version, bulk=asked.bulk, data="empty", path=file, on_ready=ready)


def _rows(doctype: str, old: int, young: int, now: datetime) -> Iterator[dict[str, Any]]:
    """`old` rows of 40 days and more, then `young` ones of a day; each moment within a second is its own."""
    for days, number in ((OLD, old), (YOUNG, young)):
        first = now - timedelta(days=days, seconds=number)
        for n in range(number):
            # Every other row shares its stamp with the one before, as rows of one transaction do.
            stamp = (first + timedelta(seconds=n - n % 2)).isoformat(" ", "microseconds")
            yield {"name": f"{days}-{n:07}", "creation": stamp, **_fields(doctype, n, now)}


def _fields(doctype: str, n: int, now: datetime) -> dict[str, Any]:
    match doctype:
        case "Contract":
            return {"end_date": str((now + timedelta(days=n % 30)).date()), "owner": person(n % PEOPLE)}
        case "User":
            return {"name": person(n), "email": person(n), "full_name": f"Person {n}", "enabled": 1, "language": "en"}
        case "Version":
            document = f"SAL-ORD-{n // VERSIONS_OF_EACH:06}"
            return {
                "ref_doctype": "Sales Order",
                "docname": document,
                "data": '{"changed":[["status","Draft","Open"]]}',
            }
        case "Error Log":
            trace = f"Traceback (most recent call last):\n  File x, line {n}, in y\nValueError: {n}"
            return {"method": f"orders.sync {n % 7}", "error": trace, "seen": 0}
        case "User":
            facts = {
                "email": f"reader{n}@example.com",
                "full_name": f"Reader {n}",
                "language": ("en", "de", "ar")[n % 3],
            }
            return {**facts, "enabled": 1}
        case _:
            return {}


if __name__ == "__main__":
    _serve()
