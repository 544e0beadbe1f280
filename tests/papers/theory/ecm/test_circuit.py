"""The circuit: published constants, hand-computed items, limits and invariances."""

import numpy as np
import pytest

from assay.papers.theory.ecm.method import (
    VOLTAGES,
    CallableResistance,
    CircuitConstants,
    DifficultyUnavailable,
    LinearResistance,
    MathResistance,
    MedicalResistance,
    MultiHopResistance,
    PlanResistance,
    induced_voltage,
    majority_vote,
    parallel,
    power,
    series,
)

HAND = [(5, 224840, 3.6890714, 234.9587), (4, 2958, 0.6298321, 918.7565), (5, 140250, 2.6316964, 341.7595)]


@pytest.mark.parametrize(("steps", "load", "resistance", "watts"), HAND)
def test_hand_computed_items(steps, load, resistance, watts):
    found = MathResistance()(steps, load)
    assert found == pytest.approx(resistance, abs=1e-6)
    assert power(60.0, found) == pytest.approx(watts, abs=1e-3)


def test_power_without_resistance_and_its_scale():
    assert power(60.0, 0.0) == pytest.approx(1440)
    resistance = np.linspace(0, 10, 50)
    assert power(120.0, resistance) == pytest.approx(4 * power(60.0, resistance))
    assert (np.diff(power(60.0, resistance)) < 0).all()


def test_most_power_goes_to_an_output_that_matches_the_resistance():
    outputs = np.linspace(0.1, 10, 991)
    watts = [power(60.0, 3.7, output) for output in outputs]
    assert outputs[int(np.argmax(watts))] == pytest.approx(3.7, abs=0.01)


def test_parallel_paths_and_votes():
    resistance = np.array([0.4, 3.6, 7.2])
    assert parallel(resistance, 4) == pytest.approx(resistance / 4)
    assert majority_vote(resistance, 5) - parallel(resistance, 5) == pytest.approx(2.5)
    assert power(60.0, parallel(resistance, 1e12)) == pytest.approx(1440)
    assert series(1.0, resistance, 0.5) == pytest.approx(resistance + 1.5)
    with pytest.raises(ValueError, match="at least one path"):
        parallel(1.0, 0)


def test_constants_of_the_authors():
    assert CircuitConstants.paper() == CircuitConstants(60.0, 0.1, 2.5, 7.0, 1.6e5, 2e4)
    assert CircuitConstants.paper("o1-preview", "roberta", "multihop") == CircuitConstants(
        95.0, 0.5, 2.5, 10.0, 10.0, 0.2
    )
    assert CircuitConstants.paper(embedder="skill").induction == 100
    assert CircuitConstants.paper(embedder="bert", distance="manhattan").induction == 0.15 / 200
    assert CircuitConstants.paper(task="plan").induction == 1.5
    assert VOLTAGES["Qwen2.5-72B"] == 70
    assert len(VOLTAGES) == 15
    with pytest.raises(ValueError, match="no constants for 'gpt-9'"):
        CircuitConstants.paper("gpt-9")
    with pytest.raises(ValueError, match="voltage must be above 0"):
        CircuitConstants(voltage=0.0)
    with pytest.raises(ValueError, match="at least 0"):
        CircuitConstants(induction=-1.0)


def test_resistances_of_each_way():
    resistor = MathResistance()
    steps, load = 3.0, 1000.0
    x, y = 3 / 7, 21000 / 1.6e5
    assert resistor(steps, load, "direct") == pytest.approx(2 * (4.5 * x + 5.2 * y - 0.1))
    assert resistor(steps, load, "tool") == pytest.approx(2 * (x - 0.2))
    assert resistor(steps, load, "program") == pytest.approx(2 * (x - 0.2) / 1.2)
    with pytest.raises(ValueError, match="telepathy"):
        resistor(steps, load, "telepathy")


def test_easy_questions_grow_harder_again_unless_clipped():
    easy, easier = MathResistance()(1, 10), MathResistance()(0.5, 10)
    assert easier > easy > 0
    assert MathResistance(clip=True)(1, 10) == 0


def test_other_tasks():
    hops = MultiHopResistance()
    assert hops(4, 2) == pytest.approx(abs(0.4 + 0.22 - 0.4))
    assert hops(4, 2, "direct") == pytest.approx(0.8 + 0.22 - 0.4)
    assert hops.difficulty(["a", "b"], len, known=5) == (5, 2)
    assert hops.difficulty(["a B c D", "E"], lambda text: sum(map(str.isupper, text))) == (2, 2)
    medical = MedicalResistance()
    assert medical(5, 3) == pytest.approx(0.4 * (0.5 + 0.32 - 0.1))
    assert medical.difficulty("One A. Two B C. Three", lambda text: sum(map(str.isupper, text))) == (3, 3)
    plan = PlanResistance()
    assert plan(4, 2) == pytest.approx(2 * abs(4 / 7 + 2.2 / 7 - 0.4))
    assert plan.difficulty("(unstack b c)\n(put-down b)\n(pick-up a)") == (3, 2)
    assert plan.difficulty("(unstack b c)\n") == (2, 2)
    assert medical(5, 3, "direct") == pytest.approx(0.4 * (1.0 + 0.32 - 0.1))
    assert plan(4, 2, "direct") == pytest.approx(2 * (8 / 7 + 2.2 / 7 - 0.4))
    for resistor in (hops, medical, plan):
        with pytest.raises(ValueError, match="way 'tool'"):
            resistor(1, 1, "tool")
    for call in (
        lambda: hops.difficulty([], len),
        lambda: plan.difficulty(" "),
        lambda: medical.difficulty("", len),
    ):
        with pytest.raises(DifficultyUnavailable):
            call()


def test_a_resistance_of_ones_own():
    mine = CallableResistance(lambda steps, load, way: steps + 0 * load)
    assert mine([1.0, 2.0], [5.0, 5.0]).tolist() == [1, 2]
    with pytest.raises(ValueError, match="at least 0"):
        CallableResistance(lambda steps, load, way: -steps)(1.0, 1.0)
    with pytest.raises(ValueError, match="known: cot"):
        LinearResistance({"cot": (1.0, 0.1, 0.0)})(1.0, 1.0, "tool")


def test_negative_flux_is_clamped_with_a_warning_or_refused():
    with pytest.warns(UserWarning, match="1 of 2 items is negative"):
        assert induced_voltage([-700.0, 10.0], 0.1).tolist() == [0.0, 1.0]
    with pytest.raises(ValueError, match="negative"):
        induced_voltage([-700.0], 0.1, "raise")
    with pytest.raises(ValueError, match="not finite"):
        induced_voltage([np.nan], 0.1)


def test_power_refuses_what_a_square_would_hide():
    for voltage, resistance, output in ((-60.0, 1.0, 2.5), (60.0, -1.0, 2.5), (60.0, 1.0, 0.0)):
        with pytest.raises(ValueError):
            power(voltage, resistance, output)
