"""Values of every kind that a record holds, and what compares them."""

from __future__ import annotations

import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from hypothesis import strategies as st

from assay import records

FEATURES = datasets.Features(
    {
        "label": datasets.ClassLabel(names=["ant", "bee"]),
        "features": datasets.List(datasets.Value("float64")),
        "text": datasets.Value("string"),
    }
)


def table() -> datasets.Dataset:
    columns = {"label": [0, 1, 0], "features": [[1.0, 2.0], [3.0], []], "text": ["a", None, "ü"]}
    return datasets.Dataset.from_dict(columns, features=FEATURES)


def round_trip(value: Any, packages: Collection[str] = ()) -> Any:
    """Save a value and load it again."""
    with tempfile.TemporaryDirectory() as folder:
        records.save(Path(folder), value)
        return records.load(Path(folder), packages)


def same(first: Any, second: Any) -> bool:
    """Whether two trees are equal, types, shapes and number types included."""
    if type(first) is not type(second):
        return False
    if isinstance(first, torch.Tensor | np.ndarray):
        content = (first == second).all() if first.shape == second.shape else False
        return first.dtype == second.dtype and bool(content)
    if isinstance(first, datasets.Dataset):
        return first.features == second.features and first.to_list() == second.to_list()
    if isinstance(first, dict):
        pairs = zip(first.items(), second.items(), strict=len(first) == len(second))
        return len(first) == len(second) and all(same(a, b) for a, b in pairs)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(same(a, b) for a, b in zip(first, second, strict=True))
    return bool(first == second or (first != first and second != second))


PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
NESTED = st.recursive(
    PLAIN,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text() | st.integers() | st.booleans() | st.none(), inner, max_size=4)
    ),
    max_leaves=12,
)
