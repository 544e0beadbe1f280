"""An exact simulator of EF21 and EF21-W, all clients at once."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from .compressors import Compressed, Compressor, FixedGrid, Identity, Threshold, TopK
from .problems import FiniteSum
from .smoothness import FeatureSupport, SmoothnessProfile, checked_weights
from .stepsize import Mean, RareRule, StepSize, ef21_stepsize, rare_stepsize

Rule = Literal["new", "old", "rare", "rare-paper", "rare-safe", "rare-old"]
Start = Literal["compressed", "full", "zero"]

COLUMNS = ["round", "loss", "squared_gradient_norm", "bits"]
KEEP_SUPPORT = (Identity, TopK, Threshold, FixedGrid)  # zeros stay zeros, alpha counts the others alone
RULES: dict[str, tuple[Mean, RareRule | None]] = {
    "new": ("am", None),
    "old": ("qm", None),
    "rare": ("am", "tight"),
    "rare-paper": ("am", "paper"),
    "rare-safe": ("am", "safe"),
    "rare-old": ("qm", "paper"),
}


class DivergenceError(ArithmeticError):
    """A gradient is infinite or NaN: the step size is too large, or the data are not finite."""


@dataclass
class EF21State:
    """Where a run stands at round t; enough to go on from.

    Attributes:
        x: x^t, [d].
        memory: g_i^t, what the server knows of each client, [n, d].
        estimate: g^t = sum_i w_i g_i^t, the server's estimate of the gradient, [d].
        gradient: the mean over clients of the gradients that went into g^t (exact without minibatches), [d].
        round: t.
        bits: bits that a client has sent for x^t, on average.
        message_bits: bits of the latest message, which x^(t+1) will rest on.
        generator: draws for compressors, minibatches and participation.
    """

    x: Tensor
    memory: Tensor
    estimate: Tensor
    gradient: Tensor
    generator: torch.Generator
    round: int = 0
    bits: float = 0.0
    message_bits: float = 0.0

    def state_dict(self) -> dict[str, Any]:
        """Return tensors and plain numbers, for `torch.save`."""
        return vars(self) | {"generator": self.generator.get_state()}

    @classmethod
    def from_state_dict(cls, saved: dict[str, Any]) -> EF21State:
        """Restore a state."""
        return cls(**copy.deepcopy(saved) | {"generator": torch.Generator().set_state(saved["generator"])})


@dataclass(frozen=True)
class EF21Result:
    """What a run gives.

    Attributes:
        x: the last iterate, [d].
        history: one row a logged round: round, loss f(x^t), squared_gradient_norm ||grad f(x^t)||^2 and bits,
            the bits that a client has sent for x^t, on average.
        stepsize: the step size and why.
        rounds: how many rounds until the tolerance was reached, or None.
        state: where the run stands; `EF21.run` goes on from it.
    """

    x: Tensor
    history: pd.DataFrame
    stepsize: StepSize
    rounds: int | None
    state: EF21State


class EF21:
    """EF21 and EF21-W with compressed differences, for n clients.

    With weights w (1/n each in EF21, L_i / sum_j L_j in EF21-W), every round

        x^{t+1} = x^t - γ g^t,
        u_i = C(grad f_i(x^{t+1}) / (n w_i) - g_i^t),   g_i^{t+1} = g_i^t + u_i,
        g^{t+1} = g^t + sum_i w_i u_i,

    where u_i is all that client i sends. For a homogeneous C (Top-K and most others) g_i^t of EF21-W is that
    of EF21 divided by n w_i, so both have the same iterates at the same γ: what the paper gains there is the
    larger γ, and EF21 may use it too.

    Args:
        problem: the clients' objectives.
        compressor: C.
        weights: "smoothness" is EF21-W, None EF21; or any weights above zero that sum to one, [n].
        stepsize: "new" is 1/(L + L_AM ξ), "old" 1/(L + L_QM ξ), both with the rule for partial participation
            where that applies; "rare" (the tight one of `rare_stepsize`), "rare-paper", "rare-safe" and
            "rare-old" use that features are rare; or a number or a `StepSize`.
        participation: the probability with which a client takes part in a round, one or one a client. The
            others send nothing and keep g_i. All take part in the first exchange, at x^0.
        minibatch: samples a client draws for each gradient; None is all of them. With minibatches the rules
            are a heuristic: the iterates reach a noise floor that falls with γ.
        init: g_i^0 is "compressed": C(grad f_i(x^0)/(n w_i)), "full": not compressed, or "zero".
        profile: smoothness constants; by default `problem.smoothness()` if the problem has it.

    Raises:
        ValueError: weights, probabilities, compressor and problem do not fit one another, or no rule applies.
    """

    def __init__(
        self,
        problem: FiniteSum,
        compressor: Compressor,
        *,
        weights: Literal["smoothness"] | Float[Tensor, " n"] | None = "smoothness",
        stepsize: Rule | float | StepSize = "new",
        participation: float | Float[Tensor, " n"] = 1.0,
        minibatch: int | None = None,
        init: Start = "compressed",
        profile: SmoothnessProfile | None = None,
    ) -> None:
        self.problem, self.compressor = problem, compressor
        self.minibatch, self.init, self._profile = minibatch, init, profile
        self._check_sizes()
        self.weights = self._resolve_weights(weights)
        self.participation = self._resolve_participation(participation)
        self._everyone = bool((self.participation == 1).all())
        self.stepsize = self._resolve_stepsize(stepsize)
        self._scale = (1.0 / (problem.num_clients * self.weights))[:, None]

    @property
    def profile(self) -> SmoothnessProfile:
        """The smoothness constants, computed when first needed."""
        if self._profile is None:
            if not hasattr(self.problem, "smoothness"):
                raise ValueError(
                    f"{type(self.problem).__name__} does not know its smoothness: pass profile=, for example "
                    "from estimate_smoothness(problem, x0) or secant_smoothness(problem, points)."
                )
            self._profile = self.problem.smoothness()
        return self._profile

    def start(self, x0: Float[Tensor, " d"], generator: torch.Generator | None = None) -> EF21State:
        """Return the state at round 0: all clients compute and, unless init is "zero", send g_i^0."""
        if x0.shape != (self.problem.dimension,):
            raise ValueError(f"x0 has the shape {tuple(x0.shape)}, expected ({self.problem.dimension},).")
        x, dimension = x0.detach().clone(), self.problem.dimension
        memory, zero = x.new_zeros(self.problem.num_clients, dimension), torch.zeros_like(x)
        state = EF21State(x, memory, zero, zero.clone(), generator or _default_generator())
        scaled = self._scaled_gradients(state)
        if self.init == "full":
            state.memory += scaled
            state.estimate += self.weights.to(x) @ scaled
            state.message_bits = float(dimension * torch.finfo(x.dtype).bits)
        elif self.init == "compressed":
            self._send(state, self.compressor.compress(scaled, state.generator))
        return state

    def step(self, state: EF21State) -> None:
        """Go on by one round, in place."""
        state.x -= self.stepsize.value * state.estimate
        state.bits += state.message_bits
        state.round += 1
        innovation = self._scaled_gradients(state) - state.memory
        self._send(state, self.compressor.compress(innovation, state.generator), self._participants(state))

    def run(
        self,
        start: Float[Tensor, " d"] | EF21State,
        rounds: int,
        *,
        tolerance: float | None = None,
        log_every: int = 1,
        generator: torch.Generator | None = None,
    ) -> EF21Result:
        """Run up to `rounds` rounds from x^0 or from the state of an earlier run.

        Args:
            start: x^0 [d], or a state, which is updated in place.
            rounds: how many rounds at most.
            tolerance: stop when ||grad f(x^t)||^2 is at most this share of its value at `start`.
            log_every: log every so many rounds, and the last one.
            generator: the random stream of a run that starts at x^0.

        Raises:
            DivergenceError: a gradient became infinite or NaN.
        """
        if rounds < 0 or log_every < 1:
            raise ValueError(f"rounds is {rounds} and log_every {log_every}: give at least 0 and 1.")
        state = start if isinstance(start, EF21State) else self.start(start, generator)
        first = state.round
        history: list[tuple[int, float, float, float]] = []
        target = -math.inf if tolerance is None else tolerance * self._squared_gradient_norm(state)
        while True:
            last = state.round - first == rounds
            logged = last or (state.round - first) % log_every == 0
            norm = self._squared_gradient_norm(state) if logged or tolerance is not None else math.inf
            reached = norm <= target
            if logged or reached:
                history.append((state.round, self.problem.value(state.x), norm, state.bits))
            if last or reached:
                break
            self.step(state)
        curve = pd.DataFrame(history, columns=COLUMNS)
        return EF21Result(
            state.x.clone(), curve, self.stepsize, state.round - first if reached else None, state
        )

    # --- one round ------------------------------------------------------------------------------------------

    def _scaled_gradients(self, state: EF21State) -> Float[Tensor, "n d"]:
        """Return grad f_i(x) / (n w_i), or estimates of it, and note the mean gradient."""
        if self.minibatch is None:
            gradients = self.problem.gradients(state.x)
        else:
            gradients = self.problem.minibatch_gradients(state.x, self.minibatch, state.generator)
        state.gradient = gradients.mean(0)
        if not math.isfinite(float(state.gradient.sum())):
            raise DivergenceError(
                f"a gradient at round {state.round} is not finite: the step size {self.stepsize.value:.3g} "
                "is too large for this problem, or the data hold infinite or missing values."
            )
        return gradients * self._scale.to(gradients)

    def _participants(self, state: EF21State) -> Float[Tensor, " n"] | None:
        """Draw who takes part in the round, 1 or 0; None is all."""
        if self._everyone:
            return None
        draw = torch.rand(self.problem.num_clients, generator=state.generator, dtype=torch.float64)
        return (draw < self.participation).to(state.x)

    def _send(self, state: EF21State, sent: Compressed, present: Tensor | None = None) -> None:
        """Add the messages u_i to the memories, and their weighted sum to the server's estimate."""
        weights, values, bits = self.weights.to(state.x), sent.values, sent.bits
        if present is not None:
            values, bits = values * present[:, None], bits * present
        state.message_bits = float(bits.double().mean()) if isinstance(bits, Tensor) else float(bits)
        if sent.indices is None:
            state.memory += values
            state.estimate += weights @ values
        else:
            state.memory.scatter_add_(1, sent.indices, values)
            state.estimate.index_add_(0, sent.indices.flatten(), (weights[:, None] * values).flatten())

    def _squared_gradient_norm(self, state: EF21State) -> float:
        exact = state.gradient if self.minibatch is None else self.problem.gradients(state.x).mean(0)
        return float(exact @ exact)

    # --- what was given -------------------------------------------------------------------------------------

    def _check_sizes(self) -> None:
        k = getattr(self.compressor, "k", 0)
        if isinstance(k, int) and k > self.problem.dimension:
            raise ValueError(f"k is {k}, but a vector has only {self.problem.dimension} coordinates.")
        if self.minibatch is not None and self.minibatch < 1:
            raise ValueError(f"minibatch is {self.minibatch}: give at least one sample, or None for all.")
        if self.init not in ("compressed", "full", "zero"):
            raise ValueError(f"init is {self.init!r}: give 'compressed', 'full' or 'zero'.")

    def _resolve_weights(self, weights: Any) -> Float[Tensor, " n"]:
        if isinstance(weights, str):
            if weights != "smoothness":
                raise ValueError(f"weights is {weights!r}: give 'smoothness', None or one number a client.")
            return self.profile.weights()
        return checked_weights(weights, self.problem.num_clients)

    def _resolve_participation(self, participation: float | Tensor) -> Float[Tensor, " n"]:
        given = torch.as_tensor(participation, dtype=torch.float64)
        if given.shape not in ((), (self.problem.num_clients,)) or not ((given > 0) & (given <= 1)).all():
            raise ValueError(
                f"participation is {participation}: give one probability in (0, 1], "
                f"or one for each of {self.problem.num_clients} clients."
            )
        return given.expand(self.problem.num_clients)

    def _resolve_stepsize(self, stepsize: Any) -> StepSize:
        if isinstance(stepsize, StepSize):
            return stepsize
        if stepsize in RULES:
            return self._theory(*RULES[stepsize])
        if isinstance(stepsize, str) or not (math.isfinite(stepsize) and stepsize > 0):
            raise ValueError(f"stepsize is {stepsize!r}: give a number above 0 or one of {', '.join(RULES)}.")
        return StepSize(float(stepsize), "given", {}, guaranteed=False)

    def _theory(self, mean: Mean, rare: RareRule | None) -> StepSize:
        if rare is None:
            alpha = self.compressor.alpha(self.problem.dimension)
            return ef21_stepsize(self.profile, alpha, mean, participation=self.participation)
        if not isinstance(self.compressor, KEEP_SUPPORT):
            names = ", ".join(kind.__name__ for kind in KEEP_SUPPORT)
            raise ValueError(
                f"{self.compressor!r} does not contract better on vectors with few features, "
                f"which the rare-features rule rests on: use one of {names}."
            )
        if not hasattr(self.problem, "supports"):
            raise ValueError(f"{type(self.problem).__name__} does not know which features a client has.")
        if not self._everyone:
            raise ValueError(
                "there is no rule for participation and rare features together: give one of them."
            )
        features = FeatureSupport(self.problem.supports())
        alpha = self.compressor.alpha(features.widest_client)
        return rare_stepsize(self.profile, alpha, features, mean, rare)


def iterate_gap(
    one: EF21,
    other: EF21,
    x0: Float[Tensor, " d"],
    rounds: int,
    generator: Callable[[], torch.Generator] | None = None,
) -> float:
    """Return the largest relative distance of the iterates of two methods, max_t ||x^t - z^t|| / ||z^t||.

    Both draw from a fresh `generator()`, so that random compressors make the same choices in both.
    """
    fresh = generator or _default_generator
    first, second = one.start(x0, fresh()), other.start(x0, fresh())
    largest = 0.0
    for _ in range(rounds):
        one.step(first)
        other.step(second)
        largest = max(largest, float((first.x - second.x).norm() / second.x.norm()))
    return largest


def _default_generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)
