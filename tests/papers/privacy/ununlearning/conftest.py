"""Facts about invented entities, and models that know or read by construction."""

from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from assay.papers.privacy.knowledge import invent_facts
from assay.papers.privacy.ununlearning.synthetic import Vocabulary


class Stub(nn.Module):
    """A causal language model whose next token is computed by a rule: `rule(ids before and here)`."""

    def __init__(self, words, rule):
        super().__init__()
        self.words, self.rule = words, rule

    def forward(self, input_ids, attention_mask=None):
        logits = torch.zeros(*input_ids.shape, len(self.words.tokenizer))
        for row, ids in enumerate(input_ids.tolist()):
            for place in range(len(ids)):
                token = self.rule(ids[: place + 1])
                if token is not None:
                    logits[row, place, token] = 20.0
        return SimpleNamespace(logits=logits)


@pytest.fixture(scope="session")
def facts():
    return invent_facts(32, 8, 32, torch.Generator().manual_seed(0))


@pytest.fixture(scope="session")
def words(facts):
    return Vocabulary.of(facts)


@pytest.fixture(scope="session")
def lookup(facts, words):
    """Knows every fact, and does not read."""
    known = {
        int(words.entities[place]): int(words.values[fact.choices.index(fact.answer)])
        for place, fact in enumerate(facts)
    }
    return Stub(words, lambda ids: known.get(ids[-1]))


@pytest.fixture(scope="session")
def copier(words):
    """Knows nothing, and repeats what followed an entity before."""
    values = set(words.values.tolist())

    def rule(ids):
        followers = [after for before, after in pairwise(ids) if before == ids[-1] and after in values]
        return followers[-1] if followers else None

    return Stub(words, rule)


@pytest.fixture(scope="session")
def guesser(words):
    """Says any value."""
    generator = torch.Generator().manual_seed(0)
    return Stub(words, lambda ids: int(words.values[torch.randint(32, (), generator=generator)]))
