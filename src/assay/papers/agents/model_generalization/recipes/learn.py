"""Online in the user's environment, to keep the networks."""

from __future__ import annotations

import torch

from assay.paper import Value
from assay.papers.agents.model_generalization.artefact import Agent
from assay.papers.agents.model_generalization.config import Learn
from assay.papers.agents.model_generalization.evaluation import model_errors, random_score
from assay.papers.agents.model_generalization.method import TransitionModel
from assay.papers.agents.model_generalization.training import Candidate, learn_online, short_seed
from assay.trial import Trial


def learn(config: Learn, trial: Trial) -> dict[str, Value]:
    """Learn online in an environment, and keep the networks, the curve and the model's errors."""
    torch.manual_seed(short_seed(trial, "networks"))
    candidate = Candidate(config.learning_rate, config.temperature)
    learned, world = learn_online(config, config.steps, candidate, short_seed(trial, "acting"))
    learned.log(trial)

    trainer, errors = learned.trainer, None
    if isinstance(trainer.source, TransitionModel):
        errors = model_errors(trainer.source, trainer.buffer.rows(), config.horizon, world.binary)
    trial.save("agent", Agent.of(trainer, world, trial.curve(), errors))
    uniform = random_score(config.env, config.judging, short_seed(trial, "judging"))
    return {"greedy_reward": learned.late_score().item(), "random_reward": uniform}
