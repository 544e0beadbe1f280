"""Which rows of a table go to which client: n equal parts of floor(m/n) rows.

All start by dropping the last m mod n rows in the order given, before anything is sorted, so that what is
dropped does not depend on the rows' norms. Each returns the row numbers of the clients, [n, floor(m/n)].
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from scipy import sparse
from torch import Tensor


def partition_sorted(features: Any, num_clients: int) -> Int[np.ndarray, "n s"]:
    """Cut the rows, sorted by norm, into neighbouring parts: smooth clients first, rough ones last."""
    return _by_norm(features, num_clients).reshape(num_clients, -1)


def partition_dealt(features: Any, num_clients: int) -> Int[np.ndarray, "n s"]:
    """Assign the rows, sorted by norm, to the clients in turn and back again, so that all are alike."""
    deals = _by_norm(features, num_clients).reshape(-1, num_clients)
    deals[1::2] = deals[1::2, ::-1]
    return np.ascontiguousarray(deals.T)


def partition_random(features: Any, num_clients: int, generator: torch.Generator) -> Int[np.ndarray, "n s"]:
    """Cut the rows in a random order."""
    rows = _rows_used(features.shape[0], num_clients)
    return torch.randperm(rows, generator=generator).numpy().reshape(num_clients, -1)


def partition_max_variance(features: Any, num_clients: int) -> Int[np.ndarray, "n s"]:
    """Split the rows so that the variance L_var of the clients' smoothness constants is large, greedily.

    Rows are sorted by norm; client i = 1..n starts with number floor((m/n)(i - 1/2)) of them; each remaining
    row, from the longest down, goes to the client with room where it makes L_var largest. L_i is counted as
    lambda_max(A_i^T A_i) over the final number of rows, so a client's constant grows with each row.

    Adding the row a changes the largest eigenvalue l of A_i A_i^T to at most that of the 2 x 2 matrix
    [[l, ||A_i a||], [||A_i a||, ||a||^2]], which bounds what any client could gain. Clients are tried from
    the highest bound down until no bound is left above the best value found: as good as trying all.
    """
    table = (
        sparse.csr_array(features) if sparse.issparse(features) else np.asarray(features, dtype=np.float64)
    )
    rows = _rows_used(table.shape[0], num_clients)
    split = _GreedySplit(table[:rows], num_clients)
    for row in split.remaining[::-1].tolist():
        split.add(row)
    return np.array(split.members)


class _GreedySplit:
    """Clients that grow row by row; keeps each client's Gram matrix A_i A_i^T."""

    def __init__(self, table: Any, num_clients: int) -> None:
        self.table, self.squared_norms = table, _squared_norms(table)
        self.room = table.shape[0] // num_clients
        order = np.argsort(self.squared_norms, kind="stable")
        starts = np.floor(self.room * (np.arange(num_clients) + 0.5)).astype(int)
        self.remaining = np.delete(order, starts)
        self.members = [[int(row)] for row in order[starts]]
        self.owner = np.full(table.shape[0], num_clients)  # num_clients is nobody
        self.owner[order[starts]] = np.arange(num_clients)
        self.curvatures = self.squared_norms[order[starts]]
        self.grams = [np.array([[curvature]]) for curvature in self.curvatures]

    def add(self, row: int) -> None:
        """Give the row to the client where it makes the variance largest."""
        own = self.table[[row]].toarray().ravel() if sparse.issparse(self.table) else self.table[row]
        products = np.asarray(self.table @ own)
        # convex in the growth, so the best case is all of it or nothing
        bounds = np.maximum(self._gains(self._growth_bounds(row, products)), 0.0)
        bounds[[len(rows) == self.room for rows in self.members]] = -np.inf
        best, best_gain, best_gram, best_curvature = -1, -np.inf, np.empty(0), 0.0
        for client in np.argsort(-bounds, kind="stable").tolist():
            if bounds[client] <= best_gain:
                break
            gram = self._bordered(client, row, products)
            curvature = float(np.linalg.eigvalsh(gram)[-1])
            gain = float(self._gains(curvature - self.curvatures)[client])
            if gain > best_gain:
                best, best_gain, best_gram, best_curvature = client, gain, gram, curvature
        self.members[best].append(row)
        self.owner[row] = best
        self.grams[best], self.curvatures[best] = best_gram, best_curvature

    def _gains(self, growth: np.ndarray) -> np.ndarray:
        """Return by how much n^2 L_var = n sum L_i^2 - S^2, S = sum L_i, changes if one client's L_i grows.

        n (2 L_i g + g^2) - (2 S g + g^2) for a growth of g, one number a client.
        """
        n, total = len(self.curvatures), self.curvatures.sum()
        change: np.ndarray = growth * (2.0 * (n * self.curvatures - total) + (n - 1) * growth)
        return change

    def _growth_bounds(self, row: int, products: np.ndarray) -> np.ndarray:
        """Return how much each client's largest eigenvalue can grow, from the 2 x 2 matrix."""
        n = len(self.curvatures)
        overlaps = np.bincount(self.owner, products**2, minlength=n + 1)[:n]
        half = (self.squared_norms[row] - self.curvatures) / 2.0
        bounds: np.ndarray = half + np.sqrt(half**2 + overlaps)
        return bounds

    def _bordered(self, client: int, row: int, products: np.ndarray) -> np.ndarray:
        """Return the client's Gram matrix with one row more."""
        size = len(self.grams[client])
        larger = np.empty((size + 1, size + 1))
        larger[:-1, :-1] = self.grams[client]
        larger[-1, :-1] = larger[:-1, -1] = products[self.members[client]]
        larger[-1, -1] = self.squared_norms[row]
        return larger


def _by_norm(features: Any, num_clients: int) -> np.ndarray:
    """Return the rows that are used, sorted by norm."""
    squared_norms = _squared_norms(features)
    return np.argsort(squared_norms[: _rows_used(len(squared_norms), num_clients)], kind="stable")


def _squared_norms(features: Any) -> np.ndarray:
    if sparse.issparse(features):
        return np.asarray(features.multiply(features).sum(axis=1)).ravel()
    table = features.numpy() if isinstance(features, Tensor) else np.asarray(features)
    return np.asarray(np.einsum("md,md->m", table, table))


def _rows_used(rows: int, num_clients: int) -> int:
    if not 1 <= num_clients <= rows:
        raise ValueError(f"{rows} rows cannot be divided among {num_clients} clients: give 1 to {rows}.")
    return rows - rows % num_clients
