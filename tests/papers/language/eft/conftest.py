"""Small causal language models that several tests share."""

import pytest

from papers.language.eft.small_models import llama, nudged


@pytest.fixture(scope="session")
def trio():
    """A large base, a small tuned model and its reference."""
    reference = llama(1)
    return llama(0, hidden=32, layers=2), nudged(reference, 2), reference


@pytest.fixture(scope="session")
def prompts():
    """Prompts of different lengths."""
    return [[1, 5, 7], [1, 4, 9, 11, 3, 6], [8]]
