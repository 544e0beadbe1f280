"""Optimal action values, computed exactly: of finite deterministic models, and of PanFlute."""

from __future__ import annotations

from functools import reduce

import numpy as np
from jaxtyping import Float, Int

from assay.errors import InputError
from assay.papers.agents.dqn import check_discount
from assay.papers.agents.environments import VectorPanFlute, blown, pipe_ends

LARGEST = 6
"""Pipes of the largest PanFlute that is solved exactly: two million states."""


def pan_flute_values(
    env: VectorPanFlute, gamma: float
) -> tuple[Int[np.ndarray, "s bits"], Float[np.ndarray, "s actions"]]:
    """Solve PanFlute by value iteration.

    Returns:
        The bits of every state that can be reached from silence, and Q* of each action there.

    Raises:
        InputError: there are too many states, or gamma is not below 1.
    """
    if env.num_pipes > LARGEST or not 0 <= gamma < 1:
        raise InputError(
            f"PanFlute with {env.num_pipes} pipes and gamma {gamma} is not solved exactly: give at most"
            f" {LARGEST} pipes and 0 <= gamma < 1."
        )
    first, last = pipe_ends(env.num_pipes)
    place = 1 << np.arange(last[-1] + 1)
    codes = np.arange(1 << len(place))
    bits = (codes[:, None] & place > 0).astype(np.int8)
    reward: np.ndarray = bits[:, last].min(axis=1).astype(np.float64)
    usual = np.stack(
        [blown(bits, np.full(len(bits), action), first) @ place for action in range(env.num_pipes)], axis=1
    )
    lucky = usual | place[last].sum()
    values = np.zeros(len(bits))
    while True:
        q = reward[:, None] + gamma * (
            (1 - env.spontaneous) * values[usual] + env.spontaneous * values[lucky]
        )
        change, values = np.abs(q.max(axis=1) - values).max(), q.max(axis=1)
        if change <= 1e-10:
            break
    reached = np.zeros(len(bits), dtype=bool)
    front = np.zeros(1, dtype=np.int64)
    while front.size:
        reached[front] = True
        following = usual[front].ravel()
        if env.spontaneous:
            following = np.concatenate([following, lucky[front].ravel()])
        front = np.unique(following[~reached[following]])
    return bits[reached], q[reached]


def value_iteration(
    next_state: Int[np.ndarray, "m s a"], reward: Float[np.ndarray, "m s a"], gamma: float
) -> Float[np.ndarray, "m s a"]:
    """Return Q* of each model, to within 1e-9."""
    check_discount(gamma, continuing=True)
    models, states, actions = next_state.shape
    following = next_state.reshape(models, -1) + states * np.arange(models)[:, None]
    value = np.zeros((models, states))
    while True:
        q: np.ndarray = reward + gamma * value.take(following).reshape(next_state.shape)
        best = reduce(np.maximum, [q[..., action] for action in range(actions)])  # faster than q.max(2)
        change, value = np.abs(best - value).max(), best
        if change <= 1e-10:
            return q
