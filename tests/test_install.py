"""`install-service`: what it writes, with which modes, whose edits it leaves alone; the units as systemd reads them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from daemon import config, install
from daemon.cli import main
from daemon.errors import OutputError, UsageError
from daemon.shipped import EXAMPLE, UNITS

ETC, SYSTEM = Path("etc/frappe-daemon"), Path("etc/systemd/system")
ANALYZE = shutil.which("systemd-analyze")
needs_systemd = pytest.mark.skipif(not ANALYZE, reason="there is no systemd-analyze on this machine")
SERVICES = [install.Service(), install.Service("shop")]
LARGEST_EXPOSURE = 1.5


def written(root: Path, service: install.Service = SERVICES[0], version: int = 252) -> dict[str, str]:
    """File → what became of it."""
    found = install.write(install.items(service, version, None), root)
    return {path.relative_to(root).as_posix(): what for path, what in found}


def test_files_have_the_modes_that_the_service_and_its_secrets_need(tmp_path):
    """Whatever the umask: a configuration that a dynamic user can read, keys for root alone."""
    before = os.umask(0o077)
    try:
        assert set(written(tmp_path).values()) == {"written"}
    finally:
        os.umask(before)
    modes = {path.relative_to(tmp_path).as_posix(): path.stat().st_mode & 0o777 for path in tmp_path.rglob("*")}
    assert modes == {
        "etc": 0o755, "etc/frappe-daemon": 0o755, "etc/systemd": 0o755, "etc/systemd/system": 0o755,
        "etc/systemd/system/frappe-daemon.service": 0o644, "etc/frappe-daemon/config.toml": 0o644,
        "etc/frappe-daemon/api_key": 0o600, "etc/frappe-daemon/api_secret": 0o600,
    }  # fmt: skip


@pytest.mark.parametrize("service", SERVICES, ids=["one", "instance"])
def test_the_written_configuration_works_with_the_written_unit(service, tmp_path):
    """It names the credentials that the unit loads, and its state and inbox lie in the unit's StateDirectory."""
    written(tmp_path, service)
    etc = tmp_path / service.etc.relative_to("/")
    unit = (tmp_path / SYSTEM / service.file).read_text().replace("%i", service.instance)
    credentials = dict(re.findall(r"^LoadCredential=(\w+):(.*)$", unit, re.MULTILINE))
    assert credentials == {key: f"{service.etc}/{key}" for key in ("api_key", "api_secret")}
    for key in credentials:
        (etc / key).write_text(f"the {key}\n")
    loaded = config.load(etc / "config.toml", {"CREDENTIALS_DIRECTORY": str(etc)})
    assert loaded.site.api_secret.reveal() == "the api_secret"
    (directory,) = re.findall(r"^StateDirectory=(.*)$", unit, re.MULTILINE)
    assert loaded.state.path.parent == Path("/var/lib", directory)
    assert loaded.jobs["items"].settings.inbox.is_relative_to(loaded.state.path.parent)
    assert f"--config {service.etc}/config.toml\n" in unit


def test_what_somebody_edited_stays(tmp_path):
    """Units, configuration and keys; what nobody touched is brought up to date or left as it is."""
    written(tmp_path)
    unit, settings, key = (
        tmp_path / SYSTEM / "frappe-daemon.service",
        tmp_path / ETC / "config.toml",
        tmp_path / ETC / "api_key",
    )
    assert set(written(tmp_path).values()) == {"is there already"}
    unit.write_text(unit.read_text() + "# mine\n")
    settings.write_text("mine")
    key.write_text("mine")
    again = written(tmp_path)
    assert again["etc/systemd/system/frappe-daemon.service"].startswith("kept: somebody edited it")
    assert again["etc/frappe-daemon/config.toml"].startswith("kept")
    assert again["etc/frappe-daemon/api_key"] == "kept: it holds a key"
    assert settings.read_text() == key.read_text() == "mine" and unit.read_text().endswith("# mine\n")


def test_a_unit_of_an_older_version_gives_way_where_nobody_edited_it(tmp_path):
    """Its first line holds a checksum of the others."""
    written(tmp_path)
    unit = tmp_path / SYSTEM / "frappe-daemon.service"
    unit.write_text(install._marked("[Unit]\nDescription=older\n"))
    assert written(tmp_path)["etc/systemd/system/frappe-daemon.service"] == "brought up to date"
    assert "older" not in unit.read_text()


def test_removing_takes_away_what_was_written_and_nothing_of_others(tmp_path):
    """A key that somebody put there stays, and so does what else is in the directories."""
    before = install.items(install.Service(), 257, None)
    written(tmp_path, version=257)
    (tmp_path / ETC / "api_key").write_text("mine")
    found = dict(install.remove(before, tmp_path))
    assert found.pop(tmp_path / ETC / "api_key") == "kept: it is yours" and set(found.values()) == {"removed"}
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / ETC / "api_key"]
    assert (tmp_path / SYSTEM).is_dir() and not list((tmp_path / SYSTEM).iterdir())


