"""Prompts that bring a fact back in context, level by level, and the controls that do not."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from transformers import PreTrainedTokenizerBase

from assay.errors import InputError, unknown
from assay.papers.privacy.knowledge import FactRecord, encode_pair

LEVELS = (
    "closed_book",
    "irrelevant",
    "direct",
    "paraphrase",
    "derivation",
    "demonstrations",
    "wrong_fact",
)
"""C0 to C6: what comes before the question."""


@dataclass(frozen=True)
class PromptForm:
    """How facts, questions and answers are written."""

    fact: str = "{fact}\n"
    """A statement in the context, with `{fact}`."""
    question: str = "Question: {question}\nAnswer:"
    """What the model is asked, with `{question}`."""
    answer: str = " {answer}"
    """How an answer follows the question, with `{answer}`."""
    shot_end: str = "\n"
    """What ends a demonstration's answer."""

    def __post_init__(self) -> None:
        for name in ("fact", "question", "answer"):
            if f"{{{name}}}" not in getattr(self, name):
                raise InputError(f"the form of a {name} needs {{{name}}}, got {getattr(self, name)!r}.")


@dataclass(frozen=True)
class Prompt:
    """One question about one fact after one context."""

    text: str
    fact: FactRecord
    level: str
    distractors: int
    """How many statements of other facts were asked for."""
    placement: int
    """Which of the random placements this is."""
    position: int | None = None
    """Where among the statements the fact stands, from 0."""
    false_answer: str | None = None
    """The answer that the context gives instead, at the level `wrong_fact`."""
    dropped: int = 0
    """Distractors left out because the model's window was full."""
    length_ratio: float | None = None
    """Tokens of an irrelevant context over those of the one with the fact."""


@dataclass(frozen=True)
class _Statement:
    """What stands in the place of the fact that is asked for."""

    texts: tuple[str, ...] = ()
    false_answer: str | None = None
    length_ratio: float | None = None


