"""How texts are continued: one loop, in which a plain step is a block without a draft."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessorList

from assay.errors import InputError, unknown
from assay.papers.language.eft.method.combine import (
    draw,
    entropy,
    probabilities,
    speculative_accept,
    total_variation,
)
from assay.papers.language.eft.method.generation import Batch, Generation, Measured, SpeculativeStats
from assay.papers.language.eft.method.streams import Key, Member, Stream

Process = Callable[[Tensor, Tensor], Tensor]
"""Changes logits [b, v] in view of the tokens before them [b, t], as transformers' processors do."""
PENALTIES = (
    "bad_words_ids",
    "begin_suppress_tokens",
    "exponential_decay_length_penalty",
    "min_new_tokens",
    "no_repeat_ngram_size",
    "remove_invalid_values",
    "repetition_penalty",
    "sequence_bias",
    "suppress_tokens",
)
"""Settings of transformers' `generate` that change logits; they act on the combined ones."""
CHOICES = ("max_new_tokens", "do_sample", "temperature", "top_k", "top_p", "eos_token_id")
IGNORED = ("bos_token_id", "pad_token_id", "use_cache", "transformers_version", "_from_model_config")


@runtime_checkable
class Emulated(Protocol):
    """What the loop needs of an emulated model."""

    vocabulary: int

    @property
    def base(self) -> Member: ...

    @property
    def members(self) -> Mapping[Key, Member]: ...

    @property
    def drafter(self) -> Member: ...

    def combine(self, logits: Mapping[Key, Tensor]) -> Tensor: ...

    def streams(self, rows: int) -> dict[Key, Stream]: ...


@dataclass(frozen=True)
class Decoding:
    """How tokens are chosen, and how many."""

    max_new_tokens: int
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    ends: tuple[int, ...] = ()
    penalties: GenerationConfig | None = None
    """Settings among `PENALTIES`, None where there are none."""
    processors: tuple[Process, ...] = ()
    generator: torch.Generator | None = None
    block_size: int = 0
    enough: int | None = None

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise InputError(f"max_new_tokens must be at least 1, got {self.max_new_tokens}.")
        if not 0 <= self.temperature < float("inf") or not 0 < self.top_p <= 1 or self.top_k < 0:
            raise InputError(
                f"temperature must be at least 0, top_p in (0, 1] and top_k at least 0, got"
                f" {self.temperature}, {self.top_p} and {self.top_k}."
            )

    @classmethod
    def of(cls, drafter: Member, settings: Mapping[str, Any], **own: Any) -> Decoding:
        """Read what `generate` was given: the names of transformers, and `eos` for `eos_token_id`.

        Raises:
            InputError: a setting is unknown, or is for `generate` of transformers alone, or out of range.
        """
        named = dict(settings)
        given = dict(vars(named.pop("generation_config", None) or GenerationConfig()))
        known = set(given)
        for name in named:
            if name not in {*known, "eos"}:
                raise unknown("setting of generate", name, {*CHOICES, *PENALTIES, "eos", "logits_processor"})
        ends = named.pop("eos", named.get("eos_token_id", given["eos_token_id"]))
        given |= named
        off = (None, False, 0, 1, 1.0)
        for name, value in given.items():
            if name not in (*CHOICES, *PENALTIES, *IGNORED) and value not in off:
                raise InputError(
                    f"{name} needs transformers' own generate: pass EFTLogitsProcessor to it, with the large"
                    " model."
                )
        if given["max_new_tokens"] is None:
            raise InputError("max_new_tokens is missing: how long may a text get?")
        set_ = {name: given[name] for name in CHOICES[2:5] if given[name] is not None}
        if given["do_sample"] is False:
            set_["temperature"] = 0.0
        penalties = {name: given[name] for name in PENALTIES if given[name] is not None}
        return cls(
            given["max_new_tokens"],
            ends=tuple(ends_of(drafter, ends)),
            penalties=GenerationConfig(**penalties) if penalties else None,
            **set_,
            **own,
        )

    def law(self, logits: Tensor) -> Tensor:
        """Return what tokens are drawn from."""
        return probabilities(logits, self.temperature, self.top_k, self.top_p)

    def process_for(self, base: Member, batch: Batch) -> Process | None:
        """Return the penalties, then the processors, for a batch; None where there are none."""
        custom = LogitsProcessorList(self.processors)
        if self.penalties is None:
            return cast("Process", custom) if custom else None
        tokens, valid = batch.prompts["base"]
        ends = torch.tensor(self.ends, device=tokens.device) if self.ends else None
        self.penalties._eos_token_tensor = ends
        padding = {"attention_mask": valid.long()} if not valid.all() else {}
        processors: Process = base.core._get_logits_processor(
            self.penalties,
            input_ids_seq_length=tokens.shape[1],
            logits_processor=custom,
            device=tokens.device,
            model_kwargs=padding,
        )
        return processors


