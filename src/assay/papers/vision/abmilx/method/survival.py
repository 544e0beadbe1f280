"""Survival from a bag: intervals of time, risk, and the c-index."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def hazard_risk(logits: Float[Tensor, "bags bins"]) -> Float[Tensor, " bags"]:
    """Return the risk: minus the sum over time of the probability to be alive."""
    return -(1 - logits.sigmoid()).cumprod(dim=1).sum(dim=1)


def concordance_index(
    risk: Float[np.ndarray, " bags"], time: Float[np.ndarray, " bags"], died: Bool[np.ndarray, " bags"]
) -> float | None:
    """Return the share of comparable pairs in which who died earlier had the higher risk; ties count half.

    A pair is comparable when the one with the shorter time died, or one of the two at equal times (Harrell,
    as scikit-survival counts). None where there is no such pair.
    """
    earlier = time[:, None] < time[None, :]
    same_time = (time[:, None] == time[None, :]) & ~died[None, :]
    comparable = (earlier | same_time) & died[:, None]
    if not comparable.any():
        return None
    difference = risk[:, None] - risk[None, :]
    return float((np.sign(difference[comparable]) * 0.5 + 0.5).mean())


@dataclass(frozen=True)
class HazardBins:
    """Intervals of time with about as many deaths each."""

    edges: tuple[float, ...]
    """Where one interval ends and the next begins, ascending."""

    @classmethod
    def fit(
        cls, time: Float[np.ndarray, " bags"], died: Bool[np.ndarray, " bags"], count: int = 4
    ) -> HazardBins:
        """Cut time at the quantiles of the times of death.

        Raises:
            ValueError: there are fewer different times of death than intervals.
        """
        deaths = np.unique(time[died])
        if len(deaths) < count:
            raise ValueError(
                f"{count} intervals need as many different times of death; there are {len(deaths)}."
            )
        inner = np.quantile(time[died], np.linspace(0, 1, count + 1)[1:-1])
        return cls(tuple(float(edge) for edge in inner))

    def __len__(self) -> int:
        return len(self.edges) + 1

    def assign(self, time: Float[np.ndarray, " bags"]) -> Int[Tensor, " bags"]:
        """Return the interval of each time; what lies beyond the last edge is in the last one."""
        return torch.from_numpy(np.searchsorted(np.asarray(self.edges), time, side="right"))
