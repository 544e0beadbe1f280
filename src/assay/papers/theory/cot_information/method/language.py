"""The neural form: one sequence "input = trace #### answer", two label masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from .pool import Record, canonical

IGNORED = -100
"""Label of tokens that are not learnt."""


@dataclass(frozen=True)
class Traced:
    """One example: an input with its trace and answer, as texts."""

    input: str
    trace: str
    answer: str


@dataclass(frozen=True)
class TraceFormat:
    """How an example is written: input, after_input, trace, before_answer, answer, and the end token."""

    after_input: str = " ="
    """Ends the prompt."""
    before_answer: str = " ####"
    """Stands between trace and answer; without a trace it follows the prompt."""

    def prompt(self, input: str) -> str:
        """Return what a model is given."""
        return f"{input}{self.after_input}"

    def completion(self, example: Traced, supervision: Literal["cot", "e2e"]) -> str:
        """Return what it is to write: with the trace, or the answer alone."""
        trace = f" {example.trace}" if supervision == "cot" else ""
        return f"{trace}{self.before_answer} {example.answer}"

    def parse(self, reply: str) -> Record:
        """Take a reply apart; one without `before_answer` has no answer."""
        trace, mark, answer = reply.partition(self.before_answer.strip())
        return Record(canonical(trace), canonical(answer)) if mark else Record(canonical(reply), None)


def token_rows(
    tokenizer: Any,
    examples: Sequence[Traced],
    supervision: Literal["cot", "e2e"],
    style: TraceFormat,
) -> tuple[list[list[int]], list[list[int]]]:
    """Return token ids and labels of each example; only the completion and the end token are learnt.

    Prompt and completion are tokenised apart, so that no token spans the border and a prompt is at test time
    what it was in training.

    Raises:
        ValueError: the tokenizer has no end token, or an example has no answer.
    """
    if tokenizer.eos_token_id is None:
        raise ValueError("The tokenizer has no end token, so a model could not learn where to stop.")
    ids, labels = [], []
    for example in examples:
        if not example.answer:
            raise ValueError(f"The example {example.input[:60]!r} has no answer.")
        prompt = tokenizer(style.prompt(example.input))["input_ids"]
        prompt = prompt[:-1] if prompt and prompt[-1] == tokenizer.eos_token_id else prompt
        text = style.completion(example, supervision)
        completion = tokenizer(text, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]
        ids.append(prompt + completion)
        labels.append([IGNORED] * len(prompt) + completion)
    return ids, labels


def exact_match(records: Sequence[Record], examples: Sequence[Traced]) -> float:
    """Return the share of answers that are right. The model wrote its own trace before: nothing of the right
    trace was given to it."""
    right = [
        record.answer is not None and record.answer == canonical(example.answer)
        for record, example in zip(records, examples, strict=True)
    ]
    return sum(right) / len(right)
