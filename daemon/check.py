"""`frappe-daemon check`: does the site have, and let us do, what the jobs need? Each finding says who must act.

Reads the site, and the first page of other APIs, and writes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args
from urllib.parse import parse_qs, urlsplit

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from daemon.config import Config, Job
from daemon.core.api import Malformed, Record
from daemon.core.doctype import DocType
from daemon.core.duration import format_duration
from daemon.core.exact import at
from daemon.core.kind import Need, Source
from daemon.core.rights import MANAGER, applies, parties
from daemon.core.settings import AlertSettings, Directory, did_you_mean
from daemon.errors import ConfigError, DaemonError, FileProblem, NotFound, NotPermitted, RemoteError, SiteError
from daemon.files.inbox import FOLDERS, Inbox
from daemon.jobs._bell import may_ring
from daemon.site import provision

if TYPE_CHECKING:
    from daemon.app import App
    from daemon.site.client import Site

OK, WARNING, PROBLEM = "ok", "warning", "problem"
TOLERATED = timedelta(minutes=1)
"""Clocks this far apart are not worth a word."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    level: str
    subject: str
    what: str
    who: str = ""
    action: str = ""

    def as_json(self) -> dict[str, str]:
        return asdict(self)


def of_config(config: Config) -> Iterator[Finding]:
    """What the file alone tells."""
    enabled = [job for job in config.jobs.values() if job.settings.enabled]
    yield Finding(OK, "configuration", f"{config.path}: jobs: {len(config.jobs)}, of which enabled: {len(enabled)}")
    if not config.site.verify:
        what = "site.verify = false: anybody between here and the site can read the API key"
        yield Finding(
            WARNING, "configuration", what, "operator", "Name the site's own authority in site.ca_file instead."
        )
    if config.status.listen and config.status.public:
        what = f"status.listen = {config.status.listen} may be read by whoever reaches it, without a password"
        yield Finding(
            WARNING, "configuration", what, "operator", "Let a firewall or a proxy with a password stand before it."
        )
    yield from _of_alerts(config)
    if config.site.ca_file:
        yield from _of_ca_file(config.site.ca_file)
    if config.state.url and (what := _unproved(config.state.url)):
        action = "Write ?sslmode=verify-full&sslrootcert=/path/of/its/authority.pem behind it."
        yield Finding(WARNING, "configuration", what, "operator", action)
    for job in config.jobs.values():
        for key, directory in directories(job.settings):
            yield from _of_directory(job.name, key, directory)
            if key == "inbox":
                yield from _of_inbox(job.name, directory)
    if config.site.url.startswith("http:") and not _is_loopback(config.site.url):
        what = "site.url is plain http: the API key crosses the network unprotected"
        yield Finding(WARNING, "configuration", what, "operator", "Use https, or a tunnel.")


def _of_alerts(config: Config) -> Iterator[Finding]:
    """Rules by which nobody is told."""
    action = "Name email, users or webhook in [alerts] or in the job."
    enabled = [job for job in config.jobs.values() if job.settings.enabled]
    told = {job.name: bool(config.alerts_of(job).channels) for job in enabled}
    what = "says when somebody is told, and nobody is named"
    if _says_when(config.alerts) and not any(told.values()):
        yield Finding(WARNING, "configuration", f"[alerts] {what}", "operator", action)
    for job in enabled:
        if _says_when(job.settings.alerts) and not told[job.name]:
            yield Finding(WARNING, job.name, f"alerts {what}", "operator", action)


def _says_when(alerts: AlertSettings) -> bool:
    return alerts.enabled is not False and (alerts.after is not None or alerts.max_age is not None)


def of_told(site: Site, config: Config) -> Iterator[Finding]:
    """Whether the site would carry alerts to whom they are for. Raises SiteError."""
    told = [config.alerts_of(job) for job in config.jobs.values() if job.settings.enabled]
    if not any(one.channels for one in told):
        return
    user = site.user()
    worse = []
    if any(one.email for one in told):
        worse += [replace(one, subject="alerts") for one in _of_mail(site, user, site.roles(user))]
    if any(one.users for one in told) and not may_ring(site):
        action = (
            "Let `frappe-daemon setup --apply` give it the right, which it does where there is an expiry job, or mail."
        )
        what = f"{user} may not create Notification Logs, so alerts.users are not told"
        worse.append(Finding(WARNING, "alerts", what, "operator", action))
    yield from worse or [Finding(OK, "alerts", "the site carries alerts; `frappe-daemon alerts --test` sends one")]


