"""Runs of the Q-learner as the recipes need them: several side by side on fixed tables, or one online."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from assay.papers.agents.model_generalization.config import Grid, Learn, Offline, Online, QLearning
from assay.papers.agents.model_generalization.method import (
    CopiedWorld,
    DenseNet,
    DQNLearner,
    DynaTrainer,
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
    stacked,
)
from assay.papers.agents.model_generalization.method.models import RolloutSource
from assay.papers.agents.model_generalization.settings import model_of, world_of

Candidate = tuple[float, float]
"""A learning rate and a temperature."""


def candidates(grid: Grid) -> tuple[Candidate, ...]:
    """Return every pair of the grid."""
    return tuple((rate, temperature) for rate in grid.learning_rates for temperature in grid.temperatures)


def late_score(scores: Sequence[Tensor]) -> Tensor:
    """Return the mean over the last half of the scores, in order of time."""
    return torch.stack(list(scores[len(scores) // 2 :])).mean(0)


# --- on a fixed table ---------------------------------------------------------------------------


def collect_table(config: Offline, permuted: int | None, seed: int) -> tuple[World, Transitions]:
    """Let a uniformly random policy fill a table; return the world that it acted in, too."""
    remember = config.source == "simulator"
    world = world_of(config.env, permuted=permuted, remember=remember)
    policy = UniformPolicy(world.num_actions, torch.Generator().manual_seed(seed))
    return world, collect(world, policy, config.collected * config.times, seed)


def source_on(
    config: Offline, world: World, model: TransitionModel | None, seed: int
) -> RolloutSource | None:
    """Return where an arm's transitions come from; `None` is the table itself."""
    return SimulatorModel(world, seed) if config.source == "simulator" else model


def fit_on(
    config: Offline, world: World, tables: Transitions, stack: tuple[int, ...], generator: torch.Generator
) -> TransitionModel:
    """Train a model on each table."""
    model = model_of(config.dynamics, world, generator, stack)
    fit_model(
        model,
        tables,
        config.dynamics.steps,
        held_out=config.dynamics.held_out,
        batch_size=config.dynamics.batch_size,
        learning_rate=config.dynamics.learning_rate,
        generator=generator,
    )
    return model


def q_trainer(
    options: QLearning,
    world: Sizes,
    buffer: ReplayBuffer,
    source: RolloutSource | None,
    candidate: tuple[float, float | Tensor],
    generator: torch.Generator,
    stack: tuple[int, ...] = (),
    model_learning_rate: float | None = None,
    ahead: int = 1,
) -> DynaTrainer:
    """Put a learner together."""
    features = source.feature_size if isinstance(source, TransitionModel) else world.observation_size
    learner = DQNLearner(
        DenseNet(features, world.num_actions, options.hidden, stack),
        learning_rate=candidate[0],
        gamma=options.gamma,
        double=options.double,
        continuing=world.continuing,
    )
    return DynaTrainer(
        learner,
        buffer,
        source,
        temperature=candidate[1],
        rollout_length=options.rollout_length,
        batch_size=options.batch_size,
        model_learning_rate=model_learning_rate,
        ahead=ahead,
        generator=generator,
    )


def learn_on(
    config: Offline,
    world: World,
    tables: Transitions,
    source: RolloutSource | None,
    candidate: tuple[float, float | Tensor],
    stack: tuple[int, ...],
    seed: int,
    log: Callable[[int, Tensor, dict[str, float]], None] = lambda step, scores, losses: None,
) -> tuple[DynaTrainer, list[Tensor]]:
    """Train a Q-network on each table; return the trainer and the scores in order of time."""
    generator = torch.Generator().manual_seed(seed)
    trainer = q_trainer(
        config.q, world, ReplayBuffer.of(tables), source, candidate, generator, stack, ahead=config.ahead
    )
    judge = world.of_size(config.judging.episodes * max(1, *stack, 1))
    scores: list[Tensor] = []

    def score(step: int, losses: dict[str, float]) -> None:
        found = evaluate(trainer.greedy(), judge, config.judging.steps, seed + step, *stack)
        scores.append(found)
        log(step, found, losses)

    trainer.run_offline(
        config.updates, target_every=config.q.target_every, every=config.judging.every, callback=score
    )
    return trainer, scores