@pytest.mark.parametrize(("version", "there"), [(0, False), (249, False), (252, False), (253, True), (257, True)])
def test_the_drop_in_is_for_those_who_know_notify_reload(version, there, tmp_path):
    """An older systemd would not know the type, and forget the reload by signal."""
    drop_in = "etc/systemd/system/frappe-daemon.service.d/10-notify-reload.conf"
    assert (drop_in in written(tmp_path, version=version)) is there
    if there:
        lines = (tmp_path / drop_in).read_text().splitlines()
        assert {"Type=notify-reload", "ExecReload="} < set(lines)


def test_the_unit_finds_the_command_where_it_is(tmp_path):
    """In a virtual environment of another place than the usual ones."""
    (unit, *_) = install.items(install.Service(), 252, Path("/srv/daemon/bin"))
    assert "Environment=PATH=/srv/daemon/bin:/opt/frappe-daemon/bin:" in unit.content
    (unit, *_) = install.items(install.Service(), 252, Path("/opt/frappe-daemon/bin"))
    assert "Environment=PATH=/opt/frappe-daemon/bin:/usr/local/bin" in unit.content
    assert list(install.concerns(252, Path("/home/me/venv/bin"))) and not list(
        install.concerns(252, Path("/opt/x/bin"))
    )
    assert "older" not in str(list(install.concerns(0, None))) and "this is systemd 240" in str(
        list(install.concerns(240, None))
    )


def test_printing_writes_nothing(tmp_path, capsys):
    """And shows each file whole."""
    main_exits(["install-service", "--print", "--root", str(tmp_path), "--instance", "shop"])
    shown = capsys.readouterr().out
    assert (
        "# --- /etc/frappe-daemon/shop/api_secret (mode 0600)" in shown and "StateDirectory=frappe-daemon-%i" in shown
    )
    assert not list(tmp_path.iterdir())


def test_the_command_says_what_to_do_next(tmp_path, capsys):
    """With the names of the instance; and what it took away."""
    main_exits(["install-service", "--root", str(tmp_path), "--instance", "shop"])
    assert "systemctl enable --now frappe-daemon@shop" in capsys.readouterr().out
    main_exits(["install-service", "--root", str(tmp_path), "--instance", "shop", "--remove"])
    assert "daemon-reload" in capsys.readouterr().out
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def main_exits(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code in (0, None)


@pytest.mark.parametrize("name", ["../x", "A", "a b", "-a", "x" * 41, "a%i"])
def test_a_name_that_no_unit_can_have_is_refused(name):
    """It becomes part of paths."""
    with pytest.raises(UsageError, match="--instance"):
        install.service(name)


def test_who_may_not_write_is_told_what_to_do(tmp_path):
    """Not by a traceback. A file stands where a directory must be, which hinders root too."""
    (tmp_path / "etc").write_text("")
    with pytest.raises(OutputError, match="etc") as told:
        written(tmp_path)
    assert "--print" in told.value.action


def test_the_wheel_has_units_and_configuration():
    """From one place each: what is packed lies where an installed package looks for it."""
    packed = tomllib.loads((EXAMPLE.parent / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"][
        "wheel"
    ]
    assert packed["force-include"] == {"config.toml": "daemon/config.example.toml", "systemd": "daemon/systemd"}
    assert {path.name for path in UNITS.iterdir()} == {
        "frappe-daemon.service", "frappe-daemon@.service", "notify-reload.conf"
    }  # fmt: skip


def test_both_units_say_the_same_but_for_the_instance():
    """An edit of one that forgets the other is found."""
    one, many = ((UNITS / service.file).read_text() for service in SERVICES)
    settings = [line for line in one.splitlines() if line and not line.startswith("#")]
    with_instance = [line for line in many.splitlines() if line and not line.startswith("#")]
    differing = {line.partition("=")[0] for line in set(settings) ^ set(with_instance)}
    assert differing == {"Description", "ExecStart", "User", "StateDirectory", "LoadCredential"}


@pytest.fixture(params=SERVICES, ids=["one", "instance"])
def unit(request, tmp_path) -> Path:
    """A unit under the name by which systemd would know it."""
    path = tmp_path / f"{request.param.unit}.service"
    shutil.copy(UNITS / request.param.file, path)
    return path


@needs_systemd
def test_the_unit_is_hardened(unit):
    """Exposure as systemd counts it, from 0 (closed) to 10."""
    said = subprocess.run([ANALYZE, "security", "--offline=yes", unit], capture_output=True, text=True, check=False)
    (exposure,) = re.findall(r"Overall exposure level for \S+: ([0-9.]+)", said.stdout)
    assert float(exposure) <= LARGEST_EXPOSURE, said.stdout


@needs_systemd
def test_systemd_finds_nothing_wrong_with_the_unit(unit):
    """No key that it does not know, no value that it ignores, nothing that it warns of."""
    command = [ANALYZE, "verify", "--recursive-errors=no", unit]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (said.returncode, said.stderr.strip()) == (0, "")


@pytest.mark.skipif(install.systemd_version() < 253, reason="systemd here is older than notify-reload (253)")
def test_systemd_takes_the_drop_in(unit):
    """Together with the unit."""
    folder = unit.with_name(f"{unit.name}.d")
    folder.mkdir()
    shutil.copy(UNITS / "notify-reload.conf", folder / "10-notify-reload.conf")
    test_systemd_finds_nothing_wrong_with_the_unit(unit)
