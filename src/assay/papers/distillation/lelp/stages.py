"""Stages that all arms of a seed share: a trained teacher, and what it says of every row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from assay.errors import InputError
from assay.models import (
    Classifier,
    ClassifierSpec,
    ModelSource,
    SentenceEncoder,
    Training,
    count_flops,
    load_model,
    load_tokenizer,
    longest_input,
    train_classifier,
)
from assay.papers.distillation.lelp.config import Teaching
from assay.papers.distillation.lelp.method import (
    SubclassDiversity,
    SubclassHead,
    TeacherOutputs,
    class_log_probs,
    extract_embeddings,
)
from assay.training import Compute, batches, evaluate

READ_AT_ONCE = 256


@dataclass(frozen=True)
class TeacherPlan:
    """What teacher is trained, and how."""

    spec: ClassifierSpec
    """Of the network below its head."""
    n_classes: int
    """C."""
    options: Teaching
    """How it is trained."""
    augment: bool = False
    """Crop and flip pictures."""
    n_subclasses: int = 1
    """S, above 1 for Subclass Distillation alone."""
    diversity_weight: float = 0.0
    """Of Subclass Distillation's auxiliary loss."""

    def build(self) -> Classifier:
        """Return an untrained teacher."""
        return Classifier(
            self.spec,
            self.n_classes * self.n_subclasses,
            head=lambda width: SubclassHead(width, self.n_classes, self.n_subclasses),
        )


@dataclass(frozen=True)
class Teacher:
    """A teacher's outputs, and the teacher itself where it was trained here."""

    train: TeacherOutputs
    """For the training rows."""
    test: TeacherOutputs
    """For the test rows."""
    forward_flops: int
    """Of one row."""
    examples: int = 0
    """Rows that it was trained on, repetitions included."""
    plan: TeacherPlan | None = None
    """How it was trained; None for one that was given."""
    weights: dict[str, Tensor] = field(default_factory=dict)
    """Of its network; those of transformers are not kept, since nothing asks them again."""

    def restore(self) -> Classifier:
        """Return the network that was trained, frozen."""
        assert self.plan is not None
        classifier = self.plan.build()
        classifier.load_state_dict(self.weights)
        return classifier.eval().requires_grad_(False)


def encode(texts: Sequence[str], source: ModelSource, compute: Compute) -> Float[Tensor, "n d"]:
    """Embed texts with a frozen sentence encoder."""
    return SentenceEncoder(source, compute.accelerator).encode(texts, batch_size=16).cpu().clone()


class TeachingLoss(nn.Module):
    """Cross entropy of the summed class probabilities, and Subclass Distillation's auxiliary loss."""

    def __init__(self, plan: TeacherPlan) -> None:
        super().__init__()
        self.plan = plan
        self.diversity = SubclassDiversity()

    def forward(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Float[Tensor, ""]:
        """Return the loss of a batch of rows and labels."""
        rows, labels = batch
        logits = model(crop_and_flip(rows) if self.plan.augment else rows)
        loss = functional.nll_loss(class_log_probs(logits, self.plan.n_subclasses), labels)
        if self.plan.diversity_weight:
            loss = loss + self.plan.diversity_weight * self.diversity(logits)
        return loss


def train_teacher(
    plan: TeacherPlan,
    labelled: tuple[Tensor, Int[Tensor, " m"]],
    train: Tensor,
    test: Tensor,
    compute: Compute,
) -> Teacher:
    """Train a teacher on labelled rows, and read all training and test rows with it."""
    teacher = plan.build().standardise(train)
    options, rows = plan.options, labelled[0]
    training = Training(
        steps=options.epochs * -(-len(rows) // options.batch_size) or options.steps,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        cosine=True,
    )
    order = torch.Generator().manual_seed(int(torch.randint(2**40, ()).item()))
    history = train_classifier(teacher, labelled, training, order, TeachingLoss(plan), compute)
    return Teacher(
        train=read_rows(teacher, train),
        test=read_rows(teacher, test),
        forward_flops=count_flops(teacher, rows[:1].to(teacher.device)),
        examples=history.examples,
        plan=plan,
        weights={} if plan.spec.kind == "transformer" else teacher.record().weights,
    )


def read_rows(classifier: Classifier, rows: Tensor) -> TeacherOutputs:
    """Return a classifier's embeddings and logits of prepared rows."""

    def outputs(model: Any, batch: tuple[Tensor]) -> tuple[Tensor, Tensor]:
        features = model.features(*batch)
        return features, model.head(features)

    together = batches(rows, batch_size=READ_AT_ONCE, shuffle=False)
    embeddings, logits = evaluate(classifier, together, lambda *tensors: tensors, outputs)
    weight, bias = (parameter.detach().cpu() for parameter in (classifier.head.weight, classifier.head.bias))
    return TeacherOutputs(embeddings.cpu(), logits.cpu(), weight, bias)


def ask_teacher(
    source: ModelSource,
    names: Sequence[str],
    texts: tuple[list[str], list[str]],
    max_tokens: int,
    compute: Compute,
) -> Teacher:
    """Read training and test texts with the user's sequence classifier.

    Raises:
        InputError: it cannot be loaded, has other classes than the table, or its last layer is not linear.
    """
    from transformers import AutoModelForSequenceClassification

    model: Any = load_model(source, AutoModelForSequenceClassification, device=compute.accelerator)
    tokenizer = load_tokenizer(source)
    longest = min(max_tokens, longest_input(model, tokenizer))

    def tokens(part: list[str]) -> Iterator[dict[str, Tensor]]:
        for start in range(0, len(part), READ_AT_ONCE):
            batch = part[start : start + READ_AT_ONCE]
            yield dict(
                tokenizer(batch, truncation=True, max_length=longest, padding=True, return_tensors="pt")
            )

    try:
        train, test = (extract_embeddings(model, tokens(part)) for part in texts)
    except ValueError as error:
        raise InputError(f"{source} cannot teach: {error}") from error
    order = class_order(source, names, model.config.id2label, len(train.weight))
    row = {name: value.to(model.device) for name, value in next(tokens(texts[0][:1])).items()}
    return Teacher(train.ordered(order), test.ordered(order), count_flops(lambda: model(**row)))


def class_order(
    source: ModelSource, names: Sequence[str], known: dict[int, str], n_classes: int
) -> list[int]:
    """Return the model's class number of each class of the table: by name, or by number where names differ.

    Raises:
        InputError: the model has another number of classes.
    """
    if n_classes != len(names):
        raise InputError(f"{source} has {n_classes} classes, the table {len(names)} ({', '.join(names)}).")
    numbers = {str(name).lower(): number for number, name in known.items()}
    lowered = [name.lower() for name in names]
    return [numbers[name] for name in lowered] if set(lowered) == set(numbers) else list(range(n_classes))


def crop_and_flip(images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
    """Shift each picture by up to an eighth, edges filled with zeros, and mirror half of them."""
    n, _, height, width = images.shape
    device, pad = images.device, max(height // 8, 1)
    padded = functional.pad(images, (pad, pad, pad, pad))
    rows = torch.randint(2 * pad + 1, (n, 1), device=device) + torch.arange(height, device=device)
    columns = torch.randint(2 * pad + 1, (n, 1), device=device) + torch.arange(width, device=device)
    mirrored = torch.rand(n, 1, device=device) < 0.5
    columns = torch.where(mirrored, columns.flip(1), columns)
    index = torch.arange(n, device=device)[:, None, None]
    return padded[index, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
