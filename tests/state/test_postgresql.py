"""The state on PostgreSQL: leases and their fence, and every way in which a server can be unusable."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from daemon.core.links import Link
from daemon.errors import AlreadyRunning, ConfigError, Exit, StateError, StateUnavailable
from daemon.state import Run, Server, SlotMark, State, Terms
from daemon.state.journal import Journal
from daemon.state.links import Links
from tests.postgresql import QUICK, Cluster, Proxy, free_port
from tests.state.conftest import expire

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
RUN = Run("r", "a", "cleanup", "slot", NOON, NOON)


@pytest.fixture
def pair(server: Server) -> Iterator[tuple[State, State]]:
    """Two daemons' states in one database."""
    with State.open(server) as first, State.open(server) as second:
        yield first, second


@pytest.fixture
def first(pair: tuple[State, State]) -> State:
    return pair[0]


@pytest.fixture
def second(pair: tuple[State, State]) -> State:
    return pair[1]


def until(true: Callable[[], bool]) -> None:
    """Wait for what another thread, or the server, does by itself."""
    for _ in range(2000):
        if true():
            return
        threading.Event().wait(0.01)
    pytest.fail("it does not come true")


def expiry(state: State) -> datetime:
    with state.reading() as connection:
        return connection.exec_driver_sql("SELECT expires FROM leases").scalar_one()


# --- the fence -------------------------------------------------------------------------------------------------------

WRITES: dict[str, Callable[[State], object]] = {
    "a run's beginning": lambda state: state.begin_run(replace(RUN, id="late")),
    "a run's end": lambda state: state.end_run("r", "done", NOON, {}, SlotMark("a", NOON, "daily")),
    "a run to forget": lambda state: state.forget_run("r"),
    "memory": lambda state: state.remember("a", "key", "late"),
    "memory to forget": lambda state: state.forget("a", "key"),
    "a journal": lambda state: Journal(state, "owner").write({"key": "late"}),
    "a journal to forget": lambda state: Journal(state, "a").forget("", "z"),
    "a link": lambda state: Links(state, "sync").save([Link(name="late")]),
    "a link to drop": lambda state: Links(state, "sync").drop(Link(id=1)),
    "links to mark": lambda state: Links(state, "sync").mark([Link(id=1)], "site", "late"),
    "links to want": lambda state: Links(state, "sync").want(1, ["new"], lambda base: base),
    "a slot": lambda state: state.settle_slot("a", NOON, "daily"),
    "facts of a site": lambda state: state.remember_site("https://a", {"late": True}),
}


def content(state: State) -> list[object]:
    tables = ("runs", "slots", "memory", "sites", "links")
    with state.reading() as connection:
        return [connection.exec_driver_sql(f"SELECT * FROM {table} ORDER BY 1").fetchall() for table in tables]


def test_what_a_holder_writes_whose_lease_went_to_another_is_refused(first: State, second: State) -> None:
    """Every kind of write, and nothing of it is there; also when the other has given the lease back, and a third holds
    it."""
    with first.claim("a") as late:
        late.begin_run(RUN)
        late.remember("a", "key", 1)
        Links(late, "sync").save([Link(name="n")])
        expire(first)
        before = content(first)

        def all_refused() -> None:
            for what, write in WRITES.items():
                with pytest.raises(StateUnavailable, match="the lease on a was lost: another daemon has it"):
                    write(late)
                    pytest.fail(what)

        with second.claim("a"):
            all_refused()
        all_refused()
        with second.claim("a"):
            all_refused()
            with pytest.raises(StateUnavailable, match="was lost"):
                late.verify()
        assert content(first) == before


def test_a_lease_that_ended_and_that_nobody_took_is_good_for_writing(first: State, second: State) -> None:
    """Nobody else did anything meanwhile; and whoever comes next sees all of it."""
    with first.claim("a") as holder:
        expire(first)
        holder.remember("a", "key", 1)
    with second.claim("a"):
        assert second.recall("a", "key") == 1


def test_a_claim_within_a_claim_counts_with_it(first: State, second: State) -> None:
    """A run that lost the sync, or the file, that it works on writes no more, though the job is still its own; once the
    inner claim has ended it does not count any more."""
    with first.claim("a") as outer:
        with outer.claim("sync x") as inner:
            assert inner is outer and sorted(second.holders()) == ["a", "sync x"]
            expire(first)
            with second.claim("sync x"), pytest.raises(StateUnavailable, match="the lease on sync x was lost"):
                outer.remember("a", "key", 1)
        outer.remember("a", "key", 2)
    assert second.recall("a", "key") == 2


