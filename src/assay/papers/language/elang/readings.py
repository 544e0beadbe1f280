"""The stage that all arms share: make the pair, and write down once what it says of every row.

Super answers all rows here, once; every score and every threshold is then judged on what was written down.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from assay.errors import InputError
from assay.models import ModelSource
from assay.papers.language.elang.config import Finetuning
from assay.papers.language.elang.given import align_labels, finetune, load_for_finetuning, load_text_model
from assay.papers.language.elang.method import (
    SCORES,
    EncoderEnergyHead,
    EnergyRouter,
    Stopwatch,
    TextClassifier,
    TextGenerator,
    answers,
    exact_match,
    run,
)
from assay.papers.language.elang.pair import Inputs, PairShape, train_network, trained_weights

COUNTED = 32
"""Rows on which FLOPs are counted."""

Sliced = TypeVar("Sliced", bound=Any)

TextModel = TextClassifier | TextGenerator

Rows = tuple[Inputs, Int[Tensor, " rows"]]
"""Raw inputs and class numbers."""


@dataclass(frozen=True)
class Given:
    """A pair of the user's own models, and how it is used."""

    swift: ModelSource
    super_: ModelSource
    finetuning: Finetuning
    read_from: str
    max_new_tokens: int
    dtype: str
    keep: bool
    """Return the fine-tuned weights, for an artefact."""


def read_trained(
    shape: PairShape, parts: dict[str, Rows], temperatures: Sequence[float], device: str
) -> dict[str, Any]:
    """Train a pair on the part `train` and read the other parts with it."""
    swift, super_ = shape.build()
    steps = sum(train_network(model, *parts["train"], shape.pair, device) for model in (swift, super_))
    read = _read(EnergyRouter(swift, super_), parts, temperatures, at_once=512)
    weights = {"swift": trained_weights(swift), "super": trained_weights(super_)}
    return read | {"gradient_steps": steps, "weights": weights}


def read_given(
    given: Given,
    parts: dict[str, tuple[list[str], Tensor]],
    names: Sequence[str],
    temperatures: Sequence[float],
    device: str,
) -> dict[str, Any]:
    """Load a pair of the user's own, train it further if asked, and read the parts with it.

    What was trained comes back under `weights`.

    Raises:
        InputError: The models cannot be routed between, or know other classes than the table.
    """
    steps, head, weights = 0, None, {}
    sources = {"swift": given.swift, "super": given.super_}
    swift: TextModel
    super_: TextModel
    if given.finetuning.epochs:
        models = [load_for_finetuning(source, names) for source in sources.values()]
        steps = sum(finetune(model, *parts["train"], given.finetuning, device) for model in models)
        swift, super_ = models
        if given.keep:
            weights = {name: model.model.state_dict() for name, model in zip(sources, models, strict=True)}
    else:
        swift, super_ = (
            load_text_model(source, device, given.dtype, given.max_new_tokens, keep_logits=which == "swift")
            for which, source in sources.items()
        )
    if isinstance(swift, TextGenerator) != isinstance(super_, TextGenerator):
        raise InputError("One model is a classifier and the other generates text. Give two of one kind.")
    if given.read_from == "encoder":
        head = fit_head(swift, parts["train"], len(names))
        weights = {"head": head.state_dict()}
    try:
        router = EnergyRouter(swift, super_, head=head)
        read = _read(router, in_words_of(swift, super_, parts, names), temperatures, at_once=32)
    except ValueError as error:  # what the method refuses is the user's to mend
        raise InputError(str(error)) from error
    return read | {"gradient_steps": steps, "weights": weights}


def fit_head(swift: TextModel, train: tuple[list[str], Tensor], classes: int) -> EncoderEnergyHead:
    """Train the encoder head on the training rows."""
    if not isinstance(swift, TextGenerator):
        raise InputError("--read-from encoder needs an encoder-decoder as Swift; this one is a classifier.")
    with torch.no_grad():
        width = swift.encode(train[0][:1]).hidden.shape[-1]
    head = EncoderEnergyHead(width, classes).to(next(swift.parameters()).device)
    return head.fit(swift.encode, _batches(train, 32))


def in_words_of(
    swift: TextModel, super_: TextModel, parts: dict[str, tuple[list[str], Tensor]], names: Sequence[str]
) -> dict[str, tuple[list[str], Any]]:
    """Return the parts with labels as the models answer: the names of classes, or their own class numbers."""
    if isinstance(super_, TextGenerator) or isinstance(swift, TextGenerator):
        return {part: (rows, [names[label] for label in labels]) for part, (rows, labels) in parts.items()}
    counts = {swift.num_classes, super_.num_classes}
    if len(counts) > 1 or min(counts) < len(names):
        raise InputError(f"The table has {len(names)} classes, the models have {sorted(counts)}.")
    known = super_.label_names or swift.label_names
    return {part: (rows, align_labels(labels, names, known)) for part, (rows, labels) in parts.items()}


# --- reading ------------------------------------------------------------------------------------


def _read(
    router: EnergyRouter,
    parts: Mapping[str, tuple[Inputs, Any]],
    temperatures: Sequence[float],
    at_once: int,
) -> dict[str, Any]:
    """Return every score and the correctness of both models for the calibration and the test rows."""
    stopwatch = Stopwatch()
    read = {
        part: _read_part(router, _batches(parts[part], at_once), temperatures, stopwatch)
        for part in ("calibration", "test")
    }
    first = parts["calibration"][0][:COUNTED]
    costs = router.count_costs(first)
    assert costs is not None  # both models run in torch
    identity = router.identity() | {"num_classes": router.swift.read(first).num_classes}
    del identity["head"]  # its weights are kept as such
    return read | {
        "flops": dataclasses.asdict(costs),
        "seconds": dataclasses.asdict(stopwatch.costs(sum(len(part["swift"]) for part in read.values()))),
        "identity": identity,
    }


def _read_part(
    router: EnergyRouter,
    labelled: Iterator[tuple[Inputs, Any]],
    temperatures: Sequence[float],
    stopwatch: Stopwatch,
) -> dict[str, Any]:
    columns: dict[Any, list[np.ndarray]] = defaultdict(list)
    for inputs, labels in labelled:
        with stopwatch.timing("swift" if router.swift.head is None else "head"):
            reading = router.swift.read(inputs)
        with stopwatch.timing("swift"):
            mine = reading.keep(torch.arange(len(inputs)))
        with stopwatch.timing("super"):
            other = answers(run(router.super_, inputs))
        for name, temperature in product(SCORES, temperatures):
            scores = reading.score(name, temperature)
            columns[name, temperature].append(scores.double().cpu().numpy())
        for which, given in (("swift", mine), ("super", other)):
            correct = torch.as_tensor(exact_match(given.prediction, labels))
            columns[which].append(correct.cpu().numpy())
    joined = {key: np.concatenate(parts) for key, parts in columns.items()}
    return {
        "scores": {name: {str(each): joined[name, each] for each in temperatures} for name in SCORES},
        "swift": joined["swift"],
        "super": joined["super"],
    }


def _batches(rows: tuple[Sliced, Any], size: int) -> Iterator[tuple[Sliced, Any]]:
    inputs, labels = rows
    for start in range(0, len(labels), size):
        yield inputs[start : start + size], labels[start : start + size]
