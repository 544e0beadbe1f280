"""CoT information I(eps): how fast examples with traces rule out every hypothesis that errs on more than eps.

I(eps; H) = inf over h with R_e2e(h) > eps of -log P_x[h(x) = h*(x)]      (natural log; +inf if there is none)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from scipy import special

from assay import files
from assay.artefact import Artefact

from .agreements import Agreements, HypothesisClass, Labels, compare
from .bounds import indistinguishable_samples, sufficient_samples
from .chains import ExactAgreement

Supervision = Literal["cot", "e2e"]


@dataclass(frozen=True)
class CoTInformation(Artefact):
    """The curve eps -> I(eps) with simultaneous confidence limits, in nats.

    `eps` are the thresholds at which the curve was computed. Where a value is estimated, `lower` and `upper`
    hold together for all eps with the stated confidence; an estimated infinity is only ever shown as its
    lower limit.
    """

    eps: Float[ndarray, " eps"]
    """End-to-end errors, increasing, in [0, 1)."""
    info: Float[ndarray, " eps"]
    """I(eps) in nats, at least -log(1 - eps); inf where nobody is bad, or no bad hypothesis agreed."""
    lower: Float[ndarray, " eps"]
    """Lower confidence limit of I(eps)."""
    upper: Float[ndarray, " eps"]
    """Upper confidence limit of I(eps)."""
    e2e_info: Float[ndarray, " eps"]
    """I_e2e(eps): the same without traces, inf over bad h of -log P[h_e2e = h*_e2e]."""
    e2e_lower: Float[ndarray, " eps"]
    """Lower confidence limit of I_e2e(eps)."""
    witness: Int[ndarray, " eps"]
    """The bad hypothesis that agrees most, -1 where no hypothesis is bad."""
    hypotheses: int
    """|H|."""
    base_rate: float
    """Share of the reference's most frequent answer."""
    inputs: int | None = None
    """Inputs that agreement was estimated on; None where it is exact."""
    confidence: float | None = None
    """Of the limits, over all eps together; None where the curve is exact."""
    agnostic: Float[ndarray, " eps"] | None = None
    """I_ag(eps) where the reference is not in H: the least excess CoT risk of an h with that excess error."""
    transferred: bool = False
    """Whether errors and agreement are of different distributions; -log(1 - eps) is then no limit."""
    names: tuple[str, ...] = ()
    """Names of the hypotheses, where they have some."""
    about: dict[str, Any] = field(default_factory=dict)
    """What the curve was computed from, for the report."""

    @property
    def exact(self) -> bool:
        """Whether nothing was estimated."""
        return self.inputs is None

    @property
    def value_ratio(self) -> Float[ndarray, " eps"]:
        """I(eps) / eps, the paper's value of an example with a trace; inf at eps = 0."""
        without = np.full_like(self.info, np.inf)
        return np.asarray(np.divide(self.info, self.eps, out=without, where=self.eps > 0))

    @property
    def information_gain(self) -> Float[ndarray, " eps"]:
        """I(eps) / I_e2e(eps): the value against examples without traces on the same class and inputs.

        It is smaller than I/eps where no hypothesis has an error just above eps. 1 where both are the same,
        also where both are 0 or infinite.
        """
        differs = self.info != self.e2e_info
        with np.errstate(divide="ignore"):
            ratio = np.divide(self.info, self.e2e_info, where=differs, out=np.ones_like(self.info))
        return np.asarray(ratio)

    def at(self, eps: float) -> CoTPoint:
        """Read the curve at any eps.

        The value and the lower limit are those of the last threshold up to it, the upper limit that of the
        next one, since I does not decrease.

        Raises:
            ValueError: eps is outside [0, 1) or before the first threshold.
        """
        check_eps([eps])
        here = int(np.searchsorted(self.eps, eps, side="right")) - 1
        if here < 0:
            raise ValueError(f"This curve starts at eps = {self.eps[0]:g}, so there is no value at {eps:g}.")
        after = min(int(np.searchsorted(self.eps, eps, side="left")), len(self.eps) - 1)
        upper = float(self.upper[after]) if self.eps[after] >= eps else math.inf
        floor = 0.0 if self.transferred else -math.log1p(-eps)
        return CoTPoint(
            eps=eps,
            info=max(float(self.info[here]), floor),
            lower=max(float(self.lower[here]), floor),
            upper=upper if not self.exact else float(self.info[here]),
            e2e_info=max(float(self.e2e_info[here]), floor),
            e2e_lower=max(float(self.e2e_lower[here]), floor),
            witness=int(self.witness[here]),
            exact=self.exact,
        )

    def sample_size(self, eps: float, delta: float = 0.05, supervision: Supervision = "cot") -> float:
        """Return how many examples suffice (result 1): by I(eps), or by its lower limit where an estimate is
        infinite."""
        point = self.at(eps)
        return sufficient_samples(point.usable(supervision), self.hypotheses, delta)

    def lower_bound(self, eps: float, delta: float = 0.05) -> float:
        """Return log(1/delta) / I(eps) (result 4): fewer examples leave h* and some bad h alike, with
        probability delta or more. Where I(eps) is an estimate, its upper limit is used."""
        point = self.at(eps)
        information = point.info if self.exact else point.upper
        return 0.0 if math.isinf(information) else indistinguishable_samples(information, delta)

    def describe(self, eps: float) -> str:
        """Say in a line what is known at eps; an estimated infinity comes with its interval."""
        return str(self.at(eps))

    def to_json(self) -> dict[str, Any]:
        """Return plain values, infinities as text, with the derived columns for readers of the report."""
        plain = {
            name: value.tolist() if isinstance(value, ndarray) else value
            for name, value in asdict(self).items()
        }
        derived = {
            "value_ratio": self.value_ratio.tolist(),
            "information_gain": self.information_gain.tolist(),
        }
        words = [self.describe(float(each)) for each in _shown(self.eps)]
        found: dict[str, Any] = files.spell_infinities(plain | {"derived": derived, "in_words": words})
        return found

    def save(self, folder: str | Path) -> None:
        """Write the curve to a folder, and for readers `information.json` in words and `information.svg`."""
        from .plot import curve_svg

        super().save(folder)
        path = files.user_path(folder)
        files.write_json(path / "information.json", self.to_json())
        curves = {"I(eps)": self.info, "lower limit": self.lower, "I_e2e(eps)": self.e2e_info}
        files.write_atomic(path / "information.svg", curve_svg(self.eps, curves))


