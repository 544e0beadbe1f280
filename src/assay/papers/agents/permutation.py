"""A fixed random permutation of states of bits, which leaves no structure between the bits."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from jaxtyping import Int

from assay.errors import InputError

ROUNDS = 6
SMALL = 12
"""Bits up to which both directions are looked up in a table of all states."""


class StatePermutation:
    """Sends every vector of bits to another one, at random but always the same, and back.

    A Feistel network: in each round one half of the bits is XORed with random bits that are a hash of the
    other half. Any number of bits from 2 up.

    Args:
        bits: the length of the vectors.
        seed: which permutation.
    """

    def __init__(self, bits: int, seed: int) -> None:
        if bits < 2:
            raise InputError(f"vectors of {bits} bits cannot be permuted: there must be at least 2.")
        random = np.random.default_rng(seed)
        self._half = bits // 2
        self._keys = [
            random.integers(np.iinfo(np.int64).max, size=(bits, 2), dtype=np.int64).astype(np.uint64)
            for _ in range(ROUNDS)
        ]
        self._place = 1 << np.arange(bits)
        self._forward = self._back = None
        if bits <= SMALL:
            every = (np.arange(2**bits)[:, None] & self._place > 0).astype(np.int8)
            self._forward, self._back = self(every), self.inverse(every)

    def __call__(self, states: Int[np.ndarray, "n bits"]) -> Int[np.ndarray, "n bits"]:
        """Permute."""
        return self._run(states, range(ROUNDS), self._forward)

    def inverse(self, states: Int[np.ndarray, "n bits"]) -> Int[np.ndarray, "n bits"]:
        """Undo the permutation."""
        return self._run(states, reversed(range(ROUNDS)), self._back)

    def _run(self, states: np.ndarray, rounds: Iterable[int], table: np.ndarray | None) -> np.ndarray:
        if table is not None:
            looked_up: np.ndarray = table[states @ self._place]
            return looked_up
        left, right = (part.astype(np.int8) for part in np.split(np.asarray(states), [self._half], axis=1))
        for number in rounds:
            if number % 2:
                left = left ^ random_bits(right, self._keys[number], left.shape[1])
            else:
                right = right ^ random_bits(left, self._keys[number], right.shape[1])
        return np.concatenate([left, right], axis=1)


def random_bits(half: np.ndarray, keys: np.ndarray, count: int) -> np.ndarray:
    """Return `count` bits for each row that are a hash of the row."""
    seed = half.astype(np.uint64) @ keys[: half.shape[1], 0]
    words = _mixed(seed[:, None] + keys[:count, 1] * np.uint64(0x9E3779B97F4A7C15))
    return (words >> np.uint64(63)).astype(np.int8)


def _mixed(word: np.ndarray) -> np.ndarray:
    """Mix the bits of 64-bit words (the last steps of SplitMix64)."""
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: np.ndarray = word ^ (word >> np.uint64(31))
    return mixed
