"""What the UOE paper says."""

from assay.paper import (
    Arm,
    AtLeast,
    AtMost,
    Better,
    Claim,
    Metric,
    Paper,
    Preset,
    Recipe,
    Reported,
    Role,
    Superior,
    Test,
)

GRID = (3e-4, 1e-3, 1e-2, 3e-2)
"""Learning rates that every arm tries; one expert needs larger ones than the whole model."""

LEVEL = 1 / 12 + 0.05
"""Chance and 5 points: where arms are compared."""

LARGE = {
    "max_tokens": 1024,
    "max_documents": 2000,
    "dtype": "bfloat16",
    "learning_rates": (5e-5, 1e-4, 2e-4, 5e-4),
    "unlearning_steps": 200,
    "accumulate": 4,
    "measure_every": 10,
}
"""Of the presets with the paper's models: documents, batches of 32 and steps as in the released code."""

LARGE_DIFFERS = (
    "arms that train the whole model need it in float32: give --dtype float32, 60 GB and more",
    "no retrained reference: that needs the model's own training data",
)

KNOWN = (
    AtLeast("forget_accuracy", "base", 0.9),
    AtLeast("retain_accuracy", "base", 0.9),
    AtMost("forget_accuracy", "retrained", 0.25),
)
"""The model knows both sets, and nothing of the forget set can be guessed."""

SPECIALISED = (AtLeast("concentration", "uoe-gdiff", 2.0), AtLeast("selectivity", "uoe-gdiff", 1.5))
"""The router sends the topic to one expert at least twice as much as to the average one."""

ROOM = 0.95
"""Where the whole model keeps more than this share, there is nothing for one expert to do better."""

REPORTED = Reported(
    "forget quality up to +5 %, utility up to +35 %, with 0.06 % of the parameters", "abstract"
)


OBJECTIVES = ("gdiff", "ga", "npo")


def _arm(name: str, role: Role, objective: str, part: str) -> Arm:
    return Arm(name, role=role, settings={"objective": objective, "trained_part": part})


def _fraction(name: str, description: str, better: Better = "higher") -> Metric:
    return Metric(name, better, "fraction", description=description)


def _claim(name: str, statement: str, reported: Reported, *tests: Test, room: tuple[Test, ...] = ()) -> Claim:
    """Return a claim about one expert, and what must leave room for it."""
    return Claim(
        name,
        statement,
        recipe="unlearn",
        reported=reported,
        tests=tests,
        requires=(*KNOWN, *SPECIALISED, *room),
        equal=("candidates", "step_budget"),
    )


def _beats(objective: str, name: str) -> Claim:
    """Return the claim that one expert keeps more than the whole model, with one objective."""
    return _claim(
        f"beats-whole-model-{objective}",
        f"Where both have forgotten, {name} on one expert keeps more than {name} on the whole model.",
        REPORTED,
        Superior("retain_at_level", f"uoe-{objective}", over=objective),
        room=(AtMost("forget_accuracy", objective, LEVEL), AtMost("retain_at_level", objective, ROOM)),
    )


