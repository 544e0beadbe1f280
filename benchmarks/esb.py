"""Speed of scoring and training: `python benchmarks/esb.py`.

Word error rates are compared with jiwer's on the same utterances, the paired bootstrap with one that counts
each draw's errors again, the normaliser's second pass with its first, and a training step of the small
recogniser's two GRUs with torch's own. All take turns on one thread.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import jiwer
import numpy as np
import torch
from torch import Tensor, nn

from assay.papers.speech.esb.method import Normaliser, PairedCounts, edit_counts, paired_bootstrap, wer
from assay.papers.speech.recurrence import both_ways
from timing import interleaved

UTTERANCES = 5000
WORDS = 2000
REPEATS = 5


def corpus(seed: int = 0) -> tuple[list[str], list[str]]:
    """Return references of 5 to 40 words, and hypotheses with an error in about every tenth word."""
    random = np.random.default_rng(seed)
    vocabulary = np.array([f"word{number}" for number in range(WORDS)])
    references, hypotheses = [], []
    for length in random.integers(5, 41, UTTERANCES):
        words = random.choice(vocabulary, length)
        heard = np.where(random.random(length) < 0.06, random.choice(vocabulary, length), words)
        references.append(" ".join(words))
        hypotheses.append(" ".join(heard[random.random(length) > 0.04]))
    return references, hypotheses


def rates() -> None:
    """Print how long the word error rate of a corpus takes."""
    references, hypotheses = corpus()
    ours, theirs = wer(references, hypotheses), jiwer.wer(references, hypotheses)
    assert ours == theirs, (ours, theirs)
    times = interleaved(
        {
            "wer": lambda: wer(references, hypotheses),
            "jiwer.wer": lambda: jiwer.wer(references, hypotheses),
        },
        REPEATS,
    )
    print(f"word error rate of {UTTERANCES:,} utterances, {ours:.6f} in both:")
    for name, seconds in times.items():
        print(f"  {name:<28} {seconds * 1e3:7.1f} ms   {seconds / times['wer']:5.2f} times ours")


def bootstrap() -> None:
    """Print how long the paired bootstrap of a corpus takes."""
    references, hypotheses = corpus()
    second = corpus(1)[1]
    counts = [edit_counts(references, system)[0] for system in (hypotheses, second)]
    words = edit_counts(references, hypotheses)[1]
    draws = 2000

    def again() -> None:
        for _ in range(2):
            edit_counts(references, hypotheses)
            edit_counts(references, second)

    times = interleaved(
        {
            "pairs": lambda: paired_bootstrap({"all": PairedCounts(*counts, words)}, draws),
            "aligned again": again,
        },
        3,
    )
    repeated = times["aligned again"] / 2 * draws
    print(
        f"paired bootstrap with {draws:,} draws of {UTTERANCES:,} utterances: {times['pairs'] * 1e3:.0f} ms"
    )
    print(f"  aligned again: {repeated:.0f} s, {repeated / times['pairs']:.0f} times (two were timed)")


def normaliser() -> None:
    """Print what keeping normalised texts saves."""
    references = corpus()[0][:400]
    normalise = Normaliser()
    kept = interleaved({"first": lambda: [Normaliser()(text) for text in references[:50]]}, 1)["first"] / 50
    for text in references:
        normalise(text)
    again = interleaved({"again": lambda: [normalise(text) for text in references]}, REPEATS)["again"] / 400
    print(f"normaliser: {kept * 1e6:.0f} microseconds a text, {again * 1e6:.2f} when it has seen the text")


def recurrence() -> None:
    """Print how long states and gradients of two GRUs take, one in each direction."""
    torch.manual_seed(0)
    batch, time, width = 4, 55, 144  # as in the check
    onward, back = (nn.GRU(width, width, batch_first=True) for _ in range(2))
    frames, lengths = torch.randn(batch, time, width), torch.full((batch,), time)

    def plain() -> Tensor:
        return torch.cat([onward(frames)[0], back(frames.flip(1))[0].flip(1)], dim=-1)

    def together() -> Tensor:
        return both_ways(onward, back, frames, lengths)

    torch.testing.assert_close(together(), plain())
    times = interleaved(
        {"together": lambda: together().sum().backward(), "torch's two": lambda: plain().sum().backward()}, 20
    )
    print(f"two GRUs on {batch} rows of {time} steps, forwards and backwards:")
    for name, seconds in times.items():
        print(f"  {name:<28} {seconds * 1e3:7.1f} ms   {seconds / times['together']:5.2f} times ours")


if __name__ == "__main__":
    rates()
    bootstrap()
    normaliser()
    recurrence()
