"""Retention: rows of a DocType that are old, matched or surplus are removed, by the cheapest way that the site has.

    [jobs.maintenance]
    kind = "cleanup"
    schedule = "daily_long"

    [[jobs.maintenance.rules]]
    doctype = "Error Log"
    older_than = "30d"

A rule that has only an age, on a DocType that Log Settings covers, becomes retention of the site itself: one DELETE
there instead of a document, a Comment and a queue job for each row here (strategy `log_settings`). Everything else goes
row by row (strategy `rows`), oldest first, in the largest request that the site answers only when it is done, and what
is gone is found out by listing again. `auto` picks.

Reads: counts, rows of the rule's DocType, Log Settings. Writes: deletes of those rows, one row of Log Settings, archive
files. Never: another row of Log Settings, a row that the dry run would not have named, a second try at a row that the
site refused to delete.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from daemon.core.duration import format_duration
from daemon.core.kind import DialectPort, Need, Part, Run
from daemon.core.plan import Action, Census, Guard, Outcome, Result
from daemon.core.retention import Condition, Rule, Sieve, resume_key
from daemon.core.settings import (
    Conditions,
    DirectoryPath,
    Duration,
    FieldName,
    GuardSettings,
    JobSettings,
    Model,
    PositiveDuration,
)
from daemon.errors import (
    DaemonError,
    Invalid,
    NotConfigured,
    NotFound,
    NothingRemovable,
    NotPermitted,
    OutcomeUnknown,
    ServerBug,
    SiteError,
    StaleDocument,
    Transient,
)
from daemon.jobs._cleanup.asked import explain

__all__ = ["Settings", "explain", "needs", "parts"]

PAGE, PAGE_ARCHIVED = 1000, 200
"""Rows read, deleted and confirmed together; fewer where each is held whole."""
CLOCK_SKEW = timedelta(hours=26)
"""Between a database's clock and its site's time zone, at the most: UTC+14 to UTC-12."""
CLOSE = timedelta(seconds=2)
"""By how much our idea of the site's clock may be off: an HTTP date is of whole seconds."""
WORKER_PATIENCE = timedelta(minutes=10)
"""How long the site's worker may take to begin and end its clean-up."""


def _older_than(value: timedelta) -> timedelta:
    if value < timedelta(minutes=1):
        raise ValueError('an age below a minute would remove everything; write one such as "30d"')
    return value


class RuleSettings(Model):
    """One rule."""

    doctype: Annotated[str, Field(min_length=1)]
    """Whose rows go."""
    older_than: Annotated[Duration, AfterValidator(_older_than)] | None = None
    """Age of the youngest that goes, such as "30d"."""
    date_field: FieldName = "creation"
    """What the age is counted from."""
    filters: Conditions = Field(default_factory=list)
    """Only rows that match all of these."""
    keep_latest: Annotated[int, Field(ge=1)] | None = None
    """The newest of each group stay, whatever their age."""
    group_by: list[FieldName] = Field(default_factory=list)
    """Fields whose values make the groups of `keep_latest`."""
    limit: Annotated[int, Field(ge=1)] | None = None
    """Rows a run, at the most; the next run goes on behind them."""
    time_box: PositiveDuration | None = None
    """After this long the rule ends, and the next run goes on behind it."""
    archive: DirectoryPath | None = None
    """A directory that gets every row as gzipped JSON Lines before it is deleted."""
    strategy: Literal["auto", "rows", "log_settings"] = "auto"
    """Row by row, by the site's own Log Settings, or whichever is the cheaper one that is permitted."""
    purge_residue: bool = False
    """Remove the Deleted Documents and Comments that deleting row by row leaves behind."""
    guard: GuardSettings = GuardSettings()

    @model_validator(mode="after")
    def _means_something(self) -> Self:
        if not (self.older_than or self.keep_latest or self.filters):
            raise ValueError("an empty rule would remove everything; give it older_than, keep_latest or filters")
        if self.group_by and not self.keep_latest:
            raise ValueError("group_by says of what keep_latest keeps the newest; give keep_latest too")
        if self.strategy == "log_settings" and not self.server_side:
            raise ValueError(
                "Log Settings knows whole days counted from creation or modified and nothing else; "
                'leave filters, keep_latest, limit and archive out, or use strategy = "rows"'
            )
        return self

    @property
    def server_side(self) -> bool:
        """Log Settings can say the same."""
        extras = self.limit or self.archive
        return not extras and self.as_rule("").server_days() is not None

    def as_rule(self, cutoff: str) -> Rule:
        return Rule(
            self.doctype,
            self.date_field,
            self.older_than,
            cutoff,
            tuple(map(tuple, self.filters)),
            self.keep_latest or 0,
            tuple(self.group_by),
        )


