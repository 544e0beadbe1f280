"""The paper's environments one at a time, as gymnasium knows them: `gymnasium.make("PanFlute-v0")`."""

from __future__ import annotations

from typing import Any, ClassVar, cast

import gymnasium
import numpy as np

from assay.papers.agents.model_generalization.method.batched import (
    BatchedEnvironment,
    VectorButtonGrid,
    VectorOpenGrid,
    VectorPanFlute,
    VectorProcMaze,
)


class SingleEnvironment(gymnasium.Env[np.ndarray, np.integer[Any]]):
    """One copy of a batched environment behind gymnasium's usual interface."""

    batched: ClassVar[type[BatchedEnvironment]]
    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012

    def __init__(self, **arguments: Any) -> None:
        self._copies = self.batched(1, **arguments)
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


class PanFlute(SingleEnvironment):
    """See `VectorPanFlute`."""

    batched = VectorPanFlute


class ProcMaze(SingleEnvironment):
    """See `VectorProcMaze`."""

    batched = VectorProcMaze


class ButtonGrid(SingleEnvironment):
    """See `VectorButtonGrid`."""

    batched = VectorButtonGrid


class OpenGrid(SingleEnvironment):
    """See `VectorOpenGrid`."""

    batched = VectorOpenGrid


ENVIRONMENTS: dict[str, type[SingleEnvironment]] = {
    "ProcMaze-v0": ProcMaze,
    "ButtonGrid-v0": ButtonGrid,
    "PanFlute-v0": PanFlute,
    "OpenGrid-v0": OpenGrid,
}


def register() -> None:
    """Make the environments known to `gymnasium.make` and `gymnasium.make_vec`."""
    for name, single in ENVIRONMENTS.items():
        if name not in gymnasium.registry:
            gymnasium.register(name, entry_point=single, vector_entry_point=cast(Any, single.batched))
