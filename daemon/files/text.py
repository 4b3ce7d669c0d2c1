"""Bytes of a text file turned into lines, in the encoding that is stated, marked or proved. Writes nothing.

Strict: a byte that the encoding does not know is an error with its line, never a replacement character. A text that is
not UTF-8 and whose words read well in several encodings is refused with what it says in each.
"""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from daemon.core.encodings import MORE_BYTES, ONE_BYTE, WORDS, Reading, decided, readings
from daemon.files.cells import Limits, problem
from daemon.files.sniff import bom

_CHUNK = 1 << 18
_FORCE = "Save the file as UTF-8, or state the encoding that it is in."
_STATE = 'Save the file as UTF-8, or state what it is in: --encoding NAME, or encoding = "NAME" in the job.'


class Text(io.RawIOBase):
    """The text of `stream`, as UTF-8 again, which io.TextIOWrapper reads faster than anything of ours could.

    `encoding` None: by the byte order mark, else UTF-8; from the first byte that is not UTF-8 on, the one that the
    words of the whole text prove, provided that all before was ASCII, which reads the same in each. `again` gives the
    bytes once more from the beginning.
    """

    def __init__(
        self, path: str, stream: io.BufferedReader, encoding: str | None, again: Callable[[], io.BufferedReader]
    ) -> None:
        self._path = path
        self._stream = stream
        self._again = again
        found = encoding or bom(stream.peek(4)[:4])
        self._sure = found is not None
        self.encoding = found or "utf-8"
        self.proof = ""
        """A word that speaks for an encoding which nothing else names."""
        self._decoder = self._decoder_of(self.encoding)
        self._ascii = True
        self._first = True
        self._waiting = memoryview(b"")
        self._ended = False
        self._lines = 1
        self._after_cr = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._waiting and not self._ended:
            chunk = self._stream.read1(_CHUNK)
            self._ended = not chunk
            self._waiting = memoryview(self._encoded(self._decoded(chunk)))
        size = min(len(buffer), len(self._waiting))
        buffer[:size] = self._waiting[:size]
        self._waiting = self._waiting[size:]
        return size

    def _decoder_of(self, encoding: str) -> codecs.IncrementalDecoder:
        try:
            "".encode(encoding)  # refuses what is no text encoding, such as hex
            return codecs.getincrementaldecoder(encoding)("strict")
        except (LookupError, ValueError, TypeError):
            raise problem(
                self._path, f"there is no encoding {encoding!r}", action="Name one that Python knows, such as cp1252."
            ) from None

    def _decoded(self, chunk: bytes) -> str:
        try:
            text = self._decoder.decode(chunk, not chunk)
        except UnicodeDecodeError as error:
            text = self._guess(error)
        except (UnicodeError, ValueError) as error:
            raise problem(self._path, f"the text is not {self.encoding}: {error}", self._lines, action=_FORCE) from None
        self._ascii = self._ascii and text.isascii()
        if self._first and text:
            self._first = False
            text = text.removeprefix("\ufeff")
        if "\0" in text:
            line = self._line_in(text[: text.index("\0")])
            why = "there is a NUL byte, as text never has"
            raise problem(self._path, why, line, action="Save the file as text: UTF-16 needs its byte order mark.")
        if not self._sure and "\x1b" in text and (shift := _SHIFT.search(text)):
            line = self._line_in(text[: shift.start()])
            why = "there is an escape sequence, as in encodings such as iso2022_jp"
            raise problem(self._path, why, line, action=_STATE)
        self._count(text)
        return text

    def _encoded(self, text: str) -> bytes:
        try:
            return text.encode()
        except UnicodeEncodeError:
            raise problem(self._path, f"the text is not {self.encoding}", self._lines, action=_FORCE) from None

    def _guess(self, error: UnicodeDecodeError) -> str:
        """What is left of the text, after a byte that is not UTF-8."""
        data = bytes(error.object)
        line = self._line_in(data[: error.start].decode(self.encoding, "ignore"))
        byte = f"byte 0x{data[error.start]:02x}"
        if self._sure:
            raise problem(self._path, f"{byte} is not {self.encoding}", line, action=_FORCE) from None
        if not (self._ascii and data[: error.start].isascii()):
            why = f"{byte} is not UTF-8, though the text before it is: two encodings are mixed, or all is in another"
            raise problem(self._path, why, line, action=_STATE) from None
        self.encoding, self.proof = _proved(self._path, line, self._again())
        self._sure = True
        self._decoder = self._decoder_of(self.encoding)
        try:
            return self._decoder.decode(data, self._ended)
        except UnicodeDecodeError as again:
            line = self._line_in(data[: again.start].decode(self.encoding, "ignore"))
            raise problem(self._path, f"the text is neither UTF-8 nor {self.encoding}", line, action=_FORCE) from None

    def _count(self, text: str) -> None:
        self._lines = self._line_in(text)
        self._after_cr = text.endswith("\r") if text else self._after_cr

    def _line_in(self, text: str) -> int:
        """The physical line that comes after `text`, where `text` comes next."""
        split = self._after_cr and text.startswith("\n")
        if "\r" not in text:
            return self._lines + text.count("\n") - split
        return self._lines + text.count("\n") + text.count("\r") - text.count("\r\n") - split


