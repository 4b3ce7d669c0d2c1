"""What people see at a terminal: tables and sentences, by Rich. Writes standard output and nothing else."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from rich.console import Console, Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from daemon.core.duration import format_duration

SHOWN, SHOWN_PLANNED = 5, 20
"""Reasons and failures, and planned acts, printed for each part; the JSON report has up to a hundred samples."""

_STYLES = {
    "done": "green", "ok": "green", "problem": "bold red", "failed": "bold red", "some failed": "yellow",
    "refused": "yellow", "warning": "yellow", "stopped": "yellow", "interrupted": "yellow", "running": "cyan",
}  # fmt: skip


NARROW = 110
"""Columns of a terminal below which a table leaves its longest column to lines of their own."""
WIDE = 1000
"""Columns where no terminal is: a line is one line, for grep and for mails."""


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Raises what Rich would end the process for, with an exit code of its own."""
        raise


def console() -> Console:
    """Standard output, as wide as the terminal, or never folded where there is none."""
    found = _Console(highlight=False)
    return found if found.is_terminal else _Console(highlight=False, width=WIDE)


def show(screen: Console, what: Any) -> None:
    """Print `what`. Where no terminal is, lines end where their text ends; cells are padded for the eye alone."""
    if screen.is_terminal:
        return screen.print(what)
    with screen.capture() as captured:
        screen.print(what)
    if sys.stdout:
        sys.stdout.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))
    return None


def _table(*columns: str, right: Sequence[str] = ()) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(
            column,
            justify="right" if column in right else "left",
            overflow="fold",
            no_wrap=column in ("Run (UTC)", "Job", "", "How", "Result", "Took", "Status", "Undo", *right),
        )
    return table


def _styled(word: str) -> Text:
    return Text(word, style=_STYLES.get(word, ""))


def _number(count: Any) -> str:
    return f"{count:,}" if isinstance(count, int) else "-"


def of_report(found: Mapping[str, Any]) -> Group:
    """One run: a line about it, a row for each part, and below what a person should know."""
    head = Text.assemble(
        (found["job"], "bold"), f"  {found['kind']}  ", _styled(found["status"]),
        f"  {_length(found['seconds'])}, {_many(found['requests'], 'request')}, {_many(found['retries'], 'retry')}",
        f", {_many(found['remote_requests'], 'remote request')}" if "remote_requests" in found else "",
        "  dry run: nothing was changed" if found["dry_run"] else "",
    )  # fmt: skip
    parts = found["parts"]
    numbers = ("Total", "Found", "Planned" if found["dry_run"] else "Done", "Kept", "Failed", "Uncertain")
    table = _table("", *numbers, "How", "Result", right=numbers)
    for part in parts:
        counts = _counts(part)
        failed, planned = counts.get("failed", 0) + counts.get("refused", 0), counts.get("planned", 0)
        about = "" if part.get("exact", True) else "≤ "
        done = counts.get("done", 0) + planned
        gone = done + failed + counts.get("uncertain", 0)
        unfinished = "whole" in part and part["error"]
        kept = max(0, part["total"] - gone) if "total" in part and not unfinished else counts.get("kept", 0)
        how = "dry run" if planned and not found["dry_run"] else str(part["facts"].get("strategy", ""))
        table.add_row(
            part["part"], _number(part.get("total")), about + _number(part.get("found")), _number(done), _number(kept),
            _number(failed), _number(counts.get("uncertain", 0)), how, _result(part),
        )  # fmt: skip
    error = found["error"]
    below = [line for part in parts for line in _below(part, error)]
    if error:
        below.append(_sentence("", error))
    below += [_foreseen(problem) for problem in found.get("problems", ())]
    shown = [Padding(table, (0, 0, 0, 2), expand=False)] if parts else []
    return Group(head, *shown, *(Padding(line, (0, 0, 0, 2), expand=False) for line in below), "")


def _foreseen(problem: Mapping[str, str]) -> Text:
    what, then = problem["what"], f"\n  → {problem['action']} [{problem['who']}]"
    return Text.assemble(("the run itself will fail: ", "bold"), (what, "red"), then)


def _counts(part: Mapping[str, Any]) -> Mapping[str, int]:
    """Of all runs that worked on the same thing, where there may be several."""
    found: Mapping[str, int] = part["counts"] if "whole" not in part else part["whole"]
    return found


def _result(part: Mapping[str, Any]) -> Text:
    counts = _counts(part)
    if part["refused"]:
        return _styled("refused")
    if part["error"] and part["error"]["kind"] == "Stopped":
        return _styled("stopped")
    if part["error"] or counts.get("failed") or counts.get("uncertain"):
        return _styled("failed" if part["error"] else "some failed")
    return _styled("done")


