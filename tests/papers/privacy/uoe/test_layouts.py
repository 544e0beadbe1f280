"""Layout adapters: four families, fused and separate experts, and models that are refused."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from assay.errors import InputError
from assay.papers.privacy.uoe.method import SelectedExpertUnlearner, Unlearning, logits_of, moe_layout
from papers.privacy.uoe.moe_models import build, unfuse


def test_every_family_is_found(family, model):
    layers = moe_layout(model)
    dense_first = family == "deepseek_v2"
    assert [layer.index for layer in layers] == ([1, 2] if dense_first else [0, 1, 2])
    assert {(layer.n_experts, layer.top_k, layer.fused) for layer in layers} == {(6, 2, True)}
    shared = {"qwen2_moe": "shared_expert", "deepseek_v2": "shared_experts"}.get(family)
    assert {layer.shared_name for layer in layers} == {shared}


def test_experts_are_views_of_the_model(model):
    layer = moe_layout(model)[-1]
    tensors = layer.tensors(4)
    assert {tuple(tensor.shape) for tensor in tensors.values()} == {(48, 16), (16, 24)}
    tensors[f"{layer.name}.experts.down_proj"].zero_()
    assert not layer.experts.down_proj[4].any()
    assert layer.experts.down_proj[3].any()


def test_separate_experts_have_the_same_numbers(model, forget):
    separate = unfuse(model)
    assert not any(layer.fused for layer in moe_layout(separate))
    torch.testing.assert_close(logits_of(separate, forget), logits_of(model, forget), atol=1e-5, rtol=1e-5)
    for fused, own in zip(moe_layout(model), moe_layout(separate), strict=True):
        whole = torch.cat([tensor.flatten() for tensor in fused.tensors(2).values()])
        assert torch.equal(whole, torch.cat([tensor.flatten() for tensor in own.tensors(2).values()]))
        assert (fused.index, fused.top_k, fused.shared_name) == (own.index, own.top_k, own.shared_name)


@pytest.mark.parametrize("objective", ["gdiff", "npo"])
def test_separate_and_fused_experts_unlearn_alike(model, forget, retain, objective):
    separate = unfuse(model)
    found = []
    for each in (model, separate):
        settings = Unlearning(objective, learning_rate=1e-2, steps=4, batch_size=4)
        unlearner = SelectedExpertUnlearner(each, settings)
        found.append((unlearner.fit(forget, retain).losses, unlearner.targets))
    assert found[0][1] == found[1][1]
    assert found[0][0] == pytest.approx(found[1][0], abs=1e-4)
    torch.testing.assert_close(logits_of(separate, forget), logits_of(model, forget), atol=1e-3, rtol=1e-3)


def test_a_dense_model_is_refused():
    config = LlamaConfig(
        vocab_size=20, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1
    )
    with pytest.raises(InputError, match=r"\(llama\) is dense"):
        moe_layout(LlamaForCausalLM(config))


def test_a_quantised_model_is_refused(qwen):
    qwen.config.quantization_config = {"quant_method": "gptq"}
    with pytest.raises(InputError, match="quantised"):
        moe_layout(qwen)
    whole = build("olmoe")
    whole.lm_head.weight = torch.nn.Parameter(torch.zeros(40, 16, dtype=torch.int8), requires_grad=False)
    with pytest.raises(InputError, match=r"quantised \(lm_head.weight\)"):
        moe_layout(whole)


def test_an_unknown_router_is_refused_unless_it_is_vouched_for(qwen):
    class SigmoidRouter(type(qwen.model.layers[0].mlp.gate)):
        pass

    qwen.model.layers[1].mlp.gate.__class__ = SigmoidRouter
    with pytest.raises(InputError, match="router of the class SigmoidRouter"):
        moe_layout(qwen)
    known = ("SigmoidRouter", "Qwen2MoeTopKRouter")
    assert len(moe_layout(qwen, softmax_routers=known)) == 3


def test_unknown_routers_and_experts_are_named_by_what_was_found(qwen):
    separate = unfuse(qwen)
    del separate.model.layers[0].mlp.experts[5]
    with pytest.raises(InputError, match=r"of an unknown kind \(ModuleList: 0.gate_proj"):
        moe_layout(separate)
    del qwen.model.layers[0].mlp.gate
    with pytest.raises(InputError, match=r"no router.*found experts \(Qwen2MoeExperts\)"):
        moe_layout(qwen)
    transposed = build("olmoe")
    experts = transposed.model.layers[0].mlp.experts
    experts.gate_up_proj = torch.nn.Parameter(experts.gate_up_proj.transpose(1, 2).contiguous())
    with pytest.raises(InputError, match=r"gate_up_proj \(6, 16, 48\)"):
        moe_layout(transposed)


@pytest.mark.parametrize(
    ("target", "match"),
    [((7, 0), "Layer 7 has no experts; the layers 0, 1, 2 have"), ((0, 6), "experts 0 to 5, not 6")],
)
def test_targets_that_do_not_exist(qwen, target, match, forget):
    with pytest.raises(InputError, match=match):
        SelectedExpertUnlearner(qwen, targets=[target]).prepare(forget)


def test_a_shared_expert_that_is_not_there(forget):
    with pytest.raises(InputError, match="no shared expert"):
        SelectedExpertUnlearner(build("mixtral"), targets=[(0, "shared")]).prepare(forget)
    with pytest.raises(InputError, match="no target"):
        SelectedExpertUnlearner(build("mixtral"), targets=[]).prepare(forget)
