"""The overview as one HTML page: no scripts, its styles within, nothing loaded from anywhere. Reads templates.

In the daemon's own process, unlike letters: the template is ours, and nobody else's is ever used for it.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

TEMPLATES = Path(__file__).parent.parent / "templates"
SHORTEST, LONGEST = 2, 3600
"""Seconds between two looks of a page that refreshes itself."""


@cache
def _template() -> tuple[Any, str, str]:
    """(template, styles, Content-Security-Policy). A hash names the styles, so that no others are taken."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    style = (TEMPLATES / "status.css").read_text(encoding="utf-8")
    digest = b64encode(sha256(style.encode()).digest()).decode()
    rest = "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    return environment.get_template("status.html"), style, f"default-src 'none'; style-src 'sha256-{digest}'; {rest}"


def page(view: Mapping[str, Any], refresh: str = "") -> tuple[bytes, str]:
    """(HTML, Content-Security-Policy). `refresh`: seconds, as somebody wrote them into the address."""
    template, style, policy = _template()
    seconds = min(LONGEST, max(SHORTEST, int(refresh))) if refresh.isascii() and refresh.isdecimal() else 0
    text: str = template.render(view=view, style=Markup(style), refresh=seconds)
    return text.encode("utf-8", "replace"), policy
