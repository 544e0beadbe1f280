"""The sets of the theorem."""

import itertools
from fractions import Fraction

import numpy as np
import pytest

from assay.errors import InputError
from assay.papers.agents.model_generalization.method import (
    FiniteClass,
    Observed,
    consistent_value_sets,
    factored_transitions,
    unstructured_transitions,
    value_iteration,
)


def observe(next_state, reward, pairs):
    state, action = np.array(pairs).T
    return Observed(state, action, reward[state, action], next_state[state, action])


def test_value_iteration_on_a_cycle():
    # Two states; action 0 stays, action 1 changes; reward 1 for staying in state 1.
    next_state = np.array([[[0, 1], [1, 0]]])
    reward = np.array([[[0.0, 0.0], [1.0, 0.0]]])
    q = value_iteration(next_state, reward, 0.5)[0]
    np.testing.assert_allclose(q, [[0.5, 1.0], [2.0, 0.5]], atol=1e-8)


def test_classes_have_the_sizes_of_their_formulas():
    factored = factored_transitions(2, 1)
    assert factored.shape == (36, 4, 1)
    assert len(np.unique(factored, axis=0)) == 36
    assert len(np.unique(unstructured_transitions(3, 1), axis=0)) == 27
    everything = {row.tobytes() for row in unstructured_transitions(4, 1)}
    assert all(row.tobytes() in everything for row in factored)


def test_each_next_bit_of_a_factored_model_depends_on_one_bit():
    seen = np.arange(4)[:, None] >> np.arange(2) & 1
    functions = {tuple(values) for bit in seen.T for values in (bit, 1 - bit, 0 * bit, 0 * bit + 1)}
    for model in factored_transitions(2, 1)[..., 0]:
        assert all(tuple(model >> place & 1) in functions for place in range(2))


def test_the_inclusion_holds_on_1000_random_classes():
    random = np.random.default_rng(0)
    for _ in range(1000):
        states, actions, size = random.integers(2, 4), random.integers(1, 3), random.integers(1, 12)
        next_state = random.integers(states, size=(size, states, actions))
        reward = random.integers(2, size=(size, states, actions)).astype(float)
        models = FiniteClass(next_state, reward)
        true = random.integers(size)
        pairs = np.stack(np.divmod(random.permutation(states * actions), actions), 1)
        some = pairs[: random.integers(1, len(pairs) + 1)]
        sets = consistent_value_sets(models, observe(next_state[true], reward[true], some), gamma=0.5)
        assert sets.included
        assert sets.model_consistent.any()


def test_the_whole_table_leaves_one_function():
    next_state = factored_transitions(2, 1)
    reward = np.array([[0.0], [0.0], [0.0], [1.0]])
    models = FiniteClass(next_state, reward)
    seen = observe(next_state[20], reward, [(state, 0) for state in range(4)])
    sets = consistent_value_sets(models, seen)
    assert sets.model_consistent.sum() == sets.bellman_consistent.sum() == 1


def test_a_factored_class_prunes_more_and_an_unstructured_one_does_not():
    reward = np.array([[0.0], [0.0], [0.0], [1.0]])
    random = np.random.default_rng(1)
    ratios = {}
    for name, next_state in {
        "factored": factored_transitions(2, 1),
        "none": unstructured_transitions(4, 1),
    }.items():
        models, found = FiniteClass(next_state, reward), []
        for _ in range(60):
            true = factored_transitions(2, 1)[random.integers(36)]
            pairs = [(state, 0) for state in random.permutation(4)[: random.integers(1, 4)]]
            sets = consistent_value_sets(models, observe(true, reward, pairs))
            found.append(sets.bellman_consistent.sum() / sets.model_consistent.sum())
        ratios[name] = np.array(found)
    assert (ratios["none"] == 1).all()
    assert ratios["factored"].mean() > 1.05


GAMMA = Fraction(9, 10)


def exact_values(following, reward):
    """Return Q* of one model in fractions: the best of all policies, each followed into its cycle."""
    states, actions = range(len(following)), range(len(following[0]))
    best = [Fraction(-(10**6))] * len(following)
    for policy in itertools.product(actions, repeat=len(following)):
        for start in states:
            seen, rewards, at = {}, [], start
            while at not in seen:
                seen[at] = len(rewards)
                rewards.append(reward[at][policy[at]])
                at = following[at][policy[at]]
            worth = [GAMMA**step * earned for step, earned in enumerate(rewards)]
            again = 1 / (1 - GAMMA ** (len(rewards) - seen[at]))
            best[start] = max(best[start], sum(worth[: seen[at]]) + again * sum(worth[seen[at] :]))
    return tuple(tuple(reward[s][a] + GAMMA * best[following[s][a]] for a in actions) for s in states)


@pytest.mark.parametrize(
    ("next_state", "count"),
    [(factored_transitions(2, 1), 16), (unstructured_transitions(4, 1), 88), (None, None)],
)
def test_both_sets_equal_those_of_a_brute_force_in_fractions(next_state, count):
    random = np.random.default_rng(3)
    if next_state is None:  # some models of 3 states and 2 actions, with rewards of their own
        next_state = random.integers(3, size=(40, 3, 2))
    own = count is None
    shape = next_state.shape if own else next_state.shape[1:]
    reward = random.integers(2, size=shape) if own else np.eye(4, dtype=int)[3][:, None]
    models = FiniteClass(next_state, reward.astype(float))
    each = [
        exact_values(model.tolist(), models.rewards()[number].astype(int).tolist())
        for number, model in enumerate(next_state)
    ]
    assert count is None or len(set(each)) == count
    states, actions = next_state.shape[1:]
    for _ in range(40):
        true = random.integers(len(next_state))
        pairs = np.stack(np.divmod(random.permutation(states * actions), actions), 1)
        pairs = pairs[: random.integers(1, len(pairs) + 1)].tolist()
        earned = models.rewards().astype(int)
        by_models = {
            values
            for number, values in enumerate(each)
            if all(
                next_state[number, s, a] == next_state[true, s, a]
                and earned[number, s, a] == earned[true, s, a]
                for s, a in pairs
            )
        }
        by_values = {
            values
            for values in each
            if all(
                values[s][a] == int(earned[true, s, a]) + GAMMA * max(values[next_state[true, s, a]])
                for s, a in pairs
            )
        }
        sets = consistent_value_sets(
            models, observe(next_state[true], models.rewards()[true], pairs), float(GAMMA)
        )
        assert by_models <= by_values
        for mask, expected in ((sets.model_consistent, by_models), (sets.bellman_consistent, by_values)):
            found = {tuple(row) for row in sets.values[mask].reshape(-1, states * actions).round(5)}
            assert found == {tuple(np.round(np.ravel(values).astype(float), 5)) for values in expected}


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: factored_transitions(4, 4), "models"),
        (lambda: unstructured_transitions(8, 2), "at most a million"),
        (lambda: FiniteClass(np.zeros((2, 3, 1), int), np.zeros((3, 2))), "shape"),
        (lambda: FiniteClass(np.full((2, 3, 1), 3), np.zeros((3, 1))), "outside 0 to 2"),
        (lambda: FiniteClass(np.zeros((2, 3, 1), int), np.zeros((3, 1))).optimal_values(1.0), "gamma is 1"),
    ],
)
def test_what_makes_no_class_is_refused(make, text):
    with pytest.raises(InputError, match=text):
        make()
