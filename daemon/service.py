"""The long-running process: APScheduler wakes jobs up, and what is due decides the state's record of slots.

A wake-up is only a hint. Which slots are due follows from the last slot that was dealt with and the time, so that a
late wake-up, a clock set back, a restart and a long run all come out the same: each slot is dealt with once, missed
ones by one run.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler

from daemon import errors, report
from daemon.runner import Order
from daemon.schedule import Missed, Schedule
from daemon.trigger import SlotTrigger

if TYPE_CHECKING:
    from daemon.app import App
    from daemon.config import Job

LATE = timedelta(seconds=90)
"""A run that starts later than this after its slot is called a catch-up."""
GIVE_UP = 3
"""A slot whose run was interrupted this often, by a crash or a kill, is passed over."""
RETRY_SITE = 30.0
"""Seconds between tries to learn the time zone from a site that does not answer."""


def due(schedule: Schedule, trigger: SlotTrigger, since: datetime, now: datetime, zone: ZoneInfo) -> Missed:
    """The slots after `since` whose time, jitter included, has come."""
    missed = schedule.missed(since, now, zone)
    if missed.latest is None or trigger.fire_time(missed.latest) <= now:
        return missed
    return schedule.missed(since, missed.latest - timedelta(seconds=1), zone)


@dataclass(slots=True)
class Service:
    """Runs the jobs of a configuration on their schedules until it is told to stop."""

    app: App
    stop_timeout: timedelta = timedelta(seconds=80)

    def run(self) -> None:
        """Return after a stop was asked for and the running jobs have come to their next step."""
        app = self.app
        app.log.info(
            "daemon.started", config=str(app.config.path), site=app.config.site.url, jobs=list(app.config.jobs)
        )
        for run in app.state.interrupt_unfinished(app.clock.now()):
            app.log.warning("run.interrupted", job=run.job, run=run.id, started=run.started.isoformat())
        app.state.prune_runs(app.clock.now() - app.config.state.keep_runs, 20)
        zone = self._zone()
        if zone is None:
            return
        jobs = [job for job in app.config.jobs.values() if job.settings.enabled]
        scheduler = BackgroundScheduler(
            executors={"default": ThreadPoolExecutor(max(1, len(jobs)))},
            job_defaults={"coalesce": True, "misfire_grace_time": None, "max_instances": 1},
            timezone=zone,
        )
        for job in jobs:
            self._add(scheduler, job, zone)
        scheduler.start()
        app.stop.wait()
        app.log.info("daemon.stopping")
        self._drain(scheduler)
        app.log.info("daemon.stopped")

    def _zone(self) -> ZoneInfo | None:
        """The zone of the schedules, however long the site takes to tell it; None where the stop came first."""
        app = self.app
        while not app.stop.is_set():
            try:
                return app.zone()
            except (errors.SiteError, errors.Stopped) as error:
                app.log.warning("site.awaited", error=str(error), who=error.who, action=error.action, wait=RETRY_SITE)
                app.stop.wait(RETRY_SITE)
        return None

    def _add(self, scheduler: BackgroundScheduler, job: Job, zone: ZoneInfo) -> None:
        """Wake `job` up at each slot, and at once where one was missed."""
        app, now = self.app, self.app.clock.now()
        mark = app.state.slot(job.name)
        if mark is None or mark.schedule_text != job.schedule.text:
            app.state.settle_slot(job.name, now, job.schedule.text)
            mark = app.state.slot(job.name)
        missed = job.schedule.latest(mark.slot, now, zone) if mark else None
        since = missed - timedelta(seconds=1) if missed else now
        trigger = SlotTrigger(job.schedule, zone, job=job.name, since=since, jitter=job.settings.jitter)
        scheduler.add_job(self._work_off, trigger, args=[job, trigger, zone], id=job.name)
        following = job.schedule.after(now, zone)
        app.log.info("job.scheduled", job=job.name, schedule=job.settings.schedule, next=_iso(following))

    def _work_off(self, job: Job, trigger: SlotTrigger, zone: ZoneInfo) -> None:
        """Run `job` for what is due, until nothing is."""
        app = self.app
        while not app.stop.is_set():
            try:
                missed = due(job.schedule, trigger, self._since(job), app.clock.now(), zone)
                if missed.latest is None or not self._one(job, missed, missed.latest):
                    return
            except errors.DaemonError as error:
                app.log.error("job.failed", job=job.name, error=str(error), who=error.who, action=error.action)
                return

    def _since(self, job: Job) -> datetime:
        mark = self.app.state.slot(job.name)
        return mark.slot if mark else self.app.clock.now()

    def _one(self, job: Job, missed: Missed, slot: datetime) -> bool:
        """Deal with the slots in `missed` by one run; False where they are left for another time."""
        app = self.app
        late = app.clock.now() - slot - job.settings.jitter > LATE or missed.count > 1
        if late and not job.settings.catch_up:
            app.log.warning(
                "slot.passed_over", job=job.name, slot=_iso(slot), missed=str(missed), why="catch_up = false"
            )
        elif self._crashed(job, slot):
            app.log.error(
                "slot.passed_over", job=job.name, slot=_iso(slot), why=f"its run was interrupted {GIVE_UP} times"
            )
        else:
            reason = "catch-up" if late else "slot"
            if late:
                app.log.warning("slot.missed", job=job.name, slot=_iso(slot), missed=str(missed))
            found = app.runner.run(Order(job, app.new_run_id(), reason, slot, missed.count if late else 0))
            if found["status"] == report.STOPPED and app.stop.is_set():
                return False  # the next start catches it up
        app.state.settle_slot(job.name, slot, job.schedule.text)
        return True

    def _crashed(self, job: Job, slot: datetime) -> bool:
        runs = self.app.state.runs(job.name, limit=GIVE_UP)
        return len(runs) == GIVE_UP and all(run.status == "interrupted" and run.slot == slot for run in runs)

    def _drain(self, scheduler: BackgroundScheduler) -> None:
        """Wait for running jobs, but not for ever: what does not end by itself is ended with the process."""
        ended = threading.Thread(target=scheduler.shutdown, kwargs={"wait": True}, daemon=True)
        ended.start()
        ended.join(self.stop_timeout.total_seconds())


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")
