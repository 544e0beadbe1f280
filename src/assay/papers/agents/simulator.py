"""Sources of rollouts, and the environment itself as one: the reference that no learned model can beat."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from assay.errors import InputError
from assay.papers.agents.dqn import Policy
from assay.papers.agents.transitions import Transitions
from assay.papers.agents.worlds import World


@runtime_checkable
class RolloutSource(Protocol):
    """Whatever gives the transitions that a policy would see after given observations."""

    def rollout(self, obs: Tensor, policy: Policy, horizon: int) -> Transitions:
        """Follow the policy for `horizon` steps from each observation."""


def check_horizon(horizon: int) -> None:
    """Refuse a rollout of no steps."""
    if horizon < 1:
        raise InputError(f"the horizon of a rollout is {horizon}: give at least 1 step.")


class SimulatorModel:
    """The environment itself as a model: rollouts from observations of the past, weight 0 after an end.

    Args:
        world: any world of the environment.
        seed: of its randomness.
    """

    def __init__(self, world: World, seed: int = 0) -> None:
        self.world, self.seed, self.continuing = world, seed, world.continuing
        self._worlds: dict[int, World] = {}

    def rollout(self, obs: Tensor, policy: Policy, horizon: int) -> Transitions:
        """Follow the policy for `horizon` steps from each observation [*stack, n, d].

        Raises:
            InputError: the horizon is not at least 1.
        """
        check_horizon(horizon)
        world = self._world(obs.shape[:-1].numel())
        world.start_from(obs.reshape(-1, obs.shape[-1]))
        alive, parts = torch.ones(obs.shape[:-1]), []
        for _ in range(horizon):
            action = policy(obs)
            step = world.step(action.reshape(-1))
            following, now = step.next_obs.view(obs.shape), step.obs.view(obs.shape)
            reward, terminated, truncated = (
                flag.view(alive.shape) for flag in (step.reward, step.terminated, step.truncated)
            )
            parts.append(Transitions(obs, action, reward, following, 1 - terminated, alive))
            alive = alive * (1 - terminated) * (1 - truncated)
            obs = now
        return Transitions.joined(parts)

    def _world(self, size: int) -> World:
        if size not in self._worlds:
            self._worlds[size] = self.world.of_size(size)
            self._worlds[size].reset(self.seed)
        return self._worlds[size]
