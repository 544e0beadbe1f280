"""The contrastive loss, its floor where captions repeat, and retrieval."""

import math

import pytest
import torch
from transformers.models.clip.modeling_clip import image_text_contrastive_loss

from assay.papers.privacy.t2ue.method import contrastive_logits, entropy_floor, info_nce, retrieval


def test_it_is_the_loss_of_clip():
    logits = torch.randn(6, 6) * 3
    torch.testing.assert_close(info_nce(logits), image_text_contrastive_loss(logits.T))


def test_limits():
    assert info_nce(torch.randn(1, 1)).item() == 0
    assert info_nce(torch.zeros(4, 4)).item() == pytest.approx(1.386294, abs=1e-6)


def test_logits_are_scaled_cosines():
    image, text = torch.tensor([[3.0, 0.0], [0.0, 2.0]]), torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    expected = 100 * torch.tensor([[1.0, 0.5**0.5], [0.0, 0.5**0.5]])
    torch.testing.assert_close(contrastive_logits(image, text, torch.tensor(math.log(100))), expected)


def test_different_captions_give_the_ordinary_loss():
    logits = torch.randn(5, 5)
    torch.testing.assert_close(info_nce(logits, torch.arange(5)), info_nce(logits))
    assert entropy_floor(torch.arange(5)).item() == 0


def test_equal_captions_are_no_negatives_and_set_a_floor():
    captions = torch.tensor([0, 0, 1, 1, 1])
    perfect = 100.0 * (captions[:, None] == captions)
    floor = entropy_floor(captions).item()
    assert floor == pytest.approx((2 * math.log(2) + 3 * math.log(3)) / 5)
    assert info_nce(perfect, captions).item() == pytest.approx(floor, abs=1e-4)
    assert info_nce(torch.randn(5, 5), captions).item() > floor


def test_with_equal_texts_the_soft_targets_change_nothing_but_the_reading():
    captions = torch.tensor([0, 0, 1, 1, 1])
    texts = torch.randn(2, 4)[captions]
    image = torch.randn(5, 4, requires_grad=True)
    logits = contrastive_logits(image, texts, torch.tensor(1.0))
    torch.testing.assert_close(info_nce(logits, captions), info_nce(logits))


def test_retrieval_finds_the_identity():
    rows = torch.arange(30)
    found = retrieval(torch.eye(30), rows, rows)
    assert (found.hit_at_10, found.median_rank) == (1.0, 1.0)


def test_random_retrieval_is_chance():
    rows = torch.arange(1000)
    found = retrieval(torch.rand(1000, 1000, generator=torch.Generator().manual_seed(0)), rows, rows)
    assert found.hit_at_10 == pytest.approx(0.01, abs=0.01)
    assert found.median_rank == pytest.approx(500, abs=60)


def test_a_constant_similarity_is_chance():
    rows = torch.arange(101)
    assert retrieval(torch.ones(101, 101), rows, rows).median_rank == 51


def test_any_of_several_right_answers_counts():
    similarity = torch.tensor([[0.1, 0.9, 0.5, 0.3]])
    found = retrieval(similarity, torch.tensor([7]), torch.tensor([7, 1, 7, 2]))
    assert found.median_rank == 2
    with pytest.raises(ValueError, match="no right answer"):
        retrieval(similarity, torch.tensor([9]), torch.tensor([7, 1, 7, 2]))
