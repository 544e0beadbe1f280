"""Linear autoregressive classes: the trace is what a linear threshold writes after the input."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from .agreements import CHUNK_BYTES, Agreements, base_rate


@dataclass(frozen=True)
class LinearAutoregressive:
    """Weights w from a grid to the power d: each next bit is z_t = 1[w . (the last d bits) >= 0].

    The input is a word of d bits or more, its last d bits count; z = (z_1, ..., z_T) and y = z_T. The first
    of the d weights belongs to the oldest bit. Hypotheses are numbered as the grid's product is ordered.
    """

    window: int
    """d."""
    steps: int
    """T."""
    grid: Sequence[int] = (-1, 0, 1)
    """The values that a weight may have."""

    def __post_init__(self) -> None:
        if not 1 <= self.window <= 20 or self.steps < 1 or not self.grid:
            raise ValueError(
                f"A window of 1 to 20 bits, 1 step or more and a grid with a value are needed, got"
                f" {self.window}, {self.steps} and {list(self.grid)}."
            )

    def __len__(self) -> int:
        return int(len(self.grid) ** self.window)

    @property
    def weights(self) -> Int[ndarray, "H d"]:
        """w of each hypothesis."""
        return np.array(list(itertools.product(self.grid, repeat=self.window)))

    def evaluate(
        self, rows: Int[ndarray, " h"], inputs: Int[ndarray, "N n"]
    ) -> tuple[Int[ndarray, "h N"], Int[ndarray, "h N T"]]:
        """Write T bits after each input; see `HypothesisClass.evaluate`."""
        if inputs.shape[1] < self.window or not np.isin(inputs, (0, 1)).all():
            raise ValueError(
                f"Inputs must be words of {self.window} bits or more, got {inputs.shape[1]} symbols from"
                f" {inputs.min()} to {inputs.max()}."
            )
        windows = 2**self.window
        places = 2 ** np.arange(self.window)[::-1]
        bits = np.arange(windows)[:, None] // places % 2
        nexts = (self.weights[rows] @ bits.T >= 0).astype(np.int8)  # the next bit after each window
        codes = np.broadcast_to(inputs[:, -self.window :] @ places, (len(rows), len(inputs)))
        traces = np.empty((*codes.shape, self.steps), dtype=np.int8)
        offsets = np.arange(len(rows))[:, None] * windows
        for step in range(self.steps):
            traces[:, :, step] = nexts.reshape(-1)[offsets + codes]
            codes = (2 * codes + traces[:, :, step]) % windows
        return traces[:, :, -1].copy(), traces

    def compare(self, reference: int, inputs: Int[ndarray, "N n"]) -> Agreements:
        """Compare all hypotheses with one of them on each distinct window once."""
        windows, where = np.unique(inputs[:, -self.window :], axis=0, return_inverse=True)
        answers, traces = (part[0] for part in self.evaluate(np.array([reference]), windows))
        both, same = [], []
        chunk = max(1, CHUNK_BYTES // (16 * max(len(inputs), len(windows) * self.steps)))
        for start in range(0, len(self), chunk):
            given, written = self.evaluate(np.arange(start, min(start + chunk, len(self))), windows)
            agrees = given == answers
            same.append(np.packbits(agrees[:, where], 1))
            both.append(np.packbits((agrees & (written == traces).all(2))[:, where], 1))
        return Agreements(np.concatenate(both), np.concatenate(same), len(inputs), base_rate(answers[where]))
