"""The paper's experiment on any environment: one learner, several sources of transitions, paired by seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import gymnasium
import pandas as pd
import torch
from torch import nn

from assay.errors import unknown
from assay.papers.agents.dqn import DQNLearner
from assay.papers.agents.evaluation import evaluate
from assay.papers.agents.networks import DenseNet
from assay.papers.agents.simulator import RolloutSource, SimulatorModel
from assay.papers.agents.transitions import ReplayBuffer
from assay.papers.agents.worlds import CopiedWorld, Make, open_world

from .dyna import DynaTrainer
from .models import BernoulliFactoredModel, GaussianModel

Source = Literal["replay", "model", "simulator"]


@dataclass(frozen=True)
class OnlineTraining:
    """How the learner of `compare_sources` is trained.

    Attributes:
        steps: in the environment.
        every: steps between scores.
        learning_starts: steps before the first update.
        updates_per_step: updates after each later step.
        target_every: steps between copies of the target network.
        hidden: units of each hidden layer.
        learning_rate: of the Q-network.
        temperature: of the softmax policy.
        gamma: the discount.
        batch_size: rows that a rollout starts from, and of a model step.
        rollout_length: steps of a rollout.
    """

    steps: int = 5000
    every: int = 500
    learning_starts: int = 500
    updates_per_step: int = 1
    target_every: int = 100
    hidden: Sequence[int] = (64, 64)
    learning_rate: float = 1e-3
    temperature: float = 0.1
    gamma: float = 0.9
    batch_size: int = 32
    rollout_length: int = 10


def compare_sources(
    env: str | gymnasium.Env[Any, Any] | Make,
    seeds: Sequence[int],
    sources: Sequence[Source] = ("replay", "model"),
    training: OnlineTraining = OnlineTraining(),
    *,
    make_q_net: Callable[[int, int], nn.Module] | None = None,
    **arguments: Any,
) -> pd.DataFrame:
    """Train the same learner online from each source, paired by seed, and score it as it goes.

    Args:
        env: a name in gymnasium, an environment, or a function that makes one.
        seeds: of each repetition; a seed is that of the network, of the acting and of the environment.
        sources: `replay`, `model` (Bernoulli on bits, else Gaussian) or `simulator`.
        training: how the learner is trained.
        make_q_net: makes the user's network from the numbers of an observation and the actions.
        arguments: further arguments of `open_world`: `continuing`, and those of the environment.

    Returns:
        Columns seed, source, step and score (see `evaluate`).
    """
    for source in sources:
        if source not in get_args(Source):
            raise unknown("source", source, get_args(Source))
    rows: list[dict[str, Any]] = []
    for seed in seeds:
        for source in sources:
            torch.manual_seed(seed)
            generator = torch.Generator().manual_seed(seed)
            world, judge = open_world(env, **arguments), open_world(env, 32, **arguments)
            if isinstance(world, CopiedWorld):
                world.remember = source == "simulator"
            sizes = (world.observation_size, world.num_actions)
            inside: RolloutSource | None = None
            if source == "simulator":
                inside = SimulatorModel(world, seed)
            elif source == "model":
                kind = BernoulliFactoredModel if world.binary else GaussianModel
                inside = kind(*sizes, training.hidden, continuing=world.continuing, generator=generator)
            q_net = make_q_net(*sizes) if make_q_net else DenseNet(*sizes, training.hidden)
            trainer = DynaTrainer(
                DQNLearner(
                    q_net,
                    learning_rate=training.learning_rate,
                    gamma=training.gamma,
                    continuing=world.continuing,
                ),
                ReplayBuffer(min(training.steps, 100_000), world.observation_size),
                inside,
                temperature=training.temperature,
                rollout_length=training.rollout_length,
                batch_size=training.batch_size,
                target_every=training.target_every,
                updates_per_step=training.updates_per_step,
                learning_starts=training.learning_starts,
                generator=generator,
            )

            def score(step: int, losses: dict[str, float]) -> None:
                found = evaluate(trainer.greedy(), judge, seed=seed).item()  # noqa: B023
                rows.append({"seed": seed, "source": source, "step": step, "score": found})  # noqa: B023

            trainer.run(world, training.steps, every=training.every, seed=seed, callback=score)
    return pd.DataFrame(rows)
