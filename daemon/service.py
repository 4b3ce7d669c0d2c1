"""The long-running process: APScheduler wakes jobs up, and what is due decides the state's record of slots.

A wake-up is only a hint. Which slots are due follows from the last slot that was dealt with and the time, so that a
late wake-up, a clock set back, a restart and a long run all come out the same: each slot is dealt with once, missed
ones by one run.

The thread that calls `run` oversees: it takes what comes from signals and from other threads out of one queue, looks
at clock, runs and configuration every few seconds, and tells systemd. Jobs run in the scheduler's threads, whatever may
wait for the site in others.
"""

from __future__ import annotations

import logging
import math
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.date import DateTrigger

from daemon import config as configuration
from daemon import errors, report
from daemon.core.changes import differences
from daemon.core.statusline import Standing, about, status_line
from daemon.notify import Notifier
from daemon.runner import LARGEST_SKEW, Order, Running
from daemon.schedule import Missed, Schedule
from daemon.seeing import Seeing
from daemon.site.transport import Retry
from daemon.state import Run, SlotMark
from daemon.trigger import SlotTrigger

if TYPE_CHECKING:
    from daemon.app import App
    from daemon.config import Config, Job
    from daemon.state import Run

LATE = timedelta(seconds=90)
"""A run that starts later than this after its slot is called a catch-up."""
AHEAD = timedelta(days=1)
"""A slot that was dealt with cannot lie further ahead than a clock may be set back."""
RELEASED = datetime(2024, 1, 1, tzinfo=UTC)
"""A clock that shows an earlier moment was never set."""
GIVE_UP = 3
"""A slot whose run was interrupted this often, by a crash or a kill, is given up; the next one is tried again."""
RETRY_RUNNING = 30.0
"""Seconds between looks at a job that another process runs."""
RETRY_STATE = 60.0
"""Seconds until a slot is tried again whose run the state did not take: a full disk is emptied one day."""
FIRST_WAIT, LONGEST_WAIT = 5.0, 300.0
"""Seconds between tries whether a site answers again: twice as long each time."""
ONCE = Retry(attempts=1, total=30.0)
"""One request, to see whether the site answers."""
CALM = 600.0
"""Seconds after which a site that went away again is taken for one that was well in between."""
TICK, QUICK_TICK = 10.0, 1.0
"""Seconds between looks at clock and runs; the quick one where the configuration is looked at too."""
ECHO = 1.0
"""Seconds within which a second signal is the first one's echo."""
JUMP = 20.0
"""Seconds by which the clock must have moved against the time that passed: set by hand, or the machine slept."""
HANGS = 60.0
"""Seconds within which the scheduler must have come round."""
SETTLE, SETTLE_TRIES, SETTLE_PAUSE = timedelta(seconds=0.25), 100, 0.1
"""A configuration that was written to so lately may not be whole yet."""
PRUNE_EVERY = 3600.0
"""Seconds between looks for runs that are old enough to be forgotten."""
LAST_WORDS = 10.0
"""Seconds that a stop takes beside its stop_timeout, at the most."""
OURS = "frappe-daemon service"
"""Under which the service remembers what is its own; no job can have a name with a blank."""
AT_NEXT_START = ("state.", "status.", "service.at_once")
"""Keys that cannot change while the process lives."""


def due(schedule: Schedule, trigger: SlotTrigger, since: datetime, now: datetime, zone: ZoneInfo) -> Missed:
    """The slots after `since` whose time, jitter included, has come."""
    missed = schedule.missed(since, now, zone)
    if missed.latest is None or trigger.fire_time(missed.latest) <= now:
        return missed
    return schedule.missed(since, missed.latest - timedelta(seconds=1), zone)


class _Scheduler(BackgroundScheduler):  # type: ignore[misc]
    """Knows when it last came round."""

    def __init__(self, monotonic: Callable[[], float], **options: Any) -> None:
        self._monotonic = monotonic
        self.seen = monotonic()
        super().__init__(**options)

    def _process_jobs(self) -> Any:
        wait = super()._process_jobs()
        self.seen = self._monotonic()
        return wait


