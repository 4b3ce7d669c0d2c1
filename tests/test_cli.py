"""The commands as a person types them: what they print, with which exit code, and what they say of bad input."""

from __future__ import annotations

import io
import json
import os
import shlex
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from daemon import cli, tables
from daemon.sandbox import Sandbox
from daemon.state import Run
from tests.conftest import days_ago, rules

ERRORS = 'doctype = "Error Log"\nolder_than = "30d"\nstrategy = "rows"'


@pytest.fixture
def site(sandbox, daemon_for):
    """A daemon with old Error Logs to remove, and two jobs."""
    sandbox.seed("Error Log", ({"creation": days_ago(50), "method": "x"} for _ in range(7)))
    sandbox.seed("Error Log", [{"method": "young"}])
    second = '\n[jobs.off]\nkind = "cleanup"\nschedule = "0 8 * * 1"\nenabled = false\n[[jobs.off.rules]]\n' + ERRORS
    return daemon_for(sandbox, rules(ERRORS) + second)


def test_once_prints_a_table_and_history_remembers(site, run):
    """The counts, and the state's record of the same run."""
    code, out, err = run("once", "job", "--config", site.file, environ=site.environ)
    assert code == 0 and "Error Log" in out and "done" in out
    assert json.loads(err.splitlines()[-1])["event"] == "run.finished"
    code, out, _ = run("history", "--json", "--config", site.file)
    (found,) = json.loads(out)
    assert code == 0 and found["status"] == "done" and found["report"]["counts"] == {"done": 7}
    assert run("history", "job", "--config", site.file)[1].count("job") >= 1


def test_once_as_json_is_the_whole_report(site, run):
    """Every count, for a program to read; the log stays on standard error."""
    code, out, _ = run("once", "job", "--dry-run", "--json", "--config", site.file, environ=site.environ)
    found = json.loads(out)
    assert code == 0 and found["dry_run"] and found["counts"] == {"planned": 7}


def test_once_writes_every_row_with_its_reason_where_asked(site, run, tmp_path):
    """One line of JSON a row, kept ones too."""
    run("once", "job", "--dry-run", "--rows", tmp_path / "rows", "--config", site.file, environ=site.environ)
    lines = [json.loads(line) for line in (tmp_path / "rows").read_text().splitlines()]
    assert sorted(line["result"] for line in lines) == ["kept"] + ["planned"] * 7
    assert {line["why"] for line in lines} == {"older than 30d", "kept: not older than 30d"}


def test_jobs_lists_five_slots_each_in_the_sites_zone(site, run):
    """As JSON a list of name, kind, schedule, enabled, next, last, running; a disabled job has no slots."""
    code, out, _ = run("jobs", "--json", "--config", site.file, environ=site.environ)
    first, second = json.loads(out)
    keys = {"name", "kind", "schedule", "enabled", "next", "last", "looked", "running", "held"}
    assert code == 0 and set(first) == keys and first["running"] is None
    assert len(first["next"]) == 5 and all("T00:00:00-0" in slot for slot in first["next"])
    assert second["next"] == [] and not second["enabled"] and second["last"] is None
    assert "disabled" in run("jobs", "--config", site.file)[1]


def test_jobs_needs_no_site_where_the_zone_is_named(daemon_for, sandbox, run):
    """`[schedule] time_zone`, or a zone seen before, answers while the site is down."""
    named = daemon_for(sandbox, rules(ERRORS), top='[schedule]\ntime_zone = "Europe/Berlin"')
    sandbox.requests.clear()
    code, out, _ = run("jobs", "--json", "--config", named.file, environ=named.environ)
    assert code == 0 and "+0" in json.loads(out)[0]["next"][0] and not sandbox.requests


def test_what_is_known_is_shown_without_the_secrets(site, run, monkeypatch):
    """systemd gives credentials to the service alone; an administrator's shell can list jobs and runs all the same."""
    run("once", "job", "--config", site.file, environ=site.environ)
    for name in site.environ:
        monkeypatch.delenv(name)
    assert run("jobs", "--config", site.file)[0] == run("history", "--config", site.file)[0] == 0
    assert run("check", "--config", site.file)[0] == 78


def test_check_is_content_where_everything_is_there(site, run):
    """Version, key, zone, clock, and each job; exit code 0."""
    code, out, _ = run("check", "--config", site.file, environ=site.environ)
    assert code == 0 and "America/New_York" in out and "15.75.0" in out and "✗" not in out


