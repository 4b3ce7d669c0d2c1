"""What sections of the configuration are made of."""

from __future__ import annotations

import tomllib
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, ValidationError

from daemon.core.plan import Guard
from daemon.core.settings import (
    OPERATORS,
    Conditions,
    Duration,
    FilePath,
    GuardSettings,
    Model,
    PositiveDuration,
    Secret,
    SecretText,
    did_you_mean,
)


class Section(Model):
    """One field of each type."""

    secret: SecretText | None = None
    filters: Conditions = Field(default_factory=list)
    length: PositiveDuration = timedelta(1)
    wait: Duration = timedelta(0)
    path: FilePath | None = None


def read(toml: str, **context: Any) -> Section:
    return Section.model_validate(tomllib.loads(toml), context={"resolve": lambda _: "s3cret", **context})


def refusal(toml: str) -> str:
    with pytest.raises(ValidationError) as caught:
        read(toml)
    return str(caught.value.errors()[0]["msg"])


@given(st.text("abcdef0123456789", min_size=8))
def test_a_secret_shows_itself_to_nobody(value: str) -> None:
    """Not by str, repr, format, its section's repr or JSON-like dump; equal ones are equal, so that an edit is seen."""
    secret = Secret(value)
    section = Section(secret=secret)
    shown = (
        f"{secret} {secret!r} {secret!s:>40} {[secret]} {section} {section!r} {section.model_dump()} {vars(section)}"
    )
    assert value not in shown
    assert secret.reveal() == value and secret == Secret(value) and hash(secret) == hash(Secret(value))
    assert secret != Secret(value + "x") and secret != value


def test_a_section_does_not_change() -> None:
    """Nothing is set after loading, and an unknown key or a wrong type is an error."""
    section = read("")
    with pytest.raises(ValidationError):
        section.path = Path("x")  # type: ignore[misc]
    for toml in ('leng = "1d"', 'filters = "x"', "path = 3"):
        assert refusal(toml)


@pytest.mark.parametrize(
    ("toml", "conditions"),
    [
        ('filters = [["status", "in", ["Sent", "Error"]]]', [["status", "in", ["Sent", "Error"]]]),
        ('filters = [["a", "NOT In", ["x"]]]', [["a", "not in", ["x"]]]),
        ('filters = [["X Item", "qty", ">", 5]]', [["X Item", "qty", ">", 5]]),
        ('filters = { status = "Open" }', [["status", "=", "Open"]]),
        ('filters = { qty = [">", 5], on = true }', [["qty", ">", 5], ["on", "=", True]]),
        ('filters = [["a", "<", 2026-01-05]]', [["a", "<", "2026-01-05"]]),
        ('filters = [["a", "<", 2026-01-05T10:20:30]]', [["a", "<", "2026-01-05 10:20:30"]]),
        (
            'filters = [["a", "between", [2026-01-05, 2026-01-06]]]',
            [["a", "between", ["2026-01-05", "2026-01-06"]]],
        ),
        ('filters = [["a", "=", 10:20:30]]', [["a", "=", "10:20:30"]]),
        ("filters = []", []),
    ],
)
def test_conditions_have_one_form(toml: str, conditions: list[list[Any]]) -> None:
    """Tables and lists, TOML's dates and any case of an operator all become what the site takes."""
    assert read(toml).filters == conditions


