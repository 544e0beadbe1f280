"""A bag as recipes see it: its instances are read when they are needed, a few or all."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Int
from PIL import Image
from torch import Tensor

from assay.errors import InputError
from assay.papers.vision.abmilx.method import RandomInstanceSampler, pad_bags

Reader = Callable[[Int[Tensor, " rows"]], Tensor]
"""Returns the instances of some rows: uint8 [n, c, h, w] or float [n, d]."""

AHEAD = 2
"""Steps whose bags are read before they are needed."""


@dataclass(frozen=True)
class InMemory:
    """Reads instances that are in memory."""

    instances: Tensor

    def __call__(self, rows: Int[Tensor, " rows"]) -> Tensor:
        return self.instances[rows]


@dataclass(frozen=True)
class Bag:
    """A bag with its label."""

    bag_id: str
    """Its name."""
    readers: tuple[Reader, ...]
    """What reads its instances, one a magnification; the first is used for evaluation."""
    sizes: tuple[int, ...]
    """How many instances it has at each magnification."""
    label: int = -1
    """Its class; -1 where it has none."""
    time: float = float("nan")
    """Time to death or to the last visit."""
    died: bool = False
    """Whether the patient died."""
    group: str | None = None
    """What bags have in common: a patient, a slide."""
    part: str | None = None
    """`train`, `validation` or `test`, where that is published."""
    coords: np.ndarray | None = None
    """Upper left corners of its patches, in pixels of the slide: int [n, 2]."""
    patch: int = 1
    """Side of a patch in pixels of the slide."""
    keys: np.ndarray | None = None
    """Which instances are those that decide its label, where that is known: bool [n]."""
    thumbnail: Callable[[], Image.Image] | None = None
    """Returns a small picture of the slide."""
    extent: tuple[int, int] | None = None
    """Width and height of the slide."""

    def __len__(self) -> int:
        return self.sizes[0]

    def read(self, rows: Int[Tensor, " rows"] | None = None, magnification: int = 0) -> Tensor:
        """Return some instances, or all."""
        reader = self.readers[magnification]
        if rows is None:
            if isinstance(reader, InMemory):
                return reader.instances
            rows = torch.arange(self.sizes[magnification])
        return reader(rows)


@dataclass(frozen=True)
class BagSet:
    """Bags with the names of their classes."""

    bags: tuple[Bag, ...]
    label_names: tuple[str, ...] = ()
    source: str = ""
    """Where they come from, as the user wrote it."""

    def __post_init__(self) -> None:
        empty = [bag.bag_id for bag in self.bags if min(bag.sizes) == 0]
        if empty:
            raise InputError(
                f"{self.source}: the bag {empty[0]!r} has no instances. Leave it out of the labels."
            )
        names = [bag.bag_id for bag in self.bags]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise InputError(f"{self.source}: there are two bags {twice!r}, or one in both splits.")

    def __len__(self) -> int:
        return len(self.bags)

    def __iter__(self) -> Iterator[Bag]:
        return iter(self.bags)

    def select(self, rows: Sequence[int] | np.ndarray) -> BagSet:
        """Return some of the bags."""
        return replace(self, bags=tuple(self.bags[int(row)] for row in rows))

    @property
    def labels(self) -> np.ndarray:
        """The class of each bag: int64 [n]."""
        return np.array([bag.label for bag in self.bags], dtype=np.int64)


@dataclass(frozen=True)
class BagLoader:
    """Batches for training: padded instances, a mask (None where all bags are of one size) and targets.

    Args:
        bags: what to learn from.
        targets: one row a bag; what the loss is given.
        batch_size: bags a batch.
        generator: of the order of bags, and of instances.
        sampler: draws instances at each step; all of them without one.
        readers: threads that read the bags of the next two steps; with 0 each step reads its own.
    """

    bags: BagSet
    targets: Tensor
    batch_size: int
    generator: torch.Generator
    sampler: RandomInstanceSampler | None = None
    readers: int = 0

    def __len__(self) -> int:
        return -(-len(self.bags) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor | None, Tensor]]:
        order = torch.randperm(len(self.bags), generator=self.generator)
        # Pieces of about equal size: batch norm cannot do with a last batch of one bag.
        steps = [[(row, self._draw(row)) for row in rows.tolist()] for rows in order.tensor_split(len(self))]
        for step, bags in zip(steps, self._read_all(steps), strict=True):
            instances, mask = stack(bags)
            yield instances, mask, self.targets[[row for row, _ in step]]

    def _draw(self, row: int) -> list[Tensor] | None:
        """Return the rows to take of each magnification; None takes all of the first."""
        if self.sampler is None:
            return None
        return self.sampler(self.bags.bags[row].sizes[: len(self.sampler.shares)], self.generator)

    def _read(self, row: int, drawn: list[Tensor] | None) -> Tensor:
        bag = self.bags.bags[row]
        if drawn is None:
            return bag.read()
        return torch.cat([bag.read(rows, number) for number, rows in enumerate(drawn)])

    def _read_all(self, steps: Sequence[Sequence[tuple[int, list[Tensor] | None]]]) -> Iterator[list[Tensor]]:
        if not self.readers:
            for step in steps:
                yield [self._read(*wanted) for wanted in step]
            return
        waiting: deque[list[Future[Tensor]]] = deque()
        with ThreadPoolExecutor(self.readers) as pool:
            for step in steps:
                waiting.append([pool.submit(self._read, *wanted) for wanted in step])
                if len(waiting) > AHEAD:
                    yield [future.result() for future in waiting.popleft()]
            while waiting:
                yield [future.result() for future in waiting.popleft()]


def stack(bags: Sequence[Tensor]) -> tuple[Tensor, Tensor | None]:
    """Return bags as one tensor with a mask, or without where they have the same size."""
    if len({len(bag) for bag in bags}) == 1:
        return torch.stack(list(bags)), None
    return pad_bags(bags)
