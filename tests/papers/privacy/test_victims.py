"""Victims learn what can be learnt, the same for the same random stream."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy

from assay.errors import InputError
from assay.papers.privacy.noise import error_minimising_noise, random_sign_noise
from assay.papers.privacy.options import ErrorMinimising, Victim
from assay.papers.privacy.victims import build_network, test_accuracy, train_victim

EPS = 8 / 255
SMALL = Victim(width=4, depth=2, epochs=12, batch_size=32, learning_rate=0.05)


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
    network = build_network(name, channels=3, classes=5, width=4).eval()
    images = torch.rand(2, 3, 32, 32)
    features = network.features(images)
    assert features.shape == (2, 32 if name == "resnet18" else 16)
    torch.testing.assert_close(network(images), network.head(features))


def test_resnet18_has_the_published_number_of_weights() -> None:
    network = build_network("resnet18", channels=3, classes=10)
    assert sum(parameter.numel() for parameter in network.parameters()) == 11_173_962


def test_an_unknown_network_is_refused() -> None:
    with pytest.raises(InputError, match="'vgg'"):
        build_network("vgg", 3, 2)


def test_a_victim_learns_and_is_the_same_again() -> None:
    pixels, labels = stripes(96, seed=0)
    first = train_victim(SMALL, pixels, labels, 2, stream(0))
    before = torch.random.get_rng_state()
    second = train_victim(SMALL, pixels, labels, 2, stream(0))
    other = train_victim(SMALL, pixels, labels, 2, stream(1))
    assert torch.equal(before, torch.random.get_rng_state())
    assert not first.training
    unseen = stripes(64, seed=1)
    assert test_accuracy(first, *unseen) > 0.95
    assert torch.equal(first(pixels), second(pixels))
    assert not torch.equal(first(pixels), other(pixels))


def test_a_last_batch_of_one_picture_is_left_out() -> None:
    pixels, labels = stripes(33, seed=0)
    network = train_victim(SMALL, pixels, labels, 2, stream(0), steps=2)
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
    em = ErrorMinimising(class_wise, rounds=10, train_steps=8, noise_steps=10)
    noise = error_minimising_noise(pixels, labels, 2, eps, stream(0), em=em, victim=SMALL)
    assert noise.shape == ((2, 3, 8, 8) if class_wise else pixels.shape)
    assert noise.abs().max() <= eps + 1e-7
    network = train_victim(SMALL, pixels, labels, 2, stream(5))
    perturbed = (pixels + (noise[labels] if class_wise else noise)).clamp(0, 1)
    assert cross_entropy(network(perturbed), labels) < 0.8 * cross_entropy(network(pixels), labels)


def test_error_minimising_noise_refuses_what_is_no_picture() -> None:
    with pytest.raises(InputError, match="normalised"):
        error_minimising_noise(torch.randn(4, 3, 8, 8), torch.zeros(4).long(), 2, EPS, stream(0))
    with pytest.raises(InputError, match="above 0"):
        error_minimising_noise(torch.rand(4, 3, 8, 8), torch.zeros(4).long(), 2, 0.0, stream(0))
