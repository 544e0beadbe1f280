"""Models of any kind as functions of a batch: modules, functions, and estimators of scikit-learn.

Rows come as tensors, arrays, DataFrames, sequences or mappings; answers as logits, class numbers or texts.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import CodeType, FunctionType
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from assay.models.sequence import Replies, config_labels

Inputs = Any
"""A batch of raw inputs: a tensor, an array, a DataFrame, a sequence (texts, pairs of texts) or a mapping of
tensors."""

Model = Any
"""Anything callable on a batch of raw inputs (a function, a module, a bound method), or an estimator of
scikit-learn."""


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


def ask(model: Model, inputs: Inputs) -> Answers:
    """Return a model's answers to a batch."""
    return answers(run(model, inputs), getattr(model, "classes_", None))


def answers(output: Any, classes: Shaped[np.ndarray, " classes"] | None = None) -> Answers:
    """Read a model's output: logits, class numbers, an object with `.logits`, replies, or a list of texts.

    Args:
        output: Of one batch.
        classes: An estimator's `classes_`, which are then predicted in place of their numbers.

    Raises:
        TypeError: It is none of these.
    """
    if isinstance(output, Replies):
        return Answers(output.texts)
    output = _tensor(output)
    if isinstance(output, list) and all(isinstance(item, str) for item in output):
        return Answers(output)
    if isinstance(output, Tensor) and not output.is_floating_point():
        return Answers(output)
    logits = logits_of(output)
    if logits is None:
        raise TypeError(f"A model must return logits, class numbers or texts, not {type(output).__name__}.")
    if logits.ndim == 2 and logits.shape[-1] == 1:
        return Answers(logits.squeeze(-1), logits)  # a regression: its value is its answer
    numbers = logits.argmax(dim=-1)
    return Answers(numbers if classes is None else _tensor(classes[numbers.numpy()]), logits)


def logits_of(output: Any) -> Tensor | None:
    """Return the logits in a model's output, itself or its `.logits`; None where there are none.

    One number a row, shape (batch,), is a decision function d of two classes. Its logits are (-d/2, d/2):
    their softmax is the sigmoid of d, and their energy is alike for both classes.
    """
    logits = _tensor(getattr(output, "logits", output))
    if not (isinstance(logits, Tensor) and logits.is_floating_point()):
        return None
    return torch.stack([-logits / 2, logits / 2], dim=1) if logits.ndim == 1 else logits


def _tensor(output: Any) -> Any:
    """Return arrays as tensors, and arrays of texts as lists."""
    if not isinstance(output, np.ndarray):
        return output
    return output.tolist() if output.dtype.kind in "UO" else torch.from_numpy(np.ascontiguousarray(output))


def assemble(total: int, parts: Sequence[tuple[Int[Tensor, " _"], Answers]]) -> Answers:
    """Put answers to disjoint rows back into the order of the batch.

    Logits are kept where all parts have them in one shape, in the wider of their types.

    Raises:
        ValueError: One model answers with texts and another with numbers, or with other classes.
    """
    filled = [(rows, part) for rows, part in parts if len(rows)]
    texts = {
        row: text
        for rows, part in filled
        if isinstance(part.prediction, list)
        for row, text in zip(rows.tolist(), part.prediction, strict=True)
    }
    if texts and len(texts) < total:
        raise ValueError("Swift and Super must both answer with texts, or both with logits or class numbers.")
    if texts:
        return Answers([texts[row] for row in range(total)])
    numbers = [(rows, part.prediction) for rows, part in filled if isinstance(part.prediction, Tensor)]
    logits = [(rows, part.logits) for rows, part in filled if part.logits is not None]
    return Answers(_scatter(total, numbers), _scatter(total, logits) if len(logits) == len(filled) else None)


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
    if isinstance(inputs, np.ndarray):
        return inputs[rows.numpy()]
    if hasattr(inputs, "iloc"):
        return inputs.iloc[rows.numpy()]
    return [inputs[row] for row in rows.tolist()]


def join(batches: Sequence[Inputs]) -> Inputs:
    """Join batches of one kind into one.

    Raises:
        ValueError: Rows of different shapes, such as token ids padded to different lengths.
    """
    first = batches[0]
    if isinstance(first, Mapping):
        return {name: join([batch[name] for batch in batches]) for name in first}
    if isinstance(first, Tensor | np.ndarray):
        if len({tuple(batch.shape[1:]) for batch in batches}) > 1:
            raise ValueError(
                "These batches have rows of different shapes. Give the router raw texts, or pad alike."
            )
        return torch.cat(list(batches)) if isinstance(first, Tensor) else np.concatenate(batches)
    if hasattr(first, "iloc"):
        import pandas as pd

        return pd.concat(batches)
    return [row for batch in batches for row in batch]


def run(model: Model, inputs: Inputs) -> Any:
    """Call a model on a batch without gradients, on the device of its weights; a mapping becomes keywords.

    Of an estimator, the decision function is read, or else the logarithm of its probabilities; without
    either, its predictions.
    """
    if not callable(model):
        return _ask_estimator(model, inputs)
    module = module_of(model)
    with torch.no_grad():
        if module is None:
            return model(inputs)
        placed = _on_device_of(next(module.parameters(), None), inputs)
        return model(**placed) if isinstance(placed, Mapping) else model(placed)


def _ask_estimator(model: Any, inputs: Inputs) -> Any:
    rows = inputs.cpu().numpy() if isinstance(inputs, Tensor) else inputs
    if hasattr(model, "decision_function"):
        return model.decision_function(rows)
    if hasattr(model, "predict_proba"):
        with np.errstate(divide="ignore"):
            return np.log(model.predict_proba(rows))
    return model.predict(rows)


