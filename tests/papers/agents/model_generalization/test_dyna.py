"""The trainer, online from every source."""

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from assay.errors import InputError
from assay.papers.agents.model_generalization import (
    BernoulliFactoredModel,
    DenseNet,
    DQNLearner,
    DynaTrainer,
    OnlineTraining,
    ReplayBuffer,
    compare_sources,
    open_world,
)


def test_online_training_solves_a_small_task_from_every_source():
    found = compare_sources(
        "PanFlute-v0",
        seeds=[0],
        sources=("replay", "model", "simulator"),
        training=OnlineTraining(
            steps=170, every=85, learning_starts=50, batch_size=8, rollout_length=5, hidden=(16,)
        ),
        num_pipes=2,
    )
    assert list(found.columns) == ["seed", "source", "step", "score"]
    assert len(found) == 6
    assert (found.groupby("source").score.max() > 0.3).sum() >= 2


class Counter(gymnasium.Env):
    """Counts from zero, which looks like a bit, to 3."""

    observation_space = spaces.Box(-10, 10, (2, 2), np.float32)
    action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.at = 0
        return np.zeros((2, 2), dtype=np.float32), {}

    def step(self, action):
        self.at += 1
        return np.full((2, 2), self.at, dtype=np.float32), 1.0, self.at == 3, False, {}


def test_numbers_that_look_like_bits_at_first_are_refused_when_they_come():
    world = open_world(Counter)
    model = BernoulliFactoredModel(4, 2, (4,))
    learner = DQNLearner(DenseNet(4, 2, (4,)))
    trainer = DynaTrainer(learner, ReplayBuffer(50, 4), model, learning_starts=100)
    with pytest.raises(InputError, match="these range from 2 to 2"):
        trainer.run(world, 30, seed=0)


def test_updates_begin_when_they_should_and_the_target_is_copied():
    world = open_world("PanFlute-v0", num_pipes=2)
    learner = DQNLearner(DenseNet(3, 2, (4,)), learning_rate=1e-2)
    trainer = DynaTrainer(
        learner, ReplayBuffer(50, 3), batch_size=2, rollout_length=2, learning_starts=6, updates_per_step=3
    )
    counted = []
    learner.update = lambda batch: counted.append(batch.rows) or 0.0
    trainer.run(world, 10)
    assert counted == [4] * 15
    assert trainer.buffer.size == 10
