"""Rows that a clean-up deleted come back: from Deleted Document by the site's own restore, else from the archive.

The site makes a new document of what it kept (core/doctype/deleted_document/deleted_document.py:restore): `creation`
and `modified` are those of the restore, the owner is who restores, child rows have new names, and a document whose name
the site makes gets a new one, which Deleted Document then tells; it also tells that it was restored, so that nothing is
restored twice. Attachments, comments, tags and assignments went with the document and stay away (seen on 15 and 16).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from daemon.core.doctype import DocType
from daemon.core.kind import Part, PastPort, Run
from daemon.core.plan import Action, Census, Guard, Outcome, Result
from daemon.core.undo import UNSURE, Span, Verdict, nearest, of_deleted, paired, payload
from daemon.errors import NotPermitted, OutcomeUnknown, OutputError, SiteError, Transient
from daemon.jobs._undo.fence import SETTLES, Fence

BATCH = 50
"""Rows that are looked up, and restored, together: a restore takes the site as long as an insert."""
REASONS = 20
"""Of the rows of one batch that did not come back, so many are asked for singly, which tells why."""
SLACK = timedelta(hours=1)
"""Around a step, within which its Deleted Documents are looked for; the nearest counts."""
RESTORE = "frappe.core.doctype.deleted_document.deleted_document."


class RestorePart(Part):
    """One rule of a clean-up, taken back."""

    guard = Guard(max_percent=100.0)

    def __init__(self, run: Run, undone: str, past: PastPort, of: str) -> None:
        super().__init__(of)
        self._run, self._site, self._past, self._of = run, run.site, past, of
        self._head = past.heads[of]
        self._doctype = str(self._head.get("doctype") or of)
        self._fence = Fence(run, undone, of)
        self._verdicts: dict[str, Verdict] = {}
        """Of the batch under way, by name."""
        self._deleted: dict[str, str] = {}
        """Name → its Deleted Document."""
        self._docs: dict[str, dict[str, Any]] = {}
        """Name → the document as the archive holds it."""
        self._step: dict[str, Any] = {}
        self._readable = True
        """Deleted Document may be read."""
        self._meta: DocType | None = None

    def census(self) -> Census:
        rows = sum(len(step.get("names", ())) for step in self._past.steps(self._of))
        rows += int(self._head.get("on_site", 0))
        self.tally.facts["undoes"] = str(self._head.get("why", ""))
        return Census(rows, rows, rows)

    # What may come back

    def plan(self) -> Iterator[list[Action]]:
        if number := int(self._head.get("on_site", 0)):
            why = "the site's own clean-up (Log Settings) removed them in one DELETE, of which nothing is kept"
            self._verdicts = {"": Verdict("lost", why)}
            yield [Action("restore", self._doctype, "", why, number)]
        if not self._run.dry_run:
            self._settle(self._fence.left())
        elif self._fence.is_up:
            self.tally.note("an undo that was cut short left a request open: --apply looks first what became of it")
        for step in self._past.steps(self._of):
            self._step, names = step, list(step.get("names", ()))
            stayed = {str(name) for name in step.get("stayed", ())}
            kept = self._archived(step)
            names = [name for name in names if str(name) not in stayed]
            for start in range(0, len(names), BATCH):
                yield self._judged(step, names[start : start + BATCH], kept)

    def _archived(self, step: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """The documents of a step, as the archive holds them."""
        if "archive" not in step:
            return {}
        try:
            docs = self._run.archived(Path(step["archive"]), int(step["at"]))
        except OutputError as error:
            self.tally.note(str(error))
            return {}
        return {str(doc.get("name")): doc for doc in docs}

    def _judged(self, step: dict[str, Any], names: Sequence[str], archived: dict[str, dict[str, Any]]) -> list[Action]:
        rows, back = self._kept_by_site(step, names), step.get("new", {})
        there = {str(name) for name in self._site.present(self._doctype, names, [])}
        self._verdicts = {
            str(name): of_deleted(
                rows.get(str(name)), there=str(name) in there, came_back=str(back.get(str(name), "")),
                archived=str(name) in archived,
                why=self._why_not,
            )
            for name in names
        }  # fmt: skip
        self._deleted = {name: str(row["name"]) for name, row in rows.items()}
        self._docs = {name: doc for name, doc in archived.items() if name in self._verdicts}
        return [Action(_VERBS.get(found.verb, "restore"), self._doctype, name, found.why)
                for name, found in self._verdicts.items()]  # fmt: skip

    @property
    def _why_not(self) -> str:
        """Why no Deleted Document is found."""
        if not self._readable:
            return "this user may not read Deleted Document"
        if self._head.get("purged"):
            return "purge_residue removed its Deleted Document"
        return "the site keeps no Deleted Document of it"

    def _kept_by_site(self, step: dict[str, Any], names: Sequence[str | int]) -> dict[str, Any]:
        site, since = self._site, str(step["since"])
        until = str(step.get("until") or site.text(site.moment(since) + SETTLES))
        first, last = site.text(site.moment(since) - SLACK), site.text(site.moment(until) + SLACK)
        where = [["deleted_doctype", "=", self._doctype], ["deleted_name", "in", list(names)],
                 ["creation", ">=", first], ["creation", "<=", last]]  # fmt: skip
        fields = ["name", "deleted_name", "restored", "new_name", "creation"]
        try:
            found = site.get_list("Deleted Document", fields, where)
        except NotPermitted:
            self._readable = False
            return {}
        return dict(nearest(found, Span(since, until), site.moment))

    # Doing it

    def foresee(self, actions: list[Action]) -> Iterable[Outcome]:
        return [self._told(action) or Outcome(action, Result.PLANNED, action.why) for action in actions]

    def apply(self, actions: list[Action]) -> Iterable[Outcome]:
        waiting: dict[str, list[Action]] = {"restore": [], "insert": []}
        for action in actions:
            if told := self._told(action):
                yield told
            else:
                waiting[action.verb].append(action)
        if waiting["restore"]:
            yield from self._restore({self._deleted[str(action.name)]: action for action in waiting["restore"]})
        if waiting["insert"]:
            yield from self._insert({str(action.name): action for action in waiting["insert"]})

    def _told(self, action: Action) -> Outcome | None:
        """The outcome of what is not to be done."""
        verdict = self._verdicts[str(action.name)]
        if verdict.verb == "keep":
            return Outcome(action, Result.KEPT, verdict.why, summary=_plain(verdict.why))
        if verdict.verb == "conflict":
            return Outcome(action, Result.FAILED, verdict.why, "Conflict", "document owner")
        if verdict.verb == "lost":
            return Outcome(action, Result.FAILED, verdict.why, "NoWayBack", "nobody")
        return None

    def _restore(self, waiting: dict[str, Action]) -> Iterator[Outcome]:
        """In one request, then what the site's record says; what did not come back is asked for singly."""
        self._fence.raise_({})
        with suppress(OutcomeUnknown):
            self._site.post_api(f"{RESTORE}bulk_restore", {"docnames": list(waiting)})
            self._fence.lower()
        self._fence.left()  # a lost reply is outlasted
        yield from self._came_back(waiting)
        failed: dict[str, SiteError] = dict(self._run.each(self._singly, list(waiting)[:REASONS]))
        self._fence.lower()
        if failed and all(isinstance(error, NotPermitted) for error in failed.values()):
            raise next(iter(failed.values()))
        yield from self._came_back(waiting)
        for name, action in waiting.items():
            error = failed.get(name)
            why = str(error) if error else "not restored, like others whose reasons are given"
            lost = isinstance(error, OutcomeUnknown)
            yield Outcome(action, Result.UNCERTAIN if lost else Result.FAILED, why, error.kind if error else "Invalid",
                          error.who if error else "document owner")  # fmt: skip

    def _singly(self, name: str) -> tuple[str, Any]:
        try:
            self._site.post_api(f"{RESTORE}restore", {"name": name})
        except Transient:
            raise
        except SiteError as error:
            return name, error
        return name, None

    def _came_back(self, waiting: dict[str, Action]) -> Iterator[Outcome]:
        """Those that the site says it has restored; they are taken out of `waiting`."""
        if not waiting:
            return
        where = [["name", "in", list(waiting)], ["restored", "=", 1]]
        back = {
            row["name"]: row["new_name"] for row in self._site.get_list("Deleted Document", ["name", "new_name"], where)
        }
        done = {name: waiting.pop(name) for name in list(waiting) if name in back}
        self._write_down({str(action.name): back[name] for name, action in done.items()})
        for name, action in done.items():
            yield self._back(action, back[name])

    def _back(self, action: Action, new: Any) -> Outcome:
        if str(new) == str(action.name):
            return Outcome(action, Result.DONE)
        self.tally.facts["under new names"] = int(self.tally.facts.get("under new names", 0)) + 1
        return Outcome(action, Result.DONE, f"as {new}")

    def _write_down(self, new: dict[str, Any]) -> None:
        if new:
            self._past.add({"of": self._of, "step": self._step["step"], "new": new})

    # From the archive

    def _insert(self, waiting: dict[str, Action]) -> Iterator[Outcome]:
        """All in one request, which does all or none; where one is refused, one after the other."""
        names = list(waiting)
        docs = [payload(self._described, self._docs[name]) for name in names]
        facts = self._fence.raise_({"step": self._step["step"], "names": names})
        try:
            made = self._site.insert_many(docs)
        except OutcomeUnknown:
            yield from self._after_silence(waiting)
            return
        except Transient:
            self._fence.lower()
            raise
        except SiteError as error:
            twins = {} if self._described.transactional else self._settle(facts)  # MyISAM keeps what came before it
            self._fence.lower()
            if isinstance(error, NotPermitted):
                raise
            for name, action in waiting.items():
                if name in twins:
                    yield self._told_of(action, twins[name])
                elif len(names) > 1:
                    yield from self._insert({name: action})
                else:
                    yield Outcome(action, Result.FAILED, str(error), error.kind, error.who)
            return
        self._write_down(dict(zip(names, made, strict=True)))
        self._fence.lower()
        for (_, action), new in zip(waiting.items(), made, strict=True):
            yield self._back(action, new)

    def _after_silence(self, waiting: dict[str, Action]) -> Iterator[Outcome]:
        """What is there is done; what is not is left to the next undo; what nobody can tell is told."""
        twins = self._settle(self._fence.left())
        for name, action in waiting.items():
            if name not in twins:
                why = "sent, no reply came, and it is not there: undo once more"
                yield Outcome(action, Result.FAILED, why, "OutcomeUnknown", "nobody")
            else:
                yield self._told_of(action, twins[name])

    def _told_of(self, action: Action, twin: Any) -> Outcome:
        if twin == UNSURE:
            return Outcome(action, Result.UNCERTAIN, _MAYBE, "OutcomeUnknown", "document owner")
        return self._back(action, twin)

    def _settle(self, facts: dict[str, Any]) -> dict[str, Any]:
        """Name → what came of it, of the rows of a request without a reply, in this undo or in one that was killed.

        A new document that came into being then under our name, and holds what the archive holds, is it. Where there
        are others, and not all is found, nobody can tell.
        """
        twins: dict[str, Any] = {}
        if "step" in facts:
            self._step = next(step for step in self._past.steps(self._of) if step["step"] == facts["step"])
            archived = self._archived(self._step)
            docs = [archived[name] for name in facts["names"] if name in archived]
            twins, others = paired(self._described, docs, self._since(facts["at"]))
            if others:
                twins = dict.fromkeys(facts["names"], UNSURE) | twins
            self._write_down(twins)
        self._fence.lower()
        return twins

    def _since(self, sent: str) -> list[dict[str, Any]]:
        """What our user created since then, as long as the request may have taken."""
        site = self._site
        last = site.text(site.moment(sent) + SETTLES)
        where = [["owner", "=", site.user()], ["creation", ">=", sent], ["creation", "<=", last]]
        # What came back just before is no twin of it.
        lately = (self._step["step"] - 1, self._step["step"])
        steps = [step for step in self._past.steps(self._of) if step["step"] in lately]
        known = {str(new) for step in steps for new in step.get("new", {}).values()}
        names = [row["name"] for row in site.get_list(self._doctype, ["name"], where, 0, 4 * BATCH)]
        names = [name for name in names if str(name) not in known]
        return site.whole(self._doctype, names) if names else []

    @property
    def _described(self) -> DocType:
        if self._meta is None:
            self._meta = self._site.meta(self._doctype)
        return self._meta

    # Its end

    def close(self) -> None:
        counts, facts = self.tally.counts, self.tally.facts
        back = counts[Result.DONE] + counts[Result.PLANNED]
        if renamed := facts.get("under new names"):
            self.tally.note(f"{renamed:,} of them have new names, since the site makes these; --rows FILE tells which")
        if back:
            stamps = "creation, modified and owner are those of the undo, child rows have new names"
            self.tally.note(f"{stamps}; attachments, comments, tags and assignments went with the rows and stay away")
            self.tally.note("the rule still stands: it takes them again once they are old enough anew")
        if self._head.get("on_site"):
            self.tally.note("the retention in the site's Log Settings stays as it is: the site goes on by itself")


_VERBS = {"insert": "insert", "keep": "keep"}
_MAYBE = "sent, no reply came, and of the documents that came into being then nobody can tell whether one is it"


def _plain(why: str) -> str:
    """A reason without the name in it, to be counted under."""
    return why.partition(", as ")[0]
