"""What the process itself costs: to start, and to wait."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.figures import Figure
from bench.served import ROOT, Served
from daemon.shipped import EXAMPLE

BEST_OF = 7
SETTLE, WATCH = 5, 20
"""Seconds."""
COMMAND = str(Path(sys.executable).parent / "frappe-daemon")
PART = "process"


def start_up() -> Iterator[Figure]:
    """A command that does next to nothing, against importing what it cannot do without."""
    environ = {**os.environ, "FRAPPE_API_KEY": "key", "FRAPPE_API_SECRET": "secret"}
    ours = [COMMAND, "check", "--offline", "-c", str(EXAMPLE)]
    bare = [sys.executable, "-c", "import httpx, pydantic"]
    times: dict[str, list[tuple[float, float]]] = {"ours": [], "bare": []}
    for _ in range(BEST_OF):
        times["ours"].append(_spent(ours, environ))
        times["bare"].append(_spent(bare, environ))
    for number, unit in enumerate(("ms", "ms CPU")):
        mine, other = (min(found[number] for found in times[who]) for who in ("ours", "bare"))
        yield Figure(
            PART, f"start-up: check --offline, best of {BEST_OF}", mine, unit, other, "import httpx, pydantic",
            "ratio at most 2.5",
        )  # fmt: skip


def _spent(command: Sequence[str], environ: dict[str, str]) -> tuple[float, float]:
    """Milliseconds on the wall and of CPU."""
    begun = time.perf_counter()
    process = subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, cwd=ROOT)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with exit code {process.returncode}")
    return (time.perf_counter() - begun) * 1000, (usage.ru_utime + usage.ru_stime) * 1000


def idle() -> Iterator[Figure]:
    """The daemon with the shipped configuration between two slots. Linux only."""
    if not Path("/proc/self/task").is_dir():
        return
    with tempfile.TemporaryDirectory(prefix="frappe-daemon-bench-") as folder, Served({}) as served:
        text = EXAMPLE.read_text().replace("https://erp.example.com", served.url)
        file = Path(folder) / "config.toml"
        file.write_text(text.replace("/var/lib/frappe-daemon/state.db", f"{folder}/state.db"))
        log = Path(folder) / "log"
        with log.open("w") as stream:
            daemon = subprocess.Popen([COMMAND, "run", "-c", str(file)], env=served.environ(), stderr=stream, cwd=ROOT)
        try:
            time.sleep(SETTLE)
            before, begun = _cpu_seconds(daemon.pid), time.perf_counter()
            time.sleep(WATCH)
            percent = 100 * (_cpu_seconds(daemon.pid) - before) / (time.perf_counter() - begun)
            status = Path(f"/proc/{daemon.pid}/status").read_text().splitlines()
            memory = next(int(line.split()[1]) / 1000 * 1.024 for line in status if line.startswith("VmRSS"))
        finally:
            daemon.terminate()
            daemon.wait(60)
        if daemon.returncode or "job.scheduled" not in log.read_text() or "run.started" in log.read_text():
            raise RuntimeError(f"the daemon was not idle (exit code {daemon.returncode}): {log.read_text()}")
    yield Figure(PART, f"idle daemon over {WATCH} s", percent, "% CPU", wanted="below 0.2 %")
    yield Figure(PART, "idle daemon, resident memory", memory, "MB", wanted="below 80 MB")


def _cpu_seconds(pid: int) -> float:
    """Of all threads, to the nanosecond; /proc/…/stat counts in hundredths of a second."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9
