"""The law of digests: for each period and reader at most one accepted mail, and one after any down-time that is shorter
than max_lateness. A year of a weekly digest, in simulated time, against the sandbox."""

from __future__ import annotations

import random
import tempfile
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest.mock import patch
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from daemon import config
from daemon.app import App
from daemon.core.periods import Span
from daemon.rendering.process import Rendered
from daemon.sandbox import Fault, Sandbox
from daemon.service import Service
from daemon.site.mail import Mail
from daemon.state.journal import Journal
from daemon.state.store import State
from tests.conftest import FakeClock

ZONE = ZoneInfo("America/New_York")
START = datetime(2026, 1, 1, 12, tzinfo=UTC)
LATENESS = timedelta(days=2)
HOUR = timedelta(hours=1)
READERS = ("ann@example.com", "bob@example.com")
JOB = f"""
[jobs.job]
kind = "digest"
schedule = "30 2 * * 0"
title = "Weekly"
max_lateness = "2d"
compare = false
to = {list(READERS)}
[[jobs.job.metrics]]
label = "Users"
doctype = "User"
"""
"""Sundays at half past two: the hour that New York skips in spring and has twice in autumn."""
PLAIN = ("none", "lose_reply", "cut", "away", "refused", "gone")
KILLS = ("killed before", "killed after", "killed after a lost reply")


class Killed(BaseException):
    """What kill -9 does to the process, as far as what follows it can tell: nothing is done any more."""


@dataclass
class Life:
    """The process: alive until it is killed, and then nothing that it does reaches the disk or the site."""

    dead: bool = False
    plan: list[tuple[str, int]] = field(default_factory=list)
    """Of the run to come: (what goes wrong, with which mail)."""
    mails: int = 0

    def send(self, real, sandbox: Sandbox):
        def send(mail: Mail, letter):
            if self.dead:
                raise Killed
            what = {number: what for what, number in self.plan}.get(self.mails, "none")
            self.mails += 1
            if what == "killed before":
                self.dead = True
                raise Killed
            faults = {"lose_reply": "lose_reply", "cut": "cut", "killed after a lost reply": "lose_reply"}
            if what in faults:
                sandbox.faults.add(Fault(faults[what], "POST", "*.email.make", times=1))
            elif what == "gone":  # until the run ends
                sandbox.faults.add(Fault("status", "POST", "*.email.make", code=503))
            elif what in ("away", "refused"):
                code = 503 if what == "away" else 500
                sandbox.faults.add(Fault("status", "POST", "*.email.make", times=1, code=code, html=False))
            try:
                return real(mail, letter)
            finally:
                if what.startswith("killed"):
                    self.dead = True

        return send


@dataclass
class World:
    """A site, a state that survives, and a process that comes and goes."""

    sandbox: Sandbox
    folder: Path
    clock: FakeClock
    life: Life = field(default_factory=Life)

    def up(self, until: datetime, plans: dict[datetime, list[list[tuple[str, int]]]]) -> bool:
        """Run the service from now to `until`. False where it was killed. `plans`: slot → what goes wrong in the runs
        for it, one after the other."""
        self.life.dead = False
        loaded = config.load(self.folder / "config.toml", {"K": "key-administrator", "S": "secret-of-administrator"})
        app = App(loaded, clock=self.clock, log_level="error")
        try:
            job, service, again = app.job("job"), Service(app), []
            service._wake_again = lambda name, wait: again.append(self.clock.now() + wait)
            app.state.interrupt_unfinished(self.clock.now())
            service.follow([job], ZONE)
            while True:
                now = self.clock.now()
                slot = job.schedule.latest(now - LATENESS, now, ZONE)
                waiting = plans.get(slot, [])
                self.life.plan, self.life.mails = (waiting.pop(0) if waiting else []), 0
                service._work_off("job")
                self.sandbox.faults.clear()
                service._away = None  # it answers again; who finds that out is proven in test_outage
                wakes = [one for one in (*again, job.schedule.after(self.clock.now(), ZONE)) if one > self.clock.now()]
                again.clear()
                if min(wakes) >= until:
                    self.clock.moment += max(timedelta(0), until - self.clock.now())
                    return True
                self.clock.moment += min(wakes) - self.clock.now()
        except Killed:
            self.sandbox.faults.clear()
            return False
        finally:
            self.life.dead = False
            app.close()

    def rest(self, span: timedelta) -> None:
        self.clock.moment += span


