"""English normalisers with their versions: numbers of different versions cannot be compared."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import importlib.util
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from assay import files
from assay.errors import MissingExtraError

Kind = Literal["whisper", "leaderboard"]
_ELLIPSIS = re.compile(r"\s*\.{3,}\s*")
_SPELLED = re.compile(r"\b[a-z](\.[a-z]){1,3}\b")
_BRACKETED = re.compile(r"[<\[][^>\]]*[>\]]|\([^)]+?\)")


class Normaliser:
    """Brings two renderings of the same words together: case, punctuation, numbers, spelling, contractions.

    transformers' `EnglishTextNormalizer` with the spelling map of the wheel `whisper-normalizer`. It deletes
    fillers and whatever stands in brackets. Apply it to both sides, references and hypotheses.

        Normaliser()("Mr. Smith won't pay $20 million")      # "mister smith will not pay $20000000"

    Args:
        kind: `whisper`, or `leaderboard`, which first joins spelled letters (A.B.C. to abc) and drops
            ellipses, as the Open ASR Leaderboard did in 2025. Its later versions join more.

    Raises:
        MissingExtraError: transformers or whisper-normalizer is not installed.
    """

    def __init__(self, kind: Kind = "whisper") -> None:
        self.kind = kind
        self.version = _version() if kind == "whisper" else f"open-asr-leaderboard 2025, {_version()}"
        self._normalise = _whisper()
        self._kept: dict[str, str] = {}

    def __call__(self, text: str) -> str:
        """Return the normalised text; the same text is normalised once."""
        if text not in self._kept:
            if len(self._kept) >= 100_000:
                self._kept.clear()
            joined = text
            if self.kind == "leaderboard":
                spelled = _ELLIPSIS.sub(" ", text.lower())
                joined = _SPELLED.sub(lambda match: match[0].replace(".", ""), spelled)
            self._kept[text] = self._normalise(joined).strip()
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
    spec = importlib.util.find_spec("whisper_normalizer")
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError("whisper-normalizer", "speech")
    found: dict[str, str] = files.read_json(
        Path(spec.submodule_search_locations[0]) / "normalizers" / "english.json"
    )
    return found


@functools.cache
def _version() -> str:
    spellings = hashlib.sha256(json.dumps(_spellings(), sort_keys=True).encode()).hexdigest()[:8]
    return f"whisper-english transformers {importlib.metadata.version('transformers')} spellings {spellings}"
