"""What causal language models need beside the loop: rows of tokens, a masked loss, greedy decoding.

Texts are token ids, so that trials with made-up vocabularies need no tokenizer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from assay.training.evaluation import evaluate, mode
from assay.training.loader import batches

Drawn = TypeVar("Drawn")

IGNORED = -100
"""The label of a token that is not learnt."""

Tokens = Sequence[int]


def next_token_loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Float[Tensor, ""]:
    """Return the mean cross entropy of the labelled tokens, each predicted from those before it.

    Args:
        model: gives `.logits` [n, t, vocabulary] for `input_ids`, as transformers' models do.
        batch: input ids and labels, both [n, t]; a label of -100 is not learnt. Padding goes to the right.
    """
    input_ids, labels = batch
    following = functional.pad(labels[:, 1:], (0, 1), value=IGNORED)  # cheaper than cutting logits off
    logits = model(input_ids=input_ids).logits
    return functional.cross_entropy(logits.flatten(0, 1), following.flatten(), ignore_index=IGNORED)


def pad_rows(rows: Sequence[Tokens], value: int, side: str = "right") -> Int[Tensor, "n t"]:
    """Return rows of different lengths as one tensor, filled up with `value` on the right or the left."""
    width = max((len(row) for row in rows), default=0)
    padded = torch.full((len(rows), width), value, dtype=torch.long)
    for place, row in enumerate(rows):
        start = width - len(row) if side == "left" else 0
        padded[place, start : start + len(row)] = torch.tensor(row, dtype=torch.long)
    return padded


def mean_token_loss(model: nn.Module, rows: tuple[Tensor, Tensor], batch_size: int = 64) -> float:
    """Return the mean cross entropy of a labelled token in nats, over input ids and labels [n, t]."""

    def losses(model: Any, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, ...]:
        input_ids, labels = batch
        logits = model(input_ids=input_ids).logits[:, :-1].flatten(0, 1)
        wanted = labels[:, 1:].flatten()
        found = functional.cross_entropy(logits, wanted, ignore_index=IGNORED, reduction="none")
        return (found[wanted != IGNORED],)

    parts = batches(*rows, batch_size=batch_size, shuffle=False)
    return float(evaluate(model, parts, lambda found: found.double().mean(), losses))


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """Return a copy of a model's weights on the CPU."""
    return {name: weights.detach().cpu().clone() for name, weights in model.state_dict().items()}


def drawn(draw: Callable[[], Drawn]) -> Iterator[Drawn]:
    """Yield batches without end, each drawn when it is needed."""
    while True:
        yield draw()


# --- rows of tokens -----------------------------------------------------------------------------


def pack_documents(documents: Sequence[Tokens], context: int) -> Int[Tensor, "n context"]:
    """Return documents one after the other, cut into rows of `context` tokens; the rest is left out.

    Raises:
        ValueError: they do not fill one row.
    """
    stream = [token for document in documents for token in document]
    rows = len(stream) // context
    if not rows:
        raise ValueError(f"The texts have {len(stream)} tokens in all, which do not fill a row of {context}.")
    return torch.tensor(stream[: rows * context]).view(rows, context)


def completion_rows(
    prompts: Sequence[Tokens], completions: Sequence[Tokens], pad: int, context: int | None = None
) -> tuple[Int[Tensor, "n t"], Int[Tensor, "n t"]]:
    """Return input ids and labels of texts of which only what comes after the prompt is learnt.

    Args:
        prompts: token ids with the start token.
        completions: token ids with the end token.
        pad: fills shorter rows up on the right.
        context: the most tokens of a row; what comes after is cut off.
    """
    whole = [[*prompt, *text][:context] for prompt, text in zip(prompts, completions, strict=True)]
    input_ids, labels = pad_rows(whole, pad), pad_rows(whole, IGNORED)
    lengths = torch.tensor([len(prompt) for prompt in prompts])
    labels[torch.arange(labels.shape[1]) < lengths[:, None]] = IGNORED
    return input_ids, labels


# --- decoding -----------------------------------------------------------------------------------


@torch.no_grad()
def greedy_decode(
    model: Any,
    prompts: Sequence[Tokens],
    max_new_tokens: int,
    stop_token: int | None,
    pad_token: int,
    batch_size: int = 256,
) -> list[list[int]]:
    """Return the most likely continuation of each prompt, token by token, without the stop token.

    Args:
        model: a causal language model of transformers.
        prompts: token ids, not empty.
        max_new_tokens: the most tokens of a continuation.
        stop_token: ends a continuation; None where none does.
        pad_token: fills up shorter prompts on the left, where nothing attends to it.
        batch_size: prompts decoded at once; those of similar length go together.
    """
    found: list[list[int]] = [[] for _ in prompts]
    with mode(model, training=False):
        for rows in _by_length(prompts, batch_size):
            chosen = [prompts[row] for row in rows]
            input_ids = pad_rows(chosen, pad_token, side="left").to(model.device)
            attended = pad_rows([[1] * len(prompt) for prompt in chosen], 0, side="left").to(model.device)
            written = model.generate(
                input_ids=input_ids,
                attention_mask=attended,
                max_new_tokens=max_new_tokens,
                do_sample=False,
                num_beams=1,
                eos_token_id=stop_token,
                pad_token_id=pad_token,
            )
            for row, tokens in zip(rows, written[:, input_ids.shape[1] :].tolist(), strict=True):
                found[row] = tokens[: tokens.index(stop_token)] if stop_token in tokens else tokens
    return found


def _by_length(rows: Sequence[Tokens], batch_size: int) -> Iterator[list[int]]:
    """Yield the numbers of rows, the longest first, in batches."""
    order = sorted(range(len(rows)), key=lambda row: -len(rows[row]))
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]
