"""What the paper on Bayes Error Optimisation says."""

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

ALONE = {"training": "all", "transfer": False}
"""The second victim is spared where no claim asks for it."""

REQUIRES = (
    AtLeast("accuracy", "clean-half", 0.5),
    AtLeast("train_accuracy", "clean-half", 0.7),
    AtLeast("accuracy_second", "clean-half", 0.5),
    AtMost("largest_change", "beo", 8.0),  # of 255
)
"""The clean half can be learnt and was, by both networks, and the change is as small as the paper's."""

PAPER = Paper(
    slug="bayes_unlearnable",
    family="privacy",
    title="Towards Provably Unlearnable Examples via Bayes Error Optimisation",
    authors="Ruihan Zhang, Jun Sun, Ee-Peng Lim, Peixin Zhang",
    year=2026,
    arxiv="2511.08191",
    code="https://github.com/cat-claws/unlearnable",
    summary="changes pictures, hardly visibly, so that what is learnt from them should be worse",
    metrics=(
        Metric("accuracy", "higher", "fraction", description="of the victim, on clean test pictures"),
        Metric("accuracy_second", "higher", "fraction", description="the same of another architecture"),
        Metric("bayes_error", "higher", "fraction", description="of training data, in the victim's features"),
        Metric("bayes_error_second", "higher", "fraction", description="in the other victim's features"),
        Metric("train_accuracy", "higher", "fraction", description="of the victim, on what it learnt from"),
        Metric("train_accuracy_second", "higher", "fraction", description="of the other architecture"),
        Metric("largest_change", "lower", "levels of 255", description="of any pixel, in the files"),
    ),
    recipes={
        "protect": Recipe(
            config="Protect",
            summary="protect pictures and measure what classifiers still learn from them",
            arms=(
                Arm("beo", role="method", settings={"protection": "beo", "training": "all"}),
                Arm("beo-mix", role="method", settings={"protection": "beo", "training": "mix"}),
                Arm("clean-half", role="baseline", settings={"protection": "none", "training": "clean_part"}),
                Arm("clean-all", role="reference", settings={"protection": "none", "training": "all"}),
                Arm("em", role="baseline", settings={"protection": "em", **ALONE}),
                Arm("em-mix", role="baseline", settings={"protection": "em", **ALONE, "training": "mix"}),
                Arm(
                    "random",
                    role="control",
                    settings={"protection": "random", "training": "all"},
                    removes="the direction of the change: signs are drawn at random",
                ),
                Arm(
                    "random-mix",
                    role="control",
                    settings={"protection": "random", **ALONE, "training": "mix"},
                    removes="the direction of the change, in the mix",
                ),
                Arm(
                    "beo-pixels",
                    role="control",
                    settings={"protection": "beo", **ALONE, "ascent.neighbours": "pixels"},
                    removes="the network: neighbours are sought among raw pixels",
                ),
                Arm(
                    "beo-fixed",
                    role="control",
                    settings={"protection": "beo", **ALONE, "ascent.refresh_every": 0},
                    removes="the fresh networks: every step climbs the features of the first one",
                ),
            ),
            presets={
                "tiny": Preset(
                    data_settings={"max_pictures": 80, "size": 8},
                    settings={
                        "ascent.steps": 2,
                        "ascent.network.width": 4,
                        "ascent.network.epochs": 1,
                        "em_rounds": 1,
                        "protect_held_out": False,
                        "victim.width": 4,
                        "victim.epochs": 1,
                        "second_victim.width": 4,
                        "second_victim.epochs": 1,
                    },
                    cost="5 s, 1 core",
                    seeds=2,
                ),
                "laptop": Preset(
                    data_settings={"max_pictures": 600, "size": 16},
                    settings={
                        "ascent.steps": 40,
                        "ascent.refresh_every": 2,
                        "ascent.learning_rate": 0.005,
                        "ascent.network.width": 16,
                        "ascent.network.epochs": 8,
                        "victim.width": 16,
                        "victim.epochs": 15,
                        "second_victim.width": 8,
                        "second_victim.epochs": 10,
                        "second_learning_rate": 0.02,
                        "batch_size": 64,
                        "protect_held_out": False,
                    },
                    data_differs=(
                        "600 crops of ten photographs, scaled to 16x16 pixels, instead of CIFAR-10; tested on"
                        " other parts of the photographs",
                    ),
                    differs=(
                        "a convolutional network of 16-32-64 channels climbs and is the first victim, a"
                        " ResNet-18 of an eighth of the width is the second",
                        "40 ascent steps on 20 fresh networks of 8 epochs, instead of up to 2,000 on as many"
                        " networks of 30 epochs; 0.005 a step instead of 0.001",
                        "training pictures are shuffled, and AdamW on the pixels has no weight decay; the"
                        " released code does neither",
                        "victims on the clean half get as many gradient steps as those on all pictures",
                    ),
                    cost="4 min, 2 cores",
                    seeds=5,
                ),
                "paper": Preset(
                    data_settings={"data": "hub:uoft-cs/cifar10"},
                    settings={
                        "ascent.steps": 200,
                        "ascent.learning_rate": 0.001,
                        "ascent.network.network": "resnet18",
                        "ascent.network.epochs": 30,
                        "victim.network": "resnet18",
                        "victim.epochs": 60,
                        "second_victim.network": "convnet",
                        "second_victim.width": 64,
                        "second_victim.epochs": 60,
                        "protect_held_out": False,
                    },
                    differs=(
                        "200 ascent steps; the development script has 2,000, the released one 2",
                        "training pictures are shuffled, and AdamW on the pixels has no weight decay",
                        "the second victim is a plain convolutional network",
                    ),
                    cost="15 GPU hours a seed with --precision bf16-mixed",
                    seeds=5,
                ),
            },
        )
    },
    apply="protect",
    claims=(
        Claim(
            "mix-hurts",
            "A classifier trained on a half protected, half clean set is worse than one trained on the clean"
            " half alone.",
            recipe="protect",
            reported=Reported("69.68 % on the mix, 91.16 % on the clean half", where="CIFAR-10, ResNet-18"),
            tests=(
                Superior("accuracy", "clean-half", over="beo-mix"),
                Superior("accuracy_second", "clean-half", over="beo-mix"),
                Superior("accuracy", "random-mix", over="beo-mix"),
            ),
            requires=REQUIRES,
            equal=("gradient_steps",),
        ),
        Claim(
            "estimate-rises",
            "The estimated Bayes error of protected pictures, in the features of a network trained on them"
            " afterwards, is above that of clean pictures and of pictures with random noise.",
            recipe="protect",
            reported=Reported("rises from 0.002 to between 0.1 and 0.5", "released log", source="code"),
            tests=(
                Superior("bayes_error", "beo", over="clean-all"),
                Superior("bayes_error", "beo", over="random"),
            ),
            requires=REQUIRES,
            equal=("gradient_steps",),
        ),
        Claim(
            "estimate-rises-elsewhere",
            "The estimate rises in the features of another architecture too.",
            recipe="protect",
            reported=Reported("several architectures", where="abstract"),
            tests=tuple(
                Superior("bayes_error_second", "beo", over=other) for other in ("clean-all", "random")
            ),
            requires=REQUIRES,
            equal=("gradient_steps_second",),
        ),
        Claim(
            "fresh-networks-matter",
            "The estimate rises more than when one network is climbed throughout, or raw pixels are.",
            recipe="protect",
            reported=Reported("each step trains a fresh network", "released code", source="code"),
            tests=(
                Superior("bayes_error", "beo", over="beo-fixed"),
                Superior("bayes_error", "beo", over="beo-pixels"),
            ),
            requires=REQUIRES,
            equal=("gradient_steps",),
        ),
        Claim(
            "full-protection-hurts",
            "A classifier trained on protected pictures alone is worse than one trained on clean pictures or"
            " on pictures with random noise.",
            recipe="protect",
            reported=Reported("85.7 % falls to between 64 and 70 %", "released log", source="code"),
            tests=(
                Superior("accuracy", "clean-all", over="beo"),
                Superior("accuracy", "random", over="beo"),
            ),
            requires=REQUIRES,
            equal=("gradient_steps",),
        ),
        Claim(
            "prior-loses-effect",
            "Error-minimising noise loses its effect in a mix: it is at most 2 points below the clean half.",
            recipe="protect",
            reported=Reported("prior methods about 92.51 % on the mix", where="CIFAR-10, ResNet-18"),
            tests=(NonInferior("accuracy", "em-mix", to="clean-half", within=0.02),),
            requires=(*REQUIRES, Superior("accuracy", "clean-all", over="em", by=0.1)),
            equal=("gradient_steps",),
        ),
        Claim(
            "provable",
            "The Bayes error of protected data rises by construction.",
            reported=Reported("the theorem", where="title and abstract"),
            untested="the theorem could not be read; tests of the package show that ascent on fixed features"
            " never lowers the estimate, and that a mixture keeps its share of the error",
        ),
        Claim(
            "several-data-sets",
            "It works on further data sets.",
            reported=Reported("CIFAR-100, SVHN or Tiny ImageNet", source="inferred"),
            untested="needs GPU days; `--preset paper --data hub:...` runs each of them",
        ),
    ),
)
