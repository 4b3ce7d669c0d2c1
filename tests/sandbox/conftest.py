"""A client for the sandbox, and a sandbox in a process of its own that can be killed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from daemon.sandbox import Sandbox

SERVE = """
import json, sys
from pathlib import Path
from daemon.sandbox.serve import serve
path, version, data = sys.argv[1:]
serve(port=0, version=version, data=data, path=Path(path), control=True,
      on_ready=lambda url, keys: print(json.dumps({"url": url, "keys": keys}), flush=True))
"""


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox("15") as served:
        yield served


@pytest.fixture
def http(sandbox: Sandbox) -> Iterator[httpx.Client]:
    """As the System Manager."""
    with client(sandbox.url, sandbox.key, sandbox.secret) as found:
        yield found


def client(url: str, key: str, secret: str) -> httpx.Client:
    headers = {"Authorization": f"token {key}:{secret}", "Accept": "application/json"}
    return httpx.Client(base_url=url, headers=headers, timeout=30)


@dataclass
class Served:
    """A sandbox in another process."""

    process: subprocess.Popen[str]
    http: httpx.Client

    def control(self, what: str, payload: Any = None) -> Any:
        """What an address below /_sandbox/ answers."""
        if payload is None:
            return self.http.get(f"/_sandbox/{what}").json()
        return self.http.post(f"/_sandbox/{what}", json=payload).json()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Callable[..., Served]]:
    """Starts sandboxes in processes of their own, on one file."""
    started: list[Served] = []

    def start(version: str = "15", data: str = "empty") -> Served:
        command = [sys.executable, "-c", SERVE, str(tmp_path / "site.db"), version, data]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout
        ready = json.loads(process.stdout.readline())
        one = Served(process, client(ready["url"], *ready["keys"]["manager@example.com"]))
        started.append(one)
        return one

    yield start
    for one in started:
        one.http.close()
        one.process.kill()
        one.process.wait()
        assert one.process.stdout
        one.process.stdout.close()
