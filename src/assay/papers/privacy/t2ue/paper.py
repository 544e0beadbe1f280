"""What the T2UE paper says."""

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

TRAINED = (AtLeast("victim_accuracy", "clean", 0.5), AtLeast("fit", "clean", 0.9))
"""The clean victim is not under-trained: it fits its pictures, and knows half of the clean ones."""

SENSITIVE = (Superior("victim_accuracy", "em-class", over="clean"),)
"""A protection that is known to work, and sees the pictures, works here: else no noise of this size can."""

HAS_WORK = (AtLeast("surrogate_loss", "sample-wise", 0.1),)
"""The surrogate is not sure of every pair, so that the generator has something to minimise."""

WORKS = (*TRAINED, *SENSITIVE, *HAS_WORK)
EQUAL = ("gradient_steps", "test_pictures")

SMALL = {"surrogate_epochs": 1, "network.epochs": 1, "network.base_channels": 8}
COCO = {"pairs.captions": "annotations/captions_train2017.json", "pairs.images": "train2017"}
CLIP = {
    "surrogate": "hub:openai/clip-vit-base-patch32",
    "network.base_channels": 512,
    "network.blocks": 7,
    "network.epochs": 500,
    "network.learning_rate": 1e-4,
}
"""The paper's generator and its training; the weight decay and the length of z are not stated."""


