"""Text models from their source: the weights here, or a server."""

from __future__ import annotations

from pathlib import Path

from assay.models.source import ModelSource, needs_transformers
from assay.models.text import TextModel


def open_text_model(
    source: ModelSource, device: str = "cpu", dtype: str | None = None, cache: Path | None = None
) -> TextModel:
    """Return a model as a `TextModel`, whether its weights are here or behind a server.

    Args:
        source: where the model is.
        device: where a local model runs; a server decides for itself.
        dtype: "float32", "bfloat16" or "float16" for a local model; by default float32 on the CPU and what
            the weights are stored in elsewhere.
        cache: a folder for replies, so that a stopped run resumes and a finished one replays.
    """
    model: TextModel
    if source.kind == "server":
        from assay.models.server import ServerTextModel

        model = ServerTextModel(source.address, source.name)
    else:
        with needs_transformers():
            from assay.models.local import LocalTextModel

            model = LocalTextModel.load(source, device=device, dtype=dtype)
    if cache is None:
        return model
    from assay.models.replies import CachedTextModel, ReplyCache

    return CachedTextModel(model, ReplyCache(cache))
