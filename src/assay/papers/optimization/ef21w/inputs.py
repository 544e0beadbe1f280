"""From a table to the rows that clients hold: features, labels of two classes, held-out rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from assay.data import Table
from assay.data.table import LoadedTable
from assay.errors import InputError, unknown
from assay.papers.optimization.ef21w.config import Train, Words
from assay.trial import Trial

MOST_FILLED = 0.2  # sparse rows pay up to about this share of entries other than zero


@dataclass(frozen=True)
class BinaryTable:
    """Features [m, d] in compressed rows, labels [m] in {-1, 1}, groups, and test rows that came along."""

    features: Any
    labels: np.ndarray
    groups: list[str] | None
    test_features: Any
    test_labels: np.ndarray | None
    names: tuple[str, ...]
    classes: tuple[str, str]
    texts: bool


@dataclass(frozen=True)
class Prepared:
    """Scaled training rows, and held-out rows as they came."""

    features: Any
    labels: np.ndarray
    mean: np.ndarray
    scale: np.ndarray
    test_features: Any
    test_labels: np.ndarray | None


def read(data: Table, positive: str, words: Words) -> BinaryTable:
    """Read a table. Rows without any feature are left out.

    Raises:
        InputError: there are neither numbers nor texts, or fewer than two classes.
    """
    table = data.load()
    features, test_features, names = _features(table, words)
    classes = _classes(table, positive)
    labels = _signs(table.labels(), table, classes)
    filled = np.diff(features.indptr) > 0
    groups = None
    if "group" in table.rows.column_names:
        groups = [str(group) for group in np.array(table.rows["group"][:], object)[filled]]
    return BinaryTable(
        features=features[filled],
        labels=labels[filled],
        groups=groups,
        test_features=test_features,
        test_labels=None if table.test is None else _signs(table.labels(table.test), table, classes),
        names=names,
        classes=classes,
        texts=_has_texts(table),
    )


def prepare(table: BinaryTable, config: Train, trial: Trial) -> Prepared:
    """Hold rows out, and scale the others by their own means and deviations."""
    features, labels = table.features, table.labels
    test_features, test_labels = table.test_features, table.test_labels
    if test_labels is None and config.test_fraction:
        split = trial.split(len(labels), test=config.test_fraction, group=table.groups)
        test_features, test_labels = features[split.test], labels[split.test]
        features, labels = features[split.train], labels[split.train]
    mean, scale = np.zeros(features.shape[1]), np.ones(features.shape[1])
    if config.standardize:
        dense = features.toarray()
        deviation = dense.std(0)
        mean, scale = dense.mean(0), np.where(deviation > 0, deviation, 1.0)
    changed = bool(mean.any() or (scale != 1).any())
    if changed or features.nnz > MOST_FILLED * features.shape[0] * features.shape[1]:
        features = (features.toarray() - mean) / scale
    return Prepared(features, labels, mean, scale, test_features, test_labels)


def _features(table: LoadedTable, words: Words) -> tuple[Any, Any, tuple[str, ...]]:
    """Return the rows' features, the test rows' and the names; texts become counts of words."""
    if not _has_texts(table):
        test = None if table.test is None else table.sparse(table.test)
        return table.sparse(), test, table.feature_names
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


def _has_texts(table: LoadedTable) -> bool:
    return table.num_features == 0 and "text" in table.rows.column_names


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
