"""Our own cost for each request: CPU of the client alone, against bare httpx doing the same."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterator

import httpx

from bench.figures import Figure
from bench.served import Served

ROUNDS, EACH, WARM_UP = 20, 250, 300
GET = "/api/method/frappe.client.get_value"
POST = "/api/method/frappe.client.get_count"


def figures() -> Iterator[Figure]:
    with Served({"Error Log": (100, 0)}) as served, served.site() as site:
        name = site.get_list("Error Log", ["name"], limit_page_length=1)[0]["name"]
        where = {"doctype": "Error Log", "fieldname": "method", "filters": {"name": name}}
        counted = {"doctype": "Error Log", "filters": [["seen", "=", 0]]}
        headers = {key: site.transport.http.headers[key] for key in ("Authorization", "Accept", "User-Agent")}
        with httpx.Client(base_url=served.url, headers=headers, timeout=130) as bare:
            texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in where.items()}
            pairs = {
                "small GET": (
                    lambda: site.get_value("Error Log", "method", {"name": name}),
                    lambda: bare.get(GET, params=texts).json()["message"],
                ),
                "small POST": (
                    lambda: site.post_api("frappe.client.get_count", counted),
                    lambda: bare.post(POST, json=counted).json()["message"],
                ),
            }
            for what, (ours, theirs) in pairs.items():
                if ours() != theirs():
                    raise RuntimeError(f"{what}: the two do not do the same")
                mine, other = _interleaved(ours, theirs)
                yield Figure(
                    "own cost of a request", f"{what}, {ROUNDS * EACH:,} of each", mine, "ms CPU", other, "bare httpx",
                    "ratio at most 1.3",
                )  # fmt: skip


def _interleaved(ours: Callable[[], object], theirs: Callable[[], object]) -> tuple[float, float]:
    """Medians over rounds, in ms of CPU a request. Taking turns, so that a busy machine disturbs both alike."""
    for _ in range(WARM_UP):
        ours()
        theirs()
    spent: tuple[list[float], list[float]] = ([], [])
    for number in range(ROUNDS):
        order = (0, 1) if number % 2 else (1, 0)
        for which in order:
            spent[which].append(_cpu((ours, theirs)[which]))
    return statistics.median(spent[0]), statistics.median(spent[1])


def _cpu(request: Callable[[], object]) -> float:
    begun = time.process_time()
    for _ in range(EACH):
        request()
    return (time.process_time() - begun) / EACH * 1000
