"""The router: who answers what, in which order, and what it refuses."""

import functools
import math

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.svm import SVC
from torch import nn

from assay.papers.language.elang.method import (
    Costs,
    EnergyRouter,
    RoutingPolicy,
    count_flops,
    fingerprint,
    free_energy,
)


class Counting:
    """A model that keeps the rows that it was asked."""

    def __init__(self, function):
        self.function, self.calls = function, []

    def __call__(self, inputs):
        self.calls.append(inputs)
        return self.function(inputs)

    @property
    def rows(self):
        return torch.cat(self.calls)


def swift_logits(inputs):
    return torch.stack([inputs[:, 0], -inputs[:, 0]], dim=1)


def super_logits(inputs):
    return torch.stack([inputs[:, 1], 3.0 - inputs[:, 1]], dim=1)


@pytest.fixture
def inputs():
    return torch.randn(101, 2, generator=torch.Generator().manual_seed(0))


def router(threshold=1.0, swift=swift_logits, super_=super_logits, **options):
    return EnergyRouter(swift, super_, policy=RoutingPolicy(threshold), costs=Costs(1.0, 10.0), **options)


def network(width, seed=0, classes=2, features=2):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(features, width), nn.ReLU(), nn.Linear(width, classes)).eval()


# --- predict ------------------------------------------------------------------------------------


def test_routed_rows_have_supers_outputs_in_the_original_order(inputs):
    super_ = Counting(super_logits)
    output = router(super_=super_).predict(inputs)
    routed = -free_energy(swift_logits(inputs)) < 1.0
    assert 0 < routed.sum() < len(inputs)
    assert torch.equal(output.route, routed)
    assert torch.equal(super_.rows, inputs[routed])
    expected = torch.where(routed.unsqueeze(1), super_logits(inputs), swift_logits(inputs))
    assert torch.equal(output.logits, expected)
    assert torch.equal(output.prediction, expected.argmax(-1))
    assert output.cost == 101 * 1.0 + routed.sum() * 10.0


def test_super_is_not_called_without_a_routed_row(inputs):
    super_ = Counting(super_logits)
    output = router(-math.inf, super_=super_).predict(inputs)
    assert not super_.calls
    assert torch.equal(output.logits, swift_logits(inputs))
    assert torch.equal(router(math.inf).predict(inputs).logits, super_logits(inputs))


def test_batch_size_does_not_change_routes(inputs):
    pair = router(swift=network(8), super_=network(32, seed=1))
    whole = pair.predict(inputs)
    for size in (1, 7, 50):
        parts = [pair.predict(batch) for batch in inputs.split(size)]
        assert torch.equal(torch.cat([part.route for part in parts]), whole.route)
        assert torch.equal(torch.cat([part.prediction for part in parts]), whole.prediction)


def test_broken_scores_go_to_super_and_are_counted(inputs):
    inputs[[3, 40], 0] = torch.nan
    output = router(-math.inf).predict(inputs)
    assert output.route.nonzero().flatten().tolist() == [3, 40]
    assert output.invalid == 2
    assert torch.equal(output.logits[[3, 40]], super_logits(inputs)[[3, 40]])


def test_rows_may_be_texts_mappings_or_half_precision(inputs):
    texts = ["good", "bad", "hm"]
    logits = {"good": [3.0, 0.0], "bad": [0.0, 3.0], "hm": [0.1, 0.0]}
    output = router(
        swift=lambda batch: torch.tensor([logits[text] for text in batch]), super_=len_as_class
    ).predict(texts)
    assert output.route.tolist() == [False, False, True]
    assert output.prediction.tolist() == [0, 1, 2]
    assert output.logits is None  # this Super answers with class numbers

    class Keyword(nn.Module):
        def forward(self, x, y):
            return torch.stack([x, y], dim=1).half()

    mapping = {"x": inputs[:, 0], "y": inputs[:, 1]}
    output = router(swift=Keyword().eval(), super_=Keyword().eval()).predict(mapping)
    assert output.logits.dtype == torch.half
    assert output.score.dtype == torch.float32


def len_as_class(texts):
    return torch.tensor([len(text) for text in texts])


def test_a_users_own_score_routes_a_regression(inputs):
    pair = EnergyRouter(
        lambda batch: batch[:, :1],
        lambda batch: batch[:, 1:],
        score=absolute_value,
        policy=RoutingPolicy(0.5, score="custom:absolute_value"),
    )
    output = pair.predict(inputs)
    expected = torch.where(inputs[:, 0].abs() >= 0.5, inputs[:, 0], inputs[:, 1])
    assert torch.equal(output.prediction, expected)


