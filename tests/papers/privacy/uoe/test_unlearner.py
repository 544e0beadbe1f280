"""Single experts move and nothing else does; the whole model is plain gradient ascent."""

import copy
import math

import pytest
import torch
from torch import nn
from transformers import Qwen2MoeConfig, Qwen2MoeForCausalLM

from assay.errors import InputError
from assay.papers.privacy.uoe.method import (
    ExpertDelta,
    ExpertLeaves,
    ForgetTarget,
    SelectedExpertUnlearner,
    Sequences,
    Unlearning,
    WholeModel,
    logits_of,
    moe_layout,
    scores_of,
    token_nll,
)
from papers.privacy.uoe.moe_models import build, documents, unfuse

FAST = Unlearning("gdiff", learning_rate=1e-2, steps=3, batch_size=4)


def changed(before, after):
    """Return which rows of the first axis changed, by parameter."""
    found = {}
    for (name, old), (_, new) in zip(before.named_parameters(), after.named_parameters(), strict=True):
        rows = (old != new).flatten(1).any(1) if old.ndim > 1 else (old != new).any().reshape(1)
        if rows.any():
            found[name] = rows.nonzero().flatten().tolist()
    return found


def test_only_the_chosen_expert_and_its_router_change(model, forget, retain):
    before = copy.deepcopy(model)
    SelectedExpertUnlearner(model, FAST, targets=[(2, 4)]).fit(forget, retain)
    found = changed(before, model)
    path = "model.layers.2.mlp"
    assert set(found) == {f"{path}.gate.weight", f"{path}.experts.gate_up_proj", f"{path}.experts.down_proj"}
    assert found[f"{path}.experts.gate_up_proj"] == found[f"{path}.experts.down_proj"] == [4]


def test_only_the_chosen_separate_expert_changes(model, forget, retain):
    model = unfuse(model)
    before = copy.deepcopy(model)
    SelectedExpertUnlearner(model, FAST, targets=[(2, 4)], train_router=False).fit(forget, retain)
    found = changed(before, model)
    assert len(found) == 3
    assert all(name.startswith("model.layers.2.mlp.experts.4.") for name in found)


def test_several_experts_layers_and_the_shared_one(qwen, forget, retain):
    before = copy.deepcopy(qwen)
    targets = [(0, 1), (0, 3), (2, "shared")]
    unlearner = SelectedExpertUnlearner(qwen, FAST, targets=targets)
    unlearner.fit(forget, retain)
    found = changed(before, qwen)
    assert found["model.layers.0.mlp.experts.down_proj"] == [1, 3]
    shared = {name for name in found if ".shared_expert." in name}
    assert len(shared) == 3
    assert unlearner.targets == tuple(targets)
    assert len(found) == 2 + 3 + 2  # and the routers of both layers


def test_routers_alone_and_experts_alone(qwen, forget, retain):
    before = copy.deepcopy(qwen)
    SelectedExpertUnlearner(qwen, FAST, targets=[(1, 0)], train_experts=False).fit(forget, retain)
    assert list(changed(before, qwen)) == ["model.layers.1.mlp.gate.weight"]
    with pytest.raises(ValueError, match="nothing to train"):
        ExpertLeaves(qwen, [(1, 0)], train_experts=False, train_router=False)


def test_the_trained_share_is_that_of_the_parameters(qwen, forget):
    unlearner = SelectedExpertUnlearner(qwen, FAST, targets=[(1, 0)])
    unlearner.prepare(forget)
    total = sum(weight.numel() for weight in qwen.parameters())
    assert unlearner.trained_share == (3 * 24 * 16 + 6 * 16) / total


def test_the_share_of_the_papers_model():
    """3 * 2048 * 1408 + 60 * 2048 of 14.3 billion, counted without making the weights."""
    config = Qwen2MoeConfig(
        vocab_size=151_936,
        hidden_size=2048,
        intermediate_size=5632,
        num_hidden_layers=24,
        num_attention_heads=16,
        num_key_value_heads=16,
        moe_intermediate_size=1408,
        shared_expert_intermediate_size=5632,
        num_experts=60,
        num_experts_per_tok=4,
    )
    with torch.device("meta"):
        model = Qwen2MoeForCausalLM(config)
    leaves = ExpertLeaves(model, [(4, 5)])
    mine = sum(leaf.numel() for leaf in leaves.parameters())
    assert mine == 8_773_632
    assert mine / sum(weight.numel() for weight in model.parameters()) == pytest.approx(0.00061, abs=1e-5)


