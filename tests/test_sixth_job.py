"""docs/sixth-job.md, followed to the letter: its files are written, its commands run, its test passes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from daemon.sandbox import Sandbox
from daemon.site.client import Site

GUIDE = (Path(__file__).parent.parent / "docs/sixth-job.md").read_text()
FILES = dict(re.findall(r"^```\w+ file=(\S+)\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL))
COMMANDS = re.search(r"^```sh\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)[1].splitlines()
SITE = '[site]\nurl = "{url}"\napi_key = {{ env = "KEY" }}\napi_secret = {{ env = "SECRET" }}\n[state]\npath = "s.db"\n'


@pytest.fixture
def followed(tmp_path):
    """The guide's files, beside the configuration of a sandbox."""
    with Sandbox("15") as site:
        old = {"subject": "x", "status": "Open", "modified": "2020-01-01 00:00:00"}
        site.seed("Issue", ({"name": f"ISS-{n}", **old} for n in range(3)))
        site.seed("Issue", [{"name": "ISS-NEW", "subject": "x", "status": "Open"}])
        for name, text in FILES.items():
            (tmp_path / name).write_text(SITE.format(url=site.url) + text if name == "config.toml" else text)
        yield site, tmp_path


def open_issues(site: Sandbox) -> int:
    return site.count("Issue", {"status": "Open"})


def test_its_commands_do_what_it_says(followed, run, monkeypatch):
    """check is content, the dry run changes nothing, the run closes what is stale and nothing else."""
    site, folder = followed
    monkeypatch.chdir(folder)
    key, secret = site.keys["manager@example.com"]
    assert [command.partition(" ")[0] for command in COMMANDS] == ["frappe-daemon"] * 4
    left = []
    for command in COMMANDS:
        code, out, _ = run(*command.split()[1:], environ={"KEY": key, "SECRET": secret})
        assert code == 0 and "✗" not in out, out
        left.append(open_issues(site))
    assert left == [4, 4, 4, 1] and site.rows("Issue", {"status": "Open"})[0]["name"] == "ISS-NEW"


def test_what_somebody_saved_meanwhile_is_left_alone(followed, run, monkeypatch):
    """As its docstring says."""
    site, folder = followed
    monkeypatch.chdir(folder)
    update = Site.update

    def late(self, doc):
        site.set("Issue", doc["name"], modified="2026-01-01 00:00:00")
        return update(self, doc)

    monkeypatch.setattr(Site, "update", late)
    key, secret = site.keys["manager@example.com"]
    code, out, _ = run("once", "stale", environ={"KEY": key, "SECRET": secret})
    assert code == 0 and "somebody was faster" in out and open_issues(site) == 4


def test_its_test_passes(followed):
    """With pytest, as a user would run it."""
    _, folder = followed
    environ = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_stale.py"]
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def f(:\n", "cannot be loaded: SyntaxError"),
        ("raise RuntimeError('no')", "cannot be loaded: RuntimeError: no"),
        ("x = 1", "no kind of job: it lacks Settings, a class made from daemon.core.settings.JobSettings and needs"),
        (None, "cannot be loaded: FileNotFoundError"),
    ],
)
def test_a_file_that_is_no_kind_is_told(text, said, followed, run, monkeypatch):
    """With the key of the configuration that names it, beside all other problems."""
    _, folder = followed
    monkeypatch.chdir(folder)
    if text is None:
        (folder / "stale.py").unlink()
    else:
        (folder / "stale.py").write_text(text)
    code, _, err = run("check", "--offline", environ={"KEY": "k", "SECRET": "s"})
    assert code == 78 and 'jobs.stale.kind = "stale.py": ' in err and said in err


def test_its_own_keys_are_checked(followed, run, monkeypatch):
    """By its Settings, with a suggestion."""
    _, folder = followed
    monkeypatch.chdir(folder)
    file = folder / "config.toml"
    file.write_text(file.read_text().replace("untouched =", "untuched ="))
    code, _, err = run("check", "--offline", environ={"KEY": "k", "SECRET": "s"})
    assert code == 78 and "jobs.stale.untuched: unknown key; did you mean 'untouched'?" in err