def absolute_value(output):
    return output.squeeze(1).abs()


# --- stream -------------------------------------------------------------------------------------


@pytest.mark.parametrize("swift_batch", [1, 7, 33, 101])
def test_a_stream_gives_what_predict_gives_with_full_super_batches(inputs, swift_batch):
    super_ = Counting(super_logits)
    outputs = list(router(super_=super_).stream(inputs.split(swift_batch), super_batch_size=8))
    whole = router().predict(inputs)
    for name in ("prediction", "route", "logits", "score"):
        assert torch.equal(torch.cat([getattr(output, name) for output in outputs]), getattr(whole, name))
    sizes = [len(call) for call in super_.calls]
    assert sizes[:-1] == [8] * (len(sizes) - 1)
    assert sum(sizes) == whole.route.sum()
    assert sum(output.cost for output in outputs) == pytest.approx(whole.cost)


def test_a_stream_gives_answers_before_it_ends_and_bounds_the_wait(inputs):
    super_ = Counting(super_logits)
    taken = []

    def batches():
        for number, batch in enumerate(inputs.split(1)):
            taken.append(number)
            yield batch

    stream = router(math.inf, super_=super_).stream(batches(), super_batch_size=1000, max_waiting=4)
    next(stream)
    assert taken == [0, 1, 2, 3, 4]
    assert [len(call) for call in super_.calls] == [5]


def test_a_stream_without_routed_rows_or_batches(inputs):
    outputs = list(router(-math.inf).stream(inputs.split(10)))
    assert len(outputs) == 11
    assert not list(router().stream([]))


def test_rows_of_different_shapes_cannot_share_a_super_batch():
    padded = [torch.zeros(2, 3), torch.zeros(2, 4)]
    with pytest.raises(ValueError, match="different shapes"):
        list(router(math.inf, swift=lambda batch: batch[:, :2]).stream(padded))


# --- calibration --------------------------------------------------------------------------------


def test_calibration_finds_a_cheaper_pair_as_good_as_super(labelled, trained, tmp_path):
    swift, super_ = trained(2, 60, seed=1), trained(64, 200, seed=2)
    pair = EnergyRouter(swift, super_)
    policy = pair.calibrate(labelled(), value=0.01)
    assert policy.calibration.rows == policy.held_out.rows == 300
    assert policy.calibration.quality >= policy.calibration.super_quality - 0.01
    assert 0 < policy.calibration.super_share < 0.9
    assert policy.num_classes == 2
    assert policy.wall_time.super_ > 0
    assert policy.swift_fingerprint == fingerprint(swift)

    policy.save(tmp_path)
    again = EnergyRouter(swift, super_, policy=RoutingPolicy.load(tmp_path))
    inputs = labelled(seed=4)[0][0]
    assert torch.equal(again.predict(inputs).route, pair.predict(inputs).route)
    assert pair.measure(labelled(seed=4)).super_quality > 0.9
    with pytest.raises(ValueError, match="another Swift"):
        EnergyRouter(trained(2, 61, seed=1), super_, policy=policy)


def test_costs_are_counted_a_row():
    pair = EnergyRouter(network(8), network(32))
    costs = pair.count_costs(torch.zeros(10, 2))
    assert (costs.swift, costs.super_) == (2 * (2 * 8 + 8 * 2), 2 * (2 * 32 + 32 * 2))
    assert EnergyRouter(swift_logits, super_logits).count_costs(torch.zeros(10, 2)) is None


def test_flops_include_attention():
    attention = nn.MultiheadAttention(8, 2, batch_first=True).eval()
    rows = torch.zeros(1, 5, 8)
    flops = count_flops(lambda: attention(rows, rows, rows, need_weights=False))
    projections, products = 2 * 5 * 8 * 8 * 4, 2 * 2 * 5 * 5 * 8
    assert flops == projections + products


def test_share_and_budget_hold_on_the_choosing_rows(labelled):
    pair = EnergyRouter(network(4), network(32), costs=Costs(1.0, 10.0))
    assert pair.calibrate(labelled(), "share", 0.2, held_out=0.0).calibration.super_share == 0.2
    assert pair.policy.held_out is None
    spent = pair.calibrate(labelled(), "budget", 0.5).calibration
    assert 1 + 10 * spent.super_share <= 5


