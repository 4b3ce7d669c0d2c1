"""What is opened, how far it is expanded, and that it stays the same while it is read."""

from __future__ import annotations

import gzip
import hashlib
import os
import zipfile
from pathlib import Path

import pytest

from daemon.errors import FileProblem
from daemon.files.cells import Limits
from daemon.files.table import open_table, survey


def test_a_survey_identifies_the_file(tmp_path: Path) -> None:
    """Its content, gzipped or not, and what is in it."""
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(b"a,b\n1,2\n") + gzip.compress(b"3,4\n"))
    found = survey(path)
    assert found.sha256 == hashlib.sha256(b"a,b\n1,2\n3,4\n").hexdigest() and found.size == path.stat().st_size
    assert (found.format, found.header, found.records, found.encoding) == ("csv", ("a", "b"), 2, "utf-8")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (gzip.compress(b"a,b\n" * 9999, mtime=0)[:-9], "cut short"),
        (gzip.compress(b"a,b\n" * 99, mtime=0)[:30] + b"\xff" * 30, "damaged|cut short"),
        (gzip.compress(b"a\n" + b"1\n" * 10**6), "expands to more than 200 times its size"),
        (gzip.compress(b"a\n" + os.urandom(1 << 17).hex().encode()), "expands to more than 200,000 bytes"),
        (gzip.compress(gzip.compress(b"a", mtime=0), mtime=0), "gzipped twice"),
        (b"%PDF-1.7", "a PDF document"),
        (b"\n<!DOCTYPE html><html>", "an HTML page"),
        (b"\x89PNG\r\n", "a PNG image"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + "EncryptedPackage".encode("utf-16-le"), "encrypted"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + "WordDocument".encode("utf-16-le"), "a Word document"),
        (b"PK\x03\x04 and no more", "damaged"),
    ],
)
def test_what_is_no_table_says_what_it_is(tmp_path: Path, data: bytes, message: str) -> None:
    """Whatever its extension promises."""
    path = tmp_path / "a.csv"
    path.write_bytes(data)
    with pytest.raises(FileProblem, match=message):
        survey(path, limits=Limits(trusted=100_000, expanded=200_000 if len(data) > 9999 else 20 << 30))


@pytest.mark.parametrize(("member", "message"), [("word/document.xml", "a Word document"), ("x.csv", "a zip archive")])
def test_an_archive_is_no_table(tmp_path: Path, member: str, message: str) -> None:
    """It may hold one."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(member, "a,b")
    with pytest.raises(FileProblem, match=message):
        survey(tmp_path / "a.zip")


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    """A pipe without a writer does not hold us up."""
    os.mkfifo(tmp_path / "pipe")
    for path, message in [
        (tmp_path, "a directory"),
        (tmp_path / "pipe", "a pipe"),
        (Path("/dev/null"), "a device"),
        (tmp_path / "none", "no such file"),
        (Path("a\0b"), "no file can have this name"),
    ]:
        with pytest.raises(FileProblem, match=message):
            survey(path)


def test_a_file_that_changes_is_refused(tmp_path: Path) -> None:
    """While it is read, when its last row was given; and between the survey and the reading, before the first."""
    path = tmp_path / "a.csv"
    path.write_bytes(b"a\n1\n2\n")
    found = survey(path)
    with open_table(path, survey=found) as table:
        rows = iter(table)
        assert next(rows).cells == ("1",)
        with path.open("ab") as file:
            file.write(b"3\n")
        with pytest.raises(FileProblem, match="the file changed while it was read"):
            list(rows)
    with pytest.raises(FileProblem, match="the file changed since it was surveyed"):
        open_table(path, survey=found)
