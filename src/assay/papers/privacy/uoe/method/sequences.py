"""Token sequences with their labels, and a model's forward pass that can begin at an inner layer."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from assay.training.language import IGNORED, pad_rows


@dataclass(frozen=True, repr=False)
class Sequences:
    """Documents as token ids, padded on the right.

    With `hidden`, the input of decoder layer `start`, the layers below need not be run again.
    """

    input_ids: Int[Tensor, "n t"]
    labels: Int[Tensor, "n t"]
    """The token ids that count in losses and scores, -100 elsewhere."""
    mask: Bool[Tensor, "n t"]
    """False at padding."""
    start: int = 0
    hidden: Float[Tensor, "n t d"] | None = None
    after_attention: bool = False
    """Whether `hidden` is what reaches the layer's experts, past its attention."""

    @classmethod
    def of(cls, documents: Sequence[Sequence[int]], answers: Sequence[int] | None = None) -> Sequences:
        """Build from token ids.

        Args:
            documents: token ids, none empty.
            answers: where the labelled part of each document begins; by default all tokens are labelled.

        Raises:
            ValueError: there is no document, or one is empty.
        """
        if not documents or not all(documents):
            raise ValueError("There must be at least one document, and none may be empty.")
        starts = [0] * len(documents) if answers is None else answers
        labels = [[IGNORED] * start + list(ids[start:]) for ids, start in zip(documents, starts, strict=True)]
        mask = pad_rows([[1] * len(ids) for ids in documents], 0).bool()
        return cls(pad_rows(documents, 0), pad_rows(labels, IGNORED), mask)

    @classmethod
    def joined(cls, parts: Sequence[Sequences]) -> Sequences:
        """Put several sets of documents, from their first layer on, into one."""
        width = max(part.input_ids.shape[1] for part in parts)

        def wide(name: str, value: int) -> Tensor:
            tensors = [getattr(part, name) for part in parts]
            return torch.cat(
                [functional.pad(each, (0, width - each.shape[1]), value=value) for each in tensors]
            )

        return cls(wide("input_ids", 0), wide("labels", IGNORED), wide("mask", 0))

    def __len__(self) -> int:
        return len(self.input_ids)

    def __repr__(self) -> str:
        return f"Sequences({len(self)} documents, {int(self.mask.sum()):,} tokens)"

    def rows(self, index: Tensor | slice) -> Sequences:
        """Return some of the documents."""
        return self._each(lambda tensor: tensor[index])

    def split(self, size: int) -> Iterator[Sequences]:
        """Yield the documents in batches, each without the padding that only others need."""
        for begin in range(0, len(self), size):
            yield self.rows(slice(begin, begin + size)).trimmed()

    def trimmed(self) -> Sequences:
        """Return the same without columns of nothing but padding."""
        width = int(self.mask.sum(1).max())
        return self._each(lambda tensor: tensor[:, :width])

    def to(self, device: torch.device | str) -> Sequences:
        """Return the same on another device."""
        return self._each(lambda tensor: tensor.to(device))

    def _each(self, change: Callable[[Tensor], Tensor]) -> Sequences:
        names = ("input_ids", "labels", "mask", *(() if self.hidden is None else ("hidden",)))
        changed: dict[str, Any] = {name: change(getattr(self, name)) for name in names}
        return replace(self, **changed)

    def beginning_at(
        self, model: Any, layer: int, batch_size: int = 32, after_attention: bool = False
    ) -> Sequences:
        """Return the same with the hidden states that reach decoder layer `layer`, computed without a graph.

        They stay right for as long as nothing below that layer changes. With `after_attention`, the layer's
        attention is left out too, where the layer is known to add its experts' output to what attention gave.
        """
        after_attention &= type(model.get_decoder().layers[layer]).__name__ in _EXPERTS_LAST
        if layer == 0 and not after_attention:
            return self
        found = []
        for batch in self.split(batch_size):
            hidden = _input_of_layer(model, batch, layer, after_attention)
            found.append(functional.pad(hidden, (0, 0, 0, self.input_ids.shape[1] - hidden.shape[1])))
        return replace(self, start=layer, hidden=torch.cat(found), after_attention=after_attention)