class Settings(JobSettings):
    """A clean-up job."""

    rules: Annotated[list[RuleSettings], Field(min_length=1)]
    guard: GuardSettings = GuardSettings()
    """For every rule that does not say otherwise."""

    @model_validator(mode="after")
    def _each_doctype_has_one_age(self) -> Self:
        seen = set()
        for rule in self.rules:
            if rule.server_side and rule.strategy != "rows":
                if rule.doctype in seen:
                    raise ValueError(f"two rules with nothing but an age for {rule.doctype}; keep the shorter age")
                seen.add(rule.doctype)
        return self


ONLY_ADMINISTRATOR = {
    "Email Queue": "Email Queue's own code lets nobody but Administrator delete its rows",
    "Notification Log": "Notification Log shows everybody their own rows alone, and all of them to Administrator",
}
"""email/doctype/email_queue/email_queue.py:on_trash; desk/doctype/notification_log/notification_log.py:
get_permission_query_conditions. No permission changes it."""

ONLY_SYSTEM_MANAGER = "the site's own clean-up may be started by System Managers alone"
"""core/doctype/scheduled_job_type/scheduled_job_type.py:execute_event; no permission changes it."""


def needs(settings: Settings, dialect: DialectPort) -> Iterable[Need]:
    """What `check` looks at: the DocType, its fields, and the right to change Log Settings or to delete."""
    for rule in settings.rules:
        fields = (rule.date_field, *rule.group_by, *(condition[-3] for condition in rule.filters))
        dates = rule.as_rule("").dates
        only = ONLY_ADMINISTRATOR.get(rule.doctype, "")
        why = "to find old rows and delete them"
        by_rows = Need(rule.doctype, fields, dates, ("read", "delete"), why=why, only_administrator=only)
        forced = rule.strategy == "log_settings"
        coverable = rule.doctype in dialect.log_settings_doctypes
        dated = rule.date_field in ("creation", dialect.log_settings_field)
        if forced or (rule.server_side and rule.strategy == "auto" and coverable and dated):
            yield Need(rule.doctype, fields, dates, ("read",), why="to count old rows")
            otherwise = None if forced else by_rows
            yield Need("Log Settings", rights=("read", "write"), rows=False, only_system_manager=ONLY_SYSTEM_MANAGER,
                       otherwise=otherwise)  # fmt: skip
        else:
            yield by_rows
    if any(rule.purge_residue for rule in settings.rules):
        for residue in ("Comment", "Deleted Document"):
            yield Need(residue, rights=("read", "delete"), why="to delete what deleting row by row leaves behind")


def parts(run: Run, settings: Settings) -> Iterable[Part]:
    """One part for each rule."""
    made: list[RulePart] = []
    for rule in settings.rules:
        twins = sum(part.doctype == rule.doctype for part in made)
        name = f"{rule.doctype} ({twins + 1})" if twins else rule.doctype
        made.append(RulePart(run, rule, rule.guard.over(settings.guard), name))
    clean_up = SiteCleanUp(run, [part for part in made if part.settings.server_side])
    for part in made:
        part.clean_up = clean_up
    return made


