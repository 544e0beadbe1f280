"""The anchor in closed form, and the objectives at the points where their values are known."""

import math

import pytest
import torch
from torch.nn import functional

from assay.papers.privacy.unlearning import gradient_difference, kl_loss, recorded_states, sequence_nll
from assay.papers.privacy.uoe.method import (
    AnchorLoss,
    SelectedExpertUnlearner,
    Unlearning,
    logits_of,
    token_nll,
)
from assay.papers.privacy.uoe.method.unlearner import _Loss
from papers.privacy.uoe.moe_models import build


def test_the_anchor_of_one_token_by_hand():
    affinities = torch.tensor([[0.4, 0.3, 0.2, 0.1]])
    assert AnchorLoss([0])(affinities).item() == pytest.approx(0.125)
    assert AnchorLoss([0], "sum")(affinities).item() == pytest.approx(0.5)
    assert AnchorLoss([0, 1], "sum")(affinities).item() == pytest.approx(0.36 + 0.49 + 0.04 + 0.01)


@pytest.mark.parametrize("experts", [2, 8, 60])
def test_the_anchor_of_uniform_affinities(experts):
    uniform = torch.full((5, experts), 1 / experts)
    assert AnchorLoss([1])(uniform).item() == pytest.approx((1 - 1 / experts) / experts)
    assert AnchorLoss([1], "sum")(uniform).item() == pytest.approx(1 - 1 / experts)


def test_the_anchor_rests_at_the_target():
    affinities = functional.one_hot(torch.tensor([2, 2]), 4).float().requires_grad_()
    AnchorLoss([2])(affinities).backward()
    assert not affinities.grad.any()


def test_padding_does_not_count():
    affinities = torch.tensor([[0.4, 0.3, 0.2, 0.1], [1.0, 0.0, 0.0, 0.0]])
    assert AnchorLoss([0])(affinities, torch.tensor([True, False])).item() == pytest.approx(0.125)


def test_an_anchor_needs_a_target():
    with pytest.raises(ValueError, match="at least one"):
        AnchorLoss([])


def loss_of(model, forget, retain, **settings):
    """Return the loss of all documents with all parameters trained, and its gradient."""
    unlearner = SelectedExpertUnlearner(
        model, Unlearning(batch_size=len(forget), **settings), targets="model"
    )
    part = unlearner.prepare(forget)
    rows = torch.arange(len(forget))
    with part.active():
        loss = _Loss(unlearner, part, forget, retain)(rows, rows)
        gradient = torch.autograd.grad(loss, part.parameters(), allow_unused=True)
    return loss.item(), [torch.zeros(()) if each is None else each for each in gradient]


def mean_nll(model, documents):
    nll, tokens = token_nll(logits_of(model, documents), documents.labels)
    return nll.sum() / tokens.sum()


def test_gradient_ascent_and_difference_are_mean_losses(qwen, forget, retain):
    lost, kept = mean_nll(qwen, forget), mean_nll(qwen, retain)
    labels = forget.labels[:, 1:]
    own = functional.cross_entropy(logits_of(qwen, forget)[:, :-1].transpose(1, 2), labels, ignore_index=-100)
    assert lost.item() == pytest.approx(own.item(), rel=1e-5)
    assert loss_of(qwen, forget, None, objective="ga")[0] == pytest.approx(-lost.item(), rel=1e-5)
    expected = gradient_difference(lost, kept, 0.7).item()
    found = loss_of(qwen, forget, retain, objective="gdiff", retain_weight=0.7)[0]
    assert found == pytest.approx(expected, rel=1e-5)


def test_preference_optimisation_starts_at_log_two_with_the_gradient_of_ascent(qwen, forget):
    value, gradient = loss_of(qwen, forget, None, objective="npo", npo_beta=0.3)
    assert value == pytest.approx(2 / 0.3 * math.log(2), rel=1e-5)
    with_all = list(qwen.requires_grad_(True).parameters())
    ascent = -sequence_nll(qwen, (forget.input_ids, forget.labels)).mean()
    expected = torch.autograd.grad(ascent, with_all, allow_unused=True)
    for found, own in zip(gradient, expected, strict=True):
        torch.testing.assert_close(found, torch.zeros(()) if own is None else own, atol=1e-5, rtol=1e-4)