def test_check_names_who_must_do_what(daemon_for, sandbox, run):
    """A forbidden DocType, one only for Administrator, a missing one, a misspelt field: each with a remedy; exit 1."""
    bad = [
        'doctype = "Version"\nolder_than = "9d"',
        'doctype = "Email Queue"\nolder_than = "9d"\nlimit = 5',
        'doctype = "Nonsense"\nolder_than = "9d"',
        'doctype = "ToDo"\nkeep_latest = 3\ngroup_by = ["stauts"]',
    ]
    site = daemon_for(sandbox, rules(*bad), user="manager@example.com")
    code, out, _ = run("check", "--json", "--config", site.file, environ=site.environ)
    problems = [found for found in json.loads(out) if found["level"] == "problem"]
    said = "\n".join(found["what"] for found in problems)
    assert code == 1 and all(found["who"] and found["action"] for found in problems)
    assert "lacks the right to delete Version" in said and "nobody but Administrator" in said
    assert "no DocType 'Nonsense'" in said and "'stauts'; did you mean 'status'?" in said


def test_check_of_a_user_without_log_settings_says_it_goes_row_by_row(daemon_for, sandbox, run):
    """A warning, not a problem: the rule can be followed, at a higher price."""
    sandbox.seed("Custom DocPerm", [{"parent": "Error Log", "role": "Sales User", "read": 1, "delete": 1}])
    site = daemon_for(sandbox, rules('doctype = "Error Log"\nolder_than = "30d"'), user="clerk@example.com")
    code, out, _ = run("check", "--config", site.file, environ=site.environ)
    assert code == 0 and "goes row by row" in out


@pytest.mark.parametrize(
    ("change", "code", "says"),
    [
        (("SECRET", "wrong-secret"), 77, "Generate new API keys"),
        (("http://", "https://"), 75, "scheme and port"),
        (("/127.0.0.1:", "/127.0.0.1:1"), 75, "Check site.url"),
        (("http://127.0.0.1", "ftp://127.0.0.1"), 78, "is the site's address"),
        (('url = "', 'url = "http://user:pw@x/" #'), 78, "must not hold a user"),
    ],
)
@pytest.mark.parametrize("command", [["check"], ["once", "job"], ["jobs"]])
def test_a_site_that_cannot_be_used_is_said_with_the_right_exit_code(
    command, change, code, says, site, run, monkeypatch
):
    """Wrong key, plain http, nobody there, a wrong scheme: a sentence and who must act, never a traceback."""
    monkeypatch.setattr("daemon.app.Retry", lambda **_: __import__("daemon.site.transport").site.transport.Retry(1, 1))
    environ = dict(site.environ)
    if change[0] in environ:
        environ[change[0]] = change[1]
    else:
        text = site.file.read_text().replace(*change, 1)
        if change[0] == "/127.0.0.1:":
            text = site.file.read_text().replace(text.split("127.0.0.1:")[1].split('"')[0], "1", 1)
            text = site.file.read_text().replace(site.file.read_text().split("127.0.0.1:")[1].split('"')[0], "1", 1)
        site.file.write_text(text)
    found, out, err = run(*command, "--config", site.file, environ=environ)
    assert found == code and says in (out + err).replace("\n", " ").replace("  ", " ")


def test_html_instead_of_json_is_no_frappe(run, tmp_path):
    """Another server's page: exit code 75, and where to look."""
    import http.server
    import threading

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<html>Welcome</html>")

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        file = tmp_path / "config.toml"
        url = f"http://127.0.0.1:{server.server_port}"
        keys = 'api_key = { env = "K" }\napi_secret = { env = "K" }\n[state]\npath = "state.db"'
        file.write_text(f'[site]\nurl = "{url}"\n{keys}\n{rules(ERRORS)}')
        code, out, _ = run("check", "--config", file, environ={"K": "some-key"})
        server.shutdown()
    assert code == 75 and "got text/html with HTTP 200" in out.replace("\n", " ") and "Check site.url" in out


def test_an_unknown_job_is_a_usage_error_with_a_suggestion(site, run):
    """Exit code 2, and the jobs that there are."""
    code, _, err = run("once", "jub", "--config", site.file, environ=site.environ)
    assert code == 2 and "did you mean 'job'?" in err and "off" in err


