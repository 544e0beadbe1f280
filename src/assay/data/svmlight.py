"""Sparse numbers in the text format of SVMlight and LIBSVM: `label index:value index:value ...`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import scipy.sparse

from assay.data.paths import existing_file
from assay.data.raw import Raw, row_numbers
from assay.data.text import open_text
from assay.errors import InputError

MOST_DENSE_FEATURES = 5000
MOST_DENSE_CELLS = 200_000_000  # 1.6 GB

_LINE = re.compile(r"\s*[^\s:]+(\s+qid:\d+)?(\s+\d+:[^\s:]+)*\s*")


def read_svmlight(sources: list[tuple[Path, str]]) -> list[Raw]:
    """Read files, also .gz and .bz2, that share one numbering of features, given as paths and names.

    Files are read together because only together they show whether indices start at 0 or at 1 and how
    many features there are. The features become lists where there are at most 5000 of them and 200
    million cells, else two columns `feature_indices` and `feature_values`.

    Raises:
        InputError: a file is empty, not UTF-8, malformed (with the line), or has NaN or infinite numbers.
    """
    from sklearn.datasets import load_svmlight_files

    for path, name in sources:
        _check_has_rows(path, name)
    try:
        loaded = load_svmlight_files([str(path) for path, _ in sources], dtype=np.float64, zero_based="auto")
    except (ValueError, OverflowError) as error:
        for path, name in sources:
            _find_malformed(path, name)
        raise InputError(f"{sources[0][1]} cannot be read as svmlight: {error}.") from None
    return [
        _raw(matrix, labels, name)
        for (_, name), matrix, labels in zip(sources, loaded[::2], loaded[1::2], strict=True)
    ]


def _raw(matrix: scipy.sparse.csr_matrix, labels: np.ndarray[Any, Any], name: str) -> Raw:
    bad = ~np.isfinite(matrix.data)
    if bad.any():
        rows = np.zeros(matrix.shape[0], dtype=bool)
        rows[np.searchsorted(matrix.indptr, np.flatnonzero(bad), side="right") - 1] = True
        raise InputError(f"{name} has features that are NaN or infinite in {row_numbers(rows)}.")
    num_features = matrix.shape[1]
    columns: dict[str, Any] = {"label": pa.array(labels)}
    if num_features <= MOST_DENSE_FEATURES and matrix.shape[0] * num_features <= MOST_DENSE_CELLS:
        columns["features"] = list_column(matrix.toarray())
        names = tuple(map(str, range(1, num_features + 1)))
    else:
        columns["feature_indices"] = pa.ListArray.from_arrays(matrix.indptr, matrix.indices.astype(np.int32))
        columns["feature_values"] = pa.ListArray.from_arrays(matrix.indptr, matrix.data)
        names = ()
    table = pa.table(columns)
    return Raw(table, datasets.Features.from_arrow_schema(table.schema), name, names, num_features)


def list_column(matrix: np.ndarray[Any, np.dtype[np.float64]]) -> pa.ChunkedArray:
    """Return the rows of a matrix as a column of lists of float64."""
    rows, width = matrix.shape
    step = max(1, 2**30 // width)  # the ends of lists are 32-bit numbers, so a chunk must not get too long
    chunks = [
        pa.ListArray.from_arrays(
            np.arange(0, part.size + 1, width, dtype=np.int32), np.ascontiguousarray(part).reshape(-1)
        )
        for part in (matrix[start : start + step] for start in range(0, rows, step))
    ]
    return pa.chunked_array(chunks, pa.list_(pa.float64()))


def _check_has_rows(path: Path, name: str) -> None:
    existing_file(path)
    with open_text(path) as file:
        if not any(line.partition("#")[0].strip() for line in file):
            raise InputError(f"{name} has no rows.")


def _find_malformed(path: Path, name: str) -> None:
    with open_text(path) as file:
        for number, line in enumerate(file, start=1):
            content = line.partition("#")[0].strip()
            reason = _fault(content) if content else None
            if reason is not None:
                raise InputError(
                    f"{name}, line {number}: {reason}. Expected: label index:value index:value ..."
                )


def _fault(line: str) -> str | None:
    if not _LINE.fullmatch(line):
        return f"{line[:60]!r} is malformed"
    label, *rest = line.split()
    pairs = [pair.partition(":")[::2] for pair in rest if not pair.startswith("qid:")]
    for text in (label, *(value for _, value in pairs)):
        try:
            float(text)
        except ValueError:
            return f"{text!r} is not a number"
    indices = [int(index) for index, _ in pairs]
    if indices != sorted(set(indices)):
        return "the indices do not rise"
    return None
