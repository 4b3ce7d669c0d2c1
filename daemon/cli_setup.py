"""`frappe-daemon setup`: what the enabled jobs need on the site, and a user of the daemon's own with their rights."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from daemon.errors import Exit, NotFound, OutputError, SiteError, Transient, UsageError
from daemon.terminal import ConfigOption, JsonOption, opened, show

if TYPE_CHECKING:
    from daemon.config import Job
    from daemon.core.doctype import DocType
    from daemon.core.rights import Rights
    from daemon.site.account import Key
    from daemon.site.client import Site
    from daemon.site.provision import Step

commands = typer.Typer()
FILES = ("api_key", "api_secret")


@commands.command()
def setup(
    config: ConfigOption = None,
    apply: Annotated[bool, typer.Option("--apply", help="Do it; without, the plan is shown and nothing done.")] = False,
    remove: Annotated[bool, typer.Option("--remove", help="Take away what setup made, and nothing else.")] = False,
    user: Annotated[
        str, typer.Option("--user", help="Make this user, with a role that may do what the jobs need and no more.")
    ] = "",
    key_files: Annotated[
        Path | None, typer.Option("--key-files", help="Put its key into files of this directory; else it is printed.")
    ] = None,
    new_key: Annotated[bool, typer.Option("--new-key", help="Make it a new key although it has one.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Make the DocTypes and fields on the site that the enabled jobs need, and a user with the rights for them."""
    from daemon.app import IMPATIENT
    from daemon.site import account, provision

    _understood(user, remove=remove, key=bool(key_files) or new_key)
    key = account.Key(user) if user else None
    with opened(config, None, level="warning", setup=True) as app:
        with app.site(IMPATIENT) as site:
            if remove:
                steps = list(account.planned(lambda: [*account.to_remove(site), *provision.to_remove(site)]))
            else:
                jobs = [job for job in app.config.jobs.values() if job.settings.enabled]
                steps = _plan(site, jobs, user, key, new_key)
            steps = [_into_files(step, key, key_files) for step in steps]
            if apply:
                steps = list(provision.apply(site, steps))
        found = app.redact([step.as_json() for step in steps])
    made = {name: getattr(key, name) for name in FILES} if key and key.api_secret and not key_files else {}
    if as_json and made:
        found[-1] |= made
    show(found, as_json, "of_steps", apply)
    if not as_json:
        _tell(key, key_files)
    raise typer.Exit(Exit.SOME_FAILED if any(step.state == "refused" for step in steps) else Exit.DONE)


def _understood(user: str, *, remove: bool, key: bool) -> None:
    if remove and user:
        raise UsageError("--remove takes away the user that setup made, whoever it is; leave out --user")
    if key and not user:
        raise UsageError("--key-files and --new-key are about the key of a user: say --user daemon@example.com, too")
    if user and ("@" not in user or " " in user):
        raise UsageError(f"--user {user!r}: users of Frappe are e-mail addresses, such as daemon@example.com")


def _plan(site: Site, jobs: list[Job], user: str, key: Key | None, new_key: bool) -> list[Step]:
    """DocTypes and fields; then rights, by a role of setup's own where there is one, or shall be."""
    from daemon.site import account

    refusals: list[Step] = []
    users = {user: None} if user else {}
    refusals += account.planned(lambda: users.update(dict.fromkeys(account.holders(site))) or ())
    steps = list(_provisions(site, jobs, without_roles=bool(users)))
    if refusals and user:
        return [*steps, *refusals]
    if users:
        steps += account.planned(lambda: account.to_make(site, list(users), _rights(site, jobs), key))
        if key and new_key and steps[-1].state == "exists":
            steps[-1] = account.new_key(site, key)
    return steps


def _rights(site: Site, jobs: list[Job]) -> Rights:
    from daemon.check import needs_of, sections
    from daemon.core.rights import rights_of

    def meta(doctype: str) -> DocType | None:
        try:
            return site.meta(doctype)
        except NotFound:
            return None

    return rights_of(((job.section, need) for job in sections(jobs) for need in needs_of(job, site)), meta)


def _provisions(site: Site, jobs: Iterable[Job], *, without_roles: bool) -> Iterator[Step]:
    """The plan for all that kinds ask for."""
    from daemon.site import account, provision

    wanted: list[Any] = []
    for job in jobs:
        try:
            if ask := getattr(job.kind, "provisions", None):
                wanted += ask(job.settings, site)
        except Transient:
            raise
        except SiteError as error:
            yield provision.refused(provision.Step(f"what {job.name} needs", "refused"), error)
    yield from provision.to_make(site, account.without_roles(wanted) if without_roles else wanted)


# The key


def _into_files(step: Step, key: Key | None, directory: Path | None) -> Step:
    """The step that makes the key also writes it down. What cannot be written is known before the key is made."""
    if directory is None or key is None or step.act is None or step.what != f"API key of {key.user}":
        return step
    _refuse_those_there(directory)
    make = step.act

    def act() -> str:
        files = {name: _opened(directory, name) for name in FILES}
        try:
            state = make()
        except BaseException:
            for name in files:
                (directory / name).unlink(missing_ok=True)
            raise
        for name, file in files.items():
            _write(directory / name, file, getattr(key, name))
        return state

    return replace(step, act=act)


def _refuse_those_there(directory: Path) -> None:
    for name in FILES:
        if (directory / name).exists():
            raise UsageError(
                f"{directory / name} is there already, and is not overwritten",
                action="Name another directory, or take the file away.",
            )


def _opened(directory: Path, name: str) -> int:
    """A new file that its owner alone may read."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        return os.open(directory / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise OutputError(f"{directory / name}: cannot be made: {error.strerror}") from None


def _write(path: Path, file: int, text: str) -> None:
    try:
        with os.fdopen(file, "w") as opened_file:
            opened_file.write(f"{text}\n")
    except OSError as error:
        action = "Free space on the disk, then run setup again with --new-key."
        raise OutputError(f"{path}: cannot be written: {error.strerror}", action=action) from None


def _tell(key: Key | None, directory: Path | None) -> None:
    if not (key and key.api_secret):
        return
    if directory is None:
        typer.echo(f"\napi_key: {key.api_key}\napi_secret: {key.api_secret}")
        typer.echo("The secret is shown this once. Put both where site.api_key and site.api_secret point.")
        return
    typer.echo("\nThe key is in these files. In config.toml, [site]:")
    for name in FILES:
        typer.echo(f'    {name} = {{ file = "{directory.absolute() / name}" }}')
