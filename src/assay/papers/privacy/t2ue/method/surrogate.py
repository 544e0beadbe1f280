"""Surrogates: frozen image-text models that say how well a picture and a caption match."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate

from assay.errors import InputError
from assay.models import ModelSource, SentenceEncoder, load_model, load_tokenizer

Texts = Callable[[Sequence[str]], Tensor]
EncoderKind = Literal["sentence", "clip"]

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
HALF = (0.5, 0.5, 0.5)


@runtime_checkable
class Surrogate(Protocol):
    """What the loss needs of an image-text model."""

    @property
    def logit_scale(self) -> Tensor:
        """The logarithm of what cosines are multiplied by."""

    def encode_image(self, pixels: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n d"]:
        """Embed pictures with values in [0, 1]; resizing and normalisation are the model's own matter."""

    def encode_text(self, texts: Sequence[str]) -> Float[Tensor, "n d"]:
        """Embed texts."""


class TwoTowers(nn.Module):
    """Any image tower and any text tower as a surrogate.

    Args:
        image: from pictures [n, 3, h, w] in [0, 1] to [n, d].
        text: from [n, text_dim] to [n, d]; on top of `embed`.
        embed: a frozen function from texts to [n, text_dim], such as `SentenceEncoder.encode`; not a part of
            the state dict.
        logit_scale: the logarithm of the first scale.
    """

    def __init__(self, image: nn.Module, text: nn.Module, embed: Texts, logit_scale: float = 2.6593) -> None:
        super().__init__()
        self.image, self.text = image, text
        self.logit_scale = nn.Parameter(torch.tensor(logit_scale))
        self._embed = [embed]  # in a list, so that it is no submodule

    def encode_image(self, pixels: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n d"]:
        """Embed pictures."""
        features: Tensor = self.image(pixels)
        return features

    def encode_text(self, texts: Sequence[str]) -> Float[Tensor, "n d"]:
        """Embed texts."""
        features: Tensor = self.text(self._embed[0](texts).to(self.logit_scale.device))
        return features


class CLIPSurrogate(nn.Module):
    """A transformers `CLIPModel`, `SiglipModel` or any model with the same two methods as a surrogate.

    Pictures are resized to the model's input (bilinear, smoothed when they shrink) and normalised inside, so
    that gradients reach the pixels.

    Args:
        model: the model; it is used in evaluation mode and never trained.
        tokenizer: its tokenizer.
        mean: of the normalisation, for each channel; by default CLIP's for a CLIP, and 0.5 for others.
        std: of the normalisation; the same.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Any,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        self.model: Any = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        config: Any = self.model.config
        self.size: int = config.vision_config.image_size
        self.max_tokens: int = config.text_config.max_position_embeddings
        self._pads_to_end = config.model_type.startswith("siglip")
        is_clip = config.model_type == "clip"
        mean, std = mean or (CLIP_MEAN if is_clip else HALF), std or (CLIP_STD if is_clip else HALF)
        self.register_buffer("mean", torch.tensor(mean)[:, None, None])
        self.register_buffer("std", torch.tensor(std)[:, None, None])

    @property
    def logit_scale(self) -> Tensor:
        """The logarithm of what cosines are multiplied by."""
        scale: Tensor = self.model.logit_scale
        return scale.reshape(())

    @property
    def text_dim(self) -> int:
        """Numbers in an embedding."""
        config = self.model.config
        dim: int = getattr(config, "projection_dim", None) or config.text_config.projection_size
        return dim

    def encode_image(self, pixels: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n d"]:
        """Embed pictures."""
        if pixels.shape[-2:] != (self.size, self.size):
            pixels = interpolate(pixels, size=(self.size, self.size), mode="bilinear", antialias=True)
        return _pooled(self.model.get_image_features(pixel_values=(pixels - self.mean) / self.std))

    @torch.no_grad()
    def encode_text(self, texts: Sequence[str], batch_size: int = 256) -> Float[Tensor, "n d"]:
        """Embed texts; those that are too long are cut, with a warning."""
        parts = [
            self._encode(texts[start : start + batch_size]) for start in range(0, len(texts), batch_size)
        ]
        return torch.cat(parts)

    def _encode(self, texts: Sequence[str]) -> Tensor:
        warn_of_long_captions(texts, self.tokenizer, self.max_tokens)
        tokens = self.tokenizer(
            list(texts),
            padding="max_length" if self._pads_to_end else True,
            truncation=True,
            max_length=self.max_tokens,
            return_tensors="pt",
        ).to(self.mean.device)
        known = {name: tokens[name] for name in ("input_ids", "attention_mask") if name in tokens}
        if self._pads_to_end:
            known.pop("attention_mask", None)  # SigLIP was trained to read its padding
        return _pooled(self.model.get_text_features(**known))


def warn_of_long_captions(texts: Sequence[str], tokenizer: Any, max_tokens: int) -> None:
    """Warn when texts have more tokens than an encoder reads."""
    lengths = [len(ids) for ids in tokenizer(list(texts), truncation=False, verbose=False)["input_ids"]]
    long = [number for number, length in enumerate(lengths) if length > max_tokens]
    if long:
        warnings.warn(
            f"{len(long)} of {len(texts)} captions have more than {max_tokens} tokens and are cut, such as"
            f" {texts[long[0]][:60]!r}.",
            stacklevel=2,
        )


def _pooled(output: Any) -> Tensor:
    """Return the embeddings, which transformers 5 wraps and transformers 4 does not."""
    features: Tensor = output if isinstance(output, Tensor) else output.pooler_output
    return features


def load_surrogate(source: ModelSource, device: str = "cpu") -> CLIPSurrogate:
    """Load a CLIP or SigLIP with its tokenizer.

    Raises:
        InputError: it is no model of this kind.
    """
    from transformers import AutoModel

    model = load_model(source, AutoModel, device=device, dtype="float32")
    if not hasattr(model, "get_image_features") or not hasattr(model, "logit_scale"):
        raise InputError(
            f"{source} is a {type(model).__name__}, not an image-text model such as CLIP or SigLIP."
        )
    return CLIPSurrogate(model, load_tokenizer(source)).to(device)


def text_encoder(source: ModelSource, kind: EncoderKind, device: str = "cpu") -> Texts:
    """Load a frozen text encoder: a sentence encoder, or the text tower of a CLIP or SigLIP."""
    if kind == "clip":
        return load_surrogate(source, device).encode_text
    return partial(_encode_sentences, SentenceEncoder(source, device))


def _encode_sentences(encoder: SentenceEncoder, texts: Sequence[str]) -> Float[Tensor, "n d"]:
    warn_of_long_captions(texts, encoder.tokenizer, 128)
    return encoder.encode(list(texts))
