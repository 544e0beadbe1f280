"""What the EFT paper says."""

from typing import Any

from assay.paper import (
    Arm,
    AtLeast,
    AtMost,
    Better,
    Claim,
    Metric,
    NonInferior,
    Paper,
    Preset,
    Recipe,
    Reported,
    Superior,
    Test,
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
TRAINED_HERE = (
    *DIFFERS[1:],
    "the models are trained here, 64 and 384 numbers wide; the paper's own are measured by `adapt`",
)
LARGER = Preset(
    {"family.small_width": 64, "family.large_width": 384, "family.layers": 6, "family.steps": 20_000},
    TRAINED_HERE,
    cost="1 GPU hour a seed",
    seeds=5,
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

RULE = {"weights": (1.0,), "amplify": 1.0}
"""The paper's: all of the fine-tuning, and of what the large model knows beyond the small one."""


def _fraction(name: str, description: str, better: Better = "higher") -> Metric:
    return Metric(name, better, "fraction", description=description)


def _nats(name: str, description: str, better: Better = "lower") -> Metric:
    return Metric(name, better, "nats a token", description=description)


def _other_reference(settings: dict[str, Any]) -> Arm:
    """Return the control whose delta is not that of a fine-tuning."""
    removed = "the ancestor: the reference is a small base model of another initialisation"
    return Arm("other-reference", "control", settings | {"delta_from": "other-reference"}, removed)


def _mix(share: float) -> Arm:
    """Return a mixture with this share of the first behaviour."""
    return Arm(f"mix-{share:.0%}"[:-1], "method", {"weights": (share, 1 - share)})


def _adapt(
    name: str, statement: str, reported: Reported, *tests: Test, equal: tuple[str, ...] = EQUAL
) -> Claim:
    return Claim(name, statement, "adapt", reported, tests, TRAINED, equal)


def _summaries(text: str) -> Reported:
    return Reported(text, "summaries of the paper")


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
        _nats("token_nll", "of held-out texts of the domain"),
        _fraction(
            "gap_recovered", "of the way in token_nll from the small tuned model to the large tuned one"
        ),
        _nats("tuning_gain", "what fine-tuning took off the small model's token_nll", "higher"),
        _nats("scale_gain", "token_nll of the small tuned model minus that of the large tuned one", "higher"),
        _nats("overfit", "token_nll of the small tuned model minus that on its own training texts"),
        _fraction("leaked", "test texts that some model was trained on", "lower"),
        _nats("first_nll", "of held-out texts of the first domain"),
        _nats("second_nll", "of held-out texts of the second domain"),
        _nats("first_gain", "tuning_gain on the first domain", "higher"),
        _nats("second_gain", "tuning_gain on the second domain", "higher"),
        _fraction("obedience", "replies that are just the name of a class, then end"),
        _fraction("factuality", "replies whose first named class is the right one"),
        _fraction("knowledge", "right classes in completed statements, as pre-training tells them"),
        _fraction("most_frequent", "facts with the most frequent class", "lower"),
        Metric(
            "large_forwards_per_token",
            "lower",
            "passes a token",
            description="passes of the large model a generated token, the prompt's included",
        ),
        _fraction("acceptance", "drafted tokens that are accepted"),
        _fraction(
            "mean_tv",
            "total variation distance of the emulated and the small tuned model, over tokens",
            "lower",
        ),
        _nats("sampled_nll", "of sampled tokens under the emulated model"),
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
                "tiny": Preset(TINY | TEXTS | {"max_prompts": 2, "max_new_tokens": 4}),
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
                Arm("eft", "method", RULE),
                Arm("small-tuned", "baseline", RULE | {"amplify": 0.0}),
                Arm("large-base", "baseline", RULE | {"weights": (0.0,)}),
                Arm("ensemble", "baseline", {"weights": (0.5,), "amplify": 0.5}),
                Arm(
                    "other-place",
                    "control",
                    RULE | {"delta_from": "other-place"},
                    "the context: the small pair's delta is that of another place in the texts",
                ),
                _other_reference(RULE),
                Arm(
                    "eft-top-p",
                    "method",
                    RULE | {"delta_top_p": 0.95},
                ),
                Arm("half-amplified", "reference", RULE | {"amplify": 0.5}),
                Arm("amplified", "reference", RULE | {"amplify": 1.5}),
                Arm("large-tuned", "reference", {"system": "upper"}),
            ),
            presets={
                "tiny": Preset(TINY | TEXTS, cost="5 s, 1 core", seeds=2),
                "laptop": Preset(differs=ON_TEXT, cost="3 min, 2 cores", seeds=4),
                "paper": Preset(
                    data_settings=HH,
                    settings=LLAMA | {"max_texts": 500},
                    differs=("the likelihood of chosen replies of hh-rlhf instead of a judge's scores",),
                    cost="2 GPU hours a seed, three GPUs of 141 GB with the upper bound",
                    seeds=5,
                ),
                "own": Preset(
                    {"max_texts": 500},
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
                Arm("up-scaled", "method", {"system": "emulated"}),
                Arm("down-scaled", "method", {"system": "down-scaled"}),
                Arm("small-tuned", "baseline", {"system": "small-tuned"}),
                Arm("large-base", "baseline", {"system": "base"}),
                _other_reference({"system": "emulated"}),
                Arm("small-base", "reference", {"system": "small-base"}),
                Arm("large-tuned", "reference", {"system": "upper"}),
            ),
            presets={
                "tiny": Preset(TINY, cost="5 s, 1 core", seeds=2),
                "laptop": Preset(
                    differs=(
                        *DIFFERS,
                        "factuality is the region of cities of the time zone database, helpfulness is to"
                        " answer with its name alone; fine-tuning asks for 30 % of the cities, others test",
                    ),
                    cost="1 min, 2 cores",
                    seeds=4,
                ),
                "larger": LARGER,
            },
        ),
        "interpolate": Recipe(
            config="Interpolate",
            summary="mix two fine-tunings of one small model when the model is used",
            arms=(
                *map(_mix, (0.5, 0.0, 0.25, 0.75, 1.0)),
                Arm("small-mix-50", "baseline", {"weights": (0.5, 0.5), "size": "small"}),
                Arm(
                    "no-delta",
                    "control",
                    {"weights": (0.0, 0.0)},
                    "both behaviours: the large base alone",
                ),
                Arm(
                    "averaged",
                    "reference",
                    {"weights": (0.5, 0.5), "mixed": "parameters"},
                ),
            ),
            presets={
                "tiny": Preset(TINY | TEXTS, cost="5 s, 1 core", seeds=2),
                "laptop": Preset(
                    differs=(
                        *DIFFERS,
                        "two kinds of text, docstrings of two Python packages, instead of helpful and"
                        " harmless replies",
                    ),
                    cost="1 min, 2 cores",
                    seeds=4,
                ),
                "larger": LARGER,
            },
        ),
        "draft": Recipe(
            config="Draft",
            summary="count passes of the large model when the small tuned one drafts",
            arms=(
                Arm("speculative", "method", {"decoding": "speculative", "block_size": 4}),
                Arm("plain", "baseline", {"decoding": "plain", "block_size": 4}),
                Arm(
                    "always-accept",
                    "control",
                    {"decoding": "always-accept", "block_size": 4},
                    "the test of each drafted token: all drafts are taken as they are",
                ),
                Arm("blocks-of-2", "reference", {"decoding": "speculative", "block_size": 2}),
                Arm("blocks-of-8", "reference", {"decoding": "speculative", "block_size": 8}),
            ),
            presets={
                "tiny": Preset(
                    TINY | TEXTS | {"max_new_tokens": 4, "continued": 4, "law_draws": 2500},
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
                "larger": LARGER,
            },
        ),
    },
    apply="emulate",
    claims=(
        _adapt(
            "up-scaling-helps",
            "A large base with the small model's fine-tuning predicts texts of the domain better than the"
            " small fine-tuned model and than the large base.",
            Reported(
                "up-scaling improves helpfulness and factuality over the small tuned model in all families",
                "abstract",
            ),
            Superior("token_nll", "eft", over="small-tuned"),
            Superior("token_nll", "eft", over="large-base"),
            Superior("token_nll", "eft", over="other-place"),
        ),
        Claim(
            "half-of-the-gap",
            "Up-scaling goes at least half of the way from the small tuned model to the large tuned one.",
            recipe="adapt",
            reported=_summaries("nearly all of the factuality gap, part of the helpfulness gap"),
            tests=(AtLeast("gap_recovered", "eft", 0.5),),
            requires=(AtLeast("tuning_gain", "eft", 0.05), AtLeast("scale_gain", "eft", 0.05)),
        ),
        _adapt(
            "ancestor-matters",
            "The delta works because the reference is what the small model was tuned from.",
            _summaries("the implicit reward is log pi_ft - log pi_ref"),
            Superior("token_nll", "eft", over="other-reference"),
            equal=("scored_tokens",),
        ),
        _adapt(
            "more-than-an-ensemble",
            "The delta does more than averaging the log-probabilities of the large base and the small"
            " fine-tuned model.",
            _summaries("fine-tuning is a reward added to the large model's log-probabilities"),
            Superior("token_nll", "eft", over="ensemble"),
        ),
        _adapt(
            "top-p-helps",
            "Taking the up-scaling delta only inside the small fine-tuned model's top p helps a little.",
            Reported("top-p filtering of up-scaling weights helps mildly", source="recalled"),
            Superior("token_nll", "eft-top-p", over="eft"),
        ),
        Claim(
            "knowledge-from-pre-training",
            "What the up-scaled model knows comes from the large pre-training: it is more factual than the"
            " small fine-tuned and the down-scaled model, and hardly less than the large fine-tuned one.",
            recipe="facts",
            reported=_summaries("up-scaling recovers nearly all of the factuality gap"),
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
            reported=_summaries("down-scaling recovers almost all of the helpfulness gap"),
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
            reported=_summaries("test-time interpolation traces a helpful and harmless frontier"),
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
            reported=_summaries("speculative decoding leaves the distribution unchanged"),
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
            reported=_summaries("about 2.5 times faster end to end"),
            tests=(AtMost("large_forwards_per_token", "speculative", 0.4),),
            requires=(AtMost("law_excess", "speculative", 1.5),),
        ),
        Claim(
            "llama-and-falcon",
            "Up-scaling recovers nearly all of the factuality gap and part of the helpfulness gap in Llama,"
            " Llama-2 and Falcon, as GPT-4 judges.",
            reported=_summaries("Llama 7B to 65B, Llama-2 7B to 70B, Falcon 7B to 180B"),
            untested="needs 70B models and a judge; `assay run eft --preset llama --judge ...` measures it",
        ),
        Claim(
            "amplification",
            "Amplifying the up-scaling delta raises HumanEval pass@1 and ELI5 factuality, up to a point.",
            reported=_summaries("moderate gains for beta above 1"),
            untested="needs large code and chat models; `assay run eft --prompts hub:openai/openai_humaneval"
            " --amplify 1.2 --sandbox ...` measures one point",
        ),
    ),
)
