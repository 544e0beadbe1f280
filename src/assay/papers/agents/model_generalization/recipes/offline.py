"""On a fixed table: Q learned from its rows, from a model learned on it, or from the simulator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from assay.paper import Value
from assay.papers.agents.model_generalization.artefact import Agent
from assay.papers.agents.model_generalization.config import Offline
from assay.papers.agents.model_generalization.evaluation import (
    action_value_errors,
    model_errors,
    not_scrambled,
    picture_of_rollout,
    random_score,
    unexplained,
)
from assay.papers.agents.model_generalization.method import SimulatorModel, TransitionModel, Transitions
from assay.papers.agents.model_generalization.stages import search_offline
from assay.papers.agents.model_generalization.training import (
    candidates,
    collect_table,
    learn_offline,
    short_seed,
    train_model,
)
from assay.papers.agents.simulator import RolloutSource
from assay.papers.agents.worlds import open_environment
from assay.trial import Trial


def offline(config: Offline, trial: Trial) -> dict[str, Value]:
    """Collect a table, choose the learner's settings on other tables, learn Q from the source, score it."""
    if config.scrambled and not open_environment(config.env).binary:
        return not_scrambled(trial)
    permuted = short_seed(trial, "permutation") if config.scrambled else None
    world, table = collect_table(config, permuted, short_seed(trial, "table"))
    trial.count("environment_steps", table.rows)
    if config.source == "random":
        return {"greedy_reward": random_score(config.env, config.judging, short_seed(trial, "judging"))}

    trial.progress("search")
    searched = trial.once("search", search_offline, config, seedless=True)
    scores = dict(zip(candidates(config.search), searched, strict=True))
    best = trial.tune(scores, fit=scores.__getitem__, metric=lambda score: score).candidate

    trial.progress("learning")
    metrics: dict[str, Value] = {}
    source: RolloutSource | None = None
    if config.source == "model":
        source, _ = train_model(config.dynamics, world, table, trial.generator("model"))
        trial.count("model_steps", config.dynamics.steps)
        metrics |= model_metrics(config, source, table, permuted, trial)
    torch.manual_seed(short_seed(trial, "q"))  # every source starts from the same network
    if config.source == "simulator":
        source = SimulatorModel(world, short_seed(trial, "simulator"))
    learned = learn_offline(config, world, table, source, best, short_seed(trial, "learning"))
    learned.log(trial)

    trial.count("q_updates", config.updates)
    trial.count("q_rows", config.updates * config.q.batch_size * config.q.rollout_length)
    trial.save("agent", Agent.of(learned.trainer, world, trial.curve()))
    return metrics | {
        "greedy_reward": learned.late_score().item(),
        **action_value_errors(learned.trainer.learner.q_net, world, table, config.q.gamma),
    }


def model_metrics(
    config: Offline, model: TransitionModel, table: Transitions, permuted: int | None, trial: Trial
) -> dict[str, Value]:
    """Measure the model on its own table and on fresh transitions, and draw one of its rollouts."""
    metrics: dict[str, Value] = {"unexplained": unexplained(model, table)}
    world, fresh = collect_table(config, permuted, short_seed(trial, "fresh table"))
    errors = model_errors(model, fresh, 10, world.binary)
    metrics["reward_rmse"] = errors.reward[0]
    if world.binary:
        trial.show(*picture_of_rollout(model, fresh, 40))
        metrics |= {"wrong_bits_1": errors.observation[0], "wrong_bits_10": errors.observation[-1]}
    return metrics


def across(arms: Mapping[str, Mapping[str, Any]]) -> dict[str, Value]:
    """Compare what the model adds to replay with factored states and with scrambled ones."""

    def gain(model: str, replay: str) -> float | None:
        with_model, without = arms[model].get("greedy_reward"), arms[replay].get("greedy_reward")
        return None if with_model is None or without is None else with_model - without

    factored, scrambled = gain("model", "replay"), gain("model-scrambled", "replay-scrambled")
    if factored is None or scrambled is None:
        return {"gain_of_factors": None}
    return {"gain_of_factors": factored - scrambled}
