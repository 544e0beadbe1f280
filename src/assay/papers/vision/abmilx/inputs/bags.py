"""A bag as recipes see it: its instances are read when they are needed, a few or all."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import accumulate

import numpy as np
import torch
from jaxtyping import Int
from PIL import Image
from torch import Tensor

from assay.errors import InputError
from assay.papers.vision.abmilx.method import RandomInstanceSampler, pad_bags

Reader = Callable[[Int[Tensor, " rows"]], Tensor]
"""Returns the instances of some rows: uint8 [n, c, h, w] or float [n, d]."""

THREADS = 4
"""Threads that read the bags of the next steps from files."""
AHEAD = 2
"""Steps whose bags are read before they are needed."""


@dataclass(frozen=True)
class InMemory:
    """Reads instances that are in memory."""

    instances: Tensor

    def __call__(self, rows: Int[Tensor, " rows"]) -> Tensor:
        return self.instances[rows]


@dataclass(frozen=True)
class Joined:
    """Reads the instances of several slides as if they were of one."""

    readers: tuple[Reader, ...]
    sizes: tuple[int, ...]

    def __call__(self, rows: Int[Tensor, " rows"]) -> Tensor:
        starts = torch.tensor([0, *accumulate(self.sizes)])
        slide = torch.bucketize(rows, starts[1:], right=True)
        order = slide.argsort(stable=True)
        read = [self.readers[k](rows[slide == k] - starts[k]) for k in slide.unique().tolist()]
        return torch.cat(read)[order.argsort()]


@dataclass(frozen=True)
class Bag:
    """A bag with its label."""

    bag_id: str
    """Its name."""
    readers: tuple[Reader, ...]
    """What reads its instances, one for each magnification; the first is used for evaluation."""
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
    copies: int = 1
    """How often it is seen in each pass of the training."""
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


def join_slides(name: str, slides: Sequence[Bag]) -> Bag:
    """Return the slides of a case as one bag; of a single slide, all that is known of it is kept."""
    if len(slides) == 1:
        return replace(slides[0], bag_id=name)
    magnifications = range(min(len(slide.sizes) for slide in slides))
    sizes = [tuple(slide.sizes[k] for slide in slides) for k in magnifications]
    readers = tuple(Joined(tuple(slide.readers[k] for slide in slides), sizes[k]) for k in magnifications)
    return Bag(name, readers, tuple(map(sum, sizes)), patch=slides[0].patch)


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

    @property
    def times(self) -> np.ndarray:
        """The time of each bag: float64 [n]."""
        return np.array([bag.time for bag in self.bags])

    @property
    def deaths(self) -> np.ndarray:
        """Whether the patient of each bag died: bool [n]."""
        return np.array([bag.died for bag in self.bags], dtype=bool)


@dataclass(frozen=True)
class BagLoader:
    """Batches for training: padded instances, a mask (None where all bags are of one size) and targets.

    Args:
        bags: the training bags.
        targets: one row for each bag; what the loss is given.
        batch_size: bags of a batch.
        generator: of the order of bags, and of instances.
        sampler: draws instances at each step; all of them without one.
    """

    bags: BagSet
    targets: Tensor
    batch_size: int
    generator: torch.Generator
    sampler: RandomInstanceSampler | None = None

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
        if all(isinstance(reader, InMemory) for bag in self.bags for reader in bag.readers):
            yield from ([self._read(*wanted) for wanted in step] for step in steps)
            return
        waiting: deque[list[Future[Tensor]]] = deque()
        with ThreadPoolExecutor(THREADS) as pool:
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
