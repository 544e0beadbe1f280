"""Invented facts: topics that share no word."""

import torch

from assay.papers.privacy.uoe.config import SmallModel
from assay.papers.privacy.uoe.synthetic import build_tokenizer, invent_topics


def test_topics_share_no_word():
    small = SmallModel()
    facts = invent_topics(small, torch.Generator().manual_seed(0))
    words = [
        {word for fact in facts if fact.id.startswith(f"{topic}-") for word in fact.fact.split()}
        for topic in range(4)
    ]
    assert all(not words[a] & words[b] for a in range(4) for b in range(a))
    assert sum(fact.split == "forget" for fact in facts) == 24
    tokenizer = build_tokenizer(small)
    assert all(len(tokenizer(fact.fact)["input_ids"]) == 5 for fact in facts)
    assert tokenizer.unk_token_id not in {
        token for fact in facts for token in tokenizer(fact.fact)["input_ids"]
    }
