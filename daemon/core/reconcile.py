"""What both sides hold now, what they held when they last agreed → what each must be told. Reads and writes nothing.

Three-way, path by path (daemon.core.mapping): a side has changed a path if it no longer holds what it held when the two
last agreed. So an echo of our own write is no change, equal content is never a conflict, and changes of different paths
merge. A side may keep a value in a form of its own (a site that strips blanks): what it held is remembered for each
side, and is not taken for a change.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Literal

from daemon.core.mapping import Flat, Flow, named

Base = dict[str, str]
"""Path → digest of what both held, or "SITE REMOTE" where they held it in different forms."""
Policy = Literal["hold", "site", "remote", "newest"]
Side = Literal["site", "remote"]

ABSENT = "-"
"""Digest of a path that one side has not; under a table's name: its rows were never agreed upon."""


def digest(text: str | None) -> str:
    """48 bits: enough to tell one field's values apart, few enough to keep for each field of a million records."""
    return "" if text is None else blake2b(text.encode(), digest_size=6).hexdigest()


def base_of(site: Flat, remote: Flat) -> Base:
    """What both hold now, to be remembered as agreed."""
    base: Base = {}
    for path, text in site.items():
        if path in remote:
            other = remote[path]
            base[path] = digest(text) if text == other else f"{digest(text)} {digest(other)}"
        else:
            base[path] = f"{digest(text)} {ABSENT}"
    for path, text in remote.items():
        if path not in site:
            base[path] = f"{ABSENT} {digest(text)}"
    return base


def base_made(told: Flat, kept: Flat, flow: Callable[[str], Flow]) -> Base:
    """Of a document that was just made by what a record holds, `told`, and is now `kept`: both agreed upon that, in the
    form that the site gives it. What it has where it was told nothing is a change of its own."""
    site = {p: kept[p] if text is not None and kept.get(p) and flow(p) != "push" else text for p, text in told.items()}
    return base_of(site, told)


def still_agreed(base: Base | None, before: Mapping[str, str], now: Mapping[str, str]) -> Base | None:
    """What is left of `base` where fields come to mean something else (daemon.core.mapping.meanings): in these the two
    never agreed."""
    if base is None:
        return None
    odd = {name for name in before.keys() | now.keys() if before.get(name) != now.get(name)}
    left = {path: held for path, held in base.items() if not _is_of(path, odd)}
    return left | {name: ABSENT for name in odd if name in now and "." not in name}


def _is_of(path: str, names: Collection[str]) -> bool:
    return named(path) in names or path.partition("[")[0] in names


@dataclass(frozen=True, slots=True)
class Clash:
    """Both sides changed one path, differently. None: nothing there, or no such row."""

    path: str
    site: str | None
    remote: str | None


@dataclass(slots=True)
class Changes:
    """What one side must be told."""

    values: Flat = field(default_factory=dict)
    gone: list[str] = field(default_factory=list)
    """Paths of rows that go."""

    def __bool__(self) -> bool:
        return bool(self.values or self.gone)

    @property
    def paths(self) -> list[str]:
        return [*self.values, *self.gone]


@dataclass(slots=True)
class Merge:
    """The decision about one pair."""

    to_site: Changes = field(default_factory=Changes)
    to_remote: Changes = field(default_factory=Changes)
    clashes: list[Clash] = field(default_factory=list)


def reconcile(site: Flat, remote: Flat | None, base: Base | None, flow: Callable[[str], Flow]) -> Merge:
    """`remote` None: known to hold what it held when they last agreed. `base` None: they never agreed, so that what
    differs in a field that goes both ways is a clash."""
    merge = Merge()
    if remote is None:
        _only_site(merge, site, base or {}, flow)
        return merge
    if site == remote:
        return merge
    rows: set[str] = set()
    for path in site.keys() | remote.keys():
        row = path.partition("].")[0] + "]" if "]." in path else path
        if row[-1] == "]" and (row in site) != (row in remote):
            rows.add(row)
        elif path in site and path in remote and site[path] != remote[path]:
            held = None if base is None else base.get(path)
            _judge(merge, path, site[path], remote[path], held, flow(path))
    for row in sorted(rows):
        _judge_row(merge, row, site, remote, base, flow)
    return merge


