"""Small causal language models that several tests share."""

import copy

import torch
from transformers import LlamaConfig, LlamaForCausalLM

VOCABULARY = 13


def llama(seed, hidden=16, layers=1, vocabulary=VOCABULARY, context=48, spread=0.5):
    """An untrained Llama whose next-token distributions are far from uniform."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=2,
        max_position_embeddings=context,
        initializer_range=spread,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    return LlamaForCausalLM(config).eval()


def nudged(model, seed, size=0.15):
    """The model as if fine-tuned: its weights with a little noise."""
    tuned = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weights in tuned.parameters():
            weights += size * torch.randn(weights.shape, generator=generator)
    return tuned
