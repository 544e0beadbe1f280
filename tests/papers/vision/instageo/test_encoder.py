"""The encoder at its published sizes, its positions and weights, and the head."""

import math

import pytest
import torch

from assay.papers.vision.instageo.method import (
    PRITHVI,
    EncoderShape,
    PrithviEncoder,
    SegmentationModel,
    UpsampleSegHead,
    channel_statistics,
    count_blocks,
    count_encoder,
    count_macs,
    count_parameters,
    fetch_prithvi,
    load_prithvi,
    to_steps,
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
    with pytest.raises(Exception, match=r"[Ww]eights.only|Unsupported"):
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


@pytest.mark.parametrize(("frames", "millions"), [(1, 5.3), (3, 47.6)])
def test_the_head_of_v1_has_the_size_of_the_paper(frames, millions):
    with torch.device("meta"):
        head = UpsampleSegHead(768, frames, 13)
    assert count_parameters(head) / 1e6 == pytest.approx(millions, abs=0.06)


@pytest.mark.parametrize(
    ("name", "frames", "depth", "times"),
    [("v1-100m", 1, 1, 6.75), ("v1-100m", 3, 1, 2.4), ("v2-300m", 1, 2, 8.7), ("v2-300m", 1, 3, 6.4)],
)
def test_students_are_as_much_smaller_as_the_formulas_say(name, frames, depth, times):
    dim = PRITHVI[name]["dim"]
    with torch.device("meta"):
        head = count_parameters(UpsampleSegHead(dim, frames, 13))
    shape = EncoderShape.prithvi(name, frames)
    small = EncoderShape(**{**vars(shape), "depth": depth})
    ratio = (count_encoder(shape) + head) / (count_encoder(small) + head)
    assert ratio == pytest.approx(times, rel=0.02)


def test_heads_end_at_the_size_of_the_pixels():
    torch.manual_seed(0)
    for patch, blocks, rows, pixels in ((16, 4, 3, 48), (8, 3, 4, 32), (14, 4, 16, 224)):
        head = UpsampleSegHead(32, 2, 5, blocks, patch).eval()
        assert head(torch.rand(1, 2 * rows**2, 32), rows).shape == (1, 5, pixels, pixels)


def test_a_projection_takes_the_dates_out_of_the_heads_size():
    narrow, wide, single = (
        count_parameters(UpsampleSegHead(64, frames, 5, projection=small))
        for frames, small in ((3, True), (3, False), (1, False))
    )
    assert narrow == single + 3 * 64 * 64 + 64
    assert wide > 4 * narrow


def test_channels_of_the_head_are_width_times_date():
    head = UpsampleSegHead(2, 3, 2, blocks=1)
    seen = []
    head.up[0].register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    tokens = torch.arange(2 * 3 * 4.0).reshape(1, 12, 2)  # date, row, column; width 2
    head(tokens, 2)
    assert seen[0].shape == (1, 6, 2, 2)
    assert seen[0][0, 0].flatten().tolist() == tokens[0, :4, 0].tolist()
    assert seen[0][0, 1 * 3 + 2].flatten().tolist() == tokens[0, 8:, 1].tolist()


def test_multiply_adds_follow_the_formula():
    def macs(depth):
        model = SegmentationModel(EncoderShape(**{**vars(SMALL), "depth": depth}), 3)
        return count_macs(model, torch.rand(2, 6, 1, 16, 16))

    assert macs(3) - macs(1) == count_blocks(tokens=17, dim=32, depth=2)


def test_bands_come_in_time_major_order():
    chip = torch.arange(6.0)[:, None, None].expand(6, 2, 2).numpy()  # three dates of two bands
    steps = to_steps(chip, 3)
    for date in range(3):
        for band in range(2):
            assert (steps[band, date] == date * 2 + band).all()
    with pytest.raises(ValueError, match=r"6 bands cannot have 4 dates"):
        to_steps(chip, 4)


def test_deviation_is_the_root_of_the_mean_variance():
    chips = torch.tensor([[[0.0, 2.0]], [[10.0, 14.0]]])[:, :, None, None]  # two chips, one band
    mean, deviation = channel_statistics(chips)
    assert mean.tolist() == [6.5]
    assert deviation.tolist() == pytest.approx([math.sqrt((1 + 4) / 2)])
    mean, deviation = channel_statistics(chips, 0.0)  # 0 is no data
    assert mean.tolist() == [7.0]
