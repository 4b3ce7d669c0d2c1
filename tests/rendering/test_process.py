"""Templates at work: what they may do, what ends them, and that a bad one is nobody's trouble but its own."""

from __future__ import annotations

import subprocess
import sys
from datetime import date, datetime
from decimal import Decimal

import pytest

from daemon.errors import TemplateProblem
from daemon.rendering.process import Renderer

KNOWN = {"language": "en", "currency": "USD"}


@pytest.fixture
def renderer(tmp_path):
    """Of a folder of its own; half a second and 300 MB for each letter."""
    with Renderer(tmp_path, seconds=0.5, memory=300 << 20) as renderer:
        yield renderer


def rendered(renderer, tmp_path, text: str, **known):
    (tmp_path / "mine.html").write_text(f"<title>{text}</title><body></body>", encoding="utf-8")
    return renderer.render("mine.html", {**KNOWN, **known}).subject


def test_the_libraries_are_the_process_own():
    """Whoever only reads a configuration with a digest in it pays for none of them."""
    code = "import sys, daemon.jobs.digest; print({'jinja2', 'babel', 'css_inline', 'markupsafe'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"


def test_values_arrive_as_they_are(renderer, tmp_path):
    """Decimals, dates and datetimes; text is escaped in the HTML, and whole again in the subject."""
    shown = "{{ a + a }}, {{ b.year }}, {{ c.hour }}, {{ d }}, {{ e['x'] }}"
    known = {"a": Decimal("0.1"), "b": date(2026, 1, 2), "c": datetime(2026, 1, 2, 3), "d": "<b>&", "e": {"x": 1}}  # noqa: DTZ001
    assert rendered(renderer, tmp_path, shown, **known) == "0.2, 2026, 3, <b>&, 1"
    (tmp_path / "mine.html").write_text("<body><p>{{ d }}</p></body>", encoding="utf-8")
    with Renderer(tmp_path) as fresh:
        assert "<p>&lt;b&gt;&amp;</p>" in fresh.render("mine.html", {**KNOWN, **known}).html


def test_styles_go_into_the_elements(renderer, tmp_path):
    """Rules of <style>; what no element can hold, such as @media, stays in a <style>."""
    rules = "p { color: red } @media print { p { color: blue } }"
    (tmp_path / "mine.html").write_text(f"<style>{rules}</style><body><p>x</p></body>", encoding="utf-8")
    found = renderer.render("mine.html", KNOWN).html
    assert '<p style="color: red' in found and "@media print" in found and "p { color: red }" not in found


ENDLESS = "{% for a in range(99999) %}{% for b in range(99999) %}{{ loop.index if false }}{% endfor %}{% endfor %}"


def test_a_loop_without_end_is_ended(renderer, tmp_path):
    """By the time that a letter may take; the next letter is rendered as if nothing had been."""
    with pytest.raises(TemplateProblem, match=r"mine\.html: it takes more than 0\.5 s.*loop"):
        rendered(renderer, tmp_path, ENDLESS)
    with Renderer(tmp_path) as fresh:
        assert rendered(fresh, tmp_path, "well") == "well"
    assert renderer.render("letter.html", letter()).subject == ""


def letter(**more):
    return {**KNOWN, "site_name": "s", "recipient": {"email": "a@example.com"}, **more}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{{ 'x' | center(10 ** 10) }}", "memory"),
        ("{% for a in range(99999) %}{{ 'x' * 100 }}{% endfor %}", "more than 2,097,152 characters"),
        ("{{ range(10 ** 9) | list }}", "OverflowError: Range too big"),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "RecursionError"),
        ("{{ nothing_of_the_kind }}", "line 1 of mine.html: UndefinedError: 'nothing_of_the_kind' is undefined"),
        ("{{ ''.__class__ }}", "unsafe"),
        ("{{ 1 | money(currency='USD') / 0 }}", "TypeError"),
        ("{% if %}", "line 1: Expected an expression"),
        ("{% extends 'no-such.html' %}", "there is no template no-such.html"),
        ("{% include '../../etc/passwd' %}", "there is no template"),
        ("{{ 'x' | money }}", "'x' is no number"),
    ],
)
def test_what_a_template_may_not_do(renderer, tmp_path, text, why):
    """It fails with a sentence that names it; what comes after it is rendered."""
    with pytest.raises(TemplateProblem) as caught:
        rendered(renderer, tmp_path, text)
    assert "mine.html: " in str(caught.value) and why in str(caught.value)
    assert caught.value.who == "operator"
    assert renderer.render("letter.html", letter()).html


def test_a_template_is_checked_without_being_rendered(renderer, tmp_path):
    """Syntax and presence; what it would need is not known yet."""
    (tmp_path / "mine.html").write_text("{{ unknown }}", encoding="utf-8")
    renderer.check("mine.html")
    (tmp_path / "mine.html").write_text("{% for %}", encoding="utf-8")
    for name in ("mine.html", "absent.html"):
        with pytest.raises(TemplateProblem, match=name), Renderer(tmp_path) as fresh:
            fresh.check(name)


def test_a_template_of_ones_own_builds_on_the_shipped_ones(renderer, tmp_path):
    """By their names, also where it has the same: "shipped/…"."""
    blocks = "{% block subject %}Mine{% endblock %}{% block body %}<p>Hi</p>{% endblock %}"
    (tmp_path / "letter.html").write_text('{% extends "shipped/letter.html" %}' + blocks, encoding="utf-8")
    found = renderer.render("letter.html", letter())
    assert found.subject == "Mine" and "<p" in found.html and "color-scheme" in found.html
