"""Named random streams: each is a function of a seed and a name alone."""

from __future__ import annotations

import contextlib
import hashlib
import random
from collections.abc import Iterator

import numpy as np
import torch


def derive_seed(seed: int, name: str) -> int:
    """Return a seed of 63 bits for the stream `name` of `seed`."""
    hashed = hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=8).digest()
    return int.from_bytes(hashed, "little") >> 1


@contextlib.contextmanager
def random_state(seed: int) -> Iterator[None]:
    """Seed the global streams of Python, numpy and torch, and restore them afterwards."""
    python, array, tensor = random.getstate(), np.random.get_state(), torch.get_rng_state()
    devices = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    try:
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.manual_seed(seed)
        yield
    finally:
        random.setstate(python)
        np.random.set_state(array)
        torch.set_rng_state(tensor)
        if devices:
            torch.cuda.set_rng_state_all(devices)
