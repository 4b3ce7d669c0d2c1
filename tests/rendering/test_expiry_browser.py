"""The expiry notice in a real browser, headless: on a phone and a wide screen, light and dark, whatever is in it."""

from __future__ import annotations

import re
from datetime import date, timedelta

import pytest

from daemon.core.letter import Letter
from daemon.rendering.process import Renderer
from tests.rendering.test_browser import BROWSER, SITE, contrast, luminance, measured

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed to look with")

TODAY = date(2026, 11, 24)
LONG = "Donaudampfschifffahrtsgesellschaft" * 4


def notice(language: str, name: str, *, days: tuple[int, ...] = (-400, -3, 0, 1, 7, 30)) -> dict:
    """What the template is told of documents that expire in so many days."""
    rows = [
        {
            "doctype": "Insurance Policy" if number % 2 else name, "name": f"POL-{name}-{number}", "title": name,
            "label": "Expiry Date", "place": number % 3, "date": TODAY + timedelta(days=left), "days": left,
            "threshold": 30, "url": f"https://erp.example.com/app/insurance-policy/{number}",
        }
        for number, left in enumerate(days)
    ]  # fmt: skip
    whose = {"name": "ann", "email": f"{'long.' * 12}name@example.com", "full_name": name, "language": language}
    known = {"language": language, "currency": "", "recipient": whose, "today": TODAY, "site_name": "erp.example.com"}
    return {**known, "desk_url": "https://x/app", "notices": rows, "part": 1, "whole": len(days) != 2}


CASES = {
    "plain": notice("en", "Crane at the north gate"),
    "one": notice("de", "Lift", days=(5,)),
    "a part": notice("en", "Lift", days=(-9, 5)),
    "long": notice("en", "A name that goes on and on " * 4 + LONG),
    "right to left": notice("ar", "عقد الصيانة السنوي " * 3),
    "mixed": notice("ar", "Contract (2026/17) of ACME"),
    "wide letters": notice("zh-TW", "保險單" * 20),
    "markup": notice("en", "<b>&amp; </table></td> \"quoted'"),
}


KEPT = {"div", "p", "h1", "table", "thead", "tbody", "tr", "th", "td", "a", "br", "span"}
"""What version 15 does not show as text (utils/html_utils.py:sanitize_html); it does so with <bdi>."""


@pytest.mark.parametrize("case", CASES)
def test_it_is_made_of_what_the_site_keeps(case):
    """No other element is in the body of a letter."""
    with Renderer() as renderer:
        made = renderer.render("expiry.html", CASES[case])
    body = Letter("a@example.com", made.subject, made.html, "fd-1").content
    assert set(re.findall(r"<([a-z]\w*)", body.partition("-->")[2])) <= KEPT


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """Each case as it is rendered, and as the site wraps it."""
    documents = {}
    with Renderer() as renderer:
        for case, known in CASES.items():
            made = renderer.render("expiry.html", known)
            documents[case] = made.html
            content = Letter("a@example.com", made.subject, made.html, "fd-1").content
            documents[f"{case}, wrapped"] = SITE.format(re.sub(r"<style.*?</style>", "", content, flags=re.DOTALL))
    return measured(documents, tmp_path_factory.mktemp("browser"))


def test_nothing_overflows(seen):
    """Neither the page nor any element is wider than the screen: phone, desk, light, dark, as it is and mailed."""
    assert len(seen) == len(CASES) * 2 * 4
    assert {key: one["out"] or one["scroll"] for key, one in seen.items() if one["scroll"] > 0 or one["out"]} == {}


def test_it_can_be_read_light_and_dark(seen):
    """Dark on light and light on dark, as the reader has it; links and what is over stand out from either."""
    for (_, _, scheme), one in seen.items():
        assert (luminance(one["ground"]) < luminance(one["text"])) == (scheme == "dark")
        assert one["accents"] and all(contrast(one["ground"], colour) >= 3.8 for colour in one["accents"])
