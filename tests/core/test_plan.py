"""The guard's laws, and a tally that does not grow."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.core.plan import SAMPLES, Action, Census, Guard, Outcome, Result, Tally

BOUNDS = st.builds(
    Guard, st.none() | st.integers(1, 100), st.none() | st.floats(0, 100, exclude_min=True, allow_nan=False)
)
COUNTS = st.integers(0, 200)


@given(BOUNDS, COUNTS, COUNTS)
def test_a_guard_never_refuses_nothing(guard: Guard, total: int, matching: int) -> None:
    """A run that would remove no row is harmless under any bounds."""
    assert guard.verdict(Census(total, matching, 0)) == ""


@given(BOUNDS, COUNTS, COUNTS, COUNTS)
def test_removing_more_is_never_safer(guard: Guard, total: int, one: int, other: int) -> None:
    """Where the smaller plan is refused the larger one is, too."""
    fewer, more = sorted((one, other))
    if guard.verdict(Census(total, fewer, fewer)):
        assert guard.verdict(Census(total, more, more))


@given(BOUNDS, st.integers(0, 100), st.integers(0, 100), COUNTS)
def test_a_larger_table_is_never_less_safe(guard: Guard, one: int, other: int, planned: int) -> None:
    """Where the plan is allowed on the smaller table it is on the larger one."""
    small, large = sorted((one, other))
    if not guard.verdict(Census(small, planned, planned)):
        assert not guard.verdict(Census(large, planned, planned))


@given(BOUNDS, st.integers(1, 200), st.integers(1, 200))
def test_a_guard_is_its_bounds(guard: Guard, total: int, planned: int) -> None:
    """Refused exactly where a bound is passed, or where every row would go and no bound of per cent allows it."""
    too_many = guard.max_rows is not None and planned > guard.max_rows
    percent = guard.max_percent
    too_much = planned >= total if percent is None else 100 * planned / total > percent
    assert bool(guard.verdict(Census(total, planned, planned))) == (too_many or too_much)


@pytest.mark.parametrize(
    ("guard", "census", "sentence"),
    [
        (Guard(), Census(7, 7, 7), "would remove every row there is (7); guard.max_percent = 100 allows it"),
        (Guard(max_percent=100), Census(7, 7, 7), ""),
        (Guard(), Census(7, 7, 6), ""),
        (Guard(5), Census(9000, 6, 6), "would remove 6 rows, more than guard.max_rows = 5"),
        (
            Guard(max_percent=33.3),
            Census(3000, 1000, 1000),
            "would remove 1,000 of 3,000 rows (33.3 %), more than guard.max_percent = 33.3",
        ),
        (
            Guard(max_percent=50),
            Census(0, 1, 1),
            "would remove 1 of 0 rows (100.0 %), more than guard.max_percent = 50",
        ),
    ],
)
def test_a_refusal_names_the_numbers_and_the_key(guard: Guard, census: Census, sentence: str) -> None:
    """So that the operator can decide, and knows what to edit."""
    assert guard.verdict(census) == sentence


OUTCOMES = st.builds(
    Outcome,
    st.builds(Action, st.just("delete"), st.just("X"), st.text(), st.sampled_from("ab"), st.integers(1, 9)),
    st.sampled_from(Result),
    st.sampled_from(["", "r", "s"]),
    st.sampled_from(["", "InUse"]),
    st.just(""),
    st.none() | st.integers(0, 9),
)


@given(st.lists(OUTCOMES))
def test_a_tally_adds_up_documents(outcomes: list[Outcome]) -> None:
    """Each document is counted once by what became of it: the bad ones by error too, others not done by reason."""
    tally = Tally("part")
    for outcome in outcomes:
        tally.add(outcome)
    documents = sum(outcome.documents for outcome in outcomes)
    assert sum(tally.counts.values()) == documents
    assert tally.bad == sum(tally.errors.values())
    done = tally.counts[Result.DONE.value]
    assert done + tally.bad + sum(tally.reasons.values()) == documents
    assert [outcome for outcome in outcomes if outcome.result is not Result.DONE][:SAMPLES] == tally.samples


def test_a_tally_s_memory_has_a_bound() -> None:
    """Of very many failures only the first hundred are kept whole, and nothing of what was done."""
    tally = Tally("part")
    for number in range(10 * SAMPLES):
        tally.add(Outcome(Action("delete", "X", number, "old"), Result.DONE))
        tally.add(Outcome(Action("delete", "X", number, "old"), Result.FAILED, f"reason {number}", "InUse"))
    assert [outcome.action.name for outcome in tally.samples] == list(range(SAMPLES))
    assert len(tally.counts) == 2 and len(tally.errors) == 1 and not tally.reasons


def test_a_confirmed_number_counts_before_the_intended_one() -> None:
    """An act on a whole set is reported with what the site says it took, also when that is nothing."""
    tally = Tally("part")
    tally.add(Outcome(Action("delete", "X", "a set", "old", count=50), Result.DONE, count=0))
    tally.add(Outcome(Action("delete", "X", "a set", "old", count=50), Result.DONE))
    assert tally.counts == {"done": 50}
