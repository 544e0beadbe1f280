"""Word errors: how many, of which kind, for one utterance or for a million."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache

import numpy as np

from assay.errors import InputError, MissingExtraError

MARKS = (".", ",", "?", "!", "'")
"""Marks that are scored one by one."""
CAPITAL = "capital"
"""The name under which a capital first letter is scored beside the marks."""


@dataclass(frozen=True)
class ErrorCounts:
    """Edits that turn references into hypotheses, and the words of the references."""

    substitutions: int
    deletions: int
    insertions: int
    words: int

    @property
    def edits(self) -> int:
        """All edits."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def rate(self) -> float:
        """The word error rate (S + D + I) / N, a fraction; it can exceed 1."""
        return self.edits / self.words


@dataclass(frozen=True)
class Breakdown:
    """What the edits are about. The fields but `words` sum to all edits of the alignment."""

    words: int = 0
    case: int = 0
    """Substitutions equal in lower case."""
    punctuation: int = 0
    """Substitutions equal without punctuation, and punctuation that stands alone."""
    case_and_punctuation: int = 0
    """Substitutions equal in lower case without punctuation."""
    lexical: int = 0
    """All other substitutions: another word."""
    deletions: int = 0
    insertions: int = 0

    @property
    def edits(self) -> int:
        """All edits."""
        return sum(count for kind, count in asdict(self).items() if kind != "words")

    def shares(self) -> dict[str, float]:
        """Return each kind as a share of the reference words."""
        return {kind: count / self.words for kind, count in asdict(self).items() if kind != "words"}


# --- counting -----------------------------------------------------------------------------------


