"""What `assay run lelp` keeps: the student, ready for raw rows, with the projection that taught it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor

from assay.artefact import Artefact
from assay.models import Classifier
from assay.papers.distillation.lelp.method import PseudoSubclasses, class_log_probs


@dataclass(frozen=True)
class DistilledStudent(Artefact):
    """A classifier of texts, feature rows or pictures."""

    classifier: Classifier
    """The network, with S logits a class."""
    label_names: tuple[str, ...]
    """The classes in the order of their numbers."""
    targets: PseudoSubclasses | None = None
    """The projection and temperatures that made its targets; None for other objectives."""

    def predict(self, rows: Any) -> list[str]:
        """Return the class of each row by name, in their order; errors as in `predict_proba`."""
        return [self.label_names[c] for c in self.predict_proba(rows).argmax(1).tolist()]

    def predict_proba(self, rows: Any) -> Float[Tensor, "n c"]:
        """Return the probability of each class.

        Args:
            rows: texts, or a DataFrame with one column of them; or numbers (n, d), as a DataFrame (columns
                are found by name), an array, a tensor or nested lists; or pictures (n, channels, height,
                width) with values from 0 to 1 in the size in which they were distilled.

        Raises:
            ValueError: the rows are of another kind or size than those on which it was distilled.
        """
        logits = self.classifier.logits(rows)
        return class_log_probs(logits, logits.shape[1] // len(self.label_names)).exp()
