"""What both sides hold now, what they held when they last agreed → what each must be told. Reads and writes nothing.

Three-way, path by path (daemon.core.mapping): a side has changed a path if it no longer holds what it held when the two
last agreed. So an echo of our own write is no change, equal content is never a conflict, and changes of different paths
merge. A side may keep a value in a form of its own (a site that strips blanks): what it held is remembered for each
side, and is not taken for a change.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Literal

from daemon.core.agreed import ABSENT, Base, Side, digest, held, held_by
from daemon.core.mapping import Flat, Flow, named

Policy = Literal["hold", "site", "remote", "newest"]


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


def reconcile(
    site: Flat, remote: Flat | None, base: Base | None, flow: Callable[[str], Flow], untold: Collection[str] = ()
) -> Merge:
    """`remote` None: known to hold what it held when they last agreed; so does what it does not tell, fields and cells
    that are not in it, and the tables `untold`. `base` None: they never agreed, so that what differs in a field that
    goes both ways is a clash."""
    merge = Merge()
    if remote is None:
        _only_site(merge, site, base or {}, flow)
        return merge
    if site == remote:
        return merge
    rows: set[str] = set()
    unseen: Flat = {}
    for path in site.keys() | remote.keys():
        row = path.partition("].")[0] + "]" if "]." in path else path
        if path.partition("[")[0] in untold or (path not in remote and (row[-1] != "]" or row in remote)):
            unseen |= {path: site[path]}
        elif row[-1] == "]" and (row in site) != (row in remote):
            rows.add(row)
        elif path in site and site[path] != remote[path]:
            _judge(merge, path, site[path], remote[path], (base or {}).get(path), flow(path))
    for row in sorted(rows):
        _judge_row(merge, row, site, remote, base, flow)
    if base is not None:  # where they never agreed, nobody knows what the remote holds there
        then = {path: entry for path, entry in base.items() if path in unseen or path.partition("[")[0] in untold}
        _only_site(merge, {path: text for path, text in unseen.items() if path in base or "[" in path}, then, flow)
    return merge


def _judge(merge: Merge, path: str, site: str | None, remote: str | None, entry: str | None, flow: Flow) -> None:
    ours, theirs = held(entry)
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


def _judge_row(
    merge: Merge, row: str, site: Flat, remote: Flat, base: Base | None, flow_of: Callable[[str], Flow]
) -> None:
    """A row that one side alone has: it came here, or it went there."""
    here, flow = row in site, flow_of(row)
    cells = _cells_of(row, site if here else remote)
    ours, theirs = held((base or {}).get(row))
    had, was_there = (ours != ABSENT, theirs != ABSENT) if here else (theirs != ABSENT, ours != ABSENT)
    edited = any(digest(text) != held((base or {}).get(path))[0 if here else 1] for path, text in cells.items())
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
        if digest(text) != held(base.get(path))[0] and flow(path) != "pull":
            merge.to_remote.values[path] = text
    for path, entry in base.items():
        if path not in site and path.endswith("]") and held(entry)[0] != ABSENT and flow(path) != "pull":
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


def applied(flat: Flat, changes: Changes) -> Flat:
    """What a side holds once it was told."""
    kept = {
        p: text for p, text in flat.items() if not any(p == gone or p.startswith(f"{gone}.") for gone in changes.gone)
    }
    return kept | changes.values


def changed(flat: Flat, base: Base | None, side: Side, untold: Collection[str] = ()) -> list[str]:
    """Paths of which `side` holds something else now than when both last agreed; rows that went are among them. What
    it does not tell, fields and cells that are not in `flat`, and the tables `untold`, has not changed."""
    then = {path: entry for path, text in (base or {}).items() if (entry := held_by(side, text)) != ABSENT}
    now = {path: digest(text) for path, text in flat.items()}
    differing = [path for path, text in now.items() if then.get(path, ABSENT) != text]
    return differing + [
        path for path in then if path not in now and path[-1] == "]" and path.partition("[")[0] not in untold
    ]


def agreed(old: Base | None, site: Flat, remote: Flat, told: Collection[str], untold: Collection[str] = ()) -> Base:
    """What is remembered from now on: what is the same on both sides, and what was `told`, in whatever form the other
    side keeps it, or as it was told where that does not say. What differs otherwise, since it waits for another run or
    came about as we wrote, is not agreed upon."""

    def is_told(path: str) -> bool:
        return any(path == one or path.startswith(f"{one}.") for one in told)

    def says(path: str) -> bool:
        row = path.partition("].")[0] + "]" if "]." in path else path
        return path.partition("[")[0] not in untold and (path in remote or (row[-1] == "]" and row not in remote))

    quiet = {path for path in site if not says(path)}
    now = base_of(site, remote | {path: site[path] for path in quiet if is_told(path)})
    new = {p: entry for p, entry in now.items() if (" " not in entry or is_told(p)) and (p not in quiet or is_told(p))}
    return {path: entry for path, entry in (old or {}).items() if entry != ABSENT and not is_told(path)} | new