def _on_device_of(weight: Tensor | None, inputs: Inputs) -> Inputs:
    """Return a batch for a module: its tensors where the weights are, arrays as tensors of their type."""
    if isinstance(inputs, Mapping):
        return {name: _on_device_of(weight, column) for name, column in inputs.items()}
    if isinstance(inputs, np.ndarray) and inputs.dtype.kind == "f":
        inputs = torch.from_numpy(inputs).to(torch.float32 if weight is None else weight.dtype)
    elif isinstance(inputs, np.ndarray) and inputs.dtype.kind in "iub":
        inputs = torch.from_numpy(inputs)
    return inputs.to(weight.device) if isinstance(inputs, Tensor) and weight is not None else inputs


# --- which model it is --------------------------------------------------------------------------

SAMPLE = 4096
"""How many values of each tensor a fingerprint reads."""


def module_of(model: Any) -> nn.Module | None:
    """Return the module behind a model: itself, or the one whose bound method it is; None for a function."""
    owner = model if isinstance(model, nn.Module) else getattr(model, "__self__", None)
    return owner if isinstance(owner, nn.Module) else None


def fingerprint(model: Any) -> str | None:
    """Identify a model: by its weights if it has some, else by its own `fingerprint()`, else by its code.

    Of each tensor the name, shape, type and up to 4,096 evenly spaced values are hashed, so that a model of
    many gigabytes takes milliseconds. A function is its code, its defaults and what it encloses; the code is
    that of one version of Python. An estimator of scikit-learn is all that it holds.
    """
    module = module_of(model)
    if module is not None:
        return f"weights:{_digest(module.state_dict())}"
    if callable(getattr(model, "fingerprint", None)):
        return str(model.fingerprint())
    if isinstance(model, functools.partial):
        return f"{fingerprint(model.func)} {_digest(model.args, model.keywords)}"
    if isinstance(model, FunctionType):
        return f"function:{model.__module__}.{model.__qualname__}:{_digest(model)}"
    if hasattr(model, "get_params"):
        import joblib  # which scikit-learn brings

        return f"estimator:{joblib.hash(model)}"
    name = getattr(model, "__qualname__", None)  # a built-in function
    return f"function:{model.__module__}.{name}" if name else None


def _digest(*values: Any) -> str:
    digest = hashlib.sha256()
    for value in values:
        _feed(digest, value)
    return digest.hexdigest()[:32]


def _feed(digest: Any, value: Any) -> None:
    if isinstance(value, Tensor):
        digest.update(f"{tuple(value.shape)} {value.dtype};".encode())
        flat = value.detach().reshape(-1)
        step = max(1, -(-len(flat) // SAMPLE))
        digest.update(flat[::step].cpu().contiguous().view(torch.uint8).numpy().tobytes())
    elif isinstance(value, np.ndarray) and value.dtype != object:
        digest.update(f"{value.shape} {value.dtype};".encode() + np.ascontiguousarray(value).tobytes())
    elif isinstance(value, dict):
        for name, item in value.items():
            _feed(digest, (str(name), item))
    elif isinstance(value, list | tuple):
        digest.update(f"{len(value)}[".encode())
        for item in value:
            _feed(digest, item)
    elif isinstance(value, CodeType):
        _feed(digest, (value.co_code.hex(), value.co_names, value.co_consts))
    elif isinstance(value, FunctionType):
        cells = [cell.cell_contents for cell in value.__closure__ or ()]
        enclosed = [cell for cell in cells if cell is not value]  # a recursive function encloses itself
        _feed(digest, (value.__code__, value.__defaults__, value.__kwdefaults__, enclosed))
    elif isinstance(value, bool | int | float | str | bytes | None | np.generic):
        digest.update(f"{value!r};".encode())
    else:  # its address would differ from process to process
        digest.update(f"{type(value).__qualname__} {fingerprint(value)};".encode())


def label_names(model: Any) -> tuple[str, ...] | None:
    """Return a model's class names: its `label_names`, an estimator's `classes_`, or a config's `id2label`.

    The placeholders LABEL_0, LABEL_1, ... count as no names, and so do an estimator's numbers.
    """
    module = module_of(model)
    names = getattr(module if module is not None else model, "label_names", None)
    if names is None and np.asarray(getattr(model, "classes_", ())).dtype.kind in "UO":
        names = [str(name) for name in model.classes_]
    if names is not None:
        return tuple(names)
    return config_labels(getattr(module, "config", None))


def same_labels(swift: Sequence[str] | None, super_: Sequence[str] | None) -> tuple[str, ...] | None:
    """Return the class names that the models share; None where one of them has none.

    Raises:
        ValueError: The names differ, or stand in another order.
    """
    if swift is None or super_ is None:
        return None
    mine, other = ([name.casefold() for name in names] for names in (swift, super_))
    if mine != other:
        what = "the same labels in another order" if sorted(mine) == sorted(other) else "other labels"
        raise ValueError(
            f"Swift and Super have {what}: {list(swift)} and {list(super_)}. An answer would change its"
            " meaning with the route. Give both models one order of labels (id2label)."
        )
    return tuple(swift)


def check_ready(model: Any, name: str) -> None:
    """Refuse a model in training mode: dropout would make its energy, and the route, random.

    Raises:
        ValueError: Says which model.
    """
    module = module_of(model)
    if module is not None and any(part.training for part in module.modules()):
        raise ValueError(f"{name} is in training mode. Call .eval() on it first.")
