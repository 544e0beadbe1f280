"""Flux and the choice of demonstrations."""

import itertools

import pytest
import torch
from scipy import stats

from assay.papers.theory.ecm.method import (
    DemoRetriever,
    flux,
    manhattan_flux,
    most_diverse,
    random_subsets,
    summed_cosine,
)


@pytest.fixture
def stream():
    return torch.Generator().manual_seed(3)


@pytest.fixture
def embeddings(stream):
    return torch.randn(9, 5, generator=stream, dtype=torch.float64)


def test_flux_is_the_length_along_the_query(embeddings):
    query, demos = embeddings[0], embeddings[1:]
    expected = torch.stack([(query @ demo) / query.norm() for demo in demos])
    assert torch.allclose(flux(query, demos), expected)
    assert torch.allclose(flux(7 * query, demos), expected)
    assert torch.allclose(flux(query, 3 * demos), 3 * expected)
    assert torch.allclose(flux(embeddings[:2], demos)[0], expected)


def test_flux_of_parallel_and_orthogonal_demonstrations():
    query = torch.tensor([3.0, 4.0])
    demos = torch.tensor([[6.0, 8.0], [-4.0, 3.0], [-3.0, -4.0]])
    assert flux(query, demos).tolist() == pytest.approx([10, 0, -5], abs=1e-5)


def test_the_sum_does_not_depend_on_the_order(embeddings):
    query, demos = embeddings[0], embeddings[1:]
    assert torch.allclose(flux(query, demos).sum(), flux(query, demos.flip(0)).sum())


def test_manhattan_flux(embeddings):
    found = manhattan_flux(embeddings[:2], embeddings[2:])
    assert torch.allclose(found[1, 0], (embeddings[1] - embeddings[2]).abs().sum())


def test_embeddings_that_do_not_fit_are_refused(embeddings):
    with pytest.raises(ValueError, match="5 dimensions and demonstrations 4"):
        flux(embeddings[0], embeddings[1:, :4])
    with pytest.raises(ValueError, match="norm of a query"):
        flux(torch.zeros(5, dtype=torch.float64), embeddings)
    with pytest.raises(ValueError, match="not finite"):
        flux(embeddings[0], torch.full((2, 5), float("inf"), dtype=torch.float64))


# --- diversity ----------------------------------------------------------------------------------


def test_summed_cosine_is_the_sum_over_pairs(embeddings, stream):
    subsets = random_subsets(9, 4, 20, stream)
    for subset, total in zip(subsets.tolist(), summed_cosine(embeddings, subsets).tolist(), strict=True):
        pairs = itertools.combinations(subset, 2)
        expected = sum(torch.cosine_similarity(embeddings[i], embeddings[j], dim=0) for i, j in pairs)
        assert total == pytest.approx(float(expected))


@pytest.mark.parametrize("n", [5, 1000])
def test_subsets_have_different_members_each_equally_likely(n, stream):
    subsets = random_subsets(n, 5, 4000, stream)
    assert all(len(set(subset)) == 5 for subset in subsets.tolist())
    counts = torch.bincount(subsets.flatten(), minlength=n)
    assert n == 5 or stats.chisquare(counts.numpy()).pvalue > 1e-3


def test_the_most_diverse_subset_is_found(stream):
    embeddings = torch.eye(4).repeat_interleave(3, dim=0) + 0.01
    chosen = most_diverse(embeddings, 4, stream)
    assert sorted(row // 3 for row in chosen.tolist()) == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="subset of 5"):
        most_diverse(embeddings[:4], 5, stream)


# --- retrieval ----------------------------------------------------------------------------------


def letters(texts):
    """Embed a text as its counts of letters."""
    return torch.tensor([[float(text.count(letter)) for letter in "abcdefgh"] for text in texts])


POOL = ["aaa", "ab", "b", "bb", "cc", "aabb"]


def test_retrieval_by_flux_and_in_reverse():
    retriever = DemoRetriever(letters, POOL)
    best = retriever.topk(["a", "c"], 2)
    assert [POOL[row] for row in best[0].rows] == ["aaa", "aabb"]
    assert best[0].flux == pytest.approx((3, 2))
    assert POOL[best[1].rows[0]] == "cc"
    worst = retriever.topk(["a"], 3, "reverse")[0]
    assert {POOL[row] for row in worst.rows} == {"b", "bb", "cc"}


def test_random_and_diverse_retrieval():
    retriever = DemoRetriever(letters, POOL, seed=1)
    drawn = retriever.topk(["a"] * 20, 3, "random")
    assert len({each.rows for each in drawn}) > 3
    assert all(len(set(each.rows)) == 3 for each in drawn)
    diverse = retriever.topk(["abc"], 3, "diverse", among=6)[0]
    near = retriever.topk(["abc"], 3)[0]
    embeddings = retriever.embeddings
    assert summed_cosine(embeddings, torch.tensor([diverse.rows])) < summed_cosine(
        embeddings, torch.tensor([near.rows])
    )


def test_what_cannot_be_retrieved_is_refused():
    with pytest.raises(ValueError, match="no demonstration"):
        DemoRetriever(letters, [])
    retriever = DemoRetriever(letters, POOL)
    with pytest.raises(ValueError, match="7 demonstrations"):
        retriever.topk(["a"], 7)
    with pytest.raises(ValueError, match="norm of a query"):
        retriever.topk(["zzz"], 1)
