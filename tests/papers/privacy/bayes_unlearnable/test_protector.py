"""The protector climbs the exact gradient, stays in its ball, and holds one batch at a time."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from assay.errors import InputError
from assay.papers.privacy.bayes_unlearnable import (
    BayesErrorEstimator,
    BayesErrorProtector,
    FeatureMap,
    pixel_gradient,
    raw_pixels,
)
from assay.papers.privacy.victims import SGD

EPS = 16 / 255
INNER = dataclasses.replace(SGD, epochs=2, batch_size=16)
Make = Callable[[], nn.Module]


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Headed(nn.Module):
    """A network of a user: no `features`, its last layer is called `fc`."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(192, 16), nn.ReLU())
        self.fc = nn.Linear(16, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.body(images))


# --- features -------------------------------------------------------------------------------------


def test_features_are_what_the_last_layer_is_given(pictures: tuple[Tensor, Tensor]) -> None:
    torch.manual_seed(0)
    network, images = Headed(), pictures[0]
    expected = network.body(images)
    for layer in (None, "fc", lambda net, batch: net.body(batch)):
        torch.testing.assert_close(FeatureMap(network, layer).all(images, batch_size=7), expected.detach())


def test_a_layer_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="no layer 'head'; its parts are body, fc"):
        FeatureMap(Headed(), "head")
    with pytest.raises(ValueError, match="name feature_layer"):
        FeatureMap(nn.Flatten())


@pytest.mark.parametrize("batch_size", [5, 48])
def test_two_passes_give_the_gradient_of_one_graph(
    pictures: tuple[Tensor, Tensor], make_model: Make, batch_size: int
) -> None:
    torch.manual_seed(0)
    network, bayes = make_model().double().eval(), BayesErrorEstimator(chunk=10)
    images, labels = pictures[0].double(), pictures[1]
    leaf = images.clone().requires_grad_()
    (expected,) = torch.autograd.grad(bayes(network.features(leaf), labels), leaf)
    value, gradient = pixel_gradient(FeatureMap(network), images, labels, bayes, batch_size)
    assert value == pytest.approx(bayes.mean(network.features(images).detach(), labels), abs=1e-12)
    torch.testing.assert_close(gradient, expected, rtol=1e-8, atol=1e-10 * float(expected.abs().max()))
    assert all(parameter.requires_grad and parameter.grad is None for parameter in network.parameters())


def test_the_graph_held_does_not_grow_with_the_number_of_pictures(
    pictures: tuple[Tensor, Tensor], make_model: Make
) -> None:
    def largest_graph(repeats: int) -> int:
        held, most = 0, 0

        def keep(tensor: Tensor) -> tuple[Tensor, Counted]:
            return tensor, Counted(tensor.nbytes)

        class Counted:
            def __init__(self, size: int) -> None:
                nonlocal held, most
                self.size = size
                held += size
                most = max(most, held)

            def __del__(self) -> None:
                nonlocal held
                held -= self.size

        images, labels = (tensor.repeat(repeats, *[1] * (tensor.ndim - 1)) for tensor in pictures)
        network = FeatureMap(make_model().eval())
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda pair: pair[0]):
            pixel_gradient(network, images, labels, BayesErrorEstimator(), batch_size=16)
        return most

    assert 0 < largest_graph(8) <= 1.01 * largest_graph(2)


# --- the ascent -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", ["rbf", "logistic"])
def test_the_estimate_never_falls_on_fixed_features(
    pictures: tuple[Tensor, Tensor], make_model: Make, kernel: str
) -> None:
    protector = BayesErrorProtector(
        make_model,
        eps=EPS,
        outer_steps=12,
        inner=INNER,
        optimizer="sign",
        lr=0.2 / 255,
        refresh_every=0,
        estimator=BayesErrorEstimator(kernel),  # type: ignore[arg-type]
    )
    history = protector.fit(*pictures, stream()).history
    values = [step.bayes_error for step in history]
    assert [step.retrained for step in history] == [True] + [False] * 11
    assert all(later >= before - 1e-7 for before, later in itertools.pairwise(values))
    assert values[-1] > values[0]