def test_offline_check_asks_nobody(site, run, sandbox):
    """The file alone."""
    code, out, _ = run("check", "--offline", "--config", site.file, environ=site.environ)
    assert code == 0 and "jobs: 2, of which enabled: 1" in " ".join(out.split()) and not sandbox.requests


def test_a_bad_configuration_lists_every_problem(run, tmp_path):
    """All at once, with exit code 78."""
    file = tmp_path / "config.toml"
    file.write_text('[site]\nurl = "x"\n[jobs.a]\nkind = "clean"\nschedule = "soon"\n')
    code, _, err = run("check", "--config", file)
    assert code == 78 and all(word in err for word in ("site.url", "site.api_key", "cleanup", "jobs.a.schedule"))
    file.write_text("")
    code, _, err = run("check", "--config", file)
    assert code == 78 and "this section is missing; add [site]" in err and "there is no job" in err


def test_the_demo_runs_the_shipped_configuration(run):
    """Every job once, a table for each, exit code 0."""
    code, out, _ = run("demo")
    assert code == 0 and "maintenance" in out and out.count("Error Log") >= 1
    assert all(f"{job}  " in out for job in ("items", "weekly", "expiry")) and "13 " in out


def test_tables_are_written_for_narrow_and_wide_terminals(site):
    """Nothing is cut away: a name too long for its column is folded."""
    from rich.console import Console

    report = site.once()
    for width in (60, 100, 200):
        console = Console(width=width, record=True, file=io.StringIO())
        console.print(tables.of_report(report))
        assert "Error" in console.export_text()


def test_help_names_every_command(run):
    """What there is, at a glance."""
    _, out, _ = run("--help")
    assert all(name in out for name in ("run", "once", "explain", "check", "jobs", "history", "sandbox", "demo"))


