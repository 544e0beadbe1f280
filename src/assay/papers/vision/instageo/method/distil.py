"""Distillation by depth: the same model with fewer blocks, taught by the whole one."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, Literal, TypeVar

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn
from torch.nn import functional

from assay.training.compute import Compute
from assay.training.evaluation import mode
from assay.training.loop import fit

from .head import reset_head

Model = TypeVar("Model", bound=nn.Module)
Keep = Literal["first", "uniform", "last"]


class DistillationLoss(nn.Module):
    """Cross-entropy on labels and Kullback-Leibler divergence from the teacher, on valid positions.

        L = ce/N sum_i w_{y_i} CE(z^s_i, y_i) + kd T^2 / N sum_i KL(softmax(z^t_i / T) || softmax(z^s_i / T))

    N counts the valid positions: the plain mean of the weighted losses, not torch's weighted mean. With no
    valid position the loss is 0 and has no gradient (the official code gives NaN).

    Args:
        class_weights: w, one a class; all 1 by default (the original's default is [1, 2]).
        temperature: T; the paper has 1.
        ce_weight: of the cross-entropy; 0 learns from the teacher alone.
        kd_weight: of the divergence; 0 is fine-tuning.
        ignore_index: the label of positions without one.
        everywhere: take the divergence over all positions, labelled or not. Not in the paper.
    """

    def __init__(
        self,
        class_weights: Float[Tensor, " classes"] | None = None,
        temperature: float = 1.0,
        ce_weight: float = 1.0,
        kd_weight: float = 1.0,
        ignore_index: int = -1,
        everywhere: bool = False,
    ) -> None:
        super().__init__()
        if temperature <= 0:
            raise ValueError(f"temperature must be above 0, not {temperature}.")
        if ce_weight < 0 or kd_weight < 0 or ce_weight + kd_weight == 0:
            raise ValueError("ce_weight and kd_weight must not be negative, nor both 0.")
        self.register_buffer("class_weights", class_weights)
        self.class_weights: Tensor | None
        self.temperature, self.ce_weight, self.kd_weight = temperature, ce_weight, kd_weight
        self.ignore_index, self.everywhere = ignore_index, everywhere

    def forward(
        self,
        student: Float[Tensor, "b classes *grid"],
        teacher: Float[Tensor, "b classes *grid"] | None,
        labels: Int[Tensor, " b *grid"],
    ) -> Float[Tensor, ""]:
        """Return the loss of a batch; without a teacher, the cross-entropy alone."""
        true = labels.reshape(-1)
        valid = (true != self.ignore_index).nonzero()[:, 0]
        flat = flatten(student)
        chosen = flat.index_select(1, valid)
        total = flat.sum() * 0.0  # nothing valid: 0, with no gradient but still a graph
        if self.ce_weight and len(valid):
            wanted = true[valid][None]
            each = functional.cross_entropy(chosen[None], wanted, self.class_weights, reduction="none")
            total = total + self.ce_weight * each.mean()
        if teacher is not None and self.kd_weight:
            taught = flatten(teacher)
            if not self.everywhere:
                flat, taught = chosen, taught.index_select(1, valid)
            if flat.shape[1]:
                own, target = (
                    functional.log_softmax(logits / self.temperature, dim=0) for logits in (flat, taught)
                )
                divergence = functional.kl_div(own, target, reduction="sum", log_target=True) / flat.shape[1]
                total = total + self.kd_weight * self.temperature**2 * divergence
        return total


class RegressionDistillationLoss(nn.Module):
    """Squared error to the labels and to the teacher's values, each a mean over valid positions."""

    def __init__(self, ignore_index: float = -1, kd_weight: float = 1.0) -> None:
        super().__init__()
        self.ignore_index, self.kd_weight = ignore_index, kd_weight

    def forward(
        self,
        student: Float[Tensor, "b 1 *grid"],
        teacher: Float[Tensor, "b 1 *grid"] | None,
        labels: Float[Tensor, " b *grid"],
    ) -> Float[Tensor, ""]:
        """Return the loss of a batch; 0 without a valid position."""
        valid = labels != self.ignore_index
        values = student[:, 0]
        if not valid.any():
            return values.sum() * 0.0
        total = functional.mse_loss(values[valid], labels[valid])
        if teacher is not None:
            total = total + self.kd_weight * functional.mse_loss(values[valid], teacher[:, 0][valid])
        return total


def flatten(logits: Shaped[Tensor, "b classes *grid"]) -> Shaped[Tensor, "classes n"]:
    """Return logits as columns, one a position: 4 times as fast in a softmax as rows of few classes."""
    return logits.movedim(1, 0).reshape(logits.shape[1], -1)


def class_weights(labels: Int[Tensor, " ..."], num_classes: int) -> Float[Tensor, " classes"]:
    """Return N / (classes * n_c) of the labels from 0; a class that is not there gets 0."""
    counts = torch.bincount(labels[labels >= 0].reshape(-1), minlength=num_classes).float()
    return torch.where(counts > 0, counts.sum() / (num_classes * counts.clamp(min=1)), 0.0)


# --- the student --------------------------------------------------------------------------------


def find_blocks(model: nn.Module) -> str:
    """Return the name of the longest list of blocks of one class in a model.

    Raises:
        ValueError: there is none of at least two blocks; says what to give instead.
    """
    lists = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) > 1 and len({type(each) for each in module}) == 1
    }
    if not lists:
        raise ValueError(
            f"{type(model).__name__} has no nn.ModuleList of at least two blocks of one class."
            " Name the list, such as blocks='encoder.blocks'."
        )
    longest: str = max(lists, key=lambda name: len(lists[name]))
    return longest


