"""Letters → the site, each once. Knows nothing of what they are about.

Each letter has a place in a ledger, on the disk: written down before it is sent, and again with what became of it. What
a lost reply or a kill left open is found out by the letter's mark, once the request must be over, before anything is
sent again. A letter that the site refused is nobody's but its own recipient's trouble.

    post = Post(run, owner="digest", shelf="weekly|2026-11-22|", per_minute=120)
    for letters in batches:
        yield from post.deliver(letters)     # a Fate for each, in no order, some of them later:
    yield from post.settle()                 # the rest
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from daemon.core.kind import Run
from daemon.core.letter import Letter
from daemon.core.plan import Result
from daemon.errors import (
    AlreadyExists,
    DaemonError,
    Invalid,
    NotFound,
    NotPermitted,
    OutcomeUnknown,
    ServerBug,
    SiteError,
    StaleDocument,
    Transient,
)

SETTLES = timedelta(seconds=130)
"""After this long a request whose reply was lost is over: the site's server ends it at 120 s (gunicorn `-t`)."""
ROUNDS = 3
"""How often one letter is sent, where the replies get lost and the site does not have it, or an error of the site's."""
OPEN = 50
"""Letters whose fate is open that are held until they are settled together."""
OURS_ALONE = (Invalid, NotPermitted, NotFound, ServerBug, AlreadyExists, StaleDocument)
"""What the site says of one letter; any other error is about the site, and ends the part."""
SENDING, SENT, UNQUEUED = "sending", "sent", "not queued"
LOOKED = "looked"
"""In the place of a mark: the site was asked what it has of a shelf."""


@dataclass(slots=True)
class Fate:
    """What became of one letter: DONE (the site has it), KEPT (it had), FAILED or UNCERTAIN."""

    letter: Letter
    result: Result
    reason: str = ""
    error: str = ""
    who: str = ""
    name: str = ""
    """Of the Communication."""
    passing: bool = False
    """A later run may do better."""


@dataclass(slots=True)
class _Try:
    """One letter under way."""

    letter: Letter
    name: str = ""
    error: DaemonError | None = None
    times: int = 0
    over: datetime | None = None
    """When the last request whose reply was lost must be over."""


