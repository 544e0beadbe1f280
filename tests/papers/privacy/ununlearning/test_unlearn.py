"""Unlearning on all weights: what each method does to what is forgotten and kept."""

import pytest
import torch

from assay.errors import InputError
from assay.papers.privacy.unlearning import kl_loss, random_direction, recorded_states, sequence_nll
from assay.papers.privacy.ununlearning.method import METHODS, Unlearning, unlearn
from assay.papers.privacy.ununlearning.method.unlearn import _Loss


@pytest.fixture(scope="module")
def trained(words):
    model = words.llama(32).untrained(0)
    forget = words.single(torch.tensor([[0, 1], [1, 2]]))
    retain = words.single(torch.tensor([[2, 3], [3, 4]]))
    return model, forget, retain


@pytest.mark.parametrize("method", [method for method in METHODS if method != "rmu"])
def test_unlearning_makes_the_facts_unlikely_and_leaves_the_model(trained, method):
    model, forget, retain = trained
    before = {name: value.clone() for name, value in model.state_dict().items()}
    after = unlearn(model, [forget], [retain], method, Unlearning(steps=20, learning_rate=3e-3))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    with torch.no_grad():
        assert (sequence_nll(after, forget) > sequence_nll(model, forget) + 1).all()
        if method != "gradient_ascent":
            assert (sequence_nll(after, retain) < sequence_nll(model, retain)).all()


def states(model, batch, layer):
    with recorded_states(model, layer) as found, torch.no_grad():
        model(input_ids=batch[0])
    return found[0]


def test_rmu_steers_one_layer_and_trains_what_it_is_told_to(trained):
    model, forget, retain = trained
    settings = Unlearning(steps=40, learning_rate=1e-2, steering=5.0, retain_weight=10.0)
    after = unlearn(model, [forget], [retain], "rmu", settings)
    wanted = 5.0 * random_direction(32, torch.Generator().manual_seed(0))
    now, then = (states(each, forget, 1) for each in (after, model))
    assert (now - wanted).square().mean() < 0.5 * (then - wanted).square().mean()
    assert (states(after, retain, 1) - states(model, retain, 1)).norm() < (now - then).norm()
    only = Unlearning(steps=2, steered_layer=0, trained=r"layers\.0\.self_attn\.o_proj")
    other = unlearn(model, [forget], [retain], "rmu", only)
    moved = [
        name for name, value in other.state_dict().items() if not torch.equal(value, model.state_dict()[name])
    ]
    assert moved == ["model.layers.0.self_attn.o_proj.weight"]
    with pytest.raises(ValueError, match="layers 0 to 1, not 7"):
        unlearn(model, [forget], [retain], "rmu", Unlearning(steered_layer=7, trained="mlp"))


def test_kl_keeps_what_the_model_predicted(trained):
    model, forget, retain = trained
    shifts = []
    for keep in ("nll", "kl"):
        settings = Unlearning(steps=20, learning_rate=3e-3, retain_loss=keep, retain_weight=3.0)
        after = unlearn(model, [forget], [retain], "gradient_difference", settings)
        with torch.no_grad():
            assert (sequence_nll(after, forget) > sequence_nll(model, forget) + 1).all()
            shifts.append(kl_loss(*(each(input_ids=retain[0]).logits for each in (after, model))))
    assert shifts[1] < 0.5 * shifts[0]
    loss = _Loss(model, "npo", Unlearning(retain_loss="kl"))
    assert loss._kept(model, retain).item() == pytest.approx(0, abs=1e-6)


def test_a_learning_rate_of_zero_changes_nothing(trained):
    model, forget, retain = trained
    after = unlearn(model, [forget], [retain], "npo", Unlearning(steps=3, learning_rate=0.0))
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in after.state_dict().items())


def test_an_unknown_method_is_refused(trained):
    model, forget, retain = trained
    with pytest.raises(InputError, match=r"no unlearning method 'nop'. Did you mean 'npo'"):
        unlearn(model, [forget], [retain], "nop")
