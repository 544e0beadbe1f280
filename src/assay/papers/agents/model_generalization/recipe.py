"""How it is run: on fixed tables, online, on the user's own data, and the theorem on finite classes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from assay.errors import InputError
from assay.paper import Value
from assay.papers.agents.model_generalization.agent import Agent
from assay.papers.agents.model_generalization.config import Fit, Learn, Offline, Online, Theorem
from assay.papers.agents.model_generalization.measuring import (
    action_value_errors,
    model_errors,
    picture_of_rollout,
    random_score,
    unexplained,
)
from assay.papers.agents.model_generalization.method import (
    FiniteClass,
    Observed,
    ReplayBuffer,
    TransitionModel,
    consistent_value_sets,
    evaluate,
    factored_transitions,
    fit_model,
    unstructured_transitions,
)
from assay.papers.agents.model_generalization.published import tuned
from assay.papers.agents.model_generalization.settings import PAN_FLUTE, PROC_MAZE, model_of, world_of
from assay.papers.agents.model_generalization.tables import TableWorld, read_transitions, split_in_time
from assay.papers.agents.model_generalization.training import (
    candidates,
    collect_table,
    fit_on,
    late_score,
    learn_on,
    learn_online,
    q_trainer,
    search_offline,
    search_online,
    source_on,
)
from assay.trial import Trial, derive_seed

# --- a fixed table ------------------------------------------------------------------------------


def offline(config: Offline, trial: Trial) -> dict[str, Value]:
    """Learn Q from a fixed table: from its rows, from a model learned on it, or from the simulator."""
    config = dataclasses.replace(config, env=config.env.or_else(PAN_FLUTE))
    if config.scrambled and not world_of(config.env).binary:
        return not_scrambled(trial)
    permuted = short_seed(trial, "permutation") if config.scrambled else None
    world, table = collect_table(config, permuted, short_seed(trial, "table"))
    trial.count("environment_steps", table.rows)
    if config.source == "random":
        return {"greedy_reward": random_score(config.env, config.judging, short_seed(trial, "judging"))}

    trial.progress("search")
    scores = dict(
        zip(
            candidates(config.search),
            trial.once("search", search_offline, config, seedless=True),
            strict=True,
        )
    )
    best = trial.tune(scores, fit=lambda candidate: scores[candidate], metric=lambda score: score).candidate

    trial.progress("learning")
    metrics: dict[str, Value] = {}
    model = None
    if config.source == "model":
        generator = trial.generator("model")
        model = fit_on(config, world, table, (), generator)
        trial.count("model_steps", config.dynamics.steps)
        metrics |= model_metrics(config, model, table, permuted, trial)

    torch.manual_seed(short_seed(trial, "q"))  # every source starts from the same network
    source = source_on(config, world, model, short_seed(trial, "simulator"))
    trainer, found = learn_on(
        config,
        world,
        table,
        source,
        best,
        (),
        short_seed(trial, "learning"),
        log=lambda step, score, losses: trial.log(step, greedy_reward=score.item(), **losses),
    )
    trial.count("q_updates", config.updates)
    trial.count("q_rows", config.updates * config.q.batch_size * config.q.rollout_length)
    trial.save("agent", Agent.of(trainer, world, trial.curve()))
    return metrics | {
        "greedy_reward": late_score(found).item(),
        **action_value_errors(trainer.learner.q_net, world, table, config.q.gamma),
    }


def not_scrambled(trial: Trial) -> dict[str, Value]:
    """Return that there is nothing to measure: only states of bits can be scrambled."""
    trial.progress("states can only be scrambled where observations are bits")
    for name in ("environment_steps", "q_updates", "q_rows", "candidates"):
        trial.count(name, 0)
    return {"greedy_reward": None}


def model_metrics(
    config: Offline, model: TransitionModel, table: Any, permuted: int | None, trial: Trial
) -> dict[str, Value]:
    """Measure the model on its own table and on fresh transitions, and draw one of its rollouts."""
    metrics: dict[str, Value] = {"unexplained": unexplained(model, table)}
    world, fresh = collect_table(config, permuted, short_seed(trial, "fresh table"))
    errors = model_errors(model, fresh, 10, world.binary)
    metrics["reward_rmse"] = errors["reward"][0]
    if world.binary:
        trial.show(*picture_of_rollout(model, fresh, 40))
        metrics |= {"wrong_bits_1": errors["observation"][0], "wrong_bits_10": errors["observation"][-1]}
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


# --- online -------------------------------------------------------------------------------------


def online(config: Online, trial: Trial) -> dict[str, Value]:
    """Act and learn, with equally many updates on equally many transitions whatever their source."""
    config = dataclasses.replace(config, env=config.env.or_else(PROC_MAZE))
    if config.scrambled and not world_of(config.env).binary:
        return not_scrambled(trial)
    if config.tuning == "search":
        trial.progress("search")
        scored = trial.once("search", search_online, config, seedless=True)
        scores = dict(zip(candidates(config.search), scored, strict=True))
    else:
        assert config.env.source is not None
        chosen = tuned(config.env.source, config.source, config.dynamics.kind, config.updates_per_step)
        scores = {chosen: 0.0}
    best = trial.tune(scores, fit=lambda candidate: scores[candidate], metric=lambda score: score).candidate
    torch.manual_seed(short_seed(trial, "networks"))
    permuted = short_seed(trial, "permutation") if config.scrambled else None
    seed = short_seed(trial, "acting")
    trainer, world, found = learn_online(config, config.steps, best, seed, permuted, trial.log)
    updates = max(0, config.steps - config.learning_starts + 1) * config.updates_per_step
    trial.count("environment_steps", config.steps)
    trial.count("q_updates", updates)
    trial.count("q_rows", updates * config.q.batch_size * config.q.rollout_length)
    trial.save("agent", Agent.of(trainer, world, trial.curve()))
    if not found:
        raise InputError(f"--steps {config.steps} is below --judging.every {config.judging.every}: no score.")
    uniform = random_score(config.env, config.judging, short_seed(trial, "judging"))
    return {"greedy_reward": late_score(found).item(), "random_reward": uniform}


# --- on the user's own environment and transitions ----------------------------------------------


def learn(config: Learn, trial: Trial) -> dict[str, Value]:
    """Learn online in an environment, and keep the networks, the curve and the model's errors."""
    config = dataclasses.replace(config, env=config.env.or_else(PAN_FLUTE))
    if config.steps < config.judging.every:
        raise InputError(
            f"--steps {config.steps} is below --judging.every {config.judging.every}, so nothing would be"
            " scored: raise the first or lower the second."
        )
    torch.manual_seed(short_seed(trial, "networks"))
    seed = short_seed(trial, "acting")
    pair = (config.learning_rate, config.temperature)
    trainer, world, found = learn_online(config, config.steps, pair, seed, log=trial.log)
    errors = None
    if isinstance(trainer.source, TransitionModel):
        recent = trainer.buffer.rows()
        errors = model_errors(trainer.source, recent, config.horizon, world.binary)
    trial.save("agent", Agent.of(trainer, world, trial.curve(), errors))
    uniform = random_score(config.env, config.judging, short_seed(trial, "judging"))
    return {"greedy_reward": late_score(found).item(), "random_reward": uniform}