def kept_blocks(total: int, depth: int, keep: Keep = "first") -> list[int]:
    """Return which of `total` blocks a student of `depth` inherits.

    Raises:
        ValueError: the depth is not from 1 to `total`.
    """
    if not 1 <= depth <= total:
        raise ValueError(f"depth must be from 1 to the teacher's {total} blocks, not {depth}.")
    if keep == "first":
        return list(range(depth))
    if keep == "last":
        return list(range(total - depth, total))
    return [round(number * (total - 1) / max(1, depth - 1)) for number in range(depth)]


def prune(teacher: nn.Module, depth: int, blocks: str = "auto", keep: Keep = "first") -> nn.Module:
    """Return a copy of a model with `depth` of its residual blocks, everything else copied too."""
    name = find_blocks(teacher) if blocks == "auto" else blocks
    full = teacher.get_submodule(name)
    if not isinstance(full, nn.ModuleList):
        raise ValueError(f"{name!r} is a {type(full).__name__}; name an nn.ModuleList of residual blocks.")
    kept = [full[number] for number in kept_blocks(len(full), depth, keep)]
    outer, _, last = name.rpartition(".")
    parent = teacher.get_submodule(outer)
    setattr(parent, last, nn.ModuleList(kept))
    try:
        student = copy.deepcopy(teacher)  # of the kept blocks alone
    finally:
        setattr(parent, last, full)
    for module in student.modules():
        config: Any = getattr(module, "config", None)  # transformers count their layers by it
        if getattr(config, "num_hidden_layers", None) == len(full):
            config.num_hidden_layers = depth
        shape: Any = getattr(module, "shape", None)
        if getattr(shape, "depth", None) == len(full):
            module.shape = replace(shape, depth=depth)
    return student


