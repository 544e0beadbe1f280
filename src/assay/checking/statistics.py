"""Effects, intervals, verdicts, and the number of seeds still needed.

Every interval is two-sided with 95 % coverage, so a verdict `supported` on a one-sided region is wrong in at
most about 2.5 % of the checks whose truth lies on the region's edge. Which interval fits which evidence:

| evidence                                               | interval                                   |
|--------------------------------------------------------|--------------------------------------------|
| a difference a seed, seeds draw fresh data or training | `student`                                  |
| a difference a seed, looked at after every seed        | `anytime`                                  |
| a difference a seed, seeds re-split one data set       | `student` with the ratio of test to train  |
| a number that no seed changes                          | `exact`                                    |
| successes among trials                                 | `pooled_rate`, `rate_difference`           |
| many paired items, possibly in clusters                | `items`                                    |
| pairs without a magnitude                              | `wins`                                     |

The module is pure: numbers in, numbers out. Random parts (resampling, random sign flips) start from a fixed
seed, so that a result is a function of the data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from assay.paper import MIN_SEEDS, Verdict

Array = NDArray[np.float64]
Interval = tuple[float, float]

ALPHA = 0.05
MIN_LOOKS = 6  # the first look under continuous looking
MIN_FLIPS = 6  # 2 / 2^6 is the first attainable p-value under 0.05
MIN_CLUSTERS = 10
MAX_SEEDS = 10_000
ROUNDING = 1e-12  # relative size under which a difference is rounding
EXACT_FLIPS = 16  # up to here all sign patterns are enumerated
RANDOM_FLIPS = 99_999
RESAMPLES = 1_999  # (RESAMPLES + 1) * ALPHA / 2 is a whole number: quantiles are order statistics
CHUNK = 2**20  # cells of the resampling table held at a time


@dataclass(frozen=True)
class Estimate:
    """An effect with its uncertainty.

    `effect` is None without any data. `interval` is None where the data allow none, and `note` says why; its
    ends may be infinite. `p_value` is two-sided against an effect of zero (`wins`: a share of one half).
    `n` counts the seeds, items or pairs that went in.
    """

    effect: float | None
    interval: Interval | None
    p_value: float | None
    n: int
    note: str = ""


# --- a difference a seed ----------------------------------------------------------------------------------


def student(differences: ArrayLike, test_to_train: float = 0.0) -> Estimate:
    """Return the mean of paired differences with its Student interval.

    m ± t(n - 1; 0.975) · s · √(1/n + ρ), with the standard deviation s (n - 1 in the denominator). ρ = 0 for
    independent seeds. Where each seed re-splits one data set the differences are correlated, and
    ρ = n_test / n_train corrects the variance of their mean (Nadeau and Bengio 2003, "Inference for the
    generalization error"). Sign flips would ignore that correlation, so there is no p-value then.

    Raises ValueError for NaN or infinite differences and for a negative ratio.
    """
    values, ratio = _finite(differences), _ratio(test_to_train)
    if len(values) < MIN_SEEDS:
        return Estimate(_mean(values), None, None, len(values), "too few seeds")
    if not _varies(values):
        return Estimate(_mean(values), None, None, len(values), "did not vary")
    margin = student_margin(values.std(ddof=1), len(values), ratio)
    p_value = None if ratio else sign_flip_p(values)
    return Estimate(_mean(values), _around(values.mean(), margin), p_value, len(values))


def student_margin(spread: Any, n: Any, test_to_train: float = 0.0) -> Any:
    """Return half the width of `student`'s interval for standard deviations and counts (arrays broadcast)."""
    return special.stdtrit(n - 1, 1 - ALPHA / 2) * spread * np.sqrt(1 / n + test_to_train)


def anytime(differences: ArrayLike) -> Estimate:
    """Return the mean of paired differences with an interval that stays valid under continuous looking.

    The chance that the interval ever misses the mean, at any n from 6 on, is at most 5 % for independent
    normal differences. It inverts the e-process of the scale-invariant t-test whose alternative is
    μ/σ ~ N(0, g), here with g = 1 (Lai 1976; Wang and Ramdas 2024, "Anytime-valid t-tests and confidence
    sequences for Gaussian means with unknown variance"):

        E_n = √k · [(1 + t²/v) / (1 + k t²/v)]^(n/2),   t = √n (m - μ) / s,   v = n - 1,   k = 1 / (1 + n g).

    E_n < 1/α holds for |m - μ| < s √((v/n) (B - 1) / (1 - B k)) with B = (1 / (α √k))^(2/n), and for all μ
    where B k ≥ 1. The p-value is min(1, 1/E_n) at μ = 0, valid at any time too. Not for re-split data.

    Raises ValueError for NaN or infinite differences.
    """
    values = _finite(differences)
    n = len(values)
    if n < MIN_LOOKS:
        return Estimate(_mean(values), None, None, n, "too few seeds")
    if not _varies(values):
        return Estimate(_mean(values), None, None, n, "did not vary")
    spread = values.std(ddof=1)
    shrink = 1 / (1 + n)
    t_squared = n * (values.mean() / spread) ** 2
    log_e = 0.5 * np.log(shrink)
    log_e += n / 2 * (np.log1p(t_squared / (n - 1)) - np.log1p(shrink * t_squared / (n - 1)))
    margin = float(anytime_margin(spread, n))
    return Estimate(_mean(values), _around(values.mean(), margin), float(min(1.0, np.exp(-log_e))), n)


def anytime_margin(spread: Any, n: Any) -> Any:
    """Return half the width of `anytime`'s interval for standard deviations and counts (arrays broadcast)."""
    shrink = 1 / (1 + n)
    bound = (ALPHA * np.sqrt(shrink)) ** (-2 / n)
    room = 1 - bound * shrink
    ratio = (n - 1) / n * (bound - 1) / np.where(room > 0, room, 1)
    return np.where(room > 0, spread * np.sqrt(ratio), np.inf)


def exact(differences: ArrayLike) -> Estimate:
    """Return the mean of differences that no seed should change; the interval is [smallest, largest].

    One seed suffices: a count of parameters or a proof by enumeration has no sampling error.

    Raises ValueError for NaN or infinite differences.
    """
    values = _finite(differences)
    if not len(values):
        return Estimate(None, None, None, 0, "too few seeds")
    return Estimate(_mean(values), (float(values.min()), float(values.max())), None, len(values))


def sign_flip_p(differences: ArrayLike) -> float | None:
    """Return the two-sided permutation p-value of the mean under random signs; None under 6 differences.

    The share of sign patterns e in {-1, 1}^n with |Σ e_i d_i| ≥ |Σ d_i|: all 2^n of them up to n = 16, beyond
    that 99,999 random ones, where the observed pattern counts as one more. Exact for independent differences
    that are symmetric about zero.

    Raises ValueError for NaN or infinite differences.
    """
    values = _finite(differences)
    if len(values) < MIN_FLIPS:
        return None
    threshold = abs(values.sum()) - ROUNDING * np.abs(values).sum()  # equal sums differ by rounding
    if len(values) <= EXACT_FLIPS:
        sums = values[:1]  # the first sign stays: patterns come in mirrored pairs
        for value in values[1:]:
            sums = np.concatenate([sums + value, sums - value])
        return float(np.mean(np.abs(sums) >= threshold))
    rng = np.random.default_rng(0)
    sums = np.zeros(RANDOM_FLIPS)
    for value in values:
        sums += value * (2 * rng.integers(0, 2, RANDOM_FLIPS) - 1)
    return float((1 + np.sum(np.abs(sums) >= threshold)) / (1 + RANDOM_FLIPS))


# --- rates ------------------------------------------------------------------------------------------------


def pooled_rate(successes: ArrayLike, trials: ArrayLike, test_to_train: float = 0.0) -> Estimate:
    """Return the rate of successes over all seeds.

    `successes` and `trials` hold one count a seed; seeds without trials are left out. The interval is that of
    Clopper and Pearson (1934) for the pooled rate p among N* trials. N* is the number of trials, divided by
    1 + n ρ where n seeds re-split one data set. It is less from 3 seeds on where the rates differ between
    seeds more than chance allows: then only as many as would give a normal interval for p the width of
    `student`'s over the rates of the seeds (Korn and Graubard 1998),

        N* = p (1 - p) · (1.96 / margin)²,   margin = t(n - 1; 0.975) · s · √(1/n + ρ).

    Raises ValueError for counts that are no rate and for a negative ratio.
    """
    hits, totals = _counts(successes, trials)
    ratio, seeds = _ratio(test_to_train), totals > 0
    if not seeds.any():
        return Estimate(None, None, None, 0, "no trials")
    hits, totals = hits[seeds], totals[seeds]
    rate, rates = hits.sum() / totals.sum(), hits / totals
    weight = totals.sum() / (1 + len(rates) * ratio)
    if len(rates) >= MIN_SEEDS and _varies(rates):
        margin = student_margin(rates.std(ddof=1), len(rates), ratio)
        weight = min(weight, rate * (1 - rate) * (special.ndtri(1 - ALPHA / 2) / margin) ** 2)
    return Estimate(float(rate), _clopper_pearson(rate * weight, weight), None, len(hits))


def rate_difference(
    a_successes: ArrayLike,
    a_trials: ArrayLike,
    b_successes: ArrayLike,
    b_trials: ArrayLike,
    test_to_train: float = 0.0,
) -> Estimate:
    """Return the rate of `a` less the rate of `b`, paired by seed; pairs in which one has no trials are out.

    The interval is the hull of `student` over the paired differences (from 3 seeds on) and of the interval
    that recovers the variances from the limits of the single rates (Newcombe 1998, but with the limits of
    Clopper and Pearson on the pooled counts, which weigh 1 / (1 + n ρ) where n seeds re-split one data set):
    with rates p, q and limits (l, u), (l', u')

        p - q - √((p - l)² + (u' - q)²)   to   p - q + √((u - p)² + (q - l')²).

    Raises ValueError for counts that are no rate, unequal numbers of seeds and a negative ratio.
    """
    a_hits, a_totals = _counts(a_successes, a_trials)
    b_hits, b_totals = _counts(b_successes, b_trials)
    if len(a_totals) != len(b_totals):
        raise ValueError(
            f"rates are paired by seed, but one has {len(a_totals)} seeds, the other {len(b_totals)}"
        )
    pairs = (a_totals > 0) & (b_totals > 0)
    if not pairs.any():
        return Estimate(None, None, None, 0, "no trials")
    a_hits, a_totals, b_hits, b_totals = a_hits[pairs], a_totals[pairs], b_hits[pairs], b_totals[pairs]
    over_seeds = student(a_hits / a_totals - b_hits / b_totals, test_to_train)
    a_rate, b_rate = a_hits.sum() / a_totals.sum(), b_hits.sum() / b_totals.sum()
    weight = 1 / (1 + len(a_hits) * test_to_train)
    a_low, a_high = _clopper_pearson(weight * a_hits.sum(), weight * a_totals.sum())
    b_low, b_high = _clopper_pearson(weight * b_hits.sum(), weight * b_totals.sum())
    effect = float(a_rate - b_rate)
    low = effect - float(np.hypot(a_rate - a_low, b_high - b_rate))
    high = effect + float(np.hypot(a_high - a_rate, b_rate - b_low))
    interval = _hull((low, high), over_seeds.interval)
    return Estimate(effect, (max(interval[0], -1.0), min(interval[1], 1.0)), over_seeds.p_value, len(a_hits))


def wins(won: int, lost: int, test_to_train: float = 0.0) -> Estimate:
    """Return the share of pairs won, for pairs without a magnitude: one side never reached the level.

    Interval: Clopper and Pearson (1934); decide it against 1/2, which takes at least six pairs. p-value: the
    sign test, from 6 pairs on. Where seeds re-split one data set, n pairs weigh only as much as n / (1 + n ρ)
    independent ones, ρ = n_test / n_train (the correction of `student`), and there is no p-value.

    Raises ValueError for negative counts and for a negative ratio.
    """
    hits, totals = _counts([won], [won + lost])
    ratio, n = _ratio(test_to_train), int(totals[0])
    if n == 0:
        return Estimate(None, None, None, 0, "no pairs")
    weight = 1 / (1 + n * ratio)
    p_value = None
    if n >= MIN_FLIPS and not ratio:
        p_value = min(1.0, 2 * float(special.bdtr(min(won, lost), n, 0.5)))
    return Estimate(won / n, _clopper_pearson(weight * hits[0], weight * n), p_value, n)


# --- items ------------------------------------------------------------------------------------------------


def items(differences: ArrayLike, clusters: ArrayLike | None = None) -> Estimate:
    """Return the mean over paired items with an interval over clusters (each item its own if none are given).

    With cluster sums S_g, sizes n_g, N = Σ n_g and the mean m = Σ S_g / N, the jackknife's standard error is
    s² = (G - 1)/G · Σ ((S_g - m n_g) / (N - n_g))². The interval is the hull of two:

    - the bootstrap-t over clusters (Efron and Tibshirani 1993, section 12.5), which follows skewed values;
    - m ± t · s with G* - 1 degrees of freedom, G* = N² / Σ n_g² the effective number of clusters, which holds
      where the values are discrete or heavy-tailed and the bootstrap is too short.

    Coverage is about 95 % from 10 clusters on; strong skew (lognormal values) takes some 50 of them, at 10 it
    is 93 %. An end is infinite where so few clusters differ that a resample easily misses them all.

    Raises ValueError for NaN or infinite differences and for another number of clusters than of items.
    """
    values = _finite(differences)
    labels = np.arange(len(values)) if clusters is None else np.asarray(clusters)
    if labels.shape != values.shape:
        raise ValueError(f"expected one cluster for each of {len(values)} items, got shape {labels.shape}")
    _, members = np.unique(labels, return_inverse=True)
    sizes = np.bincount(members).astype(np.float64)
    count, total = len(sizes), len(values)
    if count < MIN_CLUSTERS:
        return Estimate(_mean(values), None, None, total, "too few clusters")
    residuals = np.asarray(np.bincount(members, values - values.mean()), dtype=np.float64)
    error = np.sqrt((count - 1) / count * np.sum((residuals / (total - sizes)) ** 2))
    if error <= ROUNDING * np.abs(values).max():
        return Estimate(_mean(values), None, None, total, "did not vary")
    freedom = max(total**2 / np.sum(sizes**2) - 1, 1.0)
    margin = special.stdtrit(freedom, 1 - ALPHA / 2) * error
    low, high = _bootstrap_t(residuals, sizes)
    resampled = (float(values.mean() - high * error), float(values.mean() - low * error))
    interval = _hull(resampled, _around(values.mean(), margin))
    note = "" if np.isfinite(interval).all() else "too few clusters differ"
    return Estimate(_mean(values), interval, None, total, note)


def _bootstrap_t(residuals: Array, sizes: Array) -> Interval:
    """Return the 2.5 % and 97.5 % points of (m* - m) / s* over resampled clusters.

    A resample draws M = G - 3 clusters with replacement, so that its mean is about as skewed as that of G
    clusters: a sample's skewness is too small by the factor (G - 2) / √(G (G - 1)), a mean's falls with √M,
    and M = (G - 2)² / (G - 1) balances the two (the resample size of Rao and Wu 1988).
    s*² = M/(M - 1) · Σ (S_g - m* n_g)² / N*² is a function of five sums over the resample, so a matrix of
    counts times a table of five columns gives all of them.
    """
    rng = np.random.default_rng(0)
    count, draws = len(sizes), len(sizes) - 3
    table = np.stack([residuals, sizes, residuals**2, residuals * sizes, sizes**2], axis=1)
    rows = max(1, CHUNK // count)
    sums = []
    for start in range(0, RESAMPLES, rows):
        height = min(rows, RESAMPLES - start)
        drawn = rng.integers(0, count, (height, draws)) + count * np.arange(height)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=height * count).reshape(height, count)
        sums.append(counts @ table)
    value, size, squared, mixed, size_squared = np.concatenate(sums).T
    shift = value / size
    variance = draws / (draws - 1) * (squared - 2 * shift * mixed + shift**2 * size_squared) / size**2
    alike = variance < ROUNDING * np.sum(residuals**2) / sizes.sum() ** 2
    variance[alike] = 0
    with np.errstate(divide="ignore", invalid="ignore"):
        statistics = np.sort(np.nan_to_num(shift / np.sqrt(variance), nan=0.0, posinf=np.inf, neginf=-np.inf))
    tail = round((RESAMPLES + 1) * ALPHA / 2)
    return float(statistics[tail - 1]), float(statistics[-tail])


# --- verdicts ---------------------------------------------------------------------------------------------


def decide(interval: Interval | None, low: float, high: float, closed: bool = False) -> Verdict:
    """Return whether the interval lies inside the region from `low` to `high`, outside it, or neither.

    Superior by b: (b, ∞). Not inferior within w: (-w, ∞). Equivalent within w: (-w, w). `closed` counts the
    region's own bounds as inside, which matters for exact numbers only: a difference of exactly 0 is within
    0. No interval is inconclusive.

    Raises ValueError for bounds in the wrong order, and for NaN.
    """
    if not low <= high:
        raise ValueError(f"expected a region from low to high, got ({low}, {high})")
    if interval is None:
        return "inconclusive"
    start, end = interval
    if not start <= end:
        raise ValueError(f"expected an interval from low to high, got ({start}, {end})")
    above = start >= low if closed or low == -np.inf else start > low
    below = end <= high if closed or high == np.inf else end < high
    if above and below:
        return "supported"
    outside = end < low or start > high if closed else end <= low or start >= high
    return "contradicted" if outside else "inconclusive"


def seeds_needed(
    differences: ArrayLike, low: float, high: float, test_to_train: float = 0.0, continuous: bool = False
) -> int | None:
    """Return the smallest number of seeds whose interval would lie on one side of the region's bounds.

    The mean and the standard deviation are taken to stay what they are, and the interval is `student`'s, or
    `anytime`'s where the seeds are looked at continuously. The present number where it is enough already; the
    least number that gives an interval where there are fewer; None where none up to 10,000 would do: the mean
    lies on a bound, the differences do not vary, or re-splitting one data set cannot tell (√ρ s is too wide).

    Raises ValueError for NaN or infinite differences and for a negative ratio.
    """
    values, ratio = _finite(differences), _ratio(test_to_train)
    least = MIN_LOOKS if continuous else MIN_SEEDS
    if len(values) < least:
        return least
    if not _varies(values):
        return None
    spread, mean = values.std(ddof=1), values.mean()
    counts = np.arange(len(values), max(len(values), MAX_SEEDS) + 1)
    margins = anytime_margin(spread, counts) if continuous else student_margin(spread, counts, ratio)
    enough = np.flatnonzero(margins < min(abs(mean - low), abs(mean - high)))
    return int(counts[enough[0]]) if enough.size else None


# --- helpers ----------------------------------------------------------------------------------------------


def _finite(differences: ArrayLike) -> Array:
    values = np.asarray(differences, dtype=np.float64)
    if values.ndim != 1:
        raise ValueError(f"expected a flat sequence of numbers, got an array of shape {values.shape}")
    bad = np.sum(~np.isfinite(values))
    if bad:
        raise ValueError(
            f"expected finite numbers, but {bad} of {len(values)} are NaN or infinite; "
            "pairs in which a level was never reached are counted with `wins`"
        )
    return values


def _counts(successes: ArrayLike, trials: ArrayLike) -> tuple[Array, Array]:
    hits, totals = _finite(successes), _finite(trials)
    if hits.shape != totals.shape:
        raise ValueError(
            f"expected counts seed by seed, got {len(hits)} of successes, {len(totals)} of trials"
        )
    if (hits < 0).any() or (hits > totals).any():
        raise ValueError("expected counts with 0 <= successes <= trials in each seed")
    return hits, totals


def _ratio(test_to_train: float) -> float:
    if not 0 <= test_to_train < np.inf:
        raise ValueError(f"expected the number of test rows over that of training rows, got {test_to_train}")
    return test_to_train


def _mean(values: Array) -> float | None:
    return float(values.mean()) if len(values) else None


def _varies(values: Array) -> bool:
    """Return whether the values differ by more than rounding."""
    return bool(np.ptp(values) > ROUNDING * np.abs(values).max())


def _around(centre: float, margin: float) -> Interval:
    return float(centre - margin), float(centre + margin)


def _hull(first: Interval, second: Interval | None) -> Interval:
    return first if second is None else (min(first[0], second[0]), max(first[1], second[1]))


def _clopper_pearson(successes: float, trials: float) -> Interval:
    """Return the limits at which a binomial tail beyond `successes` has probability 2.5 % (1934).

    In terms of the beta distribution, so that weighted counts need not be whole.
    """
    failures = trials - successes
    low = special.betaincinv(successes, failures + 1, ALPHA / 2) if successes > 0 else 0.0
    high = special.betaincinv(successes + 1, failures, 1 - ALPHA / 2) if failures > 0 else 1.0
    return float(low), float(high)
