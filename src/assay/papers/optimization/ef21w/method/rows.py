"""The rows of a table, divided among clients: matrix products for all clients at once, dense or sparse.

A_i are the n_i rows of client i. Quantities with one number a row are "row-shaped": [n, s] for dense blocks
(s rows at most, shorter clients padded with zero rows), [m] for a sparse matrix. `counts` are the n_i [n],
and `shares` is 1/n_i row-shaped, 0 on padding.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import Tensor

DENSE_EIGENPROBLEM = 2000  # up to this dimension a d x d matrix is formed and decomposed


class DenseRows:
    """Client blocks stacked to one array [n, s, d]; shorter clients are padded with zero rows."""

    def __init__(self, blocks: Float[Tensor, "n s d"], counts: Int[Tensor, " n"] | None = None) -> None:
        self.num_clients, rows, self.dimension = blocks.shape
        self.blocks = blocks.contiguous()
        self.counts = torch.full((self.num_clients,), rows) if counts is None else counts
        if (self.counts < 1).any():
            raise ValueError("a client has no rows: every client needs at least one.")
        self._present = torch.arange(rows) < self.counts[:, None]
        self.shares = self._present.to(blocks) / self.counts.to(blocks)[:, None]

    @classmethod
    def of(cls, clients: Sequence[Float[Tensor, "_ d"]]) -> DenseRows:
        """Stack one [n_i, d] matrix a client."""
        counts = torch.tensor([len(rows) for rows in clients])
        return cls(torch.nn.utils.rnn.pad_sequence(list(clients), batch_first=True), counts)

    def margins(self, x: Float[Tensor, " d"]) -> Float[Tensor, "n s"]:
        """Return a^T x for every row."""
        return torch.mv(self.blocks.view(-1, self.dimension), x).view(self.num_clients, -1)

    def client_margins(self, vectors: Float[Tensor, "n d"]) -> Float[Tensor, "n s"]:
        """Return a^T v_i for every row a of client i."""
        return torch.bmm(self.blocks, vectors.unsqueeze(2)).squeeze(2)

    def combine(self, coefficients: Float[Tensor, "n s"]) -> Float[Tensor, "n d"]:
        """Return A_i^T c_i for every client."""
        return torch.bmm(coefficients.unsqueeze(1), self.blocks).squeeze(1)

    def arrange(self, values: Sequence[Tensor]) -> Float[Tensor, "n s"]:
        """Stack one [n_i] vector a client, padded with zeros."""
        _check_lengths(self.counts, values)
        return torch.nn.utils.rnn.pad_sequence(list(values), batch_first=True).to(self.blocks)

    def sample(self, size: int, generator: torch.Generator) -> Float[Tensor, "n s"]:
        """Draw `size` rows of every client without replacement; a client with fewer uses all of them."""
        draw = torch.rand(self._present.shape, generator=generator)
        ranks = draw.masked_fill(~self._present, 2.0).argsort(1).argsort(1)
        drawn = self.counts.clamp(max=size)[:, None]
        return (ranks < drawn).to(self.blocks) / drawn.to(self.blocks)

    def client_curvatures(self) -> Float[Tensor, " n"]:
        """Return lambda_max(A_i^T A_i) / n_i, from the smaller of the two Gram matrices."""
        largest: Tensor = torch.linalg.eigvalsh(_small_gram(self.blocks))[:, -1]
        return largest / self.counts.to(self.blocks)

    def whole_curvature(self) -> float:
        """Return lambda_max((1/n) sum_i A_i^T A_i / n_i)."""
        scaled = (self.blocks * (self.shares / self.num_clients).sqrt().unsqueeze(2)).flatten(0, 1)
        return float(torch.linalg.eigvalsh(_small_gram(scaled))[-1])

    def supports(self) -> Bool[Tensor, "n d"]:
        """Say which features have an entry other than zero at which client."""
        return (self.blocks != 0).any(1)


class SparseRows:
    """One matrix [m, d] in compressed rows (CSR); the rows of a client need not be neighbours.

    A round costs two sparse products: margins A x, and M c where row (i, j) of M, of n d rows, holds
    column j of A_i. Work and memory are those of the entries that are not zero, plus n d.
    """

    def __init__(self, matrix: Any, clients: Sequence[Sequence[int]] | np.ndarray) -> None:
        """Take a scipy sparse matrix and the row numbers of each client."""
        order = np.concatenate([np.asarray(rows, dtype=np.int64) for rows in clients])
        self._matrix = sparse.csr_array(matrix)[order].astype(np.float64)
        self._matrix.eliminate_zeros()
        self.num_clients, self.dimension = len(clients), self._matrix.shape[1]
        self.counts = torch.tensor([len(rows) for rows in clients])
        if (self.counts < 1).any():
            raise ValueError("a client has no rows: every client needs at least one.")
        self._client = torch.repeat_interleave(torch.arange(self.num_clients), self.counts)
        self.shares = (1.0 / self.counts.double())[self._client]
        entries = sparse.coo_array(self._matrix)
        self._row, self._column = (torch.from_numpy(each).long() for each in (entries.row, entries.col))
        self._forward = _torch_csr(self._matrix)
        place = (self._client.numpy()[entries.row] * self.dimension + entries.col, entries.row)
        shape = (self.num_clients * self.dimension, len(self._client))
        self._backward = _torch_csr(sparse.csr_array((entries.data, place), shape=shape))

    def margins(self, x: Float[Tensor, " d"]) -> Float[Tensor, " m"]:
        return self._forward @ x

    def client_margins(self, vectors: Float[Tensor, "n d"]) -> Float[Tensor, " m"]:
        products = torch.from_numpy(self._matrix.data) * vectors[self._client[self._row], self._column]
        return torch.zeros_like(self.shares).index_add_(0, self._row, products)

    def combine(self, coefficients: Float[Tensor, " m"]) -> Float[Tensor, "n d"]:
        return (self._backward @ coefficients).view(self.num_clients, self.dimension)

    def arrange(self, values: Sequence[Tensor]) -> Float[Tensor, " m"]:
        """Concatenate one [n_i] vector a client."""
        _check_lengths(self.counts, values)
        return torch.cat(list(values)).double()

    def sample(self, size: int, generator: torch.Generator) -> Float[Tensor, " m"]:
        draw = torch.rand(len(self._client), generator=generator, dtype=torch.float64)
        order = (self._client + draw).argsort()  # by client, then at random
        starts = self.counts.cumsum(0) - self.counts
        ranks = torch.empty_like(order)
        ranks[order] = torch.arange(len(order)) - starts[self._client]
        drawn = self.counts.clamp(max=size)[self._client]
        return (ranks < drawn).double() / drawn

    def client_curvatures(self) -> Float[Tensor, " n"]:
        """Return lambda_max(A_i^T A_i) / n_i; a client's block is dense in the features that it has."""
        starts = np.concatenate([[0], np.cumsum(self.counts.numpy())])
        largest = [
            np.linalg.eigvalsh(_dense_gram(self._matrix[start:end]))[-1] / (end - start)
            for start, end in pairwise(starts)
        ]
        return torch.tensor(largest, dtype=torch.float64)

    def whole_curvature(self) -> float:
        scale = np.sqrt(self.shares.numpy() / self.num_clients)
        scaled = sparse.diags_array(scale) @ self._matrix
        if min(scaled.shape) <= DENSE_EIGENPROBLEM:
            return float(np.linalg.eigvalsh(_dense_gram(scaled))[-1])
        gram = LinearOperator((self.dimension,) * 2, matvec=lambda v: scaled.T @ (scaled @ v), dtype=float)
        return float(eigsh(gram, k=1, return_eigenvectors=False)[0])

    def supports(self) -> Bool[Tensor, "n d"]:
        owned = torch.zeros(self.num_clients, self.dimension, dtype=torch.bool)
        owned[self._client[self._row], self._column] = True
        return owned


