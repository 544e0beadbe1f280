"""The stage that all arms of a seed share: make the teacher, and write down what it says of every row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import AdamW
from torch.optim.lr_scheduler import CosineAnnealingLR
from torch.utils.flop_counter import FlopCounterMode

from assay.errors import InputError
from assay.models import ModelSource, SentenceEncoder, load_model
from assay.papers.distillation.lelp.config import Teaching
from assay.training import Compute, batches, evaluate, fit

from .method import SubclassDiversity, class_log_probs, extract_embeddings
from .networks import BodySpec, Classifier, crop_and_flip, tokenize

READ_AT_ONCE = 256


def encode(texts: Sequence[str], source: ModelSource, device: str) -> Float[Tensor, "n d"]:
    """Embed texts with a frozen sentence encoder."""
    return SentenceEncoder(source, device).encode(texts, batch_size=16).cpu().clone()


class TeachingLoss(nn.Module):
    """Cross entropy of the summed class probabilities, and Subclass Distillation's auxiliary loss."""

    def __init__(self, n_subclasses: int = 1, diversity_weight: float = 0.0, augment: bool = False) -> None:
        super().__init__()
        self.n_subclasses = n_subclasses
        self.diversity_weight = diversity_weight
        self.diversity = SubclassDiversity()
        self.augment = augment

    def forward(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Float[Tensor, ""]:
        """Return the loss of a batch of rows and labels."""
        rows, labels = batch
        _, logits = model(crop_and_flip(rows) if self.augment else rows)
        classes = class_log_probs(logits, self.n_subclasses)
        loss = functional.nll_loss(classes, labels)
        if self.diversity_weight:
            loss = loss + self.diversity_weight * self.diversity(logits)
        return loss


def train_teacher(
    spec: BodySpec,
    shape: tuple[int, int],
    options: Teaching,
    labelled: tuple[Tensor, Int[Tensor, " m"]],
    parts: dict[str, Tensor],
    diversity_weight: float,
    augment: bool,
    device: str,
) -> dict[str, Any]:
    """Train a teacher and read the parts with it.

    Args:
        spec: of its body.
        shape: C and S; S is above 1 for Subclass Distillation alone.
        options: how it is trained.
        labelled: rows and labels that it is trained on.
        parts: rows that it is asked about.
        diversity_weight: of Subclass Distillation's auxiliary loss.
        augment: crop and flip pictures.
        device: where it runs.

    Returns:
        Embeddings and logits of each part, the last layer's weight, the model's weights, and FLOPs: of a
        training step and a forward pass of one row, and the steps made.
    """
    teacher = Classifier(spec, *shape)
    teacher.adapt(parts["train"])
    rows, labels = labelled
    steps = options.epochs * -(-len(rows) // options.batch_size) or options.steps
    optimizer = AdamW(teacher.parameters(), lr=options.learning_rate)
    history = fit(
        teacher,
        batches(rows, labels, batch_size=min(options.batch_size, len(rows)), generator=_generator()),
        TeachingLoss(shape[1], diversity_weight, augment),
        optimizer=optimizer,
        scheduler=CosineAnnealingLR(optimizer, steps),
        steps=steps,
        compute=compute_on(device),
    )
    read = {part: read_rows(teacher, tensor) for part, tensor in parts.items()}
    weights = {name: value.cpu() for name, value in teacher.state_dict().items()}
    return {
        "read": read,
        "weight": teacher.head.weight.detach().cpu(),
        "model": {} if spec.kind == "transformer" else weights,
        "forward_flops": forward_flops(teacher, rows),
        "examples": history.examples,
    }


def read_rows(teacher: Classifier, rows: Tensor) -> dict[str, Tensor]:
    """Return a trained teacher's embeddings and logits."""
    together = batches(rows, batch_size=READ_AT_ONCE, shuffle=False)
    embeddings, logits = evaluate(
        teacher, together, lambda *outputs: outputs, outputs=lambda model, batch: model(*batch)
    )
    return {"embeddings": embeddings.cpu(), "logits": logits.cpu()}


def ask_teacher(
    source: ModelSource,
    names: Sequence[str],
    parts: dict[str, list[str]],
    max_tokens: int,
    device: str,
) -> dict[str, Any]:
    """Read the parts with a sequence classifier of the user's own; returns what `train_teacher` does.

    Raises:
        InputError: it cannot be loaded, has other classes than the table, or its last layer is not linear.
    """
    from transformers import AutoModelForSequenceClassification

    model: Any = load_model(source, AutoModelForSequenceClassification, device=device)
    try:
        outputs = {
            part: extract_embeddings(model, _token_batches(source, texts, max_tokens))
            for part, texts in parts.items()
        }
    except ValueError as error:
        raise InputError(f"{source} cannot teach: {error}") from error
    first = next(iter(outputs.values()))
    order = class_order(source, names, model.config.id2label, len(first.weight))
    sample = next(iter(_token_batches(source, next(iter(parts.values()))[:1], max_tokens)))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(**{name: value.to(device) for name, value in sample.items()})
    return {
        "read": {
            part: {"embeddings": read.embeddings, "logits": read.logits[:, order]}
            for part, read in outputs.items()
        },
        "weight": first.weight[order],
        "model": {},
        "forward_flops": counter.get_total_flops(),
        "examples": 0,
    }


def class_order(
    source: ModelSource, names: Sequence[str], known: dict[int, str], n_classes: int
) -> list[int]:
    """Return the model's class number of each class of the table: by name, or by number where names differ.

    Raises:
        InputError: the model has another number of classes.
    """
    if n_classes != len(names):
        raise InputError(
            f"{source} tells {n_classes} classes apart, the table has {len(names)} ({', '.join(names)})."
        )
    numbers = {str(name).lower(): number for number, name in known.items()}
    lowered = [name.lower() for name in names]
    return [numbers[name] for name in lowered] if set(lowered) == set(numbers) else list(range(n_classes))


def forward_flops(model: nn.Module, rows: Tensor) -> int:
    """Count the FLOPs of a forward pass of one row."""
    device = next(model.parameters()).device
    training = model.training
    model.eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(rows[:1].to(device))
    model.train(training)
    return int(counter.get_total_flops())


def compute_on(device: str) -> Compute:
    """Return the training loop's name of a device."""
    return Compute(accelerator="cuda" if device.startswith("cuda") else "cpu")


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(int(torch.randint(2**40, ()).item()))


def _token_batches(source: ModelSource, texts: Sequence[str], max_tokens: int) -> list[dict[str, Tensor]]:
    return [
        {"input_ids": part[:, 0], "attention_mask": part[:, 1]}
        for part in tokenize(source, texts, max_tokens).split(READ_AT_ONCE)
    ]
