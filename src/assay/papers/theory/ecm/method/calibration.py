"""Calibration: the constants that make a user's own results most likely.

    P(correct) = sigmoid(alpha + beta log P),   log P = 2 log(U + U_W Phi) - 2 log(R_0 + R) + log R_0
    R = a_w r1 + b_w r2 + c_w for each way w, divided by k and with R_0 added for a vote of k replies

Only ratios matter, so U and R_0 stay fixed, and the first way has c = 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import optimize, special

from .circuit import OUTPUT, Array, CircuitConstants, Numbers, induced_voltage
from .resistance import LinearResistance, Resistance, Way

RANGE = (-14.0, 7.0)
"""Bounds of the logarithm of each fitted constant, in the units of the data's own scale."""
FEWEST = 20
"""Items below which nothing is fitted."""

Column = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Readings:
    """What the circuit is given for each item.

    Args:
        steps: r1 [n].
        load: r2 [n].
        flux: sum of the flux of the demonstrations in the prompt [n]; 0 without any.
        ways: how each item is answered [n].
        samples: replies of which the majority counts [n]; 1 without a vote.
    """

    steps: Column
    load: Column
    flux: Column
    ways: tuple[Way, ...]
    samples: Column

    def __post_init__(self) -> None:
        for name in ("steps", "load", "flux", "samples"):
            values = np.asarray(getattr(self, name), dtype=np.float64)
            object.__setattr__(self, name, values)
            if values.shape != (len(self.ways),):
                raise ValueError(f"{name} has the shape {values.shape}; one value an item is needed.")
            if not np.isfinite(values).all():
                raise ValueError(f"{name} has values that are not finite.")
        if (self.steps < 0).any() or (self.load < 0).any() or (self.samples < 1).any():
            raise ValueError("Steps and load must be at least 0, samples at least 1.")

    def __len__(self) -> int:
        return len(self.ways)

    def take(self, rows: Numbers) -> Readings:
        """Return some of the items."""
        at = np.asarray(rows, dtype=np.int64)
        ways = tuple(self.ways[row] for row in at)
        return Readings(self.steps[at], self.load[at], self.flux[at], ways, self.samples[at])

    def resistance(self, resistor: Resistance, output: float = OUTPUT) -> Array:
        """Return R [n], with the votes' parallel paths."""
        found = np.zeros(len(self))
        ways = np.array(self.ways)
        for way in dict.fromkeys(self.ways):
            at = ways == way
            found[at] = resistor(self.steps[at], self.load[at], way)
        return found / self.samples + np.where(self.samples > 1, output, 0.0)


@dataclass(frozen=True)
class Calibration:
    """What a fit found.

    Args:
        constants: with the fitted U_W.
        resistance: a, b and c of each way.
        alpha, beta: from log P to the log-odds of a correct answer.
        log_loss: mean, in nats, on the items of the fit.
        items: how many there were.
        restarts: starts that were tried.
        agreeing: starts that ended within 1e-4 of the best.
        unidentified: fitted constants that the items say nothing about: they ended at a bound, or the
            log-loss hardly changes when they are doubled or halved.
    """

    constants: CircuitConstants
    resistance: LinearResistance
    alpha: float
    beta: float
    log_loss: float = 0.0
    items: int = 0
    restarts: int = 0
    agreeing: int = 0
    unidentified: tuple[str, ...] = ()


def calibrate(
    readings: Readings,
    correct: Numbers,
    constants: CircuitConstants | None = None,
    *,
    restarts: int = 10,
    seed: int = 0,
) -> Calibration:
    """Fit U_W, the resistances, alpha and beta by maximum likelihood: L-BFGS from random starts.

    Args:
        readings: of the items.
        correct: whether each was answered correctly.
        constants: gives U and R_0, which stay as they are.
        restarts: random starts; the best end is kept.
        seed: of the starts.

    Raises:
        ValueError: there are fewer than 20 items, or they are all right or all wrong.
    """
    answers = np.asarray(correct, dtype=np.float64)
    if answers.shape != (len(readings),):
        raise ValueError(f"There are {len(readings)} items and {answers.size} answers.")
    if len(readings) < FEWEST:
        raise ValueError(f"{len(readings)} items are too few to calibrate on; give at least {FEWEST}.")
    if answers.min() == answers.max():
        raise ValueError("All items have the same outcome, so that there is nothing to calibrate on.")
    likelihood = _Likelihood(readings, answers, constants or CircuitConstants())
    random = np.random.default_rng(seed)
    ends = [likelihood.minimise(likelihood.start(random)) for _ in range(restarts)]
    best = min(ends, key=lambda end: float(end.fun))
    agreeing = sum(end.fun <= best.fun + 1e-4 for end in ends)
    return likelihood.calibration(best.x, float(best.fun), restarts, int(agreeing))


