"""Calibration, prediction, ranking, evidence, estimated difficulty."""

import numpy as np
import pytest
import torch
from scipy import optimize, special, stats
from sklearn.metrics import log_loss as sklearn_log_loss, roc_auc_score

from assay.papers.theory.ecm.method import (
    Bins,
    CircuitConstants,
    Demo,
    DifficultyEstimator,
    DifficultyUnavailable,
    ElectronicCircuitModel,
    Item,
    LinearResistance,
    Readings,
    Strategy,
    auc,
    binned_accuracy,
    calibrate,
    log_loss,
    pearson,
    permutation_null,
    quantile_spearman,
    render_prompt,
)
from assay.papers.theory.ecm.method.calibration import _Likelihood

TRUE = LinearResistance({"cot": (0.5, 0.002, 0.0), "direct": (2.0, 0.004, 1.0)})


@pytest.fixture(scope="module")
def drawn():
    """Items whose outcomes come from a circuit with known constants."""
    random = np.random.default_rng(5)
    n = 4000
    ways = tuple(random.choice(["cot", "direct"], n).tolist())
    steps, load = random.integers(1, 6, n), random.integers(0, 500, n)
    readings = Readings(steps, load, random.uniform(0, 4, n) * random.integers(0, 2, n), ways, np.ones(n))
    model = ElectronicCircuitModel(constants=CircuitConstants(induction=20.0), resistance=TRUE)
    chance = special.expit(-13.0 + 2.0 * np.log(model.predict(readings).power))
    return readings, random.random(n) < chance, chance


def test_calibration_finds_what_made_the_outcomes(drawn):
    readings, correct, chance = drawn
    model = ElectronicCircuitModel().fit(readings, correct)
    found = model.predict(readings).accuracy
    assert np.abs(found - chance).mean() < 0.02
    assert log_loss(found, correct) == pytest.approx(model.calibration.log_loss, abs=1e-9)
    assert model.calibration.agreeing >= 5
    assert model.constants.voltage == 60
    assert model.constants.output == 2.5


def test_the_gradient_of_the_likelihood_is_right(drawn):
    readings, correct, _ = drawn
    likelihood = _Likelihood(readings.take(range(60)), correct[:60].astype(float), CircuitConstants())
    theta = likelihood.start(np.random.default_rng(0))
    numeric = optimize.approx_fprime(theta, lambda at: likelihood(at)[0], 1e-7)
    assert likelihood(theta)[1] == pytest.approx(numeric, abs=1e-5)


def test_what_the_items_say_nothing_about_is_named(drawn):
    readings, correct, _ = drawn
    flat = Readings(
        readings.steps, 0 * readings.load, 0 * readings.flux, readings.ways, np.ones(len(readings))
    )
    found = calibrate(flat, correct, restarts=2).unidentified
    assert {"induction", "cot.load", "direct.load"} <= set(found)


def test_what_cannot_be_calibrated_is_refused(drawn):
    readings, correct, _ = drawn
    with pytest.raises(ValueError, match="too few"):
        calibrate(readings.take(range(5)), correct[:5])
    with pytest.raises(ValueError, match="same outcome"):
        calibrate(readings, np.ones(len(readings)))
    with pytest.raises(ValueError, match="4000 items and 3 answers"):
        calibrate(readings, [True, False, True])
    with pytest.raises(ValueError, match="one value an item"):
        Readings(np.ones(2), np.ones(3), np.ones(2), ("cot", "cot"), np.ones(2))
    with pytest.raises(ValueError, match="at least 0"):
        Readings(-np.ones(1), np.ones(1), np.ones(1), ("cot",), np.ones(1))
    with pytest.raises(ValueError, match="not finite"):
        Readings(np.ones(1), np.full(1, np.nan), np.ones(1), ("cot",), np.ones(1))


def test_samples_are_parallel_paths_with_a_vote():
    one, five = (
        Readings(np.ones(1) * 5, np.ones(1) * 224840, np.zeros(1), ("cot",), np.full(1, k)) for k in (1, 5)
    )
    model = ElectronicCircuitModel()
    resistance = model.predict(one).resistance
    assert resistance == pytest.approx(3.6890714, abs=1e-6)
    assert model.predict(five).resistance == pytest.approx(resistance / 5 + 2.5)


