"""`setup`: what is made on the site, that it is made once, and that nothing else is touched."""

from __future__ import annotations

import json

import pytest

from daemon import cli
from daemon.core.kind import Provision
from daemon.sandbox import Fault
from daemon.site import provision
from daemon.site.provision import MARK

REQUESTS = '[jobs.asked]\nkind = "import"\nschedule = "every 1m"\nrequests = true\ndirectory = "work"\n'
TODOS = '[jobs.todos]\nkind = "import"\nschedule = "every 5m"\ninbox = "in"\ndoctype = "ToDo"\n'
ITEMS = '[jobs.items]\nkind = "import"\nschedule = "every 5m"\ninbox = "in2"\ndoctype = "Item"\n'
CLEANUP = (
    '[jobs.tidy]\nkind = "cleanup"\nschedule = "daily"\n[[jobs.tidy.rules]]\ndoctype = "ToDo"\nolder_than = "9d"\n'
)
KEY = "ToDo-custom_daemon_import_key"


@pytest.fixture
def setup(sandbox, daemon_for, monkeypatch, capsys):
    """Runs the command against the sandbox; returns (exit code, steps as state → what, all that was printed)."""

    def command(*arguments: str, jobs: str = REQUESTS + TODOS + ITEMS + CLEANUP, user: str = "manager@example.com"):
        site = daemon_for(sandbox, jobs, user=user)
        for name, value in site.environ.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit) as ended:
            cli.main(["setup", *arguments, "--config", str(site.file)])
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        steps = json.loads(out) if "--json" in arguments else []
        return int(ended.value.code or 0), [(step["what"].partition(",")[0], step["state"]) for step in steps], out

    return command


def test_the_plan_changes_nothing(setup, sandbox):
    """What the jobs need and the site lacks; a DocType with a key of its own needs nothing."""
    code, steps, _ = setup("--json")
    assert code == 0 and steps == [
        ("DocType Daemon Import", "would be made"),
        (f"Custom Field {KEY}", "would be made"),
    ]
    assert sandbox.count("Custom Field") == 0 and not any(method == "POST" for method, _, _ in sandbox.requests)
    assert "This is the plan" in setup()[2]


def test_it_is_made_once_and_works(setup, sandbox):
    """The second time all of it is there, and the first import uses the key."""
    code, steps, _ = setup("--apply", "--json")
    assert code == 0 and [state for _, state in steps] == ["made", "made"]
    (field,) = sandbox.rows("Custom Field")
    flags = ("unique", "hidden", "no_copy", "read_only", "print_hide")
    assert all(field[flag] == 1 for flag in flags) and field["description"].endswith(MARK)
    sandbox.requests.clear()
    assert [state for _, state in setup("--apply", "--json")[1]] == ["exists", "exists"]
    assert not any(method in ("POST", "PUT") for method, _, _ in sandbox.requests)


def test_what_was_made_is_taken_away_and_nothing_else(setup, sandbox):
    """Also what jobs need that are gone from the configuration; only with --apply."""
    setup("--apply")
    sandbox.add_doctype({"name": "Mine", "fields": [{"fieldname": "a", "fieldtype": "Data"}]})
    sandbox.seed("Daemon Import", [{"reference_doctype": "ToDo", "status": "Success"}])
    steps = setup("--remove", "--json", jobs=CLEANUP)[1]
    assert steps == [(f"Custom Field {KEY}", "would be removed"), ("DocType Daemon Import", "would be removed")]
    said = setup("--remove")[2]
    assert "by which an import finds its rows again" in said.lower() and "with what it has: 1 document)" in said
    assert sandbox.count("Custom Field") == 1
    assert [state for _, state in setup("--remove", "--apply", "--json", jobs=CLEANUP)[1]] == ["removed", "removed"]
    assert sandbox.count("Custom Field") == 0
    assert [row["name"] for row in sandbox.rows("DocType", {"custom": 1}, ["name"])] == ["Mine"]
    assert setup("--remove", "--apply", "--json")[1] == [] and "nothing to do" in setup("--remove")[2]


