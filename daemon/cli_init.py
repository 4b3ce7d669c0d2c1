"""`frappe-daemon init`: from an address and a key to a configuration with the jobs that make sense on that site.

Asks at a terminal for what no option names, and again where it is wrong. Reads the site; writes the configuration and,
where the secret was typed, two files beside it, and never over a file that is there.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import typer

from daemon.errors import (
    CredentialsRefused,
    DaemonError,
    NotFound,
    NotFrappe,
    NotPermitted,
    OutputError,
    SiteError,
    Transient,
    Unreachable,
    UntrustedCertificate,
    UsageError,
)
from daemon.terminal import JsonOption, show

if TYPE_CHECKING:
    from daemon.app import App
    from daemon.site.client import Site
    from daemon.skeleton import Job

commands = typer.Typer()
NAMES = {"url": "FRAPPE_URL", "api_key": "FRAPPE_API_KEY", "api_secret": "FRAPPE_API_SECRET"}
"""Environment variables that are taken where no option says more."""

_VAR = "/var/lib/frappe-daemon/"
"""Where the shipped configuration keeps what a service writes; one that is not in /etc keeps it beside itself."""
_ELSEWHERE = "Name another file with --output, or take that one away."


@dataclass(slots=True)
class Answers:
    """What was asked, and how the configuration shall name it."""

    url: str = ""
    api_key: str = ""
    api_secret: str = ""
    ca_file: Path | None = None
    site_name: str = ""
    refers: dict[str, str] | None = None
    """api_key, api_secret → TOML that says where each is; of those that are not here files are written."""


@commands.command()
def init(
    url: Annotated[str, typer.Option(help="The site's address; else $FRAPPE_URL.")] = "",
    api_key: Annotated[str, typer.Option(help="Of a user of the site; else $FRAPPE_API_KEY.")] = "",
    api_secret: Annotated[
        str, typer.Option(help="Of that key. Others see it here: better be asked, or $FRAPPE_API_SECRET.")
    ] = "",
    api_secret_file: Annotated[Path | None, typer.Option(help="A file with the secret.")] = None,
    ca_file: Annotated[Path | None, typer.Option(help="Of an authority that signed the site's certificate.")] = None,
    site_name: Annotated[str, typer.Option(help="Where several sites answer at one address.")] = "",
    output: Annotated[Path, typer.Option("--output", "-o", help="The configuration to write.")] = Path("config.toml"),
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write a first configuration for a site: the jobs that make sense there, disabled until you have looked."""
    if output.exists():
        raise UsageError(f"{output} is there already, and is not overwritten", action=_ELSEWHERE)
    answers = _given(url, api_key, api_secret, api_secret_file)
    answers.ca_file, answers.site_name = ca_file and ca_file.absolute(), site_name
    asks = not yes and bool(sys.stdin) and sys.stdin.isatty()
    with _connected(answers, asks=asks) as (app, site):
        found, jobs, text = _composed(app, site, answers, output)
    files = _write(answers, output, text)
    found |= {"written": [str(path) for path in files], "next": _next(found, jobs, output)}
    show(found, as_json, "of_init")


def _given(url: str, api_key: str, api_secret: str, secret_file: Path | None) -> Answers:
    from daemon.config import environment, secret_in

    refers: dict[str, str] = {}
    if api_secret:
        typer.echo("warning: --api-secret stays in the shell's history, and others see it while this runs", err=True)
    elif secret_file is not None:
        api_secret = secret_in(secret_file)
        refers["api_secret"] = f'{{ file = "{secret_file.absolute()}" }}'
    elif api_secret := environment(NAMES["api_secret"]):
        refers["api_secret"] = f'{{ env = "{NAMES["api_secret"]}" }}'
    if not api_key and (api_key := environment(NAMES["api_key"])):
        refers["api_key"] = f'{{ env = "{NAMES["api_key"]}" }}'
    return Answers(url or environment(NAMES["url"]), api_key, api_secret, refers=refers)


# Connecting


