"""config.toml: every problem at once, in words for the person who edits it, and no secret in any of them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from daemon import check, config
from daemon.config import Config
from daemon.core.settings import Secret
from daemon.errors import ConfigError, Exit

ROOT = Path(__file__).parent.parent
ENVIRON = {"KEY": "k", "SECRET": "s"}
SITE = """
[site]
url = "https://erp.example.com"
api_key = { env = "KEY" }
api_secret = { env = "SECRET" }
"""
JOB = """
[jobs.a]
kind = "cleanup"
schedule = "daily"
[[jobs.a.rules]]
doctype = "Error Log"
older_than = "30d"
"""


def load(folder: Path, text: str, environ: Mapping[str, str] = ENVIRON, **options: Any) -> Config:
    file = folder / "config.toml"
    file.write_text(text, encoding="utf-8")
    return config.load(file, environ, **options)


def problems(folder: Path, text: str, environ: Mapping[str, str] = ENVIRON) -> list[str]:
    """Each without the name of the file, which all have."""
    with pytest.raises(ConfigError) as caught:
        load(folder, text, environ)
    prefix = f"{folder / 'config.toml'}: "
    assert caught.value.exit_code == Exit.CONFIGURATION == 78
    assert all(problem.startswith(prefix) for problem in caught.value.problems)
    return [problem.removeprefix(prefix) for problem in caught.value.problems]


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    """Each with the file, the path of its key, the value and, where one is near, what was meant."""
    text = """
        [site]
        url = "erp.example.com"
        api_key = { env = "KEY" }
        api_secret = { env = "SECRET" }
        concurency = 4
        timeouts = { read = "soon" }
        [jobs.a]
        kind = "cleanup"
        schedule = "61 * * * *"
        [[jobs.a.rules]]
        doctype = "Error Log"
        older_than = "30d"
        filters = [["a", "lke", "x"]]
        [[jobs.a.rules]]
        doctype = "Version"
        keep_latest = "5"
    """
    found = problems(tmp_path, text)
    assert len(found) == 6
    expected = [
        'site.url = "erp.example.com": is the site\'s address, such as "https://erp.example.com"',
        "site.concurency: unknown key; did you mean 'concurrency'?",
        "site.timeouts.read = \"soon\": 'soon' is no length of time; write",
        "jobs.a.rules[0].filters = [['a', 'lke', 'x']]: 'lke' is no operator; did you mean 'like'?",
        'jobs.a.rules[1].keep_latest = "5": should be a valid integer',
        'jobs.a.schedule = "61 * * * *": ',
    ]
    for sentence in expected:
        assert [problem for problem in found if problem.startswith(sentence)], (sentence, found)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (JOB, "site: this section is missing; add [site]"),
        (SITE, "jobs: there is no job; add a section such as [jobs.maintenance]"),
        ("", "jobs: there is no job"),
        ("", "site: this section is missing"),
        (SITE + "[job.a]\n" + JOB, "job: unknown key; did you mean 'jobs'?"),
        (SITE + "[stat]\n" + JOB, "stat: unknown key; did you mean 'state'?"),
        ("jobs = 5\n" + SITE, "jobs: there is no job"),
        (SITE + '[jobs]\na = "x"', "jobs.a = 'x': a job is a section: [jobs.a]"),
        (SITE + JOB.replace("cleanup", "clenup"), 'jobs.a.kind = "clenup": there is no such kind'),
        (SITE + JOB.replace("cleanup", "clenup"), "; did you mean 'cleanup'?"),
        (SITE + JOB.replace('"cleanup"', "5"), "jobs.a.kind = 5: should be a valid string"),
        (SITE + JOB.replace('kind = "cleanup"', ""), "jobs.a.kind: is missing"),
        (SITE + JOB.replace('schedule = "daily"', ""), "jobs.a.schedule: is missing"),
        (SITE + JOB.replace('"daily"', '"dayly"'), 'jobs.a.schedule = "dayly": '),
        (SITE + JOB.replace('"daily"', '"0 25 * * *"'), 'jobs.a.schedule = "0 25 * * *": '),
        (SITE + JOB.replace("older_than", "older_then"), "older_then: unknown key; did you mean 'older_than'?"),
        (SITE + JOB.replace('"30d"', '"30"'), "jobs.a.rules[0].older_than = \"30\": '30' is no length of time"),
        (SITE + JOB.replace('"30d"', "30"), "jobs.a.rules[0].older_than = 30: is a length of time in quotes"),
        (SITE + JOB.replace('"30d"', '"0s"'), 'older_than = "0s": an age below a minute would remove'),
        (SITE + JOB.replace('"Error Log"', '""'), 'rules[0].doctype = "": string should have at least 1 character'),
        (SITE + JOB.replace('"30d"', '"9999999d"'), "'9999999d' is longer than a hundred years"),
        (SITE + JOB + 'archive = 7', 'rules[0].archive = 7: is a path in quotes, such as '),
        (SITE + JOB + 'archive = ""', 'rules[0].archive = "": is a path in quotes, such as '),
        (SITE + JOB + 'archive = "a\\u0000b"', 'is a path in quotes, such as '),
        (SITE + '[state]\npath = "~nosuchuser/x"\n' + JOB, "~nosuchuser is no user of this machine"),
        (SITE + 'site_name = "a\\nb"\n' + JOB, "is sent as a header, so it holds printable ASCII"),
        (SITE + 'site_name = "\u0436"\n' + JOB, "is sent as a header, so it holds printable ASCII"),
        (SITE.replace(".com", ".com:99999") + JOB, 'erp.example.com:99999": Port out of range'),
        (SITE.replace(".com", ".com:x") + JOB, "Port could not be cast"),
        (SITE.replace(".com", ".com:0") + JOB, "a character or a port that no address has"),
        (SITE.replace(".com", ".com a") + JOB, "a character or a port that no address has"),
        (SITE.replace("erp.", "erp..") + JOB, "site.url = "),
        (SITE + JOB.replace('older_than = "30d"', ""), "jobs.a.rules[0]: an empty rule would remove everything"),
        (SITE + JOB.replace("[jobs.a]", '[jobs."a b"]'), "jobs.a b: a job's name is made of letters"),
        (SITE + '[log]\nlevel = "inof"\n' + JOB, "must be one of 'debug', 'info', 'warning' or 'error'"),
        (SITE + '[log]\nlevel = "inof"\n' + JOB, "did you mean 'info'?"),
        (SITE + '[schedule]\ntime_zone = "Europe/Berln"\n' + JOB, 'time_zone = "Europe/Berln": is no time zone'),
        (SITE + '[schedule]\ntime_zone = "../etc"\n' + JOB, 'schedule.time_zone = "../etc": is no time zone'),
        (SITE + '[schedule]\ntime_zone = ""\n' + JOB, 'schedule.time_zone = "": is no time zone'),
        (SITE + '[state]\nurl = "sqlite:///x"\n' + JOB, 'state.url = "sqlite:///x": is the address of a database on'),
        (SITE + '[state]\nurl = "postgresql://db"\n' + JOB, "is the address of a database on PostgreSQL, such as"),
        (SITE + '[state]\nurl = "postgresql://db/x?sslmod=a"\n' + JOB, "knows no 'sslmod'; did you mean 'sslmode'?"),
        (SITE + '[state]\nurl = "postgresql://db/x"\npath = "y"\n' + JOB, "state: names both path and url"),
        (SITE + '[state]\npassword = { env = "KEY" }\n' + JOB, "state: names a password, and no url"),
        (SITE + '[state]\nkeep_runs = "0d"\n' + JOB, 'state.keep_runs = "0d": must be longer than zero'),
        (SITE + "concurrency = 0\n" + JOB, "site.concurrency = 0: should be greater than or equal to 1"),
        (SITE + "verify = 1\n" + JOB, "site.verify = 1: should be a valid boolean"),
        (SITE + "retry = { attempt = 3 }\n" + JOB, "site.retry.attempt: unknown key; did you mean 'attempts'?"),
        (SITE.replace(".com", ".com/app") + JOB, 'ends after the host; write "https://erp.example.com"'),
        (SITE.replace("https", "ftp") + JOB, 'site.url = "ftp://erp.example.com": is the site\'s address'),
        ("site = 5\n" + JOB, "site = 5: should be a table"),
    ],
)  # fmt: skip
def test_each_mistake_has_its_sentence(text: str, problem: str, tmp_path: Path) -> None:
    """Nobody needs to know pydantic to understand it."""
    found = problems(tmp_path, text)
    assert any(problem in sentence for sentence in found), found
    assert not any("pydantic" in sentence or "Input should" in sentence for sentence in found)


def test_an_unknown_kind_lists_those_there_are(tmp_path: Path) -> None:
    """And the rest of its section is still looked at."""
    text = SITE + '[jobs.a]\nkind = "xyzzy"\nschedule = "dayly"\ntimeout = 5\nwhat_it_needs = []'
    found = "\n".join(problems(tmp_path, text))
    assert f"(there are: {', '.join(config.kinds())})" in found
    assert "jobs.a.schedule" in found and "jobs.a.timeout = 5" in found and "what_it_needs" not in found


@pytest.mark.parametrize("module", config.kinds())
def test_every_kind_has_what_the_runner_asks_for(module: str) -> None:
    """Its file in daemon/jobs/ is all that makes it a kind."""
    kind = config.module_of(module)
    assert {"Settings", "needs", "parts"} <= set(dir(kind))
    assert issubclass(kind.Settings, config.JobSettings)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"[site\n", "is not TOML: .*line 1"),
        (b"a = " + b"[" * 3000, "is nested too deeply"),
        (b'a = 1\na = "two"\n', "is not TOML: .*line 2"),
        (b'# caf\xe9\n[site]\n', r"is not UTF-8 text \(byte 5\)"),
        (None, "cannot be read: No such file or directory"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_read_says_why(content: bytes | None, sentence: str, tmp_path: Path) -> None:
    """With its name, and the place where it is broken."""
    file = tmp_path / "config.toml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=sentence) as caught:
        config.load(file, {})
    assert str(file) in str(caught.value) and caught.value.exit_code == 78


def test_a_directory_is_no_configuration(tmp_path: Path) -> None:
    """It is told, as everything else."""
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        config.load(tmp_path, {})


# Secrets


def with_secret(reference: str) -> str:
    return SITE.replace('{ env = "SECRET" }', reference) + JOB


@pytest.mark.parametrize(
    "reference", ['{ env = "S" }', '{ file = "secret.txt" }', '{ file = "ABSOLUTE" }', '{ credential = "frappe" }']
)
def test_secrets_come_from_where_they_are_named(reference: str, tmp_path: Path) -> None:
    """The environment, a file beside the configuration or anywhere, or systemd; blanks around them are not theirs."""
    (tmp_path / "secret.txt").write_text("s3cret\n")
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials" / "frappe").write_text("s3cret\n")
    environ = {"KEY": "k", "S": " s3cret ", "CREDENTIALS_DIRECTORY": str(tmp_path / "credentials")}
    loaded = load(tmp_path, with_secret(reference.replace("ABSOLUTE", str(tmp_path / "secret.txt"))), environ)
    assert loaded.site.api_secret == Secret("s3cret")
    assert "s3cret" not in f"{loaded} {loaded!r} {loaded.site.model_dump()}"


@pytest.mark.parametrize(
    ("reference", "problem"),
    [
        ('{ env = "NONE" }', "site.api_secret: the secret is not there: environment variable NONE is not set or empty"),
        ('{ env = "BLANK" }', "site.api_secret: the secret is not there: environment variable BLANK"),
        ('{ file = "none" }', "none: No such file or directory"),
        ('{ file = "empty" }', "site.api_secret: the secret is not there: file empty is empty"),
        ('{ file = "binary" }', "binary: not text"),
        ('{ file = "lines" }', "site.api_secret: file lines holds more than one line"),
        ('{ file = "pipe" }', "pipe is no file"),
        ('{ file = "~nosuchuser/x" }', "~nosuchuser is no user of this machine"),
        ('{ credential = "c" }', "only systemd sets $CREDENTIALS_DIRECTORY, for a unit with LoadCredential=c:/path"),
        ('{ evn = "X" }', "site.api_secret: a secret is named as"),
    ],
)
def test_a_secret_that_is_not_there_is_missed_by_name(reference: str, problem: str, tmp_path: Path) -> None:
    """Before the first run, and not as a 401 in the night."""
    (tmp_path / "empty").write_text(" \n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "lines").write_text("key\nsecret\n")
    os.mkfifo(tmp_path / "pipe")
    (sentence,) = problems(tmp_path, with_secret(reference), {"KEY": "k", "BLANK": "  "})
    assert problem in sentence


@pytest.mark.parametrize(
    "text",
    [
        with_secret('"hunter2hunter2"'),
        with_secret('{ value = "hunter2hunter2" }'),
        with_secret('{ env = "A", secret = "hunter2hunter2" }'),
        with_secret('["hunter2hunter2"]'),
        with_secret('{ env = "SECRET" }\napi_sekret = "hunter2hunter2"'),
        SITE.replace("https://", "https://me:hunter2hunter2@") + JOB,
        SITE.replace("https://", "ftp://hunter2hunter2@") + JOB,
    ],
)
def test_a_secret_in_clear_is_refused_and_not_repeated(text: str, tmp_path: Path) -> None:
    """Neither in the sentence nor in the error that carries it."""
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    assert caught.value.problems
    assert "hunter2" not in f"{caught.value!r} {caught.value.problems} {caught.value.__cause__!r}"


def test_what_only_shows_needs_no_secrets(tmp_path: Path) -> None:
    """A systemd credential is there for the service alone; one written in clear is refused all the same."""
    assert load(tmp_path, with_secret('{ credential = "c" }'), {}, secrets=False).site.api_secret == Secret("")
    with pytest.raises(ConfigError):
        load(tmp_path, with_secret('"in clear"'), {}, secrets=False)


# What is loaded


def test_paths_are_beside_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the process was started; absolute ones stay, and so does the default of the state."""
    folder = tmp_path / "etc"
    folder.mkdir()
    monkeypatch.chdir(tmp_path)
    archive = JOB + 'archive = "kept"\n'
    loaded = load(folder, SITE + 'ca_file = "ca.pem"\n[state]\npath = "../state.db"\n' + archive)
    assert loaded.site.ca_file == folder / "ca.pem"
    assert loaded.state.path.resolve() == tmp_path / "state.db"
    assert loaded.jobs["a"].settings.rules[0].archive == folder / "kept"
    assert load(folder, SITE + '[state]\npath = "/x/y.db"\n' + JOB).state.path == Path("/x/y.db")
    assert load(folder, SITE + JOB).state.path == Path("/var/lib/frappe-daemon/state.db")


