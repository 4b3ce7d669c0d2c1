"""The inbox of an import: which files it takes, what a kill leaves there, and that no name and no daemon blocks it."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from daemon.files.inbox import Inbox
from daemon.jobs._import.results import Results
from daemon.sandbox import Fault
from daemon.site import provision
from tests.conftest import Daemon
from tests.jobs.test_import import INBOX, ITEM, items, read, write

TODO = INBOX.replace('"Item"', '"ToDo"')
CALLS = [(f"Call {n}",) for n in range(50)]


class Killed(BaseException):
    """Nothing of ours catches it, as nothing catches SIGKILL."""


def tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder / "inbox")) for path in (folder / "inbox").rglob("*") if path.is_file()}


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    (tmp_path / "inbox").mkdir()
    return tmp_path / "inbox"


@pytest.fixture
def site(sandbox, daemon_for, inbox) -> Daemon:
    sandbox.seed("Item Group", [{"name": "Products", "item_group_name": "Products"}])
    made: Daemon = daemon_for(sandbox, INBOX)
    made.clock.passed = 60
    return made


@pytest.fixture
def todos(sandbox, daemon_for, inbox) -> Daemon:
    made: Daemon = daemon_for(sandbox, TODO + "ignore_unknown = true\n")
    made.clock.passed = 60
    return made


def killed(site: Daemon, monkeypatch: pytest.MonkeyPatch, where: type, name: str, after: int = 1) -> None:
    """A run that ends, for good, when the `after`th call of `where.name` has done its work."""
    real, left = getattr(where, name), [after]

    def die(self: Any, *args: Any, **more: Any) -> Any:
        found = real(self, *args, **more)
        left[0] -= 1
        if not left[0]:
            raise Killed
        return found

    with monkeypatch.context() as patch:
        patch.setattr(where, name, die)
        with pytest.raises(Killed):
            site.once("items")


@pytest.mark.parametrize("fault", [Fault("lose_reply", path="*insert_many", times=1), None])
def test_result_rows_that_a_kill_left_are_not_imported(fault, todos, sandbox, inbox, tmp_path, monkeypatch):
    """Between the result rows and the journal: the files are the import's own, and go on where the journal says."""
    write(inbox / "t.csv", ("description",), CALLS)
    if fault:
        sandbox.faults.add(fault)
    killed(todos, monkeypatch, Results, "flush")
    for _ in range(3):
        todos.once("items")
    assert sandbox.count("ToDo") == 50
    folder = "failed"
    assert tree(tmp_path) == {f"{folder}/t.csv", f"{folder}/t.csv.success.csv", f"{folder}/t.csv.uncertain.csv"}
    assert len(read(inbox / folder / "t.csv.uncertain.csv")) == 50


def test_what_was_set_aside_is_no_file_to_import(site, inbox, tmp_path):
    """Somebody else's result file in the way ends beside the file, under a name of its own."""
    write(inbox / "t.csv", ITEM, items(3))
    (inbox / "working").mkdir()
    write(inbox / "working" / "t.csv.success.csv", (*ITEM, "import_document"), [("A", "a", "Products", "A")])
    (inbox / "t.csv").rename(inbox / "working" / "t.csv")
    assert site.once("items")["counts"] == {"done": 3} and site.once("items")["parts"] == []
    assert tree(tmp_path) == {"done/t.csv", "done/t.csv.success.csv", "done/t.csv.success.csv~"}


def test_a_site_that_is_away_at_the_first_batch_leaves_nothing_behind(site, sandbox, inbox, tmp_path):
    """Not a kill, not a row: the next run writes to the same result file."""
    write(inbox / "t.csv", ITEM, items(3))
    sandbox.faults.add(Fault("status", path="*insert_many", code=503, html=False))
    assert site.once("items")["exit_code"] == 75
    sandbox.faults.clear()
    assert site.once("items")["counts"] == {"done": 3} and site.once("items")["parts"] == []
    assert tree(tmp_path) == {"done/t.csv", "done/t.csv.success.csv"}


@pytest.mark.parametrize(
    "name",
    [b"Bestellung_M\xe4rz.csv", b"a\nb.csv", b"x" * 255, b"x" * 251 + b".csv", b"a." + b"y" * 253, "ä".encode() * 120],
)
def test_no_name_of_a_file_blocks_the_others(name, site, sandbox, inbox, tmp_path):
    """Bytes that are no text, line breaks, no room for endings: it is imported, under a name that can be shown."""
    write(tmp_path / "odd", ITEM, items(1, 10))
    (tmp_path / "odd").rename(inbox / os.fsdecode(name))
    write(inbox / "zz.csv", ITEM, items(1))
    assert site.once("items")["counts"] == {"done": 2} and sandbox.count("Item") == 2
    assert len(tree(tmp_path)) == 4 and all(path.isprintable() for path in tree(tmp_path))


def test_a_pipe_is_refused_at_once(site, tmp_path):
    """Opening one waits for its other end, for ever, deaf to signals."""
    os.mkfifo(tmp_path / "pipe")
    command = [sys.executable, "-m", "daemon", "import", str(tmp_path / "pipe"), "-d", "Item"]
    command += ["--config", str(site.file)]
    done = subprocess.run(command, env=os.environ | site.environ, capture_output=True, timeout=20, check=False)
    assert b"this is a pipe" in done.stdout + done.stderr


