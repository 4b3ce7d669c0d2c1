"""Plans, what became of them, and the guard that refuses an unsafe one. Reads and writes nothing.

A job gathers a `Census`, plans `Action`s in batches, the `Guard` judges the census before the first write, and applying
a batch yields one `Outcome` for each action. A `Tally` adds outcomes up and keeps only samples, so that a run over a
million rows takes no more memory than one over ten.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Action:
    """One intended act on the site, printable before it is done."""

    verb: str
    """What is done, as an infinitive: delete, create, update, submit, send."""
    doctype: str
    name: str | int
    """The document's name, or the description of a whole set."""
    why: str
    count: int = 1
    """Documents that the act is about; more than 1 only for an act that the site does on a whole set."""


class Result(StrEnum):
    """What became of an action. Only `DONE` has been confirmed by the site's content, not by its status."""

    DONE = "done"
    PLANNED = "planned"
    KEPT = "kept"
    FAILED = "failed"
    REFUSED = "refused"
    UNCERTAIN = "uncertain"


@dataclass(frozen=True, slots=True)
class Outcome:
    """One action and what became of it. `reason` says why for anything but `DONE`; `error` is the class of error."""

    action: Action
    result: Result
    reason: str = ""
    error: str = ""
    who: str = ""
    count: int | None = None
    """Documents confirmed, where that differs from what was intended."""
    summary: str = ""
    """What a report counts it under, where `reason`, or the action's `why`, is about this one alone."""

    @property
    def documents(self) -> int:
        return self.action.count if self.count is None else self.count


@dataclass(frozen=True, slots=True)
class Census:
    """Counts taken before the first write of one part of a job."""

    total: int
    """Documents that the DocType holds."""
    matching: int
    """Documents that the part would act on if nothing limited it."""
    planned: int
    """Documents that this run would act on, after `limit`."""
    exact: bool = True
    """False where `matching` and `planned` are upper bounds."""


@dataclass(frozen=True, slots=True)
class Guard:
    """How much one run may take away from a DocType. None: no bound of that kind."""

    max_rows: int | None = None
    max_percent: float | None = None

    def verdict(self, census: Census) -> str:
        """Why `census` must not be acted on, as a sentence, or "" where nothing speaks against it."""
        planned, total = census.planned, census.total
        if planned == 0:
            return ""
        if self.max_rows is not None and planned > self.max_rows:
            return f"would remove {planned:,} rows, more than guard.max_rows = {self.max_rows:,}"
        percent = min(100.0, 100.0 * planned / total) if total else 100.0  # rows may come between the two counts
        if self.max_percent is not None and percent > self.max_percent:
            part = f"{planned:,} of {total:,} rows ({percent:.1f} %)"
            return f"would remove {part}, more than guard.max_percent = {self.max_percent:g}"
        if self.max_percent is None and planned >= total:
            return f"would remove every row there is ({total:,}); guard.max_percent = 100 allows it"
        return ""


@dataclass(frozen=True, slots=True)
class Refusal(Guard):
    """What the part itself has found to be unsafe, and says why."""

    why: str = ""

    def verdict(self, census: Census) -> str:  # noqa: ARG002 (whatever the numbers are)
        return self.why


SAMPLES = 100
"""Outcomes kept whole in a report; beyond it they are only counted."""


@dataclass(slots=True)
class Tally:
    """Outcomes of one part of a job, added up. Memory does not grow with their number."""

    part: str
    census: Census | None = None
    counts: Counter[str] = field(default_factory=Counter)
    """Of this run."""
    whole: Counter[str] | None = None
    """Of all runs that worked on the same thing, this one included, where there may be several."""
    errors: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    """Why rows are kept or would be acted on, with how many."""
    samples: list[Outcome] = field(default_factory=list)
    """The first failures, refusals and uncertain outcomes; in a dry run also the first planned and kept ones."""
    facts: dict[str, int | str] = field(default_factory=dict)
    """What else the part wants said, such as the strategy that it took or the rows that it left behind."""
    notes: list[str] = field(default_factory=list)
    refused: str = ""
    """Why the guard refused this part; then nothing of it was done."""
    error: Exception | None = None
    """What ended this part before its end."""
    again: bool = False
    """Some of it failed in a way that may pass: a job with patience (JobSettings.patience) tries again before its next
    slot."""

    def add(self, outcome: Outcome) -> None:
        """Count one outcome, and keep it as a sample where a person will want to look at it."""
        number = outcome.documents
        self.counts[outcome.result.value] += number
        if outcome.result in _BAD:
            self.errors[outcome.error or "unknown"] += number
        elif outcome.result is not Result.DONE:
            self.reasons[outcome.summary or outcome.reason or outcome.action.why] += number
        if outcome.result is not Result.DONE and len(self.samples) < SAMPLES:
            self.samples.append(outcome)

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    @property
    def bad(self) -> int:
        """What failed or whose fate is unknown, also in an earlier run on the same thing."""
        return max(
            sum(counts[result.value] for result in _BAD) for counts in (self.counts, self.whole or Counter[str]())
        )


_BAD = (Result.FAILED, Result.REFUSED, Result.UNCERTAIN)
