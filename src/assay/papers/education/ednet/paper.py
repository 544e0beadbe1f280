"""What the EdNet paper says."""

from assay.paper import (
    Arm,
    AtLeast,
    AtMost,
    Claim,
    Equivalent,
    Metric,
    Paper,
    Preset,
    Recipe,
    Reported,
    Superior,
)

SMALL = "networks of width 32 instead of 64 to 512"
LARGE = {
    "architecture.width": 128,
    "architecture.seq_len": 200,
    "optimisation.epochs": 200,
    "optimisation.patience": 10,
    "optimisation.batch_size": 64,
}
QUICK = {"candidates": 1, "optimisation.epochs": 2, "architecture.width": 8, "architecture.seq_len": 20}
FEW = {
    "simulated.learners": 40,
    "simulated.questions": 32,
    "simulated.skills": 4,
    "simulated.shortest": 6,
    "simulated.longest": 12,
}
SIMULATED = {"learners": "simulated"}
SIMPLE = ("mean", "irt", "bkt", "pfa")
DATA_HUNGRY = Reported("earlier data sets are too small for data-hungry models", where="abstract")


def fraction(name: str, description: str) -> Metric:
    """Return a metric between 0 and 1 that should be high."""
    return Metric(name, "higher", "fraction", description=description)


def exact(name: str, unit: str, description: str) -> Metric:
    """Return a metric that is counted and should be 0."""
    return Metric(name, "lower", unit, "exact", description)


