"""The options of the recipes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from assay.bounds import (
    NonNegativeInt,
    OpenShare,
    PositiveFloat,
    PositiveFloats,
    PositiveInt,
    Share,
    ShareBelowOne,
)
from assay.data import Table
from assay.errors import InputError
from assay.papers.agents.options import Arrays, Environment, Judging

Source = Literal["replay", "model", "simulator"]
ModelKind = Literal["auto", "bernoulli", "gaussian", "categorical-latent", "gaussian-latent"]
PAN_FLUTE = Environment("PanFlute-v0", ("num_pipes=4",))
PROC_MAZE = Environment("ProcMaze-v0", ("grid_size=4",))


@dataclass(frozen=True)
class QLearning:
    """The Q-learner, the same for every source of transitions."""

    hidden: tuple[int, ...] = (64, 64)
    """Units of each hidden layer."""
    gamma: Share = 0.9
    """Discount; below 1 where the task never ends."""
    double: bool = True
    """Whether the online network chooses the action of the target (double DQN)."""
    target_every: PositiveInt = 100
    """Updates (offline) or environment steps (online) between copies of the target network."""
    batch_size: PositiveInt = 16
    """Observations that rollouts start from; replay draws this times rollout_length transitions."""
    rollout_length: PositiveInt = 10
    """Steps of a rollout."""


@dataclass(frozen=True)
class WorldModel:
    """The learned model."""

    kind: ModelKind = "auto"
    """What it predicts: next bits, next numbers, or a latent state. By default bits where observations are
    bits, else numbers."""
    hidden: tuple[int, ...] = (64, 64)
    """Units of each hidden layer of each of its networks."""
    sampling: Literal["bernoulli", "threshold", "official_logit"] = "bernoulli"
    """How next bits are drawn: by their probability, the likelier value, or as the authors' code does."""
    learning_rate: PositiveFloat = 2e-3
    """Of Adam."""
    steps: PositiveInt = 2500
    """Gradient steps on a fixed table. Online there is one for each update of the Q-network."""
    batch_size: PositiveInt = 64
    """Transitions a step on a fixed table."""
    held_out: ShareBelowOne = 0.15
    """Share of a fixed table, its end, that chooses each network's weights among those of all its steps."""


@dataclass(frozen=True)
class Grid:
    """The search for a learning rate and a temperature, the same for every arm, on tables of its own."""

    learning_rates: PositiveFloats = (5e-4, 2e-3)
    """Of the Q-network's Adam."""
    temperatures: PositiveFloats = (0.1, 0.4)
    """Of the softmax policy that acts and rolls out."""
    tables: PositiveInt = 2
    """Tables (offline) or seeds (online) that each pair is tried on; no seed of the check uses them."""


@dataclass(frozen=True)
class Offline:
    """Options of `offline`."""

    env: Environment = PAN_FLUTE
    """The environment; PanFlute with 4 pipes."""
    source: Literal["replay", "model", "simulator", "random"] = "model"
    """Where the learner's transitions come from; random is a policy that learns nothing."""
    scrambled: bool = False
    """Whether a fixed random permutation of all states hides their factors (for observations of bits)."""
    collected: PositiveInt = 400
    """Transitions in the table, collected by a policy that acts uniformly at random."""
    times: PositiveInt = 1
    """Multiplies the table."""
    updates: PositiveInt = 3000
    """Gradient steps of the Q-network."""
    ahead: PositiveInt = 4
    """Updates whose rollouts are drawn at once, with the policy of the first of them."""
    q: QLearning = QLearning()
    """The Q-learner."""
    dynamics: WorldModel = WorldModel()
    """The learned model."""
    search: Grid = Grid()
    """The search for a learning rate and a temperature."""
    judging: Judging = Judging()
    """How the greedy policy is scored."""

    def __post_init__(self) -> None:
        if self.updates < 2 * self.judging.every:
            raise InputError(
                f"--updates {self.updates} gives fewer than two scores: raise it or lower --judging.every"
                f" ({self.judging.every})."
            )


