"""What the InstaGeo paper says."""

from assay.paper import (
    Arm,
    AtLeast,
    Claim,
    Equivalent,
    Metric,
    NonInferior,
    Paper,
    Preset,
    Recipe,
    Reported,
    Superior,
)

EQUAL = ("gradient_steps", "labelled_pixels")

PRITHVI = {
    "backbone": "hub:v1-100m",
    "finetune.gradient_steps": None,
    "finetune.teacher_steps": None,
    "finetune.batch_size": 8,
    "finetune.epochs": 100,
    "finetune.learning_rate": 1e-4,
    "finetune.warmup": 0.0,
    "finetune.weight_decay": 0.01,
    "finetune.weigh_classes": True,
    "finetune.augment": "all",
    "finetune.crop": 224,
    "finetune.select": "best",
}
CROPS = {
    "chips": "hub:ibm-nasa-geospatial/multi-temporal-crop-classification",
    "chips.num_steps": 3,
    "chips.label_shift": -1,
}
SMALL = {
    "landscapes.side": 64,
    "landscapes.chip_size": 32,
    "landscapes.scenes": 4,
    "vit.dim": 32,
    "vit.depth": 2,
    "finetune.gradient_steps": 2,
    "finetune.teacher_steps": 2,
}
SMALLER = Reported("up to 8 times smaller with minimal loss of accuracy", where="abstract")


def _arms(suffix: str, settings: dict[str, bool], *references: Arm) -> tuple[Arm, ...]:
    """Return the arms that are run both with few labels and with all of them, and other references."""
    control = settings | {"kd_weight": 0.0, "start": "random"}
    removes = "the teacher: neither its first blocks nor its soft labels"
    return (
        Arm(f"distilled{suffix}", role="method", settings=settings),
        Arm(f"ce-only{suffix}", role="baseline", settings=settings | {"kd_weight": 0.0}),
        Arm(f"random-init{suffix}", role="control", settings=control, removes=removes),
        *references,
        Arm(f"teacher{suffix}", role="reference", settings=settings | {"trained": "teacher"}),
    )


def _smaller(name: str, statement: str, suffix: str) -> Claim:
    """Return the claim on size; its task needs depth: else any student keeps the teacher's accuracy."""
    teacher, student = f"teacher{suffix}", f"distilled{suffix}"
    return Claim(
        name,
        statement,
        recipe="compress",
        reported=SMALLER,
        tests=(AtLeast("size_ratio", student, 4), NonInferior("miou", student, to=teacher, within=0.015)),
        requires=(
            AtLeast("miou", teacher, 0.4),
            Superior("miou", teacher, over=f"random-init{suffix}", by=0.015),
        ),
        equal=("labelled_pixels",),
    )


def _teacher_helps(name: str, statement: str, suffix: str) -> Claim:
    teacher, ce_only = f"teacher{suffix}", f"ce-only{suffix}"
    return Claim(
        name,
        statement,
        recipe="compress",
        tests=(Superior("miou", f"distilled{suffix}", over=ce_only),),
        requires=(AtLeast("miou", teacher, 0.4), Superior("miou", teacher, over=ce_only)),
        equal=EQUAL,
    )


