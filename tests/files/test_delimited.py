"""CSV: what csv.writer writes comes back, with the physical line of each record; what is damaged says where."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.errors import FileProblem
from daemon.files.cells import Limits, Row
from daemon.files.sniff import DELIMITERS
from daemon.files.table import open_table, survey

Write = Callable[..., Path]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("csv")


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(data: str | bytes, name: str = "a.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        return path

    return written


def read(path: Path, **how: object) -> tuple[tuple[str, ...], list[Row]]:
    with open_table(path, **how) as table:  # type: ignore[arg-type]
        return table.header, list(table)


CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\x85"), max_size=8)


@given(
    st.lists(st.tuples(CELLS, CELLS, CELLS), max_size=12),
    st.sampled_from(",;\t|:~"),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-le"]),
    st.integers(0, 12),
)
def test_what_csv_writes_is_read_back(folder, rows, delimiter, quoting, end, encoding, skip):
    """Cells and lines, whatever delimiter, quoting, line ends and encoding; and from any record on."""
    file = io.StringIO(newline="")
    if end != "\r\n":  # csv.writer leaves line breaks bare that are not its own
        quoting = csv.QUOTE_ALL
    writer = csv.writer(file, delimiter=delimiter, quoting=quoting, lineterminator=end)
    writer.writerow(["one", "two", "three"])
    expected = []
    for row in rows:
        line = len(re.findall("\r\n|\r|\n", file.getvalue())) + 1
        writer.writerow(row)
        if any(cell.strip() for cell in row):
            expected.append(Row(line, row))
    path = folder / "law.csv"
    path.write_bytes(file.getvalue().encode(encoding))
    with open_table(path, encoding=encoding if encoding == "utf-16-le" else None, delimiter=delimiter) as table:
        assert (table.header, list(table)) == (("one", "two", "three"), expected)
        assert list(table.rows(skip=skip)) == expected[skip:]
        assert table.records == len(expected)


@given(
    st.lists(st.lists(st.text("abc 12.\"\n'", max_size=6), min_size=4, max_size=4), min_size=1, max_size=10),
    st.sampled_from(DELIMITERS),
)
def test_the_delimiter_is_found(folder, rows, delimiter):
    """Where no other divides the header, however few records there are."""
    path = folder / "found.csv"
    with path.open("w", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows([["name", "qty", "rate", "note"], *rows])
    assert survey(path).delimiter == delimiter


@pytest.mark.parametrize(
    ("text", "delimiter"),
    [
        ("name;price\na;1,5\nb;2,5\n", ";"),
        ("name,when\na,10:30:00\nb,11:30:00\n", ","),
        ("name\na,b\n"[:5] + "a\n", ","),
        ("sep=|\na,b|c\n1,2|3\n", "|"),
        ('"a;b",c\n"1;2",3\n', ","),
        ("a\tb,c\n1\t2,3\n4\t5\n", "\t"),
    ],
)
def test_the_delimiter_divides_evenly(write, text, delimiter):
    """Decimal commas and times of day do not; `sep=` says it."""
    assert survey(write(text)).delimiter == delimiter


def test_lines_are_physical(write):
    """Blank lines, `sep=` and line breaks within quotes count; a row of nothing but delimiters is blank."""
    path = write('sep=;\r\n\r\n Name ;b;\r\n;;\r\n \r\n1;"x\r\ny";\r\n\r\n2\r\n')
    assert read(path) == (("Name", "b"), [Row(6, ("1", "x\r\ny")), Row(9, ("2", ""))])


@pytest.mark.parametrize(
    ("data", "encoding", "text"),
    [
        ("a,b\nMünchen,Öl\n".encode("cp1252"), "cp1252", "München"),
        (b"a,b\n" + b"x,y\n" * 200_000 + "Müller,grün\n".encode("cp1252"), "cp1252", "Müller"),
        ("a,b\n".encode("utf-16") + "é,ü\n".encode("utf-16-le"), "utf-16-le", "é"),
    ],
)
def test_the_encoding_is_found_before_the_first_row(write, data, encoding, text):
    """By the mark, else UTF-8, else what the words prove, which the survey says; also where it shows late."""
    path = write(data)
    found = survey(path)
    assert found.encoding == encoding
    with open_table(path, survey=found) as table:
        assert list(table)[-1].cells[0] == text


def test_mixed_encodings_are_refused(write):
    """UTF-8 first and something else later: one of them would be read wrong."""
    with pytest.raises(FileProblem, match=r"a\.csv, line 3: byte 0xfc is not UTF-8, though the text before it is"):
        survey(write("a\nü\n".encode() + b"\xfc\n"))


@pytest.mark.parametrize(
    ("data", "message", "line"),
    [
        ("", "the file is empty", 0),
        ("\n \n,,\n", "the file is empty: there is not even a header", 0),
        ('a,b\n1,"x\ny\n"",z\n', "a quote is opened here and never closed", 2),
        ('a,b\n"x\ny","z\n\n', "a quote is opened here and never closed", 3),
        ('a,b\n1,2\n3,"x"y\n', "there is text behind a closing \"", 3),
        ("a,b\n1,2,\n1,2,3\n", "there is data ('3') but the column has no header; the header on line 1 names 2", 3),
        ("a,,b\n1,,2\n1,x,2\n", "there is data ('x') but the column has no header", 3),
        ("a,b\n1,\0\n", "there is a NUL byte", 2),
        ("a\n" + "x" * 200 + "\n", "a cell that begins here is longer than 100 characters", 2),
        ("a\n" + "x,y\n" * 99 + "\"" + "x\n" * 999, "a quote is opened here and never closed", 101),
    ],
)  # fmt: skip
def test_what_is_wrong_says_where(write, data, message, line):
    """In one sentence that begins with the file and names the line."""
    data = data.replace("x,y", "x")
    path = write(data)
    with pytest.raises(FileProblem) as caught:
        survey(path, limits=Limits(cell=100))
    where = f"{path}, line {line}" if line else f"{path}"
    assert str(caught.value).startswith(where) and message in str(caught.value)
    assert (caught.value.path, caught.value.line) == (str(path), line)


def test_an_endless_line_is_refused(write):
    """Before it is in memory."""
    with pytest.raises(FileProblem, match="line 2: a record is longer than 1,000 characters"):
        survey(write("a\n" + "x," * 10**6), limits=Limits(record=1000))


def test_a_column_without_header_and_data_is_left_out(write):
    """Wherever it stands."""
    assert read(write("a,,b,\n1,,2,\n3\n")) == (("a", "b"), [Row(2, ("1", "2")), Row(3, ("3", ""))])


def test_the_caller_may_know_better(write):
    """Encoding, delimiter and quote can be forced; what cannot be is an error, not a traceback."""
    path = write("a|b\n'x|y'|é\n".encode("cp437"), "b.csv")
    assert read(path, encoding="cp437", delimiter="|", quote="'")[1] == [Row(2, ("x|y", "é"))]
    assert read(write('a,b\n"x,y"\n'), quote="")[1] == [Row(2, ('"x', 'y"'))]
    for wrong in ({"encoding": "hex"}, {"encoding": "no-such"}, {"delimiter": "ab"}, {"encoding": "ascii"}):
        with pytest.raises(FileProblem):
            read(path, **wrong)