def _unproved(url: str) -> str:
    """What is wrong with the way to a database; the state's own default is sslmode=require."""
    parts = urlsplit(url)
    query = parse_qs(parts.query)
    host, mode = query.get("host", [parts.hostname or ""])[0], query.get("sslmode", ["require"])[0]
    if not host or host.startswith("/") or host in ("localhost", "127.0.0.1", "::1") or mode.startswith("verify"):
        return ""
    danger = "nobody checks that the server is the right one"
    if mode != "require":
        danger = "anybody between here and the database can read the state"
    return f"state.url, sslmode {mode}: {danger}"


def _of_ca_file(path: Path) -> Iterator[Finding]:
    from daemon.wire import tls_context

    try:
        tls_context(verify=True, ca_file=path)
    except ConfigError as error:
        yield Finding(PROBLEM, "configuration", str(error), error.who, "Name a file of PEM certificates, or none.")


def directories(settings: Any, path: str = "") -> Iterator[tuple[str, Path]]:
    """(key path, directory) of each directory that a job is to write into."""
    for name, field in type(settings).model_fields.items():
        value, key = getattr(settings, name), f"{path}.{name}" if path else name
        if isinstance(value, Path) and Directory in _marks(field):
            yield key, value
        elif isinstance(value, BaseModel):
            yield from directories(value, key)
        elif isinstance(value, list):
            for number, item in enumerate(value):
                if isinstance(item, BaseModel):
                    yield from directories(item, f"{key}[{number}]")


def _marks(field: FieldInfo) -> set[type]:
    """Types of what is noted beside the annotation, also within a union."""
    notes = [
        *field.metadata,
        *(note for part in get_args(field.annotation) for note in getattr(part, "__metadata__", ())),
    ]
    return {type(note) for note in notes}


def _of_directory(job: str, key: str, directory: Path) -> Iterator[Finding]:
    """Whether it, or the nearest directory above it that exists, can be written by whoever looks."""
    there = next(path for path in (directory, *directory.absolute().parents) if path.exists())
    if not there.is_dir():
        yield Finding(PROBLEM, job, f"{key}: {there} is no directory", "operator", "Name a directory.")
    elif not os.access(there, os.W_OK | os.X_OK):
        what = f"{key}: {directory} cannot be written by this user"
        yield Finding(WARNING, job, what, "operator", "Make it writable for the user that the daemon runs as.")


def _of_inbox(job: str, directory: Path) -> Iterator[Finding]:
    """Whether it is there, its folders can be written, and nothing lies in it that never becomes an import."""
    if not directory.exists():
        what = f"inbox: there is no {directory}; the first run makes it, for the daemon's user alone"
        yield Finding(WARNING, job, what, "operator", "Make it, for those who drop files into it; or correct the path.")
        return
    for folder in (directory / name for name in FOLDERS):
        if folder.exists() and os.access(directory, os.W_OK | os.X_OK):
            yield from _of_directory(job, "inbox", folder)
    try:
        strays = Inbox(directory).strays()
    except FileProblem as error:
        yield Finding(WARNING, job, f"inbox: {error}", error.who, error.action)
        return
    if strays:
        more = f" and {len(strays) - 5:,} more" if len(strays) > 5 else ""
        what = f"inbox: {directory} holds what is never imported: {', '.join(strays[:5])}{more}"
        yield Finding(WARNING, job, what, "operator", "Put the files themselves there, or take it away.")


def _is_loopback(url: str) -> bool:
    host = url.removeprefix("http://").rpartition(":")[0] or url.removeprefix("http://")
    return host in ("localhost", "127.0.0.1", "[::1]") or host.endswith(".localhost")


def of_site(site: Site, jobs: Iterable[Job], ask: Callable[[Job, Site], Any] | None = None) -> Iterator[Finding]:
    """What the site tells. Raises the SiteError that leaves nothing more to look at: unreachable, key refused …

    `ask`: makes the Inquiry with which a kind looks for doubts; None: it is not asked for any.
    """
    user = site.user()
    yield Finding(OK, "site", f"{site.url} answers; the API key is {user}'s")
    versions = ", ".join(f"{app} {version}" for app, version in site.versions.items())
    bulk = ", v2 bulk endpoints" if site.dialect.v2_bulk else ""
    yield Finding(OK, "version", f"{versions}; spoken to as version {site.dialect.major}{bulk}")
    yield Finding(OK, "time zone", f"{site.clock.zone.key}")
    yield _of_clocks(site.transport.date_offset)
    roles = site.roles(user)
    for job in sections(jobs):
        enabled = job.settings.enabled
        seen = [found for need in needs_of(job, site) for found in _of_need(site, need, user, roles)]
        seen += _of_provisions(site, job)
        if ask and all(found.level != PROBLEM for found in seen):
            seen += _of_doubts(ask(job, site), job)
        worse = list(dict.fromkeys(found for found in seen if found.level != OK))
        for found in worse:
            level, off = (found.level, "") if enabled else (WARNING, "disabled; ")
            yield Finding(level, job.section, off + found.what, found.who, found.action)
        if not worse:
            off = "" if enabled else "disabled; "
            yield Finding(OK, job.section, f"{off}the site has what this job needs, and this user may do it")


