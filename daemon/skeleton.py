"""A first config.toml for one site, cut out of the shipped one: its words, with what is true there. Writes nothing.

The shipped file is parted into its jobs, and jobs into their rules, metrics and the like. What a site lacks is left
out, with a line that says so; what stays is told with what it would do there, counted.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from daemon.jobs import cleanup
from daemon.reference import toml

MANY = 10_000
"""Rows of a log from which on a rule for it is worth a line."""
_LOGS = {
    "Scheduled Job Log": "90d", "Access Log": "180d", "Route History": "90d", "Notification Log": "180d",
    "View Log": "180d", "Webhook Request Log": "90d", "Integration Request": "180d", "Prepared Report": "90d",
}  # fmt: skip
"""Logs that grow without end, beside those of the shipped file, and for how long they are of use."""


class Looks(Protocol):
    """What is asked about the site; daemon.cli_init has one that asks it. Each answer is None where it is not told."""

    user: str

    def fields(self, doctype: str) -> frozenset[str] | None:
        """Names of the DocType's fields; None where there is no such DocType."""
        ...

    def rows(self, doctype: str, filters: list[list[Any]]) -> int | None: ...
    def older(self, doctype: str, field: str, than: str, filters: list[list[Any]]) -> int | None: ...
    def within(self, doctype: str, field: str, days: int) -> int | None:
        """Documents whose date is between today and so many days ahead."""
        ...

    def covered(self, doctype: str) -> bool:
        """Log Settings may clear it."""
        ...


@dataclass(slots=True)
class Piece:
    """A job's head, or one of its rules, metrics, tables …"""

    text: str
    table: str = ""
    """The key of the list that it belongs to, such as "rules"; "" for the job's own keys and tables."""
    values: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Job:
    """A job of the shipped file."""

    name: str
    lead: str
    """The comment above it."""
    pieces: list[Piece]
    would: list[str] = field(default_factory=list)
    """Sentences on what it would do on this very site."""

    @property
    def kind(self) -> str:
        return str(self.pieces[0].values["kind"])

    @property
    def text(self) -> str:
        head, *rest = self.pieces
        said = "\n".join(f"# Here: {sentence}" for sentence in self.would)
        lines = [line for line in head.text.splitlines() if not line.startswith("enabled =")]
        lines.insert(1, "enabled = false    # until you have looked at it")
        parts = [self.lead.rstrip(), said, "\n".join(lines)]
        return "\n".join(filter(None, parts)) + "".join(f"\n\n{piece.text}" for piece in rest)


def parted(shipped: str) -> tuple[str, list[Job]]:
    """(all that stands before the first job, the jobs)."""
    head, *blocks = re.split(r"\n\n\n(?=#)", shipped.rstrip("\n"))
    return head, [_job(block) for block in blocks]


def _job(block: str) -> Job:
    lead, _, text = block.partition("\n[jobs.")
    text = f"[jobs.{text}"
    name = text[len("[jobs.") : text.index("]")]
    pieces = [_piece(name, part) for part in re.split(r"\n\n(?=#|\[)", text)]
    return Job(name, lead, pieces)


def _piece(name: str, text: str) -> Piece:
    values: Any = tomllib.loads(text)["jobs"][name]
    if found := re.search(rf"^\[\[jobs\.{re.escape(name)}\.(\w+)\]\]$", text, re.MULTILINE):
        return Piece(text, found[1], values[found[1]][0])
    return Piece(text, "", values)


def fitted(jobs: list[Job], site: Looks) -> Iterator[Job]:
    """The jobs that make sense on the site, each with what it would do there."""
    for job in jobs:
        if fit := _FIT[job.kind](job, site):
            yield fit


def _fit_cleanup(job: Job, site: Looks) -> Job | None:
    lists = [piece for piece in job.pieces if piece.table]
    named = {piece.values["doctype"] for piece in lists}
    for doctype, age in _LOGS.items():
        if doctype not in named and site.covered(doctype) and (site.rows(doctype, []) or 0) >= MANY:
            lists.append(_rule(job.name, doctype, age))
    kept = []
    for piece in lists:
        rule = piece.values
        doctype = rule["doctype"]
        if site.fields(doctype) is None:
            job.would.append(f"the site has no {doctype}, so the rule for it is left out.")
        elif doctype in cleanup.ONLY_ADMINISTRATOR and site.user != "Administrator":
            job.would.append(f"{cleanup.ONLY_ADMINISTRATOR[doctype]}; the rule is left out.")
        else:
            job.would.append(_removal(rule, site))
            kept.append(piece)
    job.pieces = [job.pieces[0], *kept]
    return job if kept else None


