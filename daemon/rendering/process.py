"""Letters from templates, made by a process of its own: a template that never ends, or wants all memory, ends it alone.

What people put into templates is a program, and no sandbox of Jinja2 bounds its time and memory: `{% for %}` within
`{% for %}`, `|center(10 ** 9)`. So the process that renders has a limit of memory, a limit of CPU time for each letter
that ends it (SIGPROF, whose default nobody can catch late), and dies with whoever started it. Run as a module, this is
that process: it reads a line of JSON for each letter from standard input and writes one to standard output.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Self

from daemon.errors import TemplateProblem

SECONDS = 5.0
"""CPU time for one letter; the shipped ones take some milliseconds."""
MEMORY = 512 << 20
"""Bytes of address space."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """A letter without its envelope."""

    subject: str
    """The template's `<title>`."""
    html: str
    """A whole document, its styles inlined."""


def languages(folder: Path | None = None) -> frozenset[str]:
    """Those in which letters are: for which there are words among those that ship, or in the folder."""
    places = [Path(__file__).parent.parent / "templates", *([folder] if folder else [])]
    return frozenset({"en", *(file.stem for place in places for file in (place / "words").glob("*.json"))})


class Renderer:
    """Renders templates of `folder` and those that ship. The process starts with the first letter; threads may share.

    Values may be texts, numbers, Decimal, dates, and lists and dicts of these.
    """

    def __init__(self, folder: Path | None = None, *, seconds: float = SECONDS, memory: int = MEMORY) -> None:
        self._folder = folder
        self._arguments = [str(folder or ""), str(seconds), str(memory)]
        self._seconds, self._memory = seconds, memory
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process, if there is one."""
        with self._lock:
            self._end()

    def check(self, template: str) -> None:
        """Raises TemplateProblem where it is not there, or not written as Jinja2 wants it."""
        self._ask({"template": template, "check": True})

    def render(self, template: str, known: Mapping[str, Any]) -> Rendered:
        """The letter. Raises TemplateProblem, which names the template, its line and what is wrong there."""
        found = self._ask({"template": template, "known": dict(known)})
        return Rendered(found["subject"], found["html"])

    def _ask(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        if self._folder and not self._folder.is_dir():
            raise TemplateProblem(f"templates: there is no folder {self._folder}")
        line = json.dumps(wanted, default=_plain).encode()
        with self._lock:
            answer = self._answer(line)
        if "wrong" in answer:
            raise TemplateProblem(f"the template {wanted['template']}: {answer['wrong']}")
        return answer

    def _answer(self, line: bytes) -> dict[str, Any]:
        process = self._process or self._start()
        assert process.stdin and process.stdout
        try:
            process.stdin.write(line + b"\n")
            process.stdin.flush()
            reply = process.stdout.readline()
        except OSError:
            reply = b""
        if reply.endswith(b"\n"):
            found: dict[str, Any] = json.loads(reply)
            return found
        process.wait()
        late = process.returncode == -signal.SIGPROF
        self._end()
        if late:
            return {"wrong": f"it takes more than {self._seconds:g} s, so it was ended; look for a loop without end"}
        return {"wrong": f"rendering it ended the process that did so; it may need more than {self._memory >> 20:,} MB"}

    def _start(self) -> subprocess.Popen[bytes]:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, json.dumps(sys.path), *self._arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={},  # ours may hold the API key
        )
        return self._process

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream:
                try:
                    stream.close()
                except OSError:  # what was not read yet
                    continue


_PROGRAM = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from daemon.rendering.process import main; main()"


def _plain(value: Any) -> dict[str, str]:
    if isinstance(value, Decimal):
        return {"$decimal": str(value)}
    if isinstance(value, datetime):  # which is a date, too
        return {"$datetime": value.isoformat()}
    if isinstance(value, date):
        return {"$date": value.isoformat()}
    raise TypeError(f"a template cannot be given a {type(value).__name__}")


def _typed(found: dict[str, Any]) -> Any:
    """The other side of `_plain`."""
    if len(found) != 1:
        return found
    ((kind, value),) = found.items()
    return _READERS[kind](value) if kind in _READERS else found


_READERS: dict[str, Callable[[str], Any]] = {
    "$decimal": Decimal,
    "$datetime": datetime.fromisoformat,
    "$date": date.fromisoformat,
}


def main() -> None:
    """The process's work: arguments are folder, seconds and bytes."""
    import resource

    folder, seconds, memory = sys.argv[2], float(sys.argv[3]), int(sys.argv[4])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for whoever started us
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    out = sys.stdout.buffer
    for answer in _answers(Path(folder) if folder else None, seconds):
        try:
            out.write(json.dumps(answer).encode() + b"\n")
            out.flush()
        except BrokenPipeError:
            sys.exit(1)


def _answers(folder: Path | None, seconds: float) -> Iterator[dict[str, Any]]:
    from daemon.rendering.environment import Environment

    environment = Environment(folder)
    for line in sys.stdin.buffer:
        wanted = json.loads(line, object_hook=_typed)
        signal.setitimer(signal.ITIMER_PROF, seconds)
        answer = _one(environment, wanted)
        signal.setitimer(signal.ITIMER_PROF, 0)
        yield answer


def _one(environment: Any, wanted: Mapping[str, Any]) -> dict[str, Any]:
    from jinja2 import TemplateNotFound, TemplateSyntaxError

    try:
        if "check" in wanted:
            environment.template(wanted["template"])
            return {}
        subject, document = environment.render(wanted["template"], wanted["known"])
    except TemplateNotFound as error:
        return {"wrong": f"there is no template {error.name}"}
    except TemplateSyntaxError as error:
        return {"wrong": f"line {error.lineno}{_file(error.name, wanted)}: {error.message}"}
    except MemoryError:
        return {"wrong": "it needs more memory than a letter may"}
    except Exception as error:  # whatever a template does
        return {"wrong": f"{_line(error)}{type(error).__name__}: {str(error)[:300]}"}
    return {"subject": subject, "html": document}


def _file(name: str | None, wanted: Mapping[str, Any]) -> str:
    return f" of {name}" if name and name != wanted["template"] else ""


def _line(error: BaseException) -> str:
    """The line of a template that `error` came from: Jinja2 rewrites tracebacks to its files."""
    found, trace = "", error.__traceback__
    while trace:
        if not trace.tb_frame.f_code.co_filename.endswith(".py"):
            found = f"line {trace.tb_lineno} of {Path(trace.tb_frame.f_code.co_filename).name}: "
        trace = trace.tb_next
    return found
