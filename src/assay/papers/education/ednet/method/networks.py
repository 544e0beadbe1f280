"""Networks that trace knowledge: DKT, DKVMN, SAKT, SAINT. They predict an answer from the steps before it.

Every one is called with a `Batch` and gives the chance of a right answer at each step [batch, steps];
`logits` gives it before the sigmoid. A question stands for itself and for the mean of its skills, so that a
step is one question whatever its skills, and no step shows the answer of another of the same question.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

Tags = Int[Tensor, "contents most"]
PerStep = Float[Tensor, "batch steps"]
Counts = Int[Tensor, "batch steps"]
Vectors = Float[Tensor, "batch steps width"]


class Batch(NamedTuple):
    """Steps of several learners, padded on the right: all [batch, steps].

    `item`: int64, contents. `correct`: int64, 1 or 0, 0 or -1 where nothing was answered. `kind`: int64, 0 an
    answer, above that something read or watched. `trained`: answers that the loss counts. `scored`: answers
    that metrics count. `elapsed`: seconds on the question. `lag`: minutes since the step before. `row`: where
    the step stands among all.
    """

    item: Tensor
    correct: Tensor
    kind: Tensor
    trained: Tensor
    scored: Tensor
    elapsed: Tensor
    lag: Tensor
    row: Tensor


@dataclass(frozen=True)
class NetworkSize:
    """What all networks have in common; each takes what it needs.

    `width`: numbers of an embedding and a state. `layers`: attention blocks (of the encoder and of the
    decoder in SAINT). `heads`: of attention. `slots`: of DKVMN's memory. `dropout`: a share. `seq_len`: the
    longest window, for learned positions. `times`: SAINT also sees elapsed and lag times (SAINT+). `blind`:
    the answers before a step are hidden.
    """

    width: int = 64
    layers: int = 1
    heads: int = 4
    slots: int = 20
    dropout: float = 0.2
    seq_len: int = 100
    times: bool = False
    blind: bool = False


class ContentEmbedding(nn.Module):
    """A content's own vector plus the mean of its skills' vectors.

    Args:
        tags: int64 [contents, most tags], padded with -1.
        skills: how many skills there are.
        width: numbers of a vector.
        variants: separate sets of vectors: for wrong, right and read, say.
    """

    tags: Tensor
    share: Tensor
    """Of each skill in the mean, 0 for padding [contents, most tags]."""

    def __init__(self, tags: Tags, skills: int, width: int, variants: int = 1) -> None:
        super().__init__()
        self.contents, self.skills = len(tags), max(skills, 1)
        there = tags >= 0
        self.register_buffer("tags", tags.clamp(min=0), persistent=False)
        self.register_buffer("share", there / there.sum(1, keepdim=True).clamp(min=1), persistent=False)
        self.own = nn.Embedding(self.contents * variants, width)
        self.skill = nn.Embedding(self.skills * variants, width)
        for table in (self.own, self.skill):
            nn.init.normal_(table.weight, std=width**-0.5 if width > 1 else 0.01)

    def forward(self, item: Counts, variant: Counts | int = 0) -> Vectors:
        """Return a vector for each content."""
        shift = variant if isinstance(variant, int) else variant.unsqueeze(-1)
        tags, share = self.tags[item] + self.skills * shift, self.share[item]
        mean = nn.functional.embedding_bag(  # half the time of embedding each skill and adding up
            tags.flatten(0, 1), self.skill.weight, mode="sum", per_sample_weights=share.flatten(0, 1)
        )
        found: Tensor = self.own(item + self.contents * variant) + mean.view(*item.shape, -1)
        return found


class Network(nn.Module):
    """What the networks share: embeddings of questions and of what happened to them."""

    def __init__(self, tags: Tags, skills: int, size: NetworkSize | None = None) -> None:
        super().__init__()
        self.size = size or NetworkSize()
        self.question = ContentEmbedding(tags, skills, self.size.width)
        self.event = ContentEmbedding(tags, skills, self.size.width, variants=3)
        self.easiness = ContentEmbedding(tags, skills, 1)
        self.drop = nn.Dropout(self.size.dropout)

    def forward(self, batch: Batch) -> PerStep:
        """Return the chance of a right answer at each step, given the steps before it."""
        return torch.sigmoid(self.logits(batch))

    def logits(self, batch: Batch) -> PerStep:
        """Return the logit of that chance."""
        raise NotImplementedError

    def events(self, batch: Batch) -> Vectors:
        """Embed what happened: a wrong answer, a right one, or something read or watched."""
        right = torch.zeros_like(batch.correct) if self.size.blind else batch.correct.clamp(min=0)
        found: Tensor = self.event(batch.item, torch.where(batch.kind > 0, 2, right))
        return found

    def easiness_of(self, batch: Batch) -> PerStep:
        """Return the part of the logit that is the question's alone."""
        found: Tensor = self.easiness(batch.item).squeeze(-1)
        return found