PAPER = Paper(
    slug="t2ue",
    family="privacy",
    title="T2UE: Generating Unlearnable Examples from Text Descriptions",
    authors="Xingjun Ma, Hanxun Huang, Tianwei Song, Ye Sun, Yifeng Gao, Yu-Gang Jiang",
    year=2025,
    arxiv="2508.03091",
    summary="makes noise that keeps pictures from being learnt, from their captions alone",
    metrics=(
        Metric(
            "victim_accuracy",
            "lower",
            "fraction",
            description="on clean test pictures, of a network trained on what is published",
        ),
        Metric("fit", "higher", "fraction", description="of that network on what it was trained on"),
        Metric(
            "surrogate_loss",
            "higher",
            "nats",
            description="of the frozen surrogate on clean pairs, above the least that their captions allow",
        ),
        Metric("noise_size", "lower", "times eps", description="mean absolute noise"),
    ),
    recipes={
        "train": Recipe(
            config="Train",
            summary="train a noise generator on pictures with captions, once",
            presets={
                "tiny": Preset(settings=SMALL),
                "laptop": Preset(cost="1 min, 1 core"),
                "clip": Preset(settings=CLIP | COCO, cost="3 to 5 days, one GPU of 80 GB"),
            },
        ),
        "noise": Recipe(config="Noise", summary="make noise from captions alone; no picture is opened"),
        "protect": Recipe(config="Protect", summary="add the noise to pictures, where the pictures are"),
        "learn": Recipe(
            config="Learn",
            summary="train a victim on protected pictures and test it on clean ones",
            arms=(
                Arm("clean", role="baseline", settings={"protection": "none"}),
                Arm("sample-wise", role="method", settings={"protection": "sample-wise"}),
                Arm("class-wise", role="method", settings={"protection": "class-wise"}),
                Arm(
                    "shuffled",
                    role="control",
                    settings={"protection": "shuffled"},
                    removes="the link between picture and caption: the same noises, each on a random picture",
                ),
                Arm(
                    "random-sample",
                    role="control",
                    settings={"protection": "random-sample"},
                    removes="the generator: random signs for each picture",
                ),
                Arm("random-class", role="baseline", settings={"protection": "random-class"}),
                Arm("em-class", role="reference", settings={"protection": "em"}),
                Arm("mixed", role="method", settings={"protection": "class-wise", "protected": 0.5}),
                Arm(
                    "clean-half",
                    role="reference",
                    settings={"protection": "none", "protected": 0.5, "drop_others": True},
                ),
                Arm("clean-other", role="baseline", settings={"protection": "none", "on_other": True}),
                Arm("sample-wise-other", "method", settings={"protection": "sample-wise", "on_other": True}),
            ),
            presets={
                "tiny": Preset(
                    settings=SMALL
                    | {
                        "image_size": 8,
                        "em_rounds": 2,
                        "victim.width": 4,
                        "victim.epochs": 1,
                        "other.width": 2,
                        "other.epochs": 1,
                    },
                    cost="10 s, 1 core",
                    seeds=2,
                ),
                "laptop": Preset(
                    settings={"victim.width": 16, "other.epochs": 20},
                    data_differs=(
                        "crops of ten photographs at 16 pixels instead of CIFAR and MSCOCO; provider and user"
                        " have different tiles of the same photographs",
                    ),
                    differs=(
                        "a convolutional surrogate of three blocks trained here for 5 passes, over frozen"
                        " MiniLM captions, instead of CLIP",
                        "a generator of 4 blocks with 64 channels trained for 20 passes with a learning rate"
                        " of 1e-3, instead of 7 blocks with 512 channels for 300 to 500 passes with 1e-4",
                        "victims are a convolutional network of three blocks and a narrow ResNet-18, trained"
                        " for 12 and 20 passes instead of 100",
                    ),
                    cost="5 min, 2 cores",
                    seeds=5,
                ),
                "paper": Preset(
                    data_settings={"data": "hub:uoft-cs/cifar10", "image_size": 32},
                    settings=CLIP
                    | COCO
                    | {
                        "victim.network": "resnet18",
                        "victim.epochs": 100,
                        "other.network": "convnet",
                        "other.width": 64,
                        "other.epochs": 100,
                    },
                    differs=(
                        "transfer is to a plain convolutional network instead of VGG, GoogLeNet, DenseNet",
                        "AdamW's weight decay of 1e-4 and a random vector of 100 numbers, which the paper"
                        " does not state",
                    ),
                    cost="days, one GPU of 80 GB; with --provider hours",
                    seeds=3,
                ),
            },
        ),
        "retrieve": Recipe(
            config="Retrieve",
            summary="train a CLIP from scratch on protected pictures and test its retrieval",
        ),
    },
    apply="train",
    claims=(
        Claim(
            "hurts-sample-wise",
            "With T2UE noise from captions on all pictures, a victim is less accurate on clean ones.",
            recipe="learn",
            reported=Reported("CIFAR-10, ResNet-18: 90.34 to 13.76 %", where="surrogate ViT-B/16"),
            tests=(Superior("victim_accuracy", "sample-wise", over="clean"),),
            requires=WORKS,
            equal=EQUAL,
        ),
        Claim(
            "hurts-class-wise",
            "With one T2UE noise from the prompt of each class it is less accurate too.",
            recipe="learn",
            reported=Reported("CIFAR-10, ResNet-18: 90.34 to 10.02 %", where="surrogate ViT-B/16"),
            tests=(Superior("victim_accuracy", "class-wise", over="clean"),),
            requires=WORKS,
            equal=EQUAL,
        ),
        Claim(
            "unlearnable",
            "Of ten classes, a victim then knows at most 20 % of clean pictures: next to nothing was learnt.",
            recipe="learn",
            reported=Reported("13.76 and 10.02 % on CIFAR-10", where="surrogate ViT-B/16"),
            tests=(
                AtMost("victim_accuracy", "sample-wise", 0.2),
                AtMost("victim_accuracy", "class-wise", 0.2),
            ),
            requires=(*TRAINED, AtMost("victim_accuracy", "em-class", 0.3), *HAS_WORK),
        ),
        Claim(
            "text-link",
            "The captions do it: on random pictures the same noises protect less, as do random signs.",
            recipe="learn",
            tests=(
                Superior("victim_accuracy", "sample-wise", over="shuffled"),
                Superior("victim_accuracy", "sample-wise", over="random-sample"),
            ),
            requires=WORKS,
            equal=EQUAL,
        ),
        Claim(
            "transfers",
            "The noise works on a victim of another architecture too.",
            recipe="learn",
            reported=Reported("CIFAR-10 class-wise, five architectures: 9.4 to 15.7 %"),
            tests=(Superior("victim_accuracy", "sample-wise-other", over="clean-other"),),
            requires=(
                AtLeast("victim_accuracy", "clean-other", 0.5),
                AtLeast("fit", "clean-other", 0.9),
                *SENSITIVE,
                *HAS_WORK,
            ),
            equal=EQUAL,
        ),
        Claim(
            "weak-when-mixed",
            "With half of the pictures left clean, class-wise noise does less.",
            recipe="learn",
            reported=Reported("CIFAR-10 class-wise: 78.01 % at 40 % protected, 74.46 at 60, 10.02 at 100"),
            tests=(Superior("victim_accuracy", "class-wise", over="mixed"),),
            requires=WORKS,
            equal=EQUAL,
        ),
        Claim(
            "matches-random-class-noise",
            "Class-wise T2UE protects no worse than random signs for each class, within 5 points.",
            recipe="learn",
            tests=(NonInferior("victim_accuracy", "class-wise", to="random-class", within=0.05),),
            requires=WORKS,
            equal=EQUAL,
        ),
        Claim(
            "retrieval",
            "A CLIP trained from scratch on protected pairs retrieves far worse.",
            reported=Reported("Flickr8k Hit@10: 17.7/18.6 to 11.6/8.02; Flickr30k median rank: 11 to 78"),
            untested="needs Flickr8k or MSCOCO and a GPU; `assay run t2ue retrieve` trains such a CLIP",
        ),
        Claim(
            "augmentation",
            "The noise survives CutOut, MixUp and AutoAugment.",
            reported=Reported("CIFAR-10: 10 to 14 %"),
            untested="a victim that has to lose 80 points first, as on CIFAR-10, is not to be had here",
        ),
        Claim(
            "cheap-noise",
            "Noise for Flickr8k takes 0.3 hours, error-minimising noise 1.1 and MEM-3 4.4.",
            reported=Reported("0.3 h against 1.1, 4.1, 4.4 and 10.2 h"),
            untested="timings of other code on other hardware; `benchmarks/t2ue.py` measures noises a second",
        ),
        Claim(
            "zero-contact",
            "No picture is needed when noise is made.",
            reported=Reported("by construction", where="method"),
            untested="not statistical: a test runs `noise` with every way of opening a picture broken",
        ),
    ),
)
