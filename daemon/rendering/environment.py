"""A template and what is known → a letter's subject and HTML. Runs within daemon.rendering.process; reads templates.

Templates are Jinja2 in its sandbox, found in the user's folder first and then among those that ship, which are also
there as "shipped/…". What is missing is an error (StrictUndefined), text is escaped, and nothing can be reached but
what the context holds. The rules of `<style>` are put into the elements: most mail programs read them nowhere else.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping
from datetime import date, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from babel import Locale
from css_inline import CSSInliner
from jinja2 import ChoiceLoader, FileSystemLoader, PrefixLoader, StrictUndefined, Template, pass_context
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import Markup

from daemon.rendering import formats

SHIPPED = Path(__file__).parent.parent / "templates"
LARGEST = 2 << 20
"""Characters of a letter; Gmail shows the first 100 KB of one."""
BARS = 24
"""Blanks that a full bar is made of, where a mail program knows no widths."""


class TooLong(Exception):
    """The template goes on for more than `LARGEST` characters."""


class Environment:
    """Renders templates of one folder, None: the shipped ones alone."""

    def __init__(self, folder: Path | None) -> None:
        shipped = FileSystemLoader(SHIPPED)
        own = [FileSystemLoader(folder)] if folder else []
        self.jinja = ImmutableSandboxedEnvironment(
            loader=ChoiceLoader([*own, shipped, PrefixLoader({"shipped": shipped})]),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self.jinja.filters |= {
            "money": _money, "number": _number, "percent": _percent, "date": _date, "datetime": _datetime,
        }  # fmt: skip
        self.jinja.globals |= {"span": _span, "when": _when, "_": _word, "bar": bar}
        self._inliner = CSSInliner(keep_at_rules=True, load_remote_stylesheets=False)

    def template(self, name: str) -> Template:
        """Raises TemplateSyntaxError and TemplateNotFound."""
        return self.jinja.get_template(name)

    def render(self, name: str, known: Mapping[str, Any]) -> tuple[str, str]:
        """(subject, HTML document). The subject is the document's title. `known` has "language", "currency" …"""
        locale = formats.locale_of(str(known.get("language") or ""))
        context = {**known, "locale": locale, "direction": formats.direction(locale)}
        pieces, size = [], 0
        for piece in self.template(name).generate(context):
            pieces.append(piece)
            size += len(piece)
            if size > LARGEST:
                raise TooLong(f"it makes more than {LARGEST:,} characters")
        document = self._inliner.inline("".join(pieces))
        title = re.search(r"<title[^>]*>(.*?)</title>", document, re.DOTALL | re.IGNORECASE)
        return " ".join(html.unescape(title[1]).split()) if title else "", document


def _locale(context: Context) -> Locale:
    found = context.get("locale")
    return found if isinstance(found, Locale) else formats.locale_of("")


@pass_context
def _money(context: Context, value: Any, currency: str | None = None) -> str:
    return formats.money(value, str(context.get("currency") or "") if currency is None else currency, _locale(context))


@pass_context
def _number(context: Context, value: Any, digits: int | None = None) -> str:
    return formats.number(value, _locale(context), digits)


@pass_context
def _percent(context: Context, value: Any) -> str:
    return formats.percent(value, _locale(context))


@pass_context
def _date(context: Context, value: date, style: str = "medium") -> str:
    return formats.day(value, _locale(context), style)


@pass_context
def _datetime(context: Context, value: datetime, style: str = "medium") -> str:
    return formats.moment(value, _locale(context), style)


@pass_context
def _span(context: Context, first: date, last: date) -> str:
    return formats.span(first, last, _locale(context))


@pass_context
def _when(context: Context, days: int) -> str:
    return formats.when(days, _locale(context)) if days else _word(context, "today")


@pass_context
def _word(context: Context, text: str, **values: Any) -> str:
    """A text of the shipped templates in the recipient's language, with `{name}` put in; English where it is unknown.

    Values are put in as they are: what goes into HTML is escaped when it is printed.
    """
    said = _words(str(_locale(context).language)).get(text, text)
    return re.sub(r"\{(\w+)\}", lambda match: str(values.get(match[1], match[0])), said)


@lru_cache(maxsize=64)
def _words(language: str) -> dict[str, str]:
    try:
        found: dict[str, str] = json.loads((SHIPPED / "words" / f"{language}.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return found


def bar(share: Any, colour: str = "#3b7dd8") -> Markup:
    """A bar of `share` (0 to 1) of the width there is, without image and script.

    A span with a width, and filled with as many blanks: Outlook for Windows knows no width of a span, but it paints
    behind the blanks. Anything else would show there as a full bar, or in the mail's plain text as signs.
    """
    part = min(max(float(share), 0.0), 1.0)
    if not part or not re.fullmatch(r"#[0-9a-fA-F]{3,8}|[a-zA-Z]+", colour):
        return Markup("")
    style = (
        f"display:block;width:{max(part * 100, 1):.0f}%;height:6px;margin-top:4px;background-color:{colour};"
        "border-radius:3px;font-size:6px;line-height:6px;white-space:nowrap;overflow:hidden"
    )
    blanks = " " * max(1, round(part * BARS))
    return Markup('<span style="{}">{}</span>').format(style, blanks)