class DKT(Network):
    """Deep knowledge tracing (Piech et al. 2015): an LSTM over events, and the logit of the next question.

    The output row of the next question is a vector of its own and its skills', so that only the asked row is
    computed: logit = h . (o_q + mean o_k) + b_q + mean b_k.
    """

    def __init__(self, tags: Tags, skills: int, size: NetworkSize | None = None) -> None:
        super().__init__(tags, skills, size)
        self.lstm = nn.LSTM(self.size.width, self.size.width, batch_first=True)

    def logits(self, batch: Batch, known: Counts | None = None) -> PerStep:
        """Return the logits.

        Args:
            batch: the steps.
            known: how many steps each prediction may know, at most those before it; all those unless given.
        """
        states, _ = self.lstm(self.events(batch))
        states = torch.cat([torch.zeros_like(states[:, :1]), states], dim=1)
        if known is None:
            before = states[:, :-1]
        else:
            before = states.gather(1, known.unsqueeze(-1).expand(-1, -1, states.shape[-1]))
        found: Tensor = (self.drop(before) * self.question(batch.item)).sum(-1)
        return found + self.easiness_of(batch)


class DKVMN(Network):
    """Dynamic key-value memory (Zhang et al. 2017): attention over concepts reads and writes a value memory.

    w = softmax(k Mk^T), r = sum w Mv, f = tanh(W [r; k]), logit = v . f; then with erase e and add a of the
    event Mv <- Mv (1 - w e) + w a. The read uses the memory before the write.
    """

    def __init__(self, tags: Tags, skills: int, size: NetworkSize | None = None) -> None:
        super().__init__(tags, skills, size)
        width, slots = self.size.width, self.size.slots
        self.keys, self.values = (nn.Parameter(torch.empty(slots, width)) for _ in range(2))
        for memory in (self.keys, self.values):
            nn.init.kaiming_normal_(memory)
        self.erase, self.add = nn.Linear(width, width), nn.Linear(width, width)
        self.join, self.out = nn.Linear(2 * width, width), nn.Linear(width, 1)

    def logits(self, batch: Batch) -> PerStep:
        key, event = self.question(batch.item), self.events(batch)
        weight = torch.softmax(key @ self.keys.T, dim=-1)
        reads = self.reads(weight, torch.sigmoid(self.erase(event)), torch.tanh(self.add(event)))
        joined = torch.tanh(self.join(torch.cat([reads, key], dim=-1)))
        logits: Tensor = self.out(self.drop(joined)).squeeze(-1)
        return logits + self.easiness_of(batch)

    def reads(self, weight: Float[Tensor, "batch steps slots"], erase: Vectors, add: Vectors) -> Vectors:
        """Return what is read at each step, before it is written."""
        memory = self.values.expand(len(weight), -1, -1)
        found = []
        for step in range(weight.shape[1]):
            slot = weight[:, step].unsqueeze(-1)
            found.append((slot * memory).sum(1))
            memory = memory * (1 - slot * erase[:, step].unsqueeze(1)) + slot * add[:, step].unsqueeze(1)
        return torch.stack(found, dim=1)


