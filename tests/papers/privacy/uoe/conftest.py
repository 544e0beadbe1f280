"""Tiny models and documents that several tests share."""

import pytest

from assay.models import word_tokenizer
from papers.privacy.uoe.moe_models import FAMILIES, WORDS, build, documents


@pytest.fixture(params=list(FAMILIES))
def family(request):
    return request.param


@pytest.fixture
def model(family):
    return build(family)


@pytest.fixture
def qwen():
    return build("qwen2_moe")


@pytest.fixture
def forget():
    return documents(seed=1)


@pytest.fixture
def retain():
    return documents(seed=2)


@pytest.fixture(scope="session")
def tokenizer():
    letters = "Answer: A B C D E\nA.\nB.\nC.\nD.\nE. is"
    return word_tokenizer([*WORDS, " ".join(WORDS), letters, letters], vocab_size=90)
