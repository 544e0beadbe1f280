"""Emulated fine-tuning inside transformers' own `generate`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList, PreTrainedTokenizerBase

from assay.errors import InputError
from assay.papers.language.eft.method.combine import check_settings, combine_logits
from assay.papers.language.eft.method.compatibility import check_ancestor, common_vocabulary
from assay.papers.language.eft.method.decoding import Process
from assay.papers.language.eft.method.emulator import Delta
from assay.papers.language.eft.method.generation import Prompts, checked_rows, pad_prompts
from assay.papers.language.eft.method.streams import Stream


class EFTLogitsProcessor(LogitsProcessor):
    """Adds the small pair's fine-tuning to the logits of whatever model generates.

        processor = EFTLogitsProcessor(small_tuned, small)
        large.generate(**inputs, logits_processor=LogitsProcessorList([processor]))

    Sampling, beams and streaming work on the emulated model. Penalties do not when they are given to
    `generate`, which applies them to the large model's logits before it calls this: give them as
    `penalties`, which act on the combined logits. The two small models keep their own caches, which
    follow the rows as they grow and start again where a row changes (between two calls of `generate`, or
    when beams change places).

    Args:
        tuned: the small fine-tuned model, or a PEFT model.
        reference: the small model before fine-tuning; None for a PEFT model without its adapter.
        weight: w of the expert.
        amplify: beta of the up-scaling delta.
        delta_top_p: as in `combine_logits`.
        adapter: the adapter of a PEFT model; by default the active one.
        penalties: processors that change the combined logits, such as transformers'
            `RepetitionPenaltyLogitsProcessor(1.2)`.
        pad_token_id: what fills prompts up on the left; by default that of the tokenizer of `base`, or of
            the tuned model's config.
        tokenizers: of the models, by `base`, `tuned` and `reference`, to make sure that their tokens are the
            same; needed where they give different numbers of logits.
        extra_tokens: what to do with tokens that only some tokenizers have: `refuse`, or `mask` them.
        prompts: prompts of the small models where they differ from those of the generating model: token
            ids by `tuned` and `reference`, one sequence a row.
        allow_negative: allow a weight below 0.
        check_ancestors: make sure that the reference can be what the expert was tuned from.

    Raises:
        InputError: a model does not fit, or an option is out of its range.
    """

    def __init__(
        self,
        tuned: Any,
        reference: Any = None,
        weight: float = 1.0,
        *,
        amplify: float = 1.0,
        delta_top_p: float | None = None,
        adapter: str | None = None,
        penalties: Sequence[Process] = (),
        pad_token_id: int | None = None,
        tokenizers: Mapping[str, PreTrainedTokenizerBase] | None = None,
        extra_tokens: str = "refuse",
        prompts: Mapping[str, Prompts] | None = None,
        allow_negative: bool = False,
        check_ancestors: bool = True,
    ) -> None:
        check_settings([weight], amplify, delta_top_p, allow_negative=allow_negative)
        self.weight, self.amplify, self.delta_top_p = weight, amplify, delta_top_p
        self.penalties = LogitsProcessorList(penalties)
        pair = Delta(tuned, reference, weight, adapter).members()
        self.members = {member.name: member for member in pair}
        if check_ancestors:
            check_ancestor(*pair)
        rows = {name: member.rows for name, member in self.members.items()}
        known = {name: rows.get(name, max(rows.values())) for name in (*rows, *(tokenizers or {}))}
        self.vocabulary = common_vocabulary(known, tokenizers, extra_tokens)
        self._compared = tokenizers is not None and "base" in tokenizers
        named = (tokenizers or {}).get("base", pair[0].config)
        self.pad_token_id = getattr(named, "pad_token_id", None) if pad_token_id is None else pad_token_id
        self._starts_with_pad = self.pad_token_id == getattr(named, "bos_token_id", None)
        self.prompts = {name: checked_rows(given, name) for name, given in (prompts or {}).items()}
        self._streams: dict[str, Stream] = {}
        self._seen: Tensor | None = None
        self._start = 0

    def __call__(self, input_ids: Int[Tensor, "b t"], scores: Float[Tensor, "b v"]) -> Float[Tensor, "b v"]:
        """Return the emulated log-probabilities; tokens that the small models do not have are ruled out."""
        tuned, reference = (logits[:, 0].to(scores.device) for logits in self._read(input_ids))
        if scores.shape[-1] != tuned.shape[-1] and not self._compared:
            raise InputError(
                f"The generating model gives {scores.shape[-1]} logits and the small ones {tuned.shape[-1]}:"
                " pass tokenizers= with that of 'base' too, to make sure that only padding differs."
            )
        shared = min(scores.shape[-1], self.vocabulary)
        combined: Any = torch.full_like(scores, -torch.inf, dtype=torch.float32)
        combined[:, :shared] = combine_logits(
            scores[:, :shared],
            tuned[:, :shared],
            reference[:, :shared],
            self.weight,
            self.amplify,
            self.delta_top_p,
        )
        penalised: Tensor = self.penalties(input_ids, combined)  # type: ignore[arg-type]
        return penalised.log_softmax(-1)  # beams add up what processors return

    def _read(self, input_ids: Int[Tensor, "b t"]) -> list[Tensor]:
        """Let both small models read what is new, or everything where the rows are others than before."""
        seen = self._seen
        if (
            seen is not None
            and input_ids.shape[0] == seen.shape[0]
            and input_ids.shape[1] > seen.shape[1]
            and bool((input_ids[:, : seen.shape[1]] == seen).all())
        ):
            new = input_ids[:, seen.shape[1] :]
            found = [stream.feed(new, torch.ones_like(new).bool()) for stream in self._streams.values()]
        else:
            same = self._continues(input_ids)
            found = [self._begin(name, input_ids, same) for name in self.members]
        self._seen = input_ids.clone()
        return found

    def _continues(self, input_ids: Int[Tensor, "b t"]) -> bool:
        """Whether the rows are those of the same call of `generate` in another order, as beams are."""
        if self._seen is None or input_ids.shape[1] != self._seen.shape[1] + 1:
            return False
        seen = set(map(tuple, self._seen.tolist()))
        return all(tuple(row) in seen for row in input_ids[:, :-1].tolist())

    def _begin(self, name: str, input_ids: Int[Tensor, "b t"], same: bool) -> Tensor:
        member = self.members[name]
        if not same:
            self._start = input_ids.shape[1]
        if name in self.prompts:
            tokens, valid = self._own_prompts(name, input_ids)
        else:
            tokens, valid = input_ids, self._counted(input_ids)
        longest = int(valid.sum(-1).max())
        if member.limit is not None and longest > member.limit:
            raise InputError(f"A text of {longest} tokens does not fit into the {member.limit} of {name}.")
        self._streams[name] = Stream(member, len(tokens), self.vocabulary)
        return self._streams[name].feed(tokens, valid)

    def _counted(self, input_ids: Int[Tensor, "b t"]) -> Bool[Tensor, "b t"]:
        """Return what is not padding on the left.

        Where the pad token is also what texts start with, so many of a row's first are no padding as all
        rows have.

        Raises:
            InputError: prompts differ, and what fills them up is not known.
        """
        prompts = input_ids[:, : self._start]
        if self.pad_token_id is None:
            if (prompts != prompts[0]).any():
                raise InputError(
                    "Neither a tokenizer nor the small model's config says what fills prompts up on the left:"
                    " pass pad_token_id=, or -1 if all prompts have one length."
                )
            return torch.ones_like(input_ids).bool()
        leading = (prompts == self.pad_token_id).long().cumprod(-1).sum(-1, keepdim=True)
        if self._starts_with_pad:
            leading = leading - leading.min()
        places = torch.arange(input_ids.shape[1], device=input_ids.device)
        return places >= leading.clamp(max=prompts.shape[1] - 1)

    def _own_prompts(self, name: str, input_ids: Int[Tensor, "b t"]) -> tuple[Tensor, Tensor]:
        rows = self.prompts[name]
        copies, rest = divmod(len(input_ids), len(rows))
        if rest:
            raise InputError(
                f"There are {len(rows)} prompts of {name} for {len(input_ids)} rows: give one a row."
            )
        tokens, valid = pad_prompts([row for row in rows for _ in range(copies)])
        new = input_ids[:, self._start :]
        return (
            torch.cat([tokens.to(new.device), new], dim=1),
            torch.cat([valid.to(new.device), torch.ones_like(new).bool()], dim=1),
        )
