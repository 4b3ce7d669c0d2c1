"""A template and what is known → a letter's subject and HTML. Runs within daemon.rendering.process; reads templates.

Templates are Jinja2 in its sandbox, found in the user's folder first and then among those that ship, which are also
there as "shipped/…". What is missing is an error (StrictUndefined), text is escaped, and nothing can be reached but
what the context holds. The rules of `<style>` are put into the elements: most mail programs read them nowhere else.

A letter is in one language: in the recipient's where there are words for it, among those that ship or in the folder's
words/LANGUAGE.json, else in English, dates and numbers too.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Any

from css_inline import CSSInliner
from jinja2 import (
    BaseLoader,
    ChoiceLoader,
    FileSystemLoader,
    PrefixLoader,
    StrictUndefined,
    Template,
    TemplateNotFound,
    pass_context,
)
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


class _Pages(FileSystemLoader):
    """Files *.html that lie within the folder, and not elsewhere by a symbolic link."""

    def get_source(self, environment: Any, template: str) -> tuple[str, str, Callable[[], bool]]:
        found = super().get_source(environment, template)
        inside = any(Path(found[1]).resolve().is_relative_to(Path(place).resolve()) for place in self.searchpath)
        if not (template.endswith(".html") and inside):
            raise TemplateNotFound(template)
        return found


class Environment:
    """Renders templates of one folder, None: the shipped ones alone. One letter at a time."""

    def __init__(self, folder: Path | None) -> None:
        self._places = [*([folder] if folder else []), SHIPPED]
        self._words: dict[str, dict[str, str]] = {}
        self._locale = formats.locale_of("")
        shipped = _Pages(SHIPPED)
        own: list[BaseLoader] = [_Pages(folder)] if folder else []
        self.jinja = ImmutableSandboxedEnvironment(
            loader=ChoiceLoader([*own, shipped, PrefixLoader({"shipped": shipped})]),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self.jinja.filters |= {
            "money": self._money, "number": self._number, "percent": self._percent, "duration": self._duration,
            "date": self._date, "datetime": self._datetime,
        }  # fmt: skip
        self.jinja.globals |= {"span": self._span, "when": self._when, "_": self._word, "bar": bar}
        self._inliner = CSSInliner(keep_at_rules=True, load_remote_stylesheets=False)

    def template(self, name: str) -> Template:
        """Raises TemplateSyntaxError and TemplateNotFound."""
        return self.jinja.get_template(name)

    def render(self, name: str, known: Mapping[str, Any]) -> tuple[str, str]:
        """(subject, HTML document). The subject is the document's title. `known` has "language", "currency" …"""
        wanted = formats.locale_of(str(known.get("language") or ""))
        self._locale = wanted if self.words(wanted.language) else formats.locale_of("en")
        # no object of Babel's: some of its methods read the process's environment
        spoken = {"language": self._locale.language}
        context = {**known, "locale": spoken, "direction": formats.direction(self._locale)}
        pieces, size = [], 0
        for piece in self.template(name).generate(context):
            pieces.append(piece)
            size += len(piece)
            if size > LARGEST:
                raise TooLong(f"it makes more than {LARGEST:,} characters")
        document = self._inliner.inline("".join(pieces))
        title = re.search(r"<title[^>]*>(.*?)</title>", document, re.DOTALL | re.IGNORECASE)
        return " ".join(html.unescape(title[1]).split()) if title else "", document

    def words(self, language: str) -> dict[str, str]:
        """Texts of the templates in a language, those of the folder before those that ship; none: nobody translated
        them. English is its own."""
        if language not in self._words:
            found: dict[str, str] = {"today": "today"} if language == "en" else {}
            for place in reversed(self._places):
                file = place / "words" / f"{language}.json"
                found |= json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
            self._words[language] = found
        return self._words[language]

    @pass_context
    def _money(self, context: Context, value: Any, currency: str | None = None) -> str:
        return formats.money(value, str(context.get("currency") or "") if currency is None else currency, self._locale)

    def _number(self, value: Any, digits: int | None = None) -> str:
        return formats.number(value, self._locale, digits)

    def _percent(self, value: Any, digits: int | None = None) -> str:
        return formats.percent(value, self._locale, digits)

    def _duration(self, value: Any) -> str:
        return formats.duration(value, self._locale)

    def _date(self, value: date, style: str = "medium") -> str:
        return formats.day(value, self._locale, style)

    def _datetime(self, value: datetime, style: str = "medium") -> str:
        return formats.moment(value, self._locale, style)

    def _span(self, first: date, last: date) -> str:
        return formats.span(first, last, self._locale)

    def _when(self, days: int) -> str:
        return formats.when(days, self._locale) if days else self._word("today")

    def _word(self, text: str, **values: Any) -> str:
        """A text of the shipped templates in the recipient's language, with `{name}` put in; English where it is
        unknown.

        Values are put in as they are: what goes into HTML is escaped when it is printed.
        """
        said = self.words(self._locale.language).get(text, text)
        return re.sub(r"\{(\w+)\}", lambda match: str(values.get(match[1], match[0])), said)


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
