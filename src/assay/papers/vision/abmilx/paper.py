"""What the ABMILX paper says."""

from assay.paper import Arm, AtLeast, AtMost, Claim, Metric, Paper, Preset, Recipe, Reported, Superior, Test

ARMS = (
    Arm("abmilx", "method", {"aggregator": "abmilx"}),
    Arm(
        "mhla",
        "control",
        {"aggregator": "mhla"},
        removes="the global refinement of the scores (A+): multi-head local attention alone",
    ),
    *(Arm(name, "baseline", {"aggregator": name}) for name in ("abmil", "gated", "mean")),
    Arm("max", "reference", {"aggregator": "max"}),  # it cannot count
)
PRETRAINED = (
    Arm("pretrained", "method", {"aggregator": "abmilx", "encoder_training": "pretrained"}),
    Arm("two-stage", "baseline", {"aggregator": "abmilx", "encoder_training": "frozen"}),
    Arm("two-stage-abmil", "baseline", {"aggregator": "abmil", "encoder_training": "frozen"}),
)

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


def _fraction(name: str, description: str = "") -> Metric:
    return Metric(name, "higher", "fraction", description=description)


def _trained(*arms: str) -> tuple[AtLeast, ...]:
    """Return the requirement that these arms fit their training bags."""
    return tuple(AtLeast("train_accuracy", arm, 0.8) for arm in arms)


def _room(arm: str) -> AtMost:
    """Return the requirement that there is something left for another arm to do better."""
    return AtMost("accuracy", arm, 0.97)


def _claim(
    name: str,
    statement: str,
    *tests: Superior,
    requires: tuple[Test, ...],
    reported: str | None = None,
    recipe: str = "train",
) -> Claim:
    """Return a claim on drawn bags; the arms that it compares train equally long."""
    return Claim(
        name,
        statement,
        recipe=recipe,
        reported=Reported(reported) if reported else None,
        tests=tests,
        requires=requires,
        equal=("gradient_steps", "bags_seen", "candidates"),
    )


ABMIL_IS_SPARSER = tuple(Superior("sparsity", arm, over="abmil") for arm in ("mhla", "abmilx"))


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
        _fraction("accuracy", "on test bags"),
        _fraction("balanced_accuracy", "mean recall of the classes"),
        _fraction("auc", "one class against the others, the mean over classes"),
        _fraction("macro_f1"),
        Metric("kappa", "higher", "kappa", description="Cohen's, unweighted"),
        _fraction("train_accuracy", "on training bags, after training"),
        Metric(
            "sparsity", "lower", "1 - entropy", description="of the attention: 1 on one instance, 0 uniform"
        ),
        _fraction("instance_auc", "of attention, for instances of the key class"),
        Metric("learning_rate", "lower", "per step", description="that the search chose"),
        _fraction("c_index", "pairs of patients in the right order of risk"),
    ),
    recipes={
        "train": Recipe(
            config="Train",
            summary="train an encoder and an aggregator together from the labels of bags",
            arms=(*ARMS, *PRETRAINED),
            presets={
                "tiny": Preset(settings=TINY, cost="5 s, 1 core", seeds=2),
                "laptop": Preset(data_differs=DRAWN, differs=DIFFERS, cost="8 min, 1 core, both recipes"),
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
                "laptop": Preset(data_differs=DRAWN, differs=DIFFERS, cost="see train"),
            },
        ),
        "survival": Recipe(
            config="Survival", summary="train on survival times (discrete hazards) and measure the c-index"
        ),
    },
    apply="train",
    claims=(
        _claim(
            "joint-training",
            "Trained together with the encoder, ABMILX is more accurate than ABMIL.",
            Superior("accuracy", "abmilx", over="abmil"),
            requires=(*_trained("abmilx", "abmil"), _room("abmil")),
            reported="TCGA-BRCA subtype AUC, R18 end to end: 93.97 against 89.23",
        ),
        _claim(
            "simple-pooling",
            "It is more accurate than gated attention and than mean pooling, too.",
            *(Superior("accuracy", "abmilx", over=arm) for arm in ("gated", "mean")),
            requires=_trained("abmilx", "gated", "mean"),
        ),
        _claim(
            "local-attention",
            "Local attention in several heads is already more accurate than ABMIL.",
            Superior("accuracy", "mhla", over="abmil"),
            requires=(*_trained("mhla", "abmil"), _room("abmil")),
            reported="TCGA-BRCA subtype AUC: 91.58 against 89.23",
        ),
        _claim(
            "refinement",
            "The global refinement of the scores adds accuracy to local attention.",
            Superior("accuracy", "abmilx", over="mhla"),
            requires=(*_trained("abmilx", "mhla"), _room("mhla")),
            reported="TCGA-BRCA subtype AUC: 93.97 against 91.58",
        ),
        _claim(
            "abmil-is-sparser",
            "ABMIL's attention is sparser than that of local attention in several heads, and of ABMILX.",
            *ABMIL_IS_SPARSER,
            requires=_trained("abmilx", "mhla", "abmil"),
            reported="sparsity 80 against 61 and 36, by the paper's own definition",
        ),
        _claim(
            "refinement-spreads",
            "The global refinement makes the attention less sparse.",
            Superior("sparsity", "abmilx", over="mhla"),
            requires=_trained("abmilx", "mhla"),
            reported="sparsity 36 against 61, by the paper's own definition",
        ),
        _claim(
            "end-to-end",
            "Training a pre-trained encoder with the aggregator beats aggregators on its frozen features.",
            *(Superior("accuracy", "pretrained", over=arm) for arm in ("two-stage", "two-stage-abmil")),
            requires=(AtLeast("accuracy", "two-stage", 0.35), _room("two-stage"), *_trained("pretrained")),
            reported="PANDA accuracy, ResNet-50: 78.83 against 62.72; BRCA AUC 95.17 against 89.35",
        ),
        _claim(
            "joint-training-needle",
            "Where one instance in 32 decides a bag's label, ABMILX is more accurate than ABMIL, too.",
            Superior("accuracy", "abmilx", over="abmil"),
            requires=(*_trained("abmilx", "abmil"), AtLeast("accuracy", "abmil", 0.6)),
            recipe="needle",
        ),
        _claim(
            "abmil-is-sparser-needle",
            "There, too, ABMIL's attention is sparser.",
            *ABMIL_IS_SPARSER,
            requires=_trained("abmilx", "mhla", "abmil"),
            recipe="needle",
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
