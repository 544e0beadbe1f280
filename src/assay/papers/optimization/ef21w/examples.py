"""From a table to the rows that clients hold: features, labels of two classes, held-out rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from assay.data import Table
from assay.data.table import LoadedTable
from assay.errors import InputError, unknown
from assay.papers.optimization.ef21w.config import Words

MOST_FILLED = 0.2  # sparse rows pay up to about this share of entries other than zero


@dataclass(frozen=True)
class Examples:
    """Features [m, d] in compressed rows, labels [m] in {-1, 1}, groups, and test rows that came along."""

    features: Any
    labels: np.ndarray
    groups: list[str] | None
    test_features: Any
    test_labels: np.ndarray | None
    names: tuple[str, ...]
    classes: tuple[str, str]

    @classmethod
    def from_stage(cls, stage: dict[str, Any]) -> Examples:
        """Build from what `read` returned, loaded from a stage."""
        parts = {name: stage[name] for name in ("labels", "groups", "test_labels")}
        parts |= {name: from_parts(stage[name]) for name in ("features", "test_features")}
        return cls(**parts, names=tuple(stage["names"]), classes=tuple(stage["classes"]))


def read(data: Table, positive: str, words: Words) -> dict[str, Any]:
    """Read a table; the result can be a shared stage. Rows without any feature are left out.

    Raises:
        InputError: there are neither numbers nor texts, or fewer than two classes.
    """
    table = data.load()
    features, test_features, names = _features(table, words)
    classes = _classes(table, positive)
    labels = _signs(table.labels(), table, classes)
    groups = [str(group) for group in table.rows["group"][:]] if "group" in table.rows.column_names else None
    filled = np.diff(features.indptr) > 0
    return {
        "features": to_parts(features[filled]),
        "labels": labels[filled],
        "groups": None if groups is None else [groups[row] for row in np.flatnonzero(filled)],
        "test_features": None if test_features is None else to_parts(test_features),
        "test_labels": None if table.test is None else _signs(table.labels(table.test), table, classes),
        "names": list(names),
        "classes": list(classes),
    }


def standardizing(features: Any, wanted: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean and the deviation of each feature, or 0 and 1; a constant feature keeps its scale."""
    if not wanted:
        return np.zeros(features.shape[1]), np.ones(features.shape[1])
    dense = features.toarray()
    deviation = dense.std(0)
    return dense.mean(0), np.where(deviation > 0, deviation, 1.0)


def standardized(features: Any, mean: np.ndarray, scale: np.ndarray) -> Any:
    """Return the features scaled: sparse where they are unchanged and mostly zeros, else an array."""
    changed = bool(mean.any() or (scale != 1).any())
    if not changed and features.nnz <= MOST_FILLED * features.shape[0] * features.shape[1]:
        return features
    return (features.toarray() - mean) / scale


def _features(table: LoadedTable, words: Words) -> tuple[Any, Any, tuple[str, ...]]:
    """Return the rows' features, the test rows' and the names."""
    if table.num_features == 0 and "text" in table.rows.column_names:
        return _count_words(table, words)
    test = None if table.test is None else table.sparse(table.test)
    return table.sparse(), test, table.feature_names


def _count_words(table: LoadedTable, words: Words) -> tuple[Any, Any, tuple[str, ...]]:
    from sklearn.feature_extraction.text import CountVectorizer

    counter = CountVectorizer(min_df=words.min_documents, max_df=words.max_share, dtype=np.float64)
    try:
        counts = counter.fit_transform(table.rows["text"][:])
    except ValueError as error:
        raise InputError(
            f"{table.source}: no words are left of {len(table.rows)} texts ({error}). Lower "
            f"--words.min-documents ({words.min_documents}) or raise --words.max-share ({words.max_share})."
        ) from None
    test = None if table.test is None else counter.transform(table.test["text"][:])
    return counts, test, tuple(counter.get_feature_names_out())


def _classes(table: LoadedTable, positive: str) -> tuple[str, str]:
    """Return the names of the negative and the positive class."""
    counts = np.bincount(table.labels(), minlength=len(table.label_names))
    present = [name for name, count in zip(table.label_names, counts, strict=True) if count]
    if len(present) < 2:
        raise InputError(f"{table.source} has rows of {len(present)} class, expected 2 or more.")
    if positive and positive not in present:
        raise unknown("class", positive, present)
    if not positive:
        positive = present[1] if len(present) == 2 else table.label_names[int(counts.argmax())]
    others = [name for name in present if name != positive]
    return (others[0] if len(others) == 1 else f"not {positive}"), positive


def _signs(numbers: np.ndarray, table: LoadedTable, classes: tuple[str, str]) -> np.ndarray:
    return np.where(numbers == table.label_names.index(classes[1]), 1.0, -1.0)


def to_parts(matrix: Any) -> dict[str, Any]:
    """Take a matrix apart into arrays that a stage can hold."""
    rows = sparse.csr_array(matrix)
    return {
        "data": rows.data,
        "indices": rows.indices.astype(np.int64),
        "indptr": rows.indptr.astype(np.int64),
        "shape": list(rows.shape),
    }


def from_parts(parts: dict[str, Any] | None) -> Any:
    """Put together what `to_parts` took apart."""
    if parts is None:
        return None
    return sparse.csr_array((parts["data"], parts["indices"], parts["indptr"]), shape=tuple(parts["shape"]))
