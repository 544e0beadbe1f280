"""Knowledge and behaviour: what a model knows comes from pre-training, how it answers from fine-tuning."""

from __future__ import annotations

from typing import Any

from assay.models.tiny import END, START
from assay.paper import Value
from assay.papers.language.eft.config import Facts
from assay.papers.language.eft.evaluation import alone, first_named
from assay.papers.language.eft.method import Delta, EmulatedFineTuning
from assay.papers.language.eft.stages import TrainedFamily
from assay.papers.language.eft.synthetic import QUESTION, STATEMENT, Fact
from assay.papers.language.eft.training import Prompted, Size
from assay.trial import Trial

REPLY_TOKENS = 24
"""Tokens of a reply: enough for the longest rambling answer that pre-training tells."""
STATEMENT_TOKENS = 6


def facts(config: Facts, trial: Trial) -> dict[str, Value]:
    """Ask for facts that fine-tuning never asked for, and see who knows them and who answers as asked."""
    family = TrainedFamily.of(config.data, config.fact_table, config.family, trial)
    train, validation, test = family.split_facts(config.tuned_share)
    model = answering(config, family, train, validation)
    answers = sorted({fact.answer for fact in family.facts})
    replies = ask(model, family, test, QUESTION, REPLY_TOKENS)
    stated = ask(model, family, test, STATEMENT, STATEMENT_TOKENS)
    trial.count("questions", len(test))

    def right(texts: list[str]) -> float:
        found = (first_named(text, answers) == fact.answer for text, fact in zip(texts, test, strict=True))
        return sum(found) / len(test)

    return {
        "obedience": sum(text.strip() in answers for text in replies) / len(test),
        "factuality": right(replies),
        "knowledge": right(stated),
        "most_frequent": max(sum(fact.answer == answer for fact in test) for answer in answers) / len(test),
    }


def answering(
    config: Facts, family: TrainedFamily, train: list[Fact], validation: list[Fact]
) -> EmulatedFineTuning:
    """Return the model of an arm."""

    def base(size: Size, number: int = 0) -> Any:
        return family.model(size, family.base(size, number))

    def tuned(size: Size) -> Any:
        train_rows, held = (prompted(family, part) for part in (train, validation))
        return family.model(size, family.tuned("facts", size, train_rows, held).weights)

    if config.system == "base":
        return alone(base("large"))
    if config.system == "small-base":
        return alone(base("small"))
    if config.system == "small-tuned":
        return alone(tuned("small"))
    if config.system == "upper":
        return alone(tuned("large"))
    if config.system == "down-scaled":
        return EmulatedFineTuning(base("small"), Delta(tuned("large"), base("large")))
    other = config.delta_from == "other-reference"
    expert = Delta(tuned("small"), base("small", 1 if other else 0))
    return EmulatedFineTuning(base("large"), expert, check_ancestors=not other)


def prompted(family: TrainedFamily, known: list[Fact]) -> list[Prompted]:
    """Return what fine-tuning shows: a question, and an answer in one word."""
    questions = family.encode([QUESTION.format(name=fact.name) for fact in known])
    return list(zip(questions, family.encode([f" {fact.answer}" for fact in known]), strict=True))


def ask(
    model: EmulatedFineTuning, family: TrainedFamily, asked: list[Fact], style: str, length: int
) -> list[str]:
    """Return the likeliest continuation of each fact's prompt."""
    prompts = family.encode([style.format(name=fact.name) for fact in asked])
    found = model.generate(
        [[START, *ids] for ids in prompts], max_new_tokens=length, temperature=0.0, eos=END
    )
    return [str(text) for text in family.tokenizer.batch_decode(found.tokens)]
