"""Files that come with the package. Reads no file; one copy of each exists, in the checkout or in what is installed."""

from __future__ import annotations

from pathlib import Path

_HERE = Path(__file__).parent


def shipped(name: str, installed: str = "") -> Path:
    """Where `name`, a path in the checkout, lies: within an installed package under `installed` or the same name, else
    at the top of the checkout."""
    inside = _HERE / (installed or name)
    return inside if inside.exists() else _HERE.parent / name


EXAMPLE = shipped("config.toml", "config.example.toml")
"""The annotated configuration."""
UNITS = shipped("systemd")
"""The directory of the units."""
