"""What a model costs: floating-point operations, counted by torch, and wall time."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Costs:
    """Cost a row of each part, in FLOPs (or any other unit, the same for all)."""

    swift: float
    """Swift; with an encoder head, only its decoder."""
    super_: float
    """Super."""
    head: float = 0.0
    """What runs before Swift to score a row: Swift's encoder and the head on it. 0 without a head."""

    @property
    def always(self) -> float:
        """Cost of a row that Swift keeps."""
        return self.head + self.swift

    @property
    def routed(self) -> float:
        """Additional cost of a row that goes to Super; with a head, Swift's decoder is saved."""
        return self.super_ - self.swift if self.head else self.super_

    def total(self, rows: int, routed: int) -> float:
        """Return the cost of `rows` inputs of which `routed` went to Super."""
        return rows * self.always + routed * self.routed

    def per_row(self, super_share: float) -> float:
        """Return the mean cost of a row when this share is routed."""
        return self.always + super_share * self.routed

    def speedup(self, super_share: float) -> float:
        """Return how many times cheaper than Super alone that is."""
        return self.super_ / self.per_row(super_share)


class Stopwatch:
    """Adds up the wall time of named parts, devices included."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def timing(self, part: str) -> Iterator[None]:
        """Add the time of the block to `part`."""
        start = time.perf_counter()
        yield
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.seconds[part] += time.perf_counter() - start

    def costs(self, rows: int) -> Costs:
        """Return the seconds a row of the parts `swift`, `super` and `head`."""
        return Costs(*(self.seconds[part] / rows for part in ("swift", "super", "head")))
