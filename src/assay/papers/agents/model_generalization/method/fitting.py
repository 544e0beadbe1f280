"""How a world model is trained on a fixed table: by what it predicts on rows that were held out."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from assay.errors import InputError
from assay.papers.agents.dqn import decoupled_adam, gradient_step
from assay.papers.agents.transitions import ReplayBuffer, Transitions

from .models import BernoulliFactoredModel, TransitionModel, check_binary


@dataclass(frozen=True)
class ModelTraining:
    """How a model is trained on fixed rows.

    Attributes:
        steps: gradient steps.
        held_out: share of the rows, the last ones, that choose the weights; 0 keeps the last weights.
        check_every: steps between looks at the held-out rows.
        batch_size: rows a step.
        learning_rate: of Adam.
    """

    steps: int
    held_out: float = 0.15
    check_every: int = 100
    batch_size: int = 64
    learning_rate: float = 2e-3

    def __post_init__(self) -> None:
        if not 0 <= self.held_out < 1:
            raise InputError(f"held_out is {self.held_out}: give a share, 0 to below 1.")


def fit_model(
    model: TransitionModel,
    rows: Transitions,
    training: ModelTraining,
    generator: torch.Generator | None = None,
) -> list[float]:
    """Train a model on fixed rows, and keep what predicted the held-out ones best.

    A network that is trained for long memorises chance events, and a learner that trusts it then chases them.
    Networks that are trained separately (reward, continuation, observation; stacked models) are chosen
    separately.

    Args:
        model: is trained in place.
        rows: transitions in the order of time, [*stack, n] for stacked models.
        training: how.
        generator: the random stream of the batches.

    Returns:
        The loss of every step, summed over stacked models.

    Raises:
        InputError: the model is a Bernoulli one and the observations are no bits, there are fewer rows than
            a batch takes, or none is left to hold out.
    """
    if isinstance(model, BernoulliFactoredModel):
        check_binary(rows.obs)
        check_binary(rows.next_obs)
    cut = rows.rows - round(training.held_out * rows.rows)
    buffer, best = ReplayBuffer.of(rows.part(slice(cut))), None
    if cut < rows.rows:
        best = BestWeights(model, rows.part(slice(cut, None)))
    optimizer = decoupled_adam(model.parameters(), training.learning_rate, 1e-6)
    losses = []
    for number in range(1, training.steps + 1):
        loss = model.loss(buffer.sample(training.batch_size, generator))["total"].sum()
        losses.append(gradient_step(optimizer, loss))
        if best is not None and (number % training.check_every == 0 or number == training.steps):
            best.look()
    if best is not None:
        best.restore()
    return losses


class BestWeights:
    """Remembers the weights with the lowest held-out loss, for each part that is trained separately."""

    def __init__(self, model: TransitionModel, held_out: Transitions) -> None:
        self.model, self.held_out = model, held_out
        self.kept = [parameter.detach().clone() for parameter in model.parameters()]
        self.lowest: Tensor | None = None

    @torch.no_grad()
    def look(self) -> None:
        """Compare the present weights with those kept."""
        scores = self.model.scores(self.held_out)
        better = torch.ones_like(scores, dtype=torch.bool) if self.lowest is None else scores < self.lowest
        self.lowest = scores if self.lowest is None else torch.minimum(scores, self.lowest)
        for kept, parameter in zip(self.kept, self.model.parameters(), strict=True):
            chosen = better.view(*better.shape, *[1] * (parameter.ndim - better.ndim))
            kept.copy_(torch.where(chosen, parameter, kept))

    @torch.no_grad()
    def restore(self) -> None:
        """Give the model the weights that were kept."""
        for kept, parameter in zip(self.kept, self.model.parameters(), strict=True):
            parameter.copy_(kept)
