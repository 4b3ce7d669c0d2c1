"""The reference of the configuration says of every key what it means, and is what the models read."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from daemon.reference import reference

WRITTEN = Path(__file__).parent.parent / "docs/configuration.md"


def test_the_page_is_what_the_models_say() -> None:
    """After a change of a key or of what is written below it: `make docs`."""
    assert WRITTEN.read_text() == reference() + "\n"


def test_every_key_is_explained() -> None:
    """By words of its own or, where it is a section, by that section's."""
    keys = re.findall(r"^- \*\*`(\w+)`\*\* \((.+?)\): (.*)$", reference(), re.MULTILINE)
    assert len(keys) > 200
    assert [name for name, _, words in keys if len(words) < 8] == []


def test_a_part_is_printed_alone(run) -> None:
    """The keys that all jobs have stand in one place; what does not exist is told with what does."""
    code, out, _ = run("reference", "sync")
    assert code == 0 and "**`on_conflict`**" in out and "**`jitter`**" not in out and "[[jobs.NAME.fields]]" in out
    assert "**`jitter`**" in run("reference", "jobs")[1]
    code, _, err = run("reference", "syncs")
    assert code == 2 and "there is no section or kind 'syncs' (there are: site, state," in err


@pytest.mark.parametrize(
    ("part", "line"),
    [
        ("site", "- **`concurrency`** (integer, at least 1, at most 32; `4`): "),
        ("expiry", "- **`days_before`** (list of integer; required): "),
        ("sync", '- **`lag`** (duration; `"30m"`): '),
        ("sync", "- **`schedule`** (text or { pull = …, push = … }; required): "),
        ("import", '- **`decimal`** ("." or ","): '),
    ],
)
def test_types_bounds_and_defaults(part: str, line: str) -> None:
    """As the models have them."""
    assert line in reference(part)
