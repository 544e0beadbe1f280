"""Q-learning with a target network, and the policies that act by its values."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from assay.errors import InputError
from assay.papers.agents.transitions import Transitions

Policy = Callable[[Tensor], Tensor]
"""From observations [*stack, n, d] to actions [*stack, n]."""


class DQNLearner:
    """DQN with a plain squared error, and a target network that is copied at intervals.

    loss = mean over rows of w (Q(s, a) - (r + gamma c max_a' Q_target(s', a')))^2

    with c the continuation and w the weight of a row. With `double`, the online network chooses a'. Networks
    that are stacked learn side by side, each from its own rows.

    Args:
        q_net: any module that maps observations [n, d] to values [n, actions].
        learning_rate: of Adam with betas (0.9, 0.99) and epsilon 1e-5.
        gamma: the discount.
        double: whether the online network chooses the action of the target (double DQN).
        decay: the share of every weight that a step takes off, independent of the learning rate.
        continuing: whether the task never ends; gamma must be below 1 then.

    Raises:
        InputError: gamma is out of range, or the learning rate is not above 0.
    """

    def __init__(
        self,
        q_net: nn.Module,
        *,
        learning_rate: float = 1e-4,
        gamma: float = 0.9,
        double: bool = False,
        decay: float = 1e-6,
        continuing: bool = False,
    ) -> None:
        check_discount(gamma, continuing)
        self.q_net, self.gamma, self.double = q_net, gamma, double
        self.target_net = copy.deepcopy(q_net).requires_grad_(False)
        self.optimizer = decoupled_adam(q_net.parameters(), learning_rate, decay)

    def targets(self, batch: Transitions) -> Float[Tensor, "*stack n"]:
        """Return r + gamma c max_a' Q_target(s', a')."""
        with torch.no_grad():
            values = self.target_net(batch.next_obs)
            if self.double:
                best = self.q_net(batch.next_obs).argmax(-1, keepdim=True)
                value = values.gather(-1, best).squeeze(-1)
            else:
                value = values.amax(-1)
            targets: Tensor = batch.reward + self.gamma * batch.continuation * value
        return targets

    def loss(self, batch: Transitions) -> Float[Tensor, ""]:
        """Return the mean weighted squared error, summed over stacked networks."""
        chosen = self.q_net(batch.obs).gather(-1, batch.action.unsqueeze(-1)).squeeze(-1)
        errors = batch.weight * (chosen - self.targets(batch)).square()
        loss: Tensor = errors.mean(-1).sum()
        return loss

    def update(self, batch: Transitions) -> float:
        """Take one gradient step and return the loss before it."""
        return gradient_step(self.optimizer, self.loss(batch))

    def copy_target(self) -> None:
        """Copy the online network to the target network."""
        self.target_net.load_state_dict(self.q_net.state_dict())


def check_discount(gamma: float, continuing: bool) -> None:
    """Refuse a discount that is out of range, or 1 where rewards never end."""
    if not 0 <= gamma <= 1 or (continuing and gamma == 1):
        expected = "0 <= gamma < 1 in a continuing task" if continuing else "0 <= gamma <= 1"
        raise InputError(f"gamma is {gamma}: give {expected}.")


def decoupled_adam(
    parameters: Iterable[nn.Parameter], learning_rate: float, decay: float
) -> torch.optim.AdamW:
    """Return Adam (0.9, 0.99, 1e-5) that also takes `decay` times each weight off it in a step.

    x <- x - lr m / (sqrt(v) + eps) - decay x, with the decay not multiplied by the learning rate; torch does
    multiply, hence the division.
    """
    if not learning_rate > 0:
        raise InputError(f"the learning rate is {learning_rate}: give a number above 0.")
    return torch.optim.AdamW(
        parameters,
        lr=learning_rate,
        betas=(0.9, 0.99),
        eps=1e-5,
        weight_decay=decay / learning_rate,
        fused=True,
    )


def gradient_step(optimizer: torch.optim.Optimizer, loss: Tensor) -> float:
    """Take one step down the gradient of a loss, and return the loss before it."""
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


class SoftmaxPolicy:
    """Draws actions with probability proportional to exp(Q / temperature).

    The draw is argmax_a Q/T + G with Gumbel noise G, so that no exponential overflows however small T is.

    Args:
        q_net: gives the values.
        temperature: T; one for each stacked network as a tensor [*stack].
        generator: the random stream.

    Raises:
        InputError: a temperature is not above 0.
    """

    def __init__(
        self,
        q_net: Callable[[Tensor], Tensor],
        temperature: float | Tensor,
        generator: torch.Generator | None = None,
    ) -> None:
        given = torch.as_tensor(temperature, dtype=torch.float32)
        if not bool((given > 0).all()):
            raise InputError(f"the temperature is {temperature}: give a number above 0.")
        self.q_net, self.generator = q_net, generator
        self.temperature = given.reshape(*given.shape, 1, 1) if given.ndim else given

    def __call__(self, obs: Float[Tensor, "*stack n d"]) -> Int[Tensor, "*stack n"]:
        with torch.no_grad():
            scores = self.q_net(obs) / self.temperature.to(obs.device)
        waiting = torch.empty(scores.shape).exponential_(generator=self.generator)
        return (scores - waiting.to(scores.device).log()).argmax(-1)


class GreedyPolicy:
    """Takes the action with the largest value."""

    def __init__(self, q_net: Callable[[Tensor], Tensor]) -> None:
        self.q_net = q_net

    def __call__(self, obs: Float[Tensor, "*stack n d"]) -> Int[Tensor, "*stack n"]:
        with torch.no_grad():
            return self.q_net(obs).argmax(-1)


class UniformPolicy:
    """Takes any action with the same probability."""

    def __init__(self, num_actions: int, generator: torch.Generator | None = None) -> None:
        self.num_actions, self.generator = num_actions, generator

    def __call__(self, obs: Float[Tensor, "*stack n d"]) -> Int[Tensor, "*stack n"]:
        return torch.randint(self.num_actions, obs.shape[:-1], generator=self.generator).to(obs.device)
