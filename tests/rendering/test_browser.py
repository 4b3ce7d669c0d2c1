"""The digest in a real browser, headless: on a phone and a wide screen, light and dark, whatever is in it."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from daemon.core.letter import Letter
from daemon.core.periods import Period
from daemon.jobs._digest.figures import Figure, Figures, Listing, ListSettings, Table, TableSettings, shown
from daemon.rendering.process import Renderer

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed to look with")

SITE = """<!DOCTYPE html><html><head><title>x</title><style>p {{ margin: 1em 0 !important }} a {{ color: #2d95f0 }}
.body-table {{ table-layout: fixed; width: 100% !important; font-size: 14px; color: #171717 }}</style></head><body>
<table class="body-table" cellpadding="0" cellspacing="0"><tr><td align="center" valign="top"><table width="100%"><tr>
<td valign="top" style="color: #171717"><p>{}</p></td></tr></table></td></tr></table></body></html>"""
"""As the site wraps what it is given (templates/emails/standard.html, email.bundle.scss)."""


def digest(language: str, currency: str, factor: Decimal, name: str) -> dict:
    """What a template is told of a week in which everything is `factor` times as much."""
    columns = [{"label": "Amount", "field": "base_amount"}, {"label": "Quantity", "field": "qty"}]
    asked = {"label": name, "doctype": "Sales Invoice", "group_by": "item_code", "measures": columns}
    week = Period(date(2026, 11, 16), date(2026, 11, 22))
    money = Figure("Amount", "sum", money=True)
    table = Table(TableSettings(**asked), "Item", [money, Figure("Quantity", "sum")], more=True, period=week)
    table.rows = [(f"{name} {n}", [factor * 10000 / n, factor * 100], 1 / n) for n in range(1, 6)]
    listing = Listing(ListSettings(label=name, doctype="Issue", fields=["name", "opening_date", "total"]), total=9)
    listing.columns = [("ID", "text"), ("Opening Date", "date"), ("Grand Total", "money")]
    cells = [name, date(2026, 11, 17), factor * 1234]
    listing.rows = [("https://erp.example.com/app/issue/1", cells, [None, None, "CHF"])] * 2
    figures = Figures(
        [
            Figure(name, "sum", True, "more", factor * Decimal("48231.5"), factor * Decimal(52010), period=week),
            Figure(
                "New orders",
                "count",
                False,
                "more",
                factor * 18,
                Decimal(15),
                period=Period(date(2026, 11, 1), week.last),
            ),
            Figure("Open issues", "count", False, "less", Decimal(7), Decimal(7)),
            Figure("Time", "sum", value=factor * 5400, unit="duration", period=week),
            Figure("Average order", "average", True),
            Figure("Unknown", "sum", problem=True),
        ],
        [table],
        [listing],
    )
    known = {"title": name, "first": date(2026, 11, 16), "last": date(2026, 11, 22), "late": True, "compared": True}
    known |= {"before_first": date(2026, 11, 9), "before_last": date(2026, 11, 15), "due": date(2026, 11, 23)}
    known |= {"language": language, "currency": currency, "site_name": "erp.example.com", "desk_url": "https://x/app"}
    known |= {"recipient": {"email": f"{'long.' * 12}name@example.com", "full_name": name}}
    return {**known, **shown(figures, language, currency)}


CASES = {
    "plain": ("en", "USD", Decimal(1), "Revenue"),
    "zero": ("en", "USD", Decimal(0), "Revenue"),
    "huge": ("de", "EUR", Decimal(10) ** 9, "Umsatz"),
    "vast": ("hi", "INR", Decimal(10) ** 40, "राजस्व"),
    "tiny": ("fr", "EUR", Decimal("0.0001"), "Chiffre"),
    "negative": ("en", "KWD", Decimal(-5000), "Result"),
    "long": ("en", "USD", Decimal(1), "A name that goes on and on " * 4 + "Donaudampfschifffahrtsgesellschaft" * 4),
    "right to left": ("ar", "SAR", Decimal(123), "الإيرادات والمبيعات " * 3),
    "wide letters": ("zh-TW", "TWD", Decimal(99), "收入報告" * 20),
    "markup": ("en", "USD", Decimal(1), "<b>&amp; </table></td> \"quoted'"),
}
SHEET = """<!doctype html><meta charset=utf-8><body>{frames}<pre id=found></pre><script>
onload = () => {{ const found = []; for (const frame of document.querySelectorAll('iframe')) {{
  const doc = frame.contentDocument, root = doc.documentElement, wide = root.clientWidth, out = [];
  for (const one of doc.body.querySelectorAll('*')) {{ const at = one.getBoundingClientRect();
    if (at.width && (at.left < -1 || at.right > wide + 1))
      out.push(`${{one.tagName}} ${{at.left}} to ${{at.right}}: ${{one.textContent.slice(0, 40)}}`); }}
  const seen = one => frame.contentWindow.getComputedStyle(one);
  const text = doc.querySelector('h1'), page = doc.querySelector('.letter');
  const links = [...doc.querySelectorAll('.up, .down, a:not(.button)')].map(one => seen(one).color);
  found.push({{name: frame.name, scroll: root.scrollWidth - wide, out, height: root.scrollHeight,
    text: seen(text).color, ground: seen(page).backgroundColor, accents: links, size: seen(text).fontSize,
    bars: [...doc.querySelectorAll('td > span[style*="background-color"]')]
      .map(one => one.getBoundingClientRect().width)}});
}} document.getElementById('found').textContent = JSON.stringify(found); }};
</script>"""


def measured(documents: dict[str, str], folder: Path) -> dict[tuple[str, int, str], dict]:
    """(case, width, scheme) → what a browser makes of it."""
    frames = [
        f'<iframe name="{html.escape(json.dumps([case, width, scheme]))}" width={width} height=9000 '
        f'style="border:0;color-scheme:{scheme}" srcdoc="{html.escape(document)}"></iframe>'
        for case, document in documents.items()
        for width in (360, 1200)
        for scheme in ("light", "dark")
    ]
    page = folder / "sheet.html"
    page.write_text(SHEET.format(frames="".join(frames)), encoding="utf-8")
    command = [BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", "--dump-dom", f"--user-data-dir={folder}/p"]
    made = subprocess.run([*command, page.as_uri()], capture_output=True, text=True, timeout=60)
    found = re.search(r'<pre id="found">(.+?)</pre>', made.stdout, re.DOTALL)
    assert found, made.stderr[-2000:]
    return {tuple(json.loads(one["name"])): one for one in json.loads(html.unescape(found[1]))}


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """Each case as it is previewed, and as the site wraps it."""
    documents = {}
    with Renderer() as renderer:
        for case, (language, currency, factor, name) in CASES.items():
            made = renderer.render("digest.html", digest(language, currency, factor, name))
            documents[case] = made.html
            content = Letter("a@example.com", made.subject, made.html, "fd-1").content
            documents[f"{case}, wrapped"] = SITE.format(re.sub(r"<style.*?</style>", "", content, flags=re.DOTALL))
    return measured(documents, tmp_path_factory.mktemp("browser"))


def test_nothing_overflows(seen):
    """Neither the page nor any element is wider than the screen: phone, desk, light, dark, previewed and mailed."""
    assert len(seen) == len(CASES) * 2 * 4
    assert {key: one["out"] or one["scroll"] for key, one in seen.items() if one["scroll"] > 0 or one["out"]} == {}


def luminance(colour: str) -> float:
    """WCAG 2.1, relative luminance of "rgb(…)"."""
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def test_it_can_be_read_light_and_dark(seen):
    """Dark on light and light on dark, as the reader has it; what has a colour stands out from either."""
    for (_, _, scheme), one in seen.items():
        assert (luminance(one["ground"]) < luminance(one["text"])) == (scheme == "dark")
        assert contrast(one["ground"], one["text"]) > 15
        assert all(contrast(one["ground"], colour) >= 3.8 for colour in one["accents"])


def test_bars_are_as_long_as_their_shares(seen):
    """Of the largest: a half, a third …; without an image, and on any screen."""
    for (case, _, _), one in seen.items():
        full, half, *_ = one["bars"]
        assert full > 100 and abs(half / full - 0.5) < 0.02, case
