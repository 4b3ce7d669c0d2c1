"""What all commands promise: JSON for programs, plain text for pipes, all of it at 80 columns, words that complete."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
from fcntl import ioctl
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from daemon.cli import cli
from daemon.sandbox.orders import Orders
from tests.conftest import days_ago
from tests.jobs.shop import FIELDS, FIND, HEAD, LIST, RECORD, SITE

JOBS = """
[jobs.tidy]
kind = "cleanup"
schedule = "daily"
[[jobs.tidy.rules]]
doctype = "Error Log"
older_than = "30d"
strategy = "rows"
[jobs.weekly]
kind = "digest"
schedule = "0 8 * * 1"
to = ["clerk@example.com"]
[[jobs.weekly.metrics]]
label = "Orders"
doctype = "Sales Order"
[jobs.expiry]
kind = "expiry"
schedule = "daily"
[[jobs.expiry.rules]]
doctype = "Contract"
date_field = "end_date"
days_before = [30]
notify = "owner"
"""
REMOTE = '[jobs.orders.api]\nurl = "{url}"\nauth = {{ bearer = {{ env = "TOKEN" }} }}\n'
NO_TABLE = {
    "run": "its log is JSON where it is not for people",
    "reference": "prints Markdown",
    "sandbox": "serves until it is stopped",
    "install-service": "writes files, and says which",
}
"""Commands that print no table, and so take no --json."""
LINES = {
    "once": ["once", "tidy"],
    "import": ["import", "{folder}/todos.csv", "-d", "ToDo"],
    "digest": ["digest", "weekly", "--preview", "{folder}/letter.html"],
    "explain": ["explain", "expiry", "Contract", "CON-1"],
    "check": ["check"],
    "jobs": ["jobs"],
    "history": ["history"],
    "demo": ["demo"],
    "sync": ["sync", "orders", "--dry-run"],
    "conflicts": ["conflicts"],
    "retry": ["retry", "orders"],
    "setup": ["setup", "--user", "daemon@example.com"],
    "init": ["init", "--yes", "-o", "{folder}/new/config.toml"],
    "status": ["status"],
    "alerts": ["alerts"],
    "relink": ["relink", "orders", "NAME"],
    "undo": ["undo", "RUN"],
}
"""A command line for each that prints something."""
ELSEWHERE = {"demo", "relink", "undo"}
"""What takes long, or a pair or run of its own, is looked at where it is tested."""


def commands() -> dict[str, typer.models.CommandInfo]:
    groups = [cli, *(group.typer_instance for group in cli.registered_groups)]
    listed = [one for group in groups for one in group.registered_commands]
    return {one.name or one.callback.__name__.strip("_"): one for one in listed}


@pytest.fixture
def world(sandbox, daemon_for, tmp_path, monkeypatch):
    """A site with something for every command; the environment names it."""
    with Orders(data="empty") as api:
        sandbox.seed("Error Log", ({"creation": days_ago(50), "method": "x"} for _ in range(7)))
        sandbox.seed("Contract", [{"name": "CON-1", "end_date": days_ago(-10)[:10]}])
        (tmp_path / "todos.csv").write_text("Description\nx\n")
        orders = HEAD + SITE + REMOTE.format(url=api.url) + LIST + RECORD + FIND + FIELDS
        daemon = daemon_for(sandbox, JOBS + orders, environ={"TOKEN": api.token})
        for name, value in daemon.environ.items():
            monkeypatch.setenv(name, value)
        key, secret = sandbox.keys["manager@example.com"]
        for name, value in {
            "URL": sandbox.url,
            "API_KEY": key,
            "API_SECRET": secret,
            "DAEMON_CONFIG": daemon.file,
        }.items():
            monkeypatch.setenv(f"FRAPPE_{name}", str(value))
        daemon.app.state.runs()  # the state is there for those that only look
        yield daemon


def line(name: str, folder: Path) -> list[str]:
    return [word.format(folder=folder) for word in LINES[name]]


def test_every_command_is_here() -> None:
    """A new one gets a line, or a reason for having none; and whatever prints a table takes --json."""
    known = commands()
    assert set(known) == set(LINES) | set(NO_TABLE)
    takes = {name for name, one in known.items() if "as_json" in one.callback.__annotations__}
    assert takes == set(LINES)


@pytest.mark.parametrize("name", sorted(set(LINES) - ELSEWHERE))
def test_json_is_json_and_nothing_else(name, world, run, tmp_path) -> None:
    """On standard output, whatever goes to the log."""
    code, out, err = run(*line(name, tmp_path), "--json")
    assert code in (0, 1), err
    json.loads(out)


@pytest.mark.parametrize("name", sorted(set(LINES) - ELSEWHERE))
def test_what_is_piped_is_plain(name, world, run, tmp_path) -> None:
    """No colours, no lines drawn, no blanks at ends, nothing cut: for grep and for mails."""
    run("once", "tidy")
    _, out, _ = run(*line(name, tmp_path))
    assert out.strip() and "\x1b" not in out and not re.search("[\u2500-\u257f]", out)
    assert [text for text in out.splitlines() if text != text.rstrip()] == []


def at_terminal(arguments: list[str], columns: int, **environ: str) -> str:
    """All that the command shows at a terminal of so many columns."""
    master, slave = pty.openpty()
    ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    command = [sys.executable, "-m", "daemon", *arguments]
    kept = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR", "LINES")}
    environment = kept | {"TERM": "xterm"} | environ
    process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=environment)
    os.close(slave)
    shown = b""
    while select.select([master], [], [], 60)[0]:
        try:
            piece = os.read(master, 65536)
        except OSError:  # the other end is closed
            break
        shown += piece
    os.close(master)
    process.wait()
    return shown.decode(errors="replace")


def test_at_80_columns_nothing_is_lost(world, run) -> None:
    """Every word that a pipe gets is there, in lines that fit; NO_COLOR takes the colours away."""
    run("once", "tidy")
    for arguments in (["history"], ["setup", "--user", "daemon@example.com"]):
        plain = at_terminal(arguments, 80, NO_COLOR="1")
        assert not re.search(r"\x1b\[[0-9;]*3[0-9]", plain)
        shown = re.sub(r"\x1b\[[0-9;]*m", "", plain).replace("\r", "")
        assert max(map(len, shown.splitlines())) <= 80
        _, piped, _ = run(*arguments)
        words = set(re.findall(r"[\w@.]{3,}", piped)) - {"What"}  # the head of the column that goes below
        assert [word for word in words if word not in shown.replace("\n", " ")] == []
    assert re.search(r"\x1b\[[0-9;]*3[0-9]m", at_terminal(["history"], 80))


def completed(words: str, **environ: str) -> list[str]:
    """What the shell offers for the last word."""
    runner, parts = CliRunner(), words.split(" ")
    asked = {"_FRAPPE_DAEMON_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(len(parts) - 1)}
    found = runner.invoke(cli, [], prog_name="frappe-daemon", env=asked | environ)
    return found.stdout.split()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("frappe-daemon once ", ["tidy", "weekly", "expiry", "orders", "orders.pull", "orders.push"]),
        ("frappe-daemon once t", ["tidy"]),
        ("frappe-daemon history w", ["weekly"]),
        ("frappe-daemon digest ", ["weekly"]),
        ("frappe-daemon sync ", ["orders"]),
        ("frappe-daemon reference s", ["site", "state", "schedule", "service", "status", "sync"]),
    ],
)
def test_names_complete_from_the_configuration(words, offered, world) -> None:
    """Jobs of the fitting kind, sections and kinds of the reference."""
    assert completed(words) == offered


def test_a_broken_configuration_completes_to_nothing(world) -> None:
    """And prints nothing into the line that somebody types."""
    world.file.write_text("[jobs")
    assert completed("frappe-daemon once ") == []


def test_completing_loads_little() -> None:
    """A key press waits for it: nothing that checks configurations, speaks HTTP or opens a state."""
    heavy = ("pydantic", "httpx", "sqlalchemy", "rich.table", "frappeclient")
    code = f"import sys, daemon.cli; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_the_sections_that_complete_are_those_that_there_are() -> None:
    """They are written down apart from the models, so that the models need not be loaded."""
    from daemon.completion import sections
    from daemon.config import Sections, kinds

    assert sections("") == [*Sections.model_fields, "jobs", *kinds()]
