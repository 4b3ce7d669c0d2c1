"""Numbers as people write them → plain decimal text. Reads and writes nothing.

Frappe drops every comma and takes what float() takes, and makes 0 of the rest (frappe/utils/data.py:flt): "1.234,56"
becomes 1.23456 and "(5)" becomes 0 without a word (seen on version 15). So what a column means is found out here.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

PLAIN = re.compile(r"[+-]?\d+(?:\.\d+)?", re.ASCII)
_CANONICAL = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?", re.ASCII)
_GROUPED = {
    mark: re.compile(rf"[+-]?\d{{1,3}}(?:{re.escape(mark)}\d{{2,3}})*{re.escape(mark)}\d{{3}}", re.ASCII)
    for mark in (",", ".")
}
"""Whole numbers in groups: thousands, or the Indian two digits before the last three."""
_SPACED = re.compile(r"(?<=\d)[ \u00a0\u202f\u2009'\u2019](?=\d{3}(?!\d))", re.ASCII)
_CODE = re.compile(r"(?:[A-Z]{3}|Rs\.?)", re.ASCII)

UNDECIDED = "?"
"""The decimal mark of a column whose values allow both."""


class NotANumber(Exception):
    """`str()` says what was expected."""


def bare(text: str, *, money: bool = False, percent: bool = False) -> str:
    """`text` without blanks and signs of currency, with one minus in front where it is negative.

    Parentheses and a minus behind mean negative. `money`: a currency's three letters (EUR), Rs and Rs. go, too;
    `percent`: a "%" behind goes.
    """
    text, negative = text.strip().replace("\u2212", "-"), False
    if text.startswith("(") and text.endswith(")"):
        text, negative = text[1:-1].strip(), True
        if "-" in text:
            raise NotANumber("a number with one sign")
    if percent:
        text = text.removesuffix("%").rstrip()
    text = _without_sign(text, money)
    if text.endswith("-"):
        text, negative = text[:-1].rstrip(), True
    if negative and text[:1] in ("-", "+"):
        raise NotANumber("a number with one sign")
    return _SPACED.sub("", f"-{text}" if negative else text)


def _without_sign(text: str, money: bool) -> str:
    """Without a sign of currency at either end; a minus may stand before or behind one."""
    lead = text[:1] if text[:1] in ("-", "+") else ""
    body = text[len(lead) :].strip()
    if body and unicodedata.category(body[0]) == "Sc":
        body = body[1:].lstrip()
    elif body and unicodedata.category(body[-1]) == "Sc":
        body = body[:-1].rstrip()
    elif money and (match := _CODE.match(body)):
        body = body[match.end() :].lstrip()
    elif money and (match := re.search(r"[A-Z]{3}$", body, re.ASCII)):
        body = body[: match.start()].rstrip()
    return lead + body


def evidence(text: str) -> str:
    """The decimal mark that a bare number proves: "." or ",", "" where it has none, `UNDECIDED` for both.

    Decided by both marks together, by one mark twice, or by a group that is no thousand: "1.234,5", "1,234,567",
    "0,5", "1234,567". One mark before exactly three digits, "1,234", decides nothing.
    """
    marks = [letter for letter in text if letter in ".,"]
    if not marks:
        return ""
    last, other = marks[-1], "," if marks[-1] == "." else "."
    if other in marks:
        return last
    if len(marks) > 1:
        return other
    before, _, after = text.lstrip("+-").partition(last)
    grouped = len(after) == 3 and after.isdigit() and 1 <= len(before) <= 3 and before[0] != "0"
    return UNDECIDED if grouped else last


def decimal_of(texts: Iterable[str]) -> str:
    """The decimal mark of a column: the only one that its values prove, else `UNDECIDED`."""
    proved = {mark for text in texts if (mark := evidence(text)) not in ("", UNDECIDED)}
    return proved.pop() if len(proved) == 1 else UNDECIDED


def canonical(text: str, decimal: str) -> str:
    """A bare number → what float() and Decimal() take, no more. Raises NotANumber.

    `decimal` is ".", "," or `UNDECIDED`, where the number has to prove its mark itself.
    """
    if decimal == UNDECIDED:
        decimal = evidence(text) or "."
        if decimal == UNDECIDED:
            raise NotANumber('a number that can be read in one way: state decimal = "." or decimal = ","')
    whole, mark, rest = text.partition(decimal)
    group = "," if decimal == "." else "."
    if group in whole and _GROUPED[group].fullmatch(whole):
        whole = whole.replace(group, "")
    found = f"{whole}.{rest}" if mark else whole
    if group in whole or not _CANONICAL.fullmatch(found):
        raise NotANumber(f'a number with "{decimal}" before its decimals')
    return found
