"""What the ABMILX paper says."""

from assay.paper import Arm, AtLeast, AtMost, Claim, Metric, Paper, Preset, Recipe, Reported, Superior

ARMS = (
    Arm("abmilx", role="method", settings={"aggregator": "abmilx"}),
    Arm(
        "mhla",
        role="control",
        settings={"aggregator": "mhla"},
        removes="the global refinement of the scores (A+): multi-head local attention alone",
    ),
    Arm("abmil", role="baseline", settings={"aggregator": "abmil"}),
    Arm("gated", role="baseline", settings={"aggregator": "gated"}),
    Arm("mean", role="baseline", settings={"aggregator": "mean"}),
    Arm("max", role="reference", settings={"aggregator": "max"}),  # it cannot count
)
PRETRAINED = (
    Arm("pretrained", role="method", settings={"aggregator": "abmilx", "encoder_training": "pretrained"}),
    Arm(
        "two-stage",
        role="baseline",
        settings={"aggregator": "abmilx", "encoder_training": "frozen"},
    ),
    Arm(
        "two-stage-abmil",
        role="baseline",
        settings={"aggregator": "abmil", "encoder_training": "frozen"},
    ),
)
EQUAL = ("gradient_steps", "bags_seen", "candidates")

TINY = {
    "drawn.train_bags": 16,
    "drawn.test_bags": 16,
    "training.epochs": 1,
    "training.learning_rates": (3e-3,),
    "layers.embed_dim": 16,
}
DIFFERS = (
    "an aggregator of width 64 with 4 heads instead of 512 or 256 with 4 or 8; 30 passes of AdamW without"
    " moving average, augmentation or sampling of instances",
    "the learning rate of every arm is searched for",
    "sparsity is 1 - entropy / log n of the attention; the paper's own definition could not be read",
)
DRAWN = (
    "bags of 32 handwritten digits instead of slides; the label is how many of them are one digit",
    "an encoder of two layers, trained from scratch or first on the other nine digits, instead of an ImageNet"
    " ResNet cut after its third stage",
    "the search is on digits that no seed trains or tests on",
)


def trained(*arms: str) -> tuple[AtLeast, ...]:
    """Return the requirement that these arms fit their training bags."""
    return tuple(AtLeast("train_accuracy", arm, 0.8) for arm in arms)


