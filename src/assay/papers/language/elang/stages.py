"""The stage that all arms share: make the pair, and write down once what it says of every row.

Super answers all rows here, once; every score and every threshold is then judged on what was written down.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import torch
from torch import Tensor

from assay.errors import InputError, refusals
from assay.models import (
    Classifier,
    ClassifierSpec,
    ModelSource,
    SavedClassifier,
    TextClassifier,
    TextGenerator,
    Training,
    load_text_function,
    train_classifier,
)
from assay.papers.language.elang.inputs import LabelledRows
from assay.papers.language.elang.method import (
    SCORES,
    Costs,
    EncoderEnergyHead,
    EnergyRouter,
    PairReadings,
    RoutingPolicy,
)
from assay.training import Compute
from assay.trial import Split

COUNTED = 32
"""Rows on which FLOPs are counted."""

TextModel = TextClassifier | TextGenerator


@dataclass(frozen=True)
class TrainedPair:
    """A pair that is trained here."""

    swift: ClassifierSpec
    super_: ClassifierSpec
    label_names: tuple[str, ...]
    training: Training
    keep: bool = True
    """Return the trained models, for an artefact."""


@dataclass(frozen=True)
class GivenPair:
    """The user's pair, used as it is."""

    swift: ModelSource
    super_: ModelSource
    label_names: tuple[str, ...]
    read_from: str
    max_new_tokens: int
    dtype: str

    def load(self, device: str) -> tuple[TextModel, TextModel]:
        """Load both models."""
        options = (device, self.dtype, self.max_new_tokens)
        swift = load_text_function(self.swift, *options)
        super_ = load_text_function(self.super_, *options, keep_logits=False)
        if isinstance(swift, TextGenerator) != isinstance(super_, TextGenerator):
            raise InputError("One model is a classifier and the other generates text. Give two of one kind.")
        return swift, super_


@dataclass(frozen=True)
class PairRead:
    """What a pair gives on the calibration and the test rows, and what it took."""

    calibration: PairReadings
    test: PairReadings
    policy: RoutingPolicy
    """Not calibrated: it says which models it is for."""
    costs: Costs
    """FLOPs a row."""
    gradient_steps: int = 0
    models: tuple[SavedClassifier, ...] = ()
    """Swift and Super, where they were trained here and are kept."""


def train_pair(
    pair: TrainedPair, rows: Split[LabelledRows], temperatures: Sequence[float], compute: Compute
) -> PairRead:
    """Train a pair on the training rows and read the others with it."""
    steps, train = 0, rows.train
    models = [Classifier(spec, len(pair.label_names)) for spec in (pair.swift, pair.super_)]
    for model in models:
        if isinstance(train.inputs, Tensor):
            model.standardise(train.inputs, correction=1)
        model.to(compute.accelerator)  # where a sentence encoder prepares the rows
        prepared = model.prepare(train.inputs).cpu()
        order = torch.Generator().manual_seed(torch.initial_seed())
        history = train_classifier(model, (prepared, train.labels), pair.training, order, compute=compute)
        steps += history.gradient_steps
    at_once = 32 if pair.super_.kind == "transformer" else 512
    read = read_pair(EnergyRouter(*models), rows, temperatures, at_once)
    return replace(
        read,
        policy=replace(read.policy, label_names=pair.label_names),
        gradient_steps=steps,
        models=tuple(model.record() for model in models) if pair.keep else (),
    )


def read_given_pair(
    pair: GivenPair, rows: Split[LabelledRows], temperatures: Sequence[float], compute: Compute
) -> PairRead:
    """Load the user's pair and read the rows with it.

    Raises:
        InputError: The models cannot be routed between, or know other classes than the table.
    """
    swift, super_ = pair.load(compute.accelerator)
    head = None
    if pair.read_from == "encoder":
        head = fit_head(swift, rows.train, len(pair.label_names))
    labels = [answer_labels(swift, super_, part, pair.label_names) for part in (rows.validation, rows.test)]
    with refusals():
        router = EnergyRouter(swift, super_, head=head)
        return read_pair(router, rows, temperatures, 32, labels)


def fit_head(swift: TextModel, train: LabelledRows, classes: int) -> EncoderEnergyHead:
    """Train the encoder head on the training rows."""
    if not isinstance(swift, TextGenerator):
        raise InputError("--read-from encoder needs an encoder-decoder as Swift; this one is a classifier.")
    with torch.no_grad():
        width = swift.encode(train.inputs[:1]).hidden.shape[-1]  # type: ignore[arg-type]  # they are texts
    head = EncoderEnergyHead(width, classes).to(next(swift.parameters()).device)
    return head.fit(swift.encode, batches(train.inputs, train.labels, 32))


def answer_labels(
    swift: TextModel, super_: TextModel, rows: LabelledRows, names: Sequence[str]
) -> Sequence[str] | Tensor:
    """Return labels as the models answer: the names of classes, or the models' own class numbers."""
    if isinstance(swift, TextGenerator) or isinstance(super_, TextGenerator):
        return [names[label] for label in rows.labels]
    counts = {swift.num_classes, super_.num_classes}
    if len(counts) > 1 or min(counts) < len(names):
        raise InputError(f"The table has {len(names)} classes, the models have {sorted(counts)}.")
    return align_labels(rows.labels, names, super_.label_names or swift.label_names)


def align_labels(labels: Tensor, table_names: Sequence[str], model_names: Sequence[str] | None) -> Tensor:
    """Return the labels in the numbering of a model; one that names no classes numbers them as the table."""
    if model_names is None:
        return labels
    number = {name.casefold(): position for position, name in enumerate(model_names)}
    unknown = [name for name in table_names if name.casefold() not in number]
    if unknown:
        raise InputError(
            f"The models know the classes {', '.join(model_names)}, but the table has {', '.join(unknown)}."
            " Rename them in the table, or give models that were trained on it."
        )
    return torch.tensor([number[name.casefold()] for name in table_names])[labels]


def read_pair(
    router: EnergyRouter,
    rows: Split[LabelledRows],
    temperatures: Sequence[float],
    at_once: int,
    labels: Sequence[Any] | None = None,
) -> PairRead:
    """Return every score and the correctness of both models for the calibration and the test rows.

    `labels` are those of both parts as the models answer, by default their class numbers.
    """
    first, parts = rows.validation.inputs[:COUNTED], (rows.validation, rows.test)
    costs = router.costs = router.count_costs(first)
    assert costs is not None  # both models run in torch
    scores = list(product(SCORES, temperatures))
    calibration, test = (
        router.observe(batches(part.inputs, known, at_once), scores=scores)
        for part, known in zip(parts, labels or [part.labels for part in parts], strict=True)
    )
    policy = replace(router.blank_policy(), num_classes=test.num_classes, wall_time=test.seconds)
    return PairRead(calibration, test, policy, costs)


def batches(inputs: Any, labels: Any, size: int) -> Iterator[tuple[Any, Any]]:
    """Yield some inputs and their labels at a time, in order."""
    for start in range(0, len(labels), size):
        yield inputs[start : start + size], labels[start : start + size]