def fit(config: Fit, trial: Trial) -> dict[str, Value]:
    """Learn Q from given transitions; keep the networks, the curve and the model's errors."""
    table = read_transitions(config.data, config.arrays)
    world = TableWorld(table, continuing=bool(config.env.continuing))
    judge = None
    if config.env.source:
        judge = world_of(config.env, config.judging.episodes)
        world.check_like(judge)
        world.continuing = judge.continuing
    train, held_out = split_in_time(table, config.held_out)
    generator = trial.generator("fit")
    buffer, source = ReplayBuffer.of(train), None
    torch.manual_seed(short_seed(trial, "networks"))
    if config.source == "model":
        source = model_of(config.dynamics, world, generator)
        losses = fit_model(
            source,
            train,
            config.dynamics.steps,
            held_out=config.dynamics.held_out,
            batch_size=config.dynamics.batch_size,
            learning_rate=config.dynamics.learning_rate,
            generator=generator,
        )
        trial.log(0, model_loss=losses[-1])
    pair = (config.learning_rate, config.temperature)
    trainer = q_trainer(config.q, world, buffer, source, pair, generator)
    found = []

    def score(step: int, losses: dict[str, float]) -> None:
        if judge is not None:
            found.append(evaluate(trainer.greedy(), judge, config.judging.steps, step))
            losses = losses | {"greedy_reward": found[-1].item()}
        trial.log(step, **losses)

    trainer.run_offline(
        config.updates, target_every=config.q.target_every, every=config.judging.every, callback=score
    )
    errors = None if source is None else model_errors(source, held_out, config.horizon, world.binary)
    trial.save("agent", Agent.of(trainer, world, trial.curve(), errors))
    return {"greedy_reward": late_score(found).item() if found else None}


# --- the theorem --------------------------------------------------------------------------------


def theorem(config: Theorem, trial: Trial) -> dict[str, Value]:
    """Count the optimal value functions that growing data leave, by models and by Bellman equations."""
    classes = trial.once(
        "classes", solve_class, config.structure, config.bits, config.num_actions, config.gamma, seedless=True
    )
    solved = {config.gamma: (classes["values"], classes["which"])}
    models = FiniteClass(classes["next_state"], classes["reward"], solved)
    truth = factored_transitions(config.bits, config.num_actions)
    random = trial.numpy("data")
    states, actions = truth.shape[1:]
    left, outside, apart, count = [], 0, 0, 0
    for size in range(1, states * actions + 1):
        for _ in range(config.draws):
            true = truth[random.integers(len(truth))]
            state, action = np.divmod(random.permutation(states * actions)[:size], actions)
            seen = Observed(state, action, models.reward[state, action], true[state, action])
            sets = consistent_value_sets(models, seen, config.gamma)
            kept = sets.model_consistent if config.keeps == "models" else sets.bellman_consistent
            outside += int((sets.model_consistent & ~sets.bellman_consistent).sum())
            apart += int((sets.bellman_consistent & ~sets.model_consistent).sum())
            left.append(float(kept.sum()))
            count += 1
    trial.count("data_sets", count)
    by_size = np.log(left).reshape(-1, config.draws).mean(1)
    for size, value in enumerate(by_size, start=1):
        trial.log(size, values_left=float(np.exp(value)))
    return {
        "values_left": float(np.exp(by_size.mean())),
        "values_outside": outside,
        "values_apart": apart if config.structure == "none" else None,
        "values_in_class": len(models.optimal_values(config.gamma)[0]),
    }


def solve_class(structure: str, bits: int, num_actions: int, gamma: float) -> dict[str, np.ndarray]:
    """Enumerate a class, whose reward is 1 in the state with all bits set, and solve all of its models."""
    if structure == "factored":
        next_state = factored_transitions(bits, num_actions)
    else:
        next_state = unstructured_transitions(2**bits, num_actions)
    reward = np.zeros(next_state.shape[1:])
    reward[-1] = 1.0
    values, which = FiniteClass(next_state, reward).optimal_values(gamma)
    return {"next_state": next_state, "reward": reward, "values": values, "which": which}


def short_seed(trial: Trial, name: str) -> int:
    """Return a seed of 31 bits for the stream `name`, as gymnasium takes them."""
    return derive_seed(trial.seed, name) % 2**31