@dataclass(frozen=True)
class Acting:
    """What `online` and `learn` have in common."""

    env: Environment = PAN_FLUTE
    """The environment; PanFlute with 4 pipes."""
    source: Source = "model"
    """Where the learner's transitions come from."""
    steps: PositiveInt = 10_000
    """Environment steps."""
    updates_per_step: PositiveInt = 1
    """Updates a step: 1 is the paper's high-data regime, 10 its low-data regime."""
    learning_starts: NonNegativeInt = 1000
    """Steps before the first update."""
    q: QLearning = QLearning(batch_size=32)
    """The Q-learner."""
    dynamics: WorldModel = WorldModel(learning_rate=1e-3)
    """The learned model."""
    judging: Judging = Judging(every=500)
    """How the greedy policy is scored."""

    def __post_init__(self) -> None:
        if self.steps < self.judging.every:
            raise InputError(
                f"--steps {self.steps} is below --judging.every {self.judging.every}, so nothing would be"
                " scored: raise the first or lower the second."
            )


@dataclass(frozen=True)
class Online(Acting):
    """Options of `online`."""

    env: Environment = PROC_MAZE
    """The environment; ProcMaze of 4 by 4 cells."""
    scrambled: bool = False
    """Whether a fixed random permutation of all states hides their factors (for observations of bits)."""
    steps: PositiveInt = 20_000
    tuning: Literal["published", "search"] = "published"
    """Learning rate and temperature: those of the authors' code for this environment, or from the search."""
    search_steps: PositiveInt = 5000
    """Environment steps of each run of the search."""
    q: QLearning = QLearning(hidden=(200, 200, 200), double=False, batch_size=32)
    dynamics: WorldModel = WorldModel(hidden=(200, 200, 200), learning_rate=2e-4)
    search: Grid = Grid()
    """The grid of the search."""


@dataclass(frozen=True)
class Kept:
    """What `learn` and `fit`, which keep the networks, have in common."""

    learning_rate: PositiveFloat = 1e-3
    """Of the Q-network's Adam."""
    temperature: PositiveFloat = 0.1
    """Of the softmax policy that acts and rolls out."""
    horizon: PositiveInt = 10
    """Steps after which the model's errors are measured, and all before."""


@dataclass(frozen=True)
class Learn(Kept, Acting):
    """Options of `learn`."""


@dataclass(frozen=True)
class Fit(Kept):
    """Options of `fit`."""

    data: Table = Table("parquet:transitions.parquet")
    """Transitions: obs and next_obs (lists of numbers), action, reward and terminal, which is true where the
    episode ended, not where it was cut short."""
    arrays: Arrays = Arrays()
    """An npz file instead of a table."""
    env: Environment = Environment()
    """The environment that the Q-network is scored in; by default it is not scored."""
    source: Literal["replay", "model"] = "model"
    """Where the learner's transitions come from: the table, or a model learned on it."""
    held_out: OpenShare = 0.1
    """Share of the table, its end, that the model is measured on and nothing learns from."""
    updates: PositiveInt = 4000
    """Gradient steps of the Q-network."""
    q: QLearning = QLearning()
    """The Q-learner."""
    dynamics: WorldModel = WorldModel()
    """The learned model."""
    judging: Judging = Judging(every=200)
    """How the greedy policy is scored."""


@dataclass(frozen=True)
class Theorem:
    """Options of `theorem`."""

    structure: Literal["factored", "none"] = "factored"
    """The class of models: each next bit is a function of one bit and the action, or any next state."""
    keeps: Literal["models", "values"] = "models"
    """What the data must agree with: a model, or the Bellman equation of its optimal values."""
    bits: PositiveInt = 2
    """Bits of a state."""
    num_actions: PositiveInt = 2
    """Actions."""
    gamma: ShareBelowOne = 0.9
    """Discount. Below 1, since the tasks never end."""
    draws: PositiveInt = 30
    """Data sets of each size, each from another model of the factored class."""
