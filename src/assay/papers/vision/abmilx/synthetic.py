"""Bags drawn from labelled instances: a bag's label says how many of its instances are of one class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from assay.data import Table, require_classes
from assay.errors import InputError, unknown
from assay.papers.vision.abmilx.inputs.bags import Bag, BagSet, InMemory
from assay.papers.vision.abmilx.inputs.tables import instance_tensor

SIZE = 32
"""Instances of a drawn bag."""


@dataclass(frozen=True)
class BagTask:
    """The classes of drawn bags, by the least and the most key instances in each."""

    counts: tuple[tuple[int, int], ...]
    names: tuple[str, ...]


GRADE = BagTask(((0, 0), (1, 2), (4, 6), (9, 13)), ("none", "1 to 2", "4 to 6", "9 to 13"))
"""Four grades that ask for coverage of many patches, as PANDA's do."""
NEEDLE = BagTask(((0, 0), (1, 2)), ("none", "1 to 2"))
"""Two classes that one patch decides."""


@dataclass(frozen=True)
class Instances:
    """Labelled instances."""

    values: Tensor
    """uint8 [n, c, h, w] or float [n, d]."""
    labels: Int[Tensor, " n"]
    """The class of each."""
    key: int
    """The class that decides a bag's label."""

    def select(self, rows: np.ndarray) -> Instances:
        """Return some of the instances."""
        return Instances(self.values[rows], self.labels[rows], self.key)

    def cut(self, share: float, generator: np.random.Generator) -> tuple[Instances, Instances]:
        """Cut a share of each class off; return the rest and that share."""
        labels = self.labels.numpy()
        cut = np.zeros(len(labels), dtype=bool)
        for label in np.unique(labels):
            rows = np.flatnonzero(labels == label)
            cut[generator.permutation(rows)[: round(share * len(rows))]] = True
        return self.select(~cut), self.select(cut)


def read_instances(data: Table, key: str, pixels: int | None = None) -> Instances:
    """Read labelled rows to draw bags from; `key` is one of their classes."""
    table = data.load()
    require_classes(table, least_rows=8)
    if key not in table.label_names:
        raise InputError(
            f"{table.source}: no column names the bags of these rows (--data.bag), so bags are drawn by a key"
            f" class. --drawn.key: {unknown('class', key, table.label_names)}"
        )
    values = instance_tensor(table, table.rows, pixels)
    return Instances(values, torch.from_numpy(table.labels()), table.label_names.index(key))


def draw_bags(
    instances: Instances, task: BagTask, count: int, generator: np.random.Generator, name: str
) -> BagSet:
    """Draw bags, as many of each class; no instance is twice in a bag."""
    is_key = (instances.labels == instances.key).numpy()
    keys, others = np.flatnonzero(is_key), np.flatnonzero(~is_key)
    most = max(high for _, high in task.counts)
    if most > len(keys) or len(others) < SIZE:
        raise InputError(
            f"Bags of {SIZE} with up to {most} key instances cannot be drawn from {len(keys)} key and"
            f" {len(others)} other instances. Give more instances."
        )
    bags = []
    for number in range(count):
        label = number % len(task.counts)
        low, high = task.counts[label]
        amount = int(generator.integers(low, high + 1))
        drawn = [
            generator.choice(keys, amount, replace=False),
            generator.choice(others, SIZE - amount, replace=False),
        ]
        mixed = generator.permutation(np.concatenate(drawn))
        reader = InMemory(instances.values[mixed])
        bags.append(Bag(f"{name}-{number:04d}", (reader,), (SIZE,), label=label, keys=is_key[mixed]))
    return BagSet(tuple(bags), task.names, name)
