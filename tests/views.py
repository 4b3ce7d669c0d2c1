"""Daemons to look at: facts of jobs that are well, fail, run and wait, for tests of what shows them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from daemon.config import Job, module_of
from daemon.core.alerts import BAD, Episode, Standing, Telling
from daemon.overview import Facts, overview
from daemon.schedule import Schedule
from daemon.state.records import Run, SlotMark

NOW = datetime(2026, 11, 24, 18, 41, 7, tzinfo=UTC)
ZONE = ZoneInfo("America/New_York")
REFUSED = {
    "message": "the site refuses the API key (401 AuthenticationError)",
    "who": "operator",
    "action": "Generate new API keys for the user on the site and put them where site.api_key points.",
}


def job(name: str = "maintenance", schedule: str = "daily", kind: str = "cleanup", **settings: Any) -> Job:
    module = module_of(kind)
    needed = {
        "cleanup": {"rules": [{"doctype": "ToDo", "older_than": timedelta(days=1)}]},
        "import": {"doctype": "Item", "inbox": "/var/inbox"},
        "digest": {"metrics": [{"label": "Orders", "doctype": "Sales Order"}], "to": ["a@example.com"]},
    }[kind]
    made = module.Settings.model_validate({"kind": kind, "schedule": schedule, **needed, **settings})
    return Job(name, module, made, Schedule.parse(schedule), name)


def run(name: str, ago: timedelta, status: str = "done", seconds: float = 3.0, **more: Any) -> Run:
    """One that began so long ago, without a report, as `recent` holds it."""
    started = NOW - ago
    ended = None if status == "running" else started + timedelta(seconds=seconds)
    return Run(f"{name}-{started:%Y%m%dT%H%M%S}", name, "cleanup", "slot", None, started, ended, status, **more)


def report(counts: dict[str, int] | None = None, error: dict[str, str] | None = None, **more: Any) -> dict[str, Any]:
    return {"counts": counts or {}, "error": error, "parts": [], "replies": {"200": 4}, "job": "JOB", **more}


def facts(*jobs: Job, runs: dict[str, list[Run]] | None = None, **more: Any) -> Facts:
    """All of them dealt with up to now, the runs with plain reports, one service."""
    recent = runs or {}
    known = {one.id: report({"done": 120}) for found in recent.values() for one in found}
    marks = {one.name: SlotMark(one.name, NOW, one.schedule.text) for one in jobs}
    standings = {name: standing(found) for name, found in recent.items()}
    services = [{"host": "erp-jobs", "pid": 812, "since": (NOW - timedelta(days=3, hours=4)).isoformat(),
                 "seen": NOW.isoformat(), "version": "0.1.0", "listen": "127.0.0.1:9464"}]  # fmt: skip
    site = {"version": "15.75.0", "apps": {"frappe": "15.75.0", "erpnext": "15.71.1"}}
    given = Facts(NOW, ZONE, "0.1.0", jobs, "https://erp.example.com", site, recent, known, marks=marks,
                  standings=standings, services=services)  # fmt: skip
    return replace(given, **{key: value for key, value in more.items() if key != "reports"},
                   reports={**known, **more.get("reports", {})})  # fmt: skip


def standing(found: list[Run]) -> Standing:
    """As the state would tell it."""
    wanted = [one for one in found if one.reason != "by hand" and one.status != "running"]
    good = next((place for place, one in enumerate(wanted) if one.status == "done"), len(wanted))
    bad = [one for one in wanted[:good] if one.status in BAD]
    success = (wanted[good].id, wanted[good].ended) if good < len(wanted) else ("", None)
    return Standing(len(bad), bad[-1].started if bad else None, bad[0].id if bad else "", *success)


def day_by_day(name: str, *statuses: str, every: timedelta = timedelta(days=1), seconds: float = 30) -> list[Run]:
    """Runs of these endings, the newest first; how long each took varies."""
    lengths = [seconds * (1 + (place * 7 % 11)) for place in range(len(statuses))]
    return [
        run(name, every * place + timedelta(minutes=10), status, lengths[place])
        for place, status in enumerate(statuses)
    ]


def busy() -> Facts:
    """Some of everything."""
    hour = timedelta(hours=1)
    done = ["done"] * 30
    mixed = [*done[:4], "some failed", *done[:6], "interrupted", *done[:3], "stopped", *done[:4], "refused", *done[:9]]
    underway = run("items", timedelta(minutes=12, seconds=4), "running")
    progress = {"part": "items-2026-11-24.xlsx", "done": 48210, "total": 120000, "since": NOW.isoformat(),
                "rate": 66.4, "at": NOW.isoformat()}  # fmt: skip
    runs = {
        "maintenance": day_by_day("maintenance", *done),
        "items": [underway, *day_by_day("items", *mixed, every=hour, seconds=4)],
        "weekly": day_by_day("weekly", *["failed"] * 4, *done[:9], every=timedelta(days=7), seconds=8),
        "orders.pull": day_by_day("orders.pull", *["some failed"] * 2, *done[:28], every=hour),
        "expiry": day_by_day("expiry", *done[:3]),
        "old": day_by_day("old", "done"),
    }
    sample = {"doctype": "Sales Order", "name": "SAL-ORD-2026-00017", "result": "failed",
              "reason": "Could not find Customer: Müller & Söhne", "who": "document owner"}  # fmt: skip
    reports = {
        runs["weekly"][0].id: report(error=REFUSED, replies={"401": 1}),
        runs["orders.pull"][0].id: report({"done": 14, "failed": 3}, parts=[{"samples": [sample]}]),
    }
    told = {"webhook": [Telling("alert", "sent")], "email ops@example.com": [Telling("alert", "sent")]}
    episode = Episode("weekly", "weekly", "failures", NOW.isoformat(), NOW.isoformat(), 3, "", told=told)
    return facts(
        job(), job("items", "every 5m", "import"), job("weekly", "0 8 * * 1", "digest"), job("orders.pull", "hourly"),
        job("expiry", "0 7 * * *"), job("fresh", "monthly"), job("old", "weekly", enabled=False),
        runs=runs, reports=reports, episodes=[episode],
        running=[replace(underway, report={"holder": {"host": "erp-jobs", "pid": 812}, "progress": progress})],
    )  # fmt: skip


def cases() -> dict[str, Facts]:
    """Name → facts of what is hard to show."""
    hour = timedelta(hours=1)
    long = "a-name-that-goes-on-and-on-" * 4 + "Donaudampfschifffahrtsgesellschaft" * 3
    arabic = {"message": "تعذر العثور على العميل: شركة النور للتجارة «ABC-17»", "who": "document owner",
              "action": "صحح القيم التي تذكرها الرسالة."}  # fmt: skip
    wide = {"message": "x" * 300, "who": "site administrator", "action": "<b>&amp; </p>\"' " * 10}
    begun = run("job", timedelta(seconds=40), "running")
    many = [job(f"job-{number:02}", "hourly") for number in range(50)]
    return {
        "busy": busy(),
        "well": facts(job(), runs={"maintenance": day_by_day("maintenance", *["done"] * 30)}),
        "no jobs": facts(),
        "new": facts(job(), services=[], site=None, zone=None),
        "long": facts(job(long), runs={long: [run(long, hour, "failed")]},
                      reports={run(long, hour, "failed").id: report(error=wide, replies={"ConnectError": 8})},
                      url="https://" + "long-host-name." * 12 + "example.com"),
        "right to left": facts(job(), runs={"maintenance": [run("maintenance", hour, "failed")]},
                               reports={run("maintenance", hour, "failed").id: report(error=arabic)}),
        "fifty": facts(*many, runs={one.name: day_by_day(one.name, *["done"] * 30, every=hour) for one in many}),
        "late": facts(job(), services=[],
                      marks={"maintenance": SlotMark("maintenance", NOW - timedelta(days=3), "daily")}),
        "begun": facts(job("job"), runs={"job": [begun]}, running=[begun]),
    }  # fmt: skip


def view_of(found: Facts) -> dict[str, Any]:
    return overview(found)
