"""Step sizes from smoothness constants and the compressor's contraction: nothing to tune."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import minimize_scalar
from torch import Tensor

from .smoothness import FeatureSupport, SmoothnessProfile

Mean = Literal["am", "qm"]
RareRule = Literal["tight", "safe", "paper"]


@dataclass(frozen=True)
class StepSize:
    """A step size and why it is what it is: the rule as a formula, and the numbers that went in."""

    value: float
    rule: str
    terms: dict[str, float]
    guaranteed: bool = True

    def scaled(self, multiplier: float) -> StepSize:
        """Return `multiplier` times the step; beyond 1 the theory no longer covers it."""
        if not multiplier > 0:
            raise ValueError(f"the step size's multiplier is {multiplier}: give a number above 0.")
        return replace(
            self,
            value=multiplier * self.value,
            rule=f"{multiplier:g} × {self.rule}",
            guaranteed=self.guaranteed and multiplier <= 1,
        )


def theta(alpha: float) -> float:
    """Return θ(α) = 1 - √(1-α), the rate at which the compression error contracts."""
    return 1.0 - math.sqrt(1.0 - _checked_alpha(alpha))


def beta(alpha: float) -> float:
    """Return β(α) = (1-α) / (1 - √(1-α))."""
    return (1.0 - alpha) / theta(alpha)


def xi(alpha: float) -> float:
    """Return ξ(α) = √(β/θ) = √(1-α) / (1 - √(1-α)) = (1 + √(1-α))/α - 1; 0 without compression, ~2/α."""
    return (1.0 + math.sqrt(1.0 - _checked_alpha(alpha))) / alpha - 1.0


def ef21_stepsize(
    profile: SmoothnessProfile,
    alpha: float,
    mean: Mean = "am",
    *,
    participation: float | Float[Tensor, " n"] = 1.0,
    pl_constant: float | None = None,
) -> StepSize:
    """Return the largest step size that the theory of EF21 and EF21-W allows.

    `mean="am"` is this paper's rule γ = 1/(L + L_AM ξ(α)), `mean="qm"` the older 1/(L + L_QM ξ(α)).
    With it, E||∇f(x̂_T)||² ≤ 2 (f(x⁰) - f*)/(γT) + G⁰/(θT) for a uniformly drawn round (`convergence_bound`).

    The rule holds whatever weights w the algorithm uses. With errors e_i = g_i - ∇f_i/(n w_i) and
    v_i = L_i/Σ_j L_j, Cauchy-Schwarz gives ||Σ w_i e_i||² ≤ G = Σ (w_i²/v_i) ||e_i||². Each ||e_i||²
    contracts by 1-θ and grows by at most β L_i²/(n w_i)² ||x⁺-x||², in sum β Σ L_i²/(n² v_i) = β L_AM².

    Args:
        profile: the smoothness constants.
        alpha: the compressor's contraction.
        mean: which mean of the L_i.
        participation: the probability with which clients take part in a round, one or one a client.
        pl_constant: μ > 0 where f has the Polyak-Łojasiewicz property; then the rate is linear and
            γ = min(1/(L + √2 L_AM ξ(α)), θ/(2μ)).

    Raises:
        ValueError: alpha is no contraction, a probability is outside (0, 1], no step is feasible, or
            participation and pl_constant are combined, for which there is no rule.
    """
    low, high = _probabilities(participation)
    if mean not in ("am", "qm"):
        raise ValueError(f"mean is {mean!r}: give 'am' (this paper) or 'qm' (the older rule).")
    constant, symbol = profile.am if mean == "am" else profile.qm, f"L_{mean.upper()}"
    terms = {"L": profile.L, symbol: constant, "alpha": alpha}
    if low < 1 and pl_constant is not None:
        raise ValueError("there is no rule for participation and pl_constant together: give one of them.")
    if low < 1:
        # γ = 1/(L + M √(b/θ_p)), with the free constants s and ρ of the analysis chosen to make γ largest
        ratio, contraction, slack = _best_participation_constants(_checked_alpha(alpha), low, high)
        terms |= {"p_min": low, "p_max": high, "theta": contraction, "rho": slack}
        terms["sqrt_ratio"] = math.sqrt(ratio)
        return _step(profile, f"1 / (L + {symbol} √(b/θ_p))", constant * math.sqrt(ratio), terms)
    terms["xi"] = xi(alpha)
    if pl_constant is None:
        return _step(profile, f"1 / (L + {symbol} ξ(α))", constant * xi(alpha), terms)
    if not pl_constant > 0:
        raise ValueError(f"pl_constant is {pl_constant}: give a number above 0.")
    rule = f"min(1 / (L + √2 {symbol} ξ(α)), θ(α) / (2μ))"
    terms["mu"] = pl_constant
    step = _step(profile, rule, math.sqrt(2.0) * constant * xi(alpha), terms)
    return replace(step, value=min(step.value, theta(alpha) / (2.0 * pl_constant)))


def rare_stepsize(
    profile: SmoothnessProfile,
    alpha: float,
    features: FeatureSupport,
    mean: Mean = "am",
    rare: RareRule = "tight",
) -> StepSize:
    """Return γ = 1/(L + M ξ(α)), where M makes use of features that few clients have.

    With C_v = max_j Σ_{i∈S_j} v_i over the owners S_j of feature j, M is √(c/n) L_AM ("paper"),
    √max(c/n, C_v) L_AM ("safe") or C_v L_AM ("tight"). The argument of `ef21_stepsize` gives a factor √C_v by
    Cauchy-Schwarz over the owners of each coordinate, and another one because ∇f_i moves only with the
    coordinates that client i owns; so "tight" is proven, and C_v L_AM = max_j (1/n) Σ_{i∈S_j} L_i still is at
    least L. "paper" is not proven for unequal v. Before this paper (`mean="qm"`) M was
    √(c/n) min(L_QM, √(c/n) max_i L_i).

    Args:
        profile: the smoothness constants.
        alpha: the compressor's contraction for vectors of `features.widest_client` coordinates.
        features: who has which feature.
        mean: which mean of the L_i.
        rare: which constant, with the arithmetic mean.
    """
    owners, weighted = features.share(), features.share(profile.weights())
    older = min(profile.qm, math.sqrt(owners) * float(profile.L_i.max()))
    rules = {
        "older": ("√(c/n) min(L_QM, √(c/n) max L_i)", math.sqrt(owners) * older),
        "paper": ("√(c/n) L_AM", math.sqrt(owners) * profile.am),
        "safe": ("√max(c/n, C_v) L_AM", math.sqrt(max(owners, weighted)) * profile.am),
        "tight": ("C_v L_AM", weighted * profile.am),
    }
    rule, constant = rules["older" if mean == "qm" else rare]
    terms = {"L": profile.L, "M": constant, "c/n": owners, "C_v": weighted, "alpha": alpha, "xi": xi(alpha)}
    return _step(profile, f"1 / (L + M ξ(α)), M = {rule}", constant * xi(alpha), terms)


def convergence_bound(gap: float, distortion: float, stepsize: float, alpha: float, rounds: int) -> float:
    """Return 2 (f(x⁰) - f*)/(γT) + G⁰/(θT), which bounds the mean of ||∇f(x^t)||² over t < T.

    Args:
        gap: f(x⁰) - f*, or a bound of it.
        distortion: G⁰ = (1/n) Σ (1/(n v_i)) ||n w_i g_i⁰ - ∇f_i(x⁰)||², v_i = L_i/Σ_j L_j (`distortion`).
        stepsize: γ, at most the rule's.
        alpha: the compressor's contraction.
        rounds: T.
    """
    return (2.0 * gap / stepsize + distortion / theta(alpha)) / rounds


def distortion(
    profile: SmoothnessProfile,
    memory: Float[Tensor, "n d"],
    gradients: Float[Tensor, "n d"],
    weights: Float[Tensor, " n"],
) -> float:
    """Return G = (1/n) Σ (1/(n v_i)) ||n w_i g_i - ∇f_i||² with v_i = L_i/Σ_j L_j, for any weights w.

    f(x^t) - f* + γ/(2θ) G^t never rises under a deterministic compressor and the rule's step.
    """
    n = len(gradients)
    errors = (n * weights[:, None] * memory - gradients).square().sum(1)
    return float((errors / (n * profile.weights())).mean())


def _best_participation_constants(alpha: float, low: float, high: float) -> tuple[float, float, float]:
    """Return the smallest b/θ_p, and the θ and ρ at which it is reached.

    θ = 1 - (1+s)(1-α), β = (1+1/s)(1-α), θ_p = ρ p_min + θ p_max - ρ - (p_max - p_min),
    b = β p_max + (1 + 1/ρ)(1 - p_min); feasible where θ_p > 0.

    s is written as s = (α-θ)/(1-α), so that β = (1-α)(1-θ)/(α-θ) with θ in (0, α). For a given θ let
    a = θ p_max - (p_max - p_min), m = 1 - p_min and b₀ = β p_max + m: (b₀ + m/ρ)/(a - mρ) is smallest
    where b₀ρ² + 2mρ = a. That leaves θ, found on a grid and refined.
    """
    smallest = (high - low) / high
    if alpha <= smallest:
        raise ValueError(
            f"no step size is feasible with alpha {alpha:.3g} and probabilities from {low:g} to {high:g}: "
            f"alpha must exceed (p_max - p_min)/p_max = {smallest:.3g}. "
            "Send more coordinates, or let the clients take part more equally."
        )

    def best_slack(contraction: float) -> tuple[float, float]:
        """Return b/θ_p and the ρ at which it is smallest for this θ."""
        room, missing = contraction * high - (high - low), 1.0 - low
        growth = (1.0 - alpha) * (1.0 - contraction) / (alpha - contraction)
        base = growth * high + missing
        slack = room / (missing + math.sqrt(missing**2 + base * room))
        return (base + missing / slack) / (room - missing * slack), slack

    grid = smallest + (alpha - smallest) * np.linspace(0.0, 1.0, 1001)[1:-1]
    best = int(np.argmin([best_slack(point)[0] for point in grid]))
    ends = (grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)])
    found = minimize_scalar(
        lambda point: best_slack(point)[0], bounds=ends, method="bounded", options={"xatol": 1e-12}
    )
    return float(found.fun), float(found.x), best_slack(float(found.x))[1]


def _step(profile: SmoothnessProfile, rule: str, compression: float, terms: dict[str, float]) -> StepSize:
    return StepSize(1.0 / (profile.L + compression), rule, terms, profile.guaranteed)


def _checked_alpha(alpha: float) -> float:
    if not 0.0 < alpha <= 1.0:
        raise ValueError(
            f"alpha is {alpha}: a contractive compressor has alpha in (0, 1]. "
            "Without a contraction no step size follows; give one yourself."
        )
    return alpha


def _probabilities(participation: float | Tensor) -> tuple[float, float]:
    values = torch.as_tensor(participation, dtype=torch.float64)
    if not ((values > 0) & (values <= 1)).all():
        raise ValueError(f"participation is {participation}: probabilities lie in (0, 1].")
    return float(values.min()), float(values.max())
