"""How each question is put: with how many demonstrations, chosen how, with reasoning or without."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from assay.papers.theory.ecm.method import Choice, DemoRetriever


class Plan(NamedTuple):
    """How one question is put."""

    shots: int
    choice: Choice
    direct: bool


@dataclass(frozen=True)
class Dealing:
    """What the questions of an experiment are dealt: see the options of the same names."""

    shots: tuple[int, ...]
    choices: tuple[Choice, ...]
    direct: float

    def plans(self, count: int, random: np.random.Generator) -> list[Plan]:
        """Deal a plan to each of so many questions."""
        return [
            Plan(
                int(random.choice(self.shots)),
                self.choices[int(random.integers(len(self.choices)))],
                bool(random.random() < self.direct),
            )
            for _ in range(count)
        ]


def choose_demos(
    questions: Sequence[str], plans: Sequence[Plan], retriever: DemoRetriever | None
) -> list[tuple[int, ...]]:
    """Return the places of each question's demonstrations in the pool, as its plan says."""
    chosen: list[tuple[int, ...]] = [()] * len(questions)
    for shots, choice in sorted({(plan.shots, plan.choice) for plan in plans if plan.shots}):
        places = [place for place, plan in enumerate(plans) if plan[:2] == (shots, choice)]
        assert retriever is not None
        found = retriever.topk([questions[place] for place in places], shots, choice)
        for place, retrieved in zip(places, found, strict=True):
            chosen[place] = retrieved.rows
    return chosen
