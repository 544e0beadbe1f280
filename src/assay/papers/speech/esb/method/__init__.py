"""The benchmark: sets, systems, one protocol, error rates and comparisons."""

from assay.papers.speech.audio import (
    AudioWarning as AudioWarning,
    as_speech as as_speech,
    chunks as chunks,
)
from assay.papers.speech.esb.method.benchmark import Benchmark as Benchmark, Transcribing as Transcribing
from assay.papers.speech.esb.method.comparison import (
    Comparison as Comparison,
    Difference as Difference,
    PairedCounts as PairedCounts,
    paired_bootstrap as paired_bootstrap,
)
from assay.papers.speech.esb.method.datasets import SpeechDataset as SpeechDataset, Utterance as Utterance
from assay.papers.speech.esb.method.fixups import KNOWN as KNOWN, KnownSet as KnownSet, mend as mend
from assay.papers.speech.esb.method.guard import (
    OneSystemGuard as OneSystemGuard,
    Violation as Violation,
    fingerprint as fingerprint,
)
from assay.papers.speech.esb.method.normaliser import Normaliser as Normaliser
from assay.papers.speech.esb.method.results import (
    BenchmarkResult as BenchmarkResult,
    Scores as Scores,
    SetTranscripts as SetTranscripts,
    Transcript as Transcript,
    macro_average as macro_average,
)
from assay.papers.speech.recognisers import (
    HFCTC as HFCTC,
    ASRSystem as ASRSystem,
    FromPipeline as FromPipeline,
    HFSeq2Seq as HFSeq2Seq,
    PocketSphinx as PocketSphinx,
    Recogniser as Recogniser,
    as_system as as_system,
    load_system as load_system,
)
from assay.papers.speech.word_errors import (
    Breakdown as Breakdown,
    ErrorCounts as ErrorCounts,
    align as align,
    break_down as break_down,
    count_errors as count_errors,
    edit_counts as edit_counts,
    mark_scores as mark_scores,
    plain_words as plain_words,
    wer as wer,
)
