"""A small recogniser that is trained here: log-mel features, strided convolutions, a GRU both ways, CTC."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import ctc_loss, gelu
from torch.nn.utils.rnn import pad_sequence

from assay.artefact import Artefact
from assay.papers.speech.audio import RATE, as_speech
from assay.papers.speech.options import Training
from assay.papers.speech.recurrence import both_ways
from assay.training import Compute, fit

HOP = 128
"""Samples between two frames: 8 ms."""
WINDOW = 400
"""Samples of a frame: 25 ms."""
RAREST = 1e-4
"""Share of the training characters below which a character is left out of the vocabulary."""


def log_mel(audio: Sequence[np.ndarray], mels: int = 40) -> list[Float[Tensor, "frames mels"]]:
    """Return log-mel energies of each sound, each brought to mean 0 and deviation 1."""
    filters = _filters(mels)
    window = torch.hann_window(WINDOW)
    features = []
    for sound in audio:
        padded = torch.from_numpy(np.pad(sound, (0, max(0, 4 * HOP + WINDOW - len(sound)))))
        spectrum = torch.stft(padded, 512, HOP, WINDOW, window, return_complex=True).abs() ** 2
        energies = (filters @ spectrum).clamp_min(1e-8).log().T
        features.append((energies - energies.mean()) / energies.std().clamp_min(1e-4))
    return features


def _filters(mels: int) -> Tensor:
    from transformers.audio_utils import mel_filter_bank

    bank = mel_filter_bank(257, mels, 20.0, 8000.0, 16_000, norm="slaney", mel_scale="slaney")
    return torch.from_numpy(bank.T.copy()).float()


def characters(texts: Sequence[str]) -> str:
    """Return the characters of the training transcripts, sorted, without those rarer than 0.01 %."""
    counts = Counter("".join(texts))
    least = RAREST * sum(counts.values())
    return "".join(sorted(character for character, count in counts.items() if count >= least))


class SmallCTC(nn.Module):
    """Log-mel frames to log-probabilities of a blank (0) and characters, a quarter as many frames."""

    def __init__(self, mels: int, width: int, symbols: int) -> None:
        super().__init__()
        self.first = nn.Conv1d(mels, width, 5, stride=2, padding=2)
        self.second = nn.Conv1d(width, width, 5, stride=2, padding=2)
        self.norm = nn.LayerNorm(width)
        self.onward = nn.GRU(width, width, batch_first=True)
        self.back = nn.GRU(width, width, batch_first=True)
        self.head = nn.Linear(2 * width, symbols + 1)

    def forward(
        self, frames: Float[Tensor, "batch time mels"], lengths: Int[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch steps symbols"], Int[Tensor, " batch"]]:
        """Return log-probabilities and how many steps of each row count."""
        halved = gelu(self.first(frames.mT))
        inside = torch.arange(halved.shape[2], device=frames.device) < ((lengths + 1) // 2)[:, None].to(
            frames.device
        )
        # Padding stays 0, as beyond the end of a lone utterance: the batch must not change a text.
        hidden = gelu(self.second(halved * inside[:, None])).mT
        steps = (lengths + 3) // 4
        hidden = self.norm(hidden)
        states = both_ways(self.onward, self.back, hidden, steps)
        return self.head(states).log_softmax(-1), steps


@dataclass(frozen=True)
class SmallRecogniser(Artefact):
    """A recogniser of sounds, float32 at 16 kHz: greedy decoding of `SmallCTC`."""

    weights: dict[str, Tensor]
    """Of the network, whose sizes they give."""
    characters: str
    """What the network's outputs after the blank stand for, in their order."""

    def __post_init__(self) -> None:
        self.network.eval()

    @cached_property
    def network(self) -> SmallCTC:
        """The network with its weights."""
        width, mels, _ = self.weights["first.weight"].shape
        network = SmallCTC(mels, width, len(self.characters))
        network.load_state_dict(self.weights)
        return network

    @torch.inference_mode()
    def __call__(self, audio: list[np.ndarray]) -> list[str]:
        """Return the transcripts of sounds."""
        frames = log_mel(audio, self.network.first.in_channels)
        lengths = torch.tensor([len(row) for row in frames])
        device = self.network.head.weight.device
        scores, steps = self.network(pad_sequence(frames, batch_first=True).to(device), lengths)
        return [self._text(row[:count]) for row, count in zip(scores.argmax(-1).cpu(), steps, strict=True)]

    def _text(self, symbols: Tensor) -> str:
        merged = torch.unique_consecutive(symbols).tolist()
        return "".join(self.characters[symbol - 1] for symbol in merged if symbol).strip()


@dataclass(frozen=True)
class Speech:
    """Sounds and their transcripts."""

    audio: list[np.ndarray]
    """int16 or float32 [samples] at 16 kHz."""
    texts: list[str]


def train(
    speech: Speech, training: Training, steps: int, compute: Compute, start: SmallRecogniser | None = None
) -> SmallRecogniser:
    """Train a recogniser on sounds and their transcripts as they are; the vocabulary is their characters.

    Args:
        speech: what it learns from.
        training: sizes and rates.
        steps: gradient steps.
        compute: where it trains.
        start: the recogniser to start from, with its characters; by default a new one.
    """
    symbols = characters(speech.texts) if start is None else start.characters
    numbers = {symbol: number for number, symbol in enumerate(symbols, 1)}
    frames = log_mel([as_speech(sound, RATE) for sound in speech.audio])
    targets = [
        torch.tensor([numbers[symbol] for symbol in text if symbol in numbers]) for text in speech.texts
    ]
    network = SmallCTC(frames[0].shape[1], training.width, len(symbols))
    if start is not None:
        network.load_state_dict(start.weights)
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=training.learning_rate, weight_decay=1e-3, fused=True
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, training.learning_rate, total_steps=max(steps, 20), pct_start=0.1
    )
    fit(
        network,
        Utterances(frames, targets, training.batch_size, torch.initial_seed()),
        loss,
        optimizer=optimizer,
        scheduler=schedule,
        steps=steps,
        clip=5.0,
        compute=compute,
    )
    weights = {name: value.cpu().contiguous() for name, value in network.state_dict().items()}
    return SmallRecogniser(weights, symbols)


@dataclass(frozen=True)
class Utterances:
    """Padded batches of utterances in a new random order in each pass."""

    frames: list[Tensor]
    targets: list[Tensor]
    batch_size: int
    seed: int

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
        generator = torch.Generator().manual_seed(self.seed)
        while True:
            order = torch.randperm(len(self.frames), generator=generator).tolist()
            for start in range(0, len(order), self.batch_size):
                yield self._batch(order[start : start + self.batch_size])

    def _batch(self, rows: list[int]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        frames, targets = [self.frames[row] for row in rows], [self.targets[row] for row in rows]
        lengths = torch.tensor([len(row) for row in frames])
        counts = torch.tensor([len(row) for row in targets])
        return pad_sequence(frames, batch_first=True), lengths, torch.cat(targets), counts


def loss(model: nn.Module, batch: tuple[Tensor, Tensor, Tensor, Tensor]) -> Tensor:
    """Return the CTC loss of a batch; utterances too short for their text count 0."""
    frames, lengths, targets, counts = batch
    scores, steps = model(frames, lengths)
    return ctc_loss(scores.transpose(0, 1), targets, steps, counts, zero_infinity=True)
