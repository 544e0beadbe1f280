"""Models: where they come from, text models here and on servers, encoders, small reference networks.

Importing this package loads neither torch nor transformers; the heavy names are loaded on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from assay.models.replies import CachedTextModel, ReplyCache
from assay.models.source import ModelSource, OwnModel
from assay.models.text import Reply, Score, TextModel

if TYPE_CHECKING:
    from assay.models.encoders import SentenceEncoder
    from assay.models.local import LocalTextModel
    from assay.models.networks import MLP, BagOfEmbeddings, ConvNet, hash_words, mlp
    from assay.models.pretrained import load_model, load_tokenizer
    from assay.models.server import ServerError, ServerTextModel
    from assay.models.tiny import tiny_causal_lm, word_tokenizer

_LAZY = {
    "MLP": "networks",
    "BagOfEmbeddings": "networks",
    "ConvNet": "networks",
    "LocalTextModel": "local",
    "SentenceEncoder": "encoders",
    "ServerError": "server",
    "ServerTextModel": "server",
    "hash_words": "networks",
    "load_model": "pretrained",
    "load_tokenizer": "pretrained",
    "mlp": "networks",
    "tiny_causal_lm": "tiny",
    "word_tokenizer": "tiny",
}

__all__ = [
    "MLP",
    "BagOfEmbeddings",
    "CachedTextModel",
    "ConvNet",
    "LocalTextModel",
    "ModelSource",
    "OwnModel",
    "Reply",
    "ReplyCache",
    "Score",
    "SentenceEncoder",
    "ServerError",
    "ServerTextModel",
    "TextModel",
    "hash_words",
    "load_model",
    "load_tokenizer",
    "mlp",
    "tiny_causal_lm",
    "word_tokenizer",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from assay.models.source import needs_transformers

    with needs_transformers():
        return getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
