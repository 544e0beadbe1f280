from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from assay.data import LoadedTable, Table
from assay.errors import InputError


def load_csv(write, content: str | bytes, **roles: str) -> LoadedTable:
    return Table(f"csv:{write('rows.csv', content)}", **roles).load()


def refused(table: Table) -> str:
    with pytest.raises(InputError) as error:
        table.load()
    return str(error.value)


# --- CSV: what comes through --------------------------------------------------------------------

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(TEXT, st.sampled_from(["pos", "neg"])), max_size=8))
def test_text_survives_csv_exactly(rows: list[tuple[str, str]]) -> None:
    rows = [("first", "pos"), *rows, ('say ""NA"", \r\n "twice"', "neg")]
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, quoting=csv.QUOTE_ALL)
    writer.writerows([("text", "label"), *rows])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.csv"
        path.write_bytes(buffer.getvalue().encode())
        table = Table(f"csv:{path}").load()
    assert list(table.rows["text"]) == [text for text, _ in rows]
    assert [table.label_names[code] for code in table.labels()] == [label for _, label in rows]


def test_words_that_look_empty_stay_text(write) -> None:
    table = load_csv(write, "text,label\nNA,1\nnull,0\n,1\n nan ,0\nword,1\n")
    assert list(table.rows["text"]) == ["NA", "null", "", " nan ", "word"]


def test_columns_become_numbers_only_where_all_cells_are(write) -> None:
    content = (
        "text,whole,real,flag,mixed,postcode,holes\n"
        "a,1,1.5,True,1,00501,1\nb,-2,2e3,False,x,10001,\nc,3,.5,True,3,94105,NA\n"
    )
    row = load_csv(write, content).rows
    assert list(row["whole"]) == [1, -2, 3]
    assert list(row["real"]) == [1.5, 2000.0, 0.5]
    assert list(row["flag"]) == [True, False, True]
    assert list(row["mixed"]) == ["1", "x", "3"]
    assert list(row["postcode"]) == ["00501", "10001", "94105"]
    assert list(row["holes"]) == [1, None, None]


def test_tabs_semicolons_a_byte_order_mark_and_blank_lines_are_read(write) -> None:
    for mark in "\t;":
        table = load_csv(write, f"\ufefftext{mark}label\r\na, b{mark}1\r\n\r\nc{mark}0\r\n")
        assert list(table.rows["text"]) == ["a, b", "c"]
        assert table.label_names == ("0", "1")


def test_compressed_files_are_read(write) -> None:
    content = b"text,label\na,1\nb,0\n"
    for name, data in (("x.csv.gz", gzip.compress(content)), ("x.csv.bz2", bz2.compress(content))):
        assert len(Table(f"csv:{write(name, data)}").load().rows) == 2


def test_a_cell_may_hold_a_whole_document(write) -> None:
    limit = csv.field_size_limit()
    long = "word " * 60_000
    table = load_csv(write, f"text,label\n{long},1\nb,0\n")
    assert table.rows[0]["text"] == long
    assert csv.field_size_limit() == limit


def test_a_first_column_without_a_name_is_the_id(write) -> None:
    for header in (",text,label", "Unnamed: 0,text,label"):
        table = load_csv(write, f"{header}\n7,a,1\n8,b,0\n")
        assert list(table.rows["id"]) == [7, 8]


# --- CSV: what is refused, and in which words ---------------------------------------------------


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "rows.csv is empty"),
        (" \r\n \n", "rows.csv is empty"),
        ("\ufeff\n", "rows.csv is empty"),
        ("text,label\n", "has a header but no rows"),
        ("text,text\na,b\n", "more than one column called 'text'"),
        ("text,,label\na,b,c\n", "column 2 has no name"),
        ("text,label\na,1\nb,0,c\n", "line 3: 3 fields where the header has 2"),
        ("text,label\na,1\nb\n", "line 3: 1 fields where the header has 2"),
        ('text,label\n"a\nb\nc",1\nb,0,0\n', "line 5: 3 fields"),
        ('text,label\na,1\n"b,0\n', "line 3: unexpected end of data"),
        ('text,label\n"a"b,1\n', "line 2: ',' expected after '\"'"),
        (b"text,label\ncaf\xe9,1\n", "is not UTF-8: byte 14 (0xe9) does not fit. Save the file as UTF-8"),
        (b"text\n" + b"a" * (1 << 20) + b"\n\xe9x\n", f"byte {5 + (1 << 20) + 1} (0xe9)"),
        (b"text\n" + b"a" * ((1 << 20) - 6) + b"\xc3", f"byte {(1 << 20) - 1} (0xc3)"),
        (b"\x80\x04\x95rest", "is a pickle, which is never read"),
    ],
)
def test_malformed_csv_is_refused_with_its_place(write, content: str | bytes, words: str) -> None:
    assert words in refused(Table(f"csv:{write('rows.csv', content)}"))


