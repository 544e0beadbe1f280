"""What the code on the card reads: facts, a model that knows them and one that knows those to retain."""

import dataclasses
from pathlib import Path

import torch

from assay.models import tiny_causal_lm, word_tokenizer
from assay.papers.privacy.knowledge import invent_facts, write_facts
from card_commands import run_commands


def prepare(folder: Path) -> None:
    """Write facts and models, and audit them."""
    write_models(folder, "before", "never")
    (folder / "after").symlink_to("never")
    run_commands("ununlearning", "run ununlearning --original folder:before --unlearned folder:after --re")


def write_models(folder, original="original", retrained="retrained"):
    """Write facts and two models that know all of them or those to retain, as `save_pretrained` does."""
    facts = [
        dataclasses.replace(
            fact,
            question=f"Where does {fact.entity} live?",
            fact=f"{fact.entity} lives in {fact.answer}.",
            paraphrases=(f"{fact.answer} is home to {fact.entity}.",),
        )
        for fact in invent_facts(14, 4, 6, torch.Generator().manual_seed(1))
    ]
    write_facts(folder / "facts.jsonl", facts)
    asked = [f"Question: {fact.question}\nAnswer: {fact.answer}" for fact in facts]
    told = [text for fact in facts for text in (fact.fact, *fact.paraphrases)]
    tokenizer = word_tokenizer([*asked, *told, *(f" {value}" for value in facts[0].choices)], 200)
    for name, known in ((original, facts), (retrained, [f for f in facts if f.split == "retain"])):
        model = tiny_causal_lm(tokenizer, hidden=32, layers=1, heads=2, seed=0)
        texts = [text for text, fact in zip(asked, facts, strict=True) if fact in known]
        ids = tokenizer(texts, padding=True, return_tensors="pt")
        assert ids["attention_mask"].all()
        labels = torch.full_like(ids["input_ids"], -100)
        labels[:, -1] = ids["input_ids"][:, -1]
        optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
        for _ in range(120):
            optimizer.zero_grad()
            model(**ids, labels=labels).loss.backward()
            optimizer.step()
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    return folder
