"""Reading a long list, page by page, at the same page length."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from bench.baseline import Mended, read_rows
from bench.figures import Figure
from bench.served import Served

ROWS, PAGE, ROUNDS = 20_000, 500, 3
FIELDS = ["name", "creation", "method"]


def figures() -> Iterator[Figure]:
    with (
        Served({"Error Log": (ROWS, 0)}) as served,
        served.site() as site,
        Mended(served.url, *served.key) as client,
    ):
        ours, theirs = [], []
        for _ in range(ROUNDS):
            ours.append(_rate(lambda: site.paginate("Error Log", FIELDS, page_length=PAGE)))
            theirs.append(_rate(lambda: read_rows(client, "Error Log", FIELDS, PAGE)))
    yield Figure(
        "reading, sandbox", f"{ROWS:,} rows in pages of {PAGE}", statistics.median(ours), "rows/s",
        statistics.median(theirs), "frappe-client by offset",
    )  # fmt: skip


def _rate(read: Callable[[], Iterable[list[dict[str, Any]]]]) -> float:
    begun = time.perf_counter()
    names = {row["name"] for page in read() for row in page}
    if len(names) != ROWS:
        raise RuntimeError(f"{len(names)} rows read instead of {ROWS}")
    return len(names) / (time.perf_counter() - begun)
