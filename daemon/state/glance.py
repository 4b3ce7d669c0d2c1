"""What those who only look want of the state: the last runs without their reports, how a job stands, how far a run is.

Reads, and writes one thing: how far a run that is under way has come, into that run's own record.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import and_, bindparam, func, select, update

from daemon.core.alerts import BAD, GOOD, Standing
from daemon.state.records import RUNNING, Run, SlotMark
from daemon.state.schema import runs, slots
from daemon.state.store import State

BY_HAND = "by hand"
_LIGHT = [column for column in runs.c if column.name != "report"]
_COUNTS = and_(runs.c.dry_run.is_(False), runs.c.reason != BY_HAND)
"""What a schedule wanted: runs by hand and dry runs say nothing of whether the daemon does its work."""
_NEWEST = (runs.c.started.desc(), runs.c.id.desc())


def note_progress(state: State, run_id: str, report: dict[str, Any]) -> None:
    """Put `report` into the record of a run that has not ended; one that has keeps its own."""
    with state.writing() as connection:
        connection.execute(update(runs).where(runs.c.id == run_id, runs.c.status == RUNNING).values(report=report))


def recent(state: State, jobs: Iterable[str], limit: int) -> dict[str, list[Run]]:
    """Job → its latest runs, the newest first, without dry runs; their reports are left out, since those are long.

    One query for each job, along the index: ranking all runs of all jobs would read a year of them.
    """
    mine = and_(runs.c.job == bindparam("job"), runs.c.dry_run.is_(False))
    query = select(*_LIGHT).where(mine).order_by(*_NEWEST).limit(limit)
    with state.reading() as connection:
        return {job: [Run(**row._mapping) for row in connection.execute(query, {"job": job})] for job in jobs}


def reports(state: State, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Run → its report."""
    found: dict[str, dict[str, Any]] = {}
    with state.reading() as connection:
        for start in range(0, len(ids), 500):
            query = select(runs.c.id, runs.c.report).where(runs.c.id.in_(ids[start : start + 500]))
            found |= {row.id: row.report for row in connection.execute(query)}
    return found


def some(state: State, ids: Sequence[str]) -> list[Run]:
    """These very runs, whole, as far as there are any."""
    with state.reading() as connection:
        return [Run(**row._mapping) for row in connection.execute(select(runs).where(runs.c.id.in_(ids)))]


def unfinished(state: State) -> list[Run]:
    """Runs that are written down as running, dry ones too, whoever's job they are."""
    with state.reading() as connection:
        query = select(runs).where(runs.c.status == RUNNING).order_by(runs.c.started)
        return [Run(**row._mapping) for row in connection.execute(query)]


def marks(state: State) -> dict[str, SlotMark]:
    """Job → how far its schedule has been dealt with."""
    with state.reading() as connection:
        return {row.job: SlotMark(**row._mapping) for row in connection.execute(select(slots))}


def standings(state: State, jobs: Iterable[str]) -> dict[str, Standing]:
    """Job → how its runs since the last good one have ended, counting those that the schedule wanted."""
    with state.reading() as connection:
        found = {}
        for job in jobs:
            good = connection.execute(_LAST_GOOD, {"job": job}).first()
            bad = {"job": job, "after": good.started if good else _EVER}
            count, since = connection.execute(_BAD_SINCE, bad).one()
            last = connection.execute(_LAST_BAD, bad).first() if count else None
            success = (good.id, good.ended) if good else ("", None)
            found[job] = Standing(int(count), _moment(since), last.id if last else "", *success)
        return found


def _moment(value: Any) -> datetime | None:
    return datetime.fromisoformat(value) if isinstance(value, str) else value


# Made once: to make a query takes longer than to run it.
_EVER = datetime(1, 1, 1, tzinfo=UTC)
_OF_JOB = and_(runs.c.job == bindparam("job"), _COUNTS)
_LATEST = select(runs.c.id, runs.c.started, runs.c.ended).where(_OF_JOB).order_by(*_NEWEST).limit(1)
_LAST_GOOD = _LATEST.where(runs.c.status.in_(GOOD))
_BAD_AFTER = and_(runs.c.status.in_(BAD), runs.c.started > bindparam("after", type_=runs.c.started.type))
_LAST_BAD = _LATEST.where(_BAD_AFTER)
_BAD_SINCE = select(func.count(), func.min(runs.c.started)).where(_OF_JOB, _BAD_AFTER)