PAPER = Paper(
    slug="instageo",
    family="vision",
    title="InstaGeo: Compute-Efficient Geospatial Machine Learning from Data to Deployment",
    authors="Ibrahim Salihu Yusuf, Iffanice Houndayi, Rym Oualha, Mohamed Aziz Cherif, Kobby Panford-Quainoo,"
    " Arnu Pretorius",
    year=2025,
    arxiv="2510.05617",
    code="https://github.com/instadeepai/InstaGeo-E2E-Geospatial-ML",
    summary="labelled points and raw satellite scenes to chips, a small distilled model and a map",
    metrics=(
        Metric("miou", "higher", "fraction", description="mean IoU over classes on the test scenes"),
        Metric("auc", "higher", "fraction", description="one-versus-rest area under the ROC curve, mean"),
        Metric("size_ratio", "higher", "times", "exact", "weights of the teacher over the model's"),
        Metric("macs_ratio", "higher", "times", "exact", "multiply-adds of the teacher over the model's"),
        Metric("seconds_per_chip", "lower", "s", kind="timing", description="for one chip, at test time"),
        Metric(
            "label_agreement",
            "higher",
            "fraction",
            "exact",
            "labelled pixels that agree with those of the independent oracle, in chips that are equal",
        ),
        Metric("chips_cut", "higher", "chips", description="from the region's files"),
    ),
    recipes={
        "chips": Recipe(config="Cut", summary="cut chips out of scenes where there are labelled points"),
        "distil": Recipe(
            config="Distil",
            summary="fine-tune a teacher, train students of several depths, keep the smallest good one",
            presets={
                "tiny": Preset(settings=SMALL | {"depths": (1, 2)}),
                "laptop": Preset(cost="1 min, 1 core"),
            },
        ),
        "map": Recipe(config="Map", summary="predict for chips, write rasters and a map as one HTML file"),
        "compress": Recipe(
            config="Compress",
            inputs=("chips",),
            summary="one student, or the teacher, tested on scenes that it was not trained on",
            arms=(
                *_arms(
                    "",
                    {},
                    Arm("kl-only", role="reference", settings={"ce_weight": 0.0, "everywhere": True}),
                    Arm("distilled-2", role="reference", settings={"depth": 2}),
                ),
                *_arms("-full", {"all_labels": True}),
            ),
            presets={
                "tiny": Preset(settings=SMALL, cost="10 s, 1 core", seeds=2),
                "laptop": Preset(
                    data_differs=(
                        "synthetic landscapes of six classes on one date, with textures of photographs,"
                        " instead of satellite scenes",
                    ),
                    differs=(
                        "a transformer of 64 numbers and 8 blocks trained here from random weights for 460"
                        " steps, students for 250, instead of a fine-tuned Prithvi",
                        "a learning rate of 5e-3 with a warm-up and a cosine, the last weights instead of the"
                        " best on validation data, no augmentation and no class weights",
                        "5 % of the training pixels are labelled, all of them in the arms called full",
                    ),
                    cost="3 min, 2 cores",
                    seeds=5,
                ),
                "paper": Preset(
                    settings=CROPS | PRITHVI | {"validation": 0.1},
                    differs=(
                        "crop classification and Prithvi-EO-1.0-100M alone, its validation list as the test",
                        "the best weights are chosen on a tenth of the training chips",
                        "the arms that are not called full keep 5 % of the labelled pixels",
                    ),
                    cost="30 GPU hours a seed, with --precision bf16-mixed",
                    seeds=3,
                ),
            },
        ),
        "fidelity": Recipe(
            config="Fidelity",
            inputs=(),
            summary="chips cut from files against chips cut by an independent oracle",
            arms=(
                Arm("rebuilt", role="method", settings={"cut": "creator"}),
                Arm("oracle", role="baseline", settings={"cut": "oracle"}),
                Arm(
                    "misplaced",
                    role="control",
                    settings={"cut": "misplaced"},
                    removes="the place: each label lies one patch off, down and to the right",
                ),
            ),
            presets={
                "tiny": Preset(
                    settings={
                        "region.side": 96,
                        "region.points": 60,
                        "chip_size": 32,
                        "vit.dim": 32,
                        "vit.depth": 1,
                        "finetune.gradient_steps": 2,
                    },
                    cost="5 s, 1 core",
                    seeds=2,
                ),
                "laptop": Preset(
                    settings={"finetune.gradient_steps": 200, "finetune.teacher_steps": 200},
                    differs=(
                        "a synthetic region of two tiles in two zones on three dates with 2000 points,"
                        " instead of data sets that were published and made again from raw scenes",
                        "the original is cut by an independent program from the arrays that the files were"
                        " written from",
                    ),
                    cost="1 min, 2 cores",
                    seeds=6,
                ),
            },
        ),
    },
    apply="distil",
    claims=(
        _smaller(
            "smaller-for-little-loss",
            "A student of one block is 4 times smaller than the teacher and within 1.5 points of its mIoU.",
            "",
        ),
        _smaller(
            "smaller-with-all-labels", "The same holds where every training pixel is labelled.", "-full"
        ),
        _teacher_helps(
            "teacher-helps",
            "With few labels, learning from the teacher too beats learning from the labels alone.",
            "",
        ),
        _teacher_helps("teacher-helps-with-all-labels", "With all labels it does so too.", "-full"),
        Claim(
            "first-block-helps",
            "A student that starts from the teacher's first block beats one that starts from nothing.",
            recipe="compress",
            tests=(Superior("miou", "ce-only", over="random-init"),),
            requires=(AtLeast("miou", "teacher", 0.4),),
            equal=EQUAL,
        ),
        Claim(
            "same-chips",
            "Chips made again from raw scenes carry the same labels, and a model learns the same from them.",
            recipe="fidelity",
            reported=Reported(
                "mIoU -0.73 points on floods, -0.20 on crops, +1.79 on locusts",
                "table of the repository",
                "code",
            ),
            tests=(
                AtLeast("label_agreement", "rebuilt", 1.0),
                Equivalent("miou", "rebuilt", to="oracle", within=0.02),
            ),
            requires=(
                AtLeast("miou", "oracle", 0.25),
                Superior("miou", "oracle", over="misplaced", by=0.02),
                AtLeast("chips_cut", "oracle", 40),
            ),
            equal=EQUAL,
        ),
        Claim(
            "flood-student",
            "On the HLS flood data the student reaches 84.99 mIoU, the teacher 85.40.",
            reported=Reported("84.99 against 85.40", "secondary source", "recalled"),
            untested="needs Sen1Floods11 with HLS scenes; `--chips folder` reads that data set's layout",
        ),
        Claim(
            "published-sets",
            "Models on data sets made again reach 87.80 mIoU (floods), 47.87 (crops) and 73.30 (locusts).",
            reported=Reported("87.80, 47.87, 73.30", "table of the repository", "code"),
            untested="needs the archives of raw scenes",
        ),
        Claim(
            "more-data",
            "With 14 thousand chips of the US crop layer, mIoU is 60.65, 12 points more.",
            reported=Reported("60.65", where="abstract"),
            untested="needs the crop layer of 2022 and a GPU day",
        ),
        Claim(
            "energy",
            "Smaller students need fewer FLOPs and emit less CO2.",
            untested="multiply-adds follow from the sizes and are shown; `run distil` measures joules where"
            " the machine counts them",
        ),
        Claim(
            "one-day",
            "Raw data become a deployed model within one working day.",
            untested="`benchmarks/instageo.py` measures chips a second; labelling and downloads are not ours",
        ),
    ),
)