class SiteCleanUp:
    """The one clean-up that the site does for all rules of a job that can be said in Log Settings.

    It goes by every row of Log Settings at once, so every such rule is counted and judged before it, and none after.
    """

    def __init__(self, run: Run, rules: list[RulePart]) -> None:
        self._run, self._rules = run, rules
        self._done: tuple[Any, str] | None = None

    def foretell(self) -> None:
        """For a dry run: which retentions would change, and what would go by those that no rule of ours names."""
        if self._done is None:
            judged, wanted, at_least = self._judged()
            change = self._run.site.log_settings.preview(wanted, at_least)
            self._say(judged[0], change, wanted, "would be set", "would also take")
            self._done = change, ""

    def once(self, job: Any) -> tuple[Any, str]:
        """(what changed in Log Settings, how the site's job ended). Raises NotPermitted where it may not be had."""
        if self._done is None:
            judged, wanted, at_least = self._judged()
            change, ended = self._changed(wanted, at_least), ""
            if wanted.keys() & change.after.keys():
                self._say(judged[0], change, wanted, "was set", "also took")
                patience = max(part.settings.time_box or WORKER_PATIENCE for part in self._rules)
                polls = 8 + int(patience.total_seconds() / 5)
                ended = self._run.site.log_settings.run(job, pause=self._run.pause, polls=polls)
            self._done = change, ended
        return self._done

    def _judged(self) -> tuple[list[RulePart], dict[str, int], dict[str, int]]:
        """(rules that the site shall follow, their days, days that no row may fall below).

        A rule that cannot be counted is left out: what is wrong with it is told in its own turn, and of it alone.
        """
        judged = []
        for part in self._rules:
            try:
                if not part.guard.verdict(part.census()) and part.on_site:
                    judged.append(part)
            except Transient:
                raise
            except SiteError:
                continue
        at_least = {part.doctype: part.days for part in self._rules}
        return judged, {part.doctype: part.days for part in judged}, at_least

    def _say(self, part: RulePart, change: Any, wanted: Mapping[str, int], was_set: str, took: str) -> None:
        """Note every row of Log Settings that differs, and rows that go though no rule of this job names them."""
        note, before = part.tally.note, change.before
        for name, days in change.after.items():
            if before.get(name, days) != days or (name in wanted and name not in before):
                old = f"{before[name]} days" if name in before else "absent"
                note(f"Log Settings of the site: {name} {was_set} to {days} days (before: {old})")
        if not before:
            added = ", ".join(f"{name} {days}" for name, days in change.after.items() if name not in wanted)
            note(f"Log Settings of the site had never been saved; saving adds Frappe's own: {added or 'see the run'}")
        others = [(name, days) for name, days in change.after.items() if name not in wanted]
        counted = [found for found in self._run.each(self._old, others) if found[2]]
        if gone := ", ".join(f"{count:,} rows of {name} older than {days} days" for name, days, count in counted):
            note(f"the site's clean-up, which goes by all its retentions, {took}: {gone}")

    def _old(self, retention: tuple[str, int]) -> tuple[str, int, int]:
        """(DocType, days, rows older than that); 0 rows where this user may not count them."""
        name, days = retention
        site = self._run.site
        try:
            cutoff = site.text(self._run.started - timedelta(days=days))
            return name, days, site.count(name, [[site.dialect.log_settings_field, "<", cutoff]])
        except Transient:
            raise
        except SiteError:
            return name, days, 0

    def _changed(self, wanted: Mapping[str, int], at_least: Mapping[str, int]) -> Any:
        """Again where somebody saved Log Settings between our reading and our writing."""
        for _ in range(3):
            try:
                return self._run.site.log_settings.apply(wanted, at_least)
            except StaleDocument:
                self._run.check()
        return self._run.site.log_settings.apply(wanted, at_least)


