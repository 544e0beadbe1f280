"""The sets of the paper's theorem, on finite classes of deterministic models (Section 3, Fig. 1).

Data D leave two sets of optimal action-value functions: those of models that agree with D, and those that
satisfy the Bellman optimality equation on D. The first is part of the second.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float, Int

from assay.errors import InputError
from assay.papers.agents.exact import value_iteration


@dataclass(frozen=True)
class FiniteClass:
    """A class of deterministic models of the same states and actions.

    `next_state` [m, s, a] has the state to which each action leads in each model, and `reward` the reward:
    [m, s, a], or [s, a] if all models agree on it. `solved` keeps what `optimal_values` has
    computed, by gamma.
    """

    next_state: Int[np.ndarray, "m s a"]
    reward: Float[np.ndarray, ...]
    solved: dict[float, tuple[np.ndarray, np.ndarray]] = field(
        default_factory=dict, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        states = self.next_state.shape[1]
        if self.reward.shape not in (self.next_state.shape, self.next_state.shape[1:]):
            raise InputError(
                f"the rewards have the shape {self.reward.shape}: give {self.next_state.shape}, or"
                f" {self.next_state.shape[1:]} if all models agree on them."
            )
        if not ((self.next_state >= 0) & (self.next_state < states)).all():
            raise InputError(f"next_state has states outside 0 to {states - 1}: number the states from 0.")

    @property
    def size(self) -> int:
        """The number of models."""
        return len(self.next_state)

    def rewards(self) -> Float[np.ndarray, "m s a"]:
        """Return the rewards of every model."""
        return np.broadcast_to(self.reward, self.next_state.shape)

    def optimal_values(self, gamma: float) -> tuple[Float[np.ndarray, "q s a"], Int[np.ndarray, " m"]]:
        """Return the different optimal action-value functions, and which one each model has."""
        if gamma not in self.solved:
            values = value_iteration(self.next_state, self.rewards(), gamma)
            _, first, which = np.unique(
                values.reshape(self.size, -1).round(6), axis=0, return_index=True, return_inverse=True
            )
            self.solved[gamma] = values[first], which.reshape(-1)
        return self.solved[gamma]


@dataclass(frozen=True)
class Observed:
    """Deterministic transitions, one a row: states, actions, rewards and next states [n]."""

    state: Int[np.ndarray, " n"]
    action: Int[np.ndarray, " n"]
    reward: Float[np.ndarray, " n"]
    next_state: Int[np.ndarray, " n"]


@dataclass(frozen=True)
class ValueSets:
    """Which optimal value functions of a class the data leave, by either way of reading the data."""

    values: Float[np.ndarray, "q s a"]
    model_consistent: Bool[np.ndarray, " q"]
    bellman_consistent: Bool[np.ndarray, " q"]

    @property
    def included(self) -> bool:
        """Whether the first set is part of the second, as the theorem says."""
        return not bool((self.model_consistent & ~self.bellman_consistent).any())


def consistent_value_sets(
    models: FiniteClass, data: Observed, gamma: float = 0.9, tolerance: float = 1e-6
) -> ValueSets:
    """Compute both sets of the theorem.

    model consistent: { Q*_m : m in the class, m(s, a) = (r, s') on all of the data }
    Bellman consistent: { Q*_m : Q(s, a) = r + gamma max_a' Q(s', a') on all of the data }

    Args:
        models: the class.
        data: observed transitions.
        gamma: the discount, below 1.
        tolerance: how much the sides of an equation may differ.
    """
    values, which = models.optimal_values(gamma)
    rewards = models.rewards()
    agreeing, solving = np.arange(models.size), np.arange(len(values))
    for state, action, reward, following in zip(
        data.state, data.action, data.reward, data.next_state, strict=True
    ):
        agreeing = agreeing[models.next_state[agreeing, state, action] == following]
        agreeing = agreeing[np.abs(rewards[agreeing, state, action] - reward) <= tolerance]
        wanted = reward + gamma * values[solving, following].max(1)
        solving = solving[np.abs(values[solving, state, action] - wanted) <= tolerance]
    model_consistent, bellman_consistent = np.zeros((2, len(values)), dtype=bool)
    model_consistent[which[agreeing]] = True
    bellman_consistent[solving] = True
    return ValueSets(values, model_consistent, bellman_consistent)


def factored_transitions(bits: int, num_actions: int) -> Int[np.ndarray, "m s a"]:
    """Return all models in which each next bit is a function of one bit and the action.

    For b bits there are 2 + 2b such functions (0, 1, each bit, each bit's opposite), so (2 + 2b)^(b actions)
    models of 2^b states.
    """
    _check_count(bits, "bits", num_actions, (2 + 2 * bits) ** (bits * num_actions))
    states = np.arange(2**bits)
    seen = states[:, None] >> np.arange(bits) & 1
    functions = np.vstack([np.zeros_like(states), np.ones_like(states), seen.T, 1 - seen.T])
    one_action = np.array(
        [
            sum(functions[chosen] << place for place, chosen in enumerate(choice))
            for choice in itertools.product(range(len(functions)), repeat=bits)
        ]
    )
    return _for_each_action(one_action, num_actions)


def unstructured_transitions(states: int, num_actions: int) -> Int[np.ndarray, "m s a"]:
    """Return all deterministic models of so many states."""
    _check_count(states, "states", num_actions, states ** (states * num_actions))
    one_action = np.array(list(itertools.product(range(states), repeat=states)))
    return _for_each_action(one_action, num_actions)


def _check_count(size: int, what: str, num_actions: int, models: int) -> None:
    if size < 1 or num_actions < 1 or models > 10**6:
        raise InputError(
            f"{size} {what} and {num_actions} actions make {models} models: give at most a million of them."
        )


def _for_each_action(one_action: np.ndarray, num_actions: int) -> np.ndarray:
    picks = np.indices((len(one_action),) * num_actions).reshape(num_actions, -1)
    return np.stack([one_action[pick] for pick in picks], axis=2)