def test_a_learning_rate_of_zero_changes_nothing(model, forget, retain):
    before = copy.deepcopy(model)
    settings = Unlearning("gdiff", learning_rate=0.0, steps=2)
    SelectedExpertUnlearner(model, settings).fit(forget, retain)
    assert not changed(before, model)
    assert torch.equal(logits_of(model, forget), logits_of(before, forget))


def test_active_leaves_compute_what_the_model_computes(model, forget):
    expected = logits_of(model, forget)
    for each in (model, unfuse(model)):
        leaves = ExpertLeaves(each, [(1, 2), (2, 0)])
        with leaves.active():
            assert len(moe_layout(each)) == len(moe_layout(model))
            torch.testing.assert_close(logits_of(each, forget), expected, atol=1e-5, rtol=1e-5)
        assert not any("forward" in vars(module) for module in each.modules())


def test_a_layer_that_is_reached_from_inside_gives_the_same(model, forget):
    expected = logits_of(model, forget)
    for layer, inside in ((1, False), (1, True), (2, True)):
        inner = forget.beginning_at(model, layer, batch_size=3, after_attention=inside)
        assert inner.after_attention == inside
        assert inner.hidden.shape == (*forget.input_ids.shape, 16)
        found = logits_of(model, inner)
        torch.testing.assert_close(found[forget.mask], expected[forget.mask], atol=1e-5, rtol=1e-5)
        rows = inner.rows(torch.tensor([3, 0])).trimmed()
        torch.testing.assert_close(
            logits_of(model, rows)[rows.mask],
            logits_of(model, forget.rows(torch.tensor([3, 0])).trimmed())[rows.mask],
            atol=1e-5,
            rtol=1e-5,
        )


def test_gradients_of_leaves_are_those_of_the_whole_model(qwen, forget):
    """A single expert's step is the whole model's, restricted to that expert and router."""

    def loss():
        nll, tokens = token_nll(logits_of(qwen, forget), forget.labels)
        return nll.sum() / tokens.sum()

    qwen.requires_grad_(True)
    loss().backward()
    layer = moe_layout(qwen)[1]
    whole = [
        layer.router_weight.grad,
        layer.experts.gate_up_proj.grad[3],
        layer.experts.down_proj.grad[3],
    ]
    leaves = ExpertLeaves(qwen, [(1, 3)])
    with leaves.active():
        mine = torch.autograd.grad(loss(), leaves.parameters())
    for found, expected in zip(mine, whole, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-4)


def test_the_whole_model_is_plain_gradient_ascent(qwen, forget):
    own = copy.deepcopy(qwen).requires_grad_(True)
    settings = Unlearning("ga", learning_rate=1e-3, steps=3, batch_size=8, clip=1e9)
    SelectedExpertUnlearner(qwen, settings, targets="model").fit(forget)
    optimizer = torch.optim.AdamW(own.parameters(), 1e-3, weight_decay=0.0)
    for _ in range(3):
        optimizer.zero_grad()
        nll, tokens = token_nll(logits_of(own, forget), forget.labels)
        (-nll.sum() / tokens.sum()).backward()
        optimizer.step()
    for (name, found), expected in zip(qwen.named_parameters(), own.parameters(), strict=True):
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-3, msg=name)


def test_all_experts_and_routers_are_a_part_of_the_whole(qwen, forget):
    targets = [(layer, expert) for layer in range(3) for expert in range(6)]
    leaves = ExpertLeaves(qwen, targets, train_router=False)
    whole = WholeModel(qwen, "experts")
    counts = [sum(weight.numel() for weight in part.parameters()) for part in (leaves, whole)]
    assert counts[0] == counts[1]
    routers = sum(weight.numel() for weight in WholeModel(qwen, "routers").parameters())
    rest = sum(weight.numel() for weight in WholeModel(qwen, "no-routers").parameters())
    assert routers == 3 * 6 * 16
    assert routers + rest == sum(weight.numel() for weight in qwen.parameters())


