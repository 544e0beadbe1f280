"""Expert attribution against transformers' router logits, and its invariances."""

import pytest
import torch

from assay.papers.privacy.uoe.method import (
    SelectedExpertUnlearner,
    Sequences,
    attribute_experts,
    moe_layout,
    routes_of,
    routing_overlap,
)
from papers.privacy.uoe.moe_models import build, documents, unfuse


@pytest.mark.parametrize("score", ["mean_prob", "topk_frequency"])
def test_rows_sum_to_one(model, forget, score):
    found = attribute_experts(model, forget, score=score)
    assert found.scores.shape == (len(found.layers), 6)
    torch.testing.assert_close(found.scores.sum(1), torch.ones(len(found.layers)))
    assert found.tokens == forget.mask.sum()


def test_affinities_are_those_of_transformers(qwen, forget):
    """Means over documents of means over their tokens, of the softmax of the router logits."""
    expected = torch.zeros(3, 6)
    for row in range(len(forget)):
        ids = forget.input_ids[row, : forget.mask[row].sum()][None]
        logits = qwen(input_ids=ids, output_router_logits=True).router_logits
        expected += torch.stack([layer.softmax(-1).mean(0) for layer in logits]) / len(forget)
    torch.testing.assert_close(
        attribute_experts(qwen, forget).scores, expected.detach(), atol=1e-6, rtol=1e-5
    )


def test_padding_and_batches_do_not_matter(model, forget):
    wider = Sequences(
        torch.nn.functional.pad(forget.input_ids, (0, 5), value=7),
        torch.nn.functional.pad(forget.labels, (0, 5), value=-100),
        torch.nn.functional.pad(forget.mask, (0, 5)),
    )
    expected = attribute_experts(model, forget, batch_size=8)
    for documents_, size in ((wider, 8), (forget, 1), (forget, 3)):
        found = attribute_experts(model, documents_, batch_size=size)
        torch.testing.assert_close(found.scores, expected.scores, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(found.frequency, expected.frequency, atol=1e-6, rtol=1e-5)


def test_separate_experts_have_the_same_affinities(model, forget):
    expected, found = (attribute_experts(each, forget) for each in (model, unfuse(model)))
    torch.testing.assert_close(found.scores, expected.scores, atol=1e-5, rtol=1e-4)
    assert found.ranked()[0] == expected.ranked()[0]


def test_a_router_that_always_chooses_expert_three(qwen, forget):
    layer = moe_layout(qwen)[1]
    with torch.no_grad():
        direction = torch.ones(16)
        qwen.model.layers[1].post_attention_layernorm.register_forward_hook(
            lambda module, given, output: torch.ones_like(output)
        )
        layer.router_weight.zero_()
        layer.router_weight[3] = 50 * direction
    found = attribute_experts(qwen, forget)
    assert found.top() == [(1, 3)]
    assert found.affinity((1, 3)) == pytest.approx(1.0)
    assert found.share_of_tokens((1, 3), top_k=2) == pytest.approx(1.0)
    assert found.gini()[1].item() == pytest.approx(1 - 1 / 6, abs=1e-5)


def test_gini_and_table(forget, qwen):
    found = attribute_experts(qwen, forget)
    even = type(found)(torch.full((2, 4), 0.25), torch.full((2, 4), 0.25), (0, 1), 10)
    assert even.gini().tolist() == pytest.approx([0.0, 0.0], abs=1e-6)
    table = found.table()
    assert len(table) == 18
    assert table["affinity"].is_monotonic_decreasing
    assert (table["layer"][0], table["expert"][0]) == found.top()[0]


def test_reading_stops_at_the_most_tokens(qwen, forget):
    found = attribute_experts(qwen, forget, max_tokens=1, batch_size=2)
    assert found.tokens == forget.mask[:2].sum()


def test_a_target_that_hardly_any_token_reaches_is_warned_of(qwen, forget):
    layer = moe_layout(qwen)[0]
    with torch.no_grad():
        qwen.model.layers[0].post_attention_layernorm.register_forward_hook(
            lambda module, given, output: torch.ones_like(output)
        )
        layer.router_weight.zero_()
        layer.router_weight[4] = -50
    with pytest.warns(UserWarning, match=r"expert 4 of layer 0 gets 0.00% of the forget tokens"):
        SelectedExpertUnlearner(qwen, targets=[(0, 4)]).prepare(forget)


def test_routes_overlap_with_themselves_and_by_hand(model, forget):
    routes = routes_of(model, forget)
    assert routes.choices.shape[1:] == (forget.mask.sum(), 2)
    assert routing_overlap(routes, routes) == 1.0
    one, other = (type(routes)(torch.tensor([[[0, 1], [2, 3]]])) for _ in range(2))
    other.choices[0] = torch.tensor([[1, 0], [3, 5]])
    assert routing_overlap(one, other) == pytest.approx(0.75)
    with pytest.raises(ValueError, match="do not compare"):
        routing_overlap(routes, one)


def test_routes_do_not_depend_on_batches():
    model, rows = build("deepseek_v2"), documents(7)
    whole, split = routes_of(model, rows), routes_of(model, rows, batch_size=2)
    assert routing_overlap(whole, split) == 1.0