def test_steering_measures_the_distance_of_states(qwen, forget, retain):
    unlearner = SelectedExpertUnlearner(
        qwen, Unlearning("rmu", anchor_weight=0.0, steering=3.0), targets=[(1, 2)]
    )
    part = unlearner.prepare(forget)
    rows = torch.arange(len(forget))
    with part.active():
        loss = _Loss(unlearner, part, forget, retain)
        found = loss(rows, rows).item()
    states = qwen(
        input_ids=forget.input_ids, attention_mask=forget.mask.long(), output_hidden_states=True
    ).hidden_states[2]
    squares = (states - 3.0 * loss.direction).square().mean(-1) * forget.mask
    expected = (squares.sum(1) / forget.mask.sum(1)).mean().item()  # each document counts the same
    assert found == pytest.approx(expected, rel=1e-5)  # the retain term is 0 at the start
    assert loss.direction.norm().item() == pytest.approx(1.0)


def rmu_loss(model, forget, retain, **settings):
    unlearner = SelectedExpertUnlearner(
        model, Unlearning("rmu", anchor_weight=0.0, **settings), targets=[(1, 2)]
    )
    return _Loss(unlearner, unlearner.prepare(forget), forget, retain)


def test_the_steered_layer_is_the_one_that_is_named(qwen, forget, retain):
    rows = torch.arange(len(forget))
    loss = rmu_loss(qwen, forget, retain, steered_layer=2)
    inputs = {"input_ids": forget.input_ids, "attention_mask": forget.mask.long()}
    with recorded_states(qwen, 2) as states:
        qwen(**inputs)
    per_token = (states[0] - 20.0 * loss.direction).square().mean(-1)
    per_document = [row[mask].mean() for row, mask in zip(per_token, forget.mask, strict=True)]
    assert loss(rows, rows).item() == pytest.approx(torch.stack(per_document).mean().item(), rel=1e-5)
    with pytest.raises(ValueError, match="layer 0 is below 1, the first that is trained"):
        rmu_loss(qwen, forget, retain, steered_layer=0)


@pytest.mark.parametrize("targets", ["model", [(1, 2)]])
def test_kl_is_from_the_model_before(qwen, forget, retain, targets):
    settings = Unlearning("gdiff", anchor_weight=0.0, retain_loss="kl", retain_weight=2.0)
    unlearner = SelectedExpertUnlearner(qwen, settings, targets=targets)
    part = unlearner.prepare(forget)
    rows = torch.arange(len(forget))
    with torch.no_grad():
        before = logits_of(qwen, retain)
    with part.active():
        loss = _Loss(unlearner, part, forget, retain)
        assert loss(rows, rows).item() == pytest.approx(-mean_nll(qwen, forget).item(), rel=1e-5)
        with torch.no_grad():
            for weight in part.parameters():
                weight.add_(0.05)
        found = loss(rows, rows)
        expected = -mean_nll(qwen, forget) + 2.0 * kl_loss(logits_of(qwen, retain), before, retain.mask)
        assert found.item() == pytest.approx(expected.item(), rel=1e-5)
        gradients = [
            torch.autograd.grad(each, part.parameters(), allow_unused=True) for each in (found, expected)
        ]
    for one, other in zip(*gradients, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("objective", ["ga", "gdiff", "npo", "rmu"])
def test_every_objective_forgets(objective, forget, retain):
    model = build("olmoe")
    before = mean_nll(model, forget).item()
    settings = Unlearning(objective, learning_rate=2e-2, steps=15, steering=30.0)
    unlearned = SelectedExpertUnlearner(model, settings).fit(forget, retain)
    assert unlearned.steps == 15
    assert all(math.isfinite(loss) for loss in unlearned.losses)
    if objective == "rmu":  # of a model that knew nothing, steering need not lower the likelihood
        assert unlearned.losses[-1] < unlearned.losses[0]
    else:
        assert mean_nll(model, forget).item() > before
