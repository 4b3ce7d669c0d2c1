"""Money, numbers and dates in the languages of people."""

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.rendering import formats
from daemon.rendering.formats import locale_of


def plain(text: str) -> str:
    """Without the blanks and marks that no eye sees."""
    return "".join(" " if sign in "\u00a0\u202f" else sign for sign in text if sign not in "\u200e\u200f\u061c")


@pytest.mark.parametrize(
    ("language", "currency", "shown"),
    [
        ("en", "USD", "$1,234,567.80"),
        ("de", "EUR", "1.234.567,80 €"),
        ("fr", "EUR", "1 234 567,80 €"),
        ("en", "JPY", "¥1,234,568"),
        ("en", "KWD", "KWD 1,234,567.800"),
        ("en", "XYZ", "XYZ 1,234,567.80"),
        ("hi", "INR", "₹12,34,567.80"),
        ("en", "", "1,234,567.80"),
        ("nobody-speaks-this", "USD", "$1,234,567.80"),
    ],
)
def test_money(language, currency, shown):
    """With the decimals of the currency, in the order and signs of the language; without a currency as a number."""
    assert plain(formats.money(Decimal("1234567.8"), currency, locale_of(language))) == shown


@pytest.mark.parametrize(
    ("code", "name"),
    [("pt-BR", "pt_BR"), ("zh-TW", "zh_Hant_TW"), ("", "en"), ("de-XX", "de"), ("??", "en"), ("es-419", "es_419")],
)
def test_languages_of_frappe(code, name):
    """As the site names them; of an unknown one as much as is known, else English."""
    assert str(locale_of(code)) == name


def test_days():
    """One day, and a span that says each part once."""
    first, last = date(2026, 11, 16), date(2026, 11, 22)
    assert plain(formats.span(first, last, locale_of("de"))) == "16.–22. Nov. 2026"
    assert formats.span(first, first, locale_of("de")) == "16.11.2026"
    assert formats.direction(locale_of("ar")) == "rtl"


@given(
    st.one_of(
        st.decimals(allow_nan=False, allow_infinity=False),
        st.integers(),
        st.floats(allow_nan=False, allow_infinity=False),
    ),
    st.sampled_from(["en", "de", "ar", "hi", "zh-TW", "sv"]),
    st.sampled_from(["USD", "JPY", "KWD", ""]),
)
def test_any_number_can_be_shown_and_is_short(value, language, currency):
    """Huge and tiny ones, too; nothing is longer than a phone shows in two lines."""
    locale = locale_of(language)
    for shown in (
        formats.money(value, currency, locale),
        formats.number(value, locale),
        formats.percent(value, locale),
    ):
        assert 0 < len(shown) <= 50


@pytest.mark.parametrize("value", ["NaN", "inf", "x", float("nan"), [1]])
def test_what_is_no_number_is_said_to_be_none(value):
    """Rather than shown as one."""
    with pytest.raises(ValueError, match="is no number"):
        formats.money(value, "USD", locale_of("en"))


@pytest.mark.parametrize(
    ("days", "language", "shown"),
    [(1, "en", "in 1 day"), (30, "en", "in 30 days"), (-400, "en", "400 days ago"), (7, "de", "in 7 Tagen"),
     (-2, "ar", "قبل يومين")],
)  # fmt: skip
def test_days_from_now_and_ago(days, language, shown):
    """Counted as days however many they are, in each language's own words."""
    assert formats.when(days, formats.locale_of(language)) == shown