def needs_of(job: Job, site: Site) -> Iterator[Need]:
    """What its kind says, and what any job may be told to do."""
    yield from job.kind.needs(job.settings, site.dialect)
    if job.settings.report_errors_to_site:
        lacking, why = "its errors are told by the log of the daemon alone", "to leave its errors there"
        yield Need("Error Log", rights=("create",), lacking=lacking, why=why)


def sections(jobs: Iterable[Job]) -> Iterable[Job]:
    """One job of each section: those of two directions need the same."""
    return {job.section: job for job in jobs}.values()


def _of_doubts(inquiry: Any, job: Job) -> Iterator[Finding]:
    doubts = getattr(job.kind, "doubts", None)
    try:
        for doubt in doubts(inquiry, job.settings) if doubts else ():
            yield Finding(PROBLEM if doubt.grave else WARNING, job.section, doubt.what, "operator", doubt.action)
    except SiteError as error:
        yield Finding(PROBLEM, job.section, str(error), error.who, error.action)


def _of_provisions(site: Site, job: Job) -> Iterator[Finding]:
    """Fields that `setup` would make: the job fails without. DocTypes and rights are needs, and told as such."""
    ask = getattr(job.kind, "provisions", None)
    try:
        wanted = [thing for thing in ask(job.settings, site) if thing.doctype not in ("DocType", "Role")] if ask else []
        missing = [thing for thing in wanted if provision.seen(site, thing) == provision.MISSING]
    except (NotFound, NotPermitted):  # a need says so, or nobody but a System Manager can tell
        return
    for thing in missing:
        what = f"the site has no {thing.doctype} {thing.name}, {thing.why}"
        action = "Run `frappe-daemon setup --apply` with the key of a System Manager."
        yield Finding(PROBLEM if thing.doctype == "Custom Field" else WARNING, job.section, what, "operator", action)


def of_remotes(app: App, jobs: Iterable[Job]) -> Iterator[Finding]:
    """What the other APIs of enabled jobs tell, each by the first page of its list."""
    for job in sections(jobs):
        sources = getattr(job.kind, "sources", None)
        for source in sources(job.settings) if sources and job.settings.enabled else ():
            try:
                yield from _of_source(app, job.section, source)
            except (RemoteError, ConfigError) as error:
                yield Finding(PROBLEM, job.section, str(error), error.who, error.action)


def _of_source(app: App, name: str, source: Source) -> Iterator[Finding]:
    with app.remote(source.api) as remote:
        page = remote.look()
    records = [entry for entry in page if isinstance(entry, Record)]
    odd = [entry for entry in page if isinstance(entry, Malformed)]
    yield Finding(OK, name, f"{source.api.host} answers; the first page of its list holds {len(records):,} records")
    if odd:
        what = f"{len(odd):,} of {len(page):,} entries of the list cannot be told, such as number {odd[0].position}: "
        level = WARNING if records else PROBLEM
        yield Finding(level, name, what + odd[0].why, "operator", "Check api.list.records and api.record.")
    for path in source.fields:
        if records and all(at(record.body, path) is None for record in records):
            what = f"none of {len(records):,} records has anything at {path!r}"
            yield Finding(
                WARNING, name, what, "operator", "Check the name in [[fields]]; it may be right all the same."
            )


def _of_clocks(offset: timedelta | None) -> Finding:
    if offset is None or abs(offset) <= TOLERATED:
        return Finding(OK, "clock", "this machine and the site agree on the time")
    ahead = "ahead of" if offset > timedelta(0) else "behind"
    what = f"the site's clock is {format_duration(abs(offset))} {ahead} this machine's"
    return Finding(WARNING, "clock", what, "operator", "Set both clocks by NTP; ages are counted by them.")