def test_what_somebody_else_made_is_left_as_it_is(setup, sandbox):
    """It has the name, but not the mark."""
    fields = [{"fieldname": "status", "fieldtype": "Data"}, {"fieldname": "run", "fieldtype": "Data"}]
    sandbox.add_doctype({"name": "Daemon Import", "fields": fields})
    before = sandbox.rows("DocType", {"name": "Daemon Import"})
    _, steps, out = setup("--apply", "--json", jobs=REQUESTS)
    assert steps == [("DocType Daemon Import", "exists")] and "made by somebody else" in out
    assert setup("--remove", "--apply", "--json")[1] == []
    assert sandbox.rows("DocType", {"name": "Daemon Import"}) == before


def test_who_may_not_is_told_who_must_act(setup, sandbox):
    """A System Manager may; anybody else is refused, and the exit code says so."""
    code, _, out = setup("--apply", jobs=REQUESTS, user="clerk@example.com")
    assert code != 0 and "System Manager" in out


def test_a_doctype_that_is_not_there_is_told(setup):
    """The rest of the plan is shown all the same."""
    code, steps, _ = setup("--json", jobs=REQUESTS + TODOS.replace('"ToDo"', '"Nonsense"'))
    assert code == 1 and steps == [("what todos needs", "refused"), ("DocType Daemon Import", "would be made")]


@pytest.mark.parametrize("kind", ["lose_reply", "cut"])
def test_a_lost_reply_is_looked_up(kind, setup, sandbox):
    """And sent again where it was not heard; never made twice."""
    sandbox.faults.add(Fault(kind, method="POST", path="*DocType", times=1))
    code, steps, _ = setup("--apply", "--json", jobs=REQUESTS)
    assert (code, steps) == (0, [("DocType Daemon Import", "made")])
    assert sandbox.count("DocType", {"name": "Daemon Import"}) == 1


def test_disabled_jobs_need_nothing(setup):
    """Until they are enabled."""
    assert setup("--json", jobs=REQUESTS + "enabled = false\n")[1] == []


RIGHTS = Provision("Role", f"Tester, {MARK}", {"role_name": f"Tester, {MARK}", "desk_access": 1}, "for a test",
                   rights={"Notification Log": ("create",)})  # fmt: skip


def granted(daemon, *, remove: bool = False) -> list[str]:
    """States of the steps that give the right, or take it away."""
    with daemon.app.site() as site:
        steps = provision.to_remove(site) if remove else provision.to_make(site, [RIGHTS])
        return [step.state for step in provision.apply(site, steps)]


def holding(sandbox) -> tuple[int, int, int]:
    """(roles, permissions, users) with the mark."""
    marked = {"role": ["like", f"%{MARK}"]}
    return (sandbox.count("Role", {"name": ["like", f"%{MARK}"]}), len(sandbox.rows("Custom DocPerm", marked)),
            len(sandbox.rows("Has Role", marked)))  # fmt: skip


@pytest.mark.parametrize("kind", ["lose_reply", "cut"])
@pytest.mark.parametrize("path", ["*/Role", "*permission_manager.add", "*permission_manager.update", "*/User/*"])
def test_a_right_is_given_once_whatever_reply_is_lost(path, kind, sandbox, daemon_for):
    """One role, one row of permissions, one user who has it; and all of it goes again."""
    daemon = daemon_for(sandbox, TODOS, user="manager@example.com")
    sandbox.faults.add(Fault(kind, path=path, times=1))
    assert granted(daemon) == ["made"] and holding(sandbox) == (1, 1, 1)
    assert granted(daemon) == ["exists"] and holding(sandbox) == (1, 1, 1)
    sandbox.faults.add(Fault(kind, path="*permission_manager.remove", times=1))
    sandbox.faults.add(Fault(kind, method="DELETE", times=1))
    states = granted(daemon, remove=True) + granted(daemon, remove=True)
    assert "removed" in states and holding(sandbox) == (0, 0, 0) and sandbox.count("Custom DocPerm") == 0


def test_who_is_no_system_manager_can_give_no_right(sandbox, daemon_for):
    """And is told who can."""
    assert granted(daemon_for(sandbox, TODOS, user="clerk@example.com")) == ["refused"]
    assert holding(sandbox) == (0, 0, 0)
