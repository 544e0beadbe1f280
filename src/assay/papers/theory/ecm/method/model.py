"""The whole circuit: items in, power and accuracy out; strategies ranked; saved and loaded again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from scipy import special

from assay.artefact import Artefact

from .calibration import Calibration, Readings, calibrate
from .circuit import Array, CircuitConstants, Numbers, induced_voltage, power
from .estimator import DifficultyEstimator
from .flux import Choice, DemoRetriever, Encode, flux
from .resistance import MathResistance, Resistance, Way

REASON = "Let's think step-by-step!"


class Demo(NamedTuple):
    """A solved example."""

    question: str
    answer: str


def render_prompt(question: str, demos: Sequence[Demo] = (), reason: bool = False) -> str:
    """Return the prompt of section 3.5 of the authors' code.

    Args:
        question: what is asked.
        demos: solved examples, in the order in which they are shown.
        reason: end with "Let's think step-by-step!", as zero-shot chain of thought does.
    """
    shown = "".join(f"[QUESTION]\n{demo.question}\n[ANSWER]\n{demo.answer}\n\n" for demo in demos)
    return f"{shown}[QUESTION]\n{question}" + (f"\n{REASON}" if reason else "")


@dataclass(frozen=True)
class Item:
    """A question, and how it is put to the language model.

    Args:
        question: what is asked.
        solution: an annotated solution, if there is one.
        difficulty: its steps r1 and load r2; read from the solution, or estimated, where it is None.
        demos: the questions of the demonstrations in the prompt.
        way: how it is answered.
        samples: replies of which the majority counts.
    """

    question: str
    solution: str | None = None
    difficulty: tuple[float, float] | None = None
    demos: tuple[str, ...] = ()
    way: Way = "cot"
    samples: int = 1


@dataclass(frozen=True)
class CircuitReading:
    """The circuit's quantities, one value an item.

    Args:
        induced: U_icl, volts that the demonstrations add.
        resistance: R.
        power: P, which goes with accuracy.
        accuracy: the chance of a correct answer; None without a calibration.
    """

    induced: Array
    resistance: Array
    power: Array
    accuracy: Array | None


@dataclass(frozen=True)
class Strategy:
    """A way to ask, to be ranked before anything is paid for.

    Args:
        name: for the reader.
        way: how the question is answered.
        shots: demonstrations in the prompt.
        choice: how they are chosen.
        samples: replies of which the majority counts.
    """

    name: str
    way: Way = "cot"
    shots: int = 0
    choice: Choice = "flux"
    samples: int = 1


@dataclass(frozen=True)
class Ranked:
    """A strategy with what the circuit says of it, and the prompt that it would send."""

    strategy: Strategy
    power: float
    accuracy: float | None
    tokens: float
    utility: float
    demos: tuple[int, ...]
    prompt: str


class ElectronicCircuitModel(Artefact):
    """Predicts from circuit quantities whether a language model will answer a question correctly.

    Args:
        encoder: texts to embeddings [n, d]; needed for demonstrations and for the estimator alone.
        constants: U, U_W and R_0; by default those of the authors' code for gpt-3.5-turbo.
        resistance: turns steps and load into R; by default that of annotated arithmetic.
        calibration: of an earlier fit, in place of constants and resistance.
        estimator: gives the difficulty of questions without one.
        negative: what a negative sum of flux does: `clamp` counts it as 0 with a warning, `raise` refuses.
    """

    def __init__(
        self,
        encoder: Encode | None = None,
        constants: CircuitConstants | None = None,
        resistance: Resistance | None = None,
        *,
        calibration: Calibration | None = None,
        estimator: DifficultyEstimator | None = None,
        negative: Literal["clamp", "raise"] = "clamp",
    ) -> None:
        if negative not in ("clamp", "raise"):
            raise ValueError(f"negative {negative!r} is neither clamp nor raise.")
        self.encoder, self.estimator, self.negative = encoder, estimator, negative
        self.calibration = calibration
        if calibration is not None:
            constants, resistance = calibration.constants, calibration.resistance
        self.constants = given = constants or CircuitConstants()
        default = MathResistance(given.steps, given.load, given.offset)
        self.resistance: Resistance = resistance or default
        self.pool: tuple[Demo, ...] = ()
        self._seed = 0
        self._retriever: DemoRetriever | None = None

    # --- reading ----------------------------------------------------------------------------------

    def readings(self, items: Sequence[Item]) -> Readings:
        """Return steps, load and flux of items.

        Raises:
            DifficultyUnavailable: an item has no difficulty, no annotations, and there is no estimator.
            ValueError: demonstrations are there but no encoder.
        """
        difficulties = self._difficulties(items)
        return Readings(
            np.array([steps for steps, _ in difficulties]),
            np.array([load for _, load in difficulties]),
            self._flux(items),
            tuple(item.way for item in items),
            np.array([float(item.samples) for item in items]),
        )

    def predict(self, items: Sequence[Item] | Readings) -> CircuitReading:
        """Return the circuit quantities of items, and the chance of a correct answer after a calibration."""
        seen = items if isinstance(items, Readings) else self.readings(items)
        induced = induced_voltage(seen.flux, self.constants.induction, self.negative)
        resistance = seen.resistance(self.resistance, self.constants.output)
        watts = power(self.constants.voltage + induced, resistance, self.constants.output)
        accuracy = None
        if self.calibration is not None:
            logits = self.calibration.alpha + self.calibration.beta * np.log(np.maximum(watts, 1e-300))
            accuracy = np.asarray(special.expit(logits))
        return CircuitReading(induced, resistance, watts, accuracy)

    def fit(
        self,
        items: Sequence[Item] | Readings,
        correct: Numbers,
        *,
        restarts: int = 10,
        seed: int = 0,
    ) -> ElectronicCircuitModel:
        """Calibrate on your own results; see `calibrate`. U and R_0 stay, all else is fitted."""
        seen = items if isinstance(items, Readings) else self.readings(items)
        self.calibration = calibrate(seen, np.asarray(correct), self.constants, restarts=restarts, seed=seed)
        self.constants, self.resistance = self.calibration.constants, self.calibration.resistance
        return self

    # --- choosing ---------------------------------------------------------------------------------

    def with_pool(self, pool: Sequence[Demo], seed: int = 0) -> ElectronicCircuitModel:
        """Give the model solved examples to take demonstrations from; they are embedded when first needed."""
        self.pool, self._seed, self._retriever = tuple(pool), seed, None
        return self

    def retrieve(self, question: str, k: int = 5, choice: Choice = "flux") -> list[Demo]:
        """Return k demonstrations for a question, those with the most flux first.

        Raises:
            ValueError: there is no pool, or it is too small.
        """
        return [self.pool[row] for row in self._chosen(question, k, choice)]

    def rank(
        self,
        strategies: Sequence[Strategy],
        item: Item | str,
        price: float = 0.0,
        reply_tokens: float = 150.0,
    ) -> list[Ranked]:
        """Rank ways to ask a question, before anything is paid for.

        The utility is the chance of a correct answer minus price * tokens; without a calibration it is the
        power, and no price can be set against it.

        Args:
            strategies: what may be done.
            item: the question; its own way, demonstrations and samples are not used.
            price: what a token costs, in units of a correct answer.
            reply_tokens: of one reply with reasoning; one without counts as 10.

        Raises:
            ValueError: there is no strategy, a price without a calibration, or a way that was not calibrated.
        """
        if not strategies:
            raise ValueError("There is no strategy to rank.")
        if price and self.calibration is None:
            raise ValueError("A price needs chances of a correct answer: call fit first.")
        asked = item if isinstance(item, Item) else Item(item)
        chosen = [self._chosen(asked.question, each.shots, each.choice) for each in strategies]
        shown = [(rows, [self.pool[row] for row in rows]) for rows in chosen]
        items = [
            replace(asked, demos=tuple(demo.question for demo in demos), way=each.way, samples=each.samples)
            for each, (_, demos) in zip(strategies, shown, strict=True)
        ]
        reading = self.predict(items)
        ranked = []
        for place, (each, (rows, demos)) in enumerate(zip(strategies, shown, strict=True)):
            prompt = render_prompt(asked.question, demos, each.way == "cot")
            tokens = len(prompt) / 4 + each.samples * (reply_tokens if each.way != "direct" else 10.0)
            chance = None if reading.accuracy is None else float(reading.accuracy[place])
            watts = float(reading.power[place])
            utility = watts if chance is None else chance - price * tokens
            ranked.append(Ranked(each, watts, chance, tokens, utility, rows, prompt))
        return sorted(ranked, key=lambda one: -one.utility)

    # --- keeping ----------------------------------------------------------------------------------

    def record(self) -> dict[str, Any]:
        """Return the calibration, the estimator and the pool; the encoder is not part of it.

        Raises:
            ValueError: there is no calibration to keep.
        """
        if self.calibration is None:
            raise ValueError("There is no calibration to save: call fit first.")
        return {name: getattr(self, name) for name in ("calibration", "estimator", "negative", "pool")}

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> ElectronicCircuitModel:
        """Return the model; `use` gives it the encoder of the calibration."""
        pool = record.pop("pool")
        return cls(**record).with_pool(pool)

    def use(self, encoder: Encode) -> ElectronicCircuitModel:
        """Take an encoder for demonstrations and for the estimator: that of the calibration."""
        self.encoder, self._retriever = encoder, None
        if self.estimator is not None:
            self.estimator.encoder = encoder
        return self

    # --- parts ------------------------------------------------------------------------------------

    def _chosen(self, question: str, k: int, choice: Choice) -> tuple[int, ...]:
        if k == 0:
            return ()
        if not self.pool:
            raise ValueError("Demonstrations need a pool of solved examples: call with_pool first.")
        if self._retriever is None:
            questions = [demo.question for demo in self.pool]
            self._retriever = DemoRetriever(self._encoder(), questions, self._seed)
        return self._retriever.topk([question], k, choice)[0].rows

    def _encoder(self) -> Encode:
        if self.encoder is None:
            raise ValueError("Demonstrations need an encoder: a function from texts to embeddings [n, d].")
        return self.encoder

    def _difficulties(self, items: Sequence[Item]) -> list[tuple[float, float]]:
        read = getattr(self.resistance, "difficulty", MathResistance().difficulty)
        unknown = [item.question for item in items if item.difficulty is None and item.solution is None]
        if unknown and self.estimator is None:
            read("")  # says what is missing
        estimated = (
            zip(*self.estimator.predict(unknown), strict=True) if unknown and self.estimator else iter(())
        )
        return [
            item.difficulty or (next(estimated) if item.solution is None else read(item.solution))
            for item in items
        ]

    def _flux(self, items: Sequence[Item]) -> Array:
        """Return the sum of the flux of each item's own demonstrations."""
        texts = [text for item in items if item.demos for text in (item.question, *item.demos)]
        if not texts:
            return np.zeros(len(items))
        texts = list(dict.fromkeys(texts))
        embeddings = self._encoder()(texts)
        if not torch.isfinite(embeddings).all():
            raise ValueError("The encoder gave NaN or infinity.")
        known = dict(zip(texts, embeddings, strict=True))
        sums = [
            float(flux(known[item.question], torch.stack([known[demo] for demo in item.demos])).sum())
            if item.demos
            else 0.0
            for item in items
        ]
        return np.array(sums)
