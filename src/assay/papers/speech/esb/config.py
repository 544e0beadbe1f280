"""The options of ESB."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from assay.bounds import NonNegativeInt, OpenShare, PositiveFloat, PositiveInt, ShareBelowOne
from assay.data import Table
from assay.models import OwnModel
from assay.papers.speech.options import Training


@dataclass(frozen=True)
class Spoken:
    """Speech that is made of texts with espeak-ng, where the data has no sound."""

    vocabulary: PositiveInt = 80
    """Frequent words of the texts of which phrases consist."""
    least_words: PositiveInt = 4
    """Words of the shortest phrase."""
    most_words: PositiveInt = 7
    """Words of the longest phrase."""
    training_utterances: PositiveInt = 240
    """Utterances of each set to train on."""
    test_utterances: PositiveInt = 60
    """Utterances of each set that measure."""


@dataclass(frozen=True)
class Finetuning:
    """How a pretrained encoder is fine-tuned with a CTC head, in place of the small recogniser."""

    encoder: OwnModel = OwnModel()
    """folder:DIR or hub:NAME of a wav2vec2, HuBERT or the like. By default the small one is trained."""
    steps: PositiveInt = 50_000
    """Gradient steps of the one system; those tuned to one set share as many between them."""
    batch_size: PositiveInt = 8
    """Utterances a gradient step."""
    learning_rate: PositiveFloat = 3e-4
    """Highest of AdamW's, which falls linearly after the warm-up."""
    warmup: NonNegativeInt = 5_000
    """Gradient steps in which the learning rate rises."""
    dropout: ShareBelowOne = 0.2
    """Of activations, attention and hidden states."""
    longest: PositiveFloat = 20.0
    """Seconds; longer utterances are left out of the training."""


@dataclass(frozen=True)
class Domains:
    """Options of `domains`."""

    data: Table = Table("bundled:docstrings")
    """Recorded speech (audio, text, group names the set), or texts that espeak-ng speaks as four sets."""
    sets: tuple[str, ...] = ()
    """Test sets in place of data, each NAME=PLACE: a manifest, a corpus folder, parquet:FILE, hub:NAME."""
    training_sets: tuple[str, ...] = ()
    """Training sets for the sets, of the same names."""
    spoken: Spoken = Spoken()
    """Speech that is made of texts."""
    test: OpenShare = 0.25
    """Share of recorded utterances that measure, unless there is a test split."""
    small_ctc: Training = Training()
    """The small recogniser."""
    fine_tuned: Finetuning = Finetuning()
    """A pretrained encoder in its place."""
    frozen: str = "pocketsphinx"
    """A recogniser that is used as it is: pocketsphinx, folder:DIR or hub:NAME, or module:attribute."""
    frozen_utterances: PositiveInt | None = None
    """Utterances of each set that the frozen recogniser transcribes. All by default."""
    batch_seconds: PositiveFloat = 60.0
    """Seconds of sound in a batch."""
    recogniser: Literal["one", "tuned", "adapted", "exchanged", "frozen"] = "one"
    """One for all sets, one tuned to each set, one adapted to each from one for all, those tuned on the next
    set's speech, or the frozen one."""


@dataclass(frozen=True)
class Transcribe:
    """Options of `transcribe`."""

    system: str = "pocketsphinx"
    """The recogniser: pocketsphinx, folder:DIR or hub:NAME of a transformers model, or module:attribute."""
    data: Table = Table("bundled:docstrings")
    """Recorded speech (audio, text, group names the set), or texts that espeak-ng speaks as four sets."""
    sets: tuple[str, ...] = ()
    """Sets in place of data: NAME=PLACE (a manifest, a corpus folder, parquet:FILE, hub:NAME), a known set as
    hub:librispeech, or one of the spoken clean, punctuated, spontaneous, noisy."""
    spoken: Spoken = Spoken()
    """Speech that is made of texts."""
    batch_seconds: PositiveFloat = 60.0
    """Seconds of sound in a batch."""
    chunk_seconds: PositiveFloat = 30.0
    """Longer sounds are cut at quiet places, transcribed in parts, and joined."""
    rerun: NonNegativeInt = 20
    """Utterances that are transcribed again in other batches, to see whether the texts change."""
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    """Number format of a transformers model."""
    beams: PositiveInt | None = None
    """Beams of an encoder-decoder; by default what the model's own settings say, which is greedy decoding for
    Whisper. transformers' pipeline takes 5."""
    normaliser: Literal["whisper", "leaderboard"] = "whisper"
    """Of the normalised error rate: Whisper's, or that of the Open ASR Leaderboard in 2025."""
    against: str | None = None
    """Folder of another system's run on the same sets, to compare with by paired bootstrap."""


@dataclass(frozen=True)
class Score:
    """Options of `score`."""

    results: str | None = None
    """Folder that `assay run esb --out` has written."""
    normaliser: Literal["whisper", "leaderboard"] = "whisper"
    """Of the normalised error rate: Whisper's, or the leaderboard's."""


@dataclass(frozen=True)
class Compare:
    """Options of `compare`."""

    first: str | None = None
    """Folder of one system's run."""
    second: str | None = None
    """Folder of the other system's run, on the same sets."""
    rendering: Literal["orthographic", "plain", "normalised"] = "orthographic"
    """Texts as they are, in lower case without punctuation, or normalised."""
    normaliser: Literal["whisper", "leaderboard"] = "whisper"
    """Of the normalised texts: Whisper's, or the leaderboard's."""
    draws: PositiveInt = 2000
    """Draws of the paired bootstrap."""
