"""The trainer of the paper: one Q-learner, and a source of its transitions that can be swapped."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from assay.papers.agents.dqn import (
    DQNLearner,
    GreedyPolicy,
    Policy,
    SoftmaxPolicy,
    decoupled_adam,
    gradient_step,
)
from assay.papers.agents.simulator import RolloutSource, check_horizon
from assay.papers.agents.transitions import ReplayBuffer, Transitions
from assay.papers.agents.worlds import World

from .models import BernoulliFactoredModel, TransitionModel, check_binary

Callback: TypeAlias = Callable[[int, dict[str, float]], None]
"""What is called with the number of updates or steps, and the last losses."""


class DynaTrainer:
    """Trains a Q-learner on real transitions, or on rollouts of a model or of the simulator.

    Whatever the source, an update is one Q step on `batch_size * rollout_length` transitions: real ones, or
    those of rollouts of `rollout_length` steps that follow the softmax policy of the current Q-network from
    `batch_size` observations of the buffer. A learned model takes one step on those rows first.

    Args:
        learner: the Q-learner.
        buffer: the real transitions.
        source: where the learner's transitions come from; `None` is the buffer itself.
        temperature: of the softmax policy, acting and in rollouts; [*stack] for stacked networks.
        rollout_length: steps of a rollout.
        batch_size: rows that a rollout starts from, and of a model step.
        model_learning_rate: of the model; `None` leaves a model as it is.
        ahead: updates whose rollouts are drawn at once, which is faster; the policy is then that of the first
            of them. Not with a model that learns.
        target_every: updates (on a fixed buffer) or environment steps between copies of the target network.
        updates_per_step: updates after each environment step, from step `learning_starts` on.
        learning_starts: environment steps before the first update.
        generator: the random stream.
    """

    def __init__(
        self,
        learner: DQNLearner,
        buffer: ReplayBuffer,
        source: RolloutSource | None = None,
        *,
        temperature: float | Tensor = 0.1,
        rollout_length: int = 10,
        batch_size: int = 32,
        model_learning_rate: float | None = 2e-4,
        ahead: int = 1,
        target_every: int = 100,
        updates_per_step: int = 1,
        learning_starts: int = 1000,
        generator: torch.Generator | None = None,
    ) -> None:
        check_horizon(rollout_length)
        self.learner, self.buffer, self.source, self.generator = learner, buffer, source, generator
        self.rollout_length, self.batch_size, self.target_every = rollout_length, batch_size, target_every
        self.updates_per_step, self.learning_starts = updates_per_step, learning_starts
        self._drawn: list[Transitions] = []
        self.policy = SoftmaxPolicy(learner.q_net, temperature, generator)
        self.encode: Callable[[Tensor], Tensor] = lambda obs: obs
        self.model_optimizer = None
        if isinstance(source, TransitionModel):
            self.encode = source.encode
            if model_learning_rate is not None:
                self.model_optimizer = decoupled_adam(source.parameters(), model_learning_rate, 1e-6)
        self.ahead = ahead if self.model_optimizer is None else 1

    def update(self) -> dict[str, float]:
        """Take one model step, if there is a model to train, and one Q step; return the losses."""
        losses: dict[str, float] = {}
        if self.source is None:
            batch = self.buffer.sample(self.batch_size * self.rollout_length, self.generator)
        elif self.model_optimizer is None:
            batch = self._rollouts(self.source)
        else:
            assert isinstance(self.source, TransitionModel)
            starts = self.buffer.sample(self.batch_size, self.generator)
            loss = self.source.loss(starts)["total"].sum()
            losses["model_loss"] = gradient_step(self.model_optimizer, loss)
            batch = self.source.rollout(starts.obs, self.policy, self.rollout_length)
        return losses | {"q_loss": self.learner.update(batch)}

    def _rollouts(self, source: RolloutSource) -> Transitions:
        """Return the rollouts of one update, from those that were drawn ahead."""
        if not self._drawn:
            updates = max(1, min(self.ahead, self.buffer.size // self.batch_size))
            starts = self.buffer.sample(updates * self.batch_size, self.generator)
            rows = source.rollout(starts.obs, self.policy, self.rollout_length)
            own = torch.arange(rows.rows).view(self.rollout_length, updates, self.batch_size)
            self._drawn = [rows.part(own[:, number].reshape(-1)) for number in range(updates)]
        return self._drawn.pop()

    @torch.no_grad()
    def act(self, obs: Tensor) -> Tensor:
        """Draw actions for observations."""
        return self.policy(self.encode(obs))

    def greedy(self) -> Policy:
        """Return the greedy policy on observations."""
        greedy = GreedyPolicy(self.learner.q_net)

        @torch.no_grad()
        def act(obs: Tensor) -> Tensor:
            return greedy(self.encode(obs))

        return act

    def run_offline(
        self, updates: int, *, every: int = 200, callback: Callback = lambda update, losses: None
    ) -> None:
        """Update on a fixed buffer; `callback(update, losses)` comes every `every` updates."""
        for number in range(1, updates + 1):
            losses = self.update()
            self._after(number, losses, every, callback)

    def _after(self, number: int, losses: dict[str, float], every: int, callback: Callback) -> None:
        if number % self.target_every == 0:
            self.learner.copy_target()
        if number % every == 0:
            callback(number, losses)

    def run(
        self,
        world: World,
        steps: int,
        *,
        every: int = 500,
        seed: int | None = None,
        callback: Callback = lambda step, losses: None,
    ) -> None:
        """Act for `steps` steps of every copy of the world, and learn from what happens.

        Args:
            world: where to act.
            steps: how many.
            every: steps between calls of `callback(step, losses)`.
            seed: of the world.
            callback: sees how the training goes.
        """
        obs = world.reset(seed)
        bits_only = isinstance(self.source, BernoulliFactoredModel) and not world.binary
        losses: dict[str, float] = {}
        for number in range(1, steps + 1):
            if bits_only:
                check_binary(obs)
            action = self.act(obs)
            step = world.step(action)
            self.buffer.add(obs, action, step.reward, step.next_obs, step.terminated)
            obs = step.obs
            if number >= self.learning_starts:
                for _ in range(self.updates_per_step):
                    losses = self.update()
            self._after(number, losses, every, callback)
