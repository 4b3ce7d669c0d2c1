"""`make bench`: ratios, measured in one run. Nothing here is asserted; tests/long holds what must be true.

Each part can be had by itself by --only; figures on a machine that does other work are only good for their ratios.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator

from bench import cleanups, imports, process, reads, real, requests
from bench.figures import Figure, machine, show

PARTS = ("cleanup", "import", "read", "request", "start", "idle", "jobs", "real", "real-import")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--json", action="store_true", help="JSON on standard output instead of a table")
    parser.add_argument("--only", action="append", choices=PARTS)
    parser.add_argument("--rows", type=int, default=3000, help="rows that each clean-up of the sandbox deletes")
    parser.add_argument("--real-doctype", default="Error Log", help="whose rows may be deleted on the real site")
    parser.add_argument("--real-days", type=int, default=30, help="only rows older than these days")
    parser.add_argument("--real-rows", type=int, default=1000, help="rows of the row by row clean-up there")
    parser.add_argument("--real-rounds", type=int, default=3, help="how often the ways take turns there")
    parser.add_argument("--items", type=int, default=10_000, help="rows that each import of the sandbox holds")
    parser.add_argument("--real-items", type=int, default=0, help="Items to make on the real site, and to delete again")
    asked = parser.parse_args()
    parts: dict[str, Callable[[], Iterator[Figure]]] = {
        "cleanup": lambda: cleanups.figures(asked.rows),
        "import": lambda: imports.figures(asked.items),
        "read": reads.figures,
        "request": requests.figures,
        "start": process.start_up,
        "idle": process.idle,
        "jobs": process.many_jobs,
        "real": lambda: real.figures(asked.real_doctype, asked.real_days, asked.real_rows, asked.real_rounds),
        "real-import": lambda: imports.real(asked.real_items, asked.real_rounds),
    }
    facts, found, notes = machine(), [], []
    for name in asked.only or parts:
        print(f"{name} …", file=sys.stderr, flush=True)
        try:
            found.extend(parts[name]())
        except real.NotReady as missing:
            notes.append(str(missing))
    if asked.json:
        print(json.dumps({"machine": facts, "figures": [one.as_json() for one in found], "notes": notes}, indent=2))
    else:
        show(found, notes, facts)


if __name__ == "__main__":
    main()