class _connected:
    """The app and the site, once address and key are right; closed when the `with` ends."""

    def __init__(self, answers: Answers, *, asks: bool) -> None:
        self._answers, self._asks = answers, asks

    def __enter__(self) -> tuple[App, Site]:
        while True:
            try:
                _ask(self._answers, "url", asks=self._asks)
                self._open()
            except DaemonError as error:
                if not self._asks or not _again(self._answers, error):
                    raise
            else:
                return self._app, self._site

    def _open(self) -> None:
        """Raises DaemonError. The address is tried before the key is asked for."""
        from daemon.app import IMPATIENT, App
        from daemon.config import provisional

        answers = self._answers
        if not (answers.api_key and answers.api_secret):
            _knock(answers)
            _ask(answers, "api_key", asks=self._asks)
            _ask(answers, "api_secret", asks=self._asks)
        facts = (answers.url, answers.api_key, answers.api_secret, answers.ca_file, answers.site_name)
        self._app = App(provisional(*facts), log_level="error")
        self._site = self._app.open_site(self._app.clock, self._app.log, IMPATIENT)
        try:
            self._site.user()
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *exc_info: object) -> None:
        self._site.__exit__()
        self._app.close()


def _knock(answers: Answers) -> None:
    """Is a Frappe there? It refuses a key that is none. Raises what says that nothing, or something else, is there."""
    from daemon.app import IMPATIENT, App
    from daemon.config import provisional

    app = App(provisional(answers.url, "nobody", "nothing", answers.ca_file, answers.site_name), log_level="error")
    try:
        with app.open_site(app.clock, app.log, IMPATIENT) as site:
            site.user()
    except (CredentialsRefused, NotPermitted):
        return
    finally:
        app.close()


_QUESTIONS = {
    "url": "Address of the site, such as https://erp.example.com",
    "api_key": "API key (on the site: User > Settings > API Access)",
    "api_secret": "API secret (not shown)",
}
_OPTIONS = {"url": "--url", "api_key": "--api-key", "api_secret": "--api-secret-file, or $FRAPPE_API_SECRET"}


def _ask(answers: Answers, name: str, *, asks: bool) -> None:
    """Raises UsageError where nobody can be asked."""
    if not getattr(answers, name):
        if not asks:
            raise UsageError(f"{name} is missing", action=f"Say {_OPTIONS[name]}, or run it at a terminal.")
        text = typer.prompt(_QUESTIONS[name], hide_input=name == "api_secret", err=True)
        setattr(answers, name, str(text).strip())
    if name == "url":
        answers.url = _tidy(answers.url)


def _tidy(url: str) -> str:
    """What people copy out of a browser, as the address of the site alone. https, but on this very machine."""
    url = url.strip()
    near = url.startswith(("localhost", "127.0.0.1", "[::1]"))
    parts = urlsplit(url if "://" in url else f"{'http' if near else 'https'}://{url}")
    return f"{parts.scheme}://{parts.netloc}"


def _again(answers: Answers, error: DaemonError) -> bool:
    """Say what is wrong and forget the answer that was. False where no other answer would help."""
    if isinstance(error, CredentialsRefused | NotPermitted):
        wrong = ["api_key", "api_secret"]
    elif isinstance(error, Transient | SiteError | UsageError):
        wrong = ["url"]
    else:
        return False
    from rich.console import Console

    Console(stderr=True, highlight=False, markup=False).print(f"✗ {error.said}\n  → {_advice(error)}")
    for name in wrong:
        setattr(answers, name, "")
        if answers.refers:
            answers.refers.pop(name, None)
    return True


def _advice(error: DaemonError) -> str:
    for kind, advice in _ADVICE.items():
        if isinstance(error, kind):
            return advice
    return error.action


_ADVICE: dict[type[DaemonError], str] = {
    UntrustedCertificate: "Run it with --ca-file, if the site has an authority of its own; or correct the address.",
    Unreachable: "Correct the address: its name, its port, http:// where it has no TLS; or look whether the site runs.",
    NotFrappe: "Give the address of the Frappe site itself, without /app; --site-name, where several share it.",
    CredentialsRefused: "Copy both anew. On the site: User > Settings > API Access > Generate Keys.",
    NotPermitted: "Copy both anew; or a proxy before the site takes the key away.",
}


# What is there


