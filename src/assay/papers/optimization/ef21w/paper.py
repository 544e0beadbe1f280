"""What "Error Feedback Reloaded" says, and how it is checked."""

from typing import Any

from assay.data import Table
from assay.paper import Arm, AtLeast, AtMost, Claim, Metric, Paper, Preset, Ratio, Recipe, Reported, Role

OLD = {"algorithm": "ef21", "rule": "old"}
NEW = {"algorithm": "ef21w", "rule": "new"}
RARE = {"data": Table("bundled:docstrings"), "standardize": False, "strength": 0.0, "k": 10}
PAPERS_DATA = {"data": Table("svmlight:w1a.txt"), "standardize": False, "partition": "max-variance"}

UNEVEN = (AtLeast("heterogeneity", "ef21w", 1.2), AtMost("roughest_client", "ef21w", 100.0))
SAME_WORK = ("rows", "clients", "bits_per_message")


def gains(slow: str, fast: str) -> tuple[Ratio, Ratio]:
    """Return that an arm needs fewer rounds and bits than another."""
    return Ratio("rounds", slow, over=fast, at_least=1.2), Ratio("bits", slow, over=fast, at_least=1.2)


def pair(
    name: str, roles: tuple[Role, Role], change: dict[str, Any], removes: str | None = None
) -> tuple[Arm, Arm]:
    """Return EF21 and EF21-W, each with its own step size, under the same change."""
    old, new = roles
    return Arm(f"ef21-{name}", old, OLD | change, removes), Arm(f"ef21w-{name}", new, NEW | change, removes)


