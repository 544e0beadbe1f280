"""What a training leaves: the Q-network, the model that it learned with, and how the training went."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from assay.artefact import Artefact
from assay.errors import InputError
from assay.papers.agents.model_generalization.method import (
    DenseNet,
    DynaTrainer,
    RolloutError,
    Sizes,
    TransitionModel,
)


@dataclass(frozen=True)
class Agent(Artefact):
    """A trained agent.

    Attributes:
        q_net: the Q-network; it acts on what `model` encodes, or else on observations.
        model: the world model, if one was learned.
        observation_size: numbers of an observation, flattened.
        actions: what the environment calls the actions, in the order of the network's outputs.
        continuing: whether the task never ends.
        gamma: the discount.
        curves: one row for each score.
        model_error: the model's errors after 1, 2, ... steps.
    """

    q_net: DenseNet
    model: TransitionModel | None
    observation_size: int
    actions: tuple[int, ...]
    continuing: bool
    gamma: float
    curves: pd.DataFrame
    model_error: RolloutError | None = None

    @classmethod
    def of(
        cls,
        trainer: DynaTrainer,
        sizes: Sizes,
        curve: list[dict[str, float]],
        model_error: RolloutError | None = None,
    ) -> Agent:
        """Take the networks of a trainer."""
        q_net, source = trainer.learner.q_net, trainer.source
        assert isinstance(q_net, DenseNet)
        return cls(
            q_net,
            source if isinstance(source, TransitionModel) else None,
            sizes.observation_size,
            tuple(sizes.actions),
            sizes.continuing,
            trainer.learner.gamma,
            pd.DataFrame(curve),
            model_error,
        )

    @torch.no_grad()
    def values(self, obs: Float[Tensor, "n ..."] | Float[np.ndarray, "n ..."]) -> Float[Tensor, "n actions"]:
        """Return Q of every action; a latent model draws the latent state first.

        Raises:
            InputError: the observations have another size than those that the agent learned on.
        """
        flat = torch.as_tensor(obs, dtype=torch.float32).flatten(1)
        if flat.shape[1] != self.observation_size:
            raise InputError(
                f"the observations have {flat.shape[1]} numbers; the agent learned on"
                f" {self.observation_size}."
            )
        values: Tensor = self.q_net(flat if self.model is None else self.model.encode(flat))
        return values

    def act(self, obs: Float[Tensor, "n ..."] | Float[np.ndarray, "n ..."]) -> Int[Tensor, " n"]:
        """Return the greedy actions, with the numbers that the environment gives them."""
        return torch.tensor(self.actions)[self.values(obs).argmax(-1)]
