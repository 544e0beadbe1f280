"""What the ECM paper says."""

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

SOLVED = (AtLeast("solver_accuracy", "ecm", 0.1), AtMost("solver_accuracy", "ecm", 0.9))
"""The language model fails at some questions and not at others."""

NO_LEAK = (AtMost("auc", "permuted-outcomes", 0.6),)
"""A circuit that was fitted to permuted outcomes predicts nothing."""

INFORMED = (AtLeast("demo_gain", "ecm", 0.05),)
"""Demonstrations carry information that the language model uses."""

STRONG = Reported("Spearman above 0.7 over strategies, models and tasks", where="abstract")

SMALL_MODEL = (
    "the language model has 0.3 million parameters and was trained for a minute on journeys in made-up units;"
    " the paper has nine large ones on 350 tasks",
    "one language model serves all seeds, which draw new problems, prompts and demonstrations: the intervals"
    " are over problems and calibrations, not over trained models",
    "constants are fitted on half of the wordings and judged on the other half; the paper's are set by hand",
)

RIVAL = (
    "the scaling law is accuracy against the logarithms of demonstrations and reasoning tokens, fitted on the"
    " same items and given the length of the reply; the paper's own could not be read",
)

LARGE = {
    "solver": "hub:Qwen/Qwen2.5-7B-Instruct",
    "encoder": "hub:FacebookAI/roberta-base",
    "pooling": "pooler",
}


def _fraction(name: str, description: str) -> Metric:
    return Metric(name, "higher", "fraction", description=description)


def _correlation(name: str, description: str, better: Better = "higher") -> Metric:
    return Metric(name, better, "correlation", description=description)


def _large(settings: dict[str, Any], *differs: str) -> Preset:
    """Return a preset with the paper's kind of models."""
    return Preset(LARGE | settings, differs, cost="1 GPU hour a seed", seeds=5)


def _claim(
    name: str, statement: str, reported: Reported | None, *tests: Test, requires: tuple[Test, ...] = ()
) -> Claim:
    """Return a claim about `calibrate`; where arms are compared, they were calibrated alike."""
    equal = ("calibration_items", "candidates") if any(test.other for test in tests) else ()
    needed = (*SOLVED, *NO_LEAK, *requires)
    return Claim(name, statement, "calibrate", reported, tests, needed, equal)


