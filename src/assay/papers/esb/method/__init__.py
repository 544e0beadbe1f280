"""The benchmark: sets, systems, one protocol, error rates and comparisons."""

from assay.papers.esb.method.audio import AudioWarning, as_speech, chunks
from assay.papers.esb.method.benchmark import Benchmark, Transcribing
from assay.papers.esb.method.comparison import Comparison, Difference, PairedCounts, paired_bootstrap
from assay.papers.esb.method.corpora import read_corpus
from assay.papers.esb.method.counting import (
    Breakdown,
    ErrorCounts,
    align,
    break_down,
    count_errors,
    edit_counts,
    mark_scores,
    plain_words,
    wer,
)
from assay.papers.esb.method.datasets import SpeechDataset, Utterance
from assay.papers.esb.method.fixups import KNOWN, KnownSet, mend
from assay.papers.esb.method.guard import OneSystemGuard, Violation, fingerprint
from assay.papers.esb.method.normaliser import Normaliser
from assay.papers.esb.method.results import (
    BenchmarkResult,
    Scores,
    SetTranscripts,
    Transcript,
    macro_average,
)
from assay.papers.esb.method.systems import (
    HFCTC,
    ASRSystem,
    FromPipeline,
    HFSeq2Seq,
    PocketSphinx,
    Recogniser,
    as_system,
    load_system,
)

__all__ = [
    "HFCTC",
    "KNOWN",
    "ASRSystem",
    "AudioWarning",
    "Benchmark",
    "BenchmarkResult",
    "Breakdown",
    "Comparison",
    "Difference",
    "ErrorCounts",
    "FromPipeline",
    "HFSeq2Seq",
    "KnownSet",
    "Normaliser",
    "OneSystemGuard",
    "PairedCounts",
    "PocketSphinx",
    "Recogniser",
    "Scores",
    "SetTranscripts",
    "SpeechDataset",
    "Transcribing",
    "Transcript",
    "Utterance",
    "Violation",
    "align",
    "as_speech",
    "as_system",
    "break_down",
    "chunks",
    "count_errors",
    "edit_counts",
    "fingerprint",
    "load_system",
    "macro_average",
    "mark_scores",
    "mend",
    "paired_bootstrap",
    "plain_words",
    "read_corpus",
    "wer",
]
