"""What an import did to documents is taken back, the last batch first: what it changed is put back, what it created is
deleted, or cancelled where it is submitted. Whatever somebody changed since stays and is told.

An import that is not finished ends here, before its first document goes: the next run would else go on with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import cached_property
from typing import Any

from daemon.core.doctype import DocType
from daemon.core.kind import JournalPort, Part, PastPort, Run
from daemon.core.plan import Action, Census, Guard, Outcome, Result
from daemon.core.undo import Span, Verdict, of_changed, of_created
from daemon.errors import NothingRemovable, OutcomeUnknown, SiteError, StaleDocument, Transient
from daemon.jobs._undo.fence import SETTLES

IMPORT = "import"
"""Owner of what is written down of files (daemon.jobs._import.file)."""
STAMPS = ["name", "owner", "creation", "modified", "modified_by", "docstatus"]
ROUNDS = 3
"""How often one document is put back where somebody saves it meanwhile, or replies get lost."""

MOST = 100_000
"""Documents put back by later undos that are held in memory; one beyond them is told as a conflict."""


class TakeBackPart(Part):
    """One file of an import, taken back."""

    guard = Guard(max_percent=100.0)

    def __init__(self, run: Run, undone: str, past: PastPort, of: str) -> None:
        super().__init__(of)
        self._run, self._site, self._past, self._of, self._undone = run, run.site, past, of, undone
        self._head = past.heads[of]
        self._doctype = str(self._head["doctype"])
        self._journal: JournalPort = run.journal(IMPORT)
        self._held = ExitStack()
        self._step: Mapping[str, Any] = {}
        self._verdicts: dict[str, Verdict] = {}
        """Of the batch under way, by name."""
        self._changes: dict[str, Sequence[Any]] = {}
        """Name → [name, what fields held, what was sent, `modified` then, what our update left]."""
        self._made: dict[str, Sequence[Any]] = {}
        """Name → [name, line, rows, `modified` as our submitting left it]."""
        self._rows: dict[str, dict[str, Any]] = {}
        """Name → the document as it was read."""
        self._back: dict[str, tuple[Any, Any]] = {}
        """Of the batch under way: name → `modified` before the run, and since it was put back."""
        self._meta: DocType | None = None
        self._taken = dict.fromkeys(("created", "updated"), 0)
        """Rows of the file whose documents are as before it."""

    def census(self) -> Census:
        self._held.enter_context(self._run.claim(f"import {str(self._head['place'])[:32]} {self._doctype}"))
        self.tally.facts["file"] = str(self._head.get("source", ""))
        steps = self._past.steps(self._of)
        rows = sum(len(step.get("made", ())) + len(step.get("was", ())) for step in steps)
        return Census(rows, rows, rows)

    # What may be taken back

    def plan(self) -> Iterator[list[Action]]:
        waiting = self._unfinished()
        if not self._run.dry_run:
            self._end_import()
        for step in self._past.steps(self._of, backwards=True):
            self._step, done = step, set(map(str, step.get("done", ())))
            changed = {str(change[0]): (place, change) for place, change in step.get("was", {}).items()}
            made = [row for row in step.get("made", ()) if str(row[0]) not in changed]
            if step["step"] in waiting and "until" not in step:
                made += self._found(step)
            if already := len({str(row[0]) for row in made} & done) + len(changed.keys() & done):
                self.tally.counts[Result.KEPT] += already
                self.tally.reasons["taken back already"] += already
            self._changes = {
                name: (*change, self._left(step, place))
                for name, (place, change) in changed.items()
                if name not in done
            }
            self._made = {str(row[0]): row for row in reversed(made) if str(row[0]) not in done}
            self._judge(*self._changes, *self._made)
            if self._verdicts:
                yield [self._action(name) for name in self._verdicts]

    @staticmethod
    def _left(step: Mapping[str, Any], place: str) -> Mapping[str, Any]:
        found: Mapping[str, Any] = step.get("left", {}).get(place, {})
        return found

    def _judge(self, *names: str) -> None:
        """Read these documents of the batch, and decide."""
        changes = {name: self._changes[name] for name in names if name in self._changes}
        made = [self._made[name][0] for name in names if name in self._made]
        self._rows = self._now(changes)
        if made:
            rows = self._site.get_list(self._doctype, STAMPS, [["name", "in", made]])
            self._rows |= {str(row["name"]): row for row in rows}
        self._verdicts = {name: self._verdict(name) for name in names}

    def _verdict(self, name: str) -> Verdict:
        row = self._rows.get(name)
        if name in self._changes:
            _, was, sent, _, left = self._changes[name]
            return of_changed(self._described, was, sent, left, row)
        known, user = str(self._made[name][3] or ""), str(self._head["user"])
        verdict = of_created(row, self._span, user, known)
        if verdict.verb == "conflict" and row and row["modified_by"] == user:
            stamp = str(row["modified"])
            while (name, stamp) in self._put_back_since:  # what came after the run was taken back, by us
                stamp = self._put_back_since[name, stamp]
            before = of_created({**row, "modified": stamp, "modified_by": ""}, self._span, user, known)
            return verdict if before.verb == "conflict" else before
        return verdict

    @cached_property
    def _put_back_since(self) -> dict[tuple[str, str], str]:
        """What undos of later runs have put back: (name, `modified` since that undo) → `modified` before that run."""
        found: dict[tuple[str, str], str] = {}
        for _, past in self._run.pasts(since=self._undone):
            for of, head in past.heads.items():
                if head.get("doctype") == self._doctype and "place" in head:
                    for step in past.steps(of):
                        back = step.get("back", {})
                        found |= {(name, str(after)): str(before) for name, (before, after) in back.items()}
                        if len(found) > MOST:
                            return found
        return found

    @property
    def _span(self) -> Span:
        """When the batch under way was created."""
        site, since = self._site, str(self._step.get("since") or self._head["since"])
        return Span(since, str(self._step.get("until") or site.text(site.moment(since) + SETTLES)))

    def _action(self, name: str) -> Action:
        known = self._changes.get(name) or self._made[name]
        verdict = self._verdicts[name]
        return Action("keep" if verdict.verb == "conflict" else verdict.verb, self._doctype, known[0], verdict.why)

    def _now(self, changes: Mapping[str, Sequence[Any]]) -> dict[str, dict[str, Any]]:
        """The documents as they are, in the fields that were changed, in one request where no table is among them."""
        if not changes:
            return {}
        names, meta = [change[0] for change in changes.values()], self._described
        fields = {field for change in changes.values() for field in change[1]}
        if any((own := meta.field(name)) and own.is_table for name in fields):
            found = self._site.whole(self._doctype, names)
        else:
            known = [name for name in sorted(fields) if (own := meta.field(name)) and own.fieldtype != "Password"]
            found = self._site.get_list(self._doctype, [*STAMPS, *known], [["name", "in", names]])
        return {str(row["name"]): row for row in found}

    def _found(self, step: Mapping[str, Any]) -> list[list[Any]]:
        """Documents of a batch of which nobody wrote down what became of it, by their keys."""
        key, values = str(self._head.get("key", "")), list(step.get("new", ()))
        if key and values:
            rows = self._site.get_list(self._doctype, ["name"], [[key, "in", values]])
            return [[row["name"], 0, 1, ""] for row in rows]
        if number := int(step.get("creates", 0)):
            why = f"{number:,} rows were sent as the run ended, and there is no key to look them up by"
            self.tally.note(f"{why}: the file's uncertain rows are for a person")
        return []

    @property
    def _described(self) -> DocType:
        if self._meta is None:
            self._meta = self._site.meta(self._doctype)
        return self._meta

    # The import itself

    @property
    def _place(self) -> str:
        return str(self._head["place"])

    def _unfinished(self) -> set[int]:
        """First rows of the batches of this content whose fate is open."""
        return {int(key.rpartition(":")[2]) for key in self._journal.read(f"{self._place}batch:")}

    def _end_import(self) -> None:
        """The content counts as imported, and taken back: no later run goes on with it."""
        key = f"{self._place}head"
        head = self._journal.pick([key]).get(key)
        if head:
            ended = head.get("ended") or self._run.now().isoformat(timespec="seconds")
            if head["status"] != "done":
                self.tally.note("the import was not finished: it ends here, and no run goes on with the rest of it")
            head |= {"status": "done", "ended": ended, "undone": self._run.id, "done": [], "at": {}}
            self._journal.write({key: head})

    def _count_out(self) -> None:
        """Of a content of which nothing is left, nothing keeps a person from importing it anew."""
        key = f"{self._place}head"
        head = self._journal.pick([key]).get(key)
        if head and any(self._taken.values()):
            counts = {name: rows - self._taken.get(name, 0) for name, rows in head["counts"].items()}
            head["counts"] = {name: rows for name, rows in counts.items() if rows > 0}
            self._journal.write({key: head})

    # Doing it

    def foresee(self, actions: list[Action]) -> Iterable[Outcome]:
        return [self._told(action) or Outcome(action, Result.PLANNED, action.why, summary=_WHY[action.verb])
                for action in actions]  # fmt: skip

    def apply(self, actions: list[Action]) -> Iterable[Outcome]:
        self._back = {}
        by_verb: dict[str, list[Action]] = {"put back": [], "cancel": [], "delete": []}
        for action in actions:
            if told := self._told(action):
                yield told
            else:
                by_verb[action.verb].append(action)
        outcomes = [
            *self._run.each(self._save, [*by_verb["put back"], *by_verb["cancel"]]),
            *self._delete(by_verb["delete"]),
        ]
        done = [outcome.action.name for outcome in outcomes if outcome.result is Result.DONE]
        if done:
            self._past.add({"of": self._of, "step": self._step["step"], "done": done, "back": self._back})
        for outcome in outcomes:
            if outcome.result is Result.DONE:
                self._took_back(outcome.action)
        yield from outcomes

    def _took_back(self, action: Action) -> None:
        made = self._made.get(str(action.name))
        self._taken["created" if made else "updated"] += int(made[2]) if made else 1

    def _told(self, action: Action) -> Outcome | None:
        """The outcome of what is not to be done."""
        verdict = self._verdicts[str(action.name)]
        if verdict.verb == "keep":
            return Outcome(action, Result.KEPT, verdict.why, summary=_plain(verdict.why))
        if verdict.verb == "conflict":
            return Outcome(action, Result.FAILED, verdict.why, "Conflict", "document owner")
        return None

    def _delete(self, actions: list[Action]) -> Iterator[Outcome]:
        if not actions:
            return
        site = self._site
        span, user = self._span, self._head["user"]
        ours = [["owner", "=", user], ["creation", ">=", span.since], ["creation", "<=", span.until]]
        names = [action.name for action in actions]
        try:
            stayed = dict(site.remove(self._doctype, names, ours, self._run.each))
        except NothingRemovable as error:
            cause = error.cause or SiteError(str(error))
            stayed = dict.fromkeys(names, cause)
        for action in actions:
            if (why := stayed.get(action.name)) is None:
                yield Outcome(action, Result.DONE)
            else:
                lost = isinstance(why, OutcomeUnknown)
                yield Outcome(action, Result.UNCERTAIN if lost else Result.FAILED, str(why), why.kind, why.who)

    def _save(self, action: Action) -> Outcome:
        """Put back, or cancel, with `modified` as it was read; read and decided anew where somebody was quicker, or no
        reply came."""
        name, row, verdict = str(action.name), self._rows[str(action.name)], self._verdicts[str(action.name)]
        last = ""
        for _ in range(ROUNDS):
            values = verdict.values if verdict.verb == "put back" else {"docstatus": 2}
            doc = {"doctype": self._doctype, "name": action.name, "modified": row["modified"], **values}
            try:
                after = self._site.update(doc)
            except (OutcomeUnknown, StaleDocument) as error:
                last = str(error)
                self._run.check()
            except Transient:
                raise
            except SiteError as error:
                return Outcome(action, Result.FAILED, str(error), error.kind, error.who)
            else:
                if name in self._changes:
                    self._back[name] = (self._changes[name][3], after.get("modified"))
                return Outcome(action, Result.DONE)
            found = self._once_more(name)
            if found is None or (verdict := found[0]).verb == "keep":
                return Outcome(action, Result.DONE, "an earlier request was heard, or it is gone")
            if verdict.verb == "conflict":
                return Outcome(action, Result.FAILED, verdict.why, "Conflict", "document owner")
            row = found[1]
        return Outcome(action, Result.UNCERTAIN, last, "OutcomeUnknown", "document owner")

    def _once_more(self, name: str) -> tuple[Verdict, dict[str, Any]] | None:
        """How one document stands now; None: it is gone. Of a batch several may ask at once."""
        if name in self._changes:
            row = self._now({name: self._changes[name]}).get(name)
            _, was, sent, _, left = self._changes[name]
            return (of_changed(self._described, was, sent, left, row), row) if row else None
        known = self._made[name]
        rows = self._site.get_list(self._doctype, STAMPS, [["name", "=", known[0]]])
        return (
            (of_created(rows[0], self._span, str(self._head["user"]), str(known[3] or "")), rows[0]) if rows else None
        )

    def close(self) -> None:
        try:
            if not self._run.dry_run:
                self._count_out()
        finally:
            self._held.close()


_WHY = {"delete": "created by the run: deleted", "cancel": "created and submitted by the run: cancelled",
        "put back": "changed by the run: put back"}  # fmt: skip


def _plain(why: str) -> str:
    """A reason without names and moments, to be counted under."""
    return "something else has its name now" if why.startswith("what has this name") else why