PAPER = Paper(
    slug="ecm",
    family="theory",
    title="ECM: A Unified Electronic Circuit Model for Explaining the Emergence of In-Context Learning and"
    " Chain-of-Thought in Large Language Model",
    authors="Qiguang Chen, Libo Qin, Jinhao Liu, Dengyun Peng, Jiaqi Wang, Mengkang Hu, Zhi Chen,"
    " Wanxiang Che, Ting Liu",
    year=2025,
    arxiv="2502.03325",
    code="https://github.com/LightChen233/ECM",
    summary="predicts, before the call, whether a language model will answer a prompt correctly",
    metrics=(
        _fraction("auc", "chance that a right item is ranked above a wrong one"),
        Metric("item_log_loss", "lower", "nats", description="of the predicted chances, over held-out items"),
        Metric(
            "item_correlation", "higher", "Pearson", description="predicted chance and outcome, over items"
        ),
        _correlation("spearman", "power and accuracy over the paper's bins"),
        _fraction("r_squared", "of a line of accuracy over bins of power"),
        _correlation(
            "null_spearman",
            "95 % quantile of |Spearman| when the outcomes are permuted over the same bins",
            better="lower",
        ),
        _correlation("spearman_over_null", "spearman minus null_spearman"),
        _correlation(
            "decile_spearman", "power and accuracy over ten groups of equally many items, none left out"
        ),
        Metric("bins", "higher", "bins", description="bins with enough items"),
        _fraction(
            "binned_share",
            "held-out items in these bins; those above the limit or in thin bins are left out",
        ),
        _fraction("solver_accuracy", "of the language model, over all items"),
        _fraction(
            "demo_gain", "accuracy with reasoning when a demonstration tells what is needed, minus without"
        ),
    ),
    recipes={
        "calibrate": Recipe(
            config="Calibrate",
            inputs=("records", "replies", "problems"),
            summary="calibrate the circuit on results of a language model, and measure it on other items",
            arms=(
                Arm("ecm", "method"),
                Arm("estimated", "method", {"difficulty": "estimated"}),
                Arm("logistic", "baseline", {"predictor": "logistic"}),
                Arm("scaling-law", "baseline", {"predictor": "scaling"}),
                Arm("no-flux", "control", {"flux": "none"}, "the voltage that demonstrations induce"),
                Arm(
                    "permuted-flux",
                    "control",
                    {"flux": "permuted"},
                    "which demonstrations were shown: flux is permuted among items with as many",
                ),
                Arm(
                    "no-difficulty",
                    "control",
                    {"difficulty": "none"},
                    "the question's part of the resistance: steps and load are 0",
                ),
                Arm("published", "reference", {"constants": "published"}),
                Arm("permuted-outcomes", "reference", {"outcomes": "permuted"}),
            ),
            presets={
                "tiny": Preset(
                    settings={
                        "small.queries": 160,
                        "small.demos": 20,
                        "small.largest": 4,
                        "small.width": 32,
                        "small.layers": 2,
                        "small.steps": 200,
                        "small.rows": 6,
                        "bin_items": 5,
                    },
                    cost="8 s, 1 core",
                    seeds=2,
                ),
                "laptop": Preset(data_differs=SMALL_MODEL, differs=RIVAL, cost="4 min, 2 cores", seeds=5),
                "paper": _large(
                    {"problems": "hub:openai/gsm8k/main", "shots": (0, 5), "signed": False},
                    "GSM8K's test questions; BigGSM, where it is at hand, goes to --problems with"
                    " --demo-pool hub:openai/gsm8k/main",
                    "constants are fitted on half of the questions and judged on the other half; the arm"
                    " published has the authors' own",
                ),
                "paper-hotpotqa": _large(
                    {
                        "problems": "hub:hotpotqa/hotpot_qa/distractor#validation",
                        "demo_pool": "hub:hotpotqa/hotpot_qa/distractor#train",
                        "entities": "hub:dslim/bert-base-NER",
                        "task": "multihop",
                        "max_queries": 1000,
                        "shots": (0, 5),
                        "bin_width": 50.0,
                    },
                    "1,000 validation questions a seed; which 1,000 the authors took is not known, nor"
                    " their tagger",
                    "an answer is right when the reply holds its words",
                ),
                "paper-blocksworld": _large(
                    {
                        "problems": "hub:tasksource/planbench/task_5_plan_generalization",
                        "task": "plan",
                        "max_queries": 500,
                        "shots": (0,),
                        "direct": 0.0,
                        "bin_width": 1.0,
                    },
                    "a plan is right when its actions are those of the reference plan, not when it works",
                    "which 500 Blocksworld problems the authors took is not known",
                ),
            },
        )
    },
    apply="calibrate",
    claims=(
        _claim(
            "power-predicts-accuracy",
            "Over bins of power, Spearman's correlation of power with accuracy is above 0.7, and above what"
            " the bins give without any relation.",
            STRONG,
            AtLeast("spearman", "ecm", 0.7),
            AtLeast("spearman_over_null", "ecm", 0.0),
            requires=(AtLeast("bins", "ecm", 5), AtLeast("binned_share", "ecm", 0.8)),
        ),
        _claim(
            "power-orders-accuracy",
            "Over ten groups of equally many items, none left out, Spearman's correlation of power with"
            " accuracy is above 0.7.",
            STRONG,
            AtLeast("decile_spearman", "ecm", 0.7),
        ),
        _claim(
            "beats-scaling-law",
            "On held-out items, the circuit predicts correctness better than the scaling law of"
            " demonstrations and reasoning tokens.",
            Reported("about 60 % higher Pearson correlation than the scaling law", where="v2, abstract"),
            *(
                Superior(name, "ecm", over="scaling-law")
                for name in ("auc", "item_log_loss", "item_correlation")
            ),
        ),
        _claim(
            "demos-add-voltage",
            "The flux of the demonstrations shown adds to what the circuit predicts.",
            Reported("larger U_ICL, higher accuracy, on one line with chain of thought", where="body"),
            *(Superior("auc", "ecm", over=arm) for arm in ("no-flux", "permuted-flux")),
            requires=INFORMED,
        ),
        _claim(
            "difficulty-adds-resistance",
            "The question's steps and load add to what the circuit predicts.",
            Reported("Spearman 0.884 on BigGSM with resistance alone", source="measured"),
            Superior("auc", "ecm", over="no-difficulty"),
        ),
        _claim(
            "beats-logistic-regression",
            "The circuit's form predicts better than a logistic regression on the same features.",
            None,
            *(Superior(name, "ecm", over="logistic") for name in ("auc", "item_log_loss")),
        ),
        _claim(
            "works-without-gold-solutions",
            "With steps and load estimated from the question's text alone, the circuit loses less than 5"
            " points of AUC against gold annotations.",
            None,
            NonInferior("auc", "estimated", to="ecm", within=0.05),
        ),
        Claim(
            "many-models-and-tasks",
            "One law holds for 70,000 samples of 350 tasks and 9 language models.",
            reported=Reported("70,000 samples, 350 tasks, 9 models", where="v2, abstract"),
            untested="needs those models and tasks; the paper presets have one model on three of the tasks",
        ),
        Claim(
            "fifteen-strategies",
            "The circuit explains 15 established prompting strategies.",
            reported=Reported("15 strategies", where="v2, abstract"),
            untested="the check has demonstrations and chain of thought; tools, programs and votes are in the"
            " method and not measured here",
        ),
        Claim(
            "diverse-demonstrations",
            "Demonstrations near the query beat diverse and random ones on BigGSM, in the order of power.",
            reported=Reported("59.1, 53.1 and 48.5 % at mean powers of 972, 714 and 686", source="code"),
            untested="the replies behind these numbers were not published",
        ),
        Claim(
            "olympiads",
            "Prompts optimised by the circuit beat some 80 % of the human competitors in IOI and IMO 2024.",
            reported=Reported("above about 80 % of competitors", where="abstract"),
            untested="needs large models behind a paid interface and their hand-made prompts; no optimiser"
            " was published",
        ),
    ),
)
