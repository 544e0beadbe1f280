"""The generator: its bound, its normalisation, its sizes and its files."""

import pytest
import torch
from torch import nn

from assay.errors import InputError, StorageError
from assay.papers.privacy.t2ue.method import (
    SemanticBatchNorm,
    TextConditionedNoiseGenerator,
    clamp_noise,
    resize_noise,
)

EPS = 8 / 255


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("scale", [1.0, 10.0])
def test_noise_is_within_eps_exactly_for_any_weights(generator, dtype, scale):
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter.mul_(scale)
    generator.to(dtype)
    for rows in (1, 5):
        noise = generator(torch.randn(rows, 8, dtype=dtype), torch.randn(rows, 4, dtype=dtype))
        assert noise.shape == (rows, 3, 16, 16)
        assert noise.double().abs().max().item() <= EPS
    if scale > 1:
        assert noise.double().abs().max().item() > 0.99 * EPS


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("eps", [8 / 255, 16 / 255, 0.1, 0.0])
def test_clamping_rounds_the_bound_down(dtype, eps):
    noise = clamp_noise(torch.tensor([-1.0, 1.0, 0.0], dtype=dtype), eps)
    assert noise.double().abs().max().item() <= eps
    assert noise.double().abs().max().item() >= 0.98 * eps


def test_the_normalisation_is_batch_norm_where_the_caption_says_nothing():
    torch.manual_seed(0)
    maps, text = torch.randn(6, 5, 4, 4) * 3 + 1, torch.randn(6, 7)
    ours, reference = SemanticBatchNorm(5, 7), nn.BatchNorm2d(5, affine=False)
    torch.testing.assert_close(ours(maps, text), reference(maps))
    torch.testing.assert_close(ours.eval()(maps, text), reference.eval()(maps))


def test_the_normalisation_is_scaled_and_shifted_by_the_caption():
    layer = SemanticBatchNorm(1, 1)
    with torch.no_grad():
        layer.gamma.weight.fill_(2.0)
        layer.beta.weight.fill_(5.0)
    maps = torch.tensor([[[[-1.0, 1.0]]], [[[-1.0, 1.0]]]])
    out = layer(maps, torch.tensor([[0.0], [1.0]]))
    torch.testing.assert_close(out.flatten(), torch.tensor([-1.0, 1.0, 2.0, 8.0]), rtol=1e-4, atol=1e-4)


def test_a_zero_mask_halves_the_output():
    layer = SemanticBatchNorm(3, 2, spatial_mask=True)
    nn.init.zeros_(layer.mask.weight)
    nn.init.zeros_(layer.mask.bias)
    plain = SemanticBatchNorm(3, 2)
    maps, text = torch.randn(4, 3, 5, 5), torch.randn(4, 2)
    torch.testing.assert_close(layer(maps, text), plain(maps, text) / 2)


def test_noise_does_not_depend_on_the_rest_of_the_batch(generator):
    text, z = torch.randn(7, 8), torch.randn(7, 4)
    together = generator(text, z)
    torch.testing.assert_close(generator(text[3:4], z[3:4]), together[3:4], atol=1e-6, rtol=0)
    other = generator(text[[0]], z[[3]])
    assert (other - together[3:4]).abs().max() > 1e-3


def test_the_length_of_an_embedding_does_not_matter(generator):
    text, z = torch.randn(2, 8), torch.randn(2, 4)
    torch.testing.assert_close(generator(text, z), generator(17 * text, z))


def test_the_papers_size():
    with torch.device("meta"):
        big = TextConditionedNoiseGenerator(512)
        assert big(torch.empty(2, 512), torch.empty(2, 100)).shape == (2, 3, 224, 224)
    assert [block.first.out_channels for block in big.blocks] == [512, 256, 128, 64, 32, 32, 32]
    assert [block.upsample for block in big.blocks] == [False] + [True] * 6


@pytest.mark.parametrize(("size", "blocks"), [(4, 1), (16, 3), (32, 4), (50, 5)])
def test_blocks_follow_from_the_size(size, blocks):
    made = TextConditionedNoiseGenerator(3, z_dim=2, base_channels=4, out_size=size).eval()
    assert len(made.blocks) == blocks
    assert made(torch.randn(1, 3), torch.randn(1, 2)).shape == (1, 3, size, size)


def test_resized_noise_stays_within_eps():
    noise = EPS * torch.randn(2, 3, 8, 8).sign()
    for size in (4, 8, 21):
        resized = resize_noise(noise, (size, size), EPS)
        assert resized.shape == (2, 3, size, size)
        assert resized.double().abs().max().item() <= EPS
    torch.testing.assert_close(
        resize_noise(noise, (4, 4), EPS), nn.functional.avg_pool2d(noise, 2), rtol=1e-5, atol=1e-7
    )


@pytest.mark.parametrize(("eps", "hint"), [(8.0, "For 8 of 255 levels write 0.03137"), (0.5, ""), (-0.1, "")])
def test_a_size_of_noise_in_other_units_is_refused(eps, hint):
    with pytest.raises(ValueError, match="in pixel values from 0 to 1") as error:
        TextConditionedNoiseGenerator(8, out_size=8, eps=eps)
    assert hint in str(error.value)


def test_too_few_blocks_are_refused():
    with pytest.raises(ValueError, match="32 pixels need at least 3 blocks, got 2"):
        TextConditionedNoiseGenerator(8, out_size=32, blocks=2)


def test_a_generator_is_read_as_it_was_written(generator, tmp_path):
    generator.save(tmp_path / "it")
    read = TextConditionedNoiseGenerator.load(tmp_path / "it")
    text, z = torch.randn(2, 8), torch.randn(2, 4)
    assert torch.equal(read(text, z), generator(text, z))
    assert not read.training
    with pytest.raises(InputError, match=r"has no record\.json"):
        TextConditionedNoiseGenerator.load(tmp_path)
    (tmp_path / "it" / "tensors.safetensors").write_bytes(b"no weights")
    with pytest.raises(StorageError, match="damaged"):
        TextConditionedNoiseGenerator.load(tmp_path / "it")
