"""Tiny mixture-of-experts models of four families, fused and separate, and some documents."""

import copy
import json

import torch
from torch import nn
from torch.nn import functional
from transformers import (
    DeepseekV2Config,
    DeepseekV2ForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    OlmoeConfig,
    OlmoeForCausalLM,
    Qwen2MoeConfig,
    Qwen2MoeForCausalLM,
)

from assay.papers.privacy.uoe.method import Sequences

SIZES = {
    "vocab_size": 40,
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "num_experts_per_tok": 2,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def qwen2_moe():
    return Qwen2MoeForCausalLM(
        Qwen2MoeConfig(
            **SIZES,
            num_experts=6,
            intermediate_size=32,
            moe_intermediate_size=24,
            shared_expert_intermediate_size=8,
            decoder_sparse_step=1,
        )
    )


def olmoe():
    return OlmoeForCausalLM(OlmoeConfig(**SIZES, num_experts=6, intermediate_size=24))


def mixtral():
    return MixtralForCausalLM(MixtralConfig(**SIZES, num_local_experts=6, intermediate_size=24))


def deepseek_v2():
    return DeepseekV2ForCausalLM(
        DeepseekV2Config(
            **SIZES,
            n_routed_experts=6,
            n_shared_experts=1,
            intermediate_size=32,
            moe_intermediate_size=24,
            first_k_dense_replace=1,
            q_lora_rank=None,
            kv_lora_rank=8,
            qk_nope_head_dim=8,
            qk_rope_head_dim=8,
            v_head_dim=8,
            n_group=1,
            topk_group=1,
            topk_method="greedy",
            routed_scaling_factor=1.5,
        )
    )


FAMILIES = {"qwen2_moe": qwen2_moe, "olmoe": olmoe, "mixtral": mixtral, "deepseek_v2": deepseek_v2}


def build(family, seed=0):
    """Build a model whose routers are sharp enough to choose."""
    torch.manual_seed(seed)
    model = FAMILIES[family]().eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.normal_(0.0, 0.5 if "gate.weight" in name else 0.2)
            if "norm" in name:
                weight.fill_(1.0)
    return model


class Separate(nn.Module):
    """One expert as transformers 4 has it."""

    names = ("gate_proj", "up_proj", "down_proj")

    def __init__(self, gate_up, down, activation):
        super().__init__()
        gate, up = gate_up.chunk(2)
        for name, weight in zip(self.names, (gate, up, down), strict=True):
            linear = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
            linear.weight.data.copy_(weight)
            self.add_module(name, linear)
        self.act_fn = activation

    def forward(self, hidden):
        gate, up, down = (getattr(self, name) for name in self.names)
        return down(self.act_fn(gate(hidden)) * up(hidden))


class MixtralSeparate(Separate):
    names = ("w1", "w3", "w2")


class UnfusedBlock(nn.Module):
    """A sparse block as transformers 4 has it: a linear router and a list of experts."""

    def __init__(self, block, top_k, rescale, scale, expert):
        super().__init__()
        weight = block.gate.weight
        self.top_k, self.rescale, self.scale = top_k, rescale, scale
        self.gate = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
        self.gate.weight.data.copy_(weight)
        old = block.experts
        self.experts = nn.ModuleList(
            expert(up, down, old.act_fn) for up, down in zip(old.gate_up_proj, old.down_proj, strict=True)
        )
        for name in ("shared_expert", "shared_expert_gate", "shared_experts"):
            if hasattr(block, name):
                self.add_module(name, getattr(block, name))

    def forward(self, hidden_states):
        flat = hidden_states.flatten(0, 1)
        weights, chosen = functional.softmax(self.gate(flat).float(), dim=-1).topk(self.top_k, dim=-1)
        if self.rescale:
            weights = weights / weights.sum(-1, keepdim=True)
        output = torch.zeros_like(flat)
        for number, expert in enumerate(self.experts):
            rows, place = torch.where(chosen == number)
            computed = expert(flat[rows]) * weights[rows, place, None] * self.scale
            output = output.index_add(0, rows, computed)
        if hasattr(self, "shared_expert"):
            output = output + torch.sigmoid(self.shared_expert_gate(flat)) * self.shared_expert(flat)
        if hasattr(self, "shared_experts"):
            output = output + self.shared_experts(flat)
        return output.view_as(hidden_states)


def unfuse(model):
    """Return a copy with separate experts and the same numbers."""
    model = copy.deepcopy(model)
    kind = model.config.model_type
    rescale = kind == "mixtral" or bool(
        getattr(model.config, "norm_topk_prob", False) and kind != "deepseek_v2"
    )
    scale = model.config.routed_scaling_factor if kind == "deepseek_v2" else 1.0
    expert = MixtralSeparate if kind == "mixtral" else Separate
    for layer in model.model.layers:
        if hasattr(layer.mlp, "experts"):
            layer.mlp = UnfusedBlock(layer.mlp, 2, rescale, scale, expert)
    return model.eval()


def documents(rows=8, seed=1):
    """Documents of different lengths, labelled as a whole."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(3, 9, (rows,), generator=generator).tolist()
    return Sequences.of([torch.randint(3, 40, (n,), generator=generator).tolist() for n in lengths])


WORDS = [f"word{number}" for number in range(30)]


def lines(path, rows):
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    return str(path)


def texts(first, count):
    return [{"text": " ".join(WORDS[(first + row + n) % 30] for n in range(6))} for row in range(count)]
