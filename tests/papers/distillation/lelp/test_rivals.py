"""The losses that LELP is compared with: closed forms, invariances and what happens with two classes."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from assay.papers.distillation.lelp.method import (
    ContrastiveDistillation,
    DecoupledDistillation,
    FitNet,
    KnowledgeDistillation,
    RelationalDistillation,
    SubclassDiversity,
    VariationalInformation,
)
from assay.papers.distillation.lelp.method.rivals import cosines, relative_distances


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_vanilla_distillation_is_zero_at_the_teacher_and_matches_its_definition():
    s, t = draw(9, 4), draw(9, 4, seed=1)
    loss = KnowledgeDistillation(3.0)
    assert loss(t, t).item() == pytest.approx(0, abs=1e-12)
    p, q = (t / 3).softmax(1), (s / 3).softmax(1)
    assert loss(s, t).item() == pytest.approx(9 * (p * (p / q).log()).sum(1).mean().item())


def test_dkd_with_unit_weight_on_the_target_alone_is_kd_of_two_classes():
    s, t, labels = draw(9, 2), draw(9, 2, seed=1), torch.arange(9) % 2
    for other_weight in (0.0, 8.0):  # with two classes there is one non-target class: its term vanishes
        dkd = DecoupledDistillation(1.0, other_weight, temperature=2.0)(s, t, labels)
        assert dkd.item() == pytest.approx(KnowledgeDistillation(2.0)(s, t).item())


def test_dkd_splits_kd_as_its_paper_says():
    s, t, labels = draw(9, 5), draw(9, 5, seed=1), torch.arange(9) % 5
    target = DecoupledDistillation(1.0, 0.0, 1.0)(s, t, labels)
    p = t.softmax(1)
    rest = 1 - p.gather(1, labels[:, None])[:, 0]
    others = []
    for row, label in enumerate(labels.tolist()):
        keep = [c for c in range(5) if c != label]
        a, b = t[row, keep].softmax(0), s[row, keep].softmax(0)
        others.append((a * (a / b).log()).sum())
    expected = target + (rest * torch.stack(others)).mean()
    assert KnowledgeDistillation(1.0)(s, t).item() == pytest.approx(expected.item())


def test_fitnet_is_the_error_of_a_regression():
    s, t = draw(9, 3).float(), draw(9, 4, seed=1).float()
    loss = FitNet(3, 4)
    assert loss(s, t).item() == pytest.approx((loss.regressor(s) - t).square().mean().item())


def test_vid_is_a_gaussian_likelihood_that_starts_at_variance_five():
    s, t = draw(9, 3).float(), draw(9, 4, seed=1).float()
    loss = VariationalInformation(3, 4)
    variance = functional.softplus(loss.rho) + 1e-5
    torch.testing.assert_close(variance, torch.full((4,), 5.0), atol=1e-4, rtol=0)
    mean = loss.regressor(s)
    expected = (variance.log() + (t - mean).square() / variance).mean() / 2
    assert loss(s, t).item() == pytest.approx(expected.item(), rel=1e-5)
    linear = [layer for layer in loss.regressor if isinstance(layer, nn.Linear)]
    assert [layer.in_features for layer in linear] == [3, 4, 4]  # as in the authors' code
    assert not any(layer.bias is not None for layer in linear)


def test_relations_ignore_rotation_shift_and_scale():
    t = draw(12, 5)
    R = torch.linalg.qr(draw(5, 5, seed=3)).Q
    moved = 7 * t @ R + 100
    assert RelationalDistillation()(moved, t).item() == pytest.approx(0, abs=1e-9)
    student = draw(12, 3, seed=4)
    assert RelationalDistillation()(student, t).item() > 0.1
    all_angles = RelationalDistillation(0.0, 1.0)(student, t)
    expected = functional.smooth_l1_loss(cosines(student), cosines(t))
    assert all_angles.item() == pytest.approx(expected.item())
    few = RelationalDistillation(0.0, 1.0, angle_rows=5)(student, t)
    assert few.item() == pytest.approx(RelationalDistillation(0.0, 1.0)(student[:5], t[:5]).item())


def test_distances_and_angles_by_hand():
    triangle = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]], dtype=torch.float64)
    torch.testing.assert_close(
        relative_distances(triangle) * 4,
        torch.tensor([[0.0, 3.0, 4.0], [3.0, 0.0, 5.0], [4.0, 5.0, 0.0]], dtype=torch.float64),
    )
    angles = cosines(triangle)
    assert angles[0, 1, 2].item() == pytest.approx(0, abs=1e-12)
    assert angles[1, 0, 2].item() == pytest.approx(0.6)
    assert angles[2, 0, 1].item() == pytest.approx(0.8)


def test_equal_rows_give_finite_gradients():
    s = torch.ones(6, 4, requires_grad=True)
    RelationalDistillation()(s, draw(6, 5).float()).backward()
    assert torch.isfinite(s.grad).all()


def test_contrast_is_against_rows_of_other_classes_only():
    loss = ContrastiveDistillation(3, 4, projection=8)
    s, t = draw(6, 3).float(), draw(6, 4, seed=1).float()
    assert loss(s, t, torch.zeros(6, dtype=torch.long)).item() == pytest.approx(0)
    labels = torch.tensor([0, 0, 0, 1, 1, 1])
    f = functional.normalize(loss.student_projection(s), dim=1)
    g = functional.normalize(loss.teacher_projection(t), dim=1)
    scores = (f @ g.T / 0.07).exp()
    other = labels[:, None] != labels
    one_way = [
        -(scores.diagonal() / (scores.diagonal() + (m * other).sum(1))).log().mean()
        for m in (scores, scores.T)
    ]
    assert loss(s, t, labels).item() == pytest.approx(sum(one_way).item(), rel=1e-5)


def test_diversity_is_least_when_rows_differ_and_zero_when_all_are_alike():
    loss = SubclassDiversity()
    alike = draw(1, 4).expand(8, 4)
    assert loss(alike).item() == pytest.approx(0, abs=1e-12)
    corners = torch.eye(4, dtype=torch.float64).repeat(2, 1)
    # after centring, corners have cosine 1 with themselves and -1/3 with one another: two of eight are alike
    expected = math.log((2 * math.e + 6 * math.exp(-1 / 3)) / 8) - 1
    assert loss(corners).item() == pytest.approx(expected)
    assert loss(5 * corners + 3).item() == pytest.approx(expected)
