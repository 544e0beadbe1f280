"""What the code on the card reads: two classifiers, and a policy made by the card's own command."""

import csv
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

from card_commands import run_commands

LABELS = ["negative", "positive"]
WORDS = ["good", "great", "nice", "bad", "poor", "awful", "dull", "film", "plot", "cast", "score", *LABELS]
REVIEWS = [
    ("the film was good", "positive"),
    ("a great plot", "positive"),
    ("nice cast", "positive"),
    ("it was bad", "negative"),
    ("poor plot", "negative"),
    ("awful film dull score", "negative"),
]


def prepare(folder: Path) -> None:
    """Write reviews and two classifiers, and choose the policy."""
    write_reviews(folder)
    write_bert(folder / "tinybert", 8)
    write_bert(folder / "bert", 32, seed=1)
    run_commands("elang", "run elang --data csv:reviews.csv --swift")


def write_reviews(folder):
    """A table of short reviews, each a little different."""
    path = folder / "reviews.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label", "source"])
        for number in range(60):
            text, label = REVIEWS[number % len(REVIEWS)]
            writer.writerow([f"{text} {'film ' * (number // len(REVIEWS))}".strip(), label, "site"])
    return path


def word_tokenizer(words, template):
    """A tokenizer with one token a word, in the format that transformers saves."""
    tokens = ["<pad>", "</s>", "<unk>", "[CLS]", *words]
    tokenizer = Tokenizer(models.WordLevel({token: number for number, token in enumerate(tokens)}, "<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    ids = {token: tokens.index(token) for token in ("[CLS]", "</s>")}
    tokenizer.post_processor = processors.TemplateProcessing(
        single=template, special_tokens=list(ids.items())
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        cls_token="[CLS]",
        model_max_length=24,
    )


def write_bert(folder, width, labels=("negative", "positive"), words=WORDS, seed=0):
    """Write an untrained BERT classifier as `save_pretrained` does."""
    torch.manual_seed(seed)
    tokenizer = word_tokenizer(words, "[CLS] $A")
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=2 * width,
        max_position_embeddings=24,
        num_labels=len(labels),
        id2label=dict(enumerate(labels)),
        label2id={label: number for number, label in enumerate(labels)},
        pad_token_id=0,
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
