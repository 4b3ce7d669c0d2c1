"""The status page in a real browser, headless: on a phone and a wide screen, light and dark, whatever is in it."""

from __future__ import annotations

import html
import json
import re
import subprocess
from pathlib import Path

import pytest

from daemon.rendering.status import page
from tests.rendering.test_browser import BROWSER, contrast, luminance
from tests.views import cases, view_of

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed to look with")

SHEET = """<!doctype html><meta charset=utf-8><body>{frames}<pre id=found></pre><script>
onload = () => {{ const found = []; for (const frame of document.querySelectorAll('iframe')) {{
  const doc = frame.contentDocument, root = doc.documentElement, wide = root.clientWidth, out = [];
  const seen = one => frame.contentWindow.getComputedStyle(one);
  for (const one of doc.body.querySelectorAll('*')) {{ const at = one.getBoundingClientRect();
    if (at.width && (at.left < -1 || at.right > wide + 1)) out.push(`${{one.tagName}} ${{at.left}} to ${{at.right}}`);
    const block = one.clientWidth && seen(one).display != 'inline' && !one.closest('svg');
    if (block && one.scrollWidth > one.clientWidth + 1)
      out.push(`${{one.tagName}}.${{one.className}} holds ${{one.scrollWidth}} in ${{one.clientWidth}}`); }}
  const ground = one => {{ for (; one; one = one.parentElement) {{ const c = seen(one).backgroundColor;
    if (!/, 0\\)$/.test(c)) return c; }} }};
  const texts = [...doc.querySelectorAll('h1, h2, dt, dd, small, p, .pill, .who, code, a, .legend span')]
    .filter(one => one.textContent.trim()).map(one => [one.className || one.tagName, seen(one).color, ground(one)]);
  const bars = [...doc.querySelectorAll('.runs .b')].map(one => [one.getAttribute('class').split(' ')[1],
    seen(one).fill, one.querySelectorAll(':scope > :not(title):not(.hit)').length]);
  const cards = [...doc.querySelectorAll('.job')].map(one => one.getBoundingClientRect().height);
  found.push({{name: frame.name, scroll: root.scrollWidth - wide, out, texts, bars, cards,
    styled: seen(doc.querySelector('h1')).fontSize, card: seen(doc.querySelector('.jobs')).backgroundColor,
    values: [...doc.querySelectorAll('progress')].map(one => one.position)}});
}} document.getElementById('found').textContent = JSON.stringify(found); }};
</script>"""


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """(case, width, scheme) → what a browser makes of it. The policy is set, so that what it forbids is not there."""
    folder: Path = tmp_path_factory.mktemp("status")
    frames = []
    for case, facts in cases().items():
        body, policy = page(view_of(facts))
        meta = f'<meta http-equiv="Content-Security-Policy" content="{policy.partition("; frame-")[0]}">'
        document = html.escape(body.decode().replace('<meta charset="utf-8">', f'<meta charset="utf-8">{meta}'))
        frames += [
            f'<iframe name="{html.escape(json.dumps([case, width, scheme]))}" width={width} height=900 '
            f'style="border:0;color-scheme:{scheme}" srcdoc="{document}"></iframe>'
            for width in (360, 1200)
            for scheme in ("light", "dark")
        ]
    sheet = folder / "sheet.html"
    sheet.write_text(SHEET.format(frames="".join(frames)), encoding="utf-8")
    command = [BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", "--dump-dom", f"--user-data-dir={folder}/p"]
    made = subprocess.run([*command, sheet.as_uri()], capture_output=True, text=True, timeout=60)
    found = re.search(r'<pre id="found">(.+?)</pre>', made.stdout, re.DOTALL)
    assert found, made.stderr[-2000:]
    return {tuple(json.loads(one["name"])): one for one in json.loads(html.unescape(found[1]))}


def test_nothing_overflows(seen):
    """Neither the page nor any element is wider than its place: long names, right to left, no job, fifty jobs."""
    assert len(seen) == len(cases()) * 4
    assert {key: one["out"] or one["scroll"] for key, one in seen.items() if one["scroll"] > 0 or one["out"]} == {}


def test_it_can_be_read_light_and_dark(seen):
    """Every text stands out from what it lies on (WCAG 2.1, AA), in both schemes; the styles pass the policy."""
    for (case, width, scheme), one in seen.items():
        assert one["styled"] == ("24px" if width == 360 else "28px")
        assert (luminance(one["card"]) < 0.5) == (scheme == "dark")
        poor = [(name, text, ground) for name, text, ground in one["texts"] if contrast(text, ground) < 4.5]
        assert poor == [], (case, scheme)


def test_outcomes_differ_in_shape_as_well_as_in_colour(seen):
    """Only what is well is a plain bar; each outcome has a colour, and whoever sees none sees a sign above it."""
    for scheme in ("light", "dark"):
        bars = seen["busy", 1200, scheme]["bars"]
        assert {kind for kind, *_ in bars} == {
            "done",
            "some-failed",
            "failed",
            "refused",
            "stopped",
            "interrupted",
            "running",
        }
        assert {kind: parts for kind, _, parts in bars} == {
            "done": 1, "some-failed": 2, "failed": 2, "refused": 2, "stopped": 2, "interrupted": 2, "running": 2,
        }  # fmt: skip
        plain = {kind: colour for kind, colour, _ in bars if kind not in ("stopped", "interrupted")}
        assert len(set(plain.values())) == len(plain)


def test_a_wide_screen_shows_a_job_in_a_line(seen):
    """Fifty jobs are a list there, and not fifty cards."""
    assert max(seen["fifty", 1200, "light"]["cards"]) < 110
    assert len(seen["fifty", 360, "light"]["cards"]) == 50


def test_a_bar_shows_how_far_a_run_is(seen):
    """As far as it is known; where nothing is known yet it says so by its form."""
    assert [round(value, 2) for value in seen["busy", 360, "light"]["values"]] == [0.4]
    assert seen["begun", 360, "light"]["values"] == [-1]