def edit_counts(references: Sequence[str], hypotheses: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return the edits and the reference words of each utterance: int64 [n] each.

    Words are what whitespace separates. rapidfuzz finds the distance on their hashes, in C++.

    Raises:
        InputError: there are not as many hypotheses as references.
    """
    try:
        from rapidfuzz.distance import Levenshtein
    except ModuleNotFoundError:
        raise MissingExtraError("rapidfuzz", "speech") from None
    _require_pairs(references, hypotheses)
    split = [text.split() for text in references]
    distances = (
        Levenshtein.distance(words, text.split()) for words, text in zip(split, hypotheses, strict=True)
    )
    edits = np.fromiter(distances, np.int64, len(split))
    return edits, np.fromiter(map(len, split), np.int64, len(split))


def wer(references: str | Sequence[str], hypotheses: str | Sequence[str]) -> float:
    """Return the word error rate, a fraction: the sum of edits over the sum of reference words.

    Raises:
        InputError: there are not as many hypotheses as references, or the references have no word.
    """
    if isinstance(references, str) and isinstance(hypotheses, str):
        references, hypotheses = [references], [hypotheses]
    edits, words = edit_counts(references, hypotheses)
    if not words.sum():
        raise InputError(
            "The references have no words, so there is no word error rate. Remove empty references."
        )
    return float(edits.sum() / words.sum())


def count_errors(references: Sequence[str], hypotheses: Sequence[str]) -> ErrorCounts:
    """Return substitutions, deletions and insertions of all utterances together.

    Raises:
        InputError: there are not as many hypotheses as references.
    """
    edits = Counter(
        "deletions" if right is None else "insertions" if left is None else "substitutions"
        for left, right in _aligned(references, hypotheses)
        if left != right
    )
    return ErrorCounts(edits["substitutions"], edits["deletions"], edits["insertions"], _words(references))


def _words(texts: Sequence[str]) -> int:
    return sum(len(text.split()) for text in texts)


def _require_pairs(references: Sequence[str], hypotheses: Sequence[str]) -> None:
    if len(references) != len(hypotheses):
        raise InputError(
            f"There are {len(hypotheses)} hypotheses for {len(references)} references. Give one for each."
        )


# --- alignment ----------------------------------------------------------------------------------


def align(reference: Sequence[str], hypothesis: Sequence[str]) -> Iterator[tuple[str | None, str | None]]:
    """Yield aligned words, `None` for a missing one: least edits, substitution first, insertion last."""
    start, end = 0, 0
    shorter = min(len(reference), len(hypothesis))
    while start < shorter and reference[start] == hypothesis[start]:
        start += 1
    while end < shorter - start and reference[-1 - end] == hypothesis[-1 - end]:
        end += 1
    yield from zip(reference[:start], hypothesis[:start], strict=True)
    yield from _align_core(reference[start : len(reference) - end], hypothesis[start : len(hypothesis) - end])
    if end:
        yield from zip(reference[-end:], hypothesis[-end:], strict=True)


def _aligned(references: Sequence[str], hypotheses: Sequence[str]) -> Iterator[tuple[str | None, str | None]]:
    """Yield the aligned words of all utterances."""
    _require_pairs(references, hypotheses)
    for reference, hypothesis in zip(references, hypotheses, strict=True):
        yield from align(reference.split(), hypothesis.split())


def _align_core(
    reference: Sequence[str], hypothesis: Sequence[str]
) -> Iterable[tuple[str | None, str | None]]:
    """Align by dynamic programming and trace back from the end."""
    if not reference or not hypothesis:
        return [*((word, None) for word in reference), *((None, word) for word in hypothesis)]
    costs = [list(range(len(hypothesis) + 1))]
    for row, left in enumerate(reference, 1):
        above, current = costs[-1], [row]
        for column, right in enumerate(hypothesis, 1):
            diagonal = above[column - 1] + (left != right)
            current.append(min(diagonal, above[column] + 1, current[-1] + 1))
        costs.append(current)
    pairs: list[tuple[str | None, str | None]] = []
    row, column = len(reference), len(hypothesis)
    while row or column:
        cost = costs[row][column]
        if row and column:
            left, right = reference[row - 1], hypothesis[column - 1]
            if cost == costs[row - 1][column - 1] + (left != right):
                pairs.append((left, right))
                row, column = row - 1, column - 1
                continue
        if row and cost == costs[row - 1][column] + 1:
            row -= 1
            pairs.append((reference[row], None))
        else:
            column -= 1
            pairs.append((None, hypothesis[column]))
    return reversed(pairs)


# --- what the errors are about ------------------------------------------------------------------


@cache
def without_punctuation(word: str) -> str:
    """Return a word without characters of Unicode's category P."""
    return "".join(character for character in word if unicodedata.category(character)[0] != "P")


def plain_words(text: str) -> str:
    """Return a text in lower case without punctuation: what is left when formatting does not count."""
    return " ".join(bare for word in text.lower().split() if (bare := without_punctuation(word)))


def kind_of(reference: str | None, hypothesis: str | None) -> str:
    """Return the field of `Breakdown` in which an edit counts."""
    if reference is None or hypothesis is None:
        alone = reference or hypothesis or ""
        if not without_punctuation(alone):
            return "punctuation"
        return "insertions" if reference is None else "deletions"
    if reference.lower() == hypothesis.lower():
        return "case"
    bare = without_punctuation(reference), without_punctuation(hypothesis)
    if bare[0] == bare[1]:
        return "punctuation"
    return "case_and_punctuation" if bare[0].lower() == bare[1].lower() else "lexical"


def break_down(references: Sequence[str], hypotheses: Sequence[str]) -> Breakdown:
    """Return what all edits of all utterances are about.

    Raises:
        InputError: there are not as many hypotheses as references.
    """
    pairs = _aligned(references, hypotheses)
    return Breakdown(_words(references), **Counter(kind_of(*pair) for pair in pairs if pair[0] != pair[1]))


def mark_scores(references: Sequence[str], hypotheses: Sequence[str]) -> dict[str, float | None]:
    """Return F1 for each mark, and for a capital first letter, on aligned words.

    A mark that the reference word has and the aligned word lacks is missed; the other way round it is
    invented. `None` where neither side has the mark at all.

    Raises:
        InputError: there are not as many hypotheses as references.
    """
    both: Counter[str] = Counter()
    either: Counter[str] = Counter()  # once for each side that has it
    for left, right in _aligned(references, hypotheses):
        there, here = _marks(left or ""), _marks(right or "")
        both.update(there & here)
        either.update([*there, *here])
    return {mark: 2 * both[mark] / either[mark] if either[mark] else None for mark in (*MARKS, CAPITAL)}


@cache
def _marks(word: str) -> frozenset[str]:
    found = {mark for mark in MARKS if mark in word}
    return frozenset(found | ({CAPITAL} if word[:1].isupper() else set()))