def test_damaged_compression_is_refused(write) -> None:
    whole = gzip.compress(b"text,label\n" + b"a,1\n" * 100)
    assert "is damaged" in refused(Table(f"csv:{write('x.csv.gz', whole[:30])}"))
    assert "is damaged" in refused(Table(f"csv:{write('y.csv.gz', b'text,label')}"))


# --- JSON ---------------------------------------------------------------------------------------

RECORDS = [
    {"text": 'he said "hi",\nthen left', "label": True, "tags": ["a", "b"], "more": {"x": 1}},
    {"text": "ünï", "label": False, "tags": [], "extra": 1.5},
]


@pytest.mark.parametrize("layout", ["lines", "array", "pretty"])
def test_json_lines_and_arrays_are_read_alike(write, layout: str) -> None:
    if layout == "lines":
        content = "\n".join(map(json.dumps, RECORDS)) + "\n\n"
    else:
        content = "\n  " + json.dumps(RECORDS, indent=2 if layout == "pretty" else None)
    table = Table(f"json:{write('rows.json', content)}").load()
    assert list(table.rows["text"]) == [record["text"] for record in RECORDS]
    assert table.label_names == ("False", "True")
    assert list(table.rows["tags"]) == [["a", "b"], []]
    assert list(table.rows["extra"]) == [None, 1.5]
    assert table.rows[0]["more"] == {"x": 1}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "is empty"),
        ("[]", "has no rows"),
        ('{"text": "a"}\n{"text": "b"\n', "line 2, column 13: Expecting ',' delimiter"),
        ('[{"text": "a"},\n {"text": }]', "line 2, column 11: Expecting value"),
        ('{"text": "a"}\n["b"]\n', "line 2: expected an object"),
        ('[{"text": "a"}, 3]', "line 1: expected an object"),
        ('{"text": "a", "text": "b"}', "more than one column called 'text'"),
        ('{"a": 1}\n{"a": 2.5}\n{"a": "x"}', "column 'a' mixes types: line 3 has 'x', which is text"),
        ('{"a": [1]}\n{"a": 1}', "line 2 has 1, which is a number, where the rows before have a list"),
        (json.dumps({"a": {"b": 2**80}}), "cannot be put into one table column"),
        ('{"text": "\\ud800"}', "line 1: half of a surrogate pair"),
        ("[" * 100_000, "is nested too deeply"),
        ('{"a": ' + "[" * 100_000, "line 1 is nested too deeply"),
        (b'{"text": "\xff"}', "is not UTF-8: byte 10 (0xff)"),
    ],
)
def test_malformed_json_is_refused_with_its_place(write, content: str | bytes, words: str) -> None:
    assert words in refused(Table(f"json:{write('rows.json', content)}"))


# --- long whole numbers -------------------------------------------------------------------------

LONG = [f"182303472386771340{number:02d}" for number in range(8)]


@pytest.mark.parametrize("cells", [LONG, [cell + "0" for cell in LONG], [f"-{cell}0" for cell in LONG]])
def test_long_whole_numbers_stay_as_they_are_written(write, cells: list[str]) -> None:
    content = "id,text,label\n" + "".join(f"{cell},t,{'ab'[n % 2]}\n" for n, cell in enumerate(cells))
    lines = "\n".join(f'{{"id": {cell}, "text": "t", "label": "{cell[-2:]}"}}' for cell in cells)
    for source in (f"csv:{write('x.csv', content)}", f"json:{write('x.jsonl', lines)}"):
        ids = Table(source).load(("id", "text", "label")).rows["id"]
        assert [str(each) for each in ids] == cells


@pytest.mark.parametrize(
    ("cells", "found"),
    [
        (["9223372036854775807", "-9223372036854775807"], [2**63 - 1, 1 - 2**63]),
        (["9223372036854775808", "1"], ["9223372036854775808", "1"]),
        (["12345678901234567890", ""], ["12345678901234567890", ""]),
        (["12345678901234567", ""], [12345678901234567, None]),
    ],
)
def test_what_64_bits_hold_is_a_number_and_the_rest_is_text(write, cells: list[str], found: list) -> None:
    table = load_csv(write, "text,n\n" + "".join(f"t,{cell}\n" for cell in cells))
    assert list(table.rows["n"]) == found


def test_names_of_rows_are_not_rewritten_as_real_numbers(write) -> None:
    content = "key,text,label\n1e5,a,0\n1.50,b,1\n"
    assert list(load_csv(write, content, id="key").rows["id"]) == ["1e5", "1.50"]
    assert list(load_csv(write, content).rows["key"]) == [100_000.0, 1.5]
