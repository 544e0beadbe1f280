"""What the ESB paper says."""

from assay.paper import (
    Arm,
    AtLeast,
    AtMost,
    Claim,
    Metric,
    NonInferior,
    Paper,
    Preset,
    Recipe,
    Reported,
    Superior,
)

TEST = (
    "librispeech=hub:hf-audio/esb-datasets-test-only-sorted/librispeech#test.clean",
    "ami=hub:hf-audio/esb-datasets-test-only-sorted/ami#test",
)
EIGHT = (
    *("librispeech", "common_voice", "voxpopuli", "tedlium"),
    *("gigaspeech", "spgispeech", "earnings22", "ami"),
)
TRAIN = (
    "librispeech=hub:openslr/librispeech_asr/clean#train.360",
    "ami=hub:edinburghcstr/ami/ihm#train",
)

PAPER = Paper(
    slug="esb",
    family="speech",
    title="ESB: A Benchmark For Multi-Domain End-to-End Speech Recognition",
    authors="Sanchit Gandhi, Patrick von Platen, Alexander M. Rush",
    year=2022,
    arxiv="2210.13352",
    code="https://github.com/sanchit-gandhi/seq2seq-speech",
    summary="scores any speech recogniser on data sets of many domains with one protocol",
    metrics=(
        Metric("wer", "lower", "fraction", description="orthographic word error rate, mean over the sets"),
        Metric("plain_wer", "lower", "fraction", description="in lower case without punctuation"),
        Metric("normalised_wer", "lower", "fraction", description="after Whisper's English normaliser"),
        Metric("rendering_gap", "lower", "fraction", description="orthographic minus normalised"),
        Metric("artefact_gap", "lower", "fraction", description="orthographic minus plain"),
        Metric("lexical_share", "lower", "fraction", description="other words, of the reference words"),
        Metric("worst_set_wer", "lower", "fraction", description="orthographic, of the worst set"),
        Metric("rule_violations", "lower", "count", description="of the rule of one system for all sets"),
        Metric(
            "difference", "lower", "fraction", description="word error rate of the first minus the second"
        ),
        Metric("difference_low", "lower", "fraction", description="lower end of its 95 % interval"),
        Metric("difference_high", "lower", "fraction", description="upper end of its 95 % interval"),
    ),
    recipes={
        "transcribe": Recipe(
            config="Transcribe",
            summary="transcribe sets with any recogniser and score it",
            presets={
                "tiny": Preset(settings={"spoken.test_utterances": 2, "rerun": 2}, cost="4 s, 1 core"),
                "laptop": Preset(settings={"spoken.test_utterances": 20}, cost="40 s, 1 core"),
                "published": Preset(
                    settings={
                        "system": "hub:openai/whisper-medium.en",
                        "sets": tuple(f"hub:{name}" for name in EIGHT),
                        "batch_seconds": 600.0,
                        "dtype": "bfloat16",
                        "rerun": 200,
                    },
                    cost="1 GPU hour",
                ),
            },
        ),
        "score": Recipe(config="Score", summary="score transcripts again, without transcribing"),
        "compare": Recipe(config="Compare", summary="compare two runs by paired bootstrap"),
        "domains": Recipe(
            config="Domains",
            summary="train one recogniser for all sets and one for each, and score them",
            arms=(
                Arm("one-system", role="method", settings={"recogniser": "one"}),
                Arm("tuned", role="baseline", settings={"recogniser": "tuned"}),
                Arm("adapted", role="baseline", settings={"recogniser": "adapted"}),
                Arm(
                    "exchanged",
                    role="control",
                    settings={"recogniser": "exchanged"},
                    removes="the match of recogniser and set: each set goes to the one tuned to the next",
                ),
                Arm("pocketsphinx", role="reference", settings={"recogniser": "frozen"}),
            ),
            presets={
                "tiny": Preset(
                    settings={
                        "spoken.training_utterances": 6,
                        "spoken.test_utterances": 3,
                        "small_ctc.steps": 8,
                        "small_ctc.width": 16,
                        "frozen_utterances": 1,
                    },
                    cost="8 s, 1 core",
                    seeds=2,
                ),
                "laptop": Preset(
                    settings={"frozen_utterances": 10},
                    data_differs=(
                        "phrases of 80 frequent words of docstrings, spoken by espeak-ng in four renderings,"
                        " instead of eight recorded sets",
                    ),
                    differs=(
                        "a CTC recogniser of 0.4 million parameters, trained for a minute from scratch",
                        "the systems for one set are of the same kind and share the gradient steps of the one"
                        " system: either all of them on their set, with a vocabulary that leaves out the case"
                        " and the marks that it does not have, or the second half, after a first on all sets",
                        "pocketsphinx stands for a foreign system that is used as it is; it transcribes 10 of"
                        " the 60 test utterances of each set",
                    ),
                    cost="5 min, 2 cores",
                    seeds=3,
                ),
                "paper": Preset(
                    settings={
                        "sets": TEST,
                        "training_sets": TRAIN,
                        "fine_tuned.encoder": "hub:facebook/wav2vec2-large-lv60",
                        "frozen": "hub:openai/whisper-medium.en",
                        "batch_seconds": 600.0,
                    },
                    differs=(
                        "two of the eight sets, whose training speech is free to download",
                        "the tuned systems share the 50,000 gradient steps of the one system",
                    ),
                    cost="60 GPU hours a seed",
                    seeds=3,
                ),
            },
        ),
    },
    apply="transcribe",
    claims=(
        Claim(
            "one-system-close-to-tuned",
            "One system for all sets is within 2.6 points of WER of systems that are tuned to one set each.",
            recipe="domains",
            reported=Reported(
                "within 2.6 % of state-of-the-art systems tuned to one data set", where="abstract"
            ),
            tests=(
                NonInferior("wer", "one-system", to="tuned", within=0.026),
                NonInferior("wer", "one-system", to="adapted", within=0.026),
            ),
            requires=(
                AtMost("wer", "tuned", 0.6),
                AtMost("wer", "one-system", 0.6),
                Superior("wer", "tuned", over="exchanged", by=0.1),
                AtMost("rule_violations", "one-system", 0.5),
            ),
            equal=("gradient_steps", "utterances_seen"),
        ),
        Claim(
            "formatting-costs",
            "Punctuation and case make the task harder: orthographic WER is above normalised WER.",
            recipe="domains",
            reported=Reported("transcription artefacts make the task harder", where="abstract"),
            tests=(
                AtLeast("rendering_gap", "one-system", 0.0),
                AtLeast("rendering_gap", "tuned", 0.0),
            ),
            requires=(
                AtMost("normalised_wer", "one-system", 0.6),
                AtMost("normalised_wer", "tuned", 0.6),
            ),
        ),
        Claim(
            "formatting-costs-foreign-systems",
            "Orthographic WER is above normalised WER also for a system that was not trained on the sets.",
            recipe="domains",
            reported=Reported("transcription artefacts make the task harder", where="abstract"),
            tests=(AtLeast("rendering_gap", "pocketsphinx", 0.0),),
            requires=(AtMost("normalised_wer", "pocketsphinx", 0.9),),
        ),
        Claim(
            "no-architecture-is-best-everywhere",
            "No architecture is best on every set; encoder-decoders lead on punctuated and cased sets.",
            reported=Reported("Whisper leads on most punctuated sets", source="recalled"),
            untested="needs the published systems; `assay run esb --system hub:NAME` scores them one by one",
        ),
        Claim(
            "one-set-does-not-predict-the-average",
            "The ranking of systems changes with the domain.",
            reported=Reported("rankings differ between LibriSpeech and the average", source="inferred"),
            untested="needs several independent systems of about the same strength; here only two are",
        ),
    ),
)
