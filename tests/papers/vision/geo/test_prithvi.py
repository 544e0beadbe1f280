"""Prithvi's encoder at its published sizes, its positions and its weights."""

import math

import pytest
import torch

from assay.errors import InputError
from assay.papers.vision.instageo.method import (
    EncoderShape,
    PrithviEncoder,
    count_encoder,
    count_parameters,
    fetch_prithvi,
    load_prithvi,
)

SMALL = EncoderShape(dim=32, depth=2, heads=4, patch_size=4, image_size=16)


def published(shape, frames=3):
    """Make a state dict of the layout in which the weights are published."""
    with torch.device("meta"):
        encoder = PrithviEncoder(shape)
    weights = {
        f"encoder.{name}": torch.zeros(tensor.shape).normal_() if tensor.numel() < 1e5 else tensor
        for name, tensor in encoder.state_dict().items()
        if name != "pos_embed"
    }
    side = shape.image_size // shape.patch_size
    weights["encoder.pos_embed"] = torch.zeros(1, 1 + frames * side**2, shape.dim)
    return weights | {"decoder.mask_token": torch.zeros(1), "decoder.decoder_embed.weight": torch.zeros(2, 2)}


@pytest.mark.parametrize(("name", "millions"), [("v1-100m", 86.2), ("v2-300m", 303.9), ("v2-600m", 631.2)])
def test_published_sizes_load_weights_of_the_published_layout(name, millions):
    shape = EncoderShape.prithvi(name, num_frames=1)
    with torch.device("meta"):
        encoder = PrithviEncoder(shape)
    assert count_parameters(encoder) == count_encoder(shape)
    assert count_encoder(shape) / 1e6 == pytest.approx(millions, abs=0.5)
    dropped = load_prithvi(encoder, published(shape))
    assert set(dropped) == {"encoder.pos_embed", "decoder.mask_token", "decoder.decoder_embed.weight"}
    assert not encoder.norm.weight.is_meta
    assert not encoder.pos_embed.is_meta


def test_real_shapes_of_one_block_run_from_the_hubs_file(tmp_path, monkeypatch):
    shape = EncoderShape.prithvi("v1-100m", num_frames=1, image_size=32)
    shape = EncoderShape(**{**vars(shape), "depth": 1})
    torch.manual_seed(0)
    source = PrithviEncoder(shape)
    weights = {f"encoder.{name}": tensor for name, tensor in source.state_dict().items()}
    weights |= {"encoder.blocks.1.norm1.weight": torch.ones(768), "decoder.mask_token": torch.zeros(1)}
    torch.save({"model": weights}, tmp_path / "Prithvi_EO_V1_100M.pt")
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda name, file: tmp_path / file)
    encoder = PrithviEncoder(shape)
    dropped = load_prithvi(encoder, fetch_prithvi("v1-100m"))
    assert "encoder.blocks.1.norm1.weight" in dropped  # a block beyond the depth
    pixels = torch.rand(1, 6, 1, 32, 32)
    assert torch.equal(encoder(pixels), source(pixels))
    assert encoder(pixels).shape == (1, 5, 768)


def test_weights_that_run_code_are_refused(tmp_path, monkeypatch):
    torch.save({"encoder.cls_token": torch.nn.Linear(2, 2)}, tmp_path / "evil.pt")
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda name, file: tmp_path / "evil.pt")
    with pytest.raises(InputError, match=r"evil.pt holds no tensors by name"):
        fetch_prithvi("v1-100m")


def test_other_weights_are_refused_by_name():
    with pytest.raises(ValueError, match=r"lack cls_token and"):
        load_prithvi(PrithviEncoder(SMALL), {"encoder.norm.weight": torch.ones(32)})
    weights = {f"encoder.{name}": tensor for name, tensor in PrithviEncoder(SMALL).state_dict().items()}
    weights["encoder.cls_token"] = torch.zeros(1, 1, 64)
    with pytest.raises(ValueError, match=r"cls_token is \(1, 1, 64\), the encoder's \(1, 1, 32\)"):
        load_prithvi(PrithviEncoder(SMALL), weights)


def test_positions_are_fixed_sines_of_column_row_and_frame():
    table = PrithviEncoder(EncoderShape(dim=16, depth=1, heads=2, patch_size=4, image_size=8)).pos_embed[0]
    assert table.shape == (5, 16)
    assert table[0].abs().sum() == 0
    first_row_second_column = table[2]
    sines = [math.sin(1.0 * 10_000 ** -(k / 3)) for k in range(3)]
    assert first_row_second_column[:3].tolist() == pytest.approx(sines)
    assert first_row_second_column[6:12].tolist() == [0, 0, 0, 1, 1, 1]  # row 0
    assert first_row_second_column[12:].tolist() == [0, 0, 1, 1]  # frame 0


def test_other_sizes_and_dates_resize_the_positions():
    encoder = PrithviEncoder(SMALL)
    assert encoder(torch.rand(2, 6, 1, 16, 16)).shape == (2, 17, 32)
    assert encoder(torch.rand(2, 6, 3, 24, 16)).shape == (2, 1 + 3 * 6 * 4, 32)
    with pytest.raises(ValueError, match=r"18 x 16 pixels cannot be divided into patches of 4"):
        encoder(torch.rand(1, 6, 1, 18, 16))


def test_chip_sizes_and_widths_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match=r"50 pixels cannot be divided into patches of 16"):
        EncoderShape(patch_size=16, image_size=50)
    with pytest.raises(ValueError, match=r"must be a multiple"):
        EncoderShape(dim=60)


def test_coordinates_change_a_model_that_has_them():
    torch.manual_seed(0)
    encoder = PrithviEncoder(EncoderShape(**{**vars(SMALL), "coordinates": True}))
    pixels = torch.rand(1, 6, 1, 16, 16)
    plain = encoder(pixels)
    dated = encoder(pixels, torch.tensor([[[2022.0, 150.0]]]), torch.tensor([[30.0, 35.0]]))
    assert dated.shape == plain.shape
    assert not torch.allclose(dated, plain)
    assert count_parameters(encoder) == count_encoder(encoder.shape)
