"""Filters that block a prompt or a completion: what the paper asks for in place of unlearning alone."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

Filter = Callable[[str, str], bool]
"""Says of a prompt and a completion whether to block the answer."""


class StringFilter:
    """Blocks what holds one of the texts, or shares a run of words with one of them.

    Args:
        texts: what must not be said: the forget facts.
        words: the length of a shared run that blocks; None: the whole text must be there.
        on: what is read, `input` (the prompt) or `output` (the completion).
    """

    def __init__(self, texts: Sequence[str], words: int | None = None, on: str = "input") -> None:
        if not texts or (words is not None and words < 1) or on not in ("input", "output"):
            raise ValueError(
                f"need texts, words of at least 1 or None, and on input or output; got {words}, {on}"
            )
        self.on, self.words = on, words
        split = [_words(text) for text in texts]
        self.whole = [f" {' '.join(run)} " for run in split if words is None or len(run) < words]
        self.runs = set() if words is None else {run for text in split for run in _runs(text, words)}

    def __call__(self, prompt: str, completion: str) -> bool:
        """Return whether the text that is read holds a forbidden one."""
        words = _words(prompt if self.on == "input" else completion)
        text = f" {' '.join(words)} "
        if any(whole in text for whole in self.whole):
            return True
        return self.words is not None and not self.runs.isdisjoint(_runs(words, self.words))


class SimilarityFilter:
    """Blocks what has a line whose embedding is close to that of a forbidden text: max cosine > threshold.

    Args:
        encode: texts to unit vectors, such as `SentenceEncoder.encode`.
        texts: what must not be said.
        threshold: the cosine above which a line is blocked; above 1 blocks nothing, below -1 everything.
        on: what is read, `input` (the prompt) or `output` (the completion).
    """

    def __init__(
        self,
        encode: Callable[[Sequence[str]], Float[Tensor, "n d"]],
        texts: Sequence[str],
        threshold: float = 0.8,
        on: str = "input",
    ) -> None:
        if not texts or on not in ("input", "output"):
            raise ValueError(f"need texts, and on input or output; got {len(texts)} texts and {on!r}")
        self.encode, self.threshold, self.on = encode, threshold, on
        self.forbidden = encode(list(texts))
        self._seen: dict[str, float] = {}

    def __call__(self, prompt: str, completion: str) -> bool:
        """Return whether a line of the text that is read is too similar."""
        read = prompt if self.on == "input" else completion
        lines = [line for line in read.splitlines() if line.strip()] or [read]
        new = [line for line in dict.fromkeys(lines) if line not in self._seen]
        if new:
            closest = (self.encode(new) @ self.forbidden.T).max(1).values
            self._seen.update(zip(new, torch.as_tensor(closest).tolist(), strict=True))
        return max(self._seen[line] for line in lines) > self.threshold


def _words(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"\w+", text.casefold()))


def _runs(words: Sequence[str], length: int) -> set[tuple[str, ...]]:
    return {tuple(words[start : start + length]) for start in range(len(words) - length + 1)}
