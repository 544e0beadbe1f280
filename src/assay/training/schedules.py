"""How the learning rate changes over the steps: the factors that torch's `LambdaLR` takes."""

from __future__ import annotations

import math
from collections.abc import Callable


def warmup_cosine(steps: int, warmup: int = 0) -> Callable[[int], float]:
    """Return the share of the learning rate at each step from 0: a line up to 1, then a cosine down to 0.

    Args:
        steps: gradient steps in all.
        warmup: steps of the line; the rate is never 0 on it.
    """

    def share(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1, steps - warmup))))

    return share
