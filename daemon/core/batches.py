"""How many rows go into a request, which of them a refusal means, and which lines of a file are dealt with.

Reads and writes nothing. A site inserts the rows of a request one after the other in one transaction, so a row that it
refuses costs all the rows before it a second time; the more rows it refuses, the smaller requests should be.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

LARGEST = 200
"""Documents that frappe/client.py:insert_many takes."""
OVERHEAD = 5.0
"""What a request costs beside its rows, in rows: 3.7 for Items and 5.2 for ToDos on a Frappe 15."""
LONGEST = 20.0
"""Seconds that a request should not exceed: proxies and the site's own server cut it at 60 to 120."""


class Pace:
    """How many rows the next request should hold.

    Of n rows, each refused with chance p, OVERHEAD / n of the work is lost on requests and about p · n / 2 on what is
    undone, so that n = sqrt(2 · OVERHEAD / p) is best.
    """

    def __init__(self, largest: int = LARGEST) -> None:
        self._largest = largest
        self._seconds = 0.0
        """For one row, lately."""
        self._rows = 200.0
        self._refused = 0.0

    @property
    def rows(self) -> int:
        chance = self._refused / self._rows
        best = math.sqrt(2 * OVERHEAD / chance) if chance else self._largest
        longest = LONGEST / self._seconds if self._seconds else self._largest
        return max(1, int(min(best, longest, self._largest)))

    def took(self, rows: int, seconds: float, refused: int = 0) -> None:
        """`rows` were settled in `seconds`, `refused` of them by the site. What was long ago counts less and less."""
        share = seconds / max(1, rows)
        self._seconds = share if not self._seconds else self._seconds + 0.3 * (share - self._seconds)
        kept = 0.5 ** (rows / 2000)
        self._rows, self._refused = self._rows * kept + rows, self._refused * kept + refused


def suspects(message: str, docs: Sequence[Mapping[str, Any]]) -> list[int]:
    """Places of the documents that a refusal speaks of: those with a value that stands in `message` and in few others.

    A guess that saves requests and decides nothing: whoever is suspected is asked for singly.
    """
    found = [place for place, doc in enumerate(docs) if any(_named(text, message) for text in _texts(doc))]
    return found if len(found) * 4 <= len(docs) else []


def _texts(doc: Mapping[str, Any]) -> Iterable[str]:
    for key, value in doc.items():
        if isinstance(value, list):
            for row in value:
                yield from _texts(row) if isinstance(row, Mapping) else ()
        elif isinstance(value, str) and key != "doctype" and 3 <= len(value) <= 140:
            yield value


def _named(text: str, message: str) -> bool:
    """As a word of its own, not as a part of one."""
    place = message.find(text)
    if place < 0:
        return False
    around = message[place - 1 : place] + message[place + len(text) : place + len(text) + 1]
    return not any(letter.isalnum() for letter in around)


class Ranges:
    """A set of whole numbers that grows by ranges, kept as few as possible."""

    def __init__(self, pairs: Iterable[Sequence[int]] = ()) -> None:
        self._pairs: list[list[int]] = sorted([int(first), int(last)] for first, last in pairs)

    def add(self, first: int, last: int) -> None:
        """All from `first` to `last`. A range that begins where another ended, or in it, becomes one with it."""
        place = bisect_right(self._pairs, [first])
        if place and self._pairs[place - 1][1] >= first - 1:
            place -= 1
            first, last = self._pairs[place][0], max(last, self._pairs[place][1])
        end = place
        while end < len(self._pairs) and self._pairs[end][0] <= last + 1:
            last = max(last, self._pairs[end][1])
            end += 1
        self._pairs[place:end] = [[first, last]]

    def __contains__(self, number: int) -> bool:
        place = bisect_right(self._pairs, [number, math.inf])
        return bool(place) and self._pairs[place - 1][1] >= number

    def __len__(self) -> int:
        return sum(last - first + 1 for first, last in self._pairs)

    @property
    def pairs(self) -> list[list[int]]:
        """[first, last] of each range, for JSON."""
        return [list(pair) for pair in self._pairs]