class ContextBuilder:
    """Builds the prompts of one level.

    | level | what comes before the question |
    |---|---|
    | `closed_book` | nothing |
    | `irrelevant` | another entity's retain fact of like length in the fact's place |
    | `direct` | the fact at a random place among `n_distractors` retain facts of other entities |
    | `paraphrase` | one of its paraphrases in its place |
    | `derivation` | its axioms in its place; neither the fact nor the answer stands anywhere |
    | `demonstrations` | other facts of the same split as questions with answers |
    | `wrong_fact` | the fact with a false answer in its place |

    Distractors never hold the answer. They and the places are drawn by item and placement, the same for all
    levels, so that levels differ in one statement.

    Args:
        level: one of `LEVELS`.
        facts: all facts; those to retain are the distractors.
        tokenizer: measures lengths, as the model reads.
        n_distractors: statements of other facts in the context; demonstrations at that level.
        seed: of distractors, places and false answers.
        max_tokens: the model's window; distractors that do not fit are dropped, the fact never is.
        form: how things are written.
        chat: whether the prompt goes into the tokenizer's chat template.

    Raises:
        InputError: the level is unknown, or there are too few facts to retain.
    """

    def __init__(
        self,
        level: str,
        facts: Sequence[FactRecord],
        tokenizer: PreTrainedTokenizerBase,
        n_distractors: int = 3,
        *,
        seed: int = 0,
        max_tokens: int | None = None,
        form: PromptForm | None = None,
        chat: bool = False,
    ) -> None:
        if level not in LEVELS:
            raise unknown("level", level, LEVELS)
        self.level, self.facts, self.tokenizer = level, facts, tokenizer
        self.n_distractors, self.seed, self.max_tokens = n_distractors, seed, max_tokens
        self.form, self.chat = form or PromptForm(), chat
        self._kept = [fact for fact in facts if fact.split == "retain"]
        self._lengths: dict[str, int] = {}
        self._number = {fact.id: place for place, fact in enumerate(facts)}

    def build(self, fact: FactRecord, placement: int = 0) -> Prompt | None:
        """Return the prompt, or None where the fact lacks what the level needs.

        Raises:
            InputError: an axiom gives the answer away, or even the fact alone does not fit into the window.
        """
        if self.level == "closed_book":
            return self._fit(fact, placement, lambda kept: "", 0)
        if self.level == "demonstrations":
            return self._demonstrations(fact, placement)
        stream = self._stream(fact, placement)
        distractors = self._distractors(fact, stream)
        place = int(stream.integers(len(distractors) + 1))
        statement = self._statement(fact, placement, distractors, stream)
        if statement is None:
            return None
        texts = statement.texts

        def context(kept: int) -> str:
            written = (*distractors[: min(kept, place)], *texts, *distractors[place:kept])
            return "".join(self.form.fact.format(fact=text) for text in written)

        prompt = self._fit(fact, placement, context, len(distractors))
        position = min(place, len(distractors) - prompt.dropped)
        return replace(
            prompt,
            position=None if self.level == "irrelevant" else position,
            false_answer=statement.false_answer,
            length_ratio=statement.length_ratio,
        )

    def _stream(self, fact: FactRecord, placement: int, *use: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, self._number[fact.id], placement, *use])

    # --- what the context says --------------------------------------------------------------------

    def _distractors(self, fact: FactRecord, stream: np.random.Generator) -> list[str]:
        pool = [other.fact for other in self._others(fact)]
        if len(pool) < self.n_distractors:
            raise InputError(
                f"{self.n_distractors} distractors for {fact.id!r} need as many retain facts of other"
                f" entities without its answer; there are {len(pool)}. Give more facts to retain"
                " or fewer distractors."
            )
        return [pool[row] for row in stream.permutation(len(pool))[: self.n_distractors]]

    def _others(self, fact: FactRecord) -> list[FactRecord]:
        return [
            other
            for other in self._kept
            if other.entity != fact.entity and not holds(other.fact, fact.answer) and other.id != fact.id
        ]

    def _statement(
        self, fact: FactRecord, placement: int, distractors: list[str], stream: np.random.Generator
    ) -> _Statement | None:
        """Return what the level puts in the fact's place, or None where the fact lacks it."""
        if self.level == "irrelevant":
            return self._irrelevant(fact, placement, distractors)
        if self.level == "direct":
            return _Statement((fact.fact,))
        if self.level == "paraphrase":
            texts = fact.paraphrases
            return _Statement((texts[placement % len(texts)],)) if texts else None
        if self.level == "derivation":
            for axiom in fact.axioms:
                if holds(axiom, fact.answer) or holds(axiom, fact.fact):
                    raise InputError(f"An axiom of {fact.id!r} holds its answer: then nothing is derived.")
            return _Statement(fact.axioms) if fact.axioms else None
        wrong = fact.choices or tuple(dict.fromkeys(other.answer for other in self.facts))
        wrong = tuple(text for text in wrong if text != fact.answer and not holds(fact.fact, text))
        if fact.answer not in fact.fact or not wrong:
            return None
        false_answer = wrong[int(stream.integers(len(wrong)))]
        return _Statement((fact.fact.replace(fact.answer, false_answer),), false_answer)

    def _irrelevant(self, fact: FactRecord, placement: int, distractors: list[str]) -> _Statement:
        """Return another entity's fact, of the nearest length."""
        pool = [other.fact for other in self._others(fact) if other.fact not in distractors]
        if not pool:
            raise InputError(
                f"No retain fact is left to take the place of {fact.id!r}: give more facts to retain."
            )
        wanted = self._length(fact.fact)
        shuffled = [pool[row] for row in self._stream(fact, placement, 1).permutation(len(pool))]
        other = min(shuffled, key=lambda text: abs(self._length(text) - wanted))
        shared = sum(self._length(text) for text in distractors)
        return _Statement((other,), length_ratio=(shared + self._length(other)) / (shared + wanted))

    def _demonstrations(self, fact: FactRecord, placement: int) -> Prompt | None:
        """Show other facts of the split as questions with answers, this one left out."""
        pool = [
            other
            for other in self.facts
            if other.split == fact.split and other.id != fact.id and other.answer != fact.answer
        ]
        order = self._stream(fact, placement, 2).permutation(len(pool))
        form = self.form.question + self.form.answer
        shots = [
            form.format(question=pool[row].question, answer=pool[row].answer) + self.form.shot_end
            for row in order[: self.n_distractors]
        ]
        return self._fit(fact, placement, lambda kept: "".join(shots[:kept]), len(shots)) if shots else None

    # --- the window -------------------------------------------------------------------------------

    def _fit(self, fact: FactRecord, placement: int, context: Callable[[int], str], available: int) -> Prompt:
        """Write the context, with as many distractors as fit, and the question."""
        question = self.form.question.format(question=fact.question)
        for kept in range(available, -1, -1):
            text = context(kept) + question
            if self.max_tokens is None or self._tokens(text, fact) <= self.max_tokens:
                dropped = available - kept
                return Prompt(text, fact, self.level, self.n_distractors, placement, dropped=dropped)
        raise InputError(
            f"The question of {fact.id!r} with its fact and answer has {self._tokens(text, fact)} tokens, and"
            f" the model takes {self.max_tokens}."
        )

    def _tokens(self, text: str, fact: FactRecord) -> int:
        answers = fact.choices or (fact.answer,)
        longest = max((self.form.answer.format(answer=answer) for answer in answers), key=len)
        return len(encode_pair(self.tokenizer, text, longest, self.chat)[0])

    def _length(self, text: str) -> int:
        if text not in self._lengths:
            ids = self.tokenizer(self.form.fact.format(fact=text), add_special_tokens=False)["input_ids"]
            self._lengths[text] = len(ids)
        return self._lengths[text]


def holds(text: str, part: str) -> bool:
    """Whether `text` has `part` as whole words, whatever the case."""
    words = re.escape(" ".join(part.casefold().split()))
    return re.search(rf"(?<!\w){words}(?!\w)", " ".join(text.casefold().split())) is not None


def guess_rate(level: str, distractors: int, choices: int) -> float | None:
    """Return what guessing gives: one of the answers in the context, or one of the choices.

    A model that only sees that an answer is in the context takes one of n_distractors + 1; without a
    context, one of the choices. None where the answer is free text and no context holds it.
    """
    if level in ("direct", "paraphrase"):
        return 1 / (distractors + 1)
    return 1 / choices if choices else None
