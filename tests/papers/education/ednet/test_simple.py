"""Baselines against values worked out by hand and against scikit-learn."""

import itertools

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from assay import records
from assay.papers.education.ednet.method import BKT, IRT, PFA, MeanModel
from assay.papers.education.ednet.method.tracer import auc, scored_auc


def test_auc_is_that_of_scikit_learn_and_a_constant_is_worth_a_half():
    random = np.random.default_rng(0)
    chance, correct = random.random(200).round(1), random.integers(0, 2, 200)
    assert auc(chance, correct) == roc_auc_score(correct, chance)
    assert auc(np.full(200, 0.3), correct) == 0.5
    assert auc(chance, np.ones(200)) == 0.5


def test_the_first_answer_and_what_is_no_answer_do_not_count(make_steps):
    steps = make_steps([(1, 1), (2, 0), (1, 1)], [(2, 0)], [(1, 0), (2, 1)])
    assert steps.scored.tolist() == [False, True, True, False, False, True]
    steps.kind[0] = 1
    assert steps.scored.tolist() == [False, False, True, False, False, True]


def test_the_mean_is_drawn_towards_all(make_steps):
    steps = make_steps([(1, 1), (1, 1), (2, 0), (2, 1)])
    model = MeanModel(smoothing=4.0).fit(steps)
    assert model.predict(steps).tolist() == pytest.approx([(2 + 3) / 6, 5 / 6, (1 + 3) / 6, 4 / 6])


def test_bkt_by_hand():
    known, learn, slip, guess = (np.array([value]) for value in (0.5, 0.3, 0.1, 0.2))
    after_right = BKT.step(known, np.array([1]), learn, slip, guess)
    after_wrong = BKT.step(known, np.array([0]), learn, slip, guess)
    assert after_right[0] == pytest.approx(0.45 / 0.55 + (1 - 0.45 / 0.55) * 0.3)
    assert after_right[0] == pytest.approx(0.872727, abs=1e-6)
    assert after_wrong[0] == pytest.approx(0.377778, abs=1e-6)


def test_bkt_predicts_before_it_looks(make_steps):
    steps = make_steps([(1, 1), (1, 0), (1, 1)], tags=((0,),), skills=1)
    model = BKT().set(3, 0.5, 0.3, 0.1, 0.2)
    second = 0.872727
    expected = [0.5 * 0.9 + 0.5 * 0.2, second * 0.9 + (1 - second) * 0.2]
    assert model.predict(steps)[:2] == pytest.approx(expected, abs=1e-5)
    both = make_steps([(3, 1)])
    assert BKT().set(6, 0.5, 0.3, 0.1, 0.2).predict(both)[0] == pytest.approx(0.55)


def test_bkt_learns_the_chances_that_made_the_answers(make_steps):
    random = np.random.default_rng(3)
    rows = []
    for _ in range(1500):
        known = random.random() < 0.3
        row = []
        for _ in range(10):
            row.append((1, int(random.random() < (0.92 if known else 0.2))))
            known = known or random.random() < 0.15
        rows.append(row)
    model = BKT(rounds=60).fit(make_steps(*rows, tags=((0,),), skills=1))
    found = [float(value[0]) for value in (model.known, model.learn, model.slip, model.guess)]
    assert found == pytest.approx([0.3, 0.15, 0.08, 0.2], abs=0.03)


def test_em_never_lowers_the_likelihood(random_steps):
    steps = random_steps(learners=40, length=15, seed=2, tags=((0,), (1,)))
    chances = [BKT(prior=0.0, rounds=rounds).fit(steps).predict(steps) for rounds in (1, 2, 5, 10)]
    likelihoods = [np.log(np.where(steps.correct == 1, chance, 1 - chance)).sum() for chance in chances]
    assert all(later >= earlier - 1e-6 for earlier, later in itertools.pairwise(likelihoods))


def test_pfa_counts_what_came_before(make_steps):
    steps = make_steps([(1, 1), (3, 0), (2, 1), (3, 1)], [(1, 0), (1, 1)])
    features = PFA()._features(steps).toarray()
    items, size = 4, 2 + 3 + 1
    right, wrong = features[:, items + size : items + 2 * size], features[:, items + 2 * size :]
    log = np.log
    assert right[:, :2].tolist() == pytest.approx(
        np.array([[0, 0], [log(2), 0], [0, 0], [log(2), log(2)], [0, 0], [0, 0]])
    )
    assert wrong[:, :2].tolist() == pytest.approx(
        np.array([[0, 0], [0, 0], [0, log(2)], [log(2), log(2)], [0, 0], [log(2), 0]])
    )
    assert features[:, :items].argmax(1).tolist() == steps.item.tolist()


def test_pfa_is_scikit_learns_regression(random_steps):
    steps = random_steps()
    model = PFA(ridge=0.5).fit(steps)
    theirs = LogisticRegression(C=0.5, max_iter=300).fit(model._features(steps), steps.correct)
    expected = theirs.predict_proba(model._features(steps))[:, 1]
    assert model.predict(steps) == pytest.approx(expected)


def test_irt_finds_difficulties_and_follows_the_learner(make_steps):
    random = np.random.default_rng(1)
    difficulty = np.array([-1.5, 0.0, 1.5])
    rows = []
    for _ in range(800):
        ability = random.normal()
        chance = 1 / (1 + np.exp(difficulty - ability))
        rows.append([(n + 1, int(random.random() < chance[n])) for n in random.permutation(3)])
    model = IRT(spread=3.0).fit(make_steps(*rows))
    assert model.difficulty[1:] == pytest.approx(difficulty, abs=0.25)
    good, bad = make_steps([(2, 1), (2, 1), (2, 1)]), make_steps([(2, 0), (2, 0), (2, 0)])
    assert (np.diff(model.predict(good)) > 0).all()
    assert (np.diff(model.predict(bad)) < 0).all()
    assert model.predict(good)[0] == model.predict(bad)[0]


@pytest.mark.parametrize("make", [MeanModel, IRT, PFA, BKT])
def test_baselines_do_not_see_the_future_nor_other_learners(make, random_steps):
    steps = random_steps(seed=5)
    model = make().fit(steps)
    plain = model.predict(steps)
    place = int(steps.starts[3]) + 6
    changed = random_steps(seed=5)
    changed.correct[place] = 1 - changed.correct[place]
    moved = np.flatnonzero(np.abs(model.predict(changed) - plain) > 1e-12)
    assert all(place < row < steps.starts[4] for row in moved)
    alone = steps.learners(np.array([3]))
    assert model.predict(alone) == pytest.approx(plain[steps.starts[3] : steps.starts[4]])


@pytest.mark.parametrize("make", [MeanModel, IRT, PFA, BKT])
def test_what_was_learnt_can_be_kept(make, random_steps, tmp_path):
    steps = random_steps()
    model = make().fit(steps)
    records.save(tmp_path, model)
    assert records.load(tmp_path).predict(steps).tolist() == model.predict(steps).tolist()
    assert 0 <= scored_auc(model, steps) <= 1


def test_pfa_of_one_outcome_says_so(make_steps):
    steps = make_steps([(1, 1), (2, 1)])
    assert (PFA().fit(steps).predict(steps) > 0.99).all()
