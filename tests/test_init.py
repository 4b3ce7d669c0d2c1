"""`init`: from an address and a key to a configuration that fits the site, and a sentence for whatever is wrong."""

from __future__ import annotations

import json
import os
import pty
import select
import stat
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from daemon import config
from daemon.sandbox import Sandbox
from tests.conftest import days_ago

MANAGER = "manager@example.com"


@pytest.fixture
def init(sandbox, run, tmp_path, monkeypatch):
    """Runs the command in a folder of its own; returns (exit code, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)
    for name in ("FRAPPE_URL", "FRAPPE_API_KEY", "FRAPPE_API_SECRET"):
        monkeypatch.delenv(name, raising=False)

    def command(*arguments: object, user: str = MANAGER, url: str = "", **environ: str):
        key, secret = sandbox.keys.get(user, ("a-wrong-key", "a-wrong-secret"))
        given = {"FRAPPE_URL": url or sandbox.url, "FRAPPE_API_KEY": key, "FRAPPE_API_SECRET": secret} | environ
        return run("init", "--yes", *arguments, environ={name: value for name, value in given.items() if value})

    return command


def loaded(path: Path = Path("config.toml")) -> config.Config:
    return config.load(path)


def test_what_is_written_works_and_does_nothing_yet(init, sandbox, run):
    """Every job that the sandbox has the DocTypes for, disabled; `check` and a dry run go through."""
    code, out, _ = init("--json")
    found = json.loads(out)
    assert code == 0 and found["user"] == MANAGER and found["time_zone"] == "America/New_York"
    assert found["versions"]["frappe"].startswith("15") and found["system_manager"] is True
    jobs = loaded().jobs
    assert {"maintenance", "items", "weekly", "expiry", "orders.pull", "orders.push"} == set(jobs)
    assert not any(job.settings.enabled for job in jobs.values())
    assert run("check")[0] == 0
    assert run("once", "maintenance", "--dry-run")[0] == 0


def test_it_says_what_each_job_would_do_here_counted(init, sandbox):
    """On this very site, in the file and on the screen."""
    sandbox.seed("Error Log", ({"creation": days_ago(50), "method": "x"} for _ in range(12)))
    sandbox.seed("Error Log", ({"method": "x"} for _ in range(3)))
    sandbox.seed("Contract", [{"end_date": days_ago(-10)[:10]}, {"end_date": days_ago(-90)[:10]}])
    _, out, _ = init()
    said = "would remove 12 of 15 rows of Error Log, those older than 30d."
    assert said in out and f"# Here: {said}" in Path("config.toml").read_text()
    assert "would tell of 1 rows of Contract, whose end_date is within 30 days." in out


def test_what_the_site_lacks_is_left_out(init, sandbox):
    """DocTypes of apps that are not there; a job that nothing is left of is left out whole."""
    for doctype in ("Sales Order", "Sales Invoice", "Item", "Issue", "Customer", "Contract"):
        del sandbox.site.doctypes[doctype]
    init()
    text = Path("config.toml").read_text()
    assert set(loaded().jobs) == {"maintenance"} and "[jobs.orders" not in text and "License" not in text


def test_what_only_administrator_may_do_is_left_out_for_others(init):
    """Email Queue; Administrator's own key keeps it."""
    rules = lambda: [rule.doctype for rule in loaded().jobs["maintenance"].settings.rules]  # noqa: E731
    init()
    assert "Email Queue" not in rules() and "nobody but Administrator" in Path("config.toml").read_text()
    Path("config.toml").unlink()
    init(user="Administrator")
    assert "Email Queue" in rules()


def test_a_log_that_has_grown_gets_a_rule(init, sandbox, monkeypatch):
    """Beyond those of the shipped file, from ten thousand rows on."""
    monkeypatch.setattr("daemon.skeleton.MANY", 5)
    sandbox.seed("Scheduled Job Log", ({"status": "Complete"} for _ in range(9)))
    init()
    assert "Scheduled Job Log" in [rule.doctype for rule in loaded().jobs["maintenance"].settings.rules]


@pytest.mark.parametrize("version", ["14", "16"])
def test_other_versions_get_theirs(version, run, tmp_path, monkeypatch):
    """As asked on 14 and 16."""
    monkeypatch.chdir(tmp_path)
    with Sandbox(version, data="demo") as site:
        key, secret = site.keys[MANAGER]
        environ = {"FRAPPE_URL": site.url, "FRAPPE_API_KEY": key, "FRAPPE_API_SECRET": secret}
        code, out, _ = run("init", "--yes", environ=environ)
        assert code == 0 and f"frappe {version}." in out and "rows of Error Log" in out
        assert "License" in Path("config.toml").read_text() and loaded().jobs


