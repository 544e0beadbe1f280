"""What the checks of one seed share: texts, facts, and the models that are trained on them."""

from __future__ import annotations

import functools
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Int
from torch import Tensor
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from assay.data import LoadedTable, Table, require_classes
from assay.errors import InputError
from assay.papers.language.eft.config import FactTable, Family
from assay.papers.language.eft.facts import Fact, documents, load_facts
from assay.papers.language.eft.lab import (
    Prompted,
    Weights,
    finetune,
    labelled,
    model_of,
    packed,
    tokenizer_of,
    train_base,
    train_tokenizer,
)
from assay.trial import Trial, derive_seed

LEAST = 12
"""Texts of a domain that can be split."""


@dataclass(frozen=True)
class World:
    """Texts and facts, read; the models come from the stages that trials share."""

    family: Family
    trial: Trial
    described: str
    """The tokenizer, as JSON."""
    texts: Int[Tensor, "n t"]
    told: Int[Tensor, "m t"]
    facts: tuple[Fact, ...]
    table: LoadedTable
    counted: set[str] = field(default_factory=set)
    """Stages whose gradient steps were counted."""

    @classmethod
    def of(cls, data: Table, facts: FactTable, family: Family, trial: Trial) -> World:
        """Read the texts of all classes but the last two, and the facts.

        Raises:
            InputError: there are too few classes or texts.
        """
        table = data.load(needs=("text", "label"))
        require_classes(table, least_rows=LEAST, least_classes=3)
        texts = general_texts(table)
        known = load_facts(facts)
        dealt, _ = trial.deal(len(known), min(facts.number or len(known), len(known)))
        known = [known[row] for row in dealt]
        told = documents(known, derive_seed(trial.seed, "documents"))
        read = trial.once("words", read_words, texts, told, family)
        return cls(family, trial, read["tokenizer"], read["texts"], read["told"], tuple(known), table)

    @functools.cached_property
    def tokenizer(self) -> PreTrainedTokenizerFast:
        """The tokenizer of all models."""
        return tokenizer_of(self.described)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Return token ids without start and end."""
        if not texts:
            return []
        ids: list[list[int]] = self.tokenizer(list(texts), add_special_tokens=False)["input_ids"]
        return ids

    # --- models -------------------------------------------------------------------------------------

    def base(self, size: str, number: int = 0) -> Weights:
        """Return a base model; `number` tells those of one size apart."""
        self.trial.progress(f"pre-training the {size} model")
        order = derive_seed(self.trial.seed, "rows")
        device = str(self.trial.device)
        weights: Weights = self.trial.once(
            f"base {size} {number}", train_base, self.family, size, self.texts, self.told, order, device
        )
        self._count("pretraining_steps", f"{size} {number}", self.family.steps)
        return weights

    def tuned(
        self, name: str, size: str, train: list[Prompted], validation: list[Prompted]
    ) -> dict[str, Any]:
        """Return the base of a size fine-tuned on rows, with its losses."""
        self.trial.progress(f"fine-tuning the {size} model: {name}")
        device, base = str(self.trial.device), self.base(size)
        rows = [labelled(part, self.family.context) for part in (train, validation)]
        found: dict[str, Any] = self.trial.once(
            f"tuned {name} {size}", finetune, self.family, size, base, *rows, device
        )
        self._count("tuning_steps", f"{name} {size}", found["steps"])
        return found

    def _count(self, counter: str, stage: str, steps: int) -> None:
        if f"{counter} {stage}" not in self.counted:
            self.counted.add(f"{counter} {stage}")
            self.trial.count(counter, steps)

    def model(self, size: str, weights: Weights) -> LlamaForCausalLM:
        """Return a model with its weights, on the trial's device."""
        return model_of(self.family, size, weights, self.trial.device)

    # --- texts of a domain --------------------------------------------------------------------------

    def domain(self, from_last: int, max_texts: int | None, test: float) -> Domain:
        """Return the texts of the last class (0), or of the last but one (1), split.

        Raises:
            InputError: there are too few.
        """
        labels = self.table.labels()
        rows = np.flatnonzero(labels == np.unique(labels)[-1 - from_last])
        dealt, fresh = self.trial.deal(len(rows), min(max_texts or len(rows), len(rows)))
        rows = rows[dealt]
        chosen = self.table.rows.select(rows)
        texts = chosen["text"][:]
        groups = chosen["group"][:] if "group" in chosen.column_names else None
        parts = self.trial.split(len(rows), test=test, validation=0.1, group=groups, fresh=fresh)
        found = [[texts[row] for row in part] for part in (parts.train, parts.validation, parts.test)]
        if not all(found):
            raise InputError(f"{len(texts)} texts of a domain are too few to train, validate and test.")
        none: list[int] = []
        train, validation, held = ([(none, ids) for ids in self.encode(part)] for part in found)
        return Domain(train, validation, held, self._leaked(found))

    def _leaked(self, parts: Sequence[Sequence[str]]) -> float:
        """Return the share of test texts that were also trained on, by any model."""
        read = {*general_texts(self.table), *(text for part in parts[:2] for text in part)}
        return sum(text in read for text in parts[2]) / len(parts[2])

    # --- questions about facts ----------------------------------------------------------------------

    def dealt_facts(self, tuned_share: float) -> tuple[list[Fact], list[Fact], list[Fact]]:
        """Return the facts that fine-tuning asks for, those that validate it, and those that test.

        Raises:
            InputError: a part is empty.
        """
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


@dataclass(frozen=True)
class Domain:
    """Texts of one domain, each with an empty prompt before it."""

    train: list[Prompted]
    validation: list[Prompted]
    test: list[Prompted]
    leaked: float
    """Share of the test texts that were also trained on."""


def general_texts(table: LoadedTable) -> list[str]:
    """Return the texts of all classes but the last two, which the base models read."""
    labels = table.labels()
    general = labels < labels.max() - 1
    return [text for text, read in zip(table.rows["text"][:], general, strict=True) if read]


def read_words(texts: list[str], told: list[str], family: Family) -> dict[str, Any]:
    """Return the tokenizer of both, and their rows of tokens."""
    described = train_tokenizer([*texts, *told], family.vocabulary)
    tokenizer = tokenizer_of(described)
    rows = {
        name: packed(tokenizer(part, add_special_tokens=False)["input_ids"], family.context)
        for name, part in (("texts", texts), ("told", told))
    }
    return {"tokenizer": described, **rows}
