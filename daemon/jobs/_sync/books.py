"""What became of a pair, written down in its link and told. Writes links."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from daemon.core.kind import Run
from daemon.core.links import OWED, PULL, PUSH, LinksPort, Status
from daemon.core.mapping import BadValue
from daemon.core.plan import Action, Outcome, Result
from daemon.errors import (
    AlreadyExists,
    DaemonError,
    InUse,
    Invalid,
    NotConfigured,
    NotFound,
    NotPermitted,
    OutcomeUnknown,
    RemoteConflict,
    RemoteMalformed,
    RemoteMisused,
    RemoteNotFound,
    RemoteNotPermitted,
    RemoteOutcomeUnknown,
    RemoteRefused,
    RemoteStale,
    ServerBug,
    StaleDocument,
)

if TYPE_CHECKING:
    from daemon.jobs._sync.pairs import Pair

ROUNDS = 5
"""How often a pair is read and decided anew in one run."""
AGAIN = (StaleDocument, RemoteStale, OutcomeUnknown, RemoteOutcomeUnknown)
"""What is mended by reading both sides anew."""
OWN_FAULT = (Invalid, AlreadyExists, NotFound, NotPermitted, InUse, ServerBug, NotConfigured, BadValue, RemoteRefused,
             RemoteConflict, RemoteNotFound, RemoteNotPermitted, RemoteMisused, RemoteMalformed)  # fmt: skip
"""What fails this pair and says nothing of the next."""
FIRST_WAIT, LONGEST_WAIT = timedelta(minutes=5), timedelta(days=1)
"""Before a failed pair is tried again; doubled with each failure."""


class Held(DaemonError):
    """This pair needs a person; repeating would change nothing."""

    who = "document owner"
    action = "See `frappe-daemon conflicts`; mend its cause, then `frappe-daemon retry`."


class Books:
    """Of the pairs of one run; threads may share them."""

    def __init__(self, run: Run, links: LinksPort, doctype: str, give_up: int) -> None:
        self._run, self._links, self._doctype, self._give_up = run, links, doctype, give_up

    def guarded(self, pair: Pair, act: Callable[[Pair], Outcome], reread: Callable[[Pair], None]) -> Outcome:
        """What became of it by `act`; failures that are its own are written down with it. Raises what ends a run."""
        try:
            for _ in range(ROUNDS):
                try:
                    return act(pair)
                except AGAIN as error:
                    self._run.check()
                    last = error
                    reread(pair)
            raise Invalid(f"changed or unanswered again and again: {last}")
        except Held as error:
            return self.noted(pair, "update", Result.FAILED, str(error), error, status=Status.HELD)
        except OWN_FAULT as error:
            return self._failed(pair, error)

    def _failed(self, pair: Pair, error: DaemonError) -> Outcome:
        """To be tried again, later each time; after give_up times a person must look."""
        link = pair.link
        link.tries += 1
        link.due = self._run.now() + min(LONGEST_WAIT, FIRST_WAIT * 2 ** min(link.tries - 1, 20))
        why = f"{link.name or 'no document'}, record {link.remote or 'none'}: {error}"
        status = Status.FAILED if link.tries < self._give_up else Status.HELD
        verb = "update" if link.name and link.remote else "create"
        return self.noted(pair, verb, Result.FAILED, why, error, status=status)

    def kept(self, pair: Pair, why: str, status: str = "", *, again: bool = False) -> Outcome:
        """Nothing was done. `again`: it is to be looked at anew, whatever changed."""
        return self.noted(pair, "keep", Result.KEPT, why, status=status, todo=PULL | PUSH if again else 0)

    def planned(self, pair: Pair, verb: str, why: str, summary: str = "") -> Outcome:
        """`summary`: what such pairs are counted under, where `why` is about this one alone."""
        result = Result.KEPT if verb == "keep" else Result.PLANNED
        return replace(self.noted(pair, verb, result, why), summary=summary)

    def agreed(self, pair: Pair, verb: str, why: str, owed: int) -> Outcome:
        """Both sides have been told. `owed`: directions that have something to tell yet."""
        link = pair.link
        link.detail, link.tries, link.due = {}, 0, None
        result = Result.KEPT if verb == "keep" else Result.DONE
        return self.noted(pair, verb, result, why, status=Status.LINKED, todo=owed << OWED)

    def ended(self, pair: Pair, why: str, verb: str = "keep") -> Outcome:
        result = Result.KEPT if verb == "keep" else Result.DONE
        return self.noted(pair, verb, result, why, status=Status.ENDED)

    def clash(self, pair: Pair, verb: str, why: str) -> Outcome:
        """A person must decide."""
        return self.noted(pair, verb, Result.FAILED, why, "Conflict", status=Status.CONFLICT)

    def noted(
        self,
        pair: Pair,
        verb: str,
        result: Result,
        why: str,
        error: DaemonError | str = "",
        *,
        status: str = "",
        todo: int = 0,
    ) -> Outcome:
        link = pair.link
        link.status = status or link.status
        link.todo, link.why, link.run = todo, why, self._run.id
        if link.status in (Status.LINKED, Status.ENDED):
            link.record = None
        self._links.save([link])
        action = Action(verb, self._doctype, link.name or f"record {link.remote}", why)
        kind, who = (
            (error.kind, error.who) if isinstance(error, DaemonError) else (error, "document owner" * bool(error))
        )
        return Outcome(action, result, why, kind, who)
