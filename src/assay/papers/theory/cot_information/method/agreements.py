"""Which hypotheses agree with the reference on which inputs, as packed bits: all that the theory needs.

Traces are compared as they are computed and never kept, so memory grows with |H| N / 8 bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped, UInt8
from numpy import ndarray

CHUNK_BYTES = 2**26
"""About how much a comparison may hold at a time, beside its result."""

_ONES = np.array([value.bit_count() for value in range(256)], dtype=np.uint8)


@runtime_checkable
class HypothesisClass(Protocol):
    """A finite class of functions x -> (y, z): an answer and a trace of t symbols.

    A class may also have `compare(reference, inputs) -> Agreements`, where it knows a faster way than to
    compute all traces.
    """

    def __len__(self) -> int:
        """Return |H|."""
        ...

    def evaluate(
        self, rows: Int[ndarray, " h"], inputs: Int[ndarray, "N n"]
    ) -> tuple[Int[ndarray, "h N"], Int[ndarray, "h N t"]]:
        """Return the answers and traces of some hypotheses on all inputs."""
        ...


@dataclass(frozen=True)
class Labels:
    """Answers y [N] and traces z [N, t] that come from elsewhere than the class."""

    answers: Int[ndarray, " N"]
    traces: Int[ndarray, "N t"]


@dataclass(frozen=True)
class Agreements:
    """For each hypothesis and input, whether its answer, and whether answer and trace, are the reference's.

    Bits are packed along the inputs, eight to a byte.
    """

    both: UInt8[ndarray, "H bytes"]
    """h(x) = h*(x): the answer and the whole trace agree."""
    answers: UInt8[ndarray, "H bytes"]
    """The answer agrees."""
    inputs: int
    """N."""
    base_rate: float
    """Share of the reference's most frequent answer: what a constant would get right."""
    weights: Float[ndarray, " N"] | None = None
    """Probability of each input where all inputs there are were enumerated; otherwise they are a sample."""
    reference: int | None = None
    """The number of h* in the class, where it is known: it cannot be bad, however small the sample."""

    def __len__(self) -> int:
        return len(self.both)

    @classmethod
    def of(
        cls,
        both: Bool[ndarray, "H N"],
        answers: Bool[ndarray, "H N"],
        base_rate: float,
        weights: Float[ndarray, " N"] | None = None,
    ) -> Agreements:
        """Pack plain booleans."""
        return cls(np.packbits(both, 1), np.packbits(answers, 1), both.shape[1], base_rate, weights)

    def agree(self) -> Float[ndarray, " H"]:
        """Return P[h(x) = h*(x)] of each hypothesis, answer and trace."""
        return self._share(self.both)

    def errors(self) -> Float[ndarray, " H"]:
        """Return R_e2e(h) = P[h_e2e(x) != h*_e2e(x)]."""
        if self.weights is None:  # a count of errors, so that exact fractions stay exact
            return (self.inputs - self.count(self.answers)) / self.inputs
        return 1 - self._share(self.answers)

    def realizable(self) -> bool:
        """Whether some hypothesis gives the reference's answer and trace on every input."""
        return bool((self.count(self.both) == self.inputs).any())

    def count(self, packed: UInt8[ndarray, "H bytes"]) -> Int[ndarray, " H"]:
        """Return how many inputs agree."""
        rows = max(1, CHUNK_BYTES // max(packed.shape[1], 1))
        parts = [_ONES[packed[start : start + rows]].sum(1) for start in range(0, len(packed), rows)]
        return np.concatenate(parts).astype(np.int64)

    def unpack(self, packed: UInt8[ndarray, "h bytes"]) -> Bool[ndarray, "h N"]:
        """Return plain booleans again."""
        return np.unpackbits(packed, axis=1, count=self.inputs).view(bool)

    def part(self, start: int, stop: int) -> Agreements:
        """Return the agreements on inputs `start` to `stop`; the weights fall away."""
        first, last = start // 8, -(-stop // 8)
        if start % 8 == 0:
            both, answers = (packed[:, first:last].copy() for packed in (self.both, self.answers))
            both[:, -1] &= np.uint8(0xFF << (8 * last - stop) & 0xFF)  # no bits beyond the last input
            answers[:, -1] &= np.uint8(0xFF << (8 * last - stop) & 0xFF)
            return Agreements(both, answers, stop - start, self.base_rate, None, self.reference)
        both, answers = (
            np.packbits(self.unpack(packed)[:, start:stop], 1) for packed in (self.both, self.answers)
        )
        return Agreements(both, answers, stop - start, self.base_rate, None, self.reference)

    def shuffled(self, random: np.random.Generator) -> Agreements:
        """Return the same with the inputs in random order, for a split of inputs that came in some order."""
        order = random.permutation(self.inputs)
        both, answers = (
            np.packbits(self.unpack(packed)[:, order], 1) for packed in (self.both, self.answers)
        )
        weights = None if self.weights is None else self.weights[order]
        return replace(self, both=both, answers=answers, weights=weights)

    def _share(self, packed: UInt8[ndarray, "H bytes"]) -> Float[ndarray, " H"]:
        if self.weights is None:
            return self.count(packed) / self.inputs
        rows = max(1, CHUNK_BYTES // (8 * self.inputs))
        starts = range(0, len(packed), rows)
        return np.concatenate([self.unpack(packed[start : start + rows]) @ self.weights for start in starts])


def compare(
    hypotheses: HypothesisClass,
    reference: int | Labels,
    inputs: Int[ndarray, "N n"],
    *,
    weights: Float[ndarray, " N"] | None = None,
    agnostic: bool = False,
    chunk_bytes: int = CHUNK_BYTES,
) -> Agreements:
    """Compare every hypothesis with the reference on every input.

    Args:
        hypotheses: the class H.
        reference: h*, as its number in H, or labels that come from elsewhere.
        inputs: N inputs of n symbols.
        weights: their probabilities, where these are all inputs there are.
        agnostic: labels that no hypothesis reproduces are allowed.
        chunk_bytes: about how much memory the traces of a chunk of hypotheses may take.

    Raises:
        ValueError: the reference is not in H, or its traces have another length than those of H.
    """
    if len(inputs) == 0:
        raise ValueError("There are no inputs to compare on; give at least one.")
    if isinstance(reference, Labels):
        found = _compare_generic(hypotheses, reference, inputs, chunk_bytes)
        if not (agnostic or found.realizable()):
            raise ValueError(
                f"No hypothesis of {len(hypotheses)} gives the reference's answers and traces on all"
                f" {len(inputs)} inputs. CoT information needs the reference in the class: add it, or pass"
                " agnostic=True."
            )
    else:
        check_member(hypotheses, reference)
        faster = getattr(hypotheses, "compare", None)
        if faster is not None:
            found = faster(reference, inputs)
        else:
            answers, traces = hypotheses.evaluate(np.array([reference]), inputs)
            found = _compare_generic(hypotheses, Labels(answers[0], traces[0]), inputs, chunk_bytes)
    known = None if isinstance(reference, Labels) else int(reference)
    return replace(found, weights=weights, reference=known)


def check_member(hypotheses: HypothesisClass, reference: int) -> None:
    """Refuse a number that is none of a hypothesis.

    Raises:
        ValueError: says how many there are.
    """
    if not 0 <= reference < len(hypotheses):
        raise ValueError(
            f"The reference {reference} is not in the class, whose {len(hypotheses)} hypotheses are numbered"
            " from 0. Give its number, or its labels with agnostic=True."
        )


def base_rate(answers: Shaped[ndarray, " N"]) -> float:
    """Return the share of the most frequent answer."""
    return float(np.unique(answers, return_counts=True)[1].max() / len(answers))


def _compare_generic(
    hypotheses: HypothesisClass, labels: Labels, inputs: Int[ndarray, "N n"], chunk_bytes: int
) -> Agreements:
    """Evaluate a chunk of hypotheses at a time and keep only where they agree."""
    if not len(labels.answers) == len(labels.traces) == len(inputs):
        raise ValueError(
            f"There are {len(inputs)} inputs, but {len(labels.answers)} answers and {len(labels.traces)}"
            " traces; give one of each an input."
        )
    both, answers = [], []
    per_hypothesis = 16 * len(inputs) * max(labels.traces.shape[1], 1)
    chunk = max(1, chunk_bytes // per_hypothesis)
    for start in range(0, len(hypotheses), chunk):
        rows = np.arange(start, min(start + chunk, len(hypotheses)))
        given, traces = hypotheses.evaluate(rows, inputs)
        if traces.shape[2] != labels.traces.shape[1]:
            raise ValueError(
                f"The reference's traces have {labels.traces.shape[1]} symbols, those of the class"
                f" {traces.shape[2]}. Traces of different length are different; do not pad them, but use a"
                " RecordedPool."
            )
        same = given == labels.answers
        answers.append(np.packbits(same, 1))
        both.append(np.packbits(same & (traces == labels.traces).all(2), 1))
    rate = base_rate(labels.answers)
    return Agreements(np.concatenate(both), np.concatenate(answers), len(inputs), rate)
