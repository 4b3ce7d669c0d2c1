"""What the process itself costs: to start, and to wait."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench.figures import Figure
from bench.served import ROOT, Served
from daemon.config import load
from daemon.shipped import EXAMPLE
from daemon.state import State

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
            percent, memory = _at_rest(daemon.pid)
        finally:
            daemon.terminate()
            daemon.wait(60)
        if daemon.returncode or "job.scheduled" not in log.read_text() or "run.started" in log.read_text():
            raise RuntimeError(f"the daemon was not idle (exit code {daemon.returncode}): {log.read_text()}")
    yield Figure(PART, f"idle daemon over {WATCH} s", percent, "% CPU", wanted="below 0.2 %")
    yield Figure(PART, "idle daemon, resident memory", memory, "MB", wanted="below 80 MB")


def _at_rest(pid: int) -> tuple[float, float]:
    """Per cent of a CPU and MB of a daemon that has begun to wait."""
    time.sleep(SETTLE)
    before, begun = _cpu_seconds(pid), time.perf_counter()
    time.sleep(WATCH)
    percent = 100 * (_cpu_seconds(pid) - before) / (time.perf_counter() - begun)
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    return percent, next(int(line.split()[1]) / 1000 * 1.024 for line in status if line.startswith("VmRSS"))


def many_jobs() -> Iterator[Figure]:
    """Fifty jobs, and a thousand: from the start to the first run of a slot that was missed, at rest, and `jobs`."""
    for number in (50, 1000):
        with tempfile.TemporaryDirectory(prefix="frappe-daemon-bench-") as folder, Served({}) as served:
            file, environ = _with_jobs(Path(folder), served, number), served.environ()
            shown = _spent([COMMAND, "jobs", "--json", "-c", str(file)], environ)[0]
            begun = time.perf_counter()
            command = [COMMAND, "run", "--log-format", "json", "-c", str(file)]
            daemon = subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, cwd=ROOT, text=True)
            try:
                log = iter(daemon.stderr or ())
                next(line for line in log if '"run.started"' in line)
                started = time.perf_counter() - begun
                next(line for line in log if '"run.finished"' in line)
                percent, memory = _at_rest(daemon.pid)
            finally:
                daemon.terminate()
                daemon.communicate(timeout=60)
        what = f"{number:,} jobs"
        yield Figure(PART, f"{what}, start to first run", started, "s", wanted="below 1 s with 50")
        yield Figure(PART, f"{what}, `jobs`", shown / 1000, "s")
        yield Figure(PART, f"{what}, idle over {WATCH} s", percent, "% CPU", wanted="below 0.2 % with 50")
        yield Figure(PART, f"{what}, idle, resident memory", memory, "MB", wanted="below 80 MB with 50")


def _with_jobs(folder: Path, served: Served, number: int) -> Path:
    """A configuration and a state that knows all jobs, of which the first has missed a slot."""
    rule = '\ndoctype = "Error Log"\nolder_than = "30d"\nstrategy = "rows"\n'
    jobs = (
        f'[jobs.j{n}]\nkind = "cleanup"\nschedule = "{n % 60} {n % 24} 1 1 *"\n[[jobs.j{n}.rules]]{rule}'
        for n in range(number)
    )
    file = folder / "config.toml"
    key = 'api_key = { env = "FRAPPE_API_KEY" }\napi_secret = { env = "FRAPPE_API_SECRET" }'
    file.write_text(f'[site]\nurl = "{served.url}"\n{key}\n[state]\npath = "state.db"\n' + "".join(jobs))
    now = datetime.now(UTC)
    with State.open(folder / "state.db") as state:
        state.remember_site(served.url, {"time_zone": "UTC"})
        for name, job in load(file, served.environ()).jobs.items():
            state.settle_slot(name, now - timedelta(days=800) if name == "j0" else now, job.schedule.text)
    return file


def _cpu_seconds(pid: int) -> float:
    """Of all threads, to the nanosecond; /proc/…/stat counts in hundredths of a second."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9
