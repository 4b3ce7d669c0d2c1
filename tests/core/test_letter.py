"""Letters: marks, addresses, and what of the HTML goes to the site."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.core.letter import LONGEST_SUBJECT, Letter, group_of, is_address, mark_of, subject_of

parts = st.lists(st.text(max_size=5), min_size=3, max_size=3)


@given(parts, parts)
def test_marks_differ_where_anything_does(one, other):
    """Also where parts merely share their letters; and those of one group begin alike."""
    assert (mark_of(*one) == mark_of(*other)) == (one == other)
    assert mark_of(*one).startswith(group_of(*one[:2]))


def test_what_the_site_is_given():
    """The body as a block that keeps its direction; of the head what is about colours; the mark as a comment."""
    meta = '<meta name="color-scheme" content="light dark">'
    html = f'<html><head><meta charset="utf-8">{meta}<title>x</title></head><body dir="rtl" style="a">Hi</body></html>'
    letter = Letter("a@example.com", "x", html, "fd-1")
    assert letter.content == f'{meta}<!-- fd-1 --><div dir="rtl" style="a">Hi</div>'
    assert Letter("a@example.com", "x", "<p>Hi</p>", "fd-1").content == "<!-- fd-1 --><div><p>Hi</p></div>"


@pytest.mark.parametrize("text", ["a@example.com", "a.b+c@mail.example.co", "o'b_1@x-y.de"])
def test_addresses(text):
    """One each."""
    assert is_address(text)


@pytest.mark.parametrize(
    "text", ["", "Administrator", "a@b", "a@example.com, b@example.com", "A <a@example.com>", "a@example.com\nb@c.de",
             "a@@example.com", "a b@example.com", "a@example.", "a" * 250 + "@example.com",
             "ü@example.de", "a@exämple.de", "a..b@example.com", "a@-b.de", ".a@b.de"]
)  # fmt: skip
def test_what_is_no_address(text):
    """A list, or a name with an address, would reach somebody else, or more than one."""
    assert not is_address(text)


@given(st.text())
def test_a_subject_is_one_line(text):
    """And not longer than a list of the site shows."""
    found = subject_of(text)
    assert len(found) <= LONGEST_SUBJECT and len(found.splitlines()) <= 1
