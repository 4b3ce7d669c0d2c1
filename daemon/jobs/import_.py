"""Bulk imports: a table file becomes documents of a DocType, fast, resumable, and none of them twice.

    [jobs.items]
    kind = "import"
    schedule = "every 5m"
    inbox = "/srv/inbox/items"
    doctype = "Item"
    update_existing = true

Each file that is dropped into the inbox is claimed, imported and put into done/ or failed/, with what became of its
rows beside it. `file` instead of `inbox` names one file, imported whenever its content is new. `requests = true`
instead of both takes what people ask for on the site itself: daemon.jobs._import.requests.

Rows are sent in batches by `insert_many`. Before a batch is sent it is written down with what the site then had; after
a lost reply, a stop or a kill its rows are looked up by key before anything is sent again. Rows without a key whose
fate is open are put into FILE.uncertain.csv and left to a person.

Reads: the file, metas, documents of the file's keys, names that its links need. Writes: documents, result files. Never:
a row twice, a document that somebody changed since it was read, a file whose content was imported before.
"""

from __future__ import annotations

from collections.abc import Iterable

from daemon.core.kind import DialectPort, Need, Part, Provision, Run, SitePort
from daemon.files.inbox import Inbox
from daemon.jobs._import import requests
from daemon.jobs._import.asked import explain
from daemon.jobs._import.file import KEY_FIELD, FilePart
from daemon.jobs._import.form import PROVISION, REQUESTS
from daemon.jobs._import.settings import Settings

__all__ = ["Settings", "explain", "needs", "parts", "provisions"]


def needs(settings: Settings, dialect: DialectPort) -> Iterable[Need]:  # noqa: ARG001 (every kind is asked so)
    """The DocType, fields that the configuration names, and the rights."""
    if settings.requests:
        why = "to take what is asked for, and tell how far it is"
        yield Need(REQUESTS, ("status", "run"), (), ("read", "write", "email"), by_setup=True, why=why)
        for doctype in settings.doctypes:
            yield Need(doctype, (), (), ("read", "create", "write"), why="to import what is asked for")
        return
    why = "to find the rows' documents, and make or change them"
    named = [settings.key, *settings.columns.values(), *settings.constants, *settings.defaults]
    yield Need(
        settings.doctype, tuple(name for name in named if name and "." not in name), (), settings.rights, why=why
    )


def provisions(settings: Settings, site: SitePort) -> Iterable[Provision]:
    """The DocType of requests; for a DocType whose rows nothing would find again, a field that does.

    Raises SiteError where the DocType cannot be looked at.
    """
    if settings.requests:
        yield PROVISION
        return
    meta = site.meta(settings.doctype)
    own_key = any(field.unique for field in meta.fields if field.fieldname != KEY_FIELD)
    if not (meta.issingle or meta.istable or settings.key or meta.named_after or meta.prompts or own_key):
        yield _key_field(meta.name)


def _key_field(doctype: str) -> Provision:
    flags = dict.fromkeys(("unique", "hidden", "no_copy", "read_only", "print_hide"), 1)
    facts = {"dt": doctype, "fieldname": KEY_FIELD, "label": "Daemon Import Key", "fieldtype": "Data"}
    why = "by which an import finds its rows again after a lost reply or a crash"
    return Provision("Custom Field", f"{doctype}-{KEY_FIELD}", {**facts, **flags}, why)


def parts(run: Run, settings: Settings) -> Iterable[Part]:
    """One part for each file, or for each request."""
    if settings.requests:
        yield from requests.parts(run, settings)
    elif settings.file is not None:
        yield FilePart(run, settings, settings.file, None)
    elif settings.inbox is not None:
        inbox = Inbox(settings.inbox)
        for path in inbox.waiting(run.now().timestamp(), settings.quiet.total_seconds()):
            yield FilePart(run, settings, path, inbox)
