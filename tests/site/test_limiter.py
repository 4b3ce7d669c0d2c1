"""How many requests at once: bounds, growth, and rests, on a clock that stands still unless it is moved."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.site.limiter import FIRST_REST, LONGEST_HOLD, LONGEST_REST, Limiter


class Hands:
    """A limiter, its clock, and the waits that it asked for."""

    def __init__(self, ceiling: int = 8) -> None:
        self.time = 0.0
        self.waits: list[float] = []
        self.limiter = Limiter(ceiling, lambda: self.time)

    def pause(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.time += seconds

    @contextmanager
    def slots(self, number: int) -> Iterator[None]:
        with ExitStack() as stack:
            for _ in range(number):
                stack.enter_context(self.limiter.slot(self.pause))
            yield

    def round(self, seconds: float = 0.01, **headers: str) -> None:
        """As many requests at once as may be, all answered."""
        number = self.limiter.limit
        with self.slots(number):
            self.time += seconds
            for _ in range(number):
                self.answered(seconds, **headers)

    def answered(self, seconds: float = 0.01, **headers: str) -> None:
        named = {f"x-ratelimit-{key}": value for key, value in headers.items()}
        self.limiter.answered("GET api resource X", seconds, named)


EVENTS = st.one_of(
    st.tuples(st.just("answered"), st.floats(0, 200), st.integers(0, 40)),
    st.tuples(st.just("refused"), st.none() | st.floats(0, 1e9), st.just(0)),
    st.tuples(st.just("budget"), st.floats(allow_nan=True), st.integers(-(10**9), 10**9)),
)


@given(st.integers(1, 32), st.lists(EVENTS, max_size=60))
def test_the_limit_is_always_between_one_and_the_ceiling(ceiling: int, events: list[tuple[str, float, int]]) -> None:
    """Whatever is answered, refused, or said in headers; and no header stops it for longer than the longest hold."""
    hands = Hands(ceiling)
    for kind, value, number in events:
        if kind == "answered":
            with hands.slots(min(number, hands.limiter.limit)):
                hands.answered(value)
        elif kind == "refused":
            hands.limiter.refused(value)
        else:
            hands.answered(0.1, remaining=str(value), limit=str(number), reset=str(value))
        assert 1 <= hands.limiter.limit <= ceiling
    with hands.slots(1):
        assert all(0 < wait <= LONGEST_HOLD + 1e-6 for wait in hands.waits)


def test_the_limit_rises_by_one_a_round_up_to_the_ceiling() -> None:
    """While all of it is used and answers are as fast as on a quiet site; it begins with two."""
    hands = Hands(5)
    seen = [hands.limiter.limit]
    for _ in range(20):
        hands.round()
        seen.append(hands.limiter.limit)
    assert seen[0] == 2 and seen[-1] == 5
    assert all(0 <= later - sooner <= 1 for sooner, later in pairwise(seen))


def test_a_limit_that_is_not_used_does_not_rise() -> None:
    """One request at a time proves nothing about two."""
    hands = Hands()
    for _ in range(100):
        with hands.slots(1):
            hands.answered()
    assert hands.limiter.limit == 2


def grown(ceiling: int = 8) -> Hands:
    hands = Hands(ceiling)
    while hands.limiter.limit < ceiling:
        hands.round()
    return hands


def test_slow_answers_lower_the_limit_once_a_round() -> None:
    """All answers of one round report the same queue; a fall for each would end at one at once."""
    hands = grown()
    with hands.slots(8):
        hands.answered(30.0)
        assert hands.limiter.limit == 6
        for _ in range(5):
            hands.answered(30.0)
            assert hands.limiter.limit == 6
        hands.answered(30.0)
        assert hands.limiter.limit == 4


def test_noise_of_milliseconds_is_not_slowness() -> None:
    """Three times as long counts only beyond 20 ms more."""
    hands = grown()
    for _ in range(20):
        hands.round(0.03)
    assert hands.limiter.limit == 8


def test_routes_are_compared_with_themselves_alone() -> None:
    """A bulk request takes long on a quiet site too."""
    hands = grown()
    for _ in range(60):
        with hands.slots(hands.limiter.limit):
            hands.time += 20.0
            hands.answered(0.01)
            hands.limiter.answered("POST api method bulk", 20.0, {})
    assert hands.limiter.limit == 8


@pytest.mark.parametrize(("cores", "most"), [(1, 2), (2, 3), (4, 6), (16, 8)])
def test_long_requests_keep_the_site_s_cores_busy_and_no_more_of_its_workers(cores: int, most: int) -> None:
    """Beyond its cores one more at once gets nothing more done. Fast requests before have raised the limit; how long a
    long one takes on a quiet site is learnt by asking for few."""
    hands = grown()
    for _ in range(30):
        number = hands.limiter.limit
        with hands.slots(number):
            hands.time += (seconds := 0.5 * max(1.0, number / cores))
            for _ in range(number):
                hands.limiter.answered("POST api method bulk", seconds, {})
    assert min(cores, 8) <= hands.limiter.limit <= most


def test_a_large_request_is_measured_by_its_size() -> None:
    """One with half the rows is no faster site."""
    hands = grown()
    for number in range(60):
        with hands.slots(hands.limiter.limit):
            hands.time += 5.0
            hands.limiter.answered("POST api method bulk", 0.5 + 4.5 * (number % 2), {}, loads=1 + 9 * (number % 2))
    assert hands.limiter.limit == 8


def test_a_site_that_became_slower_for_good_is_taken_as_it_is() -> None:
    """What counts as quiet drifts upwards, so the limit comes back after a while."""
    hands = grown()
    for _ in range(400):
        hands.round(2.0)
    assert hands.limiter.limit == 8


def test_a_refusal_halves_the_limit_and_stops_all_for_the_time_asked() -> None:
    """429 and 503 with Retry-After: nobody sends before it is over."""
    hands = grown()
    hands.limiter.refused(7.0)
    assert hands.limiter.limit == 4
    with hands.slots(3):
        assert hands.waits == [7.0]


def test_rests_double_up_to_a_bound_and_begin_anew_after_an_answer() -> None:
    """A queue drains by itself if nobody adds to it; each refusal in a row waits twice as long."""
    hands, rests = Hands(), []
    for _ in range(9):
        hands.limiter.refused(None)
        with hands.slots(1):
            rests.append(hands.waits[-1])
    assert rests == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]
    assert rests[0] == FIRST_REST and rests[-1] == LONGEST_REST
    hands.answered()
    hands.limiter.refused(None)
    with hands.slots(1):
        assert hands.waits[-1] == FIRST_REST


def test_a_shorter_rest_does_not_end_a_longer_one() -> None:
    """Replies of one round may come in any order."""
    hands = Hands()
    hands.limiter.refused(60.0)
    hands.limiter.refused(1.0)
    with hands.slots(1):
        assert hands.waits == [60.0]


@pytest.mark.parametrize(
    ("headers", "limit", "waits"),
    [
        ({"remaining": "9000000", "limit": "10000000", "reset": "50"}, 8, []),
        ({"remaining": "1000000", "limit": "10000000", "reset": "50"}, 1, []),
        ({"remaining": "10000", "limit": "10000000", "reset": "50"}, 1, [50.0]),
        ({"remaining": "10000", "limit": "10000000", "reset": "1e99"}, 1, [LONGEST_HOLD]),
        ({"remaining": "rather little", "limit": "10000000", "reset": "50"}, 8, []),
    ],
)
def test_a_budget_near_its_end_slows_us_before_the_site_must(
    headers: dict[str, str], limit: int, waits: list[float]
) -> None:
    """One at a time in its last part; with less left than a request costs we wait for the next window."""
    hands = grown()
    with hands.slots(1):
        hands.answered(0.01, **headers)
    assert hands.limiter.limit == limit
    with hands.slots(1):
        assert hands.waits == waits


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 6), st.integers(0, 5))
def test_no_more_than_the_limit_are_under_way(ceiling: int, refusals: int) -> None:
    """With many more threads than slots: counted at each entry, and everyone gets a turn in the end."""
    hands = Hands(ceiling)
    now, most, entered, counting = 0, 0, 0, threading.Lock()

    def work(number: int) -> None:
        nonlocal now, most, entered
        for _ in range(5):
            with hands.limiter.slot(hands.pause):
                with counting:
                    now, entered = now + 1, entered + 1
                    most = max(most, now)
                if number < refusals:
                    hands.limiter.refused(None)
                else:
                    hands.answered()
                with counting:
                    now -= 1

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3 * ceiling)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert not any(thread.is_alive() for thread in threads)
    assert 1 <= most <= ceiling and entered == 15 * ceiling


def test_who_waited_for_a_place_heeds_a_rest_that_began_meanwhile() -> None:
    """A request queued behind one that was refused is not sent into the rest that the refusal asked for."""
    hands, order = Hands(1), []
    waiting = threading.Event()

    def second() -> None:
        waiting.set()
        with hands.limiter.slot(hands.pause):
            order.append(("sent", hands.time))

    thread = threading.Thread(target=second)
    with hands.limiter.slot(hands.pause):
        thread.start()
        assert waiting.wait(5)
        hands.limiter.refused(20.0)
    thread.join(5)
    assert order == [("sent", 20.0)] and hands.waits == [20.0]


def test_a_pause_that_ends_the_run_takes_no_place() -> None:
    """Stopped while resting: the slot is free for others."""
    hands = Hands(1)
    hands.limiter.refused(5.0)

    def stop(_seconds: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), hands.limiter.slot(stop):
        pytest.fail("entered")
    with hands.slots(1):
        assert hands.waits == [5.0]


def test_a_request_that_failed_gives_its_place_back() -> None:
    """Whatever was raised within."""
    hands = Hands(1)
    for _ in range(3):
        with pytest.raises(ValueError, match="x"), hands.limiter.slot(hands.pause):
            raise ValueError("x")
    with hands.slots(1):
        pass
