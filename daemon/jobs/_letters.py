"""What letters of all kinds share: what they call the site, and which language they are in. Reads System Settings where
the address says nothing to people."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from daemon.core.kind import Doubt, SitePort
from daemon.errors import SiteError
from daemon.rendering.process import languages

INTERNAL = ("localhost", "local", "internal", "lan", "test")
"""Ends of names that mean something on one machine or in one network alone (RFC 6761, RFC 6762)."""


def name_of(site: SitePort) -> str:
    """Its host where that is a name that people know, else what the site calls itself, as far as this user may read
    that."""
    host = urlsplit(site.url).hostname or site.url
    if _is_known(host):
        return host
    try:
        return str(site.get_doc("System Settings", "System Settings").get("app_name") or host)
    except SiteError:
        return host


def _is_known(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return "." in host and host.rpartition(".")[2] not in INTERNAL
    return False


def language_doubts(language: str, folder: Path | None) -> Iterator[Doubt]:
    """That nobody translated the texts into it."""
    known = languages(folder)
    if (language or "en").partition("-")[0] not in known:
        what = f"language: there are no words of {language!r}, so letters are in English"
        action = f"Name one of {', '.join(sorted(known))}, or put words/{language}.json into `templates`."
        yield Doubt(what, action, grave=False)
