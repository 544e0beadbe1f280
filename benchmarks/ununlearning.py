"""Speed of scoring answers: `python benchmarks/ununlearning.py`.

An audit scores each answer in one forward pass, and answers of one token to the same prompt share an input.
It is compared with generating a reply in transformers, and with a pass for every choice. All take turns
in one run on one thread.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

from assay.models import LocalTextModel, tiny_causal_lm
from assay.papers.privacy.knowledge import invent_facts, score_answers
from assay.papers.privacy.ununlearning.method import ContextBuilder
from assay.papers.privacy.ununlearning.synthetic import FORM, Vocabulary
from timing import interleaved

REPEATS = 5
NEW_TOKENS = 9


def main() -> None:
    """Print the time of an audit's scores, of generated replies, and of a pass for every choice."""
    facts = invent_facts(32, 8, 32, torch.Generator().manual_seed(0))
    words = Vocabulary.of(facts)
    model = tiny_causal_lm(words.tokenizer, hidden=128, layers=4, heads=4)
    builder = ContextBuilder("direct", facts, words.tokenizer, 10, form=FORM)
    built = (builder.build(fact, place) for fact in facts for place in range(2))
    prompts = [prompt.text for prompt in built if prompt is not None]
    right = [f" {fact.answer}" for fact in facts for _ in range(2)]
    choices = [f" {choice}" for choice in facts[0].choices]
    many = [text for text in prompts for _ in choices]
    text_model = LocalTextModel(model, words.tokenizer, batch_size=64)
    times = interleaved(
        {
            "answer scored": lambda: score_answers(model, words.tokenizer, prompts, right),
            "reply generated": lambda: text_model.generate(prompts, max_new_tokens=NEW_TOKENS),
            "32 choices, shared input": lambda: score_answers(
                model, words.tokenizer, many, choices * len(prompts)
            ),
            "32 choices, a pass each": lambda: text_model.score(many, choices * len(prompts)),
        },
        REPEATS,
    )
    print(f"{len(prompts)} prompts with 11 facts, 4 layers of width 128, one thread:")
    for name, seconds in times.items():
        print(f"  {name:<26} {seconds * 1e3:8.0f} ms")
    print(f"  scored / generated: {times['answer scored'] / times['reply generated']:.2f}")
    shared, alone = times["32 choices, shared input"], times["32 choices, a pass each"]
    print(f"  shared / a pass each: {shared / alone:.2f}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