PAPER = Paper(
    slug="uoe",
    family="privacy",
    title="UOE: Unlearning One Expert Is Enough For Mixture-of-experts LLMS",
    authors="Haomin Zhuang, Yihua Zhang, Kehan Guo, Jinghan Jia, Gaowen Liu, Sijia Liu, Xiangliang Zhang",
    year=2024,
    arxiv="2411.18797",
    code="https://github.com/zhmzm/SEUF",
    summary="makes a mixture-of-experts language model forget a topic by changing one expert",
    metrics=(
        _fraction("retain_at_level", "retain accuracy where forget accuracy first falls to the level"),
        _fraction("forget_accuracy", "lowest accuracy reached on the forget set", better="lower"),
        _fraction("retain_accuracy", "on the retain set, where unlearning ended"),
        _fraction("retained_area", "mean retain accuracy on the way to the level; 0 for what is not reached"),
        Metric("steps_to_level", "lower", "steps", description="gradient steps until the level"),
        _fraction("retain_overlap", "chosen experts of retain tokens that are still chosen at the level"),
        _fraction("forget_overlap", "chosen experts of forget tokens that are still chosen at the level"),
        _fraction("trained_share", "parameters that are trained", better="lower"),
        Metric(
            "concentration",
            "higher",
            "times uniform",
            description="affinity of forget tokens to the trained expert, over that of an average expert",
        ),
        Metric(
            "selectivity",
            "higher",
            "times retain",
            description="affinity of forget tokens to the trained expert, over that of retain tokens",
        ),
    ),
    recipes={
        "unlearn": Recipe(
            config="Unlearn",
            inputs=("model", "forget", "retain"),
            summary="unlearn one expert of a model and measure what it keeps",
            arms=(
                *(_arm(f"uoe-{name}", "method", name, "top1") for name in OBJECTIVES),
                *(_arm(name, "baseline", name, "model") for name in OBJECTIVES),
                _arm("frozen-routers", "baseline", "gdiff", "no-routers"),
                Arm(
                    "no-anchor",
                    role="control",
                    settings={"objective": "gdiff", "trained_part": "top1", "anchor_weight": 0.0},
                    removes="the anchor: forget tokens may leave the expert",
                ),
                Arm(
                    "random-expert",
                    role="control",
                    settings={"objective": "gdiff", "trained_part": "random"},
                    removes="the attribution: the expert is drawn at random",
                ),
                _arm("shared-expert", "reference", "gdiff", "shared"),
                Arm("base", role="reference", settings={"measured": "base"}),
                Arm("retrained", role="reference", settings={"measured": "retrained"}),
            ),
            presets={
                "tiny": Preset(
                    settings={
                        "learning_rates": (1e-2,),
                        "unlearning_steps": 3,
                        "scratch.topics": 2,
                        "scratch.entities": 8,
                        "scratch.layers": 2,
                        "scratch.width": 16,
                        "scratch.heads": 2,
                        "scratch.expert_width": 16,
                        "scratch.shared_width": 8,
                        "scratch.experts": 4,
                        "scratch.steps": 40,
                    },
                    cost="5 s, 1 core",
                    seeds=2,
                ),
                "laptop": Preset(
                    settings={"learning_rates": GRID},
                    data_differs=(
                        "a Qwen2-MoE with 0.5 M parameters, 4 layers of 8 experts, top-2, trained on 96"
                        " invented facts of 4 topics, instead of Qwen1.5-MoE-A2.7B and DeepSeek-V2-Lite",
                        "one topic of invented facts is forgotten, instead of WMDP-cyber and RWKU; utility is"
                        " the accuracy on facts of other topics that unlearning has not trained on, not MMLU",
                        "one expert and its router are 2.5 % of so small a model, instead of 0.06 %",
                    ),
                    differs=(
                        "every arm has the same four learning rates; the best on validation facts is used",
                        "without RMU",
                    ),
                    cost="2 min, 2 cores",
                    seeds=5,
                ),
                "paper": Preset(
                    settings={
                        **LARGE,
                        "model": "hub:Qwen/Qwen1.5-MoE-A2.7B",
                        "forget": "hub:cais/wmdp-corpora/cyber-forget-corpus",
                        "retain": "hub:cais/wmdp-corpora/cyber-retain-corpus",
                        "forget_test": "hub:cais/wmdp/wmdp-cyber#test",
                        "retain_test": "hub:cais/mmlu/all#test",
                        "forget_level": 0.3,
                    },
                    differs=("one device, and 2,000 documents of each set", *LARGE_DIFFERS),
                    cost="up to 8 GPU hours a seed and arm",
                    seeds=3,
                ),
                "paper-deepseek": Preset(
                    settings={
                        **LARGE,
                        "model": "hub:deepseek-ai/DeepSeek-V2-Lite",
                        "forget": "hub:jinzhuoran/RWKU/forget_level2#test",
                        "retain": "hub:jinzhuoran/RWKU/neighbor_level2#test",
                        "retain_test": "hub:cais/mmlu/all#test",
                    },
                    differs=(
                        "one device, and all people of RWKU at once, unlearned from its questions",
                        *LARGE_DIFFERS,
                    ),
                    cost="up to 12 GPU hours a seed and arm",
                    seeds=3,
                ),
            },
        )
    },
    apply="unlearn",
    claims=(
        _beats("gdiff", "gradient difference"),
        _beats("ga", "gradient ascent"),
        _beats("npo", "preference optimisation"),
        _claim(
            "beats-frozen-routers",
            "One expert with its router keeps more than the whole model with its routers frozen.",
            Reported("a frozen router alone does not prevent the loss", source="recalled"),
            Superior("retain_at_level", "uoe-gdiff", over="frozen-routers"),
            room=(AtMost("retain_at_level", "frozen-routers", ROOM),),
        ),
        _claim(
            "keeps-routing",
            "One expert leaves the routing of retain tokens more as it was than the whole model does.",
            Reported("plain methods lose utility through expert selection shift", source="recalled"),
            Superior("retain_overlap", "uoe-gdiff", over="gdiff"),
        ),
        _claim(
            "needs-the-anchor",
            "With the anchor more is kept at the forget level than without it.",
            Reported("the anchor holds tokens at the target expert", source="recalled"),
            Superior("retain_at_level", "uoe-gdiff", over="no-anchor"),
        ),
        _claim(
            "needs-the-attribution",
            "The attributed expert keeps more at the forget level than an expert drawn at random.",
            Reported("the first rank is better than lower ranks", source="recalled"),
            Superior("retain_at_level", "uoe-gdiff", over="random-expert"),
        ),
        _claim(
            "beats-the-shared-expert",
            "The attributed expert keeps more at the forget level than the shared expert of its layer.",
            Reported("unlearning the shared expert is worst", source="recalled"),
            Superior("retain_at_level", "uoe-gdiff", over="shared-expert"),
        ),
        Claim(
            "large-models",
            "On WMDP and RWKU, forget quality rises by up to 5 % and utility by up to 35 %.",
            reported=REPORTED,
            untested="needs the large models; the presets paper and paper-deepseek run them",
        ),
        Claim(
            "few-parameters",
            "Only 0.06 % of the parameters are updated.",
            reported=Reported("0.06 %", "abstract"),
            untested="follows from the shapes: 8,773,632 of 14.3 billion for Qwen1.5-MoE; a test counts",
        ),
        Claim(
            "long-tail",
            "A topic's tokens go to few of the experts.",
            reported=Reported("6 to 9 of 64 experts carry most tokens", source="recalled"),
            untested="is about the large models; the artefact has the attribution table of yours",
        ),
    ),
)