def test_secrets_are_named_where_they_are_and_written_where_they_are_nowhere(init, sandbox):
    """The environment, a file of the user's, or new files of 0600 beside the configuration."""
    init("-o", "one.toml")
    named = tomllib.loads(Path("one.toml").read_text())["site"]
    assert named["api_secret"] == {"env": "FRAPPE_API_SECRET"} and not Path("api_secret").exists()
    key, secret = sandbox.keys[MANAGER]
    Path("mine").write_text(secret)
    init("-o", "two.toml", "--api-secret-file", "mine", "--api-key", key)
    named = tomllib.loads(Path("two.toml").read_text())["site"]
    assert named["api_secret"] == {"file": str(Path("mine").absolute())} and named["api_key"] == {"file": "api_key"}
    Path("api_key").unlink()
    _, out, err = init("-o", "three.toml", "--api-key", key, "--api-secret", secret)
    assert "shell's history" in err and secret not in out + err
    for name, value in (("api_key", key), ("api_secret", secret)):
        assert Path(name).read_text().strip() == value and stat.S_IMODE(Path(name).stat().st_mode) == 0o600
    assert secret not in Path("three.toml").read_text() and loaded(Path("three.toml")).jobs


def test_nothing_is_overwritten(init, sandbox):
    """Neither the configuration nor a file with a key; then nothing else is written either."""
    Path("config.toml").write_text("mine")
    code, _, err = init()
    assert code == 2 and "not overwritten" in err and Path("config.toml").read_text() == "mine"
    key, secret = sandbox.keys[MANAGER]
    Path("api_secret").write_text("mine")
    code, _, err = init("-o", "new.toml", "--api-key", key, "--api-secret", secret)
    assert code == 2 and "api_secret is there already" in err and not Path("new.toml").exists()
    assert Path("api_secret").read_text() == "mine" and not Path("api_key").exists()


@pytest.mark.parametrize(
    ("given", "code", "said"),
    [
        ({"url": "http://127.0.0.1:9"}, 75, "no connection to the site"),
        ({"user": "nobody"}, 77, "is not accepted"),
        ({"url": "ftp://erp.example.com"}, 2, "url"),
    ],
)
def test_what_is_wrong_is_told_with_what_to_do(given, code, said, init):
    """And nothing is written."""
    found, _, err = init(**given)
    assert found == code and said in err and "→" in err and not Path("config.toml").exists()


def test_who_cannot_be_asked_is_told_which_option_is_missing(init):
    """No terminal, and no answer."""
    code, _, err = init(FRAPPE_API_KEY="", FRAPPE_API_SECRET="")
    assert code == 2 and "api_key is missing" in err and "--api-key" in err


def dialogue(folder: Path, answers: list[tuple[str, str]]) -> str:
    """`init` at a terminal of its own: each answer is given when its question has come. All that was shown.

    What is typed before the blank behind a hidden question is thrown away (getpass, TCSAFLUSH)."""
    master, slave = pty.openpty()
    environ = {key: value for key, value in os.environ.items() if not key.startswith("FRAPPE_")}
    command = [sys.executable, "-m", "daemon", "init"]
    root = Path(__file__).parent.parent
    process = subprocess.Popen(
        command, stdin=slave, stdout=slave, stderr=slave, cwd=folder, env=environ | {"PYTHONPATH": str(root)},
        start_new_session=True,
    )  # fmt: skip
    os.close(slave)
    shown, seen = "", 0
    waiting = list(answers)
    while True:
        if not select.select([master], [], [], 60)[0]:
            process.kill()
            process.wait()
            pytest.fail(f"nothing more was shown after: {shown}")
        try:
            piece = os.read(master, 4096).decode(errors="replace")
        except OSError:  # the other end is closed
            break
        shown += piece
        if waiting and waiting[0][0] in shown[seen:]:
            seen = len(shown)
            os.write(master, f"{waiting.pop(0)[1]}\n".encode())
        if not piece:
            break
    os.close(master)
    process.wait()
    assert not waiting, shown
    return shown


def test_at_a_terminal_it_asks_again_for_what_is_wrong(sandbox, tmp_path):
    """Address and key, each until it is right; the secret is never shown; an address from a browser is cut."""
    key, secret = sandbox.keys[MANAGER]
    shown = dialogue(
        tmp_path,
        [
            ("Address of", "http://127.0.0.1:9"),
            ("Address of", f"{sandbox.url}/app/home"),
            ("API key (", key),
            ("(not shown): ", "a-wrong-one"),
            ("API key (", key),
            ("(not shown): ", secret),
        ],
    )
    assert "Correct the address" in shown and "Copy both anew" in shown
    assert secret not in shown and "a-wrong-one" not in shown
    assert tomllib.loads((tmp_path / "config.toml").read_text())["site"]["url"] == sandbox.url
    assert (tmp_path / "api_secret").read_text().strip() == secret
