"""Whisper's English normaliser, with a version: numbers of different versions cannot be compared."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import importlib.resources
import json
import re
from collections.abc import Callable
from typing import Any

from assay.errors import MissingExtraError

_BRACKETED = re.compile(r"[<\[][^>\]]*[>\]]|\([^)]+?\)")


class Normaliser:
    """Brings two renderings of the same words together: case, punctuation, numbers, spelling, contractions.

    transformers' `EnglishTextNormalizer` with the spelling map of the wheel `whisper-normalizer`. It deletes
    fillers and whatever stands in brackets. Apply it to both sides, references and hypotheses.

        Normaliser()("Mr. Smith won't pay $20 million")      # "mister smith will not pay $20000000"

    Raises:
        MissingExtraError: transformers or whisper-normalizer is not installed.
    """

    def __init__(self) -> None:
        self._normalise = _whisper()
        self.version = _version()
        self._kept: dict[str, str] = {}

    def __call__(self, text: str) -> str:
        """Return the normalised text; the same text is normalised once."""
        if text not in self._kept:
            if len(self._kept) >= 100_000:
                self._kept.clear()
            self._kept[text] = self._normalise(text).strip()
        return self._kept[text]


def has_brackets(text: str) -> bool:
    """Return whether the normaliser deletes something in brackets from a text."""
    return _BRACKETED.search(text) is not None


@functools.cache
def _whisper() -> Callable[[str], str]:
    try:
        from transformers.models.whisper.english_normalizer import EnglishTextNormalizer
    except ModuleNotFoundError:
        raise MissingExtraError("transformers", "speech") from None
    normalise: Callable[[str], str] = EnglishTextNormalizer(_spellings())
    return normalise


@functools.cache
def _spellings() -> dict[str, str]:
    """Read the map from British to American spelling without running the package that brings it."""
    try:
        folder = importlib.resources.files("whisper_normalizer")
    except ModuleNotFoundError:
        raise MissingExtraError("whisper-normalizer", "speech") from None
    found: dict[str, str] = _read_spellings(folder)
    return found


def _read_spellings(folder: Any) -> dict[str, str]:
    spellings: dict[str, str] = json.loads((folder / "normalizers" / "english.json").read_text("utf-8"))
    return spellings


@functools.cache
def _version() -> str:
    spellings = hashlib.sha256(json.dumps(_spellings(), sort_keys=True).encode()).hexdigest()[:8]
    return f"whisper-english transformers {importlib.metadata.version('transformers')} spellings {spellings}"
