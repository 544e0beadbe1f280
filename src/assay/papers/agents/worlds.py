"""Any discrete gymnasium environment as what learners act in: many copies, flat observations as tensors.

A `World` separates what is often mixed up at the end of an episode: `Step.next_obs` is what an action led to,
`Step.obs` what the next action is chosen on (after a reset, the first observation of the new episode).
"""

from __future__ import annotations

import copy
import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, runtime_checkable

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from assay.errors import InputError, nearest
from assay.own import import_module, import_own
from assay.papers.agents import environments as environments  # so that their names are known to gymnasium
from assay.papers.agents.options import Environment
from assay.papers.agents.permutation import StatePermutation
from assay.papers.agents.vectorised import BatchedEnvironment

Make: TypeAlias = Callable[..., "gymnasium.Env[Any, Any]"]
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

    `actions`: what the environment calls each action, while learners count them from 0; `continuing`: the
    task never ends; `binary`: observations are bits.
    """

    observation_size: int
    num_actions: int
    actions: Sequence[int]
    continuing: bool
    binary: bool


@runtime_checkable
class World(Sizes, Protocol):
    """Copies of an environment that act together."""

    num_envs: int

    def reset(self, seed: int | None = None) -> Tensor:
        """Restart all copies and return their observations [n, d]."""

    def step(self, actions: Tensor) -> Step:
        """Take one action in each copy."""

    def start_from(self, obs: Tensor) -> None:
        """Put each copy into the state that an observation was seen in."""

    def of_size(self, num_envs: int) -> World:
        """Return another world of the same environment."""


class VectorWorld:
    """A world of a batched environment, with its states permuted or not.

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
        self.actions: Sequence[int] = range(self.num_actions)
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
        continuing: whether the task never ends; an environment may also say so by an attribute of that name.
        permutation: what is done to every observation, which must then be of bits.
        remember: whether to keep a copy at every observation.
        kept: copies that another world has kept.
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
        self.make, self.num_envs = make, num_envs
        self.permutation, self.remember = permutation, remember
        self.kept = OrderedDict() if kept is None else kept
        self.envs = [make() for _ in range(num_envs)]
        self.continuing = continuing or bool(getattr(self.envs[0].unwrapped, "continuing", False))
        actions = self.envs[0].action_space
        if not isinstance(actions, spaces.Discrete):
            raise InputError(
                f"the action space is {actions}: give an environment with spaces.Discrete actions,"
                " or wrap yours so that its actions are a list of choices."
            )
        self.num_actions = int(actions.n)
        self.actions: Sequence[int] = range(int(actions.start), int(actions.start) + self.num_actions)
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
        raw, reward, terminated, truncated, _ = env.step(self.actions[action])
        next_obs, earned = self._seen(raw), float(reward)
        if not math.isfinite(earned):
            raise InputError(f"the environment gave the reward {earned}: rewards must be finite numbers.")
        if terminated or truncated:
            return next_obs, earned, terminated, truncated, self._begin(env)
        self._keep(next_obs, env)
        return next_obs, earned, terminated, truncated, next_obs

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
        if not np.isfinite(flat).all():
            raise InputError(f"the environment gave an observation that is not finite: {raw}.")
        if self.permutation is not None:
            flat = self.permutation(flat[None])[0]
        return torch.from_numpy(flat.astype(np.float32))


def _key(obs: Tensor) -> bytes:
    return obs.numpy().tobytes()


def open_world(
    env: str | gymnasium.Env[Any, Any] | Make,
    num_envs: int = 1,
    *,
    continuing: bool = False,
    permuted: int | None = None,
    **arguments: Any,
) -> World:
    """Open an environment: its name in gymnasium, one that is there, or a function that makes one.

    Args:
        env: a name such as `CartPole-v1`; what `gymnasium.make` returned, which is copied and left as it is;
            or a function that returns an environment.
        num_envs: copies that act together.
        continuing: whether the task never ends. An environment may also say so by an attribute of that name.
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
    make = _maker(env, arguments)
    _made(make)
    world = CopiedWorld(make, num_envs, continuing)
    if permuted is not None:
        if not world.binary:
            raise InputError(f"states can only be permuted where observations are bits, not {world.space}.")
        world.permutation = StatePermutation(world.observation_size, permuted)
    return world


def _maker(env: Any, arguments: dict[str, Any]) -> Make:
    """Return what makes one environment."""
    if isinstance(env, gymnasium.Env) and arguments:
        raise InputError(f"{env} is made already and takes no arguments: give its name, or leave them out.")
    if not (isinstance(env, str | gymnasium.Env) or callable(env)):
        raise InputError(
            f"{env} is a {type(env).__name__}: give a name in gymnasium, a gymnasium environment, or a"
            " function that returns one."
        )

    def make() -> gymnasium.Env[Any, Any]:
        if isinstance(env, gymnasium.Env):
            return copy.deepcopy(env)
        made: Any = gymnasium.make(env, **arguments) if isinstance(env, str) else env(**arguments)
        if not isinstance(made, gymnasium.Env):
            raise InputError(f"{env} gave a {type(made).__name__}: it must return a gymnasium environment.")
        return made

    return make


def _made(make: Callable[[], Any]) -> Any:
    """Make an environment once, and say in a line what is wrong with its name or its arguments."""
    try:
        return make()
    except gymnasium.error.Error as error:
        name = str(error).split("`")[1] if "`" in str(error) else ""
        raise InputError(f"gymnasium cannot make it: {error}{nearest(name, gymnasium.registry)}") from None
    except TypeError as error:
        raise InputError(f"the environment does not take these arguments: {error}") from None


def open_environment(
    options: Environment, num_envs: int = 1, permuted: int | None = None, remember: bool = False
) -> World:
    """Open the environment of a config.

    Args:
        options: the environment, with a source.
        num_envs: copies that act together.
        permuted: the seed of a permutation of the states.
        remember: whether rollouts of the simulator will start from what was seen.
    """
    if options.source is None:
        raise InputError("--env is missing: name an environment of gymnasium, or MODULE:FUNCTION.")
    world = open_world(
        find_environment(options.source),
        num_envs,
        continuing=bool(options.continuing),
        permuted=permuted,
        **options.keywords(),
    )
    if isinstance(world, CopiedWorld):
        world.remember = remember
    return world


def find_environment(source: str) -> str | Make:
    """Return the function that MODULE:FUNCTION names; any other name is left to gymnasium.

    Raises:
        InputError: there is no such module, neither installed nor in the working folder, or no such function
            in it.
    """
    _, colon, attribute = source.partition(":")
    if not colon:
        return source
    if "-v" in attribute:  # gymnasium's own MODULE:NAME, whose module registers the name
        import_module(source, "--env")
        return source
    made: Make = import_own(source, "--env")
    if not callable(made):
        raise InputError(f"--env {source} is {made!r}: name a function that returns an environment.")
    return made
