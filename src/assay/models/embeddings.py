"""A teacher's embeddings: the inputs of its last linear layer, and its logits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn


@dataclass(frozen=True)
class TeacherOutputs:
    """What a teacher says of N inputs, with the layer that its logits come from: z = W h + b."""

    embeddings: Float[Tensor, "n d"]
    """h, the inputs of the last linear layer."""
    logits: Float[Tensor, "n c"]
    """z."""
    weight: Float[Tensor, "c d"]
    """W of the last linear layer."""
    bias: Float[Tensor, " c"]
    """b of the last linear layer, zeros if it has none."""

    def to(self, device: str | torch.device) -> TeacherOutputs:
        """Return the same on a device."""
        return TeacherOutputs(*(value.to(device) for value in vars(self).values()))

    def ordered(self, classes: Sequence[int]) -> TeacherOutputs:
        """Return the same with the classes in another order."""
        order = list(classes)
        return TeacherOutputs(self.embeddings, self.logits[:, order], self.weight[order], self.bias[order])


def extract_embeddings(
    teacher: nn.Module, loader: Iterable[Any], layer: str | nn.Linear | None = None
) -> TeacherOutputs:
    """Run a frozen teacher over a loader once and keep its embeddings and logits.

    Works with any module whose logits are the output of a linear layer, transformers' sequence classifiers
    (pooled output) among them. A teacher with a single logit z (sigmoid) is turned into one with the two
    logits [0, z].

    Args:
        teacher: in evaluation mode; called as teacher(batch), or teacher(**batch) for a mapping (without
            labels).
        loader: batches: a tensor, a sequence whose first element is one, or a mapping of tensors.
        layer: the last linear layer or its name; by default the teacher's last `nn.Linear`.

    Raises:
        ValueError: the teacher is in training mode; the layer is not its last linear layer, that is
            W h + b differs from the logits (a normalised or scaled classifier, say); the loader is empty.
    """
    parts = list(iterate_embeddings(teacher, loader, layer))
    if not parts:
        raise ValueError("The loader gave no batches, so there are no embeddings to extract.")
    weight, bias = last_layer(teacher, layer)
    embeddings, logits = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
    return TeacherOutputs(embeddings, logits, weight, bias)


def iterate_embeddings(
    teacher: nn.Module, loader: Iterable[Any], layer: str | nn.Linear | None = None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield embeddings (n, D) and logits (n, C) batch by batch: for embeddings that do not fit in memory.

    Arguments and errors are those of `extract_embeddings`.
    """
    if any(module.training for module in teacher.modules()):
        raise ValueError(
            "The teacher is in training mode: its dropout or batch statistics would leak into the "
            "embeddings. Call teacher.eval() first."
        )
    linear = find_linear(teacher, layer)
    device = linear.weight.device
    captured: list[Tensor] = []
    hook = linear.register_forward_pre_hook(lambda _, inputs: captured.append(inputs[0].detach()))
    try:
        for batch in loader:
            captured.clear()
            with torch.no_grad():
                logits = _call(teacher, batch, device)
            yield _checked(captured, logits, linear)
    finally:
        hook.remove()


def last_layer(teacher: nn.Module, layer: str | nn.Linear | None = None) -> tuple[Tensor, Tensor]:
    """Return W (C, D) and b (C,) of the teacher's last linear layer; a single logit becomes two, [0, z]."""
    linear = find_linear(teacher, layer)
    weight = linear.weight.detach().cpu()
    bias = weight.new_zeros(len(weight)) if linear.bias is None else linear.bias.detach().cpu()
    return two_class_layer(weight, bias) if len(weight) == 1 else (weight, bias)


def find_linear(teacher: nn.Module, layer: str | nn.Linear | None = None) -> nn.Linear:
    """Return the layer of that name, or the teacher's last `nn.Linear`."""
    if isinstance(layer, nn.Linear):
        return layer
    linears = {name: module for name, module in teacher.named_modules() if isinstance(module, nn.Linear)}
    if not linears:
        raise ValueError(f"{type(teacher).__name__} has no linear layer: name the one that gives its logits.")
    if layer is None:
        return list(linears.values())[-1]
    if layer not in linears:
        raise ValueError(
            f"{type(teacher).__name__} has no linear layer {layer!r}; it has {', '.join(linears)}."
        )
    return linears[layer]


def two_class_logits(logits: Float[Tensor, "n 1"]) -> Float[Tensor, "n 2"]:
    """Turn a sigmoid teacher's logit z into [0, z]: softmax([0, z]) = [1 - sigmoid(z), sigmoid(z)]."""
    return torch.cat([torch.zeros_like(logits), logits], dim=1)


def two_class_layer(
    weight: Float[Tensor, "1 d"], bias: Float[Tensor, " 1"]
) -> tuple[Float[Tensor, "2 d"], Float[Tensor, " 2"]]:
    """Turn a sigmoid teacher's last layer into the one that gives `two_class_logits`."""
    return torch.cat([torch.zeros_like(weight), weight]), torch.cat([torch.zeros_like(bias), bias])


def _call(teacher: nn.Module, batch: Any, device: torch.device) -> Tensor:
    """Return the teacher's logits, (n, C) or (n, 1)."""
    if isinstance(batch, Mapping):
        output = teacher(**{name: value.to(device) for name, value in batch.items() if name != "labels"})
    else:
        inputs = batch[0] if isinstance(batch, (tuple, list)) else batch
        output = teacher(inputs.to(device))
    logits: Tensor = getattr(output, "logits", output)
    return logits.unsqueeze(1) if logits.ndim == 1 else logits


def _checked(captured: list[Tensor], logits: Tensor, linear: nn.Linear) -> tuple[Tensor, Tensor]:
    """Return the captured embeddings and the logits, if the layer turns the ones into the others."""
    embeddings = captured[-1] if captured else None
    expected = None if embeddings is None else nn.functional.linear(embeddings, linear.weight, linear.bias)
    if embeddings is None or expected is None or not _close(expected, logits):
        raise ValueError(
            f"The layer {linear} is not the one that gives the teacher's logits: W h + b with its input h "
            "differs from them. Name the last linear layer; a classifier that normalises or scales after it "
            "does not fit."
        )
    if logits.shape[1] == 1:
        logits = two_class_logits(logits)
    return embeddings.cpu(), logits.cpu()


def _close(a: Tensor, b: Tensor) -> bool:
    if a.shape != b.shape:
        return False
    tolerance = 1e-3 if a.dtype in (torch.float32, torch.float64) else 3e-2
    return bool((a - b).abs().max() <= tolerance * (1 + b.abs().max()))
