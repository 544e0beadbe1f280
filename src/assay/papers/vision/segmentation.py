"""Segmentation metrics from one pass over batches: counts are added up, scikit-learn scores them."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from sklearn.metrics import confusion_matrix, jaccard_score, roc_auc_score
from torch import Tensor


class ConfusionMatrix:
    """Counts of true classes (rows) against predicted ones (columns), added up batch by batch."""

    def __init__(self, num_classes: int, ignore_index: int = -1) -> None:
        self.num_classes, self.ignore_index = num_classes, ignore_index
        self.counts = np.zeros((num_classes, num_classes), np.int64)

    def add(self, predicted: Int[Tensor, " ..."], labels: Int[Tensor, " ..."]) -> None:
        """Count a batch; positions without a label are left out.

        Raises:
            ValueError: a label is no class.
        """
        valid = labels != self.ignore_index
        true, guess = labels[valid].cpu().numpy(), predicted[valid].cpu().numpy()
        if not len(true):
            return
        if true.min() < 0 or true.max() >= self.num_classes:
            raise ValueError(
                f"labels go from {true.min()} to {true.max()}, classes from 0 to {self.num_classes - 1}."
            )
        self.counts += confusion_matrix(true, guess, labels=range(self.num_classes))

    def iou(self) -> np.ndarray:
        """Return TP / (TP + FP + FN) of each class; 0 / 0 is 0."""
        true, guess = np.indices(self.counts.shape).reshape(2, -1)
        classes, counts = range(self.num_classes), self.counts.ravel()
        found: np.ndarray = jaccard_score(
            true, guess, labels=classes, average=None, sample_weight=counts, zero_division=0
        )
        return found

    def miou(self) -> float:
        """Return the plain mean over classes."""
        return float(self.iou().mean())

    def accuracy(self) -> float:
        """Return the share of labelled pixels that are right."""
        return float(np.trace(self.counts) / max(1, self.counts.sum()))


class RocHistogram:
    """One-versus-rest areas under the ROC curve from histograms of probabilities, added up batch by batch."""

    def __init__(self, num_classes: int, bins: int = 1024, ignore_index: int = -1) -> None:
        self.num_classes, self.bins, self.ignore_index = num_classes, bins, ignore_index
        self.counts = np.zeros((num_classes, 2, bins), np.int64)

    def add(self, logits: Float[Tensor, "b classes *grid"], labels: Int[Tensor, " b *grid"]) -> None:
        """Count a batch; positions without a label are left out."""
        rows = logits.softmax(dim=1).movedim(1, -1).reshape(-1, self.num_classes)
        true = labels.reshape(-1)
        valid = true != self.ignore_index
        self.add_probabilities(rows[valid], true[valid])

    def add_probabilities(self, rows: Float[Tensor, "n classes"], true: Int[Tensor, " n"]) -> None:
        """Count rows of probabilities: all classes in one call of bincount."""
        bin_of = (rows * self.bins).long().clamp(max=self.bins - 1)
        positive = torch.nn.functional.one_hot(true.long(), self.num_classes)
        slot = (torch.arange(self.num_classes) * 2 + positive) * self.bins + bin_of
        added = torch.bincount(slot.reshape(-1), minlength=self.counts.size)
        self.counts += added.view(self.counts.shape).cpu().numpy()

    def areas(self) -> np.ndarray:
        """Return the area of each class; NaN where a class or its rest is not there. Ties count half."""
        positive, bins = np.indices((2, self.bins)).reshape(2, -1)
        return np.array(
            [
                roc_auc_score(positive, bins, sample_weight=counts.ravel())
                if counts.any(axis=1).all()
                else np.nan
                for counts in self.counts
            ]
        )

    def auc(self) -> float:
        """Return the mean over the classes that are there."""
        areas = self.areas()
        return float(np.nanmean(areas)) if not np.isnan(areas).all() else float("nan")


class ValueErrors:
    """How far predicted values are from the labels, added up batch by batch."""

    def __init__(self, ignore_index: float = -1) -> None:
        self.ignore_index = ignore_index
        self.count, self.total, self.squares, self.errors = 0, 0.0, 0.0, 0.0

    def add(self, predicted: Float[Tensor, " *grid"], labels: Float[Tensor, " *grid"]) -> None:
        """Count a batch; positions without a label are left out."""
        valid = labels != self.ignore_index
        true, guess = labels[valid].double(), predicted[valid].double()
        self.count += len(true)
        self.total += float(true.sum())
        self.squares += float((true**2).sum())
        self.errors += float(((guess - true) ** 2).sum())

    def rmse(self) -> float:
        """Return the root of the mean squared error; NaN without a label."""
        return (self.errors / self.count) ** 0.5 if self.count else float("nan")

    def r2(self) -> float:
        """Return 1 - squared errors / squared distances of labels from their mean; NaN where those are 0."""
        spread = self.squares - self.total**2 / self.count if self.count else 0.0
        return 1 - self.errors / spread if spread > 0 else float("nan")
