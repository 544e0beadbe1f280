"""What a model costs: weights, multiply-adds, seconds, and energy where the machine counts it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from assay.data import read_text
from assay.models.flops import count_flops
from assay.training.evaluation import mode

RAPL = Path("/sys/class/powercap")


def count_parameters(model: nn.Module) -> int:
    """Return the number of weights."""
    return sum(parameter.numel() for parameter in model.parameters())


def count_macs(model: nn.Module, inputs: Tensor) -> int:
    """Return the multiply-adds of one input, counted while it runs."""
    with mode(model, training=False):
        return count_flops(model, inputs[:1]) // 2


@dataclass
class EnergyMeter:
    """Seconds in a `with` block, and joules of the processor where the machine counts them (Intel's RAPL).

    The counter is the whole machine's. `grams(per_kwh)` multiplies with the user's own figure.
    """

    seconds: float = 0.0
    joules: float | None = None
    counters: list[Path] = field(default_factory=lambda: sorted(RAPL.glob("intel-rapl:?/energy_uj")))

    def __enter__(self) -> EnergyMeter:
        self._before = (time.perf_counter(), self._read())
        return self

    def __exit__(self, *_: Any) -> None:
        start, before = self._before
        self.seconds = time.perf_counter() - start
        spent = [now - then for then, now in zip(before, self._read(), strict=False)]
        if spent and min(spent) >= 0:  # a counter starts again from 0 now and then
            self.joules = sum(spent) / 1e6

    def grams(self, per_kwh: float) -> float | None:
        """Return grams of CO2 at `per_kwh` grams a kilowatt-hour, or `None` where no energy was counted."""
        return None if self.joules is None else self.joules / 3.6e6 * per_kwh

    def _read(self) -> list[int]:
        try:
            return [int(read_text(path)) for path in self.counters]
        except (OSError, ValueError):  # only root may read it on most machines
            return []
