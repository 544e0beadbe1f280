"""Classes made of other classes: those in which a trace says nothing, or everything."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from .agreements import Agreements, HypothesisClass, compare


@dataclass(frozen=True)
class ProductClass:
    """All pairs of a trace from one class and an answer from another: H = F_cot x F_e2e.

    A trace then says nothing about the answer, and CoT information equals end-to-end information.
    Pair (i, j) has the number i |F_e2e| + j.
    """

    traces: HypothesisClass
    """F_cot; its answers are not used."""
    answers: HypothesisClass
    """F_e2e; its traces are not used."""

    def __len__(self) -> int:
        return len(self.traces) * len(self.answers)

    def evaluate(
        self, rows: Int[ndarray, " h"], inputs: Int[ndarray, "N n"]
    ) -> tuple[Int[ndarray, "h N"], Int[ndarray, "h N t"]]:
        """See `HypothesisClass.evaluate`."""
        first, second = rows // len(self.answers), rows % len(self.answers)
        return self.answers.evaluate(second, inputs)[0], self.traces.evaluate(first, inputs)[1]

    def compare(self, reference: int, inputs: Int[ndarray, "N n"]) -> Agreements:
        """Compare both parts alone and join them; traces agree where all of `traces.evaluate`'s do."""
        first, second = divmod(reference, len(self.answers))
        of_answers = compare(self.answers, second, inputs)
        of_traces = compare(TracesOnly(self.traces), first, inputs)
        both = of_traces.both[:, None] & of_answers.answers
        return Agreements(
            both.reshape(len(self), -1),
            np.tile(of_answers.answers, (len(self.traces), 1)),
            len(inputs),
            of_answers.base_rate,
        )


@dataclass(frozen=True)
class TracesOnly:
    """A class whose answers are all 0, so that only traces can agree or differ."""

    hypotheses: HypothesisClass
    """The class that gives the traces."""

    def __len__(self) -> int:
        return len(self.hypotheses)

    def evaluate(
        self, rows: Int[ndarray, " h"], inputs: Int[ndarray, "N n"]
    ) -> tuple[Int[ndarray, "h N"], Int[ndarray, "h N t"]]:
        """See `HypothesisClass.evaluate`."""
        answers, traces = self.hypotheses.evaluate(rows, inputs)
        return np.zeros_like(answers), traces


@dataclass(frozen=True)
class ConstantTraces:
    """A class whose traces are all the same: a chain of thought without information."""

    hypotheses: HypothesisClass
    """The class that gives the answers."""

    def __len__(self) -> int:
        return len(self.hypotheses)

    def evaluate(
        self, rows: Int[ndarray, " h"], inputs: Int[ndarray, "N n"]
    ) -> tuple[Int[ndarray, "h N"], Int[ndarray, "h N t"]]:
        """See `HypothesisClass.evaluate`."""
        answers, _ = self.hypotheses.evaluate(rows, inputs)
        return answers, np.zeros((*answers.shape, 1), dtype=np.int8)

    def compare(self, reference: int, inputs: Int[ndarray, "N n"]) -> Agreements:
        """Compare the answers; the traces agree anyway."""
        found = compare(self.hypotheses, reference, inputs)
        return replace(found, both=found.answers)


@dataclass(frozen=True)
class RevealingTraces:
    """A class whose trace is the number of the hypothesis: x -> (f(x), f). One example suffices."""

    hypotheses: HypothesisClass
    """The class that gives the answers."""

    def __len__(self) -> int:
        return len(self.hypotheses)

    def evaluate(
        self, rows: Int[ndarray, " h"], inputs: Int[ndarray, "N n"]
    ) -> tuple[Int[ndarray, "h N"], Int[ndarray, "h N t"]]:
        """See `HypothesisClass.evaluate`."""
        answers, _ = self.hypotheses.evaluate(rows, inputs)
        return answers, np.broadcast_to(rows[:, None, None], (*answers.shape, 1))


@dataclass(frozen=True)
class Tabulated:
    """A class given by its values: answers [H, X] and traces [H, X, t] over the inputs 0..X-1.

    Words have one symbol, the input.
    """

    answers: Int[ndarray, "H X"]
    """y of each hypothesis and input."""
    traces: Int[ndarray, "H X t"]
    """z of each hypothesis and input."""

    def __len__(self) -> int:
        return len(self.answers)

    def evaluate(
        self, rows: Int[ndarray, " h"], inputs: Int[ndarray, "N 1"]
    ) -> tuple[Int[ndarray, "h N"], Int[ndarray, "h N t"]]:
        """See `HypothesisClass.evaluate`."""
        return self.answers[rows][:, inputs[:, 0]], self.traces[rows][:, inputs[:, 0]]
