"""Removing many documents for sure: bulk requests, then a look at what is still there, then reasons.

A bulk delete answers 200 whatever happened, and a lost reply says nothing, so only listing again tells. Groups of
documents go first, which is cheapest for the site; what stayed is asked for in plain bulk; and what stayed then is
deleted singly once, because only then does every version say why a document will not go.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from daemon import errors
from daemon.site.transport import quoted

if TYPE_CHECKING:
    from daemon.site.client import Site

Name = str | int
Each = Callable[[Callable[[Any], Any], Iterable[Any]], Iterator[Any]]
"""(function, items) → answers, several at once."""

GROUPS, GROUP = 10, 10
"""Groups in a request, and documents in a group: what one bad document can hold back."""
PATIENCE = 3
"""Rounds in a row that lost a reply and removed nothing, before the rest is asked for singly."""
REASONS = 20
"""Documents of one call that are asked for their reason; the others stayed beside them."""


def remove(
    site: Site, doctype: str, names: Sequence[Name], where: Sequence[Sequence[Any]], each: Each
) -> dict[Name, errors.SiteError]:
    """Delete `names`, at most some hundreds, and return why each one that is still there stayed.

    `where`: the conditions under which they may go. After a lost reply only those that still meet them are sent again,
    since a name may have been given to a new document meanwhile. Raises NothingRemovable where all of them stayed for
    one and the same reason, so that trying more of their kind would be the same.
    """
    left, stalled, grouped = list(names), 0, True
    while True:
        told, lost = _ask_all(site, doctype, left, each, grouped)
        before, left = left, present(site, doctype, left, where)
        if not left:
            return {}
        stuck = len(left) == len(before)
        stalled = stalled + 1 if stuck else 0
        if (lost and stalled < PATIENCE) or (grouped and not stuck):
            grouped = False
            continue
        # One that goes when it is asked for singly says that the others may go too: the bulk call gave up on them, as
        # it does on an overloaded queue, or on a group for the sake of one.
        reasons = _reasons(site, doctype, left, told, each)
        if len(reasons) == len(names) and _alike(reasons):
            cause = reasons[left[0]]
            raise errors.NothingRemovable(f"none of {len(names):,} rows could be deleted: {cause}", cause)
        said_gone = [name for name in left if name not in reasons]
        for name in present(site, doctype, said_gone, where) if said_gone else ():
            reasons[name] = errors.Invalid(f"{doctype} {name}: the site said that it was deleted, but it is there")
        if not reasons or (len(reasons) == len(left) and not grouped):
            return reasons
        left, grouped = [name for name in left if name in reasons], False


def _alike(reasons: Mapping[Name, errors.SiteError]) -> bool:
    """The site gave one and the same reason for each, but for the names."""
    texts = {
        str(error).replace(quoted(name), "").replace(str(name), "") for name, error in reasons.items() if error.status
    }
    return len(texts) == 1


def _ask_all(
    site: Site, doctype: str, names: Sequence[Name], each: Each, grouped: bool
) -> tuple[dict[Name, str], bool]:
    """(reasons that replies gave, whether a reply was lost). After a lost one no more is sent: first look."""
    told: dict[Name, str] = {}
    lost = threading.Event()

    def ask(batch: Sequence[Name]) -> None:
        try:
            if grouped:
                site.delete_groups(doctype, list(_cut(batch, GROUP)))
            else:
                told.update(site.delete_batch(doctype, batch))
        except errors.OutcomeUnknown:
            lost.set()
        except errors.ServerBug:
            if not grouped:
                raise

    size = GROUPS * GROUP if grouped else site.dialect.bulk_delete_size
    for _ in each(ask, takewhile(lambda _: not lost.is_set(), _cut(names, size))):
        pass
    return told, lost.is_set()


def _cut(names: Sequence[Name], size: int) -> Iterator[Sequence[Name]]:
    return (names[start : start + size] for start in range(0, len(names), size))


def present(site: Site, doctype: str, names: Sequence[Name], where: Sequence[Sequence[Any]]) -> list[Name]:
    """Those of `names` that are there and may go. Without a limit: a condition on child rows repeats a document for
    each of them. Never a name that was not asked for, whatever the reply holds."""
    conditions = [*where, ["name", "in", list(names)]]
    found = {row["name"] for row in site.get_list(doctype, ["name"], conditions)}
    return [name for name in names if name in found]


def _reasons(
    site: Site, doctype: str, names: Sequence[Name], told: dict[Name, str], each: Each
) -> dict[Name, errors.SiteError]:
    """Why each of `names` stayed, by the bulk reply or by one delete of its own."""
    untold = [name for name in names if not told.get(name)]
    single = dict(each(lambda name: (name, _delete(site, doctype, name)), untold[:REASONS]))
    reasons: dict[Name, errors.SiteError] = {}
    for name in names:
        if name in single:
            if (error := single[name]) is not None:
                reasons[name] = error
        elif told.get(name):
            reasons[name] = errors.Invalid(f"{doctype} {name}: {told[name]}")
        else:
            reasons[name] = errors.Invalid(f"{doctype} {name}: not deleted, like others whose reasons are given")
    return reasons


def _delete(site: Site, doctype: str, name: Name) -> errors.SiteError | None:
    """Why `name` stays, or None where it went after all."""
    try:
        site.delete(doctype, name)
    except errors.NotFound:
        return None
    except errors.Transient:
        raise
    except errors.SiteError as error:
        return error
    return None