@pytest.mark.parametrize(
    ("toml", "sentence"),
    [
        ('filters = [["a", "lke", "x"]]', "'lke' is no operator; did you mean 'like'?"),
        ('filters = [["a", "xyzzy", "x"]]', "'xyzzy' is no operator"),
        ('filters = [["a", "x"]]', "is no condition; write [field, operator, value]"),
        ('filters = ["a"]', "is no condition"),
        ('filters = [["a", "=", "x", "y", "z"]]', "is no condition"),
        ('filters = [["a", 5, "x"]]', "is no condition"),
        ('filters = { a = ["in"] }', "is no condition"),
        ('filters = "a = 1"', "is a list of conditions"),
        ('filters = [["a", "<", 2026-01-05T10:20:30Z]]', "names a zone"),
        ('filters = [["a", "in", [2026-01-05T10:20:30+05:00]]]', "names a zone"),
        ("length = 30", 'is a length of time in quotes, such as "90s"'),
        ('length = "0s"', "must be longer than zero"),
        ('length = "soon"', "'soon' is no length of time"),
        ('secret = "in clear"', 'is named and not written here: { env = "NAME" }'),
        ('secret = { evn = "X" }', "not by 'evn'; did you mean 'env'?"),
        ('secret = { value = "in clear" }', "not by 'value'"),
        ('secret = { env = "A", file = "b" }', "names its secret in one way: "),
        ("secret = { env = 5 }", "is named and not written here"),
    ],
)
def test_a_refusal_shows_what_right_looks_like(toml: str, sentence: str) -> None:
    """In words for the person who edits the file; what may be a secret is not repeated."""
    said = refusal(toml)
    assert sentence in said and "in clear" not in said


@given(st.sampled_from(OPERATORS))
def test_every_operator_is_accepted(operator: str) -> None:
    """Those that versions 14 to 16 share."""
    value = {"between": ["x", "y"], "is": "set", "timespan": "last year"}.get(operator, "x")
    assert Section(filters=[["a", operator.upper(), value]]).filters == [["a", operator, value]]


@pytest.mark.parametrize(
    "wrong",
    [("between", "x"), ("between", ["a"]), ("is", "x"), ("in", []), ("not in", 3),
     ("timespan", "last yaer"), ("timespan", 7), ("timespan", ["last year"])],
)  # fmt: skip
def test_a_value_that_its_operator_cannot_take_is_refused(wrong: tuple[str, Any]) -> None:
    """Frappe would make SQL of another meaning of it."""
    with pytest.raises(ValidationError, match=r"takes|is no span of time"):
        Section(filters=[["a", *wrong]])


def test_a_secret_is_resolved_by_the_caller() -> None:
    """The reference is handed over as it stands; a Secret that is one already is taken as it is."""
    asked: list[Any] = []
    section = read('secret = { file = "/run/key" }', resolve=lambda reference: asked.append(reference) or "x")
    assert section.secret == Secret("x") and asked == [{"file": "/run/key"}]
    assert Section(secret=Secret("y")).secret == Secret("y")


def test_paths_are_beside_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative one is joined to the file's directory, an absolute one stays, and ~ is the user's home."""
    monkeypatch.setenv("HOME", "/home/me")
    beside = Path("/etc/x")
    for text, path in (("a/b", "/etc/x/a/b"), ("/a", "/a"), ("~/a", "/home/me/a"), ("../a", "/etc/x/../a")):
        assert read(f'path = "{text}"', beside=beside).path == Path(path)


@pytest.mark.parametrize(
    ("inner", "outer", "guard"),
    [
        ({}, {}, Guard()),
        ({}, {"max_rows": 5, "max_percent": 10}, Guard(5, 10.0)),
        ({"max_rows": 7}, {"max_rows": 5, "max_percent": 10}, Guard(7, 10.0)),
        ({"max_percent": 100}, {"max_rows": 5, "max_percent": 10}, Guard(5, 100.0)),
    ],
)
def test_the_rule_s_guard_is_over_the_job_s(inner: dict[str, Any], outer: dict[str, Any], guard: Guard) -> None:
    """Bound by bound."""
    assert GuardSettings(**inner).over(GuardSettings(**outer)) == guard


@pytest.mark.parametrize("bad", [{"max_rows": 0}, {"max_percent": 0}, {"max_percent": 101}, {"max_rows": True}])
def test_a_guard_without_meaning_is_refused(bad: dict[str, Any]) -> None:
    """0 would forbid everything, more than 100 per cent would bind nothing."""
    with pytest.raises(ValidationError):
        GuardSettings(**bad)


@pytest.mark.parametrize(
    ("word", "hint"), [("jbos", "; did you mean 'jobs'?"), ("xyzzy", ""), ("", ""), ("jobs", "; did you mean 'jobs'?")]
)
def test_only_near_words_are_suggested(word: str, hint: str) -> None:
    """A guess far off is worse than none."""
    assert did_you_mean(word, ["site", "jobs", "state"]) == hint
