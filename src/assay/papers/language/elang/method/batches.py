"""Rows of a batch, whatever it is made of, and the answers to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor, nn

from .identity import module_of

Inputs = Any
"""A batch of raw inputs: a tensor, a sequence (texts, pairs of texts) or a mapping of tensors."""

Model = Callable[..., Any]
"""Anything callable on a batch of raw inputs: a function, a module, a bound method."""


@dataclass(frozen=True)
class Replies:
    """What a generating model replied to a batch."""

    texts: list[str]
    """The reply to each row."""
    step_logits: tuple[Float[Tensor, "batch vocabulary"], ...] = ()
    """Raw logits of each generated step; empty if they were not kept."""
    mask: Bool[Tensor, "batch steps"] | None = None
    """True where a step belongs to the reply."""


@dataclass(frozen=True)
class Answers:
    """Predictions of one model for some rows, and its logits if it has any."""

    prediction: Shaped[Tensor, "rows ..."] | list[str]
    """Class number (of each step, for sequences), a regression's value, or a text."""
    logits: Float[Tensor, "rows ..."] | None = None
    """Raw logits; None for texts and for models that answer with class numbers."""

    def take(self, rows: Int[Tensor, " taken"]) -> Answers:
        """Return the answers to some rows."""
        logits = None if self.logits is None else self.logits[rows]
        return Answers(take(self.prediction, rows), logits)


def answers(output: Any) -> Answers:
    """Read a model's output: logits, class numbers, an object with `.logits`, replies, or a list of texts.

    Raises:
        TypeError: It is none of these.
    """
    if isinstance(output, Replies):
        return Answers(output.texts)
    if isinstance(output, list) and all(isinstance(item, str) for item in output):
        return Answers(output)
    if isinstance(output, Tensor) and not output.is_floating_point():
        return Answers(output)
    logits = logits_of(output)
    if logits is None:
        raise TypeError(f"A model must return logits, class numbers or texts, not {type(output).__name__}.")
    if logits.ndim == 2 and logits.shape[-1] == 1:
        return Answers(logits.squeeze(-1), logits)  # a regression: its value is its answer
    return Answers(logits.argmax(dim=-1), logits)


def logits_of(output: Any) -> Tensor | None:
    """Return the logits in a model's output, itself or its `.logits`; None where there are none."""
    logits = output if isinstance(output, Tensor) else getattr(output, "logits", None)
    return logits if isinstance(logits, Tensor) and logits.is_floating_point() else None


def assemble(total: int, parts: Sequence[tuple[Int[Tensor, " _"], Answers]]) -> Answers:
    """Put answers to disjoint rows back into the order of the batch.

    Logits are kept where all parts have them in one shape, in the wider of their types.

    Raises:
        ValueError: One model answers with texts and another with numbers, or with other classes.
    """
    filled = [(rows, part) for rows, part in parts if len(rows)]
    if len({isinstance(part.prediction, list) for _, part in filled}) > 1:
        raise ValueError("Swift and Super must both answer with texts, or both with logits or class numbers.")
    if isinstance(filled[0][1].prediction, list):
        texts = {
            row: text
            for rows, part in filled
            for row, text in zip(rows.tolist(), part.prediction, strict=True)
        }
        return Answers([texts[row] for row in range(total)])
    logits = [part.logits for _, part in filled if part.logits is not None]
    whole = len(logits) == len(filled)
    return Answers(
        _scatter(
            total, [(rows, part.prediction) for rows, part in filled if isinstance(part.prediction, Tensor)]
        ),
        _scatter(total, [(rows, each) for (rows, _), each in zip(filled, logits, strict=True)])
        if whole
        else None,
    )


def _scatter(total: int, parts: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    shapes = {tuple(values.shape[1:]) for _, values in parts}
    if len(shapes) > 1:
        raise ValueError(f"Swift and Super answer with different shapes a row: {sorted(shapes)}.")
    first = parts[0][1]
    dtype = first.dtype
    for _, values in parts[1:]:
        dtype = torch.promote_types(dtype, values.dtype)
    joined = torch.empty((total, *first.shape[1:]), dtype=dtype, device=first.device)
    for rows, values in parts:
        joined[rows.to(first.device)] = values.to(joined)
    return joined


def count(inputs: Inputs) -> int:
    """Return the number of rows of a batch."""
    return len(next(iter(inputs.values()))) if isinstance(inputs, Mapping) else len(inputs)


def take(inputs: Inputs, rows: Int[Tensor, " taken"]) -> Inputs:
    """Return some rows of a batch, as a batch of the same kind."""
    if isinstance(inputs, Mapping):
        return {name: take(column, rows) for name, column in inputs.items()}
    if isinstance(inputs, Tensor):
        return inputs[rows.to(inputs.device)]
    return [inputs[row] for row in rows.tolist()]


def join(batches: Sequence[Inputs]) -> Inputs:
    """Join batches of one kind into one.

    Raises:
        ValueError: Tensors whose rows have different shapes, such as token ids padded to different lengths.
    """
    first = batches[0]
    if isinstance(first, Mapping):
        return {name: join([batch[name] for batch in batches]) for name in first}
    if isinstance(first, Tensor):
        if len({tuple(batch.shape[1:]) for batch in batches}) > 1:
            raise ValueError(
                "These batches have rows of different shapes. Give the router raw texts, or pad alike."
            )
        return torch.cat(list(batches))
    return [row for batch in batches for row in batch]


def run(model: Model, inputs: Inputs) -> Any:
    """Call a model on a batch without gradients, on the device of its weights; a mapping becomes keywords."""
    module = module_of(model)
    with torch.no_grad():
        if module is None:
            return model(inputs)
        placed = to_device(inputs, module)
        return model(**placed) if isinstance(placed, Mapping) else model(placed)


def to_device(inputs: Inputs, module: nn.Module) -> Inputs:
    """Move the tensors of a batch to where a module's weights are."""
    weight = next(module.parameters(), None)
    if weight is None:
        return inputs
    if isinstance(inputs, Mapping):
        return {name: to_device(column, module) for name, column in inputs.items()}
    return inputs.to(weight.device) if isinstance(inputs, Tensor) else inputs
