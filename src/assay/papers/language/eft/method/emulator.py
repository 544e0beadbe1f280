"""Emulated fine-tuning on models: next-token logits, scoring, plain and speculative generation."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from assay.errors import InputError
from assay.papers.language.eft.method.ancestry import check_ancestor
from assay.papers.language.eft.method.combine import (
    check_settings,
    combine_logits,
    draw,
    entropy,
    probabilities,
    speculative_accept,
    total_variation,
)
from assay.papers.language.eft.method.generation import (
    Batch,
    Generation,
    Prompts,
    SpeculativeStats,
    pad_prompts,
)
from assay.papers.language.eft.method.streams import OFF, Member, Stream
from assay.papers.language.eft.method.vocabulary import common_vocabulary

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
    """w: 1 is the paper's rule, 0 leaves the behaviour out, below 0 turns it round."""
    adapter: str | None = None
    """The adapter of `tuned`; by default the active one."""


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
        self.tuned = [tuned_member(expert, name) for expert, name in _named(self.experts, "tuned")]
        self.references = [
            reference_member(expert, name) for expert, name in _named(self.experts, "reference")
        ]
        self._check_settings()
        if check_ancestors:
            for tuned, reference in zip(self.tuned, self.references, strict=True):
                check_ancestor(tuned, reference)
        members = [self.base, *self.tuned, *self.references]
        rows = {member.name: member.rows for member in members}
        self.vocabulary = common_vocabulary(rows, tokenizers, extra_tokens)

    # --- the law ------------------------------------------------------------------------------------

    @property
    def weights(self) -> list[float]:
        """The weight of each expert."""
        return [expert.weight for expert in self.experts]

    @property
    def members(self) -> dict[tuple[int, str | None], Member]:
        """The different models by key, each once, however many parts it plays."""
        found: dict[tuple[int, str | None], Member] = {}
        for member in (self.base, *self.tuned, *self.references):
            found.setdefault(member.key, member)
        return found

    @property
    def drafter(self) -> Member:
        """The fine-tuned model with the largest weight, which drafts tokens."""
        return self.tuned[max(range(len(self.tuned)), key=lambda k: self.weights[k])]

    def combine(self, logits: Mapping[tuple[int, str | None], Tensor]) -> Float[Tensor, "*n v"]:
        """Return the emulated model's logits from those of the members, by key."""
        shared = {key: value[..., : self.vocabulary] for key, value in logits.items()}
        return combine_logits(
            shared[self.base.key],
            [shared[member.key] for member in self.tuned],
            [shared[member.key] for member in self.references],
            self.weights,
            self.amplify,
            self.delta_top_p,
            self.reference_floor,
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
        changed = object.__new__(EmulatedFineTuning)
        changed.__dict__.update(self.__dict__)
        changed.experts = [
            dataclasses.replace(expert, weight=float(weight))
            for expert, weight in zip(self.experts, weights, strict=True)
        ]
        changed.amplify, changed.delta_top_p = amplify, delta_top_p
        changed._check_settings()
        return changed

    def _check_settings(self) -> None:
        check_settings(self.weights, self.amplify, self.delta_top_p, self.reference_floor)
        check_signs(self.experts, self.allow_negative)
        if self.amplify == 1 and self.delta_top_p is None:
            return
        pairs = zip(self.references, self.weights, strict=True)
        if {member.key for member, weight in pairs if weight} - {self.references[0].key}:
            raise InputError(
                "amplify and delta_top_p measure what the large model knows beyond one small model: give all"
                " experts the same reference."
            )

    # --- one step, and texts that are there already -------------------------------------------------

    def streams(self, rows: int) -> dict[tuple[int, str | None], Stream]:
        """Return empty caches for a batch of so many rows, for `next_logits`."""
        return {key: Stream(member, rows, self.vocabulary) for key, member in self.members.items()}

    def next_logits(
        self,
        input_ids: Int[Tensor, "b t"],
        attention_mask: Tensor | None = None,
        streams: Mapping[tuple[int, str | None], Stream] | None = None,
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
                told = self.combine(logits).log_softmax(-1).gather(-1, targets[:, None]).squeeze(-1)
                part = found[rows]
                part[scored] = told.float().cpu()
                found[rows] = part
        return found

    def read(
        self, input_ids: Int[Tensor, "b t"], labels_mask: Bool[Tensor, "b t"]
    ) -> tuple[Int[Tensor, " n"], dict[tuple[int, str | None], Float[Tensor, "n v"]]]:
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
            device = next(member.model.parameters()).device
            found = member.logits(input_ids=ids.to(device), use_cache=False)[:, :-1, : self.vocabulary]
            logits[key] = found[before.to(device)].to(ids.device)
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
        batch = self._batch(prompts)
        if batch.rows != len(continuations):
            raise InputError(f"There are {batch.rows} prompts and {len(continuations)} continuations.")
        if not all(len(tokens) for tokens in continuations):
            raise InputError("A continuation is empty: there is nothing to score.")
        found: list[Tensor] = []
        for start in range(0, batch.rows, batch_size):
            rows = range(start, min(start + batch_size, batch.rows))
            found += self._score_rows(batch.select(rows), [list(continuations[row]) for row in rows])
        return found

    def _score_rows(self, batch: Batch, continuations: list[list[int]]) -> list[Tensor]:
        width = max(map(len, continuations))
        batch.check_room(self.members, width)
        padded, valid = pad_prompts(continuations, side="right")
        _check_tokens(padded, self.vocabulary)
        streams = self.streams(batch.rows)
        logits = {}
        for key, stream in streams.items():
            tokens, counts = batch.of(self.members[key].name)
            whole, whole_valid = torch.cat([tokens, padded], -1), torch.cat([counts, valid], -1)
            logits[key] = stream.feed(whole, whole_valid, last=width + 1)[:, :-1]
        told = self.combine(logits).log_softmax(-1).gather(-1, padded[..., None]).squeeze(-1)
        return [row[: len(tokens)] for row, tokens in zip(told, continuations, strict=True)]

    # --- generating ---------------------------------------------------------------------------------

    def generate(
        self,
        prompts: Prompts,
        *,
        max_new_tokens: int,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        eos: int | Sequence[int] | None = None,
        generator: torch.Generator | None = None,
        logits_processor: Callable[[Tensor, Tensor], Tensor] | None = None,
    ) -> Generation:
        """Continue prompts token by token.

        Args:
            prompts: token ids, one sequence a row; or, where the models want different prompts, a dict of
                such lists by `base`, `tuned` and `reference` (that of the base unless given), or `tuned.1`
                and so on for the second and later experts.
            max_new_tokens: the most tokens of a row.
            temperature: 0 takes the likeliest token.
            top_k: draw among so many likeliest tokens; 0 for all.
            top_p: draw among the likeliest tokens that together have this probability.
            eos: what ends a row; by default the end tokens of the fine-tuned model.
            generator: of the random numbers.
            logits_processor: called as transformers' are, with the base's tokens and the combined logits,
                before the temperature.

        Raises:
            InputError: a prompt is empty or too long for a model, or an option is out of its range.
        """
        return self._generate(
            prompts, max_new_tokens, 0, temperature, top_k, top_p, eos, generator, logits_processor, None
        )

    def speculative_generate(
        self,
        prompts: Prompts,
        *,
        max_new_tokens: int,
        block_size: int = 4,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        eos: int | Sequence[int] | None = None,
        generator: torch.Generator | None = None,
        enough: int | None = None,
    ) -> Generation:
        """Continue prompts by the same law as `generate`, with fewer runs of the large model.

        The small fine-tuned model drafts `block_size` tokens, the others read them all in one pass each,
        and `speculative_accept` decides how far they go. Rows accept different numbers of tokens; models
        with a sliding attention window take one row at a time.

        Args:
            block_size: tokens of a draft; the other arguments are those of `generate`.
            enough: stop all rows after the block in which the last of them got so many tokens; they are
                the first of those that would have come without it.

        Raises:
            InputError: as for `generate`, or a model cannot take tokens back out of its cache.
        """
        if block_size < 1:
            raise InputError(f"block_size must be at least 1, got {block_size}.")
        stuck = [member.name for member in self.members.values() if not member.can_take_back]
        if stuck:
            raise InputError(
                f"{stuck[0]} keeps a running state, from which rejected tokens cannot be taken"
                " back: use generate (--block-size 0)."
            )
        arguments = (max_new_tokens, block_size, temperature, top_k, top_p, eos, generator, None, enough)
        batch = self._batch(prompts)
        if batch.rows > 1 and any(member.has_window for member in self.members.values()):
            parts = [self._generate(batch.select([row]), *arguments) for row in range(batch.rows)]
            return Generation.joined(parts)
        return self._generate(batch, *arguments)

    def _generate(
        self,
        prompts: Prompts | Batch,
        max_new_tokens: int,
        block_size: int,
        temperature: float,
        top_k: int,
        top_p: float,
        eos: int | Sequence[int] | None,
        generator: torch.Generator | None,
        logits_processor: Callable[[Tensor, Tensor], Tensor] | None,
        enough: int | None,
    ) -> Generation:
        _check_sampling(max_new_tokens, temperature, top_k, top_p)
        batch = prompts if isinstance(prompts, Batch) else self._batch(prompts)
        batch.check_room(self.members, max_new_tokens)
        ends = self._ends(eos)
        if ends and min(ends) >= self.vocabulary:
            warnings.warn(
                f"No end token {ends} is among the {self.vocabulary} tokens that the models share, so every"
                " text runs to max_new_tokens. Give eos= a token that all of them have.",
                stacklevel=3,
            )
        run = _Run(
            self,
            batch,
            lambda logits: probabilities(logits, temperature, top_k, top_p),
            generator,
            logits_processor,
            max_new_tokens,
            ends,
        )
        while run.active.any() and not run.has(enough):
            run.block(min(block_size, run.most_left - 1))
        return run.generation()

    def _batch(self, prompts: Prompts) -> Batch:
        device = next(self.base.model.parameters()).device
        batch = Batch.of_prompts(prompts, [member.name for member in self.members.values()], device)
        batch.check_tokens(self.members)
        return batch

    def _ends(self, eos: int | Sequence[int] | None) -> list[int]:
        if eos is None:
            settings = getattr(self.drafter.model, "generation_config", None)
            eos = getattr(settings, "eos_token_id", None)
            eos = self.drafter.config.eos_token_id if eos is None else eos
        return [] if eos is None else [eos] if isinstance(eos, int) else list(eos)


class _Run:
    """A batch that is being continued."""

    def __init__(
        self,
        model: EmulatedFineTuning,
        batch: Batch,
        law: Callable[[Tensor], Tensor],
        generator: torch.Generator | None,
        processor: Callable[[Tensor, Tensor], Tensor] | None,
        max_new_tokens: int,
        ends: Sequence[int],
    ) -> None:
        self.model, self.law, self.generator, self.processor = model, law, generator, processor
        self.max_new_tokens, self.ends = max_new_tokens, set(ends)
        self.streams = model.streams(batch.rows)
        # What each model has yet to read: at first its prompt, later the last token.
        self.pending = {key: batch.of(member.name) for key, member in model.members.items()}
        self.prompt = batch.of("base")[0]
        self.active = torch.ones(batch.rows, dtype=torch.bool, device=self.prompt.device)
        self.rows: list[list[tuple[int, float, float, float]]] = [[] for _ in range(batch.rows)]
        self.stats = SpeculativeStats()

    @property
    def least(self) -> int:
        """The fewest tokens that any unfinished row has."""
        return min(len(row) for row, going in zip(self.rows, self.active.tolist(), strict=True) if going)

    @property
    def most_left(self) -> int:
        """The most tokens that any unfinished row may still get."""
        return self.max_new_tokens - self.least

    def has(self, enough: int | None) -> bool:
        """Whether every unfinished row has enough tokens."""
        return enough is not None and self.least >= enough

    def block(self, length: int) -> None:
        """Draft `length` tokens, accept some of them and add one: with length 0 a plain step."""
        drafter, active = self.model.drafter.key, self.active.clone()
        tokens, small, drafted = self._draft(drafter, length)
        logits = {drafter: small}
        for key, stream in self.streams.items():
            if key != drafter:
                logits[key] = self._feed(key, stream, tokens, length + 1)
        shown = {key: value[:, :length] for key, value in logits.items()}
        combined = self.model.combine(shown)
        accepted, token = speculative_accept(self.law(combined), self.law(small), tokens, self.generator)
        whole = (accepted == length) & self.active
        new = torch.cat([tokens, torch.zeros_like(token)[:, None]], dim=1)
        measures = torch.zeros(*new.shape, 3, device=new.device)
        if whole.any():
            after = self._feed_rest(drafter, tokens, drafted)
            drafted += 1
            last = self.model.combine({**{k: v[:, length:] for k, v in logits.items()}, drafter: after})
            last = last[:, 0] if self.processor is None else self.processor(self._so_far(), last[:, 0])
            token = torch.where(whole, draw(self.law(last), self.generator), token)
            measures[whole, length] = _measured(last[whole], after[whole, 0], token[whole])
        new = new.scatter(1, accepted[:, None], token.clamp(min=0)[:, None])
        places = torch.arange(length, device=new.device) <= accepted[:, None]
        written = places & self.active[:, None]
        measures[:, :length][written] = _measured(combined[written], small[written], new[:, :length][written])
        self._keep(accepted, drafted, length, drafter)
        self._write(new, accepted, measures)
        self._count(accepted[active], length)
        self.pending = dict.fromkeys(
            self.streams, (token.clamp(min=0)[:, None], self.active[:, None].clone())
        )

    def _draft(self, drafter: Any, length: int) -> tuple[Tensor, Tensor, int]:
        """Return the drafted tokens [b, g], the logits they are from [b, g, v], and how much was read."""
        stream, (tokens, valid) = self.streams[drafter], self.pending[drafter]
        rows = len(tokens)
        drafts = [tokens.new_zeros(rows, 0)]
        found = [torch.zeros(rows, 0, self.model.vocabulary, device=tokens.device)]
        for _ in range(length):
            logits = stream.feed(tokens, valid)
            found.append(logits.float())  # what is drawn from is what is tested against, in single precision
            tokens, valid = draw(self.law(found[-1][:, 0]), self.generator)[:, None], self.active[:, None]
            drafts.append(tokens)
        read = self.pending[drafter][0].shape[1] + length - 1 if length else 0
        return torch.cat(drafts, dim=1), torch.cat(found, dim=1), read

    def _feed(self, key: Any, stream: Stream, draft: Tensor, last: int) -> Tensor:
        tokens, valid = self.pending[key]
        counts = self.active[:, None].expand(-1, draft.shape[1])
        return stream.feed(torch.cat([tokens, draft], dim=1), torch.cat([valid, counts], dim=1), last)

    def _feed_rest(self, drafter: Any, draft: Tensor, drafted: int) -> Tensor:
        """Return the drafter's logits after the whole draft, of which it has not read the last token."""
        tokens, valid = (draft[:, -1:], self.active[:, None]) if drafted else self.pending[drafter]
        return self.streams[drafter].feed(tokens, valid)

    def _keep(self, accepted: Tensor, drafted: int, length: int, drafter: Any) -> None:
        for key, stream in self.streams.items():
            before = self.pending[key][0].shape[1]
            kept = torch.where(self.active, before + accepted, torch.zeros_like(accepted))
            if key != drafter:
                stream.keep(before + length, kept)
            elif length:
                stream.keep(drafted, kept)

    def _write(
        self, new: Int[Tensor, "b g"], accepted: Int[Tensor, " b"], measures: Float[Tensor, "b g 3"]
    ) -> None:
        """Add what was accepted and the token after it to the unfinished rows, up to an end token."""
        tokens, counts, measured = new.tolist(), (accepted + 1).tolist(), measures.tolist()
        for row in self.active.nonzero().squeeze(-1).tolist():
            for place in range(counts[row]):
                value = tokens[row][place]
                self.rows[row].append((value, *measured[row][place]))
                if value in self.ends or len(self.rows[row]) == self.max_new_tokens:
                    self.active[row] = False
                    break

    def _count(self, accepted: Int[Tensor, " a"], length: int) -> None:
        self.stats = SpeculativeStats(
            accepted=self.stats.accepted + int(accepted.sum()),
            proposed=self.stats.proposed + length * len(accepted),
            row_forwards=self.stats.row_forwards + len(accepted),
            tokens=sum(map(len, self.rows)),
            calls={member.name: self.streams[key].calls for key, member in self.model.members.items()},
        )

    def _so_far(self) -> Int[Tensor, "b t"]:
        """Return prompts and new tokens of the base, as processors see them; finished rows end in 0."""
        width = max(map(len, self.rows))
        new = self.prompt.new_zeros(len(self.rows), width)
        for row, written in enumerate(self.rows):
            new[row, : len(written)] = torch.tensor([token for token, *_ in written], dtype=torch.long)
        return torch.cat([self.prompt, new], dim=1)

    def generation(self) -> Generation:
        """Return what was written."""
        return Generation.of_rows(self.rows, self.stats, self.ends)


def _measured(
    combined: Float[Tensor, "n v"], tuned: Float[Tensor, "n v"], tokens: Int[Tensor, " n"]
) -> Float[Tensor, "n 3"]:
    """Return log p(token), the distance to the small fine-tuned model, and the entropy."""
    told = combined.log_softmax(-1).gather(-1, tokens[:, None]).squeeze(-1).float()
    return torch.stack([told, total_variation(combined, tuned), entropy(combined)], dim=-1)


# --- what is given ------------------------------------------------------------------------------


def _checked_experts(experts: Any) -> list[Delta]:
    """Return the experts as a list.

    Raises:
        InputError: they are not `Delta`s.
    """
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


def check_signs(experts: Sequence[Delta], allow_negative: bool) -> None:
    """Refuse weights below 0 unless they are allowed."""
    negative = [expert.weight for expert in experts if expert.weight < 0]
    if negative and not allow_negative:
        raise InputError(
            f"The weight {negative[0]} is below 0: it turns fine-tuning round and undoes safety training."
            " Pass allow_negative=True (--allow-negative) if that is what you want."
        )


def _named(experts: Sequence[Delta], role: str) -> list[tuple[Delta, str]]:
    return [(expert, role if k == 0 else f"{role}.{k}") for k, expert in enumerate(experts)]


def tuned_member(expert: Delta, name: str) -> Member:
    """Return the fine-tuned model of an expert."""
    adapter = expert.adapter
    if adapter is None and expert.reference is None and hasattr(expert.tuned, "active_adapter"):
        adapter = str(expert.tuned.active_adapter)
    return Member(name, expert.tuned, adapter)


def reference_member(expert: Delta, name: str) -> Member:
    """Return what the model of an expert was before fine-tuning."""
    if expert.reference is not None:
        return Member(name, expert.reference)
    if not hasattr(expert.tuned, "disable_adapter"):
        raise InputError(
            f"{name} is missing: give Delta(tuned, reference), or a PEFT model, whose reference is itself"
            " without its adapter."
        )
    return Member(name, expert.tuned, OFF)


def _check_sampling(max_new_tokens: int, temperature: float, top_k: int, top_p: float) -> None:
    if max_new_tokens < 1:
        raise InputError(f"max_new_tokens must be at least 1, got {max_new_tokens}.")
    if not 0 <= temperature < float("inf") or not 0 < top_p <= 1 or top_k < 0:
        raise InputError(
            f"temperature must be at least 0, top_p in (0, 1] and top_k at least 0, got {temperature},"
            f" {top_p} and {top_k}."
        )


def _check_tokens(tokens: Tensor, vocabulary: int) -> None:
    if tokens.numel() and int(tokens.max()) >= vocabulary:
        raise InputError(
            f"Token {int(tokens.max())} is not among the {vocabulary} that the models share, so it has no"
            " probability."
        )
