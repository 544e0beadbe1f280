"""Batches of tensors that fit in memory, without the cost of a `DataLoader`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor


def batches(
    *tensors: Tensor,
    batch_size: int,
    generator: torch.Generator | None = None,
    shuffle: bool = True,
    drop_last: bool = False,
) -> TensorBatches:
    """Return batches of the rows of `tensors`, which can be iterated again and again.

    A `DataLoader` fetches and collates row by row; this indexes once for each batch, on the tensors' device.

    Args:
        tensors: with the same number of rows, on one device.
        batch_size: rows in a batch; with several processes, rows for each of them, as with a `DataLoader`.
        generator: draws a new order in each pass. Required for shuffling, so that the order has a seed.
        shuffle: whether the rows are in random order.
        drop_last: leave out the last batch when it is smaller than the others.

    Raises:
        ValueError: the tensors do not fit together, or there is no generator to shuffle with.
    """
    if not tensors or any(len(tensor) != len(tensors[0]) for tensor in tensors):
        raise ValueError(
            f"The tensors need the same number of rows, not {[len(tensor) for tensor in tensors]}."
        )
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, not {batch_size}.")
    if shuffle and generator is None:
        raise ValueError("Shuffling needs a generator. Give one, such as trial.generator('batches').")
    loader = TensorBatches(tensors, batch_size, generator if shuffle else None, drop_last)
    if not len(loader):
        raise ValueError(f"{len(tensors[0])} rows give no batch of {batch_size}. Use a smaller batch_size.")
    return loader


@dataclass(frozen=True)
class TensorBatches:
    """An iterable of tuples of tensors. Made by `batches`."""

    tensors: tuple[Tensor, ...]
    batch_size: int
    generator: torch.Generator | None
    drop_last: bool
    rank: int = 0
    processes: int = 1

    def __len__(self) -> int:
        rows, together = len(self.tensors[0]), self.batch_size * self.processes
        return rows // together if self.drop_last else -(-rows // together)

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        order = self._order()
        for index in order.split(self.batch_size * self.processes)[: len(self)]:
            rows = index if self.processes == 1 else self._share(index, order)
            yield tuple(tensor.index_select(0, rows) for tensor in self.tensors)

    def shard(self, rank: int, processes: int) -> TensorBatches:
        """Return the part of one of several processes, which all hold the same tensors and generator.

        One step of all processes sees the rows that one process would see with a batch that many times as
        large. A last batch that they cannot share equally is filled up with the first rows of the pass.

        Raises:
            ValueError: there are fewer rows than processes.
        """
        if len(self.tensors[0]) < processes:
            raise ValueError(f"{len(self.tensors[0])} rows cannot be shared by {processes} processes.")
        return replace(self, rank=rank, processes=processes)

    def _order(self) -> Tensor:
        rows, device = len(self.tensors[0]), self.tensors[0].device
        if self.generator is None:
            return torch.arange(rows, device=device)
        return torch.randperm(rows, generator=self.generator, device=self.generator.device).to(device)

    def _share(self, index: Tensor, order: Tensor) -> Tensor:
        missing = -len(index) % self.processes
        return torch.cat([index, order[:missing]]).chunk(self.processes)[self.rank]
