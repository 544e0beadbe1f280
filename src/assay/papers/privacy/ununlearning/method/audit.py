"""The audit: every model answers every question at every level of context."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from assay.errors import InputError, unknown
from assay.models import LocalTextModel
from assay.papers.privacy.knowledge import (
    AnswerScore,
    FactRecord,
    context_length,
    refuse_overlap,
    score_answers,
)
from assay.papers.privacy.ununlearning.method.contexts import (
    LEVELS,
    ContextBuilder,
    Prompt,
    PromptForm,
    guess_rate,
    holds,
)
from assay.papers.privacy.ununlearning.method.filters import Filter
from assay.papers.privacy.ununlearning.method.report import AuditReport, Cell, assess

Scoring = Literal["auto", "greedy", "choices", "rouge"]
ORIGINAL = "original"
"""The name of the model before unlearning."""


@dataclass(frozen=True)
class Answered:
    """What one model did with one prompt."""

    prompt: Prompt
    correct: float
    """1 or 0, or the ROUGE-L recall of free text; 0 where a filter blocked it."""
    logprob: float
    """log p(answer | prompt) a token."""
    probability: float | None
    """p(answer) over the sum of p of all choices, where those are scored."""
    copied: float | None
    """Whether it gave the context's false answer."""
    completion: str
    """What it said, as far as the score shows: the choice, the greedy answer, the reply."""
    blocked: bool = False


