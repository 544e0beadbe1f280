"""Whether several models mean the same by a token."""

from __future__ import annotations

from collections.abc import Mapping

from transformers import PreTrainedTokenizerBase

from assay.errors import InputError


def common_vocabulary(
    rows: Mapping[str, int],
    tokenizers: Mapping[str, PreTrainedTokenizerBase] | None = None,
    extra_tokens: str = "refuse",
) -> int:
    """Return how many tokens the models share: those that are generated and scored.

    Rows of logits beyond the last token of a tokenizer are padding and may differ between models.

    Args:
        rows: how many logits each model gives, by name.
        tokenizers: by the same names, or by the name before the dot for all of a kind.
        extra_tokens: `refuse` tokens that only some tokenizers have, or `mask` them: never generate them.

    Raises:
        InputError: the tokenizers differ (the first token that does is named), or the models give different
            numbers of logits and there are no tokenizers to compare.
    """
    if extra_tokens not in ("refuse", "mask"):
        raise InputError(f"extra_tokens must be 'refuse' or 'mask', got {extra_tokens!r}.")
    if not tokenizers:
        if len(set(rows.values())) > 1:
            raise InputError(
                f"The models give different numbers of logits: {dict(rows)}. Pass tokenizers= to make sure"
                " that only padding differs."
            )
        return min(rows.values())
    words = {}
    for name in rows:
        tokenizer = tokenizers.get(name, tokenizers.get(name.partition(".")[0]))
        if tokenizer is not None:
            words[name] = {number: token for token, number in tokenizer.get_vocab().items()}
    if len(words) < 2:
        raise InputError("tokenizers= needs those of 'base', 'tuned' and 'reference'.")
    return min(_shared(words, extra_tokens), *rows.values())


def _shared(words: Mapping[str, Mapping[int, str]], extra_tokens: str) -> int:
    """Return the number of leading tokens that all vocabularies agree on."""
    first, *others = words
    shared = max(words[first], default=-1) + 1
    for name in others:
        for number in range(max(shared, max(words[name], default=-1) + 1)):
            one, two = words[first].get(number), words[name].get(number)
            if one == two:
                continue
            missing = one is None or two is None
            if missing and extra_tokens == "mask":
                shared = min(shared, number)
                break
            remedy = (
                " Pass extra_tokens='mask' (--extra-tokens mask) to leave such tokens out."
                if missing
                else " Emulated fine-tuning needs models of one family, with one tokenizer."
            )
            raise InputError(
                f"The tokenizers of {first} and {name} differ, first at token {number}: {_said(one)} and"
                f" {_said(two)}.{remedy}"
            )
    return shared


def _said(token: str | None) -> str:
    return "no token" if token is None else repr(token)
