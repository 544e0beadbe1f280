"""How many floating-point operations a call takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


def count_flops(function: Callable[..., Any], *arguments: Any) -> int:
    """Return the floating-point operations of one call without gradients, by torch's counter.

    It counts matrix products, convolutions and attention; look-ups, additions and what does not run in torch
    count nothing. Attention runs as plain products meanwhile, because the counter skips fused kernels.
    """
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            function(*arguments)
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
    return int(counter.get_total_flops())
