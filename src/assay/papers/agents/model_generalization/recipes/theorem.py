"""The theorem on finite classes: what growing data leave, by models and by Bellman equations."""

from __future__ import annotations

import numpy as np

from assay.paper import Value
from assay.papers.agents.model_generalization.config import Theorem
from assay.papers.agents.model_generalization.method import (
    Observed,
    consistent_value_sets,
    factored_transitions,
)
from assay.papers.agents.model_generalization.stages import solve_class
from assay.trial import Trial


def theorem(config: Theorem, trial: Trial) -> dict[str, Value]:
    """Count the optimal value functions that growing data leave, by models and by Bellman equations."""
    models = trial.once(
        "classes", solve_class, config.structure, config.bits, config.num_actions, config.gamma, seedless=True
    )
    true_models = factored_transitions(config.bits, config.num_actions)
    random = trial.numpy("data")
    states, actions = true_models.shape[1:]
    left, outside, differing = [], 0, 0
    for size in range(1, states * actions + 1):
        for _ in range(config.draws):
            true = true_models[random.integers(len(true_models))]
            state, action = np.divmod(random.permutation(states * actions)[:size], actions)
            seen = Observed(state, action, models.reward[state, action], true[state, action])
            sets = consistent_value_sets(models, seen, config.gamma)
            kept = sets.model_consistent if config.keeps == "models" else sets.bellman_consistent
            outside += int((sets.model_consistent & ~sets.bellman_consistent).sum())
            differing += int((sets.bellman_consistent & ~sets.model_consistent).sum())
            left.append(float(kept.sum()))
    trial.count("data_sets", len(left))
    by_size = np.log(left).reshape(-1, config.draws).mean(1)
    for size, value in enumerate(by_size, start=1):
        trial.log(size, values_left=float(np.exp(value)))
    return {
        "values_left": float(np.exp(by_size.mean())),
        "values_outside": outside,
        "values_apart": differing if config.structure == "none" else None,
        "values_in_class": len(models.optimal_values(config.gamma)[0]),
    }
