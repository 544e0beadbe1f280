"""One model of the several: what it has read, its cache, and how to take tokens back."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator
from typing import Any, TypeAlias

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import Cache, DynamicCache

from assay.errors import InputError

OFF = ""
"""In place of an adapter's name: the model with its adapters switched off."""
Key: TypeAlias = tuple[int, str | None]
"""Identifies a model, or what one of its adapters makes of it."""


class Member:
    """A causal language model, or one of the models that PEFT's adapters make of it.

    Args:
        name: what errors call it.
        model: a causal language model of transformers or PEFT's wrapper around one, in eval mode.
        adapter: the adapter that is on; `OFF` for none, None to use the model as it is.

    Raises:
        InputError: it is no such model, is in training mode, or has no such adapter.
    """

    def __init__(self, name: str, model: Any, adapter: str | None = None) -> None:
        self.name, self.model, self.adapter = name, model, adapter
        if isinstance(model, list | tuple):
            raise InputError(f"{name} is a {type(model).__name__} of models: give one Delta for each model.")
        if not hasattr(model, "config") or not callable(model):
            raise InputError(
                f"{name} is {type(model).__name__}, not a causal language model of transformers: give what"
                " AutoModelForCausalLM.from_pretrained(...) returns."
            )
        if model.training:
            raise InputError(f"{name} is in training mode, where dropout is on: call .eval() on it.")
        if adapter is not None:
            known = list(getattr(model, "peft_config", {}))
            if not hasattr(model, "disable_adapter"):
                raise InputError(f"{name} has no adapters: give its reference as a separate model.")
            if adapter != OFF and adapter not in known:
                raise InputError(f"{name} has no adapter {adapter!r}; it has {', '.join(known) or 'none'}.")
        self._takes = set(inspect.signature(self.core.forward).parameters)
        # transformers 5.24 calls `cache` what was `past_key_values`.
        names = ("cache", "past_key_values")
        self.cache_argument = next((name for name in names if name in self._takes), None)

    @property
    def core(self) -> Any:
        """The transformers model, under PEFT's wrapper if there is one."""
        return self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model

    @property
    def key(self) -> Key:
        """Two members with one key are the same model."""
        return id(self.model), self.adapter

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        device: torch.device = next(self.model.parameters()).device
        return device

    @property
    def rows(self) -> int:
        """How many tokens it has logits for, padding included."""
        embeddings = self.core.get_output_embeddings()
        return int(embeddings.weight.shape[0] if embeddings is not None else self.config.vocab_size)

    @property
    def config(self) -> Any:
        """The settings of the model that reads text."""
        return self.core.config.get_text_config()

    @property
    def limit(self) -> int | None:
        """The most tokens of a text."""
        limit: int | None = getattr(self.config, "max_position_embeddings", None)
        return limit

    @property
    def has_window(self) -> bool:
        """Whether some layer sees only so many places back."""
        types = getattr(self.config, "layer_types", None) or []
        return any("sliding" in kind or "chunked" in kind for kind in types) or bool(
            not types and getattr(self.config, "sliding_window", None)
        )

    @property
    def rereads(self) -> bool:
        """Whether it has to read each text from its start: it keeps a running state (Mamba, RWKV)."""
        return self.cache_argument is None or not DynamicCache(config=self.config).is_croppable

    @torch.no_grad()
    def logits(self, **inputs: Any) -> Float[Tensor, "b n v"]:
        """Run the model with its adapter on or off, without gradients."""
        last = 0 if "logits_to_keep" in self._takes else inputs.pop("logits_to_keep", 0)
        if "position_ids" not in self._takes:
            inputs.pop("position_ids", None)
        with self._adapted():
            found: Tensor = self.model(**inputs).logits
        return found[:, -last:] if last else found

    @contextlib.contextmanager
    def _adapted(self) -> Iterator[None]:
        if self.adapter is None:
            yield
        elif self.adapter == OFF:
            with self.model.disable_adapter():
                yield
        else:
            before = self.model.active_adapter
            if before == self.adapter:
                yield
                return
            frozen = [p for p in self.model.parameters() if not p.requires_grad]
            self.model.set_adapter(self.adapter)
            try:
                yield
            finally:
                self.model.set_adapter(before)
                for parameter in frozen:  # set_adapter frees the adapter's
                    parameter.requires_grad_(False)