def test_bfloat16_models_are_trained_in_float32(forget, retain):
    model = build("qwen2_moe").bfloat16()
    before = copy.deepcopy(model)
    unlearner = SelectedExpertUnlearner(model, FAST, targets=[(1, 2)])
    unlearner.fit(forget, retain)
    assert {leaf.dtype for leaf in unlearner.part.parameters()} == {torch.float32}
    assert {weight.dtype for weight in model.parameters()} == {torch.bfloat16}
    assert set(changed(before, model)) == {
        f"model.layers.1.mlp.{name}" for name in ("gate.weight", "experts.gate_up_proj", "experts.down_proj")
    }
    with pytest.raises(ValueError, match="bfloat16: load it in float32"):
        SelectedExpertUnlearner(model, FAST, targets="model").prepare(forget)


def test_the_anchor_draws_forget_tokens_to_the_expert(forget):
    shares = []
    for weight in (0.0, 10.0):
        model = build("olmoe")
        settings = Unlearning("ga", learning_rate=1e-2, steps=30, anchor_weight=weight)
        unlearner = SelectedExpertUnlearner(model, settings, targets=[(1, 2)])
        unlearner.fit(forget)
        after = SelectedExpertUnlearner(model, targets=[(1, 2)])
        after.prepare(forget)
        shares.append(after.attribution.affinity((1, 2)))
    assert shares[1] > shares[0] + 0.1


def test_a_target_without_tokens_keeps_the_loss_finite(qwen, forget):
    layer = moe_layout(qwen)[0]
    qwen.model.layers[0].post_attention_layernorm.register_forward_hook(
        lambda module, given, output: torch.ones_like(output)
    )
    with torch.no_grad():
        layer.router_weight.zero_()
        layer.router_weight[4] = -50
    unlearner = SelectedExpertUnlearner(qwen, Unlearning("ga", steps=2), targets=[(0, 4)])
    with pytest.warns(UserWarning, match="mostly elsewhere"):
        result = unlearner.fit(forget)
    assert all(math.isfinite(loss) for loss in result.losses)


def test_it_stops_where_it_has_forgotten(qwen, forget, retain):
    asked = []

    def metric(model):
        asked.append(scores_of(logits_of(model, forget), forget.labels).mean().item())
        return 1.0 - 0.25 * (len(asked) - 1)

    result = SelectedExpertUnlearner(qwen, FAST).fit(forget, retain, stop=ForgetTarget(metric, 0.5))
    assert (result.steps, len(asked)) == (2, 3)


def test_a_loss_that_is_not_finite_ends_it_with_the_weights_before(qwen, forget):
    before = copy.deepcopy(qwen)
    with torch.no_grad():
        qwen.lm_head.weight[0, 0] = math.nan
        before.lm_head.weight[0, 0] = math.nan
    result = SelectedExpertUnlearner(qwen, Unlearning("ga", steps=5), targets=[(1, 1)]).fit(forget)
    assert result.diverged
    assert result.steps == 0
    assert set(changed(before, qwen)) <= {"lm_head.weight"}  # NaN differs from itself


def test_the_load_balancing_loss_and_modes_come_back(qwen, forget, retain):
    qwen.config.output_router_logits = True
    qwen.train()
    qwen.requires_grad_(True)
    SelectedExpertUnlearner(qwen, FAST).fit(forget, retain)
    assert qwen.config.output_router_logits
    assert qwen.training
    assert all(weight.requires_grad for weight in qwen.parameters())


def test_accumulated_batches_are_one_step_on_all_of_them(forget, retain):
    whole, parts = build("qwen2_moe"), build("qwen2_moe")
    same = Sequences.joined([forget.rows(slice(0, 1))] * 4)
    for model, size, accumulate in ((whole, 4, 1), (parts, 1, 4)):
        settings = Unlearning("ga", 1e-2, steps=2, batch_size=size, accumulate=accumulate)
        result = SelectedExpertUnlearner(model, settings, targets=[(1, 2)]).fit(same)
        assert result.steps == 2
    for one, other in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_parameters_are_trained_by_a_pattern(qwen, forget, retain):
    before = copy.deepcopy(qwen)
    settings = Unlearning("rmu", 1e-2, steps=2, steered_layer=1)
    SelectedExpertUnlearner(qwen, settings, targets=r"re:layers\.1\.mlp\.experts\.down").fit(forget, retain)
    assert list(changed(before, qwen)) == ["model.layers.1.mlp.experts.down_proj"]
    for pattern, message in (("re:nothing", "no parameter matches"), ("modell", "Did you mean 'model'")):
        with pytest.raises(ValueError, match=message):
            SelectedExpertUnlearner(qwen, targets=pattern).prepare(forget)


