"""The words of a paper: values, tests and the checks of every name that one part uses of another."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from assay.paper import (
    Arm,
    AtLeast,
    AtMost,
    Claim,
    Equivalent,
    Items,
    Metric,
    NonInferior,
    Paper,
    Preset,
    Rate,
    Ratio,
    Recipe,
    Reported,
    Superior,
    plain,
)

METRICS = (Metric("accuracy", better="higher", unit="fraction"), Metric("loss", better="lower", unit="nats"))
ARMS = (
    Arm("plain", role="baseline", settings={"weight": 0.0}),
    Arm("ours", role="method", settings={"weight": 1.0}),
    Arm("shuffled", role="control", settings={"shuffle": True}, removes="the order"),
)
PRESETS = {"tiny": Preset(settings={"rows": 5}), "laptop": Preset(settings={"rows": 50}, cost="1 min")}
CLAIM = Claim(
    "better",
    "Ours is more accurate.",
    recipe="fit",
    reported=Reported("+1 point", where="table 1"),
    tests=(Superior("accuracy", "ours", over="plain"),),
    requires=(AtLeast("accuracy", "plain", 0.5),),
    equal=("steps",),
)


def recipe(arms: tuple[Arm, ...] = ARMS, presets: dict[str, Preset] | None = None, **more: Any) -> Recipe:
    return Recipe(config="Fit", arms=arms, presets=PRESETS if presets is None else presets, **more)


def paper(**changes: Any) -> Paper:
    described: dict[str, Any] = {
        "slug": "demo",
        "family": "theory",
        "title": "A Demonstration",
        "authors": "Nobody",
        "year": 2026,
        "summary": "shows something",
        "metrics": METRICS,
        "recipes": {"fit": recipe()},
        "claims": (CLAIM, Claim("huge", "It scales.", untested="needs a cluster")),
        "apply": "fit",
    }
    return Paper(**(described | changes))


class TestNames:
    def test_a_sound_paper_is_accepted(self) -> None:
        sound = paper()
        assert sound.tested == (CLAIM,)
        assert sound.metric("loss").better == "lower"
        assert sound.recipes["fit"].method == ARMS[1]
        assert sound.recipes["fit"].arm("shuffled").removes == "the order"

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"family": "cooking"}, "family 'cooking' is none of vision, multimodal"),
            ({"apply": "train"}, "apply names the recipe 'train', which is none of fit"),
            ({"metrics": (*METRICS, METRICS[0])}, "metric 'accuracy' is declared twice"),
            ({"claims": (CLAIM, CLAIM)}, "claim 'better' is declared twice"),
            ({"recipes": {"fit": recipe((*ARMS, ARMS[0]))}}, "arm of fit 'plain' is declared twice"),
            ({"claims": (replace(CLAIM, recipe="train"),)}, "names the recipe 'train', which is none of fit"),
            (
                {"claims": (replace(CLAIM, tests=(Superior("f1", "ours", over="plain"),)),)},
                "tests the metric 'f1', which is not declared",
            ),
            (
                {"claims": (replace(CLAIM, tests=(Superior("loss", "ours", over="theirs"),)),)},
                "tests the arm 'theirs', which the recipe 'fit' does not have",
            ),
            (
                {"claims": (replace(CLAIM, requires=(AtLeast("loss", "oracle", 1.0),)),)},
                "tests the arm 'oracle', which the recipe 'fit' does not have",
            ),
            (
                {"claims": (replace(CLAIM, tests=(AtLeast("loss", "all", 0.0),), equal=()),)},
                "tests the arm 'all', which the recipe 'fit' does not have",
            ),
            (
                {"claims": (replace(CLAIM, tests=(AtLeast("loss", "ours", 0.0),)),)},
                "wants 'steps' equal, but its tests compare no arms",
            ),
            ({"recipes": {"fit": recipe(ARMS[:2])}}, "needs a control in the recipe 'fit'"),
            (
                {"recipes": {"fit": recipe(presets={"tiny": Preset()})}},
                "carries a claim and needs the preset tiny and one of laptop, extended, public",
            ),
        ],
    )
    def test_a_wrong_name_is_refused(self, changes: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=f"^paper 'demo': .*{message}"):
            paper(**changes)

    def test_all_problems_are_told_at_once(self) -> None:
        with pytest.raises(ValueError, match=r"family 'x' is none of .*; apply names the recipe 'y'"):
            paper(family="x", apply="y")

    def test_metrics_across_arms_may_be_tested_where_the_recipe_has_them(self) -> None:
        claim = replace(CLAIM, tests=(AtLeast("accuracy", "all", 0.0),), equal=())
        assert paper(recipes={"fit": recipe(across=True)}, claims=(claim,)).tested == (claim,)

    def test_a_recipe_without_a_claim_needs_no_control_and_no_preset(self) -> None:
        command = Recipe(config="Ingest")
        assert command.method is None
        assert "ingest" in paper(recipes={"fit": recipe(), "ingest": command}).recipes


class TestOwnData:
    PRESET = Preset({"epochs": 3}, ("small",), data_settings={"merge": "halves"}, data_differs=("digits",))

    def test_what_speaks_of_the_presets_data_falls_away_with_ones_own(self) -> None:
        assert self.PRESET.settings_for() == {"epochs": 3, "merge": "halves"}
        assert self.PRESET.differs_for() == ("digits", "small")
        assert self.PRESET.settings_for(own_data=True) == {"epochs": 3}
        assert self.PRESET.differs_for(own_data=True) == ("small",)

    def test_it_comes_by_the_inputs_of_a_recipe(self) -> None:
        recipe = Recipe("Fit", inputs=("scenes", "labels"))
        given = {"scenes.path": "here", "labels": "there", "labels.column": "class", "data": "no"}
        assert recipe.own_data(given) == {"scenes.path": "here", "labels": "there"}
        assert Recipe("Fit").own_data({"data": "csv:x", "data.label": "y"}) == {"data": "csv:x"}


class TestArm:
    def test_an_unknown_role_is_refused(self) -> None:
        with pytest.raises(ValueError, match="arm 'a': role 'winner' is none of method, baseline, control"):
            Arm("a", role="winner")  # type: ignore[arg-type]

    def test_a_control_says_what_it_removes(self) -> None:
        with pytest.raises(ValueError, match="a control, and only a control, says what it removes"):
            Arm("a", role="control")

    def test_only_a_control_says_what_it_removes(self) -> None:
        with pytest.raises(ValueError, match="a control, and only a control, says what it removes"):
            Arm("a", role="baseline", removes="the mechanism")

    def test_the_name_of_the_metrics_across_arms_is_taken(self) -> None:
        with pytest.raises(ValueError, match="an arm cannot be called 'all'"):
            Arm("all", role="reference")


class TestClaim:
    def test_it_has_tests_or_a_reason(self) -> None:
        with pytest.raises(ValueError, match="needs either tests or the reason why it is untested"):
            Claim("a", "A.")
        with pytest.raises(ValueError, match="needs either tests or the reason why it is untested"):
            replace(CLAIM, untested="no time")

    def test_tests_need_a_recipe(self) -> None:
        with pytest.raises(ValueError, match="claim 'better' has tests but names no recipe"):
            replace(CLAIM, recipe=None)

    def test_arms_are_those_of_tests_and_requirements(self) -> None:
        claim = replace(
            CLAIM,
            tests=(Superior("loss", "a", over="b"), AtLeast("loss", "c", 0), Ratio("loss", "a", "d", 1)),
            requires=(AtMost("loss", "e", 1), AtLeast("loss", "b", 1)),
        )
        assert claim.arms == ("a", "b", "c", "d", "e")
        assert claim.compared == ("a", "b", "d")

    def test_metrics_across_arms_have_no_counters_to_compare(self) -> None:
        assert replace(CLAIM, tests=(Superior("loss", "all", over="b"),)).compared == ("b",)


class TestTests:
    @pytest.mark.parametrize(
        ("test", "text", "other"),
        [
            (Superior("m", "a", over="b"), "m: a better than b", "b"),
            (Superior("m", "a", over="b", by=0.05), "m: a better than b by 0.05", "b"),
            (NonInferior("m", "a", to="b", within=0.1), "m: a at most 0.1 worse than b", "b"),
            (Equivalent("m", "a", to="b", within=0.1), "m: a within 0.1 of b", "b"),
            (Ratio("m", "a", over="b", at_least=2), "m: a / b at least 2", "b"),
            (Ratio("m", "a", over="b", at_most=0.5), "m: a / b at most 0.5", "b"),
            (AtLeast("m", "a", 3), "m: a at least 3", None),
            (AtMost("m", "a", 3), "m: a at most 3", None),
        ],
    )
    def test_they_say_what_they_test(self, test: Any, text: str, other: str | None) -> None:
        assert str(test) == text
        assert test.other == other
        assert test.arms == (("a",) if other is None else ("a", "b"))

    @pytest.mark.parametrize(
        ("test", "scale", "bounds", "inside", "outside"),
        [
            (Superior("m", "a", over="b", by=1), "difference", (1, math.inf), 1.5, 1),
            (NonInferior("m", "a", to="b", within=1), "difference", (-1, math.inf), -1, -1.5),
            (Equivalent("m", "a", to="b", within=1), "difference", (-1, 1), 1, 1.5),
            (Ratio("m", "a", over="b", at_least=1), "ratio", (0, math.inf), 0, -0.5),
            (Ratio("m", "a", over="b", at_most=1), "ratio", (-math.inf, 0), 0, 0.5),
            (AtLeast("m", "a", 3), "value", (3, math.inf), 3, 2.5),
            (AtMost("m", "a", 3), "value", (-math.inf, 3), 3, 3.5),
        ],
    )
    def test_they_know_their_region(
        self, test: Any, scale: str, bounds: tuple[float, float], inside: float, outside: float
    ) -> None:
        assert (test.scale, test.bounds) == (scale, bounds)
        assert test.holds(inside)
        assert not test.holds(outside)

    def test_a_difference_is_positive_where_the_arm_is_better_and_a_ratio_is_not_turned(self) -> None:
        assert Superior("m", "a", over="b").effect([3, 1], "higher") == 2
        assert Superior("m", "a", over="b").effect([3, 1], "lower") == -2
        assert AtMost("m", "a", 9).effect([3], "lower") == 3
        ratio = Ratio("m", "a", over="b", at_most=9)
        for better in ("higher", "lower"):
            assert ratio.shown(ratio.effect([3, 1], better)) == pytest.approx(3)  # type: ignore[arg-type]
        assert ratio.shown(ratio.bounds[0]) == 0
        with pytest.raises(ValueError, match="needs values above 0, got 3 and 0"):
            ratio.effect([3, 0], "higher")

    @pytest.mark.parametrize("bounds", [{}, {"at_least": 1, "at_most": 2}])
    def test_a_ratio_has_one_bound(self, bounds: dict[str, float]) -> None:
        with pytest.raises(ValueError, match="exactly one of at_least and at_most"):
            Ratio("m", "a", over="b", **bounds)

    @pytest.mark.parametrize("bounds", [{"at_least": 0}, {"at_most": -1}])
    def test_the_bound_of_a_ratio_is_positive(self, bounds: dict[str, float]) -> None:
        with pytest.raises(ValueError, match="a bound above 0"):
            Ratio("m", "a", over="b", **bounds)


class TestReported:
    def test_what_was_read_in_the_paper_is_printed_with_its_place(self) -> None:
        assert str(Reported("+1.85 points", where="abstract")) == "+1.85 points (abstract)"
        assert str(Reported("+1.85 points")) == "+1.85 points"

    @pytest.mark.parametrize("source", ["recalled", "inferred", "measured", "code", "reviews"])
    def test_what_was_not_is_never_printed_as_the_papers(self, source: Any) -> None:
        shown = str(Reported("+2 points", where="abstract", source=source))
        assert shown == f"+2 points ({source}, not read in the paper)"
        assert "abstract" not in shown


class TestValues:
    def test_a_rate_is_its_share(self) -> None:
        assert Rate(3, 4).value == 0.75
        assert plain(Rate(0, 4)) == 0

    @pytest.mark.parametrize("counts", [(1, 0), (0, 0), (-1, 4), (5, 4)])
    def test_a_rate_that_is_none_is_refused(self, counts: tuple[int, int]) -> None:
        with pytest.raises(ValueError, match="0 <= successes <= trials"):
            Rate(*counts)

    def test_a_rate_takes_numpys_integers_but_no_fractions(self) -> None:
        rate = Rate(np.int64(3), np.int32(4))  # type: ignore[arg-type]
        assert type(rate.successes) is int
        assert rate == Rate(3, 4)
        with pytest.raises(TypeError):
            Rate(1.5, 4)  # type: ignore[arg-type]

    def test_items_are_their_mean(self) -> None:
        assert Items(["a", "b"], [1.0, 2.0]).value == 1.5
        assert plain(Items(["a", "b"], [1.0, 2.0], clusters=["x", "x"])) == 1.5

    @pytest.mark.parametrize(
        "parts",
        [([], []), (["a"], [1.0, 2.0]), (["a", "b"], [1.0, 2.0], ["x"]), (["a"], [1.0], [])],
    )
    def test_items_have_one_length(self, parts: tuple[Any, ...]) -> None:
        with pytest.raises(ValueError, match="one length above 0"):
            Items(*parts)

    def test_item_ids_are_unique(self) -> None:
        with pytest.raises(ValueError, match="unique"):
            Items(["a", "a"], [1.0, 2.0])

    def test_items_take_arrays_and_hold_plain_values(self) -> None:
        items = Items(np.arange(2), np.ones(2, np.float32), clusters=np.array(["x", "y"]))  # type: ignore[arg-type]
        assert items == Items(["0", "1"], [1.0, 1.0], clusters=["x", "y"])
        assert type(items.values[0]) is float

    def test_other_values_are_themselves(self) -> None:
        assert plain(2) == 2
        assert plain(None) is None


class TestFingerprint:
    BEFORE = paper().fingerprint("laptop")

    def test_it_is_the_same_for_the_same_claims(self) -> None:
        assert paper().fingerprint("laptop") == self.BEFORE

    @pytest.mark.parametrize(
        "claim",
        [
            replace(CLAIM, tests=(Superior("accuracy", "ours", over="plain", by=0.01),)),
            replace(CLAIM, tests=(Superior("accuracy", "ours", over="shuffled"),)),
            replace(CLAIM, tests=(NonInferior("accuracy", "ours", to="plain", within=0.0),)),
            replace(CLAIM, requires=()),
            replace(CLAIM, requires=(AtMost("accuracy", "plain", 0.5),)),
            replace(CLAIM, equal=()),
            replace(CLAIM, unit="item"),
            replace(CLAIM, on=("bundled:digits",)),
        ],
    )
    def test_it_changes_with_a_claim(self, claim: Claim) -> None:
        assert paper(claims=(claim,)).fingerprint("laptop") != self.BEFORE

    def test_it_changes_with_an_arm(self) -> None:
        arms = (ARMS[0], replace(ARMS[1], settings={"weight": 2.0}), ARMS[2])
        assert paper(recipes={"fit": recipe(arms)}).fingerprint("laptop") != self.BEFORE

    def test_it_changes_with_the_preset_that_is_judged(self) -> None:
        presets = PRESETS | {"laptop": Preset(settings={"rows": 51}, cost="1 min")}
        changed = paper(recipes={"fit": recipe(presets=presets)})
        assert changed.fingerprint("laptop") != self.BEFORE
        assert changed.fingerprint("tiny") == paper().fingerprint("tiny")

    def test_it_changes_with_what_is_better(self) -> None:
        metrics = (replace(METRICS[0], better="lower"), METRICS[1])
        assert paper(metrics=metrics).fingerprint("laptop") != self.BEFORE

    def test_a_test_is_more_than_its_operands(self) -> None:
        first, second = (
            paper(claims=(replace(CLAIM, tests=(test("accuracy", "ours", "plain", 0.1),)),))
            for test in (NonInferior, Equivalent)
        )
        assert first.fingerprint("laptop") != second.fingerprint("laptop")

    @pytest.mark.parametrize(
        "changes",
        [
            {"title": "Another Title", "authors": "Somebody", "year": 2020, "summary": "does something"},
            {"claims": (CLAIM,)},
            {"claims": (CLAIM, Claim("huge", "It scales.", untested="too dear"))},
            {"claims": (replace(CLAIM, statement="Ours is more often right."),)},
            {"claims": (replace(CLAIM, reported=Reported("+2 points", source="recalled")),)},
            {"metrics": (replace(METRICS[0], description="share of right answers"), METRICS[1])},
            {"recipes": {"fit": recipe(summary="Fit it.")}},
            {
                "recipes": {
                    "fit": recipe(
                        presets={
                            "tiny": Preset(settings={"rows": 6}),
                            "laptop": Preset(settings={"rows": 50}, cost="9 h", differs=("size",)),
                        }
                    )
                }
            },
        ],
    )
    def test_it_does_not_change_with_what_is_not_judged(self, changes: dict[str, Any]) -> None:
        assert paper(**changes).fingerprint("laptop") == self.BEFORE