class Quick:
    """Renders at once; the real one is a process of its own, and proven elsewhere."""

    def __init__(self, *_):
        pass

    def check(self, template):
        pass

    def close(self):
        pass

    def render(self, template, known):
        return Rendered(f"{known['title']} {known['first']}", "<body>x</body>")


@dataclass(frozen=True)
class Week:
    """What happens around one slot."""

    down: int
    """Hours that the daemon is down; from `LATENESS` on too long."""
    before: int
    """Hours before the slot at which that begins."""
    runs: list[list[tuple[str, int]]]


def year_of(seed: int) -> list[Week]:
    """52 weeks, most of them troubled: some down too long, some killed twice in a row; three kills would be a crash
    that the service gives up on."""
    rng = random.Random(seed)

    def run() -> list[tuple[str, int]]:
        return [(rng.choice(PLAIN + KILLS), number) for number in rng.sample(range(2), rng.randint(0, 2))]

    def down() -> int:
        return rng.choice([0, 0, rng.randint(1, 45), rng.randint(49, 120)])

    return [Week(down(), rng.randint(0, 24), [run() for _ in range(rng.randint(0, 2))]) for _ in range(52)]


def live(world: World, year: list[Week], schedule) -> dict[datetime, bool]:
    """Slot → whether its digest must have come."""
    owed: dict[datetime, bool] = {}
    slot = schedule.after(world.clock.now() + timedelta(days=1), ZONE)
    world.up(slot - timedelta(hours=26), {})  # the job is known from before its first slot
    for week in year:
        begins = slot - timedelta(hours=week.before)
        plans = {slot: [list(run) for run in week.runs]}
        ends = begins + timedelta(hours=week.down)
        owed[slot] = ends - slot < LATENESS - 2 * HOUR
        _stay_up(world, begins, plans)
        if week.down:
            world.rest(max(timedelta(0), ends - world.clock.now()))
        following = schedule.after(slot, ZONE)
        _stay_up(world, max(world.clock.now() + HOUR, following - timedelta(hours=25)), plans)
        slot = following
        while slot < world.clock.now() + HOUR:
            slot = schedule.after(slot, ZONE)
    return owed


def _stay_up(world: World, until: datetime, plans) -> None:
    """As systemd does: started again after each kill."""
    while world.clock.now() < until and not world.up(until, plans):
        world.rest(timedelta(seconds=5))


def proven(year: list[Week]) -> None:
    with ExitStack() as held:
        folder = Path(held.enter_context(tempfile.TemporaryDirectory()))
        clock = FakeClock()
        clock.moment = START
        sandbox = held.enter_context(Sandbox("15", clock=clock.now, worker_delay=0))
        text = f'[site]\nurl = "{sandbox.url}"\napi_key = {{ env = "K" }}\napi_secret = {{ env = "S" }}\n'
        (folder / "config.toml").write_text(f'{text}[state]\npath = "state.db"\n{JOB}')
        world = World(sandbox, folder, clock)
        life = world.life
        held.enter_context(patch("daemon.runner.LARGEST_SKEW", timedelta(days=9999)))
        held.enter_context(patch("daemon.jobs.digest.Renderer", Quick))
        held.enter_context(patch.object(Mail, "send", life.send(Mail.send, sandbox)))
        for owner, name in ((Mail, "find"), (Journal, "write"), (Journal, "forget"), (State, "end_run"),
                            (State, "settle_slot")):  # fmt: skip
            held.enter_context(patch.object(owner, name, _guarded(life, getattr(owner, name))))
        owed = live(world, year, config.Schedule.parse("30 2 * * 0"))
        mails = Counter((mail["subject"], mail["recipients"][0]) for mail in sandbox.outbox)
    assert max(mails.values(), default=0) <= 1, mails
    for slot, due in owed.items():
        first = Span.parse("last week").due(slot, ZONE).first
        for reader in READERS:
            assert not due or mails[f"Weekly {first}", reader] == 1, (slot, reader, mails)


def _guarded(life: Life, real):
    def guarded(*args, **kwargs):
        if life.dead:
            raise Killed
        return real(*args, **kwargs)

    return guarded


def test_each_reader_gets_each_digest_once():
    """Down-time, kills before and after the site has the mail, lost replies, 503 and 500, two changes of the clocks:
    never two, and one wherever the daemon was back in time."""
    proven(year_of(7))


@pytest.mark.long
@settings(max_examples=60, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
@given(st.integers(0, 2**32))
def test_each_reader_gets_each_digest_once_in_many_years(seed):
    """The same, sixty times, each year another."""
    proven(year_of(seed))
