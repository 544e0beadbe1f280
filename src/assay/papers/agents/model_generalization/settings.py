"""What the options stand for: worlds, networks and models."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from typing import Any

import torch

from assay.errors import InputError, nearest
from assay.papers.agents.model_generalization.config import Environment, WorldModel
from assay.papers.agents.model_generalization.method import (
    BernoulliFactoredModel,
    CategoricalLatentModel,
    CopiedWorld,
    GaussianLatentModel,
    GaussianModel,
    Sizes,
    TransitionModel,
    World,
    open_world,
)

PAN_FLUTE = Environment("PanFlute-v0", ("num_pipes=4",))
PROC_MAZE = Environment("ProcMaze-v0", ("grid_size=4",))


def world_of(
    env: Environment, num_envs: int = 1, permuted: int | None = None, remember: bool = False
) -> World:
    """Open the environment of the options.

    Args:
        env: with a source.
        num_envs: copies that act together.
        permuted: the seed of a permutation of states.
        remember: whether rollouts of the simulator will start from what was seen.
    """
    assert env.source is not None
    world = open_world(
        named(env.source),
        num_envs,
        continuing=bool(env.continuing),
        permuted=permuted,
        **env.keywords(),
    )
    if isinstance(world, CopiedWorld):
        world.remember = remember
    return world


def named(source: str) -> str | Callable[..., Any]:
    """Return the function that MODULE:FUNCTION names; any other name is left to gymnasium.

    Raises:
        InputError: there is no such module, or no such function in it.
    """
    module, colon, attribute = source.partition(":")
    if not colon:
        return source
    here = os.getcwd()
    sys.path.insert(0, here)
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not module.startswith(error.name):
            raise
        raise InputError(
            f"--env {source}: there is no module {module!r}, neither installed nor in {here}."
        ) from None
    finally:
        sys.path.remove(here)
    made = getattr(found, attribute, None)
    if callable(made):
        return made  # type: ignore[no-any-return]
    if "-v" in attribute:  # gymnasium's own MODULE:NAME, whose module registers the name
        return source
    raise InputError(
        f"--env {source}: {module!r} has no function {attribute!r}.{nearest(attribute, dir(found))}"
    )


def model_of(
    options: WorldModel, world: Sizes, generator: torch.Generator, stack: tuple[int, ...] = ()
) -> TransitionModel:
    """Make the model of the options for the observations of a world."""
    sizes = (world.observation_size, world.num_actions, options.hidden)
    common: dict[str, Any] = {"continuing": world.continuing, "generator": generator}
    kind = options.kind
    if kind == "auto":
        kind = "bernoulli" if world.binary else "gaussian"
    if kind == "bernoulli":
        return BernoulliFactoredModel(*sizes, next_obs_sampling=options.sampling, stack=stack, **common)
    if kind == "gaussian":
        return GaussianModel(*sizes, stack=stack, **common)
    latent = CategoricalLatentModel if kind == "categorical-latent" else GaussianLatentModel
    if stack:
        raise InputError(
            f"--dynamics.kind {kind} works online only (`online`, `learn`): choose another kind."
        )
    return latent(*sizes, binary=world.binary, **common)
