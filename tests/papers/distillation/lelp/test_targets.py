"""Targets, head and loss: the limits, the sums, and equality with vanilla distillation."""

import inspect
import math

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch.nn import functional

from assay.papers.distillation.lelp.method import (
    KnowledgeDistillation,
    PseudoSubclasses,
    SubclassDistillationLoss,
    SubclassHead,
    SubspaceProjector,
    class_log_probs,
    known_subclasses,
    partition_classes,
    partition_coordinates,
    pseudo_subclass_targets,
    teacher_labels,
)


def logits_and_coordinates(n=50, c=3, s=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    return 3 * draw(n, c), draw(n, c, s)


# --- targets ------------------------------------------------------------------------------------


@given(tau=st.floats(0.1, 20), beta=st.floats(0.01, 100), seed=st.integers(0, 999))
@settings(max_examples=50, deadline=None)
def test_subclasses_sum_to_the_class_whatever_beta_is(tau, beta, seed):
    z, a = logits_and_coordinates(seed=seed)
    q = pseudo_subclass_targets(z, a, tau, beta)
    torch.testing.assert_close(q.sum(1), torch.ones(50, dtype=torch.float64))
    torch.testing.assert_close(q.unflatten(1, (3, 4)).sum(2), torch.softmax(z / tau, 1))


def test_targets_by_hand():
    z = torch.tensor([[math.log(3.0), 0.0]])
    a = torch.tensor([[[0.0, math.log(4.0)], [0.0, 0.0]]])
    q = pseudo_subclass_targets(z, a)
    torch.testing.assert_close(q, torch.tensor([[0.75 * 0.2, 0.75 * 0.8, 0.125, 0.125]]))


def test_targets_are_the_joint_softmax_of_summed_log_probabilities():
    z, a = logits_and_coordinates()
    joint = z.log_softmax(1)[:, :, None] + (a / 0.7).log_softmax(2)
    torch.testing.assert_close(
        pseudo_subclass_targets(z, a, 1.0, 0.7), torch.softmax(joint.flatten(1), dim=1)
    )


def test_large_beta_shares_equally_and_small_beta_gives_one_hot():
    z, a = logits_and_coordinates()
    p = torch.softmax(z, 1)
    equal = pseudo_subclass_targets(z, a, 1.0, math.inf).unflatten(1, (3, 4))
    torch.testing.assert_close(equal, p[:, :, None].expand(50, 3, 4) / 4)
    hard = pseudo_subclass_targets(z, a, 1.0, 1e-6).unflatten(1, (3, 4))
    torch.testing.assert_close(hard, p[:, :, None] * functional.one_hot(a.argmax(2), 4), atol=1e-12, rtol=0)


def test_one_subclass_is_vanilla_distillation(outputs):
    a = SubspaceProjector(1).fit_transform(outputs.h, outputs.y, outputs.W)
    q = pseudo_subclass_targets(outputs.z, a, class_temperature=3.0, subclass_temperature=0.2)
    torch.testing.assert_close(q, torch.softmax(outputs.z / 3.0, 1))


@pytest.mark.parametrize(("tau", "beta"), [(0.0, 1.0), (1.0, 0.0), (-1.0, 1.0), (math.nan, 1.0)])
def test_temperatures_that_are_not_positive_are_refused(tau, beta):
    with pytest.raises(ValueError, match="must be positive"):
        pseudo_subclass_targets(*logits_and_coordinates(), tau, beta)


def test_logits_of_other_classes_are_refused():
    z, a = logits_and_coordinates()
    with pytest.raises(ValueError, match=r"expected \(N, C\) and \(N, C, S\)"):
        inspect.unwrap(pseudo_subclass_targets)(z[:, :2], a)  # without the run-time check of shapes


def test_saved_targets_load_with_their_temperatures(outputs, tmp_path):
    projector = SubspaceProjector(3).fit(outputs.h, outputs.y, outputs.W)
    targets = PseudoSubclasses(projector, 2.0, 0.3)
    targets.save(tmp_path)
    loaded = PseudoSubclasses.load(tmp_path)
    assert (loaded.class_temperature, loaded.subclass_temperature) == (2.0, 0.3)
    assert torch.equal(loaded(outputs.h, outputs.z), targets(outputs.h, outputs.z))
    torch.testing.assert_close(
        targets(outputs.h, outputs.z),
        pseudo_subclass_targets(outputs.z, projector.transform(outputs.h), 2.0, 0.3),
    )


def test_unlabelled_rows_get_the_class_that_the_teacher_chooses():
    z = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    assert teacher_labels(z).tolist() == [0, 1, 1]
    assert teacher_labels(z, torch.tensor([1, 0, -1])).tolist() == [1, 0, 1]


# --- partitions ---------------------------------------------------------------------------------


def test_a_partition_becomes_one_hot_inside_its_class_and_equal_elsewhere():
    labels, subclasses = torch.tensor([0, 0, 0, 1]), torch.tensor([0, 1, 1, 0])
    a = partition_coordinates(subclasses, labels, 2, 2)
    q = pseudo_subclass_targets(torch.zeros(4, 2), a, 1.0, 0.01)
    expected = [[0.5, 0, 0.25, 0.25], [0, 0.5, 0.25, 0.25], [0, 0.5, 0.25, 0.25], [0.25, 0.25, 0.5, 0]]
    torch.testing.assert_close(q, torch.tensor(expected))


def test_a_partition_has_the_scale_of_normalized_directions():
    labels, subclasses = torch.zeros(60, dtype=torch.long), torch.arange(60) % 3
    a = partition_coordinates(subclasses, labels, 1, 3)[:, 0]
    assert a.var(0, correction=0).mean().item() == pytest.approx(1)


@pytest.mark.parametrize("method", ["kmeans", "agglomerative", "tsne"])
def test_clusterings_find_clusters(method):
    generator = torch.Generator().manual_seed(0)
    truth = torch.arange(120) % 4
    labels = truth % 2
    centres = 30 * torch.eye(4, 6)
    rows = centres[truth] + torch.randn(120, 6, generator=generator)
    found = partition_classes(rows, labels, 2, method)
    for label in (0, 1):
        own, true = found[labels == label], truth[labels == label]
        assert {int(own[true == t].float().var() * 1e6) for t in true.unique()} == {0}
        assert len(own.unique()) == 2


def test_large_classes_are_clustered_on_some_rows_and_assigned_by_centroid(monkeypatch):
    monkeypatch.setattr("assay.papers.distillation.lelp.method.partitions.MOST_ROWS", 40)
    truth = torch.arange(200) % 2
    rows = 20.0 * truth[:, None] + torch.randn(200, 3, generator=torch.Generator().manual_seed(1))
    found = partition_classes(rows, torch.zeros(200, dtype=torch.long), 2, "agglomerative")
    assert (found == found[0]).eq(truth == truth[0]).all()


def test_a_random_partition_has_parts_of_equal_size_and_a_seed(outputs):
    found, again, other = (partition_classes(outputs.h, outputs.y, 4, "random", seed) for seed in (1, 1, 2))
    assert torch.equal(found, again)
    assert not torch.equal(found, other)
    for label in (0, 1):
        assert found[outputs.y == label].bincount().tolist() == [50] * 4


def test_partitions_of_too_few_rows_and_unknown_methods_are_refused(outputs):
    with pytest.raises(ValueError, match="Class 0 has 3 rows; too few for 5"):
        partition_classes(outputs.h[:6], outputs.y[:6], 5, "kmeans")


def test_known_groups_are_numbered_inside_their_classes():
    groups, labels = torch.tensor([10, 11, 12, 10, 30, 31]), torch.tensor([0, 0, 0, 0, 1, 1])
    subclasses, most = known_subclasses(groups, labels)
    assert (subclasses.tolist(), most) == ([0, 1, 2, 0, 0, 1], 3)
    with pytest.raises(ValueError, match="no subclasses"):
        known_subclasses(labels, labels)


# --- head and loss ------------------------------------------------------------------------------


def test_class_probabilities_are_sums_over_subclasses():
    head = SubclassHead(6, n_classes=3, n_subclasses=4).double()
    logits = head(torch.randn(20, 6, dtype=torch.float64))
    assert logits.shape == (20, 12)
    summed = torch.softmax(logits, 1).unflatten(1, (3, 4)).sum(2)
    torch.testing.assert_close(head.class_log_probs(logits), summed.log())


def test_permuting_subclasses_inside_a_class_changes_no_class():
    logits = torch.randn(20, 12, dtype=torch.float64)
    order = torch.cat([torch.tensor([2, 0, 3, 1]) + 4 * c for c in range(3)])
    torch.testing.assert_close(class_log_probs(logits, 4), class_log_probs(logits[:, order], 4))


def test_logits_that_do_not_split_are_refused():
    with pytest.raises(ValueError, match="12 logits do not split"):
        class_log_probs(torch.zeros(2, 12), 5)


def test_the_loss_is_the_kl_divergence_and_the_targets_entropy():
    z, a = logits_and_coordinates()
    q = pseudo_subclass_targets(z, a)
    logits = torch.randn(50, 12, dtype=torch.float64, requires_grad=True)
    loss = SubclassDistillationLoss()(logits, q)
    divergence = functional.kl_div(logits.log_softmax(1), q, reduction="batchmean")
    entropy = -(q * q.log()).sum(1).mean()
    assert (loss - entropy).item() == pytest.approx(divergence.item())
    (ours,) = torch.autograd.grad(loss, logits, retain_graph=True)
    torch.testing.assert_close(ours, torch.autograd.grad(divergence, logits)[0])
    torch.testing.assert_close(ours, (logits.softmax(1) - q) / 50)


@pytest.mark.parametrize("tau", [1.0, 4.0])
def test_with_one_subclass_loss_and_gradient_are_hintons(tau):
    z, a = logits_and_coordinates(s=1)
    logits = torch.randn(50, 3, dtype=torch.float64, requires_grad=True)
    q = pseudo_subclass_targets(z, a, tau)
    ours = SubclassDistillationLoss()(logits, q) + (q * q.log()).sum(1).mean()
    hinton = (
        KnowledgeDistillation(tau)(tau * logits, z) / tau**2
    )  # both softened: student logits in units of tau
    assert ours.item() == pytest.approx(hinton.item())
    torch.testing.assert_close(*(torch.autograd.grad(loss, logits)[0] for loss in (ours, hinton)))


def test_labels_enter_with_weight_alpha():
    logits, q = torch.randn(10, 6), torch.softmax(torch.randn(10, 6), 1)
    labels = torch.arange(10) % 2
    parts = [SubclassDistillationLoss(alpha, n_subclasses=3)(logits, q, labels) for alpha in (0.0, 1.0, 0.3)]
    assert parts[1].item() == pytest.approx(functional.nll_loss(class_log_probs(logits, 3), labels).item())
    assert parts[2].item() == pytest.approx((0.7 * parts[0] + 0.3 * parts[1]).item(), rel=1e-6)
    with pytest.raises(ValueError, match="needs labels"):
        SubclassDistillationLoss(0.3, 3)(logits, q)
    with pytest.raises(ValueError, match="expected 0 to 1"):
        SubclassDistillationLoss(1.5)


def test_an_optimal_student_of_equal_subclasses_says_what_kds_says():
    z, a = logits_and_coordinates(n=8, c=2, s=3)
    logits = torch.zeros(8, 6, dtype=torch.float64, requires_grad=True)
    q = pseudo_subclass_targets(z, a, 2.0, math.inf)
    optimizer = torch.optim.LBFGS([logits], max_iter=500, tolerance_grad=1e-12, tolerance_change=0)

    def closure():
        optimizer.zero_grad()
        loss = SubclassDistillationLoss()(logits, q)
        loss.backward()
        return loss

    optimizer.step(closure)
    torch.testing.assert_close(
        class_log_probs(logits.detach(), 3).exp(), torch.softmax(z / 2, 1), atol=1e-5, rtol=0
    )
