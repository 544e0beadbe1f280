"""What goes into generation and what comes out of it."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from assay.errors import InputError, unknown
from assay.papers.language.eft.method.streams import Member
from assay.training.language import pad_rows

Prompts: TypeAlias = Any
"""Token ids, one sequence a row (or a tensor), or a mapping of such from names of models. Checked here."""
Measured: TypeAlias = tuple[int, float, float, float]
"""A token, its log-probability, the distance to the small tuned model, and the entropy."""

ROLES = ("base", "tuned", "reference")


@dataclass(frozen=True)
class SpeculativeStats:
    """What generation cost. With a batch of one, forwards a token are calls of the large model a token."""

    accepted: int = 0
    """Drafted tokens that were accepted."""
    proposed: int = 0
    """Drafted tokens."""
    row_forwards: int = 0
    """Passes of the large model, counted once for each unfinished row, the pass over the prompt included."""
    tokens: int = 0
    """Tokens that came out."""
    calls: Mapping[str, int] = field(default_factory=dict)
    """How often each model was called."""

    @property
    def acceptance(self) -> float | None:
        """The share of drafted tokens that were accepted; None without drafts."""
        return self.accepted / self.proposed if self.proposed else None

    @property
    def forwards_per_token(self) -> float:
        """Passes of the large model a token; 1 without drafts."""
        return self.row_forwards / self.tokens if self.tokens else 0.0

    def __add__(self, other: SpeculativeStats) -> SpeculativeStats:
        names = ("accepted", "proposed", "row_forwards", "tokens")
        sums = {name: getattr(self, name) + getattr(other, name) for name in names}
        calls = Counter(self.calls)
        calls.update(other.calls)  # + would leave out a model that was not called
        return SpeculativeStats(**sums, calls=dict(calls))


@dataclass(frozen=True)
class Generation:
    """New tokens and what the emulated model thought of them."""

    sequences: Int[Tensor, "b n"]
    """The new tokens, filled up with 0 on the right."""
    mask: Bool[Tensor, "b n"]
    """Where there is a token."""
    logprobs: Float[Tensor, "b n"]
    """log p(token) under the emulated model, before penalties, temperature and truncation."""
    tv: Float[Tensor, "b n"]
    """Total variation distance between the emulated and the small fine-tuned model there."""
    entropy: Float[Tensor, "b n"]
    """Entropy of the emulated model there, in nats."""
    stats: SpeculativeStats
    """What it cost."""
    ends: frozenset[int] = frozenset()
    """The tokens that end a row."""

    @property
    def tokens(self) -> list[list[int]]:
        """The new tokens of each row, without the end token."""
        rows = [row[mask].tolist() for row, mask in zip(self.sequences, self.mask, strict=True)]
        return [row[:-1] if row and row[-1] in self.ends else row for row in rows]

    @property
    def measured(self) -> list[list[Measured]]:
        """The tokens of each row with their measures."""
        columns = (self.sequences, self.logprobs, self.tv, self.entropy)
        return [
            list(zip(*(column[row][mask].tolist() for column in columns), strict=True))
            for row, mask in enumerate(self.mask)
        ]

    @classmethod
    def of_rows(
        cls, rows: Sequence[Sequence[Measured]], stats: SpeculativeStats, ends: Collection[int]
    ) -> Generation:
        """Put measured rows together."""
        width = max(map(len, rows), default=0)
        values = torch.zeros(4, len(rows), width, dtype=torch.float64)
        for place, row in enumerate(rows):
            if row:
                values[:, place, : len(row)] = torch.tensor(row, dtype=torch.float64).T
        mask = torch.arange(width) < torch.tensor([len(row) for row in rows])[:, None]
        logprobs, tv, entropy = values[1:].float()
        return cls(values[0].long(), mask, logprobs, tv, entropy, stats, frozenset(ends))

    @classmethod
    def joined(cls, parts: Sequence[Generation]) -> Generation:
        """Put batches together."""
        rows = [row for part in parts for row in part.measured]
        stats = sum((part.stats for part in parts), SpeculativeStats())
        return cls.of_rows(rows, stats, parts[0].ends if parts else ())


@dataclass(frozen=True)
class Batch:
    """The prompt of each model, padded on the left."""

    prompts: Mapping[str, tuple[Int[Tensor, "b t"], Bool[Tensor, "b t"]]]

    @classmethod
    def of_prompts(cls, prompts: Prompts, names: Sequence[str], device: torch.device) -> Batch:
        """Pad prompts, checked."""
        given = prompts if isinstance(prompts, Mapping) else {"base": prompts}
        for name in given:
            role, _, number = name.partition(".")
            if role not in ROLES or not (number.isdigit() or name == role):
                raise unknown("model with a prompt", name, {*names, *ROLES})
        if "base" not in given:
            raise InputError("The prompts of the base are missing: give them under 'base'.")
        found = {}
        for name in names:
            rows = given.get(name, given.get(name.partition(".")[0], given["base"]))
            tokens, valid = pad_prompts(checked_rows(rows, name))
            found[name] = tokens.to(device), valid.to(device)
        counts = {name: len(tokens) for name, (tokens, _) in found.items()}
        if len(set(counts.values())) > 1:
            raise InputError(f"The models have different numbers of prompts: {counts}.")
        return cls(found)

    @property
    def rows(self) -> int:
        """How many prompts there are."""
        return len(self.prompts["base"][0])

    def select(self, rows: Iterable[int]) -> Batch:
        """Return some rows, without padding that they do not need."""
        chosen = torch.tensor(list(rows))
        found = {}
        for name, (tokens, valid) in self.prompts.items():
            index = chosen.to(tokens.device)
            width = int(valid[index].sum(-1).max())
            found[name] = tokens[index, -width:], valid[index, -width:]
        return dataclasses.replace(self, prompts=found)

    def check_tokens(self, members: Iterable[Member]) -> None:
        """Refuse tokens that a model does not know."""
        for member in members:
            tokens = self.prompts[member.name][0]
            known = len(member.core.get_input_embeddings().weight)
            if int(tokens.max()) >= known:
                row = int(tokens.amax(-1).argmax())
                raise InputError(
                    f"Prompt {row} has the token {int(tokens.max())}, and {member.name} knows only {known}"
                    " tokens: encode each model's prompts with its own tokenizer."
                )

    def check_room(self, members: Iterable[Member], new_tokens: int) -> None:
        """Refuse prompts that leave no room for the new tokens."""
        for member in members:
            lengths = self.prompts[member.name][1].sum(-1)
            longest = int(lengths.max())
            if member.limit is not None and longest + new_tokens > member.limit:
                raise InputError(
                    f"Prompt {int(lengths.argmax())} has {longest} tokens for {member.name}; with"
                    f" {new_tokens} more it does not fit into that model's {member.limit}. Shorten the prompt"
                    " or lower max_new_tokens."
                )


def pad_prompts(
    rows: Sequence[Sequence[int]], side: str = "left"
) -> tuple[Int[Tensor, "b t"], Bool[Tensor, "b t"]]:
    """Return rows of different lengths as one tensor, and where they are not padding."""
    return pad_rows(rows, 0, side), pad_rows([[1] * len(row) for row in rows], 0, side).bool()


def checked_rows(rows: Any, name: str) -> list[list[int]]:
    """Return prompts as lists of token ids."""
    if isinstance(rows, Tensor):
        if rows.ndim != 2 or rows.is_floating_point():
            raise InputError(f"The prompts of {name} must be whole numbers [rows, tokens], got {rows.dtype}.")
        rows = rows.tolist()
    if isinstance(rows, str) or not isinstance(rows, list | tuple) or not rows:
        raise InputError(f"The prompts of {name} must be a list of lists of token ids, got {rows!r:.60}.")
    for place, row in enumerate(rows):
        if not isinstance(row, list | tuple) or not all(
            isinstance(token, int) and token >= 0 for token in row
        ):
            raise InputError(
                f"Prompt {place} of {name} is no list of token ids: {row!r:.60}. Texts are encoded with the"
                " model's tokenizer first."
            )
        if not row:
            raise InputError(
                f"Prompt {place} of {name} is empty: a model needs at least one token, such as its start"
                " token."
            )
    return [list(row) for row in rows]
