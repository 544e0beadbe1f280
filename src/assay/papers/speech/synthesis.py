"""Speech from text with espeak-ng, from the wheel `espeakng-loader`, the same to the sample on every run.

espeak-ng keeps the phase of its voice from one utterance to the next, so what it says depends on what it has
said before. `synthesise` therefore loads a private copy of the library, with a fixed seed, for each list of
texts.
"""

from __future__ import annotations

import ctypes
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from assay.errors import InputError, MissingExtraError
from assay.papers.speech.audio import as_speech

_SYNCHRONOUS, _UTF8 = 2, 1
_RATE, _PITCH = 1, 3
_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


@dataclass(frozen=True)
class Voice:
    """A voice of espeak-ng."""

    name: str = "en-us"
    """Language and variant, such as en-us, en+f3."""
    words_per_minute: int = 150
    """80 to 450."""
    pitch: int = 50
    """0 to 100."""


def synthesise(texts: Sequence[str], voice: Voice) -> list[np.ndarray]:
    """Speak each text with one voice.

    Returns:
        float32 arrays [samples] at 16 kHz, within -1 and 1.

    Raises:
        MissingExtraError: espeakng-loader is not installed.
        InputError: there is no such voice, or a text gives no sound.
    """
    try:
        import espeakng_loader
    except ModuleNotFoundError:
        raise MissingExtraError("espeakng-loader", "speech") from None
    original = Path(espeakng_loader.get_library_path())
    with tempfile.TemporaryDirectory() as folder:
        copied = shutil.copy(original, Path(folder) / original.name)
        library = ctypes.CDLL(str(copied))
        try:
            return _speak(library, espeakng_loader.get_data_path(), texts, voice)
        finally:
            library.espeak_Terminate()
            ctypes.CDLL(None).dlclose(ctypes.c_void_p(library._handle))


def _speak(library: Any, data: str, texts: Sequence[str], voice: Voice) -> list[np.ndarray]:
    rate = library.espeak_Initialize(_SYNCHRONOUS, 0, data.encode(), 0)
    if rate <= 0:
        raise InputError(f"espeak-ng could not be started with the data in {data}.")
    if library.espeak_SetVoiceByName(voice.name.encode()) != 0:
        raise InputError(f"espeak-ng has no voice {voice.name!r}. Give one such as en-us, en+f3 or de.")
    chunks: list[np.ndarray] = []

    def keep(samples: Any, count: int, events: Any) -> int:
        if samples and count > 0:
            chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    callback = _CALLBACK(keep)
    library.espeak_SetSynthCallback(callback)
    library.espeak_ng_SetRandSeed(ctypes.c_long(1))  # breathy voices would take the time of day
    library.espeak_SetParameter(_RATE, voice.words_per_minute, 0)
    library.espeak_SetParameter(_PITCH, voice.pitch, 0)
    spoken = []
    for text in texts:
        chunks.clear()
        encoded = text.encode()
        library.espeak_Synth(encoded, len(encoded) + 1, 0, 1, 0, _UTF8, None, None)
        library.espeak_Synchronize()
        if not text.strip() or not chunks:
            raise InputError(f"espeak-ng says nothing for the text {text[:60]!r}. Leave it out.")
        spoken.append(as_speech(np.concatenate(chunks), rate))
    return spoken
