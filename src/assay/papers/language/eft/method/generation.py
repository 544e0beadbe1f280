"""What goes into generation and what comes out of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from assay.errors import InputError, unknown
from assay.papers.language.eft.method.streams import Member

Prompts: TypeAlias = Any
"""Token ids, one sequence a row (or a tensor), or a mapping of such from names of models. Checked here."""

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


@dataclass(frozen=True)
class Generation:
    """New tokens and what the emulated model thought of them."""

    sequences: Int[Tensor, "b n"]
    """The new tokens, filled up with 0 on the right."""
    mask: Bool[Tensor, "b n"]
    """Where there is a token."""
    logprobs: Float[Tensor, "b n"]
    """log p(token) under the emulated model, before temperature and truncation."""
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
        rows = []
        for row, mask in zip(self.sequences, self.mask, strict=True):
            tokens = row[mask].tolist()
            rows.append(tokens[:-1] if tokens and tokens[-1] in self.ends else tokens)
        return rows

    @classmethod
    def of_rows(
        cls,
        rows: Sequence[Sequence[tuple[int, float, float, float]]],
        stats: SpeculativeStats,
        ends: Collection[int],
    ) -> Generation:
        """Put rows of (token, log-probability, distance, entropy) together."""
        width = max(map(len, rows), default=0)
        values = torch.zeros(4, len(rows), width, dtype=torch.float64)
        for place, row in enumerate(rows):
            if row:
                values[:, place, : len(row)] = torch.tensor(row, dtype=torch.float64).T
        lengths = torch.tensor([len(row) for row in rows])
        mask = torch.arange(width) < lengths[:, None]
        logprobs, tv, entropy = values[1:].float()
        return cls(values[0].long(), mask, logprobs, tv, entropy, stats, frozenset(ends))

    @classmethod
    def joined(cls, parts: Sequence[Generation]) -> Generation:
        """Put batches together."""
        rows = []
        for part in parts:
            columns = (part.sequences, part.logprobs, part.tv, part.entropy)
            for row, mask in enumerate(part.mask):
                rows.append(list(zip(*(column[row][mask].tolist() for column in columns), strict=True)))
        names = dict.fromkeys(name for part in parts for name in part.stats.calls)
        stats = SpeculativeStats(
            accepted=sum(part.stats.accepted for part in parts),
            proposed=sum(part.stats.proposed for part in parts),
            row_forwards=sum(part.stats.row_forwards for part in parts),
            tokens=sum(part.stats.tokens for part in parts),
            calls={name: sum(part.stats.calls.get(name, 0) for part in parts) for name in names},
        )
        return cls.of_rows(rows, stats, parts[0].ends if parts else ())


@dataclass(frozen=True)
class Batch:
    """The prompt of each model, padded on the left."""

    prompts: Mapping[str, tuple[Int[Tensor, "b t"], Bool[Tensor, "b t"]]]

    @classmethod
    def of_prompts(cls, prompts: Prompts, names: Sequence[str], device: torch.device) -> Batch:
        """Pad prompts, checked.

        Raises:
            InputError: there are none, one is empty or no list of token ids, a name is unknown, or the
                models have different numbers of them.
        """
        given = prompts if isinstance(prompts, Mapping) else {"base": prompts}
        for name in given:
            role, _, number = name.partition(".")
            if role not in ROLES or not (number.isdigit() or name == role):
                raise unknown("model with a prompt", name, {*names, *ROLES})
        if "base" not in given:
            raise InputError("The prompts of the base are missing: give them under 'base'.")
        found = {}
        for name in names:
            role = name.partition(".")[0]
            rows = given.get(name, given.get(role, given["base"]))
            tokens, valid = pad_prompts(checked_rows(rows, name), side="left")
            found[name] = tokens.to(device), valid.to(device)
        counts = {name: len(tokens) for name, (tokens, _) in found.items()}
        if len(set(counts.values())) > 1:
            raise InputError(f"The models have different numbers of prompts: {counts}.")
        return cls(found)

    @property
    def rows(self) -> int:
        """How many prompts there are."""
        return len(self.prompts["base"][0])

    def of(self, name: str) -> tuple[Int[Tensor, "b t"], Bool[Tensor, "b t"]]:
        """Return a model's prompts and where they are not padding."""
        return self.prompts[name]

    def select(self, rows: Iterable[int]) -> Batch:
        """Return some rows, without padding that they do not need."""
        chosen = torch.tensor(list(rows))
        found = {}
        for name, (tokens, valid) in self.prompts.items():
            index = chosen.to(tokens.device)
            width = int(valid[index].sum(-1).max())
            found[name] = tokens[index, -width:], valid[index, -width:]
        return dataclasses.replace(self, prompts=found)

    def check_tokens(self, members: Mapping[Any, Member]) -> None:
        """Refuse tokens that a model does not know.

        Raises:
            InputError: says which token of which prompt, and how many the model knows.
        """
        for member in members.values():
            tokens = self.prompts[member.name][0]
            known = len(member.core.get_input_embeddings().weight)
            if int(tokens.max()) >= known:
                row = int(tokens.amax(-1).argmax())
                raise InputError(
                    f"Prompt {row} has the token {int(tokens.max())}, and {member.name} knows only {known}"
                    " tokens: encode each model's prompts with its own tokenizer."
                )

    def check_room(self, members: Mapping[Any, Member], new_tokens: int) -> None:
        """Refuse prompts that leave no room for the new tokens.

        Raises:
            InputError: says which model and which prompt.
        """
        for member in members.values():
            lengths = self.prompts[member.name][1].sum(-1)
            longest = int(lengths.max())
            if member.limit is not None and longest + new_tokens > member.limit:
                raise InputError(
                    f"Prompt {int(lengths.argmax())} has {longest} tokens for {member.name}; with"
                    f" {new_tokens} more it does not fit into that model's {member.limit}. Shorten the prompt"
                    " or lower max_new_tokens."
                )


def pad_prompts(rows: Sequence[Sequence[int]], side: str) -> tuple[Int[Tensor, "b t"], Bool[Tensor, "b t"]]:
    """Return rows of different lengths as one tensor, and where they are not padding."""
    width = max(map(len, rows))
    tokens = torch.zeros(len(rows), width, dtype=torch.long)
    valid = torch.zeros(len(rows), width, dtype=torch.bool)
    for place, row in enumerate(rows):
        start = width - len(row) if side == "left" else 0
        tokens[place, start : start + len(row)] = torch.as_tensor(row, dtype=torch.long)
        valid[place, start : start + len(row)] = True
    return tokens, valid


def checked_rows(rows: Any, name: str) -> list[list[int]]:
    """Return prompts as lists of token ids.

    Raises:
        InputError: they are none.
    """
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
