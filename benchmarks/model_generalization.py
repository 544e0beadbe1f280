"""Speed of the environments and of stacked learners: `python benchmarks/model_generalization.py`.

Steps per second of the vectorised environments against gymnasium's own loop over one environment, and of one
update of eight stacked learners against eight updates of single ones. All take turns on one thread.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Callable

import gymnasium
import numpy as np
import torch

from assay.papers.agents.model_generalization.method import (
    BernoulliFactoredModel,
    DenseNet,
    DQNLearner,
    DynaTrainer,
    ReplayBuffer,
    Transitions,
    UniformPolicy,
    collect,
    open_world,
    stacked,
)
from timing import interleaved

COPIES = 4096
SINGLE_STEPS, VECTOR_STEPS = 2000, 20
ENVIRONMENTS = {
    "ProcMaze-v0": {"grid_size": 4},
    "ButtonGrid-v0": {"grid_size": 5},
    "PanFlute-v0": {"num_pipes": 5},
}
LEARNERS = 8


def environments() -> None:
    """Print steps per second, one environment at a time and many together."""
    print(f"steps per second, gymnasium's step loop and {COPIES} copies:")
    for name, arguments in ENVIRONMENTS.items():
        times = interleaved(
            {"single": single_loop(name, arguments), "vector": vector_loop(name, arguments)}, 5
        )
        single, vector = SINGLE_STEPS / times["single"], VECTOR_STEPS * COPIES / times["vector"]
        print(f"  {name:<14} {single:>10,.0f}   {vector:>12,.0f}   {vector / single:.0f} times")


def single_loop(name: str, arguments: dict[str, int]) -> Callable[[], None]:
    """Return a loop over one environment, without gymnasium's checks, with a reset at each end."""
    env = gymnasium.make(name, disable_env_checker=True, **arguments)
    env.reset(seed=0)
    actions = np.random.default_rng(0).integers(env.action_space.n, size=SINGLE_STEPS).tolist()

    def loop() -> None:
        for action in actions:
            _, _, terminated, truncated, _ = env.step(action)
            if terminated or truncated:
                env.reset()

    return loop


def vector_loop(name: str, arguments: dict[str, int]) -> Callable[[], None]:
    """Return a loop over many copies."""
    env = gymnasium.make_vec(name, num_envs=COPIES, **arguments)
    env.reset(seed=0)
    shape = (VECTOR_STEPS, COPIES)
    actions = np.random.default_rng(0).integers(env.single_action_space.n, size=shape)

    def loop() -> None:
        for action in actions:
            env.step(action)

    return loop


def learners() -> None:
    """Print the time of an update on rollouts of a model, for one learner and for stacked ones."""
    world = open_world("PanFlute-v0", num_pipes=4)
    table = collect(world, UniformPolicy(4), 400, seed=0)
    one = trainer(table, ())
    many = trainer(stacked([table] * LEARNERS), (LEARNERS,))
    times = interleaved(
        {
            "one": lambda: [one.update() for _ in range(50)],
            "many": lambda: [many.update() for _ in range(50)],
        }
    )
    single, together = (times[name] / 50 * 1e3 for name in ("one", "many"))
    print("an update with a rollout of 10 steps from 16 observations, networks of 64-64 units:")
    print(f"  {single:.2f} ms for one learner, {together:.2f} ms for {LEARNERS} stacked ones", end="")
    print(f": {LEARNERS * single / together:.1f} times as fast as one after another")


def trainer(table: Transitions, stack: tuple[int, ...]) -> DynaTrainer:
    """Return a trainer whose model stays as it is."""
    model = BernoulliFactoredModel(10, 4, (64, 64), continuing=True, stack=stack)
    learner = DQNLearner(DenseNet(10, 4, (64, 64), stack), learning_rate=1e-3, double=True)
    return DynaTrainer(learner, ReplayBuffer.of(table), model, batch_size=16, model_learning_rate=None)


if __name__ == "__main__":
    torch.set_num_threads(1)
    environments()
    learners()