@dataclass(frozen=True, slots=True)
class Entry:
    """A job that is enabled, and its wake-ups."""

    job: Job
    trigger: SlotTrigger


@dataclass(slots=True)
class Away:
    """A site that does not answer: nothing is started until it does."""

    why: str
    since: datetime
    pause: float
    """Seconds until the next look."""
    next_look: float
    """Monotonic seconds."""
    looking: bool = False


class Service:
    """Runs the jobs of a configuration on their schedules until it is told to stop."""

    def __init__(self, app: App, notifier: Notifier | None = None) -> None:
        self.app, self.notifier = app, notifier or Notifier()
        self._inbox: SimpleQueue[tuple[Any, ...]] = SimpleQueue()  # a signal handler may put into it at any moment
        self._lock = threading.Lock()
        self._ended = threading.Condition(self._lock)
        """A job is no longer at it."""
        self._entries: dict[str, Entry] = {}
        self._zone: ZoneInfo | None = None
        self._search = 0
        """Number of the search for the zone that is under way; what an earlier one finds is of no interest."""
        self._busy: set[str] = set()
        self._again: set[str] = set()
        """Jobs that were woken up while they were at it."""
        self._away: Away | None = None
        self._back: tuple[float, float] = (-CALM, FIRST_WAIT)
        """When the site was back, monotonic, and how long the last pause before had been."""
        self._awaited = self._refused = ""
        """Why no schedule is kept yet; what is wrong with the configuration on the disk."""
        self._stuck: set[str] = set()
        self._pruned = app.clock.monotonic()
        self._offset = self._clock_offset()
        self._loaded = self._seen = configuration.signature(app.config.path)
        self._ready = False
        self._begun = app.clock.monotonic()
        self._told = -math.inf
        """Monotonic seconds when the status was told last: at once where something happened, else now and then."""
        self._signals: list[float] = []
        quiet = logging.getLogger("daemon.scheduler")  # a job that still runs at its next slot is no news
        quiet.setLevel(logging.ERROR)
        self._scheduler = _Scheduler(
            app.clock.monotonic,
            executors={"default": ThreadPoolExecutor(app.config.service.at_once)},
            # Two, since a wake-up that comes while the last one is just returning would be dropped; `_busy` keeps them
            # apart.
            job_defaults={"coalesce": True, "misfire_grace_time": None, "max_instances": 2},
            timezone=UTC,
            logger=quiet,
        )

    # --- overseeing --------------------------------------------------------------------------------------------------

    def heed_signals(self) -> None:
        """SIGHUP reads the configuration again. SIGTERM and SIGINT stop at the next step, a second one at once."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_stop)
        signal.signal(signal.SIGHUP, lambda *_: self._inbox.put(("reload",)))

    def _on_stop(self, number: int, _frame: Any) -> None:
        """Within a handler nothing may be locked. A second signal that comes within a second is the first one's echo:
        timeout(1) and terminals send the same signal to a process and to its group."""
        self._signals.append(self.app.clock.monotonic())
        if self._signals[-1] - self._signals[0] > ECHO:
            os._exit(128 + number)
        self._inbox.put(("stop",))
        if len(self._signals) == 1 and sys.stderr and sys.stderr.isatty():
            with suppress(OSError):
                os.write(sys.stderr.fileno(), b"stopping at the next step; again to end at once\n")

    def run(self) -> bool:
        """Return after a stop was asked for: True where the running jobs came to their next step in time.

        Raises StateError where the state cannot be opened, and ConfigError.
        """
        app, jobs = self.app, _enabled(self.app.config)
        app.log.info("daemon.started", config=str(app.config.path), site=app.config.site.url, jobs=list(jobs))
        app.state  # noqa: B018 (opened here, so that what is wrong with it is told now)
        with Seeing(app, self._ailing) as seeing:
            for run in self._tell_interrupted():
                seeing.interrupted(run)
            self._start_over()
            while not app.stop.is_set():
                self._turn()
            return self._drain()

    def _ailing(self) -> str:
        """What is the matter with the scheduler; one that has not begun waits for the site."""
        thread = getattr(self._scheduler, "_thread", None)
        dead = self._scheduler.running and thread is not None and not thread.is_alive()
        return "its thread has ended, so no job is woken up; restart the service" if dead else ""

    def _turn(self) -> None:
        """Wait for what comes, for one tick at the most; deal with it, and look round."""
        with suppress(Empty):
            message = self._inbox.get(timeout=self._pace())
            self._told = -math.inf
            while True:
                self._take(*message)
                message = self._inbox.get_nowait()
        self._look_round()

    def _pace(self) -> float:
        tick = QUICK_TICK if self.app.config.service.reload_on_save else TICK
        return min(tick, self.notifier.watchdog / 4) if self.notifier.watchdog else tick

    def _take(self, what: str, *facts: Any) -> None:
        match what, facts:
            case "stop", ():
                self._ask_to_stop()
            case "reload", ():
                self._reload()
            case "zone", (search, zone) if search == self._search:
                self._found_zone(zone)
            case "awaited", (search, error, wait) if search == self._search:
                self._awaits(error, wait)
            case "failed", (error,):
                self.app.stop.set()
                raise error
            case "moved", (zone,) if self._zone and zone.key != self._zone.key:
                self.app.log.warning("schedule.zone_changed", was=self._zone.key, now=zone.key)
                self._found_zone(zone)
            case "looked", (Away() as away, error) if away is self._away:
                self._looked(away, error)

    def _look_round(self) -> None:
        self._heed_clock()
        if self._scheduler.running:
            self._scheduler.wakeup()  # its own waits do not count the time that the machine slept
        self._heed_silence()
        self._look_for_site()
        self._heed_file()
        if not self._ready and self.app.clock.monotonic() - self._begun >= TICK:
            self._awaited = "no job runs yet: the site does not answer"  # nor does it refuse
            self._be_ready()
        self._tell()

    def _tell(self) -> None:
        if self._lives():
            self.notifier.alive()
        monotonic = self.app.clock.monotonic()
        if self.notifier.address and monotonic - self._told >= TICK:
            self._told, now = monotonic, self.app.clock.now()
            self.notifier.status(status_line(self.standing(), now.astimezone(self._zone)))

    def _lives(self) -> bool:
        """The scheduler comes round and every run shows signs of life; what runs show is told in RunClock. Where it is
        not so systemd ends us (WatchdogSec=) and starts us again: a thread that hangs cannot be ended otherwise."""
        mute = self.app.clock.monotonic() - self._scheduler.seen
        scheduling = not self._scheduler.running or self.app.stop.is_set() or mute < HANGS + self._pace()
        return scheduling and not self._stuck

    def standing(self) -> Standing:
        """How things are, for a person."""
        app, now = self.app, self.app.clock.now()
        running = [(run.job, now - run.started) for run in _by_start(app.running)]
        stuck = [f"stuck: {run.job} (no sign of life)" for run in _by_start(app.running) if run.run in self._stuck]
        away = [f"the site does not answer since {_clock(self._away.since, self._zone)}"] if self._away else []
        upcoming = next((job for job in self._scheduler.get_jobs() if job.id in self._entries), None)
        at = getattr(upcoming, "next_run_time", None)
        return Standing(
            len(_enabled(app.config)),
            (upcoming.id, at.astimezone(self._zone)) if upcoming and at and self._scheduler.running else None,
            running,
            [said for said in (self._awaited, self._refused, *away, *stuck) if said],
            app.stop.is_set(),
        )

    def _heed_clock(self) -> None:
        """A clock that was set, or time in which the machine slept, makes all wake-ups anew."""
        offset = self._clock_offset()
        jump, self._offset = offset - self._offset, offset
        if abs(jump) > JUMP:
            self.app.log.warning("clock.jumped", seconds=round(jump), now=_iso(self.app.clock.now()))
            self._start_over()

    def _clock_offset(self) -> float:
        return self.app.clock.now().timestamp() - self.app.clock.monotonic()

    def _heed_silence(self) -> None:
        """Tell once of a run that hangs. Its job is not started again while it does, and the others go on."""
        silent = {run.run: (run, lasts) for run in _by_start(self.app.running) if (lasts := run.clock.silent())}
        for name in silent.keys() - self._stuck:
            run, lasts = silent[name]
            self.app.log.error(
                "run.stuck", job=run.job, run=run.run, started=_iso(run.started), silent_seconds=round(lasts),
                who="operator", action="Restart the service if it does not come back by itself.",
            )  # fmt: skip
        for name in (self._stuck - silent.keys()) & self.app.running.keys():
            self.app.log.warning("run.lives", job=self.app.running[name].job, run=name)
        if self._stuck != silent.keys():
            self._stuck, self._told = set(silent), -math.inf

    # --- the zone, and so the start ----------------------------------------------------------------------------------

    def _start_over(self, wait: float = 0.0) -> None:
        """Make all wake-ups anew, as soon as the clock can be believed and the zone of the schedules is known."""
        self._search += 1
        self._forget_wakes()
        threading.Thread(target=self._find_zone, args=[self._search, wait], name="zone", daemon=True).start()

    def _forget_wakes(self) -> None:
        with self._lock:
            self._entries = {}
        self._scheduler.remove_all_jobs()

    def _find_zone(self, search: int, wait: float) -> None:
        """After `wait` seconds, and however long the site takes to tell it."""
        app = self.app
        if wait:
            app.clock.pause(wait)
        wait = FIRST_WAIT
        while search == self._search and not app.stop.is_set():
            try:
                self._refuse_clock()
                self._inbox.put(("zone", search, app.zone(ONCE)))
            except errors.Stopped:
                return
            except (errors.SiteError, errors.ClockSkew, errors.StateError) as error:
                self._inbox.put(("awaited", search, error, wait))
                app.clock.pause(wait)
                wait = min(2 * wait, LONGEST_WAIT)
            except Exception as error:
                self._inbox.put(("failed", error))
                return
            else:
                return

    def _refuse_clock(self) -> None:
        """Raises ClockSkew where the clock is behind what it showed before. Was it ahead then? The site knows."""
        now, runs = self.app.clock.now(), self.app.state.runs(limit=1)
        newest = max(RELEASED, runs[0].started - AHEAD if runs else RELEASED)
        if now >= newest:
            return
        with suppress(errors.SiteError), self.app.site(ONCE) as site:
            site.versions  # noqa: B018 (any reply has a Date)
            if now >= RELEASED and abs(site.transport.date_offset or LARGEST_SKEW) < LARGEST_SKEW:
                self.app.log.warning("clock.confirmed", now=_iso(now), ahead=_iso(newest), why="the site's is the same")
                return
        what = f"the last run was at {_iso(runs[0].started)}" if runs and newest > RELEASED else "it was never set"
        raise errors.ClockSkew(
            f"this machine's clock shows {_iso(now)}, which cannot be: {what}; no job runs until it is right",
            action="Set this machine's clock (NTP).",
        )

    def _awaits(self, error: errors.DaemonError, wait: float) -> None:
        self.app.log.warning("site.awaited", error=str(error), who=error.who, action=error.action, wait=wait)
        self._awaited = f"no job runs yet: {error}"
        self._be_ready()  # or `systemctl start` would wait for the site, and then give up

    def _found_zone(self, zone: ZoneInfo) -> None:
        self._awaited, self._zone = "", zone
        self._try_to_follow(_enabled(self.app.config).values(), zone)
        if not self._scheduler.running:
            self._scheduler.start()
        self._be_ready()

    def _be_ready(self) -> None:
        if not self._ready:
            self._ready = True
            self.notifier.ready()

    def _try_to_follow(self, jobs: Iterable[Job], zone: ZoneInfo) -> None:
        try:
            self.follow(jobs, zone)
        except errors.StateError as error:  # such as a full disk, which has room again one day
            self.app.log.error("state.not_written", error=str(error), who=error.who, action=error.action)
            self._start_over(RETRY_STATE)

    def follow(self, jobs: Iterable[Job], zone: ZoneInfo) -> None:
        """Wake each job up at its slots in `zone`, and at once where one was missed."""
        self._zone = zone
        app, now, marks, new = self.app, self.app.clock.now(), self.app.state.slots(), []
        found: list[tuple[Job, SlotMark]] = []
        for job in jobs:
            mark = marks.get(job.name)
            if mark and mark.slot > now + AHEAD:
                why = "it lies ahead: a clock was wrong"
                app.log.warning("slot.reset", job=job.name, slot=_iso(mark.slot), why=why)
                app.state.reset_slot(job.name)
                mark = None
            if mark is None or mark.schedule_text != job.schedule.text:
                mark = SlotMark(job.name, now, job.schedule.text)
                new.append(mark)
            found.append((job, mark))
        if new:
            app.state.settle_slots(new)
        for job, mark in found:
            self._wake_at_slots(job, mark, now, zone)

    def _wake_at_slots(self, job: Job, mark: SlotMark, now: datetime, zone: ZoneInfo) -> None:
        missed = job.schedule.latest(mark.slot, now, zone)
        since = missed - timedelta(seconds=1) if missed else now
        trigger = SlotTrigger(job.schedule, zone, job=job.name, since=since, jitter=job.settings.jitter)
        with self._lock:
            self._entries[job.name] = Entry(job, trigger)
        self._scheduler.add_job(self._work_off, trigger, args=[job.name], id=job.name, replace_existing=True)
        following = job.schedule.after(now, zone)
        self.app.log.info("job.scheduled", job=job.name, schedule=job.schedule.text, next=_iso(following))

    # --- work --------------------------------------------------------------------------------------------------------

    def _work_off(self, name: str) -> None:
        """Run the job for what is due, until nothing is. Whoever comes meanwhile only leaves word that he came."""
        with self._lock:
            if name in self._busy:
                self._again.add(name)
                return
            self._busy.add(name)
        try:
            while self._next(name) or self._was_woken(name):
                pass
        except BaseException:
            with self._lock:
                self._end(name)
            raise
        self._heed_zone()

    def _was_woken(self, name: str) -> bool:
        """Somebody came meanwhile; else the job is no longer at it, which is decided in the same moment."""
        with self._lock:
            woken = name in self._again
            self._again.discard(name)
            if not woken:
                self._end(name)
            return woken

    def _end(self, name: str) -> None:
        self._busy.discard(name)
        self._ended.notify_all()

    def _next(self, name: str) -> bool:
        """Deal with what is due; False where nothing is, or it is left for another time."""
        app, entry, zone = self.app, self._entries.get(name), self._zone
        if entry is None or zone is None or self._away or app.stop.is_set():
            return False
        job = entry.job
        try:
            missed = due(job.schedule, entry.trigger, self._since(job), app.clock.now(), zone)
            return missed.latest is not None and self._one(entry, missed, missed.latest, zone)
        except errors.SlotSettled:
            return True
        except errors.AlreadyRunning:  # by hand, or in another process: look again after it
            self._wake_again(name, timedelta(seconds=RETRY_RUNNING))
        except errors.DaemonError as error:
            app.log.error("job.failed", job=name, error=str(error), who=error.who, action=error.action)
            self._wake_again(name, timedelta(seconds=RETRY_STATE))
        return False

    def _heed_zone(self) -> None:
        """A run may have learnt that the site has moved to another time zone."""
        with suppress(errors.DaemonError):
            zone = self.app.remembered_zone()
            if zone is not None and self._zone is not None and zone.key != self._zone.key:
                self._inbox.put(("moved", zone))

    def _since(self, job: Job) -> datetime:
        """A mark of another schedule says nothing of this one."""
        mark = self.app.state.slot(job.name)
        return mark.slot if mark and mark.schedule_text == job.schedule.text else self.app.clock.now()

    def _one(self, entry: Entry, missed: Missed, slot: datetime, zone: ZoneInfo) -> bool:
        """Deal with the slots in `missed` by one run; False where they are left for another time."""
        app, job = self.app, entry.job
        begin = entry.trigger.fire_time(slot)
        late = app.clock.now() - begin
        caught_up = late > LATE or missed.count > 1
        order = Order(
            job, app.new_run_id(), "catch-up" if caught_up else "slot", slot, missed.count if caught_up else 0,
            due=begin, next_slot=job.schedule.after(slot, zone),
        )  # fmt: skip
        facts = {"job": job.name, "slot": _iso(slot), "late_seconds": max(0, int(late.total_seconds()))}
        if caught_up and not job.settings.catch_up:
            app.log.warning("slot.passed_over", **facts, missed=str(missed), why="catch_up = false")
            app.state.settle_slot(job.name, slot, job.schedule.text)
            return True
        if self._crashed(job, slot):
            app.runner.give_up(order, errors.KeptCrashing(f"its run was interrupted {GIVE_UP} times in a row"))
            return True
        if caught_up:
            first = _iso(missed.first) if missed.first else None
            app.log.warning("slot.missed", **facts, missed=str(missed), first=first)
        self._heed_end(entry, app.runner.run(order), zone)
        self._prune()
        mark = app.state.slot(job.name)
        return mark is not None and mark.slot >= slot  # else the next start, or the next slot, catches it up

    def _heed_end(self, entry: Entry, found: dict[str, Any], zone: ZoneInfo) -> None:
        app, job, error = self.app, entry.job, found["error"] or {}
        if found["away"]:
            self._go_away(error["message"])
        if error.get("kind") == errors.TimedOut.__name__:
            following = _iso(job.schedule.after(app.clock.now(), zone))
            app.log.warning("slot.cut_short", job=job.name, slot=found["slot"], why=error["message"], next=following)
        if wait := found.get("again"):
            self._wake_again(job.name, timedelta(seconds=wait))

    def _prune(self) -> None:
        """Forget old runs; not after each run, since looking through them takes a while where there are many."""
        now = self.app.clock.monotonic()
        if now - self._pruned >= PRUNE_EVERY:
            self._pruned = now
            self.app.prune()

    def _wake_again(self, name: str, wait: timedelta) -> None:
        """For a slot that was not dealt with."""
        at = self.app.clock.now() + wait
        self.app.log.warning("slot.left", job=name, why="its run failed or could not begin", again=_iso(at))
        with self._lock:
            if name in self._entries:
                self._scheduler.add_job(
                    self._work_off, DateTrigger(at), args=[name], id=f"{name} again", replace_existing=True
                )

    def _crashed(self, job: Job, slot: datetime) -> bool:
        """The process died in each of the last runs. One that was told to stop, and then was killed since it took too
        long, died of something else."""
        runs = self.app.state.runs(job.name, limit=GIVE_UP)
        died = [run for run in runs if run.status == "interrupted" and run.slot == slot and not _was_stopping(run)]
        return len(died) == GIVE_UP

    # --- a site that is away -----------------------------------------------------------------------------------------

    def _go_away(self, why: str) -> None:
        """Start nothing until the site answers: one request now and then finds that out for all jobs."""
        with self._lock:
            if self._away:
                return
            now = self.app.clock.monotonic()
            at, pause = self._back
            pause = min(2 * pause, LONGEST_WAIT) if now - at < CALM else FIRST_WAIT
            self._away = Away(why, self.app.clock.now(), pause, now + pause)
        self.app.log.warning("site.away", why=why, again_in=pause)

    def _look_for_site(self) -> None:
        away = self._away
        if away and not away.looking and self.app.clock.monotonic() >= away.next_look:
            away.looking = True
            threading.Thread(target=self._ask_site, args=[away], name="site", daemon=True).start()

    def _ask_site(self, away: Away) -> None:
        error: Exception | None = None
        try:
            with self.app.site(ONCE) as site:
                site.versions  # noqa: B018
        except Exception as failure:
            error = failure
        self._inbox.put(("looked", away, error))

    def _looked(self, away: Away, error: Exception | None) -> None:
        """Whatever a site answers that does not concern all requests, it is there."""
        now = self.app.clock.monotonic()
        if report.is_away(error):
            away.pause = min(2 * away.pause, LONGEST_WAIT)
            away.next_look, away.looking, away.why = now + away.pause, False, str(error)
            self.app.log.warning("site.away", why=str(error), since=_iso(away.since), again_in=away.pause)
            return
        self._back, self._away = (now, away.pause), None
        lasted = self.app.clock.now() - away.since
        self.app.log.warning("site.back", since=_iso(away.since), seconds=round(lasted.total_seconds()))
        self._start_over()

    # --- edits -------------------------------------------------------------------------------------------------------

    def _heed_file(self) -> None:
        """Where it is wanted, a file that has been saved, and then left alone for a tick, is loaded.

        It is looked at and not watched: that costs a stat(2) a second, and also sees a symbolic link that is turned
        elsewhere, an editor's rename and a network file system, none of which inotify(7) tells of.
        """
        if not self.app.config.service.reload_on_save:
            return
        found = configuration.signature(self.app.config.path)
        if found == self._seen and found != self._loaded:
            self._reload()
        self._seen = found

    def _reload(self) -> None:
        """Take over an edited configuration; one that cannot be used changes nothing."""
        self.notifier.reloading(self.app.clock.monotonic())
        try:
            self._apply(self._read())
        except errors.DaemonError as error:
            problems = list(getattr(error, "problems", ())) or [str(error)]
            count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
            self._refused = self.app.redact(f"config not reloaded: {count}, first: {problems[0]}")
            self.app.log.error("config.refused", error=str(error), problems=problems, action=error.action)
        else:
            self._refused = ""
        self._told = -math.inf
        self._tell()
        self.notifier.ready()

    def _read(self) -> Config:
        """The configuration, once nobody writes to it any more. Raises ConfigError."""
        path, clock = self.app.config.path, self.app.clock
        for _ in range(SETTLE_TRIES):
            found = self._loaded = self._seen = configuration.signature(path)
            if found and not timedelta(0) <= clock.now() - found.changed < SETTLE:
                try:
                    loaded = configuration.load(path)
                except errors.ConfigError:
                    if found == configuration.signature(path):
                        raise
                else:
                    if found == configuration.signature(path):
                        return loaded
            if self.app.stop.is_set():
                break
            clock.pause(SETTLE_PAUSE)
        if found is None:
            return configuration.load(path)  # which says why it cannot be read
        raise errors.ConfigError(f"{path}: is still being written to", action="Reload once it is whole.")

    def _apply(self, new: Config) -> None:
        """Raises ConfigError and StateError."""
        app, old, was, now = self.app, self.app.config, _enabled(self.app.config), _enabled(new)
        told = [
            change
            for one in fields(new) if one.name not in ("path", "jobs")
            for change in differences(getattr(old, one.name), getattr(new, one.name), one.name)
        ]  # fmt: skip
        edited = {name: _edits(was[name], now[name]) for name in was.keys() & now.keys()}
        app.reconfigure(new)
        for change in told:
            later = change.key.startswith(AT_NEXT_START) and change.key != "state.keep_runs"
            effect = "takes effect at the next start" if later else "from now on"
            app.log.warning("config.changed", key=change.key, was=change.was, now=change.now, effect=effect)
        for name in was.keys() - now.keys():
            runs = any(run.job == name for run in _by_start(app.running))
            app.log.warning("job.removed", job=name, **({"running": "its run goes on to its end"} if runs else {}))
        for name in now.keys() - was.keys():
            app.log.warning("job.added", job=name)
        for name, changes in edited.items():
            if changes:
                app.log.warning("job.changed", job=name, changes=[str(change) for change in changes])
        if not (told or was.keys() ^ now.keys() or any(edited.values())):
            app.log.info("config.unchanged", config=str(new.path))
        else:
            app.log.info("config.reloaded", config=str(new.path), jobs=list(now))
        self._reschedule(was, now, {name for name, changes in edited.items() if changes})

    def _reschedule(self, was: dict[str, Job], now: dict[str, Job], edited: set[str]) -> None:
        """Wake up as the new configuration wants; jobs that are as they were keep their wake-ups."""
        zone = self.app.remembered_zone()
        if zone is None or self._zone is None or zone.key != self._zone.key or not self._entries:
            self._start_over()
            return
        with self._lock:
            for name in was.keys() - now.keys():
                self._entries.pop(name, None)
                for wake in (name, f"{name} again"):
                    if self._scheduler.get_job(wake):
                        self._scheduler.remove_job(wake)
            for name, entry in self._entries.items():
                self._entries[name] = replace(entry, job=now[name])
        self._try_to_follow([job for name, job in now.items() if name not in was or name in edited], zone)

    # --- the end -----------------------------------------------------------------------------------------------------

    def _ask_to_stop(self) -> None:
        app = self.app
        if app.stop.is_set():
            return
        app.stop.set()
        running = _by_start(app.running)
        timeout = app.config.service.stop_timeout
        self.notifier.stopping(timeout.total_seconds() + LAST_WORDS)
        app.log.info("daemon.stopping", running=[run.job for run in running], timeout=timeout.total_seconds())
        with suppress(errors.StateError):  # whoever is killed in a stop was not killed by the job
            app.state.remember(OURS, "stopping", [run.run for run in running])

    def _drain(self) -> bool:
        """Wait for running jobs, but not for ever; False where one does not end.

        The scheduler's own way to wait holds its locks, which a job that ends may want.
        """
        until = self.app.clock.monotonic() + self.app.config.service.stop_timeout.total_seconds()
        while (left := until - self.app.clock.monotonic()) > 0:
            with self._lock:
                if self._ended.wait_for(lambda: not self._busy, min(left, self._pace())):
                    break
            self._heed_silence()
            self._tell()
        for run in _by_start(self.app.running):
            self._leave(run)
        done = not self._busy
        if self._scheduler.running and done:
            self._scheduler.shutdown(wait=False)
        self.app.log.info("daemon.stopped", unfinished=not done)
        return done

    def _leave(self, run: Running) -> None:
        """Write down that a run did not come to its next step: what it did is known to the next one, by its journal."""
        app, now = self.app, self.app.clock.now()
        lasts = app.config.service.stop_timeout
        said = f"it did not come to its next step within {about(lasts)} of the stop, and was left there"
        error = errors.Stopped(said, action="Nothing: the next start goes on from here.")
        app.log.warning("run.unfinished", job=run.job, run=run.run, started=_iso(run.started), why=said)
        facts = {
            "job": run.job, "run": run.run, "reason": run.reason, "slot": run.slot and run.slot.isoformat(),
            "started": run.started.isoformat(), "ended": now.isoformat(),
            "seconds": round((now - run.started).total_seconds(), 3),
        }  # fmt: skip
        with suppress(errors.StateError):
            app.state.end_run(run.run, report.STOPPED, now, report.bare(facts, error, report.STOPPED))

    def _tell_interrupted(self) -> list[Run]:
        """What was running when the process before us died; what crashed, and was in no stop, is returned."""
        app, now, crashed = self.app, self.app.clock.now(), list[Run]()
        try:
            stopping = app.state.recall(OURS, "stopping") or []
            for run in app.state.interrupt_unfinished(now):
                asked = run.id in stopping
                if asked:
                    app.state.end_run(run.id, run.status, now, run.report | {_STOPPING: True})
                else:
                    crashed.append(run)
                app.log.warning("run.interrupted", job=run.job, run=run.id, started=_iso(run.started), in_a_stop=asked)
            app.prune()
        except errors.StateError as error:  # such as a full disk, which may have room again before the next slot
            app.log.error("state.not_written", error=str(error), who=error.who, action=error.action)
        return crashed


_STOPPING = "stopping"
"""In the report of an interrupted run: it had been asked to stop."""


def _was_stopping(run: Run) -> bool:
    return bool(run.report.get(_STOPPING))


def _enabled(config: Config) -> dict[str, Job]:
    return {name: job for name, job in config.jobs.items() if job.settings.enabled}


def _edits(old: Job, new: Job) -> list[Any]:
    """What differs between two jobs of one name."""
    if old.kind is not new.kind:
        return [f'kind: "{old.settings.kind}" → "{new.settings.kind}"']
    return list(differences(old.settings, new.settings))


def _by_start(running: dict[str, Running]) -> list[Running]:
    return sorted(running.copy().values(), key=lambda run: run.started)


def _clock(moment: datetime, zone: ZoneInfo | None) -> str:
    return f"{moment.astimezone(zone or UTC):%H:%M}"


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")
