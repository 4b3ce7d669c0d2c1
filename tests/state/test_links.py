"""The pairs of a sync, on both databases."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from daemon.core.links import OWED, PULL, PUSH, Link, Status
from daemon.errors import StateError
from daemon.state import State
from daemon.state.links import PAGE, Links

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)


@pytest.fixture
def links(state: State) -> Links:
    Links(state, "another").save([Link(name="a", remote="1")])
    return Links(state, "sync")


def names(pages: object) -> list[str]:
    return [pair.name for page in pages for pair in page]


def test_a_pair_is_found_by_either_side_and_keeps_what_it_was_given(links: Links) -> None:
    """New ones get ids, in their order; a change is kept; one that was dropped is gone. Each sync has its own."""
    pairs = [Link(name=f"n{number}", remote=f"r{number}") for number in range(3)]
    links.save(pairs)
    assert pairs[0].id < pairs[1].id < pairs[2].id
    pairs[1].base, pairs[1].asked, pairs[1].detail = {"f": "x"}, NOON, {"f": ["ü", None]}
    links.save([pairs[1], Link(remote="r3")])
    assert links.of_names(["n1", "n2", "a"]) == {"n1": pairs[1], "n2": pairs[2]}
    assert set(links.of_remotes(["r0", "r3", "1"])) == {"r0", "r3"}
    links.drop(pairs[0])
    assert links.find("r0") == links.find("n0") == [] and links.find("r1") == [pairs[1]]


def test_pages_hold_every_pair_once(links: Links) -> None:
    """In the order of their ids, also where each page is changed as it is read."""
    links.save(Link(name=f"n{number:04}", status=Status.LINKED) for number in range(2 * PAGE + 5))
    met = []
    for page in links.unseen("site", "mark"):
        met += [pair.name for pair in page]
        links.mark(page, "site", "mark")
    assert met == [f"n{number:04}" for number in range(2 * PAGE + 5)] and names(links.unseen("site", "mark")) == []


def test_what_waits_is_told_by_the_bits_of_what_is_to_do(links: Links) -> None:
    """A bit that is asked for or owed, and failures whose time has come."""
    links.save([
        Link(name="pull", status=Status.LINKED, todo=PULL), Link(name="push", status=Status.LINKED, todo=PUSH),
        Link(name="owed", status=Status.LINKED, todo=PULL << OWED), Link(name="idle", status=Status.LINKED),
        Link(name="due", status=Status.FAILED, due=NOON),
        Link(name="later", status=Status.FAILED, due=NOON + timedelta(1)),
    ])  # fmt: skip
    assert names(links.waiting(PULL, NOON)) == ["pull", "owed", "due"]
    assert (links.count_waiting(PULL, NOON), links.count_changed()) == (3, 2)
    links.want(PUSH, [Status.LINKED], lambda _: None)
    assert links.count_changed() == 4
    assert links.of_names(["pull"])["pull"].todo == PULL | PUSH
    assert links.counts() == {Status.LINKED: 4, Status.FAILED: 2}
    assert names(links.in_status(Status.FAILED)) == ["due", "later"]


def test_a_page_of_pairs_is_saved_as_a_whole_or_not_at_all(links: Links) -> None:
    """A record that two pairs claim: none of them is kept, and none has got an id."""
    pairs = [Link(name="a", remote="1"), Link(name="b", remote="1")]
    with pytest.raises(StateError):
        links.save(pairs)
    assert links.find("1") == [] and [pair.id for pair in pairs] == [0, 0]


def test_a_dry_run_scribbles_on_a_copy(links: Links) -> None:
    """Which has all of it, and leaves nothing behind."""
    links.save(Link(name=f"n{number}") for number in range(PAGE + 1))
    with links.scratch() as copy:
        assert copy.of_names(["n7"]) == links.of_names(["n7"])
        copy.drop(copy.find("n7")[0])
        copy.save([Link(name="new")])
        assert copy.find("n7") == links.find("new") == []
    assert len(links.find("n7")) == 1