def test_tiny_calibration_sets_are_possible_and_say_how_little_they_know(labelled):
    policy = EnergyRouter(network(4), network(32)).calibrate([labelled(2)[0]])
    low, high = policy.held_out.interval
    assert policy.calibration.rows == policy.held_out.rows == 1
    assert high - low > 0.9


def test_a_quality_of_the_users_own(labelled):
    pair = EnergyRouter(lambda batch: batch[:, :1], lambda batch: batch[:, 1:], score=absolute_value)
    policy = pair.calibrate(labelled(), quality=lambda prediction, label: -(prediction - label).abs())
    assert policy.score == "custom:absolute_value"
    assert policy.held_out.quality < 0
    assert all(np.isfinite(policy.held_out.interval))


# --- refused ------------------------------------------------------------------------------------


def named(model, *names):
    model.label_names = names
    return model


@pytest.mark.parametrize(
    ("other", "match"), [(("yes", "no"), "the same labels in another order"), (("a", "b"), "other labels")]
)
def test_different_label_orders_are_refused(other, match):
    with pytest.raises(ValueError, match=match):
        EnergyRouter(named(network(2), "no", "yes"), named(network(4), *other))


def test_label_names_agree_whatever_their_case():
    pair = EnergyRouter(named(network(2), "NO", "YES"), named(network(4), "no", "yes"))
    assert pair.label_names == ("NO", "YES")
    assert EnergyRouter(named(network(2), "no", "yes"), network(4)).label_names is None


@pytest.mark.parametrize("which", ["Swift", "Super"])
def test_a_model_in_training_mode_is_refused(inputs, which):
    models = {"Swift": network(4), "Super": network(8)}
    pair = EnergyRouter(models["Swift"], models["Super"], policy=RoutingPolicy(0.0))
    models[which][0].train()
    for call in (pair.predict, lambda batch: pair.calibrate([(batch, torch.zeros(len(batch)))])):
        with pytest.raises(ValueError, match=f"{which} is in training mode"):
            call(inputs)


def test_normalised_logits_are_refused(inputs):
    with pytest.raises(ValueError, match="normalised log-probabilities"):
        router(swift=lambda batch: swift_logits(batch).log_softmax(-1)).predict(inputs)


def test_one_output_needs_a_score(inputs):
    with pytest.raises(ValueError, match="score of your own"):
        router(swift=lambda batch: batch[:, :1]).predict(inputs)


def test_no_threshold_no_batches_no_answer(inputs, labelled):
    with pytest.raises(ValueError, match="no rows"):
        router().predict(inputs[:0])
    pair = EnergyRouter(swift_logits, super_logits)
    with pytest.raises(ValueError, match="has no threshold"):
        pair.predict(inputs)
    with pytest.raises(ValueError, match="no batch"):
        pair.calibrate([])
    with pytest.raises(ValueError, match="leaves none"):
        pair.calibrate(labelled(), held_out=1.0)


def test_answers_must_be_of_one_kind(inputs):
    with pytest.raises(ValueError, match="both answer with texts"):
        router(super_=lambda batch: ["text"] * len(batch)).predict(inputs)
    with pytest.raises(TypeError, match="not dict"):
        router(super_=lambda batch: {}).predict(inputs)
    with pytest.raises(ValueError, match="different shapes a row"):
        router(super_=lambda batch: batch.expand(3, *batch.shape).permute(1, 0, 2)).predict(inputs)


def test_a_policy_for_another_score_is_refused():
    with pytest.raises(ValueError, match="read_from='encoder'"):
        EnergyRouter(network(2), network(4), policy=RoutingPolicy(0.0, read_from="encoder"))
    with pytest.raises(ValueError, match="custom:mine"):
        EnergyRouter(network(2), network(4), policy=RoutingPolicy(0.0, score="custom:mine"))


def test_the_policys_score_and_temperature_are_used(inputs):
    policy = RoutingPolicy(0.0, score="top2_margin", temperature=2.0)
    pair = EnergyRouter(swift_logits, super_logits, policy=policy)
    margins = (swift_logits(inputs).double() / 2).softmax(-1).diff(dim=-1).abs().squeeze(-1)
    torch.testing.assert_close(pair.predict(inputs).score, margins)


# --- arrays and estimators ----------------------------------------------------------------------