_SHIFT = re.compile(r"\x1b(?:\$[@B(]|\([BIJ])")
"""By which ISO-2022-JP and its like change over to another set of characters; all their bytes are ASCII."""
_WORD = rb"[0-9A-Za-z@\[\\\]^_`{|}~'\x80-\xff]"
"""Bytes of which words are, in whatever encoding: the second of two is no sign that divides cells."""
_FOREIGN = re.compile(rb"%b*[\x80-\xff]%b*" % (_WORD, _WORD))
_BEGUN = re.compile(rb"%b{1,512}\Z" % _WORD)
_NUMBER = re.compile(rb"[0-9]+")
_LONGEST = 120
"""Bytes of a word that are judged."""
_NAMED = 4
"""Readings that an error tells, of each sort."""


def _proved(path: str, line: int, stream: io.BufferedReader) -> tuple[str, str]:
    """The encoding that the words of the text prove, and one of them. Raises FileProblem where they do not."""
    words, fitting = _evidence(stream)
    found = readings(words, fitting)
    encoding = decided(found)
    if encoding:
        return encoding, found[0].texts[0]
    said = _told([one for one in found if one.stands_beside(found[0])]) if found else "in none that is known it is text"
    raise problem(path, f"the text is not UTF-8, and its words do not prove what else: {said}", line, action=_STATE)


def _evidence(stream: io.BufferedReader) -> tuple[list[bytes], set[str]]:
    """Words with bytes beyond ASCII: the first `WORDS` that differ in more than numbers, and any more that bring a new
    byte; encodings in which all of the text can be decoded."""
    words: dict[bytes, bytes] = {}
    seen = bytearray(range(128))
    more = {encoding: codecs.getincrementaldecoder(encoding)() for encoding in MORE_BYTES}
    begun = b""
    while chunk := stream.read(_CHUNK):
        for encoding, decoder in list(more.items()):
            try:
                decoder.decode(chunk)
            except UnicodeDecodeError:
                del more[encoding]
        chunk = begun + chunk
        tail = _BEGUN.search(chunk)
        begun = tail[0] if tail else b""
        _gather(chunk[: len(chunk) - len(begun)], words, seen)
    _gather(begun, words, seen)
    beyond = bytes(seen[128:])
    return list(words.values()), {encoding for encoding in ONE_BYTE if _decodes(beyond, encoding)} | more.keys()


def _gather(chunk: bytes, words: dict[bytes, bytes], seen: bytearray) -> None:
    for match in _FOREIGN.finditer(chunk):
        word = match[0]
        new = word.translate(None, seen)
        if new or len(words) < WORDS:
            for start in range(0, len(word), _LONGEST):
                part = word[start : start + _LONGEST]
                words.setdefault(_NUMBER.sub(b"0", part), part)
            seen += bytes(set(new))


def _decodes(data: bytes, encoding: str) -> bool:
    try:
        data.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def _told(found: Sequence[Reading]) -> str:
    """What each reading makes of the same few words, those first that tell most of them apart."""
    single = [one for one in found if one.encoding in ONE_BYTE][:_NAMED]
    named = [*single, *[one for one in found if one.encoding in MORE_BYTES][:_NAMED]]
    places = sorted(range(len(named[0].texts)), key=lambda place: -len({one.texts[place] for one in named}))[:3]
    return "; ".join(
        f"as {one.encoding} it reads {', '.join(_shown(one.texts[place]) for place in sorted(places))}" for one in named
    )


def _shown(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text[:30])


class Lines:
    """Physical lines with their ends, none longer than a record may be.

    `record` holds those given out since it was last cleared, so that an error can say where something began.
    """

    def __init__(self, path: str, text: Text, limits: Limits) -> None:
        self._path = path
        self._file = io.TextIOWrapper(io.BufferedReader(text, _CHUNK), "utf-8", newline="")
        self._limit = limits.record
        self._given_back: list[str] = []
        self.number = 0
        self.record: list[str] = []
        self.size = 0

    def __iter__(self) -> Iterator[str]:
        read, limit = self._file.readline, self._limit
        while line := self._given_back.pop() if self._given_back else read(limit):
            self.number += 1
            self.record.append(line)
            self.size += len(line)
            if self.size >= limit:
                first = self.number - len(self.record) + 1
                raise problem(self._path, f"a record is longer than {limit:,} characters", first)
            yield line

    def sample(self, size: int) -> tuple[list[str], bool]:
        """The first lines, up to `size` characters, and whether they are all; each is given out again."""
        lines: list[str] = []
        while size > 0 and (line := self._file.readline(self._limit)):
            lines.append(line)
            size -= len(line)
        self._given_back = lines[::-1]
        return lines, size > 0

    def clear(self) -> None:
        """What comes next is a new record."""
        self.record.clear()
        self.size = 0
