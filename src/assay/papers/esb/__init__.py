"""esb: score any speech recogniser over unlike sets with one protocol that forbids tuning to a set."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "method": [
            "HFCTC",
            "KNOWN",
            "ASRSystem",
            "AudioWarning",
            "Benchmark",
            "BenchmarkResult",
            "Breakdown",
            "Comparison",
            "ErrorCounts",
            "FromPipeline",
            "HFSeq2Seq",
            "Normaliser",
            "OneSystemGuard",
            "PairedCounts",
            "PocketSphinx",
            "SpeechDataset",
            "Utterance",
            "Violation",
            "as_speech",
            "break_down",
            "count_errors",
            "edit_counts",
            "load_system",
            "macro_average",
            "mark_scores",
            "mend",
            "paired_bootstrap",
            "read_corpus",
            "wer",
        ]
    },
)
