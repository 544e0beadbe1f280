"""What the EFT paper says."""

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

TINY = {
    "family.vocabulary": 300,
    "family.small_width": 8,
    "family.large_width": 16,
    "family.layers": 1,
    "family.heads": 2,
    "family.steps": 6,
    "family.tuning_steps": 4,
    "family.tuning_learning_rates": (2e-3,),
    "family.looks": 2,
    "fact_table.number": 30,
}
TEXTS = {"max_texts": 40}

DIFFERS = (
    "two Llamas of 49 thousand and 345 thousand parameters (32 and 96 numbers wide, 2 layers), trained for"
    " each seed on the same rows, instead of Llama, Llama-2 and Falcon with 7 to 180 billion",
    "fine-tuning is further training on texts of one kind, instead of chat models made with RLHF or DPO",
)
ON_TEXT = (
    *DIFFERS,
    "helpfulness, factuality and harmlessness as GPT-4 judges them are replaced by the likelihood of held-out"
    " docstrings of one Python package, for which the base models were not trained",
)

LLAMA = {
    "base": "hub:meta-llama/Llama-2-70b-hf",
    "tuned": "hub:meta-llama/Llama-2-7b-chat-hf",
    "reference": "hub:meta-llama/Llama-2-7b-hf",
    "upper": "hub:meta-llama/Llama-2-70b-chat-hf",
    "dtype": "bfloat16",
}
QWEN = {
    "base": "hub:Qwen/Qwen2.5-14B",
    "tuned": "hub:Qwen/Qwen2.5-0.5B-Instruct",
    "reference": "hub:Qwen/Qwen2.5-0.5B",
    "upper": "hub:Qwen/Qwen2.5-14B-Instruct",
    "dtype": "bfloat16",
}
HH = {"data": "hub:Anthropic/hh-rlhf#test", "data.text": "chosen"}
LARGER = {"family.small_width": 64, "family.large_width": 384, "family.layers": 6, "family.steps": 20_000}
TRAINED_HERE = (
    *DIFFERS[1:],
    "the models are trained here, 64 and 384 numbers wide; the paper's own are measured by `adapt`",
)

TRAINED = (
    AtLeast("tuning_gain", "eft", 0.1),
    AtLeast("scale_gain", "eft", 0.05),
    AtMost("overfit", "eft", 0.5),
    AtMost("leaked", "eft", 0.0),
)
"""Fine-tuning taught the small model something that holds on new texts, the large one can learn more, the
small one is not over-trained, and no test text was read by any model."""

EQUAL = ("pretraining_steps", "scored_tokens")

