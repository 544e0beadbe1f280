"""Runs of the Q-learner as the recipes need them: several side by side on fixed tables, or one online."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from assay.errors import InputError
from assay.papers.agents.model_generalization.config import (
    Grid,
    Learn,
    Offline,
    Online,
    QLearning,
    WorldModel,
)
from assay.papers.agents.model_generalization.method import (
    BernoulliFactoredModel,
    CategoricalLatentModel,
    DenseNet,
    DQNLearner,
    DynaTrainer,
    GaussianLatentModel,
    GaussianModel,
    ModelTraining,
    ReplayBuffer,
    SimulatorModel,
    Sizes,
    TransitionModel,
    Transitions,
    UniformPolicy,
    World,
    collect,
    evaluate,
    fit_model,
)
from assay.papers.agents.model_generalization.method.dyna import Callback
from assay.papers.agents.options import Judging
from assay.papers.agents.simulator import RolloutSource
from assay.papers.agents.worlds import open_environment
from assay.trial import Trial, derive_seed


@dataclass(frozen=True)
class Candidate:
    """A learning rate of the Q-network, and a temperature or one for each stacked network."""

    learning_rate: float
    temperature: float | Tensor


@dataclass
class Learned:
    """A trainer, and its scores in order of time, each with its step and the last losses."""

    trainer: DynaTrainer
    points: list[tuple[int, Tensor, dict[str, float]]] = field(default_factory=list)

    def scoring(self, world: World, judging: Judging, seed: int = 0, sets: int | None = None) -> Callback:
        """Return what scores the greedy policy in a world during the training; see `evaluate`."""

        def score(step: int, losses: dict[str, float]) -> None:
            found = evaluate(self.trainer.greedy(), world, judging.steps, seed + step, sets)
            self.points.append((step, found, losses))

        return score

    def late_score(self) -> Tensor:
        """Return the mean over the last half of the scores."""
        return torch.stack([score for _, score, _ in self.points[len(self.points) // 2 :]]).mean(0)

    def log(self, trial: Trial) -> None:
        """Give the trial the learning curve."""
        for step, score, losses in self.points:
            trial.log(step, greedy_reward=score.item(), **losses)


def candidates(grid: Grid) -> tuple[Candidate, ...]:
    """Return every pair of the grid."""
    return tuple(
        Candidate(rate, temperature) for rate in grid.learning_rates for temperature in grid.temperatures
    )


def short_seed(trial: Trial, name: str) -> int:
    """Return a seed of 31 bits for the stream `name`, as gymnasium takes them."""
    return derive_seed(trial.seed, name) % 2**31


def make_model(
    options: WorldModel, sizes: Sizes, generator: torch.Generator, stack: tuple[int, ...] = ()
) -> TransitionModel:
    """Make the model of the options for the observations of an environment."""
    shape = (sizes.observation_size, sizes.num_actions, options.hidden)
    common: dict[str, Any] = {"continuing": sizes.continuing, "generator": generator}
    kind = ("bernoulli" if sizes.binary else "gaussian") if options.kind == "auto" else options.kind
    if kind == "bernoulli":
        return BernoulliFactoredModel(*shape, next_obs_sampling=options.sampling, stack=stack, **common)
    if kind == "gaussian":
        return GaussianModel(*shape, stack=stack, **common)
    if stack:
        raise InputError(
            f"--dynamics.kind {kind} works online only (`online`, `learn`): choose another kind."
        )
    latent = CategoricalLatentModel if kind == "categorical-latent" else GaussianLatentModel
    return latent(*shape, binary=sizes.binary, **common)


def train_model(
    options: WorldModel, sizes: Sizes, tables: Transitions, generator: torch.Generator
) -> tuple[TransitionModel, list[float]]:
    """Train a model on each table; return it and its losses."""
    model = make_model(options, sizes, generator, tables.action.shape[:-1])
    training = ModelTraining(
        options.steps, options.held_out, batch_size=options.batch_size, learning_rate=options.learning_rate
    )
    return model, fit_model(model, tables, training, generator)


def make_trainer(
    options: QLearning,
    sizes: Sizes,
    buffer: ReplayBuffer,
    source: RolloutSource | None,
    candidate: Candidate,
    **others: Any,
) -> DynaTrainer:
    """Make a learner for each set of the buffer, and its trainer; `others` are arguments of `DynaTrainer`."""
    features = source.feature_size if isinstance(source, TransitionModel) else sizes.observation_size
    learner = DQNLearner(
        DenseNet(features, sizes.num_actions, options.hidden, buffer.action.shape[:-1]),
        learning_rate=candidate.learning_rate,
        gamma=options.gamma,
        double=options.double,
        continuing=sizes.continuing,
    )
    return DynaTrainer(
        learner,
        buffer,
        source,
        temperature=candidate.temperature,
        rollout_length=options.rollout_length,
        batch_size=options.batch_size,
        target_every=options.target_every,
        **others,
    )


# --- on a fixed table ---------------------------------------------------------------------------


def collect_table(config: Offline, permuted: int | None, seed: int) -> tuple[World, Transitions]:
    """Let a uniformly random policy fill a table; return the world that it acted in, too."""
    world = open_environment(config.env, permuted=permuted, remember=config.source == "simulator")
    policy = UniformPolicy(world.num_actions, torch.Generator().manual_seed(seed))
    return world, collect(world, policy, config.collected * config.times, seed)


def learn_offline(
    config: Offline,
    world: World,
    tables: Transitions,
    source: RolloutSource | None,
    candidate: Candidate,
    seed: int,
) -> Learned:
    """Train a Q-network on each table, or on rollouts of a source from it."""
    stack = tables.action.shape[:-1]
    trainer = make_trainer(
        config.q,
        world,
        ReplayBuffer.of(tables),
        source,
        candidate,
        model_learning_rate=None,
        ahead=config.ahead,
        generator=torch.Generator().manual_seed(seed),
    )
    learned = Learned(trainer)
    score = learned.scoring(
        world.of_size(config.judging.episodes * stack.numel()), config.judging, seed, *stack
    )
    trainer.run_offline(config.updates, every=config.judging.every, callback=score)
    return learned


# --- online -------------------------------------------------------------------------------------


def learn_online(
    config: Online | Learn, steps: int, candidate: Candidate, seed: int, permuted: int | None = None
) -> tuple[Learned, World]:
    """Act and learn for so many steps; return what was learned, and the world."""
    generator = torch.Generator().manual_seed(seed)
    world = open_environment(config.env, permuted=permuted, remember=config.source == "simulator")
    source: RolloutSource | None = None
    if config.source == "simulator":
        source = SimulatorModel(world, seed)
    elif config.source == "model":
        source = make_model(config.dynamics, world, generator)
    trainer = make_trainer(
        config.q,
        world,
        ReplayBuffer(min(steps, 100_000), world.observation_size),
        source,
        candidate,
        model_learning_rate=config.dynamics.learning_rate,
        updates_per_step=config.updates_per_step,
        learning_starts=config.learning_starts,
        generator=generator,
    )
    learned = Learned(trainer)
    judge = open_environment(config.env, config.judging.episodes, permuted)
    score = learned.scoring(judge, config.judging, seed)
    trainer.run(world, steps, every=config.judging.every, seed=seed % 2**31, callback=score)
    return learned, world
