"""Tiny models and documents that several tests share."""

import pytest

from papers.privacy.uoe.card_files import make_tokenizer
from papers.privacy.uoe.moe_models import FAMILIES, build, documents


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
    return make_tokenizer()
