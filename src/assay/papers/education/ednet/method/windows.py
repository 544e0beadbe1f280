"""Windows of learners' steps as padded batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import Dataset

from assay.papers.education.ednet.method.networks import Batch
from assay.papers.education.steps import Steps

LONGEST_LAG = 1440.0
"""Minutes since the step before, at most."""


class KTDataset(Dataset[Batch]):
    """Windows of at most `seq_len` steps, cut every `stride` steps of a learner.

        loader = DataLoader(KTDataset(steps), batch_size=64, shuffle=True, collate_fn=collate)

    With a stride below `seq_len` windows overlap, and a step counts (`scored`) only in the first window that
    holds it: so it is seen with as much of its past as there is, at least `seq_len - stride` steps.

    Args:
        steps: of all learners.
        seq_len: longest window.
        stride: steps from one window to the next; windows do not overlap unless given.
    """

    def __init__(self, steps: Steps, seq_len: int = 100, stride: int | None = None) -> None:
        self.steps, self.seq_len = steps, seq_len
        stride = stride or seq_len
        starts, lengths, fresh = [], [], []
        for first, length in zip(steps.starts[:-1].tolist(), steps.lengths.tolist(), strict=True):
            seen = 0
            for offset in range(0, max(length, 1), stride):
                if seen >= length:
                    break
                end = min(offset + seq_len, length)
                starts.append(first + offset)
                lengths.append(end - offset)
                fresh.append(seen - offset)
                seen = end
        self.starts, self.lengths, self.fresh = (np.array(v, np.int64) for v in (starts, lengths, fresh))
        self._scored, self._lag = steps.scored, _lags(steps)

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, number: int) -> Batch:
        """Return one window, without a dimension for the batch."""
        return Batch(*(part[0] for part in self.batch(np.array([number]))))

    def batch(self, numbers: np.ndarray) -> Batch:
        """Return several windows, padded on the right."""
        length = int(self.lengths[numbers].max())
        place = np.arange(length)
        there = place < self.lengths[numbers, None]
        rows = np.where(there, self.starts[numbers, None] + place, 0)
        steps = self.steps
        fresh = there & (place >= self.fresh[numbers, None])
        elapsed = np.zeros(rows.shape) if steps.elapsed is None else steps.elapsed[rows]
        columns = (
            np.where(there, steps.item[rows], 0),
            np.where(there, steps.correct[rows], 0),
            np.where(there, steps.kind[rows], 0),
            there & (steps.kind[rows] == 0) & fresh,
            self._scored[rows] & fresh,
        )
        item, correct, kind, trained, scored = (torch.from_numpy(column) for column in columns)
        seconds, lag = (torch.from_numpy(each.astype(np.float32)) for each in (elapsed, self._lag[rows]))
        return Batch(
            item.long(), correct.long(), kind.long(), trained, scored, seconds, lag, torch.from_numpy(rows)
        )


@dataclass(frozen=True)
class Batches:
    """Batches that can be iterated again and again, in a new order each time with a generator."""

    data: KTDataset
    batch_size: int
    generator: torch.Generator | None = None

    def __len__(self) -> int:
        return -(-len(self.data) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        order = torch.arange(len(self.data))
        if self.generator is not None:
            order = torch.randperm(len(order), generator=self.generator)
        for part in order.split(self.batch_size):
            yield self.data.batch(part.numpy())


def collate(windows: Sequence[Batch]) -> Batch:
    """Join windows of a `KTDataset`, padded on the right."""
    pad = torch.nn.utils.rnn.pad_sequence
    return Batch(*(pad(list(parts), batch_first=True) for parts in zip(*windows, strict=True)))


def _lags(steps: Steps) -> np.ndarray:
    """Return the minutes since the learner's step before, 0 for the first."""
    if steps.time is None or not len(steps):
        return np.zeros(len(steps))
    lags = np.diff(steps.time, prepend=steps.time[:1]) / 60_000
    lags[steps.starts[:-1][steps.lengths > 0]] = 0
    clipped: np.ndarray = np.clip(lags, 0, LONGEST_LAG)
    return clipped
