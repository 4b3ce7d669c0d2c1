"""The overview at a terminal, by Rich. Draws what daemon.overview has put into words, and decides nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

MARKS = {"running": "▶", "ok": "✓", "failing": "✗", "late": "!", "new": "·", "stopped": "–", "disabled": "○"}
WORDS = {"ok": "well", "new": "not run yet"}
STYLES = {
    "running": "cyan",
    "ok": "green",
    "failing": "bold red",
    "late": "bold yellow",
    "disabled": "dim",
    "new": "dim",
}
BARS = "▁▂▃▄▅▆▇█"
SIGNS = {"failed": ("✗", "red"), "some failed": ("!", "yellow"), "refused": ("○", "magenta"),
         "stopped": ("–", "dim"), "interrupted": ("⌁", "dim"), "running": ("▶", "cyan")}  # fmt: skip
"""A run that did not simply end well is a sign and no bar, so that nobody needs the colours."""
ROOMY, MIDDLE = 118, 96
"""Columns from which on there is room for what the last run did, and for the moment of the next."""


class Overview:
    """The view as something that Rich prints, as wide as the terminal is then."""

    def __init__(self, view: Mapping[str, Any]) -> None:
        self._view = view

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = options.max_width
        yield from _head(self._view)
        yield _jobs(self._view["jobs"], width)
        for job in self._view["jobs"]:
            if job["running"]:
                yield _running(job, width)
        for job in self._view["jobs"]:
            if job["name"] in self._view["attention"]:
                yield _trouble(job)
        used = {run["status"] for job in self._view["jobs"] for run in job["runs"]} & set(SIGNS)
        if used:
            told = [f"{sign} {status}" for status, (sign, _) in SIGNS.items() if status in used]
            yield Text(f"▁█ done, by how long it took   {'   '.join(told)}", style="dim")


def _head(view: Mapping[str, Any]) -> Iterator[Any]:
    site, services = view["site"], view["services"]
    style = {True: "green", False: "bold red", None: "dim"}[site["up"]]
    parts = [site["url"].partition("//")[2]]
    frappe = f"  Frappe {site['version']}" if site["version"] else ""
    heard = f", last answer {site['relative']}" if site["relative"] else ""
    yield Text.assemble((parts[0], "bold"), frappe, "  ", (site["word"], style), (heard, "dim"))
    where = "; ".join(f"{one['host']}, process {one['pid']}" for one in services)
    yield Text.assemble(
        ("service " if services else "", ""), (view["service"], "" if services else "bold red"),
        (f" ({where})" if where else "", "dim"), f"  {view['shown']}", (f" {view['time_zone'] or 'UTC'}", "dim"),
    )  # fmt: skip
    verdict, colours = view["verdict"], {"good": "green", "bad": "bold red", "dim": "dim"}
    yield Text.assemble("\n", (verdict["lead"], colours[verdict["level"]]), f" {verdict['rest']} {view['running']}\n")


def _jobs(jobs: Sequence[Mapping[str, Any]], width: int) -> Any:
    if not jobs:
        return Text("")
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("Job", overflow="fold", max_width=max(16, width - 70) if width < MIDDLE else None)
    for title in ("State", "Next", *(["At"] if width >= MIDDLE else []), "Last runs"):
        table.add_column(title, no_wrap=True)
    if width >= ROOMY:
        table.add_column("Last", overflow="fold", min_width=18)
    for job in jobs:
        last = job["last"]
        following = job["next"] or {"relative": "-", "when": ""}
        moments = [Text(following["relative"]), Text(following["when"], style="dim")][: 2 if width >= MIDDLE else 1]
        cells = [Text(job["name"]), _state(job), *moments, strip(job["runs"])]
        if width >= ROOMY:
            said = [f"{last['status']} {last['relative']}", f"took {last['took']}", last["counted"]] if last else []
            cells.append(Text(", ".join(filter(None, said)) or "no run yet", style="" if last else "dim"))
        table.add_row(*cells)
    return Group(table, Text(""))


def _state(job: Mapping[str, Any]) -> Text:
    state = job["state"]
    return Text(f"{MARKS[state]} {WORDS.get(state, state)}", style=STYLES.get(state, ""))


def strip(runs: Sequence[Mapping[str, Any]]) -> Text:
    """One character for each run, the latest on the right."""
    found = Text()
    for run in runs:
        sign, style = SIGNS.get(run["status"], (BARS[min(7, int(run["height"] * 8))], "green"))
        found.append(sign, style=style)
    return found


def _running(job: Mapping[str, Any], width: int) -> Any:
    running, told = job["running"], job["running"]["progress"] or {}
    percent = told.get("percent")
    share = f" ({percent:.0f} %)" if percent is not None else ""
    rate = f"{told['per_second']:,.1f} a second" if told.get("per_second") else ""
    holder = running["holder"] or {}
    where = f"{holder['host']}, process {holder['pid']}" if holder else ""
    rest = [f"for {running['for']}", rate, told.get("left", ""), where, "dry run" if running["dry_run"] else ""]
    line = Text.assemble(
        (f"▶ {job['name']}: ", "cyan"), (f"{told.get('said', 'under way')}{share}", "bold"),
        (f" {told['part']}" if told.get("part") else "", ""), ("\n  " + ", ".join(filter(None, rest)), "dim"),
    )  # fmt: skip
    if percent is None:
        return Group(line, Text(""))
    bar = ProgressBar(total=100, completed=percent, width=min(60, width - 4), complete_style="cyan")
    return Group(line, Padding(bar, (0, 0, 0, 2)), Text(""))


def _trouble(job: Mapping[str, Any]) -> Any:
    told, alert = job["trouble"], job["alert"]
    often = f" failed {told['often']}" if told["often"] else ""
    since = f"last success {job['succeeded']}" if job["succeeded"] else "never succeeded"
    reached = f"told: {', '.join(alert['told'])}" if alert else ""
    facts = ", ".join(filter(None, [told["when"], since, reached]))
    below = Text.assemble(
        told["what"], "\n→ ", (f"{told['who']}: " if told["who"] != "nobody" else "", "bold"), told["action"],
        (f"\n{facts}\n", "dim"),
    )  # fmt: skip
    return Group(Text.assemble((f"✗ {job['name']}", "bold red"), often), Padding(below, (0, 0, 0, 2), expand=False))


def of_alerts(found: Mapping[str, Any]) -> Any:
    """Who is told of which job, and what they have been told."""
    lines: list[Any] = []
    for job in found["jobs"]:
        when = f"after {job['after']} {'failure' if job['after'] == 1 else 'failures in a row'}"
        age = f", or {job['max_age']} without a success" if job["max_age"] else ""
        told = f"{when}{age}: {', '.join(job['channels'])}" if job["channels"] else "nobody is told"
        lines.append(Text.assemble((f"{job['job']}: ", "bold"), (told, "" if job["channels"] else "dim")))
    for episode in found["episodes"]:
        state = "recovered" if episode["recovered"] else "in trouble"
        lines.append(Text.assemble((f"✗ {episode['job']}", "bold red"), f"  {state}, since {episode['since'][:16]}"))
        for channel, tellings in episode["told"].items():
            said = ", ".join(f"{one['kind']} {one['state']}{_because(one)}" for one in tellings)
            lines.append(Text(f"    {channel}: {said}"))
    return Group(*lines)


def _because(telling: Mapping[str, Any]) -> str:
    return f" ({telling['why']})" if telling["why"] else ""


def of_tests(answers: Sequence[Mapping[str, str]]) -> Any:
    """What became of test messages."""
    if not answers:
        return Text("Nobody is told of anything: name email, users or webhook in [alerts].")
    return Group(
        *(
            Text.assemble(
                (f"{one['channel']}: ", "bold"), (one["state"], "green" if one["state"] == "sent" else "bold red"),
                f" ({one['why']})" if one["why"] else "",
            )
            for one in answers
        )
    )  # fmt: skip