@pytest.mark.parametrize(("norm", "eps"), [("linf", EPS), ("l2", 0.4)])
@pytest.mark.parametrize("optimizer", ["adamw", "sign"])
def test_pictures_stay_in_their_ball(
    pictures: tuple[Tensor, Tensor], make_model: Make, norm: str, eps: float, optimizer: str
) -> None:
    images, labels = pictures
    before = images.clone()
    protector = BayesErrorProtector(
        make_model,
        eps=eps,
        norm=norm,  # type: ignore[arg-type]
        outer_steps=4,
        inner=INNER,
        optimizer=optimizer,  # type: ignore[arg-type]
        lr=eps,
        refresh_every=2,
    )
    found = protector.fit(images, labels, stream())
    change = (found.images - images).flatten(1)
    length = change.abs().amax(1) if norm == "linf" else change.norm(dim=1)
    assert length.max() <= eps + 1e-6
    assert length.max() > eps / 2
    assert found.images.min() >= 0
    assert found.images.max() <= 1
    assert torch.equal(images, before)
    assert [step.retrained for step in found.history] == [True, False, True, False]


def test_the_same_stream_protects_the_same_way(pictures: tuple[Tensor, Tensor], make_model: Make) -> None:
    seen: list[int] = []
    protector = BayesErrorProtector(make_model, outer_steps=2, inner=INNER)
    first = protector.fit(*pictures, stream(1), on_step=lambda step: seen.append(step.number))
    assert torch.equal(first.images, protector.fit(*pictures, stream(1)).images)
    assert not torch.equal(first.images, protector.fit(*pictures, stream(2)).images)
    assert seen == [1, 2]


def test_weight_decay_darkens(pictures: tuple[Tensor, Tensor], make_model: Make) -> None:
    """The side effect of the released optimizer, which is why ours is 0."""
    images, labels = pictures
    plain, decayed = (
        BayesErrorProtector(make_model, outer_steps=1, inner=INNER, weight_decay=decay).fit(
            images, labels, stream()
        )
        for decay in (0.0, 1.0)
    )
    assert decayed.images.mean() < plain.images.mean()


def test_a_users_own_network_and_raw_pixels_will_do(pictures: tuple[Tensor, Tensor]) -> None:
    for layer in ("fc", raw_pixels):
        protector = BayesErrorProtector(Headed, layer, outer_steps=2, inner=INNER)
        assert not torch.equal(protector.fit(*pictures, stream()).images, pictures[0])


# --- bad input ------------------------------------------------------------------------------------


def test_unusable_pictures_and_radii_are_refused(pictures: tuple[Tensor, Tensor], make_model: Make) -> None:
    images, labels = pictures
    protector = BayesErrorProtector(make_model, inner=INNER)
    with pytest.raises(InputError, match="divide them by 255"):
        protector.fit(images * 255, labels, stream())
    with pytest.raises(InputError, match="normalised"):
        protector.fit((images - 0.5) / 0.2, labels, stream())
    with pytest.raises(ValueError, match="one class"):
        protector.fit(images, torch.zeros_like(labels), stream())
    for eps, norm in ((0.0, "linf"), (0.5, "linf"), (8.0, "linf"), (10.0, "l2")):
        with pytest.raises(InputError, match="eps must be above 0"):
            BayesErrorProtector(make_model, eps=eps, norm=norm).fit(images, labels, stream())  # type: ignore[arg-type]


def test_options_without_meaning_are_refused(make_model: Make) -> None:
    with pytest.raises(ValueError, match="outer_steps"):
        BayesErrorProtector(make_model, outer_steps=-1)
    with pytest.raises(ValueError, match="lr above 0"):
        BayesErrorProtector(make_model, lr=0.0)
