"""A table as recipes see it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from assay.data.pictures import read_picture
from assay.errors import InputError

if TYPE_CHECKING:
    import datasets
    import numpy as np
    import scipy.sparse


class DataWarning(UserWarning):
    """Rows that can be used, but not all of them."""


@dataclass(frozen=True)
class LoadedTable:
    """Rows whose columns are called by their roles, and the test split that came with them.

    The columns, as far as there are any: `text` (str), `image` (a PIL picture), `audio` (a struct of bytes
    and path; a decoder where torchcodec is installed), `label` (`datasets.ClassLabel`), `target` (float),
    `features` (list of float64), `group`, `id`, and all others under their own names (with `other_` before
    a name that a role has taken). Pictures and sound in those others stay bytes and path. Wide sparse
    tables have `feature_indices` and `feature_values` in place of `features`; `matrix` and `sparse` read
    both.
    """

    rows: datasets.Dataset
    """The rows to learn from, which a recipe splits."""
    test: datasets.Dataset | None
    """The test rows that the user gave or that were published with the table."""
    label_names: tuple[str, ...]
    """The classes in the order of their numbers; empty without labels."""
    feature_names: tuple[str, ...]
    """The names of the features; empty for sparse tables."""
    num_features: int
    """The number of features."""
    source: str
    """Where the rows came from, as the user wrote it."""
    test_name: str | None = None
    """What the test rows are: the source given as test, or the name of the published split."""

    def labels(self, rows: datasets.Dataset | None = None) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Return the class of each row of `rows` (a selection from this table), or of all: int64 [n].

        Raises:
            InputError: the table has no labels.
        """
        import numpy as np

        if not self.label_names:
            raise InputError(f"{self.source} has no labels. Name the column with --data.label.")
        column = self._arrow(rows, "label")["label"]
        labels: np.ndarray[Any, np.dtype[np.int64]] = column.to_numpy().astype(np.int64)
        return labels

    def matrix(self, rows: datasets.Dataset | None = None) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Return the features of each row of `rows` (a selection from this table), or of all: float64 [n, d].

        Raises:
            InputError: the table has no features.
        """
        import numpy as np

        if self._is_sparse():
            dense: np.ndarray[Any, np.dtype[np.float64]] = self.sparse(rows).toarray()
            return dense
        column = self._arrow(rows, "features")["features"]
        values: np.ndarray[Any, np.dtype[np.float64]] = np.concatenate([np.empty(0), *_flat(column)])
        return values.reshape(len(column), self.num_features)

    def sparse(self, rows: datasets.Dataset | None = None) -> scipy.sparse.csr_matrix:
        """Return what `matrix` returns, as a sparse matrix.

        Raises:
            InputError: the table has no features.
        """
        import numpy as np
        import scipy.sparse

        if not self._is_sparse():
            return scipy.sparse.csr_matrix(self.matrix(rows))
        table = self._arrow(rows, "feature_indices", "feature_values")
        indices, values = table["feature_indices"], table["feature_values"]
        lengths = [0, *_lengths(indices)]
        flat = [np.concatenate([np.empty(0), *_flat(column)]) for column in (values, indices)]
        shape = (table.num_rows, self.num_features)
        return scipy.sparse.csr_matrix((flat[0], flat[1].astype(np.int64), np.cumsum(lengths)), shape=shape)

    def pictures(
        self, rows: datasets.Dataset | None = None, mode: Literal["RGB", "L"] = "RGB"
    ) -> Iterator[np.ndarray[Any, np.dtype[np.uint8]]]:
        """Yield what `read_picture` says of each row of `rows` (a selection from this table), or of all.

        Raises:
            InputError: there are no pictures, one is damaged, or has more than 8 bits a channel.
        """
        import datasets

        chosen = self.rows if rows is None else rows
        if "image" not in chosen.column_names:
            raise InputError(f"{self.source} has no pictures. Name the column with --data.image.")
        encoded = chosen.select_columns("image").cast_column("image", datasets.Image(decode=False))
        for number, row in enumerate(encoded, start=1):
            image: Any = row["image"]
            content = image["bytes"] if image["bytes"] is not None else image["path"]
            name = image["path"] if image["bytes"] is None else f"{self.source}, picture {number}"
            yield read_picture(content, mode, name)

    def _is_sparse(self) -> bool:
        if self.num_features == 0:
            raise InputError(f"{self.source} has no features. Name numeric columns with --data.features.")
        return "features" not in self.rows.column_names

    def _arrow(self, rows: datasets.Dataset | None, *columns: str) -> Any:
        chosen = self.rows if rows is None else rows
        return chosen.select_columns(list(columns)).with_format("arrow")[:]


def require_classes(table: LoadedTable, least_rows: int, least_classes: int = 2) -> None:
    """Refuse a table with too few classes, or too few rows of one, for what a recipe does with them.

    Args:
        least_rows: how many rows of each class there must be, apart from a published test split.
        least_classes: how many classes there must be.

    Raises:
        InputError: there are no labels, too few classes, or a class with too few rows.
    """
    import numpy as np

    counts = np.bincount(table.labels(), minlength=len(table.label_names))
    present = int((counts > 0).sum())
    if present < least_classes:
        raise InputError(
            f"{table.source} has rows of {present} classes; at least {least_classes} classes are needed."
        )
    short = [(name, int(n)) for name, n in zip(table.label_names, counts, strict=True) if 0 < n < least_rows]
    if short:
        listing = ", ".join(f"{name!r} has {n}" for name, n in short[:5])
        more = f" and {len(short) - 5} more" if len(short) > 5 else ""
        raise InputError(
            f"{table.source} has too few rows of some classes: {listing}{more}; each needs at least"
            f" {least_rows}. Add rows or leave these classes out."
        )


def _lengths(column: Any) -> list[int]:
    import pyarrow.compute

    lengths: list[int] = pyarrow.compute.list_value_length(column).to_pylist()
    return lengths


def _flat(column: Any) -> list[Any]:
    return [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in column.chunks]
