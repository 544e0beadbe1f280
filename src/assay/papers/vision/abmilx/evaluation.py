"""What a model predicts for bags, how good that is, and what is shown and kept of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from PIL import Image
from sklearn.metrics import cohen_kappa_score, precision_recall_fscore_support, roc_auc_score
from torch import Tensor

from assay.papers.vision.abmilx.inputs.bags import Bag, BagSet, stack
from assay.papers.vision.abmilx.method import (
    Aggregated,
    EndToEndMIL,
    attention_sparsity,
    contact_sheet,
    heat_map,
)

TOGETHER = 2048
"""Instances that go through a model at once in evaluation."""
RESAMPLES = 1000
"""Resamples of the test bags for intervals: the paper's number."""

Measures = dict[str, float | None]


@dataclass(frozen=True)
class Predictions:
    """What a model predicts for some bags."""

    logits: Tensor
    """[bags, outputs]"""
    attention: list[Tensor]
    """One tensor [heads, instances] for each bag."""

    @property
    def probabilities(self) -> np.ndarray:
        """The softmax of the logits: float64 [bags, outputs]."""
        found: np.ndarray = self.logits.double().softmax(dim=1).numpy()
        return found

    def accuracy(self, labels: np.ndarray) -> float:
        """Return the share of bags whose largest logit is that of their label."""
        return float((self.logits.argmax(dim=1).numpy() == labels).mean())

    def sparsity(self) -> float:
        """Return the mean sparsity of the attention over bags."""
        return float(np.mean([attention_sparsity(weights[None]).item() for weights in self.attention]))

    def instance_auc(self, bags: BagSet) -> float | None:
        """Return how well the attention tells key instances from others, the mean over bags with both."""
        areas = [
            area_under_curve(bag.keys, weights.mean(dim=0).numpy())
            for bag, weights in zip(bags, self.attention, strict=True)
            if bag.keys is not None
        ]
        return _mean(areas)


def evaluate(model: EndToEndMIL, bags: Sequence[Bag]) -> Predictions:
    """Return logits and attention of bags, all instances of each at the first magnification."""
    device = next(model.parameters()).device
    together = max(1, TOGETHER // max(len(bag) for bag in bags))
    logits: list[Tensor] = []
    attention: list[Tensor] = []
    model.eval()
    with torch.no_grad():
        for start in range(0, len(bags), together):
            part = bags[start : start + together]
            found = _explain(model, part, device)
            logits.append(found.logits.float().cpu())
            weights = found.attention.float().cpu()
            attention += [row[:, : len(bag)].clone() for row, bag in zip(weights, part, strict=True)]
    return Predictions(torch.cat(logits), attention)


def _explain(model: EndToEndMIL, bags: Sequence[Bag], device: torch.device) -> Aggregated:
    """Return what a model says of bags; a large one is read and encoded piece by piece."""
    if len(bags) == 1 and len(bags[0]) > TOGETHER:
        return model.aggregator.explain(encode_bag(model, bags[0])[None])
    instances, mask = stack([bag.read() for bag in bags])
    return model.explain(instances.to(device), None if mask is None else mask.to(device))


def encode_bag(model: EndToEndMIL, bag: Bag, magnification: int = 0) -> Tensor:
    """Return the vectors of a bag's instances; no more than so many are in memory at once."""
    device = next(model.parameters()).device
    rows = torch.arange(bag.sizes[magnification]).split(TOGETHER)
    return torch.cat([model.encode(bag.read(part, magnification).to(device)) for part in rows])


# --- measures -----------------------------------------------------------------------------------


def classification(
    labels: Int[np.ndarray, " bags"], probabilities: Float[np.ndarray, "bags classes"]
) -> Measures:
    """Return accuracy, mean recall, macro AUC, macro F1 and Cohen's kappa; None where one is undefined.

    Classes that none of the bags has do not count.
    """
    predicted, present = probabilities.argmax(axis=1), np.unique(labels)
    _, recall, f1, _ = precision_recall_fscore_support(labels, predicted, labels=present, zero_division=0)
    one_class = len(np.union1d(labels, predicted)) == 1
    return {
        "accuracy": float((predicted == labels).mean()),
        "balanced_accuracy": float(recall.mean()),
        "auc": _mean([area_under_curve(labels == k, probabilities[:, k]) for k in present]),
        "macro_f1": float(f1.mean()),
        "kappa": None if one_class else float(cohen_kappa_score(labels, predicted)),
    }


def area_under_curve(positive: np.ndarray, score: np.ndarray) -> float | None:
    """Return the area under the ROC curve; None without a positive or without a negative."""
    return None if positive.all() or not positive.any() else float(roc_auc_score(positive, score))


def bootstrap(
    measure: Callable[[np.ndarray], Measures], bags: int, generator: np.random.Generator
) -> dict[str, list[float] | None]:
    """Return the 95 % percentile interval of each measure over resamples of the bags."""
    found = [measure(generator.integers(bags, size=bags)) for _ in range(RESAMPLES)]
    intervals: dict[str, list[float] | None] = {}
    for name in found[0]:
        known = [value for sample in found if (value := sample[name]) is not None]
        intervals[name] = np.quantile(known, [0.025, 0.975]).tolist() if known else None
    return intervals


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


# --- what is shown and kept ---------------------------------------------------------------------


def prediction_rows(bags: BagSet, predictions: Predictions) -> list[dict[str, Any]]:
    """Return one row for each bag: its name, label, prediction and the probability of each class."""
    names = bags.label_names
    rows = []
    for bag, chances in zip(bags, predictions.probabilities, strict=True):
        chance_of = {f"p({name})": round(float(p), 6) for name, p in zip(names, chances, strict=True)}
        predicted = names[int(chances.argmax())]
        rows.append({"bag": bag.bag_id, "label": names[bag.label], "predicted": predicted, **chance_of})
    return rows


def attention_picture(bag: Bag, attention: Tensor) -> Image.Image:
    """Return a picture of a bag's attention: a map where patches have places, else patches in its order."""
    weights = attention.mean(dim=0).double().numpy()
    if bag.coords is not None:
        slide = bag.thumbnail() if bag.thumbnail is not None else None
        return heat_map(weights, bag.coords, bag.patch, slide, bag.extent)
    instances = bag.read()
    if instances.ndim == 4:
        return contact_sheet(instances.permute(0, 2, 3, 1).numpy(), weights)
    row = np.arange(len(weights))  # features have no look: one stripe for each instance
    return heat_map(weights, np.stack([8 * row, 0 * row], axis=1), 8, longest=max(512, 8 * len(row)))
