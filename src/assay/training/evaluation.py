"""Evaluation: what a model gives for data, without training it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

Value = TypeVar("Value")


@contextmanager
def mode(model: nn.Module, *, training: bool) -> Iterator[None]:
    """Put the model into training or evaluation mode inside the block, and every module back afterwards."""
    before = [(module, module.training) for module in model.modules()]
    model.train(training)
    try:
        yield
    finally:
        for module, flag in before:
            module.training = flag


def logits_and_labels(model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
    """Return `model(inputs)` and the labels of a batch `(inputs, labels)`."""
    inputs, labels = batch
    return model(inputs), labels


def evaluate(
    model: nn.Module,
    batches: Iterable[Any],
    metric: Callable[..., Value],
    outputs: Callable[[nn.Module, Any], tuple[Tensor, ...]] = logits_and_labels,
) -> Value:
    """Return `metric` of everything that the model gives for all batches.

    `outputs(model, batch)` runs in evaluation mode without gradients, on the model's device. The tensors that
    it returns are concatenated over the batches, each along its first dimension, and handed to `metric`:
    `evaluate(model, test, accuracy)` is the accuracy over batches of `(inputs, labels)`. Every module is left
    in the mode in which it was found.

    Raises:
        ValueError: there are no batches.
    """
    device = _device(model)
    with mode(model, training=False), torch.inference_mode():
        parts = [outputs(model, _to(batch, device)) for batch in batches]
    if not parts:
        raise ValueError("There are no batches to evaluate on.")
    # Joined outside of inference mode, so that the result can be used in training, as a teacher's logits are.
    return metric(*(torch.cat(tensors) for tensors in zip(*parts, strict=True)))


def predict(model: nn.Module, *inputs: Tensor, batch_size: int = 256) -> Tensor:
    """Return `model(*inputs)` in evaluation mode without gradients, computed in batches of rows.

    The result is where the inputs are, whatever the device of the model, and can be used in training.

    Raises:
        ValueError: there are no inputs, or they are empty.
    """
    if not inputs or not len(inputs[0]):
        raise ValueError("There are no rows to predict for.")
    device = _device(model)
    with mode(model, training=False), torch.inference_mode():
        parts = [
            model(*(part.to(device) for part in row)).to(inputs[0].device)
            for row in zip(*(tensor.split(batch_size) for tensor in inputs), strict=True)
        ]
    return torch.cat(parts)


def accuracy(logits: Float[Tensor, "examples classes"], labels: Int[Tensor, " examples"]) -> float:
    """Return the fraction of rows whose largest logit is that of their label."""
    return (logits.argmax(-1) == labels.to(logits.device)).float().mean().item()


def _device(model: nn.Module) -> torch.device:
    return next(chain(model.parameters(), model.buffers(), (torch.empty(0),))).device


def _to(batch: Any, device: torch.device) -> Any:
    """Move the tensors of a batch, which may be nested in tuples, lists and dicts, to a device."""
    if hasattr(batch, "to"):
        return batch.to(device)
    if isinstance(batch, dict):
        return {name: _to(value, device) for name, value in batch.items()}
    if isinstance(batch, list | tuple):
        return type(batch)(_to(value, device) for value in batch)
    return batch