class UnUnlearningAudit:
    """Measures how much of what a model has unlearned comes back in context.

    Args:
        models: by name. `original` knows the facts, `retrained` never saw those to forget (exact unlearning),
            all others have unlearned them. What is missing is left out of the report.
        tokenizer: of all models.
        facts: to forget and to retain.
        levels: of `LEVELS`; `closed_book` and `irrelevant` are always measured.
        n_distractors: how many statements of other facts a context has; each number is measured.
        placements: random contexts an item, level and number of distractors.
        scoring: `greedy` (greedy decoding begins with the answer), `choices` (the answer is the likeliest of
            the choices), `rouge` (ROUGE-L recall of a generated reply); `auto` takes `choices` where all
            facts have them and `greedy` elsewhere.
        filters: by name; each is a function (prompt, completion) -> whether to block.
        form: how prompts are written.
        chat: whether to use the tokenizer's chat template.
        batch_size: prompts that go through a model at once.
        seed: of distractors and places.

    Raises:
        InputError: there is no original or no other model, a split is empty or both share a fact.
    """

    def __init__(
        self,
        models: Mapping[str, nn.Module],
        tokenizer: PreTrainedTokenizerBase,
        facts: Sequence[FactRecord],
        levels: Sequence[str] = ("direct", "paraphrase", "derivation", "demonstrations", "wrong_fact"),
        *,
        n_distractors: Sequence[int] = (3,),
        placements: int = 5,
        scoring: Scoring = "auto",
        filters: Mapping[str, Filter] | None = None,
        form: PromptForm | None = None,
        chat: bool = False,
        batch_size: int = 64,
        seed: int = 0,
    ) -> None:
        for level in levels:
            if level not in LEVELS:
                raise unknown("level", level, LEVELS)
        if ORIGINAL not in models or len(models) < 2:
            raise InputError(
                f"An audit needs the model before unlearning, called {ORIGINAL!r}, and another one; got"
                f" {', '.join(models) or 'none'}."
            )
        forget, retain = ([fact for fact in facts if fact.split == split] for split in ("forget", "retain"))
        if not forget or not retain:
            raise InputError(
                f"There are {len(forget)} facts to forget and {len(retain)} to retain: an audit needs both"
                " (retain facts are the distractors and show whether a model still works)."
            )
        refuse_overlap(forget, retain)
        if placements < 1 or not n_distractors or min(n_distractors) < 0:
            raise InputError(f"got {placements} placements and {tuple(n_distractors)} distractors.")
        chosen = {"closed_book", "irrelevant", *levels}
        self.levels = tuple(level for level in LEVELS if level in chosen)
        self.models, self.tokenizer, self.facts = dict(models), tokenizer, tuple(facts)
        self.n_distractors, self.placements, self.seed = tuple(n_distractors), placements, seed
        self.scoring = scoring
        if scoring == "auto":
            self.scoring = "choices" if all(fact.choices for fact in facts) else "greedy"
        if self.scoring == "choices" and not all(fact.choices for fact in facts):
            raise InputError("Scoring by choices needs `choices` in every fact; use greedy or rouge.")
        self.filters, self.form, self.chat = dict(filters or {}), form or PromptForm(), chat
        self.batch_size = batch_size

    def run(self, progress: Callable[[str], None] = lambda text: None) -> AuditReport:
        """Ask all models everything and assess what they said."""
        prompts = self.prompts()
        cells: list[Cell] = []
        for name, model in self.models.items():
            progress(f"asking {name} {len(prompts)} questions")
            answered = self.answer(model, prompts)
            cells += cells_of(name, None, answered)
            for title, stop in self.filters.items() if name != ORIGINAL else ():
                cells += cells_of(name, title, [screen(row, stop) for row in answered])
        return assess(cells, self._notes(prompts), self.scoring, {fact.id: fact for fact in self.facts})

    def prompts(self) -> list[Prompt]:
        """Return all prompts, the same for every model."""
        window = min(context_length(model) or 2**31 for model in self.models.values())
        window -= self._room() if self.scoring == "rouge" else 0
        found = []
        for level in self.levels:
            placements = 1 if level == "closed_book" else self.placements
            for distractors in (0,) if level == "closed_book" else self.n_distractors:
                builder = ContextBuilder(
                    level,
                    self.facts,
                    self.tokenizer,
                    distractors,
                    seed=self.seed,
                    max_tokens=window,
                    form=self.form,
                    chat=self.chat,
                )
                built = (builder.build(fact, place) for fact in self.facts for place in range(placements))
                found += [prompt for prompt in built if prompt is not None]
        return found

    # --- answers ------------------------------------------------------------------------------------

    def answer(self, model: nn.Module, prompts: Sequence[Prompt]) -> list[Answered]:
        """Return what a model does with each prompt."""
        options = [self._options(prompt) for prompt in prompts]
        scores = iter(
            score_answers(
                model,
                self.tokenizer,
                [prompt.text for prompt, texts in zip(prompts, options, strict=True) for _ in texts],
                [self.form.answer.format(answer=text) for texts in options for text in texts],
                self.batch_size,
                self.chat,
            )
        )
        return [
            self._judged(prompt, {text: next(scores) for text in texts}, reply)
            for prompt, texts, reply in zip(prompts, options, self._replies(model, prompts), strict=True)
        ]

    def _judged(self, prompt: Prompt, scores: Mapping[str, AnswerScore], reply: str) -> Answered:
        """Say what a model did with a prompt, from the scores of the answers and its reply."""
        fact, false = prompt.fact, prompt.false_answer
        right, probability = scores[fact.answer], None
        if self.scoring == "choices":
            logprobs = torch.tensor([scores[text].logprob for text in fact.choices])
            probability = float(logprobs.softmax(0)[fact.choices.index(fact.answer)])
            said = fact.choices[int(logprobs.argmax())]
            correct, copied = float(said == fact.answer), float(said == false)
        elif self.scoring == "greedy":
            said = next((text for text in (fact.answer, false) if text and scores[text].greedy), "")
            correct, copied = float(right.greedy), float(false is not None and scores[false].greedy)
        else:
            said, correct = reply, rouge_l_recall(reply, fact.answer)
            copied = 0.0 if false is None else rouge_l_recall(reply, false)
        per_token = right.logprob / right.tokens
        return Answered(prompt, correct, per_token, probability, None if false is None else copied, said)

    def _options(self, prompt: Prompt) -> list[str]:
        """Return the answers that are scored, the right one first."""
        choices = prompt.fact.choices if self.scoring == "choices" else ()
        texts = dict.fromkeys((prompt.fact.answer, *choices, prompt.false_answer))
        return [text for text in texts if text is not None]

    def _replies(self, model: nn.Module, prompts: Sequence[Prompt]) -> list[str]:
        if self.scoring != "rouge":
            return [""] * len(prompts)
        text_model = LocalTextModel(model, self.tokenizer, batch_size=self.batch_size)
        texts = [prompt.text for prompt in prompts]
        replies = text_model.generate(texts, max_new_tokens=self._room(), chat=self.chat)
        return [reply.text for reply in replies]

    def _room(self) -> int:
        """Return how many tokens a reply may have: the longest answer and 8 more."""
        answers = [self.form.answer.format(answer=fact.answer) for fact in self.facts]
        return 8 + max(len(ids) for ids in self.tokenizer(answers, add_special_tokens=False)["input_ids"])

    def _notes(self, prompts: Sequence[Prompt]) -> list[str]:
        notes, total = [], len(self.facts)
        for level in self.levels:
            items = {prompt.fact.id for prompt in prompts if prompt.level == level}
            if len(items) < total:
                notes.append(f"{level}: {total - len(items)} of {total} facts lack what it needs")
        ratios = [prompt.length_ratio for prompt in prompts if prompt.length_ratio is not None]
        counts = {
            "distractors did not fit into the models' window and were left out": sum(
                prompt.dropped for prompt in prompts
            ),
            "irrelevant contexts differ by more than 10 % in length from the relevant ones": sum(
                abs(ratio - 1) > 0.1 for ratio in ratios
            ),
            "questions hold their own answer, which is no knowledge": sum(
                holds(fact.question, fact.answer) for fact in self.facts
            ),
        }
        notes += [f"{count} {what}" for what, count in counts.items() if count]
        if "retrained" not in self.models:
            notes.append(
                "no retrained model was given: exact unlearning was not tested, and there is no parity"
            )
        return notes


