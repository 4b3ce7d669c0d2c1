"""The long-running process: APScheduler wakes jobs up, and what is due decides the state's record of slots.

A wake-up is only a hint. Which slots are due follows from the last slot that was dealt with and the time, so that a
late wake-up, a clock set back, a restart and a long run all come out the same: each slot is dealt with once, missed
ones by one run.
"""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.date import DateTrigger

from daemon import errors
from daemon.runner import Order
from daemon.schedule import Missed, Schedule
from daemon.trigger import SlotTrigger

if TYPE_CHECKING:
    from daemon.app import App
    from daemon.config import Job

LATE = timedelta(seconds=90)
"""A run that starts later than this after its slot is called a catch-up."""
AHEAD = timedelta(days=1)
"""A slot that was dealt with cannot lie further ahead than a clock may be set back."""
GIVE_UP = 3
"""A slot whose run was interrupted this often, by a crash or a kill, is passed over."""
RETRY_RUNNING = 30.0
"""Seconds between looks at a job that another process runs."""
RETRY_STATE = timedelta(seconds=30)
"""Before a job is looked at again that could not be for the state's database."""
RETRY_SITE = 30.0
"""Seconds between tries to learn the time zone from a site that does not answer."""


def due(schedule: Schedule, trigger: SlotTrigger, since: datetime, now: datetime, zone: ZoneInfo) -> Missed:
    """The slots after `since` whose time, jitter included, has come."""
    missed = schedule.missed(since, now, zone)
    if missed.latest is None or trigger.fire_time(missed.latest) <= now:
        return missed
    return schedule.missed(since, missed.latest - timedelta(seconds=1), zone)


