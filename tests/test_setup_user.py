"""`setup --user`: the role has exactly the rights that enabled jobs need, the user works with them, all goes again."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from daemon import config
from daemon.app import App
from daemon.core.rights import SEES_MAILS
from daemon.sandbox import Fault, Sandbox
from daemon.site.account import ROLE
from tests.conftest import FakeClock, days_ago

USER = "daemon@example.com"
TIDY = """
[jobs.tidy]
kind = "cleanup"
schedule = "daily"
[[jobs.tidy.rules]]
doctype = "Error Log"
older_than = "30d"
guard = { max_percent = 100 }
[[jobs.tidy.rules]]
doctype = "Version"
older_than = "30d"
guard = { max_percent = 100 }
"""
ITEMS = '[jobs.items]\nkind = "import"\nschedule = "every 5m"\nfile = "items.csv"\ndoctype = "Item"\n'
WEEKLY = """
[jobs.weekly]
kind = "digest"
schedule = "0 8 * * 1"
to = ["clerk@example.com"]
currency = "USD"
[[jobs.weekly.metrics]]
label = "Orders"
doctype = "Sales Order"
"""
EXPIRY = """
[jobs.expiry]
kind = "expiry"
schedule = "daily"
[[jobs.expiry.rules]]
doctype = "Contract"
date_field = "end_date"
days_before = [30]
notify = "owner"
"""
ALL = TIDY + ITEMS + WEEKLY + EXPIRY


class World:
    """A sandbox, and the command against it."""

    def __init__(self, sandbox, daemon_for, run, folder: Path) -> None:
        self.sandbox, self._daemon_for, self._run, self.folder = sandbox, daemon_for, run, folder

    def setup(self, *arguments: object, jobs: str = ALL, user: str = "manager@example.com") -> dict[str, dict]:
        """Steps by what they are about."""
        daemon = self._daemon_for(self.sandbox, jobs, user=user)
        self.code, out, self.err = self._run(
            "setup", *arguments, "--json", "--config", daemon.file, environ=daemon.environ
        )
        return {step["what"]: step for step in json.loads(out)} if out else {}

    @property
    def rights(self) -> dict[str, list[str]]:
        """DocType → what the role may do with it."""
        kinds = ("select", "read", "write", "create", "delete", "submit", "cancel", "report", "export", "email")
        rows = self.sandbox.rows("Custom DocPerm", {"role": ROLE})
        return {row["parent"]: [kind for kind in kinds if row[kind]] for row in rows}

    def once(self, job: str, jobs: str = ALL) -> dict:
        """A run of `job` by the key in the files."""
        file = self.folder / "own.toml"
        key = 'api_key = { file = "keys/api_key" }\napi_secret = { file = "keys/api_secret" }'
        site = f'url = "{self.sandbox.url}"\n{key}'
        file.write_text(f'[site]\n{site}\n[state]\npath = "own.db"\n{jobs}')
        app = App(config.load(file), clock=FakeClock(self.sandbox.drain), log_format="json")
        try:
            from daemon.runner import Order

            return app.runner.run(Order(app.job(job), app.new_run_id(), "by hand"))
        finally:
            app.close()


@pytest.fixture(params=["14", "15", "16"])
def version(request):
    return request.param


@pytest.fixture
def world(version, daemon_for, run, tmp_path):
    with Sandbox(version) as sandbox:
        yield World(sandbox, daemon_for, run, tmp_path)


@pytest.fixture
def fifteen(sandbox, daemon_for, run, tmp_path):
    return World(sandbox, daemon_for, run, tmp_path)


def test_the_plan_tells_each_right_and_what_for_and_changes_nothing(fifteen):
    """Also what no role gives, with who must do what."""
    steps = fifteen.setup("--user", USER)
    assert fifteen.code == 0 and not any(method != "GET" for method, _, _ in fifteen.sandbox.requests)
    assert steps["Right to read and delete Version"]["note"] == "tidy (read, delete): to find old rows and delete them"
    assert steps["Right to read and create Item"]["state"] == "would be given"
    beyond = steps["Log Settings for tidy"]
    assert beyond["state"] == "beyond any role" and "System Managers alone" in beyond["note"]
    assert "Error Log goes row by row" in beyond["action"] and beyond["who"] == "operator"
    assert steps[f"User {USER}"]["state"] == steps[f"API key of {USER}"]["state"] == "would be made"


def test_every_kind_works_with_the_key(world):
    """On 14, 15 and 16: rows go, documents are made, a letter and notices are sent, and each count is confirmed."""
    sandbox = world.sandbox
    sandbox.seed("Item Group", [{"name": "Products", "item_group_name": "Products"}])
    sandbox.seed("Error Log", ({"creation": days_ago(50), "modified": days_ago(50), "method": "x"} for _ in range(3)))
    facts = {"ref_doctype": "ToDo", "docname": "1", "creation": days_ago(50)}
    sandbox.seed("Version", (facts for _ in range(3)))
    sandbox.seed("Contract", [{"name": "CON-1", "end_date": days_ago(-10)[:10], "owner": "clerk@example.com"}])
    (world.folder / "items.csv").write_text("Item Code,Item Group\nA,Products\nB,Products\n")
    world.setup("--user", USER, "--key-files", world.folder / "keys", "--apply")
    assert world.code == 0
    for job, done in {"tidy": 6, "items": 2, "weekly": 1, "expiry": 1}.items():
        report = world.once(job)
        assert (report["status"], report["counts"].get("done")) == ("done", done), (job, report)
    assert sandbox.count("Error Log") == sandbox.count("Version") == 0 and sandbox.count("Item") == 2
    assert sandbox.count("Notification Log", {"for_user": "clerk@example.com"}) == 1
    assert {row["owner"] for row in sandbox.rows("Item")} == {USER}


def test_the_rights_are_exactly_those(fifteen):
    """Nothing on what the jobs do not touch; nothing that everybody may do anyway; and once is enough."""
    fifteen.setup("--user", USER, "--apply", jobs=TIDY + ITEMS)
    assert fifteen.rights == {
        "Error Log": ["read", "delete"],
        "Version": ["read", "delete"],
        "Item": ["read", "create"],
    }
    (user,) = fifteen.sandbox.rows("User", {"name": USER})
    assert user["user_type"] == "System User" and user["enabled"] == 1
    fifteen.sandbox.requests.clear()
    states = {step["state"] for step in fifteen.setup("--user", USER, "--apply", jobs=TIDY + ITEMS).values()}
    assert states == {"exists", "beyond any role"}
    assert not any(method in ("POST", "PUT", "DELETE") for method, _, _ in fifteen.sandbox.requests)


def test_rights_that_are_no_longer_needed_are_taken_back(fifteen):
    """By any later setup, without saying whose; those of others on the same DocType stay, and standard ones return."""
    before = fifteen.sandbox.site.doctype("Version").permissions
    fifteen.setup("--user", USER, "--apply")
    assert SEES_MAILS in {row["role"] for row in fifteen.sandbox.rows("Has Role", {"parent": USER})}
    fifteen.sandbox.seed("Custom DocPerm", [{"parent": "Item", "role": "Support Team", "read": 1}])
    steps = fifteen.setup(jobs=TIDY.replace('"Version"', '"Deleted Document"'))
    assert steps["Right to read and create Item"]["state"] == "would be taken back"
    fifteen.setup("--apply", jobs=TIDY.replace('"Version"', '"Deleted Document"'))
    assert fifteen.code == 0 and set(fifteen.rights) == {"Error Log", "Deleted Document"}
    left = {row["role"] for row in fifteen.sandbox.rows("Custom DocPerm", {"parent": "Item"})}
    assert left == {row["role"] for row in fifteen.sandbox.site.doctype("Item").permissions} | {"Support Team"}
    assert fifteen.sandbox.count("Custom DocPerm", {"parent": "Version"}) == 0 and before
    assert SEES_MAILS not in {row["role"] for row in fifteen.sandbox.rows("Has Role", {"parent": USER})}


def test_a_right_that_shrinks_is_made_smaller(fifteen):
    """From changing to creating alone."""
    fifteen.setup("--user", USER, "--apply", jobs=ITEMS + "update_existing = true\n")
    assert fifteen.rights["Item"] == ["read", "write", "create"]
    steps = fifteen.setup("--apply", jobs=ITEMS)
    assert steps["Right to write Item"]["state"] == "taken back" and fifteen.rights["Item"] == ["read", "create"]


@pytest.mark.parametrize("kind", ["lose_reply", "cut"])
@pytest.mark.parametrize(
    "path", ["*/Role", "*permission_manager.add", "*permission_manager.update", "*/resource/User", "*generate_keys"]
)
def test_a_lost_reply_makes_nothing_twice(path, kind, fifteen):
    """One role, one user, one row of each DocType; and the key that is told is the one that counts."""
    fifteen.sandbox.faults.add(Fault(kind, path=path, times=1))
    fifteen.setup("--user", USER, "--key-files", fifteen.folder / "keys", "--apply", jobs=TIDY)
    assert fifteen.code == 0 and len(fifteen.sandbox.rows("Custom DocPerm", {"role": ROLE})) == 2
    assert fifteen.sandbox.count("User", {"name": USER}) == 1
    assert fifteen.once("tidy", TIDY)["status"] == "done"


def test_the_key_is_told_once(fifteen, run):
    """On standard output; a second setup tells no secret, makes no other key, and --new-key does."""
    steps = fifteen.setup("--user", USER, "--apply", jobs=TIDY)
    made = steps[f"API key of {USER}"]
    assert fifteen.sandbox.keys[USER] == (made["api_key"], made["api_secret"])
    again = fifteen.setup("--user", USER, "--apply", jobs=TIDY)[f"API key of {USER}"]
    assert again["state"] == "exists" and "api_secret" not in again and "--new-key" in again["note"]
    other = fifteen.setup("--user", USER, "--new-key", "--apply", jobs=TIDY)[f"API key of {USER}"]
    assert other["api_key"] == made["api_key"] and other["api_secret"] != made["api_secret"]


def test_key_files_are_for_their_owner_alone_and_never_overwritten(fifteen):
    """0600; where one is there, nothing at all is done."""
    folder = fifteen.folder / "keys"
    fifteen.setup("--user", USER, "--key-files", folder, "--apply", jobs=TIDY)
    files = {path.name: path for path in folder.iterdir()}
    assert set(files) == {"api_key", "api_secret"} and folder.stat().st_mode & 0o077 == 0
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in files.values())
    told = tuple(files[name].read_text().strip() for name in ("api_key", "api_secret"))
    assert fifteen.sandbox.keys[USER] == told
    fifteen.setup("--user", USER, "--key-files", folder, "--new-key", "--apply", jobs=TIDY)
    assert fifteen.code == 2 and "not overwritten" in fifteen.err and fifteen.sandbox.keys[USER] == told


def test_all_of_it_is_taken_away_and_the_key_ends(world):
    """Role, rights, the role that sees mails and the user; standard permissions count again."""
    world.setup("--user", USER, "--apply")
    states = {step["state"] for step in world.setup("--remove", "--apply").values()}
    assert world.code == 0 and states == {"removed"}
    for doctype, name in (("Role", ROLE), ("Role", SEES_MAILS), ("User", USER)):
        assert world.sandbox.count(doctype, {"name": name}) == 0
    assert world.sandbox.count("Custom DocPerm") == 0
    assert world.setup("--remove", "--apply") == {}


def test_a_user_that_documents_refer_to_is_disabled(fifteen):
    """Frappe does not delete it."""
    fifteen.setup("--user", USER, "--apply", jobs=TIDY)
    fifteen.sandbox.seed("ToDo", [{"description": "x", "allocated_to": USER}])
    step = fifteen.setup("--remove", "--apply", jobs=TIDY)[f"User {USER}"]
    (user,) = fifteen.sandbox.rows("User", {"name": USER})
    assert step["state"].startswith("disabled") and user["enabled"] == 0
    assert fifteen.sandbox.count("Has Role", {"parent": USER}) == 0
    fifteen.setup("--user", USER, "--apply", jobs=TIDY)
    assert fifteen.sandbox.rows("User", {"name": USER})[0]["enabled"] == 1


def test_a_user_that_somebody_else_made_gets_the_role_and_stays(fifteen):
    """Its other roles and its key are left alone, before and after."""
    steps = fifteen.setup("--user", "clerk@example.com", "--apply", jobs=TIDY)
    assert "made by somebody else" in steps["User clerk@example.com"]["note"]
    assert steps["API key of clerk@example.com"]["state"] == "exists"
    roles = {row["role"] for row in fifteen.sandbox.rows("Has Role", {"parent": "clerk@example.com"})}
    assert roles == {"Sales User", ROLE}
    fifteen.setup("--remove", "--apply", jobs=TIDY)
    roles = {row["role"] for row in fifteen.sandbox.rows("Has Role", {"parent": "clerk@example.com"})}
    assert roles == {"Sales User"} and fifteen.sandbox.rows("User", {"name": "clerk@example.com"})[0]["enabled"] == 1


def test_who_is_no_system_manager_is_told_who_must_run_it(fifteen):
    """The daemon's own key, for one; and with the manager's in the environment it works from the same configuration."""
    steps = fifteen.setup("--user", USER, "--apply", jobs=TIDY, user="clerk@example.com")
    assert fifteen.code == 1 and all(step["state"] == "refused" for step in steps.values())
    assert "System Manager" in next(iter(steps.values()))["action"]


def test_the_key_of_setup_may_be_another(fifteen, monkeypatch):
    """Two environment variables, used by setup alone; one without the other is an error."""
    key, secret = fifteen.sandbox.keys["manager@example.com"]
    monkeypatch.setenv("FRAPPE_DAEMON_SETUP_KEY", key)
    fifteen.setup("--user", USER, "--apply", jobs=TIDY, user="clerk@example.com")
    assert fifteen.code == 78 and "go together" in fifteen.err
    monkeypatch.setenv("FRAPPE_DAEMON_SETUP_SECRET", secret)
    fifteen.setup("--user", USER, "--apply", jobs=TIDY, user="clerk@example.com")
    assert fifteen.code == 0 and set(fifteen.rights) == {"Error Log", "Version"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--user", "daemon"), "e-mail addresses"),
        (("--new-key",), "say --user"),
        (("--remove", "--user", USER), "leave out --user"),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_sentence(arguments, said, fifteen):
    """Before the site is asked anything."""
    fifteen.setup(*arguments)
    assert fifteen.code == 2 and said in fifteen.err and not fifteen.sandbox.requests


def test_check_tells_what_no_role_gives(fifteen, daemon_for, run, monkeypatch):
    """With the user's own key: a warning where it goes row by row, a problem where only Administrator may."""
    queue = '[[jobs.tidy.rules]]\ndoctype = "Email Queue"\nolder_than = "9d"\nlimit = 5\n'
    fifteen.setup("--user", USER, "--apply", jobs=TIDY + queue)
    daemon = daemon_for(fifteen.sandbox, TIDY + queue, user=USER)
    _, out, _ = run("check", "--json", "--config", daemon.file, environ=daemon.environ)
    found = [(one["level"], one["what"]) for one in json.loads(out) if one["subject"] == "tidy"]
    assert [level for level, _ in found] == ["warning", "problem"], found
    assert "System Managers alone; Error Log goes row by row" in found[0][1] and "Administrator" in found[1][1]