PAPER = Paper(
    slug="ednet",
    family="education",
    title="EdNet: A Large-Scale Hierarchical Dataset in Education",
    authors="Youngduck Choi, Youngnam Lee, Dongmin Shin, Junghyun Cho, Seoyon Park, Seewoo Lee, Jineon Baek,"
    " Chan Bae, Byungsoo Kim, Jaewe Heo",
    year=2020,
    arxiv="1912.03072",
    code="https://github.com/riiid/ednet",
    summary="turns students' logs into Parquet, and predicts their next answers without leaks",
    metrics=(
        fraction("auc", "area under the ROC curve, all answers together"),
        fraction("auc_5_percent", "trained on 5 % of the learners"),
        fraction("auc_25_percent", "trained on 25 % of the learners"),
        fraction("gap", "AUC of DKT minus that of the best simple model"),
        fraction("gap_5_percent", "the gap with 5 % of the learners"),
        fraction("gap_growth", "the gap with all learners minus that with 5 %"),
        Metric("actions_per_answer", "higher", "actions", description="explanations and lectures an answer"),
        exact("leak_in_data", "0 or 1", "whether the detector finds a leak in the steps"),
        exact("leak_in_model", "0 or 1", "whether the detector finds that the model uses it"),
        Metric(
            "moved_share", "lower", "fraction", description="predictions that change with their own answer"
        ),
        exact("rows_lost", "rows", "rows written less rows read"),
        exact("rows_wrong", "rows", "rows of KT4, KT3 and KT2 that differ from the truth"),
        exact("projection_errors", "rows", "wrong rows of KT1, from KT4, KT3 and KT2"),
        Metric("peak_memory", "lower", "MB", "memory", "most that the reading process held, larger log"),
        Metric("memory_growth", "lower", "MB", "memory", "peak with the larger log less that with the small"),
    ),
    recipes={
        "train": Recipe(
            config="Train",
            inputs=("data", "root"),
            summary="train and measure a knowledge tracer",
            across=True,
            arms=(
                Arm("dkt", "method", {"model": "dkt", "blind": False}),
                *(Arm(name, "baseline", {"model": name, "blind": False}) for name in SIMPLE),
                Arm(
                    "dkt-blind",
                    "control",
                    {"model": "dkt", "blind": True},
                    removes="the learner's answers: the network sees which questions came",
                ),
                Arm("oracle", "reference", {"model": "oracle", "blind": False}),
            ),
            presets={
                "tiny": Preset(QUICK, data_settings=SIMULATED | FEW, cost="3 s, 1 core", seeds=2),
                "laptop": Preset(
                    data_settings=SIMULATED,
                    settings={"shares": (0.05, 0.25, 1.0)},
                    data_differs=("simulated learners with prerequisites and forgetting instead of EdNet's",),
                    differs=(
                        SMALL,
                        "at 5 % and 25 % of the training learners, all validation learners choose settings",
                    ),
                    cost="3 min, 2 cores",
                    seeds=5,
                ),
                "paper": Preset(
                    data_settings={"data": "hub:mgor/EDNet/kt1"},
                    settings={"shares": (0.05, 0.25, 1.0), "max_learners": 100_000, **LARGE},
                    data_differs=("a third party's copy of KT1, whose questions come without their tags",),
                    differs=("the paper trains no model; networks and settings are the field's usual ones",),
                    cost="3 GPU hours a seed",
                    seeds=5,
                ),
            },
        ),
        "actions": Recipe(
            config="Actions",
            inputs=("root",),
            summary="does it help to know who read an explanation?",
            arms=(
                Arm("dkt-actions", "method", {"reading": "seen"}),
                Arm("dkt-answers", "baseline", {"reading": "dropped"}),
                Arm(
                    "dkt-shuffled",
                    "control",
                    {"reading": "shuffled"},
                    removes="the link between a reading and the learner whom it helped",
                ),
            ),
            presets={
                "tiny": Preset(settings=QUICK | FEW, cost="2 s, 1 core", seeds=2),
                "laptop": Preset(
                    data_differs=("simulated learners whom a read explanation lifts at once",),
                    differs=(SMALL,),
                    cost="2 min, 2 cores",
                    seeds=5,
                ),
            },
        ),
        "leak": Recipe(
            config="Leak",
            inputs=(),
            summary="what one step a skill does to the AUC, and does the detector see it?",
            arms=(
                Arm("questions", "method", {"form": "questions"}),
                Arm("expanded", "baseline", {"form": "expanded"}),
                Arm(
                    "masked",
                    "control",
                    {"form": "masked"},
                    removes="the sight of the same question's answer, and nothing else of the expansion",
                ),
            ),
            presets={
                "tiny": Preset(settings=QUICK | FEW, cost="2 s, 1 core", seeds=2),
                "laptop": Preset(
                    differs=("simulated learners; EdNet's questions have one to seven tags", SMALL),
                    cost="1 min, 2 cores",
                    seeds=5,
                ),
            },
        ),
        "roundtrip": Recipe(
            config="Roundtrip",
            inputs=(),
            summary="is everything read, and does a lower level follow from a higher one?",
            arms=(
                Arm("streaming", "method", {"reader": "streaming", "last_counts": True}),
                Arm("pandas", "baseline", {"reader": "pandas", "last_counts": True}),
                Arm(
                    "first-answer",
                    "control",
                    {"reader": "streaming", "last_counts": False},
                    removes="the rule that the last answer before handing in counts",
                ),
            ),
            presets={
                "tiny": Preset(settings={"students": 8, "more_students": 16}, cost="8 s, 1 core", seeds=2),
                "laptop": Preset(
                    differs=("a synthetic EdNet, small and with the truth beside it",),
                    cost="2 min, 2 cores",
                    seeds=5,
                ),
            },
        ),
        "ingest": Recipe(config="Ingest", summary="EdNet as published into Parquet with an index"),
        "stats": Recipe(config="Stats", summary="count what a log holds"),
        "project": Recipe(config="Project", summary="a lower level of a log: KT4, KT3, KT2, KT1"),
        "detect": Recipe(config="Detect", summary="does a log show answers of the same question?"),
    },
    apply="train",
    claims=(
        Claim(
            "nothing-lost",
            "All rows of the students' files are read, in order and rightly marked.",
            recipe="roundtrip",
            tests=(AtMost("rows_lost", "streaming", 0), AtMost("rows_wrong", "streaming", 0)),
        ),
        Claim(
            "levels-nest",
            "KT1 follows from KT2, KT3 and KT4, row by row.",
            recipe="roundtrip",
            reported=Reported("the features of KT1 can be recovered from KT2", "README", source="code"),
            tests=(AtMost("projection_errors", "streaming", 0),),
            requires=(AtLeast("projection_errors", "first-answer", 1),),
        ),
        Claim(
            "bounded-memory",
            "Reading takes under 300 MB, and three times the students take at most 30 MB more.",
            recipe="roundtrip",
            tests=(AtMost("peak_memory", "streaming", 300), AtMost("memory_growth", "streaming", 30)),
            requires=(AtLeast("memory_growth", "pandas", 60),),
        ),
        Claim(
            "dkt-beats-simple-models",
            "With all learners DKT predicts answers better than means, IRT, BKT and PFA.",
            recipe="train",
            reported=DATA_HUNGRY,
            tests=tuple(Superior("auc", "dkt", over=arm) for arm in (*SIMPLE, "dkt-blind")),
            requires=(AtLeast("auc", "pfa", 0.6), AtMost("auc", "pfa", 0.95)),
            equal=("candidates", "test_answers"),
        ),
        Claim(
            "gap-grows",
            "DKT's lead over the best simple model is larger with all learners than with 5 % of them.",
            recipe="train",
            reported=DATA_HUNGRY,
            tests=(AtLeast("gap_growth", "all", 0),),
            requires=(AtLeast("auc_5_percent", "pfa", 0.6), AtLeast("auc", "dkt", 0.6)),
        ),
        Claim(
            "actions-inform",
            "A network that is told who read explanations predicts answers better than one that is not.",
            recipe="actions",
            reported=Reported("actions beyond answers describe learning better", where="abstract"),
            tests=tuple(Superior("auc", "dkt-actions", over=arm) for arm in ("dkt-answers", "dkt-shuffled")),
            requires=(
                AtLeast("auc", "dkt-answers", 0.6),
                AtLeast("actions_per_answer", "dkt-actions", 0.05),
            ),
            equal=("candidates", "test_answers"),
        ),
        Claim(
            "shuffled-actions-do-not",
            "Explanations assigned to learners at random change nothing.",
            recipe="actions",
            tests=(Equivalent("auc", "dkt-shuffled", "dkt-answers", within=0.01),),
            requires=(AtLeast("auc", "dkt-answers", 0.6),),
            equal=("candidates", "test_answers"),
        ),
        Claim(
            "expansion-inflates",
            "One step a skill inflates the AUC, by what is read off the same question's answer.",
            recipe="leak",
            reported=Reported(
                "AUC above 0.9 in expanded evaluation", "issues of pykt-toolkit", source="code"
            ),
            tests=(
                Superior("auc", "expanded", over="questions", by=0.02),
                Superior("auc", "expanded", over="masked", by=0.02),
                Equivalent("auc", "masked", "questions", within=0.02),
            ),
            requires=(AtLeast("auc", "questions", 0.6), AtMost("auc", "questions", 0.95)),
            equal=("candidates", "test_questions"),
        ),
        Claim(
            "detector",
            "The detector finds the leak in expanded steps and their model, and in no other.",
            recipe="leak",
            tests=(
                AtLeast("leak_in_data", "expanded", 1),
                AtLeast("leak_in_model", "expanded", 1),
                AtMost("leak_in_data", "questions", 0),
                AtMost("leak_in_model", "questions", 0),
                AtMost("leak_in_model", "masked", 0),
            ),
        ),
        Claim(
            "size",
            "EdNet has 131 million interactions of 784,309 students.",
            reported=Reported("131,441,538 (another version: 131,417,236)", where="abstract"),
            untested="needs the released files; `assay run ednet ingest` counts them. 131,441,538 / 297,915"
            " is the README's mean of 441.20 a student: the interactions are KT4's, the students KT1's",
        ),
        Claim(
            "lectures",
            "Lectures were watched 601,805 times.",
            reported=Reported("601,805", "README", source="code"),
            untested="needs the released KT3 or KT4; `assay run ednet stats` counts them",
        ),
    ),
)