class _Likelihood:
    """Mean negative log-likelihood of (log U_W, log a, b, c of each way, alpha, log beta)."""

    def __init__(self, readings: Readings, answers: Array, constants: CircuitConstants) -> None:
        self.answers, self.constants = answers, constants
        self.ways: list[Way] = list(dict.fromkeys(sorted(readings.ways)))
        flux = induced_voltage(readings.flux, 1.0)
        # In units of their own means, so that all logarithms are of one size.
        self.scales = {
            "flux": flux[flux > 0].mean() / constants.voltage if (flux > 0).any() else 1.0,
            "steps": max(readings.steps.mean(), 1e-12) / constants.output,
            "load": max(readings.load.mean(), 1e-12) / constants.output,
        }
        self.flux = flux / self.scales["flux"]
        self.samples = readings.samples
        self.vote = np.where(readings.samples > 1, constants.output, 0.0)
        steps, load = readings.steps / self.scales["steps"], readings.load / self.scales["load"]
        names, columns = [], []
        for number, way in enumerate(self.ways):
            here = np.array([each == way for each in readings.ways], dtype=np.float64)
            columns += [here * steps, here * load]
            names += [f"{way}.steps", f"{way}.load"]
            if number:
                columns.append(here * constants.output)
                names.append(f"{way}.offset")
        self.names, self.columns = names, np.stack(columns)

    def __call__(self, theta: Array) -> tuple[float, Array]:
        """Return the mean negative log-likelihood and its gradient."""
        constants, count = self.constants, len(self.names)
        induction, ohms = np.exp(theta[0]), np.exp(theta[1 : 1 + count])
        alpha, beta = theta[-2], np.exp(theta[-1])
        volts = constants.voltage + induction * self.flux
        parts = ohms[:, None] * self.columns / self.samples
        total = constants.output + parts.sum(0) + self.vote
        # Relative to P of a bare source, so that alpha and beta hardly pull at one another.
        log_power = 2 * np.log(volts / constants.voltage) - 2 * np.log(total / constants.output)
        logits = alpha + beta * log_power
        loss = np.mean(np.logaddexp(0, logits) - self.answers * logits)
        slope = (special.expit(logits) - self.answers) / len(self.answers)
        gradient = np.concatenate(
            [
                [beta * slope @ (2 * induction * self.flux / volts)],
                beta * (-2 * parts / total) @ slope,
                [slope.sum(), beta * slope @ log_power],
            ]
        )
        return float(loss), gradient

    def start(self, random: np.random.Generator) -> Array:
        """Return a random start around constants of order one."""
        return np.concatenate([random.normal(-1, 1.5, 1 + len(self.names)), random.normal(0, 0.5, 2)])

    def bounds(self) -> list[tuple[float, float]]:
        """Return the bounds of theta.

        Where R is small against R_0 only beta * R matters: beta between 1/4 and 4 keeps P in a useful range.
        """
        return [RANGE] * (1 + len(self.names)) + [(-30.0, 30.0), (-np.log(4), np.log(4))]

    def minimise(self, start: Array) -> optimize.OptimizeResult:
        """Run L-BFGS from one start."""
        return optimize.minimize(
            self, start, jac=True, method="L-BFGS-B", bounds=self.bounds(), options={"maxiter": 300}
        )

    def unidentified(self, theta: Array, loss: float) -> tuple[str, ...]:
        """Name the constants that end at a bound or may be doubled or halved at no cost."""
        found = []
        names = ["induction", *self.names, "alpha", "beta"]
        moves = np.log(2) * np.eye(len(theta))
        for place, (name, (low, high), move) in enumerate(zip(names, self.bounds(), moves, strict=True)):
            flat = max(self(theta + move)[0], self(theta - move)[0]) - loss < 1e-6
            if flat or theta[place] - low < 1e-6 or high - theta[place] < 1e-6:
                found.append(name)
        return tuple(found)

    def calibration(self, theta: Array, loss: float, restarts: int, agreeing: int) -> Calibration:
        """Return the fit in the units of the data."""
        ohms = dict(zip(self.names, np.exp(theta[1 : 1 + len(self.names)]), strict=True))
        coefficients: dict[str, tuple[float, float, float]] = {
            way: (
                float(ohms[f"{way}.steps"] / self.scales["steps"]),
                float(ohms[f"{way}.load"] / self.scales["load"]),
                float(ohms.get(f"{way}.offset", 0.0) * self.constants.output),
            )
            for way in self.ways
        }
        beta = float(np.exp(theta[-1]))
        bare = self.constants.voltage**2 / self.constants.output
        return Calibration(
            self.constants.with_(induction=float(np.exp(theta[0]) / self.scales["flux"])),
            LinearResistance(coefficients),
            float(theta[-2] - beta * np.log(bare)),
            beta,
            loss,
            len(self.answers),
            restarts,
            agreeing,
            self.unidentified(theta, loss),
        )