class Look:
    """daemon.skeleton.Looks, at a real site. Each count is one request."""

    def __init__(self, site: Site, user: str, now: datetime) -> None:
        self._site, self.user, self._now = site, user, now

    def fields(self, doctype: str) -> frozenset[str] | None:
        try:
            return frozenset(self._site.meta(doctype).columns)
        except (NotFound, NotPermitted):
            return None

    def rows(self, doctype: str, filters: list[list[Any]]) -> int | None:
        try:
            return self._site.count(doctype, filters)
        except Transient:
            raise
        except SiteError:
            return None

    def older(self, doctype: str, field: str, than: str, filters: list[list[Any]]) -> int | None:
        from daemon.core.duration import parse_duration

        return self.rows(doctype, [*filters, [field, "<", self._site.text(self._now - parse_duration(than))]])

    def within(self, doctype: str, field: str, days: int) -> int | None:
        today = self._now.astimezone(self._site.zone).date()
        return self.rows(doctype, [[field, ">=", str(today)], [field, "<=", str(today + timedelta(days=days))]])

    def covered(self, doctype: str) -> bool:
        return doctype in self._site.dialect.log_settings_doctypes and self.fields(doctype) is not None


def _composed(app: App, site: Site, answers: Answers, output: Path) -> tuple[dict[str, Any], list[Job], str]:
    from daemon import skeleton
    from daemon.shipped import EXAMPLE

    user, zone = site.user(), site.clock.zone.key
    roles = site.roles(user)
    found = {
        "url": site.url, "user": user, "versions": dict(site.versions), "time_zone": zone,
        "system_manager": user == "Administrator" or "System Manager" in roles, "roles": sorted(roles),
    }  # fmt: skip
    beside = not output.absolute().is_relative_to("/etc")
    head, shipped = skeleton.parted(EXAMPLE.read_text(encoding="utf-8").replace(_VAR, "" if beside else _VAR))
    jobs = list(skeleton.fitted(shipped, Look(site, user, app.clock.now())))
    apps = ", ".join(f"{name} {version}" for name, version in site.versions.items())
    about = [f"{site.url}: {apps}; time zone {zone}.", f"Written for the key of {user} on {app.clock.now():%Y-%m-%d}."]
    keys = {"url": f'"{site.url}"', **_references(answers)}
    if answers.ca_file:
        keys["ca_file"] = f'"{answers.ca_file}"'
    if answers.site_name:
        keys["site_name"] = f'"{answers.site_name}"'
    found["jobs"] = [{"name": job.name, "kind": job.kind, "would": job.would} for job in jobs]
    return found, jobs, skeleton.written(head, jobs, keys, about)


def _references(answers: Answers) -> dict[str, str]:
    refers = answers.refers or {}
    return {name: refers.get(name) or f'{{ file = "{name}" }}' for name in ("api_key", "api_secret")}


# Writing


def _write(answers: Answers, output: Path, text: str) -> list[Path]:
    """The configuration, and files of 0600 for what it names beside itself. All are new."""
    beside = output.absolute().parent
    secrets = {beside / name: getattr(answers, name) for name in ("api_key", "api_secret")
               if name not in (answers.refers or {})}  # fmt: skip
    there = [path for path in (*secrets, output) if path.exists()]
    if there:
        raise UsageError(f"{there[0]} is there already, and is not overwritten", action=_ELSEWHERE)
    files = {output.absolute(): (text, 0o644), **{path: (f"{value}\n", 0o600) for path, value in secrets.items()}}
    for path, (content, mode) in files.items():
        _create(path, content, mode)
    return list(files)


def _create(path: Path, content: str, mode: int) -> None:
    import os

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8") as file:
            file.write(content)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror}") from None


def _next(found: dict[str, Any], jobs: list[Job], output: Path) -> list[dict[str, str]]:
    """What to do now, as command and what for."""
    config = "" if output == Path("config.toml") else f" -c {output}"
    steps = [("check" + config, "who must do what, before anything runs")]
    if jobs:
        steps.append((f"once {jobs[0].name} --dry-run{config}", "what it would do; nothing is changed"))
    steps.append(("", f"set enabled = true in {output} for what you want"))
    if found["system_manager"]:
        steps.append((f"setup --user daemon@example.com{config}", "a user with the rights of just these jobs"))
    else:
        steps.append(("setup" + config, "what the jobs need on the site; a System Manager's key makes it"))
    if _is_command("install-service"):
        steps.append(("install-service", "run it under systemd"))
    else:
        steps.append(("run" + config, "run the jobs on their schedules; README tells how under systemd"))
    return [{"command": f"frappe-daemon {what}" if what else "", "why": why} for what, why in steps]


def _is_command(name: str) -> bool:
    from daemon.cli import cli

    groups = [cli, *(group.typer_instance for group in cli.registered_groups if group.typer_instance)]
    return any(one.name == name for group in groups for one in group.registered_commands)
