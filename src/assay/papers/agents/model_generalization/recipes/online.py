"""Online: equally many updates on equally many transitions, whatever their source."""

from __future__ import annotations

import torch

from assay.errors import InputError
from assay.paper import Value
from assay.papers.agents.model_generalization.artefact import Agent
from assay.papers.agents.model_generalization.config import Online
from assay.papers.agents.model_generalization.evaluation import not_scrambled, random_score
from assay.papers.agents.model_generalization.stages import search_online
from assay.papers.agents.model_generalization.training import (
    Candidate,
    candidates,
    learn_online,
    short_seed,
)
from assay.papers.agents.worlds import open_environment
from assay.trial import Trial

TUNED: dict[tuple[str, str], dict[str, tuple[float, float]]] = {
    ("ProcMaze-v0", "replay"): {"high": (5e-5, 0.1), "low": (2.5e-5, 1.6)},
    ("ProcMaze-v0", "observation"): {"high": (2e-4, 0.8), "low": (2.5e-5, 0.4)},
    ("ProcMaze-v0", "simulator"): {"high": (1e-4, 0.4), "low": (4e-4, 0.4)},
    ("ProcMaze-v0", "categorical-latent"): {"high": (2e-4, 1.6), "low": (1e-4, 0.8)},
    ("ProcMaze-v0", "gaussian-latent"): {"high": (3.1e-6, 12.8), "low": (3.1e-6, 0.8)},
    ("ButtonGrid-v0", "replay"): {"high": (5e-5, 0.0125), "low": (2.5e-5, 0.1)},
    ("ButtonGrid-v0", "observation"): {"high": (2e-4, 1.6), "low": (5e-5, 0.4)},
    ("ButtonGrid-v0", "simulator"): {"high": (2e-4, 0.0125), "low": (2e-4, 0.0125)},
    ("ButtonGrid-v0", "categorical-latent"): {"high": (1e-4, 0.05), "low": (2e-4, 0.1)},
    ("ButtonGrid-v0", "gaussian-latent"): {"high": (1.25e-5, 0.1), "low": (2.5e-5, 0.8)},
    ("PanFlute-v0", "replay"): {"high": (1e-4, 0.1), "low": (3.125e-6, 0.8)},
    ("PanFlute-v0", "observation"): {"high": (1e-4, 0.4), "low": (2e-4, 0.2)},
    ("PanFlute-v0", "simulator"): {"high": (2e-4, 0.1), "low": (1e-4, 0.1)},
    ("PanFlute-v0", "categorical-latent"): {"high": (8e-4, 0.05), "low": (1.6e-3, 0.05)},
    ("PanFlute-v0", "gaussian-latent"): {"high": (2e-4, 0.1), "low": (2e-4, 0.1)},
}
"""Learning rate of Q and temperature in the authors' code, by environment and source, in both regimes.

`observation` is the model that predicts the next observation itself.
"""


def online(config: Online, trial: Trial) -> dict[str, Value]:
    """Take the learner's settings from the authors or from a search, act and learn, and score the policy."""
    if config.scrambled and not open_environment(config.env).binary:
        return not_scrambled(trial)
    if config.tuning == "search":
        trial.progress("search")
        searched = trial.once("search", search_online, config, seedless=True)
        scores = dict(zip(candidates(config.search), searched, strict=True))
    else:
        env = config.env.source or ""
        scores = {tuned(env, config.source, config.dynamics.kind, config.updates_per_step): 0.0}
    best = trial.tune(scores, fit=scores.__getitem__, metric=lambda score: score).candidate

    torch.manual_seed(short_seed(trial, "networks"))
    permuted = short_seed(trial, "permutation") if config.scrambled else None
    learned, world = learn_online(config, config.steps, best, short_seed(trial, "acting"), permuted)
    learned.log(trial)

    updates = max(0, config.steps - config.learning_starts + 1) * config.updates_per_step
    trial.count("environment_steps", config.steps)
    trial.count("q_updates", updates)
    trial.count("q_rows", updates * config.q.batch_size * config.q.rollout_length)
    trial.save("agent", Agent.of(learned.trainer, world, trial.curve()))
    uniform = random_score(config.env, config.judging, short_seed(trial, "judging"))
    return {"greedy_reward": learned.late_score().item(), "random_reward": uniform}


def tuned(env: str, source: str, model: str, updates_per_step: int) -> Candidate:
    """Return the learning rate and the temperature.

    Raises:
        InputError: the authors have not tuned this environment.
    """
    simple = "observation" if model in ("auto", "bernoulli", "gaussian") else model
    found = TUNED.get((env, simple if source == "model" else source))
    if found is None:
        known = ", ".join(sorted({name for name, _ in TUNED}))
        raise InputError(
            f"the authors published no settings for {env}, only for {known}: add --tuning search."
        )
    return Candidate(*found["low" if updates_per_step >= 10 else "high"])