def _below(part: Mapping[str, Any], of_run: Mapping[str, str] | None) -> Iterable[Text]:
    """Why rows were kept, refused or left; notes; residue. What ended the whole run is said once, by the run."""
    name = part["part"]
    if part["refused"]:
        yield Text.assemble((f"{name}: ", "bold"), (part["refused"], "yellow"))
    if part["error"] and part["error"] != of_run:
        yield _sentence(name, part["error"])
    for reason, count in sorted(part["reasons"].items(), key=lambda item: -item[1])[:SHOWN]:
        yield Text.assemble((f"{name}: ", "bold"), f"{count:,} {reason}")
    yield from _planned(name, part)
    bad = [sample for sample in part["samples"] if sample["result"] in ("failed", "refused", "uncertain")]
    for sample in bad[:SHOWN]:
        who = f" ({sample['who']})" if sample.get("who") else ""
        yield Text.assemble((f"{name} {sample['name']}: ", "bold"), (sample["reason"], "red"), who)
    if "whole" in part and part["error"] and (left := part["total"] - sum(part["whole"].values())) > 0:
        yield Text.assemble((f"{name}: ", "bold"), f"{left:,} rows are not dealt with yet")
    more = sum(part["counts"].get(key, 0) for key in ("failed", "refused", "uncertain")) - len(bad[:SHOWN])
    if bad and more > 0:
        yield Text(f"{name}: and {more:,} more like these")
    for note in [*part["notes"], *([part["facts"]["archive"]] if "archive" in part["facts"] else [])]:
        yield Text.assemble((f"{name}: ", "bold"), (note, "dim"))


def _planned(name: str, part: Mapping[str, Any]) -> Iterable[Text]:
    """What a dry run would do, one by one, where each is a matter of its own."""
    planned = [one for one in part["samples"] if one["result"] == "planned" and "summary" in one]
    for one in planned[:SHOWN_PLANNED]:
        yield Text.assemble((f"{name} {one['name']}: ", "bold"), f"{one['verb']} {one['reason']}")
    if planned and (more := part["counts"]["planned"] - len(planned[:SHOWN_PLANNED])) > 0:
        yield Text(f"{name}: and {more:,} more like these; --rows FILE writes each")


def _sentence(name: str, error: Mapping[str, str]) -> Text:
    who = f" [{error['who']}]" if error["who"] != "nobody" else ""
    return Text.assemble(
        (f"{name}: " if name else "", "bold"), (error["message"], "red"), f"\n  → {error['action']}{who}"
    )


def of_findings(findings: Iterable[Mapping[str, str]]) -> Group:
    """What `check` saw: problems with who must do what."""
    lines: list[Any] = []
    marks = {"ok": "✓", "warning": "!", "problem": "✗"}
    for found in findings:
        style = _STYLES[found["level"]]
        lines.append(
            Text.assemble((f"{marks[found['level']]} ", style), (f"{found['subject']}: ", "bold"), found["what"])
        )
        if found["action"]:
            lines.append(Text(f"    → {found['who']}: {found['action']}", style=style))
    return Group(*lines)


def of_answers(rows: Iterable[Mapping[str, str]]) -> Group:
    """What `explain` says."""
    return Group(
        *(
            Text.assemble((f"{row['about']}: ", "bold"), f"{row['state']}: " if row["state"] else "", row["why"])
            for row in rows
        )
    )


def of_steps(steps: Sequence[Mapping[str, str]], applied: bool) -> Group:
    """What `setup` would make or take away, or has; at a terminal with notes below, else on the same line, for grep."""
    below = console().is_terminal
    lines: list[Any] = []
    for step in steps:
        state = Text(step["state"], style="bold red" if step["state"] == "refused" else "green")
        note = f" ({step['note']})" if step["note"] and not below else ""
        lines.append(Text.assemble((f"{step['what']}: ", "bold"), state, note))
        if step["note"] and below:
            lines += [Padding(Text(one, "dim"), (0, 0, 0, 4), expand=False) for one in step["note"].split("; ")]
        if step["action"]:
            style = "bold red" if step["state"] == "refused" else "yellow"
            lines.append(Padding(Text(f"→ {step['who']}: {step['action']}", style), (0, 0, 0, 4), expand=False))
    if not steps:
        lines.append(Text("There is nothing to do."))
    elif not applied and any(step["state"].startswith("would") for step in steps):
        lines.append(Text("This is the plan; --apply does it."))
    return Group(*lines)


def of_init(found: Mapping[str, Any]) -> Group:
    """What `init` found and wrote, and what to do next."""
    apps = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    may = "a System Manager" if found["system_manager"] else "no System Manager"
    lines: list[Any] = [
        Text.assemble(("✓ ", "green"), f"{found['url']}: {apps}; time zone {found['time_zone']}"),
        Text.assemble(("✓ ", "green"), f"the API key is that of {found['user']}, {may}"),
        "",
    ]
    for job in found["jobs"]:
        lines.append(Text.assemble((job["name"], "bold"), f"  {job['kind']}, disabled"))
        lines += [Padding(Text(sentence), (0, 0, 0, 4), expand=False) for sentence in job["would"]]
    lines += ["", *(Text.assemble(("wrote ", "green"), path) for path in found["written"]), "", Text("Next:", "bold")]
    for step in found["next"]:
        lines.append(Text(f"  {step['command']}" if step["command"] else f"  {step['why']}"))
        if step["command"]:
            lines.append(Padding(Text(step["why"], "dim"), (0, 0, 0, 6), expand=False))
    return Group(*lines)


