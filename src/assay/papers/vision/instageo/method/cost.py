"""What a model costs: weights, multiply-adds, seconds, and energy where the machine counts it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from assay.data import read_text
from assay.training.evaluation import mode

RAPL = Path("/sys/class/powercap")


def count_parameters(model: nn.Module) -> int:
    """Return the number of weights."""
    return sum(parameter.numel() for parameter in model.parameters())


def count_macs(model: nn.Module, inputs: Tensor) -> int:
    """Return the multiply-adds of one input, counted while it runs."""
    attention = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops}
    counter = FlopCounterMode(display=False, custom_mapping=attention)
    with mode(model, training=False), torch.no_grad(), counter:
        model(inputs[:1])
    return int(counter.get_total_flops()) // 2


def _attention_flops(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    """Return the operations of attention on a CPU, which torch's counter leaves out."""
    return int(sdpa_flop_count(query, key, value))


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
        after = self._read()
        if (
            before is not None
            and after is not None
            and all(b <= a for b, a in zip(before, after, strict=True))
        ):
            self.joules = sum(a - b for b, a in zip(before, after, strict=True)) / 1e6

    def grams(self, per_kwh: float) -> float | None:
        """Return grams of CO2 at `per_kwh` grams a kilowatt-hour, or `None` where no energy was counted."""
        return None if self.joules is None else self.joules / 3.6e6 * per_kwh

    def _read(self) -> list[int] | None:
        try:
            found = [int(read_text(path)) for path in self.counters]
        except (OSError, ValueError):  # only root may read it on most machines
            return None
        return found or None
