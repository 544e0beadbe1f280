"""From the user's transitions, to keep the networks."""

from __future__ import annotations

import torch

from assay.paper import Value
from assay.papers.agents.model_generalization.artefact import Agent
from assay.papers.agents.model_generalization.config import Fit
from assay.papers.agents.model_generalization.evaluation import model_errors
from assay.papers.agents.model_generalization.method import ReplayBuffer, TransitionModel
from assay.papers.agents.model_generalization.training import (
    Candidate,
    Learned,
    make_trainer,
    short_seed,
    train_model,
)
from assay.papers.agents.recordings import RecordedWorld, read_transitions, split_in_time
from assay.papers.agents.worlds import open_environment
from assay.trial import Trial


def fit(config: Fit, trial: Trial) -> dict[str, Value]:
    """Learn Q from given transitions or from a model of them; keep networks, curve and the model's errors."""
    recorded = RecordedWorld(
        read_transitions(config.data, config.arrays), continuing=bool(config.env.continuing)
    )
    judge = open_environment(config.env, config.judging.episodes) if config.env.source else None
    if judge:
        recorded.take_from(judge)
    train, held_out = split_in_time(recorded.rows, config.held_out)

    generator = trial.generator("fit")
    torch.manual_seed(short_seed(trial, "networks"))
    model: TransitionModel | None = None
    if config.source == "model":
        model, losses = train_model(config.dynamics, recorded, train, generator)
        trial.log(0, model_loss=losses[-1])
    trainer = make_trainer(
        config.q,
        recorded,
        ReplayBuffer.of(train),
        model,
        Candidate(config.learning_rate, config.temperature),
        model_learning_rate=None,
        generator=generator,
    )
    learned = Learned(trainer)
    score = (
        learned.scoring(judge, config.judging) if judge else lambda step, losses: trial.log(step, **losses)
    )
    trainer.run_offline(config.updates, every=config.judging.every, callback=score)
    learned.log(trial)

    errors = None if model is None else model_errors(model, held_out, config.horizon, recorded.binary)
    trial.save("agent", Agent.of(trainer, recorded, trial.curve(), errors))
    return {"greedy_reward": learned.late_score().item() if learned.points else None}