Rows = DenseRows | SparseRows


def divide(features: Any, clients: Sequence[Sequence[int]] | np.ndarray) -> Rows:
    """Give each client its rows of a table.

    Args:
        features: [m, d], a scipy sparse matrix, an array or a tensor; computed with in float64.
        clients: for each client the numbers of its rows, for example from `partition_sorted`.
    """
    if sparse.issparse(features):
        return SparseRows(features, clients)
    table = torch.as_tensor(features, dtype=torch.float64)
    return DenseRows.of([table[torch.as_tensor(np.asarray(rows))] for rows in clients])


def _check_lengths(counts: Tensor, values: Sequence[Tensor]) -> None:
    lengths = [len(part) for part in values]
    if lengths != counts.tolist():
        raise ValueError(f"the clients have {counts.tolist()} rows, but the values given are for {lengths}.")


def _small_gram(rows: Float[Tensor, "*batch s d"]) -> Float[Tensor, "*batch k k"]:
    """Return A A^T or A^T A, whichever is smaller: both have the same largest eigenvalue."""
    return rows @ rows.mT if rows.shape[-2] < rows.shape[-1] else rows.mT @ rows


def _dense_gram(rows: Any) -> np.ndarray:
    """Return the smaller Gram matrix of sparse rows, without the columns that are empty."""
    block = rows[:, np.unique(rows.indices) if rows.nnz else [0]]
    gram = block @ block.T if block.shape[0] < block.shape[1] else block.T @ block
    return np.asarray(gram.toarray())


def _torch_csr(matrix: Any) -> Tensor:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(
            torch.from_numpy(matrix.indptr),
            torch.from_numpy(matrix.indices),
            torch.from_numpy(matrix.data),
            size=matrix.shape,
            dtype=torch.float64,
            check_invariants=False,
        )
