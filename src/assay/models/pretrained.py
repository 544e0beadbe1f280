"""Loading models under the project's rules: safetensors only, no remote code, no download unless `hub:`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError

from assay.errors import InputError
from assay.models.source import ModelSource

if TYPE_CHECKING:  # which takes seconds to import
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

DTYPES = ("auto", "bfloat16", "float16", "float32", "float64")


def load_model(
    source: ModelSource, auto: Any, *, device: str | torch.device = "cpu", dtype: str | None = None
) -> PreTrainedModel:
    """Load a model's weights in eval mode, with frozen parameters (`requires_grad_(True)` frees them).

    Args:
        source: where the model is.
        auto: the class that says what for, such as `transformers.AutoModel` or `AutoModelForCausalLM`.
        device: where it goes.
        dtype: one of `DTYPES`; by default float32 on the CPU and what the weights are stored in elsewhere.

    Raises:
        InputError: there is no such model, it has no safetensors, it needs code of its own, it lacks weights
            that this class has, or the device is not there.
    """
    place, target = source.weights(), _device(device)
    if dtype is not None and dtype not in DTYPES:
        raise InputError(f"dtype {dtype!r} is unknown: give one of {', '.join(DTYPES)}.")
    with _quiet(), _explained(source), offline(source):
        model, report = auto.from_pretrained(
            place,
            dtype=dtype or ("float32" if target.type == "cpu" else "auto"),
            use_safetensors=True,
            output_loading_info=True,
            **_rules(source),
        )
    # A pooler on top, and what masks speech in pre-training, are often left out; nothing here reads them.
    missing = sorted(
        name
        for name in report["missing_keys"]
        if not name.startswith("pooler.") and not name.endswith("masked_spec_embed")
    )
    missing += sorted(str(key) for key in report["mismatched_keys"])
    if missing:
        raise InputError(
            f"{source} cannot be loaded as {type(model).__name__}: it has no weights for {missing[0]}"
            f" and {len(missing) - 1} others. It was made for something else."
        )
    loaded: PreTrainedModel = model.eval().requires_grad_(False).to(target)
    return loaded


def load_tokenizer(source: ModelSource) -> PreTrainedTokenizerBase:
    """Load a model's tokenizer.

    Raises:
        InputError: there is no such tokenizer, or it needs code of its own.
    """
    from transformers import AutoTokenizer

    place = source.weights()
    with _quiet(), _explained(source), offline(source):
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(place, **_rules(source))
    return tokenizer


def _rules(source: ModelSource) -> dict[str, Any]:
    rules: dict[str, Any] = {"trust_remote_code": False, "local_files_only": source.kind != "hub"}
    return rules | ({"revision": source.revision} if source.revision else {})


def _device(device: str | torch.device) -> torch.device:
    try:
        target = torch.device(device)
        torch.empty(0, device=target)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        first_line = str(error).partition("\n")[0]
        raise InputError(f"Device {str(device)!r} cannot be used here: {first_line}") from None
    return target


@contextlib.contextmanager
def _explained(source: ModelSource) -> Iterator[None]:
    """Turn what transformers says of a model that it cannot load into one line."""
    try:
        yield
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
        first_line = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        if "trust_remote_code" in str(error):
            first_line = "it needs code of its own to run, which assay does not trust."
        raise InputError(f"{source} cannot be loaded: {first_line}") from error


@contextlib.contextmanager
def offline(source: ModelSource) -> Iterator[None]:
    """Let nothing be fetched that a model's files name, such as the backbone in a config, unless `hub:`."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or source.kind != "hub"
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep progress bars and load reports off the screen; what matters in them is checked above."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