def test_an_address_is_made_plain(tmp_path: Path) -> None:
    """A slash at its end is no path; the port stays."""
    loaded = load(tmp_path, SITE.replace(".com", ".com:8443/") + JOB)
    assert loaded.site.url == "https://erp.example.com:8443"


def test_whole_sections_can_be_replaced(tmp_path: Path) -> None:
    """The demo runs the example's jobs against its own site."""
    other = {"url": "http://127.0.0.1:1", "api_key": Secret("k"), "api_secret": Secret("s")}
    loaded = load(tmp_path, SITE + JOB, {}, replace={"site": other})
    assert loaded.site.url == "http://127.0.0.1:1" and loaded.site.api_key == Secret("k")


def test_the_shipped_example_loads() -> None:
    """As it stands, with the two variables that it names and nothing else."""
    loaded = config.load(ROOT / "config.toml", {"FRAPPE_API_KEY": "k", "FRAPPE_API_SECRET": "s"})
    assert loaded.site.url == "https://erp.example.com"
    assert {job.kind.__name__.rpartition(".")[2].rstrip("_") for job in loaded.jobs.values()} <= set(config.kinds())
    rules = loaded.jobs["maintenance"].settings.rules
    assert [rule.doctype for rule in rules] == ["Error Log", "Activity Log", "Email Queue", "Version"]
    assert rules[0].older_than == timedelta(days=30) and loaded.jobs["maintenance"].settings.timeout > timedelta(0)


