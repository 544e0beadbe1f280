"""Language models from scratch, in the real format: for tests and for trials that train one.

tokenizer = word_tokenizer(texts, vocab_size=500)
shape = SmallLlama(len(tokenizer), width=32, context=64)
model = shape.untrained(seed=0)
rows = pack_documents(tokenizer(texts)["input_ids"], 64)                # these are in assay.training
fit(model, batches(rows, rows, ...), next_token_loss, optimizer=..., steps=500)
again = shape.trained(weights_of(model))
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase, PreTrainedTokenizerFast

PAD, START, END = 0, 1, 2
"""Token ids of `<pad>`, `<s>` and `</s>` in the tokenizers that are built here."""

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
    return _started(tokenizer)


def byte_pair_tokenizer(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """Build a byte-pair encoding of bytes, which has a token for every text; `<s>` stands before each.

    Args:
        texts: where the pairs are counted.
        vocab_size: the most tokens, the 256 bytes and `<pad>`, `<s>` and `</s>` included.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(_SPECIAL[:3]),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return _started(tokenizer)


def tokenizer_to_json(tokenizer: PreTrainedTokenizerFast) -> str:
    """Return a tokenizer of this module as text, such as a stage may return it."""
    return str(tokenizer.backend_tokenizer.to_str())


def tokenizer_from_json(described: str) -> PreTrainedTokenizerFast:
    """Return the tokenizer that `tokenizer_to_json` described."""
    return _fast(Tokenizer.from_str(described))


def _started(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    """Put `<s>` before every text."""
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", START)]
    )
    return _fast(tokenizer)


def _fast(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>" if tokenizer.token_to_id("<unk>") is not None else None,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


@dataclass(frozen=True)
class SmallLlama:
    """The shape of a small Llama that is trained from scratch."""

    vocabulary: int
    """Number of tokens."""
    width: int = 64
    """Numbers in a hidden state."""
    layers: int = 2
    """Transformer blocks."""
    heads: int = 4
    """Attention heads; divides `width`."""
    context: int = 512
    """The most tokens of a text."""
    expansion: int = 4
    """How many times wider the MLPs are than the hidden states."""
    initial_spread: float = 0.02
    """Standard deviation of the initial weights; wide ones (0.06) learn to copy from the prompt sooner."""
    rope_theta: float = 10_000.0
    """Base of the rotary position encoding; a small one (30) helps on short texts."""
    pad: int | None = PAD
    """Token that fills rows up."""
    start: int | None = START
    """Token before a text."""
    end: int | None = END
    """Token after a text."""

    def untrained(self, seed: int | None = None) -> LlamaForCausalLM:
        """Return the model with random weights.

        Args:
            seed: of the weights, which leaves the global random stream as it was. None: draw from that.
        """
        config = LlamaConfig(
            vocab_size=self.vocabulary,
            hidden_size=self.width,
            intermediate_size=self.expansion * self.width,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            max_position_embeddings=self.context,
            initializer_range=self.initial_spread,
            rope_parameters={"rope_type": "default", "rope_theta": self.rope_theta},
            tie_word_embeddings=True,
            pad_token_id=self.pad,
            bos_token_id=self.start,
            eos_token_id=self.end,
        )
        if seed is None:
            return LlamaForCausalLM(config)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return LlamaForCausalLM(config)

    def trained(self, weights: Mapping[str, Tensor], device: torch.device | str = "cpu") -> LlamaForCausalLM:
        """Return the model with given weights, in eval mode and without gradients."""
        model: Any = self.untrained(seed=0)
        model.load_state_dict(weights)
        ready: LlamaForCausalLM = model.to(device).eval().requires_grad_(False)
        return ready


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
    shape = SmallLlama(
        len(tokenizer),
        hidden,
        layers,
        heads,
        context,
        pad=tokenizer.pad_token_id,
        start=tokenizer.bos_token_id,
        end=tokenizer.eos_token_id,
    )
    return shape.untrained(seed)
