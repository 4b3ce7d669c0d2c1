"""One run of one job: gather, plan, guard, apply, report. The same path for every kind; a dry run stops before apply.

A part that fails leaves the others alone. What would fail the same way for every part (no site, no key, no time left)
ends the run; what was done by then is reported as done.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar
from zoneinfo import ZoneInfo

from daemon import errors, report
from daemon.archive import Archive
from daemon.config import Job
from daemon.core.clock import Clock
from daemon.core.duration import format_duration
from daemon.core.kind import Part, Run
from daemon.core.plan import Outcome, Tally
from daemon.progress import Told, Watch, holder
from daemon.site.client import Site
from daemon.state import Run as RunRecord
from daemon.state import SlotMark, State
from daemon.state.journal import Journal
from daemon.state.links import Links
from daemon.trail import NOWHERE, Past, Trails, Writer, archived

if TYPE_CHECKING:  # most runs have no remote side
    from daemon.core.api import ApiSettings
    from daemon.remote.client import Remote
    from daemon.state.store import Claimed

Item = TypeVar("Item")
Answer = TypeVar("Answer")

FIRST_WAIT, LONGEST_WAIT = timedelta(minutes=5), timedelta(hours=1)
"""Before a slot whose run failed is tried again, by a job with patience: twice as long each time."""
STATE_WAIT = timedelta(seconds=30)
"""Before a slot is tried again whose run lost the state."""
END_WAIT = 1.0
"""Seconds between tries to write down how a run ended, as long as nobody else may run the job."""
LOOK_BACK = timedelta(days=3653)
"""How far a run by hand looks back for the slot that it stands for."""
LARGEST_SKEW = timedelta(hours=1)
"""Clocks further apart than this make ages meaningless."""

_ENDS_THE_RUN = (
    errors.Stopped,
    errors.StateError,
    errors.OutputError,
    errors.ClockSkew,
    errors.SiteDown,
    errors.Unreachable,
    errors.Throttled,
    errors.UntrustedCertificate,
    errors.NotFrappe,
    errors.CredentialsRefused,
)


SILENCE = 300.0
"""Seconds for which a run may do what shows no sign of life, such as to unpack a large workbook, beside its longest
request."""


class RunClock:
    """Time as one run sees it: it ends at `deadline` (monotonic seconds) and as soon as `stop` is set.

    Whatever a run does asks its clock: each step, each wait, each request when it begins and while its reply comes. So
    the clock knows when the run last showed a sign of life, and until when it may lawfully show none: for as long as
    its longest request may take (`request`, seconds) and SILENCE, and where it waits, such as for a Retry-After, until
    that wait is over. Whoever is silent beyond that hangs, and no deadline can end it.
    """

    def __init__(self, clock: Clock, stop: threading.Event, timeout: timedelta, request: float = 0.0) -> None:
        self._clock, self._stop = clock, stop
        self._timeout = timeout
        self._deadline = clock.monotonic() + timeout.total_seconds()
        self._silence = request + SILENCE
        self._seen = clock.monotonic()
        self._silent_until = self._seen + self._silence

    def now(self) -> datetime:
        return self._clock.now()

    def monotonic(self) -> float:
        return self.beat()

    def beat(self, wait: float = 0.0) -> float:
        """A sign of life, before `wait` seconds of lawful silence; returns what the clock shows."""
        self._seen = now = self._clock.monotonic()
        # One thread's step does not shorten another's wait.
        self._silent_until = max(self._silent_until, now + wait + self._silence)
        return now

    def silent(self) -> float | None:
        """For how many seconds there has been no sign of life, where that is longer than is lawful; else None."""
        now = self._clock.monotonic()
        return now - self._seen if now > self._silent_until else None

    @property
    def overdue(self) -> bool:
        """The deadline has passed."""
        return self._clock.monotonic() >= self._deadline

    def check(self) -> None:
        """Raises Stopped where nothing new should be begun."""
        self._refuse(0)

    def pause(self, seconds: float) -> None:
        """Wait, or raise Stopped as soon as waiting is of no use."""
        self._refuse(seconds)
        self.beat(seconds)
        self._clock.pause(seconds)
        self._refuse(0)

    def _refuse(self, seconds: float) -> None:
        if self._stop.is_set():
            raise errors.Stopped("the daemon was asked to stop")
        if self.beat() + seconds >= self._deadline:
            raise errors.TimedOut(f"the run passed its timeout of {format_duration(self._timeout)}")


class Remotes:
    """The other APIs that a run works with, each opened when it is first asked for."""

    def __init__(self, open_remote: Callable[[ApiSettings], Remote]) -> None:
        self._open = open_remote
        self._opened: list[tuple[ApiSettings, Remote]] = []
        self._lock = threading.Lock()

    def of(self, settings: ApiSettings) -> Remote:
        with self._lock:
            for known, remote in self._opened:
                if known == settings:
                    return remote
            self._opened.append((settings, self._open(settings)))
            return self._opened[-1][1]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        for _, remote in self._opened:
            remote.transport.close()

    def report(self) -> dict[str, Any]:
        """What was sent to them, for the report; nothing where there were none."""
        traffic = [remote.transport.traffic for _, remote in self._opened]
        replies = sum((one.statuses for one in traffic), Counter[str]())
        sent = {
            "remote_requests": sum(one.requests for one in traffic),
            "remote_retries": sum(one.retries for one in traffic),
            "remote_replies": dict(replies),
        }
        return sent if traffic else {}


@dataclass(slots=True)
class LiveRun:
    """daemon.core.kind.Run, with the real things behind it."""

    id: str
    job: str
    section: str
    direction: str
    wish: Mapping[str, Any]
    started: datetime
    dry_run: bool
    explain: bool
    site: Site
    clock: RunClock
    state: Claimed
    pool: ThreadPoolExecutor
    at_once: int
    watch: Watch
    remotes: Remotes
    held: ExitStack
    """Ends with the run."""
    trail: Writer = field(default_factory=lambda: NOWHERE.writer("", "", ""))
    trails: Trails = NOWHERE
    slots_within: Callable[[timedelta], list[datetime]] = lambda _: []

    def slots(self, within: timedelta) -> list[datetime]:
        return self.slots_within(within)

    def now(self) -> datetime:
        return self.clock.now()

    def pause(self, seconds: float) -> None:
        self.clock.pause(seconds)

    def check(self) -> None:
        self.clock.check()
        self.state.verify()

    def each(self, function: Callable[[Item], Answer], items: Iterable[Item]) -> Iterator[Answer]:
        """At most twice as many items are taken as can be worked on, so that an endless iterable is no harm."""
        waiting: set[Future[Answer]] = set()
        failed: list[Exception] = []
        try:
            for item in _until_failed(items, failed):
                waiting.add(self.pool.submit(function, item))
                while len(waiting) >= 2 * self.at_once:
                    yield from _settled(waiting, failed)
            while waiting:
                yield from _settled(waiting, failed)
        finally:
            for future in waiting:
                future.cancel()
            wait(waiting)
        if failed:
            raise failed[0]

    def remote(self, settings: ApiSettings) -> Remote:
        return self.remotes.of(settings)

    def archive(self, directory: Path, part: str) -> Archive:
        return Archive(directory, part, self.id)

    def past(self, run: str) -> Past | None:
        return self.trails.past(run)

    def pasts(self, job: str = "", since: str = "") -> Iterator[tuple[str, Past]]:
        return self.trails.pasts(job, since)

    def archived(self, path: Path, offset: int) -> list[dict[str, Any]]:
        return archived(path, offset)

    def journal(self, owner: str) -> Journal:
        return Journal(self.state, owner)

    def links(self, sync: str) -> Links:
        links = Links(self.state, sync)
        return self.hold(links.scratch()) if self.dry_run else links

    def hold(self, context: AbstractContextManager[Answer]) -> Answer:
        return self.held.enter_context(context)

    def claim(self, name: str) -> AbstractContextManager[object]:
        return self.state.claim(name)

    def progress(self, part: str, done: int, total: int) -> None:
        self.clock.beat()
        self.watch(part, done, total)

    def recall(self, key: str) -> Any:
        return self.state.recall(self.job, key)

    def remember(self, key: str, value: Any) -> None:
        if value is None:
            self.state.forget(self.job, key)
        else:
            self.state.remember(self.job, key, value)


def _until_failed(items: Iterable[Item], failed: list[Exception]) -> Iterator[Item]:
    """`items` until anything failed; an error of their own is put to the others."""
    try:
        for item in items:
            if failed:
                return
            yield item
    except Exception as error:  # raised once what is under way has been told
        failed.append(error)


def _settled(waiting: set[Future[Answer]], failed: list[Exception]) -> Iterator[Answer]:
    """Answers as they come. Once anything failed, what has not begun is called off."""
    done, _ = wait(waiting, return_when=FIRST_COMPLETED)
    waiting -= done
    for future in done:
        if future.cancelled():
            continue
        try:
            answer = future.result()
        except Exception as error:
            failed.append(error)
            for other in waiting:
                other.cancel()
        else:
            yield answer


class Progress:
    """Logs how far a part is, every few seconds, with its rate and how long the rest takes at that rate."""

    EVERY = 5.0

    def __init__(self, clock: Clock, log: Any) -> None:
        self._clock, self._log = clock, log
        self._since: dict[str, tuple[float, int]] = {}
        self._told = clock.monotonic()

    def __call__(self, part: str, done: int, total: int) -> None:
        now = self._clock.monotonic()
        begun, first = self._since.setdefault(part, (now, done))
        if now - self._told < self.EVERY:
            return
        self._told = now
        rate = (done - first) / (now - begun) if now > begun else 0.0
        left = round((total - done) / rate) if rate else None
        self._log.info(
            "part.progressed", part=part, done=done, total=total, per_second=round(rate, 1), seconds_left=left
        )


@dataclass(frozen=True, slots=True)
class Order:
    """Which run is wanted, and why."""

    job: Job
    run_id: str
    reason: str
    """slot, catch-up, by hand or undo."""
    slot: datetime | None = None
    missed: int = 0
    """Slots that a catch-up run stands for."""
    due: datetime | None = None
    """When the run should have begun: the slot and its jitter."""
    next_slot: datetime | None = None
    """A slot whose run did not find the site is tried again until this one."""
    dry_run: bool = False
    explain: Callable[[Outcome], None] | None = None
    """Wants to see the outcome of every row, kept ones included."""
    wish: Mapping[str, Any] = field(default_factory=dict)
    """What the command line asks of this run alone; the kind knows what it means."""
    watch: Watch | None = None
    """Shows how far the run is; None: the log does."""


@dataclass(frozen=True, slots=True)
class Running:
    """A run that goes on in this process."""

    job: str
    run: str
    reason: str
    slot: datetime | None
    started: datetime
    clock: RunClock


@dataclass(slots=True)
class Runner:
    """Runs jobs, each in the thread that calls."""

    state: State
    clock: Clock
    stop: threading.Event
    open_site: Callable[[RunClock, Any], Site]
    open_remote: Callable[[ApiSettings, RunClock, Any], Remote]
    concurrency: int
    log: Any
    redact: Callable[[Any], Any]
    trails: Trails
    zone: ZoneInfo | None = None
    """Of the schedules; None: the site's."""
    running: dict[str, Running] = field(default_factory=dict)
    """By run, what goes on now; shared with whoever wants to see it."""
    request: float = 0.0
    """Seconds that a request to the site may take."""
    ended: Callable[[Mapping[str, Any]], None] = lambda _: None
    """Is told of each run's report once it is kept; raises nothing."""
    _seen: dict[str, Any] = field(default_factory=dict)

    def run(self, order: Order) -> dict[str, Any]:
        """The report of the run, which is also kept in the state. Raises AlreadyRunning, SlotSettled and StateError,
        nothing else."""
        job = order.job
        with self.state.claim(job.name) as state:
            # A run of this job that was killed left its record behind; `once` by cron has no start of a service to tell
            # it, nor has a daemon that takes over what another began.
            state.interrupt(job.name, self.clock.now())
            self._refuse_settled(order)
            started = self.clock.now()
            log = self.log.bind(job=job.name, run=order.run_id)
            record = RunRecord(
                order.run_id, job.name, job.settings.kind, order.reason, order.slot, started, dry_run=order.dry_run,
                report={"holder": holder()},
            )  # fmt: skip
            clock = RunClock(self.clock, self.stop, job.settings.timeout, self._longest_request(job))
            # First, so that whoever is asked to stop knows of each run that the state calls running.
            self.running[order.run_id] = Running(job.name, order.run_id, order.reason, order.slot, started, clock)
            try:
                state.begin_run(record)
                log.info("run.started", kind=job.settings.kind, reason=order.reason, **_told(order, started))
                found = self.redact(self._report(order, started, state, clock, log))
            finally:
                del self.running[order.run_id]
            settles = SlotMark(job.name, order.slot, job.schedule.text) if order.slot else None
            if found["status"] == report.STOPPED and self.stop.is_set():
                settles = None  # the next start catches it up
            elif (found["error"] or {}).get("kind") == "ClockSkew":
                settles = None  # nobody knows whether the slot has come
            elif settles and "StateUnavailable" in [e["kind"] for e in _errors_of(found)]:
                settles, found["again"] = None, STATE_WAIT.total_seconds()
            if settles and (wait := self._again(order, found)):
                settles, found["again"] = None, wait.total_seconds()
            self._end(state, order.run_id, found, settles)
            self._forget_idle(state, job.name)
        _log_end(log, found)
        self.ended(found)
        return dict(found)

    def give_up(self, order: Order, error: errors.DaemonError) -> None:
        """Write down that there is no run for the slot, and why: a failed one, that ends as it begins."""
        now, job = self.clock.now(), order.job
        record = RunRecord(order.run_id, job.name, job.settings.kind, order.reason, order.slot, now)
        found = self.redact(report.bare(_facts(order, now, now), error))
        self.state.begin_run(record)
        settles = SlotMark(job.name, order.slot, job.schedule.text) if order.slot else None
        self.state.end_run(order.run_id, found["status"], now, found, settles)
        _log_end(self.log.bind(job=job.name, run=order.run_id), found)
        self.ended(found)

    def _longest_request(self, job: Job) -> float:
        """Seconds, to the site or to a job's other side."""
        timeouts = getattr(getattr(job.settings, "api", None), "timeouts", None)
        lengths = [getattr(timeouts, name) for name in type(timeouts).model_fields] if timeouts else []
        return max(self.request, sum(lengths, timedelta(0)).total_seconds())

    def _again(self, order: Order, found: dict[str, Any]) -> timedelta | None:
        """How long to wait before the slot is tried again; None: it is dealt with, whatever became of it."""
        parts = found["parts"]
        if not found["error"] and not any(part["again"] for part in parts):
            return None
        tries = sum(run.slot == order.slot and not run.dry_run for run in self.state.runs(order.job.name, limit=16))
        wait = min(FIRST_WAIT * 2 ** max(0, tries - 1), LONGEST_WAIT)
        if not order.slot:
            return None
        over = order.slot + order.job.settings.patience
        if found["away"] and order.next_slot:  # whatever the job's patience: what fails is not the job
            over = max(over, order.next_slot)
        return wait if self.clock.now() + wait < over else None

    def _slots(self, order: Order, site: Site, within: timedelta) -> list[datetime]:
        """daemon.core.kind.Run.slots: of a service those since the last that was dealt with."""
        schedule, zone, now = order.job.schedule, self.zone or site.clock.zone, self.clock.now()
        if order.slot is None:
            latest = schedule.latest(now - LOOK_BACK, now, zone)
            return [latest] if latest else []
        mark = self.state.slot(order.job.name)
        known = mark.slot if mark and mark.schedule_text == schedule.text else order.slot - timedelta(seconds=1)
        found, at = list[datetime](), schedule.after(max(known, now - within - timedelta(seconds=1)), zone)
        while at <= order.slot:
            found.append(at)
            at = schedule.after(at, zone)
        return found

    def _end(self, state: Claimed, run_id: str, found: dict[str, Any], settles: SlotMark | None) -> None:
        """Write the end down: what a whole run did shall not be forgotten for a database that starts anew just then."""
        while True:
            try:
                state.end_run(run_id, found["status"], self.clock.now(), found, settles)
            except errors.StateUnavailable:
                state.verify()
                if self.stop.is_set():
                    raise
                self.clock.pause(END_WAIT)
            else:
                return

    def _forget_idle(self, state: Claimed, job: str) -> None:
        """Of runs that found nothing to look at, one after the other, the last is remembered."""
        newest = state.runs(job, limit=2)
        if len(newest) == 2 and all(report.is_idle(run.report) and not run.dry_run for run in newest):
            state.forget_run(newest[1].id)

    def _refuse_settled(self, order: Order) -> None:
        """Another daemon on this state may have dealt with the slot since we saw it due. Raises SlotSettled."""
        mark = self.state.slot(order.job.name) if order.slot else None
        if mark and order.slot and mark.slot >= order.slot and mark.schedule_text == order.job.schedule.text:
            raise errors.SlotSettled(f"{order.job.name}: the slot {order.slot.isoformat()} was dealt with meanwhile")

    def _report(self, order: Order, started: datetime, state: Claimed, clock: RunClock, log: Any) -> dict[str, Any]:
        """Do the run and put what became of it into words."""
        site = self.open_site(clock, log)
        remotes = Remotes(lambda settings: self.open_remote(settings, clock, log))
        tallies: list[Tally] = []
        error: Exception | None = None
        told = Told(self.state, order.run_id, self.clock, order.watch or Progress(self.clock, log))
        try:
            with site, remotes, ThreadPoolExecutor(self.concurrency, order.job.name) as pool, ExitStack() as held:
                live = LiveRun(
                    order.run_id, order.job.name, order.job.section, order.job.direction, order.wish,
                    started, order.dry_run, order.explain is not None,
                    site, clock, state, pool, self.concurrency,
                    told, remotes, held,
                    self.trails.writer(order.run_id, order.job.name, order.job.settings.kind), self.trails,
                    lambda within: self._slots(order, site, within),
                )  # fmt: skip
                try:
                    self._first_contact(site, log)
                    for part in order.job.kind.parts(live, order.job.settings):
                        tallies.append(part.tally)
                        _do_part(part, live, order.explain, log, told.batch)
                except errors.DaemonError as ended:
                    error = ended
                except Exception as bug:  # whatever it is, the other jobs go on
                    error = bug
                    log.exception("run.crashed")
                self._tell_site(order, live, tallies, error, log)
        except Exception as bug:  # closing connections may fail too
            error = error or bug
        return self._worded(order, started, site, tallies, error) | remotes.report()

    def _first_contact(self, site: Site, log: Any) -> None:
        """Learn what the site is. Raises ClockSkew where its clock and ours are too far apart to speak of ages."""
        facts = {"version": site.dialect.version, "time_zone": site.clock.zone.key, "apps": site.versions}
        if self._seen != facts:
            self._seen = facts
            self.state.remember_site(site.url, facts)
            log.debug("site.recognised", **facts)
        offset = site.transport.date_offset or timedelta(0)
        if abs(offset) > LARGEST_SKEW:
            ahead = "ahead of" if offset > timedelta(0) else "behind"
            raise errors.ClockSkew(f"the site's clock is {format_duration(abs(offset))} {ahead} this machine's")

    def _tell_site(self, order: Order, live: LiveRun, tallies: list[Tally], error: Exception | None, log: Any) -> None:
        """Leave the run's errors in the site's Error Log, as jobs of Frappe itself do."""
        status = report.status_of(tallies, error)
        if order.dry_run or not order.job.settings.report_errors_to_site or status in (report.DONE, report.STOPPED):
            return
        lines = [f"{tally.part}: {tally.refused or tally.error}" for tally in tallies if tally.refused or tally.error]
        lines += [f"{o.action.doctype} {o.action.name}: {o.reason}" for t in tallies for o in t.samples if o.error]
        doc = {
            "doctype": "Error Log",
            "method": f"frappe-daemon: {order.job.name} {status}"[:140],
            "error": "\n".join([*([str(error)] if error else []), *lines]),
        }
        try:
            name = live.site.insert(self.redact(doc)).get("name")
        except errors.DaemonError as failure:
            log.warning("site.not_told", error=str(failure))
        else:
            log.info("site.told", error_log=name)

    def _worded(
        self, order: Order, started: datetime, site: Site, tallies: list[Tally], error: Exception | None
    ) -> dict[str, Any]:
        parts = [report.part_report(tally) for tally in tallies]
        ended, status, traffic = self.clock.now(), report.status_of(tallies, error), site.transport.traffic
        return {
            **_facts(order, started, ended),
            "status": status,
            "exit_code": int(report.exit_code(status, error)),
            "counts": report.totals(parts, "counts"),
            "errors": report.totals(parts, "errors"),
            "requests": traffic.requests,
            "retries": traffic.retries,
            "replies": dict(traffic.statuses),
            "error": error and report.error_report(error),
            "away": report.is_away(error),
            "parts": parts,
        }


