"""The estimator against closed forms, limits, and autograd of the plain formula."""

from __future__ import annotations

import pytest
import sklearn.datasets
import torch
from torch import Tensor

from assay.papers.privacy.bayes_unlearnable import BayesErrorEstimator, mixture_bayes_error_lower_bound

KERNELS = ("rbf", "logistic")


def points(
    n: int = 40, d: int = 6, classes: int = 3, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(0)
    labels = torch.arange(n) % classes
    centres = torch.rand(classes, d, generator=random)
    return (centres[labels] + 0.5 * torch.randn(n, d, generator=random)).to(dtype), labels


def plain_estimate(features: Tensor, labels: Tensor, bayes: BayesErrorEstimator) -> Tensor:
    """Return the mean by the formula as it is written, for autograd; the released code's 1e-8 left out."""
    if bayes.normalize == "absmax":
        features = features / (features.abs().max() + 1e-8)
    products = features @ features.T
    if bayes.kernel == "rbf":
        squares = features.square().sum(1)
        distances = (squares[:, None] + squares[None] - 2 * products).clamp(min=0)
        kernel = torch.exp(-distances / (2 * bayes.sigma**2))
    else:
        kernel = torch.sigmoid(products)
    kernel = kernel * (1 - torch.eye(len(features), dtype=features.dtype))
    posterior = torch.stack([kernel[:, labels == c].sum(1) for c in labels.unique()], 1)
    return (1 - (posterior / kernel.sum(1, keepdim=True)).amax(1)).mean()


def autograd_of_plain(features: Tensor, labels: Tensor, bayes: BayesErrorEstimator) -> Tensor:
    leaf = features.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(plain_estimate(leaf, labels, bayes), leaf)
    return gradient


# --- closed forms and limits ----------------------------------------------------------------------


def test_two_far_pairs_have_no_error() -> None:
    features = torch.tensor([[0.0], [0.0], [1.0], [1.0]])
    bayes = BayesErrorEstimator(sigma=0.05)
    assert bayes.mean(features, torch.tensor([0, 0, 1, 1])) == pytest.approx(0, abs=1e-6)


def test_a_point_among_purely_wrong_neighbours_has_no_error() -> None:
    """The maximum is over all classes, not over the point's own."""
    features = torch.tensor([[0.0], [0.0], [1.0], [1.0]])
    bayes = BayesErrorEstimator(sigma=0.05)
    labels = torch.tensor([0, 1, 1, 0])
    assert bayes.mean(features, labels) == pytest.approx(0, abs=1e-6)
    assert bayes.posterior(features, labels)[0].tolist() == pytest.approx([0, 1])


@pytest.mark.parametrize(("classes", "each"), [(2, 2), (3, 4), (10, 5)])
@pytest.mark.parametrize("kernel", KERNELS)
def test_identical_points_have_the_leave_one_out_error(kernel: str, classes: int, each: int) -> None:
    total = classes * each
    bayes = BayesErrorEstimator(kernel)  # type: ignore[arg-type]
    value = bayes.mean(torch.ones(total, 4), torch.arange(total) % classes)
    assert value == pytest.approx(1 - each / (total - 1))


def test_a_wide_kernel_gives_the_same_as_identical_points() -> None:
    features, labels = points(30)
    assert BayesErrorEstimator(sigma=1e6).mean(features, labels) == pytest.approx(1 - 10 / 29)


def test_a_narrow_kernel_is_decided_by_the_nearest_neighbour() -> None:
    """Without logarithms every kernel value is 0 there, and the released formula gives 1."""
    features, labels = points(30)
    bayes = BayesErrorEstimator(sigma=1e-4, normalize="none")
    distances = torch.cdist(features, features).fill_diagonal_(torch.inf)
    nearest = labels[distances.argmin(1)]
    assert torch.equal(bayes.posterior(features, labels).argmax(1), nearest)
    assert bayes.mean(features, labels) == pytest.approx(0, abs=1e-9)


def test_half_moons_have_a_small_error_that_falls_with_their_separation() -> None:
    pictures, labels = sklearn.datasets.make_moons(2000, noise=0.2, random_state=0)
    features, classes = torch.from_numpy(pictures), torch.from_numpy(labels)
    bayes = BayesErrorEstimator(sigma=0.3, normalize="none")

    def shifted(by: float) -> float:
        return bayes.mean(features + by * classes[:, None] * torch.tensor([0.0, -1.0]), classes)

    assert 0.005 < shifted(0) < 0.15
    assert shifted(0.5) < shifted(0) < shifted(-0.3) < 0.5


def test_the_estimate_is_that_of_the_plain_formula() -> None:
    features, labels = points()
    bayes = BayesErrorEstimator()
    assert bayes.mean(features, labels) == pytest.approx(
        plain_estimate(features, labels, bayes).item(), abs=1e-12
    )


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_error_is_below_that_of_guessing(kernel: str) -> None:
    features, labels = points(300, classes=4)
    bayes = BayesErrorEstimator(kernel)  # type: ignore[arg-type]
    errors = bayes.per_sample(features, labels)
    assert errors.min() >= 0
    assert errors.max() <= 1 - 1 / 4


# --- invariances ----------------------------------------------------------------------------------


def test_scale_permutation_and_shift_change_nothing() -> None:
    features, labels = points()
    bayes = BayesErrorEstimator(normalize="none")
    errors = bayes.per_sample(features, labels)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(1))
    wider = BayesErrorEstimator(sigma=3 * 0.3, normalize="none")
    torch.testing.assert_close(wider.per_sample(3 * features, labels), errors)
    torch.testing.assert_close(bayes.per_sample(features[order], labels[order]), errors[order])
    torch.testing.assert_close(bayes.per_sample(features + 5, labels), errors)
    gradient = bayes.gradient(features, labels)
    torch.testing.assert_close(bayes.gradient(features[order], labels[order]), gradient[order])
    assert gradient.sum(0).abs().max() < 1e-15