@dataclass
class DepthDistiller:
    """Makes a student of `depth` blocks out of a teacher and trains it on labels and the teacher's logits.

    Works on any module with an `nn.ModuleList` of residual blocks that maps inputs to logits
    [batch, classes, ...], or to an object with `.logits`. The teacher is used in eval mode, without
    gradients, and is left as it was; it is no part of the student.

    Args:
        teacher: fine-tuned.
        depth: blocks of the student.
        blocks: name of the list of blocks; by default the longest.
        keep: which blocks the student starts from; the paper has the first.
        reset: names of parts that start from random weights; in the paper, the head.
        loss: by default the paper's.
        learning_rate: of AdamW.
        weight_decay: of AdamW.
        compute: the device and the number format.
    """

    teacher: nn.Module
    depth: int
    blocks: str = "auto"
    keep: Keep = "first"
    reset: Sequence[str] = ()
    loss: nn.Module = field(default_factory=DistillationLoss)
    learning_rate: float = 1e-4
    weight_decay: float = 0.01
    compute: Compute | None = None

    def student(self) -> nn.Module:
        """Return the student before training."""
        student = prune(self.teacher, self.depth, self.blocks, self.keep)
        for name in self.reset:
            reset_head(student.get_submodule(name))
        return student.requires_grad_(True)

    def fit(
        self,
        batches: Iterable[Any],
        *,
        epochs: int | None = None,
        steps: int | None = None,
        student: nn.Module | None = None,
        scheduler: Callable[[torch.optim.Optimizer], Any] | None = None,
        on_step: Callable[[int, Tensor], object] | None = None,
    ) -> nn.Module:
        """Train and return the student.

        Args:
            batches: of (inputs, labels), or of (inputs, labels, teacher's logits) that are known already.
                Inputs are a tensor or a dict of arguments.
            epochs: passes over the batches; either this or `steps`.
            steps: gradient steps.
            student: what to train, where it does not start from the teacher.
            scheduler: makes a schedule of the optimizer.
            on_step: called as `on_step(step, loss)` after each gradient step; training ends if it is true.
        """
        student = self.student() if student is None else student
        optimizer = torch.optim.AdamW(
            student.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay, fused=True
        )
        taught = getattr(self.loss, "kd_weight", 1) > 0

        def loss(model: nn.Module, batch: Any) -> Tensor:
            inputs, labels, *known = batch
            self.loss.to(labels.device)
            teacher = (known[0] if known else self.teach(inputs)) if taught else None
            value: Tensor = self.loss(logits_of(model, inputs), teacher, labels)
            return value

        made = scheduler(optimizer) if scheduler else None
        more: dict[str, Any] = {"epochs": epochs, "steps": steps, "on_step": on_step, "compute": self.compute}
        fit(student, batches, loss, optimizer=optimizer, scheduler=made, **more)
        return student

    def teach(self, inputs: Any) -> Tensor:
        """Return the teacher's logits, in eval mode and without gradients."""
        first = next(iter(inputs.values())) if isinstance(inputs, Mapping) else inputs
        self.teacher.to(first.device)
        with mode(self.teacher, training=False), torch.no_grad():
            return logits_of(self.teacher, inputs)


def logits_of(model: nn.Module, inputs: Any) -> Tensor:
    """Return a model's logits for a tensor, or for a dict of arguments."""
    given = model(**inputs) if isinstance(inputs, Mapping) else model(inputs)
    logits: Tensor = given if isinstance(given, Tensor) else given.logits
    return logits


@dataclass(frozen=True)
class Choice(Generic[Model]):
    """A student of each depth, what each scored, and the depth that was chosen."""

    students: dict[int, Model]
    scores: dict[int, float]
    teacher_score: float
    depth: int
    within: bool

    @property
    def student(self) -> Model:
        """The chosen one."""
        return self.students[self.depth]


def choose_depth(
    make: Callable[[int], Model],
    depths: Sequence[int],
    score: Callable[[Model], float],
    teacher_score: float,
    tolerance: float = 0.015,
) -> Choice[Model]:
    """Train a student of each depth and choose the smallest that loses at most `tolerance`.

    Where none does, the best is chosen and `within` is false.

    Args:
        make: trains a student of a depth, such as `lambda depth: DepthDistiller(...).fit(batches)`.
        depths: to try.
        score: on validation data, higher is better.
        teacher_score: of the teacher, on the same data.
        tolerance: in units of the score.
    """
    if not depths:
        raise ValueError("Give at least one depth.")
    students = {depth: make(depth) for depth in sorted(set(depths))}
    scores = {depth: score(student) for depth, student in students.items()}
    fits = [depth for depth in students if scores[depth] >= teacher_score - tolerance]
    chosen = fits[0] if fits else max(students, key=lambda depth: scores[depth])
    return Choice(students, scores, teacher_score, chosen, bool(fits))