class Service:
    """Runs the jobs of a configuration on their schedules until it is told to stop."""

    def __init__(self, app: App, stop_timeout: timedelta = timedelta(seconds=80)) -> None:
        self.app, self.stop_timeout = app, stop_timeout
        self._jobs = [job for job in app.config.jobs.values() if job.settings.enabled]
        self._executor = ThreadPoolExecutor(2 * max(1, len(self._jobs)))
        self._scheduler = BackgroundScheduler(
            executors={"default": self._executor},
            # Two, since a wake-up that comes while the last one is just returning would be dropped; the claim on the
            # job keeps runs apart.
            job_defaults={"coalesce": True, "misfire_grace_time": None, "max_instances": 2},
            timezone=UTC,
        )

    def run(self) -> bool:
        """Return after a stop was asked for: True where the running jobs came to their next step in time."""
        app = self.app
        app.log.info(
            "daemon.started",
            config=str(app.config.path),
            site=app.config.site.url,
            jobs=[job.name for job in self._jobs],
        )
        for run in app.state.interrupt_unfinished(app.clock.now()):
            app.log.warning("run.interrupted", job=run.job, run=run.id, started=run.started.isoformat())
        app.prune()
        zone = self._zone()
        if zone is not None:
            self._schedule(zone)
            self._scheduler.start()
            app.stop.wait()
        app.log.info("daemon.stopping")
        done = self._drain()
        app.log.info("daemon.stopped", unfinished=not done)
        return done

    def _zone(self) -> ZoneInfo | None:
        """The zone of the schedules, however long the site takes to tell it; None where the stop came first."""
        app = self.app
        while not app.stop.is_set():
            try:
                return app.zone()
            except errors.Stopped:
                break
            except errors.SiteError as error:
                app.log.warning("site.awaited", error=str(error), who=error.who, action=error.action, wait=RETRY_SITE)
                app.stop.wait(RETRY_SITE)
        return None

    def _schedule(self, zone: ZoneInfo) -> None:
        """Wake each job up at its slots in `zone`, and at once where one was missed."""
        for job in self._jobs:
            self._add(job, zone)

    def _add(self, job: Job, zone: ZoneInfo) -> None:
        app, now = self.app, self.app.clock.now()
        mark = app.state.slot(job.name)
        if mark and mark.slot > now + AHEAD:
            app.log.warning("slot.reset", job=job.name, slot=_iso(mark.slot), why="it lies ahead: a clock was wrong")
            app.state.reset_slot(job.name)
            mark = None
        if mark is None or mark.schedule_text != job.schedule.text:
            app.state.settle_slot(job.name, now, job.schedule.text)
            mark = app.state.slot(job.name)
        missed = job.schedule.latest(mark.slot, now, zone) if mark else None
        since = missed - timedelta(seconds=1) if missed else now
        trigger = SlotTrigger(job.schedule, zone, job=job.name, since=since, jitter=job.settings.jitter)
        self._scheduler.add_job(self._work_off, trigger, args=[job, trigger, zone], id=job.name, replace_existing=True)
        following = job.schedule.after(now, zone)
        app.log.info("job.scheduled", job=job.name, schedule=job.schedule.text, next=_iso(following))

    def _work_off(self, job: Job, trigger: SlotTrigger, zone: ZoneInfo) -> None:
        """Run `job` for what is due, until nothing is."""
        app = self.app
        while not app.stop.is_set():
            try:
                missed = due(job.schedule, trigger, self._since(job), app.clock.now(), zone)
                if missed.latest is None or not self._one(job, missed, missed.latest, trigger, zone):
                    break
            except errors.SlotSettled:
                continue
            except errors.AlreadyRunning:
                app.clock.pause(RETRY_RUNNING)  # by hand, or an earlier slot that takes long: look again after it
            except errors.StateUnavailable as error:
                app.log.error("state.lost", job=job.name, error=str(error), who=error.who, action=error.action)
                self._wake_again(job, trigger, zone, RETRY_STATE)
                return
            except errors.DaemonError as error:
                app.log.error("job.failed", job=job.name, error=str(error), who=error.who, action=error.action)
                break
        self._heed_zone(zone)

    def _heed_zone(self, zone: ZoneInfo) -> None:
        """A run may have learnt that the site has moved to another time zone."""
        try:
            now = self.app.remembered_zone()
        except errors.StateUnavailable:
            return  # the next run looks again
        if now is not None and now.key != zone.key and not self.app.stop.is_set():
            self.app.log.warning("schedule.zone_changed", was=zone.key, now=now.key)
            self._schedule(now)

    def _since(self, job: Job) -> datetime:
        mark = self.app.state.slot(job.name)
        return mark.slot if mark else self.app.clock.now()

    def _one(self, job: Job, missed: Missed, slot: datetime, trigger: SlotTrigger, zone: ZoneInfo) -> bool:
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
            app.prune()
            if wait := found.get("again"):
                self._wake_again(job, trigger, zone, timedelta(seconds=wait))
            mark = app.state.slot(job.name)
            return mark is not None and mark.slot >= slot  # else the next start, or the next slot, catches it up
        app.state.settle_slot(job.name, slot, job.schedule.text)
        app.prune()
        return True

    def _wake_again(self, job: Job, trigger: SlotTrigger, zone: ZoneInfo, wait: timedelta) -> None:
        """For a slot that was not dealt with and that the job has the patience for."""
        at = self.app.clock.now() + wait
        self.app.log.warning("slot.left", job=job.name, why="its run failed", again=_iso(at))
        self._scheduler.add_job(
            self._work_off, DateTrigger(at), args=[job, trigger, zone], id=f"{job.name} again", replace_existing=True
        )

    def _crashed(self, job: Job, slot: datetime) -> bool:
        runs = self.app.state.runs(job.name, limit=GIVE_UP)
        return len(runs) == GIVE_UP and all(run.status == "interrupted" and run.slot == slot for run in runs)

    def _drain(self) -> bool:
        """Wait for running jobs, but not for ever; False where one does not end."""
        if not self._scheduler.running:
            return True
        # Not the scheduler's own shutdown: it waits with a lock in its hands that a job needs which wants to be woken
        # up again (apscheduler/schedulers/base.py:shutdown, add_job), so that neither would end.
        self._scheduler.pause()
        ended = threading.Thread(target=self._executor.shutdown, kwargs={"wait": True}, daemon=True)
        ended.start()
        ended.join(self.stop_timeout.total_seconds())
        return not ended.is_alive()


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")