# --- items --------------------------------------------------------------------------------------


def letters(texts):
    """Embed a text as its counts of letters."""
    return torch.tensor([[1.0, *(float(text.count(letter)) for letter in "abcdefgh")] for text in texts])


def test_items_are_read_as_the_circuit_needs_them():
    model = ElectronicCircuitModel(letters)
    items = [
        Item("aa", "<<3*4=12>>\n<<12+1=13>>", demos=("a", "b")),
        Item("b", difficulty=(5.0, 224840.0)),
    ]
    readings = model.readings(items)
    assert readings.steps.tolist() == [2, 5]
    assert readings.load.tolist() == [12, 224840]
    assert readings.flux == pytest.approx([(3 + 1) / np.sqrt(5), 0])
    reading = model.predict(items)
    assert reading.power[1] == pytest.approx(234.9587, abs=1e-3)
    assert reading.induced[1] == 0
    assert reading.accuracy is None


def test_a_question_without_difficulty_is_refused_or_estimated():
    item = Item("a question about 12 and 3")
    with pytest.raises(DifficultyUnavailable):
        ElectronicCircuitModel(letters).readings([item])
    with pytest.raises(ValueError, match="need an encoder"):
        ElectronicCircuitModel().readings([Item("a", difficulty=(1.0, 1.0), demos=("b",))])
    random = np.random.default_rng(0)
    numbers = random.integers(2, 90, (60, 2))
    questions = [f"a walks {a} times {b}" for a, b in numbers]
    estimator = DifficultyEstimator(letters).fit(questions, [2.0] * 60, numbers.prod(1).tolist())
    model = ElectronicCircuitModel(letters, estimator=estimator)
    steps, load = estimator.predict(questions)
    assert steps == pytest.approx(np.full(60, 2.0), abs=1e-3)
    assert stats.spearmanr(load, numbers.prod(1)).statistic > 0.95
    assert model.readings([item]).load[0] == pytest.approx(36, rel=0.5)


def test_the_estimator_is_kept_and_refuses_too_little(tmp_path):
    questions = [f"{'ab'[n % 2] * n} {n} {n * n}" for n in range(1, 21)]
    estimator = DifficultyEstimator(letters).fit(questions, list(range(20)), list(range(20)))
    estimator.save(tmp_path)
    again = DifficultyEstimator.load(tmp_path)
    with pytest.raises(ValueError, match="needs the encoder"):
        again.predict(questions)
    again.encoder = letters
    for first, second in zip(estimator.predict(questions), again.predict(questions), strict=True):
        assert first == pytest.approx(second)
    with pytest.raises(ValueError, match="too few"):
        DifficultyEstimator(letters).fit(["a"], [1], [1])
    with pytest.raises(ValueError, match="differ"):
        DifficultyEstimator(letters).fit(["a"], [1, 2], [1])
    with pytest.raises(ValueError, match="call fit first"):
        DifficultyEstimator(letters).predict(["a"])


# --- strategies ---------------------------------------------------------------------------------

DEMOS = [Demo("aaa", "<<1*1=1>>"), Demo("bbb", "<<2*2=4>>"), Demo("abab", "<<3*3=9>>")]


def test_the_prompt_has_the_papers_form():
    assert render_prompt("q?", [Demo("d?", "e")], reason=True) == (
        "[QUESTION]\nd?\n[ANSWER]\ne\n\n[QUESTION]\nq?\nLet's think step-by-step!"
    )
    assert render_prompt("q?") == "[QUESTION]\nq?"


