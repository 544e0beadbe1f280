"""What the arms of one seed share: texts, facts, and the models that are trained on them."""

from __future__ import annotations

import functools
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from assay.data import LoadedTable, Table, require_classes
from assay.errors import InputError
from assay.models import tokenizer_from_json
from assay.papers.language.eft.config import FactTable, Family
from assay.papers.language.eft.evaluation import ScoredRows, alone, token_nll
from assay.papers.language.eft.method import Delta, EmulatedFineTuning
from assay.papers.language.eft.synthetic import Fact, documents, load_facts
from assay.papers.language.eft.training import (
    Corpus,
    FineTuned,
    Prompted,
    Size,
    Tokenised,
    Weights,
    finetune,
    labelled,
    pretrain,
    shape,
    tokenise,
)
from assay.training import Compute
from assay.training.language import IGNORED
from assay.trial import Trial, derive_seed

LEAST = 12
"""Texts of a domain that can be split."""


@dataclass(frozen=True)
class Domain:
    """Texts of one domain, each with an empty prompt before it."""

    train: list[Prompted]
    validation: list[Prompted]
    test: list[Prompted]
    leaked: float
    """Share of the test texts that were also trained on."""

    def scored(self) -> ScoredRows:
        """Return the test texts as rows in which all but the start token and the padding is scored."""
        input_ids, labels = labelled(self.test)
        return input_ids, labels != IGNORED


@dataclass(frozen=True)
class TrainedFamily:
    """Small and large models for one seed: each is trained when it is first asked for."""

    family: Family
    trial: Trial
    read: Tokenised
    facts: tuple[Fact, ...]
    table: LoadedTable
    counted: set[str] = field(default_factory=set)
    """Stages whose gradient steps were counted."""

    @classmethod
    def of(cls, data: Table, facts: FactTable, family: Family, trial: Trial) -> TrainedFamily:
        """Read the texts of all classes but the last two, and the facts.

        Raises:
            InputError: there are too few classes or texts.
        """
        table = data.load(needs=("text", "label"))
        require_classes(table, least_rows=LEAST, least_classes=3)
        known = load_facts(facts)
        chosen, _ = trial.deal(len(known), min(facts.number or len(known), len(known)))
        known = [known[row] for row in chosen]
        facts_told = documents(known, derive_seed(trial.seed, "documents"))
        read = trial.once("words", tokenise, general_texts(table), facts_told, family)
        return cls(family, trial, read, tuple(known), table)

    @functools.cached_property
    def tokenizer(self) -> PreTrainedTokenizerFast:
        """The tokenizer of all models."""
        return tokenizer_from_json(self.read.tokenizer)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Return token ids without start and end."""
        if not texts:
            return []
        ids: list[list[int]] = self.tokenizer(list(texts), add_special_tokens=False)["input_ids"]
        return ids

    # --- models -------------------------------------------------------------------------------------

    def base(self, size: Size, number: int = 0) -> Weights:
        """Return the weights of a base model; those of one size differ by their `number`."""
        self.trial.progress(f"pre-training the {size} model")
        corpus = Corpus(self.read.texts, self.read.facts, derive_seed(self.trial.seed, "rows"))
        name = f"{size} {number}"
        weights = self.trial.once(f"base {name}", pretrain, self.family, size, corpus, self.trial.compute)
        self._count("pretraining_steps", name, self.family.steps)
        return weights

    def tuned(self, name: str, size: Size, train: list[Prompted], validation: list[Prompted]) -> FineTuned:
        """Return the base of a size fine-tuned on rows, with its losses."""
        self.trial.progress(f"fine-tuning the {size} model: {name}")
        arguments = (self.family, size, self.base(size), labelled(train), labelled(validation))
        found = self.trial.once(f"tuned {name} {size}", finetune, *arguments, self.trial.compute)
        self._count("tuning_steps", f"{name} {size}", found.steps)
        return found

    def _count(self, counter: str, stage: str, steps: int) -> None:
        if f"{counter} {stage}" not in self.counted:
            self.counted.add(f"{counter} {stage}")
            self.trial.count(counter, steps)

    def emulated(self, tuned: Weights, weight: float = 1.0, **settings: Any) -> EmulatedFineTuning:
        """Return the large base with the small one's fine-tuning."""
        expert = Delta(self.model("small", tuned), self.model("small", self.base("small")), weight)
        return EmulatedFineTuning(self.model("large", self.base("large")), expert, **settings)

    def model(self, size: Size, weights: Weights) -> LlamaForCausalLM:
        """Return a model with its weights, on the trial's device."""
        return shape(self.family, size).trained(weights, self.trial.device)

    def nll_of(self, size: Size, weights: Weights, rows: ScoredRows) -> float:
        """Return the mean negative log-likelihood of a scored token under one model alone."""
        return self.trial.once("alone", nll_alone, self.family, size, weights, rows, self.trial.compute)

    # --- texts and questions ------------------------------------------------------------------------

    def domain(self, from_last: int, max_texts: int | None, test: float) -> Domain:
        """Return the texts of the last class (0), or of the last but one (1), split."""
        labels = self.table.labels()
        rows = np.flatnonzero(labels == np.unique(labels)[-1 - from_last])
        drawn, fresh = self.trial.deal(len(rows), min(max_texts or len(rows), len(rows)))
        chosen = self.table.rows.select(rows[drawn])
        texts = chosen["text"][:]
        groups = chosen["group"][:] if "group" in chosen.column_names else None
        parts = self.trial.split(len(texts), test=test, validation=0.1, group=groups, fresh=fresh)
        found = [[texts[row] for row in part] for part in (parts.train, parts.validation, parts.test)]
        if not all(found):
            raise InputError(f"{len(texts)} texts of a domain are too few to train, validate and test.")
        none: list[int] = []
        train, validation, held = ([(none, ids) for ids in self.encode(part)] for part in found)
        read = {*general_texts(self.table), *found[0], *found[1]}
        return Domain(train, validation, held, sum(text in read for text in found[2]) / len(found[2]))

    def split_facts(self, tuned_share: float) -> tuple[list[Fact], list[Fact], list[Fact]]:
        """Return the facts that fine-tuning asks for, those that validate it, and those that test."""
        order = list(self.facts)
        random.Random(derive_seed(self.trial.seed, "facts")).shuffle(order)
        asked = round(tuned_share * len(order))
        held = asked // 5
        parts = order[: asked - held], order[asked - held : asked], order[asked:]
        if not all(parts):
            raise InputError(
                f"--tuned-share {tuned_share} of {len(order)} facts leaves none to train, validate or test"
                " with."
            )
        return parts


def general_texts(table: LoadedTable) -> list[str]:
    """Return the texts of all classes but the last two, which the base models read."""
    labels = table.labels()
    general = labels < labels.max() - 1
    return [text for text, read in zip(table.rows["text"][:], general, strict=True) if read]


def nll_alone(family: Family, size: Size, weights: Weights, rows: ScoredRows, compute: Compute) -> float:
    """Return the mean negative log-likelihood of a scored token under a model alone."""
    model = shape(family, size).trained(weights, compute.accelerator)
    return token_nll({"": alone(model)}, rows)[""]