def test_sandbox_says_where_it_is_and_what_keys_it_takes():
    """Its own process, a free port; ended by SIGTERM."""
    import signal
    import subprocess
    import sys

    import httpx

    command = [sys.executable, "-m", "daemon", "sandbox", "--port", "0", "--data", "empty"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        url = process.stdout.readline().split()[0]
        user, key, secret = process.stdout.readline().strip().replace(": ", ":").split(":")
        answer = httpx.get(f"{url}/api/method/frappe.auth.get_logged_user", auth=(key, secret))
        process.send_signal(signal.SIGTERM)
        assert answer.json() == {"message": user} and process.wait(10) == 0


def test_a_sandbox_may_have_an_orders_api_beside_it(run):
    """On a port of its own; its address and token are printed after the keys."""
    import subprocess
    import sys

    import httpx

    command = [sys.executable, "-m", "daemon", "sandbox", "--port", "0", "--data", "empty", "--orders"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        line = next(line for line in process.stdout if "orders API" in line)
        url, token = line.split()[0], line.split()[-1]
        answer = httpx.get(f"{url}/orders", headers={"Authorization": f"Bearer {token}"})
        process.send_signal(signal.SIGTERM)
        assert answer.json()["data"] == [] and process.wait(10) == 0


def test_a_taken_port_is_a_usage_error(sandbox: Sandbox, run):
    """Who else is there is not our business, but that it is taken is."""
    code, _, err = run("sandbox", "--port", sandbox.url.rpartition(":")[2])
    assert code == 2 and "cannot be served" in err


def test_check_shows_no_secret_that_the_site_sends_back(daemon_for, sandbox, run):
    """An error of the site's may quote the request."""
    site = daemon_for(sandbox, rules('doctype = "secret-of-administrator"\nolder_than = "9d"\nlimit = 5'))
    sandbox.requests.clear()
    code, out, err = run("check", "--config", site.file, environ=site.environ)
    assert code == 1 and "secret-of-administrator" not in out + err and "********" in out


def test_a_sandbox_in_no_time_zone_is_a_usage_error(run):
    """A sentence, not a traceback."""
    code, _, err = run("sandbox", "--port", "0", "--time-zone", "Nix")
    assert code == 2 and "'Nix' is no time zone" in err


def test_lines_are_not_folded_where_no_terminal_is(site, run):
    """So that grep finds what was printed."""
    out = run("check", "--offline", "--config", site.file, environ=site.environ)[1]
    assert f"{site.file}: jobs: 2, of which enabled: 1" in out and all(
        line == line.rstrip() for line in out.splitlines()
    )


def shell(site, line: str) -> subprocess.CompletedProcess[bytes]:
    """`line` in a shell, `$D` being the command with this configuration."""
    daemon = f"{shlex.quote(sys.executable)} -m daemon"
    environ = {**os.environ, **site.environ, "FRAPPE_DAEMON_CONFIG": str(site.file), "D": daemon}
    return subprocess.run(["bash", "-c", line], env=environ, capture_output=True, cwd=Path(cli.__file__).parents[1])


@pytest.mark.parametrize(
    ("line", "code", "says"),
    [
        ("$D once job 2>&-", 0, b""),
        ("$D once job 2>/dev/full", 0, b""),
        ("$D once job >&-", 0, b"run.finished"),
        ("$D once job >/dev/full", 1, b"standard output cannot be written: No space left on device"),
        ("$D once job --json >/dev/full", 1, b"standard output cannot be written: No space left on device"),
        ("set -o pipefail; $D once job | true", 0, b"run.finished"),
        ("$D once job --rows /dev/full", 1, b"/dev/full: cannot be written: No space left on device"),
        ("PYTHONIOENCODING=ascii $D check", 0, b""),
    ],
)
def test_a_stream_that_cannot_be_written_costs_no_work(line, code, says, site, sandbox):
    """Closed, full, without a reader or without our letters: the run goes on, nothing is half done, no traceback."""
    ended = shell(site, line)
    assert ended.returncode == code, ended.stderr
    assert b"Traceback" not in ended.stderr + ended.stdout and b"Exception ignored" not in ended.stderr
    assert says in ended.stderr
    assert sandbox.count("Error Log") == (8 if "check" in line else 1)


def test_rows_that_were_deleted_are_counted_though_nobody_could_write_them_down(site, run):
    """The batch in hand is counted to its end, the run then ends and says why; its report is kept."""
    code, out, _ = run("once", "job", "--rows", "/dev/full", "--json", "--config", site.file, environ=site.environ)
    found = json.loads(out)
    assert code == 1 and found["counts"]["done"] == 7 and found["error"]["kind"] == "OutputError"


@pytest.mark.parametrize(("line", "coloured"), [("", True), ("NO_COLOR=1", False), ("TERM=dumb", False)])
def test_colours_are_for_terminals_that_want_them(line, coloured, site):
    """NO_COLOR (no-color.org) and TERM=dumb are heeded by the log and by tables alike."""
    command = f"{line} $D once job --dry-run --log-format console"
    ended = shell(site, f"export TERM=xterm; script -qefc {shlex.quote(command)} /dev/null < /dev/null")
    assert (b"\x1b[3" in ended.stdout) == coloured, ended.stdout
    assert b"run.finished" in ended.stdout


def test_once_forgets_runs_that_are_too_old(site, run):
    """Also where no service runs: state.keep_runs bounds the history of a daemon that cron starts."""
    state, old = site.app.state, datetime(2020, 1, 1, tzinfo=UTC)
    for number in range(25):
        state.begin_run(Run(f"2020-{number}", "job", "cleanup", "by hand", None, old))
        state.end_run(f"2020-{number}", "done", old, {})
    run("once", "job", "--config", site.file, environ=site.environ)
    assert len(state.runs("job", limit=100)) == 20


def test_a_state_that_holds_nonsense_is_told(site, run, tmp_path):
    """A date that is none in the database is no traceback."""
    run("once", "job", "--config", site.file, environ=site.environ)
    site.app.state.close()
    with closing(sqlite3.connect(tmp_path / "state.db")) as database:
        database.execute("UPDATE runs SET started = 'yesterday'")
        database.commit()
    code, _, err = run("history", "--config", site.file)
    assert code == 78 and "what no frappe-daemon wrote" in err


def test_at_a_terminal_the_table_alone_tells_of_a_run(site):
    """The log's lines would say the same again; warnings and errors still come."""
    ended = shell(site, "script -qefc '$D once job --dry-run' /dev/null < /dev/null")
    assert b"run.started" not in ended.stdout and b"Error Log" in ended.stdout


def test_check_looks_at_what_the_file_names_on_this_machine(sandbox, daemon_for, run, tmp_path):
    """A certificate file that is none, and an archive where no directory can be: told without asking the site."""
    (tmp_path / "file").touch()
    site = daemon_for(sandbox, rules(ERRORS + '\narchive = "file/archive"'))
    site.file.write_text(site.file.read_text().replace("[site]", '[site]\nca_file = "no-such-file"'))
    code, out, _ = run("check", "--offline", "--json", "--config", site.file, environ=site.environ)
    found = {finding["what"].split(":")[0]: finding for finding in json.loads(out) if finding["level"] == "problem"}
    assert code == 1 and set(found) == {
        f'site.ca_file = "{tmp_path / "no-such-file"}" cannot be used',
        "rules[0].archive",
    }


def test_check_looks_at_disabled_jobs_too_and_lets_them_pass(sandbox, daemon_for, run):
    """What is wrong with a job that does not run yet is a warning."""
    text = rules('doctype = "Nonsense"\nolder_than = "9d"', job="enabled = false")
    site = daemon_for(sandbox, text)
    code, out, _ = run("check", "--json", "--config", site.file, environ=site.environ)
    (found,) = [finding for finding in json.loads(out) if finding["subject"] == "job"]
    assert code == 0 and found["level"] == "warning" and found["what"].startswith("disabled; the site has no DocType")


def test_jobs_shows_all_moments_in_one_zone(site, run):
    """The next slots and the last run alike, and the heading says which zone."""
    run("once", "job", "--config", site.file, environ=site.environ)
    _, out, _ = run("jobs", "--config", site.file)
    assert "Next five (America/New_York)" in out and " 00:00 " in out


def test_history_says_why_nothing_was_done(sandbox, daemon_for, run):
    """Nothing to do, or refused by a guard: in words, not an empty cell."""
    site = daemon_for(sandbox, rules(ERRORS))
    run("once", "job", "--config", site.file, environ=site.environ)
    assert "nothing to do" in run("history", "--config", site.file)[1]
    sandbox.seed("Error Log", [{"creation": days_ago(50), "method": "x"}])
    run("once", "job", "--config", site.file, environ=site.environ)
    assert "would remove every row there is (1)" in run("history", "--config", site.file)[1]


def test_version_is_told(run):
    """For whoever reports a bug."""
    assert run("--version") == (0, "frappe-daemon 0.1.0\n", "")


@pytest.mark.parametrize(("doctype", "says"), [("System Settings", "is a Single"), ("Has Role", "is a child table")])
def test_check_knows_what_has_no_rows_of_its_own(doctype, says, sandbox, daemon_for, run):
    """The operator's rule is wrong, not the site."""
    site = daemon_for(sandbox, rules(f'doctype = "{doctype}"\nolder_than = "9d"'))
    code, out, _ = run("check", "--json", "--config", site.file, environ=site.environ)
    (found,) = [finding for finding in json.loads(out) if finding["level"] == "problem"]
    assert code == 1 and says in found["what"] and found["who"] == "operator"


def test_two_signals_at_once_are_one(site):
    """timeout(1) and terminals send a signal to a process and to its group."""
    command = [sys.executable, "-m", "daemon", "run", "--config", str(site.file)]
    with subprocess.Popen(command, env=os.environ | site.environ, stderr=subprocess.PIPE) as service:
        next(line for line in service.stderr if b"job.scheduled" in line)
        service.send_signal(signal.SIGTERM)
        service.send_signal(signal.SIGTERM)
        assert b"daemon.stopped" in service.stderr.read()
    assert service.returncode == 0


def test_a_very_long_history_and_odd_names_are_usage_errors(site, run):
    """Not a traceback, and not the database's fault."""
    assert run("history", "-n", "9" * 20, "--config", site.file)[0] == 2
    assert run("history", "\udcff", "--config", site.file)[0] == 2


def test_a_dry_run_foretells_what_the_key_may_not_do(daemon_for, sandbox, run):
    """Reading is allowed where deleting is not: what `check` says against the job stands below the plan."""
    sandbox.seed("Version", ({"creation": days_ago(50), "ref_doctype": "X", "docname": "y"} for _ in range(7)))
    sandbox.seed("Version", [{"ref_doctype": "X", "docname": "y"}])
    site = daemon_for(sandbox, rules('doctype = "Version"\nolder_than = "30d"'), user="manager@example.com")
    code, out, _ = run("once", "job", "--dry-run", "--config", site.file, environ=site.environ)
    assert code == 1 and "the run itself will fail: manager@example.com lacks the right to delete Version" in out


INBOX = '[jobs.drop]\nkind = "import"\nschedule = "every 5m"\ninbox = "inbox"\ndoctype = "ToDo"\nquiet = "0s"\n'


def test_a_one_off_import_needs_no_job(sandbox, run, tmp_path):
    """A site and a key are enough; `once` and `run` do need one."""
    file, (key, secret) = tmp_path / "config.toml", sandbox.keys["Administrator"]
    keys = 'api_key = { env = "KEY" }\napi_secret = { env = "SECRET" }'
    file.write_text(f'[site]\nurl = "{sandbox.url}"\n{keys}\n[state]\npath = "state.db"\n')
    (tmp_path / "todo.csv").write_text("description\none\n")
    environ = {"KEY": key, "SECRET": secret}
    code, out, err = run("import", tmp_path / "todo.csv", "-d", "ToDo", "--config", file, environ=environ)
    assert code == 0 and sandbox.count("ToDo") == 1, out + err
    code, _, err = run("jobs", "--config", file)
    assert code == 78 and "there is no job" in err


def test_runs_that_found_nothing_hide_none_that_did(daemon_for, sandbox, run, tmp_path):
    """`jobs` shows the last result and since when there was nothing to do; history holds one such run, and says of
    refused files which, why and how many."""
    site = daemon_for(sandbox, INBOX)
    (tmp_path / "inbox").mkdir()
    for number in range(3):
        (tmp_path / f"inbox/{number}.csv").write_bytes(b"%PDF-1.7" + bytes([48 + number]))
    site.clock.passed = 60
    assert site.once("drop")["status"] == "failed"
    for _ in range(5):
        site.clock.passed += 60
        site.once("drop")
    (found,) = json.loads(run("jobs", "--json", "--config", site.file)[1])
    assert found["last"]["status"] == "failed" and found["looked"] > found["last"]["started"]
    out = run("jobs", "--config", site.file)[1]
    assert "failed" in out and "nothing to do" in out
    assert len(json.loads(run("history", "--json", "--config", site.file)[1])) == 2
    out = run("history", "--config", site.file)[1]
    assert "this is a PDF document, not a table" in out and "and 2 more" in out and out.count("nothing to do") == 1


def test_check_looks_into_the_inbox_and_for_what_setup_makes(daemon_for, sandbox, run, tmp_path, monkeypatch):
    """No inbox, one that cannot be written, what never becomes an import, the field that is not there yet: each is
    told; once all is mended the job is fine."""
    sandbox.add_doctype({"name": "Note Slip", "fields": [{"fieldname": "code", "fieldtype": "Data"}]})
    site = daemon_for(sandbox, INBOX.replace("ToDo", "Note Slip"))

    def told() -> str:
        return run("check", "--config", site.file, environ=site.environ)[1]

    assert "the first run makes it" in told()
    (tmp_path / "inbox").mkdir()
    (tmp_path / "inbox/sub").mkdir()
    monkeypatch.setattr("os.access", lambda path, mode: Path(path).name != "inbox")
    out = told()
    assert f"inbox: {tmp_path / 'inbox'} cannot be written" in out and "never imported: a directory sub" in out
    assert "the site has no Custom Field Note Slip-custom_daemon_import_key" in out and "✓ drop" not in out
    monkeypatch.undo()
    (tmp_path / "inbox/sub").rmdir()
    assert run("setup", "--apply", "--config", site.file, environ=site.environ)[0] == 0
    out = told()
    assert "✓ drop" in out and "!" not in out.replace("! configuration", "")


def test_lines_that_are_piped_end_where_their_text_ends(daemon_for, sandbox, run, tmp_path):
    """A line is one line, for grep and for mails, and is not filled up to the width of the widest."""
    site = daemon_for(sandbox, INBOX)
    (tmp_path / "inbox").mkdir()
    (tmp_path / "inbox/a.csv").write_text("description\n" + "x" * 200 + "\n")
    out = run("once", "drop", "--config", site.file, environ=site.environ)[1]
    assert out and all(line == line.rstrip() for line in out.splitlines())
    assert max(map(len, run("history", "--config", site.file)[1].splitlines())) < 200