def test_strategies_are_ranked_by_power_or_by_utility(drawn):
    model = ElectronicCircuitModel(letters).with_pool(DEMOS)
    strategies = [
        Strategy("direct", "direct"),
        Strategy("cot"),
        Strategy("demos", shots=2),
        Strategy("tool", "tool"),
    ]
    item = Item("aab", difficulty=(5.0, 224840.0))
    ranked = model.rank(strategies, item)
    assert [one.power for one in ranked] == sorted((one.power for one in ranked), reverse=True)
    places = {one.strategy.name: place for place, one in enumerate(ranked)}
    assert places["demos"] < places["cot"] < places["direct"]
    best = next(one for one in ranked if one.strategy.name == "demos")
    assert best.prompt.count("[ANSWER]") == 2
    assert [DEMOS[row].question for row in best.demos] == [demo.question for demo in model.retrieve("aab", 2)]
    with pytest.raises(ValueError, match="call fit first"):
        model.rank(strategies, item, price=0.1)

    readings, correct, _ = drawn
    model.fit(readings, correct, restarts=2)
    free = model.rank(strategies[:3], item)
    dear = model.rank(strategies[:3], item, price=1.0)
    assert all(one.accuracy == one.utility for one in free)
    assert dear[0].strategy.name == "direct"
    with pytest.raises(ValueError, match="known: cot, direct"):
        model.rank(strategies, item)
    with pytest.raises(ValueError, match="no strategy"):
        model.rank([], item)
    with pytest.raises(ValueError, match="call with_pool first"):
        ElectronicCircuitModel(letters).rank([Strategy("demos", shots=2)], item)


def test_a_model_is_saved_and_loaded(drawn, tmp_path):
    readings, correct, _ = drawn
    model = ElectronicCircuitModel(letters).fit(readings, correct, restarts=2).with_pool(DEMOS)
    model.save(tmp_path)
    again = ElectronicCircuitModel.load(tmp_path).use(letters)
    assert again.predict(readings).accuracy == pytest.approx(model.predict(readings).accuracy)
    assert again.calibration == model.calibration
    assert again.retrieve("aab", 2) == model.retrieve("aab", 2)
    with pytest.raises(ValueError, match="no calibration"):
        ElectronicCircuitModel().save(tmp_path)


# --- evidence -----------------------------------------------------------------------------------


def test_item_metrics_agree_with_scikit_learn():
    random = np.random.default_rng(1)
    chance = random.random(300).round(2)
    correct = random.random(300) < chance
    assert auc(chance, correct) == pytest.approx(roc_auc_score(correct, chance))
    assert log_loss(chance, correct) == pytest.approx(
        sklearn_log_loss(correct, np.clip(chance, 1e-6, 1 - 1e-6))
    )
    assert pearson(chance, correct) == pytest.approx(stats.pearsonr(chance, correct).statistic)
    assert auc([0.1, 0.2], [1, 1]) is None
    assert pearson([0.1, 0.1], [0, 1]) is None


def test_bins_are_those_of_the_paper():
    power = [0, 29.9, 30, 59, 60, 61, 2001, 2001]
    correct = [0, 0, 0, 1, 1, 1, 0, 0]
    found = binned_accuracy(power, correct, Bins(fewest=2))
    assert found.power.tolist() == [0, 30, 60]
    assert found.accuracy.tolist() == [0, 0.5, 1]
    assert found.spearman == pytest.approx(1)
    assert found.r_squared == pytest.approx(1)
    assert binned_accuracy(power, correct, Bins(fewest=3)).spearman is None
    with pytest.raises(ValueError, match="width"):
        Bins(width=0.0)
    with pytest.raises(ValueError, match="one length"):
        binned_accuracy(power, correct[:-1])


def test_deciles_leave_nothing_out_and_know_no_scale():
    random = np.random.default_rng(3)
    power = random.uniform(0, 9000, 1000)
    correct = random.random(1000) < power / 9000
    assert quantile_spearman(power, correct) > 0.9
    assert quantile_spearman(power, correct) == quantile_spearman(1e-3 * power, correct)
    assert quantile_spearman(power[:5], correct[:5]) is None


def test_bins_look_related_where_nothing_is():
    random = np.random.default_rng(2)
    power = random.uniform(0, 900, 610)
    correct = random.random(610) < 0.5
    null = permutation_null(power, correct, permutations=300)
    assert 0.25 < null < 0.5  # 30 bins: a rank correlation of 0.35 is not rare
    assert permutation_null(power[:20], correct[:20], permutations=10) is None