@dataclass(frozen=True)
class CoTPoint:
    """The curve at one eps, in nats."""

    eps: float
    info: float
    lower: float
    upper: float
    e2e_info: float
    e2e_lower: float
    witness: int
    exact: bool

    def usable(self, supervision: Supervision) -> float:
        """Return what a prediction may rest on: an estimated infinity is replaced by its lower limit."""
        value, low = (self.info, self.lower) if supervision == "cot" else (self.e2e_info, self.e2e_lower)
        return value if self.exact or math.isfinite(value) else low

    def __str__(self) -> str:
        where = f"I({self.eps:g})"
        if self.exact:
            if math.isfinite(self.info):
                return f"{where} = {self.info:.4g} nats, exactly"
            why = "no hypothesis errs on more" if self.witness < 0 else "no bad hypothesis ever agrees"
            return f"{where} is infinite: {why}"
        interval = f"[{self.lower:.3g}, {self.upper:.3g}]"
        if math.isfinite(self.info):
            return f"{where} = {self.info:.4g} nats {interval}"
        why = (
            "no hypothesis was seen to err on more"
            if self.witness < 0
            else "no bad hypothesis was seen to agree"
        )
        return f"{where} >= {self.lower:.3g} nats {interval}: {why}"


# --- estimating ---------------------------------------------------------------------------------


def cot_information(
    hypotheses: HypothesisClass,
    reference: int | Labels,
    inputs: Int[ndarray, "N n"],
    eps: Sequence[float] | None = None,
    *,
    split: float = 0.5,
    confidence: float = 0.95,
) -> CoTInformation:
    """Estimate the curve from a sample of inputs.

    Errors, which say who is bad, are measured on the first `split` of the inputs and agreement on the others,
    because the agreement of hypotheses that were selected on the same inputs is biased. `split=0.0` uses all
    inputs for both: then the estimate itself has I(eps) >= -log(1 - eps), as the truth does. The minimum over
    hypotheses is biased downward in any case; the limits allow for it, with Clopper-Pearson limits for each
    hypothesis and a union bound over all of them. No estimate is below -log(1 - eps), which is certain.

    Labels that no hypothesis reproduces are for `compare(..., agnostic=True)` and `information_of`.

    Args:
        hypotheses: the class H.
        reference: the number of h* in H, or labels.
        inputs: N inputs drawn from D.
        eps: thresholds in [0, 1); by default every one at which the curve may change.
        split: share of the inputs that measures errors only.
        confidence: of the limits, for all eps together.

    Raises:
        ValueError: the reference is not in H, an eps is outside [0, 1), or an argument is out of its range.
    """
    return information_of(compare(hypotheses, reference, inputs), eps, split=split, confidence=confidence)