def _rule(job: str, doctype: str, age: str) -> Piece:
    values = {"doctype": doctype, "older_than": age, "guard": {"max_percent": 100}}
    lines = [f"{key} = {toml(value)}" for key, value in values.items()]
    return Piece("\n".join([f"[[jobs.{job}.rules]]", *lines]), "rules", values)


def _removal(rule: Mapping[str, Any], site: Looks) -> str:
    """ "would remove 12,345 of 20,000 rows of Error Log, those older than 30d." """
    doctype, filters = rule["doctype"], [list(one) for one in rule.get("filters", [])]
    total, old = site.rows(doctype, []), site.older(doctype, "creation", rule["older_than"], filters)
    if total is None or old is None:
        return f"{site.user} may not count the rows of {doctype}; setup can give that right."
    which = " that match its filters and are" if filters else ""
    newest = f", but for the newest {rule['keep_latest']} of each" if rule.get("keep_latest") else ""
    upto = "up to " if newest or "limit" in rule else ""
    often = f", {rule['limit']:,} a run" if "limit" in rule else ""
    those = f"of {total:,} rows of {doctype}, those{which} older than {rule['older_than']}"
    return f"would remove {upto}{old:,} {those}{newest}{often}."


def _fit_import(job: Job, site: Looks) -> Job | None:
    doctype = job.pieces[0].values["doctype"]
    if site.fields(doctype) is None:
        return None
    there = site.rows(doctype, [])
    inbox = job.pieces[0].values["inbox"]
    job.would.append(f"would import whatever is dropped into {inbox}; the site has {_count(there)} rows of {doctype}.")
    return job


def _fit_digest(job: Job, site: Looks) -> Job | None:
    kept = []
    for piece in (piece for piece in job.pieces if piece.table):
        doctype = piece.values["doctype"]
        if site.fields(doctype) is None:
            job.would.append(f"the site has no {doctype}, so {piece.values['label']!r} is left out.")
        else:
            kept.append(piece)
    if not kept:
        return None
    users, chosen = job.pieces[0].values["users"], 0
    made = [one[-3] for one in users if str(one[-3]).startswith("custom_")]
    if set(made) <= (site.fields("User") or frozenset()):
        chosen = site.rows("User", users) or 0
    whom = f"{chosen:,} users" if chosen else "nobody yet"
    job.would.append(f"would write to {whom}; `setup --apply` makes the checkbox by which readers are chosen.")
    job.pieces = [job.pieces[0], *kept]
    return job


def _fit_expiry(job: Job, site: Looks) -> Job | None:
    kept = []
    for piece in (piece for piece in job.pieces if piece.table):
        rule = piece.values
        doctype, people = rule["doctype"], rule["notify"]
        fields = site.fields(doctype)
        if fields is None or rule["date_field"] not in fields:
            continue
        if people not in fields:
            piece.text = re.sub(
                r'notify = "\w+".*', f'notify = "owner"    # {doctype} has no field {people}', piece.text
            )
        days = max(rule["days_before"])
        due = site.within(doctype, rule["date_field"], days)
        job.would.append(
            f"would tell of {_count(due)} rows of {doctype}, whose {rule['date_field']} is within {days} days."
        )
        kept.append(piece)
    job.pieces = [job.pieces[0], *kept]
    return job if kept else None


def _fit_sync(job: Job, site: Looks) -> Job | None:
    values = next(piece.values["site"] for piece in job.pieces if "site" in piece.values)
    doctype = values["doctype"]
    if site.fields(doctype) is None:
        return None
    there = site.rows(doctype, [list(one) for one in values.get("filters", [])])
    job.would.append(
        f"an example, without an API behind it; the site has {_count(there)} documents of {doctype} that match."
    )
    return job


_FIT = {
    "cleanup": _fit_cleanup,
    "import": _fit_import,
    "digest": _fit_digest,
    "expiry": _fit_expiry,
    "sync": _fit_sync,
}


def _count(number: int | None) -> str:
    return "an unknown number of" if number is None else f"{number:,}"


def written(head: str, jobs: list[Job], site: Mapping[str, str], about: list[str]) -> str:
    """The file. `site`: keys of [site] and their values, as TOML; `about`: lines on the site."""
    for key, value in site.items():
        head = re.sub(rf"^(# )?{key} = .*$", f"{key} = {value}".replace("\\", r"\\"), head, count=1, flags=re.MULTILINE)
    _, _, rest = head.partition("\n")
    lines = ["# frappe-daemon: what it works on, and what it does.", "#", *(f"# {line}" for line in about)]
    text = "\n".join(lines) + "\n" + rest
    text += "".join(f"\n\n\n{job.text}" for job in jobs) + "\n"
    if '"Email Queue"' not in text:
        text = re.sub(r"^# The rule for Email Queue below needs Administrator's key\. ", "# ", text, flags=re.MULTILINE)
    return text
