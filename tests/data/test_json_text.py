from __future__ import annotations

import json

import pytest

from assay.data import read_json_file, read_json_lines, read_records
from assay.errors import InputError


def test_only_line_feeds_end_a_line(write) -> None:
    texts = ["a\u2028b", "c\u2029d", "e\x85f", "g\x0bh\x0c"]
    path = write("x.jsonl", "\r\n".join(json.dumps({"t": t}, ensure_ascii=False) for t in texts) + "\r\n")
    assert list(read_json_lines(path)) == [(n, {"t": t}) for n, t in enumerate(texts, 1)]
    assert list(read_records(path)) == list(read_json_lines(path))


def test_an_array_gives_the_line_of_each_object(write) -> None:
    path = write("x.json", '\n[{"a": 1}, {"a":\n 2},\n\n  {"a": {"b": [3]}}\n]\n\n')
    assert list(read_json_lines(path)) == [(2, {"a": 1}), (2, {"a": 2}), (5, {"a": {"b": [3]}})]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"a": 1}\n{"a": NaN}\n', "line 2: NaN is no JSON number. Write null for what is missing"),
        ('{"a": [1, -Infinity]}\n', "line 1: -Infinity is no JSON number"),
        ('{"a": 1e999}\n', "line 1: 1e999 is no JSON number"),
        ('[{"a": 1},\n {"b": NaN}]', "line 2: NaN is no JSON number"),
        ('{"a": ' + "1" * 5000 + "}", "line 1: a number has too many digits"),
        ('{"a": 1} {"a": 2}\n', "line 1, column 9: more follows after the object"),
        ('\n{"a": 1}\n[1]\n', "line 3: expected an object such as"),
        ('[{"a": 1} {"a": 2}]', "line 1: expected ',' or ']' after an object"),
        ('[{"a": 1}]\n[]', "line 1: more follows after the array"),
        ('[{"a": 1}', "line 1: expected ',' or ']'"),
        ('[{"a": 1},]', "line 1, column 11: Expecting value"),
        ('{"a": 1,\n "b": 2}', "line 1, column 9"),
        ('{"a": {"b": 1, "b": 2}}', "line 1 has more than one column called 'b'"),
        ("[ ]", "has no rows"),
        (" \n", "is empty"),
    ],
)
def test_what_is_no_json_is_refused_with_its_line(write, content: str, words: str) -> None:
    path = write("x.jsonl", content)
    with pytest.raises(InputError) as error:
        list(read_json_lines(path))
    assert f"x.jsonl, {words}" in str(error.value) or f"x.jsonl {words}" in str(error.value).replace(",", "")


def test_one_document_is_read_as_it_is(write) -> None:
    assert read_json_file(write("x.json", '\ufeff {"a": [1, null, "\\ud83d\\ude00"]}\n')) == {
        "a": [1, None, "😀"]
    }
    for content, words in (
        ('{"a": 1}\n{}', "line 1: more follows"),
        ('{\n"a": NaN}', "line 1: NaN is no JSON"),
    ):
        with pytest.raises(InputError, match=words):
            read_json_file(write("y.json", content))
