from __future__ import annotations

import sys
from pathlib import Path
from subprocess import run

import pytest

from assay.data import Table, read_records, read_rows
from assay.errors import InputError


def test_rows_have_the_number_of_their_line_and_their_cells_as_written(write) -> None:
    rows = read_rows(write("x.csv", '\ufeffid, text \n007," a, b "\n\n1e5,"c\nd"\n2,NA\n'))
    assert rows.columns == ("id", "text")
    assert len(rows) == 3
    assert list(rows) == [
        (2, {"id": "007", "text": " a, b "}),
        (4, {"id": "1e5", "text": "c\nd"}),
        (6, {"id": "2", "text": "NA"}),
    ]


def test_tabs_come_first_in_a_tsv(write) -> None:
    assert read_rows(write("x.tsv", "a, b\tc\n1\t2\n")).columns == ("a, b", "c")
    assert read_rows(write("x.csv", "a;b\n1,5;2\n")).records == [["1,5", "2"]]


def test_a_comma_without_quotes_is_refused_with_its_line(write) -> None:
    path = write("m.csv", "audio,text\nb.wav,hello there, general\n")
    for read in (read_rows, read_records):
        with pytest.raises(InputError, match=r"m\.csv, line 2: 3 fields where the header has 2\. Put text"):
            read(path)


def test_a_missing_column_is_named_with_the_nearest(write) -> None:
    rows = read_rows(write("x.csv", "audios,text\na,b\n"))
    rows.require("text")
    words = r"x\.csv has no column 'audio'\. Did you mean 'audios'\? Its columns: audios, text\."
    with pytest.raises(InputError, match=words):
        rows.require("text", "audio")


@pytest.mark.parametrize(
    ("header", "names"),
    [
        (",m1,label", ("m1",)),
        ("Unnamed: 0,m1,label", ("m1",)),
        ("id,Unnamed: 0,label", ()),
        (",Unnamed: 0.1,label", ()),
        ("Unnamed: 0,id,label", ()),
    ],
)
def test_row_numbers_that_pandas_wrote_are_no_measurement(write, header: str, names: tuple[str, ...]) -> None:
    path = write("x.csv", f"{header}\n1,11,a\n2,12,b\n")
    table = Table(f"csv:{path}").load()
    assert table.feature_names == names
    assert "id" in table.rows.column_names


def test_reading_rows_and_json_needs_nothing_heavy(write) -> None:
    first, second = write("x.csv", "a\n1\n"), write("y.jsonl", '{"a": 1}\n')
    code = (
        "import sys; from assay.data import Table, parse_dates, read_records, read_text;"
        f"list(read_records({str(first)!r})); list(read_records({str(second)!r}));"
        "print(sorted({'torch', 'numpy', 'pandas', 'pyarrow', 'datasets', 'PIL'} & set(sys.modules)))"
    )
    ran = run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_reading_another_kind_of_file_is_refused(tmp_path: Path, write) -> None:
    with pytest.raises(InputError, match=r"should be a file that ends in \.csv or \.json or"):
        read_records(write("x.xlsx", b"PK"))


@pytest.mark.parametrize(
    "content", [b"\x1c", b"\x1c\n\x1d", b"\x0c", b"\xe2\x80\xa8", b"\x1c\n1\n", b" \n", b"\r\r"]
)
def test_a_file_of_blanks_of_any_kind_has_no_rows(write, content: bytes) -> None:
    with pytest.raises(InputError, match=r"is empty|no header and no rows"):
        read_rows(write("blank.csv", content))