def test_a_lease_is_not_taken_in_the_midst_of_a_write(first: State, second: State, server: Server) -> None:
    """Whoever takes over waits for the end of the transaction, and so reads what it wrote."""
    seen: list[object] = []

    def take_over() -> None:
        with second.claim("a"):
            seen.append(second.recall("a", "key"))

    with first.claim("a") as holder:
        expire(first)
        thread = threading.Thread(target=take_over)
        with holder.writing() as connection:
            connection.exec_driver_sql("INSERT INTO memory VALUES ('a', 'key', '1')")
            thread.start()
            with State.open(server) as third, third.reading() as other:
                waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                until(lambda: other.exec_driver_sql(waiting).scalar_one() > 0)
            assert seen == []
        thread.join()
    assert seen == [1]


def test_a_holder_that_stands_still_in_the_midst_of_a_write_keeps_nobody_waiting(first: State, second: State) -> None:
    """The server ends its transaction; what it had written is undone, and it is told."""
    with first.claim("a") as holder:
        expire(first)
        with pytest.raises(StateUnavailable), holder.writing() as connection:
            connection.exec_driver_sql("INSERT INTO memory VALUES ('a', 'key', '1')")
            with second.claim("a"):
                assert second.recall("a", "key") is None
            connection.exec_driver_sql("SELECT 1")
    assert first.recall("a", "key") is None


# --- leases ----------------------------------------------------------------------------------------------------------


def test_a_lease_is_renewed_as_long_as_it_is_held(first: State) -> None:
    """By itself, several times; and is gone when it was given back."""
    with first.claim("a") as holder:
        for _ in range(3):
            before = expiry(first)
            until(lambda before=before: expiry(first) > before)
        holder.verify()
    assert first.holders() == {}


def test_a_holder_knows_by_its_own_clock_when_its_lease_may_have_ended(server: Server, postgresql: Cluster) -> None:
    """Without asking the database, as after a sleep of the machine: nothing new is begun."""
    now = [100.0]
    slow = replace(server, seconds=lambda: now[0], terms=Terms(lease=60, renew=50))
    with State.open(slow) as state, state.claim("a") as holder:
        now[0] += 59.9
        holder.verify()
        now[0] += 0.1
        with pytest.raises(StateUnavailable, match="the lease on a was lost: this process stood still") as refusal:
            holder.verify()
        assert refusal.value.exit_code == Exit.SITE_UNAVAILABLE


def test_what_could_not_be_given_back_is_ours_at_once(first: State, second: State) -> None:
    """The database was away as a run ended: the same daemon need not wait for the end of its own lease."""
    with first.claim("a") as holder:
        holder._holds[0].trouble = "the database is away"
    assert list(second.holders()) == ["a"]
    with pytest.raises(AlreadyRunning), second.claim("a"):
        pytest.fail("two hold the lease")
    with first.claim("a"):
        pass
    assert second.holders() == {}


def test_a_run_of_a_living_daemon_elsewhere_is_not_called_interrupted(first: State, second: State) -> None:
    """As long as its lease lasts; then it is."""
    with first.claim("a") as holder:
        holder.begin_run(RUN)
        assert second.interrupt_unfinished(NOON) == []
        expire(first)
        assert [run.id for run in second.interrupt_unfinished(NOON)] == ["r"]
        with pytest.raises(StateUnavailable):
            holder.end_run("r", "done", NOON, {})
    assert second.runs()[0].status == "interrupted"


def test_services_on_one_database_are_welcome(first: State, second: State) -> None:
    """Unlike on a file."""
    with first.serving(), second.serving():
        pass


# --- texts -----------------------------------------------------------------------------------------------------------


def test_texts_of_any_length_and_with_any_character_come_back(state: State) -> None:
    """Also what PostgreSQL has no form for, the character 0, and what we write in its place."""
    odd = "\0".join(["a", "\ufdd0", "\ufdd00", "\ufdd01", "é", "\U0010ffff", "'\"%s:x\\"]) * 20
    state.remember_all(odd, {odd + "1": odd, odd + "2": [odd]})
    assert state.recall_all(odd, odd) == {odd + "1": odd, odd + "2": [odd]}
    assert state.recall_all(odd, odd[:1]) == state.recall_some(odd, [odd + "1", odd + "2"])
    links = Links(state, odd)
    links.save([Link(name=odd, remote=odd, why=odd, record=odd, etag=odd)])
    (pair,) = links.find(odd)
    assert (pair.name, pair.remote, pair.why, pair.record, pair.etag) == (odd,) * 5
    state.settle_slot(odd, NOON, odd)
    assert state.slot(odd) == SlotMark(odd, NOON, odd)
    with state.claim(odd[:50]):
        assert list(state.holders()) == [odd[:50]]