def _judge(merge: Merge, path: str, site: str | None, remote: str | None, held: str | None, flow: Flow) -> None:
    ours, theirs = _held(held)
    site_changed, remote_changed = digest(site) != ours, digest(remote) != theirs
    if flow == "pull":
        if remote_changed:
            merge.to_site.values[path] = remote
    elif flow == "push":
        if site_changed:
            merge.to_remote.values[path] = site
    elif site_changed and remote_changed:
        merge.clashes.append(Clash(path, site, remote))
    elif site_changed:
        merge.to_remote.values[path] = site
    elif remote_changed:
        merge.to_site.values[path] = remote


def _held(held: str | None) -> tuple[str, str]:
    """(the site's digest, the remote's) when they last agreed."""
    if held is None:
        return ABSENT, ABSENT
    ours, _, theirs = held.partition(" ")
    return ours, theirs if _ else ours


def _judge_row(
    merge: Merge, row: str, site: Flat, remote: Flat, base: Base | None, flow_of: Callable[[str], Flow]
) -> None:
    """A row that one side alone has: it came here, or it went there."""
    here, flow = row in site, flow_of(row)
    cells = _cells_of(row, site if here else remote)
    held = _held((base or {}).get(row))
    had, was_there = (held if here else held[::-1])[0] != ABSENT, (held if here else held[::-1])[1] != ABSENT
    edited = any(digest(text) != _held((base or {}).get(path))[0 if here else 1] for path, text in cells.items())
    holder_of, other = (merge.to_site, merge.to_remote) if here else (merge.to_remote, merge.to_site)
    if had and not was_there and not edited:
        return  # the other side had it in another form, or never took it
    strangers = base is None or base.get(row.partition("[")[0]) == ABSENT
    if flow == "both" and (strangers or ((had or was_there) and edited)):
        said = ", ".join(f"{path.rpartition('.')[2]} {text}" for path, text in cells.items() if path != row)
        merge.clashes.append(Clash(row, said if here else None, None if here else said))
    elif was_there and flow != ("push" if here else "pull"):
        holder_of.gone.append(row)  # the other side removed it
    elif flow != ("pull" if here else "push") and (edited or not was_there):
        barred = "pull" if here else "push"
        other.values.update({path: text for path, text in cells.items() if flow_of(path) != barred})


def _cells_of(row: str, flat: Flat) -> Flat:
    """The row's own path and those of its cells."""
    return {path: text for path, text in flat.items() if path == row or path.startswith(f"{row}.")}


def _only_site(merge: Merge, site: Flat, base: Base, flow: Callable[[str], Flow]) -> None:
    """The remote is known to be unchanged: what the site changed goes there."""
    for path, text in site.items():
        if digest(text) != _held(base.get(path))[0] and flow(path) != "pull":
            merge.to_remote.values[path] = text
    for path, held in base.items():
        if path not in site and path.endswith("]") and _held(held)[0] != ABSENT and flow(path) != "pull":
            merge.to_remote.gone.append(path)


def decided(merge: Merge, site: Flat, remote: Flat, winner: Side, flow: Callable[[str], Flow]) -> Merge:
    """`merge` with every clash decided for one side."""
    to, values, barred = (merge.to_remote, site, "pull") if winner == "site" else (merge.to_site, remote, "push")
    for clash in merge.clashes:
        if not clash.path.endswith("]"):
            to.values[clash.path] = values[clash.path]
        elif cells := _cells_of(clash.path, values):
            to.values.update({path: text for path, text in cells.items() if flow(path) != barred})
        else:
            to.gone.append(clash.path)
    return Merge(merge.to_site, merge.to_remote, [])


def changed(flat: Flat, base: Base | None, side: Side) -> list[str]:
    """Paths of which `side` holds something else now than when both last agreed; rows that went are among them."""
    held = {path: _held(text)[0 if side == "site" else 1] for path, text in (base or {}).items()}
    now = {path: digest(text) for path, text in flat.items()}
    return [path for path in held.keys() | now.keys() if held.get(path, ABSENT) != now.get(path, ABSENT)]
