from __future__ import annotations

import bz2
import gzip

import numpy as np
import pytest

from assay.data import Table, svmlight
from assay.errors import InputError

ROWS = "-1 1:0.5 3:2\n1 2:-1.5 # a comment\n\n1 1:1 2:1 3:1\n"
MATRIX = [[0.5, 0, 2], [0, -1.5, 0], [1, 1, 1]]


def load(write, content: str | bytes, name: str = "rows.txt"):
    return Table(f"svmlight:{write(name, content)}").load()


@pytest.mark.parametrize(
    ("name", "pack"), [("a.txt", bytes), ("a.gz", gzip.compress), ("a.txt.bz2", bz2.compress)]
)
def test_rows_become_a_matrix_and_two_classes(write, name: str, pack) -> None:
    table = load(write, pack(ROWS.encode()), name)
    np.testing.assert_array_equal(table.matrix(), MATRIX)
    np.testing.assert_array_equal(table.sparse().toarray(), MATRIX)
    assert (table.label_names, table.labels().tolist()) == (("-1", "1"), [0, 1, 1])
    assert (table.num_features, table.feature_names) == (3, ("1", "2", "3"))
    assert table.rows[0] == {"label": 0, "features": [0.5, 0, 2]}


def test_any_two_numbers_are_classes_and_more_real_ones_a_target(write) -> None:
    assert load(write, "1 1:1\n2 1:2\n").label_names == ("1", "2")
    assert load(write, "0.1 1:1\n0.9 1:2\n").label_names == ("0.1", "0.9")
    assert list(load(write, "0.1 1:1\n0.9 1:2\n0.5 1:3\n").rows["target"]) == [0.1, 0.9, 0.5]


def test_indices_from_zero_are_recognised_across_both_files(write) -> None:
    train, test = write("train.txt", "0 0:1 2:5\n1 1:2\n"), write("test.txt", "1 1:7\n0 3:9\n")
    table = Table(f"svmlight:{train}", test=f"svmlight:{test}").load()
    np.testing.assert_array_equal(table.matrix(), [[1, 0, 5, 0], [0, 2, 0, 0]])
    np.testing.assert_array_equal(table.matrix(table.test), [[0, 7, 0, 0], [0, 0, 0, 9]])


def test_a_wide_table_stays_sparse_through_a_selection(write) -> None:
    table = load(write, "1 1:0.5 6000:2\n0 2:-1.5\n1 6001:3\n0\n")
    assert table.rows.column_names == ["label", "feature_indices", "feature_values"]
    assert (table.num_features, table.feature_names) == (6001, ())
    dense = np.zeros((4, 6001))
    dense[0, 0], dense[0, 5999], dense[1, 1], dense[2, 6000] = 0.5, 2, -1.5, 3
    np.testing.assert_array_equal(table.matrix(), dense)
    np.testing.assert_array_equal(table.sparse(table.rows.select([3, 2, 0])).toarray(), dense[[3, 2, 0]])
    assert table.sparse().nnz == 4
    assert table.rows.features["label"].names == ["0", "1"]


def test_many_cells_stay_sparse_too(write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(svmlight, "MOST_DENSE_CELLS", 8)
    table = load(write, ROWS)
    assert "features" not in table.rows.column_names
    np.testing.assert_array_equal(table.matrix(), MATRIX)


def test_long_columns_are_cut_into_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = np.arange(12.0).reshape(4, 3)
    column = svmlight.list_column(matrix)
    assert column.num_chunks == 1
    np.testing.assert_array_equal(np.array(column.to_pylist()), matrix)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "is empty"),
        ("# only a comment\n\n", "has no rows"),
        ("1 1:1\n0 a:2\n", "line 2: '0 a:2' is malformed. Expected: label index:value"),
        ("1 1:1\n0 2:x\n", "line 2: 'x' is not a number"),
        ("1 1:1\ncat 2:1\n", "line 2: 'cat' is not a number"),
        ("1 2:1 1:5\n0 1:1\n", "line 1: the indices do not rise"),
        ("1,2 1:1\n0 1:1\n", "line 1: '1,2' is not a number"),
        ("1 1:1\n0 1:nan\n1 2:inf\n", "NaN or infinite in rows 2, 3"),
        ("1 1:1\n1 1:2\n", "has only one class, '1'"),
        ("nan 1:1\n1 1:2\n0 1:1\n", "column 'label' is empty in 1 of 3 rows (row 1)"),
        (b"1 1:1\n\xff 1:2\n", "is not UTF-8: byte 6"),
    ],
)
def test_malformed_files_are_refused_with_the_line(write, content: str | bytes, words: str) -> None:
    with pytest.raises(InputError) as error:
        load(write, content)
    assert words in str(error.value)


def test_a_missing_file_is_answered_with_the_nearest(write, tmp_path) -> None:
    write("a9a.txt.gz", gzip.compress(ROWS.encode()))
    with pytest.raises(InputError, match=r"Did you mean 'a9a\.txt\.gz'"):
        Table(f"svmlight:{tmp_path}/a9a.txt").load()