def test_keys_are_in_the_order_of_their_characters_whatever_the_database_was_made_for(state: State) -> None:
    """Not in that of a language: pages would lose keys between them."""
    keys = ["B", "_", "a", "a b", "ab", "a|", "ä", "Z", "z", "É", "\U0001f600", "\uffff", "10", "9"]
    state.remember_all("a", dict.fromkeys(keys, 1))
    assert list(state.recall_all("a")) == sorted(keys)
    paged, after = [], ""
    while page := list(state.recall_page("a", "", after, 3)):
        paged += page
        after = page[-1]
    assert paged == sorted(keys)


# --- unusable --------------------------------------------------------------------------------------------------------


def refusal_of(server: Server) -> StateError:
    with pytest.raises(StateError) as refusal:
        State.open(server)
    assert server.password not in f"{refusal.value} {refusal.value.action}"
    return refusal.value


def test_a_wrong_password_is_a_state_error(server: Server) -> None:
    """With the keys of the configuration that are to be looked at; the command does not start again by itself."""
    refused = refusal_of(replace(server, password="not-that-one"))
    assert "refuses our user or password" in str(refused) and "state.password" in refused.action
    assert refused.exit_code == Exit.CONFIGURATION
    assert "refuses our user" in str(refusal_of(replace(server, url=server.url.replace("tester", "nobody"))))


def test_a_database_that_is_not_there_is_a_state_error(server: Server) -> None:
    """And how to make it."""
    refused = refusal_of(replace(server, url=server.url + "x"))
    assert "is not there" in str(refused) and "createdb" in refused.action


def test_a_server_that_is_not_there_passes_perhaps(server: Server, postgresql: Cluster) -> None:
    """Exit code 75: systemd tries again."""
    away = replace(server, url=server.url.replace(str(postgresql.port), str(free_port())))
    assert isinstance(refused := refusal_of(away), StateUnavailable) and refused.exit_code == 75
    assert "cannot be reached" in str(refused) and "state.url" in refused.action
    assert isinstance(refusal_of(replace(server, url=server.url.replace("127.0.0.1", "no.invalid"))), StateUnavailable)


def test_a_user_who_may_make_no_tables_is_told_what_to_ask_for(server: Server, postgresql: Cluster) -> None:
    """Since PostgreSQL 15 that is anybody but the owner."""
    name = server.url.rpartition("/")[2]
    role = f"guest_{name}"
    postgresql.run(f"CREATE ROLE {role} LOGIN PASSWORD '{server.password}'")
    try:
        refused = refusal_of(replace(server, url=server.url.replace("tester", role)))
        assert "does not permit it" in str(refused) and "OWNER TO" in refused.action
    finally:
        postgresql.run(f"DROP ROLE {role}")


def test_a_database_of_another_program_or_of_a_later_version_is_left_as_it_is(
    server: Server, postgresql: Cluster
) -> None:
    """A slip in state.url puts no tables into somebody's data."""
    name = server.url.rpartition("/")[2]
    postgresql.run("CREATE TABLE invoices (id integer)", name)
    assert "another program (it has the tables invoices)" in str(refusal_of(server))
    postgresql.run("DROP TABLE invoices", name)
    State.open(server).close()
    postgresql.run("UPDATE frappe_daemon SET schema_version = 99, daemon_version = '7.5.0'", name)
    assert "was written by frappe-daemon 7.5.0 (schema 99)" in str(refusal_of(server))


def test_a_database_that_cannot_hold_every_text_is_refused(postgresql: Cluster) -> None:
    """LATIN1 has no place for most names."""
    name = postgresql.database("ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'")
    assert "holds texts as LATIN1" in str(refusal_of(postgresql.server(name)))
    postgresql.drop(name)


