"""The student's side: a head with S logits a class, and one loss (LELP, step 4)."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional


class SubclassHead(nn.Linear):
    """Linear(in_features, C * S): S logits for each of C classes, class by class.

    Example:
        >>> head = SubclassHead(64, n_classes=2, n_subclasses=8)
        >>> logits = head(torch.zeros(3, 64))
        >>> logits.shape, head.class_log_probs(logits).shape
        (torch.Size([3, 16]), torch.Size([3, 2]))
    """

    def __init__(self, in_features: int, n_classes: int, n_subclasses: int) -> None:
        super().__init__(in_features, n_classes * n_subclasses)
        self.n_classes = n_classes
        self.n_subclasses = n_subclasses

    def class_log_probs(self, logits: Float[Tensor, "n cs"]) -> Float[Tensor, "n c"]:
        """Return log p(c | x) of this head's logits; see `class_log_probs`."""
        return class_log_probs(logits, self.n_subclasses)


def class_log_probs(logits: Float[Tensor, "n cs"], n_subclasses: int) -> Float[Tensor, "n c"]:
    """Return log p(c | x) = logsumexp_s l_{c,s} - logsumexp_{c,s} l_{c,s}: classes are sums of subclasses."""
    return class_logits(logits, n_subclasses).log_softmax(1)


def class_logits(logits: Float[Tensor, "n cs"], n_subclasses: int) -> Float[Tensor, "n c"]:
    """Return one logit a class, logsumexp over its S subclass logits."""
    if logits.shape[1] % n_subclasses:
        raise ValueError(f"{logits.shape[1]} logits do not split into classes of {n_subclasses} subclasses.")
    per_class: Tensor = logits.unflatten(1, (-1, n_subclasses)).logsumexp(2)
    return per_class


class SubclassDistillationLoss(nn.Module):
    """One cross entropy over all C * S subclasses, and optionally one over the labels.

        L = (1 - alpha) CE(q, softmax(l)) + alpha CE(y, p(c | x))

    with q from `pseudo_subclass_targets`, l the student's C * S logits and p(c | x) the sum over the
    subclasses of c. Its gradient is that of KL(q || softmax(l)). With S = 1 and alpha = 0 it is vanilla
    distillation. The paper uses alpha = 0 throughout: no labels.

    Args:
        label_weight: alpha, from 0 to 1.
        n_subclasses: S; needed when alpha > 0.
    """

    def __init__(self, label_weight: float = 0.0, n_subclasses: int = 1) -> None:
        super().__init__()
        if not 0 <= label_weight <= 1:
            raise ValueError(f"label_weight is {label_weight}; expected 0 to 1.")
        self.label_weight = label_weight
        self.n_subclasses = n_subclasses

    def forward(
        self,
        logits: Float[Tensor, "n cs"],
        targets: Float[Tensor, "n cs"],
        labels: Int[Tensor, " n"] | None = None,
    ) -> Float[Tensor, ""]:
        """Return the loss of student logits l against targets q, averaged over the batch."""
        loss = functional.cross_entropy(logits, targets)
        if self.label_weight == 0:
            return loss
        if labels is None:
            raise ValueError(f"label_weight is {self.label_weight}, so the loss needs labels.")
        on_labels = functional.nll_loss(class_log_probs(logits, self.n_subclasses), labels)
        return (1 - self.label_weight) * loss + self.label_weight * on_labels
