"""A small classifier on Swift's encoder, whose energy is known before the decoder runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from assay.artefact import Artefact
from assay.models import Training, train_classifier
from assay.models.sequence import Encoded, Texts
from assay.training import Compute

TRAINING = Training(epochs=3, learning_rate=1e-3, weight_decay=1e-2)


class EncoderEnergyHead(nn.Module, Artefact):
    """Linear classifier on the mean-pooled states of a frozen encoder: logits f = W h̄ + b, energy F(f).

    Args:
        width: Size of the encoder's states.
        num_classes: Number of classes C ≥ 2.
    """

    def __init__(self, width: int, num_classes: int) -> None:
        super().__init__()
        self.classifier = nn.Linear(width, num_classes)

    def forward(
        self, hidden: Float[Tensor, "batch tokens width"], mask: Bool[Tensor, "batch tokens"]
    ) -> Float[Tensor, "batch classes"]:
        """Return C logits for each row."""
        logits: Tensor = self.classifier(pool(hidden, mask))
        return logits

    def fit(
        self,
        encode: Callable[[Texts], Encoded],
        batches: Iterable[tuple[Texts, Int[Tensor, " batch"]]],
        training: Training = TRAINING,
        generator: torch.Generator | None = None,
    ) -> EncoderEnergyHead:
        """Train the classifier with cross entropy on texts and class numbers.

        The encoder, such as `TextGenerator.encode`, stays frozen and sees each text once; `generator` draws
        the order of rows, by default torch's own.
        """
        with torch.no_grad():
            seen = [(encode(texts), labels) for texts, labels in batches]
            features = torch.cat([pool(each.hidden, each.mask) for each, _ in seen]).cpu()
        labels = torch.cat([labels for _, labels in seen]).cpu()
        device = self.classifier.weight.device
        order, cpu = generator or torch.default_generator, Compute(accelerator="cpu")
        train_classifier(self.classifier, (features, labels), training, order, compute=cpu)
        return self.to(device).eval()

    def record(self) -> dict[str, Tensor]:
        """Return the weights."""
        return dict(self.state_dict())

    @classmethod
    def from_record(cls, record: dict[str, Tensor]) -> EncoderEnergyHead:
        """Build the head with these weights."""
        classes, width = record["classifier.weight"].shape
        head = cls(width, classes)
        head.load_state_dict(record)
        return head.eval()


def pool(
    hidden: Float[Tensor, "batch tokens width"], mask: Bool[Tensor, "batch tokens"]
) -> Float[Tensor, "batch width"]:
    """Return the mean of each row's states over the tokens in `mask`."""
    weights = mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * weights).sum(dim=1) / weights.sum(dim=1)