def test_long_tensors_stay_out_of_what_is_printed(qwen, forget, retain):
    unlearner = SelectedExpertUnlearner(qwen, FAST, targets=[(1, 2)])
    unlearner.fit(forget, retain)
    for each in (forget, unlearner.delta, unlearner.attribution, unlearner):
        assert len(repr(each)) < 300
        assert "tensor" not in repr(each)


def test_objectives_that_keep_need_something_to_keep(qwen, forget):
    with pytest.raises(ValueError, match="gdiff needs retain documents"):
        SelectedExpertUnlearner(qwen, FAST).fit(forget)
    unlearner = SelectedExpertUnlearner(qwen, Unlearning("npo", retain_weight=0.0, steps=1))
    assert unlearner.fit(forget).steps == 1
    with pytest.raises(ValueError, match="only after single experts"):
        _ = SelectedExpertUnlearner(qwen, targets="model").delta


def test_layers_with_different_experts_need_a_named_target(qwen, forget):
    small = moe_layout(build("qwen2_moe"))[0].block
    small.experts.gate_up_proj = nn.Parameter(small.experts.gate_up_proj[:4].clone())
    small.experts.down_proj = nn.Parameter(small.experts.down_proj[:4].clone())
    small.gate.weight = nn.Parameter(small.gate.weight[:4].clone())
    small.experts.num_experts = small.gate.num_experts = 4
    qwen.model.layers[0].mlp = small
    with pytest.raises(InputError, match="name the target"):
        SelectedExpertUnlearner(qwen, FAST).prepare(forget)
    assert SelectedExpertUnlearner(qwen, Unlearning("ga", steps=1), targets=[(0, 3)]).fit(forget).steps == 1


# --- what is kept -------------------------------------------------------------------------------


def test_the_delta_turns_the_original_into_the_unlearned_model(model, forget, retain, tmp_path):
    for each in (model, unfuse(model)):
        original = copy.deepcopy(each)
        unlearner = SelectedExpertUnlearner(each, FAST)
        unlearner.fit(forget, retain)
        unlearner.delta.save(tmp_path)
        delta = ExpertDelta.load(tmp_path)
        assert delta.numbers == 3 * 24 * 16 + 6 * 16
        delta.apply(original)
        assert not changed(original, each)


def test_a_delta_of_another_model_is_refused(qwen, forget, tmp_path):
    unlearner = SelectedExpertUnlearner(qwen, Unlearning("ga", steps=1), targets=[(0, 2)])
    unlearner.fit(forget)
    with pytest.raises(InputError, match="the model does not: it was made from another model"):
        unlearner.delta.apply(unfuse(qwen))
    wider = {name: value[..., :3] for name, value in unlearner.delta.values.items()}
    with pytest.raises(InputError, match="made from another model"):
        ExpertDelta(wider).apply(qwen)
    with pytest.raises(InputError, match="has no record"):
        ExpertDelta.load(tmp_path / "nowhere")


# --- sequences ----------------------------------------------------------------------------------


def test_scores_and_losses_of_sequences():
    rows = Sequences.of([[5, 6, 7], [5, 8]], answers=[1, 1])
    assert rows.labels.tolist() == [[-100, 6, 7], [-100, 8, -100]]
    logits = torch.zeros(2, 3, 10)
    logits[0, 0, 6] = logits[0, 1, 3] = logits[1, 0, 8] = 5.0
    assert scores_of(logits, rows.labels).tolist() == [0.5, 1.0]
    nll, tokens = token_nll(logits, rows.labels)
    assert tokens.tolist() == [2, 1]
    right = -math.log(math.exp(5) / (math.exp(5) + 9))
    assert nll.tolist() == pytest.approx([right + math.log(math.exp(5) + 9), right], rel=1e-5)
    with pytest.raises(ValueError, match="none may be empty"):
        Sequences.of([[1], []])


def test_batches_are_trimmed():
    rows = documents(6)
    widths = [batch.input_ids.shape[1] for batch in rows.split(1)]
    assert widths == rows.mask.sum(1).tolist()