def of_word(found: Mapping[str, Any]) -> Text:
    """What a command did, in a sentence."""
    return Text(found["said"])


def of_conflicts(pairs: Sequence[Mapping[str, Any]]) -> Group:
    """Pairs of a sync, each with what is the matter with it."""
    lines: list[Any] = []
    for pair in pairs:
        twins = f"{pair['document'] or 'no document'} ↔ {pair['record'] or 'no record'}"
        lines.append(Text.assemble((twins, "bold"), f"  {pair['job']}  ", _styled(pair["status"])))
        for path, (site, remote) in pair["fields"].items():
            lines.append(Text(f"    {path}: site {_value(site)}, remote {_value(remote)}"))
        if pair["why"] and not pair["fields"]:
            lines.append(Text(f"    {pair['why']}"))
        if pair["waiting"] or pair["next_try"]:
            lines.append(
                Text(f"    {'the next run looks at it' if pair['waiting'] else 'tried again ' + pair['next_try'][:16]}")
            )
    return Group(*(lines or [Text("No pair waits for a person.")]))


def _value(text: str | None) -> str:
    return "nothing" if text is None else repr(text)


def of_jobs(jobs: Iterable[Mapping[str, Any]], zone: ZoneInfo) -> Table:
    """Jobs with their next slots and last results, all in the zone of the schedules."""
    table = _table("Job", "Kind", "Schedule", f"Next five ({zone.key})", "Last")
    for job in jobs:
        following = [_moment(text, zone) for text in job["next"]]
        last = job["last"]
        ended = Text.assemble(_styled(last["status"]), f" {_moment(last['started'], zone)}") if last else Text("never")
        if last and job["looked"] != last["started"]:
            ended.append(f"\nnothing to do {_moment(job['looked'], zone)}")
        if job["running"]:
            ended = Text("\n").join([_of_running(job["running"]), ended])
        if held := job["held"]:
            ended.append(f"\nheld by {held['host']}:{held['pid']} since {_moment(held['since'], zone)}")
        table.add_row(job["name"], job["kind"], job["schedule"], "\n".join(following) or "disabled", ended)
    return table


def _of_running(running: Mapping[str, Any]) -> Text:
    """Since when, how far, and by whom."""
    told, holder = running["progress"], running["holder"]
    far = "".join(f", {said}" for said in (told["said"], told["left"]) if said) if told else ""
    where = f" ({holder['host']}, process {holder['pid']})" if holder else ""
    return Text.assemble(_styled("running"), f" for {running['for']}{far}{where}")


def _moment(text: str, zone: ZoneInfo) -> str:
    return datetime.fromisoformat(text).astimezone(zone).strftime("%a %Y-%m-%d %H:%M")


def of_history(runs: Iterable[Mapping[str, Any]]) -> Table | Group:
    """Runs, the newest first. What came of them stands below each where the terminal is narrow."""
    screen = console()
    below, told = screen.is_terminal and screen.width < NARROW, list[str]()
    table = _table("Run (UTC)", "Job", "Reason", "Took", "Status", "Undo", "What")
    for run in runs:
        counts = ", ".join(f"{count:,} {key}" for key, count in run["counts"].items())
        took = _length(run["seconds"]) if run["seconds"] is not None else "-"
        dry = " (dry run)" if run["dry_run"] else ""
        parts = [(run["error"] or {}).get("message"), *run["refused"], _failures(run["failed"]), counts]
        what = "; ".join(dict.fromkeys(filter(None, parts)))
        if not what and run["status"] == "done":
            what = "nothing to do"
        cells = [run["run"], run["job"], run["reason"] + dry, took, _styled(run["status"]), run["undo"]["state"]]
        table.add_row(*cells, what)
        told.append(what)
    return _with_words_below(table, told, screen) if below else table


def _with_words_below(table: Table, words: Sequence[str], screen: Console) -> Table | Group:
    """Each line of `table`, and below it what its last column says; the table itself where even so it needs folding."""
    last = table.columns.pop()
    lines = [line for line in screen.render_lines(table, pad=False) if line]
    if len(lines) != len(words) + 1:
        table.columns.append(last)
        return table
    shown = [Text.assemble(*((segment.text, segment.style or "") for segment in line)) for line in lines]
    head, *rows = shown
    found: list[Any] = [head]
    for row, what in zip(rows, words, strict=True):
        found += [row, Padding(Text(what), (0, 0, 0, 4), expand=False)] if what else [row]
    return Group(*found)


def _failures(failed: Sequence[str]) -> str:
    """The first of them, and how many there are beside it."""
    return f"{failed[0]}{f', and {len(failed) - 1:,} more' if len(failed) > 1 else ''}" if failed else ""


def _many(count: int, one: str) -> str:
    """ "1 request", "2 requests", "0 retries"."""
    many = f"{one[:-1]}ies" if one.endswith("y") else f"{one}s"
    return f"{count:,} {one if count == 1 else many}"


def _length(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 60 else format_duration(timedelta(seconds=round(seconds)))