def ends_of(drafter: Member, eos: int | Sequence[int] | None) -> list[int]:
    """Return the tokens that end a row: those given, or those of the fine-tuned model."""
    if eos is None:
        settings = getattr(drafter.model, "generation_config", None)
        eos = getattr(settings, "eos_token_id", None)
        eos = drafter.config.eos_token_id if eos is None else eos
    return [] if eos is None else [eos] if isinstance(eos, int) else list(eos)


def continue_texts(model: Emulated, batch: Batch, decoding: Decoding) -> Generation:
    """Continue the prompts of a batch.

    Raises:
        InputError: a prompt is too long for a model.
    """
    batch.check_room(model.members.values(), decoding.max_new_tokens)
    if decoding.ends and min(decoding.ends) >= model.vocabulary:
        warnings.warn(
            f"No end token {list(decoding.ends)} is among the {model.vocabulary} tokens that the models"
            " share, so every text runs to max_new_tokens. Give eos= a token that all of them have.",
            stacklevel=3,
        )
    run = _Run(model, batch, decoding)
    while run.active.any() and not run.is_enough:
        run.block(min(decoding.block_size, decoding.max_new_tokens - run.least - 1))
    return Generation.of_rows(run.rows, run.stats, decoding.ends)


class _Run:
    """A batch that is being continued."""

    def __init__(self, model: Emulated, batch: Batch, decoding: Decoding) -> None:
        self.model, self.decoding = model, decoding
        self.process = decoding.process_for(model.base, batch)
        self.streams, self.drafter = model.streams(batch.rows), model.drafter.key
        # What each model has yet to read: at first its prompt, later the last token.
        self.pending = {key: batch.prompts[member.name] for key, member in model.members.items()}
        self.prompt = batch.prompts["base"][0]
        self.active = torch.ones(batch.rows, dtype=torch.bool, device=self.prompt.device)
        self.rows: list[list[Measured]] = [[] for _ in range(batch.rows)]
        self.stats = SpeculativeStats()

    @property
    def least(self) -> int:
        """The fewest tokens that any unfinished row has."""
        return min(len(row) for row, going in zip(self.rows, self.active.tolist(), strict=True) if going)

    @property
    def is_enough(self) -> bool:
        """Whether every unfinished row has as many tokens as are asked for."""
        return self.decoding.enough is not None and self.least >= self.decoding.enough

    def block(self, length: int) -> None:
        """Draft `length` tokens, accept some of them and add one: with length 0 a plain step."""
        decoding, drafter, active = self.decoding, self.drafter, self.active.clone()
        tokens, small, drafted = self._draft(length)
        logits = {drafter: small}
        for key, stream in self.streams.items():
            if key != drafter:
                logits[key] = self._feed(key, stream, tokens, length + 1)
        combined = self.model.combine({key: value[:, :length] for key, value in logits.items()})
        law = decoding.law(self._processed(combined, tokens, 0))
        accepted, token = speculative_accept(law, decoding.law(small), tokens, decoding.generator)
        whole = (accepted == length) & self.active
        new = torch.cat([tokens, torch.zeros_like(token)[:, None]], dim=1)
        measures = torch.zeros(*new.shape, 3, device=new.device)
        if whole.any():
            after = self._feed_rest(tokens, drafted)
            drafted += 1
            last = self.model.combine({**{k: v[:, length:] for k, v in logits.items()}, drafter: after})
            law = decoding.law(self._processed(last, tokens, length)[:, 0])
            token = torch.where(whole, draw(law, decoding.generator), token)
            measures[whole, length] = _measured(last[whole, 0], after[whole, 0], token[whole])
        new = new.scatter(1, accepted[:, None], token.clamp(min=0)[:, None])
        places = torch.arange(length, device=new.device) <= accepted[:, None]
        written = places & self.active[:, None]
        measures[:, :length][written] = _measured(combined[written], small[written], new[:, :length][written])
        self._keep(accepted, drafted, length)
        self._write(new, accepted, measures)
        self._count(accepted[active], length)
        self.pending = dict.fromkeys(
            self.streams, (token.clamp(min=0)[:, None], self.active[:, None].clone())
        )

    def _draft(self, length: int) -> tuple[Tensor, Tensor, int]:
        """Return the drafted tokens [b, g], the logits they are from [b, g, v], and how much was read."""
        stream, (tokens, valid) = self.streams[self.drafter], self.pending[self.drafter]
        read = tokens.shape[1] + length - 1 if length else 0
        drafts = [tokens.new_zeros(len(tokens), 0)]
        found = [torch.zeros(len(tokens), 0, self.model.vocabulary, device=tokens.device)]
        for _ in range(length):
            logits = stream.feed(tokens, valid)
            found.append(logits.float())  # what is drawn from is what is tested against, in single precision
            law = self.decoding.law(found[-1][:, 0])
            tokens, valid = draw(law, self.decoding.generator)[:, None], self.active[:, None]
            drafts.append(tokens)
        return torch.cat(drafts, dim=1), torch.cat(found, dim=1), read

    def _feed(self, key: Key, stream: Stream, draft: Tensor, last: int) -> Tensor:
        tokens, valid = self.pending[key]
        counts = self.active[:, None].expand(-1, draft.shape[1])
        return stream.feed(torch.cat([tokens, draft], dim=1), torch.cat([valid, counts], dim=1), last)

    def _feed_rest(self, draft: Tensor, drafted: int) -> Tensor:
        """Return the drafter's logits after the whole draft, of which it has not read the last token."""
        tokens, valid = (draft[:, -1:], self.active[:, None]) if drafted else self.pending[self.drafter]
        return self.streams[self.drafter].feed(tokens, valid)

    def _processed(self, logits: Float[Tensor, "b n v"], draft: Tensor, start: int) -> Tensor:
        """Return the logits as penalties and processors leave them, each in view of the tokens before it."""
        if self.process is None or not logits.shape[1]:
            return logits
        before = self._so_far()
        return torch.stack(
            [
                self.process(torch.cat([before, draft[:, : start + place]], dim=1), logits[:, place])
                for place in range(logits.shape[1])
            ],
            dim=1,
        )

    def _keep(self, accepted: Tensor, drafted: int, length: int) -> None:
        for key, stream in self.streams.items():
            before = self.pending[key][0].shape[1]
            kept = torch.where(self.active, before + accepted, torch.zeros_like(accepted))
            if key != self.drafter:
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
                if value in self.decoding.ends or len(self.rows[row]) == self.decoding.max_new_tokens:
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
        new = self.prompt.new_zeros(len(self.rows), max(map(len, self.rows)))
        for row, written in enumerate(self.rows):
            new[row, : len(written)] = torch.tensor([token for token, *_ in written], dtype=torch.long)
        return torch.cat([self.prompt, new], dim=1)


def _measured(
    combined: Float[Tensor, "n v"], tuned: Float[Tensor, "n v"], tokens: Int[Tensor, " n"]
) -> Float[Tensor, "n 3"]:
    """Return log p(token), the distance to the small fine-tuned model, and the entropy."""
    logprobs = combined.log_softmax(-1).gather(-1, tokens[:, None]).squeeze(-1).float()
    return torch.stack([logprobs, total_variation(combined, tuned), entropy(combined)], dim=-1)
