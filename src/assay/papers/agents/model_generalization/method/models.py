"""World models: what imagines transitions. Each has `loss(batch)` and `rollout(obs, policy, horizon)`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, fields
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from assay.errors import InputError
from assay.papers.agents.dqn import Policy
from assay.papers.agents.networks import DenseNet, Heads, Stack
from assay.papers.agents.simulator import check_horizon
from assay.papers.agents.transitions import Sequences, Transitions

Sampling = Literal["bernoulli", "threshold", "official_logit"]
HALF_LOG_TAU = 0.5 * math.log(2 * math.pi)


def rollout_weights(continuations: Float[Tensor, "h ..."]) -> Float[Tensor, "h ..."]:
    """Return the probability that a rollout gets to each step: w_0 = 1, w_{k+1} = w_k c_k (Section 3)."""
    first = torch.ones_like(continuations[:1])
    return torch.cat([first, continuations[:-1]]).cumprod(0)


@dataclass(eq=False, repr=False)
class TransitionModel(nn.Module):
    """A learned one-step model of reward, continuation and next observation.

    A kind of model says how features come from observations (`encode`), what follows a feature and an action
    (`step`), what its observation is (`decode`), and how it is trained (`loss`). The Q-network acts on
    features, which are the observations themselves unless the model is a latent one.

    Attributes:
        observation_size: numbers of an observation.
        num_actions: number of actions.
        hidden: units of each hidden layer of each of its networks.
        continuing: whether the task never ends: rollouts then have weight 1 throughout.
        generator: the random stream of rollouts and latents.
    """

    observation_size: int
    num_actions: int
    hidden: Sequence[int] = (200, 200, 200)
    _: KW_ONLY
    continuing: bool = False
    generator: torch.Generator | None = None

    def __post_init__(self) -> None:
        super().__init__()
        self.hidden = tuple(self.hidden)
        self.build()

    # --- what a kind of model defines -----------------------------------------------------------

    def build(self) -> None:
        """Make the networks."""
        raise NotImplementedError

    @property
    def feature_size(self) -> int:
        """Numbers of a feature."""
        return self.observation_size

    def encode(self, obs: Float[Tensor, "*stack n d"]) -> Float[Tensor, "*stack n f"]:
        """Draw features of observations."""
        return obs

    def decode(self, features: Float[Tensor, "*stack n f"]) -> Float[Tensor, "*stack n d"]:
        """Return the observation that features stand for."""
        return features

    def step(
        self, features: Float[Tensor, "*stack n f"], action: Int[Tensor, "*stack n"]
    ) -> tuple[Float[Tensor, "*stack n"], Float[Tensor, "*stack n"], Float[Tensor, "*stack n f"]]:
        """Return the mean reward, the probability to go on, and drawn next features."""
        raise NotImplementedError

    def loss(self, batch: Transitions) -> dict[str, Float[Tensor, " *stack"]]:
        """Return the parts of the negative log likelihood, mean over the batch, and their sum `total`."""
        raise NotImplementedError

    def scores(self, batch: Transitions) -> Float[Tensor, " *parts"]:
        """Return the losses of the parts that are trained separately, by which the best weights are kept.

        All parameters have these leading axes.
        """
        return self.loss(batch)["total"]

    # --- what all have --------------------------------------------------------------------------

    def record(self) -> dict[str, Any]:
        """Return what `assay.records` saves: settings and weights."""
        names = (field.name for field in fields(self) if field.name != "generator")
        settings = {name: getattr(self, name) for name in names}
        return {"settings": settings, "state": dict(self.state_dict())}

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> TransitionModel:
        """Make a model of its record."""
        model = cls(**record["settings"])
        model.load_state_dict(record["state"])
        return model

    def rollout(self, obs: Float[Tensor, "*stack n d"], policy: Policy, horizon: int) -> Transitions:
        """Imagine `horizon` steps from each observation, [*stack, horizon * n] rows, without gradient.

        Raises:
            InputError: the horizon is not at least 1.
        """
        check_horizon(horizon)
        parts = []
        with torch.no_grad():
            features = self.encode(obs)
            weight = torch.ones(features.shape[:-1], device=features.device)
            for _ in range(horizon):
                action = policy(features)
                reward, continuation, following = self.step(features, action)
                parts.append(Transitions(features, action, reward, following, continuation, weight))
                features = following
                if not self.continuing:
                    weight = weight * continuation
        return Transitions.joined(parts)

    def predict(
        self, obs: Float[Tensor, "n d"], actions: Int[Tensor, "n h"]
    ) -> tuple[Float[Tensor, "n h d"], Float[Tensor, "n h"]]:
        """Follow given actions from given observations; return the observations and mean rewards."""
        seen, rewards = [], []
        with torch.no_grad():
            features = self.encode(obs)
            for action in actions.T:
                reward, _, features = self.step(features, action)
                seen.append(self.decode(features))
                rewards.append(reward)
        return torch.stack(seen, 1), torch.stack(rewards, 1)

    def _uniform(self, like: Tensor) -> Tensor:
        return torch.rand(like.shape, generator=self.generator).to(like.device)

    def _normal(self, like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=self.generator).to(like.device)

    def _joined(self, features: Tensor, action: Tensor) -> Tensor:
        return torch.cat([features, functional.one_hot(action, self.num_actions).to(features)], -1)


@dataclass(eq=False, repr=False, kw_only=True)
class ObservationModel(TransitionModel):
    """A model that predicts the next observation itself (the paper's "simple" model).

    Separate networks give the mean reward, the logit of continuation and the next observation:

        L = -log N(r; mu, 1) + BCE(continue) + [not terminal] * observation term, summed over its numbers
    """

    stack: Stack = ()
    """Leading axes of stacked models."""

    def build(self) -> None:
        self.stack = tuple(self.stack)  # of a torch.Size, which cannot be saved
        inputs, sizes = self.observation_size + self.num_actions, (1, 1, self.observation_size)
        self.heads = Heads(inputs, sizes, self.hidden, self.stack)

    def loss(self, batch: Transitions) -> dict[str, Float[Tensor, " *stack"]]:
        mean, logit, following = self.heads(self._joined(batch.obs, batch.action))
        return summed(
            reward=reward_loss(mean, batch),
            continuation=continuation_loss(logit, batch),
            observation=(self.observation_loss(following, batch.next_obs) * batch.continuation).mean(-1),
        )

    def scores(self, batch: Transitions) -> Float[Tensor, " *parts"]:
        """Return the losses of reward, continuation and observation: each has a network of its own."""
        parts = self.loss(batch)
        return torch.stack([parts[name] for name in ("reward", "continuation", "observation")], -1)

    def step(
        self, features: Float[Tensor, "*stack n f"], action: Int[Tensor, "*stack n"]
    ) -> tuple[Float[Tensor, "*stack n"], Float[Tensor, "*stack n"], Float[Tensor, "*stack n f"]]:
        mean, logit, following = self.heads(self._joined(features, action))
        return mean.squeeze(-1), logit.squeeze(-1).sigmoid(), self.draw(following)

    def observation_loss(
        self, predicted: Float[Tensor, "*stack n d"], obs: Float[Tensor, "*stack n d"]
    ) -> Float[Tensor, "*stack n"]:
        """Return -log p(observation), summed over its numbers."""
        raise NotImplementedError

    def draw(self, predicted: Float[Tensor, "*stack n d"]) -> Float[Tensor, "*stack n d"]:
        """Draw an observation."""
        raise NotImplementedError


@dataclass(eq=False, repr=False, kw_only=True)
class BernoulliFactoredModel(ObservationModel):
    """Next bits, drawn independently of each other: the structure of a factored state space."""

    next_obs_sampling: Sampling = "bernoulli"
    """`bernoulli` draws each bit with probability sigmoid(logit), `threshold` takes the likelier value,
    `official_logit` draws with the logit itself as probability (cut to 0 to 1), as the authors' code."""

    def observation_loss(
        self, predicted: Float[Tensor, "*stack n d"], obs: Float[Tensor, "*stack n d"]
    ) -> Float[Tensor, "*stack n"]:
        return functional.binary_cross_entropy_with_logits(predicted, obs, reduction="none").sum(-1)

    def draw(self, predicted: Float[Tensor, "*stack n d"]) -> Float[Tensor, "*stack n d"]:
        if self.next_obs_sampling == "threshold":
            return (predicted > 0).float()
        probability = predicted if self.next_obs_sampling == "official_logit" else predicted.sigmoid()
        return (self._uniform(predicted) < probability).float()


class GaussianModel(ObservationModel):
    """Next numbers as normal variables of variance 1; a rollout continues from their means."""

    def observation_loss(
        self, predicted: Float[Tensor, "*stack n d"], obs: Float[Tensor, "*stack n d"]
    ) -> Float[Tensor, "*stack n"]:
        return (0.5 * (obs - predicted).square() + HALF_LOG_TAU).sum(-1)

    def draw(self, predicted: Float[Tensor, "*stack n d"]) -> Float[Tensor, "*stack n d"]:
        return predicted


@dataclass(eq=False, repr=False, kw_only=True)
class LatentModel(TransitionModel):
    """A model in a latent space: an encoder q(z|o), a decoder, and a transition p(z'|z, a).

    The decoder reconstructs the current observation; reward and continuation come from (z, a). The transition
    and the next encoding are drawn together by balanced divergences (`balance` = 0.8):

        0.8 KL(sg q(z'|o') || p(z'|z,a)) + 0.2 KL(q(z'|o') || sg p(z'|z,a))
    """

    balance: ClassVar[float] = 0.8
    latents: int = 32
    """Variables of the latent state."""
    binary: bool = True
    """Whether observations are bits."""

    def build(self) -> None:
        size, parameters, inputs = (
            self.observation_size,
            self.num_parameters,
            self.feature_size + self.num_actions,
        )
        self.encoder = DenseNet(size, parameters, self.hidden)
        self.decoder = DenseNet(self.feature_size, size, self.hidden)
        self.reward, self.continuation = DenseNet(inputs, 1, self.hidden), DenseNet(inputs, 1, self.hidden)
        self.transition = DenseNet(inputs, parameters, self.hidden)

    @property
    def num_parameters(self) -> int:
        """Parameters of the distribution of a latent state."""
        return self.feature_size

    def encode(self, obs: Float[Tensor, "n d"]) -> Float[Tensor, "n f"]:
        return self.draw(self.posterior(obs))

    def decode(self, features: Float[Tensor, "n f"]) -> Float[Tensor, "n d"]:
        predicted: Tensor = self.decoder(features)
        return (predicted > 0).float() if self.binary else predicted

    def posterior(self, obs: Float[Tensor, "n d"]) -> Float[Tensor, "n p"]:
        """Return the parameters of q(z|o)."""
        parameters: Tensor = self.encoder(obs)
        return parameters

    def step(
        self, features: Float[Tensor, "n f"], action: Int[Tensor, " n"]
    ) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"], Float[Tensor, "n f"]]:
        mean, logit, prior = self.heads(features, action)
        return mean.squeeze(-1), logit.squeeze(-1).sigmoid(), self.draw(prior)

    def heads(
        self, features: Float[Tensor, "n f"], action: Int[Tensor, " n"]
    ) -> tuple[Float[Tensor, "n 1"], Float[Tensor, "n 1"], Float[Tensor, "n p"]]:
        """Return the mean reward, the logit of continuation and the parameters of p(z'|z, a)."""
        joined = self._joined(features, action)
        return self.reward(joined), self.continuation(joined), self.transition(joined)

    def loss(self, batch: Transitions) -> dict[str, Float[Tensor, ""]]:
        features = self.encode(batch.obs)
        mean, logit, prior = self.heads(features, batch.action)
        predicted = self.decoder(features)
        if self.binary:
            errors = functional.binary_cross_entropy_with_logits(predicted, batch.obs, reduction="none")
        else:
            errors = 0.5 * (batch.obs - predicted).square() + HALF_LOG_TAU
        divergence = self.balanced(self.posterior(batch.next_obs), prior)
        return summed(
            reward=reward_loss(mean, batch),
            continuation=continuation_loss(logit, batch),
            observation=(errors.sum(-1) * batch.continuation).mean(-1),
            latent=(divergence * batch.continuation).mean(-1),
        )

    def balanced(self, posterior: Float[Tensor, "n p"], prior: Float[Tensor, "n p"]) -> Float[Tensor, " n"]:
        """Return the balanced divergence: mostly the prior learns, a little the encoder."""
        return self.balance * self.divergence(posterior.detach(), prior) + (
            1 - self.balance
        ) * self.divergence(posterior, prior.detach())

    def draw(self, parameters: Float[Tensor, "n p"]) -> Float[Tensor, "n f"]:
        """Draw a latent, with a gradient."""
        raise NotImplementedError

    def divergence(self, first: Float[Tensor, "n p"], second: Float[Tensor, "n p"]) -> Float[Tensor, " n"]:
        """Return KL(first || second), summed over the latents."""
        raise NotImplementedError


@dataclass(eq=False, repr=False, kw_only=True)
class CategoricalLatentModel(LatentModel):
    """`latents` variables of `classes` classes each, as one-hot vectors with straight-through gradients."""

    classes: int = 32

    @property
    def feature_size(self) -> int:
        return self.latents * self.classes

    def _logits(self, parameters: Tensor) -> Tensor:
        logits: Tensor = parameters.unflatten(-1, (self.latents, self.classes))
        return logits

    def draw(self, parameters: Float[Tensor, "n p"]) -> Float[Tensor, "n f"]:
        logits = self._logits(parameters)
        waiting = -self._uniform(logits).log()  # exponential: the draw is as in `SoftmaxPolicy`
        chosen = (logits - waiting.log()).argmax(-1, keepdim=True)
        drawn = torch.zeros_like(logits).scatter_(-1, chosen, 1.0)
        if torch.is_grad_enabled():
            probabilities = logits.softmax(-1)
            drawn = drawn + (probabilities - probabilities.detach())
        return drawn.flatten(-2)

    def divergence(self, first: Float[Tensor, "n p"], second: Float[Tensor, "n p"]) -> Float[Tensor, " n"]:
        mine, other = (self._logits(side).log_softmax(-1) for side in (first, second))
        return (mine.exp() * (mine - other)).sum((-2, -1))


@dataclass(eq=False, repr=False, kw_only=True)
class GaussianLatentModel(LatentModel):
    """`latents` normal variables of standard deviation 2 sigmoid(x/2), for the encoder 0.1 more."""

    least_deviation: ClassVar[float] = 0.1

    @property
    def feature_size(self) -> int:
        return self.latents

    @property
    def num_parameters(self) -> int:
        return 2 * self.latents

    def posterior(self, obs: Float[Tensor, "n d"]) -> Float[Tensor, "n p"]:
        mean, deviation = _deviations(self.encoder(obs))
        return torch.cat([mean, deviation + self.least_deviation], -1)

    def step(
        self, features: Float[Tensor, "n f"], action: Int[Tensor, " n"]
    ) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"], Float[Tensor, "n f"]]:
        mean, logit, prior = self.heads(features, action)
        drawn = self.draw(torch.cat(_deviations(prior), -1))
        return mean.squeeze(-1), logit.squeeze(-1).sigmoid(), drawn

    def balanced(self, posterior: Float[Tensor, "n p"], prior: Float[Tensor, "n p"]) -> Float[Tensor, " n"]:
        return super().balanced(posterior, torch.cat(_deviations(prior), -1))

    def draw(self, parameters: Float[Tensor, "n p"]) -> Float[Tensor, "n f"]:
        mean, deviation = parameters.chunk(2, -1)
        return mean + deviation * self._normal(mean)

    def divergence(self, first: Float[Tensor, "n p"], second: Float[Tensor, "n p"]) -> Float[Tensor, " n"]:
        (mean, deviation), (other_mean, other) = first.chunk(2, -1), second.chunk(2, -1)
        ratio = (deviation.square() + (mean - other_mean).square()) / other.square()
        return (0.5 * (ratio - 1) + other.log() - deviation.log()).sum(-1)


def _deviations(raw: Tensor) -> tuple[Tensor, Tensor]:
    mean, deviation = raw.chunk(2, -1)
    return mean, 2 * (deviation / 2).sigmoid()


def reward_loss(mean: Float[Tensor, "*stack n 1"], batch: Transitions) -> Float[Tensor, " *stack"]:
    """Return -log N(r; mean, 1), mean over the batch."""
    return (0.5 * (batch.reward - mean.squeeze(-1)).square() + HALF_LOG_TAU).mean(-1)


def continuation_loss(logit: Float[Tensor, "*stack n 1"], batch: Transitions) -> Float[Tensor, " *stack"]:
    """Return the cross entropy of going on, mean over the batch."""
    loss = functional.binary_cross_entropy_with_logits(
        logit.squeeze(-1), batch.continuation, reduction="none"
    )
    return loss.mean(-1)


def summed(**parts: Tensor) -> dict[str, Tensor]:
    """Return the parts and their sum."""
    return parts | {"total": torch.stack(list(parts.values())).sum(0)}


def check_binary(obs: Float[Tensor, "*stack n d"]) -> None:
    """Refuse observations that are no bits, which the Bernoulli model cannot predict."""
    if not bool(((obs == 0) | (obs == 1)).all()):
        raise InputError(
            f"the Bernoulli model needs observations of bits; these range from {obs.min():.4g} to"
            f" {obs.max():.4g}. Choose the Gaussian model (--dynamics.kind gaussian), or make bits of them."
        )


@dataclass(frozen=True)
class RolloutError:
    """Errors after 1, 2, ..., h steps: of observations (in `unit`), and of rewards (RMSE)."""

    observation: tuple[float, ...]
    reward: tuple[float, ...]
    unit: Literal["share of wrong bits", "RMSE"]


def rollout_error(model: TransitionModel, seen: Sequences, binary: bool) -> RolloutError:
    """Follow the actions that were taken, and compare what the model imagines with what was seen."""
    imagined, rewards = model.predict(seen.obs, seen.action)
    difference = imagined - seen.next_obs
    if binary:
        observation = difference.abs().mean((0, 2))
    else:
        observation = difference.square().mean((0, 2)).sqrt()
    reward = (rewards - seen.reward).square().mean(0).sqrt()
    unit: Literal["share of wrong bits", "RMSE"] = "share of wrong bits" if binary else "RMSE"
    return RolloutError(tuple(observation.tolist()), tuple(reward.tolist()), unit)
