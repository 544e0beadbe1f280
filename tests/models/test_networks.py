from __future__ import annotations

import pytest
import torch
from torch import nn

from assay.models import BagOfEmbeddings, ConvNet, hash_words, mlp


def test_a_perceptron_without_hidden_layers_is_linear() -> None:
    network = mlp(3, (), 2)
    x = torch.randn(5, 3)
    torch.testing.assert_close(network(x), x @ network.head.weight.T + network.head.bias)
    assert torch.equal(network.features(x), x)


def test_a_perceptron_is_the_composition_of_its_layers() -> None:
    network = mlp(3, (7, 4), 2)
    first, second = [layer for layer in network.body if isinstance(layer, nn.Linear)]
    x = torch.randn(5, 3)
    expected = network.head(second(first(x).relu()).relu())
    torch.testing.assert_close(network(x), expected)
    assert sum(parameter.numel() for parameter in network.parameters()) == 3 * 7 + 7 + 7 * 4 + 4 + 4 * 2 + 2


def test_dropout_acts_while_training_only() -> None:
    network = mlp(3, (64,), 2, dropout=0.5)
    x = torch.randn(4, 3)
    assert not torch.equal(network(x), network(x))
    network.eval()
    assert torch.equal(network(x), network(x))


@pytest.mark.parametrize("size", [1, 8, 28, 33])
def test_a_convolutional_network_takes_images_of_any_size(size: int) -> None:
    network = ConvNet(3, 10, width=4, depth=4).eval()
    images = torch.randn(2, 3, size, size)
    assert network.features(images).shape == (2, 32)
    torch.testing.assert_close(network(images), network.head(network.features(images)))


def test_a_convolutional_network_has_the_blocks_it_says() -> None:
    network = ConvNet(1, 5, width=8, depth=3)
    assert [layer.out_channels for layer in network.body if isinstance(layer, nn.Conv2d)] == [8, 16, 32]
    kinds = [type(layer) for layer in network.body]
    assert kinds == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU] + 2 * [
        nn.MaxPool2d,
        nn.Conv2d,
        nn.BatchNorm2d,
        nn.ReLU,
    ]
    with pytest.raises(ValueError, match="depth"):
        ConvNet(1, 5, depth=0)


def test_one_convolutional_block_is_the_mean_of_its_maps() -> None:
    network = ConvNet(1, 2, width=3, depth=1).eval()
    images = torch.randn(2, 1, 6, 6)
    convolution = next(iter(network.body))
    maps = nn.functional.conv2d(images, convolution.weight, padding=1) / (1 + 1e-5) ** 0.5
    torch.testing.assert_close(network.features(images), maps.relu().mean((2, 3)))


def test_a_bag_is_the_mean_of_its_words_in_any_order() -> None:
    network = BagOfEmbeddings(50, 6, 3)
    table = network.embedding.weight
    words = torch.tensor([[4, 9, 9, 0], [9, 4, 9, 0], [0, 0, 0, 0]])
    features = network.features(words)
    torch.testing.assert_close(features[0], (table[4] + 2 * table[9]) / 3)
    torch.testing.assert_close(features[1], features[0])
    assert torch.equal(features[2], torch.zeros(6))
    torch.testing.assert_close(network(words), network.head(features))


def test_hashed_words_ignore_case_and_split_at_signs() -> None:
    ids = hash_words(["The dog, the DOG!", "dog", ""], buckets=10_000, max_words=10)
    assert ids.shape == (3, 6)
    the, dog, comma, again, shout, mark = ids[0].tolist()
    assert (the, dog) == (again, shout)
    assert len({the, dog, comma, mark}) == 4
    assert ids[1].tolist() == [dog, 0, 0, 0, 0, 0]
    assert ids[2].tolist() == [0] * 6
    assert hash_words(["a b c d"], 100, 2).shape == (1, 2)
    assert hash_words([], 100, 2).shape == (0, 1)
    with pytest.raises(ValueError, match="buckets"):
        hash_words(["a"], 1, 2)


def test_hashed_words_stay_in_their_buckets_and_fill_them_evenly() -> None:
    ids = hash_words([f"w{place}" for place in range(5000)], buckets=51, max_words=1)
    counts = ids.flatten().bincount(minlength=51)
    assert counts[0] == 0
    assert ids.max() == 50
    chi_squared = ((counts[1:] - 100.0) ** 2 / 100).sum()
    assert chi_squared < 85.4  # the 0.1 % point with 49 degrees of freedom


def test_hashed_words_are_the_same_in_every_process() -> None:
    assert hash_words(["the quick fox"], 1000, 5).tolist() == [[319, 15, 392]]