def crop_cache(cache: Cache, tokens: int) -> None:
    """Take the last `tokens` tokens out of a cache.

    transformers 5 counts them as a negative number; a positive one was the length to keep and is refused.

    Raises:
        ValueError: there are not that many.
    """
    if not 0 <= tokens <= cache.get_seq_length():
        raise ValueError(f"cannot take {tokens} tokens out of a cache of {cache.get_seq_length()}")
    if tokens:
        cache.crop(-tokens)


class Stream:
    """What one model has read of a batch of rows.

    Rows may differ in length: places that do not count are masked, and positions count only what does. A
    model that keeps a running state reads each row from its start at each step, alone and without padding.
    """

    def __init__(self, member: Member, rows: int, vocabulary: int) -> None:
        self.member, self.vocabulary, self.device = member, vocabulary, member.device
        # All places are kept, whatever the model's window, so that any of the last may be cropped.
        self.cache = None if member.rereads else DynamicCache()
        self.counts = torch.zeros(rows, 0, dtype=torch.bool, device=self.device)
        self.tokens = torch.zeros(rows, 0, dtype=torch.long, device=self.device)
        self.calls = 0

    def feed(
        self, tokens: Int[Tensor, "b n"], valid: Bool[Tensor, "b n"], last: int = 1
    ) -> Float[Tensor, "b last v"]:
        """Read tokens and return the logits after each of the `last` ones, on the device of `tokens`."""
        valid_here, tokens_here = valid.to(self.device), tokens.to(self.device)
        length = self.counts.sum(-1, keepdim=True)
        positions = (length + valid_here.cumsum(-1) - 1).clamp(min=0)
        if self.member.limit is not None:  # only tokens that will be thrown away can stand so late
            positions = positions.clamp(max=self.member.limit - 1)
        self.counts = torch.cat([self.counts, valid_here], dim=-1)
        self.calls += 1
        if self.cache is None:
            self.tokens = torch.cat([self.tokens, tokens_here], dim=-1)
            logits = self._reread(last)
        else:
            logits = self.member.logits(
                input_ids=tokens_here,
                attention_mask=self.counts.long(),
                position_ids=positions,
                use_cache=True,
                logits_to_keep=last,
                **{str(self.member.cache_argument): self.cache},
            )
        return logits[:, -last:, : self.vocabulary].to(tokens.device)

    def _reread(self, last: int) -> Float[Tensor, "b last v"]:
        found = torch.zeros(*self.counts[:, -last:].shape, self.member.rows, device=self.device)
        for row, (tokens, counts) in enumerate(zip(self.tokens, self.counts, strict=True)):
            if counts.any():
                logits = self.member.logits(input_ids=tokens[counts][None], use_cache=False)[0]
                found[row] = logits[(counts.cumsum(-1)[-last:] - 1).clamp(min=0)].to(found.dtype)
        return found

    def keep(self, fed: int, kept: Int[Tensor, " b"]) -> None:
        """Of the `fed` tokens that were read last, keep the first `kept` of each row."""
        kept = kept.to(self.device).clamp(max=fed)
        surplus = fed - int(kept.max())
        if surplus:
            if self.cache is not None:
                crop_cache(self.cache, surplus)
            self.counts = self.counts[:, : self.counts.shape[1] - surplus]
            self.tokens = self.tokens[:, : self.counts.shape[1]]
        stay = fed - surplus
        if stay:
            places = torch.arange(stay, device=self.device)
            self.counts[:, -stay:] &= places < kept[:, None]
