"""A site that is away: what is asked of it meanwhile, what is made up for afterwards, and what is told."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from daemon.sandbox import Fault
from daemon.service import FIRST_WAIT, LONGEST_WAIT, Service
from tests.live import RULE
from tests.test_service import ZONE

JOBS = 50
HOUR = 3600.0


def many(schedule: str = "every 5m") -> str:
    return "\n".join(
        f'[jobs.j{n}]\nkind = "cleanup"\nschedule = "{schedule}"\n[[jobs.j{n}.rules]]\n{RULE}' for n in range(JOBS)
    )


class Simulated:
    """A service whose jobs are woken up minute by minute, in one thread."""

    def __init__(self, site, sandbox) -> None:
        self.site, self.sandbox, self.clock = site, sandbox, site.clock
        site.app.state.remember_site(sandbox.url, {"time_zone": ZONE.key})
        self.service = Service(site.app)
        self.service.follow(site.app.config.jobs.values(), ZONE)
        self.service._scheduler.start(paused=True)

    def minute(self) -> None:
        began = self.clock.passed
        for name in self.site.app.config.jobs:
            self.service._work_off(name)
        away = self.service._away
        if away and self.clock.monotonic() >= away.next_look:
            self.service._ask_site(away)
            self.service._take(*self.service._inbox.get_nowait())
            if self.service._away is None:
                self.service._take(*self.service._inbox.get(timeout=20))
        self.clock.passed = max(self.clock.passed, began + 60)

    def hours(self, number: float) -> None:
        until = self.clock.passed + number * HOUR
        while self.clock.passed < until:
            self.minute()

    def runs(self, status: str) -> list:
        return [run for run in self.site.app.state.runs(limit=10_000) if run.status == status]


@pytest.fixture
def simulated(sandbox, daemon_for, monkeypatch, capsys):
    monkeypatch.setattr("daemon.runner.LARGEST_SKEW", timedelta(days=4000))
    made = []

    def make(jobs: str) -> Simulated:
        made.append(Simulated(daemon_for(sandbox, jobs), sandbox))
        capsys.readouterr()
        return made[-1]

    yield make
    for one in made:
        one.service._scheduler.shutdown()


OUTAGES = {
    "maintenance": Fault("status", code=503, html=False), "proxy": Fault("status", code=502), "cut": Fault("cut"),
}  # fmt: skip


@pytest.mark.parametrize("fault", OUTAGES.values(), ids=OUTAGES)
def test_an_hour_of_outage_costs_the_site_few_requests_however_many_jobs_wait(fault, simulated, sandbox):
    """One run finds out, one request now and then looks whether the site is back, with growing pauses; each job is
    made up for by one run, afterwards."""
    one = simulated(many())
    one.minute()
    sandbox.faults.add(fault)
    sandbox.requests.clear()
    one.hours(1)
    assert 10 <= len(sandbox.requests) <= 30
    sandbox.faults.clear()
    one.hours((LONGEST_WAIT + 120) / HOUR)
    caught_up = [run for run in one.runs("done") if run.reason == "catch-up" and run.report["missed"] >= 10]
    assert len({run.job for run in caught_up}) == len(caught_up) == JOBS
    assert len(one.runs("failed")) <= 2


def test_the_pauses_grow_and_begin_anew_only_after_a_calm_time(simulated, sandbox, capsys):
    """A site that answers now and then is not taken for well."""
    one = simulated(many().partition("[jobs.j1]")[0])
    service = one.service
    waits = []
    for _ in range(4):
        service._go_away("503")
        waits.append(service._away.pause)
        one.clock.passed += service._away.pause
        service._looked(service._away, None)
        service._inbox.get(timeout=20)
    assert waits == [FIRST_WAIT, 2 * FIRST_WAIT, 4 * FIRST_WAIT, 8 * FIRST_WAIT]
    one.clock.passed += HOUR
    service._go_away("503")
    assert service._away.pause == FIRST_WAIT
    said = [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()]
    assert said.count("site.away") == 5 and said.count("site.back") == 4


def test_a_daily_slot_that_met_an_outage_is_run_when_the_site_is_back(simulated, sandbox):
    """The night's clean-up falls into the night's maintenance: it is run after it, and not a day later."""
    one = simulated(many("daily").partition("[jobs.j1]")[0])
    one.site.app.state.reset_slot("j0")
    one.site.app.state.settle_slot("j0", one.clock.now() - timedelta(days=1), "daily")
    sandbox.faults.add(Fault("status", code=503))
    one.hours(0.5)
    assert one.runs("failed") and not one.runs("done")
    sandbox.faults.clear()
    one.hours((LONGEST_WAIT + 120) / HOUR)
    (run,) = one.runs("done")
    assert run.slot == one.site.app.state.slot("j0").slot and run.report["late_seconds"] >= 0.5 * HOUR


def test_what_one_job_meets_is_no_outage(simulated, sandbox):
    """A deadlock, a refusal or a slow query of one job keeps no other from running."""
    one = simulated(many().partition("[jobs.j2]")[0])
    one.minute()
    sandbox.faults.add(Fault("status", path="*Error*", code=500, html=False))
    one.hours(0.2)
    assert one.service._away is None
