"""The user's models: loaded from their sources, adapters too, with their tokenizers compared."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedTokenizerBase

from assay.errors import InputError, MissingExtraError
from assay.models import ModelSource, load_model, load_tokenizer
from assay.papers.language.eft.config import Given, adapter_folder
from assay.papers.language.eft.method import Delta, EmulatedFineTuning

ADAPTER_WEIGHTS = "adapter_model.safetensors"


def check_parts(parts: Mapping[str, Given[Any]]) -> bool:
    """Return whether the user gave base, tuned and reference; False where all are missing.

    Raises:
        InputError: only some of them are given, two of them are the same, or their numbers do not fit.
    """
    given = [name for name, part in parts.items() if part.source]
    if not given:
        return False
    missing = [name for name in ("base", "tuned", "reference") if name not in given]
    if missing:
        raise InputError(f"--{missing[0]} is missing: give --base, --tuned and --reference, or none of them.")
    for name in ("base", "upper"):
        if name in parts and len(parts[name].sources) > 1:
            raise InputError(f"--{name} takes one model, got {parts[name].source!r}.")
    tuned, reference = parts["tuned"].sources, parts["reference"].sources
    if len(reference) not in (1, len(tuned)):
        raise InputError(
            f"There are {len(tuned)} tuned models and {len(reference)} references: give one reference for all"
            " or one each."
        )
    same = sorted(set(tuned) & set(reference))
    if same:
        raise InputError(
            f"{same[0]} is given as --tuned and as --reference, which would take nothing of its fine-tuning:"
            " --reference is the model before it was fine-tuned."
        )
    return True


def load_language_model(source: str, device: torch.device, dtype: str) -> tuple[Any, PreTrainedTokenizerBase]:
    """Load a causal language model with its tokenizer.

    Args:
        source: folder:DIR or hub:NAME.
        device: where it goes.
        dtype: float32, bfloat16, or auto.
    """
    known = ModelSource(source)
    model = load_model(known, AutoModelForCausalLM, device=device, dtype=None if dtype == "auto" else dtype)
    return model, load_tokenizer(known)


def load_emulated(
    base: str,
    tuned: Sequence[str],
    reference: Sequence[str],
    weights: Sequence[float],
    device: torch.device,
    dtype: str = "auto",
    **settings: Any,
) -> tuple[EmulatedFineTuning, dict[str, PreTrainedTokenizerBase]]:
    """Load a base and small pairs, each model once, and put them together.

    Args:
        base: source of the large model.
        tuned: sources of the fine-tuned models; a folder with a PEFT adapter is put on its reference.
        reference: one source for all, or one each.
        weights: one an expert.
        device: where all go.
        dtype: float32, bfloat16, or auto.
        settings: of `EmulatedFineTuning`.

    Returns:
        The emulated model, and the tokenizers by `base`, `tuned`, `tuned.1`, ... and `reference`, ...

    Raises:
        InputError: a model cannot be loaded, the weights are not one an expert, the models do not share
            their tokens, or a reference is not what its expert was tuned from.
    """
    if len(weights) != len(tuned):
        raise InputError(
            f"--weights has {len(weights)} numbers for {len(tuned)} tuned models: give one each, such as"
            f" --weights {' '.join(['1.0'] * len(tuned))}."
        )
    references = list(reference) * len(tuned) if len(reference) == 1 else list(reference)
    loaded = {name: load_language_model(name, device, dtype) for name in dict.fromkeys([base, *references])}
    model, tokenizer = loaded[base]
    tokenizers = {"base": tokenizer}
    adapted: dict[str, Any] = {}
    experts = []
    for place, (source, before, weight) in enumerate(zip(tuned, references, weights, strict=True)):
        ending = f".{place}" if place else ""
        folder = adapter_folder(source)
        if folder is None:
            small, small_tokenizer = load_language_model(source, device, dtype)
            experts.append(Delta(small, loaded[before][0], weight))
        else:
            name = f"expert{place}"
            if before == base:
                raise InputError(
                    f"{source} is an adapter of {before}, which is also the --base: give a small model."
                )
            adapted[before] = put_on(folder, name, adapted.get(before, loaded[before][0]), before)
            small_tokenizer = loaded[before][1]
            experts.append(Delta(adapted[before], None, weight, name))
        tokenizers[f"tuned{ending}"] = small_tokenizer
        tokenizers[f"reference{ending}"] = loaded[before][1]
    whole = {
        before for source, before in zip(tuned, references, strict=True) if adapter_folder(source) is None
    }
    if whole & set(adapted):
        raise InputError(
            f"{sorted(whole & set(adapted))[0]} is the reference of an adapter and of a whole model: merge"
            " the adapter into a model of its own first."
        )
    return EmulatedFineTuning(model, experts, tokenizers=tokenizers, **settings), tokenizers


def put_on(folder: Path, name: str, model: Any, reference: str) -> Any:
    """Return the model with the adapter of a folder put on it under `name`.

    Raises:
        InputError: the adapter is stored as a pickle, or does not fit the model.
    """
    try:
        from peft import PeftModel
    except ModuleNotFoundError:
        raise MissingExtraError("peft", "language") from None
    if not (folder / ADAPTER_WEIGHTS).is_file():
        raise InputError(
            f"{folder} has no {ADAPTER_WEIGHTS}: save the adapter with safetensors, not as a pickle."
        )
    named = json.loads((folder / "adapter_config.json").read_text("utf-8")).get("base_model_name_or_path")
    if named and Path(str(named)).name != Path(ModelSource(reference).name).name:
        warnings.warn(
            f"The adapter in {folder} was trained on {named!r}; the reference given is {reference}.",
            stacklevel=2,
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers in an old way
        try:
            if isinstance(model, PeftModel):
                model.load_adapter(str(folder), adapter_name=name)
                return model.eval()
            return PeftModel.from_pretrained(model, str(folder), adapter_name=name).eval()
        except (RuntimeError, ValueError, KeyError) as error:
            first = str(error).strip().splitlines()[0]
            raise InputError(f"The adapter in {folder} does not fit {reference}: {first}") from error
