"""What `assay run elang` keeps where it trained the models: the pair with its policy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from jaxtyping import Bool, Float
from torch import Tensor

from assay.artefact import Artefact
from assay.models import Classifier
from assay.papers.language.elang.method import EnergyRouter, RoutedOutput, RoutingPolicy


@dataclass(frozen=True)
class RoutedPair(Artefact):
    """A pair that was trained here, with its policy: answers rows, or routes logits."""

    policy: RoutingPolicy
    """When Super answers."""
    swift: Classifier
    """The cheap model."""
    super_: Classifier
    """The accurate model."""

    def answer(self, rows: Any) -> RoutedOutput:
        """Answer rows: `.prediction` (class numbers), `.route`, `.score`, `.cost`; errors as in `predict`."""
        router = EnergyRouter(self.swift, self.super_, policy=self.policy)  # refuses a policy of others
        return router.predict(self.swift.check_rows(rows))

    def predict(self, rows: Any) -> list[str]:
        """Return the class of each row by name, in their order.

        Args:
            rows: texts, or a DataFrame with one column of them; or numbers (n, d), as a DataFrame (columns
                are found by name), an array, a tensor or nested lists.

        Raises:
            ValueError: the rows are of another kind or size than those that the pair was trained on.
        """
        names = self.policy.label_names
        assert names is not None
        return [names[number] for number in self.answer(rows).prediction]  # type: ignore[index]

    def predict_proba(self, rows: Any) -> Float[Tensor, "n c"]:
        """Return the probabilities of the model that answers each row; errors as in `predict`."""
        logits = self.answer(rows).logits
        assert logits is not None
        return logits.softmax(1)

    def route(self, logits: Float[Tensor, "batch classes"]) -> Bool[Tensor, " batch"]:
        """Return True for the rows that Super should answer, from Swift's logits."""
        return self.policy.route(logits)
