"""Victims learn what can be learnt, the same for the same random stream."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from assay.errors import InputError
from assay.models import ConvNet
from assay.papers.privacy.noise import ErrorMinimising, error_minimising_noise, random_sign_noise
from assay.papers.privacy.options import Victim
from assay.papers.privacy.victims import SGD, build_network, test_accuracy, train_network

EPS = 8 / 255
SMALL = replace(SGD, batch_size=32, learning_rate=0.05)


def small() -> nn.Module:
    return ConvNet(3, 2, width=4, depth=2)


def linear() -> nn.Module:
    """Return a network whose first class is favoured by bright pixels."""
    layer = nn.Linear(3 * 2 * 2, 2)
    nn.init.zeros_(layer.bias)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0], [-1.0]]).expand(2, 12))
    return nn.Sequential(nn.Flatten(), layer)


def stripes(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return noisy pictures with horizontal (0) or vertical (1) stripes."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 2
    wave = torch.arange(8) % 2 * 0.3
    pictures = torch.where(labels.view(-1, 1, 1, 1).bool(), wave.view(1, 1, 1, 8), wave.view(1, 1, 8, 1))
    return (0.2 + pictures + 0.3 * torch.rand(count, 3, 8, 8, generator=random)).clamp(0, 1), labels


def stream(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", ["convnet", "resnet18"])
def test_networks_give_the_input_of_their_head(name: str) -> None:
    torch.manual_seed(0)
    network = build_network(Victim(name, width=4), channels=3, classes=5).eval()  # type: ignore[arg-type]
    images = torch.rand(2, 3, 32, 32)
    features = network.features(images)
    assert features.shape == (2, 32 if name == "resnet18" else 16)
    torch.testing.assert_close(network(images), network.head(features))


def test_resnet18_has_the_published_number_of_weights() -> None:
    network = build_network(Victim("resnet18"), channels=3, classes=10)
    assert sum(parameter.numel() for parameter in network.parameters()) == 11_173_962


def test_a_victim_learns_and_is_the_same_again() -> None:
    pixels, labels = stripes(96, seed=0)
    first = train_network(small, SMALL, (pixels, labels), stream(0))
    before = torch.random.get_rng_state()
    second = train_network(small, SMALL, (pixels, labels), stream(0))
    other = train_network(small, SMALL, (pixels, labels), stream(1))
    assert torch.equal(before, torch.random.get_rng_state())
    assert not first.training
    unseen = stripes(64, seed=1)
    assert test_accuracy(first, *unseen) > 0.95
    assert torch.equal(first(pixels), second(pixels))
    assert not torch.equal(first(pixels), other(pixels))


def test_a_last_batch_of_one_picture_is_left_out() -> None:
    pixels, labels = stripes(33, seed=0)
    training = replace(SMALL, epochs=None, steps=2)
    network = train_network(small, training, (pixels, labels), stream(0))
    assert torch.isfinite(network(pixels)).all()


def test_random_noise_has_both_signs_and_the_radius() -> None:
    noise = random_sign_noise(10, (3, 8, 8), EPS, stream(0))
    assert noise.shape == (10, 3, 8, 8)
    assert torch.allclose(noise.abs(), torch.tensor(EPS))
    assert abs(noise.sign().mean()) < 0.1
    assert torch.equal(noise, random_sign_noise(10, (3, 8, 8), EPS, stream(0)))


@pytest.mark.parametrize("class_wise", [True, False])
def test_error_minimising_noise_makes_pictures_look_learnt_to_another_network(class_wise: bool) -> None:
    pixels, labels = stripes(128, seed=0)
    eps = 2 * EPS
    steps = {"rounds": 10, "train_steps": 8, "noise_steps": 10}
    em = ErrorMinimising(class_wise, **steps, batch_size=32, learning_rate=0.05)
    noise = error_minimising_noise(small, pixels, labels, eps, stream(0), em)
    assert noise.shape == ((2, 3, 8, 8) if class_wise else pixels.shape)
    assert noise.abs().max() <= eps + 1e-7
    network = train_network(small, SMALL, (pixels, labels), stream(5))
    perturbed = (pixels + (noise[labels] if class_wise else noise)).clamp(0, 1)
    assert cross_entropy(network(perturbed), labels) < 0.8 * cross_entropy(network(pixels), labels)


def test_error_minimising_noise_refuses_what_is_no_picture() -> None:
    with pytest.raises(InputError, match="normalised"):
        error_minimising_noise(small, torch.randn(4, 3, 8, 8), torch.zeros(4).long(), EPS, stream(0))
    with pytest.raises(InputError, match="above 0"):
        error_minimising_noise(small, torch.rand(4, 3, 8, 8), torch.zeros(4).long(), 0.0, stream(0))


@pytest.mark.parametrize("class_wise", [True, False])
def test_each_noise_step_starts_from_pictures_within_the_range(class_wise: bool) -> None:
    """With fixed weights: class 0 brightens by eps / 10 a step, from a white picture by nothing."""
    images = torch.stack([torch.ones(3, 2, 2), torch.full((3, 2, 2), 0.5), torch.full((3, 2, 2), 0.5)])
    labels = torch.tensor([0, 0, 1])
    em = ErrorMinimising(
        class_wise, rounds=2, train_steps=1, noise_steps=1, stop_error=-1.0, learning_rate=0.0
    )
    noise = error_minimising_noise(linear, images, labels, 0.1, stream(0), em)[:, 0, 0, 0]
    # 0.01 beyond white is taken back before the second step, and so is not built up
    expected = [(0.01 + 0.02) / 2, -0.02] if class_wise else [0.01, 0.02, -0.02]
    torch.testing.assert_close(noise, torch.tensor(expected))


def test_published_noise_steps_and_stop_errors_are_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    monkeypatch.setattr(nn.Flatten, "forward", lambda self, x: (calls.append(1), x.flatten(1))[1])
    images, labels = torch.full((2, 3, 2, 2), 0.5), torch.tensor([0, 1])
    for class_wise, steps in ((True, 1), (False, 20)):
        calls.clear()
        em = ErrorMinimising(class_wise, rounds=1, train_steps=1, learning_rate=0.0)
        error_minimising_noise(linear, images, labels, EPS, stream(0), em)
        assert len(calls) == 1 + steps + 1  # training, noise, evaluation