@pytest.mark.parametrize("kernel", KERNELS)
def test_chunks_change_nothing(kernel: str) -> None:
    features, labels = points(41)
    whole = BayesErrorEstimator(kernel, chunk=None).mean_and_gradient(features, labels)  # type: ignore[arg-type]
    for chunk in (1, 7, 41, 1000):
        value, gradient = BayesErrorEstimator(kernel, chunk=chunk).mean_and_gradient(features, labels)  # type: ignore[arg-type]
        assert value == pytest.approx(whole[0], abs=1e-14)
        torch.testing.assert_close(gradient, whole[1], rtol=1e-11, atol=1e-16)


# --- the gradient ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("normalize", ["absmax", "none"])
@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float64, 1e-8), (torch.float32, 1e-4)])
def test_the_gradient_is_that_of_autograd(
    kernel: str, normalize: str, dtype: torch.dtype, rtol: float
) -> None:
    features, labels = points(dtype=dtype)
    bayes = BayesErrorEstimator(kernel, normalize=normalize, chunk=16)  # type: ignore[arg-type]
    expected = autograd_of_plain(features, labels, bayes)
    gradient = bayes.gradient(features, labels)
    torch.testing.assert_close(gradient, expected, rtol=rtol, atol=rtol * float(expected.abs().max()) / 10)


def test_the_gradient_is_of_the_mean_where_the_released_one_is_of_the_sum() -> None:
    """The released function's formula, row by row with differences: coef_ij k_ij (F_i - F_j) / sigma²."""
    features, labels = points(12)
    features = features / 5  # so close that the released 1e-8 does not matter
    bayes = BayesErrorEstimator(normalize="none")
    kernel = torch.exp(-torch.cdist(features, features).square() / (2 * 0.3**2)).fill_diagonal_(0)
    total = kernel.sum(1, keepdim=True) + 1e-8
    posterior = torch.stack([kernel[:, labels == c].sum(1) for c in range(3)], 1)
    member = (labels[None] == posterior.argmax(1, keepdim=True)).double()
    agreeing = posterior.amax(1, keepdim=True)
    pull = ((member * total - agreeing) / total**2 * kernel / 0.3**2)[:, :, None]
    difference = features[:, None] - features[None]
    released = (pull * difference).sum(1) - (pull * difference).sum(0)
    torch.testing.assert_close(bayes.gradient(features, labels), released / 12, rtol=1e-5, atol=1e-9)


def test_autograd_passes_through_the_estimate() -> None:
    features, labels = points()
    bayes = BayesErrorEstimator()
    leaf = features.clone().requires_grad_()
    (3 * bayes(leaf * 2, labels)).backward()
    torch.testing.assert_close(leaf.grad, 6 * bayes.gradient(2 * features, labels))
    small, classes = points(8, 2)
    assert torch.autograd.gradcheck(lambda each: bayes(each, classes), small.requires_grad_())


def test_coinciding_points_have_a_finite_gradient() -> None:
    features, labels = points()
    gradient = BayesErrorEstimator().gradient(torch.cat([features, features]), torch.cat([labels, labels]))
    assert torch.isfinite(gradient).all()


# --- the bound ------------------------------------------------------------------------------------


def test_a_mixture_keeps_its_share_of_the_error() -> None:
    random = torch.Generator().manual_seed(0)
    for _ in range(200):
        tables = torch.rand(2, 7, 3, generator=random, dtype=torch.float64)
        clean, protected = tables / tables.sum((1, 2), keepdim=True)
        ratio = float(torch.rand((), generator=random))
        mixture = (1 - ratio) * clean + ratio * protected
        errors = [float(1 - joint.amax(1).sum()) for joint in (clean, protected, mixture)]
        assert errors[2] >= mixture_bayes_error_lower_bound(errors[0], errors[1], ratio) - 1e-12


def test_the_bound_refuses_what_is_no_share() -> None:
    assert mixture_bayes_error_lower_bound(0.1, 0.5, 0.25) == pytest.approx(0.2)
    with pytest.raises(ValueError, match=r"ratio must be between 0 and 1, got 1\.5"):
        mixture_bayes_error_lower_bound(0.1, 0.5, 1.5)


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("features", "labels", "message"),
    [
        (torch.rand(4, 2), torch.zeros(4).long(), "with one class the Bayes error is always 0"),
        (torch.rand(4, 2), torch.tensor([-1, 0, 1, 1]), "classes from 0, got -1"),
        (torch.rand(1, 2), torch.tensor([0]), "at least 2 points"),
        (torch.zeros(4, 2), torch.tensor([0, 1, 0, 1]), "All features are 0"),
        (torch.full((4, 2), torch.nan), torch.tensor([0, 1, 0, 1]), "NaN"),
    ],
)
def test_unusable_points_are_refused(features: Tensor, labels: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BayesErrorEstimator().gradient(features, labels)


def test_a_kernel_of_too_many_points_needs_chunks() -> None:
    features, labels = torch.rand(20_001, 1), torch.arange(20_001) % 2
    with pytest.raises(ValueError, match="set chunk"):
        BayesErrorEstimator(chunk=None).mean(features, labels)


@pytest.mark.parametrize("options", [{"kernel": "cubic"}, {"sigma": 0.0}, {"chunk": 0}, {"normalize": "l2"}])
def test_options_without_meaning_are_refused(options: dict[str, object]) -> None:
    with pytest.raises((ValueError, TypeError), match=next(iter(options))):
        BayesErrorEstimator(**options)  # type: ignore[arg-type]
