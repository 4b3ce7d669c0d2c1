"""What there is to see of a daemon: records → one view, which the status page, `status` and `/healthz` only draw.

Pure: it is given the moment and everything that was read, and returns JSON values, words for people among them, so that
no two of those who draw it say different things.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from daemon.config import Job
from daemon.core.alerts import BAD, Episode, Standing
from daemon.report import trouble
from daemon.schedule import jitter_of
from daemon.state.records import RUNNING, Run, SlotMark

STRIP = 30
"""Runs of each job that are shown."""
GRACE = timedelta(minutes=10)
"""How late a slot may be before its job counts as overdue: a start takes its time, and another run may be going on."""
RETRIED = timedelta(minutes=65)
"""For so long after a run that failed a job with patience is waiting, and not overdue: runner.LONGEST_WAIT and more."""
ALIVE = timedelta(seconds=90)
"""A service that was not heard of for longer is taken for dead; it writes a third as often."""
FLAT = 0.12
"""Height of the shortest bar, as a part of the longest."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What was read."""

    now: datetime
    zone: ZoneInfo | None
    """Of the schedules; None: not known yet."""
    version: str
    jobs: Sequence[Job]
    url: str
    site: Mapping[str, Any] | None = None
    """What the state knows of it."""
    recent: Mapping[str, Sequence[Run]] = field(default_factory=dict)
    """Job → its last runs, the newest first, without reports."""
    reports: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Run → report, of the runs that are looked at closely: `wanted`."""
    running: Sequence[Run] = ()
    dead: frozenset[str] = frozenset()
    """Those of `running` whose process is known to be gone."""
    marks: Mapping[str, SlotMark] = field(default_factory=dict)
    standings: Mapping[str, Standing] = field(default_factory=dict)
    services: Sequence[Mapping[str, Any]] = ()
    """What services wrote down of themselves; `gone` where their process is known to be."""
    episodes: Sequence[Episode] = ()


def wanted(recent: Mapping[str, Sequence[Run]]) -> list[str]:
    """Runs whose reports `overview` needs: of each job the last one that has ended."""
    return [run.id for runs in recent.values() if (run := _last_ended(runs))]


def overview(facts: Facts) -> dict[str, Any]:
    """The view: `site`, `services`, `summary`, `attention` and `jobs`."""
    jobs = [_job(job, facts) for job in facts.jobs]
    states = [job["state"] for job in jobs]
    services = [_service(one, facts) for one in facts.services]
    alive = [one for one in services if one["alive"]]
    count = {state: states.count(state) for state in ("running", "failing", "late", "disabled")}
    bad = [job["name"] for job in jobs if job["trouble"] and job["state"] != "disabled"]
    active = [job["name"] for job in jobs if job["running"]]
    site = _site(facts)
    return {
        "now": _iso(facts.now),
        "time_zone": facts.zone.key if facts.zone else None,
        "shown": _when(facts.now, facts),
        "version": facts.version,
        "site": site,
        "services": alive,
        "service": f"up {length(alive[0]['seconds'])}" if alive else "no service seems to run",
        "summary": {"jobs": len(jobs), **count, "alerts": sum(not one.recovered for one in facts.episodes)},
        "verdict": _verdict(site, len(jobs), count["disabled"], len(bad), bool(alive)),
        "running": f"{_some(active)} {'runs' if len(active) == 1 else 'run'} now." if active else "",
        "attention": bad,
        "jobs": jobs,
    }


def _verdict(site: Mapping[str, Any], jobs: int, disabled: int, bad: int, alive: bool) -> dict[str, str]:
    """The one thing to know."""
    if not jobs:
        return {"level": "dim", "lead": "There are no jobs.", "rest": ""}
    if bad:
        lead = f"{bad} of {jobs} {'job' if jobs == 1 else 'jobs'}"
        rest = f"{'needs' if bad == 1 else 'need'} somebody."
        return {"level": "bad", "lead": lead, "rest": rest}
    if not alive:
        return {"level": "bad", "lead": "No service seems to run,", "rest": "so nothing runs on its schedule."}
    if site["up"] is False:
        return {"level": "bad", "lead": "The site does not answer.", "rest": ""}
    off = f", of which disabled: {disabled}" if disabled else ""
    return {"level": "good", "lead": "All is well.", "rest": f"{jobs:,} {'job' if jobs == 1 else 'jobs'}{off}."}


def _some(names: Sequence[str]) -> str:
    """The first three of them."""
    more = [f"{len(names) - 3:,} more"] if len(names) > 3 else []
    *first, last = [*names[:3], *more]
    return f"{', '.join(first)} and {last}" if first else last


def _service(one: Mapping[str, Any], facts: Facts) -> dict[str, Any]:
    since, seen = _moment(one["since"]), _moment(one["seen"])
    up = (facts.now - since).total_seconds()
    alive = not one.get("gone") and facts.now - seen < ALIVE
    named = {key: one.get(key, "") for key in ("host", "pid", "version", "listen")}
    return {**named, "since": _iso(since), "when": _when(since, facts), "seconds": round(up), "alive": alive}


def _site(facts: Facts) -> dict[str, Any]:
    """The site, and when it last answered: as runs met it, since nobody asks it only to know that."""
    known = facts.site or {}
    met = sorted(_met(facts), key=lambda one: one[0])
    last = next((ended for ended, up in reversed(met) if up), None)
    up = met[-1][1] if met else None
    why = next((facts.reports[run]["error"]["message"] for run in _latest_first(facts) if _error(facts, run)), "")
    return {
        "url": facts.url,
        "version": known.get("version", ""),
        "apps": known.get("apps", {}),
        "up": up,
        "word": {True: "answers", False: "does not answer", None: "not asked yet"}[up],
        "contact": last and _iso(last),
        "when": _when(last, facts) if last else "",
        "relative": relative(last, facts.now) if last else "",
        "why": why if up is False else "",
    }


def _met(facts: Facts) -> list[tuple[datetime, bool]]:
    """(when, whether the site answered) of the last run of each job that asked it anything."""
    found = []
    for run in (run for runs in facts.recent.values() if (run := _last_ended(runs))):
        replies = (facts.reports.get(run.id) or {}).get("replies")
        if replies and run.ended:
            found.append((run.ended, answered(replies)))
    return found


def answered(replies: Mapping[str, int]) -> bool:
    """The site itself sent a reply, and no proxy for it."""
    return any(status.isdigit() and status not in ("502", "503", "504") for status in replies)


def _latest_first(facts: Facts) -> list[str]:
    ended = [run for runs in facts.recent.values() if (run := _last_ended(runs))]
    return [run.id for run in sorted(ended, key=lambda run: run.ended or run.started, reverse=True)]


def _error(facts: Facts, run: str) -> bool:
    return bool((facts.reports.get(run) or {}).get("error"))


# --- one job -------------------------------------------------------------------------------------------------------


def _job(job: Job, facts: Facts) -> dict[str, Any]:
    runs, standing = facts.recent.get(job.name, ()), facts.standings.get(job.name, Standing())
    last, running = _last_ended(runs), [run for run in facts.running if run.job == job.name]
    active = next((run for run in running if run.id not in facts.dead), None)
    lag = _lag(job, facts) if job.settings.enabled else 0.0
    state = _state(job, facts, last, active, lag)
    succeeded = standing.good_at or next((run.ended for run in runs if run.status == "done"), None)
    return {
        "name": job.name,
        "kind": job.settings.kind,
        "schedule": job.schedule.text,
        "described": job.schedule.describe(),
        "enabled": job.settings.enabled,
        "state": state,
        "next": _next(job, facts),
        "running": active and under_way(active, facts.now),
        "last": last and _ended(last, facts),
        "last_success": succeeded and _iso(succeeded),
        "succeeded": succeeded and relative(succeeded, facts.now),
        "failures": standing.failures,
        "lag_seconds": round(lag, 3),
        "late": length(lag) if state == "late" else "",
        "trouble": _trouble(state, last, standing, lag, facts),
        "alert": _alert(job.name, facts),
        "runs": _strip(runs, facts),
    }


def _state(job: Job, facts: Facts, last: Run | None, active: Run | None, lag: float) -> str:
    if active:
        return "running"
    if not job.settings.enabled:
        return "disabled"
    if lag > GRACE.total_seconds() and not _is_retried(job, facts, last):
        return "late"
    if last is None:
        return "new"
    return "failing" if last.status in BAD else "stopped" if last.status == "stopped" else "ok"


def _is_retried(job: Job, facts: Facts, last: Run | None) -> bool:
    """Its slot is not dealt with since its run failed, and it is tried again before the next one."""
    patient = job.settings.patience > timedelta(0)
    return bool(patient and last and last.ended and last.status in BAD and facts.now - last.ended < RETRIED)


def _lag(job: Job, facts: Facts) -> float:
    """Seconds since the oldest slot that was not dealt with should have been; 0: there is none."""
    mark = facts.marks.get(job.name)
    if mark is None or facts.zone is None or mark.schedule_text != job.schedule.text:
        return 0.0
    slot = job.schedule.after(mark.slot, facts.zone).astimezone(UTC)
    if slot > facts.now:
        return 0.0
    room = job.schedule.after(slot, facts.zone).astimezone(UTC) - slot
    due = slot + jitter_of(job.name, slot, min(job.settings.jitter, room))
    return max(0.0, (facts.now - due).total_seconds())


def _next(job: Job, facts: Facts) -> dict[str, Any] | None:
    if facts.zone is None or not job.settings.enabled:
        return None
    slot = job.schedule.after(facts.now, facts.zone)
    return {"at": slot.isoformat(), "when": _when(slot, facts), "relative": relative(slot, facts.now)}


def under_way(run: Run, now: datetime) -> dict[str, Any]:
    """What is known of a run that is under way."""
    return {
        "run": run.id,
        "reason": run.reason,
        "dry_run": run.dry_run,
        "since": _iso(run.started),
        "seconds": round((now - run.started).total_seconds(), 1),
        "for": length((now - run.started).total_seconds()),
        "holder": (run.report or {}).get("holder"),
        "progress": progress(run.report),
    }


def progress(report: Mapping[str, Any]) -> dict[str, Any] | None:
    """How far a run has come, by its own record; None where it has not told yet."""
    told = (report or {}).get("progress")
    if not told:
        return None
    done, total, rate = told["done"], told["total"], told["rate"]
    percent = min(100.0, 100.0 * done / total) if total else None
    left = (total - done) / rate if total and rate and total > done else None
    said = f"{done:,} of {total:,}" if total else f"{done:,} done" if done else "begun"
    return {
        "part": told["part"],
        "done": done,
        "total": total,
        "per_second": rate,
        "percent": percent and round(percent, 1),
        "seconds_left": left and round(left),
        "said": said,
        "left": f"about {_about(left)} left" if left else "",
        "at": told["at"],
    }


def _ended(run: Run, facts: Facts) -> dict[str, Any]:
    report, ended = facts.reports.get(run.id) or {}, run.ended or run.started
    return {
        "run": run.id,
        "status": run.status,
        "reason": run.reason,
        "started": _iso(run.started),
        "ended": _iso(ended),
        "when": _when(run.started, facts),
        "relative": relative(ended, facts.now),
        "seconds": round((ended - run.started).total_seconds(), 3),
        "took": length((ended - run.started).total_seconds()),
        "counts": report.get("counts", {}),
        "counted": ", ".join(f"{count:,} {key}" for key, count in report.get("counts", {}).items()),
    }


def _trouble(state: str, last: Run | None, standing: Standing, lag: float, facts: Facts) -> dict[str, Any] | None:
    """What somebody should know and do, where there is anything."""
    if state == "late":
        action = "Look whether the service runs (`systemctl status frappe-daemon`), and into its log."
        what = f"a slot is {length(lag)} late and nothing runs for it"
        return {"what": what, "who": "operator", "action": action, "run": "", "when": "", "often": ""}
    if last is None or last.status not in BAD:
        return None
    often = f"{standing.failures:,} times in a row" if standing.failures > 1 else ""
    found = trouble(last.status, facts.reports.get(last.id) or {})
    told = {**found, "what": found["what"] or last.status}
    return {**told, "run": last.id, "when": _when(last.started, facts), "often": often}


def _alert(job: str, facts: Facts) -> dict[str, Any] | None:
    episode = next((one for one in facts.episodes if one.job == job and not one.recovered), None)
    if episode is None:
        return None
    told = {channel: tellings[0].state for channel, tellings in episode.told.items()}
    return {"since": episode.since, "opened": episode.opened, "why": episode.why, "told": told}


def _strip(runs: Sequence[Run], facts: Facts) -> list[dict[str, Any]]:
    """The last runs, the oldest first, as bars: heights by the logarithm of their length, since most are short."""
    shown = [run for run in reversed(runs[:STRIP]) if run.ended or run.id not in facts.dead]
    lengths = [((run.ended or facts.now) - run.started).total_seconds() for run in shown]
    top = math.log1p(max(lengths, default=0.0))
    return [
        {
            "run": run.id,
            "status": run.status,
            "started": _iso(run.started),
            "seconds": round(seconds, 3),
            "height": round(max(FLAT, math.log1p(max(0.0, seconds)) / top), 3) if top else 1.0,
            "said": f"{run.status}, {_when(run.started, facts)}, {length(seconds)}",
        }
        for run, seconds in zip(shown, lengths, strict=True)
    ]


def _last_ended(runs: Sequence[Run]) -> Run | None:
    return next((run for run in runs if run.status != RUNNING), None)


# --- moments and lengths, for people ---------------------------------------------------------------------------------


def length(seconds: float) -> str:
    """ "45 s", "3 min 20 s", "5 h 12 min", "3 d 4 h": the two largest units."""
    seconds = max(0.0, seconds)
    whole = round(seconds)
    if seconds < 9.95 and seconds != whole:
        return f"{seconds:.1f} s"
    if whole == 0:
        return "0 s"
    units = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))
    place = next(place for place, (size, _) in enumerate(units) if whole >= size)
    found = []
    for size, unit in units[place : place + 2]:
        number, whole = divmod(whole, size)
        if number:
            found.append(f"{number} {unit}")
    return " ".join(found)


def relative(moment: datetime, now: datetime) -> str:
    """ "in 5 h 12 min", "3 min ago", "just now"."""
    seconds = (moment - now).total_seconds()
    if abs(seconds) < 5:
        return "now" if seconds >= 0 else "just now"
    return f"in {_about(seconds)}" if seconds > 0 else f"{_about(-seconds)} ago"


def _about(seconds: float) -> str:
    """ "2 min 1 s" is more than anybody wants to know."""
    return length(round(seconds / 60) * 60 if seconds >= 60 else round(max(1.0, seconds)))


def _when(moment: datetime, facts: Facts) -> str:
    """ "today 18:41", "Tue 24 Nov 03:00": in the zone of the schedules."""
    zone = facts.zone or ZoneInfo("UTC")
    local, today = moment.astimezone(zone), facts.now.astimezone(zone).date()
    days = (local.date() - today).days
    day = {0: "today", 1: "tomorrow", -1: "yesterday"}.get(days, f"{local:%a} {local.day} {local:%b}")
    year = f" {local.year}" if abs(days) > 1 and local.year != today.year else ""
    return f"{day}{year} {local:%H:%M}"


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds")
