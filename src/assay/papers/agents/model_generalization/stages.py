"""What all arms share: a search for the learner's settings on other tables, and classes that are solved."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from assay.papers.agents.model_generalization.config import Offline, Online
from assay.papers.agents.model_generalization.method import (
    CopiedWorld,
    FiniteClass,
    SimulatorModel,
    TransitionModel,
    Transitions,
    World,
    factored_transitions,
    stacked,
    unstructured_transitions,
)
from assay.papers.agents.model_generalization.training import (
    Candidate,
    candidates,
    collect_table,
    learn_offline,
    learn_online,
    make_model,
    train_model,
)
from assay.papers.agents.simulator import RolloutSource


def search_offline(config: Offline) -> list[float]:
    """Return the late score of every candidate, mean over tables that no seed of the check sees.

    All temperatures and tables of a learning rate are trained side by side.
    """
    seeds = torch.randint(2**31, (config.search.tables + 1,)).tolist()
    permuted = seeds[-1] if config.scrambled else None
    pairs = [collect_table(config, permuted, seed) for seed in seeds[:-1]]
    world, tables = pairs[0][0], stacked([table for _, table in pairs])
    for other, _ in pairs[1:]:  # rollouts start from any of the tables
        if isinstance(world, CopiedWorld) and isinstance(other, CopiedWorld):
            world.kept.update(other.kept)
    repeats = len(config.search.temperatures)
    temperatures = torch.tensor(config.search.temperatures).repeat_interleave(config.search.tables)
    repeated_tables = tables.map(lambda values: repeated(values, repeats))
    model = None
    if config.source == "model":
        model = train_repeated(config, world, tables, repeats, torch.Generator().manual_seed(seeds[0]))
    scores: list[float] = []
    for rate in config.search.learning_rates:
        torch.manual_seed(seeds[-1])
        source: RolloutSource | None = model
        if config.source == "simulator":
            source = SimulatorModel(world, seeds[0])
        learned = learn_offline(
            config, world, repeated_tables, source, Candidate(rate, temperatures), seeds[-1]
        )
        scores += learned.late_score().view(repeats, -1).mean(1).tolist()
    return scores


def train_repeated(
    config: Offline, world: World, tables: Transitions, repeats: int, generator: torch.Generator
) -> TransitionModel:
    """Train a model on each table once, and give every temperature its copy."""
    fitted, _ = train_model(config.dynamics, world, tables, generator)
    model = make_model(config.dynamics, world, generator, (len(tables.action) * repeats,))
    model.load_state_dict({name: repeated(values, repeats) for name, values in fitted.state_dict().items()})
    return model


def repeated(values: Tensor, times: int) -> Tensor:
    """Repeat the sets of a stack, all of them one after another."""
    return values.repeat(times, *[1] * (values.ndim - 1))


def search_online(config: Online) -> list[float]:
    """Return the late score of every candidate, mean over seeds that the check does not use."""
    seeds = torch.randint(2**31, (config.search.tables + 1,)).tolist()
    permuted = seeds[-1] if config.scrambled else None
    found = []
    for candidate in candidates(config.search):
        scores = []
        for seed in seeds[:-1]:
            torch.manual_seed(seed)
            learned, _ = learn_online(config, config.search_steps, candidate, seed, permuted)
            scores.append(learned.late_score())
        found.append(torch.stack(scores).mean().item())
    return found


def solve_class(structure: str, bits: int, num_actions: int, gamma: float) -> FiniteClass:
    """Enumerate a class, whose reward is 1 in the state with all bits set, and solve all of its models."""
    if structure == "factored":
        next_state = factored_transitions(bits, num_actions)
    else:
        next_state = unstructured_transitions(2**bits, num_actions)
    reward = np.zeros(next_state.shape[1:])
    reward[-1] = 1.0
    models = FiniteClass(next_state, reward)
    models.optimal_values(gamma)
    return models
