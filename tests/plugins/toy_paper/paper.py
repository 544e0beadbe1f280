"""What the toy paper says."""

from assay.paper import Arm, AtLeast, Claim, Equivalent, Metric, Paper, Preset, Recipe, Reported, Superior

PAPER = Paper(
    slug="toy",
    family="theory",
    title="A Toy for the Checker",
    authors="Nobody",
    year=2026,
    summary="draws numbers around a mean that the arm sets",
    metrics=(
        Metric("score", better="higher", unit="fraction"),
        Metric("spread", better="lower", unit="fraction"),
    ),
    recipes={
        "draw": Recipe(
            config="Draw",
            arms=(
                Arm("low", role="baseline", settings={"mean": 0.0}),
                Arm("high", role="method", settings={"mean": 1.0}),
                Arm("none", role="control", settings={"mean": 0.0, "copy": True}, removes="the mean"),
            ),
            presets={
                "tiny": Preset(seeds=3),
                "laptop": Preset(settings={"rows": 50}, differs=("it is a toy",), cost="1 s", seeds=6),
            },
            across=True,
        )
    },
    apply="draw",
    claims=(
        Claim(
            "higher",
            "The high arm scores higher than the low one.",
            recipe="draw",
            reported=Reported("+1", where="section 1"),
            tests=(Superior("score", "high", over="low"),),
            requires=(AtLeast("score", "high", -100),),
            equal=("draws",),
        ),
        Claim(
            "same",
            "Without the mean nothing is left.",
            recipe="draw",
            tests=(Equivalent("score", "none", to="low", within=1.0), AtLeast("spread", "all", 0.0)),
        ),
        Claim("grand", "It also works at scale.", untested="needs a cluster"),
    ),
)
