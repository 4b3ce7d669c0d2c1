"""Words that a shell completes: names of jobs, sections of the reference. Reads the configuration as plain TOML.

A key press waits for it, so nothing here imports what checks a configuration; what cannot be read completes to nothing.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

import typer

from daemon.places import PLACES

SECTIONS = ("site", "state", "log", "schedule", "service", "status", "alerts", "jobs")


def jobs(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """(name, kind) of each job; one of two directions also by each."""
    return [found for found in _jobs(context) if found[0].startswith(incomplete)]


def of_kind(kind: str) -> Any:
    """The same, of one kind alone and by section."""

    def complete(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
        found = [one for one in _jobs(context) if one[1] == kind and not one[0].endswith((".pull", ".push"))]
        return [one for one in found if one[0].startswith(incomplete)]

    return complete


def _jobs(context: typer.Context) -> Iterator[tuple[str, str]]:
    sections = _read(context.params.get("config")).get("jobs")
    for name, values in sections.items() if isinstance(sections, dict) else ():
        if isinstance(values, dict):
            kind = str(values.get("kind", ""))
            yield name, kind
            directions = values.get("schedule")
            yield from ((f"{name}.{way}", kind) for way in (directions if isinstance(directions, dict) else ()))


def _read(named: Any) -> dict[str, Any]:
    """As daemon.config.find chooses it: the option also takes the environment's."""
    path = Path(named) if named else next((place for place in PLACES if place.exists()), None)
    try:
        return tomllib.loads(path.read_text(encoding="utf-8")) if path else {}
    except (OSError, ValueError):  # ValueError: no UTF-8, no TOML
        return {}


def sections(incomplete: str) -> list[str]:
    """Parts of the reference."""
    names = (module.name.rstrip("_") for module in iter_modules([str(Path(__file__).parent / "jobs")]))
    kinds = sorted(name for name in names if not name.startswith("_"))
    return [name for name in (*SECTIONS, *kinds) if name.startswith(incomplete)]