PAPER = Paper(
    slug="eft",
    family="language",
    title="An Emulator for Fine-Tuning Large Language Models using Small Language Models",
    authors="Eric Mitchell, Rafael Rafailov, Archit Sharma, Chelsea Finn, Christopher D. Manning",
    year=2023,
    arxiv="2310.12962",
    code="https://github.com/eric-mitchell/emulated-fine-tuning",
    summary="gives a large language model the fine-tuning of a small one, without training it",
    metrics=(
        Metric("token_nll", "lower", "nats a token", description="of held-out texts of the domain"),
        Metric(
            "gap_recovered",
            "higher",
            "fraction",
            description="of the way in token_nll from the small tuned model to the large tuned one",
        ),
        Metric(
            "tuning_gain",
            "higher",
            "nats a token",
            description="what fine-tuning took off the small model's token_nll",
        ),
        Metric(
            "scale_gain",
            "higher",
            "nats a token",
            description="token_nll of the small tuned model minus that of the large tuned one",
        ),
        Metric(
            "overfit",
            "lower",
            "nats a token",
            description="token_nll of the small tuned model minus that on its own training texts",
        ),
        Metric("leaked", "lower", "fraction", description="test texts that some model was trained on"),
        Metric("first_nll", "lower", "nats a token", description="of held-out texts of the first domain"),
        Metric("second_nll", "lower", "nats a token", description="of held-out texts of the second domain"),
        Metric("first_gain", "higher", "nats a token", description="tuning_gain on the first domain"),
        Metric("second_gain", "higher", "nats a token", description="tuning_gain on the second domain"),
        Metric(
            "obedience",
            "higher",
            "fraction",
            description="replies that are just the name of a class, then end",
        ),
        Metric(
            "factuality", "higher", "fraction", description="replies whose first named class is the right one"
        ),
        Metric(
            "knowledge",
            "higher",
            "fraction",
            description="right classes in completed statements, as pre-training tells them",
        ),
        Metric("most_frequent", "lower", "fraction", description="facts with the most frequent class"),
        Metric(
            "large_forwards_per_token",
            "lower",
            "passes a token",
            description="passes of the large model a generated token, the prompt's included",
        ),
        Metric("acceptance", "higher", "fraction", description="drafted tokens that are accepted"),
        Metric(
            "mean_tv",
            "lower",
            "fraction",
            description="total variation distance of the emulated and the small tuned model, over tokens",
        ),
        Metric(
            "sampled_nll",
            "lower",
            "nats a token",
            description="of sampled tokens under the emulated model",
        ),
        Metric(
            "law_excess",
            "lower",
            "times chance",
            description="chi-square of sampled tokens against the exact law, over its degrees of freedom",
        ),
    ),
    recipes={
        "emulate": Recipe(
            config="Emulate",
            inputs=("prompts",),
            summary="reply to prompts with the emulated model, and keep it",
            presets={
                "tiny": Preset(settings=TINY | TEXTS | {"max_prompts": 2, "max_new_tokens": 4}),
                "laptop": Preset(cost="1 min, 1 core, where models are trained here"),
                "llama": Preset(
                    data_settings={"prompts": "hub:Anthropic/hh-rlhf#test"},
                    settings=LLAMA | {"max_prompts": 500, "max_new_tokens": 256},
                    differs=("the judge is any model that --judge names, with our rubrics",),
                    cost="4 GPU hours, two GPUs of 141 GB",
                ),
            },
        ),
        "adapt": Recipe(
            config="Adapt",
            summary="measure the emulated model on held-out texts of a domain",
            arms=(
                Arm("eft", role="method", settings={"weights": (1.0,), "amplify": 1.0}),
                Arm("small-tuned", role="baseline", settings={"weights": (1.0,), "amplify": 0.0}),
                Arm("large-base", role="baseline", settings={"weights": (0.0,), "amplify": 1.0}),
                Arm("ensemble", role="baseline", settings={"weights": (0.5,), "amplify": 0.5}),
                Arm(
                    "other-place",
                    role="control",
                    settings={"weights": (1.0,), "amplify": 1.0, "delta_from": "other-place"},
                    removes="the context: the small pair's delta is that of another place in the texts",
                ),
                Arm(
                    "other-reference",
                    role="control",
                    settings={"weights": (1.0,), "amplify": 1.0, "delta_from": "other-reference"},
                    removes="the ancestor: the reference is a small base model of another initialisation",
                ),
                Arm(
                    "eft-top-p",
                    role="method",
                    settings={"weights": (1.0,), "amplify": 1.0, "delta_top_p": 0.95},
                ),
                Arm("half-amplified", role="reference", settings={"weights": (1.0,), "amplify": 0.5}),
                Arm("amplified", role="reference", settings={"weights": (1.0,), "amplify": 1.5}),
                Arm("large-tuned", role="reference", settings={"system": "upper"}),
            ),
            presets={
                "tiny": Preset(settings=TINY | TEXTS, cost="5 s, 1 core", seeds=2),
                "laptop": Preset(differs=ON_TEXT, cost="3 min, 2 cores", seeds=4),
                "paper": Preset(
                    data_settings=HH,
                    settings=LLAMA | {"max_texts": 500},
                    differs=("the likelihood of chosen replies of hh-rlhf instead of a judge's scores",),
                    cost="2 GPU hours a seed, three GPUs of 141 GB with the upper bound",
                    seeds=5,
                ),
                "own": Preset(
                    settings={"max_texts": 500},
                    differs=("your own models and texts: what they were trained on is not known here",),
                    cost="three passes over the texts a seed",
                    seeds=4,
                ),
                "paper-qwen": Preset(
                    data_settings=HH,
                    settings=QWEN | {"max_texts": 500},
                    differs=("Qwen2.5, an open family that fits one GPU, instead of Llama-2",),
                    cost="20 min a seed, one GPU of 80 GB",
                    seeds=5,
                ),
            },
        ),
        "facts": Recipe(
            config="Facts",
            summary="who knows and who answers as asked, by size of pre-training and of fine-tuning",
            arms=(
                Arm("up-scaled", role="method", settings={"system": "emulated"}),
                Arm("down-scaled", role="method", settings={"system": "down-scaled"}),
                Arm("small-tuned", role="baseline", settings={"system": "small-tuned"}),
                Arm("large-base", role="baseline", settings={"system": "base"}),
                Arm(
                    "other-reference",
                    role="control",
                    settings={"system": "emulated", "delta_from": "other-reference"},
                    removes="the ancestor: the reference is a small base model of another initialisation",
                ),
                Arm("small-base", role="reference", settings={"system": "small-base"}),
                Arm("large-tuned", role="reference", settings={"system": "upper"}),
            ),
            presets={
                "tiny": Preset(settings=TINY, cost="5 s, 1 core", seeds=2),
                "laptop": Preset(
                    differs=(
                        *DIFFERS,
                        "factuality is the region of cities of the time zone database, helpfulness is to"
                        " answer with its name alone; fine-tuning asks for 30 % of the cities, others test",
                    ),
                    cost="1 min, 2 cores",
                    seeds=4,
                ),
                "larger": Preset(settings=LARGER, differs=TRAINED_HERE, cost="1 GPU hour a seed", seeds=5),
            },
        ),
        "interpolate": Recipe(
            config="Interpolate",
            summary="mix two fine-tunings of one small model when the model is used",
            arms=(
                Arm("mix-50", role="method", settings={"weights": (0.5, 0.5)}),
                Arm("mix-0", role="method", settings={"weights": (0.0, 1.0)}),
                Arm("mix-25", role="method", settings={"weights": (0.25, 0.75)}),
                Arm("mix-75", role="method", settings={"weights": (0.75, 0.25)}),
                Arm("mix-100", role="method", settings={"weights": (1.0, 0.0)}),
                Arm("small-mix-50", role="baseline", settings={"weights": (0.5, 0.5), "size": "small"}),
                Arm(
                    "no-delta",
                    role="control",
                    settings={"weights": (0.0, 0.0)},
                    removes="both behaviours: the large base alone",
                ),
                Arm(
                    "averaged",
                    role="reference",
                    settings={"weights": (0.5, 0.5), "mixed": "parameters"},
                ),
            ),
            presets={
                "tiny": Preset(settings=TINY | TEXTS, cost="5 s, 1 core", seeds=2),
                "laptop": Preset(
                    differs=(
                        *DIFFERS,
                        "two kinds of text, docstrings of two Python packages, instead of helpful and"
                        " harmless replies",
                    ),
                    cost="1 min, 2 cores",
                    seeds=4,
                ),
                "larger": Preset(settings=LARGER, differs=TRAINED_HERE, cost="1 GPU hour a seed", seeds=5),
            },
        ),
        "draft": Recipe(
            config="Draft",
            summary="count passes of the large model when the small tuned one drafts",
            arms=(
                Arm("speculative", role="method", settings={"decoding": "speculative", "block_size": 4}),
                Arm("plain", role="baseline", settings={"decoding": "plain", "block_size": 4}),
                Arm(
                    "always-accept",
                    role="control",
                    settings={"decoding": "always-accept", "block_size": 4},
                    removes="the test of each drafted token: all drafts are taken as they are",
                ),
                Arm("blocks-of-2", role="reference", settings={"decoding": "speculative", "block_size": 2}),
                Arm("blocks-of-8", role="reference", settings={"decoding": "speculative", "block_size": 8}),
            ),
            presets={
                "tiny": Preset(
                    settings=TINY | TEXTS | {"max_new_tokens": 4, "continued": 4, "law_draws": 2500},
                    cost="5 s, 1 core",
                    seeds=2,
                ),
                "laptop": Preset(
                    differs=(
                        *DIFFERS,
                        "the verdict is in passes of the large model a token: in seconds models as small as"
                        " these say nothing of large ones",
                    ),
                    cost="1 min, 2 cores",
                    seeds=4,
                ),
                "larger": Preset(settings=LARGER, differs=TRAINED_HERE, cost="1 GPU hour a seed", seeds=5),
            },
        ),
    },
    apply="emulate",
    claims=(
        Claim(
            "up-scaling-helps",
            "A large base with the small model's fine-tuning predicts texts of the domain better than the"
            " small fine-tuned model and than the large base.",
            recipe="adapt",
            reported=Reported(
                "up-scaling improves helpfulness and factuality over the small tuned model in all families",
                "abstract",
            ),
            tests=(
                Superior("token_nll", "eft", over="small-tuned"),
                Superior("token_nll", "eft", over="large-base"),
                Superior("token_nll", "eft", over="other-place"),
            ),
            requires=TRAINED,
            equal=EQUAL,
        ),
        Claim(
            "half-of-the-gap",
            "Up-scaling goes at least half of the way from the small tuned model to the large tuned one.",
            recipe="adapt",
            reported=Reported(
                "nearly all of the factuality gap, part of the helpfulness gap", "summaries of the paper"
            ),
            tests=(AtLeast("gap_recovered", "eft", 0.5),),
            requires=(AtLeast("tuning_gain", "eft", 0.05), AtLeast("scale_gain", "eft", 0.05)),
        ),
        Claim(
            "ancestor-matters",
            "The delta works because the reference is what the small model was tuned from.",
            recipe="adapt",
            reported=Reported("the implicit reward is log pi_ft - log pi_ref", "summaries of the paper"),
            tests=(Superior("token_nll", "eft", over="other-reference"),),
            requires=TRAINED,
            equal=("scored_tokens",),
        ),
        Claim(
            "more-than-an-ensemble",
            "The delta does more than averaging the log-probabilities of the large base and the small"
            " fine-tuned model.",
            recipe="adapt",
            reported=Reported(
                "fine-tuning is a reward added to the large model's log-probabilities",
                "summaries of the paper",
            ),
            tests=(Superior("token_nll", "eft", over="ensemble"),),
            requires=TRAINED,
            equal=EQUAL,
        ),
        Claim(
            "top-p-helps",
            "Taking the up-scaling delta only inside the small fine-tuned model's top p helps a little.",
            recipe="adapt",
            reported=Reported("top-p filtering of up-scaling weights helps mildly", source="recalled"),
            tests=(Superior("token_nll", "eft-top-p", over="eft"),),
            requires=TRAINED,
            equal=EQUAL,
        ),
        Claim(
            "knowledge-from-pre-training",
            "What the up-scaled model knows comes from the large pre-training: it is more factual than the"
            " small fine-tuned and the down-scaled model, and hardly less than the large fine-tuned one.",
            recipe="facts",
            reported=Reported(
                "up-scaling recovers nearly all of the factuality gap", "summaries of the paper"
            ),
            tests=(
                Superior("factuality", "up-scaled", over="small-tuned"),
                Superior("factuality", "up-scaled", over="down-scaled"),
                NonInferior("factuality", "up-scaled", to="large-tuned", within=0.05),
            ),
            requires=(
                Superior("knowledge", "large-base", over="small-base", by=0.1),
                Superior("factuality", "large-tuned", over="small-tuned", by=0.03),
                AtLeast("obedience", "small-tuned", 0.8),
            ),
            equal=("questions",),
        ),
        Claim(
            "behaviour-from-fine-tuning",
            "How a model answers comes from fine-tuning, small or large: up-scaled and down-scaled models"
            " answer as asked, which their bases do not.",
            recipe="facts",
            reported=Reported(
                "down-scaling recovers almost all of the helpfulness gap", "summaries of the paper"
            ),
            tests=(
                Superior("obedience", "up-scaled", over="large-base", by=0.5),
                Superior("obedience", "down-scaled", over="small-base", by=0.5),
                NonInferior("obedience", "down-scaled", to="large-tuned", within=0.1),
            ),
            requires=(
                AtLeast("obedience", "small-tuned", 0.8),
                AtLeast("obedience", "large-tuned", 0.8),
                AtMost("obedience", "large-base", 0.2),
                AtMost("obedience", "small-base", 0.2),
            ),
            equal=("questions",),
        ),
        Claim(
            "interpolation",
            "The more weight a behaviour gets, the better the model is at it and the worse at the other.",
            recipe="interpolate",
            reported=Reported(
                "test-time interpolation traces a helpful and harmless frontier", "summaries of the paper"
            ),
            tests=(
                *(
                    Superior("first_nll", f"mix-{more}", over=f"mix-{less}")
                    for less, more in ((0, 25), (25, 50), (50, 75), (75, 100))
                ),
                *(
                    Superior("second_nll", f"mix-{less}", over=f"mix-{more}")
                    for less, more in ((0, 25), (25, 50), (50, 75), (75, 100))
                ),
            ),
            requires=(
                AtLeast("first_gain", "mix-50", 0.1),
                AtLeast("second_gain", "mix-50", 0.1),
                AtMost("leaked", "mix-50", 0.0),
            ),
            equal=("pretraining_steps", "tuning_steps"),
        ),
        Claim(
            "better-frontier",
            "Up-scaling moves the frontier: half of each behaviour on the large base is better at both than"
            " on the small one, and than the large base alone.",
            recipe="interpolate",
            reported=Reported("interpolation with up-scaling gives a better frontier", source="recalled"),
            tests=(
                Superior("first_nll", "mix-50", over="small-mix-50"),
                Superior("second_nll", "mix-50", over="small-mix-50"),
                Superior("first_nll", "mix-50", over="no-delta"),
                Superior("second_nll", "mix-50", over="no-delta"),
            ),
            requires=(AtLeast("first_gain", "mix-50", 0.1), AtLeast("second_gain", "mix-50", 0.1)),
            equal=("tuning_steps",),
        ),
        Claim(
            "speculative-law",
            "Drafted and verified tokens follow the law of plain sampling; drafts taken unverified do not.",
            recipe="draft",
            reported=Reported(
                "speculative decoding leaves the distribution unchanged", "summaries of the paper"
            ),
            tests=(
                NonInferior("law_excess", "speculative", to="plain", within=0.5),
                Superior("law_excess", "speculative", over="always-accept", by=0.5),
            ),
            equal=("law_draws",),
        ),
        Claim(
            "speculative-speed-up",
            "With drafts of the small fine-tuned model, the large one runs 2.5 times less often a token.",
            recipe="draft",
            reported=Reported("about 2.5 times faster end to end", "summaries of the paper"),
            tests=(AtMost("large_forwards_per_token", "speculative", 0.4),),
            requires=(AtMost("law_excess", "speculative", 1.5),),
        ),
        Claim(
            "llama-and-falcon",
            "Up-scaling recovers nearly all of the factuality gap and part of the helpfulness gap in Llama,"
            " Llama-2 and Falcon, as GPT-4 judges.",
            reported=Reported(
                "Llama 7B to 65B, Llama-2 7B to 70B, Falcon 7B to 180B", "summaries of the paper"
            ),
            untested="needs 70B models and a judge; `assay run eft --preset llama --judge ...` measures it",
        ),
        Claim(
            "amplification",
            "Amplifying the up-scaling delta raises HumanEval pass@1 and ELI5 factuality, up to a point.",
            reported=Reported("moderate gains for beta above 1", "summaries of the paper"),
            untested="needs large code and chat models; `assay run eft --prompts hub:openai/openai_humaneval"
            " --amplify 1.2 --sandbox ...` measures one point",
        ),
    ),
)
