"""What a policy does in many copies of an environment at once: the transitions, and the score."""

from __future__ import annotations

import torch
from torch import Tensor

from assay.papers.agents.dqn import Policy
from assay.papers.agents.transitions import Transitions
from assay.papers.agents.worlds import World


def collect(world: World, policy: Policy, steps: int, seed: int | None = None) -> Transitions:
    """Act for `steps` steps in every copy; return the rows, those of a copy in the order of time.

    Rows of truncated steps have continuation 1: the episode was cut short and did not end.
    """
    obs, parts = world.reset(seed), []
    for _ in range(steps):
        action = policy(obs)
        step = world.step(action)
        parts.append(
            Transitions(obs, action, step.reward, step.next_obs, 1 - step.terminated, torch.ones(len(obs)))
        )
        obs = step.obs
    rows = Transitions.joined(parts)
    order = torch.arange(rows.rows).view(steps, world.num_envs).T.reshape(-1)
    return rows.part(order)


def evaluate(
    policy: Policy, world: World, steps: int = 100, seed: int | None = None, sets: int | None = None
) -> Tensor:
    """Let a policy act for `steps` steps in every copy and score it.

    The score is the reward per step in a continuing task, else the return up to the first end of an episode;
    the mean over copies. With `sets`, the copies are divided among so many stacked networks: [sets] scores.
    """
    obs = world.reset(seed)
    shape = (world.num_envs,) if sets is None else (sets, world.num_envs // sets)
    total, alive = torch.zeros(shape), torch.ones(shape)
    for _ in range(steps):
        step = world.step(policy(obs.view(*shape, -1)).reshape(-1))
        total += alive * step.reward.view(shape)
        if not world.continuing:
            alive = alive * (1 - torch.maximum(step.terminated, step.truncated).view(shape))
        obs = step.obs
    return total.mean(-1) / (steps if world.continuing else 1)
