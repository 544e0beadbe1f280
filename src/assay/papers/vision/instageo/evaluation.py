"""Measuring models, and how far chips that were cut in two ways agree."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from assay.papers.vision.geo.webmap import rgb
from assay.papers.vision.instageo.inputs import ChipSplit, LabelledChips
from assay.papers.vision.instageo.method import (
    ConfusionMatrix,
    RocHistogram,
    SegmentationModel,
    ValueErrors,
    count_macs,
    count_parameters,
    distinct_colors,
)
from assay.papers.vision.instageo.stages import CutChips
from assay.training.evaluation import mode, predict
from assay.trial import Trial


def score(model: nn.Module, part: LabelledChips, split: ChipSplit) -> dict[str, float]:
    """Return mIoU and the area under the ROC curve, or R^2 and the error of values, from one pass."""
    matrix, areas, errors = ConfusionMatrix(split.outputs), RocHistogram(split.outputs), ValueErrors()
    for chips, labels in zip(part.chips.split(16), part.labels.split(16), strict=True):
        logits = predict(model, chips).float()
        if split.regression:
            errors.add(logits[:, 0], labels)
        else:
            matrix.add(logits.argmax(dim=1), labels)
            areas.add(logits, labels)
    if split.regression:
        return {"r2": errors.r2(), "rmse": errors.rmse()}
    return {"miou": matrix.miou(), "auc": areas.auc()}


def measure(
    model: SegmentationModel, teacher: SegmentationModel, split: ChipSplit, trial: Trial
) -> dict[str, float]:
    """Return how good a model is on the test chips, and how much smaller and faster than the teacher."""
    one = split.test.chips[:1]
    on_device = one.to(trial.device)

    def run() -> None:
        with torch.no_grad():
            model(on_device)

    found = score(model.to(trial.device), split.test, split)
    with mode(model, training=False):
        seconds = trial.timed(run)
    model.cpu()
    teacher.cpu()
    return found | {
        "size_ratio": count_parameters(teacher) / count_parameters(model),
        "macs_ratio": count_macs(teacher, one) / count_macs(model, one),
        "seconds_per_chip": seconds,
    }


def show_maps(trial: Trial, model: SegmentationModel, split: ChipSplit, what: str) -> None:
    """Keep a picture of the predicted and the true classes side by side, for two test chips."""
    if split.regression:
        return
    colors = [rgb(color) for color in distinct_colors(len(split.class_names))]
    palette = np.array([*colors, (255, 255, 255)], np.uint8)  # the last one is that of -1
    predicted = predict(model, split.test.chips[:2]).argmax(dim=1)
    side_by_side = torch.cat([predicted, split.test.labels[:2]], dim=2)
    picture = palette[np.concatenate(side_by_side.numpy())]
    scale = max(1, 384 // picture.shape[1])
    trial.show(
        picture.repeat(scale, axis=0).repeat(scale, axis=1),
        f"{what}: predicted classes (left) and true ones (right) of two test chips; white is not observed",
    )


def agreement(cut: CutChips, oracle: CutChips) -> dict[str, float]:
    """Return the share of the oracle's labelled pixels that the cut chips have too, in equal chips.

    A chip that is missing, or too many, or in which a pixel differs, has no pixel that agrees. Chips of the
    same pixels are compared in the order of their labels, in which both lists are sorted.
    """
    theirs: dict[bytes, list[np.ndarray]] = {}
    for chip, labels in zip(cut.chips, cut.labels, strict=True):
        theirs.setdefault(chip.tobytes(), []).append(labels)
    agreed = total = 0
    for chip, labels in zip(oracle.chips, oracle.labels, strict=True):
        known = labels != -1
        total += int(known.sum())
        same = theirs.get(chip.tobytes())
        if same:
            mine = same.pop(0)
            agreed += int((mine[known] == labels[known]).sum())
            total += int((mine[~known] != -1).sum())
    total += sum(int((labels != -1).sum()) for rest in theirs.values() for labels in rest)
    return {"label_agreement": agreed / total, "chips_cut": float(len(cut.chips))}
