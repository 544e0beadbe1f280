"""The authors' checkpoints: an ABMILX, and the weights of its encoder, by a map of names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from assay.data.torch_files import read_torch_file
from assay.papers.vision.abmilx.method.aggregators import ABMILX, Activation, Norm

PREFIXES = re.compile(r"^((module|_orig_mod)\.)+")
NAMES = (
    (r"attention\.attention_a\.0", "attention.fc1"),
    (r"attention\.attention_b\.0", "attention.gate"),
    (r"attention\.attention_c", "attention.fc2"),
    (r"attn_plus_fn\.v\.weight", "attn_plus_fn.alpha"),
    (r"norm_ffn\.", "ffn.norm."),
    (r"mlp\.", "ffn."),
    (r"norm\.(?=[wbrn])", "norm.batch."),
)
"""Beginnings of names of the aggregator in the authors' code, and here."""
RESNET = (
    (r"^conv1\.", "embedder.embedder.convolution."),
    (r"^bn1\.", "embedder.embedder.normalization."),
    (r"^layer(\d)\.(\d+)\.conv(\d)\.", lambda m: _layer(m) + "convolution."),
    (r"^layer(\d)\.(\d+)\.bn(\d)\.", lambda m: _layer(m) + "normalization."),
    (r"^layer(\d)\.(\d+)\.downsample\.0\.", lambda m: _block(m) + "shortcut.convolution."),
    (r"^layer(\d)\.(\d+)\.downsample\.1\.", lambda m: _block(m) + "shortcut.normalization."),
)
"""Names of timm's ResNets, which the authors train, and of transformers'."""


def _block(found: re.Match[str]) -> str:
    return f"encoder.stages.{int(found[1]) - 1}.layers.{found[2]}."


def _layer(found: re.Match[str]) -> str:
    return f"{_block(found)}layer.{int(found[3]) - 1}."


@dataclass(frozen=True)
class AuthorsCheckpoint:
    """What a checkpoint of the authors holds."""

    aggregator: ABMILX
    """In evaluation mode."""
    encoder: dict[str, Tensor]
    """Weights for `transformers.ResNetModel`, of as many stages; empty where there is no encoder."""


def load_authors_checkpoint(
    checkpoint: str | Path | Mapping[str, Any], activation: Activation = "gelu"
) -> AuthorsCheckpoint:
    """Load an ABMILX that the authors' code has trained, end to end or on features.

    Its settings follow from the names and shapes of the weights, but for the activation, which has none.

    Args:
        checkpoint: a file of `torch.save`, read without an unpickler, or its content.
        activation: of the embeddings; the authors' settings on features have `relu`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds no weights of the authors' ABMILX.
    """
    content = checkpoint if isinstance(checkpoint, Mapping) else read_torch_file(checkpoint)
    for outer in ("model", "state_dict"):
        content = content.get(outer, content) if isinstance(content, Mapping) else {}
    named = {PREFIXES.sub("", str(name)): value for name, value in content.items()}
    state = {name: value for name, value in named.items() if isinstance(value, Tensor)}
    encoder = {name: value for name, value in state.items() if name.startswith("encoder.")}
    mil = {name.removeprefix("mil."): value for name, value in state.items() if name not in encoder}
    weights = {_renamed(name): value for name, value in mil.items()}
    if weights.get("feature.0.weight", torch.empty(0, 0)).ndim == 1:  # the layer norm comes first
        firsts = {"feature.0.": "norm.layer.", "feature.1.": "feature.0."}
        weights = {firsts.get(name[:10], name[:10]) + name[10:]: value for name, value in weights.items()}
    if "attn_plus_fn.alpha" in weights:
        weights["attn_plus_fn.alpha"] = weights["attn_plus_fn.alpha"].reshape(())
    try:
        norms: dict[str, Norm] = {"norm.layer.weight": "layer", "norm.batch.weight": "batch"}
        embed_dim, in_dim = weights["feature.0.weight"].shape
        hidden, head_dim = weights["attention.fc1.weight"].shape
        model = ABMILX(
            in_dim,
            len(weights["classifier.weight"]),
            embed_dim=embed_dim,
            num_heads=embed_dim // head_dim,
            norm=next((norm for name, norm in norms.items() if name in weights), None),
            ffn="ffn.fc1.weight" in weights,
            refine="attn_plus_fn.qk.weight" in weights,
            attn_bias="attention.fc1.bias" in weights,
            attn_hidden=hidden,
            gated="attention.gate.weight" in weights,
            activation=activation,
            bias="classifier.bias" in weights,
        )
        model.load_state_dict(weights)
    except (KeyError, ValueError, RuntimeError) as error:
        raise ValueError(f"These are no weights of the authors' ABMILX ({error}).") from None
    return AuthorsCheckpoint(model.eval(), {_renamed_resnet(name): value for name, value in encoder.items()})


def _renamed(name: str) -> str:
    for pattern, ours in NAMES:
        name, count = re.subn(f"^{pattern}", ours, name)
        if count:
            break
    return name


def _renamed_resnet(name: str) -> str:
    name = name.removeprefix("encoder.").removeprefix("model.")
    for pattern, ours in RESNET:
        name = re.sub(pattern, ours, name)
    return name
