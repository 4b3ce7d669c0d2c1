"""Who may import whom, who reads the environment and who the clock: over the syntax tree of every module."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "daemon"
FILES = {path.relative_to(ROOT).as_posix(): path for path in sorted(ROOT.rglob("*.py"))}
OURS = [file for file in FILES if not file.startswith("sandbox/")]


@cache
def tree(file: str) -> ast.Module:
    return ast.parse(FILES[file].read_text(encoding="utf-8"))


def imports_in(module: ast.AST, package: str = "daemon") -> Iterator[str]:
    """Dotted names of all that is imported, also within functions and for type checkers alone."""
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*parents, *filter(None, [node.module])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def imports_of(file: str) -> set[str]:
    package = ".".join(["daemon", *file.split("/")[:-1]])
    return set(imports_in(tree(file), package))


def within(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


LAYERS = {
    "errors.py": [],
    "core/": ["daemon.errors", "daemon.core"],
    "wire.py": ["daemon.errors"],
    "site/": ["daemon.errors", "daemon.core", "daemon.site", "daemon.wire"],
    "remote/": ["daemon.errors", "daemon.core", "daemon.remote", "daemon.wire"],
    "files/": ["daemon.errors", "daemon.core", "daemon.files"],
    "state/": ["daemon.errors", "daemon.core", "daemon.state", "daemon.__version__"],
    "rendering/": ["daemon.errors", "daemon.rendering"],
    "jobs/": ["daemon.errors", "daemon.core", "daemon.files", "daemon.rendering", "daemon.jobs"],
    "schedule.py": ["daemon.core"],
    "trigger.py": ["daemon.core", "daemon.schedule"],
    "archive.py": ["daemon.errors"],
    "trail.py": ["daemon.errors", "daemon.archive", "daemon.state.claims"],
    "log.py": [],
    "report.py": ["daemon.errors", "daemon.core"],
    "config.py": ["daemon.errors", "daemon.core", "daemon.places", "daemon.schedule"],
    "places.py": [],
    "completion.py": ["daemon.places"],
    "sandbox/": ["daemon.errors", "daemon.sandbox"],
}  # fmt: skip
"""Of this package each may import these. Modules that are not named stand above them: commands, runner, composition."""


@pytest.mark.parametrize("file", [file for file in FILES if file.startswith(tuple(LAYERS))])
def test_each_layer_imports_only_those_below(file: str) -> None:
    """errors ← core ← jobs, and errors ← core ← site, remote, state: what decides knows nothing of what acts."""
    allowed = next(allowed for layer, allowed in LAYERS.items() if file.startswith(layer))
    ours = {name for name in imports_of(file) if within(name, "daemon")}
    # "from daemon import errors" comes as daemon.errors, and "from daemon.core.plan import X" as daemon.core.plan.X
    assert sorted(name for name in ours if not within(name, *allowed)) == []


LIBRARIES = {
    "httpx": ["site/transport.py", "remote/transport.py", "hooks.py"],
    "tenacity": ["site/transport.py", "remote/transport.py"],
    "frappeclient": ["site/"],
    "sqlalchemy": ["state/"],
    "psycopg": ["state/patience.py"],
    "apscheduler": ["trigger.py", "service.py"],
    "cronsim": ["schedule.py"],
    "structlog": ["log.py"],
    "typer": [
        "cli.py",
        "cli_init.py",
        "cli_setup.py",
        "cli_status.py",
        "cli_sync.py",
        "cli_undo.py",
        "completion.py",
        "terminal.py",
    ],
    "prometheus_client": ["exposition.py"],
    "python_calamine": ["files/legacy.py"],
    "charset_normalizer": [],
    "jinja2": ["rendering/"],
    "markupsafe": ["rendering/environment.py", "rendering/status.py"],
    "css_inline": ["rendering/environment.py"],
    "babel": ["rendering/"],
    "IPython": [],
    "requests": [],
}


@pytest.mark.parametrize("library", LIBRARIES)
def test_each_library_has_its_place(library: str) -> None:
    """Where it can be replaced without looking elsewhere; what frappe-client drags in is used nowhere."""
    users = [file for file in OURS if any(within(name, library) for name in imports_of(file))]
    assert [file for file in users if not file.startswith(tuple(LIBRARIES[library]))] == []


@pytest.mark.parametrize("folder", ["core/", "jobs/"])
def test_what_decides_needs_little(folder: str) -> None:
    """pydantic alone beyond this package and the standard library, and of that nothing that acts."""
    acting = {"os", "time", "socket", "subprocess", "threading", "logging", "random", "secrets", "tempfile", "shutil"}
    for file in (file for file in OURS if file.startswith(folder)):
        tops = {name.partition(".")[0] for name in imports_of(file)}
        assert tops - sys.stdlib_module_names <= {"daemon", "pydantic"}, file
        assert not tops & acting, file


def test_the_sandbox_is_for_the_demo_alone() -> None:
    """Nothing that works on a real site depends on the fake one."""
    users = [file for file in OURS if any(within(name, "daemon.sandbox") for name in imports_of(file))]
    assert set(users) <= {"demo.py", "cli.py", "sandbox.py"}


def names_in(module: ast.AST) -> set[str]:
    """Dotted expressions, each resolved by what its first part was imported as: `environ` after `from os import …`."""
    known: dict[str, str] = {}
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            known |= {alias.asname: alias.name for alias in node.names if alias.asname}
        elif isinstance(node, ast.ImportFrom) and node.module:
            known |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    found = set()
    for node in ast.walk(module):
        if isinstance(node, ast.Attribute | ast.Name):
            first, _, rest = ast.unparse(node).partition(".")
            found.add(f"{known.get(first, first)}.{rest}" if rest else known.get(first, first))
    return found


ENVIRONMENT = {"os.environ", "os.getenv", "os.environb"}
CLOCK = {
    "datetime.datetime.now", "datetime.datetime.utcnow", "datetime.datetime.today", "datetime.date.today",
    "time.time", "time.time_ns", "time.monotonic", "time.monotonic_ns", "time.perf_counter", "time.localtime",
    "time.gmtime", "time.sleep",
}  # fmt: skip


@pytest.mark.parametrize(("names", "place"), [(ENVIRONMENT, "config.py"), (CLOCK, "app.py")])
def test_the_machine_is_asked_in_one_place(names: set[str], place: str) -> None:
    """The environment in config.py, the clock in app.py: everything else is given them, and so can be tested."""
    users = {file: found for file in OURS if (found := names & names_in(tree(file)))}
    assert set(users) == {place}, users


@pytest.mark.parametrize("file", OURS)
def test_every_module_says_what_it_is(file: str) -> None:
    """A docstring; empty package files need none."""
    module = tree(file)
    assert not module.body or ast.get_docstring(module)


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import os\nos.environ['X']", "os.environ"),
        ("from os import environ as e\ne['X']", "os.environ"),
        ("import os as o\no.getenv('X')", "os.getenv"),
        ("from datetime import datetime\ndatetime.now()", "datetime.datetime.now"),
        ("import datetime as d\nd.datetime.now()", "datetime.datetime.now"),
        ("from time import monotonic\nmonotonic()", "time.monotonic"),
        ("import time\nf = time.time", "time.time"),
    ],
)
def test_no_spelling_escapes(source: str, found: str) -> None:
    """These tests see through aliases; a rule that one can step around by chance is none."""
    assert found in names_in(ast.parse(source))


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("import httpx", "httpx"),
        ("def f():\n    from httpx import Client", "httpx.Client"),
        ("if TYPE_CHECKING:\n    import sqlalchemy.orm as o", "sqlalchemy.orm"),
        ("from . import x", "daemon.site.x"),
        ("from ..state import y", "daemon.state.y"),
        ("from .client import z", "daemon.site.client.z"),
    ],
)
def test_no_import_is_overlooked(source: str, name: str) -> None:
    """Nor one within a function, for type checkers, or relative."""
    assert set(imports_in(ast.parse(source), "daemon.site")) == {name}
