"""The directions of each class: what is removed, what is found, and what changes nothing."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from scipy import stats
from sklearn.base import clone
from sklearn.decomposition import PCA

from assay.errors import InputError
from assay.papers.distillation.lelp.method import SubspaceProjector
from assay.papers.distillation.lelp.method.moments import ClassMoments, random_rotation, row_space

PLAIN = {"null_space": False, "rotate": False, "normalize": False}


def null_space(weight):
    """P = I - W^+ W, by the book."""
    return torch.eye(weight.shape[1], dtype=weight.dtype) - torch.linalg.pinv(weight) @ weight


# --- the null space -----------------------------------------------------------------------------


def test_projected_embeddings_say_nothing_of_the_logits(outputs):
    basis = row_space(outputs.W)
    P = torch.eye(12, dtype=torch.float64) - basis.T @ basis
    torch.testing.assert_close(P, null_space(outputs.W))
    assert (outputs.W @ P @ outputs.h.T).abs().max() < 1e-10


@pytest.mark.parametrize("directions", ["principal", "random"])
def test_directions_lie_in_the_null_space(outputs, directions):
    projector = SubspaceProjector(4, directions=directions).fit(outputs.h, outputs.y, outputs.W)
    assert (projector.directions @ outputs.W.T).abs().max() < 1e-10


def test_coordinates_do_not_change_along_the_rows_of_the_weight(outputs):
    projector = SubspaceProjector(3).fit(outputs.h, outputs.y, outputs.W)
    moved = outputs.h + 5 * outputs.W[0]
    torch.testing.assert_close(projector.transform(moved), projector.transform(outputs.h))


def test_the_row_space_of_dependent_rows_has_their_rank():
    weight = torch.tensor([[1.0, 2.0, 0.0], [2.0, 4.0, 0.0], [0.0, 0.0, 3.0]])
    assert row_space(weight).shape == (2, 3)


def test_centered_rows_keep_what_all_classes_share(outputs):
    everything = row_space(outputs.W)
    differences = row_space(outputs.W, centered=True)
    assert (len(everything), len(differences)) == (2, 1)
    gap = outputs.W[0] - outputs.W[1]
    torch.testing.assert_close(differences[0].abs(), (gap / gap.norm()).abs())
    projector = SubspaceProjector(3, rows="centered").fit(outputs.h, outputs.y, outputs.W)
    assert (projector.directions @ gap).abs().max() < 1e-10
    assert (projector.directions @ outputs.W[0]).abs().max() > 1e-3


# --- the directions -----------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [400, 22], ids=["N > D", "D > N"])
def test_directions_are_those_of_scikit_learn(make_outputs, rows):
    outputs = make_outputs(rows=rows)
    projector = SubspaceProjector(3, rotate=False).fit(outputs.h, outputs.y, outputs.W)
    P = null_space(outputs.W)
    for label in (0, 1):
        own = outputs.h[outputs.y == label] @ P
        pca = PCA(3, svd_solver="full").fit(own.numpy())
        agreement = np.abs(np.sum(projector.directions[label].numpy() * pca.components_, axis=1))
        np.testing.assert_allclose(agreement, 1, atol=1e-9)
        coordinates = projector.transform(outputs.h[outputs.y == label])[:, label]
        variances = (coordinates * projector.scales[label]).var(0, correction=0)
        expected = pca.explained_variance_ * (len(own) - 1) / len(own)
        np.testing.assert_allclose(variances.numpy(), expected, rtol=1e-9)


def test_each_sign_is_fixed_by_the_largest_entry(outputs):
    projector = SubspaceProjector(4, rotate=False).fit(outputs.h, outputs.y, outputs.W)
    largest = projector.directions.abs().argmax(2, keepdim=True)
    assert (projector.directions.gather(2, largest) > 0).all()


@pytest.mark.parametrize("directions", ["principal", "random"])
@pytest.mark.parametrize("rotate", [True, False])
def test_directions_are_orthonormal(outputs, directions, rotate):
    projector = SubspaceProjector(5, rotate=rotate, directions=directions)
    U = projector.fit(outputs.h, outputs.y, outputs.W).directions
    torch.testing.assert_close(U @ U.transpose(1, 2), torch.eye(5, dtype=torch.float64).expand(2, 5, 5))


def test_coordinates_have_mean_zero_and_unit_mean_square_on_a_classs_own_rows(outputs):
    coordinates = SubspaceProjector(4).fit_transform(outputs.h, outputs.y, outputs.W)
    for label in (0, 1):
        own = coordinates[outputs.y == label, label]
        torch.testing.assert_close(own.mean(0), torch.zeros(4, dtype=torch.float64), atol=1e-10, rtol=0)
        assert own.square().mean().item() == pytest.approx(1)


# --- the rotation -------------------------------------------------------------------------------


def test_a_rotation_keeps_the_span_and_the_sum_of_variances(outputs):
    plain = SubspaceProjector(4, rotate=False, normalize=False).fit(outputs.h, outputs.y, outputs.W)
    rotated = SubspaceProjector(4, normalize=False).fit(outputs.h, outputs.y, outputs.W)
    for label in (0, 1):
        V, U = plain.directions[label], rotated.directions[label]
        torch.testing.assert_close(V.T @ V, U.T @ U)
        own = outputs.h[outputs.y == label]
        before, after = (p.transform(own)[:, label].var(0).sum() for p in (plain, rotated))
        assert before.item() == pytest.approx(after.item())
    assert not torch.allclose(plain.directions, rotated.directions)


def test_rotations_differ_between_classes_and_seeds_and_repeat_with_a_seed(outputs):
    first, again, other = (
        SubspaceProjector(3, seed=seed).fit(outputs.h, outputs.y, outputs.W).directions for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)
    generator = np.random.default_rng(0)
    assert not torch.allclose(random_rotation(3, generator), random_rotation(3, generator))


def test_random_rotations_follow_the_haar_measure():
    generator = np.random.default_rng(0)
    drawn = torch.stack([random_rotation(4, generator) for _ in range(3000)])
    torch.testing.assert_close(
        drawn @ drawn.transpose(1, 2), torch.eye(4, dtype=torch.float64).expand(3000, 4, 4)
    )
    # An entry of a Haar matrix in O(4) squared is Beta(1/2, 3/2), of either sign alike; half the determinants
    # are -1. Without the sign fix of QR the diagonal would not pass.
    assert stats.kstest(drawn[:, 0, 0].square().numpy(), stats.beta(0.5, 1.5).cdf).pvalue > 0.01
    assert abs((drawn[:, 0, 0] > 0).double().mean() - 0.5) < 0.03
    assert abs((torch.linalg.det(drawn) > 0).double().mean() - 0.5) < 0.03


def test_rotated_rows_have_equal_variance_in_expectation(outputs):
    own = outputs.h[outputs.y == 0]
    variances = torch.stack(
        [
            SubspaceProjector(3, normalize=False, seed=seed)
            .fit(outputs.h, outputs.y, outputs.W)
            .transform(own)[:, 0]
            .var(0)
            for seed in range(300)
        ]
    )
    mean = variances.mean(0)
    assert (mean / mean.mean() - 1).abs().max() < 0.1


# --- what changes nothing -----------------------------------------------------------------------


def test_a_constant_added_to_all_embeddings_changes_nothing(outputs):
    plain = SubspaceProjector(3).fit_transform(outputs.h, outputs.y, outputs.W)
    moved = SubspaceProjector(3).fit_transform(outputs.h + 1e4, outputs.y, outputs.W)
    torch.testing.assert_close(plain, moved, atol=1e-7, rtol=0)


def test_a_large_common_offset_costs_float32_no_digits(make_outputs):
    outputs = make_outputs(rows=2000)
    exact = SubspaceProjector(3, rotate=False).fit_transform(outputs.h, outputs.y, outputs.W)
    h = (outputs.h.float() + 64.0).float()  # 64 keeps the digits that matter in float32
    found = SubspaceProjector(3, rotate=False).fit_transform(h, outputs.y, outputs.W.float())
    torch.testing.assert_close(found.double(), exact, atol=2e-4, rtol=0)


def test_rotating_the_embedding_space_changes_coordinates_in_sign_only(outputs):
    R = torch.linalg.qr(
        torch.randn(12, 12, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    ).Q
    plain = SubspaceProjector(3, rotate=False).fit_transform(outputs.h, outputs.y, outputs.W)
    turned = SubspaceProjector(3, rotate=False).fit_transform(outputs.h @ R.T, outputs.y, outputs.W @ R.T)
    torch.testing.assert_close(plain.abs(), turned.abs())


def test_scale_of_the_embeddings_does_not_matter_when_normalized(outputs):
    plain = SubspaceProjector(3).fit_transform(outputs.h, outputs.y, outputs.W)
    scaled = SubspaceProjector(3).fit_transform(100 * outputs.h, outputs.y, outputs.W)
    torch.testing.assert_close(plain, scaled)


# --- chunks and precision -----------------------------------------------------------------------


@given(sizes=st.lists(st.integers(1, 60), min_size=2, max_size=6), seed=st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_streamed_moments_are_those_of_all_rows(sizes, seed):
    rows = torch.randn(sum(sizes), 7, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 30
    moments = ClassMoments(7)
    for chunk in rows.clone().split(sizes):
        moments.add(chunk.clone())
    torch.testing.assert_close(moments.mean(), rows.mean(0))
    covariance = torch.from_numpy(np.cov(rows.numpy().T, bias=True))
    assert moments.total_variance() == pytest.approx(covariance.trace().item())
    U = torch.eye(7, dtype=torch.float64)[:3]
    torch.testing.assert_close(moments.variances_along(U), covariance.diagonal()[:3])


@pytest.mark.parametrize("chunk", [1, 37, 400])
def test_chunks_give_what_all_rows_give(outputs, chunk):
    whole = SubspaceProjector(3).fit(outputs.h, outputs.y, outputs.W)
    streamed = SubspaceProjector(3)
    for h, y in zip(outputs.h.split(chunk), outputs.y.split(chunk), strict=True):
        streamed.partial_fit(h, y, outputs.W if streamed._weight is None else None)
    torch.testing.assert_close(streamed.transform(outputs.h), whole.transform(outputs.h))


def test_more_chunks_after_a_transform_count_too(outputs):
    projector = SubspaceProjector(3).partial_fit(outputs.h[:200], outputs.y[:200], outputs.W)
    projector.transform(outputs.h)
    projector.partial_fit(outputs.h[200:], outputs.y[200:])
    whole = SubspaceProjector(3).fit(outputs.h, outputs.y, outputs.W)
    torch.testing.assert_close(projector.transform(outputs.h), whole.transform(outputs.h))


def test_fit_starts_over(outputs, make_outputs):
    other = make_outputs(seed=9)
    projector = SubspaceProjector(3).fit(other.h, other.y, other.W).fit(outputs.h, outputs.y, outputs.W)
    expected = SubspaceProjector(3).fit(outputs.h, outputs.y, outputs.W)
    torch.testing.assert_close(projector.directions, expected.directions)


def test_embeddings_are_left_as_they_are(outputs):
    before = outputs.h.clone()
    SubspaceProjector(3).fit(outputs.h, outputs.y, outputs.W)
    assert torch.equal(outputs.h, before)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_sums_over_chunks_are_float64(make_outputs, dtype):
    outputs = make_outputs(rows=4000)
    h = outputs.h.to(dtype)
    exact = SubspaceProjector(2, rotate=False).fit(h.double(), outputs.y, outputs.W)
    found = SubspaceProjector(2, rotate=False).fit(h, outputs.y, outputs.W.to(dtype))
    assert found.directions.dtype == found.means.dtype == torch.float64
    torch.testing.assert_close(found.means, exact.means, atol=1e-5, rtol=0)
    # half precision rounds the weight too, and with it the space that is removed
    torch.testing.assert_close(
        found.directions, exact.directions, atol=1e-5 if dtype == torch.float32 else 2e-2, rtol=0
    )


# --- files --------------------------------------------------------------------------------------


def test_a_saved_projector_loads_again(outputs, tmp_path):
    projector = SubspaceProjector(3, rows="centered", seed=4, directions="random")
    projector.fit(outputs.h, outputs.y, outputs.W).save(tmp_path)
    loaded = SubspaceProjector.load(tmp_path)
    assert loaded.get_params() == projector.get_params()
    assert torch.equal(loaded.transform(outputs.h), projector.transform(outputs.h))
    with pytest.raises(InputError, match="has no record"):
        SubspaceProjector.load(tmp_path / "elsewhere")


def test_it_moves_and_has_a_state_as_a_module(outputs):
    projector = SubspaceProjector(3).partial_fit(outputs.h, outputs.y, outputs.W)
    fresh = SubspaceProjector(3)
    fresh.load_state_dict(projector.state_dict())
    assert torch.equal(fresh(outputs.h), projector(outputs.h))
    assert fresh.to("meta").directions.device.type == "meta"
    assert SubspaceProjector(3).state_dict() == {}


def test_it_is_cloned_with_its_settings_and_without_what_it_learned(outputs):
    projector = SubspaceProjector(3, directions="random", seed=2).fit(outputs.h, outputs.y, outputs.W)
    copy = clone(projector)
    assert copy.get_params() == projector.get_params()
    assert repr(copy).startswith("SubspaceProjector(n_subclasses=3, null_space=True")
    with pytest.raises(ValueError, match="not fitted"):
        copy.transform(outputs.h)
    assert copy.set_params(rotate=False).get_params()["rotate"] is False


# --- bad input ----------------------------------------------------------------------------------


def test_nan_embeddings_are_refused(outputs):
    for value in (torch.nan, torch.inf):
        h = outputs.h.clone()
        h[7, 3] = value
        with pytest.raises(ValueError, match="NaN or infinite"):
            SubspaceProjector(3).fit(h, outputs.y, outputs.W)


def test_a_nan_weight_is_refused(outputs):
    with pytest.raises(ValueError, match="weight of the last layer has NaN"):
        SubspaceProjector(3).fit(outputs.h, outputs.y, outputs.W * torch.nan)


def test_an_absent_class_is_refused(outputs):
    with pytest.raises(ValueError, match="Class 1 has no rows"):
        SubspaceProjector(3).fit(outputs.h, torch.zeros_like(outputs.y), outputs.W)


def test_labels_beyond_the_last_layer_are_refused(outputs):
    with pytest.raises(ValueError, match="Labels run from 0 to 5; the last layer has 2 rows"):
        SubspaceProjector(3).fit(outputs.h, outputs.y * 5, outputs.W)


def test_more_subclasses_than_rows_are_refused(make_outputs):
    outputs = make_outputs(rows=8)
    with pytest.raises(ValueError, match="Class 0 has 4 rows; 4 subclasses need at least 5"):
        SubspaceProjector(4).fit(outputs.h, outputs.y, outputs.W)


def test_more_subclasses_than_directions_are_refused(outputs):
    flat = outputs.h.clone()
    flat[:, 3:] = 0
    with pytest.raises(ValueError, match=r"vary in only \d directions outside the span of the logits"):
        SubspaceProjector(4).fit(flat, outputs.y, outputs.W)
    with pytest.raises(ValueError, match="vary in only 3 directions, too few for 4 subclasses"):
        SubspaceProjector(4, **PLAIN).fit(flat, outputs.y, outputs.W)


def test_constant_embeddings_are_refused(outputs):
    with pytest.raises(ValueError, match="vary in only 0 directions"):
        SubspaceProjector(1).fit(torch.ones_like(outputs.h), outputs.y, outputs.W)


def test_embeddings_of_another_width_are_refused(outputs):
    begun = SubspaceProjector(3).partial_fit(outputs.h, outputs.y, outputs.W)
    with pytest.raises(ValueError, match="not the input of that layer"):
        begun.partial_fit(outputs.h[:, :5], outputs.y)
    projector = SubspaceProjector(3).fit(outputs.h, outputs.y, outputs.W)
    with pytest.raises(ValueError, match="have 5 dimensions; the projector was fitted on 12"):
        projector.transform(outputs.h[:, :5])


def test_misuse_is_refused(outputs):
    with pytest.raises(ValueError, match="n_subclasses is 0"):
        SubspaceProjector(0)
    with pytest.raises(ValueError, match="not fitted"):
        SubspaceProjector(2).transform(outputs.h)
    with pytest.raises(ValueError, match="first partial_fit needs `weight`"):
        SubspaceProjector(2).partial_fit(outputs.h, outputs.y)
    with pytest.raises(ValueError, match="0 rows"):
        SubspaceProjector(2).fit(outputs.h[:0], outputs.y[:0], outputs.W)
    begun = SubspaceProjector(2).partial_fit(outputs.h, outputs.y, outputs.W)
    with pytest.raises(ValueError, match="not the first chunk's"):
        begun.partial_fit(outputs.h, outputs.y, 2 * outputs.W)