PAPER = Paper(
    slug="abmilx",
    family="vision",
    title="Revisiting End-to-End Learning with Slide-level Supervision in Computational Pathology",
    authors="Wenhao Tang, Rong Qin, Heng Fang, Fengtao Zhou, Hao Chen, Xiang Li, Ming-Ming Cheng",
    year=2025,
    arxiv="2506.02408",
    code="https://github.com/DearCaat/E2E-WSI-ABMILX",
    summary="trains a patch encoder and an attention aggregator together, from one label per slide",
    metrics=(
        Metric("accuracy", "higher", "fraction", description="on test bags"),
        Metric("balanced_accuracy", "higher", "fraction", description="mean recall of the classes"),
        Metric(
            "auc", "higher", "fraction", description="one class against the others, the mean over classes"
        ),
        Metric("macro_f1", "higher", "fraction"),
        Metric("kappa", "higher", "kappa", description="Cohen's, unweighted"),
        Metric("train_accuracy", "higher", "fraction", description="on training bags, after training"),
        Metric(
            "sparsity", "lower", "1 - entropy", description="of the attention: 1 on one instance, 0 uniform"
        ),
        Metric(
            "instance_auc",
            "higher",
            "fraction",
            description="of attention, for instances of the key class",
        ),
        Metric("learning_rate", "lower", "per step", description="that the search chose"),
        Metric("c_index", "higher", "fraction", description="pairs of patients in the right order of risk"),
    ),
    recipes={
        "train": Recipe(
            config="Train",
            summary="train an encoder and an aggregator together from the labels of bags",
            arms=(*ARMS, *PRETRAINED),
            presets={
                "tiny": Preset(settings=TINY, cost="5 s, 1 core", seeds=2),
                "laptop": Preset(
                    data_differs=DRAWN,
                    differs=DIFFERS,
                    cost="8 min, 1 core, both recipes",
                ),
                "paper": Preset(
                    data_settings={"data": "lmdb:panda_high,panda_low", "data.labels": "panda.csv"},
                    settings={
                        "patch_encoder": "hub:microsoft/resnet-18",
                        "patches.instances": 128,
                        "patches.low_share": 0.25,
                        "patches.pixels": 224,
                        "layers.embed_dim": 512,
                        "layers.ffn": True,
                        "training.epochs": 200,
                        "training.batch_size": 16,
                        "training.weight_decay": 1e-5,
                        "training.augment": 0.08,
                        "training.ema": 0.9999,
                        "training.learning_rates": (2e-4,),
                    },
                    data_differs=(
                        "PANDA's tiles are expected in panda_high and panda_low, with panda.csv; the"
                        " authors' are named with --data lmdb:hub:Dearcat/CPath_Image/FOLDER,...",
                    ),
                    differs=(
                        "AdamW with the weight decay of the authors' Adam; no early stopping",
                        "single precision, unless --precision says otherwise (theirs is 16-mixed)",
                        "one GPU with 16 bags a step instead of two with 8 each",
                    ),
                    cost="4 GPU hours an arm and seed",
                    seeds=5,
                ),
            },
        ),
        "needle": Recipe(
            config="Needle",
            inputs=(),
            summary="the same where a single instance decides a bag's label",
            arms=tuple(arm for arm in ARMS if arm.name in ("abmilx", "mhla", "abmil", "mean")),
            presets={
                "tiny": Preset(settings=TINY, cost="3 s, 1 core", seeds=2),
                "laptop": Preset(
                    data_differs=DRAWN,
                    differs=DIFFERS,
                    cost="see train",
                ),
            },
        ),
        "survival": Recipe(
            config="Survival", summary="train on survival times (discrete hazards) and measure the c-index"
        ),
    },
    apply="train",
    claims=(
        Claim(
            "joint-training",
            "Trained together with the encoder, ABMILX is more accurate than ABMIL.",
            recipe="train",
            reported=Reported("TCGA-BRCA subtype AUC, R18 end to end: 93.97 against 89.23"),
            tests=(Superior("accuracy", "abmilx", over="abmil"),),
            requires=(*trained("abmilx", "abmil"), AtMost("accuracy", "abmil", 0.97)),
            equal=EQUAL,
        ),
        Claim(
            "simple-pooling",
            "It is more accurate than gated attention and than mean pooling, too.",
            recipe="train",
            tests=tuple(Superior("accuracy", "abmilx", over=arm) for arm in ("gated", "mean")),
            requires=trained("abmilx", "gated", "mean"),
            equal=EQUAL,
        ),
        Claim(
            "local-attention",
            "Local attention in several heads is already more accurate than ABMIL.",
            recipe="train",
            reported=Reported("TCGA-BRCA subtype AUC: 91.58 against 89.23"),
            tests=(Superior("accuracy", "mhla", over="abmil"),),
            requires=(*trained("mhla", "abmil"), AtMost("accuracy", "abmil", 0.97)),
            equal=EQUAL,
        ),
        Claim(
            "refinement",
            "The global refinement of the scores adds accuracy to local attention.",
            recipe="train",
            reported=Reported("TCGA-BRCA subtype AUC: 93.97 against 91.58"),
            tests=(Superior("accuracy", "abmilx", over="mhla"),),
            requires=(*trained("abmilx", "mhla"), AtMost("accuracy", "mhla", 0.97)),
            equal=EQUAL,
        ),
        Claim(
            "abmil-is-sparser",
            "ABMIL's attention is sparser than that of local attention in several heads, and of ABMILX.",
            recipe="train",
            reported=Reported("sparsity 80 against 61 and 36, by the paper's own definition"),
            tests=(
                Superior("sparsity", "mhla", over="abmil"),
                Superior("sparsity", "abmilx", over="abmil"),
            ),
            requires=trained("abmilx", "mhla", "abmil"),
            equal=EQUAL,
        ),
        Claim(
            "refinement-spreads",
            "The global refinement makes the attention less sparse.",
            recipe="train",
            reported=Reported("sparsity 36 against 61, by the paper's own definition"),
            tests=(Superior("sparsity", "abmilx", over="mhla"),),
            requires=trained("abmilx", "mhla"),
            equal=EQUAL,
        ),
        Claim(
            "end-to-end",
            "Training a pre-trained encoder with the aggregator beats aggregators on its frozen features.",
            recipe="train",
            reported=Reported("PANDA accuracy, ResNet-50: 78.83 against 62.72; BRCA AUC 95.17 against 89.35"),
            tests=(
                Superior("accuracy", "pretrained", over="two-stage"),
                Superior("accuracy", "pretrained", over="two-stage-abmil"),
            ),
            requires=(
                AtLeast("accuracy", "two-stage", 0.35),
                AtMost("accuracy", "two-stage", 0.97),
                *trained("pretrained"),
            ),
            equal=EQUAL,
        ),
        Claim(
            "joint-training-needle",
            "Where one instance in 32 decides a bag's label, ABMILX is more accurate than ABMIL, too.",
            recipe="needle",
            tests=(Superior("accuracy", "abmilx", over="abmil"),),
            requires=(*trained("abmilx", "abmil"), AtLeast("accuracy", "abmil", 0.6)),
            equal=EQUAL,
        ),
        Claim(
            "abmil-is-sparser-needle",
            "There, too, ABMIL's attention is sparser.",
            recipe="needle",
            tests=(
                Superior("sparsity", "mhla", over="abmil"),
                Superior("sparsity", "abmilx", over="abmil"),
            ),
            requires=trained("abmilx", "mhla", "abmil"),
            equal=EQUAL,
        ),
        Claim(
            "panda",
            "On PANDA, a ResNet-18 trained end to end beats features of pathology foundation models.",
            reported=Reported("78.34 % against 76.37 (UNI) and 75.72 (GigaPath)"),
            untested="needs PANDA and a GPU; `assay check abmilx --preset paper` trains on its tiles",
        ),
        Claim(
            "survival",
            "End to end, a ResNet-18 predicts survival better than foundation models do.",
            reported=Reported("c-index LUAD 64.91, BRCA 67.78; UNI 61.05 and 64.69"),
            untested="needs TCGA; `assay run abmilx survival` trains on your slides",
        ),
        Claim(
            "cost",
            "Training takes less than 10 GPU hours, and a slide 1.7 s instead of 83 s with GigaPath.",
            reported=Reported("< 10 RTX3090 hours; 1.7 s (R18), 25 s (UNI), 83 s (GigaPath)"),
            untested="needs the foundation models and a GPU",
        ),
    ),
)