class SAKT(Network):
    """Self-attentive tracing (Pandey and Karypis 2019): the next question asks the events before it.

    Queries are questions, keys and values are events with learned positions, moved one step on behind a start
    event: so step t sees the events 0 to t - 1. In further blocks the questions ask the block before.
    """

    def __init__(self, tags: Tags, skills: int, size: NetworkSize | None = None) -> None:
        super().__init__(tags, skills, size)
        width = self.size.width
        self.start = nn.Parameter(torch.zeros(1, 1, width))
        self.position = nn.Embedding(self.size.seq_len, width)
        self.attend = nn.ModuleList(
            nn.MultiheadAttention(width, self.size.heads, self.size.dropout, batch_first=True)
            for _ in range(self.size.layers)
        )
        self.norm = nn.ModuleList(nn.LayerNorm(width) for _ in range(2 * self.size.layers))
        self.feed = nn.ModuleList(
            nn.Sequential(nn.Linear(width, width), nn.ReLU(), self.drop, nn.Linear(width, width))
            for _ in range(self.size.layers)
        )
        self.out = nn.Linear(width, 1)

    def logits(self, batch: Batch) -> PerStep:
        query, found = self.question(batch.item), self.shifted(self.events(batch))
        mask = causal(query.shape[1], query.device)
        for number, attend in enumerate(self.attend):
            seen, _ = attend(query, found, found, attn_mask=mask, need_weights=False)
            asked = self.norm[2 * number](query + self.drop(seen))
            found = self.norm[2 * number + 1](asked + self.drop(self.feed[number](asked)))
        logits: Tensor = self.out(found).squeeze(-1)
        return logits + self.easiness_of(batch)

    def shifted(self, events: Vectors) -> Vectors:
        """Move events one step on, and add positions."""
        moved = torch.cat([self.start.expand(len(events), -1, -1), events[:, :-1]], dim=1)
        positions: Tensor = self.position(torch.arange(events.shape[1], device=events.device))
        return moved + positions


class SAINT(Network):
    """SAINT (Choi et al. 2020): an encoder over questions, a decoder over the answers before, both causal.

    With `times`, SAINT+ (Shin et al. 2021): the decoder also sees the seconds on the question before (at most
    300) and the minutes since it (at most 1440).
    """

    def __init__(self, tags: Tags, skills: int, size: NetworkSize | None = None) -> None:
        super().__init__(tags, skills, size)
        width = self.size.width
        self.answer = nn.Embedding(4, width)
        self.position = nn.Embedding(self.size.seq_len, width)
        self.moments = nn.Linear(2, width) if self.size.times else None
        # Normalised before each sublayer, as the paper has it; there the decoder also normalises what it
        # takes from the encoder, which is the encoder's last norm here.
        shape = (width, self.size.heads, 4 * width, self.size.dropout)
        encoding = nn.TransformerEncoderLayer(*shape, batch_first=True, norm_first=True)
        decoding = nn.TransformerDecoderLayer(*shape, batch_first=True, norm_first=True)
        norm = nn.LayerNorm(width)
        self.encoder = nn.TransformerEncoder(encoding, self.size.layers, norm, enable_nested_tensor=False)
        self.decoder = nn.TransformerDecoder(decoding, self.size.layers)
        self.out = nn.Linear(width, 1)

    def logits(self, batch: Batch) -> PerStep:
        steps = batch.item.shape[1]
        mask = causal(steps, batch.item.device)
        positions = self.position(torch.arange(steps, device=batch.item.device))
        memory = self.encoder(self.question(batch.item) + positions, mask=mask)
        decoded = self.decoder(self.responses(batch) + positions, memory, tgt_mask=mask, memory_mask=mask)
        logits: Tensor = self.out(decoded).squeeze(-1)
        return logits + self.easiness_of(batch)

    def responses(self, batch: Batch) -> Vectors:
        """Embed the answer before each step: wrong, right, read or watched, and a start."""
        right = torch.zeros_like(batch.correct) if self.size.blind else batch.correct.clamp(min=0)
        given = torch.where(batch.kind > 0, 2, right)
        before = torch.cat([torch.full_like(given[:, :1], 3), given[:, :-1]], dim=1)
        found: Tensor = self.answer(before)
        if self.moments is not None:
            elapsed = torch.cat([torch.zeros_like(batch.elapsed[:, :1]), batch.elapsed[:, :-1]], dim=1)
            moments = torch.stack([elapsed.clamp(0, 300) / 300, torch.log1p(batch.lag) / 7.3], dim=-1)
            found = found + self.moments(moments)
        return found


def causal(steps: int, device: torch.device) -> Bool[Tensor, "steps steps"]:
    """Return the mask that hides what comes later."""
    return torch.ones(steps, steps, dtype=torch.bool, device=device).triu(1)


NETWORKS: dict[str, type[Network]] = {"dkt": DKT, "dkvmn": DKVMN, "sakt": SAKT, "saint": SAINT}