PAPER = Paper(
    slug="ef21w",
    family="optimization",
    title="Error Feedback Reloaded: From Quadratic to Arithmetic Mean of Smoothness Constants",
    authors="Peter Richtarik, Elnur Gasanov, Konstantin Burlachenko",
    year=2024,
    arxiv="2402.10774",
    summary="trains one model over many clients that send compressed gradients, with a step size that "
    "needs no tuning",
    metrics=(
        Metric("rounds", "lower", "rounds", description="until ||grad f||^2 is a given share of its start"),
        Metric("bits", "lower", "bits", description="that a client has sent by then, on average"),
        Metric("accuracy", "higher", "fraction", description="on held-out rows"),
        Metric("stepsize", "higher", "steps", description="the step size used"),
        Metric("step_multiple", "higher", "times", "exact", "the step size over that of its rule"),
        Metric("weighting_gap", "lower", "fraction", "exact", "distance of EF21 and EF21-W at the same step"),
        Metric("heterogeneity", "higher", "times", description="L_QM / L_AM of the clients"),
        Metric("roughest_client", "lower", "times", description="largest L_i over the median one"),
        Metric(
            "feature_share", "lower", "fraction", description="of clients that share the commonest feature"
        ),
        Metric("rounds_apart", "lower", "rounds", "exact", "of EF21-W and EF21 at the new step"),
        Metric(
            "prediction_error", "lower", "log ratio", description="of the ratio of rounds by that of steps"
        ),
    ),
    recipes={
        "train": Recipe(
            config="Train",
            summary="logistic regression over clients that send compressed gradients",
            arms=(
                Arm("ef21", "baseline", OLD),
                Arm("ef21w", "method", NEW),
                Arm("ef21-new-step", "control", OLD | {"rule": "new"}, removes="the weights of the clients"),
                *pair("even", ("control", "control"), {"even": True}, "the differences between clients"),
                Arm(
                    "ef21w-grid",
                    "control",
                    NEW | {"compressor": "fixed-grid"},
                    removes="the compressor's homogeneity",
                ),
                *pair("partial", ("baseline", "method"), {"participation": 0.5}),
                *pair("minibatch", ("baseline", "method"), {"minibatch": 5}),
                Arm("gradient-descent", "reference", {"algorithm": "gd", "rule": "new"}),
                *pair("tuned", ("reference", "reference"), {"tuned": True}),
            ),
            across=True,
            presets={
                "tiny": Preset(
                    {"clients": 10, "rounds": 30, "compared_rounds": 10, "tolerance": 0.9}, cost="1 s, 1 core"
                ),
                "laptop": Preset(
                    data_differs=(
                        "breast_cancer (569 rows, 30 features, standardised) instead of LIBSVM's w1a to w3a, "
                        "phishing and australian",
                    ),
                    differs=(
                        "20 clients instead of 1000, each with rows of similar norm, instead of a greedy "
                        "split that maximises the variance of the smoothness constants",
                        "a random 90 % of the rows and a start near zero for each seed, instead of one run "
                        "on all rows from zero",
                        "runs stop when ||grad f||^2 is 1 % of its start",
                    ),
                    cost="1 min, 1 core",
                ),
                "paper": Preset(
                    PAPERS_DATA | {"clients": 1000, "rounds": 100_000, "start": 0.0, "log_every": 100},
                    differs=("a random 90 % of the rows for each seed, instead of one run on all rows",),
                    cost="2 h, 1 core, with w1a.txt from LIBSVM's collection of binary data sets",
                ),
            },
        ),
        "rare": Recipe(
            config="Train",
            summary="the same where each feature is known to few clients: words of short texts",
            arms=(
                Arm("ef21-rare", "baseline", {"algorithm": "ef21", "rule": "rare-old"}),
                Arm("ef21w-rare", "method", {"algorithm": "ef21w", "rule": "rare-paper"}),
                Arm("ef21w-common", "control", NEW, removes="the knowledge of which features are rare"),
                Arm("ef21w-rare-tight", "reference", {"algorithm": "ef21w", "rule": "rare"}),
            ),
            presets={
                "tiny": Preset(
                    RARE | {"words.min_documents": 60, "rounds": 20, "compared_rounds": 5, "tolerance": 0.95},
                    cost="3 s, 1 core",
                ),
                "laptop": Preset(
                    RARE | {"clients": 100, "tolerance": 0.1},
                    differs=(
                        "words of docstrings (those of torch against all others) over 100 clients for the "
                        "rule of rare features, without a regulariser, under which no feature would be rare",
                    ),
                    cost="2 min, 1 core",
                ),
            },
        ),
    },
    apply="train",
    claims=(
        Claim(
            "fewer-rounds",
            "Where clients differ in smoothness, EF21-W with its own step needs fewer rounds and bits than "
            "EF21 with the step of the older theory, without tuning.",
            recipe="train",
            reported=Reported(
                "clearly fewer rounds on w1a, w2a, w3a and australian, split to be heterogeneous, with 1000 "
                "clients and Top-1",
                source="recalled",
            ),
            tests=gains("ef21", "ef21w"),
            requires=(*UNEVEN, AtLeast("step_multiple", "ef21", 1.0)),
            equal=SAME_WORK,
        ),
        Claim(
            "mean-of-smoothness",
            "Rounds scale with L + L_AM xi instead of L + L_QM xi: the ratio of rounds is that of the steps.",
            recipe="train",
            reported=Reported(
                "a step of 1 / (L + L_AM xi) instead of 1 / (L + L_QM xi)", where="title and abstract"
            ),
            tests=(AtMost("prediction_error", "all", 0.05),),
            requires=UNEVEN,
        ),
        Claim(
            "same-algorithm",
            "With Top-K, EF21 with the new step has the iterates of EF21-W; with a fixed grid it does not.",
            recipe="train",
            tests=(
                AtMost("rounds_apart", "all", 0.5),
                AtMost("weighting_gap", "ef21w", 1e-9),
                AtLeast("weighting_gap", "ef21w-grid", 1e-6),
            ),
            requires=UNEVEN,
        ),
        Claim(
            "no-gain-when-even",
            "When the same rows are assigned so that clients are alike, both step sizes need the same number "
            "of rounds, within 5 %.",
            recipe="train",
            reported=Reported("the curves coincide on phishing", source="recalled"),
            tests=(
                Ratio("rounds", "ef21-even", over="ef21w-even", at_most=1.05),
                Ratio("rounds", "ef21-even", over="ef21w-even", at_least=0.95),
            ),
            requires=(AtMost("heterogeneity", "ef21w-even", 1.05),),
            equal=SAME_WORK,
        ),
        *(
            Claim(
                name,
                f"The gain carries over to {what}.",
                recipe="train",
                tests=gains(f"ef21-{arm}", f"ef21w-{arm}"),
                requires=UNEVEN,
                equal=SAME_WORK,
            )
            for name, arm, what in (
                ("partial-participation", "partial", "clients that take part in half of the rounds"),
                ("minibatches", "minibatch", "gradients from minibatches of 5 rows"),
            )
        ),
        Claim(
            "rare-features",
            "Step sizes that use that features are rare gain from the arithmetic mean as well.",
            recipe="rare",
            tests=(
                Ratio("rounds", "ef21-rare", over="ef21w-rare", at_least=1.2),
                Ratio("rounds", "ef21w-common", over="ef21w-rare", at_least=1.2),
            ),
            requires=(
                AtMost("feature_share", "ef21w-rare", 0.75),
                AtLeast("heterogeneity", "ef21w-rare", 1.2),
                AtMost("roughest_client", "ef21w-rare", 100.0),
            ),
            equal=SAME_WORK,
        ),
        Claim(
            "wall-clock",
            "Training over slow links takes less time.",
            untested="needs a network: bits are counted here, and seconds in one process would say nothing",
        ),
    ),
)
