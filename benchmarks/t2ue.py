"""Speed of making noise: `python benchmarks/t2ue.py`.

Noises a second from captions that are embedded already are compared with two rounds of error-minimising noise
for as many pictures, which has to train a network; and a training step with captions embedded once with one
that embeds them at each step, as is common. All take turns in one run on one thread.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from torch import nn

from assay.models import ConvNet, ModelSource, SentenceEncoder
from assay.papers.privacy.noise import ErrorMinimising, error_minimising_noise
from assay.papers.privacy.t2ue.method import (
    CaptionBank,
    MinMinLoss,
    TextConditionedNoiseGenerator,
    TwoTowers,
    make_noise,
)
from timing import interleaved

ROWS, SIZE, BATCH, REPEATS = 128, 32, 64, 2


def making() -> None:
    """Print how many noises a second there are."""
    torch.manual_seed(0)
    embeddings = torch.randn(ROWS, 384)
    small = TextConditionedNoiseGenerator(384, base_channels=64, out_size=SIZE)
    large = TextConditionedNoiseGenerator(384)
    images, labels = torch.rand(ROWS, 3, SIZE, SIZE), torch.arange(ROWS) % 10
    em = ErrorMinimising(rounds=2)

    def error_minimising() -> object:
        generator = torch.Generator().manual_seed(0)
        return error_minimising_noise(lambda: ConvNet(3, 10, 8), images, labels, 8 / 255, generator, em)

    times = interleaved(
        {
            "T2UE, 32 pixels": lambda: make_noise(small, embeddings, 0),
            "error-minimising, 32 pixels": error_minimising,
            "T2UE as in the paper, 224 pixels": lambda: make_noise(large, embeddings[:4], 0, batch_size=4),
        },
        REPEATS,
    )
    for name, seconds in times.items():
        rows = 4 if "224" in name else ROWS
        print(f"  {name:<34} {rows / seconds:8.1f} noises a second")
    ratio = times["error-minimising, 32 pixels"] / times["T2UE, 32 pixels"]
    print(f"  error-minimising / T2UE = {ratio:.1f} times the time, the generator's training not counted")


def training() -> None:
    """Print how long a gradient step takes with captions embedded once, and at each step."""
    torch.manual_seed(0)
    encoder = SentenceEncoder(ModelSource("bundled:minilm"))
    captions = [[f"picture number {row} of a thing on a table in a room"] for row in range(ROWS)]
    image = nn.Sequential(nn.Conv2d(3, 16, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten())
    surrogate = TwoTowers(nn.Sequential(image, nn.Linear(256, 32)), nn.Linear(384, 32), encoder.encode)
    generator = TextConditionedNoiseGenerator(384, base_channels=64, out_size=SIZE)
    pixels = torch.rand(BATCH, 3, SIZE, SIZE)
    loss = MinMinLoss(surrogate, CaptionBank(captions, surrogate.encode_text, encoder.encode))

    def step(rows: torch.Tensor, criterion: MinMinLoss) -> None:
        generator.zero_grad()
        criterion(generator, (pixels, rows)).backward()

    def embedding_again() -> None:
        bank = CaptionBank(captions[:BATCH], surrogate.encode_text, encoder.encode)
        step(torch.arange(BATCH), MinMinLoss(surrogate, bank))

    times = interleaved(
        {"once": lambda: step(torch.arange(BATCH), loss), "at each step": embedding_again}, REPEATS
    )
    ratio = times["at each step"] / times["once"]
    print(f"  a step of {BATCH} pairs: {times['once'] * 1e3:.0f} ms with captions embedded once,")
    print(f"  {times['at each step'] * 1e3:.0f} ms embedding them at each step: {ratio:.1f} times the time")


if __name__ == "__main__":
    torch.set_num_threads(1)
    print("making noise")
    making()
    print("training the generator")
    training()
