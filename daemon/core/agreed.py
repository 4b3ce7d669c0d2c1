"""What both sides of a pair held when they last agreed, kept as digests. Reads and writes nothing."""

from __future__ import annotations

from hashlib import blake2b
from typing import Literal

Base = dict[str, str]
"""Path → digest of what both held, or "SITE REMOTE" where they held it in different forms."""
Side = Literal["site", "remote"]

ABSENT = "-"
"""Digest of a path that one side has not; under a table's name: its rows were never agreed upon."""


def digest(text: str | None) -> str:
    """48 bits: enough to tell one field's values apart, few enough to keep for each field of a million records. A text
    that is none in UTF-8, with half of a surrogate pair in it, has one too."""
    return "" if text is None else blake2b(text.encode(errors="surrogatepass"), digest_size=6).hexdigest()


def held(text: str | None) -> tuple[str, str]:
    """(the site's digest, the remote's) of an entry of a `Base`; ABSENT where there is none."""
    if text is None:
        return ABSENT, ABSENT
    ours, _, theirs = text.partition(" ")
    return ours, theirs if _ else ours


def held_by(side: Side, text: str | None) -> str:
    return held(text)[0 if side == "site" else 1]
