"""`make demo`: the shipped configuration, every job once, against a sandbox with a believable amount of data."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from daemon import config
from daemon.app import App
from daemon.runner import Order

_BESIDE = Path(__file__).parent
SHIPPED = next(
    (path for path in (_BESIDE / "config.example.toml", _BESIDE.parent / "config.toml") if path.exists()),
    Path("config.toml"),
)
"""config.toml as it ships: inside an installed package under its other name, else at the top of the checkout."""


def reports(version: str) -> Iterator[dict[str, Any]]:
    """The report of each job, as it ends.

    The key is Administrator's, since Version and Email Queue rows yield to nobody else.
    """
    from daemon.sandbox import Sandbox

    with (
        tempfile.TemporaryDirectory(prefix="frappe-daemon-demo-") as folder,
        Sandbox(version=version, data="demo") as site,
    ):
        key, secret = site.keys["Administrator"]
        loaded = config.load(
            SHIPPED,
            {"KEY": key, "SECRET": secret},
            replace={
                "site": {"url": site.url, "api_key": {"env": "KEY"}, "api_secret": {"env": "SECRET"}},
                "state": {"path": f"{folder}/state.db"},
            },
        )
        app = App(loaded, log_level="warning")
        try:
            for job in loaded.jobs.values():
                yield app.runner.run(Order(job, app.new_run_id(), "by hand"))
        finally:
            app.close()
