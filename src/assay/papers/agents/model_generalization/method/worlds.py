"""Any discrete gymnasium environment as what learners act in: many copies, flat observations as tensors.

A `World` keeps apart what an episode's end often mixes up: `Step.next_obs` is always what the action led to,
`Step.obs` what the next action is chosen on (after a reset, the first observation of the new episode).
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, runtime_checkable

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from assay.errors import InputError, nearest
from assay.papers.agents.model_generalization.method.batched import BatchedEnvironment
from assay.papers.agents.model_generalization.method.learner import Policy
from assay.papers.agents.model_generalization.method.models import check_horizon
from assay.papers.agents.model_generalization.method.permutation import StatePermutation
from assay.papers.agents.model_generalization.method.transitions import Transitions

Make: TypeAlias = Callable[[], "gymnasium.Env[Any, Any]"]
CHECKPOINTS = 100_000
"""Copies of an environment that are kept to start rollouts from; the oldest go first."""


@dataclass(frozen=True)
class Step:
    """What one action did in each copy. Shapes: [n, d] for observations, [n] for the others."""

    next_obs: Tensor
    reward: Tensor
    terminated: Tensor
    truncated: Tensor
    obs: Tensor


@runtime_checkable
class Sizes(Protocol):
    """What networks for an environment are made from.

    `continuing`: the task never ends; `binary`: observations are bits.
    """

    observation_size: int
    num_actions: int
    continuing: bool
    binary: bool


@runtime_checkable
class World(Sizes, Protocol):
    """Copies of an environment that act together."""

    num_envs: int

    def reset(self, seed: int | None = None) -> Tensor:
        """Start all copies anew and return their observations [n, d]."""

    def step(self, actions: Tensor) -> Step:
        """Take one action in each copy."""

    def start_from(self, obs: Tensor) -> None:
        """Put each copy into the state that an observation was seen in."""

    def of_size(self, num_envs: int) -> World:
        """Return another world of the same environment."""


class VectorWorld:
    """A world of a vector environment of this package, with its states permuted or not.

    Args:
        make: makes the vector environment with a number of copies.
        num_envs: how many.
        permutation: what is done to every observation.
    """

    binary = True

    def __init__(
        self,
        make: Callable[[int], BatchedEnvironment],
        num_envs: int,
        permutation: StatePermutation | None = None,
    ) -> None:
        self.make, self.num_envs, self.permutation = make, num_envs, permutation
        self.env = make(num_envs)
        self.observation_size = int(self.env.single_observation_space.n)  # type: ignore[attr-defined]
        self.num_actions = int(self.env.single_action_space.n)  # type: ignore[attr-defined]
        self.continuing = self.env.continuing

    def reset(self, seed: int | None = None) -> Tensor:
        return self._seen(self.env.reset(seed=seed)[0])

    def step(self, actions: Tensor) -> Step:
        obs, reward, terminated, truncated, infos = self.env.step(actions.numpy())
        seen = self._seen(obs)
        next_obs = seen
        if "final_obs" in infos:
            ended = infos["_final_obs"]
            next_obs = seen.clone()
            next_obs[torch.from_numpy(ended)] = self._seen(infos["final_obs"][ended])
        rewards, ends, cuts = (
            torch.from_numpy(np.asarray(flag, dtype=np.float32)) for flag in (reward, terminated, truncated)
        )
        return Step(next_obs, rewards, ends, cuts, seen)

    def start_from(self, obs: Tensor) -> None:
        bits = obs.numpy().astype(np.int8)
        self.env.start_from(bits if self.permutation is None else self.permutation.inverse(bits))

    def of_size(self, num_envs: int) -> VectorWorld:
        return VectorWorld(self.make, num_envs, self.permutation)

    def _seen(self, bits: np.ndarray) -> Tensor:
        shown = bits if self.permutation is None else self.permutation(bits)
        return torch.from_numpy(shown.astype(np.float32))


class CopiedWorld:
    """A world of any gymnasium environment with discrete actions; observations are flattened.

    Rollouts start from deep copies of the environment that were kept while it acted (`remember`), each with a
    random stream of its own.

    Args:
        make: makes one environment.
        num_envs: how many.
        continuing: whether the task never ends.
        permutation: what is done to every observation, which must then be of bits.
        remember: whether to keep a copy at every observation.
    """

    def __init__(
        self,
        make: Make,
        num_envs: int = 1,
        continuing: bool = False,
        permutation: StatePermutation | None = None,
        remember: bool = False,
        kept: OrderedDict[bytes, gymnasium.Env[Any, Any]] | None = None,
    ) -> None:
        self.make, self.num_envs, self.continuing = make, num_envs, continuing
        self.permutation, self.remember = permutation, remember
        self.kept = OrderedDict() if kept is None else kept
        self.envs = [make() for _ in range(num_envs)]
        actions = self.envs[0].action_space
        if not isinstance(actions, spaces.Discrete):
            raise InputError(
                f"the action space is {actions}: give an environment with spaces.Discrete actions,"
                " or wrap yours so that its actions are a list of choices."
            )
        self.first_action, self.num_actions = int(actions.start), int(actions.n)
        self.space = self.envs[0].observation_space
        if not self.space.is_np_flattenable:
            raise InputError(f"the observation space {self.space} cannot be flattened into one vector.")
        flat = spaces.flatten_space(self.space)
        assert isinstance(flat, spaces.Box)
        self.observation_size = int(np.prod(flat.shape))
        whole = np.issubdtype(flat.dtype, np.integer) or flat.dtype == np.bool_
        self.binary = bool(whole and (flat.low >= 0).all() and (flat.high <= 1).all())
        self._random = np.random.default_rng(0)

    def reset(self, seed: int | None = None) -> Tensor:
        if seed is not None:
            self._random = np.random.default_rng(seed)
        return torch.stack([self._begin(env) for env in self.envs])

    def step(self, actions: Tensor) -> Step:
        results = [
            self._advance(env, int(action)) for env, action in zip(self.envs, actions.tolist(), strict=True)
        ]
        next_obs, *flags, obs = zip(*results, strict=True)
        rewards, ends, cuts = (torch.tensor(flag, dtype=torch.float32) for flag in flags)
        return Step(torch.stack(next_obs), rewards, ends, cuts, torch.stack(obs))

    def start_from(self, obs: Tensor) -> None:
        missing = [row for row in obs if _key(row) not in self.kept]
        if missing:
            raise InputError(
                "the simulator cannot start from an observation that this environment was not seen in."
                " Collect the transitions from the environment itself, with remember=True."
            )
        self.envs = [self._copy(self.kept[_key(row)]) for row in obs]

    def of_size(self, num_envs: int) -> CopiedWorld:
        return CopiedWorld(self.make, num_envs, self.continuing, self.permutation, False, self.kept)

    def _begin(self, env: gymnasium.Env[Any, Any]) -> Tensor:
        obs = self._seen(env.reset(seed=int(self._random.integers(2**31)))[0])
        self._keep(obs, env)
        return obs

    def _advance(self, env: gymnasium.Env[Any, Any], action: int) -> tuple[Tensor, float, bool, bool, Tensor]:
        raw, reward, terminated, truncated, _ = env.step(action + self.first_action)
        next_obs = self._seen(raw)
        if terminated or truncated:
            return next_obs, float(reward), terminated, truncated, self._begin(env)
        self._keep(next_obs, env)
        return next_obs, float(reward), terminated, truncated, next_obs

    def _keep(self, obs: Tensor, env: gymnasium.Env[Any, Any]) -> None:
        if self.remember:
            self.kept[_key(obs)] = copy.deepcopy(env)
            if len(self.kept) > CHECKPOINTS:
                self.kept.popitem(last=False)

    def _copy(self, env: gymnasium.Env[Any, Any]) -> gymnasium.Env[Any, Any]:
        fresh = copy.deepcopy(env)
        fresh.unwrapped.np_random = np.random.default_rng(int(self._random.integers(2**31)))
        return fresh

    def _seen(self, raw: Any) -> Tensor:
        flat = np.asarray(spaces.flatten(self.space, raw)).reshape(-1)
        if self.permutation is not None:
            flat = self.permutation(flat[None])[0]
        return torch.from_numpy(flat.astype(np.float32))


def _key(obs: Tensor) -> bytes:
    return obs.numpy().tobytes()


def open_world(
    env: str | Make,
    num_envs: int = 1,
    *,
    continuing: bool = False,
    permuted: int | None = None,
    **arguments: Any,
) -> World:
    """Open an environment by its name in gymnasium, or from a function that makes one.

    Args:
        env: a name such as `CartPole-v1`, or a function without arguments that returns an environment.
        num_envs: copies that act together.
        continuing: whether the task never ends. The environments of this package know it themselves.
        permuted: the seed of a permutation of the states, which must then be bits.
        arguments: of the environment.

    Raises:
        InputError: there is no such environment, its actions are not discrete, or it takes other arguments.
    """
    spec = gymnasium.registry.get(env) if isinstance(env, str) else None
    batched: Any = None if spec is None else spec.vector_entry_point
    if isinstance(batched, type) and issubclass(batched, BatchedEnvironment):
        vector = batched
        size = int(_made(lambda: vector(1, **arguments)).single_observation_space.n)
        permutation = None if permuted is None else StatePermutation(size, permuted)
        return VectorWorld(lambda count: vector(count, **arguments), num_envs, permutation)

    def make() -> gymnasium.Env[Any, Any]:
        made: Any = gymnasium.make(env, **arguments) if isinstance(env, str) else env(**arguments)
        if not isinstance(made, gymnasium.Env):
            raise InputError(f"{env} gave a {type(made).__name__}: it must return a gymnasium environment.")
        return made

    _made(make)
    world = CopiedWorld(make, num_envs, continuing)
    if permuted is not None:
        if not world.binary:
            raise InputError(f"states can only be permuted where observations are bits, not {world.space}.")
        world.permutation = StatePermutation(world.observation_size, permuted)
    return world


def _made(make: Callable[[], Any]) -> Any:
    """Make an environment once, and say in a line what is wrong with its name or its arguments."""
    try:
        return make()
    except gymnasium.error.Error as error:
        name = str(error).split("`")[1] if "`" in str(error) else ""
        raise InputError(f"gymnasium cannot make it: {error}{nearest(name, gymnasium.registry)}") from None
    except TypeError as error:
        raise InputError(f"the environment does not take these arguments: {error}") from None


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
    the mean over copies. With `sets`, the copies are dealt to as many stacked networks: [sets] scores.
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
