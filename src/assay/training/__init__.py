"""Training and evaluation of PyTorch models: one loop for a core, a GPU and several processes."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from assay.training.compute import Compute

if TYPE_CHECKING:
    from assay.training.evaluation import accuracy, evaluate, predict
    from assay.training.language import greedy_decode, next_token_loss, pad_rows
    from assay.training.loader import TensorBatches, batches
    from assay.training.loop import History, fit
    from assay.training.schedules import warmup_cosine

_HOME = {
    "History": "loop",
    "TensorBatches": "loader",
    "accuracy": "evaluation",
    "batches": "loader",
    "evaluate": "evaluation",
    "fit": "loop",
    "greedy_decode": "language",
    "next_token_loss": "language",
    "pad_rows": "language",
    "predict": "evaluation",
    "warmup_cosine": "schedules",
}

__all__ = [
    "Compute",
    "History",
    "TensorBatches",
    "accuracy",
    "batches",
    "evaluate",
    "fit",
    "greedy_decode",
    "next_token_loss",
    "pad_rows",
    "predict",
    "warmup_cosine",
]


def __getattr__(name: str) -> Any:
    """Load what needs torch when it is first used: the options of a recipe need `Compute` alone."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
