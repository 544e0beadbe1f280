"""Emulated fine-tuning on models: next-token logits, scoring, plain and speculative generation."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from assay.errors import InputError
from assay.papers.language.eft.method.combine import check_settings, combine_logits, floored
from assay.papers.language.eft.method.compatibility import check_ancestor, common_vocabulary
from assay.papers.language.eft.method.decoding import Decoding, Process, continue_texts
from assay.papers.language.eft.method.generation import Batch, Generation, Prompts, pad_prompts
from assay.papers.language.eft.method.streams import OFF, Key, Member, Stream

Tokens = Sequence[int]


@dataclass(frozen=True)
class Delta:
    """A small model before and after fine-tuning, and how much of what changed is taken.

    With PEFT one model is both: `Delta(peft_model)` compares its active adapter with no adapter,
    `Delta(peft_model, adapter="helpful")` a named one.
    """

    tuned: Any
    """The small fine-tuned model."""
    reference: Any = None
    """The same model before fine-tuning. None: `tuned` with its adapter switched off."""
    weight: float = 1.0
    """w: 1 is the paper's rule, 0 leaves the behaviour out, below 0 reverses it."""
    adapter: str | None = None
    """The adapter of `tuned`; by default the active one."""

    def members(self, ending: str = "") -> tuple[Member, Member]:
        """Return the model after and before fine-tuning; `ending` is added to their names.

        Raises:
            InputError: there is no reference, and the model has no adapter to switch off.
        """
        adapter = self.adapter
        if adapter is None and self.reference is None and hasattr(self.tuned, "active_adapter"):
            adapter = str(self.tuned.active_adapter)
        tuned = Member(f"tuned{ending}", self.tuned, adapter)
        if self.reference is not None:
            return tuned, Member(f"reference{ending}", self.reference)
        if not hasattr(self.tuned, "disable_adapter"):
            raise InputError(
                f"reference{ending} is missing: give Delta(tuned, reference), or a PEFT model, whose"
                " reference is itself without its adapter."
            )
        return tuned, Member(f"reference{ending}", self.tuned, OFF)


