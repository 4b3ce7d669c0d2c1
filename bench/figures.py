"""What was measured, where, and how it is shown."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Figure:
    """One measurement beside what it is compared with, both in `unit`."""

    part: str
    what: str
    ours: float
    unit: str
    other: float | None = None
    against: str = ""
    """What `other` is."""
    wanted: str = ""
    """What was hoped for, in words; nothing fails where it is missed."""
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """Ours to the other's."""
        return self.ours / self.other if self.other else None

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"ratio": self.ratio}


def machine() -> dict[str, Any]:
    """Where and beside what this ran."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def show(figures: Iterable[Figure], notes: Iterable[str], facts: dict[str, Any]) -> None:
    """One table on standard output."""
    from rich.console import Console
    from rich.table import Table

    title = f"{facts['cpu']}, {facts['cores']} cores, Python {facts['python']}, {facts['system']}"
    table = Table(title=f"{title}; load at the start {facts['load']}", title_justify="left", show_lines=False)
    for heading in ("", "measured", "against", "ratio", "wanted"):
        table.add_column(heading, justify="left" if heading in ("", "wanted") else "right")
    part = ""
    for figure in figures:
        if figure.part != part:
            part = figure.part
            table.add_section()
            table.add_row(f"[bold]{part}")
        against = f"{figure.against} {_number(figure.other)}" if figure.other is not None else ""
        ratio = f"{figure.ratio:.2f}" if figure.ratio else ""
        what = f"{figure.what} ({figure.note})" if figure.note else figure.what
        table.add_row(f"  {what}", f"{_number(figure.ours)} {figure.unit}", against, ratio, figure.wanted)
    console = Console(width=None if os.isatty(1) else 150)
    console.print(table)
    for note in notes:
        console.print(f"- {note}", highlight=False)


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