class Post:
    """Sends letters of one shelf of the ledger. Used by one thread.

    `shelf` begins the keys of these letters: `job|period|`, so that `prune` can forget old periods. Their marks must
    tell any two letters of the shelf apart. `per_minute`: requests at the most; None: as the site takes them.
    """

    def __init__(self, run: Run, owner: str, shelf: str, per_minute: float | None = None) -> None:
        self._run, self._site = run, run.site
        self._ledger = run.journal(owner)
        self._shelf = shelf
        self._gap = timedelta(seconds=60 / per_minute) if per_minute else timedelta(0)
        self._next = run.now()
        self._open: list[_Try] = []
        self._again: list[_Try] = []
        self.sees_queue = True
        """False once the site has said that this user may not look into Email Queue; then the Communication is proof
        enough."""

    def known(self, marks: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Mark → what the ledger holds: {"state": "sending", "sent" or "not queued", "at", "name"}.

        For those who want to make no letter of what is sent already.
        """
        found = self._ledger.pick([self._shelf + mark for mark in marks])
        return {key.removeprefix(self._shelf): entry for key, entry in found.items()}

    @property
    def looked(self) -> bool:
        """`recover` was through for this shelf."""
        return bool(self._ledger.pick([self._shelf + LOOKED]))

    def recover(self, group: str, since: datetime, mark: Callable[[str], str]) -> None:
        """Learn from the site, once for a shelf, which of its letters were sent that this ledger does not know: by
        another daemon, or by this one before it lost its state. Their marks begin with `group`; `mark`: of a
        recipient's letter. Writes the ledger."""
        if self.looked:
            return
        for page in self._site.mail.of_group(group, since):
            self._run.check()
            there = {mark(recipient): name for recipient, name in page}
            fresh = there.keys() - self.known(list(there)).keys()
            at = self._run.now().isoformat()
            self._ledger.write({self._shelf + one: {"state": SENT, "at": at, "name": there[one]} for one in fresh})
        self._ledger.write({self._shelf + LOOKED: {"at": self._run.now().isoformat()}})

    def deliver(self, letters: Sequence[Letter]) -> Iterator[Fate]:
        """Send some tens of letters, but those that were sent. Fates that stay open come by `settle`, or by a later
        `deliver`. Raises what would be the same for every letter: no outgoing account, no site, a stop."""
        entries = self.known([letter.mark for letter in letters])
        fresh: list[_Try] = []
        held = {one.letter.mark for one in (*self._open, *self._again)}
        for letter in letters:
            entry = entries.get(letter.mark)
            if letter.mark in held:
                yield Fate(letter, Result.KEPT, "handed over twice")
                continue
            held.add(letter.mark)
            if entry is None:
                fresh.append(_Try(letter))
            elif entry["state"] == SENDING:  # by a run that ended before its reply came, not before our start
                self._open.append(_Try(letter, over=self._run.started + SETTLES))
            else:
                yield kept(letter, entry)
        yield from self._send(fresh)
        if len(self._open) >= OPEN:
            yield from self.settle()

    def settle(self) -> Iterator[Fate]:
        """What is open yet: looked for on the site once its request is over, and sent where it is not there."""
        while self._open or self._again:
            waiting, self._open = self._open, []
            again, self._again = self._again, []
            yield from self._looked_up(waiting, again)
            yield from self._send(again)

    def _looked_up(self, waiting: list[_Try], again: list[_Try]) -> Iterator[Fate]:
        """Fates of those that are there; the others are added to `again`, or given up."""
        there: list[_Try] = []
        for one in sorted(waiting, key=lambda one: one.over or self._run.started):
            try:
                one.name = self._find(one)
            except NotPermitted as error:
                yield Fate(one.letter, Result.UNCERTAIN, f"its reply was lost: {error}", error.kind, error.who)
                continue
            if one.name:
                there.append(one)
            elif one.times < ROUNDS:
                again.append(one)
            else:
                why = "its replies were lost, and the site has not shown it yet; the next run looks again"
                yield Fate(one.letter, Result.UNCERTAIN, why, "OutcomeUnknown", "nobody", passing=True)
        yield from self._confirmed(there)

    def _find(self, one: _Try) -> str:
        """Name of its Communication, waited for until it must be there; "" where it is not."""
        entry = self._ledger.pick([self._shelf + one.letter.mark])
        since = datetime.fromisoformat(entry[self._shelf + one.letter.mark]["at"]) if entry else self._run.started
        return look_for(self._run, one.letter.mark, since, one.over)

    # Sending

    def _send(self, tries: list[_Try]) -> Iterator[Fate]:
        """All of them, several at once; the ledger is written by whoever sends, whatever becomes of the run."""
        done, ended = list[_Try](), None
        for one in self._run.each(self._sent, self._paced(tries)):
            if one.error is None:
                done.append(one)
            elif isinstance(one.error, OutcomeUnknown):
                self._open.append(one)
            elif isinstance(one.error, ServerBug) and one.times < ROUNDS:
                self._again.append(one)
            elif isinstance(one.error, OURS_ALONE):
                passing = isinstance(one.error, ServerBug)
                yield Fate(one.letter, Result.FAILED, str(one.error), one.error.kind, one.error.who, passing=passing)
            else:
                ended = one.error
        yield from self._confirmed(done)
        if ended:
            raise ended

    def _paced(self, tries: Iterable[_Try]) -> Iterator[_Try]:
        for one in tries:
            self._run.check()
            wait = (self._next - self._run.now()).total_seconds()
            if self._gap and wait > 0:
                self._run.pause(wait)
            self._next = self._run.now() + self._gap
            yield one

    def _sent(self, one: _Try) -> _Try:
        """Raises nothing of the site's, so that what was sent beside an error is not lost."""
        key = self._shelf + one.letter.mark
        first = self._ledger.pick([key]).get(key) if one.times else None
        one.times, one.error = one.times + 1, None
        begun = first["at"] if first else self._run.now().isoformat()
        self._ledger.write({key: {"state": SENDING, "at": begun}})
        try:
            one.name = self._site.mail.send(one.letter)
        except OutcomeUnknown as error:
            one.error, one.over = error, self._run.now() + SETTLES
        except DaemonError as error:
            one.error = error
            if isinstance(error, SiteError) and one.over is None:  # nothing was done, now or before
                self._ledger.write({key: None})
        else:
            self._ledger.write({key: {"state": SENT, "at": begun, "name": one.name}})
        return one

    def _confirmed(self, tries: list[_Try]) -> Iterator[Fate]:
        """The site has them; whether it mails them, its queue tells, in one request for all."""
        queue: dict[str, str] | None = None
        if tries and self.sees_queue:
            try:
                queue = self._site.mail.standing([one.name for one in tries])
            except Transient:
                queue = None
            else:
                self.sees_queue = queue is not None
        for one in tries:
            unqueued = queue is not None and one.name not in queue
            state = UNQUEUED if unqueued else SENT
            entry = {"state": state, "at": self._run.now().isoformat(), "name": one.name}
            if unqueued or one.over:
                self._ledger.write({self._shelf + one.letter.mark: entry})
            if unqueued:
                yield Fate(one.letter, Result.FAILED, _UNQUEUED, "NotQueued", "document owner", one.name)
            else:
                yield Fate(one.letter, Result.DONE, name=one.name)


_UNQUEUED = (
    "the site made a Communication and queued no mail for it; the address may be unsubscribed (Email Unsubscribe), or "
    "the mail account refuse it (the site's Error Log)"
)


def look_for(run: Run, mark: str, since: datetime, over: datetime | None) -> str:
    """Name of the Communication of a letter sent at `since` or later, by a request that must be over at `over`: waited
    for until then. "": there is none. Raises NotPermitted where this user would not see it."""
    while True:
        name = run.site.mail.find(mark, since)
        left = (over - run.now()).total_seconds() if over else 0.0
        if name or left <= 0:
            return name or ""
        run.pause(min(left + 1, 15.0))


def kept(letter: Letter, entry: dict[str, Any]) -> Fate:
    """Of one that was sent before."""
    if entry["state"] == UNQUEUED:
        why = "the site queued no mail for it before; it is not asked again"
        return Fate(letter, Result.KEPT, why, name=entry["name"])
    return Fate(letter, Result.KEPT, "sent before", name=str(entry.get("name") or ""))


def prune(run: Run, owner: str, job: str, before: str) -> int:
    """Forget letters of `job` whose period (the shelf's second part) sorts before `before`; how many it was."""
    return run.journal(owner).forget(f"{job}|", before)
