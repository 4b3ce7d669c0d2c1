"""What tests share: a sandbox, an app that works against it, and a clock that does not wait."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from daemon import cli, config
from daemon.app import App
from daemon.runner import Order
from daemon.sandbox import Sandbox
from tests.postgresql import Cluster, running

# A loaded machine is slow, which disproves nothing.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")


class FakeClock:
    """Starts at the true time; waiting takes no time and moves it on."""

    def __init__(self, on_pause: Callable[[], None] = lambda: None) -> None:
        self.moment = datetime.now(UTC)
        self.passed = 0.0
        self.pauses: list[float] = []
        self._on_pause = on_pause

    def now(self) -> datetime:
        return self.moment + timedelta(seconds=self.passed)

    def monotonic(self) -> float:
        return self.passed

    def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.passed += seconds
        self._on_pause()


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """An empty Frappe 15."""
    with Sandbox("15") as served:
        yield served


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Cluster]:
    with running() as cluster:
        yield cluster


class Daemon:
    """The daemon, set up against a sandbox by a piece of TOML that holds its jobs."""

    def __init__(
        self,
        sandbox: Sandbox,
        folder: Path,
        jobs: str,
        user: str = "Administrator",
        top: str = "",
        environ: Mapping[str, str] = {},
        concurrency: int = 4,
        state: str = 'path = "state.db"',
    ) -> None:
        key, secret = sandbox.keys.get(user, ("a-wrong-key", "a-wrong-secret"))
        self.file = folder / "config.toml"
        site = f'url = "{sandbox.url}"\napi_key = {{ env = "KEY" }}\napi_secret = {{ env = "SECRET" }}'
        site += f"\nconcurrency = {concurrency}"
        self.file.write_text(f"[site]\n{site}\n[state]\n{state}\n{top}\n{jobs}")
        self.environ = {"KEY": key, "SECRET": secret, **environ}
        self.clock = FakeClock(sandbox.drain)
        self.app = App(config.load(self.file, self.environ), clock=self.clock, log_format="json")

    def once(self, job: str = "job", **order: Any) -> dict[str, Any]:
        """The report of one run."""
        return self.app.runner.run(Order(self.app.job(job), self.app.new_run_id(), "by hand", **order))


@pytest.fixture
def daemon_for(tmp_path: Path) -> Iterator[Callable[..., Daemon]]:
    """Makes daemons and closes them."""
    made: list[Daemon] = []

    def make(sandbox: Sandbox, jobs: str, folder: Path = tmp_path, **more: Any) -> Daemon:
        made.append(Daemon(sandbox, folder, jobs, **more))
        return made[-1]

    yield make
    for one in made:
        one.app.close()


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs a command; returns (exit code, standard output, standard error). Neither ever shows a traceback."""

    def command(*arguments: object, environ: dict[str, str] | None = None) -> tuple[int, str, str]:
        for name, value in (environ or {}).items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit) as ended:
            cli.main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return int(ended.value.code or 0), out, err

    return command


def rules(*lines: str, job: str = "") -> str:
    """A clean-up job called `job` with one rule for each of `lines`."""
    head = f'[jobs.job]\nkind = "cleanup"\nschedule = "daily"\n{job}\n'
    return head + "\n".join(f"[[jobs.job.rules]]\n{line}" for line in lines)


def days_ago(days: float, now: datetime | None = None) -> str:
    """A site datetime (America/New_York) that long ago."""
    from zoneinfo import ZoneInfo

    moment = (now or datetime.now(UTC)) - timedelta(days=days)
    return moment.astimezone(ZoneInfo("America/New_York")).replace(tzinfo=None).isoformat(" ", "microseconds")
