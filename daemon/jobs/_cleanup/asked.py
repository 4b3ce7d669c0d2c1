"""Why a clean-up keeps one row, or takes it, or when it did. Reads that row, its group, trails and Deleted Document."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from daemon.core.duration import format_duration
from daemon.core.kind import Inquiry
from daemon.core.retention import Rule
from daemon.errors import NotPermitted, UsageError

if TYPE_CHECKING:
    from daemon.jobs.cleanup import RuleSettings, Settings

Answer = dict[str, str]


def explain(inquiry: Inquiry, settings: Settings, words: Sequence[str]) -> list[Answer]:
    """Of one row (`words`: DocType and name), by each rule about its DocType: "kept" or "goes", with the reason; of one
    that is not there, "deleted" and by whom. Raises UsageError where no rule is about that DocType."""
    if len(words) != 2:
        raise UsageError("a clean-up is asked about one row: name its DocType and its name")
    doctype, name = words
    rules = [rule for rule in settings.rules if rule.doctype.casefold() == doctype.casefold()]
    if not rules:
        known = ", ".join(dict.fromkeys(rule.doctype for rule in settings.rules))
        raise UsageError(f"no rule of {inquiry.job} is about {doctype!r} (there are rules for: {known})")
    doctype = rules[0].doctype
    if inquiry.site.get_list(doctype, ["name"], [["name", "=", name]], 0, 1):
        return [_judged(inquiry, rule, name) for rule in rules]
    return list(_gone(inquiry, doctype, name))


def _judged(inquiry: Inquiry, settings: RuleSettings, name: str) -> Answer:
    site, rule = inquiry.site, settings.as_rule("")
    if settings.older_than is not None:
        cutoff = site.bound(inquiry.now() - settings.older_than)
        dated = settings.date_field not in ("creation", "modified")
        by_days = dated and site.meta(rule.doctype).columns.get(settings.date_field) == "Date"
        rule = settings.as_rule(cutoff[:10] if by_days else cutoff)
    why = _kept(inquiry, rule, name)
    return {"about": f"{rule.doctype} {name}", "state": "kept" if why else "goes", "why": why or _goes(rule)}


def _goes(rule: Rule) -> str:
    return f"{rule.why}; the next run takes it, unless its guard or limit holds it back"


def _kept(inquiry: Inquiry, rule: Rule, name: str) -> str:
    """Why the rule leaves the row, or ""."""
    site, itself = inquiry.site, [["name", "=", name]]
    for condition in rule.filters:
        if not site.get_list(rule.doctype, ["name"], [*itself, list(condition)], 0, 1):
            return f"it does not match the filter {list(condition)}"
    fields = list(dict.fromkeys(["name", rule.date_field, *rule.group_by]))
    row = site.get_list(rule.doctype, fields, itself, 0, 1)[0]
    if rule.keep_latest and (why := _among_newest(inquiry, rule, row)):
        return why
    held = str(row.get(rule.date_field) or "")
    if rule.cutoff and not held:
        return f"its {rule.date_field} is empty, and no date is no age"
    if rule.cutoff and not held < rule.cutoff.removesuffix(".000000"):
        age = format_duration(rule.older_than) if rule.older_than else ""
        due = site.text(site.moment(held) + rule.older_than)[:16] if rule.older_than else ""
        return f"not older than {age}: its {rule.date_field} is {held[:16]}, so it is from {due} on"
    return ""


def _among_newest(inquiry: Inquiry, rule: Rule, row: Mapping[str, Any]) -> str:
    """The runs read the newest first, by date and then by name; so its rank is how many are before it, and one."""
    if blank := [field for field in rule.group_by if row.get(field) in (None, "")]:
        return f"its {blank[0]} is empty, so it belongs to no group"
    held = row.get(rule.date_field)
    if not held:
        return f"its {rule.date_field} is empty"
    group = [*rule.scanned, *([field, "=", row[field]] for field in rule.group_by)]
    newer = inquiry.site.count(rule.doctype, [*group, [rule.date_field, ">", held]])
    newer += inquiry.site.count(rule.doctype, [*group, [rule.date_field, "=", held], ["name", ">", row["name"]]])
    of = f" of its {', '.join(rule.group_by)}" if rule.group_by else ""
    return f"number {newer + 1} of the newest {rule.keep_latest}{of}" if newer < rule.keep_latest else ""


# What is not there


def _gone(inquiry: Inquiry, doctype: str, name: str) -> Iterator[Answer]:
    about, wholesale = f"{doctype} {name}", []
    for run, past in inquiry.pasts(inquiry.job):
        for of, head in past.heads.items():
            if head.get("doctype") != doctype:
                continue
            wholesale += [run] if head.get("on_site") else []
            for step in past.steps(of):
                if name in map(str, step.get("names", ())) and name not in map(str, step.get("stayed", ())):
                    yield {"about": about, "state": "deleted", "why": _by_run(run, head, step, name)}
                    return
    yield from _by_others(inquiry, about, doctype, name)
    if wholesale:
        why = "the site's own clean-up (Log Settings), which says nothing of single rows, was at work in run "
        yield {"about": about, "state": "perhaps", "why": why + ", ".join(wholesale[:3])}


def _by_run(run: str, head: Mapping[str, Any], step: Mapping[str, Any], name: str) -> str:
    why = f"by run {run} at {str(step['since'])[:16]} (time of the site): {head.get('why')}"
    if new := step.get("new", {}).get(name):
        return f"{why}; an undo brought it back as {new}"
    kept = f"; it is in {step['archive']}" if "archive" in step else ""
    return f"{why}{kept}; `frappe-daemon undo {run}` shows whether it can come back"


def _by_others(inquiry: Inquiry, about: str, doctype: str, name: str) -> Iterator[Answer]:
    where = [["deleted_doctype", "=", doctype], ["deleted_name", "=", name]]
    try:
        rows = inquiry.site.get_list(
            "Deleted Document", ["owner", "creation", "restored", "new_name"], where, 0, 1, "creation desc"
        )
    except NotPermitted:
        why = "there is none, and this user may not read Deleted Document"
        yield {"about": about, "state": "unknown", "why": why}
        return
    if rows:
        row = rows[0]
        back = f"; restored as {row['new_name']}" if int(row.get("restored") or 0) else ""
        why = f"by {row['owner']} at {str(row['creation'])[:16]}, in no run of this job that is remembered{back}"
        yield {"about": about, "state": "deleted", "why": why}
    else:
        why = "there is none, no run that is remembered took it, and the site keeps no Deleted Document of it"
        yield {"about": about, "state": "unknown", "why": why}