def test_the_lock_holds_until_the_file_is_put_away(todos, sandbox, inbox, tmp_path, monkeypatch):
    """Another daemon with a state of its own, that looks just before: the rows are imported once."""
    (tmp_path / "two").mkdir()
    other = Daemon(sandbox, tmp_path / "two", TODO.replace('"inbox"', f'"{inbox}"'))
    other.clock.passed = 60
    write(inbox / "t.csv", ("description",), CALLS)
    real = Inbox.put_away

    def late(self: Inbox, path: Path, place: Path) -> None:
        monkeypatch.undo()
        other.once("items")
        real(self, path, place)

    monkeypatch.setattr(Inbox, "put_away", late)
    assert todos.once("items")["counts"] == {"done": 50}
    other.app.close()
    assert sandbox.count("ToDo") == 50 and tree(tmp_path) == {"done/t.csv", "done/t.csv.success.csv"}


def test_a_file_that_another_daemon_put_away_meanwhile_is_passed_over(todos, sandbox, inbox, monkeypatch):
    """It was listed, and is gone."""
    (inbox / "working").mkdir()
    write(inbox / "working" / "t.csv", ("description",), CALLS)
    real = Inbox.claim

    def late(self: Inbox, path: Path) -> Path | None:
        path.rename(inbox / "done" / path.name)
        return real(self, path)

    monkeypatch.setattr(Inbox, "claim", late)
    assert todos.once("items")["status"] == "done" and sandbox.count("ToDo") == 0


@pytest.mark.parametrize("after", [1, 2, 3])
def test_a_kill_while_a_file_is_put_away_parts_nothing(after, site, inbox, tmp_path, monkeypatch):
    """File and result files end under one name."""
    write(inbox / "t.csv", ITEM, [*items(3), ("X", "x", "Nonsense")])
    killed(site, monkeypatch, Path, "replace", after)
    site.once("items")
    assert tree(tmp_path) == {"failed/t.csv", "failed/t.csv.success.csv", "failed/t.csv.errors.csv"}


def test_a_file_that_is_moved_back_is_told_that_it_was_imported(site, sandbox, inbox, tmp_path):
    """It is no crash that left it there: not a success without doing anything."""
    write(inbox / "t.csv", ITEM, [*items(3), ("X", "x", "Nonsense")])
    site.once("items")
    (inbox / "failed/t.csv").rename(inbox / "t.csv")
    report = site.once("items")
    assert report["exit_code"] == 1 and "imported before" in report["parts"][0]["error"]["message"]
    assert "errors file" in report["parts"][0]["error"]["action"]


def test_a_file_that_vanishes_while_the_inbox_is_listed_is_passed_over(site, sandbox, inbox, monkeypatch):
    """As an upload's temporary name does."""
    write(inbox / "t.csv", ITEM, items(1))
    write(inbox / "a.part", ITEM, items(1, 5))
    real = os.scandir

    class Late:
        def __init__(self, folder: Any) -> None:
            self._entries = list(real(folder))
            (inbox / "a.part").unlink(missing_ok=True) if Path(folder) == inbox else None

        def __enter__(self) -> Any:
            return iter(self._entries)

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr("daemon.files.inbox.os.scandir", Late)
    assert site.once("items")["counts"] == {"done": 1}


def test_what_programs_leave_behind_is_no_data(site, inbox):
    """Locks of office programs and leftovers of file managers stay where they are; nothing is told of them."""
    for name in ("~$items.xlsx", ".~lock.items.ods#", "Thumbs.db", "desktop.ini", ".hidden.csv"):
        (inbox / name).write_bytes(b"x")
    assert site.once("items")["parts"] == [] and len(tree(inbox.parent)) == 5


def test_whoever_may_look_into_the_inbox_may_read_what_became_of_a_file(site, inbox):
    """done/ and failed/ are as open as the inbox, result files as the file itself; working/ is the daemon's."""
    inbox.chmod(0o2775)
    write(inbox / "open.csv", ITEM, items(2)).chmod(0o644)
    write(inbox / "shut.csv", ITEM, [("X", "", "Nonsense")]).chmod(0o600)
    site.once("items")
    modes = {path.relative_to(inbox).as_posix(): stat.S_IMODE(path.stat().st_mode) for path in inbox.rglob("*")}
    assert (modes["done"], modes["failed"], modes["working"] & 0o777) == (0o2775, 0o2775, 0o700)
    assert modes["done/open.csv.success.csv"] == 0o644 and modes["failed/shut.csv.errors.csv"] == 0o600


def test_what_is_no_file_is_named(inbox):
    """Directories, links and pipes are never imported; `check` asks for this."""
    (inbox / "sub").mkdir()
    (inbox / "done").mkdir()
    (inbox / "link.csv").symlink_to("/etc/hostname")
    os.mkfifo(inbox / "pipe.csv")
    (inbox / "a.csv").write_text("a\n")
    assert Inbox(inbox).strays() == ["a directory sub", "a pipe pipe.csv", "a symbolic link link.csv"]


def test_rows_of_two_files_of_one_run_are_not_taken_for_each_other(todos, inbox, sandbox) -> None:
    """Where a field was made by which rows are found again, its values tell files apart, and not runs alone."""
    job = todos.app.job("items")
    with todos.app.site() as site:
        list(provision.apply(site, provision.to_make(site, job.kind.provisions(job.settings, site))))
    for name in ("first", "second"):
        write(inbox / f"{name}.csv", ["Description"], [(f"{name} {number}",) for number in range(3)])
    assert todos.once("items")["counts"] == {"done": 6}
    found = {row["description"] for row in sandbox.rows("ToDo", None, ["description"])}
    assert found == {f"{name} {number}" for name in ("first", "second") for number in range(3)}