def _facts(order: Order, started: datetime, ended: datetime) -> dict[str, Any]:
    """Which run it was, and when."""
    return {
        "job": order.job.name,
        "kind": order.job.settings.kind,
        "run": order.run_id,
        "reason": order.reason,
        "slot": order.slot and order.slot.isoformat(),
        "missed": order.missed,
        "late_seconds": _late(order, started),
        "dry_run": order.dry_run,
        "started": started.isoformat(),
        "ended": ended.isoformat(),
        "seconds": round((ended - started).total_seconds(), 3),
    }


def _told(order: Order, started: datetime) -> dict[str, Any]:
    """What the log says of a run that begins."""
    late = {"late_seconds": _late(order, started)} if order.due else {}
    return {"missed": order.missed, **late, "dry_run": order.dry_run}


def _late(order: Order, started: datetime) -> int:
    """Whole seconds between when the run should have begun and when it did."""
    return max(0, int((started - order.due).total_seconds())) if order.due else 0


def _do_part(
    part: Part, run: Run, explain: Callable[[Outcome], None] | None, log: Any, told: Callable[[Tally], None]
) -> None:
    """Take one part through its steps. Raises only what would fail the same way for every part."""
    tally = part.tally
    try:
        told(tally)
        tally.census = part.census()
        tally.refused = part.guard.verdict(tally.census) if tally.census else ""
        if tally.refused:
            log.warning("part.refused", part=tally.part, why=tally.refused)
            return
        for actions in part.plan():
            run.check()
            untold: errors.OutputError | None = None
            for outcome in part.foresee(actions) if run.dry_run else part.apply(actions):
                tally.add(outcome)
                if explain and not untold:
                    try:
                        explain(outcome)
                    except errors.OutputError as error:
                        untold = error  # the rest of the batch is counted all the same
            told(tally)
            if untold:
                raise untold
    except _ENDS_THE_RUN as error:
        tally.error = error
        raise
    except errors.DaemonError as error:
        tally.error = error
        log.error("part.failed", part=tally.part, error=str(error), who=error.who, action=error.action)
    finally:
        _close(part)
        log.info("part.finished", part=tally.part, **tally.counts)


def _close(part: Part) -> None:
    """A part that was ended by an error may not be able to say its last word; the error itself is what counts."""
    try:
        part.close()
    except errors.DaemonError as error:
        part.tally.error = part.tally.error or error


def _errors_of(found: dict[str, Any]) -> list[dict[str, Any]]:
    """What ended the run, or parts of it."""
    return [error for error in (found["error"], *(part["error"] for part in found["parts"])) if error]


def _log_end(log: Any, found: dict[str, Any]) -> None:
    facts = {key: found[key] for key in ("status", "seconds", "requests", "retries")} | found["counts"]
    if (error := found["error"]) and found["status"] == report.STOPPED:
        log.warning("run.finished", **facts, why=error["message"])
    elif error:
        log.error("run.finished", **facts, error=error["message"], who=error["who"], action=error["action"])
    elif found["status"] == report.DONE:
        log.info("run.finished", **facts)
    else:
        log.warning("run.finished", **facts, **({"errors": found["errors"]} if found["errors"] else {}))