def screen(row: Answered, stop: Filter) -> Answered:
    """Return a row as a filter lets it through: blocked, it answers nothing."""
    if not stop(row.prompt.text, row.completion):
        return row
    copied = None if row.copied is None else 0.0
    return replace(row, correct=0.0, copied=copied, completion="", blocked=True)


def cells_of(model: str, title: str | None, answered: Sequence[Answered]) -> Iterator[Cell]:
    """Yield a cell for each level and split, with a value an item: the mean over its placements."""
    groups: dict[tuple[str, str], dict[FactRecord, list[Answered]]] = {}
    for row in answered:
        items = groups.setdefault((row.prompt.level, row.prompt.fact.split), {})
        items.setdefault(row.prompt.fact, []).append(row)
    for (level, split), items in groups.items():
        rows = [row for item in items.values() for row in item]
        yield Cell(
            model=model,
            filter=title,
            level=level,
            split=split,
            ids=tuple(fact.id for fact in items),
            entities=tuple(fact.entity for fact in items),
            accuracy=_means(items, "correct"),
            logprob=_means(items, "logprob"),
            probability=_means(items, "probability"),
            copied=_means(items, "copied"),
            blocked=float(np.mean([row.blocked for row in rows])),
            unblocked_accuracy=_mean(row.correct for row in rows if not row.blocked),
            guess=_mean(
                guess_rate(level, row.prompt.distractors - row.prompt.dropped, len(row.prompt.fact.choices))
                for row in rows
            ),
            prompts=len(rows),
            answered=sum(row.correct >= 0.5 for row in rows),
        )


def _means(items: Mapping[FactRecord, Sequence[Answered]], name: str) -> Any:
    """Return each item's mean of one attribute, or None where one is missing."""
    means = [_mean(getattr(row, name) for row in rows) for rows in items.values()]
    return None if None in means else tuple(means)


def _mean(values: Iterable[float | None]) -> float | None:
    """Return the mean, or None where there is no value or one is missing."""
    found = list(values)
    return None if not found or None in found else float(np.mean(np.array(found, dtype=float)))


def rouge_l_recall(reply: str, answer: str) -> float:
    """Return the longest common subsequence of words over the answer's words, whatever the case."""
    said, wanted = (re.findall(r"\w+", text.casefold()) for text in (reply, answer))
    if not wanted:
        return 0.0
    row = [0] * (len(wanted) + 1)
    for word in said:
        previous = row
        row = [0]
        for place, other in enumerate(wanted, 1):
            longest = previous[place - 1] + 1 if word == other else max(previous[place], row[-1])
            row.append(longest)
    return row[-1] / len(wanted)
