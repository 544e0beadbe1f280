"""Many copies of an environment in numpy as a gymnasium vector environment, and one copy behind `make`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, cast

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from jaxtyping import Bool, Float, Int

from assay.errors import InputError

Bits = Int[np.ndarray, "n bits"]
Indices = Int[np.ndarray, " n"]


class BatchedEnvironment(VectorEnv[np.ndarray, np.ndarray, np.ndarray]):
    """Copies of one environment that step together, with observations of bits and discrete actions.

    `step` returns what gymnasium's vector environments return, with the mode SAME_STEP: where an episode has
    ended, the observation is the first of the next one and `infos["final_obs"]` has the last one.
    An observation says everything about the state, so that `start_from(observations)` can put the copies into
    given states: that is how a rollout starts from an observation of the past.
    """

    continuing: ClassVar[bool]
    """Whether the task never ends; then reward per step counts, else the return of an episode."""
    metadata: dict[str, Any] = {"autoreset_mode": AutoresetMode.SAME_STEP, "render_modes": []}  # noqa: RUF012

    def __init__(self, num_envs: int, bits: int, num_actions: int) -> None:
        if num_envs < 1:
            raise InputError(f"num_envs is {num_envs}: give at least 1.")
        self.num_envs = num_envs
        self.single_observation_space = spaces.MultiBinary(bits)
        self.single_action_space = spaces.Discrete(num_actions)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._rows = np.arange(num_envs)

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Restart all copies; a seed makes all that follows repeatable."""
        if isinstance(seed, list):  # one generator serves all copies
            seed = seed[0]
        super().reset(seed=seed)
        self._begin(self._rows)
        return self._observe(), {}

    def step(self, actions: Indices) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Take one action in each copy: observations, rewards, terminations, truncations, infos."""
        rewards, ended = self._advance(np.asarray(actions))
        infos: dict[str, Any] = {}
        observations = self._observe()
        if ended.any():
            infos = {"final_obs": observations, "_final_obs": ended}
            self._begin(np.flatnonzero(ended))
            observations = self._observe()
        return observations, rewards, ended, np.zeros(self.num_envs, dtype=bool), infos

    def start_from(self, observations: Bits) -> None:
        """Put each copy into the state that an observation shows."""
        raise NotImplementedError

    def _begin(self, rows: Indices) -> None:
        """Draw first states for some copies."""
        raise NotImplementedError

    def _advance(self, actions: Indices) -> tuple[Float[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
        """Move all copies; return rewards and whether the episode has ended."""
        raise NotImplementedError

    def _observe(self) -> Bits:
        """Return observations that later steps leave alone."""
        raise NotImplementedError


class SingleEnvironment(gymnasium.Env[np.ndarray, np.integer[Any]]):
    """One copy of a batched environment behind gymnasium's usual interface."""

    batched: ClassVar[type[BatchedEnvironment]]
    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012

    def __init__(self, **arguments: Any) -> None:
        self._copies = self.batched(1, **arguments)
        self.continuing = self._copies.continuing
        self.observation_space = self._copies.single_observation_space
        self.action_space = self._copies.single_action_space

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start a new episode."""
        super().reset(seed=seed)
        self._copies.np_random = self.np_random
        self._copies._begin(np.zeros(1, dtype=np.int64))
        return self._copies._observe()[0], {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Take an action: observation, reward, whether the episode has ended, never truncated, no infos."""
        rewards, ended = self._copies._advance(np.asarray(action).reshape(1))
        return self._copies._observe()[0], float(rewards[0]), bool(ended[0]), False, {}


def register_all(environments: Mapping[str, type[SingleEnvironment]]) -> None:
    """Make environments known to `gymnasium.make` and `gymnasium.make_vec`; a name that is known stays."""
    for name, single in environments.items():
        if name not in gymnasium.registry:
            gymnasium.register(name, entry_point=single, vector_entry_point=cast(Any, single.batched))


def probability(name: str, given: float | None, default: float) -> float:
    """Return a probability as given, or its default."""
    if given is not None and not 0 <= given <= 1:
        raise InputError(f"{name} is {given}: give a probability, 0 to 1.")
    return default if given is None else given