def _of_need(site: Site, need: Need, user: str, roles: frozenset[str]) -> list[Finding]:
    """Findings about one need; an empty list where it is met."""
    if need.mail:
        return list(_of_mail(site, user, roles))
    try:
        meta = site.meta(need.doctype)
    except NotFound:
        what = f"the site has no DocType {need.doctype!r}"
        action = "Correct the name, or disable what needs it."
        if need.by_setup:
            action = "Run `frappe-daemon setup --apply` with the key of a System Manager."
        if need.lacking:
            return [
                Finding(WARNING, need.doctype, f"{what}: {need.lacking}", "operator", f"{action[:-1]}, or leave it so.")
            ]
        return [Finding(PROBLEM, need.doctype, what, "operator", action)]
    except SiteError as error:
        return [Finding(PROBLEM, need.doctype, str(error), error.who, error.action)]
    if need.rows and (what := _rowless(meta)):
        action = "Name another DocType, or take out what needs it."
        return [Finding(PROBLEM, need.doctype, f"{need.doctype} {what}", "operator", action)]
    found = []
    for field in dict.fromkeys(need.fields):
        own = meta.field(field)
        if meta.column(field) is None and not (own and own.is_table) and field not in need.made:
            what = f"{need.doctype} has no field {field!r}{did_you_mean(field, meta.paths)}"
            found.append(Finding(PROBLEM, need.doctype, what, "operator", "Correct the field's name in the rule."))
    for field in meta.no_dates(need.dates):
        what = f"{need.doctype}.{field} is no date"
        found.append(Finding(PROBLEM, need.doctype, what, "operator", "Name a Date or Datetime field in the rule."))
    if user != "Administrator":
        wanted = [right for right in need.rights if applies(meta, right)]
        found += _of_rights(site, need, [right for right in wanted if not meta.grants(right, roles)], user, roles)
        found += [said for party in parties(need, meta) for said in _of_need(site, party, user, roles)]
    return found


_MAIL_READER = "Run `frappe-daemon setup --user …` with a System Manager's key, or give it the role System Manager."


def _of_mail(site: Site, user: str, roles: frozenset[str]) -> Iterator[Finding]:
    """Whether mail can leave, and whether this user would see that it did."""
    from daemon.site.mail import READERS

    if user != "Administrator" and not READERS & roles:
        what = f"{user} does not see the mails that it sends, so a lost reply could never be settled"
        yield Finding(PROBLEM, "Communication", what, "site administrator", _MAIL_READER)
    try:
        rows = site.get_list("Email Account", ["default_outgoing"], [["enable_outgoing", "=", 1]])
    except NotPermitted:
        what = f"{user} may not look whether there is an Email Account that sends"
        yield Finding(WARNING, "Email Account", what, "operator", "Try `digest JOB --send-to` with your own address.")
        return
    except SiteError as error:
        yield Finding(PROBLEM, "Email Account", str(error), error.who, error.action)
        return
    if not any(int(row.get("default_outgoing") or 0) for row in rows):
        what = "there is no Email Account that sends by default" if rows else "there is no Email Account that sends"
        action = "On the site make an Email Account with Enable Outgoing and Default Outgoing."
        yield Finding(WARNING if rows else PROBLEM, "Email Account", what, "site administrator", action)


def _rowless(meta: DocType) -> str:
    if meta.issingle:
        return "is a Single: one document, without rows"
    if meta.istable:
        return "is a child table: its rows belong to documents of other DocTypes"
    return "is virtual: the database has no rows of it" if meta.is_virtual else ""


def _of_rights(site: Site, need: Need, missing: list[str], user: str, roles: frozenset[str]) -> list[Finding]:
    if need.only_administrator:
        action = "Use Administrator's API key for this job, or take the rule out."
        return [Finding(PROBLEM, need.doctype, need.only_administrator, "operator", action)]
    if need.only_system_manager and MANAGER not in roles:
        what = f"{user} is no System Manager, and {need.only_system_manager}"
    elif missing:
        what = f"{user} lacks the right to {' and '.join(missing)} {need.doctype}"
    else:
        return []
    if need.lacking:
        action = "Run `frappe-daemon setup --apply` with the key of a System Manager, or leave it so."
        return [Finding(WARNING, need.doctype, f"{what}: {need.lacking}", "operator", action)]
    if need.otherwise is None:
        action = f"Give one of its roles that right in the Role Permissions Manager ({need.doctype})"
        action += f", or run `frappe-daemon setup --user {user} --apply` with the key of a System Manager."
        if need.only_system_manager:
            action = f"Give {user} the role System Manager, or change what needs it."
        return [Finding(PROBLEM, need.doctype, what, "site administrator", action)]
    second = _of_need(site, need.otherwise, user, roles)
    if not second:
        action = "Give the user the role System Manager, if the site should do it by itself, which is far cheaper."
        return [Finding(WARNING, need.doctype, f"{what}; {need.otherwise.doctype} goes row by row", "operator", action)]
    return [
        Finding(found.level, found.subject, f"{what}, and {found.what}", found.who, found.action) for found in second
    ]


def of_error(error: DaemonError) -> Finding:
    """The error that ended the look."""
    return Finding(PROBLEM, "site", str(error), error.who, error.action)


def as_json(findings: Iterable[Finding]) -> list[dict[str, Any]]:
    return [found.as_json() for found in findings]