def test_a_connection_that_is_cut_in_a_write_is_told_and_the_next_one_works(first: State) -> None:
    """As by a restart of the server: nothing of the write is there."""
    kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = %s"
    with pytest.raises(StateUnavailable), first.writing() as connection:
        connection.exec_driver_sql("INSERT INTO memory VALUES ('a', 'key', '1')")
        with first.reading() as other:
            name = other.exec_driver_sql("SELECT current_database()").scalar_one()
            other.exec_driver_sql(kill, (name,))
        connection.exec_driver_sql("SELECT 1")
    assert first.recall("a", "key") is None
    first.remember("a", "key", 2)
    assert first.recall("a", "key") == 2


def test_a_way_that_swallows_everything_holds_nobody_for_ever(server: Server, postgresql: Cluster) -> None:
    """TCP itself would wait: whoever stands between still answers for it."""
    proxy = Proxy(postgresql.port)
    terms = replace(QUICK, answer=0.3)
    name = server.url.rpartition("/")[2]
    with ExitStack() as end, State.open(postgresql.server(name, terms, proxy.port)) as state:
        end.callback(proxy.close)
        with pytest.raises(StateUnavailable, match="no word came from the server"), state.writing() as connection:
            proxy.stop()
            connection.exec_driver_sql("SELECT 1")
        proxy.go()
        state.remember("a", "key", 1)


def test_what_takes_the_server_too_long_is_ended(server: Server) -> None:
    """By the server, so that nothing is left of it there."""
    hasty = replace(server, terms=replace(QUICK, answer=0.5))
    refused = pytest.raises(StateUnavailable, match="took too long")
    with State.open(hasty) as state, refused, state.reading() as connection:
        connection.exec_driver_sql("SELECT pg_sleep(60)")


def test_writes_that_wait_for_each_other_are_done_one_after_the_other(pair: tuple[State, State]) -> None:
    """A deadlock: the server undoes one of them, and we do it again."""
    pair[0].remember_all("a", {"x": 1, "y": 1})
    both, tries = threading.Barrier(2, timeout=20), []

    def change(state: State, one: str, other: str) -> None:
        meet = [both.wait]

        def work(connection: object) -> None:
            tries.append(one)
            for key in (one, other):
                connection.exec_driver_sql("UPDATE memory SET value = value || '1' WHERE key = %s", (key,))
                if meet:
                    meet.pop()()

        state.write(work)

    threads = [
        threading.Thread(target=change, args=(state, *keys)) for state, keys in zip(pair, ("xy", "yx"), strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(tries) == 3 and pair[0].recall_all("a") == {"x": 111, "y": 111}


def test_daemons_that_make_one_state_at_once_all_open_it(server: Server) -> None:
    """One makes the tables, the others wait for it."""
    opened, both = [], threading.Barrier(4)

    def make() -> None:
        both.wait()
        State.open(server).close()
        opened.append(1)

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(opened) == 4


def test_marks_of_daemons_that_start_at_once_do_not_collide(pair: tuple[State, State]) -> None:
    """Each notes a new job's beginning, whoever is first."""
    both = threading.Barrier(2)

    def note(state: State) -> None:
        for number in range(30):
            both.wait()
            state.settle_slot(f"job{number}", NOON + timedelta(hours=number), "daily")
            state.remember_site("https://a", {"n": number})
            state.remember("a", f"key{number}", number)

    threads = [threading.Thread(target=note, args=(state,)) for state in pair]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(pair[0].recall_all("a")) == 30 and pair[1].site_facts("https://a") == {"n": 29}


@contextmanager
def without_psycopg() -> Iterator[None]:
    kept = {name: sys.modules.pop(name) for name in list(sys.modules) if name == "daemon.state.patience"}
    before = sys.modules.get("psycopg")
    sys.modules["psycopg"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules["psycopg"]
        if before:
            sys.modules["psycopg"] = before
        sys.modules.update(kept)


def test_where_psycopg_is_missing_the_configuration_is_told_how_to_get_it() -> None:
    """No traceback of an import."""
    server = Server("postgresql+psycopg://a@127.0.0.1/b", float)
    with without_psycopg(), pytest.raises(ConfigError, match=r"state\.url needs psycopg") as refusal:
        State.open(server)
    assert refusal.value.action == "pip install 'frappe-daemon[postgresql]'"


def test_a_state_on_a_file_imports_nothing_of_postgresql() -> None:
    """It would cost every start of a command."""
    program = (
        "import sys, tempfile, pathlib; from daemon.state import State;"
        "State.open(pathlib.Path(tempfile.mkdtemp(), 's.db')).close();"
        "print([m for m in sys.modules if 'psycopg' in m or m.startswith('sqlalchemy.dialects.postgresql')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
