"""What the UOE paper says."""

from assay.paper import (
    Arm,
    AtLeast,
    AtMost,
    Claim,
    Metric,
    Paper,
    Preset,
    Recipe,
    Reported,
    Superior,
    Test,
)

GRID = (3e-4, 1e-3, 1e-2, 3e-2)
"""Learning rates that every arm tries; one expert needs larger ones than the whole model."""

LEVEL = 1 / 12 + 0.05
"""Chance and 5 points: where arms are compared."""

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


def beats(objective: str, name: str) -> Claim:
    """Return the claim that one expert keeps more than the whole model, with one objective."""
    return Claim(
        f"beats-whole-model-{objective}",
        f"Where both have forgotten, {name} on one expert keeps more than {name} on the whole model.",
        recipe="unlearn",
        reported=REPORTED,
        tests=(Superior("retain_at_level", f"uoe-{objective}", over=objective),),
        requires=(
            *KNOWN,
            *SPECIALISED,
            AtMost("forget_accuracy", objective, LEVEL),
            AtMost("retain_at_level", objective, ROOM),
        ),
        equal=("candidates", "step_budget"),
    )


def better_than(
    name: str, statement: str, reported: Reported, *tests: Test, room: tuple[Test, ...] = ()
) -> Claim:
    """Return a claim about the method with gdiff, and what must leave room for it."""
    return Claim(
        name,
        statement,
        recipe="unlearn",
        reported=reported,
        tests=tests,
        requires=(*KNOWN, *SPECIALISED, *room),
        equal=("candidates", "step_budget"),
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
        Metric(
            "retain_at_level",
            "higher",
            "fraction",
            description="retain accuracy where forget accuracy first falls to the level",
        ),
        Metric(
            "forget_accuracy", "lower", "fraction", description="lowest accuracy reached on the forget set"
        ),
        Metric(
            "retain_accuracy", "higher", "fraction", description="on the retain set, where unlearning ended"
        ),
        Metric(
            "retained_area",
            "higher",
            "fraction",
            description="mean retain accuracy on the way to the level; 0 for what is not reached",
        ),
        Metric("steps_to_level", "lower", "steps", description="gradient steps until the level"),
        Metric(
            "retain_overlap",
            "higher",
            "fraction",
            description="chosen experts of retain tokens that are still chosen at the level",
        ),
        Metric(
            "forget_overlap",
            "higher",
            "fraction",
            description="chosen experts of forget tokens that are still chosen at the level",
        ),
        Metric("trained_share", "lower", "fraction", description="parameters that are trained"),
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
                Arm("uoe-gdiff", role="method", settings={"objective": "gdiff", "trained_part": "top1"}),
                Arm("uoe-ga", role="method", settings={"objective": "ga", "trained_part": "top1"}),
                Arm("uoe-npo", role="method", settings={"objective": "npo", "trained_part": "top1"}),
                Arm("gdiff", role="baseline", settings={"objective": "gdiff", "trained_part": "model"}),
                Arm("ga", role="baseline", settings={"objective": "ga", "trained_part": "model"}),
                Arm("npo", role="baseline", settings={"objective": "npo", "trained_part": "model"}),
                Arm(
                    "frozen-routers",
                    role="baseline",
                    settings={"objective": "gdiff", "trained_part": "no-routers"},
                ),
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
                    removes="the attribution: the expert is drawn by lot",
                ),
                Arm(
                    "shared-expert",
                    role="reference",
                    settings={"objective": "gdiff", "trained_part": "shared"},
                ),
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
                        " made-up facts of 4 topics, instead of Qwen1.5-MoE-A2.7B and DeepSeek-V2-Lite",
                        "one topic of made-up facts is forgotten, instead of WMDP-cyber and RWKU; utility is"
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
                        "model": "hub:Qwen/Qwen1.5-MoE-A2.7B",
                        "forget": "hub:cais/wmdp-corpora/cyber-forget-corpus",
                        "retain": "hub:cais/wmdp-corpora/cyber-retain-corpus",
                        "forget_test": "hub:cais/wmdp/wmdp-cyber#test",
                        "retain_test": "hub:cais/mmlu/all#test",
                        "max_tokens": 1024,
                        "max_documents": 2000,
                        "dtype": "bfloat16",
                        "learning_rates": (5e-5, 1e-4, 2e-4, 5e-4),
                        "unlearning_steps": 200,
                        "measure_every": 10,
                        "forget_level": 0.3,
                    },
                    differs=(
                        "a batch of 32 documents instead of 32 times 4 a device, and 2,000 of each set",
                        "arms that train the whole model need it in float32: give --dtype float32, 60 GB",
                        "no retrained reference: that needs the model's own training data",
                    ),
                    cost="2 GPU hours a seed and arm",
                    seeds=3,
                ),
                "paper-deepseek": Preset(
                    settings={
                        "model": "hub:deepseek-ai/DeepSeek-V2-Lite",
                        "forget": "hub:jinzhuoran/RWKU/forget_level2#test",
                        "retain": "hub:jinzhuoran/RWKU/neighbor_level2#test",
                        "retain_test": "hub:cais/mmlu/all#test",
                        "max_tokens": 1024,
                        "max_documents": 2000,
                        "dtype": "bfloat16",
                        "learning_rates": (5e-5, 1e-4, 2e-4, 5e-4),
                        "unlearning_steps": 200,
                        "measure_every": 10,
                    },
                    differs=(
                        "all people of RWKU at once, unlearned from its questions",
                        "arms that train the whole model need it in float32: give --dtype float32, 65 GB",
                        "no retrained reference: that needs the model's own training data",
                    ),
                    cost="3 GPU hours a seed and arm",
                    seeds=3,
                ),
            },
        )
    },
    apply="unlearn",
    claims=(
        beats("gdiff", "gradient difference"),
        beats("ga", "gradient ascent"),
        beats("npo", "preference optimisation"),
        better_than(
            "beats-frozen-routers",
            "One expert with its router keeps more than the whole model with its routers frozen.",
            Reported("a frozen router alone does not prevent the loss", source="recalled"),
            Superior("retain_at_level", "uoe-gdiff", over="frozen-routers"),
            room=(AtMost("retain_at_level", "frozen-routers", ROOM),),
        ),
        better_than(
            "keeps-routing",
            "One expert leaves the routing of retain tokens more as it was than the whole model does.",
            Reported("plain methods lose utility through expert selection shift", source="recalled"),
            Superior("retain_overlap", "uoe-gdiff", over="gdiff"),
        ),
        better_than(
            "needs-the-anchor",
            "With the anchor more is kept at the forget level than without it.",
            Reported("the anchor holds tokens at the target expert", source="recalled"),
            Superior("retain_at_level", "uoe-gdiff", over="no-anchor"),
        ),
        better_than(
            "needs-the-attribution",
            "The attributed expert keeps more at the forget level than an expert drawn by lot.",
            Reported("the first rank is better than lower ranks", source="recalled"),
            Superior("retain_at_level", "uoe-gdiff", over="random-expert"),
        ),
        better_than(
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