def test_the_file_is_looked_for_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As named, else by the environment, else here, else in /etc; where there is none, all of them are told."""
    monkeypatch.chdir(tmp_path)
    here, etc = Path("config.toml"), tmp_path / "etc.toml"
    monkeypatch.setattr(config, "PLACES", (here, etc))
    named = {"FRAPPE_DAEMON_CONFIG": "/from/environ.toml"}
    with pytest.raises(ConfigError, match=r"neither --config nor \$FRAPPE_DAEMON_CONFIG .* config.toml or .*etc.toml"):
        config.find(None, {"FRAPPE_DAEMON_CONFIG": ""})
    etc.touch()
    assert config.find(None, {}) == etc
    here.touch()
    assert config.find(None, {}) == here
    assert config.find(None, named) == Path("/from/environ.toml")
    assert config.find(Path("/named.toml"), named) == Path("/named.toml")


def test_two_jobs_on_one_inbox_are_refused(tmp_path: Path) -> None:
    """By whatever name: each file would go to whichever of them came first."""
    inbox = '[jobs.{}]\nkind = "import"\nschedule = "daily"\ndoctype = "ToDo"\ninbox = "{}"\n'
    (tmp_path / "in").mkdir()
    (tmp_path / "same").symlink_to(tmp_path / "in")
    found = problems(tmp_path, SITE + inbox.format("a", "in") + inbox.format("b", "same"))
    assert found == [f"jobs.b: works in {tmp_path}/same, and so does jobs.a; give each a directory of its own"]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('listen = "0.0.0.0:9464"', "no loopback address"),
        ('listen = "[::]:9464"', "public = true"),
        ('listen = "9464"', "an address of this machine"),
        ('listen = "127.0.0.1"', "an address of this machine"),
        ('listen = "127.0.0.1:99999"', "an address of this machine"),
        ('listen = "example.com:80"', "an address of this machine"),
    ],
)
def test_a_status_page_is_for_this_machine_unless_said_otherwise(line, says, tmp_path):
    """A page without a password is not opened to others by a slip."""
    assert says in "; ".join(problems(tmp_path, f"{SITE}[status]\n{line}\n{JOB}"))


@pytest.mark.parametrize(
    "line",
    [
        'listen = "127.0.0.1:9464"',
        'listen = "[::1]:0"',
        'listen = "localhost:1"',
        'listen = "[::]:1"\npublic = true',
        "",
    ],
)
def test_what_a_status_page_may_listen_on(line, tmp_path):
    """Loopback as it is, other addresses where that is said to be meant; nothing by default."""
    assert bool(load(tmp_path, f"{SITE}[status]\n{line}\n{JOB}").status.listen) == bool(line)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("after = 0", "after"),
        ('max_age = "never"', "no length of time"),
        ('email = ["nobody"]', "no e-mail address"),
        ('webhook = { url = "hooks.example.com/private" }', "is an address"),
        ('webhook = { url = { env = "NO" } }', "not there"),
        ("webhook = {}", "missing"),
        ('webhook = { url = "https://x.example.com", headers = { "a b" = "private" } }', "no header's name"),
        ('webhook = { url = "https://x.example.com", headers = { A = "privaté" } }', "ASCII"),
        ("befor = 3", "unknown key"),
    ],
)
def test_alerts_that_could_not_be_sent_are_told_at_once(line, says, tmp_path):
    """Before anybody relies upon them; an address of a webhook is a secret, so it is in no message."""
    found = "; ".join(problems(tmp_path, f"{SITE}[alerts]\n{line}\n{JOB}"))
    assert says in found and "alerts" in found and "privat" not in found


def test_a_jobs_own_alerts_go_before_those_of_all(tmp_path):
    """Key by key; what it does not say is as for all."""
    top = '[alerts]\nafter = 5\nemail = ["a@example.com"]\nwebhook = { url = "https://x.example.com/y" }\n'
    own = 'alerts = { max_age = "26h", email = [], users = ["ann"] }\n[[jobs.a.rules]]'
    found = load(tmp_path, SITE + top + JOB.replace("[[jobs.a.rules]]", own))
    alerts = found.alerts_of(found.jobs["a"])
    assert alerts.rule.after == 5 and alerts.rule.max_age == timedelta(hours=26)
    assert alerts.channels == ["webhook", "user ann"] and "example.com/y" not in repr(alerts)


def test_a_state_on_postgresql_is_named_by_its_url_and_a_secret(tmp_path: Path) -> None:
    """The driver is ours to know; parameters of the way there are kept."""
    text = 'url = "postgresql://me@db.example.com/x?sslmode=verify-full"\npassword = { env = "SECRET" }\n'
    state = load(tmp_path, SITE + "[state]\n" + text + JOB).state
    assert state.url == "postgresql+psycopg://me@db.example.com/x?sslmode=verify-full"
    assert state.password == Secret("s")


@pytest.mark.parametrize("url", ["postgresql://me:hunter2@db/x", "postgresql://db/x?user=a&password=hunter2"])
def test_a_password_in_the_url_of_the_state_is_refused_and_not_shown(url: str, tmp_path: Path) -> None:
    """The sentence says where it belongs."""
    (sentence,) = problems(tmp_path, SITE + f'[state]\nurl = "{url}"\n' + JOB)
    assert 'must not hold a password; name it beside the url: password = { env = "NAME" }' in sentence
    assert "hunter2" not in sentence


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("postgresql://db.example.com/x", "sslmode require: nobody checks that the server is the right one"),
        ("postgresql://db.example.com/x?sslmode=disable", "anybody between here and the database can read the state"),
        ("postgresql://db.example.com/x?sslmode=verify-full", ""),
        ("postgresql://localhost/x", ""),
        ("postgresql:///x?host=/run/postgresql", ""),
    ],
)
def test_check_warns_of_a_way_to_the_database_that_others_may_read_or_bend(url: str, told: str, tmp_path: Path) -> None:
    """Within one machine there is none."""
    loaded = load(tmp_path, SITE + f'[state]\nurl = "{url}"\n' + JOB)
    warnings = [found.what for found in check.of_config(loaded) if found.level == check.WARNING]
    assert [told in what for what in warnings] == [True] * bool(told)