def information_of(
    agreements: Agreements,
    eps: Sequence[float] | None = None,
    *,
    split: float = 0.5,
    confidence: float = 0.95,
    agnostic: bool = False,
    names: tuple[str, ...] = (),
) -> CoTInformation:
    """Estimate the curve from agreements on sampled inputs; see `cot_information`."""
    if not 0 <= split < 1:
        raise ValueError(f"split is the share of inputs that measures errors, in [0, 1), not {split}.")
    first = round(split * agreements.inputs)
    judged = agreements.part(0, first) if first else agreements
    agreeing = agreements.part(first, agreements.inputs) if first else agreements
    if first >= agreements.inputs:
        raise ValueError(f"split={split} leaves none of {agreements.inputs} inputs for the agreement.")
    found = _estimate(judged, agreeing, eps, confidence, agnostic)
    return replace(found, names=names)


def transfer_information(
    judged: Agreements,
    agreeing: Agreements,
    eps: Sequence[float] | None = None,
    *,
    confidence: float = 0.95,
    names: tuple[str, ...] = (),
) -> CoTInformation:
    """Return I_{train -> test}(eps): hypotheses are bad on the inputs of `judged` and agree on the others.

    Unlike I(eps) it may be 0: a hypothesis can be right on all that the training inputs ask.
    """
    found = _estimate(judged, agreeing, eps, confidence, transferred=True)
    return replace(found, names=names)


