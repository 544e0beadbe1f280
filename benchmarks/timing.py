"""What benchmarks share."""

from __future__ import annotations

import time
from collections.abc import Callable


def interleaved(functions: dict[str, Callable[[], object]], repeats: int = 5) -> dict[str, float]:
    """Return the shortest time of each function in seconds; they take turns."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            times[name].append(time.perf_counter() - start)
    return {name: min(values) for name, values in times.items()}
