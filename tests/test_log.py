"""The log: one event a line, as JSON or for people, and no secret in it wherever it stands."""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from daemon.log import MASK, SHORTEST, Redactor, configure, logger

SECRET = "s3cret-value"


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Logging as it was before."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    root.handlers[:], root.level = handlers, level


class Log:
    """A log into memory."""

    def __init__(self, form: Any = "json", level: str = "info") -> None:
        self.stream = io.StringIO()
        configure(level, form, Redactor([SECRET, ""]), self.stream)

    @property
    def text(self) -> str:
        return self.stream.getvalue()

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines()]


def test_an_event_is_one_line_of_json() -> None:
    """Time, level and event first, in this order, then the facts; the time in UTC with its zone."""
    log = Log()
    logger().bind(job="a").info("run.ended", rows=5, names=["ä\n"], when=datetime(2026, 1, 5, tzinfo=UTC))
    (event,) = log.events()
    assert list(event)[:3] == ["timestamp", "level", "event"]
    assert event["level"] == "info" and event["event"] == "run.ended"
    assert (event["job"], event["rows"], event["names"]) == ("a", 5, ["ä\n"])
    assert event["when"] == "2026-01-05 00:00:00+00:00" and "ä" in log.text
    assert datetime.fromisoformat(event["timestamp"]).utcoffset() == datetime.now(UTC).utcoffset()


def test_below_the_level_nothing_is_written() -> None:
    """As configured."""
    log = Log(level="warning")
    logger().info("a.happened")
    logger().warning("b.happened")
    assert [event["event"] for event in log.events()] == ["b.happened"]


class Odd:
    """Something that shows a secret."""

    def __repr__(self) -> str:
        return f"Odd({SECRET})"


@pytest.mark.parametrize("form", ["json", "console"])
@pytest.mark.parametrize(
    "facts",
    [
        {"a": f"x{SECRET}y{SECRET}"},
        {"a": {"b": [{"c": (SECRET,)}]}},
        {"a": {SECRET: 1}},
        {SECRET: 1},
        {"error": ValueError(SECRET)},
        {"a": Odd()},
        {"a": {Odd()}},
        {"a": SECRET.encode()},
        {"headers": {"Authorization": "Basic something"}},
        {"password": "Basic something"},
        {"deep": [{"api_secret": ["Basic something"]}]},
    ],
)
def test_secrets_are_struck_out_wherever_they_stand(facts: dict[str, Any], form: str) -> None:
    """In values, keys, containers and objects; under the names that secrets go by whatever the value is."""
    log = Log(form)
    logger().info("a.happened", **facts)
    assert MASK in log.text and SECRET not in log.text and "Basic something" not in log.text


def fail() -> None:
    try:
        {}[SECRET]
    except KeyError as error:
        raise ValueError(f"because of {SECRET}") from error


@pytest.mark.parametrize("form", ["json", "console"])
def test_secrets_are_struck_out_of_tracebacks(form: str) -> None:
    """Also those of causes; the traceback itself is there."""
    log = Log(form)
    try:
        fail()
    except ValueError:
        logger().exception("run.failed", text=f"in {SECRET}")
    assert "Traceback" in log.text and "ValueError: because of" in log.text
    assert MASK in log.text and SECRET not in log.text


def test_the_event_itself_is_redacted() -> None:
    """Somebody may interpolate."""
    log = Log()
    logger().info(f"got.{SECRET}")
    logger().info("got %s", SECRET)
    assert SECRET not in log.text and len(log.events()) == 2


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(min_size=1), inner, max_size=3),
    max_leaves=8,
)


@given(JSON)
def test_what_holds_no_secret_stays_as_it_is(value: Any) -> None:
    """JSON values are equal before and after, unless they stand under a secret's name."""
    assert Redactor(["\x00never\x00"])(value) == value


@given(st.lists(st.text("ab", min_size=SHORTEST, max_size=8), max_size=4), JSON | st.text("ab", min_size=12))
def test_no_secret_is_left(secrets: list[str], value: Any) -> None:
    """Also where one is a part of another, and with any number of them."""
    clean = "\n".join(texts_in(Redactor(secrets)(value)))
    assert [secret for secret in secrets if secret in clean] == []


def texts_in(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        value = [*value.keys(), *value.values()]
    if isinstance(value, list):
        for item in value:
            yield from texts_in(item)
    elif isinstance(value, str):
        yield value


def test_for_people_it_is_no_json() -> None:
    """Local time of day, level, event and facts on a line; no colours where nobody sees them."""
    log = Log("console")
    logger().warning("run.ended", rows=5)
    assert "run.ended" in log.text and "rows=5" in log.text and "warning" in log.text
    assert "\x1b[" not in log.text and len(log.text.splitlines()) == 1


def test_auto_is_json_where_there_is_no_terminal() -> None:
    """As under systemd."""
    log = Log("auto")
    logger().info("a.happened")
    assert log.events()[0]["event"] == "a.happened"


def test_warnings_of_libraries_come_through() -> None:
    """With their name and text and traceback, redacted as all else; what they merely mention does not."""
    log = Log()
    library = logging.getLogger("some.library")
    library.info("chatter")
    library.warning("watch out: %s", SECRET)
    try:
        fail()
    except ValueError:
        library.exception("it broke")
    first, second = log.events()
    assert (first["event"], first["library"]) == ("library.logged", "some.library")
    assert first["message"] == f"watch out: {MASK}"
    assert first["level"] == "warning" and second["level"] == "error"
    assert "ValueError" in second["exception"] and SECRET not in log.text


def test_a_level_of_a_library_s_own_does_not_hurt() -> None:
    """35 has no name; the library must not be hit by our logging."""
    log = Log()
    logging.getLogger("x").log(35, "between")
    assert (log.events()[0]["message"], log.events()[0]["level"]) == ("between", "warning")


def test_a_library_s_own_mistake_does_not_end_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message that does not fit its arguments, as with Python's own handlers."""
    monkeypatch.setattr(logging, "raiseExceptions", False)
    log = Log()
    logging.getLogger("x").warning("%d", "no number")
    logging.getLogger("x").warning("%d", 5)
    assert [event["message"] for event in log.events()] == ["5"]


def test_standard_error_is_where_it_goes(capsys: pytest.CaptureFixture[str]) -> None:
    """And nothing on standard output, which belongs to the commands."""
    configure("info", "json", Redactor())
    logger().info("a.happened")
    out, err = capsys.readouterr()
    assert out == "" and json.loads(err)["event"] == "a.happened"


def test_no_warning_of_structlog_s_own() -> None:
    """For people, a traceback that was made before rendering is printed as it is."""
    with warnings.catch_warnings(record=True) as caught:
        Log("console")
        logger().error("a.failed", exc_info=ValueError("x"))
    assert caught == []