def _estimate(
    judged: Agreements,
    agreeing: Agreements,
    eps: Sequence[float] | None,
    confidence: float,
    agnostic: bool = False,
    transferred: bool = False,
) -> CoTInformation:
    """Return the curve with its limits; where one distribution is behind both, -log(1 - eps) is certain."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is between 0 and 1, not {confidence}.")
    if len(judged) != len(agreeing):
        raise ValueError(f"The two samples are of {len(judged)} and of {len(agreeing)} hypotheses.")
    # five limits a hypothesis: the error from both sides, the agreement from both, that of answers from above
    alpha = (1 - confidence) / (5 * len(judged))
    wrong = judged.inputs - judged.count(judged.answers)
    error_low, error_high = _limits(wrong, judged.inputs, alpha)
    if judged.reference is not None:
        error_high[judged.reference] = 0.0
    both, answers = agreeing.count(agreeing.both), agreeing.count(agreeing.answers)
    agree_low, agree_high = _limits(both, agreeing.inputs, alpha)
    answer_high = _limits(answers, agreeing.inputs, alpha)[1]
    errors = wrong / judged.inputs
    thresholds = _thresholds(eps, errors, error_low, error_high)
    info, witness = _infimum(errors, _minus_log(both / agreeing.inputs), thresholds)
    floor = np.zeros_like(thresholds) if transferred else -np.log1p(-thresholds)
    e2e_info, _ = _infimum(errors, _minus_log(answers / agreeing.inputs), thresholds)
    lower, _ = _infimum(error_high, _minus_log(agree_high), thresholds)
    e2e_lower, _ = _infimum(error_high, _minus_log(answer_high), thresholds)
    return CoTInformation(
        eps=thresholds,
        info=np.maximum(info, floor),
        lower=np.maximum(lower, floor),
        upper=_infimum(error_low, _minus_log(agree_low), thresholds)[0],
        e2e_info=np.maximum(e2e_info, floor),
        e2e_lower=np.maximum(e2e_lower, floor),
        witness=witness,
        hypotheses=len(judged),
        base_rate=judged.base_rate,
        inputs=agreeing.inputs,
        confidence=confidence,
        agnostic=agnostic_information(errors, 1 - both / agreeing.inputs, thresholds) if agnostic else None,
        transferred=transferred,
    )


def exact_information(exact: ExactAgreement, eps: Sequence[float] | None = None) -> CoTInformation:
    """Return the curve where agreement is known: all inputs were enumerated, or a chain was solved."""
    thresholds = _thresholds(eps, exact.errors)
    info, witness = _infimum(exact.errors, _minus_log(exact.agree), thresholds)
    e2e = _infimum(exact.errors, _minus_log(1 - exact.errors), thresholds)[0]
    return CoTInformation(
        eps=thresholds,
        info=info,
        lower=info,
        upper=info,
        e2e_info=e2e,
        e2e_lower=e2e,
        witness=witness,
        hypotheses=len(exact.errors),
        base_rate=exact.base_rate,
    )


def agnostic_information(
    errors: Float[ndarray, " H"], risks: Float[ndarray, " H"], eps: Float[ndarray, " eps"]
) -> Float[ndarray, " eps"]:
    """Return I_ag(eps) = inf{E_cot(h): E_e2e(h) >= eps}, with excess risks E(h) = R(h) - min R (result 3)."""
    excess, cot_excess = errors - errors.min(), risks - risks.min()
    order = np.argsort(excess, kind="stable")
    least = np.append(np.minimum.accumulate(cot_excess[order][::-1])[::-1], np.inf)
    found: Float[ndarray, " eps"] = least[np.searchsorted(excess[order], eps, side="left")]
    return found


def relative_information(agreeing: int, inputs: int, confidence: float = 0.95) -> tuple[float, float, float]:
    """Return -log P[h1(x) = h2(x)] of one pair of hypotheses, with one-sided limits of that confidence each.

    Where none of N inputs agrees, the value is inf and its lower limit is about -log(3/N).
    """
    low, high = _limits(np.array([agreeing]), inputs, 1 - confidence)
    value, lower, upper = _minus_log(np.array([agreeing / inputs, high[0], low[0]]))
    return float(value), float(lower), float(upper)


def check_eps(eps: Sequence[float] | Float[ndarray, " eps"]) -> None:
    """Refuse errors outside [0, 1).

    Raises:
        ValueError: names the first one.
    """
    for each in eps:
        if not 0 <= each < 1:
            raise ValueError(f"eps is an error rate in [0, 1), not {each}.")


def _thresholds(eps: Sequence[float] | None, *errors: Float[ndarray, " H"]) -> Float[ndarray, " eps"]:
    """Return the given thresholds in order, or all at which the curve or its limits may step."""
    if eps is not None:
        check_eps(eps)
        return np.unique(np.asarray(eps, dtype=np.float64))
    steps = np.unique(np.concatenate([np.zeros(1), *errors]))
    return np.asarray(steps[steps < 1])


def _infimum(
    errors: Float[ndarray, " H"], values: Float[ndarray, " H"], eps: Float[ndarray, " eps"]
) -> tuple[Float[ndarray, " eps"], Int[ndarray, " eps"]]:
    """Return the least value among hypotheses with an error above each eps, and whose it is: one sort."""
    order = np.argsort(errors, kind="stable")
    ranked, count = values[order], len(values)
    least = np.minimum.accumulate(ranked[::-1])[::-1]
    new = np.append(ranked[:-1] < least[1:], True) if count > 1 else np.ones(1, dtype=bool)
    # where a value does not improve on those after it, the witness is the one that stands there
    place = np.minimum.accumulate(np.where(new, np.arange(count), count)[::-1])[::-1]
    start = np.searchsorted(errors[order], eps, side="right")
    found, who = np.append(least, np.inf)[start], np.append(order[place], -1)[start]
    return found, who.astype(np.int64)


def _minus_log(share: Float[ndarray, " any"]) -> Float[ndarray, " any"]:
    with np.errstate(divide="ignore"):
        return np.asarray(np.abs(np.log(np.clip(share, 0.0, 1.0))))  # abs: no -0.0


def _limits(
    counts: Int[ndarray, " H"], total: int, alpha: float
) -> tuple[Float[ndarray, " H"], Float[ndarray, " H"]]:
    """Return one-sided Clopper-Pearson limits of each share, computed once for each distinct count."""
    distinct, where = np.unique(counts, return_inverse=True)
    rest = total - distinct
    low = np.where(distinct > 0, special.betaincinv(np.maximum(distinct, 1), rest + 1, alpha), 0.0)
    high = np.where(rest > 0, special.betaincinv(distinct + 1, np.maximum(rest, 1), 1 - alpha), 1.0)
    return low[where], high[where]


# --- the report ---------------------------------------------------------------------------------


def _shown(eps: Float[ndarray, " eps"]) -> Float[ndarray, " few"]:
    """Return the usual thresholds that the curve covers."""
    usual = np.array([0.01, 0.02, 0.05, 0.1, 0.2, 0.5])
    return np.asarray(usual[usual >= eps[0]])
