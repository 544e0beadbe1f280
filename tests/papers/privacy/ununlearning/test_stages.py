"""The small models: what the reader sees, and what retraining sees."""

import dataclasses

import torch

from assay.papers.privacy.knowledge import invent_facts
from assay.papers.privacy.ununlearning.config import SmallModels
from assay.papers.privacy.ununlearning.stages import train_models, train_reader
from assay.training import Compute

SMALL = SmallModels(first_steps=5, reader_steps=5, learn_steps=8, unlearn_steps=5, batch_size=32, width=32)
CPU = Compute(accelerator="cpu")


def test_the_reader_is_the_same_for_all_facts():
    first, second = train_reader(SMALL, CPU), train_reader(SMALL, CPU)
    assert all(torch.equal(first.weights[name], second.weights[name]) for name in first.weights)
    assert 0 <= first.reading <= 1
    other = train_reader(dataclasses.replace(SMALL, reader_seed=2), CPU)
    assert any(not torch.equal(first.weights[name], other.weights[name]) for name in first.weights)


def test_the_retrained_model_does_not_depend_on_what_is_forgotten():
    facts = invent_facts(32, 8, 32, torch.Generator().manual_seed(3))
    reader = train_reader(SMALL, CPU).weights
    changed = [
        dataclasses.replace(fact, answer=fact.choices[0], fact="x") if fact.split == "forget" else fact
        for fact in facts
    ]
    first, second = (train_models(SMALL, records, reader, 0, CPU) for records in (facts, changed))
    assert all(torch.equal(first["retrained"][name], second["retrained"][name]) for name in reader)
    assert any(not torch.equal(first["original"][name], second["original"][name]) for name in reader)


def test_the_second_model_unlearns_as_it_is_told():
    facts = invent_facts(32, 8, 32, torch.Generator().manual_seed(3))
    reader = train_reader(SMALL, CPU).weights
    told = dataclasses.replace(SMALL, methods=("npo", "rmu"))
    first, second = (train_models(each, facts, reader, 0, CPU) for each in (SMALL, told))
    moved = {
        name for name in reader if not torch.equal(second["second_unlearned"][name], second["original"][name])
    }
    assert moved == {f"model.layers.{layer}.mlp.down_proj.weight" for layer in (0, 1)}
    assert all(torch.equal(first["unlearned"][name], second["unlearned"][name]) for name in reader)
