"""A mail before it is sent: to one person, with a mark by which the site is asked whether it has it. Reads nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import sha256

LONGEST_SUBJECT = 140
"""Characters that a subject keeps: more than a phone shows, and all that some lists of the site hold."""
MARK = "fd-"
"""How marks begin."""


def mark_of(owner: str, *parts: str) -> str:
    """A token that is the same for the same `owner` (a job on a site) and `parts` (period, recipient), and no other.

    Made of two halves, the first of `owner` and all parts but the last: all letters of one period share it.
    """
    *group, last = parts
    return f"{group_of(owner, *group)}-{_digest(last)}"


def group_of(owner: str, *parts: str) -> str:
    """What marks of one owner and period begin with."""
    return f"{MARK}{_digest(owner, *parts)}"


def _digest(*parts: str) -> str:
    return sha256("\0".join(parts).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Letter:
    """One mail to one address.

    There is no plain text beside the HTML: the site makes a mail's text part from its HTML by itself, and takes none
    from outside (email/doctype/email_queue/email_queue.py:QueueBuilder.email_text_content).
    """

    recipient: str
    """An address, without a name."""
    subject: str
    html: str
    """A whole document whose styles are inlined."""
    mark: str
    """Unique to what it is about; sent within the HTML, as a comment that the site keeps."""
    reference: tuple[str, str] | None = None
    """(DocType, name) of the document that the mail is about. Whoever sends it needs the right to e-mail that."""

    @property
    def content(self) -> str:
        """What the site is given: the body as a block, with the mark.

        The site puts it into a document of its own, where <html>, <head>, <title> and <body> have no place, and 16
        drops <style> (utils/html_utils.py:sanitize_html). What tells mail programs that the colours suit a dark
        ground too is kept by both, as a <meta>.
        """
        found = re.search(r"<body([^>]*)>(.*)</body>", self.html, re.DOTALL | re.IGNORECASE)
        attributes, body = found.groups() if found else ("", self.html)
        head = self.html[: found.start()] if found else ""
        kept = re.findall(r"<meta[^>]*color-schemes?[^>]*>|<style.*?</style>", head, re.DOTALL | re.IGNORECASE)
        return f"{''.join(kept)}<!-- {self.mark} --><div{attributes}>{body}</div>"


def subject_of(text: str) -> str:
    """One line, cut short where it is very long."""
    line = " ".join(text.split())
    return line if len(line) <= LONGEST_SUBJECT else line[: LONGEST_SUBJECT - 1] + "…"


_ATOM, _LABEL = r"[\w!#$%&'*+/=?^`{|}~-]+", r"[a-z0-9]([a-z0-9-]*[a-z0-9])?"
_ADDRESS = re.compile(rf"{_ATOM}(\.{_ATOM})*@({_LABEL}\.)+{_LABEL}", re.ASCII | re.IGNORECASE)
"""A dot-atom at a domain (RFC 5322, 3.4.1): the site refuses what is quoted or no ASCII (utils/__init__.py:
validate_email_address)."""


def is_address(text: str) -> bool:
    """Whether `text` is one address, and nothing else: a list, or a name with an address, would reach others."""
    return len(text) <= 254 and _ADDRESS.fullmatch(text) is not None