class EmulatedFineTuning:
    """The large model as if it had been fine-tuned as the small one was.

        emulated = EmulatedFineTuning(large, Delta(small_tuned, small))
        emulated.generate([[5, 17, 3]], max_new_tokens=40).tokens

    At each step p(v) is the softmax of beta (l_base - l_ref) + l_ref + sum_k w_k (l_tuned,k - l_ref,k): the
    large model's logits and the log-ratio by which fine-tuning changed the small one. Normalising at each
    step is not the same as normalising over whole texts, unless base and reference are one model.

    Args:
        base: the large model without fine-tuning.
        experts: a `Delta`, or a list of several to mix.
        amplify: beta, how much of what the large model knows beyond the small one is taken.
        delta_top_p: take that up-scaling delta only inside the small fine-tuned model's top p.
        reference_floor: no log-probability of a reference counts as lower (nats); None leaves them alone.
        tokenizers: of the models, by `base`, `tuned` and `reference` (or `tuned.1` ... for the second and
            later experts), to make sure that their tokens are the same.
        extra_tokens: what to do with tokens that only some of the tokenizers have: `refuse`, or `mask` them.
        allow_negative: allow weights below 0, which undo what fine-tuning did, safety training too.
        check_ancestors: make sure that each reference can be what its expert was tuned from.

    Raises:
        InputError: a model does not fit, a weight is below 0 without `allow_negative`, or the models do not
            share their tokens.
    """

    def __init__(
        self,
        base: Any,
        experts: Any,
        *,
        amplify: float = 1.0,
        delta_top_p: float | None = None,
        reference_floor: float | None = None,
        tokenizers: Mapping[str, PreTrainedTokenizerBase] | None = None,
        extra_tokens: str = "refuse",
        allow_negative: bool = False,
        check_ancestors: bool = True,
    ) -> None:
        self.experts = _checked_experts(experts)
        self.amplify, self.delta_top_p, self.reference_floor = amplify, delta_top_p, reference_floor
        self.allow_negative = allow_negative
        self.base = Member("base", base)
        pairs = [expert.members(f".{k}" if k else "") for k, expert in enumerate(self.experts)]
        self.tuned, self.references = ([pair[side] for pair in pairs] for side in (0, 1))
        self._check_settings()
        if check_ancestors:
            for tuned, reference in pairs:
                check_ancestor(tuned, reference)
        rows = {member.name: member.rows for member in (self.base, *self.tuned, *self.references)}
        self.vocabulary = common_vocabulary(rows, tokenizers, extra_tokens)

    # --- the law ------------------------------------------------------------------------------------

    @property
    def weights(self) -> list[float]:
        """The weight of each expert."""
        return [expert.weight for expert in self.experts]

    @property
    def members(self) -> dict[Key, Member]:
        """The different models by key, each once, however many parts it plays."""
        found: dict[Key, Member] = {}
        for member in (self.base, *self.tuned, *self.references):
            found.setdefault(member.key, member)
        return found

    @property
    def drafter(self) -> Member:
        """The fine-tuned model with the largest weight, which drafts tokens."""
        return self.tuned[max(range(len(self.tuned)), key=lambda k: self.weights[k])]

    def combine(self, logits: Mapping[Key, Tensor]) -> Float[Tensor, "*n v"]:
        """Return the emulated model's logits from those of the members, by key."""
        shared = {key: value[..., : self.vocabulary] for key, value in logits.items()}
        before = {member.key: floored(shared[member.key], self.reference_floor) for member in self.references}
        return combine_logits(
            shared[self.base.key],
            [shared[member.key] for member in self.tuned],
            [before[member.key] for member in self.references],
            self.weights,
            self.amplify,
            self.delta_top_p,
        )

    def interpolate(self, share: float) -> EmulatedFineTuning:
        """Return the same models with the weights (share, 1 - share) for the two experts.

        Raises:
            InputError: there are not two experts, or the share is not in [0, 1].
        """
        if len(self.experts) != 2:
            raise InputError(f"Interpolation is between two experts; there are {len(self.experts)}.")
        if not 0 <= share <= 1:
            raise InputError(f"The share of the first expert must be in [0, 1], got {share}.")
        return self.reweighted([share, 1 - share], self.amplify, self.delta_top_p)

    def reweighted(
        self, weights: Sequence[float], amplify: float = 1.0, delta_top_p: float | None = None
    ) -> EmulatedFineTuning:
        """Return the same models with other weights.

        Raises:
            InputError: there is not one weight an expert, or one is below 0 without `allow_negative`.
        """
        if len(weights) != len(self.experts):
            raise InputError(f"Got {len(weights)} weights for {len(self.experts)} experts: give one each.")
        changed = copy.copy(self)
        changed.experts = [
            dataclasses.replace(expert, weight=float(weight))
            for expert, weight in zip(self.experts, weights, strict=True)
        ]
        changed.amplify, changed.delta_top_p = amplify, delta_top_p
        changed._check_settings()
        return changed

    def _check_settings(self) -> None:
        check_settings(
            self.weights, self.amplify, self.delta_top_p, self.reference_floor, self.allow_negative
        )
        if self.amplify == 1 and self.delta_top_p is None:
            return
        pairs = zip(self.references, self.weights, strict=True)
        if {member.key for member, weight in pairs if weight} - {self.references[0].key}:
            raise InputError(
                "amplify and delta_top_p measure what the large model knows beyond one small model: give all"
                " experts the same reference."
            )

    # --- one step, and texts that are there already -------------------------------------------------

    def streams(self, rows: int) -> dict[Key, Stream]:
        """Return empty caches for a batch of so many rows, for `next_logits`."""
        return {key: Stream(member, rows, self.vocabulary) for key, member in self.members.items()}

    def next_logits(
        self,
        input_ids: Int[Tensor, "b t"],
        attention_mask: Tensor | None = None,
        streams: Mapping[Key, Stream] | None = None,
    ) -> Float[Tensor, "b v"]:
        """Return the emulated logits after `input_ids`, which follow what the streams have read already.

        Args:
            input_ids: padded on the left.
            attention_mask: 0 for padding [b, t]; all count by default.
            streams: from `streams(b)`; they remember what they read. Without any, nothing is remembered.
        """
        valid = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        streams = self.streams(len(input_ids)) if streams is None else streams
        return self.combine(
            {key: stream.feed(input_ids, valid.bool())[:, 0] for key, stream in streams.items()}
        )

    def logprobs(
        self, input_ids: Int[Tensor, "b t"], labels_mask: Bool[Tensor, "b t"], batch_size: int = 32
    ) -> Float[Tensor, "b t"]:
        """Return log p(token | those before it) where `labels_mask` is set and 0 elsewhere.

        Each model reads all texts in one parallel pass, without a loop over tokens.

        Args:
            input_ids: padded on the right, where nothing that counts can see it.
            labels_mask: the tokens to be scored, none of them the first or padding.
            batch_size: texts that go through the models at once.
        """
        if len(input_ids) and labels_mask[:, 0].any():
            raise InputError("The first token of a text has nothing before it: leave it out of labels_mask.")
        found = torch.zeros(input_ids.shape)
        for rows in torch.arange(len(input_ids)).split(batch_size):
            ids, scored = input_ids[rows], labels_mask[rows].cpu()
            if scored.any():
                targets, logits = self.read(ids, scored)
                logprobs = self.combine(logits).log_softmax(-1).gather(-1, targets[:, None]).squeeze(-1)
                part = found[rows]
                part[scored] = logprobs.float().cpu()
                found[rows] = part
        return found

    def read(
        self, input_ids: Int[Tensor, "b t"], labels_mask: Bool[Tensor, "b t"]
    ) -> tuple[Int[Tensor, " n"], dict[Key, Float[Tensor, "n v"]]]:
        """Return the tokens to be scored, and what each member gives before each of them, by key."""
        width = int(labels_mask.any(0).nonzero().max()) + 1
        for member in self.members.values():
            if member.limit is not None and width > member.limit:
                raise InputError(
                    f"A text of {width} tokens does not fit into the {member.limit} of {member.name}."
                )
        ids, before = input_ids[:, :width], labels_mask[:, 1:width]
        targets = ids[:, 1:][before.to(ids.device)]
        _check_tokens(targets, self.vocabulary)
        logits = {}
        for key, member in self.members.items():
            found = member.logits(input_ids=ids.to(member.device), use_cache=False)
            logits[key] = found[:, :-1, : self.vocabulary][before.to(member.device)].to(ids.device)
        return targets, logits

    def score(self, prompts: Prompts, continuations: Sequence[Tokens], batch_size: int = 32) -> list[Tensor]:
        """Return log p of each token of each continuation after its prompt, which may differ by model.

        Args:
            prompts: as for `generate`.
            continuations: token ids, one sequence a prompt.
            batch_size: rows that go through the models at once.

        Raises:
            InputError: prompts and continuations differ in number, or one of them is empty.
        """
        batch = self.batch(prompts)
        if batch.rows != len(continuations):
            raise InputError(f"There are {batch.rows} prompts and {len(continuations)} continuations.")
        if not all(len(tokens) for tokens in continuations):
            raise InputError("A continuation is empty: there is nothing to score.")
        rows = torch.arange(batch.rows).split(batch_size)
        return [found for part in rows for found in self._score_rows(batch, continuations, part.tolist())]

    def _score_rows(self, whole: Batch, continuations: Sequence[Tokens], rows: list[int]) -> list[Tensor]:
        batch, new = whole.select(rows), [list(continuations[row]) for row in rows]
        padded, valid = pad_prompts(new, side="right")
        width = padded.shape[1]
        batch.check_room(self.members.values(), width)
        _check_tokens(padded, self.vocabulary)
        logits = {}
        for key, stream in self.streams(batch.rows).items():
            tokens, counts = batch.prompts[self.members[key].name]
            ids, counted = torch.cat([tokens, padded], -1), torch.cat([counts, valid], -1)
            logits[key] = stream.feed(ids, counted, last=width + 1)[:, :-1]
        logprobs = self.combine(logits).log_softmax(-1).gather(-1, padded[..., None]).squeeze(-1)
        return [row[: len(tokens)] for row, tokens in zip(logprobs, new, strict=True)]

    # --- generating ---------------------------------------------------------------------------------

    def generate(
        self,
        prompts: Prompts = None,
        *,
        generator: torch.Generator | None = None,
        logits_processor: Process | Sequence[Process] = (),
        **settings: Any,
    ) -> Generation:
        """Continue prompts token by token.

        Args:
            prompts: token ids, one sequence a row; or, where the models want different prompts, a dict of
                such lists by `base`, `tuned` and `reference` (that of the base unless given), or `tuned.1`
                and so on for the second and later experts. Instead, `input_ids` and `attention_mask` as a
                tokenizer gives them.
            generator: of the random numbers.
            logits_processor: called as transformers' are, with the base's tokens and the combined logits,
                before the temperature; one, or a list.
            settings: `max_new_tokens`; `temperature` (1; 0 takes the likeliest token), `top_k` (0: all) and
                `top_p` (1: all), `do_sample=False` for the likeliest token; `eos_token_id` or `eos` (by
                default the end tokens of the fine-tuned model); `generation_config`; and the penalties of
                transformers' `generate`, such as `repetition_penalty`, which act on the combined logits.

        Raises:
            InputError: a prompt is empty or too long for a model, or a setting is unknown or out of range.
        """
        batch = self.batch(prompts, settings)
        processors = _listed(logits_processor)
        decoding = Decoding.of(self.drafter, settings, generator=generator, processors=processors)
        return continue_texts(self, batch, decoding)

    def speculative_generate(
        self,
        prompts: Prompts = None,
        *,
        block_size: int = 4,
        enough: int | None = None,
        generator: torch.Generator | None = None,
        logits_processor: Process | Sequence[Process] = (),
        **settings: Any,
    ) -> Generation:
        """Continue prompts by the same law as `generate`, with fewer runs of the large model.

        The small fine-tuned model drafts `block_size` tokens, the others read them all in one pass each,
        and `speculative_accept` decides how far they go. Rows accept different numbers of tokens; models
        with a sliding attention window, and penalties and processors, take one row at a time.

        Args:
            prompts: as for `generate`, and so are the arguments not named here.
            block_size: tokens of a draft.
            enough: stop all rows after the block in which the last of them got so many tokens; they are
                the first of those that would have come without it.
            generator: of the random numbers.
            logits_processor: one, or a list.
            settings: as for `generate`.

        Raises:
            InputError: as for `generate`.
        """
        if block_size < 1:
            raise InputError(f"block_size must be at least 1, got {block_size}.")
        batch = self.batch(prompts, settings)
        own = {"block_size": block_size, "enough": enough, "processors": _listed(logits_processor)}
        decoding = Decoding.of(self.drafter, settings, generator=generator, **own)
        alone = decoding.processors or decoding.penalties is not None
        if batch.rows > 1 and (alone or any(member.has_window for member in self.members.values())):
            rows = [batch.select([row]) for row in range(batch.rows)]
            return Generation.joined([continue_texts(self, row, decoding) for row in rows])
        return continue_texts(self, batch, decoding)

    def batch(self, prompts: Prompts, settings: dict[str, Any] | None = None) -> Batch:
        """Return the prompts as a batch; `input_ids` and `attention_mask` are taken out of the settings."""
        ids, mask = ((settings or {}).pop(name, None) for name in ("input_ids", "attention_mask"))
        if ids is not None and prompts is None:
            counted = torch.ones_like(ids) if mask is None else mask
            prompts = [row[keep.bool()].tolist() for row, keep in zip(ids, counted, strict=True)]
        names = [member.name for member in self.members.values()]
        batch = Batch.of_prompts(prompts, names, self.base.device)
        batch.check_tokens(self.members.values())
        return batch


def _checked_experts(experts: Any) -> list[Delta]:
    """Return the experts as a list, if they are `Delta`s."""
    listed = [experts] if isinstance(experts, Delta) else experts
    if not isinstance(listed, list | tuple) or not listed or not all(isinstance(e, Delta) for e in listed):
        given = type(experts).__name__
        if isinstance(experts, list | tuple):
            given += " of " + (", ".join(sorted({type(each).__name__ for each in experts})) or "nothing")
        raise InputError(
            f"experts must be a Delta or a list of them, got {given}: write Delta(tuned, reference, weight)"
            " for each small pair."
        )
    return list(listed)


def _listed(processors: Any) -> tuple[Callable[[Tensor, Tensor], Tensor], ...]:
    return tuple(processors) if isinstance(processors, list | tuple) else (processors,)


def _check_tokens(tokens: Tensor, vocabulary: int) -> None:
    if tokens.numel() and int(tokens.max()) >= vocabulary:
        raise InputError(
            f"Token {int(tokens.max())} is not among the {vocabulary} that the models share, so it has no"
            " probability."
        )