def logits_of(model: Any, batch: Sequences) -> Float[Tensor, "n t vocabulary"]:
    """Return the next-token logits, beginning at the layer whose input is known."""
    # The load-balancing loss is off: it works against the anchor.
    with skipping(model, batch), replaced(vars(model.config), "output_router_logits", False):
        given = {"input_ids": batch.input_ids} if batch.hidden is None else {"inputs_embeds": batch.hidden}
        output = model(**given, attention_mask=batch.mask.long(), use_cache=False)
    logits: Tensor = output.logits
    return logits


def token_nll(
    logits: Float[Tensor, "n t vocabulary"], labels: Int[Tensor, "n t"]
) -> tuple[Float[Tensor, " n"], Int[Tensor, " n"]]:
    """Return -log p of each sequence's labelled tokens, summed, in nats, and how many there are."""
    losses = functional.cross_entropy(
        logits[:, :-1].float().transpose(1, 2), labels[:, 1:], ignore_index=IGNORED, reduction="none"
    )
    return losses.sum(1), (labels[:, 1:] != IGNORED).sum(1)


def scores_of(logits: Float[Tensor, "n t vocabulary"], labels: Int[Tensor, "n t"]) -> Float[Tensor, " n"]:
    """Return the share of each sequence's labelled tokens that greedy decoding would write.

    It is 1 exactly if greedy decoding continues the unlabelled part with the whole labelled part.
    """
    wanted = labels[:, 1:]
    right = (logits[:, :-1].argmax(-1) == wanted) & (wanted != IGNORED)
    return right.sum(1) / (wanted != IGNORED).sum(1).clamp(min=1)


_EXPERTS_LAST = (
    "DeepseekV2DecoderLayer",
    "MixtralDecoderLayer",
    "OlmoeDecoderLayer",
    "Qwen2MoeDecoderLayer",
    "Qwen3MoeDecoderLayer",
)


class _Reached(Exception):  # noqa: N818  (no error: it ends a forward pass that has gone far enough)
    def __init__(self, hidden: Tensor) -> None:
        self.hidden = hidden


def _input_of_layer(model: Any, batch: Sequences, layer: int, after_attention: bool) -> Tensor:
    def stop(_: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        raise _Reached(given[0] if given else named["hidden_states"])

    whole = model.get_decoder().layers[layer]
    watched = whole.post_attention_layernorm if after_attention else whole
    hook = watched.register_forward_pre_hook(stop, with_kwargs=True)
    try:
        with torch.no_grad():
            logits_of(model, batch)
    except _Reached as reached:
        return reached.hidden.detach()
    finally:
        hook.remove()
    raise ValueError(f"decoder layer {layer} was not run")


class _Skip(nn.Module):
    """Takes the place of a decoder layer whose output is already there."""

    def forward(self, hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
        return hidden_states


class _ExpertsAlone(nn.Module):
    """The second half of a decoder layer, after its attention."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
        normed = self.layer.post_attention_layernorm(hidden_states)
        output: Tensor = hidden_states + self.layer.mlp(normed)
        return output


@contextlib.contextmanager
def skipping(model: Any, batch: Sequences) -> Iterator[None]:
    """Leave out inside the block what lies below the hidden states of the batch."""
    if batch.hidden is None:
        yield
        return
    stack = model.get_decoder().layers
    kept = list(stack)
    for place in range(batch.start):
        stack[place] = _Skip()
    if batch.after_attention:
        stack[batch.start] = _ExpertsAlone(kept[batch.start])
    for old, new in zip(kept, stack, strict=True):
        if new is not old and hasattr(old, "attention_type"):
            new.attention_type = old.attention_type
    try:
        yield
    finally:
        for place in range(batch.start + 1):
            stack[place] = kept[place]


@contextlib.contextmanager
def replaced(owner: dict[str, Any], name: str, value: Any) -> Iterator[None]:
    """Set an entry inside the block: a module's parameter or `forward`, or a setting of a config."""
    before = {name: owner[name]} if name in owner else {}
    owner[name] = value
    try:
        yield
    finally:
        if not before:
            del owner[name]
        owner.update(before)
