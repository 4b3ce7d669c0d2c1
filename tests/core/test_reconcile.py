"""Three-way decisions about one pair."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.core.agreed import digest
from daemon.core.mapping import Flat, Flow
from daemon.core.reconcile import Clash, Merge, base_of, decided, reconcile, still_agreed

PATHS = ("a", "b", "t[K]", "t[K].x", "t[L]", "t[L].x")


def both(path: str) -> Flow:
    return "both"


def told(flat: Flat, merge: Merge, side: str) -> Flat:
    """What `side` holds once it was told."""
    changes = merge.to_site if side == "site" else merge.to_remote
    found = {path: text for path, text in flat.items() if path.split(".")[0] not in changes.gone}
    return {**found, **changes.values}


@st.composite
def flats(draw: st.DrawFn) -> Flat:
    """Two fields and a table of up to two rows."""
    value = st.sampled_from([None, "1", "2", "3"])
    flat: Flat = {"a": draw(value), "b": draw(value)}
    for row in ("t[K]", "t[L]"):
        if draw(st.booleans()):
            flat |= {row: "+", f"{row}.x": draw(value)}
    return flat


@given(flats(), flats(), flats(), st.sampled_from(["site", "remote"]))
def test_once_told_both_sides_hold_the_same(base: Flat, site: Flat, remote: Flat, winner) -> None:
    """Whatever they held, once conflicts are decided; and what is not told stays as it was."""
    merge = reconcile(site, remote, base_of(base, base), both)
    if not merge.clashes:
        assert told(site, merge, "site") == told(remote, merge, "remote")
    merge = decided(merge, site, remote, winner, both)
    assert told(site, merge, "site") == told(remote, merge, "remote")


@given(flats(), flats())
def test_one_side_s_changes_reach_the_other_whole(base: Flat, site: Flat) -> None:
    """No conflict, nothing told to the side that changed, and nothing lost. The same without reading the remote."""
    merge = reconcile(site, base, base_of(base, base), both)
    assert not merge.clashes and not merge.to_site and told(base, merge, "remote") == site
    blind = reconcile(site, None, base_of(base, base), both)
    assert not blind.to_site and told(base, blind, "remote") == site


@given(flats(), flats())
def test_equal_content_is_never_a_conflict(base: Flat, now: Flat) -> None:
    """Nor is anything told, with or without a memory of earlier."""
    for held in (base_of(base, base), None):
        merge = reconcile(now, dict(now), held, both)
        assert not merge.clashes and not merge.to_site and not merge.to_remote


@given(flats(), flats())
def test_forms_of_their_own_are_no_changes(site: Flat, remote: Flat) -> None:
    """What both held when they agreed, each in its form, is held to be equal."""
    merge = reconcile(site, remote, base_of(site, remote), both)
    assert not merge.clashes and not merge.to_site.values and not merge.to_remote.values


@given(flats(), flats(), flats(), st.sampled_from(["pull", "push"]))
def test_a_field_of_one_direction_tells_only_that_way_and_never_conflicts(base, site, remote, flow) -> None:
    """The side that it comes from is its master."""
    merge = reconcile(site, remote, base_of(base, base), lambda _: flow)
    assert not merge.clashes and not (merge.to_remote if flow == "pull" else merge.to_site)


def test_different_fields_merge_and_the_same_field_conflicts() -> None:
    """Field by field."""
    base = base_of({"a": "1", "b": "1"}, {"a": "1", "b": "1"})
    merge = reconcile({"a": "2", "b": "1"}, {"a": "1", "b": "3"}, base, both)
    assert (merge.to_site.values, merge.to_remote.values, merge.clashes) == ({"b": "3"}, {"a": "2"}, [])
    merge = reconcile({"a": "2", "b": "1"}, {"a": "3", "b": "1"}, base, both)
    assert merge.clashes == [Clash("a", "2", "3")] and not merge.to_site and not merge.to_remote


def test_a_row_that_is_edited_here_and_deleted_there_conflicts_as_a_row() -> None:
    """Deciding it keeps or removes the row whole."""
    was = {"t[K]": "+", "t[K].x": "1"}
    merge = reconcile({"t[K]": "+", "t[K].x": "2"}, {}, base_of(was, was), both)
    assert [clash.path for clash in merge.clashes] == ["t[K]"]
    assert decided(merge, {"t[K]": "+", "t[K].x": "2"}, {}, "remote", both).to_site.gone == ["t[K]"]
    assert decided(merge, {"t[K]": "+", "t[K].x": "2"}, {}, "site", both).to_remote.values == {
        "t[K]": "+",
        "t[K].x": "2",
    }


def test_without_a_memory_a_difference_is_a_conflict() -> None:
    """Nobody can tell which side is older."""
    merge = reconcile({"a": "1", "b": None}, {"a": "2", "b": None}, None, both)
    assert merge.clashes == [Clash("a", "1", "2")]


@pytest.mark.parametrize("text", [None, "", "1"])
def test_nothing_and_absence_are_told_apart(text) -> None:
    """An empty field, and a row that is not there."""
    assert digest(text) != "-"


def test_of_a_field_that_comes_to_mean_something_else_nothing_is_agreed() -> None:
    """The others stay: a cell by itself, a table with all of its rows, which then are a person's to match."""
    flat: Flat = {"a": "1", "b": "2", "t[K]": "+", "t[K].x": "3", "t[K].y": "4"}
    base = base_of(flat, flat)
    before = {"a": "A", "b": "B", "t": "T", "t.x": "X", "t.y": "Y"}
    assert still_agreed(base, before, before) == base
    found = still_agreed(base, before, {**before, "a": "A2", "t.x": "X2"})
    assert found is not None and found.keys() == {"a", "b", "t[K]", "t[K].y"}
    merge = reconcile({**flat, "b": "5"}, {**flat, "a": "6"}, found, both)
    assert [clash.path for clash in merge.clashes] == ["a"] and merge.to_remote.values == {"b": "5"}
    found = still_agreed(base, before, {**before, "t": "T2"})
    rowless = {path: text for path, text in flat.items() if path[0] != "t"}
    assert [clash.path for clash in reconcile(flat, rowless, found, both).clashes] == ["t[K]"]
    assert reconcile(flat, dict(flat), found, both) == Merge()
    gone = still_agreed(base, before, {"a": "A", "b": "B"})
    assert gone is not None and gone.keys() == {"a", "b"}