def search_offline(config: Offline) -> list[float]:
    """Return the late score of every candidate, mean over tables that no judged seed sees.

    All temperatures and tables of a learning rate are trained side by side.
    """
    seeds = torch.randint(2**31, (config.search.tables + 1,)).tolist()
    permuted = seeds[-1] if config.scrambled else None
    pairs = [collect_table(config, permuted, seed) for seed in seeds[:-1]]
    world, tables = pairs[0][0], stacked([table for _, table in pairs])
    for other, _ in pairs[1:]:  # rollouts start from any of the tables
        if isinstance(world, CopiedWorld) and isinstance(other, CopiedWorld):
            world.kept.update(other.kept)
    temperatures = torch.tensor(config.search.temperatures).repeat_interleave(config.search.tables)
    repeats, size = len(config.search.temperatures), len(temperatures)
    tables = tables.map(lambda values: repeated(values, repeats))
    model = None
    if config.source == "model":
        model = repeated_fit(config, world, tables, repeats, torch.Generator().manual_seed(seeds[0]))
    scores: list[float] = []
    for rate in config.search.learning_rates:
        torch.manual_seed(seeds[-1])
        source = source_on(config, world, model, seeds[0])
        _, found = learn_on(config, world, tables, source, (rate, temperatures), (size,), seeds[-1])
        scores += late_score(found).view(repeats, -1).mean(1).tolist()
    return scores


def repeated_fit(
    config: Offline, world: World, tables: Transitions, repeats: int, generator: torch.Generator
) -> TransitionModel:
    """Train a model on each table once, and give every temperature its copy."""
    count = len(tables.action) // repeats
    fitted = fit_on(config, world, tables.map(lambda values: values[:count]), (count,), generator)
    model = model_of(config.dynamics, world, generator, (count * repeats,))
    model.load_state_dict({name: repeated(values, repeats) for name, values in fitted.state_dict().items()})
    return model


def repeated(values: Tensor, times: int) -> Tensor:
    """Repeat the sets of a stack, all of them one after another."""
    return values.repeat(times, *[1] * (values.ndim - 1))


# --- online -------------------------------------------------------------------------------------


def learn_online(
    config: Online | Learn,
    steps: int,
    candidate: Candidate,
    seed: int,
    permuted: int | None = None,
    log: Callable[..., None] = lambda step, **values: None,
) -> tuple[DynaTrainer, World, list[Tensor]]:
    """Act and learn for so many steps; return the trainer, its world, and the scores in order of time."""
    generator = torch.Generator().manual_seed(seed)
    world = world_of(config.env, permuted=permuted, remember=config.source == "simulator")
    source: Any = None
    if config.source == "simulator":
        source = SimulatorModel(world, seed)
    elif config.source == "model":
        source = model_of(config.dynamics, world, generator)
    buffer = ReplayBuffer(min(steps, 100_000), world.observation_size)
    trainer = q_trainer(
        config.q,
        world,
        buffer,
        source,
        candidate,
        generator,
        model_learning_rate=config.dynamics.learning_rate,
    )
    judge = world_of(config.env, config.judging.episodes, permuted)
    scores: list[Tensor] = []

    def score(step: int, losses: dict[str, float]) -> None:
        scores.append(evaluate(trainer.greedy(), judge, config.judging.steps, seed + step))
        log(step, greedy_reward=scores[-1].item(), **losses)

    trainer.run(
        world,
        steps,
        updates_per_step=config.updates_per_step,
        target_every=config.q.target_every,
        learning_starts=config.learning_starts,
        every=config.judging.every,
        seed=seed % 2**31,
        callback=score,
    )
    return trainer, world, scores


def search_online(config: Online) -> list[float]:
    """Return the late score of every candidate, mean over seeds that are no judged ones."""
    seeds = torch.randint(2**31, (config.search.tables + 1,)).tolist()
    permuted = seeds[-1] if config.scrambled else None
    found = []
    for candidate in candidates(config.search):
        scores = []
        for seed in seeds[:-1]:
            torch.manual_seed(seed)
            scores.append(late_score(learn_online(config, config.search_steps, candidate, seed, permuted)[2]))
        found.append(torch.stack(scores).mean().item())
    return found
