"""What a file is, from its first bytes: format, byte order mark, delimiter. Reads and writes nothing.

Content goes before extension: a .csv that is really a workbook is a workbook.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from typing import Any

BOMS = (
    (b"\xef\xbb\xbf", "utf-8"),
    (b"\xff\xfe\x00\x00", "utf-32-le"),
    (b"\x00\x00\xfe\xff", "utf-32-be"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
)

ZIP = b"PK\x03\x04"
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"

_FOREIGN = (
    (b"%PDF", "a PDF document"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"RIFF", "a sound, film or image"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!", "a RAR archive"),
    (b"BZh", "compressed with bzip2"),
    (b"\xfd7zXZ", "compressed with xz"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd"),
    (b"PAR1", "a Parquet file"),
    (b"SQLite format 3\x00", "an SQLite database"),
    (b"\x7fELF", "a program"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"\x1f\x8b", "gzipped twice"),
)
_MARKUP = (
    (re.compile(rb"<!doctype html|<html|<head|<table|<body", re.I), "an HTML page"),
    (re.compile(rb"<\?xml|<[a-z]+:", re.I), "an XML document"),
    (re.compile(rb"\{\\rtf", re.I), "an RTF document"),
)


def bom(head: bytes) -> str | None:
    """The encoding that the byte order mark names, or None where there is none."""
    return next((encoding for mark, encoding in BOMS if head.startswith(mark)), None)


def foreign(head: bytes) -> str | None:
    """What the file is, where it is known to be no table, in words that follow "this is"."""
    for magic, name in _FOREIGN:
        if head.startswith(magic):
            return name
    text = head.removeprefix(BOMS[0][0]).lstrip()
    return next((name for pattern, name in _MARKUP if pattern.match(text)), None)


def format_of(head: bytes, name: str) -> str:
    """ "zip" (of whatever kind), "xls", "jsonl" or "csv"."""
    if head.startswith(ZIP):
        return "zip"
    if head.startswith(OLE):
        return "xls"
    if name.endswith((".jsonl", ".ndjson")):
        return "jsonl"
    if name.endswith((".csv", ".tsv", ".tab")):
        return "csv"
    text = head.removeprefix(BOMS[0][0]).lstrip()
    return "jsonl" if re.match(rb'\{\s*("|\})', text) else "csv"


SEPARATOR = re.compile(r'sep=([^"\r\n])[\r\n]*')
"""The first line by which a file tells Excel its delimiter."""

DELIMITERS = ",;\t|:^~\x1f"
_RECORDS = 100


def delimiter_of(lines: Sequence[str], quote: str, complete: bool) -> str:
    """The delimiter that divides most of the records into as many cells as the header has, and into more than another
    that does so as often; a comma where none divides the header. `complete`: `lines` are the whole file."""
    found = [(*_fit(lines, delimiter, quote, complete), -rank, delimiter) for rank, delimiter in enumerate(DELIMITERS)]
    return max(found)[-1]


def _fit(lines: Sequence[str], delimiter: str, quote: str, complete: bool) -> tuple[bool, float, int]:
    widths: list[int] = []
    try:
        records = csv.reader(lines, **dialect(delimiter, quote), strict=True)
        widths.extend(len(cells) for cells in records if any(map(str.strip, cells)))
    except csv.Error:
        complete = False  # the sample ends within quotes, or this delimiter makes no sense of them
        if len(widths) < 2:
            return False, 0.0, 0
    if not complete and len(widths) > 2:
        widths.pop()
    if not widths or widths[0] < 2:
        return False, 0.0, 0
    same = sum(width == widths[0] for width in widths[:_RECORDS]) / len(widths[:_RECORDS])
    return True, round(same, 1), widths[0]


def dialect(delimiter: str, quote: str) -> dict[str, Any]:
    """Arguments of csv.reader. `quote` "": no character quotes."""
    if not quote:
        return {"delimiter": delimiter, "quoting": csv.QUOTE_NONE, "quotechar": None}
    return {"delimiter": delimiter, "quotechar": quote, "doublequote": True}
