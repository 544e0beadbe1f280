"""Language models from scratch, in the real format: for tests and for trials that train one."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase, PreTrainedTokenizerFast

_SPECIAL = ("<pad>", "<s>", "</s>", "<unk>")
_PIECE = r" ?\w+| ?[^\w\s]+|\s"


def word_tokenizer(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """Build a tokenizer whose tokens are the most frequent words of `texts`.

    A token keeps the space before it (" word"), so that decoding gives the text back, apart from words
    outside the vocabulary, which become `<unk>`. `<s>` stands before every text; `</s>` is there for a
    model to end with and is not added.

    Args:
        texts: where the words are counted.
        vocab_size: the most tokens, `<pad>`, `<s>`, `</s>` and `<unk>` included.
    """
    tokenizer = Tokenizer(models.WordLevel(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(_PIECE), behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    trainer = trainers.WordLevelTrainer(
        vocab_size=vocab_size, special_tokens=list(_SPECIAL), show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", _SPECIAL.index("<s>"))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


def tiny_causal_lm(
    tokenizer: PreTrainedTokenizerBase,
    hidden: int = 64,
    layers: int = 2,
    heads: int = 4,
    seed: int = 0,
    context: int = 512,
) -> LlamaForCausalLM:
    """Build an untrained Llama for a tokenizer's vocabulary.

    The global random state is left as it was.

    Args:
        tokenizer: names the size of the vocabulary and the special tokens.
        hidden: width of the residual stream; the MLPs are four times as wide.
        layers: number of transformer blocks.
        heads: of attention; divides `hidden`.
        seed: of the initial weights.
        context: the most tokens of a text.
    """
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=4 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        max_position_embeddings=context,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        tie_word_embeddings=True,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(config)