class RulePart(Part):
    """One rule at work."""

    clean_up: SiteCleanUp

    def __init__(self, run: Run, settings: RuleSettings, guard: Guard, name: str) -> None:
        super().__init__(name)
        self.guard, self.settings = guard, settings
        self._run, self._site = run, run.site
        self._rule = settings.as_rule("")
        self._census: Census | None = None
        self._within_skew = 0
        self._begun = run.now()
        self._server_job: Any = None
        """The site's own clean-up job while it is to do the work; None: row by row."""
        self._memory = f"resume:{name}"
        self._after: dict[str, Any] | None = None
        """Key of the last row dealt with, while there may be rows behind it."""
        self._archive = run.archive(settings.archive, name) if settings.archive else None
        self._steps = 0
        """Pages that were deleted, or meant to be."""

    @property
    def doctype(self) -> str:
        return self.settings.doctype

    @property
    def days(self) -> int:
        """The rule as a row of Log Settings says it; 0 where it cannot."""
        return self._rule.server_days() or 0

    @property
    def _skewed(self) -> list[Condition]:
        """Filters of the rows that the site's clean-up may take by whatever clock its database goes."""
        return self._rule.within(
            self._site.text(self._run.started - (self._rule.older_than or CLOCK_SKEW) + CLOCK_SKEW)
        )

    @property
    def on_site(self) -> bool:
        """The site is to do the work by itself."""
        return self._server_job is not None

    # Before the first write

    def census(self) -> Census:
        if self._census is None:
            self._census = self._counted()
        return self._census

    def _counted(self) -> Census:
        """Raises Invalid and NotFound with the operator to act: it is the rule that names what the site lacks."""
        try:
            return self._count()
        except (Invalid, NotFound, ServerBug) as error:
            error.who, error.action = "operator", "Correct DocType and fields of the rule; `frappe-daemon check` helps."
            raise

    def _count(self) -> Census:
        settings = self.settings
        if wrong := self._site.no_dates(self.doctype, self._rule.dates):
            raise Invalid(f"{self.doctype}.{wrong[0]} is no date, so nothing can be older or newer, or between, by it")
        if settings.older_than is not None:
            cutoff = self._site.bound(self._run.started - settings.older_than)
            # The site cuts what it compares with a date down to one (model/db_query.py), and so must the sieve.
            self._rule = settings.as_rule(cutoff[:10] if self._by_days() else cutoff)
        total = self._site.count(self.doctype)
        matching = self._site.count(self.doctype, self._rule.candidates)
        self._server_job = self._choose() if matching else None
        if self.on_site:
            self._within_skew = self._site.count(self.doctype, self._skewed)
        if matching:
            self.tally.facts["strategy"] = "log_settings" if self.on_site else "rows"
        census = Census(total, matching, min(matching, settings.limit or matching), exact=not self._rule.keep_latest)
        uncertain = not census.exact and self.guard.verdict(census)
        return self._exact(census) if uncertain or self._rule.joins else census

    def _by_days(self) -> bool:
        field = self.settings.date_field
        return field not in ("creation", "modified") and self._site.meta(self.doctype).columns.get(field) == "Date"

    def _exact(self, census: Census) -> Census:
        """Only a look at the rows tells how many go with `keep_latest`, where the guard is about to refuse by an upper
        bound, and how many documents there are where a count counts their child rows."""
        sieve = Sieve(self._rule)
        going = 0
        for page in self._pages(None):
            self._run.check()
            going += sum(not sieve.repeats(row) and sieve.verdict(row).goes for row in page)
        return Census(census.total, going, min(going, self.settings.limit or going))

    def _choose(self) -> Any:
        """The site's clean-up job where it should do the work, or None."""
        settings = self.settings
        if settings.strategy == "rows" or not settings.server_side:
            return None
        if settings.strategy == "auto" and settings.doctype not in self._site.dialect.log_settings_doctypes:
            return None
        clears_by = self._site.dialect.log_settings_field
        if settings.date_field not in ("creation", clears_by):
            # The other way round is safe: what was modified long ago was created longer ago.
            return self._row_by_row(f"Log Settings of this version goes by {clears_by}, not by {settings.date_field}")
        try:
            job = self._site.log_settings.job()
        except (NotPermitted, NotFound) as error:
            return self._row_by_row(f"this user may not run the site's own clean-up: {error}")
        if job is None:
            return self._row_by_row("the site has no clean-up job of its own that this user can see")
        if job.stopped:
            return self._row_by_row("somebody has stopped the site's own clean-up job")
        return job

    def _row_by_row(self, since: str) -> None:
        """Leave Log Settings alone, and say so. Raises NotConfigured where the configuration insists on it."""
        if self.settings.strategy == "log_settings":
            raise NotConfigured(f'strategy = "log_settings" cannot be followed: {since}')
        self._server_job, self.tally.facts["strategy"] = None, "rows"
        self.tally.note(f"row by row, since {since}")

    # What to do

    def plan(self) -> Iterator[list[Action]]:
        rule, census = self._rule, self.tally.census
        if self.on_site and census:
            yield [Action("delete", rule.doctype, f"rows {rule.why}", rule.why, census.matching)]
            if self._run.dry_run:
                self.clean_up.foretell()
                if (more := self._within_skew - census.matching) > 0:
                    text = "rows that are younger by up to 26 hours may go too: the site goes by its database's clock"
                    self.tally.note(f"up to {more:,} {text}")
                return
        if not self.on_site:
            yield from self._plan_rows()

    def _plan_rows(self) -> Iterator[list[Action]]:
        """Rows page by page. Ended by a bound, the next run goes on behind the last row dealt with."""
        settings, sieve = self.settings, Sieve(self._rule)
        self._begun = self._run.now()
        assert self.tally.census
        left = self.tally.census.planned  # never more than the guard has judged, whatever the list holds
        for page in self._rounds(self._recalled()):
            actions = [action for row in page if (action := self._action(row, sieve))]
            going = sum(action.verb == "delete" for action in actions)
            ended = left or going or (settings.limit and not self._run.explain)
            if ended and (spent := self._spent(left)):  # said only where rows are left over
                return self.tally.note(spent)
            last = page[-1]
            surplus = going > left
            if surplus:
                actions = _first_deletes(actions, left)
                last = next(row for row in page if row["name"] == actions[-1].name)
            yield actions
            self._after = resume_key(self._rule, last)
            left -= min(going, left)
            if surplus:
                return self.tally.note(self._spent(left))
        self._after = None
        return None

    @property
    def _late(self) -> bool:
        box = self.settings.time_box
        return box is not None and self._run.now() - self._begun >= box

    def _spent(self, left: int) -> str:
        """Which bound on one run is used up, as a sentence, or ""."""
        settings, census = self.settings, self.tally.census
        if left == 0 and settings.limit and census and census.planned == settings.limit:
            rest = census.matching - census.planned
            about = "" if census.exact else "at most "
            return f"the limit of {settings.limit:,} rows a run is used up; {about}{rest:,} wait for the next runs"
        if left == 0:
            return "more rows match than were counted before; the next run counts and judges them"
        if settings.time_box and self._late:
            return f"the time box of {format_duration(settings.time_box)} is used up; the next run goes on from there"
        return ""

    def _rounds(self, after: dict[str, Any] | None) -> Iterator[list[dict[str, Any]]]:
        """Pages behind `after`, where an earlier run ended, and then those before it."""
        yield from self._pages(after)
        if after is None or self._rule.keep_latest:
            return
        first = self._rule.key[0]
        for page in self._pages(None):
            rows = [row for row in page if str(row[first]) <= str(after[first])]
            if rows:
                yield rows
            if len(rows) < len(page):
                return

    def _pages(self, after: dict[str, Any] | None) -> Iterator[list[dict[str, Any]]]:
        rule = self._rule
        where = list(rule.filters) if self._run.explain and not rule.keep_latest else rule.scanned
        length = PAGE_ARCHIVED if self._archive else PAGE
        return self._site.paginate(rule.doctype, (), where, key=rule.key, after=after, page_length=length)

    def _action(self, row: dict[str, Any], sieve: Sieve) -> Action | None:
        if sieve.repeats(row):
            return None
        verdict = sieve.verdict(row)
        return Action("delete" if verdict.goes else "keep", self._rule.doctype, row["name"], verdict.why)

    # Doing it

    def apply(self, actions: list[Action]) -> Iterable[Outcome]:
        if self.on_site:
            return self._apply_on_site(actions[0])
        return self._apply_rows(actions)

    def _apply_on_site(self, action: Action) -> Iterable[Outcome]:
        """Set the retention, have the site's worker clean up, and count what is left: its word alone is no proof."""
        self._run.trail.write({"of": self.tally.part, "doctype": self.doctype, "on_site": action.count})
        try:
            change, ended = self.clean_up.once(self._server_job)
        except NotPermitted as error:
            self._row_by_row(f"Log Settings could not be changed: {error}")
            return []
        if self.doctype not in change.after:
            self._row_by_row(f'the site cannot clear {self.doctype} by itself; strategy = "rows" can')
            return []
        return self._confirm(action, ended)

    def _confirm(self, action: Action, ended: str) -> Iterator[Outcome]:
        """Count what went. The site's database may be hours ahead of the site, and then takes more than was planned."""
        left = self._site.count(self.doctype, self._rule.candidates)
        gone = max(action.count - left, self._within_skew - self._site.count(self.doctype, self._skewed))
        yield Outcome(action, Result.DONE, count=gone)
        if gone > action.count:
            more = f"{gone - action.count:,} rows that were younger by less than a day"
            self.tally.note(f"the site's database clock is ahead of the site's time zone, so it also took {more}")
        if not left:
            return
        if ended.startswith("Failed"):
            self._row_by_row(f"the site's own clean-up ended with {ended!r}")
            self.tally.facts["strategy"] = "log_settings, then rows"
        elif ended == "Complete":
            field = self._site.dialect.log_settings_field
            why = f"kept: the site counts from {field}, by its database's clock; a later run takes them"
            yield Outcome(action, Result.KEPT, why, count=left)
        else:
            why = "the site's worker did not end its clean-up in time; it is queued and may still do it"
            yield Outcome(action, Result.UNCERTAIN, why, "NoWorker", "site administrator", left)

    def _apply_rows(self, actions: list[Action]) -> Iterator[Outcome]:
        going = {action.name: action for action in actions if action.verb == "delete"}
        yield from (Outcome(action, Result.KEPT, action.why) for action in actions if action.verb != "delete")
        if not going:
            return
        names = list(going)
        if self._archive:
            docs = self._site.whole(self._rule.doctype, names)
            self._archive.write(docs)
            names = [doc["name"] for doc in docs]  # what is not in the archive went by other hands
        self._write_down(names)
        try:
            stayed = self._removed(names)
        except NothingRemovable:
            raise
        except DaemonError:
            yield from self._gone_already(going)
            raise
        self._run.trail.write(self._step(until=self._stamp(CLOSE), stayed=list(stayed)))
        for name, action in going.items():
            error = stayed.get(name)
            if error is None:
                yield Outcome(action, Result.DONE)
            else:
                lost = isinstance(error, OutcomeUnknown)
                yield Outcome(action, Result.UNCERTAIN if lost else Result.FAILED, str(error), error.kind, error.who)

    def _write_down(self, names: Sequence[str | int]) -> None:
        """For undo, before the first of them goes."""
        self._steps += 1
        head = {"of": self.tally.part, "doctype": self.doctype, "why": self._rule.why}
        archive = {"archive": str(self._archive.path), "at": self._archive.last} if self._archive else {}
        step = self._step(since=self._stamp(-CLOSE), names=list(names), **archive)
        self._run.trail.write(*([head] if self._steps == 1 else []), step)

    def _step(self, **facts: Any) -> dict[str, Any]:
        return {"of": self.tally.part, "step": self._steps, **facts}

    def _stamp(self, more: timedelta) -> str:
        """The site's own moment of now, and `more`."""
        return self._site.text(self._run.now() + self._site.ahead + more)

    def _gone_already(self, going: Mapping[str | int, Action]) -> Iterator[Outcome]:
        """A page that ended in an error: which of its rows went before it. The others wait for the next run."""
        try:
            there = set(self._site.present(self.doctype, list(going), self._rule.candidates))
        except DaemonError as error:
            for action in going.values():
                why = "asked for, and then the site could not be asked what became of it; the next run looks"
                yield Outcome(action, Result.UNCERTAIN, why, error.kind, error.who)
            return
        yield from (Outcome(action, Result.DONE) for name, action in going.items() if name not in there)

    def _removed(self, names: Sequence[str | int]) -> Mapping[str | int, SiteError]:
        """Why each of `names` that is still there stayed. Raises NothingRemovable, saying who may."""
        try:
            return self._site.remove(self.doctype, names, self._rule.candidates, self._run.each)
        except NothingRemovable as error:
            self.tally.counts[Result.FAILED] += len(names)
            if self.doctype in ONLY_ADMINISTRATOR:
                error.who, error.action = "operator", "Use Administrator's API key for this job, or take the rule out."
            raise

    # After the last batch

    def close(self) -> None:
        if self._run.dry_run:
            return
        self._run.remember(self._memory, self._after and {"rule": self._fingerprint, "after": self._after})
        if self._archive and self._archive.rows:
            self.tally.facts["archive"] = f"{self._archive.rows} rows in {self._archive.path}"
        if self.tally.counts[Result.DONE] and "rows" in str(self.tally.facts.get("strategy")):
            self._count_residue()

    def _recalled(self) -> dict[str, Any] | None:
        """Where an earlier run of this very rule ended early."""
        found = self._run.recall(self._memory) or {}
        return found.get("after") if found.get("rule") == self._fingerprint else None

    @property
    def _fingerprint(self) -> str:
        fields = {"doctype", "date_field", "filters", "keep_latest", "group_by"}
        return self.settings.model_dump_json(include=fields)

    def _count_residue(self) -> None:
        """What each delete left: a Deleted Document, and mostly a Comment (frappe/model/delete_doc.py)."""
        doctype, facts = self._rule.doctype, self.tally.facts
        residue: dict[str, list[list[Any]]] = {
            "Deleted Document": [["deleted_doctype", "in", [doctype, "Comment"]]],
            "Comment": [["comment_type", "=", "Deleted"], ["reference_doctype", "=", doctype]],
        }
        ours: list[list[Any]] = [
            ["owner", "=", self._site.user()],
            ["creation", ">=", self._site.text(self._run.started)],
        ]
        # Comments first: deleting one leaves a Deleted Document, which the other round then takes.
        for kind in ("Comment", "Deleted Document"):
            where = [*residue[kind], *ours]
            if self.settings.purge_residue:
                purged = self._purge(kind, where)
                facts[f"purged {kind}"] = purged
            try:
                facts[f"left {kind}"] = self._site.count(kind, where)
            except NotPermitted:  # the rows themselves are gone; this is beside the point
                self.tally.note(f"this user may not list {kind}, so what removing rows left there was not counted")
        if left := [f"{facts[f'left {kind}']:,} {kind}" for kind in residue if facts.get(f"left {kind}")]:
            gone = self.tally.counts[Result.DONE]
            self.tally.note(f"removing {gone:,} rows left {' and '.join(left)} rows; purge_residue = true removes them")

    def _purge(self, doctype: str, where: list[list[Any]]) -> int:
        purged = 0
        self._run.trail.write({"of": self.tally.part, "doctype": self.doctype, "purged": True})
        for page in self._site.paginate(doctype, (), where, key=("name",), page_length=PAGE):
            self._run.check()
            if self._late:
                break
            names = [row["name"] for row in page]
            purged += len(names) - len(self._site.remove(doctype, names, where, self._run.each))
        return purged


def _first_deletes(actions: list[Action], limit: int) -> list[Action]:
    """`actions` up to the `limit`th delete."""
    for number, action in enumerate(actions, 1):
        limit -= action.verb == "delete"
        if limit == 0:
            return actions[:number]
    return actions
