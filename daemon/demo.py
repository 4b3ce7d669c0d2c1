"""`make demo`: the shipped configuration, every job once, against a sandbox with a believable amount of data."""

from __future__ import annotations

import csv
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from daemon import config
from daemon.app import App
from daemon.runner import Order
from daemon.shipped import EXAMPLE


def reports(version: str) -> Iterator[dict[str, Any]]:
    """The report of each job, as it ends.

    The key is Administrator's, since Version and Email Queue rows yield to nobody else.
    """
    from daemon.sandbox import Sandbox
    from daemon.sandbox.orders import Orders

    with (
        tempfile.TemporaryDirectory(prefix="frappe-daemon-demo-") as folder,
        Sandbox(version=version, data="demo") as site,
        Orders(data="demo") as shop,
    ):
        key, secret = site.keys["Administrator"]
        file = Path(folder, "config.toml")
        text = EXAMPLE.read_text(encoding="utf-8").replace("/var/lib/frappe-daemon", folder)
        file.write_text(text.replace("https://api.example.com/v1", shop.url), encoding="utf-8")
        address = {"url": site.url, "api_key": {"env": "KEY"}, "api_secret": {"env": "SECRET"}}
        loaded = config.load(
            file, {"KEY": key, "SECRET": secret, "EXTERNAL_API_KEY": shop.token}, replace={"site": address}
        )
        _drop_items(Path(folder, "inbox", "items"))
        app = App(loaded, log_level="warning")
        try:
            _set_up(app)
            for user in ("manager@example.com", "clerk@example.com"):
                site.set("User", user, custom_weekly_digest=1)
            for order in site.rows("Sales Order", {"docstatus": 1}, ["name"])[:5]:
                site.set("Sales Order", order["name"], custom_external_sync_pending=1)
            for job in loaded.jobs.values():
                yield app.runner.run(Order(job, app.new_run_id(), "by hand"))
        finally:
            app.close()


def _set_up(app: App) -> None:
    """What `setup --apply` makes for these jobs."""
    from daemon.site import provision

    with app.site() as site:
        wanted = [thing for job in app.config.jobs.values() for thing in _provisions(job, site)]
        for _ in provision.apply(site, provision.to_make(site, wanted)):
            pass


def _provisions(job: Any, site: Any) -> Any:
    ask = getattr(job.kind, "provisions", None)
    return ask(job.settings, site) if ask else ()


def _drop_items(inbox: Path) -> None:
    """A file for the import job, finished a while ago: 500 items, two of which nobody can import."""
    rows = [(f"DEMO-{n:04d}", f"Demo item {n}", "Products", "Nos", f"{n % 90 + 9.5:.2f}") for n in range(498)]
    rows += [("DEMO-0498", "Of a group that is not there", "Antiques", "Nos", "12.00")]
    rows += [("DEMO-0499", "With a price that is none", "Products", "Nos", "on request")]
    inbox.mkdir(parents=True)
    file = inbox / "items-2026.csv"
    with file.open("w", newline="", encoding="utf-8") as stream:
        header = ("Item Code", "Item Name", "Item Group", "Stock UOM", "Standard Rate")
        csv.writer(stream).writerows([header, *rows])
    finished = file.stat().st_mtime - 3600
    os.utime(file, (finished, finished))