def test_a_decision_function_of_one_number_a_row_is_that_of_two_classes(inputs):
    pair = router(swift=lambda batch: batch[:, 0], super_=lambda batch: batch[:, 1].numpy())
    output = pair.predict(inputs)
    torch.testing.assert_close(
        output.logits.softmax(1)[:, 1], torch.where(output.route, *inputs.T.flip(0)).sigmoid()
    )
    assert torch.equal(output.prediction == 1, torch.where(output.route, inputs[:, 1], inputs[:, 0]) > 0)
    confident = pair.predict(torch.tensor([[-9.0, 0.0], [9.0, 0.0], [0.1, 0.0]]))
    assert confident.route.tolist() == [False, False, True]  # far from the border on either side


def test_estimators_and_arrays_are_models_and_rows(labelled):
    rows, labels = (torch.cat(parts).numpy() for parts in zip(*labelled(), strict=True))
    swift = LogisticRegression(C=1e-3).fit(rows, labels)
    super_ = SVC().fit(rows, labels)
    pair = EnergyRouter(swift, super_, costs=Costs(1.0, 10.0))
    policy = pair.calibrate([(rows[:300], labels[:300]), (rows[300:], labels[300:])], "share", 0.3)
    output = pair.predict(rows[:50])
    sent = output.route.numpy()
    assert 0 < sent.sum() < 50
    assert (output.prediction.numpy()[sent] == super_.predict(rows[:50][sent])).all()
    assert (output.prediction.numpy()[~sent] == swift.predict(rows[:50][~sent])).all()
    assert torch.equal(pair.predict(pd.DataFrame(rows[:50])).route, output.route)
    streamed = list(pair.stream([rows[:25], rows[25:50]], super_batch_size=4))
    assert torch.equal(torch.cat([part.prediction for part in streamed]), output.prediction)
    assert policy.swift_fingerprint == fingerprint(swift) != fingerprint(clone(swift).fit(rows, 1 - labels))
    assert repr(output) == f"RoutedOutput(50 rows, {sent.sum()} by Super, cost={output.cost})"


def test_estimators_answer_with_their_own_classes(labelled):
    rows, labels = labelled(50)[0]
    names = np.array(["no", "yes"])[labels.numpy()]
    pair = EnergyRouter(
        LogisticRegression().fit(rows, names),
        RandomForestClassifier(5, random_state=0).fit(rows, names),
        policy=RoutingPolicy(0.3),
    )
    assert pair.label_names == ("no", "yes")
    assert set(pair.predict(rows.numpy()).prediction) == {"no", "yes"}
    assert pair.measure([(rows.numpy(), names)]).quality > 0.8
    forest = EnergyRouter(pair.super_, pair.super_, policy=RoutingPolicy(0.3))
    with pytest.raises(ValueError, match="normalised log-probabilities"):
        forest.predict(rows.numpy())


def test_modules_take_arrays(inputs):
    pair = router(swift=network(8), super_=network(32, seed=1))
    assert torch.equal(pair.predict(inputs.double().numpy()).logits, pair.predict(inputs).logits)


# --- fingerprints -------------------------------------------------------------------------------


def scaled(factor):
    return lambda batch: batch * factor


def test_functions_are_told_apart_by_code_and_by_what_they_enclose():
    assert fingerprint(scaled(2.0)) == fingerprint(scaled(2.0)) != fingerprint(scaled(3.0))
    assert len({fingerprint(each) for each in (lambda x: x + 1, lambda x: x + 2, lambda x: x * 1)}) == 3
    assert fingerprint(scaled(network(2))) != fingerprint(scaled(network(2, seed=1)))
    halves = [functools.partial(torch.mul, other=other) for other in (0.5, 0.5, 0.25)]
    assert fingerprint(halves[0]) == fingerprint(halves[1]) != fingerprint(halves[2])
    policy = RoutingPolicy(0.0, swift_fingerprint=fingerprint(scaled(2.0)))
    with pytest.raises(ValueError, match="another Swift"):
        EnergyRouter(scaled(3.0), super_logits, policy=policy)


def test_fingerprints_follow_the_weights():
    model = network(16)
    assert fingerprint(model) == fingerprint(network(16)) == fingerprint(model.forward)
    assert fingerprint(model) != fingerprint(network(16, seed=1))
    before = fingerprint(model)
    model[0].weight.data[0, 0] += 1e-6
    assert fingerprint(model) != before
    assert "swift_logits:" in fingerprint(swift_logits)
    assert fingerprint(Counting(swift_logits)) is None
