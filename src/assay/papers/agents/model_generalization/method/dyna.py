"""The trainer of the paper: one Q-learner, and a source of its transitions that can be swapped."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import pandas as pd
import torch
from torch import Tensor, nn

from assay.errors import InputError
from assay.papers.agents.model_generalization.method.learner import (
    DQNLearner,
    GreedyPolicy,
    Policy,
    SoftmaxPolicy,
    decoupled_adam,
)
from assay.papers.agents.model_generalization.method.models import (
    BernoulliFactoredModel,
    GaussianModel,
    RolloutSource,
    TransitionModel,
    check_binary,
    check_horizon,
)
from assay.papers.agents.model_generalization.method.networks import DenseNet
from assay.papers.agents.model_generalization.method.transitions import ReplayBuffer, Transitions
from assay.papers.agents.model_generalization.method.worlds import (
    CopiedWorld,
    Make,
    SimulatorModel,
    World,
    evaluate,
    open_world,
)

Source = Literal["replay", "model", "simulator"]


class DynaTrainer:
    """Trains a Q-learner on real transitions, or on rollouts of a model or of the simulator.

    Whatever the source, an update is one Q step on `batch_size * rollout_length` transitions: real ones, or
    those of rollouts of `rollout_length` steps that follow the softmax policy of the current Q-network from
    `batch_size` observations of the buffer. A learned model takes one step on those rows first.

    Args:
        learner: the Q-learner.
        buffer: the real transitions.
        source: where the learner's transitions come from; `None` is the buffer itself.
        temperature: of the softmax policy, acting and in rollouts; [*stack] for stacked networks.
        rollout_length: steps of a rollout.
        batch_size: rows that a rollout starts from, and of a model step.
        model_learning_rate: of the model; `None` leaves a model as it is.
        ahead: updates whose rollouts are drawn at once, which is faster; the policy is then that of the first
            of them. Not with a model that learns.
        generator: the random stream.
    """

    def __init__(
        self,
        learner: DQNLearner,
        buffer: ReplayBuffer,
        source: RolloutSource | None = None,
        *,
        temperature: float | Tensor = 0.1,
        rollout_length: int = 10,
        batch_size: int = 32,
        model_learning_rate: float | None = 2e-4,
        ahead: int = 1,
        generator: torch.Generator | None = None,
    ) -> None:
        check_horizon(rollout_length)
        self.learner, self.buffer, self.source, self.generator = learner, buffer, source, generator
        self.rollout_length, self.batch_size = rollout_length, batch_size
        self._drawn: list[Transitions] = []
        self.policy = SoftmaxPolicy(learner.q_net, temperature, generator)
        self.encode: Callable[[Tensor], Tensor] = lambda obs: obs
        self.model_optimizer = None
        if isinstance(source, TransitionModel):
            self.encode = source.encode
            if model_learning_rate is not None:
                self.model_optimizer = decoupled_adam(source.parameters(), model_learning_rate, 1e-6)
        self.ahead = ahead if self.model_optimizer is None else 1

    def update(self) -> dict[str, float]:
        """Take one model step, if there is a model to train, and one Q step; return the losses."""
        losses: dict[str, float] = {}
        if self.source is None:
            batch = self.buffer.sample(self.batch_size * self.rollout_length, self.generator)
        elif self.model_optimizer is None:
            batch = self._rollouts(self.source)
        else:
            assert isinstance(self.source, TransitionModel)
            starts = self.buffer.sample(self.batch_size, self.generator)
            loss = self.source.loss(starts)["total"].sum()
            self.model_optimizer.zero_grad()
            loss.backward()
            self.model_optimizer.step()
            losses["model_loss"] = loss.item()
            batch = self.source.rollout(starts.obs, self.policy, self.rollout_length)
        return losses | {"q_loss": self.learner.update(batch)}

    def _rollouts(self, source: RolloutSource) -> Transitions:
        """Return the rollouts of one update, from those that were drawn ahead."""
        if not self._drawn:
            updates = max(1, min(self.ahead, self.buffer.size // self.batch_size))
            starts = self.buffer.sample(updates * self.batch_size, self.generator)
            rows = source.rollout(starts.obs, self.policy, self.rollout_length)
            own = torch.arange(rows.rows).view(self.rollout_length, updates, self.batch_size)
            self._drawn = [rows.part(own[:, number].reshape(-1)) for number in range(updates)]
        return self._drawn.pop()

    def act(self, obs: Tensor) -> Tensor:
        """Draw actions for observations."""
        with torch.no_grad():
            return self.policy(self.encode(obs))

    def greedy(self) -> Policy:
        """Return the greedy policy on observations."""
        greedy = GreedyPolicy(self.learner.q_net)

        def act(obs: Tensor) -> Tensor:
            with torch.no_grad():
                return greedy(self.encode(obs))

        return act

    def run_offline(
        self,
        updates: int,
        *,
        target_every: int = 100,
        every: int = 200,
        callback: Callable[[int, dict[str, float]], None] = lambda step, losses: None,
    ) -> None:
        """Update on a fixed buffer; `callback(update, losses)` comes every `every` updates."""
        for number in range(1, updates + 1):
            losses = self.update()
            if number % target_every == 0:
                self.learner.copy_target()
            if number % every == 0:
                callback(number, losses)

    def run(
        self,
        world: World,
        steps: int,
        *,
        updates_per_step: int = 1,
        target_every: int = 100,
        learning_starts: int = 1000,
        every: int = 500,
        seed: int | None = None,
        callback: Callable[[int, dict[str, float]], None] = lambda step, losses: None,
    ) -> None:
        """Act for `steps` steps of every copy of the world, and learn from what happens.

        Args:
            world: where to act.
            updates_per_step: updates after each step, from step `learning_starts` on.
            target_every: steps between copies of the target network.
            learning_starts: steps before the first update.
            every: steps between calls of `callback(step, losses)`.
            seed: of the world.
        """
        obs = world.reset(seed)
        bits_only = isinstance(self.source, BernoulliFactoredModel) and not world.binary
        losses: dict[str, float] = {}
        for number in range(1, steps + 1):
            if bits_only:
                check_binary(obs)
            action = self.act(obs)
            step = world.step(action)
            self.buffer.add(obs, action, step.reward, step.next_obs, step.terminated)
            obs = step.obs
            if number >= learning_starts:
                for _ in range(updates_per_step):
                    losses = self.update()
            if number % target_every == 0:
                self.learner.copy_target()
            if number % every == 0:
                callback(number, losses)


def fit_model(
    model: TransitionModel,
    rows: Transitions,
    steps: int,
    *,
    held_out: float = 0.15,
    check_every: int = 100,
    batch_size: int = 64,
    learning_rate: float = 2e-3,
    generator: torch.Generator | None = None,
) -> list[float]:
    """Train a model on fixed rows, and keep what predicted the held-out ones best.

    A network that goes on for long learns chance events by heart, and a learner that trusts it then chases
    them. Networks that are trained apart (reward, continuation, observation; stacked models) are kept apart.

    Args:
        model: is trained in place.
        rows: transitions in the order of time, [*stack, n] for stacked models.
        steps: gradient steps.
        held_out: share of the rows, the last ones, that choose the weights; 0 keeps the last weights.
        check_every: steps between looks at the held-out rows.
        batch_size: rows a step.
        learning_rate: of Adam.
        generator: the random stream of the batches.

    Returns:
        The loss of every step, summed over stacked models.

    Raises:
        InputError: the model is a Bernoulli one and the observations are no bits, there are fewer rows than
            a batch takes, or none is left to hold out.
    """
    if isinstance(model, BernoulliFactoredModel):
        check_binary(rows.obs)
        check_binary(rows.next_obs)
    if not 0 <= held_out < 1:
        raise InputError(f"held_out is {held_out}: give a share, 0 to below 1.")
    cut = rows.rows - round(held_out * rows.rows)
    buffer, best = ReplayBuffer.of(rows.part(slice(cut))), None
    if cut < rows.rows:
        best = BestWeights(model, rows.part(slice(cut, None)))
    optimizer = decoupled_adam(model.parameters(), learning_rate, 1e-6)
    losses = []
    for number in range(1, steps + 1):
        loss = model.loss(buffer.sample(batch_size, generator))["total"].sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if best is not None and (number % check_every == 0 or number == steps):
            best.look()
    if best is not None:
        best.restore()
    return losses


class BestWeights:
    """Remembers the weights with the lowest held-out loss, for each part that is trained apart."""

    def __init__(self, model: TransitionModel, held_out: Transitions) -> None:
        self.model, self.held_out = model, held_out
        self.kept = [parameter.detach().clone() for parameter in model.parameters()]
        self.lowest: Tensor | None = None

    @torch.no_grad()
    def look(self) -> None:
        """Compare the present weights with those kept."""
        scores = self.model.scores(self.held_out)
        better = torch.ones_like(scores, dtype=torch.bool) if self.lowest is None else scores < self.lowest
        self.lowest = scores if self.lowest is None else torch.minimum(scores, self.lowest)
        for kept, parameter in zip(self.kept, self.model.parameters(), strict=True):
            chosen = better.view(*better.shape, *[1] * (parameter.ndim - better.ndim))
            kept.copy_(torch.where(chosen, parameter, kept))

    @torch.no_grad()
    def restore(self) -> None:
        """Give the model the weights that were kept."""
        for kept, parameter in zip(self.kept, self.model.parameters(), strict=True):
            parameter.copy_(kept)


def compare_sources(
    env: str | Make,
    seeds: Sequence[int],
    sources: Sequence[Source] = ("replay", "model"),
    *,
    steps: int = 5000,
    hidden: Sequence[int] = (64, 64),
    learning_rate: float = 1e-3,
    temperature: float = 0.1,
    gamma: float = 0.9,
    batch_size: int = 32,
    rollout_length: int = 10,
    every: int = 500,
    learning_starts: int = 500,
    continuing: bool = False,
    arguments: Mapping[str, Any] | None = None,
    make_q_net: Callable[[int, int], nn.Module] | None = None,
    **training: Any,
) -> pd.DataFrame:
    """Train the same learner online from each source, paired by seed, and score it as it goes.

    Args:
        env: a name in gymnasium or a function that makes an environment.
        seeds: of each repetition; a seed is that of the network, of the acting and of the environment.
        sources: `replay`, `model` (Bernoulli on bits, else Gaussian) or `simulator`.
        steps: in the environment.
        hidden: units of each hidden layer.
        learning_rate: of the Q-network.
        temperature: of the softmax policy.
        gamma: the discount.
        batch_size: rows that a rollout starts from, and of a model step.
        rollout_length: steps of a rollout.
        every: steps between scores.
        learning_starts: steps before the first update.
        continuing: whether the task never ends.
        arguments: of the environment.
        make_q_net: makes a network of your own from the numbers of an observation and the actions.
        training: further arguments of `DynaTrainer.run`.

    Returns:
        Columns seed, source, step and score (see `evaluate`).
    """
    rows: list[dict[str, Any]] = []
    for seed in seeds:
        for source in sources:
            torch.manual_seed(seed)
            generator = torch.Generator().manual_seed(seed)
            world = open_world(env, continuing=continuing, **(arguments or {}))
            if isinstance(world, CopiedWorld):
                world.remember = source == "simulator"
            inside = make_source(source, world, hidden, generator, seed)
            sizes = (world.observation_size, world.num_actions)
            q_net = make_q_net(*sizes) if make_q_net else DenseNet(*sizes, hidden)
            learner = DQNLearner(q_net, learning_rate=learning_rate, gamma=gamma, continuing=world.continuing)
            buffer = ReplayBuffer(min(steps, 100_000), world.observation_size)
            trainer = DynaTrainer(
                learner,
                buffer,
                inside,
                temperature=temperature,
                batch_size=batch_size,
                rollout_length=rollout_length,
                generator=generator,
            )
            judge = open_world(env, 32, continuing=continuing, **(arguments or {}))

            def score(step: int, losses: dict[str, float]) -> None:
                found = evaluate(trainer.greedy(), judge, seed=seed).item()  # noqa: B023
                rows.append({"seed": seed, "source": source, "step": step, "score": found})  # noqa: B023

            trainer.run(
                world,
                steps,
                every=every,
                learning_starts=learning_starts,
                seed=seed,
                callback=score,
                **training,
            )
    return pd.DataFrame(rows)


def make_source(
    source: Source, world: World, hidden: Sequence[int], generator: torch.Generator, seed: int = 0
) -> RolloutSource | None:
    """Return an untrained model for a world's observations, the simulator, or `None` for replay."""
    if source == "replay":
        return None
    if source == "simulator":
        return SimulatorModel(world, seed)
    if source != "model":
        raise InputError(f"there is no source {source!r}: give replay, model or simulator.")
    kind = BernoulliFactoredModel if world.binary else GaussianModel
    return kind(
        world.observation_size, world.num_actions, hidden, continuing=world.continuing, generator=generator
    )
