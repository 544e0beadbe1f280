"""What the E-LANG paper says."""

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

ON = ("bundled:digits", "bundled:docstrings")

REQUIRES = (
    AtLeast("super_gain", "super-only", 0.01),
    AtLeast("rescued", "super-only", 0.3),
    AtLeast("skill", "swift-only", 0.1),
    AtMost("relative_flops", "swift-only", 0.25),
)
"""Super is better and repairs enough of Swift's errors, Swift knows something, and running it is cheap."""

REPORTED = Reported(
    "T5 on GLUE: better than T5-11B at 3.3 times its speed; BERT: 3.2 times less computation",
    where="abstract",
)

ENERGY, SOFTMAX = {"score": "negative_free_energy"}, {"score": "max_log_softmax"}
TEMPERED = {"temperatures": (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)}
SST2 = {"data": "hub:nyu-mll/glue/sst2", "data.text": "sentence"}


PAPER = Paper(
    slug="elang",
    family="language",
    title="E-LANG: Energy-Based Joint Inferencing of Super and Swift Language Models",
    authors="Mohammad Akbari, Amin Banitalebi-Dehkordi, Yong Zhang",
    year=2022,
    arxiv="2203.00748",
    summary="sends to a large model only the inputs that a cheap one does not know",
    metrics=(
        Metric("accuracy", "higher", "fraction", description="on the test rows, at the calibrated threshold"),
        Metric("super_share", "lower", "fraction", description="rows that Super answers, at that threshold"),
        Metric(
            "relative_flops",
            "lower",
            "times Super",
            description="FLOPs a row at that threshold, Swift on every row included, over Super alone",
        ),
        Metric("area", "higher", "fraction", description="mean accuracy over Super shares from 0 to 1"),
        *(
            Metric(f"accuracy_at_{share}", "higher", "fraction", description=f"when Super answers {share} %")
            for share in (10, 20, 30, 40, 50)
        ),
        Metric(
            "accuracy_at_speedup",
            "higher",
            "fraction",
            description="when Super answers just so many rows that the pair needs 3.2 times fewer FLOPs",
        ),
        Metric(
            "flops_to_match",
            "lower",
            "times Super",
            description="least FLOPs on the test curve with Super's accuracy minus 0.5 points",
        ),
        Metric("seconds_per_row", "lower", "s", kind="timing", description="wall time, by the share"),
        Metric("super_gain", "higher", "fraction", description="accuracy of Super minus Swift's"),
        Metric("rescued", "higher", "fraction", description="errors of Swift that Super does not make"),
        Metric("skill", "higher", "fraction", description="accuracy above the most frequent class, rescaled"),
    ),
    recipes={
        "route": Recipe(
            config="Route",
            summary="calibrate a routing policy for a pair of models and measure it",
            arms=(
                Arm("energy", role="method", settings=ENERGY),
                Arm("softmax", role="baseline", settings=SOFTMAX),
                Arm("entropy", role="baseline", settings={"score": "negative_entropy"}),
                Arm("margin", role="baseline", settings={"score": "top2_margin"}),
                Arm(
                    "random",
                    role="control",
                    settings={"score": "random"},
                    removes="the evidence of the input: rows go to Super at random",
                ),
                Arm("energy-tempered", role="reference", settings=ENERGY | TEMPERED),
                Arm("softmax-tempered", role="reference", settings=SOFTMAX | TEMPERED),
                Arm("oracle", role="reference", settings={"score": "oracle"}),
                Arm("swift-only", role="reference", settings={"answers": "swift"}),
                Arm("super-only", role="reference", settings={"answers": "super"}),
            ),
            presets={
                "tiny": Preset(
                    settings={"max_texts": 200, "pair.epochs": 5},
                    data_settings={"data": "bundled:digits"},
                    cost="5 s, 1 core",
                    seeds=2,
                ),
                "laptop": Preset(
                    settings={"max_texts": 983},
                    data_differs=("digits and English docstrings instead of GLUE",),
                    differs=(
                        "perceptrons of 10 and of 256-256 units on features, a bag of hashed words and a"
                        " frozen sentence encoder on texts, instead of BERT and T5 pairs",
                        "Swift on texts is some 12 points behind Super, for want of a small language model",
                        "the threshold is the cheapest within 0.5 points of Super on calibration rows; how"
                        " the paper selects it could not be read",
                    ),
                    cost="70 s, 2 cores",
                ),
                "paper": Preset(
                    data_settings=SST2,
                    settings={
                        "swift": "hub:huawei-noah/TinyBERT_General_4L_312D",
                        "super": "hub:google-bert/bert-base-uncased",
                        "finetuning.epochs": 3,
                        "finetuning.keep": False,
                        "calibration": 0.05,
                    },
                    differs=(
                        "both BERT models are fine-tuned here on SST-2; which checkpoints the authors used"
                        " is not known",
                    ),
                    cost="1 GPU hour a seed",
                    seeds=5,
                ),
                "paper-t5": Preset(
                    data_settings=SST2,
                    settings={
                        "swift": "hub:google-t5/t5-large",
                        "super": "hub:google-t5/t5-11b",
                        "prompt": "sst2 sentence: {text}",
                        "dtype": "bfloat16",
                        "max_texts": 4000,
                    },
                    differs=("the released multi-task T5 checkpoints, one GLUE task, bfloat16",),
                    cost="1 hour, one GPU of 40 GB",
                    seeds=5,
                ),
            },
        )
    },
    apply="route",
    claims=(
        Claim(
            "super-quality-for-less",
            "A pair that needs 3.2 times fewer FLOPs than Super is within 1 point of its accuracy.",
            recipe="route",
            reported=REPORTED,
            tests=(NonInferior("accuracy_at_speedup", "energy", to="super-only", within=0.01),),
            requires=REQUIRES,
            equal=("gradient_steps",),
            on=("bundled:digits",),
        ),
        Claim(
            "super-quality-for-less-on-text",
            "On text too, a pair with 3.2 times fewer FLOPs than Super is within 1 point of its accuracy.",
            recipe="route",
            reported=REPORTED,
            tests=(NonInferior("accuracy_at_speedup", "energy", to="super-only", within=0.01),),
            requires=REQUIRES,
            equal=("gradient_steps",),
            on=("bundled:docstrings",),
        ),
        Claim(
            "beats-random",
            "At equal shares of Super, routing by energy is more accurate than routing at random.",
            recipe="route",
            reported=Reported("energy above random routing", source="recalled"),
            tests=(Superior("area", "energy", over="random"),),
            requires=REQUIRES,
            equal=("gradient_steps", "matched_super_calls", "candidates"),
            on=ON,
        ),
        Claim(
            "beats-confidence",
            "At equal shares of Super, routing by energy beats routing by softmax confidence or by entropy.",
            recipe="route",
            reported=Reported("energy above softmax score and entropy", source="recalled"),
            tests=(
                Superior("area", "energy", over="softmax"),
                Superior("area", "energy", over="entropy"),
            ),
            requires=REQUIRES,
            equal=("gradient_steps", "matched_super_calls", "candidates"),
            on=ON,
        ),
        Claim(
            "t5-speedup",
            "A T5-large and T5-11B pair is more accurate than T5-11B on GLUE at 3.3 times its speed.",
            reported=Reported("3.3 times on GLUE, 2.9 times on SuperGLUE", where="abstract"),
            untested="needs T5-11B; `assay check elang --preset paper-t5` routes that pair on SST-2",
        ),
        Claim(
            "bert-dynamic",
            "The BERT pair is the best dynamic BERT on GLUE, with 3.2 times less computation.",
            reported=Reported("3.2 times less computation", where="abstract"),
            untested="needs the early-exit models that it is compared with, on all of GLUE",
        ),
        Claim(
            "sst2-demo",
            "TinyBERT and BERT-base reach 93.69 % on SST-2 with 23.6 % of the sentences sent to BERT-base.",
            reported=Reported("0.93693, 23.62 % to Super at t = 1.31044", "README", source="code"),
            untested="needs the authors' checkpoints; the preset paper fine-tunes such a pair",
        ),
        Claim(
            "translation",
            "The same rule works for machine translation.",
            reported=Reported("WMT with T5", where="abstract"),
            untested="needs WMT and two translation models; their replies are routed like those of any T5",
        ),
    ),
)
