"""Bytes of a text file turned into lines, in whatever encoding they are. Writes nothing.

Strict: a byte that the encoding does not know is an error with its line, never a replacement character.
"""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator
from typing import Any

from daemon.files.cells import Limits, problem
from daemon.files.sniff import bom

_CHUNK = 1 << 18
_SAMPLE = 1 << 16
_FORCE = "Save the file as UTF-8, or name its encoding."


class Text(io.RawIOBase):
    """The text of `stream`, as UTF-8 again, which io.TextIOWrapper reads faster than anything of ours could.

    `encoding` None: by the byte order mark, else UTF-8; from the first byte that is not UTF-8 on, what
    charset-normalizer takes it for, provided that all before was ASCII, which reads the same in each.
    """

    def __init__(self, path: str, stream: io.BufferedReader, encoding: str | None) -> None:
        self._path = path
        self._stream = stream
        found = encoding or bom(stream.peek(4)[:4])
        self._sure = found is not None
        self.encoding = found or "utf-8"
        self.guessed = False
        self._decoder = self._decoder_of(self.encoding)
        self._ascii = True
        self._first = True
        self._before = b""
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
        self._before = chunk[-_SAMPLE // 16 :]
        if self._first and text:
            self._first = False
            text = text.removeprefix("\ufeff")
        if "\0" in text:
            line = self._line_in(text[: text.index("\0")])
            why = "there is a NUL byte, as text never has"
            raise problem(self._path, why, line, action="Save the file as text: UTF-16 needs its byte order mark.")
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
            why = f"{byte} is not UTF-8, though the text before it is: two encodings are mixed"
            raise problem(self._path, why, line, action=_FORCE) from None
        self.encoding = _guessed(self._before + data[: error.start + _SAMPLE])
        self.guessed = self._sure = True
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


_FEW = 40
"""Bytes beyond ASCII that are too few to tell one Latin code page from another."""


def _guessed(sample: bytes) -> str:
    """By likeness; but Windows' Western code page, which Excel writes, where the sample says too little: letters beyond
    ASCII are rare in it, as in Latin script alone, and it fits or the guess is of another script."""
    from charset_normalizer import from_bytes

    beyond = sum(byte > 127 for byte in sample)
    letters = beyond + sum(bytes((byte,)).isalpha() for byte in sample)
    latin = beyond * 3 < letters
    if latin and beyond < _FEW:
        return "cp1252"
    best = from_bytes(sample).best()
    if best is None or {best.encoding, *best.could_be_from_charset} & {"latin_1", "cp1252", "iso8859_15"}:
        return "cp1252"
    return best.encoding if not latin or best.encoding in _LATIN else "cp1252"


_LATIN = {"cp1250", "cp1254", "cp1257", "iso8859_2", "iso8859_9", "cp850", "cp852", "cp437", "mac_roman", "mac_latin2"}


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
