"""The losses: closed forms, gradients, limits, and the model of their sums."""

import math

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from assay.papers.privacy.unlearning import (
    gradient_ascent,
    gradient_difference,
    keep_loss,
    kl_loss,
    matching_parameters,
    negate_task_vector,
    npo,
    random_direction,
    recorded_states,
    sequence_nll,
    steer_loss,
)


@pytest.fixture(scope="module")
def model() -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=11,
        hidden_size=8,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=16,
    )
    return LlamaForCausalLM(config).eval()


def test_nll_is_the_sum_over_labelled_tokens(model: LlamaForCausalLM) -> None:
    ids = torch.tensor([[1, 4, 2, 7], [1, 9, 3, 0]])
    labels = torch.tensor([[-100, -100, 2, 7], [-100, 9, 3, -100]])
    logprobs = model(input_ids=ids).logits.log_softmax(-1)
    by_hand = [-(logprobs[0, 1, 2] + logprobs[0, 2, 7]), -(logprobs[1, 0, 9] + logprobs[1, 1, 3])]
    assert torch.allclose(sequence_nll(model, (ids, labels)), torch.stack(by_hand))


def test_nll_does_not_depend_on_padding_or_batch(model: LlamaForCausalLM) -> None:
    ids, labels = torch.tensor([[1, 4, 2]]), torch.tensor([[-100, 4, 2]])
    padded = torch.tensor([[1, 4, 2, 0, 0], [3, 3, 3, 3, 3]])
    padded_labels = torch.tensor([[-100, 4, 2, -100, -100], [3, 3, 3, 3, 3]])
    alone = sequence_nll(model, (ids, labels))
    assert torch.allclose(sequence_nll(model, (padded, padded_labels))[0], alone[0], atol=1e-5)


def test_a_sequence_without_labels_costs_nothing(model: LlamaForCausalLM) -> None:
    ids = torch.tensor([[1, 2, 3]])
    assert sequence_nll(model, (ids, torch.full_like(ids, -100))).tolist() == [0.0]


@pytest.mark.parametrize("beta", [0.05, 0.1, 1.0])
def test_npo_at_the_reference_is_gradient_ascent(beta: float) -> None:
    nll = torch.tensor([2.0, 5.0, 1.0], requires_grad=True)
    loss = npo(nll, nll.detach(), beta)
    assert loss.item() == pytest.approx(2 / beta * math.log(2))
    (gradient,) = torch.autograd.grad(loss, nll)
    (ascent,) = torch.autograd.grad(gradient_ascent(nll.mean()), nll)
    assert torch.allclose(gradient, ascent)


def test_npo_stops_where_a_sequence_is_forgotten_and_gives_no_gradient_to_the_reference() -> None:
    nll = torch.tensor([200.0, 0.0], requires_grad=True)
    reference = torch.zeros(2, requires_grad=True)
    npo(nll, reference, 1.0).backward()
    assert nll.grad is not None
    assert nll.grad.tolist() == pytest.approx([0.0, -0.5])
    assert reference.grad is None


def test_npo_becomes_gradient_ascent_for_a_small_beta() -> None:
    nll = torch.tensor([3.0, 8.0], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(npo(nll, torch.ones(2, dtype=torch.float64), 1e-6), nll)
    assert gradient.tolist() == pytest.approx([-0.5, -0.5], abs=1e-5)


@pytest.mark.parametrize("beta", [0.0, -1.0, math.nan])
def test_npo_refuses_a_beta_that_is_not_positive(beta: float) -> None:
    with pytest.raises(ValueError, match="beta must be above 0"):
        npo(torch.ones(1), torch.ones(1), beta)


def test_gradient_difference() -> None:
    assert gradient_difference(torch.tensor(3.0), torch.tensor(2.0), 0.5).item() == -2.0


def test_the_terms_of_rmu() -> None:
    direction = random_direction(6, torch.Generator().manual_seed(0))
    assert direction.norm().item() == pytest.approx(1)
    assert (direction >= 0).all()
    hidden = (4 * direction).expand(2, 3, 6)
    assert steer_loss(hidden, direction, 4.0).item() == pytest.approx(0)
    assert steer_loss(torch.zeros(2, 3, 6), direction, 4.0).item() == pytest.approx(16 / 6)
    assert keep_loss(hidden, hidden).item() == 0
    assert keep_loss(hidden + 2, hidden).item() == pytest.approx(4)
    mask = torch.tensor([[True, False, False], [False, False, False]])
    spoiled = hidden.clone()
    spoiled[1] = 99
    assert steer_loss(spoiled, direction, 4.0, mask).item() == pytest.approx(0)


def test_rmu_counts_documents_and_not_their_tokens() -> None:
    """By hand: distances 1, 4, 4 of one document and 9 of another, shorter one."""
    hidden = torch.tensor([[[1.0], [2.0], [2.0]], [[3.0], [99.0], [99.0]]])
    mask = torch.tensor([[True, True, True], [True, False, False]])
    assert steer_loss(hidden, torch.ones(1), 0.0, mask).item() == pytest.approx(((1 + 4 + 4) / 3 + 9) / 2)
    assert keep_loss(hidden, torch.zeros_like(hidden), mask).item() == pytest.approx((3 + 9) / 2)


def test_kl_is_that_of_the_frozen_prediction() -> None:
    frozen, logits = torch.randn(2, 3, 5), torch.randn(2, 3, 5, requires_grad=True)
    mask = torch.tensor([[True, True, False], [True, False, False]])
    assert kl_loss(frozen, frozen).item() == pytest.approx(0, abs=1e-6)
    before, after = (torch.distributions.Categorical(logits=each[mask]) for each in (frozen, logits))
    by_hand = torch.distributions.kl_divergence(before, after).mean()
    assert kl_loss(logits, frozen, mask).item() == pytest.approx(by_hand.item(), rel=1e-5)
    (gradient,) = torch.autograd.grad(kl_loss(logits, frozen, mask), logits)
    assert torch.allclose(gradient[mask], (logits.softmax(-1) - frozen.softmax(-1))[mask] / 3, atol=1e-6)
    assert not gradient[~mask].any()


def test_states_and_parameters_are_found_by_layer_and_name(model: LlamaForCausalLM) -> None:
    ids = torch.tensor([[1, 4, 2]])
    with recorded_states(model, 0) as states, torch.no_grad():
        expected = model(input_ids=ids, output_hidden_states=True).hidden_states
    assert torch.allclose(model.model.norm(states[0]), expected[1])
    model(input_ids=ids)
    assert len(states) == 1
    with pytest.raises(ValueError, match="layers 0 to 0, not 3"), recorded_states(model, 3):
        pass
    (found,) = matching_parameters(model, r"layers\.0\.mlp\.down_proj")
    assert found is model.model.layers[0].mlp.down_proj.weight
    for pattern, message in (("nowhere", "no parameter matches"), ("(", "no regular expression")):
        with pytest.raises(ValueError, match=message):
            matching_parameters(model, pattern)


def test_a_task_vector_is_taken_away() -> None:
    original = {"w": torch.tensor([1.0, 2.0]), "steps": torch.tensor(3)}
    tuned = {"w": torch.tensor([2.0, 2.0]), "steps": torch.tensor(9)}
    negated = negate_task_vector(original, tuned, 0.5)
    assert negated["w"].tolist() == [0.5, 2.0]
    assert negated["steps"].item() == 3
    with pytest.raises(ValueError, match="differ in"):
        negate_task_vector(original, {"v": torch.ones(1)})
