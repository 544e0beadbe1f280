"""Cascades: one level is the router, several pay for every level that a row climbs."""

import copy

import numpy as np
import pytest
import torch

from assay.papers.language.elang.method import (
    EnergyCascade,
    EnergyRouter,
    RoutingPolicy,
    negative_free_energy,
)


@pytest.fixture(scope="module")
def models(trained):
    return [trained(2, 30, seed=1), trained(4, 80, seed=2), trained(64, 200, seed=3)]


def test_two_models_are_the_router(models, labelled):
    cascade = EnergyCascade([models[0], models[2]])
    (policy,) = cascade.calibrate(labelled(), tolerance=0.01)
    router = EnergyRouter(models[0], models[2])
    expected = router.calibrate(labelled(), value=0.01, held_out=0.0)
    assert policy.threshold == expected.threshold
    inputs = labelled(seed=4)[0][0]
    output, routed = cascade.predict(inputs), router.predict(inputs)
    assert torch.equal(output.prediction, routed.prediction)
    assert torch.equal(output.level, routed.route.long())


def test_three_models_keep_the_quality_of_the_last_for_less(models, labelled):
    cascade = EnergyCascade(models)
    cascade.calibrate(labelled(), tolerance=0.01)
    found = cascade.measure(labelled())
    alone = torch.cat([models[2](inputs).argmax(-1) == labels for inputs, labels in labelled()])
    assert found.quality >= alone.double().mean().item() - 0.01 - 1e-9
    assert sum(found.shares) == pytest.approx(1)
    assert found.speedup > 1
    assert found.interval[0] < found.quality < found.interval[1]


def halfway(models, labelled):
    """Policies that each send the less certain half up."""
    inputs = torch.cat([inputs for inputs, _ in labelled()])
    return [RoutingPolicy(negative_free_energy(model(inputs)).median().item()) for model in models[:-1]]


def test_each_model_sees_only_the_rows_that_reach_it(models, labelled):
    seen = []

    def watch(model):
        def run(inputs):
            seen.append(len(inputs))
            return model(inputs)

        return run

    policies = halfway(models, labelled)
    inputs = torch.cat([inputs for inputs, _ in labelled()])
    output = EnergyCascade([watch(model) for model in models], policies=policies).predict(inputs)
    reached = [len(inputs), int((output.level >= 1).sum()), int((output.level >= 2).sum())]
    assert seen == reached
    assert reached[0] > reached[1] > reached[2] > 0
    for level, model in enumerate(models):
        rows = output.level == level
        assert torch.equal(output.prediction[rows], model(inputs[rows]).argmax(-1))


def test_rows_pay_for_every_level_up_to_their_own(models, labelled):
    cascade = EnergyCascade(models, policies=halfway(models, labelled))
    flops = [2 * (2 * width + width * 2) for width in (2, 4, 64)]
    level = torch.cat([cascade.predict(inputs).level for inputs, _ in labelled()]).numpy()
    spent = np.cumsum(flops)[level].mean()
    assert cascade.measure(labelled()).speedup == pytest.approx(flops[-1] / spent)


def test_policies_survive_their_files_and_refuse_other_models(models, tmp_path, labelled, trained):
    cascade = EnergyCascade(models)
    cascade.calibrate(labelled())
    cascade.save(tmp_path)
    policies = EnergyCascade.load_policies(tmp_path)
    assert policies == cascade.policies
    EnergyCascade(models, policies=policies)
    with pytest.raises(ValueError, match="another Super"):
        EnergyCascade([*models[:2], trained(64, 0, seed=9)], policies=policies)
    with pytest.raises(FileNotFoundError):
        EnergyCascade.load_policies(tmp_path / "level-0")


def test_too_few_models_or_policies_or_other_labels(models, trained):
    with pytest.raises(ValueError, match="two models or more"):
        EnergyCascade(models[:1])
    with pytest.raises(ValueError, match="a policy for each"):
        EnergyCascade(models, policies=[RoutingPolicy(0.0)])
    with pytest.raises(ValueError, match="no thresholds"):
        EnergyCascade(models).predict(torch.zeros(1, 2))
    with pytest.raises(ValueError, match="no batch"):
        EnergyCascade(models).calibrate([])
    with pytest.raises(ValueError, match="another order"):
        EnergyCascade([named(models[0], "no", "yes"), named(models[1], "yes", "no")])


def named(model, *names):
    model = copy.copy(model)
    model.label_names = names
    return model
