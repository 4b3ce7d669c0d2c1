"""/healthz: whether this service does its work. Reads and writes nothing.

503 is for what somebody at this machine must mend, or a restart may: no scheduler, a state that cannot be written,
slots for which nothing runs. A site that is away is told and is no 503: a restart of the daemon brings no site back,
and its jobs say so each for itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def judged(view: Mapping[str, Any] | None, *, scheduler: str, state: str) -> tuple[int, dict[str, Any]]:
    """(HTTP status, what is answered). `scheduler` and `state`: what is the matter with it, "" where nothing is.

    `view`: None where the state cannot even be read.
    """
    site = view["site"] if view else {"up": None, "contact": None, "why": ""}
    jobs = view["jobs"] if view else []
    overdue = [{"job": job["name"], "seconds": round(job["lag_seconds"])} for job in jobs if job["state"] == "late"]
    failing = [job["name"] for job in jobs if job["failures"]]
    checks = {
        "scheduler": {"ok": not scheduler, "why": scheduler},
        "state": {"ok": not state, "why": state},
        "jobs": {"ok": not overdue, "overdue": overdue, "failing": failing},
        "site": {"ok": site["up"], "last_contact": site["contact"], "why": site["why"]},
    }
    ok = all(checks[name]["ok"] for name in ("scheduler", "state", "jobs"))
    return (200 if ok else 503), {"status": "ok" if ok else "failing", "checks": checks}
